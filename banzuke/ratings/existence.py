"""Whether the joint model has a finite maximum, and for whom: questions about graphs of encounters and points."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import NegativeCycleError, bellman_ford, connected_components

from banzuke.ratings.scores import DRAW, LOSS, WIN, Floats, Integers, Tally

Booleans: TypeAlias = NDArray[np.bool_]


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


def first_move_is_identified(tally: Tally) -> bool:
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


def first_move_is_unbounded(tally: Tally) -> bool:
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


def mutual_groups(tally: Tally) -> Integers:
    """[agents] the group of each, from 0: chains of points connect any two agents of a group in both directions.

    Within a group the ratings have a finite maximum, if the first-move advantage has. Between groups all points
    of direct encounters went one way (Ford's condition; L. R. Ford, Am. Math. Monthly 64(8), 1957).
    """
    low_took = tally.low_results[:, [DRAW, WIN]].sum(axis=1) > 0
    high_took = tally.low_results[:, [DRAW, LOSS]].sum(axis=1) > 0
    taker = np.concatenate((tally.low[low_took], tally.high[high_took]))
    giver = np.concatenate((tally.high[low_took], tally.low[high_took]))
    graph = csr_array((np.ones(len(taker)), (taker, giver)), shape=(tally.agents, tally.agents))
    _, label = connected_components(graph, directed=True, connection="strong")
    return np.asarray(label, dtype=np.int64)
