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
from test_store_schemas import game_record, void_record

from banzuke.errors import StorageError
from banzuke.record import GameRecord
from storage import compaction
from storage.atomic import LocalFiles
from storage.game_store import GameStore
from storage.parts import MERGED_PARTS_KEY, to_parquet
from storage.schemas import GAMES, to_rows, to_table

if TYPE_CHECKING:
    from pathlib import Path

GAMES_RECORDED = 6


@pytest.fixture
def store(tmp_path: Path) -> GameStore:
    """Six games in six parts, recorded in another order than they are numbered."""
    filled = GameStore(str(tmp_path / "store"))
    filled.create_run("nightly", {"created_at": "2026-05-01T12:00:00+00:00"})
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
    """One file takes the place of all parts, names them, and has its rows in the order of (game_no, attempt)."""
    parts = names_in(folder)
    store.record("nightly", [game_record(game_no=1, attempt=3)])
    store.record("nightly", [void_record(game_no=1, attempt=2)])

    done = store.compact("nightly")

    [merged] = folder.iterdir()
    rows = pd.read_parquet(merged)
    assert compaction.Compaction(merged=8, rows=8, damaged=(), is_busy=False) == done
    assert [(0, 1), (1, 1), (1, 2), (1, 3), (2, 1), (3, 1), (4, 1), (5, 1)] == [
        *zip(rows["game_no"], rows["attempt"], strict=True)
    ]
    assert set(parts) < set(json.loads(pq.read_metadata(merged).metadata[b"banzuke.merged_parts"]))
    assert GAMES == pq.read_schema(merged).remove_metadata()


def test_compacting_again_changes_nothing(store: GameStore, folder: Path) -> None:
    """A compacted run, a run of one part and a run without games are left alone."""
    store.compact("nightly")
    before = names_in(folder)
    store.record("single", [game_record("single")])
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


def test_damaged_and_strange_parts_stay_where_they_are(store: GameStore, folder: Path) -> None:
    """What cannot be merged without loss is not touched: damaged files, and those with columns unknown here."""
    (folder / "part-damaged.parquet").write_bytes(b"PAR1 no")
    later = to_table([game_record(game_no=6)], GameRecord).append_column("opening_eval", pa.array([17]))
    pq.write_table(later, folder / "part-later.parquet")

    done = store.compact("nightly")

    [merged] = [name for name in names_in(folder) if name.startswith("merged-")]
    assert ["part-damaged.parquet"] == [part.path.rpartition("/")[2] for part in done.damaged]
    assert [merged, "part-damaged.parquet", "part-later.parquet"] == names_in(folder)
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
from storage import atomic
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
if where == "write":
    os.fsync = Countdown(os.fsync, allowed)
elif where == "publish":
    os.link = Countdown(os.link, allowed)
else:
    delete = Countdown(atomic.LocalFiles.delete, allowed)
    atomic.LocalFiles.delete = lambda self, name: delete(self, name)
GameStore(address).compact("nightly")
"""


def killed_compaction(store: GameStore, where: str, allowed: int) -> None:
    """A process that compacts and kills itself at its next such step after so many."""
    command = [sys.executable, "-c", KILLED_AT, store.uri, where, str(allowed)]
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
        store.record("nightly", [game_record(game_no=game_no)])

    done = store.compact("nightly")

    assert (3, 3, False) == (done.merged, done.rows, done.is_busy)
    assert list(range(3)) == game_numbers(store)
    assert 0 == store.compact("nightly").merged
