"""Requests to fal.ai with the key, which goes nowhere else, and the pauses between them."""

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

OK, ACCEPTED, UNPAID, FORBIDDEN, GONE, BUSY = 200, 202, 402, 403, 404, 429


@dataclass(frozen=True, slots=True)
class FalResponse:
    """A response, read to its end; `said` is its JSON object, None for anything else."""

    status: int
    headers: Mapping[str, str]
    said: Mapping[str, Any] | None

    @property
    def error_type(self) -> str:
        """Return fal.ai's name of the failure, empty where it gives none."""
        found = (self.said or {}).get("error_type") or self.headers.get("x-fal-error-type")
        return found if isinstance(found, str) else ""

    @property
    def failed(self) -> bool:
        """Whether the same question may be answered in a moment."""
        return self.status in {408, 425, BUSY} or self.status >= 500  # noqa: PLR2004

    @property
    def odd(self) -> bool:
        """Whether this is what a server between says rather than the queue."""
        return self.status == GONE or (self.status == OK and self.said is None)

    @property
    def fine(self) -> bool:
        """Whether this is an answer."""
        return self.status in {OK, ACCEPTED} and self.said is not None

    def final(self, *, often: bool) -> bool:
        """Return whether a failure is the job's own, which asking again does not change.

        One that says nothing comes from a server between; one that does not say its type is believed when it came
        `often`.
        """
        if self.status == BUSY or self.said is None:
            return False
        return often or bool(self.error_type) or "x-fal-request-timeout-type" in self.headers


def parse_fal_response(content: bytes) -> Mapping[str, Any] | None:
    """Return a JSON object, None for anything else."""
    try:
        found = msgspec.json.decode(content)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


ANSWER = 16_000_000
"""Bytes of an answer that holds no picture."""
SILENCE = 30.0
"""Seconds without a byte."""
ASK_PATIENCE = 60.0
"""Seconds that an answer may take."""
PRIVATE = ("prompt", "negative_prompt")
LOST = (aiohttp.ClientError, TimeoutError, OSError)
UNSENT = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)


class FalClient:
    """Asks the origins that the operator configured, and knows what must not be told of it."""

    def __init__(
        self, key: str, queue_url: str, pace: float = 1.0, chance: Callable[[], float] = random.random
    ) -> None:
        """Use `key`; `pace` scales all pauses and the patience with an answer, `chance` makes the pauses differ."""
        self.key = key.strip()
        self.pace = pace
        self._chance = chance
        origin = yarl.URL(queue_url)
        self._origin = origin.scheme, origin.host, origin.port
        self._session: aiohttp.ClientSession | None = None

    async def ask(
        self,
        method: str,
        url: str,
        patience: float = ASK_PATIENCE,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        limit: int = ANSWER,
    ) -> FalResponse:
        """Make one request with the key to an origin that the operator configured; raises what `LOST` names."""
        if self._session is None:
            self._session = client.create_session(SILENCE)
        async with (
            asyncio.timeout(patience * self.pace),
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
        """Sleep for about so long: three to five quarters."""
        await asyncio.sleep(seconds * self.pace * (0.75 + 0.5 * self._chance()))

    def owns(self, url: str) -> bool:
        """Return whether an address may get the key."""
        try:
            found = yarl.URL(url)
            origin = found.scheme, found.host, found.port
        except ValueError:
            return False
        return found.raw_user is None and found.raw_password is None and origin == self._origin

    def shown(self, name: str) -> str:
        """Return a job's name as it may be shown."""
        return client.scrub(name, self.key)

    def secrets(self, call: Call | None = None) -> tuple[str, ...]:
        """Return what no message may repeat: the key, and the caller's own words."""
        body = call.body if call else {}
        words = [body[name] for name in PRIVATE if isinstance(body.get(name), str) and len(body[name]) > 1]
        return (self.key, *self.key.split(":"), *words)

    async def aclose(self) -> None:
        """Close the connections; asking again opens new ones."""
        if self._session is not None:
            await self._session.close()
            self._session = None
