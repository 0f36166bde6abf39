"""What became of a sequential test, for people and programs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tasks.sequential import SprtReport

_OUTCOMES = ("LL", "LD", "DD+WL", "WD", "WW")


def sprt_json(report: SprtReport) -> dict[str, Any]:
    """The object ``sprt`` of a run's JSON."""
    now = report.recomputed
    return {
        **report.test.document,
        **report.figures,
        "decided_at_pair": report.decided_at_pair,
        "decided_at": report.decided_at,
        "skipped": list(report.skipped),
        "estimate": asdict(report.estimate),
        "final": report.final,
        "recomputed": {
            "agrees": report.disagreement is None,
            "verdict": now.result.verdict.value,
            "llr": now.result.llr,
            "decided_at_pair": now.last_pair,
            "pairs": now.pairs,
            "counts": list(now.counts),
            "skipped": list(now.skipped),
        },
    }


def sprt_lines(report: SprtReport) -> list[str]:
    """The verdict, what it rests on, and whether the games still say the same."""
    figures, final = report.figures, report.final
    stand = f"llr {_number(figures['llr'])} in ({figures['lower']:.2f}, {figures['upper']:.2f})"
    if figures["reason"]:
        stand += f" ({figures['reason']})"
    verdict = f"{figures['verdict']}: {_meaning(report)} after {figures['pairs']} pairs"
    lines = [
        f"test:      {report.test}",
        f"verdict:   {verdict} ({_counts(figures['counts'])}); {stand}",
        f"estimate:  {_estimate(report)}",
    ]
    if report.skipped:
        shown = ", ".join(map(str, report.skipped[:8])) + (", …" if len(report.skipped) > 8 else "")
        lines.append(f"skipped:   {len(report.skipped)} pairs with void games: {shown}")
    if final is not None and final["pairs"] > figures["pairs"]:
        further = final["pairs"] - figures["pairs"]
        lines.append(
            f"beyond:    {further} further pairs had been begun before the verdict and change nothing; "
            f"with them the llr would be {_number(final['llr'])}"
        )
    if report.disagreement is not None:
        lines.append(f"DISAGREES: from the games as they are now: {report.disagreement}")
    elif report.is_decided:
        lines.append("agrees:    computed anew from the games, the verdict is the same")
    return lines


def _meaning(report: SprtReport) -> str:
    """In the words of the question."""
    test, h = report.test, report.test.hypotheses
    unit = "nElo" if h.model == "normalized" else "Elo"
    if report.figures["verdict"] == "continue":
        return "no verdict"
    likelier, other = (h.elo0, h.elo1) if report.figures["verdict"] == "accept_h0" else (h.elo1, h.elo0)
    return f"{test.agent} is rather {likelier:g} than {other:g} {unit} stronger than {test.versus},"


def _estimate(report: SprtReport) -> str:
    found = report.estimate
    if found.elo is None:
        return f"none: {found.reason}"
    ends = " … ".join("?" if end is None else f"{end:.0f}" for end in (found.elo_low, found.elo_high))
    why = f"; {found.reason}" if found.reason else ""
    return f"{found.elo:.0f} elo, 95 % {ends}{why}; corrected for the stop, as the standings' elo is not"


def _counts(counts: Sequence[int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in zip(_OUTCOMES, counts, strict=True))


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.2f}"
