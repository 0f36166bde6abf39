"""Kill the command, workers, engines and the embedded server at random moments, go on, and count what was lost.

Each round starts `banzuke run` or `banzuke backfill` on a run that is not complete, now and then a second command on
the same run beside it, and sends SIGKILL at random moments to one of the four until no command is left: a killed
worker, engine or server does not end a command, a killed command is the next round's to go on with. A last,
undisturbed command plays what is left. Then every row of every run is replayed, and compared with that of the same
game in a run that nobody disturbed.

    python benchmarks/soak.py [--kills 120] [--seed 1] [--minutes 30] [--games 16] [--folder KEPT]

Exit code 0: nothing was lost, counted twice or left behind, and every row replays. Linux only.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from banzuke.games.shogi import rules_named
from banzuke.match.game import replay
from banzuke.outcome import Status
from banzuke.record import GameRecord
from storage.game_store import GameStore
from storage.ledger import RANKING_COLUMNS, counting_rows
from storage.schemas import to_rows

ENGINE = "fairy-stockfish"
MAX_PLIES = 60
SPEC = """
name = "soak"
[[agents]]
name = "random"
kind = "random"
[[agents]]
name = "material"
kind = "material"
depth = 1
[[agents]]
name = "fairy-200"
kind = "usi"
command = ["{engine}"]
options = {{ Threads = 1, Hash = 16 }}
limit = {{ nodes = 200 }}
[[agents]]
name = "fairy-2000"
kind = "usi"
command = ["{engine}"]
options = {{ Threads = 1, Hash = 16 }}
limit = {{ nodes = 2000 }}
[tournament]
games_per_encounter = {games}
max_plies = {plies}
[limits]
concurrency = 2
"""
TARGETS = ("command", "engine", "server", "worker")
WEIGHTS = {"command": 2, "engine": 6, "server": 2, "worker": 3}
LONGEST_PEACE_SECONDS = 15.0
"""At the beginning of a round, so that what is killed is as often playing as it is coming up."""
LONGEST_PAUSE_SECONDS = 2.0
"""Between two attempts to kill something."""
BACKFILLS, SECOND_COMMANDS = 0.3, 0.25
"""How many of the rounds go on by backfill, and have a second command beside the first."""
SECOND_WITHIN_SECONDS = 10.0
DISTURBED_SECONDS = 60.0
"""After so long a round is left in peace, so that it ends."""
ROUND_SECONDS = 240.0
"""A command that has not ended by then never will."""
GONE_SECONDS = 5.0
LOST = 1
PR_SET_CHILD_SUBREAPER = 36

Place = tuple[str, int, int]
"""Encounter, round and slot: what names the same game in every run of one spec."""


def main() -> int:
    """Soak, and print the counts that have to be zero."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=120)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=30.0, help="no new round after so long")
    parser.add_argument("--games", type=int, default=16, help="of every encounter; there are 6 of them in a run")
    parser.add_argument("--folder", type=Path, help="an empty folder in which everything is to stay")
    options = parser.parse_args()
    # What outlives its parent comes to us, and is seen.
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        (folder / "soak.toml").write_text(SPEC.format(engine=ENGINE, games=options.games, plies=MAX_PLIES))
        undisturbed = _undisturbed(folder)
        soak = Soak(folder, random.Random(options.seed))
        while soak.kills.total() < options.kills and time.monotonic() < started + 60 * options.minutes:
            soak.play_round()
        soak.finish()
        findings = check(soak.store, soak.recorded, undisturbed)
    return _report(soak, findings, time.monotonic() - started)


