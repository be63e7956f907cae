"""Whatever an OpenAI-compatible server does wrong is told by its kind, once, and without a secret."""

from __future__ import annotations

import asyncio
import errno
import socket
from dataclasses import replace
from http import HTTPStatus

import pytest
from PIL import Image

from fakes.openai import FAULTS, FakeOpenAI
from fakes.outcomes import delivered
from fluxvision import imaging
from fluxvision.core.callbacks import JobCallbacks
from fluxvision.core.errors import (
    Cancelled,
    InvalidRequest,
    Misconfigured,
    PolicyRefused,
    UpstreamBusy,
    UpstreamError,
    UpstreamRefused,
    UpstreamUnasked,
    UpstreamUnreachable,
)
from fluxvision.core.openai_servers import OpenAIServer
from fluxvision.core.types import Call
from fluxvision.imaging import Limits
from fluxvision.providers import result_file
from fluxvision.providers.openai import Provider, response
from fluxvision.providers.openai.errors import ErrorTranslator, parse_error_response

PROMPT = "a portrait of my neighbour"
BODY = {"prompt": PROMPT, "scale_factor": 2.0, "user": "somebody@example.org"}

# fault: error, whether it is billed (None: nobody knows), what else is known of it
TABLE = {
    "hang": (UpstreamUnreachable, None, {}),
    "hang_after_headers": (UpstreamError, True, {}),
    "hang_midway": (UpstreamError, True, {}),
    "disconnect": (UpstreamUnreachable, None, {}),
    "disconnect_midway": (UpstreamError, True, {}),
    "busy_seconds": (UpstreamBusy, False, {"retry_after": 7.0}),
    "busy_date": (UpstreamBusy, False, {"retry_after": 7.0}),
    "busy_ms": (UpstreamBusy, False, {"retry_after": 7.0}),
    "busy": (UpstreamBusy, False, {"retry_after": None}),
    "quota": (UpstreamRefused, False, {}),
    "billing": (UpstreamRefused, False, {}),
    "billing_limit": (UpstreamRefused, False, {}),
    "invalid": (InvalidRequest, False, {"param": "scale_factor"}),
    "invalid_words": (UpstreamUnasked, False, {"param": None}),
    "unprocessable": (InvalidRequest, False, {"param": "image"}),
    "too_large": (InvalidRequest, False, {"param": "image"}),
    "policy": (PolicyRefused, False, {"param": None}),
    "moderation": (PolicyRefused, False, {}),
    "unauthorized": (Misconfigured, False, {}),
    "forbidden": (Misconfigured, False, {}),
    "unknown_model": (Misconfigured, False, {}),
    "forbidden_html": (UpstreamRefused, False, {}),
    "unknown_route": (Misconfigured, False, {}),
    "unknown_html": (UpstreamError, False, {}),
    "method_html": (UpstreamError, False, {}),
    "413_html": (UpstreamRefused, False, {}),
    "unknown_file": (InvalidRequest, False, {"param": "image"}),
    "408": (UpstreamError, False, {}),
    "409": (UpstreamError, False, {}),
    "499": (Cancelled, False, {}),
    "500": (UpstreamError, False, {}),
    "500_html": (UpstreamError, False, {}),
    "502": (UpstreamError, False, {}),
    "502_html": (UpstreamError, None, {}),
    "503": (UpstreamError, False, {"retry_after": 7.0}),
    "503_html": (UpstreamError, False, {}),
    "504": (UpstreamError, False, {}),
    "504_html": (UpstreamError, None, {}),
    "504_message": (UpstreamError, None, {}),
    "524": (UpstreamError, None, {}),
    "529": (UpstreamError, False, {}),
    "redirect": (UpstreamError, False, {}),
    "html": (UpstreamError, False, {}),
    "empty": (UpstreamError, False, {}),
    "garbage": (UpstreamError, False, {}),
    "error_200": (UpstreamError, False, {}),
    "no_image": (UpstreamError, True, {}),
    "no_data": (UpstreamError, True, {}),
    "bad_base64": (UpstreamError, True, {}),
    "not_a_picture": (UpstreamError, True, {}),
    "truncated": (UpstreamError, True, {}),
    "url_404": (UpstreamError, True, {}),
    "url_500": (UpstreamError, True, {}),
    "url_private": (UpstreamError, True, {}),
    "url_html": (UpstreamError, True, {}),
    "url_truncated": (UpstreamError, True, {}),
}
# fault: size and format of the picture that comes all the same
PICTURES = {
    "drip": ((96, 80), "png"),
    "url_data": ((96, 80), "png"),
    "wrong_size": ((48, 40), "png"),
    "wrong_format": ((96, 80), "jpeg"),
    "black": ((96, 80), "png"),
}


