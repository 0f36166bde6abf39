"""What ratings need to know of the stored games, as columns of numbers."""

from __future__ import annotations

import ctypes
import hashlib
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from banzuke.errors import UnknownRunError
from banzuke.outcome import Side, Status
from banzuke.ratings.keys import distinct, joined
from storage.categories import categories, with_categories
from storage.ledger import RANKING_COLUMNS, counting_rows, ranked_attempts, says, still_void_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from numpy.typing import NDArray

    from storage.game_store import GameStore
    from storage.parts import DamagedPart, Scan

_AGENTS = ("first_agent", "first_agent_id", "second_agent", "second_agent_id")
_NUMBERED = ("game_no", "pair_no", "attempt", "started_at", "status", "winner", "fault", *_AGENTS)
"""What says who played whom with which result. Texts of few kinds: ids of games, pairs and attempts are not read."""
_FEW_KINDS = ("status", "winner", "fault", *_AGENTS)


@dataclass(frozen=True, slots=True, kw_only=True)
class VoidGames:
    """Games that were tried and have no result, one entry each; shapes (void games,)."""

    first: NDArray[np.int32]
    """Index of the agent that has the move at the start position."""
    second: NDArray[np.int32]
    pair: NDArray[np.int64]
    """As in :class:`CountingGames`."""
    first_score: NDArray[np.float64]
    """What counting the latest attempt as a loss of the side at fault would give: 0, 1, or NaN where neither
    side was at fault."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CountingGames:
    """Every game with a result, in the order of the runs and their game numbers; shapes (games,)."""

    agents: tuple[str, ...]
    """Names, sorted. The same name with another content is another agent."""
    agent_ids: tuple[str, ...]
    """Content hashes, beside ``agents``."""
    void_attempts: NDArray[np.int64]
    """Per agent: void attempts it was at fault for; shape (agents,)."""
    first: NDArray[np.int32]
    """Index of the agent that has the move at the start position."""
    second: NDArray[np.int32]
    first_score: NDArray[np.float64]
    """1 for a win of ``first``, 0.5 for a draw, 0."""
    is_forfeit: NDArray[np.bool_]
    """Whether the loser lost by its own play."""
    pair: NDArray[np.int64]
    """Equal for the games of a pair, different across pairs and runs."""
    run: NDArray[np.int32]
    """Index of the run among those that were asked for."""
    game_no: NDArray[np.int64]
    """The game's number within its run."""
    void: VoidGames
    damaged: tuple[DamagedPart, ...]
    """Files that could not be read; their games are left out."""


def counting_games(store: GameStore, run_ids: Iterable[str]) -> CountingGames:
    """The counting games of the runs, and the void ones with their faults.

    Raises:
        UnknownRunError: no such run.
        StorageError: the store cannot be read.
    """
    numbering = AgentNumbering()
    return joined_runs([_read_run(store, run_id, numbering) for run_id in dict.fromkeys(run_ids)], numbering)


def joined_runs(runs: list[RunGames], numbering: AgentNumbering) -> CountingGames:
    """The games of all runs as columns.

    Raises:
        UnknownRunError: there is no run.
    """
    if not runs:
        raise UnknownRunError("no run was named")
    give_back_memory()
    agents = numbering.agents()
    places = numbering.places()
    games = _joined([run.games for run in runs], runs)
    void = _joined([run.void for run in runs], runs)
    at_fault = places[np.concatenate([run.at_fault for run in runs])]
    return CountingGames(
        agents=tuple(agent for agent, _ in agents),
        agent_ids=tuple(agent_id for _, agent_id in agents),
        void_attempts=np.bincount(at_fault, minlength=len(agents)).astype(np.int64),
        first=places[games.first],
        second=places[games.second],
        first_score=games.first_score,
        is_forfeit=games.is_forfeit,
        pair=games.pair,
        run=np.repeat(np.arange(len(runs), dtype=np.int32), [len(run.games.pair) for run in runs]),
        game_no=games.game_no,
        void=VoidGames(
            first=places[void.first], second=places[void.second], pair=void.pair, first_score=void.first_score
        ),
        damaged=tuple(part for run in runs for part in run.damaged),
    )


def give_back_memory() -> None:
    """Return what reading took to the system, which Arrow and the C library would keep beside what rating takes.

    For ten million games it is half a gibibyte each.
    """
    pa.default_memory_pool().release_unused()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)


