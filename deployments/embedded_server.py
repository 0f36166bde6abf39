"""A Prefect server of our own for one command on one machine: private, migrated beforehand, and gone when we are.

Prefect's own temporary server outlives a killed process, migrates its database for ten seconds, and shares the
user's ``~/.prefect``. This one is a child process tied to the life of ours, listens on 127.0.0.1 on a port that the
system chose, and works on a copy of a database that was migrated once per Prefect version.

The listening socket is ours. While no server is there, or one that is stuck, connections wait in its queue; a thread
starts a new server on the same socket and the same database, and the client notices a pause.

Crash before: nothing is there yet. During: the child dies with us; its folder stays until the next command, which
sweeps away every folder whose lock nobody holds. After: nothing is left but the template.
"""

from __future__ import annotations

import contextlib
import fcntl
import http.client
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import version
from pathlib import Path

import psutil

from banzuke.errors import BanzukeError
from banzuke.workers.tether import tethered

START_SECONDS = 90.0
"""For a server to answer for the first time, and the longest that one may be mute later, however busy it is."""
STOP_SECONDS = 2.0
LOOK_SECONDS = 0.25
"""Between two looks whether the server's process is there."""
PROBE_SECONDS = 5.0
"""Between two questions whether the server answers, as long as it does."""
ANSWER_SECONDS = 1.0
FROZEN_AFTER = 15
"""Unanswered questions in a row, with no processor time used meanwhile, after which a server is taken for stuck."""
STEADY_SECONDS = 5.0
"""A server that ends sooner after its first answer has not come back."""
MOST_FAILURES = 3
"""In a row; then the server is given up."""
BACKLOG = 1024

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

NEEDED_BYTES = 8 << 20
"""A database and its journal; with less a server cannot even say what is wrong."""
DRAFT = "new-"
TEMPLATE_DRAFT = ".draft-"
DRAFT_SECONDS = 600.0
"""A home that is being made has its name and its lock long before; one that has not was left by a killed command."""

MIGRATED = {
    "PREFECT_SERVER_DATABASE_MIGRATE_ON_START": "false",
    "PREFECT_API_BLOCKS_REGISTER_ON_START": "false",
}
"""For a server on a copy of the template, where both are already done."""


class ServerStartError(BanzukeError):
    """The embedded Prefect server could not be started."""


