"""Names of results."""

import pytest

from fluxvision.cli.paths import numbered_path, original_stem, version_label

LABELS = [
    ({}, "2x"),
    ({"scale_factor": 2.0}, "2x"),
    ({"scale_factor": 1.5}, "1.5x"),
    ({"size": "auto"}, "2x"),
    ({"size": "1024x768"}, "1024x768"),
    ({"size": "16:9"}, "2x-16x9"),
    ({"aspect_ratio": "1:1", "scale_factor": 4.0}, "4x-1x1"),
    ({"resolution": "4K"}, "4K"),
    ({"resolution": "1080p"}, "1080p"),
    ({"scale_factor": 10.0}, "10x"),
    ({"resolution": "4K", "aspect_ratio": "16:9"}, "4K-16x9"),
]


@pytest.mark.parametrize(("values", "expected"), LABELS)
def test_label(values, expected):
    """The label says how large the result is, in the caller's own terms."""
    assert version_label(values) == expected


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("values", [values for values, _ in LABELS])
def test_own_results_are_recognised(values, count):
    """Every name that is made is recognised, and so is its comparison."""
    for name in numbered_path(f"a photo@{version_label(values)}", "png", count):
        assert original_stem(name) == "a photo"
        assert original_stem(name.replace(".png", "-compare.png")) == "a photo"


@pytest.mark.parametrize("name", ["photo.jpg", "me@home.jpg", "a@2x", "2x.png", "x@.png", "mail@12x.example.png"])
def test_other_names_are_no_results(name):
    """A name with an @ alone is no result."""
    assert original_stem(name) is None


def test_one_version_has_no_number():
    """Only several versions are numbered, from 1."""
    assert numbered_path("a@2x", "png", 1) == ["a@2x.png"]
    assert numbered_path("a@2x", "png", 2) == ["a@2x-1.png", "a@2x-2.png"]
