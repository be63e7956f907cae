"""Pictures by reference: data URIs, and URLs whose servers cannot be trusted."""

from __future__ import annotations

import asyncio
import base64
import errno
import socket
from contextlib import asynccontextmanager

import pytest
from aiohttp.abc import AbstractResolver

from fluxvision.core.errors import InvalidRequest, PayloadTooLarge
from fluxvision.net import fetch
from fluxvision.net.ssrf_guard import Guard

LIMIT = 100_000
PUBLIC = "127.0.0.1"  # plays the public internet in these tests
PRIVATE = "127.0.0.2"
GUARD = Guard(allowed=lambda address: address == PUBLIC, ports=None)
PIXELS = b"\x89PNG" + bytes(1000)


class Resolver(AbstractResolver):
    """Answers with one address after the other, the last one for ever."""

    def __init__(self, *addresses):
        """Know the answers."""
        self.addresses = list(addresses)
        self.asked = 0

    async def resolve(self, host, port=0, family=socket.AF_INET):  # noqa: ARG002 - the base class names it
        """Give the next answer."""
        self.asked += 1
        address = self.addresses.pop(0) if len(self.addresses) > 1 else self.addresses[0]
        return [{"hostname": host, "host": address, "port": port, "family": socket.AF_INET, "proto": 0, "flags": 0}]

    async def close(self):
        """Have nothing to close."""


@asynccontextmanager
async def serving(answers, address=PUBLIC):
    """Serve raw answers by path; yields the base URL and the list of requests."""
    seen = []

    async def handle(reader, writer):
        try:
            request = (await reader.readuntil(b"\r\n\r\n")).decode()
            seen.append(request)
            answer = answers[request.split(" ")[1]]
            if callable(answer):
                await answer(writer)
            else:
                writer.write(answer)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(handle, address, 0)
    try:
        yield f"http://{address}:{server.sockets[0].getsockname()[1]}", seen
    finally:
        server.close()
        await asyncio.sleep(0)


def answer(status="200 OK", body=PIXELS, **headers):
    """Return a raw HTTP answer."""
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    length = "" if "Transfer_Encoding" in headers else f"Content-Length: {len(body)}\r\n"
    return f"HTTP/1.1 {status}\r\n{length}{lines}\r\n".encode() + body


async def load(url, path, guard=GUARD, patience=2.0):
    """Fetch as the server does."""
    await fetch.resolve(url, path, "image", guard=guard, limit=LIMIT, patience=patience)
    return path.read_bytes()


async def test_a_picture_is_fetched(tmp_path):
    """A plain answer is written to the file; the request carries no cookie, no referrer and asks for no compression."""
    async with serving({"/a.png": answer(Set_Cookie="a=b")}) as (url, seen):
        assert await load(url + "/a.png", tmp_path / "a") == PIXELS
    assert "Accept-Encoding: identity" in seen[0]
    assert "Cookie" not in seen[0]


async def test_redirects_are_followed_three_times(tmp_path):
    """Three redirects lead to the picture, four do not."""
    hops = {f"/{number}": answer("302 Found", b"", Location=f"/{number + 1}") for number in range(4)}
    async with serving({**hops, "/4": answer()}) as (url, seen):
        assert await load(url + "/1", tmp_path / "a") == PIXELS
        with pytest.raises(InvalidRequest, match="redirected"):
            await load(url + "/0", tmp_path / "b")
    assert len(seen) == 4 + 4


@pytest.mark.parametrize(
    "location",
    [f"http://{PRIVATE}:PORT/x", "http://169.254.169.254/x", "file:///etc/passwd", "gopher://a/",
     "data:image/png;base64,AAAA", "http://user@127.0.0.1:PORT/a", "http://[::1", "", "//" + PRIVATE + ":PORT/x"],
)  # fmt: skip
async def test_a_redirect_is_checked_like_the_first_address(tmp_path, location):
    """A redirect to a private address or another scheme is refused, and nobody there is asked."""
    async with serving({"/x": answer()}, PRIVATE) as (private, asked):
        port = private.rpartition(":")[2]
        there = answer("302 Found", b"", Location=location.replace("PORT", port))
        async with serving({"/": there}) as (url, _):
            with pytest.raises(InvalidRequest):
                await load(url + "/", tmp_path / "a")
    assert asked == []


