"""Many games advancing together, so that every network is asked about many positions at a time.

A *lane* holds one game. Whoever has the move and needs no network (random, material) answers at once; every other
lane waits for its network, and the network that most lanes wait for is asked next, about as many of them as fill its
batch shapes. A lane whose game has ended takes the next game, from that game's own start.

What a game's moves are does not depend on the lanes beside it: a network's answer does not depend on the rest of its
batch (see ``players/networks/batched.py``), and whatever is drawn by lot comes from the game's own seed.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from banzuke.errors import AgentError, AgentStallError
from banzuke.match.game import GameResult
from banzuke.outcome import Outcome, Side, Termination

if TYPE_CHECKING:
    from banzuke.games.shogi import ShogiBoard, ShogiRules
    from banzuke.match.recording import Attempt

FULL = 16
"""Positions that are worth a pass: fewer take nearly as long, on a CPU and more so on a GPU."""
WORTH_PADDING = 0.94
"""A batch shape that is filled to so much of it is not worth waiting for."""
PATIENCE = 4
"""A position is left waiting for its network while others are asked at most so often per network in play."""
THINKERS_SECONDS = 0.05
"""How long those that think by themselves may do so between two passes; a move that was begun is ended."""
SHARE_OF_A_MOVE = 0.25
"""How much of ``move_seconds`` one pass may take, as far as smaller shapes allow that."""
LONG_GAME_SECONDS = 60.0
"""A game of ``max_plies`` beside all the others had better not take longer than that."""
PACE_WEIGHT = 0.2
SHARE_OF_A_GAME = 0.5
"""How much of ``game_seconds`` a game of ``max_plies`` may be expected to take beside all the others."""


class Answers(Protocol):
    """What a network chose for a batch."""

    @property
    def moves(self) -> Sequence[int]:
        """As cshogi's integers; 0 where there is a fault."""
        ...

    @property
    def evals(self) -> Sequence[int | None]:
        """In centipawns, for the mover."""
        ...

    @property
    def faults(self) -> dict[int, str]:
        """Why there is no move, by place in the batch."""
        ...


class Pending(Protocol):
    """A pass that was begun."""

    def finish(self) -> Answers:
        """Wait for it.

        Raises:
            AgentCrashError: it failed.
        """
        ...


class Network(Protocol):
    """What is asked about many positions at a time."""

    @property
    def device(self) -> str:
        """What it computes on: ``cpu``, ``cuda:0``."""
        ...

    @property
    def shapes(self) -> tuple[int, ...]:
        """The batch sizes that passes are padded to, rising."""
        ...

    @property
    def passes(self) -> int:
        """How many may be begun before the first is finished."""
        ...

    @property
    def remarks(self) -> Sequence[str]:
        """What it cannot promise on this device, a line each."""
        ...

    def begin(self, queries: Sequence[Any]) -> Pending:
        """Ask about positions, at most ``shapes[-1]``.

        Raises:
            AgentCrashError: the pass failed.
        """
        ...


class LanePlayer(Protocol):
    """An agent seated in one game on a lane."""

    @property
    def agent(self) -> str:
        """Its name in the spec."""
        ...

    @property
    def device(self) -> str:
        """What it computes on."""
        ...

    @property
    def network(self) -> Network | None:
        """What it asks; None where it answers by itself."""
        ...

    @property
    def is_instant(self) -> bool:
        """Whether it answers by itself, in less time than it takes to look at the clock."""
        ...

    def query(self, board: ShogiBoard, moves: list[int]) -> Any:  # noqa: ANN401 - between it and its network
        """What its network is to be asked in a position with these legal moves."""
        ...

    def choose_native(self, board: ShogiBoard, moves: list[int], *, deadline: float) -> tuple[int, int | None]:
        """Its own answer: a legal move and its score.

        Raises:
            AgentError: it has none.
        """
        ...


