"""Requests that mean harm, or were made in haste: each gets its own 4xx in OpenAI's shape and leaves no file behind."""

from __future__ import annotations

import base64
import gzip
import io
import json
import os
import signal
import time

import pytest
from PIL import Image

from fakes.gateway import png
from fakes.server import PATIENCE, Server, document, form, read, wait_until

LIMIT = 200_000
PICTURE = png(8, 6)
MODEL = ("model", "flux-vision-upscaler")
IMAGE = ("image", PICTURE, "a.png")
DATA_URI = "data:image/png;base64," + base64.b64encode(PICTURE).decode()
EDITS = "/v1/images/edits"
QUICK = {"max_upload_bytes": str(LIMIT), "upload_timeout": "0.5", "fetch_timeout": "2", "drain_timeout": "5"}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Serve without keys and with tight limits."""
    with Server(tmp_path_factory.mktemp("served") / "data", QUICK) as running:
        yield running


@pytest.fixture(scope="module")
def keyed(tmp_path_factory):
    """Serve with two keys."""
    with Server(
        tmp_path_factory.mktemp("keyed") / "data", {**QUICK, "api_keys": "sk-one-4f1c09ab7d,sk-schlüssel-of-a-test"}
    ) as running:
        yield running


@pytest.fixture(autouse=True)
def nothing_left(request):
    """Check after each test that no upload stays on the disk and that the server still works."""
    yield
    for name in {"server", "keyed"} & set(request.fixturenames):
        running = request.getfixturevalue(name)
        assert wait_until(lambda running=running: running.uploads == []), running.uploads
        assert running.get("/healthz").status == 200


def refused(answer, status, param=None):
    """Assert OpenAI's error body, with a status and perhaps a parameter."""
    error = answer.json()["error"]
    assert (answer.status, set(error) - {"errors"}) == (status, {"message", "type", "param", "code"}), answer.body
    assert answer.headers["x-request-id"].startswith("req_")
    assert answer.headers["x-should-retry"] == "false"
    if param is not None:
        assert error["param"] == param, error
    return error


def head(length=None, content_type="multipart/form-data; boundary=b", extra=""):
    """Return the start of a raw request."""
    size = f"Content-Length: {length}\r\n" if length is not None else "Transfer-Encoding: chunked\r\n"
    return f"POST {EDITS} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {content_type}\r\n{size}{extra}\r\n".encode()


def part(disposition, body=b"x"):
    """Return one part behind the boundary `b`, with a Content-Disposition of one's own making."""
    return b"--b\r\nContent-Disposition: " + disposition + b"\r\n\r\n" + body + b"\r\n"


def raw_form(*parts):
    """Return a request from raw parts."""
    return {"Content-Type": "multipart/form-data; boundary=b"}, b"".join(parts) + b"--b--\r\n"


GOOD_MODEL = part(b'form-data; name="model"', b"flux-vision-upscaler")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 415),
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
        ({"Content-Type": "image/png"}, 415),
        ({"Content-Type": "multipart/mixed; boundary=b"}, 415),
        ({"Content-Type": "multipart/form-data"}, 400),
        ({"Content-Type": "multipart/form-data; boundary="}, 400),
        ({"Content-Type": 'multipart/form-data; boundary=""'}, 400),
        ({"Content-Type": "multipart/form-data; boundary=" + "b" * 71}, 400),
        ({"Content-Type": "application/json", "Content-Encoding": "gzip"}, 415),
        ({"Content-Type": "application/json", "Content-Encoding": "br"}, 415),
        ({"Content-Type": "application/json", "Content-Encoding": "identity, gzip"}, 415),
    ],
)
def test_content_types(server, headers, status):
    """A body of a kind that is not read is refused by its headers."""
    refused(server.post(EDITS, (headers, gzip.compress(b"0" * 1000))), status)


