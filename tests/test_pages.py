"""What a run's artifacts say, whatever agents are called and engines print."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from test_store_schemas import agent_row, game_record, planned_game, run_document, standing, void_record

from banzuke.outcome import Side
from banzuke.ratings.standings import Crosstable
from storage.game_store import GameStore
from tasks.artifacts import artifact_key, shown
from tasks.missing import MissingGames, missing_games
from tasks.pages import (
    MOST_ACROSS,
    MOST_LISTED,
    MOST_ROWS,
    crosstable_page,
    failures_note,
    failures_page,
    masked,
    run_page,
    standings_note,
    standings_rows,
)
from tasks.summary import Summary, VoidGames, summarise

COMPLETE = Summary(
    run_id="night-7",
    planned=12,
    counting=12,
    forfeits=0,
    voids=0,
    missing=0,
    spared=0,
    unfit=(),
    put_off=(),
    void_causes=(),
    standings=(),
    sprt=None,
    precision=None,
)
HOSTILE = "boom\n# a `title` | a cell \x1b[31m <script>alert(1)</script>\u202e" + "x" * 10_000


def test_runs_that_differ_in_capitals_or_dots_have_keys_of_their_own() -> None:
    """Prefect's keys know small letters, digits and dashes only; no two runs may overwrite each other's artifacts."""
    runs = ["night.1", "night-1", "Night-1", "night_1", "NIGHT.1", "night.1-", "n", "N"]

    keys = [artifact_key("standings", run_id) for run_id in runs]

    assert "standings-night-1" == keys[1]
    assert len(runs) == len(set(keys))
    assert [] == [key for key in keys if not re.fullmatch("[a-z0-9-]+", key)]
    # What follows two dashes is never another run's own id, which has none.
    assert ["--" in key for key in keys] == [True, False, True, True, True, True, False, True]


def test_whatever_a_cell_holds_is_shown_as_text_or_a_finite_number() -> None:
    """Infinities would break the page, and times and numpy's numbers the task."""
    values = [math.inf, math.nan, np.float32(0.5), np.int64(7), datetime(2026, 1, 2, tzinfo=UTC), Path("x"), None, True]

    cells = [shown(value) for value in values]

    assert [None, None, 0.5, 7, "2026-01-02 00:00:00+00:00", "x", None, True] == cells
    assert json.dumps(cells, allow_nan=False)
    assert (True, 500) == ((line := str(shown(HOSTILE))).isprintable(), len(line))


def test_standings_are_read_as_people_write_them() -> None:
    """Rating and error stand together; the anchor has none, and who is unrated says so."""
    rows = [
        standing(agent="epoch-2", elo=123.5, elo_low=100.5, elo_high=146.5),
        standing(rank=2, agent="anchor", elo=0.0, elo_low=0.0, elo_high=0.0),
        standing(rank=3, agent="idle", elo=None, elo_low=None, elo_high=None, score=None, reason="no counting game"),
    ]

    table = standings_rows(rows)

    assert ["124 ± 23", "0 (fixed)", "unrated"] == [row["elo"] for row in table]
    assert {"rank": 1, "agent": "epoch-2", "games": 40, "W/D/L": "30/4/6", "score": "80.0%", "reason": ""} == {
        name: cell for name, cell in table[0].items() if name != "elo"
    }
    assert ("", "no counting game") == (table[2]["score"], table[2]["reason"])


def test_a_long_sheet_is_cut_and_says_so() -> None:
    """What is left out of the table is counted beside it."""
    assert "1. epoch-10 unrated of 1" not in standings_note(replace(COMPLETE, standings=(standing(rated=False),)))
    many = tuple(standing(rank=rank, agent=f"a{rank}") for rank in range(1, MOST_ROWS + 4))

    assert MOST_ROWS == len(standings_rows(many))
    assert "3 lower ranks are left out here" in standings_note(replace(COMPLETE, standings=many))


def test_a_crosstable_has_the_points_of_the_row() -> None:
    """Each cell is points of how many games; who has not met is empty, oneself a dash."""
    points, games = np.array([[0, 2.5, 0], [1.5, 0, 0], [0, 0, 0]]), np.array([[0, 4, 0], [4, 0, 0], [0, 0, 0]])

    page = crosstable_page("night-7", Crosstable(agents=("a", "b", "c"), points=points, games=games))

    assert "| 1 | a | — | 2.5/4 |  |" in page
    assert "| 2 | b | 1.5/4 | — |  |" in page
    assert "| 3 | c |  |  | — |" in page


def test_the_crosstable_of_a_thousand_agents_is_cut_and_says_so() -> None:
    """A million cells are no page: the first by rank are shown, and the others counted."""
    agents = tuple(f"epoch-{number}" for number in range(1000))
    ones = np.ones((1000, 1000))

    page = crosstable_page("night-7", Crosstable(agents=agents, points=ones, games=ones.astype(np.int64)))

    assert f"Of 1000 agents the first {MOST_ACROSS} by rank; {1000 - MOST_ACROSS} are left out here." in page
    assert len(page) < 20_000


def test_a_run_without_failures_says_so() -> None:
    """The page is there all the same: its absence would say nothing."""
    assert "no failures" == failures_note(COMPLETE)
    assert "None: each of 12 games has a result." in failures_page(COMPLETE, (), "store")