@pytest.fixture
async def upstream():
    async with FakeOpenAI() as fake:
        yield fake


@pytest.fixture
async def provider(upstream, monkeypatch):
    monkeypatch.setitem(result_file.fetch_result.__kwdefaults__, "pause", 0.0)
    made = Provider(OpenAIServer("other", upstream.base_url, {}, key=upstream.key), patience=1.0)
    yield made
    await made.aclose()


@pytest.fixture
def call(tmp_path):
    path = tmp_path / "photo.png"
    Image.linear_gradient("L").resize((48, 40)).convert("RGB").save(path)
    asked = dict(zip(BODY, BODY, strict=True))
    return Call("other", "gpt-image-1", BODY, imaging.probe(path, Limits()), None, key="work-1", parameter_names=asked)


def test_the_tables_are_whole():
    """Every fault that the fake knows has its meaning here."""
    assert {*TABLE, *PICTURES} == set(FAULTS)


@pytest.mark.parametrize("fault", TABLE)
async def test_a_fault_is_told_by_its_kind(upstream, provider, call, folder, fault):
    """The class, the bill and the pause are right; one request was made, nothing is left, and no secret is told."""
    error, billed, known = TABLE[fault]
    upstream.behave(fault)
    with pytest.raises(error) as caught:
        await provider.run(call, JobCallbacks(), folder)
    found = caught.value
    assert type(found) is error
    assert found.billed is billed
    assert {name: pytest.approx(getattr(found, name), abs=1.5) for name in known} == known
    assert len(upstream.requests) == 1
    assert upstream.paid == bool(billed)
    assert list(folder.iterdir()) == []
    private = (upstream.key, upstream.base_url, "127.0.0.1", f":{upstream.port}", PROMPT, BODY["user"], str(folder))
    assert [secret for secret in private if secret in found.message] == []
    assert found.message.endswith(".")
    assert "http" not in found.message


@pytest.mark.parametrize("fault", PICTURES)
async def test_an_odd_picture_is_a_picture(upstream, provider, call, folder, fault):
    """What the server made is delivered as it is; the gateway brings it to size and format."""
    upstream.behave(fault)
    outcome = await provider.run(call, JobCallbacks(), folder)
    found = imaging.probe(delivered(outcome), Limits())
    assert ((found.width, found.height), found.format) == PICTURES[fault]


async def test_a_full_disk_is_ours(provider, call, folder, monkeypatch):
    """No room for the result is this server's fault, and nothing is left of it."""

    def full(path, **_limits):
        assert path.exists()
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(response, "HELD", 0)  # nothing stays in memory
    monkeypatch.setattr(result_file, "probe_result", full)
    with pytest.raises(OSError, match="no space"):
        await provider.run(call, JobCallbacks(), folder)
    assert list(folder.iterdir()) == []


async def test_the_words_of_the_server_are_told_clean(upstream, provider, call, folder):
    """A refusal keeps what the server said, but for keys and addresses."""
    upstream.behave("invalid_words")
    with pytest.raises(UpstreamRefused) as caught:
        await provider.run(replace(call, body={"scale_factor": 2.0}), JobCallbacks(), folder)
    told = "other refused the request for something that was not asked for: Bad request to …"
    assert caught.value.message.startswith(told)
    assert "scale_factor" in caught.value.message


@pytest.mark.parametrize(
    "secret", ["first line\nsecond secret line", 'it\'s "quoted"', "caf\u00e9 \\ am See", "\u732b\u306e\u7d75"]
)
async def test_words_that_repeat_a_prompt_are_withheld(upstream, provider, call, folder, secret):
    """However the server writes what the caller wrote, none of it is told."""
    upstream.behave("invalid_words")
    with pytest.raises(UpstreamRefused) as caught:
        await provider.run(replace(call, body={"scale_factor": 2.0, "prompt": secret}), JobCallbacks(), folder)
    assert caught.value.message == (
        "other refused the request for something that was not asked for. "
        "Its words repeat what was sent and are not shown."
    )


