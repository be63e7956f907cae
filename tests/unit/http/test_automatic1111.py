"""The upscaling API of AUTOMATIC1111's web UI, with the bodies that its clients send."""

from __future__ import annotations

import base64
import io
import json

import pytest
from PIL import Image

from fakes.asgi import Client
from fakes.gateway import png

KEY = "a-key-of-sixteen-characters"
RAW = base64.b64encode(png(32, 24)).decode()
DATA_URI = "data:image/png;base64," + RAW
WEBUIAPI = {
    "resize_mode": 0,
    "show_extras_results": True,
    "gfpgan_visibility": 0,
    "codeformer_visibility": 0,
    "codeformer_weight": 0,
    "upscaling_resize": 2,
    "upscaling_resize_w": 512,
    "upscaling_resize_h": 512,
    "upscaling_crop": True,
    "upscaler_1": "None",
    "upscaler_2": "None",
    "extras_upscaler_2_visibility": 0,
    "upscale_first": False,
}
"""All fields with the web UI's defaults, as webuiapi sends them."""
KOISHI = {
    "image": DATA_URI,
    "resize_mode": 0,
    "show_extras_results": True,
    "upscaling_resize": 2,
    "upscaling_crop": True,
    "upscaler_1": "Lanczos",
    "upscaler_2": "None",
    "extras_upscaler_2_visibility": 1,
    "upscale_first": False,
}
"""Of koishi-plugin-novelai, whose undefined fields are left out by JSON."""
INTRAPAINT = {
    "resize_mode": 1,
    "upscaling_resize_w": 96,
    "upscaling_resize_h": 72,
    "upscaler_1": "None",
    "image": DATA_URI,
}
YUNZAI = {
    "upscaling_resize": 1.5,
    "upscaler_1": "ScuNET PSNR",
    "upscaler_2": "R-ESRGAN 4x+ Anime6B",
    "extras_upscaler_2_visibility": 0.6,
    "image": "data:image/jpeg;base64," + RAW,
}
"""Of ap-plugin for Yunzai-Bot, which calls every file a JPEG."""
SHORT = {"image": RAW, "upscaler_1": "R-ESRGAN 4x+", "upscaling_resize": 2}
"""As many web pages and bots have it."""


async def post(found, body, path="extra-single-image", **headers):
    content = json.dumps(body).encode()
    sent = {"Content-Type": "application/json", **headers}
    return await Client("POST", f"/sdapi/v1/{path}", sent, [content]).ask(found.app)


def size(text):
    with Image.open(io.BytesIO(base64.b64decode(text, validate=True))) as picture:
        return picture.format, picture.size


@pytest.mark.parametrize(
    ("body", "values"),
    [
        ({**WEBUIAPI, "image": DATA_URI}, {"scale_factor": 2.0}),
        (KOISHI, {"scale_factor": 2.0}),
        (INTRAPAINT, {"size": "96x72", "fit": "cover"}),
        (YUNZAI, {"scale_factor": 1.5}),
        (SHORT, {"scale_factor": 2.0, "engine": "realesrgan"}),
        ({"image": RAW, "upscaler_1": "SPAN"}, {"scale_factor": 2, "engine": "span"}),
        ({"image": RAW, "upscaling_resize": "3", "seed": 7}, {"scale_factor": 3.0, "seed": 7}),
    ],
    ids=["webuiapi", "koishi", "IntraPaint", "Yunzai", "short", "our own name", "text and our own parameter"],
)
async def test_a_clients_body_becomes_our_parameters(edge, body, values):
    """The job has the size and the network that the client asked for, and the answer is a PNG in plain base64."""
    found = edge()
    answer = await post(found, body)
    assert answer.status == 200, answer.body
    assert set(answer.json()) == {"html_info", "image"}
    assert size(answer.json()["image"])[0] == "PNG"
    assert dict(found.gateway.started[0].values) == {**values, "response_format": "b64_json"}


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({}, "upscaler_1: none was named; the network that fits was chosen, of span, realesrgan."),
        ({"upscaler_1": "Lanczos"}, "upscaler_1: Lanczos is a filter, and here are networks only;"),
        ({"upscaler_1": "4x-UltraSharp"}, "upscaler_1: 4x-UltraSharp is not on this server;"),
        ({"upscaler_1": "<b>"}, "upscaler_1: &lt;b&gt; is not on this server;"),
        ({"upscaler_2": "SwinIR 4x", "extras_upscaler_2_visibility": 0.5}, "upscaler_2: one network makes the picture"),
        ({"gfpgan_visibility": 1}, "gfpgan_visibility: faces are enlarged as everything else"),
        ({"codeformer_visibility": 0.5}, "codeformer_visibility: faces are enlarged as everything else"),
        ({"resize_mode": 1, "upscaling_resize_w": 99, "upscaling_crop": False}, "whole picture is within 99x512"),
        ({"rembg_model": "u2net"}, "rembg_model: not known here, and left out."),
        ({"n": 2}, "n: not known here, and left out."),
    ],
)
async def test_what_has_no_effect_is_told(edge, more, sentence):
    """The paragraphs of `html_info` say it; with strict the request is refused."""
    found = edge()
    answer = await post(found, {"image": RAW, **more})
    assert answer.status == 200, answer.body
    assert sentence in answer.json()["html_info"]
    assert answer.json()["html_info"].startswith("<p>Enlarged to 64x48 by embedded/span for $0.</p>")


