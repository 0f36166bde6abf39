"""What holds a pool together: whether one encounter, or one agent, is all that connects two groups of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import breadth_first_order, connected_components

from banzuke.ratings.keys import counted, distinct, joined, joined_either_way

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from banzuke.ratings.existence import Booleans
    from banzuke.ratings.keys import Numbers
    from banzuke.ratings.scores import Integers

_TREES = 8
"""Spanning trees that are compared: what is not in all of them needs no look of its own."""
_SHOWN = 3
"""Agents of a group that are named."""


def connection_warnings(agents: Sequence[str], is_rated: Booleans, first: Numbers, second: Numbers) -> Iterator[str]:
    """A line if the rated pool has two groups of two agents or more that one encounter, or one agent, connects.

    An agent that met a single other one is no group: so are all challenged agents of a gauntlet. Of several such places
    that is named at which most is at stake.

    Args:
        agents: names.
        is_rated: (agents,) whom to look at.
        first: (games,) index of one agent of each game.
        second: (games,) index of the other.
    """
    members = np.flatnonzero(is_rated)
    place = np.full(len(agents), -1)
    place[members] = np.arange(len(members))
    # Encounters are few where games are many: what is asked of each is asked of them.
    met, times = counted(joined(first, len(agents), second))
    one, other = (place[side] for side in np.divmod(met, len(agents)))
    kept = (one >= 0) & (other >= 0)
    ends, place_of = distinct(joined_either_way(one[kept], other[kept], len(members)))
    games = np.bincount(place_of, weights=times[kept]).astype(np.int64)
    low, high = np.divmod(ends, max(len(members), 1))
    names = [agents[index] for index in members.tolist()]
    if _is_cycle(low, high, len(members)):
        return
    if _smaller_part(low, high, np.ones(len(members), dtype=bool)) is not None:
        # What is apart, something else than these games connects: faults that are counted.
        return
    is_everywhere, is_inner = _in_every_tree(low, high, len(members))
    bridges = _bridges(low, high, is_everywhere, len(members))
    if bridges:
        encounter = max(bridges, key=lambda index: bridges[index].sum())
        yield (
            f"only the {games[encounter]} games of {names[low[encounter]]} against {names[high[encounter]]} connect "
            f"{_named(names, bridges[encounter])} with the rest of the pool{_and_others(bridges, 'encounter')}: every "
            "difference across rests on them; play another encounter between the two groups"
        )
        return
    cuts = _cut_agents(low, high, is_inner)
    if cuts:
        agent = max(cuts, key=lambda index: cuts[index].sum())
        yield (
            f"only {names[agent]} connects {_named(names, cuts[agent])} with the rest of the pool"
            f"{_and_others(cuts, 'agent')}: every difference across rests on its games; play an encounter between the "
            "two groups"
        )


def _is_cycle(low: Integers, high: Integers, agents: int) -> bool:
    """Whether everybody has met half of the others; then there is a cycle through all, which no cut can part.

    G. A. Dirac, Proc. London Math. Soc. 2, 1952. It spares round-robins what follows.
    """
    degrees = np.bincount(np.concatenate([low, high]), minlength=agents)
    return agents < 4 or bool(2 * degrees.min() >= agents)


def _bridges(low: Integers, high: Integers, is_tried: Booleans, agents: int) -> dict[int, Booleans]:
    """The encounters without which the pool falls into two groups of two or more, and who is in the smaller one."""
    found = {}
    for encounter in np.flatnonzero(is_tried).tolist():
        is_kept = np.arange(len(low)) != encounter
        apart = _smaller_part(low[is_kept], high[is_kept], np.ones(agents, dtype=bool))
        if apart is not None:
            found[encounter] = apart
    return found


def _cut_agents(low: Integers, high: Integers, is_tried: Booleans) -> dict[int, Booleans]:
    """The agents without which the pool falls into groups of two or more, and who is in the smaller ones."""
    found = {}
    for agent in np.flatnonzero(is_tried).tolist():
        is_kept = (low != agent) & (high != agent)
        apart = _smaller_part(low[is_kept], high[is_kept], np.arange(len(is_tried)) != agent)
        if apart is not None:
            found[agent] = apart
    return found


def _in_every_tree(low: Integers, high: Integers, agents: int) -> tuple[Booleans, Booleans]:
    """Which encounters some spanning trees all have, and which agents have two neighbours or more in all of them.

    Every bridge is among the former and every cut agent among the latter: a tree is whole without a leaf. Where there
    is no tree, because somebody has met nobody, that is everything.
    """
    edges = csr_array((np.ones(len(low)), (low, high)), shape=(agents, agents))
    ends = joined(low, agents, high)
    is_everywhere, is_inner = np.ones(len(low), dtype=bool), np.ones(agents, dtype=bool)
    for root in np.unique(np.linspace(0, agents - 1, _TREES).astype(np.int64)).tolist():
        order, before = breadth_first_order(edges, root, directed=False)
        if len(order) < agents:
            break
        one, other = order[1:], before[order[1:]]
        is_everywhere &= np.isin(ends, joined_either_way(one, other, agents))
        is_inner &= np.bincount(np.append(one, other), minlength=agents) >= 2
    return is_everywhere, is_inner


def _smaller_part(low: Integers, high: Integers, is_there: Booleans) -> Booleans | None:
    """(agents,) who is in a group that is not the largest; None if there is one group only, loners aside."""
    agents = len(is_there)
    edges = csr_array((np.ones(len(low)), (low, high)), shape=(agents, agents))
    count, group = connected_components(edges, directed=False)
    sizes = np.bincount(group, weights=is_there, minlength=count)
    is_small = sizes >= 2
    is_small[sizes.argmax()] = False
    return is_small[group] & is_there if is_small.any() else None


def _named(names: Sequence[str], is_named: Booleans) -> str:
    listed = sorted(names[index] for index in np.flatnonzero(is_named).tolist())
    shown = ", ".join(listed[:_SHOWN])
    return shown if len(listed) <= _SHOWN else f"{shown} and {len(listed) - _SHOWN} more"


def _and_others(found: dict[int, Booleans], what: str) -> str:
    others = len(found) - 1
    return f" ({others} more {what}{'' if others == 1 else 's'} like it)" if others else ""
