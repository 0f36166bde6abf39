"""The rules of shogi: moves, endings under both rule sets, and positions that must be refused."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from banzuke.games.shogi import (
    START_POSITION,
    RuleSet,
    ShogiBoard,
    ShogiRules,
    check_position,
    rules_named,
)
from banzuke.outcome import Outcome, Side, Termination

if TYPE_CHECKING:
    import cshogi

FIRST, SECOND = Side.FIRST, Side.SECOND
FAIRY = shutil.which("fairy-stockfish", path="/usr/games:/usr/local/bin:/usr/bin")

# Published perft numbers. Start position: the table of qiita.com/ak11/items/8bd5f2bb0f5b014143c8.
# Most legal moves, matsuri, midgame, habu_kato, pin_checker, double_check: the reference data of the Rust
# library rsshogi 1.0.2, tests/test_data/perft_expectations.json, which leaves out some of the depths below.
# gentest-6 and -8: "Shogi Perft numbers", talkchess.com, topic 71550 (hands respelt: PPP is 3P in SFEN).
# Depth 2 of each is asked of Fairy-Stockfish as well.
PERFT = {
    "start": (START_POSITION, (30, 900, 25_470, 719_731)),
    "most legal moves": ("R8/2K1S1SSk/4B4/9/9/9/9/9/1L1L1L3 b RBGSNLP3g3n17p 1", (593, 105_677)),
    "matsuri, rich in drops": (
        "l6nl/5+P1gk/2np1S3/p1p4Pp/3P2Sp1/1PPb2P1P/P5GS1/R8/LN4bKL w RGgsn5p 1",
        (207, 28_684, 4_809_015),
    ),
    "midgame": (
        "l4S2l/4g1gs1/5p1p1/pr2N1pkp/4Gn3/PP3PPPP/2GPP4/1K7/L3r+s2L w BS2N5Pb 1",
        (98, 15_850, 1_114_656),
    ),
    "habu_kato": (
        "ln1g5/1r2S1k2/p2pppn2/2ps2p2/1p7/2P6/PPSPPPPLP/2G2K1pr/LN4G1b w BGSLPnp 62",
        (74, 16_440, 864_786),
    ),
    "pin_checker": (
        "ln3gsn1/7kl/3+B1p1p1/p4s2p/2P6/P2B3PP/1PNP+rPP2/2G3SK1/L4G1NL b G3Prs3p 65",
        (101, 15_744, 1_183_354),
    ),
    "double_check": (
        "ln2+r1r2/5s+Pkl/3+B1p1p1/p4B2p/2P6/P6PP/1PNP1P3/2G3SK1/L4G1NL w 2GSN3Ps3p 76",
        (2, 445),
    ),
    "gentest-6": ("lr6l/3g1kg2/p2pp2s+P/2Ps1ppp1/8L/P1nP2PR1/1P3PS2/1SGK5/LN3G3 b B2N3Pb2p 1", (7, 755)),
    "gentest-8": ("l+Rl2g2+R/2p+Sks2+L/p3p4/2Ppnp1S1/4n1Pbp/PP2G4/1G3P+n2/Kp2P4/L8 w GS4Pbnp 1", (2, 326)),
}


def begin(position: str = START_POSITION, *, rules: RuleSet = "csa", max_plies: int = 320) -> ShogiBoard:
    return ShogiRules(rules).start(position, max_plies=max_plies)


def played(position: str, moves: str, *, rules: RuleSet = "csa", max_plies: int = 320) -> ShogiBoard:
    """The board after ``moves``, having made sure that none of them but the last ended the game."""
    board = begin(position, rules=rules, max_plies=max_plies)
    for move in moves.split():
        assert board.outcome() is None, f"ended before {move}"
        board.push(move)
    return board


def turned_square(square: str) -> str:
    return str(10 - int(square[0])) + "ihgfedcba"["abcdefghi".index(square[1])]


def turned_moves(moves: str) -> str:
    """The same moves seen from the other side of the board."""
    turned = []
    for move in moves.split():
        start = move[:2] if "*" in move else turned_square(move[:2])
        turned.append(start + turned_square(move[2:4]) + move[4:])
    return " ".join(turned)


def turned_position(position: str) -> str:
    """The same position with the colours exchanged."""
    board, side, hands, number = position.split(" ")
    pieces = list(board.swapcase()[::-1])
    for index, character in enumerate(pieces):
        if character == "+":
            pieces[index - 1], pieces[index] = "+", pieces[index - 1]
    return " ".join(("".join(pieces), "w" if side == "b" else "b", hands.swapcase(), number))


def random_boards(seed: int, count: int, plies: int = 160) -> list[ShogiBoard]:
    """Boards in the middle of random games, most of them under way."""
    chance = random.Random(seed)
    boards = []
    for _ in range(count):
        board = begin(max_plies=1000)
        for _ in range(chance.randrange(plies)):
            moves = board.legal_moves()
            if not moves:
                break
            board.push(chance.choice(moves))
        boards.append(board)
    return boards


def collide(board: ShogiBoard) -> None:
    """Make all positions of the game hash alike."""
    board._keys = [0] * len(board._keys)
    board._times_seen = {0: len(board._keys)}


def perft(board: cshogi.Board, depth: int) -> int:
    if depth == 1:
        return len(board.legal_moves)
    leaves = 0
    for move in board.legal_moves:
        board.push(move)
        leaves += perft(board, depth - 1)
        board.pop()
    return leaves


def fairy(commands: str) -> str:
    run = subprocess.run(
        [str(FAIRY)], input=f"usi\n{commands}quit\n", capture_output=True, text=True, timeout=60, check=True
    )
    return run.stdout


# --- moves


@pytest.mark.parametrize("name", PERFT)
def test_perft_numbers_are_the_published_ones(name: str) -> None:
    """From each position there are exactly as many lines of legal moves as others have published."""
    position, published = PERFT[name]
    board = begin(position)

    counted = tuple(perft(board.cshogi, depth) for depth in range(1, len(published) + 1))

    assert published == counted
    assert published[0] == len(board.legal_moves())
    assert position == board.position()


@pytest.mark.skipif(FAIRY is None, reason="fairy-stockfish is not installed")
def test_fairy_stockfish_counts_the_same() -> None:
    """Fairy-Stockfish agrees with the published numbers at depth 2."""
    commands = "".join(f"position sfen {position}\ngo perft 2\n" for position, _ in PERFT.values())

    answered = fairy(commands)

    counts = [int(line.split(":")[1]) for line in answered.splitlines() if line.startswith("Nodes searched")]
    assert [published[1] for _, published in PERFT.values()] == counts


@pytest.mark.skipif(FAIRY is None, reason="fairy-stockfish is not installed")
def test_fairy_stockfish_knows_the_same_legal_moves() -> None:
    """In positions of random games Fairy-Stockfish lists exactly our legal moves."""
    boards = random_boards(seed=7, count=150)
    commands = "".join(f"position sfen {board.position()}\ngo perft 1\n" for board in boards)

    answered = fairy(commands)

    listed: list[set[str]] = [set()]
    for line in answered.splitlines():
        if line.startswith("Nodes searched"):
            listed.append(set())
        elif line.endswith(": 1"):
            listed[-1].add(line.removesuffix(": 1"))
    assert [set(board.legal_moves()) for board in boards] == listed[:-1]


def test_is_legal_is_membership_of_the_legal_moves() -> None:
    """Of all texts that look like a move exactly those in the list of legal moves are legal."""
    squares = [f"{file}{rank}" for file in range(1, 10) for rank in "abcdefghi"]
    texts = [start + end + sign for start in squares for end in squares for sign in ("", "+")]
    texts += [f"{piece}*{end}" for piece in "PLNSGBRK" for end in squares]

    boards = [*random_boards(seed=11, count=12), begin(PERFT["matsuri, rich in drops"][0])]

    for board in boards:
        assert set(board.legal_moves()) == {text for text in texts if board.is_legal(text)}


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "resign",
            "win",
            "7g7f ",
            " 7g7f",
            "7g7f\n",
            "7G7F",
            "7g7f++",
            "7g7f+",
            "77f",
            "0a0b",
            "9j9i",
            "7g",
            "P*",
        ),
        *(
            "P*5e",
            "K*5e",
            "p*5e",
            "P*5e+",
            "5e",
            "\x007g7f",
            "\uff17g\uff17f",
            "\ud800",
            "7g7f" * 100_000,
            "none",
        ),
    ],
)
def test_rubbish_is_not_a_legal_move(text: str) -> None:
    """A text that is no legal move is just not legal, and pushing it changes nothing."""
    board = begin()

    legal = board.is_legal(text)

    assert not legal
    with pytest.raises(ValueError, match="is not a legal move in lnsgkgsnl"):
        board.push(text)
    assert START_POSITION == board.position()
    assert [] == list(board.moves)


def test_a_move_is_judged_anew_after_every_push() -> None:
    """What was legal before a move need not be so after it, even if it is the same text."""
    board = begin()

    before = board.is_legal("7g7f")
    board.push("7g7f")

    assert before
    assert not board.is_legal("7g7f")


@given(st.text())
def test_any_text_may_be_asked(text: str) -> None:
    """Asking never raises, whatever the text."""
    board = begin()

    legal = board.is_legal(text)

    assert (text in board.legal_moves()) == legal


def test_the_order_of_legal_moves_depends_on_the_position_alone() -> None:
    """A position reached by a game lists its moves in the same order as one set up from its SFEN."""
    boards = random_boards(seed=3, count=40)

    for board in boards:
        assert begin(board.position()).legal_moves() == board.legal_moves()


def test_two_pawns_on_a_file_are_illegal() -> None:
    """A pawn cannot be dropped on a file with an own unpromoted pawn, but can beside a promoted one."""
    board = begin("4k4/9/9/9/4P4/9/+P8/9/4K4 b 2P 1")

    assert not board.is_legal("P*5g")
    assert board.is_legal("P*9f")
    assert board.is_legal("P*4g")


def test_a_pawn_drop_may_not_mate() -> None:
    """Mate by dropping a pawn is illegal; mate by moving one and a mere check by a drop are legal."""
    mating_drop = begin("7nk/9/8G/9/9/9/9/9/4K4 b P 1")
    mating_move = played("7nk/9/7GP/9/9/9/9/9/4K4 b - 1", "1c1b")
    checking_drop = begin("7nk/9/9/9/9/9/9/9/4K4 b P 1")

    assert not mating_drop.is_legal("P*1b")
    assert Outcome(termination=Termination.CHECKMATE, winner=FIRST) == mating_move.outcome()
    assert checking_drop.is_legal("P*1b")


@pytest.mark.parametrize(
    ("move", "legal"),
    [
        *(("P*6a", False), ("L*6a", False), ("N*6a", False), ("N*6b", False)),
        *(("P*6b", True), ("L*6b", True), ("N*6c", True), ("S*6a", True)),
        *(("1b1a", False), ("1b1a+", True), ("9d8b", False), ("9d8b+", True)),
    ],
)
def test_a_piece_must_be_able_to_move_on(move: str, legal: bool) -> None:
    """Pawns, lances and knights can be neither dropped nor left where they would have no move."""
    white = turned_position("4k4/8P/9/N8/9/9/9/9/4K4 b PLNS 1")

    as_black = begin("4k4/8P/9/N8/9/9/9/9/4K4 b PLNS 1").is_legal(move)
    as_white = begin(white).is_legal(turned_moves(move))

    assert (legal, legal) == (as_black, as_white)


# --- what a board tells


def test_first_is_whoever_has_the_move_at_the_start() -> None:
    """From a start position with White to move, White is first and Black second."""
    board = begin("lnsgkgsnl/1r5b1/ppppppppp/9/9/2P6/PP1PPPPPP/1B5R1/LNSGKGSNL w - 2")

    assert (FIRST, SECOND) == (board.side_to_move, board.black)
    board.push("3c3d")
    assert SECOND == board.side_to_move
    assert (FIRST, FIRST) == (begin().side_to_move, begin().black)


def test_position_counts_the_moves_on() -> None:
    """The move number of a position goes on from the start position's, which is kept as it was given."""
    start = "lnsgkgsnl/1r5b1/ppppppppp/9/9/9/PPPPPPPPP/1B5R1/LNSGKGSNL b - 41"

    board = played(start, "7g7f 3c3d 8h2b+ 3a2b")

    assert "lnsgkg1nl/1r5s1/pppppp1pp/6p2/9/2P6/PP1PPPPPP/7R1/LNSGKGSNL b Bb 45" == board.position()
    assert start == board.start_position
    assert ["7g7f", "3c3d", "8h2b+", "3a2b"] == list(board.moves)


