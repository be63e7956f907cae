"""The providers of the setting `openai`: other servers that speak OpenAI's images API, another fluxvision for one."""

from __future__ import annotations

import binascii
import secrets
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http import HTTPStatus
from math import isfinite
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import msgspec
import yarl
from aiohttp.abc import AbstractStreamWriter

from fluxvision import imaging
from fluxvision.config import Settings, Upstream
from fluxvision.errors import (
    Cancelled,
    Error,
    InvalidRequest,
    Misconfigured,
    PolicyRefused,
    Unavailable,
    UpstreamBusy,
    UpstreamError,
    UpstreamRefused,
    UpstreamUnreachable,
)
from fluxvision.machine import NO_SPACE
from fluxvision.providers import common
from fluxvision.types import Call, Fidelity, Outcome, Watch
from fluxvision.workers import in_thread

LARGEST = 512_000_000
"""Bytes of a picture."""
LONGEST = LARGEST * 4 // 3 + 4_000_000
"""Bytes of an answer with a picture; those of one without are REFUSAL."""
REFUSAL = 65_536
SMALL = 1_000_000
"""Bytes up to which a form is sent in one piece, and an answer read without a thread."""
CHUNK = 256 * 1024
SLICE = 4 * 1024 * 1024
DEEPEST = 8
"""Levels of nesting in a value that was not known here."""
NAME = 200
"""Characters of a name that a server gives."""
LAST_SEED = 2**63 - 1
BEST_PSNR = 99.0

POLICY = frozenset({"content_policy_violation", "moderation_blocked", "content_filter", "responsibleaipolicyviolation"})
MONEY = frozenset({"insufficient_quota", "billing_hard_limit_reached", "billing_error", "insufficient_balance"})
MODEL = frozenset({"model_not_found", "model_disabled", "deploymentnotfound"})
KEY = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})
ASKED_WRONGLY = frozenset({400, 404, 413, 415, 422})
CLIENT_CLOSED = 499
EMPTY = "does no work for this server now: its balance is used up"
PRIVATE, TELLING = ("prompt", "negative_prompt", "user"), 3
"""What of a request is never repeated in a message, from so many characters on."""

FOREIGN: tuple[tuple[type[Exception], type[UpstreamError], str], ...] = (
    (aiohttp.ClientConnectorError, UpstreamUnreachable, "cannot be reached"),
    (aiohttp.ConnectionTimeoutError, UpstreamUnreachable, "cannot be reached"),
    (TimeoutError, UpstreamUnreachable, "did not answer in time"),
    (aiohttp.ClientConnectionError, UpstreamUnreachable, "closed the connection before it answered"),
    (Exception, UpstreamError, "did not answer as a web server"),
)
"""What the HTTP client raises before there is an answer, the particular first, and how it is told."""


class _Item(msgspec.Struct):
    """One entry of `data`. The base64 text stays where it lies in the answer."""

    b64_json: msgspec.Raw = msgspec.Raw(b"null")
    url: Any = None
    revised_prompt: Any = None


class _Answer(msgspec.Struct):
    """What is read of a success."""

    data: list[_Item] = []
    metadata: Any = None
    id: Any = None
    error: Any = None


@dataclass(frozen=True, slots=True)
class _Said:
    """An answer that is no success: its status, its words, and the seconds that it asks to wait."""

    status: int
    message: str
    param: str
    codes: frozenset[str]
    wait: float | None

    @property
    def asked_wrongly(self) -> bool:
        """Whether the server blames the request."""
        return HTTPStatus.BAD_REQUEST <= self.status < HTTPStatus.INTERNAL_SERVER_ERROR

    @property
    def nowhere(self) -> bool:
        """Whether there is no such address or model."""
        route = self.status == HTTPStatus.NOT_FOUND and not self.param
        model = self.asked_wrongly and (self.param == "model" or bool(self.codes & MODEL))
        return route or model or self.status == HTTPStatus.METHOD_NOT_ALLOWED


REFUSALS: tuple[tuple[Callable[[_Said], bool], type[Error], str], ...] = (
    (lambda said: said.asked_wrongly and bool(said.codes & POLICY), PolicyRefused, "will not make this by its policy"),
    (lambda said: said.status == HTTPStatus.PAYMENT_REQUIRED, UpstreamRefused, EMPTY),
    (lambda said: said.asked_wrongly and bool(said.codes & MONEY), UpstreamRefused, EMPTY),
    (lambda said: said.status == HTTPStatus.TOO_MANY_REQUESTS, UpstreamBusy, "has no room for this work now"),
    (lambda said: said.status == CLIENT_CLOSED, Cancelled, "was told to stop"),
    (lambda said: said.status in KEY, Misconfigured, "refuses this server's key"),
    (lambda said: said.nowhere, Misconfigured, "does not know the address or the model that is configured for it"),
    (lambda said: said.status in ASKED_WRONGLY, InvalidRequest, "refused the request"),
    (lambda said: 300 <= said.status < 400, UpstreamError, "answered with a redirect, which is not followed"),  # noqa: PLR2004
    (lambda _said: True, UpstreamError, "answered {}"),
)
"""What an answer that is no success means; the first that holds counts."""


