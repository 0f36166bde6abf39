"""What is to be known of each game beside its result before the ratings are believed: its opening, how it ended."""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from banzuke.outcome import Side, Status, Termination
from storage.categories import categories
from storage.counting import (
    AgentNumbering,
    by_number,
    give_back_memory,
    joined_runs,
    numbered_attempts,
    run_games,
    void_games,
)
from storage.ledger import counting_rows, says

if TYPE_CHECKING:
    from collections.abc import Iterable
    from concurrent.futures import Future

    from numpy.typing import NDArray

    from storage.counting import CountingGames, RunGames
    from storage.game_store import GameStore
    from storage.parts import Scan

    FaultyAttempts: TypeAlias = pa.Table | None

_LAST_PLIES = 8
"""So many plies from its end are looked at for the last evaluation of a void game."""

Agent = tuple[str, str]
"""Name and content."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultyGames:
    """Games with a void attempt that one side's agent was at fault for, each once; shapes (games,).

    Of several such attempts the latest: an agent that crashes at the same move again has crashed once.
    """

    agent: NDArray[np.int64]
    """Index of the agent at fault."""
    eval_cp: NDArray[np.float64]
    """How that agent stood when it failed, in centipawns from its own point of view: its own last word, otherwise its
    opponent's; NaN where neither had said anything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """What tells whether two games can be the same game twice; shapes (games,)."""

    seed: NDArray[np.int64]
    ending: NDArray[np.int64]
    """Equal for games with the same length, winner and termination: others need not be compared move by move."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlayedGames:
    """Every game with a result, by run and number; shapes (games,)."""

    counting: CountingGames
    """The same games, entry for entry."""
    agents: tuple[Agent, ...]
    openings: tuple[str, ...]
    first: NDArray[np.int32]
    """Index into ``agents``."""
    second: NDArray[np.int32]
    opening: NDArray[np.int32]
    """Index into ``openings``."""
    is_time_forfeit: NDArray[np.bool_]
    circumstances: Circumstances | None
    """None of a single run, whose games are not compared with another's."""
    attempts: NDArray[np.int64]
    """Per agent: recorded attempts, void or not; shape (agents,)."""
    faulty: FaultyGames


def played_games(store: GameStore, run_ids: Iterable[str]) -> PlayedGames:
    """The counting games of the runs with their openings and endings, and the games that failed by somebody's fault.

    Moves are not read, and of evaluations only those of runs in which an agent was at fault for a void attempt.

    Raises:
        UnknownRunError: no such run.
        StorageError: the store cannot be read.
    """
    chosen = list(dict.fromkeys(run_ids))
    numbering, openings, terminations = AgentNumbering(), _Words(), _Words()
    reader = _Reader(store, numbering, openings, terminations, is_comparing=len(chosen) > 1)
    runs = reader.read_all(chosen)
    # Taken out one after the other: both as they were read and joined they are half a gibibyte for ten million games.
    counting = joined_runs([run.counting.pop() for run in runs], numbering)
    columns = {name: np.concatenate([run.columns.pop(name) for run in runs]) for name in list(runs[0].columns)}
    give_back_memory()
    return PlayedGames(
        counting=counting,
        agents=numbering.met(),
        openings=tuple(openings.numbers),
        first=columns["first"],
        second=columns["second"],
        opening=columns["opening_id"],
        is_time_forfeit=columns["termination"] == terminations.numbers.get(Termination.TIME_FORFEIT.value, -1),
        circumstances=Circumstances(
            seed=columns["seed"],
            ending=3 * (len(terminations.numbers) * columns["plies"] + columns["termination"]) + columns["winner"],
        )
        if len(runs) > 1
        else None,
        attempts=np.sum([np.pad(run.attempts, (0, len(numbering.met()) - len(run.attempts))) for run in runs], axis=0),
        faulty=FaultyGames(
            agent=np.concatenate([run.faulty.agent for run in runs]),
            eval_cp=np.concatenate([run.faulty.eval_cp for run in runs]),
        ),
    )


