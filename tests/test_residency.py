"""The order in which games are played where not all networks have room."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from banzuke.record import PlannedGame
from banzuke.schedule.batches import cut_batches, cut_evenly
from banzuke.schedule.gauntlet import gauntlet
from banzuke.schedule.pairing import Encounter, StartLine, plan_games
from banzuke.schedule.residency import gather
from banzuke.schedule.round_robin import round_robin

START = "lnsgkgsnl/1r5b1/ppppppppp/9/9/9/PPPPPPPPP/1B5R1/LNSGKGSNL b - 1"
WINDOW = 64
"""Games in play at a time."""
EPOCHS = [f"epoch-{number:02d}" for number in range(50)]


def plan(encounters: Sequence[Encounter], *, games_per_encounter: int = 4) -> list[PlannedGame]:
    names = {name for encounter in encounters for name in (encounter.a, encounter.b)}
    opening = StartLine(opening_id="o", start_position=START, moves=())
    return list(
        plan_games(
            encounters,
            run_id="r",
            game="shogi",
            rules="csa",
            seed=1,
            games_per_encounter=games_per_encounter,
            agent_ids={name: name for name in names},
            openings_of=lambda _encounter, count: [opening] * count,
        )
    )


def networks_of(game: PlannedGame) -> set[str]:
    """Epochs have a network each; who is called otherwise needs none."""
    return {name for name in (game.first_agent, game.second_agent) if name.startswith("epoch")}


def gathered(games: Sequence[PlannedGame], room: int) -> list[PlannedGame]:
    return gather(games, networks_of=networks_of, room=room)


def in_play(games: Sequence[PlannedGame], window: int = WINDOW) -> Iterator[Counter[str]]:
    """How many games in play need each network, as one game after the other begins and the oldest ends."""
    playing: deque[PlannedGame] = deque()
    seated: Counter[str] = Counter()
    for game in games:
        if len(playing) == window:
            seated.subtract(networks_of(playing.popleft()))
        playing.append(game)
        seated.update(networks_of(game))
        yield +seated


def loads(games: Sequence[PlannedGame], room: int) -> Counter[str]:
    """How often each network is loaded where the one used longest ago makes room, but never one in play."""
    loaded: dict[str, None] = {}
    counts: Counter[str] = Counter()
    for game, seated in zip(games, in_play(games), strict=True):
        for network in sorted(networks_of(game)):
            counts[network] += network not in loaded
            loaded.pop(network, None)
            loaded[network] = None
            idle = [other for other in loaded if other not in seated]
            for other in idle[: max(0, len(loaded) - room)]:
                del loaded[other]
    return counts


def visits(games: Sequence[PlannedGame], block: Callable[[str], int]) -> list[set[int]]:
    """Which two blocks play each other, one after the other."""
    two = [blocks for game in games if len(blocks := {block(name) for name in networks_of(game)}) == 2]
    return [blocks for number, blocks in enumerate(two) if not number or blocks != two[number - 1]]


@st.composite
def parts_of_plans(draw: st.DrawFn) -> list[PlannedGame]:
    """Any games of a round-robin or a gauntlet between networks and others, in the plan's order."""
    epochs = EPOCHS[: draw(st.integers(0, 12))]
    agents = draw(st.permutations([*epochs, "random", "material"]))
    encounters = draw(
        st.sampled_from([round_robin(agents), gauntlet(agents, agents[:1]), gauntlet(agents, agents[:4])])
    )
    games = plan(encounters)
    return [game for game in games if draw(st.booleans())] if draw(st.booleans()) else games


@settings(max_examples=150, deadline=None)
@given(parts_of_plans(), st.integers(-1, 14))
def test_no_game_is_lost_repeated_or_torn_from_its_pair(games: list[PlannedGame], room: int) -> None:
    """Whatever is left of a plan: the same games, the two of a pair side by side, slot 0 first."""
    order = gathered(games, room)

    assert games == sorted(order, key=lambda game: game.game_no)
    changes = sum(one.pair_no != other.pair_no for one, other in pairwise(order))
    assert len({game.pair_no for game in games}) == changes + bool(order)
    assert all(one.slot < other.slot for one, other in pairwise(order) if one.pair_no == other.pair_no)


@settings(max_examples=150, deadline=None)
@given(parts_of_plans(), st.integers(-1, 14))
def test_an_encounter_stays_in_order_and_in_one_place(games: list[PlannedGame], room: int) -> None:
    """No encounter is left and taken up again after its networks have gone: at most the room is in play meanwhile."""
    order = gathered(games, room)

    for encounter in {game.encounter for game in games}:
        places = [place for place, game in enumerate(order) if game.encounter == encounter]
        numbers = [order[place].game_no for place in places]
        meanwhile = {name for game in order[places[0] : places[-1] + 1] for name in networks_of(game)}
        assert sorted(numbers) == numbers
        assert len(meanwhile) <= max(2, room)


@settings(max_examples=100, deadline=None)
@given(parts_of_plans(), st.integers(2, 14), st.randoms(use_true_random=False))
def test_batches_of_gathered_games_are_whole_pairs_in_the_same_order(
    games: list[PlannedGame], room: int, random: Random
) -> None:
    """Both cuts keep the order; games that were named in any order come together again, too."""
    order = gathered(games, room)
    shuffled = gathered(random.sample(games, len(games)), room)

    for given_order in (order, shuffled):
        cuts = [
            cut_batches(given_order, seconds_of=lambda _: 7.0, workers=2),
            cut_evenly(given_order, seconds_of=lambda _: 20.0, fewest=3),
        ]
        for batches in cuts:
            homes = Counter(number for batch in batches for number in {game.pair_no for game in batch})
            assert set(homes.values()) <= {1}
            assert games == sorted((game for batch in batches for game in batch), key=lambda game: game.game_no)
            if given_order is order:
                assert order == [game for batch in batches for game in batch]


