"""Random sequences of what may happen to a run, compared with a list in memory that is assumed perfect."""

from __future__ import annotations

import shutil
import tempfile
from collections import defaultdict
from datetime import timedelta
from pathlib import Path

import pyarrow.dataset as ds
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from test_store_schemas import NOON, game_record, planned_game, void_record

from banzuke.errors import GameAlreadyRecordedError
from banzuke.outcome import Side, Status, Termination
from banzuke.record import GameRecord
from storage.atomic import LocalFiles
from storage.counting import counting_games
from storage.game_store import GameStore
from storage.ledger import Ledger, Tallies, VoidCause
from storage.schemas import to_rows

PLANNED = 5


class Attempts(RuleBasedStateMachine):
    """A run of a few planned games, tried again and again by several invocations."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.recorded: list[GameRecord] = []
        self.is_at_rest = True
        self.is_compacted = False

    @initialize()
    def plan(self) -> None:
        self.store.create_run("nightly", {})
        self.store.write_plan("nightly", [planned_game(game_no=game_no) for game_no in range(PLANNED)])

    @property
    def store(self) -> GameStore:
        """A newcomer every time: nothing may depend on what a process remembers."""
        return GameStore(str(self.folder))

    def attempt(self, game_no: int, attempt: int, start: int, cause: Termination | None) -> GameRecord:
        number = len(self.recorded)
        changes = {
            "attempt_id": f"{(number * 7) % 10}-{number}",
            "started_at": NOON + timedelta(seconds=start),
            "finished_at": NOON + timedelta(seconds=start + 1),
        }
        if cause is None:
            changes["winner"] = (Side.FIRST, Side.SECOND, None)[number % 3]
            kept = game_record(game_no=game_no, attempt=attempt, **changes)
        else:
            changes["fault"] = (Side.FIRST, Side.SECOND, None)[number % 3]
            changes["detail"] = f"attempt {number}"
            kept = void_record(game_no=game_no, attempt=attempt, termination=cause, **changes)
        self.recorded.append(kept)
        return kept

    attempts = st.lists(
        st.tuples(
            st.integers(0, PLANNED),  # the last is a game nobody planned
            st.integers(1, 3),
            st.integers(0, 2),
            st.sampled_from([None, None, Termination.AGENT_CRASH, Termination.CANCELLED]),
        ),
        min_size=1,
        max_size=4,
    )

    @rule(wanted=attempts)
    def record(self, wanted: list[tuple[int, int, int, Termination | None]]) -> None:
        self.is_compacted = False
        self.store.record("nightly", [self.attempt(*one) for one in wanted])
        # Opening for writing finished what a compaction had left.
        self.is_at_rest = True

    @rule(wanted=attempts)
    def record_twice(self, wanted: list[tuple[int, int, int, Termination | None]]) -> None:
        self.is_compacted = False
        records = [self.attempt(*one) for one in wanted]
        self.store.record("nightly", records)
        with pytest.raises(GameAlreadyRecordedError):
            self.store.record("nightly", records)
        self.is_at_rest = True

    @rule()
    def compact(self) -> None:
        done = self.store.compact("nightly")
        assert () == done.damaged
        self.is_at_rest = self.is_compacted = True

    @precondition(lambda self: self.recorded)
    @rule(allowed=st.integers(0, 5))
    def interrupt_a_compaction(self, allowed: int) -> None:
        left = allowed
        really_delete = LocalFiles.delete

        def delete(files: LocalFiles, name: str) -> None:
            nonlocal left
            if left == 0:
                raise KeyboardInterrupt
            left -= 1
            really_delete(files, name)

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(LocalFiles, "delete", delete)
            try:
                self.store.compact("nightly")
                self.is_at_rest = self.is_compacted = True
            except KeyboardInterrupt:
                self.is_at_rest = self.is_compacted = False

    @invariant()
    def every_attempt_is_read(self) -> None:
        if not self.recorded:
            return
        games, raced = self.store.games("nightly"), self.store.raced("nightly")
        counting = {row.attempt_id for row in self.counting()}
        by_id = {row.attempt_id: row for scan in (games, raced) for row in to_rows(scan.table, GameRecord)}
        kept = games.table["attempt_id"].to_pylist()

        assert () == (*games.damaged, *raced.damaged)
        assert {row.attempt_id: row for row in self.recorded} == by_id
        assert len(set(kept)) == len(kept)
        # Only a result can lose a race, and a row that counts is in its place.
        assert counting <= set(kept)
        assert all(row["status"] != "void" for row in raced.table.select(["status"]).to_pylist())

    def counting(self) -> list[GameRecord]:
        first: dict[str, GameRecord] = {}
        for row in sorted(self.recorded, key=lambda row: (row.attempt, row.started_at, row.attempt_id)):
            if row.status is not Status.VOID:
                first.setdefault(row.game_id, row)
        return list(first.values())

    @invariant()
    def plain_readers_see_every_result_once_when_compacted(self) -> None:
        if not self.recorded or not self.is_compacted:
            return
        rows = ds.dataset(self.folder / "games").to_table(["attempt_id", "status"]).to_pylist()
        voids = [row.attempt_id for row in self.recorded if row.status is Status.VOID]

        assert sorted(voids) == sorted(row["attempt_id"] for row in rows if row["status"] == "void")
        assert sorted(row.attempt_id for row in self.counting()) == sorted(
            row["attempt_id"] for row in rows if row["status"] != "void"
        )

    @invariant()
    def plain_readers_see_every_attempt_once_at_rest(self) -> None:
        if self.recorded and self.is_at_rest:
            ids = ds.dataset(self.folder / "games").to_table(["attempt_id"])["attempt_id"].to_pylist()
            assert len(set(ids)) == len(ids)

    @invariant()
    def the_ledger_agrees(self) -> None:
        if not (self.folder / "plans").exists():
            return
        tried = defaultdict(list)
        for row in sorted(self.recorded, key=lambda row: (row.attempt, row.started_at, row.attempt_id)):
            if row.game_no < PLANNED:
                tried[row.game_id].append(row)
        results = {game_id: [row for row in rows if row.status is not Status.VOID] for game_id, rows in tried.items()}
        counting = {game_id: rows[0].attempt_id for game_id, rows in results.items() if rows}
        planned = [planned_game(game_no=game_no).game_id for game_no in range(PLANNED)]

        ledger = Ledger(self.store, "nightly")

        rows = ledger.counting()
        assert counting == dict(zip(rows["game_id"].to_pylist(), rows["attempt_id"].to_pylist(), strict=True))
        assert len(counting) == rows.num_rows
        assert [game_id for game_id in planned if game_id not in counting] == ledger.missing_ids()
        assert {game_id: rows[-1].attempt for game_id, rows in tried.items()} == ledger.attempts()
        assert {
            game_id: VoidCause(termination=rows[-1].termination, fault=rows[-1].fault, detail=rows[-1].detail)
            for game_id, rows in tried.items()
            if not results[game_id]
        } == ledger.last_void()
        assert (
            Tallies(
                planned=PLANNED,
                counting=len(counting),
                forfeits=0,
                void=len(tried) - len(counting),
                missing=PLANNED - len(tried),
            )
            == ledger.tallies()
        )

    @invariant()
    def ratings_are_given_each_game_once(self) -> None:
        if not self.recorded:
            return
        first = min(
            (row for row in self.recorded if row.status is not Status.VOID),
            key=lambda row: (row.game_no, row.attempt, row.started_at, row.attempt_id),
            default=None,
        )
        with_result = {row.game_id for row in self.recorded if row.status is not Status.VOID}
        tried = {row.game_id for row in self.recorded}

        games = counting_games(self.store, ["nightly"])

        assert len(with_result) == len(games.first)
        assert len(tried - with_result) == len(games.void.first)
        if first is not None:
            assert {Side.FIRST: 1.0, Side.SECOND: 0.0, None: 0.5}[first.winner] == games.first_score[0]

    def teardown(self) -> None:
        shutil.rmtree(self.folder)


Attempts.TestCase.settings = settings(max_examples=12, stateful_step_count=15, deadline=None)


class TestAttempts(Attempts.TestCase):
    """Whatever happens in whatever order: nothing is lost, nothing counts twice, the ledger is right."""
