"""Adaptive schedules: where the next pairs go, and when they end."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from banzuke.errors import SpecError
from banzuke.match.planning import goal_of, plan_meetings, plan_run
from banzuke.ratings.design import Design, most_telling_pairs, pair_information
from banzuke.ratings.scores import GameColumns, Integers
from banzuke.schedule.adaptive import FEWEST_PAIRS, JOINING_PAIRS, Goal, Meeting, first_step, measure, next_step
from banzuke.schedule.pairing import Encounter
from banzuke.specs import Spec, load_spec

GOAL = Goal(agents=6, anchor=0, target_error=40.0, pairs_per_encounter=120, pairs=1800)
EVERYBODY = np.ones(6, dtype=bool)
RESULTS = ((0.0, 1.0), (0.5, 0.5), (1.0, 0.0), (0.0, 0.5), (1.0, 1.0))
"""Points of the side moving first in a pair's two games."""


def played(meetings: list[Meeting], *, seed: int = 1) -> GameColumns:
    """Two games for each meeting."""
    low, high = np.array(meetings).T
    points = np.array(RESULTS)[np.random.default_rng(seed).integers(len(RESULTS), size=len(low))]
    return GameColumns(
        first_agent=np.concatenate((low, high)),
        second_agent=np.concatenate((high, low)),
        first_score=points.T.ravel(),
        pair=np.tile(np.arange(len(low)), 2),
    )


def counted(meetings: list[Meeting], agents: int = 6) -> Integers:
    """Pairs planned by the two agents."""
    planned = np.zeros((agents, agents), dtype=np.int64)
    np.add.at(planned, tuple(np.array(meetings).T), 1)
    return planned


def pools(meetings: list[Meeting], agents: int) -> int:
    """How many groups of agents the meetings leave apart."""
    low, high = np.array(meetings).T
    return int(connected_components(csr_array((np.ones(len(low)), (low, high)), shape=(agents, agents)))[0])


@pytest.mark.parametrize("agents", [2, 3, 4, 5, 8, 20, 33])
def test_the_first_step_connects_everybody(agents: int) -> None:
    """Everybody gets enough pairs to be judged by, and the fewest games that connect all come first."""
    goal = replace(GOAL, agents=agents, pairs=10_000)

    step = first_step(goal)

    assert all(low < high for low, high in step)
    assert np.bincount(np.array(step).ravel(), minlength=agents).min() >= FEWEST_PAIRS
    assert 1 == pools(first_step(replace(goal, pairs=agents - 1)), agents)


def test_the_first_step_keeps_to_what_an_encounter_may_have() -> None:
    """However few pairs that leaves to an agent."""
    assert 3 == counted(first_step(replace(GOAL, pairs_per_encounter=3))).max()


def test_the_first_step_stays_connected_without_an_agent() -> None:
    """One that turns out to be unfit leaves no group apart."""
    left = [meeting for meeting in first_step(GOAL) if 2 not in meeting]

    assert 2 == pools(left, 6)


@pytest.mark.parametrize("reference", [None, 0, 3])
def test_the_pair_chosen_is_the_one_that_a_fit_with_it_would_call_best(reference: int | None) -> None:
    """The rank-one update says what inverting the information anew says, for every encounter."""
    chance = np.random.default_rng(4)
    elo = chance.normal(0, 150, 6)
    low, high = np.triu_indices(6, k=1)
    information = pair_information(elo[low] - elo[high], 30.0)
    so_far = chance.integers(1, 9, len(low))

    def variances(pairs: Integers) -> np.ndarray:
        matrix = np.zeros((6, 6))
        for a, b, weight in zip(low, high, pairs * information, strict=True):
            contrast = (np.arange(6) == a) * 1.0 - (np.arange(6) == b)
            matrix += weight * np.outer(contrast, contrast)
        inverse = np.linalg.pinv(matrix)
        own = np.diagonal(inverse)
        return own if reference is None else own + own[reference] - 2 * inverse[reference]

    design = Design(
        covariance=covariance_of(so_far * information, low, high),
        reference=reference,
        scale=np.ones(6),
        pairs=np.full(6, 100),
        judged=np.arange(6) != reference,
        low=low,
        high=high,
        information=information,
        room=np.ones(len(low), dtype=np.int64),
    )
    before = variances(so_far)
    largest = float(np.median(before))

    chosen = most_telling_pairs(design, largest_variance=largest, fewest_pairs=1, most=1)

    gains = [
        (before - variances(so_far + (np.arange(len(low)) == encounter)))[before > largest].sum()
        for encounter in range(len(low))
    ]
    assert [int(np.argmax(gains))] == np.flatnonzero(chosen).tolist()


