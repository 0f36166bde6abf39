"""How often 95 % intervals hold the truth, in tournaments whose games of one opening depend on each other.

The truth is known whatever the dependence. A game's result is the place of one number, uniform over 0 to 1, among
its chances of losing, drawing and winning; games of a pair depend by way of these numbers (a Gaussian copula), each of
which by itself stays uniform. So every game by itself has exactly the chances of the ratings' model, and the ratings
drawn are those that infinitely many openings would show.

Where an opening is biased by so many Elo instead, games by themselves follow the model no longer. The truth is then
what the model says of the population of openings: the ratings at which expected points equal the points that are
expected over all openings (which is what a fit of infinitely many games tends to), found by a general solver.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.polynomial.hermite_e import hermegauss
from numpy.typing import NDArray
from scipy.optimize import root
from scipy.special import expit, ndtr

from banzuke.ratings.bradley_terry import BradleyTerryFit, fit
from banzuke.ratings.elo import ELO_PER_NAT, normal_quantile
from banzuke.ratings.scores import GameColumns, tally

Floats: TypeAlias = NDArray[np.float64]
Integers: TypeAlias = NDArray[np.int64]

FIRST_MOVE = 40.0
"""Elo that moving first is worth over all openings."""
ERRORS = ("clustered by pair", "games by themselves", "the model's")
SETS = ("to the anchor", "neighbours in strength", "neighbours in rank")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A round-robin that is played many times."""

    name: str
    elo: tuple[float, ...]
    """True ratings, the anchor's first."""
    pairs: int
    """Opening pairs of every encounter."""
    draws: float = 0.3
    """Share of draws between equals."""
    opening: float = 0.0
    """Correlation of the two games of a pair by what favours the side moving first: they cancel each other."""
    agent: float = 0.0
    """Correlation of the two games of a pair by what favours one of the agents: they repeat each other."""
    bias: float = 0.0
    """Standard deviation in Elo of the advantage that openings give to the side moving first."""
    is_one_book: bool = False
    """Whether all encounters play the same openings."""


