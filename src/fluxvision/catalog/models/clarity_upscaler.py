"""The model clarity-upscaler: description, offer, price and parameter rules. Data only."""

from __future__ import annotations

from fluxvision.catalog.models.shared_rules import CHECKED, DELIVERY, IMAGE, MASKED
from fluxvision.catalog.models.size_rules import ONE_TO_FOUR, by_factor
from fluxvision.catalog.rules import InputFormats, Model, Offer, Passthrough, Price, Renamed

FAL = Offer(
    provider="fal",
    reserved=("image_url", "sync_mode"),
    upstream="fal-ai/clarity-upscaler",
    price=Price("output_megapixel", 30_000),
    factors=ONE_TO_FOUR,
    accepts=InputFormats(),
    rules={
        "image": (IMAGE,),
        "mask": (MASKED,),
        "prompt": (Passthrough(),),
        "negative_prompt": (Passthrough(),),
        **by_factor("upscale_factor", ONE_TO_FOUR),
        "creativity": (Passthrough(),),
        "resemblance": (Passthrough(),),
        "guidance": (Renamed("guidance_scale"),),
        "steps": (Renamed("num_inference_steps"),),
        "seed": (Passthrough(),),
        **DELIVERY,
        **CHECKED,
    },
)

MODEL = Model(
    id="clarity-upscaler",
    name="Clarity Upscaler",
    creator="clarity-ai",
    created=1_763_769_600,
    description="Enlarges a picture 1 to 4 times and adds detail that a prompt can guide and resemblance holds back.",
    aliases=("fal-ai/clarity-upscaler", "clarity-ai/clarity-upscaler", "clarity upscaler", "clarity"),
    b64_aliases=(),
    tags=("upscale", "image-to-image", "prompt"),
    offers=(FAL,),
    narrows={
        "scale_factor": {"high": 4},
        "creativity": {"default": 0.35},
        "resemblance": {"default": 0.6, "high": 1},
        "guidance": {"default": 4.0, "low": 0, "high": 20},
        "steps": {"default": 18},
    },
)
