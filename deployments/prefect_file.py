"""``prefect.yaml`` as it is read here: what Prefect would drop without a word, such as a misspelt key, is a fault."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import yaml
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.objects import ConcurrencyLimitStrategy, ConcurrencyOptions
from prefect.client.schemas.schedules import CronSchedule, IntervalSchedule
from pydantic import BaseModel, ConfigDict

PREFECT_FILE = Path(__file__).with_name("prefect.yaml")


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class WorkPoolSection(_Section):
    """Where runs of a deployment wait for a worker, and what its processes get in their environment."""

    name: str
    work_queue_name: str
    job_variables: dict[str, Any] = {}


class ScheduleSection(_Section):
    """When a deployment runs by itself; exactly one of ``cron`` and ``interval``."""

    slug: str
    cron: str | None = None
    interval: timedelta | None = None
    timezone: str = "UTC"
    active: bool
    parameters: dict[str, Any] = {}

    def as_prefect(self) -> DeploymentScheduleCreate:
        """As the server is told."""
        when = (
            CronSchedule(cron=self.cron, timezone=self.timezone)
            if self.cron is not None
            else IntervalSchedule(interval=self.interval or timedelta(), timezone=self.timezone)
        )
        return DeploymentScheduleCreate(schedule=when, active=self.active, parameters=self.parameters, slug=self.slug)


class ConcurrencySection(_Section):
    """How many runs of a deployment may go on at once, and what becomes of one more."""

    limit: int
    collision_strategy: Literal["ENQUEUE", "CANCEL_NEW"]

    def as_prefect(self) -> ConcurrencyOptions:
        """What the server is told beside the number."""
        return ConcurrencyOptions(collision_strategy=ConcurrencyLimitStrategy(self.collision_strategy))


class DeploymentSection(_Section):
    """One thing that can be started."""

    name: str
    description: str
    entrypoint: str
    parameters: dict[str, Any] = {}
    work_pool: WorkPoolSection
    schedules: tuple[ScheduleSection, ...] = ()
    concurrency_limit: ConcurrencySection | None = None


class _File(_Section):
    pull: tuple[()]
    definitions: Mapping[str, Any]
    deployments: tuple[DeploymentSection, ...]


def read_deployments(path: Path = PREFECT_FILE) -> tuple[DeploymentSection, ...]:
    """What the file offers, in its order.

    Raises:
        pydantic.ValidationError: something in it is not what we know of.
    """
    return _File.model_validate(yaml.safe_load(path.read_text())).deployments
