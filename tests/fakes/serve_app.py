"""A deployment on a Ray cluster of its own, with the real engines and one in which something happens.

python -m fakes.serve_app PORT CORES LEAST starts it and prints "ready".
"""

from __future__ import annotations

import sys
import time

import msgspec
import ray

from fakes import tiles
from fluxvision.core.load_settings import load_settings
from fluxvision.engine.executors import deployment
from fluxvision.engine.executors.messages import EngineInfo


class FakeEngine:
    """Makes the backends of `fakes.tiles` by name."""

    def __init__(self, _settings):
        """Have nothing to load."""
        self.info = EngineInfo(weights="some")

    def backend(self, options, stop):
        """Return the backend that the options name."""
        name, arguments, stops = msgspec.msgpack.decode(options)
        return getattr(tiles, name)(*arguments, **({"stop": stop} if stops else {}))


def main(port, cores, least):
    """Serve until killed."""
    settings = load_settings()
    engines = {**deployment.ENGINES, "fake": f"{__name__}:FakeEngine"}
    if settings.flux_model:
        engines |= deployment.FLUX
    ray.init(num_cpus=cores, object_store_memory=200_000_000, include_dashboard=False, log_to_driver=False)
    config = deployment.Config(settings, {k: v.replace("__main__", "fakes.serve_app") for k, v in engines.items()})
    app = deployment.create_app(config, replicas=cores, least=least)
    deployment.run(app, "127.0.0.1", port, blocking=False)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    while True:
        time.sleep(60)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
