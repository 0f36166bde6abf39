"""What of several runs is further evidence."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from banzuke.ratings.repetition import LARGEST_CLUSTER, OpeningColumns, are_alike, opening_clusters, repeats
from banzuke.ratings.scores import GameColumns
from banzuke.ratings.standings import Entrant, Standings, compute_standings

Game = tuple[int, int, int, int, int, int]
"""Run, first agent, second agent, opening, course, seed."""


def columns_of(games: list[Game]) -> tuple[OpeningColumns, np.ndarray]:
    """The games as columns, and their courses."""
    table = np.array(games, dtype=np.int64).reshape(-1, 6)
    run, first, second, opening, course, seed = table.T
    return OpeningColumns(run=run, first=first, second=second, opening=opening, seed=seed), course


def counted(games: list[Game]) -> list[Game]:
    """The games that are rated, sorted."""
    columns, course = columns_of(games)
    is_repeat = repeats(columns, course)
    return sorted(game for game, left_out in zip(games, is_repeat.tolist(), strict=True) if not left_out)


@st.composite
def stores(draw: st.DrawFn) -> list[Game]:
    """Games of three agents in up to four runs, some of them the same."""
    game = st.tuples(
        st.integers(0, 3),
        st.integers(0, 2),
        st.integers(1, 2),
        st.integers(0, 3),
        st.sampled_from([0, 0, 0, 1]),
        st.integers(0, 1),
    )
    return [
        (run, first, (first + step) % 3, opening, course if first else seed, seed)
        for run, first, step, opening, course, seed in draw(st.lists(game, max_size=25))
    ]


def plainly(games: list[Game]) -> Counter[tuple[int, ...]]:
    """How often each course (with agents, sides and opening) counts, worked out game by game."""
    by_opening = cells_of(games, lambda game: game[1:4])
    by_seed = cells_of(games, lambda game: (*game[1:4], game[5]))
    torn, torn_by_seed = torn_encounters(by_opening), torn_encounters(by_seed)
    counts: Counter[tuple[int, ...]] = Counter()
    for cells, are_ours in (
        (by_opening, lambda met: met not in torn),
        (by_seed, lambda met: met in torn),
    ):
        for cell, runs in cells.items():
            met = frozenset(cell[:2])
            once = len(runs) > 1 and (met not in torn or met not in torn_by_seed)
            if are_ours(met):
                for ways in [max(runs.values(), key=len)] if once else runs.values():
                    counts.update((*cell[:3], way) for way in ways)
    return counts


Cells = dict[tuple[int, ...], dict[int, list[int]]]


def cells_of(games: list[Game], cell: Callable[[Game], tuple[int, ...]]) -> Cells:
    """The courses of each cell by run."""
    found: Cells = defaultdict(lambda: defaultdict(list))
    for game in games:
        found[cell(game)][game[0]].append(game[4])
    return found


def torn_encounters(cells: Cells) -> set[frozenset[int]]:
    """Who played a cell that several runs share in two ways."""
    return {
        frozenset(cell[:2])
        for cell, runs in cells.items()
        if len(runs) > 1 and len({way for ways in runs.values() for way in ways}) > 1
    }


@given(stores())
def test_what_counts_is_what_plain_python_counts(games: list[Game]) -> None:
    """Of every course as many games count as going through them one by one says."""
    found = Counter(game[1:5] for game in counted(games))

    assert plainly(games) == found


@given(stores(), st.randoms(use_true_random=False))
def test_the_order_of_games_does_not_matter(games: list[Game], chance: object) -> None:
    """Shuffled games give the same selection."""
    shuffled = list(games)
    chance.shuffle(shuffled)  # type: ignore[attr-defined] - a random.Random

    assert counted(games) == counted(shuffled)


@given(stores())
def test_a_single_run_counts_whole(games: list[Game]) -> None:
    """Nothing of one run is left out, however often it repeats itself."""
    one = [(0, *game[1:]) for game in games]

    assert sorted(one) == counted(one)


def test_a_game_that_went_differently_lets_all_count() -> None:
    """Agents that once played a shared opening in two ways are not deterministic: each of their games is evidence."""
    alike = [(run, 0, 1, opening, 7, run) for run in (0, 1) for opening in range(5)]
    others = [(run, 0, 2, opening, 7, run) for run in (0, 1) for opening in range(5)]

    assert 5 == len(counted(alike))
    torn = [*alike, (0, 1, 0, 9, 7, 5), (1, 1, 0, 9, 8, 5), *others]
    assert 12 + 5 == len(counted(torn))


def test_agents_that_draw_lots_repeat_themselves_by_seed() -> None:
    """What went differently with another seed only is the same game again where the seed is."""
    games = [(run, 0, 1, opening, seed, seed) for run, seed in ((0, 1), (1, 1), (2, 2)) for opening in range(5)]

    assert 10 == len(counted(games))
    assert 15 == len(counted([*games[:-1], (2, 0, 1, 3, 9, 1)]))


def test_kept_is_the_oldest_run_that_has_most() -> None:
    """Two games of one run outweigh one of an older; of equals the older run's stay."""
    games = [(0, 0, 1, 0, 7, 0), (1, 0, 1, 0, 7, 0), (1, 0, 1, 0, 7, 0), (1, 0, 1, 1, 7, 0), (2, 0, 1, 1, 7, 0)]

    assert [(1, 0, 1, 0, 7, 0), (1, 0, 1, 0, 7, 0), (1, 0, 1, 1, 7, 0)] == counted(games)


