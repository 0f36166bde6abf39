"""What is different about a flow that a Prefect server started: it is watched from there, and answers in states.

Nobody reads a traceback in the UI: what was asked for and cannot be done is refused with one line, before anything is
written. A run that is paused there lets go of its cores and ends; going on is the same flow run, started again.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import threading
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

from prefect import get_run_logger
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State, StateType
from prefect.exceptions import Abort, CancelledRun, CrashedRun, FailedRun, Pause
from prefect.runtime import deployment, flow_run
from prefect.states import Crashed, Failed, Suspended

from banzuke.errors import BanzukeError, RunBusyError, RunChangedError, SpecError, UnknownRunError
from banzuke.run_ids import run_id_of
from banzuke.workers.pool import WorkerPool
from tasks.pages import masked

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://\S+")
LOOK_SECONDS = 1.0
"""Between two looks at what the server says of this run."""
STOP_SECONDS = 7.0
"""For a run that is being stopped to end by itself; it is gone within ten."""
SIGNAL_SECONDS = 4.0
"""For the worker to pass on that a run is cancelled, by a signal; one that is dead does not.

It is waited for although the server has said so already: a signal that comes late would meet the next attempt.
"""
LEAVING_SECONDS = 30.0
"""For a process that has told the server of its end to have ended: "Retry" may be quicker."""
PAUSED = "paused; everything finished is kept"
"""Said of a run when its process ends; until then it is pausing."""
REFUSALS = (SpecError, RunBusyError, RunChangedError, UnknownRunError)


def is_served() -> bool:
    """Whether this process plays a run of a deployment."""
    return bool(deployment.id)


def patience() -> float:
    """For how long whoever else plays the run is waited for; seconds."""
    return LEAVING_SECONDS if is_served() else 0.0


def which_run(name: str, run_id: str) -> tuple[str, bool]:
    """The run of the store that this flow run plays, and whether it may have begun it before.

    Args:
        name: what the tournament is called.
        run_id: as asked for; empty for a run of its own.
    """
    if run_id:
        return run_id, flow_run.run_count > 1
    # What is no text is refused later, in words.
    return run_id_of(str(name), flow_run.scheduled_start_time, UUID(flow_run.id)), True


def answered(play: Callable[[], State[Any]]) -> State[Any]:
    """The state that a served flow ends in.

    Args:
        play: does it; what it cannot do by the fault of whoever asked is refused.
    """
    if is_served():
        logging.getLogger("prefect.flow_runs").addFilter(_is_news)
    try:
        ended = play()
    except REFUSALS as error:
        return refused(error)
    except BanzukeError as error:
        return Failed(message=_said("; ".join(str(error).splitlines())))
    if ended.is_cancelled() and ended.name == "Stopped" and is_served() and not _is_being_cancelled():
        # Somebody stopped this process, not this run: that is taken up again as any other crash is.
        return Crashed(message=f"the process was stopped: {ended.message}")
    # The engine would take a result that is no exception for a fault of a state that is no success.
    return ended if ended.is_completed() else ended.model_copy(update={"data": None})


def _is_news(record: logging.LogRecord) -> bool:
    """Whether a log line says more than the state of the run does, which the engine shows once more as a traceback."""
    kind = record.exc_info[0] if record.exc_info else None
    return kind is None or not issubclass(kind, (FailedRun, CancelledRun, CrashedRun))


def _said(text: str) -> str:
    """What people may read: without the passwords of a store's URL."""
    return _URL.sub(lambda found: masked(found[0]), text)


def refused(error: Exception) -> State[Any]:
    """The state of a run that was not begun, with everything that is wrong with what was asked for."""
    for line in str(error).splitlines():
        get_run_logger().error("%s", _said(line))
    return Failed(name="Refused", message=_said("; ".join(str(error).splitlines())))


@contextlib.contextmanager
def obey_server(pool: WorkerPool) -> Iterator[None]:
    """While the block lasts, a run that is paused or cancelled from the server stops handing out games.

    Raises:
        Pause: at the block's end, where it is paused; Prefect ends the process then.
    """
    if not is_served():
        yield
        return
    seen = _Seen()
    done = threading.Event()
    watcher = threading.Thread(target=_watch, args=(UUID(flow_run.id), pool, seen, done), daemon=True)
    watcher.start()
    threading.Thread(target=_insist_on_stopping, args=(pool, seen, done), daemon=True).start()
    try:
        yield
        _leave(pool, seen)
    except Pause as pause:
        # The server has begun no further task of a run that is paused, sooner than the watcher has looked.
        pool.stop.set()
        raise Pause(state=_paused_for_good(pause.state)) from pause
    except Exception:
        # Whatever it is: to a run that is paused or cancelled it does not matter.
        _leave(pool, seen)
        raise
    finally:
        done.set()
        watcher.join()


class _Seen:
    """What the server said of the run when it was no longer to go on."""

    state: State[Any] | None = None


def _leave(pool: WorkerPool, seen: _Seen) -> None:
    """End the flow without a state of its own where somebody else has given it one, or is going to."""
    if seen.state is not None and seen.state.type is not StateType.CANCELLING:
        raise Pause(state=_paused_for_good(seen.state))
    if pool.stopped_by is not None and _is_being_cancelled():
        # Whoever sent the signal says so when we are gone. Said sooner, a "Retry" would be met by that second word.
        get_run_logger().info("cancelled; everything finished is kept")
        raise Abort


def _paused_for_good(state: State[Any] | None) -> State[Any] | None:
    """The state to leave behind: a run that is paused says that it has stopped, and may stay so for ever.

    What the UI pauses has a deadline of some minutes, after which the server fails it.
    """
    run = UUID(flow_run.id)
    with contextlib.suppress(Exception), get_client(sync_client=True) as client:
        known = client.read_flow_run(run).state
        if known is not None and known.is_paused():
            state = Suspended(message=PAUSED)
            client.set_flow_run_state(run, state, force=True)
    get_run_logger().info("%s; everything finished is kept", ((state and state.name) or "stopped").lower())
    return state


def _watch(run: UUID, pool: WorkerPool, seen: _Seen, done: threading.Event) -> None:
    with get_client(sync_client=True) as client:
        while not done.wait(LOOK_SECONDS):
            # A server that is away says nothing; the games go on.
            with contextlib.suppress(Exception):
                state = client.read_flow_run(run).state
                if state is None or state.is_running():
                    continue
                if state.type is StateType.CANCELLING and done.wait(SIGNAL_SECONDS):
                    return
                seen.state = state
                pool.stop.set()
                return


def _insist_on_stopping(pool: WorkerPool, seen: _Seen, done: threading.Event) -> None:
    """End the process where a stopped run does not: every finished game is on disk, and workers die with us."""
    pool.stop.wait()
    if not done.wait(STOP_SECONDS):
        os._exit(143 if seen.state is None or seen.state.type is StateType.CANCELLING else 0)


def _is_being_cancelled() -> bool:
    with get_client(sync_client=True) as client:
        try:
            state = client.read_flow_run(UUID(flow_run.id)).state
        except Exception:  # noqa: BLE001 - the server is gone; then nobody there has cancelled anything
            return False
    return state is not None and state.type in {StateType.CANCELLING, StateType.CANCELLED}
