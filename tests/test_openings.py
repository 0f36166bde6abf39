"""The opening book: reading one, choosing from it, and the book that comes with the package."""

from __future__ import annotations

import dataclasses
import importlib
import os
import shutil
import subprocess
import sys
import time
from importlib import resources
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from banzuke.clock import Clock
from banzuke.errors import SpecError
from banzuke.games.shogi import START_POSITION, ShogiRules
from banzuke.match.openings import Opening, choose_openings, default_book, parse_opening, read_book
from banzuke.outcome import Side
from banzuke.players.usi import UsiPlayer
from banzuke.specs import ENGINE_FOLDERS, SearchLimit, UsiAgent

ROOT = Path(__file__).parents[1]
MAKE_OPENINGS = ROOT / "examples" / "make_openings.py"
ENGINE = shutil.which("fairy-stockfish", path=os.pathsep.join([os.environ.get("PATH", ""), *ENGINE_FOLDERS]))
needs_engine = pytest.mark.skipif(ENGINE is None, reason="fairy-stockfish is not installed")

BARE_KINGS = "4k4/9/9/9/9/9/9/9/4K4 b 2RP 1"


def book_of(tmp_path: Path, *lines: str) -> Path:
    """A book file with these lines."""
    path = tmp_path / "book.sfen"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def faults_of(path: Path) -> tuple[str, ...]:
    """What reading this book complains about."""
    with pytest.raises(SpecError) as caught:
        read_book(path)
    return caught.value.faults


def end_of(opening: Opening) -> str:
    """The position after the book's moves, without its move number."""
    board = ShogiRules("csa").start(opening.start_position, max_plies=320)
    for move in opening.moves:
        board.push(move)
    return board.position().rpartition(" ")[0]


@pytest.mark.parametrize(
    ("line", "start_position", "moves"),
    [
        ("startpos", START_POSITION, ()),
        ("startpos moves 7g7f 3c3d", START_POSITION, ("7g7f", "3c3d")),
        (BARE_KINGS, BARE_KINGS, ()),
        (f"sfen {BARE_KINGS}", BARE_KINGS, ()),
        (f"sfen {BARE_KINGS} moves R*5e 5a4a", BARE_KINGS, ("R*5e", "5a4a")),
        (f"  {BARE_KINGS}\t moves  P*5b   # a comment", BARE_KINGS, ("P*5b",)),
    ],
)
def test_every_form_of_a_line_is_read(tmp_path: Path, line: str, start_position: str, moves: tuple[str, ...]) -> None:
    """An opening is a position and moves, whichever way it is written."""
    book = read_book(book_of(tmp_path, "# a book", "", line))

    assert [(start_position, moves)] == [(opening.start_position, opening.moves) for opening in book]


def test_an_opening_is_named_by_its_content_alone(tmp_path: Path) -> None:
    """The same opening has the same id in every book, however it is written; golden ids."""
    first = read_book(book_of(tmp_path, "startpos moves 7g7f 3c3d", f"sfen {BARE_KINGS}"))
    second = read_book(book_of(tmp_path, BARE_KINGS, "# again", f"sfen {START_POSITION} moves 7g7f 3c3d"))
    other_hand_order = parse_opening(BARE_KINGS.replace("2RP", "P2R"))

    assert [opening.opening_id for opening in first] == ["o-602da295f56a", "o-6c085cb8884c"]
    assert set(first) == set(second)
    assert first[1] == other_hand_order


def test_a_byte_order_mark_and_windows_line_ends_do_no_harm(tmp_path: Path) -> None:
    """A book saved by a Windows editor is the same book."""
    path = tmp_path / "book.sfen"
    path.write_bytes(b"\xef\xbb\xbfstartpos moves 7g7f\r\nstartpos moves 2g2f\r\n")

    assert [opening.moves for opening in read_book(path)] == [("7g7f",), ("2g2f",)]


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("startpos moves 7g7f 3c3e", "move 2, '3c3e', is illegal"),
        ("startpos moves 7g7f resign", "move 2, 'resign', is illegal"),
        ("startpos moves", "no move follows"),
        ("startpos 7g7f", "'startpos' is followed by"),
        ("lnsgkgsnl/1r5b1/ppppppppp/9/9/9/PPPPPPPPP/1B5R1/LNSGKGSNL b -", "has 3 fields"),
        ("9/9/9/9/9/9/9/9/4K4 b - 1", "White has 0 kings"),
        ("10/9/9/9/9/9/9/9/9 b - 1", "rank a"),
        ("moves 7g7f", "has 1 fields"),
        ("4k4/4P4/9/9/9/9/9/9/4K4 b - 1", "the side that is not to move is in check"),
        ("4k4/9/4P4/9/9/9/9/9/4K4 b G 1 moves G*5b", "move 1, G*5b, ends the game (checkmate)"),
        ("4k4/4G4/4P4/9/9/9/9/9/4K4 w - 1", "the game is over in this position"),
        ("startpos moves " + "2h3h 8b7b 3h2h 7b8b " * 3, "move 12, 7b8b, ends the game (repetition)"),
    ],
)
def test_a_faulty_line_is_named_by_file_and_number(tmp_path: Path, line: str, complaint: str) -> None:
    """One line of complaint that begins with file and line number and says what is wrong."""
    path = book_of(tmp_path, "# a comment", "startpos moves 2g2f", line)

    (fault,) = faults_of(path)

    assert fault.startswith(f"{path}:3: ")
    assert complaint in fault
    assert "\n" not in fault


