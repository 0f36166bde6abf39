"""A Prefect server of the test's own with workers, a catalogue and a store: all that a machine in use has.

It keeps its history in Postgres where that is installed, as docs/operations.md advises: Prefect's SQLite stands still
for a minute now and then, which is no fault of what is tested. The first steps of a newcomer are tried on SQLite.
"""

from __future__ import annotations

import contextlib
import http
import json
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import psutil
import pytest
from own_postgres import is_installed, own_postgres

from deployments.embedded_server import _template
from storage.game_store import GameStore

CATALOGUE = """
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
[limits]
concurrency = 2
game_seconds = 120.0
"""
SERVER = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "2",
    "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
    "PREFECT_WORKER_QUERY_SECONDS": "1",
    "PREFECT_LOGGING_TO_API_BATCH_INTERVAL": "0.5",
}
PATIENCE = 120.0
CANCEL_SECONDS = 30.0
"""For nobody to be at the board any more, on a machine that is busy with other tests; alone it takes 5 to 8."""


class Site:
    """One folder: the server's home, the store, the catalogue and what the processes say; ended with its block.

    Args:
        folder: where; empty.
        environment: of a user who has nothing of Prefect configured.
        sqlite: whether it keeps its history there, Postgres or not.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str], *, sqlite: bool = False) -> None:
        self.folder = folder
        self._opened = contextlib.ExitStack()
        self.postgres = self._opened.enter_context(own_postgres()) if is_installed() and not sqlite else None
        self.port = _free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        self.store = folder / "store"
        self.catalogue = folder / "catalogue.toml"
        self.catalogue.write_text(CATALOGUE)
        home = folder / "prefect"
        home.mkdir()
        self.environment = {
            **environment,
            **SERVER,
            **(self.postgres.settings if self.postgres else {}),
            "PREFECT_HOME": str(home),
            "PREFECT_API_URL": f"{self.address}/api",
            "PREFECT_UI_API_URL": f"{self.address}/api",
            "BANZUKE_STORE": str(self.store),
            "BANZUKE_CATALOGUE": str(self.catalogue),
        }
        if self.postgres is None:
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("BANZUKE_CACHE", environment["BANZUKE_CACHE"])
                shutil.copyfile(_template(), home / "prefect.db")
        self.server: subprocess.Popen[bytes] | None = None
        self.workers: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_raised: object) -> None:
        self.close()

    def start_server(self) -> None:
        """Until it answers."""
        where = ("--host", "127.0.0.1", "--port", str(self.port))
        self.server = self._start("server", "prefect", "server", "start", *where)
        self.until(self._answers, "the server to answer")

    def start_worker(self, name: str = "worker", **environment: str) -> subprocess.Popen[bytes]:
        """A process worker of the pool; ``environment`` is added to its own."""
        arguments = ("worker", "start", "--pool", "banzuke", "--type", "process", "--name", name)
        worker = self._start(name, "prefect", *arguments, **environment)
        self.workers.append(worker)
        return worker

    def start_serving(self, name: str = "serving", **environment: str) -> subprocess.Popen[bytes]:
        """A machine that plays, as ``banzuke serve`` makes it; ``environment`` is added to its own."""
        serving = self._start(name, "deployments.cli", "serve", **environment)
        self.workers.append(serving)
        self.until(lambda: "Serving" in self.said(name) or serving.poll() is not None, "the machine to serve")
        assert serving.poll() is None, self.said(name)
        return serving

    def deploy(self) -> None:
        """As ``banzuke deploy`` does."""
        done = self.banzuke("deploy")
        assert done.returncode == 0, done.stdout + done.stderr

    def banzuke(self, *arguments: str | Path, seconds: float = PATIENCE) -> subprocess.CompletedProcess[str]:
        """Run the command in the site's folder, to its end."""
        return subprocess.run(
            [sys.executable, "-m", "deployments.cli", *map(str, arguments)],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )

    def end(self, process: subprocess.Popen[bytes] | None, number: int = signal.SIGTERM) -> None:
        """End a server or a worker, and everything that it has started if it does not do so itself in time."""
        if process is None or process.poll() is not None:
            return
        below = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(number)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if number != signal.SIGKILL:
            for child in psutil.wait_procs(below, timeout=10)[1]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    child.kill()

    def close(self) -> None:
        """End everything."""
        with self._opened:
            for worker in self.workers:
                self.end(worker)
            self.end(self.server)

    def said(self, name: str = "worker") -> str:
        """What a process has written so far."""
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def ask(self, path: str, body: object = None, *, method: str | None = None) -> Any:
        """One request to the API.

        Raises:
            urllib.error.HTTPError: it was refused.
        """
        content = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.address}/api/{path}", content, headers, method=method)
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                with urllib.request.urlopen(request, timeout=30) as response:
                    answer = response.read()
            except urllib.error.HTTPError as refusal:
                # Its database was busy: nothing was done. Prefect's own clients ask again, too.
                if refusal.code != http.HTTPStatus.SERVICE_UNAVAILABLE or time.monotonic() > deadline:
                    raise
                time.sleep(float(refusal.headers.get("Retry-After", "1")))
            except TimeoutError:
                # What only looks may look again.
                if content is not None or time.monotonic() > deadline:
                    raise
            else:
                return json.loads(answer) if answer else None

    def order(self, deployment: str, **parameters: object) -> str:
        """Have a deployment run, as the form does; the flow run's id."""
        found = self.ask(f"deployments/name/{deployment}")
        run = self.ask(f"deployments/{found['id']}/create_flow_run", {"parameters": parameters})
        return str(run["id"])

    def flow_run(self, run: str) -> Any:
        """What the server knows of it."""
        return self.ask(f"flow_runs/{run}")

    def until_state(self, run: str, *names: str, seconds: float = PATIENCE) -> Any:
        """Until a flow run is in one of these states; the flow run."""

        def found() -> Any:
            known = self.flow_run(run)
            return known if known["state"]["name"] in names else None

        what = f"the run to be {' or '.join(names)}"
        return self.until(found, what, seconds=seconds, last=lambda: self.flow_run(run))

    def set_state(self, run: str, **state: object) -> Any:
        """Ask the server to put a flow run into a state, as the UI's buttons do."""
        return self.ask(f"flow_runs/{run}/set_state", {"state": state})

    def games(self) -> GameStore:
        """The store."""
        return GameStore(str(self.store))

    def until_nobody_is_at_the_board(self) -> None:
        """Until no flow has a process below it: no worker of ours, no engine. The flows themselves may still say so."""
        workers = [psutil.Process(worker.pid) for worker in self.workers]
        self.until(lambda: not any(_below(flow) for worker in workers for flow in worker.children()), "games to end")

    def until(
        self, look: Callable[[], Any], what: str, *, seconds: float = PATIENCE, last: Callable[[], Any] | None = None
    ) -> Any:
        """Look until there is something; fail the test, with what the processes said, if there never is."""
        deadline = time.monotonic() + seconds
        while not (found := look()):
            if time.monotonic() > deadline:
                logs = "\n".join(f"--- {path.name}\n{path.read_text(errors='replace')[-3000:]}" for path in self.logs())
                raise AssertionError(f"waited {seconds} s for {what}; {last() if last else ''}\n{logs}")
            time.sleep(0.1)
        return found

    def logs(self) -> Iterator[Path]:
        """Of every process."""
        yield from sorted(self.folder.glob("*.log"))

    def _answers(self) -> bool:
        try:
            return bool(self.ask("health"))
        except (OSError, urllib.error.URLError):
            assert self.server is not None
            assert self.server.poll() is None, self.said("server")
            return False

    def _start(self, name: str, module: str, *arguments: str, **environment: str) -> subprocess.Popen[bytes]:
        with (self.folder / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                cwd=self.folder,
                env={**self.environment, **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def _below(process: psutil.Process) -> list[psutil.Process]:
    """What a process has started; nothing where it is over."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.children(recursive=True)
    return []
