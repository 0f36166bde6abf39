"""Which checkpoints are new: by content, each told of once, whatever is copied, renamed, half-written or killed."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tasks.watching
from banzuke.catalogue import load_catalogue
from banzuke.errors import CorruptPartError, SpecError, UnknownRunError
from storage.atomic import LocalFiles
from storage.game_store import GameStore
from storage.watched import WatchedFolder
from tasks.watching import Existing, Looked, NewCheckpoint, gauntlet_of, look_at

REAL = Path(__file__).resolve().parent.parent / "examples/checkpoints"
CATALOGUE = """
[[agents]]
name = "random"
kind = "random"
[[checkpoints]]
name = "training"
folder = "saved"
"""


class Killed(BaseException):
    """As SIGKILL would: nobody handles it."""


class Scene:
    """A folder of checkpoints, a store that remembers, and a server that takes orders."""

    def __init__(self, folder: Path) -> None:
        self.saved = folder / "saved"
        self.saved.mkdir()
        self.store = folder / "store"
        self.catalogue = folder / "catalogue.toml"
        self.catalogue.write_text(CATALOGUE)
        self.accepted: dict[str, str] = {}
        self.asked: Counter[str] = Counter()
        self.age = 1_000_000_000

    def save(self, name: str, content: bytes) -> Path:
        """Write a file whose modification time is a second after that of the one before."""
        path = self.saved / f"{name}.pt"
        path.write_bytes(content)
        self.age += 1
        os.utime(path, (self.age, self.age))
        return path

    def order(self, checkpoint: NewCheckpoint) -> str:
        """As the server does: under one key there is one run."""
        self.asked[checkpoint.key] += 1
        return self.accepted.setdefault(checkpoint.key, checkpoint.agent)

    def look(
        self,
        order: Callable[[NewCheckpoint], str] | None = None,
        *,
        settle_seconds: float = 0,
        rate_existing: Existing = "all",
        most: int = 100,
    ) -> Looked:
        (folder,) = load_catalogue(self.catalogue).folders
        return look_at(
            folder,
            str(self.store),
            "here",
            order or self.order,
            settle_seconds=settle_seconds,
            rate_existing=rate_existing,
            most=most,
        )

    def told(self, **options: Any) -> list[str]:
        """Look once; who was told of."""
        return [checkpoint.agent for checkpoint in self.look(**options).ordered]


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def test_each_content_is_told_of_once_whatever_it_is_called(scene: Scene) -> None:
    """New and overwritten files are told of; copies, renamed ones and those that were touched are not."""
    first = scene.save("epoch-1", b"one")
    assert ["epoch-1"] == scene.told()
    assert [] == scene.told()

    shutil.copy2(first, scene.saved / "best.pt")
    first.rename(scene.saved / "epoch-0001.pt")
    scene.save("touched", b"one")
    assert [] == scene.told()

    scene.save("best", b"two")
    scene.save("epoch-3", b"three")
    assert ["best", "epoch-3"] == scene.told()
    assert 3 == len(scene.accepted)


def test_of_several_new_files_with_one_content_the_oldest_gives_its_name(scene: Scene) -> None:
    """A checkpoint that is saved twice is told of under the name that it had first."""
    scene.save("epoch-7", b"seven")
    scene.save("best", b"seven")

    assert ["epoch-7"] == scene.told()


def test_a_file_overwritten_with_the_same_size_and_time_is_new(scene: Scene) -> None:
    """Sizes of one architecture are all the same, and times can be copied: the content decides."""
    path = scene.save("latest", b"one")
    scene.told()

    path.write_bytes(b"two")
    os.utime(path, (scene.age, scene.age))

    assert ["latest"] == scene.told()


@pytest.mark.parametrize(
    ("rate_existing", "expected"), [("none", []), ("newest", ["epoch-4"]), ("all", [f"epoch-{n}" for n in range(5)])]
)
def test_the_first_look_at_a_full_folder_starts_no_flood(
    scene: Scene, rate_existing: Existing, expected: list[str]
) -> None:
    """Of what was there before, those that are asked for are told of; what comes later always is."""
    for epoch in range(5):
        scene.save(f"epoch-{epoch}", b"%d" % epoch)

    assert expected == scene.told(rate_existing=rate_existing)
    scene.save("epoch-9", b"nine")
    assert ["epoch-9"] == scene.told(rate_existing=rate_existing)
    shutil.copy2(scene.saved / "epoch-0.pt", scene.saved / "old.pt")
    assert [] == scene.told(rate_existing="all")


def test_what_comes_into_a_folder_that_was_empty_is_new(scene: Scene) -> None:
    """A watcher that was there before the training passes nothing over."""
    assert [] == scene.told(rate_existing="none")

    scene.save("epoch-0", b"zero")

    assert ["epoch-0"] == scene.told(rate_existing="none")


def test_many_at_once_are_told_of_in_portions_the_oldest_first(scene: Scene) -> None:
    """A directory that is copied into the folder starts so many gauntlets at each look, and the log says so."""
    scene.told()
    for epoch in range(5):
        scene.save(f"epoch-{epoch}", b"%d" % epoch)

    looks = [scene.look(most=2) for _ in range(4)]

    told = [[checkpoint.agent for checkpoint in look.ordered] for look in looks]
    assert [["epoch-0", "epoch-1"], ["epoch-2", "epoch-3"], ["epoch-4"], []] == told
    assert ["training: 3 more are new and wait for later looks, 2 at each: epoch-2, epoch-3, epoch-4"] == looks[0].notes
    assert [] == looks[2].notes


def test_an_archive_without_its_end_waits(scene: Scene) -> None:
    """A real checkpoint of which only a part is written is told of when the rest is there."""
    whole = (REAL / "epoch_00002.pt").read_bytes()
    for cut in (len(whole) // 2, len(whole) - 1):
        scene.save("epoch-2", whole[:cut])
        look = scene.look()
        assert [] == look.ordered
        assert ["training: 1 not written whole yet, and wait: epoch-2"] == look.notes

    scene.save("epoch-2", whole)

    # What has grown since the last look may go on growing.
    assert [] == scene.told()
    assert ["epoch-2"] == scene.told()


def test_what_was_touched_a_moment_ago_waits_also_under_an_old_time(scene: Scene) -> None:
    """A copy that takes the modification time along is fresh all the same."""
    scene.save("epoch-1", b"one")

    assert [] == scene.told(settle_seconds=3600)
    assert ["epoch-1"] == scene.told(settle_seconds=0)


def test_what_is_written_to_while_it_is_read_waits(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """A content that was never whole in the file is told of to nobody."""
    path = scene.save("epoch-1", b"one")
    real = tasks.watching.file_sha256

    def written_meanwhile(file: Path) -> str:
        found = real(file)
        path.write_bytes(b"eno")
        return found

    with monkeypatch.context() as patch:
        patch.setattr(tasks.watching, "file_sha256", written_meanwhile)
        assert [] == scene.told()

    assert ["epoch-1"] == scene.told()
    assert [f"watched training {hashlib.sha256(b'eno').hexdigest()}"] == [*scene.accepted]


def test_only_what_has_changed_is_read(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second look reads no file again; a lost or damaged memory of the files costs reading, nothing else."""
    for epoch in range(3):
        scene.save(f"epoch-{epoch}", b"%d" % epoch)
    scene.told()
    read: list[str] = []
    real = tasks.watching.file_sha256
    monkeypatch.setattr(tasks.watching, "file_sha256", lambda path: read.append(path.name) or real(path))

    assert [] == scene.told()
    assert [] == read
    scene.save("epoch-1", b"other")
    assert ["epoch-1"] == scene.told()
    assert ["epoch-1.pt"] == read
    for damage in (b"", b"[]", b'{"files": {"epoch-0": {"size": "x"}}}', b'{"files": 7}'):
        (scene.store / "watched/training/look-here.json").write_bytes(damage)
        read.clear()
        assert [] == scene.told()
        assert ["epoch-0.pt", "epoch-1.pt", "epoch-2.pt"] == sorted(read)


