"""Who is who in several runs: an agent is its content, whatever it was called."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from banzuke.ratings.curve import Progress
from banzuke.ratings.standings import Entrant
from banzuke.record import AgentRow
from storage.counting import CountingGames

Agent = tuple[str, str]
"""Name and content, as rows have them."""
_SHORT = 6
"""Digits of a content hash that tell two agents of one name apart, if they do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entrants:
    """The agents to be listed, each once, those with games first."""

    entrants: tuple[Entrant, ...]
    """Without their forfeits, which depend on which games are rated."""
    other_names: Mapping[str, tuple[str, ...]]
    """Other names of those that had any, sorted, by the name they are listed under."""
    progress: Mapping[str, Progress]
    """Of the checkpoints that say so, by name."""
    apart: tuple[str, ...]
    """A line for every content that played under several names at once, and is therefore several agents."""
    _places: Mapping[Agent, int]

    def place(self, agent: Agent) -> int:
        """Index into ``entrants`` of who had that name and content in some run; -1 for who is not listed."""
        return self._places.get(agent, -1)

    def places(self, agents: Iterable[Agent]) -> NDArray[np.int32]:
        """(agents,) :meth:`place` of each."""
        return np.array([self.place(agent) for agent in agents], dtype=np.int32)

    def index(self, name: str) -> int | None:
        """Who is listed under that name, or else is the only one that ever had it."""
        listed = [entrant.agent for entrant in self.entrants]
        if name in listed:
            return listed.index(name)
        had = {place for (agent, _), place in self._places.items() if agent == name}
        return had.pop() if len(had) == 1 else None


def identify_entrants(rosters: Sequence[Sequence[AgentRow]], found: CountingGames, rated: Collection[int]) -> Entrants:
    """One entrant for each content, under the name that it had last.

    A content that has two names in one run plays against itself there, on purpose: its names stay two agents. What an
    agent was before it was repaired, without a game that is rated, is not listed: its void attempts stay in the
    datasets.

    Args:
        rosters: the runs' agents, the oldest run first.
        found: the games.
        rated: indices of ``found.agents`` that have games to be rated.
    """
    rows = {(row.agent, row.agent_id): row for roster in rosters for row in roster}
    played = list(zip(found.agents, found.agent_ids, strict=True))
    present = {name for name, _ in rows}
    listed = [key for index, key in enumerate(played) if index in rated or key in rows or key[0] not in present]
    idle = [key for key in rows if key not in set(played)]
    seen_last = {(row.agent, row.agent_id): run for run, roster in enumerate(rosters) for row in roster}
    apart = _apart(rosters, found)
    groups: dict[Agent | str, _Group] = {}
    for key in [*listed, *idle]:
        identity = key if not key[1] or key[1] in apart else key[1]
        groups.setdefault(identity, _Group()).keys.append(key)
    for group in groups.values():
        group.keys.sort(key=lambda key: (-seen_last.get(key, -1), key))
    voids = dict(zip(played, found.void_attempts.tolist(), strict=True))
    names = _distinct([group.keys[0] for group in groups.values()])
    return Entrants(
        entrants=tuple(
            Entrant(
                agent=name,
                agent_id=group.keys[0][1],
                voids=sum(voids.get(key, 0) for key in group.keys),
                remark=_remark(rows.get(group.keys[0])),
            )
            for name, group in zip(names, groups.values(), strict=True)
        ),
        other_names={
            name: others
            for name, group in zip(names, groups.values(), strict=True)
            if (others := tuple(sorted({key[0] for key in group.keys} - {group.keys[0][0]})))
        },
        progress={
            name: progress
            for name, group in zip(names, groups.values(), strict=True)
            if (progress := _progress([rows[key] for key in group.keys if key in rows])) is not None
        },
        apart=tuple(
            f"{' and '.join(sorted(names_of))} have the same content ({content[:_SHORT]}) and are kept apart, because "
            "they play in one run"
            for content, names_of in sorted(apart.items())
        ),
        _places={key: place for place, group in enumerate(groups.values()) for key in group.keys},
    )


@dataclass(slots=True)
class _Group:
    """The names and contents that are one agent, the one seen last first."""

    keys: list[Agent] = field(default_factory=list)


def _apart(rosters: Sequence[Sequence[AgentRow]], found: CountingGames) -> dict[str, set[str]]:
    """The contents that have several names at the same time, and those names."""
    apart: dict[str, set[str]] = {}
    for roster in rosters:
        names: dict[str, set[str]] = {}
        for row in roster:
            names.setdefault(row.agent_id, set()).add(row.agent)
        for content, several in names.items():
            if content and len(several) > 1:
                apart.setdefault(content, set()).update(several)
    contents, ids = np.unique(np.array(found.agent_ids), return_inverse=True)
    if len(contents) == len(ids):
        return apart
    for first, second in ((found.first, found.second), (found.void.first, found.void.second)):
        for index in np.unique(first[ids[first] == ids[second]]).tolist() if len(first) else ():
            content = found.agent_ids[index]
            names_of = {name for name, other in zip(found.agents, found.agent_ids, strict=True) if other == content}
            apart.setdefault(content, set()).update(names_of)
    return apart


def _distinct(keys: Sequence[Agent]) -> list[str]:
    """Two contents under one name are two agents; no agent's own name can hold the sign between."""
    contents: dict[str, set[str]] = {}
    for name, content in keys:
        contents.setdefault(name, set()).add(content)
    return [
        name if len(contents[name]) == 1 else f"{name}@{content[: _telling(contents[name])]}" for name, content in keys
    ]


def _telling(contents: Collection[str]) -> int:
    digits = _SHORT
    while len({content[:digits] for content in contents}) < len(contents):
        digits += 1
    return digits


def _remark(row: AgentRow | None) -> str | None:
    if row is not None and row.fit is False:
        return f"found unfit: {row.reason or 'no reason recorded'}"
    return f"put off: {row.reason}" if row is not None and row.fit and row.reason else None


def _progress(rows: Sequence[AgentRow]) -> Progress | None:
    for row in rows:
        if row.epoch is not None or row.step is not None:
            return Progress(epoch=row.epoch, step=row.step)
    return None
