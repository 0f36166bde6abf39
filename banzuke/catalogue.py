"""The catalogue: who may play on this machine. Its operator writes it; what comes from a server only names names.

It is read anew for every run. Its form is checked as a whole; whether an agent's files and programs are there is asked
of those that are chosen, so that one that is gone does not stop a tournament of others.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from pydantic import RootModel

from banzuke.checkpoint_folder import CheckpointFolder, FolderContents, FolderSection
from banzuke.errors import SpecError
from banzuke.faults import hint, shown, shown_name
from banzuke.specs import AgentSpec, LimitsSpec, Name, Section, SectionReader, Text
from banzuke.toml_file import read_toml

EVERYBODY = "*"
MOST_WORDS = 100_000
MOST_PATTERNS = 100
"""Every pattern is held against every name."""
MOST_LOST_SHOWN = 10
LONGEST_WORD = 256
"""A name has 64 characters; a pattern may have sets in brackets."""


class _NamedFiles(RootModel[dict[Name, Text]]):
    """Position suites or opening books by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogue:
    """A catalogue as its file and its folders were when it was loaded."""

    path: Path
    agents: tuple[AgentSpec, ...]
    """Of ``[[agents]]``, then of each folder the newest last. Paths are absolute."""
    folders: tuple[CheckpointFolder, ...]
    limits: LimitsSpec
    """The defaults of this machine, and the most that a run may take."""
    notes: tuple[str, ...]
    """What was skipped in the folders and why, one line each."""
    written_ns: Mapping[str, int]
    """When the file of each agent of a folder was last written."""
    suite_paths: Mapping[str, str]
    book_paths: Mapping[str, str]

    @property
    def directory(self) -> Path:
        """What relative paths begin at."""
        return self.path.resolve().parent

    def choose(self, wanted: Sequence[str], *, newest: int = 0) -> tuple[AgentSpec, ...]:
        """The agents that are named or matched, each once, in the order of the catalogue.

        Args:
            wanted: names, or shell patterns (``epoch-*``); ``*`` is everybody.
            newest: of the checkpoints of folders that only patterns match, so many are kept, the newest; 0: all.

        Raises:
            SpecError: a name or a pattern is nobody's: one line each, with the near names.
        """
        words = named_words(wanted)
        if not words:
            raise SpecError(f'nobody is named; "{EVERYBODY}" is everybody')
        names = {agent.name: agent for agent in self.agents}
        literal = {word for word in words if not is_pattern(word)}
        hits = {word: {name for name in names if fnmatchcase(name, word)} for word in words if is_pattern(word)}
        lost = [word for word in words if (word not in names if word in literal else not hits[word])]
        if lost:
            raise SpecError(*_lines_about(lost, names))
        matched = set().union(*hits.values())
        if newest > 0:
            aged = sorted((self.written_ns[name], name) for name in matched & self.written_ns.keys())
            matched -= {name for _, name in aged[:-newest]}
        return tuple(agent for agent in self.agents if agent.name in matched or agent.name in literal)

    def agent(self, name: str) -> AgentSpec:
        """The agent of that name.

        Raises:
            SpecError: there is none; one line, with the near names.
        """
        by_name = {agent.name: agent for agent in self.agents}
        return by_name[_looked_up(name, by_name, "nobody")]

    def folder(self, name: str) -> CheckpointFolder:
        """The folder of checkpoints of that name.

        Raises:
            SpecError: there is none; one line, with the near names.
        """
        by_name = {folder.name: folder for folder in self.folders}
        return by_name[_looked_up(name, by_name, "no folder of checkpoints")]

    def suite(self, name: str) -> str | None:
        """The absolute path of a position suite; None for no name.

        Raises:
            SpecError: there is none of that name; one line, with the near names.
        """
        return self.suite_paths[_looked_up(name, self.suite_paths, "no suite")] if name != "" else None

    def openings(self, name: str) -> str | None:
        """The absolute path of an opening book; None for no name.

        Raises:
            SpecError: there is none of that name; one line, with the near names.
        """
        return self.book_paths[_looked_up(name, self.book_paths, "no opening book")] if name != "" else None


def named_words(wanted: object) -> list[str]:
    """A list of names or patterns as it may come from a server, each once; empty ones are rows left blank in a form.

    Raises:
        SpecError: it is no list of texts, or longer than anybody means it; one line.
    """
    if not isinstance(wanted, list | tuple):
        raise SpecError(f"must be a list of names, not {shown(wanted)}")
    if len(wanted) > MOST_WORDS:
        raise SpecError(f"{len(wanted):,} names are more than the {MOST_WORDS:,} that are looked up")
    for word in wanted:
        if not isinstance(word, str):
            raise SpecError(f"must be a list of names, and {shown(word)} is none")
        if len(word) > LONGEST_WORD:
            raise SpecError(
                f"{shown_name(word)} has {len(word):,} characters; no name or pattern has more than {LONGEST_WORD}"
            )
    words = [word for word in dict.fromkeys(wanted) if word]
    if sum(map(is_pattern, words)) > MOST_PATTERNS:
        raise SpecError(f"more than the {MOST_PATTERNS} patterns that are looked up")
    return words


