"""The store: runs, plans, agents, evaluations, standings and games, as kept and as anybody reads them."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import duckdb
import fsspec
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from test_store_schemas import (
    agent_row,
    evaluation_row,
    game_record,
    planned_game,
    record,
    run_document,
    standing,
    void_record,
)

from banzuke.errors import CorruptPartError, GameAlreadyRecordedError, StorageError, UnknownRunError
from banzuke.outcome import Status, Termination
from banzuke.record import GameRecord
from banzuke.specs import is_name
from storage.game_store import GameStore
from storage.layout import is_run_id
from storage.schemas import GAMES, to_rows, to_table

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HOSTILE_IDS = [
    "",
    ".",
    "..",
    "../elsewhere",
    "a/b",
    "/etc",
    "a\\b",
    "a--b",
    "-a",
    "_a",
    ".hidden",
    "a b",
    "a\n",
    "a\x00",
    "ä",
    "a" * 65,
    "a" * 10_000,
    "run=1",
    "s3://bucket",
    "*",
]


@pytest.fixture(params=["local", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[GameStore]:
    if request.param == "local":
        yield GameStore(str(tmp_path / "store"))
        return
    root = f"memory://{tmp_path.name}"
    yield GameStore(root)
    filesystem, path = fsspec.core.url_to_fs(root)
    if filesystem.exists(path):
        filesystem.rm(path, recursive=True)


@pytest.fixture
def local(tmp_path: Path) -> GameStore:
    return GameStore(str(tmp_path / "store"))


def parts(tmp_path: Path, run_id: str = "nightly") -> list[Path]:
    return sorted((tmp_path / "store" / "games" / run_id).glob("*.parquet"))


def recorded(store: GameStore, *run_ids: str) -> list[GameRecord]:
    rows = to_rows(store.games(run_ids or "nightly").table, GameRecord)
    return sorted(rows, key=lambda row: (row.run_id, row.game_no, row.attempt, row.attempt_id))


# Runs


def test_a_run_is_created_once(store: GameStore) -> None:
    """A run's document comes back as it was given; a second run of its name is refused and changes nothing."""
    document = run_document(spec={"name": "七番", "games": 20})
    store.create_run("nightly", document)

    with pytest.raises(GameAlreadyRecordedError, match=r"run\.json is already there"):
        store.create_run("nightly", {"created_at": "2026-05-02T12:00:00+00:00"})

    assert document == store.read_run("nightly")
    assert store.has_run("nightly")


def test_a_document_with_infinities_is_refused(store: GameStore) -> None:
    """What is no JSON is not written."""
    with pytest.raises(ValueError, match="not JSON compliant"):
        store.create_run("nightly", {"elo": float("inf")})

    assert store.run_ids() == []


def test_runs_are_listed_newest_first(store: GameStore) -> None:
    """The order is that of created_at, whatever its zone, then of the id; unreadable ages come last."""
    store.create_run("early", {"created_at": "2026-05-01T12:00:00+00:00"})
    store.create_run("late", {"created_at": "2026-05-01T09:00:00-05:00"})
    store.create_run("same-a", {"created_at": "2026-05-01T13:00:00+00:00"})
    store.create_run("same-b", {"created_at": "2026-05-01T13:00:00Z"})
    store.create_run("ancient", {"created_at": "0001-01-01T00:00:00+14:00"})
    store.create_run("ageless", {})
    store.create_run("confused", {"created_at": 7})

    assert store.run_ids()[:4] == ["late", "same-b", "same-a", "early"]
    assert {"ancient", "ageless", "confused"} == set(store.run_ids()[4:])


def test_only_runs_are_listed(local: GameStore, tmp_path: Path) -> None:
    """Folders without a document, with names no run can have, and stray files are no runs."""
    local.create_run("nightly", {"created_at": "2026-05-01T12:00:00+00:00"})
    for name in ("half-made", "a--b", ".hidden"):
        (tmp_path / "store" / "runs" / name).mkdir()
    (tmp_path / "store" / "runs" / "a--b" / "run.json").write_text("{}")
    (tmp_path / "store" / "runs" / "notes.txt").write_text("")

    assert local.run_ids() == ["nightly"]


