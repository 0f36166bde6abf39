"""The store under fault: damaged files, what killed processes leave, and filesystems that refuse."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import fsspec
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from test_store_schemas import agent_row, evaluation_row, game_record, planned_game, run_document, standing

from banzuke.errors import CorruptPartError, StorageError
from banzuke.record import GameRecord
from storage import damage
from storage.atomic import RemoteFiles
from storage.game_store import GameStore
from storage.ledger import Ledger
from storage.parts import to_parquet
from storage.schemas import to_rows, to_table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PLANNED = 6
NOBODY = 65534


def filled(address: str | Path, games: int = 4) -> GameStore:
    """A run of six planned games, of which some are recorded, each in a part of its own."""
    store = GameStore(str(address))
    store.create_run("nightly", run_document())
    store.write_plan("nightly", [planned_game(game_no=game_no) for game_no in range(PLANNED)])
    store.write_agents("nightly", [agent_row()])
    for game_no in range(games):
        store.record("nightly", [game_record(game_no=game_no)])
    return store


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def store(root: Path) -> GameStore:
    return filled(root)


def parts(root: Path) -> list[Path]:
    return sorted((root / "games/nightly").glob("*.parquet"))


def part_of(root: Path, game_no: int) -> Path:
    return next(path for path in parts(root) if game_no in pq.read_table(path)["game_no"].to_pylist())


def game_numbers(store: GameStore) -> list[int]:
    return sorted(row.game_no for row in to_rows(store.games("nightly").table, GameRecord))


def plainly_read(root: Path) -> list[int]:
    """What readers see that know nothing of us; they fail where one file is damaged."""
    with duckdb.connect() as connection:
        rows = connection.sql(f"select game_no from '{root}/games/*/*.parquet' order by 1").fetchall()  # noqa: S608 - own folder
    found = [game_no for (game_no,) in rows]
    assert found == sorted(pd.read_parquet(root / "games" / "nightly")["game_no"])
    return found


def hidden_in(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob(".*"))


def one_line(refusal: pytest.ExceptionInfo[BaseException], *words: object) -> bool:
    text = str(refusal.value)
    return len(text.splitlines()) == 1 and all(str(word) in text for word in words)


# Damage


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def no_parquet(path: Path) -> None:
    path.write_text("Not at home.")


def of_another_schema(path: Path) -> None:
    pq.write_table(pa.table({"hello": ["world"]}), path)


def of_another_run(path: Path) -> None:
    path.write_bytes(to_parquet(to_table([game_record("other")], GameRecord)))


def with_a_flipped_bit(path: Path) -> None:
    """In a page, whose checksum says so."""
    whole = bytearray(path.read_bytes())
    whole[whole.index(b"8h2b+")] ^= 1
    path.write_bytes(whole)


@pytest.mark.parametrize(
    "spoil", [cut_short, emptied, no_parquet, of_another_schema, of_another_run, with_a_flipped_bit]
)
@pytest.mark.parametrize("thorough", [True, False])
def test_a_damaged_part_is_set_aside(
    store: GameStore, root: Path, spoil: Callable[[Path], None], *, thorough: bool
) -> None:
    """The next compaction moves it out of the dataset; plain readers work again, and its game is missing."""
    part = part_of(root, 2)
    spoil(part)
    left = part.read_bytes()
    [reported] = store.damaged("nightly")

    done = store.compact("nightly", thorough=thorough)

    moved = root / "damaged/games/nightly" / part.name
    [set_aside] = done.set_aside
    assert (str(part), str(moved)) == (reported.path, set_aside.path)
    assert reported.reason == set_aside.reason
    assert 1 == len(set_aside.reason.splitlines())
    assert left == moved.read_bytes()
    assert (set_aside,) == store.damaged("nightly")
    assert [0, 1, 3] == plainly_read(root)
    assert () == Ledger(store, "nightly").damaged
    assert [planned_game(game_no=game_no).game_id for game_no in (2, 4, 5)] == Ledger(store, "nightly").missing_ids()


def test_a_damaged_evaluation_is_set_aside(store: GameStore, root: Path) -> None:
    """What evaluate found is treated as games are."""
    store.write_evaluations("nightly", [evaluation_row(position_id="1")])
    [part] = (root / "evaluations/nightly").iterdir()
    cut_short(part)
    store.write_evaluations("nightly", [evaluation_row(position_id="2")])

    done = store.compact("nightly")

    assert [str(root / "damaged/evaluations/nightly" / part.name)] == [found.path for found in done.set_aside]
    assert done.set_aside == store.damaged("nightly")
    assert ["2"] == pd.read_parquet(root / "evaluations/nightly")["position_id"].tolist()


def test_a_damaged_part_overwrites_none_of_its_name(store: GameStore, root: Path) -> None:
    """A second file of one name is set aside under another; a move that was interrupted is only finished."""
    part = part_of(root, 2)
    for text in ("first", "second"):
        part.write_text(text)
        store.compact("nightly")
    folder = root / "damaged/games/nightly"
    os.link(folder / part.name, part)
    store.compact("nightly")

    second = part.name.replace(".parquet", ".2.parquet")
    assert {part.name: "first", second: "second"} == {path.name: path.read_text() for path in folder.iterdir()}
    assert not part.exists()


def test_a_remote_part_is_set_aside_too(root: Path) -> None:
    """Where there are no renames a damaged object is copied, then deleted; twice over does no harm."""
    filled(root)
    store = GameStore(str(root))
    store._files = RemoteFiles(fsspec.filesystem("file"), str(root))
    part = part_of(root, 2)
    cut_short(part)
    (root / "damaged/games/nightly").mkdir(parents=True)
    shutil.copy(part, root / "damaged/games/nightly" / part.name)

    [set_aside] = store.compact("nightly").set_aside

    assert (root / "damaged/games/nightly" / part.name).as_uri() == set_aside.path
    assert [part.name] == [path.name for path in (root / "damaged/games/nightly").iterdir()]
    assert [0, 1, 3] == plainly_read(root)


def test_a_damaged_page_of_a_full_file_is_found(store: GameStore, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files too large to be merged again are read whole as well, unless that is not asked for."""
    monkeypatch.setattr("storage.compaction.FULL_FILE_ROWS", 4)
    store.compact("nightly")
    [full] = parts(root)
    with_a_flipped_bit(full)
    store.record("nightly", [game_record(game_no=4)])

    assert () == store.compact("nightly", thorough=False).set_aside
    [set_aside] = store.compact("nightly").set_aside

    assert "CRC" in set_aside.reason
    assert [4] == plainly_read(root)


