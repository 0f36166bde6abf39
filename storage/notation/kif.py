"""Games in KIF, as the board programs of Japan read it (柿木将棋's format)."""

from __future__ import annotations

import unicodedata

import cshogi
from cshogi import KIF

from banzuke.games.positions import START_POSITION
from banzuke.record import GameRecord
from storage.notation.endings import kif_ending
from storage.notation.remark import remark_of
from storage.notation.walk import walked

HEADING = "# KIF version=2.0 "
"""First line of every game begins so: where a file holds several, the next begins here."""
_MOVE_COLUMNS = 13
"""Of a move, in columns of half a wide character."""


def to_kif(record: GameRecord, encoding: str = "UTF-8") -> str:
    """One game. Times are whole seconds, rounded down; scores (``**評価値``) are Black's; times of day are UTC.

    Args:
        record: the game.
        encoding: of the file that it is meant for, for its heading.

    Raises:
        CorruptPartError: a move is not legal.
    """
    walk = walked(record)
    black, white = walk.names
    lines = [
        f"{HEADING}encoding={encoding}",
        f"# {remark_of(record)}",
        f"開始日時：{record.started_at:%Y/%m/%d %H:%M:%S}",
        f"終了日時：{record.finished_at:%Y/%m/%d %H:%M:%S}",
        f"棋戦：{record.run_id}",
        f"先手：{black}",
        f"後手：{white}",
        *_position(record.start_position),
        "手数----指手---------消費時間--",
    ]
    spent = [0, 0]
    before = None
    for ply, native in enumerate(walk.natives):
        seconds = walk.seconds(ply)
        spent[ply % 2] += seconds
        lines.append(_line(ply + 1, KIF.move_to_kif(native, before), seconds, spent[ply % 2]))
        score = walk.eval_for_black(ply)
        if score is not None:
            lines.append(f"**評価値 {score}")
        before = native
    plies = len(walk.natives)
    word, said = kif_ending(record.termination, black_has_the_move=walk.black_has_the_move, black_won=walk.black_won)
    if word:
        lines.append(_line(plies + 1, word, 0, spent[plies % 2]))
    lines.append(f"まで{plies}手で{said}")
    return "\n".join(lines) + "\n"


def _position(sfen: str) -> list[str]:
    if sfen == START_POSITION:
        return ["手合割：平手"]
    return str(KIF.board_to_bod(cshogi.Board(sfen))).splitlines()


def _line(number: int, move: str, seconds: int, spent: int) -> str:
    columns = sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in move)
    minutes = f"{seconds // 60:2d}:{seconds % 60:02d}"
    total = f"{spent // 3600:02d}:{spent // 60 % 60:02d}:{spent % 60:02d}"
    return f"{number:4d} {move}{' ' * max(1, _MOVE_COLUMNS - columns)}({minutes}/{total})"
