"""Who may compute next, where an engine that plays under a clock has to have a core of its own."""

from __future__ import annotations

from collections import deque
from threading import Condition


class Cores:
    """So many at once, in the order in which they asked.

    Args:
        size: how many.
    """

    def __init__(self, size: int) -> None:
        self._free = size
        self._line: deque[object] = deque()
        self._news = Condition()

    @property
    def is_wanted(self) -> bool:
        """Whether somebody waits."""
        return bool(self._line)

    def stand_in_line(self) -> object:
        """A place in the line, to be given to :meth:`take` or :meth:`leave_line`."""
        place = object()
        with self._news:
            self._line.append(place)
        return place

    def take(self, place: object, *, seconds: float) -> bool:
        """Wait so long for one's turn; whether it came. Whoever has it gives it back by :meth:`release`."""
        with self._news:
            came = self._news.wait_for(lambda: self._free > 0 and self._line[0] is place, timeout=seconds)
            if came:
                self._line.popleft()
                self._free -= 1
                self._news.notify_all()
            return came

    def leave_line(self, place: object) -> None:
        """Not to wait any longer."""
        with self._news:
            self._line.remove(place)
            self._news.notify_all()

    def release(self) -> None:
        """Let the next one compute."""
        with self._news:
            self._free += 1
            self._news.notify_all()