SCENARIOS = (
    Scenario(name="games of a pair cancel", elo=tuple(np.linspace(-150, 150, 10)), pairs=20, opening=0.6),
    Scenario(name="games of a pair repeat", elo=tuple(np.linspace(-150, 150, 10)), pairs=20, agent=0.6),
    Scenario(name="few pairs, cancelling", elo=(0.0, -60.0, -20.0, 30.0, 80.0), pairs=4, opening=0.6),
    Scenario(name="few pairs, repeating", elo=(0.0, -60.0, -20.0, 30.0, 80.0), pairs=4, agent=0.6),
    Scenario(
        name="unequal agents, cancelling", elo=(0.0, -450.0, -300.0, -50.0, 60.0, 220.0, 400.0), pairs=15, opening=0.6
    ),
    Scenario(name="unequal agents, repeating", elo=(0.0, -450.0, -300.0, 60.0, 220.0, 400.0), pairs=15, agent=0.6),
    Scenario(name="two agents", elo=(0.0, 30.0), pairs=60, opening=0.6),
    Scenario(name="biased openings", elo=tuple(np.linspace(-100, 100, 8)), pairs=20, bias=250.0),
    Scenario(
        name="biased openings, one book", elo=tuple(np.linspace(-100, 100, 8)), pairs=20, bias=250.0, is_one_book=True
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """Share of intervals that hold the truth."""

    scenario: Scenario
    tournaments: int
    shares: Floats
    """[ERRORS, SETS]"""


def measure_coverage(scenario: Scenario, tournaments: int, seed: int) -> Coverage:
    """Play, rate, and count the intervals that hold the true difference."""
    generator = np.random.default_rng(seed)
    first, second, pair = _schedule(scenario)
    by_itself = np.arange(len(pair))
    truth = _truth(scenario)
    held = np.zeros((len(ERRORS), len(SETS)))
    for _ in range(tournaments):
        score = _play(scenario, first, second, pair, generator)
        clustered, loose = (
            fit(
                tally(
                    GameColumns(first_agent=first, second_agent=second, first_score=score, pair=of_pair),
                    len(scenario.elo),
                )
            )
            for of_pair in (pair, by_itself)
        )
        errors = (clustered.difference_errors(), loose.difference_errors(), _model_errors(clustered))
        held += [[_held(clustered.elo, error, truth, kind) for kind in SETS] for error in errors]
    return Coverage(scenario=scenario, tournaments=tournaments, shares=held / tournaments)


def _schedule(scenario: Scenario) -> tuple[Integers, Integers, Integers]:
    low, high = (np.repeat(side, scenario.pairs) for side in np.triu_indices(len(scenario.elo), k=1))
    first = np.stack((low, high), axis=1).ravel()
    second = np.stack((high, low), axis=1).ravel()
    return first, second, np.repeat(np.arange(len(low)), 2)


def _play(
    scenario: Scenario, first: Integers, second: Integers, pair: Integers, generator: np.random.Generator
) -> Floats:
    """Points of the side moving first."""
    pairs = len(pair) // 2
    openings = np.arange(pairs) % scenario.pairs if scenario.is_one_book else np.arange(pairs)
    luck_of_opening = generator.standard_normal(pairs)[openings]
    luck_of_agent = generator.standard_normal(pairs)
    # What favours the first agent of the pair favours the side moving first in its first game only.
    shared = np.stack(
        [
            np.sqrt(scenario.opening) * luck_of_opening + sign * np.sqrt(scenario.agent) * luck_of_agent
            for sign in (1, -1)
        ],
        axis=1,
    ).ravel()
    own = np.sqrt(1.0 - scenario.opening - scenario.agent) * generator.standard_normal(len(pair))
    place = ndtr(-shared - own)
    bias = scenario.bias * np.repeat(generator.standard_normal(pairs)[openings], 2)
    elo = np.array(scenario.elo)
    win, draw = _chances(elo[first] - elo[second] + FIRST_MOVE + bias, scenario.draws)
    return np.where(place < win, 1.0, np.where(place < win + draw, 0.5, 0.0))


def _chances(difference: Floats, draws: float) -> tuple[Floats, Floats]:
    """Of a win and of a draw, with the expected score of the difference and Davidson's share of draws in it."""
    score = expit(difference / ELO_PER_NAT)
    nu = 2.0 * draws / (1.0 - draws)
    odds = score / (1.0 - score)
    # A win, a draw and a loss are as y, nu and 1 / y; their expected score gives y.
    y = nu / 4.0 * (odds - 1.0) + np.sqrt((nu / 4.0 * (odds - 1.0)) ** 2 + odds)
    total = y + nu + 1.0 / y
    return y / total, nu / total


def _truth(scenario: Scenario) -> Floats:
    """[n] the ratings that infinitely many openings show, up to a common shift."""
    elo = np.array(scenario.elo)
    if scenario.bias == 0.0:
        return elo
    nodes, weights = hermegauss(61)
    offset = elo[:, None] - elo + FIRST_MOVE
    expected = expit((offset[..., None] + scenario.bias * nodes) / ELO_PER_NAT) @ (weights / weights.sum())
    n = len(elo)
    others = ~np.eye(n, dtype=bool)

    def surplus(parameters: Floats) -> Floats:
        ratings = np.append(0.0, parameters[: n - 1])
        difference = np.where(
            others, expected - expit((ratings[:, None] - ratings + parameters[n - 1]) / ELO_PER_NAT), 0.0
        )
        return np.append((difference.sum(axis=1) - difference.sum(axis=0))[1:], difference.sum())

    solution = root(surplus, np.append(elo[1:] - elo[0], FIRST_MOVE), tol=1e-12)
    return np.append(0.0, solution.x[: n - 1])


def _model_errors(fitted: BradleyTerryFit) -> Floats:
    """[n, n] from the inverse information alone, as if games were independent and never drawn."""
    variance = np.diagonal(fitted.model_covariance)
    difference = variance[:, None] + variance - 2.0 * fitted.model_covariance
    return np.sqrt(np.maximum(difference, 0.0))


def _held(estimate: Floats, errors: Floats, truth: Floats, kind: str) -> float:
    """Share of the intervals of a kind that hold the true difference."""
    n = len(truth)
    if kind == SETS[0]:
        one, other = np.arange(1, n), np.zeros(n - 1, dtype=np.int64)
    else:
        order = np.argsort(truth if kind == SETS[1] else estimate)
        one, other = order[1:], order[:-1]
    misses = np.abs(estimate[one] - estimate[other] - (truth[one] - truth[other]))
    return float(np.mean(misses < normal_quantile() * errors[one, other]))
