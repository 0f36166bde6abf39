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
from banzuke.ratings.elo import CONFIDENCE, elo_from_score, score_from_elo
from banzuke.ratings.outcome_counts import OF_PAIRS, Counts, checked_counts, outcome_scores
from banzuke.ratings.scores import Floats

Model: TypeAlias = Literal["logistic", "normalized"]

NORMALIZED_ELO_PER_SIGMA: Final = 800.0 / math.log(10.0)
"""Normalised Elo in one standard deviation of a game's score: 347.4356."""

NEVER: Final = 1e-3
"""Stands for a count of zero, so that no outcome is impossible (as in fishtest)."""


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
    """Why a figure does not exist, where one is None."""


def estimate_after_stop(counts: Counts, hypotheses: Hypotheses) -> StoppedEstimate:
    """The strength to be read from a test that ended at these counts: at a bound, or in between at a cap.

    The log-likelihood ratio is taken for a Brownian motion whose drift depends on the true score and whose
    variance is that of the sample, and the distribution of its outcomes is inverted (as fishtest does). Beyond a
    bound it is taken back along a straight line to where it met it.

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
    n = np.where(array == 0, NEVER, array).astype(np.float64)
    scores = outcome_scores(len(n))
    total = float(n.sum())
    mean = float(n @ scores) / total
    variance = float(n @ np.square(scores - mean)) / total
    score0, score1 = (_score(elo, hypotheses.model, variance, len(n)) for elo in (hypotheses.elo0, hypotheses.elo1))
    width, middle = score1 - score0, 0.5 * (score0 + score1)
    time = total * width / variance * width
    if not 0.0 < time < math.inf:
        return _no_estimate("the hypotheses are too close to each other, or too far out, to tell their scores apart")
    place = total * (mean - middle) / variance * width
    met = max(1.0, place / hypotheses.upper, place / hypotheses.lower)
    time, place = time / met, min(max(place, hypotheses.lower), hypotheses.upper)

    def lower_outcome(score: float) -> float:
        return chance_of_lower(
            time=time, place=place, lower=hypotheses.lower, upper=hypotheses.upper, drift=(score - middle) / width
        )

    tail = 0.5 * (1.0 - CONFIDENCE)
    elo, low, high = (_elo_where(lower_outcome, chance) for chance in (0.5, 1.0 - tail, tail))
    beyond = "no finite difference is this far from what was seen: too few outcomes differ"
    return StoppedEstimate(
        elo=elo,
        elo_low=low,
        elo_high=high,
        los=lower_outcome(0.5),
        reason=beyond if None in {elo, low, high} else None,
    )


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
