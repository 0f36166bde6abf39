"""What a sequential test keeps in the store, and what becomes of a run that has a verdict."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_referee import HYPOTHESES, PAIRS, PLAN, POINTS, SPEC, all_records, expected, record, void

from banzuke.errors import CorruptPartError, GameAlreadyRecordedError, RunChangedError
from banzuke.specs import SPEC as SPECS
from banzuke.workers.pool import WorkerPool
from storage.game_store import GameStore
from storage.ledger import Ledger, Tallies
from tasks.refereeing import call_referee
from tasks.resuming import check_not_orphaned, check_same_test
from tasks.sequential import SequentialTest, recorded_test, report_test
from tasks.summary import summarise

TEST = SequentialTest(agent="new", versus="old", hypotheses=HYPOTHESES)
SPEC_JSON = SPECS.dump_json(SPEC).decode()
LAST = expected().last_pair or 0


@pytest.fixture
def games(tmp_path: Path) -> GameStore:
    """A test of a hundred pairs, planned and not begun."""
    store = GameStore(str(tmp_path / "store"))
    store.create_run(
        "r",
        {
            "run_id": "r",
            "created_at": "2026-05-01T12:00:00+00:00",
            "fingerprint": "",
            "spec": json.loads(SPEC_JSON),
            "sprt": TEST.document,
        },
    )
    store.write_plan("r", PLAN)
    return store


@pytest.fixture
def pool() -> Iterator[WorkerPool]:
    """Workers that are never started."""
    opened = WorkerPool(1, torch=False)
    yield opened
    opened.close()


def decision(games: GameStore) -> tuple[object, ...] | None:
    kept = games.read_decision("r")
    return None if kept is None else tuple(kept[key] for key in ("verdict", "decided_at_pair", "counts", "skipped"))


EXPECTED = ("accept_h1", LAST, list(expected().counts), [])


def test_a_verdict_that_nobody_had_time_to_keep_is_kept_by_the_next(games: GameStore, pool: WorkerPool) -> None:
    """Killed between a game's record and the verdict, or the document deleted: the games say the same again."""
    games.record("r", all_records())

    call_referee(games.uri, "r", SPEC_JSON, pool)
    first = decision(games)
    Path(games.uri, "sprt/r/decision.json").unlink()
    call_referee(games.uri, "r", SPEC_JSON, pool)

    assert EXPECTED == first == decision(games)


def test_what_lies_behind_a_verdict_is_neither_void_nor_missing(games: GameStore, pool: WorkerPool) -> None:
    """Of a decided run only the games up to the deciding pair can be missing; the others are spared."""
    early, late = PLAN[2 * LAST + 2 :][:2], PLAN[-1]
    games.record("r", all_records()[: 2 * LAST + 2])
    games.record("r", [void(late), record(early[0], 2)])

    undecided = Ledger(games, "r").tallies()
    call_referee(games.uri, "r", SPEC_JSON, pool)
    decided = Ledger(games, "r")

    counting = 2 * LAST + 3
    assert Tallies(planned=200, counting=counting, forfeits=0, void=1, missing=199 - counting) == undecided
    assert Tallies(planned=200, counting=counting, forfeits=0, void=0, missing=0, spared=200 - counting) == (
        decided.tallies()
    )
    assert ([], {}) == (decided.missing_ids(), decided.last_void())
    assert summarise(games, "r").has_ended


def test_a_game_of_a_decided_run_that_is_lost_is_missing(games: GameStore) -> None:
    """Damage before the deciding pair is made good; the verdict stays, and the report says that games lack."""
    games.record("r", all_records()[2:])
    games.write_decision("r", {**_document(games), "final": None})

    assert [PLAN[0].game_id, PLAN[1].game_id] == Ledger(games, "r").missing_ids()
    report = report_test(games, "r", TEST)
    assert report.decided_at_pair == LAST
    assert report.disagreement is not None
    assert report.disagreement.startswith("verdict continue (kept: accept_h1)")


def _document(games: GameStore) -> dict[str, object]:
    full = GameStore(games.uri + "-full")
    full.create_run("r", games.read_run("r"))
    full.write_plan("r", PLAN)
    full.record("r", all_records())
    pool = WorkerPool(1, torch=False)
    call_referee(full.uri, "r", SPEC_JSON, pool)
    pool.close()
    kept = full.read_decision("r")
    assert kept is not None
    return {key: value for key, value in kept.items() if key != "run_id"}


