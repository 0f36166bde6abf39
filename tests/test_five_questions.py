"""The example that an analyst begins with, on stores whose answers are known."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from test_store_schemas import agent_row, game_record, record, run_document, void_record

from banzuke.outcome import Side, Status, Termination
from banzuke.record import GameRecord
from storage.game_store import GameStore

PROJECT = Path(__file__).resolve().parent.parent
EXAMPLE = PROJECT / "examples" / "five_questions.py"
EPOCH = "e" * 64
"""The content hash of `agent_row`."""
AND_BACK = ("7g7f", "3c3d", "2h3h", "8b7b", "3h2h", "7b8b")


@pytest.fixture
def games(tmp_path: Path) -> GameStore:
    """An empty store."""
    return GameStore(str(tmp_path / "store"))


def answers(games: GameStore) -> list[str]:
    """What the example says of a store: one text for each of the five questions."""
    done = subprocess.run(
        [sys.executable, EXAMPLE, games.uri], cwd=PROJECT, capture_output=True, text=True, timeout=60, check=False
    )
    assert (0, "") == (done.returncode, done.stderr)
    said = done.stdout
    starts = [said.index(f"\n{number}. ") for number in range(1, 6)]
    return [said[start:end].strip() for start, end in zip(starts, [*starts[1:], None], strict=True)]


def pair(run_id: str, number: int, winners: Sequence[str | None], **changes: object) -> list[GameRecord]:
    """The two games of a pair between material-2, who begins the first of them, and random; None is a draw."""
    found = []
    for game_no, winner in zip((2 * number, 2 * number + 1), winners, strict=True):
        game = game_record(run_id, game_no, **changes)
        side = {game.first_agent: Side.FIRST, game.second_agent: Side.SECOND, None: None}[winner]
        ending = Termination.CHECKMATE if side else Termination.REPETITION
        found.append(replace(game, winner=side, termination=ending))
    return found


FIRST_WINS = ("material-2", "random")
FIRST_LOSES = ("random", "material-2")


def test_a_store_without_games_has_no_answers(games: GameStore) -> None:
    """Each is a sentence that says so, and none a traceback."""
    games.create_run("r", run_document("r"))

    said = answers(games)

    assert "There is no checkpoint in this store." in said[0]
    assert "None of 0 openings" in said[1]
    assert "No position comes back in any of 0 games." in said[2]
    assert "Nothing hung in 0 attempts" in said[3]
    assert "No two agents met both before and since" in said[4]


def test_a_mistyped_store_is_named(games: GameStore) -> None:
    """One line, and no answers about nothing."""
    done = subprocess.run([sys.executable, EXAMPLE, games.uri], capture_output=True, text=True, check=False)

    assert (1, "", f"there is no run in {games.uri}\n") == (done.returncode, done.stdout, done.stderr)


def test_a_checkpoint_that_loses_as_second_mover_is_named(games: GameStore) -> None:
    """Twenty pairs that the first mover won, four that the checkpoint won, none that it won as second mover alone."""
    rows = [game for number in range(20) for game in pair("r", number, FIRST_WINS)]
    rows += [game for number in range(20, 24) for game in pair("r", number, ("material-2", "material-2"))]
    as_epoch = {"material-2": ("epoch-10", EPOCH), "random": ("random", "r" * 64)}
    record(
        games,
        "r",
        [
            replace(
                row,
                first_agent=as_epoch[row.first_agent][0],
                first_agent_id=as_epoch[row.first_agent][1],
                second_agent=as_epoch[row.second_agent][0],
                second_agent_id=as_epoch[row.second_agent][1],
            )
            for row in rows
        ],
    )
    games.write_agents("r", [agent_row("r")])

    (line,) = [line.split() for line in answers(games)[0].splitlines() if "epoch-10" in line]

    assert ["epoch-10", "24", "-0.833"] == line[:3]
    assert "worse as second mover" == " ".join(line[5:])


def test_an_opening_that_decides_is_named(games: GameStore) -> None:
    """The one in which whoever began won all 20 games, not the one in which each won half of them."""
    rows = [game for number in range(10) for game in pair("r", number, FIRST_WINS, opening_id="decides")]
    for number in range(10, 20):
        rows += pair("r", number, (FIRST_WINS, FIRST_LOSES)[number % 2], opening_id="does-not")
    record(games, "r", rows)

    assert answers(games)[1].endswith("Of 2 openings 1 decide: decides")


def test_the_first_repetition_is_the_ply_at_which_a_position_comes_back(games: GameStore) -> None:
    """There and back again from the second ply on is known at the sixth; the other game of two repeats nothing."""
    one, other = pair("r", 0, FIRST_WINS)
    zeros = tuple(0 for _ in AND_BACK)
    nothing = tuple(None for _ in AND_BACK)
    record(games, "r", [replace(one, moves=AND_BACK, plies=6, move_times_ms=zeros, evals=nothing), other])

    assert "A position comes back in 50.0% of 2 games, first after 6 plies (median); 0 games" in answers(games)[2]


@pytest.mark.parametrize(
    ("hung_on", "answer"),
    [
        (["osaka"] * 6, "Yes: on osaka, more than chance explains."),
        (["osaka", "kyoto"] * 3, "No: 6 hangs are spread over the hosts as chance would do it."),
    ],
    ids=["on one", "on both"],
)
def test_hangs_of_one_host_are_told_from_chance(games: GameStore, hung_on: list[str], answer: str) -> None:
    """Six stalls among sixty attempts: all on the one host, or three on either."""
    rows = [game_record("r", number, host=("kyoto", "osaka")[number % 2]) for number in range(54)]
    stall = {"termination": Termination.AGENT_STALL, "status": Status.VOID}
    rows += [void_record("r", 54 + number, host=host, **stall) for number, host in enumerate(hung_on)]
    record(games, "r", rows)

    assert answers(games)[3].endswith(answer)


def test_what_has_changed_since_last_week_is_named(games: GameStore) -> None:
    """A score that fell, an agent that is another one under its old name, and one that was never seen before."""
    now = datetime.now(UTC)
    for run_id, begun, most, rare in (
        ("old", now - timedelta(days=20), ("material-2",) * 2, FIRST_WINS),
        ("new", now - timedelta(days=1), ("random",) * 2, FIRST_WINS),
    ):
        rows = [game for number in range(12) for game in pair(run_id, number, rare if number == 0 else most)]
        record(games, run_id, [replace(row, started_at=begun, finished_at=begun) for row in rows])
    changed = [
        replace(row, first_agent="random", first_agent_id="x" * 64, second_agent="newcomer", second_agent_id="n" * 64)
        for row in pair("new", 50, (None, None), started_at=now, finished_at=now)
    ]
    record(games, "new", changed)

    said = answers(games)[4]

    assert "New: newcomer. Another agent under the same name: random." in said
    assert said.endswith("Changed: material-2 against random")
