"""The attempts of a run that its page lists, as columns of numbers."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from banzuke.outcome import Status
from storage.categories import categories, category_codes
from storage.ledger import RANKING_COLUMNS, counting_rows, says

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from storage.game_store import GameStore

MOST_LISTED = 200_000
"""Attempts: of larger runs every n-th pair is listed, which a browser sorts and filters in a blink."""
UNREADABLE = 0xFFFF
"""In place of a move that no text of USI stands for."""
FIRST_DROP = 81
"""A dropped piece comes from here on, by its kind: 82 is a pawn."""
KINDS = " PLNSGBRK"
NO_EVAL = -32_768
MOST_EVAL = 32_767
LONGEST_DETAIL = 300

_FEW = ("game", "status", "termination", "winner", "fault", "first_agent", "second_agent", "opening_id")
_NUMBERS = ("game_no", "pair_no", "attempt", "opening_plies", "plies", "first_time_ms", "second_time_ms")
_PLIES = ("moves", "move_times_ms", "evals")
_COLUMNS = (*_NUMBERS, *_FEW, "start_position", "started_at", "attempt_id", "detail", *_PLIES)
_MOVE = re.compile(r"(?:([1-9])([a-i])|([PLNSGBR])\*)([1-9])([a-i])(\+?)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Kinds:
    """A column of texts of few kinds."""

    index: NDArray[np.int32]
    """(rows,) into ``texts``; -1 for none."""
    texts: list[str]

    def says(self, text: str) -> NDArray[np.bool_]:
        """(rows,) where it is this one."""
        place = self.texts.index(text) if text in self.texts else -2
        return np.asarray(self.index == place)

    def of(self, rows: NDArray[Any]) -> Kinds:
        """Those of some rows, and the texts that stand in them."""
        return kinds_of(self.index[rows], self.texts)


def kinds_of(index: NDArray[np.integer], texts: list[str]) -> Kinds:
    """Without the texts that no row has."""
    used, place = np.unique(index, return_inverse=True)
    is_known = used >= 0
    return Kinds(
        index=(place - np.count_nonzero(~is_known)).astype(np.int32),
        texts=[texts[number] for number in used[is_known].tolist()],
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedGames:
    """Every result and every void attempt, by number and attempt."""

    every: int
    """Of the run's pairs every so many-th is here."""
    numbers: dict[str, NDArray[np.int64]]
    """By column, (rows,): ``game_no``, ``pair_no``, ``attempt``, ``opening_plies``, ``plies``, ``first_time_ms``,
    ``second_time_ms``, and ``started_at`` in seconds of the epoch."""
    kinds: dict[str, Kinds]
    """By column: ``game``, ``status``, ``termination``, ``winner``, ``fault``, ``first_agent``, ``second_agent``,
    ``opening_id``, ``start_position``, ``detail``."""
    starts: NDArray[np.int64]
    """(rows + 1,) where the plies of a row begin, and where the last one's end."""
    moves: NDArray[np.uint16]
    """(plies,) to | from << 7 | promotes << 14; squares are 0 to 80 from 9a over 8a and 9b to 1i."""
    times_ms: NDArray[np.int32]
    """(plies,)"""
    has_times: NDArray[np.bool_]
    """(rows,) whether there is one for every ply."""
    evals: NDArray[np.int16]
    """(plies,) the mover's own, in centipawns; :data:`NO_EVAL` where it said nothing."""

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def lengths(self) -> NDArray[np.int64]:
        """(rows,) in plies."""
        lengths: NDArray[np.int64] = np.diff(self.starts)
        return lengths

    @property
    def pairs(self) -> int:
        """How many there are, whole or not."""
        return len(np.unique(self.numbers["pair_no"]))

    def of(self, rows: NDArray[np.int64]) -> ListedGames:
        """Some rows, ascending."""
        plies = plies_of(self.starts, rows)
        return ListedGames(
            every=self.every,
            numbers={name: column[rows] for name, column in self.numbers.items()},
            kinds={name: column.of(rows) for name, column in self.kinds.items()},
            starts=np.append(0, np.cumsum(self.lengths[rows])),
            moves=self.moves[plies],
            times_ms=self.times_ms[plies],
            has_times=self.has_times[rows],
            evals=self.evals[plies],
        )


