"""A sequential test along the pairs of a plan: the first pair at which its log-likelihood ratio leaves the bounds.

Games end in another order than they were planned in, and short ones first. A test that took them as they come would
see too many short games, and would depend on how many are played at once. So pairs are taken in planned order only:
a pair that is not settled is waited for, whatever else is over already. What decides is then a function of the games'
results, of the pairs that were passed over, and of the hypotheses; not of time.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from banzuke.ratings.sprt import Hypotheses, SprtResult, Verdict, log_likelihood_ratios, test

UNKNOWN = -1
"""Instead of the points of a game without a counting result."""
NEAR = 1e-6
"""To a bound. There each count is tested by itself: how many are computed together may change the last digits, and
how many are is a matter of time."""
OUTCOMES = 5
"""Of a pair: 0 to 4 half points."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standpoint:
    """How far a test is: at its decision, or at the first pair that is not settled."""

    result: SprtResult
    counts: tuple[int, ...]
    """Pairs by half points: LL, LD, DD+WL, WD, WW."""
    last_pair: int | None
    """Number of the pair that decided; None without a verdict."""
    skipped: tuple[int, ...]
    """Numbers of the pairs passed over until then."""

    @property
    def is_decided(self) -> bool:
        """Whether there is a verdict."""
        return self.last_pair is not None

    @property
    def pairs(self) -> int:
        """How many were taken."""
        return sum(self.counts)


class Course:
    """A test on its way along the pairs. It goes on by itself, as far as it can, and stops for good at a verdict.

    Args:
        hypotheses: between which it decides.
        half_points: of the agent in question, of every planned game: 0, 1, 2, or :data:`UNKNOWN`; shape (pairs, 2).
        skipped: numbers of pairs that are passed over whatever their games are.
    """

    def __init__(self, hypotheses: Hypotheses, half_points: NDArray[np.int8], skipped: Collection[int] = ()) -> None:
        self.hypotheses = hypotheses
        self.last_pair: int | None = None
        """Number of the pair that decided."""
        self._half_points = half_points.copy()
        self._is_skipped = np.zeros(len(half_points), dtype=bool)
        self._is_skipped[[pair for pair in skipped if pair < len(half_points)]] = True
        self._counts = np.zeros(OUTCOMES, dtype=np.int64)
        self._reached = 0
        self.go_on()

    def learn(self, pair: int, slot: int, half_points: int) -> None:
        """Take in a game's counting result, wherever it stands in the plan; of a game that has one it is ignored."""
        if self._half_points[pair, slot] == UNKNOWN:
            self._half_points[pair, slot] = half_points

    def look_at(self, half_points: NDArray[np.int8]) -> None:
        """Take in all games that have a result there and had none here; shape and meaning as for the class."""
        is_news = self._half_points == UNKNOWN
        self._half_points[is_news] = half_points[is_news]
        self.go_on()

    def skip(self, pairs: Collection[int]) -> None:
        """Pass these over from now on; what was taken, or is behind the verdict, stays what it is."""
        self._is_skipped[[pair for pair in pairs if self.may_skip(pair)]] = True

    def may_skip(self, pair: int) -> bool:
        """Whether passing the pair over would change anything."""
        return not self.is_decided and pair >= self._reached and not self._is_skipped[pair]

    def go_on(self) -> None:
        """Take the pairs that are settled by now."""
        if self.is_decided:
            return
        ahead, is_skipped = self._half_points[self._reached :], self._is_skipped[self._reached :]
        is_settled = is_skipped | (ahead != UNKNOWN).all(axis=1)
        settled = len(ahead) if is_settled.all() else int(np.argmin(is_settled))
        if settled == 0:
            return
        taken = np.where(is_skipped[:settled, np.newaxis], 0, _one_hot(ahead[:settled]))
        counts = self._counts + np.cumsum(taken, axis=0)
        llr = log_likelihood_ratios(counts, self.hypotheses)
        is_near = (llr <= self.hypotheses.lower + NEAR) | (llr >= self.hypotheses.upper - NEAR)
        for place in map(int, np.flatnonzero(is_near)):
            if test(counts[place], self.hypotheses).verdict is not Verdict.CONTINUE:
                settled = place + 1
                self.last_pair = self._reached + place
                break
        self._counts = counts[settled - 1]
        self._reached += settled

    @property
    def is_decided(self) -> bool:
        """Whether there is a verdict."""
        return self.last_pair is not None

    @property
    def reached(self) -> int:
        """How many pairs were taken or passed over, from the first on."""
        return self._reached

    @property
    def skipped(self) -> tuple[int, ...]:
        """Numbers of all pairs that are passed over, those not reached yet included."""
        return tuple(map(int, np.flatnonzero(self._is_skipped)))

    @property
    def standpoint(self) -> Standpoint:
        """How far it is."""
        return Standpoint(
            result=test(self._counts, self.hypotheses),
            counts=tuple(map(int, self._counts)),
            last_pair=self.last_pair,
            skipped=tuple(pair for pair in self.skipped if pair < self._reached),
        )

    def everything(self) -> Standpoint:
        """What the test would say of all complete pairs that are not skipped, those behind the verdict included."""
        is_taken = (self._half_points != UNKNOWN).all(axis=1) & ~self._is_skipped
        counts = _one_hot(self._half_points[is_taken]).sum(axis=0)
        return Standpoint(
            result=test(counts, self.hypotheses),
            counts=tuple(map(int, counts)),
            last_pair=self.last_pair,
            skipped=self.skipped,
        )


def fewest_pairs(hypotheses: Hypotheses, most: int) -> int | None:
    """After how many pairs there can be a verdict at all: if one agent wins every game.

    Args:
        hypotheses: between which it is decided.
        most: pairs to be looked at.

    Returns:
        None where so many do not suffice.
    """
    pairs = np.arange(1, most + 1, dtype=np.int64)[:, np.newaxis]
    sweeps = [pairs * np.eye(OUTCOMES, dtype=np.int64)[worst_or_best] for worst_or_best in (0, OUTCOMES - 1)]
    lost, won = (log_likelihood_ratios(counts, hypotheses) for counts in sweeps)
    decides = np.flatnonzero((lost <= hypotheses.lower) | (won >= hypotheses.upper))
    return int(decides[0]) + 1 if len(decides) else None


def _one_hot(half_points: NDArray[np.int8]) -> NDArray[np.int64]:
    """Shape (pairs, 5), a 1 at what the two games were worth together; of unknown ones at any place."""
    rows: NDArray[np.int64] = np.eye(OUTCOMES, dtype=np.int64)[half_points.sum(axis=1, dtype=np.int64)]
    return rows
