"""Other servers that speak OpenAI's images API, as the setting `openai` describes them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec

from fluxvision.core.errors import Error
from fluxvision.core.money import to_micros

RESERVED = frozenset({"embedded", "fal", "flux", "openai"})
NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
URL = re.compile(r"https?://[^\s/?#@]+[^\s?#@]*")
HEADER = re.compile(r"[!-~]*")
"""What a key may be made of: it travels in a header."""


class Upstream(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Another server that speaks OpenAI's images API.

    `name` is how it is called here. `models` maps models of this server to those of the other. The key is given as it
    is, or by the name of the environment variable that holds it (`key_env`). `price` is in dollars `per` picture or per
    megapixel of the result, "0" where it is free; left out, nobody knows it.
    """

    name: str
    base_url: str
    models: dict[str, str]
    key: str = ""
    key_env: str = ""
    price: str | None = None
    per: Literal["image", "output_megapixel"] = "image"
    title: str = ""

    def __repr__(self) -> str:
        """Show no key."""
        return f"Upstream({self.name!r})"


class ConfigError(Error):
    """A setting cannot be used; the message names it."""

    code = "CONFIGURATION"


def check_upstreams(raw: Any) -> tuple[Upstream, ...]:
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
    """Return whether a server can be asked at this address."""
    try:
        parts = urlsplit(text)
        return bool(URL.fullmatch(text)) and text.isprintable() and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is none, or half an IPv6 address
        return False


def with_key(upstream: Upstream, environment: Mapping[str, str]) -> Upstream:
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
