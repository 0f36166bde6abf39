"""What is to be known of each game beside its result before the ratings are believed: its opening, how it ended."""

from __future__ import annotations

from dataclasses import dataclass
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
    seed: NDArray[np.int64]
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
        seed=joined["seed"],
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
    texts = ("opening_id", "termination")
    attempts = numbering.numbered(numbered_attempts(store, run_id, ("plies", "seed", *texts), texts).table)
    for name in texts:
        attempts = attempts.drop_columns([name]).append_column(name, pa.array(_word_numbers(attempts[name], words)))
    rows = counting_rows(attempts)
    order = np.argsort(rows["game_no"].to_numpy(), kind="stable")
    names = ("game_no", "pair_no", "plies", "seed", *Side, *texts)
    columns = {str(name): rows[name].to_numpy().astype(np.int64)[order] for name in names}
    won, lost = (says(rows, "winner", side).astype(np.int64) for side in Side)
    columns["winner"] = (1 + won - lost)[order]
    sides = np.concatenate([attempts[side].to_numpy() for side in Side])
    return _RunColumns(
        columns=columns,
        attempts=np.bincount(sides, minlength=len(numbering.met())),
        faulty=_faulty_games(store, run_id, numbering) if _is_failure(attempts).any() else _NO_FAULTY_GAMES,
    )


_NO_FAULTY_GAMES = FaultyGames(agent=np.empty(0, dtype=np.int64), eval_cp=np.empty(0))


def _word_numbers(column: pa.ChunkedArray[Any], words: dict[str, int]) -> NDArray[np.int64]:
    codes, distinct = categories(column)
    numbers = [words.setdefault(word, len(words)) for word in distinct]
    return np.array(numbers, dtype=np.int64)[codes]


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
