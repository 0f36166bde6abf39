"""Adaptive tournaments through the command: the plan grows, is gone on with exactly, and survives void games."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from staging import wait_until
from test_store_schemas import game_record, planned_game, run_document

from banzuke.errors import RunChangedError
from banzuke.specs import SPEC, load_spec
from storage.game_store import GameStore
from tasks.growing import precision_of
from tasks.steps import _check_recorded, plan_step

Banzuke = Callable[..., subprocess.CompletedProcess[str]]

SCRIPTED = """
name = "grow"
[[agents]]
name = "random"
kind = "random"
[[agents]]
name = "material"
kind = "material"
depth = 1
[[agents]]
name = "other"
kind = "random"
[tournament]
format = "adaptive"
target_error = {target}
games_per_encounter = 100
max_plies = 60
[limits]
concurrency = {concurrency}
game_seconds = 60.0
[ratings]
anchor = "random"
"""
PLACES = ["game_id", "pair_id", "game_no", "pair_no", "encounter", "round", "slot", "opening_id", "seed"]


def plan_of(store: Path, run_id: str) -> dict[str, list[dict[str, Any]]]:
    """The rows of every step but for the run's name, by the file's name."""
    files = sorted((store / "plans" / run_id).glob("*.parquet"))
    return {
        file.name: [
            {name: str(value).removeprefix(run_id) for name, value in row.items()}
            for row in pd.read_parquet(file)[PLACES].to_dict("records")
        ]
        for file in files
    }


def results_of(store: Path, run_id: str) -> dict[int, tuple[str, ...]]:
    """The moves of every counting game, by its number."""
    games = pd.read_parquet(store / "games" / run_id)
    return {int(row.game_no): tuple(row.moves) for row in games[games.status != "void"].itertuples()}


def test_a_killed_run_goes_on_as_if_undisturbed(
    banzuke: Banzuke, banzuke_started: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    """With another concurrency, too: the same steps in the same files, the same games, move by move."""
    spec, store = tmp_path / "spec.toml", tmp_path / "store"
    spec.write_text(SCRIPTED.format(target=60, concurrency=1))
    done = banzuke("run", spec, "--store", store, "--run-id", "undisturbed")
    assert 0 == done.returncode, done.stderr
    assert "the target of ±60 Elo is reached" in done.stdout
    assert "plan: step 2, " in done.stderr
    plan, results = plan_of(store, "undisturbed"), results_of(store, "undisturbed")
    assert len(plan) >= 3

    spec.write_text(SCRIPTED.format(target=60, concurrency=2))
    process = banzuke_started("run", spec, "--store", store, "--run-id", "killed", "--json")
    wait_until((store / "plans" / "killed" / "plan-00002.parquet").exists, process)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    resumed = banzuke("run", spec, "--store", store, "--run-id", "killed", "--json")

    assert 0 == resumed.returncode, resumed.stderr
    summary = json.loads(resumed.stdout)
    assert (60, True) == (summary["target_error"], summary["target_reached"])
    assert 0 < summary["widest"]["error"] <= 60
    assert summary["planned"] == summary["counting"] == len(results)
    assert plan == plan_of(store, "killed")
    assert results == results_of(store, "killed")

    (store / "plans" / "killed" / f"plan-{len(plan):05d}.parquet").unlink()
    able = ["material", "other", "random"]
    plan_step.fn(SPEC.dump_json(load_spec(spec)).decode(), str(store), "killed", able)

    assert plan == plan_of(store, "killed")


def test_a_step_that_was_lost_is_not_planned_otherwise_over_its_games(tmp_path: Path) -> None:
    """A game's id must not come to mean another game."""
    store = GameStore(str(tmp_path))
    store.create_run("nightly", run_document("nightly"))
    planned = [planned_game(game_no=number) for number in (4, 5)]
    store.record("nightly", [game_record(game_no=5)])
    _check_recorded(store, "nightly", planned)

    with pytest.raises(RunChangedError, match="games are recorded that no step of its plan has"):
        _check_recorded(store, "nightly", [planned[0], replace(planned[1], round=7)])


def test_the_budget_ends_a_run_that_says_who_missed_the_target(banzuke: Banzuke, tmp_path: Path) -> None:
    """Every planned game counts, so the exit code is 0."""
    spec = tmp_path / "spec.toml"
    spec.write_text(SCRIPTED.format(target=20, concurrency=2).replace("max_plies", "max_games = 70\nmax_plies"))

    done = banzuke("run", spec, "--store", "store", "--run-id", "r")
    precision = precision_of(GameStore(str(tmp_path / "store")), "r")

    assert 0 == done.returncode, done.stderr
    assert "the target of ±20 Elo is missed by " in done.stdout
    assert "not at its end" not in done.stdout
    assert "70 of 70 games count" in done.stdout
    assert precision is not None
    assert ("random", 0.0) not in precision.missed
    assert not precision.goes_on


ENGINE = """\
#!{python}
import hashlib, sys
from pathlib import Path
import cshogi
for line in sys.stdin:
    word, *rest = line.split() or [""]
    if word == "position":
        draw = hashlib.sha256(line.encode()).digest()
        board = cshogi.Board()
        board.set_position(line.strip().removeprefix("position "))
    if word == "go":
        if {crashes} and len(board.history) > 3 and draw[0] % 16 == 0:
            sys.exit("lost my way")
        moves = sorted(map(cshogi.move_to_usi, board.legal_moves))
        print("bestmove", "resign" if draw[1] % 2 else moves[draw[2] % len(moves)], flush=True)
    answer = {{"usi": "id name engine\\nusiok", "isready": "readyok"}}.get(word)
    if answer:
        print(answer, flush=True)
    if word == "quit":
        break
"""
ENGINES = """
name = "void"
[[agents]]
name = "a"
kind = "usi"
command = ["./engine.py"]
limit = { nodes = 1 }
version = "1"
[[agents]]
name = "b"
kind = "usi"
command = ["./engine.py", "b"]
limit = { nodes = 1 }
version = "1"
[tournament]
format = "adaptive"
target_error = 120
games_per_encounter = 100
max_plies = 60
[limits]
concurrency = 2
game_seconds = 60.0
retries = 1
put_off_after = 0
"""


def test_void_games_hold_no_step_up_and_a_backfill_changes_no_plan(banzuke: Banzuke, tmp_path: Path) -> None:
    """They are tried as often as ever, in one step only; filled later, the plan stays what it was."""
    engine = tmp_path / "engine.py"
    engine.write_text(ENGINE.format(python=sys.executable, crashes=True))
    engine.chmod(0o755)
    spec = tmp_path / "spec.toml"
    spec.write_text(ENGINES)

    done = banzuke("run", spec, "--store", "store", "--run-id", "r", "--json")

    summary = json.loads(done.stdout)
    assert 3 == done.returncode, done.stderr
    assert (True, 0) == (summary["target_reached"], summary["missing"])
    plan = plan_of(tmp_path / "store", "r")
    assert len(plan) >= 2
    games = pd.read_parquet(tmp_path / "store" / "games" / "r")
    void = games[games.status == "void"]
    assert summary["voids"] == void.game_id.nunique() > 0
    assert {2} == set(void.groupby("game_id").size())

    engine.write_text(ENGINE.format(python=sys.executable, crashes=False))
    filled = banzuke("backfill", "--run", "r", "--store", "store", "--json")

    assert 0 == filled.returncode, filled.stderr
    assert plan == plan_of(tmp_path / "store", "r")
    assert summary["planned"] == json.loads(filled.stdout)["counting"]
