"""The datasets' columns, and rows as values to and from Arrow. Other tests of the store take their rows from here."""

from __future__ import annotations

import dataclasses
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

from banzuke.errors import CorruptPartError, GameAlreadyRecordedError, StorageError
from banzuke.outcome import Side, Status, Termination
from banzuke.record import AgentRow, EvaluationRow, GameRecord, PlannedGame, Standing
from storage.schemas import AGENTS, EVALUATIONS, GAMES, PLAN, SCHEMA_OF, STANDINGS, to_rows, to_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from storage.game_store import GameStore

NOON = datetime(2026, 5, 1, 12, 0, 0, 123456, tzinfo=UTC)


def run_document(run_id: str = "nightly", **changes: object) -> dict[str, object]:
    """What every run has said of itself."""
    whole = {"run_id": run_id, "created_at": NOON.isoformat(), "spec": {"name": "nightly"}, "fingerprint": "f" * 64}
    return {**whole, **changes}


def record(store: GameStore, run_id: str, records: Sequence[GameRecord]) -> None:
    """Record the attempts in a run that is begun if need be."""
    if not store.has_run(run_id):
        with suppress(GameAlreadyRecordedError):
            store.create_run(run_id, run_document(run_id))
    store.record(run_id, records)


def planned_game(run_id: str = "nightly", game_no: int = 0, **changes: object) -> PlannedGame:
    game = PlannedGame(
        run_id=run_id,
        game_id=f"{run_id}-g{game_no:06d}",
        pair_id=f"{run_id}-p{game_no // 2:06d}",
        game_no=game_no,
        pair_no=game_no // 2,
        encounter="material-2--random",
        round=game_no // 2,
        slot=game_no % 2,
        game="shogi",
        rules="csa",
        first_agent=("material-2", "random")[game_no % 2],
        second_agent=("random", "material-2")[game_no % 2],
        first_agent_id=("m" * 64, "r" * 64)[game_no % 2],
        second_agent_id=("r" * 64, "m" * 64)[game_no % 2],
        opening_id=f"opening-{game_no // 2}",
        start_position="lnsgkgsnl/1r5b1/ppppppppp/9/9/9/PPPPPPPPP/1B5R1/LNSGKGSNL b -",
        opening_plies=2,
        seed=2**62 + game_no,
        opening_moves=("7g7f", "3c3d"),
    )
    return dataclasses.replace(game, **changes)


def game_record(run_id: str = "nightly", game_no: int = 0, attempt: int = 1, **changes: object) -> GameRecord:
    """A game won by the first side."""
    game = planned_game(run_id, game_no)
    shared = {field.name: getattr(game, field.name) for field in dataclasses.fields(game)}
    del shared["opening_moves"]
    started_at = NOON + timedelta(seconds=60 * game_no + attempt)
    record = GameRecord(
        **shared,
        attempt=attempt,
        attempt_id=f"{game.game_id}-{attempt}",
        status=Status.PLAYED,
        termination=Termination.CHECKMATE,
        winner=Side.FIRST,
        fault=None,
        detail=None,
        plies=4,
        moves=("7g7f", "3c3d", "8h2b+", "5a6b"),
        move_times_ms=(0, 0, 12, 7),
        evals=(None, None, 250, None),
        first_time_ms=12,
        second_time_ms=7,
        first_max_move_ms=12,
        second_max_move_ms=7,
        started_at=started_at,
        finished_at=started_at + timedelta(seconds=1),
        host="kyoto",
        device="cpu",
        worker_pid=4711,
        flow_run_id=None,
        task_run_id=None,
        banzuke_version="0.1.0",
        schema_version=1,
    )
    return dataclasses.replace(record, **changes)


def void_record(run_id: str = "nightly", game_no: int = 0, attempt: int = 1, **changes: object) -> GameRecord:
    """An attempt that ended because the second side's agent crashed."""
    void = {
        "status": Status.VOID,
        "termination": Termination.AGENT_CRASH,
        "winner": None,
        "fault": Side.SECOND,
        "detail": "exit code 3: out of ideas",
    }
    return game_record(run_id, game_no, attempt, **{**void, **changes})


