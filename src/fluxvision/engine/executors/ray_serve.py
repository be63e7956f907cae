"""The client of a Ray Serve deployment: sends batches to its HTTP address and yields tiles in order.

A thread for each batch on its way, with a connection of its own (`http.client`): the engine is synchronous and runs in
threads, so this needs no event loop, the threads are the bound on what is made ahead, and whoever cancels closes the
sockets, which is how the deployment learns of it. Nothing here imports Ray.
"""

from __future__ import annotations

import socket
import threading
from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import TypeVar
from urllib.parse import urlsplit

import msgspec

from fluxvision import __version__
from fluxvision.core.errors import Cancelled, Unavailable, UpstreamError
from fluxvision.engine.executors.messages import (
    LIMIT,
    Deployment,
    EngineInfo,
    Failure,
    TileReply,
    TileRequest,
    decode,
    encode,
)
from fluxvision.engine.resample import Array
from fluxvision.engine.tile_inference import Stop
from fluxvision.engine.tile_job import TileJob

IN_FLIGHT = 16
"""Batches of one job on their way. Ray starts replicas for as many as wait, so that is also how many one job fills."""
ROOM = 1_000_000_000
"""Bytes of finished tiles that may wait for an earlier one."""
TRIES = 4
PAUSE = 0.5
"""Seconds before the third attempt, twice as long before each further one. The second is made at once."""
CONNECT = 5.0
POLL = 0.1
T = TypeVar("T")
ALIVE = (
    (socket.IPPROTO_TCP, "TCP_KEEPIDLE", 10),
    (socket.IPPROTO_TCP, "TCP_KEEPINTVL", 5),
    (socket.IPPROTO_TCP, "TCP_KEEPCNT", 3),
)
"""A machine that is gone without a word is noticed within half a minute, however long a tile takes."""

GONE = "The cluster that the setting cluster names cannot be reached."
ABSENT = "The address that the setting cluster names has no deployment of fluxvision."
REFUSED = "The cluster refuses the setting cluster_token."
LOST = "A part of the picture failed on the cluster four times."
OTHER = "The setting cluster names a deployment of fluxvision {theirs}, and this is {ours}."


class RayServe:
    """A deployment on a cluster, for any number of jobs at once."""

    def __init__(self, address: str, token: str = "", in_flight: int = IN_FLIGHT) -> None:
        """Have up to `in_flight` batches of each job on their way to an address such as http://head:8000/fluxvision."""
        parts = urlsplit(address)
        self._secure, self._netloc, self.path = parts.scheme == "https", parts.netloc, parts.path or "/"
        self.headers = {"Authorization": f"Bearer {token}"} if token else {}
        self.in_flight = in_flight

    def connect(self) -> HTTPConnection:
        """Return a new connection, not yet opened."""
        kind = HTTPSConnection if self._secure else HTTPConnection
        return kind(self._netloc, timeout=CONNECT)

    def describe(self, engine: str) -> EngineInfo:
        """Return what an engine runs there.

        Raises `Unavailable` naming the setting where nothing answers, the version is another one, or the engine is not
        there.
        """
        calls = _Calls(self)
        try:
            found = _read(calls.send("GET", b""), Deployment)
        finally:
            calls.close()
        if found.version != __version__:
            raise Unavailable(OTHER.format(theirs=found.version, ours=__version__), param="cluster")
        if engine not in found.engines:
            message = found.failed.get(engine) or f"The cluster's deployment of fluxvision has no engine {engine}."
            raise Unavailable(message, param="cluster")
        return found.engines[engine]

    def executor(self, engine: str, options: object, weights: str = "") -> RayServeExecutor:
        """Return what makes the tiles of a job by an engine; `weights` is the digest that all replicas must have."""
        return RayServeExecutor(self, engine, options, weights)


