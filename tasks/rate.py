"""The stage called standings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from prefect import task

from banzuke.progress import announce_stage
from banzuke.ratings.standings import Difference
from storage.game_store import GameStore
from tasks.artifacts import artifact_key, show_page, show_table
from tasks.pages import crosstable_page, standings_rows
from tasks.policies import ONCE
from tasks.rating import rate_runs, rated_now
from tasks.selection import matching_agents, select_runs


@task(name="publish-standings", task_run_name="standings of {run_id}", **ONCE)
def publish_standings(store: str, run_id: str) -> Difference | None:
    """Rate every counting game of a run, publish its standings, and show who scored what against whom.

    Returns:
        How much stronger the newest checkpoint is than the one before; None where that cannot be said, and of a
        sequential test, which stops where luck ran highest.
    """
    announce_stage("standings")
    games = GameStore(store)
    rated = rated_now(games, run_id)
    games.write_standings(run_id, rated.rows)
    page = crosstable_page(run_id, rated.crosstable)
    show_page(artifact_key("crosstable", run_id), page, f"Who scored what against whom in {run_id}")
    return None if games.has_test(run_id) else rated.step


@dataclass(frozen=True, slots=True, kw_only=True)
class RatedTogether:
    """How much there was to rate."""

    runs: int
    agents: int
    games: int
    notes: tuple[str, ...]
    """What was left out, and what looks wrong with the games: a line each."""


def rate_together(
    store: str,
    runs: Sequence[str],
    since: datetime | None,
    rules: str,
    agents: Sequence[str],
    anchor: str,
    anchor_elo: float,
    count_faults: bool,
) -> RatedTogether:
    """Rate the counting games of several runs on one scale, and show them as the artifact ``standings-together``.

    Args:
        store: where they are.
        runs: ids or patterns; none for all.
        since: only runs begun since then.
        rules: only runs under these.
        agents: names or patterns of those that are shown; none for all.
        anchor: whose rating is fixed; empty for the newest run's.
        anchor_elo: at what.
        count_faults: whether a void game is a loss of the side at fault.

    Raises:
        SpecError, UnknownRunError: there is nothing of the kind.
    """
    games = GameStore(store)
    chosen = select_runs(games, named=runs, everything=not runs, since=since, rules=rules)
    rated = rate_runs(
        games,
        chosen.run_ids,
        count_faults=count_faults,
        anchor=anchor or None,
        anchor_elo=anchor_elo if anchor else None,
    )
    shown = rated.only(matching_agents(rated, agents)) if agents else rated
    played = sum(row.games for row in rated.standings.rows) // 2
    show_table(
        "standings-together",
        standings_rows(shown.standings.rows),
        f"{len(chosen.run_ids)} runs, {played} games, 95 % intervals",
    )
    return RatedTogether(
        runs=len(chosen.run_ids),
        agents=rated.agents,
        games=played,
        notes=(*chosen.left_out, *rated.standings.warnings),
    )
