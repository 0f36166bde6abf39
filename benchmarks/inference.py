"""How fast networks look at positions: what arranging them for speed gains, and what is done around a pass.

For every network and batch size, in turn within one run, medians of several turns, one thread on a CPU:

- the module as it was loaded, and the optimised one, positions a second;
- the whole of asking: encoding, the pass, picking a legal move; what it adds to the bare pass, per position.

    python benchmarks/inference.py [--sizes 2x16,5x64,10x128] [--batches 1,16,64] [--device cpu] [--repeats 5] [--quick]
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from random_networks import checkpoint

from banzuke.players.networks.batched import BatchedNetwork, Query, random_positions
from banzuke.players.networks.loading import load_network
from banzuke.workers.process import KEEP_FREED_MEMORY


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="2x16,5x64,10x128")
    parser.add_argument("--batches", default="1,16,64")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="a hundredth of the work: does it run, not how fast")
    arguments = parser.parse_args()
    if any(os.environ.get(name) != value for name, value in KEEP_FREED_MEMORY.items()):
        # The allocator reads them when a process begins, and workers begin with them.
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **KEEP_FREED_MEMORY})  # noqa: S606
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, {arguments.device}; positions a second: loaded -> optimised -> with all around")
    with tempfile.TemporaryDirectory() as folder:
        for size in arguments.sizes.split(","):
            path = checkpoint(Path(folder), size, 0)
            for batch in map(int, arguments.batches.split(",")):
                measure(path, batch, arguments)


def measure(path: Path, batch: int, arguments: argparse.Namespace) -> None:
    """One network at one batch size."""
    device = torch.device(arguments.device)
    network = load_network(path)
    plain = load_network(path).module.to(device)
    batched = BatchedNetwork(network, device=device)
    planes = torch.rand(batch, network.planes, 9, 9, device=device)
    queries = [
        Query(board=board, moves=list(board.cshogi.legal_moves), max_plies=512, temperature=0.0, uniform=0.0)
        for board in random_positions(batch)
    ]
    shape = next(known for known in batched.shapes if known >= min(batch, batched.shapes[-1]))

    def as_loaded() -> None:
        with torch.inference_mode():
            plain.evaluate(planes)
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    ways: dict[str, Callable[[], object]] = {
        "loaded": as_loaded,
        "optimised": lambda: batched.run_bare(shape),
        "whole": lambda: batched.begin(queries[: batched.shapes[-1]]).finish(),
    }
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(arguments.repeats):
        for name, way in ways.items():
            rates[name].append(rate(way, 0.02 if arguments.quick else 1.0) * min(batch, batched.shapes[-1]))
    loaded, optimised, whole = (statistics.median(rates[name]) for name in ways)
    around = statistics.median(
        1e6 / slow - 1e6 / fast for slow, fast in zip(rates["whole"], rates["optimised"], strict=True)
    )
    print(
        f"{path.stem.partition('-')[0]} batch {batch} (padded to {shape}): {loaded:,.0f} -> {optimised:,.0f} "
        f"({optimised / loaded:.2f} times) -> {whole:,.0f}; {around:.1f} us around the pass per position"
    )


def rate(way: Callable[[], object], seconds: float) -> float:
    """Calls a second."""
    way()
    calls, started = 0, time.monotonic()
    while (elapsed := time.monotonic() - started) < seconds:
        way()
        calls += 1
    return calls / elapsed


if __name__ == "__main__":
    main()
