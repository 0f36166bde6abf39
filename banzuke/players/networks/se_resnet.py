"""Keisei's present network (its name there: ``se_resnet``), built so that its files load strictly.

Residual blocks with a global-pooling bias (as in KataGo, Wu 2019, arXiv 1902.10565) and
squeeze-and-excitation with scale and shift (as in Leela Chess Zero); a spatial policy of 139 slots a square,
a win/draw/loss head, a score head.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional

from banzuke.players.networks.evaluation import Evaluation

SLOTS = 139
"""Actions per square."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SEResNetSizes:
    """Everything that decides the shapes of the parameters."""

    planes: int
    blocks: int
    channels: int
    squeeze: int
    """Width inside squeeze-and-excitation."""
    pool: int
    """Width inside the global-pooling bias."""
    policy_channels: int
    value_width: int
    score_width: int


class Heads(NamedTuple):
    """What the network puts out for a batch of B positions."""

    policy_logits: torch.Tensor
    """``(B, 9, 9, 139)``; flattened in this order it is the spatial action map."""
    value_logits: torch.Tensor
    """``(B, 3)``: win, draw, loss for the mover."""
    score_lead: torch.Tensor
    """``(B, 1)``: the mover's material balance / 76."""


class SEResNet(nn.Module):
    """The whole network. Parameter names and shapes are those of Keisei's files."""

    def __init__(self, sizes: SEResNetSizes) -> None:
        super().__init__()
        channels = sizes.channels
        self.input_conv = nn.Conv2d(sizes.planes, channels, 3, padding=1, bias=False)
        self.input_bn = nn.BatchNorm2d(channels)
        self.blocks = nn.ModuleList(Block(sizes) for _ in range(sizes.blocks))
        self.policy_conv1 = nn.Conv2d(channels, sizes.policy_channels, 1, bias=False)
        self.policy_bn1 = nn.BatchNorm2d(sizes.policy_channels)
        self.policy_conv2 = nn.Conv2d(sizes.policy_channels, SLOTS, 1)
        self.value_fc1 = nn.Linear(3 * channels, sizes.value_width)
        self.value_fc2 = nn.Linear(sizes.value_width, 3)
        self.score_fc1 = nn.Linear(3 * channels, sizes.score_width)
        self.score_fc2 = nn.Linear(sizes.score_width, 1)

    def forward(self, planes: torch.Tensor) -> Heads:
        """All heads for ``(B, planes, 9, 9)``."""
        trunk = self.trunk(planes)
        pooled = pool_globally(trunk)
        score = self.score_fc2(functional.relu(self.score_fc1(pooled)))
        return Heads(self._policy(trunk), self._value(pooled), score)

    def evaluate(self, planes: torch.Tensor) -> Evaluation:
        """Policy flattened to ``(B, 11259)``; a draw counts half a win."""
        return self.judge(self.trunk(planes))

    def trunk(self, planes: torch.Tensor) -> torch.Tensor:
        """What all heads look at: ``(B, planes, 9, 9)`` to ``(B, channels, 9, 9)``."""
        trunk = functional.relu(self.input_bn(self.input_conv(planes)))
        for block in self.blocks:
            trunk = block(trunk)
        return trunk

    def judge(self, trunk: torch.Tensor) -> Evaluation:
        """The heads that choosing a move needs, on what :meth:`trunk` gave."""
        # The policy last: its logits are read next, and are too many to stay in a cache while the trunk is read again.
        win, draw, _ = self._value(pool_globally(trunk)).softmax(dim=1).unbind(dim=1)
        return Evaluation(policy_logits=self._policy(trunk).flatten(1), win_probability=win + 0.5 * draw)

    def _policy(self, trunk: torch.Tensor) -> torch.Tensor:
        policy = functional.relu(self.policy_bn1(self.policy_conv1(trunk)))
        logits: torch.Tensor = self.policy_conv2(policy).permute(0, 2, 3, 1).contiguous()
        return logits

    def _value(self, pooled: torch.Tensor) -> torch.Tensor:
        value: torch.Tensor = self.value_fc2(functional.relu(self.value_fc1(pooled)))
        return value


class Block(nn.Module):
    """One residual block; the global bias is computed from the block's input."""

    def __init__(self, sizes: SEResNetSizes) -> None:
        super().__init__()
        channels = sizes.channels
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.global_fc = nn.Sequential(nn.Linear(3 * channels, sizes.pool), nn.ReLU(), nn.Linear(sizes.pool, channels))
        self.se_fc1 = nn.Linear(channels, sizes.squeeze)
        self.se_fc2 = nn.Linear(sizes.squeeze, 2 * channels)

    def forward(self, trunk: torch.Tensor) -> torch.Tensor:
        """``(B, channels, 9, 9)`` to the same."""
        # In place where nobody else holds the tensor: beside the convolutions, passes over memory are the cost.
        inner = functional.relu(self.bn1(self.conv1(trunk)))
        inner += self.global_fc(pool_globally(trunk))[:, :, None, None]
        inner = self.bn2(self.conv2(inner))
        squeezed = functional.relu(self.se_fc1(inner.mean(dim=(2, 3))))
        scale, shift = self.se_fc2(squeezed)[:, :, None, None].chunk(2, dim=1)
        inner *= scale.sigmoid()
        inner += shift
        inner += trunk
        return functional.relu_(inner)


def pool_globally(trunk: torch.Tensor) -> torch.Tensor:
    """Mean, maximum, population standard deviation of each channel: ``(B, C, 9, 9)`` to ``(B, 3 C)``."""
    squares = trunk.permute(0, 2, 3, 1).flatten(1, 2)
    mean = squares.mean(dim=1, keepdim=True)
    # torch.std takes ten times as long, a quarter of a whole pass.
    deviation = (squares - mean).square_().mean(dim=1).sqrt_()
    return torch.cat([mean.squeeze(1), squares.amax(dim=1), deviation], dim=1)
