"""The fake gateway served by a process that takes another one for dead after three seconds."""

from __future__ import annotations

import runpy

from fluxvision.jobs import heartbeat, service

if __name__ == "__main__":
    heartbeat.DEAD_SECONDS = 3.0
    service.HEARTBEAT_SECONDS = 0.5
    runpy.run_module("fakes.gateway", run_name="__main__")
