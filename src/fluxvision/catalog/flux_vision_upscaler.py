"""The model flux-vision-upscaler: its words, its offers and their rules. Data only."""

from __future__ import annotations

from dataclasses import replace

from fluxvision.catalog.common import DELIVERY, EXACT_SIZE, NO_PLACE, N, same
from fluxvision.rules import Model, Offer, Passthrough, Price, Renamed

EMBEDDED = Offer(
    provider="embedded",
    upstream="span",
    price=Price("image", 0),
    takes_extras=False,
    rules={
        "image": (Passthrough(),),
        "mask": (Passthrough("New detail appears only where the mask is transparent."),),
        "prompt": (Passthrough("This engine cannot be guided by words: the prompt guided nothing.", sent=False),),
        **EXACT_SIZE,
        "creativity": (Passthrough(),),
        "guidance": (Passthrough("This engine has no guidance.", sent=False),),
        "steps": (Passthrough("This engine makes one pass and has no steps.", sent=False),),
        "seed": (Passthrough("Chooses one of eight versions of the invented detail, by its remainder by 8."),),
        "engine": (Renamed("backend"),),
        **DELIVERY,
        "n": (replace(N, unless=same),),
        **NO_PLACE,
    },
)

MODEL = Model(
    id="flux-vision-upscaler",
    name="Flux Vision Upscaler",
    creator="fluxvision",
    created=1_763_769_600,
    description="Enlarges a picture 1 to 4 times, adds believable detail and keeps the original's structure.",
    aliases=("fal-ai/flux-vision-upscaler", "flux vision upscaler", "fluxvision"),
    b64_aliases=(
        "gpt-image-1",
        "gpt-image-1-mini",
        "gpt-image-1.5",
        "gpt-image-2",
        "chatgpt-image-latest",
        "dall-e-2",
        "dall-e-3",
    ),
    tags=("upscale", "image-to-image"),
    offers=(EMBEDDED,),
)
