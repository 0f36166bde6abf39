"""The likelihood of the joint model, its derivatives, and its maximum by Newton's method, on counts by encounter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.sparse import csr_array
from scipy.special import expit, log_expit

from banzuke.errors import RatingError
from banzuke.ratings.existence import Booleans
from banzuke.ratings.scores import Floats, Integers, Tally

POINTS: Final = np.array([0.0, 0.5, 1.0])
"""Of a loss, a draw and a win."""

_LARGEST_STEP = 5.0
"""Natural log-odds by which one Newton step may change the difference of any encounter."""
_SAFE_STEP = 0.5
"""Steps smaller than this are within Newton's region of convergence and need no look at the likelihood."""
_UNCERTAIN = 1e-7
"""Least chance that the length of a step allows for; it does not decide where the steps end."""
_CONVERGED_STEP = 1e-9
_MOST_STEPS = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """What is maximised, over n ratings and, if ``first_move``, its advantage, all in natural log-odds.

    Ratings of a group of agents may all be shifted alike: the games given are within groups.
    """

    agents: int
    low: Integers
    high: Integers
    first_move: bool
    games: Floats
    """[E, 2] games, virtual ones included, by who moved first."""
    points: Floats
    """[E, 2] points of the side moving first."""
    group: Integers
    """[n] the group of each agent."""
    given: Floats
    """[E, 2] what is known already of the log-odds of the side moving first."""

    @classmethod
    def from_counts(cls, tally: Tally, virtual_draws: Booleans, group: Integers, *, first_move: bool) -> Problem:
        """Of all games of the tally, and one virtual draw in each encounter that is to have one."""
        virtual_games = 0.5 * virtual_draws[:, None]
        return cls(
            agents=tally.agents,
            low=tally.low,
            high=tally.high,
            first_move=first_move,
            games=tally.counts.sum(axis=2) + virtual_games,
            points=tally.counts @ POINTS + 0.5 * virtual_games,
            group=group,
            given=np.zeros((len(tally.low), 2)),
        )

    def between(self, group: Integers, given: Floats, *, first_move: bool) -> Problem:
        """The same games between groups that are moved as a whole, their differences within being given."""
        groups = int(group.max()) + 1
        return Problem(
            agents=groups,
            low=group[self.low],
            high=group[self.high],
            first_move=first_move,
            games=self.games,
            points=self.points,
            group=np.zeros(groups, dtype=np.int64),
            given=given,
        )

    def moved_by(self, parameters: Floats) -> Floats:
        """[E, 2] what parameters add to the log-odds of the side moving first; linear."""
        difference = parameters[self.low] - parameters[self.high]
        advantage = parameters[self.agents] if self.first_move else 0.0
        return np.stack((advantage + difference, advantage - difference), axis=1)

    def logits(self, parameters: Floats) -> Floats:
        """[E, 2] log-odds of the expected score of the side moving first."""
        return self.given + self.moved_by(parameters)

    def expected_scores(self, parameters: Floats) -> Floats:
        """[E, 2] expected points per game of the side moving first."""
        return np.asarray(expit(self.logits(parameters)))

    def log_likelihood(self, parameters: Floats) -> float:
        """Of all games, but for a constant."""
        logits = self.logits(parameters)
        return float(np.sum(self.points * log_expit(logits) + (self.games - self.points) * log_expit(-logits)))

    def gradient(self, scores: Floats) -> Floats:
        """[n or n + 1] obtained minus expected points of each agent, then of the side moving first."""
        residual = self.points - self.games * scores
        difference = residual[:, 0] - residual[:, 1]
        gradient = sums(self.low, difference, self.agents) - sums(self.high, difference, self.agents)
        return np.append(gradient, residual.sum()) if self.first_move else gradient

    def information(self, scores: Floats) -> Floats:
        """Negative second derivatives; singular in the directions that shift all ratings of a group alike."""
        return self.scatter(curvature(self.games, scores))

    def scatter(self, by_encounter: Floats) -> Floats:
        """Adds up [E, 3] second moments, in the order of ``curvature``, to a matrix over the parameters."""
        n = self.agents
        twice, mixed, advantage = by_encounter.T
        ratings = -sums(self.low * n + self.high, twice, n * n).reshape(n, n)
        ratings += ratings.T
        np.fill_diagonal(ratings, sums(self.low, twice, n) + sums(self.high, twice, n))
        if not self.first_move:
            return ratings
        border = sums(self.low, mixed, n) - sums(self.high, mixed, n)
        return np.block([[ratings, border[:, None]], [border[None, :], np.array([[advantage.sum()]])]])


