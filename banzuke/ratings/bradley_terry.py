"""One joint model for all agents: Bradley-Terry with draws and a first-move advantage.

The model. Agent ``i``, moving first against ``j``, expects ``s = 1 / (1 + 10 ** (-(r_i + h - r_j) / 400))``
points; ``r`` are the ratings, ``h`` is the first-move advantage, both in Elo. A draw is half a win and half a
loss. Of ``s``, draws take the share that Davidson's law gives them, ``P(draw) = nu * sqrt(P(win) * P(loss))``
(R. R. Davidson, "On extending the Bradley-Terry model to accommodate ties", JASA 65, 1970).

Why Davidson's law and not Rao and Kupper's: with Davidson's, points are all that the ratings need to know; a
draw moves them exactly as half a win would. Under Rao and Kupper a draw carries more information than half a
win, so that a pool whose draws arise otherwise (by move limits, by deterministic agents) gets ratings that do
not even reproduce its points.

Why the law is put on the *expected score*: in Davidson's own parameters a strength is the log-odds among
decisive games alone. With 60 % draws it is about 2.5 times what "Elo" means, and what ``banzuke calc elo``
prints for the same games. Here two agents' difference is the Elo of their score, however many draws there
are (exactly so where moving first is worth nothing; else it is that difference with the first move taken out).

The estimate. Ratings and first-move advantage maximise ``sum x log s + (1 - x) log(1 - s)`` over all games
(``x`` the first agent's points), by Newton's method on the counts. It is concave; at its maximum every
agent's expected points equal its obtained points, and so do those of the side moving first. This needs ``s``
to be right, and nothing about draws.

The covariance is a sandwich clustered by opening pair (K.-Y. Liang and S. L. Zeger, Biometrika 73, 1986):
games of one pair share an opening and may agree or cancel to any degree. Each pair's residual is taken
against the fit without that pair (the jackknife form, often called CR3; R. M. Bell and D. F. McCaffrey, Survey
Methodology 28, 2002), which for two agents multiplies the naive variance by about ``(G / (G - 1)) ** 2`` for
``G`` pairs, instead of the usual ``G / (G - 1)``: a little wide where pairs are few, rather than too narrow.

Where few pairs, or pairs that all look alike, cannot show their spread, a zero-width interval would be a lie:
the variance of a difference is never taken below ``TRUSTED_PAIRS / G`` of the model's own (the inverse
information, a draw counting for no certainty), nor, with fewer pairs than that, below all of it; ``G`` is the
number of pairs of the agent that has fewer.

Where no finite maximum exists, there is one remedy: **one virtual draw** per encounter that needs it, half of
it with either side moving first (so that it says nothing about the first-move advantage). Which encounters
need it:

- those between agents that no chain of points connects in both directions (someone won or lost everything; a
  group won everything against the others): Ford's condition (L. R. Ford, Am. Math. Monthly 64(8), 1957);
- all of them, if the results would let the first-move advantage grow without bound (only one side ever wins).

Such encounters count in the covariance by the model's variance, since all their results are alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize_scalar
from scipy.sparse import csr_array
from scipy.sparse.csgraph import NegativeCycleError, bellman_ford, connected_components
from scipy.special import expit, log_expit

from banzuke.errors import NoRatedGamesError, RatingError
from banzuke.ratings.elo import ELO_PER_NAT
from banzuke.ratings.scores import DRAW, LOSS, WIN, Floats, Integers, Tally

Booleans: TypeAlias = NDArray[np.bool_]

TRUSTED_PAIRS: Final = 10
"""Up to so many opening pairs, an agent's intervals are at least as wide as the model alone would make them.
"""

_LARGEST_STEP = 5.0
"""Natural log-odds by which one Newton step may change the difference of any encounter."""
_SAFE_STEP = 0.5
"""Steps smaller than this are within Newton's region of convergence and need no look at the likelihood."""
_CONVERGED_STEP = 1e-9
_MOST_STEPS = 500
_LEVERAGE_ONE = 1e-6
"""Below this determinant a pair determines a rating alone, and nothing is left to judge it by."""
_POINTS = np.array([0.0, 0.5, 1.0])
"""Of a loss, a draw and a win."""
_VISIBLE = 1.0 + 1e-9
"""Two variances closer than this are the same but for rounding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BradleyTerryFit:
    """Ratings of a connected pool of n agents that played E encounters. Every number is finite."""

    elo: Floats
    """[n] ratings; their mean is 0."""
    covariance: Floats
    """[n, n] Elo squared, clustered by pair, of the ratings relative to their mean."""
    model_covariance: Floats
    """[n, n] Elo squared, the inverse information, of the same."""
    pairs: Integers
    """[n] opening pairs with a game of the agent."""
    first_move_elo: float | None
    """Elo that moving first is worth; None where the schedule cannot tell it from the ratings (then 0 is
    assumed).
    """
    first_move_error: float | None
    """Its standard error in Elo; None with it."""
    draw_rate: float
    """Share of draws, 0 to 1, between agents that expect half a point, by Davidson's law."""
    virtual_draws: Booleans
    """[E] the encounters that were given one virtual draw, in the order of the tally."""
    divided: Booleans
    """[E] those of them whose agents no chain of points connects in both directions; the others were given
    theirs because the results would let the first-move advantage grow without bound.
    """

    def difference_errors(self) -> Floats:
        """[n, n] standard errors in Elo of the differences between any two agents; the diagonal is 0."""
        fewer = np.minimum(self.pairs[:, None], self.pairs[None, :])
        variances = np.maximum(
            _difference_variances(self.covariance),
            _model_share(fewer) * _difference_variances(self.model_covariance),
        )
        return np.sqrt(variances)

    def mean_errors(self) -> Floats:
        """[n] standard errors in Elo of the differences between each agent and the mean of the pool."""
        variances = np.maximum(
            np.diagonal(self.covariance), _model_share(self.pairs) * np.diagonal(self.model_covariance)
        )
        return np.sqrt(variances)

    def difference_is_widened(self) -> Booleans:
        """[n, n] whether too few or too similar pairs made the error of the difference the model's."""
        fewer = np.minimum(self.pairs[:, None], self.pairs[None, :])
        floor = _model_share(fewer) * _difference_variances(self.model_covariance)
        return floor > _difference_variances(self.covariance) * _VISIBLE

    def mean_is_widened(self) -> Booleans:
        """[n] the same for the error of the difference to the mean of the pool."""
        floor = _model_share(self.pairs) * np.diagonal(self.model_covariance)
        return np.asarray(floor > np.diagonal(self.covariance) * _VISIBLE)


