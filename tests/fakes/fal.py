"""FakeFal: fal.ai's queue, storage and picture server on loopback, with a ledger, and faults on demand.

In a test's own loop::

    async with FakeFal(fault="status 503 x2") as fal:
        Provider(fal.key, fal.queue_url, fal.storage_url)

For another process, `with running_fal() as fal:` serves from a thread; `fal.kill()` and `fal.revive()` close and reopen
its listener (in the loop: `await fal.stop()`, `await fal.start()`).

**Ledger.** `submissions` (app, body, headers, id), `cancelled` (ids), `uploads` (name, type, size, headers), `paid`
(how many pictures were made), `asked` (stage and status of every request, in order).

**Faults.** `fault` is a text, set at any time (`fal.fail(text)` renews its counts, too): "STAGE KIND [xTIMES]
[header=value …]", several separated by commas; without xTIMES the fault lasts.

Stages: token, upload, submit, status, result, cancel, file. Kinds of every stage, then those of some:

========== ====================================================================================
NNN        that status with fal's infrastructure body; `header=value` go along, `retry-after=date:7` gives a date,
           `content-type=text/html` a page in place of the body, as a server between sends it
hang       the request is taken and never answered (nothing is done)
stall      everything is done, the headers are sent, the body never
drip       everything is done, the body comes a byte at a time
cut        everything is done, the body ends before its promised length
late       everything is done, the answer comes after 0.4 s
lost       everything is done, the connection is closed without an answer
html       a page with status 200
garbage    bytes with status 200
========== ====================================================================================

========== ==========================================================================================
submit     `policy`, `validation`, `picture` (422 about image_url), `balance`, `locked` (403), `elsewhere` (URLs
           of another origin), `ticketless` (no URLs)
status     `failed` (COMPLETED with an error, the result is a 500), `policy` (the same, the result is a 422),
           `unsaid` (COMPLETED with an error, and the result is fine)
result     `none` (no picture), `black`, `nsfw`, `small`, `gif`, `text` (no picture file), `short` (a file that
           is cut off), `data` (a data URI), `images` (plural), `ftp` (an address of another kind), `policy`,
           `validation`
file       `private` (a redirect to a private address), `missing` (404), `expired` (403)
========== ==========================================================================================

`queue` and `work` are the seconds that a job waits and takes, `spent` is what is said of the compute time.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any, Self

from aiohttp import web
from PIL import Image

from catalog.upstream import SCHEMAS
from fakes.listener import end, listening

KEY = "5e1ec7ed-0000-4000-8000-00000000fa1a:0123456789abcdef0123456789abcdef"
LEAVE = "leave-to-upload"
RANGES = {
    app: {name: (row["minimum"], row["maximum"]) for name, row in schema["input"].items() if "maximum" in row}
    for app, schema in SCHEMAS.items()
}
"""The numbers that each recorded endpoint takes."""
FRAMES = {"720p": 1280 * 720, "1080p": 1920 * 1080, "1440p": 2560 * 1440, "2160p": 3840 * 2160}
FACTORS = ("upscale_factor", "upscaling_factor", "scale")
OWN_FACTOR = {"fal-ai/aura-sr": 4.0}
"""How far the models enlarge that cannot be told."""
PRIVATE = "http://169.254.169.254/latest/meta-data"
ELSEWHERE = "http://127.0.0.1:9"
FOREVER = 3600.0
LATE = 0.4
ANYWHERE = ("500", "hang", "stall", "drip", "cut", "late", "lost", "html", "garbage")
FAULTS = {
    "token": ANYWHERE,
    "upload": ANYWHERE,
    "submit": (*ANYWHERE, "policy", "validation", "picture", "balance", "locked", "elsewhere", "ticketless"),
    "status": (*ANYWHERE, "failed", "policy", "unsaid"),
    "result": (
        *(*ANYWHERE, "none", "black", "nsfw", "small", "gif", "text", "short", "data", "images", "ftp"),
        *("policy", "validation"),
    ),
    "cancel": ANYWHERE,
    "file": (*ANYWHERE, "private", "missing", "expired"),
}
"""Every kind of fault by stage, as above; 500 stands for the statuses."""
KNOWN = frozenset(kind for kinds in FAULTS.values() for kind in kinds)
REFUSED = {
    "policy": ("content_policy_violation", "image_url", "The content could not be processed because it was flagged."),
    "validation": ("less_than_equal", "upscale_factor", "Input should be less than or equal to 4"),
    "picture": ("image_too_large", "image_url", "Image is too large. Maximum dimensions are 4096x4096."),
}


@dataclass(frozen=True, slots=True)
class Submission:
    """A job as it was handed over."""

    id: str
    app: str
    body: dict[str, Any]
    headers: dict[str, str]


@dataclass(frozen=True, slots=True)
class Upload:
    """A file as it was uploaded."""

    name: str
    mime: str
    size: int
    headers: dict[str, str]


@dataclass(slots=True)
class Job:
    """A job under way."""

    submission: Submission
    status: str = "IN_QUEUE"
    begun: bool = False
    error: str | None = None
    picture: Image.Image | None = None
    task: asyncio.Task[None] | None = None


@dataclass(slots=True)
class Fault:
    """One fault: where, what, and how often still."""

    stage: str
    kind: str
    times: float
    headers: dict[str, str]


def faults(text: str) -> list[Fault]:
    """Read "STAGE KIND [xTIMES] [header=value …], …"."""
    found = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        stage, kind, *more = part.split()
        if stage not in FAULTS or not (kind in KNOWN or kind.isdigit()):
            raise KeyError(part)
        times = next((int(word[1:]) for word in more if word[0] == "x" and word[1:].isdigit()), float("inf"))
        pairs = dict(word.split("=", 1) for word in more if "=" in word)
        found.append(Fault(stage, kind, times, {name: _date(value) for name, value in pairs.items()}))
    return found


def _date(value: str) -> str:
    kind, _, seconds = value.partition(":")
    return formatdate(time.time() + float(seconds), usegmt=True) if kind == "date" else value


@dataclass(slots=True, eq=False)
class FakeFal:
    """The whole of fal.ai that an upscaling client sees."""

    fault: str = ""
    queue: float = 0.0
    work: float = 0.0
    spent: Any = 1.25
    key: str = KEY
    port: int = 0
    submissions: list[Submission] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    uploads: list[Upload] = field(default_factory=list)
    asked: list[tuple[str, int]] = field(default_factory=list)
    paid: int = 0
    _jobs: dict[str, Job] = field(default_factory=dict)
    _files: dict[str, tuple[bytes, str]] = field(default_factory=dict)
    _parts: dict[str, dict[int, bytes]] = field(default_factory=dict)
    _said: str = ""
    _faults: list[Fault] = field(default_factory=list)
    _runner: web.AppRunner | None = None
    _listener: socket.socket = field(init=False)
    _loop: asyncio.AbstractEventLoop | None = None

    @property
    def url(self) -> str:
        """Return scheme and authority."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def queue_url(self) -> str:
        """Return the value for FLUXVISION_FAL_QUEUE_URL."""
        return f"{self.url}/queue"

    @property
    def storage_url(self) -> str:
        """Return the value for FLUXVISION_FAL_STORAGE_URL."""
        return f"{self.url}/rest"

    @property
    def cdn_url(self) -> str:
        """Return the address that uploads go to and pictures come from."""
        return f"{self.url}/cdn"

    # Its life

    async def __aenter__(self) -> Self:
        """Listen."""
        await self.start()
        return self

    async def __aexit__(self, *_error: object) -> None:
        """End everything."""
        await self.stop()
        tasks = [job.task for job in self._jobs.values() if job.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def start(self) -> None:
        """Listen, on the same port as before."""
        app = web.Application(client_max_size=2**30)
        files = "/cdn/files/{name:.+}"
        app.add_routes(
            [
                web.post("/rest/storage/auth/token", self._on("token", self._token)),
                web.post("/rest/storage/upload/initiate", self._on("token", self._initiate)),
                web.post("/cdn/files/upload", self._on("upload", self._upload)),
                web.post("/cdn/files/upload/multipart", self._on("upload", self._multipart)),
                web.put("/cdn/files/{name}/multipart/{upload}/{part}", self._on("upload", self._part)),
                web.post("/cdn/files/{name}/multipart/{upload}/complete", self._on("upload", self._complete)),
                web.get(files, self._on("file", self._file)),
                web.put(files, self._on("upload", self._put)),
                web.get("/queue/{owner}/{app}/requests/{id}/status", self._on("status", self._status)),
                web.put("/queue/{owner}/{app}/requests/{id}/cancel", self._on("cancel", self._cancel)),
                web.get("/queue/{owner}/{app}/requests/{id}", self._on("result", self._result)),
                web.post("/queue/{name:.+}", self._on("submit", self._submit)),
            ]
        )
        self._runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=0.0)
        self._listener = await listening(self._runner, self.port)
        self.port = self._listener.getsockname()[1]
        self._loop = asyncio.get_running_loop()

    async def stop(self) -> None:
        """Close the listener and all connections; the jobs go on."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await end(runner, self._listener)

    def kill(self) -> None:
        """Stop, from another thread."""
        asyncio.run_coroutine_threadsafe(self.stop(), self._loop).result(10)

    def revive(self) -> None:
        """Start again, from another thread."""
        asyncio.run_coroutine_threadsafe(self.start(), self._loop).result(10)

    # Faults

    def fail(self, fault: str) -> None:
        """Set the faults, with fresh counts."""
        self.fault, self._said, self._faults = fault, fault, faults(fault)

    def _take(self, stage: str) -> Fault:
        if self._said != self.fault:
            self.fail(self.fault)
        for fault in self._faults:
            if fault.stage == stage and fault.times > 0:
                fault.times -= 1
                return fault
        return Fault(stage, "", 0, {})

    def _on(self, stage: str, handler: Callable[..., Any]) -> Callable[..., Any]:
        async def handle(request: web.Request) -> web.StreamResponse:
            fault = self._take(stage)
            answer = await self._before(stage, fault, request)
            if answer is None:
                answer = await handler(request, fault.kind)
            self.asked.append((stage, answer.status))
            return await _spoilt(request, answer, fault.kind)

        return handle

    async def _before(self, stage: str, fault: Fault, request: web.Request) -> web.Response | None:
        """Return an answer in place of the stage's own."""
        if stage != "file" and request.headers.get("Authorization") not in {f"Key {self.key}", f"Bearer {LEAVE}"}:
            return _detail(401, "Cannot access application. Authentication is required.")
        if fault.kind.isdigit():
            await request.read()
            if "content-type" in fault.headers:
                return web.Response(status=int(fault.kind), headers=fault.headers, text="<html>Not now</html>")
            return _detail(int(fault.kind), f"{fault.kind} as asked", fault.headers)
        if fault.kind == "hang":
            self.asked.append((stage, 0))
            await asyncio.sleep(FOREVER)
        if fault.kind == "html":
            return web.Response(text="<html><body>Please log in</body></html>", content_type="text/html")
        if fault.kind == "garbage":
            return web.Response(body=b"\x00\xff{" * 20, content_type="application/json")
        return None

    # Storage

    def publish(self, content: bytes) -> str:
        """Have a PNG file on the picture server and return its address."""
        name = f"published-{len(self._files)}"
        self._files[name] = content, "image/png"
        return f"{self.cdn_url}/files/{name}"

    async def _token(self, _request: web.Request, _kind: str) -> web.Response:
        ends = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(time.time() + 3600))
        return web.json_response({"token": LEAVE, "token_type": "Bearer", "base_url": self.cdn_url, "expires_at": ends})

    async def _initiate(self, request: web.Request, _kind: str) -> web.Response:
        said = await request.json()
        url = f"{self.cdn_url}/files/{len(self.uploads)}-{said['file_name']}"
        return web.json_response({"upload_url": url, "file_url": url})

    async def _upload(self, request: web.Request, _kind: str) -> web.Response:
        name = f"{len(self.uploads)}-{request.headers.get('X-Fal-File-Name', 'upload.bin')}"
        self._keep(name, await request.read(), request)
        return web.json_response({"access_url": f"{self.cdn_url}/files/{name}"})

    async def _put(self, request: web.Request, _kind: str) -> web.Response:
        self._keep(request.match_info["name"], await request.read(), request)
        return web.Response()

    async def _multipart(self, request: web.Request, _kind: str) -> web.Response:
        name = f"{len(self.uploads)}-{request.headers['X-Fal-File-Name']}"
        self._parts[name] = {}
        return web.json_response({"access_url": f"{self.cdn_url}/files/{name}", "uploadId": f"of-{name}"})

    async def _part(self, request: web.Request, _kind: str) -> web.Response:
        number = int(request.match_info["part"])
        self._parts[request.match_info["name"]][number] = await request.read()
        return web.Response(headers={"ETag": f'"{number}"'})

    async def _complete(self, request: web.Request, _kind: str) -> web.Response:
        name, said = request.match_info["name"], await request.json()
        parts = self._parts[name]
        if {part["partNumber"]: part["etag"] for part in said["parts"]} != {n: f'"{n}"' for n in parts}:
            return _detail(400, "The parts do not fit.")
        self._keep(name, b"".join(parts[number] for number in sorted(parts)), request)
        return web.json_response({})

    def _keep(self, name: str, content: bytes, request: web.Request) -> None:
        self._files[name] = content, request.content_type
        self.uploads.append(Upload(name, request.content_type, len(content), dict(request.headers)))

    async def _file(self, request: web.Request, kind: str) -> web.Response:
        if kind == "private":
            return web.Response(status=302, headers={"Location": PRIVATE})
        if kind == "expired":
            return web.Response(status=403, text="<Error>AccessDenied</Error>", content_type="application/xml")
        found = self._files.get(request.match_info["name"])
        if found is None or kind == "missing":
            return web.Response(status=404, text="404: Not Found")
        return web.Response(body=found[0], content_type=found[1])

    # Queue

    async def _submit(self, request: web.Request, kind: str) -> web.Response:
        app = request.match_info["name"]
        body = await request.json()
        if kind in {"balance", "locked"}:
            return _detail(403, "User is locked. Reason: Exhausted balance. Top up your balance at fal.ai/billing.")
        if not app.startswith("fal-ai/"):
            return _detail(404, f"Application '{app}' not found")
        refused = _refused(kind) or _checked(app, body)
        if refused is not None:
            return refused
        name = f"{len(self.submissions):08d}-0000-4000-8000-0123456789ab"
        job = Job(Submission(name, app, body, dict(request.headers)))
        self.submissions.append(job.submission)
        self._jobs[name] = job
        job.task = asyncio.ensure_future(self._do(job))
        place = "/".join(app.split("/")[:2])  # the path below the app is not in these URLs
        base = f"{ELSEWHERE if kind == 'elsewhere' else self.queue_url}/{place}/requests/{name}"
        urls = {"response_url": base, "status_url": f"{base}/status", "cancel_url": f"{base}/cancel"}
        told = {"status": "IN_QUEUE", "request_id": name, "gateway_request_id": name, "queue_position": 0}
        return web.json_response(told if kind == "ticketless" else told | urls)

    async def _do(self, job: Job) -> None:
        await asyncio.sleep(self.queue)
        job.status, job.begun = "IN_PROGRESS", True
        await asyncio.sleep(self.work)
        try:
            job.picture = await asyncio.to_thread(_enlarged, await self._source(job), job.submission)
            self.paid += 1
        except (ValueError, OSError, KeyError):
            job.error = "file_download_error"
        job.status = "COMPLETED"

    async def _source(self, job: Job) -> bytes:
        url = job.submission.body["image_url"]
        if url.startswith("data:"):
            return base64.b64decode(url.partition(",")[2])
        return self._files[url.removeprefix(f"{self.cdn_url}/files/")][0]

    async def _status(self, request: web.Request, kind: str) -> web.Response:
        job = self._jobs.get(request.match_info["id"])
        if job is None:
            return _detail(404, "Request not found")
        told: dict[str, Any] = {"status": job.status, "request_id": job.submission.id, "logs": None}
        if job.status == "IN_QUEUE":
            return web.json_response(told | {"queue_position": 0}, status=202)
        if job.status != "COMPLETED":
            return web.json_response(told, status=202)
        if job.begun:
            told["metrics"] = {"inference_time": self.spent}
        if kind in {"failed", "policy"}:
            job.error = {"failed": "runner_server_error", "policy": "content_policy_violation"}[kind]
        if job.error or kind == "unsaid":
            told |= {"error": "It did not work.", "error_type": job.error or "runner_server_error"}
        return web.json_response(told)

    async def _cancel(self, request: web.Request, _kind: str) -> web.Response:
        job = self._jobs.get(request.match_info["id"])
        if job is None:
            return web.json_response({"status": "NOT_FOUND"}, status=404)
        self.cancelled.append(job.submission.id)
        if job.status == "COMPLETED":
            return web.json_response({"status": "ALREADY_COMPLETED"}, status=400)
        if job.task is not None:
            job.task.cancel()
        job.status, job.error = "COMPLETED", "client_cancelled"
        return web.json_response({"status": "CANCELLATION_REQUESTED"}, status=202)

    async def _result(self, request: web.Request, kind: str) -> web.Response:
        job = self._jobs.get(request.match_info["id"])
        if job is None:
            return _detail(404, "Request not found")
        if job.status != "COMPLETED":
            return _detail(400, "Request is still in progress")
        refused = _refused("policy" if job.error == "content_policy_violation" else kind)
        if refused is not None:
            return refused
        if job.error or job.picture is None:
            status = {"client_cancelled": 499, "file_download_error": 422}.get(job.error or "", 500)
            return _detail(status, "It did not work.", {"x-fal-error-type": job.error or "internal_error"})
        content, mime = await asyncio.to_thread(_encoded, job.picture, kind)
        name = f"result-{job.submission.id}"
        self._files[name] = content, mime
        url = f"{self.cdn_url}/files/{name}" if kind != "ftp" else "ftp://127.0.0.1/x"
        if kind == "data":
            url = f"data:{mime};base64,{base64.b64encode(content).decode()}"
        image = {"url": url, "content_type": mime, "file_name": name, "file_size": len(content)}
        told: dict[str, Any] = {
            "seed": job.submission.body.get("seed", 1_234_567),
            "caption": "a picture of something",
            "timings": {"inference": 1.2, "upload": 0.05},
        }
        if kind == "nsfw":
            told["has_nsfw_concepts"] = [True]
        if kind != "none":
            told |= {"images": [image]} if kind == "images" else {"image": image | {"width": None, "height": None}}
        return web.json_response(told)


