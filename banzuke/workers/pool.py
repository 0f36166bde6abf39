"""The workers of this process: a few supervisors, handed to whoever has work, that outlive any batch."""

from __future__ import annotations

import contextlib
import queue
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event, Lock

from banzuke.in_play import GameInPlay
from banzuke.specs import Spec
from banzuke.workers.breaker import CircuitBreaker
from banzuke.workers.cores import Cores
from banzuke.workers.hall import Hall
from banzuke.workers.process import WorkerProcess
from banzuke.workers.referee import Referee
from banzuke.workers.supervisor import Supervisor

LEASE_CHECK_SECONDS = 0.1
RETURN_SECONDS = 5.0
"""For whoever plays to notice that the pool is being closed."""
ENDED_AT_ONCE = 32


class WorkerPool:
    """``size`` workers, started when first wanted and kept until :meth:`close`.

    Games with engines are played one at a time, each on a leased worker; games without, many at a time, in the hall,
    which has as many workers again where both are to be played: a slow engine must not hold the others up.

    Args:
        size: how many.
        torch: whether they import torch.
        clocks: whether an engine is to play under a clock of its own. It then has a core of its own, too: no more
            than ``size`` workers play at once, in the hall or out of it.
    """

    def __init__(self, size: int, *, torch: bool, clocks: bool = False) -> None:
        self.size = size
        self.torch = torch
        self._cores = Cores(size) if clocks else None
        self._hall: Hall | None = None
        self.stop = Event()
        self.stopped_by: int | None = None
        """The signal that set ``stop``, where one did."""
        # One thread each, however many workers: sums split over another number of threads may round otherwise, and
        # then concurrency would change a network's moves.
        self._supervisors = [Supervisor(stop=self.stop, torch_threads=1 if torch else 0) for _ in range(size)]
        self._breakers: dict[str, CircuitBreaker] = {}
        self._referees: dict[str, Referee] = {}
        self._free: queue.LifoQueue[Supervisor] = queue.LifoQueue()
        self._closed = Event()
        self._closing = Lock()
        self._hall_opening = Lock()
        for supervisor in reversed(self._supervisors):
            self._free.put(supervisor)

    @classmethod
    def for_spec(cls, spec: Spec) -> WorkerPool:
        """As many workers as the spec's limits allow, with torch where it has networks."""
        return cls(spec.limits.concurrency, torch=spec.needs_torch, clocks=spec.has_clocks)

    def warm_up(self) -> None:
        """Start every worker now, without waiting for any."""
        for supervisor in self._supervisors:
            supervisor.start()

    def breaker(self, run_id: str, threshold: int) -> CircuitBreaker:
        """The circuit breaker that all batches of a run share for as long as the pool is open."""
        return self._breakers.setdefault(run_id, CircuitBreaker(threshold))

    def appoint(self, run_id: str, referee: Referee) -> None:
        """Have a sequential test's games watched by a referee for as long as the pool is open."""
        self._referees[run_id] = referee

    def referee(self, run_id: str) -> Referee | None:
        """Who watches the run's games; None where it is no sequential test."""
        return self._referees.get(run_id)

    @contextlib.contextmanager
    def lease(self) -> Iterator[Supervisor]:
        """A free supervisor, for as long as the block lasts; waits while others have them all.

        Raises:
            RuntimeError: the pool is closed.
        """
        supervisor = self._next_free()
        try:
            with self._core():
                yield supervisor
        finally:
            self._free.put(supervisor)

    @property
    def hall(self) -> Hall:
        """Where games without engines are played.

        Raises:
            RuntimeError: the pool is closed.
        """
        with self._hall_opening:
            if self._closed.is_set():
                raise RuntimeError("the worker pool is closed")
            if self._hall is None:
                self._hall = Hall(
                    self.size,
                    stop=self.stop,
                    torch_threads=1 if self.torch else 0,
                    cores=self._cores,
                    worker=self._idle_worker,
                )
            return self._hall

    def in_play(self, *, watched_until: float) -> list[GameInPlay]:
        """The games that are being played now, of every run; for any thread. See :meth:`Hall.in_play`."""
        at_tables = [game for supervisor in self._supervisors for game in supervisor.in_play()]
        return at_tables + ([] if self._hall is None else self._hall.in_play(watched_until=watched_until))

    def _idle_worker(self) -> WorkerProcess | None:
        """A worker that was leased before and stands idle: one that evaluated agents has torch imported."""
        free: list[Supervisor] = []
        try:
            while True:
                free.append(self._free.get_nowait())
                worker = free[-1].give_up_worker()
                if worker is not None:
                    return worker
        except queue.Empty:
            return None
        finally:
            for supervisor in reversed(free):
                self._free.put(supervisor)

    @contextlib.contextmanager
    def _core(self) -> Iterator[None]:
        if self._cores is None:
            yield
            return
        place = self._cores.stand_in_line()
        while not self._cores.take(place, seconds=LEASE_CHECK_SECONDS):
            if self._closed.is_set():
                self._cores.leave_line(place)
                raise RuntimeError("the worker pool is closed")
        try:
            yield
        finally:
            self._cores.release()

    def _next_free(self) -> Supervisor:
        while not self._closed.is_set():
            with contextlib.suppress(queue.Empty):
                return self._free.get(timeout=LEASE_CHECK_SECONDS)
        raise RuntimeError("the worker pool is closed")

    def close(self) -> None:
        """End every worker, all at the same time; games still being played are cancelled. Idempotent."""
        with self._closing:
            if self._closed.is_set():
                return
            with self._hall_opening:
                self._closed.set()
            if self._hall is not None:
                self._hall.close()
            with ThreadPoolExecutor(min(self.size, ENDED_AT_ONCE), thread_name_prefix="worker-ender") as enders:
                ended = [enders.submit(supervisor.close) for supervisor in self._take_back()]
            for end in ended:
                end.result()

    def _take_back(self) -> list[Supervisor]:
        """Every supervisor; those that are leased are stopped and waited for, but not for ever."""
        taken: list[Supervisor] = []
        with contextlib.suppress(queue.Empty):
            while len(taken) < self.size:
                taken.append(self._free.get_nowait())
        if len(taken) < self.size:
            self.stop.set()
            deadline = time.monotonic() + RETURN_SECONDS
            with contextlib.suppress(queue.Empty):
                while len(taken) < self.size:
                    taken.append(self._free.get(timeout=max(0.0, deadline - time.monotonic())))
        return [*taken, *(supervisor for supervisor in self._supervisors if supervisor not in taken)]


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


def is_stopping() -> bool:
    """Whether a pool is open and what it does is being stopped."""
    return _current is not None and _current.stop.is_set()


def current_pool() -> WorkerPool:
    """The pool that is open.

    Raises:
        RuntimeError: none is; tasks run inside a flow that opened one.
    """
    if _current is None:
        raise RuntimeError("no worker pool is open in this process; run the flow, not the task alone")
    return _current
