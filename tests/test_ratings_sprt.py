"""The sequential test and the estimate after it."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import minimize

from banzuke.errors import RatingError
from banzuke.ratings import sprt
from banzuke.ratings.brownian import chance_of_lower
from banzuke.ratings.constrained import log_ratio_at_mean, log_ratio_at_normalized_mean
from banzuke.ratings.elo import score_from_elo
from banzuke.ratings.sprt import Hypotheses, Model, Verdict, estimate_after_stop, log_likelihood_ratios

MODELS = st.sampled_from(["logistic", "normalized"])
POSITIVE = st.one_of(*(st.lists(st.integers(1, 10**5), min_size=size, max_size=size) for size in (3, 5)))
COUNTS = st.one_of(*(st.lists(st.integers(0, 10**9), min_size=size, max_size=size) for size in (3, 5)))
ELO = st.floats(-300.0, 300.0).map(lambda elo: round(elo, 2))


def llr(counts: list[int], elo0: float, elo1: float, model: Model) -> float:
    """The log-likelihood ratio, which exists."""
    found = sprt.test(counts, Hypotheses(elo0, elo1, model=model)).llr
    assert found is not None
    return found


# Counts L, D, W of games or LL, LD, DD+WL, WD, WW of pairs. Sources: fastchess sprt_test.cpp (S), ShogiHome
# sprt.spec.ts (H), fishtest's own code (F).
@pytest.mark.parametrize(
    ("counts", "model", "elo0", "elo1", "expected"),
    [
        ([36027, 68692, 36433], "normalized", 0, 2, 0.92329),  # S1
        ([10650, 20431, 10871], "normalized", -1.75, 0.25, 2.29750),  # S2
        ([21184, 40708, 21404], "logistic", 0.5, 2.5, -1.57189),  # S4
        ([57030, 106593, 57433], "logistic", 0, 2, -2.59302),  # S5
        ([365, 16618, 36229, 16974, 390], "normalized", 0, 2, 2.25037),  # S8
        ([223, 9863, 21279, 10037, 246], "logistic", 0.5, 2.5, -3.07413),  # S11
        ([19, 4020, 10316, 4215, 24], "normalized", -1.75, 0.25, 2.94405),  # H1
        ([45, 8506, 25934, 8883, 57], "normalized", 0.5, 2.5, 2.94116),  # H4
        ([10789, 19328, 33806, 19402, 10543], "logistic", -3, 1, 2.13107),  # F1
        ([39, 2226, 31451, 2412, 40], "logistic", 0.2, 0.9, 2.16254),  # F2
        ([39, 2226, 31451, 2412, 40], "normalized", 0.764, 3.439, 2.16294),  # F3
    ],
)
def test_ratios_as_published(counts: list[int], model: Model, elo0: float, elo1: float, expected: float) -> None:
    """Every vector of the models that are offered comes out to the last digit given."""
    found = llr(counts, elo0, elo1, model)

    assert expected == round(found, 5)


@pytest.mark.parametrize(
    ("counts", "model", "elo0", "elo1", "elo", "low", "high", "los"),
    [
        ([10789, 19328, 33806, 19402, 10543], "logistic", -3, 1, -0.9925, -3.488, 1.489, 0.188),
        ([39, 2226, 31451, 2412, 40], "logistic", 0.2, 0.9, 0.8652, 0.168, 1.541, 0.992),
        ([39, 2226, 31451, 2412, 40], "normalized", 0.764, 3.439, 0.8652, 0.168, 1.541, 0.992),
    ],
)
def test_estimates_as_published(
    counts: list[int], model: Model, elo0: float, elo1: float, elo: float, low: float, high: float, los: float
) -> None:
    """Fishtest's estimates, intervals and chances of superiority come out to the last digit given."""
    found = estimate_after_stop(counts, Hypotheses(elo0, elo1, model=model))

    assert (elo, low, high, los) == (
        pytest.approx(found.elo, abs=6e-5),
        pytest.approx(found.elo_low, abs=6e-4),
        pytest.approx(found.elo_high, abs=6e-4),
        pytest.approx(found.los, abs=5e-4),
    )
    assert found.reason is None


