"""The model recraft-crisp-upscale: description, offer, price and parameter rules. Data only."""

from __future__ import annotations

from dataclasses import replace

from fluxvision.catalog.models.shared_rules import CHECKED, DELIVERY, IMAGE, MASKED, N, note_unseeded_versions
from fluxvision.catalog.models.size_rules import by_itself
from fluxvision.catalog.rules import InputFormats, Model, Offer, Price

FAL = Offer(
    provider="fal",
    reserved=("image_url", "sync_mode"),
    upstream="fal-ai/recraft/upscale/crisp",
    price=Price("image", 4_000),
    factors=None,
    accepts=InputFormats(formats=("png",)),
    generative=False,
    rules={
        "image": (IMAGE,),
        "mask": (MASKED,),
        **by_itself(None),
        **DELIVERY,
        "n": (replace(N, note="", unless=note_unseeded_versions),),
        **CHECKED,
    },
)

MODEL = Model(
    id="recraft-crisp-upscale",
    name="Recraft Crisp Upscale",
    creator="recraft",
    created=1_763_769_600,
    description="Enlarges a picture by a factor of its own; the result is brought to exactly the size asked for.",
    aliases=("fal-ai/recraft/upscale/crisp", "recraft crisp upscale", "recraft/upscale/crisp"),
    b64_aliases=(),
    tags=("upscale", "image-to-image"),
    offers=(FAL,),
    narrows={"scale_factor": {"high": 4}, "creativity": {"default": None}},
)
