"""The README is what newcomers type. Here it is typed for them, from the top."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pandas as pd
import pytest

from storage.game_store import GameStore

PROJECT = Path(__file__).resolve().parent.parent
README = (PROJECT / "README.md").read_text()
FILE = re.compile(r"<!-- file: (\S+) -->\n```toml\n(.*?)```", re.DOTALL)
CONSOLE = re.compile(r"```console\n(.*?)```", re.DOTALL)
SERVER = re.compile(r"<!-- server -->\n```console\n(.*?)```", re.DOTALL)
SERVED = re.compile(r"<!-- served -->\n```console\n(.*?)```", re.DOTALL)
NOT_TYPED = ("make test", ". .venv/bin/activate")
"""The test run itself, and the virtual environment that the tests run in already."""


def commands() -> list[str]:
    """Every line of the README's console blocks that need no server, in order."""
    alone = SERVED.sub("", SERVER.sub("", README))
    return [line for block in CONSOLE.findall(alone) for line in block.splitlines() if line not in NOT_TYPED]


@pytest.mark.timeout(900)
def test_the_readme_takes_a_newcomer_from_nothing_to_the_parquet(
    tmp_path: Path, environment: Mapping[str, str]
) -> None:
    """Every command ends well, in the order in which they are written, and the demo shows what it promises."""
    (tmp_path / "examples").symlink_to(PROJECT / "examples")
    for name, text in FILE.findall(README):
        (tmp_path / name).write_text(text)
    said = {}
    for command in commands():
        done = _type(command, tmp_path, environment)
        assert 0 == done.returncode, f"{command}\n{done.stdout}{done.stderr}"
        said[command] = done.stdout

    (shape,) = [text for command, text in said.items() if command.endswith('.shape)"')]
    assert re.fullmatch(r"\(\d\d+, \d+\)\n", shape)
    answers = said["python examples/five_questions.py demo-store"]
    for answer in (
        r"\nepoch-16 +60 .* (seen|mover)\n",
        r" openings ",
        r" 420 games",
        r" 420 attempts",
        r"New: epoch-01, ",
    ):
        assert re.search(answer, answers), answer
    demo = GameStore(str(tmp_path / "demo-store"))
    rows = {row.agent: row for row in demo.read_standings(demo.run_ids()[0])}
    assert {"random", "material-1", "material-2"} <= rows.keys()
    networks = [rows[name] for name in sorted(name for name in rows if name.startswith("epoch-"))]
    assert 4 == len(networks)
    first, last = networks[0], networks[-1]
    assert first.elo_high is not None
    assert last.elo_low is not None
    assert last.elo_low > first.elo_high
    assert all(row.elo_low is not None and row.elo_high is not None for row in rows.values())
    assert pd.read_parquet(tmp_path / "banzuke-store" / "games").status.isin(["played", "forfeit"]).all()


def _type(command: str, folder: Path, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    words = shlex.split(command)
    if words[0] == "make":
        # The installation is that of the tests; making it again is what .ci/run does on a new machine.
        installed = ["VENV=" + sys.prefix, "-o", f"{sys.prefix}/.installed", f"STORE={folder / 'demo-store'}"]
        words = [*words, "-C", str(PROJECT), *installed]
    return subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, timeout=600, check=False)


def test_three_commands_take_a_newcomer_to_a_server_that_plays(tmp_path: Path, environment: Mapping[str, str]) -> None:
    """Typed into three terminals they end in deployments that can be started; the commands after them play a run."""
    (tmp_path / "examples").symlink_to(PROJECT / "examples")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
    home = tmp_path / "prefect"
    home.mkdir()
    own = {**environment, "PREFECT_HOME": str(home), "DO_NOT_TRACK": "1", "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
    server, configure, serve = SERVER.findall(README)[0].replace("4200", port).splitlines()

    with _terminal(f"{server} --port {port}", tmp_path, own) as serving:
        _until(lambda: _answers(port), "the server to answer", serving)
        assert 0 == _type(configure, tmp_path, own).returncode
        with _terminal(serve, tmp_path, own) as playing:
            _until(lambda: "Ctrl-C" in playing.read_text(), "serve to say that it serves", playing)
            typed = [_type(command, tmp_path, own) for command in SERVED.findall(README)[0].splitlines()]
            ended = _type("banzuke progress --follow", tmp_path, own)

    assert [0, 0, 0] == [done.returncode for done in typed], [done.stdout + done.stderr for done in typed]
    assert 0 == ended.returncode, ended.stdout + ended.stderr + playing.read_text()
    games = GameStore(str(tmp_path / "banzuke-store"))
    assert 12 == len(games.games(games.run_ids()[0], ("game_id",)).table)


@contextlib.contextmanager
def _terminal(command: str, folder: Path, environment: Mapping[str, str]) -> Iterator[Path]:
    """A command that goes on until Ctrl-C, and the file that holds what it says."""
    words = shlex.split(command)
    said = folder / f"{words[0]}.log"
    with said.open("wb") as log:
        process = subprocess.Popen(words, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        yield said
    finally:
        os.killpg(process.pid, signal.SIGINT)
        try:
            process.wait(30)
        finally:
            process.kill()
            process.wait()


def _until(condition: Callable[[], bool], what: str, said: Path) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, f"waited for {what}: {said.read_text()}"
        threading.Event().wait(0.1)


def _answers(port: str) -> bool:
    with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/api/health", timeout=5) as page:
        return bool(page.status == 200)
    return False


def test_the_readme_names_every_command() -> None:
    """What the command offers is what the README speaks of."""
    done = subprocess.run(
        [sys.executable, "-m", "deployments.cli", "--help"], capture_output=True, text=True, check=True
    )
    offered = set(re.findall(r"^│ (\w+) ", done.stdout, re.MULTILINE))

    alone = {
        "run",
        "sprt",
        "evaluate",
        "standings",
        "backfill",
        "runs",
        "show",
        "calc",
        "export",
        "import",
        "report",
        "watch",
    }
    on_a_server = {"deploy", "serve", "submit", "progress", "pause", "resume", "cancel", "list"}
    assert alone | on_a_server == offered
    assert all(f"banzuke {name}" in README or f"`{name} ID`" in README for name in offered)
