"""One store: its runs and their datasets. Everything that is kept goes through here."""

from __future__ import annotations

import difflib
import json
import secrets
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from banzuke.errors import CorruptPartError, StorageError, UnknownRunError
from banzuke.record import AgentRow, EvaluationRow, GameRecord, PlannedGame, Standing
from storage import layout
from storage.atomic import open_files
from storage.compaction import Compaction, compact, finish_interrupted
from storage.damage import damaged_files
from storage.decisions import read_decision, read_skipped, write_decision, write_skipped
from storage.locks import Holder, my_note, read_note
from storage.parts import DamagedPart, Scan, open_part, part_name, part_names, scan, to_parquet
from storage.schemas import EVALUATIONS, GAMES, SCHEMA_OF, Row, to_rows, to_table

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from banzuke.outcome import Status

_CONFIRMED_WITHIN_SECONDS = 0.5
_LOOK_AGAIN_SECONDS = 0.02
_HOW_TO_MEND_A_STEP = (
    "restore it from a copy, or move it and the later steps of the plan away and run the spec again under the same id: "
    "they are planned anew, unless recorded games contradict that"
)


class GameStore:
    """The datasets below a local path or any fsspec URL.

    It keeps nothing in memory, so any number of stores, threads and processes may work on the same address.

    Args:
        uri: where; nothing is created before the first file.

    Raises:
        StorageError: the address is of no known kind, or what it needs is not installed. Every method raises
            it when the filesystem refuses, naming the file, and for a run id that can name no run.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self._files = open_files(uri)
        self._opened_for_writing: set[str] = set()

    def create_run(self, run_id: str, document: Mapping[str, Any]) -> None:
        """Keep what the run is, before anything else of it; ``created_at`` (ISO 8601) gives the runs' order.

        Raises:
            GameAlreadyRecordedError: there is a run of that name; its document stays as it is.
        """
        self._files.publish(layout.run_document(run_id), _run_payload(document))

    def replace_run(self, run_id: str, document: Mapping[str, Any]) -> None:
        """Keep a run's document in place of what was; for limits that were changed when it was gone on with.

        Raises:
            StorageError: there is none (any more).
        """
        self._check_still_there(run_id)
        self._files.publish(layout.run_document(run_id), _run_payload(document), replace=True)

    def read_run(self, run_id: str) -> dict[str, Any]:
        """What :meth:`create_run` was given.

        Raises:
            UnknownRunError: no such run; names that come near are in the text.
            CorruptPartError: the file is no JSON object, or lacks what every run has: ``run_id``, ``spec``,
                ``fingerprint`` and ``created_at``.
        """
        name = layout.run_document(run_id)
        try:
            document = self._document(run_id)
            _check_document(document, run_id)
        except FileNotFoundError:
            raise self._unknown(run_id) from None
        except CorruptPartError as error:
            raise CorruptPartError(
                f"{self._files.place(name)}: {error}; restore it from a copy, or run the spec under another id "
                f"(the games stay in {self._files.place(layout.games_folder(run_id))})"
            ) from error
        return document

    def _document(self, run_id: str) -> dict[str, Any]:
        try:
            document = json.loads(self._files.read(layout.run_document(run_id)))
        except (ValueError, RecursionError) as error:
            raise CorruptPartError(f"no JSON: {error}") from error
        if not isinstance(document, dict):
            raise CorruptPartError("no JSON object")
        return document

    @contextmanager
    def playing(self, run_id: str, mark: str = "") -> Iterator[Holder | None]:
        """Hold the right to play the run while the block lasts; whether there is such a run yet does not matter.

        It ends with this process, however that ends: at once in a local store, after a minute and a half
        elsewhere. Nothing waits for it.

        Args:
            run_id: which run.
            mark: what :meth:`player` shows of us.

        Yields:
            None if it is ours; otherwise who has it, or is still at a share of it, as far as that is known.

        Raises:
            StorageError: the store cannot be written, or its filesystem knows no locks.
        """
        with self._holding(layout.play_lock(run_id), mark) as holder:
            # Asked when ours is there to be seen: see playing_share.
            yield holder or next(iter(self.sharers(run_id)), None)

    @contextmanager
    def playing_share(self, run_id: str, share: int, mark: str = "") -> Iterator[Holder | None]:
        """Hold the right to play one share of the run while the block lasts; otherwise as :meth:`playing`.

        Whoever plays a share for somebody who plays the run takes this first, and then asks for the :meth:`player`:
        of two who do so at the same moment, at least one sees the other.
        """
        with self._holding(layout.share_lock(run_id, share), mark) as holder:
            yield holder

    def player(self, run_id: str) -> Holder | None:
        """Who plays the run now, if anybody does."""
        name = layout.play_lock(run_id)
        held = self._files.held_locks(layout.run_folder(run_id))
        return self._holder(name) if name.rpartition("/")[2] in held else None

    def is_shared(self, run_id: str, share: int) -> bool:
        """Whether anybody plays that share of the run now."""
        held = self._files.held_locks(layout.run_folder(run_id))
        return layout.share_lock(run_id, share).rpartition("/")[2] in held

    def sharers(self, run_id: str) -> list[Holder]:
        """Who plays shares of the run now."""
        folder = layout.run_folder(run_id)
        return [
            self._holder(f"{folder}/{name}") for name in self._files.held_locks(folder) if layout.is_share_lock(name)
        ]

    @contextmanager
    def _holding(self, name: str, mark: str) -> Iterator[Holder | None]:
        deadline = time.monotonic() + _CONFIRMED_WITHIN_SECONDS
        while True:
            with self._files.exclusive(name, my_note(mark)) as is_ours:
                holder = None if is_ours else self._holder(name)
                # Who sweeps a dead holder's lock has it for a moment, and a new holder has not signed at once.
                if holder is None or not holder.is_unconfirmed or time.monotonic() > deadline:
                    yield holder
                    return
            time.sleep(_LOOK_AGAIN_SECONDS)

    def _holder(self, lock: str) -> Holder:
        try:
            return read_note(self._files.read(lock))
        except (FileNotFoundError, StorageError):
            return read_note(b"")

    def has_run(self, run_id: str) -> bool:
        """Whether there is a run of that name."""
        return self._files.exists(layout.run_document(run_id))

    def run_ids(self) -> list[str]:
        """Every run, the newest first; one whose document cannot be read comes last."""
        named = filter(layout.is_run_id, self._files.folders(layout.RUNS))
        aged = [(self._created_at(run_id), run_id) for run_id in named if self.has_run(run_id)]
        return [run_id for _, run_id in sorted(aged, reverse=True)]

    def _created_at(self, run_id: str) -> datetime:
        try:
            return created_at(self._document(run_id))
        except (CorruptPartError, FileNotFoundError, KeyError, TypeError, ValueError):
            return datetime.min.replace(tzinfo=UTC)

    def _unknown(self, run_id: str) -> UnknownRunError:
        known = self.run_ids()
        near = difflib.get_close_matches(run_id, known, n=3, cutoff=0.5)
        if near:
            hint = f"did you mean {' or '.join(near)}?"
        elif known:
            hint = f"the newest is {known[0]}"
        else:
            hint = "there is no run in it yet"
        return UnknownRunError(f"no run {run_id} in {self.uri}: {hint}")

    def write_plan(self, run_id: str, plan: Sequence[PlannedGame], *, step: int = 1) -> None:
        """Keep every planned game, or every one of a further step, whole, before the first of them is played.

        Raises:
            GameAlreadyRecordedError: the run has a plan (that step); it stays as it is.
            StorageError: there is no such run (any more).
        """
        self._check_still_there(run_id)
        self._write(layout.plan_file(run_id, step), plan, PlannedGame, run_id, replace=False)

    def plan_steps(self, run_id: str) -> int:
        """Of how many steps the run's plan consists so far; 0 without a plan.

        Raises:
            CorruptPartError: one is missing, and a later one is there.
        """
        names = part_names(self._files, layout.plans_folder(run_id))
        found = {step for name in names if (step := layout.plan_step(name)) is not None}
        for step in range(1, max(found, default=0)):
            if step not in found and 1 in found:
                missing = self._files.place(layout.plan_file(run_id, step))
                raise CorruptPartError(f"{missing}: it is gone, and later steps are there; {_HOW_TO_MEND_A_STEP}")
        return len(found) if 1 in found else 0

    def has_plan(self, run_id: str) -> bool:
        """Whether the run's plan was written."""
        return self._files.exists(layout.plan_file(run_id))

    def has_games(self, run_id: str) -> bool:
        """Whether there is any file of recorded games, readable or not."""
        return bool(part_names(self._files, layout.games_folder(run_id)))

    def game_files(self, run_id: str) -> tuple[str, ...]:
        """The plain names of the files of recorded games: while they are the same, so is what is recorded."""
        return tuple(part_names(self._files, layout.games_folder(run_id)))

    def read_plan(self, run_id: str) -> list[PlannedGame]:
        """The planned games, in the plan's order. Raises as :meth:`plan_table` does."""
        return to_rows(self.plan_table(run_id), PlannedGame)

    def plan_table(self, run_id: str, columns: Sequence[str] | None = None) -> pa.Table:
        """The planned games of all steps as columns, in the plan's order.

        Raises:
            UnknownRunError: no such run.
            CorruptPartError: a file is no plan of this run, or one of several is missing.
            StorageError: the run was interrupted before its plan was written.
        """
        steps = range(1, max(1, self.plan_steps(run_id)) + 1)
        return pa.concat_tables([self._plan_step(run_id, step, columns) for step in steps])

    def _plan_step(self, run_id: str, step: int, columns: Sequence[str] | None) -> pa.Table:
        name = layout.plan_file(run_id, step)
        try:
            told = () if columns is None or "run_id" in columns else ("run_id",)
            with open_part(self._files, name, SCHEMA_OF[PlannedGame], told) as part:
                return part.read(columns or SCHEMA_OF[PlannedGame].names, run_id=run_id)
        except CorruptPartError as error:
            advice = self._how_to_mend(run_id) if step == 1 else _HOW_TO_MEND_A_STEP
            raise CorruptPartError(f"{error}; {advice}") from error
        except FileNotFoundError:
            self._check_known(run_id)
            raise StorageError(
                f"run {run_id} has no plan ({self._files.place(name)}); run its spec again under the same id"
            ) from None

    def write_agents(self, run_id: str, agents: Sequence[AgentRow]) -> None:
        """Keep what is known of the run's agents, in place of what was."""
        self._write(layout.agents_file(run_id), agents, AgentRow, run_id, replace=True)

    def read_agents(self, run_id: str) -> list[AgentRow]:
        """The run's agents; none if they were never written.

        Raises:
            UnknownRunError: no such run.
            CorruptPartError: the file does not hold agents of this run.
        """
        try:
            return self._read(layout.agents_file(run_id), AgentRow, run_id)
        except CorruptPartError as error:
            raise CorruptPartError(f"{error}; {self._how_to_mend(run_id)}") from error

    def _how_to_mend(self, run_id: str) -> str:
        return (
            f"move {self._files.place(layout.plan_file(run_id))} away and run the spec again under the same id: "
            "plan and agents are written anew, and no game is lost"
        )

    def write_evaluations(self, run_id: str, rows: Sequence[EvaluationRow]) -> None:
        """Add what evaluate found."""
        name = f"{layout.PART_PREFIX}{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}-{secrets.token_hex(8)}"
        place = f"{layout.evaluations_folder(run_id)}/{name}{layout.PARQUET}"
        if rows:
            self._write(place, rows, EvaluationRow, run_id, replace=False)

    def read_evaluations(self, run_id: str) -> list[EvaluationRow]:
        """What evaluate found, as far as :meth:`evaluations` can read it."""
        return to_rows(self.evaluations(run_id).table, EvaluationRow)

    def evaluations(self, run_id: str) -> Scan:
        """What evaluate found, as columns, and which files could not be read.

        Raises:
            UnknownRunError: no such run.
        """
        return self._scan(layout.evaluations_folder(run_id), EVALUATIONS, run_id, None, None)

    def write_standings(self, run_id: str, standings: Sequence[Standing]) -> None:
        """Keep the run's standings, in place of what was, damaged or not.

        Raises:
            StorageError: there is no such run (any more).
        """
        self._check_still_there(run_id)
        self._write(layout.standings_file(run_id), standings, Standing, run_id, replace=True)

    def read_standings(self, run_id: str) -> list[Standing]:
        """The run's standings; none if they were never written, deleted, or damaged.

        They are derived, so a damaged file is no reason to stop: the next that are published take its place, and
        :meth:`damaged` names it until then.

        Raises:
            UnknownRunError: no such run.
        """
        try:
            return self._read(layout.standings_file(run_id), Standing, run_id)
        except CorruptPartError:
            return []

    def write_decision(self, run_id: str, document: Mapping[str, Any], *, replace: bool = False) -> None:
        """Keep the verdict of the run's sequential test.

        Raises:
            GameAlreadyRecordedError: there is one, and ``replace`` is not asked for.
            StorageError: there is no such run (any more).
        """
        self._check_still_there(run_id)
        write_decision(self._files, run_id, document, replace=replace)

    def read_decision(self, run_id: str) -> dict[str, Any] | None:
        """The verdict of the run's sequential test; None where there is none.

        Raises:
            CorruptPartError: the file holds none.
        """
        return read_decision(self._files, run_id)

    def has_test(self, run_id: str) -> bool:
        """Whether a sequential test of that name has kept anything, readable or not."""
        return any(map(self._files.exists, (layout.decision_document(run_id), layout.skipped_document(run_id))))

    def write_skipped(self, run_id: str, pairs: Sequence[int]) -> None:
        """Keep which pairs the run's sequential test passes over, in place of what was.

        Raises:
            StorageError: there is no such run (any more).
        """
        self._check_still_there(run_id)
        write_skipped(self._files, run_id, pairs)

    def read_skipped(self, run_id: str) -> tuple[int, ...]:
        """Numbers of the pairs that the run's sequential test passes over.

        Raises:
            CorruptPartError: the file holds none.
        """
        return read_skipped(self._files, run_id)

    def record(self, run_id: str, records: Sequence[GameRecord]) -> None:
        """Keep the attempts, all or none, durably, in a file of their own.

        Raises:
            GameAlreadyRecordedError: exactly these attempts were recorded before; safe to ignore on a retry.
            StorageError: an attempt is not of this run, is there twice, or its status is not that of its
                termination; or the run is gone: a store that vanished is not made anew without run and plan.
        """
        if not records:
            return
        _check_attempts(records)
        self._check_still_there(run_id)
        self._finish_interrupted_once(run_id)
        table = self._checked_table(records, GameRecord, run_id)
        table = table.sort_by([("game_no", "ascending"), ("attempt", "ascending")])
        self._files.publish(f"{layout.games_folder(run_id)}/{part_name(table)}", to_parquet(table))

    def _finish_interrupted_once(self, run_id: str) -> None:
        if run_id in self._opened_for_writing:
            return
        self._opened_for_writing.add(run_id)
        try:
            finish_interrupted(self._files, run_id)
        except StorageError:
            # A finished game is worth more than tidiness: the next compaction tries again, and reports.
            return

    def games(
        self,
        run_ids: str | Iterable[str],
        columns: Sequence[str] | None = None,
        *,
        reduce: Callable[[pa.Table], pa.Table] | None = None,
        encoded: Collection[str] = (),
        each_once: bool = True,
        numbers: range | None = None,
        status: Status | None = None,
    ) -> Scan:
        """Every recorded attempt of one or several runs, each once, in no promised order.

        Files that are damaged, or are no games of their run, are left out and reported in ``damaged``.

        Args:
            run_ids: one run's id, or several.
            columns: which ones; None for all.
            reduce: applied to every few thousand rows as they are read (same rows, same order), so that wide
                columns need not be held.
            encoded: text columns that are to come dictionary-encoded.
            each_once: False: an attempt may be there twice (see :func:`storage.parts.scan`), and reading is
                faster.
            numbers: only games of such numbers are asked for; others may come along.
            status: only attempts of that status are asked for, likewise.

        Raises:
            UnknownRunError: no such run.
        """
        several = [run_ids] if isinstance(run_ids, str) else list(dict.fromkeys(run_ids))
        scans = [
            self._scan(
                layout.games_folder(run_id),
                GAMES,
                run_id,
                columns,
                reduce,
                encoded=encoded,
                each_once=each_once,
                numbers=numbers,
                status=status,
            )
            for run_id in several
        ]
        if not scans:
            raise UnknownRunError("no run was named")
        return Scan(
            table=pa.concat_tables([scanned.table for scanned in scans]),
            damaged=tuple(part for scanned in scans for part in scanned.damaged),
        )

    def raced(self, run_id: str, columns: Sequence[str] | None = None) -> Scan:
        """Results that lost a race against another invocation's; :meth:`compact` has moved them out of ``games``.

        Args:
            run_id: which run.
            columns: which ones; None for all.
        """
        return scan(self._files, layout.raced_folder(run_id), GAMES, run_id=run_id, columns=columns)

    def compact(self, run_id: str, *, thorough: bool = True) -> Compaction:
        """Make few files of the run's many. Others may read and record meanwhile.

        Damaged files of ``games`` and ``evaluations`` are set aside in ``<store>/damaged``, results that lost a
        race are moved to ``<store>/raced``: what is left is for plain readers.

        Args:
            run_id: which run.
            thorough: whether every file is read whole, to find damage; else only those that are merged.

        Raises:
            StorageError: a file cannot be read (for another reason than damage), written, moved or deleted;
                what is recorded stays readable.
        """
        return compact(self._files, run_id, thorough=thorough)

    def damaged(self, run_id: str) -> tuple[DamagedPart, ...]:
        """Every file of the run that was set aside, or is damaged and still in its place; none of unknown runs.

        All of the run is read for it.

        Raises:
            StorageError: a file cannot be read for another reason than damage.
        """
        return (*damaged_files(self._files, run_id), *self._damaged_document(run_id))

    def _damaged_document(self, run_id: str) -> Iterator[DamagedPart]:
        path = self._files.place(layout.run_document(run_id))
        try:
            self.read_run(run_id)
        except UnknownRunError:
            return
        except CorruptPartError as error:
            yield DamagedPart(path=path, reason=str(error).removeprefix(f"{path}: "))

    def sweep(self, run_id: str | None = None) -> None:
        """Remove what dead processes have left: temporary files, and locks that nobody holds.

        What cannot be removed (a read-only store) stays, without an error.

        Args:
            run_id: of which run; None for the whole store.
        """
        for folder in layout.TOP_FOLDERS if run_id is None else layout.folders_of(run_id):
            self._files.sweep(folder)

    def _write(self, name: str, rows: Sequence[Row], row_type: type[Row], run_id: str, *, replace: bool) -> None:
        table = self._checked_table(rows, row_type, run_id)
        self._files.publish(name, to_parquet(table), replace=replace)

    def _checked_table(self, rows: Sequence[Row], row_type: type[Row], run_id: str) -> pa.Table:
        strangers = {row.run_id for row in rows} - {run_id}
        if strangers:
            raise StorageError(f"rows of run {min(strangers)!a} cannot be kept in run {run_id}")
        return to_table(rows, row_type)

    def _read(self, name: str, row_type: type[Row], run_id: str) -> list[Row]:
        schema = SCHEMA_OF[row_type]
        try:
            with open_part(self._files, name, schema) as part:
                return to_rows(part.read(schema.names, run_id=run_id), row_type)
        except FileNotFoundError:
            self._check_known(run_id)
            return []

    def _scan(
        self,
        folder: str,
        schema: pa.Schema,
        run_id: str,
        columns: Sequence[str] | None,
        reduce: Callable[[pa.Table], pa.Table] | None,
        *,
        encoded: Collection[str] = (),
        each_once: bool = True,
        numbers: range | None = None,
        status: Status | None = None,
    ) -> Scan:
        scanned = scan(
            self._files,
            folder,
            schema,
            run_id=run_id,
            columns=columns,
            reduce=reduce,
            encoded=encoded,
            each_once=each_once,
            numbers=numbers,
            status=status,
        )
        if scanned.table.num_rows == 0 and not scanned.damaged and not part_names(self._files, folder):
            self._check_known(run_id)
        return scanned

    def _check_still_there(self, run_id: str) -> None:
        if not self.has_run(run_id):
            document = self._files.place(layout.run_document(run_id))
            raise StorageError(f"{document} is gone: without it nothing of run {run_id} can be kept")

    def _check_known(self, run_id: str) -> None:
        if not self.has_run(run_id):
            raise self._unknown(run_id)


