"""Action maps, networks and files: the reference's figures, round trips, and files that mean harm."""

from __future__ import annotations

import io
import os
import pickle
import random
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import cshogi
import numpy as np
import pytest
import torch
from torch import nn

from banzuke.errors import AgentStartError
from banzuke.players.networks import archive, loading
from banzuke.players.networks.actions import IMPOSSIBLE, ActionMap, flat_13527, spatial_11259
from banzuke.players.networks.loading import load_network
from banzuke.players.networks.old_tower import OldTower, OldTowerSizes
from banzuke.players.networks.se_resnet import SEResNet, SEResNetSizes
from banzuke.specs import LARGEST_CHECKPOINT_BYTES

Network = TypeVar("Network", bound=nn.Module)
SMALL = SEResNetSizes(
    planes=50, blocks=2, channels=8, squeeze=4, pool=6, policy_channels=5, value_width=7, score_width=3
)
SMALL_OLD = OldTowerSizes(planes=46, actions=13_527, depth=1, width=4, squeeze=None)


# The action maps


@pytest.mark.parametrize(
    ("sfen", "usi", "flat", "spatial"),
    [
        ("lnsgkgsnl/1r5b1/ppppppppp/9/9/9/PPPPPPPPP/1B5R1/LNSGKGSNL b - 1", "7g7f", 9054, 7784),
        ("lnsgkgsnl/1r5b1/ppppppppp/9/9/9/PPPPPPPPP/1B5R1/LNSGKGSNL w - 1", "3c3d", 9054, 7784),
        ("lnsgkgsnl/1r5b1/ppppppppp/9/9/9/PPPPPPPPP/1B5R1/LNSGKGSNL b - 1", "2g2f", 9864, 8479),
        ("4k4/9/9/9/9/9/9/9/4K4 b Pp 1", "P*5e", 13240, 5692),
        ("4k4/9/9/9/9/9/9/9/4K4 w Pp 1", "P*5e", 13240, 5692),
        ("4k4/9/9/9/9/9/9/9/1N2K4 b - 1", "8i7g", 11792, 10277),
        ("4k4/9/9/9/9/9/9/1B7/4K4 b - 1", "8h2b+", 10273, 8973),
    ],
)
def test_reference_moves(sfen: str, usi: str, flat: int, spatial: int) -> None:
    """The reference's test vectors hold in both maps, there and back."""
    board = cshogi.Board(sfen)
    move = [board.move_from_usi(usi)]

    assert [flat] == flat_13527().indices(move, mover=board.turn).tolist()
    assert [spatial] == spatial_11259().indices(move, mover=board.turn).tolist()
    assert usi == flat_13527().to_usi(flat, mover=board.turn)
    assert usi == spatial_11259().to_usi(spatial, mover=board.turn)


@pytest.mark.parametrize("action_map", [flat_13527(), spatial_11259()], ids=lambda m: m.name)
def test_every_legal_move_has_its_own_action(action_map: ActionMap) -> None:
    """In thousands of random positions, either side to move, legal moves keep apart and come back unchanged."""
    rng = random.Random(7)
    positions = dict.fromkeys(cshogi.COLORS, 0)
    while min(positions.values()) < 2000:
        board = cshogi.Board()
        while board.move_number < 250 and (moves := list(board.legal_moves)):
            indices = action_map.indices(moves, mover=board.turn).tolist()
            assert len(moves) == len(set(indices))
            assert all(0 <= index < action_map.size for index in indices)
            assert [cshogi.move_to_usi(move) for move in moves] == [
                action_map.to_usi(index, mover=board.turn) for index in indices
            ]
            positions[board.turn] += 1
            board.push(rng.choice(moves))


def test_knights_have_slots_of_their_own() -> None:
    """A knight's four jumps use slots 128 to 131 and nothing else on the board does."""
    board = cshogi.Board("4k4/9/9/4N4/9/9/9/9/4K4 b - 1")
    jumps = {
        usi: int(spatial_11259().indices([board.move_from_usi(usi)], mover=cshogi.BLACK)[0]) % 139
        for usi in ("5d6b+", "5d6b", "5d4b", "5d4b+")
        if board.move_from_usi(usi)
    }

    assert {"5d6b+": 129, "5d6b": 128, "5d4b": 130, "5d4b+": 131} | jumps == {
        "5d6b+": 129,
        "5d6b": 128,
        "5d4b": 130,
        "5d4b+": 131,
    }
    assert {"5d6b+", "5d4b+"} <= jumps.keys()


