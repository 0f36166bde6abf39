"""What ``banzuke deploy`` and ``banzuke serve`` make of a Prefect server, and what they say where there is none."""

from __future__ import annotations

import importlib
import inspect
import json
import signal
import threading
import urllib.error
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import yaml
from conftest import Banzuke
from prefect.cli.deploy._models import ConcurrencyLimitSpec, DeploymentConfig, RawScheduleConfig, WorkPoolConfig
from prefect_site import Site
from pydantic import ValidationError

from deployments import automations
from deployments.prefect_file import (
    PREFECT_FILE,
    ConcurrencySection,
    DeploymentSection,
    ScheduleSection,
    WorkPoolSection,
    read_deployments,
)

NIGHTLY, BACKFILL = "play-tournament/nightly", "backfill-runs/backfill"
QUICK = {"name": "quick", "agents": ["material-1", "random"], "games_per_encounter": 2, "max_plies": 60}


def test_the_file_knows_no_key_that_prefect_does_not() -> None:
    """Prefect drops unknown keys without a word; ours are all its own."""
    pairs = {
        DeploymentSection: DeploymentConfig,
        WorkPoolSection: WorkPoolConfig,
        ScheduleSection: RawScheduleConfig,
        ConcurrencySection: ConcurrencyLimitSpec,
    }

    assert {} == {
        ours: set(ours.model_fields) - set(theirs.model_fields)
        for ours, theirs in pairs.items()
        if set(ours.model_fields) - set(theirs.model_fields)
    }


@pytest.mark.parametrize("place", [(), ("work_pool",), ("schedules", 0), ("concurrency_limit",)])
def test_a_misspelt_key_in_the_file_is_refused(tmp_path: Path, place: tuple[str | int, ...]) -> None:
    """Wherever it stands."""
    document = yaml.safe_load(PREFECT_FILE.read_text())
    section = document["deployments"][0]
    for part in place:
        section = section[part]
    section["paramters"] = {}
    path = tmp_path / "prefect.yaml"
    path.write_text(yaml.safe_dump(document))

    with pytest.raises(ValidationError, match="paramters"):
        read_deployments(path)


@pytest.mark.parametrize("section", read_deployments(), ids=lambda section: section.name)
def test_every_entrypoint_is_a_flow_that_takes_its_parameters(section: DeploymentSection) -> None:
    """In module form, and with the parameters that the file gives it, whenever it is started."""
    module, _, name = section.entrypoint.rpartition(".")
    flow = getattr(importlib.import_module(module), name)
    given = section.parameters.keys() | {key for schedule in section.schedules for key in schedule.parameters}

    assert set() == given - inspect.signature(flow.fn).parameters.keys()
    assert flow.validate_parameters(section.parameters)


