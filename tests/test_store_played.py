"""What is to be known of each game beside its result."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from test_store_schemas import game_record, record, void_record

from banzuke.errors import UnknownRunError
from banzuke.outcome import Side, Status, Termination
from storage.counting import game_courses
from storage.game_store import GameStore
from storage.played import played_games

if TYPE_CHECKING:
    from pathlib import Path

LATE = {"status": Status.FORFEIT, "termination": Termination.TIME_FORFEIT, "winner": Side.SECOND, "fault": Side.FIRST}


@pytest.fixture
def store(tmp_path: Path) -> GameStore:
    return GameStore(str(tmp_path / "store"))


def test_games_by_run_and_number(store: GameStore) -> None:
    """Openings, pairs, scores, endings and forfeits on time stand in the order of runs and numbers."""
    record(store, "b", [game_record("b", 3), game_record("b", 0, **LATE)])
    record(store, "b", [game_record("b", 2, winner=None, termination=Termination.MAX_PLIES), void_record("b", 5)])
    record(store, "a", [game_record("a", 0, opening_id="opening-1"), game_record("a", 1, plies=5)])

    games = played_games(store, ["b", "a", "b"])

    assert [0, 0, 0, 1, 1] == games.counting.run.tolist()
    assert games.circumstances is not None
    assert [0, 2, 3, 0, 1] == games.counting.game_no.tolist()
    assert [2**62 + number for number in (0, 2, 3, 0, 1)] == games.circumstances.seed.tolist()
    assert [0.0, 0.5, 1.0, 1.0, 1.0] == games.counting.first_score.tolist()
    assert ["opening-0", "opening-1", "opening-1", "opening-1", "opening-0"] == [
        games.openings[index] for index in games.opening
    ]
    assert [True, False, False, False, False] == games.is_time_forfeit.tolist()
    assert [("material-2", "m" * 64), ("random", "r" * 64)] == [
        games.agents[index] for index in (games.first[0], games.second[0])
    ]
    assert games.counting.pair[1] == games.counting.pair[2]
    assert 3 == len(set(games.counting.pair.tolist()))
    ending = games.circumstances.ending
    assert ending[2] == ending[3]
    assert 4 == len(set(ending.tolist()))
    assert [6, 6] == games.attempts.tolist()


def test_how_an_agent_stood_when_it_failed(store: GameStore) -> None:
    """Its own last score counts, then its opponent's turned round; of several attempts at a game the latest."""
    record(
        store,
        "nightly",
        [
            void_record(game_no=0, fault=Side.FIRST, evals=(-500, 10, None, 20)),
            void_record(game_no=2, fault=Side.SECOND, evals=(700, None, 800, None, None)),
            void_record(game_no=4, fault=Side.FIRST, evals=(700, None)),
            void_record(game_no=4, attempt=2, fault=Side.FIRST, evals=(-7, None, -9, None)),
            void_record(game_no=6, fault=Side.SECOND, evals=None),
            void_record(game_no=8, fault=Side.FIRST, evals=()),
            void_record(game_no=10, fault=None, evals=(1, 2), termination=Termination.CANCELLED),
            game_record(game_no=10, attempt=2),
        ],
    )

    faulty = played_games(store, ["nightly"]).faulty

    expected = [-500.0, -800.0, -9.0, np.nan, np.nan]
    agents = played_games(store, ["nightly"]).agents
    assert ["material-2", "random", "material-2", "random", "material-2"] == [
        agents[index][0] for index in faulty.agent
    ]
    np.testing.assert_array_equal(expected, faulty.eval_cp)


def test_nothing_played(store: GameStore) -> None:
    """A run without games has none; runs that are not there, or none at all, are errors."""
    store.create_run("nightly", {})
    record(store, "daily", [game_record("daily")])

    assert played_games(store, ["daily"]).circumstances is None
    assert (0, 0, ()) == (
        (games := played_games(store, ["nightly"])).counting.run.size,
        games.faulty.agent.size,
        games.agents,
    )
    with pytest.raises(UnknownRunError):
        played_games(store, ["nowhere"])
    with pytest.raises(UnknownRunError):
        played_games(store, [])


def test_courses_agree_where_games_do(store: GameStore) -> None:
    """Equal start and moves give equal fingerprints in every file and run, and anything else gives others."""
    start = "4k4/9/9/9/9/9/9/9/4K4 b -"
    record(store, "a", [game_record("a", 1), game_record("a", 0), game_record("a", 2, moves=("7g7f",))])
    record(store, "b", [game_record("b", 4), game_record("b", 5, start_position=start), void_record("b", 6)])

    (numbers_a, courses_a), (numbers_b, courses_b) = (game_courses(store, run_id) for run_id in ("a", "b"))

    assert ([0, 1, 2], [4, 5]) == (numbers_a.tolist(), numbers_b.tolist())
    assert courses_a[0] == courses_a[1] == courses_b[0]
    assert 3 == len({courses_a[0], courses_a[2], courses_b[1]})
