"""Make the suites of mates in 1, 3 and 5 plies, from games of an engine that errs now and then.

    python examples/make_mates.py --output examples/suites
    python examples/make_mates.py --verify examples/suites

A position is kept if its mate was proved by search through every move and every reply:

* the side to move mates in at most N plies against any defence, giving check with every move;
* ``bm`` lists all first moves that do so, at most three;
* moves without check would add nothing: no other first move mates in at most N plies, and no mate is shorter.

The same seed, book and engine version give the same files, byte for byte.
"""

from __future__ import annotations

import argparse
import random
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import cshogi
from make_openings import OPTIONS, Engine

from banzuke.match.openings import default_book
from banzuke.suites.positions import SuitePosition, read_suite

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

LENGTHS = (1, 3, 5)
"""Plies to the mate, the mating move included."""
MOVE_NODES = 1_200
ERRORS = 0.12
"""How often a move of a game is drawn from all legal ones instead of asked of the engine."""
EARLIEST_PLY = 30
LONGEST_GAME = 240
MOST_KEYS = 3
"""With more right answers a position says little about who finds one."""


def main() -> None:
    """Make the three suites, or verify them."""
    arguments = _arguments()
    if arguments.verify:
        sys.exit(_verify(arguments.verify))
    with Engine(arguments.engine) as engine:
        suites = _collect(engine, arguments.seed, arguments.count)
        for plies, suite in suites.items():
            text = _header(plies, arguments, engine.name) + "".join(map(_line, suite))
            (arguments.output / f"mate-in-{plies}.sfen").write_text(text, encoding="utf-8")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Make the suites of mates in 1, 3 and 5 plies, or verify them.")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=80, help="positions per suite, half of them with Black to move")
    parser.add_argument("--engine", default="fairy-stockfish")
    task = parser.add_mutually_exclusive_group(required=True)
    task.add_argument("--output", type=Path, help="the folder to write the suites to")
    task.add_argument("--verify", type=Path, help="the folder of the suites to search again; exits 1 on a fault")
    arguments = parser.parse_args()
    if arguments.count < 2 or arguments.count % 2:
        parser.error("--count must be even: half of the positions have Black to move")
    return arguments


def _header(plies: int, arguments: argparse.Namespace, engine_name: str) -> str:
    options = ", ".join(f"{name}={value}" for name, value in OPTIONS.items())
    return (
        f"# {arguments.count} positions with a mate in {plies} {'ply' if plies == 1 else 'plies'}, "
        "half of them with Black to move.\n"
        f"# Made by examples/make_mates.py --seed {arguments.seed} --count {arguments.count}\n"
        f"# from games of {engine_name} ({options}, {MOVE_NODES} nodes a move,\n"
        f"# {ERRORS:.0%} of the moves at random) that begin with the book's openings.\n"
        f"# bm: every first move that forces mate in at most {plies}, proved by full search.\n"
    )


def _line(position: SuitePosition) -> str:
    return f'{position.position} bm {" ".join(position.best_moves)}; id "{position.position_id}";\n'


