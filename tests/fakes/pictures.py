"""Looking at a result as a person would, coarsely: is it that picture?"""

from __future__ import annotations

from pathlib import Path

from PIL import Image


def is_the_photo(picture: Image.Image, photo: Path, size: tuple[int, int]) -> None:
    """Assert the size, and that the picture shows what the photo shows."""
    assert picture.size == size
    small = picture.convert("RGB").resize((16, 16), Image.Resampling.BOX)
    wanted = Image.open(photo).convert("RGB").resize((16, 16), Image.Resampling.BOX)
    pairs = zip(small.tobytes(), wanted.tobytes(), strict=True)
    assert max(abs(ours - theirs) for ours, theirs in pairs) <= 12
