"""The curve of a training run for the eye: a line per checkpoint, its interval drawn to scale."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from banzuke.ratings.curve import CurvePoint
    from banzuke.ratings.standings import Differences

_WIDTH = 32
"""Characters from the lowest end of an interval to the highest."""


def curve_table(curve: Sequence[CurvePoint], differences: Differences) -> Table:
    """The checkpoints in the order in which they were made, each with what it gained on the rated one before it.

    Args:
        curve: the checkpoints.
        differences: of the standings; a gain has the interval of its difference, not that of two ratings.
    """
    rated = [point for point in curve if point.elo is not None]
    low, high = min((_low(point) for point in rated), default=0.0), max((_high(point) for point in rated), default=0.0)
    table = Table(title="In the order of training", title_justify="left", box=None, pad_edge=False, title_style="bold")
    table.add_column("epoch", justify="right", no_wrap=True)
    table.add_column("step", justify="right", no_wrap=True)
    table.add_column("agent", overflow="fold")
    for name in ("elo", "gain", "95 %", "games"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column(f"{low:.0f} … {high:.0f}" if rated else "", no_wrap=True, overflow="crop")
    before: CurvePoint | None = None
    for point in curve:
        gain, interval = _gain(point, before, differences)
        table.add_row(
            _number(point.epoch),
            _number(point.step),
            Text(point.agent),
            "unrated" if point.elo is None else f"{point.elo:.0f}",
            gain,
            interval,
            str(point.games),
            _bar(point, low, high),
        )
        before = point if point.elo is not None else before
    return table


def _gain(point: CurvePoint, before: CurvePoint | None, differences: Differences) -> tuple[str, str]:
    if before is None or point.elo is None:
        return "", ""
    gain = differences.between(point.agent, before.agent)
    return f"{gain.elo:+.0f}", f"{gain.low:+.0f} … {gain.high:+.0f}"


def _bar(point: CurvePoint, low: float, high: float) -> Text:
    if point.elo is None:
        return Text("")
    start, middle, end = (
        round((_WIDTH - 1) * (value - low) / (high - low)) if high > low else 0
        for value in (_low(point), point.elo, _high(point))
    )
    return Text(" " * start + "─" * (middle - start) + "●" + "─" * (end - middle))


def _low(point: CurvePoint) -> float:
    return point.low if point.low is not None else point.elo or 0.0


def _high(point: CurvePoint) -> float:
    return point.high if point.high is not None else point.elo or 0.0


def _number(value: int | None) -> str:
    return "" if value is None else str(value)
