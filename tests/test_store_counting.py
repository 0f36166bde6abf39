"""What ratings are given: the counting games as columns of numbers, and how many are repeats."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_store_schemas import game_record, record, void_record

from banzuke.errors import UnknownRunError
from banzuke.outcome import Side, Status, Termination
from banzuke.ratings.scores import GameColumns, Tally, tally
from storage.counting import IdenticalGroup, counting_games, identical_games
from storage.game_store import GameStore

if TYPE_CHECKING:
    from pathlib import Path

    from storage.counting import CountingGames

DRAW = {"winner": None, "termination": Termination.REPETITION}
SECOND_WINS = {"winner": Side.SECOND}
FORFEIT_OF_FIRST = {
    "status": Status.FORFEIT,
    "termination": Termination.ILLEGAL_MOVE,
    "winner": Side.SECOND,
    "fault": Side.FIRST,
}


@pytest.fixture
def store(tmp_path: Path) -> GameStore:
    return GameStore(str(tmp_path / "store"))


def by_name(games: CountingGames) -> list[tuple[str, str, float]]:
    """Who played whom and how it ended, in the order of the games."""
    return [
        (games.agents[first], games.agents[second], float(score))
        for first, second, score in zip(games.first, games.second, games.first_score, strict=True)
    ]


def test_results_are_seen_from_the_first_side(store: GameStore) -> None:
    """Wins, draws and losses are 1, 0.5 and 0 for the agent that had the first move, in the games' order."""
    record(store, "nightly", [game_record(game_no=2, **DRAW), game_record(game_no=3, **FORFEIT_OF_FIRST)])
    record(store, "nightly", [game_record(game_no=0), game_record(game_no=1, **SECOND_WINS)])

    games = counting_games(store, ["nightly"])

    assert [
        ("material-2", "random", 1.0),
        ("random", "material-2", 0.0),
        ("material-2", "random", 0.5),
        ("random", "material-2", 0.0),
    ] == by_name(games)
    assert ("material-2", "random") == games.agents
    assert ("m" * 64, "r" * 64) == games.agent_ids
    assert [False, False, False, True] == games.is_forfeit.tolist()
    assert [0, 0] == games.void_attempts.tolist()
    assert games.pair[0] == games.pair[1]
    assert games.pair[2] == games.pair[3]
    assert games.pair[0] != games.pair[2]
    assert {np.dtype(np.int32)} == {games.first.dtype, games.second.dtype}
    assert np.dtype(np.int64) == games.pair.dtype
    assert 0 == len(games.void.first)
    assert () == games.damaged


def test_only_the_counting_attempt_is_rated(store: GameStore) -> None:
    """Of a game's attempts one is rated: the first with a result."""
    record(store, "nightly", [void_record(), game_record(attempt=2, **DRAW), game_record(attempt=3)])

    games = counting_games(store, ["nightly"])

    assert [0.5] == games.first_score.tolist()
    assert [0, 1] == games.void_attempts.tolist()
    assert 0 == len(games.void.first)


def test_a_still_void_game_counts_against_who_was_at_fault_last(store: GameStore) -> None:
    """A game without a result has one entry, scored by the fault of its latest attempt."""
    record(
        store,
        "nightly",
        [void_record(game_no=0, fault=Side.SECOND), void_record(game_no=0, attempt=2, fault=Side.FIRST)],
    )
    record(store, "nightly", [void_record(game_no=1, fault=Side.SECOND)])
    record(store, "nightly", [void_record(game_no=2, fault=None, termination=Termination.CANCELLED)])

    games = counting_games(store, ["nightly"])

    assert ["material-2", "random", "material-2"] == [games.agents[index] for index in games.void.first]
    assert ["random", "material-2", "random"] == [games.agents[index] for index in games.void.second]
    assert [0.0, 1.0] == games.void.first_score[:2].tolist()
    assert np.isnan(games.void.first_score[2])
    assert games.void.pair[0] == games.void.pair[1] != games.void.pair[2]
    assert [2, 1] == games.void_attempts.tolist()
    assert 0 == len(games.first)


