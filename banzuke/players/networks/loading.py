"""From a checkpoint's file to a network that can be asked about positions.

Three kinds of file are told apart by what is in them: Keisei's present training files (``epoch_00010.pt``),
its league entries (a bare state dict, ``weights.pt``), and its former checkpoints
(``checkpoint_ts1000.pth``). None says how large its network is: all sizes are inferred from the weights'
shapes. A fourth kind is any other network as a program of ``torch.export`` (``.pt2``), which its owner declares.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch

from banzuke.errors import AgentStartError
from banzuke.players.networks.actions import ActionMap, flat_13527, spatial_11259
from banzuke.players.networks.archive import MAX_PARAMETERS, UnusableError, read_archive
from banzuke.players.networks.encoding import KEISEI_NEW_46, KEISEI_NEW_50, KEISEI_OLD_46, Encoding
from banzuke.players.networks.exported import ExportedNetwork, exported_network
from banzuke.players.networks.exported_archive import read_program
from banzuke.players.networks.old_tower import OldTower, OldTowerSizes
from banzuke.players.networks.se_resnet import SEResNet, SEResNetSizes

if TYPE_CHECKING:
    from pathlib import Path

Family = Literal["keisei-new", "keisei-old", "exported"]
Format = Literal["auto", "keisei-new", "keisei-old", "exported"]
Weights = Mapping[str, torch.Tensor]

ENCODINGS = {"keisei-46": KEISEI_NEW_46, "keisei-50": KEISEI_NEW_50}
"""Planes that an exported program may take, by the spec's word."""
MOVES = {"keisei-11259": spatial_11259, "keisei-13527": flat_13527}
"""What an exported program's policy may number, by the spec's word."""
MAX_WIDTH = 8192
"""Most channels or units of any layer."""
MAX_BLOCKS = 512

_EXPORT_HINT = "; a network that is not Keisei's has to be exported: docs/networks.md"
_WRAPPERS = ("_orig_mod.", "module.")
_FLOATS = frozenset({torch.float16, torch.bfloat16, torch.float32, torch.float64})
_COUNTER = "num_batches_tracked"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LoadedNetwork:
    """A network with what it takes to play it."""

    module: SEResNet | OldTower | ExportedNetwork
    """On the CPU, in evaluation mode, without gradients; float32, but for what an exported program computes with."""
    family: Family
    encoding: Encoding
    action_map: ActionMap
    epoch: int | None
    """As the file says: Keisei counts from 1 here, from 0 in the file's name."""
    step: int | None
    """Optimizer steps (present format) or environment steps (former format), as the file says."""
    parameters: int
    description: str
    """One line for people."""
    fixed_batch: int | None = None
    """How many positions every pass of it has; None: any number. Others are filled up and split, which costs time."""

    @property
    def planes(self) -> int:
        """How many planes it takes."""
        return self.encoding.planes


def load_network(
    path: Path,
    *,
    format: Format = "auto",  # noqa: A002 - the spec's word
    encoding: str | None = None,
    moves: str | None = None,
) -> LoadedNetwork:
    """Read a checkpoint.

    Weights of Keisei's families in 16 or 64 bits become float32. NaN in them is not looked for: it shows in what the
    network answers.

    Args:
        path: of Keisei's ``.pt`` or ``.pth`` file, or of an exported program's ``.pt2``.
        format: what the file must be; ``auto`` takes either family of Keisei's.
        encoding: of an exported program, a key of :data:`ENCODINGS`.
        moves: of an exported program, a key of :data:`MOVES`.

    Raises:
        AgentStartError: it cannot be read, is no network of these kinds, or is an exported program without encoding
            and moves. One line, with the base name.
    """
    try:
        if format == "exported":
            return _exported(path, encoding, moves)
        return _assemble(read_archive(path), format)
    except UnusableError as fault:
        hint = _EXPORT_HINT if str(fault).startswith("lacks ") else ""
        raise AgentStartError(f"{path.name}: {fault}{hint}") from None
    except RuntimeError as error:  # torch's word for memory that is not there
        line = " ".join(str(error).split())[:200]
        raise AgentStartError(f"{path.name}: cannot be given memory: {line}") from error


