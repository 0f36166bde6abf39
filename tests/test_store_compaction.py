"""Compaction: few files of many, whatever is killed when, and however many do it at once."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from test_store_schemas import game_record, planned_game, record, run_document, void_record

from banzuke.errors import StorageError
from banzuke.outcome import Status
from banzuke.record import GameRecord
from storage import compaction
from storage.atomic import LocalFiles
from storage.game_store import GameStore
from storage.ledger import Ledger
from storage.parts import MERGED_PARTS_KEY, to_parquet
from storage.schemas import GAMES, to_rows, to_table

if TYPE_CHECKING:
    from pathlib import Path

GAMES_RECORDED = 6


@pytest.fixture
def store(tmp_path: Path) -> GameStore:
    """Six games in six parts, recorded in another order than they are numbered."""
    filled = GameStore(str(tmp_path / "store"))
    filled.create_run("nightly", run_document())
    for game_no in (4, 2, 0, 5, 1, 3):
        filled.record("nightly", [game_record(game_no=game_no)])
    return filled


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "store" / "games" / "nightly"


def names_in(folder: Path) -> list[str]:
    """Everything in the folder, hidden files too."""
    return sorted(entry.name for entry in folder.iterdir())


def game_numbers(store: GameStore) -> list[int]:
    return sorted(record.game_no for record in to_rows(store.games("nightly").table, GameRecord))


def plainly_read(folder: Path) -> list[int]:
    """What a reader sees that knows nothing of us."""
    with duckdb.connect() as connection:
        rows = connection.sql(f"select game_no from '{folder}/*.parquet' order by 1").fetchall()  # noqa: S608 - own folder
    return [game_no for (game_no,) in rows]


def test_parts_become_one_sorted_file(store: GameStore, folder: Path) -> None:
    """One file takes the place of all parts, names them, and has results by number and then void attempts."""
    parts = names_in(folder)
    store.record("nightly", [void_record(game_no=1, attempt=3)])
    store.record("nightly", [void_record(game_no=1, attempt=2)])

    done = store.compact("nightly")

    [merged] = folder.iterdir()
    rows = pd.read_parquet(merged)
    assert compaction.Compaction(merged=8, rows=8, damaged=(), is_busy=False) == done
    assert [(0, 1), (1, 1), (2, 1), (3, 1), (4, 1), (5, 1), (1, 2), (1, 3)] == [
        *zip(rows["game_no"], rows["attempt"], strict=True)
    ]
    assert set(parts) < set(json.loads(pq.read_metadata(merged).metadata[b"banzuke.merged_parts"]))
    assert GAMES == pq.read_schema(merged).remove_metadata()


def test_void_attempts_are_read_without_the_results(store: GameStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """They have a stretch of the merged file of their own, and only that is read for them."""
    monkeypatch.setattr("storage.parts._FEW_ROWS", 1)
    store.record("nightly", [void_record(game_no=1, attempt=3), void_record(game_no=0, attempt=2)])
    store.compact("nightly")

    void = store.games("nightly", ["game_no", "attempt"], status=Status.VOID).table

    assert [(0, 2), (1, 3)] == [(row["game_no"], row["attempt"]) for row in void.to_pylist()]
    assert 8 == store.games("nightly", ["game_no"]).table.num_rows


def test_compacting_again_changes_nothing(store: GameStore, folder: Path) -> None:
    """A compacted run, a run of one part and a run without games are left alone."""
    store.compact("nightly")
    before = names_in(folder)
    record(store, "single", [game_record("single")])
    store.create_run("empty", {})

    for run_id in ("nightly", "single", "empty", "unknown"):
        assert compaction.Compaction(merged=0, rows=0, damaged=(), is_busy=False) == store.compact(run_id)

    assert before == names_in(folder)
    assert not (folder.parent / "empty").exists()
    assert not (folder.parent.parent / "runs" / "unknown").exists()


def test_later_parts_join_the_merged_file(store: GameStore, folder: Path) -> None:
    """What was recorded after a compaction is in one file with the rest after the next."""
    store.compact("nightly")
    store.record("nightly", [game_record(game_no=6)])
    store.compact("nightly")

    assert 1 == len(names_in(folder))
    assert list(range(7)) == plainly_read(folder)


def test_a_full_file_is_left_alone(store: GameStore, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No more rows than a full file has are merged at a time; full files are never rewritten."""
    monkeypatch.setattr(compaction, "FULL_FILE_ROWS", 4)

    store.compact("nightly")

    assert [2, 4] == sorted(pq.read_metadata(path).num_rows for path in folder.iterdir())
    [full] = [path.name for path in folder.iterdir() if pq.read_metadata(path).num_rows == 4]
    store.record("nightly", [game_record(game_no=6)])
    store.compact("nightly")
    assert full in names_in(folder)
    assert 2 == len(names_in(folder))
    assert list(range(7)) == plainly_read(folder)


