"""One game: every way in which it can end, what is kept of it, and that it replays."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from banzuke.clock import Clock
from banzuke.errors import AgentCrashError, AgentError, AgentStallError, AgentStartError
from banzuke.games.rules import Board
from banzuke.games.shogi import START_POSITION, RuleSet, ShogiRules
from banzuke.match.game import GameResult, Seat, play_game, replay
from banzuke.match.recording import Attempt, record_of, void_record
from banzuke.outcome import Outcome, Side, Status, Termination
from banzuke.players.player import Choice
from banzuke.record import GameRecord, PlannedGame
from banzuke.specs import SearchLimit

FIRST, SECOND = Side.FIRST, Side.SECOND
CAMP = "K8/+P+P+P+P+P+P+P+P+P/+R8/9/9/9/9/9/8k"
DECLARABLE = f"{CAMP} b 2BG3P 1"
"""The side to move, Black, has the 28 points of the 27-point rule."""
ONE_POINT_SHORT = f"{CAMP} b 2BG2P 1"
MATE_IN_ONE = "4k4/9/4P4/9/9/9/9/9/4K4 b G 1"
MATING_MOVE = "G*5b"
GOTE_MATES_IN_ONE = "4k4/9/9/9/9/9/4p4/9/4K4 w g 1"
SHUFFLE = "2h3h 8b7b 3h2h 7b8b "
CHECKING = "4k4/9/9/9/5R3/9/9/9/4K4 b - 1"
PERPETUAL = "4e5e 5a4a 5e4e 4a5a " * 3
BOTH_ENTERED = "K8/+P+P+P+P+P+P+P+P+P/9/9/9/9/9/+p+p+p+p+p+p+p+p+p/8k b 2R2B 1"
"""Over at once under Keisei's rules: both kings have entered, and Black has 29 of the 24 points."""

Answer = str | Choice | AgentError
LAST_WORDS = "last words"


class Scripted:
    """Gives its answers one after the other, and notes what it is told."""

    def __init__(
        self, answers: str | Iterable[Answer] = (), *, claims: bool = True, cannot: AgentError | None = None
    ) -> None:
        self.answers: Iterator[Answer] = iter(answers.split() if isinstance(answers, str) else answers)
        self.claims = claims
        self.cannot = cannot
        self.told: list[tuple[object, ...]] = []
        self.clocks: list[tuple[int, int]] = []
        self.deadlines: list[float] = []

    @property
    def claims_wins(self) -> bool:
        return self.claims

    @property
    def device(self) -> str:
        return "cpu"

    def new_game(self, *, side: Side, seed: int, deadline: float) -> None:
        self.told.append(("new game", side, seed))
        self.deadlines.append(deadline)
        if self.cannot is not None:
            raise self.cannot

    def choose(self, board: Board, *, clock: Clock, opponent_clock: Clock, deadline: float) -> Choice:
        self.told.append(("choose", board.side_to_move, len(board.moves)))
        self.clocks.append((clock.remaining_ms, opponent_clock.remaining_ms))
        self.deadlines.append(deadline)
        answer = next(self.answers)
        if isinstance(answer, AgentError):
            raise answer
        return answer if isinstance(answer, Choice) else Choice(move=answer)

    def game_over(self, winner: Side | None) -> None:
        self.told.append(("game over", winner))

    def close(self) -> None:
        raise AssertionError("a game closes no player")


def planned(start: str = START_POSITION, opening: str = "", seed: int = 5) -> PlannedGame:
    moves = tuple(opening.split())
    return PlannedGame(
        run_id="r",
        game_id="r--g0",
        pair_id="r--p0",
        game_no=0,
        pair_no=0,
        encounter="a--b",
        round=0,
        slot=0,
        game="shogi",
        rules="csa",
        first_agent="a",
        second_agent="b",
        first_agent_id="ia",
        second_agent_id="ib",
        opening_id="o",
        start_position=start,
        opening_plies=len(moves),
        seed=seed,
        opening_moves=moves,
    )


