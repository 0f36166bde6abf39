"""The deployments that runs are started from, and what may be asked of them. No Prefect, no I/O.

What each takes is read from the server, where the flow's own signature is kept; only the names of a tournament's
parameters are written here too, for whoever types them.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypedDict

from banzuke.errors import NotDeployedError, RefusedError
from banzuke.run_status import Kind

DEPLOYMENTS: Mapping[Kind, str] = {
    "tournament": "play-tournament/pipeline",
    "test": "play-test/sprt",
    "backfill": "backfill-runs/backfill",
    "standings": "rate-runs/standings",
}
FLOWS = [deployment.partition("/")[0] for deployment in DEPLOYMENTS.values()]

Parameter = str | int | float | bool | Sequence[str]


class TournamentParameters(TypedDict, total=False):
    """What can be asked of a tournament; what is left out is as the deployment says. docs/client.md explains each."""

    name: str
    agents: Sequence[str]
    newest: int
    format: Literal["round-robin", "gauntlet", "adaptive"]
    challengers: Sequence[str]
    games_per_encounter: int
    target_error: float
    openings: str
    suite: str
    rules: Literal["csa", "keisei"]
    max_plies: int
    seed: int
    anchor: str
    anchor_elo: float
    concurrency: int
    hosts: int
    regression_margin: float
    run_id: str


class BackfillParameters(TypedDict, total=False):
    """Which void and missing games are played; what is left out is as the deployment says."""

    runs: Sequence[str]
    causes: Sequence[str]
    since_hours: int
    concurrency: int


@dataclass(frozen=True, slots=True)
class Deployment:
    """One of them, as a server knows it."""

    id: str
    name: str
    flow_id: str
    has_pool: bool
    schema: Mapping[str, Any]
    """Of each parameter, by its name."""
    defaults: Mapping[str, Any]


def checked(parameters: Mapping[str, Parameter], deployment: Deployment) -> dict[str, Any]:
    """What is sent. Prefect takes parameters that a flow does not have, and the run crashes long afterwards.

    Raises:
        RefusedError: there is no such parameter, or none that has such a value.
        NotDeployedError: there is none yet.
    """
    for name in parameters:
        if name in deployment.schema:
            continue
        if name in TournamentParameters.__annotations__ and deployment.name == DEPLOYMENTS["tournament"]:
            raise NotDeployedError(
                f"{deployment.name} is older than this client: it has no {name}; run `banzuke deploy`"
            )
        near = difflib.get_close_matches(str(name), deployment.schema, n=3)
        hint = f"near: {', '.join(near)}" if near else f"there are {', '.join(sorted(deployment.schema))}"
        raise RefusedError(f"{deployment.name} has no parameter {str(name)[:80]!r}; {hint}")
    return {name: _plain(name, value) for name, value in parameters.items()}


def _plain(name: str, value: object) -> Any:  # noqa: ANN401 - JSON
    if isinstance(value, bool | int) or _is_text(value):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return float(value)
    if hasattr(value, "__index__"):
        return int(value)  # of numpy
    if isinstance(value, Sequence) and not isinstance(value, str) and all(map(_is_text, value)):
        return list(value)
    raise RefusedError(f"{name}: {repr(value)[:80]} is neither a text, a finite number nor a list of texts")


def _is_text(value: object) -> bool:
    """Whether it is more than Python's memory of bytes that were none.

    Prefect 3.8.8 keeps a run with such a parameter and can never read it again, nor any list of runs that it is in.
    """
    return isinstance(value, str) and not any("\ud800" <= sign <= "\udfff" for sign in value)


def name_of(parameters: Mapping[str, Any], deployment: Deployment) -> str:
    """What a run of these parameters is called."""
    name = parameters.get("name", deployment.defaults.get("name"))
    return str(deployment.schema.get("name", {}).get("default", "") if name is None else name)
