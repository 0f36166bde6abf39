"""An external program one talks to in lines, which may hang, flood, mumble or die without taking us along."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from banzuke.errors import AgentCrashError, AgentStallError
from banzuke.workers.ownership import AGENT_VARIABLE, end_all
from banzuke.workers.tether import tethered

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

LINE_LIMIT = 64 * 1024
"""Bytes of a line that are kept; what follows up to its end is dropped."""

FLOOD_BYTES = 64 * 2**20
FLOOD_LINES = 250_000
FLOOD_BYTES_PER_SECOND = 4 * 2**20
FLOOD_LINES_PER_SECOND = 10_000
"""What may be printed in one wait for an answer: so much, and so much more for every second of it. A flood passes
this in seconds; a talkative engine, with a thousand lines a second, never does."""

_CHUNK = 64 * 1024
_EXIT_CHECK_SECONDS = 0.1
_EXIT_SECONDS = 0.5
_FINAL_READS = 16
_STDERR_KEPT = 4096
_LAST_WORDS = 300
_REAP_SECONDS = 10.0


def printable(text: str, limit: int) -> str:
    """``text`` as one line of at most ``limit`` characters, without anything that steers a terminal."""
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    return line if len(line) <= limit else line[: limit - 3] + "..."


class EngineProcess:
    """A running program with its pipes.

    It stays in the caller's process group (which is killed as a whole if the caller hangs) and is tethered
    to the thread that constructs this object: it dies with that thread. All deadlines are absolute, in
    seconds on the monotonic clock. One thread at a time may use an object.

    Args:
        command: program and arguments; the program is looked for as exec does.
        directory: its working directory; None for ours.
        agent: whose engine it is, for the environment of everything it starts; None for nobody's.
        grace_seconds: how long :meth:`close` leaves it between SIGTERM and SIGKILL.

    Raises:
        AgentCrashError: it cannot be started at all.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        directory: Path | None = None,
        agent: str | None = None,
        grace_seconds: float = 1.0,
    ) -> None:
        self.program = printable(Path(command[0]).name, 80)
        self.first_line = ""
        """The first line it ever printed that is not blank; printable."""
        self._agent = agent
        self._grace_seconds = grace_seconds
        try:
            self._popen = subprocess.Popen(
                tethered(command),
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=directory,
                env=None if agent is None else {**os.environ, AGENT_VARIABLE: agent},
            )
        except (OSError, ValueError) as error:
            raise AgentCrashError(f"{self.program}: cannot be started: {printable(str(error), 200)}") from error
        if self._popen.stdin is None or self._popen.stdout is None or self._popen.stderr is None:
            raise RuntimeError("subprocess gave no pipes")
        self._stdin = self._popen.stdin.fileno()
        self._stdout = self._popen.stdout.fileno()
        self._stderr = self._popen.stderr.fileno()
        for descriptor in (self._stdin, self._stdout, self._stderr):
            os.set_blocking(descriptor, False)
        self._output = select.poll()
        self._output.register(self._stdout, select.POLLIN)
        self._output.register(self._stderr, select.POLLIN)
        self._unsent = bytearray()
        self._splitter = _LineSplitter()
        self._bytes_read = 0
        self._last_words = b""
        self._stderr_ended = False
        self._ended = False
        self._reads_after_exit = 0
        self._closed = False

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._popen.pid

    def is_running(self) -> bool:
        """Whether it has neither ended nor closed its output, as far as can be seen without waiting."""
        return not self._closed and not self._ended and self._popen.poll() is None

    def send(self, line: str, deadline: float) -> None:
        """Write a line.

        While the program does not read, what it prints is thrown away: it cannot be an answer to this line.

        Raises:
            AgentCrashError: it has ended or closed its input.
            AgentStallError: it had not read enough to take the line by the deadline.
        """
        self._unsent += line.encode() + b"\n"
        while not self._sent():
            left = deadline - time.monotonic()
            if left <= 0:
                raise AgentStallError(f"{self.program}: did not read its input by the deadline")
            self._output.register(self._stdin, select.POLLOUT)
            try:
                self._look(left)
            finally:
                self._output.unregister(self._stdin)
            for _ in self._lines():
                pass
            if self._ended:
                raise self.death()

    def post(self, line: str) -> None:
        """Write a line as far as that goes without waiting; the rest goes with the next one. Never raises."""
        self._unsent += line.encode() + b"\n"
        with suppress(OSError):
            self._flush()

    def lines(self, deadline: float, *, awaited: str) -> Iterator[str]:
        """What it prints on stdout, line by line, as it comes.

        Args:
            deadline: when to stop waiting.
            awaited: what the caller waits for, in the error's words.

        Raises:
            AgentCrashError: it has ended, and everything it printed before was yielded; or it prints without end,
                more than any engine that will ever answer.
            AgentStallError: the deadline has passed, however much was printed.
        """
        printed, read_before, started = 0, self._bytes_read, time.monotonic()
        # What lies in the pipe at the deadline was printed in time: one last look, of one bounded read.
        last_look = False
        while True:
            for line in self._lines():
                printed += 1
                yield line
            if self._ended:
                raise self.death()
            size = self._bytes_read - read_before
            if _is_flood(printed, size, time.monotonic() - started):
                raise AgentCrashError(
                    f"{self.program}: printed {printed} lines, {size >> 20} MiB, without the {awaited} asked for"
                )
            if last_look:
                raise AgentStallError(
                    f"{self.program}: no {awaited} by the deadline; it printed {printed} lines meanwhile"
                )
            left = deadline - time.monotonic()
            last_look = left <= 0
            self._look(max(0.0, left))

    def pending(self) -> Iterator[str]:
        """What it has printed up to now; never waits, and ends however fast it goes on printing."""
        for _ in range(_FINAL_READS):
            yield from self._lines()
            if not self._look(0.0):
                break
        yield from self._lines()

    def death(self) -> AgentCrashError:
        """How it ended, in one line: program, exit code or signal, last words. Kills it if it lingers."""
        if not self._wait_for_exit(time.monotonic() + _EXIT_SECONDS):
            how = "closed its input or output"
            self.kill()
        else:
            how = _how_it_ended(self._popen.returncode)
        self._drain_stderr()
        for _ in self.pending():
            pass
        words = printable(self._last_words.decode(errors="replace")[-_LAST_WORDS:], _LAST_WORDS)
        return AgentCrashError(f"{self.program} {how}" + (f"; last words on stderr: {words}" if words else ""))

    def close(self, *, patience_seconds: float = 0.0) -> None:
        """End it and everything it started, and reap it: terminate, grace, kill. Never raises; idempotent.

        Args:
            patience_seconds: how long it may take to end of its own accord (after ``quit``), before SIGTERM.
        """
        if self._closed:
            return
        offspring = self._offspring()
        if self._popen.stdin is not None:
            # The end of its input is a second hint to leave; a quit that did not fit in there is given up.
            self._popen.stdin.close()
            self._unsent.clear()
        if not self._wait_for_exit(time.monotonic() + patience_seconds):
            offspring += self._offspring()
            self._signal(signal.SIGTERM)
            self._wait_for_exit(time.monotonic() + self._grace_seconds)
        self._end(offspring)

    def kill(self) -> None:
        """End it and everything it started at once, and reap it. Never raises; idempotent."""
        if not self._closed:
            self._end(self._offspring())

    def _sent(self) -> bool:
        try:
            return self._flush()
        except OSError as error:
            raise self.death() from error

    def _flush(self) -> bool:
        """Write what is unsent; whether all of it went."""
        if self._closed:
            raise BrokenPipeError
        while self._unsent:
            try:
                written = os.write(self._stdin, self._unsent)
            except BlockingIOError:
                return False
            del self._unsent[:written]
        return True

    def _look(self, seconds: float) -> bool:
        """Wait for something to happen and read once from each pipe; whether stdout gave anything.

        A program's end shows at the end of file, or, where something it started still holds the pipe open, by
        asking after it: hence no wait here is longer than ``_EXIT_CHECK_SECONDS``.
        """
        if self._closed:
            self._ended = True
            return False
        # Asked before reading: what it printed before it ended is then surely in the pipe.
        exited = self._popen.poll() is not None
        self._reads_after_exit += exited
        wait = 0.0 if exited else min(seconds, _EXIT_CHECK_SECONDS)
        ready = {descriptor for descriptor, _ in self._output.poll(wait * 1000)}
        if self._stderr in ready:
            self._read_stderr()
        chunk = _read(self._stdout) if self._stdout in ready else None
        if chunk:
            self._bytes_read += len(chunk)
            self._splitter.feed(chunk)
        end_of_file = chunk == b""
        self._ended = end_of_file or (exited and not chunk) or self._reads_after_exit > _FINAL_READS
        return bool(chunk)

    def _read_stderr(self) -> bool:
        chunk = None if self._stderr_ended else _read(self._stderr)
        if chunk == b"":
            self._stderr_ended = True
            self._output.unregister(self._stderr)
        if not chunk:
            return False
        self._last_words = (self._last_words + chunk)[-_STDERR_KEPT:]
        return True

    def _drain_stderr(self) -> None:
        for _ in range(_FINAL_READS):
            if self._closed or not self._read_stderr():
                break

    def _wait_for_exit(self, until: float) -> bool:
        """Wait for the program to end, taking from its pipes whatever might keep it; whether it did."""
        while self._popen.poll() is None:
            left = until - time.monotonic()
            if left <= 0:
                return False
            self._look(min(left, 0.01))
            if self._ended:
                with suppress(subprocess.TimeoutExpired):
                    self._popen.wait(max(0.0, until - time.monotonic()))
            for _ in self._lines():
                pass
        return True

    def _lines(self) -> Iterator[str]:
        """The complete lines of what was read; the first of all is noted."""
        for line in self._splitter.lines():
            self.first_line = self.first_line or printable(line[:_LAST_WORDS], 100)
            yield line

    def _offspring(self) -> list[psutil.Process]:
        """What it started and is still its own or its children's; orphans are known by their environment alone."""
        try:
            return [] if self._popen.poll() is not None else psutil.Process(self.pid).children(recursive=True)
        except psutil.Error:
            return []

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError, PermissionError):
            self._popen.send_signal(number)

    def _end(self, offspring: Sequence[psutil.Process]) -> None:
        self._signal(signal.SIGKILL)
        for process in offspring:
            with suppress(psutil.Error):
                process.kill()
        if self._agent is not None:
            # Orphans of engines are given to the worker, which takes them from whoever started them (a subreaper).
            end_all(AGENT_VARIABLE, self._agent, lambda: psutil.Process().children(recursive=True))
        # A process stuck in the kernel cannot be waited for for ever; the worker's end takes it along.
        with suppress(subprocess.TimeoutExpired):
            self._popen.wait(_REAP_SECONDS)
        self._drain_stderr()
        self._closed = self._ended = True
        for pipe in (self._popen.stdin, self._popen.stdout, self._popen.stderr):
            if pipe is not None:
                pipe.close()


