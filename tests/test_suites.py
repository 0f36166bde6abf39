"""Position suites: reading one, marking answers, the probes, and the suites of mates that come as examples."""

from __future__ import annotations

import functools
import importlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import cshogi
import pytest
from hypothesis import given
from hypothesis import strategies as st

from banzuke.errors import SpecError
from banzuke.games.shogi import START_POSITION, ShogiRules, check_position
from banzuke.specs import ENGINE_FOLDERS
from banzuke.suites.positions import PROBES, SuitePosition, parse_position, passes, read_suite

ROOT = Path(__file__).parents[1]
MAKE_MATES = ROOT / "examples" / "make_mates.py"
SUITES = ROOT / "examples" / "suites"
ENGINE = shutil.which("fairy-stockfish", path=os.pathsep.join([os.environ.get("PATH", ""), *ENGINE_FOLDERS]))
needs_engine = pytest.mark.skipif(ENGINE is None, reason="fairy-stockfish is not installed")

GOLD_MATES = "4k4/9/4P4/9/9/9/9/9/4K4 b G 1"


def suite_of(tmp_path: Path, *lines: str) -> Path:
    """A suite file with these lines."""
    path = tmp_path / "suite.sfen"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def faults_of(path: Path) -> tuple[str, ...]:
    """What reading this suite complains about."""
    with pytest.raises(SpecError) as caught:
        read_suite(path)
    return caught.value.faults


@functools.cache
def mates_in(plies: int) -> tuple[SuitePosition, ...]:
    """The suite that comes as an example."""
    return read_suite(SUITES / f"mate-in-{plies}.sfen")


def mating_moves(board: cshogi.Board, plies: int) -> set[str]:
    """Every legal move, check or not, after which all replies are mated within ``plies``; as plainly as possible."""
    found = set()
    for move in board.legal_moves:
        board.push(move)
        if is_mated(board, plies - 1):
            found.add(cshogi.move_to_usi(move))
        board.pop()
    return found


def is_mated(board: cshogi.Board, plies: int) -> bool:
    """Whether the side to move is checkmated now or, whatever it does, within ``plies``."""
    replies = list(board.legal_moves)
    if not replies:
        return bool(board.is_check())
    if plies == 0:
        return False
    for reply in replies:
        board.push(reply)
        escapes = not any_mate(board, plies - 1)
        board.pop()
        if escapes:
            return False
    return True


def any_mate(board: cshogi.Board, plies: int) -> bool:
    """Whether the side to move can mate within ``plies``."""
    for move in board.legal_moves:
        board.push(move)
        mated = is_mated(board, plies - 1)
        board.pop()
        if mated:
            return True
    return False


@pytest.mark.parametrize(
    "line",
    [
        f'{GOLD_MATES} bm G*5b; id "gold";',
        f'sfen {GOLD_MATES}  bm  G*5b ;id   "gold"  # a comment',
        f'{GOLD_MATES} bm G*5b; id "gold"',
    ],
)
def test_every_form_of_a_line_is_read(tmp_path: Path, line: str) -> None:
    """A position, the right moves and a name, however the blanks are set."""
    suite = read_suite(suite_of(tmp_path, "# mates", "", line))

    assert suite == (SuitePosition(position_id="gold", position=GOLD_MATES, best_moves=("G*5b",)),)


def test_all_right_moves_are_read_in_their_order(tmp_path: Path) -> None:
    """Several right answers stay as the file has them."""
    (position,) = read_suite(suite_of(tmp_path, f'{START_POSITION} bm 7g7f 2g2f 6i7h; id "three good ones";'))

    assert (position.position_id, position.best_moves) == ("three good ones", ("7g7f", "2g2f", "6i7h"))


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        (GOLD_MATES, "is not of the form"),
        (f"{GOLD_MATES} bm G*5b;", "is not of the form"),
        (f'{GOLD_MATES} bm G*5b id "gold";', "is not of the form"),
        (f'{GOLD_MATES} bm G*5b; id "gold"; c0 "easy";', "is not of the form"),
        (f"{GOLD_MATES} bm G*5b; id gold;", "is not of the form"),
        (f'{GOLD_MATES} am G*5b; id "gold";', "is not of the form"),
        (f'{GOLD_MATES} bm ; id "gold";', "no move follows 'bm'"),
        (f'{GOLD_MATES} bm G*5b; id "";', "1 to 64 printable characters"),
        (f'{GOLD_MATES} bm G*5b; id "{"g" * 65}";', "1 to 64 printable characters"),
        (f'{GOLD_MATES} bm G*5b\x1b; id "gold";', "is illegal"),
        (f'{GOLD_MATES} bm G*5b; id "\x1b[2J";', "1 to 64 printable characters"),
        (f'{GOLD_MATES} bm G*5b S*5b; id "gold";', "move 'S*5b' is illegal"),
        (f'{GOLD_MATES} bm G*5b G*5b; id "gold";', "move G*5b is given twice"),
        (f'{GOLD_MATES} bm win; id "gold";', "move 'win' is illegal"),
        ('4k4/9/9/9/9/9/9/9/9 b G 1 bm G*5b; id "gold";', "Black has 0 kings"),
        ('startpos bm 7g7f; id "start";', "has 1 fields"),
        (f'bm G*5b; id "gold"; {GOLD_MATES}', "is not of the form"),
    ],
)
def test_a_faulty_line_is_named_by_file_and_number(tmp_path: Path, line: str, complaint: str) -> None:
    """One line of complaint that begins with file and line number, printable whatever the file holds."""
    path = suite_of(tmp_path, f'{START_POSITION} bm 7g7f; id "fine";', line)

    (fault,) = faults_of(path)

    assert fault.startswith(f"{path}:2: ")
    assert complaint in fault
    assert fault.isprintable()


