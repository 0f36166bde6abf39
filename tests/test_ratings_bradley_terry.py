"""The joint model: its estimate, its covariance, and what happens where no finite maximum exists."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import expit

from banzuke.errors import NoRatedGamesError, RatingError
from banzuke.ratings.bradley_terry import TRUSTED_PAIRS, BradleyTerryFit, fit
from banzuke.ratings.elo import ELO_PER_NAT, elo_from_score
from banzuke.ratings.existence import connected_pools
from banzuke.ratings.scores import GameColumns, tally

Game = tuple[int, int, float, int]
"""First agent, second agent, first's score, pair."""


def columns(games: list[Game]) -> GameColumns:
    return GameColumns(
        first_agent=np.array([game[0] for game in games], dtype=np.int64),
        second_agent=np.array([game[1] for game in games], dtype=np.int64),
        first_score=np.array([game[2] for game in games], dtype=np.float64),
        pair=np.array([game[3] for game in games], dtype=np.int64),
    )


def fit_of(games: list[Game], agents: int) -> BradleyTerryFit:
    return fit(tally(columns(games), agents))


def pairs_of(one: int, other: int, scores: list[tuple[float, float]], start: int = 0) -> list[Game]:
    """Pairs in which ``one`` scores as given: first in the game it moves first, then in the other one."""
    games: list[Game] = []
    for number, (as_first, as_second) in enumerate(scores, start=start):
        games += [(one, other, as_first, number), (other, one, 1.0 - as_second, number)]
    return games


