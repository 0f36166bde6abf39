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
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import IO

import psutil

from banzuke.errors import WorkerDiedError, WorkerTimeoutError
from banzuke.workers.deadline_board import DeadlineBoard
from banzuke.workers.messages import ORDER, REPORT, Leave, Order, Report

LEAVE_SECONDS = 3.0
TERMINATE_SECONDS = 0.5
REAP_SECONDS = 5.0
WORDS_KEPT = 4096

# PDEATHSIG speaks of the *thread* that forked. Workers outlive the task threads that ask for them, so one thread that
# lives as long as this process starts them all.
_starter = ThreadPoolExecutor(max_workers=1, thread_name_prefix="worker-starter")


class WorkerProcess:
    """A running worker. Not for use by two threads at once."""

    def __init__(self, *, torch_threads: int = 0) -> None:
        self.board = DeadlineBoard.create()
        self._words: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed in end()
        self._unread = bytearray()
        command = [sys.executable, "-m", "banzuke.workers.child", "--parent", str(os.getpid())]
        command += ["--board", str(self.board.fd), "--torch", str(torch_threads)]
        self._process = _starter.submit(self._start, command).result()
        self._stdin, self._stdout = self._process.stdin, self._process.stdout
        if self._stdin is None or self._stdout is None:
            raise WorkerDiedError("the worker has no pipes")
        os.set_blocking(self._stdin.fileno(), False)
        os.set_blocking(self._stdout.fileno(), False)
        self.pid = self._process.pid

    def _start(self, command: list[str]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._words,
            bufsize=0,
            pass_fds=[self.board.fd],
            start_new_session=True,
        )

    def send(self, order: Order, *, deadline: float) -> None:
        """Tell the worker something.

        Raises:
            WorkerDiedError: nobody reads at the other end.
            WorkerTimeoutError: it did not take the order by ``deadline`` (monotonic).
        """
        if self._stdin is None:
            raise WorkerDiedError(self.obituary())
        rest = memoryview(ORDER.dump_json(order) + b"\n")
        while rest:
            seconds = max(0.0, deadline - time.monotonic())
            if not select.select([], [self._stdin], [], seconds)[1]:
                raise WorkerTimeoutError(f"worker {self.pid} took no orders")
            try:
                rest = rest[os.write(self._stdin.fileno(), rest) :]
            except BlockingIOError:
                continue
            except BrokenPipeError as error:
                raise WorkerDiedError(self.obituary()) from error

    def receive(self, seconds: float) -> Report | None:
        """The next thing the worker says, or None if it says nothing for so long.

        Raises:
            WorkerDiedError: it has closed its end.
        """
        line = self._next_line()
        if line is None and self._stdout is not None and select.select([self._stdout], [], [], seconds)[0]:
            with contextlib.suppress(BlockingIOError):
                arrived = os.read(self._stdout.fileno(), 1 << 20)
                if not arrived:
                    raise WorkerDiedError(self.obituary())
                self._unread += arrived
            line = self._next_line()
        return None if line is None else REPORT.validate_json(line)

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
        for process in self._family():
            with contextlib.suppress(psutil.Error):
                total += process.memory_info().rss
        return total

    def leave(self) -> None:
        """Ask the worker to end, and make sure that it does."""
        deadline = time.monotonic() + LEAVE_SECONDS
        with contextlib.suppress(WorkerDiedError, WorkerTimeoutError):
            self.send(Leave(), deadline=deadline)
            self._process.wait(max(0.0, deadline - time.monotonic()))
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(max(0.0, deadline - time.monotonic()))
        self.kill()

    def kill(self) -> None:
        """Terminate, wait a moment, kill the whole group and every descendant, reap. Idempotent."""
        family = list(self._family())
        self._signal_group(signal.SIGTERM)
        _, alive = psutil.wait_procs(family, timeout=TERMINATE_SECONDS if self._process.poll() is None else 0)
        self._signal_group(signal.SIGKILL)
        for process in alive:
            with contextlib.suppress(psutil.Error):
                process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(REAP_SECONDS)
        psutil.wait_procs(alive, timeout=REAP_SECONDS)
        self._close()

    def _signal_group(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    def _family(self) -> Iterator[psutil.Process]:
        try:
            worker = psutil.Process(self.pid)
            yield worker
            yield from worker.children(recursive=True)
        except psutil.Error:
            return

    def _close(self) -> None:
        for pipe in (self._stdin, self._stdout):
            if pipe is not None:
                pipe.close()
        self._stdin = self._stdout = None
        if not self._words.closed:
            self._words.close()
            self.board.close()

    def obituary(self) -> str:
        """One line on how the worker ended, with its last words."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(REAP_SECONDS)
        code = self._process.returncode
        if code is None:
            how = "closed its pipe"
        elif code < 0:
            how = f"was ended by {signal.Signals(-code).name}"
        else:
            how = f"ended with exit code {code}"
        words = self._last_words()
        return f"worker {self.pid} {how}" + (f": {words}" if words else "")

    def _last_words(self) -> str:
        if self._words.closed:
            return ""
        size = self._words.seek(0, os.SEEK_END)
        self._words.seek(max(0, size - WORDS_KEPT))
        lines = self._words.read().decode(errors="replace").split("\n")
        spoken = [line.strip() for line in lines if line.strip()]
        return "".join(char for char in spoken[-1][:300] if char.isprintable()) if spoken else ""
