"""What a person asked `upscale` to do, checked for contradictions before any file is looked at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import click

from fluxvision.catalog.coerce import coerce
from fluxvision.catalog.params import BY_NAME
from fluxvision.catalog.row import Param
from fluxvision.cli.text import in_flags
from fluxvision.core.errors import InvalidRequest
from fluxvision.core.types import Scalar

STREAM = "-"
"""The name of standard input and standard output."""


@dataclass(frozen=True, slots=True)
class Order:
    """One call of `upscale`. `fields` holds the public parameters as they were typed, and only those.

    `rows` are the parameters as the model has them.
    """

    inputs: tuple[str, ...]
    fields: Mapping[str, Any]
    mask: str | None = None
    out: str | None = None
    model: str = "flux-vision-upscaler"
    provider: str | None = None
    model_path: str | None = None
    overwrite: bool = False
    resume: bool = False
    compare: bool = False
    dry_run: bool = False
    jobs: int = 1
    json: bool = False
    quiet: bool = False
    debug: bool = False
    rows: Mapping[str, Param] = field(default_factory=lambda: BY_NAME)

    @property
    def values(self) -> dict[str, Scalar]:
        """The public parameters in their own types; raises `InvalidRequest` in terms of flags."""
        try:
            pairs = {name: coerce(self.rows[name], value) for name, value in self.fields.items()}
        except InvalidRequest as error:
            raise InvalidRequest(in_flags(error.message), param=error.param) from None
        return {name: value for name, value in pairs.items() if value is not None}

    @property
    def pictures(self) -> int:
        """How many pictures are made of each one."""
        return int(self.values.get("n", 1))

    @property
    def to_stream(self) -> bool:
        """Whether the result goes to standard output."""
        return self.out == STREAM or (self.out is None and self.inputs == (STREAM,))

    @property
    def name(self) -> str:
        """The model's name, with the provider that was insisted on."""
        return f"{self.provider}/{self.model}" if self.provider else self.model


def check(order: Order) -> None:
    """Raise `UsageError` where two flags contradict each other, `InvalidRequest` for a value that is not one."""
    pictures = order.pictures  # every value is looked at
    contradictions = (
        (order.jobs < 1, f"--jobs: {order.jobs} is not a whole number from 1."),
        (order.overwrite and order.resume, "--overwrite and --resume contradict each other; give one of them."),
        (STREAM in order.inputs and len(order.inputs) > 1, "Standard input (-) is read alone, without other pictures."),
        (order.to_stream and len(order.inputs) > 1, "Standard output (-) takes one picture; name a folder with --out."),
        (order.to_stream and order.json, "--json writes to standard output too; name a file with --out."),
        (order.to_stream and order.compare, "--compare needs a file beside which it can lie; name one with --out."),
        (order.to_stream and pictures > 1, "Standard output (-) takes one picture; leave --n out or name --out."),
    )
    for wrong, message in contradictions:
        if wrong:
            raise click.UsageError(message)
