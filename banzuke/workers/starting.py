"""One thread that starts every worker of this process.

``PDEATHSIG`` (``prctl(2)``) speaks of the *thread* that forked. Workers outlive the threads that ask for them, so one
that lives as long as this process starts them all.
"""

from __future__ import annotations

import queue
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

_orders: queue.SimpleQueue[tuple[Callable[[], Any], Future[Any]]] = queue.SimpleQueue()
_lock = threading.Lock()
_thread: threading.Thread | None = None


def started(start: Callable[[], subprocess.Popen[bytes]]) -> subprocess.Popen[bytes]:
    """What ``start`` returns or raises, called in that thread."""
    answer: Future[subprocess.Popen[bytes]] = Future()
    _orders.put((start, answer))
    _come_up()
    return answer.result()


def _come_up() -> None:
    """Start the thread if need be.

    A signal may raise while it starts, and then nobody knows of it: as a daemon it keeps no process from ending. An
    executor's thread would.
    """
    global _thread  # noqa: PLW0603 - one thread per process is the point
    with _lock:
        if _thread is None:
            thread = threading.Thread(target=_serve, name="worker-starter", daemon=True)
            thread.start()
            _thread = thread


def _serve() -> None:
    while True:
        start, answer = _orders.get()
        try:
            answer.set_result(start())
        except BaseException as error:  # noqa: BLE001 - it is whoever asked that has to know
            answer.set_exception(error)
