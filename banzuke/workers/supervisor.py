"""A supervisor owns one worker: keeps its deadlines and its memory limit, and replaces it when it dies or is killed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import Event

from banzuke.errors import WorkerDiedError, WorkerTimeoutError
from banzuke.match.recording import Attempt, void_record
from banzuke.outcome import Outcome, Termination
from banzuke.record import GameRecord
from banzuke.specs import Spec
from banzuke.workers.deadline_board import Notice, Phase
from banzuke.workers.messages import (
    Answer,
    Order,
    Play,
    Played,
    Pose,
    Posed,
    Prepare,
    Question,
    Ready,
    Report,
)
from banzuke.workers.process import WorkerProcess

TICK_SECONDS = 0.1
MEMORY_CHECK_SECONDS = 0.25
GRACE_SECONDS = 0.75
"""How long past a deadline the worker may take to notice it itself, before it is killed."""
START_SECONDS = 120.0
"""For a worker to import what it needs."""
BEGIN_SECONDS = 30.0
"""For a worker to begin with an order: to close the agents of another spec, and to say whom it opens first."""


class Stopped(Exception):  # noqa: N818 - not an error: the run was asked to stop
    """The run is being stopped; the worker was killed in the middle of something."""


@dataclass(slots=True)
class _Fate:
    """Why a worker had to be killed, or how it died."""

    termination: Termination
    detail: str
    notice: Notice | None


class _WorkerLostError(Exception):
    def __init__(self, fate: _Fate) -> None:
        super().__init__(fate.detail)
        self.fate = fate


class Supervisor:
    """One worker at a time, one order at a time. Used by one thread at a time."""

    def __init__(self, *, stop: Event, torch_threads: int = 0) -> None:
        self.stop = stop
        self.torch_threads = torch_threads
        self._worker: WorkerProcess | None = None
        self._ready = False
        self._prepared_for: Spec | None = None
        self._memory_due = 0.0

    def start(self) -> None:
        """Start the worker without waiting for it, so that it imports while others get ready."""
        if self._worker is None:
            self._worker = WorkerProcess(torch_threads=self.torch_threads)
            self._ready, self._prepared_for, self._memory_due = False, None, 0.0

    def play(self, attempt: Attempt, spec: Spec, *, on_tick: Callable[[], None]) -> GameRecord:
        """Play one game under the spec's limits. Whatever happens, there is a record.

        Args:
            attempt: at which game.
            spec: whose agents and limits.
            on_tick: called about ten times a second while waiting.

        Raises:
            WorkerError: no worker could be started at all.
        """
        started_at = datetime.now(UTC)
        pid = 0
        try:
            worker = self._prepare(spec, on_tick)
            pid = worker.pid
            report = self._carry_out(worker, Play(attempt=attempt), spec, on_tick)
        except Stopped:
            outcome = Outcome.void(Termination.CANCELLED, None, "the run was stopped")
            return void_record(attempt, outcome, started_at=started_at, worker_pid=pid)
        except _WorkerLostError as lost:
            outcome = _verdict(lost.fate)
            return void_record(attempt, outcome, started_at=started_at, worker_pid=pid)
        if not isinstance(report, Played):
            raise WorkerDiedError(f"worker {pid} answered {type(report).__name__} to an order to play")
        return report.record

    def pose(self, question: Question, spec: Spec, *, on_tick: Callable[[], None]) -> Answer:
        """Put a position to an agent under a hard limit. Whatever happens, there is an answer.

        Raises:
            Stopped: the run is being stopped.
            WorkerError: no worker could be started at all.
        """
        started = time.monotonic()
        try:
            report = self._carry_out(self._prepare(spec, on_tick), Pose(question=question), spec, on_tick)
        except _WorkerLostError as lost:
            stalled = lost.fate.termination in {Termination.AGENT_STALL, Termination.GAME_TIMEOUT}
            opening = lost.fate.notice is None or lost.fate.notice.phase is not Phase.THINKING
            return Answer(
                position_id=question.position_id,
                status="timeout" if stalled else "error",
                move=None,
                legal=False,
                time_ms=round((time.monotonic() - started) * 1000),
                detail=lost.fate.detail,
                opened=not opening,
            )
        if not isinstance(report, Posed):
            raise WorkerDiedError(f"a worker answered {type(report).__name__} to a question")
        return report.answer

    def close(self) -> None:
        """End the worker, politely where it listens."""
        if self._worker is not None:
            worker, self._worker = self._worker, None
            if self.stop.is_set():
                worker.kill()
            else:
                worker.leave()

    def kill(self) -> None:
        """End the worker at once."""
        if self._worker is not None:
            worker, self._worker = self._worker, None
            worker.kill()

    def _prepare(self, spec: Spec, on_tick: Callable[[], None]) -> WorkerProcess:
        """A worker that is up and knows the spec.

        Raises:
            Stopped: the run is being stopped; the worker is gone.
            WorkerError: no worker could be started at all.
            _WorkerLostError: the worker died or did not listen; it will be replaced at the next order.
        """
        self._pause(on_tick)
        if self._worker is not None and self._ready and not self._worker.is_running():
            # Nothing was lost with it: it was idle.
            self.kill()
        self.start()
        worker = self._worker
        if worker is None:
            raise WorkerDiedError("no worker could be started")
        self._await_ready(worker, on_tick)
        if self._prepared_for is not spec and self._prepared_for != spec:
            with self._held(worker):
                deadline = time.monotonic() + BEGIN_SECONDS
                worker.send(Prepare(spec=spec), deadline=deadline, on_tick=lambda: self._pause(on_tick))
        self._prepared_for = spec
        return worker

    def _await_ready(self, worker: WorkerProcess, on_tick: Callable[[], None]) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not self._ready:
            self._pause(on_tick)
            try:
                self._ready = isinstance(worker.receive(TICK_SECONDS), Ready)
            except WorkerDiedError as error:
                self.kill()
                raise WorkerDiedError(f"{error}; it could not start") from error
            if not self._ready and time.monotonic() > deadline:
                self.kill()
                raise WorkerTimeoutError(f"worker {worker.pid} was not ready in {START_SECONDS:g} s")

    def _carry_out(self, worker: WorkerProcess, order: Order, spec: Spec, on_tick: Callable[[], None]) -> Report:
        """Send an order and wait for its report, under the worker's own absolute deadlines.

        Raises:
            Stopped: the run is being stopped; the worker is gone.
            _WorkerLostError: the worker died or was killed; it will be replaced at the next order.
        """
        with self._held(worker):
            last_number = worker.board.read().number
            begin_deadline = time.monotonic() + BEGIN_SECONDS
            worker.send(order, deadline=begin_deadline, on_tick=lambda: self._pause(on_tick))
            while (report := worker.receive(TICK_SECONDS)) is None:
                self._pause(on_tick)
                notice = worker.board.read()
                # The last word on the order before, which has no deadline, may come after its report.
                begun = notice.number != last_number and notice.phase is not Phase.IDLE
                self._check_deadline(notice if begun else None, time.monotonic(), begin_deadline)
                if (fault := self._memory_fault(worker, spec)) is not None:
                    raise _WorkerLostError(_Fate(Termination.MEMORY_LIMIT, fault, notice if begun else None))
        if self._memory_fault(worker, spec) is not None:
            # What was asked is done; orders too short to be looked at one by one must not hide a growing worker.
            self.kill()
        return report

    @contextmanager
    def _held(self, worker: WorkerProcess) -> Iterator[None]:
        """While a worker is in the middle of something: whatever goes wrong, it cannot take the next order."""
        try:
            yield
        except WorkerDiedError as error:
            notice = worker.board.read()
            self.kill()
            raise _WorkerLostError(_Fate(Termination.WORKER_CRASH, str(error), notice)) from error
        except WorkerTimeoutError as error:
            self.kill()
            raise _WorkerLostError(_Fate(Termination.WORKER_CRASH, str(error), None)) from error
        except BaseException:
            self.kill()
            raise

    def _pause(self, on_tick: Callable[[], None]) -> None:
        on_tick()
        if self.stop.is_set():
            self.kill()
            raise Stopped

    def _check_deadline(self, notice: Notice | None, now: float, begin_deadline: float) -> None:
        deadline = notice.deadline if notice is not None else begin_deadline
        if now <= deadline + GRACE_SECONDS:
            return
        if notice is None:
            fate = _Fate(Termination.WORKER_CRASH, "the worker did not begin with its order in time", None)
        elif notice.phase is Phase.OPENING:
            fate = _Fate(Termination.AGENT_START, "not ready by its deadline; its worker was killed", notice)
        else:
            fate = _Fate(Termination.AGENT_STALL, "no move by the hard limit; its worker was killed", notice)
        raise _WorkerLostError(fate)

    def _memory_fault(self, worker: WorkerProcess, spec: Spec) -> str | None:
        """What is wrong with the memory of the worker and its children; looked at four times a second."""
        now = time.monotonic()
        if now < self._memory_due:
            return None
        self._memory_due = now + MEMORY_CHECK_SECONDS
        used = worker.memory_bytes() / 2**20
        limit = spec.limits.worker_memory_mb
        if used <= limit:
            return None
        return f"the worker and its children used {used:.0f} MiB, more than worker_memory_mb = {limit}"


def _verdict(fate: _Fate) -> Outcome:
    side = fate.notice.side if fate.notice is not None else None
    blamed = side if fate.termination in {Termination.AGENT_START, Termination.AGENT_STALL} else None
    return Outcome.void(fate.termination, blamed, fate.detail)
