"""A round-robin among which most agents are broken: the others' standings, what is said of the broken, and repair."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

Banzuke = Callable[..., subprocess.CompletedProcess[str]]
PAIR = 2
"""Games of an encounter."""

ENGINE = """\
#!{python}
import os, sys, time
ply = 0
for line in sys.stdin:
    word, *rest = line.split() or [""]
    if word == "position":
        ply = len(rest) - rest.index("moves") - 1 if "moves" in rest else 0
        position = line.strip()
    if word == "quit":
        break
    {behaviour}
    answer = {{"usi": "id name engine\\nusiok", "isready": "readyok", "go": "bestmove resign"}}.get(word)
    if answer:
        print(answer, flush=True)
"""
PLAYS_A_LEGAL_MOVE = """\
if word == "go" and ply:
        import cshogi
        board = cshogi.Board()
        board.set_position(position.removeprefix("position "))
        print("bestmove", min(map(cshogi.move_to_usi, board.legal_moves)), flush=True)
        continue"""
FAULTS = {
    "crashes-at-start": "sys.exit(3)",
    "answers-illegally": 'word == "go" and print("bestmove 1a1b", flush=True)',
    "hangs-when-asked": 'word == "go" and time.sleep(60)',
    "crashes-in-games": 'ply >= 16 and sys.exit("lost my way")\n    ' + PLAYS_A_LEGAL_MOVE,
    "hangs-in-games": 'word == "go" and ply and time.sleep(60)',
    "eats-memory-in-games": 'eaten = word == "go" and ply and [b"\\1" * (512 << 20), time.sleep(60)]',
}
NAMES = ("random", "material-1", "material-2", "steady", *FAULTS)
UNFIT = {"crashes-at-start": "could not start", "answers-illegally": "illegally", "hangs-when-asked": "stalled"}
"""What evaluate finds out, and how it says so; the others pass it."""

SPEC_HEAD = """
name = "broken"
game = "shogi"
[tournament]
games_per_encounter = {pair}
max_plies = 60
seed = 5
[limits]
concurrency = 2
move_seconds = 1.0
game_seconds = 60.0
start_seconds = 10.0
worker_memory_mb = 400
retries = 0
[ratings]
anchor = "random"
"""
BUILT_IN = """
[[agents]]
name = "random"
kind = "random"
[[agents]]
name = "material-1"
kind = "material"
depth = 1
[[agents]]
name = "material-2"
kind = "material"
depth = 2
"""
USI = """
[[agents]]
name = "{name}"
kind = "usi"
command = ["./{name}.py"]
limit = {{ nodes = 1 }}
"""


def engine(folder: Path, name: str, behaviour: str) -> None:
    """A program that resigns when asked, but for this."""
    program = folder / f"{name}.py"
    program.write_text(ENGINE.format(python=sys.executable, behaviour=behaviour))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)


def spec(folder: Path, file: str, *engines: str) -> Path:
    """The built-in agents and these engines."""
    path = folder / file
    path.write_text(SPEC_HEAD.format(pair=PAIR) + BUILT_IN + "".join(USI.format(name=name) for name in engines))
    return path


def summary_of(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    summary: dict[str, Any] = json.loads(done.stdout)
    return summary


def rating(row: dict[str, Any]) -> tuple[object, ...]:
    """What a row of the standings says of an agent's strength."""
    return tuple(row[key] for key in ("agent", "elo", "elo_low", "elo_high", "games", "wins", "draws", "losses"))


def test_six_broken_agents_of_ten_spoil_nothing_and_may_be_repaired(banzuke: Banzuke, tmp_path: Path) -> None:
    """The four others end with the standings they have among themselves; the six are listed; a backfill mends it."""
    for name, behaviour in {"steady": PLAYS_A_LEGAL_MOVE, **FAULTS}.items():
        engine(tmp_path, name, behaviour)
    alone = banzuke("run", spec(tmp_path, "four.toml", "steady"), "--store", "store", "--run-id", "four", "--json")
    ten = spec(tmp_path, "ten.toml", "steady", *FAULTS)

    done = banzuke("run", ten, "--store", "store", "--run-id", "ten", "--json")

    assert 0 == alone.returncode, alone.stdout + alone.stderr
    assert 3 == done.returncode, done.stdout + done.stderr
    summary = summary_of(done)
    assert (45 * PAIR, 6 * PAIR, 0) == (summary["planned"], summary["counting"], summary["forfeits"])
    rated = [row for row in summary["standings"] if row["rated"]]
    assert [rating(row) for row in summary_of(alone)["standings"]] == [rating(row) for row in rated]
    assert {3 * PAIR} == {row["games"] for row in rated}
    unrated = {row["agent"]: row["reason"] for row in summary["standings"] if not row["rated"]}
    assert set(FAULTS) == set(unrated)
    assert all(unrated.values())
    reasons = {agent["agent"]: agent["reason"] for agent in summary["unfit"]}
    assert set(UNFIT) == set(reasons)
    assert [] == [name for name, words in UNFIT.items() if words not in reasons[name]]
    before = attempts(tmp_path)
    assert {"agent_crash", "agent_stall", "memory_limit"} <= set(before[before.status == "void"].termination)

    for name in FAULTS:
        engine(tmp_path, name, PLAYS_A_LEGAL_MOVE)
    mended = banzuke("backfill", "--run", "ten", "--store", "store", "--json")

    assert 0 == mended.returncode, mended.stdout + mended.stderr
    summary = summary_of(mended)
    assert (45 * PAIR, 45 * PAIR, 0, []) == tuple(summary[key] for key in ("planned", "counting", "missing", "unfit"))
    rated = [row for row in summary["standings"] if row["rated"]]
    # An agent that was repaired is two by content; what tells them apart is behind the name.
    assert sorted(NAMES) == sorted(row["agent"].partition("@")[0] for row in rated)
    assert {9 * PAIR} == {row["games"] for row in rated}
    after = attempts(tmp_path)
    assert set() == set(before.attempt_id) - set(after.attempt_id)
    kept = after[after.attempt_id.isin(before.attempt_id)].set_index("attempt_id").sort_index()
    pd.testing.assert_frame_equal(before.set_index("attempt_id").sort_index(), kept)


def attempts(folder: Path) -> pd.DataFrame:
    """Every attempt of the run of ten, as a plain reader sees it."""
    return pd.read_parquet(folder / "store" / "games" / "ten")
