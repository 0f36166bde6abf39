"""A supervisor owns one worker: keeps its deadlines and its memory limit, and replaces it when it dies or is killed."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from threading import Event

from banzuke.errors import WorkerDiedError, WorkerTimeoutError
from banzuke.in_play import GameInPlay
from banzuke.match.recording import Attempt, void_record
from banzuke.outcome import Outcome, Side, Termination
from banzuke.record import GameRecord
from banzuke.specs import LimitsSpec, Spec, UsiAgent
from banzuke.workers.deadline_board import Notice, Phase
from banzuke.workers.messages import (
    Answer,
    Play,
    Played,
    Pose,
    Posed,
    Prepare,
    Question,
    Ready,
    Report,
)
from banzuke.workers.process import MemoryUse, WorkerProcess
from banzuke.workers.sight import Given, at_table

TICK_SECONDS = 0.1
MEMORY_CHECK_SECONDS = 0.25
GRACE_SECONDS = 0.75
"""How long past a deadline the worker may take to notice it itself, before it is killed."""
IN_PROCESS_GRACE_SECONDS = 0.25
"""The same where the agent computes in the worker itself: there is nothing to be ended before it says so."""
START_SECONDS = 120.0
"""For a worker to import what it needs."""
BEGIN_SECONDS = 30.0
"""For a worker to begin with an order: to close the agents of another spec, and to say whom it opens first."""


FATAL_SIGNALS = {signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL}
"""What ends a process for what it did itself; any other signal was sent by somebody."""


def play_seconds(limits: LimitsSpec) -> float:
    """The longest that an order to play may take: both agents are opened, the game passes its limit, and is ended."""
    return BEGIN_SECONDS + 2 * limits.start_seconds + limits.game_seconds + GRACE_SECONDS


class Stopped(Exception):  # noqa: N818 - not an error: the run was asked to stop
    """The run is being stopped; the worker was killed in the middle of something."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Duty:
    """What a worker is told to do, and what is known beforehand."""

    order: Play | Pose
    spec: Spec
    agents: Mapping[Side, str]
    deadline: float
    """On the monotonic clock, however often the worker writes to its board."""

    def side_of(self, agent: str) -> Side | None:
        """Where an agent sits, if it does."""
        return next((side for side, name in self.agents.items() if name == agent), None)

    def is_in_process(self, side: Side | None) -> bool:
        """Whether the side's agent computes in the worker's own process."""
        return side is not None and not isinstance(self.spec.agent(self.agents[side]), UsiAgent)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fate:
    """Why a worker had to be killed, or how it died."""

    termination: Termination
    detail: str
    fault: Side | None = None
    thinking: bool = False
    """Whether an agent was choosing a move then."""
    late: bool = False
    """Whether a deadline had passed."""


_CRASHED = _Fate(termination=Termination.WORKER_CRASH, detail="")


class _WorkerLostError(Exception):
    def __init__(self, fate: _Fate) -> None:
        super().__init__(fate.detail)
        self.fate = fate


