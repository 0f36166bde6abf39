"""Many games advancing together: every game to its own end, the same moves whoever is beside it."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import NamedTuple

import pytest
from staging import game

from banzuke.errors import AgentCrashError
from banzuke.games.shogi import ShogiBoard, ShogiRules
from banzuke.match.game import GameResult, replay
from banzuke.match.lanes import Ended, Lane, LaneLimits, Lanes, Thinking
from banzuke.match.recording import Attempt, record_of
from banzuke.outcome import Side, Status, Termination
from banzuke.players.scripted import MaterialPlayer, RandomPlayer
from banzuke.players.seats import ScriptedSeat
from banzuke.specs import MaterialAgent, RandomAgent

LIMITS = LaneLimits(max_plies=120, move_seconds=10.0, game_seconds=600.0)
RULES = ShogiRules("csa")


class Asked(NamedTuple):
    """A position that a network is asked about."""

    board: ShogiBoard
    moves: list[int]
    seed: int


class Chosen(NamedTuple):
    """What it chose."""

    moves: list[int]
    evals: list[int | None]
    faults: dict[int, str]


class Oracle:
    """A network whose move depends on the position and the game's seed alone, and which notes what it was asked."""

    device = "cpu"
    passes = 1
    remarks: Sequence[str] = ()

    def __init__(self, shapes: tuple[int, ...] = (4, 16), *, fails_at: int | None = None, nan: bool = False) -> None:
        self.shapes = shapes
        self.fails_at = fails_at
        self.nan = nan
        self.sizes: list[int] = []

    def begin(self, queries: Sequence[object]) -> Oracle:
        self.sizes.append(len(queries))
        if self.fails_at is not None and len(self.sizes) > self.fails_at:
            raise AgentCrashError("the network failed: a cable")
        self.asked = [query for query in queries if isinstance(query, Asked)]
        return self

    def finish(self) -> Chosen:
        moves = [query.moves[hash((query.board.position(), query.seed)) % len(query.moves)] for query in self.asked]
        faults = {0: "the network answered NaN"} if self.nan else {}
        return Chosen([0 if place in faults else move for place, move in enumerate(moves)], [7] * len(moves), faults)


class OracleSeat:
    """An agent that plays an oracle."""

    device = "cpu"
    is_instant = False

    def __init__(self, agent: str, network: Oracle, seed: int) -> None:
        self.agent = agent
        self.network = network
        self.seed = seed

    def query(self, board: ShogiBoard, moves: list[int]) -> Asked:
        return Asked(board, moves, self.seed)

    def choose_native(self, board: ShogiBoard, moves: list[int], *, deadline: float) -> tuple[int, int | None]:
        raise NotImplementedError


def ignore(_thinking: Thinking) -> None:
    """Nobody watches."""


def lane(
    number: int, first: Oracle | RandomAgent | MaterialAgent, second: Oracle | RandomAgent | MaterialAgent,
    limits: LaneLimits = LIMITS, opening: tuple[str, ...] = ("7g7f",),
) -> Lane:  # fmt: skip
    """A game between two agents; its seed is its number."""
    planned = game("one", "two", number=number, opening=opening if number % 2 else ())
    players = [
        OracleSeat(name, agent, number)
        if isinstance(agent, Oracle)
        else ScriptedSeat(agent, side=side, seed=planned.seed)
        for name, agent, side in (("one", first, Side.FIRST), ("two", second, Side.SECOND))
    ]
    return Lane(number, Attempt.at(planned, 1), (players[0], players[1]), rules=RULES, limits=limits)


def play(waiting: Sequence[Lane], *, lanes: int, wanted: Lanes | None = None) -> dict[int, GameResult]:
    """Every game to its end, so many at a time."""
    house = wanted or Lanes(ignore)
    queue, results = list(reversed(waiting)), {}
    while queue or house.games:
        while queue and house.games < lanes:
            house.seat(queue.pop())
        for ended in house.step():
            results[ended.lane.entry] = result_of(ended)
    return results


def result_of(ended: Ended) -> GameResult:
    return ended.lane.result(ended.outcome)


RANDOM = RandomAgent(name="two", kind="random")
MATERIAL = MaterialAgent(name="two", kind="material", depth=1)


def test_every_game_started_is_ended_by_the_rules() -> None:
    """Long ones and short ones, and each replays from its moves."""
    network, other = Oracle(), Oracle()
    lanes = [lane(number, network, other if number % 3 else network) for number in range(40)]

    results = play(lanes, lanes=8)

    assert set(range(40)) == set(results)
    for number, result in results.items():
        record = record_of(lanes[number].attempt, result, started_at=datetime.now(UTC), device="cpu")
        assert replay(record, RULES, max_plies=LIMITS.max_plies) == replace(result.outcome, detail=record.detail)


@pytest.mark.parametrize("lanes", [1, 2, 7, 64, 256])
def test_moves_do_not_depend_on_the_lanes(lanes: int) -> None:
    """However many there are and in whatever order games are seated."""
    expected = {number: play([lane(number, Oracle(), Oracle())], lanes=1)[number].moves for number in range(30)}
    network, other = Oracle((1, 4, 16)), Oracle()
    games = [lane(number, network, other) for number in range(30)]
    random.Random(lanes).shuffle(games)

    results = play(games, lanes=lanes)

    assert expected == {number: result.moves for number, result in results.items()}


def test_two_networks_find_a_common_step() -> None:
    """Games that began with either side to move soon wait for the same network, so that passes are full."""
    network, other = Oracle((4, 16)), Oracle((4, 16))
    games = [lane(n, *((network, other) if n % 2 else (other, network))) for n in range(160)]

    play(games, lanes=16)

    sizes = network.sizes + other.sizes
    assert sum(size == 16 for size in sizes) > 0.6 * len(sizes)


