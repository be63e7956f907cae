"""The model esrgan: description, offer, price and parameter rules. Data only."""

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
from fluxvision.catalog.models.size_rules import by_factor
from fluxvision.catalog.rules import InputFormats, Model, Offer, Price, Renamed, ScaleRange

ENGINES = (
    "RealESRGAN_x4plus",
    "RealESRGAN_x2plus",
    "RealESRGAN_x4plus_anime_6B",
    "RealESRGAN_x4_v3",
    "RealESRGAN_x4_wdn_v3",
    "RealESRGAN_x4_anime_v3",
)

EIGHT = ScaleRange(1, 8, uniform=True)

FAL = Offer(
    provider="fal",
    reserved=("image_url", "sync_mode"),
    upstream="fal-ai/esrgan",
    price=Price("second", 1_110),
    factors=EIGHT,
    accepts=InputFormats(),
    generative=False,
    note="Billed by the second of compute: the price is known only when the work is done.",
    rules={
        "image": (IMAGE,),
        "mask": (MASKED,),
        **by_factor("scale", EIGHT),
        "engine": (Renamed("model"),),
        **unsupported(steps="This model makes one pass and has no steps."),
        **DELIVERY,
        **lossless_png_rules("output_format"),
        "n": (replace(N, note="", unless=note_unseeded_versions),),
    },
)

MODEL = Model(
    id="esrgan",
    name="Real-ESRGAN",
    creator="xinntao",
    created=1_763_769_600,
    description="Enlarges a picture 1 to 8 times by one of six Real-ESRGAN networks, for photographs or drawings.",
    aliases=("fal-ai/esrgan", "real-esrgan", "realesrgan", "real esrgan"),
    b64_aliases=(),
    tags=("upscale", "image-to-image"),
    offers=(FAL,),
    narrows={
        "scale_factor": {"high": 8},
        "creativity": {"default": None},
        "engine": {"kind": "choice", "choices": ENGINES, "pattern": None, "default": "RealESRGAN_x4plus"},
    },
)
