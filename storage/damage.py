"""Files that cannot be read: found, and set aside so that whoever reads the rest needs to know nothing of them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from banzuke.errors import GameAlreadyRecordedError, StorageError
from storage import layout
from storage.parts import DamagedPart, diagnosis, part_names
from storage.schemas import AGENTS, EVALUATIONS, GAMES, PLAN, STANDINGS

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa

    from storage.atomic import Files

_MOST_NAMESAKES = 1_000

_ADVICE_SET_ASIDE = "set aside; nothing reads it any more, and it may be deleted"
_ADVICE_GAMES = "the next run or backfill sets it aside and plays its games again"


def set_aside_damaged(files: Files, folder: str, schema: pa.Schema, run_id: str) -> Iterator[DamagedPart]:
    """Read every file of the folder whole, and set aside those that are damaged, as they are found.

    Raises:
        StorageError: a file cannot be read for another reason than damage, or cannot be moved.
    """
    for name in part_names(files, folder):
        found = set_aside_if_damaged(files, f"{folder}/{name}", schema, run_id)
        if found is not None:
            yield found


def set_aside_if_damaged(files: Files, name: str, schema: pa.Schema, run_id: str) -> DamagedPart | None:
    """Move the file out of its dataset if it cannot be read as rows of its run.

    Returns:
        Where it is now, and what is wrong with it; None if nothing is, if it is gone, or if it did not fit into
        memory: that may be its fault or the machine's.

    Raises:
        StorageError: it cannot be read for another reason than damage, or cannot be moved.
    """
    try:
        reason = diagnosis(files, name, schema, run_id=run_id)
        if reason is None:
            return None
        return DamagedPart(path=_set_aside(files, name), reason=reason, advice=_ADVICE_SET_ASIDE)
    except FileNotFoundError:
        return None
    except StorageError as error:
        if not isinstance(error.__cause__, MemoryError):
            raise
        return None


def _set_aside(files: Files, name: str) -> str:
    for number in range(1, _MOST_NAMESAKES):
        target = layout.damaged_name(name, number)
        try:
            files.move(name, target)
        except GameAlreadyRecordedError:
            continue
        return files.place(target)
    raise StorageError(f"cannot set aside {files.place(name)}: {_MOST_NAMESAKES} files of its name were before it")


def damaged_files(files: Files, run_id: str) -> Iterator[DamagedPart]:
    """What of the run was set aside, and what is damaged where it is; everything is read for it.

    Raises:
        StorageError: a file that was not set aside cannot be read for another reason than damage.
    """
    folders = {
        layout.games_folder(run_id): GAMES,
        layout.evaluations_folder(run_id): EVALUATIONS,
        layout.raced_folder(run_id): GAMES,
    }
    for folder, schema in folders.items():
        for name in part_names(files, layout.damaged_name(folder)):
            place = f"{layout.damaged_name(folder)}/{name}"
            reason = _reason_of_old(files, place, schema, run_id)
            yield DamagedPart(path=files.place(place), reason=reason, advice=_ADVICE_SET_ASIDE)
        advice = _ADVICE_GAMES if folder == layout.games_folder(run_id) else None
        for name in part_names(files, folder):
            yield from (replace(part, advice=advice) for part in _damage(files, f"{folder}/{name}", schema, run_id))
    folder = layout.plans_folder(run_id)
    for name in part_names(files, folder):
        if layout.plan_step(name) is not None:
            yield from _damage(files, f"{folder}/{name}", PLAN, run_id)
    yield from _damage(files, layout.agents_file(run_id), AGENTS, run_id)
    yield from _damage(files, layout.standings_file(run_id), STANDINGS, run_id)


def _reason_of_old(files: Files, name: str, schema: pa.Schema, run_id: str) -> str:
    """Looked for again: a note of it would be one more file that can be lost or damaged."""
    try:
        return diagnosis(files, name, schema, run_id=run_id) or "set aside earlier; it can be read now: move it back"
    except (StorageError, FileNotFoundError) as error:
        return str(error)


def _damage(files: Files, name: str, schema: pa.Schema, run_id: str) -> Iterator[DamagedPart]:
    try:
        reason = diagnosis(files, name, schema, run_id=run_id)
    except FileNotFoundError:
        return
    except StorageError as error:
        if not isinstance(error.__cause__, MemoryError):
            raise
        reason = str(error)
    if reason is not None:
        yield DamagedPart(path=files.place(name), reason=reason)
