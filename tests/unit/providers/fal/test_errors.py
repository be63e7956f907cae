"""What fal.ai’s refusals mean, and what is never told of them."""

from __future__ import annotations

import pytest
from aiohttp import web

from fakes.fal import FakeFal
from fluxvision import imaging
from fluxvision.core.callbacks import JobCallbacks
from fluxvision.core.errors import (
    Cancelled,
    Error,
    InvalidRequest,
    Misconfigured,
    PolicyRefused,
    UpstreamBusy,
    UpstreamError,
    UpstreamRefused,
    UpstreamUnasked,
)
from fluxvision.core.types import Call
from fluxvision.providers.fal import Provider
from fluxvision.providers.fal.client import FalResponse
from fluxvision.providers.fal.errors import error_from_response

MODEL = "fal-ai/flux-vision-upscaler"


PROMPT = "a very private wish"
ASKED = {"upscale_factor": "scale_factor", "steps": "steps", "creativity": "creativity"}
"""The caller's parameters by fal's names."""


def call(path, upstream=MODEL, **body):
    return Call("fal", upstream, {"upscale_factor": 2.0, **body}, imaging.probe(path, imaging.Limits()), None)


def detail(kind, *location, message="Some words"):
    return {"detail": [{"loc": ["body", *location], "type": kind, "msg": message, "input": PROMPT}]}


@pytest.mark.parametrize(
    ("status", "said", "kind", "param"),
    [
        (422, detail("content_policy_violation", "image_url"), PolicyRefused, None),
        (400, {"detail": "no", "error_type": "content_policy_violation"}, PolicyRefused, None),
        (422, detail("less_than_equal", "upscale_factor"), InvalidRequest, "scale_factor"),
        (422, detail("image_too_large", "image_url"), InvalidRequest, "image"),
        (422, detail("less_than_equal", "steps"), InvalidRequest, "steps"),
        (422, detail("less_than_equal", "TopazInput", "steps"), InvalidRequest, "steps"),
        (422, detail("file_type", "image_url", "url"), InvalidRequest, "image"),
        (422, detail("literal_error", "output_format"), UpstreamUnasked, None),
        (422, detail("literal_error", "upscale_mode"), UpstreamUnasked, None),
        (422, detail("missing", "mask_url"), UpstreamUnasked, None),
        (422, {"detail": [{"loc": ["query", "logs"], "type": "x", "msg": "x"}]}, UpstreamUnasked, None),
        (422, {"detail": [{"loc": ["steps"], "type": "x", "msg": "x"}]}, InvalidRequest, "steps"),
        (422, {"detail": [{"loc": "steps", "type": "x", "msg": "x"}]}, InvalidRequest, None),
        (413, detail("too_large", "output_format"), InvalidRequest, "image"),
        (400, detail("literal_error", "output_format"), UpstreamUnasked, None),
        (422, detail("less_than_equal", "list", 3, "creativity"), InvalidRequest, "creativity"),
        (422, detail("value_error"), InvalidRequest, None),
        (422, detail("value_error", "<b>odd</b>"), UpstreamUnasked, None),
        (422, detail("file_download_error", "image_url"), UpstreamError, None),
        (422, {"detail": 3}, InvalidRequest, None),
        (422, None, InvalidRequest, None),
        (400, {"detail": "Bad", "error_type": "bad_request"}, InvalidRequest, None),
        (413, None, InvalidRequest, "image"),
        (401, {"detail": "Authentication is required"}, Misconfigured, None),
        (402, None, UpstreamRefused, None),
        (403, {"detail": "User is locked. Reason: Exhausted balance."}, UpstreamRefused, None),
        (403, {"detail": "You may not"}, Misconfigured, None),
        (404, {"detail": "Application not found"}, Misconfigured, None),
        (408, None, UpstreamError, None),
        (429, None, UpstreamBusy, None),
        (499, None, Cancelled, None),
        (500, {"detail": "x", "error_type": "internal_error"}, UpstreamError, None),
        (502, None, UpstreamError, None),
        (504, {"detail": "x", "error_type": "request_timeout"}, UpstreamError, None),
        (302, None, UpstreamError, None),
        (418, {"detail": "teapot"}, UpstreamError, None),
        (200, None, UpstreamError, None),
        (200, {}, UpstreamError, None),
    ],
)
def test_refusals(status, said, kind, param):
    """Each of fal's refusals has one meaning here, in a plain sentence."""
    error = error_from_response(FalResponse(status, {}, said), ("secret",), ASKED)
    assert type(error) is kind
    assert error.param == param
    assert error.message.endswith(".")
    assert PROMPT not in error.message


@pytest.mark.parametrize(
    ("status", "headers", "seconds"),
    [(429, {"retry-after": "7"}, 7.0), (503, {"retry-after-ms": "500"}, 0.5), (429, {}, None),
     (422, {"retry-after": "7"}, None)],
)  # fmt: skip
def test_when_to_come_back(status, headers, seconds):
    """What fal says of waiting is kept where waiting helps."""
    assert error_from_response(FalResponse(status, headers, None), (), {}).retry_after == seconds


async def test_no_word_of_fal_tells_a_secret(fal, photo, folder, monkeypatch):
    """Key, prompt, addresses and data in fal's own words do not reach the caller."""

    async def gossip(request, _kind):
        body = await request.json()
        text = f"Bad {fal.key} {body['prompt']} {fal.queue_url}/x?y=z {body['image_url'][:200]} Bearer abc123456"
        return web.json_response({"detail": text}, status=400)

    monkeypatch.setattr(FakeFal, "_submit", lambda _self, request, kind: gossip(request, kind))
    await fal.stop()
    await fal.start()
    provider = Provider(fal.key, fal.queue_url, fal.storage_url, time_scale=0.02)
    with pytest.raises(Error) as caught:
        await provider.run(call(photo, prompt=PROMPT), JobCallbacks(), folder)
    await provider.aclose()
    for secret in (*fal.key.split(":"), PROMPT, "127.0.0.1", "y=z", "base64", "abc123456"):
        assert secret not in caught.value.message
