"""Why games of a run were never tried. No Prefect here."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from storage.categories import categories
from storage.game_store import GameStore
from storage.ledger import Ledger
from tasks.summary import Summary

UNFIT, PUT_OFF, NOT_BEGUN = "agent unfit", "agent put off", "not begun"


@dataclass(frozen=True, slots=True, kw_only=True)
class MissingGames:
    """Games without any attempt, for one reason."""

    cause: str
    """:data:`UNFIT`, :data:`PUT_OFF` or :data:`NOT_BEGUN`."""
    agent: str | None
    """Whose state keeps them from being played; None: nobody's."""
    games: int


def missing_games(games: GameStore, summary: Summary) -> tuple[MissingGames, ...]:
    """The missing games of a run by cause and agent, the most first.

    A game of two agents that cannot play is counted once, for the one that has the move at its start.
    """
    if not summary.missing:
        return ()
    ledger = Ledger(games, summary.run_id)
    untried = set(ledger.missing_ids()).difference(ledger.last_void())
    plan = games.plan_table(summary.run_id, ["game_id", "first_agent", "second_agent"])
    plan = plan.filter(pc.is_in(plan["game_id"], value_set=pa.array(list(untried), pa.string())))
    causes = dict.fromkeys((agent for agent, _ in summary.put_off), PUT_OFF)
    causes |= dict.fromkeys((agent for agent, _ in summary.unfit), UNFIT)
    names = sorted(causes)
    blamed = _blamed(plan, names)
    counts = np.bincount(blamed, minlength=len(names) + 1).tolist()
    found = [
        MissingGames(cause=causes[name], agent=name, games=count)
        for name, count in zip(names, counts[1:], strict=True)
        if count
    ]
    if counts[0]:
        found.append(MissingGames(cause=NOT_BEGUN, agent=None, games=counts[0]))
    return tuple(sorted(found, key=lambda entry: -entry.games))


def _blamed(plan: pa.Table, names: list[str]) -> NDArray[np.int64]:
    """(games,) which of the names keeps each game from being played, from 1; 0 for nobody."""
    number = {name: index for index, name in enumerate(names, start=1)}
    blamed = np.zeros(plan.num_rows, dtype=np.int64)
    for side in ("second_agent", "first_agent"):
        codes, met = categories(plan[side])
        numbers = np.array([number.get(name, 0) for name in met], dtype=np.int64)[codes]
        blamed = np.where(numbers > 0, numbers, blamed)
    return blamed