@pytest.mark.parametrize("text", ["", "{", "[]", '"run"', "\x00", "[" * 100_000])
def test_a_damaged_document_is_reported(local: GameStore, tmp_path: Path, text: str) -> None:
    """A run.json that is no JSON object is an error naming the file, and the run is still listed."""
    local.create_run("nightly", {"created_at": "2026-05-01T12:00:00+00:00"})
    (tmp_path / "store/runs/nightly/run.json").write_text(text)

    with pytest.raises(CorruptPartError, match=r"store/runs/nightly/run\.json: ") as refusal:
        local.read_run("nightly")

    assert len(str(refusal.value).splitlines()) == 1
    assert local.run_ids() == ["nightly"]


def test_an_unknown_run_is_named_with_its_neighbours(store: GameStore) -> None:
    """The error says which names come near, or what is there."""
    with pytest.raises(UnknownRunError, match=r"no run nightly in .*: there is no run in it yet"):
        store.read_run("nightly")
    store.create_run("nightly-2", {"created_at": "2026-05-01T12:00:00+00:00"})
    with pytest.raises(UnknownRunError, match=r"no run nightly in .*: did you mean nightly-2\?"):
        store.read_run("nightly")
    with pytest.raises(UnknownRunError, match=r"no run xyz in .*: the newest is nightly-2"):
        store.read_run("xyz")


def test_everything_of_an_unknown_run_is_an_error(store: GameStore) -> None:
    """A run that is not there is never read as an empty one."""
    for read in (
        store.read_run,
        store.read_plan,
        store.plan_table,
        store.read_agents,
        store.read_evaluations,
        store.evaluations,
        store.read_standings,
        store.games,
    ):
        with pytest.raises(UnknownRunError):
            read("nowhere")
    with pytest.raises(UnknownRunError):
        store.games([])


@pytest.mark.parametrize("run_id", HOSTILE_IDS)
def test_hostile_run_ids_reach_no_path(tmp_path: Path, run_id: str) -> None:
    """A run id that could lead elsewhere is refused by everything that takes one, and nothing is written."""
    store = GameStore(str(tmp_path / "store"))
    calls = [
        lambda: store.create_run(run_id, {}),
        lambda: store.read_run(run_id),
        lambda: store.has_run(run_id),
        lambda: store.write_plan(run_id, [planned_game(run_id)]),
        lambda: store.has_plan(run_id),
        lambda: store.read_plan(run_id),
        lambda: store.write_agents(run_id, [agent_row(run_id)]),
        lambda: store.read_agents(run_id),
        lambda: store.write_evaluations(run_id, [evaluation_row(run_id)]),
        lambda: store.read_evaluations(run_id),
        lambda: store.write_standings(run_id, [standing(run_id)]),
        lambda: store.read_standings(run_id),
        lambda: store.record(run_id, [game_record(run_id)]),
        lambda: store.games(run_id),
        lambda: store.compact(run_id),
        lambda: store.raced(run_id),
        lambda: store.damaged(run_id),
        lambda: store.sweep(run_id),
        lambda: store.playing(run_id).__enter__(),
    ]

    for call in calls:
        with pytest.raises(StorageError, match="cannot name a run") as refusal:
            call()
        assert len(str(refusal.value).splitlines()) == 1
        assert len(str(refusal.value)) < 250
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", [*HOSTILE_IDS, "a", "A-1", "0.9_rc-1", "a.", "a-", "a" * 64])
def test_runs_and_specs_agree_on_names(text: str) -> None:
    """What the spec accepts as a name, and only that, may name a run here."""
    assert is_name(text) == is_run_id(text)


# Datasets of one file


def test_a_plan_is_written_once_and_keeps_its_order(store: GameStore) -> None:
    """The plan comes back in its order; it cannot be written twice."""
    plan = [planned_game(game_no=game_no) for game_no in (3, 1, 2, 0)]
    store.create_run("nightly", {})
    store.write_plan("nightly", plan)

    with pytest.raises(GameAlreadyRecordedError):
        store.write_plan("nightly", plan[:1])

    assert plan == store.read_plan("nightly")
    assert store.plan_table("nightly", ["game_id"]).column_names == ["game_id"]
    assert store.has_plan("nightly")


