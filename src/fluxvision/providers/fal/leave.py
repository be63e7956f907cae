"""The leave to upload: a token that fal.ai gives for a while, asked for when it is needed and kept while it is good."""

from __future__ import annotations

import asyncio
import time
from datetime import datetime

import msgspec

from fluxvision.core.errors import UpstreamError
from fluxvision.providers.fal.client import ASK_PATIENCE, Wire
from fluxvision.providers.fal.errors import failure

MARGIN = 60.0
"""Seconds before its end in which a leave is not used any more."""
JSON = {"Content-Type": "application/json"}


class Token(msgspec.Struct, frozen=True):
    """The leave to upload."""

    token: str
    token_type: str
    base_url: str
    expires_at: str


class Leave:
    """Keeps one token for all uploads."""

    def __init__(self, wire: Wire, url: str) -> None:
        """Ask fal.ai at `url`."""
        self._wire = wire
        self._url = f"{url}/storage/auth/token?storage_type=fal-cdn-v3"
        self._token: tuple[Token, float] | None = None
        self._renewing = asyncio.Lock()

    async def get(self) -> Token:
        """Return the leave to upload, a new one where the last has run out; raises an `Error`, or what `LOST` names."""
        async with self._renewing:
            if self._token is not None and self._token[1] > time.time():
                return self._token[0]
            answer = await self._wire.ask("POST", self._url, ASK_PATIENCE, b"{}", JSON)
            if not answer.fine:
                raise failure(answer, self._wire.secrets(), {})
            try:
                token = msgspec.convert(answer.said, Token)
                ends = datetime.fromisoformat(token.expires_at).timestamp() - MARGIN
            except (msgspec.MsgspecError, ValueError):
                raise UpstreamError("fal.ai's storage gave a leave that cannot be read.") from None
            self._token = token, ends
            return token

    def forget(self) -> None:
        """Ask for another leave the next time."""
        self._token = None