def test_rules_are_found_by_name() -> None:
    """Both rule sets of shogi are found, anything else is refused with what there is."""
    found = rules_named("shogi", "keisei")

    assert ("shogi", "keisei", ("sente", "gote")) == (found.game, found.name, found.side_names())
    assert ShogiRules("csa") == rules_named("shogi", "csa")
    with pytest.raises(ValueError, match="no rule set 'western'; known: csa, keisei"):
        rules_named("shogi", "western")
    with pytest.raises(ValueError, match="unknown game 'go'; known: shogi"):
        rules_named("go", "csa")


# --- mate, stalemate, length


@pytest.mark.parametrize("rules", ["csa", "keisei"])
def test_mate_wins_for_either_colour(rules: RuleSet) -> None:
    """Who mates wins, Black or White, moving first or second."""
    position, move = "4k4/9/4P4/9/9/9/9/9/4K4 b G 1", "G*5b"

    black_first = played(position, move, rules=rules)
    white_first = played(turned_position(position), turned_moves(move), rules=rules)
    white_second = played("4k4/9/9/9/9/9/4p4/9/3LKL3 b g 1", "4i4h G*5h", rules=rules)

    assert Outcome(termination=Termination.CHECKMATE, winner=FIRST) == black_first.outcome()
    assert Outcome(termination=Termination.CHECKMATE, winner=FIRST) == white_first.outcome()
    assert Outcome(termination=Termination.CHECKMATE, winner=SECOND) == white_second.outcome()