async def test_a_name_that_is_rebound_is_refused(tmp_path):
    """A name that was public for the first request and is private for the second one is refused at the second."""
    resolver = Resolver(PUBLIC, PRIVATE)
    guard = Guard(allowed=GUARD.allowed, ports=None, resolver=resolver)
    async with serving({"/": answer("302 Found", b"", Location="/again"), "/again": answer()}) as (url, seen):
        port = url.rpartition(":")[2]
        with pytest.raises(InvalidRequest, match="no public address"):
            await load(f"http://rebinding.example:{port}/", tmp_path / "a", guard)
    assert (resolver.asked, len(seen)) == (2, 1)


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (answer("206 Partial Content"), InvalidRequest),
        (answer("304 Not Modified", b""), InvalidRequest),
        (answer("204 No Content", b""), InvalidRequest),
        (answer("404 Not Found"), InvalidRequest),
        (answer("500 Oops"), InvalidRequest),
        (answer("302 Found", b""), InvalidRequest),
        (answer(Content_Encoding="gzip"), InvalidRequest),
        (answer(body=bytes(LIMIT + 1)), PayloadTooLarge),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\nshort", InvalidRequest),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n", PayloadTooLarge),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", InvalidRequest),
        (b"SSH-2.0-OpenSSH\r\n", InvalidRequest),
        (b"HTTP/1.1 200 OK\r\n" + b"X: " + b"y" * 100_000 + b"\r\n\r\n", InvalidRequest),
        (b"", InvalidRequest),
    ],
)
async def test_odd_answers_are_the_callers_error(tmp_path, reply, error):
    """Whatever a foreign server answers, the caller gets a 4xx that names the parameter."""
    async with serving({"/": reply}) as (url, _):
        with pytest.raises(error) as caught:
            await load(url + "/", tmp_path / "a")
    assert caught.value.param == "image"
    assert url not in caught.value.message


async def test_an_endless_body_ends_at_the_limit(tmp_path):
    """A body without an end is read up to the limit and no further."""

    async def endless(writer):
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while not writer.is_closing():
            writer.write(b"10000\r\n" + bytes(65_536) + b"\r\n")
            await writer.drain()

    async with serving({"/": endless}) as (url, _):
        with pytest.raises(PayloadTooLarge):
            await load(url + "/", tmp_path / "a")
    assert (tmp_path / "a").stat().st_size <= LIMIT


async def test_a_slow_server_ends_at_the_deadline(tmp_path):
    """The time limit is for the whole fetch, so a drip does not extend it."""

    async def drip(writer):
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 50000\r\n\r\n")
        while not writer.is_closing():
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.05)

    async with serving({"/": drip}) as (url, _):
        with pytest.raises(InvalidRequest, match="in time"):
            await load(url + "/", tmp_path / "a", patience=0.4)


async def test_nobody_listens(tmp_path):
    """A refused connection is the caller's error."""
    with socket.socket() as probe:
        probe.bind((PUBLIC, 0))
        with pytest.raises(InvalidRequest, match="reached"):
            await load(f"http://{PUBLIC}:{probe.getsockname()[1]}/", tmp_path / "a")


@pytest.mark.parametrize("size", [1, 2, 3, 4_000, LIMIT])
async def test_data_uris_are_decoded(tmp_path, size):
    """A base64 data URI of every length is written as it was."""
    data = bytes(number % 251 for number in range(size))
    text = "data:image/png;base64," + base64.b64encode(data).decode()
    await load(text, tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == data


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("data:,x", InvalidRequest),
        ("data:image/png;base64,A", InvalidRequest),
        ("data:image/png;base64,@@@@", InvalidRequest),
        ("data:image/png;base64,ÄÄÄÄ", InvalidRequest),
        ("data:" + "x" * 10_000 + ";base64,AAAA", InvalidRequest),
        ("data:;base64," + "A" * (LIMIT * 2), PayloadTooLarge),
    ],
)
async def test_other_data_uris_are_refused(tmp_path, text, error):
    """A data URI that is malformed or too large is refused."""
    with pytest.raises(error):
        await load(text, tmp_path / "a")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
async def test_a_full_disk_is_not_the_callers_fault(tmp_path, monkeypatch, number):
    """Without room for the picture the disk's error goes on, to be answered with 503."""

    def full(*_arguments, **_options):
        raise OSError(number, "full")

    async with serving({"/": answer()}) as (url, _):
        monkeypatch.setattr(fetch.Path, "open", full)
        with pytest.raises(OSError, match="full") as caught:
            await load(url + "/", tmp_path / "a")
    assert caught.value.errno == number


async def test_an_origin_that_the_operator_configured_may_be_private(tmp_path):
    """A trusted origin passes the guard; where it redirects to does not."""
    async with serving({"/": answer()}, PRIVATE) as (inner, _):
        away = answer("302 Found", b"", Location=inner + "/")
        async with serving({"/": answer(), "/away": away}, PRIVATE) as (url, _):
            guard = Guard(allowed=GUARD.allowed, ports=frozenset(), trusted=frozenset({url}))
            await load(url + "/", tmp_path / "a", guard)
            assert (tmp_path / "a").read_bytes() == PIXELS
            with pytest.raises(InvalidRequest, match="ports"):
                await load(url + "/away", tmp_path / "b", guard)