def test_nothing_shared_is_nothing_alike() -> None:
    """Where no opening is shared there is nothing to be compared, and no moves need be read."""
    columns, course = columns_of([(0, 0, 1, 0, 7, 0), (1, 0, 1, 1, 7, 0), (1, 0, 2, 0, 7, 0)])

    assert not are_alike(columns, course).any()


def test_games_of_one_opening_are_one_cluster_until_it_is_full() -> None:
    """A cluster is two agents and an opening, either side first; no more games than ratings take of a pair."""
    many = [(run, run % 2, 1 - run % 2, 0, run, 0) for run in range(2 * LARGEST_CLUSTER + 1)]
    columns, _ = columns_of([*many, (0, 0, 1, 1, 0, 0), (0, 0, 2, 0, 0, 0)])

    clusters = opening_clusters(columns)

    sizes = np.bincount(clusters)
    assert [1, 1, 1, LARGEST_CLUSTER, LARGEST_CLUSTER] == sorted(sizes.tolist())
    assert clusters[0] == clusters[LARGEST_CLUSTER - 1] != clusters[LARGEST_CLUSTER]


def rated(games: list[tuple[Game, float]]) -> Standings:
    """Standings of the games that count, clustered by opening."""
    columns, course = columns_of([game for game, _ in games])
    kept = ~repeats(columns, course)
    return compute_standings(
        entrants=[Entrant(agent=name, agent_id=name) for name in "abc"],
        games=GameColumns(
            first_agent=columns.first[kept],
            second_agent=columns.second[kept],
            first_score=np.array([score for _, score in games])[kept],
            pair=opening_clusters(columns)[kept],
        ),
        anchor="a",
    )


def a_run(seed: int, run: int, *, openings_from: int = 0) -> list[tuple[Game, float]]:
    """Three agents, twenty openings each encounter, both ways."""
    chance = np.random.default_rng(seed)
    return [
        ((run, first, second, opening, int(chance.integers(2**60)), 0), float(chance.integers(3)) / 2)
        for low, high in ((0, 1), (0, 2), (1, 2))
        for opening in range(openings_from, openings_from + 20)
        for first, second in ((low, high), (high, low))
    ]


def test_a_run_with_its_copy_is_rated_as_the_run() -> None:
    """The same games of deterministic agents once more change no figure, whichever run is the older."""
    run = a_run(1, 1)
    copy = [((0, *game[1:]), score) for game, score in run]

    assert rated(run).rows == rated([*run, *copy]).rows == rated([*copy, *run]).rows


def test_copies_that_are_not_recognised_do_not_shorten_intervals() -> None:
    """Where one game differs all count, and a cluster that is there twice makes no interval much shorter."""
    run = a_run(2, 0)
    copy = [((1, *game[1:]), score) for game, score in run]
    for place in (0, 40, 80):  # one game of each encounter
        (_, first, second, opening, course, seed), score = copy[place]
        copy[place] = ((1, first, second, opening, course + 1, seed), score)
    new = a_run(3, 1, openings_from=100)

    alone, with_copy, with_new = (rated(games) for games in (run, [*run, *copy], [*run, *new]))

    def width(standings: Standings) -> float:
        row = next(row for row in standings.rows if row.agent == "b")
        assert row.elo_low is not None
        assert row.elo_high is not None
        return row.elo_high - row.elo_low

    assert 240 == sum(row.games for row in with_copy.rows) / 2 == sum(row.games for row in with_new.rows) / 2
    assert width(with_copy) == pytest.approx(width(alone), rel=0.02)
    assert width(with_new) < 0.85 * width(alone)


def four_nights(seed: int, *, deterministic: bool) -> list[tuple[Game, float]]:
    """Three equal agents play the same fifteen openings on four nights; each opening suits one of the two better."""
    chance = np.random.default_rng(seed)
    met = ((0, 1), (0, 2), (1, 2))
    suits = chance.normal(0.0, 200.0, (len(met), 15))
    thrown = np.broadcast_to(chance.random((len(met), 15, 2)), (4, len(met), 15, 2))
    if not deterministic:
        thrown = chance.random((4, len(met), 15, 2))
    games: list[tuple[Game, float]] = []
    for night, encounter, opening, slot in np.ndindex(*thrown.shape):
        low, high = met[encounter]
        first, second = ((low, high), (high, low))[slot]
        better = suits[encounter, opening] * (1 - 2 * slot) + 30.0
        number = float(thrown[night, encounter, opening, slot])
        score = float(number < 1.0 / (1.0 + 10.0 ** (-better / 400.0)))
        games.append(((night, first, second, opening, int(number * 2**53), 0), score))
    return games


@pytest.mark.parametrize("deterministic", [True, False])
def test_intervals_of_several_nights_hold_the_truth(*, deterministic: bool) -> None:
    """95 % intervals of equal agents hold 0 about so often, far more rarely if nights are taken for new evidence."""
    held, naive = [], []
    for seed in range(80):
        games = four_nights(seed, deterministic=deterministic)
        # Every night under opening numbers and courses of its own is what taking them for new evidence is.
        apart = [((*game[:3], game[3] + 15 * game[0], *game[4:]), score) for game, score in games]
        for standings, found in ((rated(games), held), (rated(apart), naive)):
            for row in standings.rows:
                if row.agent != "a":
                    assert row.elo_low is not None
                    assert row.elo_high is not None
                    found.append(row.elo_low <= 0.0 <= row.elo_high)

    assert np.mean(held) > 0.9
    assert np.mean(naive) < 0.88
