"""API keys: who is let in, and what is kept."""

from __future__ import annotations

import hashlib

import pytest

from fluxvision.accounts.keys import Keys, check_entries, check_model, hash_entry
from fluxvision.core.errors import AuthenticationFailed, ConfigError, Forbidden
from fluxvision.core.types import ANYBODY, Caller

PEPPER = b"p" * 32
KEYS = Keys(["sk-one", "sk-zwölf"], PEPPER)


async def test_without_keys_everybody_is_let_in():
    """No configured key: any header passes and names nobody."""
    for header in (None, b"", b"Bearer x", b"nonsense"):
        assert await Keys([], PEPPER).check(header) == ANYBODY


@pytest.mark.parametrize("header", [b"Bearer sk-one", b"bearer sk-one", b"BEARER  sk-one ", "Bearer sk-zwölf".encode()])
async def test_a_configured_key_opens(header):
    """The scheme's case and spaces do not matter."""
    assert (await KEYS.check(header)).id


async def test_a_caller_has_the_same_name_every_time():
    """A key names the same caller in every process, and another key another one."""
    one, again = await KEYS.check(b"Bearer sk-one"), await Keys(["sk-one"], b"q" * 32).check(b"bearer sk-one")
    other = await KEYS.check("Bearer sk-zwölf".encode())
    assert one.id == again.id == "key_f1fe23148353d213"
    assert one.id != other.id


@pytest.mark.parametrize(
    "header",
    [None, b"", b"Bearer", b"Bearer ", b"sk-one", b"Basic sk-one", b"Bearer sk-on", b"Bearer sk-onee",
     b"Bearer sk-one x", b"Bearer \x00", b"Bearer \xff", b"Bearer " + b"k" * 10_000, b"Bearer ' OR 1=1"],
)  # fmt: skip
async def test_everything_else_does_not(header):
    """A missing, malformed, unknown or huge key is refused."""
    with pytest.raises(AuthenticationFailed):
        await KEYS.check(header)


def test_keys_are_not_kept():
    """What stays in memory is a digest that differs with the pepper."""
    kept = repr(vars(KEYS))
    assert "sk-one" not in kept
    assert not Keys(["sk-one"], b"q" * 32)._configured.keys() & KEYS._configured.keys()


async def test_an_entry_may_be_the_hash_of_a_key():
    """An entry sha256:HEX lets the key in, in either case of its digits, and never the entry itself."""
    written = hash_entry("sk-one")
    assert written == "sha256:" + hashlib.sha256(b"sk-one").hexdigest()
    for given in (written, "sha256:" + written.removeprefix("sha256:").upper()):
        keys = Keys([given, "sk-two"], PEPPER)
        assert await keys.check(b"Bearer sk-one") == await KEYS.check(b"Bearer sk-one")
        assert await keys.check(b"Bearer sk-two")
        with pytest.raises(AuthenticationFailed):
            await keys.check(b"Bearer " + given.encode())


@pytest.mark.parametrize("key", ["", " ", "a b", "a\tb", "a\n", "\x00", "k" * 513])
def test_what_no_header_can_carry_has_no_entry(key):
    """A text with spaces or control characters, an empty and a huge one are no keys."""
    with pytest.raises(ValueError, match=r"(?s).*"):
        hash_entry(key)


GOOD = "4f1c09ab7d-a-long-one"


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        (["short"], "fewer than 16 characters"),
        ([GOOD, "fifteen-letters"], "fewer than 16 characters"),
        (["two words in one key"], "no caller can send"),
        (["k" * 500 + "abcdefghijklmno"], "no caller can send"),
        (["changeme-changeme-changeme"], "placeholder"),
        (["CHANGE_ME_PLEASE_1234"], "placeholder"),
        (["sk-..."], "placeholder"),
        (["your-api-key"], "placeholder"),
        (["your-api-key-goes-here"], "placeholder"),
        (["<insert the key>".replace(" ", "-")], "placeholder"),
        (["sk-${FLUXVISION_KEY}"], "placeholder"),
        (["{{fluxvision_api.token}}"], "placeholder"),
        (["x" * 40], "placeholder"),
        ([GOOD, GOOD], "twice"),
        ([GOOD, hash_entry(GOOD)], "twice"),
        ([hash_entry(GOOD).upper()], "small letters"),
    ],
)
def test_a_key_that_can_be_guessed_is_refused(entries, words):
    """A short key, a placeholder, one that nobody can send and one that is there twice are named without the key."""
    with pytest.raises(ConfigError, match=words) as caught:
        check_entries(entries)
    assert caught.value.param == "api_keys"
    assert "`fluxvision config hash --new`" in caught.value.message
    assert not any(text in caught.value.message for text in entries)


@pytest.mark.parametrize(
    "key",
    [
        GOOD,
        "sixteen-letters.",
        "schlüssel-für-alle",
        "0f1e2d3c4b5a6978",
        hash_entry("short"),
        "k9#x<Lq2!vR8{Zt4}w+/=",
        "Q}7d>mN0<z4p{Y8s",
        "economy_key_9f8a7b6c5d4e",
    ],
)
def test_a_long_key_and_a_hash_are_accepted(key):
    """From 16 characters a key is accepted, whatever its punctuation; of a hash nobody can tell."""
    check_entries([key])


async def test_the_admin_key():
    """The admin key opens, may manage keys, and makes a key necessary; a configured key may not manage any."""
    keys = Keys([], PEPPER, admin=hash_entry("sk-admin"))
    assert keys.required
    found = await keys.check(b"Bearer sk-admin")
    assert (found.id, found.admin) == ("admin", True)
    assert not (await KEYS.check(b"Bearer sk-one")).admin


def test_a_weak_admin_key_is_refused():
    """The admin key is held to the same rules, and differs from the others; the message names its setting."""
    for entries, admin in (([], "short"), ([GOOD], GOOD)):
        with pytest.raises(ConfigError) as caught:
            check_entries(entries, admin)
        assert caught.value.param == "admin_key"
    check_entries([GOOD], GOOD + "2")


def test_models_of_a_key():
    """A key without a list may use every model, one with a list those, and the refusal names the model."""
    check_model(Caller("a"), "m")
    check_model(Caller("a", models=("l", "m")), "m")
    with pytest.raises(Forbidden, match="the model n; it may use l, m") as caught:
        check_model(Caller("a", models=("l", "m")), "n")
    assert caught.value.param == "model"
