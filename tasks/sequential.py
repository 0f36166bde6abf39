"""A run that is a sequential test: of whom, between which hypotheses, and how far it is.

No Prefect here: the command asks before it starts anything, and ``banzuke show`` needs no server.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from banzuke.errors import CorruptPartError, RatingError, SpecError, StorageError
from banzuke.ratings.sequential import Course, Standpoint, fewest_pairs
from banzuke.ratings.sprt import Hypotheses, StoppedEstimate, estimate_after_stop
from banzuke.specs import Spec
from storage.game_store import GameStore
from storage.ledger import Ledger

DEFAULTS: dict[str, Any] = {"elo0": 0.0, "elo1": 50.0, "alpha": 0.05, "beta": 0.05, "model": "logistic"}
"""For a new checkpoint against an old one; ``docs/sprt.md`` says why."""
ENOUGH_PAIRS = 20_000
"""No test of a person's lifetime needs more to have any verdict."""
LANES = 32
"""Of a worker, for games between networks; ``docs/sprt.md`` has the measurement."""
MOST_ELO = 10**6
"""No integer beyond that is Elo."""
DOCUMENT_KEY = "sprt"
"""In a run's document; a run without it is a tournament."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SequentialTest:
    """What is asked: by how much ``agent`` is stronger than ``versus``."""

    agent: str
    versus: str
    hypotheses: Hypotheses

    @property
    def document(self) -> dict[str, Any]:
        """As it is kept with the run."""
        return {"agent": self.agent, "versus": self.versus, **asdict(self.hypotheses)}

    def __str__(self) -> str:
        h = self.hypotheses
        return (
            f"{self.agent} against {self.versus}, elo0 = {h.elo0:g} against elo1 = {h.elo1:g} ({h.model}), "
            f"alpha = {h.alpha:g}, beta = {h.beta:g}"
        )


def make_test(spec: Spec, hypotheses: Mapping[str, Any]) -> SequentialTest:
    """The test that a spec and hypotheses ask for.

    The agent in question is the challenger of a gauntlet, else the one that is not the anchor, else the first.

    Raises:
        SpecError: the spec has not exactly two agents, the hypotheses make no sense, or the games of the spec are too
            few for any verdict.
    """
    names = [agent.name for agent in spec.agents]
    if len(names) != 2:
        raise SpecError(f"sprt: the spec has {len(names)} agents; a sequential test is between exactly two")
    test = _hypotheses(hypotheses)
    games = spec.tournament.games_per_encounter
    if fewest_pairs(test, min(games // 2, ENOUGH_PAIRS)) is None:
        enough = fewest_pairs(test, ENOUGH_PAIRS)
        advice = (
            "take others: these are too near to each other, or out of all reach"
            if enough is None
            else f"at least {2 * enough} are needed"
        )
        raise SpecError(
            f"[tournament]: games_per_encounter: {games} is the most that the test may play, and not even {games} wins "
            f"in a row would decide between elo0 = {test.elo0:g} and elo1 = {test.elo1:g}; {advice}"
        )
    others = [name for name in names if name != spec.ratings.anchor]
    agent = (*spec.tournament.challengers, *others)[0]
    [versus] = [name for name in names if name != agent]
    return SequentialTest(agent=agent, versus=versus, hypotheses=test)


def _hypotheses(values: Mapping[str, Any]) -> Hypotheses:
    try:
        return Hypotheses(**values)
    except (RatingError, TypeError) as error:
        defaults = ", ".join(f"--{name} {value}" for name, value in DEFAULTS.items())
        raise SpecError(f"sprt: {error} (where nothing is said: {defaults})") from error


def hypotheses_of(games: GameStore, run_id: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """What was given on the command line; for the rest what the run was begun with, or the defaults of a new one."""
    kept = None
    with suppress(StorageError):  # there is no such run, or whoever is to go on with it will say what is wrong
        kept = recorded_test(games.read_run(run_id))
    chosen = DEFAULTS if kept is None else asdict(kept.hypotheses)
    return chosen | {name: value for name, value in given.items() if value is not None}


def recorded_test(document: Mapping[str, Any]) -> SequentialTest | None:
    """The test that a run is; None where it is a tournament.

    Raises:
        CorruptPartError: what its document says is none.
    """
    kept = document.get(DOCUMENT_KEY)
    if kept is None:
        return None
    try:
        values = {name: kept[name] for name in DEFAULTS}
        _check_kinds(values, float)
        names = {name: kept[name] for name in ("agent", "versus")}
        _check_kinds(names, str)
        return SequentialTest(**names, hypotheses=Hypotheses(**values))
    except (LookupError, TypeError, OverflowError, RatingError) as error:
        raise CorruptPartError(f"run {document['run_id']}: its document holds no sequential test: {error}") from error


def _check_kinds(values: Mapping[str, Any], kind: type) -> None:
    """Python takes True for a number and JSON an integer of any length; no hypothesis is either."""
    for name, value in values.items():
        wanted = str if name == "model" else kind
        if type(value) is not wanted and not (wanted is float and type(value) is int and abs(value) < MOST_ELO):
            raise TypeError(f"its {name!r} is {str(value)[:20]}")


def sparing(spec: Spec) -> Spec:
    """The spec with limits that suit a test, where it does not say them: little is begun that a verdict makes needless.

    A test is over after some dozens or hundreds of games; on the lanes of a tournament as many would be under way then,
    and slow those down that decide. Games without any network are played one after the other anyhow.
    """
    if spec.limits.lanes is not None:
        return spec
    lanes = LANES if spec.needs_torch else 1
    return spec.model_copy(update={"limits": spec.limits.model_copy(update={"lanes": lanes})})


def course_of(games: GameStore, run_id: str, test: SequentialTest) -> Course:
    """The test on the games as they are in the store now."""
    half_points = Ledger(games, run_id).half_points(test.agent)
    return Course(test.hypotheses, half_points, games.read_skipped(run_id))


def decision_document(test: SequentialTest, standpoint: Standpoint) -> dict[str, Any]:
    """The verdict as it is kept."""
    return {
        "decided_at": datetime.now(UTC).isoformat(timespec="microseconds"),
        "decided_at_pair": standpoint.last_pair,
        **_figures(standpoint),
        "skipped": list(standpoint.skipped),
        "hypotheses": test.document,
        "final": None,
    }


def final_document(course: Course) -> dict[str, Any]:
    """What the games say that were in flight at the verdict, together with all others; it decides nothing."""
    standpoint = course.everything()
    return {"llr": standpoint.result.llr, "pairs": standpoint.pairs, "counts": list(standpoint.counts)}


def _figures(standpoint: Standpoint) -> dict[str, Any]:
    return {
        "verdict": standpoint.result.verdict.value,
        "llr": standpoint.result.llr,
        "lower": standpoint.result.lower,
        "upper": standpoint.result.upper,
        "reason": standpoint.result.reason,
        "pairs": standpoint.pairs,
        "counts": list(standpoint.counts),
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class SprtReport:
    """How far a run's test is, from what was kept at its verdict and from its games as they are now."""

    test: SequentialTest
    figures: Mapping[str, Any]
    """verdict, llr, lower, upper, reason, pairs, counts."""
    decided_at_pair: int | None
    decided_at: str | None
    skipped: tuple[int, ...]
    estimate: StoppedEstimate
    final: Mapping[str, Any] | None
    recomputed: Standpoint
    """What the games say now."""
    disagreement: str | None
    """In what they say something else than what was kept; None where they agree, or nothing was kept."""

    @property
    def is_decided(self) -> bool:
        """Whether there is a verdict."""
        return self.decided_at_pair is not None


