"""May this agent enter? It is opened, asked for legal moves on fixed positions, and scored on the suite.

Each question has its own hard limit, kept by the supervisor, that really stops the work: whatever an agent does with
a position, the next one is asked. A position of the suite that takes too long fails the position, not the agent.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from prefect import task

from banzuke.identity import Identity, identify
from banzuke.record import AgentRow, EvaluationRow
from banzuke.schedule.pairing import game_seed
from banzuke.suites.positions import PROBES, SuitePosition, passes, read_suite
from banzuke.workers.messages import Answer, Question
from banzuke.workers.pool import current_pool
from banzuke.workers.supervisor import Supervisor
from storage.game_store import GameStore
from tasks.policies import MACHINERY, ONCE
from tasks.runs import agent_rows, parse_spec

OPEN, LEGAL_MOVE, SUITE = "open", "legal-move", "suite"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitness:
    """What the probes found out about an agent."""

    agent: str
    fit: bool
    reason: str | None
    move_ms: float
    """Mean over the probes it answered; says how long its games will take."""
    description: str | None = None
    epoch: int | None = None
    step: int | None = None


@task(name="probe-agent", task_run_name="probe {agent}", **MACHINERY)
def probe_agent(spec_json: str, store: str, run_id: str, agent: str) -> Fitness:
    """Open one agent and ask it for legal moves; its answers are recorded."""
    spec = parse_spec(spec_json)
    rows: list[EvaluationRow] = []
    with current_pool().lease() as supervisor:
        asked = _Asker(spec_json, run_id, agent, supervisor)
        opened, answers = _probe(asked, spec.limits.move_seconds, rows)
        if any(answer.status == "error" for answer in (opened, *answers)):
            # Killed from outside, or with its worker, it would be out of the whole run: once more, as a game is played.
            opened, answers = _probe(asked, spec.limits.move_seconds, rows)
    GameStore(store).write_evaluations(run_id, rows)
    times = [answer.time_ms for answer in answers if answer.status == "ok"]
    reason = _unfit_because(opened, answers)
    return Fitness(
        agent=agent,
        fit=reason is None,
        reason=reason,
        move_ms=sum(times) / len(times) if times else 0.0,
        description=opened.description,
        epoch=opened.epoch,
        step=opened.step,
    )


def _probe(asked: _Asker, seconds: float, rows: list[EvaluationRow]) -> tuple[Answer, list[Answer]]:
    """What it answers to the question of opening, and to those for a legal move if it opens."""
    opened = asked.ask(OPEN, SuitePosition(position_id=OPEN, position="", best_moves=()), 0.0, rows)
    if opened.status != "ok":
        return opened, []
    return opened, [asked.ask(LEGAL_MOVE, probe, seconds, rows) for probe in PROBES]


@task(name="score-agent", task_run_name="score {agent} {part}/{parts}", **MACHINERY)
def score_agent(spec_json: str, store: str, run_id: str, agent: str, part: int, parts: int) -> tuple[int, int]:
    """Put one part of the suite to one agent; the answers are recorded.

    Returns:
        How many it passed, and of how many.
    """
    spec = parse_spec(spec_json)
    if spec.evaluate.suite is None:
        return 0, 0
    rows: list[EvaluationRow] = []
    with current_pool().lease() as supervisor:
        asked = _Asker(spec_json, run_id, agent, supervisor)
        for position in read_suite(Path(spec.evaluate.suite))[part - 1 :: parts]:
            asked.ask(SUITE, position, spec.evaluate.position_seconds, rows)
    GameStore(store).write_evaluations(run_id, rows)
    return sum(row.passed for row in rows), len(rows)


class _Asker:
    """Puts positions to one agent and keeps the rows."""

    def __init__(self, spec_json: str, run_id: str, agent: str, supervisor: Supervisor) -> None:
        self.spec = parse_spec(spec_json)
        self.run_id = run_id
        self.agent = agent
        self.agent_id = identify(self.spec.agent(agent)).agent_id
        self.supervisor = supervisor

    def ask(self, probe: str, position: SuitePosition, seconds: float, rows: list[EvaluationRow]) -> Answer:
        question = Question(
            agent=self.agent,
            position_id=position.position_id,
            position=position.position,
            seconds=seconds,
            seed=game_seed(self.spec.tournament.seed, position.position_id, 0, 0),
        )
        answer = self.supervisor.pose(question, self.spec, on_tick=_nothing)
        passed = passes(position, answer.move) if probe == SUITE and answer.move else answer.legal
        rows.append(
            EvaluationRow(
                run_id=self.run_id,
                agent=self.agent,
                agent_id=self.agent_id,
                probe=probe,
                position_id=position.position_id,
                position=position.position,
                expected=" ".join(position.best_moves) or None,
                answer=answer.move,
                passed=passed and answer.status == "ok",
                status=answer.status,
                time_ms=answer.time_ms,
                detail=answer.detail,
            )
        )
        return answer


def _unfit_because(opened: Answer, answers: list[Answer]) -> str | None:
    if opened.status != "ok":
        return f"could not start: {opened.detail}"
    for answer in answers:
        if answer.status == "timeout":
            return f"stalled on probe {answer.position_id}: {answer.detail}"
        if answer.status == "error":
            return f"failed on probe {answer.position_id}: {answer.detail}"
        if not answer.legal:
            return f"answered probe {answer.position_id} illegally: {answer.move!r}"
    return None


def _nothing() -> None:
    """A question is answered in seconds; nothing has to be recorded meanwhile."""


@task(name="record-fitness", task_run_name="record who may enter {run_id}", **ONCE)
def record_fitness(spec_json: str, store: str, run_id: str, found: Sequence[Fitness]) -> None:
    """Write down who may enter and why not, and what the agents say of themselves."""
    spec = parse_spec(spec_json)
    games = GameStore(store)
    news = {fitness.agent: fitness for fitness in found}
    rows = [
        _updated(row, news[row.agent], identify(spec.agent(row.agent))) if row.agent in news else row
        for row in games.read_agents(run_id)
    ]
    games.write_agents(run_id, rows)


def unscored(spec_json: str, store: str, run_id: str, agents: Sequence[str]) -> list[str]:
    """Those agents that the suite, if there is one, has not been put to as they are now."""
    spec = parse_spec(spec_json)
    if spec.evaluate.suite is None:
        return []
    positions = len(read_suite(Path(spec.evaluate.suite)))
    scored = Counter(row.agent_id for row in GameStore(store).read_evaluations(run_id) if row.probe == SUITE)
    return [agent for agent in agents if scored[identify(spec.agent(agent)).agent_id] < positions]


@task(name="record-put-off", task_run_name="record who was put off in {run_id}", **ONCE)
def record_put_off(store: str, run_id: str, put_off: Mapping[str, str]) -> None:
    """Write down whose games were put off, and why; the agents stay fit, and are tried again next time."""
    games = GameStore(store)
    games.write_agents(
        run_id,
        [replace(row, reason=put_off.get(row.agent, row.reason)) for row in games.read_agents(run_id)],
    )


def _updated(row: AgentRow, fitness: Fitness, identity: Identity) -> AgentRow:
    return replace(
        row,
        # Of files that are gone there is no hash; what is known of the agent stays.
        agent_id=identity.agent_id or row.agent_id,
        sha256=identity.sha256 or row.sha256,
        fit=fitness.fit,
        reason=fitness.reason,
        description=fitness.description,
        epoch=fitness.epoch,
        step=fitness.step,
    )


@task(name="enter-agents", task_run_name="enter agents of {evaluation_id}", **ONCE)
def enter_agents(spec_json: str, store: str, evaluation_id: str) -> None:
    """Write down who is going to be looked at."""
    GameStore(store).write_agents(evaluation_id, agent_rows(parse_spec(spec_json), evaluation_id))


def describe_evaluation(store: str, evaluation_id: str, found: Sequence[Fitness]) -> list[dict[str, Any]]:
    """What was found out about each agent, with its score on the suite if there is one."""
    games = GameStore(store)
    agent_ids = {row.agent: row.agent_id for row in games.read_agents(evaluation_id)}
    rows = [row for row in games.read_evaluations(evaluation_id) if row.probe == SUITE]
    asked, passed = Counter(row.agent for row in rows), Counter(row.agent for row in rows if row.passed)
    return [
        {
            **asdict(fitness),
            "agent_id": agent_ids[fitness.agent],
            "suite_passed": passed[fitness.agent] if asked[fitness.agent] else None,
            "suite_positions": asked[fitness.agent] or None,
        }
        for fitness in found
    ]