class AgentNumbering:
    """Numbers agents (name and content) as they are met; :meth:`places` maps them to their sorted order."""

    def __init__(self) -> None:
        self._numbers: dict[tuple[str, str], int] = {}

    def number(self, table: pa.Table, side: str) -> NDArray[np.int32]:
        """Numbers of the side's agents, shape (rows,)."""
        names, distinct_names = categories(table[f"{side}_agent"])
        contents, distinct_contents = categories(table[f"{side}_agent_id"])
        kinds = max(len(distinct_contents), 1)
        met, where = distinct(joined(names, kinds, contents))
        numbers = [
            self._numbers.setdefault((distinct_names[name], distinct_contents[content]), len(self._numbers))
            for name, content in zip(*np.divmod(met, kinds), strict=True)
        ]
        numbered: NDArray[np.int32] = np.array(numbers, dtype=np.int32)[where]
        return numbered

    def numbered(self, table: pa.Table) -> pa.Table:
        """The table with numbers, ``first`` and ``second``, for the sides' agents."""
        for side in Side:
            number = pa.array(self.number(table, side))
            table = table.drop_columns([f"{side}_agent", f"{side}_agent_id"]).append_column(side, number)
        return table

    def met(self) -> tuple[tuple[str, str], ...]:
        """Names and contents by number."""
        return tuple(self._numbers)

    def agents(self) -> list[tuple[str, str]]:
        """Names and contents, sorted."""
        return sorted(self._numbers)

    def places(self) -> NDArray[np.int32]:
        """By number: the place among the sorted ones."""
        ranked = {agent: place for place, agent in enumerate(self.agents())}
        return np.array([ranked[agent] for agent in self._numbers], dtype=np.int32)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rows:
    """Games in the order of their numbers; agents as they were numbered. Shapes (games,)."""

    first: NDArray[np.int32]
    second: NDArray[np.int32]
    game_no: NDArray[np.int64]
    pair: NDArray[np.int64]
    first_score: NDArray[np.float64]
    is_forfeit: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunGames:
    """The games of one run, before it is known who else there is."""

    games: _Rows
    void: _Rows
    at_fault: NDArray[np.int32]
    damaged: tuple[DamagedPart, ...]


def _read_run(store: GameStore, run_id: str, numbering: AgentNumbering) -> RunGames:
    scanned = numbered_attempts(store, run_id)
    damaged = scanned.damaged
    attempts = numbering.numbered(scanned.table)
    del scanned
    void = void_games(attempts)
    counting = by_number(counting_rows(attempts))
    # Ten million attempts are half a gibibyte: they are let go of before as many columns are made.
    del attempts
    return run_games(counting, void, damaged)


@dataclass(frozen=True, slots=True, kw_only=True)
class VoidRows:
    """What void attempts say."""

    still: pa.Table
    """Of every game that has no result, the latest, by number."""
    at_fault: NDArray[np.int32]
    """Of every void attempt that somebody was at fault for, who."""


def void_games(attempts: pa.Table) -> VoidRows:
    """What :func:`run_games` is to know of void attempts.

    Args:
        attempts: those of :func:`numbered_attempts`, with numbers for agents.
    """
    void = attempts.filter(pa.array(says(attempts, "status", Status.VOID)))
    return VoidRows(
        still=by_number(still_void_rows(attempts)),
        at_fault=np.concatenate([void[side].to_numpy()[says(void, "fault", side)] for side in Side]),
    )


def run_games(counting: pa.Table, void: VoidRows, damaged: tuple[DamagedPart, ...]) -> RunGames:
    """What rating needs of a run.

    Args:
        counting: the attempts that count, by number.
        void: what the others say.
        damaged: which files are not in it.
    """
    return RunGames(
        games=_rows(counting, _score_by_winner),
        void=_rows(void.still, _score_by_fault),
        at_fault=void.at_fault,
        damaged=damaged,
    )


def by_number(games: pa.Table) -> pa.Table:
    """The rows in the order of their games' numbers."""
    numbers = _numbers(games, "game_no")
    return games.take(np.argsort(numbers, kind="stable")) if np.any(numbers[1:] < numbers[:-1]) else games


