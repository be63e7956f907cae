"""SETTINGS: one row per setting; read from the environment and a TOML file, once, at the edge."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec

from fluxvision.errors import Error
from fluxvision.money import micros

PREFIX = "FLUXVISION_"
TRUE = frozenset({"1", "true", "yes", "on"})
FALSE = frozenset({"0", "false", "no", "off"})

LEVELS = ("debug", "info", "warning", "error")

Kind = Literal["text", "integer", "number", "switch", "secret", "secrets", "path", "upstreams"]
RESERVED = frozenset({"embedded", "fal", "flux", "openai"})
SECRET = frozenset({"secret", "secrets"})
MASK = "***"
HASHED = "sha256:"
DIGEST = re.compile(HASHED + "[0-9A-Fa-f]{64}")
NOUNS = {
    "integer": "a whole number",
    "number": "a number",
    "switch": "true or false",
    "secrets": "a text or a list of texts",
    "secret": "a text",
    "upstreams": "a list of tables",
    "text": "a text",
    "path": "a text",
}


NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
URL = re.compile(r"https?://[^\s/?#@]+[^\s?#@]*")
HEADER = re.compile(r"[!-~]*")
"""What a key may be made of: it travels in a header."""


class Upstream(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Another server that speaks OpenAI's images API.

    `name` is how it is called here. `models` maps models of this server to those of the other. The key is given as it
    is, or by the name of the environment variable that holds it (`key_env`). `price` is in dollars `per` picture or per
    megapixel of the result.
    """

    name: str
    base_url: str
    models: dict[str, str]
    key: str = ""
    key_env: str = ""
    price: str = "0"
    per: Literal["image", "output_megapixel"] = "image"
    title: str = ""

    def __repr__(self) -> str:
        """Show no key."""
        return f"Upstream({self.name!r})"


class ConfigError(Error):
    """A setting cannot be used; the message names it."""

    code = "CONFIGURATION"


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting. Environment name: FLUXVISION_ and the name in capitals; TOML name: the name."""

    name: str
    kind: Kind
    default: Any
    help: str
    low: float | None = None
    choices: tuple[str, ...] = ()
    high: float | None = None
    env: str = ""

    @property
    def variable(self) -> str:
        """The environment variable's name."""
        return self.env or PREFIX + self.name.upper()


SETTINGS: tuple[Setting, ...] = (
    Setting("host", "text", "127.0.0.1", "Address to listen on."),
    Setting("port", "integer", 8000, "Port to listen on.", 0, high=65535),
    Setting("public_url", "text", "", "Address that clients see, used in links; empty: taken from the request."),
    Setting(
        "api_keys",
        "secrets",
        (),
        "Keys that may call the API, or sha256:HEX of them, separated by commas; none: any key, loopback only.",
    ),
    Setting("allow_unauthenticated", "switch", False, "Listen beyond loopback although no key is configured."),
    Setting(
        "data_dir",
        "path",
        "",
        "Folder for results and uploads; empty: a private folder under the system's temporary one.",
    ),
    Setting("media_ttl", "number", 3600.0, "Seconds that a result link works.", 1),
    Setting("max_upload_bytes", "integer", 100_000_000, "Largest request body in bytes.", 1),
    Setting("max_input_pixels", "integer", 100_000_000, "Largest input picture in pixels.", 1),
    Setting("max_output_pixels", "integer", 400_000_000, "Largest result over HTTP in pixels.", 1),
    Setting("max_frames", "integer", 1_000, "Most frames an animated input may have (only the first is used).", 1),
    Setting("workers", "integer", 1, "Pictures that are worked on at the same time.", 1),
    Setting("queue", "integer", 16, "Requests that may wait for a worker before new ones get 429.", 0),
    Setting("threads", "integer", 0, "Threads of one picture; 0: one per processor core.", 0),
    Setting("deadline", "number", 900.0, "Seconds one request may take in all.", 1),
    Setting(
        "upload_timeout", "number", 30.0, "Seconds without a byte of the body before the request ends with 408.", 0.1
    ),
    Setting("fetch_timeout", "number", 15.0, "Seconds to fetch a picture given by URL.", 0.1),
    Setting("allow_private_urls", "switch", False, "Fetch picture URLs from private addresses too."),
    Setting(
        "policy",
        "text",
        "quality",
        "Which offer of a model goes first: the best (quality), the cheapest (price) or the fastest (latency).",
        choices=("quality", "price", "latency"),
    ),
    Setting("allow_degraded", "switch", True, "Let the CPU engine make a picture when the providers before it failed."),
    Setting("attempt_timeout", "number", 300.0, "Seconds one remote provider may take before the next is tried.", 1),
    Setting("remote_parallel", "integer", 64, "Calls to one remote provider at the same time.", 1),
    Setting("flux_model", "text", "", "Folder or hub id of FLUX's weights; empty: the provider flux is not used."),
    Setting(
        "flux_engine",
        "text",
        "flux2-klein-4b",
        "Which FLUX it is: flux2-klein-4b, flux2-klein-base-4b, flux1-schnell or flux1-dev.",
        choices=("flux2-klein-4b", "flux2-klein-base-4b", "flux1-schnell", "flux1-dev"),
    ),
    Setting("flux_revision", "text", "", "Revision of the weights at the hub; empty: the newest."),
    Setting("flux_device", "text", "auto", "Where FLUX runs: auto, cuda, cuda:1, mps or cpu."),
    Setting("captioner", "text", "qwen3-vl-2b", "What looks at the picture before FLUX; none: nothing does."),
    Setting("caption_model", "text", "", "Folder or hub id of the captioner's weights; empty: its own at the hub."),
    Setting("fal_key", "secret", "", "Key of fal.ai; empty: fal.ai is not used.", env="FAL_KEY"),
    Setting("fal_queue_url", "text", "https://queue.fal.run", "Address of fal.ai's queue."),
    Setting("fal_storage_url", "text", "https://rest.fal.ai", "Address of fal.ai's storage."),
    Setting(
        "fal_megapixel",
        "text",
        "1000000",
        "Pixels of a megapixel on fal.ai's bill, which it does not publish.",
        choices=("1000000", "1048576"),
    ),
    Setting(
        "openai",
        "upstreams",
        (),
        "Other servers that speak OpenAI's images API: [[openai]] tables in the file, a JSON list in the environment.",
    ),
    Setting("drain_timeout", "number", 30.0, "Seconds that running requests get to finish after SIGTERM.", 0),
    Setting(
        "log_level",
        "text",
        "info",
        "The least important log lines that are written: debug, info, warning or error.",
        None,
        LEVELS,
    ),
)