@pytest.mark.parametrize("rules", ["csa", "keisei"])
def test_having_no_move_loses(rules: RuleSet) -> None:
    """A side that is not in check but has no legal move has lost."""
    position, move = "8k/5G3/9/7N1/9/9/9/9/4K4 b - 1", "4b3b"

    black = played(position, move, rules=rules)
    white = played(turned_position(position), turned_moves(move), rules=rules)

    assert Outcome(termination=Termination.NO_LEGAL_MOVES, winner=FIRST) == black.outcome()
    assert Outcome(termination=Termination.NO_LEGAL_MOVES, winner=FIRST) == white.outcome()


def test_a_mated_start_position_is_lost_at_once() -> None:
    """A game that starts mated is lost for whoever has the move."""
    board = begin("4k4/4G4/4P4/9/9/9/9/9/4K4 w - 1")

    assert Outcome(termination=Termination.CHECKMATE, winner=SECOND) == board.outcome()


@pytest.mark.parametrize("rules", ["csa", "keisei"])
def test_max_plies_draws(rules: RuleSet) -> None:
    """A game is drawn when max_plies moves were made, and not before."""
    board = played(START_POSITION, "7g7f 3c3d", rules=rules, max_plies=3)

    before = board.outcome()
    board.push("2g2f")

    assert before is None
    assert Outcome(termination=Termination.MAX_PLIES) == board.outcome()


