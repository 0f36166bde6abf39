"""Games written in CSA, KIF and USI, and read again, by cshogi's own parsers and by ours."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import cshogi
import pytest
from cshogi import CSA, KIF

from banzuke.games.positions import START_POSITION
from banzuke.games.shogi import ShogiRules
from banzuke.outcome import Outcome, Side, Status, Termination
from banzuke.record import SCHEMA_VERSION, GameRecord
from storage.notation.csa import BETWEEN_GAMES, to_csa
from storage.notation.kif import to_kif
from storage.notation.reading import NotationError, decoded, games_in, read_game
from storage.notation.usi import to_usi

WHITE_FIRST = "lnsgkgsnl/1r5b1/ppppppppp/9/9/2P6/PP1PPPPPP/1B5R1/LNSGKGSNL w - 1"
WITH_HANDS = "4k4/9/4P4/9/9/9/9/9/4K4 b R2Pb3p 1"
STARTS = (START_POSITION, WHITE_FIRST, WITH_HANDS)
WHEN = datetime(2026, 11, 29, 1, 2, 3, tzinfo=UTC)
WINNERS = {
    Termination.REPETITION: (None,),
    Termination.MAX_PLIES: (None,),
    Termination.ADJUDICATED_DRAW: (None,),
    Termination.ENTERING_KING: (None, Side.FIRST, Side.SECOND),
}


def played(start: str, plies: int, seed: int) -> GameRecord:
    """A game of random moves, with times and scores; it is given up after so many plies, or ends by the rules."""
    chance = random.Random(seed)
    board = ShogiRules("csa").start(start, max_plies=1000)
    while len(board.moves) < plies and board.outcome() is None:
        board.push(chance.choice(board.legal_moves()))
    outcome = board.outcome() or Outcome(termination=Termination.RESIGNATION, winner=board.side_to_move.other)
    moves = tuple(board.moves)
    evals = tuple(chance.choice((None, chance.randint(-30000, 30000))) for _ in moves)
    return record(start, moves, outcome, tuple(chance.randint(0, 200_000) for _ in moves), evals)


def record(
    start: str,
    moves: tuple[str, ...],
    outcome: Outcome,
    times: tuple[int, ...],
    evals: tuple[int | None, ...] | None,
) -> GameRecord:
    """A row of ``games``."""
    return GameRecord(
        run_id="night-1",
        game_id="night-1--g7",
        pair_id="night-1--p3",
        game_no=7,
        pair_no=3,
        encounter="alpha--beta",
        round=0,
        slot=0,
        attempt=1,
        attempt_id="night-1--g7--a1",
        game="shogi",
        rules="csa",
        first_agent="alpha",
        second_agent="beta",
        first_agent_id="1" * 64,
        second_agent_id="2" * 64,
        opening_id="o1",
        start_position=start,
        opening_plies=0,
        seed=1,
        status=outcome.status,
        termination=outcome.termination,
        winner=outcome.winner,
        fault=outcome.fault,
        detail=outcome.detail,
        plies=len(moves),
        moves=moves,
        move_times_ms=times,
        evals=evals,
        first_time_ms=sum(times[::2]),
        second_time_ms=sum(times[1::2]),
        first_max_move_ms=0,
        second_max_move_ms=0,
        started_at=WHEN,
        finished_at=WHEN,
        host="h",
        device="cpu",
        worker_pid=1,
        flow_run_id=None,
        task_run_id=None,
        banzuke_version="0",
        schema_version=SCHEMA_VERSION,
    )


def with_outcome(game: GameRecord, outcome: Outcome) -> GameRecord:
    """The same moves, with another ending."""
    return replace(
        game,
        status=outcome.status,
        termination=outcome.termination,
        winner=outcome.winner,
        fault=outcome.fault,
        detail=outcome.detail,
    )


def endings() -> list[Outcome]:
    """Every termination with every winner that it may have, but those that need a position to be true."""
    found = []
    for termination in set(Termination) - {Termination.CHECKMATE, Termination.NO_LEGAL_MOVES}:
        if termination.status is Status.VOID:
            found += [Outcome.void(termination, fault, "it 駒\tfailed") for fault in (None, *Side)]
        elif termination.status is Status.FORFEIT:
            found += [Outcome.forfeit(termination, loser, "why") for loser in Side]
        else:
            found += [Outcome(termination=termination, winner=w) for w in WINNERS.get(termination, tuple(Side))]
    return sorted(found, key=str)


def outcome_of(game: GameRecord) -> Outcome:
    return Outcome(termination=game.termination, winner=game.winner, fault=game.fault, detail=game.detail)


def cshogis(winner: Side | None, start: str) -> int:
    """The winner as cshogi's parsers say it."""
    if winner is None:
        return int(cshogi.DRAW)
    is_black = (winner is Side.FIRST) == (" b " in start)
    return int(cshogi.BLACK_WIN if is_black else cshogi.WHITE_WIN)


