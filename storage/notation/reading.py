"""Games of others, and our own exports, from the text of a file.

Whatever the text holds, it is a game that follows the rules or a :class:`NotationError` with the line at fault.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from storage.notation.draft import NotationError, ReadGame
from storage.notation.read_csa import read_csa
from storage.notation.read_kif import MOVE, read_kif

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["NotationError", "ReadGame", "decoded", "games_in", "read_game"]

LARGEST_BYTES = 256 * 2**20
"""Of one file."""
_KIF_HEADING = re.compile("# ?KIF version=")
_CSA_HEADING = re.compile("V[0-9]|N\\+")
"""Of the next game, where files were put one after the other."""
ENCODINGS = ("utf-8-sig", "cp932", "euc_jp")
"""As they are met in the wild, the strictest first."""


def decoded(content: bytes) -> str:
    """The text of a file.

    Raises:
        NotationError: it is too large, or in no encoding that is in use for games.
    """
    if len(content) > LARGEST_BYTES:
        raise NotationError(f"{len(content)} bytes are more than {LARGEST_BYTES}; split it")
    for encoding in ENCODINGS:
        try:
            return content.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise NotationError(f"in none of the encodings {', '.join(ENCODINGS)}")


def games_in(text: str) -> Iterator[tuple[int, str]]:
    """The text of each game of a file in either notation, with the number of its first line."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    begun, is_over = 0, False
    for number, line in enumerate(lines):
        is_between = line.strip() == "/"
        is_heading = _KIF_HEADING.match(line) is not None or (is_over and _CSA_HEADING.match(line) is not None)
        if is_between or (is_heading and number > begun):
            yield from _unless_empty(begun, lines[begun:number])
            begun, is_over = number + is_between, False
        is_over = is_over or line.startswith("%")
    yield from _unless_empty(begun, lines[begun:])


def _unless_empty(begun: int, lines: Sequence[str]) -> Iterator[tuple[int, str]]:
    if any(line.strip() for line in lines):
        yield begun + 1, "\n".join(lines)


def read_game(text: str, first_line: int = 1) -> ReadGame:
    """One game in CSA or KIF, whichever it is.

    Args:
        text: of the game alone.
        first_line: its number in the file, for errors.

    Raises:
        NotationError: it is in neither, or no game.
    """
    lines = list(enumerate(text.split("\n"), first_line))
    for number, line in lines:
        if line.startswith(("position startpos", "position sfen ")):
            raise NotationError(f"line {number}: lines for a USI engine are only written; what is read are CSA and KIF")
    told = [line for _, line in lines if not line.startswith("'")]
    is_kif = any("手数----" in line or line.startswith("手合割") or MOVE.match(line) for line in told)
    return read_kif(lines) if is_kif else read_csa(lines)
