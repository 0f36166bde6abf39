"""Backfills and invocations that meet: through the command, with real engines that hang until they are repaired."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from staging import wait_until

Banzuke = Callable[..., subprocess.CompletedProcess[str]]

HANGS_IN_GAMES = """#!/usr/bin/env python3
import sys, time
moves = 0
for line in sys.stdin:
    words = line.split()
    if words == ["usi"]:
        print("id name hanger\\nusiok", flush=True)
    elif words == ["isready"]:
        print("readyok", flush=True)
    elif words[:1] == ["position"]:
        moves = len(words) - words.index("moves") - 1 if "moves" in words else 0
    elif words[:1] == ["go"]:
        time.sleep(60 if moves {hangs} else 0)
        print("bestmove resign", flush=True)
    elif words == ["quit"]:
        break
"""

SPEC = """
name = "hang"
[[agents]]
name = "random"
kind = "random"
[[agents]]
name = "material"
kind = "material"
depth = 1
[[agents]]
name = "hanger"
kind = "usi"
command = ["./hanger.py"]
limit = {{ nodes = 1 }}
[tournament]
games_per_encounter = {games}
max_plies = 80
[limits]
concurrency = 2
move_seconds = 0.5
game_seconds = 60.0
retries = 0
put_off_after = {put_off_after}
"""


@pytest.fixture
def hanging_spec(tmp_path: Path) -> Callable[..., Path]:
    """A spec of two sound agents and an engine that passes the probes and hangs in every game."""

    def write(*, games: int = 8, put_off_after: int = 3) -> Path:
        write_engine(tmp_path, hangs=True)
        path = tmp_path / "hang.toml"
        path.write_text(SPEC.format(games=games, put_off_after=put_off_after))
        return path

    return write


def write_engine(folder: Path, *, hangs: bool) -> None:
    engine = folder / "hanger.py"
    engine.write_text(HANGS_IN_GAMES.replace("{hangs}", "" if hangs else "and False"))
    engine.chmod(0o755)


def games_of(store: Path, run_id: str) -> pd.DataFrame:
    return pd.read_parquet(store / "games" / run_id)


def test_a_broken_agent_is_put_off_and_a_backfill_after_its_repair_plays_the_rest(
    banzuke: Banzuke, hanging_spec: Callable[..., Path], tmp_path: Path
) -> None:
    """It costs a few games, is named with the reason everywhere, and its void attempts stay after the repair."""
    spec = hanging_spec(games=8, put_off_after=3)

    run = banzuke("run", spec, "--store", "store", "--run-id", "r", "--json")

    assert 3 == run.returncode, run.stderr
    summary = json.loads(run.stdout)
    [put_off] = summary["put_off"]
    assert "hanger" == put_off["agent"]
    assert put_off["reason"].startswith("its first 3 games were void by its own fault (3 agent_stall)")
    assert [f"put off: hanger: {put_off['reason']}"] == [
        line for line in run.stderr.splitlines() if line.startswith("put off")
    ]
    assert (24, 8, 0, []) == (summary["planned"], summary["counting"], summary["forfeits"], summary["unfit"])
    # Another game may have been in play at the other worker when the third one ended.
    assert 3 <= summary["voids"] <= 4
    row = next(row for row in summary["standings"] if row["agent"] == "hanger")
    assert (False, f"no counting game; put off: {put_off['reason']}") == (row["rated"], row["reason"])

    write_engine(tmp_path, hangs=False)
    backfill = banzuke("backfill", "--store", "store", "--json")

    assert 0 == backfill.returncode, backfill.stderr
    assert (24, []) == (json.loads(backfill.stdout)["counting"], json.loads(backfill.stdout)["put_off"])
    rows = json.loads(backfill.stdout)["standings"]
    assert [("hanger", True), ("material", True), ("random", True)] == sorted(
        (row["agent"], row["rated"]) for row in rows
    )
    games = games_of(tmp_path / "store", "r")
    assert summary["voids"] == (games.status == "void").sum()
    assert 24 == games[games.status != "void"].game_id.nunique() == (games.status != "void").sum()


def test_one_backfill_plays_the_rest_of_several_runs(
    banzuke: Banzuke, hanging_spec: Callable[..., Path], tmp_path: Path
) -> None:
    """All runs of the store, one command, a line for each game, and standings of each."""
    spec = hanging_spec(games=2, put_off_after=0)
    for run_id in ("one", "two"):
        assert 3 == banzuke("run", spec, "--store", "store", "--run-id", run_id).returncode
    write_engine(tmp_path, hangs=False)
    before = {run_id: (tmp_path / "store/standings" / run_id / "standings.parquet").stat() for run_id in ("one", "two")}

    dry = banzuke("backfill", "--store", "store", "--dry-run")
    wrong = banzuke("backfill", "--store", "store", "--cause", "missing")
    done = banzuke("backfill", "--store", "store", "--cause", "agent_stall", "--parallel", 2)

    assert 0 == dry.returncode
    assert ["one: 4 games (4 agent_stall)", "two: 4 games (4 agent_stall)"] == sorted(
        line for line in dry.stdout.splitlines() if line.endswith(")")
    )
    assert "8 games of 2 runs would be played" == dry.stdout.splitlines()[-1]
    assert (
        3,
        "nothing to play: no void or missing game of cause missing in 2 runs of store; 8 of other causes are left\n",
    ) == (
        wrong.returncode,
        wrong.stdout,
    )
    assert 0 == done.returncode, done.stdout + done.stderr
    lines = [line for line in done.stdout.splitlines() if " -> OK (" in line]
    assert [f"[{number}/8]" for number in range(1, 9)] == [line.split()[0] for line in lines]
    assert lines[-1].split("(")[1].startswith("0 remaining, ")
    for run_id, stat in before.items():
        assert 6 == (games_of(tmp_path / "store", run_id).status != "void").sum()
        assert stat.st_ino != (tmp_path / "store/standings" / run_id / "standings.parquet").stat().st_ino


def test_a_game_whose_agent_is_gone_says_so(
    banzuke: Banzuke, hanging_spec: Callable[..., Path], tmp_path: Path
) -> None:
    """A backfill cannot play without an agent's program; every such game is named with the reason."""
    spec = hanging_spec(games=2, put_off_after=0)
    assert 3 == banzuke("run", spec, "--store", "store", "--run-id", "r").returncode
    (tmp_path / "hanger.py").unlink()

    dry = banzuke("backfill", "--store", "store", "--dry-run")
    done = banzuke("backfill", "--store", "store")

    assert 3 == done.returncode, done.stderr
    assert (0, 1) == (dry.returncode, len(dry.stderr.splitlines())), dry.stderr
    assert dry.stderr.startswith("r: hanger cannot play: no program './hanger.py' on PATH")
    names = {row["agent"] for row in json.loads(banzuke("show", "r", "--store", "store", "--json").stdout)["standings"]}
    assert {"hanger", "material", "random"} == names
    lines = [line for line in done.stdout.splitlines() if " -> " in line]
    assert 4 == len(lines)
    assert all("-> not played: hanger is unfit: could not start: " in line and "hanger.py" in line for line in lines)
    assert "unfit, left out: hanger: " in done.stdout


