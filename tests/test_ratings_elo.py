"""The Elo scale."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from banzuke.errors import RatingError
from banzuke.ratings.elo import (
    ELO_PER_NAT,
    elo_from_score,
    likelihood_of_superiority,
    normal_quantile,
    score_from_elo,
)


def test_four_hundred_elo_are_ten_to_one() -> None:
    """Elo's definition: 400 Elo stronger expects ten points of eleven."""
    score = score_from_elo(400.0)

    assert score == pytest.approx(10 / 11, abs=1e-15)
    assert pytest.approx(173.717793) == ELO_PER_NAT


@given(st.floats(min_value=-1500, max_value=1500))
def test_score_and_elo_are_inverse(elo: float) -> None:
    """A difference turned into a score and back is the same difference."""
    back = elo_from_score(score_from_elo(elo))

    assert back == pytest.approx(elo, abs=1e-6)


@pytest.mark.parametrize("score", [0.0, 1.0, -0.1, 1.1, math.nan])
def test_no_finite_elo_of_a_perfect_score(score: float) -> None:
    """Where no finite difference exists an error is raised, never an infinity returned."""
    with pytest.raises(RatingError, match="no finite Elo"):
        elo_from_score(score)


def test_normal_quantile_of_the_published_interval() -> None:
    """95 % is 1.96 standard errors on either side, 50 % is 0.674."""
    quantiles = normal_quantile(), normal_quantile(0.5)

    assert pytest.approx((1.959963984540054, 0.6744897501960817)) == quantiles


@pytest.mark.parametrize("confidence", [0.0, 1.0, math.nan])
def test_a_certain_interval_is_refused(confidence: float) -> None:
    """No finite interval holds the truth for certain."""
    with pytest.raises(RatingError, match="strictly between"):
        normal_quantile(confidence)


# Trinomial counts L, D, W with fastchess's likelihood of superiority (app/tests/elo_test.cpp).
@pytest.mark.parametrize(("losses", "draws", "wins", "los"), [(89, 123, 76, 0.1553), (96, 111, 136, 0.9960)])
def test_likelihood_of_superiority_as_published(losses: int, draws: int, wins: int, los: float) -> None:
    """The vectors E1 and E2 asserted by fastchess's own tests come out."""
    games = losses + draws + wins
    score = (wins + draws / 2) / games
    variance = (wins + draws / 4) / games - score**2

    ours = likelihood_of_superiority(score - 0.5, math.sqrt(variance / games))

    assert los == pytest.approx(ours, abs=5e-5)


@pytest.mark.parametrize("error", [0.0, -1.0, math.nan])
def test_certainty_of_superiority_is_refused(error: float) -> None:
    """A standard error of zero would make every difference certain."""
    with pytest.raises(RatingError, match="superiority"):
        likelihood_of_superiority(1.0, error)
