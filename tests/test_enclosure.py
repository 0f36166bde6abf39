"""Nothing that a worker or its engines start outlives it: with a process namespace, and without."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from staging import game, once

from banzuke.errors import WorkerDiedError
from banzuke.match.recording import Attempt
from banzuke.outcome import Side, Status, Termination
from banzuke.specs import LimitsSpec, RandomAgent, SearchLimit, Spec, TournamentSpec, UsiAgent
from banzuke.workers import enclosure
from banzuke.workers import process as processes
from banzuke.workers.enclosure import enclosing
from banzuke.workers.messages import ORDER, Play, Prepare
from banzuke.workers.ownership import AGENT_VARIABLE, WORKER_VARIABLE, end_all, owner_of
from banzuke.workers.process import WorkerProcess
from banzuke.workers.supervisor import Supervisor

ENGINES = Path(__file__).parent / "engines"
EVENT_SECONDS = 20.0
SLACK = 3.0
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="/proc and the kernel's ways")


def need_namespace() -> tuple[str, ...]:
    way = enclosing()
    if way is None:
        pytest.skip("this system allows no process namespace")
    return way


@pytest.fixture(params=["namespace", "subreaper"])
def enclosed(request: pytest.FixtureRequest) -> bool:
    """Both ways in which a worker is kept together."""
    if request.param == "namespace":
        need_namespace()
    return bool(request.param == "namespace")


@pytest.fixture
def supervisor(enclosed: bool) -> Iterator[Supervisor]:
    """A supervisor whose worker is ended after the test."""
    supervisor = Supervisor(stop=threading.Event(), enclosed=enclosed)
    yield supervisor
    supervisor.kill()


@pytest.fixture(autouse=True)
def mark(monkeypatch: pytest.MonkeyPatch) -> str:
    """In the environment of everything that the test starts, however far it runs."""
    mark = uuid.uuid4().hex
    monkeypatch.setenv("BANZUKE_TEST", mark)
    return mark


def started(word: str = "") -> list[psutil.Process]:
    """What this test has started, is still there, and has the word in its command line."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get("BANZUKE_TEST") == os.environ["BANZUKE_TEST"]:
                found += [process] if word in " ".join(process.cmdline()) else []
    return found


def left(processes: list[psutil.Process], seconds: float = SLACK) -> list[psutil.Process]:
    """Those that do not end within so many seconds; a zombie has ended."""
    deadline = time.monotonic() + seconds
    while (alive := [process for process in processes if is_alive(process)]) and time.monotonic() < deadline:
        threading.Event().wait(0.01)
    return alive


def is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def escaping(pid_file: Path) -> Spec:
    """An engine whose helper escapes its group, its session, its parent and SIGTERM; and two random players."""
    command = (sys.executable, "-I", "-S", str(ENGINES / "escaping_engine.py"), str(pid_file))
    agents = (
        RandomAgent(name="a", kind="random"),
        RandomAgent(name="b", kind="random"),
        UsiAgent(name="escaping", kind="usi", command=command, limit=SearchLimit(nodes=1)),
    )
    limits = LimitsSpec(concurrency=1, move_seconds=20.0, game_seconds=60.0, start_seconds=20.0, retries=0)
    return Spec(name="enclosure", agents=agents, tournament=TournamentSpec(max_plies=4), limits=limits)


def attempt(first: str, second: str) -> Attempt:
    return Attempt.at(game(first, second, seed=1), 1)


def nothing() -> None:
    """What a test does at a tick that needs nothing done."""


def worker_of(supervisor: Supervisor) -> WorkerProcess:
    assert supervisor._worker is not None
    return supervisor._worker


def ready(supervisor: Supervisor, pid_file: Path) -> WorkerProcess:
    """The supervisor's worker, up and idle."""
    played = supervisor.play(attempt("a", "b"), escaping(pid_file), on_tick=nothing)
    assert Status.PLAYED is played.status
    return worker_of(supervisor)


# --- what escapes


