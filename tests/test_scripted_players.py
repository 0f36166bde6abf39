"""The built-in players: real games through the rules, and a search that is what it says."""

from __future__ import annotations

import random
import time
from collections import Counter
from typing import TYPE_CHECKING

import cshogi
import pytest

from banzuke.clock import Clock
from banzuke.errors import AgentStallError
from banzuke.games.shogi import START_POSITION, ShogiBoard, ShogiRules
from banzuke.outcome import Outcome, Side, Termination
from banzuke.players.player import RESIGN, Choice, Player
from banzuke.players.scripted import MATE_CP, MaterialPlayer, RandomPlayer, _Search

if TYPE_CHECKING:
    from collections.abc import Sequence

    from banzuke.games.rules import Board

FIRST, SECOND = Side.FIRST, Side.SECOND

# Values written down a second time on purpose: P L N S G B R K, then promoted.
VALUE = {"P": 100, "L": 300, "N": 400, "S": 500, "G": 600, "B": 800, "R": 1000, "K": 0}
VALUE |= {"+P": 700, "+L": 600, "+N": 600, "+S": 600, "+B": 1000, "+R": 1200}


def begin(position: str = START_POSITION, *, max_plies: int = 320) -> ShogiBoard:
    return ShogiRules("csa").start(position, max_plies=max_plies)


def answer(player: Player, board: Board, *, seconds: float = 60.0) -> Choice:
    clock = Clock.start(None)
    return player.choose(board, clock=clock, opponent_clock=clock, deadline=time.monotonic() + seconds)


def ready(player: Player, *, seed: int = 1, side: Side = FIRST) -> Player:
    player.new_game(side=side, seed=seed, deadline=time.monotonic() + 60.0)
    return player


def play(first: Player, second: Player, *, seed: int, max_plies: int = 320) -> tuple[Outcome, list[str]]:
    """One game from the start position, declarations included, as a match plays it."""
    board = begin(max_plies=max_plies)
    players = {FIRST: ready(first, seed=seed), SECOND: ready(second, seed=seed, side=SECOND)}
    while (outcome := board.outcome()) is None:
        if board.may_declare_win():
            outcome = Outcome(termination=Termination.ENTERING_KING, winner=board.side_to_move)
            break
        choice = answer(players[board.side_to_move], board)
        assert board.is_legal(choice.move)
        board.push(choice.move)
    for player in players.values():
        player.game_over(outcome.winner)
        player.close()
    return outcome, list(board.moves)


def wins(challenger: Player, opponent: Player, games: int) -> int:
    """How many of so many games the challenger wins, with the first move in every other game."""
    won = 0
    for seed in range(games):
        if seed % 2:
            won += play(opponent, challenger, seed=seed)[0].winner is SECOND
        else:
            won += play(challenger, opponent, seed=seed)[0].winner is FIRST
    return won


class AnotherBoard:
    """A board of another make: what a random player sees of a game it has no shortcut for."""

    def __init__(self, inner: ShogiBoard) -> None:
        self.inner = inner

    @property
    def start_position(self) -> str:
        return self.inner.start_position

    @property
    def moves(self) -> Sequence[str]:
        return self.inner.moves

    @property
    def side_to_move(self) -> Side:
        return self.inner.side_to_move

    def position(self) -> str:
        return self.inner.position()

    def legal_moves(self) -> list[str]:
        return self.inner.legal_moves()

    def is_legal(self, move: str) -> bool:
        return self.inner.is_legal(move)

    def push(self, move: str) -> None:
        self.inner.push(move)

    def outcome(self) -> Outcome | None:
        return self.inner.outcome()

    def may_declare_win(self) -> bool:
        return self.inner.may_declare_win()


def random_boards(seed: int, count: int, plies: int) -> list[ShogiBoard]:
    chance = random.Random(seed)
    boards: list[ShogiBoard] = []
    while len(boards) < count:
        board = begin(max_plies=1000)
        for _ in range(chance.randrange(plies)):
            if board.outcome() is not None:
                break
            board.push(chance.choice(board.legal_moves()))
        if board.outcome() is None:
            boards.append(board)
    return boards


# --- both


@pytest.mark.parametrize("player", [RandomPlayer(), MaterialPlayer(1)])
def test_a_built_in_player_is_no_engine(player: Player) -> None:
    """Built-in players compute on the CPU and leave declaring wins to the match."""
    told = (player.claims_wins, player.device)

    assert (False, "cpu") == told


@pytest.mark.parametrize("make", [RandomPlayer, lambda: MaterialPlayer(1), lambda: MaterialPlayer(2)])
def test_a_seed_decides_the_whole_game(make: type[RandomPlayer]) -> None:
    """One seed gives one game, whatever the players played before, and another seed gives another."""
    used = make()

    game = play(make(), make(), seed=5, max_plies=60)
    play(used, make(), seed=9, max_plies=30)
    again = play(used, make(), seed=5, max_plies=60)
    other = play(make(), make(), seed=6, max_plies=60)

    assert game == again
    assert game != other


