"""What a sequential test says, in the words of its question: the command and the report have the same."""

from __future__ import annotations

from collections.abc import Sequence

from tasks.sequential import SprtReport

_OUTCOMES = ("LL", "LD", "DD+WL", "WD", "WW")


def verdict_words(report: SprtReport) -> str:
    """Which of the two hypotheses is the likelier one."""
    test, h = report.test, report.test.hypotheses
    unit = "nElo" if h.model == "normalized" else "Elo"
    if report.figures["verdict"] == "continue":
        return "no verdict"
    likelier, other = (h.elo0, h.elo1) if report.figures["verdict"] == "accept_h0" else (h.elo1, h.elo0)
    return f"{test.agent} is rather {likelier:g} than {other:g} {unit} stronger than {test.versus},"


def estimate_words(report: SprtReport) -> str:
    """How much stronger the agent is, allowing for the stop."""
    found = report.estimate
    if found.elo is None:
        return f"none: {found.reason}"
    ends = " … ".join("?" if end is None else f"{end:.0f}" for end in (found.elo_low, found.elo_high))
    why = f"; {found.reason}" if found.reason else ""
    return f"{found.elo:.0f} elo, 95 % {ends}{why}; corrected for the stop, as the standings' elo is not"


def outcomes_words(counts: Sequence[int]) -> str:
    """How many pairs ended how."""
    return ", ".join(f"{name} {count}" for name, count in zip(_OUTCOMES, counts, strict=True))


def skipped_words(report: SprtReport) -> str:
    """The pairs that were passed over, or nothing."""
    if not report.skipped:
        return ""
    shown = ", ".join(map(str, report.skipped[:8])) + (", …" if len(report.skipped) > 8 else "")
    return f"{len(report.skipped)} pairs with void games: {shown}"


def beyond_words(report: SprtReport) -> str:
    """The pairs that were in flight at the verdict, or nothing."""
    final = report.final
    if final is None or final["pairs"] <= report.figures["pairs"]:
        return ""
    return (
        f"{final['pairs'] - report.figures['pairs']} further pairs had been begun before the verdict and change "
        f"nothing; with them the llr would be {number_words(final['llr'])}"
    )


def number_words(value: float | None) -> str:
    """To two digits."""
    return "none" if value is None else f"{value:.2f}"
