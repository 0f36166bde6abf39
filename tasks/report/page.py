"""A run as one page of HTML: gathered from the store, set by one template.

Whatever agents, engines and files say is hostile; the template escapes it. The page needs no network and forbids itself
any. Of the same run it is the same, byte for byte.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.resources import files
from itertools import pairwise
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from banzuke import __version__
from banzuke.ratings.curve import CurvePoint
from banzuke.ratings.elo import NORMALIZED_ELO_PER_SIGMA
from banzuke.ratings.standings import Differences, StandingRow, Standings
from storage.game_store import GameStore, created_at
from tasks.importing import IMPORTED
from tasks.missing import missing_games
from tasks.pages import LONGEST_DETAIL, MOST_LISTED, chance_words, masked, one_line
from tasks.rating import JointRating, rate_runs
from tasks.report.contestants import (
    Contestant,
    contestants,
    hard_limit_ms,
    section,
    settings_of,
    versions_of,
)
from tasks.report.figures import (
    MOST_ROWS,
    NARROW_SPACE,
    Drawing,
    Interval,
    Span,
    draw_curve,
    draw_intervals,
    draw_lengths,
    draw_spans,
    milliseconds,
)
from tasks.report.games_section import games_section
from tasks.report.heat import MOST_NAMED, heat_css, heat_map
from tasks.report.how_played import HowPlayed, Thinking, how_played
from tasks.report.section import Section
from tasks.summary import Summary, summarise
from tasks.verdict_words import beyond_words, estimate_words, number_words, outcomes_words, skipped_words, verdict_words

MOST_BYTES = 15_000_000
"""Of the whole page; what the numbers leave of it is for the games."""
LEAST_FOR_GAMES = 2_000_000
_LONGEST_NAME = 64
"""Of an agent whose name the spec's pattern allows. Others come from files that somebody else wrote."""
_HERE = "tasks.report"
_ACCEPTED = {"accept_h0": "H0, the smaller difference", "accept_h1": "H1, the greater difference"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A run's page."""

    html: str
    games: int
    """With a result."""


def report_page(store: str, run_id: str) -> Report:
    """The page of a run, as its games are now.

    Args:
        store: local path or fsspec URL; credentials in a URL are not shown.
        run_id: which run.

    Raises:
        UnknownRunError: it is not in the store.
        StorageError: it has no plan, or what is stored of it cannot be read.
    """
    games = GameStore(store)
    document = games.read_run(run_id)
    is_played_now = games.player(run_id) is not None
    summary = summarise(games, run_id)
    rated = rate_runs(games, [run_id])
    played = how_played(store, run_id)
    entrants = contestants(document, games.read_agents(run_id))
    facts: dict[str, Any] = {
        **_heading(document, summary, rated.standings, played, is_played_now=is_played_now),
        **_ladder(rated.standings),
        **_training(rated),
        **_crosstable(rated.standings),
        **_endings(played, rated.standings),
        **_thinking(played.thinking, entrants, document),
        **_failures(games, summary, played, store),
        **_verdict(summary),
        "summary": summary,
        "warnings": [
            one_line(note_words(warning, run_id, masked(store)), 2 * LONGEST_DETAIL)
            for warning in rated.standings.warnings
        ],
        "other_names": rated.other_names,
        "played": played,
        "contestants": entrants,
        "settings": settings_of(document),
        "versions": versions_of(document),
        "store": masked(store),
        "made_by": __version__,
        "css": _text("page.css") + heat_css(),
        "js": _text("page.js"),
    }
    template = _templates().get_template("page.html")
    nothing = Section(anchor="games", title="The games", html="")
    without_games = len(template.render(**facts, games=nothing).encode())
    room = max(LEAST_FOR_GAMES, MOST_BYTES - without_games)
    html = template.render(**facts, games=games_section(store, run_id, most_bytes=room))
    return Report(html=html, games=summary.counting)


def note_words(note: str, run_id: str, store: str) -> str:
    """A note of the ratings as this page says it: what it tells one to type can be pasted.

    Args:
        note: as ``banzuke standings`` has it.
        run_id: which run.
        store: where it is, as may be shown.
    """
    where = f"{run_id} --store {shlex.quote(store)}"
    with_faults = f"banzuke standings --run {where} --count-faults"
    for said, meant in {
        "(see reason)": "(which ones: see below the rating ladder)",
        "banzuke backfill": f"banzuke backfill --run {where}",
        "banzuke show": f"banzuke show {where}",
        ", standings --count-faults": f", {with_faults}",
        "the standings with --count-faults": with_faults,
    }.items():
        note = note.replace(said, meant)
    return note


def _text(name: str) -> str:
    return (files(_HERE) / name).read_text(encoding="utf-8")


def _templates() -> Environment:
    environment = Environment(
        loader=PackageLoader(_HERE, "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "count": lambda number: f"{number:,}",
        "elo": lambda value: _minus(f"{round(value)}"),
        "error": _error,
        "points": lambda value: "" if value is None else f"{value:.3f}",
        "percent": lambda value: "" if value is None else f"{100 * value:.1f}{NARROW_SPACE}%",
        "chance": _chance,
        "share": lambda part, whole: f"{100 * part / whole:.1f}{NARROW_SPACE}%" if whole else "",
        "milliseconds": milliseconds,
        "moment": _moment,
        "signed": lambda value: _minus(f"{round(value):+d}"),
        "name": lambda text: one_line(str(text), _LONGEST_NAME),
        "words": lambda text: str(text).replace("_", " "),
        "line": lambda text: one_line("" if text is None else str(text), LONGEST_DETAIL),
    }
    return environment


def _moment(when: datetime) -> str:
    return f"{when:%Y-%m-%d %H:%M} UTC"


def _error(row: StandingRow) -> str:
    """Half the width of the 95 % interval."""
    if row.elo_low is None or row.elo_high is None:
        return ""
    return "fixed" if row.elo_low == row.elo_high else f"±{NARROW_SPACE}{(row.elo_high - row.elo_low) / 2:.0f}"


def _chance(value: float | None) -> str:
    return chance_words(value).replace(" ", NARROW_SPACE)


def _minus(number: str) -> str:
    return number.replace("-", "−")  # noqa: RUF001 - as wide as a plus, and never broken from its number


def _minuses(text: str) -> str:
    """A text in which numbers below zero have a minus; hyphens within names stay."""
    return re.sub(r"(?<![\w-])-(?=\d)", _minus("-"), text)


def _heading(
    document: Mapping[str, Any], summary: Summary, rated: Standings, played: HowPlayed, *, is_played_now: bool
) -> dict[str, Any]:
    spec = section(document, "spec")
    tournament = section(spec, "tournament")
    kind = "imported games" if IMPORTED in document else tournament.get("format")
    kind = "sequential test" if summary.sprt is not None else kind
    agents = len(rated.rows)
    what = [
        f"{agents} agent{'' if agents == 1 else 's'}",
        *([str(kind)] if kind else []),
        str(spec.get("game", "")) + (f" under {tournament['rules']} rules" if tournament.get("rules") else ""),
    ]
    return {
        "run_id": summary.run_id,
        "what": [one_line(part, LONGEST_DETAIL) for part in what if part],
        "begun": created_at(document),
        "is_imported": IMPORTED in document,
        "host": one_line(str(document.get("host", "")), LONGEST_DETAIL),
        "state": _state(summary, is_played_now=is_played_now),
        "is_good": summary.has_ended and not is_played_now,
        "leader": _leader(rated),
        "last_end": played.last_end,
    }


def _state(summary: Summary, *, is_played_now: bool) -> str:
    if is_played_now:
        return "being played while this was written"
    if summary.has_ended:
        return "complete"
    if not summary.outstanding and summary.has_more:
        return "not at the end of its plan"
    return "not complete"


def _leader(rated: Standings) -> tuple[StandingRow, StandingRow] | None:
    """The first two, where there are two with a rating."""
    first = [row for row in rated.rows if row.rated][:2]
    return (first[0], first[1]) if len(first) > 1 else None


def _ladder(rated: Standings) -> dict[str, Any]:
    drawn = [row for row in rated.rows if row.rated][:MOST_ROWS]
    anchors = [row.elo for row in rated.rows if row.rated and row.elo is not None and row.elo_low == row.elo_high]
    rows = [interval for row in drawn if (interval := _interval(row.agent, row.elo, row.elo_low, row.elo_high))]
    title = "Ratings of the agents, each with its 95 % interval, the best at the top"
    fixed = anchors[0] if len(anchors) == 1 else None
    return {
        "standings": rated,
        "ladder_rows": rated.rows,
        "unrated": sum(not row.rated for row in rated.rows),
        "ladder_figure": draw_intervals("ladder", title, rows, fixed, "Elo") if len(rows) > 1 else None,
        "ladder_not_drawn": sum(row.rated for row in rated.rows) - len(drawn),
    }


def _interval(name: str, middle: float | None, low: float | None, high: float | None) -> Interval | None:
    if middle is None:
        return None
    shown = one_line(name, _LONGEST_NAME)
    return Interval(
        name=shown, middle=middle, low=middle if low is None else low, high=middle if high is None else high
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Step:
    """A checkpoint of the curve and what it gained on the rated one before it."""

    point: CurvePoint
    gain: float | None
    low: float | None
    high: float | None


def _training(rated: JointRating) -> dict[str, Any]:
    if len(rated.curve) < 2:
        return {"steps": [], "training_figure": None}
    across = "epoch" if all(point.epoch is not None for point in rated.curve) else "step"
    places = [point.epoch if across == "epoch" else point.step for point in rated.curve]
    drawn = [
        (float(at), interval)
        for at, point in zip(places, rated.curve, strict=True)
        if at is not None and (interval := _interval(point.agent, point.elo, point.low, point.high))
    ]
    ascending = [at for at, _ in drawn]
    is_line = all(before < after for before, after in pairwise(ascending))
    title = f"Elo of the checkpoints over the {across} of training, with 95 % intervals"
    return {
        "steps": _steps(rated.curve, rated.standings.matrix),
        "training_figure": draw_curve("training", title, drawn, across, is_line=is_line) if len(drawn) > 1 else None,
    }


def _steps(curve: Sequence[CurvePoint], differences: Differences) -> list[_Step]:
    steps: list[_Step] = []
    before: CurvePoint | None = None
    for point in curve:
        gain = None
        if before is not None and point.elo is not None:
            gain = differences.between(point.agent, before.agent)
        steps.append(
            _Step(
                point=point,
                gain=None if gain is None else gain.elo,
                low=None if gain is None else gain.low,
                high=None if gain is None else gain.high,
            )
        )
        before = point if point.elo is not None else before
    return steps


def _crosstable(rated: Standings) -> dict[str, Any]:
    met = rated.crosstable.games[rated.crosstable.games > 0]
    return {
        "cross": heat_map(rated) if len(met) else None,
        "most_named": MOST_NAMED,
        "games_each": int(met[0]) if len(met) and (met == met[0]).all() else None,
    }


def _endings(played: HowPlayed, rated: Standings) -> dict[str, Any]:
    counts = {(entry.agent, entry.termination): entry for entry in played.by_agent}
    seen = {entry.agent for entry in played.by_agent}
    # Of two contents under one name the standings have two rows, and the games one name.
    agents = [row.agent for row in rated.rows if row.agent in seen]
    agents += sorted(seen.difference(agents))
    words = [ending.termination for ending in played.endings]
    figure: Drawing | None = None
    if played.lengths is not None and played.lengths.longest > played.lengths.shortest:
        title = "How many games had how many plies, by who won"
        figure = draw_lengths("lengths", title, played.lengths.bins, played.lengths.width)
    return {
        "ending_words": words,
        "ending_rows": [(agent, [counts.get((agent, word)) for word in words]) for agent in agents],
        "ended": sum(ending.games for ending in played.endings),
        "most_of_an_ending": max((ending.games for ending in played.endings), default=1),
        "lengths_figure": figure,
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class _Thought:
    """An agent's thinking time beside what it was allowed."""

    thinking: Thinking
    limit: str
    limit_ms: float | None
    used: float | None
    """The longest move as a part of its own limit."""


def _thinking(
    thinking: Mapping[str, Thinking], entrants: Sequence[Contestant], document: Mapping[str, Any]
) -> dict[str, Any]:
    known = {entrant.name: entrant for entrant in entrants}
    thoughts = []
    for agent in sorted(thinking, key=lambda name: (-thinking[name].mean_ms, name)):
        entrant = known.get(agent)
        limit_ms = entrant.limit_ms if entrant else None
        thoughts.append(
            _Thought(
                thinking=thinking[agent],
                limit=entrant.limit if entrant else "",
                limit_ms=limit_ms,
                used=thinking[agent].longest_ms / limit_ms if limit_ms else None,
            )
        )
    spans = [
        Span(
            name=one_line(thought.thinking.agent, _LONGEST_NAME),
            mean=thought.thinking.mean_ms,
            longest=thought.thinking.longest_ms,
            limit=thought.limit_ms,
        )
        for thought in thoughts[:MOST_ROWS]
    ]
    title = "Thinking time a move of every agent: mean, longest, and its limit where it has a clock"
    return {
        "thoughts": thoughts,
        "has_clocks": any(thought.limit_ms is not None for thought in thoughts),
        "thinking_figure": draw_spans("thinking", title, spans, "time a move") if spans else None,
        "thinking_not_drawn": len(thoughts) - len(spans),
        "hard_limit": hard_limit_ms(document),
        "has_networks": any(entrant.kind == "checkpoint" for entrant in entrants if entrant.name in thinking),
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class _Failure:
    """Games without a result, for one reason."""

    cause: str
    agent: str | None
    games: int
    attempts: int
    detail: str | None


def _failures(games: GameStore, summary: Summary, played: HowPlayed, store: str) -> dict[str, Any]:
    still = {(void.termination, void.agent): void for void in summary.void_causes}
    attempts = played.void_attempts
    void = [
        _Failure(
            cause=word,
            agent=agent,
            games=still[word, agent].games if (word, agent) in still else 0,
            attempts=attempts.get((word, agent), 0),
            detail=still[word, agent].detail if (word, agent) in still else None,
        )
        for word, agent in dict.fromkeys([*still, *attempts])
    ]
    missing = [
        _Failure(cause=f"missing: {gap.cause}", agent=gap.agent, games=gap.games, attempts=0, detail=None)
        for gap in missing_games(games, summary)
    ]
    found = sorted([*void, *missing], key=lambda failure: (-failure.games, -failure.attempts))
    return {
        "failures": found[:MOST_LISTED],
        "more_failures": len(found) - MOST_LISTED,
        "forfeits": played.forfeits[:MOST_LISTED],
        "more_forfeits": len(played.forfeits) - MOST_LISTED,
        "backfill": f"banzuke backfill --run {summary.run_id} --store {shlex.quote(masked(store))}",
    }


def _verdict(summary: Summary) -> dict[str, Any]:
    report = summary.sprt
    if report is None:
        return {"verdict": None}
    figures = report.figures
    lower, upper, llr = figures["lower"], figures["upper"], figures["llr"]
    place = None if llr is None else min(1.0, max(0.0, (llr - lower) / (upper - lower)))
    hypotheses = report.test.hypotheses
    answer = f"{verdict_words(report)} after {figures['pairs']} pairs of games"
    facts = [
        ("question", str(report.test)),
        ("accepted", _ACCEPTED.get(str(figures["verdict"]))),
        ("pairs", f"{figures['pairs']} ({outcomes_words(figures['counts'])})"),
        ("log-likelihood ratio", f"{number_words(llr)} between {lower:.2f} and {upper:.2f}"),
        ("not computed", figures["reason"]),
        ("estimate", estimate_words(report)),
        ("skipped", skipped_words(report)),
        ("beyond the verdict", beyond_words(report)),
        ("disagrees", report.disagreement and f"from the games as they are now: {report.disagreement}"),
    ]
    return {
        "verdict": {
            "answer": one_line(_minuses(answer), LONGEST_DETAIL),
            "is_decided": report.is_decided,
            "facts": [(name, one_line(_minuses(str(text)), LONGEST_DETAIL)) for name, text in facts if text],
            "place": place,
            "lower": _minuses(number_words(lower)),
            "upper": _minuses(number_words(upper)),
            "elo0": _minuses(f"{hypotheses.elo0:g}"),
            "elo1": _minuses(f"{hypotheses.elo1:g}"),
            "unit": "normalised Elo" if hypotheses.model == "normalized" else "Elo",
            "sigma": f"{NORMALIZED_ELO_PER_SIGMA:.0f}" if hypotheses.model == "normalized" else None,
        }
    }
