"""How much sooner a run of agents that only wait is over with six workers than with one.

Six engines that sleep 200 ms a move meet each other, every game of the same length. The same spec is run by the real
command with one worker and with six, in alternating order. Two spans are compared: the whole command as a person
waits for it, start and end included, and from the first game's start to the last game's end as the store has them.
What the workers did is read from the store, too: how long they played, and how long they stood still between games.
Ten minutes; with ``--games 4`` five, but then start and end are more than the whole command can hide.

    python benchmarks/concurrency.py [--games 8] [--repeats 1] [--workers 6]
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise, product
from pathlib import Path

from banzuke.outcome import Status
from banzuke.record import GameRecord
from storage.game_store import GameStore
from storage.schemas import to_rows

AGENTS = 6
MOVE_MS = 200
PLIES = 22
"""Of every game, two of them the book's: drawn by length."""
ENGINE = Path(__file__).resolve().parent / "waiting_engine.py"
HEAD = """
name = "waiting"
[tournament]
games_per_encounter = {games}
max_plies = {plies}
openings = "pawns.sfen"
"""
AGENT = """
[[agents]]
name = "waiting-{number}"
kind = "usi"
command = ["{python}", "-I", "-S", "{engine}", "{milliseconds}"]
limit = {{ nodes = 1 }}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One run. Seconds throughout."""

    command: float
    """From typing it to its end."""
    start: float
    """From typing it to the first game's start, the agents' probes included."""
    games: float
    """From the first game's start to the last one's end."""
    work: float
    """The games' lengths, summed."""
    ragged: float
    """What the workers stood still at the end, summed, while another still played."""
    between: float
    """The longest that a worker stood still between two games."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--games", type=int, default=8, help="of every encounter; there are 15 of them")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--workers", type=int, default=6)
    options = parser.parse_args()
    measured: dict[int, list[Measured]] = {1: [], options.workers: []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _write_spec(folder, options.games)
        # The first command on a machine migrates a database for ten seconds: not what is measured here.
        _banzuke(folder, "evaluate", "waiting.toml", "--store", "evaluated")
        for index in range(options.repeats):
            for workers in sorted(measured, reverse=index % 2 == 0):
                run = _measure(folder, workers, f"{workers}-{index}")
                measured[workers].append(run)
                print(f"{workers} workers, {_described(run, workers)}", flush=True)
    _compare(measured[1], measured[options.workers], options.workers)


def _write_spec(folder: Path, games: int) -> None:
    # Pawns that open no line: whatever the book begins with, the rooks walk undisturbed.
    files = "12345689"
    lines = [f"startpos moves {one}g{one}f {other}c{other}d" for one, other in product(files, repeat=2) if other != "1"]
    (folder / "pawns.sfen").write_text("\n".join(lines) + "\n")
    agents = [
        AGENT.format(number=number, python=sys.executable, engine=ENGINE, milliseconds=MOVE_MS)
        for number in range(1, AGENTS + 1)
    ]
    (folder / "waiting.toml").write_text(HEAD.format(games=games, plies=PLIES) + "".join(agents))


def _measure(folder: Path, workers: int, run_id: str) -> Measured:
    started, typed_at = time.monotonic(), datetime.now(UTC)
    _banzuke(folder, "run", "waiting.toml", "--store", "store", "--run-id", run_id, "--concurrency", str(workers))
    seconds = time.monotonic() - started
    return _read(to_rows(GameStore(str(folder / "store")).games(run_id).table, GameRecord), typed_at, seconds)


def _banzuke(folder: Path, *arguments: str) -> None:
    environment = {**os.environ, "BANZUKE_CACHE": str(folder / "cache")}
    environment.pop("PREFECT_API_URL", None)
    command = [sys.executable, "-m", "deployments.cli", *arguments, "--json"]
    subprocess.run(command, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)


def _read(records: Sequence[GameRecord], typed_at: datetime, command: float) -> Measured:
    odd = [row for row in records if row.status is not Status.PLAYED or row.plies != PLIES]
    if odd:
        raise SystemExit(f"{odd[0].game_id} was to be {PLIES} plies of waiting: {odd[0].termination} {odd[0].detail}")
    first, last = min(row.started_at for row in records), max(row.finished_at for row in records)
    shifts: dict[int, list[GameRecord]] = {}
    for row in sorted(records, key=lambda row: row.started_at):
        shifts.setdefault(row.worker_pid, []).append(row)
    gaps = [
        (after.started_at - before.finished_at).total_seconds()
        for shift in shifts.values()
        for before, after in pairwise(shift)
    ]
    return Measured(
        command=command,
        start=(first - typed_at).total_seconds(),
        games=(last - first).total_seconds(),
        work=sum((row.finished_at - row.started_at).total_seconds() for row in records),
        ragged=sum((last - shift[-1].finished_at).total_seconds() for shift in shifts.values()),
        between=max(gaps),
    )


def _described(run: Measured, workers: int) -> str:
    busy = run.work / (workers * run.games)
    return (
        f"command {run.command:.1f} s: {run.start:.1f} s to the first game, games {run.games:.1f} s; "
        f"workers playing {busy:.1%} of it, "
        f"standing still at the end {run.ragged / workers:.1f} s each, at most {run.between:.2f} s between two games"
    )


def _compare(alone: Sequence[Measured], together: Sequence[Measured], workers: int) -> None:
    for label, of in (("whole command", "command"), ("first game's start to last game's end", "games")):
        slow = statistics.median(getattr(run, of) for run in alone)
        fast = statistics.median(getattr(run, of) for run in together)
        print(f"{label}: {slow:.1f} s with 1, {fast:.1f} s with {workers}, {slow / fast:.2f} times sooner")


if __name__ == "__main__":
    main()
