"""A supervisor owns one worker: keeps its deadlines and its memory limit, and replaces it when it dies or is killed."""

from __future__ import annotations

import time
from collections.abc import Callable
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

    def start(self) -> None:
        """Start the worker without waiting for it, so that it imports while others get ready."""
        if self._worker is None:
            self._worker = WorkerProcess(torch_threads=self.torch_threads)
            self._ready, self._prepared_for = False, None

    def play(self, attempt: Attempt, spec: Spec, *, on_tick: Callable[[], None]) -> GameRecord:
        """Play one game under the spec's limits. Whatever happens, there is a record.

        Args:
            attempt: at which game.
            spec: whose agents and limits.
            on_tick: called about ten times a second while waiting.

        Raises:
            WorkerDiedError: no worker could be started at all.
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
            WorkerDiedError: no worker could be started at all.
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
        """A worker that is up and knows the spec."""
        self.start()
        worker = self._worker
        if worker is None:
            raise WorkerDiedError("no worker could be started")
        deadline = time.monotonic() + START_SECONDS
        while not self._ready:
            self._pause(on_tick)
            try:
                self._ready = isinstance(worker.receive(TICK_SECONDS), Ready)
            except WorkerDiedError as error:
                self.kill()
                raise WorkerDiedError(f"{error}; it could not start") from error
            if time.monotonic() > deadline:
                self.kill()
                raise WorkerTimeoutError(f"worker {worker.pid} was not ready in {START_SECONDS:g} s")
        if self._prepared_for is not spec and self._prepared_for != spec:
            worker.send(Prepare(spec=spec), deadline=deadline)
        self._prepared_for = spec
        return worker

    def _carry_out(self, worker: WorkerProcess, order: Order, spec: Spec, on_tick: Callable[[], None]) -> Report:
        """Send an order and wait for its report, under the worker's own absolute deadlines.

        Raises:
            Stopped: the run is being stopped; the worker is gone.
            _WorkerLostError: the worker died or was killed; it will be replaced at the next order.
        """
        last_notice = worker.board.read().number
        sent = time.monotonic()
        memory_due = sent
        try:
            worker.send(order, deadline=sent + spec.limits.start_seconds)
            while (report := worker.receive(TICK_SECONDS)) is None:
                self._pause(on_tick)
                now = time.monotonic()
                notice = worker.board.read()
                fresh = notice if notice.number != last_notice else None
                self._check_deadline(fresh, now, sent + spec.limits.start_seconds)
                if now >= memory_due:
                    memory_due = now + MEMORY_CHECK_SECONDS
                    self._check_memory(worker, spec, fresh)
        except WorkerDiedError as error:
            notice = worker.board.read()
            self.kill()
            raise _WorkerLostError(_Fate(Termination.WORKER_CRASH, str(error), notice)) from error
        except WorkerTimeoutError as error:
            self.kill()
            raise _WorkerLostError(_Fate(Termination.WORKER_CRASH, str(error), None)) from error
        except BaseException:
            # Also when the caller's tick fails: a worker in the middle of something cannot take the next order.
            self.kill()
            raise
        return report

    def _pause(self, on_tick: Callable[[], None]) -> None:
        on_tick()
        if self.stop.is_set():
            self.kill()
            raise Stopped

    def _check_deadline(self, notice: Notice | None, now: float, start_deadline: float) -> None:
        deadline = notice.deadline if notice is not None else start_deadline
        if now <= deadline + GRACE_SECONDS:
            return
        if notice is None:
            fate = _Fate(Termination.WORKER_CRASH, "the worker did not begin with its order in time", None)
        elif notice.phase is Phase.OPENING:
            fate = _Fate(Termination.AGENT_START, "not ready by its deadline; its worker was killed", notice)
        else:
            fate = _Fate(Termination.AGENT_STALL, "no move by the hard limit; its worker was killed", notice)
        raise _WorkerLostError(fate)

    def _check_memory(self, worker: WorkerProcess, spec: Spec, notice: Notice | None) -> None:
        used = worker.memory_bytes() / 2**20
        limit = spec.limits.worker_memory_mb
        if used > limit:
            detail = f"the worker and its children used {used:.0f} MiB, more than worker_memory_mb = {limit}"
            raise _WorkerLostError(_Fate(Termination.MEMORY_LIMIT, detail, notice))


def _verdict(fate: _Fate) -> Outcome:
    side = fate.notice.side if fate.notice is not None else None
    blamed = side if fate.termination in {Termination.AGENT_START, Termination.AGENT_STALL} else None
    return Outcome.void(fate.termination, blamed, fate.detail)
