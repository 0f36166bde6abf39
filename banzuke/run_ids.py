"""What a run is called that was started from a server."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

_LONGEST = 64


def run_id_of(name: str, scheduled: datetime, flow_run_id: UUID) -> str:
    """The id of a run in the store: the same however often its flow run is retried.

    Args:
        name: what its tournament is called.
        scheduled: when it was first to begin.
        flow_run_id: of the flow run that plays it.
    """
    ending = f"-{scheduled.astimezone(UTC):%Y%m%d-%H%M%S}-{flow_run_id.hex[:8]}"
    return f"{name[: _LONGEST - len(ending)].rstrip('-')}{ending}"
