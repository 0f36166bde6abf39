"""An engine's process plays many games, one after the other; none of them may feel the others."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from staging import engine

from banzuke.clock import Clock
from banzuke.games.shogi import START_POSITION, ShogiRules
from banzuke.match.openings import default_book
from banzuke.outcome import Side
from banzuke.players.usi import UsiPlayer
from banzuke.specs import SearchLimit, UsiAgent
from banzuke.suites.positions import PROBES

SECONDS = 30.0
NO_CLOCK = Clock.start(None)


@contextmanager
def opened(name: str, limit: SearchLimit, options: Mapping[str, int]) -> Iterator[UsiPlayer]:
    """A real engine, closed at the end; skips where it is not installed, fails there on CI."""
    engine(name)
    agent = UsiAgent(name=name, kind="usi", command=(name,), limit=limit, options=dict(options))
    player = UsiPlayer.open(agent, deadline=time.monotonic() + SECONDS)
    try:
        yield player
    finally:
        player.close()


def answer(player: UsiPlayer, position: str, *moves: str) -> str:
    """The engine's move in a new game."""
    board = ShogiRules().start(position, max_plies=320)
    for move in moves:
        board.push(move)
    player.new_game(side=Side.FIRST, seed=1, deadline=time.monotonic() + SECONDS)
    deadline = time.monotonic() + SECONDS
    choice = player.choose(board, clock=NO_CLOCK, opponent_clock=NO_CLOCK, deadline=deadline)
    player.game_over(None)
    return choice.move


def self_play(player: UsiPlayer, *opening: str, plies: int = 40) -> list[str]:
    """A game of an engine against itself in one process."""
    board = ShogiRules().start(START_POSITION, max_plies=320)
    for move in opening:
        board.push(move)
    player.new_game(side=Side.FIRST, seed=1, deadline=time.monotonic() + SECONDS)
    while len(board.moves) < plies and board.outcome() is None:
        deadline = time.monotonic() + SECONDS
        board.push(player.choose(board, clock=NO_CLOCK, opponent_clock=NO_CLOCK, deadline=deadline).move)
    player.game_over(None)
    return list(board.moves)


def test_gpsshogi_plays_from_the_start_position_after_other_positions() -> None:
    """Gpsusi hung for ever at `position startpos` once it had searched positions given as SFEN."""
    limit = SearchLimit(byoyomi_ms=1000)
    with opened("gpsusi", limit, {"LimitDepth": 4, "Thread": 1, "BookDepth": 0}) as player:
        for probe in PROBES:
            answer(player, probe.position)

        move = answer(player, START_POSITION, "2h4h", "5a4b", "1g1f", "8b7b", "9g9f", "7c7d", "1f1e", "7d7e")

    assert move not in {"", "resign"}


def test_same_whatever_the_order_of_games_in_one_fairy_stockfish() -> None:
    """Fairy-Stockfish remembers through `usinewgame`; its games must not depend on what it played before."""
    limit, options = SearchLimit(nodes=1000), {"Threads": 1, "Hash": 16}
    openings = [opening.moves for opening in default_book()[:8]]

    with opened("fairy-stockfish", limit, options) as player:
        forwards = [self_play(player, *moves) for moves in openings]
    with opened("fairy-stockfish", limit, options) as player:
        backwards = [self_play(player, *moves) for moves in reversed(openings)]

    assert forwards == list(reversed(backwards))