def created_at(document: Mapping[str, Any]) -> datetime:
    """When a run was begun, by its document; UTC where that names no zone."""
    begun = datetime.fromisoformat(document["created_at"])
    return begun if begun.utcoffset() is not None else begun.replace(tzinfo=UTC)


def _run_payload(document: Mapping[str, Any]) -> bytes:
    return json.dumps(dict(document), indent=2, allow_nan=False).encode() + b"\n"


_KEYS = {"run_id": str, "spec": dict, "fingerprint": str, "created_at": str}


def _check_document(document: Mapping[str, Any], run_id: str) -> None:
    for key, kind in _KEYS.items():
        if key not in document:
            raise CorruptPartError(f"it lacks {key!r}")
        if not isinstance(document[key], kind):
            raise CorruptPartError(f"its {key!r} is a {type(document[key]).__name__}, expected {kind.__name__}")
    if document["run_id"] != run_id:
        raise CorruptPartError(f"it is of another run, {document['run_id'][:80]!a}")
    try:
        datetime.fromisoformat(document["created_at"])
    except ValueError:
        raise CorruptPartError(f"its 'created_at' is no time: {document['created_at'][:80]!a}") from None


def _check_attempts(records: Sequence[GameRecord]) -> None:
    if len({record.attempt_id for record in records}) < len(records):
        raise StorageError("an attempt cannot be recorded twice in one call")
    for record in records:
        if record.status is not record.termination.status:
            raise StorageError(
                f"attempt {record.attempt_id}: {record.termination} is {record.termination.status}, not {record.status}"
            )
