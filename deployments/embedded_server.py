"""A Prefect server of our own for one command on one machine: private, migrated beforehand, and gone when we are.

Prefect's own temporary server outlives a killed process, migrates its database for ten seconds, and shares the
user's ``~/.prefect``. This one is a child process tied to the life of ours, listens on 127.0.0.1 on a port that the
system chose, and works on a copy of a database that was migrated once per Prefect version.

Crash before: nothing is there yet. During: the child dies with us; its folder stays until the next command, which
sweeps away every folder whose lock nobody holds. After: nothing is left but the template.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path

from banzuke.errors import BanzukeError
from banzuke.workers.tether import tethered

START_SECONDS = 90.0
STOP_SECONDS = 2.0

QUIET = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_UI_ENABLED": "false",
    "PREFECT_SERVER_LOGGING_LEVEL": "CRITICAL",
    "PREFECT_LOGGING_SERVER_LEVEL": "CRITICAL",
    "PREFECT_LOGGING_TO_API_ENABLED": "false",
}
"""Settings of the embedded server and of the client that talks to it: nothing leaves the machine."""

HOMES = "homes"

MIGRATED = {
    "PREFECT_SERVER_DATABASE_MIGRATE_ON_START": "false",
    "PREFECT_API_BLOCKS_REGISTER_ON_START": "false",
}
"""For a server on a copy of the template, where both are already done."""


class ServerStartError(BanzukeError):
    """The embedded Prefect server could not be started."""


class EmbeddedServer:
    """A server that is being started; :meth:`wait` until it answers, :meth:`stop` it at the end."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, home: Path, lock: int) -> None:
        self.process = process
        self.home = home
        self.url = f"http://127.0.0.1:{port}/api"
        self._lock = lock

    @classmethod
    def start(cls) -> EmbeddedServer:
        """Start the server; it works on a private home that is deleted by :meth:`stop`."""
        _sweep(cache_folder() / HOMES)
        template = _template()
        home, lock = _new_home()
        shutil.copyfile(template, home / "prefect.db")
        return _launch(home, lock, MIGRATED)

    @property
    def environment(self) -> dict[str, str]:
        """What a client in this process needs in its environment before it imports Prefect."""
        return {**QUIET, "PREFECT_HOME": str(self.home), "PREFECT_API_URL": self.url}

    def wait(self) -> None:
        """Until the server answers.

        Raises:
            ServerStartError: it ended, or did not answer in time; with its last words.
        """
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                break
            # The port listens from the start; the answer comes as soon as the server is up.
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{self.url}/health", timeout=1):  # noqa: S310 - our own address
                return
        words = (self.home / "server.log").read_text(errors="replace").strip().splitlines()[-1:]
        self.stop()
        raise ServerStartError(f"the embedded Prefect server did not start: {' '.join(words) or 'no reason given'}")

    def stop(self) -> None:
        """End the server and delete its home. Idempotent."""
        self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(STOP_SECONDS)
        if self._lock >= 0:
            shutil.rmtree(self.home, ignore_errors=True)
            os.close(self._lock)
            self._lock = -1


def cache_folder() -> Path:
    """Where the template and the homes of running servers are; settable by ``BANZUKE_CACHE``.

    Where that cannot be written, a folder of this user's among the temporary files takes its place.
    """
    wanted = _wanted_cache_folder()
    try:
        (wanted / HOMES).mkdir(parents=True, exist_ok=True)
    except OSError:
        wanted = Path(tempfile.gettempdir()) / f"banzuke-{os.getuid()}"
        _make_private(wanted)
    return wanted


def _wanted_cache_folder() -> Path:
    given = os.environ.get("BANZUKE_CACHE")
    if given:
        return Path(given)
    base = os.environ.get("XDG_CACHE_HOME")
    try:
        return Path(base) / "banzuke" if base else Path.home() / ".cache" / "banzuke"
    except RuntimeError:  # a user without a home
        return Path(os.devnull) / "banzuke"


def _make_private(folder: Path) -> None:
    """A folder that is ours alone: others may write where temporary files are, and could have made it before us."""
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.stat(follow_symlinks=False)
        if status.st_uid != os.getuid() or not folder.is_dir():
            raise ServerStartError(f"{folder} belongs to somebody else; set BANZUKE_CACHE to a folder of yours")
        (folder / HOMES).mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise ServerStartError(f"{folder}: {error.strerror}; set BANZUKE_CACHE to a folder of yours") from error


def _launch(home: Path, lock: int, settings: Mapping[str, str]) -> EmbeddedServer:
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    port = listener.getsockname()[1]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    environment = {**kept, **QUIET, **settings, "PREFECT_HOME": str(home)}
    command = [sys.executable, "-m", "deployments.embedded_server", str(listener.fileno())]
    with listener, (home / "server.log").open("wb") as log:
        process = subprocess.Popen(
            tethered(command),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
            pass_fds=[listener.fileno()],
            start_new_session=True,  # Ctrl-C is for us; the server must stay until the flow has ended
        )
    return EmbeddedServer(process, port, home, lock)


def _template() -> Path:
    """A database as a fresh server of this Prefect version leaves it; made once, ten seconds."""
    template = cache_folder() / f"prefect-{version('prefect')}.db"
    if template.is_file():
        return template
    home, lock = _new_home()
    server = _launch(home, lock, {})
    try:
        server.wait()
        draft = template.with_name(f".{template.name}.{os.getpid()}")
        with (
            contextlib.closing(sqlite3.connect(home / "prefect.db")) as source,
            contextlib.closing(sqlite3.connect(draft)) as target,
        ):
            source.backup(target)
        draft.replace(template)
    finally:
        server.stop()
    return template


def _new_home() -> tuple[Path, int]:
    """A new folder and its lock, held from before it has the name that a sweep looks for."""
    homes = cache_folder() / HOMES
    draft = Path(tempfile.mkdtemp(prefix="new-", dir=homes))
    lock = os.open(draft / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    return draft.rename(homes / draft.name.replace("new-", "home-", 1)), lock


def _sweep(homes: Path) -> None:
    """Delete the homes of commands that were killed: those whose lock nobody holds."""
    for home in homes.glob("home-*"):
        try:
            lock = os.open(home / "lock", os.O_RDWR)
        except OSError:
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(home, ignore_errors=True)
        except BlockingIOError:
            pass
        finally:
            os.close(lock)


class ChosenServer:
    """A server that somebody else runs; there is nothing to start or to stop."""

    def __init__(self, url: str) -> None:
        self.environment = {"PREFECT_API_URL": url}

    def wait(self) -> None:
        """It is up, or the first call to it will say so."""


@contextlib.contextmanager
def api(*, chosen: str | None) -> Iterator[EmbeddedServer | ChosenServer]:
    """The Prefect API for one command: the chosen server's, or that of an embedded one, which ends with the block."""
    if chosen:
        yield ChosenServer(chosen)
        return
    server = EmbeddedServer.start()
    try:
        yield server
    finally:
        server.stop()


def _serve(listener_fd: int) -> None:
    """Run Prefect's server application on a socket that is already listening."""
    import uvicorn  # noqa: PLC0415 - the parent never needs it
    from prefect.server.api.server import create_app  # noqa: PLC0415 - likewise

    config = uvicorn.Config(create_app(), log_level="error", lifespan="on", timeout_graceful_shutdown=1)
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=listener_fd)])


if __name__ == "__main__":
    _serve(int(sys.argv[1]))
