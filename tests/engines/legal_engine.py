"""A USI engine that thinks for a while and then plays a legal move: ``python legal_engine.py [SECONDS]``."""

from __future__ import annotations

import sys
import time

import cshogi


def main() -> None:
    """Answer line by line until ``quit`` or the end of the input."""
    think = float(sys.argv[1]) if len(sys.argv) > 1 else 0.0
    board = cshogi.Board()
    for line in sys.stdin:
        words = line.split()
        command = words[0] if words else ""
        if command == "usi":
            say("id name legal\nusiok")
        elif command == "isready":
            say("readyok")
        elif command == "position":
            board.set_position(line.strip().removeprefix("position "))
        elif command == "go":
            time.sleep(think)
            moves = sorted(cshogi.move_to_usi(move) for move in board.legal_moves)
            say(f"bestmove {moves[0] if moves else 'resign'}")
        elif command == "quit":
            return


def say(text: str) -> None:
    """Write a line at once."""
    print(text, flush=True)


if __name__ == "__main__":
    main()
