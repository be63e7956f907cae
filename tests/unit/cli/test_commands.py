"""The other commands, and what all commands share."""

import hashlib
import io
import json
import os
import sys
import types
from pathlib import Path

import pytest

from fluxvision import __main__, __version__
from fluxvision.catalog.catalog import CATALOG
from fluxvision.catalog.params import PARAMS
from fluxvision.cli import serve
from fluxvision.cli.main import GROUP
from fluxvision.core.load_settings import load_settings
from fluxvision.core.settings import SETTINGS


def test_version(line):
    """--version says the version."""
    assert line("--version") == 0
    assert line.out == f"fluxvision {__version__}\n"


def test_every_parameter_and_setting_has_its_flag(line):
    """The help of `upscale` shows every parameter that has a flag with its words, that of `serve` settings."""
    line("upscale", "--help")
    words = " ".join(line.out.split())
    for row in PARAMS:
        if row.flag:
            assert row.flag in words
            assert row.help in words
    line("serve", "--help")
    for row in SETTINGS:
        if row.kind == "openai_servers":  # tables are written in a file
            continue
        assert "--" + row.name.replace("_", "-") in line.out
        assert row.variable in line.out


@pytest.mark.parametrize("command", ["upscale", "serve", "models", "config"])
def test_commands_are_described(line, command):
    """The overview names every command in a full line."""
    line("--help")
    assert f"  {command} " in line.out
    assert GROUP.commands[command].get_short_help_str(80).endswith(".")


def test_a_picture_without_a_command(line, picture):
    """`fluxvision photo.jpg` is told what was probably meant."""
    picture()
    assert line("photo.jpg", "--scale", "3") == 2
    assert "Did you mean: fluxvision upscale photo.jpg --scale 3" in line.err


def test_a_misspelled_command(line):
    """A near miss is named."""
    assert line("upscal") == 2
    assert "upscale" in line.err


def test_models(line):
    """The table has a line per offer with price, readiness and modes."""
    assert line("models") == 0
    [row] = [said for said in line.out.splitlines() if said.split()[:2] == ["flux-vision-upscaler", "embedded"]]
    assert "$0" in row
    assert "yes" in row
    assert "emulated" in row


def test_one_model(line):
    """Any name of a model shows each parameter with its flag, its mode and where it ends."""
    assert line("models", "gpt-image-1") == 0
    rows = [said.split() for said in line.out.splitlines()]
    assert ["engine", "--engine", "one", "of", "span,", "realsr,", "realesrgan", "renamed", "backend"] in rows
    assert ["scale_factor", "--scale", "a", "number", "from", "1", "to", "16", "converted", "size"] in rows
    assert "  prompt: This engine cannot be guided by words: the prompt guided nothing." in line.out


def test_models_json(line):
    """The same as JSON: a list of all, or one."""
    assert line("models", "--json") == 0
    [model, *others] = json.loads(line.out)
    assert len(others) == len(CATALOG) - 1
    assert line("models", "fluxvision", "--json") == 0
    assert json.loads(line.out) == model
    offer = model["offers"][-1]
    assert offer["ready"] is True
    assert (offer["price"]["metric"], offer["price"]["unit_price"], offer["price"]["text"]) == ("image", 0.0, "$0")
    assert set(offer["parameters"]) == {row.name for row in PARAMS}


def test_an_unknown_model(line):
    """A wrong name ends with 2 and one sentence."""
    assert line("models", "nothing-like-it") == 2
    assert line.err == "Error: There is no model nothing-like-it. `fluxvision models` lists them.\n"


def test_config_show_covers_secrets(line, monkeypatch):
    """Each setting with value, origin and variable; never a key."""
    monkeypatch.setenv("FLUXVISION_API_KEYS", "secret-one,secret-two")
    Path("fluxvision.toml").write_text("port = 9000\n")
    assert line("config", "show") == 0
    rows = [said.split() for said in line.out.splitlines()]
    assert ["port", "9000", "file", "FLUXVISION_PORT"] in rows
    assert ["api_keys", "***,", "***", "environment", "FLUXVISION_API_KEYS"] in rows
    assert ["host", "127.0.0.1", "default", "FLUXVISION_HOST"] in rows
    assert line("config", "show", "--json") == 0
    assert json.loads(line.out)["api_keys"]["value"] == ["***", "***"]
    assert "secret" not in line.out


