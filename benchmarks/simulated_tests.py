"""How often the sequential test errs, and how far off its estimate is, in tests whose truth is known.

Two agents play pairs until the verdict, which is looked for after every pair, in order. A pair's score is drawn from
five chances that have exactly the strength asked for, on the test's own scale.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

from banzuke.errors import RatingError
from banzuke.ratings.elo import elo_from_score, score_from_elo
from banzuke.ratings.sprt import (
    NORMALIZED_ELO_PER_SIGMA,
    Hypotheses,
    Model,
    estimate_after_stop,
    log_likelihood_ratios,
)

Floats: TypeAlias = NDArray[np.float64]
Integers: TypeAlias = NDArray[np.int64]

MOST_PAIRS = 20_000
"""No simulated test came near it; one that did would be counted as undecided."""
_SCORES = np.arange(5) / 4.0
_EVEN = np.array([0.08, 0.22, 0.40, 0.22, 0.08])
"""Chances of the pair scores between equals: games of a pair cancel each other (independent ones with as many draws
would repeat a loss or a win in 12 of 100)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Many tests of the same two hypotheses under one truth."""

    elo: float
    """The truth, in logistic Elo."""
    accepted_h1: float
    """Share of the tests, as the next one."""
    accepted_h0: float
    median_pairs: float
    mean_pairs: float
    plain_median_error: float
    """Of the score's own Elo when the test stopped, less the truth."""
    corrected_median_error: float
    """Of ``estimate_after_stop``, less the truth."""
    corrected_too_high: float
    """Share of the corrected estimates above the truth; half, if they are median-unbiased."""
    corrected_coverage: float
    """Share of the corrected 95 % intervals that hold the truth."""


def measure_tests(hypotheses: Hypotheses, strength: float, *, tests: int, estimates: int, seed: int) -> Outcome:
    """Run the tests to their verdicts.

    Args:
        hypotheses: what is tested.
        strength: the truth, on the test's own scale.
        tests: how many.
        estimates: from how many of them the strength is estimated.
        seed: of the pairs.
    """
    chances = pair_chances(strength, hypotheses.model)
    elo = elo_from_score(float(chances @ _SCORES))
    stopped = _play(chances, hypotheses, tests, np.random.default_rng(seed))
    llr = log_likelihood_ratios(stopped, hypotheses)
    pairs = stopped.sum(axis=1)
    some = stopped[:estimates]
    found = [estimate_after_stop(counts, hypotheses) for counts in some]
    corrected = np.array([np.nan if estimate.elo is None else estimate.elo for estimate in found])
    plain = np.array([_elo_of(counts) for counts in some])
    held = [
        estimate.elo_low is not None and estimate.elo_high is not None and estimate.elo_low < elo < estimate.elo_high
        for estimate in found
    ]
    return Outcome(
        elo=elo,
        accepted_h1=float(np.mean(llr >= hypotheses.upper)),
        accepted_h0=float(np.mean(llr <= hypotheses.lower)),
        median_pairs=float(np.median(pairs)),
        mean_pairs=float(np.mean(pairs)),
        plain_median_error=float(np.median(plain)) - elo,
        corrected_median_error=float(np.median(corrected)) - elo,
        corrected_too_high=float(np.mean(corrected > elo)),
        corrected_coverage=float(np.mean(held)),
    )


def pair_chances(strength: float, model: Model) -> Floats:
    """[5] chances of the pair scores 0, 1/2, 1, 3/2, 2 of an agent so much stronger, tilted from those of equals."""

    def surplus(tilt: float) -> float:
        chances = _tilted(tilt)
        mean = float(chances @ _SCORES)
        if model == "logistic":
            return mean - score_from_elo(strength)
        deviation = float(np.sqrt(chances @ np.square(_SCORES - mean)))
        return (mean - 0.5) / (np.sqrt(2.0) * deviation) - strength / NORMALIZED_ELO_PER_SIGMA

    return _tilted(float(brentq(surplus, -20.0, 20.0, xtol=1e-14)))


def _tilted(tilt: float) -> Floats:
    weights = _EVEN * np.exp(tilt * _SCORES)
    return np.asarray(weights / weights.sum())


def _play(chances: Floats, hypotheses: Hypotheses, tests: int, generator: np.random.Generator) -> Integers:
    """[tests, 5] pairs of every test when it stopped."""
    counts = np.zeros((tests, 5), dtype=np.int64)
    playing = np.arange(tests)
    limits = np.cumsum(chances)[:-1]
    for _ in range(MOST_PAIRS):
        counts[playing, np.searchsorted(limits, generator.random(len(playing)), side="right")] += 1
        llr = log_likelihood_ratios(counts[playing], hypotheses)
        playing = playing[~((llr <= hypotheses.lower) | (llr >= hypotheses.upper))]
        if not len(playing):
            break
    return counts


def _elo_of(counts: Integers) -> float:
    try:
        return elo_from_score(float(counts @ _SCORES / counts.sum()))
    except RatingError:
        return np.nan