def test_mate_on_the_last_ply_counts_under_csa_only() -> None:
    """The length limit never overrides a mate under csa; under keisei it is looked at first."""
    position, move = "4k4/9/4P4/9/9/9/9/9/4K4 b G 1", "G*5b"

    csa = played(position, move, max_plies=1)
    keisei = played(position, move, rules="keisei", max_plies=1)

    assert Outcome(termination=Termination.CHECKMATE, winner=FIRST) == csa.outcome()
    assert Outcome(termination=Termination.MAX_PLIES) == keisei.outcome()


def test_repetition_on_the_last_ply_counts_under_csa_only() -> None:
    """The length limit overrides neither repetition nor perpetual check under csa, and both under keisei."""
    shuffle = "2h3h 8b7b 3h2h 7b8b " * 3

    csa = played(START_POSITION, shuffle, max_plies=12)
    keisei = played(START_POSITION, shuffle, rules="keisei", max_plies=12)

    assert Outcome(termination=Termination.REPETITION) == csa.outcome()
    assert Outcome(termination=Termination.MAX_PLIES) == keisei.outcome()


# --- repetition


@pytest.mark.parametrize("rules", ["csa", "keisei"])
def test_the_fourth_occurrence_draws_and_the_start_counts(rules: RuleSet) -> None:
    """Coming back to the start position three times is its fourth occurrence, and only that ends the game."""
    board = begin(rules=rules)

    seen = [board.occurrences()]
    for move in ("2h3h 8b7b 3h2h 7b8b " * 3).split():
        assert board.outcome() is None
        board.push(move)
        seen.append(board.occurrences())

    assert [1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4] == seen
    assert Outcome(termination=Termination.REPETITION) == board.outcome()


def test_a_later_position_repeats_just_the_same() -> None:
    """A cycle that begins after the opening draws at its own fourth occurrence."""
    board = played(START_POSITION, "7g7f 3c3d " + "2h3h 8b7b 3h2h 7b8b " * 3)

    assert Outcome(termination=Termination.REPETITION) == board.outcome()
    assert 4 == board.occurrences()


def test_other_hands_are_another_position() -> None:
    """The same board with other pieces in hand is no repetition."""
    # Black's rook takes a pawn on each visit and White drops another: the board comes back, the hands do not.
    board = played(
        "4k4/9/4p4/9/9/9/9/9/R3K4 b 4p 1",
        "9i9c 5a4a 9c5c 4a4b 5c9c P*5c 9c9i 4b5a",
    )

    assert "4k4/9/4p4/9/9/9/9/9/R3K4 b P3p 9" == board.position()
    assert 1 == board.occurrences()


def test_the_other_side_to_move_is_another_position() -> None:
    """The same board with the other side to move is no repetition."""
    # Black's king needs three moves to come back, White's rook two: after five plies only the mover differs.
    board = played("4k4/9/9/9/r8/9/9/9/8K b - 1", "1i1h 9e8e 1h2i 8e9e 2i1i")

    assert "4k4/9/9/9/r8/9/9/9/8K w - 6" == board.position()
    assert 1 == board.occurrences()