class Table:
    """Two scripted players and how they play; ``play`` may be called once."""

    def __init__(
        self,
        first: Scripted,
        second: Scripted | None = None,
        *,
        start: str = START_POSITION,
        opening: str = "",
        limits: tuple[SearchLimit | None, SearchLimit | None] = (None, None),
        rules: RuleSet = "csa",
        max_plies: int = 320,
    ) -> None:
        self.first, self.second = first, second or Scripted()
        self.planned = planned(start, opening)
        self.limits = limits
        self.rules = ShogiRules(rules)
        self.max_plies = max_plies
        self.noticed: list[tuple[str, Side, float]] = []

    def play(self, *, move_seconds: float = 60.0, game_seconds: float = 600.0) -> GameResult:
        now = time.monotonic()
        return play_game(
            self.planned,
            rules=self.rules,
            max_plies=self.max_plies,
            first=Seat(player=self.first, limit=self.limits[0]),
            second=Seat(player=self.second, limit=self.limits[1]),
            move_seconds=move_seconds,
            game_deadline=now + game_seconds,
            ready_deadline=now + 60.0,
            getting_ready=lambda side, deadline: self.noticed.append(("ready", side, deadline)),
            thinking=lambda side, deadline: self.noticed.append(("move", side, deadline)),
        )

    def record(self, result: GameResult) -> GameRecord:
        attempt = Attempt.at(self.planned, 1)
        return record_of(attempt, result, started_at=datetime.now(UTC), device="cpu")

    def replayed(self, result: GameResult) -> Outcome:
        return replay(self.record(result), self.rules, max_plies=self.max_plies)


def alternately(moves: str) -> tuple[Scripted, Scripted]:
    """Two players that play a line."""
    words = moves.split()
    return Scripted(words[::2]), Scripted(words[1::2])


def choice(move: str, elapsed_ms: int, eval_cp: int | None = None) -> Choice:
    return Choice(move=move, elapsed_ms=elapsed_ms, eval_cp=eval_cp)


# --- played: ended by the rules


def test_checkmate_is_won_by_the_last_mover() -> None:
    """The mate is the last move, and both are told who won."""
    table = Table(Scripted([MATING_MOVE]), start=MATE_IN_ONE)

    result = table.play()

    assert Outcome(termination=Termination.CHECKMATE, winner=FIRST) == result.outcome
    assert Status.PLAYED is result.outcome.status
    assert (MATING_MOVE,) == result.moves
    assert ("game over", FIRST) == table.first.told[-1] == table.second.told[-1]


def test_first_is_gote_where_gote_has_the_move() -> None:
    """Sides follow the move, not the colour."""
    table = Table(Scripted(["G*5h"]), start=GOTE_MATES_IN_ONE)

    result = table.play()

    assert Outcome(termination=Termination.CHECKMATE, winner=FIRST) == result.outcome
    assert result.outcome == table.replayed(result)
    assert ("new game", FIRST, 5) == table.first.told[0]
    assert ("new game", SECOND, 5) == table.second.told[0]


def test_sides_stay_where_gote_has_the_move_and_the_game_goes_on() -> None:
    """After gote's first move it is the turn of the second side, who may win."""
    start = START_POSITION.replace(" b ", " w ")
    table = Table(Scripted(["3c3d"]), Scripted(["resign"]), start=start)

    result = table.play()

    assert Outcome(termination=Termination.RESIGNATION, winner=FIRST) == result.outcome
    assert [("new game", SECOND, 5), ("choose", SECOND, 1), ("game over", FIRST)] == table.second.told


def test_fourfold_repetition_is_drawn() -> None:
    """The start position occurs for the fourth time after twelve plies."""
    table = Table(*alternately(SHUFFLE * 4))

    result = table.play()

    assert Outcome(termination=Termination.REPETITION) == result.outcome
    assert 12 == len(result.moves)


def test_book_moves_count_for_repetition() -> None:
    """Two of the four occurrences were in the book."""
    table = Table(*alternately(SHUFFLE * 4), opening=SHUFFLE)

    result = table.play()

    assert Outcome(termination=Termination.REPETITION) == result.outcome
    assert 12 == len(result.moves)


def test_perpetual_check_is_lost_by_who_checks() -> None:
    """It is no forfeit: a rule of the game has ended it."""
    table = Table(*alternately(PERPETUAL), start=CHECKING)

    result = table.play()

    assert Outcome(termination=Termination.PERPETUAL_CHECK, winner=SECOND) == result.outcome
    assert Status.PLAYED is result.outcome.status


