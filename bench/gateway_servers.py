"""The servers that `gateway.py` compares: how each is started and asked, and what its processes need."""

from __future__ import annotations

import http.client
import json
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import psutil  # type: ignore[import-untyped]

ENDS = str(Path(__file__).with_name("gateway_ends.py"))
PATIENCE = 90.0
TAIL = 3000
"""Characters of a log that are shown where a server does not start."""
CORES = sorted(os.sched_getaffinity(0))
GATEWAY = CORES[:1]
"""The core of whatever is measured; the upstream and the callers have the others, where there are any."""
OTHERS = CORES[1:] or CORES
QUIET = {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS": "True",
    "LITELLM_LOCAL_AUTOROUTER_PRESETS": "True",
    "LITELLM_LOCAL_BLOG_POSTS": "True",
    "LITELLM_LOCAL_POLICY_TEMPLATES": "True",
    "LITELLM_TELEMETRY": "False",
}


@dataclass(slots=True)
class Server:
    """One server on a free port of loopback; `path` is that of edits, `model` what to ask it for."""

    name: str
    command: Sequence[str]
    folder: Path
    model: str
    port: int
    path: str = "/v1/images/edits"
    health: str = "/healthz"
    key: str = "none"
    environment: Mapping[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        """Return the started server."""
        return self

    def __exit__(self, *_error: object) -> None:
        """Stop it."""
        self.stop()

    def start(self) -> float:
        """Start it on the gateway's core; return the seconds until its first healthy answer."""
        cores = OTHERS if self.name == "direct" else GATEWAY
        given = {name: value for name, value in os.environ.items() if not name.startswith(("FLUXVISION_", "OPENAI_"))}
        log = self.folder / f"{self.name}.log"
        started = time.perf_counter()
        with log.open("wb") as file, pinned(cores):
            self.process = subprocess.Popen(
                self.command, cwd=self.folder, env={**given, **self.environment}, stdout=file, stderr=file
            )
        while not self._healthy():
            if self.process.poll() is not None or time.perf_counter() - started > PATIENCE:
                self.stop()
                raise RuntimeError(log.read_text(encoding="utf-8")[-TAIL:])
            time.sleep(0.01)
        return time.perf_counter() - started

    def stop(self) -> None:
        """End it, and all that it started."""
        if self.process is None or self.process.poll() is not None:
            return
        tree = self.tree()
        self.process.terminate()
        _, alive = psutil.wait_procs(tree, timeout=20)
        for process in alive:
            process.kill()
        self.process.wait()

    def _healthy(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", self.health)
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()

    def tree(self) -> list[psutil.Process]:
        """Return its processes."""
        assert self.process is not None  # noqa: S101, asked for while it runs
        top = psutil.Process(self.process.pid)
        return [top, *top.children(recursive=True)]

    def cpu(self) -> float:
        """Return the seconds of all cores that its processes took so far."""
        times = [process.cpu_times() for process in self.tree()]
        return float(sum(one.user + one.system for one in times))

    def memory(self) -> tuple[int, int]:
        """Return the bytes that its processes have resident (RSS) and their share of them (PSS)."""
        found = [process.memory_full_info() for process in self.tree()]
        return sum(info.rss for info in found), sum(info.pss for info in found)

    def growth(self, work: Callable[[], object]) -> int:
        """Return by how many bytes the resident memory of its processes grew at most while `work` ran."""
        tree = self.tree()
        before = 0
        for process in tree:
            Path(f"/proc/{process.pid}/clear_refs").write_text("5", encoding="ascii")  # forgets the highest so far
            before += process.memory_info().rss
        work()
        return sum(highest(process.pid) for process in tree) - before


def highest(pid: int) -> int:
    """Return the most bytes that a process had resident since that was last forgotten."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


@contextmanager
def pinned(cores: Sequence[int]) -> Iterator[None]:
    """Let whatever is started meanwhile run on these cores only."""
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, CORES)


def free_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def upstream(folder: Path, answers: Path) -> Server:
    """Return the fake provider with the answers of a folder."""
    port = free_port()
    command = (sys.executable, ENDS, "upstream", str(port), str(answers))
    return Server("direct", command, folder, "fake-model", port)


def floor(folder: Path, upstream_port: int) -> Server:
    """Return the least gateway."""
    port = free_port()
    command = (sys.executable, ENDS, "floor", str(port), str(upstream_port))
    return Server("floor", command, folder, "fake-model", port)


def whole(folder: Path, upstream_port: int) -> Server:
    """Return the least gateway by the quickest way that was found in its libraries."""
    port = free_port()
    command = (sys.executable, ENDS, "whole", str(port), str(upstream_port))
    return Server("whole", command, folder, "fake-model", port)


def relay(folder: Path, upstream_port: int) -> Server:
    """Return what only copies the bytes; the provider behind it says that it is healthy."""
    port = free_port()
    command = (sys.executable, ENDS, "relay", str(port), str(upstream_port))
    return Server("relay", command, folder, "fake-model", port, health="/v1/models")


def fluxvision(folder: Path, upstream_port: int) -> Server:
    """Return our server with the upstream as its provider, otherwise as `fluxvision serve` starts it."""
    port, key = free_port(), secrets.token_hex(16)
    provider = {
        "name": "fake",
        "base_url": f"http://127.0.0.1:{upstream_port}/v1",
        "key": "sk-fake",
        "models": {"flux-vision-upscaler": "fake-model"},
        "price": "0",
    }
    environment = {
        "FLUXVISION_PORT": str(port),
        "FLUXVISION_DATA_DIR": str(folder / "data"),
        "FLUXVISION_API_KEYS": key,
        "FLUXVISION_OPENAI": json.dumps([provider]),
    }
    command = (sys.executable, "-m", "fluxvision", "serve")
    return Server("fluxvision", command, folder, "fake/flux-vision-upscaler", port, key=key, environment=environment)


def litellm(folder: Path, upstream_port: int, programs: Path) -> Server:
    """Return LiteLLM's proxy from the `bin` folder of its environment: one worker, no retries, nothing from outside."""
    port, key = free_port(), f"sk-{secrets.token_hex(16)}"
    fake = {"model": "openai/fake-model", "api_base": f"http://127.0.0.1:{upstream_port}/v1", "api_key": "sk-fake"}
    settings = {
        "model_list": [{"model_name": "fake", "litellm_params": fake}],
        "litellm_settings": {"callbacks": [], "num_retries": 0},
        "general_settings": {"master_key": key},
    }
    (folder / "litellm.yaml").write_text(json.dumps(settings), encoding="utf-8")  # JSON is YAML
    order = ("--config", "litellm.yaml", "--host", "127.0.0.1", "--port", str(port), "--num_workers", "1")
    command = (str(programs.absolute() / "litellm"), *order)
    return Server(
        "LiteLLM", command, folder, "fake", port, health="/health/liveliness", key=key, environment=QUIET
    )  # fmt: skip