@pytest.mark.parametrize("how", ["killed by its supervisor", "killed by somebody", "frozen and killed"])
def test_what_escapes_ends_with_the_worker(supervisor: Supervisor, tmp_path: Path, how: str) -> None:
    """At once: nobody needs to have seen it before."""
    family: list[psutil.Process] = []

    def strike() -> None:
        worker = worker_of(supervisor)
        worker._family.clear()
        worker._look_at_family = lambda *_: []  # type: ignore[method-assign] # nobody looked in time
        family.extend(started())
        if how == "killed by somebody":
            os.kill(worker.pid, signal.SIGKILL)
            return
        if how == "frozen and killed":
            os.kill(worker.pid, signal.SIGSTOP)
        supervisor.stop.set()

    tick = once((tmp_path / "pid").exists, strike)
    lost = supervisor.play(attempt("a", "escaping"), escaping(tmp_path / "pid"), on_tick=tick)

    assert Status.VOID is lost.status
    assert 3 <= len(family)  # the worker, the engine, the helper
    assert [] == left(family)


PARENT = """
import sys, threading
from banzuke.workers.messages import ORDER
from banzuke.workers.supervisor import Supervisor
spec = ORDER.validate_json(sys.stdin.readline()).spec
attempt = ORDER.validate_json(sys.stdin.readline()).attempt
enclosed = {"True": True, "False": False}[sys.argv[1]]
Supervisor(stop=threading.Event(), enclosed=enclosed).play(attempt, spec, on_tick=lambda: None)
"""


@pytest.mark.parametrize("worker_is", ["listening", "frozen"])
def test_what_escapes_ends_with_the_command(tmp_path: Path, worker_is: str) -> None:
    """Killed with SIGKILL, the command cannot clean up; the kernel does, for the whole namespace."""
    need_namespace()
    parent = subprocess.Popen([sys.executable, "-c", PARENT, "True"], stdin=subprocess.PIPE)
    assert parent.stdin is not None
    for order in (Prepare(spec=escaping(tmp_path / "pid")), Play(attempt=attempt("escaping", "b"))):
        parent.stdin.write(ORDER.dump_json(order) + b"\n")
    parent.stdin.flush()
    deadline = time.monotonic() + EVENT_SECONDS
    while not (tmp_path / "pid").exists():
        assert time.monotonic() < deadline
        threading.Event().wait(0.01)
    family = started()
    workers = started("-m banzuke.workers.child")
    if worker_is == "frozen":
        workers[0].suspend()

    parent.kill()
    parent.wait(EVENT_SECONDS)
    parent.stdin.close()

    assert 1 == len(workers)
    assert 6 == len(family)  # the parent, unshare, the first process, the worker, the engine, the helper
    assert [] == left(family)


# --- a worker is one worker, wherever it runs


def test_a_worker_is_known_by_the_number_that_others_see(supervisor: Supervisor, tmp_path: Path) -> None:
    """In the row, to its supervisor, and as the only process that looks like a worker."""
    played = supervisor.play(attempt("a", "b"), escaping(tmp_path / "pid"), on_tick=nothing)

    worker = worker_of(supervisor)
    looks = [process.pid for process in started("-m banzuke.workers.child")]
    assert [played.worker_pid] == [worker.pid] == looks
    assert worker.name == owner_of(psutil.Process(worker.pid), WORKER_VARIABLE)


def test_an_engine_is_known_by_its_agent(supervisor: Supervisor, tmp_path: Path) -> None:
    """So is what it started, and nothing else."""
    owners: list[str | None] = []

    def look() -> None:
        owners.extend(owner_of(process, AGENT_VARIABLE) for process in worker_of(supervisor)._look_at_family())
        supervisor.stop.set()

    tick = once((tmp_path / "pid").exists, look)
    supervisor.play(attempt("a", "escaping"), escaping(tmp_path / "pid"), on_tick=tick)

    assert [None, "escaping", "escaping"] == owners