@pytest.mark.parametrize(("opening", "own_moves"), [("", 4), ("7g7f 3c3d", 2), ("7g7f 3c3d 2g2f 8c8d", 0)])
def test_max_plies_counts_the_book(opening: str, own_moves: int) -> None:
    """The book's moves are moves; a book that long leaves nothing to play."""
    line = "7g7f 3c3d 2g2f 8c8d".removeprefix(opening)
    table = Table(*alternately(line), opening=opening, max_plies=4)

    result = table.play()

    assert Outcome(termination=Termination.MAX_PLIES) == result.outcome
    assert 4 == len(result.moves)
    assert own_moves == sum(told[0] == "choose" for told in table.first.told + table.second.told)


def test_a_mate_on_the_last_ply_wins() -> None:
    """The length of the game is looked at last."""
    table = Table(Scripted([MATING_MOVE]), start=MATE_IN_ONE, max_plies=1)

    assert Outcome(termination=Termination.CHECKMATE, winner=FIRST) == table.play().outcome


def test_resignation_is_won_by_the_other() -> None:
    """It is no move."""
    table = Table(Scripted(["7g7f", "resign"]), Scripted(["3c3d"]))

    result = table.play()

    assert Outcome(termination=Termination.RESIGNATION, winner=SECOND) == result.outcome
    assert ("7g7f", "3c3d") == result.moves


def test_a_claim_that_holds_wins() -> None:
    """An agent that can speak claims; the position is looked at."""
    table = Table(Scripted(["win"]), start=DECLARABLE)

    result = table.play()

    assert Outcome(termination=Termination.ENTERING_KING, winner=FIRST) == result.outcome
    assert () == result.moves


def test_an_agent_that_can_speak_is_not_spoken_for() -> None:
    """It may go on where it could claim."""
    table = Table(Scripted(["resign"]), start=DECLARABLE)

    assert Outcome(termination=Termination.RESIGNATION, winner=SECOND) == table.play().outcome


def test_the_match_claims_for_an_agent_that_cannot_speak() -> None:
    """It wins before it is asked for a move."""
    table = Table(Scripted(claims=False), start=DECLARABLE)

    result = table.play()

    assert Outcome(termination=Termination.ENTERING_KING, winner=FIRST) == result.outcome
    assert [("new game", FIRST, 5), ("game over", FIRST)] == table.first.told


def test_nobody_is_declared_winner_on_the_opponents_turn() -> None:
    """The one who could claim must have the move; a side that can speak is not asked for the other."""
    table = Table(Scripted(["1i1h", "resign"]), Scripted(claims=False), start=DECLARABLE.replace(" b ", " w "))

    result = table.play()

    assert Outcome(termination=Termination.ENTERING_KING, winner=SECOND) == result.outcome
    assert ("1i1h",) == result.moves


# --- forfeit: lost by the agent's own play


def test_a_false_claim_is_a_forfeit() -> None:
    """One point short is not enough."""
    table = Table(Scripted(["win"]), start=ONE_POINT_SHORT)

    outcome = table.play().outcome

    assert (Termination.FALSE_CLAIM, Status.FORFEIT) == (outcome.termination, outcome.status)
    assert (SECOND, FIRST) == (outcome.winner, outcome.fault)
    assert outcome.detail is not None


def test_a_claim_under_keisei_rules_is_false() -> None:
    """Nothing can be declared there."""
    table = Table(Scripted(["win"]), start=DECLARABLE, rules="keisei")

    assert Termination.FALSE_CLAIM is table.play().outcome.termination


@pytest.mark.parametrize(
    "move",
    ["7g7e", "7c7d", "", " ", "7g7f ", "7G7F", "7g7f+", "P*5e", "0000", "none", "RESIGN", "\ufffd7g7f", "x" * 100_000],
    ids=["illegal", "wrong side", "empty", "blank", "space", "capitals", "promotion", "empty hand", "null", "none",
         "resign", "odd", "long"],
)  # fmt: skip
def test_what_is_no_legal_move_is_a_forfeit(move: str) -> None:
    """Illegal, malformed, empty or the other side's: the mover loses, and the answer is shown in one short line."""
    table = Table(Scripted([choice(move, 3)]), opening="2g2f 8c8d")

    result = table.play()

    outcome = result.outcome
    assert (Termination.ILLEGAL_MOVE, Status.FORFEIT) == (outcome.termination, outcome.status)
    assert (SECOND, FIRST) == (outcome.winner, outcome.fault)
    assert ("2g2f", "8c8d") == result.moves
    assert outcome.detail is not None
    assert 1 == len(outcome.detail.splitlines())
    assert len(outcome.detail) < 120
    assert ((3, 0), (3, 0)) == (result.thinking_ms, result.longest_ms)