def test_failures_name_causes_agents_and_the_command_that_plays_them() -> None:
    """Void and missing games stand by cause and agent, with a line of one of them and how to have them played."""
    summary = replace(
        COMPLETE,
        counting=4,
        voids=3,
        missing=5,
        unfit=(("broken", "could not start: false exited with code 1"),),
        put_off=(("slow", "the first 4 games were void"),),
        void_causes=(VoidGames(termination="agent_crash", agent="shaky", games=3, detail="signal 11"),),
    )

    page = failures_page(summary, [MissingGames(cause="agent unfit", agent="broken", games=5)], "/srv/my store")

    assert "banzuke backfill --run night-7 --store '/srv/my store'" in page
    assert "`backfill-runs/backfill` with `runs` = `night-7`" in page
    assert "3 games void, 5 games missing, 1 agents unfit, 1 agents put off" == failures_note(summary)
    assert failures_note(summary) in page
    assert "| agent_crash | shaky | 3 | `signal 11` |" in page
    assert "| missing: agent unfit | broken | 5 |  |" in page
    assert "| broken | `could not start: false exited with code 1` |" in page
    assert "| slow | `the first 4 games were void` |" in page


def test_what_an_engine_prints_is_no_markdown() -> None:
    """Its last words stand in one cell, as code, and are cut; a long list of agents is cut, too."""
    hostile = VoidGames(termination="agent_crash", agent="shaky", games=1, detail=HOSTILE)
    unfit = tuple((f"agent-{number}", HOSTILE) for number in range(MOST_LISTED + 7))

    page = failures_page(replace(COMPLETE, voids=1, void_causes=(hostile,), unfit=unfit), (), "store")

    (row,) = [line for line in page.splitlines() if line.startswith("| agent_crash")]
    cell = row.removeprefix("| agent_crash | shaky | 1 | ").removesuffix(" |")
    assert ("`", "`", 2) == (cell[0], cell[-1], cell.count("`"))
    assert re.search(r"(?<!\\)\|", cell) is None
    assert "# a 'title'" in cell
    assert [] == [line for line in page.splitlines() if line.startswith("# a") or not line.isprintable()]
    assert "and 7 more lines." in page
    assert len(page) < 60_000


@pytest.mark.parametrize(
    ("store", "said"),
    [
        ("/srv/store", "/srv/store"),
        ("s3://bucket/a@b", "s3://bucket/a@b"),
        ("s3://key:secret@bucket/x", "s3://***@bucket/x"),
        ("s3://key:se/cr@et@bucket/x", "s3://***@bucket/x"),
        ("sftp://secret@host:22/x", "sftp://***@host:22/x"),
        ("https://host/x?sig=secret", "https://host/x?***"),
        ("simplecache::s3://key:secret@bucket", "simplecache::s3://***@bucket"),
    ],
)
def test_credentials_of_a_store_are_not_shown(store: str, said: str) -> None:
    """User, password and what follows a question mark are masked, wherever the address is shown."""
    pages = failures_page(replace(COMPLETE, missing=1), (), store) + run_page("night-7", {}, store)

    assert said == masked(store)
    assert said in pages
    assert "secret" not in pages
    assert ("Put your own credentials" in pages) == (said != store)


def test_the_page_of_a_run_says_where_its_games_are(tmp_path: Path) -> None:
    """The store, the versions and the host are there, and what is to be typed finds the games."""
    store = GameStore(str(tmp_path / "it's here"))
    store.create_run("night-7", run_document("night-7"))
    store.write_plan("night-7", [planned_game("night-7")])
    store.record("night-7", [game_record("night-7", 0, winner=Side.FIRST)])

    page = run_page("night-7", store.read_run("night-7"), store.uri)

    assert "banzuke show night-7 --store " in page
    names: dict[str, object] = {}
    exec(re.findall("```python\n(.*?)```", page, flags=re.DOTALL)[0], names)  # noqa: S102 - it is ours
    assert 1 == len(names["games"])  # type: ignore[arg-type] - a data frame
    duckdb = pytest.importorskip("duckdb")
    assert [("first",)] == [row[2:] for row in duckdb.sql(re.findall("```sql\n(.*)\n```", page)[0]).fetchall()]


def test_missing_games_are_those_of_agents_that_cannot_play_or_were_not_begun(tmp_path: Path) -> None:
    """Each is counted once; void games are none of them."""
    store = GameStore(str(tmp_path))
    seats = [("a", "b"), ("a", "broken"), ("broken", "slow"), ("slow", "a"), ("a", "b"), ("a", "b")]
    plan = [
        planned_game("nightly", number, first_agent=first, second_agent=second)
        for number, (first, second) in enumerate(seats)
    ]
    store.create_run("nightly", run_document())
    store.write_plan("nightly", plan)
    fit = {"a": (True, None), "b": (True, None), "broken": (False, "exit 1"), "slow": (True, "four void games")}
    store.write_agents("nightly", [agent_row(agent=name, fit=ok, reason=why) for name, (ok, why) in fit.items()])
    store.record("nightly", [void_record("nightly", 0), game_record("nightly", 4)])

    found = missing_games(store, summarise(store, "nightly"))

    assert {("agent unfit", "broken", 2), ("agent put off", "slow", 1), ("not begun", None, 1)} == {
        (gap.cause, gap.agent, gap.games) for gap in found
    }
