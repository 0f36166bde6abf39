"""The columns of every dataset, and rows as values to and from Arrow.

The schemas are a contract: other people's scripts read these files without this package. Columns are only
ever added at the end.
"""

from __future__ import annotations

from dataclasses import fields
from datetime import datetime
from operator import attrgetter
from typing import TYPE_CHECKING, Any, TypeVar

import pyarrow as pa

from banzuke.errors import CorruptPartError, StorageError
from banzuke.outcome import Side, Status, Termination
from banzuke.record import AgentRow, EvaluationRow, GameRecord, PlannedGame, Standing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

Row = TypeVar("Row", GameRecord, PlannedGame, AgentRow, EvaluationRow, Standing)

_TIME = pa.timestamp("us", tz="UTC")
_WORDS = pa.list_(pa.string())
_NUMBERS = pa.list_(pa.int32())


def _column(name: str, kind: pa.DataType) -> pa.Field[Any]:
    return pa.field(name, kind, nullable=False)


def _optional(name: str, kind: pa.DataType) -> pa.Field[Any]:
    return pa.field(name, kind, nullable=True)


_IDENTITY = (
    _column("run_id", pa.string()),
    _column("game_id", pa.string()),
    _column("pair_id", pa.string()),
    _column("game_no", pa.int64()),
    _column("pair_no", pa.int64()),
    _column("encounter", pa.string()),
    _column("round", pa.int32()),
    _column("slot", pa.int32()),
)
_ATTEMPT = (
    _column("attempt", pa.int32()),
    _column("attempt_id", pa.string()),
)
_PAIRING = (
    _column("game", pa.string()),
    _column("rules", pa.string()),
    _column("first_agent", pa.string()),
    _column("second_agent", pa.string()),
    _column("first_agent_id", pa.string()),
    _column("second_agent_id", pa.string()),
    _column("opening_id", pa.string()),
    _column("start_position", pa.string()),
    _column("opening_plies", pa.int32()),
    _column("seed", pa.int64()),
)

GAMES = pa.schema(
    [
        *_IDENTITY,
        *_ATTEMPT,
        *_PAIRING,
        _column("status", pa.string()),
        _column("termination", pa.string()),
        _optional("winner", pa.string()),
        _optional("fault", pa.string()),
        _optional("detail", pa.string()),
        _column("plies", pa.int32()),
        _column("moves", _WORDS),
        _column("move_times_ms", _NUMBERS),
        _optional("evals", _NUMBERS),
        _column("first_time_ms", pa.int64()),
        _column("second_time_ms", pa.int64()),
        _column("first_max_move_ms", pa.int64()),
        _column("second_max_move_ms", pa.int64()),
        _column("started_at", _TIME),
        _column("finished_at", _TIME),
        _column("host", pa.string()),
        _column("device", pa.string()),
        _column("worker_pid", pa.int32()),
        _optional("flow_run_id", pa.string()),
        _optional("task_run_id", pa.string()),
        _column("banzuke_version", pa.string()),
        _column("schema_version", pa.int32()),
    ]
)
"""One row per attempt."""

PLAN = pa.schema([*_IDENTITY, *_PAIRING, _column("opening_moves", _WORDS)])
"""One row per planned game: what ``games`` says up to ``seed`` without the attempt, and the book's moves."""

AGENTS = pa.schema(
    [
        _column("agent", pa.string()),
        _column("agent_id", pa.string()),
        _column("kind", pa.string()),
        _optional("fit", pa.bool_()),
        _optional("reason", pa.string()),
        _optional("sha256", pa.string()),
        _optional("epoch", pa.int64()),
        _optional("step", pa.int64()),
        _optional("description", pa.string()),
        _column("run_id", pa.string()),
    ]
)
"""One row per agent of the run."""

EVALUATIONS = pa.schema(
    [
        _column("run_id", pa.string()),
        _column("agent", pa.string()),
        _column("agent_id", pa.string()),
        _column("probe", pa.string()),
        _column("position_id", pa.string()),
        _column("position", pa.string()),
        _optional("expected", pa.string()),
        _optional("answer", pa.string()),
        _column("passed", pa.bool_()),
        _column("status", pa.string()),
        _column("time_ms", pa.int64()),
        _optional("detail", pa.string()),
    ]
)
"""One row per probe or suite position."""