def test_a_network_that_few_wait_for_is_not_forgotten() -> None:
    """A single game beside many others is over before all of them are."""
    crowd, one, two = Oracle((4, 16)), Oracle((4,)), Oracle((4,))
    house = Lanes(ignore)
    house.seat(lane(0, one, two, opening=()))
    for number in range(1, 60):
        house.seat(lane(number, crowd, crowd))
    number, over = 60, 0
    while house.is_seated(one):
        for _ in house.step():
            over += 1
            house.seat(lane(number, crowd, crowd))
            number += 1

    assert over < 60 * 20


def test_scripted_players_answer_between_passes() -> None:
    """Against networks and against each other, with their times and scores noted."""
    network = Oracle()
    games = [lane(0, network, RANDOM), lane(1, network, MATERIAL), lane(2, MATERIAL, RANDOM), lane(3, RANDOM, RANDOM)]

    results = play(games, lanes=4)

    assert all(result.outcome.status is Status.PLAYED for result in results.values())
    assert results[1].evals is not None
    assert any(score not in {None, 7} for score in results[1].evals)
    assert len(results[1].times_ms) == len(results[1].moves)
    assert results[3].evals is None


def test_a_scripted_game_is_the_same_as_at_a_table() -> None:
    """The native choice and the spelt one are one and the same."""
    for kind, player in ((RANDOM, RandomPlayer()), (MATERIAL, MaterialPlayer(1))):
        native = ScriptedSeat(kind, side=Side.FIRST, seed=5)
        player.new_game(side=Side.FIRST, seed=5, deadline=float("inf"))
        board = RULES.start("lnsgkgsnl/1r5b1/ppppppppp/9/9/9/PPPPPPPPP/1B5R1/LNSGKGSNL b - 1", max_plies=100)
        for _ in range(20):
            moves = list(board.cshogi.legal_moves)
            move, _ = native.choose_native(board, moves, deadline=time.monotonic() + 10)
            chosen = player.choose(board, clock=None, opponent_clock=None, deadline=time.monotonic() + 10)  # type: ignore[arg-type]
            board.advance(move)
            assert chosen.move == board.moves[-1]


def test_a_failed_pass_voids_the_games_in_it_alone() -> None:
    """The agent that had the move is at fault; games elsewhere go on."""
    broken, sound = Oracle(fails_at=3), Oracle()
    games = [lane(n, broken, RANDOM) for n in range(0, 8, 2)] + [lane(n, sound, RANDOM) for n in range(8, 16, 2)]

    results = play(games, lanes=16)

    for number, result in results.items():
        if number < 8:
            assert (Termination.AGENT_CRASH, Side.FIRST) == (result.outcome.termination, result.outcome.fault)
        else:
            assert Status.PLAYED is result.outcome.status


def test_a_fault_in_one_row_voids_that_game_alone() -> None:
    """NaN for one position says nothing about the others of its batch."""
    network = Oracle((4,), nan=True)

    results = play([lane(number, network, RANDOM) for number in (0, 2, 4)], lanes=3)

    assert all(result.outcome.termination is Termination.AGENT_CRASH for result in results.values())
    assert [3, 2, 1] == network.sizes[:3] or len(network.sizes) > 3


def test_a_game_beyond_its_time_is_nobodys_fault() -> None:
    """Whose turn it was is chance."""
    network = Oracle()

    results = play([lane(0, network, network, replace(LIMITS, game_seconds=1e-9))], lanes=1)

    assert (Termination.GAME_TIMEOUT, None) == (results[0].outcome.termination, results[0].outcome.fault)


def test_a_pass_that_takes_too_long_is_a_stall() -> None:
    """Of the agent that was asked."""
    network = Oracle()

    results = play([lane(0, network, network, replace(LIMITS, move_seconds=1e-9))], lanes=1)

    assert (Termination.AGENT_STALL, Side.FIRST) == (results[0].outcome.termination, results[0].outcome.fault)


def test_what_begins_is_said_before() -> None:
    """Which games, whose move, and until when: what the parent needs to keep the deadline."""
    said: list[Thinking] = []
    network = Oracle()
    play([lane(3, RANDOM, network), lane(5, RANDOM, network)], lanes=2, wanted=Lanes(said.append))

    assert {2 * 3 + 1, 2 * 5 + 1} == set(said[0].movers)
    assert 0 < said[0].deadline - time.monotonic() < LIMITS.move_seconds


def test_slow_games_get_fewer_lanes() -> None:
    """No more at a time than can be ended within half of game_seconds, nor, where passes are full, within a minute."""
    house = Lanes(ignore)
    for number in range(40):
        house.seat(lane(number, Oracle(), RANDOM))
    house._seconds_per_ply = 0.001
    assert not house.is_full(64)
    house._seconds_per_ply = 0.1
    assert house.is_full(64)

    few = Lanes(ignore)
    network = Oracle()
    for number in range(33):
        few.seat(lane(number, network, RANDOM))
    assert few.is_full(64), "how slow they are is not known yet"
    few._seconds_per_ply = 0.02
    assert few.is_full(64)
    few._seconds_per_ply = 0.01
    assert not few.is_full(64)


def test_games_without_a_network_end_one_after_the_other() -> None:
    """The first is over long before the last is: what is in play when a worker is killed is lost."""
    house = Lanes(ignore)
    lanes = [lane(number, MATERIAL, RANDOM) for number in range(0, 20, 2)]
    for seated in lanes:
        house.seat(seated)
    while not (ended := list(house.step())):
        pass

    begun = sum(len(seated.times_ms) > 5 for seated in lanes)
    assert begun <= len(ended) + 1
