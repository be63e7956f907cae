"""The providers of the setting `openai`: other servers with OpenAI's images API, such as another fluxvision."""

from __future__ import annotations

import secrets
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import aiohttp
import yarl

from fluxvision.core.callbacks import JobCallbacks
from fluxvision.core.concurrency import run_in_pool
from fluxvision.core.errors import UpstreamError
from fluxvision.core.images import InputImage
from fluxvision.core.openai_servers import OpenAIServer
from fluxvision.core.settings import Settings
from fluxvision.core.system import resource_error
from fluxvision.core.tracing import traceparent
from fluxvision.core.types import Call, ProviderResult
from fluxvision.net.client import create_session, read_body, result_guard
from fluxvision.providers import result_file
from fluxvision.providers.openai.errors import ErrorTranslator, read_refusal
from fluxvision.providers.openai.request import build_form, build_upload, check_call
from fluxvision.providers.openai.response import (
    LARGEST,
    LONGEST,
    ImagesResponse,
    parse_images_response,
    read_name,
    save_image,
    to_provider_result,
)

SMALL = 1_000_000
"""Largest response that is decoded without a thread, in bytes."""


class Provider:
    """Sends each call to one server once; a call that may have been charged is never repeated."""

    parallel = 10
    small_workers = 0
    remote = True

    def __init__(
        self,
        server: OpenAIServer,
        *,
        workers: int = 64,
        patience: float = 300.0,
        pixels: int = result_file.PIXELS,
        private: bool = False,
    ) -> None:
        """Wait at most `patience` seconds for a byte; `private` allows links to private addresses in responses."""
        self.title = server.title or server.name
        self.workers = workers
        self._patience = patience
        self._pixels = pixels
        address = server.base_url.rstrip("/")
        self._target = yarl.URL(f"{address}/images/edits")
        self._guard = result_guard(private, address)
        self._server = ErrorTranslator(self.title, (server.key, address, str(self._target.host)))
        self._headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
        if server.key:
            self._headers["Authorization"] = f"Bearer {server.key}"
        self._session: aiohttp.ClientSession | None = None
        self._pool = ThreadPoolExecutor(2, thread_name_prefix=server.name)

    def check(self, call: Call) -> None:
        """Raise `InvalidRequest` for a value that cannot be sent in a form."""
        check_call(call)

    async def run(self, call: Call, callbacks: JobCallbacks, folder: Path) -> ProviderResult:
        """Make one picture; cancelling the task closes the connection, which tells the server to stop."""
        callbacks.check_cancelled()
        if self._session is None:
            self._session = create_session(self._patience)
        boundary, pieces = build_form(call)
        headers = {**self._headers, "Content-Type": f"multipart/form-data; boundary={boundary}"}
        if call.key:
            headers["Idempotency-Key"] = call.key
        if parent := traceparent():
            headers["traceparent"] = parent
        data = build_upload(pieces)
        identity, success = None, False
        callbacks.on_submitted(None, None)
        try:
            async with self._session.post(self._target, data=data, headers=headers, allow_redirects=False) as response:
                identity = read_name(response.headers.get("x-request-id"))
                success = response.status // 100 == 2  # noqa: PLR2004, every 2xx
                if not success:
                    raise self._server.translate(await read_refusal(response), call)
                callbacks.on_submitted(identity, True)
                content = await read_body(response, LONGEST)
            return await self._result(content, identity, callbacks, folder, call)
        except UpstreamError as error:
            error.upstream_id = error.upstream_id or identity
            raise
        except (aiohttp.ClientError, TimeoutError) as error:
            if success:
                message = f"The answer of {self.title} broke off."
                raise UpstreamError(message, upstream_id=identity, billed=True) from None
            raise resource_error(error) or self._server.no_answer_error(error) from None

    async def ping(self) -> bool:
        """Return True: a call shows whether the server is up."""
        return True

    async def aclose(self) -> None:
        """Close all connections and stop the threads."""
        if self._session is not None:
            await self._session.close()
        self._pool.shutdown(wait=True, cancel_futures=True)

    async def _result(
        self, content: bytearray, identity: str | None, callbacks: JobCallbacks, folder: Path, call: Call
    ) -> ProviderResult:
        """Return the result of a response; a large or linked picture becomes a new file in `folder`."""
        path = folder / secrets.token_hex(16)

        def unpack() -> tuple[ImagesResponse, InputImage | None]:
            answer = parse_images_response(content, self._server, call)
            return answer, save_image(answer, path, self._server, self._pixels)

        answer, file = unpack() if len(content) <= SMALL else await run_in_pool(self._pool, callbacks, unpack)
        return to_provider_result(answer, file or await self._download(answer, folder), identity)

    async def _download(self, answer: ImagesResponse, folder: Path) -> Path:
        """Download the picture that the response links to; a link without a host is relative to the server."""
        link = answer.data[0].url
        if not isinstance(link, str) or not link:
            raise self._server.missing_picture_error()
        if link.startswith("/") and not link.startswith("//"):
            link = f"{self._target.origin()}{link}"
        return await result_file.fetch_result(
            link, folder, guard=self._guard, limit=LARGEST, patience=self._patience, pixels=self._pixels
        )


def configured(settings: Settings) -> dict[str, Provider]:
    """Return one provider per configured server, by its name."""
    return {
        server.name: Provider(
            server,
            workers=settings.remote_parallel,
            patience=settings.attempt_timeout,
            pixels=settings.max_output_pixels,
            private=settings.allow_private_urls,
        )
        for server in settings.openai
    }
