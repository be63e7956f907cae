"""Form strings and JSON values become values of the row's type, or a refusal that names the parameter."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as some

from fluxvision.catalog.catalog import CATALOG, model_params
from fluxvision.catalog.coerce import coerce
from fluxvision.catalog.params import BY_NAME, OUTPUT_FORMATS, PARAMS, describe_param, narrow
from fluxvision.core.errors import InvalidRequest
from fluxvision.engine import BACKENDS

TAKEN = [
    ("scale_factor", "2", 2.0),
    ("scale_factor", " 2.5 ", 2.5),
    ("scale_factor", 4, 4.0),
    ("creativity", "0.35", 0.35),
    ("creativity", 0, 0.0),
    ("creativity", "1e-1", 0.1),
    ("n", "1.0", 1),
    ("n", 3.0, 3),
    ("n", "10", 10),
    ("seed", "4294967295", 2**32 - 1),
    ("stream", "true", True),
    ("stream", "TRUE", True),
    ("stream", "1", True),
    ("stream", 0, False),
    ("stream", "off", False),
    ("stream", False, False),
    ("size", "1024X1024", "1024x1024"),
    ("size", " auto ", "auto"),
    ("size", "AUTO", "auto"),
    ("size", "16:9", "16:9"),
    ("size", "99999x99999", "99999x99999"),
    ("aspect_ratio", "4:3", "4:3"),
    ("resolution", "4k", "4K"),
    ("output_format", "JPG", "jpeg"),
    ("output_format", "tif", "tiff"),
    ("output_format", "WebP", "webp"),
    ("fit", " Cover ", "cover"),
    ("engine", " SPAN ", "span"),
    ("engine", "4x-UltraSharp_v1.2", "4x-ultrasharp_v1.2"),
    ("negative_prompt", "", ""),
    ("resemblance", "0.6", 0.6),
    ("guidance", "1", 1.0),
    ("steps", "4", 4),
    ("max_cost", "0.05", 0.05),
    ("max_cost", 0, 0.0),
    ("prompt", "", ""),
    ("prompt", "null", "null"),
    ("prompt", "snow\n\u2744", "snow\n\u2744"),
    ("prompt", "x" * 32_000, "x" * 32_000),
]
ABSENT = [
    ("n", ""),
    ("n", None),
    ("scale_factor", "null"),
    ("stream", " undefined "),
    ("fit", "None"),
    ("size", ""),
    ("aspect_ratio", " "),
    ("prompt", None),
    ("engine", ""),
    ("max_cost", "null"),
    ("resolution", "auto"),
    ("aspect_ratio", " AUTO "),
]
REFUSED = [
    ("n", "abc"),
    ("n", "1e9"),
    ("n", "0"),
    ("n", 11),
    ("n", "1.5"),
    ("n", True),
    ("n", "1_0"),
    ("n", [1]),
    ("n", 10**400),
    ("scale_factor", math.nan),
    ("scale_factor", "NaN"),
    ("scale_factor", "inf"),
    ("scale_factor", "1e400"),
    ("scale_factor", 0.99),
    ("scale_factor", "16.0001"),
    ("scale_factor", {"value": 2}),
    ("creativity", -0.01),
    ("creativity", 1.01),
    ("seed", -2),
    ("seed", 2**32),
    ("stream", "maybe"),
    ("stream", 2),
    ("stream", 1.0),
    ("size", "0x0"),
    ("size", "-1x5"),
    ("size", "5x"),
    ("size", "1024"),
    ("size", "1024 x 1024"),
    ("size", "0:1"),
    ("size", "1234567x1"),
    ("size", 1024),
    ("aspect_ratio", "1024x1024"),
    ("resolution", "8K"),
    ("fit", "auto"),
    ("output_format", "bmp"),
    ("engine", "Standard V2"),
    ("engine", "../weights"),
    ("engine", "a" * 65),
    ("resemblance", 3.1),
    ("guidance", 0),
    ("steps", 3),
    ("max_cost", -1),
    ("output_compression", 101),
    ("output_compression", -1),
    ("prompt", "x" * 32_001),
    ("prompt", "a\x00b"),
    ("prompt", "\ud800"),
    ("prompt", 5),
    ("style", ["vivid"]),
    ("image", "picture.png"),
    ("mask", "mask.png"),
]


@pytest.mark.parametrize(("name", "given", "wanted"), TAKEN)
def test_a_value_becomes_the_rows_type(name, given, wanted):
    """What a form or a JSON body writes in its own way has one value inside."""
    found = coerce(BY_NAME[name], given)
    assert (found, type(found)) == (wanted, type(wanted))


@pytest.mark.parametrize(("name", "given"), ABSENT)
def test_a_word_for_nothing_is_an_absent_parameter(name, given):
    """Forms cannot leave a field out: an empty text or null means that it was not given."""
    assert coerce(BY_NAME[name], given) is None


@pytest.mark.parametrize(("name", "given"), REFUSED)
def test_a_wrong_value_is_refused_naming_the_parameter(name, given):
    """Nothing is clamped or guessed; the message names the parameter and what it takes."""
    with pytest.raises(InvalidRequest) as caught:
        coerce(BY_NAME[name], given)
    assert caught.value.param == name
    assert caught.value.message.startswith(name)


@pytest.mark.parametrize(
    ("given", "shown"), [("19", "19"), (" 19.50 ", "19.50"), (19, "19"), (19.0, "19.0"), ("x", "'x'"), (True, "true")]
)
def test_a_message_shows_what_was_sent(given, shown):
    """Not what was made of it: a caller looks for the words of the request."""
    with pytest.raises(InvalidRequest, match=f"^scale_factor: {shown} is not a number from 1 to 16"):
        coerce(BY_NAME["scale_factor"], given)


@pytest.mark.parametrize("given", ["x" * 10_000, list(range(10_000)), {"a" * 9_000: 1}, 10**300])
def test_a_refusal_does_not_repeat_a_long_value(given):
    """The message stays short whatever was sent."""
    with pytest.raises(InvalidRequest) as caught:
        coerce(BY_NAME["n"], given)
    assert len(caught.value.message) < 120


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (5, "must be a text, in quotes"),
        (["a"], "must be a text, in quotes"),
        ("a\x00b", "has a NUL character"),
        ("a\ud800", "has half of a surrogate pair"),
        ("x" * 32_001, "not text of at most 32,000 characters"),
    ],
)
def test_a_refusal_of_free_text_says_what_is_wrong(given, reason):
    """Three characters are not called too many."""
    with pytest.raises(InvalidRequest, match=reason):
        coerce(BY_NAME["prompt"], given)


@pytest.mark.parametrize("name", ["prompt", "negative_prompt"])
def test_a_refusal_does_not_repeat_the_prompt(name):
    """A prompt appears in no message."""
    with pytest.raises(InvalidRequest) as caught:
        coerce(BY_NAME[name], "secret\x00")
    assert "secret" not in caught.value.message


@given(some.sampled_from(PARAMS), some.none() | some.booleans() | some.integers() | some.floats() | some.text())
def test_any_value_is_taken_or_refused(param, value):
    """Whatever arrives, coerce answers with a value in range, None, or InvalidRequest."""
    try:
        found = coerce(param, value)
    except InvalidRequest as error:
        assert error.param == param.name  # noqa: PT017, only some are refused
        return
    if found is not None and param.low is not None and not isinstance(found, str):
        assert param.low <= found <= param.high
    assert not param.choices or found is None or found in param.choices


@pytest.mark.parametrize("param", PARAMS, ids=lambda row: row.name)
def test_a_row_is_complete(param):
    """Every row has words, and a default that it would itself take."""
    assert param.help.endswith((".", "…"))
    assert describe_param(param)
    if param.default is not None:
        assert coerce(param, param.default) == param.default
    assert (param.low is None) == (param.high is None)


def test_names_and_flags_are_unique():
    """No two rows share a name or a flag."""
    flags = [row.flag for row in PARAMS if row.flag]
    assert len(BY_NAME) == len(PARAMS)
    assert len(set(flags)) == len(flags)


def test_choices_are_those_of_the_parts():
    """The formats are those that can be written; the engines those that the engine has, without the stand-in."""
    assert OUTPUT_FORMATS == ("png", "jpeg", "webp", "gif", "avif", "tiff")
    own = next(row for row in model_params(CATALOG[0]) if row.name == "engine")
    assert own.choices == tuple(row.name for row in BACKENDS if row.name != "mock")


def test_a_model_narrows_its_rows():
    """A model's rows have other facts where it says so, in the table's order; all others stay the same."""
    facts = {"scale_factor": {"high": 8}, "engine": {"kind": "choice", "choices": ("Standard V2",), "pattern": None}}
    changed = narrow(PARAMS, facts)
    assert [row.name for row in changed] == [row.name for row in PARAMS]
    assert [row for row in changed if row.name not in facts] == [row for row in PARAMS if row.name not in facts]
    by_name = {row.name: row for row in changed}
    assert coerce(by_name["scale_factor"], "8") == 8.0
    assert coerce(by_name["engine"], " standard v2 ") == "Standard V2"
    with pytest.raises(InvalidRequest, match="from 1 to 8"):
        coerce(by_name["scale_factor"], 8.1)
    with pytest.raises(InvalidRequest, match="one of Standard V2"):
        coerce(by_name["engine"], "CGI")


def test_no_facts_change_nothing():
    """A model that narrows nothing has the table itself."""
    assert narrow(PARAMS, {}) == PARAMS
