"""Which games a backfill plays. No Prefect here: ``--dry-run`` needs no server."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from banzuke.errors import BanzukeError, CorruptPartError, SpecError
from banzuke.identity import identify
from banzuke.outcome import VOIDS
from banzuke.specs import SPEC, Spec
from storage.game_store import GameStore, created_at
from storage.ledger import Ledger
from tasks.resuming import check_agents_unchanged, set_aside_damage
from tasks.selection import runs_called
from tasks.served import renewed_order

MISSING = "missing"


def parse_causes(text: str) -> tuple[str, ...]:
    """Causes from the command line; empty for all.

    Raises:
        SpecError: a word is no void termination and not ``missing``.
    """
    known = {MISSING, *(termination.value for termination in VOIDS)}
    words = tuple(word.strip() for word in text.split(",") if word.strip())
    unknown = [word for word in words if word not in known]
    if unknown:
        raise SpecError(f"--cause: {unknown[0]!r} is no cause; known: {', '.join(sorted(known))}")
    return words


def choose_runs(games: GameStore, run_ids: Sequence[str], since: datetime | None) -> list[str]:
    """The runs asked for, or all of the store, newest first; only those begun after ``since``.

    Raises:
        UnknownRunError: a run that was asked for by name and by age is not in the store.
        SpecError: no run is left.
    """
    found = list(run_ids) or games.run_ids()
    if not found:
        raise SpecError(f"backfill: there is no run in {games.uri}")
    chosen = [run_id for run_id in found if since is None or _begun(games, run_id) >= since]
    if not chosen:
        raise SpecError(f"backfill: none of {len(found)} runs in {games.uri} was begun since then")
    return chosen


def _begun(games: GameStore, run_id: str) -> datetime:
    try:
        return created_at(games.read_run(run_id))
    except CorruptPartError:
        # Of unknown age: it must be named among what is left out, not vanish.
        return datetime.max.replace(tzinfo=UTC)


def games_to_backfill(store: str, run_id: str, causes: Collection[str]) -> dict[str, str]:
    """The games without a counting result, of those causes (none given: of any), and the cause of each."""
    ledger = Ledger(GameStore(store), run_id)
    last_void = ledger.last_void()
    cause_of = {
        game_id: last_void[game_id].termination if game_id in last_void else MISSING for game_id in ledger.missing_ids()
    }
    return {game_id: cause for game_id, cause in cause_of.items() if not causes or cause in causes}


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What there is to be backfilled."""

    games: dict[str, dict[str, str]]
    """The cause by game id, by run; of complete runs nothing."""
    left_out: dict[str, BanzukeError]
    """Why a run cannot be read."""
    set_aside: tuple[str, ...]
    """A line for every damaged file that was moved."""


def void_and_missing(store: str, run_ids: Sequence[str], causes: Collection[str], *, mending: bool) -> Found:
    """What :func:`games_to_backfill` finds in each run.

    Args:
        store: where the runs are.
        run_ids: which.
        causes: as there.
        mending: whether damaged files are set aside first, so that their games are found; this writes.
    """
    games = GameStore(store)
    wanted: dict[str, dict[str, str]] = {}
    left_out: dict[str, BanzukeError] = {}
    set_aside: list[str] = []
    for run_id in run_ids:
        try:
            games.read_run(run_id)
            if mending:
                # Damage in the moves alone is not seen by who asks for results only.
                set_aside += set_aside_damage(games, run_id)
            wanted[run_id] = games_to_backfill(store, run_id, causes)
        except BanzukeError as error:
            left_out[run_id] = error
    return Found(games=wanted, left_out=left_out, set_aside=tuple(set_aside))


def obstacles(store: str, run_ids: Iterable[str]) -> Iterator[str]:
    """What would keep a backfill from playing these runs or some of their games, a line each; nothing is written."""
    games = GameStore(store)
    for run_id in run_ids:
        try:
            spec = SPEC.validate_json(spec_of_run(store, run_id, None))
            with games.playing(run_id) as holder:
                if holder is not None:
                    yield f"would be left out: run {run_id} is being played by {holder}"
        except BanzukeError as error:
            yield f"would be left out: {error}"
            continue
        for agent in spec.agents:
            fault = identify(agent).fault
            if fault is not None:
                yield f"{run_id}: {agent.name} cannot play: {fault}"