STANDINGS = pa.schema(
    [
        _column("run_id", pa.string()),
        _column("rank", pa.int32()),
        _column("agent", pa.string()),
        _column("agent_id", pa.string()),
        _optional("elo", pa.float64()),
        _optional("elo_low", pa.float64()),
        _optional("elo_high", pa.float64()),
        _column("games", pa.int64()),
        _column("wins", pa.int64()),
        _column("draws", pa.int64()),
        _column("losses", pa.int64()),
        _optional("score", pa.float64()),
        _column("forfeits", pa.int64()),
        _column("voids", pa.int64()),
        _optional("los_next", pa.float64()),
        _column("rated", pa.bool_()),
        _optional("reason", pa.string()),
        _column("computed_at", _TIME),
    ]
)
"""One row per agent, best first; derived from ``games``."""

SCHEMA_OF: Mapping[type, pa.Schema] = {
    GameRecord: GAMES,
    PlannedGame: PLAN,
    AgentRow: AGENTS,
    EvaluationRow: EVALUATIONS,
    Standing: STANDINGS,
}


def to_table(rows: Sequence[Row], row_type: type[Row]) -> pa.Table:
    """The rows as an Arrow table with exactly the columns of their dataset.

    Text that is no Unicode (a broken engine's last words) is kept with its stray bytes escaped, and a number
    in a list that does not fit its column becomes the nearest that does: neither may cost a finished game.

    Raises:
        StorageError: a value is missing where the dataset allows none or has the wrong type, or a time has no
            zone.
    """
    schema = SCHEMA_OF[row_type]
    columns = [_to_column(map(attrgetter(field.name), rows), field) for field in schema]
    return pa.Table.from_arrays(columns, schema=schema)


def _to_column(values: Iterable[Any], field: pa.Field[Any]) -> pa.Array[Any]:
    storable = [_to_storable(value, field) for value in values]
    try:
        column = _to_array(storable, field)
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        raise StorageError(f"column {field.name}: {_one_line(error)}") from error
    if column.null_count and not field.nullable:
        raise StorageError(f"column {field.name}: a value is missing, and this column always has one")
    return column


def _to_array(values: list[Any], field: pa.Field[Any]) -> pa.Array[Any]:
    column: pa.Array[Any]
    try:
        column = pa.array(values, field.type)
    except UnicodeEncodeError:
        column = pa.array([_map_leaves(value, _escape_stray_bytes) for value in values], field.type)
    except (pa.ArrowInvalid, OverflowError):
        if field.type != _NUMBERS:
            raise
        column = pa.array([_map_leaves(value, _nearest_int32) for value in values], field.type)
    return column


def _to_storable(value: Any, field: pa.Field[Any]) -> Any:  # noqa: ANN401 - a cell of any column
    if isinstance(value, tuple):
        return list(value)
    if isinstance(value, datetime) and value.utcoffset() is None:
        raise StorageError(f"column {field.name}: {value.isoformat()} has no time zone; times are UTC")
    return value


def _map_leaves(value: Any, change: Callable[[Any], Any]) -> Any:  # noqa: ANN401 - a cell of any column
    if isinstance(value, list):
        return [change(item) for item in value]
    return change(value)


def _escape_stray_bytes(value: Any) -> Any:  # noqa: ANN401 - a cell of any column
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value


def _nearest_int32(value: Any) -> Any:  # noqa: ANN401 - a cell of any column
    return max(-(2**31), min(2**31 - 1, value)) if isinstance(value, int) else value


_ENUMS: Mapping[str, type[Status | Termination | Side]] = {
    "status": Status,
    "termination": Termination,
    "winner": Side,
    "fault": Side,
}


def to_rows(table: pa.Table, row_type: type[Row]) -> list[Row]:
    """The table's rows as values; columns this version does not know are left out.

    Raises:
        CorruptPartError: a column is missing, or a word is not in the vocabulary.
    """
    names = [field.name for field in fields(row_type)]
    missing = [name for name in names if name not in table.column_names]
    if missing:
        raise CorruptPartError(f"these columns are missing: {', '.join(missing)}")
    columns = [_to_values(table[name].to_pylist(), name, row_type) for name in names]
    return [row_type(**dict(zip(names, cells, strict=True))) for cells in zip(*columns, strict=True)]


def _to_values(cells: list[Any], name: str, row_type: type) -> list[Any]:
    enum = _ENUMS.get(name) if row_type is GameRecord else None
    try:
        if enum is not None:
            return [None if cell is None else enum(cell) for cell in cells]
    except ValueError as error:
        raise CorruptPartError(f"column {name}: {_one_line(error)}") from error
    return [tuple(cell) if isinstance(cell, list) else cell for cell in cells]


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
