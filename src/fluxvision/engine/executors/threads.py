"""ThreadExecutor: makes tiles in threads of this process, some for each device, every device with its own networks.

PyTorch and ncnn release the interpreter's lock while they compute, so one process keeps several GPUs busy.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue

from fluxvision.engine.backends.registry import Detailer
from fluxvision.engine.resample import Array
from fluxvision.engine.tile_inference import Stop, TileJob, make_tiles


class ThreadExecutor:
    """`at_once` threads for each of some running backends, one backend per device."""

    def __init__(self, backends: Sequence[Detailer], at_once: int) -> None:
        """Have up to `at_once` batches at work on each backend."""
        self._slots = [backend for _ in range(at_once) for backend in backends]

    def make(
        self, work: TileJob, stop: Stop, batches: Sequence[range] | None = None
    ) -> Generator[list[Array], None, None]:
        """Yield finished batches while later ones are at work."""
        free: SimpleQueue[Detailer] = SimpleQueue()
        for backend in self._slots:
            free.put(backend)

        def run(batch: range) -> list[Array]:
            backend = free.get()  # there are as many slots as threads
            try:
                return make_tiles(work, backend, batch, stop)
            finally:
                free.put(backend)

        waiting: deque[Future[list[Array]]] = deque()
        with ThreadPoolExecutor(len(self._slots), thread_name_prefix="tile") as pool:
            try:
                for batch in work.batches if batches is None else batches:
                    waiting.append(pool.submit(run, batch))
                    if len(waiting) > len(self._slots):
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                for future in waiting:
                    future.cancel()