def specs_of_runs(
    store: str, run_ids: Sequence[str], parallel: int | None
) -> tuple[dict[str, str], dict[str, BanzukeError]]:
    """The spec of every run that may be gone on with, and why each of the others may not.

    Raises:
        BanzukeError: none of them may; the first one's reason.
    """
    specs: dict[str, str] = {}
    refused: dict[str, BanzukeError] = {}
    for run_id in run_ids:
        try:
            specs[run_id] = spec_of_run(store, run_id, parallel)
        except BanzukeError as error:
            refused[run_id] = error
    if not specs:
        raise next(iter(refused.values()), SpecError("backfill: no run given"))
    return specs, refused


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedRuns:
    """What a backfill that a server started has to play."""

    looked_at: int
    """Runs."""
    specs: dict[str, str]
    """Of the runs that are to be played, as this machine's catalogue has their agents."""
    left_out: tuple[str, ...]
    """A line for every run that cannot be played here."""

    @property
    def rest(self) -> str:
        """How many were left out, for the end of a sentence."""
        return f"; {len(self.left_out)} cannot be played here" if self.left_out else ""


def runs_to_backfill(
    store: str, wanted: Sequence[str], causes: Collection[str], since: datetime | None, *, concurrency: int
) -> ServedRuns:
    """The runs of these names or patterns that have void or missing games.

    Args:
        store: where they are.
        wanted: run ids or shell patterns of them; none for all.
        causes: of the games in question; none for all.
        since: only runs begun since then.
        concurrency: worker processes at once at most; 0 for what the machine allows.

    Raises:
        SpecError, UnknownRunError: there is no such run.
    """
    games = GameStore(store)
    chosen = choose_runs(games, runs_called(games, wanted), since) if wanted or games.run_ids() else []
    found = void_and_missing(store, chosen, causes, mending=True)
    left_out = [str(error) for error in found.left_out.values()]
    specs: dict[str, str] = {}
    for run_id in (run_id for run_id, todo in found.games.items() if todo):
        try:
            spec = renewed_order(store, run_id, concurrency=concurrency).spec
            check_agents_unchanged(
                run_id, {agent.name: identify(agent) for agent in spec.agents}, Ledger(games, run_id)
            )
            specs[run_id] = SPEC.dump_json(spec).decode()
        except BanzukeError as error:
            left_out.append(f"run {run_id}: {'; '.join(str(error).splitlines())}")
    return ServedRuns(looked_at=len(chosen), specs=specs, left_out=tuple(left_out))


def shared_spec(specs_json: Collection[str]) -> Spec:
    """A spec to open the workers with that all runs share: the agents of all, the smallest concurrency.

    More workers than a run allows could make its engines overstep their clocks.
    """
    specs = [SPEC.validate_json(spec_json) for spec_json in specs_json]
    limits = specs[0].limits.model_copy(update={"concurrency": min(spec.limits.concurrency for spec in specs)})
    agents = tuple(agent for spec in specs for agent in spec.agents)
    return specs[0].model_copy(update={"limits": limits, "agents": agents})


def spec_of_run(store: str, run_id: str, parallel: int | None) -> str:
    """The effective spec of a run as JSON, with as many workers as asked for.

    Raises:
        UnknownRunError: it is not in the store.
        RunChangedError: an agent with counting games is no longer what it was.
    """
    games = GameStore(store)
    spec = SPEC.validate_python(games.read_run(run_id)["spec"])
    check_agents_unchanged(run_id, {agent.name: identify(agent) for agent in spec.agents}, Ledger(games, run_id))
    if parallel is not None:
        spec = spec.model_copy(update={"limits": spec.limits.model_copy(update={"concurrency": parallel})})
    return SPEC.dump_json(spec).decode()