def test_a_worker_started_by_an_engine_bears_no_agents_name(
    supervisor: Supervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it holds would be laid at that agent's door."""
    monkeypatch.setenv(AGENT_VARIABLE, "outer")

    worker = ready(supervisor, tmp_path / "pid")

    assert owner_of(psutil.Process(worker.pid), AGENT_VARIABLE) is None


def test_a_workers_memory_is_its_own_and_its_engines(supervisor: Supervisor, tmp_path: Path) -> None:
    """What keeps it together is not counted."""
    uses = []

    def look() -> None:
        uses.append(worker_of(supervisor).memory_use())
        supervisor.stop.set()

    tick = once((tmp_path / "pid").exists, look)
    supervisor.play(attempt("a", "escaping"), escaping(tmp_path / "pid"), on_tick=tick)

    assert {"escaping"} == set(uses[0].agents)
    assert uses[0].total == uses[0].worker + uses[0].agents["escaping"]
    assert 2**20 < uses[0].agents["escaping"] < uses[0].worker


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (signal.SIGKILL, -signal.SIGKILL),
        (signal.SIGTERM, -signal.SIGTERM),
        (signal.SIGABRT, -signal.SIGABRT),
        (signal.SIGSEGV, -signal.SIGSEGV),
        (40, -40),
    ],
)
def test_how_a_worker_ended_is_known(supervisor: Supervisor, tmp_path: Path, number: int, code: int) -> None:
    """By which signal, in its obituary too."""
    worker = ready(supervisor, tmp_path / "pid")
    pid = worker.pid
    os.kill(pid, number)

    told = worker.obituary()

    named = f"signal {number}" if number == 40 else signal.Signals(number).name
    assert code == worker.exit_code()
    assert f"worker {pid} was ended by {named}" == told


@pytest.mark.parametrize("victim", ["unshare", "first_process"])
def test_an_enclosure_that_is_killed_takes_the_worker_along(tmp_path: Path, victim: str) -> None:
    """And the obituary does not speak of an exit of the worker's own."""
    way = need_namespace()
    supervisor = Supervisor(stop=threading.Event(), enclosed=True)
    worker = ready(supervisor, tmp_path / "pid")
    family = [psutil.Process(worker._process.pid), *psutil.Process(worker._process.pid).children(recursive=True)]
    by_name = {"unshare": family[0], "first_process": family[1]}
    by_name[victim].kill()

    told = worker.obituary()

    assert 3 == len(family)
    assert way[0] == family[0].cmdline()[0] if is_alive(family[0]) else True
    assert -signal.SIGKILL == worker.exit_code()
    assert f"worker {family[2].pid} was ended by SIGKILL" == told.split(":")[0]
    assert [] == left(family)
    supervisor.kill()


def test_a_worker_that_leaves_says_so(enclosed: bool) -> None:
    """Exit code 0."""
    worker = WorkerProcess(enclosed=enclosed)

    worker.leave()

    assert 0 == worker.exit_code()
    assert [] == left(started())


def test_a_worker_can_be_killed_before_it_is_there(enclosed: bool) -> None:
    """At any moment of its start, twenty of them from nothing to a running worker."""
    seconds = []
    for moment in range(20):
        worker = WorkerProcess(enclosed=enclosed)
        threading.Event().wait(moment * 0.005)
        before = time.monotonic()
        worker.kill()
        seconds.append(time.monotonic() - before)

    assert max(seconds) < 10.0
    assert [] == left(started())


def test_a_worker_that_is_killed_is_reaped_with_all_that_kept_it(supervisor: Supervisor, tmp_path: Path) -> None:
    """In a container nobody else may reap."""
    ready(supervisor, tmp_path / "pid")
    before = {child.pid for child in psutil.Process().children()}

    supervisor.kill()

    assert 1 == len(before)
    assert [] == psutil.Process().children()


HEARING = """
import pathlib, signal, subprocess, sys, time
if sys.argv[2:]:
    signal.signal(signal.SIGTERM, lambda *_: pathlib.Path(sys.argv[1]).touch())
    eaten = b"1" * (200 << 20)
    while True:
        time.sleep(60)
for line in sys.stdin:
    answer = {"usi": "usiok", "isready": "readyok"}.get(line.strip())
    if answer:
        print(answer, flush=True)
    if line.startswith("go"):
        subprocess.Popen([sys.executable, "-I", "-S", __file__, sys.argv[1], "eat"])
"""


def test_who_takes_too_much_memory_is_not_asked_to_leave(supervisor: Supervisor, tmp_path: Path) -> None:
    """While it thinks about that, it could go on taking."""
    (tmp_path / "hearing.py").write_text(HEARING)
    spec = escaping(tmp_path / "pid")
    command = (sys.executable, "-I", "-S", str(tmp_path / "hearing.py"), str(tmp_path / "heard"))
    eater = UsiAgent(name="eater", kind="usi", command=command, limit=SearchLimit(nodes=1))
    limits = spec.limits.model_copy(update={"worker_memory_mb": 150})
    spec = spec.model_copy(update={"agents": (*spec.agents, eater), "limits": limits})

    lost = supervisor.play(attempt("eater", "a"), spec, on_tick=nothing)

    assert (Termination.MEMORY_LIMIT, Side.FIRST) == (lost.termination, lost.fault)
    assert not (tmp_path / "heard").exists()


