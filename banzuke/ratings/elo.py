"""The Elo scale: what a difference, a score and a chance of being stronger have to do with each other.

Elo's definition is about the *expected score*: an agent ``d`` Elo stronger expects ``1 / (1 + 10 ** (-d /
400))`` points a game, a draw being half a point. Everything in ``ratings/`` keeps to that scale, with or
without draws.
"""

from __future__ import annotations

import math
from typing import Final

from scipy.special import expit, ndtr, ndtri

from banzuke.errors import RatingError

ELO_PER_NAT: Final = 400.0 / math.log(10.0)
"""Elo in one unit of natural log-odds: 173.7178."""

NORMALIZED_ELO_PER_SIGMA: Final = 800.0 / math.log(10.0)
"""Normalised Elo in one standard deviation of a game's score: 347.4356. At balanced play without draws, it is Elo."""

CONFIDENCE: Final = 0.95
"""Of every interval that is published."""


def score_from_elo(elo: float) -> float:
    """Expected points per game, 0 to 1, of an agent ``elo`` Elo stronger than its opponent."""
    return float(expit(elo / ELO_PER_NAT))


def elo_from_score(score: float) -> float:
    """The difference in Elo at which ``score`` points per game are expected.

    Raises:
        RatingError: ``score`` is not strictly between 0 and 1, where no finite difference exists.
    """
    if not 0.0 < score < 1.0:
        raise RatingError(f"a score of {score} corresponds to no finite Elo difference")
    return ELO_PER_NAT * (math.log(score) - math.log1p(-score))


def normal_quantile(confidence: float = CONFIDENCE) -> float:
    """Standard errors on either side of an estimate that a two-sided interval spans: 1.96 for 0.95.

    Raises:
        RatingError: ``confidence`` is not strictly between 0 and 1.
    """
    if not 0.0 < confidence < 1.0:
        raise RatingError(f"a confidence of {confidence} is not strictly between 0 and 1")
    return float(ndtri(0.5 + confidence / 2.0))


def likelihood_of_superiority(difference: float, standard_error: float) -> float:
    """Chance, 0 to 1, that the true difference is above zero, by the normal distribution of its estimate.

    Args:
        difference: the estimate, in any unit.
        standard_error: of the estimate, in the same unit, above zero.

    Raises:
        RatingError: ``standard_error`` is not above zero.
    """
    if not standard_error > 0.0:
        raise RatingError(f"a standard error of {standard_error} says nothing about superiority")
    return float(ndtr(difference / standard_error))