class Soak:
    """Runs in one store, one after the other, and what has happened to them."""

    def __init__(self, folder: Path, chance: random.Random) -> None:
        self.folder = folder
        self.chance = chance
        self.store = GameStore(str(folder / "store"))
        self.recorded: set[str] = set()
        """Every attempt that was seen in the store after some round."""
        self.kills: Counter[str] = Counter()
        self.commands: Counter[str] = Counter()
        self.exit_codes: Counter[int] = Counter()
        self.rounds = 0
        self.runs = 1
        self.processes_left: list[str] = []
        self.files_left: set[str] = set()
        self.unended = 0
        self.last_exit_code: int | None = None

    def play_round(self) -> None:
        """Start commands on the present run, kill until none is left, and look at what they leave."""
        self.rounds += 1
        killed_before = self.kills["command"]
        commands = [self._start(self._way_to_go_on())]
        self._disturb(commands)
        self._look(commands)
        # A command that lost its server ends as hard as a killed one, and what it locked is freed by the kernel.
        if self.kills["command"] == killed_before and not any(each.returncode == LOST for each in commands):
            self._note_files()
        if self._is_complete():
            self.runs += 1

    def finish(self) -> None:
        """Play what is left, undisturbed."""
        way = "run" if not self._has_plan() else "backfill"
        command = self._start(way)
        with contextlib.suppress(subprocess.TimeoutExpired):
            command.wait(ROUND_SECONDS)
        self._look([command])
        self.last_exit_code = command.returncode
        self._note_files()
        homes = (self.folder / "cache" / "homes").glob("home-*")
        self.files_left |= {str(home.relative_to(self.folder)) for home in homes}

    def _way_to_go_on(self) -> str:
        return "backfill" if self._has_plan() and self.chance.random() < BACKFILLS else "run"

    def _disturb(self, commands: list[subprocess.Popen[bytes]]) -> None:
        started = time.monotonic()
        second_at = started + self.chance.uniform(0.0, SECOND_WITHIN_SECONDS)
        has_second = self.chance.random() < SECOND_COMMANDS
        kill_at = started + self.chance.uniform(0.0, LONGEST_PEACE_SECONDS)
        while any(command.poll() is None for command in commands) and time.monotonic() < started + ROUND_SECONDS:
            now = time.monotonic()
            if has_second and now >= second_at:
                has_second = False
                commands.append(self._start(self._way_to_go_on(), second=True))
            if kill_at <= now < started + DISTURBED_SECONDS:
                self._kill_something(commands)
                kill_at = time.monotonic() + self.chance.uniform(0.0, LONGEST_PAUSE_SECONDS)
            time.sleep(0.05)

    def _kill_something(self, commands: Sequence[subprocess.Popen[bytes]]) -> None:
        """Kill one process of a kind chosen by chance; nothing where there is none at the moment."""
        kind = self.chance.choices(TARGETS, weights=[WEIGHTS[target] for target in TARGETS])[0]
        if kind == "command":
            running = [command for command in commands if command.poll() is None]
            victims = [psutil.Process(command.pid) for command in running]
        else:
            victims = [process for process in _descendants() if _kind_of(process) == kind]
        if victims:
            with contextlib.suppress(psutil.NoSuchProcess):
                self.chance.choice(victims).kill()
                self.kills[kind] += 1

    def _look(self, commands: Sequence[subprocess.Popen[bytes]]) -> None:
        """Wait for what the commands started to be gone, and read what they recorded."""
        for command in commands:
            if command.poll() is None:
                self.unended += 1
                command.kill()
            self.exit_codes[command.wait()] += 1
        deadline = time.monotonic() + GONE_SECONDS
        while (left := list(_descendants())) and time.monotonic() < deadline:
            psutil.wait_procs(left, timeout=0.1)
        for process in left:
            with contextlib.suppress(psutil.Error):
                self.processes_left.append(f"{process.pid} {' '.join(process.cmdline())[:200]}")
                process.kill()
        _reap()
        self.recorded |= {row.attempt_id for row in _rows(self.store)}

    def _note_files(self) -> None:
        """Temporary files and locks that are there although a command ended by itself."""
        places = (self.folder / "store").rglob(".*")
        self.files_left |= {str(place.relative_to(self.folder)) for place in places if place.is_file()}

    def _start(self, way: str, *, second: bool = False) -> subprocess.Popen[bytes]:
        self.commands[f"second {way}" if second else way] += 1
        if way == "run":
            arguments = ["run", "soak.toml", "--run-id", self._run_id]
        else:
            arguments = ["backfill", "--run", self._run_id]
        command = [sys.executable, "-m", "deployments.cli", *arguments, "--store", "store", "--json"]
        return _banzuke(command, self.folder)

    @property
    def _run_id(self) -> str:
        return f"soak-{self.runs}"

    def _has_plan(self) -> bool:
        return self.store.has_run(self._run_id) and self.store.has_plan(self._run_id)

    def _is_complete(self) -> bool:
        if not self._has_plan():
            return False
        rows = self.store.games(self._run_id, RANKING_COLUMNS).table
        return len(counting_rows(rows)) == len(self.store.plan_table(self._run_id, ["game_id"]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What is in a store. Everything but the first two has to be empty."""

    planned: int
    counting: int
    lost: list[str] = field(default_factory=list)
    """Attempts that were there once."""
    twice: list[str] = field(default_factory=list)
    """Games with more than one row with a result."""
    unplanned: list[str] = field(default_factory=list)
    """Games with a result that no plan has."""
    contradictory: list[str] = field(default_factory=list)
    """Rows that do not replay: what is wrong."""
    different: list[str] = field(default_factory=list)
    """Games that were played otherwise than in the undisturbed run."""
    damaged: list[str] = field(default_factory=list)
    """Files that cannot be read."""

    @property
    def is_clean(self) -> bool:
        """Whether everything is there, once, and true."""
        faults = (self.lost, self.twice, self.unplanned, self.contradictory, self.different, self.damaged)
        return self.planned > 0 and self.counting == self.planned and not any(faults)


def check(store: GameStore, recorded: Collection[str], undisturbed: Mapping[Place, GameRecord]) -> Findings:
    """Check every row of every run.

    Args:
        store: with complete runs of one spec.
        recorded: ids of attempts that were seen in it earlier.
        undisturbed: the games of a run of the same spec.
    """
    run_ids = store.run_ids()
    planned = {game.game_id for run_id in run_ids for game in store.read_plan(run_id)}
    scanned = store.games(run_ids)
    rows = to_rows(scanned.table, GameRecord)
    raced = {row.attempt_id for run_id in run_ids for row in to_rows(store.raced(run_id).table, GameRecord)}
    counting = [row for row in rows if row.status is not Status.VOID]
    results = Counter(row.game_id for row in counting)
    return Findings(
        planned=len(planned),
        counting=len(results.keys() & planned),
        lost=sorted(set(recorded) - raced - {row.attempt_id for row in rows}),
        twice=sorted(game for game, count in results.items() if count > 1),
        unplanned=sorted(results.keys() - planned),
        contradictory=[fault for row in counting if (fault := _contradiction(row)) is not None],
        different=[row.game_id for row in counting if not _is_same(row, undisturbed.get(_place(row)))],
        damaged=[f"{part.path}: {part.reason}" for part in scanned.damaged],
    )


def _contradiction(row: GameRecord) -> str | None:
    try:
        replay(row, rules_named(row.game, row.rules), max_plies=MAX_PLIES)
    except ValueError as error:
        return str(error)
    return None


def _place(row: GameRecord) -> Place:
    return row.encounter, row.round, row.slot


def _is_same(row: GameRecord, other: GameRecord | None) -> bool:
    if other is None:
        return False
    one, two = ((game.moves, game.termination, game.winner, game.start_position) for game in (row, other))
    return one == two


def _undisturbed(folder: Path) -> dict[Place, GameRecord]:
    """Every game of a run that is left in peace, by its place."""
    store = GameStore(str(folder / "undisturbed"))
    arguments = ["run", "soak.toml", "--run-id", "undisturbed", "--store", "undisturbed", "--json"]
    code = _banzuke([sys.executable, "-m", "deployments.cli", *arguments], folder).wait()
    if code != 0:
        raise SystemExit(f"nobody disturbed it and it ended with {code}:\n{(folder / 'soak.log').read_text()[-2000:]}")
    return {_place(row): row for row in _rows(store) if row.status is not Status.VOID}


def _banzuke(command: Sequence[str], folder: Path) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "BANZUKE_CACHE": str(folder / "cache")}
    environment.pop("PREFECT_API_URL", None)
    with (folder / "soak.log").open("ab") as log:
        return subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=log)


def _rows(store: GameStore) -> list[GameRecord]:
    run_ids = store.run_ids()
    return to_rows(store.games(run_ids).table, GameRecord) if run_ids else []


def _descendants() -> Iterator[psutil.Process]:
    """Everything that we started, directly or not, and that lives."""
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if process.status() != psutil.STATUS_ZOMBIE:
                yield process


def _kind_of(process: psutil.Process) -> str | None:
    """What there is to be killed. Whoever wraps a program has its command line among its own arguments."""
    try:
        program, arguments = process.name(), " ".join(process.cmdline())
    except psutil.Error:
        return None
    if program == ENGINE[:15]:
        return "engine"
    if program.startswith("python") and "-m banzuke.workers.child" in arguments:
        return "worker"
    if program.startswith("python") and "-m deployments.embedded_server" in arguments:
        return "server"
    return None


def _reap() -> None:
    """What outlived its parent and has ended since is ours to bury; no command is running now."""
    with contextlib.suppress(ChildProcessError):
        while os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG) is not None:
            continue


def _report(soak: Soak, findings: Findings, seconds: float) -> int:
    kills, commands = (
        ", ".join(f"{kind} {count}" for kind, count in sorted(counts.items())) for counts in (soak.kills, soak.commands)
    )
    codes = ", ".join(f"{code}: {count}" for code, count in sorted(soak.exit_codes.items()))
    print(f"kills by kind: {kills}; together {soak.kills.total()}, in {soak.rounds} rounds")
    print(f"commands: {commands}; exit codes {codes}; of the last one {soak.last_exit_code}")
    print(f"games planned {findings.planned}, counting {findings.counting}, attempts seen {len(soak.recorded)}")
    zeros: Mapping[str, Sequence[object]] = {
        "lost": findings.lost,
        "counted twice": findings.twice,
        "not in the plan": findings.unplanned,
        "rows that do not replay": findings.contradictory,
        "games with other moves than undisturbed": findings.different,
        "damaged files": findings.damaged,
        "processes left": soak.processes_left,
        "temporary files left": sorted(soak.files_left),
        "commands that did not end": range(soak.unended),
    }
    for label, found in zeros.items():
        print(f"{label} {len(found)}")
        for item in found[:5]:
            print(f"    {item}")
    print(f"seconds {seconds:.0f}")
    return int(not findings.is_clean or any(zeros.values()) or soak.last_exit_code != 0)


if __name__ == "__main__":
    sys.exit(main())
