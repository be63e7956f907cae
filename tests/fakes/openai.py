"""A server that speaks OpenAI's images edit protocol on loopback, makes real pictures, and fails on demand.

In a test that runs in the event loop::

    async with FakeOpenAI() as upstream:
        upstream.behave("500", times=1)  # one answer, then well again; without `times` until behave() is called anew
        ...                              # send requests to upstream.base_url with upstream.key
        assert upstream.paid == 1

In a test that does not, or beside a served process, it has a thread of its own::

    with running_openai() as upstream:
        upstream.blocking(upstream.stop())  # connections are refused; start() listens on the same port again

It enlarges the picture by `scale_factor`, or to `size`, else twice; it drops alpha, EXIF and profile, and ignores every
field that it does not know: n, mask, output_format, seed. `FAULTS` lists what can go wrong.
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
import socket
import threading
import time
from collections.abc import Coroutine, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from http import HTTPStatus
from typing import Any, NamedTuple, Self
from uuid import uuid4

from aiohttp import web
from multidict import MultiDict
from PIL import Image

from fakes.listener import end, listening

TYPES = ("image/png", "image/jpeg", "image/webp")
LARGEST = 1 << 30
WAIT = 7
DRIP = 0.05
PRIVATE = "http://169.254.169.254/secret.png"

FAULTS: Mapping[str, str] = {
    "hang": "takes the request and never answers",
    "hang_after_headers": "sends the headers of a success and nothing more; the work is paid",
    "hang_midway": "sends half of a success and nothing more; the work is paid",
    "drip": "sends a whole success, a small piece every 50 ms",
    "disconnect": "takes the request and closes the connection",
    "disconnect_midway": "closes the connection in the middle of a success; the work is paid",
    "busy_seconds": "429 with Retry-After: 7",
    "busy_date": "429 with Retry-After: an HTTP date 7 s from now",
    "busy_ms": "429 with retry-after-ms: 7000",
    "busy": "429 that names no time",
    "quota": "429 insufficient_quota",
    "billing": "402",
    "billing_limit": "400 billing_hard_limit_reached",
    "invalid": "400 about the parameter scale_factor",
    "invalid_words": "400 whose message repeats the key, the address and every field",
    "unprocessable": "422 as FastAPI words it",
    "too_large": "413",
    "policy": "400 content_policy_violation",
    "moderation": "400 moderation_blocked",
    "unauthorized": "401",
    "forbidden": "403",
    "unknown_model": "404 model_not_found",
    "forbidden_html": "403 in HTML, as a firewall words it",
    "unknown_route": "404",
    "unknown_html": "404 in HTML, as a proxy words it",
    "method_html": "405 in HTML",
    "413_html": "413 in HTML, as a proxy words it for which the picture is too large",
    "unknown_file": "404 about the parameter image",
    "408": "408",
    "409": "409",
    "499": "499",
    "500": "500",
    "500_html": "500 in HTML",
    "502": "502",
    "502_html": "502 in HTML, as a proxy words it",
    "503": "503 with Retry-After: 7",
    "503_html": "503 in HTML",
    "504": "504",
    "504_html": "504 in HTML, as a proxy words it",
    "504_message": "504 of a gateway that says it in JSON",
    "524": "524 in HTML",
    "529": "529",
    "redirect": "307 to its own other address, which would answer",
    "html": "200 in HTML",
    "empty": "200 without a body",
    "garbage": "200 with half a JSON document",
    "error_200": "200 with an error body",
    "no_image": "200 with an empty list of pictures; the work is paid",
    "no_data": "200 with an entry that has neither base64 nor link; the work is paid",
    "bad_base64": "200 with a text that is no base64; the work is paid",
    "not_a_picture": "200 with base64 of a text; the work is paid",
    "truncated": "200 with half of the picture; the work is paid",
    "url_404": "a link that is not there; the work is paid",
    "url_500": "a link that answers 500; the work is paid",
    "url_private": "a link that redirects to a private address; the work is paid",
    "url_html": "a link to HTML; the work is paid",
    "url_truncated": "a link to half of the picture; the work is paid",
    "url_data": "a data URI in place of a link, which is no fault for most",
    "wrong_size": "the picture as it came, not enlarged",
    "wrong_format": "a JPEG picture",
    "black": "a black picture of the right size",
}
"""Every fault by name, and what it looks like from outside."""


class Refusal(NamedTuple):
    """OpenAI's error body, without its message."""

    status: int
    type: str
    param: str | None
    code: str | None
    headers: Mapping[str, str] = {}