def test_equal_hashes_alone_end_no_game() -> None:
    """A position is repeated only if it is the same, even if all hashes collide."""
    board = played(START_POSITION, "7g7f 3c3d 2g2f 8c8d 2f2e 8d8e")
    collide(board)
    before = board.position()

    occurrences = board.occurrences()

    assert 1 == occurrences
    assert board.outcome() is None
    assert before == board.position()


# --- perpetual check

CHASE = "4k4/9/9/9/5R3/9/9/9/4K4 b - 1"
CHECKS = "4e5e 5a4a 5e4e 4a5a "
QUIET = "4e3e 5a6a 3e4e 6a5a "


@pytest.mark.parametrize("turn", [False, True])
def test_perpetual_check_by_the_first_side_loses(turn: bool) -> None:
    """The first side checks with every move of the cycle and loses, whichever colour it has."""
    position = turned_position(CHASE) if turn else CHASE
    moves = turned_moves(CHECKS * 3) if turn else CHECKS * 3

    board = played(position, moves)

    assert Outcome(termination=Termination.PERPETUAL_CHECK, winner=SECOND) == board.outcome()


@pytest.mark.parametrize("rules", ["csa", "keisei"])
@pytest.mark.parametrize("turn", [False, True])
def test_perpetual_check_by_the_second_side_loses(rules: RuleSet, turn: bool) -> None:
    """The second side checks with every move of the cycle and loses, whatever its colour and the rules."""
    position, moves = "4k4/9/9/9/4R4/9/9/9/4K4 w - 1", "5a4a 5e4e 4a5a 4e5e " * 3
    if turn:
        position, moves = turned_position(position), turned_moves(moves)

    board = played(position, moves, rules=rules)

    assert Outcome(termination=Termination.PERPETUAL_CHECK, winner=FIRST) == board.outcome()


@pytest.mark.parametrize(
    "moves",
    [QUIET + CHECKS * 2, CHECKS + QUIET + CHECKS, CHECKS * 2 + QUIET],
    ids=["first", "middle", "last"],
)
def test_one_quiet_move_in_the_cycle_makes_it_a_draw(moves: str) -> None:
    """A checker that paused anywhere since the first occurrence draws."""
    board = played(CHASE, moves)

    assert Outcome(termination=Termination.REPETITION) == board.outcome()


@pytest.mark.parametrize("hashes_collide", [False, True])
def test_quiet_moves_before_the_cycle_do_not_help_the_checker(hashes_collide: bool) -> None:
    """What counts is every move since the first of the four occurrences, not what came before."""
    board = played("3k5/9/9/9/6R2/9/9/9/4K4 b - 1", "3e4e 6a5a " + CHECKS * 3)
    if hashes_collide:
        collide(board)

    assert Outcome(termination=Termination.PERPETUAL_CHECK, winner=SECOND) == board.outcome()


def test_keisei_draws_when_the_checker_is_to_move() -> None:
    """Keisei's approximation looks at the repeated position only: without check in it, it is a plain draw."""
    board = played(CHASE, CHECKS * 3, rules="keisei")

    assert Outcome(termination=Termination.REPETITION) == board.outcome()


def test_keisei_does_not_see_a_quiet_move_in_between() -> None:
    """Keisei scores perpetual check if the repeated position is one of check, with quiet moves between."""
    position = "4k4/9/9/9/4R4/9/9/9/4K4 w - 1"
    moves = "5a4a 5e3e 4a5a 3e5e " + "5a4a 5e4e 4a5a 4e5e " * 2

    csa = played(position, moves)
    keisei = played(position, moves, rules="keisei")

    assert Outcome(termination=Termination.REPETITION) == csa.outcome()
    assert Outcome(termination=Termination.PERPETUAL_CHECK, winner=FIRST) == keisei.outcome()


# --- entering king

CAMP = "K8/+P+P+P+P+P+P+P+P+P/+R8/9/9/9/9/9/8k"
"""Ten pieces and 14 points in the camp."""


