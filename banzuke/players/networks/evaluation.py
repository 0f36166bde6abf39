"""What every network answers, whatever its heads look like."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Evaluation:
    """A network's view of a batch of B positions, each from the side of whoever is to move."""

    policy_logits: torch.Tensor
    """``(B, actions)``, unnormalised, illegal moves not masked."""
    win_probability: torch.Tensor | None
    """``(B,)``, a draw counted half; None for a network whose value has no such meaning."""


class PolicyNetwork(Protocol):
    """A network that can be asked about positions."""

    def evaluate(self, planes: torch.Tensor) -> Evaluation:
        """Look at positions.

        Args:
            planes: float32, ``(B, planes, 9, 9)``.
        """
        ...
