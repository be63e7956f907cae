"""The command `fluxvision mcp`, without the protocol."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fakes.cli_gateway import Gateway, dependencies
from fluxvision import __main__
from fluxvision.cli import run_cli
from fluxvision.core.errors import Unavailable


@pytest.mark.parametrize(
    ("arguments", "environment", "expected"),
    [
        ((), {}, ("", "")),
        (("--server", "http://studio:8000", "--api-key", "k"), {}, ("http://studio:8000", "k")),
        ((), {"FLUXVISION_SERVER": "http://studio", "FLUXVISION_API_KEY": "k"}, ("http://studio", "k")),
    ],
)
def test_server_and_key_come_from_flags_or_the_environment(arguments, environment, expected, monkeypatch):
    """Without a server the pictures are made in this process."""
    served = []
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    parts = replace(dependencies(Gateway()), serve_mcp=lambda *given: served.append(given))
    assert run_cli(["mcp", *arguments], parts) == 0
    assert served == [expected]


def test_without_the_sdk_it_says_what_to_install(monkeypatch):
    """One sentence with the command."""
    monkeypatch.setattr(__main__, "find_spec", lambda _name: None)
    with pytest.raises(Unavailable, match=r"pip install 'fluxvision\[mcp\]'"):
        __main__.create_dependencies().serve_mcp("", "")
