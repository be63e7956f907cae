"""Hostile and broken pictures sent to the real server: a 4xx that names the picture, and nothing left behind."""

from __future__ import annotations

import io
import struct
import zlib

import pytest
from PIL import Image
from skimage import data

from fakes.server import Server, form

PHOTO = Image.fromarray(data.astronaut()[:64, 180:244])


def saved(format_: str, picture: Image.Image = PHOTO, **options) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, format_, **options)
    return stream.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, *extra: bytes, pixels: bytes = b"") -> bytes:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(pixels))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(extra) + body + chunk(b"IEND", b"")


def bomb(size: int) -> bytes:
    """Return a compressed run of zeros: one compressed mebibyte many times, an end, and the checksum of zeros."""
    squeeze = zlib.compressobj(9)
    head = squeeze.flush(zlib.Z_FULL_FLUSH)
    part = squeeze.compress(bytes(1 << 20)) + squeeze.flush(zlib.Z_FULL_FLUSH)
    return head + part * (size >> 20) + b"\x03\x00" + struct.pack(">HH", size % 65_521, 1)


def frames(count: int) -> bytes:
    pictures = [Image.new("P", (4, 4), index % 2) for index in range(count)]
    return saved("GIF", pictures[0], save_all=True, append_images=pictures[1:], duration=20, optimize=False)


def huge_exif() -> bytes:
    return saved("JPEG", exif=b"Exif\x00\x00" + b"\xff" * 60_000)


def sideways_avif(box: bytes) -> bytes:
    """Return an AVIF file that is to be turned, with another name for the box that says so."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return saved("AVIF", exif=exif).replace(b"irot", box)


REFUSED = {
    "avif whose error text is no utf-8": sideways_avif(b"ir\xdft"),  # first: the others are read by what is left
    "nothing": b"",
    "text": b"hello",
    "html": b"<!doctype html><script>alert(1)</script>",
    "svg": b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>',
    "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
    "pdf": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n",
    "psd": b"8BPS\x00\x01" + bytes(40),
    "fits": b"SIMPLE  =                    T" + b" " * 2850,
    "heic without content": b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic" + bytes(64),
    "zip": b"PK\x03\x04" + bytes(100),
    "png of zeros, 2.5 gigapixels": png(50_000, 50_000),
    "png 1 by 4 billion": png(1, 2**31 - 1),
    "png without width": png(0, 9),
    "png cut": saved("PNG")[:-20],
    "png half": saved("PNG")[:2000],
    "png text bomb": png(4, 4, chunk(b"iTXt", b"a\x00\x01\x00\x00\x00" + bomb(1 << 28)), pixels=b"\x00" * 52),
    "png profile bomb": png(4, 4, chunk(b"iCCP", b"a\x00\x00" + bomb(1 << 28)), pixels=b"\x00" * 52),
    "png bad checksum": saved("PNG").replace(b"IDAT", b"IDAX", 1),
    "jpeg cut": saved("JPEG")[:400],
    "jpeg header alone": b"\xff\xd8\xff\xe0\x00\x10JFIF\x00",
    "webp cut": saved("WEBP")[:120],
    "gif cut": saved("GIF")[:60],
    "gif with 2,000 frames": frames(2000),
    "avif cut": saved("AVIF")[:200],
    "tiff cut": saved("TIFF")[:300],
    "tiff of 100,000 squared": b"II*\x00\x08\x00\x00\x00\x02\x00\x00\x01\x04\x00\x01\x00\x00\x00\xa0\x86\x01\x00"
    b"\x01\x01\x04\x00\x01\x00\x00\x00\xa0\x86\x01\x00\x00\x00\x00\x00",
    "bmp cut": saved("BMP")[:60],
    "tga cut": saved("TGA")[:60],
    "jpeg 2000 cut": saved("JPEG2000")[:200],
    "ppm cut": saved("PPM")[:60],
    "ppm of 100,000 squared": b"P6 100000 100000 255\n",
    "jpeg xl cut": b"\xff\x0a\x05A$\x08",
    "video": b"\x00\x00\x00\x18ftypisom\x00\x00\x00\x00isommp41" + bytes(64),
    "camera raw": b"II*\x00\x10\x00\x00\x00CR\x02\x00" + bytes(64),
}

ACCEPTED = {
    "tga": saved("TGA"),
    "jpeg 2000": saved("JPEG2000"),
    "ppm": saved("PPM"),
    "png with html behind it": saved("PNG") + b"<script>alert(1)</script>",
    "jpeg with a zip behind it": saved("JPEG") + b"PK\x03\x04" + bytes(50),
    "jpeg with a huge broken exif": huge_exif(),
    "cmyk jpeg": saved("JPEG", PHOTO.convert("CMYK")),
    "palette with transparency": saved("PNG", PHOTO.convert("P"), transparency=0),
    "one bit": saved("PNG", PHOTO.convert("1")),
    "grey with alpha": saved("PNG", PHOTO.convert("LA")),
    "float tiff": saved("TIFF", PHOTO.convert("F")),
    "interlaced gif": saved("GIF", interlace=1),
    "progressive jpeg": saved("JPEG", progressive=True),
    "corrupt profile": saved("JPEG", icc_profile=b"not a profile" * 20),
    "one pixel": saved("PNG", Image.new("RGB", (1, 1), (9, 8, 7))),
    "one row": saved("PNG", Image.new("RGB", (300, 1), (9, 8, 7))),
    "primes": saved("PNG", PHOTO.resize((7, 13))),
    "fully transparent": saved("PNG", Image.new("RGBA", (9, 9), (200, 10, 10, 0))),
}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The real server with the real engine."""
    with Server(tmp_path_factory.mktemp("bad") / "data", module=("fluxvision", "serve")) as running:
        yield running


