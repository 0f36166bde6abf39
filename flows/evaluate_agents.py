"""The first stage alone: may these agents enter, and what do they score on the suite?

In goes a spec, out come rows in ``agents`` and ``evaluations`` under an id of their own; no game is planned or played.
"""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from banzuke.workers.pool import worker_pool
from flows.stages import evaluate
from flows.stopping import stop_on_signals
from flows.task_runner import threads
from tasks.evaluate import describe_evaluation, enter_agents
from tasks.runs import parse_spec


@flow(
    name="evaluate-agents",
    flow_run_name="evaluate {evaluation_id}",
    task_runner=threads(),
)
def evaluate_agents(spec_json: str, store: str, evaluation_id: str) -> State[list[dict[str, Any]]]:
    """Probe and score the agents of a spec.

    Args:
        spec_json: the effective spec, as validated by ``load_spec``.
        store: local path or fsspec URL.
        evaluation_id: under which the answers are kept, in place of a run's id.
    """
    spec = parse_spec(spec_json)
    with worker_pool(spec) as pool, stop_on_signals(pool):
        enter_agents(spec_json, store, evaluation_id)
        names = [agent.name for agent in spec.agents]
        fitness = evaluate(spec_json, store, evaluation_id, pool, agents=names)
        found = describe_evaluation(store, evaluation_id, list(fitness.values()))
    unfit = sum(not agent["fit"] for agent in found)
    message = f"{len(found) - unfit} of {len(names)} agents are fit"
    if unfit or len(found) < len(names):
        return Failed(name="Degraded", message=message, data=found)
    return Completed(message=message, data=found)