def schedule(agents: int, pairs: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """First agents, second agents and pair numbers of a round robin with so many pairs per encounter."""
    low, high = (np.repeat(side, pairs) for side in np.triu_indices(agents, k=1))
    first = np.stack((low, high), axis=1).ravel()
    second = np.stack((high, low), axis=1).ravel()
    return first, second, np.repeat(np.arange(len(low)), 2)


def simulated(
    generator: np.random.Generator,
    elo: NDArray[np.float64],
    *,
    pairs: int,
    first_move: float = 0.0,
    draws: float = 0.0,
    opposed: float = 0.0,
) -> GameColumns:
    """A round robin with exactly the expected scores of the model.

    ``draws`` is the share of draws between equals, by Davidson's law. With probability ``opposed`` the two games
    of a pair are decided by one random number, so that what favours the side moving first in one does so in the
    other.
    """
    first, second, pair = schedule(len(elo), pairs)
    score = expit((elo[first] - elo[second] + first_move) / ELO_PER_NAT)
    drawn = davidson(score, draws)
    chance = generator.random(len(pair))
    shared = np.repeat(generator.random(len(pair) // 2) < opposed, 2)
    chance = np.where(shared, np.repeat(chance[::2], 2), chance)
    result = np.where(chance < score - drawn / 2, 1.0, np.where(chance < score + drawn / 2, 0.5, 0.0))
    return GameColumns(first_agent=first, second_agent=second, first_score=result, pair=pair)


def davidson(score: NDArray[np.float64], rate: float) -> NDArray[np.float64]:
    """Chance of a draw, by way of Davidson's own strengths: win, draw and loss are as y, nu and 1 / y."""
    nu = 2.0 * rate / (1.0 - rate)
    odds = score / (1.0 - score)
    # (y + nu / 2) / (1 / y + nu / 2) = odds
    y = (nu / 2 * (odds - 1.0) + np.sqrt((nu / 2 * (odds - 1.0)) ** 2 + 4.0 * odds)) / 2.0
    return nu / (y + nu + 1.0 / y)


WELL_MIXED = [(1.0, 1.0), (1.0, 0.0), (0.0, 1.0), (0.5, 0.5), (1.0, 0.5), (0.0, 0.0), (0.5, 1.0)]


@st.composite
def connected_games(draw: st.DrawFn) -> list[Game]:
    """Games of four agents that a chain of encounters connects, with half pairs and any results."""
    result = st.sampled_from([0.0, 0.5, 1.0])
    encounters = [(0, 1), (1, 2), (2, 3)]
    encounters += draw(st.lists(st.sampled_from([(0, 2), (0, 3), (1, 3), (0, 1)]), max_size=6))
    games: list[Game] = []
    for number, (one, other) in enumerate(encounters):
        games.append((one, other, draw(result), number))
        if draw(st.booleans()):
            games.append((other, one, draw(result), number))
    return games


def agrees(one: BradleyTerryFit, other: BradleyTerryFit) -> bool:
    """Whether two fits have the same ratings and the same errors."""
    return bool(
        np.allclose(one.elo, other.elo, atol=1e-5)
        and np.allclose(one.difference_errors(), other.difference_errors(), rtol=1e-6, atol=1e-6)
        and np.allclose(one.mean_errors(), other.mean_errors(), rtol=1e-6, atol=1e-6)
    )


# The estimate


@pytest.mark.parametrize(
    ("scores", "points_per_game"),
    [
        ([(1.0, 1.0), (1.0, 0.0), (0.0, 1.0)], 4 / 6),
        ([(0.5, 0.5), (0.5, 0.5), (1.0, 0.5), (0.5, 1.0)], 5 / 8),  # Davidson's own scale would give infinity
        ([(1.0, 1.0), (0.0, 0.0), (0.5, 0.5)], 1 / 2),
    ],
)
def test_two_agents_differ_by_the_elo_of_their_score(scores: list[tuple[float, float]], points_per_game: float) -> None:
    """Without an effect of the first move, the difference is the closed form, draws or not."""
    ours = fit_of(pairs_of(0, 1, scores), 2)

    assert ours.elo[0] - ours.elo[1] == pytest.approx(elo_from_score(points_per_game), abs=1e-7)
    assert ours.first_move_elo == pytest.approx(0.0, abs=1e-7)


# KataGo's own test vectors (cpp/core/elo.cpp, runTests, tolerance 0.01): every player also has one win and
# one loss against a fixed 0, who is agent 0 here. All counts doubled, so that each result happens once with
# either side moving first.
@pytest.mark.parametrize(
    ("results", "ratings"),
    [
        ([(2, 3, 200, 100)], (0.0, 59.9833, -59.9834)),
        ([(1, 3, 5, 1), (2, 3, 5, 1)], (76.5228, 76.5228, -161.285)),
    ],
)
def test_katago_vectors(results: list[tuple[int, int, int, int]], ratings: tuple[float, ...]) -> None:
    """The ratings asserted by KataGo's own tests come out, with its prior games played as real ones."""
    games: list[Game] = []
    for one, other, wins, losses in [*results, *((player, 0, 1, 1) for player in (1, 2, 3))]:
        scores = [(1.0, 1.0)] * wins + [(0.0, 0.0)] * losses
        games += pairs_of(one, other, scores, start=len(games))

    ours = fit_of(games, 4)

    assert ours.elo[1:] - ours.elo[0] == pytest.approx(ratings, abs=0.01)


def test_parameters_are_recovered() -> None:
    """Ratings, first-move advantage and draw rate of a large simulated tournament are found again."""
    elo = np.array([-310.0, -120.0, -15.0, 60.0, 145.0, 240.0])
    games = simulated(np.random.default_rng(7), elo, pairs=1000, first_move=45.0, draws=0.3)

    ours = fit(tally(games, 6))

    assert ours.elo == pytest.approx(elo, abs=20)
    assert np.all(np.abs(ours.elo - elo) < 4 * ours.mean_errors())
    assert ours.first_move_elo is not None
    assert ours.first_move_error is not None
    assert ours.first_move_error < 5
    assert abs(ours.first_move_elo - 45.0) < 4 * ours.first_move_error
    assert ours.draw_rate == pytest.approx(0.3, abs=0.01)
    assert not ours.virtual_draws.any()


@settings(max_examples=60, deadline=None)
@given(connected_games())
def test_expected_points_equal_obtained_points(games: list[Game]) -> None:
    """At the maximum each agent expects what it has within its group, and each group what it has against others."""
    ours = fit_of(games, 4)

    counts = tally(columns(games), 4)
    played = [(first, second, score, 1.0) for first, second, score, _ in games]
    for low, high in zip(counts.low[ours.virtual_draws], counts.high[ours.virtual_draws], strict=True):
        played += [(low, high, 0.5, 0.5), (high, low, 0.5, 0.5)]
    within, between = np.zeros(5), np.zeros(5)
    for first, second, score, weight in played:
        expected = expit((ours.elo[first] - ours.elo[second] + (ours.first_move_elo or 0.0)) / ELO_PER_NAT)
        surplus = weight * np.array([1, -1, 1]) * (score - expected)
        if ours.group[first] == ours.group[second]:
            within[[first, second, 4]] += surplus
        else:
            between[[ours.group[first], ours.group[second], 4]] += surplus
    assert within[:4] == pytest.approx(np.zeros(4), abs=1e-7)
    assert between[:4] == pytest.approx(np.zeros(4), abs=1e-7)
    if ours.first_move_elo is not None:
        # Games between groups tell of the first move only where there are no others.
        assert (between if ours.divided.all() else within)[4] == pytest.approx(0.0, abs=1e-7)


@settings(max_examples=60, deadline=None)
@given(connected_games())
def test_nothing_is_ever_infinite_or_of_zero_width(games: list[Game]) -> None:
    """Whatever the results, all numbers are finite and no two agents' difference is certain."""
    ours = fit_of(games, 4)

    assert np.all(np.isfinite(ours.elo))
    assert np.all(np.isfinite(ours.covariance))
    assert np.all(ours.mean_errors() > 20)
    assert np.all(ours.difference_errors()[~np.eye(4, dtype=bool)] > 20)
    assert np.all(np.isfinite(ours.difference_errors()))
    assert ours.draw_rate == pytest.approx(0.5, abs=0.5)
    assert ours.elo.sum() == pytest.approx(0.0, abs=1e-6)
    assert np.linalg.eigvalsh(ours.covariance).min() > -1e-6 * np.trace(ours.covariance)
    if ours.first_move_elo is not None:
        assert ours.first_move_error is not None
        assert math.isfinite(ours.first_move_elo)
        assert math.isfinite(ours.first_move_error)
        assert ours.first_move_error > 0


@settings(max_examples=40, deadline=None)
@given(connected_games())
def test_turned_results_turn_the_ratings(games: list[Game]) -> None:
    """If every winner had lost instead, all differences and the first-move advantage change their sign."""
    turned = fit_of([(first, second, 1.0 - score, pair) for first, second, score, pair in games], 4)

    ours = fit_of(games, 4)
    assert -ours.elo == pytest.approx(turned.elo, abs=1e-5)
    assert np.allclose(ours.difference_errors(), turned.difference_errors(), rtol=1e-6, atol=1e-6)
    if ours.first_move_elo is not None:
        assert -ours.first_move_elo == pytest.approx(turned.first_move_elo, abs=1e-5)


@settings(max_examples=40, deadline=None)
@given(connected_games())
def test_sides_exchanged_turn_the_first_move_alone(games: list[Game]) -> None:
    """If in every game the other side had moved first, ratings stay and the advantage changes its sign."""
    exchanged = fit_of([(second, first, 1.0 - score, pair) for first, second, score, pair in games], 4)

    ours = fit_of(games, 4)
    assert agrees(ours, exchanged) or ours.first_move_elo is None
    if ours.first_move_elo is not None:
        assert -ours.first_move_elo == pytest.approx(exchanged.first_move_elo, abs=1e-5)


@settings(max_examples=40, deadline=None)
@given(connected_games(), st.permutations(range(4)), st.randoms(use_true_random=False))
def test_names_and_order_do_not_matter(games: list[Game], renamed: list[int], order: object) -> None:
    """Agents numbered otherwise and games in another order, with other pair numbers, are rated the same."""
    other_games = [(renamed[first], renamed[second], score, 1000 - 3 * pair) for first, second, score, pair in games]
    order.shuffle(other_games)  # type: ignore[attr-defined]

    other = fit_of(other_games, 4)

    ours = fit_of(games, 4)
    assert ours.elo == pytest.approx(other.elo[renamed], abs=1e-5)
    assert np.allclose(
        ours.difference_errors(), other.difference_errors()[np.ix_(renamed, renamed)], rtol=1e-6, atol=1e-6
    )


def test_everything_twice_is_twice_the_information() -> None:
    """The same results on twice as many openings give the same ratings and half the variance."""
    games = simulated(np.random.default_rng(3), np.array([0.0, 50.0, -80.0]), pairs=100, draws=0.2, opposed=0.5)
    once = fit(tally(games, 3))

    twice = fit(
        tally(
            GameColumns(
                first_agent=np.tile(games.first_agent, 2),
                second_agent=np.tile(games.second_agent, 2),
                first_score=np.tile(games.first_score, 2),
                pair=np.concatenate((games.pair, games.pair + 10_000)),
            ),
            3,
        )
    )

    assert once.elo == pytest.approx(twice.elo, abs=1e-6)
    assert once.difference_errors() == pytest.approx(math.sqrt(2) * twice.difference_errors(), rel=0.02)


def test_large_gaps_converge() -> None:
    """A ladder of forty agents, each winning 99 of 100 against the next, spans forty times 798 Elo."""
    scores = [(1.0, 1.0)] * 49 + [(1.0, 0.0)] + [(1.0, 1.0)] * 49 + [(0.0, 1.0)]
    games: list[Game] = []
    for rung in range(39):
        games += pairs_of(rung, rung + 1, scores, start=len(games))

    ours = fit_of(games, 40)

    assert -np.diff(ours.elo) == pytest.approx(np.full(39, elo_from_score(0.99)), abs=1e-5)
    assert not ours.virtual_draws.any()


def test_perfect_scorers_far_beyond_a_long_ladder_are_placed() -> None:
    """Agents that only met the top, the bottom or the middle of 32,000 Elo stand where their opponents stand."""
    scores = [(1.0, 1.0)] * 49 + [(1.0, 0.0)] + [(1.0, 1.0)] * 49 + [(0.0, 1.0)]
    games: list[Game] = []
    for rung in range(39):
        games += pairs_of(rung, rung + 1, scores, start=len(games))
    for newcomer, opponent, score in ((40, 0, 1.0), (41, 39, 0.0), (42, 20, 1.0), (43, 40, 0.0)):
        games += pairs_of(newcomer, opponent, [(score, score)] * 2, start=len(games))

    ours = fit_of(games, 44)

    ahead = elo_from_score(4.5 / 5)
    assert ours.elo[[40, 41, 42, 43]] - ours.elo[[0, 39, 20, 40]] == pytest.approx(
        [ahead, -ahead, ahead, -ahead], abs=1e-4
    )
    assert np.all(np.isfinite(ours.difference_errors()))


# The covariance


@pytest.mark.parametrize("opposed", [0.0, 0.9])
@pytest.mark.parametrize("draws", [0.0, 0.5])
def test_two_agents_have_the_pentanomial_error(opposed: float, draws: float) -> None:
    """Where moving first is worth nothing, the clustered error is the pentanomial one, by the delta method."""
    games = simulated(np.random.default_rng(5), np.array([60.0, 0.0]), pairs=400, draws=draws, opposed=opposed)
    of_agent_0 = np.where(games.first_agent == 0, games.first_score, 1.0 - games.first_score)
    of_pair = of_agent_0.reshape(-1, 2).mean(axis=1)
    score = of_pair.mean()
    pentanomial_error = math.sqrt(of_pair.var() / len(of_pair))

    ours = fit(tally(games, 2)).difference_errors()[0, 1]

    slope = ELO_PER_NAT / (score * (1.0 - score))
    assert ours / slope == pytest.approx(pentanomial_error, rel=0.02)


def test_pairs_that_oppose_each_other_are_worth_more() -> None:
    """Where the opening decides much, pairs cancel it, and the clustered error is below the model's."""
    games = simulated(np.random.default_rng(5), np.array([20.0, 0.0]), pairs=400, first_move=100.0, opposed=0.9)
    loose = GameColumns(
        first_agent=games.first_agent,
        second_agent=games.second_agent,
        first_score=games.first_score,
        pair=np.arange(len(games.pair)),
    )

    ours = fit(tally(games, 2)).difference_errors()[0, 1]

    assert ours < 0.6 * fit(tally(loose, 2)).difference_errors()[0, 1]


def test_covariance_is_that_of_leaving_out_each_pair() -> None:
    """The clustered errors agree with refitting the whole model without each pair in turn."""
    elo = np.array([70.0, 0.0, -50.0])
    games = simulated(np.random.default_rng(11), elo, pairs=40, draws=0.2, opposed=0.5, first_move=40.0)
    ours = fit(tally(games, 3))

    refits = []
    for left_out in np.unique(games.pair):
        kept = games.pair != left_out
        without = GameColumns(
            first_agent=games.first_agent[kept],
            second_agent=games.second_agent[kept],
            first_score=games.first_score[kept],
            pair=games.pair[kept],
        )
        refits.append(fit(tally(without, 3)))
    moved = np.array([refit.elo for refit in refits]) - ours.elo
    jackknife = moved.T @ moved
    moved_first = np.array([refit.first_move_elo for refit in refits]) - ours.first_move_elo
    assert np.diagonal(ours.covariance) == pytest.approx(np.diagonal(jackknife), rel=0.01)
    assert ours.first_move_error == pytest.approx(math.sqrt(np.sum(moved_first**2)), rel=0.01)


@pytest.mark.parametrize(("pairs", "draws", "opposed"), [(3, 0.0, 0.0), (8, 0.3, 0.8), (8, 0.0, 0.8)])
def test_intervals_cover_the_truth(pairs: int, draws: float, opposed: float) -> None:
    """Of the 95 % intervals of all differences in 250 small tournaments, 93 to 99 % hold the true one."""
    generator = np.random.default_rng(23)
    above = np.triu_indices(5, k=1)
    covered = []
    for _ in range(250):
        elo = generator.normal(0.0, 70.0, size=5)
        ours = fit(tally(simulated(generator, elo, pairs=pairs, draws=draws, opposed=opposed, first_move=40.0), 5))
        misses = np.abs((ours.elo[:, None] - ours.elo) - (elo[:, None] - elo))
        covered.append(np.mean((misses < 1.96 * ours.difference_errors())[above]))

    assert 0.93 < np.mean(covered) < 0.99


def test_few_pairs_are_not_trusted_with_their_spread() -> None:
    """Five pairs that all went one to one show no spread; the interval is as wide as the model's."""
    games = pairs_of(0, 1, [(1.0, 0.0), (1.0, 0.0), (1.0, 0.0), (0.0, 1.0), (0.0, 1.0)])

    ours = fit_of(games, 2)

    assert ours.covariance == pytest.approx(np.zeros((2, 2)), abs=1e-6)
    # Ten games at even odds: the error of the score is sqrt(.25 / 10), its slope 4 nats.
    assert ours.difference_errors()[0, 1] == pytest.approx(ELO_PER_NAT * 4 * math.sqrt(0.25 / 10), rel=0.05)
    assert ours.difference_is_widened()[0, 1]
    assert ours.mean_is_widened().all()


def test_many_identical_pairs_narrow_the_interval_but_never_to_nothing() -> None:
    """Of the model's variance, pairs without spread keep a share that their number takes away in proportion."""
    many = fit_of(pairs_of(0, 1, [(0.5, 0.5)] * 400), 2)

    model = ELO_PER_NAT * 4 * math.sqrt(0.25 / 800)
    assert many.difference_errors()[0, 1] == pytest.approx(model * math.sqrt(TRUSTED_PAIRS / 400), rel=1e-9)
    assert many.difference_is_widened()[0, 1]


# Where no finite maximum exists


def test_a_perfect_score_is_bounded_by_one_virtual_draw() -> None:
    """Ten wins of ten are rated as ten and a half of eleven, with an honestly wide interval."""
    ours = fit_of(pairs_of(0, 1, [(1.0, 1.0)] * 5), 2)

    assert ours.elo[0] - ours.elo[1] == pytest.approx(elo_from_score(10.5 / 11), abs=1e-6)
    assert ours.first_move_elo == pytest.approx(0.0, abs=1e-6)
    score = 10.5 / 11
    model = ELO_PER_NAT / math.sqrt(11 * score * (1 - score))
    assert ours.difference_errors()[0, 1] == pytest.approx(model, rel=1e-6)
    assert ours.virtual_draws.tolist() == [True]
    assert ours.divided.tolist() == [True]


def test_many_wins_of_many_do_not_narrow_by_being_alike() -> None:
    """Two hundred wins of two hundred keep the model's wide interval, since results alike show no spread."""
    ours = fit_of(pairs_of(0, 1, [(1.0, 1.0)] * 100), 2)

    lower = ours.elo[0] - ours.elo[1] - 1.96 * ours.difference_errors()[0, 1]
    # 0.9817 is the exact (Clopper-Pearson) lower end for 200 of 200.
    assert lower < elo_from_score(0.9817)


def test_only_the_encounters_that_need_it_get_a_virtual_draw() -> None:
    """An agent that lost everything leaves the difference of the others to their own games."""
    others = pairs_of(0, 1, WELL_MIXED)
    games = others + pairs_of(0, 2, [(1.0, 1.0)] * 3, start=50) + pairs_of(2, 1, [(0.0, 0.0)] * 3, start=60)

    ours = fit_of(games, 3)

    assert ours.virtual_draws.tolist() == [False, True, True]  # encounters 0-1, 0-2, 1-2
    assert ours.elo[0] - ours.elo[1] == pytest.approx(elo_from_score(8 / 14), abs=25)
    assert ours.elo[2] < ours.elo[1] - 200


@settings(max_examples=40, deadline=None)
@given(connected_games(), st.integers(1, 3), st.sampled_from([0.0, 1.0]))
def test_a_perfect_scorer_moves_nobody_else(games: list[Game], pairs: int, score: float) -> None:
    """Meeting an agent that wins, or loses, everything changes no difference between those it met, nor an error."""
    perfect: list[Game] = []
    for opponent in range(4):
        perfect += pairs_of(4, opponent, [(score, score)] * pairs, start=1000 + 10 * opponent)
    without = fit_of(games, 4)

    ours = fit_of(games + perfect, 5)

    for group in np.unique(without.group):
        members = np.flatnonzero(without.group == group)
        both = np.ix_(members, members)
        assert np.diff(ours.elo[members]) == pytest.approx(np.diff(without.elo[members]), abs=1e-6)
        centring = np.eye(len(members)) - 1.0 / len(members)
        assert np.allclose(
            centring @ ours.covariance[both] @ centring, centring @ without.covariance[both] @ centring, atol=1e-3
        )
    rest = ours.elo[:4]
    assert ours.elo[4] > rest.max() if score else ours.elo[4] < rest.min()


def test_a_perfect_scorer_is_placed_by_its_virtual_draws() -> None:
    """Its score is as expected, one draw added to each encounter, against opponents that stand where they stood."""
    others = pairs_of(0, 1, [*WELL_MIXED, (1.0, 1.0), (1.0, 0.5)]) + pairs_of(1, 2, WELL_MIXED, start=30)
    perfect = [game for k in range(3) for game in pairs_of(3, k, [(1.0, 1.0)] * 10, start=100 + 20 * k)]
    without = fit_of(others, 3)

    ours = fit_of(others + perfect, 4)

    assert ours.elo[:3] - ours.elo[0] == pytest.approx(without.elo - without.elo[0], abs=1e-6)
    assert ours.difference_errors()[:3, :3] == pytest.approx(without.difference_errors(), rel=0.2)
    assert ours.covariance[0, 0] + ours.covariance[1, 1] - 2 * ours.covariance[0, 1] == pytest.approx(
        without.covariance[0, 0] + without.covariance[1, 1] - 2 * without.covariance[0, 1], rel=1e-6
    )
    assert ours.first_move_elo == pytest.approx(without.first_move_elo, abs=1e-6)
    assert ours.first_move_error == pytest.approx(without.first_move_error, rel=0.5)
    expected = expit((ours.elo[3] - ours.elo[:3, None] + np.array([1, -1]) * (ours.first_move_elo or 0)) / ELO_PER_NAT)
    assert 10.5 * expected.sum() == pytest.approx(3 * 20.5, abs=1e-6)


def test_the_error_of_a_placed_agent_is_its_own_and_that_of_whom_it_met() -> None:
    """Leaving out each pair of the others in turn, plus the variance of placing it: that is the covariance."""
    elo = np.array([150.0, 0.0, -120.0])
    others = simulated(np.random.default_rng(13), elo, pairs=40, draws=0.2, opposed=0.5, first_move=60.0)
    # It met the strongest most, and always moving first, so that the first move's error is in its place too.
    first, second = np.repeat([3, 3, 3], [6, 3, 1]), np.repeat([0, 1, 2], [6, 3, 1])

    def fit_without(left_out: int) -> BradleyTerryFit:
        kept = others.pair != left_out
        return fit(
            tally(
                GameColumns(
                    first_agent=np.concatenate((others.first_agent[kept], first)),
                    second_agent=np.concatenate((others.second_agent[kept], second)),
                    first_score=np.concatenate((others.first_score[kept], np.ones(10))),
                    pair=np.concatenate((others.pair[kept], np.arange(1000, 1010))),
                ),
                4,
            )
        )

    ours = fit_without(-1)

    assert ours.group[3] not in ours.group[:3]
    moved = np.array([fit_without(pair).elo - ours.elo for pair in np.unique(others.pair)])
    games = np.array([[6.5, 0.5], [3.5, 0.5], [1.5, 0.5]])  # moving first and second, virtual draws included
    logits = (ours.elo[3] - ours.elo[:3, None] + np.array([1, -1]) * (ours.first_move_elo or 0.0)) / ELO_PER_NAT
    information = np.sum(games * expit(logits) * expit(-logits))
    placed = np.array([-0.25, -0.25, -0.25, 0.75])
    expected = moved.T @ moved + ELO_PER_NAT**2 / information * np.outer(placed, placed)
    assert ours.covariance == pytest.approx(expected, rel=0.01, abs=2.0)


def test_a_group_that_won_everything_against_another_is_bounded() -> None:
    """Two groups, mixed within, one winning all games between: only the games between need the remedy."""
    games = pairs_of(0, 1, WELL_MIXED) + pairs_of(2, 3, WELL_MIXED, start=50)
    games += pairs_of(0, 2, [(1.0, 1.0)] * 2, start=100) + pairs_of(1, 3, [(1.0, 1.0)] * 2, start=200)

    ours = fit_of(games, 4)

    encounters = tally(columns(games), 4)
    touched = [
        (low, high)
        for low, high, added in zip(encounters.low.tolist(), encounters.high.tolist(), ours.virtual_draws, strict=True)
        if added
    ]
    assert touched == [(0, 2), (1, 3)]
    assert min(ours.elo[:2]) > max(ours.elo[2:])


@pytest.mark.parametrize("winner", [0.0, 1.0])
def test_only_one_side_ever_winning_is_bounded(winner: float) -> None:
    """If the first move, or the second, decides every game, its advantage is large, finite and even."""
    games = pairs_of(0, 1, [(winner, 1.0 - winner)] * 10) + pairs_of(1, 2, [(winner, 1.0 - winner)] * 10, start=50)

    ours = fit_of(games, 3)

    assert ours.elo == pytest.approx(np.zeros(3), abs=1e-6)
    assert ours.first_move_elo is not None
    assert abs(ours.first_move_elo) == pytest.approx(elo_from_score(20.5 / 21), abs=1e-5)
    assert math.copysign(1.0, ours.first_move_elo) == (1.0 if winner else -1.0)
    assert ours.virtual_draws.all()
    assert not ours.divided.any()
    assert ours.difference_errors()[0, 1] > 150


def test_a_first_move_bounded_only_around_a_cycle_needs_no_remedy() -> None:
    """Three agents, each moving first against the next only, tell the advantage if results are mixed."""
    games = [
        (agent, (agent + 1) % 3, score, 10 * agent + number)
        for agent in range(3)
        for number, score in enumerate([1.0, 1.0, 1.0, 0.0])
    ]

    ours = fit_of(games, 3)

    assert ours.first_move_elo == pytest.approx(elo_from_score(0.75), abs=1e-6)
    assert ours.elo == pytest.approx(np.zeros(3), abs=1e-6)
    assert not ours.virtual_draws.any()


def test_a_first_move_unbounded_around_a_cycle_gets_the_remedy() -> None:
    """The same cycle, won by the side moving first throughout, would send its advantage to infinity."""
    games = [(agent, (agent + 1) % 3, 1.0, 10 * agent + number) for agent in range(3) for number in range(4)]

    ours = fit_of(games, 3)

    assert ours.virtual_draws.all()
    assert not ours.divided.any()
    assert ours.first_move_elo is not None
    assert 100 < ours.first_move_elo < 1500


def test_sides_never_swapped_leave_the_first_move_out() -> None:
    """If the stronger agent always moved first, no advantage is invented: the score is the difference."""
    games = [(0, 1, score, number) for number, score in enumerate([1.0, 1.0, 1.0, 0.0] * 5)]

    ours = fit_of(games, 2)

    assert ours.first_move_elo is None
    assert ours.first_move_error is None
    assert ours.elo[0] - ours.elo[1] == pytest.approx(elo_from_score(0.75), abs=1e-6)


def test_all_draws_are_equal_agents() -> None:
    """Only draws make equal ratings, no advantage and a draw rate of one, without any virtual game."""
    games = pairs_of(0, 1, [(0.5, 0.5)] * 4) + pairs_of(1, 2, [(0.5, 0.5)] * 4, start=10)

    ours = fit_of(games, 3)

    assert ours.elo == pytest.approx(np.zeros(3), abs=1e-9)
    assert ours.first_move_elo == pytest.approx(0.0, abs=1e-9)
    assert ours.draw_rate == 1.0
    assert not ours.virtual_draws.any()
    assert ours.difference_errors()[0, 1] > 50


def test_no_draws_make_a_draw_rate_of_zero() -> None:
    """Without a drawn game the rate is exactly zero, and a virtual draw is none."""
    ours = fit_of(pairs_of(0, 1, [(1.0, 1.0)]), 2)

    assert ours.virtual_draws.all()
    assert ours.draw_rate == 0.0


def test_one_pair_is_rated() -> None:
    """One game each way is enough for a rating, with a very wide interval."""
    ours = fit_of(pairs_of(0, 1, [(1.0, 0.5)]), 2)

    assert ours.elo[0] - ours.elo[1] > 0
    assert ours.difference_errors()[0, 1] > 200


def test_no_game_at_all_is_refused() -> None:
    """There is nothing to rate without a game."""
    with pytest.raises(NoRatedGamesError, match="no counting game"):
        fit_of([], 3)


def test_disconnected_pools_are_refused_and_found() -> None:
    """Agents no chain of games connects are not rated jointly; the larger group is listed first."""
    games = pairs_of(5, 1, WELL_MIXED) + pairs_of(0, 2, WELL_MIXED, start=20) + pairs_of(2, 4, WELL_MIXED, start=40)

    pools = connected_pools(tally(columns(games), 6))

    assert [pool.tolist() for pool in pools] == [[0, 2, 4], [1, 5]]  # agent 3 has no game
    with pytest.raises(RatingError, match="no chain of games"):
        fit_of(games, 6)


def test_pools_of_one_size_are_ordered_by_games() -> None:
    """Of two groups with two agents each, the one that played more comes first."""
    games = pairs_of(0, 1, WELL_MIXED[:2]) + pairs_of(2, 3, WELL_MIXED, start=20)

    pools = connected_pools(tally(columns(games), 4))

    assert [pool.tolist() for pool in pools] == [[2, 3], [0, 1]]
