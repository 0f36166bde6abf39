"""The ranking sheet."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from banzuke.errors import RatingError
from banzuke.ratings.elo import elo_from_score
from banzuke.ratings.scores import GameColumns
from banzuke.ratings.standings import Entrant, StandingRow, Standings, compute_standings
from banzuke.record import Standing

Game = tuple[str, str, float, int]
"""First agent, second agent, first's score, pair."""

MIXED = [(1.0, 1.0), (1.0, 0.0), (0.0, 1.0), (0.5, 0.5), (1.0, 0.5), (0.0, 0.0), (0.5, 1.0), (1.0, 0.0)]


def standings_of(names: str, games: list[Game], *, anchor: str | None = None, anchor_elo: float = 0.0) -> Standings:
    """Standings of agents with one-letter names."""
    return compute_standings(
        entrants=[Entrant(agent=name, agent_id=f"id-{name}") for name in names],
        games=GameColumns(
            first_agent=np.array([names.index(game[0]) for game in games], dtype=np.int64),
            second_agent=np.array([names.index(game[1]) for game in games], dtype=np.int64),
            first_score=np.array([game[2] for game in games], dtype=np.float64),
            pair=np.array([game[3] for game in games], dtype=np.int64),
        ),
        anchor=anchor,
        anchor_elo=anchor_elo,
    )


def pairs_of(one: str, other: str, scores: list[tuple[float, float]], start: int = 0) -> list[Game]:
    """Pairs in which ``one`` scores as given: first in the game it moves first, then in the other one."""
    games: list[Game] = []
    for number, (as_first, as_second) in enumerate(scores, start=start):
        games += [(one, other, as_first, number), (other, one, 1.0 - as_second, number)]
    return games


def three_agents() -> list[Game]:
    """A above B above C, everyone with points against everyone, 24 pairs each encounter."""
    better = [*MIXED, (1.0, 1.0), (1.0, 1.0), (1.0, 0.5), (0.0, 1.0)] * 2
    return [
        *pairs_of("a", "b", better),
        *pairs_of("b", "c", better, start=100),
        *pairs_of("c", "a", [(1.0 - x, 1.0 - y) for x, y in better], start=200),
    ]


@st.composite
def tournaments(draw: st.DrawFn) -> list[Game]:
    """Any games of up to five agents, connected or not, possibly none."""
    result = st.sampled_from([0.0, 0.5, 1.0])
    games: list[Game] = []
    for number in range(draw(st.integers(0, 10))):
        one, other = draw(st.permutations("abcde"))[:2]
        games.append((one, other, draw(result), number))
        if draw(st.booleans()):
            games.append((other, one, draw(result), number))
    return games


def test_a_row_is_a_standing_without_run_and_time() -> None:
    """The caller adds run_id and computed_at and has a row of the dataset, field by field."""
    ours = [field.name for field in dataclasses.fields(StandingRow)]

    contract = [field.name for field in dataclasses.fields(Standing)]
    assert [name for name in contract if name not in {"run_id", "computed_at"}] == ours


def test_standings_of_three_agents() -> None:
    """Rows are ranked, counted, anchored, and each has the chance of being above the next."""
    sheet = standings_of("cab", three_agents(), anchor="b", anchor_elo=1000.0)

    assert [(row.rank, row.agent, row.agent_id) for row in sheet.rows] == [
        (1, "a", "id-a"),
        (2, "b", "id-b"),
        (3, "c", "id-c"),
    ]
    first, second, third = sheet.rows
    assert (second.elo, second.elo_low, second.elo_high) == (1000.0, 1000.0, 1000.0)
    assert first.elo is not None
    assert first.elo_low is not None
    assert first.elo_high is not None
    assert 1000 < first.elo_low < first.elo < first.elo_high < 1300
    # Of its 48 games against each, A won 26, drew 10 and lost 12.
    assert (first.games, first.wins, first.draws, first.losses) == (96, 52, 20, 24)
    assert first.score == pytest.approx((52 + 10) / 96)
    assert first.los_next is not None
    assert 0.9 < first.los_next < 1.0
    assert third.los_next is None
    assert all(row.rated and row.reason is None for row in sheet.rows)
    assert sheet.warnings == ()


