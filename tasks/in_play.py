"""Showing the games in play to whoever watches a run. No Prefect here, and nobody waits for it."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Collection, Iterator

from banzuke.errors import StorageError
from banzuke.settings import settings
from banzuke.workers.pool import WorkerPool
from storage.in_play import Showcase, can_be_shown

LOOK_SECONDS = 1.0
"""Between two looks whether anybody watches, and between two times that the games are shown."""
WATCHED_SECONDS = 3.0
"""For so long after each look workers write down how their games stand."""
LAST_SECONDS = 2.0
"""For the thread to end; a store that hangs does not hold up the run."""


@contextlib.contextmanager
def shown_to_watchers(store: str, run_ids: Collection[str], pool: WorkerPool) -> Iterator[None]:
    """While the block lasts, whoever watches one of the runs sees which games are in play, and how they stand.

    All of it is done by a thread of its own, and what goes wrong there is nobody's loss: a full disk, a store that
    cannot be written, one that hangs.
    """
    if not can_be_shown(store):
        yield
        return
    over = threading.Event()
    thread = threading.Thread(target=_show_until, args=(over, store, run_ids, pool), name="showcase", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(LAST_SECONDS)


def _show_until(over: threading.Event, store: str, run_ids: Collection[str], pool: WorkerPool) -> None:
    host = settings().host
    showcases = {run_id: Showcase(store, run_id, host) for run_id in run_ids}
    while not over.wait(LOOK_SECONDS):
        watched = {run_id for run_id, showcase in showcases.items() if _is_watched(showcase)}
        games = pool.in_play(watched_until=time.monotonic() + WATCHED_SECONDS) if watched else []
        for run_id, showcase in showcases.items():
            with contextlib.suppress(OSError):
                if run_id in watched:
                    showcase.show([game for game in games if game.run_id == run_id])
                else:
                    showcase.clear()
    for showcase in showcases.values():
        with contextlib.suppress(OSError):
            showcase.clear()


def _is_watched(showcase: Showcase) -> bool:
    with contextlib.suppress(OSError, StorageError):
        return showcase.is_watched()
    return False
