"""The model seedvr: description, offer, price and parameter rules. Data only."""

from __future__ import annotations

from fluxvision.catalog.models.shared_rules import DELIVERY, IMAGE, MASKED, lossless_png_rules, unsupported
from fluxvision.catalog.models.size_rules import Modes, by_factor_or_frame
from fluxvision.catalog.rules import Implied, InputFormats, Model, Offer, Passthrough, Price, ScaleRange

TEN = ScaleRange(1, 10, uniform=True)
MODES = Modes("upscale_mode", factor="factor", target="target", frame="target_resolution")

FAL = Offer(
    provider="fal",
    reserved=("image_url", "sync_mode"),
    upstream="fal-ai/seedvr/upscale/image",
    price=Price("output_megapixel", 1_000),
    factors=TEN,
    frames=MODES.frame,
    accepts=InputFormats(),
    rules={
        "image": (IMAGE,),
        "mask": (MASKED,),
        **by_factor_or_frame("upscale_factor", TEN, MODES),
        "seed": (Passthrough(),),
        **unsupported(
            creativity="Send noise_scale, the provider's own word.", steps="The provider has no such control."
        ),
        **DELIVERY,
        **lossless_png_rules("output_format"),
    },
)

MODEL = Model(
    id="seedvr",
    name="SeedVR2",
    creator="bytedance",
    created=1_763_769_600,
    description="Enlarges a picture 1 to 10 times, or to the pixels of a video's frame, by the network SeedVR2.",
    aliases=("fal-ai/seedvr/upscale/image", "seedvr2", "seedvr-image-upscale", "seed vr"),
    b64_aliases=(),
    tags=("upscale", "image-to-image"),
    offers=(FAL,),
    implied=(Implied(MODES.word, MODES.target, "resolution", "1080p"),),
    narrows={"scale_factor": {"high": 10}, "creativity": {"default": None}},
)
