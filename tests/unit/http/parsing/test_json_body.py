"""JSON bodies and form names: whatever comes in, a form or the caller's error comes out."""

from __future__ import annotations

import base64
import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxvision.core.errors import ClientError, InvalidRequest, PayloadTooLarge
from fluxvision.http.parsing import json_body
from fluxvision.http.parsing.fields import collect_fields, picture_name
from fluxvision.http.parsing.json_body import parse_json
from fluxvision.http.upload_limits import BodyMemory
from fluxvision.net import fetch

VALUES = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=12,
)
NAMES = st.sampled_from(["image", "images", "mask", "model", "image_url", "file_id"]) | st.text(max_size=8)


@given(st.binary(max_size=200) | st.dictionaries(NAMES, VALUES).map(lambda value: json.dumps(value).encode()))
def test_no_body_is_our_fault(body):
    """Every text is a form or a 4xx, and pictures are texts or their pieces."""
    try:
        form = parse_json(body)
    except ClientError:
        return
    assert all(isinstance(picture, str) or all(picture) for picture in form.pictures.values())
    assert not {"image", "images", "mask"} & set(form.fields)


@given(st.lists(st.tuples(st.text("ab[]", min_size=1, max_size=8), st.sampled_from("xy")), max_size=6))
def test_no_form_name_is_our_fault(pairs):
    """Every list of names is a set of fields or a 4xx."""
    try:
        fields = collect_fields(pairs)
    except ClientError:
        return
    assert not any("[" in name for name in fields)


@pytest.mark.parametrize(
    ("pairs", "fields"),
    [
        ([("a", "x"), ("a", "x")], {"a": "x"}),
        ([("k[]", "x"), ("k[]", "x")], {"k": ["x", "x"]}),
        ([("a[b]", "x"), ("a[c][d]", "y")], {"a": {"b": "x", "c": {"d": "y"}}}),
        ([("a[b][]", "x"), ("a[b][]", "y")], {"a": {"b": ["x", "y"]}}),
    ],
)
def test_names_in_the_sdks_notation(pairs, fields):
    """Lists keep their order and their doubles; objects nest."""
    assert collect_fields(pairs) == fields


@pytest.mark.parametrize(
    ("text", "value"),
    [("0.5", 0.5), ("-2", -2), ("0", 0), ("true", True), ("false", False), ("True", "True"), ("007", "007"), ("", ""),
     ("1e3", "1e3"), ("9" * 16, "9" * 16), ("2.", "2."), ("x", "x")],
)  # fmt: skip
def test_a_providers_own_words_are_typed_where_that_is_plain(text, value):
    """A number or a truth under a name that is nobody's here becomes one; our own parameters stay text."""
    assert collect_fields([("noise_scale", text), ("seed", text)]) == {"noise_scale": value, "seed": text}
    assert type(collect_fields([("noise_scale", text)])["noise_scale"]) is type(value)


@pytest.mark.parametrize(
    ("name", "picture"),
    [("image", "image"), ("image[]", "image"), ("image[0]", "image"), ("mask", "mask"), ("mask[]", "mask"),
     ("images", "image"), ("images[]", "image"), ("images[0]", "image"), ("masks", None), ("images[x]", None),
     ("image[x]", None), ("Image", None), ("image[]x", None), ("image[12345]", None)],
)  # fmt: skip
def test_picture_names(name, picture):
    """Pictures come as one, as a list or by number, an image in the plural as well, and under no other name."""
    assert picture_name(name) == picture


@pytest.mark.parametrize("text", ['{"a": "\\ud800"}', '{"\\udc00": 1}', '{"a": {"b": ["\\udfff"]}}'])
def test_half_a_character_is_no_json(text):
    """A lone surrogate, which no text in UTF-8 can hold, is refused wherever it stands."""
    with pytest.raises(ClientError, match="not valid JSON"):
        parse_json(text.encode())


URI = "data:image/png;base64,"
BASE64 = "ab/+" * 500 + "ab=="


def slash(text):
    """Write as PHP does."""
    return text.replace("/", r"\/")


def plus(text):
    """Write as .NET does."""
    return text.replace("+", r"\u002B")


def every(text):
    """Write each character as an escape."""
    return "".join(f"\\u{ord(character):04x}" for character in text)


@pytest.mark.parametrize("shape", ["{}", "[{}]", '{{"image_url": {}}}', '[ {{"image_url" : {} }} ]'])
@pytest.mark.parametrize("write", [str, slash, plus, every], ids=lambda write: write.__name__)
@pytest.mark.parametrize("size", [300, 301, 307, 1 << 20])
def test_a_data_uri_comes_in_pieces(tmp_path, monkeypatch, *, shape, write, size):
    """However its characters are written and wherever a piece ends, the file is the picture."""
    monkeypatch.setattr(json_body, "SLICE", size * (6 if write is every else 1))
    text = '{"image": ' + shape.format(f'"{write(URI + BASE64)}"') + ', "a": 1}'
    form = parse_json(bytearray(text.encode()))
    fetch.save_data_uri(form.pictures["image"], tmp_path / "a", 10_000)
    assert (tmp_path / "a").read_bytes() == base64.b64decode(BASE64)
    assert form.fields == {"a": 1}