class Supervisor:
    """One worker at a time, one order at a time. Used by one thread at a time.

    Args:
        stop: set to end whatever is being done, at once.
        torch_threads: see :class:`WorkerProcess`.
        enclosed: see :class:`WorkerProcess`.
    """

    def __init__(self, *, stop: Event, torch_threads: int = 0, enclosed: bool | None = None) -> None:
        self.stop = stop
        self.torch_threads = torch_threads
        self.enclosed = enclosed
        self._worker: WorkerProcess | None = None
        self._ready = False
        self._prepared_for: Spec | None = None
        self._memory_due = 0.0
        self._playing: Given | None = None

    def start(self) -> None:
        """Start the worker without waiting for it, so that it imports while others get ready."""
        if self._worker is None:
            self._worker = WorkerProcess(torch_threads=self.torch_threads, enclosed=self.enclosed)
            self._ready, self._prepared_for, self._memory_due = False, None, 0.0

    def play(
        self, attempt: Attempt, spec: Spec, *, on_tick: Callable[[], None], deadline: float | None = None
    ) -> GameRecord:
        """Play one game under the spec's limits. Whatever happens, there is a record.

        Args:
            attempt: at which game.
            spec: whose agents and limits.
            on_tick: called about ten times a second while waiting.
            deadline: of the batch, on the monotonic clock; past it the game is void (``batch_timeout``).

        Raises:
            WorkerError: no worker could be started at all.
        """
        started_at = datetime.now(UTC)
        pid = 0
        pause = self._pause(on_tick, deadline)
        planned = attempt.planned
        try:
            worker = self._prepare(spec, pause)
            self._playing = Given(attempt=attempt, spec=spec, since=time.monotonic())
            pid = worker.pid
            duty = _Duty(
                order=Play(attempt=attempt),
                spec=spec,
                agents={Side.FIRST: planned.first_agent, Side.SECOND: planned.second_agent},
                deadline=time.monotonic() + play_seconds(spec.limits),
            )
            report = self._carry_out(worker, duty, pause)
        except Stopped:
            outcome = Outcome.void(Termination.CANCELLED, None, "the run was stopped")
            return void_record(attempt, outcome, started_at=started_at, worker_pid=pid)
        except _WorkerLostError as lost:
            outcome = Outcome.void(lost.fate.termination, lost.fate.fault, lost.fate.detail)
            return void_record(attempt, outcome, started_at=started_at, worker_pid=pid)
        finally:
            self._playing = None
        if not isinstance(report, Played):
            raise WorkerDiedError(f"worker {pid} answered {type(report).__name__} to an order to play")
        # In a namespace of its own the worker knows itself under another number.
        return replace(report.record, worker_pid=pid)

    def pose(self, question: Question, spec: Spec, *, on_tick: Callable[[], None]) -> Answer:
        """Put a position to an agent under a hard limit. Whatever happens, there is an answer.

        Raises:
            Stopped: the run is being stopped.
            WorkerError: no worker could be started at all.
        """
        started = time.monotonic()
        pause = self._pause(on_tick, None)
        try:
            worker = self._prepare(spec, pause)
            duty = _Duty(
                order=Pose(question=question),
                spec=spec,
                agents={Side.FIRST: question.agent},
                # As for a game: the agent is opened, then made ready.
                deadline=time.monotonic() + play_seconds(spec.limits) - spec.limits.game_seconds + question.seconds,
            )
            report = self._carry_out(worker, duty, pause)
        except _WorkerLostError as lost:
            return Answer(
                position_id=question.position_id,
                status="timeout" if lost.fate.late and lost.fate.thinking else "error",
                move=None,
                legal=False,
                time_ms=round((time.monotonic() - started) * 1000),
                detail=lost.fate.detail,
                opened=lost.fate.thinking,
            )
        if not isinstance(report, Posed):
            raise WorkerDiedError(f"a worker answered {type(report).__name__} to a question")
        return report.answer

    def in_play(self) -> list[GameInPlay]:
        """The game that is being played now, if one is; for any thread."""
        worker, playing = self._worker, self._playing
        return [] if worker is None or playing is None else at_table(worker, playing)

    def give_up_worker(self) -> WorkerProcess | None:
        """A worker that is up and idle, for somebody else to use; None where there is none."""
        worker = self._worker
        if worker is None or not self._ready or not worker.is_running():
            return None
        self._worker = None
        return worker

    def close(self) -> None:
        """End the worker, politely where it listens."""
        if self._worker is not None:
            worker, self._worker = self._worker, None
            if self.stop.is_set():
                worker.kill()
            else:
                worker.leave()

    def kill(self, *, at_once: bool = False) -> None:
        """End the worker.

        Args:
            at_once: without the moment in which a program may end well: in that, one that eats memory eats on.
        """
        if self._worker is not None:
            worker, self._worker = self._worker, None
            worker.kill(at_once=at_once)

    def _pause(self, on_tick: Callable[[], None], deadline: float | None) -> Callable[[], None]:
        """What is done whenever something is waited for.

        It raises Stopped or _WorkerLostError, and the worker is gone, where there is nothing to be waited for any more.
        """

        def pause() -> None:
            on_tick()
            if self.stop.is_set():
                self.kill()
                raise Stopped
            if deadline is not None and time.monotonic() > deadline:
                self.kill()
                raise _WorkerLostError(
                    _Fate(termination=Termination.BATCH_TIMEOUT, detail="its batch passed its deadline", late=True)
                )

        return pause

    def _prepare(self, spec: Spec, pause: Callable[[], None]) -> WorkerProcess:
        """A worker that is up and knows the spec.

        Raises:
            Stopped: the run is being stopped; the worker is gone.
            WorkerError: no worker could be started at all.
            _WorkerLostError: the worker died or did not listen; it will be replaced at the next order.
        """
        pause()
        if self._worker is not None and self._ready and not self._worker.is_running():
            # Nothing was lost with it: it was idle.
            self.kill()
        self.start()
        worker = self._worker
        if worker is None:
            raise WorkerDiedError("no worker could be started")
        self._await_ready(worker, pause)
        if self._prepared_for is not spec and self._prepared_for != spec:
            with self._held(worker):
                worker.send(Prepare(spec=spec), deadline=time.monotonic() + BEGIN_SECONDS, on_tick=pause)
        self._prepared_for = spec
        return worker

    def _await_ready(self, worker: WorkerProcess, pause: Callable[[], None]) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not self._ready:
            pause()
            try:
                self._ready = isinstance(worker.receive(TICK_SECONDS), Ready)
            except WorkerDiedError as error:
                self.kill()
                raise WorkerDiedError(f"{error}; it could not start") from error
            if not self._ready and time.monotonic() > deadline:
                self.kill()
                raise WorkerTimeoutError(f"worker {worker.pid} was not ready in {START_SECONDS:g} s")

    def _carry_out(self, worker: WorkerProcess, duty: _Duty, pause: Callable[[], None]) -> Report:
        """Send an order and wait for its report, under the worker's own absolute deadlines and the order's.

        Raises:
            Stopped: the run is being stopped; the worker is gone.
            _WorkerLostError: the worker died or was killed; it will be replaced at the next order.
        """
        last_number = worker.board.read().number

        def news() -> Notice | None:
            notice = worker.board.read()
            # The last word on the order before, which has no deadline, may come after its report.
            return notice if notice.number != last_number and notice.phase is not Phase.IDLE else None

        with self._held(worker, lambda code: _death(duty, news(), code)):
            begin_deadline = time.monotonic() + BEGIN_SECONDS
            worker.send(duty.order, deadline=begin_deadline, on_tick=pause)
            while (report := worker.receive(TICK_SECONDS)) is None:
                pause()
                notice, now = news(), time.monotonic()
                fate = _lateness(duty, notice, now, begin_deadline) or self._memory_fate(worker, duty, notice)
                if fate is not None:
                    raise _WorkerLostError(fate)
        if self._memory_fate(worker, duty, None) is not None:
            # What was asked is done; orders too short to be looked at one by one must not hide a growing worker.
            self.kill(at_once=True)
        return report

    @contextmanager
    def _held(
        self, worker: WorkerProcess, death: Callable[[int | None], _Fate] = lambda _code: _CRASHED
    ) -> Iterator[None]:
        """While a worker is in the middle of something: whatever goes wrong, it cannot take the next order.

        Args:
            worker: which.
            death: what its death means, by its exit code; the detail is filled in.
        """
        try:
            yield
        except WorkerDiedError as error:
            fate = replace(death(worker.exit_code()), detail=str(error))
            self.kill()
            raise _WorkerLostError(fate) from error
        except WorkerTimeoutError as error:
            self.kill()
            raise _WorkerLostError(replace(_CRASHED, detail=str(error), late=True)) from error
        except _WorkerLostError as lost:
            self.kill(at_once=lost.fate.termination is Termination.MEMORY_LIMIT)
            raise
        except BaseException:
            self.kill()
            raise

    def _memory_fate(self, worker: WorkerProcess, duty: _Duty, notice: Notice | None) -> _Fate | None:
        """Whether the worker and its children hold too much; looked at four times a second."""
        now = time.monotonic()
        if now < self._memory_due:
            return None
        self._memory_due = now + MEMORY_CHECK_SECONDS
        limit = duty.spec.limits.worker_memory_mb
        if worker.memory_bytes() <= limit << 20:
            return None
        return _memory_blame(duty, notice, worker.memory_use())


