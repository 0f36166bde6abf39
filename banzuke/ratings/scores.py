"""From columns of games to the few counts that ratings need.

Two tables are enough, however many games there are: how often each result happened in each *encounter* (two
agents, either of them first), and how often each *pattern* of results happened among the opening pairs of an
encounter. The second keeps what games of one pair have in common, which the first cannot show. No Python
object is made per game.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from banzuke.errors import RatingError
from banzuke.ratings.keys import codes, counted, distinct, joined, joined_either_way

if TYPE_CHECKING:
    from banzuke.ratings.keys import Numbers

Integers: TypeAlias = NDArray[np.int64]
Floats: TypeAlias = NDArray[np.float64]

LOSS: Final = 0
DRAW: Final = 1
WIN: Final = 2

_BITS = 10
"""Six counts of ten bits each fit into one int64 key."""
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
"""Multiplying by it spreads keys over the upper bits (Knuth's multiplicative hashing)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GameColumns:
    """The counting games, one entry per game in each of four columns of equal length.

    A void game that shall count against the side at fault (``--count-faults``) is simply one more entry here,
    with the score of a loss and the pair it belongs to.
    """

    first_agent: Numbers
    """Index of the agent that had the move at the start position."""
    second_agent: Numbers
    """Index of its opponent."""
    first_score: Floats
    """Points of the first agent: 0, 0.5 or 1."""
    pair: Numbers
    """Number of the opening pair, unique over all games given; games of one pair are of one encounter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """Counts of results by encounter and by pattern of pair. E encounters, P patterns.

    In every table of counts the last two axes are: who had the first move (0: the agent with the lower index,
    1: the one with the higher) and the result *of the side that moved first* (``LOSS``, ``DRAW``, ``WIN``).
    """

    agents: int
    """Agents are numbered 0 to ``agents - 1``; some may have no game."""
    low: Integers
    """[E] the lower agent of each encounter."""
    high: Integers
    """[E] the higher agent of each encounter."""
    counts: Integers
    """[E, 2, 3] games."""
    pattern_encounter: Integers
    """[P] the encounter that the pattern occurred in."""
    pattern_counts: NDArray[np.int16]
    """[P, 2, 3] games in one pair of this pattern; an ordinary pair has one game on either side."""
    pattern_pairs: Integers
    """[P] pairs that had this pattern."""

    @property
    def games_by_encounter(self) -> Integers:
        """[E] games."""
        return np.asarray(self.counts.sum(axis=(1, 2)), dtype=np.int64)

    @property
    def low_results(self) -> Integers:
        """[E, 3] losses, draws and wins of the encounter's lower agent, whoever moved first."""
        return np.asarray(self.counts[:, 0, :] + self.counts[:, 1, ::-1], dtype=np.int64)

    @property
    def results_by_agent(self) -> Integers:
        """[agents, 3] losses, draws and wins of each agent."""
        of_low = self.low_results
        totals = np.zeros((self.agents, 3), dtype=np.int64)
        np.add.at(totals, self.low, of_low)
        np.add.at(totals, self.high, of_low[:, ::-1])
        return totals

    @property
    def pairs_by_agent(self) -> Integers:
        """[agents] opening pairs with at least one game of the agent."""
        by_encounter = np.zeros(len(self.low), dtype=np.int64)
        np.add.at(by_encounter, self.pattern_encounter, self.pattern_pairs)
        totals = np.zeros(self.agents, dtype=np.int64)
        np.add.at(totals, self.low, by_encounter)
        np.add.at(totals, self.high, by_encounter)
        return totals

    def among(self, members: Integers) -> Tally:
        """The games that the given agents played against each other.

        Args:
            members: [m] distinct agents in ascending order; ``members[k]`` becomes agent ``k`` of the result.
        """
        position = np.full(self.agents, -1, dtype=np.int64)
        position[members] = np.arange(len(members))
        kept = self.of_encounters((position[self.low] >= 0) & (position[self.high] >= 0))
        return replace(kept, agents=len(members), low=position[kept.low], high=position[kept.high])

    def of_encounters(self, kept: NDArray[np.bool_]) -> Tally:
        """The games of some encounters, of the same agents.

        Args:
            kept: [E] which.
        """
        if kept.all():
            return self
        encounter_position = np.cumsum(kept) - 1
        kept_patterns = kept[self.pattern_encounter]
        return Tally(
            agents=self.agents,
            low=self.low[kept],
            high=self.high[kept],
            counts=self.counts[kept],
            pattern_encounter=encounter_position[self.pattern_encounter[kept_patterns]],
            pattern_counts=self.pattern_counts[kept_patterns],
            pattern_pairs=self.pattern_pairs[kept_patterns],
        )


def tally(games: GameColumns, agents: int) -> Tally:
    """Counts the games.

    Args:
        games: the counting games, in any order.
        agents: how many agents there are, with or without games.

    Raises:
        RatingError: columns differ in length, an index is not in ``range(agents)``, an agent meets itself, a
        score is
            not 0, 0.5 or 1, or a pair holds games of two encounters or more games than any pair can have.
    """
    _check_columns(games, agents)
    if len(games.pair) == 0:
        return _empty_tally(agents)
    encounters, encounter_of_game = distinct(joined_either_way(games.first_agent, games.second_agent, agents))
    cell = 3 * (games.first_agent > games.second_agent).astype(np.int8)
    cell += (2.0 * games.first_score).astype(np.int8)
    pair_encounter, pair_cells = _pairs(games.pair, encounter_of_game, cell)

    shapes, pair_shape = _few_distinct(pair_cells)
    patterns, pattern_pairs = counted(joined(pair_encounter, len(shapes), pair_shape))
    pattern_encounter, pattern_shape = np.divmod(patterns, len(shapes))
    shape_counts = (shapes[:, None] >> (_BITS * np.arange(6))) & ((1 << _BITS) - 1)
    pattern_counts = shape_counts.astype(np.int16).reshape(-1, 2, 3)[pattern_shape]

    first_pattern = np.searchsorted(pattern_encounter, np.arange(len(encounters)))
    counts = np.add.reduceat(pattern_counts * pattern_pairs[:, None, None], first_pattern, axis=0)
    return Tally(
        agents=agents,
        low=encounters // agents,
        high=encounters % agents,
        counts=counts,
        pattern_encounter=pattern_encounter,
        pattern_counts=pattern_counts,
        pattern_pairs=pattern_pairs,
    )


def _check_columns(games: GameColumns, agents: int) -> None:
    if not len(games.first_agent) == len(games.second_agent) == len(games.first_score) == len(games.pair):
        raise RatingError("the columns of the games differ in length")
    for side in (games.first_agent, games.second_agent):
        if np.any(side < 0) or np.any(side >= agents):
            raise RatingError(f"a game names an agent outside of the {agents} entrants")
    if np.any(games.first_agent == games.second_agent):
        raise RatingError("a game has the same agent on both sides")
    if not np.all((games.first_score == 0.0) | (games.first_score == 0.5) | (games.first_score == 1.0)):
        raise RatingError("a game's score is not 0, 0.5 or 1")


def _pairs(
    pair: Numbers, encounter_of_game: NDArray[np.int32], cell: NDArray[np.int8]
) -> tuple[NDArray[np.int32], Integers]:
    """Groups games by pair; returns each pair's encounter and its six counts packed into one integer."""
    pair = codes(pair)
    encounter = np.empty(1 + int(pair.max()), dtype=np.int32)
    encounter[pair] = encounter_of_game
    if np.any(encounter[pair] != encounter_of_game):
        raise RatingError("a pair holds games of more than one encounter")
    if np.bincount(pair).max() >= 1 << _BITS:
        raise RatingError(f"a pair holds more than {(1 << _BITS) - 1} games")
    counts = np.zeros(len(encounter), dtype=np.int64)
    np.add.at(counts, pair, (np.int64(1) << (_BITS * np.arange(6)))[cell])
    return encounter, counts


def _few_distinct(values: Integers) -> tuple[Integers, Numbers]:
    """What ``np.unique`` returns with the inverse, in another order, without sorting where few values occur."""
    bucket = (values.astype(np.uint64) * _GOLDEN) >> np.uint64(48)
    holder = np.zeros(1 << 16, dtype=np.int64)
    holder[bucket] = values
    if np.any(holder[bucket] != values):
        return np.unique(values, return_inverse=True)
    buckets, place = distinct(bucket.astype(np.int64))
    return holder[buckets], place


def _empty_tally(agents: int) -> Tally:
    nothing = np.zeros(0, dtype=np.int64)
    return Tally(
        agents=agents,
        low=nothing,
        high=nothing,
        counts=np.zeros((0, 2, 3), dtype=np.int64),
        pattern_encounter=nothing,
        pattern_counts=np.zeros((0, 2, 3), dtype=np.int16),
        pattern_pairs=nothing,
    )