@pytest.fixture(scope="module")
def site(environment: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A server on which somebody has just typed ``banzuke serve``."""
    with Site(tmp_path_factory.mktemp("site"), environment) as site:
        site.start_server()
        site.start_serving()
        yield site


def deployment(site: Site, name: str) -> Any:
    """As the server knows it."""
    return site.ask(f"deployments/name/{name}")


def automation(site: Site, name: str) -> Any:
    """As the server knows it."""
    (found,) = (known for known in site.ask("automations/filter", {}) if known["name"] == name)
    return found


def inventory(site: Site) -> dict[str, list[str]]:
    """Everything that was made; an automation that is put there anew forgets what it has heard."""
    return {
        "deployments": sorted(known["id"] for known in site.ask("deployments/filter", {})),
        "automations": sorted(known["id"] + known["updated"] for known in site.ask("automations/filter", {})),
        "queues": sorted(known["id"] for known in site.ask("work_pools/banzuke/queues/filter", {})),
        "schedules": sorted(each["id"] for known in site.ask("deployments/filter", {}) for each in known["schedules"]),
    }


def happen(site: Site, event: str, **payload: object) -> None:
    """Tell the server that something happened to a run."""
    told = {
        "id": str(uuid4()),
        "event": event,
        "occurred": datetime.now(UTC).isoformat(),
        "resource": {"prefect.resource.id": "banzuke.run.x"},
        "payload": payload,
    }
    site.ask("events", [told])


def test_serving_offers_everything_and_says_so(site: Site) -> None:
    """One command makes pool, queues, deployments and automations, and names them; nothing runs by itself yet."""
    queues = {known["name"]: known["priority"] for known in site.ask("work_pools/banzuke/queues/filter", {})}

    assert {"high": 1, "default": 2, "low": 3} == queues
    assert {section.name for section in read_deployments()} == {
        known["name"] for known in site.ask("deployments/filter", {})
    }
    assert f"made  {NIGHTLY}, 0 2 * * * UTC off" in site.said("serving")
    assert f"Serving 3 agents; games are kept in {site.store}" in site.said("serving")
    assert not any(known["active"] for known in deployment(site, NIGHTLY)["schedules"])


def test_deploying_again_doubles_nothing(site: Site) -> None:
    """The second time everything is found."""
    before = inventory(site)

    done = site.banzuke("deploy")

    assert 0 == done.returncode, done.stderr
    assert "made" not in done.stdout
    assert f"found {NIGHTLY}" in done.stdout
    assert before == inventory(site)


def test_deploying_again_keeps_what_people_changed(site: Site) -> None:
    """Parameters, schedules, limits, priorities and switches of the UI survive; the form's schema is renewed."""
    known = deployment(site, NIGHTLY)
    schedule = known["schedules"][0]
    path = f"deployments/{known['id']}"
    site.ask(f"{path}/schedules/{schedule['id']}", {"active": True, "schedule": {"cron": "0 3 1 1 *"}}, method="PATCH")
    changed = {"parameters": {"newest": 3}, "concurrency_limit": 2, "parameter_openapi_schema": {}}
    site.ask(path, {**changed, "tags": ["mine"], "job_variables": {"env": {"MINE": "1"}}}, method="PATCH")
    site.ask("work_pools/banzuke", {"concurrency_limit": 4}, method="PATCH")
    off = automation(site, automations.BACKFILLS)["id"]
    site.ask(f"automations/{off}", {"enabled": False}, method="PATCH")

    done = site.banzuke("deploy")

    assert 0 == done.returncode, done.stderr
    found = deployment(site, NIGHTLY)
    assert [("0 3 1 1 *", True)] == [(each["schedule"]["cron"], each["active"]) for each in found["schedules"]]
    assert {"newest": 3} == found["parameters"]
    assert 2 == found["global_concurrency_limit"]["limit"]
    assert ["mine"] == found["tags"]
    assert {"MINE", "PYTHONSAFEPATH"} < found["job_variables"]["env"].keys()
    assert "newest" in found["parameter_openapi_schema"]["properties"]
    assert 4 == site.ask("work_pools/banzuke")["concurrency_limit"]
    assert not automation(site, automations.BACKFILLS)["enabled"]
    assert automations.BACKFILLS not in done.stdout
    site.ask(f"automations/{off}", {"enabled": True}, method="PATCH")


def test_options_change_what_they_name(site: Site) -> None:
    """How many runs go on at once, and whether things run by themselves."""
    done = site.banzuke("deploy", "--tournaments", 3, "--schedules")
    assert "at most 3 runs at once" in done.stdout
    assert f"{NIGHTLY}, 0 3 1 1 * UTC on" in done.stdout

    done = site.banzuke("deploy", "--tournaments", 0, "--no-schedules")
    assert "any number of runs at once" in done.stdout
    assert site.ask("work_pools/banzuke")["concurrency_limit"] is None
    assert not any(each["active"] for each in deployment(site, BACKFILL)["schedules"])


def test_a_parameter_that_no_flow_has_is_refused_before_there_is_a_run(site: Site) -> None:
    """The server names it; without the schema's word, the run would begin and crash."""
    with pytest.raises(urllib.error.HTTPError) as refusal:
        site.order("play-tournament/pipeline", command="rm")

    assert 409 == refusal.value.code
    assert "command" in refusal.value.read().decode()


def test_the_schedule_fires_and_one_night_is_played_at_a_time(site: Site) -> None:
    """Switched on with a short interval, the nightly tournament is played to its end; the next one waits for it."""
    known = deployment(site, NIGHTLY)
    path = f"deployments/{known['id']}"
    site.ask(path, {"parameters": QUICK, "concurrency_limit": 1}, method="PATCH")
    schedule = f"{path}/schedules/{known['schedules'][0]['id']}"
    site.ask(schedule, {"active": True, "schedule": {"interval": 4.0}}, method="PATCH")

    def runs() -> list[Any]:
        return list(site.ask("flow_runs/filter", {"deployments": {"id": {"any_": [known["id"]]}}}))

    def states() -> set[str]:
        return {run["state"]["name"] for run in runs()}

    site.until(lambda: "AwaitingConcurrencySlot" in states(), "a second night to wait for the first", last=states)
    site.ask(schedule, {"active": False}, method="PATCH")
    site.until(lambda: "Completed" in states(), "the first night to be played", last=states)

    assert "Cancelled" not in states()
    assert 2 == len(site.games().games(site.games().run_ids()[0], ("game_id",)).table)
    for run in runs():
        site.ask(f"flow_runs/{run['id']}", method="DELETE")


def test_void_games_are_played_again_by_themselves(site: Site) -> None:
    """The event of a run that ended badly starts a backfill of that run, which knows the how many-th it is."""
    happen(site, "banzuke.backfill.due", run_id="left-1", attempt=2, voids=1, missing=0)

    wanted = {"deployments": {"id": {"any_": [deployment(site, BACKFILL)["id"]]}}}
    (run,) = site.until(lambda: site.ask("flow_runs/filter", wanted), "the automation to start a backfill")
    assert ["left-1"] == run["parameters"]["runs"]
    assert 2 == run["parameters"]["attempt"]
    site.until_state(run["id"], "Completed", "Refused")


class _Hook(BaseHTTPRequestHandler):
    """Keeps what is posted to it."""

    def do_POST(self) -> None:
        received: list[Any] = self.server.received  # type: ignore[attr-defined]
        received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as in the base class
        """A test has no use for it."""


@pytest.fixture
def hook() -> Iterator[HTTPServer]:
    """Somebody who wants to be told."""
    server = HTTPServer(("127.0.0.1", 0), _Hook)
    server.received = []  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_regression_is_told_to_whom_it_may_concern(site: Site, hook: HTTPServer) -> None:
    """With --notify, the address gets one post that names both checkpoints and the interval; it is kept afterwards."""
    done = site.banzuke("deploy", "--notify", f"http://127.0.0.1:{hook.server_port}/hook")
    assert automations.REGRESSIONS in done.stdout
    assert automations.REGRESSIONS in site.banzuke("deploy").stdout

    figures = {"elo": -80.5, "low": -120.0, "high": -41.0, "margin": 50.0}
    happen(site, "banzuke.rating.regressed", run_id="night-1", agent="epoch-9", versus="epoch-8", **figures)

    received: list[Any] = hook.received  # type: ignore[attr-defined]
    site.until(lambda: received, "the notification")
    (told,) = received
    assert "epoch-9 is weaker than epoch-8" in told["subject"]
    assert "-80.5 Elo" in told["body"]
    assert "-120.0 to -41.0" in told["text"]


def test_serving_ends_on_a_signal_with_a_line(site: Site) -> None:
    """Ctrl-C, with nothing going on, ends it at once; the exit code says by what."""
    serving = site.start_serving("brief", BANZUKE_HOST="brief")

    serving.send_signal(signal.SIGINT)

    assert 130 == serving.wait(20)
    assert "stopped; " in site.said("brief")
    assert "Traceback" not in site.said("brief")


def test_without_a_server_a_line_says_what_to_type(banzuke: Banzuke) -> None:
    """Nothing is started, least of all a server of Prefect's own."""
    done = banzuke("deploy")

    assert 2 == done.returncode
    assert "prefect server start" in done.stderr
    assert "prefect config set PREFECT_API_URL=" in done.stderr
    assert 1 == len(done.stderr.splitlines())


def test_serving_without_store_or_catalogue_says_so_first(banzuke: Banzuke) -> None:
    """In one line each, before a server is asked for anything."""
    for arguments, missing in {("--store", "./games"): "BANZUKE_CATALOGUE", (): "BANZUKE_STORE"}.items():
        done = banzuke("serve", *arguments)
        assert 2 == done.returncode
        assert missing in done.stderr
        assert 1 == len(done.stderr.splitlines())


class _Silent(BaseHTTPRequestHandler):
    """Lets nobody in, or is no Prefect server; according to the address."""

    def do_GET(self) -> None:
        self.send_response(401 if self.path.startswith("/locked") else 200)
        self.end_headers()
        self.wfile.write(b"<html>")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as in the base class
        """A test has no use for it."""


@pytest.mark.parametrize(
    ("address", "code", "word"),
    [
        ("http://127.0.0.1:9/api", 1, "prefect server start"),
        ("http://127.0.0.1:{port}", 1, "is not the API of a Prefect server"),
        ("http://127.0.0.1:{port}/locked", 1, "PREFECT_API_AUTH_STRING"),
        ("nonsense", 2, "is no address of a Prefect server"),
    ],
)
def test_a_server_that_is_none_is_named_in_one_line(
    environment: dict[str, str], address: str, code: int, word: str, tmp_path: Path
) -> None:
    """Down, another one, one that wants a password, or no address at all."""
    with HTTPServer(("127.0.0.1", 0), _Silent) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        site = Site(tmp_path, environment, sqlite=True)
        site.environment["PREFECT_API_URL"] = address.format(port=server.server_port)

        done = site.banzuke("deploy", seconds=60)

        server.shutdown()
        thread.join()
    assert code == done.returncode, done.stderr
    assert word in done.stderr
    assert 1 == len(done.stderr.splitlines()), done.stderr
