"""The next games go where they shorten the widest intervals most.

A plan that grows by steps. The first is made of nothing: a sparse schedule that connects everybody. Every further one
follows from the results so far: agents that are known well enough are left alone, encounters that tell little (one side
wins anyway) are left out, and each pair goes where it takes most off the variances that are still too large. Steps grow
with what has been played, as the fit that they rest on becomes better, and are cut short where less will do.

Nothing here depends on when or in which order games were played.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from banzuke.ratings.bradley_terry import BradleyTerryFit, fit
from banzuke.ratings.design import Design, most_telling_pairs, pair_information
from banzuke.ratings.elo import normal_quantile
from banzuke.ratings.existence import connected_pools
from banzuke.ratings.scores import Floats, GameColumns, Integers, tally

FEWEST_PAIRS: Final = 20
"""No agent is known well enough before it has so many: from fewer, a covariance may look small by luck."""
GROWTH: Final = 0.25
"""A step is at most so large a part of what has been played."""
SMALLEST_STEP: Final = 10
"""Pairs: what a step costs beside its games should be little; where less will do, it is smaller all the same."""
JOINING_PAIRS: Final = 2
"""For an agent without a result, in every step; one that never gets any must not use the budget up."""

Meeting: TypeAlias = tuple[int, int]
"""Two agents, the lower number first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """What the schedule is to reach, and what it may use."""

    agents: int
    anchor: int | None
    """Agents are measured by their difference to this one; None: to the mean of all."""
    target_error: float
    """Elo: half the width of a 95 % interval."""
    pairs_per_encounter: int
    """At most."""
    pairs: int
    """At most, in all."""


def first_step(goal: Goal) -> list[Meeting]:
    """Meetings that connect all agents, about :data:`FEWEST_PAIRS` for each, or as many as may be played.

    Everybody meets those 1, 2, 4, 8, … places further on, around the circle: any two are connected by a few others, and
    still are where some agents do not play. Begins with the nearest, so that a small budget connects everybody too.
    """
    circle = list(dict.fromkeys(_circle(goal.agents)))
    rounds = min(goal.pairs_per_encounter, -(-FEWEST_PAIRS * goal.agents // (2 * len(circle))))
    return (circle * rounds)[: goal.pairs]


def _circle(agents: int) -> Iterator[Meeting]:
    distance = 1
    while distance <= max(1, agents // 2):
        for agent in range(agents):
            other = (agent + distance) % agents
            yield min(agent, other), max(agent, other)
        distance *= 2


def next_step(goal: Goal, *, games: GameColumns, planned: Integers, able: NDArray[np.bool_]) -> list[Meeting]:
    """The next meetings, each a pair of games, in the order in which they are to be planned.

    Args:
        goal: what is to be reached.
        games: the counting ones.
        planned: [n, n] pairs planned so far, by the two agents, the lower number first.
        able: [n] who may play.

    Returns:
        Nothing where everybody that can be measured better is known well enough, or no pair may be played any more.
    """
    left = goal.pairs - int(planned.sum())
    if left <= 0 or len(games.pair) == 0:
        return []
    room = np.maximum(goal.pairs_per_encounter - planned, 0) * np.outer(able, able)
    known = measure(goal, games)
    joining = _joining(known, room, planned, able)[:left]
    for low, high in joining:
        room[low, high] -= 1
    size = max(SMALLEST_STEP, int(GROWTH * len(np.unique(games.pair))))
    chosen = _telling(goal, known, room, able, most=min(size, left - len(joining)))
    return [*joining, *chosen]


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """How well the agents of the reference's pool are known."""

    members: Integers
    """[m] their numbers, ascending."""
    reference: int | None
    """Position of the anchor among them; None: the mean."""
    fitted: BradleyTerryFit
    errors: Floats
    """[m] half the width of each agent's 95 % interval, Elo."""


def measure(goal: Goal, games: GameColumns) -> Known:
    """The intervals that the standings would have.

    Raises:
        NoRatedGamesError: there is no game.
    """
    counts = tally(games, goal.agents)
    pools = connected_pools(counts)
    members, reference = pools[0], None
    for pool in pools:
        if goal.anchor is not None and goal.anchor in pool:
            members, reference = pool, int(np.searchsorted(pool, goal.anchor))
    fitted = fit(counts.among(members))
    errors = fitted.mean_errors() if reference is None else fitted.difference_errors()[reference]
    return Known(members=members, reference=reference, fitted=fitted, errors=normal_quantile() * errors)


def _joining(known: Known, room: Integers, planned: Integers, able: NDArray[np.bool_]) -> list[Meeting]:
    """Meetings for those that no chain of results connects to the reference."""
    meetings: list[Meeting] = []
    for agent in sorted(set(np.flatnonzero(able).tolist()).difference(known.members.tolist())):
        against = [(min(agent, other), max(agent, other)) for other in known.members.tolist()]
        possible = sorted((meeting for meeting in against if room[meeting] > 0), key=lambda met: (planned[met], met))
        meetings += possible[:JOINING_PAIRS]
    return meetings


def _telling(goal: Goal, known: Known, room: Integers, able: NDArray[np.bool_], *, most: int) -> list[Meeting]:
    members, fitted = known.members, known.fitted
    low, high = np.triu_indices(len(members), k=1)
    room_of = room[members[low], members[high]]
    low, high, room_of = low[room_of > 0], high[room_of > 0], room_of[room_of > 0]
    model = fitted.model_covariance
    variances = np.diagonal(model).copy()
    if known.reference is not None:
        variances += model[known.reference, known.reference] - 2.0 * model[known.reference]
        variances[known.reference] = 1.0
    quantile = normal_quantile()
    chosen = most_telling_pairs(
        Design(
            covariance=model,
            reference=known.reference,
            # Draws and the likeness of a pair's two games make what is observed differ from what the model says.
            scale=(known.errors / quantile) ** 2 / variances,
            pairs=fitted.pairs,
            judged=able[members] & (np.arange(len(members)) != known.reference),
            low=low,
            high=high,
            information=pair_information(fitted.elo[low] - fitted.elo[high], fitted.first_move_elo or 0.0),
            room=room_of,
        ),
        largest_variance=(goal.target_error / quantile) ** 2,
        fewest_pairs=FEWEST_PAIRS,
        most=most,
    )
    # Round by round, as every plan, so that a step cut short is balanced.
    return [
        (int(members[low[encounter]]), int(members[high[encounter]]))
        for round_ in range(int(chosen.max(initial=0)))
        for encounter in np.flatnonzero(chosen > round_)
    ]