async def _spoilt(request: web.Request, answer: web.Response, kind: str) -> web.StreamResponse:
    """Send an answer badly."""
    if kind not in {"late", "lost", "stall", "drip", "cut"}:
        return answer
    if kind == "late":
        await asyncio.sleep(LATE)
        return answer
    if kind == "lost":
        request.transport.abort()
        return answer
    body = answer.body if isinstance(answer.body, bytes) else b""
    stream = web.StreamResponse(status=answer.status, headers={"Content-Type": answer.content_type})
    stream.content_length = len(body)
    await stream.prepare(request)
    if kind == "stall":
        await asyncio.sleep(FOREVER)
    if kind == "cut":
        await stream.write(body[: len(body) // 2])
        await asyncio.sleep(0)
        request.transport.close()
        return stream
    for index in range(len(body)):
        await stream.write(body[index : index + 1])
        await asyncio.sleep(0.05)
    return stream


def _detail(status: int, text: str, headers: dict[str, str] | None = None) -> web.Response:
    return web.json_response({"detail": text}, status=status, headers=headers)


def _refused(kind: str) -> web.Response | None:
    if kind not in REFUSED:
        return None
    name, parameter, message = REFUSED[kind]
    item = {"loc": ["body", parameter], "msg": message, "type": name, "url": f"https://docs.fal.ai/errors#{name}"}
    return web.json_response({"detail": [item | {"input": "what was sent"}]}, status=422)


def _checked(app: str, body: dict[str, Any]) -> web.Response | None:
    """Return the refusal of a body that the recorded schema does not allow."""
    items = []
    if not isinstance(body.get("image_url"), str):
        items.append({"loc": ["body", "image_url"], "msg": "Field required", "type": "missing", "input": {}})
    for name, (low, high) in RANGES.get(app, {}).items():
        given = body.get(name, low)
        if isinstance(given, bool) or not isinstance(given, int | float):
            items.append({"loc": ["body", name], "msg": "Input should be a valid number", "type": "float_type"})
        elif not low <= given <= high:
            message = f"Input should be less than or equal to {high}"
            items.append({"loc": ["body", name], "msg": message, "type": "less_than_equal", "input": given})
    return web.json_response({"detail": items}, status=422) if items else None


def _enlarged(source: bytes, asked: Submission) -> Image.Image:
    """Enlarge as fal does: even sizes, and neither alpha nor profile nor EXIF are kept (the picture lies as stored)."""
    picture = Image.open(io.BytesIO(source)).convert("RGB")
    factor = next((float(asked.body[name]) for name in FACTORS if name in asked.body), OWN_FACTOR.get(asked.app, 2.0))
    if asked.body.get("upscale_mode") == "target":
        frame = FRAMES[asked.body.get("target_resolution", "1080p")]
        factor = (frame / (picture.width * picture.height)) ** 0.5
    size = tuple(max(2, int(side * factor) // 2 * 2) for side in picture.size)
    return picture.resize(size, Image.Resampling.LANCZOS)


def _encoded(picture: Image.Image, kind: str) -> tuple[bytes, str]:
    if kind == "text":
        return b"this is not a picture", "image/png"
    if kind == "black":
        picture = Image.new("RGB", picture.size)
    if kind == "small":
        picture = picture.resize((max(1, picture.width // 3), max(1, picture.height // 3)))
    buffer = io.BytesIO()
    clean = Image.new("RGB", picture.size)
    clean.paste(picture)
    clean.save(buffer, "GIF" if kind == "gif" else "PNG")
    content = buffer.getvalue()
    return (content[: len(content) // 2] if kind == "short" else content), "image/png"


@contextlib.contextmanager
def running_fal(**options: Any) -> Iterator[FakeFal]:
    """Serve from a thread, for tests of other processes."""
    fal = FakeFal(**options)
    ready, ended = threading.Event(), asyncio.Event()

    async def serve() -> None:
        async with fal:
            ready.set()
            await ended.wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), name="fal", daemon=True)
    thread.start()
    assert ready.wait(10)
    loop = fal._loop
    assert loop is not None
    try:
        yield fal
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join(10)
