"""The one task runner of all flows: threads, because the work itself is done by worker processes."""

from __future__ import annotations

from typing import Any, cast

from prefect.futures import PrefectFuture
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from banzuke.specs import usable_cores

THREADS_PER_WORKER = 8


def threads(workers: int | None = None) -> TaskRunner[PrefectFuture[Any]]:
    """A few tasks more at once than there are workers; Prefect's own default is no limit at all.

    A task that plays in the hall waits for its games only, and several of them keep one worker's lanes full; any
    other waits for a worker to itself.

    Args:
        workers: None for the cores this process may use.
    """
    count = THREADS_PER_WORKER * (workers or usable_cores())
    # Prefect's futures of threads are its futures; its type parameters are invariant and do not say so.
    return cast("TaskRunner[PrefectFuture[Any]]", ThreadPoolTaskRunner(max_workers=count))
