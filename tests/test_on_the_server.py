"""What people see of a run on a Prefect server: names, artifacts, lines of the log, and events for automations."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from prefect_site import CATALOGUE, Site
from test_served_runs import until_nothing_plays

from storage.ledger import Ledger
from tasks.artifacts import artifact_key

BROKEN = '[[agents]]\nname = "broken"\nkind = "usi"\ncommand = ["false"]\nlimit = { nodes = 1 }\n'
ENDED = ("Completed", "Degraded", "Failed", "Crashed", "Refused", "Stopped")
KINDS = ("progress", "standings", "crosstable", "failures", "run")


@pytest.fixture(scope="module")
def site(environment: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A server and a worker whose catalogue has an agent that cannot start."""
    with Site(tmp_path_factory.mktemp("site"), environment) as site:
        site.catalogue.write_text(CATALOGUE.replace("[limits]", f"{BROKEN}[limits]"))
        site.start_server()
        site.deploy()
        # Nobody is to act on what is told here.
        for automation in site.ask("automations/filter", {}):
            site.ask(f"automations/{automation['id']}", method="DELETE")
        site.start_worker()
        yield site


def ended(site: Site, run: str) -> Any:
    """The flow run as it is when its process has ended."""
    found = site.until_state(run, *ENDED)
    until_nothing_plays(site)
    return found


def artifacts(site: Site, run: str) -> dict[str, Any]:
    """The artifacts of a flow run that have a key; of each the newest."""
    wanted = {"artifacts": {"flow_run_id": {"any_": [run]}}, "sort": "CREATED_DESC"}
    found: dict[str, Any] = {}
    for artifact in site.ask("artifacts/filter", wanted):
        if artifact["key"]:
            found.setdefault(artifact["key"], artifact)
    return found


def events(site: Site, run: str, number: int) -> dict[str, Any]:
    """Our events about a flow run by name, when there are so many."""
    wanted = {"filter": {"event": {"prefix": ["banzuke."]}, "related": {"id": [f"prefect.flow-run.{run}"]}}}

    def found() -> list[Any] | None:
        known: list[Any] = site.ask("events/filter", wanted)["events"]
        return known if len(known) >= number else None

    return {event["event"]: event for event in site.until(found, f"{number} events")}


def logged(site: Site, run: str) -> list[str]:
    """The lines of a flow run's log."""
    lines = site.ask("logs/filter", {"logs": {"flow_run_id": {"any_": [run]}}, "sort": "TIMESTAMP_ASC"})
    return [line["message"] for line in lines]


def only_run(site: Site, run: str) -> str:
    """The run of the store that a flow run plays."""
    (found,) = [run_id for run_id in site.games().run_ids() if run_id.endswith(run[:8])]
    return found


def test_a_complete_run_is_named_shown_and_told(site: Site) -> None:
    """Its names say what is done, its artifacts are of its games, and one event has its counts."""
    agents = ["material-1", "random"]
    run = site.order("play-tournament/pipeline", name="night", agents=agents, games_per_encounter=8, max_plies=80)

    found = ended(site, run)

    run_id = only_run(site, run)
    assert ("Completed", f"play {run_id}") == (found["state"]["name"], found["name"])
    tasks = {task["name"] for task in site.ask("task_runs/filter", {"flow_runs": {"id": {"any_": [run]}}})}
    assert {f"open {run_id}", "probe random", f"standings of {run_id}", f"persist {run_id}"} <= tasks
    shown = artifacts(site, run)
    assert {f"{kind}-{run_id}" for kind in KINDS} == set(shown)
    assert ("8 of 8 games", 100) == (shown[f"progress-{run_id}"]["description"], shown[f"progress-{run_id}"]["data"])
    sheet = json.loads(shown[f"standings-{run_id}"]["data"])
    assert ["rank", "agent", "elo", "games", "W/D/L", "score", "reason"] == list(sheet[0])
    assert ({"material-1", "random"}, [8, 8]) == ({row["agent"] for row in sheet}, [row["games"] for row in sheet])
    assert all("±" in row["elo"] for row in sheet)
    assert "/8 |" in shown[f"crosstable-{run_id}"]["data"]
    assert "None: each of 8 games has a result." in shown[f"failures-{run_id}"]["data"]
    assert f"banzuke show {run_id} --store {site.store}" in shown[f"run-{run_id}"]["data"]
    told = events(site, run, 1)
    assert ["banzuke.run.completed"] == list(told)
    event = told["banzuke.run.completed"]
    assert f"banzuke.run.{run_id}" == event["resource"]["prefect.resource.id"]
    assert {"run_id": run_id, "planned": 8, "counting": 8, "attempt": 0}.items() <= event["payload"].items()
    assert ["evaluate: 2 agents", "tournament: 8 games of 8 to play", "standings", "persist"] == [
        line for line in logged(site, run) if line.startswith(("evaluate", "tournament:", "standings", "persist"))
    ]


