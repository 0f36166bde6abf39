"""Two invocations that raced have both recorded a result of one game: one counts, the other is moved out of the way.

What loses is written to the dataset ``raced`` before it is left out of ``games``: killed in between, it is in
both. Which one counts is asked of :func:`storage.ledger.counting_rows`, as everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from banzuke.errors import CorruptPartError, GameAlreadyRecordedError
from banzuke.outcome import Status
from storage.damage import set_aside_if_damaged
from storage.layout import games_folder, raced_folder
from storage.ledger import RANKING_COLUMNS, counting_rows
from storage.parts import each_attempt_once, open_part, part_name, part_names, scan, to_parquet
from storage.schemas import GAMES

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from storage.atomic import Files
    from storage.parts import DamagedPart


@dataclass(frozen=True, slots=True, kw_only=True)
class Races:
    """Which results lost, and where they still are."""

    losers: pa.Array[Any]
    """Their attempt ids; every one of them is in the dataset ``raced``."""
    holding: frozenset[str]
    """Plain names of the files of ``games`` that hold any of them."""
    set_aside: tuple[DamagedPart, ...]
    """Files that had a say in it, and turned out to be damaged."""

    def without_losers(self, attempts: pa.Table) -> pa.Table:
        """The rows that stay in ``games``."""
        if not len(self.losers):
            return attempts
        return attempts.filter(pc.invert(pc.is_in(attempts["attempt_id"], value_set=self.losers)))


def settle(files: Files, run_id: str) -> Races:
    """Copy every result that lost a race to ``raced``; to leave it out of ``games`` is up to the caller.

    Files that a later version has written, with further columns, are never taken apart: a result that lost there
    stays there. A file whose row may win is read whole first, so that nobody loses against a row that cannot
    be read.

    Raises:
        StorageError: a file cannot be read or written.
    """
    folder = games_folder(run_id)
    numbers = {name: _result_numbers(files, f"{folder}/{name}") for name in part_names(files, folder)}
    contested = _occurring_again(numbers.values())
    if not len(contested):
        return _no_race(())
    concerned = [name for name, found in numbers.items() if np.isin(found, contested).any()]
    del numbers
    checked = {name: set_aside_if_damaged(files, f"{folder}/{name}", GAMES, run_id) for name in concerned}
    set_aside = tuple(damaged for damaged in checked.values() if damaged is not None)
    sound = [name for name, damaged in checked.items() if damaged is None]
    rows = {name: _results_of(files, run_id, name, contested) for name in sound}
    losers = _beaten([found for found in rows.values() if found is not None])
    lost = {
        name: _held_by(files, run_id, name, losers)
        for name, found in rows.items()
        if found is not None and pc.any(pc.is_in(found["attempt_id"], value_set=losers), min_count=0).as_py()
    }
    holding = {name: found for name, found in lost.items() if found is not None}
    if not holding:
        return _no_race(set_aside)
    moved = each_attempt_once(pa.concat_tables(holding.values()))
    _keep(files, run_id, moved)
    return Races(losers=moved["attempt_id"].combine_chunks(), holding=frozenset(holding), set_aside=set_aside)


def raced_attempts(files: Files, run_id: str) -> pa.ChunkedArray[Any]:
    """Ids of the attempts that can be read in ``raced``, every column of them."""
    return scan(files, raced_folder(run_id), GAMES, run_id=run_id).table["attempt_id"]


def _no_race(set_aside: tuple[DamagedPart, ...]) -> Races:
    return Races(losers=pa.array([], pa.string()), holding=frozenset(), set_aside=set_aside)


def _result_numbers(files: Files, name: str) -> NDArray[np.int64]:
    try:
        with open_part(files, name, GAMES) as part:
            return part.result_numbers()
    except (CorruptPartError, FileNotFoundError):
        return np.empty(0, np.int64)


def _occurring_again(numbers: Iterable[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Those that are there more than once."""
    together = np.concatenate([np.empty(0, np.int64), *numbers])
    together.sort()
    return np.unique(together[1:][together[1:] == together[:-1]])


def _results_of(files: Files, run_id: str, name: str, game_numbers: NDArray[np.int64]) -> pa.Table | None:
    """What ranks the file's results of those games; None if another compaction has replaced the file meanwhile."""
    try:
        with open_part(files, f"{games_folder(run_id)}/{name}", GAMES) as part:
            rows = part.read(RANKING_COLUMNS, run_id=run_id)
    except (CorruptPartError, FileNotFoundError):
        return None
    is_meant = pc.is_in(rows["game_no"], value_set=pa.array(game_numbers))
    return rows.filter(pc.and_(is_meant, pc.not_equal(rows["status"], pa.scalar(Status.VOID.value))))


def _beaten(rows: Sequence[pa.Table]) -> pa.Array[Any]:
    """Ids of the attempts that do not count."""
    if not rows:
        return pa.array([], pa.string())
    results = each_attempt_once(pa.concat_tables(rows))
    counting = counting_rows(results)["attempt_id"].combine_chunks()
    attempts = results["attempt_id"].combine_chunks()
    return attempts.filter(pc.invert(pc.is_in(attempts, value_set=counting)))


def _held_by(files: Files, run_id: str, name: str, attempts: pa.Array[Any]) -> pa.Table | None:
    """Those attempts, as far as they can be taken out of the file without losing columns unknown here."""
    try:
        with open_part(files, f"{games_folder(run_id)}/{name}", GAMES) as part:
            if part.has_further_columns:
                return None
            rows = part.read(GAMES.names, run_id=run_id)
    except FileNotFoundError:
        return None
    return rows.filter(pc.is_in(rows["attempt_id"], value_set=attempts))


def _keep(files: Files, run_id: str, losers: pa.Table) -> None:
    kept = raced_attempts(files, run_id).combine_chunks()
    fresh = losers.filter(pc.invert(pc.is_in(losers["attempt_id"], value_set=kept)))
    if not fresh.num_rows:
        return
    ordered = fresh.sort_by([("game_no", "ascending"), ("attempt", "ascending"), ("attempt_id", "ascending")])
    name, payload = f"{raced_folder(run_id)}/{part_name(ordered)}", to_parquet(ordered)
    try:
        files.publish(name, payload)
    except GameAlreadyRecordedError:
        # It was there and was not read: damaged, or published this moment by somebody who had the same to do.
        if set_aside_if_damaged(files, name, GAMES, run_id) is not None:
            files.publish(name, payload)
