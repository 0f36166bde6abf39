"""The stage called persist: compact the parts, sum up, and show it in Prefect."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any
from uuid import UUID

from prefect import get_run_logger, task
from prefect.artifacts import (
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)

from banzuke.progress import announce_stage
from banzuke.specs import SPEC
from storage.game_store import GameStore
from storage.ledger import Ledger
from tasks.growing import precision_of
from tasks.policies import MACHINERY
from tasks.summary import Summary, summarise

__all__ = ["Summary", "agents_to_play", "persist_run", "show_progress"]


@task(name="persist-run", task_run_name="persist {run_id}", **MACHINERY)
def persist_run(store: str, run_id: str) -> Summary:
    """Merge the run's parts into large files, sum the run up, and publish its standings as an artifact."""
    announce_stage("persist")
    games = GameStore(store)
    games.compact(run_id, thorough=False)
    summary = summarise(games, run_id)
    columns = ("rank", "agent", "elo", "elo_low", "elo_high", "games", "wins", "draws", "losses", "reason")
    rows = [{name: getattr(row, name) for name in columns} for row in summary.standings]
    show_table(f"standings-{run_id}", rows, f"{run_id}: {summary.counting} of {summary.planned} games count")
    return summary


def agents_to_play(store: str, run_id: str, wanted: Collection[str] | None = None) -> list[str]:
    """The agents that have games still to be played, in the order of the plan.

    Of an adaptive run whose plan is going to grow, all: who will meet whom is not known yet.

    Args:
        store: where the run is.
        run_id: which run.
        wanted: ids of the games in question; None for all that are missing.
    """
    ledger = Ledger(GameStore(store), run_id)
    missing = set(ledger.missing_ids())
    if wanted is not None:
        missing.intersection_update(wanted)
    elif (precision := precision_of(GameStore(store), run_id)) is not None and (missing or precision.goes_on):
        spec = SPEC.validate_python(GameStore(store).read_run(run_id)["spec"])
        return [agent.name for agent in spec.agents]
    names: dict[str, None] = {}
    for game in ledger.plan:
        if game.game_id in missing:
            names.update({game.first_agent: None, game.second_agent: None})
    return list(names)


def show_table(key: str, rows: list[dict[str, Any]], description: str) -> None:
    """Publish a table in Prefect. What cannot be shown is logged; it never fails the task."""
    table = [{name: _shown(value) for name, value in row.items()} for row in rows]
    try:
        create_table_artifact(table, key=_key(key), description=description)
    except Exception as error:  # noqa: BLE001 - an artifact is for the eye; the results are in the store
        get_run_logger().warning("the artifact %s could not be made: %s", key, error)


def show_progress(run_id: str, counting: int, planned: int, artifact: UUID | None = None) -> UUID | None:
    """Make or update the run's progress artifact; None where that failed. It never fails the flow."""
    percent = 100 * counting / planned if planned else 0.0
    description = f"{counting} of {planned} games"
    try:
        if artifact is None:
            made = create_progress_artifact(percent, key=_key(f"progress-{run_id}"), description=description)
            return made if isinstance(made, UUID) else None
        update_progress_artifact(artifact, percent, description=description)
    except Exception as error:  # noqa: BLE001 - see show_table
        get_run_logger().warning("the progress of %s could not be shown: %s", run_id, error)
    return artifact


def _key(text: str) -> str:
    return "".join(char if char.isascii() and char.isalnum() else "-" for char in text.lower())


def _shown(value: object) -> str | int | float | None:
    if isinstance(value, float):
        return round(value, 3) if math.isfinite(value) else None
    return value if value is None or isinstance(value, str | int) else str(value)
