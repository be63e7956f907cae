"""What a row of the parameters' table says."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from fluxvision.core.types import Scalar

Kind = Literal["string", "integer", "number", "boolean", "choice", "picture"]


@dataclass(frozen=True, slots=True, eq=False)
class Param:
    """A public parameter: its type, range, default, and the words that explain it.

    A row is itself and no other: it is compared and looked up by identity.

    `low` and `high` bound numbers (inclusive) and the length of strings. `choices` closes a set; `pattern` restricts a
    string. `flag` is the CLI's spelling, None where the CLI has no such flag. `default` is what applies when the
    parameter is absent, None where the provider or another parameter decides. `aliases` are what upstream services call
    the same thing. `absent` are words that mean the same as leaving it out, besides those that mean so everywhere.
    """

    name: str
    kind: Kind
    help: str
    default: Scalar | None = None
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    pattern: re.Pattern[str] | None = None
    pattern_help: str = ""
    flag: str | None = None
    required: bool = False
    group: str = "Detail"
    aliases: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()


def describe(param: Param) -> str:
    """Say in a few words which values the row takes."""
    if param.choices:
        return "one of " + ", ".join(param.choices)
    if param.pattern is not None:
        return f"written like {param.pattern_help}"
    noun = {
        "integer": "a whole number",
        "number": "a number",
        "boolean": "true or false",
        "string": "text",
        "picture": "a picture",
        "choice": "",
    }[param.kind]
    if param.low is None:
        return noun
    if param.kind == "string":
        return f"text of at most {param.high:,.0f} characters"
    return f"{noun} from {param.low:g} to {param.high:.10g}"


def narrowed(rows: Sequence[Param], facts: Mapping[str, Mapping[str, Any]]) -> tuple[Param, ...]:
    """Return the rows with other facts for some of them, as a model has them: `facts` by parameter and field."""
    return tuple(replace(row, **facts[row.name]) if row.name in facts else row for row in rows)
