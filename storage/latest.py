"""Which games ended last, and when how many did, without holding what a run has of games."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.compute as pc

from banzuke.outcome import Status
from storage.ledger import says

if TYPE_CHECKING:
    import pyarrow as pa

    from storage.game_store import GameStore

_COLUMNS = (
    "game_id",
    "attempt",
    "attempt_id",
    "first_agent",
    "second_agent",
    "status",
    "termination",
    "winner",
    "fault",
    "detail",
    "plies",
    "finished_at",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedGame:
    """An attempt that is recorded, with or without a result; fields as in ``banzuke.record.GameRecord``."""

    game_id: str
    attempt: int
    first_agent: str
    second_agent: str
    status: str
    termination: str
    winner: str | None
    fault: str | None
    detail: str | None
    plies: int
    finished_at: datetime


def latest_games(store: GameStore, run_id: str, number: int) -> tuple[EndedGame, ...]:
    """The attempts that ended last, the last first.

    Raises:
        UnknownRunError: no such run.
        StorageError: the store cannot be read.
    """

    def newest(rows: pa.Table) -> pa.Table:
        return rows.sort_by([("finished_at", "descending"), ("attempt_id", "ascending")]).slice(0, 2 * number)

    # Twice as many: while a compaction goes on, a row may be met in a part and in the file it was merged into.
    rows = newest(store.games(run_id, _COLUMNS, reduce=newest, each_once=False).table)
    found = {row.pop("attempt_id"): row for row in rows.to_pylist()}
    return tuple(EndedGame(**row) for row in list(found.values())[:number])


def results_since(store: GameStore, run_id: str, since: datetime) -> tuple[int, datetime | None]:
    """How many games with a result ended since then, and when the last did; None for none.

    Raises:
        UnknownRunError: no such run.
        StorageError: the store cannot be read.
    """

    def with_result(rows: pa.Table) -> pa.Table:
        return rows.filter(~says(rows, "status", Status.VOID)).select(["finished_at"])

    ends = store.games(run_id, ("finished_at", "status"), reduce=with_result, each_once=False).table["finished_at"]
    # Times are UTC in the store, and numpy's know no zone.
    recent = ends.to_numpy() >= np.datetime64(since.astimezone(UTC).replace(tzinfo=None))
    number = int(np.count_nonzero(recent))
    return number, pc.max(ends).as_py() if number else None