def test_config_check(line, monkeypatch):
    """0 with a sentence, or 2 with the sentence that names the setting."""
    assert line("config", "check") == 0
    assert line.out == f"The configuration is fine: {len(SETTINGS)} settings, all at their defaults.\n"
    monkeypatch.setenv("FLUXVISION_PORT", "many")
    assert line("config", "check") == 2
    assert line.err.startswith("Error: port")
    assert "'many'" in line.err


def test_serve(line):
    """Flags become settings; address, base URL and keys are told before the server starts."""
    assert line("serve", "--port", "0", "--workers", "3", "--allow-unauthenticated", "--data-dir", "data") == 0
    [settings] = line.served
    assert (settings.workers, settings.allow_unauthenticated, settings.data_dir) == (3, True, "data")
    assert "http://127.0.0.1:8123/openai/v1" in line.err
    assert "none; every client that reaches this address may call" in line.err


def test_serve_tells_the_public_address_and_the_keys(folder, monkeypatch):
    """The base URL is the public one where it is known; keys are counted, never shown."""
    assert folder
    monkeypatch.setenv("FLUXVISION_API_KEYS", "secret")
    text = serve.format_banner(load_settings(flags={"host": "::1", "public_url": "https://pictures.example/"}), 8000)
    assert "http://[::1]:8000" in text
    assert "https://pictures.example/openai/v1" in text
    assert "page      https://pictures.example/\n" in text
    assert "1 configured" in text
    assert "secret" not in text


def test_config_hash(line, monkeypatch):
    """A key on standard input becomes the entry for the configuration, and nothing else is printed."""
    monkeypatch.setattr(sys, "stdin", io.StringIO("sk-one\n"))
    assert line("config", "hash") == 0
    assert line.out == "sha256:" + hashlib.sha256(b"sk-one").hexdigest() + "\n"


def test_config_hash_refuses_what_is_no_key(line, monkeypatch):
    """An empty input and a text with spaces end with 2."""
    for text in ("", "two words\n"):
        monkeypatch.setattr(sys, "stdin", io.StringIO(text))
        assert line("config", "hash") == 2
        assert "one word" in line.err


def test_config_hash_makes_keys(line):
    """--new prints another key each time, with its entry."""
    found = []
    for _ in range(2):
        assert line("config", "hash", "--new") == 0
        found.append(dict(said.split() for said in line.out.splitlines()))
    assert found[0]["key"] != found[1]["key"]
    for made in found:
        assert made["entry"] == "sha256:" + hashlib.sha256(made["key"].encode()).hexdigest()
        assert len(made["key"]) >= 43


def test_debug_shows_where(line, picture):
    """An unexpected error is a sentence; with --debug the place is shown too."""
    picture("crash.png")
    assert line("upscale", "crash.png") == 1
    assert "Traceback" not in line.err
    assert line("--debug", "upscale", "crash.png") == 1
    assert "Traceback" in line.err


def test_words_are_completed(line, monkeypatch, capsys):
    """The shell completes the words of a closed set."""
    monkeypatch.setitem(os.environ, "_FLUXVISION_COMPLETE", "bash_complete")
    monkeypatch.setitem(os.environ, "COMP_WORDS", "fluxvision upscale --format w")
    monkeypatch.setitem(os.environ, "COMP_CWORD", "3")
    with pytest.raises(SystemExit):
        line()
    assert capsys.readouterr().out == "plain,webp\n"


def test_cluster_serve_without_ray_is_one_sentence(monkeypatch, capsys):
    """The command names the extra to install, and starts nothing."""
    monkeypatch.setattr(__main__, "find_spec", lambda _name: None)
    monkeypatch.setattr(sys, "argv", ["fluxvision", "cluster", "serve"])
    with pytest.raises(SystemExit) as caught:
        __main__.main()
    assert caught.value.code == 1
    assert "fluxvision[cluster]" in capsys.readouterr().err


def test_cluster_serve_to_the_network_needs_a_token(monkeypatch, capsys):
    """Without the secret it listens on this machine alone."""
    monkeypatch.setattr(__main__, "find_spec", lambda _name: True)
    monkeypatch.setitem(sys.modules, "fluxvision.engine.executors.deployment", types.ModuleType("deployment"))
    monkeypatch.setattr(sys, "argv", ["fluxvision", "cluster", "serve", "--host", "10.0.0.1"])
    with pytest.raises(SystemExit):
        __main__.main()
    assert "cluster_token" in capsys.readouterr().err
