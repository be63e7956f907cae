"""The fake gateway served by a process that sends webhooks again after a moment, and gives up after two failures."""

from __future__ import annotations

import runpy

from fluxvision.jobs import deliveries, webhooks

if __name__ == "__main__":
    deliveries.BACKOFF = (0.1, 0.1)
    webhooks.LOOK_SECONDS = 0.1
    runpy.run_module("fakes.gateway", run_name="__main__")