ERRORS: Mapping[str, Refusal] = {
    "busy_seconds": Refusal(429, "rate_limit_error", None, "rate_limit_exceeded", {"Retry-After": str(WAIT)}),
    "busy_ms": Refusal(429, "rate_limit_error", None, "rate_limit_exceeded", {"retry-after-ms": str(WAIT * 1000)}),
    "busy": Refusal(429, "rate_limit_error", None, "rate_limit_exceeded"),
    "quota": Refusal(429, "insufficient_quota", None, "insufficient_quota"),
    "billing": Refusal(402, "insufficient_quota", None, "INSUFFICIENT_BALANCE"),
    "billing_limit": Refusal(400, "image_generation_user_error", None, "billing_hard_limit_reached"),
    "invalid": Refusal(400, "invalid_request_error", "scale_factor", "invalid_value"),
    "too_large": Refusal(413, "invalid_request_error", "image", None),
    "policy": Refusal(400, "invalid_request_error", None, "content_policy_violation"),
    "moderation": Refusal(400, "image_generation_user_error", None, "moderation_blocked"),
    "unauthorized": Refusal(401, "invalid_request_error", None, "invalid_api_key"),
    "forbidden": Refusal(403, "invalid_request_error", None, "unsupported_country_region_territory"),
    "unknown_model": Refusal(404, "invalid_request_error", "model", "model_not_found"),
    "unknown_file": Refusal(404, "invalid_request_error", "image", "not_found"),
    "408": Refusal(408, "api_error", None, "timeout"),
    "409": Refusal(409, "api_error", None, "conflict"),
    "499": Refusal(499, "cancelled", None, "CANCELLED"),
    "500": Refusal(500, "server_error", None, None),
    "502": Refusal(502, "api_error", None, "UPSTREAM_ERROR"),
    "503": Refusal(503, "api_error", None, "UNAVAILABLE", {"Retry-After": str(WAIT)}),
    "504": Refusal(504, "api_error", None, "DEADLINE_EXCEEDED"),
    "529": Refusal(529, "overloaded_error", None, None),
}
"""Faults that are plain refusals."""

RAW: Mapping[str, tuple[int, str, str]] = {
    "unprocessable": (422, "application/json", '{"detail": [{"loc": ["body", "image"], "msg": "Field required"}]}'),
    "forbidden_html": (403, "text/html", "<html><body>Access denied</body></html>"),
    "unknown_route": (404, "application/json", '{"detail": "Not Found"}'),
    "unknown_html": (404, "text/html", "<html><body>Not Found</body></html>"),
    "method_html": (405, "text/html", "<html><body>Method Not Allowed</body></html>"),
    "413_html": (413, "text/html", "<html><body>Request Entity Too Large</body></html>"),
    "500_html": (500, "text/html", "<html><body>Internal Server Error</body></html>"),
    "502_html": (502, "text/html", "<html><body>Bad Gateway</body></html>"),
    "503_html": (503, "text/html", "<html><body>Service Unavailable</body></html>"),
    "504_html": (504, "text/html", "<html><body>Gateway Time-out</body></html>"),
    "504_message": (504, "application/json", '{"message": "Endpoint request timed out"}'),
    "524": (524, "text/html", "<html><body>A timeout occurred</body></html>"),
    "html": (200, "text/html", "<!doctype html><html><body>Sign in to the network</body></html>"),
    "empty": (200, "application/json", ""),
    "garbage": (200, "application/json", '{"created": 1, "data": [{"b64_json": "iVBOR'),
    "error_200": (200, "application/json", '{"error": {"message": "The model crashed.", "type": "server_error"}}'),
}
"""Faults that are whole answers as they stand: status, content type, text."""


