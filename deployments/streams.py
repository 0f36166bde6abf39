"""Standard output and standard error that may go away at any time without taking the run with them.

A run's results are in the store; what is printed is for whoever is still there. A reader that has left, a full disk
and a closed terminal are noted and otherwise ignored, in whatever thread they are met.
"""

from __future__ import annotations

import io
import json
import os
import select
import sys
from typing import TYPE_CHECKING, Any

from banzuke.errors import BanzukeError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from typing_extensions import Buffer

PIECE = 4096
"""Bytes that a pipe which is ready takes at once (POSIX guarantees 512, Linux this)."""
PATIENCE_SECONDS = 1.0
"""For a reader who does not read, before what stderr has to say is dropped."""

last_line = ["stopped"]
"""What is said where a signal ends the command outside a flow; it changes as the command goes on."""


class OutputLostError(BanzukeError):
    """A result that somebody wanted could not be printed."""


class Outlet(io.RawIOBase):
    """One file descriptor, written to as far as that works. Writing to it never raises.

    Args:
        descriptor: which; it stays open.
        patience: how long a reader is waited for, in seconds; None for as long as it takes.
    """

    def __init__(self, descriptor: int, *, patience: float | None) -> None:
        super().__init__()
        self.descriptor = descriptor
        self.fault: OSError | None = None
        """The first thing that went wrong."""
        self._patience = patience
        self._is_stuck = False

    def writable(self) -> bool:
        """Yes."""
        return True

    def fileno(self) -> int:
        """The descriptor."""
        return self.descriptor

    def isatty(self) -> bool:
        """Whether a person may be looking."""
        return os.isatty(self.descriptor)

    def write(self, content: Buffer, /) -> int:
        """Write what can be written; the rest is lost."""
        pieces = memoryview(content).cast("B")
        total = len(pieces)
        try:
            while pieces:
                self._wait()
                pieces = pieces[os.write(self.descriptor, pieces[:PIECE]) :]
        except OSError as error:
            self.fault = self.fault or error
        return total

    def _wait(self) -> None:
        patience = 0.0 if self._is_stuck else self._patience
        _, ready, _ = select.select([], [self.descriptor], [], patience)
        self._is_stuck = not ready
        if not ready:
            raise TimeoutError("nobody reads it")


def make_streams_safe() -> None:
    """Put such outlets in the place of ``sys.stdout`` and ``sys.stderr``, for as long as the process lives."""
    _fill_gaps((0, 1, 2))
    # Results wait for their reader. A game must not wait for somebody to read about it.
    sys.stdout = _text(1, patience=None, encoding=getattr(sys.stdout, "encoding", None))
    sys.stderr = _text(2, patience=PATIENCE_SECONDS, encoding=getattr(sys.stderr, "encoding", None))


def stdout_fault() -> OSError | None:
    """Why something that was printed on stdout could not be written, if so."""
    sys.stdout.flush()
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    return raw.fault if isinstance(raw, Outlet) else None


def print_json(document: Mapping[str, Any], *, remains: str = "the store has it") -> None:
    """One JSON object on stdout; numbers are finite or null.

    Args:
        document: what is printed.
        remains: where the result is to be had if stdout does not take it.

    Raises:
        OutputLostError: stdout did not take it.
    """
    sys.stdout.write(json.dumps(document, allow_nan=False, default=str) + "\n")
    check_taken("the result", remains)


def check_taken(what: str, remains: str = "the store has it") -> None:
    """Whether stdout took what was written.

    Raises:
        OutputLostError: it did not.
    """
    fault = stdout_fault()
    if fault is not None:
        raise OutputLostError(f"stdout did not take {what}: {fault.strerror or fault}; {remains}")


def _fill_gaps(descriptors: Sequence[int]) -> None:
    """A descriptor that was closed when we were started would be given to the next file that is opened."""
    for descriptor in descriptors:
        try:
            os.fstat(descriptor)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != descriptor:
                os.dup2(opened, descriptor)
                os.close(opened)


def _text(descriptor: int, *, patience: float | None, encoding: str | None) -> io.TextIOWrapper:
    outlet = Outlet(descriptor, patience=patience)
    return io.TextIOWrapper(
        io.BufferedWriter(outlet),
        encoding=encoding or "utf-8",
        errors="replace",
        line_buffering=patience is not None or outlet.isatty(),
    )
