"""Who an agent is: a content hash over what decides its moves, and the fingerprint of a spec.

Paths and names are in neither: a checkpoint copied elsewhere is the same agent, two files under one name are two.
"""

from __future__ import annotations

import hashlib
import json
import stat
import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from banzuke.specs import (
    LARGEST_CHECKPOINT_BYTES,
    AnyAgent,
    CheckpointAgent,
    Spec,
    UsiAgent,
    find_program,
)

ID_LENGTH = 16
FRESH_NS = 2_000_000_000
"""A file changed so recently may change again without a change of its time stamps, which are coarse."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """An agent's content hash and, where it has one, the hash of its file."""

    agent_id: str
    """16 hexadecimal digits; empty where the agent's files are gone."""
    sha256: str | None
    """Of the checkpoint's file or the engine's program."""
    fault: str | None = None
    """Why there is no ``agent_id``: one line."""


def identify(agent: AnyAgent) -> Identity:
    """The identity of an agent as its files are now. Never raises for a file it cannot read: that is ``fault``."""
    try:
        if isinstance(agent, CheckpointAgent):
            sha256 = _checkpoint_sha256(Path(agent.path))
            return Identity(agent_id=_hash({"kind": "checkpoint", "file": sha256, **_choice(agent)}), sha256=sha256)
        if isinstance(agent, UsiAgent):
            program = file_sha256(find_program(agent.command[0], Path(agent.directory)))
            return Identity(agent_id=_hash(_engine(agent, program)), sha256=program)
    except OSError as error:
        return Identity(agent_id="", sha256=None, fault=f"{error.strerror or error}: {error.filename or agent.name}")
    except ValueError as error:
        return Identity(agent_id="", sha256=None, fault=f"{error}: {agent.name}")
    return Identity(agent_id=_hash(agent.model_dump(mode="json", exclude={"name"})), sha256=None)


def spec_fingerprint(spec: Spec) -> str:
    """A hash of everything in a spec that may not change while a run is resumed.

    ``[limits]`` may change. What the agents are is compared agent by agent, through their ids; where their files and
    the spec lie does not matter. The opening book and the suite count by content.
    """
    document = spec.model_dump(mode="json", exclude={"limits": True, "agents": True, "evaluate": {"suite"}})
    # Keys that came later are in it only where they say something: runs that were begun before stay the same.
    for key in ("target_error", "max_games"):
        if document["tournament"][key] is None:
            del document["tournament"][key]
    document["agents"] = sorted(agent.name for agent in spec.agents)
    openings = spec.tournament.openings
    document["tournament"]["openings"] = None if openings is None else file_sha256(Path(openings))
    suite = spec.evaluate.suite
    document["evaluate"]["suite"] = None if suite is None else file_sha256(Path(suite))
    return _hash(document)


def _checkpoint_sha256(path: Path) -> str:
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise ValueError(f"{path} is no regular file")
    if status.st_size > LARGEST_CHECKPOINT_BYTES:
        raise ValueError(f"{path} has {status.st_size:,} bytes, more than the {LARGEST_CHECKPOINT_BYTES:,} allowed")
    return file_sha256(path)


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file, remembered for as long as the file stays the same one and unwritten.

    Raises:
        OSError: it cannot be read.
        ValueError: the path holds a NUL.
    """
    status = path.stat()
    if time.time_ns() - status.st_ctime_ns < FRESH_NS:
        return _sha256(path)
    # Size and modification time are not enough: both may be copied along with another file.
    stamp = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    return _remembered_sha256(path, stamp)


@lru_cache(maxsize=4096)
def _remembered_sha256(path: Path, _stamp: tuple[int, ...]) -> str:
    return _sha256(path)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _choice(agent: CheckpointAgent) -> dict[str, Any]:
    # Only where they say something: networks that were played before these keys existed stay the same agents.
    declared = {"encoding": agent.encoding, "moves": agent.moves} if agent.format == "exported" else {}
    return {
        "format": agent.format,
        "trained_max_plies": agent.trained_max_plies,
        "temperature": agent.temperature,
        **declared,
    }


def _engine(agent: UsiAgent, program: str) -> dict[str, Any]:
    directory = Path(agent.directory)
    return {
        "kind": "usi",
        "program": {"version": agent.version} if agent.version is not None else program,
        "arguments": [_argument(argument, directory) for argument in agent.command[1:]],
        "options": {name: _by_content(value, directory) for name, value in sorted(agent.options.items())},
        "limit": agent.limit.model_dump(mode="json", exclude={"margin_ms"}),
    }


def _argument(argument: str, directory: Path) -> object:
    whole = _by_content(argument, directory)
    switch, sign, value = argument.partition("=")
    if whole != argument or not sign:
        return whole
    # As in --book=FILE: the file's path is no more part of the agent than where it stands alone.
    content = _by_content(value, directory)
    return argument if content == value else {"switch": switch, "value": content}


def _by_content(value: object, directory: Path) -> object:
    """A value that names a file, as that file's hash; any other as it is."""
    if not isinstance(value, str) or not value or "\0" in value:
        return value
    path = directory / value
    try:
        is_file = path.is_file()
    except OSError:
        # Too long for a name, or behind a door that is closed to us: the engine cannot open it either.
        return value
    return {"file": file_sha256(path)} if is_file else value


def _hash(document: dict[str, Any]) -> str:
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:ID_LENGTH]