def test_bounds_as_published() -> None:
    """Error rates of 5 % give bounds of 2.94, those of 1 % give 4.6 (ShogiHome, cutechess)."""
    five, one = Hypotheses(0, 5), Hypotheses(0, 5, 0.01, 0.01)

    assert (-2.944, 2.944) == (round(five.lower, 3), round(five.upper, 3))
    assert (-4.595, 4.595) == (round(one.lower, 3), round(one.upper, 3))


def test_verdicts_follow_the_bounds() -> None:
    """At or beyond a bound the test is over; in between and without a game it goes on."""
    verdicts = [
        sprt.test(counts, Hypotheses(0, 100)).verdict
        for counts in ([0, 0, 0], [30, 40, 30], [10, 40, 50], [50, 40, 10])
    ]

    assert [Verdict.CONTINUE, Verdict.ACCEPT_H0, Verdict.ACCEPT_H1, Verdict.ACCEPT_H0] == verdicts


@pytest.mark.parametrize(
    ("elo0", "elo1", "alpha", "beta", "model"),
    [
        (5, 5, 0.05, 0.05, "logistic"),
        (5, 0, 0.05, 0.05, "logistic"),
        (math.nan, 0, 0.05, 0.05, "logistic"),
        (0, math.inf, 0.05, 0.05, "logistic"),
        (0, 5, 0.0, 0.05, "logistic"),
        (0, 5, 0.5, 0.5, "logistic"),
        (0, 5, math.nan, 0.5, "logistic"),
        (0, 5, 0.05, 0.05, "bayesian"),
    ],
)
def test_hypotheses_that_make_no_test_are_refused(
    elo0: float, elo1: float, alpha: float, beta: float, model: Model
) -> None:
    """Hypotheses out of order, not finite, or with impossible error rates raise an error."""
    with pytest.raises(RatingError, match=r"elo0|alpha|model"):
        Hypotheses(elo0, elo1, alpha, beta, model)


EXTREMES = [
    [0, 0, 0],
    [0, 0, 1],
    [0, 5, 0],
    [10**9, 0, 0],
    [1, 0, 10**9],
    [0, 0, 0, 0, 0],
    [10**9, 0, 0, 0, 0],
    [0, 0, 10**9, 0, 0],
    [0, 0, 10**9, 1, 0],
    [0, 0, 0, 0, 10**15],
    [0, 0, 0, 1, 10**15],
    [10**9] * 5,
]


@pytest.mark.parametrize("model", ["logistic", "normalized"])
@pytest.mark.parametrize("counts", EXTREMES, ids=str)
def test_extremes_end_at_once(counts: list[int], model: Model) -> None:
    """All wins, all draws, one game, a billion games, hypotheses out of reach: a finite figure or its reason, soon."""
    started = time.process_time()
    answers = []
    for elo0, elo1 in [(0, 10), (-1500, -500), (500, 1500), (-1e5, 1e5), (-1e300, 1e300), (0, 1e-13), (0, 1e-300)]:
        for alpha in (0.05, 0.4999):
            hypotheses = Hypotheses(elo0, elo1, alpha, 0.5, model)
            answers.append((sprt.test(counts, hypotheses), estimate_after_stop(counts, hypotheses)))

    for result, estimate in answers:
        assert (result.llr is None) == (result.reason is not None)
        assert result.llr is None or math.isfinite(result.llr)
        figures = [estimate.elo, estimate.elo_low, estimate.elo_high, estimate.los]
        assert all(figure is None or math.isfinite(figure) for figure in figures)
        assert None not in figures or estimate.reason is not None
    assert time.process_time() - started < 20.0


def test_no_game_is_no_evidence() -> None:
    """Empty counts give a ratio of zero, whatever is tested (ShogiHome)."""
    assert [0.0, 0.0] == [llr([0] * size, -1e300, 1e300, "logistic") for size in (3, 5)]


