"""What is to be known of each game beside its result before the ratings are believed: its opening, how it ended."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from banzuke.errors import UnknownRunError
from banzuke.outcome import Side, Status, Termination
from storage.categories import categories
from storage.ledger import counting_rows, says
from storage.queries import AgentNumbering, numbered_attempts

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from storage.game_store import GameStore

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

    game_no: NDArray[np.int64]
    seed: NDArray[np.int64]
    ending: NDArray[np.int64]
    """Equal for games with the same length, winner and termination: others need not be compared move by move."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlayedGames:
    """Every game with a result, by run and number; shapes (games,)."""

    agents: tuple[Agent, ...]
    openings: tuple[str, ...]
    run: NDArray[np.int32]
    """Index into the runs that were asked for."""
    pair: NDArray[np.int64]
    """Equal for the games of a pair, different across pairs and runs."""
    first: NDArray[np.int32]
    """Index into ``agents``."""
    second: NDArray[np.int32]
    first_score: NDArray[np.float64]
    """1 for a win of ``first``, 0.5 for a draw, 0."""
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
    runs = [reader.read(run_id) for run_id in chosen]
    if not runs:
        raise UnknownRunError("no run was named")
    columns = {name: np.concatenate([run.columns.pop(name) for run in runs]) for name in list(runs[0].columns)}
    sizes = [run.games for run in runs]
    pairs_before = np.cumsum([0, *(run.pairs for run in runs)])[:-1]
    return PlayedGames(
        agents=numbering.met(),
        openings=tuple(openings.numbers),
        run=np.repeat(np.arange(len(runs), dtype=np.int32), sizes),
        pair=columns["pair_no"] + np.repeat(pairs_before, sizes) if len(runs) > 1 else columns["pair_no"],
        first=columns["first"],
        second=columns["second"],
        first_score=0.5 * columns["winner"],
        opening=columns["opening_id"],
        is_time_forfeit=columns["termination"] == terminations.numbers.get(Termination.TIME_FORFEIT.value, -1),
        circumstances=Circumstances(
            game_no=columns["game_no"],
            seed=columns["seed"],
            ending=3 * (len(terminations.numbers) * columns["plies"].astype(np.int64) + columns["termination"])
            + columns["winner"],
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
    columns: dict[str, NDArray[Any]]
    games: int
    pairs: int
    """More than the greatest number of a pair."""
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

    def read(self, run_id: str) -> _RunColumns:
        """The counting games of one run in the order of their numbers."""
        further = ("plies", "seed") if self.is_comparing else ()
        texts = {"opening_id": self.openings, "termination": self.terminations}
        scanned = numbered_attempts(self.store, run_id, (*further, *texts), tuple(texts)).table
        attempts = self.numbering.numbered(scanned)
        for name, words in texts.items():
            attempts = attempts.drop_columns([name]).append_column(name, pa.array(words.number(attempts[name])))
        sides = [attempts[side].to_numpy() for side in Side]
        rows = counting_rows(attempts)
        numbers = rows["game_no"].to_numpy()
        if np.any(numbers[1:] < numbers[:-1]):
            rows = rows.take(np.argsort(numbers, kind="stable"))
        names = ("pair_no", *Side, *texts, *further, *(("game_no",) if self.is_comparing else ()))
        columns = {str(name): rows[name].to_numpy() for name in names}
        won, lost = (says(rows, "winner", side).astype(np.int8) for side in Side)
        columns["winner"] = 1 + won - lost
        many = len(self.numbering.met())
        return _RunColumns(
            columns=columns,
            games=rows.num_rows,
            pairs=1 + int(columns["pair_no"].max(initial=-1)),
            attempts=sum((np.bincount(side, minlength=many) for side in sides), np.zeros(many, dtype=np.int64)),
            faulty=_faulty_games(self.store, run_id, self.numbering)
            if _is_failure(attempts).any()
            else _NO_FAULTY_GAMES,
        )


_NO_FAULTY_GAMES = FaultyGames(agent=np.empty(0, dtype=np.int64), eval_cp=np.empty(0))


def _faulty_games(store: GameStore, run_id: str, numbering: AgentNumbering) -> FaultyGames:
    names = ("game_no", "attempt", "started_at", "status", "fault", "evals")
    agents = [f"{side}_agent{suffix}" for side in Side for suffix in ("", "_id")]
    attempts = store.games(
        run_id, (*names, *agents), reduce=_with_last_evals, encoded=("status", "fault", *agents)
    ).table
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
