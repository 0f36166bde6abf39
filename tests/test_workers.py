"""Workers and who keeps them: real child processes that hang, crash, grow, freeze and are killed."""

from __future__ import annotations

import os
import queue
import re
import resource
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest
from staging import game, once

from banzuke.errors import WorkerDiedError, WorkerError
from banzuke.games.positions import START_POSITION
from banzuke.match.recording import Attempt, void_record
from banzuke.outcome import Outcome, Side, Status, Termination
from banzuke.record import GameRecord, PlannedGame
from banzuke.specs import LimitsSpec, MaterialAgent, RandomAgent, SearchLimit, Spec, TournamentSpec, UsiAgent
from banzuke.workers import batch as batches
from banzuke.workers import pool as pools
from banzuke.workers import process as processes
from banzuke.workers import supervisor as supervisors
from banzuke.workers.batch import batch_seconds, play_batch
from banzuke.workers.deadline_board import DeadlineBoard, Notice, Phase
from banzuke.workers.messages import (
    ORDER,
    REPORT,
    Answer,
    Leave,
    Play,
    Played,
    Pose,
    Posed,
    Prepare,
    Question,
    Ready,
)
from banzuke.workers.pool import WorkerPool, current_pool, worker_pool
from banzuke.workers.process import WorkerProcess
from banzuke.workers.supervisor import GRACE_SECONDS, Stopped, Supervisor, play_seconds

FIRST, SECOND = Side.FIRST, Side.SECOND
ENGINES = Path(__file__).parent / "engines"
EVENT_SECONDS = 20.0
SLACK = 3.0
"""Seconds by which a deadline may be overrun on a loaded machine before a test calls it no deadline."""
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="/proc and the kernel's ways")


def random_agent(name: str) -> RandomAgent:
    return RandomAgent(name=name, kind="random")


def usi_agent(name: str, *command: str | Path) -> UsiAgent:
    program = (sys.executable, "-I", "-S", *map(str, command))
    return UsiAgent(name=name, kind="usi", command=program, limit=SearchLimit(nodes=1))


def scripted(*switches: str | Path, name: str = "scripted") -> UsiAgent:
    """The engine that misbehaves on request."""
    return usi_agent(name, ENGINES / "scripted_engine.py", *switches)


def material_agent(name: str) -> MaterialAgent:
    return MaterialAgent(name=name, kind="material", depth=1)


def tournament(*agents: RandomAgent | MaterialAgent | UsiAgent, max_plies: int = 6, **limits: float) -> Spec:
    """A spec of these agents and two random ones, ``a`` and ``b``."""
    limits = {
        "concurrency": 1,
        "move_seconds": 20.0,
        "game_seconds": 60.0,
        "start_seconds": 20.0,
        "retries": 0,
        **limits,
    }
    return Spec(
        name="workers",
        agents=(random_agent("a"), random_agent("b"), *agents),
        tournament=TournamentSpec(max_plies=max_plies),
        limits=LimitsSpec.model_validate(limits),
    )


def attempt(*arguments: str, number: int = 0, opening: tuple[str, ...] = ()) -> Attempt:
    return Attempt.at(game(*arguments, number=number, opening=opening), 1)


def nothing() -> None:
    """What a test does at a tick that needs nothing done."""


@pytest.fixture
def supervisor() -> Iterator[Supervisor]:
    """A supervisor whose worker is ended after the test."""
    supervisor = Supervisor(stop=threading.Event())
    yield supervisor
    supervisor.kill()


def worker_of(supervisor: Supervisor) -> WorkerProcess:
    assert supervisor._worker is not None
    return supervisor._worker


def ready(supervisor: Supervisor, spec: Spec) -> WorkerProcess:
    """The supervisor's worker, up and idle, the spec taken in."""
    played = supervisor.play(attempt(), spec, on_tick=nothing)
    assert Status.PLAYED is played.status
    return worker_of(supervisor)


def still_there(*pids: int, seconds: float = SLACK) -> list[int]:
    """Those of the processes that do not end within so many seconds; a zombie has ended."""
    deadline = time.monotonic() + seconds
    while (alive := [pid for pid in pids if is_alive(pid)]) and time.monotonic() < deadline:
        threading.Event().wait(0.01)
    return alive


def is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.fixture(autouse=True)
def mark(monkeypatch: pytest.MonkeyPatch) -> str:
    """In the environment of everything that the test starts, also where process ids are others (a namespace)."""
    mark = uuid.uuid4().hex
    monkeypatch.setenv("BANZUKE_TEST", mark)
    return mark


def helpers() -> list[int]:
    """The helpers of this test's engines, as this process sees them."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get("BANZUKE_TEST") == os.environ["BANZUKE_TEST"] and "sleep" in process.cmdline()[0]:
                found.append(process.pid)
    return found


def helpers_left(seconds: float = SLACK) -> list[int]:
    """Those that do not end within so many seconds."""
    return still_there(*helpers(), seconds=seconds)


def had_helper(path: Path) -> bool:
    """Whether the engine left a helper's process id there; inside a namespace it is another than ours."""
    return path.exists() and bool(path.read_text())


def when_asked(log: Path, act: Callable[[], object]) -> Callable[[], None]:
    """A tick that acts as soon as the engine with this log was asked for a move."""
    return once(lambda: log.exists() and "\ngo " in log.read_text(), act)


def wait_until(condition: Callable[[], object]) -> None:
    """Until it holds, or the test fails."""
    deadline = time.monotonic() + EVENT_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        threading.Event().wait(0.01)


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


# --- messages


def full_record() -> GameRecord:
    outcome = Outcome.forfeit(Termination.TIME_FORFEIT, SECOND, 'late 遅い "\\\u2028\x00\x1b')
    record = void_record(attempt(opening=("7g7f",)), outcome, started_at=datetime.now(UTC), worker_pid=7)
    return replace(record, winner=FIRST, evals=(None, -30_000, 0), moves=("7g7f", "3c3d", "P*5e"), flow_run_id=None)


def question() -> Question:
    return Question(agent="a", position_id="p-1", position=START_POSITION, seconds=0.25, seed=2**63 - 1)


HOSTILE = tournament(
    UsiAgent(
        name="hostile",
        kind="usi",
        command=("x", "", "a\nb", "\u2028\u2029", "\x1b[31m", "'; rm -rf ~", "将棋", *["x" * 10_000] * 30),
        options={"a\nb": "c\nd", "Threads": 1, "big": 2**63 - 1, "float": 0.1, "bool": True, "text of a bool": "true"},
        limit=SearchLimit(base_ms=0, increment_ms=1),
        directory="/a\nb",
    )
)


@pytest.mark.parametrize(
    "order",
    [
        Prepare(spec=tournament()),
        Prepare(spec=HOSTILE),
        Play(attempt=attempt(opening=("7g7f", "3c3d"))),
        Pose(question=question()),
        Leave(),
    ],
    ids=["prepare", "hostile", "play", "pose", "leave"],
)
def test_orders_survive_the_pipe(order: Prepare | Play | Pose | Leave) -> None:
    """One line each, and the same on the other side."""
    line = ORDER.dump_json(order)

    assert b"\n" not in line
    assert order == ORDER.validate_json(line)


