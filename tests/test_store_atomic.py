"""Publishing a file: whole, once, durably, or not at all."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import fsspec
import pytest

from banzuke.errors import GameAlreadyRecordedError, StorageError
from storage.atomic import LocalFiles, RemoteFiles, open_files

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(params=["local", "memory"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "local":
        yield str(tmp_path / "store")
        return
    root = f"memory://{tmp_path.name}"
    yield root
    filesystem, path = fsspec.core.url_to_fs(root)
    if filesystem.exists(path):
        filesystem.rm(path, recursive=True)


def names_in(folder: Path) -> list[str]:
    """Everything in the folder, hidden files too."""
    return sorted(entry.name for entry in folder.iterdir())


def raw_read(address: str, name: str) -> bytes:
    """What anybody else would read there."""
    filesystem, root = fsspec.core.url_to_fs(address)
    return bytes(filesystem.cat_file(f"{root}/{name}"))


def test_published_bytes_are_there_for_everybody(address: str) -> None:
    """What was published is found under its name by another program."""
    open_files(address).publish("games/a/x.parquet", b"bytes")

    assert raw_read(address, "games/a/x.parquet") == b"bytes"
    assert open_files(address).read("games/a/x.parquet") == b"bytes"
    assert open_files(address).files("games/a") == ["x.parquet"]
    assert open_files(address).folders("games") == ["a"]
    assert open_files(address).exists("games/a/x.parquet")


def test_a_taken_name_is_an_error_and_stays_as_it_is(address: str) -> None:
    """Publishing the same name twice neither overwrites nor goes unnoticed."""
    files = open_files(address)
    files.publish("a/x", b"first")

    with pytest.raises(GameAlreadyRecordedError, match="a/x is already there and stays as it is"):
        files.publish("a/x", b"second")

    assert raw_read(address, "a/x") == b"first"
    assert files.files("a") == ["x"]


def test_replacing_must_be_asked_for(address: str) -> None:
    """With ``replace`` the new bytes take the name."""
    files = open_files(address)
    files.publish("a/x", b"first", replace=True)
    files.publish("a/x", b"second", replace=True)

    assert raw_read(address, "a/x") == b"second"


def test_nothing_exists_before_the_first_file(address: str) -> None:
    """Opening, listing, deleting and sweeping create nothing and find nothing."""
    files = open_files(address)
    files.delete("a/x")
    files.sweep("a")

    assert files.files("a") == []
    assert files.folders("") == []
    assert not files.exists("a/x")
    assert not fsspec.core.url_to_fs(address)[0].exists(fsspec.core.url_to_fs(address)[1])
    with pytest.raises(FileNotFoundError):
        files.read("a/x")
    with pytest.raises(FileNotFoundError):
        files.open("a/x")


def test_deleting_twice_is_fine(address: str) -> None:
    """A file that is gone already is no error."""
    files = open_files(address)
    files.publish("a/x", b"bytes")
    files.delete("a/x")
    files.delete("a/x")

    assert files.files("a") == []


def test_a_lock_is_held_by_one(address: str) -> None:
    """While somebody holds the lock others are told so at once; afterwards it is free."""
    files = open_files(address)
    with files.exclusive("runs/a/.lock") as first, open_files(address).exclusive("runs/a/.lock") as second:
        assert (first, second) == (True, False)
        with open_files(address).exclusive("runs/b/.lock") as elsewhere:
            assert elsewhere
    with files.exclusive("runs/a/.lock") as again:
        assert again


def test_who_was_refused_a_lock_does_not_free_it(address: str) -> None:
    """Leaving without having had the lock leaves it with its holder."""
    with open_files(address).exclusive("runs/a/.lock"):
        for _ in range(2):
            with open_files(address).exclusive("runs/a/.lock") as refused:
                assert not refused


def test_a_lock_is_there_only_while_it_is_held(address: str) -> None:
    """The file holds the note while the lock is held, and is gone with it; so is a folder made for it."""
    files = open_files(address)
    with files.exclusive("runs/a/.playing.lock", {"pid": 7}) as is_ours:
        assert is_ours
        assert json.loads(files.read("runs/a/.playing.lock"))["pid"] == 7

    filesystem, root = fsspec.core.url_to_fs(address)
    assert not filesystem.find(root)
    assert filesystem.protocol == "memory" or not filesystem.exists(root)


def test_a_local_lock_is_held_by_one_whoever_removes_its_file(tmp_path: Path) -> None:
    """Many threads take and free one lock, so that its file comes and goes: never are two of them inside."""
    inside: list[int] = []
    crowds: list[int] = []
    taken: list[int] = []

    def take_and_free(number: int) -> None:
        files = LocalFiles(tmp_path)
        for _ in range(150):
            with files.exclusive("a/.playing.lock") as is_ours:
                if is_ours:
                    inside.append(number)
                    crowds.append(len(inside))
                    taken.append(number)
                    inside.remove(number)
            files.sweep("a")

    threads = [threading.Thread(target=take_and_free, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert {1} == set(crowds)
    assert taken
    assert list(tmp_path.iterdir()) == []


def test_a_lock_whose_name_was_taken_meanwhile_is_not_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who locks a file that its holder has just removed begins again with the file that has the name now."""
    (tmp_path / "a").mkdir()
    lock = tmp_path / "a/.playing.lock"
    really_lock = fcntl.flock
    opened: list[int] = []

    def remove_first(descriptor: int, operation: int) -> None:
        opened.append(descriptor)
        if len(opened) == 1:
            lock.unlink()
        really_lock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", remove_first)
    with LocalFiles(tmp_path).exclusive("a/.playing.lock") as is_ours:
        monkeypatch.undo()
        with LocalFiles(tmp_path).exclusive("a/.playing.lock") as is_theirs:
            assert (is_ours, is_theirs) == (True, False)

    assert len(opened) == 2


