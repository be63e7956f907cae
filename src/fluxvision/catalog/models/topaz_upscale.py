"""The model topaz-upscale: description, offer, price and parameter rules. Data only."""

from __future__ import annotations

from dataclasses import replace

from fluxvision.catalog.models.shared_rules import (
    DELIVERY,
    IMAGE,
    MASKED,
    N,
    lossless_png_rules,
    note_unseeded_versions,
    unsupported,
)
from fluxvision.catalog.models.size_rules import ONE_TO_FOUR, by_factor
from fluxvision.catalog.rules import InputFormats, Model, Offer, Price, Renamed

ENGINES = ("Standard V2", "High Fidelity V2", "Low Resolution V2", "CGI", "Text Refine")
"""The engines for which the price below is published."""

FAL = Offer(
    provider="fal",
    reserved=("image_url", "sync_mode"),
    upstream="fal-ai/topaz/upscale/image",
    price=Price("output_megapixel", 80_000, rounding="up", block=24),
    factors=ONE_TO_FOUR,
    accepts=InputFormats(),
    generative=False,
    rules={
        "image": (IMAGE,),
        "mask": (MASKED,),
        **by_factor("upscale_factor", ONE_TO_FOUR),
        "engine": (Renamed("model"),),
        **unsupported(
            prompt="These engines take no words: the prompt guided nothing.",
            creativity="These engines invent nothing; face_enhancement_creativity is the provider's own word.",
        ),
        **DELIVERY,
        **lossless_png_rules("output_format"),
        "n": (replace(N, note="", unless=note_unseeded_versions),),
    },
)

MODEL = Model(
    id="topaz-upscale",
    name="Topaz Upscale",
    creator="topaz-labs",
    created=1_763_769_600,
    description="Enlarges a picture 1 to 4 times by one of five engines for photographs, renderings or text.",
    aliases=("fal-ai/topaz/upscale/image", "topaz-image-upscale", "topaz upscale", "topaz"),
    b64_aliases=(),
    tags=("upscale", "image-to-image"),
    offers=(FAL,),
    narrows={
        "scale_factor": {"high": 4},
        "creativity": {"default": None},
        "engine": {"kind": "choice", "choices": ENGINES, "pattern": None, "default": "Standard V2"},
    },
)
