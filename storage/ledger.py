"""What of a run is planned, recorded, counting and missing: read from the rows, never from file times."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from banzuke.outcome import Side, Status
from storage.categories import categories, category_codes
from storage.schemas import GAMES

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from numpy.typing import NDArray

    from banzuke.record import PlannedGame
    from storage.game_store import GameStore
    from storage.parts import DamagedPart, Scan

_RANKING = ("attempt", "started_at", "attempt_id")
RANKING_COLUMNS = ("game_no", "status", *_RANKING)
"""What :func:`counting_rows` and :func:`still_void_rows` need, beside what they are to return.

They can do without ``attempt_id`` where there is no :func:`dead_heats`.
"""

_COLUMNS = (*RANKING_COLUMNS, "game_id", "termination", "winner", "fault", "detail")
_RANKED = ("game_no", "attempt", "started_at", "status")
_TRIED = ["game_no", "attempt"]


def counting_rows(attempts: pa.Table) -> pa.Table:
    """Of every game with a result its counting row.

    It is the non-void one with the smallest (attempt, started_at, attempt_id); several exist only where two
    invocations raced.

    Args:
        attempts: rows of one run, :data:`RANKING_COLUMNS` among its columns.
    """
    with_result = _is_with_result(attempts)
    # Of millions of games most have one attempt; none of them is copied then.
    results = attempts if with_result.all() else attempts.filter(pa.array(with_result))
    return _one_per_game(results, "ascending")


def still_void_rows(attempts: pa.Table) -> pa.Table:
    """Of every game that was tried without a result its latest attempt.

    It is the one with the greatest (attempt, started_at, attempt_id).

    Args:
        attempts: rows of one run, :data:`RANKING_COLUMNS` among its columns.
    """
    with_result = _is_with_result(attempts)
    void = attempts.filter(pa.array(~with_result))
    if not void.num_rows:
        return void
    is_settled = np.isin(void["game_no"].to_numpy(), attempts["game_no"].to_numpy()[with_result])
    return _one_per_game(void.filter(pa.array(~is_settled)), "descending")


def dead_heats(attempts: pa.Table) -> NDArray[np.int64]:
    """Numbers of the games with rows that agree in attempt and start, so that only their ids say which is first.

    They are one attempt read from two files, or two invocations that began it in the same microsecond.
    """
    rows = _contested(attempts)
    if not len(rows):
        return np.empty(0, dtype=np.int64)
    contested = attempts.select(["game_no", "attempt", "started_at"]).take(rows).append_column("rows", pa.array(rows))
    sizes = contested.group_by(["game_no", "attempt", "started_at"]).aggregate([("rows", "count")])
    return np.unique(sizes["game_no"].to_numpy()[sizes["rows_count"].to_numpy() > 1])


def ranked_attempts(store: GameStore, run_id: str, columns: Sequence[str], encoded: Collection[str]) -> Scan:
    """Every attempt at a game of the run, in no promised order, so that it is clear which of a game's is the first.

    The long texts of ``attempt_id`` are read only of games with :func:`dead_heats`; of other games it is null.

    Args:
        store: where to read.
        run_id: which run.
        columns: which; :data:`RANKING_COLUMNS` but for ``attempt_id`` among them.
        encoded: those that are texts of few kinds, to come dictionary-encoded.
    """
    scanned = store.games(run_id, columns, encoded=encoded, each_once=False)
    attempts = scanned.table
    tied = dead_heats(attempts)
    if not len(tied):
        return scanned
    # Wherever these games' rows have gone meanwhile, all of them are found again.
    alike = store.games(
        run_id,
        (*columns, "attempt_id"),
        reduce=lambda piece: piece.filter(_is_of(piece, tied)),
        encoded=encoded,
        each_once=False,
    ).table
    _, firsts = np.unique(category_codes(alike["attempt_id"]), return_index=True)
    others = attempts.filter(pc.invert(_is_of(attempts, tied)))
    others = others.append_column("attempt_id", pa.nulls(others.num_rows, pa.string()))
    return replace(scanned, table=pa.concat_tables([others, alike.take(firsts).cast(others.schema)]))


def _is_of(attempts: pa.Table, games: NDArray[np.int64]) -> Any:  # noqa: ANN401 - pyarrow's types do not know chunked booleans
    return pc.is_in(attempts["game_no"], value_set=pa.array(games))


def says(table: pa.Table, name: str, word: str) -> NDArray[np.bool_]:
    """Where the column of a few different words says this one; shape (rows,)."""
    codes, words = categories(table[name])
    answers: NDArray[np.bool_] = np.array([*(each == word for each in words), False])[codes]
    return answers


def _is_with_result(attempts: pa.Table) -> NDArray[np.bool_]:
    return ~says(attempts, "status", Status.VOID)


def _one_per_game(attempts: pa.Table, order: Literal["ascending", "descending"]) -> pa.Table:
    contested = _contested(attempts)
    if not len(contested):
        return attempts
    rows = attempts.take(contested)
    keys = [(name, order) for name in _RANKING if name in rows.column_names]
    ranking = pc.sort_indices(rows, sort_keys=keys).to_numpy()
    _, leaders = np.unique(rows["game_no"].to_numpy()[ranking], return_index=True)
    is_kept = np.ones(attempts.num_rows, dtype=bool)
    is_kept[contested] = False
    is_kept[contested[ranking[leaders]]] = True
    return attempts.filter(pa.array(is_kept))


def _contested(attempts: pa.Table) -> NDArray[np.int64]:
    """Ascending indices of the rows whose game has another row."""
    games = attempts["game_no"].to_numpy()
    if np.all(games[1:] > games[:-1]):
        return np.empty(0, dtype=np.int64)
    order = np.argsort(games, kind="stable")
    is_like_next = np.append(games[order[1:]] == games[order[:-1]], False)
    return np.sort(order[is_like_next | np.roll(is_like_next, 1)])


@dataclass(frozen=True, slots=True, kw_only=True)
class Tallies:
    """How many planned games are in which state: ``planned = counting + void + missing + spared``."""

    planned: int
    counting: int
    """With a counting result, forfeits included."""
    forfeits: int
    """Of the counting ones, lost by the agent's own play."""
    void: int
    """Tried, and every attempt was void."""
    missing: int
    """Never tried."""
    spared: int = 0
    """Without a result, and not in need of one: they lie behind the verdict of a sequential test."""


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
        return self._ranked.damaged

    def counting(self) -> pa.Table:
        """One row per game with a result.

        Columns: game_no, status, attempt, started_at, attempt_id, game_id, termination, winner, fault, detail.
        """
        return self._counting

    def result_numbers(self) -> NDArray[np.int64]:
        """``game_no`` of every game with a result; shape (games,)."""
        return self._counting_numbers

    def void_numbers(self) -> NDArray[np.int64]:
        """``game_no`` of every game that was tried, needs a result and has none; shape (games,)."""
        return self._void_numbers

    def missing_ids(self) -> list[str]:
        """Planned games that need a counting result and have none, in the plan's order."""
        if not len(self._missing):
            return []
        plan = self._store.plan_table(self._run_id, ["game_id", "game_no"])
        is_missing = np.isin(_array(plan["game_no"]), self._missing)
        return [str(game_id) for game_id in plan["game_id"].filter(pa.array(is_missing)).to_pylist()]

    def half_points(self, agent: str) -> NDArray[np.int8]:
        """What every planned game was worth to one agent of two: 0, 1, 2, or -1 without a result; shape (pairs, 2).

        In the order of the games' numbers, which go pair by pair.
        """
        plan = self._store.plan_table(self._run_id, ["game_no", "first_agent"]).sort_by("game_no")
        counting = self._counting
        points = np.full(plan.num_rows, -1, dtype=np.int8)
        places = np.searchsorted(_array(plan["game_no"]), _array(counting["game_no"]))
        is_first: Any = pc.equal(plan["first_agent"], pa.scalar(agent))
        won_by_first: Any = pc.equal(counting["winner"], pa.scalar(Side.FIRST.value))
        won_by_agent = _array(won_by_first.fill_null(False)) == _array(is_first)[places]
        is_draw: Any = pc.is_null(counting["winner"])
        points[places] = np.where(_array(is_draw), 1, np.where(won_by_agent, 2, 0))
        return points.reshape(-1, 2)

    def has_none_of(self, game_ids: Collection[str]) -> bool:
        """Whether none of these games has a counting result."""
        plan = self._store.plan_table(self._run_id, ["game_id", "game_no"])
        asked = plan.filter(pc.is_in(plan["game_id"], value_set=pa.array(list(game_ids), pa.string())))
        return not np.isin(_array(asked["game_no"]), self._counting_numbers).any()

    def attempts(self, game_ids: Collection[str] | None = None) -> dict[str, int]:
        """The highest attempt so far of every game that was tried, or of those among ``game_ids``.

        One that lost a race is an attempt too.
        """
        # Games first: see _raced.
        tried = self._store.games(self._run_id, ("game_id", *_TRIED), each_once=False).table
        rows = self._planned(pa.concat_tables([tried, self._raced]))
        if game_ids is not None:
            asked = pa.array(list(game_ids), pa.string())
            rows = rows.filter(pc.is_in(rows["game_id"], value_set=asked))
        highest = rows.group_by("game_id").aggregate([("attempt", "max")])
        cells: Any = zip(highest["game_id"].to_pylist(), highest["attempt_max"].to_pylist(), strict=True)
        return dict(cells)

    def repeated_attempts(self) -> int:
        """How many attempts there were beyond the first of every game, by their numbers."""
        tries = pa.concat_tables([self._ranked_rows.select(_TRIED), self._planned(self._raced).select(_TRIED)])
        again = (
            tries.filter(pc.greater(tries["attempt"], pa.scalar(1))).group_by("game_no").aggregate([("attempt", "max")])
        )
        return int(_array(again["attempt_max"]).sum()) - again.num_rows

    def still_void(self) -> pa.Table:
        """One row per game that was tried and has no result, its latest attempt; columns as of :meth:`counting`."""
        return self._still_void

    def last_void(self) -> dict[str, VoidCause]:
        """Why each game that was tried, has no result and needs one has none."""
        columns = ("game_id", "termination", "fault", "detail")
        cells = zip(*(self._still_void[name].to_pylist() for name in columns), strict=True)
        return {
            game_id: VoidCause(termination=termination, fault=None if fault is None else Side(fault), detail=detail)
            for game_id, termination, fault, detail in cells
        }

    def tallies(self) -> Tallies:
        """How far the run is."""
        planned, counting, void = len(self._planned_numbers), len(self._counting_numbers), len(self._void_numbers)
        missing = len(self._missing) - void
        return Tallies(
            planned=planned,
            counting=counting,
            forfeits=int(says(self._counting_ranked, "status", Status.FORFEIT).sum()),
            void=void,
            missing=missing,
            spared=planned - counting - void - missing,
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
    def _planned_numbers(self) -> NDArray[np.int64]:
        return _array(self._store.plan_table(self._run_id, ["game_no"])["game_no"])

    @cached_property
    def _needed_numbers(self) -> NDArray[np.int64]:
        """All of them, or those up to the pair that decided a sequential test."""
        decision = self._store.read_decision(self._run_id)
        if decision is None:
            return self._planned_numbers
        plan = self._store.plan_table(self._run_id, ["game_no", "pair_no"])
        is_needed = _array(plan["pair_no"]) <= decision["decided_at_pair"]
        return np.asarray(_array(plan["game_no"])[is_needed])

    @cached_property
    def _missing(self) -> NDArray[np.int64]:
        """Numbers of the games that need a result and have none."""
        is_missing = ~np.isin(self._needed_numbers, self._counting_numbers)
        return np.asarray(self._needed_numbers[is_missing])

    @cached_property
    def _counting_numbers(self) -> NDArray[np.int64]:
        return _array(self._counting_ranked["game_no"])

    @cached_property
    def _void_numbers(self) -> NDArray[np.int64]:
        """Of the games that were tried, need a result and have none."""
        void = _array(still_void_rows(self._ranked_rows)["game_no"])
        return np.asarray(void[np.isin(void, self._needed_numbers)])

    @cached_property
    def _ranked(self) -> Scan:
        """What tells results and attempts from each other, and no text of each game: there may be millions of them."""
        return ranked_attempts(self._store, self._run_id, _RANKED, ("status",))

    @cached_property
    def _ranked_rows(self) -> pa.Table:
        return self._planned(self._ranked.table)

    @cached_property
    def _counting_ranked(self) -> pa.Table:
        return counting_rows(self._ranked_rows)

    @cached_property
    def _raced(self) -> pa.Table:
        # Looked at after the games: what has just been moved is then in both, not in neither.
        _ = self._ranked
        return self._store.raced(self._run_id, ("game_id", *_TRIED)).table

    @cached_property
    def _attempts(self) -> pa.Table:
        return self._planned(self._store.games(self._run_id, _COLUMNS).table)

    def _planned(self, rows: pa.Table) -> pa.Table:
        is_planned = np.isin(_array(rows["game_no"]), self._planned_numbers)
        return rows if is_planned.all() else rows.filter(pa.array(is_planned))

    @cached_property
    def _counting(self) -> pa.Table:
        return counting_rows(self._attempts)

    @cached_property
    def _still_void(self) -> pa.Table:
        numbers = self._void_numbers
        if not len(numbers):
            return GAMES.empty_table().select(_COLUMNS)
        found = self._store.games(
            self._run_id,
            _COLUMNS,
            reduce=lambda piece: piece.filter(_is_of(piece, numbers)),
            each_once=False,
            status=Status.VOID,
        ).table
        return still_void_rows(found)


def _array(column: Any) -> NDArray[Any]:  # noqa: ANN401 - pyarrow's types do not know chunked booleans
    found: NDArray[Any] = column.to_numpy()
    return found