def test_a_lock_leads_nowhere(tmp_path: Path) -> None:
    """A lock's name that is a link to something else is refused: nothing is written there."""
    precious = tmp_path / "precious"
    precious.write_text("untouched")
    (tmp_path / "a").mkdir()
    (tmp_path / "a/.playing.lock").symlink_to(precious)

    with pytest.raises(StorageError, match="cannot lock"), LocalFiles(tmp_path).exclusive("a/.playing.lock"):
        pass
    LocalFiles(tmp_path).sweep("a")

    assert precious.read_text() == "untouched"


def test_a_filesystem_without_locks_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the kernel knows no locks nobody holds one, and that is said."""

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(StorageError) as refusal, LocalFiles(tmp_path).exclusive("a/.playing.lock"):
        pass

    assert f"cannot lock {tmp_path}/a/.playing.lock: No locks available" == str(refusal.value)


def test_a_remote_lock_is_not_held_for_ever() -> None:
    """A lease nobody has renewed for a minute and a half, or that says nothing readable, is free, and is swept."""
    files = RemoteFiles(fsspec.filesystem("memory"), "/locks-of-the-dead")
    stale = b'{"owner": "x", "at": %f}' % (time.time() - 95)
    for left_behind in (stale, b'{"owner": "x", "at": 1000.0}', b"", b"[]", b'{"at": "soon"}', b'{"at": true}'):
        files.publish("runs/a/.playing.lock", left_behind, replace=True)
        with files.exclusive("runs/a/.playing.lock") as is_ours:
            assert is_ours
        files.publish("runs/a/.playing.lock", left_behind, replace=True)
        files.sweep("runs")
        assert not files.exists("runs/a/.playing.lock")
    for seconds in (-60, 60):
        lease = b'{"owner": "x", "at": %f}' % (time.time() + seconds)
        files.publish("runs/a/.playing.lock", lease, replace=True)
        files.sweep("runs")
        with files.exclusive("runs/a/.playing.lock") as is_ours:
            assert not is_ours
    files.delete("runs/a/.playing.lock")


HOLDS_A_LEASE = """
import sys
import fsspec
from storage import atomic
atomic.RENEWED_EVERY_SECONDS, atomic.LEASE_SECONDS = 0.05, 1.0
with atomic.RemoteFiles(fsspec.filesystem("file"), sys.argv[1]).exclusive("runs/a/.playing.lock"):
    print("held", flush=True)
    sys.stdin.readline()