class Provider:
    """Sends a call to one server, once: what may have been paid is never sent again."""

    parallel = 10
    remote = True

    def __init__(
        self,
        upstream: Upstream,
        *,
        workers: int = 64,
        patience: float = 300.0,
        pixels: int = common.PIXELS,
        private: bool = False,
    ) -> None:
        """Wait at most `patience` seconds for a byte; `private` lets links in answers lead to private addresses."""
        self.title = upstream.title or upstream.name
        self.workers = workers
        self._patience = patience
        self._pixels = pixels
        address = upstream.base_url.rstrip("/")
        self._target = yarl.URL(f"{address}/images/edits")
        self._guard = common.guarded(private, address)
        self._secrets = (upstream.key, address, str(self._target.host))
        self._headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
        if upstream.key:
            self._headers["Authorization"] = f"Bearer {upstream.key}"
        self._session: aiohttp.ClientSession | None = None
        self._pool = ThreadPoolExecutor(2, thread_name_prefix=upstream.name)

    def check(self, call: Call) -> None:
        """Refuse a value that no form can carry."""
        _form(call)

    async def run(self, call: Call, watch: Watch, folder: Path) -> Outcome:
        """Make one picture; a cancelled task closes the connection, and so tells the server to stop."""
        if watch.cancel.is_set():
            raise Cancelled("The work was stopped.")
        if self._session is None:
            self._session = common.client(self._patience)
        boundary, form = _form(call)
        headers = {**self._headers, "Content-Type": f"multipart/form-data; boundary={boundary}"}
        if call.key:
            headers["Idempotency-Key"] = call.key
        identity, success = None, False
        try:
            async with self._session.post(
                self._target, data=_upload(form), headers=headers, allow_redirects=False
            ) as response:
                identity = _name(response.headers.get("x-request-id"))
                success = response.status // 100 == 2  # noqa: PLR2004, every 2xx
                if not success:
                    raise self._refusal(await _refused(response), call)
                content = await _read(response, LONGEST)
            return await self._outcome(content, identity, watch, folder, call)
        except UpstreamError as error:
            error.upstream_id = error.upstream_id or identity
            raise
        except (aiohttp.ClientError, TimeoutError) as error:
            if success:
                message = f"The answer of {self.title} broke off."
                raise UpstreamError(message, upstream_id=identity, billed=True) from None
            raise self._unanswered(error) from None

    async def ping(self) -> bool:
        """Return True: whether the server is up shows when it is called."""
        return True

    async def aclose(self) -> None:
        """Close all connections and end the threads."""
        if self._session is not None:
            await self._session.close()
        self._pool.shutdown(wait=True, cancel_futures=True)

    async def _outcome(
        self, content: bytearray, identity: str | None, watch: Watch, folder: Path, call: Call
    ) -> Outcome:
        """Return what an answer holds; its picture is a new file in `folder`."""
        path = folder / uuid4().hex

        def unpack() -> tuple[_Answer, bool]:
            answer = self._decoded(content, call)
            return answer, self._saved(answer, path)

        answer, here = unpack() if len(content) <= SMALL else await in_thread(self._pool, watch, unpack)
        if not here:
            path = await self._fetched(answer, folder)
        said = answer.metadata if isinstance(answer.metadata, dict) else {}
        caption = answer.data[0].revised_prompt
        told = {"upstream_provider": _name(said.get("provider")), "upstream_model": _name(said.get("executed_model"))}
        return Outcome(
            picture=path,
            seed=_seed(said.get("seed")),
            caption=caption if isinstance(caption, str) and caption else None,
            details={name: value for name, value in told.items() if value is not None},
            upstream_id=_name(answer.id) or identity,
            fidelity=_fidelity(said.get("fidelity")),
        )

    def _decoded(self, content: bytearray, call: Call) -> _Answer:
        """Return an answer with at least one entry."""
        try:
            answer = msgspec.json.decode(content, type=_Answer)
        except msgspec.ValidationError:  # JSON of another shape
            answer = _Answer()
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            message = f"{self.title} sent something that is no answer of an images API."
            raise UpstreamError(message) from None
        if answer.error and not answer.data:
            message = f"{self.title} failed{self._words(_said(answer.error), call)}"
            raise UpstreamError(message)
        if not answer.data:
            raise self._pictureless()
        return answer

    def _saved(self, answer: _Answer, path: Path) -> bool:
        """Write the picture that the answer holds to a new file; False when it holds none."""
        try:
            if not _decode(answer.data[0].b64_json, path):
                return False
            common.recognised(path, limit=LARGEST, pixels=self._pixels)
        except BaseException as error:
            path.unlink(missing_ok=True)
            if isinstance(error, OSError) and error.errno in NO_SPACE:
                raise Unavailable("There is no room on this server's disk for the result.") from None
            if isinstance(error, binascii.Error | msgspec.DecodeError):
                message = f"{self.title} sent a picture that is not valid base64."
                raise UpstreamError(message, billed=True) from None
            raise
        return True

    async def _fetched(self, answer: _Answer, folder: Path) -> Path:
        """Return a new file with the picture that the answer links to; a link without a host is the server's own."""
        link = answer.data[0].url
        if not isinstance(link, str) or not link:
            raise self._pictureless()
        if link.startswith("/") and not link.startswith("//"):
            link = f"{self._target.origin()}{link}"
        return await common.fetched(
            link, folder, guard=self._guard, limit=LARGEST, patience=self._patience, pixels=self._pixels
        )

    def _refusal(self, said: _Said, call: Call) -> Error:
        """Return what an answer that is no success means."""
        kind, sentence = next((kind, sentence) for holds, kind, sentence in REFUSALS if holds(said))
        words = self._words(said, call) if kind in {InvalidRequest, PolicyRefused} else "."
        message = f"{self.title} {sentence.format(said.status)}{words}"
        ours = kind is InvalidRequest and said.param in {"image", "mask", *call.body}
        return kind(message, param=said.param if ours else None, retry_after=said.wait)

    def _unanswered(self, error: Exception) -> UpstreamError:
        """Return what it means that there was no answer."""
        ours, reason = next((ours, reason) for kind, ours, reason in FOREIGN if isinstance(error, kind))
        return ours(f"{self.title} {reason}.")

    def _pictureless(self) -> UpstreamError:
        return UpstreamError(f"{self.title} answered without a picture.", billed=True)

    def _words(self, said: _Said, call: Call) -> str:
        """Return the end of a sentence: the server's own words, without anything that is nobody's business."""
        private = (str(call.body.get(name, "")).strip() for name in PRIVATE)
        hidden = [text for text in private if len(text) >= TELLING]
        words = common.scrubbed(said.message, *self._secrets, *hidden).rstrip(".")
        return f": {words}." if words else "."