class EmbeddedServer:
    """A server that is being started; :meth:`wait` until it answers, :meth:`stop` it at the end.

    In between it is kept alive: one that has died, or is stuck, is replaced.
    """

    def __init__(self, home: Path, lock: int, settings: Mapping[str, str]) -> None:
        self.home = home
        self.restarts = 0
        """How often a new server took the place of one that had answered."""
        self.process: subprocess.Popen[bytes] | None = None
        self.on_restart: Callable[[], None] = _nothing
        """Called, in a thread of its own, when a new server answers in the place of one that had died."""
        self.on_lost: Callable[[str], None] = _nothing_of
        """Likewise, with the reason, when the server was given up."""
        self._lock = lock
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
        self._environment = {**kept, **QUIET, **settings, "PREFECT_HOME": str(home)}
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=BACKLOG)
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/api"
        self._end = threading.Event()
        self._settled = threading.Event()
        self._lost: str | None = None
        # The server is tied to the thread that starts it, so that thread must last as long as the server.
        self._keeper = threading.Thread(target=self._keep, name="prefect-server-keeper", daemon=True)

    @classmethod
    def start(cls) -> EmbeddedServer:
        """Start the server; it works on a private home that is deleted by :meth:`stop`."""
        _sweep(cache_folder())
        template = _template()
        home, lock = _new_home()
        shutil.copyfile(template, home / "prefect.db")
        return cls._started(home, lock, MIGRATED)

    @classmethod
    def _started(cls, home: Path, lock: int, settings: Mapping[str, str]) -> EmbeddedServer:
        server = cls(home, lock, settings)
        server._keeper.start()
        return server

    @property
    def environment(self) -> dict[str, str]:
        """What a client in this process needs in its environment before it imports Prefect."""
        direct = {
            name: ",".join(filter(None, (os.environ.get(name), "127.0.0.1"))) for name in ("no_proxy", "NO_PROXY")
        }
        return {**QUIET, **direct, "PREFECT_HOME": str(self.home), "PREFECT_API_URL": self.url}

    def wait(self) -> None:
        """Until the server answers.

        Raises:
            ServerStartError: it could not be started, or did not answer in time; with its last words.
        """
        in_time = self._settled.wait(START_SECONDS)
        if in_time and self._lost is None:
            return
        words = self._lost or self._last_words()
        self.stop()
        raise ServerStartError(f"the embedded Prefect server did not start: {words}")

    def stop(self) -> None:
        """End the server and delete its home. Idempotent."""
        self._end.set()
        self._keeper.join()
        self._listener.close()
        if self._lock >= 0:
            shutil.rmtree(self.home, ignore_errors=True)
            os.close(self._lock)
            self._lock = -1

    def _keep(self) -> None:
        """One server after the other, until the end is wanted or the last few in a row were of no use."""
        failures = 0
        while not self._end.is_set():
            answered = self._live_once()
            if self._end.is_set():
                return
            failures = 0 if answered >= STEADY_SECONDS else failures + 1
            if failures >= MOST_FAILURES:
                self._lost = self._last_words()
                self._settled.set()
                self.on_lost(self._lost)
                return

    def _live_once(self) -> float:
        """Start a server and look after it to its end.

        Returns:
            For how long it answered; seconds.
        """
        try:
            self.process = process = self._launch()
        except OSError as error:
            (self.home / "server.log").write_text(f"{error}\n")
            return 0.0
        try:
            return self._look_after(process)
        finally:
            _end(process)

    def _look_after(self, process: subprocess.Popen[bytes]) -> float:
        first_answer: float | None = None
        pulse = _Pulse(process.pid)
        next_probe = 0.0
        while process.poll() is None and not self._end.is_set():
            if time.monotonic() < next_probe:
                self._end.wait(LOOK_SECONDS)
                continue
            # Whether it can work at all is asked once: its database may be at fault, and then it will stay so.
            answer = self._answer("/api/ready" if first_answer is None else "/api/health")
            if answer is None:
                if pulse.is_lost():
                    break
                continue
            if first_answer is None and answer != http.HTTPStatus.OK:
                break
            next_probe = time.monotonic() + PROBE_SECONDS
            pulse.felt()
            if first_answer is None:
                first_answer = time.monotonic()
                self._announce()
        return 0.0 if first_answer is None else time.monotonic() - first_answer

    def _announce(self) -> None:
        if self._settled.is_set():
            self.restarts += 1
            self.on_restart()
        self._settled.set()

    def _answer(self, path: str) -> int | None:
        # The port listens from the start; the answer comes as soon as the server is up.
        line = http.client.HTTPConnection("127.0.0.1", self.port, timeout=ANSWER_SECONDS)
        try:
            line.request("GET", path)
            return line.getresponse().status
        except (OSError, http.client.HTTPException):
            return None
        finally:
            line.close()

    def _launch(self) -> subprocess.Popen[bytes]:
        listener_fd = self._listener.fileno()
        command = [sys.executable, "-m", "deployments.embedded_server", str(listener_fd)]
        with (self.home / "server.log").open("wb") as log:
            return subprocess.Popen(
                tethered(command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment,
                pass_fds=[listener_fd],
                start_new_session=True,  # Ctrl-C is for us; the server must stay until the flow has ended
            )

    def _last_words(self) -> str:
        try:
            words = (self.home / "server.log").read_text(errors="replace").strip().splitlines()[-1:]
        except OSError as error:
            words = [str(error)]
        with contextlib.suppress(OSError):
            if not words and shutil.disk_usage(self.home).free < NEEDED_BYTES:
                words = [f"no space left on the disk of {self.home}; set BANZUKE_CACHE to a folder with room"]
        return " ".join(words) or "it gave no reason"


class _Pulse:
    """Tells a server that is stuck from one that is slow because the machine is busy."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._unanswered = 0
        self._used = 0.0
        self._since = time.monotonic()

    def felt(self) -> None:
        """It answered."""
        self._unanswered = 0
        self._since = time.monotonic()

    def is_lost(self) -> bool:
        """It did not answer once more: is it time to give it up?"""
        used = self._processor_seconds()
        if used != self._used:
            self._used, self._unanswered = used, 0
        self._unanswered += 1
        # Counted rather than timed: where this process was stopped itself, one question is open at most.
        return self._unanswered >= FROZEN_AFTER or time.monotonic() - self._since > START_SECONDS

    def _processor_seconds(self) -> float:
        try:
            times = psutil.Process(self.pid).cpu_times()
        except psutil.Error:
            return self._used
        return times.user + times.system


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS)


def _nothing() -> None:
    """Nobody wants to know."""


def _nothing_of(_reason: str) -> None:
    """Nobody wants to know."""


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


def _template() -> Path:
    """A database as a fresh server of this Prefect version leaves it; made once, ten seconds."""
    template = cache_folder() / f"prefect-{version('prefect')}.db"
    if template.is_file():
        return template
    home, lock = _new_home()
    server = EmbeddedServer._started(home, lock, {})  # noqa: SLF001 - the one server that is started otherwise
    try:
        server.wait()
        draft = template.with_name(f"{TEMPLATE_DRAFT}{template.name}.{os.getpid()}")
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
    draft = Path(tempfile.mkdtemp(prefix=DRAFT, dir=homes))
    lock = os.open(draft / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    return draft.rename(homes / draft.name.replace(DRAFT, "home-", 1)), lock


def _sweep(cache: Path) -> None:
    """Delete what killed commands left: homes whose lock nobody holds, and what they had only begun to make."""
    for home in (cache / HOMES).glob("home-*"):
        _delete_unless_locked(home)
    for draft in (*(cache / HOMES).glob(f"{DRAFT}*"), *cache.glob(f"{TEMPLATE_DRAFT}*")):
        with contextlib.suppress(OSError):
            if time.time() - draft.stat().st_mtime > DRAFT_SECONDS:
                _delete(draft)


def _delete_unless_locked(home: Path) -> None:
    try:
        lock = os.open(home / "lock", os.O_RDWR)
    except FileNotFoundError:
        # It has its lock before it has its name: somebody was killed while deleting it.
        _delete(home)
        return
    except OSError:
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _delete(home)
    except OSError:
        pass  # in use, or on a filesystem that knows no locks
    finally:
        os.close(lock)


def _delete(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink()


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
