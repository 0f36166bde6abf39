"""The games in play of a run, shown to whoever watches it. Nothing here is kept, and no reader of a dataset meets it.

A watcher holds a lock beside the run's document. Whoever plays the run looks for such locks once a second, and while
there is one it shows its games in a file of its own beside them, replaced as a whole. Both are names that
:meth:`storage.atomic.Files.sweep` knows: the kernel lets go of the lock of a watcher that was killed, and the file of
a player that was killed is removed by the next command that looks into the store.

Whether a file is alive is never asked of clocks or process ids: its player changes it every second, and a watcher that
has not seen it change for a few takes it for a dead one's.

Only where the store is a folder: an object store has no locks worth a look a second.
"""

from __future__ import annotations

import os
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import TypeAdapter, ValidationError

from banzuke.in_play import GameInPlay
from storage import layout
from storage.atomic import SHOWN, TEMPORARY_PREFIX, LocalFiles, open_files, temporary_name
from storage.locks import my_note

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MOST_GAMES = 256
"""That one process shows; of those in play beyond them only the number."""
LARGEST_FILE = 1 << 20
"""In bytes; a file of a player is smaller, and what is larger is none."""
SILENT_SECONDS = 5.0
"""A player that has shown nothing new for so long shows nothing any more."""
MOST_WATCHERS = 64
"""Of one run at the same time; others watch along while one of them is there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What one process shows of a run."""

    number: int
    """Another one each time."""
    host: str
    in_play: int
    """How many games are; :data:`MOST_GAMES` of them are in ``games``."""
    games: tuple[GameInPlay, ...]


_SHOWN = TypeAdapter(Shown)


def can_be_shown(store: str) -> bool:
    """Whether games in play can be seen in such a store at all.

    Raises:
        StorageError: its address is of no known kind.
    """
    return isinstance(open_files(store), LocalFiles)


class Showcase:
    """Where one process shows its games of a run.

    Args:
        store: a folder; see :func:`can_be_shown`.
        run_id: which run.
        host: what this machine is called.
    """

    def __init__(self, store: str, run_id: str, host: str) -> None:
        self._files = open_files(store)
        self._folder = layout.run_folder(run_id)
        self._place = Path(self._files.place(f"{self._folder}/{temporary_name(SHOWN)}"))
        self._host = host
        self._number = 0
        self._is_there = False

    def is_watched(self) -> bool:
        """Whether somebody watches the run.

        Raises:
            StorageError: the store cannot be read.
        """
        return bool(self._files.held_locks(self._folder, layout.WATCH_LOCK))

    def show(self, games: Sequence[GameInPlay]) -> None:
        """Show these in place of those before.

        Raises:
            OSError: the store cannot be written; what was shown before stays, and is taken for dead.
        """
        self._number += 1
        shown = Shown(number=self._number, host=self._host, in_play=len(games), games=tuple(games[:MOST_GAMES]))
        temporary = self._place.with_name(temporary_name())
        try:
            # Not synced: after a power cut nobody wants it.
            temporary.write_bytes(_SHOWN.dump_json(shown))
            temporary.replace(self._place)
            self._is_there = True
        finally:
            with suppress(OSError):
                temporary.unlink()

    def clear(self) -> None:
        """Show nothing any more.

        Raises:
            OSError: the store cannot be written.
        """
        if self._is_there:
            self._place.unlink(missing_ok=True)
            self._is_there = False


@contextmanager
def watching(store: str, run_id: str) -> Iterator[Window]:
    """Have the run's players show their games while the block lasts.

    Raises:
        StorageError: the store cannot be written, so that they are not told that somebody watches; or it is no folder.
    """
    files = open_files(store)
    for number in range(1, MOST_WATCHERS + 1):
        with files.exclusive(layout.watch_lock(run_id, number), my_note()) as is_ours:
            if is_ours:
                yield Window(store, run_id)
                return
    yield Window(store, run_id)


class Window:
    """Through which the games of a run are seen, whoever plays them."""

    def __init__(self, store: str, run_id: str) -> None:
        self._folder = Path(open_files(store).place(layout.run_folder(run_id)))
        self._heard: dict[str, tuple[int, float]] = {}
        """By the name of the file: the number seen last, and when it was new; not new at the first look."""

    def look(self) -> list[Shown]:
        """What is shown now, by those who have shown something new since we began to look."""
        return [shown for name, shown in self._read() if self._is_alive(name, shown.number)]

    def _is_alive(self, name: str, number: int) -> bool:
        now = time.monotonic()
        if name not in self._heard:
            self._heard[name] = number, float("-inf")
        before, since = self._heard[name]
        if number != before:
            since = now
            self._heard[name] = number, since
        return now - since < SILENT_SECONDS

    def _read(self) -> Iterator[tuple[str, Shown]]:
        with suppress(OSError), os.scandir(self._folder) as entries:
            names = sorted(entry.name for entry in entries if entry.name.startswith(f"{TEMPORARY_PREFIX}{SHOWN}-"))
            for name in names:
                # It may be taken away or damaged meanwhile, and anybody may write there.
                with suppress(OSError, ValidationError, RecursionError):
                    yield name, _SHOWN.validate_json(_beginning(self._folder / name))


def _beginning(path: Path) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        return os.read(descriptor, LARGEST_FILE)
    finally:
        os.close(descriptor)
