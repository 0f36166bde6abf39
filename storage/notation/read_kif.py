"""Games in KIF (柿木将棋's format), with diagrams and handicaps; variations are passed over."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import cshogi
from cshogi import KIF

from banzuke.outcome import Outcome, Side, Termination
from storage.notation.diagram import Diagram
from storage.notation.draft import (
    Draft,
    NotationError,
    ReadGame,
    ended_without_a_word,
    lost,
    lost_by_foul,
    lost_on_time,
    moment,
    plain_name,
    unfinished,
)
from storage.notation.remark import read_remark

if TYPE_CHECKING:
    from collections.abc import Sequence

    from banzuke.games.shogi import ShogiBoard

MOVE = re.compile(r" *[0-9]{1,5} +\S")
_TIME = re.compile(r"\( *([0-9]{1,4}):([0-9]{1,2})(?::([0-9]{1,2}))?")
_SCORE = re.compile(r"\*\*評価値[ =]?(-?[0-9]{1,9})")
_RESULT = re.compile(r"[ 　]*まで、?[0-9]+手で(.*)")
_WORDS = ("中断", "投了", "持将棋", "千日手", "詰み", "切れ負け", "反則勝ち", "反則負け", "入玉勝ち")
_BLACKS, _WHITES = ("先手", "下手"), ("後手", "上手")
_PIECES = {
    "・": "",
    "歩": "P", "香": "L", "桂": "N", "銀": "S", "角": "B", "飛": "R", "金": "G", "玉": "K", "王": "K",
    "と": "+P", "杏": "+L", "圭": "+N", "全": "+S", "馬": "+B", "龍": "+R", "竜": "+R",
}  # fmt: skip
_KANJI = {kanji: number for number, kanji in enumerate(cshogi.NUMBER_JAPANESE_KANJI_SYMBOLS) if kanji}
_EVEN = frozenset({"平手", "その他"})
"""Handicaps that are none, or leave the move to Black all the same."""


def read_kif(lines: Sequence[tuple[int, str]]) -> ReadGame:
    """One game.

    Args:
        lines: with their numbers in the file.

    Raises:
        NotationError: it is none.
    """
    game, headings, rows = Draft(), dict[str, str](), list[str]()
    word = said = ""
    for number, line in lines:
        if found := _RESULT.fullmatch(line):
            said = found[1]
            break
        if line.startswith("変化"):
            break
        if MOVE.match(line) and not word:
            if not game.has_begun:
                game.begin(_position(headings, rows, number), number)
            word = _word(line)
            if not word:
                _move(game, line, number)
        elif not _is_about_the_game(game, line, headings, rows) and not MOVE.match(line):
            raise NotationError(f"line {number}: {line[:40]!r} is neither CSA nor KIF")
    if not game.has_begun:
        game.begin(_position(headings, rows, lines[0][0]), lines[0][0])
    return game.ended(_outcome(word, said, game.board))


def _is_about_the_game(game: Draft, line: str, headings: dict[str, str], rows: list[str]) -> bool:
    """Take in a line that moves nothing; whether it was one."""
    bare = line.strip()
    if line.startswith(("#", "*")):
        if score := _SCORE.match(line):
            game.set_score(int(score[1]))
        game.remark = game.remark or read_remark(line[1:].strip())
    elif bare.startswith("|"):
        rows.append(bare)
    elif bare in {"後手番", "上手番", "先手番", "下手番"}:
        headings["手番"] = bare
    elif "：" in line:
        key, _, value = line.partition("：")
        headings[key.strip()] = value.strip()
        _heading(game, key.strip(), value)
    else:
        return not bare or line.startswith(("手数", "+", "&", " ", "　"))
    return True


def _heading(game: Draft, key: str, value: str) -> None:
    if key in _BLACKS:
        game.names[0] = plain_name(value)
    elif key in _WHITES:
        game.names[1] = plain_name(value)
    elif key == "棋戦":
        game.event = plain_name(value)
    elif key == "戦型":
        game.opening = plain_name(value)
    elif key == "開始日時":
        game.started_at = moment(value)


def _word(line: str) -> str:
    rest = line.split(maxsplit=1)[1]
    return next((word for word in _WORDS if rest.startswith(word)), "")


def _move(game: Draft, line: str, number: int) -> None:
    is_same = re.match(r" *[0-9]+ +同", line) is not None
    if is_same and not game.board.moves:
        raise NotationError(f"line {number}: {line.strip()[:40]!r}: there is no move before it")
    # Some write "same" without the wide space that cshogi looks for.
    spelt = re.sub(r"同[ 　]*(?=[^ 　])", "同　", line, count=1)
    try:
        native, _, _ = KIF.Parser.parse_move_str(spelt, game.board.cshogi)
    except (ValueError, IndexError, RuntimeError):
        native = None
    game.push(native or 0, number, line.strip())
    if time := _TIME.search(line):
        parts = [int(part) for part in time.groups() if part is not None]
        game.set_time(1000 * sum(part * 60**place for place, part in enumerate(reversed(parts))))


def _position(headings: dict[str, str], rows: Sequence[str], number: int) -> str:
    """The start position: of the diagram, or of the handicap's name where there is none."""
    name = headings.get("手合割", "平手")
    if not rows:
        sfen = KIF.Parser.HANDYCAP_SFENS.get(name)
        if sfen is None:
            raise NotationError(f"line {number}: {name[:40]!r} is no handicap that has a position of its own")
        return str(sfen)
    if len(rows) != 9:
        raise NotationError(f"line {number}: the diagram has {len(rows)} rows of 9")
    diagram = Diagram()
    for rank, row in enumerate(rows, 1):
        _put(diagram, row, rank, number)
    for black, keys in ((True, _BLACKS), (False, _WHITES)):
        said = next((headings[f"{key}の持駒"] for key in keys if f"{key}の持駒" in headings), "なし")
        _hold(diagram, said, number, black=black)
    turn = headings.get("手番", "" if name in _EVEN else "上手番")
    diagram.black_has_the_move = not turn.startswith(_WHITES)
    return diagram.sfen()


