"""A ComfyUI node that enlarges pictures with a fluxvision server. Copy this folder into ComfyUI's `custom_nodes`."""

from __future__ import annotations

from .node import FluxVisionUpscaler

NODE_CLASS_MAPPINGS = {"FluxVisionUpscaler": FluxVisionUpscaler}
NODE_DISPLAY_NAME_MAPPINGS = {"FluxVisionUpscaler": "Flux Vision Upscaler"}

__all__ = ["NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS"]