@given(COUNTS, ELO, ELO, MODELS)
@settings(deadline=None)
def test_swapping_the_agents_negates_the_ratio(counts: list[int], one: float, other: float, model: Model) -> None:
    """Reversed counts under negated hypotheses give the opposite ratio."""
    elo0, elo1 = min(one, other), max(one, other) + 1.0

    ours, theirs = llr(counts, elo0, elo1, model), llr(counts[::-1], -elo1, -elo0, model)

    assert pytest.approx(-theirs, rel=1e-6, abs=1e-5 + 1e-12 * sum(counts)) == ours


@given(POSITIVE, ELO, MODELS, st.integers(2, 1000))
@settings(deadline=None)
def test_evidence_is_in_proportion(counts: list[int], elo0: float, model: Model, times: int) -> None:
    """The same outcomes k times over are k times the evidence."""
    once, often = llr(counts, elo0, elo0 + 20, model), llr([times * count for count in counts], elo0, elo0 + 20, model)

    assert pytest.approx(times * once, rel=1e-6, abs=1e-8 * times * sum(counts)) == often


@given(COUNTS, ELO, MODELS)
@settings(deadline=None)
def test_ratios_of_hypotheses_add_up(counts: list[int], elo: float, model: Model) -> None:
    """The evidence for b over a and for c over b is that for c over a."""
    parts = llr(counts, elo - 30, elo, model) + llr(counts, elo, elo + 20, model)

    assert pytest.approx(parts, rel=1e-6, abs=1e-5 + 1e-12 * sum(counts)) == llr(counts, elo - 30, elo + 20, model)


@given(POSITIVE, ELO)
@settings(deadline=None)
def test_a_better_outcome_is_evidence_for_more(counts: list[int], elo0: float) -> None:
    """One best outcome more raises the ratio, one worst outcome more lowers it."""
    better, worse = [*counts[:-1], counts[-1] + 1], [counts[0] + 1, *counts[1:]]

    ratios = [llr(row, elo0, elo0 + 20, "logistic") for row in (worse, counts, better)]

    assert sorted(ratios) == ratios


@given(st.lists(st.lists(st.integers(0, 1000), min_size=5, max_size=5), min_size=1, max_size=6), MODELS)
@settings(deadline=None)
def test_many_rows_are_as_one_by_one(rows: list[list[int]], model: Model) -> None:
    """The ratios of many rows at once are those of each."""
    hypotheses = Hypotheses(-10, 30, model=model)

    together = log_likelihood_ratios(np.array([rows, rows]), hypotheses)

    assert (2, len(rows)) == together.shape
    assert [sprt.test(row, hypotheses).llr for row in rows] == pytest.approx(together[1].tolist(), abs=1e-9)


@given(POSITIVE, st.floats(0.01, 0.99))
@settings(deadline=None)
def test_the_distribution_at_a_mean_has_it(counts: list[int], mean: float) -> None:
    """What is found is a distribution, and its mean is the one asked for."""
    p = np.array(counts, dtype=np.float64)[:, None] / sum(counts)
    scores = np.linspace(0, 1, len(counts))

    q = p * np.exp(-log_ratio_at_mean(p, (scores - mean)[:, None]))

    assert (pytest.approx(1.0), pytest.approx(mean)) == (q.sum(), scores @ q[:, 0])


@given(POSITIVE, st.floats(-3.0, 3.0))
@settings(deadline=None)
def test_the_distribution_at_a_normalized_mean_has_it(counts: list[int], t: float) -> None:
    """What is found is a distribution, and its mean is as many of its standard deviations above even as asked for."""
    p = np.array(counts, dtype=np.float64)[:, None] / sum(counts)
    g = np.linspace(-0.5, 0.5, len(counts))

    q = (p * np.exp(-log_ratio_at_normalized_mean(p, g, t)))[:, 0]

    mean = g @ q
    assert (pytest.approx(1.0), pytest.approx(t, abs=1e-6)) == (q.sum(), mean / math.sqrt(g**2 @ q - mean**2))


