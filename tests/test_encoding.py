"""Planes against what Keisei's facts say, position by position, laid out for the eye."""

from __future__ import annotations

import cshogi
import numpy as np
import pytest
from numpy.typing import NDArray

from banzuke.games.shogi import START_POSITION, ShogiRules
from banzuke.players.networks.encoding import KEISEI_NEW_46, KEISEI_NEW_50, KEISEI_OLD_46, Encoding

ALL = (KEISEI_OLD_46, KEISEI_NEW_46, KEISEI_NEW_50)


def encoded(
    sfen: str, encoding: Encoding = KEISEI_NEW_50, *, occurrences: int = 1, max_plies: int = 512
) -> NDArray[np.float32]:
    board = cshogi.Board(sfen)
    row = np.full((encoding.planes, 9, 9), np.nan, dtype=np.float32)
    encoding.write_one(board, row, occurrences=occurrences, max_plies=max_plies)
    return row


def squares(plane: NDArray[np.float32]) -> list[tuple[int, int]]:
    """Where a plane of zeros and ones has its ones: (row, column)."""
    assert set(np.unique(plane)) <= {0.0, 1.0}
    return [(int(row), int(column)) for row, column in np.argwhere(plane)]


@pytest.mark.parametrize("encoding", ALL, ids=lambda encoding: encoding.name)
def test_start_position(encoding: Encoding) -> None:
    """The usual start gives the planes of the reference, the same in every layout."""
    row = encoded(START_POSITION, encoding)

    expected = {
        0: [(6, column) for column in range(9)],  # own pawns
        1: [(8, 0), (8, 8)],
        2: [(8, 1), (8, 7)],
        3: [(8, 2), (8, 6)],
        4: [(8, 3), (8, 5)],
        5: [(7, 1)],  # bishop on 8h
        6: [(7, 7)],  # rook on 2h
        7: [(8, 4)],
        14: [(2, column) for column in range(9)],  # the opponent's pawns
        15: [(0, 0), (0, 8)],
        16: [(0, 1), (0, 7)],
        17: [(0, 2), (0, 6)],
        18: [(0, 3), (0, 5)],
        19: [(1, 7)],
        20: [(1, 1)],
        21: [(0, 4)],
        42: [(r, c) for r in range(9) for c in range(9)],  # Black to move
    }
    assert expected == {plane: squares(row[plane]) for plane in range(encoding.planes) if row[plane].any()}


def test_white_sees_the_board_turned() -> None:
    """After 7g7f White's own pieces lie at the bottom, and Black's pawn is seen where White would have 3d."""
    row = encoded("lnsgkgsnl/1r5b1/ppppppppp/9/9/2P6/PP1PPPPPP/1B5R1/LNSGKGSNL w - 2")

    assert [(6, column) for column in range(9)] == squares(row[0])
    assert squares(row[5]) == [(7, 1)]
    assert squares(row[6]) == [(7, 7)]
    assert [(2, c) for c in (0, 1, 2, 3, 4, 5, 7, 8)] == [s for s in squares(row[14]) if s[0] == 2]
    assert [s for s in squares(row[14]) if s[0] == 3] == [(3, 6)]
    assert not row[42].any()
    assert np.all(row[43] == np.float32(1 / 512))


def test_files_run_from_nine_to_one() -> None:
    """A rook on 9a and a gold on 1i stand in the first and the last column for Black, turned for White."""
    black = encoded("R3k4/9/9/9/9/9/9/9/4K3G b - 1")
    white = encoded("R3k4/9/9/9/9/9/9/9/4K3G w - 1")

    assert (squares(black[6]), squares(black[4])) == ([(0, 0)], [(8, 8)])
    assert (squares(white[20]), squares(white[18])) == ([(8, 8)], [(0, 0)])