@pytest.mark.parametrize(
    ("request_", "status", "param"),
    [
        (form(*[(f"p{number}", "x") for number in range(10_000)]), 413, None),
        (
            raw_form(
                b'--b\r\nContent-Disposition: form-data; name="a"\r\nX-Long: ' + b"x" * 100_000 + b"\r\n\r\nx\r\n"
            ),
            413,
            None,
        ),
        (raw_form(b"--b\r\n" + b"X-Many: 1\r\n" * 100 + b"\r\nx\r\n"), 413, None),
        (raw_form(part(b'form-data; name="image"; filename="' + b"f" * 65_536 + b'"', PICTURE)), 413, None),
        (raw_form(part(b"form-data")), 400, None),
        (raw_form(part(b'form-data; name=""')), 400, None),
        (raw_form(part(b'form-data; name="a\x00b"')), 400, None),
        (raw_form(part(b'attachment; name="image"')), 400, None),
        (raw_form(b"--b\r\n\r\nno headers\r\n"), 400, None),
        (raw_form(part(b'form-data; name="\xff\xfe"')), 400, None),
        (raw_form(part(b'form-data; name="prompt"', b"\xff\xfe")), 400, "prompt"),
        (raw_form(part(b'form-data; name="prompt"', b"x" * 150_000), part(b'form-data; name="a"')), 400, "image"),
        (({"Content-Type": "multipart/form-data; boundary=b"}, b"--b\r\n" + b"x" * 100), 400, None),
        (({"Content-Type": "multipart/form-data; boundary=b"}, b""), 400, None),
        (({"Content-Type": "multipart/form-data; boundary=b"}, b"garbage"), 400, None),
        (({"Content-Type": "multipart/form-data; boundary=b"}, GOOD_MODEL), 400, None),
        (form(MODEL), 400, "image"),
        (form(MODEL, ("image", b"", "a.png")), 400, "image"),
        (form(MODEL, ("image", b"<html>", "a.png")), 400, "image"),
        (form(MODEL, ("image", "<_io.BytesIO object at 0x7f>")), 400, "image"),
        (form(MODEL, ("image", "a.png")), 400, "image"),
        (form(MODEL, *[(f"image[{number}]", PICTURE, "a") for number in range(17)]), 400, "image"),
        (form(MODEL, IMAGE, ("mask", PICTURE, "m"), ("mask", PICTURE, "m")), 400, "mask"),
        (form(MODEL, IMAGE, ("size", "64x64"), ("size", "65x65")), 400, "size"),
        (form(MODEL, IMAGE, ("a[b]", "1"), ("a", "2")), 400, "a"),
        (form(MODEL, IMAGE, ("k[]", "1"), ("k[b]", "2")), 400, "k[b]"),
        (form(MODEL, IMAGE, ("a" + "[b]" * 50, "1")), 400, None),
        (form(MODEL, IMAGE, ("[x]", "1")), 400, "[x]"),
        (form(("model", "nope"), IMAGE), 404, "model"),
        (form(("model", "../../etc/passwd"), IMAGE), 404, "model"),
        (form(("model", "http://127.0.0.1/x"), IMAGE), 404, "model"),
        (form(("model", "fal/../../admin"), IMAGE), 404, "model"),
        (form(("model", "m" * 100_000), IMAGE), 404, "model"),
        (form(("model", "  "), IMAGE), 404, "model"),
        (form(MODEL, IMAGE, ("n", "abc")), 400, "n"),
        (form(MODEL, IMAGE, ("n", "0")), 400, "n"),
        (form(MODEL, IMAGE, ("n", "11")), 400, "n"),
        (form(MODEL, IMAGE, ("n", "1e9")), 400, "n"),
        (form(MODEL, IMAGE, ("size", "0x0")), 400, "size"),
        (form(MODEL, IMAGE, ("size", "-1x5")), 400, "size"),
        (form(MODEL, IMAGE, ("output_compression", "-1")), 400, "output_compression"),
        (form(MODEL, IMAGE, ("output_compression", "101")), 400, "output_compression"),
        (form(MODEL, IMAGE, ("prompt", "x" * 32_001)), 400, "prompt"),
        (form(MODEL, IMAGE, ("prompt", "a\x00b")), 400, "prompt"),
        (form(MODEL, IMAGE, ("partial_images", "4"), ("stream", "true")), 400, "partial_images"),
        (form(MODEL, IMAGE, ("fail", "refuse"), ("stream", "true")), 400, "size"),
    ],
)
def test_forms(server, request_, status, param):
    """A form that cannot be used is refused, naming the parameter where one is at fault."""
    refused(server.post(EDITS, request_), status, param)