def test_a_plan_may_grow_by_steps(store: GameStore) -> None:
    """Each is written once, and the plan is all of them in their order, whatever their game numbers."""
    store.create_run("nightly", {})
    assert 0 == store.plan_steps("nightly")
    steps = [[planned_game(game_no=game_no) for game_no in numbers] for numbers in ((2, 3), (5, 4), (0, 1))]
    for number, step in enumerate(steps, start=1):
        store.write_plan("nightly", step, step=number)

    with pytest.raises(GameAlreadyRecordedError):
        store.write_plan("nightly", steps[0], step=2)

    assert 3 == store.plan_steps("nightly")
    assert [game for step in steps for game in step] == store.read_plan("nightly")
    assert [2, 3, 5, 4, 0, 1] == store.plan_table("nightly", ["game_no"])["game_no"].to_pylist()


def test_a_step_that_is_gone_or_damaged_is_an_error(local: GameStore, tmp_path: Path) -> None:
    """A plan with a hole is no plan: game numbers would be given out twice."""
    folder = tmp_path / "store/plans/nightly"
    local.create_run("nightly", run_document("nightly"))
    for number in (1, 2, 3):
        local.write_plan("nightly", [planned_game(game_no=number)], step=number)
    kept = (folder / "plan-00002.parquet").read_bytes()

    (folder / "plan-00002.parquet").write_bytes(kept[:-9])
    with pytest.raises(CorruptPartError, match=r"plan-00002\.parquet: .*move it and the later steps of the plan away"):
        local.read_plan("nightly")
    assert ["plan-00002.parquet"] == [part.path.rpartition("/")[2] for part in local.damaged("nightly")]

    (folder / "plan-00002.parquet").unlink()
    with pytest.raises(CorruptPartError, match=r"plan-00002\.parquet: it is gone, and later steps are there"):
        local.read_plan("nightly")


def test_a_run_without_its_plan_says_what_to_do(store: GameStore) -> None:
    """A run that was interrupted before its plan was written is reported as such."""
    store.create_run("nightly", {})

    assert not store.has_plan("nightly")
    with pytest.raises(StorageError, match=r"run nightly has no plan .*run its spec again under the same id"):
        store.read_plan("nightly")


def test_agents_and_standings_are_replaced(store: GameStore) -> None:
    """What is known of agents and standings takes the place of what was known before."""
    store.create_run("nightly", {})
    assert (store.read_agents("nightly"), store.read_standings("nightly")) == ([], [])
    for fit in (None, True):
        store.write_agents("nightly", [agent_row(fit=fit), agent_row(agent="random", fit=True)])
        store.write_standings("nightly", [standing(rated=bool(fit))])

    assert [agent_row(fit=True), agent_row(agent="random", fit=True)] == store.read_agents("nightly")
    assert [standing(rated=True)] == store.read_standings("nightly")


def test_evaluations_are_added(store: GameStore) -> None:
    """Every call adds rows, in their order; no rows make no file."""
    store.create_run("nightly", {})
    store.write_evaluations("nightly", [])
    assert store.read_evaluations("nightly") == []
    store.write_evaluations("nightly", [evaluation_row(position_id="1"), evaluation_row(position_id="2")])
    store.write_evaluations("nightly", [evaluation_row(position_id="3")])

    assert [row.position_id for row in store.read_evaluations("nightly")] == ["1", "2", "3"]
    assert store.evaluations("nightly").damaged == ()


def test_a_damaged_single_file_is_an_error(local: GameStore, tmp_path: Path) -> None:
    """A plan, agents or standings that cannot be read are an error that names the file."""
    local.create_run("nightly", {})
    local.write_plan("nightly", [planned_game()])
    local.write_agents("nightly", [agent_row()])
    (tmp_path / "store/plans/nightly/plan.parquet").write_bytes(b"no Parquet at all")
    (tmp_path / "store/agents/nightly/agents.parquet").write_bytes(b"")

    with pytest.raises(CorruptPartError, match=r"store/plans/nightly/plan\.parquet: "):
        local.read_plan("nightly")
    with pytest.raises(CorruptPartError, match=r"store/agents/nightly/agents\.parquet: "):
        local.read_agents("nightly")


