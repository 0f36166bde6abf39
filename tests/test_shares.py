"""One run on three machines: three workers with names of their own, one store, one server; whatever is killed."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest
from prefect_site import CANCEL_SECONDS, Site

from storage.ledger import Ledger

HOSTS = {"a": 2, "b": 1, "c": 2}
"""And how many CPU workers each may have."""
ENGINE = Path(__file__).parent / "engines" / "legal_engine.py"
CATALOGUE = f"""
[[agents]]
name = "one"
kind = "usi"
command = ['{sys.executable}', '{ENGINE}', '0.15']
limit = {{ nodes = 1 }}
version = "1"
[[agents]]
name = "two"
kind = "usi"
command = ['{sys.executable}', '{ENGINE}', '0.15']
limit = {{ nodes = 1 }}
version = "2"
[[agents]]
name = "random"
kind = "random"
[limits]
concurrency = 2
game_seconds = 60.0
"""
HOLDER = """
import time
from uuid import uuid4
from prefect.client.orchestration import get_client
from tasks.leases import LimitServer, make_limit
with get_client(sync_client=True) as client:
    make_limit(client, "banzuke-cpu-killed", 2)
    LimitServer(client, uuid4()).take("banzuke-cpu-killed", 2)
    print("held", flush=True)
    time.sleep(300)
"""
BACK_SECONDS = 60.0 + 15.0 + 15.0
"""A lease, a round of the server's sweep, and a busy machine."""
ENDED = ("Completed", "Degraded", "Failed", "Crashed", "Refused", "Cancelled", "Dismissed")


