"""What is seen of a run in a store by whoever watches it. No Prefect here: nobody who plays is asked."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Literal, Self

import numpy as np

from banzuke.errors import RatingError, SpecError, StorageError, UnknownRunError
from banzuke.in_play import GameInPlay
from banzuke.pace import pace
from banzuke.ratings.scores import GameColumns
from banzuke.ratings.standings import Entrant, StandingRow, compute_standings
from banzuke.specs import SPEC
from storage.counting import CountingGames, counting_games
from storage.game_store import GameStore
from storage.in_play import Shown, Window, can_be_shown, watching
from storage.latest import EndedGame, latest_games, results_since
from storage.ledger import Ledger
from storage.locks import Holder
from tasks.growing import Growth
from tasks.sequential import SprtReport, recorded_test, report_test
from tasks.served import WISH
from tasks.summary import Summary, summarise

RunIs = Literal["not begun", "playing", "interrupted", "over"]
"""``not begun``: nothing is recorded, and nobody plays it; ``interrupted``: games are left, and nobody plays it."""

REREAD_SECONDS = 2.0
"""Between two readings of what is recorded, at least."""
SHARE_OF_TIME = 0.1
"""Of the watcher's time that reading what is recorded may take: of a large run it is read less often. Where no game is
in play any more there is nobody to be disturbed, and somebody who waits for the end."""
LAST_GAMES = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranked:
    """An agent's place in the standings so far."""

    rank: int
    agent: str
    elo: float | None
    elo_low: float | None
    elo_high: float | None
    games: int
    wins: int
    draws: int
    losses: int
    risen: int
    """Ranks since the first look; negative where it has fallen."""
    elo_change: float | None
    """Since the first look that had a rating of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Where a run is whose plan grows."""

    number: int
    """Of the last step that is planned, from 1."""
    target_error: float
    """Elo: half the width of a 95 % interval."""
    widest: str | None
    """The rated agent that is known least; None where nobody is rated yet."""
    widest_error: float | None
    """Half the width of its interval."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What is seen of a run at one moment."""

    run_id: str
    store: str
    state: RunIs
    played_by: str | None
    """For the middle of a sentence; None where nobody plays it."""
    planned: int | None
    """Games; None before they are planned."""
    counting: int
    forfeits: int
    """Of those that count."""
    void: int
    """Games that were tried and have no result so far."""
    per_minute: float | None
    """Games that came to count, since whoever plays began; None before the first, and where nobody plays."""
    seconds_left: float | None
    standings: tuple[Ranked, ...]
    last: tuple[EndedGame, ...]
    """The attempts that ended last, the last first."""
    in_play: tuple[GameInPlay, ...]
    games_in_play: int
    """How many there are, of which ``in_play`` may be a part."""
    unseen: str | None
    """Why no games in play are seen; None where they are, or nobody plays."""
    notes: tuple[str, ...]
    advice: str | None
    """What to type so that the rest is played; None while it is, and where there is none."""
    sheet: tuple[StandingRow, ...]
    """The same as ``standings``, with all that is known of each agent."""
    sprt: SprtReport | None
    """How far the test is; None where the run is a tournament, and before it is planned."""
    spared: int
    """Games that need not be played, because they lie behind the verdict of the test."""
    step: Step | None
    """None where the plan does not grow, and before the first game that counts."""
    summary: Summary | None
    """Once nobody plays it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Recorded:
    """What the store had when it was read last."""

    files: tuple[str, ...]
    document: Mapping[str, Any]
    planned: int | None
    found: CountingGames | None
    rows: tuple[StandingRow, ...]
    last: tuple[EndedGame, ...]
    since_begin: int
    """Games that came to count since whoever plays began."""
    last_result: datetime | None
    was_played: bool
    """When the reading began."""
    sprt: SprtReport | None
    spared: int
    step: Step | None
    summary: Summary | None
    took: float
    """Seconds; 0 of the first reading, which loads libraries, too."""
    at: float
    """On the monotonic clock, when it was read."""


class Spectator:
    """Watches one run, from the beginning of its ``with`` block to the end.

    Args:
        store: local path or fsspec URL.
        run_id: which run; it may be one that is only about to be written down.

    Raises:
        UnknownRunError: there is no such run, and nobody is about to play it.
        StorageError: the store cannot be read.
    """

    def __init__(self, store: str, run_id: str) -> None:
        self.games = GameStore(store)
        self.run_id = run_id
        if self.games.player(run_id) is None:
            self.games.read_run(run_id)
        self._opened = ExitStack()
        self._window: Window | None = None
        self._unseen: str | None = None
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="spectator")
        self._reading: Future[_Recorded] | None = None
        self._recorded: _Recorded | None = None
        self._first: dict[str, tuple[int, float | None]] = {}
        """Rank and rating of every agent when it was seen first."""
        self._were_in_play = self._is_quiet = False
        """Whether games were seen in play, and whether none is any more."""

    def __enter__(self) -> Self:
        if not can_be_shown(self.games.uri):
            self._unseen = "games in play are seen only in a store that is a folder"
            return self
        try:
            self._window = self._opened.enter_context(watching(self.games.uri, self.run_id))
        except StorageError as error:
            self._unseen = f"games in play are not seen: whoever plays cannot be told that somebody watches: {error}"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._opened.close()
        self._reader.shutdown(wait=False, cancel_futures=True)
        # What a player that was killed has shown, and a watcher that was.
        self.games.sweep(self.run_id)

    @property
    def shows_games(self) -> bool:
        """Whether games in play can be seen here."""
        return self._window is not None

    def look(self, *, patiently: bool = False) -> Look | None:
        """How the run stands.

        Args:
            patiently: whether what is recorded is waited for; else that of the last reading is taken, and a new one
                begun where there is something new.

        Returns:
            None where nothing was read yet.

        Raises:
            StorageError: the store cannot be read; it may be later.
        """
        player = self._player()
        self._read_if_due(is_played=player is not None)
        if self._reading is not None and (patiently or self._reading.done()):
            reading, self._reading = self._reading, None
            self._recorded = reading.result()
        recorded = self._recorded
        if recorded is None:
            return None
        if player is None and recorded.was_played:
            # It has ended since; what it has recorded last is read before anything is said.
            return self.look(patiently=True) if patiently else self._made(recorded, "playing", None)
        state: RunIs = "playing" if player is not None or recorded.was_played else _state_at_rest(recorded)
        return self._made(recorded, state, player)

    def _player(self) -> Holder | None:
        return self.games.player(self.run_id) or next(iter(self.games.sharers(self.run_id)), None)

    def _read_if_due(self, *, is_played: bool) -> None:
        if self._reading is not None:
            return
        before = self._recorded
        if before is not None:
            is_stale = before.was_played != is_played
            rest = REREAD_SECONDS if self._is_quiet else max(REREAD_SECONDS, before.took / SHARE_OF_TIME)
            if not is_stale and time.monotonic() - before.at < rest:
                return
            if not is_stale and before.planned is not None and self.games.game_files(self.run_id) == before.files:
                return
        self._reading = self._reader.submit(self._read)

    def _read(self) -> _Recorded:
        began = time.monotonic()
        player, games, run_id = self._player(), self.games, self.run_id
        files = games.game_files(run_id)
        document = _document(games, run_id, is_played=player is not None)
        has_plan = games.has_plan(run_id)
        planned = games.plan_table(run_id, ["game_no"]).num_rows if has_plan else None
        found = counting_games(games, [run_id]) if files else None
        since = None if player is None else player.since
        since_begin, last_result = (0, None) if since is None or not files else results_since(games, run_id, since)
        test = recorded_test(document) if has_plan else None
        return _Recorded(
            files=files,
            document=document,
            planned=planned,
            found=found,
            rows=_rate(document, found),
            last=latest_games(games, run_id, LAST_GAMES) if files else (),
            since_begin=since_begin,
            last_result=last_result,
            was_played=player is not None,
            sprt=None if test is None else report_test(games, run_id, test),
            spared=0 if test is None else Ledger(games, run_id).tallies().spared,
            step=_step(games, run_id, document) if files else None,
            summary=summarise(games, run_id) if player is None and has_plan else None,
            took=0.0 if self._recorded is None else time.monotonic() - began,
            at=time.monotonic(),
        )

    def _made(self, recorded: _Recorded, state: RunIs, player: Holder | None) -> Look:
        found = recorded.found
        counting, void = (0, 0) if found is None else (len(found.pair), len(found.void.pair))
        shown = [] if self._window is None or state != "playing" else self._window.look()
        in_play = sum(each.in_play for each in shown)
        self._is_quiet = self._were_in_play and not in_play
        self._were_in_play = self._were_in_play or in_play > 0
        per_minute, seconds_left = _pace(recorded, player, counting)
        is_at_rest = state != "playing"
        return Look(
            run_id=self.run_id,
            store=self.games.uri,
            state=state,
            played_by=None if player is None else str(player),
            planned=recorded.planned,
            counting=counting,
            forfeits=0 if found is None else int(found.is_forfeit.sum()),
            void=void,
            per_minute=per_minute,
            seconds_left=seconds_left,
            standings=self._ranked(recorded.rows),
            last=recorded.last,
            in_play=_in_order(shown),
            games_in_play=in_play,
            unseen=None if is_at_rest else self._unseen,
            notes=_notes(recorded),
            advice=_advice(self.games.uri, recorded, self.run_id) if is_at_rest else None,
            sheet=recorded.rows,
            sprt=recorded.sprt,
            spared=recorded.spared,
            step=recorded.step,
            summary=recorded.summary if is_at_rest else None,
        )

    def _ranked(self, rows: Sequence[StandingRow]) -> tuple[Ranked, ...]:
        ranked = []
        for row in rows:
            rank, elo = self._first.setdefault(row.agent, (row.rank, row.elo))
            if elo is None and row.elo is not None:
                elo = row.elo
                self._first[row.agent] = rank, elo
            ranked.append(
                Ranked(
                    rank=row.rank,
                    agent=row.agent,
                    elo=row.elo,
                    elo_low=row.elo_low,
                    elo_high=row.elo_high,
                    games=row.games,
                    wins=row.wins,
                    draws=row.draws,
                    losses=row.losses,
                    risen=rank - row.rank,
                    elo_change=None if row.elo is None or elo is None else row.elo - elo,
                )
            )
        return tuple(ranked)


def _document(games: GameStore, run_id: str, *, is_played: bool) -> Mapping[str, Any]:
    try:
        return games.read_run(run_id)
    except UnknownRunError:
        # Whoever is going to play it holds its lock before it is written down.
        if is_played:
            return {}
        raise


def _rate(document: Mapping[str, Any], found: CountingGames | None) -> tuple[StandingRow, ...]:
    """The standings so far, by the names of the spec; nobody's, where the games make no sense together."""
    if found is None or not len(found.pair):
        return ()
    spec = document.get("spec", {})
    names = dict.fromkeys([*_names(spec), *found.agents])
    index = {name: number for number, name in enumerate(names)}
    places = np.array([index[name] for name in found.agents], dtype=np.int64)
    anchor = spec.get("ratings", {}) if isinstance(spec.get("ratings", {}), Mapping) else {}
    try:
        return compute_standings(
            entrants=[Entrant(agent=name, agent_id="") for name in names],
            games=GameColumns(
                first_agent=places[found.first],
                second_agent=places[found.second],
                first_score=found.first_score,
                pair=found.pair,
            ),
            anchor=anchor.get("anchor") if anchor.get("anchor") in index else None,
            anchor_elo=float(anchor.get("anchor_elo") or 0.0),
        ).rows
    except (RatingError, TypeError, ValueError):
        return ()


