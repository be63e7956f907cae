"""Bucket: objects of S3, Google Cloud Storage, Azure or MinIO below the address of `media_url`, by obstore.

Credentials and endpoint come from the environment, as obstore reads them. Its errors quote addresses and replies of
the store; callers get a sentence of ours instead.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import obstore
from obstore import exceptions
from obstore.store import from_url

from fluxvision.core.concurrency import run_in_thread, run_to_the_end
from fluxvision.core.errors import ConfigError, NotFound, Unavailable
from fluxvision.storage.data_dir import folder_unusable
from fluxvision.storage.media_folder import GONE

UNUSABLE = "The server's object store does not answer as it should; try again in a moment."
CLIENT = {
    "allow_http": True,  # the endpoint of the environment says whether it is
    "connect_timeout": timedelta(seconds=5),
    "read_timeout": timedelta(seconds=30),
    "timeout": timedelta(minutes=10),
}
RETRIES = {"max_retries": 4, "retry_timeout": timedelta(seconds=30)}
PART = 8 * 1024 * 1024
"""Bytes of a file that are sent as one request; a larger file is sent in parts."""
PARALLEL_PARTS = 2
PIECE = 1024 * 1024
"""Least bytes of a download that are written at once."""
PAGE = 1000
"""Most objects that one request lists or deletes."""
FAULTS = (exceptions.BaseError, OSError, ValueError)


class Bucket:
    """The objects below one address."""

    def __init__(self, url: str) -> None:
        """Use the objects below `url`, without asking for any; raises `ConfigError`."""
        try:
            # Any: the accepted options depend on the scheme of the address.
            self._store: Any = from_url(url, client_options=CLIENT, retry_config=RETRIES)  # type: ignore[call-overload]
        except FAULTS as error:
            raise _config_error(error) from None

    def read_or_create(self, key: str, content: bytes) -> bytes:
        """Return an object, which is created with this content where it is missing; raises `ConfigError`.

        It blocks: it is what a server does once, at its start, to know that the bucket can be read and written.
        """
        try:
            try:
                return bytes(obstore.get(self._store, key).bytes())
            except FileNotFoundError:
                pass
            try:
                obstore.put(self._store, key, content, mode="create")
            except exceptions.AlreadyExistsError:  # another gateway was faster
                return bytes(obstore.get(self._store, key).bytes())
        except FAULTS as error:
            raise _config_error(error) from None
        return content

    async def upload(self, key: str, path: Path, headers: Mapping[str, str] | None = None) -> None:
        """Store a file; raises `Unavailable`. A cancellation waits, because a part of a file would stay for ever."""
        await run_to_the_end(self._upload(key, path, headers or {}))

    async def _upload(self, key: str, path: Path, headers: Mapping[str, str]) -> None:
        try:
            await obstore.put_async(
                self._store, key, path, attributes=dict(headers), chunk_size=PART, max_concurrency=PARALLEL_PARTS
            )
        except FAULTS as error:
            raise Unavailable(UNUSABLE, retry_after=5.0) from error

    async def download(self, key: str, path: Path) -> None:
        """Write an object to a new file, piece by piece; raises `NotFound` or `Unavailable`."""
        with _errors_for_callers():
            found = await obstore.get_async(self._store, key)
        try:
            file = await run_in_thread(path.open, "wb")
            with file:
                async for piece in _pieces(found):
                    await run_in_thread(file.write, piece)
        except OSError as error:
            raise folder_unusable(error) from error

    async def exists(self, key: str) -> bool:
        """Return whether there is an object; raises `Unavailable`."""
        try:
            with _errors_for_callers():
                await obstore.head_async(self._store, key)
        except NotFound:
            return False
        return True

    async def delete(self, keys: Sequence[str]) -> None:
        """Delete objects, also such as are gone; raises `Unavailable`."""
        if keys:
            with _errors_for_callers():
                try:
                    await obstore.delete_async(self._store, keys)
                except FileNotFoundError:  # some stores say so
                    return

    async def sign(self, key: str, seconds: float) -> str:
        """Return an address that opens an object for some time; raises `Unavailable`."""
        with _errors_for_callers():
            return await obstore.sign_async(self._store, "GET", key, timedelta(seconds=max(1, int(seconds))))

    async def folders(self, prefix: str) -> Sequence[str]:
        """Return the names of the folders in a folder; raises `Unavailable`."""
        with _errors_for_callers():
            found = await obstore.list_with_delimiter_async(self._store, prefix)
        return sorted(place.rpartition("/")[2] for place in found["common_prefixes"])

    async def list(self, prefix: str) -> AsyncIterator[Mapping[str, float]]:
        """Yield the keys in a folder with the times at which they were stored, page by page; raises `Unavailable`."""
        with _errors_for_callers():
            async for page in obstore.list(self._store, prefix, chunk_size=PAGE):
                yield {found["path"]: found["last_modified"].timestamp() for found in page}


async def _pieces(found: Any) -> AsyncIterator[Any]:
    with _errors_for_callers():
        async for piece in found.stream(min_chunk_size=PIECE):
            yield piece


@contextmanager
def _errors_for_callers() -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise NotFound(GONE) from None
    except FAULTS as error:
        raise Unavailable(UNUSABLE, retry_after=5.0) from error


def _config_error(error: Exception) -> ConfigError:
    reason = "cannot be reached, or credentials are missing in the environment"
    if isinstance(error, FileNotFoundError):
        reason = "has no such bucket"
    elif isinstance(error, exceptions.PermissionDeniedError | exceptions.UnauthenticatedError):
        reason = "refuses the credentials of the environment"
    message = f"media_url: the object store {reason}"
    return ConfigError(message, param="media_url")
