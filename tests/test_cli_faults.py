"""The command where its surroundings, its files or its store are at fault: clear lines, right exit codes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest
from staging import STOP_SECONDS, wait_until

Banzuke = Callable[..., subprocess.CompletedProcess[str]]
Started = Callable[..., subprocess.Popen[str]]
RUN = f"{sys.executable} -m deployments.cli run small.toml --store store --run-id r"


def in_shell(line: str, folder: Path, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """A line typed into a shell, to its end."""
    return subprocess.run(
        ["bash", "-c", line],
        cwd=folder,
        env=dict(environment),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def standings_published(folder: Path) -> bool:
    """Whether the run went on to its end."""
    return (folder / "store" / "standings" / "r" / "standings.parquet").exists()


@pytest.mark.parametrize(
    "line",
    [
        f"{RUN} 2>&1 | head -1; exit ${{PIPESTATUS[0]}}",
        f"{RUN} >/dev/full 2>/dev/full",
        f"{RUN} 2>&-",
        f"({RUN} 2>&1 >&3 | true; exit ${{PIPESTATUS[0]}}) 3>&1",
    ],
    ids=["head -1", "full both", "closed stderr", "stderr nobody reads"],
)
def test_nobody_listening_stops_no_run(
    line: str, small_spec: Callable[..., Path], environment: Mapping[str, str], tmp_path: Path
) -> None:
    """The run is played to its end, and its exit code says how it went."""
    small_spec(games=6)

    done = in_shell(line, tmp_path, environment)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    assert standings_published(tmp_path)


def test_a_stderr_that_is_never_read_stops_no_run(
    small_spec: Callable[..., Path], environment: Mapping[str, str], tmp_path: Path
) -> None:
    """A pipe that is full because its reader sleeps is given up, not waited for."""
    small_spec(games=6)
    ours, theirs = os.pipe()
    os.set_blocking(theirs, False)
    try:
        while True:
            os.write(theirs, b"x" * 65536)
    except BlockingIOError:
        os.set_blocking(theirs, True)

    done = subprocess.run(
        ["bash", "-c", RUN],
        cwd=tmp_path,
        env=dict(environment),
        stdout=subprocess.PIPE,
        stderr=theirs,
        timeout=60,
        check=False,
    )

    os.close(theirs)
    os.close(ours)
    assert done.returncode == 0
    assert b"18 of 18 games count" in done.stdout


@pytest.fixture
def hears_hangups() -> Iterator[None]:
    """What is started meanwhile does not inherit that SIGHUP is ignored, although these tests may run under nohup."""
    before = signal.signal(signal.SIGHUP, lambda _number, _frame: None)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("hears_hangups")
def test_a_live_display_outlives_its_terminal(
    small_spec: Callable[..., Path], environment: Mapping[str, str], tmp_path: Path
) -> None:
    """A terminal that goes away sends SIGHUP: the run stops in time, with what is finished kept."""
    small_spec(games=480)
    ours, theirs = os.openpty()
    process = subprocess.Popen(
        ["setsid", "--wait", "--ctty", "bash", "-c", f"exec {RUN}"],
        cwd=tmp_path, env={**environment, "TERM": "xterm"}, stdin=theirs, stdout=theirs, stderr=theirs,
    )  # fmt: skip
    os.close(theirs)
    wait_until(lambda: recorded(tmp_path) >= 2 and b"games" in os.read(ours, 65536), process)

    os.close(ours)

    assert process.wait(timeout=STOP_SECONDS) == 129
    assert recorded(tmp_path) >= 1


@pytest.mark.parametrize("stream", [">/dev/full", "| true"], ids=["full", "nobody reads"])
def test_a_result_that_stdout_does_not_take_is_a_fault(
    stream: str, small_spec: Callable[..., Path], environment: Mapping[str, str], tmp_path: Path
) -> None:
    """With --json the result was wanted: exit code 1 and one line on stderr; the store has everything."""
    small_spec(games=2)

    done = in_shell(f"{RUN} --json {stream}; exit ${{PIPESTATUS[0]}}", tmp_path, environment)

    assert done.returncode == 1, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("banzuke: stdout did not take the result: ")
    assert standings_published(tmp_path)


def recorded(folder: Path) -> int:
    """How many files of games there are."""
    return len(list((folder / "store" / "games" / "r").glob("[!.]*.parquet")))


@pytest.mark.usefixtures("hears_hangups")
def test_a_hangup_stops_as_other_signals_do(
    banzuke_started: Started, small_spec: Callable[..., Path], tmp_path: Path
) -> None:
    """SIGHUP: exit code 129, and the last line says how to go on."""
    spec = small_spec(games=480)
    process = banzuke_started("run", spec, "--store", "store", "--run-id", "r")
    wait_until(lambda: recorded(tmp_path) >= 2, process)

    process.send_signal(signal.SIGHUP)
    out, err = process.communicate(timeout=STOP_SECONDS)

    assert process.returncode == 129, out + err
    assert err.splitlines()[-1] == (
        f"stopped; everything finished is kept. Go on with: banzuke run {spec} --store store --run-id r"
    )


def test_a_hangup_that_is_ignored_stays_ignored(
    small_spec: Callable[..., Path], environment: Mapping[str, str], tmp_path: Path
) -> None:
    """Under nohup the run goes on without its terminal."""
    small_spec(games=20)
    process = subprocess.Popen(
        ["nohup", *RUN.split()], cwd=tmp_path, env=dict(environment), stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    wait_until(lambda: recorded(tmp_path) >= 1, process)

    process.send_signal(signal.SIGHUP)

    assert process.wait(timeout=60) == 0
    assert standings_published(tmp_path)


@pytest.mark.parametrize("stage", ["begin", "evaluate", "persist"])
def test_a_signal_at_any_stage_says_how_to_go_on(
    stage: str, banzuke_started: Started, small_spec: Callable[..., Path]
) -> None:
    """Before the first game and after the last one too: the last line is a command, or says that all is done."""
    spec = small_spec(games=6)
    process = banzuke_started("run", spec, "--store", "store", "--run-id", "r")
    assert process.stderr is not None
    if stage == "begin":
        wait_until(lambda: psutil.Process(process.pid).children(recursive=True), process)
    else:
        while stage not in process.stderr.readline():
            assert process.poll() is None

    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=STOP_SECONDS)

    assert process.returncode == 143, out + err
    assert "Traceback" not in err
    again = f"stopped; everything finished is kept. Go on with: banzuke run {spec} --store store --run-id r"
    complete = "stopped, but everything was complete by then: nothing is left to be played"
    assert err.splitlines()[-1] == (complete if stage == "persist" else again)


WAITED_FOR = """
import os, signal, threading, types
from flows.stopping import stop_on_signals

