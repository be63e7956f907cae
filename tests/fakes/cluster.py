"""A Ray cluster on this machine, started by the commands of the documentation."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from secrets import token_hex

import psutil

PATIENCE = 60.0
JOINS = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN")
"""What a program that joins the cluster needs in its environment."""
FACTS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "GRPC_ENABLE_FORK_SUPPORT": "0",
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_timeout_ms": "1000",
    "RAY_health_check_failure_threshold": "5",
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": token_hex(32),
    "PYTHONPATH": str(Path(__file__).parents[1]),
}
LIMITS = ["--object-store-memory=100000000", "--disable-usage-stats", "--node-ip-address=127.0.0.1"]


class Node:
    """A machine of the cluster; a session of processes of its own."""

    def __init__(self, *options):
        """Start it in the foreground of a process of its own."""
        command = [str(Path(sys.executable).with_name("ray")), "start", *options, *LIMITS, "--block"]
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen(command, env=os.environ | FACTS, start_new_session=True, **quiet)

    def kill(self):
        """End all of its processes at once, as a lost machine does."""
        family = [*psutil.Process(self.process.pid).children(recursive=True), psutil.Process(self.process.pid)]
        for one in family:
            try:
                one.kill()
            except psutil.NoSuchProcess:
                continue
        self.process.wait()


class Cluster:
    """A head, and nodes that come and go."""

    def __init__(self, *options):
        """Start the head with further options, and wait until it answers."""
        self.folder = tempfile.mkdtemp(prefix="ray", dir="/tmp")  # a socket's path has to be short
        port, client = _free(), _free()
        self.address, self.client = f"127.0.0.1:{port}", f"ray://127.0.0.1:{client}"
        own = ["--include-dashboard=false", f"--temp-dir={self.folder}"]
        self.nodes = [
            Node("--head", "--num-cpus=4", f"--port={port}", f"--ray-client-server-port={client}", *own, *options)
        ]
        for one in (port, client):
            _answers(one)

    def grow(self):
        """Add a node of two processor cores."""
        self.nodes.append(Node(f"--address={self.address}", "--num-cpus=2"))
        return self.nodes[-1]

    def close(self):
        """End all nodes."""
        for node in self.nodes[::-1]:
            if node.process.poll() is None:
                node.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


def _free():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def _answers(port):
    ends = time.monotonic() + PATIENCE
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            if time.monotonic() > ends:
                raise
            time.sleep(0.1)
