"""A few bytes of shared memory in which a worker says what it is doing and until when it may.

The parent reads it without waking the worker and without a message per move, so a deadline holds whatever the worker
prints, computes or waits for, and costs nothing while games go well. CLOCK_MONOTONIC is the same in all processes of
a machine, so the worker's absolute deadlines are the parent's.
"""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from banzuke.outcome import Side
from banzuke.workers import games_board

_NUMBER_BYTES = 8
_PAYLOAD = struct.Struct("<diii")
_MOVERS_AT = _NUMBER_BYTES + _PAYLOAD.size
_ECHO_AT = mmap.PAGESIZE - _NUMBER_BYTES
MOST_MOVERS = (_ECHO_AT - _MOVERS_AT) // 4
_TRIES = 100
_SIDES = (None, Side.FIRST, Side.SECOND)


class Phase(IntEnum):
    """What a worker is doing."""

    IDLE = 0
    OPENING = 1
    """An agent is being opened or made ready; ``side`` says whose."""
    THINKING = 2
    """An agent is choosing a move; ``side`` says whose, or ``movers`` where many games advance together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """One reading of the board."""

    number: int
    """Rises with every notice, so that a stale one is recognised."""
    deadline: float
    """On the monotonic clock."""
    phase: Phase
    side: Side | None
    movers: tuple[int, ...] = ()
    """Where many games advance together: the games that an agent is getting ready for or choosing a move in, each as
    twice its entry, plus one for ``Side.SECOND``."""


class DeadlineBoard:
    """The shared bytes; the parent creates them, the worker inherits the file descriptor."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._bytes = mmap.mmap(fd, mmap.PAGESIZE)
        # Read and written eight bytes at once. The struct module goes byte by byte and clears them first, so that a
        # number caught at its beginning and its echo at its end could both read 0, with anything in between.
        self._numbers = memoryview(self._bytes).cast("Q")
        self._number = 0
        self._latest = Notice(number=0, deadline=0.0, phase=Phase.IDLE, side=None)

    @classmethod
    def create(cls) -> DeadlineBoard:
        """A new, empty board, in memory only, with room for a :class:`GamesBoard` behind it."""
        fd = os.memfd_create("banzuke-deadlines")
        # What is not written to takes no memory.
        os.ftruncate(fd, games_board.OFFSET + games_board.BYTES)
        return cls(fd)

    def post(
        self,
        phase: Phase,
        deadline: float,
        side: Side | None = None,
        *,
        movers: Sequence[int] = (),
    ) -> None:
        """Say what is being done, and until when it may last. At most :data:`MOST_MOVERS` movers are named."""
        self._number += 1
        movers = movers[:MOST_MOVERS]
        self._numbers[0] = self._number
        _PAYLOAD.pack_into(self._bytes, _NUMBER_BYTES, deadline, phase, _SIDES.index(side), len(movers))
        if movers:
            struct.pack_into(f"<{len(movers)}i", self._bytes, _MOVERS_AT, *movers)
        self._numbers[-1] = self._number

    def read(self) -> Notice:
        """The latest notice that was written whole. Never waits for the writer, who may have died within one."""
        for _ in range(_TRIES):
            # The writer writes the number, what it numbers, the number again. Read the other way round, two equal
            # numbers prove that nothing between them was being written meanwhile.
            echo = self._numbers[-1]
            deadline, phase, side, count = _PAYLOAD.unpack_from(self._bytes, _NUMBER_BYTES)
            movers = struct.unpack_from(f"<{min(max(count, 0), MOST_MOVERS)}i", self._bytes, _MOVERS_AT)
            number = self._numbers[0]
            if number == echo:
                self._latest = Notice(
                    number=number, deadline=deadline, phase=Phase(phase), side=_SIDES[side], movers=movers
                )
                break
        return self._latest

    def close(self) -> None:
        """Let go of the memory."""
        self._numbers.release()
        self._bytes.close()
        os.close(self.fd)
