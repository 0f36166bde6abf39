"""Turning a signal into a stop event: SIGTERM and Ctrl-C reach the main thread only, the batches are in others."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

from banzuke.workers.pool import WorkerPool

STOPPING = (signal.SIGINT, signal.SIGTERM)


@contextlib.contextmanager
def stop_on_signals(pool: WorkerPool) -> Iterator[None]:
    """While the block lasts, SIGINT and SIGTERM stop handing out games instead of ending the process.

    Prefect installs a handler of its own when a flow begins, which raises in the middle of whatever the main thread
    does; ours takes its place inside the flow, and what the batches finished is kept.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, _frame: FrameType | None) -> None:
        pool.stopped_by = number
        pool.stop.set()

    before = {number: signal.signal(number, stop) for number in STOPPING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
