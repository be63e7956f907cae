"""How the pictures of a batch are named in its archive."""

from __future__ import annotations

from collections import Counter

import pytest

from fluxvision.http.batch_results import archive_name


@pytest.mark.parametrize(
    ("stems", "names"),
    [
        (["one", "two"], ["one.png", "two.png"]),
        (["a/b", "a_b", "A_B"], ["a_b.png", "a_b (2).png", "A_B (3).png"]),
        (["a", "a (2)", "a"], ["a.png", "a (2).png", "a (3).png"]),
        (["a (2)", "a", "a"], ["a (2).png", "a.png", "a (3).png"]),
        (["../../etc/passwd", "C:\\a", ".hidden", "a\nb"], ["_.._etc_passwd.png", "C__a.png", "hidden.png", "a_b.png"]),
        (["..", "", " . "], ["picture.png", "picture (2).png", "picture (3).png"]),
        (["é" * 300, "é" * 300], ["é" * 100 + ".png", "é" * 100 + " (2).png"]),
        (["a" + "é" * 300], ["a" + "é" * 99 + ".png"]),
    ],
)
def test_the_names_in_an_archive(stems, names):
    """Each name is its own on every disk, stays in its folder and is not too long for it."""
    used = Counter()
    assert [archive_name(stem, ".png", used) for stem in stems] == names
    assert max(len(name.encode()) for name in names) <= 255
