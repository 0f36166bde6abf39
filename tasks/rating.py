"""From the games in the store to the ranking sheet. No Prefect here: ``banzuke standings`` needs no server."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from banzuke.errors import CorruptPartError, SpecError
from banzuke.ratings.curve import CurvePoint, training_curve
from banzuke.ratings.keys import Numbers
from banzuke.ratings.regression import latest_step
from banzuke.ratings.scores import GameColumns
from banzuke.ratings.shown import only
from banzuke.ratings.standings import Crosstable, Difference, Standings, compute_standings
from banzuke.record import AgentRow, Standing
from banzuke.specs import RatingsSpec
from storage.counting import CountingGames, counting_games
from storage.game_store import GameStore, created_at
from storage.played import played_games
from tasks.evidence import Evidence, all_evidence, evidence_of
from tasks.game_warnings import damage_warnings, identical_warnings, quality_of
from tasks.identities import Entrants, identify_entrants
from tasks.importing import IMPORTED
from tasks.selection import check_one_scale, few

Documents = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class JointRating:
    """The games of one or several runs, rated together."""

    standings: Standings
    curve: tuple[CurvePoint, ...]
    """The checkpoints among its rows, in the order in which they were made."""
    other_names: Mapping[str, tuple[str, ...]]
    """What agents were called elsewhere, by the name they have in the standings."""
    agents: int
    """How many were rated or listed together, shown or not."""

    def only(self, agents: Sequence[str]) -> JointRating:
        """The same ratings, of these agents alone."""
        standings = only(self.standings, agents)
        return replace(
            self,
            standings=standings,
            curve=tuple(point for point in self.curve if point.agent in agents),
            other_names={name: others for name, others in self.other_names.items() if name in agents},
        )


def rate_runs(
    games: GameStore,
    run_ids: Sequence[str],
    *,
    count_faults: bool = False,
    anchor: str | None = None,
    anchor_elo: float | None = None,
) -> JointRating:
    """Rate all counting games of one or several runs together, and say what speaks against the result.

    An agent is its content, whatever it was called. Games that several runs have in common are dealt with as
    ``banzuke.ratings.repetition`` says; of one run every counting game counts.

    Args:
        games: the store.
        run_ids: which runs.
        count_faults: whether a game that is still void counts as a loss of the side at fault.
        anchor: name of the agent whose rating is fixed; None for the first run's anchor.
        anchor_elo: its rating; None for the first run's, or 0 if that has another anchor.

    Raises:
        UnknownRunError: one of the runs is not in the store.
        SpecError: the runs are on no one scale, or nobody is called like the anchor.
    """
    documents = {run_id: games.read_run(run_id) for run_id in run_ids}
    warnings = check_one_scale(documents)
    played = played_games(games, documents)
    found = played.counting
    rosters = {run_id: _roster(games, run_id, warnings) for run_id in _by_age(documents)}
    who = _identify(list(rosters.values()), found, count_faults=count_faults)
    own = _anchor(documents, rosters, who)
    fixed = own if anchor is None else _chosen_anchor(who, anchor)
    own_elo = _ratings(documents).anchor_elo if fixed == own else 0.0
    elo = own_elo if anchor_elo is None else anchor_elo

    def rate() -> tuple[Evidence, Standings]:
        evidence = evidence_of(games, _by_age(documents), documents, who, played)
        return evidence, _rate(who, evidence, found, fixed, elo, count_faults=count_faults)

    unpaired = [run for run, its in enumerate(documents.values()) if IMPORTED in its]
    with ThreadPoolExecutor(1) as beside:
        # Most of what may be wrong with the games is found without ratings: of ten million either takes seconds.
        rating = beside.submit(rate)
        identical = identical_warnings(games, list(documents), len(found.first))
        quality = quality_of(lambda: rating.result()[1], who, played, unpaired)
        evidence, rated = rating.result()
    if anchor is None:
        warnings += _anchor_warnings(documents, rosters, who, fixed)
    warnings += [
        *who.apart,
        *rated.warnings,
        *damage_warnings(found.damaged),
        *evidence.warnings,
        *identical,
        *quality,
    ]
    return JointRating(
        standings=replace(rated, warnings=tuple(warnings)),
        curve=training_curve(rated.rows, who.progress),
        other_names=who.other_names,
        agents=len(who.entrants),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RatedRun:
    """What the games of one run say."""

    rows: list[Standing]
    """Of ``standings``."""
    crosstable: Crosstable
    step: Difference | None
    """How much stronger the newest rated checkpoint is than the one before."""


def rated_now(games: GameStore, run_id: str) -> RatedRun:
    """The ratings as the games of a run are now, without the warnings, which cost a look at all moves.

    Raises:
        UnknownRunError: the run is not in the store.
    """
    documents = {run_id: games.read_run(run_id)}
    found = counting_games(games, [run_id])
    rosters = {run_id: games.read_agents(run_id)}
    who = _identify(list(rosters.values()), found, count_faults=False)
    fixed = _anchor(documents, rosters, who)
    rated = _rate(who, all_evidence(found), found, fixed, _ratings(documents).anchor_elo, count_faults=False)
    checkpoints = [
        name
        for row in rosters[run_id]
        if row.kind == "checkpoint" and (name := _listed_as(row.agent, rosters[run_id], who)) is not None
    ]
    return RatedRun(
        rows=rows_of(run_id, rated),
        crosstable=rated.crosstable,
        step=latest_step(checkpoints, who.progress, rated.matrix),
    )


def rows_of(run_id: str, rated: Standings) -> list[Standing]:
    """The sheet as rows of the dataset."""
    now = datetime.now(UTC)
    return [Standing(run_id=run_id, computed_at=now, **asdict(row)) for row in rated.rows]


def publish(games: GameStore, run_id: str, rated: Standings) -> None:
    """Write the standings of a run. They are derived: deleting them loses nothing."""
    games.write_standings(run_id, rows_of(run_id, rated))


def _roster(games: GameStore, run_id: str, warnings: list[str]) -> list[AgentRow]:
    """The run's agents; none where their file is damaged: its games name those that have played."""
    try:
        return games.read_agents(run_id)
    except CorruptPartError as error:
        warnings.append(f"{error}; epochs, and agents of {run_id} without a game, are not known")
        return []


