"""The watchers themselves: what is wrong is found, and nothing else."""

from __future__ import annotations

import base64
import io
import json

import pytest
from PIL import Image

from fakes.server import Answer
from fuzz import campaign, corpus, forms, oracle, wire

FORM = wire.Script("form", (b"POST /v1/images/edits HTTP/1.1\r\n",))
BROKEN = wire.Script("rubbish", (b"\0",), answers=0, malformed=True)
PAGE = wire.Script("paths", (b"GET /models/a HTTP/1.1\r\n",), method="GET")
ID = {"x-request-id": "req_1"}
JSON = ID | {"content-type": "application/json"}
EVENTS = ID | {"content-type": "text/event-stream; charset=utf-8"}
HTML = ID | {"content-type": "text/html; charset=utf-8"}
ERROR = {"message": "no", "type": "invalid_request_error", "param": None, "code": "INVALID_REQUEST"}
RESULT = {"data": [{"b64_json": base64.b64encode(corpus.file("png")).decode()}], "metadata": {"size": "16x12"}}


def body(value):
    return json.dumps(value).encode()


def event(name, value):
    return b": started\n\nevent: " + name + b"\ndata: " + body(value) + b"\n\n"


@pytest.mark.parametrize(
    ("script", "answer"),
    [
        (FORM, Answer(400, JSON, body({"error": ERROR}))),
        (FORM, Answer(200, JSON, body(RESULT))),
        (FORM, Answer(200, EVENTS, event(b"error", {"error": ERROR}))),
        (BROKEN, Answer(400, {}, b"")),
        (PAGE, Answer(404, HTML, b"<html>")),
    ],
)
def test_a_right_answer_has_no_fault(script, answer):
    """Errors in their shape, results of the size that they say, bare refusals of what is no request."""
    assert oracle.faults(script, answer, "/data") == []


@pytest.mark.parametrize(
    ("script", "answer"),
    [
        (FORM, Answer(500, JSON, body({"error": ERROR}))),
        (BROKEN, Answer(500, {}, b"")),
        (FORM, Answer(503, JSON, body({"error": ERROR}))),
        (FORM, Answer(400, {}, b"")),
        (FORM, Answer(400, JSON, b"no")),
        (FORM, Answer(400, JSON, body({"error": {"message": "no"}}))),
        (FORM, Answer(404, HTML, b"<html>")),
        (FORM, Answer(400, JSON, body({"error": ERROR | {"message": "/data/uploads"}}))),
        (FORM, Answer(200, JSON, b"[]")),
        (FORM, Answer(200, JSON, body(RESULT | {"metadata": {"size": "32x24"}}))),
        (FORM, Answer(200, EVENTS, event(b"error", {"error": ERROR | {"code": "INTERNAL_ERROR"}}))),
    ],
)
def test_a_wrong_answer_has_one(script, answer):
    """Any 5xx, an error in another shape or that shows a path, a result of another size, an error in a stream."""
    assert len(oracle.faults(script, answer, "/data")) == 1


def test_a_black_control_picture_is_wrong():
    """The control is compared by its pixels."""
    black = corpus.saved(Image.new("RGB", (32, 24)), "PNG")
    right = corpus.saved(Image.open(io.BytesIO(forms.CONTROL_PICTURE)).resize((32, 24)), "PNG")
    for picture, expected in ((black, False), (right, True)):
        answer = Answer(200, JSON, body({"data": [{"b64_json": base64.b64encode(picture).decode()}]}))
        assert campaign.is_the_control(answer) is expected


def test_lines_that_are_no_log_are_found():
    """Behind the banner each line is JSON, and none is an error."""
    good = '{"event":"request","level":"info"}'
    bad = '{"event":"unexpected","level":"error","trace":["ValueError"]}'
    found = list(campaign.strange_lines(f"banner\nCtrl-C ends it\n{good}\nGLib-CRITICAL\n{bad}\n{good}"))
    assert [text.partition(":")[0] for text in found] == ["a line of the log is no JSON", "the log says unexpected"]
