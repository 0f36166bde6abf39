"""Networks seated in games: what they choose, how reproducibly, and what happens when they cannot."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from banzuke.clock import Clock
from banzuke.errors import AgentCrashError, AgentStallError, AgentStartError
from banzuke.games.shogi import START_POSITION, ShogiBoard, ShogiRules
from banzuke.outcome import Side
from banzuke.players.checkpoint import CheckpointPlayer, centipawns, sample
from banzuke.players.networks.loading import load_network
from banzuke.players.networks.old_tower import OldTower, OldTowerSizes
from banzuke.players.networks.se_resnet import SEResNet, SEResNetSizes
from banzuke.players.player import Choice, Player
from banzuke.players.scripted import RandomPlayer
from banzuke.specs import CheckpointAgent

EXAMPLES = Path(__file__).parent.parent / "examples" / "checkpoints"
SERIES = sorted(EXAMPLES.glob("epoch_*.pt"))
WHITE_TO_MOVE = "ln1g1gsnl/1ks4r1/1pppppbpp/p5p2/9/2PP4P/PPS1PPPP1/2GBR4/LNK2GSNL w - 20"


def soon() -> float:
    return time.monotonic() + 60


def checkpoint(path: Path, **weights: torch.Tensor) -> Path:
    """A small untrained network of the present family, some of its weights replaced."""
    torch.manual_seed(1)
    sizes = SEResNetSizes(
        planes=50, blocks=1, channels=8, squeeze=2, pool=4, policy_channels=8, value_width=4, score_width=2
    )
    torch.save(SEResNet(sizes).state_dict() | weights, path)
    return path


def player(path: Path, **settings: object) -> CheckpointPlayer:
    agent = CheckpointAgent(name="net", kind="checkpoint", path=str(path), **({"device": "cpu"} | settings))
    return CheckpointPlayer.open(agent, deadline=soon())


def board_at(sfen: str = START_POSITION, *moves: str) -> ShogiBoard:
    board = ShogiRules("csa").start(sfen, max_plies=320)
    for move in moves:
        board.push(move)
    return board


def ask(one: Player, board: ShogiBoard) -> Choice:
    return one.choose(board, clock=Clock.start(None), opponent_clock=Clock.start(None), deadline=soon())


def play(first: Player, second: Player, *, seed: int, opening: int = 0) -> ShogiBoard:
    """A whole game after so many random plies."""
    board = board_at()
    rng = random.Random(seed)
    while len(board.moves) < opening:
        board.push(rng.choice(board.legal_moves()))
    players = {Side.FIRST: first, Side.SECOND: second}
    for side, one in players.items():
        one.new_game(side=side, seed=seed, deadline=soon())
    while board.outcome() is None:
        board.push(ask(players[board.side_to_move], board).move)
    return board


def test_greedy_is_the_best_legal_logit(tmp_path: Path) -> None:
    """At temperature 0 the move with the highest logit among the legal ones is played, for either colour."""
    path = checkpoint(tmp_path / "w.pt")
    network = load_network(path)
    for sfen in (START_POSITION, WHITE_TO_MOVE):
        board = board_at(sfen)
        planes = np.zeros((1, 50, 9, 9), dtype=np.float32)
        network.encoding.write_one(board.cshogi, planes[0])
        logits = network.module.evaluate(torch.from_numpy(planes)).policy_logits[0]
        indices = network.action_map.indices(list(board.cshogi.legal_moves), mover=board.cshogi.turn)
        expected = network.action_map.to_usi(
            max(indices.tolist(), key=lambda index: float(logits[index])), mover=board.cshogi.turn
        )

        choice = ask(player(path), board)

        assert expected == choice.move
        assert logits.argmax() not in indices  # or the mask would not show


def test_ties_go_to_the_lowest_action(tmp_path: Path) -> None:
    """Where all moves look equal, the lowest action index is played."""
    path = checkpoint(tmp_path / "w.pt", **{"policy_conv2.weight": torch.zeros(139, 8, 1, 1)})
    path = checkpoint(path, **{"policy_conv2.weight": torch.zeros(139, 8, 1, 1), "policy_conv2.bias": torch.zeros(139)})
    board = board_at()
    action_map = load_network(path).action_map
    lowest = int(action_map.indices(list(board.cshogi.legal_moves), mover=0).min())

    assert action_map.to_usi(lowest, mover=0) == ask(player(path), board).move


def test_repetition_and_ply_reach_the_network(tmp_path: Path) -> None:
    """The player hands on the number of occurrences, the SFEN's move number and the spec's scale."""
    one = player(checkpoint(tmp_path / "w.pt"), trained_max_plies=100)
    ask(one, board_at(START_POSITION.removesuffix(" 1") + " 11", "4i4h", "6a6b", "4h4i", "6b6a"))

    assert np.all(one._planes[0, 43] == np.float32(0.14))
    assert [plane for plane in range(44, 50) if one._planes[0, plane].any()] == [44]


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_games_replay_from_their_seed(tmp_path: Path, temperature: float) -> None:
    """The same seed gives the same game, by the same players later on or by players opened anew."""
    path = checkpoint(tmp_path / "w.pt")
    pair = player(path, temperature=temperature), player(path, temperature=temperature)
    other_pair = player(path, temperature=temperature), player(path, temperature=temperature)

    first = play(*pair, seed=3, opening=4)
    play(*pair, seed=4, opening=4)
    again = play(*pair, seed=3, opening=4)
    anew = play(*other_pair, seed=3, opening=4)

    assert list(first.moves) == list(again.moves) == list(anew.moves)


def test_sampling_depends_on_seed_and_side_alone(tmp_path: Path) -> None:
    """A sampled move is fixed by game seed and side, whatever was played before; others give other moves."""
    path = checkpoint(tmp_path / "w.pt")
    one, other = player(path, temperature=3.0), player(path, temperature=3.0)
    play(other, other, seed=99)

    def opening_moves(who: CheckpointPlayer, seed: int, side: Side) -> list[str]:
        who.new_game(side=side, seed=seed, deadline=soon())
        return [ask(who, board_at()).move for _ in range(20)]

    assert opening_moves(one, 5, Side.FIRST) == opening_moves(other, 5, Side.FIRST)
    assert opening_moves(one, 5, Side.FIRST) != opening_moves(one, 6, Side.FIRST)
    assert opening_moves(one, 5, Side.FIRST) != opening_moves(one, 5, Side.SECOND)
    assert opening_moves(one, 2**63 - 1, Side.FIRST) == opening_moves(other, 2**63 - 1, Side.FIRST)


def test_sample_follows_the_softmax() -> None:
    """Over evenly spread uniforms each move is drawn as often as the softmax at that temperature says."""
    logits = np.array([1.0, 3.0, 2.0], dtype=np.float32)
    uniforms = (np.arange(10_000) + 0.5) / 10_000

    drawn = Counter(sample(logits, temperature=2.0, uniform=float(uniform)) for uniform in uniforms)

    weights = np.exp(logits.astype(np.float64) / 2.0)
    assert np.allclose([drawn[i] / 10_000 for i in range(3)], weights / weights.sum(), atol=2e-4)


@pytest.mark.parametrize("temperature", [5e-324, 1e-30, 1e30])
@pytest.mark.parametrize("uniform", [0.0, 1 - 2**-53])
def test_sample_at_extreme_temperatures(temperature: float, uniform: float) -> None:
    """Next to no temperature is greedy, an enormous one uniform; neither overflows or leaves the list."""
    logits = np.array([-3e38, 1.0, 3e38, 2.0], dtype=np.float32)

    drawn = sample(logits, temperature=temperature, uniform=uniform)

    assert drawn in range(4) if temperature > 1 else drawn == 2


@pytest.mark.parametrize("poison", [float("nan"), float("inf"), float("-inf")])
def test_poisoned_weights_are_a_crash(tmp_path: Path, poison: float) -> None:
    """NaN or infinity in the weights lets a network start; its first answer is a crash, not a move."""
    path = checkpoint(tmp_path / "w.pt", **{"policy_conv2.bias": torch.full((139,), poison)})
    one = player(path)

    with pytest.raises(AgentCrashError, match="answered NaN or infinity for a legal move"):
        ask(one, board_at())


def test_poison_where_no_move_is(tmp_path: Path) -> None:
    """NaN in the logits of illegal moves alone does not matter."""
    bias = torch.zeros(139)
    bias[132:] = float("nan")  # drops, of which the start position has none
    one = player(checkpoint(tmp_path / "w.pt", **{"policy_conv2.bias": bias}))

    assert board_at().is_legal(ask(one, board_at()).move)


def test_a_poisoned_value_is_no_evaluation(tmp_path: Path) -> None:
    """NaN in the value head leaves the move, and no evaluation."""
    one = player(checkpoint(tmp_path / "w.pt", **{"value_fc2.bias": torch.full((3,), float("nan"))}))

    choice = ask(one, board_at())

    assert (board_at().is_legal(choice.move), choice.eval_cp) == (True, None)


@pytest.mark.parametrize(
    ("win", "draw", "loss", "expected"),
    [(0.0, 0.0, 0.0, 0), (0.0, 60.0, 0.0, 0), (2.302585, 0.0, -60.0, None), (60.0, 0.0, 0.0, "most")],
)
def test_evaluation(tmp_path: Path, win: float, draw: float, loss: float, expected: int | str | None) -> None:
    """The score is on Elo's scale, draws counted half, from the mover's own side, and bounded."""
    path = checkpoint(
        tmp_path / "w.pt",
        **{"value_fc2.weight": torch.zeros(3, 4), "value_fc2.bias": torch.tensor([win, draw, loss])},
    )

    score = ask(player(path), board_at(WHITE_TO_MOVE)).eval_cp

    if expected is None:  # win 10 : draw 1, so p = 10.5 / 11
        assert score == round(400 * np.log10(10.5 / 0.5))
    elif expected == "most":
        assert score == 32_000
    else:
        assert expected == score


def test_centipawns() -> None:
    """Even is 0, ten to one is 400, certainty is the bound, NaN is nothing."""
    assert [centipawns(chance) for chance in (0.5, 10 / 11, 1 / 11, 1.0, 0.0, float("nan"))] == [
        0,
        400,
        -400,
        32_000,
        -32_000,
        None,
    ]


def test_board_is_left_as_it_was(tmp_path: Path) -> None:
    """Choosing changes nothing on the board."""
    board = board_at(START_POSITION, "7g7f", "3c3d")
    before = (board.position(), list(board.moves), board.occurrences())

    ask(player(checkpoint(tmp_path / "w.pt")), board)

    assert before == (board.position(), list(board.moves), board.occurrences())


def test_no_legal_move_is_a_resignation(tmp_path: Path) -> None:
    """Asked in a lost position without moves, it resigns instead of failing."""
    mated = board_at("4k4/4G4/4P4/9/9/9/9/9/4K4 w - 1")

    assert ask(player(checkpoint(tmp_path / "w.pt")), mated).move == "resign"


def test_late_answers(tmp_path: Path) -> None:
    """An answer after the deadline is a stall; a player not ready by its deadline has not started."""
    path = checkpoint(tmp_path / "w.pt")
    one = player(path)
    past = time.monotonic() - 1

    with pytest.raises(AgentStallError):
        one.choose(board_at(), clock=Clock.start(None), opponent_clock=Clock.start(None), deadline=past)
    with pytest.raises(AgentStartError, match=r"^w\.pt: was not ready in time$"):
        CheckpointPlayer.open(CheckpointAgent(name="net", kind="checkpoint", path=str(path)), deadline=past)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_a_gpu_that_is_not_there(tmp_path: Path) -> None:
    """A GPU asked for by name and not there keeps the agent from starting; auto takes the CPU."""
    path = checkpoint(tmp_path / "w.pt")

    assert player(path, device="auto").device == "cpu"
    with pytest.raises(AgentStartError, match=r"^w\.pt: does not run on cuda:1: no GPU that torch can use$"):
        player(path, device="cuda:1")


def test_old_networks_play(tmp_path: Path) -> None:
    """A former network plays a whole game by the rules, and reports no score."""
    torch.manual_seed(2)
    network = OldTower(OldTowerSizes(planes=46, actions=13_527, depth=1, width=4, squeeze=None))
    torch.save({"model_state_dict": network.state_dict(), "global_timestep": 1}, tmp_path / "old.pth")
    one = player(tmp_path / "old.pth", format="keisei-old")

    board = play(one, RandomPlayer(), seed=1)

    assert board.outcome() is not None
    assert ask(one, board_at()).eval_cp is None
    assert np.all(one._planes[0, 43] == 0)


def test_torch_stays_out_of_the_engines_workers() -> None:
    """Importing the way to open players does not import torch."""
    code = "import sys, banzuke.players.opening; sys.exit('torch' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


# The checkpoints that come with the project


def test_examples_are_there_and_small() -> None:
    """At least four points of one training and one former checkpoint, about a megabyte in all."""
    files = [*SERIES, *EXAMPLES.glob("*.pth")]

    assert len(SERIES) >= 4
    assert len(files) > len(SERIES)
    assert sum(path.stat().st_size for path in files) < 1_200_000


@pytest.mark.parametrize("path", [*SERIES, *sorted(EXAMPLES.glob("*.pth"))], ids=lambda path: path.name)
def test_examples_load(path: Path) -> None:
    """Every example is what its name says and knows it, and has a legal move in either side's positions."""
    loaded = load_network(path)
    one = player(path)

    assert (loaded.epoch, loaded.step, loaded.description) == (one.epoch, one.step, one.description)
    if path.suffix == ".pt":
        assert ("keisei-new", f"epoch_{(loaded.epoch or 0) - 1:05d}") == (loaded.family, path.stem)
    else:
        assert ("keisei-old", f"checkpoint_ts{loaded.step}") == (loaded.family, path.stem)
    for board in (board_at(), board_at(WHITE_TO_MOVE)):
        assert board.is_legal(ask(one, board).move)


def test_the_last_example_beats_random() -> None:
    """The series' last network wins as Black and as White against random moves, after random openings."""
    one = player(SERIES[-1])

    winners = [
        play(one, RandomPlayer(), seed=1, opening=6).outcome(),
        play(RandomPlayer(), one, seed=2, opening=6).outcome(),
    ]

    assert [outcome.winner for outcome in winners if outcome is not None] == [Side.FIRST, Side.SECOND]


def test_the_last_example_beats_the_first() -> None:
    """What was learnt shows: the last of the series wins against the first from both sides."""
    last, first = player(SERIES[-1]), player(SERIES[0])

    winners = [
        play(last, first, seed=1, opening=6).outcome(),
        play(first, last, seed=2, opening=6).outcome(),
    ]

    assert [outcome.winner for outcome in winners if outcome is not None] == [Side.FIRST, Side.SECOND]
