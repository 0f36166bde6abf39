"""Networks asked about many positions at a time: the same moves whatever is asked beside them."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
import pytest
import torch

from banzuke.clock import Clock
from banzuke.errors import AgentCrashError
from banzuke.games.shogi import START_POSITION, ShogiBoard, ShogiRules
from banzuke.players.checkpoint import CheckpointPlayer
from banzuke.players.networks.actions import flat_13527, spatial_11259
from banzuke.players.networks.batched import Answers, BatchedNetwork, Query
from banzuke.players.networks.choosing import LegalActions, centipawns, greedy, legal_actions, sampled
from banzuke.players.networks.encoding import KEISEI_NEW_46, KEISEI_NEW_50, KEISEI_OLD_46, Encoding
from banzuke.players.networks.evaluation import Evaluation
from banzuke.players.networks.loading import LoadedNetwork
from banzuke.players.networks.old_tower import OldTower, OldTowerSizes
from banzuke.players.networks.se_resnet import SEResNet, SEResNetSizes

CPU = torch.device("cpu")
FAMILIES = ["se_resnet", "old_tower"]


def loaded(family: str, module: Any = None) -> LoadedNetwork:
    """A small network with random weights, or another module in its place."""
    torch.manual_seed(1)
    sizes = SEResNetSizes(
        planes=50, blocks=2, channels=8, squeeze=4, pool=6, policy_channels=5, value_width=7, score_width=3
    )
    is_new = family == "se_resnet"
    tower = OldTowerSizes(planes=46, actions=13_527, depth=2, width=8, squeeze=4)
    network = SEResNet(sizes) if is_new else OldTower(tower)
    for name, tensor in network.state_dict().items():
        if name.endswith("running_var"):
            tensor.uniform_(0.5, 2.0)
        elif tensor.is_floating_point():
            tensor.normal_(0.0, 0.3)
    return LoadedNetwork(
        module=cast("SEResNet", module) or network.eval().requires_grad_(requires_grad=False),
        family="keisei-new" if is_new else "keisei-old",
        encoding=KEISEI_NEW_50 if is_new else KEISEI_OLD_46,
        action_map=spatial_11259() if is_new else flat_13527(),
        epoch=None,
        step=None,
        parameters=0,
        description="",
    )


def boards(count: int) -> list[ShogiBoard]:
    """Positions of random games, some of which came back."""
    rng = random.Random(4)
    found: list[ShogiBoard] = []
    while len(found) < count:
        board = ShogiRules("csa").start(START_POSITION, max_plies=320)
        if len(found) % 8 == 0:
            for move in ("4i4h", "6a6b", "4h4i", "6b6a") * rng.randrange(1, 3):
                board.push(move)
            found.append(board)
            continue
        for _ in range(rng.randrange(120)):
            if board.outcome() is not None:
                break
            board.push(rng.choice(board.legal_moves()))
        if board.outcome() is None:
            found.append(board)
    return found


BOARDS = boards(256)


def queries(count: int = 256, temperature: float | None = None) -> list[Query]:
    """Half of them greedy, half not."""
    rng = random.Random(5)
    return [
        Query(
            board,
            list(board.cshogi.legal_moves),
            400 + place % 3,
            place % 2 * 0.7 if temperature is None else temperature,
            rng.random(),
        )
        for place, board in enumerate(BOARDS[:count])
    ]


def answer(network: BatchedNetwork, asked: Sequence[Query], size: int) -> Answers:
    """So many at a time."""
    moves: list[int] = []
    evals: list[int | None] = []
    for start in range(0, len(asked), size):
        part = network.begin(asked[start : start + size]).finish()
        assert not part.faults
        moves += part.moves
        evals += part.evals
    return Answers(moves, evals, {})


@pytest.mark.parametrize("family", FAMILIES)
def test_the_choice_does_not_depend_on_the_batch(family: str) -> None:
    """Any number at once, in any order, however padded: the same moves and evaluations, greedy or sampled."""
    network = BatchedNetwork(loaded(family), device=CPU)
    asked = queries()
    expected = answer(network, asked, network.shapes[-1])
    rng = random.Random(6)

    assert network.remarks == []
    for size in (1, 2, 3, 5, 16, 17, 63, 100, network.shapes[-1]):
        order = rng.sample(range(len(asked)), len(asked))
        found = answer(network, [asked[place] for place in order], min(size, network.shapes[-1]))
        assert [expected.moves[place] for place in order] == found.moves
        assert [expected.evals[place] for place in order] == found.evals


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_are_equal_to_the_last_bit(family: str) -> None:
    """In every shape that is kept, in any row, a position's logits are the same numbers."""
    network = BatchedNetwork(loaded(family), device=CPU)
    most = network.shapes[-1]
    encoding = loaded(family).encoding
    planes = np.zeros((most, 9, 9, encoding.planes), dtype=np.float32)
    encoding.write_batch(
        [board.cshogi for board in BOARDS[:most]], planes, occurrences=[1] * most, max_plies=[512] * most
    )
    positions = torch.from_numpy(planes)

    def look(order: Sequence[int]) -> Evaluation:
        return network._evaluate(positions[list(order)].permute(0, 3, 1, 2))

    reference = look(range(most))
    assert len(network.shapes) > 1
    for shape in network.shapes:
        order = random.Random(shape).sample(range(most), shape)
        again = look(order)
        assert torch.equal(reference.policy_logits[order], again.policy_logits)
        if reference.win_probability is not None and again.win_probability is not None:
            assert torch.equal(reference.win_probability[order], again.win_probability)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_choice_is_that_of_a_player(family: str) -> None:
    """A player that looks at one position at a time chooses the same, where the best two are apart."""
    network = loaded(family)
    asked = queries(64, temperature=0.0)
    for query in asked:
        query.max_plies = 500
    found = BatchedNetwork(network, device=CPU).begin(asked[:32]).finish()
    player = CheckpointPlayer(network, device=CPU, max_plies=500, temperature=0.0)
    compared = 0
    for place, query in enumerate(asked[:32]):
        choice = player.choose(
            query.board, clock=Clock.start(None), opponent_clock=Clock.start(None), deadline=time.monotonic() + 60
        )
        logits = player._evaluate()[0][network.action_map.indices(query.moves, mover=query.board.cshogi.turn)]
        best, second = np.sort(logits)[-1:-3:-1] if len(logits) > 1 else (0.0, -1.0)
        if best - second > 1e-4:
            compared += 1
            assert query.board.cshogi.move_from_usi(choice.move) == found.moves[place]
            assert choice.eval_cp is None or abs(choice.eval_cp - cast("int", found.evals[place])) <= 1

    assert compared > 20


