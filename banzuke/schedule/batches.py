"""Cutting the games of a run into batches: whole pairs, about a minute of work each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from banzuke.record import PlannedGame

BATCH_SECONDS = 60.0
LARGEST_BATCH = 500
BATCHES_PER_WORKER = 3
"""At least so many, where there are pairs enough, so that the last ones end together."""


def cut_batches(
    games: Iterable[PlannedGame], *, seconds_of: Callable[[PlannedGame], float], workers: int
) -> list[list[PlannedGame]]:
    """Cut games, in their order, into batches of whole pairs.

    Args:
        games: those still to be played; the two of a pair stand together or one is missing.
        seconds_of: the expected length of a game.
        workers: how many batches are played at once.
    """
    pairs = _pairs(games)
    total = sum(seconds_of(game) for pair in pairs for game in pair)
    target = min(BATCH_SECONDS, total / (BATCHES_PER_WORKER * workers))
    batches: list[list[PlannedGame]] = []
    filled = 0.0
    for pair in pairs:
        seconds = sum(seconds_of(game) for game in pair)
        full = filled + seconds / 2 > target or (batches and len(batches[-1]) + len(pair) > LARGEST_BATCH)
        if not batches or full:
            batches.append([])
            filled = 0.0
        batches[-1].extend(pair)
        filled += seconds
    return batches


def _pairs(games: Iterable[PlannedGame]) -> list[Sequence[PlannedGame]]:
    pairs: dict[int, list[PlannedGame]] = {}
    for game in games:
        pairs.setdefault(game.pair_no, []).append(game)
    return list(pairs.values())
