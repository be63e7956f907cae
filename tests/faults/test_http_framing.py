"""Requests on the wire that no HTTP library would send, and answers that an application must not give."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections import Counter

import aiohttp
import pytest

from fakes import broken_app
from fakes.gateway import png
from fakes.server import Server, form, read, wait_until
from fluxvision.http.framing import LINGER_SECONDS

EDITS = b"POST /v1/images/edits HTTP/1.1"
ALIVE = b"GET /healthz HTTP/1.1"
HOST = b"Host: localhost"
KIND = b"Content-Type: multipart/form-data; boundary=b"
CHUNKED = b"Transfer-Encoding: chunked"
RESET = struct.pack("ii", 1, 0)
"""SO_LINGER: closing resets the connection."""


def request(*lines: bytes, body: bytes = b"") -> bytes:
    """Return a request from its lines."""
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Serve without keys, behind handlers that break the rules."""
    folder = tmp_path_factory.mktemp("framing") / "data"
    with Server(folder, module=("fakes.broken_app",)) as running:
        yield running


@pytest.fixture(autouse=True)
def alive(server):
    """Check after each test that the server works, and that nothing but JSON was written."""
    yield
    assert server.get("/healthz").status == 200
    assert [line for line in server.log.splitlines() if not line.startswith("{")] == []
    assert broken_app.PRIVATE not in server.log


@pytest.mark.parametrize(
    "sent",
    [
        request(EDITS, HOST, KIND, CHUNKED, body=b"zz\r\nabc\r\n0\r\n\r\n"),
        request(EDITS, HOST, KIND, CHUNKED, body=b"ffffffffffffffffff\r\nabc"),
        request(EDITS, HOST, KIND, CHUNKED, body=b"3\r\nabcX0\r\n\r\n"),
        request(EDITS, HOST, KIND, CHUNKED, body=b"-1\r\nabc\r\n"),
        request(EDITS, HOST, KIND, CHUNKED, body=b"3\nabc\n0\n\n"),
        request(EDITS, HOST, KIND, CHUNKED, body=b"3;" + b"x" * 40_000 + b"\r\nabc\r\n0\r\n\r\n"),
        request(EDITS, HOST, KIND, CHUNKED, body=b"0\r\n" + b"a: b\r\n" * 2_000 + b"\r\n"),
        request(EDITS, HOST, b"Content-Type: application/json", CHUNKED, body=b'2\r\n{"\r\nzz\r\n'),
        request(EDITS, HOST, KIND, CHUNKED, body=b"1\r\nx\r\n" * 5_000 + b"0\r\n\r\n"),
        request(EDITS, HOST, KIND, b"Transfer-Encoding: gzip, chunked", body=b"0\r\n\r\n"),
        request(EDITS, HOST, KIND, b"Transfer-Encoding: chunked, chunked", body=b"0\r\n\r\n"),
        request(EDITS, HOST, KIND, CHUNKED, CHUNKED, body=b"0\r\n\r\n"),
        request(EDITS, HOST, KIND, CHUNKED, b"Content-Length: 5", body=b"0\r\n\r\n"),
        request(ALIVE),
        request(ALIVE, b"Host:"),
        request(ALIVE, HOST, b"Host: example.com"),
        request(ALIVE, HOST, HOST),
        request(ALIVE, b"Host: a b/@"),
        request(ALIVE, b"Host: localhost:80x"),
    ],
)
def test_a_request_with_ambiguous_framing_is_a_400_in_our_shape(server, sent):
    """The error body and the request id are there, as for every other wrong request."""
    answer = server.raw(sent)
    assert (answer.status, answer.json()["error"]["type"]) == (400, "invalid_request_error"), answer.body
    assert answer.headers["x-request-id"].startswith("req_")


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (request(EDITS, HOST, KIND, b"Transfer-Encoding: gzip", body=b"0\r\n\r\n"), 400),
        (request(EDITS, HOST, KIND, b"Transfer-Encoding: identity", body=b"0\r\n\r\n"), 400),
        (request(b"POST /v1/images/edits HTTP/1.0", HOST, KIND, CHUNKED, body=b"0\r\n\r\n"), 400),
        (request(EDITS, HOST, KIND, b"Content-Length: 5", b"Content-Length: 6", body=b"123456"), 400),
        (request(EDITS, HOST, KIND, b"Content-Length: 5, 5", body=b"12345"), 400),
        (request(EDITS, HOST, KIND, b"Content-Length: -5", body=b"12345"), 400),
        (request(EDITS, HOST, KIND, b"Content-Length: +5", body=b"12345"), 400),
        (request(EDITS, HOST, KIND, b"Content-Length: 18446744073709551616"), 400),
        (request(ALIVE, HOST, b"A: b", b" c"), 400),
        (request(ALIVE, b" X: y", HOST), 400),
        (request(ALIVE, HOST, b"A : b"), 400),
        (request(ALIVE, HOST, b"abc"), 400),
        (request(ALIVE, HOST, b": b"), 400),
        (request(ALIVE, HOST, b"a: b\0c"), 400),
        (request(ALIVE, HOST, b"a: b\rc"), 400),
        (request(ALIVE, HOST, *[b"a%d: b" % number for number in range(150)]), 431),
        (request(ALIVE, HOST, b"a: " + b"x" * 2_000_000), 431),
        (request(b"GET /" + b"a" * 70_000 + b" HTTP/1.1", HOST), 414),
        (request(b"GET / HTTP/9.9", HOST), 400),
        (request(b"G(T /healthz HTTP/1.1", HOST), 400),
        (request(b"GET /a b HTTP/1.1", HOST), 400),
        (request(b"GET /a\x01 HTTP/1.1", HOST), 400),
        (b"GET /\r\n\r\n", 400),
        (b"\x00\x01\x02\xff" * 20 + b"\r\n\r\n", 400),
        (bytes.fromhex("16030100c8010000c40303") + b"a" * 50, 400),
    ],
)
def test_a_request_that_hyper_refuses_is_a_4xx_and_a_closed_connection(server, sent, status):
    """The server below answers before the application sees the request: without a body, and never with a 5xx."""
    with server.connect() as connection:
        connection.sendall(sent)
        answer = read(connection)
    assert (answer.status, answer.body, answer.headers["connection"]) == (status, b"", "close")


