"""Games that several runs have in common: what is further evidence, and what hangs together.

Runs of one spec give an encounter the same openings. Two deterministic agents then play the same games again, and
what was known is known once more; agents that are not deterministic play new games, but from the same openings,
which favour whom they favour. Hence, when several runs are rated together (one run alone is rated as it is):

- **All games of an encounter that begin with one opening are one cluster**, whatever run they are of. An interval
  that is clustered so (``bradley_terry``) does not get shorter by copies: a cluster that is there twice has twice the
  information and four times the variance of its residual.
- **Between agents that are seen to be deterministic, a game counts once.** They are if every opening that they played
  on the same sides in several runs went the same way in all of them; or else, if every opening did that they played
  with the same seed (agents that draw lots draw them from the game's seed, a network that samples its moves, say).
  Without this, copies would still outweigh everything else that is known of the two. Where a single such game went
  differently, chance has a hand in all of them, every game is a draw from the same urn, and to leave out the equal ones
  would favour what is rare: then all of them count.

A game counts as often as it was played in the run that has it most often, so that rating a run together with its own
copy is rating the run.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from banzuke.ratings.existence import Booleans
    from banzuke.ratings.scores import Integers

LARGEST_CLUSTER: Final = 1000
"""Games; a larger cluster is cut, oldest games first. ``scores.tally`` takes no pair of more than 1023."""


@dataclass(frozen=True, kw_only=True)
class OpeningColumns:
    """The counting games of several runs, one entry per game; shapes (games,).

    What is worked out of them is remembered: every property is a sort of all games.
    """

    run: Integers
    """Number of the run, the oldest being 0."""
    first: Integers
    """Index of the agent that had the move at the start position."""
    second: Integers
    opening: Integers
    """Number of the opening."""
    seed: Integers
    """The game's seed."""

    @cached_property
    def encounters(self) -> Integers:
        """Equal for games of the same two agents."""
        agents = 1 + max(self.first.max(initial=0), self.second.max(initial=0))
        keys = np.minimum(self.first, self.second) * agents + np.maximum(self.first, self.second)
        return _codes(keys)

    @cached_property
    def clusters(self) -> Integers:
        """Equal for games of the same two agents from the same opening, either side first."""
        return _codes(self.encounters * (1 + self.opening.max(initial=0)) + self.opening)

    @cached_property
    def cells(self) -> Integers:
        """Equal for games of the same two agents on the same sides from the same opening."""
        return _codes(2 * self.clusters + (self.first > self.second))

    @cached_property
    def seeded_cells(self) -> Integers:
        """Equal for games that also have the same seed."""
        seeds = _codes(self.seed)
        return _codes(self.cells * (1 + seeds.max(initial=0)) + seeds)


def opening_clusters(games: OpeningColumns) -> Integers:
    """(games,) the number of each game's cluster, none with more than ``LARGEST_CLUSTER`` games."""
    clusters = games.clusters
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
    """(games,) whether the game is of an encounter of agents that are seen to be deterministic, if need be by seed.

    Args:
        games: the games.
        course: how each went, as a number that is equal for games that went alike; games of different cells are not
            compared.

    False where no opening is shared.
    """
    return np.asarray(_alike(games, games.cells, course) | _alike(games, games.seeded_cells, course))


def repeats(games: OpeningColumns, course: Integers) -> Booleans:
    """(games,) whether the game is no further evidence: it is of deterministic agents, and another run has it as well.

    Kept are those of the run that has most games of the cell, among equals of the oldest.

    Args:
        games: the games.
        course: as for :func:`are_alike`.
    """
    by_opening, by_seed = games.cells, games.seeded_cells
    whatever_the_seed = _alike(games, by_opening, course)
    for_each_seed = _alike(games, by_seed, course) & ~whatever_the_seed
    return np.asarray(
        _had_by_another_run(games.run, by_opening, whatever_the_seed)
        | _had_by_another_run(games.run, by_seed, for_each_seed)
    )


def _alike(games: OpeningColumns, cells: Integers, course: Integers) -> Booleans:
    """(games,) whether each cell of the game's encounter that runs share went one way, and there is such a cell."""
    encounters = games.encounters
    is_shared = _are_shared(cells, games.run)[cells]
    _, leaders = np.unique(cells, return_index=True)
    is_torn = is_shared & (course != course[leaders][cells])
    shares = np.bincount(encounters, weights=is_shared) > 0
    tears = np.bincount(encounters, weights=is_torn) > 0
    return np.asarray((shares & ~tears)[encounters])


def _had_by_another_run(run: Integers, cells: Integers, is_looked_at: Booleans) -> Booleans:
    """(games,) those looked at, but for each cell those of the run that has most of it, or is the oldest of such."""
    if not is_looked_at.any():
        return is_looked_at
    runs = 1 + int(run.max())
    in_run, counts = np.unique(cells[is_looked_at] * runs + run[is_looked_at], return_counts=True)
    cell, run_of = np.divmod(in_run, runs)
    order = np.lexsort((run_of, -counts, cell))
    keeper = np.full(1 + int(cells.max()), -1, dtype=np.int64)
    _, leaders = np.unique(cell[order], return_index=True)
    keeper[cell[order][leaders]] = run_of[order][leaders]
    return np.asarray(is_looked_at & (keeper[cells] != run))


def _are_shared(cells: Integers, run: Integers) -> Booleans:
    """(cells,) whether games of several runs are in it."""
    runs = 1 + int(run.max(initial=0))
    met = np.unique(cells * runs + run) // runs
    return np.asarray(np.bincount(met, minlength=int(cells.max(initial=-1)) + 1) > 1)


def _codes(keys: Integers) -> Integers:
    return np.asarray(np.unique(keys, return_inverse=True)[1], dtype=np.int64)