def test_a_field_over_a_megabyte_is_refused(tmp_path):
    """A text field is bounded apart from the body."""
    with Server(tmp_path / "data", {"max_upload_bytes": "2000000"}) as wide:
        refused(wide.edit(MODEL, IMAGE, ("prompt", "x" * 1_000_001)), 413, "prompt")
        with wide.connect() as connection:
            connection.sendall(head(3_666_667, "application/json"))
            assert "for JSON" in refused(read(connection), 413)["message"]
        assert wide.uploads == []


@pytest.mark.parametrize(
    "parts",
    [
        (("image", PICTURE),),
        (("image[]", PICTURE, "../../../../etc/passwd"),),
        (("image[0]", PICTURE, "..\\..\\x"),),
        (("image", PICTURE, "a%00.png"),),
        (("image", PICTURE, "\u202egnp.exe"),),
        (("image", DATA_URI),),
        (IMAGE, ("n", "1.0")),
        (IMAGE, ("n", "")),
        (IMAGE, ("n", "1"), ("n", "1")),
        (IMAGE, ("size", "1024X1024")),
        (IMAGE, ("size", "16:9")),
        (IMAGE, ("size", " auto")),
        (IMAGE, ("strict", "TRUE")),
        (IMAGE, ("strict", "1")),
        (IMAGE, ("prompt", "")),
        (IMAGE, ("prompt", "🖼" * 32_000)),
        (IMAGE, ("loras[]", "a"), ("loras[]", "b"), ("style_[deep][er]", "c")),
    ],
)
def test_odd_forms_that_are_fine(server, parts):
    """What real clients send in odd ways works: no file name, hostile file names, numbers as text, equal doubles."""
    answer = server.edit(MODEL, *parts)
    assert answer.status == 200, answer.body


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        (b"", 400, None),
        (b"{", 400, None),
        (b"[]", 400, None),
        (b'"text"', 400, None),
        (b"null", 400, None),
        (b"\xef\xbb\xbf{}", 400, "image"),
        (b"\xff\xfe{\x00}\x00", 400, None),
        (b"[" * 10_000 + b"]" * 10_000, 400, None),
        (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, 400, None),
        (b'{"image":"' + DATA_URI.encode() + b'","model":"m","x":' + b"[" * 50 + b"]" * 50 + b"}", 400, "x"),
        (b'{"n": NaN}', 400, None),
        (b'{"n": Infinity}', 400, None),
        (b'{"n": 1e999}', 400, None),
        (b'{"prompt": "\\ud800"}', 400, None),
        (b'{"model": "a", "model": "b"}', 400, "model"),
        (json.dumps({"model": MODEL[1], "image": DATA_URI, "n": [1]}).encode(), 400, "n"),
        (json.dumps({"model": 7, "image": DATA_URI}).encode(), 400, "model"),
        (json.dumps({"model": MODEL[1], "image": 7}).encode(), 400, "image"),
        (json.dumps({"model": MODEL[1], "image": ""}).encode(), 400, "image"),
        (json.dumps({"model": MODEL[1], "image": []}).encode(), 400, "image"),
        (json.dumps({"model": MODEL[1], "image": DATA_URI, "images": []}).encode(), 400, "image"),
        (json.dumps({"model": MODEL[1], "images": "x"}).encode(), 400, "images"),
        (json.dumps({"model": MODEL[1], "images": [{"file_id": "file-1"}]}).encode(), 404, "image"),
        (json.dumps({"model": MODEL[1], "images": [{"image_url": {"url": "x"}}]}).encode(), 400, "image"),
        (json.dumps({"model": MODEL[1], "image": "aGVsbG8="}).encode(), 400, "image"),
        (json.dumps({"model": MODEL[1], "image": "data:image/png,raw"}).encode(), 400, "image"),
        (json.dumps({"model": MODEL[1], "image": "data:image/png;base64,@@@@"}).encode(), 400, "image"),
        (json.dumps({"model": MODEL[1], "image": "data:;base64,"}).encode(), 400, "image"),
        (json.dumps({"model": MODEL[1], "image": "file:///etc/passwd"}).encode(), 400, "image"),
        (json.dumps({"model": MODEL[1], "image": DATA_URI, "mask": {"file_id": "f"}}).encode(), 404, "mask"),
        (json.dumps({"model": MODEL[1], "image": DATA_URI, "mask": "data:;base64,AAAA"}).encode(), 400, "mask"),
    ],
)
def test_documents(server, body, status, param):
    """JSON that cannot be used is refused, however deep, odd or broken."""
    refused(server.post(EDITS, ({"Content-Type": "application/json"}, body)), status, param)


