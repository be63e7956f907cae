"""POST /mcp: the Model Context Protocol over streamable HTTP, for language models that use the API as tools."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.types import Message, Receive, Scope, Send

from fluxvision.http.mcp_sessions import MAX_BODY
from fluxvision.http.parsing import body
from fluxvision.http.state import AppState, caller_of

HINT = " for MCP; give a larger picture as a URL"


async def serve_mcp(state: AppState, scope: Scope, receive: Receive, send: Send) -> None:
    """Read the message under the limits of every upload, and have it answered."""
    headers = Headers(scope=scope)
    body.content_type(headers)
    length = body.content_length(headers, MAX_BODY, HINT)
    with state.uploads.place(caller_of(scope).id, None):
        chunks = body.body_chunks(receive, MAX_BODY, state.settings.upload_timeout, HINT, announced=length)
        content = b"".join([chunk async for chunk in chunks])
    await state.mcp.serve(scope, _Replay(content, receive), send)


class _Replay:
    """A `receive` that gives a body that was read already, and then what comes after it."""

    def __init__(self, content: bytes, receive: Receive) -> None:
        self._content: bytes | None = content
        self._receive = receive

    async def __call__(self) -> Message:
        if self._content is None:
            return await self._receive()
        content, self._content = self._content, None
        return {"type": "http.request", "body": content, "more_body": False}
