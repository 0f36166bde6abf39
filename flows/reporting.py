"""What the server shows while games are played: a progress bar for every run, and lines in the log of the flow run."""

from __future__ import annotations

import contextlib
import contextvars
import logging
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from prefect import get_run_logger

from banzuke import progress
from banzuke.outcome import Side, Status, Termination
from banzuke.pace import pace
from banzuke.record import GameRecord
from flows.serving import is_served
from tasks.artifacts import artifact_key, show_progress
from tasks.pages import one_line

TICK_SECONDS = 0.5
SHOW_SECONDS = 5.0
"""Between two movements of a progress bar."""
LINE_SECONDS = 30.0
"""Between two lines about progress."""
LAST_WORD_SECONDS = 10.0
"""For the last movement, when all is over; a server that is away does not hold the run up any longer."""
MOST_PROBLEMS = 50
"""Lines about problems in the log of a flow run; the failures artifact has them all."""
LONGEST_LINE = 400


@contextlib.contextmanager
def reported(*, bars: bool = True) -> Iterator[None]:
    """While the block lasts, the server is told how far its runs are, from a thread that nobody waits for.

    Args:
        bars: whether each run has a progress bar; of a share of a run, its tournament shows it.
    """
    reporter = _Reporter(get_run_logger() if is_served() else None, bars=bars)
    # Prefect knows by the context which flow run an artifact belongs to.
    thread = threading.Thread(target=contextvars.copy_context().run, args=(reporter.report,), daemon=True)
    thread.start()
    progress.listeners.append(reporter)
    try:
        yield
    finally:
        progress.listeners.remove(reporter)
        reporter.done.set()
        thread.join(LAST_WORD_SECONDS)


@dataclass(slots=True, kw_only=True)
class _Run:
    """How far one run is."""

    planned: int
    counting: int
    before: int
    """Counting games when it was begun."""
    began: float = field(default_factory=time.monotonic)
    counted_at: float = field(default_factory=time.monotonic)
    shown: str = ""
    shown_at: float = float("-inf")
    artifact: UUID | None = None

    @property
    def counts(self) -> str:
        """Programs read them."""
        return f"{self.counting} of {self.planned} games"

    def text(self, now: float) -> str:
        """The counts, and how long the rest will take."""
        so_far = pace(
            done=self.counting - self.before,
            left=self.planned - self.counting,
            elapsed=now - self.began,
            silent=now - self.counted_at,
        )
        if so_far is None or self.counting >= self.planned:
            return self.counts
        left = "" if so_far.seconds_left is None else f", about {_duration(so_far.seconds_left)} left"
        return f"{self.counts}, {so_far.per_minute:.0f} a minute{left}"


class _Reporter:
    """A listener; what takes a request to the server is done by :meth:`report`.

    Args:
        log: of the flow run; None where nobody reads it.
    """

    def __init__(self, log: logging.Logger | logging.LoggerAdapter[Any] | None, *, bars: bool) -> None:
        self._bars = bars
        self.done = threading.Event()
        self._log = log
        self._lock = threading.Lock()
        self._runs: dict[str, _Run] = {}
        self._problems = 0
        self._causes: set[tuple[str, str, str | None]] = set()
        self._said_at = time.monotonic()
        self._said = ""
        self._test = ""

    def report(self) -> None:
        """Move the bars now and then, and once more at the end."""
        while not self.done.wait(TICK_SECONDS):
            self._show_due()
            self._say_progress()
        for run_id, run in self._runs.items():
            self._show(run_id, run, run.counts)

    def on_stage(self, stage: str, detail: str) -> None:
        """Say it."""
        self._info(f"{stage}: {detail}" if detail else stage)

    def on_plan(self, run_id: str, *, planned: int, counting: int) -> None:
        """Remember how much there is to play."""
        with self._lock:
            run = self._runs.setdefault(run_id, _Run(planned=planned, counting=counting, before=counting))
            run.planned, run.counting = planned, counting

    def on_records(self, records: Sequence[GameRecord]) -> None:
        """Count them, and say once of every kind of failure what it looks like."""
        with self._lock:
            for record in records:
                run = self._runs.get(record.run_id)
                if run is not None and record.status is not Status.VOID:
                    run.counting += 1
                    run.counted_at = time.monotonic()
        for record in records:
            if record.status is Status.VOID and record.termination is not Termination.CANCELLED:
                self._say_void(record)

    def on_skipped(self, game_id: str, reason: str) -> None:
        """Too many to be said; why they are skipped is a problem of its own."""

    def on_test(self, *, llr: float | None, lower: float, upper: float, pairs: int, verdict: str | None) -> None:
        """Show where the test stands between its bounds, and its verdict at once."""
        stands = "no llr" if llr is None else f"llr {llr:.2f}"
        self._test = f"{stands} in ({lower:.2f}, {upper:.2f}) after {pairs} pairs"
        if verdict is not None:
            self._info(f"{verdict}: {self._test}; games in flight are finished")

    def on_problem(self, text: str) -> None:
        """Say it."""
        with self._lock:
            self._problems += 1
            number = self._problems
        if self._log is not None and number <= MOST_PROBLEMS:
            self._log.warning("%s", one_line(text, LONGEST_LINE))
            if number == MOST_PROBLEMS:
                self._log.warning("further problems are not logged; see the failures artifact")

    def _say_void(self, record: GameRecord) -> None:
        agents = {Side.FIRST: record.first_agent, Side.SECOND: record.second_agent}
        agent = None if record.fault is None else agents[record.fault]
        with self._lock:
            cause = record.run_id, record.termination.value, agent
            is_new = cause not in self._causes
            self._causes.add(cause)
        if is_new:
            whose = "" if agent is None else f" by {agent}"
            self.on_problem(f"void game, {record.termination.value}{whose}: {record.detail or 'no detail'}")

    def _say_progress(self) -> None:
        now = time.monotonic()
        if self._log is None or now - self._said_at < LINE_SECONDS:
            return
        with self._lock:
            parts = [f"{run_id}: {run.text(now)}" for run_id, run in self._runs.items() if run.counting < run.planned]
        said = "; ".join([*parts[:3], *([f"and {len(parts) - 3} more runs"] if len(parts) > 3 else [])])
        said += f"; {self._test}" if said and self._test else ""
        if said and said != self._said:
            self._info(said)
        self._said, self._said_at = said, now

    def _info(self, text: str) -> None:
        if self._log is not None:
            self._log.info("%s", one_line(text, LONGEST_LINE))

    def _show_due(self) -> None:
        now = time.monotonic()
        with self._lock:
            due = [(run_id, run) for run_id, run in self._runs.items() if now - run.shown_at >= SHOW_SECONDS]
        for run_id, run in due:
            self._show(run_id, run, run.text(now))

    def _show(self, run_id: str, run: _Run, text: str) -> None:
        if self._bars and text != run.shown:
            percent = 100 * run.counting / run.planned if run.planned else 0.0
            run.artifact = show_progress(artifact_key("progress", run_id), percent, text, run.artifact)
            run.shown, run.shown_at = text, time.monotonic()


def _duration(seconds: float) -> str:
    return (
        f"{seconds:.0f} s"
        if seconds < 120
        else f"{seconds / 60:.0f} min"
        if seconds < 7200
        else f"{seconds / 3600:.1f} h"
    )
