"""Play what earlier runs left without a counting result: void games, and games that were never played.

In go the ids of runs, out come the same runs with fewer holes. It is the same work as resuming each run with its own
spec, so it can be interrupted, repeated, and run beside another one: all of them ask the ledger what is missing.
"""

from __future__ import annotations

from collections.abc import Sequence

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from banzuke.workers.pool import worker_pool
from flows.stages import evaluate, play_missing
from flows.stopping import stop_on_signals
from flows.task_runner import threads
from tasks.backfill import games_to_backfill, spec_of_run
from tasks.publish import agents_to_play, persist_run
from tasks.rate import publish_standings
from tasks.runs import parse_spec
from tasks.summary import Summary


@flow(
    name="backfill-games",
    flow_run_name="backfill",
    task_runner=threads(),
)
def backfill_games(
    store: str, run_ids: Sequence[str], causes: Sequence[str] = (), parallel: int | None = None
) -> State[list[Summary]]:
    """Play the void and missing games of runs, and publish the standings of each.

    Args:
        store: local path or fsspec URL.
        run_ids: which runs.
        causes: terminations, or ``missing``; empty for all.
        parallel: worker processes at once; None for what each run's spec says.
    """
    summaries = []
    for run_id in run_ids:
        spec_json = spec_of_run(store, run_id, parallel)
        with worker_pool(parse_spec(spec_json)) as pool, stop_on_signals(pool):
            wanted = games_to_backfill(store, run_id, causes)
            fitness = evaluate(spec_json, store, run_id, pool, agents=agents_to_play(store, run_id, wanted))
            play_missing(spec_json, store, run_id, pool, fitness, only=wanted)
            publish_standings(store, run_id)
            summaries.append(persist_run(store, run_id))
            if pool.stop.is_set():
                break
    missing = sum(summary.planned - summary.counting for summary in summaries)
    message = f"{len(summaries)} runs, {missing} games still without a counting result"
    if all(summary.is_complete for summary in summaries):
        return Completed(message=message, data=summaries)
    return Failed(name="Degraded", message=message, data=summaries)