def test_an_attempt_in_two_files_is_rated_once(store: GameStore, tmp_path: Path) -> None:
    """Where a compaction was interrupted, a row in its part and in the merged file is one result or one void try."""
    record(store, "nightly", [game_record(game_no=0, **DRAW), void_record(game_no=1)])
    record(store, "nightly", [game_record(game_no=2), void_record(game_no=1, attempt=2)])
    parts = {path: path.read_bytes() for path in (tmp_path / "store/games/nightly").iterdir()}
    expected = counting_games(store, ["nightly"])
    store.compact("nightly")
    for path, payload in parts.items():
        path.write_bytes(payload)

    games = counting_games(store, ["nightly"])

    assert by_name(expected) == by_name(games)
    assert [2, 0] == games.void_attempts.tolist()  # game 1: material-2 moves second
    assert 1 == len(games.void.first)


@pytest.mark.parametrize("order", [("b", "a"), ("a", "b")])
def test_results_of_one_moment_are_told_apart_by_their_ids(store: GameStore, order: tuple[str, str]) -> None:
    """Of two results with the same attempt and start, the one with the smaller id counts, whichever file it is in."""
    winners = {"a": Side.FIRST, "b": Side.SECOND}
    for letter in order:
        record(store, "nightly", [game_record(attempt_id=f"x-{letter}", winner=winners[letter])])

    games = counting_games(store, ["nightly"])

    assert [1.0] == games.first_score.tolist()


@settings(max_examples=25, deadline=None)
@given(cut=st.integers(1, 11), order=st.permutations(range(12)))
def test_runs_rated_together_count_as_one_run(
    tmp_path_factory: pytest.TempPathFactory, cut: int, order: list[int]
) -> None:
    """The same pairs in one run or spread over two, recorded in any order, are the same counts."""
    results = [{"winner": Side.FIRST}, DRAW, SECOND_WINS, SECOND_WINS, {"winner": Side.FIRST}, DRAW] * 2
    store = GameStore(str(tmp_path_factory.mktemp("store")))
    for game_no in order:
        late = game_no // 2 >= cut // 2
        for run_id in ("whole", "late" if late else "early"):
            record(store, run_id, [game_record(run_id, game_no, **results[game_no])])
    split = [run_id for run_id in ("late", "early") if store.has_run(run_id)]

    whole, together = (counted(counting_games(store, run_ids)) for run_ids in (["whole"], split))

    assert whole.counts.tolist() == together.counts.tolist()
    assert whole.pattern_counts.tolist() == together.pattern_counts.tolist()
    assert whole.pattern_pairs.tolist() == together.pattern_pairs.tolist()


def counted(games: CountingGames) -> Tally:
    return tally(
        GameColumns(first_agent=games.first, second_agent=games.second, first_score=games.first_score, pair=games.pair),
        len(games.agents),
    )


def test_pairs_of_different_runs_are_different(store: GameStore) -> None:
    """Games of several runs stand one run after the other; no pair reaches across."""
    for run_id in ("b", "a"):
        record(store, run_id, [game_record(run_id, game_no) for game_no in range(4)])

    games = counting_games(store, ["b", "a", "b"])

    assert 8 == len(games.pair)
    assert 4 == len(np.unique(games.pair))
    assert not set(games.pair[:4]) & set(games.pair[4:])


def test_an_agent_is_a_name_and_its_content(store: GameStore) -> None:
    """The same name with other content, and the same content under another name, are agents of their own."""
    record(store, "a", [game_record("a", 0)])
    record(store, "b", [game_record("b", 0, second_agent_id="s" * 64), game_record("b", 2, first_agent="zero")])

    games = counting_games(store, ["a", "b"])

    assert ("material-2", "random", "random", "zero") == games.agents
    assert ("m" * 64, "r" * 64, "s" * 64, "m" * 64) == games.agent_ids
    assert [0, 0, 3] == games.first.tolist()
    assert [1, 2, 1] == games.second.tolist()


