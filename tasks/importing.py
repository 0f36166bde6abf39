"""Games of others, in a store as if they had been played here: rated, browsed and reported with ours. No Prefect here.

A run of its own, with agents that cannot play. What is left out is named; nothing is written unless a game is left.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from banzuke import __version__
from banzuke.errors import GameAlreadyRecordedError, RunChangedError, SpecError, StorageError
from banzuke.identity import identify, spec_fingerprint
from banzuke.outcome import Status, Termination
from banzuke.record import SCHEMA_VERSION, AgentRow, GameRecord, PlannedGame
from banzuke.schedule.pairing import Encounter
from banzuke.settings import settings
from banzuke.specs import ExternalAgent, Spec, TournamentSpec, is_name
from storage.game_store import GameStore, created_at
from storage.notation.reading import NotationError, ReadGame, decoded, games_in, read_game
from storage.recorded import counting_games_of

ENDINGS = frozenset({".csa", ".kif", ".kifu"})
"""Of the files of a folder that are read."""
IMPORTED = "imported"
"""Key of a run's document that says so; device and opening of its games where they name none."""
RECORDED_AT_ONCE = 5_000
LONGEST_NAME = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What the files hold."""

    games: tuple[ReadGame, ...]
    left_out: tuple[str, ...]
    """A line for every game that cannot be kept, and every file that cannot be read."""


def find_games(paths: Sequence[Path]) -> Found:
    """Every game of the files, and of the CSA and KIF files in the folders.

    Raises:
        SpecError: there is no such file, or none that could hold games.
    """
    games: list[ReadGame] = []
    left_out: list[str] = []
    met: dict[tuple[str, ...], str] = {}
    for path in _files(paths):
        try:
            texts = list(games_in(decoded(path.read_bytes())))
        except OSError as error:
            left_out.append(f"{path}: {error.strerror or error}")
            continue
        except NotationError as error:
            left_out.append(f"{path}: {error}")
            continue
        for line, text in texts:
            try:
                game = read_game(text, line)
            except NotationError as error:
                left_out.append(f"{path}: {error}")
                continue
            fault = _unfit(game)
            if not fault and game.remark is not None and game.remark.game_id:
                place = f"{path}:{line}"
                before = met.setdefault((game.remark.game_id, game.black, game.white, *game.moves), place)
                fault = "" if before == place else f"it is the game of {before} ({game.remark.game_id})"
            if fault:
                left_out.append(f"{path}:{line}: {fault}")
            else:
                games.append(game)
    return Found(games=tuple(games), left_out=tuple(left_out))


def _files(paths: Sequence[Path]) -> Iterator[Path]:
    for path in paths:
        if not path.is_dir():
            if not path.exists():
                raise SpecError(f"{path}: there is no such file or folder")
            yield path
            continue
        inside = sorted(found for found in path.rglob("*") if found.suffix.lower() in ENDINGS and found.is_file())
        if not inside:
            raise SpecError(f"{path}: there is no .csa, .kif or .kifu file in it")
        yield from inside


def _unfit(game: ReadGame) -> str:
    """Why a game cannot be rated; empty if it can."""
    if game.outcome.status is Status.VOID:
        return f"it has no result ({game.outcome.detail})"
    if not game.black or not game.white:
        return "it does not say who played"
    if game.black == game.white:
        return f"{game.black} plays against itself"
    return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """What became of an import."""

    run_id: str
    games: int
    agents: Mapping[str, str]
    """What each is called here, by its name in the games."""
    warnings: tuple[str, ...]
    """A line for every other run of the store that has some of the games."""


def import_games(store: GameStore, run_id: str, found: Found) -> Imported:
    """Keep the games as a run; done again with the same games after a crash, it ends what was begun.

    Args:
        store: where.
        run_id: a new one.
        found: the games.

    Raises:
        SpecError: there is no game, or the id cannot name a run.
        RunChangedError: there is another run of that id.
    """
    if not is_name(run_id):
        raise SpecError(f"--run-id: {run_id!r}: letters, digits, '.', '_' and '-' (no '--'), at most 64")
    if not found.games:
        raise SpecError("import: there is no game with a result in it")
    games = found.games
    rules = {game.rules for game in games}
    if len(rules) > 1:
        raise SpecError(
            f"import: games under {' and '.join(sorted(rules))} rules are no run together; import each alone"
        )
    names = _named(Counter(name for game in games for name in (game.black, game.white)))
    spec = Spec(
        name=run_id,
        agents=tuple(
            ExternalAgent(name=name, kind="external", played_as=played_as) for played_as, name in names.items()
        ),
        tournament=TournamentSpec.model_validate(
            {"rules": rules.pop(), "max_plies": max(2, *(len(game.moves) for game in games))}
        ),
    )
    digest, originals = _digest(found), _originals(store, run_id, games)
    copies = _copies(store, run_id, digest)
    moment = _open(
        store,
        run_id,
        spec,
        {"games_sha256": digest, "games_of": originals, "max_plies": _limit(games)},
    )
    agent_ids = {agent.name: identify(agent).agent_id for agent in spec.agents}
    records = list(_records(run_id, found, names, agent_ids, moment))
    with suppress(GameAlreadyRecordedError):
        store.write_plan(run_id, [_planned(record) for record in records])
    store.write_agents(run_id, [_agent_row(run_id, agent, agent_ids[agent.name]) for agent in _externals(spec)])
    for begin in range(0, len(records), RECORDED_AT_ONCE):
        with suppress(GameAlreadyRecordedError):
            store.record(run_id, records[begin : begin + RECORDED_AT_ONCE])
    known = {**originals, **dict.fromkeys(copies, len(games))}
    return Imported(
        run_id=run_id,
        games=len(records),
        agents=names,
        warnings=tuple(
            f"{count} of {len(games)} games are in run {other} already: rate one of the two, not both together"
            for other, count in known.items()
        ),
    )


def _originals(store: GameStore, run_id: str, games: Sequence[ReadGame]) -> dict[str, int]:
    """How many of the games are known to have been played in which other run of the store."""
    exported: dict[str, dict[str, ReadGame]] = {}
    for game in games:
        if game.remark is not None:
            exported.setdefault(game.remark.game_id.partition("--")[0], {})[game.remark.game_id] = game
    found: dict[str, int] = {}
    for other in sorted(set(store.run_ids()) & set(exported) - {run_id}):
        wanted = exported[other]
        ids = pa.array(list(wanted))
        # Most runs of that name, in stores of others, have none of them: their moves need not be read.
        rows = store.games(other, ("game_id",)).table
        if not pc.any(pc.is_in(rows["game_id"], value_set=ids)).as_py():
            continue
        count = sum(
            record.game_id in wanted and record.moves == wanted[record.game_id].moves
            for record in counting_games_of(store, other)
        )
        if count:
            found[other] = count
    return found


def _copies(store: GameStore, run_id: str, digest: str) -> list[str]:
    """The other runs that the same games were imported as."""
    found = []
    for other in store.run_ids():
        # A damaged run is no reason to leave these games out.
        with suppress(StorageError):
            known = store.read_run(other).get(IMPORTED)
            if other != run_id and isinstance(known, Mapping) and known.get("games_sha256") == digest:
                found.append(other)
    return sorted(found)


def _limit(games: Sequence[ReadGame]) -> int | None:
    """After how many plies the games were drawn, where that is known."""
    limits = {len(game.moves) for game in games if game.outcome.termination is Termination.MAX_PLIES}
    return limits.pop() if len(limits) == 1 else None


def _externals(spec: Spec) -> Iterator[ExternalAgent]:
    return (agent for agent in spec.agents if isinstance(agent, ExternalAgent))


def _open(store: GameStore, run_id: str, spec: Spec, imported: Mapping[str, Any]) -> datetime:
    """Begin the run, or find that it was begun with the same games; when that was."""
    moment = datetime.now(UTC)
    document = {
        "run_id": run_id,
        "created_at": moment.isoformat(timespec="microseconds"),
        "spec": spec.model_dump(mode="json"),
        "fingerprint": spec_fingerprint(spec),
        "versions": {"banzuke": __version__},
        "host": settings().host,
        IMPORTED: imported,
    }
    if store.has_run(run_id):
        known = store.read_run(run_id)
        if known.get(IMPORTED, {}).get("games_sha256") != imported["games_sha256"]:
            raise RunChangedError(f"there is a run {run_id} already, of other games; give this one another --run-id")
        return created_at(known)
    store.create_run(run_id, document)
    return moment


def _digest(found: Found) -> str:
    """Of the games themselves, wherever their files are."""
    told = [
        [game.black, game.white, game.start_position, *game.moves, str(game.outcome.winner)] for game in found.games
    ]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


def _named(played_as: Mapping[str, int]) -> dict[str, str]:
    """A name that an agent may have for everybody in the games, different for different people; sorted."""
    wanted = {original: _plain(original) for original in sorted(played_as)}
    often = Counter(wanted.values())
    return {
        original: name if name and often[name] == 1 else _marked(name or "player", original)
        for original, name in wanted.items()
    }


def _plain(original: str) -> str:
    letters = re.sub(r"[^A-Za-z0-9._-]+", "-", unicodedata.normalize("NFKC", original))
    return re.sub("-{2,}", "-", letters).lstrip("._-").rstrip("-")[:LONGEST_NAME].rstrip("-")


def _marked(name: str, original: str) -> str:
    mark = hashlib.sha256(original.encode()).hexdigest()[:8]
    return f"{name[: LONGEST_NAME - 9].rstrip('-')}-{mark}"


def _records(
    run_id: str, found: Found, names: Mapping[str, str], agent_ids: Mapping[str, str], moment: datetime
) -> Iterator[GameRecord]:
    rounds: Counter[str] = Counter()
    round_of: dict[int, int] = {}
    for pair_no, slot, game in _paired(found.games):
        black, white = names[game.black], names[game.white]
        first, second = (black, white) if game.first_is_black else (white, black)
        encounter = Encounter.between(first, second).name
        times = (game.times_ms[::2], game.times_ms[1::2])
        started = game.started_at or moment
        if pair_no not in round_of:
            round_of[pair_no] = rounds[encounter]
            rounds[encounter] += 1
        opening_plies, seed = _beginning(game)
        # As where pairs are planned, with the second game of each left out that has none.
        game_no = 2 * pair_no + slot
        game_id = f"{run_id}--g{game_no:07d}"
        yield GameRecord(
            run_id=run_id,
            game_id=game_id,
            pair_id=f"{run_id}--p{pair_no:07d}",
            game_no=game_no,
            pair_no=pair_no,
            encounter=encounter,
            round=round_of[pair_no],
            slot=slot,
            attempt=1,
            attempt_id=f"{game_id}--{IMPORTED}",
            game="shogi",
            rules=game.rules,
            first_agent=first,
            second_agent=second,
            first_agent_id=agent_ids[first],
            second_agent_id=agent_ids[second],
            opening_id=game.opening or IMPORTED,
            start_position=game.start_position,
            opening_plies=opening_plies,
            seed=seed,
            status=game.outcome.status,
            termination=game.outcome.termination,
            winner=game.outcome.winner,
            fault=game.outcome.fault,
            detail=game.outcome.detail,
            plies=len(game.moves),
            moves=game.moves,
            move_times_ms=game.times_ms,
            evals=game.evals,
            first_time_ms=sum(times[0]),
            second_time_ms=sum(times[1]),
            first_max_move_ms=max(times[0], default=0),
            second_max_move_ms=max(times[1], default=0),
            started_at=started,
            finished_at=_later(started, sum(game.times_ms)),
            host=settings().host,
            device=IMPORTED,
            worker_pid=0,
            flow_run_id=None,
            task_run_id=None,
            banzuke_version=__version__,
            schema_version=SCHEMA_VERSION,
        )


def _later(moment: datetime, ms: int) -> datetime:
    try:
        return moment + timedelta(milliseconds=ms)
    except OverflowError:
        return moment


def _paired(games: Sequence[ReadGame]) -> list[tuple[int, int, ReadGame]]:
    """Number of the pair, slot and game, in this order; pairs are numbered as they are met.

    Games are a pair where our own remarks say so, and the games do not belie it; others are alone in theirs.
    """
    claimed: dict[str, list[ReadGame]] = {}
    for game in games:
        if game.remark is not None and game.remark.pair:
            claimed.setdefault(game.remark.pair, []).append(game)
    number_of: dict[str, int] = {}
    placed: list[tuple[int, int, ReadGame]] = []
    pairs = 0
    for game in games:
        remark = game.remark
        if remark is None or not remark.pair or not _are_pair(claimed[remark.pair]):
            placed.append((pairs, 0, game))
            pairs += 1
            continue
        number = number_of.setdefault(remark.pair, pairs)
        placed.append((number, remark.slot, game))
        pairs += number == pairs
    return sorted(placed, key=lambda place: place[:2])


def _are_pair(games: Sequence[ReadGame]) -> bool:
    if len(games) != 2 or {game.remark.slot for game in games if game.remark is not None} != {0, 1}:
        return False
    one, other = games
    return (one.black, one.white, one.start_position, one.opening) == (
        other.white,
        other.black,
        other.start_position,
        other.opening,
    )


def _beginning(game: ReadGame) -> tuple[int, int]:
    """Plies of the opening, and the seed: of a game that has none, a number that it has in every other import too."""
    plies = 0 if game.remark is None else game.remark.opening_plies
    if game.remark is not None and game.remark.seed is not None:
        return plies, game.remark.seed
    day = f"{game.started_at:%Y-%m-%d}" if game.started_at else ""
    told = "\n".join((game.black, game.white, day, game.start_position, *game.moves))
    return plies, int.from_bytes(hashlib.sha256(told.encode()).digest()[:6])


def _planned(record: GameRecord) -> PlannedGame:
    shared = {name: getattr(record, name) for name in PlannedGame.__slots__ if name != "opening_moves"}
    return PlannedGame(**shared, opening_moves=record.moves[: record.opening_plies])


def _agent_row(run_id: str, agent: ExternalAgent, agent_id: str) -> AgentRow:
    return AgentRow(
        run_id=run_id,
        agent=agent.name,
        agent_id=agent_id,
        kind=agent.kind,
        fit=True,
        reason=None,
        sha256=None,
        epoch=None,
        step=None,
        description=agent.played_as,
    )