@pytest.mark.parametrize(
    "sent",
    [
        request(b"GET /healthz HTTP/1.0"),
        request(ALIVE, b"Host: [::1]:8000"),
        request(ALIVE, b"Host: LOCALHOST:"),
        request(b"GET http://localhost/healthz HTTP/1.1"),
        request(ALIVE, HOST, b"Content-Length: 5", body=b"12345"),
        request(ALIVE, HOST, b"Content-Length: 5", b"Content-Length: 5", body=b"12345"),
        request(ALIVE, HOST, b"a: " + b"x" * 10_000),
        request(ALIVE, HOST, CHUNKED, body=b"1\r\nx\r\n" * 1_000 + b"0\r\n\r\n"),
        request(ALIVE, HOST, b"a: \xff\xfe"),
    ],
)
def test_odd_requests_that_are_fine(server, sent):
    """What RFC 9112 allows is answered."""
    assert server.raw(sent).status == 200


def test_a_request_after_one_whose_body_nobody_read_is_answered(server):
    """The rest of a refused body is dropped, and the connection goes on."""
    with server.connect() as connection:
        for _ in range(3):
            connection.sendall(request(b"POST /nothing HTTP/1.1", HOST, b"Content-Length: 300000", body=bytes(300_000)))
            assert read(connection).status == 404
        connection.sendall(request(ALIVE, HOST))
        assert read(connection).status == 200


def test_a_long_refused_body_is_answered_with_connection_close(server):
    """A client that reads only after it has sent everything still gets the answer, and the connection ends."""
    size = 70_000_000
    with server.connect() as connection:
        connection.sendall(request(b"POST /nothing HTTP/1.1", HOST, b"Content-Length: %d" % size))
        answer = read(connection)
        assert (answer.status, answer.headers["connection"]) == (404, "close")


def test_a_refused_body_that_trickles_ends_with_the_connection(server):
    """The rest is dropped for five seconds; then the connection goes, and nothing holds it."""
    with server.connect() as connection:
        connection.sendall(request(b"POST /nothing HTTP/1.1", HOST, b"Content-Length: 300000", body=b"x"))
        assert read(connection).status == 404

        def ended() -> bool:
            try:
                connection.sendall(b"x")
            except ConnectionError:
                return True
            return False

        assert not ended()
        assert wait_until(ended, 2 * LINGER_SECONDS)


def test_small_chunks_are_fine_as_long_as_they_are_few(server):
    """A picture in chunks of 20 bytes is read."""
    headers, body = form(("model", "flux-vision-upscaler"), ("image", png(32, 24) + bytes(60_000), "a"))
    sent = b"".join(b"14\r\n" + body[at : at + 20] + b"\r\n" for at in range(0, len(body) - len(body) % 20, 20))
    end = body[len(body) - len(body) % 20 :]
    sent += b"%x\r\n" % len(end) + end + b"\r\n" if end else b""
    kind = b"Content-Type: " + headers["Content-Type"].encode()
    answer = server.raw(request(EDITS, HOST, kind, CHUNKED, body=sent + b"0\r\n\r\n"))
    assert answer.status == 200, answer.body


def test_expect_100_continue_gets_the_refusal_alone(server):
    """Who waits for leave to send is not told to go on after the answer."""
    with server.connect() as connection:
        connection.sendall(request(b"POST /nothing HTTP/1.1", HOST, b"Content-Length: 300000", b"Expect: 100-continue"))
        received = b""
        while piece := connection.recv(65_536):
            received += piece
    assert received.startswith(b"HTTP/1.1 404 ")
    assert b"connection: close\r\n" in received.lower()
    assert b"100 Continue" not in received


