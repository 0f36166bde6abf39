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
  group won everything against the others): Ford's condition;
- the others too, if their results would let the first-move advantage grow without bound (only one side ever wins).

The remedy is local. Agents that chains of points do connect in both directions are a *group*, and have a finite
maximum of their own; it is also where the likelihood of all games has its limit, since games that went one way say
nothing about the differences within a group, once the groups are far apart. So these differences are what the group's
own games say, and virtual draws only decide how far apart the groups stand: they maximise the likelihood of the games
between groups, given the differences within. A perfect scorer that draws virtually against everybody it met would
otherwise pull all of these towards each other.

Encounters with virtual draws count in the covariance by the model's variance, since all their results are alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from banzuke.errors import NoRatedGamesError, RatingError
from banzuke.ratings.clustered import scatter_of_pairs
from banzuke.ratings.davidson import draw_rate
from banzuke.ratings.elo import ELO_PER_NAT
from banzuke.ratings.existence import (
    Booleans,
    connected_pools,
    first_move_is_identified,
    first_move_is_unbounded,
    mutual_groups,
)
from banzuke.ratings.likelihood import Problem, curvature, inverse_information, maximise, relative_to_mean
from banzuke.ratings.scores import Floats, Integers, Tally

TRUSTED_PAIRS: Final = 5
"""Up to so many opening pairs, an agent's intervals are at least as wide as the model alone would make them.

Measured: with ten, intervals of agents with 16 pairs that cancel each other held the truth in 99 of 100; with none,
those of two agents with 5 pairs in 92.
"""

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
    group: Integers
    """[n] agents of one group are connected so; virtual draws between groups move no difference within one."""

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
    group = mutual_groups(tally)
    divided = group[tally.low] != group[tally.high]
    within = tally.of_encounters(~divided)
    # Games between groups would be won whatever moving first is worth: they tell it only if there are no others.
    first_move = first_move_is_identified(within if len(within.low) else tally)
    virtual_draws = divided | (first_move and len(within.low) > 0 and first_move_is_unbounded(within))
    solution = _Solution.within_groups(within, virtual_draws[~divided], group, first_move=first_move)
    if divided.any():
        between = tally.of_encounters(divided)
        solution = solution.with_groups_placed(
            Problem.from_counts(between, np.ones(len(between.low), dtype=bool), group, first_move=first_move),
            first_move_is_given=len(within.low) > 0,
        )

    n = tally.agents
    pool = np.zeros(n, dtype=np.int64)
    ratings = relative_to_mean(solution.parameters[:n, None], pool)[:, 0]
    covariance, model_covariance = (
        ELO_PER_NAT**2 * relative_to_mean(relative_to_mean(matrix[:n, :n], pool).T, pool)
        for matrix in (solution.sandwich, solution.model)
    )
    whole = Problem.from_counts(tally, virtual_draws, pool, first_move=first_move)
    return BradleyTerryFit(
        elo=ELO_PER_NAT * ratings,
        covariance=covariance,
        model_covariance=model_covariance,
        pairs=tally.pairs_by_agent,
        first_move_elo=float(ELO_PER_NAT * solution.parameters[n]) if first_move else None,
        first_move_error=_first_move_error(solution, tally) if first_move else None,
        draw_rate=draw_rate(tally, whole.expected_scores(solution.parameters)),
        virtual_draws=virtual_draws,
        divided=divided,
        group=group,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Solution:
    """Natural log-odds of n ratings and, if it is among the parameters, the first-move advantage."""

    parameters: Floats
    sandwich: Floats
    """Their covariance, clustered by pair."""
    model: Floats
    """Their covariance by the model."""

    @classmethod
    def within_groups(cls, within: Tally, virtual_draws: Booleans, group: Integers, *, first_move: bool) -> _Solution:
        """The maximum over the games within groups, each group's mean being 0."""
        size = within.agents + first_move
        if len(within.low) == 0:
            return cls(parameters=np.zeros(size), sandwich=np.zeros((size, size)), model=np.zeros((size, size)))
        problem = Problem.from_counts(within, virtual_draws, group, first_move=first_move)
        estimate = maximise(problem)
        inverse = inverse_information(problem, estimate)
        scatter = scatter_of_pairs(within, problem, virtual_draws, estimate, inverse)
        return cls(parameters=estimate, sandwich=inverse @ scatter @ inverse, model=inverse)

    def with_groups_placed(self, between: Problem, *, first_move_is_given: bool) -> _Solution:
        """The groups shifted to where the games between them, virtual draws included, are most likely.

        Where a group stands depends on the differences within, so that their errors carry over.
        """
        n, group = between.agents, between.group
        placing = between.between(
            group, between.logits(self.parameters), first_move=between.first_move and not first_move_is_given
        )
        places = maximise(placing)
        parameters = self.parameters.copy()
        parameters[:n] += places[group]
        moved = group
        if placing.first_move:
            parameters[n] = places[-1]
            moved = np.append(group, len(places) - 1)
        covariance = np.zeros_like(self.model)
        covariance[: len(moved), : len(moved)] = inverse_information(placing, places)[np.ix_(moved, moved)]
        scores = between.expected_scores(parameters)
        carried = np.eye(len(covariance)) - covariance @ between.scatter(curvature(between.games, scores))
        return _Solution(
            parameters=parameters,
            sandwich=carried @ self.sandwich @ carried.T + covariance,
            model=carried @ self.model @ carried.T + covariance,
        )


def _difference_variances(covariance: Floats) -> Floats:
    variance = np.diagonal(covariance)
    differences = variance[:, None] + variance[None, :] - 2.0 * covariance
    np.fill_diagonal(differences, 0.0)
    return np.maximum(differences, 0.0)


def _model_share(pairs: Integers) -> Floats:
    """The least share of the model's variance that a difference is given, by the pairs it rests on."""
    return np.minimum(1.0, TRUSTED_PAIRS / np.maximum(pairs, 1))


def _first_move_error(solution: _Solution, tally: Tally) -> float:
    share = _model_share(tally.pattern_pairs.sum())
    return float(ELO_PER_NAT * np.sqrt(max(solution.sandwich[-1, -1], share * solution.model[-1, -1])))
