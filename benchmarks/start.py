"""How long from typing `banzuke run` to the first move of the first game, first time and second time on a machine.

The first time the embedded server's database is migrated; afterwards a copy of it is used. Both are measured in one
run, the second several times, and the ratio of first to median second is printed.

    python benchmarks/start.py [--repeats 5]
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.parquet as pq

SPEC = """
name = "start"
[[agents]]
name = "random"
kind = "random"
[[agents]]
name = "{name}"
{agent}
[tournament]
games_per_encounter = 2
max_plies = 40
"""
CHECKPOINT = Path(__file__).resolve().parent.parent / "examples" / "checkpoints" / "epoch_00015.pt"
SPECS = {
    "scripted players": SPEC.format(name="material", agent='kind = "material"'),
    "a network (torch loads meanwhile)": SPEC.format(name="net", agent=f'kind = "checkpoint"\npath = "{CHECKPOINT}"'),
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    with tempfile.TemporaryDirectory() as folder:
        cold = _seconds_to_first_game(Path(folder), SPECS["scripted players"], "cold")
        print(f"first time on a machine: {cold:.1f} s to the first game")
        for label, spec in SPECS.items():
            warm = [_seconds_to_first_game(Path(folder), spec, f"{len(label)}-{index}") for index in range(repeats)]
            median = statistics.median(warm)
            print(
                f"second time, {label}: median {median:.1f} s ({min(warm):.1f} to {max(warm):.1f}, n = {repeats}), "
                f"first/second = {cold / median:.1f}"
            )


def _seconds_to_first_game(folder: Path, spec: str, name: str) -> float:
    path, store = folder / f"{name}.toml", folder / name
    path.write_text(spec)
    environment = {**os.environ, "BANZUKE_CACHE": str(folder / "cache")}
    environment.pop("PREFECT_API_URL", None)
    command = [sys.executable, "-m", "deployments.cli", "run", str(path), "--store", str(store), "--json"]
    typed_at = datetime.now(UTC)
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    started = [pq.read_table(part)["started_at"].to_pylist() for part in store.glob("games/*/[!.]*.parquet")]
    return float((min(min(times) for times in started) - typed_at).total_seconds())


if __name__ == "__main__":
    main()