@pytest.mark.parametrize(
    ("position", "allowed"),
    [
        pytest.param(f"{CAMP} b 2BG3P 1", True, id="28 points for Black"),
        pytest.param(f"{CAMP} b 2BG2P 1", False, id="27 points for Black"),
        pytest.param(turned_position(f"{CAMP} b 2BG2P 1"), True, id="27 points for White"),
        pytest.param(turned_position(f"{CAMP} b 2BGP 1"), False, id="26 points for White"),
        pytest.param(f"{CAMP} w 2B2G3P 1", False, id="the other side to move"),
        pytest.param("K7r/" + CAMP.split("/", 1)[1] + " b 2B2G3P 1", False, id="in check"),
        pytest.param(CAMP.replace("/+P+P", "/1+P") + " b 2B2G4P 1", False, id="nine pieces"),
        pytest.param("9/+P+P+P+P+P+P+P+P+P/+R8/K8/9/9/9/9/8k b 2B2G4P 1", False, id="king outside the camp"),
        pytest.param("2K6/+P+P+P+P+P+P+P+P+P/L8/+R8/9/9/9/9/8k b 2BG4P 1", False, id="rook outside is no points"),
        pytest.param("2K6/+P+P+P+P+P+P+P+P+P/L8/+R8/9/9/9/9/8k b 2B4G4P 1", True, id="enough without that rook"),
        pytest.param("+L+P+P+PK+P+P+P+P/+L+NG5S/9/9/9/9/9/9/8k b 2RBP 1", True, id="all kinds count 1"),
    ],
)
def test_a_win_may_be_declared_with_enough_points(position: str, allowed: bool) -> None:
    """The 27-point rule holds to the point, to the piece, to the check and to the colour."""
    csa = begin(position)
    keisei = begin(position, rules="keisei")

    assert allowed == csa.may_declare_win()
    assert not keisei.may_declare_win()
    assert csa.outcome() is None


def test_declarations_follow_the_rules_text_in_random_positions() -> None:
    """In random positions with entered kings a win may be declared exactly where the rule's text says so."""
    chance = random.Random(27)
    agreed = {True: 0, False: 0}
    while sum(agreed.values()) < 400:
        position = random_entering_king(chance)
        try:
            check_position(position)
        except ValueError:
            continue
        board = begin(position)
        allowed = declaration_by_the_text(board)
        agreed[allowed] += 1

        assert allowed == board.may_declare_win(), position

    assert min(agreed.values()) > 40


def random_entering_king(chance: random.Random) -> str:
    """A king and 8 to 13 others in the last three ranks, with roughly 28 points, for Black or White."""
    squares = [""] * 81
    for square in chance.sample(range(27), chance.randint(9, 14)):
        squares[square] = chance.choice(["+P", "+P", "+P", "G", "S", "+L", "+N", "B", "+R", "R", "+B"])
    occupied = [square for square in range(27) if squares[square]]
    squares[chance.choice(occupied)] = "K"
    for square in chance.sample(range(27, 72), 3):
        squares[square] = chance.choice(["G", "R", "b", "l", "+p"])
    squares[chance.randrange(72, 81)] = "k"
    ranks = ["".join(square or "1" for square in squares[start : start + 9]) for start in range(0, 81, 9)]
    hands = chance.choice(["R", "B", "RB", ""]) + chance.choice(["", "G"]) + f"{chance.randint(2, 9)}P"
    position = f"{'/'.join(ranks)} b {hands} 1"
    return turned_position(position) if chance.random() < 0.5 else position


def declaration_by_the_text(board: ShogiBoard) -> bool:
    ranks, side, hands, _ = board.position().split(" ")
    own = str.isupper if side == "b" else str.islower
    camp = ranks.split("/")[:3] if side == "b" else ranks.split("/")[6:]
    letters = [character for character in "".join(camp) if character.isalpha() and own(character)]
    pieces = [letter.upper() for letter in letters if letter.upper() != "K"]
    in_hand: list[str] = []
    count = ""
    for character in hands.replace("-", ""):
        if character.isdigit():
            count += character
        else:
            in_hand += [character.upper()] * int(count or 1) if own(character) else []
            count = ""
    points = sum(5 if piece in "RB" else 1 for piece in pieces + in_hand)
    return (
        not board.cshogi.is_check()
        and len(pieces) < len(letters)
        and len(pieces) >= 10
        and points >= (28 if side == "b" else 27)
    )


BOTH_IN = "K8/+P+P+P+P+P+P+P+P+P/9/9/9/9/9/+p+p+p+p+p+p+p+p+p/8k"
"""Ten pieces with the king and nine points for each."""
THIRD_RANKS = "9/+P+P+P+P+P+P+P+P1/K7+P/9/9/9/+p7k/1+p+p+p+p+p+p+p+p/9"
"""The same as near to the middle as the camps reach."""


@pytest.mark.parametrize(
    ("position", "winner"),
    [
        pytest.param(f"{BOTH_IN} b RB4GSrb4nl 1", None, id="24 each is a draw"),
        pytest.param(f"{THIRD_RANKS} b RB4GSrb4nl 1", None, id="on the third ranks"),
        pytest.param(f"{BOTH_IN} b RB4GSrb4n 1", FIRST, id="only Black has 24"),
        pytest.param(f"{BOTH_IN} b RB4Grb4nl 1", SECOND, id="only White has 24"),
        pytest.param(f"{BOTH_IN} w RB4GSrb4n 1", SECOND, id="only Black has 24 and is second"),
        pytest.param(BOTH_IN.replace("/9/9/9/9/9", "/9/9/4R4/9/9") + " b B4GSrb4n 1", FIRST, id="all of the board"),
    ],
)
def test_keisei_ends_an_impasse_by_itself(position: str, winner: Side | None) -> None:
    """With both kings in and ten pieces each, 24 points decide under keisei; csa plays on."""
    keisei = begin(position, rules="keisei")

    assert Outcome(termination=Termination.ENTERING_KING, winner=winner) == keisei.outcome()
    assert begin(position).outcome() is None


