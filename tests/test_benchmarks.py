"""The benchmarks run: what they measure is written down elsewhere, and a broken one would be found too late."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def test_the_benchmark_of_adaptive_schedules_compares_both() -> None:
    """On a small pool with a coarse target, in seconds."""
    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "adaptive.py", "--quick", "--pools", "ladder", "--anchors", "middle"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert 0 == done.returncode, done.stderr
    _, line = done.stdout.splitlines()
    assert line.startswith("ladder / middle: ")


@pytest.mark.parametrize(
    ("program", "options", "lines"),
    [
        ("inference.py", ["--batches", "16", "--repeats", "1"], ["2x16 batch 16"]),
        (
            "playing.py",
            ["--only", "efficiency,alone,random", "--repeats", "1"],
            ["efficiency 2x16", "alone 2x16", "random:"],
        ),
    ],
)
def test_a_benchmark_of_networks_prints_its_ratios(program: str, options: list[str], lines: list[str]) -> None:
    """On a hundredth of the work."""
    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / program, "--quick", "--sizes", "2x16", *options],
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )

    assert 0 == done.returncode, done.stderr
    printed = done.stdout.splitlines()[1:]
    assert len(lines) == len(printed)
    assert all(line.startswith(start) for line, start in zip(printed, lines, strict=True))


def test_the_benchmark_of_ratings_prints_its_tables() -> None:
    """Three tables without a gap, on a thousandth of the work; what needs no luck is as it should be."""
    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "ratings.py", "--quick"],
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )

    assert 0 == done.returncode, done.stderr
    headings = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("## ")]
    rows = [line for line in done.stdout.splitlines() if line.startswith("| ")]
    assert ["Coverage", "Sequential", "Ordo's"] == headings
    assert 1 + 9 + 1 + 10 + 1 + 4 == len(rows)
    assert "nan" not in done.stdout
    converted = next(row for row in rows if row.startswith("| largest difference after converting"))
    assert 0.5 > float(converted.split("|")[2])


def test_the_benchmark_of_a_store_prints_its_tables(tmp_path: Path) -> None:
    """A ratio for everything that is compared, on a five-hundredth of the games, and no gap."""
    done = subprocess.run(
        [
            *(sys.executable, ROOT / "benchmarks" / "store.py", "--quick"),
            *("--only", "sizes,count,scan,frames", "--folder", tmp_path),
        ],
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )

    assert 0 == done.returncode, done.stderr
    headings = [line for line in done.stdout.splitlines() if line.startswith("### ")]
    rows = [line for line in done.stdout.splitlines() if line.startswith("| ")]
    assert 4 == len(headings)
    assert 1 + 6 + 1 + 4 + 1 + 4 + 1 + 3 == len(rows)
    assert "nan" not in done.stdout