class RayServeExecutor:
    """Makes the tiles of a job on a cluster."""

    def __init__(self, cluster: RayServe, engine: str, options: object, weights: str = "") -> None:
        """Use an engine with these options."""
        self._cluster, self._engine, self._weights = cluster, engine, weights
        self._options = msgspec.Raw(msgspec.msgpack.encode(options))

    def make(
        self, work: TileJob, stop: Stop, batches: Sequence[range] | None = None
    ) -> Generator[list[Array], None, None]:
        """Yield finished batches in their order, while later ones are on their way.

        Raises `Unavailable` naming the setting where the cluster cannot be had, `UpstreamError` where a batch fails
        again and again, MemoryError where the devices there have no room for it.
        """
        stop()
        wanted = work.batches if batches is None else batches
        calls, waiting = _Calls(self._cluster), deque[Future[list[Array]]]()
        pool = ThreadPoolExecutor(self._cluster.in_flight, thread_name_prefix="cluster")
        try:
            # Twice as many: the threads go on while the oldest batch is waited for.
            ahead = min(2 * self._cluster.in_flight, max(2, ROOM // _reply_bytes(work)))
            for batch in wanted:
                waiting.append(pool.submit(self._send, calls, work, batch))
                if len(waiting) >= ahead:
                    yield _result(waiting.popleft(), stop)
            while waiting:
                yield _result(waiting.popleft(), stop)
        finally:
            calls.end()
            pool.shutdown(cancel_futures=True)
            calls.close()

    def _send(self, calls: _Calls, work: TileJob, batch: range) -> list[Array]:
        request = TileRequest(self._engine, self._options, work.batch(batch), self._weights)
        return _read(calls.send("POST", encode(request)), TileReply).tiles


class _Calls:
    """The calls of one job: a connection per thread; all of them end with the job."""

    def __init__(self, cluster: RayServe) -> None:
        self._cluster = cluster
        self._own = threading.local()
        self._lock = threading.Lock()
        self._open: set[HTTPConnection] = set()
        self._ended = threading.Event()

    def send(self, method: str, body: bytes) -> bytes:
        """Return the body of the answer 200; whatever else comes is tried again, or raised."""
        reason: Exception = Unavailable(GONE, param="cluster")
        for attempt in range(TRIES):
            if attempt > 1 and self._ended.wait(PAUSE * 2 ** (attempt - 2)):
                break
            try:
                response, data = self._exchange(method, body)
            except (OSError, HTTPException):
                reason = Unavailable(GONE, param="cluster")
                continue
            failure = _failure(response, data)
            if failure is None:
                return data
            if not isinstance(failure, UpstreamError):
                raise failure
            reason = failure
        if self._ended.is_set():
            raise Cancelled("The work was cancelled.")
        raise reason

    def end(self) -> None:
        """End all calls, also those that wait for an answer."""
        with self._lock:
            self._ended.set()
            for connection in self._open:
                with suppress(OSError, AttributeError):  # not connected any more
                    connection.sock.shutdown(socket.SHUT_RDWR)  # a thread that reads from it wakes up

    def close(self) -> None:
        """Close all connections; no thread uses them any more."""
        self.end()
        for connection in self._open:
            connection.close()

    def _exchange(self, method: str, body: bytes) -> tuple[HTTPResponse, bytes]:
        connection = self._connection()
        try:
            connection.request(method, self._cluster.path, body or None, self._cluster.headers)
            response = connection.getresponse()
            data = response.read(LIMIT + 1)
        except BaseException:
            self._drop(connection)
            raise
        if len(data) > LIMIT or response.will_close or self._ended.is_set():
            self._drop(connection)
        return response, data

    def _connection(self) -> HTTPConnection:
        """Return this thread's connection, opened."""
        found: HTTPConnection | None = getattr(self._own, "connection", None)
        if found is not None:
            return found
        made = self._cluster.connect()
        made.connect()
        made.sock.settimeout(None)  # how long a tile takes is the cluster's business, see its health check
        made.sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for level, name, value in ALIVE:
            if hasattr(socket, name):
                made.sock.setsockopt(level, getattr(socket, name), value)
        with self._lock:
            if self._ended.is_set():
                made.close()
                raise ConnectionAbortedError
            self._open.add(made)
        self._own.connection = made
        return made

    def _drop(self, connection: HTTPConnection) -> None:
        with self._lock:
            self._open.discard(connection)
        self._own.connection = None
        connection.close()


def _failure(response: HTTPResponse, data: bytes) -> Exception | None:
    """Return what an answer means, None where it is what was asked for."""
    if response.status == 200:  # noqa: PLR2004, HTTP
        return None
    if response.status == 401:  # noqa: PLR2004, HTTP
        return Unavailable(REFUSED, param="cluster")
    if response.getheader("X-Fluxvision-Failure") is None:
        # 404 and 503 are Ray's own: nothing is deployed at this path, or no replica can be had.
        return Unavailable(ABSENT, param="cluster") if response.status in {404, 503} else UpstreamError(LOST)
    failure = _read(data, Failure)
    if failure.kind == "unavailable":
        return Unavailable(failure.message, param="cluster")
    return MemoryError(failure.message) if failure.kind == "memory" else UpstreamError(failure.message)


def _read(data: bytes, kind: type[T]) -> T:
    try:
        return decode(data, kind)
    except (msgspec.DecodeError, ValueError):
        raise Unavailable(ABSENT, param="cluster") from None


def _result(future: Future[list[Array]], stop: Stop) -> list[Array]:
    while not wait([future], POLL).done:
        stop()
    return future.result()


def _reply_bytes(work: TileJob) -> int:
    """Return about how many bytes a batch's tiles have."""
    rows, columns = (axis.window * axis.target // axis.source for axis in (work.rows, work.columns))
    bands = work.color.shape[2] + int(work.alpha is not None)
    return max(1, int(rows * columns * bands * 4 * work.row.batch))