def planes_by_hand(encoding: Encoding, board: ShogiBoard, max_plies: int) -> np.ndarray:
    """Square by square, from cshogi's names of things."""
    position = board.cshogi
    planes = np.zeros((encoding.planes, 9, 9), dtype=np.float32)
    kinds = [1, 2, 3, 4, 7, 5, 6, 8, 9, 10, 11, 12, 13, 14]
    for square, piece in enumerate(position.pieces):
        if piece:
            row, column = square % 9, 8 - square // 9
            if position.turn:
                row, column = 8 - row, 8 - column
            plane = kinds.index(piece % 16) + (14 if piece // 16 != position.turn else 0)
            planes[plane, row, column] = 1
    for whose, hand in enumerate((position.pieces_in_hand[position.turn], position.pieces_in_hand[1 - position.turn])):
        for kind, (held, most) in enumerate(zip(hand, (18, 4, 4, 4, 4, 2, 2), strict=True)):
            planes[28 + 7 * whose + kind] = held / most
    planes[42] = position.turn == 0
    planes[43] = (position.move_number - 1) / max_plies
    if encoding.clamps_counter:
        planes[43] = planes[43].clip(0, 1)
    if encoding.has_history:
        if board.occurrences() > 1:
            planes[42 + min(board.occurrences(), 5)] = 1
        planes[48] = position.is_check()
    return planes


@pytest.mark.parametrize("encoding", [KEISEI_OLD_46, KEISEI_NEW_46, KEISEI_NEW_50], ids=lambda one: one.name)
@pytest.mark.parametrize("max_plies", [50, 512])
def test_a_batch_is_encoded_like_its_positions(encoding: Encoding, max_plies: int) -> None:
    """Every row has the planes of its own position, and rows beyond the last stay as they were."""
    planes = np.full((258, 9, 9, encoding.planes), 7.0, dtype=np.float32)
    encoding.write_batch(
        [board.cshogi for board in BOARDS],
        planes,
        occurrences=[board.occurrences() for board in BOARDS],
        max_plies=[max_plies] * 256,
    )

    assert {board.cshogi.turn for board in BOARDS} == {0, 1}
    assert max(board.occurrences() for board in BOARDS) > 1
    assert any(board.cshogi.is_check() for board in BOARDS)
    for row, board in zip(planes, BOARDS, strict=False):
        assert np.array_equal(planes_by_hand(encoding, board, max_plies), row.transpose(2, 0, 1))
    assert np.all(planes[256:] == 7.0)


class Spoilt(torch.nn.Module):
    """A network with something done to what it answers."""

    def __init__(self, spoil: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.honest = loaded("se_resnet").module
        self.spoil = spoil
        self.asked: list[int] = []

    def evaluate(self, planes: torch.Tensor) -> Evaluation:
        self.asked.append(len(planes))
        honest = self.honest.evaluate(planes)
        return Evaluation(
            policy_logits=self.spoil(planes, honest.policy_logits), win_probability=honest.win_probability
        )


def batched(spoil: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> tuple[BatchedNetwork, Spoilt]:
    module = Spoilt(spoil)
    return BatchedNetwork(loaded("se_resnet", module), device=CPU), module


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_nan_in_one_row_is_that_rows_fault(value: float) -> None:
    """A position whose logits are no numbers has no move, and all others have the moves they have without it."""

    def spoil(planes: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        return logits.where((planes[:, 43, :1, :1] < 1)[:, 0], value)

    asked = queries(16)
    asked[3].max_plies = 1
    asked[3].board.cshogi.set_sfen(START_POSITION.removesuffix(" 1") + " 400")
    asked[3].moves = list(asked[3].board.cshogi.legal_moves)
    found = batched(spoil)[0].begin(asked).finish()
    sound = batched(lambda _, logits: logits)[0].begin(asked).finish()

    assert {3: "the network answered NaN or infinity for a legal move"} == found.faults
    assert 0 == found.moves[3]
    assert [move for place, move in enumerate(sound.moves) if place != 3] == found.moves[:3] + found.moves[4:]
    assert not sound.faults


def test_numbers_that_are_no_numbers_for_illegal_moves_do_not_matter() -> None:
    """Only the logits of legal moves are looked at."""
    asked = queries(16)
    legal = torch.zeros(11_259, dtype=torch.bool)
    for query in asked:
        legal[spatial_11259().indices(query.moves, mover=query.board.cshogi.turn).astype(np.int64)] = True
    network, _ = batched(lambda _, logits: logits.where(legal, float("nan")))

    assert {} == network.begin(asked).finish().faults


def test_a_module_that_looks_at_its_neighbours_is_found_out() -> None:
    """Where an answer depends on the rest of the batch, that is said, and one shape is kept."""
    network, _ = batched(lambda _, logits: logits + logits.mean(dim=0, keepdim=True))

    assert 1 == len(network.shapes)
    assert any("depend on the other positions" in remark for remark in network.remarks)


def test_a_shape_that_disagrees_is_dropped() -> None:
    """Of a module that computes otherwise at sixteen rows, the other shapes are kept."""
    network, _ = batched(lambda planes, logits: logits * (1 + (len(planes) == 16)))

    assert 16 not in network.shapes
    assert {4, 32} <= set(network.shapes)
    assert [] == network.remarks


@pytest.mark.parametrize("fewest", [0, 1, 20, 40])
def test_memory_that_runs_out(fewest: int) -> None:
    """Passes are halved until they fit, moves stay, and a remark says so; without any that fits the agent crashes."""
    limit = [1000]

    def spoil(planes: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        if len(planes) > limit[0]:
            torch.empty(1 << 50)
        return logits

    network, module = batched(spoil)
    asked = queries(64)
    expected = answer(network, asked, 64)
    limit[0] = fewest
    module.asked.clear()

    if fewest == 0:
        with pytest.raises(AgentCrashError, match=r"^the network failed: "):
            network.begin(asked)
        return
    found = network.begin(asked).finish()

    assert expected.evals == found.evals
    if fewest > 1:
        assert expected.moves == found.moves
        assert not any("moves may differ" in remark for remark in network.remarks)
    else:
        assert "moves may differ" in network.remarks[-1]
    assert max(network.shapes) <= fewest
    assert network.remarks
    module.asked.clear()
    answer(network, asked, network.shapes[-1])
    assert max(module.asked) <= fewest


def test_other_failures_are_the_agents() -> None:
    """A pass that fails otherwise is not tried again."""
    fails: list[bool] = []

    def spoil(_: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        if fails:
            raise RuntimeError("the driver is gone\nand more")
        return logits

    network, module = batched(spoil)
    fails.append(True)
    module.asked.clear()

    with pytest.raises(AgentCrashError, match=r"^the network failed: the driver is gone$"):
        network.begin(queries(64))
    assert 1 == len(module.asked)


def test_a_fixed_batch_is_the_only_shape() -> None:
    """A program that takes a fixed number of positions is given that number."""
    module = Spoilt(lambda _, logits: logits)
    network = loaded("se_resnet", module)
    fixed = LoadedNetwork(
        **{name: getattr(network, name) for name in network.__slots__ if name != "fixed_batch"}, fixed_batch=7
    )

    batch = BatchedNetwork(fixed, device=CPU)

    assert (7,) == batch.shapes
    assert batch.begin(queries(5)).finish().moves
    assert {7} == set(module.asked)


def test_ties_go_to_the_lowest_action() -> None:
    """Where all moves look equal, the lowest action is chosen, whatever the order of the moves."""
    network, _ = batched(lambda _, logits: torch.zeros_like(logits))
    asked = queries(16, temperature=0.0)
    for query in asked:
        random.Random(1).shuffle(query.moves)
    lowest = [
        query.moves[int(spatial_11259().indices(query.moves, mover=query.board.cshogi.turn).argmin())]
        for query in asked
    ]

    assert lowest == network.begin(asked).finish().moves


def test_lots_fall_alike_alone_and_together() -> None:
    """Drawn row by row in a batch, moves are those of the distribution function of each position alone."""
    rng = np.random.default_rng(3)
    asked = queries(256, temperature=1.0)
    legal = legal_actions(
        [query.moves for query in asked],
        np.array([query.board.cshogi.turn for query in asked]),
        spatial_11259(),
        in_order=True,
    )
    logits = rng.normal(size=legal.actions.shape).astype(np.float32)
    temperatures = rng.choice([1e-9, 0.1, 1.0, 50.0], 256)
    uniforms = rng.random(256)
    expected = []
    for row, query in enumerate(asked):
        mine = logits[row, : len(query.moves)].astype(np.float64)
        with np.errstate(over="ignore"):
            cumulative = np.exp((mine - mine.max()) / temperatures[row]).cumsum()
        expected.append(int(np.searchsorted(cumulative, uniforms[row] * cumulative[-1], side="right")))

    found = sampled(logits, legal, temperatures=temperatures, uniforms=uniforms)

    assert expected == found.tolist()
    assert all((np.diff(row[mask]) > 0).all() for row, mask in zip(legal.actions, legal.is_move, strict=True))
    assert len(set(expected)) > 20


def test_rows_that_are_shorter() -> None:
    """What fills up a row is never chosen, not by a lot as close to 1 as can be, nor where every logit is low."""
    is_move = np.array([[True, True, False], [True, True, True]])
    legal = LegalActions(
        actions=np.array([[5, 6, 0], [1, 2, 3]]), is_move=is_move, moves=np.array([[50, 60, 0], [10, 20, 30]])
    )
    logits = np.array([[-3e38, -3e38, 9.0], [0.0, 0.0, 0.0]], dtype=np.float32)
    most = np.nextafter(1.0, 0.0)

    assert [0, 0] == greedy(logits, legal).tolist()
    assert [1, 2] == sampled(logits, legal, temperatures=np.ones(2), uniforms=np.full(2, most)).tolist()


def test_centipawns() -> None:
    """Chances become centipawns on Elo's scale, each as it would alone, with both ends and None for NaN."""
    chances = np.array([0.0, 1.0, 0.5, 0.64, 0.36, np.nan], dtype=np.float32)

    assert [-32_000, 32_000, 0, 100, -100, None] == centipawns(chances)


def test_memory_is_told() -> None:
    """What a network holds is its weights and its buffers, in bytes."""
    network = BatchedNetwork(loaded("se_resnet"), device=CPU)
    buffer = network.shapes[-1] * 81 * 50 * 4

    assert buffer < network.memory_bytes < buffer + (1 << 20)
