"""Games that several runs have in common: what is further evidence, and what hangs together.

Runs of one spec give an encounter the same openings. Two deterministic agents then play the same games again, and
what was known is known once more; agents that are not deterministic play new games, but from the same openings,
which favour whom they favour. Hence, when several runs are rated together (one run alone is rated as it is):

- **All games of an encounter that begin with one opening are one cluster**, whatever run they are of. An interval
  that is clustered so (``bradley_terry``) does not get shorter by copies: a cluster that is there twice has twice the
  information and four times the variance of its residual.
- **Between agents that are seen to be deterministic, a game counts once.** They are if every opening that they played
  on the same sides in several runs went the same way in all of them. Without this, copies would still outweigh
  everything else that is known of the two. Where a single such game went differently, chance has a hand in all of
  them, every game is a draw from the same urn, and to leave out the equal ones would favour what is rare: then all
  of them count.

A game counts as often as it was played in the run that has it most often, so that rating a run together with its own
copy is rating the run.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from banzuke.ratings.bradley_terry import Booleans
    from banzuke.ratings.scores import Integers

LARGEST_CLUSTER: Final = 1000
"""Games; a larger cluster is cut, oldest games first. ``scores.tally`` takes no pair of more than 1023."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpeningColumns:
    """The counting games of several runs, one entry per game; shapes (games,)."""

    run: Integers
    """Number of the run, the oldest being 0."""
    first: Integers
    """Index of the agent that had the move at the start position."""
    second: Integers
    opening: Integers
    """Number of the opening."""

    @property
    def encounters(self) -> Integers:
        """Equal for games of the same two agents."""
        agents = 1 + max(self.first.max(initial=0), self.second.max(initial=0))
        keys = np.minimum(self.first, self.second) * agents + np.maximum(self.first, self.second)
        return _codes(keys)

    @property
    def cells(self) -> Integers:
        """Equal for games of the same two agents on the same sides from the same opening."""
        return _codes(2 * self.clusters() + (self.first > self.second))

    def clusters(self) -> Integers:
        """Equal for games of the same two agents from the same opening, either side first."""
        return _codes(self.encounters * (1 + self.opening.max(initial=0)) + self.opening)


def opening_clusters(games: OpeningColumns) -> Integers:
    """(games,) the number of each game's cluster, none with more than ``LARGEST_CLUSTER`` games."""
    clusters = games.clusters()
    order = np.lexsort((games.run, clusters))
    grouped = clusters[order]
    starts = np.searchsorted(grouped, grouped)
    place = np.empty(len(order), dtype=np.int64)
    place[order] = (np.arange(len(order)) - starts) // LARGEST_CLUSTER
    return _codes(clusters * (1 + place.max(initial=0)) + place)


def shared_by_runs(games: OpeningColumns) -> Booleans:
    """(games,) whether another run has a game of the same agents on the same sides from the same opening."""
    cells = games.cells
    return np.asarray(_are_shared(cells, games.run)[cells])


def are_alike(games: OpeningColumns, course: Integers) -> Booleans:
    """(games,) whether the game is of an encounter whose every opening went the same way in all runs that share it.

    Args:
        games: the games.
        course: how each went, as a number that is equal for games that went alike; games of different cells are not
            compared.

    False where no opening is shared.
    """
    cells, encounters = games.cells, games.encounters
    is_shared = _are_shared(cells, games.run)[cells]
    _, leaders = np.unique(cells, return_index=True)
    is_torn = is_shared & (course != course[leaders][cells])
    shares = np.bincount(encounters, weights=is_shared) > 0
    tears = np.bincount(encounters, weights=is_torn) > 0
    return np.asarray((shares & ~tears)[encounters])


def repeats(games: OpeningColumns, course: Integers) -> Booleans:
    """(games,) whether the game is no further evidence: it is of deterministic agents, and another run has it as well.

    Kept are those of the run that has most games of the cell, among equals of the oldest.

    Args:
        games: the games.
        course: as for :func:`are_alike`.
    """
    cells = games.cells
    is_candidate = are_alike(games, course) & _are_shared(cells, games.run)[cells]
    if not is_candidate.any():
        return is_candidate
    runs = 1 + int(games.run.max())
    in_run, counts = np.unique(cells[is_candidate] * runs + games.run[is_candidate], return_counts=True)
    cell, run = np.divmod(in_run, runs)
    order = np.lexsort((run, -counts, cell))
    keeper = np.full(1 + int(cells.max()), -1, dtype=np.int64)
    _, leaders = np.unique(cell[order], return_index=True)
    keeper[cell[order][leaders]] = run[order][leaders]
    return np.asarray(is_candidate & (keeper[cells] != games.run))


def _are_shared(cells: Integers, run: Integers) -> Booleans:
    """(cells,) whether games of several runs are in it."""
    runs = 1 + int(run.max(initial=0))
    met = np.unique(cells * runs + run) // runs
    return np.asarray(np.bincount(met, minlength=int(cells.max(initial=-1)) + 1) > 1)


def _codes(keys: Integers) -> Integers:
    return np.asarray(np.unique(keys, return_inverse=True)[1], dtype=np.int64)
