"""Questions to a store in SQL, against answers that are counted by hand."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_store_schemas import game_record, planned_game, record, run_document, void_record

from banzuke.errors import GameAlreadyRecordedError, SpecError, StorageError, UnknownRunError
from banzuke.outcome import Side, Status, Termination
from banzuke.record import GameRecord
from storage import queries
from storage.atomic import open_files
from storage.game_store import GameStore
from storage.queries import DATASETS, VIEWS, connect, read_pandas, read_polars
from storage.recorded import counting_games_of
from storage.repeats import recorded_files, repeated_games
from storage.schemas import to_table

DRAW = {"winner": None, "termination": Termination.REPETITION}
SECOND_WINS = {"winner": Side.SECOND}


@pytest.fixture
def store(tmp_path: Path) -> str:
    """Two runs: a pair that was won by the first side both times, and half of a pair with a void attempt before it."""
    uri = str(tmp_path / "store")
    games = GameStore(uri)
    for run_id in ("one", "two"):
        games.create_run(run_id, run_document(run_id))
        games.write_plan(run_id, [planned_game(run_id, number) for number in range(4)])
    record(games, "one", [game_record("one", 0), game_record("one", 1)])
    record(games, "one", [void_record("one", 2), game_record("one", 2, 2, **DRAW)])
    record(games, "two", [game_record("two", 0, **SECOND_WINS)])
    return uri


def test_every_view_can_be_asked(store: str) -> None:
    """Also of a store whose only run has no game, and each has the columns that are described."""
    GameStore(f"{store}-empty").create_run("one", run_document("one"))
    for uri in (store, f"{store}-empty"):
        database = connect(uri)
        for name in DATASETS:
            assert database.view(name).columns == DATASETS[name][1].names
        for name, view in VIEWS.items():
            assert set(view.columns) <= set(database.view(name).columns)


def test_results_are_the_counting_rows(store: str) -> None:
    """As the ledger has them, a race included; of games that were void first the later attempt."""
    first = game_record("one", 0)
    late = game_record("one", 0, attempt_id="late", started_at=first.started_at + timedelta(days=1), **DRAW)
    GameStore(store).record("one", [late])

    found = connect(store).sql("select attempt_id from results where run_id = 'one' order by game_no").fetchall()

    assert [game.attempt_id for game in counting_games_of(GameStore(store), "one")] == [row[0] for row in found]


def test_pairs_encounters_and_openings_say_what_was_played(store: str) -> None:
    """One whole pair, in which the side decided; the half pair is no pair, and counts in the encounter."""
    database = connect(store, ["one"])

    assert [("material-2", "random", 1.0)] == database.sql("select agent, opponent, points from pairs").fetchall()
    encounter = database.sql(
        "select games, wins, draws, losses, score_as_first from encounters where agent = 'material-2'"
    ).fetchall()
    assert [(3, 1, 1, 1, 0.75)] == encounter
    assert [(3, 1, 1)] == database.sql("select sum(games), sum(pairs), sum(one_sided) from openings").fetchall()


def test_moves_are_the_games_move_by_move(store: str) -> None:
    """In order, with times and scores beside them."""
    (game,) = counting_games_of(GameStore(store), "two")

    rows = connect(store, ["two"]).sql("select side, move, time_ms, eval_cp from moves order by ply").fetchall()

    evals = game.evals or (None,) * game.plies
    sides = [Side.FIRST, Side.SECOND] * game.plies
    assert list(zip(sides, game.moves, game.move_times_ms, evals, strict=False)) == rows


def test_frames_are_what_was_asked_for(store: str) -> None:
    """Columns, rows and runs; what does not exist is said in a line."""
    frame = read_pandas(store, "seats", columns=["agent", "score"], where="side = 'first'", run_ids=["tw*"])

    assert (["agent", "score"], 1) == (list(frame.columns), len(frame))
    likewise = read_polars(store, "seats", columns=["agent", "score"], where="side = 'first'", run_ids=["two"])
    assert frame.to_dict("records") == likewise.to_dicts()
    with pytest.raises(SpecError, match="there is no view 'nothing'; there are games"):
        read_pandas(store, "nothing")
    with pytest.raises(SpecError, match="nobody"):
        read_pandas(store, where="nobody = 1")
    with pytest.raises(SpecError, match="nobody"):
        read_pandas(store, columns=["nobody"])
    for condition in ("'x'", "moves[1]::int = 1", "where"):
        with pytest.raises(SpecError, match="results"):
            read_pandas(store, where=condition)
    with pytest.raises(SpecError, match="no column ''"):
        read_polars(store, columns=[""])
    with pytest.raises(UnknownRunError, match=r"no run in .* is called three"):
        connect(store, ["one", "three"])
    assert {"one"} == set(read_pandas(store, columns=["run_id"], run_ids="one").run_id)


def test_a_compaction_in_between_is_not_noticed(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that were there when the store was looked at are gone when they are read: it is looked at again."""
    GameStore(store).record("one", [game_record("one", 3)])
    wanted, looked = queries._wanted, []

    def late(*arguments: Any) -> Any:
        if not looked:
            GameStore(store).compact("one")
        looked.append(arguments)
        return wanted(*arguments)

    monkeypatch.setattr(queries, "_wanted", late)

    assert 5 == len(read_pandas(store, columns=["game_no"]))
    assert 2 == len(looked)