def test_two_positions_of_one_name_are_a_fault(tmp_path: Path) -> None:
    """Results are stored by id."""
    path = suite_of(tmp_path, f'{GOLD_MATES} bm G*5b; id "a";', "#", f'{START_POSITION} bm 7g7f; id "a";', "rubbish")

    first, second = faults_of(path)

    assert first == f"{path}:3: id 'a' is already given in line 1"
    assert second.startswith(f"{path}:4: 'rubbish' is not of the form")


def test_an_empty_or_missing_suite_is_a_fault(tmp_path: Path) -> None:
    """A suite without a position would pass every agent."""
    empty = suite_of(tmp_path, "# nothing")
    missing = tmp_path / "missing.sfen"

    complaints = (*faults_of(empty), *faults_of(missing))

    assert complaints == (
        f"{empty}: holds no position",
        f"{missing}: cannot be read: No such file or directory",
    )


@given(st.text(alphabet='bmid "";4kK9/Gw-1*5#\t\x00é', max_size=80))
def test_any_text_is_a_position_or_a_fault(line: str) -> None:
    """Nothing but ValueError comes out of a line, and never the end of the process."""
    try:
        position = parse_position(line)
    except ValueError as error:
        assert "\n" not in str(error)  # noqa: PT017 - most texts are at fault, and some are not
    else:
        assert position.best_moves


@pytest.mark.parametrize("tail", [" bm" + " " * 19_000 + "x", " bm  " * 3_800, ' bm 7g7f; id "' + " " * 19_000])
def test_a_long_hostile_line_is_refused_at_once(tmp_path: Path, tail: str) -> None:
    """Blanks and half-begun opcodes cost no more time than other text (a regular expression took hours)."""
    (fault,) = faults_of(suite_of(tmp_path, GOLD_MATES + tail))

    assert "is not of the form" in fault


@pytest.mark.parametrize(
    ("answer", "passed"),
    [("G*5b", True), ("G*4b", False), ("", False), ("resign", False), ("win", False), (" G*5b", False)],
)
def test_only_a_listed_move_passes(answer: str, *, passed: bool) -> None:
    """The answer is one of the best moves, to the letter."""
    position = SuitePosition(position_id="gold", position=GOLD_MATES, best_moves=("G*5b",))

    assert passed == passes(position, answer)


@pytest.mark.parametrize(
    ("answer", "passed"),
    [("7g7f", True), ("7g7e", False), ("3c3d", False), ("7g7f+", False), ("", False), ("resign", False)],
)
def test_without_best_moves_any_legal_move_passes(answer: str, *, passed: bool) -> None:
    """A probe asks for legality alone; a move of the wrong side is not legal."""
    position = SuitePosition(position_id="start", position=START_POSITION, best_moves=())

    assert passed == passes(position, answer)


def test_the_probes_are_positions_that_go_on() -> None:
    """Different ids and positions; each is a possible position in canonical form, not over, with a legal move."""
    boards = []
    for probe in PROBES:
        check_position(probe.position)
        boards.append(ShogiRules("csa").start(probe.position, max_plies=320))

    assert len(PROBES) == len({probe.position_id for probe in PROBES}) == len({probe.position for probe in PROBES})
    assert [probe.position for probe in PROBES] == [board.position() for board in boards]
    assert [board.outcome() for board in boards] == [None] * len(PROBES)
    assert all(passes(probe, board.legal_moves()[-1]) for probe, board in zip(PROBES, boards, strict=True))
    assert not any(board.may_declare_win() for board in boards)


def test_the_probes_cover_what_agents_get_wrong() -> None:
    """Start, White to move, many drops, few evasions, a forced promotion, kings that have entered."""
    boards = {probe.position_id: ShogiRules("csa").start(probe.position, max_plies=320).cshogi for probe in PROBES}
    legal = {name: {cshogi.move_to_usi(move) for move in board.legal_moves} for name, board in boards.items()}
    drops = {move[0] for move in legal["probe-drops"] if "*" in move}
    camp = boards["probe-entering-king"]

    assert boards["probe-start"].sfen() == START_POSITION
    assert boards["probe-white"].turn == cshogi.WHITE
    assert (len(legal["probe-drops"]), drops) == (251, set("BGNLP"))
    assert boards["probe-check"].is_check()
    assert legal["probe-check"] == {"3c2d", "3c4c"}
    assert legal["probe-promotion"] == {"2b2a+"}
    assert camp.king_square(cshogi.BLACK) % 9 <= 2
    assert camp.king_square(cshogi.WHITE) % 9 >= 6