@pytest.mark.parametrize(
    "report",
    [
        Ready(pid=1),
        Played(record=full_record()),
        Posed(answer=Answer(position_id="p", status="ok", move="7g7f", legal=True, time_ms=3)),
        Posed(
            answer=Answer(
                position_id="p", status="error", move=None, legal=False, time_ms=0, detail="a\nb\0", opened=False
            )
        ),
    ],
    ids=["ready", "played", "posed", "failed"],
)
def test_reports_survive_the_pipe(report: Ready | Played | Posed) -> None:
    """One line each, and the same on the other side, types and times included."""
    line = REPORT.dump_json(report)

    copy = REPORT.validate_json(line)

    assert b"\n" not in line
    assert report == copy
    if isinstance(report, Played) and isinstance(copy, Played):
        assert report.record.started_at.utcoffset() == copy.record.started_at.utcoffset()
        assert type(report.record.evals) is type(copy.record.evals)


@pytest.mark.parametrize(
    "line", [b"", b"{}", b"null", b'{"kind":"ready"}', b'{"kind":"quit"}', b"\xff", b"[" * 100_000]
)
def test_what_is_no_report_is_refused(line: bytes) -> None:
    """Nothing is guessed."""
    with pytest.raises(ValueError, match=r"."):
        REPORT.validate_json(line)


def test_a_hostile_spec_harms_no_worker(supervisor: Supervisor) -> None:
    """Its agents fail by name; those beside them play on the same worker."""
    lost = supervisor.play(attempt("a", "hostile"), HOSTILE, on_tick=nothing)
    played = supervisor.play(attempt(), HOSTILE, on_tick=nothing)

    assert (Termination.AGENT_START, SECOND) == (lost.termination, lost.fault)
    assert Status.PLAYED is played.status
    assert lost.worker_pid == played.worker_pid


# --- the deadline board


@pytest.fixture
def board() -> Iterator[DeadlineBoard]:
    """An empty board."""
    board = DeadlineBoard.create()
    yield board
    board.close()


def test_a_board_says_what_was_posted_last(board: DeadlineBoard) -> None:
    """From another mapping of the same memory, as in the worker."""
    empty = board.read()
    worker = DeadlineBoard(os.dup(board.fd))
    worker.post(Phase.OPENING, 1.5, SECOND)
    opening = board.read()
    worker.post(Phase.THINKING, 2.5, FIRST)
    thinking = board.read()
    worker.post(Phase.IDLE, float("inf"))
    idle = board.read()
    worker.close()

    assert Notice(number=0, deadline=0.0, phase=Phase.IDLE, side=None) == empty
    assert Notice(number=1, deadline=1.5, phase=Phase.OPENING, side=SECOND) == opening
    assert Notice(number=2, deadline=2.5, phase=Phase.THINKING, side=FIRST) == thinking
    assert Notice(number=3, deadline=float("inf"), phase=Phase.IDLE, side=None) == idle


def test_a_board_is_inherited_by_workers_only(board: DeadlineBoard) -> None:
    """Whatever else this process starts does not get the memory."""
    assert not os.get_inheritable(board.fd)


WRITER = """
import sys
from banzuke.workers.deadline_board import DeadlineBoard, Phase
board = DeadlineBoard(int(sys.argv[1]))
number = 0
while True:
    number += 1
    board.post(Phase.THINKING, float(number))
"""


def test_no_reading_mixes_two_notices(board: DeadlineBoard) -> None:
    """Deadlines of one notice and number of another: never, however fast they are posted."""
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(board.fd)], pass_fds=[board.fd])
    try:
        wait_until(lambda: board.read().number > 0)
        until = time.monotonic() + EVENT_SECONDS
        mixed, readings, numbers = 0, 0, [board.read().number]
        while readings < 100_000 and time.monotonic() < until:
            notice = board.read()
            readings += 1
            mixed += notice.deadline != notice.number or notice.number < numbers[-1]
            numbers[-1] = notice.number
    finally:
        writer.kill()
        writer.wait()

    assert readings == 100_000
    assert 0 == mixed


@pytest.mark.parametrize("fields_written", [1, 2, 3, 4])
def test_a_worker_that_stops_within_a_notice_stops_nobody(board: DeadlineBoard, fields_written: int) -> None:
    """The notice before is the latest one, and reading it does not wait."""
    board.post(Phase.THINKING, 5.0, FIRST)
    before = board.read()
    whole = bytearray(board._bytes[:])
    board.post(Phase.THINKING, 9.0, SECOND)
    half = [0, 8, 16, 20, 24][fields_written]
    torn = board._bytes[:half] + bytes(whole[half:])
    board._bytes[:] = torn
    answers: queue.SimpleQueue[Notice] = queue.SimpleQueue()
    threading.Thread(target=lambda: answers.put(board.read()), daemon=True).start()

    assert before == answers.get(timeout=SLACK)


# --- one worker


def test_a_worker_plays_games_and_stays(supervisor: Supervisor) -> None:
    """The same process plays all of them; each row says who it was."""
    spec = tournament()

    records = [supervisor.play(attempt(number=number), spec, on_tick=nothing) for number in range(3)]

    assert [Status.PLAYED] * 3 == [record.status for record in records]
    assert [6] * 3 == [record.plies for record in records]
    assert {worker_of(supervisor).pid} == {record.worker_pid for record in records}
    assert 3 == len({record.moves for record in records})


def test_a_worker_forgets_the_agents_of_another_spec(supervisor: Supervisor) -> None:
    """One name in two specs is two agents."""
    spec = tournament(scripted("--answer", "resign"))
    other = tournament(scripted("--answer", "7g7e"))

    resigned = supervisor.play(attempt("scripted", "b"), spec, on_tick=nothing)
    illegal = supervisor.play(attempt("scripted", "b"), other, on_tick=nothing)
    resigned_again = supervisor.play(attempt("scripted", "b"), spec, on_tick=nothing)

    terminations = [record.termination for record in (resigned, illegal, resigned_again)]
    assert [Termination.RESIGNATION, Termination.ILLEGAL_MOVE, Termination.RESIGNATION] == terminations
    assert 1 == len({resigned.worker_pid, illegal.worker_pid, resigned_again.worker_pid})


def test_a_worker_without_networks_imports_none_of_the_large_ones(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No Prefect, no Parquet and no torch in the process that has just played, engine games included."""
    monkeypatch.setenv("PYTHONPROFILEIMPORTTIME", "1")  # Python names every import on stderr
    spec = tournament(scripted("--answer", "resign"))

    played = supervisor.play(attempt("scripted", "b"), spec, on_tick=nothing)

    words = worker_of(supervisor)._words
    words.seek(0)
    imported = {line.rpartition(b"|")[2].strip().split(b".")[0].decode() for line in words.read().splitlines()}
    assert Status.PLAYED is played.status
    assert {"cshogi", "pydantic", "banzuke"} <= imported
    assert set() == imported & {"prefect", "pyarrow", "pandas", "torch", "duckdb", "scipy", "storage", "tasks", "flows"}


def test_files_in_the_present_folder_are_not_imported(
    supervisor: Supervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user may have a ``queue.py`` or a ``random.py`` of its own where it calls us."""
    for name in ("queue", "random", "cshogi", "pydantic"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('this is the wrong module')\n")
    monkeypatch.chdir(tmp_path)

    assert Status.PLAYED is supervisor.play(attempt(), tournament(), on_tick=nothing).status


INTERRUPTED = """
import os, signal, threading
from banzuke.workers.process import WorkerProcess

class Ended(SystemExit):
    pass

def end(number, frame):
    raise Ended(128 + number)

class Interrupted(threading.Thread):
    def start(self):
        super().start()
        os.kill(os.getpid(), signal.SIGTERM)

signal.signal(signal.SIGTERM, end)
threading.Thread = Interrupted
WorkerProcess()
"""


def test_a_signal_while_the_first_worker_is_started_ends_the_process(environment: Mapping[str, str]) -> None:
    """The thread that starts workers is up by then, and nobody has heard of it: it keeps nobody from ending."""
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED], env=environment, capture_output=True, timeout=30, check=False
    )

    assert (143, b"") == (done.returncode, done.stderr)


