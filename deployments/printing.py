"""Tables and JSON for people and programs. Numbers in JSON are finite or null."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.console import Console, JustifyMethod
from rich.table import Table
from rich.text import Text

from deployments.curve_table import curve_table
from deployments.verdicts import sprt_json, sprt_lines
from tasks.pages import chance_words

if TYPE_CHECKING:
    from banzuke.ratings.standings import StandingRow, Standings
    from banzuke.record import Standing
    from storage.ledger import Tallies
    from tasks.rating import JointRating
    from tasks.summary import Summary

_REASONS_SHOWN = 12
_RUNS_NAMED = 4
_GIVE_WAY = {"agent", "run", "stronger than next"}
"""Columns that are broken into lines where the terminal is narrow; figures never are."""


def standings_table(rows: Sequence[StandingRow | Standing], title: str | None) -> Table:
    """The ranking sheet, with error bars."""
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, title_style="bold")
    for name in ("#", "agent", "elo", "95 %", "games", "W", "D", "L", "score", "stronger than next"):
        table.add_column(
            name, justify="left" if name == "agent" else "right", no_wrap=name not in _GIVE_WAY, overflow="fold"
        )
    for row in rows:
        table.add_row(
            str(row.rank),
            Text(row.agent),
            "unrated" if row.elo is None else f"{row.elo:.0f}",
            _interval(row),
            str(row.games),
            str(row.wins),
            str(row.draws),
            str(row.losses),
            "" if row.score is None else f"{row.score:.3f}",
            chance_words(row.los_next),
        )
    return table


def print_standings(rated: JointRating, run_ids: Sequence[str], incomplete: Mapping[str, Tallies]) -> None:
    """Standings with their curve, reasons and warnings."""
    console = _console()
    rows = rated.standings.rows
    console.print(standings_table(rows, title=f"Standings of {_runs(run_ids)}"))
    if len(rows) < rated.agents:
        console.print(Text(f"{len(rows)} of {rated.agents} agents, rated with all of them; ranks are those among all"))
    if len(rated.curve) > 1:
        console.print()
        console.print(curve_table(rated.curve, rated.standings.matrix))
    _print_reasons(console, rows)
    for name, others in list(rated.other_names.items())[:_REASONS_SHOWN]:
        console.print(Text(f"{name}: the same content has also played as {', '.join(others)}"), soft_wrap=True)
    _print_more(console, len(rated.other_names), "have had other names; see --json")
    for run_id, tallies in list(incomplete.items())[:_REASONS_SHOWN]:
        console.print(Text(f"note: {run_id}: {_counts(tallies)}"), soft_wrap=True)
    _print_more(console, len(incomplete), "of the runs are not complete; see banzuke runs")
    for warning in rated.standings.warnings:
        console.print(Text(f"note: {warning}"), soft_wrap=True)
    _print_first_move(console, rated.standings)


def _print_first_move(console: Console, standings: Standings) -> None:
    """What the ratings have taken out, so that they are not the Elo of the bare scores."""
    if standings.first_move_elo is None or standings.first_move_low is None or standings.first_move_high is None:
        return
    ends = f"95 % {standings.first_move_low:.0f} … {standings.first_move_high:.0f}"
    line = f"moving first is worth {standings.first_move_elo:.0f} elo ({ends}), which is taken out of the ratings"
    console.print(Text(line), soft_wrap=True)


def standings_json(rated: JointRating, run_ids: Sequence[str]) -> dict[str, Any]:
    """The object that ``banzuke standings --json`` prints."""
    run_id = run_ids[0] if len(run_ids) == 1 else ",".join(run_ids)
    return {
        "standings": [{"run_id": run_id, **asdict(row)} for row in rated.standings.rows],
        "differences": [asdict(difference) for difference in rated.standings.differences],
        "warnings": list(rated.standings.warnings),
        "curve": [asdict(point) for point in rated.curve],
        "first_move": {
            "elo": rated.standings.first_move_elo,
            "low": rated.standings.first_move_low,
            "high": rated.standings.first_move_high,
        },
        "draw_rate": rated.standings.draw_rate,
        "other_names": {name: list(others) for name, others in rated.other_names.items()},
        "runs": list(run_ids),
    }


def _runs(run_ids: Sequence[str]) -> str:
    if len(run_ids) <= _RUNS_NAMED:
        return ", ".join(run_ids)
    return f"{len(run_ids)} runs: {', '.join(run_ids[:_RUNS_NAMED])} and {len(run_ids) - _RUNS_NAMED} more"


def print_summary(summary: Summary, store: str, *, seconds: float) -> None:
    """What a run ended with, where the games are, and what to type next."""
    console = _console()
    console.print(standings_table(summary.standings, title=f"Standings of {summary.run_id}"))
    _print_reasons(console, summary.standings)
    console.print(Text(f"\n{_counts(summary.tallies)} in {seconds:.0f} s"), soft_wrap=True)
    _print_test(console, summary)
    _print_precision(console, summary)
    for agent, reason in summary.unfit:
        console.print(Text(f"unfit, left out: {agent}: {reason}"), soft_wrap=True)
    for agent, reason in summary.put_off:
        console.print(Text(f"put off: {agent}: {reason}"), soft_wrap=True)
    _print_voids(console, summary)
    console.print(Text(f"games:     {store}/games/{summary.run_id}"), soft_wrap=True)
    _print_next(console, summary, store)


def print_run(summary: Summary, condition: Mapping[str, Any], document: Mapping[str, Any]) -> None:
    """One run and its health."""
    console = _console()
    console.print(standings_table(summary.standings, title=f"Standings of {summary.run_id}"))
    _print_reasons(console, summary.standings)
    spec, versions = document["spec"], document["versions"]
    console.print(Text(f"\n{_counts(summary.tallies)}"), soft_wrap=True)
    _print_test(console, summary)
    _print_precision(console, summary)
    tournament = spec["tournament"]
    console.print(
        Text(
            f"{spec['game']} under {tournament['rules']} rules, {tournament['format']}, "
            f"{tournament['games_per_encounter']} games per encounter, seed {tournament['seed']}; "
            f"begun {document['created_at'][:19]} UTC on {document['host']} with banzuke {versions['banzuke']}"
        ),
        soft_wrap=True,
    )
    for agent, reason in summary.unfit:
        console.print(Text(f"unfit: {agent}: {reason}"), soft_wrap=True)
    for agent, reason in summary.put_off:
        console.print(Text(f"put off: {agent}: {reason}"), soft_wrap=True)
    _print_voids(console, summary)
    if condition["retries"]:
        console.print(f"{condition['retries']} attempts were repeated")
    for part in condition["damaged"]:
        advice = f" ({part['advice']})" if part["advice"] else ""
        console.print(Text(f"damaged: {part['path']}: {part['reason']}{advice}"), soft_wrap=True)
    for warning in condition["warnings"]:
        console.print(Text(f"note: {warning}"), soft_wrap=True)


def _print_test(console: Console, summary: Summary) -> None:
    if summary.sprt is not None:
        for line in sprt_lines(summary.sprt):
            console.print(Text(line), soft_wrap=True)


def _print_precision(console: Console, summary: Summary) -> None:
    """Whether an adaptive run reached its target, and by whom not."""
    if (precision := summary.precision) is None:
        return
    target = f"the target of ±{precision.target_error:g} Elo is"
    errors = [f"{agent} (unrated)" if error is None else f"{agent} (±{error:.1f})" for agent, error in precision.errors]
    if missed := len(precision.missed):
        more = f" and {missed - _REASONS_SHOWN} more" if missed > _REASONS_SHOWN else ""
        line = f"{target} missed by {', '.join(errors[: min(missed, _REASONS_SHOWN)])}{more}"
        if not precision.goes_on:
            line += ": the budget is used up, or the encounters that would help are full; a new run may have more"
    else:
        line = f"{target} reached; the widest interval is that of {errors[0]}"
    console.print(Text(line), soft_wrap=True)
    if precision.goes_on:
        console.print("its plan is not at its end: `banzuke run` with the same spec and --run-id goes on")


def _print_voids(console: Console, summary: Summary) -> None:
    for void in summary.void_causes[:_REASONS_SHOWN]:
        whose = "nobody's fault" if void.agent is None else f"the fault of {void.agent}"
        last = f"; last: {void.detail}" if void.detail else ""
        console.print(Text(f"void: {void.games} games by {void.termination}, {whose}{last}"), soft_wrap=True)


def print_runs(found: Sequence[Mapping[str, Any]], store: str) -> None:
    """The runs of a store, one a line."""
    console = _console()
    if not found:
        console.print(Text(f"no run in {store}"))
        return
    table = Table(box=None, pad_edge=False)
    for name in ("run", "begun (UTC)", "agents", "planned", "counting", "forfeits", "void", "missing"):
        side: JustifyMethod = "left" if name in {"run", "begun (UTC)"} else "right"
        table.add_column(name, justify=side, no_wrap=name not in _GIVE_WAY, overflow="fold")
    for run in (run for run in found if "damaged" not in run):
        numbers = (run[key] for key in ("agents", "planned", "counting", "forfeits", "voids", "missing"))
        table.add_row(Text(run["run_id"]), run["created_at"][:19], *map(str, numbers))
    console.print(table)
    for run in (run for run in found if "damaged" in run):
        console.print(Text(f"damaged: {run['run_id']}: {run['damaged']}"), soft_wrap=True)


def print_evaluation(found: Sequence[Mapping[str, Any]]) -> None:
    """What evaluate found out, agent by agent."""
    console = _console()
    table = Table(box=None, pad_edge=False)
    for name in ("agent", "fit", "ms a move", "suite", "description"):
        table.add_column(name, justify="right" if name in {"ms a move", "suite"} else "left")
    for agent in found:
        suite = "" if agent["suite_passed"] is None else f"{agent['suite_passed']}/{agent['suite_positions']}"
        table.add_row(
            Text(agent["agent"]),
            "yes" if agent["fit"] else "no",
            f"{agent['move_ms']:.0f}",
            suite,
            Text(agent["description"] or ""),
        )
    console.print(table)
    for agent in found:
        if not agent["fit"]:
            console.print(Text(f"unfit: {agent['agent']}: {agent['reason']}"), soft_wrap=True)


def summary_json(summary: Summary, store: str) -> dict[str, Any]:
    """One run as the contract of ``run --json`` has it, but for the seconds."""
    return {
        "run_id": summary.run_id,
        "store": store,
        "planned": summary.planned,
        "counting": summary.counting,
        "forfeits": summary.forfeits,
        "voids": summary.voids,
        "missing": summary.missing,
        "spared": summary.spared,
        "unfit": [{"agent": agent, "reason": reason} for agent, reason in summary.unfit],
        "put_off": [{"agent": agent, "reason": reason} for agent, reason in summary.put_off],
        **_precision_json(summary),
        "standings": [asdict(row) | {"computed_at": row.computed_at.isoformat()} for row in summary.standings],
        **({} if summary.sprt is None else {"sprt": sprt_json(summary.sprt)}),
    }


def _precision_json(summary: Summary) -> dict[str, Any]:
    """Of an adaptive run only; ``error`` is null where an agent is not rated."""
    if summary.precision is None:
        return {}
    agent, error = summary.precision.errors[0]
    return {
        "target_error": summary.precision.target_error,
        "target_reached": not summary.precision.missed,
        "widest": {"agent": agent, "error": error},
    }


def merged_json(summaries: Sequence[Summary], store: str, *, seconds: float) -> dict[str, Any]:
    """The object that ``run`` and ``backfill`` print; counts of several runs are added up, each stands in ``runs``."""
    each = [summary_json(summary, store) for summary in summaries]
    if len(each) == 1:
        return each[0] | {"seconds": round(seconds, 3)}
    counts = {
        key: sum(run[key] for run in each) for key in ("planned", "counting", "forfeits", "voids", "missing", "spared")
    }
    return {
        "run_id": None,
        "store": store,
        **counts,
        "unfit": [unfit for run in each for unfit in run["unfit"]],
        "put_off": [put_off for run in each for put_off in run["put_off"]],
        "seconds": round(seconds, 3),
        "standings": [row for run in each for row in run["standings"]],
        "runs": each,
    }


def _console() -> Console:
    console = Console(highlight=False)
    # A pipe has no width; a table cut at 80 columns would lose its last ones.
    return console if console.is_terminal else Console(highlight=False, width=160)


def _interval(row: StandingRow | Standing) -> str:
    if row.elo is None or row.elo_low is None or row.elo_high is None:
        return ""
    if row.elo_low == row.elo_high:
        return "anchor"
    return f"{row.elo_low:.0f} … {row.elo_high:.0f}"


def _print_reasons(console: Console, rows: Sequence[StandingRow | Standing]) -> None:
    explained = [row for row in rows if row.reason]
    for row in explained[:_REASONS_SHOWN]:
        console.print(Text(f"{row.agent}: {row.reason}"), soft_wrap=True)
    _print_more(console, len(explained), "have a reason; see --json")


def _print_more(console: Console, found: int, what: str) -> None:
    if found > _REASONS_SHOWN:
        console.print(f"and {found - _REASONS_SHOWN} more {what}")


def _counts(tallies: Tallies) -> str:
    parts = [f"{tallies.counting} of {tallies.planned} games count"]
    if tallies.forfeits:
        parts.append(f"{tallies.forfeits} forfeits")
    if tallies.void:
        parts.append(f"{tallies.void} void")
    if tallies.missing:
        parts.append(f"{tallies.missing} missing")
    if tallies.spared:
        parts.append(f"{tallies.spared} spared by the verdict")
    return ", ".join(parts)


def _print_next(console: Console, summary: Summary, store: str) -> None:
    if summary.outstanding:
        line = f"the rest:  banzuke backfill --run {summary.run_id} --store {store}"
        console.print(Text(line), soft_wrap=True)
    console.print(Text(f"details:   banzuke show {summary.run_id} --store {store}"), soft_wrap=True)
    console.print(Text(f"a page:    banzuke report {summary.run_id} --store {store}"), soft_wrap=True)
    if summary.counting:
        columns = "['first_agent', 'second_agent', 'winner', 'termination', 'plies']"
        look = f"import pandas; print(pandas.read_parquet('{store}/games/{summary.run_id}')[{columns}])"
        console.print(Text(f'in pandas: python -c "{look}"'), soft_wrap=True)
