"""Play what earlier runs left without a counting result: void games, and games that were never played.

In go the ids of runs, out come the same runs with fewer holes: the work of resuming each run with its own spec, with
the batches of all of them on the same workers. It can be interrupted and repeated, and run beside another one: a run
that somebody else is playing is left to that one.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from banzuke.progress import announce_problem
from banzuke.workers.pool import worker_pool
from flows.stages import evaluate, plan_batches, play_missing
from flows.stopping import stop_on_signals
from flows.task_runner import threads
from storage.game_store import GameStore
from tasks.backfill import games_to_backfill, shared_spec, specs_of_runs
from tasks.publish import agents_to_play, persist_run
from tasks.rate import publish_standings
from tasks.refereeing import call_referee, close_test
from tasks.runs import mend, parse_spec
from tasks.summary import Summary, summarise


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
    specs, refused = specs_of_runs(store, run_ids, parallel)
    for error in refused.values():
        announce_problem(f"left out: {error}")
    with ExitStack() as claims, worker_pool(shared_spec(specs.values())) as pool, stop_on_signals(pool):
        todos = []
        for run_id, spec_json in specs.items():
            holder = claims.enter_context(GameStore(store).playing(run_id))
            if holder is not None:
                announce_problem(f"run {run_id} is being played by {holder}; left to that one")
                continue
            mend(GameStore(store), run_id, parse_spec(spec_json))
            call_referee(store, run_id, spec_json, pool)
            wanted = games_to_backfill(store, run_id, causes)
            fitness = evaluate(spec_json, store, run_id, pool, agents=agents_to_play(store, run_id, wanted))
            todos.append(plan_batches(spec_json, store, run_id, pool, fitness, only=wanted))

        play_missing(store, todos, pool)

        # What was touched, that is: in a stopped backfill many a run was not, and the end must come in seconds.
        for todo in todos:
            if todo.batches or not pool.stop.is_set():
                close_test(store, todo.run_id)
                publish_standings(store, todo.run_id)
                persist_run(store, todo.run_id)
    summaries = [summarise(GameStore(store), todo.run_id) for todo in todos]
    missing = sum(summary.outstanding for summary in summaries)
    message = f"{len(summaries)} runs, {missing} games still without a counting result"
    if all(summary.is_complete for summary in summaries) and len(summaries) == len(run_ids):
        return Completed(message=message, data=summaries)
    return Failed(name="Degraded", message=message, data=summaries)
