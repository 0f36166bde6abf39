"""One worker process seen from its parent: started, spoken to, listened to with a deadline, and ended for certain."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

import psutil

import banzuke
from banzuke.errors import WorkerDiedError, WorkerTimeoutError
from banzuke.workers.deadline_board import DeadlineBoard
from banzuke.workers.messages import ORDER, REPORT, Leave, Order, Report

LEAVE_SECONDS = 3.0
TERMINATE_SECONDS = 0.5
REAP_SECONDS = 5.0
OBITUARY_SECONDS = 1.0
"""For a worker that has closed its pipe to end, so that it can be said how."""
SEND_TICK_SECONDS = 0.1
WORDS_KEPT = 4096
PACKAGE_HOME = Path(banzuke.__file__).resolve().parent.parent

# PDEATHSIG speaks of the *thread* that forked. Workers outlive the task threads that ask for them, so one thread that
# lives as long as this process starts them all.
_starter = ThreadPoolExecutor(max_workers=1, thread_name_prefix="worker-starter")


class WorkerProcess:
    """A running worker. Not for use by two threads at once.

    Raises:
        WorkerDiedError: it could not be started at all.
    """

    def __init__(self, *, torch_threads: int = 0) -> None:
        with contextlib.ExitStack() as opened:
            try:
                self.board = DeadlineBoard.create()
                opened.callback(self.board.close)
                self._words: IO[bytes] = opened.enter_context(tempfile.TemporaryFile())
                life, self._life = os.pipe()
                opened.callback(os.close, self._life)
                try:
                    self._process = _starter.submit(self._start, life, torch_threads).result()
                finally:
                    os.close(life)
            except OSError as error:
                raise WorkerDiedError(f"no worker could be started: {error}") from error
            opened.pop_all()
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("subprocess gave no pipes")
        self._stdin, self._stdout = self._process.stdin, self._process.stdout
        os.set_blocking(self._stdin.fileno(), False)
        os.set_blocking(self._stdout.fileno(), False)
        self.pid = self._process.pid
        self._itself = psutil.Process(self.pid)
        self._family: dict[int, psutil.Process] = {}
        self._unread = bytearray()
        self._closed = False

    def _start(self, life: int, torch_threads: int) -> subprocess.Popen[bytes]:
        command = [sys.executable, *_isolation(), "-m", "banzuke.workers.child"]
        command += ["--parent", str(os.getpid()), "--board", str(self.board.fd), "--life", str(life)]
        command += ["--torch", str(torch_threads)]
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._words,
            bufsize=0,
            pass_fds=[self.board.fd, life],
            start_new_session=True,
        )

    def is_running(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.poll() is None

    def send(self, order: Order, *, deadline: float, on_tick: Callable[[], None]) -> None:
        """Tell the worker something.

        Args:
            order: what.
            deadline: on the monotonic clock.
            on_tick: called about ten times a second while the worker does not read; may raise.

        Raises:
            WorkerDiedError: nobody reads at the other end.
            WorkerTimeoutError: it did not take the order by the deadline. Part of it may have been written.
        """
        rest = memoryview(ORDER.dump_json(order) + b"\n")
        while rest:
            if self._closed:
                raise WorkerDiedError(self.obituary())
            left = deadline - time.monotonic()
            if not _is_ready(self._stdin, select.POLLOUT, min(left, SEND_TICK_SECONDS)):
                if left <= 0:
                    raise WorkerTimeoutError(f"worker {self.pid} took no orders")
                on_tick()
                continue
            try:
                rest = rest[os.write(self._stdin.fileno(), rest) :]
            except BlockingIOError:
                continue
            except BrokenPipeError as error:
                raise WorkerDiedError(self.obituary()) from error

    def receive(self, seconds: float) -> Report | None:
        """The next thing the worker says, or None if it says nothing for so long.

        Raises:
            WorkerDiedError: it has closed its end, or what it says makes no sense.
        """
        line = self._next_line()
        if line is None and self._closed:
            raise WorkerDiedError(self.obituary())
        if line is None and _is_ready(self._stdout, select.POLLIN, seconds):
            with contextlib.suppress(BlockingIOError):
                arrived = os.read(self._stdout.fileno(), 1 << 20)
                if not arrived:
                    raise WorkerDiedError(self.obituary())
                self._unread += arrived
            line = self._next_line()
        try:
            return None if line is None else REPORT.validate_json(line)
        except ValueError as error:
            raise WorkerDiedError(f"worker {self.pid} said what is no report: {(line or b'')[:80]!r}") from error

    def _next_line(self) -> bytes | None:
        end = self._unread.find(b"\n")
        if end < 0:
            return None
        line = bytes(self._unread[:end])
        del self._unread[: end + 1]
        return line

    def memory_bytes(self) -> int:
        """Resident memory of the worker and all its descendants, pages they share counted in each."""
        total = 0
        for process in self._look_at_family():
            with contextlib.suppress(psutil.Error):
                total += process.memory_info().rss
        return total

    def leave(self) -> None:
        """Ask the worker to end, and make sure that it does."""
        deadline = time.monotonic() + LEAVE_SECONDS
        self._look_at_family()
        with contextlib.suppress(WorkerDiedError, WorkerTimeoutError):
            self.send(Leave(), deadline=deadline, on_tick=lambda: None)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(max(0.0, deadline - time.monotonic()))
        self.kill()

    def kill(self) -> None:
        """Terminate, wait a moment, kill the whole group and every descendant, reap. Idempotent."""
        if self._closed:
            return
        self._look_at_family()
        self._signal_group(signal.SIGTERM)
        _still_running(self._family.values(), TERMINATE_SECONDS if self.is_running() else 0.0)
        # Once more: what the terminated ones may have started meanwhile.
        self._look_at_family()
        self._signal_group(signal.SIGKILL)
        alive = _still_running(self._family.values(), 0.0)
        for process in alive:
            with contextlib.suppress(psutil.Error):
                process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(REAP_SECONDS)
        _still_running(alive, REAP_SECONDS)
        self._close()

    def _signal_group(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    def _look_at_family(self) -> list[psutil.Process]:
        """The worker and its descendants now.

        All that were ever seen are remembered: when a worker is killed by somebody else, those that have left its
        process group are nobody's descendants any more.
        """
        family: list[psutil.Process] = []
        with contextlib.suppress(psutil.Error):
            if self.is_running():
                family = [self._itself, *self._itself.children(recursive=True)]
        gone = [pid for pid, process in self._family.items() if not process.is_running()]
        for pid in gone:
            del self._family[pid]
        self._family.update((process.pid, process) for process in family)
        return family

    def _close(self) -> None:
        self._closed = True
        self._stdin.close()
        self._stdout.close()
        os.close(self._life)
        self._words.close()
        self.board.close()

    def obituary(self) -> str:
        """One line on how the worker ended, with its last words."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(OBITUARY_SECONDS)
        words = self._last_words()
        return f"worker {self.pid} {_how_it_ended(self._process.returncode)}" + (f": {words}" if words else "")

    def _last_words(self) -> str:
        if self._words.closed:
            return ""
        size = self._words.seek(0, os.SEEK_END)
        self._words.seek(max(0, size - WORDS_KEPT))
        lines = self._words.read().decode(errors="replace").split("\n")
        spoken = [line.strip() for line in lines if line.strip()]
        return "".join(char for char in spoken[-1][:300] if char.isprintable()) if spoken else ""


def _isolation() -> list[str]:
    """Keeps the present folder out of the worker's imports, unless it is where this very package comes from.

    Who calls us from a folder with a ``queue.py`` or a ``random.py`` of its own would break every worker.
    """
    with contextlib.suppress(OSError):
        if Path.cwd() == PACKAGE_HOME:
            return []
    return ["-P"]


def _is_ready(pipe: IO[bytes], events: int, seconds: float) -> bool:
    """Wait until a pipe can be read or written, or its other end is closed."""
    poll = select.poll()  # select() cannot take descriptors above 1023
    poll.register(pipe.fileno(), events)
    return bool(poll.poll(max(0.0, seconds) * 1000))


def _still_running(processes: Iterable[psutil.Process], seconds: float) -> list[psutil.Process]:
    """Those that have not ended after so long. A zombie has ended, whoever is to reap it."""
    deadline = time.monotonic() + seconds
    running = list(processes)
    while True:
        running = [process for process in running if _is_running(process)]
        left = deadline - time.monotonic()
        if not running or left <= 0:
            return running
        psutil.wait_procs(running, timeout=min(left, 0.02))


def _is_running(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _how_it_ended(code: int | None) -> str:
    if code is None:
        return "closed its pipe"
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"
