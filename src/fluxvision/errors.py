"""Every error that leaves a module of fluxvision, and whose fault it is.

::

    fluxvision.errors.Error
    ├── ClientError               400  the request is at fault; a retry is useless
    │   ├── InvalidRequest        400  INVALID_REQUEST, names the parameter
    │   ├── AuthenticationFailed  401  AUTHENTICATION_FAILED
    │   ├── Forbidden             403  FORBIDDEN, another website or host name asks
    │   ├── NotFound              404  NOT_FOUND
    │   │   └── ModelNotFound     404  MODEL_NOT_FOUND
    │   ├── MethodNotAllowed      405  METHOD_NOT_ALLOWED
    │   ├── UploadTooSlow         408  UPLOAD_TOO_SLOW
    │   ├── PayloadTooLarge       413  PAYLOAD_TOO_LARGE
    │   └── UnsupportedMediaType  415  UNSUPPORTED_MEDIA_TYPE
    ├── Busy                      429  RATE_LIMITED, carries retry_after
    ├── Cancelled                 499  CANCELLED, the caller went away
    ├── InternalError             500  INTERNAL_ERROR, our own fault
    ├── UpstreamError             502  UPSTREAM_ERROR, a provider's fault
    └── Unavailable               503  UNAVAILABLE, draining or not ready

A message is one or two plain sentences for the caller. It never holds a path of this machine, a key, a prompt or
picture content.
"""

from __future__ import annotations

from typing import ClassVar


class Error(Exception):
    """The root: knows its HTTP status, its OpenAI error type and code, and whether a retry could help."""

    status: ClassVar[int] = 500
    type: ClassVar[str] = "api_error"
    code: ClassVar[str] = "INTERNAL_ERROR"
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, param: str | None = None, retry_after: float | None = None) -> None:
        """Keep the caller's message, the parameter it is about and the seconds after which a retry makes sense."""
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after = retry_after


class ClientError(Error):
    """The request is at fault."""

    status = 400
    type = "invalid_request_error"
    code = "INVALID_REQUEST"


class InvalidRequest(ClientError):
    """A parameter, a picture or their combination cannot be used."""


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
    """No model or provider has this name."""

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


class Busy(Error):
    """The queue is full; nothing was started and nothing was charged."""

    status = 429
    type = "rate_limit_error"
    code = "RATE_LIMITED"
    retryable = True


class Cancelled(Error):
    """The caller went away or asked to stop."""

    status = 499
    type = "cancelled"
    code = "CANCELLED"


class InternalError(Error):
    """Our own fault."""


class UpstreamError(Error):
    """A provider failed."""

    status = 502
    code = "UPSTREAM_ERROR"


class Unavailable(Error):
    """The server is starting, draining or out of room."""

    status = 503
    code = "UNAVAILABLE"
    retryable = True


class DeadlineExceeded(Error):
    """The work took longer than this server allows."""

    status = 504
    code = "DEADLINE_EXCEEDED"
