"""Who meets whom, the plan of a run, and its batches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import pytest

from banzuke.record import PlannedGame
from banzuke.schedule.batches import BATCH_SECONDS, BATCHES_PER_WORKER, LARGEST_BATCH, SHORTEST_SECONDS, cut_batches
from banzuke.schedule.gauntlet import gauntlet
from banzuke.schedule.pairing import Encounter, StartLine, game_seed, plan_games
from banzuke.schedule.round_robin import round_robin

START = "lnsgkgsnl/1r5b1/ppppppppp/9/9/9/PPPPPPPPP/1B5R1/LNSGKGSNL b - 1"


def lines(encounter: str, count: int) -> Sequence[StartLine]:
    """As many openings as asked for, other ones for every encounter."""
    return [
        StartLine(opening_id=f"{encounter}-{number}", start_position=START, moves=("7g7f",) * (number % 3))
        for number in range(count)
    ]


def plan(
    encounters: Sequence[Encounter], *, games_per_encounter: int = 6, run_id: str = "r", seed: int = 1
) -> list[PlannedGame]:
    names = {name for encounter in encounters for name in (encounter.a, encounter.b)}
    return list(
        plan_games(
            encounters,
            run_id=run_id,
            game="shogi",
            rules="csa",
            seed=seed,
            games_per_encounter=games_per_encounter,
            agent_ids={name: f"id-of-{name}" for name in names},
            openings_of=lines,
        )
    )


def names_of(encounters: Sequence[Encounter]) -> list[str]:
    return [encounter.name for encounter in encounters]


def test_in_a_round_robin_every_two_meet_once() -> None:
    """In the order of the spec, names sorted within an encounter."""
    assert ["a--c", "b--c", "c--d", "a--b", "a--d", "b--d"] == names_of(round_robin(["c", "a", "b", "d"]))


@pytest.mark.parametrize("agents", [[], ["alone"]])
def test_nobody_meets_in_too_small_a_field(agents: list[str]) -> None:
    """No encounter, no error: the plan's emptiness is judged elsewhere."""
    assert () == round_robin(agents)


def test_in_a_gauntlet_challengers_meet_the_field_and_not_each_other() -> None:
    """Each challenger meets everybody who is none, whatever their order in the spec."""
    encounters = gauntlet(["field-1", "new-1", "field-2", "new-2"], ["new-2", "new-1"])

    assert ["field-1--new-2", "field-2--new-2", "field-1--new-1", "field-2--new-1"] == names_of(encounters)


def test_a_gauntlet_of_challengers_only_is_empty() -> None:
    """There is nobody to meet."""
    assert () == gauntlet(["a", "b"], ["a", "b"])


def test_an_encounter_is_the_same_whoever_is_named_first() -> None:
    """Names are sorted, and its name reads back."""
    one, other = Encounter.between("b", "a"), Encounter.between("a", "b")

    assert one == other
    assert ["a", "b"] == one.name.split("--")


def test_a_plan_is_balanced() -> None:
    """Every encounter has its games, each opening twice with sides swapped, each agent first as often as second."""
    games = plan(round_robin(["a", "b", "c"]), games_per_encounter=6)

    assert {"a--b": 6, "a--c": 6, "b--c": 6} == Counter(game.encounter for game in games)
    assert {"a": 6, "b": 6, "c": 6} == Counter(game.first_agent for game in games)
    for one, other in zip(games[::2], games[1::2], strict=True):
        assert (0, 1) == (one.slot, other.slot)
        assert (one.pair_id, one.pair_no, one.round) == (other.pair_id, other.pair_no, other.round)
        assert (one.opening_id, one.opening_moves) == (other.opening_id, other.opening_moves)
        assert (one.first_agent, one.second_agent) == (other.second_agent, other.first_agent)
        assert one.seed != other.seed
    for encounter in ("a--b", "a--c", "b--c"):
        rounds = [(game.round, game.opening_id) for game in games if game.encounter == encounter and game.slot == 0]
        assert [(number, f"{encounter}-{number}") for number in range(3)] == rounds