def _put(diagram: Diagram, row: str, rank: int, number: int) -> None:
    cells = re.findall("..?", row.strip("|").split("|")[0])
    if len(cells) != 9 or any(cell[1:] not in _PIECES or cell[0] not in " v^" for cell in cells):
        raise NotationError(f"line {number}: {row[:40]!r} is no row of a diagram")
    for place, cell in enumerate(cells):
        if piece := _PIECES[cell[1]]:
            diagram.squares[9 - place, rank] = piece.lower() if cell[0] == "v" else piece


def _hold(diagram: Diagram, said: str, number: int, *, black: bool) -> None:
    for item in re.split("[ 　]+", said):
        if item in {"", "なし"}:
            continue
        piece, count = _PIECES.get(item[0], ""), _KANJI.get(item[1:], 0) if item[1:] else 1
        if len(piece) != 1 or piece == "K" or not count:
            raise NotationError(f"line {number}: {item[:20]!r} cannot be in hand")
        diagram.hands[black][piece] += count


def _outcome(word: str, said: str, board: ShogiBoard) -> Outcome:
    """Of the last line of moves and the summary, either of which may be missing."""
    if "中断" in (word, said):
        return unfinished("the game was broken off")
    for drawn, termination in (("千日手", Termination.REPETITION), ("持将棋", Termination.ENTERING_KING)):
        if drawn in (word, said):
            return Outcome(termination=termination)
    loser = _loser(word, said, board)
    return ended_without_a_word(board) if loser is None else _loss(word, said, loser, board)


def _loss(word: str, said: str, loser: Side, board: ShogiBoard) -> Outcome:
    if "入玉" in word + said:
        return Outcome(termination=Termination.ENTERING_KING, winner=loser.other)
    if "反則" in word + said:
        return lost_by_foul(loser, board)
    if "切れ" in word + said:
        return lost_on_time(loser)
    return lost(loser, board, Termination.RESIGNATION if word == "投了" else Termination.ADJUDICATED_WIN)


def _loser(word: str, said: str, board: ShogiBoard) -> Side | None:
    if word:
        mover = board.side_to_move
        return mover.other if word in {"反則勝ち", "入玉勝ち"} else mover
    found = re.search(r"(先手|下手|後手|上手)の(?:勝ち|入玉勝ち|反則勝ち|(反則負け))", said)
    if found is None:
        return None
    side = board.black if found[1] in _BLACKS else board.black.other
    return side if found[2] else side.other
