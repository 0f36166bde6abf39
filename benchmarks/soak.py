"""Kill the command, a worker or the embedded server at random moments, resume, and count what was lost.

Each round starts `banzuke run`, waits until a random number of further games is recorded, and sends SIGKILL to one of
the three; the next round resumes the same run, or begins another where that one is complete. In the end the last run
is finished undisturbed and all of them are checked: every attempt that was ever recorded is still there, no game counts
twice, every row replays, no process of ours is left.

    python benchmarks/soak.py [--kills 20] [--seed 1]
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import psutil

from banzuke.games.shogi import rules_named
from banzuke.match.game import replay
from banzuke.outcome import Status
from banzuke.record import GameRecord
from storage.game_store import GameStore
from storage.schemas import to_rows

GAMES = 100
MAX_PLIES = 120
SPEC = f"""
name = "soak"
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
games_per_encounter = {GAMES}
max_plies = {MAX_PLIES}
[limits]
concurrency = 2
"""
TARGETS = {"command": "deployments.cli", "worker": "banzuke.workers.child", "server": "deployments.embedded_server"}
WAIT_SECONDS = 120.0


def main() -> int:
    """Soak, and print the counts that have to be zero."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    chance = random.Random(options.seed)
    kills: Counter[str] = Counter()
    recorded: set[str] = set()
    left: set[int] = set()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "soak.toml").write_text(SPEC)
        store = GameStore(str(folder / "store"))
        run = 1
        while sum(kills.values()) < options.kills:
            target = chance.choice(sorted(TARGETS))
            kills[target] += _round(folder, store, f"soak-{run}", target, chance.randint(1, 60), left)
            records = _records(store)
            recorded |= {record.attempt_id for record in records}
            run += _is_complete(records, f"soak-{run}")
        done = _start(folder, f"soak-{run}").wait()
        records = _records(store)
    return _report(kills, records, recorded, left, done, runs=run)


def _round(folder: Path, store: GameStore, run_id: str, target: str, further: int, left: set[int]) -> bool:
    """Start or resume the run, and kill the target after so many further recorded attempts."""
    before = len(_records(store))
    command = _start(folder, run_id)
    family: set[psutil.Process] = set()
    killed = False
    deadline = time.monotonic() + WAIT_SECONDS
    while command.poll() is None and time.monotonic() < deadline:
        family |= set(psutil.Process(command.pid).children(recursive=True)) if psutil.pid_exists(command.pid) else set()
        if not killed and len(_records(store)) >= before + further:
            killed = _kill(command.pid, family, TARGETS[target])
        threading.Event().wait(0.05)
    command.kill()
    command.wait()
    _, alive = psutil.wait_procs(list(family), timeout=5)
    left |= {process.pid for process in alive if process.is_running() and process.status() != psutil.STATUS_ZOMBIE}
    return killed


def _kill(command: int, family: set[psutil.Process], word: str) -> bool:
    for process in [psutil.Process(command), *family]:
        try:
            # Whoever wrapped it has the word among its arguments too; the program itself says `-m word`.
            if process.is_running() and f"-m {word}" in " ".join(process.cmdline()):
                process.kill()
                return True
        except psutil.Error:
            continue
    return False


def _start(folder: Path, run_id: str) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "BANZUKE_CACHE": str(folder / "cache")}
    environment.pop("PREFECT_API_URL", None)
    command = [sys.executable, "-m", "deployments.cli", "run", "soak.toml", "--store", "store", "--run-id", run_id]
    null = subprocess.DEVNULL
    return subprocess.Popen([*command, "--json"], cwd=folder, env=environment, stdout=null, stderr=null)


def _records(store: GameStore) -> list[GameRecord]:
    run_ids = store.run_ids()
    return to_rows(store.games(run_ids).table, GameRecord) if run_ids else []


def _is_complete(records: list[GameRecord], run_id: str) -> bool:
    counting = {row.game_id for row in records if row.run_id == run_id and row.status is not Status.VOID}
    return len(counting) == 3 * GAMES


def _report(
    kills: Counter[str], records: list[GameRecord], recorded: set[str], left: set[int], done: int, *, runs: int
) -> int:
    counting = Counter(record.game_id for record in records if record.status is not Status.VOID)
    lost = recorded - {record.attempt_id for record in records}
    twice = [game for game, count in counting.items() if count > 1]
    planned = 3 * GAMES * runs
    wrong = 0
    for record in records:
        if record.status is not Status.VOID:
            proven = replay(record, rules_named(record.game, record.rules), max_plies=MAX_PLIES)
            wrong += (proven.termination, proven.winner) != (record.termination, record.winner)
    print(f"kills: {dict(kills)}, exit code of the last run {done}")
    print(f"runs {runs}, planned {planned}, counting {len(counting)}, lost {len(lost)}, counted twice {len(twice)}")
    print(f"rows that do not replay {wrong}, processes left {len(left)}")
    return int(bool(lost or twice or wrong or left or done or len(counting) != planned))


if __name__ == "__main__":
    sys.exit(main())