def test_both_sides_of_a_game_draw_their_own_numbers() -> None:
    """The two players of a game are given one seed and still do not mirror each other."""
    board = begin()

    as_first = [answer(ready(RandomPlayer(), seed=seed), board).move for seed in range(20)]
    as_second = [answer(ready(RandomPlayer(), seed=seed, side=SECOND), board).move for seed in range(20)]

    assert as_first != as_second


@pytest.mark.parametrize("player", [RandomPlayer(), MaterialPlayer(3)])
def test_a_side_without_a_move_resigns(player: Player) -> None:
    """Asked in a mated position, a player resigns instead of failing."""
    board = begin("4k4/4G4/4P4/9/9/9/9/9/4K4 w - 1")

    choice = answer(player, board)

    assert RESIGN == choice.move


# --- random


def test_random_moves_are_uniform() -> None:
    """Every legal move of the start position is chosen about equally often."""
    board = begin()
    player = ready(RandomPlayer(), seed=2026)

    chosen = Counter(answer(player, board).move for _ in range(6000))

    assert set(board.legal_moves()) == set(chosen)
    chi_square = sum((count - 200) ** 2 / 200 for count in chosen.values())
    assert chi_square < 65, "29 degrees of freedom: 99.99 % lie below"


def test_random_needs_nothing_but_the_protocol() -> None:
    """On a board of another make the random player chooses the same moves as on ours."""
    boards = random_boards(seed=4, count=30, plies=120)

    ours = [answer(ready(RandomPlayer(), seed=seed), board).move for seed, board in enumerate(boards)]
    others = [answer(ready(RandomPlayer(), seed=seed), AnotherBoard(board)).move for seed, board in enumerate(boards)]

    assert ours == others


def test_random_games_end_by_the_rules() -> None:
    """Games of random players end in mate or at the length limit, and replay to the same outcome."""
    for seed in range(15):
        outcome, moves = play(RandomPlayer(), RandomPlayer(), seed=seed)

        board = begin()
        for move in moves:
            assert board.outcome() is None
            board.push(move)
        assert outcome == board.outcome()
        assert outcome.termination in {Termination.CHECKMATE, Termination.NO_LEGAL_MOVES, Termination.MAX_PLIES}


# --- material


@pytest.mark.parametrize("depth", [0, 4, -1])
def test_material_has_three_depths(depth: int) -> None:
    """Depths other than 1 to 3 are refused."""
    with pytest.raises(ValueError, match=f"depth {depth} is not from 1 to 3"):
        MaterialPlayer(depth)


def test_material_plays_shogi_only() -> None:
    """On a board that is not ours the material player says so."""
    with pytest.raises(TypeError, match="plays shogi only, not on AnotherBoard"):
        answer(MaterialPlayer(1), AnotherBoard(begin()))


@pytest.mark.parametrize(
    ("depth", "count", "plies"),
    [(1, 60, 200), (2, 12, 120), (3, 3, 16)],
)
def test_the_search_equals_plain_minimax(depth: int, count: int, plies: int) -> None:
    """In random positions pruning changes neither the score nor the set of best moves."""
    for board in random_boards(seed=depth, count=count, plies=plies):
        position = board.position()
        expected = minimax_best(board.cshogi, depth)

        moves, score = _Search(board.cshogi, time.monotonic() + 300).best_moves(depth)

        assert expected == ([cshogi.move_to_usi(move) for move in moves], score), position
        assert position == board.position()


def minimax_best(board: cshogi.Board, depth: int) -> tuple[list[str], int]:
    """Best moves and score without pruning, from material counted anew at every leaf."""
    scores = {}
    for move in list(board.legal_moves):
        board.push(move)
        scores[cshogi.move_to_usi(move)] = -minimax(board, depth - 1, 1, move)
        board.pop()
    best = max(scores.values())
    return [move for move, score in scores.items() if score == best], best


def minimax(board: cshogi.Board, depth: int, ply: int, last_move: int) -> int:
    moves = list(board.legal_moves)
    if not moves:
        return ply - MATE_CP
    if depth == 0:
        recaptures = [move for move in moves if cshogi.move_to(move) == cshogi.move_to(last_move)]
        material = counted_material(board)
        if not recaptures:
            return material
        values = {move: VALUE[letter(board.piece(cshogi.move_from(move)))] for move in recaptures}
        cheapest = [move for move in recaptures if values[move] == min(values.values())]
        promoting = [move for move in cheapest if cshogi.move_is_promotion(move)]
        move = (promoting or cheapest)[0]
        board.push(move)
        after = -minimax(board, 0, ply + 1, move)
        board.pop()
        return max(material, after)
    best = -10 * MATE_CP
    for move in moves:
        board.push(move)
        best = max(best, -minimax(board, depth - 1, ply + 1, move))
        board.pop()
    return best


