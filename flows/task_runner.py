"""The one task runner of all flows: threads, because the work itself is done by worker processes."""

from __future__ import annotations

from typing import Any, cast

from prefect.futures import PrefectFuture
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from banzuke.specs import usable_cores


def threads(workers: int | None = None) -> TaskRunner[PrefectFuture[Any]]:
    """As many tasks at once as there are workers; Prefect's own default is no limit at all.

    Args:
        workers: None for the cores this process may use.
    """
    # Prefect's futures of threads are its futures; its type parameters are invariant and do not say so.
    return cast("TaskRunner[PrefectFuture[Any]]", ThreadPoolTaskRunner(max_workers=workers or usable_cores()))
