"""The hall: where games without engines are played, many at a time in every worker.

One queue for all, one keeper for each worker. A keeper is a thread that owns a worker, keeps its lanes filled from the
queue, keeps its deadlines and its memory limit, replaces it when it dies or must be killed, and puts the games that
were in play back. Games of different batches and runs share a worker, so that a lane which falls free takes the next
game, whoever asked for it.

Every game handed in is answered exactly once: by a record, by None where it was not played, or by an error. A game
that was being thought about when its worker died, or that was in play at several deaths, is played alone; if it kills
its worker again it is void, and the others were never harmed.
"""

from __future__ import annotations

import itertools
import queue
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from threading import Condition, Event, Thread

from banzuke.errors import WorkerDiedError, WorkerTimeoutError
from banzuke.in_play import GameInPlay
from banzuke.match.recording import Attempt, void_record
from banzuke.outcome import Outcome, Side, Termination
from banzuke.progress import announce_problem
from banzuke.record import GameRecord, PlannedGame
from banzuke.schedule.residency import gather
from banzuke.specs import CheckpointAgent, Spec
from banzuke.workers.cores import Cores
from banzuke.workers.deadline_board import Notice, Phase
from banzuke.workers.lane_games import SHARE_OF_MEMORY
from banzuke.workers.messages import Admit, Join, LanePlayed, Ready, Remarked, Report
from banzuke.workers.process import WorkerProcess
from banzuke.workers.sight import Given, on_lanes
from banzuke.workers.supervisor import (
    BEGIN_SECONDS,
    FATAL_SIGNALS,
    IN_PROCESS_GRACE_SECONDS,
    MEMORY_CHECK_SECONDS,
    START_SECONDS,
    TICK_SECONDS,
    play_seconds,
)

LANES_PER_NETWORK = 32
"""The network that most lanes wait for is about twice as full as all are in the mean."""
FEWEST_LANES = 72
"""A few more than the largest batch shape on a CPU, so that a game that ends leaves no hole in it."""
MOST_LANES = 512
NETWORKS_IN_PLAY = 16
"""Of the networks of a run at a time; more would need more lanes."""
AHEAD = 8
"""Games a worker is given beyond its lanes, so that one that falls free is filled at once."""
DEATHS_IN_COMPANY = 2
"""A game that was in play at so many deaths of workers is played alone."""
CLOSE_SECONDS = 8.0
TURN_SECONDS = 60.0
"""A keeper that has had a core for so long gives it to others who wait for one, when its games are over."""


def lanes_of(spec: Spec) -> int:
    """How many games of a spec advance together in a worker, unless the limits say."""
    if spec.limits.lanes is not None:
        return spec.limits.lanes
    networks = sum(agent.kind == "checkpoint" for agent in spec.agents)
    return min(max(LANES_PER_NETWORK * networks, FEWEST_LANES), MOST_LANES)


