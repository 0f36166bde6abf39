"""The whole pipeline: evaluate, tournament, standings, persist.

In goes a spec, out comes a run in the store: its plan, its games, its standings. The plan of an adaptive tournament
grows while it is played, each step written down before its first game. A crash leaves every finished game
recorded; running the flow again with the same run id, or ``backfill_games``, plays what is missing and nothing else
(but that only the former lets an adaptive plan grow further).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State

from flows.other_hosts import other_hosts
from flows.reporting import reported
from flows.serving import obey_server, patience
from flows.stages import conclude, end_state, evaluate, play_in_steps, shown_if_paused
from flows.stopping import stop_on_signals
from flows.task_runner import threads
from tasks.events import tell
from tasks.publish import agents_to_play, show_where
from tasks.resuming import playing
from tasks.runs import open_run, parse_spec
from tasks.shares import new_claim
from tasks.slots import limited_pool
from tasks.summary import Summary


@flow(
    name="run-pipeline",
    flow_run_name="run {run_id}",
    task_runner=threads(),
)
def run_pipeline(
    spec_json: str, store: str, run_id: str, served: Mapping[str, Any] | None = None, hosts: int = 1
) -> State[Summary]:
    """Plan a tournament (or go on with one), play what is missing, rate it, publish it.

    Args:
        spec_json: the effective spec, as validated by ``load_spec``.
        store: local path or fsspec URL.
        run_id: a new one, or that of an earlier run of the same spec.
        served: what a server asked for, where one did; it is kept with the run.
        hosts: on how many machines its games are played at once; more than one only from a server.
    """
    spec = parse_spec(spec_json)
    claim = new_claim()
    with (
        playing(store, run_id, patience=patience(), claim=claim),
        limited_pool(spec) as pool,
        stop_on_signals(pool),
        obey_server(pool),
        reported(),
    ):
        open_run(spec_json, store, run_id, served=served)
        show_where(store, run_id)

        with shown_if_paused(store, run_id, pool):
            fitness = evaluate(spec_json, store, run_id, pool, agents=agents_to_play(store, run_id))

            with other_hosts(spec_json, store, run_id, pool, fitness, hosts=hosts, claim=claim) as left:
                play_in_steps(spec_json, store, run_id, pool, fitness, only=left)

        summary, step = conclude(store, run_id, pool)
        ended = end_state(summary, stopped=pool.stop.is_set())
    if not ended.is_cancelled():
        tell(store, run_id, summary, step=step)
    return ended