@pytest.mark.parametrize(
    "given",
    [
        {"images": [{"image_url": DATA_URI}]},
        {"image": DATA_URI},
        {"image": [DATA_URI]},
        {"image": {"image_url": DATA_URI}, "n": "2", "prompt": None},
        {"image": DATA_URI, "extra": {"a": [1, 2.5, None]}},
    ],
)
def test_documents_that_are_fine(server, given):
    """Pictures may come as OpenAI's references, as a bare data URI, or in a list of one."""
    assert server.post(EDITS, document({"model": MODEL[1], **given})).status == 200


def test_a_mask_may_be_a_reference(server):
    """A mask comes as a picture does."""
    stream = io.BytesIO()
    Image.new("RGBA", (8, 6)).save(stream, "PNG")
    mask = "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()
    given = {"image": {"image_url": DATA_URI}, "mask": {"image_url": mask}}
    assert server.post(EDITS, document({"model": MODEL[1], **given})).status == 200


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/x.png",
        "http://localhost/x.png",
        "http://0.0.0.0/x.png",
        "http://127.1/x.png",
        "http://0x7f.1/x.png",
        "http://2130706433/x.png",
        "http://017700000001/x.png",
        "http://[::1]/x.png",
        "http://[::]/x.png",
        "http://[::ffff:127.0.0.1]/x.png",
        "http://[::ffff:7f00:1]/x.png",
        "http://[::7f00:1]/x.png",
        "http://[64:ff9b::7f00:1]/x.png",
        "http://[64:ff9b:1::7f00:1]/x.png",
        "http://[2002:7f00:1::]/x.png",
        "http://[2001:0:7f00:1::]/x.png",
        "http://[2a00::5efe:7f00:1]/x.png",
        "http://[fe80::1]/x.png",
        "http://[fec0::1]/x.png",
        "http://[fd00:ec2::254]/x.png",
        "http://100.64.0.1/x.png",
        "http://169.254.169.254/latest/meta-data",
        "http://10.0.0.1/x.png",
        "http://192.168.1.1/x.png",
        "http://224.0.0.1/x.png",
        "http://255.255.255.255/x.png",
        "http://metadata.google.internal/x.png",
        "http://localhost./x.png",
        "http://user@example.com/x.png",
        "http://example.com:80@127.0.0.1/x.png",
        "http://example.com:22/x.png",
        "http://example.com:0/x.png",
        "http://example.com:99999/x.png",
        "http://example.com\\@127.0.0.1/x.png",
        "http://exa mple.com/x.png",
        "http://example.com/\r\nHost: x",
        "http:///x.png",
        "http://[::1/x.png",
        "http://" + "a" * 9_000,
        "ftp://example.com/x.png",
        "gopher://example.com/x",
    ],
)
def test_urls_to_private_places(server, url):
    """A picture's URL never leads to this machine, its network or its cloud's metadata, however it is written."""
    for request in (document({"model": MODEL[1], "image": url}), form(MODEL, ("image", url))):
        if "\r" in url and request[0]["Content-Type"].startswith("multipart"):
            continue
        refused(server.post(EDITS, request), 400, "image")


def test_our_own_links_are_not_fetched_again(server):
    """A result's link on loopback is a private address like any other."""
    link = server.edit(MODEL, IMAGE).json()["data"][0]["url"]
    refused(server.post(EDITS, document({"model": MODEL[1], "image": link})), 400, "image")


@pytest.mark.parametrize("announced", [LIMIT + 1, 10**12, 2**63 - 1])
def test_an_announced_body_over_the_limit(server, announced):
    """A Content-Length over the limit is refused before a byte of the body is sent."""
    with server.connect() as connection:
        connection.sendall(head(announced))
        answer = read(connection)
    refused(answer, 413)


