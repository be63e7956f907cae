"""The provider `fal`: models at fal.ai by its queue, so that a job that was handed over once is never lost or doubled.

::

    picture ──data URI or upload──▶ submit ──▶ ticket ──poll──▶ completed ──▶ result ──▶ picture
                                      any way out before "completed" cancels the job
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import random
import re
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import yarl

from fluxvision.config import Settings
from fluxvision.errors import (
    Cancelled,
    Error,
    InvalidRequest,
    Misconfigured,
    PolicyRefused,
    UpstreamBusy,
    UpstreamError,
    UpstreamRefused,
    UpstreamUnreachable,
)
from fluxvision.guard import Guard
from fluxvision.imaging import formats, loading
from fluxvision.imaging.reading import readable
from fluxvision.providers import common
from fluxvision.types import Call, Outcome, Source, Watch

QUEUE, STORAGE = "https://queue.fal.run", "https://rest.fal.ai"
INLINE = 4_000_000
"""Bytes up to which a picture is sent inside the request."""
LARGEST = 2_000_000_000
PART = 10 * 1024 * 1024
WHOLE = 100 * 1024 * 1024
"""Bytes up to which a picture is uploaded in one piece; larger ones go in parts."""
LIFECYCLE = '{"expiration_duration_seconds":3600}'
"""How long fal.ai keeps a picture."""
ANSWER = 16_000_000
PICTURE_INSIDE = 64_000_000
"""Bytes of an answer that may hold a picture."""
SILENCE = 30.0
SUBMIT_PATIENCE, ASK_PATIENCE, CANCEL_PATIENCE, FETCH_PATIENCE = 120.0, 60.0, 5.0, 60.0
SUBMIT_TRIES = UPLOAD_TRIES = 3
ODD = 5
"""Senseless answers in a row after which a job is given up."""
SHORTEST, LONGEST = 0.1, 5.0
SHARE = 0.1
"""A pause between two looks, as a share of the time waited so far."""
TOKEN_MARGIN = 60.0
DARK, SEEN = 1, 16
"""The brightest sample, of 255, of a black picture; and of one that is surely not."""
FLAT, HEADERS = 0.1, 4096
"""Bytes per pixel, and beside them, up to which a file may be all black."""

PARAMS = {"image_url": "image", "upscale_factor": "scale_factor"}
WORD = re.compile(r"[a-z][a-z0-9_]{0,39}")
POLICY = "content_policy_violation"
THEIRS = frozenset(
    {
        "downstream_service_error",
        "downstream_service_unavailable",
        "file_download_error",
        "generation_timeout",
        "internal_server_error",
        "no_media_generated",
    }
)
"""Types of refusals that are not the request's fault."""
STATUS_OF = {"bad_request": 400, "client_cancelled": 499, "client_disconnected": 499}
"""Error types of a completed job, as statuses; the others are fal.ai's fault."""
OK, UNPAID, FORBIDDEN, GONE, BUSY = 200, 402, 403, 404, 429
REFUSALS = {400: None, 413: "image", 422: None}
"""Statuses that are the request's fault, and the parameter that they are about."""
FAILURES: Mapping[int, tuple[type[Error], str]] = {
    200: (UpstreamError, "fal.ai's answer makes no sense."),
    202: (UpstreamError, "fal.ai's answer makes no sense."),
    401: (Misconfigured, "fal.ai refuses this server's key: the operator of this server has to mend it."),
    402: (UpstreamRefused, "fal.ai does no more work for this server's account: its balance is used up, or locked."),
    403: (
        Misconfigured,
        "fal.ai forbids this server's key what was asked: the operator of this server has to mend it.",
    ),
    404: (Misconfigured, "fal.ai does not know the model that this server asks for: its operator has to mend it."),
    429: (UpstreamBusy, "fal.ai has no room for this request now."),
    499: (Cancelled, "fal.ai was asked to stop this work."),
}
PRIVATE = ("prompt", "negative_prompt")
LOST = (aiohttp.ClientError, TimeoutError, OSError)
UNSENT = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)


class Ticket(msgspec.Struct, frozen=True):
    """What fal.ai says of a job that it has taken."""

    request_id: str
    status_url: str
    response_url: str
    cancel_url: str