@pytest.fixture(scope="module")
def site(environment: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A server that knows Banzuke, and three workers that take themselves for three machines."""
    with Site(tmp_path_factory.mktemp("site"), environment) as site:
        site.catalogue.write_text(CATALOGUE)
        site.start_server()
        site.deploy()
        for host, slots in HOSTS.items():
            site.ask("v2/concurrency_limits/", {"name": f"banzuke-cpu-{host}", "limit": slots})
            site.start_worker(host, BANZUKE_HOST=host)
        yield site


@pytest.fixture(scope="module")
def killed_at(site: Site) -> float:
    """When a process was killed that held both slots of a machine; on the monotonic clock."""
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER], env=site.environment, stdout=subprocess.PIPE, cwd=site.folder
    )
    assert holder.stdout is not None
    assert b"held\n" == holder.stdout.readline()
    holder.kill()
    holder.communicate()
    assert 2 == site.ask("v2/concurrency_limits/banzuke-cpu-killed")["active_slots"]
    return time.monotonic()


def order(site: Site, games: int, **further: object) -> str:
    """A tournament of two engines; on two hosts, where nothing else is said."""
    wish = {"agents": ["one", "two"], "max_plies": 30, "hosts": 2, "games_per_encounter": games, **further}
    return site.order("play-tournament/pipeline", **wish)


def run_of(site: Site, run: str) -> str:
    """The run of the store that a flow run plays."""
    (found,) = [run_id for run_id in site.games().run_ids() if run_id.endswith(run[:8])]
    return found


def rows_of(site: Site, run: str) -> list[dict[str, Any]]:
    """Every attempt that is recorded so far."""
    known = [run_id for run_id in site.games().run_ids() if run_id.endswith(run[:8])]
    columns = ("game_id", "status", "host", "started_at", "finished_at")
    return site.games().games(known[0], columns).table.to_pylist() if known else []


def shares_of(site: Site, run: str) -> list[Any]:
    """The flow runs of its shares."""
    return [found for found in site.ask("flow_runs/filter", {}) if run[:8] in found["name"] and found["id"] != run]


def until_both_play(site: Site, run: str) -> None:
    """Until two hosts have recorded a game."""
    site.until(lambda: len({row["host"] for row in rows_of(site, run)}) == 2, "games of two hosts")


def until_nothing_plays(site: Site) -> None:
    """Until no worker has a process below it."""
    workers = [psutil.Process(worker.pid) for worker in site.workers]
    site.until(lambda: not any(worker.children() for worker in workers), "all flows to end", seconds=20)


def process_of(site: Site, run: str) -> psutil.Process:
    """The process that plays a flow run."""
    (found,) = [
        process
        for worker in site.workers
        for process in psutil.Process(worker.pid).children()
        if process.environ().get("PREFECT__FLOW_RUN_ID") == run
    ]
    return found


def check_whole(site: Site, run: str, planned: int, *, free_within: float = 5.0) -> None:
    """Every planned game has one counting result, no game two; no host played more at once than it may; slots are free.

    ``free_within``: seconds; those of a killed process come back by themselves only.
    """
    tallies = Ledger(site.games(), run_of(site, run)).tallies()
    assert (planned, planned, 0, 0) == (tallies.planned, tallies.counting, tallies.void, tallies.missing)
    rows = rows_of(site, run)
    counted = [row["game_id"] for row in rows if row["status"] != "void"]
    assert len(counted) == len(set(counted)) == planned
    for host, slots in HOSTS.items():
        assert most_at_once([row for row in rows if row["host"] == host]) <= slots
    until_nothing_plays(site)
    limits = [f"v2/concurrency_limits/banzuke-cpu-{host}" for host in HOSTS]
    site.until(lambda: not any(site.ask(limit)["active_slots"] for limit in limits), "free slots", seconds=free_within)


def most_at_once(rows: list[dict[str, Any]]) -> int:
    """How many games were going on at the same time, at most."""
    events = sorted([(row["started_at"], 1) for row in rows] + [(row["finished_at"], -1) for row in rows])
    now = most = 0
    for _, change in events:
        now += change
        most = max(most, now)
    return most


def test_three_hosts_play_no_game_twice_and_keep_their_limits(site: Site, killed_at: float) -> None:
    """Every host plays games of the run, all games count, and what was not begun is nobody's."""
    assert killed_at
    # Which worker finds a share is chance: on a busy machine one of three may find none within so few games.
    for _ in range(3):
        run = order(site, 60, hosts=3)
        ended = site.until_state(run, *ENDED)

        assert "Completed" == ended["state"]["name"], ended["state"]["message"]
        check_whole(site, run, 60)
        assert ["Completed", "Completed"] == [share["state"]["name"] for share in shares_of(site, run)]
        played = {row["host"] for row in rows_of(site, run)}
        if played == set(HOSTS):
            break
    assert set(HOSTS) == played


def test_a_killed_tournament_ends_its_shares_and_deals_anew(site: Site) -> None:
    """Nobody goes on alone after kill -9; taken up again it deals the rest anew, and a killed share is played, too."""
    run = order(site, 32)
    until_both_play(site, run)
    process_of(site, run).kill()
    first = {share["id"] for share in shares_of(site, run)}
    site.until(lambda: {share["state"]["name"] for share in named(site, run, first)} == {"Dismissed"}, "them to end")

    second = site.until(
        lambda: [s for s in shares_of(site, run) if s["id"] not in first and s["state"]["name"] == "Running"],
        "a share of the second attempt",
    )
    process_of(site, second[0]["id"]).kill()

    # On the machine with one worker it waits for the slot of the killed one, and plays what is left with that alone.
    ended = site.until_state(run, "Completed", "Degraded", "Failed", "Refused", "Cancelled", seconds=300)
    assert "Completed" == ended["state"]["name"], ended["state"]["message"]
    check_whole(site, run, 32, free_within=BACK_SECONDS)


def named(site: Site, run: str, ids: set[str]) -> list[Any]:
    """The shares of these ids."""
    return [share for share in shares_of(site, run) if share["id"] in ids]


def test_a_cancelled_tournament_leaves_no_share(site: Site) -> None:
    """Soon after it was cancelled nobody plays, on no host, and what is finished is kept."""
    run = order(site, 200)
    until_both_play(site, run)
    cancelled = time.monotonic()
    site.set_state(run, type="CANCELLING", name="Cancelling")

    site.until_nobody_is_at_the_board()

    assert time.monotonic() < cancelled + CANCEL_SECONDS
    site.until_state(run, "Cancelled")
    until_nothing_plays(site)
    site.until(lambda: all(share["state"]["name"] in ENDED for share in shares_of(site, run)), "its shares to end")
    counted = [row["game_id"] for row in rows_of(site, run) if row["status"] != "void"]
    assert 0 < len(counted) == len(set(counted)) < 200


def test_an_adaptive_tournament_on_several_hosts_is_refused(site: Site) -> None:
    """Its steps wait for each other; one line says so."""
    run = order(site, 20, format="adaptive")

    ended = site.until_state(run, *ENDED)

    assert "Refused" == ended["state"]["name"]
    assert ended["state"]["message"].startswith("hosts: an adaptive tournament is played on one machine")


def test_a_share_that_nobody_has_dealt_is_refused(site: Site) -> None:
    """Started by hand beside nothing, with a claim made up, it plays nothing and says why."""
    run = site.games().run_ids()[0]
    before = len(site.games().games(run, ("game_id",)).table)

    share = site.order("play-share/share", run_id=run, share=1, of=2, claim="mine")

    ended = site.until_state(share, *ENDED)
    assert "Refused" == ended["state"]["name"]
    assert "start the tournament" in ended["state"]["message"]
    assert before == len(site.games().games(run, ("game_id",)).table)


def test_slots_of_a_killed_process_come_back(site: Site, killed_at: float) -> None:
    """After its lease and a round of the server's sweep they are free."""

    def used() -> int:
        found: int = site.ask("v2/concurrency_limits/banzuke-cpu-killed")["active_slots"]
        return found

    left = killed_at + BACK_SECONDS - time.monotonic()
    assert site.until(lambda: used() == 0, "the slots to come back", seconds=max(1.0, left))
