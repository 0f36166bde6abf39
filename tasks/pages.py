"""A run as people read it in a browser: tables and pages of Markdown, made of what is known of it. No Prefect here.

What agents and engines say is hostile: it is shown as code, in one line, and cut.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from banzuke.ratings.standings import Crosstable, StandingRow
from banzuke.record import Standing
from tasks.missing import MissingGames
from tasks.summary import Summary

MOST_ROWS = 1000
"""Of a table of standings."""
MOST_ACROSS = 24
"""Agents of a crosstable. Beyond 14 a wide screen has to be scrolled."""
MOST_LISTED = 100
"""Causes, or agents, on a page of failures."""
LONGEST_DETAIL = 300
BACKFILL = "backfill-runs/backfill"
"""The deployment that plays what is left."""
_SECRETS = (re.compile(r"(?<=//)[^/@]*@"), re.compile(r"(?<=//)[^/]*:.*@"), re.compile(r"(?<=\?).*"))
"""Of a URL: whoever it names, with a password that may hold a slash, and what follows a question mark."""


def standings_rows(standings: Sequence[Standing | StandingRow]) -> list[dict[str, object]]:
    """The ranking sheet; the error is half the width of the 95 % interval."""
    return [
        {
            "rank": row.rank,
            "agent": row.agent,
            "elo": _rating(row),
            "games": row.games,
            "W/D/L": f"{row.wins}/{row.draws}/{row.losses}",
            "score": "" if row.score is None else f"{row.score:.1%}",
            "reason": row.reason or "",
        }
        for row in standings[:MOST_ROWS]
    ]


def chance_words(value: float | None) -> str:
    """A chance in percent, empty for none; nothing is certain that games say."""
    if value is None:
        return ""
    return "> 99.9 %" if value >= 0.9995 else f"{100 * value:.1f} %"


def standings_note(summary: Summary) -> str:
    """The sheet in a line, which is all that is read of it before it is opened."""
    rows = summary.standings
    best = f"1. {rows[0].agent} {_rating(rows[0])} of {len(rows)}; " if rows and rows[0].rated else ""
    more = f"; {len(rows) - MOST_ROWS} lower ranks are left out here" if len(rows) > MOST_ROWS else ""
    return f"{best}{summary.counting} of {summary.planned} games count; Elo with 95 % intervals{more}"


def crosstable_page(run_id: str, crosstable: Crosstable) -> str:
    """Who scored what against whom, by rank: points of the row's agent, and games."""
    agents = crosstable.agents[:MOST_ACROSS]
    lines = [f"# Crosstable of {run_id}", ""]
    if not agents:
        return "\n".join([*lines, "Nobody is listed."])
    lines += [
        "Points of the agent of the row against the agent of the column, of how many games.",
        "",
        _row(["", "agent", *(str(rank) for rank in range(1, len(agents) + 1))]),
        _row(["---:", "---", *("---:" for _ in agents)]),
    ]
    lines += [
        _row([str(place + 1), agent, *(_cell(crosstable, place, versus) for versus in range(len(agents)))])
        for place, agent in enumerate(agents)
    ]
    left_out = len(crosstable.agents) - len(agents)
    if left_out:
        lines += [
            "",
            f"Of {len(crosstable.agents)} agents the first {len(agents)} by rank; {left_out} are left out here.",
        ]
    return "\n".join(lines)


def failures_page(summary: Summary, missing: Sequence[MissingGames], store: str) -> str:
    """What has no result, why, and how to have it played.

    Args:
        summary: of the run.
        missing: its games without any attempt.
        store: where it is; credentials in a URL are not shown.
    """
    lines = [f"# Failures of {summary.run_id}", ""]
    if not (summary.outstanding or summary.unfit or summary.put_off):
        return "\n".join([*lines, f"None: each of {summary.planned - summary.spared} games has a result."])
    lines += [f"Of {summary.planned} planned games and {len(summary.standings)} agents: {failures_note(summary)}.", ""]
    if summary.outstanding:
        lines += [
            "To have exactly these games played:",
            "",
            *_code("sh", f"banzuke backfill --run {summary.run_id} --store {shlex.quote(masked(store))}"),
            "",
            f"or start the deployment `{BACKFILL}` with `runs` = `{summary.run_id}`.",
            "",
        ]
    causes = [
        *([void.termination, void.agent or "", str(void.games), literal(void.detail)] for void in summary.void_causes),
        *([f"missing: {gap.cause}", gap.agent or "", str(gap.games), ""] for gap in missing),
    ]
    lines += _table("Games without a result", ["cause", "agent", "games", "what one of them says"], causes)
    lines += _table("Unfit agents", ["agent", "reason"], [[agent, literal(why)] for agent, why in summary.unfit])
    lines += _table("Agents put off", ["agent", "reason"], [[agent, literal(why)] for agent, why in summary.put_off])
    return "\n".join(lines).rstrip()


