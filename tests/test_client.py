"""Runs on a real Prefect server, started, watched and stopped by a program and from the command line.

The flows are stand-ins: no worker is there, and what one would say to the server is said by the tests.
"""

from __future__ import annotations

import asyncio
import http
import json
import re
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from stand_in import Prefect

from banzuke.client import Client, Ended, GamesCounted, Run, StateChanged, connect
from banzuke.errors import (
    ClientError,
    NoSuchRunError,
    NotDeployedError,
    RefusedError,
    ServerSilentError,
    StillGoingError,
)
from banzuke.run_ids import run_id_of
from deployments.embedded_server import EmbeddedServer

PROJECT = Path(__file__).resolve().parent.parent
EXAMPLE = re.compile(r"<!-- runs -->\n```python\n(.*?)```", re.DOTALL)
PATIENCE = 60.0
START_SECONDS = 0.1


@pytest.fixture(scope="module")
def embedded(cache: Path) -> Iterator[EmbeddedServer]:
    """A real server for all tests of this file, still without Banzuke."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BANZUKE_CACHE", str(cache))
        server = EmbeddedServer.start()
    server.wait()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def prefect(embedded: EmbeddedServer) -> Prefect:
    """The server with the stand-ins deployed."""
    known = Prefect(embedded.url)
    known.deploy()
    return known


@pytest.fixture
def server(prefect: Prefect) -> Iterator[Client]:
    """A connection to it; what a test leaves going on is cancelled."""
    with connect(prefect.url) as connected:
        yield connected
        for status in connected.runs(limit=200, active_only=True):
            prefect.set_state(status.id, "CANCELLED", "Cancelled")


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every request from here on that the server had time for."""
    seen: list[str] = []
    send = httpx.HTTPTransport.handle_request

    def noted(self: httpx.HTTPTransport, request: httpx.Request) -> httpx.Response:
        answer = send(self, request)
        if answer.status_code != http.HTTPStatus.SERVICE_UNAVAILABLE:
            seen.append(f"{request.method} {request.url.path}")
        return answer

    monkeypatch.setattr(httpx.HTTPTransport, "handle_request", noted)
    return seen


def until(look: Callable[[], Any], what: str) -> Any:
    """Look until there is something."""
    deadline = time.monotonic() + PATIENCE
    while not (found := look()):
        assert time.monotonic() < deadline, f"waited for {what}"
        threading.Event().wait(0.05)
    return found


def test_a_start_is_one_request_and_takes_no_time(server: Client, requests: list[str]) -> None:
    """Once connected, a run is there after one request and, in the median of twenty, within 100 ms."""
    took = []
    for _ in range(20):
        begun = time.perf_counter()
        server.start(name="night", agents=["epoch-*"], newest=3)
        took.append(time.perf_counter() - begun)

    assert 20 == len(requests)
    assert statistics.median(took) < START_SECONDS, took


def test_a_started_run_is_what_was_asked_for(server: Client, prefect: Prefect) -> None:
    """Parameters, queue and name are there; its id in the store is that which the flow will give it."""
    run = server.start(name="night", agents=("epoch-*", "random"), newest=3, priority="high")

    there = prefect.flow_run(run.id)
    assert {"name": "night", "agents": ["epoch-*", "random"], "newest": 3} == there["parameters"]
    assert ("tournament night", "high", "SCHEDULED") == (there["name"], there["work_queue_name"], there["state_type"])
    status = run.status()
    assert ("tournament", "scheduled", "high") == (status.kind, status.state, status.priority)
    stamp = re.sub(r"[-:]", "", there["expected_start_time"][:19]).replace("T", "-")
    assert f"night-{stamp}-{run.id[:8]}" == run.run_id == status.run_id
    assert run.url.endswith(f"/runs/flow-run/{run.id}")


def test_a_name_that_is_not_given_is_the_deployments(server: Client) -> None:
    """The run's id begins with the default, and a run of the store that is named is that one."""
    assert (server.start().run_id or "").startswith("tournament-20")
    assert "night-1" == server.start(run_id="night-1").run_id


def test_the_other_deployments_are_started_likewise(server: Client) -> None:
    """Tests have games of their own, backfills are about those of others, and what is not deployed is said."""
    test, backfill = server.start_test(elo1=30.0), server.backfill(runs=["night-*"])

    assert ("test", "test test") == (test.status().kind, test.name)
    assert (test.run_id or "").startswith("test-20")
    assert ("backfill", None) == (backfill.status().kind, backfill.run_id)
    with pytest.raises(NotDeployedError, match=r"does not know rate-runs/standings; run `banzuke deploy`"):
        server.rate()


