"""Flux Vision Upscaler, for everyone to run."""

__version__ = "0.1.0"
