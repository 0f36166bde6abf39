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

from banzuke.ratings.keys import codes, counted, joined, joined_either_way

if TYPE_CHECKING:
    from banzuke.ratings.existence import Booleans
    from banzuke.ratings.keys import Numbers

LARGEST_CLUSTER: Final = 1000
"""Games; a larger cluster is cut, oldest games first. ``scores.tally`` takes no pair of more than 1023."""


@dataclass(frozen=True, kw_only=True)
class OpeningColumns:
    """The counting games of several runs, one entry per game; shapes (games,). Numbers may be of 32 bits.

    What is worked out of them is remembered.
    """

    run: Numbers
    """Number of the run, the oldest being 0."""
    first: Numbers
    """Index of the agent that had the move at the start position."""
    second: Numbers
    opening: Numbers
    """Number of the opening."""
    seed: Numbers
    """The game's seed."""

    @cached_property
    def encounters(self) -> Numbers:
        """Equal for games of the same two agents."""
        agents = 1 + int(max(self.first.max(initial=0), self.second.max(initial=0)))
        return codes(joined_either_way(self.first, self.second, agents))

    @cached_property
    def clusters(self) -> Numbers:
        """Equal for games of the same two agents from the same opening, either side first."""
        return codes(joined(self.encounters, 1 + int(self.opening.max(initial=0)), self.opening))

    @cached_property
    def cells(self) -> Numbers:
        """Equal for games of the same two agents on the same sides from the same opening."""
        return codes(joined(self.clusters, 2, self.first > self.second))

    def seeded_cells(self, rows: Numbers) -> Numbers:
        """(rows,) equal for games that also have the same seed."""
        seeds = codes(self.seed[rows])
        return codes(joined(self.cells[rows], 1 + int(seeds.max(initial=0)), seeds))

    def among(self, rows: Booleans) -> OpeningColumns:
        """These games alone."""
        names = ("run", "first", "second", "opening", "seed")
        return OpeningColumns(**{name: getattr(self, name)[rows] for name in names})


def opening_clusters(games: OpeningColumns) -> Numbers:
    """(games,) the number of each game's cluster, none with more than ``LARGEST_CLUSTER`` games."""
    clusters = games.clusters
    if np.bincount(clusters).max(initial=0) <= LARGEST_CLUSTER:
        return clusters
    order = np.lexsort((games.run, clusters))
    grouped = clusters[order]
    starts = np.searchsorted(grouped, grouped)
    place = np.empty(len(order), dtype=np.int64)
    place[order] = (np.arange(len(order)) - starts) // LARGEST_CLUSTER
    return codes(joined(clusters, 1 + int(place.max(initial=0)), place))


def shared_by_runs(games: OpeningColumns) -> Booleans:
    """(games,) whether another run has a game of the same agents on the same sides from the same opening."""
    cells = games.cells
    return np.asarray(_are_shared(cells, games.run)[cells])


def are_alike(games: OpeningColumns, course: Numbers) -> Booleans:
    """(games,) whether the game is of an encounter of agents that are seen to be deterministic, if need be by seed.

    Args:
        games: the games.
        course: how each went, as a number that is equal for games that went alike; games of different cells are not
            compared.

    False where no opening is shared.
    """
    whatever_the_seed, for_each_seed = _alike(games, course)
    return np.asarray((whatever_the_seed | for_each_seed)[games.encounters])


def repeats(games: OpeningColumns, course: Numbers) -> Booleans:
    """(games,) whether the game is no further evidence: it is of deterministic agents, and another run has it as well.

    Kept are those of the run that has most games of the cell, among equals of the oldest.

    Args:
        games: the games.
        course: as for :func:`are_alike`.
    """
    is_repeat = np.zeros(len(games.run), dtype=bool)
    whatever_the_seed, for_each_seed = _alike(games, course)
    for encounters, cells_of in ((whatever_the_seed, games.cells.__getitem__), (for_each_seed, games.seeded_cells)):
        rows = np.flatnonzero(encounters[games.encounters])
        if len(rows):
            is_repeat[rows] = _had_by_another_run(games.run[rows], cells_of(rows))
    return is_repeat


def _alike(games: OpeningColumns, course: Numbers) -> tuple[Booleans, Booleans]:
    """(encounters,) each: whether all cells that runs share went one way, and there are such; else those of a seed."""
    every = np.arange(len(games.run))
    is_shared, is_torn = _compared(games, every, games.cells, course)
    is_open = is_shared & is_torn
    # An eighth of the seeds shows of nearly all encounters that chance has a hand in them; of others all are asked.
    for is_sampled in (True, False):
        is_meant = is_open[games.encounters]
        rows = np.flatnonzero(is_meant & (games.seed % 8 == 0) if is_sampled else is_meant)
        has_shared, is_torn_too = _compared(games, rows, games.seeded_cells(rows), course)
        is_open &= ~is_torn_too & (has_shared | is_sampled)
    return is_shared & ~is_torn, is_open


def _compared(games: OpeningColumns, rows: Numbers, cells: Numbers, course: Numbers) -> tuple[Booleans, Booleans]:
    """(encounters,) each: whether runs share one of these games' cells, and whether one of those went several ways."""
    encounters, courses = games.encounters[rows], course[rows]
    is_shared = _are_shared(cells, games.run[rows])[cells]
    found = np.zeros((2, 1 + int(games.encounters.max(initial=-1))), dtype=bool)
    found[0, encounters[is_shared]] = True
    found[1, encounters[is_shared & (courses != _one_of_each(cells, courses)[cells])]] = True
    return found[0], found[1]


def _had_by_another_run(run: Numbers, cells: Numbers) -> Booleans:
    """(games,) all but, for each cell, those of the run that has most of it, or is the oldest of such."""
    runs = 1 + int(run.max())
    in_run, counts = counted(joined(cells, runs, run))
    cell, run_of = np.divmod(in_run, runs)
    order = np.lexsort((run_of, -counts, cell))
    keeper = np.full(1 + int(cells.max()), -1, dtype=np.int64)
    _, leaders = np.unique(cell[order], return_index=True)
    keeper[cell[order][leaders]] = run_of[order][leaders]
    return np.asarray(keeper[cells] != run)


def _are_shared(cells: Numbers, run: Numbers) -> Booleans:
    """(cells,) whether games of several runs are in it."""
    shared = np.zeros(1 + int(cells.max(initial=-1)), dtype=bool)
    shared[cells[run != _one_of_each(cells, run)[cells]]] = True
    return shared


def _one_of_each(cells: Numbers, values: Numbers) -> Numbers:
    """(cells,) the value of some game of each: where another game has another, they differ."""
    found = np.zeros(1 + int(cells.max(initial=-1)), dtype=values.dtype)
    found[cells] = values
    return found
