"""Settings come from defaults, a file, the environment and flags; whatever cannot be used is named."""

from __future__ import annotations

import json

import pytest

from fluxvision.core.errors import ConfigError
from fluxvision.core.load_settings import load_settings
from fluxvision.core.settings import BY_NAME, SETTINGS


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
    found = load_settings({})
    assert {row.name: getattr(found, row.name) for row in SETTINGS} == {row.name: row.default for row in SETTINGS}
    assert set(found.origin.values()) == {"default"}


def test_a_later_layer_wins(file):
    """Flags go before the environment, the environment before the file."""
    environment = file("port = 1\nqueue = 2\nworkers = 3\n") | {"FLUXVISION_PORT": "4", "FLUXVISION_QUEUE": "5"}
    found = load_settings(environment, {"port": "6"})
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
    assert load_settings({}).host == "::1"


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
        ("DEVICE", "gpu:12", "gpu:12"),
    ],
)
def test_a_variable_is_read(tmp_path, monkeypatch, name, text, value):
    """A variable's text becomes the setting's type; an empty one is as if it were not set."""
    monkeypatch.chdir(tmp_path)
    assert getattr(load_settings({f"FLUXVISION_{name}": text}), name.lower()) == value


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
        ("DEVICE", "gpus"),
        ("DEVICE", "gpu:"),
        ("NO_SUCH_SETTING", "1"),
    ],
)
def test_a_wrong_variable_is_refused_by_name(name, text):
    """The message says which setting is wrong."""
    with pytest.raises(ConfigError, match=rf"(?i){name}"):
        load_settings({f"FLUXVISION_{name}": text})


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
        load_settings(file(text))


def test_a_missing_file_is_refused(tmp_path):
    """A file that is named must be there."""
    with pytest.raises(ConfigError, match="cannot be read"):
        load_settings({"FLUXVISION_CONFIG": str(tmp_path / "none.toml")})


def test_no_message_shows_a_secret(file):
    """What is wrong with a secret is said without it."""
    with pytest.raises(ConfigError) as caught:
        load_settings(file("api_keys = [123456]"))
    assert "123456" not in caught.value.message


@pytest.mark.parametrize("row", SETTINGS, ids=lambda row: row.name)
def test_a_row_is_complete(row):
    """Every setting has a sentence, and a default that it would itself take."""
    assert row.help.endswith(".")
    assert BY_NAME[row.name] is row
    assert getattr(load_settings({}, {row.name: row.default}), row.name) == row.default


def test_no_setting_is_shown_by_repr():
    """Settings that land in a log or a traceback show no secret."""
    settings = upstreams(OTHER | {"key": HIDDEN}, FAL_KEY=HIDDEN, FLUXVISION_API_KEYS=HIDDEN)
    assert HIDDEN not in f"{settings!r} {settings}"


def test_a_setting_cannot_be_changed():
    """What was checked at the start stays as it is."""
    with pytest.raises(AttributeError):
        load_settings({}).port = 1


def test_an_unknown_setting_is_an_attribute_error():
    """A misspelt name in the code does not read as nothing."""
    with pytest.raises(AttributeError):
        _ = load_settings({}).no_such_setting


def test_a_callers_own_key_is_not_a_setting():
    """The name that the examples give a caller's key does not stop a command in the same shell, nor guard a server."""
    assert load_settings({"FLUXVISION_API_KEY": "sk-mine"}).api_keys == ()


def test_what_kubernetes_says_of_a_service_is_not_a_setting():
    """Variables that a cluster sets for a service called fluxvision neither count nor break anything."""
    found = load_settings(
        {"FLUXVISION_SERVICE_HOST": "10.0.0.1", "FLUXVISION_PORT": "tcp://10.0.0.1:80", "FLUXVISION_QUEUE": "3"}
    )
    assert (found.port, found.queue) == (8000, 3)


@pytest.mark.parametrize("given", ["sha256:", "sha256:abc", "k,sha256:" + "g" * 64, "sha256:" + "0" * 65])
def test_a_hash_that_is_none_is_refused(given):
    """An entry that begins like a hash and is not one would let nobody in; the message holds nothing of it."""
    with pytest.raises(ConfigError, match="64 hexadecimal digits") as caught:
        load_settings({"FLUXVISION_API_KEYS": given})
    assert given.removeprefix("sha256:") not in caught.value.message or given == "sha256:"


def test_masked_settings_hold_no_secret():
    """Masked settings tell how many keys there are, and everything else."""
    settings = load_settings({"FLUXVISION_API_KEYS": "one,two", "FLUXVISION_PORT": "9"}).mask_secrets()
    assert (settings.api_keys, settings.port) == (("***", "***"), 9)
    assert settings.origin["api_keys"] == "environment"


OTHER = {"name": "other", "base_url": "https://example.org/v1", "models": {"flux-vision-upscaler": "gpt-image-1"}}
HIDDEN = "sk-very-secret"


def upstreams(*rows, **environment):
    """Load upstreams from the environment."""
    return load_settings({"FLUXVISION_OPENAI": json.dumps(rows), **environment})


