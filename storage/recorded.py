"""Whole games, one after the other in the order of their numbers, however many a run has."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from banzuke.record import GameRecord
from storage.ledger import Ledger, counting_rows, still_void_rows
from storage.schemas import to_rows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from storage.game_store import GameStore

_ROWS_AT_ONCE = 20_000
"""As many as a stretch of a merged file has, which is read as a whole: some fifty megabytes."""
_VALUES_AT_ONCE = 500
"""As Python's own values, the same games are ten times as large."""


def counting_games_of(store: GameStore, run_id: str, *, voids: bool = False) -> Iterator[GameRecord]:
    """Every game of a run with a result, the counting attempt of each, by number.

    Args:
        store: where to read.
        run_id: which run.
        voids: whether games that were tried and have no result come too, each as its latest attempt.

    Raises:
        UnknownRunError: no such run.
        StorageError: the store cannot be read.
    """
    ledger = Ledger(store, run_id)
    numbers = ledger.result_numbers()
    if voids:
        numbers = np.concatenate([numbers, ledger.void_numbers()])
    numbers = np.sort(numbers)
    for begin in range(0, len(numbers), _ROWS_AT_ONCE):
        yield from _records(store, run_id, numbers[begin : begin + _ROWS_AT_ONCE], voids=voids)


def _records(store: GameStore, run_id: str, numbers: NDArray[np.int64], *, voids: bool) -> Iterator[GameRecord]:
    stretch = range(int(numbers[0]), int(numbers[-1]) + 1)
    wanted = pa.array(numbers)

    def only_wanted(rows: pa.Table) -> pa.Table:
        return rows.filter(pc.is_in(rows["game_no"], value_set=wanted))

    # Of a row met in a part and in the file it was merged into, one is taken below.
    found = store.games(run_id, reduce=only_wanted, each_once=False, numbers=stretch).table
    rows = counting_rows(found)
    if voids:
        rows = pa.concat_tables([rows, still_void_rows(found)])
    rows = rows.sort_by("game_no")
    for begin in range(0, rows.num_rows, _VALUES_AT_ONCE):
        yield from to_rows(rows.slice(begin, _VALUES_AT_ONCE), GameRecord)