@pytest.mark.parametrize("thorough", [True, False])
def test_a_damaged_merged_file_costs_nothing_while_its_parts_are_there(
    store: GameStore, root: Path, *, thorough: bool
) -> None:
    """Parts are deleted only when the file they went to can be read whole."""
    before = parts(root)
    copies = {path: path.read_bytes() for path in before}
    store.compact("nightly")
    [merged] = parts(root)
    for path, payload in copies.items():
        path.write_bytes(payload)
    with_a_flipped_bit(merged)

    GameStore(str(root)).record("nightly", [game_record(game_no=4)])
    assert set(before) < set(parts(root))
    done = store.compact("nightly", thorough=thorough)

    assert [merged.name] == [Path(found.path).name for found in done.set_aside]
    assert list(range(5)) == plainly_read(root) == game_numbers(store)


def test_later_versions_are_not_damaged(store: GameStore, root: Path) -> None:
    """A file with further columns, or with words that a later version knows, stays in its place."""
    further = to_table([game_record(game_no=4)], GameRecord).append_column("opening_eval", pa.array([17]))
    pq.write_table(further, root / "games/nightly/part-further.parquet")
    later = to_table([game_record(game_no=5, schema_version=2)], GameRecord)
    words = later.set_column(later.column_names.index("status"), "status", pa.array(["postponed"]))
    pq.write_table(words, root / "games/nightly/part-words.parquet")

    done = store.compact("nightly")

    assert () == done.set_aside == store.damaged("nightly")
    assert ["column status says 'postponed'"] == [part.reason for part in done.damaged]
    assert (root / "games/nightly/part-further.parquet").exists()
    assert (root / "games/nightly/part-words.parquet").exists()


