"""The referee of a sequential test: pairs in planned order, whatever is over when."""

from __future__ import annotations

import dataclasses
import random
from datetime import UTC, datetime

import numpy as np
import pytest

from banzuke.errors import SpecError, StorageError
from banzuke.match.planning import plan_run
from banzuke.match.recording import Attempt, void_record
from banzuke.outcome import Outcome, Side, Status, Termination
from banzuke.ratings import sprt
from banzuke.ratings.sequential import UNKNOWN, Course, Standpoint, fewest_pairs
from banzuke.ratings.sprt import Hypotheses, Verdict
from banzuke.record import GameRecord, PlannedGame
from banzuke.schedule.batches import cut_for_verdict
from banzuke.specs import CheckpointAgent, LimitsSpec, RandomAgent, RatingsSpec, Spec, TournamentSpec
from banzuke.workers.referee import Referee
from tasks.sequential import DEFAULTS, LANES, make_test, sparing

PAIRS = 100
HYPOTHESES = Hypotheses(0.0, 200.0)
SPEC = Spec(
    name="test",
    agents=tuple(RandomAgent(name=name, kind="random") for name in ("new", "old")),
    tournament=TournamentSpec(games_per_encounter=2 * PAIRS),
)
PLAN = plan_run(SPEC, run_id="r", agent_ids={"new": "", "old": ""})
POINTS = np.array([[2, 1], [0, 2], [2, 2], [1, 1], [2, 2], [2, 0], [2, 2], [0, 1]] * 13, dtype=np.int8)[:PAIRS]
"""What every game is worth to "new", in a strong but not perfect course."""


def record(game: PlannedGame, points: int) -> GameRecord:
    """A game with that result for "new"."""
    sides = {game.first_agent: Side.FIRST, game.second_agent: Side.SECOND}
    winner = {0: sides["old"], 1: None, 2: sides["new"]}[points]
    return dataclasses.replace(
        void(game), status=Status.PLAYED, termination=Termination.CHECKMATE, winner=winner, fault=None
    )


def void(game: PlannedGame, termination: Termination = Termination.AGENT_CRASH) -> GameRecord:
    return void_record(
        Attempt.at(game, 1), Outcome.void(termination, None, "lost"), started_at=datetime.now(UTC), worker_pid=1
    )


def all_records() -> list[GameRecord]:
    return [record(game, int(POINTS[game.pair_no, game.slot])) for game in PLAN]


class Kept:
    """What a referee had written down."""

    def __init__(self) -> None:
        self.skipped: list[list[int]] = []
        self.decisions: list[Standpoint] = []
        self.is_full = False

    def keep_skipped(self, pairs: object) -> None:
        if self.is_full:
            raise StorageError("no room")
        self.skipped.append(list(pairs))  # type: ignore[call-overload]

    def keep_decision(self, standpoint: Standpoint) -> None:
        if self.is_full:
            raise StorageError("no room")
        self.decisions.append(standpoint)


def referee(kept: Kept, *, attempts: int = 1, points: np.ndarray | None = None) -> Referee:
    start = np.full((PAIRS, 2), UNKNOWN, dtype=np.int8) if points is None else points
    return Referee(
        Course(HYPOTHESES, start),
        agent="new",
        attempts=attempts,
        keep_skipped=kept.keep_skipped,
        keep_decision=kept.keep_decision,
    )


def expected(skipped: frozenset[int] = frozenset()) -> Standpoint:
    """The decision of a test that is handed one pair after the other."""
    counts = np.zeros(5, dtype=np.int64)
    for pair in range(PAIRS):
        if pair not in skipped:
            counts[POINTS[pair].sum()] += 1
            found = sprt.test(counts, HYPOTHESES)
            if found.verdict is not Verdict.CONTINUE:
                before = tuple(sorted(number for number in skipped if number < pair))
                return Standpoint(result=found, counts=tuple(map(int, counts)), last_pair=pair, skipped=before)
    return pytest.fail("no verdict")


@pytest.mark.parametrize("seed", range(8))
def test_the_order_of_ends_and_their_grouping_change_no_decision(seed: int) -> None:
    """However games are shuffled and by how many they are told of, the same pair decides on the same counts."""
    lot, kept = random.Random(seed), Kept()
    watching, records = referee(kept), all_records()
    # Neighbours change places, as with many workers; or, in half of the cases, everything does.
    records.sort(key=lambda one: one.game_no + lot.uniform(0, 30 if seed % 2 else 10**6))

    while records:
        several = lot.randint(1, 9)
        watching.note(records[:several])
        del records[:several]

    assert [expected()] == kept.decisions
    assert [] == kept.skipped


def test_a_pair_that_is_not_settled_is_waited_for() -> None:
    """Whatever is over behind it: no pair is taken before the first open one, and nothing is kept out."""
    kept = Kept()
    watching = referee(kept)
    first, *others = all_records()

    watching.note(others)

    assert [] == kept.decisions
    assert not any(map(watching.spares, PLAN))

    watching.note([first])

    assert [expected()] == kept.decisions
    last = kept.decisions[0].last_pair
    assert last is not None
    assert [game.pair_no > last for game in PLAN] == [watching.spares(game) for game in PLAN]


def test_an_exhausted_game_has_its_pair_skipped_for_good() -> None:
    """After its last attempt the pair is kept as skipped and passed over; a result that comes later is none."""
    kept = Kept()
    watching = referee(kept, attempts=3)
    lost, *others = all_records()
    game = PLAN[0]

    watching.note([void(game), void(game, Termination.CANCELLED), *others, void(game)])
    before = list(kept.decisions)
    watching.note([void(game)])
    watching.note([lost])

    assert [] == before
    assert [[0]] == kept.skipped
    assert [expected(frozenset({0}))] == kept.decisions


