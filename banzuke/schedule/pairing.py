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
    rounds = range(games_per_encounter // 2)
    return plan_pairs(
        [(encounter, round_) for round_ in rounds for encounter in encounters],
        run_id=run_id,
        game=game,
        rules=rules,
        seed=seed,
        agent_ids=agent_ids,
        openings_of=openings_of,
    )


def plan_pairs(
    pairs: Sequence[tuple[Encounter, int]],
    *,
    run_id: str,
    game: str,
    rules: str,
    seed: int,
    agent_ids: Mapping[str, str],
    openings_of: Callable[[str, int], Sequence[StartLine]],
    first_pair_no: int = 0,
) -> Iterator[PlannedGame]:
    """The two games of each pair, in the order given.

    Args:
        pairs: who meets whom, and in which round of theirs.
        run_id: as for :func:`plan_games`, and so the others.
        game: likewise.
        rules: likewise.
        seed: likewise.
        agent_ids: likewise.
        openings_of: likewise; asked once for each encounter, for as many as its last round needs.
        first_pair_no: how many pairs of the run were planned before.
    """
    last_round: dict[Encounter, int] = {}
    for encounter, round_ in pairs:
        last_round[encounter] = max(last_round.get(encounter, 0), round_)
    openings = {encounter: openings_of(encounter.name, last + 1) for encounter, last in last_round.items()}
    for pair_no, (encounter, round_) in enumerate(pairs, start=first_pair_no):
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


def game_seed(seed: int, encounter: str, round_: int, slot: int) -> int:
    """A game's own seed, 63 bits, from the spec's seed and the game's place in the plan."""
    text = f"{seed}|{encounter}|{round_}|{slot}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