@pytest.mark.parametrize(
    ("asked", "blamed"),
    [
        ({"scale_factor": "scale_factor"}, (InvalidRequest, "scale_factor")),
        ({"scale_factor": "resolution"}, (InvalidRequest, "resolution")),
        ({}, (UpstreamUnasked, None)),
        ({"prompt": "prompt"}, (UpstreamUnasked, None)),
    ],
)
async def test_a_refusal_blames_the_caller_for_what_the_caller_sent(upstream, provider, call, folder, asked, blamed):  # noqa: PLR0917
    """It names the caller's own parameter; one that this server added is between the two servers."""
    upstream.behave("invalid")
    with pytest.raises(blamed[0]) as caught:
        await provider.run(replace(call, parameter_names=asked), JobCallbacks(), folder)
    assert (type(caught.value), caught.value.param) == blamed
    assert "400 about the parameter scale_factor" in caught.value.message


@pytest.mark.parametrize(
    ("body", "error", "param"),
    [
        ({"detail": [{"loc": ["body", "prompt"], "msg": "Field required"}]}, InvalidRequest, "prompt"),
        ({"detail": [{"loc": ["body", "style"], "msg": "Field required"}]}, UpstreamUnasked, None),
        ({"detail": [{"loc": ["body"], "msg": "Too long"}]}, InvalidRequest, None),
        ({"detail": [{"loc": "body", "msg": 5}, 3]}, InvalidRequest, None),
        ({"detail": []}, InvalidRequest, None),
        ({"error": {"message": "no mask", "param": "mask"}}, UpstreamUnasked, None),
        ({"error": {"message": "bad", "param": "images[0]"}}, InvalidRequest, "image"),
        ({"error": {"message": "bad", "param": "prompt"}}, InvalidRequest, "prompt"),
    ],
)
def test_every_way_to_name_a_parameter(call, body, error, param):
    """Faults as FastAPI lists them name a parameter, too."""
    found = ErrorTranslator("other", ()).translate(parse_error_response(body, 400), call)
    assert (type(found), found.param) == (error, param)


@pytest.mark.parametrize("status", [429, 502, 503])
@pytest.mark.parametrize(("cost", "billed"), [(0, False), (0.1, None), (None, None)])
def test_another_gateways_failed_tries_are_not_free(call, status, cost, billed):
    """One of this kind says what its tries have cost: what it had to pay may be on its bill."""
    attempts = [{"provider": "fal", "outcome": "UPSTREAM_ERROR", "cost": cost}]
    body = {"error": {"message": "No provider could."}, "metadata": {"attempts": attempts, "cost": cost}}
    assert ErrorTranslator("other", ()).translate(parse_error_response(body, status), call).billed is billed


@pytest.mark.parametrize("status", [500, 502, 503, 504, *range(520, 525), 525, 529])
@pytest.mark.parametrize(
    ("body", "own"),
    [
        (None, False),
        ("Bad Gateway", False),
        ({}, False),
        ({"message": "Endpoint request timed out"}, False),
        ({"error": "Gateway Timeout", "path": "/v1/images/edits"}, False),
        ({"title": "A timeout occurred", "detail": "The origin did not answer."}, False),
        ({"error": {"message": "The model crashed.", "type": "server_error"}}, True),
        ({"error": "The model crashed."}, True),
        ({"detail": "The model crashed."}, True),
    ],
)
def test_who_speaks_tells_what_is_known_of_the_bill(call, status, body, own):
    """A server that failed by its own account made nothing; behind one that only stands between, work may go on."""
    found = ErrorTranslator("other", ()).translate(parse_error_response(body, status), call)
    known = own or status not in {502, 504, 520, 521, 522, 523, 524}
    assert (type(found), found.billed) == (UpstreamError, False if known else None)


@pytest.mark.parametrize("status", [401, 403, 404, 405])
@pytest.mark.parametrize(
    ("body", "ours"),
    [
        (None, False),
        ({}, False),
        ([], False),
        ({"error": {}}, False),
        ({"error": {"message": "", "code": None}}, False),
        ({"error": {"code": "not_allowed"}}, True),
        ({"error": {"message": "No such thing"}}, True),
        ({"message": "Forbidden"}, True),
        ({"detail": "Not Found"}, True),
        ("Not Found", True),
    ],
)
def test_a_page_in_place_of_an_error_is_not_the_configuration(call, status, body, ours):
    """A proxy answers for a server that is down, and the next provider is asked; but a key that fails is a key."""
    found = ErrorTranslator("other", ()).translate(parse_error_response(body, status), call)
    page = UpstreamRefused if status == HTTPStatus.FORBIDDEN else UpstreamError  # of a firewall, about this request
    assert type(found) is (Misconfigured if ours or status == HTTPStatus.UNAUTHORIZED else page)
    assert found.billed is False