def test_an_opening_given_twice_is_a_fault(tmp_path: Path) -> None:
    """Each opening is used once per encounter, so the second one names where the first stands."""
    path = book_of(tmp_path, "startpos moves 7g7f", "startpos", f"sfen {START_POSITION} moves 7g7f")

    (fault,) = faults_of(path)

    assert f"{path}:3: opening {parse_opening('startpos moves 7g7f').opening_id}" in fault
    assert "already given in line 1" in fault


def test_every_fault_is_reported_up_to_ten(tmp_path: Path) -> None:
    """Ten faults are shown, the rest counted."""
    path = book_of(tmp_path, *(["startpos moves 9i9a"] * 13))

    faults = faults_of(path)

    assert len(faults) == 11
    assert all(f"{path}:{number}: " in fault for number, fault in enumerate(faults[:10], start=1))
    assert f"{path}: and 3 more lines at fault" == faults[10]


@pytest.mark.parametrize("content", [b"", b"\n\n# nothing but a comment\n"])
def test_an_empty_book_is_a_fault(tmp_path: Path, content: bytes) -> None:
    """A book without an opening is no book."""
    path = tmp_path / "book.sfen"
    path.write_bytes(content)

    assert (f"{path}: holds no position",) == faults_of(path)


def test_an_unreadable_book_is_a_fault(tmp_path: Path) -> None:
    """A missing file, a folder, a pipe and a name no file can have each give one line, and none waits."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    complaints = [faults_of(path) for path in (tmp_path / "none.sfen", tmp_path, pipe, Path("a\0b"))]

    assert [len(faults) for faults in complaints] == [1, 1, 1, 1]
    assert all("cannot be read" in faults[0] for faults in complaints)


def test_bytes_that_are_no_text_are_a_fault_of_their_line(tmp_path: Path) -> None:
    """Binary rubbish and endless lines are refused without harm."""
    path = tmp_path / "book.sfen"
    path.write_bytes(b"startpos\n\xff\xfe\x00\nstartpos moves" + b" 7g7f" * 100_000 + b"\n")

    faults = faults_of(path)

    assert [f"{path}:2: is not UTF-8 text (byte 1 of the line)"] == list(faults[:1])
    assert "the line is 500014 bytes long" in faults[1]
    assert len(faults) == 2


@given(st.text(alphabet="startpos fenmv123459KkPp+*/-bw\t\x00é", max_size=60))
def test_any_text_is_an_opening_or_a_fault(line: str) -> None:
    """Nothing but ValueError comes out of a line, and never the end of the process."""
    try:
        opening = parse_opening(line)
    except ValueError as error:
        assert "\n" not in str(error)  # noqa: PT017 - most texts are at fault, and some are not
    else:
        assert opening.opening_id.startswith("o-")


def test_the_choice_of_openings_never_changes() -> None:
    """Golden ids: runs are resumed and backfilled years later from the same seed."""
    book = tuple(parse_opening(f"startpos moves {move}") for move in ("7g7f", "2g2f", "6g6f", "5g5f", "1g1f", "9g9f"))

    chosen = choose_openings(book, seed=1, encounter="a--b", count=4)

    assert [opening.opening_id for opening in chosen] == [
        "o-d1898629debc",
        "o-192a6aff3d5d",
        "o-cbf6cf9c89a4",
        "o-02de5d41f270",
    ]


def test_the_choice_depends_on_seed_and_encounter_and_on_nothing_else() -> None:
    """The book's order is irrelevant, another seed or encounter gives another one, more begins like fewer."""
    book = default_book()
    chosen = choose_openings(book, seed=7, encounter="a--b", count=50)

    assert chosen == choose_openings(tuple(reversed(book)), seed=7, encounter="a--b", count=50)
    assert chosen[:20] == choose_openings(book, seed=7, encounter="a--b", count=20)
    assert len({opening.opening_id for opening in chosen}) == 50
    assert chosen != choose_openings(book, seed=8, encounter="a--b", count=50)
    assert chosen != choose_openings(book, seed=7, encounter="a--c", count=50)
    assert set(book) == set(choose_openings(book, seed=7, encounter="a--b", count=len(book)))


def test_a_book_too_small_is_refused() -> None:
    """No opening is used twice in an encounter; the message says what the book is good for."""
    book = default_book()[:3]

    with pytest.raises(SpecError) as caught:
        choose_openings(book, seed=1, encounter="a--b", count=4)

    assert "the book has 3 openings, 4 are needed" in str(caught.value)
    assert "games_per_encounter can be at most 6" in str(caught.value)


