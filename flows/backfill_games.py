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
from prefect.states import Cancelled, Completed, Failed

from banzuke.progress import announce_problem
from banzuke.ratings.standings import Difference
from flows.reporting import reported
from flows.serving import obey_server
from flows.stages import conclude, evaluate, plainly_if_stopped, plan_batches, play_missing
from flows.stopping import stop_on_signals
from flows.task_runner import threads
from storage.game_store import GameStore
from tasks.backfill import games_to_backfill, shared_spec, specs_of_runs
from tasks.events import tell
from tasks.publish import agents_to_play
from tasks.refereeing import call_referee, close_test
from tasks.runs import mend, parse_spec
from tasks.slots import limited_pool
from tasks.summary import Summary, summarise


@flow(
    name="backfill-games",
    flow_run_name="backfill",
    task_runner=threads(),
)
def backfill_games(
    store: str,
    run_ids: Sequence[str],
    causes: Sequence[str] = (),
    parallel: int | None = None,
    specs_json: Sequence[str] | None = None,
    attempt: int = 0,
) -> State[list[Summary]]:
    """Play the void and missing games of runs, and publish the standings of each.

    Args:
        store: local path or fsspec URL.
        run_ids: which runs.
        causes: terminations, or ``missing``; empty for all.
        parallel: worker processes at once; None for what each run's spec says.
        specs_json: of each run, as this machine's catalogue has its agents; None for those that are stored.
        attempt: the how many-th it is of those that start by themselves; 0 otherwise.
    """
    specs = dict(zip(run_ids, specs_json or (), strict=specs_json is not None))
    if specs_json is None:
        specs, refused = specs_of_runs(store, run_ids, parallel)
        for error in refused.values():
            announce_problem(f"left out: {error}")
    with (
        ExitStack() as claims,
        limited_pool(shared_spec(specs.values())) as pool,
        stop_on_signals(pool),
        obey_server(pool),
        reported(),
    ):
        todos = []
        steps: dict[str, Difference | None] = {}
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
                plainly_if_stopped(close_test, pool)(store, todo.run_id)
                _, steps[todo.run_id] = conclude(store, todo.run_id, pool)
    summaries = [summarise(GameStore(store), todo.run_id) for todo in todos]
    if not pool.stop.is_set():
        for summary in summaries:
            tell(store, summary.run_id, summary, step=steps[summary.run_id], attempt=attempt)
    return _end_state(summaries, is_whole=len(summaries) == len(run_ids), stopped=pool.stop.is_set())


def _end_state(summaries: list[Summary], *, is_whole: bool, stopped: bool) -> State[list[Summary]]:
    missing = sum(summary.outstanding for summary in summaries)
    message = f"{len(summaries)} runs, {missing} games still without a counting result"
    if is_whole and all(summary.is_complete for summary in summaries):
        return Completed(message=message, data=summaries)
    if stopped:
        return Cancelled(name="Stopped", message=message, data=summaries)
    return Failed(name="Degraded", message=message, data=summaries)
