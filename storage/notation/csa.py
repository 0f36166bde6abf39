"""Games in CSA's file format, version 2.2 (Computer Shogi Association, 2009), as floodgate writes scores into it."""

from __future__ import annotations

import cshogi

from banzuke.games.positions import START_POSITION
from banzuke.record import GameRecord
from storage.notation.endings import csa_ending
from storage.notation.remark import remark_of
from storage.notation.walk import walked

BETWEEN_GAMES = "/\n"


def to_csa(record: GameRecord) -> str:
    """One game; several of them are joined by :data:`BETWEEN_GAMES`.

    Times are whole seconds, rounded down, and scores (``'**``) are Black's, in centipawns; times of day are UTC.

    Raises:
        CorruptPartError: a move is not legal.
    """
    walk = walked(record)
    black, white = walk.names
    lines = [
        "V2.2",
        f"N+{black}",
        f"N-{white}",
        f"$EVENT:{record.run_id}",
        f"$START_TIME:{record.started_at:%Y/%m/%d %H:%M:%S}",
        f"$END_TIME:{record.finished_at:%Y/%m/%d %H:%M:%S}",
        f"$OPENING:{record.opening_id}",
        f"'{remark_of(record)}",
        *_position(record.start_position),
    ]
    signs = "+-" if walk.black == "first" else "-+"
    for ply, native in enumerate(walk.natives):
        lines += [f"{signs[ply % 2]}{cshogi.move_to_csa(native)}", f"T{walk.seconds(ply)}"]
        score = walk.eval_for_black(ply)
        if score is not None:
            lines.append(f"'** {score}")
    lines.append(csa_ending(record.termination, black_has_the_move=walk.black_has_the_move, black_won=walk.black_won))
    return "\n".join(lines) + "\n"


def _position(sfen: str) -> list[str]:
    if sfen == START_POSITION:
        return ["PI", "+"]
    return str(cshogi.Board(sfen).csa_pos()).splitlines()
