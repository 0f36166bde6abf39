"""Opening a run: planned once, whole, before anything is played; afterwards only gone on with."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from importlib.metadata import version
from typing import Any

from prefect import task

from banzuke import __version__
from banzuke.errors import UnknownRunError
from banzuke.identity import Identity, identify, spec_fingerprint
from banzuke.match.planning import plan_run
from banzuke.progress import announce_problem
from banzuke.record import AgentRow, PlannedGame
from banzuke.settings import settings
from banzuke.specs import SPEC, Spec
from storage.game_store import GameStore
from storage.ledger import Ledger
from tasks.policies import ONCE
from tasks.resuming import check_not_orphaned, check_same_test, check_unchanged, set_aside_damage
from tasks.sequential import DOCUMENT_KEY, make_test
from tasks.served import WISH

PACKAGES = ("prefect", "torch", "pyarrow", "cshogi", "numpy", "pydantic")


@task(name="open-run", task_run_name="open {run_id}", **ONCE)
def open_run(
    spec_json: str,
    store: str,
    run_id: str,
    hypotheses: Mapping[str, Any] | None = None,
    served: Mapping[str, Any] | None = None,
) -> None:
    """Plan a new run and write it down, or check that an earlier one may be gone on with.

    Args:
        spec_json: the effective spec.
        store: local path or fsspec URL.
        run_id: which run.
        hypotheses: between which it decides, where it is a sequential test; they belong to it as its plan does.
        served: what a server asked for, where one did.

    Raises:
        SpecError: the plan cannot be made (a book too small), or is empty; or there is no such test.
        RunChangedError: the run was planned from another spec or for another test, or an agent with counting games
            has changed.
    """
    spec = parse_spec(spec_json)
    test = None if hypotheses is None else make_test(spec, hypotheses)
    identities = {agent.name: identify(agent) for agent in spec.agents}
    games = GameStore(store)
    try:
        document = games.read_run(run_id)
    except UnknownRunError:
        kept = ({} if test is None else {DOCUMENT_KEY: test.document}) | (
            {} if served is None else {WISH: dict(served)}
        )
        _create(games, run_id, spec, identities, kept)
        return
    check_same_test(document, test)
    if not games.has_plan(run_id):
        _write_plan(games, run_id, spec, identities)
    mend(games, run_id, spec)
    check_unchanged(document, spec, identities, Ledger(games, run_id))
    games.replace_run(run_id, document | {"spec": json.loads(spec_json), "updated_at": _now()})


def mend(games: GameStore, run_id: str, spec: Spec) -> None:
    """Before anything is asked of a run that was begun earlier: what is damaged is set aside, and said to be.

    Its games are missing from then on, and are played again. The list of agents is made anew where it is gone.
    """
    for line in set_aside_damage(games, run_id):
        announce_problem(line)
    if not games.read_agents(run_id):
        games.write_agents(run_id, agent_rows(spec, run_id))


@lru_cache(maxsize=16)
def parse_spec(spec_json: str) -> Spec:
    """The effective spec of a run; the same object for the same text, so that workers keep their players."""
    return SPEC.validate_json(spec_json)


def _create(
    games: GameStore, run_id: str, spec: Spec, identities: Mapping[str, Identity], kept: dict[str, Any]
) -> None:
    check_not_orphaned(games, run_id)
    planned = _plan(spec, run_id, identities)
    # run.json first: it claims the id, so that two invocations cannot write each other's plan. A crash in between
    # leaves a run without a plan, which the next invocation writes.
    games.create_run(run_id, _document(run_id, spec) | kept)
    _write_plan(games, run_id, spec, identities, planned)


def _write_plan(
    games: GameStore,
    run_id: str,
    spec: Spec,
    identities: Mapping[str, Identity],
    planned: list[PlannedGame] | None = None,
) -> None:
    games.write_agents(run_id, agent_rows(spec, run_id))
    games.write_plan(run_id, planned or _plan(spec, run_id, identities))


def _plan(spec: Spec, run_id: str, identities: Mapping[str, Identity]) -> list[PlannedGame]:
    agent_ids = {name: identity.agent_id for name, identity in identities.items()}
    return plan_run(spec, run_id=run_id, agent_ids=agent_ids)


def _document(run_id: str, spec: Spec) -> dict[str, Any]:
    versions = {package: version(package) for package in PACKAGES}
    return {
        "run_id": run_id,
        "created_at": _now(),
        "spec": spec.model_dump(mode="json"),
        "fingerprint": spec_fingerprint(spec),
        "versions": {"banzuke": __version__, "python": platform.python_version(), **versions},
        "host": settings().host,
    }


def agent_rows(spec: Spec, run_id: str) -> list[AgentRow]:
    """The agents of a spec before evaluate has looked at them."""
    identities = {agent.name: identify(agent) for agent in spec.agents}
    return [
        AgentRow(
            run_id=run_id,
            agent=agent.name,
            agent_id=identities[agent.name].agent_id,
            kind=agent.kind,
            fit=None,
            reason=identities[agent.name].fault,
            sha256=identities[agent.name].sha256,
            epoch=None,
            step=None,
            description=None,
        )
        for agent in spec.agents
    ]


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")
