"""What the counts of outcomes between two agents say about which is the stronger, without a model of a pool.

The figures are those of fastchess and fishtest: the mean score and its standard error, on three scales. A figure that
the counts do not determine is None, and ``reason`` says why; nothing is added to them to make it exist.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from banzuke.errors import RatingError
from banzuke.ratings.elo import NORMALIZED_ELO_PER_SIGMA, elo_from_score, likelihood_of_superiority, normal_quantile
from banzuke.ratings.outcome_counts import OF_PAIRS, Counts, checked_counts, outcome_scores
from banzuke.ratings.scores import Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class TwoAgentFigures:
    """How much stronger one of two agents is. Intervals are of 95 %."""

    games: int
    pairs: int | None
    """Opening pairs, where pairs were counted."""
    score: float | None
    """Mean points per game, 0 to 1."""
    elo: float | None
    elo_low: float | None
    elo_high: float | None
    nelo: float | None
    """Normalised Elo: how far the score is from even in standard deviations of a game's score."""
    nelo_low: float | None
    nelo_high: float | None
    los: float | None
    """Likelihood of superiority: chance of being the stronger one, 0 to 1."""
    pairs_ratio: float | None
    """Pairs won by pairs lost; None also where games were counted."""
    reason: str | None
    """Why figures do not exist, where some are None."""


def compare(counts: Counts) -> TwoAgentFigures:
    """Elo, normalised Elo and likelihood of superiority with their intervals.

    Args:
        counts: [3] of games or [5] of pairs, ascending by score.

    Raises:
        RatingError: ``counts`` are no counts.
    """
    array = checked_counts(counts)
    if array.ndim != 1:
        raise RatingError("one row of counts is compared at a time")
    of_pairs = len(array) == OF_PAIRS
    total = int(array.sum())
    sample = _Sample.of(array.astype(np.float64)) if total else None
    won, lost = int(array[-2:].sum()), int(array[:2].sum())
    elo, elo_low, elo_high = (None, None, None) if sample is None else _elo(sample)
    nelo, nelo_low, nelo_high = (None, None, None) if sample is None else _normalized_elo(sample, of_pairs=of_pairs)
    return TwoAgentFigures(
        games=2 * total if of_pairs else total,
        pairs=total if of_pairs else None,
        score=None if sample is None else sample.mean,
        elo=elo,
        elo_low=elo_low,
        elo_high=elo_high,
        nelo=nelo,
        nelo_low=nelo_low,
        nelo_high=nelo_high,
        los=likelihood_of_superiority(sample.mean - 0.5, sample.error) if sample is not None and sample.error else None,
        pairs_ratio=won / lost if of_pairs and lost else None,
        reason=_reason(sample, "pair" if of_pairs else "game", total, has_ratio=not of_pairs or lost > 0),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sample:
    mean: float
    deviation: float
    """Standard deviation of one outcome's mean score."""
    error: float
    """Standard error of ``mean``; 0 where all outcomes are alike."""

    @classmethod
    def of(cls, n: Floats) -> _Sample:
        scores = outcome_scores(len(n))
        total = float(n.sum())
        mean = float(n @ scores) / total
        alike = np.count_nonzero(n) == 1
        deviation = 0.0 if alike else math.sqrt(float(n @ np.square(scores - mean)) / total)
        return cls(mean=mean, deviation=deviation, error=deviation / math.sqrt(total))

    @property
    def ends(self) -> tuple[float, float]:
        """Of the interval of the mean."""
        half_width = normal_quantile() * self.error
        return self.mean - half_width, self.mean + half_width


def _elo(sample: _Sample) -> tuple[float | None, float | None, float | None]:
    low, high = sample.ends
    return (
        _finite_elo(sample.mean),
        _finite_elo(low) if sample.error else None,
        _finite_elo(high) if sample.error else None,
    )


def _finite_elo(score: float) -> float | None:
    return elo_from_score(score) if 0.0 < score < 1.0 else None


def _normalized_elo(sample: _Sample, *, of_pairs: bool) -> tuple[float | None, float | None, float | None]:
    """At the ends of the interval the deviation is held fixed, as everywhere."""
    if not sample.error:
        return None, None, None
    of_a_game = sample.deviation * (math.sqrt(2.0) if of_pairs else 1.0)
    low, high = sample.ends
    at, at_low, at_high = (NORMALIZED_ELO_PER_SIGMA * (score - 0.5) / of_a_game for score in (sample.mean, low, high))
    return at, at_low, at_high


def _reason(sample: _Sample | None, outcome: str, total: int, *, has_ratio: bool) -> str | None:
    if sample is None:
        return f"no {outcome} was counted"
    reasons = []
    if not 0.0 < sample.mean < 1.0:
        reasons.append(f"no finite Elo difference corresponds to a score of {sample.mean:.0f} in {total} {outcome}s")
    if not sample.error:
        few = f"one {outcome} has" if total == 1 else f"the {total} {outcome}s are all alike and have"
        reasons.append(f"{few} no variance to take an interval, normalised Elo or a chance from")
    elif sample.ends[0] <= 0.0 or sample.ends[1] >= 1.0:
        reasons.append(f"the interval reaches a perfect score: {total} {outcome}s do not bound Elo on that side")
    if not has_ratio:
        reasons.append("no pair was lost, so there is no ratio of pairs")
    return "; ".join(reasons) or None
