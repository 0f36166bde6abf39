"""What the client asks of a Prefect server, in Banzuke's words: deployments, runs with their counts, and new states."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any, cast
from urllib.parse import quote
from uuid import UUID

from banzuke.deployed import DEPLOYMENTS, FLOWS, Deployment, name_of
from banzuke.errors import NoSuchRunError, NotDeployedError, RefusedError
from banzuke.rest import Access, Refusal, Rest
from banzuke.run_ids import run_id_of
from banzuke.run_status import Kind, Priority, RunStatus, moment, state_of

PAGE = 200
"""Runs that the server shows at once."""
_COUNTS = re.compile(r"(\d{1,15}) of (\d{1,15}) games")
_FAULT = re.compile(r"Validation failed for field '([^']*)'\. Failure reason: (.*)")


@dataclass(frozen=True, slots=True)
class FlowRun:
    """A run, and what Prefect says of its state beyond what it means for us."""

    status: RunStatus
    type: str
    """Of the state."""
    since: datetime | None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a state that was proposed."""

    is_accepted: bool
    type: str | None
    """Of the state that the run is in now."""
    reason: str


class Server:
    """One server. Where something is wrong its methods raise what :mod:`banzuke.client` says they do.

    Args:
        access: where it is.
        ui: where its UI is.
    """

    def __init__(self, access: Access, ui: str) -> None:
        self.url = access.url
        self.rest = Rest(access)
        self._ui = ui
        self._deployments: dict[Kind, Deployment] = {}
        self._kinds: dict[str, Kind] = {}
        """Of flows, by their ids."""

    def deployment(self, kind: Kind) -> Deployment:
        """Looked for once; the server is asked no further time."""
        if kind in self._deployments:
            return self._deployments[kind]
        name = DEPLOYMENTS[kind]
        try:
            found = self.rest.get(f"deployments/name/{quote(name)}")
        except Refusal as error:
            if error.status == HTTPStatus.NOT_FOUND and "eployment" in error.reason:
                raise NotDeployedError(f"{self.url} does not know {name}; run `banzuke deploy`") from error
            if error.status == HTTPStatus.NOT_FOUND:
                raise self.rest.nonsense(f"404: {error.reason}") from error
            raise
        with self._understood():
            self._deployments[kind] = Deployment(
                id=str(UUID(found["id"])),
                name=name,
                flow_id=str(found["flow_id"]),
                has_pool=bool(found.get("work_pool_name")),
                schema=dict((found["parameter_openapi_schema"] or {}).get("properties") or {}),
                defaults=dict(found["parameters"] or {}),
            )
            self._kinds[str(found["flow_id"])] = kind
        return self._deployments[kind]

    def start(self, kind: Kind, body: Mapping[str, Any]) -> RunStatus:
        """Create a run; one request, where the deployment is known."""
        deployment = self.deployment(kind)
        try:
            made = self.rest.post(f"deployments/{deployment.id}/create_flow_run", body)
        except Refusal as error:
            if error.status == HTTPStatus.NOT_FOUND:
                # Next time it is looked for anew: somebody may have deployed everything afresh.
                del self._deployments[kind]
                raise NotDeployedError(f"{deployment.name} is gone from {self.url}; run `banzuke deploy`") from error
            fault = _FAULT.search(error.reason)
            raise RefusedError(f"{fault[1]}: {fault[2]}" if fault else error.reason) from error
        with self._understood():
            return self._read(made, None).status

    def run(self, flow_run_id: str) -> FlowRun:
        """One, by its id."""
        try:
            found = self.rest.get(f"flow_runs/{flow_run_id}")
        except Refusal as error:
            if error.status == HTTPStatus.NOT_FOUND:
                raise NoSuchRunError(f"there is no run {flow_run_id} on {self.url}") from error
            raise
        return self._read_all([found])[0]

    def runs(self, filters: Mapping[str, Any], *, limit: int = PAGE, offset: int = 0) -> list[FlowRun]:
        """Those of our flows whose time has come, newest first."""
        # The runs of the coming nights are there already; what is to begin within seconds is not one of them.
        soon = (self.rest.now + timedelta(seconds=5)).isoformat()
        body = {
            "flows": {"name": {"any_": FLOWS}},
            "flow_runs": {"expected_start_time": {"before_": soon}, **filters},
            "sort": "EXPECTED_START_TIME_DESC",
            "limit": max(1, min(limit, PAGE)),
            "offset": offset,
        }
        return self._read_all(self.rest.post("flow_runs/filter", body))

    def propose(self, flow_run_id: str, state: Mapping[str, Any], *, force: bool = False) -> Verdict:
        """Ask for a new state; Prefect's rules decide, unless ``force`` goes past them."""
        answer = self.rest.post(f"flow_runs/{flow_run_id}/set_state", {"state": state, "force": force})
        with self._understood():
            return Verdict(
                is_accepted=answer["status"] == "ACCEPT",
                type=None if answer["state"] is None else str(answer["state"]["type"]),
                reason=" ".join(str((answer["details"] or {}).get("reason") or "").split()),
            )

    def _read_all(self, found: Sequence[Mapping[str, Any]]) -> list[FlowRun]:
        """With the counts of games, which are artifacts of the runs that have begun."""
        with self._understood():
            begun = [str(one["id"]) for one in found if one["start_time"]]
            counts = self._counts(begun) if begun else {}
            return [self._read(one, counts.get(str(one["id"]))) for one in found]

    def _counts(self, flow_run_ids: Sequence[str]) -> dict[str, tuple[int, int]]:
        """Of each flow run, how many games count and how many are planned; of a backfill those of all its runs."""
        body = {
            "artifacts": {"flow_run_id": {"any_": list(flow_run_ids)}, "type": {"any_": ["progress"]}},
            "sort": "UPDATED_DESC",
        }
        newest: dict[tuple[str, str], tuple[int, int]] = {}
        for artifact in self.rest.post("artifacts/filter", body):
            said = _COUNTS.match(artifact["description"] or "")
            if said is not None:
                key = str(artifact["flow_run_id"]), str(artifact["key"])
                newest.setdefault(key, (int(said[1]), int(said[2])))
        counts: dict[str, tuple[int, int]] = {}
        for (flow_run_id, _), (counting, planned) in newest.items():
            before = counts.get(flow_run_id, (0, 0))
            counts[flow_run_id] = before[0] + counting, before[1] + planned
        return counts

    def standings(self, flow_run_id: str) -> list[dict[str, Any]]:
        """The rows of the newest table of standings that a run shows; none where it shows none."""
        body = {
            "artifacts": {"flow_run_id": {"any_": [flow_run_id]}, "type": {"any_": ["table"]}},
            "sort": "UPDATED_DESC",
        }
        with self._understood():
            for artifact in self.rest.post("artifacts/filter", body):
                if str(artifact["key"]).startswith("standings-"):
                    return [dict(row) for row in json.loads(artifact["data"])]
        return []

    def _read(self, found: Mapping[str, Any], counts: tuple[int, int] | None) -> FlowRun:
        state = found["state"]
        queue = found["work_queue_name"]
        status = RunStatus(
            id=str(UUID(found["id"])),
            name=str(found["name"]),
            kind=self._kind_of(found),
            run_id=self._run_id_of(found),
            state=state_of(state, self.rest.now),
            message=" ".join(str(state["message"] or "").split()),
            planned=None if counts is None else counts[1],
            counting=None if counts is None else counts[0],
            priority=cast("Priority", queue) if queue in {"high", "default", "low"} else None,
            started_at=moment(found["start_time"]),
            ended_at=moment(found["end_time"]),
            running_seconds=float(found["estimated_run_time"] or 0.0),
            url=f"{self._ui}/v2/runs/flow-run/{found['id']}",
        )
        return FlowRun(status=status, type=str(state["type"]), since=moment(state["timestamp"]))

    def _kind_of(self, found: Mapping[str, Any]) -> Kind:
        flow_id = str(found["flow_id"])
        if flow_id not in self._kinds:
            by_flow = {deployment.partition("/")[0]: kind for kind, deployment in DEPLOYMENTS.items()}
            flows = self.rest.post("flows/filter", {"flows": {"name": {"any_": FLOWS}}})
            self._kinds |= {str(flow["id"]): by_flow[flow["name"]] for flow in flows}
        if flow_id not in self._kinds:
            raise NoSuchRunError(f"{found['id']} is a run of something else than Banzuke")
        return self._kinds[flow_id]

    def _run_id_of(self, found: Mapping[str, Any]) -> str | None:
        parameters = found["parameters"]
        if parameters.get("run_id"):
            return str(parameters["run_id"])
        kind, scheduled = self._kind_of(found), moment(found["expected_start_time"])
        if kind not in {"tournament", "test"} or scheduled is None:
            return None
        try:
            name = name_of(parameters, self.deployment(kind))
        except NotDeployedError:
            return None
        return run_id_of(name, scheduled, UUID(found["id"]))

    @contextlib.contextmanager
    def _understood(self) -> Iterator[None]:
        """What is read in the block has the form that Prefect's answers have, or it is not Prefect that answers."""
        try:
            yield
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise self.rest.nonsense(f"an answer without {' '.join(str(error).split())[:80]}") from error
