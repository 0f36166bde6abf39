"""From encounters to planned games: every opening twice, sides swapped, seeds that depend on the plan alone."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from banzuke.record import PlannedGame


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Encounter:
    """Two agents that meet, names sorted."""

    a: str
    b: str

    @classmethod
    def between(cls, one: str, other: str) -> Encounter:
        """The encounter of two agents, whichever is named first."""
        a, b = sorted((one, other))
        return cls(a=a, b=b)

    @property
    def name(self) -> str:
        """``"<agent>--<agent>"``; no name holds two dashes, so it reads back."""
        return f"{self.a}--{self.b}"


@dataclass(frozen=True, slots=True, kw_only=True)
class StartLine:
    """Where a pair's two games begin."""

    opening_id: str
    start_position: str
    moves: tuple[str, ...]


def plan_games(
    encounters: Sequence[Encounter],
    *,
    run_id: str,
    game: str,
    rules: str,
    seed: int,
    games_per_encounter: int,
    agent_ids: Mapping[str, str],
    openings_of: Callable[[str, int], Sequence[StartLine]],
) -> Iterator[PlannedGame]:
    """Every game of a run, round by round over all encounters, so that a run cut short is still balanced.

    Args:
        encounters: who meets whom.
        run_id: names the games; decides nothing else.
        game: the game's name.
        rules: the rule set's name.
        seed: the spec's.
        games_per_encounter: even.
        agent_ids: content hash by name.
        openings_of: (encounter name, number of pairs) -> the openings of its rounds, all different.
    """
    pairs = games_per_encounter // 2
    openings = {encounter: openings_of(encounter.name, pairs) for encounter in encounters}
    pair_no = 0
    for round_ in range(pairs):
        for encounter in encounters:
            opening = openings[encounter][round_]
            for slot, (first, second) in enumerate(((encounter.a, encounter.b), (encounter.b, encounter.a))):
                game_no = 2 * pair_no + slot
                yield PlannedGame(
                    run_id=run_id,
                    game_id=f"{run_id}--g{game_no:07d}",
                    pair_id=f"{run_id}--p{pair_no:07d}",
                    game_no=game_no,
                    pair_no=pair_no,
                    encounter=encounter.name,
                    round=round_,
                    slot=slot,
                    game=game,
                    rules=rules,
                    first_agent=first,
                    second_agent=second,
                    first_agent_id=agent_ids[first],
                    second_agent_id=agent_ids[second],
                    opening_id=opening.opening_id,
                    start_position=opening.start_position,
                    opening_plies=len(opening.moves),
                    seed=game_seed(seed, encounter.name, round_, slot),
                    opening_moves=opening.moves,
                )
            pair_no += 1


def game_seed(seed: int, encounter: str, round_: int, slot: int) -> int:
    """A game's own seed, 63 bits, from the spec's seed and the game's place in the plan."""
    text = f"{seed}|{encounter}|{round_}|{slot}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