def test_one_key_is_one_run(server: Client) -> None:
    """Started again under the same key it is the same run, and without one it is another."""
    first, again, other = server.start(idempotency_key="k"), server.start(idempotency_key="k"), server.start()

    assert first.id == again.id != other.id


@pytest.mark.parametrize(
    ("wish", "line"),
    [
        ({"agent": ["random"]}, r"play-tournament/pipeline has no parameter 'agent'; near: agents"),
        ({"command": "sh"}, r"has no parameter 'command'; there are agents, anchor_elo, format"),
        ({"anchor_elo": float("nan")}, r"anchor_elo: nan is neither"),
        ({"name": {"__prefect_kind": "jinja"}}, r"name: \{'__prefect_kind': 'jinja'\} is neither"),
        ({"agents": [1]}, r"agents: \[1\] is neither"),
        ({"priority": "urgent"}, r"priority: 'urgent' is none; there are high, default and low"),
        ({"name": "m\udcfcller"}, "name: .* is neither a text"),
        ({"agents": ["random", "\ud800"]}, "agents: .* is neither a text"),
    ],
)
def test_nonsense_is_refused_before_it_is_sent(
    server: Client, requests: list[str], wish: Mapping[str, Any], line: str
) -> None:
    """Unknown names and values that are none get one line, and the server hears nothing."""
    with pytest.raises(RefusedError, match=line):
        server.start(**wish)

    assert [] == requests


def test_a_deployment_that_is_older_than_the_client_is_said(server: Client) -> None:
    """A parameter of tournaments that the server does not know yet is no misspelling."""
    with pytest.raises(NotDeployedError, match="it has no hosts; run `banzuke deploy`"):
        server.start(hosts=2)


@pytest.mark.parametrize(
    ("wish", "line"),
    [
        ({"games_per_encounter": 1}, "games_per_encounter: 1 is less than the minimum of 2"),
        ({"format": "swiss"}, "format: 'swiss' is not one of ['round-robin', 'gauntlet', 'adaptive']"),
        ({"agents": "epoch-*"}, "agents: 'epoch-*' is not of type 'array'"),
        ({"newest": "3"}, "newest: '3' is not of type 'integer'"),
    ],
)
def test_what_the_server_refuses_is_one_line(server: Client, wish: Mapping[str, Any], line: str) -> None:
    """It names the parameter and says why."""
    with pytest.raises(RefusedError) as refused:
        server.start(**wish)

    assert line == str(refused.value)


def test_numbers_of_numpy_are_numbers(server: Client, prefect: Prefect) -> None:
    """A training loop counts in its own types."""
    import numpy as np  # noqa: PLC0415 - of this test alone

    run = server.start(newest=np.int64(3), anchor_elo=np.float64(1.5))  # type: ignore[typeddict-item] # fmt: skip - that is the test

    assert {"newest": 3, "anchor_elo": 1.5} == prefect.flow_run(run.id)["parameters"]


@pytest.mark.parametrize(
    ("kind", "name", "state"),
    [
        ("SCHEDULED", "Late", "waiting"),
        ("SCHEDULED", "AwaitingConcurrencySlot", "waiting"),
        ("SCHEDULED", "AwaitingRetry", "scheduled"),
        ("PENDING", "Pending", "scheduled"),
        ("RUNNING", "Running", "running"),
        ("CANCELLING", "Cancelling", "cancelling"),
        ("CANCELLED", "Cancelled", "cancelled"),
        ("COMPLETED", "Completed", "completed"),
        ("FAILED", "Degraded", "degraded"),
        ("FAILED", "Refused", "failed"),
        ("FAILED", "TimedOut", "failed"),
        ("CRASHED", "Crashed", "crashed"),
    ],
)
def test_every_state_of_prefect_is_one_of_ours(
    server: Client, prefect: Prefect, kind: str, name: str, state: str
) -> None:
    """With the message that somebody gave it, in one line."""
    run = server.start()
    prefect.begin(run.id)

    prefect.set_state(run.id, kind, name, "3 of 6 games\ncount")

    status = run.status()
    assert (state, "3 of 6 games count") == (status.state, status.message)
    assert status.is_over == (kind in {"CANCELLED", "COMPLETED", "FAILED", "CRASHED"})


