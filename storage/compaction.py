"""Making few files of many, so that nothing is lost and no row counted twice whenever it is interrupted.

A merged file holds every row of the files it names in its metadata, but for results that lost a race: those are
in the dataset ``raced`` before it is published. It is published whole before the first of those files is deleted,
and a file is deleted only when sound ones are there that hold its rows. Killed

* before publication, compaction leaves a temporary file (swept by the next one) and every part;
* after it, parts whose rows are also in the merged file: readers take every attempt once, and whoever comes
  next deletes them.

Files are merged up to :data:`FULL_FILE_ROWS` rows and then left alone: compacting a run again and again
while it is played rewrites a bounded number of rows each time, and holds no more than that in memory, beside
eight bytes per result of the run. Of very many parts some hundred at a time are merged first, and what comes of them
is merged again: a list of all their names would be in the footer that every reader reads.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from banzuke.errors import CorruptPartError
from storage.damage import set_aside_damaged, set_aside_if_damaged
from storage.layout import compaction_lock, evaluations_folder, games_folder, raced_folder
from storage.parts import (
    DamagedPart,
    PartFile,
    damaged_part,
    diagnosis,
    each_attempt_once,
    is_merged,
    merged_name,
    open_part,
    part_names,
    to_parquet,
)
from storage.races import Races, raced_attempts, settle
from storage.schemas import EVALUATIONS, GAMES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from storage.atomic import Files

FULL_FILE_ROWS = 100_000
MOST_NAMES = 256
"""Files that one merged file is made of, and names in its footer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compaction:
    """What a call of :func:`compact` did."""

    merged: int
    """Files that were replaced."""
    rows: int
    """Rows in the files written."""
    damaged: tuple[DamagedPart, ...] = ()
    """Files left where they are although they cannot be read: those of a later version, or for want of memory."""
    is_busy: bool = False
    """Somebody else is compacting this run; nothing was done."""
    set_aside: tuple[DamagedPart, ...] = ()
    """Damaged files that were moved out of their dataset, under the path they have now."""
    raced: int = 0
    """Results that lost a race, and were moved to the dataset ``raced``."""


def compact(files: Files, run_id: str, *, thorough: bool = True) -> Compaction:
    """Merge the run's parts, after finishing what an earlier compaction left undone.

    Args:
        files: the store.
        run_id: which run.
        thorough: whether every file is read whole, to find damage; else only those that are merged.

    Raises:
        StorageError: a file cannot be read (for another reason than damage), written, moved or deleted; what
            is recorded stays readable.
    """
    datasets = {games_folder(run_id): GAMES, evaluations_folder(run_id): EVALUATIONS, raced_folder(run_id): GAMES}
    if not any(part_names(files, folder) for folder in datasets):
        return Compaction(merged=0, rows=0)
    with files.exclusive(compaction_lock(run_id)) as is_ours:
        if not is_ours:
            return Compaction(merged=0, rows=0, is_busy=True)
        for folder in datasets:
            files.sweep(folder)
        set_aside: list[DamagedPart] = []
        if thorough:
            for folder, schema in datasets.items():
                set_aside.extend(set_aside_damaged(files, folder, schema, run_id))
        _delete_leftovers(files, run_id)
        races = settle(files, run_id)
        set_aside.extend(races.set_aside)
        damaged: list[DamagedPart] = []
        merged = rows = 0
        while True:
            count, written, goes_on = _merge(files, run_id, races, set_aside, damaged)
            merged, rows = merged + count, rows + written
            if not goes_on:
                break
        # A file that cannot be read is met in every pass.
        return Compaction(
            merged=merged,
            rows=rows,
            damaged=tuple(dict.fromkeys(damaged)),
            set_aside=tuple(set_aside),
            raced=len(races.losers),
        )


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
            _delete_leftovers(files, run_id)


