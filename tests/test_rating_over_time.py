"""Several runs on one scale: which runs, who is who, on what evidence, and relative to whom."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from several_runs import BEGUN, play
from test_store_schemas import game_record, void_record

from banzuke.errors import CorruptPartError, SpecError, UnknownRunError
from banzuke.outcome import Side
from storage.game_store import GameStore
from tasks.rating import rate_runs
from tasks.selection import matching_agents, select_runs

if TYPE_CHECKING:
    from pathlib import Path

    from tasks.rating import JointRating

OLD = {"anchor": "a" * 16, "epoch-1": "c" * 16, "epoch-2": "d" * 16}
"""The run before."""


@pytest.fixture
def store(tmp_path: Path) -> GameStore:
    return GameStore(str(tmp_path / "store"))


def names(rated: JointRating) -> set[str]:
    """Under which names agents are listed."""
    return {row.agent for row in rated.standings.rows}


def warned(rated: JointRating, words: str) -> list[str]:
    """The warnings with these words."""
    return [line for line in rated.standings.warnings if words in line]


def test_a_content_is_one_agent_under_its_last_name(store: GameStore) -> None:
    """A checkpoint seen again under another name is one agent, with all its games, and its other name is told."""
    play(store, "b-old", OLD, day=-1)
    play(store, "a-new", {"anchor": "a" * 16, "best": "d" * 16, "epoch-3": "e" * 16}, openings=range(10, 16))

    for order in (["a-new", "b-old"], ["b-old", "a-new"]):
        rated = rate_runs(store, order)

        assert {"anchor", "epoch-1", "best", "epoch-3"} == names(rated)
        assert {"best": ("epoch-2",)} == rated.other_names
        assert {"anchor": 48, "best": 48, "epoch-1": 24, "epoch-3": 24} == {
            row.agent: row.games for row in rated.standings.rows
        }


def test_two_contents_under_one_name_are_two_agents(store: GameStore) -> None:
    """Each is listed by name and content, with as many digits as tell them apart."""
    play(store, "old", {"anchor": "a" * 16, "latest": "c" * 16}, day=-1)
    play(store, "new", {"anchor": "a" * 16, "latest": "c" * 8 + "d" * 8})

    rated = rate_runs(store, ["new", "old"])

    assert {"anchor", "latest@ccccccccc", "latest@ccccccccd"} == names(rated)
    assert {} == rated.other_names
    assert ["latest@ccccccccc", "latest@ccccccccd"] == sorted(matching_agents(rated, ["lat*t"]))


def test_names_that_meet_in_one_run_stay_apart(store: GameStore) -> None:
    """One content twice in a run is there twice on purpose; that these are not joined is said."""
    play(store, "old", {"anchor": "a" * 16, "one": "c" * 16}, day=-1)
    play(store, "new", {"anchor": "a" * 16, "one": "c" * 16, "other": "c" * 16})

    rated = rate_runs(store, ["new", "old"])

    assert {"anchor", "one", "other"} == names(rated)
    assert ["one and other have the same content (cccccc) and are kept apart, because they play in one run"] == warned(
        rated, "kept apart"
    )


def test_a_run_and_its_copy_are_the_run(store: GameStore) -> None:
    """What deterministic agents play once more is not counted again, and that is said; one run alone counts whole."""
    play(store, "old", OLD, day=-1, anchor="anchor")
    play(store, "new", OLD, anchor="anchor")

    alone, both = rate_runs(store, ["old"]), rate_runs(store, ["new", "old"])

    assert alone.standings.rows == both.standings.rows
    assert () == alone.standings.warnings
    clustered, repeated = both.standings.warnings
    assert clustered.startswith("72 of 72 games begin with an opening that the same agents also played")
    assert repeated.startswith("36 games are the same as one of another run, move by move")


def test_the_same_openings_played_otherwise_all_count(store: GameStore) -> None:
    """Agents that play an opening in two ways are rated by all of their games, clustered by opening."""
    play(store, "old", OLD, day=-1, anchor="anchor")
    play(store, "new", OLD, anchor="anchor", seed=1)

    rated = rate_runs(store, ["new", "old"])

    assert [48, 48, 48] == [row.games for row in rated.standings.rows]
    (line,) = rated.standings.warnings
    assert "are one cluster" in line


def test_a_void_game_counts_in_the_cluster_of_its_opening(store: GameStore) -> None:
    """With faults counted, games without a result join the others of their pair, in every run."""
    play(store, "old", OLD, day=-1, anchor="anchor")
    play(store, "new", OLD, anchor="anchor")
    agents = {"first_agent": "anchor", "second_agent": "epoch-1", "first_agent_id": "a" * 16}
    store.record("new", [void_record("new", 100, pair_no=0, second_agent_id="c" * 16, fault=Side.SECOND, **agents)])

    rated, counted = (rate_runs(store, ["new", "old"], count_faults=faults) for faults in (False, True))

    games = {row.agent: row.games for row in rated.standings.rows}
    assert games | {"anchor": 25, "epoch-1": 25} == {row.agent: row.games for row in counted.standings.rows}
    assert [1] == [row.voids for row in counted.standings.rows if row.voids]


def test_the_curve_is_in_the_order_of_training(store: GameStore) -> None:
    """Checkpoints of all runs stand by epoch, on the scale of the standings."""
    play(store, "old", OLD, day=-1, epochs={"epoch-1": 1, "epoch-2": 2}, anchor="anchor")
    play(store, "new", {"anchor": "a" * 16, "best": "d" * 16, "epoch-0": "b" * 16}, epochs={"epoch-0": 0})

    rated = rate_runs(store, ["old", "new"])

    assert [("epoch-0", 0), ("epoch-1", 1), ("best", 2)] == [(point.agent, point.epoch) for point in rated.curve]
    assert {row.agent: row.elo for row in rated.standings.rows}["best"] == rated.curve[2].elo
    shown = rated.only(matching_agents(rated, ["epoch-2", "anchor"]))
    assert ({"best", "anchor"}, ["best"], 4) == (names(shown), [point.agent for point in shown.curve], shown.agents)


def test_the_first_runs_anchor_holds_for_all(store: GameStore) -> None:
    """It is that content, whatever it is called elsewhere; runs that say otherwise are named."""
    play(store, "old", OLD, day=-1, anchor="epoch-1", anchor_elo=50)
    play(store, "new", {"anchor": "a" * 16, "best": "c" * 16}, anchor="anchor")

    rated = rate_runs(store, ["old", "new"])

    assert 50.0 == next(row.elo for row in rated.standings.rows if row.agent == "best")
    (line,) = warned(rated, "fix different ratings")
    assert "(best = 50 in old; anchor = 0 in new): best is used, as in old" in line
    assert not warned(rate_runs(store, ["old", "new"], anchor="epoch-2"), "fix different ratings")


def test_of_many_anchors_a_few_are_named(store: GameStore) -> None:
    """Nightly runs that each fix another rating are one line that can be read, not a page."""
    for night in range(12):
        play(store, f"night-{night}", OLD, day=night - 12, anchor="anchor", anchor_elo=night)

    (line,) = warned(rate_runs(store, [f"night-{night}" for night in range(12)]), "fix different ratings")

    assert "(anchor = 0 in night-0; anchor = 1 in night-1; " in line
    assert " in night-3 and 8 more): anchor is used, as in night-0" in line


def test_an_anchor_of_choice(store: GameStore) -> None:
    """Any agent may be named, also as it was once called, with any rating; a name nobody has is refused."""
    play(store, "old", OLD, day=-1, anchor="anchor", anchor_elo=100)
    play(store, "new", {"anchor": "a" * 16, "best": "c" * 16}, anchor="anchor")

    rated = rate_runs(store, ["new", "old"], anchor="epoch-1", anchor_elo=1500.0)

    assert 1500.0 == next(row.elo for row in rated.standings.rows if row.agent == "best")
    assert 0.0 == next(
        row.elo for row in rate_runs(store, ["old"], anchor="epoch-2").standings.rows if row.agent == "epoch-2"
    )
    assert 7.0 == next(
        row.elo for row in rate_runs(store, ["new"], anchor_elo=7.0).standings.rows if row.agent == "anchor"
    )
    with pytest.raises(SpecError, match="none of the 3 agents is called epoch-3; did you mean epoch-2"):
        rate_runs(store, ["new", "old"], anchor="epoch-3")


def test_several_rule_sets_are_no_scale(store: GameStore) -> None:
    """Runs under different rules are refused by name, and the rules choose among them."""
    play(store, "a", OLD)
    play(store, "b", OLD, day=-1, rules="keisei")

    with pytest.raises(SpecError, match=r"csa \(a\), keisei \(b\); choose with --rules csa or --rules keisei"):
        rate_runs(store, ["a", "b"])
    assert ("b",) == select_runs(store, everything=True, rules="keisei").run_ids
    assert ("b",) == select_runs(store, rules="keisei").run_ids


def test_several_lengths_are_a_warning(store: GameStore) -> None:
    """Runs that draw games after different numbers of plies are rated together, and named."""
    play(store, "a", OLD, max_plies=320)
    play(store, "b", OLD, day=-1, max_plies=512)

    (line,) = warned(rate_runs(store, ["a", "b"]), "different numbers of plies")
    assert "320 (a), 512 (b)" in line


def test_a_stopped_test_is_not_taken_at_its_word(store: GameStore) -> None:
    """Games of a sequential test are rated as all are, with a warning that names the run."""
    play(store, "a", OLD)
    play(store, "b", OLD, day=-1)
    store.replace_run("b", {**store.read_run("b"), "sprt": {"agent": "epoch-1", "versus": "epoch-2"}})

    (line,) = warned(rate_runs(store, ["a", "b"]), "sequential tests stop")
    assert "(b)" in line
    assert not warned(rate_runs(store, ["a"]), "sequential tests stop")


def test_which_runs(store: GameStore) -> None:
    """The newest, those named (patterns too), all, or those begun since; what has no plan is passed over."""
    for day, run_id in enumerate(["night-1", "night-2", "noon-3"], start=-3):
        play(store, run_id, OLD, day=day)
    store.create_run("night-0", {**store.read_run("night-1"), "run_id": "night-0"})

    assert ("noon-3",) == select_runs(store).run_ids
    assert ("noon-3", "night-2", "night-1") == select_runs(store, everything=True).run_ids
    assert ("noon-3", "night-2") == select_runs(store, since=BEGUN - timedelta(days=2, hours=1)).run_ids
    assert ("night-1", "night-2") == select_runs(store, named=["night-1", "night-*"]).run_ids
    assert ("night-0",) == select_runs(store, named=["night-0"]).run_ids
    with pytest.raises(UnknownRunError, match="no run night-7"):
        select_runs(store, named=["night-7"])
    with pytest.raises(SpecError, match=r"none of the 4 runs in .* is called day-\*"):
        select_runs(store, named=["day-*"])
    with pytest.raises(SpecError, match="is begun since"):
        select_runs(store, since=BEGUN + timedelta(days=9))
    with pytest.raises(SpecError, match=r"none of the 3 agents is called z\*"):
        matching_agents(rate_runs(store, ["noon-3"]), ["epoch-*", "z*"])


def test_a_damaged_run_is_left_out_of_all(store: GameStore, tmp_path: Path) -> None:
    """One that was named is an error; of all runs it is left out, and said to be."""
    play(store, "a", OLD)
    play(store, "b", OLD, day=-1)
    (tmp_path / "store/runs/b/run.json").write_text("{")

    chosen = select_runs(store, everything=True)

    assert ("a",) == chosen.run_ids
    (line,) = chosen.left_out
    assert line.startswith("left out: ")
    with pytest.raises(CorruptPartError):
        select_runs(store, named=["b"])


def test_a_damaged_list_of_agents_takes_nobodys_rating_away(store: GameStore, tmp_path: Path) -> None:
    """The games name who played them; a warning names the file and what is not known for it."""
    play(store, "a", OLD)
    play(store, "b", OLD, day=-1)
    before = rate_runs(store, ["a", "b"])
    file = tmp_path / "store/agents/b/agents.parquet"
    file.write_bytes(file.read_bytes()[:100])

    after = rate_runs(store, ["a", "b"])

    assert [row.elo for row in before.standings.rows] == [row.elo for row in after.standings.rows]
    assert any("agents.parquet" in warning for warning in after.standings.warnings)


def test_repeats_within_a_run_count_and_are_said(store: GameStore) -> None:
    """Games that repeat another one of their own run are rated as every game is, and counted in a warning."""
    play(store, "a", {"anchor": "a" * 16, "epoch-1": "c" * 16}, openings=[1, 1, 2])

    rated = rate_runs(store, ["a"])

    assert [6, 6] == [row.games for row in rated.standings.rows]
    (line,) = warned(rated, "repeat")
    assert line.startswith("2 of 6 games repeat an earlier one of their run move by move")


def test_what_is_wrong_with_the_games_is_said(store: GameStore) -> None:
    """Pairs without their second game, and failures of one agent where it was losing, stand in the warnings."""
    play(store, "a", OLD, openings=range(20), anchor="anchor")
    epoch = {
        "first_agent": "anchor",
        "second_agent": "epoch-1",
        "first_agent_id": "a" * 16,
        "second_agent_id": "c" * 16,
    }
    failed = [
        void_record("a", 1000 + 2 * number, fault=Side.SECOND, evals=(None, None, 900, None), **epoch)
        for number in range(20)
    ]
    alone = [game_record("a", 2000 + 2 * number, opening_id=f"o-{100 + number}", **epoch) for number in range(3)]
    store.record("a", [*failed, *alone])

    lines = rate_runs(store, ["a"]).standings.warnings

    (pairs,) = [line for line in lines if "one side only" in line]
    assert pairs.startswith("3 of 63 opening pairs have results on one side only (3 of them of anchor, 1 from ")
    assert 1 == sum(line.startswith("epoch-1 was at fault for 20 of 20 games that failed") for line in lines)
    assert 1 == sum(line.startswith("epoch-1 was behind in 20 of the 20 games that failed") for line in lines)