def test_a_skip_that_cannot_be_kept_is_none() -> None:
    """The test does not pass a pair before that is durable; told again, it goes on, and nothing it heard is lost."""
    kept = Kept()
    watching = referee(kept)
    kept.is_full = True

    with pytest.raises(StorageError):
        watching.note([void(PLAN[0]), *all_records()[1:]])

    assert not any(map(watching.spares, PLAN))
    kept.is_full = False
    watching.note([void(PLAN[0])])

    assert [[0]] == kept.skipped
    assert [expected(frozenset({0}))] == kept.decisions


def test_a_verdict_that_could_not_be_kept_is_kept_when_there_is_room() -> None:
    """Nothing behind it is played meanwhile."""
    kept = Kept()
    watching = referee(kept)
    kept.is_full = True
    with pytest.raises(StorageError):
        watching.note(all_records())
    assert watching.spares(PLAN[-1])

    kept.is_full = False
    watching.look_at(POINTS)

    assert [expected()] == kept.decisions


def test_what_was_recorded_before_decides_at_once() -> None:
    """A referee that is called to a course that holds a verdict already has it kept, and keeps out what is behind."""
    kept = Kept()

    watching = referee(kept, points=POINTS)

    assert [expected()] == kept.decisions
    assert watching.spares(PLAN[-1])


def test_games_behind_the_verdict_are_kept_apart() -> None:
    """The counts of all games hold them, those of the decision do not; skipped pairs are in neither."""
    course = Course(HYPOTHESES, POINTS, skipped=[1, PAIRS - 1, PAIRS + 7])

    assert expected(frozenset({1})) == course.standpoint
    assert PAIRS - 2 == course.everything().pairs
    assert (1, PAIRS - 1) == course.skipped


def test_fewest_pairs_is_how_many_wins_in_a_row_decide() -> None:
    """One pair less does not decide, whoever wins; where so many are not looked at there is none."""
    fewest = fewest_pairs(HYPOTHESES, 1000)

    assert fewest is not None
    for pairs, decides in ((fewest - 1, False), (fewest, True)):
        verdicts = {sprt.test(counts, HYPOTHESES).verdict for counts in ([pairs, 0, 0, 0, 0], [0, 0, 0, 0, pairs])}
        assert decides == (verdicts != {Verdict.CONTINUE})
    assert fewest_pairs(HYPOTHESES, fewest - 1) is None


def test_batches_are_short_and_in_planned_order() -> None:
    """Long games go pair by pair, short ones by the second or by what fills the lanes."""
    long = cut_for_verdict(PLAN, seconds_of=lambda _game: 30.0, fewest=2)
    short = cut_for_verdict(PLAN, seconds_of=lambda _game: 0.099, fewest=2)
    lanes = cut_for_verdict(PLAN, seconds_of=lambda _game: 0.1, fewest=36)

    assert [2] * PAIRS == [len(batch) for batch in long]
    assert ({22}, {36}) == ({len(batch) for batch in short[:-1]}, {len(batch) for batch in lanes[:-1]})
    assert PLAN == [game for batch in short for game in batch] == [game for batch in lanes for game in batch]


def spec(**changes: object) -> Spec:
    return SPEC.model_copy(update=changes)


@pytest.mark.parametrize(
    ("changes", "agent"),
    [
        ({}, "new"),
        ({"ratings": RatingsSpec(anchor="new")}, "old"),
        ({"ratings": RatingsSpec(anchor="old")}, "new"),
        (
            {
                "tournament": TournamentSpec(games_per_encounter=60, format="gauntlet", challengers=("old",)),
                "ratings": RatingsSpec(anchor="old"),
            },
            "old",
        ),
    ],
)
def test_who_is_tested(changes: dict[str, object], agent: str) -> None:
    """A gauntlet's challenger, else the one that is not the anchor, else the first."""
    found = make_test(spec(**changes), DEFAULTS)

    assert {"new", "old"} == {found.agent, found.versus}
    assert agent == found.agent


def test_a_test_takes_few_lanes_unless_the_spec_says() -> None:
    """One for agents that think in turn, some for networks, and what the spec says where it does."""
    network = CheckpointAgent(name="net", kind="checkpoint", path="net.pt")
    said = LimitsSpec(lanes=7)

    lanes = [
        sparing(one).limits.lanes
        for one in (
            SPEC,
            spec(agents=(network, SPEC.agents[0])),
            spec(limits=said),
            spec(agents=(network,), limits=said),
        )
    ]

    assert [1, LANES, 7, 7] == lanes


@pytest.mark.parametrize(
    ("changes", "hypotheses", "fault"),
    [
        ({"agents": (*SPEC.agents, RandomAgent(name="third", kind="random"))}, {}, "the spec has 3 agents"),
        ({}, {"elo0": 60.0}, "elo0 is to be below elo1"),
        ({}, {"alpha": float("nan")}, "alpha and beta are to be above 0"),
        ({"tournament": TournamentSpec()}, {}, "games_per_encounter: 20 is the most .* at least 40 are needed"),
        ({}, {"elo1": 1e-6}, "take others: these are too near to each other, or out of all reach"),
    ],
)
def test_a_test_that_makes_no_sense_is_refused(
    changes: dict[str, object], hypotheses: dict[str, object], fault: str
) -> None:
    """Not two agents, no hypotheses, or a cap under which nothing could be decided: one line that says which."""
    with pytest.raises(SpecError, match=fault) as refused:
        make_test(spec(**changes, limits=LimitsSpec()), DEFAULTS | hypotheses)

    assert 1 == len(refused.value.faults)
