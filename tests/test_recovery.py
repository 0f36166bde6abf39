"""Runs whose process, worker or server dies come back by themselves and end complete; a few times, not for ever."""

from __future__ import annotations

import contextlib
import signal
import urllib.error
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from prefect_site import Site
from test_served_runs import LONG, SUSPEND, begun, check_whole, counting, until_nothing_plays

from deployments.automations import ZOMBIES

MISSED = 240.0
"""Seconds for a run to be taken up whose crash the server missed, and notices by its silence."""
SILENCE = 35.0
"""Seconds; Prefect lets no heart beat more often than every 30."""


@pytest.fixture(scope="module")
def site(environment: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A server, and a machine that serves; a run is taken up again once."""
    with serving(environment, tmp_path_factory.mktemp("site")) as site:
        yield site


@pytest.fixture
def mortal(environment: Mapping[str, str], tmp_path: Path) -> Iterator[Site]:
    """Likewise, for a test that starts server and worker anew."""
    with serving(environment, tmp_path) as site:
        yield site


@contextmanager
def serving(environment: Mapping[str, str], folder: Path) -> Iterator[Site]:
    """A server, and a machine that serves."""
    with Site(folder, {**environment, "BANZUKE_BACKFILLS": "1", "BANZUKE_HOST": "mortal"}) as site:
        site.start_server()
        site.start_serving()
        # The slots of whoever was killed come back after a minute; nobody here is to wait for them.
        site.ask("v2/concurrency_limits/banzuke-cpu-mortal", {"limit": 20}, method="PATCH")
        yield site


def shorten_silence(site: Site) -> None:
    """Have a run count as dead after fewer seconds."""
    (known,) = (each for each in site.ask("automations/filter", {}) if each["name"] == ZOMBIES)
    kept = {key: known[key] for key in ("name", "description", "enabled", "trigger", "actions")}
    kept["trigger"]["within"] = SILENCE
    site.ask(f"automations/{known['id']}", kept, method="PUT")


def kill_flow(site: Site) -> None:
    """Kill -9 of the process that plays, and of the one above it."""
    for process in psutil.Process(site.workers[0].pid).children():
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def begin_anew(site: Site) -> None:
    """Another worker in the place of the one that has ended."""
    site.workers.clear()
    site.start_serving()


def recovered(site: Site, run: str) -> list[str]:
    """The tags that count how often a run was taken up again."""
    return [tag for tag in site.flow_run(run)["tags"] if "recovered" in tag]


def test_a_killed_run_comes_back_by_itself_and_ends_complete(site: Site) -> None:
    """Kill -9 of the flow's process, and nobody does anything."""
    run = site.order("play-tournament/pipeline", name="killed", **LONG)
    kept = begun(site, run)

    kill_flow(site)

    site.until(lambda: recovered(site, run), "the run to be taken up", seconds=MISSED)
    begun(site, run, beyond=kept)
    site.until_state(run, "Completed")
    check_whole(site, run, 200)
    assert ["banzuke:recovered-1"] == recovered(site, run)


def test_a_run_that_crashes_again_and_again_is_given_up(site: Site) -> None:
    """After as many recoveries as the machine allows it stays crashed, and whoever looks is told so."""
    run = site.order("play-tournament/pipeline", name="doomed", **LONG)

    for taken_up in range(2):
        site.until(lambda: len(recovered(site, run)) == taken_up, "the run to be taken up", seconds=MISSED)  # noqa: B023 - called at once
        site.until_state(run, "Running")
        begun(site, run, beyond=counting(site, run))
        kill_flow(site)

    def given_up() -> list[Any]:
        found = site.ask("flow_runs/filter", {"flow_runs": {"state": {"name": {"any_": ["GivenUp"]}}}})
        return [recovery["state"]["message"] for recovery in found]

    (message,) = site.until(given_up, "the recovery to give up", seconds=MISSED)
    assert "has crashed once more, after 1 recovery" in message
    assert "Crashed" == site.flow_run(run)["state"]["name"]
    until_nothing_plays(site)


def test_an_id_that_is_none_is_refused_with_one_line(site: Site) -> None:
    """Whatever it is; an endless one by the server."""
    hostile = ("../../etc/passwd", "\x1b[31mred", "prefect.flow-run.", "1" * 100)

    runs = [site.order("recover-run/recover", flow_run_id=word) for word in hostile]

    for run in runs:
        ended = site.until_state(run, "Refused", "Completed", "Failed", "Crashed")["state"]
        assert "Refused" == ended["name"]
        assert "is the id of no flow run of this server" in ended["message"]
        assert ended["message"].isprintable()
    with pytest.raises(urllib.error.HTTPError):
        site.order("recover-run/recover", flow_run_id="1" * 5000)


def test_a_paused_run_that_counted_as_dead_is_paused_again(site: Site) -> None:
    """A last beat of the heart after the pause, missed later on, starts nothing that somebody has paused."""
    run = site.order("play-tournament/pipeline", name="paused", **LONG)
    begun(site, run)
    site.set_state(run, **SUSPEND)
    until_nothing_plays(site)

    site.set_state(run, type="CRASHED", name="Crashed")

    site.until_state(run, "Suspended")
    site.ask(f"flow_runs/{run}/resume", {})
    site.until_state(run, "Completed")
    check_whole(site, run, 200)


def test_server_and_worker_restarted_in_the_middle_of_a_run_end_it_complete(mortal: Site) -> None:
    """What plays is told to stop and says that it did; the next that serves takes the run up again."""
    run = mortal.order("play-tournament/pipeline", name="restarted", **LONG)
    kept = begun(mortal, run)
    serving = mortal.workers[0]

    serving.send_signal(signal.SIGTERM)
    assert 143 == serving.wait(30)
    mortal.end(mortal.server)
    mortal.start_server()
    begin_anew(mortal)

    begun(mortal, run, beyond=kept)
    mortal.until_state(run, "Completed")
    check_whole(mortal, run, 200)


def test_runs_that_die_with_their_worker_while_the_server_is_down_come_back(mortal: Site) -> None:
    """Nobody is left to say what happened; silence says it, also of a run that had not begun, to a restarted server."""
    # Of a deployment with a limit, whose slot the dead run holds.
    shorten_silence(mortal)
    run = mortal.order("play-tournament/nightly", name="dead", **LONG)
    kept = begun(mortal, run)
    below = psutil.Process(mortal.workers[0].pid).children(recursive=True)
    mortal.end(mortal.workers[0], signal.SIGKILL)
    for process in below:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    unborn = mortal.order("rate-runs/standings")
    mortal.set_state(unborn, type="PENDING", name="Pending")
    mortal.end(mortal.server)

    mortal.start_server()
    mortal.workers.clear()
    # It does not deploy, which would lengthen the silence again.
    mortal.start_worker()

    assert "Running" == mortal.flow_run(run)["state"]["name"]
    mortal.until(
        lambda: recovered(mortal, run) and recovered(mortal, unborn),
        "the runs to be taken up",
        last=lambda: [(known["name"], known["state"]) for known in mortal.ask("flow_runs/filter", {})],
    )
    begun(mortal, run, beyond=kept)
    mortal.until_state(run, "Completed")
    mortal.until_state(unborn, "Completed")
    check_whole(mortal, run, 200)