def networks_in_play(spec: Spec) -> int:
    """How many networks of a spec are best in play at a time: as many as fit, and as its lanes keep busy."""
    sizes = [_file_bytes(agent.path) for agent in spec.agents if isinstance(agent, CheckpointAgent)]
    budget = SHARE_OF_MEMORY * (spec.limits.worker_memory_mb << 20)
    fitting = int(budget // max([1, *sizes]))
    return max(2, min(NETWORKS_IN_PLAY, fitting))


def order_of_play(games: Sequence[PlannedGame], spec: Spec) -> list[PlannedGame]:
    """Games without engines, in an order that lets each network be loaded a few times only."""
    networks = {agent.name: agent.path for agent in spec.agents if isinstance(agent, CheckpointAgent)}

    def networks_of(game: PlannedGame) -> set[str]:
        return {networks[name] for name in (game.first_agent, game.second_agent) if name in networks}

    return gather(games, networks_of=networks_of, room=networks_in_play(spec))


def _file_bytes(path: str) -> int:
    """An upper bound of what a network needs: a trainer's file holds its optimizer's state, too."""
    try:
        return Path(path).stat().st_size
    except OSError:
        return 0


@dataclass(slots=True, kw_only=True, eq=False)
class HallGame:
    """A game that was handed in."""

    attempt: Attempt
    spec: Spec
    is_put_off: Callable[[PlannedGame], bool]
    """Asked when it is its turn; one that is put off is not played."""
    answers: queue.SimpleQueue[HallAnswer]
    deaths: int = 0
    """Of workers it was in play in."""
    is_suspect: bool = False
    begun_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    due: float = float("inf")
    """When a worker that was given it must be done with it."""

    @property
    def plays_alone(self) -> bool:
        """Whether its company has to be spared."""
        return self.is_suspect or self.deaths >= DEATHS_IN_COMPANY

    def answer(self, record: GameRecord | None, error: BaseException | None = None) -> None:
        """Say what became of it."""
        self.answers.put(HallAnswer(game=self, record=record, error=error))


@dataclass(frozen=True, slots=True, kw_only=True)
class HallAnswer:
    """What became of a game: a record, or neither where it was not played."""

    game: HallGame
    record: GameRecord | None
    error: BaseException | None


class Hall:
    """Keepers and the queue of games that they share.

    Args:
        size: how many workers.
        stop: set to end whatever is being played, at once.
        torch_threads: see :class:`WorkerProcess`.
        cores: taken by a keeper while it has games; None where nobody minds how many play at once.
        worker: a worker that stands idle elsewhere; None where a new one is to be started.
    """

    def __init__(
        self,
        size: int,
        *,
        stop: Event,
        torch_threads: int,
        cores: Cores | None = None,
        worker: Callable[[], WorkerProcess | None] = lambda: None,
    ) -> None:
        self.size = size
        self.stop = stop
        self.torch_threads = torch_threads
        self.cores = cores
        self.idle_worker = worker
        self.positions: dict[int, int] = {}
        """How many positions networks were asked about, by keeper, in its present worker."""
        self._news = Condition()
        self._queue: deque[HallGame] = deque()
        self._suspects: deque[HallGame] = deque()
        self._in_play = 0
        self._closing = False
        self._remarks: set[tuple[str, str]] = set()
        self._keepers = [_Keeper(self, number) for number in range(size)]
        self._threads = [
            Thread(target=keeper.keep, name=f"keeper-{keeper.number}", daemon=True) for keeper in self._keepers
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, games: Iterable[HallGame]) -> None:
        """Hand games in; each is answered in its own queue."""
        with self._news:
            if self._closing:
                for game in games:
                    game.answer(None)
                return
            self._queue.extend(games)
            self._news.notify_all()

    def close(self) -> None:
        """End every worker; whatever is still in play or waits is answered. Idempotent."""
        with self._news:
            self._closing = True
            self._news.notify_all()
        deadline = time.monotonic() + CLOSE_SECONDS
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        for keeper in self._keepers:
            keeper.end_worker()
        self._turn_away()

    @property
    def waiting(self) -> int:
        """How many games no worker has been given yet."""
        return len(self._queue) + len(self._suspects)

    @property
    def is_closing(self) -> bool:
        """Whether nothing more is to be begun."""
        return self._closing or self.stop.is_set()

    def take(self, held: int) -> list[HallGame]:
        """Games for a keeper that has so many: a suspect alone, else a fair share of what there is to its lanes."""
        with self._news:
            if self.is_closing:
                self._turn_away()
                return []
            if not held and (suspect := self._next(self._suspects)) is not None:
                self._in_play += 1
                return [suspect]
            taken: list[HallGame] = []
            while self._queue and held + len(taken) < self._room():
                game = self._next(self._queue)
                if game is not None:
                    taken.append(game)
                    self._in_play += 1
            return taken

    def give_back(self, games: Iterable[HallGame]) -> None:
        """Games whose worker was lost: played again before the others, by whoever is free."""
        with self._news:
            for game in games:
                self._in_play -= 1
                (self._suspects if game.plays_alone else self._queue).appendleft(game)
            self._news.notify_all()

    def done(self, game: HallGame, record: GameRecord | None, error: BaseException | None = None) -> None:
        """A game that was taken has an answer."""
        with self._news:
            self._in_play -= 1
        game.answer(record, error)

    def wait(self) -> bool:
        """Until something may be there to be taken; False where there will never be."""
        with self._news:
            if not self._closing and not self._queue and not self._suspects:
                self._news.wait(TICK_SECONDS)
            return not self._closing

    def in_play(self, *, watched_until: float) -> list[GameInPlay]:
        """The games that workers have been given; for any thread.

        Args:
            watched_until: for so long, on the monotonic clock, workers write down how their games stand.
        """
        return [game for keeper in self._keepers for game in keeper.in_play(watched_until)]

    def remark(self, agent: str, remark: str) -> None:
        """Tell people what they have to know about an agent's network, once."""
        if (agent, remark) not in self._remarks:
            self._remarks.add((agent, remark))
            announce_problem(f"{agent}: {remark}")

    def _room(self) -> int:
        lanes = lanes_of(self._queue[0].spec)
        share = -(-(len(self._queue) + self._in_play) // self.size)
        return min(lanes + AHEAD, share)

    def _next(self, games: deque[HallGame]) -> HallGame | None:
        while games:
            game = games.popleft()
            if not game.is_put_off(game.attempt.planned):
                return game
            game.answer(None)
        return None

    def _turn_away(self) -> None:
        for games in (self._suspects, self._queue):
            while games:
                games.popleft().answer(None)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fate:
    """Why a worker is lost."""

    termination: Termination
    detail: str
    is_blamed: bool = True
    """Whether the agent that was at work then is at fault."""
    guilty: HallGame | None = None
    """The game that is void for it at once, whoever else was there."""


class _Keeper:
    """One worker's keeper."""

    def __init__(self, hall: Hall, number: int) -> None:
        self.hall = hall
        self.number = number
        self.worker: WorkerProcess | None = None
        self._games: dict[int, HallGame] = {}
        self._entries = itertools.count(1)
        self._admitted: list[Spec] = []
        self._memory_due = 0.0
        self._place: object | None = None
        self._has_core = False
        self._core_since = 0.0
        self._quiet_since = 0.0

    def keep(self) -> None:
        """Play whatever is handed in, until the hall is closed."""
        while self.hall.wait() or self._games:
            try:
                self._turn()
            except Exception as error:  # noqa: BLE001 - whoever waits for a game must be told
                self.end_worker()
                self._answer_all(error)
        self.end_worker(politely=True)

    def _turn(self) -> None:
        """As long as there is something to play: one report, or a tick."""
        while True:
            if self.hall.is_closing:
                self._stop()
                return
            if not self._games and not self._take_core():
                return
            wait = self._is_with_suspect() or (self._games and self._has_had_its_turn())
            taken = [] if wait else self.hall.take(len(self._games))
            idle = not self._games
            for game in taken:
                self._games[next(self._entries)] = game
            try:
                if taken:
                    self._send(list(self._games.items())[-len(taken) :], idle=idle)
                if not self._games:
                    self._leave_core()
                    return
                self._listen()
            except _WorkerLostError as lost:
                self._bury(lost.fate)

    def in_play(self, watched_until: float) -> list[GameInPlay]:
        """See :meth:`Hall.in_play`."""
        worker = self.worker
        if worker is None:
            return []
        worker.games_board.watch(watched_until)
        games = dict(self._games)
        given = {entry: Given(attempt=game.attempt, spec=game.spec, since=0.0) for entry, game in games.items()}
        return on_lanes(worker, given)

    def _is_with_suspect(self) -> bool:
        return len(self._games) == 1 and next(iter(self._games.values())).plays_alone

    def _send(self, games: list[tuple[int, HallGame]], *, idle: bool) -> None:
        if idle and self.worker is not None and not self.worker.is_running():
            # Nothing was lost with it.
            self.end_worker()
        worker = self._running_worker()
        now = time.monotonic()
        for entry, game in games:
            number = self._admit(worker, game.spec)
            game.begun_at = datetime.now(UTC)
            # It may have to wait for a lane as long as another game takes.
            game.due = now + 2 * play_seconds(game.spec.limits)
            self._tell(worker, Join(spec=number, entry=entry, attempt=game.attempt))
        self._quiet_since = time.monotonic()

    def _admit(self, worker: WorkerProcess, spec: Spec) -> int:
        for number, known in enumerate(self._admitted):
            if known is spec or known == spec:
                return number
        self._admitted.append(spec)
        number = len(self._admitted) - 1
        self._tell(worker, Admit(number=number, spec=spec, lanes=lanes_of(spec)))
        return number

    def _tell(self, worker: WorkerProcess, order: Admit | Join) -> None:
        try:
            worker.send(order, deadline=time.monotonic() + START_SECONDS, on_tick=self._check)
        except WorkerDiedError as error:
            raise _WorkerLostError(self._death(str(error))) from error
        except WorkerTimeoutError as error:
            raise _WorkerLostError(
                _Fate(termination=Termination.WORKER_CRASH, detail=str(error), is_blamed=False)
            ) from error

    def _running_worker(self) -> WorkerProcess:
        if self.worker is None:
            self.worker = self.hall.idle_worker()
            if self.worker is None:
                self.worker = WorkerProcess(torch_threads=self.hall.torch_threads)
                self._await_ready(self.worker)
            self._admitted.clear()
            self._memory_due = 0.0
        return self.worker

    def _await_ready(self, worker: WorkerProcess) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not isinstance(worker.receive(TICK_SECONDS), Ready):
            if self.hall.stop.is_set():
                return
            if time.monotonic() > deadline:
                raise WorkerTimeoutError(f"worker {worker.pid} was not ready in {START_SECONDS:g} s")

    def _listen(self) -> None:
        worker = self.worker
        if worker is None:
            raise RuntimeError("games in play without a worker")
        try:
            report = worker.receive(TICK_SECONDS)
        except WorkerDiedError as error:
            raise _WorkerLostError(self._death(str(error))) from error
        if report is None:
            self._check()
        else:
            self._hear(worker, report)
            self._check_memory(worker)

    def _hear(self, worker: WorkerProcess, report: Report) -> None:
        if isinstance(report, Remarked):
            self.hall.remark(report.agent, report.remark)
        elif isinstance(report, LanePlayed) and report.entry in self._games:
            game = self._games.pop(report.entry)
            self.hall.positions[self.number] = report.positions
            self._quiet_since = time.monotonic()
            # In a namespace of its own the worker knows itself under another number.
            self.hall.done(game, replace(report.record, worker_pid=worker.pid))
        else:
            raise WorkerDiedError(f"worker {worker.pid} said {type(report).__name__} without being asked")

    def _check(self) -> None:
        """Whether the worker may go on.

        Raises:
            _WorkerLostError: it may not.
        """
        worker = self.worker
        if worker is None or self.hall.is_closing:
            return
        notice, now = self._notice(), time.monotonic()
        fate = self._lateness(notice, now)
        if fate is not None:
            raise _WorkerLostError(fate)
        self._check_memory(worker)

    def _notice(self) -> Notice:
        if self.worker is None:
            raise RuntimeError("nobody to read from")
        return self.worker.board.read()

    def _lateness(self, notice: Notice, now: float) -> _Fate | None:
        if notice.phase is Phase.IDLE:
            if self._games and now > self._quiet_since + BEGIN_SECONDS:
                detail = "the worker did not begin with its games in time"
                return _Fate(termination=Termination.WORKER_CRASH, detail=detail, is_blamed=False)
        elif now > notice.deadline + IN_PROCESS_GRACE_SECONDS:
            if notice.phase is Phase.THINKING:
                detail = "no move by the hard limit; its worker was killed"
                return _Fate(termination=Termination.AGENT_STALL, detail=detail)
            detail = "not ready by its deadline; its worker was killed"
            return _Fate(termination=Termination.AGENT_START, detail=detail)
        for game in self._games.values():
            if now > game.due:
                detail = "the worker was still at it after all that start_seconds and game_seconds allow; it was killed"
                return _Fate(termination=Termination.GAME_TIMEOUT, detail=detail, is_blamed=False, guilty=game)
        return None

    def _check_memory(self, worker: WorkerProcess) -> None:
        now = time.monotonic()
        if now < self._memory_due or not self._games:
            return
        self._memory_due = now + MEMORY_CHECK_SECONDS
        limit = max(game.spec.limits.worker_memory_mb for game in self._games.values())
        used = worker.memory_bytes()
        if used > limit << 20:
            detail = f"the worker used {used >> 20} MiB, more than worker_memory_mb = {limit}"
            # Nobody's doing where nobody was at work, and nothing would come of playing that game alone.
            blamed = bool(self._notice().movers)
            raise _WorkerLostError(_Fate(termination=Termination.MEMORY_LIMIT, detail=detail, is_blamed=blamed))

    def _death(self, detail: str) -> _Fate:
        code = None if self.worker is None else self.worker.exit_code()
        own_doing = code is not None and (code >= 0 or -code in FATAL_SIGNALS)
        return _Fate(termination=Termination.WORKER_CRASH, detail=detail, is_blamed=own_doing)

    def _bury(self, fate: _Fate) -> None:
        """The worker is lost: who is to be blamed is void, the others are given back."""
        movers: dict[int, Side] = {}
        pid = 0
        if self.worker is not None:
            movers = {mover // 2: tuple(Side)[mover % 2] for mover in self._notice().movers}
            pid = self.worker.pid
        self.end_worker(at_once=fate.termination is Termination.MEMORY_LIMIT)
        games, self._games = self._games, {}
        back: list[HallGame] = []
        for entry, game in games.items():
            opening = fate.termination is Termination.AGENT_START and entry in movers
            if game is fate.guilty or opening or game.plays_alone:
                side = movers.get(entry) if fate.is_blamed else None
                self.hall.done(game, _void(game, Outcome.void(fate.termination, side, fate.detail), pid))
                continue
            game.deaths += 1
            game.is_suspect = game.is_suspect or (fate.is_blamed and entry in movers)
            back.append(game)
        self.hall.give_back(reversed(back))

    def _stop(self) -> None:
        """The run is being stopped, or nobody needs the hall any more."""
        pid = 0 if self.worker is None else self.worker.pid
        self.end_worker(politely=not self.hall.stop.is_set())
        outcome = Outcome.void(Termination.CANCELLED, None, "the run was stopped")
        for game in self._games.values():
            self.hall.done(game, _void(game, outcome, pid))
        self._games.clear()
        self._leave_core()
        self.hall.take(0)

    def _answer_all(self, error: BaseException) -> None:
        games, self._games = self._games, {}
        for game in games.values():
            self.hall.done(game, None, error)
        self._leave_core()

    def end_worker(self, *, politely: bool = False, at_once: bool = False) -> None:
        """Be rid of the worker, if there is one."""
        worker, self.worker = self.worker, None
        if worker is None:
            return
        if politely:
            worker.leave()
        else:
            worker.kill(at_once=at_once)

    def _take_core(self) -> bool:
        """Wait a moment for a core, where there are not enough for all."""
        cores = self.hall.cores
        if cores is None or self._has_core:
            return True
        if not self.hall.waiting:
            self._leave_core()
            return False
        if self._place is None:
            self._place = cores.stand_in_line()
        if cores.take(self._place, seconds=TICK_SECONDS):
            self._place, self._has_core, self._core_since = None, True, time.monotonic()
        return self._has_core

    def _has_had_its_turn(self) -> bool:
        """Whether others wait for the core; the games in play are ended first."""
        if self.hall.cores is None or not self.hall.cores.is_wanted:
            return False
        return time.monotonic() > self._core_since + TURN_SECONDS

    def _leave_core(self) -> None:
        cores = self.hall.cores
        if cores is not None and self._place is not None:
            cores.leave_line(self._place)
            self._place = None
        if cores is not None and self._has_core:
            self._has_core = False
            cores.release()


class _WorkerLostError(Exception):
    def __init__(self, fate: _Fate) -> None:
        super().__init__(fate.detail)
        self.fate = fate


def _void(game: HallGame, outcome: Outcome, pid: int) -> GameRecord:
    return void_record(game.attempt, outcome, started_at=game.begun_at, worker_pid=pid)
