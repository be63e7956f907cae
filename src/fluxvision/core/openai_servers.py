"""OpenAIServer: another server with OpenAI's images API, as configured in the setting `openai`, and its checks."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec

from fluxvision.core.errors import ConfigError
from fluxvision.core.money import to_micros

RESERVED = frozenset({"embedded", "fal", "flux", "openai"})
NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
URL = re.compile(r"https?://[^\s/?#@]+[^\s?#@]*")
HEADER = re.compile(r"[!-~]*")
"""The characters that a key may have, because it is sent in a header."""


class OpenAIServer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Another server with OpenAI's images API."""

    name: str
    """Its name as a provider on this server."""
    base_url: str
    """The address of its API, such as https://host/v1."""
    models: dict[str, str]
    """Maps this server's model ids to the other server's."""
    key: str = ""
    key_env: str = ""
    """The environment variable that holds the key, instead of `key`."""
    price: str | None = None
    """Dollars per picture or megapixel; "0": free; None: unknown."""
    per: Literal["image", "output_megapixel"] = "image"
    """The unit of `price`."""
    title: str = ""
    """Its name for people."""

    def __repr__(self) -> str:
        """Return a text without the key."""
        return f"OpenAIServer({self.name!r})"


def check_servers(raw: Any) -> tuple[OpenAIServer, ...]:
    """Return checked servers; raises ValueError with a reason that shows no key."""
    if isinstance(raw, str):
        raw = msgspec.json.decode(raw)
    try:
        found = msgspec.convert(raw, tuple[OpenAIServer, ...])
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from None
    names = [one.name for one in found]
    for one in found:
        if not NAME.fullmatch(one.name) or one.name in RESERVED or names.count(one.name) > 1:
            message = f"the name {one.name!r} is taken, or is not made of small letters, digits and -"
            raise ValueError(message)
        if not is_address(one.base_url):
            message = f"base_url of {one.name} must be an address such as https://host/v1"
            raise ValueError(message)
        try:
            to_micros("0" if one.price is None else one.price)
        except ValueError:
            message = f"price of {one.name} must be a text of dollars such as '0.04'"
            raise ValueError(message) from None
    return found


def is_address(text: str) -> bool:
    """Return whether a text is a valid base address of a server."""
    try:
        parts = urlsplit(text)
        return bool(URL.fullmatch(text)) and text.isprintable() and bool(parts.hostname) and parts.port != 0
    except ValueError:  # an invalid port or IPv6 address
        return False


def with_key(server: OpenAIServer, environment: Mapping[str, str]) -> OpenAIServer:
    """Return the server with its key, read from the environment variable `key_env` if that is set.

    Raises `ConfigError` when the variable is missing, or the key has characters that are not allowed in a header.
    """
    if server.key_env and not environment.get(server.key_env):
        message = f"openai: {server.name} takes its key from {server.key_env}, which is not set"
        raise ConfigError(message, param="openai")
    key = (environment[server.key_env] if server.key_env else server.key).strip()
    if not HEADER.fullmatch(key):
        message = f"openai: the key of {server.name} holds characters that no key may hold"
        raise ConfigError(message, param="openai")
    return msgspec.structs.replace(server, key=key)
