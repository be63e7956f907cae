"""A campaign: callers who play the cases of seeds against one real server, and what is watched meanwhile."""

from __future__ import annotations

import base64
import io
import itertools
import json
import random
import re
import threading
import time
import traceback
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import psutil
from PIL import Image

from fakes.server import PATIENCE, Answer, Server, wait_until
from fuzz import cases, forms, headers, operations, oracle, pictures, wire
from fuzz.client import Hang, play

SETTINGS = {
    "api_keys": headers.KEY.decode(),
    "admin_key": headers.ADMIN.decode(),
    "max_input_pixels": "30000",
    "max_output_pixels": "30000",
    "max_upload_bytes": "2000000",
    "upload_timeout": "2",
    "fetch_timeout": "1",
    "media_ttl": "20",
    "queue": "64",
    "playground_rate": "1000000",
}
"""Small limits, so that a case is short: over them a request is refused, which is a case as well."""
BANNER_END = "Ctrl-C"
CALLERS = 6
EVERY = 3.0
"""Seconds between two control requests."""
CONTROL_SECONDS = PATIENCE
LINK = re.compile(rb'"url":"http://[^/"]*(/media/[^"]*)"')
RANGES = (
    "bytes=0-0",
    "bytes=-1",
    "bytes=5-",
    "bytes=9-5",
    "bytes=999999999-",
    "bytes=0-1,3-4",
    "bytes=x",
    "lines=1-2",
    "bytes=--1",
    "",
)
UNSENDABLE = dict.fromkeys((*range(33), 127, *range(128, 256)), "_")
SECRETS = (headers.KEY.decode(), headers.ADMIN.decode(), "a tree", "etc/passwd", "a description", "signature=")
"""Parts of keys, prompts, file names, metadata and links that the cases send."""
FAR = 0.08
"""How far, of the whole range, a control's mean colour may lie from the source's."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that must not happen; `seed` is None where no single case is to blame."""

    seed: int | None
    text: str


@dataclass(slots=True)
class Resources:
    """What the process holds."""

    rss: int
    files: int
    threads: int


