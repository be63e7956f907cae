"""JSON bodies and form names: whatever comes in, a form or the caller's error comes out."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxvision.errors import ClientError
from fluxvision.http.fields import collect, picture_name
from fluxvision.http.json_body import parse

VALUES = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=12,
)
NAMES = st.sampled_from(["image", "images", "mask", "model", "image_url", "file_id"]) | st.text(max_size=8)


@given(st.binary(max_size=200) | st.dictionaries(NAMES, VALUES).map(lambda value: json.dumps(value).encode()))
def test_no_body_is_our_fault(body):
    """Every text is a form or a 4xx, and pictures are always texts."""
    try:
        form = parse(body)
    except ClientError:
        return
    assert all(isinstance(picture, str) for picture in form.pictures.values())
    assert not {"image", "images", "mask"} & set(form.fields)


@given(st.lists(st.tuples(st.text("ab[]", min_size=1, max_size=8), st.sampled_from("xy")), max_size=6))
def test_no_form_name_is_our_fault(pairs):
    """Every list of names is a set of fields or a 4xx."""
    try:
        fields = collect(pairs)
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
    assert collect(pairs) == fields


@pytest.mark.parametrize(
    ("text", "value"),
    [("0.5", 0.5), ("-2", -2), ("0", 0), ("true", True), ("false", False), ("True", "True"), ("007", "007"), ("", ""),
     ("1e3", "1e3"), ("9" * 16, "9" * 16), ("2.", "2."), ("x", "x")],
)  # fmt: skip
def test_a_providers_own_words_are_typed_where_that_is_plain(text, value):
    """A number or a truth under a name that is nobody's here becomes one; our own parameters stay text."""
    assert collect([("noise_scale", text), ("seed", text)]) == {"noise_scale": value, "seed": text}
    assert type(collect([("noise_scale", text)])["noise_scale"]) is type(value)


@pytest.mark.parametrize(
    ("name", "picture"),
    [("image", "image"), ("image[]", "image"), ("image[0]", "image"), ("mask", "mask"), ("images", None),
     ("image[x]", None), ("Image", None), ("image[]x", None), ("image[12345]", None)],
)  # fmt: skip
def test_picture_names(name, picture):
    """Pictures come under three spellings and no other."""
    assert picture_name(name) == picture


@pytest.mark.parametrize("text", ['{"a": "\\ud800"}', '{"\\udc00": 1}', '{"a": {"b": ["\\udfff"]}}'])
def test_half_a_character_is_no_json(text):
    """A lone surrogate, which no text in UTF-8 can hold, is refused wherever it stands."""
    with pytest.raises(ClientError, match="not valid JSON"):
        parse(text.encode())


def test_long_texts_are_not_walked_through():
    """Ten million characters beyond ASCII take no longer than reading them does."""
    body = b'{"image": "' + "é".encode() * 10_000_000 + b'"}'
    began = time.process_time()
    parse(body)
    assert time.process_time() - began < 0.5