def test_runs_without_games_give_empty_columns(store: GameStore) -> None:
    """A run in which nothing was played has no agents and no games, and is no error."""
    store.create_run("nightly", {})

    games = counting_games(store, ["nightly"])

    assert (0, 0, 0, ()) == (len(games.first), len(games.pair), len(games.void_attempts), games.agents)
    assert 0 == identical_games(store, ["nightly"]).games


def test_unknown_runs_are_errors(store: GameStore) -> None:
    """A run that is not there, or none at all, is not an empty one."""
    for query in (counting_games, identical_games):
        with pytest.raises(UnknownRunError):
            query(store, ["nowhere"])
        with pytest.raises(UnknownRunError):
            query(store, [])


def test_damaged_parts_are_passed_on(store: GameStore, tmp_path: Path) -> None:
    """Who rates is told which files were left out."""
    record(store, "nightly", [game_record()])
    (tmp_path / "store/games/nightly/part-x.parquet").write_bytes(b"")

    games = counting_games(store, ["nightly"])

    assert 1 == len(games.first)
    assert [str(tmp_path / "store/games/nightly/part-x.parquet")] == [part.path for part in games.damaged]


def test_identical_games_are_found_across_files_and_runs(store: GameStore) -> None:
    """Games with the same agents, sides, start and moves are one group, wherever they are stored."""
    record(store, "a", [game_record("a", 0), game_record("a", 1)])
    record(store, "a", [game_record("a", 2), void_record("a", 4)])
    record(store, "b", [game_record("b", 0), game_record("b", 3), game_record("b", 6, moves=())])
    store.compact("a")

    found = identical_games(store, ["a", "b"])

    assert (6, 3, 2) == (found.games, found.repeats, found.groups)
    assert (
        IdenticalGroup(
            first_agent="material-2",
            second_agent="random",
            games=3,
            game_ids=("a-g000000", "a-g000002", "b-g000000"),
        ),
        IdenticalGroup(first_agent="random", second_agent="material-2", games=2, game_ids=("a-g000001", "b-g000003")),
    ) == found.examples


@pytest.mark.parametrize(
    "changes",
    [
        {"moves": ("7g7f", "3c3d", "8h2b+")},
        {"moves": ("3c3d", "7g7f", "8h2b+", "5a6b")},
        {"moves": ("7g7f", "3c3d", "8h2b+", "5a6b", "")},
        {"moves": ("7g7f", "3c3d", "8h2b", "5a6b")},
        {"first_agent": "other"},
        {"second_agent_id": "other"},
        {"start_position": "4k4/9/9/9/9/9/9/9/4K4 b -"},
    ],
)
def test_games_that_differ_in_anything_are_not_identical(store: GameStore, changes: dict[str, str]) -> None:
    """One move more, another order, another agent or another start makes another game."""
    record(store, "nightly", [game_record(game_no=0), game_record(game_no=2, **changes)])

    assert 0 == identical_games(store, ["nightly"]).repeats


@given(
    courses=st.lists(st.lists(st.sampled_from(["7g7f", "3c3d", "P*5e", ""]), max_size=5), min_size=1, max_size=30),
    cuts=st.lists(st.integers(1, 29), max_size=3),
)
def test_repeats_are_counted_as_plain_python_does(
    tmp_path_factory: pytest.TempPathFactory, courses: list[list[str]], cuts: list[int]
) -> None:
    """Whatever the moves and however they are spread over files, the counts are those of comparing lists."""
    store = GameStore(str(tmp_path_factory.mktemp("store")))
    records = [
        game_record(game_no=2 * number, moves=tuple(moves), plies=len(moves)) for number, moves in enumerate(courses)
    ]
    edges = sorted({0, *(cut for cut in cuts if cut < len(records)), len(records)})
    for start, end in pairwise(edges):
        record(store, "nightly", records[start:end])

    found = identical_games(store, ["nightly"], examples=30)

    distinct = {tuple(moves) for moves in courses}
    assert (len(courses), len(courses) - len(distinct)) == (found.games, found.repeats)
    repeated = sorted((courses.count(list(moves)) for moves in distinct), reverse=True)
    assert [size for size in repeated if size > 1] == [group.games for group in found.examples]
