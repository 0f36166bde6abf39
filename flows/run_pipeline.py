"""The whole pipeline: evaluate, tournament, standings, persist.

In goes a spec, out comes a run in the store: its plan, its games, its standings. The plan of an adaptive tournament
grows while it is played, each step written down before its first game. A crash leaves every finished game
recorded; running the flow again with the same run id, or ``backfill_games``, plays what is missing and nothing else
(but that only the former lets an adaptive plan grow further).
"""

from __future__ import annotations

from prefect import flow
from prefect.client.schemas.objects import State

from banzuke.workers.pool import worker_pool
from flows.stages import end_state, evaluate, play_in_steps
from flows.stopping import stop_on_signals
from flows.task_runner import threads
from tasks.publish import agents_to_play, persist_run
from tasks.rate import publish_standings
from tasks.resuming import playing
from tasks.runs import open_run, parse_spec
from tasks.summary import Summary


@flow(
    name="run-pipeline",
    flow_run_name="run {run_id}",
    task_runner=threads(),
)
def run_pipeline(spec_json: str, store: str, run_id: str) -> State[Summary]:
    """Plan a tournament (or go on with one), play what is missing, rate it, publish it.

    Args:
        spec_json: the effective spec, as validated by ``load_spec``.
        store: local path or fsspec URL.
        run_id: a new one, or that of an earlier run of the same spec.
    """
    spec = parse_spec(spec_json)
    with playing(store, run_id), worker_pool(spec) as pool, stop_on_signals(pool):
        open_run(spec_json, store, run_id)

        fitness = evaluate(spec_json, store, run_id, pool, agents=agents_to_play(store, run_id))

        play_in_steps(spec_json, store, run_id, pool, fitness)

        publish_standings(store, run_id)

        summary = persist_run(store, run_id)
        return end_state(summary, stopped=pool.stop.is_set())
