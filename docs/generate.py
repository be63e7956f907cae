"""Rewrites the marked blocks of the documents from the rows that the program runs on.

A block stands between `<!-- begin: NAME -->` and `<!-- end -->`. NAME is one of `BLOCKS`, or a file of this repository
that is quoted. Run as `python docs/generate.py --write`, or with `--check` to fail when a block is stale.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import Any

import click

from fluxvision import card, catalog, errors, pricing
from fluxvision.catalog import CATALOG
from fluxvision.cli import upscale
from fluxvision.cli.main import GROUP
from fluxvision.config import SETTINGS, Setting
from fluxvision.engine import BACKENDS
from fluxvision.engine.tiles import amount_of_detail
from fluxvision.errors import Error
from fluxvision.imaging import FORMATS
from fluxvision.money import amount
from fluxvision.normalize import badge
from fluxvision.offers import ELSEWHERE
from fluxvision.params import PARAMS, Param, describe
from fluxvision.providers.embedded import RESTORE_BELOW
from fluxvision.rules import Offer, Passthrough, Rule
from fluxvision.types import Fit

ROOT = Path(__file__).parents[1]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
BLOCK = re.compile(r"(?P<begin><!-- begin: (?P<name>\S+) -->\n).*?(?P<end><!-- end -->)", re.DOTALL)
LANGUAGES = {".sh": "bash", ".py": "python", ".mjs": "javascript"}
STAND_IN = "mock"
WIDTH = 100
SEPARATED = 100_000
"""Whole numbers from here on are shown with separators, as TOML and the environment take them."""
PRICED = ((512, 512), (1000, 1000), (4000, 3000))
"""Pictures whose prices are shown."""
SHOWN_CREATIVITY = (0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def parameters() -> str:
    """Return the public parameters: what they take, their default, the CLI's flag, and what they do."""
    return table(
        ("Parameter", "Values", "Default", "CLI", "Meaning"),
        (
            (f"`{row.name}`", describe(row), _default(row), f"`{row.flag}`" if row.flag else "", row.help)
            for row in PARAMS
        ),
    )


def offers() -> str:
    """Return every offer with its price."""
    return table(
        ("Model", "Provider", "Upstream", "Enlarges", "Price", "One megapixel"),
        (
            (
                f"`{model.id}`",
                f"`{offer.provider}`",
                f"`{offer.upstream}`",
                card.factor_words(offer),
                card.offered(offer),
                _estimate(offer),
            )
            for model in CATALOG
            for offer in model.offers
        ),
    )


def names() -> str:
    """Return what every model is called."""
    return table(
        ("Model", "Is", "Also called"),
        (
            (
                f"`{model.id}`",
                model.description,
                ", ".join(f"`{name}`" for name in (*model.aliases, *model.b64_aliases)),
            )
            for model in CATALOG
        ),
    )


def modes() -> str:
    """Return for every offer how each parameter reaches its provider."""
    parts = []
    for model in CATALOG:
        for offer in model.offers:
            rows = ((f"`{row.name}`", badge(offer.rules[row.name]), *_rules(offer, row)) for row in catalog.rows(model))
            parts.append(
                f"`{model.id}` at `{offer.provider}`:\n\n{table(('Parameter', 'Mode', 'Becomes', 'Note'), rows)}"
            )
    return "\n\n".join(parts)


def badges() -> str:
    """Return the mode of each parameter at each provider of the first model."""
    model = CATALOG[0]
    head = ("Parameter", *(f"`{offer.provider}`" for offer in model.offers))
    rows = catalog.rows(model)
    return table(head, ((f"`{row.name}`", *(badge(offer.rules[row.name]) for offer in model.offers)) for row in rows))


def worked() -> str:
    """Return the worked examples of the first model's rules, which are executed as tests; each once."""
    rows: dict[tuple[str, ...], list[str]] = {}
    for row in catalog.rows(CATALOG[0]):
        for offer in CATALOG[0].offers:
            for rule in offer.rules[row.name]:
                for example in getattr(rule, "examples", ()):
                    given = ", ".join(f"{name}={value}" for name, value in example.given.items()) or "nothing"
                    size = "×".join(str(side) for side in example.source)
                    to = getattr(rule, "to", "") or "by the gateway"
                    line = (f"`{row.name}`", rule.mode, size, f"`{given}`", to, _worth(example.gives))
                    rows.setdefault(line, []).append(f"`{offer.provider}`")
    every = len(CATALOG[0].offers)
    head = ("Parameter", "Mode", "Picture", "Given", "Becomes", "Value", "At")
    return table(
        head,
        (
            (*line, "every provider" if len({*at}) == every else ", ".join(dict.fromkeys(at)))
            for line, at in rows.items()
        ),
    )