def is_pattern(word: str) -> bool:
    """Whether it may match several names."""
    return any(sign in word for sign in "*?[")


def _lines_about(lost: Sequence[str], names: Iterable[str]) -> Iterator[str]:
    for word in lost[:MOST_LOST_SHOWN]:
        said = f"nobody matches {shown_name(word)}" if is_pattern(word) else f"nobody is called {shown_name(word)}"
        yield f"{said}; {hint(word.strip('*?'), names)}"
    if len(lost) > MOST_LOST_SHOWN:
        yield f"… and {len(lost) - MOST_LOST_SHOWN:,} more that are nobody's"


def _looked_up(name: object, known: Iterable[str], nothing: str) -> str:
    if isinstance(name, str) and name in known:
        return name
    if not isinstance(name, str):
        raise SpecError(f"must be a name, not {shown(name)}")
    raise SpecError(f"{nothing} is called {shown_name(name)}; {hint(name, known)}")


def load_catalogue(path: Path) -> Catalogue:
    """Read and validate a catalogue, and look at its folders.

    Raises:
        SpecError: with one line for every fault found; the file may be missing, not TOML, or wrong in any part.
    """
    reader = _CatalogueReader(read_toml(path), path.resolve().parent)
    catalogue = reader.read(path)
    if catalogue is None:
        raise SpecError(*(f"{path}: {fault}" for fault in reader.shown_faults()))
    return catalogue


_KEYS = ("agents", "checkpoints", "suites", "openings", "limits")


class _CatalogueReader(SectionReader):
    def read(self, path: Path) -> Catalogue | None:
        self.validate(Section, {key: value for key, value in self.raw.items() if key not in _KEYS}, "", _KEYS)
        agents = self.agents()
        suites = self.section("suites", _NamedFiles)
        books = self.section("openings", _NamedFiles)
        limits = self.section("limits", LimitsSpec)
        folders = self._folders()
        seen = [(folder, contents) for folder in folders if (contents := self._looked_at(folder)) is not None]
        self._check_unique(seen)
        if not agents and not folders and not self.faults:
            self.faults.append("names nobody: it needs [[agents]] or [[checkpoints]]")
        if self.faults or suites is None or books is None or limits is None:
            return None
        return Catalogue(
            path=path,
            agents=(*agents, *(agent for _, contents in seen for agent in contents.agents)),
            folders=tuple(folders),
            limits=limits,
            notes=tuple(note for _, contents in seen for note in contents.notes),
            written_ns={name: at for _, contents in seen for name, at in contents.written_ns.items()},
            suite_paths=self._absolute(suites),
            book_paths=self._absolute(books),
        )

    def _folders(self) -> list[CheckpointFolder]:
        raw = self.raw.get("checkpoints", [])
        if not isinstance(raw, list):
            self.faults.append("checkpoints: must be tables, [[checkpoints]]")
            return []
        folders: dict[str, CheckpointFolder] = {}
        for index, entry in enumerate(raw):
            named = isinstance(entry, dict) and isinstance(entry.get("name"), str)
            where = f"checkpoints {shown(entry['name'])}" if named else f"checkpoints[{index}]"
            section = self.validate(FolderSection, entry, where)
            if section is None:
                continue
            if fault := section.naming_fault() or section.format_fault():
                self.faults.append(f"{where}: {fault}")
            if section.name in folders:
                self.faults.append(f"{where}: a folder of that name is given before; names are unique")
            folder = Path(os.path.realpath(self.directory / section.folder))
            folders[section.name] = CheckpointFolder(folder=folder, section=section)
        return list(folders.values())

    def _looked_at(self, folder: CheckpointFolder) -> FolderContents | None:
        try:
            return folder.look()
        except SpecError as error:
            self.faults += error.faults
            return None

    def _check_unique(self, seen: Sequence[tuple[CheckpointFolder, FolderContents]]) -> None:
        given: dict[str, list[str]] = {}
        for name in self.names():
            given.setdefault(name, []).append("[[agents]]")
        for folder, contents in seen:
            for agent in contents.agents:
                given.setdefault(agent.name, []).append(f"checkpoints {folder.name!r}")
        for name, by in given.items():
            if len(by) > 1 and self.has_enough:
                self.more += 1
            elif len(by) > 1:
                self.faults.append(
                    f"agent {shown(name)}: is given by {' and by '.join(by)}; names are unique "
                    '(agent = "night-{stem}" in a folder gives its files others)'
                )

    def _absolute(self, files: _NamedFiles) -> dict[str, str]:
        return {name: str(self.directory / file) for name, file in files.root.items()}