def test_a_degraded_run_says_what_failed_and_how_to_have_it_played(site: Site) -> None:
    """The failures have cause, agent and command; the events name the agent and ask for a backfill, which asks on."""
    order = {"name": "Night.2", "agents": ["material-1", "random", "broken"], "games_per_encounter": 2}
    run = site.order("play-tournament/pipeline", **order, max_plies=40)

    found = ended(site, run)

    run_id = only_run(site, run)
    assert "Degraded" == found["state"]["name"]
    shown = artifacts(site, run)
    assert {artifact_key(kind, run_id) for kind in KINDS} == set(shown)
    failures = shown[artifact_key("failures", run_id)]["data"]
    assert f"banzuke backfill --run {run_id} --store {site.store}" in failures
    assert "| missing: agent unfit | broken | 4 |  |" in failures
    assert "| broken | `could not start: false exited with code 1` |" in failures
    sheet = json.loads(shown[artifact_key("standings", run_id)]["data"])
    assert "unrated" == next(row for row in sheet if row["agent"] == "broken")["elo"]
    told = events(site, run, 3)
    assert {"banzuke.run.degraded", "banzuke.agent.unfit", "banzuke.backfill.due"} == set(told)
    unfit = {"run_id": run_id, "agent": "broken", "reason": "could not start: false exited with code 1"}
    assert unfit == told["banzuke.agent.unfit"]["payload"]
    assert {"run_id": run_id, "attempt": 1, "voids": 0, "missing": 4} == told["banzuke.backfill.due"]["payload"]
    assert "unfit, left out: broken: could not start: false exited with code 1" in logged(site, run)

    for attempt, due in ((2, 3), (3, None)):
        backfill = site.order("backfill-runs/backfill", runs=[run_id], attempt=attempt)

        assert f"backfill {run_id} (automatic, no. {attempt})" == ended(site, backfill)["name"]
        told = events(site, backfill, 2 if due is None else 3)
        assert attempt == told["banzuke.run.degraded"]["payload"]["attempt"]
        asked = told.get("banzuke.backfill.due")
        assert due == (None if asked is None else asked["payload"]["attempt"])


def test_a_paused_run_shows_its_standings_so_far_and_tells_nothing(site: Site) -> None:
    """What was played is rated and shown although Prefect begins no task of a paused run; its end is still to come."""
    agents = ["material-1", "material-2", "random"]
    run = site.order("play-tournament/pipeline", name="long", agents=agents, games_per_encounter=480)
    site.until(
        lambda: [
            artifact
            for artifact in artifacts(site, run).values()
            if artifact["type"] == "progress" and " a minute, about " in artifact["description"]
        ],
        "progress with a rate",
    )

    site.set_state(run, type="PAUSED", name="Suspended", state_details={"pause_reschedule": True})

    until_nothing_plays(site)
    run_id = only_run(site, run)
    shown = artifacts(site, run)
    assert "Suspended" == site.flow_run(run)["state"]["name"]
    sheet = json.loads(shown[f"standings-{run_id}"]["data"])
    counting = sheet[0]["games"]
    assert 0 < counting < 960
    done = int(shown[f"progress-{run_id}"]["description"].removesuffix(" of 1440 games"))
    assert done >= counting
    assert done == Ledger(site.games(), run_id).tallies().counting
    assert "To have exactly these games played:" in shown[f"failures-{run_id}"]["data"]
    wanted = {"filter": {"event": {"prefix": ["banzuke."]}, "related": {"id": [f"prefect.flow-run.{run}"]}}}
    assert [] == site.ask("events/filter", wanted)["events"]
    assert "CANCELLED" == (site.set_state(run, type="CANCELLED"), site.flow_run(run)["state"]["type"])[1]


def test_hostile_parameters_make_harmless_names(site: Site) -> None:
    """Whatever was asked for, the flow run's name is one short line, and nothing in it is filled in."""
    run = site.order("play-tournament/pipeline", name="ev\nil{0}{name}\x1b[31m", run_id="../../{run_id}\n" + "x" * 5000)

    found = ended(site, run)

    assert "Refused" == found["state"]["name"]
    assert found["name"].isprintable()
    assert found["name"].startswith("play ../../{run_id} xxx")
    assert len(found["name"]) <= 120


def test_a_run_on_the_server_is_watched(site: Site) -> None:
    """The server's counts and state, the store's standings and games in play where it is at hand; else why not."""
    agents = ["material-1", "material-2"]
    run = site.order("play-tournament/pipeline", name="seen", agents=agents, games_per_encounter=120, max_plies=200)
    site.until_state(run, "Running")
    watcher = subprocess.Popen(
        [sys.executable, "-m", "deployments.cli", "watch", run[:8]],
        cwd=site.folder,
        env=site.environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        site.until(
            lambda: any(map(site.games().game_files, [name for name in site.games().run_ids() if run[:8] in name])),
            "a game to be recorded",
        )
        look = json.loads(site.banzuke("watch", run, "--server", "--once", "--json").stdout)
        lines = watcher.communicate(timeout=120)[0]
    finally:
        watcher.kill()
        watcher.wait()
    ended(site, run)
    site.environment.pop("BANZUKE_STORE")
    try:
        elsewhere = site.banzuke("watch", run)
    finally:
        site.environment["BANZUKE_STORE"] = str(site.store)

    run_id = only_run(site, run)
    assert (run_id, "running", 120) == (look["run_id"], look["state"], look["planned"])
    assert set(agents) == {row["agent"] for row in look["standings"]}
    assert look["games_in_play"] > 0
    assert run == look["server"]["id"]
    assert 0 == watcher.returncode
    assert f"{run_id}: running, " in lines
    assert f"{run_id}: completed, 120/120 games" in lines
    assert f"Standings of {run_id}" in lines
    assert 0 == elsewhere.returncode, elsewhere.stderr
    assert "say where that is with --store or BANZUKE_STORE" in elsewhere.stdout
    assert "material-2" in elsewhere.stdout