def agent_row(run_id: str = "nightly", **changes: object) -> AgentRow:
    row = AgentRow(
        run_id=run_id,
        agent="epoch-10",
        agent_id="e" * 64,
        kind="checkpoint",
        fit=None,
        reason=None,
        sha256="5" * 64,
        epoch=10,
        step=12_345_678_901,
        description=None,
    )
    return dataclasses.replace(row, **changes)


def evaluation_row(run_id: str = "nightly", **changes: object) -> EvaluationRow:
    row = EvaluationRow(
        run_id=run_id,
        agent="epoch-10",
        agent_id="e" * 64,
        probe="suite",
        position_id="mate-1",
        position="4k4/9/4P4/9/9/9/9/9/4K4 b G 1",
        expected="G*5b",
        answer=None,
        passed=False,
        status="timeout",
        time_ms=2000,
        detail="no answer in 2 s",
    )
    return dataclasses.replace(row, **changes)


def standing(run_id: str = "nightly", **changes: object) -> Standing:
    row = Standing(
        run_id=run_id,
        rank=1,
        agent="epoch-10",
        agent_id="e" * 64,
        elo=123.5,
        elo_low=100.25,
        elo_high=None,
        games=40,
        wins=30,
        draws=4,
        losses=6,
        score=0.8,
        forfeits=1,
        voids=2,
        los_next=None,
        rated=True,
        reason=None,
        computed_at=NOON,
    )
    return dataclasses.replace(row, **changes)


TEXT, INT32, INT64, REAL, TRUTH = pa.string(), pa.int32(), pa.int64(), pa.float64(), pa.bool_()
WORDS, NUMBERS, TIME = pa.list_(pa.string()), pa.list_(pa.int32()), pa.timestamp("us", tz="UTC")
ALWAYS, MAYBE = False, True

GAMES_COLUMNS = [
    ("run_id", TEXT, ALWAYS),
    ("game_id", TEXT, ALWAYS),
    ("pair_id", TEXT, ALWAYS),
    ("game_no", INT64, ALWAYS),
    ("pair_no", INT64, ALWAYS),
    ("encounter", TEXT, ALWAYS),
    ("round", INT32, ALWAYS),
    ("slot", INT32, ALWAYS),
    ("attempt", INT32, ALWAYS),
    ("attempt_id", TEXT, ALWAYS),
    ("game", TEXT, ALWAYS),
    ("rules", TEXT, ALWAYS),
    ("first_agent", TEXT, ALWAYS),
    ("second_agent", TEXT, ALWAYS),
    ("first_agent_id", TEXT, ALWAYS),
    ("second_agent_id", TEXT, ALWAYS),
    ("opening_id", TEXT, ALWAYS),
    ("start_position", TEXT, ALWAYS),
    ("opening_plies", INT32, ALWAYS),
    ("seed", INT64, ALWAYS),
    ("status", TEXT, ALWAYS),
    ("termination", TEXT, ALWAYS),
    ("winner", TEXT, MAYBE),
    ("fault", TEXT, MAYBE),
    ("detail", TEXT, MAYBE),
    ("plies", INT32, ALWAYS),
    ("moves", WORDS, ALWAYS),
    ("move_times_ms", NUMBERS, ALWAYS),
    ("evals", NUMBERS, MAYBE),
    ("first_time_ms", INT64, ALWAYS),
    ("second_time_ms", INT64, ALWAYS),
    ("first_max_move_ms", INT64, ALWAYS),
    ("second_max_move_ms", INT64, ALWAYS),
    ("started_at", TIME, ALWAYS),
    ("finished_at", TIME, ALWAYS),
    ("host", TEXT, ALWAYS),
    ("device", TEXT, ALWAYS),
    ("worker_pid", INT32, ALWAYS),
    ("flow_run_id", TEXT, MAYBE),
    ("task_run_id", TEXT, MAYBE),
    ("banzuke_version", TEXT, ALWAYS),
    ("schema_version", INT32, ALWAYS),
]

