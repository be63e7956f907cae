"""A Ray cluster of its own on this machine, with a deployment of fluxvision."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from secrets import token_hex

import psutil

TOKEN = "secret-of-this-test"  # noqa: S105, of a test
TAIL = 3000
"""Characters that are shown of what a cluster said that did not start."""


class Cluster:
    """A process that runs Ray, and all the processes that it starts."""

    def __init__(self, *, cores=2, least=2, **settings):
        """Start it, and wait until the replicas are there.

        Ray looks for free ports and binds them later; where another program took one meanwhile it is started once more.
        """
        for last in (False, True):
            self._start(cores, least, settings)
            if "ready\n" in iter(self.process.stdout.readline, ""):  # Ray says things before
                return
            said = self._log("rb").read().decode(errors="replace")[-TAIL:]
            self.close()
            if last:
                message = f"The cluster did not start: {said}"
                raise RuntimeError(message)

    def _start(self, cores, least, settings):
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            port = one.getsockname()[1]
        self.folder = tempfile.mkdtemp(prefix="ray", dir="/tmp")
        self.address = f"http://127.0.0.1:{port}/fluxvision"
        facts = {
            "RAY_TMPDIR": self.folder,
            "RAY_USAGE_STATS_ENABLED": "0",
            "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]),
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": token_hex(32),
            "FLUXVISION_CLUSTER_TOKEN": TOKEN,
            **{f"FLUXVISION_{name.upper()}": value for name, value in settings.items()},
        }
        with self._log("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "fakes.serve_app", str(port), str(cores), str(least)],
                env=os.environ | facts,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
                text=True,
            )

    def _log(self, mode):
        return Path(self.folder, "stderr").open(mode)

    def kill(self):
        """End all of its processes at once, as a lost machine does."""
        root = psutil.Process(self.process.pid)
        for one in [*root.children(recursive=True), root]:
            try:
                one.kill()
            except psutil.NoSuchProcess:
                continue
        self.process.wait()
        self.process.stdout.close()

    def close(self):
        """End all processes, and remove what they wrote."""
        if self.process.poll() is None:
            self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)
