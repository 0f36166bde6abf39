"""The zoo: every known way of going wrong, played for real, and the row it gives; docs/failures.md is its table.

``make failures`` (BANZUKE_WRITE_FAILURES=1) writes the table anew.
"""

from __future__ import annotations

import itertools
import json
import os
import pickle
import re
import shlex
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
import pytest
import torch
from engines.scripted_engine import LINE
from staging import game
from zoo.animals import ANIMALS, HEALTHY, Animal, Kind, Row

from banzuke.identity import identify
from banzuke.match.recording import Attempt
from banzuke.outcome import Side, Status
from banzuke.players.networks.se_resnet import SEResNet, SEResNetSizes
from banzuke.record import GameRecord
from banzuke.specs import (
    AgentSpec,
    CheckpointAgent,
    LimitsSpec,
    RandomAgent,
    SearchLimit,
    Spec,
    TournamentSpec,
    UsiAgent,
)
from banzuke.workers.supervisor import Supervisor

HERE = Path(__file__).resolve().parent
SABOTEUR = HERE / "zoo" / "saboteur"
FAILURES = HERE.parent / "docs" / "failures.md"
WRITE = "BANZUKE_WRITE_FAILURES"
HEALTHY_WIDTH = 6
FIRST_WIDTH = 8
CAGES = 2
"""Animals looked at in parallel, as long as they are quiet."""
DYING_SECONDS = 0.5
OVERTIME_SECONDS = 2.0
"""What the slot may take to be free again, beyond the limit that held it."""

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="/proc and the kernel's ways"),
    pytest.mark.timeout(600),  # the first test plays the whole zoo
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What became of an animal in one seat."""

    side: Side
    records: tuple[GameRecord, ...]
    healthy: GameRecord
    """The game that the same supervisor played next, without the animal."""
    seconds: float
    """From the beginning of the fault to the end of the healthy game."""
    lingering: tuple[str, ...]
    """The animal's processes after that."""
    marked: bool
    """Whether the animal itself said when its fault began."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """What became of an animal."""

    seen: tuple[Seen, ...]
    left: tuple[str, ...]
    """Its processes, right after the supervisor was closed."""
    folder: Path

    @property
    def seconds(self) -> float:
        """The longest that it held its slot."""
        return max(seen.seconds for seen in self.seen)


@pytest.fixture(scope="module")
def zoo(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Visit]:
    """Every animal that the chosen tests ask for, played; by name."""
    chosen = [getattr(item, "callspec", None) for item in request.session.items if item.path == Path(__file__)]
    names = {call.params["animal"].name for call in chosen if call and "animal" in call.params}
    of_all = any(item.name == test_the_table_is_what_was_measured.__name__ for item in request.session.items)
    wanted = [animal for animal in ANIMALS if of_all or animal.name in names]
    folder = tmp_path_factory.mktemp("zoo")
    cages = {
        animal.name: Cage(animal, folder / animal.name, FIRST_WIDTH + number) for number, animal in enumerate(wanted)
    }
    plan = {str(cage.width): cage.order() for cage in cages.values() if cage.animal.sabotage}
    (folder / "sabotage.json").write_text(json.dumps(plan))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(SABOTEUR), prepend=os.pathsep)
        patch.setenv("ZOO_SABOTAGE", str(folder / "sabotage.json"))
        visits = {name: cage.visit() for name, cage in cages.items() if cage.animal.loud}
        with ThreadPoolExecutor(CAGES) as visitors:
            quiet = {name: visitors.submit(cage.visit) for name, cage in cages.items() if not cage.animal.loud}
        return visits | {name: visit.result() for name, visit in quiet.items()}


class Cage:
    """One animal with a supervisor of its own, and what it takes to play it."""

    def __init__(self, animal: Animal, folder: Path, width: int) -> None:
        self.animal = animal
        self.folder = folder
        self.width = width
        self.mark = folder / "mark"
        self.games = itertools.count()

    def order(self) -> dict[str, object]:
        """What the saboteur is to do with this network."""
        if self.animal.sabotage is None:
            raise ValueError(self.animal.name)
        memory_mb = self.animal.limits.get("worker_memory_mb", 0)
        act, at_pass = self.animal.sabotage.act, self.animal.sabotage.at_pass
        return {"act": act, "at_pass": at_pass, "mark": str(self.mark), "memory_mb": memory_mb}

    def visit(self) -> Visit:
        """Play it in each of its seats."""
        self.folder.mkdir()
        agent = self.agent()
        supervisor = Supervisor(stop=threading.Event(), torch_threads=1 if isinstance(agent, CheckpointAgent) else 0)
        try:
            seen = tuple(self.look(supervisor, self.spec(agent), side) for side in self.animal.seats)
        except BaseException:
            supervisor.kill()
            raise
        supervisor.close()
        left = self.left({record.worker_pid for one in seen for record in one.records})
        return Visit(seen=seen, left=left, folder=self.folder)

    def look(self, supervisor: Supervisor, spec: Spec, side: Side) -> Seen:
        """Its games in one seat, and the healthy game that follows."""
        self.play(supervisor, spec, "healthy" if self.animal.checkpoint else "a", "b")  # imports what they need
        self.mark.unlink(missing_ok=True)
        begun = time.monotonic()
        opponent = "a" if self.animal.checkpoint else "healthy"
        table = (self.animal.name, opponent) if side is Side.FIRST else (opponent, self.animal.name)
        records = tuple(self.play(supervisor, spec, *table) for _ in self.animal.rows)
        next_spec = spec.model_copy(update={"name": "other"}) if self.animal.other_spec_next else spec
        healthy = self.play(supervisor, next_spec, "a", "b")
        ended = time.monotonic()
        marked = self.mark.exists()
        if marked:
            begun = float(self.mark.read_text())
        return Seen(
            side=side,
            records=records,
            healthy=healthy,
            seconds=ended - begun,
            lingering=self.left(set()),
            marked=marked,
        )

    def play(self, supervisor: Supervisor, spec: Spec, first: str, second: str) -> GameRecord:
        """One game."""
        ids = {agent.name: identify(agent).agent_id for agent in spec.agents}
        planned = replace(
            game(first, second, number=next(self.games), run_id="zoo"),
            first_agent_id=ids[first],
            second_agent_id=ids[second],
        )
        return supervisor.play(Attempt.at(planned, 1), spec, on_tick=nothing)

    def left(self, workers: set[int]) -> tuple[str, ...]:
        """Processes that are the animal's, or its workers; one that was killed may take a moment to die of it."""
        found = [process for process in psutil.process_iter() if process.pid in workers or self.is_mine(process)]
        deadline = time.monotonic() + DYING_SECONDS
        while (found := [process for process in found if not is_gone(process)]) and time.monotonic() < deadline:
            psutil.wait_procs(found, timeout=0.02)
        return tuple(str(process) for process in found)

    def is_mine(self, process: psutil.Process) -> bool:
        """Whether the animal, or something it started, is this process."""
        try:
            return process.environ().get("ZOO_PROGRAM") == str(self.folder / self.animal.name)
        except psutil.Error:
            return False

    def spec(self, agent: AgentSpec) -> Spec:
        """The animal, a healthy one of its kind and two built-in agents."""
        limits = {"concurrency": 1, "move_seconds": 20.0, "game_seconds": 60.0, "start_seconds": 20.0, "retries": 0}
        return Spec(
            name="zoo",
            agents=(random_agent("a"), random_agent("b"), self.healthy(), agent),
            tournament=TournamentSpec(max_plies=self.animal.plies),
            limits=LimitsSpec.model_validate(limits | dict(self.animal.limits)),
        )

    def agent(self) -> AgentSpec:
        """The animal as the spec has it."""
        if self.animal.checkpoint:
            path = checkpoint_of(self.animal, self.folder)
            FILES[self.animal.checkpoint](path, self.width)
            return network(self.animal.name, path)
        switches = [*self.animal.switches, "--mark", str(self.mark), "--pid-file", str(self.folder / "pid")]
        return self.program(self.animal.name, *switches, limit=self.animal.limit)

    def healthy(self) -> AgentSpec:
        """One that does nothing wrong."""
        if not self.animal.checkpoint:
            return self.program("healthy")
        path = self.folder / "healthy.pt"
        torch.save(weights(HEALTHY_WIDTH), path)
        return network("healthy", path)

    def program(self, name: str, *switches: str, limit: SearchLimit | None = None) -> UsiAgent:
        """An executable file of that name, which all that it starts can be told by."""
        command = shlex.join([sys.executable, "-I", "-S", str(HERE / "engines" / "scripted_engine.py"), *switches])
        program = self.folder / name
        program.write_text(f"#!/bin/sh\nexport ZOO_PROGRAM={shlex.quote(str(program))}\nexec {command}\n")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        return UsiAgent(name=name, kind="usi", command=(str(program),), limit=limit or SearchLimit(nodes=1))


