"""How far a run with a growing plan is, and what its next step would be. No Prefect here: ``banzuke show`` asks too."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from banzuke.match.planning import goal_of, numbered
from banzuke.outcome import Side
from banzuke.ratings.scores import GameColumns, Integers
from banzuke.schedule.adaptive import Meeting, measure, next_step
from banzuke.schedule.pairing import Encounter
from banzuke.specs import SPEC, Spec
from storage.categories import categories, with_categories
from storage.game_store import GameStore
from storage.ledger import RANKING_COLUMNS, counting_rows

_AGENTS = ("first_agent", "second_agent")


@dataclass(frozen=True, slots=True, kw_only=True)
class Precision:
    """How near an adaptive run is to its target."""

    target_error: float
    """Elo: half the width of a 95 % interval."""
    errors: tuple[tuple[str, float | None], ...]
    """Of every agent, the widest first; None: not rated."""
    goes_on: bool
    """Whether ``banzuke run`` would plan a further step, from the results as they are."""

    @property
    def missed(self) -> tuple[tuple[str, float | None], ...]:
        """The agents that are over the target; nobody: it is reached."""
        return tuple(entry for entry in self.errors if entry[1] is None or entry[1] > self.target_error)


class Growth:
    """An adaptive run as it was when it was first asked about; make a new one to look again.

    Args:
        games: where the run is.
        run_id: its name.
        spec: its spec.
    """

    def __init__(self, games: GameStore, run_id: str, spec: Spec) -> None:
        self._store = games
        self._run_id = run_id
        self._names = numbered(spec)
        self._goal = goal_of(spec)

    @cached_property
    def errors(self) -> dict[str, float | None]:
        """Half the width of every agent's 95 % interval, Elo, the widest first; None where it is not rated."""
        known = measure(self._goal, self._games) if len(self._games.pair) else None
        found = {} if known is None else dict(zip(known.members.tolist(), known.errors.tolist(), strict=True))
        errors = {name: found.get(number) for number, name in enumerate(self._names)}
        return dict(sorted(errors.items(), key=lambda entry: (entry[1] is not None, -(entry[1] or 0.0))))

    @cached_property
    def pairs_planned(self) -> dict[Encounter, int]:
        """How many pairs of each encounter there are in the plan."""
        games = self._store.plan_table(self._run_id, ["encounter"]).group_by("encounter").aggregate([([], "count_all")])
        cells: Any = zip(games["encounter"].to_pylist(), games["count_all"].to_pylist(), strict=True)
        return {Encounter.between(*name.split("--")): count // 2 for name, count in cells}

    def next_meetings(self, able: Collection[str]) -> list[Meeting]:
        """Who should meet next: by the spec, the counting results of all that is planned, and who is able to play.

        Nothing where everybody is known well enough, or nothing more may be played.
        """
        return next_step(
            self._goal,
            games=self._games,
            planned=self._planned(),
            able=np.array([name in able for name in self._names]),
        )

    def _planned(self) -> Integers:
        number = {name: index for index, name in enumerate(self._names)}
        planned = np.zeros((len(self._names), len(self._names)), dtype=np.int64)
        for encounter, pairs in self.pairs_planned.items():
            planned[number[encounter.a], number[encounter.b]] = pairs
        return planned

    @cached_property
    def _games(self) -> GameColumns:
        """The counting results of what is planned: where a step was lost, its games say nothing until it is back."""
        columns = [*RANKING_COLUMNS, "pair_no", "winner", *_AGENTS]
        scanned = self._store.games(self._run_id, columns, reduce=lambda piece: with_categories(piece, _AGENTS))
        rows = counting_rows(scanned.table)
        rows = rows.filter(pc.less(rows["game_no"], pa.scalar(2 * sum(self.pairs_planned.values()))))
        won = [pc.equal(rows["winner"], pa.scalar(side.value)).fill_null(False).to_numpy() for side in Side]
        return GameColumns(
            first_agent=self._numbers(rows["first_agent"]),
            second_agent=self._numbers(rows["second_agent"]),
            first_score=0.5 + 0.5 * won[0] - 0.5 * won[1],
            pair=rows["pair_no"].to_numpy(),
        )

    def _numbers(self, agents: pa.ChunkedArray[Any]) -> Integers:
        found, names = categories(agents)
        return np.array([self._names.index(name) for name in names], dtype=np.int64)[found]


def precision_of(games: GameStore, run_id: str) -> Precision | None:
    """Where the run is adaptive, how near it is to its target; None for other formats.

    Raises:
        UnknownRunError: it is not in the store.
    """
    document = games.read_run(run_id)["spec"]
    tournament = document.get("tournament")
    if not isinstance(tournament, dict) or tournament.get("format") != "adaptive":
        return None
    spec = SPEC.validate_python(document)
    growth = Growth(games, run_id, spec)
    unfit = {row.agent for row in games.read_agents(run_id) if row.fit is False}
    return Precision(
        target_error=goal_of(spec).target_error,
        errors=tuple(growth.errors.items()),
        goes_on=bool(growth.next_meetings([agent.name for agent in spec.agents if agent.name not in unfit])),
    )
