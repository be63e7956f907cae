"""WebhookSender: tells callers the end of their requests, signed as Standard Webhooks, and tries again for a day."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial

from sqlalchemy import Connection
from standardwebhooks import Webhook

from fluxvision.jobs import deliveries, records
from fluxvision.jobs.deliveries import ClaimedDelivery, DeliveryRow
from fluxvision.jobs.records import RequestRow
from fluxvision.jobs.request_types import DeliveryFilter
from fluxvision.jobs.webhook_secrets import SigningSecrets, find_secrets
from fluxvision.net.webhook_client import Undelivered, WebhookClient
from fluxvision.storage.database import Database

LOOK_SECONDS = 2.0
"""Between two looks for deliveries that are due."""
PARALLEL = 16
"""Most attempts at the same time."""
DESCRIPTION_FAILED = "message_failed"


class WebhookSender:
    """Sends the deliveries that are due; several gateways share a database and its deliveries."""

    def __init__(
        self,
        database: Database,
        client: WebhookClient,
        describe: Callable[[RequestRow, str], Awaitable[bytes]],
        on_unexpected_error: Callable[[str, BaseException], None],
        now: Callable[[], float],
    ) -> None:
        """Post by `client`; `describe` returns the message about a request, with links below an address."""
        self._database = database
        self._client = client
        self._describe = describe
        self._on_unexpected_error = on_unexpected_error
        self._now = now
        self._wake = asyncio.Event()
        self._running: set[asyncio.Task[None]] = set()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look for deliveries that are due."""
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Stop; an attempt that is broken off is made again by any gateway."""
        tasks = [*self._running, *([] if self._task is None else [self._task])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def wake(self) -> None:
        """Look for deliveries at once."""
        self._wake.set()

    async def begin_due(self) -> Sequence[asyncio.Task[None]]:
        """Begin the attempts that are due, and return their tasks."""
        free = PARALLEL - len(self._running)
        if not free:
            return ()
        claim = partial(deliveries.claim, now=self._now(), limit=free)
        begun = [asyncio.create_task(self._attempt(one)) for one in await self._database.run(claim)]
        self._running.update(begun)
        for task in begun:
            task.add_done_callback(self._running.discard)
        return begun

    async def secrets(self, key_id: str, *, rotate: bool = False) -> SigningSecrets:
        """Return the secrets of a caller, made at first use; with `rotate`, give it a new one."""

        def find(connection: Connection) -> SigningSecrets:
            return find_secrets(connection, self._database, key_id, self._now(), rotate=rotate)

        return await self._database.run(find)

    async def list(self, wanted: DeliveryFilter) -> Sequence[DeliveryRow]:
        """Return one delivery more than wanted, where there are more."""
        return await self._database.run(lambda connection: deliveries.list_deliveries(connection, wanted))

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            try:
                await self.begin_due()
            except Exception as error:  # noqa: BLE001 - one bad moment of the database must not end it
                self._on_unexpected_error("", error)
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._wake.wait()

    async def _attempt(self, delivery: ClaimedDelivery) -> None:
        """Make one attempt and note how it ended; without a note it is repeated when its claim has ended."""
        try:
            failure = await self._send(delivery)
            end = partial(deliveries.end_attempt, delivery=delivery, failure=failure, now=self._now())
            await self._database.run(end)
        except Exception as error:  # noqa: BLE001 - the task has nobody else to tell
            self._on_unexpected_error(delivery.request_id, error)

    async def _send(self, delivery: ClaimedDelivery) -> str | None:
        """Post a message; return the kind of failure, None when it was delivered."""
        row = await self._database.run(
            lambda connection: records.find_request(connection, delivery.request_id, delivery.key_id)
        )
        secrets = await self.secrets(delivery.key_id)
        if row is None:
            return DESCRIPTION_FAILED
        try:
            body = await self._describe(row, delivery.base_url)
        except Exception as error:  # noqa: BLE001 - otherwise it would be claimed for ever
            self._on_unexpected_error(delivery.request_id, error)
            return DESCRIPTION_FAILED
        now = datetime.fromtimestamp(self._now(), UTC)
        signatures = [Webhook(secret).sign(delivery.id, now, body.decode()) for secret in secrets.all]
        headers = {
            "content-type": "application/json",
            "webhook-id": delivery.id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": " ".join(signatures),
        }
        try:
            await self._client.post(delivery.url, body, headers)
        except Undelivered as error:
            return error.kind
        return None
