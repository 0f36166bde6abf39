"""How an ending is written in each notation, and what it was where only the notation says so.

No notation has a word for each of our terminations. What is written is the nearest that makes every reader take the
right side for the winner; which termination it was exactly stands in the comment of :mod:`storage.notation.remark`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from banzuke.outcome import Status, Termination

if TYPE_CHECKING:
    from collections.abc import Mapping

DRAWS: Mapping[Termination, tuple[str, str]] = {
    Termination.REPETITION: ("%SENNICHITE", "千日手"),
    Termination.ENTERING_KING: ("%JISHOGI", "持将棋"),
}
"""In CSA and in KIF; others are written as if both sides had agreed."""
AGREED_DRAW = ("%HIKIWAKE", "持将棋")

LOSSES: Mapping[Termination, tuple[str, str]] = {
    Termination.CHECKMATE: ("%TORYO", "詰み"),
    Termination.TIME_FORFEIT: ("%TIME_UP", "切れ負け"),
    Termination.ILLEGAL_MOVE: ("%ILLEGAL_MOVE", "反則負け"),
}
"""Of the side to move; others it loses as if it had resigned."""

FOULS = frozenset({Termination.PERPETUAL_CHECK, Termination.FALSE_CLAIM})
"""Lost by breaking a rule, whoever has the move."""

RESIGNATION = ("%TORYO", "投了")
NO_RESULT = {Termination.CANCELLED: "%CHUDAN"}


def csa_ending(termination: Termination, *, black_has_the_move: bool, black_won: bool | None) -> str:
    """The special move that ends a game; CSA's file format 2.2.

    Args:
        termination: how it ended.
        black_has_the_move: in the last position.
        black_won: None for a draw or no result.
    """
    if termination.status is Status.VOID:
        return NO_RESULT.get(termination, "%ERROR")
    if black_won is None:
        return DRAWS.get(termination, AGREED_DRAW)[0]
    foul_by_the_other = "%-ILLEGAL_ACTION" if black_won else "%+ILLEGAL_ACTION"
    if termination in FOULS:
        return foul_by_the_other
    if black_won == black_has_the_move:
        return "%KACHI" if termination is Termination.ENTERING_KING else foul_by_the_other
    return LOSSES.get(termination, RESIGNATION)[0]


def kif_ending(termination: Termination, *, black_has_the_move: bool, black_won: bool | None) -> tuple[str, str]:
    """The last line of moves (empty for none), and what the summary says after the number of moves; KIF."""
    if termination.status is Status.VOID:
        return "中断", "中断"
    if black_won is None:
        word = DRAWS.get(termination, AGREED_DRAW)[1]
        return word, word
    winner, loser = ("先手", "後手") if black_won else ("後手", "先手")
    mover_won = black_won == black_has_the_move
    if termination in FOULS or termination is Termination.ILLEGAL_MOVE:
        return ("反則勝ち" if mover_won else "反則負け"), f"{loser}の反則負け"
    if termination is Termination.ENTERING_KING:
        return "", f"{winner}の入玉勝ち"
    return ("" if mover_won else LOSSES.get(termination, RESIGNATION)[1]), f"{winner}の勝ち"
