"""The model aura-sr: description, offer, price and parameter rules. Data only."""

from __future__ import annotations

from dataclasses import replace

from fluxvision.catalog.models.shared_rules import DELIVERY, IMAGE, MASKED, N, note_unseeded_versions, unsupported
from fluxvision.catalog.models.size_rules import by_itself
from fluxvision.catalog.rules import InputFormats, Model, Offer, Price, ScaleRange

FOUR = ScaleRange(only=(4.0,))

FAL = Offer(
    provider="fal",
    reserved=("image_url", "sync_mode"),
    upstream="fal-ai/aura-sr",
    price=Price("second", 800),
    factors=FOUR,
    accepts=InputFormats(),
    generative=False,
    note="Billed by the second of compute: the price is known only when the work is done.",
    rules={
        "image": (IMAGE,),
        "mask": (MASKED,),
        **by_itself(FOUR),
        **unsupported(
            steps="This model makes one pass and has no steps.", engine="Send checkpoint, the provider's own word."
        ),
        **DELIVERY,
        "n": (replace(N, note="", unless=note_unseeded_versions),),
    },
)

MODEL = Model(
    id="aura-sr",
    name="AuraSR",
    creator="fal",
    created=1_763_769_600,
    description="Enlarges a picture exactly 4 times; other sizes are made from that by resampling.",
    aliases=("fal-ai/aura-sr", "aurasr", "aura sr"),
    b64_aliases=(),
    tags=("upscale", "image-to-image"),
    offers=(FAL,),
    narrows={"scale_factor": {"default": 4.0, "high": 4}, "creativity": {"default": None}},
)
