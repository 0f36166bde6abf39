"""The soak of benchmarks/, a handful of kills long, and whether it would notice."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

import pytest
from staging import engine

from banzuke.games.shogi import rules_named
from banzuke.outcome import Status, Termination
from banzuke.record import GameRecord
from storage.game_store import GameStore
from storage.schemas import to_rows

SOAK = Path(__file__).resolve().parent.parent / "benchmarks" / "soak.py"
KILLS = 6
ZEROS = (
    "lost",
    "counted twice",
    "not in the plan",
    "rows that do not replay",
    "games with other moves than undisturbed",
    "damaged files",
    "processes left",
    "temporary files left",
    "commands that did not end",
)
FAULTS = ("lost", "twice", "unplanned", "contradictory", "different", "damaged")


@dataclass(frozen=True, slots=True, kw_only=True)
class Soaked:
    """A soak that is over, and the folder in which it left everything."""

    exit_code: int
    output: str
    folder: Path


@pytest.fixture(scope="module")
def soaked(environment: Mapping[str, str], cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Soaked:
    """One soak for all tests of this file."""
    engine("fairy-stockfish")
    folder = tmp_path_factory.mktemp("soak")
    # Its own cache, as it looks for what is left there; a database that is migrated already saves ten seconds.
    (folder / "cache").mkdir()
    for template in cache.glob("*.db"):
        shutil.copyfile(template, folder / "cache" / template.name)
    command = [sys.executable, str(SOAK), "--kills", str(KILLS), "--games", "6", "--folder", str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280, check=False)
    return Soaked(exit_code=done.returncode, output=done.stdout + done.stderr, folder=folder)


@pytest.fixture(scope="module")
def soak() -> ModuleType:
    """The program as a module."""
    found = importlib.util.spec_from_file_location("soak", SOAK)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    sys.modules["soak"] = module  # dataclasses look their module up
    found.loader.exec_module(module)
    return module


def rows_of(store: GameStore) -> list[GameRecord]:
    """Every attempt in the store."""
    return to_rows(store.games(store.run_ids()).table, GameRecord)


def test_nothing_is_lost_or_left_whatever_is_killed(soaked: Soaked) -> None:
    """Some kills, and every number that has to be zero is."""
    killed = re.search(r"together (\d+), in", soaked.output)
    games = re.search(r"^games planned (\d+), counting (\d+)", soaked.output, re.MULTILINE)
    found = {label: re.search(rf"^{label} (\d+)$", soaked.output, re.MULTILINE) for label in ZEROS}

    assert 0 == soaked.exit_code, soaked.output
    assert killed is not None
    assert int(killed[1]) >= KILLS
    assert games is not None
    assert games[1] == games[2]
    assert int(games[1]) >= 36
    assert dict.fromkeys(ZEROS, "0") == {label: match and match[1] for label, match in found.items()}


Tampering = Callable[[list[GameRecord]], list[GameRecord]]


def lose_one(rows: list[GameRecord]) -> list[GameRecord]:
    """An attempt that was there is no more."""
    return rows[1:]


def count_one_twice(rows: list[GameRecord]) -> list[GameRecord]:
    """A game has a second attempt with a result."""
    return [*rows, replace(rows[0], attempt=rows[0].attempt + 1, attempt_id=f"{rows[0].game_id}--again")]


def invent_one(rows: list[GameRecord]) -> list[GameRecord]:
    """A game that nobody planned."""
    return [*rows, replace(rows[0], game_id="invented", attempt_id="invented--1")]


def let_the_loser_win(rows: list[GameRecord]) -> list[GameRecord]:
    """A decided game whose winner is the other one."""
    at, won = next((at, row) for at, row in enumerate(rows) if row.winner is not None)
    return [*rows[:at], replace(won, winner=won.winner and won.winner.other), *rows[at + 1 :]]


def resign_early(rows: list[GameRecord]) -> list[GameRecord]:
    """A game that could have gone so, but did not: whoever made the last move resigns instead."""
    row = rows[0]
    board = rules_named(row.game, row.rules).start(row.start_position, max_plies=row.plies)
    for move in row.moves[:-1]:
        board.push(move)
    resigned = replace(
        row,
        moves=row.moves[:-1],
        move_times_ms=row.move_times_ms[:-1],
        evals=None,
        plies=row.plies - 1,
        termination=Termination.RESIGNATION,
        winner=board.side_to_move.other,
    )
    return [resigned, *rows[1:]]


@pytest.mark.parametrize(
    ("tampering", "noticed"),
    [
        (lose_one, {"lost"}),
        (count_one_twice, {"twice"}),
        (invent_one, {"unplanned"}),
        (let_the_loser_win, {"contradictory", "different"}),
        (resign_early, {"different"}),
    ],
)
def test_the_soak_notices_what_it_is_there_to_notice(
    soaked: Soaked, soak: ModuleType, tmp_path: Path, tampering: Tampering, noticed: set[str]
) -> None:
    """Of two complete stores that differ in one row, one passes and the other does not, for the right reason."""
    shutil.copytree(soaked.folder / "store", tmp_path / "store")
    store = GameStore(str(tmp_path / "store"))
    rows = [row for row in rows_of(store) if row.status is not Status.VOID]
    seen = {row.attempt_id for row in rows}
    undisturbed = {(row.encounter, row.round, row.slot): row for row in rows}
    before = soak.check(store, seen, undisturbed)
    for part in (tmp_path / "store" / "games").glob("*/*.parquet"):
        part.unlink()
    for run_id in store.run_ids():
        store.record(run_id, [row for row in tampering(rows) if row.run_id == run_id])

    after = soak.check(store, seen, undisturbed)

    assert before.is_clean
    assert not after.is_clean
    assert noticed == {name for name in FAULTS if getattr(after, name)}


def test_the_soak_notices_a_damaged_file(soaked: Soaked, soak: ModuleType, tmp_path: Path) -> None:
    """What was in it is lost, and the file is named."""
    shutil.copytree(soaked.folder / "store", tmp_path / "store")
    store = GameStore(str(tmp_path / "store"))
    rows = rows_of(store)
    part = next((tmp_path / "store" / "games").glob("*/*.parquet"))
    part.write_bytes(part.read_bytes()[:100])

    found = soak.check(store, {row.attempt_id for row in rows}, {})

    assert not found.is_clean
    assert found.lost
    assert [True] == [part.name in fault for fault in found.damaged]