def test_what_a_killed_look_has_read_is_not_read_again(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first look at a large folder takes long; killed, it loses seconds."""
    for epoch in range(4):
        scene.save(f"epoch-{epoch}", b"%d" % epoch)
    monkeypatch.setattr(tasks.watching, "KEPT_EVERY_SECONDS", -1.0)
    read: list[str] = []
    real = tasks.watching.file_sha256

    def reads(path: Path) -> str:
        if len(read) == 2:
            raise Killed
        read.append(path.name)
        return real(path)

    with monkeypatch.context() as patch:
        patch.setattr(tasks.watching, "file_sha256", reads)
        with pytest.raises(Killed):
            scene.look()
    monkeypatch.setattr(tasks.watching, "file_sha256", lambda path: read.append(path.name) or real(path))

    assert 4 == len(scene.told())
    assert [f"epoch-{epoch}.pt" for epoch in range(4)] == read


class Mortality:
    """Has a look die before or after the n-th thing that it writes or asks for."""

    def __init__(self, moment: int) -> None:
        self.left = moment

    def around(self, act: Callable[..., Any]) -> Callable[..., Any]:
        def mortal(*args: Any, **named: Any) -> Any:
            self._pass()
            done = act(*args, **named)
            self._pass()
            return done

        return mortal

    def _pass(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise Killed


@pytest.mark.parametrize(("rate_existing", "rated"), [("none", 0), ("newest", 1), ("all", 3)])
def test_whatever_is_killed_when_each_has_one_run_and_none_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rate_existing: Existing, rated: int
) -> None:
    """A look may die before or after every single thing that it writes or asks for; later looks make up for it."""
    for moment in range(1, 100):
        (tmp_path / str(moment)).mkdir()
        scene = Scene(tmp_path / str(moment))
        for epoch in range(3):
            scene.save(f"epoch-{epoch}", b"%d" % epoch)
        mortality = Mortality(moment)
        with monkeypatch.context() as patch, contextlib.suppress(Killed):
            patch.setattr(LocalFiles, "publish", mortality.around(LocalFiles.publish))
            scene.look(mortality.around(scene.order), rate_existing=rate_existing)

        scene.look(rate_existing=rate_existing)
        scene.save("epoch-9", b"nine")

        assert ["epoch-9"] == scene.told(rate_existing=rate_existing)
        assert [*[f"epoch-{epoch}" for epoch in range(3 - rated, 3)], "epoch-9"] == sorted(scene.accepted.values())
        if mortality.left > 0:
            break
    assert 2 * (2 + 2 * rated) + 1 == moment


def test_two_watchers_at_once_tell_of_each_once(scene: Scene) -> None:
    """Whoever comes second leaves the folder to the first; at the next look nothing is left to be told of."""
    scene.save("epoch-1", b"one")
    with WatchedFolder(str(scene.store), "training").watching() as is_ours:
        assert is_ours
        look = scene.look()
    assert ([], ["training: somebody else is looking at it right now"]) == (look.ordered, look.notes)
    scene.save("epoch-2", b"two")

    threads = [threading.Thread(target=scene.look) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert ["epoch-1", "epoch-2"] == sorted(scene.accepted.values())
    assert {1} == set(scene.asked.values())


def test_who_cannot_be_told_of_does_not_hold_up_the_others(scene: Scene) -> None:
    """What an order refuses is a fault with the agent's name; it is told of again at the next look."""
    for epoch in range(3):
        scene.save(f"epoch-{epoch}", b"%d" % epoch)

    def refuses_one(checkpoint: NewCheckpoint) -> str:
        if checkpoint.agent == "epoch-1":
            raise SpecError("agents: nobody matches 'x'")
        return scene.order(checkpoint)

    look = scene.look(refuses_one)

    assert ["epoch-0", "epoch-2"] == [checkpoint.agent for checkpoint in look.ordered]
    assert ["epoch-1: agents: nobody matches 'x'"] == look.faults
    assert ["epoch-1"] == scene.told()


@pytest.mark.parametrize("content", [b"", b"[]", b'{"passed_over": ["../x"]}', b'{"passed_over": 3}', b"[" * 100_000])
def test_a_damaged_memory_of_the_first_look_is_refused(scene: Scene, content: bytes) -> None:
    """Without it a folder of old checkpoints would be taken for new ones: one line says what to do."""
    scene.save("epoch-1", b"one")
    scene.told(rate_existing="none")
    (scene.store / "watched/training/passed-over.json").write_bytes(content)

    with pytest.raises(CorruptPartError, match=r"passed-over\.json: .*restore it from a copy, or delete it") as error:
        scene.look()

    assert 1 == len(str(error.value).splitlines())
    assert {} == scene.accepted


def test_a_vanished_folder_is_one_line(scene: Scene) -> None:
    """It names the folder as the catalogue does, and the path."""
    (folder,) = load_catalogue(scene.catalogue).folders
    scene.saved.rmdir()

    with pytest.raises(SpecError, match=f"checkpoints 'training': folder: .*{scene.saved}") as error:
        look_at(folder, str(scene.store), "here", scene.order, settle_seconds=0, rate_existing="all", most=1)

    assert 1 == len(error.value.faults)


def test_a_name_that_leaves_the_store_is_refused() -> None:
    """Names come from a catalogue, and are checked all the same before they become paths."""
    with pytest.raises(UnknownRunError):
        WatchedFolder("memory://store", "../runs")


def test_what_a_killed_watcher_leaves_is_swept(scene: Scene) -> None:
    """Its lock is removed with the other leavings of the store, and what is remembered stays."""
    scene.save("epoch-1", b"one")
    scene.told()
    folder = scene.store / "watched/training"
    (folder / ".watching.lock").write_text("{}")

    GameStore(str(scene.store)).sweep()

    assert ["look-here.json", "passed-over.json"] == sorted(path.name for path in folder.iterdir())[-2:]
    assert 3 == len(list(folder.iterdir()))


def test_a_store_that_is_no_local_folder_remembers_too(tmp_path: Path) -> None:
    """What was told of is known at the next look, whatever filesystem keeps it."""
    scene = Scene(tmp_path)
    scene.store = "memory://watching"  # type: ignore[assignment] - an address like any other
    scene.save("epoch-1", b"one")

    assert ["epoch-1"] == scene.told()
    assert [] == scene.told()


def test_a_gauntlet_is_of_the_new_one_against_the_others() -> None:
    """The challenger is named whatever the patterns match, and does not count among the newest that it meets."""
    checkpoint = NewCheckpoint(folder="training", agent="epoch-0000000000000000000-7", sha256="0" * 64)

    gauntlet = gauntlet_of(checkpoint, {"agents": ["epoch-*", "random"], "newest": 3, "seed": 5})

    assert {
        "name": "gauntlet-epoch-000000000000000",
        "agents": ["epoch-*", "random", "epoch-0000000000000000000-7"],
        "newest": 4,
        "format": "gauntlet",
        "challengers": ["epoch-0000000000000000000-7"],
        "seed": 5,
    } == gauntlet
    assert 0 == gauntlet_of(checkpoint, {"agents": ["*"], "newest": 0})["newest"]
