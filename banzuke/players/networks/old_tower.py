"""Keisei's former network (its name there: ``ActorCriticResTower``), built so that its files load strictly.

A plain residual tower, optionally with squeeze-and-excitation, a flat policy and an unbounded scalar value.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from banzuke.players.networks.evaluation import Evaluation

HEAD_CHANNELS = 2
"""Channels of either head before it is flattened."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OldTowerSizes:
    """Everything that decides the shapes of the parameters."""

    planes: int
    actions: int
    depth: int
    width: int
    squeeze: int | None
    """Width inside squeeze-and-excitation; None: the blocks have none."""


class OldTower(nn.Module):
    """The whole network. Parameter names and shapes are those of Keisei's files."""

    def __init__(self, sizes: OldTowerSizes) -> None:
        super().__init__()
        self.stem = nn.Conv2d(sizes.planes, sizes.width, 3, padding=1)
        self.bn_stem = nn.BatchNorm2d(sizes.width)
        self.res_blocks = nn.ModuleList(Block(sizes) for _ in range(sizes.depth))
        self.policy_head = _head(sizes.width, sizes.actions)
        self.value_head = _head(sizes.width, 1)

    def forward(self, planes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits ``(B, actions)`` and the mover's value ``(B,)`` for ``(B, planes, 9, 9)``."""
        trunk = self.trunk(planes)
        return self.policy_head(trunk), self.value_head(trunk).squeeze(-1)

    def evaluate(self, planes: torch.Tensor) -> Evaluation:
        """The policy alone: the value estimates a discounted reward without bounds, no chance of winning."""
        return self.judge(self.trunk(planes))

    def trunk(self, planes: torch.Tensor) -> torch.Tensor:
        """What both heads look at: ``(B, planes, 9, 9)`` to ``(B, width, 9, 9)``."""
        trunk = functional.relu(self.bn_stem(self.stem(planes)))
        for block in self.res_blocks:
            trunk = block(trunk)
        return trunk

    def judge(self, trunk: torch.Tensor) -> Evaluation:
        """The head that choosing a move needs, on what :meth:`trunk` gave."""
        return Evaluation(policy_logits=self.policy_head(trunk), win_probability=None)


class Block(nn.Module):
    """One residual block."""

    def __init__(self, sizes: OldTowerSizes) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(sizes.width, sizes.width, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(sizes.width)
        self.conv2 = nn.Conv2d(sizes.width, sizes.width, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(sizes.width)
        self.se = None if sizes.squeeze is None else SqueezeExcitation(sizes.width, sizes.squeeze)

    def forward(self, trunk: torch.Tensor) -> torch.Tensor:
        """``(B, width, 9, 9)`` to the same."""
        inner = functional.relu(self.bn1(self.conv1(trunk)))
        inner = self.bn2(self.conv2(inner))
        if self.se is not None:
            inner = self.se(inner)
        inner += trunk
        return functional.relu_(inner)


class SqueezeExcitation(nn.Module):
    """Scales each channel by what the whole board says (Hu et al. 2018, arXiv 1709.01507)."""

    def __init__(self, width: int, squeeze: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(width, squeeze, 1)
        self.fc2 = nn.Conv2d(squeeze, width, 1)

    def forward(self, inner: torch.Tensor) -> torch.Tensor:
        """``(B, width, 9, 9)`` to the same."""
        squeezed = functional.relu(self.fc1(inner.mean(dim=(2, 3), keepdim=True)))
        scale: torch.Tensor = self.fc2(squeezed).sigmoid()
        return inner * scale


def _head(width: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(width, HEAD_CHANNELS, 1),
        nn.BatchNorm2d(HEAD_CHANNELS),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(81 * HEAD_CHANNELS, outputs),
    )