class Stop(threading.Event):
    def wait(self, timeout):
        with self._cond:
            os.kill(os.getpid(), signal.SIGTERM)
        return super().wait(timeout)

pool = types.SimpleNamespace(stop=Stop(), stopped_by=None)
with stop_on_signals(pool):
    print(pool.stop.wait(20), pool.stopped_by)
"""


def test_a_signal_stops_who_is_about_to_wait_for_it(environment: Mapping[str, str]) -> None:
    """It comes while the main thread holds the lock of what it waits for: the handler does not wait for that lock."""
    done = subprocess.run(
        [sys.executable, "-c", WAITED_FOR], env=environment, capture_output=True, text=True, timeout=30, check=False
    )

    assert ("True 15\n", "") == (done.stdout, done.stderr)


LINGERING = """
import sys, threading, time
from deployments import cli
threading.Thread(target=time.sleep, args=(300,)).start()
sys.argv = ["banzuke", *sys.argv[1:]]
cli.main()
"""


@pytest.mark.parametrize(("arguments", "code"), [(["--version"], 0), (["show", "r", "--store", "nowhere"], 2)])
def test_a_thread_that_lingers_keeps_nobody_waiting(
    arguments: list[str], code: int, environment: Mapping[str, str], tmp_path: Path
) -> None:
    """What a library left running is given some seconds; exit code and output are as ever."""
    done = subprocess.run(
        [sys.executable, "-c", LINGERING, *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip

    assert code == done.returncode
    assert 1 == len((done.stdout + done.stderr).splitlines())


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    """A named pipe that nobody writes to."""
    path = tmp_path / "fifo"
    os.mkfifo(path)
    return path


def test_files_that_are_none_are_refused(banzuke: Banzuke, fifo: Path, tmp_path: Path) -> None:
    """Pipes, folders and devices in every place of a file: one line each, exit code 2, nothing written."""
    spec = tmp_path / "spec.toml"
    agents = 'name = "x"\n[[agents]]\nname = "a"\nkind = "random"\n[[agents]]\nname = "b"\n'
    places = {
        "spec": None,
        "checkpoint": 'kind = "checkpoint"\npath = "{}"\n',
        "openings": 'kind = "random"\n[tournament]\nopenings = "{}"\n',
        "suite": 'kind = "random"\n[evaluate]\nsuite = "{}"\n',
    }
    for file in (fifo, tmp_path, Path("/dev/zero")):
        for place, text in places.items():
            if text is not None:
                spec.write_text(agents + text.format(file))
            done = banzuke("run", file if text is None else spec, "--store", "store", seconds=20)
            assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), (place, file, done.stderr)
            assert str(file) in done.stderr
    assert not (tmp_path / "store").exists()


def test_files_that_are_too_large_are_not_read(banzuke: Banzuke, tmp_path: Path) -> None:
    """A spec, a book and a checkpoint of absurd size: refused by their size alone."""
    huge = tmp_path / "huge"
    huge.touch()
    os.truncate(huge, 100 << 30)
    spec = tmp_path / "spec.toml"
    agents = 'name = "x"\n[[agents]]\nname = "a"\nkind = "random"\n[[agents]]\nname = "b"\n'
    for text in ("", 'kind = "checkpoint"\npath = "huge"\n', 'kind = "random"\n[tournament]\nopenings = "huge"\n'):
        spec.write_text(agents + text)

        done = banzuke("run", spec if text else huge, "--store", "store", seconds=20)

        assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
        assert "107,374,182,400 bytes, more than the" in done.stderr
    assert not (tmp_path / "store").exists()


def test_a_game_that_nobody_would_move_in_is_refused(banzuke: Banzuke, tmp_path: Path) -> None:
    """The openings that are used must leave moves to the agents."""
    spec = tmp_path / "spec.toml"
    spec.write_text(
        'name = "x"\n[[agents]]\nname = "a"\nkind = "random"\n[[agents]]\nname = "b"\nkind = "random"\n'
        "[tournament]\ngames_per_encounter = 480\nmax_plies = 16\n"
    )

    done = banzuke("run", spec, "--store", "store")

    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
    assert done.stderr.startswith("[tournament]: max_plies: 16 leaves no move to the agents after the 16 plies of")
    assert not (tmp_path / "store").exists()


def test_a_plan_that_takes_long_is_announced(banzuke: Banzuke, tmp_path: Path) -> None:
    """With many agents the first line comes before the planning, and the planning takes seconds."""
    spec = tmp_path / "spec.toml"
    names = "".join(f'[[agents]]\nname = "a{number}"\nkind = "random"\n' for number in range(200))
    spec.write_text(f'name = "x"\n{names}[tournament]\ngames_per_encounter = 2\nmax_plies = 16\n')

    done = banzuke("run", spec, "--store", "store", "--run-id", "r", seconds=60)

    assert done.returncode == 2
    first, second = done.stderr.splitlines()
    assert first == "r: planning 39,800 games"
    assert "max_plies: 16" in second


@pytest.fixture(scope="module")
def original(environment: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with one whole run, ``r``, and beside it a later one that was stopped before it had a plan."""
    folder = tmp_path_factory.mktemp("played")
    (folder / "small.toml").write_text(
        'name = "x"\n[[agents]]\nname = "a"\nkind = "random"\n[[agents]]\nname = "b"\nkind = "material"\n'
        "[tournament]\ngames_per_encounter = 2\nmax_plies = 60\n"
    )
    done = in_shell(RUN, folder, environment)
    assert done.returncode == 0, done.stderr
    store = folder / "store"
    document = json.loads((store / "runs" / "r" / "run.json").read_text())
    later = store / "runs" / "unplanned"
    later.mkdir()
    changed = {**document, "run_id": "unplanned", "created_at": "2999-01-01T00:00:00+00:00"}
    (later / "run.json").write_text(json.dumps(changed))
    return store


