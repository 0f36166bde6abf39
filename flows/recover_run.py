"""Take up again a run that has crashed: an automation starts this, with the id of the flow run.

The same flow run is scheduled once more, so that it goes on with its run of the store and plays what is missing. How
often that was done is written on the flow run itself, as tags; after a few times it is left to a person.
"""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from prefect import flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.client.schemas.responses import SetStateStatus
from prefect.exceptions import ObjectNotFound
from prefect.runtime import deployment
from prefect.states import AwaitingRetry, Completed, Failed, Suspended
from pydantic import Field

from banzuke.errors import SpecError
from banzuke.faults import shown
from banzuke.settings import settings
from flows.serving import PAUSED, answered

RECOVERED = "banzuke:recovered-"
"""Of the tags that count; the how many-th recovery follows."""
PREFIX = "prefect.flow-run."
"""What an event calls a flow run by, before its id."""


@flow(name="recover-run", flow_run_name="recover")
def recover_run(flow_run_id: Annotated[str, Field(max_length=100)] = "") -> State[None]:
    """Take up again a run that has crashed, a few times at most.

    Args:
        flow_run_id: Id of the crashed flow run, as its page's address shows it.
    """

    def play() -> State[None]:
        with get_client(sync_client=True) as client:
            crashed = _asked_for(client, flow_run_id)
            before = _state_before_crash(client, crashed)
            if before is None:
                return Completed(message=f"{crashed.name} is {_state_of(crashed)}; there is nothing to take up")
            if before.type is StateType.PAUSED:
                return _pause_again(client, crashed)
            return _take_up(client, crashed)

    return answered(play)


def _asked_for(client: SyncPrefectClient, flow_run_id: str) -> FlowRun:
    """The flow run.

    Raises:
        SpecError: there is none of that id, or none that can be started again.
    """
    try:
        found = client.read_flow_run(UUID(flow_run_id.removeprefix(PREFIX)))
    except (ValueError, ObjectNotFound):
        raise SpecError(f"flow_run_id: {shown(flow_run_id)} is the id of no flow run of this server") from None
    if found.deployment_id is None or str(found.deployment_id) == deployment.id:
        raise SpecError(f"flow_run_id: {found.name} is no run of one of our deployments, which are taken up again")
    return found


def _state_before_crash(client: SyncPrefectClient, run: FlowRun) -> State | None:
    """What a crashed run was in before; None where it is not crashed."""
    *before, last = client.read_flow_run_states(run.id)
    if last.type is not StateType.CRASHED:
        return None
    return next((state for state in reversed(before) if state.type is not StateType.CRASHED), last)


def _pause_again(client: SyncPrefectClient, run: FlowRun) -> State[None]:
    # Its heart beat once more after it was paused, and was missed by the automation afterwards.
    client.set_flow_run_state(run.id, Suspended(message=PAUSED), force=True)
    return Completed(message=f"{run.name} was paused, and is again")


def _take_up(client: SyncPrefectClient, run: FlowRun) -> State[None]:
    most = settings().backfills
    done = sum(1 for tag in run.tags if tag.startswith(RECOVERED))
    if done >= most:
        why = run.state.message if run.state else None
        return Failed(
            name="GivenUp",
            message=f"{run.name} has crashed once more, after {done} {'recovery' if done == 1 else 'recoveries'} "
            f"({why or 'nobody knows why'}); "
            "Retry starts it by hand, and plays what is missing",
        )
    # Counted first: what fails in between costs an attempt and does not go on for ever.
    client.update_flow_run(run.id, tags=[*run.tags, f"{RECOVERED}{done + 1}"])
    again: State[None] = AwaitingRetry(message=f"taken up again, {done + 1} of {most} times")
    answer = client.set_flow_run_state(run.id, again)
    if answer.status is not SetStateStatus.ACCEPT:
        return Failed(message=f"{run.name} could not be taken up again: {answer.details}")
    return Completed(message=f"{run.name} goes on, {done + 1} of {most} times")


def _state_of(run: FlowRun) -> str:
    return ((run.state and run.state.name) or "gone").lower()
