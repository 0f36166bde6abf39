"""All runs of the store on one scale, as a server shows it: after the night, or whenever somebody asks.

In go names of runs, out comes a table of ratings with their intervals; nothing is played.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed
from pydantic import Field

from flows import naming
from flows.serving import answered
from tasks.rate import rate_together
from tasks.served import served_store


@flow(name="rate-runs", flow_run_name=naming.of_standings)
def rate_runs(
    runs: list[str] = [],  # noqa: B006 - a form shows it; nobody changes it
    since_hours: Annotated[int, Field(ge=0, le=1_000_000)] = 0,
    rules: Literal["csa", "keisei"] = "csa",
    agents: list[str] = [],  # noqa: B006 - likewise
    anchor: str = "",
    anchor_elo: Annotated[float, Field(ge=-100_000, le=100_000)] = 0.0,
    count_faults: bool = False,
) -> State[None]:
    """Rate the games of several runs together.

    Args:
        runs: Their run ids, or patterns such as nightly-*; leave empty for all of the store.
        since_hours: Only runs that were begun within so many hours; 0 for all.
        rules: Games under other rules are on another scale.
        agents: Show only these, names or patterns; all are rated together all the same.
        anchor: The agent whose rating is fixed; leave empty for that of the newest run.
        anchor_elo: The rating it is fixed at.
        count_faults: Whether a game that is still void counts as a loss of the side at fault.
    """

    def play() -> State[None]:
        since = datetime.now(UTC) - timedelta(hours=since_hours) if since_hours else None
        rated = rate_together(served_store(), runs, since, rules, agents, anchor, anchor_elo, count_faults)
        for line in rated.notes:
            get_run_logger().warning(line)
        message = f"{rated.agents} agents of {rated.runs} runs, {rated.games} games"
        return Completed(message=message) if rated.games else Failed(name="Degraded", message=message)

    return answered(play)