async def test_strict_refuses_what_has_no_effect(edge):
    """With strict it is an error that names the field."""
    answer = await post(edge(), {"image": RAW, "upscaler_1": "span", "gfpgan_visibility": 1, "strict": True})
    assert (answer.status, answer.json()["error"]["param"]) == (400, "gfpgan_visibility")


async def test_a_batch(edge):
    """Each picture of the list is enlarged, in its order."""
    found = edge()
    pictures = [{"data": RAW, "name": "a.png"}, {"data": base64.b64encode(png(16, 8)).decode(), "name": "b.png"}]
    answer = await post(found, {**WEBUIAPI, "imageList": pictures}, "extra-batch-images")
    assert answer.status == 200, answer.body
    assert [size(text) for text in answer.json()["images"]] == [("PNG", (64, 48)), ("PNG", (32, 16))]
    assert len(found.gateway.started) == 2


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "image"),
        ({"image": ""}, "image"),
        ({"image": RAW, "resize_mode": 2}, "resize_mode"),
        ({"image": RAW, "upscaling_resize": 99}, "upscaling_resize"),
        ({"image": RAW, "resize_mode": 1, "upscaling_resize_w": 0}, "upscaling_resize_w"),
        ({"image": RAW, "gfpgan_visibility": "much"}, "gfpgan_visibility"),
    ],
)
async def test_a_wrong_field_is_named(edge, body, param):
    """The error names the field by the web UI's name."""
    answer = await post(edge(), body)
    assert (answer.status, answer.json()["error"]["param"]) == (400, param)
    assert param in answer.json()["error"]["message"]


async def test_the_upscalers_are_the_networks_of_this_server(edge):
    """With the fields of the web UI; the latent modes, which clients ask for too, are none."""
    found = edge()
    rows = (await found.get("/sdapi/v1/upscalers")).json()
    assert [row["name"] for row in rows] == ["None", "span", "realesrgan"]
    assert all(set(row) == {"name", "model_name", "model_path", "model_url", "scale"} for row in rows)
    assert (await found.get("/sdapi/v1/latent-upscale-modes")).json() == []


def basic(text):
    return {"Authorization": "Basic " + base64.b64encode(text.encode()).decode()}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (basic(f"me:{KEY}"), 200),
        (basic(f":{KEY}"), 200),
        (basic(KEY), 200),
        ({"Authorization": f"Bearer {KEY}"}, 200),
        (basic("me:wrong"), 401),
        ({"Authorization": "Basic ???"}, 401),
        ({}, 401),
    ],
)
async def test_the_key_may_be_a_password(edge, headers, status):
    """These clients know basic authentication only."""
    answer = await edge(api_keys=KEY).get("/sdapi/v1/upscalers", **headers)
    assert answer.status == status


async def test_elsewhere_a_password_is_no_key(edge):
    """The API proper takes keys as before."""
    assert (await edge(api_keys=KEY).get("/v1/models", **basic(f"me:{KEY}"))).status == 401


@pytest.mark.parametrize("headers", [{"Host": "evil.example"}, {"Origin": "https://evil.example"}])
async def test_without_keys_other_websites_are_refused(edge, headers):
    """As for the API."""
    assert (await post(edge(), SHORT, **headers)).status == 403