def test_two_agents_are_apart_by_the_elo_of_their_score() -> None:
    """The row's figure is what the arithmetic of the score alone gives."""
    games = pairs_of("a", "b", [(1.0, 1.0), (1.0, 0.0), (0.0, 1.0), (0.5, 0.5)] * 5)

    sheet = standings_of("ab", games, anchor="b")

    assert sheet.rows[0].elo == pytest.approx(elo_from_score(5 / 8), abs=1e-6)


def test_differences_agree_with_the_rows() -> None:
    """Each two agents are listed once, the higher first, and agree with the intervals of the anchored rows."""
    sheet = standings_of("abc", three_agents(), anchor="c", anchor_elo=-50.0)

    rows = {row.agent: row for row in sheet.rows}
    assert [(entry.agent, entry.versus) for entry in sheet.differences] == [("a", "b"), ("a", "c"), ("b", "c")]
    to_anchor = sheet.differences[1]
    assert rows["a"].elo == pytest.approx(to_anchor.elo - 50.0)
    assert rows["a"].elo_low == pytest.approx(to_anchor.low - 50.0)
    assert rows["a"].elo_high == pytest.approx(to_anchor.high - 50.0)
    assert [rows["a"].los_next, rows["b"].los_next] == [sheet.differences[0].los, sheet.differences[2].los]


def test_the_mean_without_an_anchor() -> None:
    """Without an anchor the mean of the rated agents has the anchor's rating."""
    sheet = standings_of("abc", three_agents(), anchor_elo=1500.0)

    ratings = [row.elo for row in sheet.rows if row.elo is not None]
    assert math.fsum(ratings) / 3 == pytest.approx(1500.0)
    assert all(row.elo_high != row.elo_low for row in sheet.rows)


@pytest.mark.parametrize(
    ("anchor", "words"), [("d", "the anchor d has no counting game"), ("z", "the anchor z is no entrant")]
)
def test_an_unusable_anchor_falls_back_to_the_mean_and_says_so(anchor: str, words: str) -> None:
    """An anchor that did not play cannot hold the scale; a warning tells what does instead."""
    sheet = standings_of("abcd", three_agents(), anchor=anchor, anchor_elo=100.0)

    ratings = [row.elo for row in sheet.rows if row.elo is not None]
    assert math.fsum(ratings) / 3 == pytest.approx(100.0)
    assert len(sheet.warnings) == 1
    assert words in sheet.warnings[0]
    assert "mean of the pool" in sheet.warnings[0]


def test_agents_without_games_are_unrated_with_the_reason() -> None:
    """An agent whose games were all void, and one found unfit, are listed last without figures."""
    names = ["idle", "broken", "a", "b"]
    games = pairs_of("a", "b", MIXED)
    sheet = compute_standings(
        entrants=[
            Entrant(agent="idle", agent_id="1", voids=3),
            Entrant(agent="broken", agent_id="2", remark="found unfit: exit code 127"),
            Entrant(agent="a", agent_id="3", forfeits=2),
            Entrant(agent="b", agent_id="4"),
        ],
        games=GameColumns(
            first_agent=np.array([names.index(game[0]) for game in games]),
            second_agent=np.array([names.index(game[1]) for game in games]),
            first_score=np.array([game[2] for game in games]),
            pair=np.array([game[3] for game in games]),
        ),
        anchor="b",
    )

    first, _, broken, idle = sheet.rows
    assert (first.agent, first.forfeits) == ("a", 2)
    assert (broken.rank, broken.agent, broken.rated, broken.elo, broken.score) == (3, "broken", False, None, None)
    assert broken.reason == "no counting game; found unfit: exit code 127"
    assert (idle.rank, idle.agent, idle.voids, idle.reason) == (4, "idle", 3, "no counting game")


def test_agents_apart_from_the_anchor_are_unrated() -> None:
    """The anchor's pool is rated even if it is the smaller one; the others keep their counts and say why."""
    games = three_agents() + pairs_of("x", "y", MIXED, start=500)

    sheet = standings_of("abcxy", games, anchor="x")

    assert [(row.agent, row.rated) for row in sheet.rows] == [
        ("x", True),
        ("y", True),
        ("a", False),
        ("b", False),
        ("c", False),
    ]
    apart = sheet.rows[2]
    assert apart.reason == "no chain of games connects it to the anchor x"
    assert (apart.games, apart.elo, apart.los_next) == (96, None, None)
    assert sheet.warnings == ("3 agents played but no chain of games connects them to the anchor x",)
    assert [(entry.agent, entry.versus) for entry in sheet.differences] == [("x", "y")]