def test_a_run_is_played_by_one_invocation_at_a_time(
    banzuke: Banzuke,
    banzuke_started: Callable[..., subprocess.Popen[str]],
    small_spec: Callable[..., Path],
    tmp_path: Path,
) -> None:
    """A second run of the id is refused in one line, a backfill leaves it alone; killed, it is free at once."""
    spec, store = small_spec(games=150), tmp_path / "store"
    first = banzuke_started("run", spec, "--store", store, "--run-id", "r", "--json")
    wait_until(lambda: list((store / "games" / "r").glob("part-*")), first)
    # So that it is not over before the others have looked, on however busy a machine.
    first.send_signal(signal.SIGSTOP)

    second = banzuke("run", spec, "--store", store, "--run-id", "r")
    backfill = banzuke("backfill", "--store", store)
    first.send_signal(signal.SIGKILL)
    first.communicate(timeout=60)
    resumed = banzuke("run", spec, "--store", store, "--run-id", "r", "--json")

    assert (2, 1) == (second.returncode, len(second.stderr.splitlines())), second.stderr
    assert f"run r is being played by process {first.pid}" in second.stderr
    assert 3 == backfill.returncode, backfill.stdout + backfill.stderr
    assert f"run r is being played by process {first.pid}" in backfill.stderr
    assert 0 == resumed.returncode, resumed.stderr
    games = games_of(store, "r")
    assert (450, 450) == (len(games), games.game_id.nunique())


