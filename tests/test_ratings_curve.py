"""The checkpoints in the order of training, and some agents of a sheet."""

from __future__ import annotations

import numpy as np
import pytest
from test_ratings_standings import standings_of, three_agents

from banzuke.ratings.curve import Progress, training_curve
from banzuke.ratings.shown import only


def test_checkpoints_are_ordered_as_they_were_made() -> None:
    """By epoch, then by step, with the figures of their rows; who knows neither is no checkpoint."""
    sheet = standings_of("abcd", three_agents(), anchor="b")
    progress = {
        "a": Progress(epoch=None, step=5),
        "b": Progress(epoch=10, step=None),
        "c": Progress(epoch=9, step=700),
        "d": Progress(epoch=None, step=None),
    }

    curve = training_curve(sheet.rows, progress)

    assert [("c", 9, 700), ("b", 10, None), ("a", None, 5)] == [(p.agent, p.epoch, p.step) for p in curve]
    row = next(row for row in sheet.rows if row.agent == "c")
    assert (row.agent_id, row.elo, row.elo_low, row.elo_high, row.games) == (
        curve[0].agent_id,
        curve[0].elo,
        curve[0].low,
        curve[0].high,
        curve[0].games,
    )
    assert () == training_curve(sheet.rows, {})


def test_some_agents_keep_their_figures() -> None:
    """Ratings and ranks are those among all; the chance of being stronger is about the next one shown."""
    sheet = standings_of("abcd", three_agents(), anchor="b")

    shown = only(sheet, {"a", "c", "d"})

    rows = {row.agent: row for row in sheet.rows}
    assert ["a", "c", "d"] == [row.agent for row in shown.rows]
    assert [1, 3, 4] == [row.rank for row in shown.rows]
    assert [(row.elo, row.elo_low) for row in shown.rows] == [(rows[name].elo, rows[name].elo_low) for name in "acd"]
    (difference,) = shown.differences
    assert ("a", "c") == (difference.agent, difference.versus)
    assert shown.rows[0].los_next == pytest.approx(difference.los)
    assert [None, None] == [row.los_next for row in shown.rows[1:]]
    assert ("a", "c", "d") == shown.crosstable.agents
    np.testing.assert_array_equal(shown.crosstable.games, [[0, 48, 0], [48, 0, 0], [0, 0, 0]])
