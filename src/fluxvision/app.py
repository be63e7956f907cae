"""The composition root: settings become providers, providers a gateway. The only place that knows concrete classes."""

from __future__ import annotations

from importlib import import_module

from fluxvision.config import Settings
from fluxvision.gateway import Gateway
from fluxvision.providers import PROVIDERS, Provider


def create_gateway(settings: Settings) -> Gateway:
    """Build the gateway with every provider that the settings configure."""
    providers: dict[str, Provider] = {}
    for row in PROVIDERS:
        module, _, attribute = row.entry.partition(":")
        provider = getattr(import_module(module), attribute).from_settings(settings)
        if provider is not None:
            providers[row.name] = provider
    return Gateway(
        providers,
        workers=settings.workers,
        queue=settings.queue,
        deadline=settings.deadline,
        max_output_pixels=settings.max_output_pixels,
    )
