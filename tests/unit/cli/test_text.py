"""Sentences at a terminal."""

import errno

import pytest

from fluxvision.cli.text import error_sentence, format_columns, format_price, pluralize, safe_path
from fluxvision.core.errors import InvalidRequest, PayloadTooLarge

SENTENCES = [
    (InvalidRequest("creativity: '2' is not a number from 0 to 1."), "--creativity: '2' is not a number from 0 to 1."),
    (InvalidRequest("n: 0 is not right."), "--n: 0 is not right."),
    (InvalidRequest("size and scale_factor ask for different sizes."), "--size and --scale ask for different sizes."),
    (InvalidRequest("fit and size ask for different things."), "--fit and --size ask for different things."),
    (
        InvalidRequest("output_format: JPEG is written with up to 1 pixels; use png, or a smaller size."),
        "--format: JPEG is written with up to 1 pixels; use png, or a smaller size.",
    ),
    (
        InvalidRequest("size cannot be honoured exactly, and strict is set: x."),
        "--size cannot be honoured exactly, and strict is set: x.",
    ),
    (InvalidRequest("image: this PNG file is damaged or truncated."), "this PNG file is damaged or truncated."),
    (
        PayloadTooLarge("image: the picture has 9 frames; this server accepts at most 4."),
        "the picture has 9 frames; the limit is 4.",
    ),
    (PermissionError(errno.EACCES, "Permission denied", "big"), "permission denied: big."),
    (OSError(errno.ENOSPC, "No space left on device"), "There is no room on the disk at the moment."),
    (MemoryError(), "This machine has no memory left at the moment."),
    (RuntimeError("can't start new thread"), "This machine can start no further thread or process."),
]


@pytest.mark.parametrize(("error", "expected"), SENTENCES)
def test_errors_name_the_flag_that_was_typed(error, expected):
    """A public parameter becomes its flag where it is named, and plain words stay plain."""
    assert error_sentence(error) == expected


def test_a_limit_names_its_setting():
    """Who meets the pixel limit learns which setting raises it."""
    error = PayloadTooLarge("image: the picture has 9 pixels; this server accepts at most 100,000,000.")
    assert (
        error_sentence(error)
        == "the picture has 9 pixels; the limit is 100,000,000 (FLUXVISION_MAX_INPUT_PIXELS raises it)."
    )


def test_an_internal_error_is_one_sentence():
    """A fault of ours names its kind and nothing of its contents."""
    assert error_sentence(ValueError("secret")).startswith("an internal error (ValueError)")


def test_names_cannot_steer_the_terminal():
    """Escape sequences, line breaks and bytes that are not text are replaced."""
    assert safe_path("a\x1b[2J\n\udcff.png") == "a\ufffd[2J\ufffd\ufffd.png"


@pytest.mark.parametrize(
    ("amount", "expected"),
    [(0, "$0"), (100_000, "$0.10"), (1_234_500, "$1.2345"), (5_000_000, "$5.00"), (1, "$0.000001")],
)
def test_price(amount, expected):
    """Money is shown exactly, with cents at least."""
    assert format_price(amount) == expected


def test_columns_and_plurals():
    """Columns are aligned without trailing blanks."""
    assert format_columns([("A", "B"), ("long", "x")]) == "A     B\nlong  x"
    assert (pluralize(1, "file"), pluralize(1200, "file")) == ("1 file", "1,200 files")
