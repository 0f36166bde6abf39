"""Making a Prefect server know Banzuke: work pool, limits, deployments, automations. Any number of times.

What a person can change in the UI is theirs from the first time on: parameters, schedules, concurrency, priorities,
whether an automation is on. What belongs to the code is renewed: entrypoints, descriptions, the schema of the forms.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import DeploymentUpdate, WorkPoolCreate, WorkPoolUpdate
from prefect.client.schemas.objects import WorkPool
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.schedules import CronSchedule
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from prefect.flows import Flow
from prefect.utilities.callables import parameter_schema

from banzuke import __version__
from banzuke.faults import one_line
from deployments.automations import make_automations
from deployments.prefect_file import DeploymentSection, read_deployments
from deployments.prefect_server import DeployError, server_address
from tasks.slots import make_cpu_limit

POOL = "banzuke"
QUEUES = {"high": 1, "default": 2, "low": 3}
"""Of the pool, and their priorities; a lower number goes first."""


@dataclass(frozen=True, slots=True)
class Offer:
    """A deployment as it is on the server now."""

    name: str
    """Full: that of the flow, and its own."""
    is_new: bool
    schedules: tuple[tuple[str, bool], ...]
    """When it runs by itself, and whether that is switched on."""


@dataclass(frozen=True, slots=True)
class Deployed:
    """What the server knows of Banzuke now."""

    api: str
    ui: str
    tournaments: int | None
    """How many runs go on at once at most; None for any number."""
    workers: int
    """How many CPU workers play at once at most on this machine, those of all runs together."""
    offers: tuple[Offer, ...]
    automations: tuple[str, ...]
    """Those that are switched on."""


def deploy(*, tournaments: int | None = None, notify: str | None = None, schedules: bool | None = None) -> Deployed:
    """Make or renew everything.

    Args:
        tournaments: how many runs may go on at once, 0 for any number; None leaves it as it is.
        notify: the address that notifications are posted to; None leaves it as it is.
        schedules: whether everything that runs by itself is switched on; None leaves it as it is, at first off.

    Raises:
        DeployError: there is no server, or it refuses; one line.
    """
    api, ui = server_address()
    with get_client(sync_client=True) as client:
        with _in_words("the work pool"):
            pool = _make_pool(client, tournaments)
        with _in_words("the limit of this machine"):
            workers = make_cpu_limit(client)
        found: dict[str, UUID] = {}
        offers = []
        for section in read_deployments():
            with _in_words(section.name):
                known, is_new = _make_deployment(client, section)
                if schedules is not None:
                    known = _switch(client, known, is_on=schedules)
            name = f"{_flow(section).name}/{section.name}"
            found[name] = known.id
            offers.append(Offer(name, is_new, tuple(_when(known))))
        with _in_words("the automations"):
            automations = make_automations(client, found, notify=notify)
    return Deployed(api, ui, pool.concurrency_limit, workers, tuple(offers), tuple(automations))


@contextmanager
def _in_words(what: str) -> Iterator[None]:
    try:
        yield
    except PrefectHTTPStatusError as error:
        raise DeployError(f"{what}: the server refuses: {_reason(error)}") from error


def _reason(error: PrefectHTTPStatusError) -> str:
    try:
        detail = error.response.json()
        return one_line(str(detail.get("detail") or detail.get("exception_message") or detail))[:300]
    except ValueError:
        return f"{error.response.status_code} {one_line(error.response.text)[:300]}"


def _make_pool(client: SyncPrefectClient, tournaments: int | None) -> WorkPool:
    try:
        client.read_work_pool(POOL)
    except ObjectNotFound:
        client.create_work_pool(
            WorkPoolCreate(name=POOL, type="process", description="Machines that play; each runs `banzuke serve`.")
        )
    if tournaments is not None:
        client.update_work_pool(POOL, WorkPoolUpdate(concurrency_limit=tournaments or None))
    for queue, priority in QUEUES.items():
        try:
            client.read_work_queue_by_name(queue, work_pool_name=POOL)
        except ObjectNotFound:
            # The pool has made its default queue itself, which the others move to its place.
            client.create_work_queue(queue, work_pool_name=POOL, priority=priority)
    return client.read_work_pool(POOL)


def _flow(section: DeploymentSection) -> Flow[..., Any]:
    module, _, name = section.entrypoint.rpartition(".")
    flow: Flow[..., Any] = getattr(importlib.import_module(module), name)
    return flow


def _make_deployment(client: SyncPrefectClient, section: DeploymentSection) -> tuple[DeploymentResponse, bool]:
    flow = _flow(section)
    # A parameter that the flow has not would be taken, and the run would crash on it.
    schema = {**parameter_schema(flow).model_dump_for_openapi(), "additionalProperties": False}
    try:
        known = client.read_deployment_by_name(f"{flow.name}/{section.name}")
    except ObjectNotFound:
        limit = section.concurrency_limit
        made = client.create_deployment(
            flow_id=client.create_flow_from_name(flow.name),
            name=section.name,
            version=__version__,
            description=section.description,
            entrypoint=section.entrypoint,
            parameters=section.parameters,
            parameter_openapi_schema=schema,
            enforce_parameter_schema=True,
            schedules=[schedule.as_prefect() for schedule in section.schedules],
            concurrency_limit=limit.limit if limit else None,
            concurrency_options=limit.as_prefect() if limit else None,
            work_pool_name=section.work_pool.name,
            work_queue_name=section.work_pool.work_queue_name,
            job_variables=section.work_pool.job_variables,
            pull_steps=[],
        )
        return client.read_deployment(made), True
    renewed = DeploymentUpdate(
        version=__version__,
        description=section.description,
        entrypoint=section.entrypoint,
        # What an earlier version's flow had and this one's has not.
        parameters={name: value for name, value in known.parameters.items() if name in schema["properties"]},
        parameter_openapi_schema=schema,
        enforce_parameter_schema=True,
        job_variables=_with(known.job_variables or {}, section.work_pool.job_variables),
        pull_steps=[],
        tags=known.tags,
    )
    client.update_deployment(known.id, renewed)
    return client.read_deployment(known.id), False


def _with(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> dict[str, Any]:
    """Job variables as somebody has changed them, with those of ours that are missing there."""
    return {**ours, **theirs, "env": {**ours["env"], **theirs.get("env", {})}}


def _switch(client: SyncPrefectClient, known: DeploymentResponse, *, is_on: bool) -> DeploymentResponse:
    for schedule in known.schedules:
        client.update_deployment_schedule(known.id, schedule.id, active=is_on)
    return client.read_deployment(known.id)


def _when(known: DeploymentResponse) -> Iterator[tuple[str, bool]]:
    for schedule in known.schedules:
        when = schedule.schedule
        if isinstance(when, CronSchedule):
            yield f"{when.cron} {when.timezone or 'UTC'}", schedule.active
        else:
            yield f"every {getattr(when, 'interval', 'so often')}", schedule.active