def likeliest(p: NDArray[np.float64], g: NDArray[np.float64], t: float) -> float:
    """The highest ``sum p ln q`` that a general optimiser finds from many starts."""

    def log_shares(z: NDArray[np.float64]) -> NDArray[np.float64]:
        shares: NDArray[np.float64] = z - np.logaddexp.reduce(z)
        return shares

    def excess(z: NDArray[np.float64]) -> float:
        q = np.exp(log_shares(z))
        mean = g @ q
        return float(mean - t * math.sqrt(max(g**2 @ q - mean**2, 0.0)))

    starts = [np.log(0.9 * np.eye(len(p))[k] + 0.1 * p) for k in range(len(p))] + [np.log(p)]
    found = [
        minimize(
            lambda z: -float(p @ log_shares(z)),
            start,
            method="SLSQP",
            bounds=[(-30, 30)] * len(p),
            constraints={"type": "eq", "fun": excess},
            options={"maxiter": 500, "ftol": 1e-13},
        )
        for start in starts
    ]
    return max(-float(result.fun) for result in found if abs(excess(result.x)) < 1e-8)


# Ordinary samples, and such that have a local optimum for each outcome above the middle (t of 1 is 246 nElo).
@pytest.mark.parametrize("t", [-1.0, -0.1, 0.02, 0.4, 1.0, 2.0])
@pytest.mark.parametrize(
    "counts", [(34, 54, 63, 64, 75), (5, 40, 900, 60, 6), (19, 4020, 10316, 4215, 24), (50, 1, 1, 1, 50), (8, 80, 9)]
)
def test_no_likelier_distribution_is_found_by_other_means(counts: tuple[int, ...], t: float) -> None:
    """A general-purpose optimiser, started from everywhere, finds nothing likelier, and finds the same."""
    p = np.array(counts, dtype=np.float64) / sum(counts)
    g = np.linspace(-0.5, 0.5, len(counts))

    ours = float(p @ (np.log(p) - log_ratio_at_normalized_mean(p[:, None], g, t)[:, 0]))

    assert pytest.approx(likeliest(p, g, t), abs=1e-6) == ours


def series(time: float, place: float, lower: float, upper: float, drift: float) -> float:
    """Chance of wandering below ``place``, by the eigenfunctions of the diffusion between the barriers."""
    width = upper - lower
    n = np.arange(1, 400)[:, None]
    x = np.linspace(lower, place, 4001)
    modes = np.sin(-n * math.pi * lower / width) * np.sin(n * math.pi * (x - lower) / width)
    modes = modes * np.exp(-((n * math.pi / width) ** 2) * time / 2)
    density = np.exp(drift * x - drift**2 * time / 2) * 2 / width * modes.sum(axis=0)
    return float(np.trapezoid(density, x))


@pytest.mark.parametrize("drift", [-2.0, -0.3, 0.0, 0.4, 1.0])
@pytest.mark.parametrize("at", [0.5, 3.0, 20.0])
def test_the_motion_between_barriers_by_another_series(at: float, drift: float) -> None:
    """Reflections and eigenfunctions agree on where the motion is while it wanders."""
    lower, upper = -2.2, 3.1
    barrier = {"time": at, "lower": lower, "upper": upper, "drift": drift}

    ended = chance_of_lower(place=lower, **barrier)
    below = [chance_of_lower(place=place, **barrier) - ended for place in (-1.0, 0.7, upper)]

    assert [series(at, place, lower, upper, drift) for place in (-1.0, 0.7, upper)] == pytest.approx(below, abs=1e-6)


@pytest.mark.parametrize("drift", [-1.0, -0.2, 0.0, 0.2, 1.0])
def test_where_the_motion_ends_is_walds(drift: float) -> None:
    """In the long run it ends at the lower barrier as often as the martingale says, just before and after a cut-off."""
    lower, upper = -2.2, 3.1
    wald = upper / (upper - lower)
    if drift:
        wald = -math.expm1(-2 * drift * upper) / (math.exp(-2 * drift * lower) - math.exp(-2 * drift * upper))

    ends = [
        chance_of_lower(time=at * (upper - lower) ** 2, place=lower, lower=lower, upper=upper, drift=drift)
        for at in (19.9, 20.1)
    ]

    assert [wald, wald] == pytest.approx(ends, abs=1e-12)


