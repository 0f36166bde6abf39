"""Runs that a Prefect server starts: refused, cancelled, paused, gone on with, killed; what each leaves behind."""

from __future__ import annotations

import contextlib
import json
import time
import urllib.error
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import psutil
import pytest
from hostile_parameters import HOSTILE, NOT_JSON
from prefect.client.schemas.objects import State
from prefect_site import CANCEL_SECONDS, Site

from banzuke.errors import StorageError
from flows.serving import answered
from storage.ledger import Ledger

RETRY = {"type": "SCHEDULED", "name": "AwaitingRetry"}
SUSPEND: dict[str, Any] = {"type": "PAUSED", "name": "Suspended", "state_details": {"pause_reschedule": True}}
"""As our client asks; the UI adds a deadline, after which the server fails the run."""
CANCEL = {"type": "CANCELLING", "name": "Cancelling"}
LONG: dict[str, Any] = {"agents": ["material-1", "random"], "games_per_encounter": 200, "max_plies": 200}


@pytest.fixture(scope="module")
def site(environment: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A server that knows Banzuke, and a worker."""
    with Site(tmp_path_factory.mktemp("site"), environment) as site:
        site.start_server()
        site.deploy()
        site.start_worker()
        yield site


def run_of(site: Site, run: str) -> str:
    """The run of the store that a flow run plays."""
    (found,) = [run_id for run_id in site.games().run_ids() if run_id.endswith(run[:8])]
    return found


def counting(site: Site, run: str) -> int:
    """How many of its games have a counting result by now."""
    known = [run_id for run_id in site.games().run_ids() if run_id.endswith(run[:8])]
    return Ledger(site.games(), known[0]).tallies().counting if known and site.games().has_plan(known[0]) else 0


def begun(site: Site, run: str, beyond: int = 0) -> int:
    """Until more than so many games count; how many."""
    found: int = site.until(lambda: (now := counting(site, run)) > beyond and now, f"more than {beyond} games")
    return found


def until_nothing_plays(site: Site) -> None:
    """Until the worker has no process below it: no flow, no worker of ours, no engine."""
    worker = psutil.Process(site.workers[0].pid)
    site.until(lambda: not worker.children(recursive=True), "the flow's processes to end", seconds=20)


def retry_crashed(site: Site, run: str) -> None:
    """Retry a crashed run until it runs.

    The worker reports the crash seconds after its runner did, and crashes what was retried in between. The automation
    would take that up; without it somebody presses the button once more.
    """

    def is_running() -> bool:
        site.set_state(run, **RETRY)
        return "Running" == site.until_state(run, "Running", "Crashed")["state"]["name"]

    site.until(is_running, "Retry to be taken")


def check_whole(site: Site, run: str, planned: int) -> None:
    """Every planned game has one counting result, and no game two."""
    tallies = Ledger(site.games(), run_of(site, run)).tallies()
    assert (planned, planned, 0, 0) == (tallies.planned, tallies.counting, tallies.void, tallies.missing)
    rows = site.games().games(run_of(site, run), ("game_id", "status")).table.to_pylist()
    counted = [row["game_id"] for row in rows if row["status"] != "void"]
    assert len(counted) == len(set(counted)) == planned
    until_nothing_plays(site)


def test_a_run_asked_for_by_hand_is_played_to_its_end(site: Site) -> None:
    """The pipeline plays every game of the agents it was told, under a run id that says where it came from."""
    run = site.order("play-tournament/pipeline", name="hand", agents=["material-1", "rand*"], games_per_encounter=4)

    ended = site.until_state(run, "Completed", "Degraded", "Failed", "Crashed", "Refused")

    assert "Completed" == ended["state"]["name"], ended["state"]["message"]
    assert run_of(site, run).startswith("hand-")
    check_whole(site, run, 4)


def test_a_wrong_name_is_refused_with_one_line_that_names_near_ones(site: Site) -> None:
    """Nothing is written of a run that asks for an agent that the catalogue does not have."""
    before = site.games().run_ids()

    run = site.order("play-tournament/pipeline", agents=["material-1", "materail-2"])

    ended = site.until_state(run, "Completed", "Degraded", "Failed", "Crashed", "Refused")
    assert "Refused" == ended["state"]["name"]
    assert "materail-2" in ended["state"]["message"]
    assert "material-2" in ended["state"]["message"]
    assert before == site.games().run_ids()
    until_nothing_plays(site)
    logged = site.ask("logs/filter", {"logs": {"flow_run_id": {"any_": [run]}}})
    assert not [line["message"] for line in logged if "Traceback" in line["message"]]


def test_the_password_of_a_store_is_in_no_message() -> None:
    """A store that cannot be reached is named without it, and what is no address is left as it is."""

    def play() -> State[Any]:
        raise StorageError("ftp://bob:hunter2@127.0.0.1:1/x?key=1: refused; is 'epoch-?' there?")

    state = answered(play)

    assert ("Failed", "ftp://***@127.0.0.1:1/x?*** refused; is 'epoch-?' there?") == (state.name, state.message)


def test_what_the_server_can_check_it_refuses_before_there_is_a_run(site: Site) -> None:
    """A number out of range and a word that is no choice are turned away at once, with the field's name."""
    for field, value in {"max_plies": -1, "rules": "own", "games_per_encounter": "many"}.items():
        with pytest.raises(urllib.error.HTTPError) as refusal:
            site.order("play-tournament/pipeline", **{field: value})
        assert 409 == refusal.value.code
        assert field in refusal.value.read().decode()


SENT = [
    name
    for name, wish in HOSTILE.items()
    if name not in NOT_JSON and len(json.dumps(wish)) < 10_000 and "\\ud" not in json.dumps(wish)
][::3]
"""Of the parameter sets that can be sent, every third; half of a surrogate pair spoils Prefect's server for good."""
NUL = "\\u0000"
"""As JSON has it."""


def test_hostile_parameters_are_refused_with_one_line(site: Site) -> None:
    """Each of a score is turned away by the server or ends as Refused; nothing is written, nothing crashes."""
    before = site.games().run_ids()
    site.ask("work_pools/banzuke", {"concurrency_limit": 2}, method="PATCH")
    runs: dict[str, str] = {}
    turned_away: list[int] = []
    for name in SENT:
        if site.postgres is not None and NUL in json.dumps(HOSTILE[name]):
            # Postgres has no such text, and Prefect answers that it is busy; our own client never sends one.
            continue
        try:
            runs[name] = site.order("play-tournament/pipeline", **HOSTILE[name])
        except urllib.error.HTTPError as refusal:
            turned_away.append(refusal.code)

    over = ("Refused", "Completed", "Degraded", "Failed", "Crashed")
    ended = {name: site.until_state(run, *over, seconds=240)["state"] for name, run in runs.items()}

    site.ask("work_pools/banzuke", {"concurrency_limit": None}, method="PATCH")
    assert len(turned_away) + len(ended) >= 20
    assert {409} <= set(turned_away) <= {409, 422}
    assert {"Refused"} == {state["name"] for state in ended.values()}, ended
    assert all(state["message"].isprintable() for state in ended.values())
    assert before == site.games().run_ids()
    logged = site.ask("logs/filter", {"logs": {"flow_run_id": {"any_": list(runs.values())}}})
    assert not [line["message"] for line in logged if "Traceback" in line["message"]]
    until_nothing_plays(site)


@pytest.mark.parametrize(
    ("deployment", "wish"),
    [
        ("play-tournament/pipeline", {"games_per_encounter": -5, "name": ["x"], "agents": {"a": 1}}),
        ("play-test/sprt", {"agent": "random", "versus": "material-1", "elo0": "much"}),
    ],
)
def test_what_the_server_was_told_not_to_check_is_refused_all_the_same(
    site: Site, deployment: str, wish: dict[str, Any]
) -> None:
    """With its own check switched off, wrong types end as Refused with one line, too."""
    known = site.ask(f"deployments/name/{deployment}")["id"]
    site.ask(f"deployments/{known}", {"enforce_parameter_schema": False}, method="PATCH")

    run = site.order(deployment, **wish)

    ended = site.until_state(run, "Refused", "Completed", "Degraded", "Failed", "Crashed")
    site.ask(f"deployments/{known}", {"enforce_parameter_schema": True}, method="PATCH")
    assert "Refused" == ended["state"]["name"], ended["state"]["message"]
    until_nothing_plays(site)


def test_a_cancelled_run_is_gone_soon_and_retry_plays_the_rest(site: Site) -> None:
    """Cancelling leaves no process and keeps what is finished; Retry plays exactly what is missing."""
    run = site.order("play-tournament/pipeline", **LONG)
    begun(site, run)

    asked = time.monotonic()
    site.set_state(run, **CANCEL)
    site.until_nobody_is_at_the_board()
    took = time.monotonic() - asked
    site.until_state(run, "Cancelled")
    until_nothing_plays(site)

    kept = counting(site, run)
    assert 0 < kept < 200
    assert took < CANCEL_SECONDS
    site.set_state(run, **RETRY)
    begun(site, run, beyond=kept)
    site.until_state(run, "Completed")
    check_whole(site, run, 200)


def test_a_paused_run_frees_the_cores_and_goes_on_exactly(site: Site) -> None:
    """Pausing, with the deadline the UI sets, ends the processes and keeps the run; resuming plays what is missing."""
    run = site.order("play-tournament/pipeline", **LONG)
    begun(site, run)
    deadline = (datetime.now(UTC) + timedelta(seconds=300)).isoformat()

    site.set_state(run, **{**SUSPEND, "state_details": {**SUSPEND["state_details"], "pause_timeout": deadline}})
    until_nothing_plays(site)

    kept = counting(site, run)
    state = site.flow_run(run)["state"]
    assert ("Suspended", None) == (state["name"], state["state_details"]["pause_timeout"])
    assert 0 < kept < 200
    site.ask(f"flow_runs/{run}/resume", {})
    site.until_state(run, "Completed")
    check_whole(site, run, 200)


@contextlib.contextmanager
def no_automation(site: Site) -> Iterator[None]:
    """Whoever retries a run by hand is quicker than the automation only by chance; while the block lasts it is off."""
    ours = [automation["id"] for automation in site.ask("automations/filter", {})]
    for automation in ours:
        site.ask(f"automations/{automation}", {"enabled": False}, method="PATCH")
    yield
    for automation in ours:
        site.ask(f"automations/{automation}", {"enabled": True}, method="PATCH")


def test_a_killed_run_is_crashed_and_retry_plays_the_rest(site: Site) -> None:
    """After kill -9 of the flow's process nothing runs on, and Retry goes on with the same run."""
    run = site.order("play-tournament/pipeline", **LONG)
    kept = begun(site, run)

    with no_automation(site):
        for process in psutil.Process(site.workers[0].pid).children():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        site.until_state(run, "Crashed")
        until_nothing_plays(site)
        retry_crashed(site, run)
        assert begun(site, run, beyond=kept) > kept
    site.until_state(run, "Completed")
    check_whole(site, run, 200)


def test_a_backfill_from_the_server_plays_what_a_cancelled_run_left(site: Site) -> None:
    """The backfill deployment finds the run by a pattern and makes it whole, with this machine's agents."""
    run = site.order("play-tournament/pipeline", name="left", **LONG)
    begun(site, run)
    site.set_state(run, **CANCEL)
    site.until_state(run, "Cancelled")

    backfill = site.order("backfill-runs/backfill", runs=["left-*"])

    ended = site.until_state(backfill, "Completed", "Degraded", "Failed", "Crashed", "Refused")
    assert "Completed" == ended["state"]["name"], ended["state"]["message"]
    check_whole(site, run, 200)
    assert (
        "nothing to play"
        in site.until_state(site.order("backfill-runs/backfill", runs=["left-*"]), "Completed", "Refused")["state"][
            "message"
        ]
    )


def test_a_sequential_test_from_the_server_comes_to_its_verdict(site: Site) -> None:
    """Two names and the hypotheses are enough; bad hypotheses are refused with one line."""
    test = site.order("play-test/sprt", agent="material-1", versus="random", max_plies=200)
    nonsense = site.order("play-test/sprt", agent="material-1", versus="random", elo1=0.0)

    assert "accept_h1" in site.until_state(test, "Completed", "Degraded", "Refused")["state"]["message"]
    assert "elo0 is to be below elo1" in site.until_state(nonsense, "Refused", "Completed")["state"]["message"]
    until_nothing_plays(site)


def test_standings_of_the_whole_store_are_an_artifact(site: Site) -> None:
    """The standings deployment rates all runs together and shows the table."""
    first = site.order("play-tournament/pipeline", agents=["material-1", "random"], games_per_encounter=2)
    site.until_state(first, "Completed")

    rated = site.until_state(site.order("rate-runs/standings"), "Completed", "Degraded", "Refused")

    assert "Completed" == rated["state"]["name"], rated["state"]["message"]
    table = site.ask("artifacts/standings-together/latest")
    assert "material-1" in table["data"]
    until_nothing_plays(site)