def _exported(path: Path, encoding_name: str | None, moves: str | None) -> LoadedNetwork:
    if encoding_name not in ENCODINGS or moves not in MOVES:
        raise UnusableError("an exported program needs encoding and moves to be said")
    encoding, action_map = ENCODINGS[encoding_name], MOVES[moves]()
    with torch.inference_mode(mode=False):  # writes are counted in ordinary tensors alone
        module = exported_network(read_program(path), planes=encoding.planes, actions=action_map.size)
    batch = "any batch" if module.fixed_batch is None else f"batches of {module.fixed_batch}"
    return LoadedNetwork(
        module=module,
        family="exported",
        encoding=encoding,
        action_map=action_map,
        epoch=None,
        step=None,
        parameters=module.parameter_count,
        description=(
            f"exported program, {module.operations} operations, {batch}, {encoding.planes} planes, "
            f"{module.parameter_count:,} parameters"
        ),
        fixed_batch=module.fixed_batch,
    )


def _assemble(stored: object, asked: Format) -> LoadedNetwork:
    weights = _weights(stored)
    family = _family(weights)
    if asked not in {"auto", family}:
        raise UnusableError(f"is a {family} file, not {asked} as the spec says")
    build = _se_resnet if family == "keisei-new" else _old_tower
    module, encoding, action_map, description = build(weights)
    _fill(module, weights)
    parameters = sum(parameter.numel() for parameter in module.parameters())
    return LoadedNetwork(
        module=module,
        family=family,
        encoding=encoding,
        action_map=action_map,
        epoch=_count(stored, "epoch"),
        step=_count(stored, "step" if family == "keisei-new" else "global_timestep"),
        parameters=parameters,
        description=f"{description}, {encoding.planes} planes, {parameters:,} parameters",
    )


def _weights(stored: object) -> Weights:
    """The state dict, wherever it lies, with the names its network has when nothing is wrapped around it."""
    if isinstance(stored, dict) and "model_state_dict" in stored:
        stored = stored["model_state_dict"]
    if not isinstance(stored, dict):
        raise UnusableError(f"holds a {type(stored).__name__} where a dict of weights belongs")
    if not stored:
        raise UnusableError("holds no weights")
    weights: dict[str, torch.Tensor] = {}
    for name, tensor in stored.items():
        plain = _unwrapped(name)
        _check_tensor(plain, tensor)
        if plain in weights:
            raise UnusableError(f"holds {_shown(plain)} twice")
        weights[plain] = tensor
    numbers = sum(tensor.numel() for tensor in weights.values())
    if numbers > MAX_PARAMETERS:
        raise UnusableError(f"claims {numbers:,} weights, more than the {MAX_PARAMETERS:,} allowed")
    return weights


def _unwrapped(name: object) -> str:
    if not isinstance(name, str):
        raise UnusableError(f"has a weight named by a {type(name).__name__}")
    while name.startswith(_WRAPPERS):
        name = name.partition(".")[2]
    return name


def _check_tensor(name: str, tensor: object) -> None:
    if not isinstance(tensor, torch.Tensor):
        raise UnusableError(f"{_shown(name)} is a {type(tensor).__name__}, not a tensor")
    if tensor.layout != torch.strided or tensor.is_quantized:
        raise UnusableError(f"{_shown(name)} is not a dense tensor")
    if name.endswith(_COUNTER):
        if tensor.dtype != torch.int64:
            raise UnusableError(f"{_shown(name)} is of {tensor.dtype}, not of torch.int64")
    elif tensor.dtype not in _FLOATS:
        raise UnusableError(f"{_shown(name)} is of {tensor.dtype}, not of a floating-point type")


def _family(weights: Weights) -> Family:
    if {"input_conv.weight", "policy_conv2.weight"} <= weights.keys():
        return "keisei-new"
    if "stem.weight" in weights:
        return "keisei-old"
    for name, signs in {
        "resnet": ("policy_fc.weight", "blocks.0.conv1.weight"),
        "mlp": ("policy_fc.weight", "trunk.0.weight"),
        "transformer": ("policy_fc.weight", "input_proj.weight"),
    }.items():
        if set(signs) <= weights.keys():
            raise UnusableError(
                f"is Keisei's scalar {name!r} network; of the present ones only 'se_resnet' can be played"
            )
    raise UnusableError(f"is no network known here; its weights begin with {_listed(list(weights))}{_EXPORT_HINT}")


_Built = tuple[SEResNet | OldTower, Encoding, ActionMap, str]