def numbered_attempts(store: GameStore, run_id: str, further: Collection[str] = (), few: Collection[str] = ()) -> Scan:
    """Every attempt at a game of the run with what says who played whom with which result, in no promised order.

    Args:
        store: where to read.
        run_id: which run.
        further: columns of the games to be read as well.
        few: those of them that are texts of few kinds, to come dictionary-encoded.
    """
    return ranked_attempts(store, run_id, (*_NUMBERED, *further), (*_FEW_KINDS, *few))


def _rows(games: pa.Table, score: Callable[[pa.Table], NDArray[np.float64]]) -> _Rows:
    return _Rows(
        first=games[Side.FIRST].to_numpy(),
        second=games[Side.SECOND].to_numpy(),
        game_no=_numbers(games, "game_no"),
        pair=_numbers(games, "pair_no"),
        first_score=score(games),
        is_forfeit=says(games, "status", Status.FORFEIT),
    )


def _joined(parts: list[_Rows], runs: list[RunGames]) -> _Rows:
    """The runs' games one run after the other, no pair reaching across."""
    if len(parts) == 1:
        return parts[0]
    spans = [_pair_span(run) for run in runs]
    before = np.cumsum([0, *(last + 1 - first for first, last in spans)])
    pairs = [part.pair + (shift - first) for part, shift, (first, _) in zip(parts, before, spans, strict=False)]
    return _Rows(
        first=np.concatenate([part.first for part in parts]),
        second=np.concatenate([part.second for part in parts]),
        game_no=np.concatenate([part.game_no for part in parts]),
        pair=np.concatenate(pairs),
        first_score=np.concatenate([part.first_score for part in parts]),
        is_forfeit=np.concatenate([part.is_forfeit for part in parts]),
    )


def _pair_span(run: RunGames) -> tuple[int, int]:
    """The least and the greatest number of a pair of the run."""
    ends = [(pair.min(), pair.max()) for pair in (run.games.pair, run.void.pair) if len(pair)]
    return (int(min(least for least, _ in ends)), int(max(most for _, most in ends))) if ends else (0, -1)


def _numbers(table: pa.Table, name: str) -> NDArray[np.int64]:
    numbers: NDArray[np.int64] = table[name].to_numpy()
    return numbers


def _score_by_winner(games: pa.Table) -> NDArray[np.float64]:
    return _by_side(games, "winner", first=1.0, second=0.0, neither=0.5)


def _score_by_fault(void: pa.Table) -> NDArray[np.float64]:
    return _by_side(void, "fault", first=0.0, second=1.0, neither=np.nan)


def _by_side(table: pa.Table, name: str, *, first: float, second: float, neither: float) -> NDArray[np.float64]:
    codes, words = categories(table[name])
    value = {Side.FIRST.value: first, Side.SECOND.value: second}
    return np.array([*(value[word] for word in words), neither])[codes]