@pytest.mark.parametrize(
    "position",
    [
        pytest.param(f"{BOTH_IN} b RB4Grb4n 1", id="23 each"),
        pytest.param(BOTH_IN.replace("/+P+P", "/1+P") + " b RB4GSNrb3nl 1", id="nine pieces with the king"),
        pytest.param(f"{CAMP} b RB4GS 1", id="one king only"),
    ],
)
def test_keisei_plays_on_without_a_full_impasse(position: str) -> None:
    """Points, pieces and both kings are needed, or the game goes on."""
    board = begin(position, rules="keisei")

    assert board.outcome() is None


def test_keisei_puts_an_impasse_before_mate() -> None:
    """Under keisei the impasse is looked at before the missing move, as Keisei does."""
    # White's king on 1i is mated by the gold on 1h, with 24 points against 23.
    position = "K8/+P+P+P+P+P+P+P+PG/9/9/9/9/7S1/+p+p+p+p+p+p+ppG/7+pk w RB2Grb4nl 1"

    keisei = begin(position, rules="keisei")
    csa = begin(position)

    assert Outcome(termination=Termination.ENTERING_KING, winner=FIRST) == keisei.outcome()
    assert Outcome(termination=Termination.CHECKMATE, winner=SECOND) == csa.outcome()


# --- positions that must be refused

EMPTY_RANKS = "9/9/9/9/9/9/9"


@pytest.mark.parametrize(
    ("position", "fault"),
    [
        ("", "has 1 fields"),
        ("startpos", "has 1 fields"),
        (f"sfen {START_POSITION}", "has 5 fields"),
        (f"{START_POSITION} ", "has 5 fields"),
        (START_POSITION.replace(" b ", "  b "), "has 5 fields"),
        (START_POSITION.replace(" - 1", " -"), "has 3 fields"),
        (START_POSITION.replace(" b ", " x "), "neither b nor w"),
        (START_POSITION.replace(" b ", " B "), "neither b nor w"),
        *(
            (START_POSITION[:-1] + number, "move number")
            for number in ("0", "-1", "01", "1.0", "x", "100001", "9" * 50)
        ),
        (START_POSITION + "\n", "move number"),
        (START_POSITION[:-1] + "\u0661", "not all of it is ASCII"),
        (START_POSITION.replace("S", "\u017f", 1), "not all of it is ASCII"),
        ("\ud800", "not all of it is ASCII"),
        (f"4k4/{EMPTY_RANKS} b - 1", "8 ranks instead of 9"),
        (f"4k4/{EMPTY_RANKS}/4K4/9 b - 1", "10 ranks instead of 9"),
        (f"4k3/{EMPTY_RANKS}/4K4 b - 1", "rank a has 8 squares"),
        (f"4k5/{EMPTY_RANKS}/4K4 b - 1", "rank a has 10 squares"),
        (f"4k4/{EMPTY_RANKS}/4K4+ b - 1", "rank i ends with"),
        (f"4k4/{EMPTY_RANKS}/4K3++ b - 1", "rank i has '++', which is no piece"),
        (f"4k4/{EMPTY_RANKS}/4K3+1 b - 1", "'+1', which is no piece"),
        (f"4k4/{EMPTY_RANKS}/4K3+G b - 1", "'+G', which is no piece"),
        (f"4k4/{EMPTY_RANKS}/4K3+K b - 1", "'+K', which is no piece"),
        (f"4k4/{EMPTY_RANKS}/4K3X b - 1", "'X', which is no piece"),
        (f"4k4/{EMPTY_RANKS}/4K40 b - 1", "'0', which is no piece"),
        (f"9/{EMPTY_RANKS}/4K4 b - 1", "White has 0 kings"),
        (f"4k4/{EMPTY_RANKS}/9 b - 1", "Black has 0 kings"),
        (f"4k4/{EMPTY_RANKS}/3KK4 b - 1", "Black has 2 kings"),
        *(
            (f"4k4/{EMPTY_RANKS}/4K4 b {hands} 1", "the hands")
            for hands in ("--", "-P", "0P", "K", "P1", "2", "100P", "+P", "PP", "P-", "x", "P,p")
        ),
        (f"4k4/{EMPTY_RANKS}/4K4 b P2P 1", "the hands name P twice"),
        (f"4k4/{EMPTY_RANKS}/4K4 b 19P 1", "19 pieces of the kind P, a game has 18"),
        (f"4k4/{EMPTY_RANKS}/4K4 b 10P9p 1", "19 pieces of the kind P"),
        (f"4k4/{EMPTY_RANKS}/4K+R+r1R b - 1", "3 pieces of the kind R"),
        (f"4k4/{EMPTY_RANKS}/4K4 b 5G 1", "5 pieces of the kind G"),
        ("4k4/9/9/9/4P4/4P4/9/9/4K4 b - 1", "Black has 2 pawns on file 5"),
        ("4k4/9/9/9/p8/p8/9/9/4K4 b - 1", "White has 2 pawns on file 9"),
        ("P3k4/9/9/9/9/9/9/9/4K4 b - 1", "the P on 9a could never move"),
        ("4k3L/9/9/9/9/9/9/9/4K4 b - 1", "the L on 1a could never move"),
        ("4k4/N8/9/9/9/9/9/9/4K4 b - 1", "the N on 9b could never move"),
        ("4k4/9/9/9/9/9/9/9/p3K4 b - 1", "the p on 9i could never move"),
        ("4k4/9/9/9/9/9/9/n8/4K4 b - 1", "the n on 9h could never move"),
        ("4k4/9/9/9/4R4/9/9/9/4K4 b - 1", "not to move is in check"),
        ("4k4/3K5/9/9/9/9/9/9/9 w - 1", "the kings stand next to each other"),
    ],
)
def test_a_position_that_cannot_be_played_is_refused(position: str, fault: str) -> None:
    """A malformed or impossible position is refused with one line that says why."""
    with pytest.raises(ValueError, match=r"^position ") as refused:
        begin(position)

    assert fault in str(refused.value)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 250


