"""Shared by all tests: no test leaves a process behind, and commands run as a user would run them."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Container, Iterator, Mapping
from pathlib import Path

import psutil
import pytest
from hypothesis import settings

PR_SET_CHILD_SUBREAPER = 36
GONE_SECONDS = 5.0
PROJECT = Path(__file__).resolve().parent.parent


def pytest_configure() -> None:
    """Orphans of our children come to us, so that a process that outlives its parent is seen; no example is timed."""
    settings.register_profile("untimed", deadline=None)
    settings.load_profile("untimed")
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _reap() -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG) is not None:
            continue


def _left_over() -> list[psutil.Process]:
    left = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if process.status() != psutil.STATUS_ZOMBIE:
                left.append(process)
    return left


def _new_since(before: Container[int]) -> list[psutil.Process]:
    """A database that outlives the test has a process for each connection, and those are its own affair."""
    return [
        process for process in _left_over() if process.pid not in before and not _serves_a_database(process, before)
    ]


def _serves_a_database(process: psutil.Process, before: Container[int]) -> bool:
    with contextlib.suppress(psutil.Error):
        return process.name() == "postgres" and process.ppid() in before
    return False


@pytest.fixture(autouse=True)
def no_process_left() -> Iterator[None]:
    """Fail the test that leaves a process behind, and end that process."""
    before = {process.pid for process in _left_over()}
    yield
    deadline = time.monotonic() + GONE_SECONDS
    while (left := _new_since(before)) and time.monotonic() < deadline:
        psutil.wait_procs(left, timeout=0.1)
    lines = []
    for process in left:
        with contextlib.suppress(psutil.Error):
            lines.append(f"{process.pid} {' '.join(process.cmdline())[:200]}")
            process.kill()
    _reap()
    if lines:
        pytest.fail("left behind: " + "; ".join(lines))


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the embedded server's template lies for the whole test run."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def environment(cache: Path) -> dict[str, str]:
    """The environment of a user who has nothing of Prefect configured."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    folder = str(Path(sys.executable).parent)
    return {**kept, "BANZUKE_CACHE": str(cache), "PATH": folder + os.pathsep + kept.get("PATH", "")}


Banzuke = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def banzuke(environment: Mapping[str, str], tmp_path: Path) -> Banzuke:
    """Run the command in an empty folder, to its end."""

    def call(*arguments: str | Path, cwd: Path = tmp_path, seconds: float = 240.0) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "deployments.cli", *map(str, arguments)]
        return subprocess.run(
            command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=seconds, check=False
        )

    return call


@pytest.fixture
def banzuke_started(environment: Mapping[str, str], tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start the command in an empty folder and hand it over running; it is killed at the end of the test."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str | Path) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "deployments.cli", *map(str, arguments)],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


SMALL = """
name = "small"
[[agents]]
name = "random"
kind = "random"
[[agents]]
name = "material"
kind = "material"
depth = 1
[[agents]]
name = "other"
kind = "material"
depth = 2
[tournament]
games_per_encounter = {games}
max_plies = 120
seed = 7
[limits]
concurrency = {concurrency}
game_seconds = 60.0
[ratings]
anchor = "random"
anchor_elo = 100
"""


@pytest.fixture
def small_spec(tmp_path: Path) -> Callable[..., Path]:
    """A spec of three scripted agents, written to a file."""

    def write(*, games: int = 4, concurrency: int = 2) -> Path:
        path = tmp_path / "small.toml"
        path.write_text(SMALL.format(games=games, concurrency=concurrency))
        return path

    return write