def test_ctrl_c_is_not_for_workers(supervisor: Supervisor) -> None:
    """The terminal may signal everybody; who ends a worker is its parent."""
    worker = ready(supervisor, tournament())
    os.kill(worker.pid, signal.SIGINT)

    record = supervisor.play(attempt(), tournament(), on_tick=nothing)

    assert (Status.PLAYED, worker.pid) == (record.status, record.worker_pid)


def test_listening_has_a_deadline(supervisor: Supervisor) -> None:
    """A worker that has nothing to say does not keep who listens."""
    worker = ready(supervisor, tournament())
    started = time.monotonic()

    assert worker.receive(0.2) is None
    assert 0.2 <= time.monotonic() - started < 0.2 + SLACK


# --- agents at fault


@pytest.mark.parametrize(
    ("switches", "limits", "termination"),
    [
        (("--hang-at", "usi"), {"start_seconds": 0.7}, Termination.AGENT_START),
        (("--hang-at", "isready"), {"start_seconds": 0.7}, Termination.AGENT_START),
        (("--crash-at", "isready"), {}, Termination.AGENT_START),
        (("--hang-at", "go"), {"move_seconds": 0.5}, Termination.AGENT_STALL),
        (("--chatter",), {"move_seconds": 0.5}, Termination.AGENT_STALL),
        (("--hang-at", "go", "--helper", "--ignore-sigterm", "--ignore-quit"), {"move_seconds": 0.5},
         Termination.AGENT_STALL),
        (("--crash-at", "go"), {}, Termination.AGENT_CRASH),
        (("--orphan-at", "go"), {}, Termination.AGENT_CRASH),
        (("--flood", "stdout-without-newline"), {"move_seconds": 20.0}, Termination.AGENT_CRASH),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)  # fmt: skip
def test_an_agent_at_fault_voids_its_game_and_costs_no_worker(
    supervisor: Supervisor,
    tmp_path: Path,
    switches: tuple[str, ...],
    limits: dict[str, float],
    termination: Termination,
) -> None:
    """The row names the cause and the side, in time; the same worker plays on, and no process is left."""
    spec = tournament(scripted(*switches, "--pid-file", tmp_path / "pid"), **limits)
    started = time.monotonic()

    lost = supervisor.play(attempt("scripted", "b"), spec, on_tick=nothing)

    seconds = time.monotonic() - started
    assert (Status.VOID, termination) == (lost.status, lost.termination)
    assert (None, FIRST) == (lost.winner, lost.fault)
    assert lost.detail
    assert 1 == len(lost.detail.splitlines())
    assert seconds < max(limits.values(), default=0.0) + SLACK
    played = supervisor.play(attempt(), spec, on_tick=nothing)
    assert (Status.PLAYED, lost.worker_pid) == (played.status, played.worker_pid)
    assert ("--helper" in switches or "--orphan-at" in switches) == had_helper(tmp_path / "pid")
    assert [] == helpers_left()


def test_what_engines_leave_behind_is_reaped(supervisor: Supervisor, tmp_path: Path) -> None:
    """A worker that lives for a night does not fill the process table with the dead helpers of engines."""
    spec = tournament(scripted("--hang-at", "go", "--helper", "--pid-file", tmp_path / "pid"), move_seconds=0.1)
    for number in range(2):
        supervisor.play(attempt("scripted", "b", number=number), spec, on_tick=nothing)
    assert had_helper(tmp_path / "pid")
    assert [] == helpers_left()

    worker = ready(supervisor, spec)

    left = [child.status() for child in psutil.Process(worker.pid).children()]
    assert [] == left


def test_an_illegal_move_is_a_forfeit(supervisor: Supervisor) -> None:
    """A result, and the engine plays on."""
    spec = tournament(scripted("--answer", "7g7e"))

    lost = supervisor.play(attempt("scripted", "b"), spec, on_tick=nothing)

    assert (Status.FORFEIT, Termination.ILLEGAL_MOVE) == (lost.status, lost.termination)
    assert (SECOND, FIRST) == (lost.winner, lost.fault)


def test_a_crash_after_the_last_move_leaves_the_game_played(supervisor: Supervisor) -> None:
    """What was over was over; the engine is started again for the next game."""
    spec = tournament(scripted("--answer", "resign", "--crash-at", "after-bestmove"))

    records = [supervisor.play(attempt("scripted", "b", number=number), spec, on_tick=nothing) for number in range(2)]

    assert [Termination.RESIGNATION] * 2 == [record.termination for record in records]


@pytest.mark.parametrize("name", ["bites", "bites.nameless"])
def test_a_tree_beyond_the_memory_limit_is_killed(supervisor: Supervisor, tmp_path: Path, name: str) -> None:
    """The worker is killed with all its descendants, about as soon as they use too much; the next game plays.

    The engine is to blame whose child it was, also where that has thrown its environment away.
    """
    log = tmp_path / name
    spec = tournament(usi_agent("eater", ENGINES / "memory_eater.py", log), worker_memory_mb=256)

    lost = supervisor.play(attempt("a", "eater"), spec, on_tick=nothing)

    assert (Status.VOID, Termination.MEMORY_LIMIT, None) == (lost.status, lost.termination, lost.winner)
    assert SECOND is lost.fault
    assert lost.detail is not None
    assert re.search(r"used \d+ MiB, more than worker_memory_mb = 256; eater \d+ MiB of it$", lost.detail)
    bites = [(float(line.split()[0]), int(line.split()[1])) for line in log.read_text().splitlines()]
    crossed = [at for at, mib in bites if mib > 256]
    assert bites[-1][0] - (crossed or [bites[-1][0]])[0] < 3.0
    assert [] == still_there(lost.worker_pid)
    played = supervisor.play(attempt(), spec, on_tick=nothing)
    assert Status.PLAYED is played.status
    assert lost.worker_pid != played.worker_pid


LARGE = """
import sys
ballast = b"\\1" * (64 << 20)
for line in sys.stdin:
    answer = {"usi": "usiok", "isready": "readyok", "go": "bestmove resign"}.get((line.split() or [""])[0])
    if answer:
        print(answer, flush=True)
"""


def test_a_worker_that_grows_in_short_games_is_replaced_between_them(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Games that end before anybody looks at the memory do not hide it; what was played counts."""
    monkeypatch.setattr(supervisors, "TICK_SECONDS", EVENT_SECONDS)  # nobody looks while a game goes on
    (tmp_path / "large.py").write_text(LARGE)
    spec = tournament(usi_agent("large", tmp_path / "large.py"), worker_memory_mb=64)

    records = [supervisor.play(attempt("large", "b", number=number), spec, on_tick=nothing) for number in range(2)]

    assert [Termination.RESIGNATION] * 2 == [record.termination for record in records]
    assert records[0].worker_pid != records[1].worker_pid
    assert [] == still_there(records[0].worker_pid)


BALLAST = """
import sys, time
eaten = b"\\1" * (int(sys.argv[2]) << 20) if sys.argv[1] == "start" else b""
for line in sys.stdin:
    command = (line.split() or [""])[0]
    answer = {"usi": "usiok", "isready": "readyok", "go": "bestmove resign"}.get(command)
    if command == sys.argv[1]:
        eaten = b"\\1" * (int(sys.argv[2]) << 20)
    if command == "go" and sys.argv[1] == "start":
        time.sleep(60)
    if answer:
        print(answer, flush=True)
"""


@pytest.fixture
def ballast(tmp_path: Path) -> Callable[..., UsiAgent]:
    """Makes an engine that takes so many MiB at a moment (a command, or its start)."""
    (tmp_path / "ballast.py").write_text(BALLAST)
    return lambda name, moment, mib: usi_agent(name, tmp_path / "ballast.py", moment, str(mib))


def test_where_nobody_holds_more_than_half_nobody_is_blamed(
    supervisor: Supervisor, ballast: Callable[..., UsiAgent]
) -> None:
    """Two engines that fit into the limit one by one, and not together."""
    spec = tournament(ballast("one", "start", 100), ballast("two", "start", 100), worker_memory_mb=220)

    lost = supervisor.play(attempt("one", "two"), spec, on_tick=nothing)

    assert (Termination.MEMORY_LIMIT, None) == (lost.termination, lost.fault)
    assert lost.detail is not None
    assert lost.detail.endswith("worker_memory_mb = 220")


def test_memory_that_an_idle_agent_takes_costs_no_game(
    supervisor: Supervisor, ballast: Callable[..., UsiAgent]
) -> None:
    """It grows when its own game is over: who plays then is not blamed, and plays again on a fresh worker."""
    growing = ballast("growing", "gameover", 400)
    spec = tournament(growing, scripted("--think", "0.4"), worker_memory_mb=300, retries=1)
    games = [game("growing", "b", number=0), game("scripted", "b", number=1)]

    records = played(games, spec, supervisor)

    terminations = [record.termination for record in records]
    assert [Termination.RESIGNATION, Termination.MEMORY_LIMIT, Termination.MAX_PLIES] == terminations
    assert [None] * 3 == [record.fault for record in records]
    assert records[1].detail is not None
    assert re.search(r"; growing \d+ MiB of it, an agent of other games$", records[1].detail)
    assert records[1].worker_pid != records[2].worker_pid


IN_PROCESS = """
import ctypes, os, sys, time
from banzuke.players import scripted

def choose(self, board, *, clock, opponent_clock, deadline):
    {act}

scripted.MaterialPlayer.choose = choose
"""


@pytest.fixture
def broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], MaterialAgent]:
    """Makes an agent that computes in the worker's process and does this instead of choosing a move."""

    def make(act: str) -> MaterialAgent:
        (tmp_path / "sitecustomize.py").write_text(IN_PROCESS.format(act=act))
        monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
        return material_agent("broken")

    return make


def test_an_agent_that_fills_the_workers_own_memory_is_blamed(
    supervisor: Supervisor, broken: Callable[[str], MaterialAgent]
) -> None:
    """A network has no process of its own; that it was thinking says whose memory it is."""
    spec = tournament(broken("eaten = b'1' * (400 << 20); time.sleep(60)"), worker_memory_mb=300)

    lost = supervisor.play(attempt("a", "broken"), spec, on_tick=nothing)

    assert (Termination.MEMORY_LIMIT, SECOND) == (lost.termination, lost.fault)
    assert lost.detail is not None
    assert re.search(r"; the worker itself \d+ MiB of it, broken in it$", lost.detail)


@pytest.mark.parametrize(
    ("act", "said"),
    [
        ("os.abort()", "SIGABRT"),
        ("ctypes.string_at(0)", "SIGSEGV"),
        ("os._exit(5)", "ended with exit code 5"),
        ("raise ValueError('so what')", "ended with exit code 1: ValueError: so what"),
    ],
)
def test_an_agent_that_ends_its_worker_is_blamed(
    supervisor: Supervisor, broken: Callable[[str], MaterialAgent], act: str, said: str
) -> None:
    """A process that crashes or leaves while an agent computes in it does so because of that agent."""
    spec = tournament(broken(act))

    lost = supervisor.play(attempt("a", "broken"), spec, on_tick=nothing)

    assert (Termination.WORKER_CRASH, SECOND) == (lost.termination, lost.fault)
    assert lost.detail is not None
    assert said in lost.detail
    assert Status.PLAYED is supervisor.play(attempt(), spec, on_tick=nothing).status


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_an_agent_whose_worker_is_ended_by_somebody_is_not_blamed(
    supervisor: Supervisor, broken: Callable[[str], MaterialAgent], number: int
) -> None:
    """The kernel when memory is short, or a person: nobody can tell why."""
    spec = tournament(broken(f"os.kill(os.getpid(), {number}); time.sleep(60)"))

    lost = supervisor.play(attempt("broken", "a"), spec, on_tick=nothing)

    assert (Termination.WORKER_CRASH, None) == (lost.termination, lost.fault)


def test_a_forward_pass_that_never_returns_is_a_stall_of_its_agent(
    supervisor: Supervisor, broken: Callable[[str], MaterialAgent]
) -> None:
    """Nothing inside the worker can stop it; the supervisor does."""
    spec = tournament(broken("time.sleep(60)"), move_seconds=0.5)
    started = time.monotonic()

    lost = supervisor.play(attempt("a", "broken"), spec, on_tick=nothing)

    assert (Termination.AGENT_STALL, SECOND) == (lost.termination, lost.fault)
    assert time.monotonic() - started < 0.5 + GRACE_SECONDS + SLACK
    assert [] == still_there(lost.worker_pid)


def test_a_game_has_a_deadline_that_no_notice_moves(
    supervisor: Supervisor, broken: Callable[[str], MaterialAgent], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often the board promises an answer soon."""
    monkeypatch.setattr(supervisors, "BEGIN_SECONDS", 0.2)
    spec = tournament(broken("time.sleep(60)"), start_seconds=0.2, game_seconds=0.6, move_seconds=0.6)
    ready(supervisor, spec)
    started = time.monotonic()

    def promise() -> None:
        board = worker_of(supervisor).board
        board._number = board.read().number
        if board.read().phase is Phase.THINKING:
            board.post(Phase.THINKING, time.monotonic() + 5.0, SECOND)

    supervisor_stop = threading.Timer(15.0, supervisor.stop.set)
    supervisor_stop.start()
    lost = supervisor.play(attempt("a", "broken"), spec, on_tick=promise)
    supervisor_stop.cancel()

    assert (Termination.GAME_TIMEOUT, None) == (lost.termination, lost.fault)
    assert play_seconds(spec.limits) == pytest.approx(0.2 + 0.4 + 0.6 + GRACE_SECONDS)
    assert time.monotonic() - started < play_seconds(spec.limits) + SLACK
    assert [] == still_there(lost.worker_pid)


def test_a_game_beyond_its_time_is_nobodys_fault_and_costs_no_worker(supervisor: Supervisor, tmp_path: Path) -> None:
    """The engine that was thinking then plays again, started anew."""
    (tmp_path / "moody.py").write_text(MOODY.replace("sys.exit(3)", "time.sleep(60)").replace("sys\n", "sys, time\n"))
    spec = tournament(usi_agent("moody", tmp_path / "moody.py", tmp_path / "runs"), game_seconds=0.8)

    records = [supervisor.play(attempt("moody", "b", number=number), spec, on_tick=nothing) for number in range(3)]

    assert [Termination.GAME_TIMEOUT] * 2 + [Termination.RESIGNATION] == [record.termination for record in records]
    assert [None] * 3 == [record.fault for record in records]
    assert 1 == len({record.worker_pid for record in records})
    assert records[0].detail is not None
    assert re.match(r"the game passed game_seconds: first used 0\.[789] s, second 0\.0 s; ", records[0].detail)


# --- workers that die or freeze


@pytest.mark.parametrize(
    ("number", "named"),
    [(signal.SIGKILL, "SIGKILL"), (signal.SIGSEGV, "SIGSEGV"), (signal.SIGTERM, "SIGTERM"), (40, "signal 40")],
)
def test_a_worker_killed_in_a_game_voids_it_and_is_replaced(
    supervisor: Supervisor, tmp_path: Path, number: int, named: str
) -> None:
    """By the kernel, by a person, by a fault of ours: the row says how, its engine goes too, the next game plays."""
    log = tmp_path / "log"
    spec = tournament(scripted("--log", log, "--hang-at", "go", "--helper", "--pid-file", tmp_path / "pid"))
    strike = when_asked(log, lambda: os.kill(worker_of(supervisor).pid, number))

    lost = supervisor.play(attempt("a", "scripted", opening=("7g7f",)), spec, on_tick=strike)

    assert (Status.VOID, Termination.WORKER_CRASH) == (lost.status, lost.termination)
    assert (None, None, ("7g7f",)) == (lost.winner, lost.fault, lost.moves)
    assert lost.detail is not None
    assert named in lost.detail
    assert had_helper(tmp_path / "pid")
    assert [] == [*still_there(lost.worker_pid), *helpers_left()]
    played = supervisor.play(attempt(), spec, on_tick=nothing)
    assert Status.PLAYED is played.status
    assert lost.worker_pid != played.worker_pid


def test_a_fault_of_ours_in_a_worker_is_told_with_its_last_words(supervisor: Supervisor) -> None:
    """An exception that no agent caused ends the worker; its last line is in the row."""
    lost = supervisor.play(attempt(opening=("5e5d",)), tournament(), on_tick=nothing)

    assert Termination.WORKER_CRASH is lost.termination
    assert lost.detail is not None
    assert "ended with exit code 1" in lost.detail
    assert "'5e5d' is not a legal move" in lost.detail
    assert lost.fault is None


def test_an_order_that_makes_no_sense_ends_the_worker(supervisor: Supervisor) -> None:
    """It does not go on as if nothing had been said, and nobody waits for it."""
    spec = tournament()
    worse = spec.model_copy(update={"limits": spec.limits.model_copy(update={"retries": -1})})
    started = time.monotonic()

    lost = supervisor.play(attempt(), worse, on_tick=nothing)

    assert time.monotonic() - started < SLACK
    assert Termination.WORKER_CRASH is lost.termination
    assert lost.detail is not None
    assert "an order makes no sense" in lost.detail


@pytest.mark.parametrize("same_spec", [True, False])
def test_a_worker_that_died_between_games_costs_none(supervisor: Supervisor, same_spec: bool) -> None:
    """It is noticed before the next game begins, whatever that game needs of it."""
    spec = tournament()
    worker = ready(supervisor, spec)
    os.kill(worker.pid, signal.SIGKILL)
    # A process of several threads is a zombie before the last of them has gone, and can be waited for only then.
    until = time.monotonic() + EVENT_SECONDS
    while worker.is_running() and time.monotonic() < until:
        threading.Event().wait(0.005)
    next_spec = spec if same_spec else tournament(max_plies=4)

    played = supervisor.play(attempt(), next_spec, on_tick=nothing)

    assert Status.PLAYED is played.status
    assert worker.pid != played.worker_pid


ESCAPING = """
import subprocess, sys
from pathlib import Path
helper = subprocess.Popen(["sleep", "60"], start_new_session=True, stdin=subprocess.DEVNULL,
                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
Path(sys.argv[1]).write_text(str(helper.pid))
for line in sys.stdin:
    with Path(sys.argv[2]).open("a") as log:
        log.write(line)
    answer = {"usi": "usiok", "isready": "readyok"}.get(line.strip())
    if answer:
        print(answer, flush=True)
"""


@pytest.mark.parametrize("how", ["killed", "stopped", "stalled"])
def test_what_left_the_workers_group_goes_with_it(supervisor: Supervisor, tmp_path: Path, how: str) -> None:
    """An engine's helper in a session of its own ends with the worker, even if that was killed by somebody else."""
    (tmp_path / "escaping.py").write_text(ESCAPING)
    agent = usi_agent("escaping", tmp_path / "escaping.py", tmp_path / "pid", tmp_path / "log")
    spec = tournament(agent, move_seconds=1.0)
    acts = {
        "killed": lambda: os.kill(worker_of(supervisor).pid, signal.SIGKILL),
        "stopped": supervisor.stop.set,
        "stalled": lambda: os.kill(worker_of(supervisor).pid, signal.SIGSTOP),
    }
    seen: list[float] = []

    def tick() -> None:
        log = tmp_path / "log"
        if log.exists() and "\ngo" in log.read_text() and len(seen) < 6:
            seen.append(time.monotonic())
            if len(seen) == 6:  # the supervisor has looked at the tree in the meantime
                acts[how]()

    lost = supervisor.play(attempt("a", "escaping"), spec, on_tick=tick)

    assert Status.VOID is lost.status
    assert had_helper(tmp_path / "pid")
    assert [] == [*still_there(lost.worker_pid), *helpers_left()]


def test_a_worker_frozen_in_a_game_is_killed_at_the_deadline(supervisor: Supervisor, tmp_path: Path) -> None:
    """The deadline holds without the worker's help; that the worker did not keep it is not the engine's fault."""
    log = tmp_path / "log"
    spec = tournament(scripted("--log", log, "--hang-at", "go"), move_seconds=0.6)
    frozen: list[float] = []

    def freeze() -> None:
        frozen.append(time.monotonic())
        os.kill(worker_of(supervisor).pid, signal.SIGSTOP)

    lost = supervisor.play(attempt("scripted", "b"), spec, on_tick=when_asked(log, freeze))

    ended = time.monotonic()
    assert (Status.VOID, Termination.WORKER_CRASH, None) == (lost.status, lost.termination, lost.fault)
    assert ended - frozen[0] < 0.6 + GRACE_SECONDS + SLACK
    assert lost.detail is not None
    assert "the worker did not notice scripted's deadline" in lost.detail
    assert [] == still_there(lost.worker_pid)
    assert Status.PLAYED is supervisor.play(attempt(), spec, on_tick=nothing).status


@pytest.mark.parametrize("notice", [None, Phase.IDLE])
def test_a_worker_frozen_before_a_game_is_killed_too(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch, notice: Phase | None
) -> None:
    """An order has a deadline before its first notice; that the order before is done says nothing about this one."""
    monkeypatch.setattr(supervisors, "BEGIN_SECONDS", 0.3)
    spec = tournament(start_seconds=0.3)
    worker = ready(supervisor, spec)
    wait_until(lambda: worker.board.read().phase is Phase.IDLE)
    os.kill(worker.pid, signal.SIGSTOP)
    number = worker.board.read().number

    def tick() -> None:
        if notice is not None:
            worker.board._number = number
            worker.board.post(notice, float("inf"))

    started = time.monotonic()
    supervisor_stop = threading.Timer(10.0, supervisor.stop.set)
    supervisor_stop.start()
    lost = supervisor.play(attempt(), spec, on_tick=once(lambda: True, tick))
    supervisor_stop.cancel()

    assert (Termination.WORKER_CRASH, None) == (lost.termination, lost.fault)
    assert time.monotonic() - started < 0.3 + GRACE_SECONDS + SLACK


def test_a_frozen_worker_can_be_closed(supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever does not leave when asked is made to."""
    monkeypatch.setattr(processes, "LEAVE_SECONDS", 0.5)
    worker = ready(supervisor, tournament())
    os.kill(worker.pid, signal.SIGSTOP)
    started = time.monotonic()

    supervisor.close()

    assert time.monotonic() - started < 0.5 + SLACK
    assert [] == still_there(worker.pid)


def test_an_order_that_nobody_reads_can_be_stopped(supervisor: Supervisor) -> None:
    """An order may be larger than the pipe; handing it over is waiting like any other."""
    worker = ready(supervisor, tournament())
    os.kill(worker.pid, signal.SIGSTOP)
    started = time.monotonic()
    ticks: list[float] = []

    def tick() -> None:
        ticks.append(time.monotonic())
        if ticks[-1] - started > 0.5:
            supervisor.stop.set()

    rescue = threading.Timer(8.0, worker.kill)
    rescue.start()
    lost = supervisor.play(attempt(), HOSTILE, on_tick=tick)
    rescue.cancel()

    assert Termination.CANCELLED is lost.termination
    assert time.monotonic() - started < 0.5 + SLACK
    assert len(ticks) >= 2


def test_a_tick_that_fails_is_passed_on_and_the_worker_goes(supervisor: Supervisor, tmp_path: Path) -> None:
    """A full disk in the middle of a game is no void game; the next one has a worker of its own."""
    log = tmp_path / "log"
    spec = tournament(scripted("--log", log, "--hang-at", "go"))
    pids: list[int] = []

    def fail() -> None:
        pids.append(worker_of(supervisor).pid)
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space left"):
        supervisor.play(attempt("scripted", "b"), spec, on_tick=when_asked(log, fail))

    assert [] == still_there(*pids)
    assert Status.PLAYED is supervisor.play(attempt(), spec, on_tick=nothing).status


# --- workers that are none


def impostor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """From now on the program started as a worker is this shell script."""
    program = tmp_path / "impostor"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo 'no such module' >&2; exit 4", "ended with exit code 4: no such module"),
        ("echo nonsense; exec sleep 60", "no report"),
        ("exec 1>&-; exec sleep 60", "closed its pipe"),
    ],
)
def test_a_worker_that_cannot_start_is_an_error_of_the_machinery(
    supervisor: Supervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, said: str
) -> None:
    """The game is not void, it was never begun; once workers start again, it is played."""
    with monkeypatch.context() as patch:
        impostor(tmp_path, patch, script)
        with pytest.raises(WorkerDiedError, match=said):
            supervisor.play(attempt(), tournament(), on_tick=nothing)

    assert Status.PLAYED is supervisor.play(attempt(), tournament(), on_tick=nothing).status


def test_a_worker_that_talks_nonsense_voids_its_game(
    supervisor: Supervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Something printed into our pipe: nobody knows what became of the game."""
    script = """echo '{"kind":"ready","pid":1}'; read prepare; read play; echo nonsense; exec sleep 60"""
    with monkeypatch.context() as patch:
        impostor(tmp_path, patch, script)
        lost = supervisor.play(attempt(), tournament(), on_tick=nothing)

    assert Termination.WORKER_CRASH is lost.termination
    assert lost.detail is not None
    assert "no report" in lost.detail
    assert [] == still_there(lost.worker_pid)


@linux_only
def test_a_worker_that_cannot_be_started_leaves_nothing_open(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error is one of workers, and files are closed."""
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    before = open_files()

    for _ in range(5):
        with pytest.raises(WorkerError):
            supervisor.play(attempt(), tournament(), on_tick=nothing)

    assert before == open_files()


# --- stopping


@pytest.mark.parametrize("moment", ["opening", "thinking", "starting"])
def test_a_stopped_run_cancels_the_game_at_once(supervisor: Supervisor, tmp_path: Path, moment: str) -> None:
    """Within seconds there is a record, which blames nobody, and no process."""
    log = tmp_path / "log"
    hang = "usi" if moment == "opening" else "go"
    spec = tournament(scripted("--log", log, "--hang-at", hang, "--helper", "--pid-file", tmp_path / "pid"))
    word = {"opening": "usi", "thinking": "\ngo ", "starting": ""}[moment]
    stopped: list[float] = []

    def stop() -> None:
        stopped.append(time.monotonic())
        supervisor.stop.set()

    condition = (lambda: True) if moment == "starting" else (lambda: log.exists() and word in log.read_text())
    lost = supervisor.play(attempt("a", "scripted", opening=("7g7f",)), spec, on_tick=once(condition, stop))

    assert time.monotonic() - stopped[0] < SLACK
    assert (Status.VOID, Termination.CANCELLED) == (lost.status, lost.termination)
    assert (None, None) == (lost.winner, lost.fault)
    assert (moment != "starting") == had_helper(tmp_path / "pid")
    assert [] == helpers_left()
    assert supervisor._worker is None


# --- questions


def ask(
    supervisor: Supervisor, spec: Spec, agent: str, *, seconds: float = 10.0, position: str = START_POSITION
) -> Answer:
    asked = Question(agent=agent, position_id="p", position=position, seconds=seconds, seed=1)
    return supervisor.pose(asked, spec, on_tick=nothing)


def test_a_question_is_answered(supervisor: Supervisor) -> None:
    """A legal move is said to be legal, another is not, and an opened agent says who it is."""
    spec = tournament(scripted(), scripted("--answer", "7g7e", name="illegal"))

    opened = ask(supervisor, spec, "scripted", position="")
    legal, illegal, random = (ask(supervisor, spec, agent) for agent in ("scripted", "illegal", "a"))

    assert ("ok", True, "Scripted by Nobody") == (opened.status, opened.opened, opened.description)
    assert ("ok", "7g7f", True) == (legal.status, legal.move, legal.legal)
    assert ("ok", "7g7e", False) == (illegal.status, illegal.move, illegal.legal)
    assert ("ok", True) == (random.status, random.legal)


@pytest.mark.parametrize(
    ("switches", "limits", "status", "opened"),
    [
        (("--hang-at", "go"), {}, "timeout", True),
        (("--crash-at", "go"), {}, "error", True),
        (("--crash-at", "usi"), {}, "error", False),
        (("--hang-at", "isready"), {"start_seconds": 0.5}, "error", False),
    ],
)
def test_an_agent_that_fails_a_question_is_found_out(
    supervisor: Supervisor, switches: tuple[str, ...], limits: dict[str, float], status: str, opened: bool
) -> None:
    """There is an answer in time, and the next question finds a worker."""
    spec = tournament(scripted(*switches), **limits)

    answer = ask(supervisor, spec, "scripted", seconds=0.5)

    assert (status, opened, None) == (answer.status, answer.opened, answer.move)
    assert answer.detail
    assert "ok" == ask(supervisor, spec, "a").status


def test_a_worker_frozen_at_a_question_is_a_timeout(supervisor: Supervisor) -> None:
    """The supervisor answers for it."""
    spec = tournament(scripted("--hang-at", "go"))
    asked = Question(agent="scripted", position_id="p", position=START_POSITION, seconds=0.5, seed=1)
    freeze = once(
        lambda: supervisor._worker is not None and supervisor._worker.board.read().phase is Phase.THINKING,
        lambda: os.kill(worker_of(supervisor).pid, signal.SIGSTOP),
    )

    answer = supervisor.pose(asked, spec, on_tick=freeze)

    assert ("timeout", True) == (answer.status, answer.opened)
    assert answer.detail is not None
    assert "killed" in answer.detail


def test_a_question_of_a_stopped_run_has_no_answer(supervisor: Supervisor) -> None:
    """Nobody wants to know any more."""
    supervisor.stop.set()

    with pytest.raises(Stopped):
        ask(supervisor, tournament(), "a")


# --- batches


def played(
    games: list[PlannedGame],
    spec: Spec,
    supervisor: Supervisor,
    *,
    before: dict[str, int] | None = None,
    on_tick: Callable[[], None] = nothing,
) -> list[GameRecord]:
    return list(play_batch(games, spec, supervisor, attempts_before=before or {}, on_tick=on_tick))


def test_a_batch_plays_every_game_once(supervisor: Supervisor) -> None:
    """In the order given, first attempts all."""
    records = played([game(number=number) for number in range(4)], tournament(retries=2), supervisor)

    assert [(f"r--g{number}", 1) for number in range(4)] == [(record.game_id, record.attempt) for record in records]
    assert {Status.PLAYED} == {record.status for record in records}


def test_a_void_game_is_tried_again_after_the_others(supervisor: Supervisor) -> None:
    """1 + retries attempts, numbered on from those before, each with an id of its own."""
    spec = tournament(scripted("--crash-at", "go"), retries=2)
    games = [game("scripted", "b", number=0), game(number=1)]

    records = played(games, spec, supervisor, before={"r--g0": 4, "r--g1": 0})

    assert [("r--g0", 5), ("r--g1", 1), ("r--g0", 6), ("r--g0", 7)] == [
        (record.game_id, record.attempt) for record in records
    ]
    assert {Termination.AGENT_CRASH, Termination.MAX_PLIES} == {record.termination for record in records}
    assert 4 == len({record.attempt_id for record in records})


MOODY = """
import sys
from pathlib import Path
runs = Path(sys.argv[1])
runs.write_text(runs.read_text() + "x" if runs.exists() else "x")
for line in sys.stdin:
    if line.startswith("go"):
        sys.exit(3) if len(runs.read_text()) < 3 else print("bestmove resign", flush=True)
    answer = {"usi": "usiok", "isready": "readyok"}.get(line.strip())
    if answer:
        print(answer, flush=True)
"""


def test_a_game_that_goes_well_at_last_is_not_played_again(supervisor: Supervisor, tmp_path: Path) -> None:
    """Same game, same seed, one counting result."""
    (tmp_path / "moody.py").write_text(MOODY)
    spec = tournament(usi_agent("moody", tmp_path / "moody.py", tmp_path / "runs"), retries=5)

    records = played([game("moody", "b")], spec, supervisor)

    terminations = [record.termination for record in records]
    assert [Termination.AGENT_CRASH, Termination.AGENT_CRASH, Termination.RESIGNATION] == terminations
    assert [1, 2, 3] == [record.attempt for record in records]
    assert 1 == len({(record.game_id, record.seed, record.first_agent) for record in records})


def test_a_forfeit_is_a_result(supervisor: Supervisor) -> None:
    """It is not tried again."""
    spec = tournament(scripted("--answer", "7g7e"), retries=3)

    records = played([game("scripted", "b")], spec, supervisor)

    assert [Termination.ILLEGAL_MOVE] == [record.termination for record in records]


def test_a_stopped_batch_ends_with_the_game_it_interrupted(supervisor: Supervisor, tmp_path: Path) -> None:
    """The cancelled game is not tried again, and no other is begun."""
    log = tmp_path / "log"
    spec = tournament(scripted("--log", log, "--hang-at", "go"), retries=3)
    games = [game(number=0), game("scripted", "b", number=1), game(number=2)]

    records = played(games, spec, supervisor, on_tick=when_asked(log, supervisor.stop.set))

    assert [Termination.MAX_PLIES, Termination.CANCELLED] == [record.termination for record in records]
    assert [] == played(games, spec, supervisor)


def test_a_batch_ends_at_its_deadline(supervisor: Supervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The game it interrupts is void and nobody's fault; no other is handed out, and no attempt is left open."""
    monkeypatch.setattr(batches, "batch_seconds", lambda _games, _limits: 1.5)
    spec = tournament(scripted("--hang-at", "go", "--helper", "--pid-file", tmp_path / "pid"), retries=3)
    started = time.monotonic()

    records = played([game(number=0), game("scripted", "b", number=1), game(number=2)], spec, supervisor)

    assert time.monotonic() - started < 1.5 + SLACK
    assert [Termination.MAX_PLIES, Termination.BATCH_TIMEOUT] == [record.termination for record in records]
    assert (Status.VOID, None) == (records[1].status, records[1].fault)
    assert [] == [*still_there(records[1].worker_pid), *helpers_left()]


def test_a_batch_has_time_for_every_attempt_at_its_worst() -> None:
    """Its own deadline never comes before those of its games."""
    limits = tournament(start_seconds=3.0, game_seconds=50.0, retries=2).limits

    assert 4 * 3 * (50.0 + 2 * 3.0) < batch_seconds(4, limits)
    assert 4 * 3 * play_seconds(limits) < batch_seconds(4, limits)
    assert 2 * batch_seconds(2, limits) == batch_seconds(4, limits)


def test_a_game_that_is_put_off_is_skipped(supervisor: Supervisor) -> None:
    """Without a record; whether it is, is asked before every attempt."""
    spec = tournament(scripted("--crash-at", "go"), retries=2)
    asked: list[str] = []

    def put_off(planned: PlannedGame) -> bool:
        asked.append(planned.game_id)
        return planned.game_id == "r--g1" or asked.count(planned.game_id) == 3

    games = [game("scripted", "b", number=0), game(number=1), game(number=2)]
    attempts = play_batch(games, spec, supervisor, attempts_before={}, on_tick=nothing, put_off=put_off)

    assert [("r--g0", 1), ("r--g2", 1), ("r--g0", 2)] == [(record.game_id, record.attempt) for record in attempts]
    assert ["r--g0", "r--g1", "r--g2", "r--g0", "r--g0"] == asked


# --- the pool


@contextmanager
def pool_of(size: int) -> Iterator[WorkerPool]:
    pool = WorkerPool(size, torch=False)
    try:
        yield pool
    finally:
        pool.close()


def test_a_pool_is_closed_twice_and_leaves_nothing() -> None:
    """Idempotent, with workers that have played, are starting, and were never wanted."""
    with pool_of(3) as pool:
        with pool.lease() as supervisor:
            pid = supervisor.play(attempt(), tournament(), on_tick=nothing).worker_pid
        pool._supervisors[1].start()
        other = worker_of(pool._supervisors[1]).pid

        pool.close()
        pool.close()

    assert [] == still_there(pid, other)


def test_nobody_gets_a_worker_of_a_closed_pool() -> None:
    """Whoever asks late is told so, and does not wait for ever."""
    with pool_of(1) as pool:
        pool.close()
        errors: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()

        def ask_late() -> None:
            try:
                with pool.lease():
                    errors.put(None)
            except RuntimeError as error:
                errors.put(error)

        threading.Thread(target=ask_late, daemon=True).start()

        assert isinstance(errors.get(timeout=SLACK), RuntimeError)


def test_a_supervisor_is_leased_to_one_at_a_time() -> None:
    """However many threads ask: those beyond the number of workers wait for one."""
    busy: set[int] = set()
    most: list[int] = []
    clashes: list[int] = []
    lock = threading.Lock()
    pool = WorkerPool(3, torch=False)

    def work() -> None:
        for _ in range(20):
            with pool.lease() as supervisor:
                with lock:
                    if id(supervisor) in busy:
                        clashes.append(id(supervisor))
                    busy.add(id(supervisor))
                    most.append(len(busy))
                threading.Event().wait(0.001)
                with lock:
                    busy.discard(id(supervisor))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(EVENT_SECONDS)
    pool.close()

    assert [] == clashes
    assert (160, 3) == (len(most), max(most))


def test_a_lease_ends_with_an_error_too() -> None:
    """A task that fails gives its worker back."""
    with pool_of(1) as pool:
        with pytest.raises(KeyError), pool.lease():
            raise KeyError
        with pool.lease() as supervisor:
            assert supervisor is pool._supervisors[0]


def test_the_workers_of_a_pool_play_side_by_side() -> None:
    """Each thread has a worker of its own."""
    pids: queue.SimpleQueue[int] = queue.SimpleQueue()
    together = threading.Barrier(2, timeout=EVENT_SECONDS)

    def work(pool: WorkerPool) -> None:
        with pool.lease() as supervisor:
            together.wait()
            pids.put(supervisor.play(attempt(), tournament(), on_tick=nothing).worker_pid)

    with pool_of(2) as pool:
        pool.warm_up()
        threads = [threading.Thread(target=work, args=(pool,)) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(EVENT_SECONDS)

    assert 2 == len({pids.get(timeout=1.0), pids.get(timeout=1.0)})


def test_closing_a_pool_ends_the_games_in_it(tmp_path: Path) -> None:
    """A flow that fails closes the pool while its tasks still play: their games are cancelled, not torn."""
    log = tmp_path / "log"
    spec = tournament(scripted("--log", log, "--hang-at", "go"))
    records: queue.SimpleQueue[GameRecord] = queue.SimpleQueue()
    asked = threading.Event()
    pool = WorkerPool(2, torch=False)

    def work() -> None:
        with pool.lease() as supervisor:
            records.put(supervisor.play(attempt("scripted", "b"), spec, on_tick=when_asked(log, asked.set)))

    thread = threading.Thread(target=work)
    thread.start()
    assert asked.wait(EVENT_SECONDS)
    started = time.monotonic()

    pool.close()

    assert time.monotonic() - started < SLACK
    thread.join(EVENT_SECONDS)
    lost = records.get(timeout=1.0)
    assert Termination.CANCELLED is lost.termination
    assert [] == still_there(lost.worker_pid)


def test_frozen_workers_are_ended_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    """Closing a pool takes as long as its slowest worker, not as all of them together."""
    monkeypatch.setattr(processes, "LEAVE_SECONDS", 0.8)
    with pool_of(5) as pool:
        pool.warm_up()
        pids = [supervisor._prepare(tournament(), nothing).pid for supervisor in pool._supervisors]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        started = time.monotonic()

        pool.close()

        assert time.monotonic() - started < 5.0  # one after the other they need 6.5
    assert [] == still_there(*pids)


@linux_only
def test_workers_that_come_and_go_leave_no_file_open_and_no_zombie() -> None:
    """Eight workers, replaced twenty times."""
    with pool_of(8) as pool:
        pool.warm_up()
        before, threads = open_files(), threading.active_count()
        pids = set()
        for _ in range(20):
            for supervisor in pool._supervisors:
                pids.add(worker_of(supervisor).pid)
                supervisor.kill()
            pool.warm_up()
        after = open_files()
        children = psutil.Process().children()
        zombies = [child.pid for child in children if child.pid in pids and child.status() == psutil.STATUS_ZOMBIE]

        assert (before, 160) == (after, len(pids))
        assert [] == zombies
        assert threads == threading.active_count()


@linux_only
def test_workers_start_in_a_process_with_many_open_files(supervisor: Supervisor) -> None:
    """File descriptors beyond 1024 are as good as others."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 1200:
        pytest.skip(f"no more than {hard} open files are allowed here")
    with ExitStack() as stack:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 1200), hard))
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        null = os.open(os.devnull, os.O_RDONLY)
        stack.callback(os.close, null)
        while (copy := os.dup(null)) < 1100:
            stack.callback(os.close, copy)
        stack.callback(os.close, copy)

        assert Status.PLAYED is supervisor.play(attempt(), tournament(), on_tick=nothing).status


def test_one_pool_is_open_at_a_time() -> None:
    """Whoever opens one inside another's block gets the same, and only the outer block closes it."""
    with pytest.raises(RuntimeError):
        current_pool()
    with worker_pool(tournament()) as outer:
        with worker_pool(tournament()) as inner:
            assert outer is inner is current_pool()
        with current_pool().lease() as supervisor:
            assert Status.PLAYED is supervisor.play(attempt(), tournament(), on_tick=nothing).status
    with pytest.raises(RuntimeError):
        current_pool()
    assert pools._current is None


PARENT = """
import json, sys, threading
from banzuke.specs import SPEC
from banzuke.workers.messages import ORDER
from banzuke.workers.pool import WorkerPool
spec = ORDER.validate_json(sys.stdin.readline()).spec
attempt = ORDER.validate_json(sys.stdin.readline()).attempt
pool = WorkerPool(1, torch=False)
pool.warm_up()

def tell():
    if supervisor._ready:
        print(supervisor._worker.pid, flush=True)

with pool.lease() as supervisor:
    supervisor.play(attempt, spec, on_tick=tell)
"""


@pytest.mark.parametrize("worker_is", ["listening", "frozen"])
def test_a_parent_that_is_killed_takes_everything_along(tmp_path: Path, worker_is: str) -> None:
    """No worker, no engine and no helper of an engine outlives it, though nobody could clean up."""
    log = tmp_path / "log"
    agent = scripted("--log", log, "--hang-at", "go", "--helper", "--pid-file", tmp_path / "pid")
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert parent.stdin is not None
    assert parent.stdout is not None
    for order in (Prepare(spec=tournament(agent)), Play(attempt=attempt("scripted", "b"))):
        parent.stdin.write(ORDER.dump_json(order) + b"\n")
    parent.stdin.flush()
    worker = int(parent.stdout.readline())
    wait_until(lambda: log.exists() and "\ngo " in log.read_text())
    family = [worker, *(child.pid for child in psutil.Process(worker).children(recursive=True))]
    started = set(helpers())
    if worker_is == "frozen":
        os.kill(worker, signal.SIGSTOP)

    parent.kill()
    parent.wait(EVENT_SECONDS)
    parent.stdin.close()
    parent.stdout.close()

    assert 3 == len(family)
    assert 1 == len(started & set(family))
    assert [] == still_there(*family)
