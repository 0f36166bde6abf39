"""The embedded Prefect server may die or freeze at any time; the run goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from deployments import embedded_server
from deployments.embedded_server import HOMES, EmbeddedServer, ServerStartError
from storage.game_store import GameStore

EVENT_SECONDS = 60.0
TOLD = "the embedded Prefect server died and was started again"
Started = Callable[..., subprocess.Popen[str]]


def until(condition: Callable[[], object], what: str) -> None:
    """Return as soon as the condition holds."""
    deadline = time.monotonic() + EVENT_SECONDS
    waiting = psutil.Process()
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"not in time: {what}")
        psutil.wait_procs([waiting], timeout=0.02)


def recorded(store: Path) -> int:
    """How many attempts at games there are, in however few files by now."""
    if not (store / "games" / "r").is_dir():
        return 0
    return int(GameStore(str(store)).games("r", ["game_id"]).table.num_rows)


def server_of(process: subprocess.Popen[str]) -> psutil.Process | None:
    """The embedded server of a running command."""
    for child in psutil.Process(process.pid).children(recursive=True):
        try:
            if "deployments.embedded_server" in child.cmdline() and child.status() != psutil.STATUS_ZOMBIE:
                return child
        except psutil.NoSuchProcess:
            continue
    return None


def next_server(process: subprocess.Popen[str], before: int) -> psutil.Process:
    """The server that takes the place of another one."""
    found: list[psutil.Process] = []

    def there() -> bool:
        server = server_of(process)
        found[:] = [server] if server is not None and server.pid != before else []
        return bool(found) or process.poll() is not None

    until(there, "another server")
    assert found, process.communicate()
    return found[0]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["dies twice", "freezes"])
def test_a_run_survives_its_server(
    banzuke_started: Started, small_spec: Callable[..., Path], tmp_path: Path, number: signal.Signals
) -> None:
    """Every game counts, the exit code is 0, and stderr says no more than what happened."""
    store = tmp_path / "store"
    process = banzuke_started("run", small_spec(games=70), "--store", store, "--run-id", "r", "--json")
    before = 0
    for parts in (2, 4) if number is signal.SIGKILL else (2,):
        until(lambda enough=parts: recorded(store) >= enough or process.poll() is not None, "games")  # type: ignore[misc]
        server = next_server(process, before)
        server.send_signal(number)
        before = server.pid

    out, err = process.communicate(timeout=120)

    assert process.returncode == 0, out + err
    assert json.loads(out)["counting"] == 210
    assert {TOLD} == set(err.splitlines()), err


def test_a_server_that_does_not_come_back_ends_the_run_in_time(
    banzuke_started: Started,
    banzuke: Callable[..., subprocess.CompletedProcess[str]],
    small_spec: Callable[..., Path],
    tmp_path: Path,
) -> None:
    """Exit code 1 within a minute; the last line says how to go on, and going on plays the rest only."""
    spec, store = small_spec(games=80), tmp_path / "store"
    process = banzuke_started("run", spec, "--store", store, "--run-id", "r", "--json")
    until(lambda: recorded(store) >= 2 or process.poll() is not None, "games")
    server = server_of(process)
    assert server is not None
    home = Path(server.environ()["PREFECT_HOME"])
    server.suspend()
    for file in home.glob("prefect.db*"):
        file.unlink()
    (home / "prefect.db").mkdir()
    server.kill()

    out, err = process.communicate(timeout=60)

    assert process.returncode == 1, out + err
    assert err.splitlines()[-1].startswith("banzuke: the embedded Prefect server died and could not be started again (")
    assert err.splitlines()[-1].endswith(f"Go on with: banzuke run {spec} --store {store} --run-id r"), err
    assert len(err.splitlines()) == 1, err
    kept = recorded(store)
    assert kept >= 2

    done = banzuke("run", spec, "--store", store, "--run-id", "r", "--json")

    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["counting"] == 240


@pytest.fixture
def server(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[EmbeddedServer]:
    """A server, ended with the test."""
    monkeypatch.setenv("BANZUKE_CACHE", str(cache))
    started = EmbeddedServer.start()
    yield started
    started.stop()


def test_a_server_killed_before_its_first_answer_is_started_again(server: EmbeddedServer) -> None:
    """Whoever waits for it notices nothing but the time."""
    until(lambda: server.process is not None, "a process")
    first = server.process
    assert first is not None
    first.kill()

    server.wait()

    assert server.process is not first


def test_a_server_that_cannot_start_says_why(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error carries the server's last words on one line, and its home is gone."""
    monkeypatch.setenv("BANZUKE_CACHE", str(cache))
    monkeypatch.setattr(embedded_server, "MIGRATED", {"PREFECT_SERVER_DATABASE_CONNECTION_URL": "no:such"})
    started = EmbeddedServer.start()

    with pytest.raises(ServerStartError, match=r"did not start: .*Could not parse SQLAlchemy") as caught:
        started.wait()

    assert "\n" not in str(caught.value)
    assert not started.home.exists()


def test_what_killed_commands_left_is_swept_away(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Homes without a lock, and what was only begun to be made long ago; what was begun just now stays."""
    monkeypatch.setenv("BANZUKE_CACHE", str(cache))
    (cache / HOMES).mkdir(exist_ok=True)
    old, fresh, unlocked = (cache / HOMES / name for name in ("new-old", "new-fresh", "home-half-deleted"))
    for folder in (old, fresh, unlocked):
        folder.mkdir()
    template = cache / ".draft-prefect-1.db.17"
    template.write_text("half")
    for path in (old, template):
        os.utime(path, (0, 0))

    EmbeddedServer.start().stop()

    assert [False, False, False, True] == [path.exists() for path in (old, unlocked, template, fresh)]
    fresh.rmdir()


def test_a_command_is_not_sent_through_a_proxy_to_its_own_server(
    banzuke: Callable[..., subprocess.CompletedProcess[str]],
    environment: dict[str, str],
    small_spec: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A proxy that the user has for the world is nothing to 127.0.0.1."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setitem(environment, name, "http://127.0.0.1:9")

    done = banzuke("run", small_spec(games=2), "--store", "store", "--run-id", "r", "--json")

    assert (done.returncode, done.stderr) == (0, "")