PLAN_COLUMNS = [
    ("run_id", TEXT, ALWAYS),
    ("game_id", TEXT, ALWAYS),
    ("pair_id", TEXT, ALWAYS),
    ("game_no", INT64, ALWAYS),
    ("pair_no", INT64, ALWAYS),
    ("encounter", TEXT, ALWAYS),
    ("round", INT32, ALWAYS),
    ("slot", INT32, ALWAYS),
    ("game", TEXT, ALWAYS),
    ("rules", TEXT, ALWAYS),
    ("first_agent", TEXT, ALWAYS),
    ("second_agent", TEXT, ALWAYS),
    ("first_agent_id", TEXT, ALWAYS),
    ("second_agent_id", TEXT, ALWAYS),
    ("opening_id", TEXT, ALWAYS),
    ("start_position", TEXT, ALWAYS),
    ("opening_plies", INT32, ALWAYS),
    ("seed", INT64, ALWAYS),
    ("opening_moves", WORDS, ALWAYS),
]

AGENTS_COLUMNS = [
    ("agent", TEXT, ALWAYS),
    ("agent_id", TEXT, ALWAYS),
    ("kind", TEXT, ALWAYS),
    ("fit", TRUTH, MAYBE),
    ("reason", TEXT, MAYBE),
    ("sha256", TEXT, MAYBE),
    ("epoch", INT64, MAYBE),
    ("step", INT64, MAYBE),
    ("description", TEXT, MAYBE),
    ("run_id", TEXT, ALWAYS),
]

EVALUATIONS_COLUMNS = [
    ("run_id", TEXT, ALWAYS),
    ("agent", TEXT, ALWAYS),
    ("agent_id", TEXT, ALWAYS),
    ("probe", TEXT, ALWAYS),
    ("position_id", TEXT, ALWAYS),
    ("position", TEXT, ALWAYS),
    ("expected", TEXT, MAYBE),
    ("answer", TEXT, MAYBE),
    ("passed", TRUTH, ALWAYS),
    ("status", TEXT, ALWAYS),
    ("time_ms", INT64, ALWAYS),
    ("detail", TEXT, MAYBE),
]

STANDINGS_COLUMNS = [
    ("run_id", TEXT, ALWAYS),
    ("rank", INT32, ALWAYS),
    ("agent", TEXT, ALWAYS),
    ("agent_id", TEXT, ALWAYS),
    ("elo", REAL, MAYBE),
    ("elo_low", REAL, MAYBE),
    ("elo_high", REAL, MAYBE),
    ("games", INT64, ALWAYS),
    ("wins", INT64, ALWAYS),
    ("draws", INT64, ALWAYS),
    ("losses", INT64, ALWAYS),
    ("score", REAL, MAYBE),
    ("forfeits", INT64, ALWAYS),
    ("voids", INT64, ALWAYS),
    ("los_next", REAL, MAYBE),
    ("rated", TRUTH, ALWAYS),
    ("reason", TEXT, MAYBE),
    ("computed_at", TIME, ALWAYS),
]


@pytest.mark.parametrize(
    ("schema", "columns"),
    [
        pytest.param(GAMES, GAMES_COLUMNS, id="games"),
        pytest.param(PLAN, PLAN_COLUMNS, id="plan"),
        pytest.param(AGENTS, AGENTS_COLUMNS, id="agents"),
        pytest.param(EVALUATIONS, EVALUATIONS_COLUMNS, id="evaluations"),
        pytest.param(STANDINGS, STANDINGS_COLUMNS, id="standings"),
    ],
)
def test_columns_are_the_contract(schema: pa.Schema, columns: list[tuple[str, pa.DataType, bool]]) -> None:
    """Every dataset has exactly the columns of the contract: name, order, type, and where null may stand."""
    assert columns == [(field.name, field.type, field.nullable) for field in schema]