@pytest.mark.parametrize("plies", [1, 3, 5])
def test_the_suites_are_what_they_say(plies: int) -> None:
    """80 different positions, half of them with Black to move, with one to three right answers each."""
    suite = mates_in(plies)
    sides = [position.position.split()[1] for position in suite]

    assert (len(suite), sides.count("b"), sides.count("w")) == (80, 40, 40)
    assert len({position.position.rpartition(" ")[0] for position in suite}) == 80
    assert {len(position.best_moves) for position in suite} <= {1, 2, 3}


def test_no_position_is_in_two_suites() -> None:
    """The three suites are 240 different positions."""
    positions = [p.position.rpartition(" ")[0] for plies in (1, 3, 5) for p in mates_in(plies)]

    assert len(set(positions)) == 240


def test_the_mates_in_one_are_all_mates_in_one() -> None:
    """Every legal move of every position is tried: those listed mate, no other does, none drops a pawn."""
    found = {p.position_id: mating_moves(cshogi.Board(p.position), 1) for p in mates_in(1)}

    assert found == {p.position_id: set(p.best_moves) for p in mates_in(1)}
    assert not [move for moves in found.values() for move in moves if move.startswith("P*")]


@pytest.mark.parametrize("position", mates_in(3)[::10], ids=lambda position: position.position_id)
def test_the_mates_in_three_are_found_by_trying_everything(position: SuitePosition) -> None:
    """Every move, with check or without, against every reply; none mates at once."""
    board = cshogi.Board(position.position)

    assert mating_moves(board, 1) == set()
    assert mating_moves(board, 3) == set(position.best_moves)


@pytest.mark.parametrize("plies", [3, 5])
def test_another_search_agrees_about_the_length(plies: int) -> None:
    """Cshogi's df-pn search finds a mate in as many plies in every position, and none that is shorter."""
    exact, shorter = cshogi.DfPn(depth=plies), cshogi.DfPn(depth=plies - 2)
    boards = [cshogi.Board(position.position) for position in mates_in(plies)]

    assert all(exact.search(board) for board in boards)
    assert not any(shorter.search(board) for board in boards)


def test_the_search_knows_that_a_side_in_check_has_no_mate_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """In check, cshogi's mate search in one ply can name an illegal move; ours must not believe it."""
    monkeypatch.syspath_prepend(ROOT / "examples")
    make_mates = importlib.import_module("make_mates")
    board = cshogi.Board("+R8/4+PG2l/5Skn1/pp5p1/5+BP2/P1P4Pp/1P6P/3GPKg2/L3R3L b G2S3NL6Pbs 133")

    mates = make_mates.Search(checks_only=True).can_mate(board, 1)

    assert board.is_check()
    assert board.mate_move_in_1ply() not in list(board.legal_moves)
    assert not mates


@needs_engine
def test_the_script_makes_the_suites_that_are_there(tmp_path: Path) -> None:
    """Run again for two positions each, it finds positions of the suites, as long as the engine is the same."""
    subprocess.run([sys.executable, MAKE_MATES, "--count", "2", "--output", tmp_path], check=True, timeout=120)
    headers = [(folder / "mate-in-1.sfen").read_text().splitlines()[2] for folder in (tmp_path, SUITES)]
    if headers[0] != headers[1]:
        pytest.skip(f"the suites were made with another engine: {headers[1]}")

    for plies in (1, 3, 5):
        made = {(p.position, p.best_moves) for p in read_suite(tmp_path / f"mate-in-{plies}.sfen")}
        assert len(made) == 2
        assert made <= {(p.position, p.best_moves) for p in mates_in(plies)}


def test_the_script_finds_a_false_mate(tmp_path: Path) -> None:
    """Verifying exits 1 and says why where a suite claims too little, too much, or too slow a mate."""
    incomplete = next(p for p in mates_in(1) if len(p.best_moves) > 1)
    hasty = mates_in(1)[0]
    for plies, position in ((1, incomplete), (3, hasty), (5, mates_in(5)[0])):
        moves = position.best_moves[:1]
        suite_of(tmp_path, f'{position.position} bm {moves[0]}; id "x";').rename(tmp_path / f"mate-in-{plies}.sfen")

    done = subprocess.run(
        [sys.executable, MAKE_MATES, "--verify", tmp_path], capture_output=True, text=True, check=False, timeout=120
    )

    assert done.returncode == 1
    assert "x: other moves mate by checks alone" in done.stdout
    assert "x: there is a shorter mate" in done.stdout
    assert "x: df-pn finds a mate in 1" in done.stdout