def price_sizes() -> str:
    """Return what some pictures cost at every offer, computed by the code that bills."""

    def cost(offer: Offer, source: tuple[int, int]) -> str:
        factor = offer.factors.only[0] if offer.factors and offer.factors.only else 2
        made = round(source[0] * factor), round(source[1] * factor)
        if offer.provider == ELSEWHERE:
            return card.offered(offer)
        total = pricing.picture(offer.price, source, made).total_cost
        return "not known beforehand" if total is None else amount(total)

    head = ("Model", "Provider", "Price", *(f"{width:,}×{height:,}, ×2" for width, height in PRICED))
    rows = ((model, offer) for model in CATALOG for offer in model.offers)
    return table(
        head,
        (
            (f"`{model.id}`", f"`{offer.provider}`", card.offered(offer), *(cost(offer, size) for size in PRICED))
            for model, offer in rows
        ),
    )


def _estimate(offer: Offer) -> str:
    guess = card.guess(offer)
    return "not known beforehand" if guess is None else amount(guess)


def settings() -> str:
    """Return the settings with their variables and defaults."""
    rows = ((f"`{row.name}`", f"`{row.variable}`", _setting(row), row.help) for row in SETTINGS)
    return table(("Setting", "Variable", "Default", "Meaning"), rows)


def formats() -> str:
    """Return the picture formats and what each can hold."""
    return table(
        ("Format", "Read", "Written", "Bits", "Alpha", "Profile", "Longest side", "Most pixels", "Default quality"),
        (
            (
                row.label,
                "yes",
                _yes(row.writable),
                str(row.bits) if row.writable else "",
                _yes(row.alpha) if row.writable else "",
                _yes(row.profile) if row.writable else "",
                f"{row.max_side:,}" if row.writable else "",
                f"{row.max_pixels:,}" if row.writable else "",
                ("lossless" if row.lossless else str(row.quality or "")) if row.writable else "",
            )
            for row in FORMATS
        ),
    )


def engines() -> str:
    """Return the engines, what they need, the licences of their weights, and when `restore` is chosen."""
    rows = table(
        ("Engine", "Networks", "Install", "Tile", "Memory of a tile", "Licence of the weights"),
        (
            (
                f"`{row.name}`",
                row.title,
                f"`pip install -c constraints.txt '.[{row.extra}]'`" if row.extra else "included",
                f"{row.tile}\u00d7{row.tile}",
                f"about {row.memory:,} MB",
                row.licence,
            )
            for row in BACKENDS
            if row.name != STAND_IN
        ),
    )
    chosen = f"Where it is installed, `restore` is chosen by itself for JPEG pictures below quality {RESTORE_BELOW}."
    return f"{rows}\n\n{chosen}"


def measured(results: str) -> str:
    """Return the first table of a file of results."""
    lines = (ROOT / "bench" / "results" / results).read_text(encoding="utf-8").splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("|"))
    return "\n".join(takewhile(lambda line: line.startswith("|"), lines[first:]))


def codes() -> str:
    """Return the error codes."""
    found: dict[str, type[Error]] = {}
    for kind in _kinds(Error):
        found.setdefault(f"{kind.status}{kind.code}", kind)
    rows = sorted(found.values(), key=lambda kind: kind.status)
    return table(
        ("Code", "Status", "Type", "Retry", "When"),
        (
            (f"`{row.code}`", str(row.status), f"`{row.type}`", "yes" if row.retryable else "no", _sentence(row))
            for row in rows
        ),
    )


def help_of_upscale() -> str:
    """Return what `fluxvision upscale --help` prints."""
    names = GROUP.context_settings["help_option_names"]
    context = click.Context(
        upscale.COMMAND, info_name="fluxvision upscale", terminal_width=WIDTH, help_option_names=names
    )
    return f"```text\n{upscale.COMMAND.get_help(context)}\n```"


