"""The circuit breaker: what puts an agent's games off, and what does not."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime

from banzuke.match.planning import plan_run
from banzuke.match.recording import Attempt, void_record
from banzuke.outcome import Outcome, Side, Status, Termination
from banzuke.record import GameRecord, PlannedGame
from banzuke.specs import RandomAgent, Spec, TournamentSpec
from banzuke.workers.breaker import CircuitBreaker

SPEC = Spec(
    name="breaker",
    agents=tuple(RandomAgent(name=name, kind="random") for name in ("broken", "sound", "third")),
    tournament=TournamentSpec(games_per_encounter=8),
)
PLAN = plan_run(SPEC, run_id="r", agent_ids=dict.fromkeys(("broken", "sound", "third"), ""))


def games_of(agent: str) -> list[PlannedGame]:
    return [game for game in PLAN if agent in {game.first_agent, game.second_agent}]


def void(game: PlannedGame, agent: str, termination: Termination = Termination.AGENT_STALL) -> GameRecord:
    """An attempt that the agent spoilt; nobody did, if it is not at the table."""
    side = {game.first_agent: Side.FIRST, game.second_agent: Side.SECOND}.get(agent)
    outcome = Outcome.void(termination, side, "silent")
    return void_record(Attempt.at(game, 1), outcome, started_at=datetime.now(UTC), worker_pid=1)


def played(game: PlannedGame) -> GameRecord:
    return dataclasses.replace(void(game, ""), status=Status.PLAYED, termination=Termination.MAX_PLIES, fault=None)


def test_an_agent_that_spoils_its_first_games_is_put_off_with_the_reason() -> None:
    """Nobody is put off before the threshold; at it the agent's games are, and nobody else's."""
    breaker = CircuitBreaker(3)
    first, second, third, *rest = games_of("broken")

    early = [
        breaker.note(void(first, "broken")),
        breaker.note(void(second, "broken", Termination.AGENT_CRASH)),
        breaker.in_the_way_of(third),
    ]
    news = breaker.note(void(third, "broken"))

    assert [None, None, None] == early
    assert news is not None
    agent, reason = news
    assert "broken" == agent
    assert reason.startswith("its first 3 games were void by its own fault (2 agent_stall, 1 agent_crash), so its ")
    assert reason.endswith("; last: silent")
    assert {"broken"} == {breaker.in_the_way_of(game) for game in rest}
    assert {None} == {breaker.in_the_way_of(game) for game in PLAN if game not in games_of("broken")}
    assert {"broken": reason} == breaker.put_off


def test_attempts_at_one_game_count_once() -> None:
    """A game it cannot play, tried again and again, does not cost an agent the others."""
    breaker = CircuitBreaker(2)
    game = games_of("broken")[0]

    news = [breaker.note(void(game, "broken")) for _ in range(10)]

    assert [None] * 10 == news
    assert breaker.in_the_way_of(game) is None


def test_one_result_is_enough_for_good() -> None:
    """An agent that has finished a game is left to retries and backfills."""
    breaker = CircuitBreaker(1)
    first, *others = games_of("broken")

    breaker.note(played(first))
    news = [breaker.note(void(game, "broken")) for game in others]

    assert [None] * len(others) == news


def test_nobody_is_put_off_for_what_is_nobodys_fault() -> None:
    """Games that were stopped, or died with their worker, say nothing against an agent."""
    breaker = CircuitBreaker(1)

    news = [breaker.note(void(game, "", Termination.WORKER_CRASH)) for game in PLAN]

    assert [None] * len(PLAN) == news
    assert {} == breaker.put_off


def test_a_threshold_of_zero_never_puts_off() -> None:
    """The breaker can be switched off."""
    breaker = CircuitBreaker(0)

    news = [breaker.note(void(game, "broken")) for game in games_of("broken")]

    assert [None] * len(news) == news
