"""Text files with a shogi position or a line of play on each line: every fault is reported at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from banzuke.errors import SpecError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MOST_FAULTS_SHOWN = 10
LONGEST_LINE = 20_000
LARGEST_FILE_BYTES = 32 << 20
Entry = TypeVar("Entry")


def read_position_file(path: Path, parse: Callable[[str], Entry], key: Callable[[Entry], str]) -> tuple[Entry, ...]:
    """Parse every line that is not empty; ``#`` begins a comment.

    Args:
        path: a UTF-8 text file.
        parse: turns a line, stripped and without its comment, into an entry; its ValueError names the fault.
        key: what no two entries may share, as people would name it.

    Raises:
        SpecError: the file cannot be read, holds no entry, or some lines are at fault: one line for each of
            the first ten, then how many more there are.
    """
    faults: list[str] = []
    entries: list[Entry] = []
    line_of_key: dict[str, int] = {}
    for number, raw in enumerate(_read(path).split(b"\n"), start=1):
        try:
            line = _without_comment(raw)
            if not line:
                continue
            entry = parse(line)
        except ValueError as error:
            faults.append(f"{path}:{number}: {error}")
            continue
        first = line_of_key.setdefault(key(entry), number)
        if first != number:
            faults.append(f"{path}:{number}: {key(entry)} is already given in line {first}")
        entries.append(entry)
    if not entries and not faults:
        raise SpecError(f"{path}: holds no position")
    if faults:
        raise SpecError(*_shown(faults, path))
    return tuple(entries)


def clipped(text: str) -> str:
    """The text as a person may be shown it: quoted, on one line, not longer than 60 characters or so."""
    return repr(text if len(text) <= 60 else text[:57] + "...")


def _read(path: Path) -> bytes:
    try:
        # A pipe or a device would be read for ever.
        if path.exists() and not path.is_file():
            raise SpecError(f"{path}: cannot be read: it is no regular file")
        size = path.stat().st_size
        if size > LARGEST_FILE_BYTES:
            raise SpecError(f"{path}: has {size:,} bytes, more than the {LARGEST_FILE_BYTES:,} that are read")
        content = path.read_bytes()
    except OSError as error:
        raise SpecError(f"{path}: cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise SpecError(f"{str(path)!r}: cannot be read: {error}") from error
    return content.removeprefix(b"\xef\xbb\xbf")


def _without_comment(raw: bytes) -> str:
    if len(raw) > LONGEST_LINE:
        raise ValueError(f"the line is {len(raw)} bytes long; at most {LONGEST_LINE} are read")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"is not UTF-8 text (byte {error.start + 1} of the line)") from error
    return text.partition("#")[0].strip()


def _shown(faults: list[str], path: Path) -> list[str]:
    more = len(faults) - MOST_FAULTS_SHOWN
    if more <= 0:
        return faults
    return [*faults[:MOST_FAULTS_SHOWN], f"{path}: and {more} more line{'s' * (more > 1)} at fault"]