BY_NAME: Mapping[str, Setting] = {row.name: row for row in SETTINGS}


class Settings:
    """The settings by name, read-only; `origin` tells where each came from (default, file, environment, flag)."""

    def __init__(self, values: Mapping[str, Any], origin: Mapping[str, str]) -> None:
        """Keep checked values; use `load`."""
        self._values = dict(values)
        self.origin = dict(origin)

    def __getattr__(self, name: str) -> Any:
        """Return a setting's value."""
        try:
            return self.__dict__["_values"][name]
        except KeyError:
            raise AttributeError(name) from None

    def covered(self) -> Settings:
        """Return the same settings with a mask in place of each secret."""
        masks: dict[str, Any] = {}
        for row in SETTINGS:
            value = self._values[row.name]
            if row.kind == "secrets":
                masks[row.name] = (MASK,) * len(value)
            elif row.kind == "secret":
                masks[row.name] = MASK if value else ""
            elif row.kind == "upstreams":
                masks[row.name] = tuple(_covered(one) for one in value)
        return Settings({**self._values, **masks}, self.origin)


def _covered(upstream: Upstream) -> dict[str, Any]:
    """Return an upstream as the file has it, without its key and without what is at its default."""
    found = {**msgspec.to_builtins(upstream), "key": MASK if upstream.key and not upstream.key_env else ""}
    return {name: value for name, value in found.items() if value}


def load(environment: Mapping[str, str] | None = None, flags: Mapping[str, Any] | None = None) -> Settings:
    """Read the settings: defaults, then the TOML file, then the environment, then command-line flags.

    The file is the one named by FLUXVISION_CONFIG, else ./fluxvision.toml where it exists. Raises `ConfigError`
    naming the setting for a wrong value and for a name that does not exist.
    """
    environment = os.environ if environment is None else environment
    values = {row.name: row.default for row in SETTINGS}
    origin = {row.name: "default" for row in SETTINGS}
    layers = (("file", _file(environment)), ("environment", _environment(environment)), ("flag", dict(flags or {})))
    for layer, found in layers:
        for name, raw in found.items():
            values[name] = _convert(BY_NAME[name], raw)
            origin[name] = layer
    values["openai"] = tuple(_with_key(one, environment) for one in values["openai"])
    return Settings(values, origin)


def _file(environment: Mapping[str, str]) -> dict[str, Any]:
    named = environment.get(PREFIX + "CONFIG")
    path = Path(named or "fluxvision.toml")
    if named is None and not path.is_file():
        return {}
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        message = f"the configuration file cannot be read: {error}"
        raise ConfigError(message, param="CONFIG") from None
    _refuse_unknown(found, BY_NAME)
    return found


def _environment(environment: Mapping[str, str]) -> dict[str, Any]:
    found = {
        key: value
        for key, value in environment.items()
        if key.startswith(PREFIX) and key != PREFIX + "CONFIG" and not _is_of_kubernetes(key, value)
    }
    by_variable = {row.variable: row.name for row in SETTINGS}
    _refuse_unknown(found, by_variable)
    found |= {row.env: environment[row.env] for row in SETTINGS if row.env in environment}
    return {by_variable[key]: value for key, value in found.items() if value != ""}


def _is_of_kubernetes(key: str, value: str) -> bool:
    """Return whether a variable describes a Kubernetes service that happens to be called fluxvision."""
    return key.startswith((PREFIX + "SERVICE_", PREFIX + "PORT_")) or (key == PREFIX + "PORT" and "://" in value)


