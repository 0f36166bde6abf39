"""What the games say against the ratings: silent about fair tournaments, plain about what is wrong."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from fair_tournaments import Tournament, fair
from hypothesis import given
from hypothesis import strategies as st

from banzuke.ratings.connections import connection_warnings
from banzuke.ratings.quality import Failures

SHAPES: list[dict[str, Any]] = [
    {"agents": 2, "pairs": 40},
    {"agents": 8, "pairs": 10},
    {"agents": 8, "pairs": 40, "first_move": 60.0, "void_rate": 0.1},
    {"agents": 12, "pairs": 10, "gauntlet": True},
    {"agents": 6, "pairs": 20, "draws": 0.8},
    {"agents": 6, "pairs": 20, "spread": 400.0, "on_time": 0.004},
    {"agents": 20, "pairs": 3, "book": 40},
]


def only_line(found: Tournament) -> str:
    """The one warning there is."""
    (line,) = found.warnings()
    return line


def test_fair_tournaments_are_not_warned_about() -> None:
    """Of many fair tournaments of all shapes at most one in a hundred is spoken of."""
    spoken_of = [(shape, line) for seed in range(30) for shape in SHAPES for line in fair(seed, **shape).warnings()]

    assert len(spoken_of) <= 0.01 * 30 * len(SHAPES), spoken_of


def test_pairs_with_one_side_only() -> None:
    """Pairs that lack a game are counted, with who and which opening has most of them; a few are left alone."""
    tournament = fair(1, agents=5, pairs=20)
    games = tournament.games
    is_gone = (games.pair % 4 == 0) & (games.first == 3)

    line = only_line(tournament.without(is_gone))

    count = len(np.unique(games.pair[is_gone]))
    assert line.startswith(f"{count} of 200 opening pairs have results on one side only ({count} of them of agent-3, ")
    assert "banzuke backfill" in line
    assert not tournament.without(np.arange(len(games.pair)) == 0).warnings()


def test_an_opening_that_one_encounter_uses_again_and_again() -> None:
    """Within one encounter of one run openings are used alike; one that is not is named with both agents."""
    tournament = fair(2, agents=5, pairs=20)
    games = tournament.games
    is_again = (games.first + games.second == 1) & (games.pair % 20 < 3)
    opening = np.where(is_again, games.opening[0], games.opening)

    line = only_line(tournament.with_games(opening=opening))

    assert line.startswith(
        f"agent-0 and agent-1 began 3 pairs of one run with opening o-{games.opening[0]} and only 1 "
    )


def test_an_opening_that_most_encounters_use() -> None:
    """Encounters draw their openings evenly; one that turns up in most of them is no accident."""
    tournament = fair(3, agents=10, pairs=5)
    games = tournament.games
    opening = np.where(games.pair % 5 == 0, 239, np.where(games.opening == 239, 238, games.opening))

    line = only_line(tournament.with_games(opening=opening))

    assert line.startswith("opening o-239 was used in 45 of 45 encounters of a run, where 2 would be even")


def test_a_first_move_that_decides_games() -> None:
    """Where moving first is worth far more than balanced openings give, the openings are doubted."""
    line = only_line(fair(4, first_move=250.0, pairs=40))

    assert line.startswith("between equals, who moves first takes 8")
    assert "another book" in line


def test_an_agent_that_misreads_one_side() -> None:
    """An agent that loses when it moves second, and only it, is named with how much its sides differ."""
    tournament = fair(5, agents=8, pairs=20)
    games = tournament.games
    score = np.where(games.second == 6, 1.0, games.first_score)

    line = only_line(tournament.with_games(first_score=score))

    assert line.startswith("agent-6 takes 0.")
    assert "points a game more moving first than moving second" in line


def test_failures_that_are_one_agents() -> None:
    """An agent at fault for most of the games that failed is named, with its share of the seats."""
    tournament = fair(6, agents=8, void_rate=0.0)
    failures = Failures(agent=np.array([2] * 9 + [5]), eval_cp=np.full(10, np.nan))

    line = only_line(replace(tournament, failures=failures))

    assert line.startswith("agent-2 was at fault for 9 of 10 games that failed, with 12 % of the seats")
    few = Failures(agent=np.array([2, 2, 5]), eval_cp=np.full(3, np.nan))
    assert not replace(tournament, failures=few).warnings()


def test_failures_in_lost_positions() -> None:
    """An agent that fails when it is behind, and only then, would gain by having those games played again."""
    tournament = fair(7, agents=4, pairs=40, void_rate=0.0, spread=50.0)
    behind = Failures(agent=np.arange(4).repeat(16), eval_cp=np.tile([200.0, -100.0, -900.0, 20.0], 16))
    suspicious = replace(behind, eval_cp=np.where(behind.agent == 1, -900.0, behind.eval_cp))

    line = only_line(replace(tournament, failures=suspicious))

    assert not replace(tournament, failures=behind).warnings()
    assert line.startswith("agent-1 was behind in 16 of the 16 games that failed by its fault and had a score")
    assert "--count-faults" in line


def test_a_clock_that_decides_games() -> None:
    """An agent that often loses on time is named with the share; now and then is left alone."""
    tournament = fair(8, agents=8, on_time=0.0)
    games = tournament.games
    late = (games.first == 4) & (games.pair % 3 == 0)
    once = np.arange(len(late)) == np.flatnonzero(late)[0]
    score = np.where(late, 0.0, games.first_score)

    line = only_line(tournament.with_games(is_time_forfeit=late, first_score=score))

    share = late.sum() / 140
    assert line.startswith(f"agent-4 lost {late.sum()} of 140 games on time ({100 * share:.0f} %)")
    assert "margin_ms" in line
    assert not tournament.with_games(
        is_time_forfeit=once, first_score=np.where(once, 0.0, games.first_score)
    ).warnings()


def test_of_many_alike_a_few_are_named() -> None:
    """What is wrong with ten agents takes three lines, and says how many more there are."""
    tournament = fair(9, agents=10, on_time=0.0)
    games = tournament.games
    late = games.pair % 3 == 0

    lines = tournament.with_games(is_time_forfeit=late, first_score=np.where(late, 0.0, games.first_score)).warnings()

    on_time = [line for line in lines if " on time " in line]
    assert len(on_time) == 3
    assert on_time[-1].endswith("(and 7 more agents like it)")


@pytest.mark.parametrize("kept", [0, 1, 2])
def test_hardly_any_game_is_no_trouble(kept: int) -> None:
    """No games, one, or one pair: nothing can be said, and nothing fails."""
    tournament = fair(10, agents=3, void_rate=0.0)

    assert not tournament.without(np.arange(len(tournament.games.pair)) >= kept).warnings() or kept == 1


GROUPS = {
    "bridge": ([(0, 1), (1, 2), (0, 2), (2, 3), (3, 4), (3, 5), (4, 5)], "only the 4 games of c against d connect "),
    "one agent": ([(0, 1), (1, 2), (0, 2), (2, 3), (3, 4), (2, 4)], "only c connects d, e with the rest of the pool: "),
    "chain": ([(0, 1), (1, 2), (2, 3), (3, 4)], "only the 4 games of b against c connect "),
    "gauntlet": ([(0, 1), (0, 2), (0, 3), (0, 4), (0, 5)], None),
    "two": ([(0, 1)], None),
    "circle": ([(0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (0, 5)], None),
    "newcomer": ([(0, 1), (1, 2), (0, 2), (2, 3)], None),
}


@pytest.mark.parametrize(("encounters", "words"), GROUPS.values(), ids=GROUPS)
def test_what_holds_a_pool_together(encounters: list[tuple[int, int]], words: str | None) -> None:
    """Groups that one encounter or one agent connects are named; single agents that met one other are not."""
    first, second = np.array(encounters).repeat(4, axis=0).T
    names = "abcdef"[: 1 + max(max(met) for met in encounters)]

    lines = list(connection_warnings(names, np.ones(len(names), dtype=bool), second, first))

    assert [words] == [line[: len(words or "")] for line in lines] if words else not lines


def test_the_unrated_are_not_looked_at() -> None:
    """An encounter of agents without ratings connects nobody."""
    first, second = np.array([(0, 1), (1, 2), (0, 2), (3, 4), (4, 5), (3, 5), (2, 3)]).T
    is_rated = np.array([True, True, True, False, False, False])

    assert not list(connection_warnings("abcdef", is_rated, first, second))


def parts(encounters: set[tuple[int, int]], agents: set[int]) -> list[set[int]]:
    """The groups that the encounters leave of the agents, loners aside."""
    groups = [{agent} for agent in agents]
    for met in encounters:
        if set(met) <= agents:
            joined = [group for group in groups if group & set(met)]
            groups = [group for group in groups if not group & set(met)] + [set().union(*joined)]
    return [group for group in groups if len(group) > 1]


def test_what_is_apart_already_is_held_together_by_no_game() -> None:
    """Where only faults that are counted connect two groups, no encounter within them is said to do so."""
    first, second = np.array([(0, 1), (1, 2), (3, 4), (4, 5)]).T

    assert not list(connection_warnings("abcdef", np.ones(6, dtype=bool), first, second))


@given(st.integers(4, 9), st.randoms(use_true_random=False), st.integers(0, 8))
def test_no_place_that_holds_a_pool_together_is_missed(agents: int, chance: random.Random, more: int) -> None:
    """In any connected pool the line names an encounter, or else an agent, without which it falls into groups."""
    everybody = set(range(agents))
    met = {(chance.randrange(agent), agent) for agent in range(1, agents)}
    met |= {tuple(sorted(chance.sample(range(agents), 2))) for _ in range(more)}
    bridges = [encounter for encounter in met if len(parts(met - {encounter}, everybody)) > 1]
    cuts = [agent for agent in everybody if len(parts(met, everybody - {agent})) > 1]
    names = "abcdefghi"
    first, second = np.array(sorted(met)).T

    lines = list(connection_warnings(names, np.ones(agents, dtype=bool), first, second))

    assert bool(bridges or cuts) == bool(lines)
    if bridges:
        assert any(f"of {names[low]} against {names[high]} connect" in lines[0] for low, high in bridges), lines
    elif cuts:
        assert any(f"only {names[agent]} connects" in lines[0] for agent in cuts), lines
