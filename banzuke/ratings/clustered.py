"""How the scores of opening pairs scatter about what the fit expects: the middle of the sandwich covariance."""

from __future__ import annotations

import numpy as np

from banzuke.ratings.existence import Booleans
from banzuke.ratings.likelihood import POINTS, Problem, curvature, sums
from banzuke.ratings.scores import Floats, Tally

_LEVERAGE_ONE = 1e-6
"""Below this determinant a pair determines a rating alone, and nothing is left to judge it by."""


def scatter_of_pairs(
    tally: Tally, problem: Problem, virtual_draws: Booleans, estimate: Floats, inverse: Floats
) -> Floats:
    """Second moments of the pairs' scores, each judged by the fit without it, over the parameters.

    Args:
        tally: the games.
        problem: the same games, virtual ones included.
        virtual_draws: [E] encounters whose results are all alike and count by the model's variance.
        estimate: the maximum.
        inverse: the inverse information there.
    """
    scores = problem.expected_scores(estimate)
    encounter = tally.pattern_encounter
    games = tally.pattern_counts.sum(axis=2).astype(np.float64)
    residual = tally.pattern_counts @ POINTS - games * scores[encounter]
    moments, alone = _jackknifed_moments(
        difference=residual[:, 0] - residual[:, 1],
        advantage=residual[:, 0] + residual[:, 1],
        own=curvature(games, scores[encounter]),
        spread=_spread(problem, inverse)[encounter],
    )
    moments[alone] = curvature(games[alone], scores[encounter[alone]])
    by_encounter = np.stack(
        [sums(encounter, tally.pattern_pairs * moment, len(tally.low)) for moment in moments.T], axis=1
    )
    by_encounter[virtual_draws] = curvature(problem.games, scores)[virtual_draws]
    return problem.scatter(by_encounter)


def _spread(problem: Problem, inverse: Floats) -> Floats:
    """[E, 3] variances and covariance, by the model, of each encounter's difference and of the advantage."""
    low, high, n = problem.low, problem.high, problem.agents
    difference = inverse[low, low] + inverse[high, high] - 2.0 * inverse[low, high]
    if not problem.first_move:
        return np.stack((difference, np.zeros(len(low)), np.zeros(len(low))), axis=1)
    mixed = inverse[low, n] - inverse[high, n]
    return np.stack((difference, mixed, np.full(len(low), inverse[n, n])), axis=1)


def _jackknifed_moments(
    *, difference: Floats, advantage: Floats, own: Floats, spread: Floats
) -> tuple[Floats, Booleans]:
    """Second moments of ``(1 - own @ spread) ** -1 @ (difference, advantage)``, pattern by pattern.

    Args:
        difference: [P] obtained minus expected points of the lower agent.
        advantage: [P] the same of the side moving first.
        own: [P, 3] information in the pair.
        spread: [P, 3] inverse information in all games.

    Returns:
        [P, 3] the moments, and [P] the patterns whose pairs decide something alone and have no fit without
        them.
    """
    # The two-by-two matrix 1 - own @ spread, written out, since there may be millions of patterns.
    a = 1.0 - own[:, 0] * spread[:, 0] - own[:, 1] * spread[:, 1]
    b = -own[:, 0] * spread[:, 1] - own[:, 1] * spread[:, 2]
    c = -own[:, 1] * spread[:, 0] - own[:, 2] * spread[:, 1]
    d = 1.0 - own[:, 1] * spread[:, 1] - own[:, 2] * spread[:, 2]
    determinant = a * d - b * c
    alone = determinant < _LEVERAGE_ONE
    determinant = np.where(alone, 1.0, determinant)
    without_difference = (d * difference - b * advantage) / determinant
    without_advantage = (a * advantage - c * difference) / determinant
    moments = np.stack((without_difference**2, without_difference * without_advantage, without_advantage**2), axis=1)
    return moments, alone