def plies_of(starts: NDArray[np.int64], rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Indices of the plies of some rows, row by row."""
    lengths = starts[rows + 1] - starts[rows]
    ends = np.cumsum(lengths)
    total = int(ends[-1]) if len(ends) else 0
    plies: NDArray[np.int64] = np.arange(total, dtype=np.int64) + np.repeat(starts[rows] - (ends - lengths), lengths)
    return plies


def listed_games(store: GameStore, run_id: str, *, most: int = MOST_LISTED) -> ListedGames:
    """The results and void attempts of a run, with their moves.

    Args:
        store: where to read.
        run_id: which run.
        most: attempts; of a larger run as many pairs are left out, evenly, as it takes.

    Raises:
        UnknownRunError: no such run.
        StorageError: the store cannot be read.
    """
    attempts = store.games(run_id, ["game_no"], each_once=False).table.num_rows
    every = max(1, -(-attempts // most))
    scanned = store.games(
        run_id, _COLUMNS, reduce=_reduction(every), encoded=(*_FEW, "start_position"), each_once=False
    ).table
    shown = scanned.take(_shown(scanned.select([*RANKING_COLUMNS])))
    del scanned
    return _as_columns(shown, every)


def _shown(attempts: pa.Table) -> NDArray[np.int64]:
    """Indices of the results that count and of the void attempts, each attempt once, by number and attempt."""
    _, once = np.unique(category_codes(attempts["attempt_id"]), return_index=True)
    rows = attempts.take(once).append_column("row", pa.array(once))
    is_void = says(rows, "status", Status.VOID)
    shown = pa.concat_tables([counting_rows(rows), rows.filter(pa.array(is_void))])
    ordered: NDArray[np.int64] = shown.sort_by([("game_no", "ascending"), ("attempt", "ascending")])["row"].to_numpy()
    return ordered


def _reduction(every: int) -> Callable[[pa.Table], pa.Table]:
    """Moves take two bytes each in memory, not a text."""

    def reduce(piece: pa.Table) -> pa.Table:
        if every > 1:
            piece = piece.filter(pa.array(piece["pair_no"].to_numpy() % every == 0))
        reduced = {
            "moves": _as_numbers(piece["moves"].combine_chunks()),
            "evals": _clipped(piece["evals"].combine_chunks()),
            "detail": pc.utf8_slice_codeunits(piece["detail"], 0, LONGEST_DETAIL),
        }
        for name, column in reduced.items():
            piece = piece.set_column(piece.column_names.index(name), name, column)
        return piece

    return reduce


def _clipped(evals: Any) -> Any:  # noqa: ANN401 - ListArrays
    scores = pc.fill_null(evals.flatten(), NO_EVAL).to_numpy(zero_copy_only=False)
    within = np.where(scores == NO_EVAL, NO_EVAL, np.clip(scores, -MOST_EVAL, MOST_EVAL)).astype(np.int16)
    return pa.ListArray.from_arrays(_offsets(evals), pa.array(within))


def _offsets(lists: Any) -> Any:  # noqa: ANN401 - ListArrays
    ends = np.cumsum(pc.fill_null(lists.value_lengths(), 0).to_numpy(zero_copy_only=False), dtype=np.int32)
    return pa.array(np.append(np.int32(0), ends), pa.int32())


def _as_numbers(moves: Any) -> Any:  # noqa: ANN401 - ListArrays
    index, words = categories(pa.chunked_array([moves.flatten().fill_null("")]))
    numbers = np.array([*map(_number, words), UNREADABLE], dtype=np.uint16)[index]
    return pa.ListArray.from_arrays(_offsets(moves), pa.array(numbers))


def _number(word: str) -> int:
    found = _MOVE.fullmatch(word)
    if found is None:
        return UNREADABLE
    file, rank, dropped, to_file, to_rank, promotes = found.groups()
    to = _square(to_file, to_rank)
    origin = FIRST_DROP + KINDS.index(dropped) if dropped else _square(file, rank)
    return UNREADABLE if dropped and promotes else to | origin << 7 | bool(promotes) << 14


def _square(file: str, rank: str) -> int:
    return 9 * "abcdefghi".index(rank) + 9 - int(file)


def _as_columns(rows: pa.Table, every: int) -> ListedGames:
    numbers = {name: rows[name].to_numpy().astype(np.int64) for name in _NUMBERS}
    started: Any = pc.cast(rows["started_at"], pa.int64())
    numbers["started_at"] = started.to_numpy() // 1_000_000
    lengths, moves = _flat(rows["moves"])
    has_times, times = _beside(rows["move_times_ms"], lengths, 0)
    _, evals = _beside(rows["evals"], lengths, NO_EVAL)
    return ListedGames(
        every=every,
        numbers=numbers,
        kinds={name: kinds_of(*categories(rows[name])) for name in (*_FEW, "start_position", "detail")},
        starts=np.append(0, np.cumsum(lengths)).astype(np.int64),
        moves=moves.astype(np.uint16, copy=False),
        times_ms=times.astype(np.int32, copy=False),
        has_times=has_times,
        evals=evals.astype(np.int16, copy=False),
    )


def _flat(lists: Any) -> tuple[NDArray[np.int64], NDArray[Any]]:  # noqa: ANN401 - chunked lists
    """(rows,) lengths, and the values one after the other."""
    whole = lists.combine_chunks()
    lengths = pc.fill_null(whole.value_lengths(), 0).to_numpy(zero_copy_only=False)
    return np.asarray(lengths, dtype=np.int64), pc.fill_null(whole.flatten(), 0).to_numpy(zero_copy_only=False)


def _beside(
    lists: Any,  # noqa: ANN401 - chunked lists
    plies: NDArray[np.int64],
    nothing: int,
) -> tuple[NDArray[np.bool_], NDArray[Any]]:
    """(rows,) which lists have a value for every ply, and the values, (plies,), of those that have."""
    lengths, values = _flat(lists)
    fits = lengths == plies
    if fits.all():
        return fits, values
    kept = np.full(int(plies.sum()), nothing, dtype=values.dtype)
    kept[np.repeat(fits, plies)] = values[np.repeat(fits, lengths)]
    return fits, kept