class _Words:
    """Numbers texts as they are met."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}

    def number(self, column: pa.ChunkedArray[Any]) -> NDArray[np.int32]:
        codes, distinct = categories(column)
        met = [self.numbers.setdefault(word, len(self.numbers)) for word in distinct]
        numbered: NDArray[np.int32] = np.array(met, dtype=np.int32)[codes]
        return numbered


@dataclass(frozen=True, slots=True, kw_only=True)
class _RunColumns:
    counting: list[RunGames]
    """One, until it is taken."""
    columns: dict[str, NDArray[Any]]
    attempts: NDArray[np.int64]
    faulty: FaultyGames


@dataclass(frozen=True, slots=True)
class _Reader:
    store: GameStore
    numbering: AgentNumbering
    openings: _Words
    terminations: _Words
    _: KW_ONLY
    is_comparing: bool

    def read_all(self, run_ids: list[str]) -> list[_RunColumns]:
        """The counting games of the runs, each in the order of their numbers."""
        found: list[_RunColumns] = []
        with ThreadPoolExecutor(1) as reader:
            coming: deque[Future[tuple[Scan, FaultyAttempts]]] = deque()
            for run_id in run_ids:
                # One run is decoded while the one before it is numbered; more of them would not fit into memory.
                coming.append(reader.submit(self._read, run_id))
                if len(coming) > 1:
                    found.append(self._numbered(coming.popleft()))
            found.extend(self._numbered(coming.popleft()) for _ in range(len(coming)))
        return found

    def _read(self, run_id: str) -> tuple[Scan, FaultyAttempts]:
        further = ("plies", "seed") if self.is_comparing else ()
        texts = ("opening_id", "termination")
        scanned = numbered_attempts(self.store, run_id, (*further, *texts), texts)
        is_faultless = not _is_failure(scanned.table).any()
        return scanned, None if is_faultless else _faulty_attempts(self.store, run_id)

    def _numbered(self, read: Future[tuple[Scan, FaultyAttempts]]) -> _RunColumns:
        scanned, faulty = read.result()
        damaged = scanned.damaged
        attempts = self.numbering.numbered(scanned.table)
        del read, scanned
        texts = {"opening_id": self.openings, "termination": self.terminations}
        for name, words in texts.items():
            attempts = attempts.drop_columns([name]).append_column(name, pa.array(words.number(attempts[name])))
        many = len(self.numbering.met())
        tried = sum((np.bincount(attempts[side].to_numpy(), minlength=many) for side in Side), np.zeros(many, np.int64))
        void = void_games(attempts)
        rows = by_number(counting_rows(attempts))
        # See storage.counting.
        del attempts
        names = (*Side, *texts, *(("plies", "seed") if self.is_comparing else ()))
        columns = {str(name): rows[name].to_numpy() for name in names}
        won, lost = (says(rows, "winner", side).astype(np.int8) for side in Side)
        return _RunColumns(
            counting=[run_games(rows, void, damaged)],
            columns={**columns, "winner": 1 + won - lost} if self.is_comparing else columns,
            attempts=tried,
            faulty=_NO_FAULTY_GAMES if faulty is None else _faulty_games(faulty, self.numbering),
        )


_NO_FAULTY_GAMES = FaultyGames(agent=np.empty(0, dtype=np.int64), eval_cp=np.empty(0))


def _faulty_attempts(store: GameStore, run_id: str) -> pa.Table:
    names = ("game_no", "attempt", "started_at", "status", "fault", "evals")
    agents = [f"{side}_agent{suffix}" for side in Side for suffix in ("", "_id")]
    return store.games(
        run_id, (*names, *agents), reduce=_with_last_evals, encoded=("status", "fault", *agents), status=Status.VOID
    ).table


def _faulty_games(attempts: pa.Table, numbering: AgentNumbering) -> FaultyGames:
    rows = numbering.numbered(attempts.filter(pa.array(_is_failure(attempts))))
    rows = rows.sort_by([("attempt", "descending"), ("started_at", "descending")])
    agent = np.where(says(rows, "fault", Side.FIRST), rows[Side.FIRST].to_numpy(), rows[Side.SECOND].to_numpy())
    # A game may fail by the fault of either side in turn; each is a failure of its own.
    _, latest = np.unique(np.stack([rows["game_no"].to_numpy(), agent]), axis=1, return_index=True)
    eval_cp = rows["eval_cp"].to_numpy().astype(np.float64)
    return FaultyGames(agent=agent[latest].astype(np.int64), eval_cp=eval_cp[latest])


def _is_failure(attempts: pa.Table) -> NDArray[np.bool_]:
    """(rows,) whether the attempt is void by the fault of a side."""
    is_somebodys = says(attempts, "fault", Side.FIRST) | says(attempts, "fault", Side.SECOND)
    return np.asarray(says(attempts, "status", Status.VOID) & is_somebodys)


def _with_last_evals(piece: pa.Table) -> pa.Table:
    where = np.flatnonzero(_is_failure(piece))
    last = np.full(len(piece), np.nan)
    evals = piece["evals"].combine_chunks().take(where)
    last[where] = _last_evals(evals, says(piece, "fault", Side.SECOND)[where])
    return piece.drop_columns(["evals"]).append_column("eval_cp", pa.array(last))


def _last_evals(evals: Any, is_second: NDArray[np.bool_]) -> NDArray[np.float64]:  # noqa: ANN401 - a ListArray
    """(rows,) the last evaluation from the point of view of one side, its own before its opponent's."""
    lengths = np.asarray(pc.fill_null(evals.value_lengths(), 0), dtype=np.int64)
    ends = np.cumsum(lengths)
    scores = np.append(evals.flatten().to_numpy(zero_copy_only=False).astype(np.float64), np.nan)
    own, others = np.full(len(lengths), np.nan), np.full(len(lengths), np.nan)
    for back in range(_LAST_PLIES, 0, -1):
        ply = lengths - back
        score = np.where(ply >= 0, scores[np.where(ply >= 0, ends - back, -1)], np.nan)
        is_known, is_own = ~np.isnan(score), (ply % 2 == 1) == is_second
        own = np.where(is_known & is_own, score, own)
        others = np.where(is_known & ~is_own, -score, others)
    return np.where(np.isnan(own), others, own)
