"""What a run leaves on a Prefect server, and how the embedded one lives and dies."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest

from deployments.embedded_server import EmbeddedServer
from tasks.artifacts import artifact_key

SPEC = """
name = "served"
[[agents]]
name = "random"
kind = "random"
[[agents]]
name = "material"
kind = "material"
[[agents]]
name = "broken"
kind = "usi"
command = ["false"]
limit = { nodes = 1 }
[tournament]
games_per_encounter = 2
max_plies = 40
"""


@pytest.fixture
def server(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[EmbeddedServer]:
    """A real Prefect server that ends with the test."""
    monkeypatch.setenv("BANZUKE_CACHE", str(cache))
    started = EmbeddedServer.start()
    started.wait()
    yield started
    started.stop()


def ask(server: EmbeddedServer, what: str) -> list[dict[str, Any]]:
    """Everything the server knows of something, newest last."""
    request = urllib.request.Request(f"{server.url}/{what}/filter", b"{}", {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as response:
        found: list[dict[str, Any]] = json.load(response)
    return sorted(found, key=lambda item: item["created"])


def test_a_degraded_run_is_red_in_prefect_and_shows_its_standings(
    server: EmbeddedServer, environment: Mapping[str, str], tmp_path: Path
) -> None:
    """With a server of the user's own, the run is there under its name, with its state and its artifacts."""
    (tmp_path / "spec.toml").write_text(SPEC)
    command = [sys.executable, "-m", "deployments.cli", "run", "spec.toml", "--run-id", "Red_1", "--json"]

    done = subprocess.run(
        command,
        cwd=tmp_path,
        env={**environment, "PREFECT_API_URL": server.url},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert done.returncode == 3, done.stderr
    (flow_run,) = ask(server, "flow_runs")
    assert ("run Red_1", "FAILED", "Degraded") == (
        flow_run["name"],
        flow_run["state"]["type"],
        flow_run["state"]["name"],
    )
    assert "2 of 6 games count; 0 void, 4 missing, 1 agents unfit" == flow_run["state"]["message"]
    artifacts = {artifact["key"]: artifact for artifact in ask(server, "artifacts") if artifact["key"]}
    standings = json.loads(artifacts[artifact_key("standings", "Red_1")]["data"])
    assert {"random", "material", "broken"} == {row["agent"] for row in standings}
    assert "unrated" == next(row for row in standings if row["agent"] == "broken")["elo"]
    assert artifacts[artifact_key("progress", "Red_1")]["data"] == pytest.approx(100 * 2 / 6)


def test_the_embedded_server_dies_with_whoever_started_it(environment: Mapping[str, str], tmp_path: Path) -> None:
    """After kill -9 of its starter no server is left, and the next start sweeps its home away."""
    program = (
        "from deployments.embedded_server import EmbeddedServer\n"
        "server = EmbeddedServer.start(); server.wait(); print(server.process.pid, server.home, flush=True); input()\n"
    )
    starter = subprocess.Popen(
        [sys.executable, "-c", program],
        env=dict(environment),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
    )
    pid, home = (starter.stdout.readline() if starter.stdout else "").split()
    process = psutil.Process(int(pid))

    os.kill(starter.pid, signal.SIGKILL)
    starter.communicate()

    _, alive = psutil.wait_procs([process], timeout=5)
    assert [] == [survivor for survivor in alive if survivor.status() != psutil.STATUS_ZOMBIE]
    assert Path(home).exists()
    with_next = start_and_stop(environment)
    assert not Path(home).exists()
    assert with_next.returncode == 0, with_next.stderr


def start_and_stop(environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Start and stop a server in a process of its own."""
    program = (
        "from deployments.embedded_server import EmbeddedServer\n"
        "server = EmbeddedServer.start(); server.wait(); server.stop()"
    )
    return subprocess.run(
        [sys.executable, "-c", program], env=dict(environment), capture_output=True, text=True, timeout=60, check=False
    )


def test_a_home_in_use_is_not_swept_away(server: EmbeddedServer, environment: Mapping[str, str]) -> None:
    """Another command's start leaves a living server's home alone."""
    done = start_and_stop(environment)

    assert done.returncode == 0, done.stderr
    assert (server.home / "prefect.db").exists()


def test_the_server_listens_on_this_machine_only(server: EmbeddedServer) -> None:
    """Its one port is on 127.0.0.1."""
    assert server.process is not None
    addresses = {
        connection.laddr.ip
        for connection in psutil.Process(server.process.pid).net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }

    assert {"127.0.0.1"} == addresses
