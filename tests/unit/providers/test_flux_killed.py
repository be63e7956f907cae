"""A job of FLUX that is killed goes on where it stopped, with the same bytes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time

import numpy as np
from PIL import Image
from skimage import data

from fakes.cli_process import REAL, environment
from fluxvision import cli
from fluxvision.create_gateway import create_gateway

PATIENCE = 180.0
"""Seconds for a process to import PyTorch, load the models and make the picture, however slow the machine."""


def picture(path):
    """Write a picture that has many tiles at factor 2, in several batches, and return its path."""
    Image.fromarray(np.tile(data.astronaut()[60:84], (1, 10, 1))).save(path)
    return path


def order(weights, source, jobs, out):
    """Return the command line, and the environment."""
    words = ("upscale", source, "-o", out, "--provider", "flux", "--model-path", weights / "flux2", "--seed", "5")
    settings = {"CAPTIONER": "none", "FLUX_DEVICE": "cpu", "FLUX_RESUME": str(jobs), "THREADS": "2"}
    more = {f"FLUXVISION_{name}": value for name, value in settings.items()}
    return [*REAL, *map(str, words), "--json"], environment(**more)


def run_here(monkeypatch, capsys, *given):
    """Run the command in this process, which has imported PyTorch already, and return what it says."""
    command, env = order(*given)
    for name, value in env.items():
        monkeypatch.setenv(name, value)

    def unused(*_args):
        raise AssertionError

    rest = dict.fromkeys(("check", "serve", "fetch", "serve_cluster", "serve_mcp", "open_database", "diagnose"), unused)
    dependencies = cli.Dependencies(create_gateway=create_gateway, **rest)
    assert cli.run_cli(command[len(REAL) :], dependencies) == 0
    return json.loads(capsys.readouterr().out)


def batches(jobs):
    """Return the finished batches by name, with the time at which each was written."""
    return {file.name: file.stat().st_mtime_ns for file in jobs.glob("*/*") if file.suffix != ".part"}


def test_a_killed_job_goes_on(weights, tmp_path, monkeypatch, capsys):
    """After kill -9 in mid-job the same command reads what was finished, and makes the same bytes."""
    source, jobs = picture(tmp_path / "in.png"), tmp_path / "jobs"
    command, env = order(weights, source, jobs, tmp_path / "killed.png")
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        until = time.monotonic() + PATIENCE
        while not batches(jobs):
            assert process.poll() is None, process.stderr.read().decode()
            assert time.monotonic() < until
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert not (tmp_path / "killed.png").exists()
    finished = len(batches(jobs))
    told = run_here(monkeypatch, capsys, weights, source, jobs, tmp_path / "resumed.png")
    assert list(jobs.iterdir()) == [], "a job that is done leaves nothing"
    plain = run_here(monkeypatch, capsys, weights, source, tmp_path / "other", tmp_path / "plain.png")
    assert (tmp_path / "resumed.png").read_bytes() == (tmp_path / "plain.png").read_bytes()
    assert 0 < finished < told["details"]["tiles"] / 4
    assert (told["details"]["resumed_tiles"], plain["details"]["resumed_tiles"]) == (4 * finished, 0)
    assert (told["width"], plain["width"]) == (10240, 10240)
