"""What is left of a network's speed when whole tournaments are played with it, and what others' ways would leave.

Every figure is a ratio of two things measured in turn within one run, the median of several turns:

- efficiency: positions a second of a tournament of two networks, from the first game handed in to the last one's end,
  over positions a second of the bare forward pass of the same optimised module at its best batch size, both on all
  workers at once; at least 50 games per lane;
- alone: games a minute beside one process that looks at one position at a time, with all of torch's threads;
- random: plies a second and core of random agents beside a bare loop of legal moves, choice and push in cshogi;
- many: efficiency with 1, 2, 10 and 50 checkpoints in one tournament, memory of the workers at a third and at the end;
- command: the same tournament by ``banzuke run`` and by the core alone, from the first game's start to the last's end.

    python benchmarks/playing.py [--only efficiency,alone,random,many,command] [--sizes 2x16,5x64,10x128] [--repeats 3]
        [--quick]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import cshogi
import psutil
import torch
from random_networks import checkpoint

from banzuke.identity import identify
from banzuke.match.planning import plan_run
from banzuke.players.networks.batched import BatchedNetwork
from banzuke.players.networks.loading import load_network
from banzuke.specs import CheckpointAgent, LimitsSpec, RandomAgent, Spec, TournamentSpec, usable_cores
from banzuke.workers.batch import play_together
from banzuke.workers.hall import order_of_play
from banzuke.workers.pool import WorkerPool
from banzuke.workers.process import KEEP_FREED_MEMORY
from storage.game_store import GameStore

CORES = usable_cores()
SECTIONS = ("efficiency", "alone", "random", "many", "command")
GAMES_PER_LANE = 50
BARE_SECONDS = 6.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """A tournament that was played. Seconds and bytes."""

    seconds: float
    span: float
    """From the first game's start, before its networks are loaded, to the last one's end."""
    positions: int
    plies: int
    games: int
    memory_early: int
    memory_late: int

    @property
    def rate(self) -> float:
        """Positions a second that networks were asked about."""
        return self.positions / self.seconds


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(SECTIONS))
    parser.add_argument("--sizes", default="2x16,5x64,10x128")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="a hundredth of the work: does it run, not how fast")
    arguments = parser.parse_args()
    sections = {"efficiency": efficiency, "alone": alone, "random": at_random, "many": many, "command": command}
    print(f"{CORES} cores, torch {torch.__version__}, {cpu_name()}")
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.only.split(","):
            sections[name](Path(folder), arguments)


def efficiency(folder: Path, arguments: argparse.Namespace) -> None:
    """Positions a second while playing over those of the bare forward pass."""
    for size in arguments.sizes.split(","):
        lanes, plies = {"2x16": (72, 128), "5x64": (72, 64)}.get(size, (36, 64))
        spec = networks_spec(folder, size, 2, lanes=lanes, max_plies=plies, arguments=arguments)
        ratios, rates, bares = [], [], []
        with playing(spec) as pool:
            play(pool, spec, limit=2 * CORES)
            for _ in range(arguments.repeats):
                bare = bare_rate(checkpoint(folder, size, 0), seconds=0.3 if arguments.quick else BARE_SECONDS)
                played = play(pool, spec)
                bares.append(bare)
                rates.append(played.rate)
                ratios.append(played.rate / bare)
        print(
            f"efficiency {size}: {median(ratios):.3f} ({listed(ratios)}); playing {median(rates):,.0f} positions/s, "
            f"bare {median(bares):,.0f}; {played.games} games on {CORES} x {lanes} lanes, "
            f"{60 * played.games / played.seconds:,.0f} games a minute of {played.plies / played.games:.0f} plies"
        )


def alone(folder: Path, arguments: argparse.Namespace) -> None:
    """Games a minute beside one position at a time in one process."""
    for size in arguments.sizes.split(","):
        spec = networks_spec(folder, size, 2, lanes=72, max_plies=128, arguments=arguments, games=4 * CORES * 72)
        ratios, together, apart = [], [], []
        with playing(spec) as pool:
            play(pool, spec, limit=2 * CORES)
            for _ in range(arguments.repeats):
                played = play(pool, spec)
                together.append(60 * played.plies / played.seconds)
                with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as one:
                    path = checkpoint(folder, size, 0)
                    apart.append(60 * one.submit(one_at_a_time, str(path), 1.0 if arguments.quick else 8.0).result())
                ratios.append(together[-1] / apart[-1])
        print(
            f"alone {size}: {median(ratios):.1f} times ({listed(ratios)}); together {median(together):,.0f} plies "
            f"a minute, one at a time {median(apart):,.0f}"
        )


def at_random(folder: Path, arguments: argparse.Namespace) -> None:
    """Plies a second and core of random agents beside a bare loop."""
    games = 40 if arguments.quick else 4000
    spec = Spec(
        name="random",
        agents=(RandomAgent(name="one", kind="random"), RandomAgent(name="two", kind="random")),
        tournament=TournamentSpec(games_per_encounter=games, openings=str(book(folder))),
        limits=LimitsSpec(concurrency=CORES),
    )
    ratios, rates, bares = [], [], []
    with playing(spec) as pool:
        play(pool, spec, limit=2 * CORES)
        for _ in range(arguments.repeats):
            with ProcessPoolExecutor(CORES) as cores:
                bares.append(statistics.mean(cores.map(bare_loop, [0.3 if arguments.quick else 3.0] * CORES)))
            played = play(pool, spec)
            rates.append(played.plies / played.seconds / CORES)
            ratios.append(rates[-1] / bares[-1])
    print(
        f"random: {median(ratios):.3f} of a bare loop ({listed(ratios)}); {median(rates):,.0f} plies a second "
        f"and core, bare {median(bares):,.0f}; {played.games} games of {played.plies / played.games:.0f} plies"
    )


def many(folder: Path, arguments: argparse.Namespace) -> None:
    """Efficiency and memory with more and more checkpoints."""
    size = "2x16"  # the smallest, for which everything else weighs most
    rates: dict[int, list[float]] = {}
    memory: dict[int, str] = {}
    specs = {
        1: networks_spec(folder, size, 1, lanes=None, max_plies=64, arguments=arguments, games=7200),
        2: networks_spec(folder, size, 2, lanes=None, max_plies=64, arguments=arguments, games=7200),
        10: networks_spec(folder, size, 10, lanes=None, max_plies=64, arguments=arguments, games=160),
        50: networks_spec(folder, size, 50, lanes=None, max_plies=64, arguments=arguments, games=6),
    }
    for _ in range(1 if arguments.quick else min(2, arguments.repeats)):
        for count, spec in specs.items():
            with playing(spec) as pool:
                play(pool, spec, limit=2 * CORES)
                bare = bare_rate(checkpoint(folder, size, 0), seconds=0.3 if arguments.quick else BARE_SECONDS)
                played = play(pool, spec)
                rates.setdefault(count, []).append(played.rate / bare)
                memory[count] = f"{played.memory_early >> 20} MiB at a third, {played.memory_late >> 20} MiB at the end"
    for count, found in rates.items():
        beside = median(found) / median(rates[2])
        print(
            f"many {size}, {count} checkpoints: {median(found):.3f} ({listed(found)}), {beside:.2f} of two; "
            f"{memory[count]}"
        )


def command(folder: Path, arguments: argparse.Namespace) -> None:
    """From the first game's start to the last one's end: ``banzuke run`` beside the core alone."""
    size = "5x64"
    games = 4 * CORES if arguments.quick else 16 * CORES * 72
    spec = networks_spec(folder, size, 2, lanes=72, max_plies=64, arguments=arguments, games=games)
    ratios, commands, cores = [], [], []
    for turn in range(arguments.repeats):
        with playing(spec) as pool:
            cores.append(play(pool, spec).span)
        commands.append(command_seconds(folder, spec, f"r{turn}"))
        ratios.append(commands[-1] / cores[-1])
    print(
        f"command: {100 * (median(ratios) - 1):+.1f} % ({listed(ratios)}); banzuke run {median(commands):.1f} s, "
        f"the core {median(cores):.1f} s, {games} games"
    )


def networks_spec(
    folder: Path,
    size: str,
    count: int,
    *,
    lanes: int | None,
    max_plies: int,
    arguments: argparse.Namespace,
    games: int | None = None,
) -> Spec:
    """A round-robin of networks; of one network and a random agent where there is but one."""
    agents: list[CheckpointAgent | RandomAgent] = [
        CheckpointAgent(name=f"net-{seed}", kind="checkpoint", path=str(checkpoint(folder, size, seed)))
        for seed in range(count)
    ]
    if count == 1:
        agents.append(RandomAgent(name="random", kind="random"))
    if games is None:
        games = GAMES_PER_LANE * (lanes or 72) * CORES
    if arguments.quick:
        games = min(games, 8)
    return Spec(
        name="bench",
        agents=tuple(agents),
        tournament=TournamentSpec(games_per_encounter=games, max_plies=max_plies, openings=str(book(folder))),
        limits=LimitsSpec(concurrency=CORES, lanes=lanes),
    )


def book(folder: Path) -> Path:
    """Openings of six random plies: as many different ones as there are pairs."""
    path = folder / "openings.sfen"
    if not path.exists():
        lines: set[str] = set()
        draw = random.Random(1)
        while len(lines) < 4000:
            board = cshogi.Board()
            moves = []
            for _ in range(6):
                move = draw.choice(list(board.legal_moves))
                moves.append(cshogi.move_to_usi(move))
                board.push(move)
            lines.add(f"startpos moves {' '.join(moves)}")
        path.write_text("\n".join(sorted(lines)) + "\n")
    return path


def playing(spec: Spec) -> _Pool:
    """The workers of a spec while the block lasts."""
    return _Pool(WorkerPool.for_spec(spec))


class _Pool:
    def __init__(self, pool: WorkerPool) -> None:
        self.pool = pool

    def __enter__(self) -> WorkerPool:
        return self.pool

    def __exit__(self, *_: object) -> None:
        self.pool.close()


def play(pool: WorkerPool, spec: Spec, *, limit: int | None = None) -> Played:
    """A whole tournament, or its first games, by the core alone."""
    games = plan_run(spec, run_id="bench", agent_ids={agent.name: identify(agent).agent_id for agent in spec.agents})
    games = order_of_play(games, spec)[:limit]
    before = sum(pool.hall.positions.values())
    started = time.monotonic()
    count = plies = early = 0
    starts, ends = [], []
    for record in play_together(games, spec, pool.hall, attempts_before={}, on_tick=lambda: None):
        count += 1
        plies += record.plies
        starts.append(record.started_at)
        ends.append(record.finished_at)
        if count == len(games) // 3:
            early = workers_memory()
    seconds = time.monotonic() - started
    if count != len(games):
        raise RuntimeError(f"{count} records of {len(games)} games")
    positions = sum(pool.hall.positions.values()) - before
    return Played(
        seconds=seconds,
        span=(max(ends) - min(starts)).total_seconds(),
        positions=positions,
        plies=plies,
        games=count,
        memory_early=early,
        memory_late=workers_memory(),
    )


def workers_memory() -> int:
    """Of all processes below this one."""
    return sum(process.memory_info().rss for process in psutil.Process().children(recursive=True))


def bare_rate(path: Path, *, seconds: float) -> float:
    """Positions a second of the optimised module, on all cores at once, at its best batch size."""
    os.environ.update(KEEP_FREED_MEMORY)  # as workers have it
    with ProcessPoolExecutor(CORES, mp_context=get_context("spawn")) as cores:
        found = list(cores.map(bare_rates, [str(path)] * CORES, [seconds] * CORES))
    return max(sum(rates) for rates in zip(*found, strict=True))


def bare_rates(path: str, seconds: float) -> list[float]:
    """Positions a second by shape, with one thread."""
    torch.set_num_threads(1)
    batched = BatchedNetwork(load_network(Path(path)), device=torch.device("cpu"))
    rates = []
    for shape in batched.shapes:
        batched.run_bare(shape)
        passes, started = 0, time.monotonic()
        while (elapsed := time.monotonic() - started) < seconds / len(batched.shapes):
            batched.run_bare(shape)
            passes += 1
        rates.append(passes * shape / elapsed)
    return rates


def one_at_a_time(path: str, seconds: float) -> float:
    """Plies a second of one process that plays a network against itself, a position at a time."""
    network = load_network(Path(path))
    board, plies = cshogi.Board(), 0
    planes = torch.zeros(1, network.planes, 9, 9)
    with torch.inference_mode():
        network.module.evaluate(planes)
        started = time.monotonic()
        while time.monotonic() - started < seconds:
            moves = list(board.legal_moves)
            if not moves or board.move_number > 128:
                board = cshogi.Board()
                continue
            network.encoding.write_one(board, planes[0].numpy())
            logits = network.module.evaluate(planes).policy_logits[0].numpy()
            legal = network.action_map.indices(moves, mover=board.turn)
            board.push(moves[int(logits[legal].argmax())])
            plies += 1
    return plies / (time.monotonic() - started)


def bare_loop(seconds: float) -> float:
    """Plies a second of random moves in cshogi and nothing else."""
    board, plies, draw = cshogi.Board(), 0, random.Random(1).random
    started = time.monotonic()
    while time.monotonic() - started < seconds:
        for _ in range(1000):
            moves = list(board.legal_moves)
            if not moves or board.move_number > 320:
                board = cshogi.Board()
                continue
            board.push(moves[int(draw() * len(moves))])
            plies += 1
    return plies / (time.monotonic() - started)


def command_seconds(folder: Path, spec: Spec, run_id: str) -> float:
    """What the store says of a run of the command."""
    store = folder / "store"
    path = folder / "spec.toml"
    path.write_text(toml(spec))
    line = [sys.executable, "-m", "deployments.cli", "run", str(path), "--store", str(store), "--run-id", run_id]
    done = subprocess.run([*line, "--json"], check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    if json.loads(done.stdout)["missing"]:
        raise RuntimeError("the run is not complete")
    rows = GameStore(str(store)).games(run_id, ["started_at", "finished_at"]).table.to_pydict()
    return float((max(rows["finished_at"]) - min(rows["started_at"])).total_seconds())


def toml(spec: Spec) -> str:
    """The spec as a person would write it."""
    agents = "".join(
        f'[[agents]]\nname = "{agent.name}"\nkind = "checkpoint"\npath = "{agent.path}"\n'
        for agent in spec.agents
        if isinstance(agent, CheckpointAgent)
    )
    tournament, limits = spec.tournament, spec.limits
    return (
        f'name = "{spec.name}"\n{agents}[tournament]\ngames_per_encounter = {tournament.games_per_encounter}\n'
        f'max_plies = {tournament.max_plies}\nopenings = "{tournament.openings}"\n'
        f"[limits]\nconcurrency = {limits.concurrency}\nlanes = {limits.lanes}\n"
    )


def cpu_name() -> str:
    """As the system names it."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return "unknown processor"


def median(values: Sequence[float]) -> float:
    """The middle one."""
    return statistics.median(values)


def listed(values: Sequence[float]) -> str:
    """All of them, for the spread."""
    return ", ".join(f"{value:.3g}" for value in values)


if __name__ == "__main__":
    main()
