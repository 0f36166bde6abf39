"""A run's games in a notation that other programs read. No Prefect here: nothing is played."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import IO, Literal

from banzuke.errors import CorruptPartError, SpecError
from banzuke.record import GameRecord
from storage.game_store import GameStore
from storage.notation.csa import BETWEEN_GAMES, to_csa
from storage.notation.kif import to_kif
from storage.notation.usi import to_usi
from storage.recorded import counting_games_of
from tasks.whole_file import whole_file

Notation = Literal["csa", "kif", "usi"]
_WRITERS: Mapping[Notation, Callable[[GameRecord], str]] = {"csa": to_csa, "kif": to_kif, "usi": to_usi}
_BETWEEN: Mapping[Notation, str] = {"csa": BETWEEN_GAMES, "kif": "\n", "usi": "\n"}
SHIFT_JIS = "cp932"
"""What a file called ``.kif`` is read in; one called ``.kifu`` is UTF-8."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """What was written."""

    games: int
    files: int


def wanted_games(
    store: GameStore, run_id: str, agents: Collection[str] = (), *, voids: bool = False
) -> Iterator[GameRecord]:
    """The games of a run by number.

    Args:
        store: where the run is.
        run_id: which.
        agents: only games in which one of these names or shell patterns plays; none for all.
        voids: whether games come too that were tried and have no result.

    Raises:
        SpecError: no agent of the run is called so.
        UnknownRunError: there is no such run.
        CorruptPartError: a file of its games is damaged.
    """
    lost = store.games(
        run_id, ("game_no", "moves"), reduce=lambda piece: piece.drop_columns(["moves"]), each_once=False
    ).damaged
    if lost:
        named = "; ".join(f"{part.path}: {part.reason}" for part in lost)
        raise CorruptPartError(
            f"run {run_id}: not all of it can be read ({named}); a backfill sets that aside and plays its games again"
        )
    names = {row.agent for row in store.read_agents(run_id)}
    chosen = {name for name in names for pattern in agents if fnmatchcase(name, pattern)}
    if agents and not chosen:
        raise SpecError(f"--agent: no agent of run {run_id} is called {' or '.join(agents)}")
    for record in counting_games_of(store, run_id, voids=voids):
        if not agents or {record.first_agent, record.second_agent} & chosen:
            yield record


def export_to(
    output: IO[str],
    games: Iterable[GameRecord],
    notation: Notation,
    *,
    write: Callable[[GameRecord], str] | None = None,
) -> Exported:
    """Write the games one after the other; by ``write``, where a file wants them otherwise."""
    spelt, count = write or _WRITERS[notation], 0
    for count, record in enumerate(games, 1):
        output.write((_BETWEEN[notation] if count > 1 else "") + spelt(record))
    return Exported(games=count, files=1)


def export_to_file(path: Path, games: Iterable[GameRecord], notation: Notation) -> Exported:
    """Write the games into one file, which is there whole or not at all.

    Raises:
        StorageError: it cannot be written.
    """
    with _file_of_games(path) as output:
        return export_to(output, games, notation, write=_writer(path, notation))


def export_to_folder(folder: Path, games: Iterable[GameRecord], notation: Notation) -> Exported:
    """Write a file for each game, called by its id.

    Raises:
        StorageError: one cannot be written.
    """
    count = 0
    for count, record in enumerate(games, 1):  # noqa: B007 - how many there were
        path = folder / f"{record.game_id}.{notation}"
        with _file_of_games(path) as output:
            output.write(_writer(path, notation)(record))
    return Exported(games=count, files=count)


def _writer(path: Path, notation: Notation) -> Callable[[GameRecord], str]:
    """A game of KIF names the encoding of its file."""
    is_named = notation == "kif" and _encoding(path) == SHIFT_JIS
    return partial(to_kif, encoding="Shift_JIS") if is_named else _WRITERS[notation]


def _encoding(path: Path) -> str:
    return SHIFT_JIS if path.suffix == ".kif" else "utf-8"


def _file_of_games(path: Path) -> AbstractContextManager[IO[str]]:
    # Names and remarks are ASCII; whatever else cannot be said in it is not worth a game.
    return whole_file(path, "x", encoding=_encoding(path), errors="replace", newline="\n")