def curvature(games: Floats, scores: Floats) -> Floats:
    """[..., 3] second derivatives by difference twice, difference and advantage, advantage twice.

    Args:
        games: [..., 2] by who moved first.
        scores: [..., 2] expected points per game of the side moving first.
    """
    weight = games * scores * (1.0 - scores)
    total = weight[..., 0] + weight[..., 1]
    return np.stack((total, weight[..., 0] - weight[..., 1], total), axis=-1)


def sums(index: Integers, values: Floats, length: int) -> Floats:
    """[length] sums of the values that have each index."""
    return np.asarray(np.bincount(index, values, length), dtype=np.float64)


def maximise(problem: Problem) -> Floats:
    """Newton's method from equality, with bounded and, far from the maximum, halved steps."""
    parameters = np.zeros(problem.agents + problem.first_move)
    for _ in range(_MOST_STEPS):
        scores = problem.expected_scores(parameters)
        # Far from the maximum some scores are all but certain, and their information all but none.
        information = problem.information(np.clip(scores, _UNCERTAIN, 1.0 - _UNCERTAIN))
        factor = cho_factor(_gauged(information, problem.group))
        step = cho_solve(factor, problem.gradient(scores))
        size = float(np.max(np.abs(problem.moved_by(step))))
        if size > _SAFE_STEP:
            step = _shortened(problem, parameters, step * min(1.0, _LARGEST_STEP / size))
        parameters = parameters + step
        if size < _CONVERGED_STEP:
            return parameters
    raise RatingError(f"the ratings did not converge in {_MOST_STEPS} steps")


def _gauged(information: Floats, group: Integers) -> Floats:
    """Makes the information invertible by holding the sum of each group's ratings, which no game tells."""
    agents = len(group)
    gauged = information.copy()
    gauged[:agents, :agents] += (group[:, None] == group) * (np.trace(information[:agents, :agents]) / agents**2)
    return gauged


def _shortened(problem: Problem, parameters: Floats, step: Floats) -> Floats:
    start = problem.log_likelihood(parameters)
    while problem.log_likelihood(parameters + step) < start and np.any(np.abs(step) > _CONVERGED_STEP):
        step = step / 2.0
    return step


def inverse_information(problem: Problem, estimate: Floats) -> Floats:
    """The covariance by the model, of ratings relative to the mean of their group, and of the first-move advantage."""
    information = problem.information(problem.expected_scores(estimate))
    inverse = np.asarray(cho_solve(cho_factor(_gauged(information, problem.group)), np.eye(len(information))))
    n = problem.agents
    inverse[:n] = relative_to_mean(inverse[:n], problem.group)
    inverse[:, :n] = relative_to_mean(inverse[:, :n].T, problem.group).T
    return inverse


def relative_to_mean(values: Floats, group: Integers) -> Floats:
    """[n, ...] each group's less their mean."""
    groups = int(group.max()) + 1
    if groups == 1:
        return np.asarray(values - values.mean(axis=0))
    share = 1.0 / np.bincount(group)[group]
    averaging = csr_array((share, (group, np.arange(len(group)))), shape=(groups, len(group)))
    means: Any = averaging @ values
    return np.asarray(values - means[group])