class Token(msgspec.Struct, frozen=True):
    """The leave to upload."""

    token: str
    token_type: str
    base_url: str
    expires_at: str


@dataclass(frozen=True, slots=True)
class Answer:
    """A response, read to its end; `said` is its JSON object, None for anything else."""

    status: int
    headers: Mapping[str, str]
    said: Mapping[str, Any] | None

    @property
    def error_type(self) -> str:
        """Return fal.ai's name of the failure, empty where it gives none."""
        found = (self.said or {}).get("error_type") or self.headers.get("x-fal-error-type")
        return found if isinstance(found, str) else ""

    @property
    def failed(self) -> bool:
        """Whether the same question may be answered in a moment."""
        return self.status in {408, 425, BUSY} or self.status >= 500  # noqa: PLR2004

    @property
    def odd(self) -> bool:
        """Whether this is what a server between says rather than the queue."""
        return self.status == GONE or (self.status == OK and self.said is None)

    @property
    def fine(self) -> bool:
        """Whether this is an answer."""
        return self.status in {OK, 202} and self.said is not None


class Provider:
    """Speaks fal.ai's queue protocol. A job is submitted once; whatever happens then, the same job is asked for."""

    title = "fal.ai"
    parallel = 10
    remote = True

    def __init__(
        self,
        key: str,
        queue_url: str = QUEUE,
        storage_url: str = STORAGE,
        *,
        workers: int = 64,
        guard: Guard | None = None,
        pixels: int = common.PIXELS,
        patience: float = FETCH_PATIENCE,
        inline: int = INLINE,
        pace: float = 1.0,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """Use `key`; pictures have at most `pixels` and `patience` seconds to arrive.

        Files of up to `inline` bytes travel inside the request. `pace` scales all pauses and the patience with an
        answer, `chance` gives numbers below 1 for their jitter.
        """
        self.workers = workers
        self._key = key.strip()
        self._queue, self._storage = queue_url.rstrip("/"), storage_url.rstrip("/")
        origin = yarl.URL(self._queue)
        self._origin = origin.scheme, origin.host, origin.port
        self._guard = guard or common.guarded(False, queue_url, storage_url)
        self._pixels, self._patience, self._inline = pixels, patience, inline
        self._pace, self._chance = pace, chance
        self._session: aiohttp.ClientSession | None = None
        self._token: tuple[Token, float] | None = None
        self._renewing = asyncio.Lock()
        self._farewells: set[asyncio.Task[None]] = set()

    def check(self, call: Call) -> None:
        """Refuse a file that is too large to hand over."""
        if call.image.size > LARGEST:
            message = f"image: the picture file is larger than the {LARGEST:,} bytes that are handed to fal.ai."
            raise InvalidRequest(message, param="image")

    async def run(self, call: Call, watch: Watch, folder: Path) -> Outcome:  # noqa: ARG002, cancelling is by the task
        """Make one picture; a cancelled task cancels the job. Raises a `fluxvision.errors.Error`."""
        self.check(call)
        content = await self._document(call)
        submitting = asyncio.ensure_future(self._submit(call, content))
        try:
            ticket = await asyncio.shield(submitting)
        except asyncio.CancelledError:
            await self._part(self._withdraw(submitting))
            raise
        try:
            return await self._follow(call, ticket, folder)
        except UpstreamError as error:
            error.upstream_id = error.upstream_id or self._name(ticket)
            raise

    async def ping(self) -> bool:
        """Return True: there is a key, and only work tells more."""
        return True

    async def aclose(self) -> None:
        """Wait for cancellations under way and close the connections."""
        await asyncio.gather(*self._farewells, return_exceptions=True)
        if self._session is not None:
            await self._session.close()
            self._session = None

    # The job

    async def _document(self, call: Call) -> bytes:
        """Return the request's body, with the picture or the address of its upload."""
        inside = call.image.size <= self._inline
        address = "" if inside else await self._upload(call.image)
        return await asyncio.to_thread(_document, call, address)

    async def _submit(self, call: Call, content: bytes) -> Ticket:
        """Hand the job over once; only where nothing can have been sent is it tried again."""
        headers = {
            "Content-Type": "application/json",
            "X-Fal-Store-IO": "0",
            "X-Fal-Object-Lifecycle-Preference": LIFECYCLE,
        }
        url = f"{self._queue}/{call.upstream}"
        answer, left = None, SUBMIT_TRIES
        while answer is None:
            left -= 1
            try:
                answer = await self._ask("POST", url, SUBMIT_PATIENCE, content, headers)
            except UNSENT:
                if not left:
                    raise UpstreamUnreachable("fal.ai cannot be reached.") from None
                await self._pause(SHORTEST * 2 ** (SUBMIT_TRIES - left))
            except LOST:
                message = "The connection to fal.ai was lost while the job was handed over."
                raise UpstreamUnreachable(message) from None
        if not answer.fine:
            raise failure(answer, self._secrets(call))
        try:
            ticket = msgspec.convert(answer.said, Ticket)
        except msgspec.ValidationError:
            raise UpstreamError("fal.ai took the job and did not say where to ask for it.") from None
        if not all(self._own(url) for url in (ticket.status_url, ticket.response_url, ticket.cancel_url)):
            message = "fal.ai's answer leads to another server, which does not get this server's key."
            raise UpstreamError(message, upstream_id=self._name(ticket))
        return ticket

    async def _follow(self, call: Call, ticket: Ticket, folder: Path) -> Outcome:
        """Wait for the job and fetch what it made; a job that is given up is cancelled."""
        secrets = self._secrets(call)
        try:
            status = await self._completed(ticket, secrets)
        except BaseException:
            await self._part(self._cancel(ticket))
            raise
        broken = _broken(status)
        answer = await self._persist(ticket.response_url, PICTURE_INSIDE, most=0 if broken else ODD)
        if broken and (answer.fine or answer.said is None):
            raise failure(broken, secrets)
        if not answer.fine:
            error = _gone(answer) or failure(answer, secrets)
            if isinstance(error, UpstreamError):
                error.billed = not broken and answer.status in {OK, GONE}
            raise error
        return await self._outcome(call, ticket, status, answer.said or {}, folder)

    async def _completed(self, ticket: Ticket, secrets: tuple[str, ...]) -> Mapping[str, Any]:
        """Ask how the job stands, less and less often, until it is completed; return what is said of it then."""
        started = time.monotonic()
        while True:
            waited = time.monotonic() - started
            await self._pause(min(LONGEST, max(SHORTEST, SHARE * waited)))
            answer = await self._persist(ticket.status_url, ANSWER)
            if not answer.fine:
                raise _gone(answer) or failure(answer, secrets)
            if answer.said and answer.said.get("status") == "COMPLETED":
                return answer.said

    async def _persist(self, url: str, limit: int, most: int | None = None) -> Answer:
        """Ask until there is an answer: lost connections and failing servers are waited for.

        A few answers that make no sense are waited out. Where `most` is given, a failure of the job's own is an answer.
        """
        lost = failed = odd = 0
        while True:
            wait = 0.0
            try:
                answer = await self._ask("GET", url, ASK_PATIENCE, limit=limit)
            except LOST:
                lost += 1
            else:
                if answer.failed:
                    failed += 1
                    wait = common.retry_after(answer.headers, time.time()) or 0.0
                    if most is not None and _final(answer, failed > most):
                        return answer
                elif answer.odd and odd < ODD:
                    odd += 1
                else:
                    return answer
            backoff = min(LONGEST, SHORTEST * 2 ** min(lost + failed + odd, 10))
            await self._pause(max(backoff, min(wait, 4 * LONGEST)))

    async def _outcome(
        self, call: Call, ticket: Ticket, status: Mapping[str, Any], answer: Mapping[str, Any], folder: Path
    ) -> Outcome:
        flags = answer.get("has_nsfw_concepts")
        if flags is True or (isinstance(flags, list) and any(flag is True for flag in flags)):
            raise PolicyRefused("fal.ai's content policy forbids this picture.")
        reference = _reference(answer)
        if reference is None:
            raise UpstreamError("fal.ai says that it is done, and sent no picture.", billed=True)
        limit = 4 * self._pixels
        path = await common.fetched(
            reference,
            folder,
            guard=self._guard,
            limit=limit,
            patience=self._patience,
            pixels=self._pixels,
            pause=common.PAUSE * self._pace,
        )
        try:
            await asyncio.to_thread(_refuse_black, path, call.image, limit, self._pixels)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        seed, caption = answer.get("seed"), answer.get("caption")
        return Outcome(
            path,
            seed=seed if isinstance(seed, int) and not isinstance(seed, bool) else None,
            caption=caption if isinstance(caption, str) else None,
            timings=_numbers(answer.get("timings")),
            upstream_id=self._name(ticket),
            seconds=_numbers(status.get("metrics")).get("inference_time"),
        )

    async def _cancel(self, ticket: Ticket) -> None:
        """Ask fal.ai to stop; it may have no time for that."""
        with contextlib.suppress(*LOST, Error):
            await self._ask("PUT", ticket.cancel_url, CANCEL_PATIENCE)

    async def _withdraw(self, submitting: asyncio.Future[Ticket]) -> None:
        """Cancel a job that is just being handed over."""
        try:
            with contextlib.suppress(Error):
                async with asyncio.timeout(CANCEL_PATIENCE * self._pace):
                    await self._cancel(await submitting)
        except TimeoutError:
            submitting.cancel()

    async def _part(self, farewell: Coroutine[Any, Any, None]) -> None:
        """Let a last request end, even where the task that waits for it is cancelled again."""
        task = asyncio.ensure_future(farewell)
        self._farewells.add(task)
        task.add_done_callback(self._farewells.discard)
        await asyncio.shield(task)

    # The storage

    async def _upload(self, image: Source) -> str:
        """Put the picture where fal.ai can read it, from the disk, and return its address."""
        left = UPLOAD_TRIES
        while True:
            left -= 1
            try:
                return await (self._whole(image) if image.size <= WHOLE else self._parts(image))
            except LOST:
                if not left:
                    raise UpstreamUnreachable("fal.ai's storage cannot be reached.") from None
            except UpstreamError as error:
                if not left or isinstance(error, UpstreamRefused):
                    raise
            self._token = None
            await self._pause(SHORTEST * 2 ** (UPLOAD_TRIES - left))

    async def _whole(self, image: Source) -> str:
        token = await self._leave()
        url = token.base_url.rstrip("/") + "/files/upload"
        with image.path.open("rb") as file:
            said = await self._store("POST", url, token, _labels(image), file)
        return _text(said, "access_url")

    async def _parts(self, image: Source) -> str:
        token = await self._leave()
        url = token.base_url.rstrip("/") + "/files/upload/multipart"
        said = await self._store("POST", url, token, _labels(image))
        address, number = _text(said, "access_url"), _text(said, "uploadId")
        tags: list[dict[str, Any]] = []
        for index, begin in enumerate(range(0, image.size, PART), 1):
            part = await asyncio.to_thread(_read, image.path, begin)
            put = await self._store("PUT", f"{address}/multipart/{number}/{index}", token, _labels(image), part)
            tags.append({"partNumber": index, "etag": _text(put, "etag")})
        closing = {"Content-Type": "application/json"}
        content = io.BytesIO(msgspec.json.encode({"parts": tags}))
        await self._store("POST", f"{address}/multipart/{number}/complete", token, closing, content)
        return address

    async def _store(
        self, method: str, url: str, token: Token, headers: Mapping[str, str], content: Any = None
    ) -> Mapping[str, Any]:
        """Make one request to the storage that fal.ai named and return what it said; raises `UpstreamError`."""
        if self._guard.refusal(url):
            raise UpstreamError("fal.ai named a storage whose address is refused.")
        leave = {"Authorization": f"{token.token_type} {token.token}", "Accept": "application/json"}
        session = common.client(SILENCE, self._guard.connector(yarl.URL(url)))
        try:
            async with (
                session,
                session.request(
                    method, url, data=content, headers={**headers, **leave}, allow_redirects=False
                ) as response,
            ):
                said = _object(await common.body(response, ANSWER)) or {}
                if response.status // 100 != 2:  # noqa: PLR2004
                    message = f"fal.ai's storage refused the picture with {response.status}."
                    raise UpstreamError(message)
                return {"etag": response.headers.get("etag"), **said}
        except (ValueError, TypeError):  # an address or a header that cannot be sent
            raise UpstreamError("fal.ai's storage named an address that cannot be used.") from None

    async def _leave(self) -> Token:
        """Return the leave to upload, a new one where the last has run out."""
        async with self._renewing:
            if self._token is not None and self._token[1] > time.time():
                return self._token[0]
            url = f"{self._storage}/storage/auth/token?storage_type=fal-cdn-v3"
            answer = await self._ask("POST", url, ASK_PATIENCE, b"{}", {"Content-Type": "application/json"})
            if not answer.fine:
                raise failure(answer, self._secrets(None))
            try:
                token = msgspec.convert(answer.said, Token)
                ends = datetime.fromisoformat(token.expires_at).timestamp() - TOKEN_MARGIN
            except (msgspec.MsgspecError, ValueError):
                raise UpstreamError("fal.ai's storage gave a leave that cannot be read.") from None
            self._token = token, ends
            return token

    # The wire

    async def _ask(
        self,
        method: str,
        url: str,
        patience: float,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        limit: int = ANSWER,
    ) -> Answer:
        """Make one request with the key to an origin that the operator configured; raises what `LOST` names."""
        if self._session is None:
            self._session = common.client(SILENCE)
        async with (
            asyncio.timeout(patience * self._pace),
            self._session.request(
                method,
                yarl.URL(url),
                data=None if content is None else io.BytesIO(content),
                headers={"Authorization": f"Key {self._key}", "Accept": "application/json", **(headers or {})},
                allow_redirects=False,
            ) as response,
        ):
            found = await common.body(response, limit)
            return Answer(response.status, response.headers, _object(found))

    async def _pause(self, seconds: float) -> None:
        """Sleep for about so long: three to five quarters."""
        await asyncio.sleep(seconds * self._pace * (0.75 + 0.5 * self._chance()))

    def _own(self, url: str) -> bool:
        """Return whether an address may get the key."""
        try:
            found = yarl.URL(url)
            origin = found.scheme, found.host, found.port
        except ValueError:
            return False
        return found.raw_user is None and found.raw_password is None and origin == self._origin

    def _name(self, ticket: Ticket) -> str:
        """Return the job's name as it may be shown."""
        return common.scrubbed(ticket.request_id, self._key)

    def _secrets(self, call: Call | None) -> tuple[str, ...]:
        body = call.body if call else {}
        words = [body[name] for name in PRIVATE if isinstance(body.get(name), str) and len(body[name]) > 1]
        return (self._key, *self._key.split(":"), *words)


def configured(settings: Settings) -> dict[str, Provider]:
    """Return the provider where there is a key."""
    if not settings.fal_key:
        return {}
    addresses = (settings.fal_queue_url, settings.fal_storage_url)
    made = Provider(
        settings.fal_key,
        *addresses,
        workers=settings.remote_parallel,
        guard=common.guarded(settings.allow_private_urls, *addresses),
        pixels=settings.max_output_pixels,
        patience=max(FETCH_PATIENCE, settings.fetch_timeout),
    )
    return {"fal": made}


def failure(answer: Answer, secrets: tuple[str, ...]) -> Error:
    """Return the error that an answer stands for; its words hold no key, prompt or address."""
    detail = (answer.said or {}).get("detail")
    first = detail[0] if isinstance(detail, list) and detail and isinstance(detail[0], dict) else {}
    kind = first["type"] if isinstance(first.get("type"), str) else answer.error_type
    words = next((text for text in (first.get("msg"), detail) if isinstance(text, str)), "")
    reason = common.scrubbed(words, *secrets).rstrip(".")
    said = f": {reason}." if reason else "."
    if POLICY in {kind, answer.error_type}:
        return PolicyRefused(f"fal.ai's content policy forbids this request{said}")
    if answer.status in REFUSALS and kind not in THEIRS:
        param = _param(first.get("loc")) or REFUSALS[answer.status]
        return InvalidRequest(f"{param or 'request'}: fal.ai refuses it{said}", param=param)
    unpaid = answer.status == FORBIDDEN and re.search("balance|locked|exhausted", words, re.IGNORECASE)
    row = FAILURES.get(UNPAID if unpaid else answer.status)
    kind_of, message = row or (UpstreamError, f"fal.ai failed with {answer.status}{said}")
    wait = common.retry_after(answer.headers, time.time()) if answer.failed else None
    return kind_of(message, retry_after=wait)


def _gone(answer: Answer) -> UpstreamError | None:
    """Return the error for a job that was taken and is not known any more."""
    return UpstreamError("fal.ai no longer knows the job.") if answer.status == GONE else None


def _param(location: Any) -> str | None:
    """Return the public parameter that a refusal is about."""
    names = [part for part in location if isinstance(part, str)] if isinstance(location, list) else []
    name = names[-1] if names and names[-1] != "body" else ""
    return PARAMS.get(name, name) if WORD.fullmatch(name) else None


def _final(answer: Answer, often: bool) -> bool:
    """Return whether a failure is the job's own, which asking again does not change.

    One that says nothing comes from a server between; one that does not say its type is believed when it came `often`.
    """
    if answer.status == BUSY or answer.said is None:
        return False
    return often or bool(answer.error_type) or "x-fal-request-timeout-type" in answer.headers


def _broken(status: Mapping[str, Any]) -> Answer | None:
    """Return what a completed job says of its failure, as an answer; None where it did not fail."""
    error, kind = status.get("error"), status.get("error_type")
    if not error and not kind:
        return None
    known = kind if isinstance(kind, str) else ""
    return Answer(STATUS_OF.get(known, 502), {}, {"detail": error, "error_type": known})


def _document(call: Call, address: str) -> bytes:
    """Return a request's body as JSON; without an address the picture itself is in it."""
    if not address:
        mime = formats.find(call.image.format).mime
        address = f"data:{mime};base64,{base64.b64encode(call.image.path.read_bytes()).decode()}"
    return msgspec.json.encode({**call.body, "image_url": address})


def _labels(image: Source) -> dict[str, str]:
    """Return an upload's headers; the file has a name that says nothing."""
    row = formats.find(image.format)
    return {
        "Content-Type": row.mime,
        "X-Fal-File-Name": f"image.{row.extension}",
        "X-Fal-Object-Lifecycle": LIFECYCLE,
        "Accept-Encoding": "identity",
    }


def _read(path: Path, begin: int) -> bytes:
    with path.open("rb") as file:
        file.seek(begin)
        return file.read(PART)


def _object(content: bytes) -> Mapping[str, Any] | None:
    """Return a JSON object, None for anything else."""
    try:
        found = msgspec.json.decode(content)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _text(said: Mapping[str, Any], name: str) -> str:
    found = said.get(name)
    if not isinstance(found, str) or not found:
        raise UpstreamError("fal.ai's storage did not say where the picture is.")
    return found


def _numbers(found: Any) -> dict[str, float]:
    """Return what is a number in an object."""
    pairs = found.items() if isinstance(found, dict) else ()
    return {name: float(number) for name, number in pairs if isinstance(number, int | float) and number is not True}


def _reference(answer: Mapping[str, Any]) -> str | None:
    """Return the URL or data URI of the first picture of a result, None where there is none."""
    images = answer.get("images")
    for found in (answer.get("image"), *(images[:1] if isinstance(images, list) else ())):
        url = found.get("url") if isinstance(found, dict) else found
        if isinstance(url, str) and url:
            return url
    return None


def _refuse_black(path: Path, source: Source, limit: int, pixels: int) -> None:
    """Raise `UpstreamRefused` for a picture that is all black although its source is not."""
    made = common.recognised(path, limit=limit, pixels=pixels)
    if made.size > FLAT * made.width * made.height + HEADERS:
        return  # black needs less
    brightest = _brightest(made)
    if brightest is None:
        raise UpstreamError("The provider's picture is damaged.", billed=True)
    if brightest <= DARK and (_brightest(source) or 0.0) > SEEN:
        raise UpstreamRefused("fal.ai sent a black picture, as it does for what it will not show.", billed=True)


def _brightest(source: Source) -> float | None:
    """Return the largest colour sample of a picture, of 255; None where it is damaged."""
    row = formats.find(source.format)
    try:
        with readable(row, "image"):
            image = loading.working(loading.opened(source.path, row), source)
            top = float(image.extract_band(0, n=source.channels).max())
    except InvalidRequest:
        return None
    return top / 257 if source.bits == 16 else top  # noqa: PLR2004
