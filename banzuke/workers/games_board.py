"""The positions of a worker's games, in shared memory, for whoever watches the run.

They lie in the same memory as the deadlines (``deadline_board.py``), behind them. The worker writes there and asks
nobody; the parent reads there without waking it. So watching can neither hold a game up nor make one fail. Many games
that advance together are written down only while somebody watches: then the parent says until when.
"""

from __future__ import annotations

import contextlib
import mmap
import time
from collections.abc import Iterable
from itertools import islice
from typing import NamedTuple

OFFSET = mmap.PAGESIZE
"""Where the memory of the deadlines ends."""
BYTES = 16 * mmap.PAGESIZE
MOST_GAMES = 64
"""Of a worker that are shown; a person looks at one, and chooses among a screenful."""
_UNTIL, _NUMBER, _LENGTH, _ECHO = 0, 1, 2, -1
"""Places of eight bytes each."""
_PAYLOAD_AT = 3 * 8
_ROOM = BYTES - _PAYLOAD_AT - 8
_TRIES = 10


class Seen(NamedTuple):
    """A game as its worker sees it."""

    entry: int
    """Names the game, as on the deadline board; 0 where there is only one."""
    plies: int
    last_move: str
    position: str
    since: float
    """When it came to this position, on the monotonic clock."""


class GamesBoard:
    """The shared bytes, seen from either side.

    Args:
        fd: of the memory, which :meth:`DeadlineBoard.create` makes large enough for both.
    """

    def __init__(self, fd: int) -> None:
        self._bytes = mmap.mmap(fd, BYTES, offset=OFFSET)
        self._numbers = memoryview(self._bytes).cast("Q")
        self._times = memoryview(self._bytes).cast("d")
        self._number = 0
        self._latest: list[Seen] = []

    def watch(self, until: float) -> None:
        """Tell the worker that somebody watches, for as long as that; the parent's part."""
        with contextlib.suppress(ValueError):
            self._times[_UNTIL] = until

    def is_watched(self, now: float) -> bool:
        """Whether somebody does; the worker's part, as is :meth:`show`."""
        return self._times[_UNTIL] > now

    def show(self, games: Iterable[Seen]) -> None:
        """Write down how games stand, in place of what was; :data:`MOST_GAMES` at most."""
        # This is done for every move of an engine, and JSON would take more than twice as long. No notation has a tab.
        payload = "\n".join([f"{a}\t{b}\t{c}\t{d}\t{e}" for a, b, c, d, e in islice(games, MOST_GAMES)]).encode()
        if len(payload) > _ROOM:
            return
        self._number += 1
        self._numbers[_NUMBER] = self._number
        self._numbers[_LENGTH] = len(payload)
        self._bytes[_PAYLOAD_AT : _PAYLOAD_AT + len(payload)] = payload
        self._numbers[_ECHO] = self._number

    def read(self) -> list[Seen]:
        """How games stood when that was last written whole; nothing once the worker is gone.

        For any thread: whoever closes the memory meanwhile is not held up, so nothing of it is held here.
        """
        # What is closed answers with a ValueError.
        with contextlib.suppress(ValueError):
            for _ in range(_TRIES):
                # As on the deadline board: read the other way round than written, equal numbers are a proof.
                echo = self._numbers[_ECHO]
                if not echo:
                    break
                length = min(self._numbers[_LENGTH], _ROOM)
                payload = self._bytes[_PAYLOAD_AT : _PAYLOAD_AT + length]
                if self._numbers[_NUMBER] == echo:
                    self._latest = [_read(line) for line in payload.decode().splitlines()]
                    break
        return self._latest

    def close(self) -> None:
        """Let go of the memory."""
        self._numbers.release()
        self._times.release()
        self._bytes.close()


def _read(line: str) -> Seen:
    entry, plies, last_move, position, since = line.split("\t")
    return Seen(int(entry), int(plies), last_move, position, float(since))


def seen(entry: int, moves: int, last_move: str, position: str) -> Seen:
    """A game as it stands now."""
    return Seen(entry, moves, last_move, position, time.monotonic())