@pytest.mark.parametrize("index", [-1, 13_527, 139 * 0])
def test_actions_that_are_no_moves(index: int) -> None:
    """An action off the board or out of range is refused, not turned into some move."""
    with pytest.raises(ValueError, match="is no move"):
        spatial_11259().to_usi(index, mover=cshogi.BLACK)


def test_impossible_moves_have_no_action() -> None:
    """What no piece can do has no action in the spatial map, while the flat map numbers it."""
    king_leap = [cshogi.E9 + 0 + 128 * cshogi.A1]  # 1a to 9e

    assert spatial_11259().indices(king_leap, mover=cshogi.BLACK).tolist() == [IMPOSSIBLE]
    assert flat_13527().indices(king_leap, mover=cshogi.BLACK).tolist() != [IMPOSSIBLE]


# The networks


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ((10, 128, 16, 64, 16, 128, 64), 3_484_671),
        ((20, 128, 8, 128, 32, 256, 128), 7_506_383),
        ((40, 256, 16, 128, 32, 256, 128), 53_422_511),
    ],
)
def test_se_resnet_parameter_counts(sizes: tuple[int, ...], expected: int) -> None:
    """Networks of the sizes on record have exactly the numbers of parameters on record."""
    names = ("blocks", "channels", "squeeze", "pool", "policy_channels", "value_width", "score_width")
    with torch.device("meta"):
        network = SEResNet(SEResNetSizes(planes=50, **dict(zip(names, sizes, strict=True))))

    assert expected == sum(parameter.numel() for parameter in network.parameters())


def test_old_tower_parameter_count() -> None:
    """Keisei's usual former network has the number of parameters on record."""
    with torch.device("meta"):
        network = OldTower(OldTowerSizes(planes=46, actions=13_527, depth=9, width=256, squeeze=64))

    assert sum(parameter.numel() for parameter in network.parameters()) == 13_241_300


def randomised(network: Network) -> Network:
    """Random weights everywhere, running statistics included, so that no term of a formula vanishes."""
    generator = torch.Generator().manual_seed(3)
    for name, tensor in network.state_dict().items():
        if name.endswith("running_var"):
            tensor.uniform_(0.5, 2.0, generator=generator)
        elif tensor.is_floating_point():
            tensor.normal_(0.0, 0.3, generator=generator)
    return network.eval()


