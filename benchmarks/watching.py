"""What it costs a run to be watched: games per second of the same spec, alone and with ``banzuke watch`` at a terminal.

Three scripted agents on two workers, every second run watched with its boards shown. The rate is taken from the store,
from the first game's start to the last game's end; the command's own start and end are not in it. On a machine with
two cores the watcher takes its time from the workers' cores; what is measured is both, the showing and the looking.
Five minutes.

    python benchmarks/watching.py [--games 40] [--repeats 5]
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from storage.game_store import GameStore

SPEC = """
name = "watched"
[[agents]]
name = "random"
kind = "random"
[[agents]]
name = "material-1"
kind = "material"
depth = 1
[[agents]]
name = "material-2"
kind = "material"
depth = 2
[tournament]
games_per_encounter = {games}
max_plies = 160
[limits]
concurrency = 2
"""
COMMAND = [sys.executable, "-m", "deployments.cli"]


def main() -> None:
    """Alternate, and compare."""
    wanted = _arguments()
    rates: dict[str, list[float]] = {"alone": [], "watched": []}
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "spec.toml").write_text(SPEC.format(games=wanted.games))
        for number in range(wanted.repeats):
            for kind, found in rates.items():
                found.append(_rate(Path(folder), f"{kind}-{number}", is_watched=kind == "watched"))
                print(f"{kind} {number}: {found[-1]:.2f} games a second", flush=True)
    alone, watched = (statistics.median(found) for found in rates.values())
    print(f"median: alone {alone:.2f}, watched {watched:.2f} games a second: {watched / alone:.3f} of it")


def _rate(folder: Path, run_id: str, *, is_watched: bool) -> float:
    store = folder / "store"
    command = [*COMMAND, "run", "spec.toml", "--store", str(store), "--run-id", run_id, "--json"]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL) as run:
        games = GameStore(str(store))
        while games.player(run_id) is None and run.poll() is None:
            time.sleep(0.1)
        with _watcher(folder, store, run_id) if is_watched else contextlib.nullcontext():
            if run.wait():
                raise SystemExit(f"{run_id} failed")
    rows = games.games(run_id, ["started_at", "finished_at"]).table
    begun, ended = min(rows["started_at"].to_pylist()), max(rows["finished_at"].to_pylist())
    return float(rows.num_rows / (ended - begun).total_seconds())


@contextlib.contextmanager
def _watcher(folder: Path, store: Path, run_id: str) -> Iterator[None]:
    ours, theirs = os.openpty()
    command = [*COMMAND, "watch", run_id, "--store", str(store), "--boards"]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120", "LINES": "40"}
    with subprocess.Popen(command, cwd=folder, env=environment, stdin=theirs, stdout=theirs, stderr=theirs) as watcher:
        os.close(theirs)
        threading.Thread(target=_drain, args=(ours,), daemon=True).start()
        yield
        watcher.wait(60)


def _drain(descriptor: int) -> None:
    with contextlib.suppress(OSError):
        while os.read(descriptor, 65536):
            continue
    os.close(descriptor)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--games", type=int, default=40, help="per encounter")
    parser.add_argument("--repeats", type=int, default=5)
    return parser.parse_args()


if __name__ == "__main__":
    main()
