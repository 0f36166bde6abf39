"""Which checkpoints of a folder are new, and each told of exactly once. No Prefect here.

A checkpoint is its content: a copy or a renamed file is none that is new, an overwritten one is. Whoever is told of it
answers when the telling was accepted, and only then is that remembered: a crash in between has it told again, under the
same key, which makes no second run of it.
"""

from __future__ import annotations

import time
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from banzuke.checkpoint_folder import CheckpointFolder
from banzuke.errors import SpecError
from banzuke.faults import some
from banzuke.identity import file_sha256
from banzuke.specs import CheckpointAgent
from storage.watched import Glimpse, WatchedFolder

Existing = Literal["none", "newest", "all"]
KEPT_EVERY_SECONDS = 15.0
"""How much reading a look that is killed may lose."""
_ZIP = b"PK\x03\x04"
_NANOSECONDS = 1_000_000_000
_LONGEST_NAME = 30
"""That a tournament may have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewCheckpoint:
    """A content that nobody was told of."""

    folder: str
    """As the catalogue calls it."""
    agent: str
    sha256: str

    @property
    def key(self) -> str:
        """However often it is told of, it is the same."""
        return f"watched {self.folder} {self.sha256}"

    @property
    def gauntlet(self) -> str:
        """What its tournament is called."""
        return f"gauntlet-{self.agent}"[:_LONGEST_NAME].rstrip("-")


@dataclass(slots=True, kw_only=True)
class Looked:
    """What one look at a folder came to."""

    ordered: list[NewCheckpoint] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """For people, a line each."""
    faults: list[str] = field(default_factory=list)
    """Why somebody was not told; they are told of at the next look."""


def gauntlet_of(checkpoint: NewCheckpoint, wish: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of a tournament of a checkpoint against others.

    Args:
        checkpoint: who plays all of them.
        wish: the others as ``agents`` and ``newest``, and everything else about the tournament.
    """
    return {
        **wish,
        "name": checkpoint.gauntlet,
        "agents": [*wish["agents"], checkpoint.agent],
        # It is one of the newest itself.
        "newest": wish["newest"] and wish["newest"] + 1,
        "format": "gauntlet",
        "challengers": [checkpoint.agent],
    }


def look_at(
    folder: CheckpointFolder,
    store: str,
    host: str,
    order: Callable[[NewCheckpoint], str],
    *,
    settle_seconds: float,
    rate_existing: Existing,
    most: int,
) -> Looked:
    """Tell of every checkpoint that is new in a folder, the oldest first.

    Args:
        folder: whose files are the checkpoints.
        store: where is remembered what was seen.
        host: what this machine is called.
        order: is told of one; its answer, the id of a run, is kept. It is told of the same one again if it, or this
            process, fails.
        settle_seconds: a file that was touched within so many is still being written.
        rate_existing: which of those are new that the very first look finds.
        most: how many at most are told of now; the others are told of by later looks.

    Raises:
        SpecError: the folder cannot be looked at.
        StorageError: the store refuses.
    """
    watched = WatchedFolder(store, folder.name)
    with watched.watching() as is_ours:
        if not is_ours:
            return Looked(notes=[f"{folder.name}: somebody else is looking at it right now"])
        return _Look(folder, watched, host, settle_seconds).tell(order, rate_existing, most)