def _step(games: GameStore, run_id: str, document: Mapping[str, Any]) -> Step | None:
    """Where the plan of an adaptive run is; nothing where what it says makes no sense."""
    document = document.get("spec", {})
    tournament = document.get("tournament") if isinstance(document, Mapping) else None
    if not isinstance(tournament, Mapping) or tournament.get("format") != "adaptive":
        return None
    try:
        spec = SPEC.validate_python(document)
        errors = Growth(games, run_id, spec).errors
        target = float(tournament["target_error"])
        widest, error = next(((name, error) for name, error in errors.items() if error is not None), (None, None))
        return Step(number=games.plan_steps(run_id), target_error=target, widest=widest, widest_error=error)
    except (SpecError, RatingError, LookupError, TypeError, ValueError):
        return None


def _names(spec: Any) -> list[str]:  # noqa: ANN401 - whatever a document holds
    agents = spec.get("agents", []) if isinstance(spec, Mapping) else []
    return [agent["name"] for agent in agents if isinstance(agent, Mapping) and isinstance(agent.get("name"), str)]


def _pace(recorded: _Recorded, player: Holder | None, counting: int) -> tuple[float | None, float | None]:
    if player is None or player.since is None or recorded.planned is None:
        return None, None
    now = datetime.now(UTC)
    last = recorded.last_result or player.since
    found = pace(
        done=recorded.since_begin,
        left=max(0, recorded.planned - counting),
        elapsed=(now - player.since).total_seconds(),
        silent=(now - last).total_seconds(),
    )
    return (None, None) if found is None else (found.per_minute, found.seconds_left)


