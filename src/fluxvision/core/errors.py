"""All errors of fluxvision, with HTTP status, code, who is to blame, and whether a retry may help.

::

    fluxvision.core.errors.Error
    ├── ClientError               400  the request is wrong; a retry is useless
    │   ├── InvalidRequest        400  INVALID_REQUEST, names the parameter
    │   │   └── ImageRequired     400  image_required, there is no picture to enlarge
    │   ├── PolicyRefused         400  CONTENT_POLICY_VIOLATION, a provider's policy forbids the picture
    │   ├── AuthenticationFailed  401  AUTHENTICATION_FAILED
    │   ├── InsufficientBalance   402  INSUFFICIENT_BALANCE, the key's budget does not cover the request
    │   ├── Forbidden             403  FORBIDDEN, not allowed to this key, or to another website or host name
    │   ├── NotFound              404  NOT_FOUND
    │   │   └── ModelNotFound     404  MODEL_NOT_FOUND
    │   ├── MethodNotAllowed      405  METHOD_NOT_ALLOWED
    │   ├── UploadTooSlow         408  UPLOAD_TOO_SLOW
    │   ├── PayloadTooLarge       413  PAYLOAD_TOO_LARGE
    │   ├── UnsupportedMediaType  415  UNSUPPORTED_MEDIA_TYPE
    │   ├── IdempotencyConflict   422  IDEMPOTENCY_CONFLICT, an idempotency key comes with another request
    │   └── RangeNotSatisfiable   416  RANGE_NOT_SATISFIABLE
    ├── Busy                      429  RATE_LIMITED, carries retry_after
    │   └── TooMany               429  RATE_LIMIT_EXCEEDED, too many requests of one address or key
    ├── Cancelled                 499  CANCELLED, the work was stopped
    │   └── CallerGone            499  CANCELLED, the caller closed the connection
    ├── InternalError             500  INTERNAL_ERROR, a fault of this server
    │   └── Misconfigured         500  PROVIDER_MISCONFIGURED, a provider refuses this server's settings
    ├── UpstreamError             502  UPSTREAM_ERROR, a provider failed
    │   ├── UpstreamUnreachable   502  UPSTREAM_UNREACHABLE, the network to a provider failed
    │   ├── UpstreamBusy          429  RATE_LIMITED, a provider is at its limit
    │   ├── UpstreamRefused       502  UPSTREAM_REFUSED, a healthy provider does not do this work
    │   │   └── UpstreamUnasked   502  UPSTREAM_REFUSED, because of a value that this server added
    │   ├── UpstreamBroke         500  INTERNAL_ERROR, this server's code for a provider failed
    │   └── Exhausted             502  ALL_PROVIDERS_EXHAUSTED
    ├── Unavailable               503  UNAVAILABLE, draining or not ready
    ├── DeadlineExceeded          504  DEADLINE_EXCEEDED, the work took too long
    └── ConfigError               no response: a setting cannot be used

A message is one or two plain sentences for the caller. It never holds a path of this machine, a key, a prompt or
picture content.

The module is long because the tree is: a class per error.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

from fluxvision.core.key_limits import RequestRate

Blame = Literal["client", "policy", "provider", "network", "us", "nobody"]
"""Who caused a failure. Only failures of a provider or the network lead to the next offer."""


class Error(Exception):
    """The base class of all errors."""

    status: ClassVar[int] = 500
    """HTTP status."""
    type: ClassVar[str] = "api_error"
    """The `type` of OpenAI's error object."""
    code: ClassVar[str] = "INTERNAL_ERROR"
    """The `code` of OpenAI's error object."""
    blame: ClassVar[Blame] = "us"
    counts: ClassVar[bool] = False
    """Whether it counts against the provider's health; only with the blame `provider` or `network`."""
    retryable: ClassVar[bool] = False
    """Whether the same request may succeed later."""

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        retry_after: float | None = None,
        upstream_id: str | None = None,
        billed: bool | None = False,
        seconds: float | None = None,
    ) -> None:
        """Create the error; `message` is shown to the caller.

        `param` is the parameter at fault, `retry_after` the seconds to wait before a retry. `upstream_id` is the
        provider's id of the work; `billed` tells whether the provider charges for it nevertheless, None when that is
        unknown because no response came. `seconds` is the compute time that the provider reported.
        """
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after = retry_after
        self.upstream_id = upstream_id
        self.billed = billed
        self.seconds = seconds

    @property
    def tries_next_provider(self) -> bool:
        """Return whether another provider may succeed."""
        return self.blame in {"provider", "network"}


class ClientError(Error):
    """The request is at fault."""

    status = 400
    type = "invalid_request_error"
    code = "INVALID_REQUEST"
    blame: ClassVar[Blame] = "client"


class InvalidRequest(ClientError):
    """A parameter, a picture or their combination cannot be used."""

    errors: tuple[InvalidRequest, ...] = ()
    """One for each parameter that is wrong, where several are."""

    @classmethod
    def join(cls, errors: Sequence[InvalidRequest]) -> InvalidRequest:
        """Return one error for at least one; of several it tells all messages, and names the first parameter."""
        if len(errors) == 1:
            return errors[0]
        joined = type(errors[0])(" ".join(error.message for error in errors), param=errors[0].param)
        joined.errors = tuple(errors)
        return joined


