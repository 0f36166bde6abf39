"""Which runs are rated together, and whether they are on one scale. No Prefect here, as in ``tasks/rating.py``."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from banzuke.errors import CorruptPartError, SpecError, StorageError, UnknownRunError
from storage.game_store import GameStore, created_at
from tasks.importing import IMPORTED

if TYPE_CHECKING:
    from tasks.rating import JointRating

_NAMED = 4
"""Runs that a line names."""
_WILD = frozenset("*?[")


@dataclass(frozen=True, slots=True, kw_only=True)
class ChosenRuns:
    """The runs to be rated. The first one's anchor is that of all."""

    run_ids: tuple[str, ...]
    left_out: tuple[str, ...]
    """A line for every run that was not asked for by its name and cannot be used."""


def select_runs(
    games: GameStore,
    *,
    named: Sequence[str] = (),
    everything: bool = False,
    since: datetime | None = None,
    rules: str | None = None,
) -> ChosenRuns:
    """The runs asked for; without ``named``, ``everything`` and ``since`` the newest one that has a plan.

    Args:
        games: the store.
        named: ids, or shell patterns of ids. Runs come in this order, those of a pattern newest first.
        everything: all runs, newest first.
        since: only those begun since then.
        rules: only those under these rules.

    Raises:
        UnknownRunError: a run that was named is not in the store, or there is none at all.
        SpecError: no run is left.
    """
    if named and everything:
        raise SpecError("standings: --all is every run, --run is some; give one of the two")
    known = games.run_ids()
    literal = [run_id for run_id in named if not _WILD & set(run_id)]
    for run_id in literal:
        games.read_run(run_id)
    asked = [run_id for pattern in named for run_id in _matching(pattern, known)] if named else known
    one_only = not named and not everything and since is None
    chosen: list[str] = []
    damaged: list[CorruptPartError] = []
    for run_id in dict.fromkeys(asked):
        try:
            document = games.read_run(run_id)
        except CorruptPartError as error:
            damaged.append(error)
            continue
        if run_id not in literal and not games.has_plan(run_id):
            continue
        is_recent = since is None or created_at(document) >= since
        if is_recent and (rules is None or _tournament(document).get("rules") == rules):
            chosen.append(run_id)
        if one_only and chosen:
            return ChosenRuns(run_ids=tuple(chosen), left_out=())
    if not chosen and damaged:
        raise damaged[0]
    if not chosen:
        raise _nothing(games, known, named, since, rules)
    return ChosenRuns(run_ids=tuple(chosen), left_out=tuple(f"left out: {error}" for error in damaged))


def runs_called(games: GameStore, wanted: Sequence[str]) -> list[str]:
    """The runs of these ids or shell patterns, each once; those of a pattern newest first.

    Raises:
        UnknownRunError: one that was asked for by its id is not in the store, or a pattern fits none.
    """
    known = games.run_ids()
    found: dict[str, None] = {}
    for name in wanted:
        matching = _matching(name, known)
        if not _WILD & set(name):
            games.read_run(name)
        elif not matching:
            raise UnknownRunError(f"none of the {len(known)} runs in {games.uri} is called {name}")
        found.update(dict.fromkeys(matching))
    return list(found)


def _matching(pattern: str, known: Sequence[str]) -> list[str]:
    if not _WILD & set(pattern):
        return [pattern]
    return [run_id for run_id in known if fnmatchcase(run_id, pattern)]


def _nothing(
    games: GameStore, known: Sequence[str], named: Sequence[str], since: datetime | None, rules: str | None
) -> StorageError | SpecError:
    if not known:
        return UnknownRunError(
            f"there is no run in {games.uri}; play one with `banzuke run SPEC --store {shlex.quote(games.uri)}`"
        )
    if not named and since is None and rules is None:
        return UnknownRunError(f"no run in {games.uri} has a plan yet; the newest is {known[0]}: run its spec again")
    asked = [f"called {' or '.join(named)}"] if named else []
    asked += [f"begun since {since:%Y-%m-%d %H:%M} UTC"] if since else []
    asked += [f"under {rules} rules"] if rules else []
    return SpecError(f"standings: none of the {len(known)} runs in {games.uri} is {' and '.join(asked)}")