def connected_pools(tally: Tally) -> list[Integers]:
    """Groups agents that a chain of encounters connects, whatever their results.

    Returns:
        Ascending indices of each group that played, the group of most agents first; groups of equal size by
        games, then by their first agent. Agents without a game are in none.
    """
    graph = csr_array((np.ones(len(tally.low)), (tally.low, tally.high)), shape=(tally.agents, tally.agents))
    _, label = connected_components(graph, directed=False)
    played = np.zeros(tally.agents, dtype=bool)
    played[tally.low] = True
    played[tally.high] = True
    games = np.bincount(label[tally.low], weights=tally.games_by_encounter, minlength=tally.agents)
    pools = [np.flatnonzero(label == pool).astype(np.int64) for pool in np.unique(label[played])]
    return sorted(pools, key=lambda pool: (-len(pool), -games[label[pool[0]]], pool[0]))


def fit(tally: Tally) -> BradleyTerryFit:
    """Rates a connected pool.

    Args:
        tally: counts of the games; a chain of encounters connects any two of its agents.

    Raises:
        NoRatedGamesError: there is no game.
        RatingError: the pool is not connected (fit each of ``connected_pools`` by itself).
    """
    if len(tally.low) == 0:
        raise NoRatedGamesError("there is no counting game to rate")
    if len(connected_pools(tally)[0]) != tally.agents:
        raise RatingError("no chain of games connects all agents: rate each connected pool by itself")
    first_move_is_identified = _first_move_is_identified(tally)
    divided = _divided_encounters(tally)
    virtual_draws = divided | (first_move_is_identified and _first_move_is_unbounded(tally))
    problem = _Problem.from_counts(tally, virtual_draws, first_move=first_move_is_identified)

    estimate = _maximise(problem)
    inverse = _inverse(problem.information(problem.expected_scores(estimate)), tally.agents)
    meat = _meat(tally, problem, virtual_draws, estimate, inverse)

    sandwich = ELO_PER_NAT**2 * (inverse @ meat @ inverse)
    model = ELO_PER_NAT**2 * inverse
    n = tally.agents
    return BradleyTerryFit(
        elo=_relative_to_mean(ELO_PER_NAT * estimate[:n]),
        covariance=_relative_to_mean(_relative_to_mean(sandwich[:n, :n]).T),
        model_covariance=_relative_to_mean(_relative_to_mean(model[:n, :n]).T),
        pairs=tally.pairs_by_agent,
        first_move_elo=float(ELO_PER_NAT * estimate[n]) if first_move_is_identified else None,
        first_move_error=_first_move_error(sandwich, model, tally) if first_move_is_identified else None,
        draw_rate=_draw_rate(tally, problem.expected_scores(estimate)),
        virtual_draws=virtual_draws,
        divided=divided,
    )