def test_the_list_of_parts_stays_short(store: GameStore, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of more parts than a footer should name, some are merged first and what comes of them again, into one file."""
    monkeypatch.setattr(compaction, "MOST_NAMES", 2)
    store.record("nightly", [game_record(game_no=6)])

    done = store.compact("nightly")

    [merged] = folder.iterdir()
    assert 2 >= len(json.loads(pq.read_metadata(merged).metadata[MERGED_PARTS_KEY]))
    assert done.merged > 7
    assert list(range(7)) == plainly_read(folder)
    assert 0 == store.compact("nightly").merged


def test_parts_of_a_later_version_stay_as_they_are(store: GameStore, folder: Path) -> None:
    """What cannot be merged without losing columns unknown here is not touched."""
    later = to_table([game_record(game_no=6)], GameRecord).append_column("opening_eval", pa.array([17]))
    pq.write_table(later, folder / "part-later.parquet")

    done = store.compact("nightly")

    [merged] = [name for name in names_in(folder) if name.startswith("merged-")]
    assert ((), ()) == (done.damaged, done.set_aside)
    assert [merged, "part-later.parquet"] == names_in(folder)
    assert [17] == pq.read_table(folder / "part-later.parquet")["opening_eval"].to_pylist()
    assert list(range(7)) == game_numbers(store)


def test_a_list_of_parts_is_not_believed(store: GameStore, folder: Path) -> None:
    """A merged file that names parts whose rows it does not hold, or names paths, gets nothing deleted."""
    claimed = [*names_in(folder), "../../../runs/nightly/run.json", "merged-liar.parquet"]
    liar = to_parquet(to_table([game_record(game_no=3)], GameRecord), merged_from=claimed)
    (folder / "merged-liar.parquet").write_bytes(liar)
    odd = pq.ParquetWriter(folder / "merged-odd.parquet", GAMES)
    odd.add_key_value_metadata({MERGED_PARTS_KEY.decode(): '{"no": "list"}'})
    odd.close()

    store.record("nightly", [game_record(game_no=6)])
    assert list(range(7)) == game_numbers(store)
    store.compact("nightly")

    assert list(range(7)) == game_numbers(store)
    assert list(range(7)) == plainly_read(folder)
    assert "nightly" in store.run_ids()


# Killed

KILLED_AT = """
import os, signal, sys
from pathlib import Path
from storage import atomic, compaction
from storage.game_store import GameStore

class Countdown:
    def __init__(self, real, allowed):
        self.real, self.allowed = real, allowed
    def __call__(self, *arguments, **options):
        if self.allowed == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        self.allowed -= 1
        return self.real(*arguments, **options)

address, where, allowed = sys.argv[1], sys.argv[2], int(sys.argv[3])
compaction.MOST_NAMES = int(sys.argv[4])
if where == "write":
    os.fsync = Countdown(os.fsync, allowed)
elif where == "publish":
    os.link = Countdown(os.link, allowed)
else:
    delete = Countdown(atomic.LocalFiles.delete, allowed)
    atomic.LocalFiles.delete = lambda self, name: delete(self, name)
GameStore(address).compact("nightly")
"""


def killed_compaction(store: GameStore, where: str, allowed: int, most_names: int = 256) -> None:
    """A process that compacts and kills itself at its next such step after so many."""
    command = [sys.executable, "-c", KILLED_AT, store.uri, where, str(allowed), str(most_names)]
    killed = subprocess.run(command, timeout=60, check=False)
    assert -signal.SIGKILL == killed.returncode


def lasting_files(folder: Path) -> tuple[int, int, int]:
    """How many parts, merged files and temporary files there are."""
    names = names_in(folder)
    return (
        sum(name.startswith("part-") for name in names),
        sum(name.startswith("merged-") for name in names),
        sum(name.startswith(".") for name in names),
    )


@pytest.mark.parametrize(
    ("where", "allowed", "left"),
    [
        pytest.param("write", 0, (6, 0, 1), id="while-writing"),
        pytest.param("publish", 0, (6, 0, 1), id="before-publication"),
        pytest.param("write", 1, (6, 1, 0), id="after-publication"),
        pytest.param("delete", 0, (6, 1, 0), id="before-the-first-delete"),
        pytest.param("delete", 3, (3, 1, 0), id="half-of-the-deletes"),
        pytest.param("delete", 5, (1, 1, 0), id="before-the-last-delete"),
    ],
)
def test_a_killed_compaction_is_finished_by_the_next(
    store: GameStore, folder: Path, where: str, allowed: int, left: tuple[int, int, int]
) -> None:
    """Nothing is lost, every attempt is read once at once, and the next one leaves one file and no litter."""
    killed_compaction(store, where, allowed)
    assert left == lasting_files(folder)
    assert list(range(6)) == game_numbers(store)

    store.compact("nightly")

    assert (0, 1, 0) == lasting_files(folder)
    assert list(range(6)) == plainly_read(folder)


@pytest.mark.parametrize(("where", "allowed"), [("publish", 2), ("delete", 3), ("delete", 7), ("delete", 9)])
def test_a_compaction_killed_between_its_rounds_is_finished_by_the_next(
    store: GameStore, folder: Path, where: str, allowed: int
) -> None:
    """Six parts are three files, then two, then one; whichever of them was there, nothing is lost or left."""
    killed_compaction(store, where, allowed, most_names=2)
    assert list(range(6)) == game_numbers(store)

    store.compact("nightly")

    assert (0, 1, 0) == lasting_files(folder)
    assert list(range(6)) == plainly_read(folder)


def test_a_killed_compaction_is_finished_by_who_records_next(store: GameStore, folder: Path) -> None:
    """Opening the run for writing is enough for plain readers to see every attempt once again."""
    killed_compaction(store, "delete", 3)

    GameStore(store.uri).record("nightly", [game_record(game_no=6)])

    assert (1, 1, 0) == lasting_files(folder)
    assert list(range(7)) == plainly_read(folder)


def test_compactions_killed_one_after_the_other_lose_nothing(store: GameStore, folder: Path) -> None:
    """Each of several compactions in turn is killed at another step, with games recorded in between."""
    steps = [("delete", 1), ("write", 1), ("publish", 0), ("delete", 2)]
    for number, (where, allowed) in enumerate(steps, start=GAMES_RECORDED):
        killed_compaction(store, where, allowed)
        store.record("nightly", [game_record(game_no=number)])
        assert list(range(number + 1)) == game_numbers(store)

    store.compact("nightly")

    assert (0, 1, 0) == lasting_files(folder)
    assert list(range(GAMES_RECORDED + len(steps))) == plainly_read(folder)


def test_recording_outlives_a_compaction_that_cannot_be_finished(
    store: GameStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the leftovers cannot be deleted the game is kept all the same, and compaction says why it fails."""
    killed_compaction(store, "delete", 3)

    def refuse(_: LocalFiles, name: str) -> None:
        raise StorageError(f"cannot delete {name}: Read-only file system")

    monkeypatch.setattr(LocalFiles, "delete", refuse)
    newcomer = GameStore(store.uri)
    newcomer.record("nightly", [game_record(game_no=6)])

    assert list(range(7)) == game_numbers(newcomer)
    with pytest.raises(StorageError, match="Read-only file system"):
        newcomer.compact("nightly")
    assert list(range(7)) == game_numbers(newcomer)
    assert (4, 1, 0) == lasting_files(folder)


# Races


def raced_numbers(store: GameStore) -> list[tuple[int, int]]:
    rows = to_rows(store.raced("nightly").table, GameRecord)
    return sorted((row.game_no, row.attempt) for row in rows)


def results(folder: Path) -> list[tuple[int, int]]:
    """The results a plain reader sees, as (game_no, attempt)."""
    rows = pd.read_parquet(folder)
    rows = rows[rows["status"] != "void"]
    return sorted(zip(rows["game_no"].tolist(), rows["attempt"].tolist(), strict=True))


EVERY_RESULT = [(game_no, 1) for game_no in range(GAMES_RECORDED)]


def test_a_result_that_lost_a_race_is_moved_away(store: GameStore, folder: Path) -> None:
    """Plain readers see one result per game, the one that counts; the other is kept whole in a dataset of its own."""
    loser, other = game_record(game_no=1, attempt=2), game_record(game_no=4, attempt=3)
    store.record("nightly", [loser, void_record(game_no=2, attempt=2)])
    store.record("nightly", [other])

    done = store.compact("nightly")

    assert (2, 7) == (done.raced, done.rows)
    assert EVERY_RESULT == results(folder)
    assert [loser, other] == sorted(to_rows(store.raced("nightly").table, GameRecord), key=lambda row: row.game_no)
    [part] = (folder.parent.parent / "raced/games/nightly").iterdir()
    assert GAMES == pq.read_schema(part)
    assert part.name.startswith("part-")
    assert 0 == store.compact("nightly").merged
    assert (0, 1, 0) == lasting_files(folder)


def test_a_race_lost_by_a_row_of_a_full_file_is_settled(
    store: GameStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file is rewritten however large it is if one of its rows lost; other full files are left alone."""
    monkeypatch.setattr(compaction, "FULL_FILE_ROWS", 3)
    store.record("nightly", [game_record(game_no=3, attempt=4)])
    store.compact("nightly")
    before = {path.name: pq.read_table(path)["game_no"].to_pylist() for path in folder.iterdir()}
    store.record("nightly", [game_record(game_no=6, attempt=2), game_record(game_no=7), game_record(game_no=8)])
    store.compact("nightly")
    store.record("nightly", [game_record(game_no=6)])

    done = store.compact("nightly")

    assert 1 == done.raced
    assert [(3, 4), (6, 2)] == raced_numbers(store)
    assert [*EVERY_RESULT, (6, 1), (7, 1), (8, 1)] == results(folder)
    assert set(before) <= set(names_in(folder))


def test_a_race_against_a_full_file_is_settled(store: GameStore, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new row that lost against one in a full file goes, and the full file stays as it is; no file is left empty."""
    monkeypatch.setattr(compaction, "FULL_FILE_ROWS", 6)
    store.compact("nightly")
    full = names_in(folder)
    store.record("nightly", [game_record(game_no=2, attempt=2)])

    done = store.compact("nightly")

    assert (1, 0) == (done.raced, done.rows)
    assert full == names_in(folder)
    assert [(2, 2)] == raced_numbers(store)


def test_nobody_loses_against_a_row_that_cannot_be_read(store: GameStore, folder: Path) -> None:
    """If what would count is damaged in any column, the other result stays and counts."""
    [winner] = [path for path in folder.iterdir() if 3 in pq.read_table(path)["game_no"].to_pylist()]
    whole = bytearray(winner.read_bytes())
    whole[whole.index(b"8h2b+")] ^= 1
    winner.write_bytes(whole)
    store.record("nightly", [game_record(game_no=3, attempt=2)])

    done = store.compact("nightly", thorough=False)

    assert ([winner.name], 0) == ([path.path.rpartition("/")[2] for path in done.set_aside], done.raced)
    assert (3, 2) in results(folder)
    assert [] == raced_numbers(store)


def test_a_result_of_a_later_version_stays(store: GameStore, folder: Path) -> None:
    """A loser in a file with columns unknown here is not taken out of it; one that loses against it is moved."""
    for game_no, attempt in ((1, 2), (2, 1)):
        row = to_table([game_record(game_no=game_no, attempt=attempt, attempt_id=f"a{game_no}")], GameRecord)
        later = row.append_column("opening_eval", pa.array([17]))
        pq.write_table(later, folder / f"part-later-{game_no}.parquet")

    store.compact("nightly")

    assert [(0, 1), (1, 1), (1, 2), (2, 1), (3, 1), (4, 1), (5, 1)] == results(folder)
    assert ["nightly-g000002-1"] == store.raced("nightly").table["attempt_id"].to_pylist()


def test_a_loser_recorded_again_is_kept_once(store: GameStore, folder: Path) -> None:
    """A retry that records a moved attempt again does not bring it back, nor double it."""
    for _ in range(2):
        store.record("nightly", [game_record(game_no=1, attempt=2)])
        store.compact("nightly")
    store.record("nightly", [game_record(game_no=1, attempt=2), game_record(game_no=1, attempt=3)])
    store.compact("nightly")

    assert [(1, 2), (1, 3)] == raced_numbers(store)
    assert 2 == len(pd.read_parquet(folder.parent.parent / "raced/games/nightly"))
    assert EVERY_RESULT == results(folder)


def test_a_damaged_file_of_losers_is_replaced(store: GameStore, folder: Path) -> None:
    """Losers whose file was damaged before they were gone from the games are written again."""
    store.record("nightly", [game_record(game_no=1, attempt=2)])
    killed_compaction(store, "delete", 0)
    [part] = (folder.parent.parent / "raced/games/nightly").iterdir()
    part.write_bytes(b"")

    store.compact("nightly", thorough=False)

    assert [(1, 2)] == raced_numbers(store)
    assert EVERY_RESULT == results(folder)
    assert (folder.parent.parent / "damaged/raced/games/nightly" / part.name).exists()


def test_a_settled_race_is_still_an_attempt(store: GameStore) -> None:
    """The ledger's count of attempts does not change when a loser is moved."""
    store.write_plan("nightly", [planned_game(game_no=game_no) for game_no in range(GAMES_RECORDED)])
    store.record("nightly", [game_record(game_no=1, attempt=2)])
    before = Ledger(store, "nightly").attempts()
    store.compact("nightly")

    assert before == Ledger(store, "nightly").attempts()
    assert 1 == Ledger(store, "nightly").repeated_attempts()
    assert 2 == before[game_record(game_no=1).game_id]


RACED_STEPS = [
    pytest.param("write", 0, id="while-making-the-folder"),
    pytest.param("write", 2, id="while-writing-the-losers"),
    pytest.param("publish", 0, id="before-the-losers"),
    pytest.param("publish", 1, id="after-the-losers"),
    pytest.param("write", 4, id="while-writing-the-rest"),
    *(pytest.param("delete", allowed, id=f"after-{allowed}-deletes") for allowed in range(8)),
]


@pytest.mark.parametrize(("where", "allowed"), RACED_STEPS)
@pytest.mark.parametrize("next_one", ["compact", "record"])
def test_a_killed_settlement_is_finished_by_the_next(
    store: GameStore, folder: Path, where: str, allowed: int, next_one: str
) -> None:
    """At no step is a row in neither dataset; the next compaction leaves one result per game, and no litter."""
    store.record("nightly", [game_record(game_no=1, attempt=2), void_record(game_no=1, attempt=3)])
    store.record("nightly", [game_record(game_no=4, attempt=2)])
    killed_compaction(store, where, allowed)
    kept = {
        row.attempt_id
        for scanned in (store.games("nightly"), store.raced("nightly"))
        for row in to_rows(scanned.table, GameRecord)
    }
    assert 9 == len(kept)
    assert {attempt_id for attempt_id in kept if attempt_id.endswith("-1")} <= set(
        store.games("nightly", ["attempt_id"]).table["attempt_id"].to_pylist()
    )
    if next_one == "record":
        GameStore(store.uri).record("nightly", [void_record(game_no=5, attempt=9)])

    store.compact("nightly")

    assert [(1, 2), (4, 2)] == raced_numbers(store)
    assert EVERY_RESULT == results(folder)
    assert (0, 1, 0) == lasting_files(folder)
    assert 2 == len(pd.read_parquet(folder.parent.parent / "raced/games/nightly"))
    assert not list((folder.parent.parent / "raced").rglob(".*"))


def test_a_killed_settlement_is_tidied_up_by_who_records_next(store: GameStore, folder: Path) -> None:
    """A part whose rows are in the merged file and among the losers goes, without another compaction."""
    store.record("nightly", [game_record(game_no=1, attempt=2), void_record(game_no=1, attempt=3)])
    killed_compaction(store, "delete", 0)
    assert (7, 1, 0) == lasting_files(folder)

    GameStore(store.uri).record("nightly", [game_record(game_no=6)])

    assert (1, 1, 0) == lasting_files(folder)
    assert [*EVERY_RESULT, (6, 1)] == results(folder)
    assert [(1, 2)] == raced_numbers(store)


# Several at once

HOLDS_THE_LOCK = """
import sys
from storage.atomic import LocalFiles
from storage.game_store import GameStore
publish = LocalFiles.publish
def wait(self, name, payload, **options):
    print("merging", flush=True)
    sys.stdin.readline()
    publish(self, name, payload, **options)
LocalFiles.publish = wait
GameStore(sys.argv[1]).compact("nightly")
"""


def test_a_second_compaction_leaves_the_first_alone(store: GameStore, folder: Path) -> None:
    """While one process compacts, another is told it is busy; recording and reading go on meanwhile."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDS_THE_LOCK, store.uri], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as first:
        assert first.stdin is not None
        assert first.stdout is not None
        assert b"merging\n" == first.stdout.readline()
        assert store.compact("nightly").is_busy
        GameStore(store.uri).record("nightly", [game_record(game_no=6)])
        assert list(range(7)) == game_numbers(store)
        first.stdin.close()
        first.wait(60)

    assert 0 == first.returncode
    assert (1, 1, 0) == lasting_files(folder)
    assert list(range(7)) == plainly_read(folder)


def test_a_killed_holder_does_not_keep_the_lock(store: GameStore) -> None:
    """The lock of a killed process is free at once."""
    killed_compaction(store, "publish", 0)

    assert not store.compact("nightly").is_busy


def test_without_a_working_lock_two_compactions_do_no_harm(
    store: GameStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even if two merge the same parts into two files, attempts are read once, and the next compaction tidies up."""
    publish = LocalFiles.publish

    def compacted_elsewhere_first(files: LocalFiles, name: str, payload: bytes, *, replace: bool = False) -> None:
        monkeypatch.setattr(LocalFiles, "publish", publish)
        (folder.parent.parent / "runs/nightly/.compaction.lock").unlink()
        other = GameStore(store.uri).compact("nightly")
        assert 6 == other.merged
        publish(files, name, payload, replace=replace)

    monkeypatch.setattr(LocalFiles, "publish", compacted_elsewhere_first)
    store.compact("nightly")

    assert (0, 2, 0) == lasting_files(folder)
    assert list(range(6)) == game_numbers(store)
    store.compact("nightly")
    assert (0, 1, 0) == lasting_files(folder)
    assert list(range(6)) == plainly_read(folder)


def test_a_reader_whose_parts_vanish_looks_again(store: GameStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts that are merged and deleted while they are being read cost the reader no row and no error."""
    opened: list[str] = []
    really_open = LocalFiles.open

    def compacting_after_two(files: LocalFiles, name: str) -> pa.NativeFile:
        opened.append(name)
        if len(opened) == 3:
            monkeypatch.setattr(LocalFiles, "open", really_open)
            assert 6 == GameStore(store.uri).compact("nightly").merged
        return really_open(files, name)

    monkeypatch.setattr(LocalFiles, "open", compacting_after_two)

    assert list(range(6)) == game_numbers(store)
    assert 3 == len(opened)


def test_a_reader_whose_listing_missed_both_looks_again(store: GameStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A listing during which a file was merged may show neither it nor the merged one: the next one decides."""
    really_list = LocalFiles.files
    listings = 0

    def missing_everything_once(files: LocalFiles, folder: str) -> list[str]:
        nonlocal listings
        listings += 1
        return [] if listings == 1 else really_list(files, folder)

    store.compact("nightly")
    monkeypatch.setattr(LocalFiles, "files", missing_everything_once)

    assert list(range(6)) == game_numbers(store)


def test_a_reader_looks_again_until_the_folder_holds_still(store: GameStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """If parts vanish, and the next listing misses the file they went to, the one after it is asked."""
    really_list = LocalFiles.files
    really_open = LocalFiles.open
    listings = 0

    def missing_everything_the_second_time(files: LocalFiles, folder: str) -> list[str]:
        nonlocal listings
        listings += 1
        return [] if listings == 2 else really_list(files, folder)

    def compacting_first(files: LocalFiles, name: str) -> pa.NativeFile:
        monkeypatch.setattr(LocalFiles, "open", really_open)
        monkeypatch.setattr(LocalFiles, "files", really_list)
        GameStore(store.uri).compact("nightly")
        monkeypatch.setattr(LocalFiles, "files", missing_everything_the_second_time)
        return really_open(files, name)

    monkeypatch.setattr(LocalFiles, "files", missing_everything_the_second_time)
    monkeypatch.setattr(LocalFiles, "open", compacting_first)

    assert list(range(6)) == game_numbers(store)


def test_readers_never_miss_a_row_while_others_record_and_compact(store: GameStore) -> None:
    """Whatever was recorded before a read began is in it, each attempt once, under constant compaction."""
    is_over = threading.Event()
    faults: list[str] = []

    def compact_on_and_on() -> None:
        while not is_over.is_set():
            GameStore(store.uri).compact("nightly")

    def read_on_and_on() -> None:
        while not is_over.is_set():
            expected = recorded_so_far
            found = GameStore(store.uri).games("nightly", ["game_no"])
            numbers = sorted(found.table["game_no"].to_pylist())
            if found.damaged or numbers[:expected] != list(range(expected)) or len(set(numbers)) < len(numbers):
                faults.append(f"{expected} recorded, read {numbers}, damaged {found.damaged}")

    recorded_so_far = GAMES_RECORDED
    threads = [threading.Thread(target=work) for work in (compact_on_and_on, compact_on_and_on, read_on_and_on)]
    for thread in threads:
        thread.start()
    for game_no in range(GAMES_RECORDED, 60):
        store.record("nightly", [game_record(game_no=game_no)])
        recorded_so_far = game_no + 1
    is_over.set()
    for thread in threads:
        thread.join(60)

    assert [] == faults
    assert list(range(60)) == game_numbers(store)


def test_an_object_store_is_compacted_too(tmp_path: Path) -> None:
    """On a filesystem without links and locks the same rows end up in one file."""
    store = GameStore(f"memory://{tmp_path.name}")
    for game_no in (2, 0, 1):
        record(store, "nightly", [game_record(game_no=game_no)])

    done = store.compact("nightly")

    assert (3, 3, False) == (done.merged, done.rows, done.is_busy)
    assert list(range(3)) == game_numbers(store)
    assert 0 == store.compact("nightly").merged