def _collect(engine: Engine, seed: int, size: int) -> dict[int, list[SuitePosition]]:
    """``size`` positions per length, at most one per length, colour and game."""
    suites: dict[int, list[SuitePosition]] = {plies: [] for plies in LENGTHS}
    places = {(plies, colour): size // 2 for plies in LENGTHS for colour in "bw"}
    seen: set[str] = set()
    game = 0
    while any(places.values()):
        chance = random.Random(f"{seed}/{game}")  # noqa: S311 - variety, not secrecy
        for (plies, colour), positions in _mates_of_game(engine, chance).items():
            found = _first_proved(positions, plies, seen) if places[plies, colour] else None
            if found is not None:
                position, keys = found
                seen.add(_without_number(position))
                places[plies, colour] -= 1
                name = f"mate-in-{plies}-{len(suites[plies]) + 1:03d}"
                suites[plies].append(SuitePosition(position_id=name, position=position, best_moves=keys))
        game += 1
        print(f"\r{game} games, {sum(places.values())} to go  ", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return suites


def _mates_of_game(engine: Engine, chance: random.Random) -> dict[tuple[int, str], list[str]]:
    """The positions of one game with a mate by checks, by its length and the attacker's colour."""
    found: dict[tuple[int, str], list[str]] = {}
    for board in _game(engine, chance):
        plies = _shortest_mate_by_checks(board)
        if plies:
            positions = found.setdefault((plies, "b" if board.turn == cshogi.BLACK else "w"), [])
            # In an order of its own, so that early and late positions of an attack are equally likely.
            positions.insert(int(chance.random() * (len(positions) + 1)), board.sfen())
    return found


def _game(engine: Engine, chance: random.Random) -> Iterator[cshogi.Board]:
    """The board of one game after every ply from :data:`EARLIEST_PLY` on."""
    book = default_book()
    moves = list(book[int(chance.random() * len(book))].moves)
    board = cshogi.Board()
    for move in moves:
        board.push_usi(move)
    engine.new_game()
    while len(moves) < LONGEST_GAME and not board.is_game_over():
        if len(moves) >= EARLIEST_PLY:
            yield board
        legal = [cshogi.move_to_usi(move) for move in board.legal_moves]
        if chance.random() < ERRORS:
            moves.append(legal[int(chance.random() * len(legal))])
        else:
            moves.append(engine.choices(moves, MOVE_NODES, 1)[0].move)
        board.push_usi(moves[-1])


def _shortest_mate_by_checks(board: cshogi.Board) -> int:
    """Its length in plies, 0 where there is none of up to five."""
    search = Search(checks_only=True)
    return next((plies for plies in LENGTHS if search.can_mate(board, plies)), 0)


def _first_proved(positions: Iterable[str], plies: int, seen: set[str]) -> tuple[str, tuple[str, ...]] | None:
    for position in positions:
        if _without_number(position) in seen:
            continue
        keys = Search(checks_only=True).mating_moves(cshogi.Board(position), plies)
        if len(keys) <= MOST_KEYS and not _faults(position, plies, set(keys)):
            return position, tuple(sorted(keys))
    return None


def _faults(position: str, plies: int, keys: set[str]) -> list[str]:
    """What speaks against ``keys`` being all moves that mate in ``plies`` and none being faster."""
    board = cshogi.Board(position)
    faults = []
    if set(Search(checks_only=True).mating_moves(board, plies)) != keys:
        faults.append("other moves mate by checks alone")
    if set(Search(checks_only=False).mating_moves(board, plies)) != keys:
        faults.append("other moves mate if moves without check are allowed")
    if plies > 1 and Search(checks_only=False).can_mate(board, plies - 2):
        faults.append("there is a shorter mate")
    return faults


def _without_number(position: str) -> str:
    return position.rpartition(" ")[0]


@dataclass(slots=True)
class Search:
    """Proves or refutes a mate by trying every move of the attacker against every reply.

    Positions with a mate are won for the attacker whatever the defender does, so neither repetition nor the
    length of the game matters within five plies.
    """

    checks_only: bool
    """Whether the attacker must give check with every move, as in a mating problem, or the last alone."""
    _refutations: dict[int, int] = field(default_factory=dict)
    """The last reply that refuted a move, by plies left: it often refutes the next one too."""

    def mating_moves(self, board: cshogi.Board, plies: int) -> list[str]:
        """All first moves that mate in at most ``plies`` plies."""
        return [cshogi.move_to_usi(move) for move in self._moves(board, plies) if self._mates(board, move, plies)]

    def can_mate(self, board: cshogi.Board, plies: int) -> bool:
        """Whether any move does."""
        # cshogi's own answer is quick, but wrong now and then where the side to move is in check itself.
        if not board.is_check() and board.mate_move_in_1ply():
            return True
        return any(self._mates(board, move, plies) for move in self._moves(board, plies))

    def _moves(self, board: cshogi.Board, plies: int) -> list[int]:
        return list(board.check_moves if self.checks_only or plies == 1 else board.legal_moves)

    def _mates(self, board: cshogi.Board, move: int, plies: int) -> bool:
        board.push(move)
        lost = board.is_game_over() if plies == 1 else self._is_lost(board, plies - 1)
        board.pop()
        return lost

    def _is_lost(self, board: cshogi.Board, plies: int) -> bool:
        """Whether the side to move is mated whatever it does, within the plies left, its own included."""
        replies = list(board.legal_moves)
        usual = self._refutations.get(plies)
        if usual in replies:
            replies.remove(usual)
            replies.insert(0, usual)
        for reply in replies:
            board.push(reply)
            mated = self.can_mate(board, plies - 1)
            board.pop()
            if not mated:
                self._refutations[plies] = reply
                return False
        return True


def _verify(folder: Path) -> int:
    """Search every position again, and ask cshogi's own mate searches for a second opinion."""
    faults = 0
    for plies in LENGTHS:
        suite = read_suite(folder / f"mate-in-{plies}.sfen")
        for position in suite:
            found = _faults(position.position, plies, set(position.best_moves))
            found += _second_opinion(position.position, plies)
            for fault in found:
                print(f"{position.position_id}: {fault}")
            faults += len(found)
        print(f"{len(suite)} mates in {plies} searched")
    return 1 if faults else 0


def _second_opinion(position: str, plies: int) -> list[str]:
    """What cshogi's df-pn search, which knows nothing of ours, holds against a mate in exactly ``plies``."""
    faults = []
    if not cshogi.DfPn(depth=plies).search(cshogi.Board(position)):
        faults.append(f"df-pn finds no mate in {plies}")
    if plies > 1 and cshogi.DfPn(depth=plies - 2).search(cshogi.Board(position)):
        faults.append(f"df-pn finds a mate in {plies - 2}")
    return faults


if __name__ == "__main__":
    main()
