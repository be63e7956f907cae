"""Api: the HTTP API that the tools call, in this process or on another server; its bodies, answers and refusals."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from fluxvision.core.errors import Error

JSON = "application/json"
MAX_ANSWER = 16_000_000
"""Most bytes of an answer in JSON, none of which holds a picture."""


@dataclass(frozen=True, slots=True)
class RequestBody:
    """The body of a request, which is sent once."""

    content_type: str
    length: int
    """In bytes."""
    chunks: AsyncIterator[bytes]


@dataclass(frozen=True, slots=True)
class ApiResponse:
    """A response whose body is read as it arrives."""

    status: int
    content_type: str
    chunks: AsyncIterator[bytes]

    async def read(self, limit: int = MAX_ANSWER) -> bytes:
        """Return the whole body; raises `ApiRefusal` when it has more than `limit` bytes."""
        content = bytearray()
        async for chunk in self.chunks:
            content += chunk
            if len(content) > limit:
                message = f"The answer is larger than the limit of {limit:,} bytes."
                raise ApiRefusal(message)
        return bytes(content)


class Api(Protocol):
    """The HTTP API of one server, with one caller's key."""

    serves_links: bool
    """Whether the links to results can be opened by others than this process."""

    def request(
        self, method: str, address: str, body: RequestBody | None = None
    ) -> AbstractAsyncContextManager[ApiResponse]:
        """Make a request to a path of the API, or to a link that the API has given; leaving the block ends it.

        Raises `ApiRefusal` where the server cannot be reached.
        """


class ApiRefusal(Exception):
    """The API refuses a request; `error` is OpenAI's error object, and its message is for the caller."""

    def __init__(self, message: str, error: Mapping[str, Any] | None = None) -> None:
        """Take the API's own error object where it has sent one."""
        super().__init__(message)
        self.message = message
        self.error = dict(error or {"message": message, "type": "api_error", "param": None, "code": "UNAVAILABLE"})


def local_refusal(error: Error) -> ApiRefusal:
    """Return an error of this process in the form of the API's own."""
    named = {"message": error.message, "type": error.type, "param": error.param, "code": error.code}
    return ApiRefusal(error.message, named)


def parse_refusal(content: bytes, status: int) -> ApiRefusal:
    """Return the refusal that a response with an error status holds."""
    with suppress(msgspec.DecodeError, KeyError, TypeError):
        error = msgspec.json.decode(content)["error"]
        return ApiRefusal(str(error["message"]), error)
    return ApiRefusal(f"The server answered with the status {status}.")


async def request_json(api: Api, method: str, path: str, body: RequestBody | None = None) -> dict[str, Any]:
    """Return the JSON object that the API answers with; raises `ApiRefusal`."""
    async with api.request(method, path, body) as response:
        content = await response.read()
        if response.status >= 400:  # noqa: PLR2004, the errors of HTTP
            raise parse_refusal(content, response.status)
    try:
        return msgspec.json.decode(content, type=dict[str, Any])
    except msgspec.DecodeError:
        raise ApiRefusal("The server did not answer in JSON.") from None