@pytest.mark.parametrize(
    "limit",
    [
        SearchLimit(byoyomi_ms=1000, margin_ms=50),
        SearchLimit(movetime_ms=1000, margin_ms=50),
        SearchLimit(base_ms=400, byoyomi_ms=600, margin_ms=50),
        SearchLimit(base_ms=400, increment_ms=600, margin_ms=50),
    ],
    ids=["byoyomi", "movetime", "base and byoyomi", "base and increment"],
)
def test_a_move_beyond_clock_and_margin_is_a_time_forfeit(limit: SearchLimit) -> None:
    """To the millisecond; the late move, though legal, is not played, but its time is kept."""
    in_time = Table(Scripted([choice("7g7f", 1050)]), Scripted(["resign"]), limits=(limit, None))
    late = Table(Scripted([choice("7g7f", 1051)]), limits=(limit, None))

    played, forfeited = in_time.play(), late.play()

    assert Termination.RESIGNATION is played.outcome.termination
    outcome = forfeited.outcome
    assert (Termination.TIME_FORFEIT, Status.FORFEIT) == (outcome.termination, outcome.status)
    assert (SECOND, FIRST) == (outcome.winner, outcome.fault)
    assert "used 1051 ms of the 1050 ms its clock allowed" == outcome.detail
    assert ((), ()) == (forfeited.moves, forfeited.times_ms)
    assert ((1051, 0), (1051, 0)) == (forfeited.thinking_ms, forfeited.longest_ms)


@pytest.mark.parametrize("answer", ["resign", "win", "nonsense"])
def test_what_comes_after_the_clock_ran_out_comes_too_late(answer: str) -> None:
    """Whatever it says then, it has lost on time."""
    limits = (SearchLimit(byoyomi_ms=100, margin_ms=0), None)
    table = Table(Scripted([choice(answer, 101)]), start=DECLARABLE, limits=limits)

    assert Termination.TIME_FORFEIT is table.play().outcome.termination


def test_time_is_measured_for_a_player_that_does_not_measure_it() -> None:
    """The wall's time between question and answer, which no player can talk down."""

    class Slow(Scripted):
        def choose(self, board: Board, *, clock: Clock, opponent_clock: Clock, deadline: float) -> Choice:
            until = time.monotonic() + 0.05
            while time.monotonic() < until:
                board.legal_moves()
            return super().choose(board, clock=clock, opponent_clock=opponent_clock, deadline=deadline)

    table = Table(Slow(["7g7f"]), Scripted(["resign"]), limits=(SearchLimit(byoyomi_ms=20, margin_ms=0), None))

    result = table.play()

    assert Termination.TIME_FORFEIT is result.outcome.termination
    assert result.thinking_ms[0] >= 50


def test_each_player_sees_its_own_clock_first() -> None:
    """Before its move is charged, with what the opponent has left."""
    limits = (SearchLimit(base_ms=1000, byoyomi_ms=10), SearchLimit(base_ms=500, increment_ms=100))
    table = Table(
        Scripted([choice("7g7f", 300), choice("2g2f", 300)]),
        Scripted([choice("3c3d", 250), choice("resign", 1)]),
        limits=limits,
    )

    table.play()

    assert [(1000, 500), (700, 350)] == table.first.clocks
    assert [(500, 700), (350, 400)] == table.second.clocks


# --- void: no result


