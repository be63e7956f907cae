"""Which pictures the arguments mean."""

import os
from pathlib import Path

from fluxvision.cli.paths import find_inputs


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
