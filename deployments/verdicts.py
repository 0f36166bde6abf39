"""What became of a sequential test, for people and programs."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from tasks.verdict_words import (
    beyond_words,
    estimate_words,
    number_words,
    outcomes_words,
    skipped_words,
    verdict_words,
)

if TYPE_CHECKING:
    from tasks.sequential import SprtReport


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
    figures = report.figures
    stand = f"llr {number_words(figures['llr'])} in ({figures['lower']:.2f}, {figures['upper']:.2f})"
    if figures["reason"]:
        stand += f" ({figures['reason']})"
    verdict = f"{figures['verdict']}: {verdict_words(report)} after {figures['pairs']} pairs"
    lines = [
        f"test:      {report.test}",
        f"verdict:   {verdict} ({outcomes_words(figures['counts'])}); {stand}",
        f"estimate:  {estimate_words(report)}",
    ]
    if report.skipped:
        lines.append(f"skipped:   {skipped_words(report)}")
    if beyond := beyond_words(report):
        lines.append(f"beyond:    {beyond}")
    if report.disagreement is not None:
        lines.append(f"DISAGREES: from the games as they are now: {report.disagreement}")
    elif report.is_decided:
        lines.append("agrees:    computed anew from the games, the verdict is the same")
    return lines
