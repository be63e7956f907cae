"""The stored response of a finished job, and the bodies that are made of it, with links that are signed anew."""

from __future__ import annotations

import asyncio
import copy
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import UNSET, Struct
from starlette.types import Scope

from fluxvision.core.errors import Error, InternalError, NotFound, Unavailable, find_error
from fluxvision.core.images import ResultImage
from fluxvision.core.types import Attempt, JobResult
from fluxvision.http.base64_stream import FileSize
from fluxvision.http.media import deep_zoom_link, media_link
from fluxvision.http.responses import ImageEntry, ImagesResponse
from fluxvision.http.result_body import images_body, result_metadata, revised_prompt
from fluxvision.http.state import AppState
from fluxvision.storage.media import MediaStore
from fluxvision.storage.media_folder import GONE

RETRY_SECONDS = 2.0
"""Pause before a store that did not answer is asked again."""
NOT_KEPT = "The response of this request is not kept."


class StoredPicture(Struct, kw_only=True):
    """One picture of a stored response."""

    name: str
    """Its name in the media store."""
    pixels: int
    size: int
    """Bytes of its file."""
    metadata: dict[str, Any]
    """The metadata that differ from those of the first picture."""


class StoredResponse(Struct, kw_only=True):
    """A response without its pictures, which are in the media store."""

    body: ImagesResponse
    pictures: list[StoredPicture]
    response_format: str
    """url or b64_json."""
    is_format_asked: bool
    """Whether the caller asked for this format."""


class MediaResults:
    """Keeps the pictures of stored jobs in the media store, and their responses as JSON."""

    def __init__(self, store: MediaStore, now: Callable[[], float], media_clock: Callable[[], float]) -> None:
        """Use `store`; `now` returns the Unix time, `media_clock` the time by which pictures expire."""
        self._store = store
        self._now = now
        self._media_clock = media_clock

    async def response(self, result: JobResult, seconds: float, patience: float) -> Mapping[str, Any]:
        """Keep the pictures of a result for at least `seconds`, and return its response as JSON.

        Raises `Unavailable` where an object store has not answered for `patience` seconds, or a disk is full.
        """
        data = [ImageEntry(revised_prompt=revised_prompt(picture)) for picture in result.pictures]
        body = images_body(result, data, int(self._now()))
        ttl = max(self._store.ttl, seconds)
        sizes = [picture.path.stat().st_size for picture in result.pictures]  # the store moves them
        pictures = [
            StoredPicture(
                name=await self._put(picture, ttl, time.monotonic() + patience),
                pixels=picture.width * picture.height,
                size=size,
                metadata=_changes(body.metadata, result_metadata(result, number)),
            )
            for number, (picture, size) in enumerate(zip(result.pictures, sizes, strict=True))
        ]
        stored = StoredResponse(
            body=body,
            pictures=pictures,
            response_format=result.plan.response_format,
            is_format_asked="response_format" in result.job.values,
        )
        found: dict[str, Any] = msgspec.to_builtins(stored)
        return found

    async def _put(self, picture: ResultImage, ttl: float, ends: float) -> str:
        while True:
            try:
                return await self._store.put(picture.path, picture.mime, self._media_clock(), ttl)
            except Unavailable:
                if self._store.bucket is None or time.monotonic() >= ends:
                    raise
                await asyncio.sleep(RETRY_SECONDS)

    def error(self, error: Error, attempts: Sequence[Attempt]) -> Mapping[str, Any]:
        """Return an error and the attempts before it as JSON."""
        facts = {name: getattr(error, name) for name in ("message", "param", "retry_after")}
        return {"kind": type(error).__name__, **facts, "attempts": msgspec.to_builtins(list(attempts))}

    async def delete(self, response: Mapping[str, Any]) -> None:
        """Delete the pictures of a stored response."""
        for picture in response.get("pictures", ()):
            await self._store.delete(picture["name"])


def stored_error(error: Mapping[str, Any]) -> tuple[Error, Sequence[Attempt]]:
    """Return a stored error and the attempts before it."""
    kind = find_error(error["kind"]) or InternalError
    found = kind(error["message"], param=error["param"], retry_after=error["retry_after"])
    return found, msgspec.convert(error["attempts"], list[Attempt])


async def load_response(
    state: AppState, found: Mapping[str, Any] | None, *, sizes_only: bool = False
) -> StoredResponse:
    """Return a stored response; raises `NotFound` when nothing was stored, or its pictures have expired.

    `sizes_only` does not ask an object store for each picture: their sizes are in the response.
    """
    if found is None:
        raise NotFound(NOT_KEPT)
    stored = msgspec.convert(copy.deepcopy(dict(found)), StoredResponse)
    for picture in stored.pictures:
        if sizes_only:
            is_there = state.media.is_kept(picture.name, state.media_clock())
        else:
            is_there = await state.media.exists(picture.name)
        if not is_there:
            raise NotFound(GONE)
    return stored


async def stored_body(
    state: AppState, scope: Scope, stored: StoredResponse, *, sizes_only: bool = False, embeds_files: bool = False
) -> ImagesResponse:
    """Return the body of a stored response, with links or with the files for `encode_base64`, or with their sizes.

    One that `embeds_files` has both.
    """
    now, body = state.media_clock(), stored.body
    zooms = []
    for entry, picture in zip(body.data, stored.pictures, strict=True):
        if stored.response_format == "b64_json":
            entry.b64_json = FileSize(picture.size) if sizes_only else await state.media.fetch(picture.name, now)
        else:
            entry.url = await media_link(state, scope, picture.name, now)
            if embeds_files:
                entry.b64_json = await state.media.fetch(picture.name, now)
            zooms.append(deep_zoom_link(state, scope, picture.pixels, picture.name, now))
    if any(zooms):
        body.metadata |= {"deep_zoom": zooms[0]} | ({"deep_zooms": zooms} if len(zooms) > 1 else {})
    return body


def _changes(first: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metadata of a picture that are not those of the first one."""
    return {name: value for name, value in own.items() if first.get(name, UNSET) != value}