def _delete_leftovers(files: Files, run_id: str) -> None:
    folder = games_folder(run_id)
    present = set(part_names(files, folder))
    for name in sorted(filter(is_merged, present)):
        try:
            with open_part(files, f"{folder}/{name}", GAMES) as merged:
                leftovers = sorted(present.intersection(merged.merged_from) - {name})
                held = merged.attempt_ids() if leftovers else None
            if held is None or diagnosis(files, f"{folder}/{name}", GAMES, run_id=run_id) is not None:
                continue
        except (CorruptPartError, FileNotFoundError):
            continue
        safe = pa.chunked_array([*held.chunks, *raced_attempts(files, run_id).chunks], pa.string()).combine_chunks()
        for leftover in leftovers:
            if _holds_all_of(files, f"{folder}/{leftover}", safe):
                files.delete(f"{folder}/{leftover}")
                present.discard(leftover)


def _holds_all_of(files: Files, name: str, held: pa.Array[Any]) -> bool:
    """Whether every attempt of the file is among ``held``: a list of names is a claim, not a proof."""
    try:
        with open_part(files, name, GAMES) as part:
            return bool(pc.all(pc.is_in(part.attempt_ids(), value_set=held), min_count=0).as_py())
    except (CorruptPartError, FileNotFoundError):
        return False


def _merge(
    files: Files, run_id: str, races: Races, set_aside: list[DamagedPart], damaged: list[DamagedPart]
) -> tuple[int, int, bool]:
    """One pass over the run's files: how many were merged, rows written, and whether there is more to merge now."""
    folder = games_folder(run_id)
    merged = rows = waiting = unfinished = 0
    batch: dict[str, pa.Table] = {}
    for name in part_names(files, folder):
        try:
            with open_part(files, f"{folder}/{name}", GAMES) as part:
                if name not in races.holding and not _may_be_merged(name, part):
                    continue
                batch[name] = races.without_losers(part.read(GAMES.names, run_id=run_id))
        except FileNotFoundError:
            continue
        except CorruptPartError as error:
            _sort_out(files, run_id, name, error, set_aside, damaged)
            continue
        waiting += batch[name].num_rows
        is_full = waiting >= FULL_FILE_ROWS
        if is_full or len(batch) >= MOST_NAMES:
            rows += _replace(files, folder, batch)
            merged += len(batch)
            unfinished += not is_full
            batch, waiting = {}, 0
    if len(batch) > 1 or not races.holding.isdisjoint(batch):
        rows += _replace(files, folder, batch)
        merged += len(batch)
        unfinished += 1
    else:
        unfinished += len(batch)
    return merged, rows, unfinished > 1


def _sort_out(
    files: Files,
    run_id: str,
    name: str,
    error: CorruptPartError,
    set_aside: list[DamagedPart],
    damaged: list[DamagedPart],
) -> None:
    """A file that could not be read is moved away where that is its own fault, and reported in any case."""
    place = f"{games_folder(run_id)}/{name}"
    found = set_aside_if_damaged(files, place, GAMES, run_id)
    if found is not None:
        set_aside.append(found)
    elif files.exists(place):
        damaged.append(damaged_part(files, place, error))


def _may_be_merged(name: str, part: PartFile) -> bool:
    # A newer version's further columns would be lost by this one.
    return not part.has_further_columns and not (is_merged(name) and part.rows >= FULL_FILE_ROWS)


def _replace(files: Files, folder: str, batch: Mapping[str, pa.Table]) -> int:
    """Publish one file in place of the batch's; how many rows it has."""
    attempts = each_attempt_once(pa.concat_tables(batch.values()))
    if attempts.num_rows:
        ordered = attempts.sort_by([("game_no", "ascending"), ("attempt", "ascending"), ("attempt_id", "ascending")])
        payload = to_parquet(ordered, merged_from=tuple(batch))
        files.publish(f"{folder}/{merged_name(attempts)}", payload)
    for name in batch:
        files.delete(f"{folder}/{name}")
    return attempts.num_rows