def _se_resnet(weights: Weights) -> _Built:
    channels, planes = _dimensions(weights, "input_conv.weight", 4)[:2]
    sizes = SEResNetSizes(
        planes=planes,
        blocks=_blocks(weights, "blocks"),
        channels=channels,
        squeeze=_dimensions(weights, "blocks.0.se_fc1.weight", 2)[0],
        pool=_dimensions(weights, "blocks.0.global_fc.0.weight", 2)[0],
        policy_channels=_dimensions(weights, "policy_conv1.weight", 4)[0],
        value_width=_dimensions(weights, "value_fc1.weight", 2)[0],
        score_width=_dimensions(weights, "score_fc1.weight", 2)[0],
    )
    encodings = {encoding.planes: encoding for encoding in (KEISEI_NEW_46, KEISEI_NEW_50)}
    if planes not in encodings:
        raise UnusableError(f"takes {planes} planes; Keisei's present networks take 46 or 50")
    with torch.device("meta"):
        module = SEResNet(sizes)
    description = f"Keisei se_resnet, {sizes.blocks} blocks x {channels} channels"
    return module, encodings[planes], spatial_11259(), description


def _old_tower(weights: Weights) -> _Built:
    width, planes = _dimensions(weights, "stem.weight", 4)[:2]
    squeeze = "res_blocks.0.se.fc1.weight"
    sizes = OldTowerSizes(
        planes=planes,
        actions=_dimensions(weights, "policy_head.4.weight", 2, most=1 << 20)[0],
        depth=_blocks(weights, "res_blocks"),
        width=width,
        squeeze=_dimensions(weights, squeeze, 4)[0] if squeeze in weights else None,
    )
    if planes != KEISEI_OLD_46.planes:
        raise UnusableError(f"takes {planes} planes; Keisei's former networks take {KEISEI_OLD_46.planes}")
    if sizes.actions != flat_13527().size:
        raise UnusableError(f"knows {sizes.actions} actions; Keisei's former networks know {flat_13527().size}")
    with torch.device("meta"):
        module = OldTower(sizes)
    with_se = "" if sizes.squeeze is None else " with squeeze-and-excitation"
    return (
        module,
        KEISEI_OLD_46,
        flat_13527(),
        f"Keisei tower, {sizes.depth} blocks x {width} channels{with_se}",
    )


def _dimensions(weights: Weights, name: str, count: int, *, most: int = MAX_WIDTH) -> tuple[int, ...]:
    if name not in weights:
        raise UnusableError(f"lacks {_shown(name)}")
    shape = tuple(weights[name].shape)
    if len(shape) != count or not all(1 <= size <= most for size in shape):
        raise UnusableError(f"{_shown(name)} has the impossible shape {shape}")
    return shape


def _blocks(weights: Weights, prefix: str) -> int:
    numbers = {match[1] for name in weights if (match := re.match(rf"{prefix}\.(\d+)\.", name))}
    if not 1 <= len(numbers) <= MAX_BLOCKS:
        raise UnusableError(f"has {len(numbers)} blocks; between 1 and {MAX_BLOCKS} can be played")
    return len(numbers)


def _fill(module: SEResNet | OldTower, weights: Weights) -> None:
    """Give the network its weights, after every name and shape was found to be as it must be."""
    expected = module.state_dict()
    faults = []
    if missing := [name for name in expected if name not in weights]:
        faults.append(f"lacks {_listed(missing)}")
    if surplus := [name for name in weights if name not in expected]:
        faults.append(f"has {_listed(surplus)} too much")
    if wrong := [name for name in expected if name in weights and weights[name].shape != expected[name].shape]:
        first = wrong[0]
        faults.append(
            f"{_shown(first)} has shape {tuple(weights[first].shape)}, not {tuple(expected[first].shape)}"
            + (f", and so on for {len(wrong) - 1} more" if len(wrong) > 1 else "")
        )
    if faults:
        raise UnusableError("; ".join(faults))
    # Copied: a trainer may replace the file while it is mapped, and a view may repeat one number.
    copies = {
        name: torch.empty(tensor.shape, dtype=expected[name].dtype).copy_(tensor) for name, tensor in weights.items()
    }
    module.load_state_dict(copies, strict=True, assign=True)
    module.requires_grad_(requires_grad=False)
    module.eval()


def _count(stored: object, key: str) -> int | None:
    value = stored.get(key) if isinstance(stored, dict) else None
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63:
        return value
    return None


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(_shown(name) for name in names[:3]) + more


def _shown(name: str) -> str:
    return repr(name[:60])