class _Upload(aiohttp.Payload):
    """A form whose files are read while it is sent."""

    _value: tuple[bytes | Path, ...]

    def __init__(self, pieces: tuple[bytes | Path, ...], size: int) -> None:
        super().__init__(pieces)
        self._size = size

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """Only for debugging, and a form is no text."""
        raise TypeError(encoding, errors)

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Send all pieces in order."""
        for piece in self._value:
            if isinstance(piece, bytes):
                await writer.write(piece)
                continue
            with piece.open("rb") as file:
                while chunk := file.read(CHUNK):  # written a moment ago, so in memory: a thread would take longer
                    await writer.write(chunk)


def configured(settings: Settings) -> dict[str, Provider]:
    """Return one provider per configured server, by its name."""
    return {
        upstream.name: Provider(
            upstream,
            workers=settings.remote_parallel,
            patience=settings.attempt_timeout,
            pixels=settings.max_output_pixels,
            private=settings.allow_private_urls,
        )
        for upstream in settings.openai
    }


def _form(call: Call) -> tuple[str, tuple[bytes | Path, ...]]:
    """Return a boundary and the pieces of the form that asks for a call; raises `InvalidRequest`."""
    boundary = secrets.token_hex(16)
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="'
    texts = [("model", call.upstream)]
    for name, value in call.body.items():
        texts.extend(_flat(name, value, name))
    try:
        pieces: list[bytes | Path] = ["".join(f'{head}{_quoted(k)}"\r\n\r\n{v}\r\n' for k, v in texts).encode()]
    except UnicodeEncodeError:
        raise InvalidRequest("The request holds characters that cannot be sent.") from None
    for name, source in (("image", call.image), ("mask", call.mask)):
        if source is not None:
            row = imaging.find(source.format)
            kind = f'"; filename="{name}.{row.extension}"\r\nContent-Type: {row.mime}\r\n\r\n'
            pieces += [f"{head}{name}{kind}".encode(), source.path, b"\r\n"]
    return boundary, (*pieces, f"--{boundary}--\r\n".encode())


def _upload(form: tuple[bytes | Path, ...]) -> bytes | _Upload:
    """Return a small form in one piece, and of a large one where its pieces are."""
    size = sum(len(piece) if isinstance(piece, bytes) else piece.stat().st_size for piece in form)
    if size > SMALL:
        return _Upload(form, size)
    return b"".join(piece if isinstance(piece, bytes) else piece.read_bytes() for piece in form)


def _flat(name: str, value: Any, param: str, depth: int = 0) -> Iterator[tuple[str, str]]:
    """Yield a value's form fields, named as OpenAI's own clients name them: a[b] and a[]."""
    match value:
        case None:
            return
        case bool():
            yield name, "true" if value else "false"
        case str() | int():
            yield name, str(value)
        case float() if isfinite(value):
            yield name, repr(value).removesuffix(".0")
        case dict() if depth < DEEPEST:
            for key, part in value.items():
                yield from _flat(f"{name}[{key}]", part, param, depth + 1)
        case list() | tuple() if depth < DEEPEST:
            for part in value:
                yield from _flat(f"{name}[]", part, param, depth + 1)
        case _:
            message = f"{param}: this value cannot be sent to the provider."
            raise InvalidRequest(message, param=param)


def _quoted(name: str) -> str:
    """Return a field's name as browsers write it."""
    return name.replace("\r", "%0D").replace("\n", "%0A").replace('"', "%22")