@pytest.mark.parametrize(
    "position",
    [
        "4k4/9/9/9/9/9/9/9/4K4 b - 1",
        "4k4/9/9/9/9/9/9/9/4K4 w 2R2B4G4S4N4L18P 100000",
        "k8/9/9/9/9/9/9/9/8K b r2b4g4s4n4l18p 7",
        "lnsgkgsnl/9/ppppppppp/9/9/9/PPPPPPPPP/1B5R1/LNSGKGSNL w - 1",
        *(position for position, _ in PERFT.values()),
    ],
)
def test_a_playable_position_is_taken_as_it_is(position: str) -> None:
    """Problems, handicaps, full hands and game positions are accepted and come back unchanged."""
    board = begin(position)

    assert position == board.position()


MUTATE = """
import random, sys
from banzuke.games.shogi import ShogiRules

positions = sys.stdin.read().splitlines()
chance = random.Random(int(sys.argv[1]))
alphabet = "plnsgbrkPLNSGBRK+/123456789-bw 0xz*\\x00\\n\\u0663\\u017f"
counts = {"played": 0, "refused": 0}
for _ in range(int(sys.argv[2])):
    text = list(chance.choice(positions))
    for _ in range(chance.randint(0, 3)):
        place = chance.randrange(len(text) + 1)
        kind = chance.randrange(4)
        if kind == 0:
            text.insert(place, chance.choice(alphabet))
        elif kind == 1:
            del text[place : place + chance.randint(1, 3)]
        elif kind == 2:
            text[place : place + 1] = chance.choice(alphabet)
        else:
            other = chance.choice(positions)
            text[place:] = other[chance.randrange(len(other)) :]
        if not text:
            break
    position = "".join(text)
    try:
        board = ShogiRules("csa").start(position, max_plies=320)
    except ValueError as refused:
        if "\\n" in str(refused):
            raise SystemExit(f"more than one line: {refused!r}")
        counts["refused"] += 1
        continue
    counts["played"] += 1
    again = ShogiRules("csa").start(board.position(), max_plies=320)
    if again.legal_moves() != board.legal_moves():
        raise SystemExit(f"misread: {position!r}")
    for _ in range(6):
        moves = board.legal_moves()
        if not moves:
            break
        board.push(chance.choice(moves))
        board.outcome()
        board.may_declare_win()
print(counts["played"], counts["refused"])
"""


def test_no_text_brings_the_process_down() -> None:
    """Thousands of damaged positions are each refused or played, and the process that does it survives."""
    positions = [board.position() for board in random_boards(seed=1, count=60)]
    positions += [position for position, _ in PERFT.values()]

    run = subprocess.run(
        [sys.executable, "-c", MUTATE, "2026", "12000"],
        input="\n".join(positions),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert (0, "") == (run.returncode, run.stderr)
    played_count, refused_count = map(int, run.stdout.split())
    assert 12_000 == played_count + refused_count
    assert played_count > 2_000
    assert refused_count > 2_000