def random_agent(name: str) -> RandomAgent:
    return RandomAgent(name=name, kind="random")


def network(name: str, path: Path) -> CheckpointAgent:
    return CheckpointAgent(name=name, kind="checkpoint", path=str(path), device="cpu")


def nothing() -> None:
    """What is done at a tick."""


def is_gone(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.Error:
        return True


# --- files


def weights(width: int) -> dict[str, torch.Tensor]:
    """A small untrained network."""
    torch.manual_seed(1)
    sizes = SEResNetSizes(
        planes=50, blocks=1, channels=width, squeeze=2, pool=4, policy_channels=8, value_width=4, score_width=2
    )
    return SEResNet(sizes).state_dict()


def sabotaged(path: Path, width: int) -> None:
    """In good order; the saboteur knows it by its width."""
    torch.save(weights(width), path)


def truncated(path: Path, width: int) -> None:
    torch.save(weights(width), path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def wrong_shapes(path: Path, width: int) -> None:
    torch.save(weights(width) | {"policy_conv1.weight": torch.zeros(8, width + 1, 1, 1)}, path)


def nan_weights(path: Path, width: int) -> None:
    torch.save(weights(width) | {"policy_conv2.bias": torch.full((139,), torch.nan)}, path)


def too_large(path: Path, _width: int) -> None:
    """Every weight is one and the same stored number."""
    with torch.device("meta"):
        sizes = SEResNetSizes(
            planes=50, blocks=2, channels=2700, squeeze=2, pool=4, policy_channels=8, value_width=4, score_width=2
        )
        shapes = {name: tensor.shape for name, tensor in SEResNet(sizes).state_dict().items()}
    counter = torch.tensor(0)
    views = {name: counter if name.endswith("_tracked") else torch.zeros(1).expand(shapes[name]) for name in shapes}
    torch.save(views, path)


class Bait:
    """Makes a folder where it is unpickled by somebody careless."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.folder),)


def checkpoint_of(animal: Animal, folder: Path) -> Path:
    return folder / f"{animal.name}.pt"


def bait_of(path: Path) -> Path:
    return path.with_suffix(".bait")


def bare_pickle(path: Path, _width: int) -> None:
    path.write_bytes(pickle.dumps(Bait(bait_of(path))))


def pickle_in_zip(path: Path, _width: int) -> None:
    torch.save({"model_state_dict": Bait(bait_of(path))}, path)


FILES = {
    file.__name__: file
    for file in (sabotaged, truncated, wrong_shapes, nan_weights, too_large, bare_pickle, pickle_in_zip)
}
CARELESS: Mapping[str, Callable[[Path], object]] = {
    "bare_pickle": lambda path: pickle.loads(path.read_bytes()),  # noqa: S301 - to see that the bait is live
    "pickle_in_zip": lambda path: torch.load(path, weights_only=False),
}


# --- tests


@pytest.mark.parametrize("animal", ANIMALS, ids=lambda animal: animal.name)
def test_an_animal_gives_its_row_and_its_slot_back(animal: Animal, zoo: Mapping[str, Visit]) -> None:
    """Status, termination, side and words are as the table has them; the slot is free in time; nothing is left."""
    visit = zoo[animal.name]

    assert animal.seats == tuple(seen.side for seen in visit.seen)
    assert bool(animal.switches or animal.sabotage) is any(seen.marked for seen in visit.seen)
    for seen in visit.seen:
        for row, record in zip(animal.rows, seen.records, strict=True):
            expect_row(row, record, seen.side, animal)
        assert Status.PLAYED is seen.healthy.status, seen.healthy.detail
        if Status.VOID in {row.status for row in animal.rows} or animal.other_spec_next:
            assert () == seen.lingering
    assert () == visit.left
    assert visit.seconds <= animal.limit_seconds + OVERTIME_SECONDS


def expect_row(row: Row, record: GameRecord, side: Side, animal: Animal) -> None:
    assert (row.status, row.termination) == (record.status, record.termination), record.detail
    assert (side if row.at_fault else None) == record.fault, record.detail
    assert (side.other if row.status is Status.FORFEIT else None) == record.winner
    if animal.switches:
        assert tuple(LINE[: record.plies]) == record.moves
    if row is HEALTHY:
        assert (animal.plies, None) == (record.plies, record.detail)
        return
    assert row.least_plies <= record.plies
    assert 1 == len((record.detail or "").splitlines())
    assert re.search(".*".join(map(re.escape, row.says)), record.detail or ""), record.detail


@pytest.mark.parametrize("animal", [a for a in ANIMALS if a.checkpoint in CARELESS], ids=lambda animal: animal.name)
def test_code_in_a_checkpoint_is_not_run(animal: Animal, zoo: Mapping[str, Visit]) -> None:
    """The folder that the pickle makes is not there after the games, and is there once the pickle is trusted."""
    path = checkpoint_of(animal, zoo[animal.name].folder)

    assert not bait_of(path).exists()
    CARELESS[animal.checkpoint or ""](path)
    assert bait_of(path).is_dir()


def test_the_table_is_what_was_measured(zoo: Mapping[str, Visit]) -> None:
    """docs/failures.md has every animal with what it gives; only the seconds may be those of another day."""
    text = page(zoo)
    if os.environ.get(WRITE):
        FAILURES.write_text(text, encoding="utf-8")

    assert without_seconds(text) == without_seconds(FAILURES.read_text(encoding="utf-8"))


# --- docs/failures.md


def page(zoo: Mapping[str, Visit]) -> str:
    """The whole text."""
    sections = [section(kind, [animal for animal in ANIMALS if animal.kind is kind], zoo) for kind in Kind]
    return "\n\n".join([INTRODUCTION.format(animals=len(ANIMALS)), *sections]) + "\n"


def section(kind: Kind, animals: Sequence[Animal], zoo: Mapping[str, Visit]) -> str:
    """One kind of fault: what to do about it, and its animals."""
    columns = ("fault", "status", "termination", "at fault", "the row says", "held by", "free after")
    head = f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|"
    lines = [table_line(animal, zoo[animal.name]) for animal in animals]
    return "\n".join([f"## {kind}\n\n{ADVICE[kind]}\n", head, *lines])


def table_line(animal: Animal, visit: Visit) -> str:
    """What was measured; two games are told of where the second is the point."""
    games = [[seen.records[number] for seen in visit.seen] for number in range(len(animal.rows))]
    status = ", ".join(in_one_word(record.status for record in game) for game in games)
    termination = ", ".join(in_one_word(record.termination for record in game) for game in games)
    blamed = {record.fault is not None for game in games for record in game}
    at_fault = in_one_word("the agent" if by_it else "nobody" for by_it in blamed)
    says = " … ".join(words for row in animal.rows for words in row.says)
    held = "" if not animal.held_by else f"`{animal.held_by}`, {animal.limit_seconds:g} s"
    cells = (animal.fault, status, termination, at_fault, says, held, f"{visit.seconds:.1f} s")
    return "| " + " | ".join(cells) + " |"


def in_one_word(words: Iterable[str]) -> str:
    """The word they all are."""
    return "/".join(sorted(set(words)))


def without_seconds(text: str) -> list[str]:
    """Its lines, the last cell of every row of a table left out."""
    return [line.rpartition(" | ")[0] if re.fullmatch(r"\|.* s \|", line) else line for line in text.splitlines()]


INTRODUCTION = """\
# What goes wrong, and what then

*Made by `make failures`, which plays every line of these tables for real; the tests compare it with what they see.*

Agents crash, hang, flood, answer nonsense and eat memory. None of that stops a run, and none of it is a result that the
agent did not cause by its own play. Every attempt at a game is one row of the `games` dataset: `status` and
`termination` say how it ended, `fault` says whose side caused it, `detail` says in one line what a person can act on.

- `played`: the game ended by the rules. What is listed here as played was put up with: the moves are those of a
  healthy engine.
- `forfeit`: lost by the agent's own play. It counts, and it is not played again.
- `void`: no result. It is played again up to `retries` times, never counts, and waits for `banzuke backfill`, after
  whatever was wrong has been repaired. `banzuke standings --count-faults` counts what is still void as lost by the side
  at fault.

*Free after* is the time from the beginning of the fault until a healthy game, played next by the same worker or by
the one that replaced it, was over; the longer one where both sides were tried. It never exceeds the limit
(*held by*) by more than 2 seconds. The limits are those of the test, small on purpose; yours are in `[limits]` of the
spec ([spec.md](spec.md)). There are {animals} kinds of fault.

## Repairing an agent

What an agent is, is its bytes: the program or checkpoint, its arguments, options and limit. An agent **without a
counting game** in a run may be changed, and `banzuke backfill` plays its games with what it is now. An agent **with
counting games** may not: the rest of its games would be those of another agent under one name, and the backfill
refuses. So repair what is around it (a missing library, a locked file, memory, a limit in `[limits]`), or begin a run
under another `--run-id`. An engine whose builds are to count as one has a `version` in the spec from the first run
on, which stands for the program's bytes: then a rebuilt program of the same version goes on.

An agent that hangs in some of its games only, and finishes others, is never put off: each of its void games is tried
`1 + retries` times. Where that costs too much, lower `move_seconds` or `retries`: limits may change when a run is gone
on with. An agent that stalls where it is losing gains by being played again: look at both `banzuke standings` and
`banzuke standings --count-faults`."""

ADVICE = {
    Kind.ENDS: """\
The program ended by itself. The row says how: its exit code or the signal, and the last words it wrote on stderr.
Run the `command` of the spec by hand in the folder of the spec, type `usi`, `isready`, and the position of the row.
Nothing is waited for; an engine that ended between two games is started anew, and costs no game.""",
    Kind.HANGS: """\
It lives, but says nothing that was asked for. It is killed at `start_seconds` (opening, and getting ready for the next
game) or `move_seconds` (a move), whatever it prints meanwhile. Raise these only for an agent that is slow rather than
stuck: large networks may need more than a minute to load. When `game_seconds` ends first, it is nobody's fault: who had
the move then is chance.""",
    Kind.FLOODS: """\
Everything that is no answer is read and dropped: foreign encodings, control characters, long lines, noise on stderr. An
engine that prints far more than any search has to say, without an answer in it, is ended before its time.
Turn its log options off.""",
    Kind.ANSWERS: """\
The first answer to a question counts. It must be a legal move, `resign`, or a `win` that the position gives;
anything else loses the game. Look at `moves` of the row: the position after them is the one it got wrong. Answers
nobody asked for (two for one question, one after the game) are dropped, and do not get into the next game.""",
    Kind.CLOCK: """\
An agent with a clock of its own (`movetime_ms`, `byoyomi_ms`, `base_ms`, `increment_ms`) may overstep it by
`margin_ms`. Beyond that it loses on time; if it has not answered by `move_seconds` either, nothing is known of its play
and the game is void. Raise `margin_ms` where the machine is slow, lower the engine's own time options where the engine
is.""",
    Kind.STAYS: """\
A program that is to leave is told `quit`, then terminated, then killed, with everything it started. There is nothing to
do about it, but an engine that is killed cannot write its files.""",
    Kind.MEMORY: """\
The resident memory of a worker with everything it started is measured four times a second against `worker_memory_mb`;
past it the worker is killed, and another takes its place. Lower the engine's hash options (`Hash`, `USI_Hash`) or raise
`worker_memory_mb`; `concurrency` workers may each use that much.""",
    Kind.CHECKPOINT: """\
A checkpoint is data: it is looked through before anything in it is given memory, and what is no set of weights of a
known network is refused. `banzuke evaluate` says so before a game is lost. Copy the file again, or save it with
`torch.save(model.state_dict(), path)`. NaN shows when the network is asked: the training has diverged.""",
    Kind.NETWORK: """\
The file is in order, but computing with it is not: a driver, a build of torch, the machine's memory. A network lives in
the worker itself, which is replaced. Try `device = "cpu"`, another build of torch, or more `worker_memory_mb`.""",
}
