"""What a person sees while games are played: progress, and the table as it stands.

On a terminal a live display that is redrawn; elsewhere a line now and then. All of it goes to stderr, so that stdout
holds results only.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from threading import Lock
from types import TracebackType
from typing import Self

import numpy as np
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from banzuke import progress
from banzuke.outcome import Side, Status
from banzuke.pace import pace
from banzuke.ratings.scores import GameColumns
from banzuke.ratings.standings import Entrant, Standings, compute_standings
from banzuke.record import GameRecord
from banzuke.specs import Spec
from deployments.printing import standings_table
from storage.counting import counting_games
from storage.game_store import GameStore

RERATE_SECONDS = 2.0
LINE_SECONDS = 15.0
_SCORES = {Side.FIRST: 1.0, None: 0.5, Side.SECOND: 0.0}


class _Display:
    """Registers itself as a listener while it is shown."""

    def __enter__(self) -> Self:
        progress.listeners.append(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        progress.listeners.remove(self)

    def on_stage(self, stage: str, detail: str) -> None:
        """Nothing to show."""

    def on_plan(self, run_id: str, *, planned: int, counting: int) -> None:
        """Nothing to show."""

    def on_records(self, records: Sequence[GameRecord]) -> None:
        """Nothing to show."""

    def on_skipped(self, game_id: str, reason: str) -> None:
        """Nothing to show."""

    def on_test(self, *, llr: float | None, lower: float, upper: float, pairs: int, verdict: str | None) -> None:
        """Nothing to show."""

    def on_problem(self, text: str) -> None:
        """Show it, wherever the cursor is."""
        sys.stderr.write(f"{text}\n")


class LiveTable(_Display):
    """Games done, rate, time left, and the standings so far."""

    def __init__(self, spec: Spec, store: str, run_id: str, *, live: bool) -> None:
        self.spec, self.store, self.run_id = spec, store, run_id
        self.console = Console(stderr=True)
        self.live: Live | None = None
        self.talks = live
        self._lock = Lock()
        self._stage = "starting the pipeline"
        self._planned = self._counting = self._before = self._voids = 0
        self._grows = spec.tournament.format == "adaptive"
        self._started = self._said = self._counted_at = time.monotonic()
        self._index = {agent.name: index for index, agent in enumerate(spec.agents)}
        self._games: list[tuple[int, int, float, int]] = []
        self._rated_at = 0.0
        self._table: Table | None = None
        self._test = ""

    def __enter__(self) -> Self:
        super().__enter__()
        if self.talks and self.console.is_terminal:
            show = Live(get_renderable=self._render, console=self.console, transient=True, refresh_per_second=4)
            show.start()
            self.live = show
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.live is not None:
            self.live.stop()
        super().__exit__(kind, error, trace)

    def on_stage(self, stage: str, detail: str) -> None:
        """Say what is being done."""
        self._stage = f"{stage}: {detail}" if detail else stage
        self._say(f"{self.run_id}: {self._stage}")

    def on_plan(self, run_id: str, *, planned: int, counting: int) -> None:  # noqa: ARG002 - it is the one shown
        """Playing begins, or a plan has grown; games of an earlier invocation are in the table from the start."""
        with self._lock:
            is_first, self._planned, self._counting = not self._planned, planned, counting
            if is_first:
                self._before, self._started = counting, time.monotonic()
            if is_first and counting:
                self._games = self._recorded_before()

    def on_records(self, records: Sequence[GameRecord]) -> None:
        """Count them."""
        with self._lock:
            for record in records:
                if record.status is Status.VOID:
                    self._voids += 1
                    continue
                self._counting += 1
                self._counted_at = time.monotonic()
                self._games.append(
                    (
                        self._index[record.first_agent],
                        self._index[record.second_agent],
                        _SCORES[record.winner],
                        record.pair_no,
                    )
                )
        now = time.monotonic()
        if now - self._said > LINE_SECONDS:
            self._said = now
            self._say(self._progress_line())

    def on_test(self, *, llr: float | None, lower: float, upper: float, pairs: int, verdict: str | None) -> None:
        """Show where the test stands between its bounds, and its verdict at once."""
        stands = "no llr" if llr is None else f"llr {llr:.2f}"
        self._test = f", {stands} in ({lower:.2f}, {upper:.2f}) after {pairs} pairs"
        if verdict is not None:
            self._say(f"{self.run_id}: {verdict}{self._test}; games in flight are finished")

    def on_problem(self, text: str) -> None:
        """Show it above the live display."""
        self.console.print(Text(text, style="red"), soft_wrap=self.live is None)

    def _say(self, line: str) -> None:
        if self.talks and self.live is None:
            self.console.print(Text(line), soft_wrap=True)

    def _progress_line(self) -> str:
        now = time.monotonic()
        so_far = pace(
            done=self._counting - self._before,
            left=self._planned - self._counting,
            elapsed=now - self._started,
            silent=now - self._counted_at,
        )
        line = f"{self._counting}/{self._planned} games"
        if so_far is not None:
            line += f", {so_far.per_minute:.0f} a minute"
            if so_far.seconds_left is not None:
                most, step = "at most " if self._test else "", " in this step" if self._grows else ""
                line += f", {most}{_duration(so_far.seconds_left)} left{step}"
        return line + (f", {self._voids} void attempts" if self._voids else "") + self._test

    def _render(self) -> RenderableType:
        if not self._planned:
            return Text(f"{self._stage} …")
        with self._lock:
            games = list(self._games)
        now = time.monotonic()
        if games and now - self._rated_at > RERATE_SECONDS:
            self._table = standings_table(self._rate(games).rows, title=None)
            # Measured after rating, so that a large table is rated less often rather than all the time.
            self._rated_at = time.monotonic()
        line = Text(f"{self._stage}   {self._progress_line()}")
        return Group(self._table, line) if self._table is not None else line

    def _rate(self, games: Sequence[tuple[int, int, float, int]]) -> Standings:
        first, second, score, pair = (np.array(column) for column in zip(*games, strict=True))
        return compute_standings(
            entrants=[Entrant(agent=agent.name, agent_id="") for agent in self.spec.agents],
            games=GameColumns(first_agent=first, second_agent=second, first_score=score, pair=pair),
            anchor=self.spec.ratings.anchor,
            anchor_elo=self.spec.ratings.anchor_elo,
        )

    def _recorded_before(self) -> list[tuple[int, int, float, int]]:
        found = counting_games(GameStore(self.store), [self.run_id])
        index = [self._index[name] for name in found.agents]
        return [
            (index[first], index[second], float(score), int(pair))
            for first, second, score, pair in zip(found.first, found.second, found.first_score, found.pair, strict=True)
        ]


class BackfillLines(_Display):
    """One line per game: ``[k/N] game -> OK (r remaining, s elapsed)``."""

    def __init__(self, expected: int, *, live: bool) -> None:
        self.expected = expected
        self.live = live
        self._done: set[str] = set()
        self._started = time.monotonic()
        self._lock = Lock()

    def on_records(self, records: Sequence[GameRecord]) -> None:
        """Print them."""
        for record in records:
            is_void = record.status is Status.VOID
            verdict = f"void, {record.termination}: {record.detail}" if is_void else "OK"
            self._print(record.game_id, verdict, settled=not is_void)

    def on_skipped(self, game_id: str, reason: str) -> None:
        """Print it."""
        self._print(game_id, f"not played: {reason}", settled=True)

    def _print(self, game_id: str, verdict: str, *, settled: bool) -> None:
        # Written under the lock, too: batches run in threads, and a line must not overtake the one before it.
        with self._lock:
            if settled:
                self._done.add(game_id)
            done = len(self._done)
            elapsed = time.monotonic() - self._started
            if self.live:
                sys.stdout.write(
                    f"[{done}/{self.expected}] {game_id} -> {verdict} "
                    f"({max(0, self.expected - done)} remaining, {elapsed:.0f} s elapsed)\n"
                )
                sys.stdout.flush()


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
