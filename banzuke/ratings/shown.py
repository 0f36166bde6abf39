"""Some of the agents of a ranking sheet, rated with all of them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import numpy as np

from banzuke.ratings.standings import Crosstable, Differences, Standings


def only(standings: Standings, agents: Collection[str]) -> Standings:
    """The sheet with these agents alone. Ranks stay those among all; ``los_next`` is about the next one shown."""
    matrix, crosstable = standings.matrix, standings.crosstable
    rated = [index for index, agent in enumerate(matrix.agents) if agent in agents]
    kept = [index for index, agent in enumerate(crosstable.agents) if agent in agents]
    shown = Differences(
        agents=tuple(matrix.agents[index] for index in rated),
        elo=matrix.elo[rated],
        errors=matrix.errors[np.ix_(rated, rated)],
    )
    los_next = dict(zip(shown.agents, np.diagonal(shown.superiority(), offset=1).tolist(), strict=False))
    return replace(
        standings,
        rows=tuple(replace(row, los_next=los_next.get(row.agent)) for row in standings.rows if row.agent in agents),
        matrix=shown,
        crosstable=Crosstable(
            agents=tuple(crosstable.agents[index] for index in kept),
            points=crosstable.points[np.ix_(kept, kept)],
            games=crosstable.games[np.ix_(kept, kept)],
        ),
    )
