"""A few bytes of shared memory in which a worker says what it is doing and until when it may.

The parent reads it without waking the worker and without a message per move, so a deadline holds whatever the worker
prints, computes or waits for, and costs nothing while games go well. CLOCK_MONOTONIC is the same in all processes of
a machine, so the worker's absolute deadlines are the parent's.
"""

from __future__ import annotations

import mmap
import os
import struct
from dataclasses import dataclass
from enum import IntEnum

from banzuke.outcome import Side

_LAYOUT = struct.Struct("<QdiiQ")
_SIDES = (None, Side.FIRST, Side.SECOND)


class Phase(IntEnum):
    """What a worker is doing."""

    IDLE = 0
    OPENING = 1
    """An agent is being opened or made ready; ``side`` says whose."""
    THINKING = 2
    """An agent is choosing a move; ``side`` says whose."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """One reading of the board."""

    number: int
    """Rises with every notice, so that a stale one is recognised."""
    deadline: float
    """On the monotonic clock."""
    phase: Phase
    side: Side | None


class DeadlineBoard:
    """The shared bytes; the parent creates them, the worker inherits the file descriptor."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._bytes = mmap.mmap(fd, mmap.PAGESIZE)
        self._number = 0

    @classmethod
    def create(cls) -> DeadlineBoard:
        """A new, empty board, in memory only."""
        fd = os.memfd_create("banzuke-deadlines", 0)
        os.ftruncate(fd, mmap.PAGESIZE)
        return cls(fd)

    def post(self, phase: Phase, deadline: float, side: Side | None = None) -> None:
        """Say what is being done, and until when it may last."""
        self._number += 1
        _LAYOUT.pack_into(self._bytes, 0, self._number, deadline, phase, _SIDES.index(side), self._number)

    def read(self) -> Notice:
        """The latest notice. A reading torn by a write in progress is read again."""
        while True:
            number, deadline, phase, side, echo = _LAYOUT.unpack_from(self._bytes, 0)
            if number == echo:
                return Notice(number=number, deadline=deadline, phase=Phase(phase), side=_SIDES[side])

    def close(self) -> None:
        """Let go of the memory."""
        self._bytes.close()
        os.close(self.fd)