@dataclass(slots=True)
class Request:
    """One request as it came. `size` is that of the picture, `fields` keeps repeated names."""

    headers: Mapping[str, str]
    fields: MultiDict[str]
    size: tuple[int, int] | None = None
    mode: str = ""
    filename: str = ""
    content_type: str = ""
    image: bytes = b""
    mask: bytes | None = None
    query: Mapping[str, str] = field(default_factory=dict)


class FakeOpenAI:
    """The server. All attributes may be set at any time.

    `key` is the key it wants, "" for none; `answers` is b64_json or url, where the request does not say; `delay` the
    seconds of work; `revised_prompt` what it says, None for nothing; `metadata` what it adds to the answer, as another
    fluxvision does; `known` the fields that it takes, None for any; `factor` how far it enlarges by itself. It counts
    `requests` that it read whole, pictures that it would bill (`paid`), requests whose caller closed the connection
    first (`abandoned`), and downloads of results (`fetched`).
    """

    def __init__(self, key: str = "sk-fake-1234567890", *, answers: str = "b64_json", port: int = 0) -> None:
        """Have a port of its own from the beginning, and listen when entered."""
        self.key = key
        self.answers = answers
        self.delay = 0.0
        self.revised_prompt: str | None = "a small test picture, enlarged"
        self.metadata: dict[str, Any] | None = None
        self.known: frozenset[str] | None = None
        self.factor = 2.0
        self.requests: list[Request] = []
        self.paid = 0
        self.abandoned = 0
        self.fetched = 0
        self.port = port or _free_port()
        self.loop: asyncio.AbstractEventLoop | None = None
        self._fault: str | None = None
        self._times: int | None = None
        self._files: dict[str, web.Response | bytes] = {}
        self._runner: web.AppRunner | None = None

    @property
    def origin(self) -> str:
        """Scheme and authority."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def base_url(self) -> str:
        """What an OpenAI client is given."""
        return f"{self.origin}/v1"

    def behave(self, fault: str | None = None, times: int | None = None) -> None:
        """Have a fault from now on, or for the next `times` requests; without a name be well again."""
        if fault is not None and fault not in FAULTS:
            raise KeyError(fault)
        self._fault, self._times = fault, times

    async def start(self) -> None:
        """Listen; nothing happens where it already does."""
        if self._runner is not None:
            return
        self.loop = asyncio.get_running_loop()
        application = web.Application(client_max_size=LARGEST)
        application.router.add_post("/v1/images/edits", self._edit)
        application.router.add_post("/elsewhere/images/edits", self._make)
        application.router.add_get("/v1/models", self._models)
        application.router.add_get("/files/{name}", self._file)
        self._runner = web.AppRunner(application, handler_cancellation=True, access_log=None, shutdown_timeout=0.1)
        self._listener = await listening(self._runner, self.port)

    async def stop(self) -> None:
        """Refuse connections, and break those that are open; `start` undoes it on the same port."""
        if self._runner is not None:
            runner, self._runner = self._runner, None
            await end(runner, self._listener)

    def blocking(self, work: Coroutine[Any, Any, None]) -> None:
        """Do `stop()` or `start()` from another thread than the server's."""
        assert self.loop is not None
        asyncio.run_coroutine_threadsafe(work, self.loop).result(10)

    async def __aenter__(self) -> Self:
        """Listen."""
        await self.start()
        return self

    async def __aexit__(self, *_error: object) -> None:
        """Stop."""
        await self.stop()

    async def _edit(self, request: web.Request) -> web.StreamResponse:
        fault = self._fault
        if self._times is not None:
            self._times -= 1
            if self._times <= 0:
                self._fault = self._times = None
        try:
            return await self._answered(request, fault)
        except asyncio.CancelledError:
            self.abandoned += 1
            raise

    async def _answered(self, request: web.Request, fault: str | None) -> web.StreamResponse:
        asked = await _parsed(request)
        self.requests.append(asked)
        if self.key and request.headers.get("Authorization") != f"Bearer {self.key}":
            return _error(ERRORS["unauthorized"], "Incorrect API key provided.")
        if fault == "hang":
            await asyncio.Event().wait()
        if fault == "disconnect":
            assert request.transport is not None
            request.transport.abort()
        strange = next((name for name in asked.fields if self.known is not None and name not in self.known), None)
        if strange is not None:
            return _error(ERRORS["invalid"]._replace(param=strange, code="unknown_parameter"), "Unknown parameter.")
        return self._refused(asked, fault) or await self._made(request, asked, fault)

    def _refused(self, asked: Request, fault: str | None) -> web.Response | None:
        """Return the answer of a fault that makes no picture."""
        if fault == "redirect":
            return web.Response(status=307, headers={"Location": f"{self.origin}/elsewhere/images/edits"})
        if fault == "busy_date":
            date = formatdate(time.time() + WAIT, usegmt=True)
            return _error(ERRORS["busy"]._replace(headers={"Retry-After": date}), "Slow down.")
        if fault == "invalid_words":
            words = f"Bad request to {self.base_url} with {self.key}: {dict(asked.fields)}"
            return _error(ERRORS["invalid"]._replace(param="nothing"), words)
        if fault in ERRORS:
            return _error(ERRORS[fault], f"{FAULTS[fault]}.")
        if fault in RAW:
            status, content_type, text = RAW[fault]
            return web.Response(status=status, content_type=content_type, text=text)
        return None

    async def _make(self, request: web.Request) -> web.StreamResponse:
        asked = await _parsed(request)
        self.requests.append(asked)
        return await self._made(request, asked, None)

    async def _made(self, request: web.Request, asked: Request, fault: str | None) -> web.StreamResponse:
        if asked.size is None:
            words = f"Invalid file 'image': unsupported mimetype ('{asked.content_type}')"
            return _error(ERRORS["invalid"]._replace(param="image"), words)
        await asyncio.sleep(self.delay)
        picture = await asyncio.to_thread(enlarged, asked, fault, self.factor)
        self.paid += 1
        body = self._body(asked, picture, fault)
        content = json.dumps(body).encode()
        headers = {"x-request-id": f"req-{uuid4().hex[:12]}", "openai-processing-ms": "5"}
        if fault not in {"hang_after_headers", "hang_midway", "drip", "disconnect_midway"}:
            return web.Response(body=content, content_type="application/json", headers=headers)
        response = web.StreamResponse(headers={**headers, "Content-Type": "application/json"})
        response.content_length = len(content)
        await response.prepare(request)
        if fault == "drip":
            for start in range(0, len(content), 1 + len(content) // 10):
                await response.write(content[start : start + 1 + len(content) // 10])
                await asyncio.sleep(DRIP)
            return response
        if fault != "hang_after_headers":
            await response.write(content[: len(content) // 2])
        if fault == "disconnect_midway":
            assert request.transport is not None
            request.transport.close()
            return response
        await asyncio.Event().wait()
        return response

    def _body(self, asked: Request, picture: bytes, fault: str | None) -> dict[str, Any]:
        item = self._item(asked, picture, fault)
        if self.revised_prompt is not None:
            item["revised_prompt"] = self.revised_prompt
        body: dict[str, Any] = {
            "created": int(time.time()),
            "data": [] if fault == "no_image" else [item],
            "output_format": "jpeg" if fault == "wrong_format" else "png",
            "usage": {
                "total_tokens": 100,
                "input_tokens": 50,
                "output_tokens": 50,
                "input_tokens_details": {"text_tokens": 10, "image_tokens": 40},
            },
        }
        return body if self.metadata is None else {**body, "id": f"req_{uuid4().hex}", "metadata": self.metadata}

    def _item(self, asked: Request, picture: bytes, fault: str | None) -> dict[str, Any]:
        text = base64.b64encode(picture).decode()
        wrong: dict[str | None, dict[str, Any]] = {
            "no_data": {},
            "bad_base64": {"b64_json": "*" + text[1:]},
            "not_a_picture": {"b64_json": base64.b64encode(b"I am sorry, I cannot do that.").decode()},
            "truncated": {"b64_json": base64.b64encode(picture[: len(picture) // 2]).decode()},
            "url_data": {"url": f"data:image/png;base64,{text}"},
        }
        if fault in wrong:
            return wrong[fault]
        linked = asked.fields.get("response_format", self.answers) == "url" or (fault or "").startswith("url_")
        return {"url": self._link(picture, fault)} if linked else {"b64_json": text}

    def _link(self, picture: bytes, fault: str | None) -> str:
        name = f"{uuid4().hex}.png"
        found: dict[str | None, Any] = {
            "url_404": None,
            "url_500": web.Response(status=500),
            "url_private": web.Response(status=302, headers={"Location": PRIVATE}),
            "url_html": b"<html><body>Sign in</body></html>",
            "url_truncated": picture[: len(picture) // 2],
        }
        served = found.get(fault, picture)
        if served is not None:
            self._files[name] = served
        return f"{self.origin}/files/{name}"

    async def _file(self, request: web.Request) -> web.StreamResponse:
        self.fetched += 1
        found = self._files.get(request.match_info["name"])
        if found is None:
            return web.Response(status=404)
        if isinstance(found, bytes):
            return web.Response(body=found, content_type="image/png")
        return web.Response(status=found.status, headers=found.headers)

    async def _models(self, _request: web.Request) -> web.StreamResponse:
        model = {"id": "gpt-image-1", "object": "model", "created": 1, "owned_by": "fake"}
        return web.json_response({"object": "list", "data": [model]})


@contextmanager
def running_openai(**options: Any) -> Iterator[FakeOpenAI]:
    """Serve from a thread until the block ends; `options` are those of FakeOpenAI."""
    fake = FakeOpenAI(**options)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="fake-openai", daemon=True)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(fake.start(), loop).result(10)
        yield fake
    finally:
        asyncio.run_coroutine_threadsafe(fake.stop(), loop).result(10)
        asyncio.run_coroutine_threadsafe(loop.shutdown_default_executor(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


def enlarged(asked: Request, fault: str | None = None, own: float = 2.0) -> bytes:
    """Return the picture that a request asks for as a PNG file, or what a fault makes of it; `own` is its factor."""
    source = Image.open(io.BytesIO(asked.image)).convert("RGB")
    wanted = asked.fields.get("size", "auto")
    if "x" in wanted:
        width, height = (int(side) for side in wanted.split("x"))
    else:
        factor = float(asked.fields.get("scale_factor", own))
        width, height = round(source.width * factor), round(source.height * factor)
    made = source if fault == "wrong_size" else source.resize((width, height), Image.Resampling.BICUBIC)
    if fault == "black":
        made = Image.new("RGB", made.size)
    found = io.BytesIO()
    made.save(found, "JPEG" if fault == "wrong_format" else "PNG")
    return found.getvalue()


async def _parsed(request: web.Request) -> Request:
    """Read a form: texts, the first picture under `image` or `image[]`, and the mask."""
    form = await request.post()
    asked = Request(request.headers, MultiDict(), query=dict(request.query))
    for name, value in form.items():
        if isinstance(value, str):
            asked.fields.add(name, value)
            continue
        assert isinstance(value, web.FileField)
        content = value.file.read()
        value.file.close()
        if name == "mask":
            asked.mask = content
        elif name in {"image", "image[]"} and not asked.image:
            asked.filename, asked.content_type, asked.image = value.filename, value.content_type, content
    if asked.content_type in TYPES:
        picture = Image.open(io.BytesIO(asked.image))
        asked.size, asked.mode = picture.size, picture.mode
    return asked


def _error(row: Refusal, message: str) -> web.Response:
    """Return OpenAI's error body."""
    body = {"error": {"message": message, "type": row.type, "param": row.param, "code": row.code}}
    headers = {"x-request-id": f"req-{uuid4().hex[:12]}", **row.headers}
    return web.json_response(body, status=row.status, headers=headers, reason=_reason(row.status))


def _reason(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
