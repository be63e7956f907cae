"""How a job is handed over to fal.ai: what is sent, and the ticket that comes back. It happens once."""

from __future__ import annotations

import msgspec
import pybase64

from fluxvision.core.errors import UpstreamError, UpstreamUnreachable
from fluxvision.core.system import shortage
from fluxvision.core.types import Call
from fluxvision.imaging import formats
from fluxvision.providers.fal import billing
from fluxvision.providers.fal.client import LOST, UNSENT, Wire
from fluxvision.providers.fal.errors import failure

LIFECYCLE = '{"expiration_duration_seconds":3600}'
"""How long fal.ai keeps a picture."""
PATIENCE = 120.0
TRIES = 3
SHORTEST = 0.1
"""Seconds of the shortest pause."""
HEADERS = {
    "Content-Type": "application/json",
    "X-Fal-Store-IO": "0",
    "X-Fal-Object-Lifecycle-Preference": LIFECYCLE,
}


class Ticket(msgspec.Struct, frozen=True):
    """What fal.ai says of a job that it has taken."""

    request_id: str
    status_url: str
    response_url: str
    cancel_url: str


def document(call: Call, address: str) -> bytes:
    """Return a request's body as JSON; without an address the picture itself is in it."""
    if not address:
        mime = formats.find(call.image.format).mime
        content = call.image.path.read_bytes() if call.image.content is None else call.image.content
        address = f"data:{mime};base64,{pybase64.b64encode_as_string(content)}"
    return msgspec.json.encode({**call.body, "image_url": address})


async def handed_over(wire: Wire, url: str, call: Call, content: bytes) -> Ticket:
    """Hand the job over once; only where nothing can have been sent is it tried again."""
    answer, left = None, TRIES
    while answer is None:
        left -= 1
        try:
            answer = await wire.ask("POST", url, PATIENCE, content, HEADERS)
        except UNSENT as error:
            if not left:
                raise shortage(error) or UpstreamUnreachable("fal.ai cannot be reached.") from None
            await wire.pause(SHORTEST * 2 ** (TRIES - left))
        except LOST:
            message = "The connection to fal.ai was lost while the job was handed over."
            raise UpstreamUnreachable(message, billed=None) from None
        except UpstreamError as error:
            error.billed = None  # whatever it says, it says too much of it
            raise
    if not answer.fine:
        raise billing.untaken(answer).on(failure(answer, wire.secrets(call), call.asked))
    try:
        ticket = msgspec.convert(answer.said, Ticket)
    except msgspec.ValidationError:
        message = "fal.ai took the job and did not say where to ask for it."
        raise UpstreamError(message, billed=None) from None
    if not all(wire.owns(url) for url in (ticket.status_url, ticket.response_url, ticket.cancel_url)):
        message = "fal.ai's answer leads to another server, which does not get this server's key."
        raise UpstreamError(message, upstream_id=wire.shown(ticket.request_id), billed=None)
    return ticket