@pytest.mark.parametrize("row_type", SCHEMA_OF)
def test_rows_have_a_field_for_every_column(row_type: type) -> None:
    """The value of a row and its dataset know the same names."""
    fields = {field.name for field in dataclasses.fields(row_type)}

    assert set(SCHEMA_OF[row_type].names) == fields


@pytest.mark.parametrize(
    "row",
    [
        planned_game(),
        planned_game(opening_plies=0, opening_moves=()),
        game_record(),
        game_record(evals=None, moves=(), move_times_ms=(), plies=0, flow_run_id="f", task_run_id="t"),
        void_record(),
        agent_row(),
        agent_row(fit=False, reason="will not start", epoch=None, step=None, sha256=None, description="x"),
        evaluation_row(),
        evaluation_row(expected=None, answer="G*5b", passed=True, status="ok", detail=None),
        standing(),
        standing(elo=None, elo_low=None, score=None, rated=False, reason="no counting game"),
    ],
)
def test_rows_come_back_as_they_were(row: object) -> None:
    """A row that was made a table and read back is equal in every field and type."""
    table = to_table([row, row], type(row))

    assert SCHEMA_OF[type(row)] == table.schema
    assert [row, row] == to_rows(table, type(row))


def test_words_come_back_as_enums() -> None:
    """Status, termination, winner and fault are members of their enums again."""
    [record] = to_rows(to_table([void_record()], GameRecord), GameRecord)

    assert (
        record.status,
        record.termination,
        record.winner,
        record.fault,
    ) == (Status.VOID, Termination.AGENT_CRASH, None, Side.SECOND)
    assert isinstance(record.fault, Side)


def test_a_broken_engines_last_words_do_not_cost_the_game() -> None:
    """Bytes that were no text are kept escaped."""
    [record] = to_rows(to_table([void_record(detail="died: \udcff\udcfe!")], GameRecord), GameRecord)

    assert record.detail == "died: \\udcff\\udcfe!"


def test_a_score_beyond_all_bounds_does_not_cost_the_game() -> None:
    """Numbers that do not fit the lists' 32 bits become the nearest that do."""
    record = game_record(evals=(10**12, -(10**12), None, 5), move_times_ms=(0, 0, 2**31, 1))

    [kept] = to_rows(to_table([record], GameRecord), GameRecord)

    assert kept.evals == (2**31 - 1, -(2**31), None, 5)
    assert kept.move_times_ms == (0, 0, 2**31 - 1, 1)


@pytest.mark.parametrize(
    ("record", "fault"),
    [
        (game_record(host=None), "column host: a value is missing, and this column always has one"),
        (game_record(started_at=NOON.replace(tzinfo=None)), "column started_at: 2026-05-01T12:00:00.123456 has no"),
        (game_record(plies="four"), "column plies: "),
        (game_record(worker_pid=2**40), "column worker_pid: "),
        (game_record(evals=("high",)), "column evals: "),
    ],
)
def test_what_no_column_can_hold_is_refused(record: GameRecord, fault: str) -> None:
    """A row that cannot be stored is refused in one line that names the column."""
    with pytest.raises(StorageError) as refusal:
        to_table([record], GameRecord)

    assert str(refusal.value).startswith(fault)
    assert len(str(refusal.value).splitlines()) == 1


def test_a_word_from_the_future_is_reported() -> None:
    """A termination this version does not know is an error naming it, not a crash in an enum."""
    table = to_table([game_record()], GameRecord)
    position = table.column_names.index("termination")
    later = table.set_column(position, "termination", pa.array(["stalemate"]))

    with pytest.raises(CorruptPartError, match="column termination: 'stalemate'"):
        to_rows(later, GameRecord)


def test_a_missing_column_is_reported() -> None:
    """A table without a column of the contract cannot become rows."""
    table = to_table([game_record()], GameRecord).drop_columns(["moves", "seed"])

    with pytest.raises(CorruptPartError, match="missing: seed, moves"):
        to_rows(table, GameRecord)