def test_a_damaged_file_is_in_nobodys_way_who_asks_for_something_else(store: str) -> None:
    """Of the derived standings it is named by whoever reads them; of the games by everybody."""
    standings = Path(store) / "standings" / "one" / "standings.parquet"
    standings.parent.mkdir(parents=True)
    standings.write_text("x")

    assert 4 == len(read_pandas(store, columns=["game_no"]))
    for read in (read_pandas, read_polars):
        with pytest.raises(StorageError, match=r"standings\.parquet"):
            read(store, "standings")
    with pytest.raises(duckdb.Error, match=r"standings\.parquet"):
        connect(store).sql("select count(*) from standings").fetchall()
    (part, *_) = files_of(store, "one")
    part.write_bytes(part.read_bytes()[:-60] + b"?" * 60)
    with pytest.raises(StorageError, match=part.name):
        read_pandas(store)


def test_voids_name_the_culprit(store: str) -> None:
    """By the name that it has in the run."""
    (row,) = connect(store).sql("select status, fault, culprit, first_agent, second_agent from voids").fetchall()

    assert Status.VOID == row[0]
    assert row[2] == {"first": row[3], "second": row[4], None: None}[row[1]]


# What is there more than once


def files_of(uri: str, run_id: str) -> dict[Path, bytes]:
    """What the run's games are in."""
    return {path: path.read_bytes() for path in (Path(uri) / "games" / run_id).iterdir()}


def leave_behind(uri: str, run_id: str) -> None:
    """Compact the run, and bring back every part that was merged, as if that had been interrupted."""
    parts = files_of(uri, run_id)
    GameStore(uri).compact(run_id)
    for path, payload in parts.items():
        path.write_bytes(payload)


def attempts(uri: str, view: str, run_id: str) -> list[str]:
    rows = connect(uri, [run_id]).sql(f"select attempt_id from {view} order by all").fetchall()  # noqa: S608 - own words
    return [attempt_id for (attempt_id,) in rows]


def test_an_interrupted_compaction_changes_no_answer(store: str) -> None:
    """Rows that are in a part and in the merged file are there once: attempts, results and void attempts."""
    record(GameStore(store), "one", [void_record("one", 3)])
    before = {view: attempts(store, view, "one") for view in ("games", "results", "voids")}
    leave_behind(store, "one")

    assert before == {view: attempts(store, view, "one") for view in ("games", "results", "voids")}
    assert (5, 3, 2) == tuple(map(len, before.values()))


@settings(max_examples=15, deadline=None)
@given(
    parts=st.lists(
        st.lists(
            st.tuples(st.integers(0, 5), st.integers(1, 3), st.sampled_from("ab"), st.booleans()),
            min_size=1,
            max_size=4,
            unique_by=lambda row: row[:3],
        ),
        min_size=1,
        max_size=6,
    ),
    acts=st.lists(st.sampled_from(["nothing", "compact", "leave parts behind"]), min_size=6, max_size=6),
    rows_of_a_full_file=st.sampled_from([2, 100]),
)
def test_whatever_happened_results_are_those_of_the_ledger(
    tmp_path_factory: pytest.TempPathFactory,
    parts: list[list[tuple[int, int, str, bool]]],
    acts: list[str],
    rows_of_a_full_file: int,
) -> None:
    """Attempts recorded in any order, raced or not, compacted in between, wholly or in part: each game counts once."""
    uri = str(tmp_path_factory.mktemp("store"))
    games = GameStore(uri)
    games.create_run("r", run_document("r"))
    games.write_plan("r", [planned_game("r", number) for number in range(6)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("storage.compaction.FULL_FILE_ROWS", rows_of_a_full_file)
        for part, act in zip(parts, acts, strict=False):
            # Attempts of a letter have the same ids wherever they are recorded, and begin at the same moment.
            rows = [
                (game_record if has_result else void_record)(
                    "r", number, attempt, attempt_id=f"r-{number}-{attempt}-{letter}{has_result}"
                )
                for number, attempt, letter, has_result in part
            ]
            with suppress(GameAlreadyRecordedError):
                games.record("r", rows)
            if act == "compact":
                games.compact("r")
            elif act == "leave parts behind":
                leave_behind(uri, "r")
    scanned = games.games("r").table

    found = connect(uri)

    counting = [(row.game_no, row.attempt_id) for row in counting_games_of(games, "r")]
    assert sorted(scanned["attempt_id"].to_pylist()) == attempts(uri, "games", "r")
    assert counting == found.sql("select game_no, attempt_id from results order by game_no").fetchall()


def test_rows_of_other_games_are_not_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a compacted run nothing but the ends of its files is read before a question; of a race, what may be in it."""
    uri = str(tmp_path / "store")
    monkeypatch.setattr("storage.compaction.FULL_FILE_ROWS", 200)
    for start in range(0, 600, 200):
        record(GameStore(uri), "r", [game_record("r", number) for number in range(start, start + 200)])
    record(GameStore(uri), "r", [game_record("r", 600)])
    GameStore(uri).compact("r")
    GameStore(uri).compact("r")
    files = open_files(uri)

    at_rest = repeated_games(files, recorded_files(files, ["r"]))
    record(GameStore(uri), "r", [game_record("r", number, 2) for number in range(199, 400, 200)])
    (raced,) = repeated_games(files, recorded_files(files, ["r"]))

    assert [] == at_rest
    assert ([199, 399], 3) == (raced.numbers.tolist(), len(raced.names))
    assert [(601, 601)] == connect(uri).sql("select count(*), count(distinct game_no) from results").fetchall()


def test_columns_of_a_later_version_can_be_asked_for(store: str) -> None:
    """They are null in the rows of files without them."""
    row = to_table([game_record("one", 3)], GameRecord).append_column("opening_eval", pa.array([17]))
    pq.write_table(row, Path(store) / "games" / "one" / "part-later.parquet")

    found = connect(store, ["one"]).sql("select game_no, opening_eval from results order by game_no").fetchall()

    assert [(0, None), (1, None), (2, None), (3, 17)] == found
