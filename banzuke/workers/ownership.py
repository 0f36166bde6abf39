"""Whose process is it? Said by two environment variables that everything an engine starts inherits.

A helper that forks twice and opens a session of its own is nobody's child and in nobody's group; its environment it
takes along. Who clears that, too, is caught by the enclosure alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress

import psutil

AGENT_VARIABLE = "BANZUKE_AGENT"
"""Names the agent whose engine a process is, or is descended from."""
WORKER_VARIABLE = "BANZUKE_WORKER"
"""Names the worker that a process is, or is descended from; no two workers of a machine share a name."""

_ROUNDS = 20


def owner_of(process: psutil.Process, variable: str) -> str | None:
    """What the variable says in the environment a process was started with; None where that cannot be read."""
    return (_environment(process) or {}).get(variable)


def end_all(variable: str, owner: str, among: Callable[[], Iterable[psutil.Process]]) -> None:
    """Kill every process of an owner, and what those start meanwhile. Never raises, does not wait for their end.

    Args:
        variable: :data:`AGENT_VARIABLE` or :data:`WORKER_VARIABLE`.
        owner: its value.
        among: the processes to look through; asked again until none of them is the owner's.
    """
    settled: set[psutil.Process] = set()
    # What is forked between the look and the kill, or by one that ends before it could be asked whose it is, is seen in
    # the next round; the bound is for fork bombs, which end with the worker.
    for _ in range(_ROUNDS):
        ended = False
        try:
            listed = set(among()) - settled
        except (psutil.Error, OSError):
            # An engine may have hidden /proc from its worker; the end of the worker is the end of all.
            return
        for process in listed:
            owners = _environment(process)
            if owners is not None and owners.get(variable) != owner:
                continue
            ended = True
            settled.add(process)
            if owners is not None:
                with suppress(psutil.Error):
                    process.kill()
        if not ended:
            return


def _environment(process: psutil.Process) -> dict[str, str] | None:
    """What a process was started with; empty where it may not be read, None where the process has ended."""
    try:
        return process.environ() or (None if process.status() == psutil.STATUS_ZOMBIE else {})
    except psutil.NoSuchProcess:
        return None
    except (psutil.Error, OSError):
        return {}