@pytest.mark.parametrize(
    ("error", "termination"),
    [
        (AgentCrashError(LAST_WORDS), Termination.AGENT_CRASH),
        (AgentStallError(LAST_WORDS), Termination.AGENT_STALL),
        (AgentStartError(LAST_WORDS), Termination.AGENT_CRASH),
        (AgentError(LAST_WORDS), Termination.AGENT_CRASH),
    ],
    ids=["crash", "stall", "no longer running", "other"],
)
def test_an_agent_that_fails_leaves_no_result(error: AgentError, termination: Termination) -> None:
    """Nobody wins; whose fault it was and its last words are kept, and so is what was played before."""
    table = Table(Scripted(["7g7f"]), Scripted([error]))

    result = table.play()

    assert Outcome(termination=termination, fault=SECOND, detail=LAST_WORDS) == result.outcome
    assert Status.VOID is result.outcome.status
    assert ("7g7f",) == result.moves
    assert ("game over", None) == table.first.told[-1]


@pytest.mark.parametrize(
    "error", [AgentStartError(LAST_WORDS), AgentStallError(LAST_WORDS), AgentCrashError(LAST_WORDS)]
)
def test_an_agent_that_cannot_begin_leaves_no_result(error: AgentError) -> None:
    """Whatever it was: it could not be made ready, and nobody was asked for a move."""
    table = Table(Scripted(), Scripted(cannot=error), opening="7g7f")

    result = table.play()

    assert Outcome(termination=Termination.AGENT_START, fault=SECOND, detail=LAST_WORDS) == result.outcome
    assert ("7g7f",) == result.moves
    assert [("new game", FIRST, 5), ("game over", None)] == table.first.told


def test_a_game_beyond_its_limit_leaves_no_result() -> None:
    """The limit is looked at before every move; where no agent was waited for, none is at fault."""
    table = Table(Scripted())

    result = table.play(game_seconds=0.0)

    assert (Termination.GAME_TIMEOUT, None, None) == (
        result.outcome.termination,
        result.outcome.winner,
        result.outcome.fault,
    )
    assert [("new game", FIRST, 5), ("game over", None)] == table.first.told


def test_a_stall_up_to_the_games_limit_is_a_timeout_of_the_game() -> None:
    """The agent had been promised more time than the game had left: nobody's fault, and it is said who used what."""
    first = Scripted([choice("7g7f", 12_340), AgentStallError(LAST_WORDS)])
    table = Table(first, Scripted([choice("3c3d", 700)]))

    outcome = table.play(move_seconds=60.0, game_seconds=30.0).outcome

    assert (Termination.GAME_TIMEOUT, None) == (outcome.termination, outcome.fault)
    assert f"the game passed game_seconds: first used 12.3 s, second 0.7 s; {LAST_WORDS}" == outcome.detail


def test_an_error_of_ours_is_no_outcome() -> None:
    """What is not an agent's failure is not laid at its door: it ends the worker, and the game is played again."""
    table = Table(Scripted(["7g7f"]), Scripted())  # it has no answer, which raises StopIteration

    with pytest.raises(StopIteration):
        table.play()


# --- deadlines


def test_every_wait_is_announced_with_the_deadline_it_has() -> None:
    """What the supervisor is told before each question is what the player is told."""
    table = Table(*alternately("7g7f 3c3d resign"))

    table.play(move_seconds=7.0)

    waits = [(what, side) for what, side, _ in table.noticed]
    assert [("ready", FIRST), ("ready", SECOND), ("move", FIRST), ("move", SECOND), ("move", FIRST)] == waits
    assert [deadline for _, side, deadline in table.noticed if side is FIRST] == table.first.deadlines
    assert [deadline for _, side, deadline in table.noticed if side is SECOND] == table.second.deadlines
    assert all(deadline <= time.monotonic() + 7.0 for what, _, deadline in table.noticed if what == "move")


def test_no_move_may_last_longer_than_the_game() -> None:
    """The nearer of the two limits is the deadline."""
    table = Table(Scripted(["resign"]))
    latest = time.monotonic() + 20.0

    table.play(move_seconds=60.0, game_seconds=10.0)

    assert table.noticed[-1][-1] < latest


# --- what is kept


