"""Which games are rated, and which of them are one cluster: all of one run, and of several what is further evidence."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from banzuke.ratings.keys import Numbers
from banzuke.ratings.repetition import OpeningColumns, are_alike, opening_clusters, repeats, shared_by_runs
from storage.counting import CountingGames, game_courses
from storage.game_store import GameStore
from storage.played import Circumstances, PlayedGames
from tasks.identities import Entrants


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What is rated."""

    is_rated: NDArray[np.bool_]
    """(games of ``CountingGames``,)"""
    cluster: Numbers
    """By pair of ``CountingGames``: equal for pairs that are one cluster."""
    warnings: tuple[str, ...]


def all_evidence(found: CountingGames) -> Evidence:
    """Every game, clustered by pair: what one run is."""
    pairs = 1 + max(found.pair.max(initial=-1), found.void.pair.max(initial=-1))
    return Evidence(
        is_rated=np.ones(len(found.first), dtype=bool),
        cluster=np.arange(pairs, dtype=np.int32 if pairs <= np.iinfo(np.int32).max else np.int64),
        warnings=(),
    )


def evidence_of(
    games: GameStore,
    by_age: Sequence[str],
    run_ids: Collection[str],
    who: Entrants,
    played: PlayedGames,
) -> Evidence:
    """Of several runs what ``banzuke.ratings.repetition`` calls further evidence, clustered by opening.

    Args:
        games: the store.
        by_age: the runs, the oldest first.
        run_ids: the runs, in the order in which ``played`` has them.
        who: their agents.
        played: their games.
    """
    found = played.counting
    whole = all_evidence(found)
    met = played.circumstances
    if met is None:
        return whole
    age = np.array([by_age.index(run_id) for run_id in run_ids], dtype=np.int32)
    place = who.places(played.agents)
    columns = OpeningColumns(
        run=age[found.run],
        first=place[played.first],
        second=place[played.second],
        opening=played.opening,
        seed=met.seed,
    )
    is_repeat = _repeats(games, list(run_ids), found, met, columns)
    clusters = opening_clusters(columns)
    # Pairs without a result, whose faults may be counted, keep themselves for a cluster.
    cluster = whole.cluster + 1 + clusters.max(initial=-1)
    cluster[found.pair] = clusters
    return Evidence(is_rated=~is_repeat, cluster=cluster, warnings=tuple(_warnings(who, columns, is_repeat)))


def _repeats(
    games: GameStore,
    run_ids: Sequence[str],
    found: CountingGames,
    met: Circumstances,
    columns: OpeningColumns,
) -> NDArray[np.bool_]:
    """What another run has as well. Moves are read only where they can decide that.

    That is in runs with an encounter whose shared openings all ended alike: after as many plies, by the same
    termination, for the same side. Hardly any do, unless there are deterministic agents in them.
    """
    is_open = are_alike(columns, met.ending)
    is_repeat = np.zeros(len(is_open), dtype=bool)
    if not is_open.any():
        return is_repeat
    course = met.ending.astype(np.int64)
    for index in np.unique(found.run[is_open]).tolist():
        numbers, courses = game_courses(games, run_ids[index])
        mine = np.flatnonzero(is_open & (found.run == index))
        _, here, there = np.intersect1d(found.game_no[mine], numbers, assume_unique=True, return_indices=True)
        # What has vanished since keeps its ending, which is no course: it differs from its likes, and all are counted.
        course[mine[here]] = courses[there]
    is_repeat[is_open] = repeats(columns.among(is_open), course[is_open])
    return is_repeat


def _warnings(who: Entrants, columns: OpeningColumns, is_repeat: NDArray[np.bool_]) -> list[str]:
    is_shared = shared_by_runs(columns)
    if not is_shared.any():
        return []
    line = (
        f"{int(is_shared.sum())} of {len(is_shared)} games begin with an opening that the same agents also played on "
        "the same sides in another run: games of one opening are one cluster, and do not shorten the intervals as new "
        "ones would"
    )
    if not is_repeat.any():
        return [line]
    names = [entrant.agent for entrant in who.entrants]
    encounter, counts = np.unique(columns.encounters[is_repeat], return_counts=True)
    example = np.flatnonzero(is_repeat & (columns.encounters == encounter[counts.argmax()]))[0]
    repeated = (
        f"{int(is_repeat.sum())} games are the same as one of another run, move by move, of agents that never played a "
        f"shared opening (or seed) in two ways, and are not counted again (most often "
        f"{names[columns.first[example]]} and {names[columns.second[example]]}: {counts.max()})"
    )
    return [line, repeated]