def failures_note(summary: Summary) -> str:
    """The page of failures in a line."""
    counts = {
        "games void": summary.voids,
        "games missing": summary.missing,
        "agents unfit": len(summary.unfit),
        "agents put off": len(summary.put_off),
    }
    return ", ".join(f"{count} {what}" for what, count in counts.items() if count) or "no failures"


def run_page(run_id: str, document: Mapping[str, Any], store: str) -> str:
    """Where a run is, and how to get at its games.

    Args:
        run_id: which.
        document: its ``run.json``.
        store: where it is; credentials in a URL are not shown.
    """
    where = masked(store)
    games = f"{where.rstrip('/')}/games/{run_id}"
    versions = document.get("versions")
    facts = {
        "run": run_id,
        "store": where,
        "begun": document.get("created_at"),
        "on host": document.get("host"),
        "versions": ", ".join(f"{name} {number}" for name, number in versions.items())
        if isinstance(versions, Mapping)
        else None,
    }
    parts = f"{games}/*.parquet".replace("'", "''")
    query = f"SELECT first_agent, second_agent, winner FROM '{parts}' WHERE status <> 'void';"  # noqa: S608 - to be read
    lines = [f"# {run_id}", ""]
    lines += _table("", ["", ""], [[name, literal(value)] for name, value in facts.items()])
    lines += [
        "Everything about it, on a machine that reaches the store:",
        "",
        *_code("sh", f"banzuke show {run_id} --store {shlex.quote(where)}"),
        "",
        "Its games in pandas:",
        "",
        *_code("python", f"import pandas\n\ngames = pandas.read_parquet({games!r})"),
        "",
        "and in DuckDB, the results alone:",
        "",
        *_code("sql", query),
    ]
    if where != store:
        lines += ["", "Put your own credentials where `***` stands."]
    return "\n".join(lines)


def masked(store: str) -> str:
    """A store's path or URL without user, password and query."""
    for secret in _SECRETS:
        store = secret.sub(lambda found: "***@" if found[0].endswith("@") else "***", store)
    return one_line(store, LONGEST_DETAIL)


def one_line(text: str, longest: int) -> str:
    """A text without line breaks and control characters, cut."""
    line = "".join(char if char.isprintable() else " " for char in text[: 2 * longest])
    line = " ".join(line.split())
    return line if len(line) <= longest and len(text) <= 2 * longest else f"{line[: longest - 1]}…"


def literal(text: object) -> str:
    """Somebody else's text in a cell of a table: none of it means anything in Markdown."""
    line = one_line("" if text is None else str(text), LONGEST_DETAIL).replace("`", "'").replace("|", "\\|")
    return f"`{line}`" if line else ""


def _rating(row: Standing | StandingRow) -> str:
    if row.elo is None or row.elo_low is None or row.elo_high is None:
        return "unrated"
    error = (row.elo_high - row.elo_low) / 2
    return f"{row.elo:.0f} (fixed)" if error == 0.0 else f"{row.elo:.0f} ± {error:.0f}"


def _cell(crosstable: Crosstable, place: int, versus: int) -> str:
    games = int(crosstable.games[place, versus])
    if place == versus:
        return "—"
    return f"{float(crosstable.points[place, versus]):g}/{games}" if games else ""


def _table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    if not rows:
        return []
    lines = [f"## {title}", ""] if title else []
    lines += [_row(columns), _row(["---"] * len(columns)), *(_row(row) for row in rows[:MOST_LISTED])]
    if len(rows) > MOST_LISTED:
        lines += ["", f"and {len(rows) - MOST_LISTED} more lines."]
    return [*lines, ""]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _code(language: str, text: str) -> list[str]:
    return [f"```{language}", text, "```"]