class Thinking(NamedTuple):
    """What begins now, and until when it may last."""

    movers: Sequence[int]
    """The games in which a move is being chosen, each as twice its entry, plus one for ``Side.SECOND``."""
    deadline: float
    """On the monotonic clock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneLimits:
    """What holds for a game on a lane."""

    max_plies: int
    move_seconds: float
    game_seconds: float


class Lane:
    """A game in progress. ``players`` are those of ``Side.FIRST`` and ``Side.SECOND``."""

    __slots__ = (
        "attempt",
        "board",
        "deadline",
        "declares",
        "entry",
        "evals",
        "limits",
        "moves",
        "players",
        "since",
        "times_ms",
        "turn",
    )

    def __init__(
        self,
        entry: int,
        attempt: Attempt,
        players: tuple[LanePlayer, LanePlayer],
        *,
        rules: ShogiRules,
        limits: LaneLimits,
    ) -> None:
        planned = attempt.planned
        self.entry = entry
        self.attempt = attempt
        self.players = players
        self.limits = limits
        self.board = rules.start(planned.start_position, max_plies=limits.max_plies)
        for move in planned.opening_moves:
            self.board.push(move)
        self.declares = rules.name == "csa"
        self.turn = len(planned.opening_moves) % 2
        self.times_ms = [0] * len(planned.opening_moves)
        self.evals: list[int | None] = [None] * len(planned.opening_moves)
        self.deadline = time.monotonic() + limits.game_seconds
        self.moves: list[int] = []
        self.since = 0

    def side(self) -> Side:
        """Who has the move."""
        return Side.SECOND if self.turn else Side.FIRST

    def result(self, outcome: Outcome) -> GameResult:
        """What is kept of the game."""
        book = self.attempt.planned.opening_plies
        own = [self.times_ms[book + (book + side) % 2 :: 2] for side in (0, 1)]
        return GameResult(
            outcome=outcome,
            moves=tuple(self.board.moves),
            times_ms=tuple(self.times_ms),
            evals=tuple(self.evals) if any(value is not None for value in self.evals) else None,
            thinking_ms=(sum(own[0]), sum(own[1])),
            longest_ms=(max(own[0], default=0), max(own[1], default=0)),
        )


class Ended(NamedTuple):
    """A game that is over, and its lane."""

    lane: Lane
    outcome: Outcome


class _Pass(NamedTuple):
    """A batch that a network was asked about."""

    lanes: list[Lane]
    pending: Pending
    started: float
    queue: _Queue


class _Queue:
    """The lanes that wait for one network."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.lanes: deque[Lane] = deque()
        self.players = 0
        """Seats on lanes, waiting or not."""
        self.seconds_per_position = 0.0
        """As of late."""


