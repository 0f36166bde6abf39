"""What is to be known of each game beside its result before the ratings are believed: its opening, how it ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from banzuke.errors import UnknownRunError
from banzuke.outcome import Side, Status, Termination
from storage.categories import categories, with_categories
from storage.ledger import RANKING_COLUMNS, counting_rows
from storage.queries import AgentNumbering

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from storage.game_store import GameStore

_AGENTS = ("first_agent", "first_agent_id", "second_agent", "second_agent_id")
_WORDS = (*_AGENTS, "opening_id", "termination")
_COLUMNS = (*RANKING_COLUMNS, "game_no", "pair_no", "winner", "fault", "plies", *_WORDS)
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
class PlayedGames:
    """Every game with a result, by run and number; shapes (games,)."""

    agents: tuple[Agent, ...]
    openings: tuple[str, ...]
    run: NDArray[np.int64]
    """Index into the runs that were asked for."""
    game_no: NDArray[np.int64]
    pair: NDArray[np.int64]
    """Equal for the games of a pair, different across pairs and runs."""
    first: NDArray[np.int64]
    """Index into ``agents``."""
    second: NDArray[np.int64]
    first_score: NDArray[np.float64]
    """1 for a win of ``first``, 0.5 for a draw, 0."""
    opening: NDArray[np.int64]
    """Index into ``openings``."""
    ending: NDArray[np.int64]
    """Equal for games with the same length, winner and termination: what need not be compared move by move."""
    is_time_forfeit: NDArray[np.bool_]
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
    numbering = AgentNumbering()
    words: dict[str, int] = {}
    runs = [_read_run(store, run_id, numbering, words) for run_id in dict.fromkeys(run_ids)]
    if not runs:
        raise UnknownRunError("no run was named")
    pairs_before = np.cumsum([0, *(1 + run.columns["pair_no"].max(initial=-1) for run in runs)])
    joined = {name: np.concatenate([run.columns[name] for run in runs]) for name in runs[0].columns}
    sizes = [len(run.columns["game_no"]) for run in runs]
    winner = joined["winner"]
    opening_words, opening = np.unique(joined["opening_id"], return_inverse=True)
    spelled, agents = list(words), numbering.met()
    return PlayedGames(
        agents=agents,
        openings=tuple(spelled[word] for word in opening_words),
        run=np.repeat(np.arange(len(runs)), sizes),
        game_no=joined["game_no"],
        pair=joined["pair_no"] + np.repeat(pairs_before[:-1], sizes),
        first=joined["first"],
        second=joined["second"],
        first_score=0.5 * winner,
        opening=opening.astype(np.int64),
        ending=3 * (len(words) * joined["plies"] + joined["termination"]) + winner,
        is_time_forfeit=joined["termination"] == words.get(Termination.TIME_FORFEIT.value, -1),
        attempts=np.sum([np.pad(run.attempts, (0, len(agents) - len(run.attempts))) for run in runs], axis=0),
        faulty=FaultyGames(
            agent=np.concatenate([run.faulty.agent for run in runs]),
            eval_cp=np.concatenate([run.faulty.eval_cp for run in runs]),
        ),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _RunColumns:
    columns: dict[str, NDArray[np.int64]]
    attempts: NDArray[np.int64]
    faulty: FaultyGames


def _read_run(store: GameStore, run_id: str, numbering: AgentNumbering, words: dict[str, int]) -> _RunColumns:
    scanned = store.games(run_id, _COLUMNS, reduce=lambda piece: with_categories(piece, _WORDS)).table
    first, second = (numbering.number(scanned, side) for side in Side)
    attempts = scanned.drop_columns(list(_WORDS))
    for name, numbers in (
        ("first", first),
        ("second", second),
        ("opening_id", _word_numbers(scanned["opening_id"], words)),
        ("termination", _word_numbers(scanned["termination"], words)),
    ):
        attempts = attempts.append_column(name, pa.array(numbers))
    rows = counting_rows(attempts).sort_by("game_no")
    names = ("game_no", "pair_no", "plies", "first", "second", "opening_id", "termination")
    columns = {name: _integers(rows[name]) for name in names}
    columns["winner"] = 1 + _is(rows["winner"], Side.FIRST) - _is(rows["winner"], Side.SECOND)
    return _RunColumns(
        columns=columns,
        attempts=np.bincount(np.concatenate([first, second]), minlength=len(numbering.met())),
        faulty=_faulty_games(store, run_id, attempts),
    )


def _word_numbers(column: pa.ChunkedArray[Any], words: dict[str, int]) -> NDArray[np.int64]:
    codes, distinct = categories(column)
    numbers = [words.setdefault(word, len(words)) for word in distinct]
    return np.array(numbers, dtype=np.int64)[codes]


def _integers(column: pa.ChunkedArray[Any]) -> NDArray[np.int64]:
    return np.asarray(column.to_numpy(), dtype=np.int64)


def _is(column: pa.ChunkedArray[Any], word: str) -> NDArray[np.int64]:
    said: Any = pc.equal(column, pa.scalar(str(word)))
    return np.asarray(said.fill_null(False).to_numpy(), dtype=np.int64)


def _faulty_games(store: GameStore, run_id: str, attempts: pa.Table) -> FaultyGames:
    is_faulty = pc.and_(pc.equal(attempts["status"], pa.scalar(Status.VOID.value)), pc.is_valid(attempts["fault"]))
    faulty = attempts.filter(is_faulty).sort_by([("attempt", "descending"), ("started_at", "descending")])
    if not faulty.num_rows:
        return FaultyGames(agent=np.empty(0, dtype=np.int64), eval_cp=np.empty(0))
    agent = np.where(_is(faulty["fault"], Side.FIRST), _integers(faulty["first"]), _integers(faulty["second"]))
    # A game may fail by the fault of either side in turn; each is a failure of its own.
    _, latest = np.unique(np.stack([_integers(faulty["game_no"]), agent]), axis=1, return_index=True)
    scanned = store.games(run_id, ("attempt_id", "status", "fault", "evals"), reduce=_with_last_evals).table
    known = scanned.filter(pc.is_valid(scanned["eval_cp"]))
    places: Any = pc.index_in(faulty["attempt_id"].take(latest), value_set=known["attempt_id"].combine_chunks())
    where = places.fill_null(-1).to_numpy()
    return FaultyGames(agent=agent[latest], eval_cp=np.append(known["eval_cp"].to_numpy(), np.nan)[where])


def _with_last_evals(piece: pa.Table) -> pa.Table:
    evals = piece["evals"].combine_chunks()
    is_faulty = pc.and_(pc.equal(piece["status"], pa.scalar(Status.VOID.value)), pc.is_valid(piece["fault"]))
    where = np.flatnonzero(np.asarray(is_faulty.to_numpy(), dtype=bool))
    last = np.full(len(piece), np.nan)
    last[where] = _last_evals(evals.take(where), _is(piece["fault"], Side.SECOND)[where])
    return piece.drop_columns(["evals"]).append_column("eval_cp", pa.array(last, from_pandas=True))


def _last_evals(evals: Any, side: NDArray[np.int64]) -> NDArray[np.float64]:  # noqa: ANN401 - a ListArray
    """(rows,) the last evaluation from the side's point of view (0: first), its own before its opponent's."""
    lengths = np.asarray(pc.fill_null(evals.value_lengths(), 0), dtype=np.int64)
    ends = np.cumsum(lengths)
    scores = np.append(evals.flatten().to_numpy(zero_copy_only=False).astype(np.float64), np.nan)
    own, others = np.full(len(lengths), np.nan), np.full(len(lengths), np.nan)
    for back in range(_LAST_PLIES, 0, -1):
        ply = lengths - back
        score = np.where(ply >= 0, scores[np.where(ply >= 0, ends - back, -1)], np.nan)
        is_known, is_own = ~np.isnan(score), ply % 2 == side
        own = np.where(is_known & is_own, score, own)
        others = np.where(is_known & ~is_own, -score, others)
    return np.where(np.isnan(own), others, own)