def _refuse_unknown(found: Mapping[str, Any], known: Mapping[str, Any]) -> None:
    for name in found:
        if name not in known:
            message = f"there is no setting {name}; `fluxvision config show` lists them"
            raise ConfigError(message, param=name)


def _convert(row: Setting, raw: Any) -> Any:
    """Return the setting's value; raises `ConfigError`, which shows no secret."""
    try:
        value = _parse(row, raw)
    except (ValueError, TypeError, OverflowError, RecursionError, msgspec.DecodeError) as error:
        given = "" if row.kind in SECRET else f", not {raw!r}"
        given = f": {error}" if row.kind == "upstreams" else given
        message = f"{row.name} must be {NOUNS[row.kind]}{given}"
        raise ConfigError(message, param=row.name) from None
    if row.kind == "secrets" and any(text.startswith(HASHED) and not DIGEST.fullmatch(text) for text in value):
        message = f"{row.name}: {HASHED} must be followed by 64 hexadecimal digits, see `fluxvision config hash`"
        raise ConfigError(message, param=row.name)
    if row.kind == "secret" and not HEADER.fullmatch(value):
        message = f"{row.name}: the key holds a character that no HTTP header can carry"
        raise ConfigError(message, param=row.name)
    if row.name.endswith("_url") and value and not _is_address(value):
        message = f"{row.name} must be an address such as https://host, without user name, query or fragment"
        raise ConfigError(message, param=row.name)
    if row.low is not None and value < row.low:
        message = f"{row.name} must be at least {row.low:g}"
        raise ConfigError(message, param=row.name)
    if row.high is not None and value > row.high:
        message = f"{row.name} must be at most {row.high:g}"
        raise ConfigError(message, param=row.name)
    if row.choices and value not in row.choices:
        message = f"{row.name} must be one of {', '.join(row.choices)}"
        raise ConfigError(message, param=row.name)
    return value


def _parse(row: Setting, raw: Any) -> Any:
    """Return a text or a TOML value in the row's type; raises TypeError or ValueError."""
    match row.kind, raw:
        case "switch", bool():
            return raw
        case "switch", str():
            word = raw.lower()
            if word not in TRUE | FALSE:
                raise ValueError(word)
            return word in TRUE
        case "integer" | "number", int() | float() | str() if not isinstance(raw, bool):
            number = float(raw)
            if not isfinite(number):
                raise ValueError(raw)
            return number if row.kind == "number" else _whole(raw)
        case "secrets", str() | list() | tuple():
            parts = raw.split(",") if isinstance(raw, str) else raw
            return tuple(text for part in parts if (text := _text(part).strip()))
        case "upstreams", _:
            return _upstreams(raw)
        case "path" | "text" | "secret", str():
            return raw.strip() if row.kind == "secret" else raw
    raise TypeError(raw)


def _upstreams(raw: Any) -> tuple[Upstream, ...]:
    """Return checked upstreams; raises ValueError with a reason that shows no key."""
    if isinstance(raw, str):
        raw = msgspec.json.decode(raw)
    try:
        found = msgspec.convert(raw, tuple[Upstream, ...])
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from None
    names = [one.name for one in found]
    for one in found:
        if not NAME.fullmatch(one.name) or one.name in RESERVED or names.count(one.name) > 1:
            message = f"the name {one.name!r} is taken, or is not made of small letters, digits and -"
            raise ValueError(message)
        if not _is_address(one.base_url):
            message = f"base_url of {one.name} must be an address such as https://host/v1"
            raise ValueError(message)
        try:
            micros(one.price)
        except ValueError:
            message = f"price of {one.name} must be a text of dollars such as '0.04'"
            raise ValueError(message) from None
    return found


def _is_address(text: str) -> bool:
    """Return whether a server can be asked at this address."""
    try:
        parts = urlsplit(text)
        return bool(URL.fullmatch(text)) and text.isprintable() and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is none, or half an IPv6 address
        return False


def _with_key(upstream: Upstream, environment: Mapping[str, str]) -> Upstream:
    """Return the upstream with its key, from the variable that holds it where one is named.

    Raises `ConfigError` where there is none, and for a key that no header can carry.
    """
    if upstream.key_env and not environment.get(upstream.key_env):
        message = f"openai: {upstream.name} takes its key from {upstream.key_env}, which is not set"
        raise ConfigError(message, param="openai")
    key = (environment[upstream.key_env] if upstream.key_env else upstream.key).strip()
    if not HEADER.fullmatch(key):
        message = f"openai: the key of {upstream.name} holds characters that no key may hold"
        raise ConfigError(message, param="openai")
    return msgspec.structs.replace(upstream, key=key)


def _whole(raw: float | str) -> int:
    if raw != int(raw) and not isinstance(raw, str):
        raise ValueError(raw)
    return int(raw)


def _text(raw: Any) -> str:
    if not isinstance(raw, str):
        raise TypeError(raw)
    return raw