def test_a_file_of_another_run_is_an_error(local: GameStore, tmp_path: Path) -> None:
    """A plan that was copied from another run is not taken for this one's."""
    local.create_run("nightly", {})
    local.create_run("other", {})
    local.write_plan("other", [planned_game("other")])
    (tmp_path / "store/plans/other").rename(tmp_path / "store/plans/nightly")

    with pytest.raises(CorruptPartError, match="it holds rows of another run, 'other'"):
        local.read_plan("nightly")


def test_rows_of_another_run_are_refused(store: GameStore) -> None:
    """Rows are kept in their own run only."""
    with pytest.raises(StorageError, match="rows of run 'other' cannot be kept in run nightly"):
        record(store, "nightly", [game_record("nightly"), game_record("other")])
    with pytest.raises(StorageError, match="rows of run 'other' cannot be kept in run nightly"):
        store.write_plan("nightly", [planned_game("other")])


# Games


def test_what_was_recorded_is_read(store: GameStore) -> None:
    """Attempts come back as they were, from as many files as there were calls."""
    records = [game_record(game_no=0), void_record(game_no=1), game_record(game_no=1, attempt=2)]
    record(store, "nightly", records[:1])
    record(store, "nightly", records[1:])
    record(store, "nightly", [])

    assert records == recorded(store)
    assert store.games("nightly").table.schema == GAMES
    assert store.games("nightly").damaged == ()


def test_a_run_without_games_has_an_empty_table(store: GameStore) -> None:
    """Before the first game there are no rows, in all the columns."""
    store.create_run("nightly", {})

    assert GAMES.empty_table() == store.games("nightly").table
    assert store.games("nightly", ["moves", "winner"]).table.column_names == ["moves", "winner"]


def test_columns_are_read_in_the_order_asked_for(store: GameStore) -> None:
    """Only the columns asked for are returned; an unknown one is an error."""
    record(store, "nightly", [game_record()])

    assert store.games("nightly", ["winner", "plies"]).table.to_pydict() == {"winner": ["first"], "plies": [4]}
    with pytest.raises(StorageError, match="no such column: colour"):
        store.games("nightly", ["colour"])


def test_several_runs_are_read_together(store: GameStore) -> None:
    """Games of several runs are read into one table, a run named twice once."""
    record(store, "a", [game_record("a")])
    record(store, "b", [game_record("b")])

    assert [game_record("a"), game_record("b")] == recorded(store, "a", "b", "a")


def test_an_attempt_is_recorded_once(store: GameStore) -> None:
    """Recording the same attempts again is an error and adds nothing."""
    record(store, "nightly", [game_record(game_no=0), game_record(game_no=1)])

    with pytest.raises(GameAlreadyRecordedError):
        record(store, "nightly", [game_record(game_no=1), game_record(game_no=0)])
    with pytest.raises(StorageError, match="twice in one call"):
        record(store, "nightly", [game_record(game_no=2), game_record(game_no=2)])

    assert [game_record(game_no=0), game_record(game_no=1)] == recorded(store)


def test_an_attempt_in_two_files_is_read_once(store: GameStore) -> None:
    """Rows that stand in two files, as after an interrupted compaction, are one attempt."""
    record(store, "nightly", [game_record(game_no=0), game_record(game_no=1)])
    record(store, "nightly", [game_record(game_no=1), game_record(game_no=2)])

    assert [row.game_no for row in recorded(store)] == [0, 1, 2]
    assert store.games("nightly", ["plies"]).table["plies"].to_pylist() == [4, 4, 4]


def test_a_crash_cannot_be_recorded_as_played(store: GameStore) -> None:
    """A status that is not its termination's is refused: no error is a result."""
    with pytest.raises(StorageError, match="agent_crash is void, not played"):
        store.record("nightly", [game_record(termination=Termination.AGENT_CRASH)])
    with pytest.raises(StorageError, match="checkmate is played, not void"):
        store.record("nightly", [game_record(status=Status.VOID)])

    with pytest.raises(UnknownRunError):
        store.games("nightly")


