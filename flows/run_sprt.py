"""A sequential test: two agents until it is decided which hypothesis holds, or until the cap.

In goes a spec of two agents, out comes a run in the store, planned as a whole, of which as much was played as the
verdict needed. A crash leaves every finished game recorded; running the flow again with the same run id goes on to the
same verdict.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from prefect import flow
from prefect.client.schemas.objects import State

from banzuke.specs import SPEC
from flows.reporting import reported
from flows.serving import obey_server, patience
from flows.stages import conclude, end_state, evaluate, plainly_if_stopped, plan_batches, play_missing, shown_if_paused
from flows.stopping import stop_on_signals
from flows.task_runner import threads
from tasks.events import tell
from tasks.publish import agents_to_play, show_where
from tasks.refereeing import call_referee, close_test
from tasks.resuming import playing
from tasks.runs import open_run, parse_spec
from tasks.sequential import sparing
from tasks.slots import limited_pool
from tasks.summary import Summary


@flow(
    name="run-sprt",
    flow_run_name="sprt {run_id}",
    task_runner=threads(),
)
def run_sprt(
    spec_json: str,
    store: str,
    run_id: str,
    elo0: float = 0.0,
    elo1: float = 50.0,
    alpha: float = 0.05,
    beta: float = 0.05,
    model: Literal["logistic", "normalized"] = "logistic",
    served: Mapping[str, Any] | None = None,
) -> State[Summary]:
    """Begin a sequential test (or go on with one) and play until its verdict.

    Args:
        spec_json: the effective spec, as validated by ``load_spec``.
        store: local path or fsspec URL.
        run_id: a new one, or that of an earlier test of the same spec.
        elo0: how much stronger the agent in question is if it is not stronger enough.
        elo1: how much stronger it is if it is.
        alpha: chance of accepting elo1 where elo0 is true.
        beta: chance of accepting elo0 where elo1 is true.
        model: whether the two are Elo or normalized Elo.
        served: what a server asked for, where one did; it is kept with the run.
    """
    spec = sparing(parse_spec(spec_json))
    spec_json = SPEC.dump_json(spec).decode()
    hypotheses = {"elo0": elo0, "elo1": elo1, "alpha": alpha, "beta": beta, "model": model}
    with (
        playing(store, run_id, patience=patience()),
        limited_pool(spec) as pool,
        stop_on_signals(pool),
        obey_server(pool),
        reported(),
    ):
        open_run(spec_json, store, run_id, hypotheses, served)
        show_where(store, run_id)
        call_referee(store, run_id, spec_json, pool)

        with shown_if_paused(store, run_id, pool):
            fitness = evaluate(spec_json, store, run_id, pool, agents=agents_to_play(store, run_id))

            play_missing(store, [plan_batches(spec_json, store, run_id, pool, fitness)], pool)

        plainly_if_stopped(close_test, pool)(store, run_id)
        summary, _ = conclude(store, run_id, pool)
        ended = end_state(summary, stopped=pool.stop.is_set())
    if not ended.is_cancelled():
        tell(store, run_id, summary)
    return ended
