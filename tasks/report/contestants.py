"""Who played and under which conditions, in words: what a run's document and its agents say of themselves.

A document is what somebody wrote there, or a later version of ours: what it lacks is not said.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from banzuke.record import AgentRow
from tasks.importing import IMPORTED
from tasks.pages import LONGEST_DETAIL, one_line
from tasks.report.figures import milliseconds

_HASH_DIGITS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Contestant:
    """One agent of the run."""

    name: str
    kind: str
    plays: str
    """What decides its moves, in a line."""
    facts: tuple[tuple[str, str], ...]
    """What more there is to say of it."""
    content: str
    """The first digits of its content hash."""
    fitness: str
    limit: str
    """How long it may think, in words; empty where it has no clock of its own."""
    limit_ms: float | None
    """The longest that its own clock allows for a move, its margin not included; None without a clock."""


def contestants(document: Mapping[str, Any], rows: Sequence[AgentRow]) -> list[Contestant]:
    """Every agent of a run, in the order of its spec.

    Args:
        document: the run's ``run.json``.
        rows: its ``agents`` dataset; those that the document does not name are there, too.
    """
    specs = {str(spec.get("name")): spec for spec in _tables(section(document, "spec").get("agents"))}
    known = {row.agent: row for row in rows}
    return [_contestant(name, specs.get(name, {}), known.get(name)) for name in dict.fromkeys([*specs, *known])]


def section(table: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """A part of a document; empty where there is none."""
    found = table.get(name)
    return found if isinstance(found, Mapping) else {}


def settings_of(document: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Under which conditions the games were played, each with its name."""
    spec = section(document, "spec")
    tournament, limits, ratings = (section(spec, name) for name in ("tournament", "limits", "ratings"))
    imported = IMPORTED in document
    anchor = ratings.get("anchor")
    suite = section(spec, "evaluate").get("suite")
    said: list[tuple[str, object]] = [
        ("game", spec.get("game")),
        ("rules", tournament.get("rules")),
        ("format", "imported games of others" if imported else tournament.get("format")),
        ("challengers", ", ".join(map(str, _list(tournament.get("challengers"))))),
        ("games per encounter", None if imported else tournament.get("games_per_encounter")),
        ("target", _with("± {:g} Elo", tournament.get("target_error"))),
        ("most games", tournament.get("max_games")),
        ("drawn after", None if imported else _with("{} plies", tournament.get("max_plies"))),
        ("openings", None if imported else _file(tournament.get("openings")) or "the book that comes with Banzuke"),
        ("seed", None if imported else tournament.get("seed")),
        ("suite", _file(suite)),
        ("anchor", f"{anchor} = {_number(ratings.get('anchor_elo'))} Elo" if anchor else "the mean of all"),
        ("hard limits", None if imported else _hard_limits(limits)),
    ]
    return [(name, one_line(str(value), LONGEST_DETAIL)) for name, value in said if value not in {None, ""}]


def versions_of(document: Mapping[str, Any]) -> str:
    """The software that a run was begun with."""
    return ", ".join(f"{name} {number}" for name, number in section(document, "versions").items())


def hard_limit_ms(document: Mapping[str, Any]) -> float | None:
    """The time in which every agent has to answer, whatever its own clock says; None where others let them play."""
    if IMPORTED in document:
        return None
    seconds = section(section(document, "spec"), "limits").get("move_seconds")
    return 1000.0 * seconds if isinstance(seconds, int | float) else None


def _contestant(name: str, spec: Mapping[str, Any], row: AgentRow | None) -> Contestant:
    kind = str(spec.get("kind") or (row.kind if row else "unknown"))
    limit = section(spec, "limit")
    facts = [
        (fact, one_line(str(value), LONGEST_DETAIL)) for fact, value in _facts(spec, row) if value not in {None, ""}
    ]
    return Contestant(
        name=name,
        kind=kind,
        plays=one_line(_plays(kind, spec), LONGEST_DETAIL),
        facts=tuple(facts),
        content=row.agent_id[:_HASH_DIGITS] if row else "",
        fitness=_fitness(row),
        limit=_limit_words(limit),
        limit_ms=_limit_ms(limit),
    )


def _plays(kind: str, spec: Mapping[str, Any]) -> str:
    if kind == "random":
        return "any legal move"
    if kind == "material":
        return f"alpha-beta on material, depth {spec.get('depth', '?')}"
    if kind == "usi":
        return shlex.join(map(str, _list(spec.get("command"))))
    if kind == "checkpoint":
        return _file(spec.get("path"))
    return f"known in its games as {spec['played_as']}" if spec.get("played_as") else ""


def _facts(spec: Mapping[str, Any], row: AgentRow | None) -> list[tuple[str, object]]:
    options = section(spec, "options")
    temperature = spec.get("temperature")
    return [
        ("limit", _limit_words(section(spec, "limit"))),
        ("options", ", ".join(f"{name} = {value}" for name, value in options.items())),
        ("version", spec.get("version")),
        ("epoch", row.epoch if row else None),
        ("step", row.step if row else None),
        ("format", spec.get("format") if spec.get("format") != "auto" else None),
        (
            "moves",
            f"sampled at temperature {temperature:g}" if isinstance(temperature, float) and temperature else None,
        ),
        (
            "calls itself" if row and row.kind == "usi" else "by its file",
            row.description if row and row.kind != "external" else None,
        ),
    ]


def _fitness(row: AgentRow | None) -> str:
    if row is None or row.fit is None:
        return "not looked at"
    return "fit" if row.fit else "unfit"


def _limit_words(limit: Mapping[str, Any]) -> str:
    """As a player would say it."""
    value = {name: number for name, number in limit.items() if isinstance(number, int | float)}
    if "nodes" in value:
        return f"{value['nodes']:,} node{'' if value['nodes'] == 1 else 's'} a move"
    if "depth" in value:
        return f"depth {value['depth']}"
    if "movetime_ms" in value:
        return f"{milliseconds(value['movetime_ms'])} a move"
    base = f"{milliseconds(value['base_ms'])} a game" if value.get("base_ms") else ""
    if "byoyomi_ms" in value:
        byoyomi = f"{milliseconds(value['byoyomi_ms'])} a move"
        return f"{base}, then {byoyomi}" if base else byoyomi
    if "increment_ms" in value:
        return f"{base or 'nothing'} and {milliseconds(value['increment_ms'])} more a move"
    return ""


def _limit_ms(limit: Mapping[str, Any]) -> float | None:
    clocks = [limit.get(name) for name in ("movetime_ms", "byoyomi_ms", "base_ms", "increment_ms")]
    given = [float(clock) for clock in clocks if isinstance(clock, int | float)]
    return sum(given) if given else None


def _hard_limits(limits: Mapping[str, Any]) -> str:
    words = {"move_seconds": "{:g} s a move", "game_seconds": "{:g} s a game", "worker_memory_mb": "{} MB a worker"}
    said = (_with(form, limits.get(name)) for name, form in words.items())
    return ", ".join(part for part in said if part)


def _tables(value: object) -> list[Mapping[str, Any]]:
    return [entry for entry in _list(value) if isinstance(entry, Mapping)]


def _list(value: object) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else []


def _file(path: object) -> str:
    """Its name alone: where it lay says more of a machine than of a game."""
    return PurePath(path).name if isinstance(path, str) else ""


def _with(form: str, value: object) -> str:
    return form.format(value) if isinstance(value, int | float) else ""


def _number(value: object) -> str:
    return f"{value:g}" if isinstance(value, int | float) else "0"