def letter(piece: int) -> str:
    return str(cshogi.PIECE_SYMBOLS[cshogi.piece_to_piece_type(piece)]).upper()


def counted_material(board: cshogi.Board) -> int:
    balance = 0
    for piece in board.pieces:
        if piece != cshogi.NONE:
            balance += VALUE[letter(piece)] * (1 if piece < cshogi.WPAWN else -1)
    for count_black, count_white, kind in zip(*board.pieces_in_hand, "PLNSGBR", strict=True):
        balance += (count_black - count_white) * VALUE[kind]
    return balance if board.turn == cshogi.BLACK else -balance


@pytest.mark.parametrize(
    ("position", "move", "depth", "plies"),
    [
        pytest.param("4k4/9/4P4/9/9/9/9/9/4K4 b G 1", "G*5b", 1, 1, id="in one"),
        pytest.param("4k4/9/4P4/9/9/9/9/9/4K4 b G 1", "G*5b", 2, 1, id="in one at depth 2"),
        pytest.param("4k4/9/4P4/9/9/9/9/9/4K4 b G 1", "G*5b", 3, 1, id="in one at depth 3"),
        pytest.param(
            "2b2ksn1/2g+P1bg1+S/lp3p3/PPR6/p1Pg5/l3pP2l/L1GKP1+p1P/3S2PS1/1+r4+n+p1 w 2P2n2p 142",
            "N*5e",
            3,
            3,
            id="in three",
        ),
    ],
)
def test_a_mate_within_the_depth_is_found(position: str, move: str, depth: int, plies: int) -> None:
    """A mate that fits into the depth is played and scored by its distance."""
    choice = answer(ready(MaterialPlayer(depth)), begin(position))

    assert Choice(move=move, eval_cp=MATE_CP - plies) == choice


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_a_guarded_pawn_costs_no_rook(depth: int) -> None:
    """A rook is not given for a guarded pawn."""
    board = begin("4k4/4g4/4p4/9/9/9/9/4R4/3K5 b - 1")

    chosen = {answer(ready(MaterialPlayer(depth), seed=seed), board).move for seed in range(10)}

    assert chosen.isdisjoint({"5h5c", "5h5c+"})


def test_a_hanging_rook_is_taken() -> None:
    """A rook for nothing is taken, and the score counts it as lost there and held here."""
    board = begin("k8/9/9/4r4/9/9/9/4R4/K8 b - 1")

    choice = answer(ready(MaterialPlayer(1)), board)

    assert Choice(move="5h5d", eval_cp=2000) == choice


def test_depth_two_sees_the_reply() -> None:
    """Depth 2 always saves an attacked gold, which depth 1 leaves where it is at times."""
    board = begin("k8/9/9/b8/9/9/9/4G4/8K b - 1")

    saved = {
        depth: [answer(ready(MaterialPlayer(depth), seed=seed), board).move.startswith("5h") for seed in range(20)]
        for depth in (1, 2)
    }

    assert all(saved[2])
    assert not all(saved[1])


def test_ties_are_broken_by_the_seed() -> None:
    """Equally good moves are all played, each as the seed has it."""
    board = begin()

    moves = {seed: answer(ready(MaterialPlayer(1), seed=seed), board).move for seed in range(60)}
    again = {seed: answer(ready(MaterialPlayer(1), seed=seed), board).move for seed in range(60)}

    assert moves == again
    assert len(set(moves.values())) > 15


def test_the_board_is_left_as_it_was_even_past_the_deadline() -> None:
    """A search that is not done by its deadline says so and leaves the board as it found it."""
    board = begin()
    board.push("7g7f")
    before = (board.position(), list(board.cshogi.history), board.legal_moves())

    with pytest.raises(AgentStallError, match="deadline"):
        answer(ready(MaterialPlayer(3)), board, seconds=0.0005)
    after_stall = (board.position(), list(board.cshogi.history), board.legal_moves())
    answer(ready(MaterialPlayer(2)), board)

    assert before == after_stall
    assert before == (board.position(), list(board.cshogi.history), board.legal_moves())


def test_material_beats_random() -> None:
    """Depth 1 wins all of ten games against random moves."""
    won = wins(MaterialPlayer(1), RandomPlayer(), 10)

    assert 10 == won


def test_depth_two_beats_depth_one() -> None:
    """Depth 2 wins at least nine of ten games against depth 1."""
    won = wins(MaterialPlayer(2), MaterialPlayer(1), 10)

    assert won >= 9