def test_a_plan_goes_round_by_round_with_consecutive_numbers() -> None:
    """A run cut short has played every encounter equally often, one pair more or less."""
    games = plan(round_robin(["a", "b", "c"]), games_per_encounter=6)

    assert list(range(18)) == [game.game_no for game in games]
    assert [number // 2 for number in range(18)] == [game.pair_no for game in games]
    assert [number // 6 for number in range(18)] == [game.round for game in games]
    assert all(one.round <= other.round for one, other in pairwise(games))


def test_ids_are_unique_and_name_the_run() -> None:
    """Games and pairs of two runs of one spec are never confused."""
    games = plan(round_robin(["a", "b", "c"]), run_id="r1") + plan(round_robin(["a", "b", "c"]), run_id="r2")

    assert 36 == len({game.game_id for game in games})
    assert 18 == len({game.pair_id for game in games})
    assert all(game.game_id.startswith(f"{game.run_id}--") for game in games)


def test_what_is_played_does_not_depend_on_the_run_id() -> None:
    """Two runs of one spec differ in their ids alone."""
    one, other = plan(round_robin(["a", "b", "c"]), run_id="r1"), plan(round_robin(["a", "b", "c"]), run_id="r2")

    def named_alike(games: list[PlannedGame]) -> list[PlannedGame]:
        return [replace(game, run_id="", game_id="", pair_id="") for game in games]

    assert named_alike(one) == named_alike(other)


def test_a_game_knows_its_agents_and_its_opening() -> None:
    """Content hashes follow the sides; the opening's moves are counted."""
    for game in plan(round_robin(["a", "b"])):
        assert (f"id-of-{game.first_agent}", f"id-of-{game.second_agent}") == (
            game.first_agent_id,
            game.second_agent_id,
        )
        assert len(game.opening_moves) == game.opening_plies == game.round % 3
        assert START == game.start_position


@pytest.mark.parametrize(
    ("place", "seed"),
    [
        ((1, "a--b", 0, 0), 8_719_154_238_441_340_784),
        ((1, "a--b", 0, 1), 4_285_393_786_435_577_052),
        ((1, "a--b", 1, 0), 4_563_226_532_477_284_603),
        ((2, "a--b", 0, 0), 1_536_939_674_483_235_161),
        ((2**63 - 1, "epoch-10--random", 499_999, 1), 6_793_918_793_313_249_233),
    ],
)
def test_seeds_stay_what_they_are(place: tuple[int, str, int, int], seed: int) -> None:
    """Games recorded yesterday can be played again tomorrow: these figures may not change."""
    assert seed == game_seed(*place)
    assert seed < 2**63


def test_seeds_are_spread() -> None:
    """No two places of a plan share a seed, and the spec's seed changes every one."""
    games = plan(round_robin(["a", "b", "c", "d"]), games_per_encounter=200)
    others = plan(round_robin(["a", "b", "c", "d"]), games_per_encounter=200, seed=2)

    assert 2400 == len({game.seed for game in games + others})


def seconds(_game: PlannedGame, length: float = 1.0) -> float:
    return length


def test_batches_hold_every_game_once_in_order_and_whole_pairs() -> None:
    """No pair is torn, nothing is lost and nothing is moved."""
    games = plan(round_robin(["a", "b", "c"]), games_per_encounter=20)

    batches = cut_batches(games, seconds_of=seconds, workers=2)

    assert games == [game for batch in batches for game in batch]
    homes = Counter(game.pair_no for batch in batches for game in {game.pair_no: game for game in batch}.values())
    assert {1} == set(homes.values())


def test_a_game_whose_other_half_is_recorded_is_batched_alone() -> None:
    """After an interruption one of a pair may be missing; the rest of the cut is as ever."""
    games = plan(round_robin(["a", "b"]), games_per_encounter=20)
    left = [game for game in games if game.game_no not in {0, 5, 6, 7}]

    batches = cut_batches(left, seconds_of=seconds, workers=1)

    assert left == [game for batch in batches for game in batch]
    assert 1 == len([batch for batch in batches if 1 in {game.game_no for game in batch}])
    for batch in batches:
        for game in batch:
            there = [other for other in left if other.pair_no == game.pair_no]
            assert all(other in batch for other in there)


def test_the_two_of_a_pair_come_together_wherever_they_stood() -> None:
    """A backfill may name them in any order."""
    games = plan(round_robin(["a", "b"]), games_per_encounter=8)

    batches = cut_batches(games[::2] + games[1::2], seconds_of=seconds, workers=4)

    for batch in batches:
        assert {2} == set(Counter(game.pair_no for game in batch).values())


def standing_still(batches: Sequence[Sequence[PlannedGame]], *, length: float, workers: int) -> float:
    """Seconds that the workers stand still at the end, summed, where each takes the next batch when it is free."""
    busy = [0.0] * workers
    for batch in batches:
        soonest = busy.index(min(busy))
        busy[soonest] += length * len(batch)
    return sum(max(busy) - seconds for seconds in busy)


@pytest.mark.parametrize("estimate", [0.25, 1.0, 4.0])
@pytest.mark.parametrize(("workers", "games_per_encounter"), [(6, 4), (6, 8), (2, 12), (5, 10)])
def test_workers_end_together_where_the_pairs_can_be_shared_out_evenly(
    workers: int, games_per_encounter: int, estimate: float
) -> None:
    """As many pairs for each, whether the games are as long as was thought or not; cut alike, some play twice more."""
    games = plan(round_robin(["a", "b", "c", "d", "e", "f"]), games_per_encounter=games_per_encounter)

    batches = cut_batches(games, seconds_of=lambda game: seconds(game, 4.0 * estimate), workers=workers)

    assert 0 == len(games) // 2 % workers
    assert 0.0 == standing_still(batches, length=4.0, workers=workers)


@pytest.mark.parametrize("workers", [2, 5, 10])
def test_batches_become_smaller_towards_the_end(workers: int) -> None:
    """The first are half an even share, none is much larger than the one before, the last are short."""
    games = plan(round_robin(["a", "b"]), games_per_encounter=420)

    lengths = [0.1 * len(batch) for batch in cut_batches(games, seconds_of=lambda _: 0.1, workers=workers)]

    assert pytest.approx(42.0 / 2 / workers, abs=0.2) == lengths[0]
    assert all(later <= sooner + 0.2 for sooner, later in pairwise(lengths))
    assert max(lengths[-workers:]) <= SHORTEST_SECONDS + 0.2


@pytest.mark.parametrize("workers", [2, 8, 13])
def test_little_work_reaches_every_worker(workers: int) -> None:
    """However short the games are thought to be: that may be wrong."""
    games = plan(round_robin(["a", "b"]), games_per_encounter=400)

    sizes = [len(batch) for batch in cut_batches(games, seconds_of=lambda _: 0.001, workers=workers)]

    assert 2 * workers <= len(sizes) <= (BATCHES_PER_WORKER + 1) * workers
    assert max(sizes) <= 200 / workers + 2


def test_much_work_is_not_cut_into_nothing() -> None:
    """Where there is enough for every worker, only the very last batch is shorter than what a batch should cost."""
    games = plan(round_robin(["a", "b"]), games_per_encounter=1000)

    lengths = [0.1 * len(batch) for batch in cut_batches(games, seconds_of=lambda _: 0.1, workers=3)]

    assert min(lengths[:-1]) >= SHORTEST_SECONDS - 0.11


def test_long_work_is_cut_at_about_a_minute() -> None:
    """However much there is to do, no batch is longer, and only those of the last minutes are shorter."""
    games = plan(round_robin(["a", "b"]), games_per_encounter=600)

    batches = cut_batches(games, seconds_of=lambda game: seconds(game, 7.0), workers=2)

    lengths = [7.0 * len(batch) for batch in batches]
    before_the_end = lengths[: -2 * 5]
    assert max(lengths) <= BATCH_SECONDS + 14.0
    assert min(before_the_end) >= BATCH_SECONDS - 14.0
    assert len(before_the_end) > 60


def test_a_pair_longer_than_a_batch_is_a_batch() -> None:
    """Nothing is cut smaller than a pair."""
    games = plan(round_robin(["a", "b"]), games_per_encounter=6)

    batches = cut_batches(games, seconds_of=lambda game: seconds(game, 1000.0), workers=1)

    assert [2, 2, 2] == [len(batch) for batch in batches]


@pytest.mark.parametrize("length", [0.0, 1e-6])
def test_a_batch_has_its_most_games_however_short_they_are(length: float) -> None:
    """Very fast games do not end up in one task."""
    games = plan(round_robin(["a", "b"]), games_per_encounter=2 * LARGEST_BATCH + 2)

    sizes = [len(batch) for batch in cut_batches(games, seconds_of=lambda game: seconds(game, length), workers=1)]

    assert 2 * LARGEST_BATCH + 2 == sum(sizes)
    assert max(sizes) <= LARGEST_BATCH


def test_one_game_for_one_worker_is_one_batch() -> None:
    """The smallest thing there is."""
    games = plan(round_robin(["a", "b"]), games_per_encounter=2)[:1]

    assert [games] == cut_batches(games, seconds_of=seconds, workers=1)


def test_no_games_are_no_batches() -> None:
    """Not one empty batch."""
    assert [] == cut_batches([], seconds_of=seconds, workers=4)
