"""What is wrong with an answer, said in a few words; nothing where it is as it has to be."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import pyvips

from fakes.server import Answer
from fuzz.wire import Script

FIELDS = {"message", "type", "param", "code"}
OUR_FAULT = frozenset({"INTERNAL_ERROR", "DEADLINE_EXCEEDED", "PROVIDER_MISCONFIGURED", "ALL_PROVIDERS_EXHAUSTED"})
OUR_FAULT |= {"UPSTREAM_ERROR", "UPSTREAM_UNREACHABLE", "UPSTREAM_REFUSED"}
LIBRARY = frozenset({400, 408, 413, 414, 417, 431, 501, 505})
"""Statuses with which the HTTP library answers what it cannot read as a request."""
EVENT = "text/event-stream"


def faults(script: Script, answer: Answer, folder: str) -> list[str]:
    """Return what is wrong with one answer of a script; `folder` is a path that none may show."""
    if answer.status >= 500:
        return [f"{answer.status}: {_code(answer)}"]
    found = ["the answer shows a path of this machine"] if folder.encode() in answer.body else []
    if "x-request-id" not in answer.headers:
        by_library = script.malformed and answer.status in LIBRARY and not answer.body
        return found if by_library else [*found, f"{answer.status} without x-request-id"]
    kind = answer.headers.get("content-type", "")
    if script.method != "HEAD" and answer.status >= 400:
        found += _error(answer, script.sent)
    elif kind.startswith(EVENT):
        found += _events(answer.body)
    elif b"POST" in script.sent[:10] and b"/images/edits" in script.sent[:200] and kind.startswith("application/json"):
        found += _result(_parsed(answer.body))
    return found


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return None


def _code(answer: Answer) -> str:
    body = _parsed(answer.body)
    error = body.get("error") if isinstance(body, dict) else None
    return str(error.get("code")) if isinstance(error, dict) else "no error in JSON"


def _error(answer: Answer, sent: bytes) -> list[str]:
    page = answer.status == 404 and answer.headers.get("content-type", "").startswith("text/html")
    if page and b"/v1" not in sent.partition(b"\r\n")[0]:  # for people, beside the API
        return []
    body = _parsed(answer.body)
    error = body.get("error") if isinstance(body, dict) else None
    good = isinstance(error, dict) and set(error) - {"errors"} == FIELDS and error["message"]
    return [] if good else [f"{answer.status} whose body is not an error's"]


def _events(body: bytes) -> Iterator[str]:
    """Yield what is wrong with a stream of events, as far as it was read."""
    events = body.split(b"\n\n")
    for event in events[:-1]:
        lines = dict(line.partition(b": ")[::2] for line in event.split(b"\n"))
        if b"data" not in lines:
            continue
        data = _parsed(lines[b"data"])
        if not isinstance(data, dict):
            yield "an event that is no JSON"
        elif lines.get(b"event") == b"error" and data.get("error", {}).get("code") in OUR_FAULT:
            yield f"an event with the error {data['error']['code']}"


def _result(body: Any) -> Iterator[str]:
    """Yield what is wrong with the answer to a request for pictures."""
    if not isinstance(body, dict):
        yield "200 whose body is no JSON object"
        return
    if "data" not in body:  # a dry run
        return
    for item in body["data"]:
        if "b64_json" in item:
            # Pillow reads no grey TIFF of 16 bits with alpha.
            made = pyvips.Image.new_from_buffer(base64.b64decode(item["b64_json"]), "")
            size = made.width, made.height
            if f"{size[0]}x{size[1]}" != body["metadata"]["size"] and len(body["data"]) == 1:
                yield f"a result of {size}, not {body['metadata']['size']} as it says"
        elif "url" not in item:
            yield "a result without a picture"
