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
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import psutil

import banzuke
from banzuke.errors import WorkerDiedError, WorkerTimeoutError
from banzuke.workers.deadline_board import DeadlineBoard
from banzuke.workers.descendants import descendants
from banzuke.workers.enclosure import enclosed_command, enclosing
from banzuke.workers.first_process import STARTED
from banzuke.workers.games_board import GamesBoard
from banzuke.workers.messages import ORDER, REPORT, Leave, Order, Report
from banzuke.workers.ownership import AGENT_VARIABLE, WORKER_VARIABLE, end_all, owner_of
from banzuke.workers.starting import started

LEAVE_SECONDS = 3.0
TERMINATE_SECONDS = 0.5
REAP_SECONDS = 5.0
OBITUARY_SECONDS = 1.0
"""For a worker that has closed its pipe to end, so that it can be said how."""
SEND_TICK_SECONDS = 0.1
WORDS_KEPT = 4096
MODULE = "banzuke.workers.child"
KEEP_FREED_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(512 << 20), "MALLOC_TRIM_THRESHOLD_": str(512 << 20)}
"""Of glibc's allocator: a network's layers take the same memory again and again, and having the kernel clear it anew
for every pass costs a tenth of the time."""
PACKAGE_HOME = Path(banzuke.__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryUse:
    """Resident memory of a worker and all its descendants, in bytes, pages they share counted in each."""

    total: int
    worker: int
    """Of the worker's own process: the agents that have none of their own are in there."""
    agents: Mapping[str, int]
    """Of each agent's engine and what that started."""


def _all_below(process: psutil.Process) -> list[psutil.Process]:
    return process.children(recursive=True)


class WorkerProcess:
    """A running worker. Not for use by two threads at once.

    Args:
        torch_threads: the worker imports torch and lets it use so many threads; 0 for no torch.
        enclosed: whether it runs in a process namespace of its own, which nothing it starts can leave; None for
            where the system allows it.

    Raises:
        WorkerDiedError: it could not be started at all.
    """

    def __init__(self, *, torch_threads: int = 0, enclosed: bool | None = None) -> None:
        self.name = f"{os.getpid()}-{uuid.uuid4().hex}"
        way = None if enclosed is False else enclosing()
        if enclosed and way is None:
            raise WorkerDiedError("no worker could be started: this system allows no process namespace")
        self._is_enclosed = way is not None
        with contextlib.ExitStack() as opened:
            try:
                self.board = DeadlineBoard.create()
                opened.callback(self.board.close)
                self.games_board = GamesBoard(self.board.fd)
                opened.callback(self.games_board.close)
                self._words: IO[bytes] = opened.enter_context(tempfile.TemporaryFile())
                life, self._life = os.pipe()
                opened.callback(os.close, self._life)
                self._end, end = os.pipe()
                opened.callback(os.close, self._end)
                try:
                    self._process = started(lambda: self._start(way, life, end, torch_threads))
                finally:
                    os.close(life)
                    os.close(end)
            except OSError as error:
                raise WorkerDiedError(f"no worker could be started: {error}") from error
            opened.pop_all()
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("subprocess gave no pipes")
        self._stdin, self._stdout = self._process.stdin, self._process.stdout
        for descriptor in (self._stdin.fileno(), self._stdout.fileno(), self._end):
            os.set_blocking(descriptor, False)
        self._first: psutil.Process | None = None
        self._itself: psutil.Process | None = None if self._is_enclosed else psutil.Process(self._process.pid)
        self._family: dict[int, psutil.Process] = {}
        self._told_end = b""
        self._unread = bytearray()
        self._closed = False

    def _start(self, way: tuple[str, ...] | None, life: int, end: int, torch_threads: int) -> subprocess.Popen[bytes]:
        # The first process of a namespace is the parent of all, whoever started it.
        parent = os.getpid() if way is None else 1
        arguments = ["--parent", str(parent), "--board", str(self.board.fd), "--life", str(life)]
        arguments += ["--torch", str(torch_threads)]
        if way is None:
            command = [sys.executable, *_isolation(), "-m", MODULE, *arguments]
        else:
            command = enclosed_command(
                way, life=life, end=end, python_options=_isolation(), module=MODULE, arguments=arguments
            )
        # Should an engine have started us: its name on our processes would lay their memory at its door.
        inherited = {name: value for name, value in os.environ.items() if name != AGENT_VARIABLE}
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._words,
            bufsize=0,
            env={**inherited, WORKER_VARIABLE: self.name, **(KEEP_FREED_MEMORY if torch_threads else {})},
            pass_fds=[self.board.fd, life] if way is None else [self.board.fd, life, end],
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        """The worker's process id as everybody but itself sees it.

        As long as an enclosed worker is not there yet (it is when it says that it is ready), of what is to start it.
        """
        itself = self._find_itself()
        return self._process.pid if itself is None else itself.pid

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

    def memory_use(self) -> MemoryUse:
        """What the worker and everything it started hold now, by whom."""
        held = self._resident()
        owners = {process.pid: owner_of(process, AGENT_VARIABLE) for process in held if process != self._itself}
        agents: dict[str, int] = {}
        for process, size in held.items():
            agent = owners.get(process.pid) or self._owner_above(process, owners)
            if agent is not None:
                agents[agent] = agents.get(agent, 0) + size
        worker = 0 if self._itself is None else held.get(self._itself, 0)
        return MemoryUse(total=sum(held.values()), worker=worker, agents=agents)

    def _owner_above(self, process: psutil.Process, owners: Mapping[int, str | None]) -> str | None:
        """Whose the parents of a process are, where it has thrown its own environment away."""
        above = process
        with contextlib.suppress(psutil.Error):
            while (parent := above.parent()) is not None and parent.pid in owners:
                if owners[parent.pid] is not None:
                    return owners[parent.pid]
                above = parent
        return None

    def memory_bytes(self) -> int:
        """Resident memory of the worker and all its descendants, pages they share counted in each."""
        return sum(self._resident().values())

    def _resident(self) -> dict[psutil.Process, int]:
        held: dict[psutil.Process, int] = {}
        for process in self._look_at_family(descendants):
            with contextlib.suppress(psutil.Error):
                held[process] = process.memory_info().rss
        return held

    def leave(self) -> None:
        """Ask the worker to end, and make sure that it does."""
        deadline = time.monotonic() + LEAVE_SECONDS
        self._look_at_family()
        with contextlib.suppress(WorkerDiedError, WorkerTimeoutError):
            self.send(Leave(), deadline=deadline, on_tick=lambda: None)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(max(0.0, deadline - time.monotonic()))
        self.kill()

    def kill(self, *, at_once: bool = False) -> None:
        """Terminate, wait a moment, kill the whole group, every descendant and the namespace, reap. Idempotent.

        Args:
            at_once: without the terminating and the moment.
        """
        if self._closed:
            return
        self._look_at_family()
        if not at_once:
            self._signal_group(signal.SIGTERM)
            _still_running(self._family.values(), TERMINATE_SECONDS if self.is_running() else 0.0)
            # Once more: what the terminated ones may have started meanwhile.
            self._look_at_family()
        self._signal_group(signal.SIGKILL)
        alive = _still_running(self._family.values(), 0.0)
        for process in alive:
            with contextlib.suppress(psutil.Error):
                process.kill()
        self._reap()
        if not self._is_enclosed:
            end_all(WORKER_VARIABLE, self.name, psutil.process_iter)
        _still_running(alive, REAP_SECONDS)
        self._close()

    def _reap(self) -> None:
        """Wait for the process we started; with an enclosure, for the end of everything in it."""
        if self._first is not None:
            # Before unshare, who is to reap it: an orphan of a container may find nobody who does.
            with contextlib.suppress(psutil.Error):
                self._first.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(REAP_SECONDS / 2)
        if self._is_enclosed:
            self._process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(REAP_SECONDS)

    def _signal_group(self, number: signal.Signals) -> None:
        leader = self._find_itself()
        # A worker in an enclosure is reaped by somebody else: its number may be another's already.
        if self._is_enclosed and (leader is None or not leader.is_running()):
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid if leader is None else leader.pid, number)

    def _look_at_family(
        self, below: Callable[[psutil.Process], list[psutil.Process]] = _all_below
    ) -> list[psutil.Process]:
        """The worker and its descendants now.

        All that were ever seen are remembered: when a worker is killed by somebody else, those that have left its
        process group are nobody's descendants any more.
        """
        family: list[psutil.Process] = []
        itself = self._find_itself()
        with contextlib.suppress(psutil.Error):
            if itself is not None and self.is_running():
                family = [itself, *below(itself)]
        gone = [pid for pid, process in self._family.items() if not process.is_running()]
        for pid in gone:
            del self._family[pid]
        self._family.update((process.pid, process) for process in family)
        return family

    def _find_itself(self) -> psutil.Process | None:
        """The worker; None as long as an enclosed one is not there."""
        if self._itself is None and self.is_running():
            with contextlib.suppress(psutil.Error):
                # What unshare starts is the first process, and what that starts is the worker.
                for child in psutil.Process(self._process.pid).children():
                    self._first = child
                    self._itself = next(iter(child.children()), None)
        return self._itself

    def _close(self) -> None:
        self._closed = True
        self._stdin.close()
        self._stdout.close()
        os.close(self._life)
        os.close(self._end)
        self._words.close()
        self.games_board.close()
        self.board.close()

    def obituary(self) -> str:
        """One line on how the worker ended, with its last words."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(OBITUARY_SECONDS)
        words = self._last_words()
        return f"worker {self.pid} {_how_it_ended(self.exit_code())}" + (f": {words}" if words else "")

    def exit_code(self) -> int | None:
        """The worker's exit code; the number of the signal that ended it, negative; None while it is running."""
        code = self._process.poll()
        if not self._closed:
            with contextlib.suppress(BlockingIOError):
                self._told_end += os.read(self._end, 64)
        if not self._told_end:
            return code
        told = self._told_end.removeprefix(STARTED)
        if told:
            return int(told)
        # The enclosure ended before the worker: from outside, that is done by one signal only.
        return None if code is None else -signal.SIGKILL

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
