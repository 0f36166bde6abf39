"""From a spec to every game it asks for. Reads the opening book and the suite, plays nothing, writes nothing.

The plan of an adaptive tournament grows: :func:`plan_run` makes its first step, and :func:`plan_meetings` each further
one, of what ``banzuke/schedule/adaptive.py`` says from the results.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from banzuke.errors import SpecError
from banzuke.match.openings import Opening, choose_openings, default_book, read_book
from banzuke.record import PlannedGame
from banzuke.schedule.adaptive import Goal, Meeting, first_step
from banzuke.schedule.gauntlet import gauntlet
from banzuke.schedule.pairing import Encounter, StartLine, plan_games, plan_pairs
from banzuke.schedule.round_robin import round_robin
from banzuke.specs import Spec, TournamentSpec
from banzuke.suites.positions import read_suite

MOST_GAMES = 10_000_000
"""What is larger would not fit into the memory of the machines this is for."""


def plan_run(spec: Spec, *, run_id: str, agent_ids: Mapping[str, str]) -> list[PlannedGame]:
    """Every game of the spec, in the order in which it is best played; of an adaptive tournament the first step.

    Raises:
        SpecError: the opening book or the suite is at fault, the book is too small, its lines are too long for
            ``max_plies``, nobody meets anybody, or there are too many games.
    """
    tournament = spec.tournament
    if games_planned(spec) > MOST_GAMES:
        raise SpecError(f"{games_planned(spec):,} games are more than the {MOST_GAMES:,} that can be planned")
    if spec.evaluate.suite is not None:
        read_suite(Path(spec.evaluate.suite))
    if tournament.format == "adaptive":
        return _first_step(spec, run_id, agent_ids)
    planned = list(
        plan_games(
            encounters_of(spec),
            run_id=run_id,
            game=spec.game,
            rules=tournament.rules,
            seed=tournament.seed,
            games_per_encounter=tournament.games_per_encounter,
            agent_ids=agent_ids,
            openings_of=_openings_of(_book(tournament), tournament.seed),
        )
    )
    if not planned:
        raise SpecError("the plan is empty: no two agents meet")
    longest = max(planned, key=lambda game: game.opening_plies)
    _check_room(longest.opening_id, longest.opening_plies, tournament)
    return planned


def _first_step(spec: Spec, run_id: str, agent_ids: Mapping[str, str]) -> list[PlannedGame]:
    tournament = spec.tournament
    book = _book(tournament)
    # Of later steps nothing is known yet, so what they may ask of the book is checked now.
    choose_openings(book, seed=tournament.seed, encounter="", count=tournament.games_per_encounter // 2)
    longest = max(book, key=lambda opening: len(opening.moves))
    _check_room(longest.opening_id, len(longest.moves), tournament)
    return plan_meetings(spec, first_step(goal_of(spec)), {}, run_id=run_id, agent_ids=agent_ids)


def plan_meetings(
    spec: Spec,
    meetings: Sequence[Meeting],
    before: Mapping[Encounter, int],
    *,
    run_id: str,
    agent_ids: Mapping[str, str],
) -> list[PlannedGame]:
    """A step of an adaptive tournament.

    Args:
        spec: the tournament.
        meetings: a pair of games for each, in this order; agents by their place in :func:`numbered`.
        before: how many pairs of each encounter the steps before have.
        run_id: names the games; decides nothing else.
        agent_ids: content hash by name.
    """
    names = numbered(spec)
    rounds = dict(before)
    pairs: list[tuple[Encounter, int]] = []
    for low, high in meetings:
        encounter = Encounter.between(names[low], names[high])
        pairs.append((encounter, rounds.get(encounter, 0)))
        rounds[encounter] = pairs[-1][1] + 1
    return list(
        plan_pairs(
            pairs,
            run_id=run_id,
            game=spec.game,
            rules=spec.tournament.rules,
            seed=spec.tournament.seed,
            agent_ids=agent_ids,
            openings_of=_openings_of(_book(spec.tournament), spec.tournament.seed),
            first_pair_no=sum(before.values()),
        )
    )


def numbered(spec: Spec) -> list[str]:
    """The agents as an adaptive schedule numbers them: by name, for a run may be gone on with in another order."""
    return sorted(agent.name for agent in spec.agents)


def goal_of(spec: Spec) -> Goal:
    """What an adaptive tournament is to reach, and what it may use."""
    tournament = spec.tournament
    if tournament.target_error is None:
        raise SpecError("[tournament]: target_error: only an adaptive tournament has a goal")
    names, anchor = numbered(spec), spec.ratings.anchor
    return Goal(
        agents=len(names),
        anchor=None if anchor is None else names.index(anchor),
        target_error=tournament.target_error,
        pairs_per_encounter=tournament.games_per_encounter // 2,
        pairs=games_planned(spec) // 2,
    )


def games_planned(spec: Spec) -> int:
    """How many games the spec asks for, without planning them; of an adaptive tournament how many at most."""
    agents, challengers = len(spec.agents), len(spec.tournament.challengers)
    encounters = agents * (agents - 1) // 2
    if spec.tournament.format == "gauntlet":
        encounters = challengers * (agents - challengers)
    games = encounters * spec.tournament.games_per_encounter
    return games if spec.tournament.max_games is None else min(games, spec.tournament.max_games)


def encounters_of(spec: Spec) -> tuple[Encounter, ...]:
    """Who meets whom; in an adaptive tournament, who may."""
    names = [agent.name for agent in spec.agents]
    if spec.tournament.format == "gauntlet":
        return gauntlet(names, spec.tournament.challengers)
    return round_robin(names)


def _book(tournament: TournamentSpec) -> tuple[Opening, ...]:
    return default_book() if tournament.openings is None else read_book(Path(tournament.openings))


def _openings_of(book: Sequence[Opening], seed: int) -> Callable[[str, int], Sequence[StartLine]]:
    def openings_of(encounter: str, count: int) -> Sequence[StartLine]:
        chosen = choose_openings(book, seed=seed, encounter=encounter, count=count)
        return [
            StartLine(opening_id=line.opening_id, start_position=line.start_position, moves=line.moves)
            for line in chosen
        ]

    return openings_of


def _check_room(opening_id: str, plies: int, tournament: TournamentSpec) -> None:
    if plies >= tournament.max_plies:
        raise SpecError(
            f"[tournament]: max_plies: {tournament.max_plies} leaves no move to the agents after the "
            f"{plies} plies of opening {opening_id}"
        )
