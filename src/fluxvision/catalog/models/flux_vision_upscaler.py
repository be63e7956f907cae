"""The model flux-vision-upscaler: description, offers, prices and parameter rules. Data only."""

from __future__ import annotations

from dataclasses import replace

from fluxvision.catalog.models.shared_rules import (
    CHECKED,
    DELIVERY,
    IMAGE,
    LOCAL_FRAMES,
    LOCAL_IMAGE,
    MASKED,
    NO_PLACE,
    RESTORED,
    SENT,
    N,
    note_identical_versions,
    unsupported,
)
from fluxvision.catalog.models.size_rules import ONE_TO_FOUR, ONE_TO_SIXTEEN, by_factor, by_size, exact_size
from fluxvision.catalog.rules import InputFormats, Model, Offer, Passthrough, Price, Renamed

FAL = Offer(
    provider="fal",
    reserved=("image_url", "sync_mode"),
    upstream="fal-ai/flux-vision-upscaler",
    price=Price("output_megapixel", 100_000),
    factors=ONE_TO_FOUR,
    accepts=InputFormats(),
    rules={
        "image": (IMAGE,),
        "mask": (MASKED,),
        **unsupported(
            prompt="The provider captions the picture itself and takes no words: the prompt guided nothing.",
            resemblance="The provider has no such control; use creativity.",
        ),
        **by_factor("upscale_factor", ONE_TO_FOUR),
        "creativity": (Passthrough(),),
        "guidance": (Passthrough(),),
        "steps": (Passthrough(),),
        "seed": (Passthrough(),),
        **DELIVERY,
        **CHECKED,
    },
)

FLUX = Offer(
    provider="flux",
    upstream="flux2-klein-4b",
    price=Price("image", 0),
    takes_extras=False,
    rules={
        "image": (LOCAL_IMAGE,),
        "mask": (Passthrough("New detail appears only where the mask is transparent."),),
        "prompt": (Passthrough("Joined with what the captioner sees; revised_prompt has both."),),
        **exact_size(),
        "restore": (RESTORED,),
        "creativity": (Passthrough(),),
        "resemblance": (Passthrough(),),
        "guidance": (Passthrough("Only networks that are guided use it."),),
        "steps": (Passthrough("Of a full trajectory; creativity decides how many of them are made."),),
        "seed": (Passthrough(),),
        **unsupported(
            negative_prompt="Networks without guidance take no such words.",
            engine="The network is the server's setting flux_engine.",
        ),
        **DELIVERY,
        "frames": (LOCAL_FRAMES,),
        **NO_PLACE,
    },
)

OPENAI = Offer(
    provider="openai",
    upstream="flux-vision-upscaler",
    price=Price("image", None),
    accepts=InputFormats(transparency=True),
    measure_fidelity=False,
    defaults=False,
    note="Any server that speaks OpenAI's images API: another fluxvision, or a gateway.",
    rules={
        "image": (IMAGE,),
        "mask": (MASKED,),
        "prompt": (Passthrough(),),
        "negative_prompt": (Passthrough(),),
        **by_size(),
        "restore": (Passthrough(),),
        "creativity": (Passthrough(),),
        "resemblance": (Passthrough(),),
        "guidance": (Passthrough(),),
        "steps": (Passthrough(),),
        "seed": (Passthrough(),),
        "engine": (Passthrough(),),
        **DELIVERY,
        **SENT,
    },
)

EMBEDDED = Offer(
    provider="embedded",
    upstream="span",
    price=Price("image", 0),
    factors=ONE_TO_SIXTEEN,
    takes_extras=False,
    generative=False,
    rules={
        "image": (LOCAL_IMAGE,),
        "mask": (Passthrough("New detail appears only where the mask is transparent."),),
        **exact_size(ONE_TO_SIXTEEN),
        "restore": (RESTORED,),
        "creativity": (Passthrough(),),
        **unsupported(
            prompt="This engine cannot be guided by words: the prompt guided nothing.",
            negative_prompt="This engine cannot be guided by words.",
            resemblance="This engine always keeps the original's structure; use creativity.",
            guidance="This engine has no guidance.",
            steps="This engine makes one pass and has no steps.",
        ),
        "seed": (Passthrough("Chooses one of eight versions of the invented detail, by its remainder by 8."),),
        "engine": (Renamed("backend"),),
        **DELIVERY,
        "frames": (LOCAL_FRAMES,),
        "n": (replace(N, unless=note_identical_versions),),
        **NO_PLACE,
    },
)

MODEL = Model(
    id="flux-vision-upscaler",
    name="Flux Vision Upscaler",
    creator="fluxvision",
    created=1_763_769_600,
    description="Enlarges a picture 1 to 16 times, adds believable detail and keeps the original's structure.",
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
    b64_families=("gpt-image-", "chatgpt-image-", "dall-e-"),
    tags=("upscale", "image-to-image"),
    offers=(FLUX, FAL, OPENAI, EMBEDDED),
    narrows={
        "engine": {
            "kind": "choice",
            "choices": ("span", "realsr", "realesrgan"),
            "pattern": None,
            "synonyms": {"quality": "realsr", "restore": "realesrgan"},
        }
    },
)