def test_two_that_begin_the_same_run_together_play_it_once(
    banzuke_started: Callable[..., subprocess.Popen[str]], small_spec: Callable[..., Path], tmp_path: Path
) -> None:
    """One of them plays, the other is refused; no game is played twice."""
    spec, store = small_spec(games=10), tmp_path / "store"

    both = [banzuke_started("run", spec, "--store", store, "--run-id", "r", "--json") for _ in range(2)]
    texts = [process.communicate(timeout=120) for process in both]

    codes = sorted(process.returncode for process in both)
    assert codes in ([0, 2], [0, 0]), texts
    games = games_of(store, "r")
    assert (30, 30) == (len(games), games.game_id.nunique())


def test_a_damaged_file_is_named_set_aside_and_its_games_are_played_again(
    banzuke: Banzuke, small_spec: Callable[..., Path], tmp_path: Path
) -> None:
    """`show` rates what can be read and says what cannot; a backfill makes the run whole for plain readers, too."""
    store = tmp_path / "store"
    assert 0 == banzuke("run", small_spec(games=4), "--store", store, "--run-id", "r").returncode
    [games] = (store / "games" / "r").glob("*.parquet")
    games.write_bytes(games.read_bytes()[:-100])

    shown = banzuke("show", "r", "--store", store)
    dry = banzuke("backfill", "--store", store, "--dry-run")
    done = banzuke("backfill", "--store", store)
    after = banzuke("show", "r", "--store", store)

    assert 0 == shown.returncode, shown.stderr
    assert 3 == sum("unrated" in line for line in shown.stdout.splitlines()), shown.stdout
    assert f"damaged: {games}: " in shown.stdout
    assert "12 games of 1 runs would be played" in dry.stdout
    assert (0, 1) == (done.returncode, done.stderr.count("damaged, set aside: ")), done.stderr
    assert f"damaged: {store / 'damaged' / 'games' / 'r' / games.name}: " in after.stdout
    assert 12 == games_of(store, "r").game_id.nunique() == len(games_of(store, "r"))


def test_a_plan_that_lost_its_run_is_not_taken_over_by_another_spec(
    banzuke: Banzuke, small_spec: Callable[..., Path], tmp_path: Path
) -> None:
    """Without run.json nobody knows of which spec the plan and the games are: refused in one line, nothing written."""
    assert 0 == banzuke("run", small_spec(games=2), "--store", "store", "--run-id", "r").returncode
    document = tmp_path / "store" / "runs" / "r" / "run.json"
    document.unlink()

    again = [banzuke("run", small_spec(games=4), "--store", "store", "--run-id", "r") for _ in range(2)]

    for done in again:
        assert (2, 1) == (done.returncode, len(done.stderr.splitlines())), done.stderr
        assert "run r has lost its run.json" in done.stderr
    assert not document.exists()


def test_a_store_that_vanishes_ends_the_run_at_once(
    banzuke_started: Callable[..., subprocess.Popen[str]], small_spec: Callable[..., Path], tmp_path: Path
) -> None:
    """What cannot be kept is not played: one line, exit code 1, and no store is made anew."""
    store = tmp_path / "store"
    process = banzuke_started("run", small_spec(games=400), "--store", store, "--run-id", "r", "--json")
    wait_until(lambda: list((store / "games" / "r").glob("part-*")), process)

    store.rename(tmp_path / "gone")
    out, err = process.communicate(timeout=60)
    shutil.rmtree(store, ignore_errors=True)

    assert (1, "") == (process.returncode, out), err
    assert 1 == len(err.splitlines()), err
    assert "games can no longer be recorded, so no more are played" in err
