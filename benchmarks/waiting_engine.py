"""A USI engine that only waits: so many milliseconds a move, then its rook goes on along the second rank.

From the start position with pawns of both sides pushed that is legal for dozens of plies and meets nobody; any other
position it resigns. Standard library only: ``python -I -S waiting_engine.py MILLISECONDS``.
"""

from __future__ import annotations

import sys
import time

START = "lnsgkgsnl/1r5b1/ppppppppp/9/9/9/PPPPPPPPP/1B5R1/LNSGKGSNL"
RANKS = "hb"
"""Of the rook of who moves first in the start position, and of the other."""
WALK = "2345676543"
"""Files that the first rook passes; seen from the other side they are 8 to 3 and back."""


def main() -> None:
    """Answer line by line until ``quit`` or the end of the input."""
    seconds = int(sys.argv[1]) / 1000
    answer = "resign"
    for line in sys.stdin:
        words = line.split()
        if words[:1] == ["quit"]:
            return
        if words[:1] == ["usi"]:
            say("id name Waiting\nusiok")
        elif words[:1] == ["isready"]:
            say("readyok")
        elif words[:1] == ["position"]:
            answer = step(plies_of_rooks(words)) if START in words else "resign"
        elif words[:1] == ["go"]:
            time.sleep(seconds)
            say(f"bestmove {answer}")


def plies_of_rooks(words: list[str]) -> int:
    """How many moves went along a rank: those of the book are moves of pawns alone."""
    moves = words[words.index("moves") + 1 :] if "moves" in words else []
    return sum(move[1] == move[3] for move in moves)


def step(plies: int) -> str:
    """The next step of the rook of whoever is to move."""
    side, number = plies % 2, plies // 2
    one, other = (file_of(side, WALK[(number + more) % len(WALK)]) for more in (0, 1))
    return f"{one}{RANKS[side]}{other}{RANKS[side]}"


def file_of(side: int, file: str) -> str:
    """The file of the rook; the second side's is that of the first turned round."""
    return str(10 - int(file)) if side else file


def say(text: str) -> None:
    """At once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
