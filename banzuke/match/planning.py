"""From a spec to every game it asks for. Reads the opening book and the suite, plays nothing, writes nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from banzuke.errors import SpecError
from banzuke.match.openings import choose_openings, default_book, read_book
from banzuke.record import PlannedGame
from banzuke.schedule.gauntlet import gauntlet
from banzuke.schedule.pairing import Encounter, StartLine, plan_games
from banzuke.schedule.round_robin import round_robin
from banzuke.specs import Spec, TournamentSpec
from banzuke.suites.positions import read_suite

MOST_GAMES = 10_000_000
"""What is larger would not fit into the memory of the machines this is for."""


def plan_run(spec: Spec, *, run_id: str, agent_ids: Mapping[str, str]) -> list[PlannedGame]:
    """Every game of the spec, in the order in which it is best played.

    Raises:
        SpecError: the opening book or the suite is at fault, the book is too small, its lines are too long for
            ``max_plies``, nobody meets anybody, or there are too many games.
    """
    tournament = spec.tournament
    if games_planned(spec) > MOST_GAMES:
        raise SpecError(f"{games_planned(spec):,} games are more than the {MOST_GAMES:,} that can be planned")
    book = default_book() if tournament.openings is None else read_book(Path(tournament.openings))
    if spec.evaluate.suite is not None:
        read_suite(Path(spec.evaluate.suite))

    def openings_of(encounter: str, count: int) -> Sequence[StartLine]:
        chosen = choose_openings(book, seed=tournament.seed, encounter=encounter, count=count)
        return [
            StartLine(opening_id=line.opening_id, start_position=line.start_position, moves=line.moves)
            for line in chosen
        ]

    planned = list(
        plan_games(
            encounters_of(spec),
            run_id=run_id,
            game=spec.game,
            rules=tournament.rules,
            seed=tournament.seed,
            games_per_encounter=tournament.games_per_encounter,
            agent_ids=agent_ids,
            openings_of=openings_of,
        )
    )
    if not planned:
        raise SpecError("the plan is empty: no two agents meet")
    _check_room(planned, tournament)
    return planned


def games_planned(spec: Spec) -> int:
    """How many games the spec asks for, without planning them."""
    agents, challengers = len(spec.agents), len(spec.tournament.challengers)
    encounters = agents * (agents - 1) // 2
    if spec.tournament.format == "gauntlet":
        encounters = challengers * (agents - challengers)
    return encounters * spec.tournament.games_per_encounter


def encounters_of(spec: Spec) -> tuple[Encounter, ...]:
    """Who meets whom."""
    names = [agent.name for agent in spec.agents]
    if spec.tournament.format == "gauntlet":
        return gauntlet(names, spec.tournament.challengers)
    return round_robin(names)


def _check_room(planned: Sequence[PlannedGame], tournament: TournamentSpec) -> None:
    longest = max(planned, key=lambda game: game.opening_plies)
    if longest.opening_plies >= tournament.max_plies:
        raise SpecError(
            f"[tournament]: max_plies: {tournament.max_plies} leaves no move to the agents after the "
            f"{longest.opening_plies} plies of opening {longest.opening_id}"
        )