# Does a finite maximum exist?


def _first_move_is_identified(tally: Tally) -> bool:
    """Whether the schedule, whatever the results, lets the first-move advantage be told from the ratings.

    It does not if ratings exist by which every game has the same difference between the side moving first and
    the other.
    """
    low_first, high_first = np.moveaxis(tally.counts.sum(axis=2) > 0, 1, 0)
    if np.any(low_first & high_first):
        return True
    first = np.where(low_first, tally.low, tally.high)
    second = np.where(low_first, tally.high, tally.low)
    return _has_negative_cycle(
        np.concatenate((first, second)),
        np.concatenate((second, first)),
        np.repeat([1.0, -1.0], len(first)),
        tally.agents,
    )


def _first_move_is_unbounded(tally: Tally) -> bool:
    """Whether the likelihood only grows if the first-move advantage goes to plus or minus infinity.

    Let it go to infinity with ratings in proportion ``q`` to it. Nothing is lost if ``q_i + 1 >= q_j``
    wherever ``i``, moving first, took points from ``j``, and ``q_i - 1 >= q_j`` wherever it did so moving
    second. Such ``q`` are lengths of shortest paths; they exist unless the graph of points has a negative
    cycle. Likewise for minus infinity, with the signs turned.
    """
    scored = _points_taken(tally)
    low_as_first, high_as_second = scored[:, 0, 0], scored[:, 0, 1]
    high_as_first, low_as_second = scored[:, 1, 0], scored[:, 1, 1]
    if np.any(low_as_second & high_as_second) and np.any(low_as_first & high_as_first):
        return False
    taker = np.concatenate((tally.low, tally.high, tally.high, tally.low))
    giver = np.concatenate((tally.high, tally.low, tally.low, tally.high))
    sign = np.repeat([1.0, -1.0, 1.0, -1.0], len(tally.low))
    happened = np.concatenate((low_as_first, high_as_second, high_as_first, low_as_second))
    taker, giver, sign = taker[happened], giver[happened], sign[happened]
    return not (
        _has_negative_cycle(taker, giver, sign, tally.agents) and _has_negative_cycle(taker, giver, -sign, tally.agents)
    )


def _points_taken(tally: Tally) -> Booleans:
    """[E, 2, 2] by who moved first: whether the side moving first (0), or second (1), ever took points."""
    first_took = tally.counts[:, :, [DRAW, WIN]].sum(axis=2) > 0
    second_took = tally.counts[:, :, [DRAW, LOSS]].sum(axis=2) > 0
    return np.stack((first_took, second_took), axis=2)


def _has_negative_cycle(tail: Integers, head: Integers, weight: Floats, agents: int) -> bool:
    """Whether a directed graph has a cycle of negative weight; of parallel edges the lightest counts."""
    # One more node reaches every agent; no cycle goes through it, so that its edges may weigh anything.
    tail = np.concatenate((tail, np.full(agents, agents)))
    head = np.concatenate((head, np.arange(agents)))
    weight = np.concatenate((weight, np.ones(agents)))
    edges, edge = np.unique(tail * (agents + 1) + head, return_inverse=True)
    lightest = np.full(len(edges), np.inf)
    np.minimum.at(lightest, edge, weight)
    graph = csr_array((lightest, np.divmod(edges, agents + 1)), shape=(agents + 1, agents + 1))
    try:
        bellman_ford(graph, directed=True, indices=np.array([agents]))
    except NegativeCycleError:
        return True
    return False


def _divided_encounters(tally: Tally) -> Booleans:
    """[E] encounters of agents that are not connected by chains of points in both directions."""
    low_took = tally.low_results[:, [DRAW, WIN]].sum(axis=1) > 0
    high_took = tally.low_results[:, [DRAW, LOSS]].sum(axis=1) > 0
    taker = np.concatenate((tally.low[low_took], tally.high[high_took]))
    giver = np.concatenate((tally.high[low_took], tally.low[high_took]))
    graph = csr_array((np.ones(len(taker)), (taker, giver)), shape=(tally.agents, tally.agents))
    _, label = connected_components(graph, directed=True, connection="strong")
    return np.asarray(label[tally.low] != label[tally.high])


