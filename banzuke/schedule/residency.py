"""The order in which games between networks are played: few networks at a time, and each loaded a few times.

A plan goes round by round over all encounters, so that all its networks are always in play. A worker keeps only so many
of them loaded, and can ask one about many positions at once only where few are in play. So the networks are cut into
blocks of half the room, and the games between two blocks are played together. Pairs of blocks are visited as a field
is ploughed, along one row and back along the next: two visits in succession share a block, and only the other one is
loaded.

Of N networks in k blocks each is in k - 1 of the k(k - 1)/2 visits, and is loaded for about every second of them. In
the plan's order it is loaded anew several times a round, or all N are in play.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence

from banzuke.record import PlannedGame

_Visit = tuple[int, int]
"""Sorts as it is played."""


def gather(
    games: Sequence[PlannedGame],
    *,
    networks_of: Callable[[PlannedGame], Collection[Hashable]],
    room: int,
) -> list[PlannedGame]:
    """Put games in an order in which few networks are in play at a time.

    Where all have room, nothing is moved: a run cut short stays balanced. Where not, games that were in order stay in
    order within a visit, and those without a network come last.

    Args:
        games: any of one run's. Two of a pair that stand together stay so.
        networks_of: the 0, 1 or 2 networks of a game, in any order; asked once for each encounter.
        room: how many networks a visit may have, at least 2. While one ends and the next begins there are half as many
            more in play; yet more where visits have fewer games than are in play at a time.
    """
    room = max(2, room)
    encounters: dict[str, Collection[Hashable]] = {}
    for game in games:
        if game.encounter not in encounters:
            encounters[game.encounter] = frozenset(networks_of(game))
    networks = _in_order(encounters.values())
    if len(networks) <= room:
        return list(games)

    blocks = _cut(networks, room // 2)
    visits = _visits({name: {blocks[network] for network in found} for name, found in encounters.items()})
    played: dict[_Visit, list[PlannedGame]] = {visit: [] for visit in sorted(set(visits.values()))}
    for game in games:
        played[visits[game.encounter]].append(game)
    return [game for together in played.values() for game in together]


def _in_order(encounters: Iterable[Collection[Hashable]]) -> list[Hashable]:
    """Those with the most encounters first, as a gauntlet's challengers; else as they appear.

    Which of an encounter's two comes first is decided by the first encounter that has only one of them. Where there is
    none, they can be exchanged without changing anything.
    """
    seen: dict[Hashable, list[int]] = {}
    for number, networks in enumerate(encounters):
        for network in networks:
            seen.setdefault(network, []).append(number)
    return sorted(seen, key=lambda network: (-len(seen[network]), seen[network]))


def _cut(networks: Sequence[Hashable], largest: int) -> dict[Hashable, int]:
    """As few blocks as can be, as equal as can be, the last networks in block 0."""
    count = -(-len(networks) // largest)
    # The block with the lower number is the one that mostly stays from one visit to the next. In a round-robin's order
    # the later network changes from game to game and the earlier one rarely: so those that stay are all asked for soon,
    # and it is the others that were used longest ago and make room for the ones that come.
    return {network: count - 1 - number * count // len(networks) for number, network in enumerate(networks)}


def _visits(blocks: Mapping[str, Collection[int]]) -> dict[str, _Visit]:
    """When each encounter is played, from the blocks of its networks."""
    across = {name: _visit(min(two), max(two)) for name, two in blocks.items() if len(two) == 2}
    first: dict[int, _Visit] = {}
    for name, visit in across.items():
        for block in blocks[name]:
            first[block] = min(visit, first.get(block, visit))
    last = (1 + max(block for some in blocks.values() for block in some), 0)

    def within(some: Collection[int]) -> _Visit:
        # Games inside a block need no visit of their own if it is there for others' sake.
        return next((first.get(block, _visit(block, block)) for block in some), last)

    return {name: across.get(name) or within(some) for name, some in blocks.items()}


def _visit(low: int, high: int) -> _Visit:
    return low, -high if low % 2 else high
