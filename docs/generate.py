"""Rewrites the marked blocks of the documents, and whole files made from the rows that the program runs on.

A block stands between `<!-- begin: NAME -->` and `<!-- end -->`. NAME is one of `BLOCKS`, or a file of this repository
that is quoted. Run as `python docs/generate.py --write`, or with `--check` to fail when a block is stale.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import client_tables
import comfyui_inputs
import drawing
import model_tables as models
import server_tables as server

ROOT = Path(__file__).parents[1]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
BLOCK = re.compile(r"(?P<begin><!-- begin: (?P<name>\S+) -->\n).*?(?P<end><!-- end -->)", re.DOTALL)
LANGUAGES = {".sh": "bash", ".py": "python", ".mjs": "javascript"}

BLOCKS: dict[str, Callable[[], str]] = {
    "clients": client_tables.clients,
    "recorded": client_tables.recorded,
    "parameters": models.parameters,
    "modes": models.modes,
    "offers": models.offers,
    "names": models.names,
    "badges": models.badges,
    "worked": models.worked,
    "price-sizes": models.price_sizes,
    "settings": server.settings,
    "formats": server.formats,
    "engines": server.engines,
    "memory": server.memory,
    "codes": server.codes,
    "measured": partial(server.measured, "quality.md"),
    "speed": partial(server.measured, "engine.md"),
    "gateway": partial(server.measured, "gateway.md"),
    "upscale-help": server.help_of_upscale,
    "creativity": models.creativity,
    "rooms": server.house,
    "modules": server.modules,
}
WHOLE: dict[Path, Callable[[], str]] = {
    drawing.TARGET: drawing.drawing,
    comfyui_inputs.TARGET: comfyui_inputs.comfyui_inputs,
}
"""Files that are generated as a whole: the drawing of the rooms, and the inputs of the ComfyUI node."""


def quoted(name: str) -> str:
    """Return a file of the repository: Markdown as it is, everything else as a block of code."""
    path = ROOT / name
    text = path.read_text(encoding="utf-8").rstrip("\n")
    return text if path.suffix == ".md" else f"```{LANGUAGES[path.suffix]}\n{text}\n```"


def generate(path: Path) -> str:
    """Return a page with every block made anew, or a whole file."""

    def block(match: re.Match[str]) -> str:
        name = match["name"]
        content = BLOCKS[name]() if name in BLOCKS else quoted(name)
        return f"{match['begin']}\n{content}\n\n{match['end']}"

    return WHOLE[path]() if path in WHOLE else BLOCK.sub(block, path.read_text(encoding="utf-8"))


def stale() -> list[Path]:
    """Return the files that are not what the rows say."""
    return [
        path for path in (*PAGES, *WHOLE) if not path.exists() or path.read_text(encoding="utf-8") != generate(path)
    ]


def main(arguments: Sequence[str]) -> int:
    """Write the blocks, or check them; return the exit code."""
    if arguments not in (["--write"], ["--check"]):
        print("usage: python docs/generate.py --write | --check", file=sys.stderr)
        return 2
    paths = stale()
    for path in paths:
        print(path.relative_to(ROOT), "written" if arguments == ["--write"] else "is stale: run make docs")
        if arguments == ["--write"]:
            path.write_text(generate(path), encoding="utf-8")
    return int(bool(paths) and arguments == ["--check"])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
