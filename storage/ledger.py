"""What of a run is planned, recorded, counting and missing: read from the rows, never from file times."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from banzuke.outcome import Side, Status
from storage.categories import category_codes

if TYPE_CHECKING:
    from collections.abc import Collection

    from banzuke.record import PlannedGame
    from storage.game_store import GameStore
    from storage.parts import DamagedPart, Scan

RANKING_COLUMNS = ("game_id", "status", "attempt", "started_at", "attempt_id")
"""What :func:`counting_rows` and :func:`still_void_rows` need, beside what they are to return."""

_COLUMNS = (*RANKING_COLUMNS, "game_no", "termination", "winner", "fault", "detail")
_TRIED = ["game_id", "attempt"]


def counting_rows(attempts: pa.Table) -> pa.Table:
    """Of every game with a result its counting row.

    It is the non-void one with the smallest (attempt, started_at, attempt_id); several exist only where two
    invocations raced.

    Args:
        attempts: rows of one run, :data:`RANKING_COLUMNS` among its columns.
    """
    return _one_per_game(attempts.filter(_is_with_result(attempts)), "ascending")


def still_void_rows(attempts: pa.Table) -> pa.Table:
    """Of every game that was tried without a result its latest attempt.

    It is the one with the greatest (attempt, started_at, attempt_id).

    Args:
        attempts: rows of one run, :data:`RANKING_COLUMNS` among its columns.
    """
    with_result = _is_with_result(attempts)
    settled = attempts.filter(with_result)["game_id"]
    void = attempts.filter(pc.invert(with_result))
    return _one_per_game(void.filter(pc.invert(pc.is_in(void["game_id"], value_set=settled))), "descending")


def _is_with_result(attempts: pa.Table) -> Any:  # noqa: ANN401 - pyarrow's types do not know chunked booleans
    return pc.not_equal(attempts["status"], pa.scalar(Status.VOID.value))


def _one_per_game(attempts: pa.Table, order: Literal["ascending", "descending"]) -> pa.Table:
    games = category_codes(attempts["game_id"])
    is_contested = np.bincount(games)[games] > 1
    if not is_contested.any():
        return attempts
    contested = np.flatnonzero(is_contested)
    ranking = pc.sort_indices(
        attempts.select(RANKING_COLUMNS).take(contested),
        sort_keys=[("attempt", order), ("started_at", order), ("attempt_id", order)],
    )
    ranked = contested[ranking.to_numpy()]
    _, leaders = np.unique(games[ranked], return_index=True)
    is_kept = ~is_contested
    is_kept[ranked[leaders]] = True
    return attempts.filter(pa.array(is_kept))


@dataclass(frozen=True, slots=True, kw_only=True)
class Tallies:
    """How many planned games are in which state: ``planned = counting + void + missing``."""

    planned: int
    counting: int
    """With a counting result, forfeits included."""
    forfeits: int
    """Of the counting ones, lost by the agent's own play."""
    void: int
    """Tried, and every attempt was void."""
    missing: int
    """Never tried."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VoidCause:
    """Why a game has no result yet: what its latest attempt ended with."""

    termination: str
    fault: Side | None
    detail: str | None


class Ledger:
    """The state of one run when it was first asked about; make a new one to look again.

    Rows of games that are not in the run's plan are ignored.

    Args:
        store: where the run is.
        run_id: its name.

    Raises:
        StorageError: as :meth:`GameStore.plan_table` and :meth:`GameStore.games`, when first asked.
    """

    def __init__(self, store: GameStore, run_id: str) -> None:
        self._store = store
        self._run_id = run_id

    @cached_property
    def plan(self) -> list[PlannedGame]:
        """Every planned game."""
        return self._store.read_plan(self._run_id)

    @property
    def damaged(self) -> tuple[DamagedPart, ...]:
        """Files that could not be read; what they held is missing."""
        return self._scan.damaged

    def counting(self) -> pa.Table:
        """One row per game with a result.

        Columns: game_id, status, attempt, started_at, attempt_id, game_no, termination, winner, fault, detail.
        """
        return self._counting

    def missing_ids(self) -> list[str]:
        """Planned games without a counting result, in the plan's order."""
        is_missing = pc.invert(pc.is_in(self._planned_ids, value_set=self._counting["game_id"]))
        return [str(game_id) for game_id in self._planned_ids.filter(is_missing).to_pylist()]

    def has_none_of(self, game_ids: Collection[str]) -> bool:
        """Whether none of these games has a counting result."""
        return not pc.any(pc.is_in(self._counting["game_id"], value_set=pa.array(list(game_ids), pa.string()))).as_py()

    def attempts(self, game_ids: Collection[str] | None = None) -> dict[str, int]:
        """The highest attempt so far of every game that was tried, or of those among ``game_ids``.

        One that lost a race is an attempt too.
        """
        rows = self._planned(pa.concat_tables([self._attempts.select(_TRIED), self._raced]))
        if game_ids is not None:
            asked = pa.array(list(game_ids), pa.string())
            rows = rows.filter(pc.is_in(rows["game_id"], value_set=asked))
        highest = rows.group_by("game_id").aggregate([("attempt", "max")])
        cells: Any = zip(highest["game_id"].to_pylist(), highest["attempt_max"].to_pylist(), strict=True)
        return dict(cells)

    def last_void(self) -> dict[str, VoidCause]:
        """Why each game that was tried and has no result has none."""
        columns = ("game_id", "termination", "fault", "detail")
        cells = zip(*(self._still_void[name].to_pylist() for name in columns), strict=True)
        return {
            game_id: VoidCause(termination=termination, fault=None if fault is None else Side(fault), detail=detail)
            for game_id, termination, fault, detail in cells
        }

    def tallies(self) -> Tallies:
        """How far the run is."""
        planned, counting, void = len(self._planned_ids), len(self._counting), len(self._still_void)
        is_forfeit: Any = pc.equal(self._counting["status"], pa.scalar(Status.FORFEIT.value))
        return Tallies(
            planned=planned,
            counting=counting,
            forfeits=int(pc.sum(is_forfeit).as_py() or 0),
            void=void,
            missing=planned - counting - void,
        )

    def counting_agent_ids(self) -> dict[str, set[str]]:
        """Under which content hashes each agent with counting games has played them."""
        names = [f"{side}_agent{suffix}" for side in Side for suffix in ("", "_id")]
        rows = self._store.games(self._run_id, [*RANKING_COLUMNS, *names]).table
        seen: dict[str, set[str]] = {}
        for side in Side:
            columns = [f"{side}_agent", f"{side}_agent_id"]
            met = counting_rows(rows).group_by(columns).aggregate([])
            for agent, agent_id in zip(*(met[column].to_pylist() for column in columns), strict=True):
                seen.setdefault(str(agent), set()).add(str(agent_id))
        return seen

    @cached_property
    def _planned_ids(self) -> pa.ChunkedArray[Any]:
        return self._store.plan_table(self._run_id, ["game_id"])["game_id"]

    @cached_property
    def _scan(self) -> Scan:
        return self._store.games(self._run_id, _COLUMNS)

    @cached_property
    def _raced(self) -> pa.Table:
        # Looked at after the games: what has just been moved is then in both, not in neither.
        _ = self._scan
        return self._store.raced(self._run_id, _TRIED).table

    @cached_property
    def _attempts(self) -> pa.Table:
        return self._planned(self._scan.table)

    def _planned(self, rows: pa.Table) -> pa.Table:
        return rows.filter(pc.is_in(rows["game_id"], value_set=self._planned_ids))

    @cached_property
    def _counting(self) -> pa.Table:
        return counting_rows(self._attempts)

    @cached_property
    def _still_void(self) -> pa.Table:
        return still_void_rows(self._attempts)
