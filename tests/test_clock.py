"""An agent's own clock, to the millisecond."""

from __future__ import annotations

import pytest

from banzuke.clock import Clock
from banzuke.specs import SearchLimit


def test_byoyomi_is_spent_anew_on_every_move() -> None:
    """Nothing is saved up and nothing is carried over."""
    clock = Clock.start(SearchLimit(byoyomi_ms=1000, margin_ms=0))

    in_time = [clock.charge(elapsed_ms) for elapsed_ms in (1, 1000, 1001, 1000)]

    assert [True, True, False, True] == in_time
    assert (0, 1000) == (clock.remaining_ms, clock.allowed_ms)


def test_base_time_is_used_up_before_byoyomi() -> None:
    """What is left of the base shrinks to nothing; after that each move has the byoyomi alone."""
    clock = Clock.start(SearchLimit(base_ms=3000, byoyomi_ms=1000, margin_ms=0))

    seen = [(clock.allowed_ms, clock.charge(elapsed_ms), clock.remaining_ms) for elapsed_ms in (1000, 2500, 1000, 1001)]

    assert [(4000, True, 2000), (3000, True, 0), (1000, True, 0), (1000, False, 0)] == seen


def test_an_increment_is_added_before_the_move() -> None:
    """The first move already has it, and what a move leaves of it stays."""
    clock = Clock.start(SearchLimit(base_ms=1000, increment_ms=500, margin_ms=0))

    seen = [(clock.allowed_ms, clock.charge(elapsed_ms), clock.remaining_ms) for elapsed_ms in (1500, 100, 900, 501)]

    assert [(1500, True, 0), (500, True, 400), (900, True, 0), (500, False, 0)] == seen


def test_a_base_of_nothing_lives_on_the_increment() -> None:
    """A base of 0 is a base."""
    clock = Clock.start(SearchLimit(base_ms=0, increment_ms=200, margin_ms=0))

    assert 200 == clock.allowed_ms
    assert clock.charge(50)
    assert (150, 350) == (clock.remaining_ms, clock.allowed_ms)


def test_a_time_per_move_is_a_clock_that_saves_nothing() -> None:
    """Each move is judged alone."""
    clock = Clock.start(SearchLimit(movetime_ms=300, margin_ms=0))

    in_time = [clock.charge(elapsed_ms) for elapsed_ms in (300, 301, 1, 300)]

    assert [True, False, True, True] == in_time
    assert (0, 300) == (clock.remaining_ms, clock.allowed_ms)


@pytest.mark.parametrize(
    ("limit", "allowed_ms"),
    [
        (SearchLimit(movetime_ms=300, margin_ms=70), 370),
        (SearchLimit(byoyomi_ms=300, margin_ms=70), 370),
        (SearchLimit(base_ms=1000, increment_ms=300, margin_ms=70), 1370),
        (SearchLimit(byoyomi_ms=300), 400),
    ],
)
def test_the_margin_is_allowed_on_top(limit: SearchLimit, allowed_ms: int) -> None:
    """To the millisecond, and 100 ms where the spec says nothing."""
    clock = Clock.start(limit)

    assert allowed_ms == clock.allowed_ms
    assert clock.charge(allowed_ms)
    assert not Clock.start(limit).charge(allowed_ms + 1)


def test_the_margin_of_one_move_is_none_of_the_next() -> None:
    """Whoever lives in the margin has its clock at nothing, not below, and gets no margin twice."""
    clock = Clock.start(SearchLimit(base_ms=1000, increment_ms=100, margin_ms=50))

    assert clock.charge(1150)
    assert (0, 150) == (clock.remaining_ms, clock.allowed_ms)


@pytest.mark.parametrize("limit", [None, SearchLimit(nodes=1000), SearchLimit(depth=3)])
def test_without_a_clock_any_time_will_do(limit: SearchLimit | None) -> None:
    """Limits in nodes or depth, and agents without a limit, never lose on time."""
    clock = Clock.start(limit)

    assert clock.allowed_ms is None
    assert clock.charge(3_600_000)
    assert 0 == clock.remaining_ms