@pytest.mark.parametrize("each", [0, 200, 10_000])
@pytest.mark.parametrize("start", [b"", json_body.BOM])
async def test_a_body_is_held_or_mapped(tmp_path, start, each):
    """Whatever there is room for, the form is the same, and no file has a name afterwards."""
    body = start + json.dumps({"model": "é", "image": URI + BASE64}).encode()

    async def chunks():
        for begin in range(0, len(body), 100):
            yield body[begin : begin + 100]

    with BodyMemory(each=each).share() as take:
        form = await json_body.read_json(chunks(), tmp_path, take)
    assert (form.fields, list(tmp_path.iterdir())) == ({"model": "é"}, [])
    fetch.save_data_uri(form.pictures["image"], tmp_path / "a", 10_000)
    assert (tmp_path / "a").read_bytes() == base64.b64decode(BASE64)


@pytest.mark.parametrize(
    ("text", "pictures"),
    [
        (b'{"image": "http:\\/\\/a\\u002fb"}', {"image": "http://a/b"}),
        (b'{"image": {"image_url": "http://a", "file_id": null}, "images": null, "mask": null}', {"image": "http://a"}),
        (b'{"image": "http://a", "image": "http://a"}', {"image": "http://a"}),
        (b'{"image": null}', {}),
        (b'{"images": ["http://a", {"image_url": {"url": "http://b"}}]}', {"image": "http://a", "image.1": "http://b"}),
        (b'{"input_image": "http://a"}', {"image": "http://a"}),
        (b'{"ref_images": ["http://a", "http://b"]}', {"image": "http://a", "image.1": "http://b"}),
        (b'{"image": "http://a", "mask": "\xff"}', {"image": "http://a", "mask": "\ufffd"}),
    ],
)
def test_addresses_are_texts(text, pictures):
    """An address is the text that the JSON stands for; null is nothing; said twice it is the same."""
    assert parse_json(text).pictures == pictures


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ('{"n": 1, "n": 3}', "n"),
        ('{"n": 3, "max_cost": 1, "max\\u005fcost": 2}', "max_cost"),
        ('{"image": "http://a", "n": 1, "image": "http://b"}', "image"),
        ('{"image": {"image_url": "http://a", "image_url": "http://b"}}', "image_url"),
    ],
)
def test_two_of_one_name_must_agree(text, name):
    """As in a form: which of two different values is meant nobody can know."""
    with pytest.raises(InvalidRequest, match=f"^{name} is given twice with different values") as refusal:
        parse_json(text.encode())
    assert refusal.value.param == name


@pytest.mark.parametrize("value", ["1" * 5000, "1e999", "[{" + '"a": ' + "1" * 5000 + "}]"])
def test_a_number_that_nobody_can_hold_is_named(value):
    """The body is a JSON object; one of its members is what is wrong."""
    with pytest.raises(InvalidRequest, match="odd has a number that is too large") as refusal:
        parse_json(f'{{"model": "m", "odd": {value}}}'.encode())
    assert refusal.value.param == "odd"


@pytest.mark.parametrize("text", ["[1]", "5", '"x"', "null"])
def test_a_body_is_an_object(text):
    """Everything else that is JSON is told so."""
    with pytest.raises(InvalidRequest, match="must be a JSON object"):
        parse_json(text.encode())


@pytest.mark.parametrize(
    ("text", "param"),
    [
        (b'{"image": {"image_url": ' + b"[" * 100_000, None),
        (b'{"image": {"\xff": 1}}', None),
        (b'{"image": ' + b"[" * 100 + b"]" * 100 + b"}", "image"),
        (b'{"mask": {"image_url": {"image_url": "http://a"}}}', "mask"),
        (b'{"image": "data:\\udfff"}', None),
        (b'{"image": true}', "image"),
    ],
)
def test_what_is_no_reference(text, param):
    """Depth without end and half characters are no JSON; every other thing is an error of the parameter."""
    with pytest.raises(ClientError) as refusal:
        parse_json(text)
    assert refusal.value.param == param


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({str(number): 0 for number in range(201)}, None),
        ({str(number): "x" * 900_000 for number in range(5)}, None),
        ({"user": "x" * 1_000_001}, "user"),
        ({"user": ["x"] * 100_001}, None),
        ({"images": [0] * 100_001}, None),
    ],
)
def test_no_more_than_a_form_may_have(body, param):
    """Members, the bytes of one and of all of them beside the pictures, and whatever becomes an object are bounded."""
    with pytest.raises(PayloadTooLarge) as refusal:
        parse_json(json.dumps(body).encode())
    assert refusal.value.param == param


def test_each_limit_is_named():
    """What is too many of what."""
    for body, words in (
        ({"user": [0] * 100_001}, "colons and commas"),
        (dict.fromkeys(map(str, range(201))), "members"),
    ):
        with pytest.raises(PayloadTooLarge, match=words):
            parse_json(json.dumps(body).encode())


def test_a_picture_counts_as_no_field():
    """Two hundred members, one of them of many megabytes."""
    body = {**{str(number): 0 for number in range(199)}, "image": "data:image/png;base64," + "AAAA" * 2_000_000}
    form = parse_json(json.dumps(body).encode())
    assert (len(form.fields), sum(map(len, form.pictures["image"]))) == (199, 8_000_022)


@pytest.mark.parametrize("name", ["image[]", "n[]", "scale_factor[x]"])
def test_form_notation_is_for_forms(name):
    """A server behind this one would read a parameter that was checked and quoted by nobody."""
    with pytest.raises(InvalidRequest) as refusal:
        parse_json(json.dumps({name: 1}).encode())
    assert refusal.value.param == name


def test_long_texts_are_not_walked_through():
    """Ten million characters beyond ASCII take no longer than reading them does."""
    body = b'{"image": "' + "é".encode() * 10_000_000 + b'"}'
    began = time.process_time()
    parse_json(body)
    assert time.process_time() - began < 0.5
