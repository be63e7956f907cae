"""The composition root: settings become providers, providers a gateway. The only place that knows concrete classes."""

from __future__ import annotations

from importlib import import_module

from fluxvision.catalog.catalog import CATALOG, configure_offers
from fluxvision.core.settings import Settings
from fluxvision.gateway.gateway import Gateway
from fluxvision.providers.registry import PROVIDERS, Provider


def create_gateway(settings: Settings) -> Gateway:
    """Build the gateway with every provider that the settings configure; raises `ConfigError`."""
    return Gateway(
        create_providers(settings),
        models=configure_offers(CATALOG, settings),
        workers=settings.workers,
        threads=settings.threads,
        queue=settings.queue,
        deadline=settings.deadline,
        attempt_timeout=settings.attempt_timeout,
        max_output_pixels=settings.max_output_pixels,
        max_job_memory=settings.max_job_memory,
        policy=settings.policy,
        allow_degraded=settings.allow_degraded,
    )


def create_providers(settings: Settings) -> dict[str, Provider]:
    """Build every provider that the settings configure, by name; raises `ConfigError`."""
    providers: dict[str, Provider] = {}
    for row in PROVIDERS:
        module, _, function = row.entry.partition(":")
        providers |= getattr(import_module(module), function)(settings)
    return providers
