"""The messages between a gateway and a deployment on a cluster: MessagePack, never a pickled object."""

from __future__ import annotations

from math import prod
from typing import Any, Literal, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from fluxvision import __version__
from fluxvision.engine.tile_job import TileBatch

LIMIT = 256_000_000
"""Bytes that a request or a reply may have."""
DTYPES = frozenset({"|u1", "<u2", "<f4"})
DIMENSIONS = 3

T = TypeVar("T")


class TileRequest(msgspec.Struct, frozen=True):
    """Some tiles to be made: all that they depend on.

    `weights` is the digest of the weights that the gateway expects, empty where the version says it. `options` belong
    to the engine. The noise of a tile follows from the seed and the tile's place.
    """

    engine: str
    options: msgspec.Raw
    batch: TileBatch
    weights: str = ""
    version: str = __version__


class TileReply(msgspec.Struct, frozen=True):
    """The tiles that were made: float32 (bands, rows, columns) each."""

    tiles: list[np.ndarray]


class Failure(msgspec.Struct, frozen=True):
    """Why there are no tiles: the deployment cannot make them, memory ran out, or the engine failed."""

    kind: Literal["unavailable", "memory", "failed"]
    message: str


class EngineInfo(msgspec.Struct, frozen=True):
    """What an engine runs: its row, its weights by name, revision and digest, and the accelerations in force."""

    row: str = ""
    name: str = ""
    revision: str | None = None
    weights: str = ""
    accelerations: dict[str, str] = {}


class Deployment(msgspec.Struct, frozen=True):
    """What a deployment is. `failed` has a sentence for each engine that could not be loaded."""

    version: str
    engines: dict[str, EngineInfo]
    failed: dict[str, str] = {}


def encode(message: object) -> bytes:
    """Return a message as bytes."""
    return msgspec.msgpack.encode(message, enc_hook=_encode_array)


def decode(data: bytes, kind: type[T]) -> T:
    """Return the message in some bytes. Raises `msgspec.DecodeError` where there is no such message in them."""
    return msgspec.msgpack.decode(data, type=kind, dec_hook=_decode_array)


def _encode_array(value: object) -> Any:
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, np.ascontiguousarray(value).data.cast("B")
    raise TypeError(type(value).__name__)


def _decode_array(_kind: type, value: Any) -> NDArray[Any]:
    try:
        dtype, shape, data = value
        sides = tuple(int(side) for side in shape)
        size = np.dtype(dtype).itemsize * prod(sides) if dtype in DTYPES else -1
    except (TypeError, ValueError, OverflowError) as reason:
        raise ValueError("no array") from reason
    if len(sides) > DIMENSIONS or min(sides, default=0) < 1 or len(data) != size:
        raise ValueError("no array")
    return np.frombuffer(bytearray(data), dtype).reshape(sides)  # it can be written to
