"""From the games in the store to the ranking sheet. No Prefect here: ``banzuke standings`` needs no server."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime

import numpy as np

from banzuke.ratings.scores import GameColumns
from banzuke.ratings.standings import Entrant, Standings, compute_standings
from banzuke.record import AgentRow, Standing
from banzuke.specs import RatingsSpec
from storage.game_store import GameStore
from storage.parts import DamagedPart
from storage.queries import CountingGames, counting_games, identical_games


def rate_runs(games: GameStore, run_ids: Sequence[str], *, count_faults: bool = False) -> Standings:
    """Rate all counting games of one or several runs together, on the anchor of the first run.

    Args:
        games: the store.
        run_ids: which runs.
        count_faults: whether a game that is still void counts as a loss of the side at fault.

    Raises:
        UnknownRunError: one of the runs is not in the store.
    """
    rated, damaged = _rated(games, run_ids, count_faults=count_faults)
    return replace(rated, warnings=(*rated.warnings, *store_warnings(games, run_ids, damaged)))


def rows_now(games: GameStore, run_id: str) -> list[Standing]:
    """The rows of ``standings`` as the games of a run are now, without the warnings, which cost a look at all moves.

    Raises:
        UnknownRunError: the run is not in the store.
    """
    rated, _ = _rated(games, [run_id], count_faults=False)
    return _rows(run_id, rated)


def publish(games: GameStore, run_id: str, rated: Standings) -> None:
    """Write the standings of a run. They are derived: deleting them loses nothing."""
    games.write_standings(run_id, _rows(run_id, rated))


def _rated(
    games: GameStore, run_ids: Sequence[str], *, count_faults: bool
) -> tuple[Standings, tuple[DamagedPart, ...]]:
    documents = [games.read_run(run_id) for run_id in run_ids]
    found = counting_games(games, run_ids)
    entrants, columns = _entrants(games, run_ids, found, _columns(found, count_faults=count_faults))
    ratings = RatingsSpec.model_validate(documents[0]["spec"]["ratings"])
    rated = compute_standings(
        entrants=entrants,
        games=columns,
        anchor=ratings.anchor,
        anchor_elo=ratings.anchor_elo,
    )
    return rated, found.damaged


def _rows(run_id: str, rated: Standings) -> list[Standing]:
    now = datetime.now(UTC)
    return [Standing(run_id=run_id, computed_at=now, **asdict(row)) for row in rated.rows]


def store_warnings(games: GameStore, run_ids: Sequence[str], damaged: Sequence[DamagedPart] = ()) -> list[str]:
    """What the games themselves say against the ratings: identical games, and files that could not be read."""
    warnings = [f"left out: {part.path}: {part.reason}" for part in damaged]
    same = identical_games(games, run_ids)
    if same.repeats:
        largest = same.examples[0]
        warnings.append(
            f"{same.repeats} of {same.games} games repeat an earlier one move by move and are no further evidence; "
            f"most often {largest.first_agent} against {largest.second_agent}, {largest.games} times "
            f"({', '.join(largest.game_ids[:2])})"
        )
    return warnings


def _entrants(
    games: GameStore, run_ids: Sequence[str], found: CountingGames, columns: GameColumns
) -> tuple[list[Entrant], GameColumns]:
    """Those with games first, then those of the runs' agents without any; and the columns by index into the list.

    What an agent was before it was repaired, without a game that is rated, is not listed: its void attempts stay in
    the datasets.
    """
    rows = {(row.agent, row.agent_id): row for run_id in run_ids for row in games.read_agents(run_id)}
    forfeited = np.flatnonzero(found.is_forfeit)
    lost_by_forfeit = np.where(found.first_score[forfeited] > 0.5, found.second[forfeited], found.first[forfeited])
    forfeits = np.bincount(lost_by_forfeit, minlength=len(found.agents))
    keys = list(zip(found.agents, found.agent_ids, strict=True))
    moved_first, moved_second = (
        np.bincount(side, minlength=len(keys)) for side in (columns.first_agent, columns.second_agent)
    )
    rated = moved_first + moved_second
    present = {name for name, _ in rows}
    listed = [index for index, key in enumerate(keys) if rated[index] > 0 or key in rows or key[0] not in present]
    idle = [key for key in rows if key not in keys]
    names = [name for name, _ in (*(keys[index] for index in listed), *idle)]
    entrants = [
        Entrant(
            agent=_distinct(*keys[index], names),
            agent_id=keys[index][1],
            forfeits=int(forfeits[index]),
            voids=int(found.void_attempts[index]),
            remark=_remark(rows.get(keys[index])),
        )
        for index in listed
    ]
    entrants += [Entrant(agent=_distinct(*key, names), agent_id=key[1], remark=_remark(rows[key])) for key in idle]
    if len(listed) == len(keys):
        return entrants, columns
    place = np.full(len(keys), -1)
    place[listed] = np.arange(len(listed))
    return entrants, replace(columns, first_agent=place[columns.first_agent], second_agent=place[columns.second_agent])


def _distinct(name: str, agent_id: str, names: Sequence[str]) -> str:
    """Two contents under one name are two agents; no agent's own name can hold the sign between."""
    return f"{name}@{agent_id[:6]}" if names.count(name) > 1 else name


def _remark(row: AgentRow | None) -> str | None:
    if row is not None and row.fit is False:
        return f"found unfit: {row.reason or 'no reason recorded'}"
    return f"put off: {row.reason}" if row is not None and row.fit and row.reason else None


def _columns(found: CountingGames, *, count_faults: bool) -> GameColumns:
    columns = GameColumns(
        first_agent=found.first, second_agent=found.second, first_score=found.first_score, pair=found.pair
    )
    if not count_faults:
        return columns
    blamed = ~np.isnan(found.void.first_score)
    return GameColumns(
        first_agent=np.concatenate([columns.first_agent, found.void.first[blamed]]),
        second_agent=np.concatenate([columns.second_agent, found.void.second[blamed]]),
        first_score=np.concatenate([columns.first_score, found.void.first_score[blamed]]),
        pair=np.concatenate([columns.pair, found.void.pair[blamed]]),
    )