@pytest.mark.parametrize("mover", ["b", "w"])
def test_promoted_pieces(mover: str) -> None:
    """The six promoted pieces have planes of their own, in the order P L N S B R."""
    row = encoded(f"4k4/9/9/+P+L+N+S+B+R3/9/+r+b+s+n+l+p3/9/9/4K4 {mover} - 1")

    own, other = (8, 22) if mover == "b" else (22, 8)
    turn = (lambda r, c: (r, c)) if mover == "b" else (lambda r, c: (8 - r, 8 - c))
    assert [[turn(3, column)] for column in range(6)] == [squares(row[own + i]) for i in range(6)]
    assert [[turn(5, 5 - i)] for i in range(6)] == [squares(row[other + i]) for i in range(6)]


@pytest.mark.parametrize("mover", ["b", "w"])
def test_hands_are_scaled_by_their_maxima(mover: str) -> None:
    """Hands fill planes with count / maximum, the mover's first, in the order P L N S G B R."""
    row = encoded(f"4k4/9/9/9/9/9/9/9/4K4 {mover} RB2G3SN2L5Prb2gs3n2l13p 1")

    black = [5 / 18, 2 / 4, 1 / 4, 3 / 4, 2 / 4, 1 / 2, 1 / 2]
    white = [13 / 18, 2 / 4, 3 / 4, 1 / 4, 2 / 4, 1 / 2, 1 / 2]
    expected = black + white if mover == "b" else white + black
    assert np.array_equal(np.float32(expected)[:, None, None] * np.ones((1, 9, 9), np.float32), row[28:42])


def test_check_plane() -> None:
    """Plane 48 is all ones exactly where the mover is in check, and only the 50-plane layout has it."""
    in_check = "4k4/9/9/9/9/9/9/4r4/4K4 b - 1"
    quiet = "4k4/9/9/9/9/9/9/3r5/4K4 b - 1"

    assert np.all(encoded(in_check)[48] == 1.0)
    assert not encoded(quiet)[44:].any()
    assert not encoded(in_check, KEISEI_NEW_46)[44:].any()


def test_repetition_planes() -> None:
    """A position back for the second, third and fourth time sets planes 44, 45, 46, once each."""
    board = ShogiRules("csa").start(START_POSITION, max_plies=320)
    row = np.zeros((50, 9, 9), dtype=np.float32)
    seen = []
    for _ in range(4):
        KEISEI_NEW_50.write_one(board.cshogi, row, occurrences=board.occurrences())
        seen.append([plane for plane in range(44, 50) if np.all(row[plane] == 1.0)])
        assert set(np.unique(row[44:])) <= {0.0, 1.0}
        for move in ("4i4h", "6a6b", "4h4i", "6b6a"):
            board.push(move)

    assert seen == [[], [44], [45], [46]]
    assert np.all(encoded(START_POSITION, occurrences=7)[47] == 1.0)
    assert not encoded(START_POSITION, KEISEI_OLD_46, occurrences=2)[44:].any()


@pytest.mark.parametrize(
    ("encoding", "expected"),
    [(KEISEI_OLD_46, 1.2), (KEISEI_NEW_46, 1.0), (KEISEI_NEW_50, 1.0)],
    ids=["old", "new-46", "new-50"],
)
def test_move_counter_beyond_the_end(encoding: Encoding, expected: float) -> None:
    """Past the last ply of training the present layouts stay at 1, the former one goes on."""
    late = START_POSITION.removesuffix(" 1") + " 601"

    assert np.all(encoded(late, encoding, max_plies=500)[43] == np.float32(expected))


def test_default_lengths() -> None:
    """Without a word from the spec the counter is scaled by what Keisei's configurations say."""
    assert [encoding.default_max_plies for encoding in ALL] == [500, 512, 512]


def test_only_its_own_row_is_written() -> None:
    """A position is written whole into its row of a batch, and into no other."""
    batch = np.full((3, 50, 9, 9), 7.0, dtype=np.float32)

    KEISEI_NEW_50.write_one(cshogi.Board(), batch[1])

    assert np.array_equal(encoded(START_POSITION), batch[1])
    assert np.all(batch[[0, 2]] == 7.0)