def test_the_book_of_the_package_is_what_it_says() -> None:
    """240 openings from the start position, 6 to 16 legal plies, all ending differently, none in check."""
    book = default_book()
    ends = [end_of(opening) for opening in book]

    assert len(book) == 240
    assert {START_POSITION} == {opening.start_position for opening in book}
    assert set(range(6, 17)) >= {len(opening.moves) for opening in book}
    assert len(set(ends)) == 240
    assert {"b", "w"} == {end.split()[1] for end in ends}
    assert not [end for end in ends if ShogiRules("csa").start(f"{end} 1", max_plies=9).cshogi.is_check()]


def test_the_book_is_part_of_the_package() -> None:
    """It is found by the import system, as it must be once installed."""
    text = (resources.files("banzuke.match.books") / "shogi-balanced.sfen").read_text(encoding="utf-8")

    assert text.startswith("# 240 balanced shogi openings")


def test_an_opening_cannot_be_changed() -> None:
    """It is a value, shared by every game that begins with it."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        default_book()[0].moves = ()  # type: ignore[misc]


@needs_engine
def test_openings_are_balanced_in_the_eyes_of_an_engine() -> None:
    """A sample, scored by the real engine in another way than the script's: within 250 centipawns."""
    agent = UsiAgent(
        name="referee",
        kind="usi",
        command=("fairy-stockfish",),
        options={"Threads": 1, "Hash": 16, "Contempt": 0},
        limit=SearchLimit(nodes=100_000),
    )
    deadline = time.monotonic() + 60
    player = UsiPlayer.open(agent, deadline=deadline)
    clock = Clock.start(agent.limit)
    scores = []
    try:
        for opening in default_book()[::48]:
            board = ShogiRules("csa").start(opening.start_position, max_plies=320)
            for move in opening.moves:
                board.push(move)
            player.new_game(side=board.side_to_move, seed=0, deadline=deadline)
            choice = player.choose(board, clock=clock, opponent_clock=clock, deadline=deadline)
            scores.append(choice.eval_cp)
    finally:
        player.close()

    assert len(scores) == 5
    assert not [score for score in scores if score is None or abs(score) > 250]


@needs_engine
def test_the_script_makes_the_book_that_is_there(tmp_path: Path) -> None:
    """Run again for one opening, it writes the first of the book, as long as the engine is the same."""
    book = (ROOT / "banzuke/match/books/shogi-balanced.sfen").read_text(encoding="utf-8").splitlines()
    output = tmp_path / "book.sfen"

    subprocess.run([sys.executable, MAKE_OPENINGS, "--count", "1", "--output", output], check=True, timeout=120)
    made = output.read_text(encoding="utf-8").splitlines()
    if made[2] != book[2]:
        pytest.skip(f"the book was made with another engine: {book[2]}")

    assert [line for line in book if not line.startswith("#")][:1] == [
        line for line in made if not line.startswith("#")
    ]


@needs_engine
def test_a_score_depends_on_the_position_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """After usinewgame alone, Fairy-Stockfish 11.1 gives the second of these another score than when asked first."""
    monkeypatch.syspath_prepend(ROOT / "examples")
    make_openings = importlib.import_module("make_openings")
    before = list(
        parse_opening("startpos moves 9g9f 7c7d 6i6h 3c3d 4i3h 9c9d 1g1f 8a7c 4g4f 8b5b 6h5h 3a3b 7i7h 5b7b 3i4h").moves
    )
    moves = list(
        parse_opening("startpos moves 2h4h 5a4b 4g4f 8b6b 7i6h 6a5b 7g7f 1c1d 4f4e 7c7d 8h5e 6c6d 5e7g 8a7c 3i2h").moves
    )

    with make_openings.Engine("fairy-stockfish") as engine:
        alone = engine.score(moves, 30_000)
    with make_openings.Engine("fairy-stockfish") as engine:
        engine.score(before, 30_000)
        after = engine.score(moves, 30_000)

    assert alone == after


@needs_engine
@pytest.mark.parametrize(("line", "status"), [("startpos moves 7g7f 3c3d 8h3c+", 1), (None, 0)])
def test_the_script_tells_a_balanced_book_from_another(tmp_path: Path, line: str | None, status: int) -> None:
    """Verifying exits 1 if a position is out of balance by more than it may be, else 0."""
    balanced = default_book()[0].moves
    path = book_of(tmp_path, line or f"startpos moves {' '.join(balanced)}")

    done = subprocess.run(
        [sys.executable, MAKE_OPENINGS, "--verify", path, "--within", "250"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )

    assert status == done.returncode
    assert "1 of 1 openings scored" in done.stdout


def test_sides_follow_the_move_not_the_colour() -> None:
    """A book position with White to move seats the first agent as White."""
    opening = parse_opening("4k4/9/9/9/9/9/9/9/4K4 w R 10 moves 5a4a")
    board = ShogiRules("csa").start(opening.start_position, max_plies=320)

    assert board.side_to_move == Side.FIRST
    assert opening.start_position == "4k4/9/9/9/9/9/9/9/4K4 w R 10"
