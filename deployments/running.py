"""Running a flow from the command line: a Prefect API, a pool of workers, a display, and the flow, in that order.

What takes long starts first and is waited for last: the embedded server and the workers come up while this process
imports Prefect.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from banzuke.errors import BanzukeError, CorruptPartError, SpecError, StorageError, UnknownRunError
from banzuke.identity import identify
from banzuke.match.planning import plan_run
from banzuke.specs import SPEC, Spec, is_name
from banzuke.workers.pool import WorkerPool, worker_pool
from deployments.embedded_server import api
from deployments.live import BackfillLines, LiveTable
from storage.game_store import GameStore
from storage.ledger import Ledger
from tasks.backfill import spec_of_run
from tasks.resuming import check_unchanged
from tasks.summary import Summary

if TYPE_CHECKING:
    from prefect import Flow
    from prefect.client.schemas.objects import State

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended(Generic[Result]):
    """What a flow ended with."""

    result: Result
    stopped_by: int | None
    """The signal that stopped it before its end, if one did."""


STOP_SECONDS = 8.0
"""For a stopped flow to end by itself; a stopped command is gone within ten seconds."""


class FlowFailedError(BanzukeError):
    """The flow ended without a summary."""


def run_tournament(spec: Spec, store: str, run_id: str, *, live: bool, verbose: bool) -> Ended[Summary]:
    """Run the whole pipeline for a spec; see ``flows/run_pipeline.py``.

    Raises:
        SpecError, RunChangedError: before anything is written.
    """
    check_beforehand(spec, store, run_id)
    with _prepared(spec, verbose=verbose) as (call, pool), LiveTable(spec, store, run_id, live=live):

        def flow() -> Flow[..., Any]:
            from flows.run_pipeline import run_pipeline  # noqa: PLC0415 - needs Prefect's settings in place

            return run_pipeline

        return Ended(result=call(flow, SPEC.dump_json(spec).decode(), store, run_id), stopped_by=pool.stopped_by)


def run_evaluation(
    spec: Spec, store: str, evaluation_id: str, *, live: bool, verbose: bool
) -> Ended[list[dict[str, Any]]]:
    """Probe and score the agents of a spec."""
    plan_run(spec, run_id=evaluation_id, agent_ids={agent.name: "" for agent in spec.agents})
    with _prepared(spec, verbose=verbose) as (call, pool), LiveTable(spec, store, evaluation_id, live=live):

        def flow() -> Flow[..., Any]:
            from flows.evaluate_agents import evaluate_agents  # noqa: PLC0415 - see run_tournament

            return evaluate_agents

        return Ended(result=call(flow, SPEC.dump_json(spec).decode(), store, evaluation_id), stopped_by=pool.stopped_by)


def run_backfill(
    store: str,
    run_ids: Sequence[str],
    causes: Sequence[str],
    parallel: int | None,
    wanted: Mapping[str, Collection[str]],
    *,
    live: bool,
    verbose: bool,
) -> Ended[list[Summary]]:
    """Play the void and missing games of runs; see ``flows/backfill_games.py``."""
    specs = [SPEC.validate_json(spec_of_run(store, run_id, parallel)) for run_id in run_ids]
    limits = specs[0].limits.model_copy(update={"concurrency": parallel or specs[0].limits.concurrency})
    widest = specs[0].model_copy(
        update={"limits": limits, "agents": tuple(agent for spec in specs for agent in spec.agents)}
    )
    expected = sum(len(ids) for ids in wanted.values())
    with _prepared(widest, verbose=verbose) as (call, pool), BackfillLines(expected, live=live):

        def flow() -> Flow[..., Any]:
            from flows.backfill_games import backfill_games  # noqa: PLC0415 - see run_tournament

            return backfill_games

        return Ended(result=call(flow, store, list(run_ids), list(causes), parallel), stopped_by=pool.stopped_by)


def check_beforehand(spec: Spec, store: str, run_id: str) -> None:
    """Every fault that can be found before anything is started or written.

    Raises:
        SpecError: the run id is none, the opening book or the suite is at fault.
        RunChangedError: there is a run of that id, planned from something else.
    """
    if not is_name(run_id):
        raise SpecError(
            f"--run-id: {run_id!r} is no run id: 1 to 64 letters, digits, '.', '_' or '-', beginning with a letter "
            "or digit, without '--'"
        )
    identities = {agent.name: identify(agent) for agent in spec.agents}
    plan_run(spec, run_id=run_id, agent_ids={name: identity.agent_id for name, identity in identities.items()})
    games = GameStore(store)
    try:
        document = games.read_run(run_id)
    except UnknownRunError:
        return
    except CorruptPartError:
        raise
    except StorageError as error:
        raise SpecError(f"--store: {error}") from error
    if games.has_plan(run_id):
        check_unchanged(document, spec, identities, Ledger(games, run_id))


@contextlib.contextmanager
def _prepared(spec: Spec, *, verbose: bool) -> Iterator[tuple[Callable[..., Any], WorkerPool]]:
    """A way to call a flow, and the pool it will find: server and workers are coming up when this returns."""
    chosen = os.environ.get("PREFECT_API_URL")
    with api(chosen=chosen) as server, worker_pool(spec) as pool:
        pool.warm_up()
        if chosen is None:
            # Settings for another server, or a typing error in one, are nothing to the embedded one.
            for name in [
                name for name in os.environ if name.startswith("PREFECT_") and name != "PREFECT_LOGGING_LEVEL"
            ]:
                del os.environ[name]
        os.environ.update(server.environment)
        os.environ.setdefault("PREFECT_LOGGING_LEVEL", "INFO" if verbose else "CRITICAL")

        done = threading.Event()
        threading.Thread(target=_insist_on_stopping, args=(pool, done), daemon=True).start()

        def call(load: Callable[[], Flow[..., Any]], *arguments: Any) -> Any:  # noqa: ANN401 - the flow's own result
            flow = load()
            server.wait()
            return _outcome(_call(flow, pool, arguments, embedded=chosen is None))

        try:
            yield call, pool
        finally:
            done.set()


def _insist_on_stopping(pool: WorkerPool, done: threading.Event) -> None:
    """End the process where a stopped flow does not: Prefect's client waits minutes for a server that has died.

    Every finished game is on disk already; workers and server die with us.
    """
    pool.stop.wait()
    if not done.wait(STOP_SECONDS):
        line = "stopped; everything finished is kept. The same command with the same --run-id goes on\n"
        os.write(2, line.encode())
        os._exit(128 + (pool.stopped_by or signal.SIGTERM))


def _call(flow: Flow[..., Any], pool: WorkerPool, arguments: Sequence[Any], *, embedded: bool) -> State[Any]:
    from prefect.settings import (  # noqa: PLC0415 - see run_tournament
        PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
        temporary_settings,
    )

    from flows.task_runner import threads  # noqa: PLC0415 - see run_tournament

    # Nobody watches heartbeats on a server that ends with us, and their thread costs a second at the end of a flow.
    settings = temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None} if embedded else {})
    sized = flow.with_options(task_runner=threads(pool.size))
    with settings:
        # Prefect's overloads read a flow of unknown parameters as one that returns nothing.
        try:
            state: Any = sized(*arguments, return_state=True)
        except RuntimeError as error:
            if "Failed to reach API" not in str(error):
                raise
            raise FlowFailedError(f"{error}; is the server of PREFECT_API_URL up? Unset it to use our own") from error
    return cast("State[Any]", state)


def _outcome(state: State[Any]) -> Any:  # noqa: ANN401 - the flow's own result
    found = state.result(raise_on_failure=False)
    if isinstance(found, BaseException):
        raise found
    if found is None:
        raise FlowFailedError(f"the flow ended as {state.name}: {state.message}")
    return found