@given(st.floats(0.01, 50.0), st.floats(-2.9, 2.9), st.floats(-3.0, 3.0), st.floats(0.001, 2.0))
def test_outcomes_rise_with_the_drift(at: float, place: float, drift: float, more: float) -> None:
    """The stronger the drift, the less likely a lower outcome; mirrored, the chances add up to one."""
    chance = chance_of_lower(time=at, place=place, lower=-3, upper=3, drift=drift)

    assert chance_of_lower(time=at, place=place, lower=-3, upper=3, drift=drift + more) <= chance + 1e-12
    mirrored = chance_of_lower(time=at, place=-place, lower=-3, upper=3, drift=-drift)
    assert pytest.approx(1.0 - mirrored, abs=1e-9) == chance


@given(POSITIVE, ELO, MODELS)
@settings(deadline=None)
def test_swapping_the_agents_negates_the_estimate(counts: list[int], elo0: float, model: Model) -> None:
    """Reversed counts under negated hypotheses give the opposite estimate and interval."""
    ours = estimate_after_stop(counts, Hypotheses(elo0, elo0 + 20, model=model))
    theirs = estimate_after_stop(counts[::-1], Hypotheses(-elo0 - 20, -elo0, model=model))

    for figure, opposite in ((ours.elo, theirs.elo), (ours.elo_low, theirs.elo_high), (ours.elo_high, theirs.elo_low)):
        assert (figure is None) == (opposite is None)
        if figure is not None and opposite is not None and abs(figure) < 1000:
            assert pytest.approx(-opposite, abs=1e-3) == figure
    assert (None if ours.los is None else pytest.approx(1 - ours.los, abs=1e-6)) == theirs.los


def test_counts_from_after_the_verdict_are_said_to_be() -> None:
    """Where the bound had been passed before the last outcome, the estimate is of where it was met, and says so."""
    hypotheses = Hypotheses(0, 150)
    wins = next(wins for wins in range(100) if sprt.test([4, 9, wins], hypotheses).verdict == Verdict.ACCEPT_H1)

    reasons = [estimate_after_stop([4, 9, wins + more], hypotheses).reason for more in (0, 1, 100)]

    assert reasons[0] is None
    assert all("the bound was passed before the last outcome" in str(reason) for reason in reasons[1:])


def simulate(p: NDArray[np.float64], hypotheses: Hypotheses, tests: int) -> NDArray[np.int64]:
    """[tests, 5] the pairs played when each test ended, looked at after every pair."""
    rng = np.random.default_rng(20)
    counts = np.zeros((tests, len(p)), dtype=np.int64)
    going_on = np.arange(tests)
    while len(going_on):
        counts[going_on] += rng.multinomial(1, p, size=len(going_on))
        llrs = log_likelihood_ratios(counts[going_on], hypotheses)
        going_on = going_on[(hypotheses.lower < llrs) & (llrs < hypotheses.upper)]
    return counts


@pytest.mark.parametrize("elo", [0.0, 60.0])
def test_the_estimate_is_too_high_as_often_as_too_low(elo: float) -> None:
    """Over 500 quick tests the corrected median is right, its intervals cover, and the plain estimate exaggerates."""
    p = np.array([0.22, 0.06, 0.44, 0.06, 0.22])
    scores = np.linspace(0, 1, 5)
    p = p * np.exp(-log_ratio_at_mean(p[:, None], (scores - score_from_elo(elo))[:, None])[:, 0])
    hypotheses = Hypotheses(0, 60)

    counts = simulate(p, hypotheses, tests=500)

    estimates = [estimate_after_stop(row, hypotheses) for row in counts]
    too_high = np.mean([estimate.elo > elo for estimate in estimates if estimate.elo is not None])
    covered = np.mean([(e.elo_low or -9e9) <= elo <= (e.elo_high or 9e9) for e in estimates])
    plain_too_high = np.mean(counts @ scores / counts.sum(axis=1) > score_from_elo(elo))
    wrong = np.mean(
        [sprt.test(row, hypotheses).verdict == (Verdict.ACCEPT_H1 if elo == 0 else Verdict.ACCEPT_H0) for row in counts]
    )
    assert abs(too_high - 0.5) < 0.07  # three standard errors
    assert abs(plain_too_high - 0.5) > 0.07
    assert covered > 0.92
    assert wrong < 0.08
