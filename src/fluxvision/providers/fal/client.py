"""FalClient: requests to fal.ai with the key, which is sent to no other server, and jittered pauses."""

from __future__ import annotations

import asyncio
import io
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
import msgspec
import yarl

from fluxvision.core.types import Call
from fluxvision.net import client
from fluxvision.net.redaction import redact

OK, ACCEPTED, UNPAID, FORBIDDEN, GONE, BUSY = 200, 202, 402, 403, 404, 429


@dataclass(frozen=True, slots=True)
class FalResponse:
    """A complete response; `body` is its JSON object, None for any other body."""

    status: int
    headers: Mapping[str, str]
    body: Mapping[str, Any] | None

    @property
    def error_type(self) -> str:
        """Return fal.ai's type of the failure, empty when there is none."""
        found = (self.body or {}).get("error_type") or self.headers.get("x-fal-error-type")
        return found if isinstance(found, str) else ""

    @property
    def is_retryable(self) -> bool:
        """Whether the same request may succeed soon."""
        return self.status in {408, 425, BUSY} or self.status >= 500  # noqa: PLR2004

    @property
    def from_proxy(self) -> bool:
        """Whether this comes from a proxy rather than from the queue."""
        return self.status == GONE or (self.status == OK and self.body is None)

    @property
    def is_success(self) -> bool:
        """Whether this is a success."""
        return self.status in {OK, ACCEPTED} and self.body is not None

    def is_final(self, *, often: bool) -> bool:
        """Return whether a failure is the job's own, so that a retry is useless.

        A failure without a JSON body comes from a proxy; one without a type counts only when it came `often`.
        """
        if self.status == BUSY or self.body is None:
            return False
        return often or bool(self.error_type) or "x-fal-request-timeout-type" in self.headers


def parse_fal_response(content: bytes) -> Mapping[str, Any] | None:
    """Return the JSON object of a body, None for any other body."""
    try:
        found = msgspec.json.decode(content)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


ANSWER = 16_000_000
"""Most bytes of a response without a picture."""
SILENCE = 30.0
"""Timeout in seconds without a byte."""
ASK_PATIENCE = 60.0
"""Timeout of a whole response in seconds."""
PRIVATE = ("prompt", "negative_prompt")
LOST = (aiohttp.ClientError, TimeoutError, OSError)
UNSENT = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)


class FalClient:
    """Sends requests to the configured origins, and knows the secrets that must not appear in messages."""

    def __init__(
        self, key: str, queue_url: str, time_scale: float = 1.0, random_fraction: Callable[[], float] = random.random
    ) -> None:
        """Use `key`.

        `time_scale` scales all pauses and timeouts; `random_fraction` returns numbers below 1 for the jitter.
        """
        self.key = key.strip()
        self.time_scale = time_scale
        self._random_fraction = random_fraction
        origin = yarl.URL(queue_url)
        self._origin = origin.scheme, origin.host, origin.port
        self._session: aiohttp.ClientSession | None = None

    async def request(
        self,
        method: str,
        url: str,
        patience: float = ASK_PATIENCE,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        limit: int = ANSWER,
    ) -> FalResponse:
        """Make one request with the key to a configured origin; raises one of the errors in `LOST`."""
        if self._session is None:
            self._session = client.create_session(SILENCE)
        async with (
            asyncio.timeout(patience * self.time_scale),
            self._session.request(
                method,
                yarl.URL(url),
                data=None if content is None else io.BytesIO(content),
                headers={"Authorization": f"Key {self.key}", "Accept": "application/json", **(headers or {})},
                allow_redirects=False,
            ) as response,
        ):
            found = await client.read_limited(response, limit)
            return FalResponse(response.status, response.headers, parse_fal_response(found))

    async def pause(self, seconds: float) -> None:
        """Sleep for 75 to 125 % of `seconds`."""
        await asyncio.sleep(seconds * self.time_scale * (0.75 + 0.5 * self._random_fraction()))

    def owns(self, url: str) -> bool:
        """Return whether the key may be sent to an address."""
        try:
            found = yarl.URL(url)
            origin = found.scheme, found.host, found.port
        except ValueError:
            return False
        return found.raw_user is None and found.raw_password is None and origin == self._origin

    def redact_id(self, name: str) -> str:
        """Return a job's id without secrets, for messages."""
        return redact(name, self.key)

    def secrets(self, call: Call | None = None) -> tuple[str, ...]:
        """Return the texts that no message may repeat: the key and the caller's own texts."""
        body = call.body if call else {}
        words = [body[name] for name in PRIVATE if isinstance(body.get(name), str) and len(body[name]) > 1]
        return (self.key, *self.key.split(":"), *words)

    async def aclose(self) -> None:
        """Close the connections; a later request opens new ones."""
        if self._session is not None:
            await self._session.close()
            self._session = None