GAMES = [played(start, plies, seed) for seed, start in enumerate(STARTS) for plies in (0, 1, 60)]


@pytest.mark.parametrize("game", GAMES, ids=range(len(GAMES)))
@pytest.mark.parametrize("write", [to_csa, to_kif])
def test_a_game_is_read_back_as_it_was(game: GameRecord, write: Callable[[GameRecord], str]) -> None:
    """Names, position, moves, scores, times to the millisecond and the ending."""
    ((_, text),) = games_in(write(game))
    read = read_game(text)

    assert (game.start_position, game.moves) == (read.start_position, read.moves)
    assert outcome_of(game) == read.outcome
    assert game.move_times_ms == read.times_ms
    assert (game.evals if any(e is not None for e in game.evals or ()) else None) == read.evals
    assert {"alpha", "beta"} == {read.black, read.white}
    assert ("alpha" == read.black) is read.first_is_black
    assert ("night-1", WHEN, "o1") == (read.event, read.started_at, read.opening)


@pytest.mark.parametrize("game", [played(start, plies, 9) for start in STARTS for plies in (20, 21)], ids=range(6))
def test_every_ending_comes_back_and_cshogi_knows_the_winner(game: GameRecord) -> None:
    """Whoever has the move, in either notation; cshogi's KIF reader knows no diagrams."""
    seconds = [time // 1000 for time in game.move_times_ms]
    for outcome in endings():
        ended = with_outcome(game, outcome)

        assert outcome == read_game(to_csa(ended)).outcome
        assert outcome == read_game(to_kif(ended)).outcome
        (csa,) = CSA.Parser.parse_str(to_csa(ended))
        assert game.moves == tuple(map(cshogi.move_to_usi, csa.moves))
        assert (game.start_position, seconds) == (cshogi.Board(csa.sfen).sfen(), csa.times)
        assert cshogis(outcome.winner, game.start_position) == csa.win, csa.endgame
        if game.start_position == START_POSITION:
            kif = KIF.Parser.parse_str(to_kif(ended))
            assert game.moves == tuple(map(cshogi.move_to_usi, kif.moves))
            assert (["alpha", "beta"], seconds) == (kif.names, kif.times[: len(game.moves)])
            assert cshogis(outcome.winner, START_POSITION) == (kif.win or cshogi.DRAW), kif.endgame


@pytest.mark.parametrize("write", [to_csa, to_kif])
def test_without_our_remark_the_notation_says_enough(write: Callable[[GameRecord], str]) -> None:
    """Other programs throw comments away: the moves and the winner are still those of the game."""
    for outcome in endings():
        game = with_outcome(played(START_POSITION, 31, 5), outcome)
        text = "\n".join(line for line in write(game).split("\n") if "banzuke" not in line)

        read = read_game(text)

        assert game.moves == read.moves
        assert outcome.winner == read.outcome.winner
        assert (outcome.status is Status.VOID) is (read.outcome.status is Status.VOID)


def test_a_remark_that_does_not_fit_the_game_is_not_believed() -> None:
    """Neither another winner than the notation's nor a mate that is none."""
    game = with_outcome(played(START_POSITION, 20, 3), Outcome(termination=Termination.RESIGNATION, winner=Side.SECOND))
    text = to_csa(game)

    assert Side.SECOND is read_game(text.replace('"winner": "second"', '"winner": "first"')).outcome.winner
    assert Termination.RESIGNATION is read_game(text.replace('"resignation"', '"checkmate"')).outcome.termination
    assert read_game(text.replace('"resignation"', '"adjudicated_win"')).remark is not None


def test_a_mate_is_seen_whatever_the_file_calls_it() -> None:
    """A file of others says that somebody resigned; on the board it was mate."""
    mated = next(
        game
        for game in (played(START_POSITION, 1000, seed) for seed in range(50))
        if game.termination is Termination.CHECKMATE
    )
    text = "\n".join(line for line in to_csa(mated).split("\n") if "banzuke" not in line)

    assert "%TORYO" in text
    assert outcome_of(mated) == read_game(text).outcome


def test_several_games_share_a_file() -> None:
    """Parted by a line with a slash in CSA, by the heading in KIF."""
    for text in (BETWEEN_GAMES.join(map(to_csa, GAMES)), "".join(map(to_kif, GAMES))):
        read = [read_game(part, line) for line, part in games_in(text)]
        assert [game.moves for game in GAMES] == [game.moves for game in read]


@pytest.mark.parametrize("write", [to_csa, to_kif])
def test_a_remark_of_an_older_export_is_read(write: Callable[[GameRecord], str]) -> None:
    """It says nothing of pairs, openings and seeds, and is believed in what it says."""
    lines = write(GAMES[2]).split("\n")
    (at,) = [index for index, line in enumerate(lines) if "banzuke {" in line]
    begun, _, document = lines[at].partition("{")
    older = {"game_id", "rules", "status", "termination", "winner", "fault", "detail", "times_ms"}
    kept = {name: value for name, value in json.loads("{" + document).items() if name in older}
    lines[at] = begun + json.dumps(kept)

    read = read_game("\n".join(lines))

    assert (GAMES[2].move_times_ms, outcome_of(GAMES[2])) == (read.times_ms, read.outcome)
    assert read.remark is not None
    assert (None, None, 0) == (read.remark.pair, read.remark.seed, read.remark.opening_plies)


def test_lines_for_an_engine_are_not_read_and_that_is_said() -> None:
    """Of a file of USI the error names what is written alone and what is read."""
    with pytest.raises(NotationError, match=r"line 3: .*USI.* CSA and KIF"):
        read_game(to_usi(GAMES[2]))


def test_usi_is_a_line_for_an_engine() -> None:
    """The position and the moves, after comments."""
    game = played(WHITE_FIRST, 3, 1)

    lines = to_usi(game).splitlines()

    assert ["#", "#"] == [line[0] for line in lines[:2]]
    assert f"position sfen {WHITE_FIRST} moves {' '.join(game.moves)}" == lines[2]
    assert "position startpos" == to_usi(played(START_POSITION, 0, 1)).splitlines()[2]


OTHERS_CSA = """'a game of floodgate's
V2
N+engine_one
N-engine_two
$EVENT:wdoor+floodgate-300-10F+one+two
$START_TIME:2026/01/02 03:04:05
P1-KY-KE-GI-KI-OU-KI-GI-KE-KY
P2 * -HI *  *  *  *  * -KA *
P3-FU-FU-FU-FU-FU-FU-FU-FU-FU
P4 *  *  *  *  *  *  *  *  *
P5 *  *  *  *  *  *  *  *  *
P6 *  *  *  *  *  *  *  *  *
P7+FU+FU+FU+FU+FU+FU+FU+FU+FU
P8 * +KA *  *  *  *  * +HI *
P9+KY+KE+GI+KI+OU+KI+GI+KE+KY
+
+7776FU,T3
'** 54 -3334FU +2726FU
-3334FU,T2
%TORYO,T1
"""
OTHERS_KIF = """# ----  Kifu for Windows V7 V7.52 棋譜ファイル  ----
開始日時：2026/01/02 3:04
手合割：平手　　
先手：山田
後手：鈴木
手数----指手---------消費時間--
*駒をならべる
   1 ７六歩(77)   ( 0:16/00:00:16)
   2 ３四歩(33)   ( 0:01/00:00:01)
   3 ２二角成(88) ( 1:00/00:01:16)+
   4 同　銀(31)   ( 0:00/00:00:01)
   5 ４五角打     ( 0:00/00:01:16)
   6 投了         ( 0:00/00:00:01)
まで5手で先手の勝ち

変化：3手
   3 ２六歩(27)   ( 0:00/00:00:00)
"""


def test_games_of_other_programs_are_read() -> None:
    """As floodgate and Kifu for Windows write them."""
    csa = read_game(OTHERS_CSA)
    kif = read_game(decoded(OTHERS_KIF.encode("cp932")))

    assert (("7g7f", "3c3d"), (3000, 2000), (54, None)) == (csa.moves, csa.times_ms, csa.evals)
    assert ("engine_one", "engine_two", Side.SECOND) == (csa.black, csa.white, csa.outcome.winner)
    assert ("7g7f", "3c3d", "8h2b+", "3a2b", "B*4e") == kif.moves
    assert ("山田", "鈴木", Side.FIRST) == (kif.black, kif.white, kif.outcome.winner)
    assert (16_000, 1_000, 60_000, 0, 0) == kif.times_ms
    assert Termination.RESIGNATION is csa.outcome.termination is kif.outcome.termination


@pytest.mark.parametrize(
    "text",
    [
        "garbage",
        "<html>",
        "PI\n+\n+7775FU\n%TORYO",
        "PI\n+\n-3334FU\n%TORYO",
        "PI\n+\n+0055KA\n",
        "P1-KY-KE\n+\n+7776FU\n",
        "P1\nP2\n+\n",
        "P+00AL\n+\n%TORYO",
        "P+00" + "FU" * 20 + "\n+\n+7776FU",
        "V2.2\nN+a\n",
        "手合割：平手\n手数----\n   1 同　歩(77)\n",
        "手合割：平手\n手数----\n   1 ７五歩(77)\n",
        "手合割：平手\n手数----\n   1 ５五歩打\n",
        "手合割：平手\n手数----\n   1 ０〇歩(00)\n",
        "手合割：その他\n手数----\n   1 ７六歩(77)\n",
        "後手の持駒：玉\n" + "|v香v桂v銀v金v玉v金v銀v桂v香|一\n" * 9 + "手数----\n   1 ７六歩(77)\n",
        "|v香|一\n手数----\n   1 ７六歩(77)\n",
        "\x00\x01\x02",
        "PI\n+\n" + "+7776FU\n-3334FU\n" * 3,
    ],
)
def test_what_is_no_game_is_refused_with_its_line(text: str) -> None:
    """One line of words, whatever is in the file; never a crash."""
    with pytest.raises(NotationError) as refused:
        read_game(text)

    assert 1 == len(str(refused.value).splitlines())
    assert "line " in str(refused.value)


def test_damaged_games_end_in_words() -> None:
    """A byte is changed anywhere in a good file: it is another game, or an error of ours, and both happen."""
    chance = random.Random(1)
    read = refused = 0
    for text in [to_csa(GAMES[2]), to_kif(GAMES[2]), to_csa(GAMES[8]), to_kif(GAMES[8]), OTHERS_CSA, OTHERS_KIF]:
        for _ in range(300):
            damaged = bytearray(text.encode())
            for _ in range(chance.randint(1, 3)):
                damaged[chance.randrange(len(damaged))] = chance.randrange(256)
            try:
                read += sum(1 for line, part in games_in(decoded(bytes(damaged))) if read_game(part, line))
            except NotationError:
                refused += 1

    assert read > 100
    assert refused > 100


@pytest.mark.parametrize(
    "text",
    [
        to_csa(GAMES[2]) + to_csa(GAMES[1]),
        to_kif(GAMES[2]) + to_kif(GAMES[1]).replace("# KIF version", "#KIF version"),
    ],
)
def test_files_that_were_put_one_after_the_other_are_all_read(text: str) -> None:
    """Without a separator, a game begins where its version or heading stands."""
    assert [GAMES[2].moves, GAMES[1].moves] == [read_game(part, line).moves for line, part in games_in(text)]


def test_a_comment_does_not_change_the_notation() -> None:
    """Words of KIF in a comment of CSA."""
    assert read_game("'手数----\n" + OTHERS_CSA).moves == read_game(OTHERS_CSA).moves


def test_a_time_is_no_longer_than_a_store_can_keep() -> None:
    """Sums of times are sums of what is kept."""
    text = OTHERS_KIF.replace("( 1:00/", "(9999:59:59/")

    assert 2**31 - 1 == read_game(text).times_ms[2]