class Lanes:
    """The games that advance together in this process.

    Args:
        thinking: told before anything that takes long.
    """

    def __init__(self, thinking: Callable[[Thinking], None]) -> None:
        self.thinking = thinking
        self.games = 0
        """How many are in play."""
        self.positions = 0
        """How many networks were asked about so far."""
        self._queues: dict[int, _Queue] = {}
        self._passes: deque[_Pass] = deque()
        self._thinkers: deque[Lane] = deque()
        self._ended: list[Ended] = []
        self._count = 0
        self._asked_last: _Queue | None = None
        self._max_plies, self._game_seconds = 1, float("inf")
        self._plies = 0
        self._seconds_per_ply = 0.0
        """As of late, of all games together."""

    def is_full(self, wanted: int) -> bool:
        """Whether another game beside those in play would endanger the limits of all.

        Args:
            wanted: how many there are to be if nothing speaks against it.
        """
        if self.games >= wanted:
            return True
        seconds = self._seconds_per_ply * (self.games + 1) * self._max_plies
        if self.games and seconds > SHARE_OF_A_GAME * self._game_seconds:
            return True
        # What is in play is lost when the worker is killed. But fewer lanes than that would leave passes unfilled.
        is_slow = seconds > LONG_GAME_SECONDS or not self._seconds_per_ply
        return self.games >= FULL * max(2, len(self._queues)) and is_slow

    def seat(self, lane: Lane) -> None:
        """Take a game in; it may end at once."""
        limits = lane.limits
        self._max_plies, self._game_seconds = limits.max_plies, limits.game_seconds
        self.games += 1
        for player in lane.players:
            if player.network is not None:
                self._queue_of(player.network).players += 1
        outcome = lane.board.outcome()
        if outcome is not None:
            self._end(lane, outcome)
        else:
            self._go_on(lane, list(lane.board.cshogi.legal_moves))

    def step(self) -> Iterator[Ended]:
        """Ask one network, let others think meanwhile, take in what one has answered; the games that are over."""
        started, self._plies = time.monotonic(), 0
        while (queue := self._next_queue()) is not None:
            self._begin(queue)
        until = time.monotonic() + THINKERS_SECONDS
        while self._thinkers and time.monotonic() < until:
            self._think(self._thinkers.popleft())
        if self._passes:
            self._finish(self._passes.popleft())
        if self._plies:
            latest = (time.monotonic() - started) / self._plies
            self._seconds_per_ply += PACE_WEIGHT * (latest - self._seconds_per_ply)
        ended, self._ended = self._ended, []
        yield from ended

    def is_seated(self, network: Network) -> bool:
        """Whether a game in play needs it."""
        queue = self._queues.get(id(network))
        return queue is not None and queue.players > 0

    def _queue_of(self, network: Network) -> _Queue:
        queue = self._queues.get(id(network))
        if queue is None:
            queue = self._queues[id(network)] = _Queue(network)
        return queue

    def _next_queue(self) -> _Queue | None:
        """Who is asked next; None where there is nobody, or where an answer should be awaited first."""
        waiting = [queue for queue in self._queues.values() if queue.lanes]
        if not waiting:
            return None
        fullest = max(waiting, key=lambda queue: len(queue.lanes))
        if self._passes:
            if len(self._passes) >= fullest.network.passes:
                return None
            if len(fullest.lanes) < FULL:
                return None
        latest = self._count - PATIENCE * len(self._queues)
        forgotten = min(waiting, key=lambda queue: queue.lanes[0].since)
        if forgotten.lanes[0].since < latest:
            return forgotten
        # Who was asked last is asked again as long as that fills a pass: so all that wait for it move on together to
        # wait for the next, and passes grow until they are as large as the lanes allow.
        last = self._asked_last
        if last is not None and len(last.lanes) >= FULL:
            return last
        return fullest

    def _begin(self, queue: _Queue) -> None:
        self._count += 1
        self._asked_last = queue
        # Where passes overlap, one part of the lanes is made ready while the other is thought about.
        part = self.games // queue.network.passes
        size = _size_of_pass(queue, queue.lanes[0].limits.move_seconds, part)
        lanes = [queue.lanes.popleft() for _ in range(size)]
        started = time.monotonic()
        deadline = started + min(lane.limits.move_seconds for lane in lanes)
        self.thinking(Thinking([2 * lane.entry + lane.turn for lane in lanes], deadline))
        try:
            pending = queue.network.begin([lane.players[lane.turn].query(lane.board, lane.moves) for lane in lanes])
        except AgentError as error:
            self._fail(lanes, error)
        else:
            self._passes.append(_Pass(lanes, pending, started, queue))

    def _finish(self, asked: _Pass) -> None:
        try:
            answers = asked.pending.finish()
        except AgentError as error:
            self._fail(asked.lanes, error)
            return
        now = time.monotonic()
        elapsed = now - asked.started
        elapsed_ms = round(elapsed * 1000)
        self.positions += len(asked.lanes)
        self._plies += len(asked.lanes)
        asked.queue.seconds_per_position = elapsed / len(asked.lanes)
        faults = answers.faults
        for place, (lane, move, score) in enumerate(zip(asked.lanes, answers.moves, answers.evals, strict=True)):
            if faults and place in faults:
                self._end(lane, Outcome.void(Termination.AGENT_CRASH, lane.side(), faults[place]))
            elif elapsed > lane.limits.move_seconds:
                self._fail([lane], AgentStallError("the network answered after the deadline"))
            else:
                lane.times_ms.append(elapsed_ms)
                lane.evals.append(score)
                lane.turn ^= 1
                self._go_on(lane, lane.board.advance(move), now)

    def _fail(self, lanes: Sequence[Lane], error: AgentError) -> None:
        termination = Termination.AGENT_STALL if isinstance(error, AgentStallError) else Termination.AGENT_CRASH
        for lane in lanes:
            self._end(lane, Outcome.void(termination, lane.side(), str(error)))

    def _go_on(self, lane: Lane, moves: list[int], now: float = 0.0) -> None:
        """Let whoever answers at once answer, until the game waits for somebody or is over."""
        board, players = lane.board, lane.players
        cshogi_board, advance = board.cshogi, board.advance
        times_ms, evals = lane.times_ms, lane.evals
        declares = lane.declares
        while moves:
            if declares and cshogi_board.is_nyugyoku():
                self._end(lane, Outcome(termination=Termination.ENTERING_KING, winner=lane.side()))
                return
            if now >= lane.deadline:
                self._end(lane, _timed_out(lane))
                return
            player = players[lane.turn]
            network = player.network
            if network is not None:
                lane.moves = moves
                lane.since = self._count
                self._queues[id(network)].lanes.append(lane)
                return
            if not player.is_instant:
                lane.moves = moves
                # To the front: a game that waits for no network is played to its end before another is gone on with.
                self._thinkers.appendleft(lane)
                return
            move, score = player.choose_native(board, moves, deadline=0.0)
            times_ms.append(0)
            evals.append(score)
            lane.turn ^= 1
            moves = advance(move)
        outcome = board.outcome()
        if outcome is None:
            raise RuntimeError(f"{lane.attempt.planned.game_id}: nobody has a move, and yet it is not over")
        self._end(lane, outcome)

    def _think(self, lane: Lane) -> None:
        """Let a player choose that takes its time and needs no network."""
        started = time.monotonic()
        deadline = started + lane.limits.move_seconds
        self.thinking(Thinking([2 * lane.entry + lane.turn], deadline))
        try:
            move, score = lane.players[lane.turn].choose_native(lane.board, lane.moves, deadline=deadline)
        except AgentError as error:
            self._fail([lane], error)
            return
        now = time.monotonic()
        self._plies += 1
        lane.times_ms.append(round((now - started) * 1000))
        lane.evals.append(score)
        lane.turn ^= 1
        self._go_on(lane, lane.board.advance(move), now)

    def _end(self, lane: Lane, outcome: Outcome) -> None:
        self.games -= 1
        for player in lane.players:
            if player.network is not None:
                queue = self._queues[id(player.network)]
                queue.players -= 1
                if not queue.players:
                    del self._queues[id(player.network)]
        self._ended.append(Ended(lane, outcome))


def _size_of_pass(queue: _Queue, move_seconds: float, part: int) -> int:
    """How many of those that wait are asked about: as many as fill a shape, all where they are few."""
    waiting = len(queue.lanes)
    most = max(FULL, part)
    if queue.seconds_per_position > 0:
        most = min(most, max(1, int(SHARE_OF_A_MOVE * move_seconds / queue.seconds_per_position)))
    size = min(waiting, FULL, most, queue.network.shapes[-1])
    for shape in queue.network.shapes:
        if FULL < shape <= most and waiting >= WORTH_PADDING * shape:
            size = min(waiting, shape)
    return size


def _timed_out(lane: Lane) -> Outcome:
    """Nobody's fault: whose turn it was when the game's time ran out is chance."""
    return Outcome.void(
        Termination.GAME_TIMEOUT, None, f"the game passed game_seconds after {len(lane.times_ms)} plies, beside others"
    )