class _Look:
    def __init__(self, folder: CheckpointFolder, watched: WatchedFolder, host: str, settle_seconds: float) -> None:
        self._folder = folder
        self._watched = watched
        self._host = host
        self._settle_ns = int(settle_seconds * _NANOSECONDS)
        self._looked = Looked()

    def tell(self, order: Callable[[NewCheckpoint], str], rate_existing: Existing, most: int) -> Looked:
        there = self._contents()
        before = self._watched.passed_over()
        if before is None:
            before = self._pass_over(there, rate_existing)
        new = self._new(there, before | self._watched.seen())
        for checkpoint in new[:most]:
            try:
                run = order(checkpoint)
            except SpecError as error:
                self._looked.faults += (f"{checkpoint.agent}: {fault}" for fault in error.faults)
                continue
            self._watched.remember(checkpoint.sha256, {"agent": checkpoint.agent, "flow_run_id": run, **self._now()})
            self._looked.ordered.append(checkpoint)
        if later := [checkpoint.agent for checkpoint in new[most:]]:
            self._say(f"{len(later)} more are new and wait for later looks, {most} at each: {some(later)}")
        return self._looked

    def _new(self, there: Mapping[str, str], known: frozenset[str]) -> list[NewCheckpoint]:
        """One for each content, under the name of the oldest file that has it."""
        named: dict[str, str] = {}
        for agent, sha256 in there.items():
            if sha256 not in known:
                named.setdefault(sha256, agent)
        return [NewCheckpoint(folder=self._folder.name, agent=agent, sha256=sha256) for sha256, agent in named.items()]

    def _pass_over(self, there: Mapping[str, str], rate_existing: Existing) -> frozenset[str]:
        contents = list(dict.fromkeys(there.values()))
        rated = {"none": 0, "newest": 1, "all": len(contents)}[rate_existing]
        passed_over = contents[: len(contents) - rated]
        if passed_over:
            self._say(f"the first look: {len(passed_over)} checkpoints were there before, and get no gauntlet")
        return self._watched.pass_over(passed_over, {"rate_existing": rate_existing, **self._now()})

    def _contents(self) -> dict[str, str]:
        """The SHA-256 of each file that is written whole, by agent, the oldest first. Only what changed is read."""
        known = self._watched.glimpses(self._host)
        seen: dict[str, Glimpse] = {}
        waiting: list[str] = []
        kept = time.monotonic()
        for agent in self._folder.agents():
            glimpse = _glimpse(agent)
            if glimpse is None:
                continue
            last = known.get(agent.name)
            if last is not None and last.sha256 is not None and not last.has_changed(glimpse):
                seen[agent.name] = last
                continue
            if self._is_being_written(agent, glimpse, last):
                seen[agent.name] = glimpse
                waiting.append(agent.name)
                continue
            seen[agent.name] = self._read(agent, glimpse)
            if time.monotonic() - kept > KEPT_EVERY_SECONDS:
                self._watched.keep_glimpses(self._host, {**known, **seen})
                kept = time.monotonic()
        if seen != known:
            self._watched.keep_glimpses(self._host, seen)
        if waiting:
            self._say(f"{len(waiting)} not written whole yet, and wait: {some(waiting)}")
        return {agent: glimpse.sha256 for agent, glimpse in seen.items() if glimpse.sha256 is not None}

    def _is_being_written(self, agent: CheckpointAgent, glimpse: Glimpse, last: Glimpse | None) -> bool:
        # Whoever copies a file may give it an old modification time, but not an old time of change.
        is_fresh = time.time_ns() - glimpse.ctime_ns < self._settle_ns
        # Where the files' clock is another machine's, what is fresh may look old.
        has_grown = last is not None and last.sha256 is None and last.size != glimpse.size
        return is_fresh or has_grown or _is_cut_short(Path(agent.path))

    def _read(self, agent: CheckpointAgent, glimpse: Glimpse) -> Glimpse:
        try:
            sha256 = file_sha256(Path(agent.path))
        except OSError as error:
            self._say(f"{agent.name} cannot be read: {error.strerror or error}")
            return glimpse
        after = _glimpse(agent)
        # What was written to while it was read is nobody's content.
        return glimpse if after is None or glimpse.has_changed(after) else replace(glimpse, sha256=sha256)

    def _say(self, line: str) -> None:
        self._looked.notes.append(f"{self._folder.name}: {line}")

    def _now(self) -> dict[str, str]:
        return {"host": self._host, "at": datetime.now(UTC).isoformat(timespec="seconds")}


def _glimpse(agent: CheckpointAgent) -> Glimpse | None:
    try:
        status = Path(agent.path).stat()
    except OSError:  # it was removed since, as a trainer does with its old ones
        return None
    return Glimpse(size=status.st_size, mtime_ns=status.st_mtime_ns, ctime_ns=status.st_ctime_ns, inode=status.st_ino)


def _is_cut_short(path: Path) -> bool:
    """Whether it begins as torch's archives do and lacks their end, which is written last."""
    try:
        with path.open("rb") as file:
            return file.read(len(_ZIP)) == _ZIP and not zipfile.is_zipfile(file)
    except OSError:  # whoever reads all of it says so
        return False