def test_a_disk_that_cannot_be_read_is_not_damage(store: GameStore, root: Path) -> None:
    """An input/output error is reported as such, naming the file, and nothing is moved."""
    part = part_of(root, 2)
    part.unlink()
    part.symlink_to("/proc/self/mem")

    with pytest.raises(StorageError) as refusal:
        store.compact("nightly")

    assert one_line(refusal, "cannot read", part, "Input/output error")
    assert not isinstance(refusal.value, CorruptPartError)
    assert part.is_symlink()
    assert not (root / "damaged").exists()


def test_a_network_that_fails_is_not_damage(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a remote filesystem raises while a file is being read is a refusal of the system's, not bad contents."""
    filled(root)
    store = GameStore(str(root))
    store._files = RemoteFiles(fsspec.filesystem("file"), str(root))

    class Failing:
        closed = False

        def seek(self, *_: int) -> int:
            return 0

        def tell(self) -> int:
            return 1000

        def read(self, _: int) -> bytes:
            raise TimeoutError("the other end is silent")

        def close(self) -> None:
            self.closed = True

    monkeypatch.setattr(type(store._files._filesystem), "open", lambda *_, **__: Failing())
    with pytest.raises(StorageError) as refusal:
        store.games("nightly")
    with pytest.raises(StorageError):
        store.compact("nightly", thorough=False)

    assert one_line(refusal, "cannot read", parts(root)[0], "the other end is silent")
    assert not isinstance(refusal.value, CorruptPartError)
    assert not (root / "damaged").exists()


def test_want_of_memory_moves_nothing(store: GameStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that does not fit into memory may be whole: it stays where it is."""

    def ask_for_too_much(*_: object, **__: object) -> pa.Table:
        raise MemoryError("malloc of size 10000000000000 failed")

    read_row_group = pq.ParquetFile.read_row_group
    monkeypatch.setattr(pq.ParquetFile, "read_row_group", ask_for_too_much)
    [reported, *_] = store.damaged("nightly")
    done = store.compact("nightly")
    monkeypatch.setattr(pq.ParquetFile, "read_row_group", read_row_group)

    assert "malloc of size" in reported.reason
    assert ((), 4) == (done.set_aside, len(done.damaged))
    assert [0, 1, 2, 3] == game_numbers(store)


def test_damage_comes_with_what_to_do(store: GameStore, root: Path) -> None:
    """Plan, agents and run.json are asked for by name: one line says which file it is, and how to go on."""
    reads = {
        root / "plans/nightly/plan.parquet": store.read_plan,
        root / "agents/nightly/agents.parquet": store.read_agents,
        root / "runs/nightly/run.json": store.read_run,
    }
    for path, read in reads.items():
        cut_short(path)
        with pytest.raises(CorruptPartError) as refusal:
            read("nightly")
        assert one_line(refusal, f"{path}: ", "under ")

    assert set(map(str, reads)) == {found.path for found in store.damaged("nightly")}


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"run_id": None}, "it lacks 'run_id'"),
        ({"spec": None}, "it lacks 'spec'"),
        ({"fingerprint": None}, "it lacks 'fingerprint'"),
        ({"created_at": None}, "it lacks 'created_at'"),
        ({"spec": "small.toml"}, "its 'spec' is a str, expected dict"),
        ({"fingerprint": 7}, "its 'fingerprint' is a int, expected str"),
        ({"created_at": "yesterday"}, "its 'created_at' is no time: 'yesterday'"),
        ({"run_id": "weekly"}, "it is of another run, 'weekly'"),
    ],
)
def test_a_document_is_checked(store: GameStore, root: Path, changes: dict[str, object], fault: str) -> None:
    """Every run has said which it is, of which spec, and when it began."""
    document = {key: value for key, value in run_document(**changes).items() if value is not None}
    (root / "runs/nightly/run.json").write_text(json.dumps(document))

    with pytest.raises(CorruptPartError) as refusal:
        store.read_run("nightly")

    assert one_line(refusal, f"{root}/runs/nightly/run.json: {fault}; restore it")
    assert ["nightly"] == store.run_ids()


@pytest.mark.parametrize("spoil", [cut_short, emptied, no_parquet, of_another_schema, of_another_run])
def test_damaged_standings_stop_nobody(store: GameStore, root: Path, spoil: Callable[[Path], None]) -> None:
    """They are derived: read as none, named as damaged, and replaced by the next."""
    store.write_standings("nightly", [standing()])
    path = root / "standings/nightly/standings.parquet"
    spoil(path)

    assert [] == store.read_standings("nightly")
    assert [str(path)] == [found.path for found in store.damaged("nightly")]
    store.write_standings("nightly", [standing()])
    assert [standing()] == store.read_standings("nightly")
    assert () == store.damaged("nightly")


def test_a_repaired_file_is_told_from_a_damaged_one(store: GameStore, root: Path) -> None:
    """What was set aside and can be read after all is reported as that."""
    part = part_of(root, 2)
    whole = part.read_bytes()
    cut_short(part)
    store.compact("nightly")
    (root / "damaged/games/nightly" / part.name).write_bytes(whole)

    [found] = store.damaged("nightly")

    assert "set aside earlier; it can be read now: move it back" == found.reason


def test_there_is_an_end_to_namesakes(store: GameStore, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store full of files set aside under one name is an error, not an endless search."""
    monkeypatch.setattr(damage, "_MOST_NAMESAKES", 3)
    part = part_of(root, 2)
    for text in ("first", "second"):
        part.write_text(text)
        store.compact("nightly")
    part.write_text("third")

    with pytest.raises(StorageError) as refusal:
        store.compact("nightly")

    assert one_line(refusal, f"cannot set aside {part}")
    assert "third" == part.read_text()


# Who plays

PLAYS = """
import subprocess, sys
from storage.game_store import GameStore
with GameStore(sys.argv[1]).playing("nightly") as holder:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, close_fds=False)
    print(holder, child.pid, flush=True)
    sys.stdin.readline()
"""


@contextmanager
def playing_elsewhere(address: str | Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the play lock, and a child of it that lives as long."""
    command = [sys.executable, "-c", PLAYS, str(address)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said, child = process.stdout.readline().split()
        assert "None" == said
        try:
            yield process
        finally:
            process.kill()
            os.kill(int(child), signal.SIGKILL)


def test_one_invocation_plays_a_run(root: Path) -> None:
    """While one plays, another is told at once which; before there is a run, and without leaving anything."""
    with playing_elsewhere(root) as process:
        with GameStore(str(root)).playing("nightly") as holder:
            assert holder is not None
            assert (process.pid, os.uname().nodename) == (holder.pid, holder.host)
            assert holder.since is not None
            assert abs((datetime.now(UTC) - holder.since).total_seconds()) < 60
            assert f"process {process.pid} on {os.uname().nodename} (since " in str(holder)
        with GameStore(str(root)).playing("weekly") as holder:
            assert holder is None
        assert process.stdin is not None
        process.stdin.close()
        process.wait(30)

    assert 0 == process.returncode
    assert not root.exists()
    with GameStore(str(root)).playing("nightly") as holder:
        assert holder is None


def test_a_killed_player_holds_nothing(root: Path) -> None:
    """The lock is free the moment its holder is gone, even if a process it started lives on."""
    with playing_elsewhere(root) as process:
        process.kill()
        process.wait(30)

        assert [".playing.lock"] == [path.name for path in (root / "runs/nightly").iterdir()]
        with GameStore(str(root)).playing("nightly") as holder:
            assert holder is None
    assert [] == hidden_in(root)


@pytest.mark.parametrize(
    ("note", "shown"),
    [
        ("", "another process"),
        ("[" * 100_000, "another process"),
        ('{"pid": -1, "host": 7, "since": "soon"}', "another process"),
        ('{"pid": 7, "host": "a\\nb", "since": "0001-01-01T00:00:00+14:00"}', "process 7"),
        ('{"pid": 7, "host": "kyoto"}', "process 7 on kyoto"),
    ],
)
def test_a_holder_may_be_unknown(store: GameStore, root: Path, note: str, shown: str) -> None:
    """Whatever stands in the lock, it is held, and what is known of the holder is said."""
    with store.playing("nightly") as first:
        (root / "runs/nightly/.playing.lock").write_text(note)
        with store.playing("nightly") as second:
            assert first is None
            assert shown == str(second)


# What killed processes leave


def litter(root: Path) -> list[Path]:
    """A dead writer's temporary file in every folder of the run, and two locks nobody holds."""
    folders = [path for path in root.rglob("nightly") if path.is_dir()]
    dead = subprocess.run(
        [sys.executable, "-c", "from storage.atomic import temporary_name; print(temporary_name())"],
        capture_output=True,
        text=True,
        check=True,
    )
    left = [folder / dead.stdout.strip() for folder in folders]
    left += [root / "runs/nightly/.playing.lock", root / "runs/nightly/.compaction.lock"]
    for path in left:
        path.write_bytes(b"half")
    return left


@pytest.mark.parametrize("run_id", ["nightly", None])
def test_what_dead_processes_left_is_swept(store: GameStore, root: Path, run_id: str | None) -> None:
    """In every dataset, and in what was set aside or lost a race; everything else stays."""
    store.write_evaluations("nightly", [evaluation_row()])
    store.write_standings("nightly", [standing()])
    emptied(part_of(root, 3))
    store.record("nightly", [game_record(game_no=0, attempt=2)])
    store.compact("nightly")
    before = sorted(root.rglob("*"))
    left = litter(root)
    other = root / "games/nightly/.nfs0001"
    other.touch()

    store.sweep(run_id)

    assert 10 == len(left)
    assert sorted([*before, other]) == sorted(root.rglob("*"))


def test_a_held_lock_is_not_swept(store: GameStore, root: Path) -> None:
    """Who sweeps while a run is played leaves its lock alone."""
    with playing_elsewhere(root):
        store.sweep()
        with store.playing("nightly") as holder:
            assert holder is not None
    store.sweep()

    assert [] == hidden_in(root)


def test_sweeping_nothing_makes_nothing(root: Path) -> None:
    """A store that is not there stays so."""
    GameStore(str(root)).sweep()
    GameStore(str(root)).sweep("nightly")
    GameStore("memory://nowhere").sweep()

    assert not root.exists()


# Filesystems that refuse


@contextmanager
def powerless() -> Iterator[None]:
    """For a moment without the powers of root, whom no permission stops."""
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)


class SmallDisk:
    """A folder on a filesystem of one megabyte; where none can be mounted, one whose limits are this process's."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        command = ["mount", "-t", "tmpfs", "-o", "size=1m,mode=755", "tmpfs", str(folder)]
        self.is_mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0

    @contextmanager
    def full(self) -> Iterator[None]:
        if not self.is_mounted:
            limits = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
            try:
                yield
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            return
        filler = self.folder / "filler"
        with filler.open("wb", buffering=0) as file, suppress(OSError):
            while file.write(bytes(4096)):
                continue
        yield
        filler.unlink()

    @contextmanager
    def read_only(self) -> Iterator[None]:
        if not self.is_mounted:
            for path in [self.folder, *self.folder.rglob("*")]:
                path.chmod(0o555 if path.is_dir() else 0o444)
            with powerless():
                yield
            for path in [self.folder, *self.folder.rglob("*")]:
                path.chmod(0o755)
            return
        subprocess.run(["mount", "-o", "remount,ro", str(self.folder)], check=True)
        yield
        subprocess.run(["mount", "-o", "remount,rw", str(self.folder)], check=True)

    def unmount(self) -> None:
        if self.is_mounted:
            subprocess.run(["umount", "--lazy", str(self.folder)], check=True)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that everybody may look into, unlike those that pytest makes."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


@pytest.fixture
def disk(open_folder: Path) -> Iterator[SmallDisk]:
    small = SmallDisk(open_folder)
    yield small
    small.unmount()


def test_a_full_disk_loses_nothing(disk: SmallDisk) -> None:
    """Every write says which file did not fit, nothing half-written stays, and once there is room it succeeds."""
    root = disk.folder / "store"
    store = filled(root)
    before = sorted(root.rglob("*"))
    writes: list[Callable[[], object]] = [
        lambda: store.record("nightly", [game_record(game_no=4)]),
        lambda: store.write_standings("nightly", [standing()]),
        lambda: store.write_evaluations("nightly", [evaluation_row()]),
        lambda: store.replace_run("nightly", run_document(host="kyoto")),
        lambda: store.create_run("weekly", run_document("weekly")),
        lambda: store.compact("nightly"),
    ]
    with disk.full():
        for write in writes:
            with pytest.raises(StorageError) as refusal:
                write()
            assert one_line(refusal, "cannot ", root)
        assert [0, 1, 2, 3] == game_numbers(store)
        assert run_document() == store.read_run("nightly")
        assert [] == hidden_in(root)
        assert [path for path in before if path.is_file()] == [
            path for path in sorted(root.rglob("*")) if path.is_file()
        ]

    for write in writes:
        write()

    assert [0, 1, 2, 3, 4] == plainly_read(root) == game_numbers(store)
    assert [standing()] == store.read_standings("nightly")
    assert [] == hidden_in(root)


def test_a_full_disk_does_not_keep_damage_in_place(disk: SmallDisk) -> None:
    """Setting aside needs room for a name only: with room for that, readers work again on a full disk."""
    root = disk.folder / "store"
    store = filled(root)
    part = part_of(root, 2)
    cut_short(part)
    (root / "damaged/games/nightly").mkdir(parents=True)
    with disk.full():
        with pytest.raises(StorageError, match="cannot write"):
            store.compact("nightly")
        assert [0, 1, 3] == plainly_read(root)

    assert (root / "damaged/games/nightly" / part.name).exists()
    assert [] == hidden_in(root)


def test_a_read_only_store_is_read(disk: SmallDisk) -> None:
    """Everything can be read and swept without an error; every write is one line that names its file."""
    root = disk.folder / "store"
    store = filled(root)
    litter(root)
    with disk.read_only():
        store.sweep()
        store.sweep("nightly")
        assert [0, 1, 2, 3] == game_numbers(GameStore(str(root)))
        assert () == store.damaged("nightly")
        assert 4 == Ledger(store, "nightly").tallies().counting
        for write in (
            lambda: store.record("nightly", [game_record(game_no=4)]),
            lambda: store.write_standings("nightly", [standing()]),
            lambda: store.compact("nightly"),
            lambda: store.playing("nightly").__enter__(),
            lambda: store.playing("weekly").__enter__(),
        ):
            with pytest.raises(StorageError, match=r"Read-only file system|Permission denied") as refusal:
                write()
            assert one_line(refusal, "cannot ", root)
    store.sweep()

    assert [] == hidden_in(root)


def test_what_may_not_be_read_is_not_damaged(open_folder: Path) -> None:
    """A part without permission is an error that names it, and stays where it is; so is one that may not be written."""
    root = open_folder / "store"
    store = filled(root)
    part = part_of(root, 2)
    part.chmod(0)
    root.chmod(0o755)
    with powerless():
        with pytest.raises(StorageError) as reading:
            store.games("nightly")
        with pytest.raises(StorageError) as writing:
            store.record("nightly", [game_record(game_no=4)])
        with pytest.raises(StorageError) as locking:
            store.playing("nightly").__enter__()
    (root / "games/nightly").chmod(0)
    with powerless(), pytest.raises(StorageError) as listing:
        store.games("nightly")

    assert one_line(reading, part, "Permission denied")
    assert one_line(writing, f"cannot write {root}/games/nightly/part-", "Permission denied")
    assert one_line(locking, f"cannot lock {root}/runs/nightly/.playing.lock: Permission denied")
    assert one_line(listing, f"cannot list {root}/games/nightly: Permission denied")
    assert part.exists()
    assert not (root / "damaged").exists()


def test_a_store_that_vanished_is_not_made_anew(store: GameStore, root: Path) -> None:
    """Games without their run and plan are of no use to anybody: recording them fails, and says what is gone."""
    shutil.rmtree(root)

    for write in (
        lambda: store.record("nightly", [game_record(game_no=4)]),
        lambda: store.write_plan("nightly", [planned_game()]),
        lambda: store.write_standings("nightly", [standing()]),
        lambda: store.replace_run("nightly", run_document()),
    ):
        with pytest.raises(StorageError) as refusal:
            write()
        assert one_line(refusal, f"{root}/runs/nightly/run.json is gone")
    store.compact("nightly")
    store.sweep()
    assert not root.exists()


def test_a_dataset_that_vanished_is_begun_again(store: GameStore, root: Path) -> None:
    """With run and plan in place a deleted folder of games only means that they are missing."""
    shutil.rmtree(root / "games")

    store.record("nightly", [game_record(game_no=4)])

    assert [4] == plainly_read(root)
    assert 5 == len(Ledger(store, "nightly").missing_ids())


def test_a_folder_that_vanishes_while_it_is_written_is_made_again(
    store: GameStore, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between making sure of a folder and using it somebody may remove it: a game is not lost for that."""
    from storage import atomic  # noqa: PLC0415 - only here is it looked into

    make_folder = atomic._make_folder

    def make_and_lose(folder: Path) -> list[Path]:
        monkeypatch.setattr(atomic, "_make_folder", make_folder)
        shutil.rmtree(folder, ignore_errors=True)
        return []

    monkeypatch.setattr(atomic, "_make_folder", make_and_lose)
    store.record("nightly", [game_record(game_no=4)])
    monkeypatch.setattr(atomic, "_make_folder", make_and_lose)
    with store.playing("weekly") as holder:
        assert holder is None

    assert [4] == plainly_read(root)


@pytest.mark.parametrize("place", ["games/nightly", "games"])
def test_a_file_in_place_of_a_folder_is_one_line(store: GameStore, root: Path, place: str) -> None:
    """Reading and recording say which it is."""
    shutil.rmtree(root / place)
    (root / place).write_text("in the way")

    for attempt in (
        lambda: store.games("nightly"),
        lambda: store.record("nightly", [game_record(game_no=4)]),
        lambda: store.compact("nightly"),
    ):
        with pytest.raises(StorageError) as refusal:
            attempt()
        assert one_line(refusal, "cannot ", root / place)
    store.sweep()
    assert "in the way" == (root / place).read_text()


@pytest.mark.parametrize("ending", ["file/store", "x" * 300, "x/" * 3000])
def test_an_impossible_place_is_one_line(tmp_path: Path, ending: str) -> None:
    """A file on the way there, a name or a path that is too long: an error for every use, never a traceback."""
    (tmp_path / "file").write_text("")
    store = GameStore(str(tmp_path / ending))

    for attempt in (
        lambda: store.create_run("nightly", run_document()),
        lambda: store.playing("nightly").__enter__(),
        lambda: store.read_run("nightly"),
        lambda: store.games("nightly"),
    ):
        with pytest.raises(StorageError) as refusal:
            attempt()
        assert one_line(refusal, tmp_path)
    store.sweep()
    assert ["file"] == [path.name for path in tmp_path.iterdir()]
