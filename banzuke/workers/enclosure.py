"""An enclosure: a process namespace that a worker and everything it starts cannot leave.

Made by ``unshare`` of util-linux. When the first process of a namespace ends, the kernel kills all others in it,
whatever group or session they are in and whatever they ignore (pid_namespaces(7)).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

from banzuke.workers.tether import tethered

PROBE_SECONDS = 5.0
FIRST_PROCESS = Path(__file__).with_name("first_process.py")

_NAMESPACE = ("--pid", "--fork", "--kill-child", "--mount-proc", "--propagation", "slave")
_AS_USER = ("--user", "--map-current-user")


@cache
def enclosing() -> tuple[str, ...] | None:
    """The command that runs another one in a namespace of its own; None where the system does not allow it.

    Found out by trying, once per process: containers, security modules and kernel settings forbid it in many ways.
    """
    unshare = shutil.which("unshare")
    if sys.platform != "linux" or unshare is None:
        return None
    as_user = (unshare, *_AS_USER, *_NAMESPACE)
    ways = [(unshare, *_NAMESPACE), as_user] if os.geteuid() == 0 else [as_user]
    return next((way for way in ways if _works(way)), None)


def _works(way: Sequence[str]) -> bool:
    """Whether a command run in this way is process 1, and sees a /proc that says so."""
    with suppress(OSError, subprocess.SubprocessError):
        asked = subprocess.run(
            [*way, "readlink", "/proc/self"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PROBE_SECONDS,
            check=False,
        )
        return asked.returncode == 0 and asked.stdout.strip() == b"1"
    return False


def enclosed_command(
    way: Sequence[str], *, life: int, end: int, python_options: Sequence[str], module: str, arguments: Sequence[str]
) -> list[str]:
    """The command line that runs a Python module in a namespace that ends with the calling thread.

    Args:
        way: from :func:`enclosing`.
        life: file descriptor, inherited, that is at its end when the caller is gone.
        end: file descriptor, inherited, to which the first process writes how the module ended.
        python_options: for the interpreter.
        module: what to run.
        arguments: the module's.
    """
    first = [sys.executable, "-I", "-S", str(FIRST_PROCESS), str(life), str(end)]
    return tethered([*way, *first, " ".join(python_options), module, *arguments])
