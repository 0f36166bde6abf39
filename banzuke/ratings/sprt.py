"""The sequential test of two hypotheses about how much stronger one of two agents is.

The *generalised likelihood-ratio test*: under either hypothesis the most likely distribution of outcomes is
found (``constrained.py``), and the logarithm of the ratio of their likelihoods is compared with Wald's bounds. It is
the test that fastchess and fishtest decide by, not one of its closed-form approximations (M. Van den Bergh, "Comments
on normalized Elo" and "A practical introduction to the GSPRT", cantate.be/Fishtest).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal, TypeAlias

import numpy as np
from scipy.optimize import brentq

from banzuke.errors import RatingError
from banzuke.ratings.brownian import chance_of_lower
from banzuke.ratings.constrained import log_ratio_at_mean, log_ratio_at_normalized_mean
from banzuke.ratings.elo import CONFIDENCE, NORMALIZED_ELO_PER_SIGMA, elo_from_score, score_from_elo
from banzuke.ratings.outcome_counts import OF_PAIRS, Counts, checked_counts, outcome_scores
from banzuke.ratings.scores import Floats, Integers

Model: TypeAlias = Literal["logistic", "normalized"]

NEVER: Final = 1e-3
"""Stands for a count of zero, so that no outcome is impossible (as in fishtest)."""

_OVERSHOOT: Final = 0.5826
"""Mean overshoot of a random walk over a distant bound, in standard deviations of its step."""


class Verdict(StrEnum):
    """What the test says so far."""

    ACCEPT_H0 = "accept_h0"
    """The log-likelihood ratio fell to the lower bound: the difference is rather ``elo0``."""
    ACCEPT_H1 = "accept_h1"
    """It rose to the upper bound: the difference is rather ``elo1``."""
    CONTINUE = "continue"


@dataclass(frozen=True, slots=True)
class Hypotheses:
    """What is tested against what, and how often the test may err.

    Raises:
        RatingError: ``elo0`` is not below ``elo1``, a figure is not finite, or the error rates make no test.
    """

    elo0: float
    elo1: float
    alpha: float = 0.05
    """Chance of accepting ``elo1`` when ``elo0`` is true."""
    beta: float = 0.05
    """Chance of accepting ``elo0`` when ``elo1`` is true."""
    model: Model = "logistic"
    """The scale of ``elo0`` and ``elo1``: Elo (expected score) or normalised Elo (score in standard deviations)."""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.elo0) and math.isfinite(self.elo1) and self.elo0 < self.elo1):
            raise RatingError(f"elo0 is to be below elo1, and both finite, not {self.elo0} and {self.elo1}")
        if not (self.alpha > 0.0 and self.beta > 0.0 and self.alpha + self.beta < 1.0):
            raise RatingError(
                f"alpha and beta are to be above 0 and below 1 together, not {self.alpha} and {self.beta}"
            )
        if self.model not in {"logistic", "normalized"}:
            raise RatingError(f"the model is logistic or normalized, not {self.model}")

    @property
    def lower(self) -> float:
        """The log-likelihood ratio at or below which ``elo0`` is accepted."""
        return math.log(self.beta) - math.log1p(-self.alpha)

    @property
    def upper(self) -> float:
        """The log-likelihood ratio at or above which ``elo1`` is accepted."""
        return math.log1p(-self.beta) - math.log(self.alpha)


@dataclass(frozen=True, slots=True, kw_only=True)
class SprtResult:
    """Where the test stands."""

    llr: float | None
    """The log-likelihood ratio of ``elo1`` against ``elo0``."""
    lower: float
    upper: float
    verdict: Verdict
    reason: str | None
    """Why ``llr`` does not exist, where it is None."""


def test(counts: Counts, hypotheses: Hypotheses) -> SprtResult:
    """Where the test stands after these counts.

    Args:
        counts: [3] of games or [5] of pairs, ascending by score.
        hypotheses: what is tested.

    Raises:
        RatingError: ``counts`` are no counts.
    """
    array = checked_counts(counts)
    if array.ndim != 1:
        raise RatingError("one row of counts is tested at a time")
    llr = float(log_likelihood_ratios(array, hypotheses))
    exists = math.isfinite(llr)
    verdict = Verdict.CONTINUE
    if exists and llr >= hypotheses.upper:
        verdict = Verdict.ACCEPT_H1
    elif exists and llr <= hypotheses.lower:
        verdict = Verdict.ACCEPT_H0
    return SprtResult(
        llr=llr if exists else None,
        lower=hypotheses.lower,
        upper=hypotheses.upper,
        verdict=verdict,
        reason=None if exists else "no distribution of outcomes has the strength that a hypothesis asks for",
    )


def log_likelihood_ratios(counts: Counts, hypotheses: Hypotheses) -> Floats:
    """[...] log-likelihood ratios of many rows of counts at once.

    0 without any count; NaN where a hypothesis is beyond what any distribution of outcomes can be.

    Args:
        counts: [..., 3] of games or [..., 5] of pairs, ascending by score.
        hypotheses: what is tested.

    Raises:
        RatingError: ``counts`` are no counts.
    """
    array = checked_counts(counts)
    rows = array.reshape(-1, array.shape[-1]).T
    n = np.where(rows == 0, NEVER, rows).astype(np.float64)
    p = n / n.sum(axis=0)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        ratio = _log_ratio(p, hypotheses.elo0, hypotheses.model) - _log_ratio(p, hypotheses.elo1, hypotheses.model)
        llr = np.where(rows.sum(axis=0) == 0, 0.0, (n * ratio).sum(axis=0))
    return np.asarray(llr, dtype=np.float64).reshape(array.shape[:-1])


@dataclass(frozen=True, slots=True, kw_only=True)
class StoppedEstimate:
    """How much stronger the agent is, allowing for games having ended because of how they went.

    A test that stops early has been lucky, in either direction: the plain estimate exaggerates.
    """

    elo: float | None
    """Median-unbiased, on the logistic scale whatever the model: it is too high as often as too low."""
    elo_low: float | None
    """Lower end of the 95 % interval."""
    elo_high: float | None
    los: float | None
    """Chance of being the stronger one, 0 to 1."""
    reason: str | None
    """Why a figure does not exist, where one is None; or that the counts are from after the verdict."""


def estimate_after_stop(counts: Counts, hypotheses: Hypotheses) -> StoppedEstimate:
    """The strength to be read from a test that ended at these counts: at a bound, or in between at a cap.

    The log-likelihood ratio is taken for a Brownian motion whose drift depends on the true score and whose
    variance is that of the sample, and the distribution of its outcomes is inverted, as fishtest does. Without a
    verdict the figures are fishtest's; they are those of a test that was to end here whatever it said.

    Args:
        counts: [3] of games or [5] of pairs, ascending by score, when the test ended.
        hypotheses: what was tested.

    Raises:
        RatingError: ``counts`` are no counts.
    """
    array = checked_counts(counts)
    if array.ndim != 1:
        raise RatingError("one row of counts is estimated from at a time")
    if np.count_nonzero(array) < 2:
        return _no_estimate(
            "no outcome was counted" if not array.any() else "all outcomes are alike: their variance is unknown"
        )
    seen = _Seen.of(array, hypotheses)
    if seen is None:
        return _no_estimate("the hypotheses are too close to each other, or too far out, to tell their scores apart")
    tail = 0.5 * (1.0 - CONFIDENCE)
    elo, low, high = (_elo_where(seen.chance_of_lower, chance) for chance in (0.5, 1.0 - tail, tail))
    reasons = []
    if None in {elo, low, high}:
        reasons.append("too few outcomes differ for a finite figure")
    if seen.is_taken_back:
        reasons.append("the bound was passed before the last outcome: figures of a test that ended where it was met")
    return StoppedEstimate(
        elo=elo, elo_low=low, elo_high=high, los=seen.chance_of_lower(0.5), reason="; ".join(reasons) or None
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """The test as a Brownian motion of variance 1 a unit of time, and what was seen of it."""

    time: float
    place: float
    lower: float
    upper: float
    middle: float
    """The score without drift."""
    width: float
    """What the score exceeds it by at a drift of 1."""
    is_taken_back: bool = False
    """The counts are from after a verdict; what was seen is where the straight line to them met the bound."""

    def chance_of_lower(self, score: float) -> float:
        """Chance of a lower outcome than the one seen, if this were the expected score."""
        return chance_of_lower(
            time=self.time,
            place=self.place,
            lower=self.lower,
            upper=self.upper,
            drift=(score - self.middle) / self.width,
        )

    @classmethod
    def of(cls, counts: Integers, hypotheses: Hypotheses) -> _Seen | None:
        """None where the hypotheses' scores are the same, or beyond counting."""
        n = np.where(counts == 0, NEVER, counts).astype(np.float64)
        scores = outcome_scores(len(n))
        total = float(n.sum())
        mean = float(n @ scores) / total
        variance = float(n @ np.square(scores - mean)) / total
        score0, score1 = (_score(elo, hypotheses.model, variance, len(n)) for elo in (hypotheses.elo0, hypotheses.elo1))
        width, middle = score1 - score0, 0.5 * (score0 + score1)
        time = total * width / variance * width
        if not 0.0 < time < math.inf:
            return None
        place = total * (mean - middle) / variance * width
        lower, upper = hypotheses.lower, hypotheses.upper
        llr = float(log_likelihood_ratios(counts, hypotheses))
        if not lower < llr < upper and llr * place > 0.0 and _ended_with_the_last(counts, hypotheses):
            return cls._at_bound(time * llr / place, total, llr, hypotheses, middle, width)
        met = max(1.0, place / upper, place / lower)
        return cls(
            time=time / met,
            place=min(max(place, lower), upper),
            lower=lower,
            upper=upper,
            middle=middle,
            width=width,
            is_taken_back=not lower < llr < upper,
        )

    @classmethod
    def _at_bound(
        cls, time: float, total: float, llr: float, hypotheses: Hypotheses, middle: float, width: float
    ) -> _Seen:
        """What was seen of a test that ended with its last outcome; better than fishtest's where few are enough.

        ``time`` has been scaled so that the motion met the bound where the exact ratio did: a sample of which few
        outcomes differ understates the variance. A test that looks only after whole outcomes overshoots, on
        average as if the barriers were beyond the bounds (D. Siegmund, Sequential Analysis, chapter X). And it met
        them half an outcome before the last, on average.
        """
        overshoot = _OVERSHOOT * math.sqrt(time / total)
        lower, upper = hypotheses.lower - overshoot, hypotheses.upper + overshoot
        return cls(
            time=time * (1.0 - 0.5 / total),
            place=upper if llr > 0.0 else lower,
            lower=lower,
            upper=upper,
            middle=middle,
            width=width,
        )


