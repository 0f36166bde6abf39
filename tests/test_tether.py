"""The tether: a program dies with the thread that started it."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from banzuke.workers import tether
from banzuke.workers.tether import tethered

if TYPE_CHECKING:
    from pathlib import Path

SECONDS = 20.0
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's")


def test_tethered_command_runs_as_itself() -> None:
    """The command gets its arguments and streams, gives its exit code, and is the process we started."""
    script = 'printf "%s|" "$@"; cat; echo "$$" >&2; exit 7'
    process = subprocess.Popen(
        tethered(["sh", "-c", script, "sh", "a b", ""]),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    out, err = process.communicate(b"in", timeout=SECONDS)

    assert (b"a b||in", str(process.pid).encode(), 7) == (out, err.strip(), process.returncode)


@linux_only
def test_tethered_program_dies_with_its_parent() -> None:
    """SIGKILL of the parent ends the program too, though nothing can clean up."""
    parent_code = (
        "import subprocess, sys, time\n"
        "from banzuke.workers.tether import tethered\n"
        "child = subprocess.Popen(tethered([sys.executable, '-I', '-S', '-c',"
        " 'import os, time; print(os.getpid(), flush=True); time.sleep(60)']))\n"
        "time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", parent_code], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    child_pid = int(parent.stdout.readline())
    child = os.pidfd_open(child_pid)
    poller = select.poll()
    poller.register(child, select.POLLIN)

    parent.kill()
    parent.wait(SECONDS)
    ended = poller.poll(SECONDS * 1000)
    os.close(child)
    parent.stdout.close()

    assert [(child, select.POLLIN)] == ended


@linux_only
def test_tethered_program_dies_with_the_thread_that_started_it() -> None:
    """The tether holds to the thread, not to the process: the thread's end kills."""
    started: list[subprocess.Popen[bytes]] = []

    def start() -> None:
        process = subprocess.Popen(tethered(["sh", "-c", "echo up; exec sleep 60"]), stdout=subprocess.PIPE)
        started.append(process)
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()

    thread = threading.Thread(target=start)
    thread.start()
    thread.join(SECONDS)

    assert started[0].wait(SECONDS) == -signal.SIGKILL


def test_tether_does_not_run_for_a_parent_that_is_gone() -> None:
    """Where the parent is another one than expected, the command is not run."""
    wrong_parent = str(os.getppid())
    command = [sys.executable, "-I", "-S", tether.__file__, wrong_parent, "echo", "ran"]
    done = subprocess.run(command, capture_output=True, timeout=SECONDS, check=False, text=True)

    assert (done.returncode, done.stdout) == (127, "")
    assert done.stderr == "will not run 'echo': the process that wanted it is gone\n"


@pytest.mark.parametrize("name", ["missing", "not-executable", "not-a-program"])
def test_tether_says_in_one_line_why_a_command_cannot_run(tmp_path: Path, name: str) -> None:
    """127 and one line on stderr."""
    (tmp_path / "not-executable").write_text("#!/bin/sh\n", encoding="utf-8")
    program = tmp_path / "not-a-program"
    program.write_bytes(b"\0\1\2\n")
    program.chmod(0o755)
    command = tethered([str(tmp_path / name)])
    done = subprocess.run(command, capture_output=True, timeout=SECONDS, check=False, text=True)

    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (127, "", 1)
    assert done.stderr.startswith(f"cannot run '{tmp_path / name}': ")


@pytest.mark.parametrize("arguments", [[], ["12"], ["parent", "true"]])
def test_tether_refuses_a_wrong_command_line(arguments: list[str]) -> None:
    """127 and its usage."""
    command = [sys.executable, "-I", "-S", tether.__file__, *arguments]
    done = subprocess.run(command, capture_output=True, timeout=SECONDS, check=False, text=True)

    assert (done.returncode, done.stderr) == (127, "usage: tether.py PARENT COMMAND [ARGUMENT ...]\n")


@linux_only
def test_tethered_program_starts_with_default_signals() -> None:
    """Nothing is ignored or blocked in the program, whatever the caller or Python ignores or blocks."""
    handler = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1, signal.SIGTERM})
    try:
        command = tethered(["cat", "/proc/self/status"])
        done = subprocess.run(command, capture_output=True, timeout=SECONDS, check=True, text=True)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        signal.signal(signal.SIGHUP, handler)
    fields = dict(line.split(":\t", 1) for line in done.stdout.splitlines() if ":\t" in line)

    # The C library lets nobody change the first two real-time signals; GNU make hands them on ignored.
    ignored = int(fields["SigIgn"], 16) & ~(1 << 31 | 1 << 32)
    assert (int(fields["SigBlk"], 16), ignored) == (0, 0)