def test_many_threads_record_at_once(store: GameStore) -> None:
    """Writers never share a file: what any of them recorded is there."""
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda game_no: record(store, "nightly", [game_record(game_no=game_no)]), range(40)))

    assert list(range(40)) == [row.game_no for row in recorded(store)]


def test_a_part_has_exactly_the_contracts_schema(local: GameStore, tmp_path: Path) -> None:
    """Every file, however small, has the full schema with its types."""
    record(local, "nightly", [void_record(evals=None)])
    [part] = parts(tmp_path)

    assert pq.read_schema(part) == GAMES


# Damage


def spoil(table: pa.Table, column: str, value: object, kind: pa.DataType | None = None) -> pa.Table:
    """The table with one column all ``value``."""
    spoilt = pa.array([value] * table.num_rows, kind or table.schema.field(column).type)
    return table.set_column(table.column_names.index(column), column, spoilt)


def one_row(**changes: object) -> pa.Table:
    return to_table([game_record(game_no=9, **changes)], GameRecord)


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        pytest.param(one_row().drop_columns(["seed"]), "column seed is missing", id="missing"),
        pytest.param(pa.table({"hello": ["world"]}), "column run_id is missing", id="other"),
        pytest.param(spoil(one_row(), "seed", 1.5, pa.float64()), "column seed is double, expected int64", id="type"),
        pytest.param(
            spoil(one_row(), "started_at", 5, pa.timestamp("us")),
            "column started_at is timestamp[us], expected timestamp[us, tz=UTC]",
            id="zone",
        ),
        pytest.param(spoil(one_row(), "moves", "7g7f", pa.string()), "column moves is string", id="list"),
        pytest.param(spoil(one_row(), "host", None), "'host'", id="null"),
        pytest.param(one_row(run_id="other"), "it holds rows of another run, 'other'", id="run"),
        pytest.param(spoil(one_row(), "status", "won"), "column status says 'won'", id="status"),
        pytest.param(spoil(one_row(), "winner", "sente"), "column winner says 'sente'", id="winner"),
        pytest.param(spoil(one_row(), "fault", "\n"), "column fault says '\\n'", id="fault"),
        pytest.param(
            spoil(one_row(), "host", pa.scalar(b"\xff\xfe").cast(pa.string(), safe=False)),
            "UTF8",
            id="no-text",
        ),
    ],
)
def test_a_part_with_the_wrong_contents_is_left_out(
    local: GameStore, tmp_path: Path, table: pa.Table, reason: str
) -> None:
    """A file that is no games of this run is reported with its path and why; the rest is read."""
    record(local, "nightly", [game_record(game_no=1)])
    wrong = tmp_path / "store/games/nightly/part-wrong.parquet"
    pq.write_table(table, wrong)

    scanned = local.games("nightly")

    assert [game_record(game_no=1)] == to_rows(scanned.table, GameRecord)
    [damaged] = scanned.damaged
    assert str(wrong) == damaged.path
    assert reason in damaged.reason
    assert str(wrong) not in damaged.reason
    assert len(damaged.reason.splitlines()) == 1


def test_further_columns_are_welcome(local: GameStore, tmp_path: Path) -> None:
    """A file of a later version, with more columns, is read for the columns known here."""
    record(local, "nightly", [game_record(game_no=1)])
    later = to_table([game_record(game_no=2)], GameRecord).append_column("opening_eval", pa.array([17]))
    pq.write_table(later, tmp_path / "store/games/nightly/part-later.parquet")

    assert [game_record(game_no=1), game_record(game_no=2)] == recorded(local)
    assert local.games("nightly").damaged == ()


def test_other_files_in_the_folder_are_ignored(local: GameStore, tmp_path: Path) -> None:
    """Temporary files, notes and folders are no parts."""
    record(local, "nightly", [game_record()])
    folder = tmp_path / "store/games/nightly"
    (folder / ".tmp-elsewhere-1-1-0123456789abcdef").write_bytes(b"half")
    (folder / ".part.parquet").write_bytes(b"half")
    (folder / "README.txt").write_text("mine")
    (folder / "sub.parquet").mkdir()

    assert [game_record()] == recorded(local)
    assert local.games("nightly").damaged == ()