def _ended_with_the_last(counts: Integers, hypotheses: Hypotheses) -> bool:
    """Whether the test may have gone on until the last outcome, whichever that was."""
    before = counts - np.eye(len(counts), dtype=np.int64)[counts > 0]
    llrs = log_likelihood_ratios(before, hypotheses)
    return bool(np.any((hypotheses.lower < llrs) & (llrs < hypotheses.upper)))


def _score(elo: float, model: Model, variance: float, outcomes: int) -> float:
    if model == "logistic":
        return score_from_elo(elo)
    return 0.5 + _standard_deviations(elo, outcomes) * math.sqrt(variance)


def _standard_deviations(normalized_elo: float, outcomes: int) -> float:
    """Of one outcome; a pair's mean score varies half as much as a game's."""
    games = 2.0 if outcomes == OF_PAIRS else 1.0
    return normalized_elo / NORMALIZED_ELO_PER_SIGMA * math.sqrt(games)


def _elo_where(lower_outcome: Callable[[float], float], chance: float) -> float | None:
    """The difference under which a lower outcome than the one seen has this chance."""
    least, most = 1e-12, 1.0 - 1e-12
    if not lower_outcome(most) < chance < lower_outcome(least):
        return None
    return elo_from_score(float(brentq(lambda score: lower_outcome(score) - chance, least, most, xtol=1e-13)))


def _no_estimate(reason: str) -> StoppedEstimate:
    return StoppedEstimate(elo=None, elo_low=None, elo_high=None, los=None, reason=reason)


def _log_ratio(p: Floats, elo: float, model: Model) -> Floats:
    """[outcomes, rows] ``ln(p / q)`` of the most likely distribution ``q`` under a hypothesis."""
    scores = outcome_scores(len(p))
    if model == "normalized":
        return log_ratio_at_normalized_mean(p, scores - 0.5, _standard_deviations(elo, len(p)))
    # score - expected score, without the rounding of an expected score close to 1
    phi = scores * score_from_elo(-elo) - (1.0 - scores) * score_from_elo(elo)
    return log_ratio_at_mean(p, np.broadcast_to(phi[:, None], p.shape))