"""


def test_a_lease_lasts_as_long_as_its_holder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is renewed for as long as it is held, beyond its own length, and lapses when its holder is killed."""
    monkeypatch.setattr("storage.atomic.LEASE_SECONDS", 1.0)
    files = RemoteFiles(fsspec.filesystem("file"), str(tmp_path))
    command = [sys.executable, "-c", HOLDS_A_LEASE, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        # Twice its length: without renewals it would have lapsed.
        until = time.monotonic() + 2.0
        refused = []
        while time.monotonic() < until:
            with files.exclusive("runs/a/.playing.lock") as is_ours:
                refused.append(not is_ours)
        holder.kill()
    deadline = time.monotonic() + 30
    is_ours = False
    while not is_ours and time.monotonic() < deadline:
        with files.exclusive("runs/a/.playing.lock") as is_ours:
            continue

    assert all(refused)
    assert is_ours
    assert not files.exists("runs/a/.playing.lock")


def test_a_lock_taken_over_is_not_freed_by_its_first_holder() -> None:
    """Who held a remote lock for so long that another took it leaves it with the other."""
    files = RemoteFiles(fsspec.filesystem("memory"), "/locks-taken-over")
    taken_over = b'{"owner": "the other", "at": %f}' % time.time()
    with files.exclusive("lock") as is_ours:
        assert is_ours
        files.publish("lock", taken_over, replace=True)

    assert taken_over == files.read("lock")
    files.delete("lock")


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("", "the store's address is empty"),
        ("gopher://burrow/store", "gopher://burrow/store: Protocol not known: gopher"),
    ],
)
def test_an_address_nobody_knows_is_refused(uri: str, reason: str) -> None:
    """A URL of an unknown kind is one clear line."""
    with pytest.raises(StorageError) as refusal:
        open_files(uri)

    assert reason == str(refusal.value)


def test_a_file_is_moved_once(address: str) -> None:
    """Moving gives a file another name, never over another file; a move that was half done is finished."""
    files = open_files(address)
    files.publish("a/x", b"bytes")
    files.move("a/x", "b/c/x")
    assert (files.files("a"), files.read("b/c/x")) == ([], b"bytes")

    files.publish("a/x", b"others")
    with pytest.raises(GameAlreadyRecordedError):
        files.move("a/x", "b/c/x")
    assert (files.read("a/x"), files.read("b/c/x")) == (b"others", b"bytes")
    with pytest.raises(FileNotFoundError):
        files.move("a/y", "b/c/y")


def test_an_address_with_a_nul_is_refused() -> None:
    """What no path can hold is one clear line."""
    with pytest.raises(StorageError, match="no address has a NUL in it"):
        open_files("a\0b")