def test_without_an_anchor_the_largest_pool_is_rated() -> None:
    """The smaller pool is unrated and told so."""
    games = three_agents() + pairs_of("x", "y", MIXED, start=500)

    sheet = standings_of("xyabc", games)

    assert [row.agent for row in sheet.rows if row.rated] == ["a", "b", "c"]
    assert sheet.rows[3].reason == "no chain of games connects it to the largest pool"


@pytest.mark.parametrize("names", ["", "a", "abc"])
def test_no_games_rate_nobody(names: str) -> None:
    """Without a game everybody is listed, unrated, with the reason; nothing is raised."""
    sheet = standings_of(names, [], anchor="a")

    assert [row.agent for row in sheet.rows] == list(names)
    assert all(not row.rated and row.reason == "no counting game" for row in sheet.rows)
    assert sheet.differences == ()
    assert sheet.draw_rate is None
    assert sheet.first_move_elo is None
    assert sheet.crosstable.games.shape == (len(names), len(names))


def test_a_perfect_score_says_what_was_added() -> None:
    """Winner and loser of all games have finite ratings and a reason; an agent beyond them has none."""
    games = pairs_of("a", "b", MIXED * 3) + pairs_of("a", "z", [(1.0, 1.0)] * 12, start=100)

    sheet = standings_of("abz", games, anchor="b")

    reasons = {row.agent: row.reason for row in sheet.rows}
    assert reasons["z"] == "no finite estimate (it lost every game): one virtual draw added against a"
    assert reasons["a"] is not None
    assert "all points between groups of agents went one way" in reasons["a"]
    assert "one virtual draw added against z" in reasons["a"]
    assert reasons["b"] is None
    assert sheet.rows[2].agent == "z"
    assert (sheet.rows[2].draws, sheet.rows[2].games) == (0, 24)  # the virtual draw is not among its games
    assert sheet.warnings == ("1 encounters were given one virtual draw (see reason)",)


@pytest.mark.parametrize(
    ("score", "words"),
    [
        (1.0, "no finite estimate (it won every game): one virtual draw added against b"),
        (0.5, "interval widened: it rests on few opening pairs (1)"),
        (0.0, "no finite estimate (it lost every game): one virtual draw added against b"),
    ],
)
def test_one_game_is_rated_with_its_reason(score: float, words: str) -> None:
    """An agent that played once has a finite rating on the right side, hundreds of Elo wide, and moves nobody else."""
    others = pairs_of("a", "b", MIXED * 3)
    without = standings_of("ab", others, anchor="a")

    sheet = standings_of("abz", [*others, ("z", "b", score, 999)], anchor="a")

    rows = {row.agent: row for row in sheet.rows}
    z, b = rows["z"], rows["b"]
    assert z.reason is not None
    assert z.reason.startswith(words)
    assert z.elo is not None
    assert z.elo_low is not None
    assert z.elo_high is not None
    assert b.elo is not None
    assert z.elo_high - z.elo_low > 500
    assert {1.0: z.elo > b.elo + 100, 0.5: abs(z.elo - b.elo) < 100, 0.0: z.elo < b.elo - 100}[score]
    if score != 0.5:
        assert b.elo == pytest.approx(next(row.elo for row in without.rows if row.agent == "b"), abs=1e-6)


def test_a_pair_of_draws_says_what_its_interval_rests_on() -> None:
    """One opening pair cannot scatter: the interval is the model's, hundreds of Elo wide, and the row says so."""
    sheet = standings_of("ab", pairs_of("a", "b", [(0.5, 0.5)]), anchor="a")

    assert sheet.rows[0].reason is None  # the anchor's own interval is a point
    assert sheet.rows[1].reason == "interval by the model alone: one opening pair shows no spread"
    assert sheet.rows[1].elo_high is not None
    assert sheet.rows[1].elo_high > 200