def matching_agents(rated: JointRating, patterns: Sequence[str]) -> list[str]:
    """The agents that one of the shell patterns names, by the name they are listed under or one they had elsewhere.

    Raises:
        SpecError: a pattern names nobody.
    """
    names = {row.agent: {row.agent, *rated.other_names.get(row.agent, ())} for row in rated.standings.rows}
    found: set[str] = set()
    for pattern in patterns:
        # Of two files under one name both are meant by that name.
        meant = {
            agent
            for agent, known in names.items()
            if any(fnmatchcase(name, pattern) or fnmatchcase(name.partition("@")[0], pattern) for name in known)
        }
        if not meant:
            raise SpecError(
                f"standings: --agent: none of the {len(names)} agents is called {pattern}: {few(list(names))}"
            )
        found |= meant
    return [agent for agent in names if agent in found]


def check_one_scale(documents: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Whether ratings of these runs' games together mean anything.

    Args:
        documents: the runs' documents by id. What one does not say is not compared.

    Returns:
        Warnings where they can be rated together, but are not quite the same thing.

    Raises:
        SpecError: they are of several games, or under several rules.
    """
    by_game = _by(documents, lambda document: document["spec"].get("game"))
    if len(by_game) > 1:
        raise SpecError(f"standings: several games are on no one scale: {_listed(by_game)}; choose with --run")
    by_rules = _by(documents, lambda document: _tournament(document).get("rules"))
    if len(by_rules) > 1:
        raise SpecError(
            f"standings: several rule sets are on no one scale: {_listed(by_rules)}; "
            f"choose with --rules {' or --rules '.join(by_rules)}, or with --run"
        )
    lines = []
    tests = [run_id for run_id, document in documents.items() if document.get("sprt") is not None]
    if tests:
        lines.append(
            f"sequential tests stop where luck ran highest ({few(tests)}): their games exaggerate the difference of "
            "their two agents; banzuke show has the estimate that allows for it"
        )
    lines += _same_games(documents)
    by_length = _by(documents, _drawn_after)
    if len(by_length) > 1:
        lines.append(
            f"games are drawn after different numbers of plies: {_listed(by_length)}: a draw does not mean the same in "
            "all of them; where many games get so long, rate them apart with --run"
        )
    return lines


def _same_games(documents: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    for run_id, document in documents.items():
        for original, count in document.get(IMPORTED, {}).get("games_of", {}).items():
            if original in documents:
                yield (
                    f"{count} games of run {run_id} are games of run {original}, under agents of their own, and count "
                    "twice here: rate one of the two with --run"
                )


def _drawn_after(document: Mapping[str, Any]) -> object:
    """None where nobody has said it: a spec of imported games was made from the games."""
    if IMPORTED in document:
        return document[IMPORTED].get("max_plies")
    return _tournament(document).get("max_plies")


def _tournament(document: Mapping[str, Any]) -> Mapping[str, Any]:
    tournament = document["spec"].get("tournament", {})
    return tournament if isinstance(tournament, Mapping) else {}


def _by(documents: Mapping[str, Mapping[str, Any]], say: Callable[[Mapping[str, Any]], object]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for run_id, document in documents.items():
        said = say(document)
        if said is not None:
            found.setdefault(str(said), []).append(run_id)
    return found


def _listed(runs_by: Mapping[str, Sequence[str]]) -> str:
    return ", ".join(f"{said} ({few(run_ids)})" for said, run_ids in runs_by.items())


def few(names: Sequence[str], between: str = ", ") -> str:
    """The first names, and how many more there are."""
    shown = between.join(names[:_NAMED])
    return shown if len(names) <= _NAMED else f"{shown} and {len(names) - _NAMED} more"