class ImageRequired(InvalidRequest):
    """The request has no picture."""

    code = "image_required"


class PolicyRefused(ClientError):
    """A provider's content policy forbids this picture or these words."""

    code = "CONTENT_POLICY_VIOLATION"
    blame = "policy"


class AuthenticationFailed(ClientError):
    """The key is missing, malformed or unknown."""

    status = 401
    type = "authentication_error"
    code = "AUTHENTICATION_FAILED"


class InsufficientBalance(ClientError):
    """The key's budget does not cover what the request may cost; nothing was started and nothing was charged."""

    status = 402
    type = "insufficient_quota"
    code = "INSUFFICIENT_BALANCE"


class Forbidden(ClientError):
    """The key does not allow it, or the request comes through a website or host name that is not served here."""

    status = 403
    type = "authentication_error"
    code = "FORBIDDEN"


class NotFound(ClientError):
    """There is nothing at this address."""

    status = 404
    code = "NOT_FOUND"


class ModelNotFound(NotFound):
    """No model has this name, or no provider on this server makes it."""

    code = "MODEL_NOT_FOUND"


class MethodNotAllowed(ClientError):
    """The address exists, but does not support this method."""

    status = 405
    code = "METHOD_NOT_ALLOWED"


class UploadTooSlow(ClientError):
    """The body did not arrive in time."""

    status = 408
    code = "UPLOAD_TOO_SLOW"


class PayloadTooLarge(ClientError):
    """The body, a part of it or a picture is over a limit of this server."""

    status = 413
    code = "PAYLOAD_TOO_LARGE"


class UnsupportedMediaType(ClientError):
    """The body's content type or encoding is not one that this route reads."""

    status = 415
    code = "UNSUPPORTED_MEDIA_TYPE"


class IdempotencyConflict(ClientError):
    """The idempotency key was used for another request."""

    status = 422
    code = "IDEMPOTENCY_CONFLICT"


class RangeNotSatisfiable(ClientError):
    """A requested range begins after the end of the file."""

    status = 416
    code = "RANGE_NOT_SATISFIABLE"
    size: int | None = None
    """Bytes of the file."""


class Busy(Error):
    """The queue is full; nothing was started and nothing was charged."""

    status = 429
    type = "rate_limit_error"
    code = "RATE_LIMITED"
    blame = "nobody"
    retryable = True


class TooMany(Busy):
    """One key, or one address without a key, makes too many requests; nothing was started and nothing was charged."""

    code = "RATE_LIMIT_EXCEEDED"
    rate: RequestRate | None = None
    """The key's requests per minute, where it has such a limit."""


class Cancelled(Error):
    """The work was stopped by the caller or by the provider's operator."""

    status = 499
    type = "cancelled"
    code = "CANCELLED"
    blame = "nobody"


class CallerGone(Cancelled):
    """The caller closed the connection."""


class InternalError(Error):
    """A fault of this server."""


class Misconfigured(InternalError):
    """A provider refuses a key, address or model name that this server's operator configured."""

    code = "PROVIDER_MISCONFIGURED"


class UpstreamError(Error):
    """A provider failed."""

    status = 502
    code = "UPSTREAM_ERROR"
    blame: ClassVar[Blame] = "provider"
    counts = True


class UpstreamUnreachable(UpstreamError):
    """The network between this server and a provider failed."""

    code = "UPSTREAM_UNREACHABLE"
    blame = "network"


class UpstreamBusy(UpstreamError):
    """A provider is at its limit now; `retry_after` is the provider's own."""

    status = 429
    type = "rate_limit_error"
    code = "RATE_LIMITED"
    counts = False
    retryable = True


class UpstreamRefused(UpstreamError):
    """A provider refuses this work although it is healthy."""

    code = "UPSTREAM_REFUSED"
    counts = False


class UpstreamUnasked(UpstreamRefused):
    """A provider refuses a value that this server added and the caller did not ask for."""


class UpstreamBroke(UpstreamError):
    """This server's code for a provider raised an unexpected exception; the provider may be healthy."""

    status = 500
    code = InternalError.code
    counts = False


class Exhausted(UpstreamError):
    """Every provider that may serve the request has failed."""

    code = "ALL_PROVIDERS_EXHAUSTED"
    counts = False


class Unavailable(Error):
    """The server is starting, draining, or out of memory, disk space or another resource."""

    status = 503
    code = "UNAVAILABLE"
    retryable = True


class DeadlineExceeded(Error):
    """The work took longer than this server allows."""

    status = 504
    code = "DEADLINE_EXCEEDED"


class ConfigError(Error):
    """A setting cannot be used; the message names it."""

    code = "CONFIGURATION"


def find_error(name: str, root: type[Error] = Error) -> type[Error] | None:
    """Return the class of an error by its name."""
    if root.__name__ == name:
        return root
    return next((found for child in root.__subclasses__() if (found := find_error(name, child))), None)
