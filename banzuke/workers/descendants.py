"""Which processes are below one, asked several times a second while games go on.

psutil finds out by reading about every process of the machine, which took 2.6 ms where there were 85 of them, and 8 ms
when it was busy. Linux keeps a list with every thread (proc(5), ``/proc/pid/task/tid/children``), which took 0.2 ms.
That list may leave one out while a sibling of it ends; whoever looks again a moment later sees it, and whoever kills
asks psutil.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil

_PROC = Path("/proc")


def descendants(process: psutil.Process) -> list[psutil.Process]:
    """Children, their children, and so on.

    Raises:
        psutil.Error: the process is gone.
    """
    if not _lists_children(process.pid):
        return process.children(recursive=True)
    found: list[psutil.Process] = []
    unread = [process.pid]
    while unread:
        for pid in _children(unread.pop()):
            with suppress(psutil.Error):
                found.append(psutil.Process(pid))
                unread.append(pid)
    return found


def _lists_children(pid: int) -> bool:
    """Whether this kernel was built with such lists (CONFIG_PROC_CHILDREN)."""
    return (_PROC / str(pid) / "task" / str(pid) / "children").exists()


def _children(pid: int) -> Iterator[int]:
    with suppress(OSError):
        for thread in (_PROC / str(pid) / "task").iterdir():
            with suppress(OSError):
                yield from map(int, (thread / "children").read_text().split())