class Formulas:
    """The reference's formulas in plain numpy over a state dict, apart from the networks under test."""

    def __init__(self, network: nn.Module) -> None:
        self.weights = {name: tensor.double().numpy() for name, tensor in network.state_dict().items()}

    def conv(self, name: str, x: np.ndarray) -> np.ndarray:
        weight = self.weights[name + ".weight"]
        margin = weight.shape[-1] // 2
        padded = np.pad(x, ((0, 0), (margin, margin), (margin, margin)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, weight.shape[2:], axis=(1, 2))
        y = np.einsum("chwij,ocij->ohw", windows, weight)
        return y + self.weights[name + ".bias"][:, None, None] if name + ".bias" in self.weights else y

    def norm(self, name: str, x: np.ndarray) -> np.ndarray:
        w = {part: self.weights[f"{name}.{part}"][:, None, None] for part in ("weight", "bias", "running_mean")}
        deviation = np.sqrt(self.weights[f"{name}.running_var"][:, None, None] + 1e-5)
        return (x - w["running_mean"]) / deviation * w["weight"] + w["bias"]

    def linear(self, name: str, x: np.ndarray) -> np.ndarray:
        return self.weights[name + ".weight"] @ x + self.weights[name + ".bias"]


def relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def pooled(x: np.ndarray) -> np.ndarray:
    flat = x.reshape(len(x), 81)
    return np.concatenate([flat.mean(1), flat.max(1), np.sqrt(((flat.T - flat.mean(1)) ** 2).mean(0))])


def test_se_resnet_follows_the_formulas() -> None:
    """All three heads agree with an independent computation from the reference's text."""
    network = randomised(SEResNet(SMALL))
    planes = torch.rand((2, 50, 9, 9), generator=torch.Generator().manual_seed(5))

    heads = network(planes)

    f = Formulas(network)
    for i in range(2):
        x = relu(f.norm("input_bn", f.conv("input_conv", planes[i].double().numpy())))
        for block in ("blocks.0.", "blocks.1."):
            y = relu(f.norm(block + "bn1", f.conv(block + "conv1", x)))
            bias = f.linear(block + "global_fc.2", relu(f.linear(block + "global_fc.0", pooled(x))))
            y = f.norm(block + "bn2", f.conv(block + "conv2", y + bias[:, None, None]))
            both = f.linear(block + "se_fc2", relu(f.linear(block + "se_fc1", y.mean(axis=(1, 2)))))
            scale, shift = both[:8, None, None], both[8:, None, None]
            x = relu(y * sigmoid(scale) + shift + x)
        policy = f.conv("policy_conv2", relu(f.norm("policy_bn1", f.conv("policy_conv1", x))))
        value = f.linear("value_fc2", relu(f.linear("value_fc1", pooled(x))))
        score = f.linear("score_fc2", relu(f.linear("score_fc1", pooled(x))))
        close = {"rtol": 1e-4, "atol": 1e-4}
        assert np.allclose(policy.transpose(1, 2, 0), heads.policy_logits[i].detach(), **close)
        assert np.allclose(value, heads.value_logits[i].detach(), **close)
        assert np.allclose(score, heads.score_lead[i].detach(), **close)
        chances = np.exp(value - value.max()) / np.exp(value - value.max()).sum()
        asked = network.evaluate(planes)
        assert np.isclose(chances[0] + chances[1] / 2, asked.win_probability[i].item(), atol=1e-5)
        assert torch.equal(heads.policy_logits[i].reshape(-1), asked.policy_logits[i])


@pytest.mark.parametrize("squeeze", [None, 2])
def test_old_tower_follows_the_formulas(squeeze: int | None) -> None:
    """Policy and value agree with an independent computation, with squeeze-and-excitation and without."""
    network = randomised(OldTower(OldTowerSizes(planes=46, actions=70, depth=2, width=4, squeeze=squeeze)))
    planes = torch.rand((1, 46, 9, 9), generator=torch.Generator().manual_seed(5))

    logits, value = network(planes)

    f = Formulas(network)
    x = relu(f.norm("bn_stem", f.conv("stem", planes[0].double().numpy())))
    for block in ("res_blocks.0.", "res_blocks.1."):
        y = relu(f.norm(block + "bn1", f.conv(block + "conv1", x)))
        y = f.norm(block + "bn2", f.conv(block + "conv2", y))
        if squeeze is not None:
            mean = y.mean(axis=(1, 2), keepdims=True)
            y = y * sigmoid(f.conv(block + "se.fc2", relu(f.conv(block + "se.fc1", mean))))
        x = relu(y + x)
    for head, answer in (("policy_head", logits[0]), ("value_head", value)):
        y = relu(f.norm(head + ".1", f.conv(head + ".0", x))).reshape(-1)
        assert np.allclose(f.linear(head + ".4", y), answer.detach(), rtol=1e-4, atol=1e-4)
    assert network.evaluate(planes).win_probability is None


# The files


def new_file(weights: dict[str, Any]) -> dict[str, Any]:
    """What Keisei's present trainer writes, with everything it may hold."""
    return {
        "model_state_dict": weights,
        "optimizer_state_dict": {
            "state": {0: {"step": torch.tensor(5.0), "exp_avg": torch.zeros(3)}},
            "param_groups": [{"lr": 1e-3, "betas": (0.9, 0.999), "params": [0]}],
        },
        "epoch": 11,
        "step": 640,
        "world_size": 1,
        "rng_states": {
            "python": random.Random(1).getstate(),
            "numpy": {
                "name": "MT19937",
                "keys": torch.zeros(624, dtype=torch.int32),
                "pos": 3,
                "has_gauss": 0,
                "cached_gaussian": 0.0,
            },
            "torch_cpu": torch.get_rng_state(),
        },
        "architecture": "se_resnet",
        "scheduler_state_dict": {"last_epoch": 10, "_last_lr": [1e-3]},
        "grad_scaler_state_dict": {},
    }


def old_file(weights: dict[str, Any]) -> dict[str, Any]:
    """What Keisei's former trainer wrote."""
    return {
        "model_state_dict": weights,
        "optimizer_state_dict": {"state": {}, "param_groups": [{"lr": 3e-4, "params": [0]}]},
        "global_timestep": 20_480,
        "total_episodes_completed": 77,
        "black_wins": 30,
        "white_wins": 40,
        "draws": 7,
        "elo_state": {"black_rating": 1500.0, "rating_history": [{"black": 1500.0}]},
    }


def saved(path: Path, content: object) -> Path:
    torch.save(content, path)
    return path


def test_new_training_file(tmp_path: Path) -> None:
    """A training file gives the same network, its sizes inferred, with epoch and step."""
    network = randomised(SEResNet(SMALL))
    path = saved(tmp_path / "epoch_00010.pt", new_file(network.state_dict()))

    loaded = load_network(path)

    assert (loaded.family, loaded.planes, loaded.epoch, loaded.step) == ("keisei-new", 50, 11, 640)
    assert (loaded.encoding.name, loaded.action_map.name) == ("keisei-new-50", "keisei-11259")
    assert loaded.description == "Keisei se_resnet, 2 blocks x 8 channels, 50 planes, 7,790 parameters"
    planes = torch.rand(1, 50, 9, 9)
    assert torch.equal(network(planes).policy_logits, loaded.module.evaluate(planes).policy_logits.view(1, 9, 9, 139))
    assert not any(parameter.requires_grad for parameter in loaded.module.parameters())
    assert not loaded.module.training


@pytest.mark.parametrize("prefix", ["", "_orig_mod.", "module.", "module._orig_mod."])
def test_league_entry(tmp_path: Path, prefix: str) -> None:
    """A bare state dict loads as well, whatever the network was wrapped in when it was saved."""
    network = randomised(SEResNet(SMALL))
    path = saved(tmp_path / "weights.pt", {prefix + name: w for name, w in network.state_dict().items()})

    loaded = load_network(path, format="keisei-new")

    assert (loaded.family, loaded.epoch, loaded.step) == ("keisei-new", None, None)
    assert torch.equal(network.policy_conv2.weight, loaded.module.state_dict()["policy_conv2.weight"])


def test_new_file_with_46_planes(tmp_path: Path) -> None:
    """A present network on 46 planes gets Keisei's present 46-plane layout."""
    sizes = SEResNetSizes(
        planes=46, blocks=1, channels=4, squeeze=1, pool=2, policy_channels=2, value_width=2, score_width=2
    )

    loaded = load_network(saved(tmp_path / "w.pt", SEResNet(sizes).state_dict()))

    assert (loaded.encoding.name, loaded.planes) == ("keisei-new-46", 46)


@pytest.mark.parametrize("squeeze", [None, 2])
def test_old_file(tmp_path: Path, squeeze: int | None) -> None:
    """A former checkpoint gives its tower, with or without squeeze-and-excitation, compiled or not."""
    sizes = OldTowerSizes(planes=46, actions=13_527, depth=2, width=4, squeeze=squeeze)
    network = randomised(OldTower(sizes))
    weights = {"_orig_mod." + name: weight for name, weight in network.state_dict().items()}

    loaded = load_network(saved(tmp_path / "checkpoint_ts20480.pth", old_file(weights)))

    assert (loaded.family, loaded.planes, loaded.epoch, loaded.step) == ("keisei-old", 46, None, 20_480)
    assert (loaded.encoding.name, loaded.action_map.name) == ("keisei-old-46", "keisei-13527")
    planes = torch.rand(1, 46, 9, 9)
    assert torch.equal(network(planes)[0], loaded.module.evaluate(planes).policy_logits)


def test_half_precision_and_views_become_plain_float32(tmp_path: Path) -> None:
    """Weights in half precision, or stored as a view of fewer numbers, are copied into dense float32."""
    weights = OldTower(SMALL_OLD).state_dict()
    vector = torch.arange(13_688.0).mul_(1e-3).half()
    weights = {name: w.half() if w.is_floating_point() else w for name, w in weights.items()}
    weights["policy_head.4.weight"] = vector.as_strided((13_527, 162), (1, 1))
    path = saved(tmp_path / "small.pth", old_file(weights))

    last = load_network(path).module.state_dict()["policy_head.4.weight"]

    assert path.stat().st_size < 200_000
    assert (torch.float32, (162, 1)) == (last.dtype, last.stride())
    assert torch.equal(vector.float().unfold(0, 162, 1), last)


def test_the_file_may_change_after_loading(tmp_path: Path) -> None:
    """A network does not change when a trainer writes over the file it was loaded from."""
    path = saved(tmp_path / "w.pt", randomised(SEResNet(SMALL)).state_dict())
    loaded = load_network(path)
    before = {name: w.clone() for name, w in loaded.module.state_dict().items()}

    with path.open("r+b") as file:
        file.write(b"\xff" * path.stat().st_size)

    after = loaded.module.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


# Files that cannot be played, or mean harm


def small_weights(**changes: object) -> dict[str, Any]:
    """A good network's weights with some replaced; None takes one out."""
    weights = dict(SEResNet(SMALL).state_dict()) | changes
    return {name: weight for name, weight in weights.items() if weight is not None}


def old_weights(**changes: object) -> dict[str, Any]:
    return dict(OldTower(SMALL_OLD).state_dict()) | changes


CANNOT_BE_PLAYED: dict[str, tuple[object, str]] = {
    "list": ([1, 2], "holds a list where a dict of weights belongs"),
    "nothing": ({}, "holds no weights"),
    "weights are a number": ({"model_state_dict": 3}, "holds a int where a dict"),
    "name is a number": ({3: torch.zeros(1)}, "has a weight named by a int"),
    "lacks one": (small_weights(**{"value_fc1.bias": None}), "lacks 'value_fc1.bias'"),
    "lacks one that gives a size": (small_weights(**{"value_fc1.weight": None}), "lacks 'value_fc1.weight'"),
    "has one too many": (small_weights(surprise=torch.zeros(1)), "has 'surprise' too much"),
    "shape": (
        small_weights(**{"blocks.1.bn2.bias": torch.zeros(9)}),
        "'blocks.1.bn2.bias' has shape (9,), not (8,)",
    ),
    "no dimensions": (small_weights(**{"input_conv.weight": torch.zeros(())}), "impossible shape ()"),
    "a size of zero": (small_weights(**{"value_fc1.weight": torch.zeros(0, 24)}), "impossible shape (0, 24)"),
    "text": (small_weights(**{"input_bn.bias": "hello"}), "'input_bn.bias' is a str, not a tensor"),
    "integers": (small_weights(**{"input_bn.bias": torch.zeros(8, dtype=torch.int64)}), "of torch.int64"),
    "complex": (small_weights(**{"input_bn.bias": torch.zeros(8, dtype=torch.complex64)}), "asks for 'torch.Complex"),
    "counter": (small_weights(**{"input_bn.num_batches_tracked": torch.tensor(0.5)}), "not of torch.int64"),
    "planes": (small_weights(**{"input_conv.weight": torch.zeros(8, 51, 3, 3)}), "takes 51 planes"),
    "old planes": (old_weights(**{"stem.weight": torch.zeros(4, 51, 3, 3)}), "takes 51 planes"),
    "old actions": (
        old_weights(**{"policy_head.4.weight": torch.zeros(99, 162)}),
        "knows 99 actions; Keisei's former networks know 13527",
    ),
    "blocks missing": ({k: v for k, v in small_weights().items() if "blocks" not in k}, "has 0 blocks"),
    "a gap": (
        {k.replace("blocks.1", "blocks.7"): v for k, v in small_weights().items()},
        "lacks 'blocks.1.conv1.weight'",
    ),
    "twice": (small_weights(**{"module.input_bn.bias": torch.zeros(8)}), "holds 'input_bn.bias' twice"),
    "resnet": (
        {"policy_fc.weight": torch.zeros(1), "blocks.0.conv1.weight": torch.zeros(1)},
        "scalar 'resnet' network",
    ),
    "mlp": ({"policy_fc.weight": torch.zeros(1), "trunk.0.weight": torch.zeros(1)}, "scalar 'mlp' network"),
    "transformer": (
        {"policy_fc.weight": torch.zeros(1), "input_proj.weight": torch.zeros(1)},
        "scalar 'transformer' network",
    ),
    "unknown": ({"conv.weight": torch.zeros(1)}, "is no network known here; its weights begin with 'conv.weight'"),
    "huge view": (
        small_weights(**{"input_conv.weight": torch.zeros(1).expand(1 << 20, 1 << 20)}),
        "claims 1,099,511,6",
    ),
    "huge layer": (
        small_weights(**{"value_fc1.weight": torch.zeros(1).expand(1 << 24, 8)}),
        "'value_fc1.weight' has the impossible shape (16777216, 8)",
    ),
    "many blocks": (
        small_weights(**{f"blocks.{i}.x": torch.zeros(1) for i in range(600)}),
        "has 600 blocks; between 1 and 512",
    ),
    "sparse": (small_weights(**{"input_bn.bias": torch.zeros(8).to_sparse()}), "refused: its pickle asks for"),
}


@pytest.mark.parametrize("case", CANNOT_BE_PLAYED)
def test_files_that_cannot_be_played(tmp_path: Path, case: str) -> None:
    """Whatever is wrong with the weights, it is said in one line that begins with the file's name."""
    content, expected = CANNOT_BE_PLAYED[case]

    message = refusal(saved(tmp_path / "weights.pt", content))

    assert expected in message


def refusal(path: Path) -> str:
    """The one line with which a file is refused."""
    with pytest.raises(AgentStartError) as caught:
        load_network(path)
    message = str(caught.value)
    assert message.startswith(f"{path.name}: ")
    assert "\n" not in message
    assert len(message) < 500
    assert str(path.parent) not in message
    return message


def test_format_that_the_spec_contradicts(tmp_path: Path) -> None:
    """A file of one family is refused where the spec names the other."""
    path = saved(tmp_path / "w.pt", small_weights())

    with pytest.raises(AgentStartError, match=r"^w\.pt: is a keisei-new file, not keisei-old as the spec says$"):
        load_network(path, format="keisei-old")


def test_unreadable_paths(tmp_path: Path) -> None:
    """No file, a folder and an empty file are refused for what they are."""
    (tmp_path / "empty.pt").touch()

    assert "cannot be read: No such file" in refusal(tmp_path / "none.pt")
    assert "cannot be read: Is a directory" in refusal(tmp_path)
    assert "is not a file of torch.save's zip format" in refusal(tmp_path / "empty.pt")


@pytest.mark.parametrize("share", [0.01, 0.3, 0.6, 0.9, 0.999])
def test_truncated_files(tmp_path: Path, share: float) -> None:
    """A file cut off anywhere is refused."""
    whole = saved(tmp_path / "w.pt", small_weights()).read_bytes()
    (tmp_path / "w.pt").write_bytes(whole[: int(share * len(whole))])

    assert "cut short" in refusal(tmp_path / "w.pt")


def test_damaged_files(tmp_path: Path) -> None:
    """A file with bytes replaced at random is refused, or loads as some network; nothing else ever happens."""
    whole = saved(tmp_path / "w.pt", small_weights()).read_bytes()
    rng = random.Random(11)
    refusals: list[str] = []
    for _ in range(150):
        damaged = bytearray(whole)
        start = rng.choice([rng.randrange(len(whole)), rng.randrange(6000), len(whole) - rng.randrange(1, 4000)])
        for _ in range(rng.randrange(1, 40)):
            damaged[min(start + rng.randrange(64), len(whole) - 1)] = rng.randrange(256)
        (tmp_path / "w.pt").write_bytes(damaged)
        try:
            load_network(tmp_path / "w.pt")
        except AgentStartError as error:
            refusals.append(str(error))

    assert len(refusals) > 20
    assert not any("\n" in refused for refused in refusals)


def test_memory_that_is_not_there(tmp_path: Path) -> None:
    """A network within the limits that this machine cannot hold is refused like any other unusable file."""
    with torch.device("meta"):
        shapes = OldTower(OldTowerSizes(planes=46, actions=13_527, depth=1, width=3000, squeeze=None)).state_dict()
    weights = {name: torch.zeros((), dtype=meta.dtype).expand(meta.shape) for name, meta in shapes.items()}
    path = saved(tmp_path / "w.pth", {"model_state_dict": weights})
    code = (
        "import pathlib, psutil, resource, sys\n"
        "from banzuke.errors import AgentStartError\n"
        "from banzuke.players.networks.loading import load_network\n"
        "most = psutil.Process().memory_info().vms + (256 << 20)\n"
        "resource.setrlimit(resource.RLIMIT_AS, (most, most))\n"
        "try:\n"
        "    load_network(pathlib.Path(sys.argv[1]))\n"
        "except AgentStartError as error:\n"
        "    print(error)\n"
    )

    answer = subprocess.run(
        [sys.executable, "-c", code, path], capture_output=True, text=True, check=True, timeout=60
    ).stdout

    assert answer.startswith("w.pth: cannot be given memory: ")
    assert answer.count("\n") == 1


class Payload:
    """Unpickling it would make a folder."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.marker),)


def zipped_code(path: Path, marker: Path) -> None:
    torch.save(new_file(small_weights(surprise=Payload(marker))), path)


def bare_code(path: Path, marker: Path) -> None:
    path.write_bytes(pickle.dumps(Payload(marker)))


def legacy_code(path: Path, marker: Path) -> None:
    torch.save(Payload(marker), path, _use_new_zipfile_serialization=False)


@pytest.mark.parametrize("write", [zipped_code, bare_code, legacy_code])
def test_code_in_a_pickle_does_not_run(tmp_path: Path, write: Callable[[Path, Path], None]) -> None:
    """A file that would run code when unpickled in the ordinary way is refused, and the code does not run."""
    marker = tmp_path / "marker"
    write(tmp_path / "w.pt", marker)

    refusal(tmp_path / "w.pt")

    assert not marker.exists()
    pickle.loads(pickle.dumps(Payload(marker)))  # noqa: S301 - shows that the payload works
    assert marker.exists()


def with_pickle(path: Path, pickled: bytes, compression: int = zipfile.ZIP_STORED) -> Path:
    """A good file with another pickle in it."""
    good = io.BytesIO()
    torch.save({"w": torch.zeros(1)}, good)
    with zipfile.ZipFile(good) as source, zipfile.ZipFile(path, "w") as target:
        for entry in source.infolist():
            is_pickle = entry.filename.endswith("data.pkl")
            target.writestr(
                entry.filename,
                pickled if is_pickle else source.read(entry),
                compress_type=compression if is_pickle else zipfile.ZIP_STORED,
            )
    return path


def test_a_constructor_that_takes_memory(tmp_path: Path) -> None:
    """A pickle that asks for a hundred gigabytes through a harmless-looking constructor is refused unread."""
    hundred_gigabytes = pickle.dumps(10**11, protocol=2)[2:-1]
    pickled = b"\x80\x02cbuiltins\nbytearray\n" + hundred_gigabytes + b"\x85R."

    message = refusal(with_pickle(tmp_path / "w.pt", pickled))

    assert "its pickle asks for 'builtins.bytearray'" in message


def test_compressed_entries(tmp_path: Path) -> None:
    """A compressed entry, small in the file and large in memory, is refused unread."""
    message = refusal(with_pickle(tmp_path / "w.pt", b"\x80\x02" + b"0" * 100_000, zipfile.ZIP_DEFLATED))

    assert "is compressed" in message


def test_large_pickles(tmp_path: Path) -> None:
    """A pickle larger than any network needs is refused unread."""
    message = refusal(with_pickle(tmp_path / "w.pt", b"]" * (archive.MAX_PICKLE_BYTES + 1)))

    assert "more than the 4,194,304 allowed" in message


def test_a_tensor_larger_than_the_file(tmp_path: Path) -> None:
    """A tensor that claims more numbers than the file holds is refused, and no memory is given to it."""
    good = saved(tmp_path / "good.pt", {"w": torch.zeros(1)})
    with zipfile.ZipFile(good) as source:
        pickled = source.read("good/data.pkl")
    # The storage has one number (K\x01); shape and storage now claim 2^31 - 1.
    claimed = pickled.replace(b"K\x01", b"J\xff\xff\xff\x7f")
    assert claimed != pickled

    assert "is no readable PyTorch file" in refusal(with_pickle(tmp_path / "w.pt", claimed))


def test_large_files(tmp_path: Path) -> None:
    """A file larger than any checkpoint is refused before it is opened."""
    with (tmp_path / "w.pt").open("wb") as file:
        file.truncate(LARGEST_CHECKPOINT_BYTES + 1)

    assert "more than the 4,294,967,296 allowed" in refusal(tmp_path / "w.pt")


def test_limits_leave_room_for_keiseis_largest() -> None:
    """Five times Keisei's largest network is still allowed."""
    assert loading.MAX_PARAMETERS > 5 * 53_422_511