def creativity() -> str:
    """Return the share of the detail network in the blend for some values of creativity."""
    return table(
        ("`creativity`", *(f"{value:g}" for value in SHOWN_CREATIVITY)),
        [("share of the detail network", *(f"{amount_of_detail(value):.2f}" for value in SHOWN_CREATIVITY))],
    )


BLOCKS: dict[str, Callable[[], str]] = {
    "parameters": parameters,
    "modes": modes,
    "offers": offers,
    "names": names,
    "badges": badges,
    "worked": worked,
    "price-sizes": price_sizes,
    "settings": settings,
    "formats": formats,
    "engines": engines,
    "codes": codes,
    "measured": partial(measured, "quality.md"),
    "speed": partial(measured, "engine.md"),
    "gateway": partial(measured, "gateway.md"),
    "upscale-help": help_of_upscale,
    "creativity": creativity,
}


def quoted(name: str) -> str:
    """Return a file of the repository: Markdown as it is, everything else as a block of code."""
    path = ROOT / name
    text = path.read_text(encoding="utf-8").rstrip("\n")
    return text if path.suffix == ".md" else f"```{LANGUAGES[path.suffix]}\n{text}\n```"


def rewritten(text: str) -> str:
    """Return a page with every block made anew."""

    def block(match: re.Match[str]) -> str:
        name = match["name"]
        content = BLOCKS[name]() if name in BLOCKS else quoted(name)
        return f"{match['begin']}\n{content}\n\n{match['end']}"

    return BLOCK.sub(block, text)


def stale() -> list[Path]:
    """Return the pages in which a block is not what the rows say."""
    return [path for path in PAGES if (text := path.read_text(encoding="utf-8")) != rewritten(text)]


def main(arguments: Sequence[str]) -> int:
    """Write the blocks, or check them; return the exit code."""
    if arguments not in (["--write"], ["--check"]):
        print("usage: python docs/generate.py --write | --check", file=sys.stderr)
        return 2
    pages = stale()
    for path in pages:
        print(path.relative_to(ROOT), "written" if arguments == ["--write"] else "is stale: run make docs")
        if arguments == ["--write"]:
            path.write_text(rewritten(path.read_text(encoding="utf-8")), encoding="utf-8")
    return int(bool(pages) and arguments == ["--check"])


def _default(row: Param) -> str:
    if row.required:
        return "required"
    return "" if row.default is None else f"`{str(row.default).removesuffix('.0').lower()}`"


def _setting(row: Setting) -> str:
    if isinstance(row.default, bool):
        return "on" if row.default else "off"
    if row.default in {"", ()}:
        return ""
    return f"`{row.default:_}`" if row.kind == "integer" and row.default >= SEPARATED else f"`{row.default}`"


def _rules(offer: Offer, row: Param) -> tuple[str, str]:
    rules = offer.rules[row.name]
    notes = dict.fromkeys(note for rule in rules if (note := getattr(rule, "note", "")))
    return ", ".join(dict.fromkeys(_end(rule) for rule in rules)), " ".join(notes)


def _end(rule: Rule) -> str:
    if isinstance(rule, Passthrough):
        return "the same" if rule.sent else "not sent"
    return f"`{to}`" if (to := getattr(rule, "to", "")) else "done by the gateway"


def _worth(value: Any) -> str:
    """Return what a rule gives, as people write it."""
    if value is None:
        return "nothing to do"
    if isinstance(value, Fit):
        inner = "" if value.inner is None else f" of {value.inner[0]}×{value.inner[1]}"
        return f"`{value.width}×{value.height}` by `{value.mode}`{inner}"
    if isinstance(value, tuple):
        return "`" + "×".join(str(part) for part in value) + "`"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _yes(fact: bool) -> str:
    return "yes" if fact else "no"


def _kinds(root: type[Error]) -> list[type[Error]]:
    own = [kind for kind in root.__subclasses__() if kind.__module__ == errors.__name__]
    return [deeper for kind in own for deeper in (kind, *_kinds(kind))]


def _sentence(kind: type[Error]) -> str:
    return (kind.__doc__ or "").strip().splitlines()[0]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
