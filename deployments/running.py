"""Running a flow from the command line: a Prefect API, a pool of workers, a display, and the flow, in that order.

What takes long starts first and is waited for last: the embedded server and the workers come up while this process
imports Prefect.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from banzuke.errors import BanzukeError
from banzuke.match.planning import games_planned, plan_run
from banzuke.progress import announce_problem
from banzuke.specs import SPEC, Spec
from banzuke.workers.pool import WorkerPool, worker_pool
from deployments.embedded_server import EmbeddedServer, api
from deployments.live import BackfillLines, LiveTable
from deployments.open_files import check_open_files
from flows.stopping import StoppedError, stop_on_signals
from tasks.backfill import shared_spec, specs_of_runs
from tasks.beforehand import check_beforehand
from tasks.sequential import DEFAULTS, make_test
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
MANY_GAMES = 20_000
"""Planning more takes seconds, and somebody may be waiting."""
SAY_SECONDS = 1.0
"""For the last line to be read by whoever reads it."""

THE_SAME = "the same command"


class FlowFailedError(BanzukeError):
    """The flow ended without a summary."""


class ServerLostError(BanzukeError):
    """The embedded Prefect server died and could not be started again."""


def run_tournament(
    spec: Spec, store: str, run_id: str, *, live: bool, verbose: bool, again: str = THE_SAME
) -> Ended[Summary]:
    """Run the whole pipeline for a spec; see ``flows/run_pipeline.py``.

    Args:
        spec: the tournament.
        store: local path or fsspec URL.
        run_id: a new one, or that of an earlier run of the same spec.
        live: whether people are told how it goes.
        verbose: whether Prefect's logs are shown.
        again: the command that goes on with it.

    Raises:
        SpecError, RunChangedError: before anything is written.
        StoppedError: a signal ended it before it had a result.
        ServerLostError: the embedded server is gone for good.
    """
    if live and spec.tournament.format != "adaptive" and games_planned(spec) > MANY_GAMES:
        sys.stderr.write(f"{run_id}: planning {games_planned(spec):,} games\n")
    check_beforehand(spec, store, run_id)
    with (
        _prepared(spec, verbose=verbose, again=again) as (call, pool),
        LiveTable(spec, store, run_id, live=live),
    ):

        def flow() -> Flow[..., Any]:
            from flows.run_pipeline import run_pipeline  # noqa: PLC0415 - needs Prefect's settings in place

            return run_pipeline

        return Ended(result=call(flow, SPEC.dump_json(spec).decode(), store, run_id), stopped_by=pool.stopped_by)


def run_test(
    spec: Spec,
    store: str,
    run_id: str,
    hypotheses: Mapping[str, Any],
    *,
    live: bool,
    verbose: bool,
    again: str = THE_SAME,
) -> Ended[Summary]:
    """Run a sequential test between such ``hypotheses``; see ``flows/run_sprt.py``, and :func:`run_tournament`."""
    check_beforehand(spec, store, run_id, make_test(spec, hypotheses))
    with (
        _prepared(spec, verbose=verbose, again=again) as (call, pool),
        LiveTable(spec, store, run_id, live=live),
    ):

        def flow() -> Flow[..., Any]:
            from flows.run_sprt import run_sprt  # noqa: PLC0415 - see run_tournament

            return run_sprt

        arguments = (SPEC.dump_json(spec).decode(), store, run_id, *(hypotheses[name] for name in DEFAULTS))
        return Ended(result=call(flow, *arguments), stopped_by=pool.stopped_by)


def run_evaluation(
    spec: Spec, store: str, evaluation_id: str, *, live: bool, verbose: bool, again: str = THE_SAME
) -> Ended[list[dict[str, Any]]]:
    """Probe and score the agents of a spec; arguments and errors as of :func:`run_tournament`."""
    plan_run(spec, run_id=evaluation_id, agent_ids={agent.name: "" for agent in spec.agents})
    with (
        _prepared(spec, verbose=verbose, again=again) as (call, pool),
        LiveTable(spec, store, evaluation_id, live=live),
    ):

        def flow() -> Flow[..., Any]:
            from flows.evaluate_agents import evaluate_agents  # noqa: PLC0415 - see run_tournament

            return evaluate_agents

        return Ended(result=call(flow, SPEC.dump_json(spec).decode(), store, evaluation_id), stopped_by=pool.stopped_by)


def run_backfill(
    store: str,
    run_ids: Sequence[str],
    causes: Sequence[str],
    parallel: int | None,
    expected: int,
    *,
    live: bool,
    verbose: bool,
    again: str = THE_SAME,
) -> Ended[list[Summary]]:
    """Play the void and missing games of runs; see ``flows/backfill_games.py``, and :func:`run_tournament`."""
    specs, _ = specs_of_runs(store, run_ids, parallel)
    with (
        _prepared(shared_spec(specs.values()), verbose=verbose, again=again) as (call, pool),
        BackfillLines(expected, live=live),
    ):

        def flow() -> Flow[..., Any]:
            from flows.backfill_games import backfill_games  # noqa: PLC0415 - see run_tournament

            return backfill_games

        return Ended(result=call(flow, store, list(run_ids), list(causes), parallel), stopped_by=pool.stopped_by)


@contextlib.contextmanager
def _prepared(spec: Spec, *, verbose: bool, again: str = THE_SAME) -> Iterator[tuple[Callable[..., Any], WorkerPool]]:
    """A way to call a flow, and the pool it will find: server and workers are coming up when this returns."""
    check_open_files(spec.limits.concurrency)
    chosen = os.environ.get("PREFECT_API_URL")
    done = threading.Event()
    with _set_at_the_end(done), api(chosen=chosen) as server, worker_pool(spec) as pool:
        pool.warm_up()
        if chosen is None:
            # Settings for another server, or a typing error in one, are nothing to the embedded one.
            for name in [
                name for name in os.environ if name.startswith("PREFECT_") and name != "PREFECT_LOGGING_LEVEL"
            ]:
                del os.environ[name]
        os.environ.update(server.environment)
        os.environ.setdefault("PREFECT_LOGGING_LEVEL", "INFO" if verbose else "CRITICAL")

        lost: list[str] = []
        if isinstance(server, EmbeddedServer):
            server.on_restart = _tell_of_restart
            server.on_lost = _stopper(pool, lost)
        threading.Thread(target=_insist_on_stopping, args=(pool, done, lost, again), daemon=True).start()

        def call(load: Callable[[], Flow[..., Any]], *arguments: Any) -> Any:  # noqa: ANN401 - the flow's own result
            flow = load()
            server.wait()
            try:
                return _outcome(_call(flow, pool, arguments, embedded=chosen is None))
            except Exception as error:
                if pool.stopped_by is not None:
                    raise StoppedError(pool.stopped_by) from error
                if lost:
                    raise ServerLostError(_lost_line(lost, again)) from error
                if _is_from_prefect(error):
                    raise FlowFailedError(
                        f"Prefect failed: {type(error).__name__}: {str(error).partition(chr(10))[0]}; "
                        f"everything finished is kept. Go on with: {again}"
                    ) from error
                raise

        yield call, pool


@contextlib.contextmanager
def _set_at_the_end(done: threading.Event) -> Iterator[None]:
    try:
        yield
    finally:
        done.set()


def _is_from_prefect(error: Exception) -> bool:
    """What its client raises when the server fails, or cannot be spoken to."""
    return any(kind.__module__.partition(".")[0] in {"prefect", "httpx", "httpcore"} for kind in type(error).__mro__)


def _tell_of_restart() -> None:
    announce_problem("the embedded Prefect server died and was started again")


def _stopper(pool: WorkerPool, lost: list[str]) -> Callable[[str], None]:
    def stop(reason: str) -> None:
        lost.append(reason)
        pool.stop.set()

    return stop


def _lost_line(lost: Sequence[str], again: str) -> str:
    return (
        f"the embedded Prefect server died and could not be started again ({lost[0]}); "
        f"everything finished is kept. Go on with: {again}"
    )


def _insist_on_stopping(pool: WorkerPool, done: threading.Event, lost: Sequence[str], again: str) -> None:
    """End the process where a stopped flow does not: Prefect's client waits minutes for a server that is gone.

    Every finished game is on disk already; workers and server die with us. What ends by itself ends as it may.
    """
    pool.stop.wait()
    is_told = bool(lost) or pool.stopped_by is not None
    if not is_told or done.wait(STOP_SECONDS):
        return
    line, code = f"stopped; everything finished is kept. Go on with: {again}", 128 + (pool.stopped_by or signal.SIGTERM)
    if lost and pool.stopped_by is None:
        line, code = f"banzuke: {_lost_line(lost, again)}", 1
    # In a thread of its own: nobody may be reading.
    last_words = threading.Thread(target=_write_to_stderr, args=(f"{line}\n",), daemon=True)
    last_words.start()
    last_words.join(SAY_SECONDS)
    os._exit(code)


def _write_to_stderr(text: str) -> None:
    with contextlib.suppress(OSError):
        os.write(2, text.encode())


def _call(flow: Flow[..., Any], pool: WorkerPool, arguments: Sequence[Any], *, embedded: bool) -> State[Any]:
    from prefect.events.clients import NullEventsClient  # noqa: PLC0415 - see run_tournament
    from prefect.events.worker import EventsWorker  # noqa: PLC0415 - see run_tournament
    from prefect.exceptions import TerminationSignal  # noqa: PLC0415 - see run_tournament
    from prefect.settings import (  # noqa: PLC0415 - see run_tournament
        PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
        temporary_settings,
    )

    from flows.task_runner import threads  # noqa: PLC0415 - see run_tournament

    # Nobody watches heartbeats on a server that ends with us, and their thread costs a second at the end of a flow.
    settings = temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None} if embedded else {})
    if embedded:
        # Nor does anybody read its events, which would be waited for at the end, and resent after every pause.
        EventsWorker.set_client_override(NullEventsClient)
    sized = flow.with_options(task_runner=threads(pool.size))
    # Around Prefect's own handler too, which raises in the middle of whatever its engine does at the flow's ends.
    with settings, stop_on_signals(pool):
        # Prefect's overloads read a flow of unknown parameters as one that returns nothing.
        try:
            state: Any = sized(*arguments, return_state=True)
        except TerminationSignal as error:
            pool.stopped_by = signal.SIGTERM
            raise StoppedError(signal.SIGTERM) from error
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
