"""Sequential tests through the command: they stop at their verdict, and nothing that happens later changes it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from staging import wait_until

from banzuke.match.planning import plan_run
from banzuke.specs import load_spec

Banzuke = Callable[..., subprocess.CompletedProcess[str]]

SPEC = """
name = "stronger"
[[agents]]
name = "random"
kind = "random"
[[agents]]
name = "material"
kind = "material"
depth = 2
[tournament]
games_per_encounter = 300
max_plies = 120
[limits]
concurrency = 2
[ratings]
anchor = "random"
"""

RESIGNS = """#!/usr/bin/env python3
import pathlib, sys
position = ""
for line in sys.stdin:
    words = line.split()
    if words == ["usi"]:
        print("id name resigner\\nusiok", flush=True)
    elif words == ["isready"]:
        print("readyok", flush=True)
    elif words[:1] == ["position"]:
        position = line
    elif words[:1] == ["go"]:
        crash = pathlib.Path(__file__).with_name("crash-on")
        if crash.exists() and crash.read_text() in position:
            sys.exit(3)
        print("bestmove resign", flush=True)
    elif words == ["quit"]:
        break
"""

AGAINST_ENGINE = """
name = "resigning"
[[agents]]
name = "material"
kind = "material"
depth = 1
[[agents]]
name = "resigner"
kind = "usi"
command = ["./resigner.py"]
version = "1"
limit = {{ nodes = 1 }}
[tournament]
games_per_encounter = {games}
max_plies = 80
[limits]
concurrency = 2
retries = 1
"""


def decision_of(store: Path, run_id: str) -> dict[str, Any]:
    """The verdict as it was kept, but for when."""
    decision = json.loads((store / "sprt" / run_id / "decision.json").read_text())
    return {key: value for key, value in decision.items() if key not in {"run_id", "decided_at", "final"}}


def games_of(store: Path, run_id: str) -> pd.DataFrame:
    return pd.read_parquet(store / "games" / run_id)


@pytest.fixture(scope="module")
def undisturbed(
    environment: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any]]:
    """The folder of a test that was played without a break by two workers, and the JSON it printed."""
    folder = tmp_path_factory.mktemp("undisturbed")
    (folder / "spec.toml").write_text(SPEC)
    command = [sys.executable, "-m", "deployments.cli", "sprt", "spec.toml", "--store", "store", "--run-id", "r"]
    done = subprocess.run(
        [*command, "--json"], cwd=folder, env=environment, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    return folder, json.loads(done.stdout)


def test_a_test_stops_at_its_verdict(undisturbed: tuple[Path, dict[str, Any]]) -> None:
    """The whole plan is there before; little is played behind the pair that decides, and that is kept apart."""
    folder, found = undisturbed
    sprt, games = found["sprt"], games_of(folder / "store", "r")

    assert ("material", "random", 0.0, 50.0, "logistic") == tuple(
        sprt[key] for key in ("agent", "versus", "elo0", "elo1", "model")
    )
    assert ("accept_h1", []) == (sprt["verdict"], sprt["skipped"])
    assert sprt["llr"] >= sprt["upper"] > sprt["lower"]
    assert sprt["decided_at_pair"] + 1 == sprt["pairs"] == sum(sprt["counts"])
    assert 300 == len(pd.read_parquet(folder / "store/plans/r/plan.parquet")) == found["planned"]
    assert (0, 0) == (found["missing"], found["voids"])
    assert 300 == found["counting"] + found["spared"]
    assert len(games) == found["counting"] < 150
    assert sprt["final"]["pairs"] >= sprt["pairs"]
    assert sprt["recomputed"]["agrees"]


def test_a_decided_test_is_over_for_everybody(undisturbed: tuple[Path, dict[str, Any]], banzuke: Banzuke) -> None:
    """Neither a backfill nor a resumption plays on, and nobody goes on with it as something else."""
    folder, found = undisturbed
    before = (decision_of(folder / "store", "r"), len(games_of(folder / "store", "r")))

    dry, backfill = (banzuke("backfill", "--store", "store", *dry, cwd=folder) for dry in (["--dry-run"], []))
    again = banzuke("sprt", "spec.toml", "--store", "store", "--run-id", "r", "--json", cwd=folder)
    others = [
        banzuke("run", "spec.toml", "--store", "store", "--run-id", "r", cwd=folder),
        banzuke("sprt", "spec.toml", "--store", "store", "--run-id", "r", "--elo1", 60, cwd=folder),
    ]
    runs = json.loads(banzuke("runs", "--store", "store", "--json", cwd=folder).stdout)["runs"]

    assert (0, "0 games of 0 runs would be played\n") == (dry.returncode, dry.stdout)
    assert 0 == backfill.returncode, backfill.stderr
    assert backfill.stdout.startswith("nothing to play")
    assert 0 == again.returncode, again.stderr
    assert found["sprt"] == json.loads(again.stdout)["sprt"]
    assert before == (decision_of(folder / "store", "r"), len(games_of(folder / "store", "r")))
    assert [(2, 1), (2, 1)] == [(other.returncode, len(other.stderr.splitlines())) for other in others]
    assert "is a sequential test (material against random, elo0 = 0 against elo1 = 50" in others[0].stderr
    assert "was begun as another test" in others[1].stderr
    assert (0, found["spared"]) == (runs[0]["missing"], runs[0]["spared"])


def test_killed_stopped_and_resumed_by_one_worker_it_decides_the_same(
    undisturbed: tuple[Path, dict[str, Any]],
    banzuke: Banzuke,
    banzuke_started: Callable[..., subprocess.Popen[str]],
    tmp_path: Path,
) -> None:
    """After kill -9 and Ctrl-C, with another concurrency, the same pair decides on the same counts."""
    (tmp_path / "spec.toml").write_text(SPEC)
    store = tmp_path / "store"
    command = ("sprt", "spec.toml", "--store", store, "--run-id", "r", "--concurrency", 1)

    def parts() -> set[Path]:
        return set((store / "games" / "r").glob("part-*"))

    for number in (signal.SIGKILL, signal.SIGINT):
        before = parts()
        process = banzuke_started(*command)
        wait_until(lambda before=before: parts() - before, process)
        os.kill(process.pid, number)
        _, err = process.communicate(timeout=60)
        assert not (store / "sprt").exists(), err
    assert process.returncode == 130
    assert f"Go on with: banzuke sprt spec.toml --store {store} --run-id r" in err.splitlines()[-1]
    done = banzuke(*command)

    assert 0 == done.returncode, done.stderr
    folder, _ = undisturbed
    assert decision_of(folder / "store", "r") == decision_of(store, "r")
    games = games_of(store, "r")
    assert games[games.status != "void"].game_id.is_unique


@pytest.fixture
def crashing_spec(tmp_path: Path) -> Callable[[int], Path]:
    """A spec of an agent that wins every game, but for those of the third pair, in which its opponent crashes."""

    def write(games: int) -> Path:
        engine = tmp_path / "resigner.py"
        engine.write_text(RESIGNS)
        engine.chmod(0o755)
        path = tmp_path / "spec.toml"
        path.write_text(AGAINST_ENGINE.format(games=games))
        plan = plan_run(load_spec(path), run_id="r", agent_ids={"material": "", "resigner": ""})
        (tmp_path / "crash-on").write_text(" ".join(plan[4].opening_moves))
        return path

    return write


def test_a_void_pair_is_skipped_and_filling_it_changes_no_verdict(
    banzuke: Banzuke, crashing_spec: Callable[[int], Path], tmp_path: Path
) -> None:
    """It waits for a backfill, which plays it and nothing behind the verdict; what is doctored later is noticed."""
    spec, store = crashing_spec(100), tmp_path / "store"
    arguments = ("sprt", spec, "--elo1", 200, "--store", store, "--run-id", "r", "--json")

    done = banzuke(*arguments)

    assert 0 == done.returncode, done.stderr
    found = json.loads(done.stdout)
    assert ("accept_h1", 8, [0, 0, 0, 0, 8], [2], 8) == tuple(
        found["sprt"][key] for key in ("verdict", "pairs", "counts", "skipped", "decided_at_pair")
    )
    assert (2, 0) == (found["voids"], found["missing"])
    before = decision_of(store, "r")

    (tmp_path / "crash-on").unlink()
    backfill = banzuke("backfill", "--store", store, "--json")
    shown = json.loads(banzuke("show", "r", "--store", store, "--json").stdout)

    assert 0 == backfill.returncode, backfill.stderr
    assert (0, 0, found["counting"] + 2) == tuple(shown[key] for key in ("voids", "missing", "counting"))
    assert before == decision_of(store, "r")
    assert shown["sprt"]["recomputed"]["agrees"]
    assert found["sprt"]["final"] == shown["sprt"]["final"]

    for path in (store / "games" / "r").glob("*.parquet"):
        table = pq.read_table(path)
        turned = {"first": "second", "second": "first"}
        winner = [turned.get(side, side) for side in table["winner"].to_pylist()]
        at = table.schema.get_field_index("winner")
        pq.write_table(table.set_column(at, table.schema.field(at), pa.array(winner, pa.string())), path)
    doctored = banzuke("show", "r", "--store", store)

    assert "DISAGREES: from the games as they are now: verdict accept_h0 (kept: accept_h1)" in doctored.stdout


def test_a_cap_without_a_verdict_is_an_end_if_every_game_counts(
    banzuke: Banzuke, crashing_spec: Callable[[int], Path], tmp_path: Path
) -> None:
    """With void games the exit code is 3; filled, they are still skipped, and the verdict is to continue: 0."""
    spec, store = crashing_spec(14), tmp_path / "store"

    done = banzuke("sprt", spec, "--elo1", 200, "--store", store, "--run-id", "r", "--json")
    (tmp_path / "crash-on").unlink()
    backfill = banzuke("backfill", "--store", store, "--json")

    for code, voids, command in ((3, 2, done), (0, 0, backfill)):
        assert command.returncode == code, command.stderr
        found = json.loads(command.stdout)
        assert ("continue", 6, [2], None) == tuple(
            found["sprt"][key] for key in ("verdict", "pairs", "skipped", "decided_at_pair")
        )
        assert (14, voids, 0, 0) == tuple(found[key] for key in ("planned", "voids", "missing", "spared"))