def test_no_flipped_or_missing_byte_passes_for_a_result(local: GameStore, tmp_path: Path) -> None:
    """Wherever a part is damaged, it is either reported or reads exactly as it was written."""
    record(local, "nightly", [game_record()])
    [part] = parts(tmp_path)
    whole = part.read_bytes()
    chance = random.Random(20260501)
    reported = 0

    for trial in range(300):
        damaged = bytearray(whole)
        if trial % 3 == 0:
            del damaged[chance.randrange(len(whole)) :]
        elif trial % 3 == 1:
            damaged[chance.randrange(len(whole))] ^= 1 << chance.randrange(8)
        else:
            start = chance.randrange(len(whole))
            damaged[start : start + 16] = chance.randbytes(16)
        part.write_bytes(damaged)
        scanned = local.games("nightly", ["moves", "winner", "status", "attempt", "plies", "game_id"])
        if scanned.damaged:
            reported += 1
            assert scanned.table.num_rows == 0
            assert len(scanned.damaged[0].reason.splitlines()) == 1
        else:
            assert [
                {
                    "moves": list(game_record().moves),
                    "winner": "first",
                    "status": "played",
                    "attempt": 1,
                    "plies": 4,
                    "game_id": game_record().game_id,
                }
            ] == scanned.table.to_pylist()

    assert reported > 100


# Anybody's tools


def filled(store: GameStore) -> None:
    for run_id in ("nightly", "weekly"):
        store.create_run(run_id, {"created_at": datetime(2026, 5, 1, tzinfo=UTC).isoformat()})
        record(store, run_id, [void_record(run_id, 0)])
        record(store, run_id, [game_record(run_id, 0, attempt=2), game_record(run_id, 1)])
        store.compact(run_id)
        record(store, run_id, [game_record(run_id, 2, evals=None)])


def test_pandas_reads_the_games_in_one_line(local: GameStore, tmp_path: Path) -> None:
    """``pandas.read_parquet`` on the dataset's directory sees every attempt of every run once."""
    filled(local)
    (tmp_path / "store/games/nightly/.tmp-elsewhere-1-1-0123456789abcdef").write_bytes(b"half")

    games = pd.read_parquet(tmp_path / "store" / "games")

    assert GAMES.names == list(games.columns)
    assert len(games) == 8
    assert games[games["status"] != "void"].groupby("run_id").size().to_dict() == {"nightly": 3, "weekly": 3}
    assert games[games["status"] != "void"]["game_id"].is_unique
    assert str(games["started_at"].dtype) == "datetime64[us, UTC]"
    assert list(games["moves"].iloc[0]) == ["7g7f", "3c3d", "8h2b+", "5a6b"]


def test_duckdb_reads_the_games_in_one_line(local: GameStore, tmp_path: Path) -> None:
    """DuckDB's glob, which also matches names that start with a dot, sees every attempt once."""
    filled(local)
    (tmp_path / "store/games/nightly/.tmp-elsewhere-1-1-0123456789abcdef").write_bytes(b"half")
    query = f"""
        select run_id, count(distinct game_id), count(*), sum(len(moves))
        from '{tmp_path}/store/games/*/*.parquet' where status <> 'void' group by run_id order by run_id
    """  # noqa: S608 - a folder made by this test

    with duckdb.connect() as connection:
        found = connection.sql(query).fetchall()

    assert found == [("nightly", 3, 3, 12), ("weekly", 3, 3, 12)]


def test_pyarrow_reads_every_dataset(local: GameStore, tmp_path: Path) -> None:
    """A plain dataset scan of each directory gives its rows."""
    filled(local)
    local.write_plan("nightly", [planned_game()])
    local.write_agents("nightly", [agent_row()])
    local.write_evaluations("nightly", [evaluation_row()])
    local.write_standings("nightly", [standing()])

    counts = {
        name: pq.read_table(tmp_path / "store" / name).num_rows
        for name in ("games", "plans", "agents", "evaluations", "standings")
    }

    assert counts == {"games": 8, "plans": 1, "agents": 1, "evaluations": 1, "standings": 1}
