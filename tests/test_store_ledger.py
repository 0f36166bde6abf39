"""What is planned, recorded, counting and missing: from the rows alone."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from test_store_schemas import NOON, game_record, planned_game, void_record

from banzuke.errors import StorageError
from banzuke.outcome import Side, Status, Termination
from storage.game_store import GameStore
from storage.ledger import Ledger, Tallies, VoidCause

if TYPE_CHECKING:
    from pathlib import Path

    from banzuke.record import GameRecord


@pytest.fixture
def store(tmp_path: Path) -> GameStore:
    """A run of six planned games, planned in another order than they are numbered."""
    planned = GameStore(str(tmp_path / "store"))
    planned.create_run("nightly", {"created_at": "2026-05-01T12:00:00+00:00"})
    planned.write_plan("nightly", [planned_game(game_no=game_no) for game_no in (5, 0, 1, 2, 3, 4)])
    return planned


def ids(*game_nos: int) -> list[str]:
    return [planned_game(game_no=game_no).game_id for game_no in game_nos]


def counting_attempts(store: GameStore) -> dict[str, str]:
    rows = Ledger(store, "nightly").counting()
    return dict(zip(rows["game_id"].to_pylist(), rows["attempt_id"].to_pylist(), strict=True))


def test_before_the_first_game_everything_is_missing(store: GameStore) -> None:
    """A planned run without a row misses every game, in the plan's order."""
    ledger = Ledger(store, "nightly")

    assert ids(5, 0, 1, 2, 3, 4) == ledger.missing_ids()
    assert Tallies(planned=6, counting=0, forfeits=0, void=0, missing=6) == ledger.tallies()
    assert {} == ledger.attempts()
    assert {} == ledger.last_void()
    assert 0 == ledger.counting().num_rows
    assert ids(5, 0, 1, 2, 3, 4) == [game.game_id for game in ledger.plan]


def test_played_forfeited_void_and_missing_games_are_told_apart(store: GameStore) -> None:
    """Every planned game is counting, still void, or missing; games without a result are missing ids."""
    forfeit = {"status": Status.FORFEIT, "termination": Termination.TIME_FORFEIT, "fault": Side.SECOND}
    store.record("nightly", [game_record(game_no=0), game_record(game_no=1, **forfeit)])
    store.record("nightly", [void_record(game_no=2), void_record(game_no=3)])
    store.record("nightly", [game_record(game_no=3, attempt=2)])

    ledger = Ledger(store, "nightly")

    assert Tallies(planned=6, counting=3, forfeits=1, void=1, missing=2) == ledger.tallies()
    assert ids(5, 2, 4) == ledger.missing_ids()
    assert dict(zip(ids(0, 1, 2, 3), (1, 1, 1, 2), strict=True)) == ledger.attempts()
    assert dict(zip(ids(3), (2,), strict=True)) == ledger.attempts(ids(3, 4))
    assert 1 == ledger.repeated_attempts()
    assert set(ids(0, 1, 3)) == set(counting_attempts(store))


def test_the_latest_void_attempt_says_why(store: GameStore) -> None:
    """A game that is still void is reported by its latest attempt; one that was played since is not."""
    first = void_record(game_no=2, attempt=1)
    latest = void_record(
        game_no=2, attempt=3, termination=Termination.MEMORY_LIMIT, fault=None, detail="5.1 GiB > 4 GiB"
    )
    between = void_record(game_no=2, attempt=2)
    store.record("nightly", [latest])
    store.record("nightly", [between, first])
    store.record("nightly", [void_record(game_no=3), game_record(game_no=3, attempt=2), void_record(game_no=4)])

    causes = Ledger(store, "nightly").last_void()

    assert {
        ids(2)[0]: VoidCause(termination="memory_limit", fault=None, detail="5.1 GiB > 4 GiB"),
        ids(4)[0]: VoidCause(termination="agent_crash", fault=Side.SECOND, detail="exit code 3: out of ideas"),
    } == causes