@pytest.fixture
def played(original: Path, tmp_path: Path) -> Path:
    """A store of its own for each test."""
    return shutil.copytree(original, tmp_path / "store")


def test_standings_takes_the_newest_run_that_has_a_plan(banzuke: Banzuke, played: Path) -> None:
    """A run that was stopped before its plan was written is not in the way."""
    done = banzuke("standings", "--store", played, "--json")

    assert (done.returncode, done.stderr) == (0, "")
    assert {row["run_id"] for row in json.loads(done.stdout)["standings"]} == {"r"}


def test_standings_of_a_store_that_cannot_be_written(banzuke: Banzuke, played: Path) -> None:
    """They are shown all the same; that they are not published is a note on stderr."""
    shutil.rmtree(played / "standings")
    (played / "standings").write_text("in the way, for root as well")

    done = banzuke("standings", "--store", played, "--json")

    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["standings"]) == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("note: not published: ")


@pytest.mark.parametrize(
    "damage",
    [
        "not json",
        {"spec": {}},
        {"spec": {"ratings": 5, "agents": 7}},
        {"created_at": 5},
        {"versions": None},
    ],
    ids=str,
)
def test_a_damaged_document_is_one_clear_line(damage: str | dict[str, Any], banzuke: Banzuke, played: Path) -> None:
    """`runs`, `show` and `standings` name what is damaged, and none of them calls it a fault of ours."""
    path = played / "runs" / "r" / "run.json"
    path.write_text(damage if isinstance(damage, str) else json.dumps({**json.loads(path.read_text()), **damage}))

    runs = banzuke("runs", "--store", played)
    others = [banzuke("show", "r", "--store", played), banzuke("standings", "--run", "r", "--store", played)]

    assert runs.returncode == 0, runs.stderr
    assert "unplanned" in runs.stdout
    for done in (runs, *others):
        assert "a fault of ours" not in done.stderr
        assert "Traceback" not in done.stderr
    for done in others:
        assert done.returncode in {0, 1, 2}
        assert (done.returncode == 0) == (done.stderr == ""), done.stderr
        assert len(done.stderr.splitlines()) <= 1, done.stderr


def test_few_open_files_are_made_more(
    small_spec: Callable[..., Path], environment: Mapping[str, str], tmp_path: Path
) -> None:
    """A low soft limit is raised; where the hard one is too low as well, one line says what to do."""
    small_spec(games=2)

    raised = in_shell(f"ulimit -S -n 24; {RUN} --json", tmp_path, environment)
    refused = in_shell(f"ulimit -n 48; {RUN.replace('-id r', '-id s')}", tmp_path, environment)

    assert (raised.returncode, raised.stderr) == (0, "")
    assert (refused.returncode, len(refused.stderr.splitlines())) == (1, 1), refused.stderr
    assert "48 open files are allowed (ulimit -n), and 2 workers need 56" in refused.stderr
    assert not (tmp_path / "store" / "runs" / "s").exists()
