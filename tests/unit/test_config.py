"""Settings come from defaults, a file, the environment and flags; whatever cannot be used is named."""

from __future__ import annotations

import pytest

from fluxvision.config import BY_NAME, SETTINGS, ConfigError, load


@pytest.fixture
def file(tmp_path):
    """Write a configuration file and return the environment that names it."""

    def write(text):
        path = tmp_path / "settings.toml"
        path.write_text(text, encoding="utf-8")
        return {"FLUXVISION_CONFIG": str(path)}

    return write


def test_the_defaults(tmp_path, monkeypatch):
    """Without anything set every setting has its default and says so."""
    monkeypatch.chdir(tmp_path)
    found = load({})
    assert {row.name: getattr(found, row.name) for row in SETTINGS} == {row.name: row.default for row in SETTINGS}
    assert set(found.origin.values()) == {"default"}


def test_a_later_layer_wins(file):
    """Flags go before the environment, the environment before the file."""
    environment = file("port = 1\nqueue = 2\nworkers = 3\n") | {"FLUXVISION_PORT": "4", "FLUXVISION_QUEUE": "5"}
    found = load(environment, {"port": "6"})
    assert (found.port, found.queue, found.workers, found.deadline) == (6, 5, 3, 900.0)
    assert [found.origin[name] for name in ("port", "queue", "workers", "deadline")] == [
        "flag",
        "environment",
        "file",
        "default",
    ]


def test_the_file_beside_is_found(tmp_path, monkeypatch):
    """fluxvision.toml in the current folder counts when no other file is named."""
    (tmp_path / "fluxvision.toml").write_text('host = "::1"\n', encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert load({}).host == "::1"


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("PORT", "0", 0),
        ("DEADLINE", "1.5", 1.5),
        ("ALLOW_PRIVATE_URLS", "Yes", True),
        ("ALLOW_PRIVATE_URLS", "off", False),
        ("API_KEYS", "one, two,,", ("one", "two")),
        ("API_KEYS", "", ()),
        ("PUBLIC_URL", "https://example.org", "https://example.org"),
        ("LOG_LEVEL", "warning", "warning"),
        ("PORT", "", 8000),
    ],
)
def test_a_variable_is_read(tmp_path, monkeypatch, name, text, value):
    """A variable's text becomes the setting's type; an empty one is as if it were not set."""
    monkeypatch.chdir(tmp_path)
    assert getattr(load({f"FLUXVISION_{name}": text}), name.lower()) == value


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("PORT", "eighty"),
        ("PORT", "-1"),
        ("PORT", "1.5"),
        ("DEADLINE", "nan"),
        ("DEADLINE", "inf"),
        ("DEADLINE", "1e999"),
        ("DEADLINE", "0"),
        ("MEDIA_TTL", "0.5"),
        ("ALLOW_PRIVATE_URLS", "perhaps"),
        ("LOG_LEVEL", "loud"),
        ("NO_SUCH_SETTING", "1"),
    ],
)
def test_a_wrong_variable_is_refused_by_name(name, text):
    """The message says which setting is wrong."""
    with pytest.raises(ConfigError, match=rf"(?i){name}"):
        load({f"FLUXVISION_{name}": text})


@pytest.mark.parametrize(
    "text",
    [
        "port = 1.5",
        "port = true",
        'port = "x"',
        "host = 5",
        "deadline = inf",
        "allow_private_urls = 1",
        "api_keys = [1, 2]",
        "api_keys = 5",
        "ports = 1",
        "[server]\nport = 1",
        "port = ",
    ],
)
def test_a_wrong_file_is_refused(file, text):
    """A value of another type, an unknown name and what is no TOML raise ConfigError."""
    with pytest.raises(ConfigError):
        load(file(text))


def test_a_missing_file_is_refused(tmp_path):
    """A file that is named must be there."""
    with pytest.raises(ConfigError, match="cannot be read"):
        load({"FLUXVISION_CONFIG": str(tmp_path / "none.toml")})


def test_no_message_shows_a_secret(file):
    """What is wrong with a secret is said without it."""
    with pytest.raises(ConfigError) as caught:
        load(file("api_keys = [123456]"))
    assert "123456" not in caught.value.message


@pytest.mark.parametrize("row", SETTINGS, ids=lambda row: row.name)
def test_a_row_is_complete(row):
    """Every setting has a sentence, and a default that it would itself take."""
    assert row.help.endswith(".")
    assert BY_NAME[row.name] is row
    assert getattr(load({}, {row.name: row.default}), row.name) == row.default


def test_an_unknown_setting_is_an_attribute_error():
    """A misspelt name in the code does not read as nothing."""
    with pytest.raises(AttributeError):
        _ = load({}).no_such_setting


def test_what_kubernetes_says_of_a_service_is_not_a_setting():
    """Variables that a cluster sets for a service called fluxvision neither count nor break anything."""
    found = load(
        {"FLUXVISION_SERVICE_HOST": "10.0.0.1", "FLUXVISION_PORT": "tcp://10.0.0.1:80", "FLUXVISION_QUEUE": "3"}
    )
    assert (found.port, found.queue) == (8000, 3)


@pytest.mark.parametrize("given", ["sha256:", "sha256:abc", "k,sha256:" + "g" * 64, "sha256:" + "0" * 65])
def test_a_hash_that_is_none_is_refused(given):
    """An entry that begins like a hash and is not one would let nobody in; the message holds nothing of it."""
    with pytest.raises(ConfigError, match="64 hexadecimal digits") as caught:
        load({"FLUXVISION_API_KEYS": given})
    assert given.removeprefix("sha256:") not in caught.value.message or given == "sha256:"


def test_covered_settings_hold_no_secret():
    """Covered settings tell how many keys there are, and everything else."""
    settings = load({"FLUXVISION_API_KEYS": "one,two", "FLUXVISION_PORT": "9"}).covered()
    assert (settings.api_keys, settings.port) == (("***", "***"), 9)
    assert settings.origin["api_keys"] == "environment"
