"""The stage called standings."""

from __future__ import annotations

from prefect import task

from banzuke.progress import announce_stage
from storage.game_store import GameStore
from tasks.policies import ONCE
from tasks.rating import rows_now


@task(name="publish-standings", task_run_name="standings of {run_id}", **ONCE)
def publish_standings(store: str, run_id: str) -> None:
    """Rate every counting game of a run and publish its standings."""
    announce_stage("standings")
    games = GameStore(store)
    games.write_standings(run_id, rows_now(games, run_id))
