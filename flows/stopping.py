"""Turning a signal into a stop event: signals reach the main thread only, the batches are in others."""

from __future__ import annotations

import _thread
import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

from banzuke.errors import BanzukeError
from banzuke.workers.pool import WorkerPool

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Ctrl-C, kill and batch systems, and a terminal that was closed."""


class StoppedError(BanzukeError):
    """A signal ended the command before there was a result.

    Args:
        number: the signal's.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@contextlib.contextmanager
def stop_on_signals(pool: WorkerPool) -> Iterator[None]:
    """While the block lasts, :data:`STOPPING` signals stop handing out games instead of ending the process.

    Prefect installs a handler of its own when a flow begins, which raises in the middle of whatever the main thread
    does; ours takes its place inside the flow, and what the batches finished is kept. A SIGHUP that is ignored
    stays so, as under ``nohup``.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, _frame: FrameType | None) -> None:
        pool.stopped_by = number
        # Not here: whoever is interrupted may hold the lock that setting an event takes, as one who waits for it does.
        _thread.start_new_thread(pool.stop.set, ())

    before = {number: signal.signal(number, stop) for number in stopping_signals()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def stopping_signals() -> tuple[signal.Signals, ...]:
    """Those of :data:`STOPPING` that somebody wants to be heard."""
    hung_up = signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN
    return STOPPING if hung_up else (signal.SIGINT, signal.SIGTERM)