async def test_a_prompt_of_one_letter_does_not_eat_the_words(upstream, provider, call, folder):
    """What says nothing is not worth hiding."""
    upstream.behave("invalid")
    with pytest.raises(InvalidRequest, match="400 about the parameter scale_factor"):
        await provider.run(replace(call, body={**BODY, "prompt": "a", "negative_prompt": " "}), JobCallbacks(), folder)


async def test_the_servers_name_for_the_work_is_kept(upstream, provider, call, folder):
    """An error knows the request's id at the server, from the header or the body."""
    for fault in ("500", "busy", "no_image", "hang_after_headers"):
        upstream.behave(fault)
        with pytest.raises(UpstreamError) as caught:
            await provider.run(call, JobCallbacks(), folder)
        assert caught.value.upstream_id.startswith("req-")


async def test_a_server_that_is_down_is_unreachable_and_may_come_back(upstream, provider, call, folder):
    """Refused connections are the network's fault; the next call after its return works."""
    await provider.run(call, JobCallbacks(), folder)
    await upstream.stop()
    with pytest.raises(UpstreamUnreachable) as caught:
        await provider.run(call, JobCallbacks(), folder)
    assert not caught.value.billed
    await upstream.start()
    assert delivered(await provider.run(call, JobCallbacks(), folder)).exists()


@pytest.mark.parametrize(
    ("address", "error"),
    [
        ("http://no-such-host.invalid/v1", UpstreamUnreachable),
        ("https://127.0.0.1:{port}/v1", UpstreamUnreachable),
        ("http://127.0.0.1:{closed}/v1", UpstreamUnreachable),
    ],
)
async def test_no_connection_is_the_networks_fault(upstream, call, folder, address, error):
    """A name that does not resolve, a server without TLS and a closed port."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = address.format(port=upstream.port, closed=closed.getsockname()[1])
        provider = Provider(OpenAIServer("other", address, {}), patience=2.0)
        with pytest.raises(error) as caught:
            await provider.run(call, JobCallbacks(), folder)
        await provider.aclose()
    assert type(caught.value) is error
    assert caught.value.message == "other cannot be reached."
    assert upstream.requests == []


async def test_a_redirect_never_gets_the_key(upstream, provider, call, folder):
    """The other address, which would answer, is not asked."""
    upstream.behave("redirect")
    with pytest.raises(UpstreamError, match="redirect"):
        await provider.run(call, JobCallbacks(), folder)
    assert (len(upstream.requests), upstream.paid) == (1, 0)


async def test_a_private_redirect_of_a_picture_is_refused(upstream, provider, call, folder):
    """A picture's link may lead to the server itself, and from there to no private address."""
    upstream.behave("url_private")
    with pytest.raises(UpstreamError, match="no public address") as caught:
        await provider.run(call, JobCallbacks(), folder)
    assert caught.value.billed
    assert upstream.fetched == 1


@pytest.mark.parametrize(
    "head",
    [
        b"not http at all\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + bytes(20_000) + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 5\r\n\r\nplain",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + b"[" * 100_000,
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 400 Bad Request\r\nContent-Length: 100000\r\n\r\n" + b"[" * 100_000,
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\n\r\n\xff\xfe\xfd not",
    ],
)
async def test_what_is_no_web_server_is_a_failure(call, folder, head):
    """Broken headers, broken compression and hostile JSON are the server's failure, never ours."""

    async def handle(reader, writer):
        await reader.readuntil(b"work-1")
        writer.write(head)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    provider = Provider(
        OpenAIServer("other", f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", {}), patience=1.0
    )
    with pytest.raises((UpstreamError, InvalidRequest, Misconfigured)) as caught:
        await provider.run(call, JobCallbacks(), folder)
    assert caught.value.message.startswith(("other ", "The answer of other "))
    await provider.aclose()
    server.close()


async def test_an_endless_answer_is_given_up(call, folder, monkeypatch):
    """An answer over the limit is not read to its end."""
    monkeypatch.setattr("fluxvision.providers.openai.LONGEST", 1_000_000)

    async def handle(reader, writer):
        await reader.readuntil(b"work-1")
        writer.write(b'HTTP/1.1 200 OK\r\n\r\n{"data": "')
        try:
            while True:
                writer.write(bytes(100_000).replace(b"\0", b"A"))
                await writer.drain()
        except ConnectionError:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    provider = Provider(
        OpenAIServer("other", f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", {}), patience=1.0
    )
    with pytest.raises(UpstreamError, match="too long") as caught:
        await provider.run(call, JobCallbacks(), folder)
    assert caught.value.billed
    await provider.aclose()
    server.close()
