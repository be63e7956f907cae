"""A fluxvision server over HTTP, with the standard library: one edit as a stream of events."""

from __future__ import annotations

import json
import os
import secrets
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from http.client import HTTPException, HTTPResponse
from typing import Any
from urllib.parse import SplitResult, urlsplit

PATIENCE = 60.0
"""Seconds without a line; the server sends one every ten."""
SCHEMES = ("http", "https")
OWN = ("127.0.0.1", "localhost", "::1")
KEY, ADDRESS = "FLUXVISION_API_KEY", "FLUXVISION_SERVER_URL"
ENDPOINT = "/v1/images/edits"
NOBODY = "No fluxvision server answers at {url}. Start one with `fluxvision serve`, or change server_url."


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Follows no redirect, which would take the picture and the key elsewhere."""

    def redirect_request(self, *_arguments: Any) -> None:
        return None


class Server:
    """A server and the key for it."""

    def __init__(self, url: str, api_key: str) -> None:
        """Use the server at `url`; raises `RuntimeError` for what is no address of one.

        Without `api_key` the key of the environment is used, but only for the server that the environment names, or one
        of this machine: a workflow from somebody else must not send it to an address of their choice.
        """
        parts, named = urlsplit(url.strip().rstrip("/")), urlsplit(os.environ.get(ADDRESS, "").strip())
        if _origin(parts) is None:
            message = "server_url must be an address such as http://127.0.0.1:8000."
            raise RuntimeError(message)
        path = parts.path.removesuffix(ENDPOINT).removesuffix("/openai/v1").removesuffix("/v1")
        self._shown = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{path}"
        self._endpoint = self._shown + ENDPOINT
        trusted = parts.hostname in OWN or _origin(parts) == _origin(named)
        self._key = api_key.strip() or (os.environ.get(KEY, "").strip() if trusted else "")
        self._opener = urllib.request.build_opener(_NoRedirect)

    def edit(self, png: bytes, fields: Mapping[str, Any], on_progress: Callable[[float], None]) -> dict[str, Any]:
        """Enlarge a picture; return the last event, with `b64_json` and `metadata`.

        `on_progress` gets the share that is done whenever the server tells; what it raises ends the request. Raises
        `RuntimeError` with the server's words.
        """
        type_, body = _form(png, {**fields, "stream": "true", "response_format": "b64_json"})
        headers = {"Content-Type": type_} | ({"Authorization": f"Bearer {self._key}"} if self._key else {})
        request = urllib.request.Request(self._endpoint, body, headers)  # noqa: S310, the scheme was checked
        try:
            with self._opener.open(request, timeout=PATIENCE) as response:
                return _last_event(response, on_progress)
        except urllib.error.HTTPError as error:
            raise RuntimeError(_words(error)) from None
        except urllib.error.URLError:
            raise RuntimeError(NOBODY.format(url=self._shown)) from None
        except (OSError, HTTPException):
            message = f"The connection to the fluxvision server at {self._shown} broke before the picture was there."
            raise RuntimeError(message) from None


def _origin(parts: SplitResult) -> tuple[str, str, int | None] | None:
    """Return scheme, host and port of an HTTP address, None for other ones."""
    try:
        return (parts.scheme, parts.hostname, parts.port) if parts.hostname and parts.scheme in SCHEMES else None
    except ValueError:  # the port is no number
        return None


def _form(png: bytes, fields: Mapping[str, Any]) -> tuple[str, bytes]:
    """Return the content type and the bytes of a multipart form."""
    boundary = secrets.token_hex(16)
    head = f"--{boundary}\r\nContent-Disposition: form-data; name="
    parts = [f'{head}"{name}"\r\n\r\n{value}\r\n'.encode() for name, value in fields.items()]
    parts.append(f'{head}"image"; filename="image.png"\r\nContent-Type: image/png\r\n\r\n'.encode())
    return f"multipart/form-data; boundary={boundary}", b"".join([*parts, png, f"\r\n--{boundary}--\r\n".encode()])


def _last_event(response: HTTPResponse, on_progress: Callable[[float], None]) -> dict[str, Any]:
    """Read the events; return the picture's, or raise `RuntimeError` with the words of the error's."""
    for line in _lines(response, on_progress):
        event: dict[str, Any] = json.loads(line)
        if "error" in event:
            raise RuntimeError(_message(event["error"]))
        if event.get("type") == "image_edit.completed":
            return event
    message = "The fluxvision server ended without a picture."
    raise RuntimeError(message)


def _lines(response: HTTPResponse, on_progress: Callable[[float], None]) -> Iterator[bytes]:
    """Yield the data of each event; comments tell the progress, or only that the server is there."""
    share = 0.0
    for line in response:
        kind, _, rest = line.partition(b":")
        if not kind:
            words = rest.split()
            if words[:1] == [b"progress"]:
                done, _, total = words[1].partition(b"/")
                share = int(done) / max(int(total), 1)
            on_progress(share)
        elif kind == b"data":
            yield rest


def _words(error: urllib.error.HTTPError) -> str:
    """Return what a response with an error says."""
    with error:
        try:
            return _message(json.loads(error.read())["error"])
        except (ValueError, KeyError, TypeError, OSError):
            return f"The address of server_url answered {error.code} {error.reason}, and is no fluxvision server."


def _message(detail: Mapping[str, Any]) -> str:
    if detail.get("code") == "AUTHENTICATION_FAILED":
        return f"{detail['message']} Set {KEY} (and {ADDRESS} for a server elsewhere) before ComfyUI starts."
    return str(detail["message"])