def _is_flood(lines: int, size: int, seconds: float) -> bool:
    return (
        lines > FLOOD_LINES + FLOOD_LINES_PER_SECOND * seconds or size > FLOOD_BYTES + FLOOD_BYTES_PER_SECOND * seconds
    )


class _LineSplitter:
    """Cuts chunks of bytes into lines, keeping at most ``LINE_LIMIT`` bytes of an unfinished one."""

    def __init__(self) -> None:
        self._chunk = b""
        self._position = 0
        self._unfinished = bytearray()

    def feed(self, chunk: bytes) -> None:
        """Take the next chunk; the lines of the one before must have been taken."""
        for _ in self.lines():
            pass
        self._chunk, self._position = chunk, 0

    def lines(self) -> Iterator[str]:
        """The complete lines, without their ends; what is not taken stays for the next call."""
        while (end := self._chunk.find(b"\n", self._position)) >= 0:
            self._keep(end)
            line = self._unfinished.decode(errors="replace").rstrip("\r")
            self._unfinished.clear()
            self._position = end + 1
            yield line
        self._keep(len(self._chunk))
        self._chunk, self._position = b"", 0

    def _keep(self, end: int) -> None:
        room = LINE_LIMIT - len(self._unfinished)
        self._unfinished += self._chunk[self._position : min(end, self._position + room)]


def _read(descriptor: int) -> bytes | None:
    """One chunk; empty at the end of the file, None where nothing is there."""
    try:
        return os.read(descriptor, _CHUNK)
    except BlockingIOError:
        return None


def _how_it_ended(code: int) -> str:
    if code >= 0:
        return f"exited with code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"
