"""Reads the settings from defaults, a TOML file, the environment and command-line flags."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from math import isfinite
from pathlib import Path
from typing import Any

import msgspec

from fluxvision.core.errors import ConfigError
from fluxvision.core.openai_servers import HEADER, check_servers, is_address, with_key
from fluxvision.core.settings import BY_NAME, PREFIX, SETTINGS, LoadedSettings, Setting

TRUE = frozenset({"1", "true", "yes", "on"})
FALSE = frozenset({"0", "false", "no", "off"})

SECRET = frozenset({"secret", "secrets"})
HASHED = "sha256:"
DIGEST = re.compile(HASHED + "[0-9A-Fa-f]{64}")
NOUNS = {
    "integer": "a whole number",
    "number": "a number",
    "switch": "true or false",
    "secrets": "a text or a list of texts",
    "secret": "a text",
    "list": "a text or a list of texts",
    "openai_servers": "a list of tables",
    "text": "a text",
    "address": "a text",
    "path": "a text",
}


def load_settings(
    environment: Mapping[str, str] | None = None, flags: Mapping[str, Any] | None = None
) -> LoadedSettings:
    """Read the settings: defaults, then the TOML file, then the environment, then command-line flags.

    The file is the one named by FLUXVISION_CONFIG, else ./fluxvision.toml if it exists. Raises `ConfigError` naming
    the setting for a wrong value or an unknown name.
    """
    environment = os.environ if environment is None else environment
    values = {row.name: row.default for row in SETTINGS}
    origin = {row.name: "default" for row in SETTINGS}
    layers = (
        ("file", _read_file(environment)),
        ("environment", _read_environment(environment)),
        ("flag", dict(flags or {})),
    )
    for layer, found in layers:
        for name, raw in found.items():
            values[name] = _convert_value(BY_NAME[name], raw)
            origin[name] = layer
    values["openai"] = tuple(with_key(one, environment) for one in values["openai"])
    return LoadedSettings(**values, origin=origin)


def _read_file(environment: Mapping[str, str]) -> dict[str, Any]:
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


NO_SETTINGS = frozenset({PREFIX + "CONFIG", PREFIX + "API_KEY"})
"""Variables that are not settings: the file's path, and the caller's key in the examples."""


def _read_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    by_variable = {row.variable: row.name for row in SETTINGS}
    found = {
        key: value
        for key, value in environment.items()
        if key in by_variable or (key.startswith(PREFIX) and key not in NO_SETTINGS)
        if not _is_of_kubernetes(key, value)
    }
    _refuse_unknown(found, by_variable)
    return {by_variable[key]: value for key, value in found.items() if value != ""}


def _is_of_kubernetes(key: str, value: str) -> bool:
    """Return whether Kubernetes set the variable for a service named fluxvision."""
    return key.startswith((PREFIX + "SERVICE_", PREFIX + "PORT_")) or (key == PREFIX + "PORT" and "://" in value)


def _refuse_unknown(found: Mapping[str, Any], known: Mapping[str, Any]) -> None:
    for name in found:
        if name not in known:
            message = f"there is no setting {name}; `fluxvision config show` lists them"
            raise ConfigError(message, param=name)


def _convert_value(row: Setting, raw: Any) -> Any:
    """Return the setting's checked value; raises `ConfigError`, which shows no secret."""
    try:
        value = _parse_value(row, raw)
    except (ValueError, TypeError, OverflowError, RecursionError, msgspec.DecodeError) as error:
        given = "" if row.kind in SECRET else f", not {raw!r}"
        given = f": {error}" if row.kind == "openai_servers" else given
        message = f"{row.name} must be {NOUNS[row.kind]}{given}"
        raise ConfigError(message, param=row.name) from None
    if row.kind == "secrets" and any(text.startswith(HASHED) and not DIGEST.fullmatch(text) for text in value):
        message = f"{row.name}: {HASHED} must be followed by 64 hexadecimal digits, see `fluxvision config hash`"
        raise ConfigError(message, param=row.name)
    if row.kind == "secret" and not HEADER.fullmatch(value):
        message = f"{row.name}: the key holds a character that no HTTP header can carry"
        raise ConfigError(message, param=row.name)
    if row.kind == "address" and value and not is_address(value):
        message = f"{row.name} must be an address such as https://host, without user name, query or fragment"
        raise ConfigError(message, param=row.name)
    if row.low is not None and value < row.low:
        message = f"{row.name} must be at least {row.low:g}"
        raise ConfigError(message, param=row.name)
    if row.high is not None and value > row.high:
        message = f"{row.name} must be at most {row.high:g}"
        raise ConfigError(message, param=row.name)
    if (row.choices and value not in row.choices) or not _has_pattern(row.pattern, value):
        message = f"{row.name} must be one of {', '.join(row.choices or row.examples)}"
        raise ConfigError(message, param=row.name)
    return value


def _has_pattern(pattern: str | None, value: Any) -> bool:
    """Return whether a text, or each text of a list, has the pattern."""
    texts = [value] if isinstance(value, str) else value
    return pattern is None or all(re.fullmatch(pattern, text) for text in texts)


def _parse_value(row: Setting, raw: Any) -> Any:
    """Return a text or TOML value converted to the setting's type; raises TypeError or ValueError."""
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
            return number if row.kind == "number" else _parse_whole_number(raw)
        case "secrets" | "list", str() | list() | tuple():
            parts = raw.split(",") if isinstance(raw, str) else raw
            return tuple(text for part in parts if (text := _parse_text(part).strip()))
        case "openai_servers", _:
            return check_servers(raw)
        case "path" | "text" | "address" | "secret", str():
            return raw.strip() if row.kind == "secret" else raw
    raise TypeError(raw)


def _parse_whole_number(raw: float | str) -> int:
    if raw != int(raw) and not isinstance(raw, str):
        raise ValueError(raw)
    return int(raw)


def _parse_text(raw: Any) -> str:
    if not isinstance(raw, str):
        raise TypeError(raw)
    return raw