def test_a_group_placed_by_virtual_draws_says_so_in_every_row() -> None:
    """Also who met nobody of the other group stands apart by virtual draws; the anchor's own group does not."""
    games = pairs_of("a", "b", MIXED * 2) + pairs_of("c", "d", MIXED * 2, start=50)
    games += pairs_of("b", "c", [(1.0, 1.0)] * 12, start=100)

    sheet = standings_of("abcd", games, anchor="a")

    reasons = {row.agent: row.reason for row in sheet.rows}
    assert reasons == {
        "a": None,
        "b": "no finite distance to others (all points between groups of agents went one way): "
        "one virtual draw added against c",
        "c": "no finite distance to others (all points between groups of agents went one way): "
        "one virtual draw added against b",
        "d": "its distance to others rests on virtual draws of agents it is in a group with",
    }


def test_only_one_side_winning_says_so() -> None:
    """If moving first decides everything, nobody scored perfectly and the reason is another."""
    sheet = standings_of("ab", pairs_of("a", "b", [(1.0, 0.0)] * 12), anchor="a")

    assert sheet.rows[1].reason is not None
    assert "the results do not bound the first-move advantage" in sheet.rows[1].reason
    assert sheet.first_move_low is not None
    assert sheet.first_move_elo is not None
    assert sheet.first_move_high is not None
    assert sheet.first_move_low < sheet.first_move_elo < sheet.first_move_high


def test_many_virtual_opponents_are_not_all_named() -> None:
    """A reason stays one readable line however many opponents there were."""
    games = [game for k, name in enumerate("bcdefg") for game in pairs_of("a", name, [(1.0, 1.0)], start=10 * k)]

    sheet = standings_of("abcdefg", games)

    assert sheet.rows[0].reason is not None
    assert "it won every game" in sheet.rows[0].reason
    assert "added against b, c, d and 3 more" in sheet.rows[0].reason


def test_few_pairs_say_that_the_interval_was_widened() -> None:
    """With three pairs alike the interval is not theirs but the model's, and the row says so."""
    sheet = standings_of("ab", pairs_of("a", "b", [(1.0, 0.0), (0.0, 1.0), (0.5, 0.5)]), anchor="a")

    assert sheet.rows[0].reason is None  # the anchor's own interval is a point
    assert sheet.rows[1].reason == "interval widened: it rests on few opening pairs (3)"


def test_pairs_alike_say_that_the_interval_was_widened() -> None:
    """Forty drawn pairs show no spread either; the row gives their number."""
    sheet = standings_of("ab", pairs_of("a", "b", [(0.5, 0.5)] * 40), anchor="a")

    assert sheet.rows[1].reason == "interval widened: the 40 opening pairs it rests on hardly differ"
    assert sheet.rows[1].elo == pytest.approx(0.0, abs=1e-9)
    assert sheet.rows[1].elo_low is not None
    assert sheet.rows[1].elo_low < -10


def test_sides_never_swapped_are_warned_of() -> None:
    """If the schedule confounds side and strength, a warning says what was assumed."""
    sheet = standings_of("ab", [("a", "b", score, k) for k, score in enumerate([1.0, 0.0, 0.5, 1.0])])

    assert sheet.first_move_elo is None
    assert len(sheet.warnings) == 1
    assert "sides were never swapped" in sheet.warnings[0]


def test_the_matrix_says_what_the_differences_say() -> None:
    """Each against each: differences by rank, no error with oneself, and chances that add up to one."""
    sheet = standings_of("abc", three_agents(), anchor="c")

    matrix, chances = sheet.matrix, sheet.matrix.superiority()
    assert matrix.agents == ("a", "b", "c")
    assert [matrix.elo[0] - matrix.elo[1], chances[0, 1]] == pytest.approx(
        [sheet.differences[0].elo, sheet.differences[0].los]
    )
    assert np.diagonal(matrix.errors).tolist() == [0.0, 0.0, 0.0]
    assert chances + chances.T == pytest.approx(np.ones((3, 3)))


def test_crosstable_is_in_the_order_of_the_rows() -> None:
    """Points and games of each against each; a row's points add up to its score."""
    games = three_agents() + pairs_of("y", "x", [(1.0, 0.5)], start=500)
    sheet = standings_of("xybca", games, anchor="c")

    table = sheet.crosstable
    assert table.agents == tuple(row.agent for row in sheet.rows) == ("a", "b", "c", "x", "y")
    assert table.games.tolist()[0] == [0, 48, 48, 0, 0]
    assert table.points[4].tolist() == [0.0, 0.0, 0.0, 1.5, 0.0]
    assert (table.points + table.points.T).tolist() == table.games.tolist()
    for row, points in zip(sheet.rows, table.points.sum(axis=1), strict=True):
        assert row.score == pytest.approx(points / row.games)