def _state_at_rest(recorded: _Recorded) -> RunIs:
    summary = recorded.summary
    if not recorded.files:
        return "not begun"
    if summary is None:
        # Its plan has been lost, its games have not.
        return "interrupted"
    if summary.has_ended:
        return "over"
    # Whoever comes to an end by itself publishes standings last; so does one who was stopped, with games missing.
    ends = [game.finished_at for game in recorded.last]
    is_concluded = any(row.computed_at >= end for row in summary.standings[:1] for end in ends[:1])
    excused = bool(summary.unfit or summary.put_off)
    return "over" if is_concluded and (not summary.missing or excused) and not _goes_on(summary) else "interrupted"


def _goes_on(summary: Summary) -> bool:
    return summary.precision is not None and summary.precision.goes_on and not summary.outstanding


def _advice(store: str, recorded: _Recorded, run_id: str) -> str | None:
    summary = recorded.summary
    if summary is not None and summary.has_ended:
        return None
    if WISH in recorded.document:
        return f"banzuke resume {run_id}"
    grows = summary is not None and summary.precision is not None
    if summary is None or not recorded.files or grows:
        return f"banzuke run SPEC --run-id {run_id} --store {store}, with its spec"
    return f"banzuke backfill --run {run_id} --store {store}"


def _notes(recorded: _Recorded) -> tuple[str, ...]:
    if recorded.found is None or not recorded.found.damaged:
        return ()
    first = recorded.found.damaged[0]
    return (f"{len(recorded.found.damaged)} files of games cannot be read, {first.path}: {first.reason}",)


def _in_order(shown: Sequence[Shown]) -> tuple[GameInPlay, ...]:
    """The longest first: where many wait for their turn, it is those that go on."""
    games = [
        (-(game.plies or 0), each.host, game.worker, game.lane or 0, game) for each in shown for game in each.games
    ]
    return tuple(game for *_, game in sorted(games, key=lambda entry: entry[:-1]))
