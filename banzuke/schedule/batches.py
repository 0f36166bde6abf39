"""Cutting the games of a run into batches: whole pairs, about a minute of work each, smaller ones towards the end.

Whoever plays takes the next batch when it is done with one. Were all of a size, the last ones would begin at different
times and end at different times, and the workers that are done first would stand still for as long as a batch takes.
Half of an even share of what is left, again and again, is the rule of S. F. Hummel, E. Schonberg and L. E. Flynn,
"Factoring: a method for scheduling parallel loops", Communications of the ACM 35 (1992), which needs no estimate of
how far the games' lengths differ.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from banzuke.record import PlannedGame

BATCH_SECONDS = 60.0
LARGEST_BATCH = 500
LARGEST_HALL_BATCH = 5000
"""Games that advance together are over a hundred at a time."""
SHARE = 0.5
"""How much of an even share of what is left goes into one batch."""
SHORTEST_SECONDS = 2.0
"""A batch costs some tenths of a second beside its games; where there is work for more, none is shorter than this."""
BATCHES_PER_WORKER = 4
"""About so many of little work: expected lengths may be far too small, and then nobody may be left without games."""


def cut_batches(
    games: Iterable[PlannedGame], *, seconds_of: Callable[[PlannedGame], float], workers: int
) -> list[list[PlannedGame]]:
    """Cut games, in their order, into batches of whole pairs.

    Args:
        games: those still to be played; the two of a pair stand together or one is missing.
        seconds_of: the expected length of a game. What is wrong by the same factor for all does little harm.
        workers: how many batches are played at once.
    """
    lengths = [(pair, sum(seconds_of(game) for game in pair)) for pair in _pairs(games)]
    left = sum(seconds for _, seconds in lengths)
    shortest = min(SHORTEST_SECONDS, left / (BATCHES_PER_WORKER * workers))
    batches: list[list[PlannedGame]] = []
    wanted = filled = 0.0
    for pair, seconds in lengths:
        full = filled + seconds / 2 > wanted or (batches and len(batches[-1]) + len(pair) > LARGEST_BATCH)
        if not batches or full:
            batches.append([])
            left -= filled
            wanted = min(BATCH_SECONDS, max(shortest, SHARE * left / workers))
            filled = 0.0
        batches[-1].extend(pair)
        filled += seconds
    return batches


def cut_for_verdict(
    games: Iterable[PlannedGame], *, seconds_of: Callable[[PlannedGame], float], fewest: int
) -> list[list[PlannedGame]]:
    """Cut the games of a sequential test, in planned order, into batches of whole pairs.

    A verdict waits for the pairs in planned order, and a void game is tried again behind the others of its batch. So
    batches are as short as is worth their own cost: what is played meanwhile of later ones may turn out needless.

    Args:
        games: as for :func:`cut_batches`.
        seconds_of: likewise.
        fewest: as for :func:`cut_evenly`.
    """
    return cut_evenly(games, seconds_of=seconds_of, fewest=fewest, longest=SHORTEST_SECONDS)


def cut_evenly(
    games: Iterable[PlannedGame],
    *,
    seconds_of: Callable[[PlannedGame], float],
    fewest: int,
    longest: float = BATCH_SECONDS,
) -> list[list[PlannedGame]]:
    """Cut games that advance together, in their order, into batches of whole pairs.

    All workers fill their lanes from all batches at once, so nobody waits for a batch's end: what counts is how much
    is done between two of them.

    Args:
        games: as for :func:`cut_batches`.
        seconds_of: likewise.
        fewest: games in a batch, but for the last one.
        longest: expected seconds after which no game is added to a batch of so many.
    """
    batches: list[list[PlannedGame]] = []
    filled = 0.0
    for pair in _pairs(games):
        enough = batches and filled >= longest and len(batches[-1]) >= fewest
        if not batches or enough or len(batches[-1]) + len(pair) > LARGEST_HALL_BATCH:
            batches.append([])
            filled = 0.0
        batches[-1].extend(pair)
        filled += sum(seconds_of(game) for game in pair)
    return batches


def _pairs(games: Iterable[PlannedGame]) -> list[Sequence[PlannedGame]]:
    pairs: dict[int, list[PlannedGame]] = {}
    for game in games:
        pairs.setdefault(game.pair_no, []).append(game)
    return list(pairs.values())
