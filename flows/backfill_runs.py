"""Play what runs of the server left without a result: after the night, by hand, or because one ended badly.

In go names of runs; the agents are those of this machine's catalogue. Everything else is ``backfill_games``.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.states import Completed
from pydantic import Field

from banzuke.errors import SpecError
from banzuke.settings import settings
from flows import naming
from flows.backfill_games import backfill_games
from flows.serving import answered
from flows.task_runner import threads
from tasks.backfill import runs_to_backfill
from tasks.served import served_store
from tasks.summary import Summary

Cause = Literal[
    "missing",
    "agent_crash",
    "agent_stall",
    "agent_start",
    "worker_crash",
    "memory_limit",
    "game_timeout",
    "batch_timeout",
    "cancelled",
]


@flow(name="backfill-runs", flow_run_name=naming.of_backfill, task_runner=threads())
def backfill_runs(
    runs: list[str] = [],  # noqa: B006 - a form shows it; nobody changes it
    causes: list[Cause] = [],  # noqa: B006 - likewise
    since_hours: Annotated[int, Field(ge=0, le=100_000)] = 0,
    concurrency: Annotated[int, Field(ge=0, le=1024)] = 0,
    attempt: Annotated[int, Field(ge=0, le=1000)] = 0,
) -> State[list[Summary]]:
    """Play the void and the missing games of earlier runs, and publish their standings anew.

    Args:
        runs: Their run ids, or patterns such as nightly-*; leave empty for all of the store.
        causes: Only games that are void for these reasons, or missing; leave empty for all.
        since_hours: Only runs that were begun within so many hours; 0 for all.
        concurrency: Worker processes at once; 0 for what the machine allows.
        attempt: The how many-th it is of those that start by themselves; 0 by hand.
    """

    def play() -> State[list[Summary]]:
        if attempt > settings().backfills:
            raise SpecError(f"attempt: {attempt} is more than the {settings().backfills} of BANZUKE_BACKFILLS")
        since = datetime.now(UTC) - timedelta(hours=since_hours) if since_hours else None
        found = runs_to_backfill(served_store(), runs, causes, since, concurrency=concurrency)
        for line in found.left_out:
            get_run_logger().warning("left out: %s", line)
        if not found.specs:
            return Completed(message=f"nothing to play in {found.looked_at} runs{found.rest}")
        specs = list(found.specs.values())
        return backfill_games.fn(
            served_store(), list(found.specs), causes, concurrency or None, specs_json=specs, attempt=attempt
        )

    return answered(play)
