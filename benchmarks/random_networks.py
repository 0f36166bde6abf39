"""Checkpoints with random weights in Keisei's present format, for benchmarks: as large as wanted, playing anything."""

from __future__ import annotations

from pathlib import Path

import torch

from banzuke.players.networks.se_resnet import SEResNet, SEResNetSizes

SIZES = {"2x16": (2, 16), "5x64": (5, 64), "10x128": (10, 128), "40x256": (40, 256)}


def network(size: str, seed: int) -> SEResNet:
    """One of :data:`SIZES`, as Keisei's configuration files build it."""
    blocks, channels = SIZES[size]
    torch.manual_seed(seed)
    sizes = SEResNetSizes(
        planes=50,
        blocks=blocks,
        channels=channels,
        squeeze=channels // 8,
        pool=64,
        policy_channels=16,
        value_width=128,
        score_width=64,
    )
    return SEResNet(sizes).eval().requires_grad_(requires_grad=False)


def checkpoint(folder: Path, size: str, seed: int) -> Path:
    """The file of such a network, written if it is not there."""
    path = folder / f"{size}-{seed}.pt"
    if not path.exists():
        torch.save({"model_state_dict": network(size, seed).state_dict(), "epoch": seed, "step": seed}, path)
    return path