def test_two_entrants_of_one_name_are_refused() -> None:
    """Rows are read by name; two of a name could not be told apart."""
    with pytest.raises(RatingError, match="called a"):
        standings_of("aba", [])


@pytest.mark.parametrize("anchor_elo", [math.nan, math.inf])
def test_an_anchor_without_a_rating_is_refused(anchor_elo: float) -> None:
    """A scale hung on no number would make every figure none."""
    with pytest.raises(RatingError, match="not finite"):
        standings_of("ab", [], anchor_elo=anchor_elo)


@settings(max_examples=80, deadline=None)
@given(tournaments(), st.sampled_from([None, "a", "c"]))
def test_every_sheet_is_complete_and_finite(games: list[Game], anchor: str | None) -> None:
    """Everybody is listed once; rated rows have ordered figures, unrated ones a reason; JSON finds no nan."""
    sheet = standings_of("abcde", games, anchor=anchor, anchor_elo=25.0)

    assert sorted(row.agent for row in sheet.rows) == list("abcde")
    assert [row.rank for row in sheet.rows] == [1, 2, 3, 4, 5]
    figures = [*map(dataclasses.asdict, sheet.rows), *map(dataclasses.asdict, sheet.differences)]
    assert "NaN" not in json.dumps(figures, allow_nan=False)
    rated = [row for row in sheet.rows if row.rated]
    assert sheet.rows[: len(rated)] == tuple(rated)
    assert len(sheet.differences) == len(rated) * (len(rated) - 1) // 2
    for row in sheet.rows:
        assert row.games == row.wins + row.draws + row.losses
        if not row.rated:
            assert row.reason
            assert (row.elo, row.elo_low, row.elo_high, row.los_next) == (None, None, None, None)
            continue
        assert row.elo is not None
        assert row.elo_low is not None
        assert row.elo_high is not None
        if row.agent == anchor:
            assert (row.elo_low, row.elo, row.elo_high) == (25.0, 25.0, 25.0)
        else:
            assert row.elo_low < row.elo - 20
            assert row.elo_high > row.elo + 20
    for above, below in itertools.pairwise(rated):
        assert above.elo is not None
        assert below.elo is not None
        assert above.elo >= below.elo - 1e-5
        assert above.los_next is not None
        assert 0.499 <= above.los_next <= 1.0
    for entry in sheet.differences:
        assert entry.low < entry.elo < entry.high


@settings(max_examples=40, deadline=None)
@given(tournaments(), st.floats(-3000, 3000))
def test_the_anchors_rating_only_shifts(games: list[Game], anchor_elo: float) -> None:
    """Another rating of the anchor moves all figures by as much and changes nothing else."""
    ours = standings_of("abcde", games, anchor="a")

    shifted = standings_of("abcde", games, anchor="a", anchor_elo=anchor_elo)

    assert [entry.agent for entry in shifted.differences] == [entry.agent for entry in ours.differences]
    assert [entry.los for entry in shifted.differences] == pytest.approx([entry.los for entry in ours.differences])
    for row, moved in zip(ours.rows, shifted.rows, strict=True):
        assert (row.agent, row.reason) == (moved.agent, moved.reason)
        if row.elo_low is not None:
            assert moved.elo_low == pytest.approx(row.elo_low + anchor_elo, abs=1e-6)


@settings(max_examples=40, deadline=None)
@given(tournaments())
def test_the_choice_of_anchor_changes_no_difference(games: list[Game]) -> None:
    """Differences are the same whichever agent of the pool holds the scale."""
    held_by_b = standings_of("abcde", games, anchor="b")
    held_by_a = standings_of("abcde", games, anchor="a")
    rated_by_b = {row.agent for row in held_by_b.rows if row.rated}
    rated_by_a = {row.agent for row in held_by_a.rows if row.rated}

    by_agents = {(entry.agent, entry.versus): entry for entry in held_by_a.differences}
    if rated_by_a == rated_by_b:
        assert len(by_agents) == len(held_by_b.differences)
        for entry in held_by_b.differences:
            other = by_agents[entry.agent, entry.versus]
            assert (entry.elo, entry.low, entry.high, entry.los) == pytest.approx(
                (other.elo, other.low, other.high, other.los), abs=1e-5
            )