def test_an_unannounced_body_over_the_limit(server):
    """A chunked body is refused as soon as it is over the limit, not at its end."""
    with server.connect() as connection:
        connection.sendall(head() + b"40\r\n" + part(b'form-data; name="image"; filename="a"').ljust(64)[:64] + b"\r\n")
        block = b"10000\r\n" + b"x" * 65_536 + b"\r\n"
        for _ in range(LIMIT // 65_536 + 1):
            connection.sendall(block)
        refused(read(connection), 413)


@pytest.mark.parametrize("length", [4_000, None])
def test_a_body_that_stops_arriving(server, length):
    """After the upload timeout without a byte the request ends with 408."""
    start = part(b'form-data; name="image"; filename="a"')
    with server.connect() as connection:
        body = start if length else f"{len(start):x}\r\n".encode() + start + b"\r\n"
        connection.sendall(head(length) + body)
        began = time.monotonic()
        refused(read(connection), 408)
    assert time.monotonic() - began < 15


def test_a_body_that_drips(server):
    """A byte now and then does not keep a request alive for ever."""
    with server.connect() as connection:
        connection.sendall(head(4_000) + part(b'form-data; name="image"; filename="a"'))
        began = time.monotonic()
        connection.settimeout(0.1)
        while time.monotonic() - began < 30:
            connection.sendall(b"x")
            try:
                start = connection.recv(100)
                break
            except TimeoutError:
                continue
    assert start.startswith(b"HTTP/1.1 408")
    assert time.monotonic() - began < 15


def test_a_body_shorter_than_announced(server):
    """A caller that goes away in the middle of an upload leaves nothing."""
    with server.connect() as connection:
        connection.sendall(head(100_000) + part(b'form-data; name="image"; filename="a"', b"x" * 50_000))
        assert wait_until(lambda: server.uploads)
    assert wait_until(lambda: not server.uploads)


@pytest.mark.parametrize("length", ["-1", "abc", "1 2", 10**30])
def test_a_length_that_is_no_number(server, length):
    """A nonsensical Content-Length is a 400."""
    assert server.raw(head(length)).status == 400


@pytest.mark.parametrize("stream", ["false", "true"])
def test_a_caller_that_goes_away_frees_the_worker(server, stream):
    """A job whose caller hangs up is stopped, and its folder is gone, with and without a stream."""
    headers, body = form(MODEL, IMAGE, ("tile_seconds", "0.1"), ("tiles", "300"), ("stream", stream))
    with server.connect() as connection:
        connection.sendall(head(len(body), headers["Content-Type"]) + body)
        assert wait_until(lambda: b"fluxvision_jobs_running 1.0" in server.get("/metrics").body)
    assert wait_until(lambda: b"fluxvision_jobs_running 0.0" in server.get("/metrics").body)
    assert server.edit(MODEL, IMAGE).status == 200


@pytest.mark.parametrize("stream", ["false", "true"])
def test_a_caller_that_stops_reading(server, stream):
    """An answer that nobody reads ends after the timeout, and leaves neither a folder nor a request behind."""
    more = (("response_format", "b64_json"), ("bulk", "20000000"), ("stream", stream))
    headers, body = form(MODEL, IMAGE, *more)
    before = server.log.count('"route":"/v1/images/edits"')
    with server.connect() as connection:
        connection.sendall(head(len(body), headers["Content-Type"]) + body)
        assert wait_until(lambda: server.uploads)
        assert wait_until(lambda: not server.uploads)
        assert wait_until(lambda: server.log.count('"route":"/v1/images/edits"') > before)


def test_a_full_queue_answers_at_once(tmp_path):
    """With every place taken a request gets 429 and Retry-After before its body is read."""
    with Server(tmp_path / "data", {**QUICK, "queue": "0"}) as small:
        headers, body = form(MODEL, IMAGE, ("tile_seconds", "0.1"), ("tiles", "300"))
        with small.connect() as busy:
            busy.sendall(head(len(body), headers["Content-Type"]) + body)
            assert wait_until(lambda: b"fluxvision_jobs_running 1.0" in small.get("/metrics").body)
            with small.connect() as late:
                late.sendall(head(100_000))
                answer = read(late)
        assert (answer.status, answer.headers["retry-after"], answer.headers["retry-after-ms"]) == (429, "2", "2000")
        assert answer.json()["error"]["code"] == "RATE_LIMITED"
        assert "x-should-retry" not in answer.headers


@pytest.mark.parametrize(
    ("value", "status"),
    [
        (None, 401),
        (b"", 401),
        (b"Bearer", 401),
        (b"Bearer ", 401),
        (b"Basic c2stb25lOg==", 401),
        (b"sk-one-4f1c09ab7d", 401),
        (b"Bearer sk-two", 401),
        (b"Bearer sk-one-4f1c09ab7d sk-one-4f1c09ab7d", 401),
        (b"Bearer sk-on", 401),
        (b"Bearer ' OR 1=1 --", 401),
        (b"Bearer " + b"k" * 10_000, 401),
        (b"Bearer sk-schl\xfcssel-of-a-test", 401),
        (b"Bearer sk-one-4f1c09ab7d", 200),
        (b"bearer   sk-one-4f1c09ab7d", 200),
        ("Bearer sk-schlüssel-of-a-test".encode(), 200),
    ],
)
def test_keys(keyed, value, status):
    """Only `Bearer` and a configured key opens the API; everything else is a 401 that says how to do it."""
    line = b"" if value is None else b"Authorization: " + value + b"\r\n"
    answer = keyed.raw(b"GET /v1/models HTTP/1.1\r\nHost: example.com\r\n" + line + b"\r\n")
    assert answer.status == status
    if status == 401:
        assert refused(answer, 401)["code"] == "AUTHENTICATION_FAILED"
        assert answer.headers["www-authenticate"] == "Bearer"


def test_the_key_is_checked_before_the_body_is_read(keyed):
    """An upload without a key is refused while its body is still at home."""
    with keyed.connect() as connection:
        connection.sendall(head(100_000))
        refused(read(connection), 401)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 403),
        ({"Host": "evil.example:8000"}, 403),
        ({"Host": "localhost.evil.example"}, 403),
        ({"Host": "192.168.1.7"}, 403),
        ({"Host": "localhost@evil.example"}, 400),
        ({"Host": "[::1"}, 400),
        ({"Host": "localhost", "Origin": "http://evil.example"}, 403),
        ({"Host": "localhost", "Origin": "http://localhost.evil.example"}, 403),
        ({"Host": "localhost:8000", "Origin": "http://localhost:9000"}, 403),
        ({"Host": "localhost", "Origin": "null"}, 403),
        ({"Host": "localhost", "Origin": "file://"}, 403),
        ({"Host": "localhost:8000", "Origin": "http://localhost:8000"}, 200),
        ({"Host": "localhost", "Origin": "http://localhost:80"}, 200),
        ({"Host": "127.0.0.1:8000"}, 200),
        ({"Host": "127.9.9.9"}, 200),
        ({"Host": "[::1]:8000", "Origin": "http://[::1]:8000"}, 200),
        ({"Host": "LOCALHOST"}, 200),
    ],
)
def test_other_websites_cannot_drive_a_server_without_keys(server, headers, status):
    """Without keys, foreign host names (DNS rebinding) and foreign origins are refused."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    answer = server.raw(f"GET /v1/models HTTP/1.1\r\n{lines}\r\n".encode())
    assert answer.status == status
    if status == 403:
        assert refused(answer, 403)["code"] == "FORBIDDEN"


@pytest.mark.parametrize(
    ("method", "path", "status", "allow"),
    [
        ("GET", "/nothing", 404, None),
        ("GET", "/v1", 404, None),
        ("GET", "/v1/images/edits/", 405, "POST"),
        ("GET", "/v1/../etc/passwd", 404, None),
        ("GET", "/v1/models/nope", 404, None),
        ("GET", "/v1/models/..%2f..%2fetc", 404, None),
        ("GET", "/media/..%2f..%2fmedia.key", 404, None),
        ("GET", "/media/x.png", 404, None),
        ("GET", "/v1/images/edits", 405, "POST"),
        ("DELETE", "/v1/models", 405, "GET, HEAD"),
        ("PUT", "/media/x.png", 405, "GET, HEAD"),
    ],
)
def test_wrong_addresses_and_methods(server, method, path, status, allow):
    """A wrong address is a 404, a wrong method a 405 that names the right ones."""
    answer = server.get(path, method=method)
    refused(answer, status)
    assert allow is None or set(answer.headers["allow"].split(", ")) == set(allow.split(", "))


def test_our_own_fault_says_nothing(server):
    """An unexpected error is a 500 without details; the log has its place in the code and not its words."""
    answer = server.edit(MODEL, IMAGE, ("fail", "crash"), ("prompt", "a secret wish"))
    assert refused(answer, 500)["message"] == "Something went wrong on this server."
    assert "ZeroDivisionError" in server.log
    assert "a secret wish" not in server.log


def test_the_log_keeps_secrets(keyed):
    """Neither the key, nor the prompt, nor a file's name, nor a link's signature is logged."""
    request = form(MODEL, ("image", PICTURE, "holiday.png"), ("prompt", "a secret wish"))
    link = keyed.post(EDITS, request, Authorization="Bearer sk-one-4f1c09ab7d").json()["data"][0]["url"]
    path = link.partition(f":{keyed.port}")[2]
    assert keyed.get(path).status == 200
    assert keyed.get(path, {"Authorization": "Bearer sk-wrong"}).status == 200
    signature = link.rpartition("=")[2]
    for secret in ("sk-one-4f1c09ab7d", "sk-wrong", "secret wish", "holiday", signature):
        assert secret not in keyed.log


def test_sigterm_drains(tmp_path):
    """After SIGTERM a running job is finished, new ones get 503, /readyz says so, and the process ends with 0."""
    with Server(tmp_path / "data", QUICK) as running:
        headers, body = form(MODEL, IMAGE, ("tile_seconds", "0.3"), ("tiles", "4"))
        with running.connect() as busy, running.connect():
            busy.sendall(head(len(body), headers["Content-Type"]) + body)
            assert wait_until(lambda: b"fluxvision_jobs_running 1.0" in running.get("/metrics").body)
            running.process.send_signal(signal.SIGTERM)
            assert wait_until(lambda: running.get("/readyz").status == 503)
            answer = running.edit(MODEL, IMAGE)
            assert (answer.status, answer.json()["error"]["code"]) == (503, "UNAVAILABLE")
            assert "retry-after" in answer.headers
            assert read(busy).status == 200
        assert running.process.wait(PATIENCE) == 0
    assert list((tmp_path / "data" / "uploads").glob("run-*")) == []


def test_a_job_longer_than_the_drain(tmp_path):
    """A job that the drain cannot wait for ends with 503, and the process still ends with 0."""
    with Server(tmp_path / "data", {**QUICK, "drain_timeout": "0.3"}) as running:
        headers, body = form(MODEL, IMAGE, ("tile_seconds", "0.1"), ("tiles", "300"))
        with running.connect() as busy:
            busy.sendall(head(len(body), headers["Content-Type"]) + body)
            assert wait_until(lambda: b"fluxvision_jobs_running 1.0" in running.get("/metrics").body)
            running.process.send_signal(signal.SIGTERM)
            assert read(busy).status == 503
        assert running.process.wait(PATIENCE) == 0


def test_a_second_sigterm_does_not_wait(tmp_path):
    """Whoever asks twice gets the end at once, and running callers an answer."""
    with Server(tmp_path / "data", {**QUICK, "drain_timeout": "60"}) as running:
        headers, body = form(MODEL, IMAGE, ("tile_seconds", "0.1"), ("tiles", "900"))
        with running.connect() as busy:
            busy.sendall(head(len(body), headers["Content-Type"]) + body)
            assert wait_until(lambda: b"fluxvision_jobs_running 1.0" in running.get("/metrics").body)
            running.process.send_signal(signal.SIGTERM)
            assert wait_until(lambda: running.get("/readyz").status == 503)
            running.process.send_signal(signal.SIGTERM)
            assert read(busy).status == 503
        assert running.process.wait(PATIENCE) == 0


def test_what_a_crash_leaves_is_swept_at_the_next_start(tmp_path):
    """Uploads of a killed process are gone after the next start; links made before still work."""
    with Server(tmp_path / "data", QUICK) as crashed:
        link = crashed.edit(MODEL, IMAGE).json()["data"][0]["url"]
        headers, body = form(MODEL, IMAGE, ("tile_seconds", "0.1"), ("tiles", "300"))
        with crashed.connect() as busy:
            busy.sendall(head(len(body), headers["Content-Type"]) + body)
            assert wait_until(lambda: b"fluxvision_jobs_running 1.0" in crashed.get("/metrics").body)
            os.kill(crashed.process.pid, signal.SIGKILL)
            crashed.process.wait()
        assert crashed.uploads
    with Server(tmp_path / "data", QUICK) as again:
        assert again.uploads == []
        assert again.get("/" + link.split("/", 3)[3]).body.startswith(b"\x89PNG")