def test_the_newest_counts_are_shown(server: Client, prefect: Prefect) -> None:
    """Of a tournament those written last, of a backfill those of all its runs; before, nobody knows."""
    run, backfill = server.start(), server.backfill()
    prefect.begin(run.id)
    prefect.begin(backfill.id)
    before = run.status()

    prefect.count(run.id, 3, 10)
    prefect.count(run.id, 5, 12)
    prefect.count(backfill.id, 1, 4, key="progress-a")
    prefect.count(backfill.id, 2, 6, key="progress-b")

    assert (None, None, None) == (before.counting, before.planned, before.games_per_minute)
    assert (5, 12) == (run.status().counting, run.status().planned)
    assert (3, 10) == (backfill.status().counting, backfill.status().planned)


def test_every_event_is_seen_to_the_end(server: Client, prefect: Prefect) -> None:
    """What happens between two looks comes in order, and the end comes last."""
    run = server.start()
    events = run.events(poll_seconds=0.01, timeout=PATIENCE)

    seen: list[Any] = [next(events)]
    prefect.begin(run.id)
    seen.append(next(events))
    prefect.count(run.id, 3, 6)
    seen.append(next(events))
    prefect.count(run.id, 6, 6)
    prefect.set_state(run.id, "COMPLETED", "Completed")
    seen.extend(events)

    assert [
        (StateChanged, "scheduled"),
        (StateChanged, "running"),
        (GamesCounted, "running"),
        (GamesCounted, "completed"),
        (StateChanged, "completed"),
        (Ended, "completed"),
    ] == [(type(event), event.status.state) for event in seen]
    assert [(3, 6), (6, 6)] == [(one.counting, one.planned) for one in seen if isinstance(one, GamesCounted)]
    assert "completed" == run.wait().state


