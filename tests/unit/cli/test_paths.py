"""Where results go."""

import os
from pathlib import Path

import click
import pytest

from fluxvision.cli.options import UpscaleRequest
from fluxvision.cli.paths import InputFile, find_inputs, numbered_path, original_stem, plan_targets, version_label


def planned(*paths, **wishes):
    """Return the request with its format, the outputs of each picture, and what is wrong with it."""
    pictures = [path if isinstance(path, InputFile) else InputFile(Path(path)) for path in paths]
    request, targets = plan_targets(
        pictures, UpscaleRequest(tuple(map(str, paths)), wishes.pop("fields", {}), **wishes)
    )
    return (
        request,
        [[str(path) for path in target.outputs] for target in targets],
        [target.problem for target in targets],
    )


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
    request, _, _ = planned("photo.jpg", out="large.tif")
    assert request.fields == {"output_format": "tiff"}


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


def found(*arguments):
    """Return the paths that arguments mean."""
    return [str(picture.path) for picture in find_inputs(arguments).pictures]


def test_folders_are_searched_to_the_bottom(picture):
    """Pictures of all levels are found in a stable order; hidden files, other files and own results are not."""
    for name in ("in/b.png", "in/a.JPG", "in/deep/er/c.webp", "in/.hidden.png", "in/.git/d.png", "in/b@2x.png"):
        picture(name)
    Path("in/notes.txt").write_text("no picture")
    result = find_inputs(["in"])
    assert [str(one.path) for one in result.pictures] == ["in/a.JPG", "in/b.png", "in/deep/er/c.webp"]
    assert result.results == 1
    assert not result.problems


def test_a_folder_keeps_its_structure(picture):
    """Each picture knows where below the scanned folder it lay; with two folders their names come first."""
    picture("one/sub/a.png")
    picture("two/a.png")
    assert [str(one.inside) for one in find_inputs(["one"]).pictures] == ["sub"]
    assert [str(one.inside) for one in find_inputs(["one", "two"]).pictures] == ["one/sub", "two"]


def test_patterns_are_expanded(picture):
    """A quoted pattern means the same files that the shell would have named."""
    for name in ("a.png", "b.png", "b@2x.png", "sub/c.png"):
        picture(name)
    assert found("*.png") == ["a.png", "b.png"]
    assert found("**/*.png") == ["a.png", "b.png", "sub/c.png"]


def test_a_file_named_itself_is_always_meant(picture):
    """A name with brackets, or that of a result, is taken as it is when it exists."""
    picture("odd[1].png")
    picture("a@2x.png")
    assert found("odd[1].png", "a@2x.png") == ["odd[1].png", "a@2x.png"]


def test_each_picture_is_taken_once(picture):
    """Naming a picture twice, by itself and by its folder, enlarges it once."""
    picture("in/a.png")
    assert found("in/a.png", "in", "./in/../in/a.png") == ["in/a.png"]


def test_what_gives_no_picture_is_told(folder):
    """A missing file, an empty folder and a pattern without matches are problems, each with a sentence."""
    (folder / "empty").mkdir()
    sentences = {problem.name: problem.sentence for problem in find_inputs(["nope.jpg", "empty", "*.tiff"]).problems}
    assert sentences == {
        "nope.jpg": "there is no such file.",
        "empty": "there are no pictures in this folder.",
        "*.tiff": "no picture matches this pattern.",
    }


def test_names_like_results_without_their_original_are_pictures(tmp_path):
    """Retina assets and wallpapers are pictures; only beside their original are such names results."""
    for name in ("icon@2x.png", "wall@1920x1080.png", "photo.png", "photo@2x.png"):
        (tmp_path / name).write_bytes(b"")
    found = find_inputs([str(tmp_path)])
    assert sorted(picture.path.name for picture in found.pictures) == ["icon@2x.png", "photo.png", "wall@1920x1080.png"]
    assert found.results == 1


def test_what_is_no_regular_file_is_said_so(tmp_path):
    """A pipe is not called empty."""
    os.mkfifo(tmp_path / "pipe.png")
    [problem] = find_inputs([str(tmp_path / "pipe.png")]).problems
    assert "not a regular file" in problem.sentence


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
