"""What the games of a store say against the ratings that come of them, a line each."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import numpy as np

from banzuke.ratings.quality import Failures, GamesLookedAt, Ratings, quality_warnings
from banzuke.ratings.standings import Standings
from storage.counting import identical_games
from storage.game_store import GameStore
from storage.parts import DamagedPart
from storage.played import PlayedGames
from tasks.identities import Entrants

MOST_GAMES_COMPARED = 1_000_000
"""Move by move, which takes some seconds for every hundred thousand."""


def damage_warnings(damaged: Sequence[DamagedPart]) -> list[str]:
    """Files that could not be read."""
    return [f"left out: {part.path}: {part.reason}" for part in damaged]


def identical_warnings(games: GameStore, run_ids: Sequence[str], total: int) -> list[str]:
    """Games that repeat another one of their own run. They count, as every game of a run does.

    Args:
        games: the store.
        run_ids: which runs.
        total: how many games there are in them.
    """
    if total > MOST_GAMES_COMPARED:
        return [f"{total} games are too many to be compared move by move: whether some repeat others is not known"]
    found = [same for same in (identical_games(games, [run_id]) for run_id in run_ids) if same.repeats]
    if not found:
        return []
    largest = max((same.examples[0] for same in found), key=lambda group: group.games)
    repeats = sum(same.repeats for same in found)
    looked_at = sum(same.games for same in found)
    line = (
        f"{repeats} of {looked_at} games repeat an earlier one of their run move by move and are no further evidence, "
        f"but shorten the intervals; most often {largest.first_agent} against {largest.second_agent}, "
        f"{largest.games} times ({', '.join(largest.game_ids[:2])}): give the book openings that lead apart"
    )
    return [line]


def quality_of(
    rated: Callable[[], Standings], who: Entrants, played: PlayedGames, unpaired: Collection[int] = ()
) -> list[str]:
    """What ``banzuke.ratings.quality`` finds in all games, those that were not counted again included.

    Its tests that ask how games went take those of one opening together, as the intervals do.

    Args:
        rated: the ratings, asked for once what needs none has been found.
        who: was rated.
        played: the games.
        unpaired: numbers of runs whose openings were never to be played from both sides.
    """
    place = who.places(played.agents)
    first, second = place[played.first], place[played.second]
    is_known = (first >= 0) & (second >= 0)
    kept = slice(None) if is_known.all() else is_known
    at_fault = place[played.faulty.agent]
    attempts = np.zeros(len(who.entrants), dtype=np.int64)
    np.add.at(attempts, place[place >= 0], played.attempts[place >= 0])
    names = [entrant.agent for entrant in who.entrants]
    return quality_warnings(
        agents=names,
        openings=played.openings,
        ratings=lambda: Ratings.of(rated(), names),
        games=GamesLookedAt(
            run=played.counting.run[kept],
            pair=played.counting.pair[kept],
            opening=played.opening[kept],
            first=first[kept],
            second=second[kept],
            first_score=played.counting.first_score[kept],
            is_time_forfeit=played.is_time_forfeit[kept],
        ),
        failures=Failures(agent=at_fault[at_fault >= 0], eval_cp=played.faulty.eval_cp[at_fault >= 0]),
        attempts=attempts,
        unpaired=unpaired,
    )