@dataclass(slots=True)
class Campaign:
    """Plays cases against a server and collects what is wrong."""

    server: Server
    findings: list[Finding] = field(default_factory=list)
    statuses: Counter[str] = field(default_factory=Counter)
    slowest: tuple[float, int] = (0.0, -1)
    played: int = 0
    controls: int = 0
    peak: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _stop: threading.Event = field(default_factory=threading.Event)

    def run(self, seeds: Iterable[int], seconds: float = 1e9, callers: int = CALLERS) -> None:
        """Play seeds in parallel until there are no more or the time is over, with controls meanwhile."""
        waiting = iter(seeds)
        end = time.monotonic() + seconds
        self._stop.clear()
        threads = [threading.Thread(target=self._caller, args=(waiting, end), daemon=True) for _ in range(callers)]
        for thread in threads:
            thread.start()
        due = time.monotonic()
        while any(thread.is_alive() for thread in threads) and not self._stop.is_set():
            if time.monotonic() >= due:
                self.control()
                due = time.monotonic() + EVERY
            self.peak = max(self.peak, self.resources().rss if self.alive else 0)
            time.sleep(0.2)
        for thread in threads:
            thread.join()

    @property
    def alive(self) -> bool:
        """Whether the server's process is there."""
        return self.server.process is not None and self.server.process.poll() is None

    def resources(self) -> Resources:
        """Return what the server holds now."""
        assert self.server.process is not None
        process = psutil.Process(self.server.process.pid)
        with process.oneshot():
            return Resources(process.memory_info().rss, process.num_fds(), process.num_threads())

    def note(self, seed: int | None, text: str) -> None:
        """Note a finding."""
        with self._lock:
            self.findings.append(Finding(seed, text))

    def play(self, seed: int) -> list[Answer]:
        """Play one case and judge its answers."""
        script = cases.case(seed)
        started = time.monotonic()
        try:
            answers = play(script, self.server.port)
        except Hang:
            self.note(seed, f"{script.kind}: no answer in time")
            return []
        except ConnectionRefusedError:
            self.note(seed, "the connection is refused")
            self._stop.set()
            return []
        seconds = time.monotonic() - started
        if len(answers) < script.answers:
            self.note(seed, f"{script.kind}: the connection ended without an answer")
        for answer in answers:
            for text in oracle.faults(script, answer, str(self.server.folder)):
                self.note(seed, f"{script.kind}: {text} ({answer.headers.get('x-request-id', 'no id')})")
            if script.method == "POST":
                self._follow(seed, answer)
                self._follow_object(seed, answer)
        with self._lock:
            self.played += 1
            self.statuses.update(str(answer.status) for answer in answers)
            if not answers:
                self.statuses["none"] += 1
            if script.answers:
                self.slowest = max(self.slowest, (seconds, seed))
        return answers

    def _follow(self, seed: int, answer: Answer) -> None:
        """Ask for the results that an answer links to, and for a part of them, or with a changed link."""
        chance = random.Random(seed)  # noqa: S311, a seed has to give the same requests again
        for address in LINK.findall(answer.body):
            path = address.decode()
            whole = self.server.get(path)
            asked = {
                "Range": chance.choice(RANGES),
                "If-None-Match": chance.choice(('"a"', "*", "W/", whole.headers.get("etag", ""))),
            }
            part = self.server.get(path, dict(chance.sample(sorted(asked.items()), chance.randrange(3))))
            changed = self.server.get(pictures.overwrite(path.encode(), chance).decode("latin-1").translate(UNSENDABLE))
            if whole.status != 200 or len(whole.body) != int(whole.headers["content-length"]):
                self.note(seed, f"a link to a result got {whole.status}")
            if part.status not in {200, 206, 304, 416}:
                self.note(seed, f"a part of a result got {part.status}")
            if changed.status >= 500:
                self.note(seed, f"a changed link got {changed.status}")

    def _follow_object(self, seed: int, answer: Answer) -> None:
        """Use what was created, as its caller would and in other ways: a file, a batch, a key or a stored job."""
        if answer.status not in {200, 202} or not answer.headers.get("content-type", "").startswith("application/json"):
            return
        chance, made = random.Random(seed), answer.json()  # noqa: S311, a seed has to give the same requests again
        for method, path, body in operations.uses(made, chance) if isinstance(made, dict) else ():
            script = operations.use(method, path, body)
            for found in play(script, self.server.port):
                for text in oracle.faults(script, found, str(self.server.folder)):
                    self.note(seed, f"{method} {path}: {text}")
                if path == operations.BATCHES:
                    self._follow_object(seed, found)

    def _caller(self, waiting: Iterator[int], end: float) -> None:
        while time.monotonic() < end and not self._stop.is_set():
            with self._lock:
                seed = next(waiting, None)
            if seed is None:
                return
            try:
                self.play(seed)
            except Exception:  # noqa: BLE001 - a fault of the fuzzer, or an answer that nobody foresaw, is a finding
                self.note(seed, traceback.format_exc(limit=-3).strip().replace("\n", " | "))

    def control(self) -> None:
        """Ask for a good picture and for the server's state: both have to be right, whatever else is asked."""
        kind, body = forms.CONTROL
        names = {"Content-Type": kind.decode(), "Authorization": f"Bearer {headers.KEY.decode()}"}
        self.controls += 1
        started = time.monotonic()
        try:
            answer = self.server.post(wire.EDITS.decode(), (names, body))
            ready = wait_until(lambda: self.server.get("/readyz").status == 200)
        except OSError as error:
            self.note(None, f"a control request got {type(error).__name__}")
            if not self.alive:
                self._stop.set()
            return
        if answer.status != 200 or not is_the_control(answer):
            self.note(None, f"a control request got {answer.status} or a wrong picture")
        if not ready:
            self.note(None, f"/readyz is not 200 within {PATIENCE:g} seconds")
        if time.monotonic() - started > CONTROL_SECONDS:
            self.note(None, "a control request took too long")

    def check_rest(self) -> None:
        """Check what is left when no request is under way: files, and the lines of the log."""
        if not self.alive:
            self.note(None, "the server has ended")
        if not self.server.nothing_left():
            self.note(None, f"{len(self.server.uploads)} files are left in the uploads folder")
        log = self.server.log
        for text in strange_lines(log):
            self.note(None, text)
        for secret in SECRETS:
            if secret in log:
                self.note(None, f"the log holds what a caller sent: {secret!r}")


def is_the_control(answer: Answer) -> bool:
    """Tell whether an answer holds the control picture, twice as large."""
    picture = Image.open(io.BytesIO(base64.b64decode(answer.json()["data"][0]["b64_json"]))).convert("RGB")
    source = Image.open(io.BytesIO(forms.CONTROL_PICTURE)).convert("RGB")
    small = picture.resize(source.size, Image.Resampling.BOX).tobytes()
    pairs = zip(small, source.tobytes(), strict=True)
    mean = sum(abs(one - other) for one, other in pairs) / len(small) / 255
    return picture.size == (source.width * 2, source.height * 2) and mean < FAR


def strange_lines(log: str) -> Iterator[str]:
    """Yield what is no line of the log, and what the server itself calls an error."""
    lines = log.splitlines()
    start = next((at + 1 for at, line in enumerate(lines) if BANNER_END in line), 0)
    for line in itertools.islice(lines, start, None):
        try:
            event = json.loads(line)
        except ValueError:
            yield f"a line of the log is no JSON: {line[:200]}"
            continue
        if event.get("level") in {"error", "critical"}:
            trace = " > ".join(event.get("trace", [])[-4:])
            yield f"the log says {event['event']}: {event.get('request_id', '')} {trace}"