def test_a_body_that_is_refused_after_100_continue_is_read_to_its_end(server):
    """A client that was told to go on, and reads only after it has sent everything, gets the answer."""
    headers, body = form(("prompt", "x" * 20_000_000), ("image", png(4, 4), "a.png"))
    kind, size = (f"{name}: {text}".encode() for name, text in (*headers.items(), ("Content-Length", str(len(body)))))
    with server.connect() as connection:
        connection.sendall(request(EDITS, HOST, kind, size, b"Expect: 100-continue"))
        assert connection.recv(1024) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(body)
        assert read(connection).status == 413
        connection.sendall(request(ALIVE, HOST))
        assert read(connection).status == 200


def test_no_early_answer_is_lost(tmp_path):
    """The client, aiohttp, reads each refusal, of the key and of the type, although it is still sending the body."""
    found: Counter[str] = Counter()

    async def post(session: aiohttp.ClientSession, url: str, key: str) -> None:
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "text/plain"}
        for _ in range(20):
            try:
                async with session.post(url, data=bytes(300_000), headers=headers) as answer:
                    await answer.read()
                    found[str(answer.status)] += 1
            except aiohttp.ClientError as error:
                found[type(error).__name__] += 1

    async def all_of_them(url: str) -> None:
        async with aiohttp.ClientSession() as session:
            await asyncio.gather(*[post(session, url, key) for key in ("wrong", "sk-one-4f1c09ab7d") * 25])

    with Server(tmp_path / "data", {"api_keys": "sk-one-4f1c09ab7d"}) as keyed:
        asyncio.run(all_of_them(f"{keyed.url}/v1/images/edits"))
    assert found == {"401": 500, "415": 500}


@pytest.mark.parametrize("name", [*broken_app.MESSAGES, "before_start", "after_start"])
def test_an_answer_that_cannot_be_sent_is_a_500_in_our_shape(server, name):
    """As long as no byte of it went out, another one takes its place; the log has one error with the request id."""
    answer = server.get(f"/broken/{name}")
    assert (answer.status, answer.json()["error"]["code"]) == (500, "INTERNAL_ERROR"), answer.body

    def logged() -> list[tuple[str, str]]:
        lines = [json.loads(line) for line in server.log.splitlines()]
        mine = [line for line in lines if line.get("request_id") == answer.headers["x-request-id"]]
        return [(line["event"], line["level"]) for line in mine]

    assert wait_until(lambda: logged() == [("unexpected", "error"), ("request", "info")]), logged()


@pytest.mark.parametrize("name", ["after_body", "after_body_without_length"])
def test_an_answer_that_breaks_off_ends_the_connection(server, name):
    """The client sees that the body is not whole."""
    with server.connect() as connection:
        connection.sendall(request(b"GET /broken/" + name.encode() + b" HTTP/1.1", HOST))
        received = b""
        while piece := connection.recv(65_536):
            received += piece
    assert b"abc" in received
    assert not received.endswith(b"0\r\n\r\n")


def test_what_granian_logs_is_one_line_of_json(server):
    """Its own error about an application that raised has no trace, which could quote anything; the server lives."""
    assert server.get("/broken/leave").status == 500

    def logged() -> list[tuple[str, str]]:
        lines = [json.loads(line) for line in server.log.splitlines()]
        return [(line["level"], line["message"]) for line in lines if line["event"] == "granian"]

    assert wait_until(lambda: logged() == [("error", "Application callable raised an exception")]), logged()


def test_receive_after_a_disconnect_says_so_again(server):
    """Asking again neither hangs nor raises."""
    with server.connect() as connection:
        connection.sendall(request(b"POST /broken/receive_after_disconnect HTTP/1.1", HOST, b"Content-Length: 9"))
    assert wait_until(lambda: server.get("/broken/seen").body == b"http.disconnect," * 2 + b"http.disconnect")


@pytest.mark.parametrize("where", ["head", "upload", "answer", "job"])
def test_a_client_that_resets_the_connection_does_no_harm(server, where):
    """Wherever it happens: the uploads go, and the log has no error."""
    headers, body = form(("model", "flux-vision-upscaler"), ("image", png(32, 24), "a"), ("tile_seconds", "0.3"))
    head = request(EDITS, HOST, b"Content-Type: " + headers["Content-Type"].encode(), b"Content-Length: %d" % len(body))
    sent = {
        "head": head[:40],
        "upload": head + body[: len(body) // 2],
        "job": head + body,
        "answer": request(b"GET /broken/big HTTP/1.1", HOST),
    }[where]
    before = server.log.count('"level":"error"')
    with server.connect() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        connection.sendall(sent)
        if where == "answer":
            connection.recv(10_000)
    assert server.nothing_left()
    assert server.log.count('"level":"error"') == before


def test_a_half_closed_client_is_taken_for_one_that_went_away(server):
    """The connection ends where the client ends its side before the answer: granian leaves hyper's `half_close` off."""
    headers, body = form(("model", "flux-vision-upscaler"), ("image", png(32, 24), "a"), ("tile_seconds", "0.3"))
    kind = b"Content-Type: " + headers["Content-Type"].encode()
    with server.connect() as connection:
        connection.sendall(request(EDITS, HOST, kind, b"Content-Length: %d" % len(body), body=body))
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(65_536) == b""
    assert server.nothing_left()
