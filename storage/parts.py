"""Reading and writing one Parquet file of a dataset, and all files of a folder others are writing to.

A file is a *part* (what one call recorded) or a *merged* file (what compaction made of parts). Neither is
ever changed once it has its name; parts disappear when they have been merged.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from banzuke.errors import CorruptPartError, StorageError
from banzuke.outcome import Side, Status
from banzuke.record import SCHEMA_VERSION
from storage.categories import category_codes
from storage.layout import MERGED_PREFIX, PARQUET, PART_PREFIX

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence
    from datetime import datetime

    from numpy.typing import NDArray

    from storage.atomic import Files

MERGED_PARTS_KEY = b"banzuke.merged_parts"
"""Parquet key-value metadata of a merged file: the names of the files it was made of, as a JSON list."""
ONE_RESULT_EACH_KEY = b"banzuke.one_result_each"
"""Likewise: no game has two results in the file, and no attempt two rows. Looked at when it was written."""

_ROWS_PER_GROUP = 20_000
_FEW_ROWS = 100
_MOST_PASSES = 100
_READERS = 2
"""Files read at once. Decoding releases the interpreter, and a remote store has latency to hide."""
_KEY = "\0attempt_id"
"""Carries the attempts' ids beside whatever columns were asked for."""

_WORDS = {
    "status": frozenset(Status),
    "winner": frozenset({*Side, None}),
    "fault": frozenset({*Side, None}),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class DamagedPart:
    """A file that was left out of what was read."""

    path: str
    reason: str
    """One line."""
    advice: str | None = None
    """What becomes of it, or what may be done with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """What the readable files of a dataset hold."""

    table: pa.Table
    """In no promised order."""
    damaged: tuple[DamagedPart, ...]
    """Files left out; their rows are missing from ``table``."""


def to_parquet(table: pa.Table, *, merged_from: Sequence[str] = ()) -> bytes:
    """The table as a Parquet file, every page with its checksum."""
    sink = pa.BufferOutputStream()
    # For a handful of rows dictionaries, statistics and compression cost more than they save.
    small = table.num_rows <= _FEW_ROWS
    with pq.ParquetWriter(
        sink,
        table.schema,
        compression="none" if small else "zstd",
        use_dictionary=not small,
        write_statistics=not small,
        write_page_checksum=True,
    ) as writer:
        for stretch in _stretches(table) if merged_from else [table]:
            writer.write_table(stretch, row_group_size=_ROWS_PER_GROUP)
        if merged_from:
            writer.add_key_value_metadata({MERGED_PARTS_KEY.decode(): json.dumps(list(merged_from))})
            if _has_one_result_each(table):
                writer.add_key_value_metadata({ONE_RESULT_EACH_KEY.decode(): "true"})
    return sink.getvalue().to_pybytes()


def _stretches(attempts: pa.Table) -> list[pa.Table]:
    """Void attempts apart from all others: hardly any question is about both, and void ones are few."""
    is_void = pc.equal(attempts["status"], pa.scalar(Status.VOID.value))
    parts = [attempts.filter(pc.invert(is_void)), attempts.filter(is_void)]
    return [part for part in parts if part.num_rows] or [attempts]


def _has_one_result_each(attempts: pa.Table) -> bool:
    results = attempts.filter(pc.not_equal(attempts["status"], pa.scalar(Status.VOID.value)))
    return all(
        pc.count_distinct(rows[name]).as_py() == rows.num_rows
        for rows, name in ((results, "game_no"), (attempts, "attempt_id"))
    )


def part_name(table: pa.Table) -> str:
    """What a part holding these attempts is called; the same attempts always get the same name."""
    attempts = "\0".join(sorted(map(str, table["attempt_id"].to_pylist())))
    token = hashlib.sha256(attempts.encode()).hexdigest()[:16]
    return f"{PART_PREFIX}{_latest(table)}-{token}{PARQUET}"


def merged_name(table: pa.Table) -> str:
    """A name nobody else has for a merged file holding these attempts."""
    return f"{MERGED_PREFIX}{_latest(table)}-{secrets.token_hex(8)}{PARQUET}"


def _latest(table: pa.Table) -> str:
    latest: datetime = pc.max(table["finished_at"]).as_py()
    return f"{latest:%Y%m%dT%H%M%S.%fZ}"


def part_names(files: Files, folder: str) -> list[str]:
    """The plain names of the folder's Parquet files, merged ones first."""
    return [name for name in files.files(folder) if name.endswith(PARQUET)]


def is_merged(name: str) -> bool:
    """Whether the file of that plain name was made by compaction."""
    return name.startswith(MERGED_PREFIX)


def scan(
    files: Files,
    folder: str,
    schema: pa.Schema,
    *,
    run_id: str,
    columns: Sequence[str] | None = None,
    reduce: Callable[[pa.Table], pa.Table] | None = None,
    encoded: Collection[str] = (),
    each_once: bool = True,
    numbers: range | None = None,
    status: Status | None = None,
) -> Scan:
    """Every row of the folder's files, each attempt once, whatever others do there meanwhile.

    A compaction publishes its merged file before it deletes the parts. So whoever finds a file gone looks
    again and finds its rows elsewhere; rows read from both are told apart by ``attempt_id``. The listing
    itself is no snapshot (a file may be published behind it and another deleted before it); it is therefore
    repeated until nothing has disappeared and no merged file has appeared.

    Args:
        files: where to read.
        folder: the folder's name.
        schema: of the dataset.
        run_id: what the column ``run_id`` must say.
        columns: which ones; None for all.
        reduce: applied to every few thousand rows as they are read (same rows, same order, unless ``each_once`` is
            False), so that wide columns need not be held.
        encoded: text columns that are to come dictionary-encoded, every distinct text of a file held once.
        each_once: False: an attempt may be there twice, read from a part and from the file it was merged
            into; then the long texts of ``attempt_id`` are not read.
        numbers: only rows with such a ``game_no`` are asked for, so that stretches of a file which hold none need not
            be read; further ones may come along.
        status: only rows of that status are asked for, likewise.

    Raises:
        StorageError: the folder or a file cannot be read at all.
    """
    wanted = list(schema.names) if columns is None else list(columns)
    unknown = [name for name in wanted if name not in schema.names]
    if unknown:
        raise StorageError(f"no such column: {', '.join(unknown)}")
    # Of what is only looked at, a text of every row would be made.
    told = {*encoded} if "run_id" in wanted else {*encoded, "run_id"}
    tables: dict[str, pa.Table] = {}
    damaged: dict[str, DamagedPart] = {}

    def read(name: str) -> None:
        try:
            with open_part(files, f"{folder}/{name}", schema, told) as part:
                tables[name] = part.read(
                    wanted, run_id=run_id, reduce=reduce, each_once=each_once, numbers=numbers, status=status
                )
        except FileNotFoundError:
            return
        except CorruptPartError as error:
            damaged[name] = damaged_part(files, f"{folder}/{name}", error)

    with ThreadPoolExecutor(_READERS) as readers:
        for names in _settling_names(files, folder):
            # One file needs no thread, and what a reader raises is raised here.
            list(map(read, names) if len(names) == 1 else readers.map(read, names))
    found = [tables[name] for name in sorted(tables)] or [
        _nothing(_with_encoded(schema, encoded), wanted, reduce, each_once=each_once)
    ]
    return Scan(
        table=each_attempt_once(pa.concat_tables(found)),
        damaged=tuple(damaged[name] for name in sorted(damaged)),
    )


def _settling_names(files: Files, folder: str) -> Iterator[list[str]]:
    """The names of the folder's files as they become known, each once, until the folder holds still."""
    tried: set[str] = set()
    before: set[str] | None = None
    for _ in range(_MOST_PASSES):
        listed = part_names(files, folder)
        fresh = [name for name in listed if name not in tried]
        if before is not None and before.issubset(listed) and not any(map(is_merged, fresh)):
            return
        tried.update(fresh)
        yield fresh
        before = set(listed)
    raise StorageError(f"{files.place(folder)} is being compacted again and again; try later")


def damaged_part(files: Files, name: str, error: CorruptPartError) -> DamagedPart:
    """What to report of the file ``name`` that could not be read."""
    path = files.place(name)
    return DamagedPart(path=path, reason=str(error).removeprefix(f"{path}: "))


@contextmanager
def open_part(files: Files, name: str, schema: pa.Schema, encoded: Collection[str] = ()) -> Iterator[PartFile]:
    """One Parquet file, checked against its dataset's columns; ``encoded`` as in :func:`scan`.

    Raises:
        FileNotFoundError: it is not there (any more).
        CorruptPartError: it is no Parquet file, is damaged, or has not the dataset's columns; also while it
            is being read inside the ``with`` block.
        StorageError: the filesystem refuses it.
    """
    path = files.place(name)
    try:
        with files.open(name) as source:
            file = pq.ParquetFile(
                source, page_checksum_verification=True, pre_buffer=False, read_dictionary=list(encoded)
            )
            yield PartFile(file, _with_encoded(schema, encoded))
    except FileNotFoundError:
        raise
    except CorruptPartError as error:
        raise CorruptPartError(f"{path}: {error}") from error
    except OSError as error:
        # Arrow reports bad contents as an OSError too; only a refusal by the system has a number.
        if error.errno is not None:
            raise StorageError(f"cannot read {path}: {error.strerror}") from error
        raise CorruptPartError(f"{path}: {_one_line(error)}") from error
    except (pa.ArrowException, ValueError, MemoryError, OverflowError) as error:
        raise CorruptPartError(f"{path}: {_one_line(error)}") from error


def diagnosis(files: Files, name: str, schema: pa.Schema, *, run_id: str) -> str | None:
    """What is wrong with the file, in one line; None where all of it can be read as rows of its run.

    Every page is read, also of columns unknown here, and from memory: a file that the system cannot deliver
    is not taken for a damaged one. Nor is one that a later version has written in words unknown here.

    Raises:
        FileNotFoundError: it is not there (any more).
        StorageError: the filesystem refuses it, or it does not fit into memory.
    """
    payload = files.read(name)
    try:
        source = pq.ParquetFile(pa.BufferReader(payload), page_checksum_verification=True)
        PartFile(source, schema).check(run_id)
    except MemoryError as error:
        # It may be the file that asks for the impossible, or a machine whose memory is short. Who can tell?
        raise StorageError(f"cannot read {files.place(name)}: {_one_line(error)}") from error
    except (CorruptPartError, OSError, pa.ArrowException, ValueError, OverflowError) as error:
        return _one_line(error)
    return None


class PartFile:
    """An open Parquet file of a dataset."""

    def __init__(self, file: pq.ParquetFile, schema: pa.Schema) -> None:
        self._file = file
        self._schema = schema
        _check_columns(file.schema_arrow, schema)

    @property
    def rows(self) -> int:
        """How many it has."""
        return int(self._file.metadata.num_rows)

    @property
    def has_further_columns(self) -> bool:
        """Whether it was written by a version that knows more columns."""
        return len(self._file.schema_arrow) > len(self._schema)

    @property
    def merged_from(self) -> tuple[str, ...]:
        """The plain names of the files it was made of; empty for a part."""
        listed = (self._file.metadata.metadata or {}).get(MERGED_PARTS_KEY)
        names = [] if listed is None else json.loads(listed)
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise CorruptPartError("its list of merged parts is no list of names")
        return tuple(names)

    @property
    def has_one_result_each(self) -> bool:
        """Whether it is known that no game has two results in it, and no attempt two rows."""
        return self.rows <= 1 or ONE_RESULT_EACH_KEY in (self._file.metadata.metadata or {})

    def spans(self) -> list[tuple[int, int] | None]:
        """The least and greatest ``game_no`` of every stretch of the file, by its footer; None where that is silent."""
        return [self._span(group) for group in range(self._file.num_row_groups)]

    def check(self, run_id: str) -> None:
        """Read everything.

        Raises:
            CorruptPartError: it holds something that no row of this run can hold. What Arrow raises of damaged
                pages passes through.
        """
        for group in range(self._file.num_row_groups):
            whole = self._file.read_row_group(group, use_threads=False)
            piece = self._checked(whole, self._schema.names)
            _check_run(piece, run_id)
            if not _is_of_a_later_version(piece):
                _check_words(piece, self._schema)

    def attempt_ids(self) -> pa.ChunkedArray[Any]:
        """Which attempts it holds."""
        return self._file.read(columns=["attempt_id"])["attempt_id"]

    def game_numbers(self, groups: Sequence[int]) -> NDArray[np.int64]:
        """``game_no`` of every row of these stretches, void or not."""
        rows = self._file.read_row_groups(list(groups), columns=["game_no"], use_threads=False)
        numbers: NDArray[np.int64] = rows["game_no"].to_numpy()
        return numbers

    def result_numbers(self) -> NDArray[np.int64]:
        """``game_no`` of every row that is not void; of nothing else in the file is anything read."""
        rows = self._file.read(columns=["game_no", "status"], use_threads=False)
        is_result = pc.not_equal(rows["status"], pa.scalar(Status.VOID.value))
        numbers: NDArray[np.int64] = rows["game_no"].filter(is_result).to_numpy()
        return numbers

    def read(
        self,
        columns: Sequence[str],
        *,
        run_id: str,
        reduce: Callable[[pa.Table], pa.Table] | None = None,
        each_once: bool = True,
        numbers: range | None = None,
        status: Status | None = None,
    ) -> pa.Table:
        """The columns asked for, as :func:`scan` wants them."""
        kept = {*columns, "run_id", "attempt_id"} if each_once else {*columns, "run_id"}
        needed = [name for name in self._schema.names if name in kept]
        groups = [group for group in range(self._file.num_row_groups) if self._may_hold(group, numbers, status)]
        # Wide rows, and columns that will be reduced, some thousand at a time; the few narrow ones that rate at once.
        is_narrow = reduce is None and numbers is None and status is None and len(needed) < len(self._schema)
        read = (
            [self._file.read(columns=needed, use_threads=False)]
            if is_narrow
            else (self._file.read_row_group(group, columns=needed, use_threads=False) for group in groups)
        )
        pieces = []
        for whole in read:
            piece = self._checked(whole, needed)
            _check_run(piece, run_id)
            _check_words(piece, self._schema)
            pieces.append(_reduced(piece, columns, reduce, each_once=each_once))
        return pa.concat_tables(pieces) if pieces else _nothing(self._schema, columns, reduce, each_once=each_once)

    def _may_hold(self, group: int, numbers: range | None, status: Status | None) -> bool:
        """Whether a stretch of the file can have such rows, as its footer has it."""
        span = None if numbers is None else self._span(group)
        words = None if status is None else self._ends(group, "status")
        return (numbers is None or span is None or (span[0] < numbers.stop and span[1] >= numbers.start)) and (
            status is None or words is None or words[0] <= status.value <= words[1]
        )

    def _span(self, group: int) -> tuple[int, int] | None:
        return self._ends(group, "game_no")

    def _ends(self, group: int, name: str) -> tuple[Any, Any] | None:
        """The least and greatest value of a column there; None where the footer is silent."""
        footer = self._file.metadata.row_group(group)
        leaves = map(footer.column, range(footer.num_columns))
        known = next((leaf.statistics for leaf in leaves if leaf.path_in_schema == name), None)
        return None if known is None or not known.has_min_max else (known.min, known.max)

    def _checked(self, read: pa.Table, names: Sequence[str]) -> pa.Table:
        target = pa.schema([self._schema.field(name) for name in names])
        piece = read.select(list(names)).replace_schema_metadata(None).cast(target)
        piece.validate(full=True)
        return piece


def _check_columns(found: pa.Schema, expected: pa.Schema) -> None:
    for field in expected:
        if found.get_field_index(field.name) < 0:
            raise CorruptPartError(f"not a file of this dataset: column {field.name} is missing")
        kind = found.field(field.name).type
        if kind != field.type:
            raise CorruptPartError(f"not a file of this dataset: column {field.name} is {kind}, expected {field.type}")


def _check_run(piece: pa.Table, run_id: str) -> None:
    if "run_id" in piece.column_names:
        strangers = set(pc.unique(piece["run_id"]).to_pylist()) - {run_id}
        if strangers:
            raise CorruptPartError(f"it holds rows of another run, {min(map(ascii, strangers))}")


def _check_words(piece: pa.Table, schema: pa.Schema) -> None:
    if "attempt_id" in schema.names:
        for name in _WORDS.keys() & set(piece.column_names):
            unknown = set(pc.unique(piece[name]).to_pylist()) - _WORDS[name]
            if unknown:
                raise CorruptPartError(f"column {name} says {min(map(ascii, unknown))}")


def _is_of_a_later_version(piece: pa.Table) -> bool:
    if "schema_version" not in piece.column_names:
        return False
    latest = pc.max(piece["schema_version"]).as_py()
    return latest is not None and latest > SCHEMA_VERSION


def _reduced(
    piece: pa.Table, columns: Sequence[str], reduce: Callable[[pa.Table], pa.Table] | None, *, each_once: bool
) -> pa.Table:
    wanted = piece.select(list(columns))
    kept = wanted if reduce is None else reduce(wanted)
    is_told_apart = each_once and "attempt_id" in piece.column_names
    return kept.append_column(_KEY, piece["attempt_id"]) if is_told_apart else kept


def _nothing(
    schema: pa.Schema, columns: Sequence[str], reduce: Callable[[pa.Table], pa.Table] | None, *, each_once: bool
) -> pa.Table:
    return _reduced(schema.empty_table(), columns, reduce, each_once=each_once)


def _with_encoded(schema: pa.Schema, columns: Collection[str]) -> pa.Schema:
    """The schema as it is read with these columns dictionary-encoded."""
    kind = pa.dictionary(pa.int32(), pa.string())
    return pa.schema([field.with_type(kind) if field.name in columns else field for field in schema])


def each_attempt_once(table: pa.Table) -> pa.Table:
    """What :meth:`PartFile.read` returned, of several files perhaps, with no attempt in it twice."""
    if _KEY not in table.column_names:
        return table
    codes = category_codes(table[_KEY])
    rows = table.drop_columns([_KEY])
    _, firsts = np.unique(codes, return_index=True)
    if len(firsts) == len(codes):
        return rows
    kept = np.zeros(len(codes), dtype=bool)
    kept[firsts] = True
    return rows.filter(pa.array(kept))


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
