"""The body of a request, made from the arguments of a tool."""

from __future__ import annotations

import base64
import json

import pytest

from fakes.gateway import png
from fluxvision.core.errors import InvalidRequest
from fluxvision.mcp.arguments import check_arguments, read_reference, request_body
from fluxvision.mcp.schemas import TRANSPORT

RAW = base64.b64encode(png(8, 8)).decode()


async def content(body):
    return b"".join([chunk async for chunk in body.chunks])


@pytest.mark.parametrize("local", [False, True])
@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("https://example.com/a.png", "https://example.com/a.png"),
        (" data:image/png;base64,AAAA ", "data:image/png;base64,AAAA"),
        (RAW, "data:;base64," + RAW),
        (f"{RAW[:20]}\n{RAW[20:]}", "data:;base64," + RAW),
        ("/9j/" + "A" * 60, "data:;base64,/9j/" + "A" * 60),
    ],
)
def test_a_picture_is_a_url_a_data_uri_or_base64(given, expected, local):
    """URLs and data URIs stay as they are, base64 becomes a data URI, even that of a JPEG, which begins as a path."""
    assert read_reference("image", given, local=local) == expected


@pytest.mark.parametrize("form", ["{path}", "file://{path}"])
def test_a_file_is_a_picture_for_a_local_client_only(picture, form):
    """The path of a file, also as a URL, is read on this machine; over HTTP it is refused."""
    given = form.format(path=picture)
    assert read_reference("image", given, local=True) == picture
    with pytest.raises(InvalidRequest, match=r"^image must be an http\(s\) URL, a data URI or base64\.$"):
        read_reference("image", given, local=False)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("/nowhere/photo.png", "there is no such file"),
        ("photo.png", "must be the absolute path"),
        ("~nobody-of-this-name/photo.png", "must be the absolute path"),
        ("", "must be the absolute path"),
        (7, "must be the absolute path"),
        ("/" + "x" * 5000 + ".png", "there is no such file"),
        ("/a\x00.png", "there is no such file"),
    ],
)
def test_what_is_no_picture_is_refused(given, reason):
    """The message names the parameter and says what it takes, without the text that was given."""
    with pytest.raises(InvalidRequest, match=reason) as caught:
        read_reference("image", given, local=True)
    assert caught.value.param == "image"
    assert "nobody" not in caught.value.message


async def test_json_without_files():
    """Values keep their types, the default model is added, and null is left out."""
    body = request_body({"image": RAW, "scale_factor": 2.5, "strict": True, "mask": None}, local=True)
    sent = await content(body)
    assert (body.content_type, body.length) == ("application/json", len(sent))
    assert json.loads(sent) == {
        "model": "flux-vision-upscaler",
        "image": "data:;base64," + RAW,
        "scale_factor": 2.5,
        "strict": True,
    }


async def test_a_form_with_files(picture):
    """A file travels as it is, beside the fields as text; the length is announced exactly."""
    body = request_body({"image": str(picture), "n": 2, "strict": False, "prompt": "“a”\r\nb"}, local=True)
    sent = await content(body)
    assert body.length == len(sent)
    assert body.content_type.startswith("multipart/form-data; boundary=")
    assert picture.read_bytes() in sent
    assert b'name="n"\r\n\r\n2\r\n' in sent
    assert b'name="strict"\r\n\r\nfalse\r\n' in sent
    assert 'name="prompt"\r\n\r\n“a”\r\nb\r\n'.encode() in sent


@pytest.mark.parametrize("name", TRANSPORT)
def test_how_the_answer_travels_is_no_argument(name):
    """The tool decides that itself, and says so."""
    with pytest.raises(InvalidRequest, match=f"^{name}: the tool decides"):
        check_arguments({name: "url"})
