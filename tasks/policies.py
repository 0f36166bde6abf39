"""Every retry and time-out policy of the tasks, explained by the failure it survives.

Retries come in three kinds, and only the second is Prefect's:

1. A void game is played again inside its batch (``[limits] retries``). That is about agents.
2. A batch whose *machinery* failed (no worker could be started, the store did not answer) is run again, a little
   later, by Prefect. It asks the ledger first, so it plays only what is still missing.
3. What is still without a counting result afterwards waits for a backfill.

No task is cached: Prefect's default cache key is made of inputs and source, so two batches that look equal would be
"the same" once results are persisted, and two equal-looking games must both be played. No task has Prefect's own
time-out: on a thread it stops nothing, and a blocked thread would hold its slot as if it had none. The deadlines are
the supervisor's.

Not protected against: a run whose process is killed is not retried by Prefect. Resuming it, or a backfill, does that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prefect.cache_policies import NO_CACHE

from banzuke.errors import StorageError, WorkerError
from banzuke.workers.pool import is_stopping
from banzuke.workers.supervisor import Stopped

if TYPE_CHECKING:
    from prefect import Task
    from prefect.client.schemas import TaskRun
    from prefect.client.schemas.objects import State

SURVIVABLE = (WorkerError, StorageError)


def is_machinery(_task: Task[..., Any], _run: TaskRun, state: State[Any]) -> bool:
    """Whether a task failed through the machinery rather than through what it was given."""
    failure = state.data if isinstance(state.data, BaseException) else None
    if failure is None:
        failure = getattr(state.data, "result", None)
    return isinstance(failure, SURVIVABLE) and not isinstance(failure, Stopped) and not is_stopping()


ONCE: dict[str, Any] = {"cache_policy": NO_CACHE, "persist_result": False, "retries": 0}
"""For tasks whose failure means that the spec, the store or we are at fault."""

MACHINERY: dict[str, Any] = {
    "cache_policy": NO_CACHE,
    "persist_result": False,
    "retries": 2,
    "retry_delay_seconds": [1, 5],
    "retry_condition_fn": is_machinery,
}
"""For tasks that start workers or write games."""
