"""Which games of a store have several rows that would count, found without reading those of all others.

At rest there is one result for each game (``docs/datasets.md``). Two invocations that raced have both recorded one, and
a compaction that was killed leaves rows in a part that are also in a merged file. Of a file that compaction has written
it is known that its own games have one result each; and two stretches of files whose footers say that they have no game
number in common have none. Only of what remains are numbers read.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from banzuke.errors import StorageError
from storage.layout import games_folder
from storage.parts import open_part, part_names
from storage.schemas import GAMES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from storage.atomic import Files

_READERS = 4
_MOST_PASSES = 100
_LEAST, _MOST = int(np.iinfo(np.int64).min), int(np.iinfo(np.int64).max)


class MergedMeanwhileError(StorageError):
    """A file is gone since the store was looked at: a compaction has put its rows elsewhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedFile:
    """A file of ``games``, as its footer describes it."""

    run_id: str
    name: str
    """Relative to the store."""
    has_further_columns: bool
    has_one_result_each: bool
    spans: tuple[tuple[int, int] | None, ...]
    """The least and greatest ``game_no`` of each stretch; None: not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeated:
    """Games of a run that may have several rows that would count."""

    run_id: str
    numbers: NDArray[np.int64]
    """``game_no``; everything else has one."""
    names: tuple[str, ...]
    """The files that have their rows."""


def recorded_files(files: Files, run_ids: Sequence[str]) -> list[RecordedFile]:
    """Every file of ``games`` of the runs; only footers are read.

    Raises:
        StorageError: a file cannot be read.
    """
    with ThreadPoolExecutor(_READERS) as readers:
        for _ in range(_MOST_PASSES):
            listed = [(run_id, name) for run_id in run_ids for name in part_names(files, games_folder(run_id))]
            try:
                return list(readers.map(partial(_described, files), listed))
            except FileNotFoundError:
                # A compaction has merged it meanwhile: its rows are elsewhere now.
                continue
    raise StorageError("the store is being compacted again and again; try later")


def _described(files: Files, listed: tuple[str, str]) -> RecordedFile:
    run_id, plain = listed
    name = f"{games_folder(run_id)}/{plain}"
    with open_part(files, name, GAMES) as part:
        return RecordedFile(
            run_id=run_id,
            name=name,
            has_further_columns=part.has_further_columns,
            has_one_result_each=part.has_one_result_each,
            spans=tuple(part.spans()),
        )


def repeated_games(files: Files, recorded: Sequence[RecordedFile]) -> list[Repeated]:
    """What is to be looked at row by row, by run; runs without such games are not in it.

    A game that was void at first, and whose attempts are in several files, may be in it too.

    Raises:
        MergedMeanwhileError: a file was merged into another meanwhile.
        StorageError: a file cannot be read.
    """
    of_run: dict[str, list[RecordedFile]] = {}
    for file in recorded:
        of_run.setdefault(file.run_id, []).append(file)
    found = (_repeated(files, run_id, of) for run_id, of in of_run.items())
    return [repeated for repeated in found if len(repeated.numbers)]


def _repeated(files: Files, run_id: str, recorded: Sequence[RecordedFile]) -> Repeated:
    suspects = _suspects(recorded)
    with ThreadPoolExecutor(_READERS) as readers:
        read = list(readers.map(partial(_numbers, files), suspects))
    within = [_more_than_once(numbers) for _, numbers in read]
    across = _more_than_once(np.concatenate([np.empty(0, np.int64), *(np.unique(numbers) for numbers, _ in read)]))
    contested = np.unique(np.concatenate([across, *within]))
    holding = [
        file.name for (file, _), (numbers, _) in zip(suspects, read, strict=True) if np.isin(numbers, contested).any()
    ]
    return Repeated(run_id=run_id, numbers=contested, names=tuple(holding))


def _suspects(recorded: Sequence[RecordedFile]) -> list[tuple[RecordedFile, list[int]]]:
    """The files with stretches that may have a game's number a second time, and these stretches."""
    met = {index: set(range(len(file.spans))) for index, file in enumerate(recorded) if not file.has_one_result_each}
    for index, group in _shared_stretches(recorded):
        met.setdefault(index, set()).add(group)
    return [(recorded[index], sorted(groups)) for index, groups in sorted(met.items())]


def _shared_stretches(recorded: Sequence[RecordedFile]) -> Iterator[tuple[int, int]]:
    """File and number of the stretches that hang together with one of another file, each reaching into the next."""
    stretches = sorted(
        (*(span or (_LEAST, _MOST)), index, group)
        for index, file in enumerate(recorded)
        for group, span in enumerate(file.spans)
    )
    together: list[tuple[int, int]] = []
    reach = _LEAST
    for least, most, index, group in [*stretches, (_MOST, _MOST, -1, -1)]:
        if together and (least > reach or index < 0):
            if len({file for file, _ in together}) > 1:
                yield from together
            together, reach = [], most
        together.append((index, group))
        reach = max(reach, most)


def _numbers(files: Files, suspect: tuple[RecordedFile, list[int]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """``game_no`` of the rows of these stretches; of the results of the file, where those may repeat each other."""
    file, groups = suspect
    try:
        with open_part(files, file.name, GAMES) as part:
            results = np.empty(0, np.int64) if file.has_one_result_each else part.result_numbers()
            return part.game_numbers(groups), results
    except FileNotFoundError:
        raise MergedMeanwhileError(f"{files.place(file.name)} was merged into another file; ask again") from None


def _more_than_once(numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    ordered = np.sort(numbers)
    return np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