def covariance_of(weights: np.ndarray, low: Integers, high: Integers) -> np.ndarray:
    """Of ratings relative to their mean."""
    matrix = np.zeros((6, 6))
    matrix[low, high] = matrix[high, low] = -weights
    np.fill_diagonal(matrix, -matrix.sum(axis=0))
    return np.asarray(np.linalg.pinv(matrix))


def test_a_step_does_not_depend_on_the_order_of_the_games() -> None:
    """Concurrency and resuming change the order in which games end, and nothing else."""
    meetings = first_step(GOAL)
    games = played(meetings)
    shuffled = np.random.default_rng(2).permutation(len(games.pair))
    renumbered = np.random.default_rng(3).permutation(len(meetings))
    other = GameColumns(
        first_agent=games.first_agent[shuffled],
        second_agent=games.second_agent[shuffled],
        first_score=games.first_score[shuffled],
        pair=renumbered[games.pair][shuffled],
    )

    expected = next_step(GOAL, games=games, planned=counted(meetings), able=EVERYBODY)

    assert expected
    assert expected == next_step(GOAL, games=other, planned=counted(meetings), able=EVERYBODY)


@pytest.mark.parametrize("anchor", [0, None])
def test_steps_end_when_everybody_is_known_well_enough(anchor: int | None) -> None:
    """Not before, and with room left."""
    goal = replace(GOAL, anchor=anchor)
    meetings: list[Meeting] = []
    step, steps = first_step(goal), 0
    while step:
        meetings += step
        steps += 1
        step = next_step(goal, games=played(meetings), planned=counted(meetings), able=EVERYBODY)

    known = measure(goal, played(meetings))
    assert known.errors.max() <= goal.target_error
    assert 2 < steps < 25
    assert len(meetings) < goal.pairs


def test_no_encounter_and_no_run_goes_beyond_what_it_may_have() -> None:
    """A target out of reach ends with every encounter full, or with the budget used up to its last pair."""
    for goal in (replace(GOAL, target_error=1.0, pairs_per_encounter=12), replace(GOAL, target_error=1.0, pairs=151)):
        meetings: list[Meeting] = []
        step = first_step(goal)
        while step:
            meetings += step
            step = next_step(goal, games=played(meetings), planned=counted(meetings), able=EVERYBODY)

        assert counted(meetings).max() <= goal.pairs_per_encounter
        assert min(goal.pairs, 15 * goal.pairs_per_encounter) == len(meetings)


def test_who_cannot_play_gets_no_further_pairs() -> None:
    """The others go on without it."""
    meetings = first_step(GOAL)

    step = next_step(GOAL, games=played(meetings), planned=counted(meetings), able=EVERYBODY & (np.arange(6) != 4))

    assert step
    assert 4 not in np.array(step)


def test_nobody_plays_on_for_an_agent_that_cannot_play() -> None:
    """What it lacks it can get only by playing itself."""
    meetings = [meeting for meeting in combinations(range(6), 2) if 4 not in meeting] * 100 + [(0, 4)] * 30
    games, planned = played(meetings), counted(meetings)

    assert [4] == np.flatnonzero(measure(GOAL, games).errors > GOAL.target_error).tolist()
    assert 4 in np.array(next_step(GOAL, games=games, planned=planned, able=EVERYBODY))
    assert [] == next_step(GOAL, games=games, planned=planned, able=EVERYBODY & (np.arange(6) != 4))