async def _read(response: aiohttp.ClientResponse, limit: int) -> bytearray:
    """Return a body; raises `UpstreamError` for one over the limit."""
    content = bytearray()
    async for chunk in response.content.iter_any():
        content += chunk
        if len(content) > limit:
            raise UpstreamError("The provider's answer is too long.", billed=True)
    return content


async def _refused(response: aiohttp.ClientResponse) -> _Said:
    """Return what an answer says that is no success, as far as it can be read."""
    wait = common.retry_after(response.headers, time.time())
    try:
        return _said(msgspec.json.decode(await _read(response, REFUSAL)), response.status, wait)
    except (aiohttp.ClientError, TimeoutError, UpstreamError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _said(None, response.status, wait)


def _said(found: Any, status: int = 0, wait: float | None = None) -> _Said:
    """Return what an error body says; texts are empty where it says nothing."""
    if isinstance(found, dict):
        found = found.get("error") or found
    if not isinstance(found, dict):
        found = {"message": found}
    found = {"message": found.get("detail"), **found}
    texts = {name: found.get(name) for name in ("message", "type", "param", "code")}
    said = {name: text if isinstance(text, str) else "" for name, text in texts.items()}
    codes = frozenset({said["code"].lower(), said["type"].lower()})
    return _Said(status, said["message"], said["param"].partition("[")[0], codes, wait)


def _decode(raw: msgspec.Raw, path: Path) -> bool:
    """Write what a JSON text of base64 stands for to a new file, in slices; False for null and for an empty text."""
    text = memoryview(raw)
    if bytes(text[:1]) != b'"' or len(text) == len('""'):
        return False
    slices = (text[start : min(start + SLICE, len(text) - 1)] for start in range(1, len(text) - 1, SLICE))
    with path.open("xb") as file:
        try:
            for each in slices:
                file.write(msgspec.json.decode(b'"%b"' % bytes(each), type=bytes))  # four times as fast as binascii
        except msgspec.DecodeError:
            file.seek(0)
            file.truncate()
            file.write(_lenient(msgspec.json.decode(raw, type=str)))
    return True


def _lenient(text: str) -> bytes:
    """Decode base64 with line breaks, or behind the beginning of a data URI, as some servers write it."""
    return binascii.a2b_base64("".join(text.rpartition(",")[2].split()), strict_mode=True)


def _name(found: Any) -> str | None:
    """Return a short printable text as it is, None for anything else."""
    return found if isinstance(found, str) and 0 < len(found) <= NAME and found.isprintable() else None


def _seed(found: Any) -> int | None:
    return found if isinstance(found, int) and not isinstance(found, bool) and 0 <= found <= LAST_SEED else None


def _fidelity(found: Any) -> Fidelity | None:
    """Return what another fluxvision measured, None where it makes no sense."""
    try:
        fidelity = msgspec.convert(found, Fidelity)
    except msgspec.ValidationError:
        return None
    figures = (fidelity.lr_psnr_db, fidelity.delta_e, fidelity.seam_ratio or 0.0)
    sane = all(isfinite(figure) and figure >= 0 for figure in figures) and fidelity.lr_psnr_db <= BEST_PSNR
    return fidelity if sane else None
