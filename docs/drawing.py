"""Draws the layers of the code as an SVG, from the table that the tests hold the code to."""

from __future__ import annotations

from html import escape
from pathlib import Path

from rooms import ROOMS

ROOT = Path(__file__).parents[1]
TARGET = ROOT / "docs" / "layers.svg"
WIDTH, ROW, LEFT, GAP, LETTER = 760, 46, 34, 8, 8.2
FONT = 'font-family="ui-monospace, Menlo, Consolas, monospace"'


def layers() -> list[list[str]]:
    """Return the rooms of each level, the lowest first."""
    return [
        ["app", "server", "__main__"] if names == ("root",) else [f"{name}/" for name in names] for names, _ in ROOMS
    ]


def drawing() -> str:
    """Return the picture: a row per layer, the highest on top; what is above imports only from below."""
    rows = layers()
    height = ROW * len(rows) + GAP
    words = f"The layers of the code, from {escape(rows[-1][0])} down to {escape(', '.join(rows[0]))}"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{words}">',
        f'<rect class="ground" width="{WIDTH}" height="{height}" fill="#fff"/>',
    ]
    for number, names in enumerate(rows):
        top = ROW * (len(rows) - 1 - number) + GAP
        parts.append(f'<text class="number" x="6" y="{top + 24}" {FONT} font-size="13" fill="#595959">{number}</text>')
        widths = [len(name) * LETTER + 16 for name in names]
        spread = min(1.0, (WIDTH - LEFT - GAP * len(names)) / sum(widths))
        at = float(LEFT)
        for name, wide in zip(names, widths, strict=True):
            width = wide * spread
            middle = at + width / 2
            parts.append(
                f'<rect class="box" x="{at:.1f}" y="{top}" width="{width:.1f}" height="36" rx="6" fill="#f2f2f2" '
                f'stroke="#bdbdbd"/><text class="name" x="{middle:.1f}" y="{top + 23}" text-anchor="middle" {FONT} '
                f'font-size="13" fill="#171717">{escape(name)}</text>'
            )
            at += width + GAP
    return "\n".join([*parts, "</svg>", ""])
