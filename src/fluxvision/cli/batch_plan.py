"""Plans what `fluxvision batch` sends: a line for each picture, or those of a file, each with its results' names."""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import click
import msgspec

from fluxvision.catalog.coerce import coerce
from fluxvision.catalog.params import BY_NAME
from fluxvision.cli import paths
from fluxvision.cli.options import UpscaleRequest
from fluxvision.cli.text import safe_path
from fluxvision.core.errors import Error
from fluxvision.core.formats import find_format
from fluxvision.jobs.batch_input import LONGEST_ID, PARAM, check_input, read_line
from fluxvision.jobs.batch_types import ENDPOINT

LONGEST_LINE = 63_990_000
"""Bytes of a line; a server takes 64 MB unless it is set up otherwise."""
LARGEST_PICTURE = 47_900_000
"""Bytes of a picture, which a line has in base64."""
LONGEST_STEM = 200
"""Bytes of a name without number and extension; file systems take 255 of a whole one."""


@dataclass(frozen=True, slots=True)
class PlannedLine:
    """A line that can be sent."""

    names: tuple[str, ...]
    """The files of its results, relative to the folder of all results."""
    read_body: Callable[[], bytes]
    """Reads its picture and returns the JSON of the edit; raises `ClickException` for one that is too large."""

    @property
    def custom_id(self) -> str:
        """The same for the same results, and one that servers take."""
        name = self.names[0]
        return name if name.isprintable() and len(name) <= LONGEST_ID else sha256(name.encode()).hexdigest()

    def encode(self) -> bytes:
        """Return it as a line of the input file."""
        start = json.dumps({"custom_id": self.custom_id, "method": "POST", "url": ENDPOINT})
        return b'%s, "body": %s}\n' % (start.removesuffix("}").encode(), self.read_body())


def plan_pictures(request: UpscaleRequest, folder: Path) -> list[PlannedLine]:
    """Return a line for each picture; raises `UsageError` for one that is not there or cannot be named."""
    found = paths.find_inputs(request.inputs)
    for problem in found.problems:
        message = f"{safe_path(problem.name)}: {problem.sentence}"
        raise click.UsageError(message)
    request, targets = paths.plan_targets(found.pictures, request)
    values = {**request.values, "model": request.model, "response_format": "url"}
    lines = []
    for target in targets:
        if target.problem:
            message = f"{safe_path(target.picture.name)}: {target.problem}"
            raise click.UsageError(message)
        names = tuple(str(path.relative_to(folder)) for path in target.outputs)
        lines.append(PlannedLine(names, partial(_picture_body, target.picture.path, values)))
    return lines


def plan_file(path: Path) -> list[PlannedLine]:
    """Return the lines of a file of JSON Lines; raises `UsageError` that names a line no server would take.

    Results are named by custom_id, with a digest where names would collide on any disk.
    """
    if not path.is_file():
        message = f"{safe_path(path)}: there is no such file."
        raise click.UsageError(message)
    try:
        total = check_input(path, LONGEST_LINE)
    except Error as error:
        message = f"{safe_path(path)}: {safe_path(error.message.removeprefix(f'{PARAM}: '))}"
        raise click.UsageError(message) from None
    found: list[tuple[str, _Asked, int]] = []
    offset = 0
    for number in range(1, total + 1):
        line = read_line(path, "", number, offset)
        found.append((line.custom_id, _Asked.of(line.body), offset))
        offset = line.end
    met = Counter(name.casefold() for custom_id, asked, _ in found for name in asked.names(_stem(custom_id)))
    lines = []
    for custom_id, asked, start in found:
        names = asked.names(_stem(custom_id))
        if any(met[name.casefold()] > 1 for name in names):
            names = asked.names(f"{_stem(custom_id)}-{sha256(custom_id.encode()).hexdigest()[:8]}")
        lines.append(PlannedLine(tuple(names), partial(_line_body, path, start)))
    return lines


class _Asked(msgspec.Struct):
    """What the names of a line's results depend on, of its body."""

    n: Any = None
    output_format: Any = None

    @classmethod
    def of(cls, body: bytes) -> _Asked:
        """Read it; where it is wrong, the server tells of it, and there will be no results."""
        try:
            found = msgspec.json.decode(body, type=cls)
            return cls(**{name: coerce(BY_NAME[name], getattr(found, name)) for name in cls.__struct_fields__})
        except (Error, ValueError):
            return cls()

    def names(self, stem: str) -> Sequence[str]:
        """Return the names of the results."""
        extension = find_format(self.output_format or str(BY_NAME["output_format"].default)).extension
        return paths.numbered_path(stem, extension, self.n or 1)


def _stem(custom_id: str) -> str:
    """Return a custom_id as a file's name that stays in its folder."""
    text = "".join(letter if letter.isalnum() or letter in " ._-()@+=," else "_" for letter in custom_id)
    return text.encode()[:LONGEST_STEM].decode(errors="ignore").strip(" .") or "_"


def _picture_body(path: Path, values: Mapping[str, Any]) -> bytes:
    if path.stat().st_size > LARGEST_PICTURE:
        message = f"{safe_path(path)}: a batch takes pictures of at most {LARGEST_PICTURE / 1e6:.1f} MB."
        raise click.ClickException(message)
    content = base64.b64encode(path.read_bytes()).decode()
    return json.dumps({**values, "image": f"data:application/octet-stream;base64,{content}"}).encode()


def _line_body(path: Path, offset: int) -> bytes:
    return read_line(path, "", 0, offset).body