def report_test(games: GameStore, run_id: str, test: SequentialTest) -> SprtReport:
    """Look at what was kept and at the games.

    Raises:
        StorageError: as :class:`Ledger` and :meth:`GameStore.read_decision`.
    """
    course = course_of(games, run_id, test)
    now = course.standpoint
    kept = games.read_decision(run_id)
    if kept is None:
        kept = decision_document(test, now) | {"decided_at": None}
    figures = {name: kept.get(name) for name in _figures(now)}
    return SprtReport(
        test=test,
        figures=figures,
        decided_at_pair=kept["decided_at_pair"],
        decided_at=kept["decided_at"],
        skipped=tuple(kept["skipped"]),
        estimate=estimate_after_stop(kept["counts"], test.hypotheses),
        final=kept["final"] if kept["decided_at_pair"] is None else kept["final"] or final_document(course),
        recomputed=now,
        disagreement=_disagreement(kept, now),
    )


def _disagreement(kept: Mapping[str, Any], now: Standpoint) -> str | None:
    pairs = {
        "verdict": now.result.verdict.value,
        "decided_at_pair": now.last_pair,
        "counts": list(now.counts),
        "skipped": list(now.skipped),
    }
    differ = [f"{name} {value} (kept: {kept.get(name)})" for name, value in pairs.items() if kept.get(name) != value]
    return ", ".join(differ) or None
