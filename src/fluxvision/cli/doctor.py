"""`fluxvision doctor`: shows what this machine has and what each engine and provider would use, and what is missing."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from itertools import groupby
from operator import attrgetter

import click

from fluxvision.cli.dependencies import Dependencies, Finding
from fluxvision.cli.text import format_columns
from fluxvision.core.load_settings import load_settings

HELP = """Show the processor, GPUs, memory and disk, what each engine and provider would use and how fast it is, and
what is missing with the command that brings it.

Takes some seconds: a small picture is enlarged with each engine that is installed. Calls no remote provider. Exits with
1 where the default engine cannot work.
"""


@click.pass_obj
def diagnose(dependencies: Dependencies, as_json: bool) -> int:
    """Print the findings and return the exit code."""
    findings = list(dependencies.diagnose(load_settings()))
    healthy = all(one.ok for one in findings if one.essential)
    if as_json:
        click.echo(json.dumps({"healthy": healthy, "findings": [asdict(one) for one in findings]}))
    else:
        click.echo(format_findings(findings))
    return 0 if healthy else 1


def format_findings(findings: Iterable[Finding]) -> str:
    """Return the findings as aligned text, a paragraph per section."""
    return "\n\n".join(
        f"{section}\n{format_columns(list(map(_format_line, rows)))}"
        for section, rows in groupby(findings, attrgetter("section"))
    )


def _format_line(one: Finding) -> tuple[str, str]:
    value = f"{one.value}: {one.command}" if one.command else one.value
    return f"{' ' if one.ok else '!'} {one.name}", value


COMMAND = click.Command(
    "doctor",
    callback=diagnose,
    params=[click.Option(["--json", "as_json"], is_flag=True, help="As JSON.")],
    help=HELP,
    short_help="Show what this machine can do and what is missing.",
)
