"""Columns of games to counts."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from banzuke.errors import RatingError
from banzuke.ratings.scores import GameColumns, tally


def columns(*games: tuple[int, int, float, int]) -> GameColumns:
    """From (first agent, second agent, first's score, pair) of each game."""
    return GameColumns(
        first_agent=np.array([game[0] for game in games], dtype=np.int64),
        second_agent=np.array([game[1] for game in games], dtype=np.int64),
        first_score=np.array([game[2] for game in games], dtype=np.float64),
        pair=np.array([game[3] for game in games], dtype=np.int64),
    )


@st.composite
def tournaments(draw: st.DrawFn) -> list[tuple[int, int, float, int]]:
    """Pairs of one to four games between four agents, in any order."""
    games = []
    for pair in range(draw(st.integers(0, 12))):
        one, other = draw(st.permutations(range(4)))[:2]
        for _ in range(draw(st.integers(1, 4))):
            first, second = draw(st.sampled_from([(one, other), (other, one)]))
            games.append((first, second, draw(st.sampled_from([0.0, 0.5, 1.0])), 7 * pair - 20))
    return draw(st.permutations(games))


def test_counts_of_a_small_tournament() -> None:
    """Two pairs of one encounter and half a pair of another are counted by side, result and pattern."""
    counts = tally(
        columns(
            (1, 0, 1.0, 5),  # pair 5: the side moving first wins both
            (0, 1, 1.0, 5),
            (0, 1, 0.5, 6),  # pair 6: a draw, then agent 1 loses moving first
            (1, 0, 0.0, 6),
            (2, 0, 1.0, 9),  # pair 9: its second game has no counting result
        ),
        agents=4,
    )

    assert list(zip(counts.low.tolist(), counts.high.tolist(), strict=True)) == [(0, 1), (0, 2)]
    # By encounter: lower agent moves first, then higher agent moves first; each losses, draws, wins of the mover.
    assert counts.counts.tolist() == [[[0, 1, 1], [1, 0, 1]], [[0, 0, 0], [0, 0, 1]]]
    assert counts.pattern_pairs.tolist() == [1, 1, 1]
    # Losses, draws, wins of each agent.
    assert counts.results_by_agent.tolist() == [[2, 1, 2], [2, 1, 1], [0, 0, 1], [0, 0, 0]]
    assert counts.pairs_by_agent.tolist() == [3, 2, 1, 0]


@given(tournaments())
def test_tally_agrees_with_counting_one_by_one(games: list[tuple[int, int, float, int]]) -> None:
    """Whatever the order, every count equals that of a plain dictionary of games."""
    counts = tally(columns(*games), agents=4)

    by_side = Counter((first, second, int(2 * score)) for first, second, score, _ in games)
    pairs: Counter[tuple[tuple[int, int, float], ...]] = Counter()
    for number in {game[3] for game in games}:
        members = sorted((first, second, score) for first, second, score, pair in games if pair == number)
        pairs[tuple(members)] += 1
    counted: Counter[tuple[int, int, int]] = Counter()
    for encounter, (low, high) in enumerate(zip(counts.low.tolist(), counts.high.tolist(), strict=True)):
        for result in range(3):
            counted[low, high, result] = int(counts.counts[encounter, 0, result])
            counted[high, low, result] = int(counts.counts[encounter, 1, result])
    patterns: Counter[tuple[tuple[int, int, float], ...]] = Counter()
    for encounter, cells, multiplicity in zip(
        counts.pattern_encounter, counts.pattern_counts, counts.pattern_pairs, strict=True
    ):
        low, high = int(counts.low[encounter]), int(counts.high[encounter])
        members = []
        for (first, second), row in zip([(low, high), (high, low)], cells.tolist(), strict=True):
            for result, count in enumerate(row):
                members += [(first, second, result / 2)] * count
        patterns[tuple(sorted(members))] += int(multiplicity)
    assert +counted == by_side
    assert patterns == pairs


@given(tournaments())
def test_among_is_the_tally_of_the_games_among(games: list[tuple[int, int, float, int]]) -> None:
    """Restricting the counts to some agents equals counting only their games."""
    members = np.array([1, 3])
    ours = tally(columns(*games), agents=4).among(members)

    renamed = [
        (first // 2, second // 2, score, pair) for first, second, score, pair in games if first % 2 == second % 2 == 1
    ]
    expected = tally(columns(*renamed), agents=2)
    assert expected.counts.tolist() == ours.counts.tolist()
    assert expected.pairs_by_agent.tolist() == ours.pairs_by_agent.tolist()
    assert expected.results_by_agent.tolist() == ours.results_by_agent.tolist()


@pytest.mark.parametrize(
    ("game", "words"),
    [
        ((0, 2, 1.0, 0), "outside of the 2 entrants"),
        ((-1, 1, 1.0, 0), "outside of the 2 entrants"),
        ((1, 1, 1.0, 0), "same agent on both sides"),
        ((0, 1, 0.25, 0), "not 0, 0.5 or 1"),
        ((0, 1, float("nan"), 0), "not 0, 0.5 or 1"),
    ],
)
def test_malformed_games_are_refused(game: tuple[int, int, float, int], words: str) -> None:
    """A game that cannot be is named as such, not counted as something else."""
    with pytest.raises(RatingError, match=words):
        tally(columns(game), agents=2)


def test_columns_of_different_length_are_refused() -> None:
    """Columns that do not belong together are an error, not a broadcast."""
    whole = columns((0, 1, 1.0, 0), (1, 0, 1.0, 0))
    torn = GameColumns(
        first_agent=whole.first_agent,
        second_agent=whole.second_agent,
        first_score=whole.first_score[:1],
        pair=whole.pair,
    )

    with pytest.raises(RatingError, match="differ in length"):
        tally(torn, agents=2)


def test_a_pair_across_encounters_is_refused() -> None:
    """A pair number used for two encounters would silently mix their results."""
    games = columns((0, 1, 1.0, 3), (0, 2, 1.0, 3))

    with pytest.raises(RatingError, match="more than one encounter"):
        tally(games, agents=3)


def test_a_pair_of_a_thousand_games_is_counted_and_one_too_many_refused() -> None:
    """Counts of one pair never run into each other: 1023 games fit, 1024 are refused."""
    fits = tally(columns(*[(0, 1, 0.0, 1)] * 1023), agents=2)

    assert fits.counts.tolist() == [[[1023, 0, 0], [0, 0, 0]]]
    with pytest.raises(RatingError, match="more than 1023 games"):
        tally(columns(*[(0, 1, 0.0, 1)] * 1024), agents=2)
