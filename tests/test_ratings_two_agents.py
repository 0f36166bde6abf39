"""Elo, normalised Elo and likelihood of superiority of two agents."""

from __future__ import annotations

import math
from dataclasses import astuple, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from banzuke.errors import RatingError
from banzuke.ratings.two_agents import TwoAgentFigures, compare

COUNTS = st.one_of(*(st.lists(st.integers(0, 10**9), min_size=size, max_size=size) for size in (3, 5)))


def half(low: float | None, high: float | None) -> float:
    """Half the width of an interval that exists."""
    assert low is not None
    assert high is not None
    return (high - low) / 2


# fastchess app/tests/elo_test.cpp; games L, D, W or pairs LL, LD, DD+WL, WD, WW.
@pytest.mark.parametrize(
    ("counts", "nelo", "nelo_half", "elo", "elo_half", "los"),
    [
        ((89, 123, 76), -20.76, 40.13, -15.69, 30.46, 0.1553),  # E1
        ((96, 111, 136), 49.77, 36.77, 40.70, 30.43, 0.9960),  # E2
        ((34, 54, 63, 64, 75), 57.94, 28.28, 55.58, 27.65, 1.0000),  # E4
        ((332, 433, 498, 333, 334), -9.17, 10.96, -8.64, 10.33, 0.0505),  # E5
    ],
)
def test_figures_as_fastchess_has_them(
    counts: tuple[int, ...], nelo: float, nelo_half: float, elo: float, elo_half: float, los: float
) -> None:
    """The vectors asserted by fastchess come out to every digit given."""
    figures = compare(counts)

    assert (nelo, elo) == (pytest.approx(figures.nelo, abs=0.005), pytest.approx(figures.elo, abs=0.005))
    assert nelo_half == pytest.approx(half(figures.nelo_low, figures.nelo_high), abs=0.0051)
    # The reference gives 27.65 for E4, where 27.6534 is what the formula yields.
    assert elo_half == pytest.approx(half(figures.elo_low, figures.elo_high), abs=0.0051)
    assert los == pytest.approx(figures.los, abs=5e-5)
    assert figures.reason is None


def test_figures_as_fishtest_has_them() -> None:
    """Fishtest's get_elo of 36168 pairs comes out to every digit given."""
    figures = compare([39, 2226, 31451, 2412, 40])

    assert pytest.approx(0.90298, abs=5e-6) == figures.elo
    assert pytest.approx(0.66253, abs=5e-6) == half(figures.elo_low, figures.elo_high)
    assert pytest.approx(0.99622, abs=5e-6) == figures.los
    assert (72336, 36168) == (figures.games, figures.pairs)
    assert pytest.approx(2452 / 2265) == figures.pairs_ratio


@pytest.mark.parametrize(
    ("counts", "elo", "missing", "why"),
    [
        ((0, 0, 0), None, {"score", "elo", "elo_low", "nelo", "los"}, "no game was counted"),
        ((0, 0, 0, 0, 0), None, {"score", "elo", "elo_low", "nelo", "los"}, "no pair was counted"),
        ((0, 0, 7), None, {"elo", "elo_low", "elo_high", "nelo", "los"}, "a score of 1 in 7 games"),
        ((10**9, 0, 0, 0, 0), None, {"elo", "elo_low", "elo_high", "nelo", "los"}, "a score of 0 in"),
        ((0, 9, 0), 0.0, {"elo_low", "elo_high", "nelo", "los"}, "the 9 games are all alike"),
        ((0, 0, 0, 1, 0), 190.8485, {"elo_low", "elo_high", "nelo", "los"}, "one pair has no variance"),
        ((0, 0, 0, 1, 1), 338.0392, {"elo_high", "pairs_ratio"}, "do not bound Elo on that side"),
        ((3, 1, 0), -338.0392, {"elo_low"}, "do not bound Elo on that side"),
    ],
)
def test_a_figure_that_does_not_exist_has_its_reason(
    counts: tuple[int, ...], elo: float | None, missing: set[str], why: str
) -> None:
    """Perfect scores, games all alike and single pairs give None and say why, and what exists is given."""
    figures = compare(counts)

    assert elo == (None if figures.elo is None else pytest.approx(figures.elo, abs=1e-4))
    assert missing == {name for name in missing if getattr(figures, name) is None}
    assert why in str(figures.reason)