def test_an_agent_without_a_result_is_given_a_few_pairs_beside_the_others() -> None:
    """All its games were void; it may play, and is neither given up nor waited for."""
    meetings = first_step(GOAL)
    games = played([meeting for meeting in meetings if 5 not in meeting])

    step = next_step(GOAL, games=games, planned=counted(meetings), able=EVERYBODY)

    assert JOINING_PAIRS == sum(5 in meeting for meeting in step)
    assert len(step) > JOINING_PAIRS


def test_without_a_result_of_the_anchor_the_others_are_measured_by_their_mean() -> None:
    """As the standings do; the anchor is given pairs to join them."""
    meetings = first_step(GOAL)
    games = played([meeting for meeting in meetings if 0 not in meeting])

    assert measure(GOAL, games).reference is None
    assert JOINING_PAIRS == sum(
        0 in meeting for meeting in next_step(GOAL, games=games, planned=counted(meetings), able=EVERYBODY)
    )


def test_without_any_result_no_step_follows() -> None:
    """There is nothing to choose by."""
    nothing = np.zeros(0, dtype=np.int64)
    games = GameColumns(first_agent=nothing, second_agent=nothing, first_score=np.zeros(0), pair=nothing)

    assert [] == next_step(GOAL, games=games, planned=counted(first_step(GOAL)), able=EVERYBODY)


SPEC = """
name = "grow"
[[agents]]
name = "b"
kind = "random"
[[agents]]
name = "a"
kind = "material"
[[agents]]
name = "c"
kind = "random"
[tournament]
format = "adaptive"
target_error = 30
games_per_encounter = 40
"""


def spec_of(tmp_path: Path, text: str = SPEC) -> Spec:
    path = tmp_path / "spec.toml"
    path.write_text(text)
    return load_spec(path)


def test_further_steps_continue_the_numbers_and_the_openings(tmp_path: Path) -> None:
    """Every pair has its own number, and within its encounter its own round and opening, as if planned at once."""
    spec = spec_of(tmp_path)
    ids = {"a": "1", "b": "2", "c": "3"}
    first = plan_run(spec, run_id="r", agent_ids=ids)
    before = {Encounter.between(*name.split("--")): 10 for name in ("a--b", "a--c", "b--c")}

    second = plan_meetings(spec, [(0, 1), (1, 2), (0, 1)], before, run_id="r", agent_ids=ids)

    assert 60 == len(first)
    assert list(range(66)) == [game.game_no for game in (*first, *second)]
    assert [("a--b", 10), ("b--c", 10), ("a--b", 11)] == [(game.encounter, game.round) for game in second[::2]]
    openings = [(game.encounter, game.slot, game.opening_id) for game in (*first, *second)]
    assert len(openings) == len(set(openings))


def test_the_order_of_agents_in_the_spec_decides_nothing(tmp_path: Path) -> None:
    """A run may be gone on with after agents changed places: they are numbered by name."""
    one = spec_of(tmp_path)
    other = one.model_copy(update={"agents": one.agents[::-1]})
    ids = {"a": "1", "b": "2", "c": "3"}

    assert goal_of(one) == goal_of(other)
    assert plan_run(one, run_id="r", agent_ids=ids) == plan_run(other, run_id="r", agent_ids=ids)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ("games_per_encounter = 482", "games_per_encounter can be at most 480"),
        ("games_per_encounter = 40\nmax_plies = 10", "max_plies: 10 leaves no move to the agents"),
    ],
)
def test_what_later_steps_need_of_the_book_is_checked_first(tmp_path: Path, change: str, fault: str) -> None:
    """A run must not find out in its middle that it cannot go on."""
    spec = spec_of(tmp_path, SPEC.replace("games_per_encounter = 40", change))

    with pytest.raises(SpecError, match=fault):
        plan_run(spec, run_id="r", agent_ids={"a": "1", "b": "2", "c": "3"})