def test_other_servers_from_the_file(file):
    """Tables of the file and a JSON list in the environment are the same servers; the environment wins."""
    text = (
        '[[openai]]\nname = "other"\nbase_url = "https://example.org/v1"\nprice = "0.04"\nper = "output_megapixel"\n'
        'models = {flux-vision-upscaler = "gpt-image-1"}\n[[openai]]\nname = "two"\nbase_url = "http://10.0.0.2:8000"\n'
        "models = {}\n"
    )
    found = load_settings(file(text)).openai
    assert [(one.name, one.base_url, one.price, one.per, one.key, one.title) for one in found] == [
        ("other", "https://example.org/v1", "0.04", "output_megapixel", "", ""),
        ("two", "http://10.0.0.2:8000", None, "image", "", ""),
    ]
    assert found[0].models == {"flux-vision-upscaler": "gpt-image-1"}
    settings = load_settings(file(text) | {"FLUXVISION_OPENAI": json.dumps([OTHER])})
    assert [one.name for one in settings.openai] == ["other"]
    assert settings.origin["openai"] == "environment"


@pytest.mark.parametrize(
    ("row", "environment", "key"),
    [
        ({"key": HIDDEN}, {}, HIDDEN),
        ({"key": f" {HIDDEN}\n"}, {}, HIDDEN),
        ({"key_env": "OTHER_KEY"}, {"OTHER_KEY": f"{HIDDEN}\r\n"}, HIDDEN),
        ({"key": "first", "key_env": "OTHER_KEY"}, {"OTHER_KEY": HIDDEN}, HIDDEN),
        ({}, {"OTHER_KEY": HIDDEN}, ""),
    ],
)
def test_a_servers_key(row, environment, key):
    """It is given as it is or by the name of a variable, which goes first; white space around it does not count."""
    (found,) = upstreams(OTHER | row, **environment).openai
    assert found.key == key


@pytest.mark.parametrize(
    "row",
    [
        {"key_env": "NOT_SET"},
        {"key": "one\r\ntwo"},
        {"key": "schlüssel"},
        {"key": 5},
        {"kye": HIDDEN},
        {"key": HIDDEN, "name": "fal"},
        {"key": HIDDEN, "name": "embedded"},
        {"key": HIDDEN, "name": "Capital"},
        {"key": HIDDEN, "name": ""},
        {"key": HIDDEN, "name": "a\n"},
        {"key": HIDDEN, "base_url": "ftp://example.org"},
        {"key": HIDDEN, "base_url": "https://"},
        {"key": HIDDEN, "base_url": "https://user:pw@example.org/v1"},
        {"key": HIDDEN, "base_url": "https://example.org/v1?key=x"},
        {"key": HIDDEN, "base_url": "https://example.org:99999/v1"},
        {"key": HIDDEN, "base_url": "https://example.org:abc/v1"},
        {"key": HIDDEN, "base_url": "https://[::1/v1"},
        {"key": HIDDEN, "base_url": "https://example.org/\x01"},
        {"key": HIDDEN, "price": 0.04},
        {"key": HIDDEN, "price": "-1"},
        {"key": HIDDEN, "price": "nan"},
        {"key": HIDDEN, "price": "0.0000001"},
        {"key": HIDDEN, "per": "second"},
        {"key": HIDDEN, "models": ["gpt-image-1"]},
    ],
)
def test_a_server_that_cannot_be_used_is_refused(row):
    """The message names the setting and holds no key."""
    with pytest.raises(ConfigError, match="openai") as caught:
        upstreams(OTHER | row)
    assert caught.value.param == "openai"
    assert not {HIDDEN, "schlüssel", "one"} & set(caught.value.message.split())


@pytest.mark.parametrize("text", ["{", "5", "[5]", "null", "[" * 100_000, '[{"name": "other"}]'])
def test_what_is_no_list_of_servers_is_refused(text):
    """Broken and hostile JSON is a wrong setting."""
    with pytest.raises(ConfigError, match="openai must be a list of tables"):
        load_settings({"FLUXVISION_OPENAI": text})


def test_two_servers_of_one_name_are_refused():
    """A name stands for one server."""
    with pytest.raises(ConfigError, match="'other' is taken"):
        upstreams(OTHER, OTHER)


def test_masked_servers_hold_no_key():
    """A key is a mask, and one from a variable is left out beside the variable's name."""
    rows = OTHER | {"key": HIDDEN}, OTHER | {"name": "two", "key_env": "OTHER_KEY"}, OTHER | {"name": "three"}
    found = upstreams(*rows, OTHER_KEY=HIDDEN).mask_secrets().openai
    assert [(one.name, one.key, one.key_env) for one in found] == [
        ("other", "***", ""),
        ("two", "", "OTHER_KEY"),
        ("three", "", ""),
    ]
    assert HIDDEN not in repr(found) + repr(upstreams(*rows, OTHER_KEY=HIDDEN).openai)


def test_the_key_of_fal_has_the_name_that_everyone_knows(file):
    """FAL_KEY goes before the file, counts as a secret, and is nothing when it is empty."""
    environment = file('fal_key = "from-the-file"\n')
    assert load_settings(environment).fal_key == "from-the-file"
    assert load_settings(environment | {"FAL_KEY": ""}).fal_key == "from-the-file"
    settings = load_settings(environment | {"FAL_KEY": " id:secret\n"})
    assert (settings.fal_key, settings.origin["fal_key"]) == ("id:secret", "environment")
    assert settings.mask_secrets().fal_key == "***"
    assert load_settings({}).mask_secrets().fal_key == ""


def test_other_variables_are_nobodys_business():
    """A variable without the prefix that no setting is named after does not count."""
    assert load_settings({"OPENAI_API_KEY": HIDDEN, "PORT": "1"}).port == 8000


def test_a_wrong_secret_is_said_without_it(file):
    """A secret of another type is refused, and not shown."""
    with pytest.raises(ConfigError, match="fal_key must be a text") as caught:
        load_settings(file("fal_key = 123456"))
    assert "123456" not in caught.value.message