@dataclass(frozen=True, slots=True, kw_only=True)
class IdenticalGroup:
    """Counting games with the same agents on the same sides that went exactly the same way."""

    first_agent: str
    second_agent: str
    games: int
    game_ids: tuple[str, ...]
    """Some of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IdenticalGames:
    """How much of what was played was played before: such games are no further evidence."""

    games: int
    """Counting games looked at."""
    repeats: int
    """Games that repeat an earlier one."""
    groups: int
    """Different games that were played more than once."""
    examples: tuple[IdenticalGroup, ...]
    """The largest groups, largest first."""


_WENT_THE_SAME_WAY = ("first", "second", "start", "moves_a", "moves_b")


def identical_games(store: GameStore, run_ids: Iterable[str], *, examples: int = 5) -> IdenticalGames:
    """Which counting games have the same agents and sides, the same start position and the same moves.

    Moves are compared by a 128-bit fingerprint, a few thousand games at a time: they are never all held.

    Args:
        store: where to read.
        run_ids: which runs; games are compared across them.
        examples: how many groups to name, and how many games of each.

    Raises:
        UnknownRunError: no such run.
    """
    numbering = AgentNumbering()
    runs = [_read_courses(store, run_id, numbering) for run_id in dict.fromkeys(run_ids)]
    if not runs:
        raise UnknownRunError("no run was named")
    courses = pa.concat_tables(runs)
    sizes = courses.group_by(list(_WENT_THE_SAME_WAY), use_threads=False).aggregate([("game_id", "count")])
    repeated = sizes.filter(_numbers(sizes, "game_id_count") > 1)
    largest = repeated.sort_by([("game_id_count", "descending")]).slice(0, examples)
    names = [agent for agent, _ in numbering.met()]
    return IdenticalGames(
        games=courses.num_rows,
        repeats=courses.num_rows - sizes.num_rows,
        groups=repeated.num_rows,
        examples=tuple(
            IdenticalGroup(
                first_agent=names[group["first"]],
                second_agent=names[group["second"]],
                games=group["game_id_count"],
                game_ids=_ids_like(courses, group, examples),
            )
            for group in largest.to_pylist()
        ),
    )


def game_courses(store: GameStore, run_id: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """How every counting game of a run went: a fingerprint of its start position and moves.

    Returns:
        The games' numbers within the run, ascending, and the fingerprints, 64 bits each, beside them.
    """
    needed = (*RANKING_COLUMNS, "start_position", "moves")
    rows = counting_rows(store.games(run_id, needed, reduce=_with_fingerprints).table).sort_by("game_no")
    start, moves_a, moves_b = (rows[name].to_numpy() for name in ("start", "moves_a", "moves_b"))
    return _numbers(rows, "game_no"), (_mixed(start + moves_a) ^ moves_b).view(np.int64)


def _read_courses(store: GameStore, run_id: str, numbering: AgentNumbering) -> pa.Table:
    needed = (*RANKING_COLUMNS, "game_id", *_AGENTS, "start_position", "moves")
    rows = counting_rows(store.games(run_id, needed, reduce=_with_fingerprints).table).sort_by("game_no")
    columns: dict[str, Any] = {
        "game_id": rows["game_id"],
        "first": numbering.number(rows, Side.FIRST),
        "second": numbering.number(rows, Side.SECOND),
        "start": rows["start"],
        "moves_a": rows["moves_a"],
        "moves_b": rows["moves_b"],
    }
    return pa.table(columns)


def _ids_like(courses: pa.Table, group: Mapping[str, Any], most: int) -> tuple[str, ...]:
    is_alike = np.logical_and.reduce([_numbers(courses, name) == group[name] for name in _WENT_THE_SAME_WAY])
    return tuple(map(str, courses["game_id"].take(np.flatnonzero(is_alike)[:most]).to_pylist()))


def _with_fingerprints(piece: pa.Table) -> pa.Table:
    start, distinct_starts = categories(piece["start_position"])
    moves_a, moves_b = _fingerprints(piece["moves"].combine_chunks())
    return (
        with_categories(piece.drop_columns(["start_position", "moves"]), {*_AGENTS} & {*piece.column_names})
        .append_column("start", pa.array(_word_hashes(distinct_starts)[0][start]))
        .append_column("moves_a", pa.array(moves_a))
        .append_column("moves_b", pa.array(moves_b))
    )


def _fingerprints(moves: Any) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:  # noqa: ANN401 - a ListArray
    """Two independent hashes of every list of words; the same in every file, run and process."""
    lengths = moves.value_lengths().to_numpy(zero_copy_only=False).astype(np.int64)
    ends = np.cumsum(lengths)
    words, distinct = categories(pa.chunked_array([moves.flatten().fill_null("")]))
    plies = np.arange(len(words)) - np.repeat(ends - lengths, lengths)
    positions = _GOLDEN * plies.astype(np.uint64)
    hashes_a, hashes_b = _word_hashes(distinct)
    return (
        _summed(_mixed(hashes_a[words] + positions), ends - lengths, ends),
        _summed(_mixed(hashes_b[words] + positions), ends - lengths, ends),
    )


def _word_hashes(words: list[str]) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    digests = b"".join(hashlib.blake2b(word.encode(), digest_size=16).digest() for word in words)
    both = np.frombuffer(digests, dtype="<u8").reshape(-1, 2)
    return both[:, 0], both[:, 1]


_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def _mixed(numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of SplitMix64 (Steele, Lea, Flood 2014): every bit depends on every bit."""
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return numbers ^ (numbers >> np.uint64(31))


def _summed(numbers: NDArray[np.uint64], starts: NDArray[np.int64], ends: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Sums, modulo 2**64, over ``numbers[start:end]``."""
    sums = np.concatenate([np.zeros(1, dtype=np.uint64), np.cumsum(numbers, dtype=np.uint64)])
    between: NDArray[np.uint64] = sums[ends] - sums[starts]
    return between