# The maximum


@dataclass(frozen=True, slots=True, kw_only=True)
class _Problem:
    """What is maximised, over n ratings and, if ``first_move``, its advantage, all in natural log-odds."""

    agents: int
    low: Integers
    high: Integers
    first_move: bool
    games: Floats
    """[E, 2] games, virtual ones included, by who moved first."""
    points: Floats
    """[E, 2] points of the side moving first."""

    @classmethod
    def from_counts(cls, tally: Tally, virtual_draws: Booleans, *, first_move: bool) -> _Problem:
        virtual_games = 0.5 * virtual_draws[:, None]
        return cls(
            agents=tally.agents,
            low=tally.low,
            high=tally.high,
            first_move=first_move,
            games=tally.counts.sum(axis=2) + virtual_games,
            points=tally.counts @ _POINTS + 0.5 * virtual_games,
        )

    def logits(self, parameters: Floats) -> Floats:
        """[E, 2] log-odds of the expected score of the side moving first; linear in the parameters."""
        difference = parameters[self.low] - parameters[self.high]
        advantage = parameters[self.agents] if self.first_move else 0.0
        return np.stack((advantage + difference, advantage - difference), axis=1)

    def expected_scores(self, parameters: Floats) -> Floats:
        """[E, 2] expected points per game of the side moving first."""
        return np.asarray(expit(self.logits(parameters)))

    def log_likelihood(self, parameters: Floats) -> float:
        logits = self.logits(parameters)
        return float(np.sum(self.points * log_expit(logits) + (self.games - self.points) * log_expit(-logits)))

    def gradient(self, scores: Floats) -> Floats:
        """[n or n + 1] obtained minus expected points of each agent, then of the side moving first."""
        residual = self.points - self.games * scores
        difference = residual[:, 0] - residual[:, 1]
        gradient = _sums(self.low, difference, self.agents) - _sums(self.high, difference, self.agents)
        return np.append(gradient, residual.sum()) if self.first_move else gradient

    def information(self, scores: Floats) -> Floats:
        """Negative second derivatives; singular in the direction that shifts all ratings alike."""
        return self.scatter(_curvature(self.games, scores))

    def scatter(self, by_encounter: Floats) -> Floats:
        """Adds up [E, 3] second moments, in the order of ``_curvature``, to a matrix over the parameters."""
        n = self.agents
        twice, mixed, advantage = by_encounter.T
        ratings = -_sums(self.low * n + self.high, twice, n * n).reshape(n, n)
        ratings += ratings.T
        np.fill_diagonal(ratings, _sums(self.low, twice, n) + _sums(self.high, twice, n))
        if not self.first_move:
            return ratings
        border = _sums(self.low, mixed, n) - _sums(self.high, mixed, n)
        return np.block([[ratings, border[:, None]], [border[None, :], np.array([[advantage.sum()]])]])


def _curvature(games: Floats, scores: Floats) -> Floats:
    """[..., 3] second derivatives by difference twice, difference and advantage, advantage twice.

    Args:
        games: [..., 2] by who moved first.
        scores: [..., 2] expected points per game of the side moving first.
    """
    weight = games * scores * (1.0 - scores)
    total = weight[..., 0] + weight[..., 1]
    return np.stack((total, weight[..., 0] - weight[..., 1], total), axis=-1)


def _sums(index: Integers, values: Floats, length: int) -> Floats:
    return np.asarray(np.bincount(index, values, length), dtype=np.float64)


def _maximise(problem: _Problem) -> Floats:
    """Newton's method from equality, with bounded and, far from the maximum, halved steps."""
    parameters = np.zeros(problem.agents + problem.first_move)
    for _ in range(_MOST_STEPS):
        scores = problem.expected_scores(parameters)
        factor = cho_factor(_gauged(problem.information(scores), problem.agents))
        step = cho_solve(factor, problem.gradient(scores))
        size = float(np.max(np.abs(problem.logits(step))))
        if size > _SAFE_STEP:
            step = _shortened(problem, parameters, step * min(1.0, _LARGEST_STEP / size))
        parameters = parameters + step
        if size < _CONVERGED_STEP:
            return parameters
    raise RatingError(f"the ratings did not converge in {_MOST_STEPS} steps")