def test_the_book_is_in_the_moves_and_took_no_time() -> None:
    """Times and evals stand beside the moves, one for each; sums and maxima are the agents' own."""
    table = Table(
        Scripted([choice("2g2f", 30, 55), choice("2f2e", 10, -7)]),
        Scripted([choice("8c8d", 5), choice("resign", 90)]),
        opening="7g7f 3c3d",
    )

    result = table.play()

    assert ("7g7f", "3c3d", "2g2f", "8c8d", "2f2e") == result.moves
    assert (0, 0, 30, 5, 10) == result.times_ms
    assert (None, None, 55, None, -7) == result.evals
    assert ((40, 95), (30, 90)) == (result.thinking_ms, result.longest_ms)
    assert ("choose", FIRST, 2) == table.first.told[1]


def test_a_book_of_one_ply_gives_the_second_side_the_move() -> None:
    """The first side is who moves at the start position, whoever moves after the book."""
    table = Table(Scripted(), Scripted([choice("resign", 8)]), opening="7g7f")

    result = table.play()

    assert Outcome(termination=Termination.RESIGNATION, winner=FIRST) == result.outcome
    assert (0, 8) == result.thinking_ms


def test_without_scores_there_are_no_evals() -> None:
    """Not a column of nothings."""
    assert Table(*alternately("7g7f 3c3d resign")).play().evals is None


def test_a_score_of_zero_is_a_score() -> None:
    """Zero is an opinion, nothing is none."""
    result = Table(Scripted([choice("7g7f", 1, 0)]), Scripted(["resign"])).play()

    assert (0,) == result.evals


def test_the_row_of_an_attempt_is_the_plan_and_what_became_of_it() -> None:
    """Nothing of the plan is changed on the way."""
    table = Table(*alternately("7g7f 3c3d resign"))
    result = table.play()

    record = table.record(result)

    for name in ("run_id", "game_id", "pair_no", "encounter", "slot", "first_agent_id", "opening_id", "seed"):
        assert getattr(table.planned, name) == getattr(record, name)
    assert (Status.PLAYED, Termination.RESIGNATION, SECOND, None) == (
        record.status,
        record.termination,
        record.winner,
        record.fault,
    )
    assert (2, result.moves, result.times_ms) == (record.plies, record.moves, record.move_times_ms)
    assert (1, True) == (record.attempt, record.attempt_id.startswith("r--g0--a1-"))
    assert record.started_at <= record.finished_at


def test_two_attempts_have_two_ids() -> None:
    """Even with the same number: two invocations may race."""
    game = planned()

    assert 100 == len({Attempt.at(game, 1).attempt_id for _ in range(100)})


def test_of_a_lost_worker_the_book_alone_is_known() -> None:
    """The row is complete all the same."""
    game = planned(opening="7g7f 3c3d")
    outcome = Outcome.void(Termination.WORKER_CRASH, None, "gone")

    record = void_record(Attempt.at(game, 3), outcome, started_at=datetime.now(UTC), worker_pid=77)

    assert (Status.VOID, None, 3, 77) == (record.status, record.winner, record.attempt, record.worker_pid)
    assert (("7g7f", "3c3d"), (0, 0), 2, None) == (record.moves, record.move_times_ms, record.plies, record.evals)


# --- a row replays


def ended(*answers: str, **settings: object) -> Callable[[], Table]:
    def build() -> Table:
        return Table(Scripted(answers[::2]), Scripted(answers[1::2]), **settings)  # type: ignore[arg-type]

    return build


LATE = (SearchLimit(byoyomi_ms=1, margin_ms=0), None)
ENDINGS: dict[str, Callable[[], Table]] = {
    "checkmate": ended(MATING_MOVE, start=MATE_IN_ONE),
    "checkmate by gote": ended("G*5h", start=GOTE_MATES_IN_ONE),
    "repetition": ended(*(SHUFFLE * 4).split()),
    "perpetual check": ended(*PERPETUAL.split(), start=CHECKING),
    "entering king": ended("win", start=DECLARABLE),
    "entering king, spoken for": lambda: Table(Scripted(claims=False), start=DECLARABLE),
    "resignation": ended("7g7f", "resign"),
    "max plies": ended("7g7f", "3c3d", max_plies=2),
    "max plies in the book": ended(opening="7g7f 3c3d", max_plies=2),
    "mate in the book": ended(start=MATE_IN_ONE, opening=MATING_MOVE),
    "illegal move": ended("7g7f", "7g7f"),
    "false claim": ended("win", start=ONE_POINT_SHORT),
    "time forfeit": lambda: Table(Scripted([choice("7g7f", 2)]), limits=LATE),
    "impasse under keisei": ended(start=BOTH_ENTERED, rules="keisei"),
}


