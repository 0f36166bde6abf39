"""Single keys from a terminal, without waiting for a line."""

from __future__ import annotations

import contextlib
import os
import select
import sys
import termios
import time
import tty
from types import TracebackType
from typing import Any, Self

_CONTROL_CHARACTERS = 6
"""Their place in what ``termios.tcgetattr`` gives."""
_SEQUENCES = {b"\x1b[A": "up", b"\x1b[B": "down", b"\x1bOA": "up", b"\x1bOB": "down"}


class Keys:
    """What is typed while the block lasts; nothing where stdin is no terminal of ours. The terminal is put back."""

    def __init__(self) -> None:
        self._descriptor: int | None = None
        self._before: list[Any] = []

    def __enter__(self) -> Self:
        try:
            descriptor = sys.stdin.fileno()
            # In the background the kernel would stop us for touching the terminal.
            if os.isatty(descriptor) and os.tcgetpgrp(descriptor) == os.getpgrp():
                self._before = termios.tcgetattr(descriptor)
                tty.setcbreak(descriptor)
                self._keep_ctrl_z(descriptor)
                self._descriptor = descriptor
        except (OSError, ValueError, AttributeError, termios.error):
            self._descriptor = None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._descriptor is not None:
            # A terminal that was closed has nothing left to be put right.
            with contextlib.suppress(termios.error):
                termios.tcsetattr(self._descriptor, termios.TCSADRAIN, self._before)

    @staticmethod
    def _keep_ctrl_z(descriptor: int) -> None:
        """Ctrl-Z is a key like others: whoever reads it has a screen to put away before it stops."""
        modes = termios.tcgetattr(descriptor)
        modes[_CONTROL_CHARACTERS][termios.VSUSP] = os.fpathconf(descriptor, "PC_VDISABLE").to_bytes()
        termios.tcsetattr(descriptor, termios.TCSANOW, modes)

    @property
    def are_there(self) -> bool:
        """Whether anybody can type anything."""
        return self._descriptor is not None

    def wait(self, seconds: float) -> list[str]:
        """The keys typed within that time, at once when there are some; an arrow is ``up`` or ``down``."""
        if self._descriptor is None:
            time.sleep(seconds)
            return []
        if not select.select([self._descriptor], [], [], seconds)[0]:
            return []
        try:
            typed = os.read(self._descriptor, 64)
        except OSError:
            typed = b""
        if not typed:
            # The terminal is gone; it would be ready to be read for ever.
            self._descriptor = None
        return _names(typed)


def _names(typed: bytes) -> list[str]:
    names = []
    while typed:
        name = _SEQUENCES.get(typed[:3])
        if name is not None:
            names.append(name)
            typed = typed[3:]
        else:
            names.append(chr(typed[0]))
            typed = typed[1:]
    return names
