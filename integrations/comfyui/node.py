"""The node "Flux Vision Upscaler": its inputs, and a batch of pictures sent to the server one by one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

import torch

from .client import Server
from .pictures import to_png, to_tensor
from .receipt import receipt_text

PARAMETERS: dict[str, dict[str, Any]] = json.loads(Path(__file__).with_name("inputs.json").read_text(encoding="utf-8"))
"""The parameters that the node has, by name: ComfyUI's type, and what ComfyUI needs to know of it."""
MODEL = "flux-vision-upscaler"
ADDRESS = "http://127.0.0.1:8000"


def _checks() -> tuple[Any, Any]:
    """Return ComfyUI's progress bar and its check for the button that cancels; outside of ComfyUI both do nothing."""
    try:
        from comfy.model_management import throw_exception_if_processing_interrupted as check  # noqa: PLC0415
        from comfy.utils import ProgressBar  # noqa: PLC0415
    except ImportError:
        return None, lambda: None
    return ProgressBar(100), check


class FluxVisionUpscaler:
    """Enlarges each picture of a batch; gives the pictures and a receipt of what became of the parameters."""

    CATEGORY = "image/upscaling"
    DESCRIPTION = "Enlarges pictures with a fluxvision server: 1 to 16 times, with believable new detail."
    FUNCTION = "upscale"
    RETURN_TYPES = ("IMAGE", "STRING")
    RETURN_NAMES = ("image", "receipt")
    OUTPUT_TOOLTIPS = ("The enlarged pictures.", "What was made, by which provider, and what became of each parameter.")
    SEARCH_ALIASES: ClassVar = ["upscale", "super resolution", "fluxvision"]

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, dict[str, Any]]:  # noqa: N802, ComfyUI's name
        """Return the inputs as ComfyUI asks for them."""
        parameters = {name: (row["type"], row["options"]) for name, row in PARAMETERS.items()}
        server = {"default": ADDRESS, "tooltip": "The address of the fluxvision server."}
        key = {
            "default": "",
            "tooltip": "Leave it empty: a key in here is saved with the workflow. Set FLUXVISION_API_KEY instead, and "
            "FLUXVISION_SERVER_URL to the server that may get it.",
        }
        return {
            "required": {"image": ("IMAGE", {"tooltip": "The pictures to enlarge."})},
            "optional": {**parameters, "server_url": ("STRING", server), "api_key": ("STRING", key)},
        }

    def upscale(
        self, image: torch.Tensor, server_url: str = ADDRESS, api_key: str = "", **parameters: Any
    ) -> tuple[torch.Tensor, str]:
        """Enlarge the pictures of a batch, (batch, rows, columns, channels) float32 0..1, one after another.

        Raises `RuntimeError` with the server's words; ComfyUI shows them.
        """
        server, (bar, check) = Server(server_url, api_key), _checks()
        fields = {"model": MODEL, **sent(parameters)}
        made, receipts = [], []
        for number, picture in enumerate(image):

            def on_progress(share: float, number: int = number) -> None:
                check()
                if bar is not None:
                    bar.update_absolute(round(100 * (number + share) / len(image)), 100)

            on_progress(0.0)
            event = server.edit(to_png(picture.cpu().numpy()), fields, on_progress)
            made.append(to_tensor(event["b64_json"], picture.shape[-1]))
            receipts.append(receipt_text(event["metadata"], fields, number + 1, len(image)))
        return torch.stack(made), "\n\n".join(receipts)


def sent(parameters: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters that are sent: no empty ones, and with a size no factor, because the size decides."""
    given = {name: value for name, value in parameters.items() if name in PARAMETERS and value != ""}
    if "size" in given:
        given.pop("scale_factor", None)
    return given
