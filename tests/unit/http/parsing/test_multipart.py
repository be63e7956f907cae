"""The form parser: the same result however the bytes arrive."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fakes.server import form
from fluxvision.core.errors import InvalidRequest
from fluxvision.http.parsing import multipart
from fluxvision.http.upload_limits import BodyMemory, release_nothing

PICTURE = b"\x89PNG\r\n\x1a\n--\r\n" + bytes(range(256)) * 3
PARTS = (("model", "m"), ("image[]", PICTURE, "../a.png"), ("a[b]", "1"), ("k[]", "1"), ("k[]", "2"), ("prompt", "é🖼"))


async def parse(folder, content_type, body, cuts, take=release_nothing):
    """Feed the body cut at the given places."""

    async def chunks():
        places = [0, *sorted(cuts), len(body)]
        for start, end in pairwise(places):
            if body[start:end]:
                yield body[start:end]

    return await multipart.read_multipart(content_type, chunks(), folder, take)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.integers(0, 1800), max_size=40))
async def test_the_cuts_do_not_matter(tmp_path_factory, cuts):
    """Wherever the body is cut, fields and picture are the same, and the picture's name is ours."""
    folder = tmp_path_factory.mktemp("form")
    headers, body = form(*PARTS)
    found = await parse(folder, headers["Content-Type"], body, [cut for cut in cuts if cut < len(body)])
    assert found.fields == {"model": "m", "a": {"b": 1}, "k": [1, 2], "prompt": "é🖼"}
    assert found.pictures == {"image": folder / "image"}
    assert (folder / "image").read_bytes() == PICTURE
    assert [path.name for path in folder.iterdir()] == ["image"]


@pytest.mark.parametrize("each", [0, 1, 100, len(PICTURE) - 1, len(PICTURE), len(PICTURE) + 1])
@pytest.mark.parametrize("cuts", [(), range(1, 1500, 7)])
async def test_a_picture_is_in_memory_or_in_its_file(tmp_path, each, cuts):
    """Where the room is too small all of it goes to the file, what had been kept first."""
    headers, body = form(*PARTS)
    with BodyMemory(each=each).share() as take:
        found = await parse(tmp_path, headers["Content-Type"], body, [cut for cut in cuts if cut < len(body)], take)
    assert found.pictures == {"image": tmp_path / "image"}
    if each >= len(PICTURE):
        assert found.contents == {"image": PICTURE}
        assert not list(tmp_path.iterdir())
    else:
        assert not found.contents
        assert (tmp_path / "image").read_bytes() == PICTURE


async def test_an_address_is_no_content(tmp_path):
    """A part that holds a URL leaves nothing in memory that could be taken for the picture."""
    headers, body = form(("image", "https://example.com/a.png"))
    with BodyMemory().share() as take:
        found = await parse(tmp_path, headers["Content-Type"], body, [], take)
    assert (found.pictures, found.contents) == ({"image": "https://example.com/a.png"}, {})


async def test_byte_by_byte(tmp_path):
    """Single bytes give what the whole gives."""
    headers, body = form(*PARTS)
    found = await parse(tmp_path, headers["Content-Type"], body, range(1, len(body)))
    assert found.fields["prompt"] == "é🖼"
    assert (tmp_path / "image").read_bytes() == PICTURE


@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize("text", ["https://example.com/a.png", "HTTP://a/", "DATA:image/png;base64," + "AAAA" * 99])
async def test_a_picture_part_may_hold_a_url(tmp_path, monkeypatch, text, *, kept):
    """Without a file name, an address is an address, a data URI in pieces; with one it is a file's content."""
    monkeypatch.setattr(multipart, "SLICE", 100)
    headers, body = form(("image", text + " \r\n"))
    with BodyMemory(each=1000 if kept else 0).share() as take:
        found = await parse(tmp_path, headers["Content-Type"], body, [], take)
    picture = found.pictures["image"]
    assert (picture if isinstance(picture, str) else b"".join(picture).decode()) == text
    assert (isinstance(picture, str), found.contents) == (text.lower().startswith("http"), {})
    (tmp_path / "image").unlink(missing_ok=True)
    headers, body = form(("image", text, "a.png"))
    assert (await parse(tmp_path, headers["Content-Type"], body, [])).pictures == {"image": tmp_path / "image"}