EARLIER, LATER = NOON, NOON + timedelta(microseconds=1)


@pytest.mark.parametrize(
    ("winner", "others"),
    [
        pytest.param(
            game_record(attempt=1, attempt_id="z", started_at=LATER),
            [game_record(attempt=2, attempt_id="a", started_at=EARLIER)],
            id="smaller-attempt",
        ),
        pytest.param(
            game_record(attempt=2, attempt_id="z", started_at=EARLIER),
            [game_record(attempt=2, attempt_id="a", started_at=LATER)],
            id="earlier-start",
        ),
        pytest.param(
            game_record(attempt=2, attempt_id="a", started_at=NOON),
            [game_record(attempt=2, attempt_id=name, started_at=NOON) for name in ("b", "aa", "c")],
            id="smaller-id",
        ),
        pytest.param(
            game_record(attempt=9, attempt_id="z", started_at=LATER),
            [void_record(attempt=1, attempt_id="a", started_at=EARLIER)],
            id="voids-never-count",
        ),
    ],
)
@pytest.mark.parametrize("winner_comes", ["first", "last"])
def test_one_result_of_several_counts(
    store: GameStore, winner: GameRecord, others: list[GameRecord], winner_comes: str
) -> None:
    """The counting row is the non-void one with the smallest (attempt, start, id), in whatever order they came."""
    order = [winner, *others] if winner_comes == "first" else [*others, winner]
    for record in order:
        store.record("nightly", [record])

    assert {winner.game_id: winner.attempt_id} == counting_attempts(store)
    store.compact("nightly")
    assert {winner.game_id: winner.attempt_id} == counting_attempts(store)
    assert Tallies(planned=6, counting=1, forfeits=0, void=0, missing=5) == Ledger(store, "nightly").tallies()


def test_file_times_mean_nothing(store: GameStore, tmp_path: Path) -> None:
    """Touching the files in any way changes no answer."""
    store.record("nightly", [game_record(attempt=1)])
    store.record("nightly", [game_record(attempt=2)])
    parts = sorted((tmp_path / "store/games/nightly").glob("*.parquet"))

    for times in ((10**9, 2 * 10**9), (2 * 10**9, 10**9)):
        for part, time in zip(parts, times, strict=True):
            os.utime(part, (time, time))
        assert {game_record().game_id: game_record(attempt=1).attempt_id} == counting_attempts(store)


def test_games_nobody_planned_are_ignored(store: GameStore) -> None:
    """Rows of games that are not in the plan change nothing."""
    store.record("nightly", [game_record(game_no=77), void_record(game_no=78)])

    ledger = Ledger(store, "nightly")

    assert Tallies(planned=6, counting=0, forfeits=0, void=0, missing=6) == ledger.tallies()
    assert {} == ledger.attempts()
    assert {} == ledger.last_void()


def test_a_damaged_part_is_reported_and_its_games_are_missing(store: GameStore, tmp_path: Path) -> None:
    """What cannot be read counts as not recorded, and the ledger says which file it is."""
    store.record("nightly", [game_record(game_no=0)])
    [part] = (tmp_path / "store/games/nightly").glob("*.parquet")
    part.write_bytes(part.read_bytes()[:-10])
    store.record("nightly", [game_record(game_no=1)])

    ledger = Ledger(store, "nightly")

    assert ids(5, 0, 2, 3, 4) == ledger.missing_ids()
    assert [str(part)] == [damaged.path for damaged in ledger.damaged]


def test_a_run_without_a_plan_has_no_ledger(tmp_path: Path) -> None:
    """Without a plan nothing can be missing, and that is said."""
    store = GameStore(str(tmp_path))
    store.create_run("nightly", {})

    with pytest.raises(StorageError, match="run nightly has no plan"):
        Ledger(store, "nightly").missing_ids()
