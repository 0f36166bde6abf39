"""Some of the agents of a ranking sheet, rated with all of them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from banzuke.ratings.standings import Crosstable, StandingRow, Standings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


def only(standings: Standings, agents: Collection[str]) -> Standings:
    """The sheet with these agents alone. Ranks stay those among all; ``los_next`` is about the next one shown."""
    los = {(difference.agent, difference.versus): difference.los for difference in standings.differences}
    rows = [row for row in standings.rows if row.agent in agents]
    crosstable = standings.crosstable
    kept = [index for index, agent in enumerate(crosstable.agents) if agent in agents]
    return replace(
        standings,
        rows=tuple(_next_to_each_other(rows, los)),
        differences=tuple(
            difference
            for difference in standings.differences
            if difference.agent in agents and difference.versus in agents
        ),
        crosstable=Crosstable(
            agents=tuple(crosstable.agents[index] for index in kept),
            points=crosstable.points[np.ix_(kept, kept)],
            games=crosstable.games[np.ix_(kept, kept)],
        ),
    )


def _next_to_each_other(rows: list[StandingRow], los: Mapping[tuple[str, str], float]) -> Iterator[StandingRow]:
    for row, below in zip(rows, [*rows[1:], None], strict=True):
        yield replace(row, los_next=None if below is None else los.get((row.agent, below.agent)))
