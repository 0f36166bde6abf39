"""The crosstable as a heat map: a cell for every two agents, coloured by score or by chance of superiority."""

from __future__ import annotations

from dataclasses import dataclass

from banzuke.ratings.standings import Standings

MOST_ACROSS = 100
"""Agents of the table; of a hundred it has ten thousand cells."""
MOST_NAMED = 12
"""Agents of a table whose columns have room for names beside ranks."""
STEPS = 20
"""Of the colours from 0 to 1."""
_LOW, _MIDDLE, _HIGH = (240, 178, 122), (250, 248, 244), (134, 182, 222)
"""Orange and blue, which every eye tells apart; ink is readable on each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """What the agent of the row did against the agent of the column. Colours are numbers of :func:`heat_css`."""

    score: str
    """In hundredths; empty where they did not meet."""
    points: str
    """Of how many games."""
    stronger: str
    """Chance of the row's agent being the stronger one, in hundredths; empty where one of the two has no rating."""
    colours: str
    """Classes of the cell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeatMap:
    """The crosstable, by rank."""

    agents: tuple[str, ...]
    rows: tuple[tuple[Cell | None, ...], ...]
    """None on the diagonal."""
    left_out: int
    """Agents of lower ranks."""


def heat_map(rated: Standings) -> HeatMap:
    """The crosstable of a ranking sheet, as far as its agents have games; those without any are ranked last."""
    table = rated.crosstable
    playing = int(table.games.any(axis=1).sum())
    count = min(playing, MOST_ACROSS)
    agents = table.agents[:count]
    games = table.games[:count, :count].tolist()
    points = table.points[:count, :count].tolist()
    # Who is rated comes first in both, in the same order.
    chances = rated.matrix.superiority()[:count, :count].tolist()
    return HeatMap(
        agents=agents,
        rows=tuple(
            tuple(
                None
                if place == versus
                else _cell(
                    games[place][versus],
                    points[place][versus],
                    chances[place][versus] if max(place, versus) < len(chances) else None,
                )
                for versus in range(count)
            )
            for place in range(count)
        ),
        left_out=playing - count,
    )


def _cell(games: int, points: float, chance: float | None) -> Cell:
    score = points / games if games else None
    colours = [f"h{_step(score)}"] if score is not None else []
    colours += [f"k{_step(chance)}"] if chance is not None else []
    return Cell(
        score="" if score is None else f"{100 * score:.0f}",
        points=f"{points_words(points)}/{games}" if games else "",
        stronger="" if chance is None else chance_words(chance),
        colours=" ".join(colours),
    )


def points_words(points: float) -> str:
    """Whole and half points."""
    whole, half = divmod(round(2 * points), 2)
    return f"{whole or ''}½" if half else str(whole)


def chance_words(chance: float) -> str:
    """In hundredths; nothing is certain that games say."""
    if chance >= 0.995:
        return ">99"
    return "<1" if chance < 0.005 else f"{100 * chance:.0f}"


def heat_css() -> str:
    """The colours; those of scores are shown unless the chances are asked for."""
    rules = []
    for step in range(STEPS + 1):
        colour = _mixed(step / STEPS)
        rules.append(f"#cross-score:checked~.scroll .h{step},#cross-points:checked~.scroll .h{step},")
        rules.append(f"#cross-stronger:checked~.scroll .k{step}{{background:{colour}}}")
    return "".join(rules)


def _step(share: float) -> int:
    return round(share * STEPS)


def _mixed(share: float) -> str:
    end, weight = (_LOW, 1 - 2 * share) if share < 0.5 else (_HIGH, 2 * share - 1)
    return "#" + "".join(
        f"{round(middle + weight * (far - middle)):02x}" for middle, far in zip(_MIDDLE, end, strict=True)
    )
