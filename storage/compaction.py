"""Making few files of many, so that nothing is lost and no row counted twice whenever it is interrupted.

A merged file holds every row of the files it names in its metadata. It is published whole before the first of
them is deleted, and a file is deleted only when a published one that holds its rows names it. Killed

* before publication, compaction leaves a temporary file (swept by the next one) and every part;
* after it, parts whose rows are also in the merged file: readers take every attempt once, and whoever comes
  next deletes them.

Files are merged up to :data:`FULL_FILE_ROWS` rows and then left alone: compacting a run again and again
while it is played rewrites a bounded number of rows each time, and holds no more than that in memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from banzuke.errors import CorruptPartError
from storage.layout import compaction_lock, games_folder
from storage.parts import (
    DamagedPart,
    PartFile,
    damaged_part,
    each_attempt_once,
    is_merged,
    merged_name,
    open_part,
    part_names,
    to_parquet,
)
from storage.schemas import GAMES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from storage.atomic import Files

FULL_FILE_ROWS = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Compaction:
    """What a call of :func:`compact` did."""

    merged: int
    """Files that were replaced."""
    rows: int
    """Rows in the files written."""
    damaged: tuple[DamagedPart, ...]
    """Files left where they are because they cannot be read."""
    is_busy: bool
    """Somebody else is compacting this run; nothing was done."""


def compact(files: Files, run_id: str) -> Compaction:
    """Merge the run's parts, after finishing what an earlier compaction left undone.

    Raises:
        StorageError: a file cannot be written or deleted; what is recorded stays readable.
    """
    folder = games_folder(run_id)
    if not part_names(files, folder):
        return Compaction(merged=0, rows=0, damaged=(), is_busy=False)
    with files.exclusive(compaction_lock(run_id)) as is_ours:
        if not is_ours:
            return Compaction(merged=0, rows=0, damaged=(), is_busy=True)
        files.sweep(folder)
        _delete_leftovers(files, folder)
        return _merge(files, folder, run_id)


def finish_interrupted(files: Files, run_id: str) -> None:
    """Delete the parts an interrupted compaction has merged but not deleted, unless one is at work now.

    Raises:
        StorageError: a file cannot be read or deleted.
    """
    folder = games_folder(run_id)
    if not any(is_merged(name) for name in part_names(files, folder)):
        return
    with files.exclusive(compaction_lock(run_id)) as is_ours:
        if is_ours:
            files.sweep(folder)
            _delete_leftovers(files, folder)


def _delete_leftovers(files: Files, folder: str) -> None:
    present = set(part_names(files, folder))
    for name in sorted(filter(is_merged, present)):
        try:
            with open_part(files, f"{folder}/{name}", GAMES) as merged:
                leftovers = sorted(present.intersection(merged.merged_from) - {name})
                held = merged.attempt_ids() if leftovers else None
        except (CorruptPartError, FileNotFoundError):
            continue
        for leftover in leftovers:
            if held is not None and _holds_all_of(files, f"{folder}/{leftover}", held):
                files.delete(f"{folder}/{leftover}")
                present.discard(leftover)


def _holds_all_of(files: Files, name: str, held: pa.ChunkedArray[Any]) -> bool:
    """Whether every attempt of the file is among ``held``: a list of names is a claim, not a proof."""
    try:
        with open_part(files, name, GAMES) as part:
            return bool(pc.all(pc.is_in(part.attempt_ids(), value_set=held), min_count=0).as_py())
    except (CorruptPartError, FileNotFoundError):
        return False


def _merge(files: Files, folder: str, run_id: str) -> Compaction:
    damaged: list[DamagedPart] = []
    merged = rows = waiting = 0
    batch: dict[str, pa.Table] = {}
    for name in part_names(files, folder):
        try:
            with open_part(files, f"{folder}/{name}", GAMES) as part:
                if not _may_be_merged(name, part):
                    continue
                batch[name] = part.read(GAMES.names, run_id=run_id)
        except FileNotFoundError:
            continue
        except CorruptPartError as error:
            damaged.append(damaged_part(files, f"{folder}/{name}", error))
            continue
        waiting += batch[name].num_rows
        if waiting >= FULL_FILE_ROWS:
            rows += _replace(files, folder, batch)
            merged += len(batch)
            batch, waiting = {}, 0
    if len(batch) > 1:
        rows += _replace(files, folder, batch)
        merged += len(batch)
    return Compaction(merged=merged, rows=rows, damaged=tuple(damaged), is_busy=False)


def _may_be_merged(name: str, part: PartFile) -> bool:
    # A newer version's further columns would be lost by this one.
    return not part.has_further_columns and not (is_merged(name) and part.rows >= FULL_FILE_ROWS)


def _replace(files: Files, folder: str, batch: Mapping[str, pa.Table]) -> int:
    """Publish one file in place of the batch's; how many rows it has."""
    attempts = each_attempt_once(pa.concat_tables(batch.values()))
    ordered = attempts.sort_by([("game_no", "ascending"), ("attempt", "ascending"), ("attempt_id", "ascending")])
    payload = to_parquet(ordered, merged_from=tuple(batch))
    files.publish(f"{folder}/{merged_name(attempts)}", payload)
    for name in batch:
        files.delete(f"{folder}/{name}")
    return attempts.num_rows