def test_a_skipped_pair_stays_so_for_whoever_comes_next(games: GameStore, pool: WorkerPool) -> None:
    """It is in the store before the test passes it; a result it has by then is none for the test."""
    games.write_skipped("r", [0, 3])
    games.record("r", all_records())

    call_referee(games.uri, "r", SPEC_JSON, pool)

    skipping = expected(frozenset({0, 3}))
    assert ("accept_h1", skipping.last_pair, list(skipping.counts), [0, 3]) == decision(games)
    assert report_test(games, "r", TEST).disagreement is None


def test_points_are_those_of_the_agent_whatever_its_side(games: GameStore) -> None:
    """Half points of a game are seen from the agent that is asked about; a void game has none."""
    games.record("r", [void(PLAN[0]), *all_records()[1:]])

    points = Ledger(games, "r").half_points("new")

    assert -1 == points[0, 0]
    assert POINTS.ravel()[1:].tolist() == points.ravel()[1:].tolist()
    assert (2 - POINTS.ravel()[1:]).tolist() == Ledger(games, "r").half_points("old").ravel()[1:].tolist()
    assert (PAIRS, 2) == points.shape


def test_a_run_is_gone_on_with_as_what_it_was_begun_as(games: GameStore) -> None:
    """A tournament is no test, a test no tournament, and its hypotheses stay; an old verdict makes no new run."""
    document = games.read_run("r")
    tournament = {key: value for key, value in document.items() if key != "sprt"}
    other = SequentialTest(agent="old", versus="new", hypotheses=HYPOTHESES)

    assert recorded_test(document) == TEST
    check_same_test(document, TEST)
    check_same_test(tournament, None)
    for changed, test, words in (
        (document, None, "r is a sequential test"),
        (tournament, TEST, "r is a tournament"),
        (document, other, "r was begun as another test: new against old"),
    ):
        with pytest.raises(RunChangedError, match=words):
            check_same_test(changed, test)
    games.write_skipped("r", [1])
    Path(games.uri, "plans/r/plan.parquet").unlink()
    with pytest.raises(RunChangedError, match="its plan, games or verdict are still in"):
        check_not_orphaned(games, "r")


@pytest.mark.parametrize("name", ["decision", "skipped"])
@pytest.mark.parametrize(
    "text", ["", "[]", '{"run_id": "other"}', '{"run_id": "r"}', '{"run_id": "r", "skipped": [-1]}']
)
def test_a_damaged_document_is_named_and_never_taken_for_none(games: GameStore, name: str, text: str) -> None:
    """Whatever is in its place: one line with the file and what to do."""
    path = Path(games.uri, f"sprt/r/{name}.json")
    path.parent.mkdir(parents=True)
    path.write_text(text)

    with pytest.raises(CorruptPartError, match=rf"{name}.json: .*(delete it|restore it)") as refused:
        (games.read_decision if name == "decision" else games.read_skipped)("r")

    assert 1 == len(str(refused.value).splitlines())


@pytest.mark.parametrize(
    "doctored",
    [
        {"verdict": "banana"},
        {"decided_at_pair": -1},
        {"decided_at_pair": 10**30},
        {"llr": float("nan")},
        {"pairs": -5},
        {"counts": [0, 0, 1]},
        {"counts": [0, 0, 0, 0, 10**30]},
        {"skipped": ["a", None]},
        {"skipped": [3, 3]},
        {"final": "x"},
        {"final": {"llr": 1.0, "pairs": 2, "counts": [0, 0, 0, 0, 1]}},
    ],
    ids=str,
)
def test_a_verdict_that_no_test_could_have_is_refused(games: GameStore, doctored: dict[str, object]) -> None:
    """It is neither believed nor a fault of ours: one line names the file and says to delete it."""
    path = Path(games.uri, "sprt/r/decision.json")
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"run_id": "r", **_document(games), **doctored}))

    with pytest.raises(CorruptPartError, match=r"decision.json: .*; delete it and go on with the test"):
        games.read_decision("r")


@pytest.mark.parametrize(
    "doctored", [{"agent": 7}, {"elo1": 10**400}, {"elo0": True}, {"model": "bayes"}, {"alpha": "0.05"}], ids=str
)
def test_a_run_that_asks_nothing_is_refused(doctored: dict[str, object]) -> None:
    """Its document is named damaged, whatever stands in the place of a hypothesis."""
    with pytest.raises(CorruptPartError, match="its document holds no sequential test"):
        recorded_test({"run_id": "r", "sprt": {**TEST.document, **doctored}})


def test_a_verdict_is_not_overwritten(games: GameStore) -> None:
    """Another one is refused, unless it is meant to take its place."""
    games.write_decision("r", {"verdict": "accept_h1"})

    with pytest.raises(GameAlreadyRecordedError):
        games.write_decision("r", {"verdict": "accept_h0"})
