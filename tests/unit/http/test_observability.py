"""The log of a server is lines of JSON, whoever has something to say."""

from __future__ import annotations

import json

from fakes.gateway import png
from fakes.server import Server


def test_a_message_of_a_library_is_a_line_of_json(tmp_path):
    """A warning of GLib while a picture is made is one line of the log, with its domain and without its text."""
    with Server(tmp_path / "data") as running:
        image = ("image", png(4, 4), "a.png")
        assert running.edit(image, ("model", "flux-vision-upscaler"), ("fail", "library")).status == 200
    lines = [json.loads(line) for line in running.log.splitlines()]
    found = [line for line in lines if line["event"] == "library"]
    assert [(line["level"], line["domain"], line["severity"]) for line in found] == [
        ("warning", "GLib-GObject", "warning")
    ]
    assert "/a/path" not in running.log
