"""A server with flows that only look like ours: the client sees names, parameters and states, and no game is played.

The deployments have no code; what a worker would do is done by the tests, through the API.
"""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from http import HTTPStatus
from typing import Annotated, Any, Literal

from prefect import flow
from prefect.utilities.callables import parameter_schema
from pydantic import Field

PATIENCE = 30.0


@flow(name="play-tournament")
def play_tournament(
    name: Annotated[str, Field(max_length=30)] = "tournament",
    agents: Sequence[str] = ("*",),
    newest: Annotated[int, Field(ge=0, le=10_000)] = 0,
    format: Literal["round-robin", "gauntlet", "adaptive"] = "round-robin",  # noqa: A002 - as in a spec
    games_per_encounter: Annotated[int, Field(ge=2, le=1_000_000)] = 20,
    anchor_elo: Annotated[float, Field(ge=-100_000, le=100_000)] = 0.0,
    run_id: str = "",
) -> None:
    """Play nothing."""


@flow(name="play-test")
def play_test(name: str = "test", elo0: float = 0.0, elo1: float = 50.0) -> None:
    """Test nothing."""


@flow(name="backfill-runs")
def backfill_runs(runs: Sequence[str] = (), causes: Sequence[str] = (), since_hours: int = 0) -> None:
    """Play nothing."""


class Prefect:
    """The API of a server, and what a worker and a flow would say to it."""

    def __init__(self, url: str) -> None:
        self.url = url

    def ask(self, path: str, body: object = None, *, method: str | None = None) -> Any:
        """One request; asked again while the server's database is busy."""
        content = None if body is None else json.dumps(body, default=str).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.url}/{path}", content, headers, method=method)
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                with urllib.request.urlopen(request, timeout=PATIENCE) as response:
                    answer = response.read()
                return json.loads(answer) if answer else None
            except urllib.error.HTTPError as error:
                if error.code != HTTPStatus.SERVICE_UNAVAILABLE or time.monotonic() > deadline:
                    raise AssertionError(f"{path}: {error.code} {error.read().decode()}") from error

    def deploy(self) -> None:
        """As ``banzuke deploy`` does, as far as a client can see."""
        if not self.ask("work_pools/filter", {"work_pools": {"name": {"any_": ["banzuke"]}}}):
            self.ask("work_pools/", {"name": "banzuke", "type": "process"})
        for made, name in ((play_tournament, "pipeline"), (play_test, "sprt"), (backfill_runs, "backfill")):
            flow_id = self.ask("flows/", {"name": made.name})["id"]
            schema = parameter_schema(made).model_dump()
            self.ask(
                "deployments/",
                {
                    "name": name,
                    "flow_id": flow_id,
                    "work_pool_name": "banzuke",
                    "work_queue_name": "default",
                    "parameter_openapi_schema": schema,
                    "enforce_parameter_schema": True,
                },
            )

    def set_state(self, run: str, kind: str, name: str, message: str = "", **details: object) -> None:
        """What the worker or the flow says of the run, past all rules."""
        state = {"type": kind, "name": name, "message": message, "state_details": details}
        self.ask(f"flow_runs/{run}/set_state", {"state": state, "force": True})

    def begin(self, run: str) -> None:
        """As a worker begins it."""
        self.set_state(run, "PENDING", "Pending")
        self.set_state(run, "RUNNING", "Running")

    def count(self, run: str, counting: int, planned: int, key: str = "progress-x") -> None:
        """As the flow does while games are played."""
        self.ask(
            "artifacts/",
            {
                "key": key,
                "type": "progress",
                "data": 100 * counting / planned,
                "description": f"{counting} of {planned} games",
                "flow_run_id": run,
            },
        )

    def flow_run(self, run: str) -> Any:
        """What the server has of it."""
        return self.ask(f"flow_runs/{run}")
