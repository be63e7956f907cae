"""What `gateway.py` measured, and the Markdown tables and goals that it becomes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median, quantiles

DIRECT, RELAY, FLOOR, OURS, THEIRS = "direct", "relay", "floor", "fluxvision", "LiteLLM"
BUSY = 0.9
"""Part of its cores from which provider and callers may be what limits a round."""
NOT_COMPARED = "–"


@dataclass(slots=True)
class Cell:
    """All rounds of one server with one upload and one number of callers."""

    rates: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    others: float = 0.0

    @property
    def rate(self) -> float:
        """Requests per second."""
        return median(self.rates)

    @property
    def middle(self) -> float:
        """The median of all requests in milliseconds."""
        return median(self.seconds) * 1e3

    @property
    def slow(self) -> float:
        """The 95th percentile of all requests in milliseconds."""
        return quantiles(self.seconds, n=20)[-1] * 1e3


@dataclass(slots=True)
class Need:
    """What a server needs apart from the load: seconds to start, bytes after the load, growth by one big upload."""

    start: float = float("inf")
    growth: int = 0
    rss: int = 0
    pss: int = 0


Place = tuple[str, int]
"""An upload's title and a number of callers."""
Cells = Mapping[Place, Mapping[str, Cell]]
"""The cells by place and by server."""


@dataclass(frozen=True, slots=True)
class Ratios:
    """One place's comparison; what was not measured is None."""

    theirs: float | None
    floor: float | None
    floor_theirs: float | None
    relay_theirs: float | None
    added: float | None
    added_theirs: float | None

    @property
    def latency(self) -> float | None:
        """Our added median against LiteLLM's."""
        return ratio(self.added, self.added_theirs)


@dataclass(frozen=True, slots=True)
class Goal:
    """A bound, and the figure that is furthest from keeping it."""

    text: str
    figures: Sequence[float]
    least: float | None = None
    most: float | None = None

    def line(self) -> str:
        """Return the goal's line of the table."""
        if not self.figures:
            return f"| {self.text} | {NOT_COMPARED} | {NOT_COMPARED} |"
        worst = min(self.figures) if self.least is not None else max(self.figures)
        met = (self.least is None or worst >= self.least) and (self.most is None or worst <= self.most)
        return f"| {self.text} | {worst:.3g} | {'yes' if met else '**no**'} |"


def ratio(one: float | None, other: float | None) -> float | None:
    """Return one against the other, where both were measured."""
    return None if one is None or not other else one / other


def less(one: float | None, other: float | None) -> float | None:
    """Return the difference, where both were measured."""
    return None if one is None or other is None else one - other


def compare(cells: Mapping[str, Cell]) -> Ratios:
    """Compare the servers at one place."""
    rates = {name: cell.rate for name, cell in cells.items()}
    middles = {name: cell.middle for name, cell in cells.items()}
    return Ratios(
        ratio(rates.get(OURS), rates.get(THEIRS)),
        ratio(rates.get(OURS), rates.get(FLOOR)),
        ratio(rates.get(FLOOR), rates.get(THEIRS)),
        ratio(rates.get(RELAY), rates.get(THEIRS)),
        less(middles.get(OURS), middles.get(DIRECT)),
        less(middles.get(THEIRS), middles.get(DIRECT)),
    )


def shown(value: float | None) -> str:
    """Return a figure for a table."""
    return NOT_COMPARED if value is None else f"{value:.2f}"


def speed(cells: Cells) -> Iterator[str]:
    """Return the table of all cells."""
    yield "| upload | callers | | requests/s | p50 ms | p95 ms | CPU ms a request | provider and callers busy |"
    yield "|---|---|---|---|---|---|---|---|"
    for (title, callers), row in cells.items():
        for name, cell in row.items():
            mark = " (!)" if cell.others > BUSY else ""
            yield (
                f"| {title} | {callers} | {f'**{name}**' if name == OURS else name} | {cell.rate:.1f} "
                f"| {cell.middle:.2f} | {cell.slow:.2f} | {median(cell.cpu) * 1e3:.2f} "
                f"| {NOT_COMPARED if name == DIRECT else f'{cell.others:.0%}{mark}'} |"
            )


def needs_table(needs: Mapping[str, Need], big: int) -> Iterator[str]:
    """Return the table of starts and memory; `big` is the size of the big upload."""
    yield f"| | start s | RSS MB after the load | PSS MB | growth by {big / 1e6:.0f} MB uploaded, MB | of its size |"
    yield "|---|---|---|---|---|---|"
    for name, need in needs.items():
        yield (
            f"| {f'**{name}**' if name == OURS else name} | {need.start:.2f} | {need.rss / 1e6:.0f} "
            f"| {need.pss / 1e6:.0f} | {need.growth / 1e6:.0f} | {need.growth / big:.2f} |"
        )


def ratios_table(found: Mapping[Place, Ratios]) -> Iterator[str]:
    """Return the table of ratios."""
    yield (
        "| upload | callers | requests/s: ours / LiteLLM | ours / floor | floor / LiteLLM | relay / LiteLLM "
        "| added p50 ms: ours | LiteLLM | ours / LiteLLM |"
    )
    yield "|---|---|---|---|---|---|---|---|---|"
    for (title, callers), row in found.items():
        rates = (row.theirs, row.floor, row.floor_theirs, row.relay_theirs)
        figures = (*rates, row.added, row.added_theirs, row.latency)
        yield f"| {title} | {callers} | {' | '.join(shown(figure) for figure in figures)} |"


def goals(found: Mapping[Place, Ratios], needs: Mapping[str, Need], big: int) -> Iterator[str]:
    """Return the table of goals."""
    memory = {name: float(need.rss) for name, need in needs.items()}
    start = {name: need.start for name, need in needs.items()}
    growth = [need.growth / big for name, need in needs.items() if name == OURS]
    yield "| goal, in the worst place | figure | met |"
    yield "|---|---|---|"
    for goal in (
        Goal("requests/s against LiteLLM ≥ 10", _known(row.theirs for row in found.values()), least=10),
        Goal("requests/s against the floor ≥ 0.5", _known(row.floor for row in found.values()), least=0.5),
        Goal("added p50 against LiteLLM ≤ 0.1", _known(row.latency for row in found.values()), most=0.1),
        Goal("RSS against LiteLLM ≤ 1/3", _known([ratio(memory.get(OURS), memory.get(THEIRS))]), most=1 / 3),
        Goal("start against LiteLLM ≤ 1/7", _known([ratio(start.get(OURS), start.get(THEIRS))]), most=1 / 7),
        Goal("growth against the upload ≤ 2", growth, most=2),
    ):
        yield goal.line()


def _known(figures: Iterable[float | None]) -> list[float]:
    return [figure for figure in figures if figure is not None]


def report(cells: Cells, needs: Mapping[str, Need], big: int) -> Iterator[str]:
    """Return all tables."""
    found = {place: compare(row) for place, row in cells.items()}
    for table in (speed(cells), needs_table(needs, big), ratios_table(found), goals(found, needs, big)):
        yield from table
        yield ""
