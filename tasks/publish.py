"""The stage called persist: compact the parts, sum up, and show it in Prefect."""

from __future__ import annotations

from collections.abc import Collection

from prefect import task

from banzuke.progress import announce_stage
from banzuke.specs import SPEC
from storage.game_store import GameStore
from storage.ledger import Ledger
from tasks.artifacts import artifact_key, show_page, show_table
from tasks.growing import precision_of
from tasks.missing import missing_games
from tasks.pages import failures_note, failures_page, masked, run_page, standings_note, standings_rows
from tasks.policies import MACHINERY
from tasks.summary import Summary, summarise


@task(name="persist-run", task_run_name="persist {run_id}", **MACHINERY)
def persist_run(store: str, run_id: str) -> Summary:
    """Merge the run's parts into large files, sum the run up, and show it: standings, failures, where it is."""
    announce_stage("persist")
    games = GameStore(store)
    games.compact(run_id, thorough=False)
    summary = summarise(games, run_id)
    show_table(artifact_key("standings", run_id), standings_rows(summary.standings), standings_note(summary))
    failures = failures_page(summary, missing_games(games, summary), store)
    show_page(artifact_key("failures", run_id), failures, failures_note(summary))
    show_where(store, run_id)
    return summary


def show_where(store: str, run_id: str) -> None:
    """Show where a run is, and how to get at its games."""
    page = run_page(run_id, GameStore(store).read_run(run_id), store)
    show_page(artifact_key("run", run_id), page, masked(store))


def agents_to_play(store: str, run_id: str, wanted: Collection[str] | None = None) -> list[str]:
    """The agents that have games still to be played, in the order of the plan.

    Of an adaptive run whose plan is going to grow, all: who will meet whom is not known yet.

    Args:
        store: where the run is.
        run_id: which run.
        wanted: ids of the games in question; None for all that are missing.
    """
    ledger = Ledger(GameStore(store), run_id)
    missing = set(ledger.missing_ids())
    if wanted is not None:
        missing.intersection_update(wanted)
    elif (precision := precision_of(GameStore(store), run_id)) is not None and (missing or precision.goes_on):
        spec = SPEC.validate_python(GameStore(store).read_run(run_id)["spec"])
        return [agent.name for agent in spec.agents]
    names: dict[str, None] = {}
    for game in ledger.plan:
        if game.game_id in missing:
            names.update({game.first_agent: None, game.second_agent: None})
    return list(names)
