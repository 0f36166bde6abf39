"""A worker's games that advance together: which are in play, which wait for a lane, and what is said of them."""

from __future__ import annotations

import importlib
import os
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, cast

from banzuke.errors import AgentError, AgentStartError
from banzuke.games.shogi import ShogiRules, rules_named
from banzuke.match.lanes import Lane, LaneLimits, Lanes, Thinking
from banzuke.match.recording import record_of, void_record
from banzuke.outcome import Outcome, Side, Termination
from banzuke.players.seats import LaneAgent, seat_of
from banzuke.workers.deadline_board import DeadlineBoard, Phase
from banzuke.workers.games_board import GamesBoard, seen
from banzuke.workers.messages import Admit, Join, LanePlayed, Remarked, Report

if TYPE_CHECKING:
    from banzuke.match.lanes import Ended, LanePlayer, Network
    from banzuke.players.networks.residents import Residents
    from banzuke.record import GameRecord
    from banzuke.specs import Spec

RESIDENTS_MODULE = "banzuke.players.networks.residents"
SHARE_OF_MEMORY = 0.5
"""How much of ``worker_memory_mb`` loaded networks may hold; passes over them need the rest."""
SHOW_SECONDS = 0.5
"""Between two times that the games are written down for whoever watches."""


class LaneGames:
    """The games on the lanes of this process and those that wait for one.

    Args:
        board: where it is said what is going on.
        games_board: where it is said how the games stand, while somebody watches.
        report: says something to the parent.
        load_torch: waits until torch is imported; raises AgentStartError where it cannot be.
    """

    def __init__(
        self,
        board: DeadlineBoard,
        games_board: GamesBoard,
        report: Callable[[Report], None],
        load_torch: Callable[[], None],
    ) -> None:
        self.board = board
        self.games_board = games_board
        self.report = report
        self.load_torch = load_torch
        self.lanes = Lanes(self._post)
        self._specs: dict[int, Admit] = {}
        self._waiting: deque[Join] = deque()
        self._started: dict[int, datetime] = {}
        self._in_play: dict[int, Lane] = {}
        self._show_due = 0.0
        self._residents: Residents | None = None
        self._remarked: set[tuple[str, str]] = set()

    @property
    def is_busy(self) -> bool:
        """Whether there is a game to go on with."""
        return self.lanes.games > 0 or bool(self._waiting)

    def admit(self, order: Admit) -> None:
        """Take note of a spec."""
        self._specs[order.number] = order

    def join(self, order: Join) -> None:
        """Take a game, to be begun when a lane is free."""
        self._waiting.append(order)

    def advance(self) -> None:
        """Fill the free lanes, ask one network once, report the games that are over."""
        while self._waiting and not self.lanes.is_full(self._specs[self._waiting[0].spec].lanes):
            self._begin(self._waiting.popleft())
            if self.lanes.games == 0:
                break
        self._show_if_watched()
        for ended in self.lanes.step():
            self._report(ended)

    def _begin(self, order: Join) -> None:
        spec = self._specs[order.spec].spec
        planned = order.attempt.planned
        started_at = datetime.now(UTC)
        players: list[LanePlayer] = []
        agents = {
            Side.FIRST: (planned.first_agent, planned.first_agent_id),
            Side.SECOND: (planned.second_agent, planned.second_agent_id),
        }
        for turn, (side, (name, agent_id)) in enumerate(agents.items()):
            self.board.post(
                Phase.OPENING, time.monotonic() + spec.limits.start_seconds, movers=[2 * order.entry + turn]
            )
            try:
                players.append(self._seat(spec, name, agent_id, side, planned.seed))
            except AgentError as error:
                outcome = Outcome.void(Termination.AGENT_START, side, str(error))
                record = void_record(order.attempt, outcome, started_at=started_at, worker_pid=os.getpid())
                self._say(order.entry, record)
                return
        limits = LaneLimits(
            max_plies=spec.tournament.max_plies,
            move_seconds=spec.limits.move_seconds,
            game_seconds=spec.limits.game_seconds,
        )
        rules = cast("ShogiRules", rules_named(planned.game, planned.rules))
        self._started[order.entry] = started_at
        # Nobody's turn yet, and some games are over as soon as they have begun.
        self.board.post(Phase.OPENING, time.monotonic() + spec.limits.move_seconds)
        lane = Lane(order.entry, order.attempt, (players[0], players[1]), rules=rules, limits=limits)
        self._in_play[order.entry] = lane
        self.lanes.seat(lane)

    def _seat(self, spec: Spec, name: str, agent_id: str, side: Side, seed: int) -> LanePlayer:
        agent = cast("LaneAgent", spec.agent(name))
        if agent.kind == "checkpoint" and self._residents is None:
            self._residents = self._make_residents(spec)
        player = seat_of(agent, agent_id, side=side, seed=seed, residents=self._residents)
        if player.network is not None:
            self._remark_on(player)
        return player

    def _make_residents(self, spec: Spec) -> Residents:
        self.load_torch()
        try:
            module = importlib.import_module(RESIDENTS_MODULE)
        except ImportError as error:
            raise AgentStartError(f"torch cannot be used: {error}") from error
        budget = int(SHARE_OF_MEMORY * (spec.limits.worker_memory_mb << 20))
        return cast("Residents", module.Residents(budget, self.lanes.is_seated))

    def _remark_on(self, player: LanePlayer) -> None:
        for remark in _remarks(player.network):
            if (player.agent, remark) not in self._remarked:
                self._remarked.add((player.agent, remark))
                self.report(Remarked(agent=player.agent, remark=remark))

    def _report(self, ended: Ended) -> None:
        lane = ended.lane
        del self._in_play[lane.entry]
        devices = {player.device for player in lane.players}
        record = record_of(
            lane.attempt,
            lane.result(ended.outcome),
            started_at=self._started.pop(lane.entry),
            device="+".join(sorted(devices)),
        )
        remarks = []
        for player in lane.players:
            if player.network is not None:
                self._remark_on(player)
                remarks += [f"{player.agent}: {remark}" for remark in _remarks(player.network)]
        if remarks and record.detail is None:
            record = replace(record, detail="; ".join(remarks))
        self._say(lane.entry, record)

    def _say(self, entry: int, record: GameRecord) -> None:
        self.report(LanePlayed(entry=entry, record=record, positions=self.lanes.positions))

    def _show_if_watched(self) -> None:
        now = time.monotonic()
        if now < self._show_due or not self.games_board.is_watched(now):
            return
        self._show_due = now + SHOW_SECONDS
        self.games_board.show(
            seen(entry, len(moves), moves[-1] if moves else "", lane.board.position())
            for entry, lane in self._in_play.items()
            for moves in (lane.board.moves,)
        )

    def _post(self, thinking: Thinking) -> None:
        self.board.post(Phase.THINKING, thinking.deadline, movers=thinking.movers)


def _remarks(network: Network | None) -> list[str]:
    return [] if network is None else list(network.remarks)
