"""A folder of checkpoints whose files are agents, as a catalogue names it and as it is at this moment.

Files are only looked at, never read: there may be thousands, of a hundred megabytes each.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from pydantic import Field

from banzuke.errors import SpecError
from banzuke.faults import shown, some
from banzuke.specs import LARGEST_CHECKPOINT_BYTES, CheckpointAgent, Name, NetworkReading, Text, is_name

STEM = "{stem}"


class FolderSection(NetworkReading):
    """One of ``[[checkpoints]]``: the files of a folder, and how all of them are read."""

    name: Name
    """Of the folder, not of an agent."""
    folder: Text
    files: str = Field("*.pt", min_length=1, max_length=255)
    """A shell pattern of file names."""
    agent: str = Field(STEM, max_length=255)
    """What an agent is called; ``{stem}`` is the file's name without its last suffix."""

    def naming_fault(self) -> str | None:
        """What is wrong with the pattern of files or the template of names, or None."""
        if "/" in self.files or "\0" in self.files:
            return (
                f"files: {shown(self.files)} is no pattern of file names; folders inside the folder are not looked at"
            )
        if self.agent.count(STEM) != 1 or not is_name(self.agent.replace(STEM, "x")):
            return f'agent: {shown(self.agent)} makes no names: it needs {STEM} once, e.g. agent = "night-{STEM}"'
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderContents:
    """Who is in a folder."""

    agents: tuple[CheckpointAgent, ...]
    """The newest last."""
    written_ns: Mapping[str, int]
    """When the file of each agent was last written."""
    notes: tuple[str, ...]
    """What was skipped and why: a line for each reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointFolder:
    """A folder of the catalogue."""

    folder: Path
    """Absolute, links followed."""
    section: FolderSection

    @property
    def name(self) -> str:
        """What the catalogue calls it."""
        return self.section.name

    def agents(self) -> tuple[CheckpointAgent, ...]:
        """Who is in it now, the newest last: by the time of the last writing, then by name.

        Raises:
            SpecError: the folder cannot be looked at.
        """
        return self.look().agents

    def look(self) -> FolderContents:
        """Who is in it now, since when, and what was skipped.

        A link that leaves the folder is skipped: whoever may write there would else decide which file of the machine
        is read. A temporary name (``.x``, ``x.tmp``) or an empty file is one that is still being written.

        Raises:
            SpecError: the folder cannot be looked at.
        """
        found: list[tuple[int, str, str]] = []
        skipped: dict[str, list[str]] = {}
        for file_name in self._file_names():
            agent = self.section.agent.replace(STEM, Path(file_name).stem)
            try:
                path = str(self.folder / file_name)
                status = os.lstat(path)
                if stat.S_ISLNK(status.st_mode):
                    path = os.path.realpath(path, strict=True)
                    status = os.lstat(path)
            except FileNotFoundError:  # it was removed since, as a trainer does with its old ones
                continue
            except OSError as error:
                reason: str | None = f"cannot be looked at ({error.strerror})"
            else:
                reason = self._reason_to_skip(agent, Path(path), status)
            if reason is None:
                found.append((status.st_mtime_ns, agent, path))
            else:
                skipped.setdefault(reason, []).append(shown(file_name))
        found.sort()
        return FolderContents(
            agents=tuple(self._agent(agent, path) for _, agent, path in found),
            written_ns={agent: written_ns for written_ns, agent, _ in found},
            notes=tuple(
                f"checkpoints {self.name!r}: these files {reason}, and are no agents: {some(names)}"
                for reason, names in sorted(skipped.items())
            ),
        )

    def _file_names(self) -> Iterable[str]:
        try:
            names = sorted(path.name for path in self.folder.iterdir())
        except OSError as error:
            raise SpecError(
                f"checkpoints {self.name!r}: folder: cannot be looked at: {error.strerror}: {self.folder}"
            ) from error
        return [
            name
            for name in names
            if not name.startswith(".") and not name.endswith(".tmp") and fnmatchcase(name, self.section.files)
        ]

    def _reason_to_skip(self, agent: str, path: Path, status: os.stat_result) -> str | None:
        if not path.is_relative_to(self.folder):
            return "leave the folder (a link; name the file in [[agents]])"
        if not stat.S_ISREG(status.st_mode):
            return "are no regular files"
        if not is_name(agent):
            return "make no name of an agent"
        if status.st_size == 0:
            return "are empty"
        if status.st_size > LARGEST_CHECKPOINT_BYTES:
            return f"have more than {LARGEST_CHECKPOINT_BYTES:,} bytes"
        return None

    def _agent(self, name: str, path: str) -> CheckpointAgent:
        # Everything in it has been validated, once for all files.
        reading = {key: getattr(self.section, key) for key in NetworkReading.model_fields}
        return CheckpointAgent.model_construct(kind="checkpoint", name=name, path=path, **reading)