def _death(duty: _Duty, notice: Notice | None, code: int | None) -> _Fate:
    """What it means that the worker ended in the middle of an order."""
    thinking = notice is not None and notice.phase is Phase.THINKING
    own_doing = code is not None and (code >= 0 or -code in FATAL_SIGNALS)
    side = notice.side if notice is not None and own_doing and duty.is_in_process(notice.side) else None
    return replace(_CRASHED, fault=side, thinking=thinking)


def _lateness(duty: _Duty, notice: Notice | None, now: float, begin_deadline: float) -> _Fate | None:
    """What it means that a deadline has passed and the worker has not said so; None where none has."""
    thinking = notice is not None and notice.phase is Phase.THINKING
    in_process = notice is not None and duty.is_in_process(notice.side)
    grace = IN_PROCESS_GRACE_SECONDS if in_process else GRACE_SECONDS
    if now > (begin_deadline if notice is None else notice.deadline) + grace:
        if notice is None:
            return replace(_CRASHED, detail="the worker did not begin with its order in time", late=True)
        if notice.side is None or not in_process:
            # An engine's deadline is kept by the worker; that it was not is no fault of the engine's.
            who = "the game's" if notice.side is None else f"{duty.agents[notice.side]}'s"
            detail = f"the worker did not notice {who} deadline; it was killed"
            return replace(_CRASHED, detail=detail, thinking=thinking, late=True)
        return _Fate(
            termination=Termination.AGENT_STALL if thinking else Termination.AGENT_START,
            detail=f"{'no move by the hard limit' if thinking else 'not ready by its deadline'}; its worker was killed",
            fault=notice.side,
            thinking=thinking,
            late=True,
        )
    if now > duty.deadline:
        return _Fate(
            termination=Termination.GAME_TIMEOUT,
            detail="the worker was still at it after all that start_seconds and game_seconds allow; it was killed",
            thinking=thinking,
            late=True,
        )
    return None


def _memory_blame(duty: _Duty, notice: Notice | None, use: MemoryUse) -> _Fate:
    """Whose doing it is that the limit was passed: of who holds more than half, if somebody does."""
    limit = duty.spec.limits.worker_memory_mb
    detail = f"the worker and its engines used {use.total >> 20} MiB, more than worker_memory_mb = {limit}"
    side = None
    agent = max(use.agents, key=lambda name: use.agents[name], default=None)
    if agent is not None and 2 * use.agents[agent] > use.total:
        side = duty.side_of(agent)
        detail += f"; {agent} {use.agents[agent] >> 20} MiB of it" + (
            "" if side is not None else ", an agent of other games"
        )
    elif 2 * use.worker > use.total and notice is not None and duty.is_in_process(notice.side):
        side = notice.side
        who = "" if side is None else f", {duty.agents[side]} in it"
        detail += f"; the worker itself {use.worker >> 20} MiB of it{who}"
    return _Fate(
        termination=Termination.MEMORY_LIMIT,
        detail=detail,
        fault=side,
        thinking=notice is not None and notice.phase is Phase.THINKING,
    )