@pytest.mark.parametrize("build", ENDINGS.values(), ids=ENDINGS)
def test_a_row_replays(build: Callable[[], Table]) -> None:
    """Start position and moves, pushed through the rules, give winner and termination."""
    table = build()
    result = table.play()

    proven = table.replayed(result)

    assert (result.outcome.termination, result.outcome.winner, result.outcome.fault) == (
        proven.termination,
        proven.winner,
        proven.fault,
    )


def resigned() -> GameRecord:
    table = Table(*alternately("7g7f 3c3d 2g2f resign"))
    return table.record(table.play())


def mated() -> GameRecord:
    table = Table(Scripted([MATING_MOVE]), start=MATE_IN_ONE)
    return table.record(table.play())


def declared() -> GameRecord:
    table = Table(Scripted(["win"]), start=DECLARABLE)
    return table.record(table.play())


def forfeited() -> GameRecord:
    table = Table(Scripted(["nonsense"]))
    return table.record(table.play())


TAMPERED: dict[str, Callable[[], GameRecord]] = {
    "an illegal move": lambda: replace(resigned(), moves=("7g7f", "3c3d", "3c3d")),
    "a move left out": lambda: replace(resigned(), moves=("7g7f", "2g2f")),
    "nonsense for a move": lambda: replace(resigned(), moves=("7g7f", "3c3d", "")),
    "moves after the end": lambda: replace(mated(), moves=(MATING_MOVE, "5a5b")),
    "moves after the end of the book": lambda: replace(mated(), moves=(MATING_MOVE, "5a4a"), opening_plies=1),
    "legal moves after the end of the book": lambda: replace(
        resigned(), moves=(*(SHUFFLE * 3).split(), "7g7f"), opening_plies=12
    ),
    "the other winner of a resignation": lambda: replace(resigned(), winner=SECOND),
    "no winner of a resignation": lambda: replace(resigned(), winner=None),
    "resignation that was mate": lambda: replace(mated(), termination=Termination.RESIGNATION),
    "the other winner of a mate": lambda: replace(mated(), winner=SECOND),
    "a mate that was resignation": lambda: replace(resigned(), termination=Termination.CHECKMATE),
    "a draw that was resignation": lambda: replace(resigned(), termination=Termination.MAX_PLIES, winner=None),
    "a claim the position does not give": lambda: replace(declared(), start_position=ONE_POINT_SHORT),
    "a claim of the other side": lambda: replace(declared(), winner=SECOND),
    "a false claim that was true": lambda: replace(
        declared(), termination=Termination.FALSE_CLAIM, winner=SECOND, fault=FIRST
    ),
    "a forfeit won by who forfeited": lambda: replace(forfeited(), winner=FIRST, fault=SECOND),
    "a forfeit blamed on the winner": lambda: replace(forfeited(), fault=SECOND),
    "a forfeit that was mate": lambda: replace(
        mated(), termination=Termination.TIME_FORFEIT, winner=FIRST, fault=SECOND
    ),
    "a fault in a game played to its end": lambda: replace(resigned(), fault=SECOND),
    "a void attempt": lambda: replace(
        resigned(), status=Status.VOID, termination=Termination.AGENT_CRASH, winner=None
    ),
    "a start position that is none": lambda: replace(resigned(), start_position="nonsense"),
}  # fmt: skip


@pytest.mark.parametrize("build", TAMPERED.values(), ids=TAMPERED)
def test_a_row_that_was_tampered_with_does_not_replay(build: Callable[[], GameRecord]) -> None:
    """Whatever contradicts the rules is refused in one line."""
    record = build()

    with pytest.raises(ValueError, match=r".") as caught:
        replay(record, ShogiRules(), max_plies=320)

    assert 1 == len(str(caught.value).splitlines())


def test_another_length_of_game_is_noticed() -> None:
    """A game drawn by length must have that length."""
    table = Table(*alternately("7g7f 3c3d"), max_plies=2)
    record = table.record(table.play())

    with pytest.raises(ValueError, match="max_plies"):
        replay(record, ShogiRules(), max_plies=3)
