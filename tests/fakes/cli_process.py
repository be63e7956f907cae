"""The command line as a process of its own, with the fake gateway behind it or the real one."""

import os
import subprocess
import sys
import time
from pathlib import Path

TESTS = Path(__file__).parents[1]
FAKE = [sys.executable, "-m", "fakes.cli_gateway"]
REAL = [sys.executable, "-m", "fluxvision"]
PATIENCE = 120.0
"""Seconds to wait for what comes sooner or never: a busy machine takes its time."""


def environment(**more):
    """Return an environment without settings, in which both commands are found."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("FLUXVISION_")}
    path = os.pathsep.join(map(str, (TESTS, TESTS.parent / "src")))
    return kept | {"PYTHONPATH": path, "COLUMNS": "100"} | more


def run(*arguments, command=FAKE, given=b"", **more):
    """Run a command to its end."""
    return subprocess.run(
        [*command, *map(str, arguments)],
        input=given,
        capture_output=True,
        env=environment(**more),
        timeout=PATIENCE,
        check=False,
    )


def wait_for(condition):
    """Wait until something is true."""
    until = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)