@pytest.mark.parametrize("name", ["images", "images[]", "images[0]"])
async def test_the_plural_is_the_same_image(tmp_path, name):
    """OpenAI's newer name works in a form as well, for a file or a URL; two parts are two pictures."""
    for part in ((name, PICTURE, "a.png"), (name, "https://example.com/a.png")):
        headers, body = form(part)
        with BodyMemory().share() as take:
            found = await parse(tmp_path, headers["Content-Type"], body, [], take)
        picture = found.contents.get("image", found.pictures["image"])
        assert (picture, found.fields) == (part[1], {})
    headers, body = form(("image", PICTURE, "a.png"), (name, PICTURE, "b.png"))
    with BodyMemory().share() as take:
        assert list((await parse(tmp_path, headers["Content-Type"], body, [], take)).contents) == ["image", "image.1"]


async def test_an_empty_picture_does_not_count(tmp_path):
    """The first of several pictures is the first that there is."""
    headers, body = form(("image[]", ""), ("image[]", PICTURE, "b.png"), ("image[]", "https://example.com/a.png"))
    with BodyMemory().share() as take:
        found = await parse(tmp_path, headers["Content-Type"], body, [], take)
    assert (found.contents, found.pictures["image.1"]) == ({"image": PICTURE}, "https://example.com/a.png")


async def test_pictures_are_not_without_number(tmp_path):
    """Seventeen are refused, and the error says what takes more."""
    headers, body = form(*[("image[]", PICTURE, "a.png")] * 17)
    with pytest.raises(InvalidRequest, match="at most 16 pictures"):
        await parse(tmp_path, headers["Content-Type"], body, [])


@pytest.mark.parametrize("text", ['["https://example.com/a.png"]', '[{"image_url": "https://a"}]', '{"file_id": "a"}'])
@pytest.mark.parametrize("name", ["image", "images", "mask"])
async def test_references_in_json_are_no_file(tmp_path, name, text):
    """A list or an object that stands in a form as text is told where it belongs."""
    headers, body = form((name, text))
    with pytest.raises(InvalidRequest, match="references in JSON need a body of JSON") as refusal:
        await parse(tmp_path, headers["Content-Type"], body, [])
    assert refusal.value.param == name.removesuffix("s")


@pytest.mark.parametrize(
    ("content_type", "boundary"),
    [
        ("multipart/form-data; boundary=abc", "abc"),
        ('multipart/form-data; charset=utf-8; BOUNDARY="a b"', "a b"),
        ("multipart/form-data; boundary=" + "b" * 70, "b" * 70),
    ],
)
def test_boundaries(content_type, boundary):
    """A boundary may be quoted, in capitals, and up to 70 characters long."""
    assert multipart.boundary_of(content_type) == boundary


@pytest.mark.parametrize("given_", ["", ";boundary", "; boundary=" + "b" * 71, '; boundary="é"', '; boundary="a\tb"'])
def test_bad_boundaries(given_):
    """A missing, long or unprintable boundary is refused."""
    with pytest.raises(InvalidRequest):
        multipart.boundary_of("multipart/form-data" + given_)


@pytest.mark.parametrize(("name", "fields"), [("markup", {"markup": "file"}), ("k[]", {"k": ["file"]})])
async def test_a_file_that_no_parameter_takes_is_only_named(tmp_path, name, fields):
    """Its bytes are dropped, however many they are."""
    headers, body = form((name, bytes(1_500_000), "a.bin"), ("prompt", "a", "prompt.txt"))
    found = await parse(tmp_path, headers["Content-Type"], body, [100_000, 1_200_000])
    assert (found.fields, found.pictures, list(tmp_path.iterdir())) == ({**fields, "prompt": "a"}, {}, [])