@pytest.mark.parametrize("room", [16, 17, 100])
def test_nothing_is_moved_where_all_have_room(room: int) -> None:
    """Round by round, so that a run cut short is balanced."""
    games = plan(round_robin([*EPOCHS[:16], "random"]))

    assert games == gathered(games, room)


def test_who_has_no_network_needs_no_room() -> None:
    """However many there are."""
    games = plan(round_robin([*EPOCHS[:2], *(f"random-{number}" for number in range(9))]))

    assert games == gathered(games, 2)


def test_games_without_a_network_come_last() -> None:
    """In the plan's order, after all that have to be gathered."""
    games = plan(round_robin(["random", *EPOCHS[:5], "material"]))

    assert [game for game in games if not networks_of(game)] == gathered(games, 2)[-4:]


def test_two_visits_in_succession_share_a_block() -> None:
    """Forty networks in five blocks of eight: ten visits, every two blocks once, and never two new ones at a time."""
    block = {name: number // 8 for number, name in enumerate(EPOCHS[:40])}

    found = visits(gathered(plan(round_robin(EPOCHS[:40])), 16), lambda name: block[name])

    assert [
        {4, 3}, {4, 2}, {4, 1}, {4, 0},  # the last block stays,
        {3, 0}, {3, 1}, {3, 2},          # and back along the next row
        {2, 1}, {2, 0},
        {1, 0},
    ] == found  # fmt: skip


def test_a_visit_is_played_round_by_round() -> None:
    """What two blocks have to play is as balanced as the plan, games inside a block included."""
    games = gathered(plan(round_robin(EPOCHS[:6]), games_per_encounter=6), 4)

    assert [0] * 12 + [1] * 12 + [2] * 12 == [game.round for game in games[:36]]
    assert set(EPOCHS[2:6]) == {name for game in games[:36] for name in networks_of(game)}


@pytest.mark.parametrize("games_per_encounter", [2, 6])
def test_fifty_networks_are_loaded_a_few_times_each(games_per_encounter: int) -> None:
    """Seven blocks of at most eight: 22 blocks are loaded in 21 visits, 3.1 times each network, however many rounds."""
    games = plan(round_robin(EPOCHS), games_per_encounter=games_per_encounter)

    counts = loads(gathered(games, 16), 16)

    possible = 22 / 7
    assert possible * 50 <= counts.total() <= 1.15 * possible * 50
    assert max(counts.values()) <= 6
    # In the plan's order: 14 times a round.
    assert loads(games, 16).total() >= 14 * 50 * games_per_encounter // 2


def test_few_networks_are_in_play_at_any_time() -> None:
    """The room while a visit lasts, and half as much again while the next one begins."""
    games = plan(round_robin(EPOCHS))

    seated = [len(networks) for networks in in_play(gathered(games, 16))]

    assert max(seated) <= 24
    assert sum(number <= 16 for number in seated) >= 0.8 * len(games)


@pytest.mark.parametrize(("challengers", "most"), [(1, 50), (4, 50), (8, 80)])
def test_the_field_of_a_gauntlet_is_loaded_once_for_a_roomful_of_challengers(challengers: int, most: int) -> None:
    """Each network once; of eight, some are not in play for as long as the others have the turn, and make room."""
    games = plan(gauntlet(EPOCHS, EPOCHS[-challengers:]), games_per_encounter=20)

    counts = loads(gathered(games, 16), 16)

    assert set(EPOCHS) == set(counts)
    assert counts.total() <= most
    assert {1} == {counts[name] for name in EPOCHS[:-challengers]}
    assert loads(games, 16).total() > 9 * counts.total()


def test_the_order_is_the_same_in_every_process() -> None:
    """It follows from the games: neither from the order in a set nor from the hashes of strings."""
    # Neighbours meet first, so that ten times it is not yet known which of two comes first.
    program = (
        "from test_residency import *\n"
        "games = plan(round_robin(EPOCHS[:20]))\n"
        "neighbours = {(one, other) for one, other in zip(EPOCHS[::2], EPOCHS[1::2])}\n"
        "games.sort(key=lambda game: tuple(sorted((game.first_agent, game.second_agent))) not in neighbours)\n"
        "print([game.game_no for game in gathered(games, 2)])\n"
        "print([list(networks_of(game)) for game in games])"
    )
    printed = [
        subprocess.run(
            [sys.executable, "-c", program],
            cwd=Path(__file__).parent,
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.splitlines()
        for seed in ("1", "2", "3")
    ]

    orders, sets = zip(*printed, strict=True)
    assert 1 == len(set(orders))
    assert 3 == len(set(sets))


def test_each_encounter_is_asked_for_its_networks_once() -> None:
    """Ten million games are a few thousand encounters."""
    asked: list[str] = []

    def ask(game: PlannedGame) -> set[str]:
        asked.append(game.encounter)
        return networks_of(game)

    gather(plan(round_robin(EPOCHS[:20]), games_per_encounter=40), networks_of=ask, room=4)

    assert 190 == len(asked) == len(set(asked))