def test_many_at_once_leave_exactly_one_winner(tmp_path: Path) -> None:
    """Of many threads that publish one name, one succeeds, the others are told, and its bytes are whole."""
    files = LocalFiles(tmp_path)
    barrier = threading.Barrier(8)
    outcomes: list[str] = []

    def publish(letter: str) -> None:
        barrier.wait(30)
        try:
            files.publish("a/b/x", letter.encode() * 100_000)
            outcomes.append(letter)
        except GameAlreadyRecordedError:
            outcomes.append("refused")

    threads = [threading.Thread(target=publish, args=(letter,)) for letter in "abcdefgh"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    [winner] = [outcome for outcome in outcomes if outcome != "refused"]
    assert len(outcomes) == 8
    assert winner.encode() * 100_000 == (tmp_path / "a/b/x").read_bytes()
    assert names_in(tmp_path / "a/b") == ["x"]


def test_ctrl_c_while_writing_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An interrupted publication leaves neither the name nor a temporary file."""

    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    files = LocalFiles(tmp_path)
    files.publish("a/before", b"")
    monkeypatch.setattr(os, "fsync", interrupt)

    with pytest.raises(KeyboardInterrupt):
        files.publish("a/x", b"bytes")

    assert names_in(tmp_path / "a") == ["before"]


def test_without_hard_links_a_name_is_still_taken_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a filesystem that knows no hard links publishing works and refuses a taken name."""

    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", refuse)
    files = LocalFiles(tmp_path)
    files.publish("a/x", b"first")

    with pytest.raises(GameAlreadyRecordedError):
        files.publish("a/x", b"second")

    assert (tmp_path / "a/x").read_bytes() == b"first"
    assert names_in(tmp_path / "a") == ["x"]


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    """When the bytes do not fit, the error names the file and no half of it stays."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(StorageError) as refusal:
            LocalFiles(tmp_path).publish("a/x", b"x" * 100_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    assert f"cannot write {tmp_path}/a/x: File too large" == str(refusal.value)
    assert names_in(tmp_path / "a") == []


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    """When a file stands where a folder is needed, the error names it."""
    (tmp_path / "a").write_text("in the way")

    with pytest.raises(StorageError) as refusal:
        LocalFiles(tmp_path).publish("a/x", b"bytes")

    assert f"cannot make the folder {tmp_path}/a: File exists" == str(refusal.value)


def test_a_place_the_system_forbids_is_one_line() -> None:
    """Where nothing can be written even by root, the error names what was wanted."""
    with pytest.raises(StorageError) as refusal:
        open_files("/proc/banzuke-store").publish("runs/a/run.json", b"{}")

    assert str(refusal.value).startswith("cannot make the folder /proc/banzuke-store: ")
    assert len(str(refusal.value).splitlines()) == 1


def test_what_cannot_be_listed_or_read_is_one_line(tmp_path: Path) -> None:
    """A file where a folder is expected, and a folder where a file is, are errors that name the path."""
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    files = LocalFiles(tmp_path)

    with pytest.raises(StorageError, match=f"cannot list {tmp_path}/file: Not a directory"):
        files.files("file")
    with pytest.raises(StorageError, match=f"cannot read {tmp_path}/folder: Is a directory"):
        files.read("folder")
    with pytest.raises(StorageError, match=f"cannot delete {tmp_path}/folder: Is a directory"):
        files.delete("folder")


KILLED_WHILE_WRITING = """
import os, signal, sys
from pathlib import Path
from storage.atomic import LocalFiles
os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)
Path(sys.argv[1], "a").mkdir()
LocalFiles(Path(sys.argv[1])).publish("a/x", b"bytes")
"""

WAITING_WITH_A_TEMPORARY_FILE = """
import os, sys
from pathlib import Path
from storage.atomic import LocalFiles
def wait(_):
    print("written", flush=True)
    sys.stdin.read()
os.fsync = wait
Path(sys.argv[1], "a").mkdir()
LocalFiles(Path(sys.argv[1])).publish("a/x", b"bytes")
"""


def test_what_a_killed_writer_left_is_swept(tmp_path: Path) -> None:
    """The temporary file of a killed process is hidden, and removed by the next sweep; other files stay."""
    killed = subprocess.run([sys.executable, "-c", KILLED_WHILE_WRITING, str(tmp_path)], timeout=60, check=False)
    [left] = names_in(tmp_path / "a")
    (tmp_path / "a" / ".nfs0001").write_text("somebody else's")

    LocalFiles(tmp_path).sweep("a")

    assert killed.returncode == -signal.SIGKILL
    assert left.startswith(".")
    assert not left.endswith(".parquet")
    assert names_in(tmp_path / "a") == [".nfs0001"]


def test_a_writer_at_work_is_not_swept(tmp_path: Path) -> None:
    """The temporary file of a living process is left alone, and its publication succeeds."""
    with subprocess.Popen(
        [sys.executable, "-c", WAITING_WITH_A_TEMPORARY_FILE, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as writer:
        assert writer.stdin is not None
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"written\n"
        LocalFiles(tmp_path).sweep("a")
        writer.stdin.close()
        writer.wait(60)

    assert writer.returncode == 0
    assert names_in(tmp_path / "a") == ["x"]


def test_another_machines_temporary_file_is_given_an_hour(tmp_path: Path) -> None:
    """What a process elsewhere is writing stays for an hour and goes after it."""
    folder = tmp_path / "a"
    folder.mkdir()
    fresh = folder / ".tmp-elsewhere-4026531836-1-0123456789abcdef"
    stale = folder / ".tmp-elsewhere-4026531836-1-fedcba9876543210"
    fresh.touch()
    stale.touch()
    os.utime(stale, (time.time() - 3700, time.time() - 3700))

    LocalFiles(tmp_path).sweep("a")

    assert [fresh.name] == names_in(folder)
