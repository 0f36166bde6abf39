"""Locks: files held by the kernel on a local filesystem, leases on any other; and who holds one.

A lock file is there only while it is held. Its holder removes it *while holding it*, so whoever opens it may
find that what it locked no longer has the name; it then begins again. What a killed process leaves is removed
by the next taker, or by :func:`remove_if_free`.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import socket
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

LOCK_NAME = re.compile(r"\.[a-z]+(-[0-9]+)?\.lock")
"""What the plain name of a lock looks like."""

_MOST_TRIES = 100


def take(path: Path, note: Mapping[str, Any]) -> int | None:
    """Lock the file, made if need be, and write the note into it; at once.

    The kernel lets go of it when this process dies. Processes that are started meanwhile do not hold it
    (those that are only forked do, until :func:`release`).

    Returns:
        What to give to :func:`release`; None if somebody else holds it.

    Raises:
        OSError: the file cannot be made, or the filesystem knows no locks.
    """
    for _ in range(_MOST_TRIES):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
        try:
            if not _is_locked_now(descriptor):
                os.close(descriptor)
                return None
            if _has_the_name(descriptor, path):
                _write_in_place(descriptor, note)
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
    # Others take and free it all the time: it is in use.
    return None


def release(path: Path, descriptor: int) -> None:
    """Give back what :func:`take` returned, and remove the file."""
    with suppress(OSError):
        _remove_while_held(path, descriptor)
    with suppress(OSError):
        # Not only by closing: a process forked this moment has the descriptor until it executes its program.
        fcntl.flock(descriptor, fcntl.LOCK_UN)
    os.close(descriptor)


def is_held(path: Path) -> bool:
    """Whether somebody holds a lock file; what a killed process left is held by nobody.

    Raises:
        OSError: it cannot be opened.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def remove_if_free(path: Path) -> None:
    """Remove a lock file that nobody holds.

    Raises:
        OSError: it cannot be opened or removed.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        if _is_locked_now(descriptor):
            _remove_while_held(path, descriptor)
    finally:
        os.close(descriptor)


def _is_locked_now(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _has_the_name(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat(follow_symlinks=False))
    except FileNotFoundError:
        return False


def _remove_while_held(path: Path, descriptor: int) -> None:
    if _has_the_name(descriptor, path):
        path.unlink()


def _write_in_place(descriptor: int, note: Mapping[str, Any]) -> None:
    # A full disk costs the note, which is for people, not the lock.
    with suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(dict(note)).encode(), 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """Who holds a lock, as it has written itself; None for what is not known."""

    pid: int | None
    host: str | None
    since: datetime | None
    """UTC."""
    mark: str = ""
    """What it has written for others of its kind."""

    @property
    def is_unconfirmed(self) -> bool:
        """It has written nothing (yet), or is a process of this machine that is no more."""
        if self.pid is None or self.host is None:
            return True
        return self.host == socket.gethostname() and not is_alive(self.pid)

    def __str__(self) -> str:
        """For the middle of a sentence."""
        process = "another process" if self.pid is None else f"process {self.pid}"
        where = "" if self.host is None else f" on {self.host}"
        return (
            f"{process}{where}"
            if self.since is None
            else f"{process}{where} (since {self.since:%Y-%m-%d %H:%M:%S} UTC)"
        )


def my_note(mark: str = "") -> dict[str, Any]:
    """What this process writes into a lock that people may look at."""
    since = datetime.now(UTC).isoformat(timespec="seconds")
    note = {"pid": os.getpid(), "host": socket.gethostname(), "since": since}
    return {**note, "mark": mark} if mark else note


def read_note(text: bytes) -> Holder:
    """Whoever wrote :func:`my_note`, as far as it can be read."""
    try:
        note = json.loads(text)
    except (ValueError, RecursionError):
        note = None
    said = note if isinstance(note, dict) else {}
    pid, host = said.get("pid"), said.get("host")
    return Holder(
        pid=pid if isinstance(pid, int) and not isinstance(pid, bool) and pid > 0 else None,
        host=host if isinstance(host, str) and host.isprintable() and 0 < len(host) <= 255 else None,
        since=_moment(said.get("since")),
        mark=str(said.get("mark", "")),
    )


def _moment(written: object) -> datetime | None:
    try:
        return datetime.fromisoformat(str(written)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def is_alive(pid: int) -> bool:
    """Whether there is a process of that number here."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