def _by_age(documents: Documents) -> list[str]:
    """The oldest first."""
    return sorted(documents, key=lambda run_id: (created_at(documents[run_id]), run_id))


def _identify(rosters: Sequence[Sequence[AgentRow]], found: CountingGames, *, count_faults: bool) -> Entrants:
    sides = [found.first, found.second]
    if count_faults:
        blamed = ~np.isnan(found.void.first_score)
        sides += [found.void.first[blamed], found.void.second[blamed]]
    games_of = sum(np.bincount(side, minlength=len(found.agents)) for side in sides)
    return identify_entrants(rosters, found, set(np.flatnonzero(games_of).tolist()))


def _rate(
    who: Entrants,
    evidence: Evidence,
    found: CountingGames,
    anchor: str | None,
    anchor_elo: float,
    *,
    count_faults: bool,
) -> Standings:
    place = who.places(zip(found.agents, found.agent_ids, strict=True))
    kept = np.flatnonzero(evidence.is_rated) if not evidence.is_rated.all() else slice(None)
    first, second, score = place[found.first[kept]], place[found.second[kept]], found.first_score[kept]
    forfeited = np.flatnonzero(found.is_forfeit[kept])
    lost_by_forfeit = np.where(score[forfeited] > 0.5, second[forfeited], first[forfeited])
    forfeits = np.bincount(lost_by_forfeit, minlength=len(who.entrants)).tolist()
    columns = GameColumns(
        first_agent=first, second_agent=second, first_score=score, pair=evidence.cluster[found.pair[kept]]
    )
    return compute_standings(
        entrants=[replace(entrant, forfeits=lost) for entrant, lost in zip(who.entrants, forfeits, strict=True)],
        games=_with_faults(columns, found, place, evidence.cluster) if count_faults else columns,
        anchor=anchor,
        anchor_elo=anchor_elo,
    )


def _with_faults(columns: GameColumns, found: CountingGames, place: NDArray[np.int32], cluster: Numbers) -> GameColumns:
    void = found.void
    blamed = ~np.isnan(void.first_score)
    return GameColumns(
        first_agent=np.concatenate([columns.first_agent, place[void.first[blamed]]]),
        second_agent=np.concatenate([columns.second_agent, place[void.second[blamed]]]),
        first_score=np.concatenate([columns.first_score, void.first_score[blamed]]),
        pair=np.concatenate([columns.pair, cluster[void.pair[blamed]]]),
    )


def _ratings(documents: Documents) -> RatingsSpec:
    """What the first run's spec says."""
    return RatingsSpec.model_validate(next(iter(documents.values()))["spec"]["ratings"])


def _anchor(documents: Documents, rosters: Mapping[str, Sequence[AgentRow]], who: Entrants) -> str | None:
    """The first run's anchor by the name it is listed under; one that is not listed by its own."""
    run_id = next(iter(documents))
    return _listed_as(_ratings(documents).anchor, rosters[run_id], who)


def _listed_as(name: str | None, roster: Sequence[AgentRow], who: Entrants) -> str | None:
    if name is None:
        return None
    for row in roster:
        place = who.place((row.agent, row.agent_id)) if row.agent == name else -1
        if place >= 0:
            return who.entrants[place].agent
    index = who.index(name)
    return name if index is None else who.entrants[index].agent


def _chosen_anchor(who: Entrants, name: str) -> str:
    index = who.index(name)
    if index is not None:
        return who.entrants[index].agent
    names = [entrant.agent for entrant in who.entrants]
    near = [other for other in names if other.startswith(f"{name}@")] or difflib.get_close_matches(name, names, n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are {few(names)}"
    raise SpecError(f"standings: --anchor: none of the {len(names)} agents is called {name}; {hint}")


def _anchor_warnings(
    documents: Documents, rosters: Mapping[str, Sequence[AgentRow]], who: Entrants, anchor: str | None
) -> list[str]:
    named: dict[str, list[str]] = {}
    for run_id, document in documents.items():
        ratings = document["spec"].get("ratings")
        if ratings is not None:
            stated = RatingsSpec.model_validate(ratings)
            fixed = _listed_as(stated.anchor, rosters[run_id], who)
            named.setdefault(f"{fixed or 'the mean'} = {stated.anchor_elo:g}", []).append(run_id)
    if len(named) < 2:
        return []
    listed = few([f"{said} in {few(run_ids)}" for said, run_ids in named.items()], between="; ")
    line = (
        f"the runs fix different ratings ({listed}): {anchor or 'the mean'} is used, as in {next(iter(documents))}; "
        "choose with --anchor and --anchor-elo"
    )
    return [line]