@pytest.mark.parametrize("name", REFUSED)
def test_a_bad_picture_is_the_clients_mistake(server, name):
    """Each is a 400 or 413 in OpenAI's shape that names `image` and says no path; nothing stays on disk."""
    answer = server.edit(("model", "flux-vision-upscaler"), ("image", REFUSED[name], "a.png"))
    assert answer.status in {400, 413}, answer.body
    error = answer.json()["error"]
    assert error["param"] == "image"
    assert "/" not in error["message"].replace("1/", "")
    assert server.nothing_left()


@pytest.mark.parametrize("name", ACCEPTED)
def test_an_odd_picture_is_enlarged(server, name):
    """Each is a picture all the same and comes out larger."""
    answer = server.edit(
        ("model", "flux-vision-upscaler"), ("creativity", "0"), ("image", ACCEPTED[name], "whatever.txt")
    )
    assert answer.status == 200, answer.body
    assert server.nothing_left()


def test_a_damaged_profile_is_told_in_the_metadata(server):
    """The answer says what was left out; that of a picture without a profile has no warnings."""
    for icc, told in ((b"not a profile" * 20, True), (None, False)):
        answer = server.edit(
            ("model", "flux-vision-upscaler"), ("creativity", "0"), ("image", saved("JPEG", icc_profile=icc), "a.jpg")
        )
        assert answer.status == 200
        assert ("warnings" in answer.json()["metadata"]) == told
        if told:
            assert "colour profile" in answer.json()["metadata"]["warnings"][0]


def test_jpeg_tells_its_limit_before_the_work(server):
    """A result too wide for JPEG is refused at once, naming output_format and what to do instead."""
    wide = saved("PNG", Image.new("RGB", (20_000, 2)))
    answer = server.edit(
        ("model", "flux-vision-upscaler"), ("scale_factor", "4"), ("output_format", "jpeg"), ("image", wide, "w.png")
    )
    assert answer.status == 400
    assert answer.json()["error"]["param"] == "output_format"
    assert "png" in answer.json()["error"]["message"]


def test_a_mask_of_another_size_is_refused(server):
    """The mask's size and alpha are checked, naming `mask`."""
    for mask in (Image.new("RGBA", (9, 9)), Image.new("RGB", (64, 64))):
        answer = server.post(
            "/v1/images/edits",
            form(("model", "flux-vision-upscaler"), ("image", saved("PNG"), "a"), ("mask", saved("PNG", mask), "m")),
        )
        assert answer.status == 400
        assert answer.json()["error"]["param"] == "mask"


def test_the_log_holds_no_secret(server):
    """After all of this the log has neither a prompt, nor a key, nor a file name, nor a traceback."""
    server.edit(
        ("model", "flux-vision-upscaler"), ("prompt", "very-private-words"), ("image", REFUSED["text"], "private.png"),
        Authorization="Bearer sk-private",
    )  # fmt: skip
    for word in ("very-private-words", "sk-private", "private.png", "Traceback"):
        assert word not in server.log
