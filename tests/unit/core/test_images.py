"""Files that are in memory."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from fluxvision.core.images import InputImage, ResultImage

SOURCE = {"format": "png", "width": 1, "height": 1, "channels": 3, "alpha": False, "bits": 8, "size": 3}
PICTURE = {"format": "png", "mime": "image/png", "width": 1, "height": 1}


@pytest.mark.parametrize(("kind", "facts"), [(InputImage, SOURCE), (ResultImage, PICTURE)])
def test_a_file_in_memory_is_written_when_its_path_is_asked_for(tmp_path, kind, facts):
    """Before there is none; afterwards there is one and nothing beside it, and it is written once."""
    found = kind(tmp_path / "image", content=b"abc", **facts)
    assert not list(tmp_path.iterdir())
    assert found.path.read_bytes() == b"abc"
    found.path.write_bytes(b"new")
    assert found.path.read_bytes() == b"new"
    assert [path.name for path in tmp_path.iterdir()] == ["image"]


def test_a_file_that_is_not_in_memory_is_left_alone(tmp_path):
    """A path is no promise that there is a file."""
    assert InputImage(tmp_path / "gone", **SOURCE).path == tmp_path / "gone"
    assert not list(tmp_path.iterdir())


def test_threads_see_the_whole_file(tmp_path):
    """Whoever asks gets a path at which all of it lies."""
    content = bytes(3_000_000)
    for number in range(20):
        source = InputImage(tmp_path / str(number), content=content, **SOURCE)
        with ThreadPoolExecutor(4) as pool:
            sizes = list(pool.map(lambda _: source.path.stat().st_size, range(8)))  # noqa: B023
        assert set(sizes) == {len(content)}
    assert len(list(tmp_path.iterdir())) == 20


def test_content_is_neither_shown_nor_compared(tmp_path):
    """A picture never reaches a log, and the same file is the same source."""
    source = InputImage(tmp_path / "image", content=b"secret", **SOURCE)
    assert "secret" not in repr(source)
    assert source == replace(source, content=None)
