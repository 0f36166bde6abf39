"""The same on a Prefect server that keeps its history in Postgres: one setting of the server's, nothing of ours."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from own_postgres import programs_of_postgres
from prefect_site import Site

from storage.ledger import Ledger

ENDS = ("Completed", "Degraded", "Failed", "Crashed", "Refused")
GAMES = 240


@pytest.fixture
def site(environment: Mapping[str, str], tmp_path: Path) -> Iterator[Site]:
    """A server that knows Banzuke, and a worker."""
    programs_of_postgres()
    with Site(tmp_path, environment) as site:
        site.start_server()
        site.deploy()
        site.start_worker()
        yield site


def progress(site: Site) -> Any:
    """Of the one run there is, in percent; None before it says anything."""
    found = site.ask("artifacts/latest/filter", {"artifacts": {"type": {"any_": ["progress"]}}})
    return found[0]["data"] if found else None


def test_a_run_is_played_cancelled_and_gone_on_with_on_postgres(site: Site) -> None:
    """Its progress is seen, what was finished is kept, Retry plays the rest, and the history is in the database."""
    run = site.order("play-tournament/pipeline", agents=["material-*"], games_per_encounter=GAMES)
    site.until(lambda: 0 < (progress(site) or 0) < 100, "the run to make progress")

    site.set_state(run, type="CANCELLING", name="Cancelling")
    site.until_state(run, "Cancelled")
    (run_id,) = site.games().run_ids()
    kept = Ledger(site.games(), run_id).tallies().counting
    site.set_state(run, type="SCHEDULED", name="AwaitingRetry")
    ended = site.until_state(run, *ENDS)

    assert "Completed" == ended["state"]["name"], ended["state"]["message"]
    assert 0 < kept < GAMES
    tallies = Ledger(site.games(), run_id).tallies()
    assert (GAMES, GAMES, 0) == (tallies.planned, tallies.counting, tallies.void)
    assert 100 == progress(site)
    assert site.postgres is not None
    assert "COMPLETED" == site.postgres.ask("select state_type from flow_run")
    assert not list((site.folder / "prefect").glob("*.db"))
