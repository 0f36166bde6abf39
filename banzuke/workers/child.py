"""A worker: a process of its own that plays what it is told over a pipe, and dies when that pipe closes.

Started as ``python -m banzuke.workers.child``. It imports no Prefect and no Parquet, and torch only where its spec has
a network. The parent is in charge of its life: it ignores Ctrl-C, and when the parent is gone it ends its whole
process group at once.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import fcntl
import importlib
import os
import queue
import signal
import sys
import threading
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, BinaryIO

from banzuke.clock import Clock
from banzuke.errors import AgentError, AgentStallError, AgentStartError
from banzuke.games.shogi import rules_named
from banzuke.match.game import Seat, play_game
from banzuke.match.recording import Attempt, record_of, void_record
from banzuke.outcome import Outcome, Side, Termination
from banzuke.players.opening import open_player
from banzuke.players.player import DECLARE_WIN, RESIGN
from banzuke.specs import UsiAgent
from banzuke.workers.deadline_board import DeadlineBoard, Phase
from banzuke.workers.first_process import is_closed
from banzuke.workers.games_board import GamesBoard, seen
from banzuke.workers.lane_games import LaneGames
from banzuke.workers.messages import (
    ORDER,
    REPORT,
    Admit,
    Answer,
    Join,
    Leave,
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

if TYPE_CHECKING:
    from banzuke.games.rules import Board
    from banzuke.players.player import Player
    from banzuke.record import GameRecord
    from banzuke.specs import Spec

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
CHECKPOINT_MODULE = "banzuke.players.checkpoint"
OPEN_PLAYERS = 8
"""Agents kept open at once; the one used longest ago makes room."""


def main() -> None:
    """Serve until told to leave, or until the parent is gone."""
    arguments = _arguments()
    _tie_life_to(arguments.parent, arguments.life)
    orders_from, reports_to = _private_pipes()
    orders: queue.SimpleQueue[Order] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(orders_from, orders), daemon=True).start()
    boards = DeadlineBoard(arguments.board), GamesBoard(arguments.board)
    worker = Worker(*boards, reports_to, torch_threads=arguments.torch)
    if arguments.torch:
        # Beside the first orders: one that replaces a killed worker may be wanted for engines.
        threading.Thread(target=importlib.import_module, args=(CHECKPOINT_MODULE,), daemon=True).start()
    worker.report(Ready(pid=os.getpid()))
    while not isinstance(order := _next_order(orders, wait=not worker.lane_games.is_busy), Leave):
        if order is None:
            worker.lane_games.advance()
        else:
            worker.carry_out(order)
        if not worker.lane_games.is_busy:
            worker.board.post(Phase.IDLE, float("inf"))
    worker.close_players()


class Worker:
    """The agents that are open here, and what is done with them: one game or one question at a time, or many games."""

    def __init__(
        self, board: DeadlineBoard, games_board: GamesBoard, reports_to: BinaryIO, *, torch_threads: int = 0
    ) -> None:
        self.board = board
        self.games_board = games_board
        self.reports_to = reports_to
        self.torch_threads = torch_threads
        self.spec: Spec | None = None
        self.players: dict[str, Player] = {}
        self.lane_games = LaneGames(board, games_board, self.report, lambda: _load_torch(torch_threads))

    def report(self, report: Report) -> None:
        """Say something to the parent."""
        self.reports_to.write(REPORT.dump_json(report) + b"\n")
        self.reports_to.flush()

    def carry_out(self, order: Order) -> None:
        """Do one thing."""
        if isinstance(order, Prepare):
            self.close_players()
            self.spec = order.spec
        elif isinstance(order, Play) and self.spec is not None:
            self.report(Played(record=self._play(order.attempt, self.spec)))
        elif isinstance(order, Pose) and self.spec is not None:
            self.report(Posed(answer=self._pose(order.question, self.spec)))
        elif isinstance(order, Admit):
            self.lane_games.admit(order)
        elif isinstance(order, Join):
            self.lane_games.join(order)
            return
        _reap_orphans()

    def close_players(self) -> None:
        """Let go of every agent."""
        for name in list(self.players):
            self.players.pop(name).close()

    def _play(self, attempt: Attempt, spec: Spec) -> GameRecord:
        planned, limits = attempt.planned, spec.limits
        names = {Side.FIRST: planned.first_agent, Side.SECOND: planned.second_agent}
        ids = {Side.FIRST: planned.first_agent_id, Side.SECOND: planned.second_agent_id}
        started_at = datetime.now(UTC)
        for side, name in names.items():
            try:
                self._open(name, spec, side, busy=set(names.values()), agent_id=ids[side])
            except AgentError as error:
                outcome = Outcome.void(Termination.AGENT_START, side, str(error))
                return void_record(attempt, outcome, started_at=started_at, worker_pid=os.getpid())
        seats = {side: self._seat(name, spec) for side, name in names.items()}
        now = time.monotonic()
        # Both are open: should this process break now, it is no agent's doing.
        self.board.post(Phase.OPENING, now + limits.start_seconds)
        started_at = datetime.now(UTC)
        result = play_game(
            planned,
            rules=rules_named(planned.game, planned.rules),
            max_plies=spec.tournament.max_plies,
            first=seats[Side.FIRST],
            second=seats[Side.SECOND],
            move_seconds=limits.move_seconds,
            game_deadline=now + limits.game_seconds,
            ready_deadline=now + min(limits.start_seconds, limits.game_seconds),
            getting_ready=lambda side, deadline: self.board.post(Phase.OPENING, deadline, side),
            thinking=lambda side, deadline: self.board.post(Phase.THINKING, deadline, side),
            standing=self._show,
        )
        for side in _unusable_after(result.outcome):
            self._drop(names[side])
        devices = {seat.player.device for seat in seats.values()}
        return record_of(attempt, result, started_at=started_at, device="+".join(sorted(devices)))

    def _show(self, board: Board) -> None:
        """Write the position down, watched or not: somebody may come while a move takes its time."""
        moves = board.moves
        self.games_board.show([seen(0, len(moves), moves[-1] if moves else "", board.position())])

    def _pose(self, question: Question, spec: Spec) -> Answer:
        started = time.monotonic()
        try:
            player = self._open(question.agent, spec, Side.FIRST, busy={question.agent})
        except AgentError as error:
            return self._failed(question, error, started, opened=False)
        if not question.position:
            return Answer(
                position_id=question.position_id,
                status="ok",
                move=None,
                legal=True,
                time_ms=_since(started),
                description=getattr(player, "description", None),
                epoch=getattr(player, "epoch", None),
                step=getattr(player, "step", None),
            )
        return self._ask(player, question, spec)

    def _ask(self, player: Player, question: Question, spec: Spec) -> Answer:
        seat = self._seat(question.agent, spec)
        rules = rules_named(spec.game, spec.tournament.rules)
        board = rules.start(question.position, max_plies=spec.tournament.max_plies)
        ready = time.monotonic() + spec.limits.start_seconds
        self.board.post(Phase.OPENING, ready, Side.FIRST)
        started = time.monotonic()
        try:
            player.new_game(side=Side.FIRST, seed=question.seed, deadline=ready)
            started = time.monotonic()
            deadline = started + question.seconds
            self.board.post(Phase.THINKING, deadline, Side.FIRST)
            choice = player.choose(
                board, clock=Clock.start(seat.limit), opponent_clock=Clock.start(None), deadline=deadline
            )
        except AgentError as error:
            self._drop(question.agent)
            return self._failed(question, error, started, opened=True)
        return Answer(
            position_id=question.position_id,
            status="ok",
            move=choice.move,
            legal=_is_answer(choice.move, board),
            time_ms=choice.elapsed_ms if choice.elapsed_ms is not None else _since(started),
        )

    def _failed(self, question: Question, error: AgentError, started: float, *, opened: bool) -> Answer:
        return Answer(
            position_id=question.position_id,
            status="timeout" if isinstance(error, AgentStallError) else "error",
            move=None,
            legal=False,
            time_ms=_since(started),
            detail=str(error),
            opened=opened,
        )

    def _open(self, name: str, spec: Spec, side: Side, *, busy: set[str], agent_id: str | None = None) -> Player:
        player = self.players.pop(name, None)
        if player is None:
            idle = [other for other in self.players if other not in busy]
            for other in idle[: max(0, len(self.players) - OPEN_PLAYERS + 1)]:
                self._drop(other)
            deadline = time.monotonic() + spec.limits.start_seconds
            self.board.post(Phase.OPENING, deadline, side)
            if self.torch_threads and spec.agent(name).kind == "checkpoint":
                _load_torch(self.torch_threads)
            player = open_player(spec.agent(name), deadline=deadline, agent_id=agent_id)
        self.players[name] = player
        return player

    def _drop(self, name: str) -> None:
        player = self.players.pop(name, None)
        if player is not None:
            player.close()

    def _seat(self, name: str, spec: Spec) -> Seat:
        agent = spec.agent(name)
        return Seat(player=self.players[name], limit=agent.limit if isinstance(agent, UsiAgent) else None)


def _next_order(orders: queue.SimpleQueue[Order], *, wait: bool) -> Order | None:
    """What is to be done next; None where nothing was said and nobody is to wait."""
    with contextlib.suppress(queue.Empty):
        return orders.get(block=wait)
    return None


def _load_torch(threads: int) -> None:
    """Wait until it is imported.

    Raises:
        AgentStartError: it cannot be.
    """
    try:
        importlib.import_module(CHECKPOINT_MODULE)
        importlib.import_module("torch").set_num_threads(threads)
    except ImportError as error:
        raise AgentStartError(f"torch cannot be imported: {error}") from error


def _reap_orphans() -> None:
    """What engines started and left behind is given to this process, and would fill the process table in a night.

    Only between two orders: how an engine ended that dies in a game must be learnt by whoever waits for it.
    """
    with contextlib.suppress(ChildProcessError):
        while os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG) is not None:
            continue


def _is_answer(move: str, board: Board) -> bool:
    if move == DECLARE_WIN:
        return board.may_declare_win()
    return move == RESIGN or board.is_legal(move)


def _unusable_after(outcome: Outcome) -> tuple[Side, ...]:
    """The sides whose players cannot be used again."""
    if outcome.termination is Termination.GAME_TIMEOUT:
        # Nobody's fault, but whoever was thinking then is dead or still at it.
        return (Side.FIRST, Side.SECOND)
    broken = {Termination.AGENT_CRASH, Termination.AGENT_STALL, Termination.AGENT_START}
    return (outcome.fault,) if outcome.termination in broken and outcome.fault is not None else ()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="banzuke-worker", description=__doc__)
    parser.add_argument("--parent", type=int, required=True, help="pid of the process in charge")
    parser.add_argument("--board", type=int, required=True, help="file descriptor of the deadline board")
    parser.add_argument("--life", type=int, required=True, help="file descriptor that is closed when the parent dies")
    parser.add_argument("--torch", type=int, default=0, help="import torch, and let it have so many threads")
    return parser.parse_args()


def _tie_life_to(parent: int, life: int) -> None:
    """See to it that nothing of this process group outlives the parent, whatever this process does at that moment."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, lambda _number, _frame: _end_group())
    if sys.platform == "linux":
        # The parent holds the other end of this pipe and writes nothing: all that can happen to it is that it is
        # closed. The kernel then kills the whole group, also where this process is frozen (fcntl(2), F_SETSIG).
        fcntl.fcntl(life, fcntl.F_SETOWN, -os.getpgrp())
        fcntl.fcntl(life, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(life, fcntl.F_SETFL, fcntl.fcntl(life, fcntl.F_GETFL) | os.O_ASYNC)
        # Should something else hold that end, too. Not SIGKILL: it comes at the death of the parent's first thread,
        # before its files are closed, and whoever dies of it can neither kill the group nor have it killed.
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGHUP, 0, 0, 0)
        libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    if os.getppid() != parent or is_closed(life):
        os._exit(1)


def _end_group() -> None:
    os.killpg(os.getpgrp(), signal.SIGKILL)


def _private_pipes() -> tuple[BinaryIO, BinaryIO]:
    """The two pipes to the parent, out of reach of whatever reads stdin or prints to stdout in this process."""
    orders_from = os.fdopen(os.dup(0), "rb")
    reports_to = os.fdopen(os.dup(1), "wb")
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(2, 1)
    return orders_from, reports_to


def _receive(orders_from: BinaryIO, orders: queue.SimpleQueue[Order]) -> None:
    for line in orders_from:
        try:
            order = ORDER.validate_json(line)
        except ValueError as error:
            # Whoever sent it waits for an answer that nobody will give: an end is one.
            sys.stderr.write(f"an order makes no sense: {' '.join(str(error).split())}\n")
            break
        orders.put(order)
        if isinstance(order, Leave):
            return
    _end_group()


def _since(started: float) -> int:
    return round((time.monotonic() - started) * 1000)


if __name__ == "__main__":
    main()
