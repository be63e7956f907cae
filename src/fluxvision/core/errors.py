"""Every error that leaves a module of fluxvision, and whose fault it is.

::

    fluxvision.core.errors.Error
    ├── ClientError               400  the request is at fault; a retry is useless
    │   ├── InvalidRequest        400  INVALID_REQUEST, names the parameter
    │   ├── PolicyRefused         400  CONTENT_POLICY_VIOLATION, a provider will not make this picture
    │   ├── AuthenticationFailed  401  AUTHENTICATION_FAILED
    │   ├── Forbidden             403  FORBIDDEN, another website or host name asks
    │   ├── NotFound              404  NOT_FOUND
    │   │   └── ModelNotFound     404  MODEL_NOT_FOUND
    │   ├── MethodNotAllowed      405  METHOD_NOT_ALLOWED
    │   ├── UploadTooSlow         408  UPLOAD_TOO_SLOW
    │   ├── PayloadTooLarge       413  PAYLOAD_TOO_LARGE
    │   ├── UnsupportedMediaType  415  UNSUPPORTED_MEDIA_TYPE
    │   └── RangeNotSatisfiable   416  RANGE_NOT_SATISFIABLE
    ├── Busy                      429  RATE_LIMITED, carries retry_after
    │   └── TooMany               429  RATE_LIMIT_EXCEEDED, one address asks too often
    ├── Cancelled                 499  CANCELLED, someone asked to stop
    │   └── CallerGone            499  CANCELLED, there is nobody to answer
    ├── InternalError             500  INTERNAL_ERROR, our own fault
    │   └── Misconfigured         500  PROVIDER_MISCONFIGURED, a provider refuses this server's own key
    ├── UpstreamError             502  UPSTREAM_ERROR, a provider's fault
    │   ├── UpstreamUnreachable   502  UPSTREAM_UNREACHABLE, the network between
    │   ├── UpstreamBusy          429  RATE_LIMITED, a provider has no room
    │   ├── UpstreamRefused       502  UPSTREAM_REFUSED, a provider is well and does not do this work
    │   └── Exhausted             502  ALL_PROVIDERS_EXHAUSTED
    └── Unavailable               503  UNAVAILABLE, draining or not ready

A message is one or two plain sentences for the caller. It never holds a path of this machine, a key, a prompt or
picture content.
"""

from __future__ import annotations

from typing import ClassVar, Literal

Blame = Literal["client", "policy", "provider", "network", "us", "nobody"]
"""Whose doing a failure is. Only that of a provider or the network goes on to the next offer."""


class Error(Exception):
    """The root: knows its HTTP status, its OpenAI error type and code, whose doing it is and whether a retry may help.

    `counts` tells whether a provider's health suffers from it; that needs a provider or the network to blame.
    `upstream_id` is a provider's name for the work; `billed` tells whether it charges for it all
    the same, None that nobody knows: the work was handed over, and no answer came. `seconds` is the compute time that
    it told, where it bills by that.
    """

    status: ClassVar[int] = 500
    type: ClassVar[str] = "api_error"
    code: ClassVar[str] = "INTERNAL_ERROR"
    blame: ClassVar[Blame] = "us"
    counts: ClassVar[bool] = False
    retryable: ClassVar[bool] = False

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
        """Keep what the caller is told, the seconds after which a retry makes sense, and what the bill needs."""
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after = retry_after
        self.upstream_id = upstream_id
        self.billed = billed
        self.seconds = seconds

    @property
    def tries_next_provider(self) -> bool:
        """Whether another provider may succeed."""
        return self.blame in {"provider", "network"}


class ClientError(Error):
    """The request is at fault."""

    status = 400
    type = "invalid_request_error"
    code = "INVALID_REQUEST"
    blame: ClassVar[Blame] = "client"


class InvalidRequest(ClientError):
    """A parameter, a picture or their combination cannot be used."""


class PolicyRefused(ClientError):
    """A provider's content policy forbids this picture or these words."""

    code = "CONTENT_POLICY_VIOLATION"
    blame = "policy"


class AuthenticationFailed(ClientError):
    """The key is missing, malformed or unknown."""

    status = 401
    type = "authentication_error"
    code = "AUTHENTICATION_FAILED"


class Forbidden(ClientError):
    """The request comes by way of a website or a host name that this server does not answer."""

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
    """The address exists and takes other methods."""

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


class RangeNotSatisfiable(ClientError):
    """A range that was asked for lies behind the end of the file."""

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
    """Too many requests without a key came from one address; nothing was started and nothing was charged."""

    code = "RATE_LIMIT_EXCEEDED"


class Cancelled(Error):
    """The work was stopped: by the caller, or by whoever runs the provider."""

    status = 499
    type = "cancelled"
    code = "CANCELLED"
    blame = "nobody"


class CallerGone(Cancelled):
    """The caller does not listen any more: there is nobody to answer."""


class InternalError(Error):
    """Our own fault."""


class Misconfigured(InternalError):
    """A provider refuses what this server's operator configured: a key, an address, a model's name."""

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
    """A provider has no room for this work now; `retry_after` is what it said."""

    status = 429
    type = "rate_limit_error"
    code = "RATE_LIMITED"
    counts = False
    retryable = True


class UpstreamRefused(UpstreamError):
    """A provider does not do this work, and is as healthy as before."""

    code = "UPSTREAM_REFUSED"
    counts = False


class UpstreamUnasked(UpstreamRefused):
    """A provider refuses the work for something that the caller did not ask for."""


class UpstreamBroke(UpstreamError):
    """What this server has for a provider broke in a way that nobody foresaw; the provider may be well."""

    status = 500
    code = InternalError.code
    counts = False


class Exhausted(UpstreamError):
    """Every provider that may serve the request has failed."""

    code = "ALL_PROVIDERS_EXHAUSTED"
    counts = False


class Unavailable(Error):
    """The server is starting, draining or out of room."""

    status = 503
    code = "UNAVAILABLE"
    retryable = True


class DeadlineExceeded(Error):
    """The work took longer than this server allows."""

    status = 504
    code = "DEADLINE_EXCEEDED"
