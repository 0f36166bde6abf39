"""Whether ratings can be believed, and how long they take. Prints tables in Markdown.

- coverage: how often 95 % intervals hold the truth where games of an opening pair depend on each other;
- sprt: how often the sequential test errs, and the error of its estimate;
- ordo: the same ratings as Ordo's model gives, and the time of a fit of 200,000 games of 100 agents with intervals.

Ten million games from Parquet to standings are in ``benchmarks/store.py``.

    python benchmarks/ratings.py [--only coverage,sprt,ordo] [--tournaments 2000] [--tests 4000] [--seed 1] [--quick]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor

import numpy as np
from ordo import POINTS_PER_NAT, ordo_ratings
from scipy.special import expit
from simulated_tests import measure_tests
from simulated_tournaments import ERRORS, SCENARIOS, SETS, measure_coverage

from banzuke.ratings.elo import ELO_PER_NAT
from banzuke.ratings.scores import GameColumns
from banzuke.ratings.sprt import Hypotheses, Model
from banzuke.ratings.standings import Entrant, compute_standings

HYPOTHESES = {"logistic": (0.0, 20.0), "normalized": (0.0, 30.0)}
QUICK = {"tournaments": 3, "tests": 5}


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="coverage,sprt,ordo")
    parser.add_argument("--tournaments", type=int, default=2_000)
    parser.add_argument("--tests", type=int, default=4_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="a thousandth of the work: does it run, not what it finds")
    arguments = parser.parse_args()
    if arguments.quick:
        vars(arguments).update(QUICK)
        HYPOTHESES.update({model: (0.0, 10.0 * elo1) for model, (_, elo1) in HYPOTHESES.items()})
    parts = {"coverage": coverage, "sprt": sprt, "ordo": ordo}
    for name in arguments.only.split(","):
        parts[name](arguments)


def coverage(arguments: argparse.Namespace) -> None:
    """Intervals that hold the truth, by what makes the error."""
    print(f"## Coverage of 95 % intervals, {arguments.tournaments} tournaments each, in %\n")
    header = [f"{error}: {kind}" for error in ERRORS for kind in SETS]
    _row(["agents x pairs an encounter", *header])
    _rule(1 + len(header))
    with ProcessPoolExecutor() as processes:
        measured = [
            processes.submit(measure_coverage, scenario, arguments.tournaments, arguments.seed)
            for scenario in SCENARIOS
        ]
        for each in (future.result() for future in measured):
            what = f"{each.scenario.name}, {len(each.scenario.elo)} x {each.scenario.pairs}"
            _row([what, *(f"{100 * share:.1f}" for share in each.shares.ravel())])
    print()


def sprt(arguments: argparse.Namespace) -> None:
    """Errors of the sequential test, and of what it says of the strength."""
    print(f"## Sequential test, alpha = beta = 5 %, {arguments.tests} tests each\n")
    _row(
        [
            "model, elo0 to elo1",
            "truth (logistic Elo)",
            "accepts elo1, %",
            "accepts elo0, %",
            "pairs, median",
            "pairs, mean",
            "plain estimate's median error",
            "corrected estimate's median error",
            "corrected too high, %",
            "corrected interval holds the truth, %",
        ]
    )
    _rule(10)
    models: Sequence[Model] = ("logistic", "normalized")
    with ProcessPoolExecutor() as processes:
        measured = [
            (
                model,
                processes.submit(
                    measure_tests,
                    Hypotheses(*HYPOTHESES[model], model=model),
                    strength,
                    tests=arguments.tests,
                    estimates=arguments.tests,
                    seed=arguments.seed,
                ),
            )
            for model in models
            for strength in _truths(*HYPOTHESES[model])
        ]
        for model, future in measured:
            found = future.result()
            elo0, elo1 = HYPOTHESES[model]
            _row(
                [
                    f"{model}, {elo0:.0f} to {elo1:.0f}",
                    f"{round(found.elo, 6) + 0.0:.1f}",
                    f"{100 * found.accepted_h1:.1f}",
                    f"{100 * found.accepted_h0:.1f}",
                    f"{found.median_pairs:.0f}",
                    f"{found.mean_pairs:.0f}",
                    _signed(found.plain_median_error),
                    _signed(found.corrected_median_error),
                    f"{100 * found.corrected_too_high:.1f}",
                    f"{100 * found.corrected_coverage:.1f}",
                ]
            )
    print()


def _truths(elo0: float, elo1: float) -> list[float]:
    """Both hypotheses, the middle, and as far again on either side."""
    return [2.0 * elo0 - elo1, elo0, (elo0 + elo1) / 2.0, elo1, 2.0 * elo1 - elo0]


def ordo(arguments: argparse.Namespace) -> None:
    """Ratings beside Ordo's, and the time of a fit with intervals."""
    agents, games = (100, 200_000) if not arguments.quick else (20, 4_000)
    generator = np.random.default_rng(arguments.seed)
    elo = generator.normal(0.0, 150.0, agents)
    low, high = np.triu_indices(agents, k=1)
    pair = np.repeat(np.arange(games // 2), 2)
    encounter, swapped = pair % len(low), np.arange(games) % 2 == 1
    first = np.where(swapped, high[encounter], low[encounter])
    second = np.where(swapped, low[encounter], high[encounter])
    score = expit((elo[first] - elo[second] + 35.0) / ELO_PER_NAT)
    chance, drawn = generator.random(games), 0.5 * np.minimum(score, 1.0 - score)
    result = np.where(chance < score - drawn / 2.0, 1.0, np.where(chance < score + drawn / 2.0, 0.5, 0.0))
    columns = GameColumns(first_agent=first, second_agent=second, first_score=result, pair=pair)
    entrants = [Entrant(agent=f"agent-{number:03d}", agent_id=str(number)) for number in range(agents)]
    seconds = []
    for _ in range(1 if arguments.quick else 9):
        started = time.perf_counter()
        sheet = compute_standings(entrants=entrants, games=columns)
        seconds.append(time.perf_counter() - started)
    ours = np.array([row.elo for row in sorted(sheet.rows, key=lambda row: row.agent)], dtype=np.float64)
    theirs = ordo_ratings(first, second, result, agents)
    converted = theirs * ELO_PER_NAT / POINTS_PER_NAT
    print(f"## Ordo's model, {games} games of {agents} agents\n")
    _row(["what", "figure"])
    _rule(2)
    _row(["span of the ratings, Elo", f"{np.ptp(ours):.1f}"])
    _row(["largest difference after converting the scale, Elo", f"{np.max(np.abs(ours - converted)):.2e}"])
    _row(["the same without converting, Elo", f"{np.max(np.abs(ours - theirs)):.2f}"])
    _row(
        [
            f"columns of games to standings with intervals, seconds, median of {len(seconds)} (least, most)",
            f"{statistics.median(seconds):.3f} ({min(seconds):.3f}, {max(seconds):.3f})",
        ]
    )
    print()


def _signed(figure: float) -> str:
    return "none" if np.isnan(figure) else f"{figure:+.2f}"


def _row(cells: Sequence[str]) -> None:
    print(f"| {' | '.join(cells)} |", flush=True)


def _rule(columns: int) -> None:
    print("|" + "---|" * columns)


if __name__ == "__main__":
    main()
