"""Make the book of balanced shogi openings: seeded random walks among an engine's plausible moves.

    python examples/make_openings.py --output banzuke/match/books/shogi-balanced.sfen
    python examples/make_openings.py --verify banzuke/match/books/shogi-balanced.sfen

A walk of 6 to 16 plies from the start position takes, at every ply, one of the moves that the engine holds to
be within a margin of its best. It becomes an opening if the engine then finds the position balanced, and no
other opening ends there. The same seed, count and engine version give the same file, byte for byte.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import threading
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Self

import cshogi

from banzuke.match.openings import Opening, read_book
from banzuke.specs import find_program

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import TracebackType

FEWEST_PLIES, MOST_PLIES = 6, 16
CHOICES = 12
"""Moves looked at in every position of a walk."""
MARGIN_CP = 80
"""A move is plausible if the engine holds it at most this much worse than its best."""
WALK_NODES = 12_000
VERDICT_NODES = 200_000
BALANCED_CP = 100
HASH_MB = 16
OPTIONS = {"Threads": 1, "Hash": HASH_MB, "Contempt": 0}
"""Contempt is switched off because it adds to the score of whoever has the move."""
LONGEST_ANSWER_S = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One of the moves an engine considered."""

    move: str
    score_cp: int
    """From the mover's view; a mate counts as 30000 less the plies to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Walk:
    """Moves from the start position and where they lead."""

    moves: list[str]
    end: str
    """SFEN without the move number."""


def main() -> None:
    """Make a book, or verify one."""
    arguments = _arguments()
    with Engine(arguments.engine) as engine:
        if arguments.verify:
            sys.exit(_verify(arguments.verify, engine, arguments.sample, arguments.within))
        lines = [_header(arguments, engine.name)]
        for found, moves in enumerate(_balanced_walks(engine, arguments.seed), start=1):
            lines.append(f"startpos moves {' '.join(moves)}")
            print(f"\r{found}/{arguments.count}", end="", file=sys.stderr, flush=True)
            if found == arguments.count:
                break
    print(file=sys.stderr)
    arguments.output.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Make the book of balanced shogi openings, or verify one.")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=240)
    parser.add_argument("--engine", default="fairy-stockfish")
    parser.add_argument("--sample", type=int, help="verify only so many openings, spread over the book")
    parser.add_argument("--within", type=int, default=BALANCED_CP, help="centipawns that --verify allows")
    task = parser.add_mutually_exclusive_group(required=True)
    task.add_argument("--output", type=Path, help="the book to write")
    task.add_argument("--verify", type=Path, help="the book to score again; exits 1 on an unbalanced one")
    return parser.parse_args()


def _header(arguments: argparse.Namespace, engine_name: str) -> str:
    options = ", ".join(f"{name}={value}" for name, value in OPTIONS.items())
    return (
        f"# {arguments.count} balanced shogi openings of {FEWEST_PLIES} to {MOST_PLIES} plies.\n"
        f"# Made by examples/make_openings.py --seed {arguments.seed} --count {arguments.count}\n"
        f"# with {engine_name} ({options}):\n"
        f"# at every ply a random one of the best {CHOICES} moves within {MARGIN_CP} centipawns of the best "
        f"({WALK_NODES} nodes);\n"
        f"# kept if the last position is within {BALANCED_CP} centipawns for the side to move "
        f"({VERDICT_NODES} nodes, empty hash table)\n"
        "# and differs from every other last position. The same seed, count and engine give the same file."
    )


def _balanced_walks(engine: Engine, seed: int) -> Iterator[list[str]]:
    """Balanced walks with different last positions, without end."""
    seen: set[str] = set()
    for number in count():
        walk = _walk(engine, random.Random(f"{seed}/{number}"))  # noqa: S311 - variety, not secrecy
        if walk is None or walk.end in seen:
            continue
        if abs(engine.score(walk.moves, VERDICT_NODES)) <= BALANCED_CP:
            seen.add(walk.end)
            yield walk.moves


def _walk(engine: Engine, chance: random.Random) -> Walk | None:
    """Go a drawn number of plies, then on to where the position looks balanced; None where it never does."""
    fewest = FEWEST_PLIES + _draw(chance, MOST_PLIES - FEWEST_PLIES + 1)
    board = cshogi.Board()
    moves: list[str] = []
    engine.new_game()
    while len(moves) <= MOST_PLIES:
        choices = engine.choices(moves, WALK_NODES, CHOICES)
        best = max(line.score_cp for line in choices)
        if len(moves) >= fewest and abs(best) <= BALANCED_CP and not board.is_check():
            return Walk(moves=moves, end=board.sfen().rpartition(" ")[0])
        plausible = sorted(line.move for line in choices if line.score_cp >= best - MARGIN_CP)
        moves.append(plausible[_draw(chance, len(plausible))])
        board.push_usi(moves[-1])
    return None


def _draw(chance: random.Random, choices: int) -> int:
    # random() is the one method whose numbers Python promises to keep for a seed.
    return int(chance.random() * choices)


def _verify(path: Path, engine: Engine, sample: int | None, allowed_cp: int) -> int:
    """Score the last positions again and print them, what is out of balance last."""
    book = read_book(path)
    chosen = book if sample is None else book[:: max(1, len(book) // sample)][:sample]
    scores = {opening.opening_id: engine.score(_from_start(opening), VERDICT_NODES) for opening in chosen}
    for opening in chosen:
        print(f"{opening.opening_id} {len(opening.moves):2d} plies {scores[opening.opening_id]:+5d} cp")
    unbalanced = [name for name, score in scores.items() if abs(score) > allowed_cp]
    worst = max(abs(score) for score in scores.values())
    print(f"{len(chosen)} of {len(book)} openings scored with {engine.name}; largest score {worst} cp")
    for name in unbalanced:
        print(f"{name} is not balanced: {scores[name]:+d} cp")
    return 1 if unbalanced else 0


def _from_start(opening: Opening) -> list[str]:
    if opening.start_position != cshogi.STARTING_SFEN:
        sys.exit(f"{opening.opening_id} begins from {opening.start_position}: not of this script's making")
    return list(opening.moves)


class Engine:
    """A minimal USI dialogue with Fairy-Stockfish, for scores and several variations at once.

    An answer that takes longer than two minutes ends the engine, and with it the script.
    """

    def __init__(self, name: str) -> None:
        self._process = subprocess.Popen(
            [find_program(name, Path.cwd())], stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8"
        )
        greeting = self._ask("usi", until="usiok")
        self.name = next(line.removeprefix("id name ") for line in greeting if line.startswith("id name "))
        for option, value in OPTIONS.items():
            self._tell(f"setoption name {option} value {value}")
        self._variations = 1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()

    def new_game(self) -> None:
        """Forget everything: the next answer depends on the question alone."""
        # Something that sways the scores of Fairy-Stockfish 11.1 outlives usinewgame; setting Threads ends it.
        self._tell(f"setoption name Threads value {OPTIONS['Threads']}")
        self._tell("usinewgame")
        self._ask("isready", until="readyok")

    def score(self, moves: list[str], nodes: int) -> int:
        """Centipawns for the side to move after ``moves`` from the start, with an empty hash table."""
        self.new_game()
        return self.choices(moves, nodes, 1)[0].score_cp

    def choices(self, moves: list[str], nodes: int, variations: int) -> list[Line]:
        """The best moves after ``moves`` from the start position, in no particular order."""
        if variations != self._variations:
            self._tell(f"setoption name MultiPV value {variations}")
            self._variations = variations
        self._tell(f"position startpos moves {' '.join(moves)}" if moves else "position startpos")
        return list(_last_lines(self._ask(f"go nodes {nodes}", until="bestmove")).values())

    def _tell(self, command: str) -> None:
        if self._process.stdin is None:
            raise RuntimeError("the engine has no input")
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()

    def _ask(self, command: str, *, until: str) -> list[str]:
        if self._process.stdout is None:
            raise RuntimeError("the engine has no output")
        self._tell(command)
        alarm = threading.Timer(LONGEST_ANSWER_S, self._process.kill)
        alarm.start()
        try:
            answer: list[str] = []
            for line in self._process.stdout:
                answer.append(line.strip())
                if answer[-1].startswith(until):
                    return answer
        finally:
            alarm.cancel()
        sys.exit(f"the engine ended, or gave no answer to {command!r} within {LONGEST_ANSWER_S:.0f} s")


def _last_lines(answer: list[str]) -> Mapping[str, Line]:
    """The deepest exact score of each variation; an iteration cut short leaves mere bounds."""
    lines: dict[str, Line] = {}
    for text in answer:
        words = text.split()
        if words[:1] != ["info"] or "pv" not in words or not {"lowerbound", "upperbound"}.isdisjoint(words):
            continue
        at = words.index("score")
        score = int(words[at + 2])
        if words[at + 1] == "mate":
            score = 30_000 - score if score > 0 else -30_000 - score
        lines[words[words.index("multipv") + 1]] = Line(move=words[words.index("pv") + 1], score_cp=score)
    return lines


if __name__ == "__main__":
    main()
