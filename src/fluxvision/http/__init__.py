"""The OpenAI-compatible HTTP edge: parse, respond, and nothing in between."""

from fluxvision.http.app import App, build

__all__ = ["App", "build"]