def _gauged(information: Floats, agents: int) -> Floats:
    """Makes the information invertible by holding the sum of the ratings, which no game tells."""
    gauged = information.copy()
    gauged[:agents, :agents] += np.trace(information[:agents, :agents]) / agents**2
    return gauged


def _shortened(problem: _Problem, parameters: Floats, step: Floats) -> Floats:
    start = problem.log_likelihood(parameters)
    while problem.log_likelihood(parameters + step) < start and np.any(np.abs(step) > _CONVERGED_STEP):
        step = step / 2.0
    return step


def _inverse(information: Floats, agents: int) -> Floats:
    return np.asarray(cho_solve(cho_factor(_gauged(information, agents)), np.eye(len(information))))


# The covariance


def _meat(tally: Tally, problem: _Problem, virtual_draws: Booleans, estimate: Floats, inverse: Floats) -> Floats:
    """The middle of the sandwich: second moments of the pairs' scores, each judged by the fit without it."""
    scores = problem.expected_scores(estimate)
    encounter = tally.pattern_encounter
    games = tally.pattern_counts.sum(axis=2).astype(np.float64)
    residual = tally.pattern_counts @ _POINTS - games * scores[encounter]
    moments, alone = _jackknifed_moments(
        difference=residual[:, 0] - residual[:, 1],
        advantage=residual[:, 0] + residual[:, 1],
        own=_curvature(games, scores[encounter]),
        spread=_spread(problem, inverse)[encounter],
    )
    moments[alone] = _curvature(games[alone], scores[encounter[alone]])
    by_encounter = np.stack(
        [_sums(encounter, tally.pattern_pairs * moment, len(tally.low)) for moment in moments.T], axis=1
    )
    by_encounter[virtual_draws] = _curvature(problem.games, scores)[virtual_draws]
    return problem.scatter(by_encounter)


def _spread(problem: _Problem, inverse: Floats) -> Floats:
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


def _relative_to_mean(values: Floats) -> Floats:
    centred: Floats = values - values.mean(axis=0)
    return centred


def _difference_variances(covariance: Floats) -> Floats:
    variance = np.diagonal(covariance)
    differences = variance[:, None] + variance[None, :] - 2.0 * covariance
    np.fill_diagonal(differences, 0.0)
    return np.maximum(differences, 0.0)


def _model_share(pairs: Integers) -> Floats:
    """The least share of the model's variance that a difference is given, by the pairs it rests on."""
    return np.minimum(1.0, TRUSTED_PAIRS / np.maximum(pairs, 1))


def _first_move_error(sandwich: Floats, model: Floats, tally: Tally) -> float:
    share = _model_share(tally.pattern_pairs.sum())
    return float(np.sqrt(max(sandwich[-1, -1], share * model[-1, -1])))


# Draws


def _draw_rate(tally: Tally, scores: Floats) -> float:
    """The most likely share of draws between equals, given the expected scores; real games only."""
    draws = tally.counts[:, :, DRAW]
    if draws.sum() == 0:
        return 0.0
    if draws.sum() == tally.counts.sum():
        return 1.0

    def surprise(rate: float) -> float:
        draw = _davidson_draws(scores, rate)
        win = np.maximum(scores - draw / 2.0, np.finfo(np.float64).tiny)
        loss = np.maximum(1.0 - scores - draw / 2.0, np.finfo(np.float64).tiny)
        chances = np.stack((loss, draw, win), axis=2)
        return -float(np.sum(tally.counts * np.log(np.maximum(chances, np.finfo(np.float64).tiny))))

    return float(minimize_scalar(surprise, bounds=(0.0, 1.0), method="bounded", options={"xatol": 1e-6}).x)


def _davidson_draws(scores: Floats, rate: float) -> Floats:
    """P(draw) with ``P(draw) = nu * sqrt(P(win) * P(loss))`` and ``P(win) + P(draw) / 2 = score``.

    ``nu`` is given by the rate of draws at a score of one half, ``nu = 2 * rate / (1 - rate)``, 0 < rate < 1.
    The two equations make a quadratic one, solved here in the form that does not cancel.
    """
    product = scores * (1.0 - scores)
    inverse_nu = (1.0 - rate) / (2.0 * rate)
    return np.asarray(2.0 * product / (0.5 + np.sqrt(0.25 - product + 4.0 * product * inverse_nu**2)))
