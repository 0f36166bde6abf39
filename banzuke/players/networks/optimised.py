"""The same networks, arranged for speed."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from banzuke.players.networks.old_tower import Block as TowerBlock
from banzuke.players.networks.old_tower import OldTower
from banzuke.players.networks.se_resnet import Block as SEBlock
from banzuke.players.networks.se_resnet import SEResNet

if TYPE_CHECKING:
    from banzuke.players.networks.evaluation import Evaluation, PolicyNetwork


def optimised(module: PolicyNetwork, *, device: torch.device) -> PolicyNetwork:
    """A network on its device, batch norm folded into the convolutions where it is one that we built.

    On the CPU everything is float32. On a GPU the trunk computes in bfloat16 and the heads in float32, where half
    precision would make ties of logits that differ. A network of another kind stays as it is, float32.

    Args:
        module: in evaluation mode; left as it was, but for one of another kind, which moves to the device.
        device: where it is to compute.
    """
    if not isinstance(module, SEResNet | OldTower):
        move = getattr(module, "to", None)
        moved: PolicyNetwork = module if move is None else move(device)
        return moved
    folded = deepcopy(module)
    if isinstance(folded, SEResNet):
        _fold(folded, "input_conv", "input_bn")
        _fold(folded, "policy_conv1", "policy_bn1")
        _fold_blocks(folded.blocks)
        del folded.score_fc1, folded.score_fc2
    else:
        _fold(folded, "stem", "bn_stem")
        _fold(folded.policy_head, "0", "1")
        _fold_blocks(folded.res_blocks)
        del folded.value_head
    folded.requires_grad_(requires_grad=False)
    for parameter in folded.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    folded.to(device)
    return folded if device.type == "cpu" else _Bfloat16Trunk(folded)


class _Bfloat16Trunk:
    """A network on a GPU. Not run on one so far."""

    def __init__(self, network: SEResNet | OldTower) -> None:
        self.network = network

    def parameters(self) -> list[torch.Tensor]:
        return list(self.network.parameters())

    def evaluate(self, planes: torch.Tensor) -> Evaluation:
        with torch.autocast(planes.device.type, torch.bfloat16):
            trunk = self.network.trunk(planes)
        return self.network.judge(trunk.float())


def _fold_blocks(blocks: nn.ModuleList) -> None:
    for block in blocks:
        if isinstance(block, SEBlock | TowerBlock):
            _fold(block, "conv1", "bn1")
            _fold(block, "conv2", "bn2")


def _fold(owner: nn.Module, convolution: str, norm: str) -> None:
    """Let a convolution do what the batch norm after it does."""
    conv, batch_norm = owner.get_submodule(convolution), owner.get_submodule(norm)
    if isinstance(conv, nn.Conv2d) and isinstance(batch_norm, nn.BatchNorm2d):
        setattr(owner, convolution, fuse_conv_bn_eval(conv, batch_norm))
        setattr(owner, norm, nn.Identity())
