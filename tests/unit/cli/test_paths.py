"""Where results go."""

from pathlib import Path

import click
import pytest

from fluxvision.cli.options import UpscaleRequest
from fluxvision.cli.paths import InputFile, plan_targets


def planned(*paths, **wishes):
    """Return the settled order, the outputs of each picture, and what is wrong with it."""
    pictures = [path if isinstance(path, InputFile) else InputFile(Path(path)) for path in paths]
    order, targets = plan_targets(pictures, UpscaleRequest(tuple(map(str, paths)), wishes.pop("fields", {}), **wishes))
    return order, [[str(path) for path in target.outputs] for target in targets], [target.problem for target in targets]


@pytest.mark.parametrize(
    ("path", "wishes", "expected"),
    [
        ("in/photo.jpg", {}, ["in/photo@2x.png"]),
        ("photo.jpg", {"fields": {"output_format": "jpg"}}, ["photo@2x.jpg"]),
        ("photo.jpg", {"fields": {"n": "2"}}, ["photo@2x-1.png", "photo@2x-2.png"]),
        ("photo.jpg", {"out": "big.webp"}, ["big.webp"]),
        ("photo.jpg", {"out": "big.JPEG", "fields": {"n": "2"}}, ["big-1.JPEG", "big-2.JPEG"]),
        ("in/photo.jpg", {"out": "big"}, ["big/photo@2x.png"]),
        ("in/photo.jpg", {"out": "big.d/"}, ["big.d/photo@2x.png"]),
        (InputFile(Path("in/sub/photo.jpg"), Path("sub")), {"out": "big"}, ["big/sub/photo@2x.png"]),
        ("photo.jpg", {"out": "-"}, []),
    ],
)
def test_destination(folder, path, wishes, expected):
    """Beside the picture, in a folder with the structure kept, in one file, or on standard output."""
    assert folder
    _, outputs, problems = planned(path, **wishes)
    assert outputs == [expected]
    assert problems == [""]


def test_the_extension_says_the_format(folder):
    """--out large.tif is written as TIFF."""
    assert folder
    order, _, _ = planned("photo.jpg", out="large.tif")
    assert order.fields == {"output_format": "tiff"}


@pytest.mark.parametrize(
    ("paths", "wishes", "words"),
    [
        (["a.png"], {"out": "b.bmp"}, ".bmp is not a format that is written"),
        (["a.png"], {"out": "b.v2"}, "end a folder's name with /"),
        (["a.png", "b.png"], {"out": "c.png"}, "there are 2 pictures; name a folder"),
        (["a.png"], {"out": "b.png", "fields": {"output_format": "webp"}}, "--format webp and --out b.png disagree"),
    ],
)
def test_an_impossible_out_is_refused(folder, paths, wishes, words):
    """What --out cannot mean is a usage error that says what to do."""
    assert folder
    with pytest.raises(click.UsageError, match=words):
        planned(*paths, **wishes)


def test_results_that_would_meet_keep_their_extensions(folder):
    """photo.jpg and photo.png beside each other give two results, whose names do not depend on the order."""
    assert folder
    _, outputs, problems = planned("photo.jpg", "other.jpg", "photo.png")
    assert outputs == [["photo.jpg@2x.png"], ["other@2x.png"], ["photo.png@2x.png"]]
    assert problems == ["", "", ""]


def test_results_that_still_meet_are_refused(folder):
    """Of two pictures of one name from two folders the second is refused, naming the first."""
    assert folder
    _, _, problems = planned("a/x.png", "b/x.png", out="big")
    assert problems[0] == ""
    assert "as that of a/x.png is" in problems[1]


def test_a_name_that_is_no_text_is_refused(folder):
    """A file name that is not UTF-8 is told so, and the others go on."""
    assert folder
    _, _, problems = planned("a\udcff.png", "b.png")
    assert problems == ["its name is not valid UTF-8; rename the file or its folder.", ""]


def test_a_picture_is_never_replaced_by_its_result(picture):
    """--out with the picture's own name is refused, however it is spelled."""
    picture("photo.png")
    _, _, problems = planned("photo.png", out="./photo.png", overwrite=True)
    assert "replace the picture itself" in problems[0]
