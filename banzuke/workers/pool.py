"""The workers of this process: a few supervisors, handed to whoever has work, that outlive any batch."""

from __future__ import annotations

import contextlib
import queue
from collections.abc import Iterator
from threading import Event, Lock

from banzuke.specs import Spec, usable_cores
from banzuke.workers.supervisor import Supervisor


class WorkerPool:
    """``size`` workers, started when first wanted and kept until :meth:`close`."""

    def __init__(self, size: int, *, torch: bool) -> None:
        self.size = size
        self.torch = torch
        self.stop = Event()
        self.stopped_by: int | None = None
        """The signal that set ``stop``, where one did."""
        threads = max(1, usable_cores() // size) if torch else 0
        self._supervisors = [Supervisor(stop=self.stop, torch_threads=threads) for _ in range(size)]
        self._free: queue.LifoQueue[Supervisor] = queue.LifoQueue()
        for supervisor in reversed(self._supervisors):
            self._free.put(supervisor)

    @classmethod
    def for_spec(cls, spec: Spec) -> WorkerPool:
        """As many workers as the spec's limits allow, with torch where it has networks."""
        return cls(spec.limits.concurrency, torch=spec.needs_torch)

    def warm_up(self) -> None:
        """Start every worker now, without waiting for any."""
        for supervisor in self._supervisors:
            supervisor.start()

    @contextlib.contextmanager
    def lease(self) -> Iterator[Supervisor]:
        """A free supervisor, for as long as the block lasts. There must be no more callers than workers."""
        supervisor = self._free.get()
        try:
            yield supervisor
        finally:
            self._free.put(supervisor)

    def close(self) -> None:
        """End every worker. Idempotent."""
        for supervisor in self._supervisors:
            supervisor.close()


_lock = Lock()
_current: WorkerPool | None = None


@contextlib.contextmanager
def worker_pool(spec: Spec) -> Iterator[WorkerPool]:
    """The pool of this process while the block lasts; the one that is already open, if there is one.

    Tasks take their worker from here because a Prefect task's arguments are data, and a process is none.
    """
    global _current  # noqa: PLW0603 - one pool per process is the point
    with _lock:
        inherited = _current
        pool = inherited or WorkerPool.for_spec(spec)
        _current = pool
    try:
        yield pool
    finally:
        if inherited is None:
            with _lock:
                _current = None
            pool.close()


def current_pool() -> WorkerPool:
    """The pool that is open.

    Raises:
        RuntimeError: none is; tasks run inside a flow that opened one.
    """
    if _current is None:
        raise RuntimeError("no worker pool is open in this process; run the flow, not the task alone")
    return _current
