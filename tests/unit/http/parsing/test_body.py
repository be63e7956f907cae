"""A body as chunks."""

from __future__ import annotations

import pytest

from fluxvision.core.errors import InvalidRequest, PayloadTooLarge
from fluxvision.http.parsing.body import body_chunks


def said(*bodies, last=True):
    """Return what gives these pieces; after the last one a call fails, as nobody may wait for more."""
    messages = [{"type": "http.request", "body": body, "more_body": True} for body in bodies]
    if last:
        messages.append({"type": "http.request", "body": b"", "more_body": False})
    left = iter(messages)

    async def receive():
        return next(left, None) or {"type": "http.disconnect"}

    return receive


async def all_of(*arguments, **facts):
    """Return all chunks of a body."""
    return [chunk async for chunk in body_chunks(*arguments, **facts)]


async def test_nobody_is_asked_for_more_than_was_announced():
    """The piece that makes the announced length is the last one."""
    assert await all_of(said(b"ab", b"c", last=False), 10, 1.0, announced=3) == [b"ab", b"c"]


@pytest.mark.parametrize("announced", [None, 4])
async def test_what_is_missing_is_waited_for(announced):
    """Without the announced length the body ends where the server says so, or breaks off."""
    with pytest.raises(InvalidRequest, match="broke off"):
        await all_of(said(b"ab", b"c", last=False), 10, 1.0, announced=announced)
    assert await all_of(said(b"ab", b"c"), 10, 1.0, announced=announced) == [b"ab", b"c"]


async def test_a_body_over_the_limit_is_refused_while_it_arrives():
    """The announced length may lie."""
    with pytest.raises(PayloadTooLarge):
        await all_of(said(b"abc", b"d"), 3, 1.0, announced=3 + 4)