def test_a_server_that_is_away_for_a_while_ends_no_watching(
    server: Client, prefect: Prefect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The end is seen when it is back; one that stays away is said."""
    run = server.start()
    prefect.set_state(run.id, "FAILED", "Degraded")
    ask, refusals = run._server.run, iter([True, True, False])

    def flaky(flow_run_id: str) -> Any:
        if next(refusals):
            raise ServerSilentError("away")
        return ask(flow_run_id)

    monkeypatch.setattr(run._server, "run", flaky)

    assert "degraded" == run.wait(poll_seconds=0.01, timeout=PATIENCE).state
    monkeypatch.setattr("banzuke.client.SILENT_SECONDS", -1.0)
    refusals = iter([True])
    with pytest.raises(ServerSilentError, match="away"):
        run.wait()


def test_who_does_not_want_to_wait_longer_is_told_how_it_is(server: Client) -> None:
    """A run that goes on is a TimeoutError, which says its state."""
    run = server.start()

    with pytest.raises(StillGoingError, match=r"has not ended within 0.05 seconds; it is scheduled") as still:
        run.wait(timeout=0.05, poll_seconds=0.01)

    assert isinstance(still.value, TimeoutError)


def test_a_running_run_is_paused_and_resumed(server: Client, prefect: Prefect) -> None:
    """It is Suspended in Prefect, pausing until the flow has let go, and Scheduled again at resume."""
    run = server.start()
    prefect.begin(run.id)

    paused, twice = run.pause(), run.pause()

    there = prefect.flow_run(run.id)["state"]
    assert ("PAUSED", "Suspended", True) == (there["type"], there["name"], there["state_details"]["pause_reschedule"])
    assert ("pausing", "pausing") == (paused.state, twice.state)
    prefect.set_state(run.id, "PAUSED", "Suspended", "paused; 3 of 6 games count", pause_reschedule=True)
    assert "paused" == run.status().state
    assert ("scheduled", "scheduled") == (run.resume().state, run.resume().state)
    assert "Resuming" == prefect.flow_run(run.id)["state_name"]
    prefect.begin(run.id)
    assert "pausing" == run.pause().state


def test_what_is_still_pausing_is_begun_again_once_it_has_let_go(server: Client, prefect: Prefect) -> None:
    """Its next start is ten seconds after it was paused, not before."""
    run = server.start()
    prefect.begin(run.id)
    run.pause()
    paused = prefect.flow_run(run.id)["state"]["timestamp"]

    run.resume()

    begins = prefect.flow_run(run.id)["state"]["state_details"]["scheduled_time"]
    assert 10.0 == pytest.approx(_seconds(begins) - _seconds(paused), abs=0.01)


def _seconds(text: str) -> float:
    from datetime import datetime  # noqa: PLC0415 - of this line alone

    return datetime.fromisoformat(text).timestamp()


def test_a_run_that_has_not_begun_is_held_back(server: Client, prefect: Prefect) -> None:
    """Paused at once, taken by nobody, and as it was at resume; just being started, it is refused."""
    run = server.start()

    assert ("paused", "PAUSED") == (run.pause().state, prefect.flow_run(run.id)["state_type"])
    assert "scheduled" == run.resume().state
    prefect.set_state(run.id, "PENDING", "Pending")
    with pytest.raises(RefusedError, match="is just being started; pause it in a few seconds"):
        run.pause()


@pytest.mark.parametrize(
    ("kind", "name"), [("FAILED", "Failed"), ("FAILED", "Degraded"), ("CRASHED", "Crashed"), ("CANCELLED", "Cancelled")]
)
def test_resume_goes_on_with_whatever_has_ended_badly(server: Client, prefect: Prefect, kind: str, name: str) -> None:
    """As the UI's Retry: the same flow run waits for a worker again, under the same run id."""
    run = server.start()
    prefect.begin(run.id)
    prefect.set_state(run.id, kind, name)

    status = run.resume()

    assert ("scheduled", run.run_id) == (status.state, status.run_id)
    assert "AwaitingRetry" == prefect.flow_run(run.id)["state_name"]


def test_cancel_is_at_once_where_nothing_runs(server: Client, prefect: Prefect) -> None:
    """Scheduled, paused and retried runs are cancelled, running ones are being cancelled by their worker."""
    scheduled, paused, retried, running = (server.start() for _ in range(4))
    for run in (paused, retried, running):
        prefect.begin(run.id)
    paused.pause()
    prefect.ask(f"flow_runs/{retried.id}", {"infrastructure_pid": "4711"}, method="PATCH")
    prefect.set_state(retried.id, "CRASHED", "Crashed")
    retried.resume()

    states = [run.cancel().state for run in (scheduled, paused, retried, running)]

    assert ["cancelled", "cancelled", "cancelled", "cancelling"] == states
    assert ["cancelled", "cancelled", "cancelled", "cancelling"] == [
        run.cancel().state for run in (scheduled, paused, retried, running)
    ]
    with pytest.raises(RefusedError, match="is being cancelled; resume it once that is done"):
        running.resume()


@pytest.mark.parametrize("what", ["pause", "resume", "cancel"])
def test_what_is_complete_stays_so(server: Client, prefect: Prefect, what: str) -> None:
    """Each is refused with one line that says why."""
    run = server.start(name="over")
    prefect.set_state(run.id, "COMPLETED", "Completed")

    with pytest.raises(RefusedError, match=r"tournament over is completed; (there is )?nothing"):
        getattr(run, what)()


def test_the_newest_run_is_one_that_goes_on_or_else_the_last_one(server: Client, prefect: Prefect) -> None:
    """One that has begun comes before one that waits; where all are over, whoever asks late still sees how it ended."""
    first, second = server.start(name="first"), server.start(name="second")
    prefect.begin(first.id)

    assert first.id == server.newest().id

    for run in (first, second):
        prefect.set_state(run.id, "COMPLETED", "Completed")
    assert second.id == server.newest().id


def test_a_run_is_found_by_whatever_it_is_called(server: Client, prefect: Prefect) -> None:
    """By its id, its beginning, its name and its id in the store; what is not clear is said."""
    run, other = server.start(name="one"), server.start(name="two")

    for called in (run.id, run.id.upper(), run.id[:13], str(run.run_id), "tournament one"):
        assert run.id == server.run(called).id
    namesake = server.start(name="one")
    with pytest.raises(NoSuchRunError, match=r"'tournament one' can be 2 runs; say which: .*" + run.id):
        server.run("tournament one")
    prefect.set_state(namesake.id, "COMPLETED", "Completed")
    assert run.id == server.run("tournament one").id
    prefect.begin(run.id)
    assert [other.id, run.id] == [status.id for status in server.runs(active_only=True)]
    for nobody in ("nobody", "00000000-0000-4000-8000-000000000000", "a", "", "\x00;--", "é" * 3000):
        with pytest.raises(NoSuchRunError) as unknown:
            server.run(nobody)
        assert 1 == len(str(unknown.value).splitlines())


def test_runs_of_the_nights_to_come_are_no_runs_yet(server: Client, prefect: Prefect) -> None:
    """What a schedule has written down ahead of its time is not listed."""
    run = server.start()
    ahead = server.start()
    before = {status.id for status in server.runs(active_only=True)}
    state = {"type": "SCHEDULED", "state_details": {"scheduled_time": "2100-01-01T00:00:00Z"}}
    deployment = prefect.ask("deployments/name/play-tournament/pipeline")["id"]
    late = prefect.ask(f"deployments/{deployment}/create_flow_run", {"state": state})["id"]

    assert {run.id, ahead.id} == before == {status.id for status in server.runs(active_only=True)}
    assert late == server.run(late).id
    server.run(late).cancel()


def test_a_run_of_something_else_is_none_of_ours(server: Client, prefect: Prefect) -> None:
    """A server that others use too has flows of theirs."""
    flow = prefect.ask("flows/", {"name": "others"})["id"]
    theirs = prefect.ask("flow_runs/", {"flow_id": flow, "state": {"type": "RUNNING", "name": "Running"}})["id"]

    with pytest.raises(NoSuchRunError, match="is a run of something else than Banzuke"):
        server.run(theirs)
    assert theirs not in {status.id for status in server.runs(limit=200)}


def test_a_deployment_that_was_made_anew_is_found_again(server: Client, prefect: Prefect) -> None:
    """Gone, it is said once; after the next deploy the same connection starts runs."""
    old = prefect.ask("deployments/name/play-tournament/pipeline")
    prefect.ask(f"deployments/{old['id']}", method="DELETE")
    try:
        with pytest.raises(NotDeployedError, match=r"is gone from .*; run `banzuke deploy`"):
            server.start()
        with pytest.raises(NotDeployedError, match="does not know play-tournament/pipeline; run `banzuke deploy`"):
            server.start()
        with pytest.raises(NotDeployedError, match="run `banzuke deploy`"):
            connect(prefect.url)
    finally:
        prefect.deploy()

    assert "scheduled" == server.start().status().state


def test_a_closed_client_says_so(prefect: Prefect) -> None:
    """After its block nothing is sent any more."""
    with connect(prefect.url) as connected:
        run = connected.start()
        run.cancel()

    with pytest.raises(ClientError, match="closed"):
        run.status()


QUIET_USE = """
import asyncio, logging, signal, sys, threading
logging.basicConfig(level=logging.INFO)

def state():
    root = logging.getLogger()
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD)]
    return threading.enumerate(), list(root.handlers), root.level, root.manager.disable, handlers, sys.excepthook

before = state()
import banzuke.client
assert not {"prefect", "httpx", "torch", "pyarrow", "flows", "tasks", "storage"} & set(sys.modules), sorted(sys.modules)

async def train():
    with banzuke.client.connect() as server:
        run = server.start(name="quiet")
        status = run.status()
        run.cancel()
        return status.state

assert asyncio.run(train()) == "scheduled"
assert state() == before, (state(), before)
assert not {"torch", "pyarrow", "flows", "tasks", "storage", "prefect.main", "prefect.server"} & set(sys.modules)
"""


def test_nothing_of_ours_happens_in_the_callers_process(prefect: Prefect, environment: Mapping[str, str]) -> None:
    """Within a running event loop too: no thread, no handler, no log line, and importing loads next to nothing."""
    done = subprocess.run(
        [sys.executable, "-c", QUIET_USE],
        env={**environment, "PREFECT_API_URL": prefect.url},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )

    assert (0, "") == (done.returncode, done.stderr)


def test_several_threads_may_use_one_client(server: Client) -> None:
    """Each gets its own run."""

    async def start_all() -> list[Run]:
        return await asyncio.gather(*(asyncio.to_thread(server.start, name=f"t{number}") for number in range(6)))

    started = asyncio.run(start_all())

    assert {f"tournament t{number}" for number in range(6)} == {run.name for run in started}
    assert 6 == len({run.id for run in started})


def test_the_address_may_come_from_a_profile_of_prefect(
    prefect: Prefect, environment: Mapping[str, str], tmp_path: Path
) -> None:
    """Whatever Prefect's own commands would talk to."""
    (tmp_path / "profiles.toml").write_text(
        f'active = "here"\n[profiles.here]\nPREFECT_API_URL = "{prefect.url}"\nPREFECT_UI_URL = "http://ui.example"\n'
    )

    done = subprocess.run(
        [sys.executable, "-m", "deployments.cli", "submit", "--name", "profiled", "--json"],
        env={**environment, "PREFECT_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )

    assert 0 == done.returncode, done.stderr
    assert json.loads(done.stdout)["url"].startswith("http://ui.example/v2/runs/flow-run/")


def finish_all(server: Client, prefect: Prefect) -> None:
    """As a worker would that is free at once and very fast."""
    for status in server.runs(active_only=True):
        prefect.begin(status.id)
        prefect.count(status.id, 40, 40)
        prefect.set_state(status.id, "COMPLETED", "Completed")


def test_the_example_of_the_docs_runs(prefect: Prefect, environment: Mapping[str, str], server: Client) -> None:
    """The training loop starts one tournament while it goes on, and sees it end."""
    (example,) = EXAMPLE.findall((PROJECT / "docs" / "client.md").read_text())
    process = subprocess.Popen(
        [sys.executable, "-u", "-c", example],
        env={**environment, "PREFECT_API_URL": prefect.url},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        until(lambda: finish_all(server, prefect) or process.poll() is not None, "the example's end")
    finally:
        process.kill()
        out, err = process.communicate()

    assert (0, "") == (process.returncode, err)
    assert "epoch 0: training-20" in out
    assert "completed 40 40" in out.splitlines()[-1]


@pytest.fixture
def typed(prefect: Prefect, environment: Mapping[str, str]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Type a command at the server, to its end."""

    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "deployments.cli", *arguments],
            env={**environment, "PREFECT_API_URL": prefect.url, "COLUMNS": "200"},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    return call


@pytest.mark.usefixtures("server")
def test_a_run_is_steered_from_the_command_line(
    typed: Callable[..., subprocess.CompletedProcess[str]], prefect: Prefect
) -> None:
    """Submitted, listed, looked at, paused, resumed and cancelled, by what the command printed itself."""
    submitted = typed("submit", "--name", "typed", "--agents", "epoch-*", "--newest", "2", "--priority", "low")
    assert 0 == submitted.returncode, submitted.stderr
    flow_run = re.search(r"^id: +(\S+)$", submitted.stdout, re.MULTILINE)
    assert flow_run is not None, submitted.stdout
    run = flow_run[1]
    assert f"banzuke progress {run} --follow" in submitted.stdout
    assert f"/runs/flow-run/{run}" in submitted.stdout
    assert {"name": "typed", "agents": ["epoch-*"], "newest": 2} == prefect.flow_run(run)["parameters"]
    prefect.begin(run)
    prefect.count(run, 3, 6)

    shown, listed = typed("progress"), typed("list", "--active")
    documents = [json.loads(typed(*words, "--json").stdout) for words in (("list",), ("progress", run[:8]))]
    states = [json.loads(typed(what, run, "--json").stdout)["state"] for what in ("pause", "resume", "cancel")]

    assert "tournament typed: running, 3 of 6 games" in shown.stdout
    assert re.search(rf"^{run[:8]} +tournament typed +running +3/6 +low", listed.stdout, re.MULTILINE), listed.stdout
    assert run == documents[0]["runs"][0]["id"]
    assert (3, 6, "low", run) == tuple(documents[1][key] for key in ("counting", "planned", "priority", "id"))
    assert ["pausing", "scheduled", "cancelled"] == states


@pytest.mark.parametrize(
    ("kind", "name", "code"),
    [
        ("COMPLETED", "Completed", 0),
        ("FAILED", "Degraded", 3),
        ("CANCELLED", "Cancelled", 3),
        ("FAILED", "Refused", 1),
        ("CRASHED", "Crashed", 1),
    ],
)
def test_who_follows_a_run_leaves_with_what_it_ended_as(
    typed: Callable[..., subprocess.CompletedProcess[str]],
    server: Client,
    prefect: Prefect,
    kind: str,
    name: str,
    code: int,
) -> None:
    """The exit code is that of a run of one's own, and the message is shown."""
    run = server.start()
    prefect.set_state(run.id, kind, name, "as it was")

    done = typed("progress", run.id, "--follow")

    assert (code, "") == (done.returncode, done.stderr)
    assert "as it was" in done.stdout


def start_waiting(environment: Mapping[str, str], url: str, *arguments: str) -> subprocess.Popen[str]:
    """A command that stays until its run has ended."""
    return subprocess.Popen(
        [sys.executable, "-m", "deployments.cli", *arguments],
        env={**environment, "PREFECT_API_URL": url},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_submit_waits_for_the_end(prefect: Prefect, environment: Mapping[str, str], server: Client) -> None:
    """Every step is a line, and one JSON object is all there is with --json."""
    for options in ([], ["--json"]):
        process = start_waiting(environment, prefect.url, "submit", "--name", "awaited", "--wait", *options)
        try:
            (status,) = until(lambda: server.runs(active_only=True), "the run")
            prefect.begin(status.id)
            prefect.count(status.id, 6, 6)
            prefect.set_state(status.id, "FAILED", "Degraded", "5 of 6 games count")
            process.wait(PATIENCE)
        finally:
            process.kill()
            out, err = process.communicate()
        assert (3, "") == (process.returncode, err)
        if options:
            assert ("degraded", 6) == (json.loads(out)["state"], json.loads(out)["counting"])
        else:
            assert "tournament awaited: degraded, 6 of 6 games" in out


def test_a_signal_ends_the_looking_and_not_the_run(
    prefect: Prefect, environment: Mapping[str, str], server: Client
) -> None:
    """The last line says that it goes on, and how to look again."""
    run = server.start()
    process = start_waiting(environment, prefect.url, "progress", run.id, "--follow")
    try:
        assert process.stdout is not None
        assert "scheduled" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        process.wait(PATIENCE)
    finally:
        process.kill()
        _, err = process.communicate()

    assert 130 == process.returncode
    assert f"the run goes on. Look again with: banzuke progress {run.id} --follow" in err.splitlines()[-1]
    assert "scheduled" == run.status().state


@pytest.mark.parametrize(
    ("words", "code", "line"),
    [
        (["cancel", "nobody"], 2, r"no run at http.* is called 'nobody'; banzuke list shows those there are"),
        (["submit", "--games-per-encounter", "1"], 2, r"games_per_encounter: 1 is less than the minimum of 2"),
        (["submit", "--hosts", "2"], 2, r"is older than this client: it has no hosts; run `banzuke deploy`"),
    ],
)
@pytest.mark.usefixtures("server")
def test_what_cannot_be_done_is_one_line(
    typed: Callable[..., subprocess.CompletedProcess[str]], words: list[str], code: int, line: str
) -> None:
    """On stderr, and the exit code says whose turn it is."""
    done = typed(*words)

    assert (code, "", 1) == (done.returncode, done.stdout, len(done.stderr.splitlines()))
    assert re.search(line, done.stderr)


def test_what_a_terminal_would_obey_does_not_reach_it(
    typed: Callable[..., subprocess.CompletedProcess[str]], server: Client, prefect: Prefect
) -> None:
    """Names and messages are others' words."""
    run = server.start()
    prefect.ask(f"flow_runs/{run.id}", {"name": "a\x1b[2Jb"}, method="PATCH")
    prefect.set_state(run.id, "FAILED", "Failed", "c\x1b]0;d\x07")

    shown = typed("progress", run.id).stdout + typed("list").stdout

    assert "\x1b" not in shown
    assert "\x07" not in shown
    assert "a�[2Jb" in shown


def test_the_docs_name_every_parameter_and_every_state() -> None:
    """docs/client.md has a row for each."""
    from typing import get_args  # noqa: PLC0415 - of this test alone

    from banzuke.client import RunState, RunStatus, TournamentParameters  # noqa: PLC0415 - likewise

    text = (PROJECT / "docs" / "client.md").read_text()
    rows = set(re.findall(r"`(\w+)`", text))

    assert set() == {*TournamentParameters.__annotations__, *get_args(RunState), *RunStatus.__annotations__} - rows


def test_a_run_id_is_a_name_and_keeps_what_tells_runs_apart() -> None:
    """Too long a name is cut, never the time and the id."""
    from datetime import UTC, datetime  # noqa: PLC0415 - of this test alone
    from uuid import UUID  # noqa: PLC0415 - likewise

    run = UUID("0123abcd-0000-4000-8000-000000000000")

    made = run_id_of("n" * 80, datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), run)

    assert 64 == len(made)
    assert made.endswith("nn-20260102-030405-0123abcd")