@linux_only
def test_a_worker_whose_parent_is_gone_does_not_begin(enclosed: bool) -> None:
    """However early that happened, and whether or not the kernel had been told to kill it."""
    reading, writing = os.pipe()
    os.close(writing)
    end_reading, end = os.pipe()
    board = processes.DeadlineBoard.create()
    arguments = ["--parent", "1" if enclosed else str(os.getpid()), "--board", str(board.fd), "--life", str(reading)]
    command = [sys.executable, "-m", processes.MODULE, *arguments]
    if enclosed:
        command = enclosure.enclosed_command(
            need_namespace(), life=reading, end=end, python_options=[], module=processes.MODULE, arguments=arguments
        )
    done = subprocess.run(
        command,
        pass_fds=[reading, end, board.fd],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        cwd=processes.PACKAGE_HOME,
        timeout=EVENT_SECONDS,
        check=False,
        start_new_session=True,
    )
    for descriptor in (reading, end, end_reading):
        os.close(descriptor)
    board.close()

    assert (b"", b"") == (done.stdout, done.stderr)
    assert (127 if enclosed else 1) == done.returncode


# --- whether the system allows it


def test_where_no_namespace_is_allowed_workers_run_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Silently; only who insists is told."""
    refusing = tmp_path / "unshare"
    refusing.write_text("#!/bin/sh\necho 'Operation not permitted' >&2\nexit 1\n")
    refusing.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    enclosing.cache_clear()
    try:
        way = enclosing()
        supervisor = Supervisor(stop=threading.Event())
        played = supervisor.play(attempt("a", "b"), escaping(tmp_path / "pid"), on_tick=nothing)
        parent = psutil.Process(played.worker_pid).ppid()
        supervisor.kill()
        with pytest.raises(WorkerDiedError, match="allows no process namespace"):
            WorkerProcess(enclosed=True)
    finally:
        enclosing.cache_clear()

    assert way is None
    assert (Status.PLAYED, os.getpid()) == (played.status, parent)


@pytest.mark.parametrize("script", ["exec sleep 60", "echo 7", "exit 0"])
def test_a_namespace_counts_only_if_it_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """An unshare that hangs, or makes none, is found out."""
    monkeypatch.setattr(enclosure, "PROBE_SECONDS", 0.5)
    pretending = tmp_path / "unshare"
    pretending.write_text(f"#!/bin/sh\n{script}\n")
    pretending.chmod(0o755)
    before = time.monotonic()

    assert not enclosure._works([str(pretending)])
    assert time.monotonic() - before < 0.5 + SLACK


def test_a_namespace_of_an_ordinary_user_keeps_workers_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Made with a user namespace around it, which needs no rights at all where it is allowed."""
    way = need_namespace()
    as_user = (way[0], *enclosure._AS_USER, *enclosure._NAMESPACE)
    if not enclosure._works(as_user):
        pytest.skip("this system allows no user namespace")
    monkeypatch.setattr(processes, "enclosing", lambda: as_user)
    supervisor = Supervisor(stop=threading.Event(), enclosed=True)
    family: list[psutil.Process] = []

    def strike() -> None:
        family.extend(started())
        os.kill(worker_of(supervisor).pid, signal.SIGKILL)

    tick = once((tmp_path / "pid").exists, strike)
    lost = supervisor.play(attempt("a", "escaping"), escaping(tmp_path / "pid"), on_tick=tick)

    assert Termination.WORKER_CRASH is lost.termination
    assert lost.detail is not None
    assert "was ended by SIGKILL" in lost.detail
    assert 5 == len(family)
    assert [] == left(family)


def test_nobody_is_ended_where_no_process_can_be_seen() -> None:
    """An engine that hides /proc costs its worker the view, not its life."""
    looks = 0

    def hidden() -> list[psutil.Process]:
        nonlocal looks
        looks += 1
        raise psutil.NoSuchProcess(os.getpid())

    end_all(AGENT_VARIABLE, "anybody", hidden)

    assert 1 == looks