@given(COUNTS)
def test_every_figure_is_finite_or_none_with_a_reason(counts: list[int]) -> None:
    """Whatever the counts, no figure is NaN or infinite, and a missing one has its reason."""
    figures = compare(counts)

    numbers = [value for value in astuple(figures) if isinstance(value, int | float)]
    assert all(math.isfinite(number) for number in numbers)
    of_games = {"pairs", "pairs_ratio"} if len(counts) == 3 else set()
    needed = {name for name in TwoAgentFigures.__slots__ if name != "reason"} - of_games
    assert any(getattr(figures, name) is None for name in needed) == (figures.reason is not None)


@given(COUNTS)
def test_swapping_the_agents_negates_every_difference(counts: list[int]) -> None:
    """Seen from the other agent, Elo and its interval change sign and the chances add up to one."""
    ours, theirs = compare(counts), compare(counts[::-1])

    def opposite(figure: float | None) -> object:
        return None if figure is None else pytest.approx(-figure, rel=1e-6, abs=1e-6)

    assert (opposite(ours.elo), opposite(ours.nelo)) == (theirs.elo, theirs.nelo)
    assert (opposite(ours.elo_low), opposite(ours.elo_high)) == (theirs.elo_high, theirs.elo_low)
    assert (opposite(ours.nelo_low), opposite(ours.nelo_high)) == (theirs.nelo_high, theirs.nelo_low)
    if ours.los is not None and theirs.los is not None:
        assert pytest.approx(1.0) == ours.los + theirs.los


@given(st.lists(st.integers(1, 10**6), min_size=5, max_size=5), st.integers(2, 50))
def test_more_of_the_same_moves_no_figure_and_narrows_the_interval(counts: list[int], times: int) -> None:
    """The same outcomes k times over give the same Elo, and an interval of nElo narrower by the root of k."""
    once, often = compare(counts), compare([times * count for count in counts])

    assert (pytest.approx(once.elo, abs=1e-6), pytest.approx(once.nelo, abs=1e-6)) == (often.elo, often.nelo)
    narrower = half(once.nelo_low, once.nelo_high) / half(often.nelo_low, often.nelo_high)
    assert pytest.approx(math.sqrt(times)) == narrower


def test_two_draws_of_a_pair_are_no_more_than_one_draw() -> None:
    """Pairs that were independent games give the figures of those games, up to sampling: the scale is per game."""
    games = compare([2500, 5000, 2500])
    pairs = compare([625, 2500, 3750, 2500, 625])  # the same shares, drawn independently, twice as many games

    assert pytest.approx(half(games.nelo_low, games.nelo_high), rel=1e-9) == math.sqrt(2) * half(
        pairs.nelo_low, pairs.nelo_high
    )
    assert pytest.approx(0.0, abs=1e-9) == pairs.elo


@pytest.mark.parametrize("counts", [(1, 2), (1, 2, 3, 4), (1, -1, 1), (1.5, 1, 1), (10**16, 1, 1), ((1, 2, 3),) * 2])
def test_what_is_no_count_is_refused(counts: tuple[int, ...]) -> None:
    """Other numbers of counts, negative ones, fractions and absurd ones raise an error that says so."""
    with pytest.raises(RatingError, match="count"):
        compare(counts)


def test_the_reason_is_the_only_text() -> None:
    """Figures can be compared and replaced like any frozen value."""
    figures = compare((5, 5, 5))

    assert figures == replace(figures, reason=None)
