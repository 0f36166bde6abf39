"""May this run be gone on with? No Prefect here: the command asks before it starts anything."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from banzuke.errors import RunBusyError, RunChangedError
from banzuke.identity import Identity, spec_fingerprint
from banzuke.specs import Spec
from storage.game_store import GameStore
from storage.ledger import Ledger
from storage.locks import Holder
from tasks.sequential import SequentialTest, recorded_test

LOOK_SECONDS = 0.2
"""Between two tries to take over a run from whoever is leaving it."""


def set_aside_damage(games: GameStore, run_id: str) -> list[str]:
    """Move damaged files of a run out of its datasets, so that their games are missing and are played again.

    Returns:
        A line for each.
    """
    return [f"damaged, set aside: {part.path}: {part.reason}" for part in games.compact(run_id).set_aside]


@contextmanager
def playing(store: str, run_id: str, *, patience: float = 0.0, claim: str = "") -> Iterator[None]:
    """Hold the right to play a run while the block lasts: two invocations at once would play every game twice.

    Args:
        store: where the run is.
        run_id: which run.
        patience: for how long another invocation is waited for; seconds.
        claim: what shares of the run, which other machines play for this invocation, know it by.

    Raises:
        RunBusyError: another invocation holds it; it ends with that one, however that ends.
    """
    with held(lambda: GameStore(store).playing(run_id, claim), f"run {run_id}", patience=patience):
        yield


@contextmanager
def held(
    hold: Callable[[], AbstractContextManager[Holder | None]], what: str, *, patience: float = 0.0
) -> Iterator[None]:
    """Hold something of the store while the block lasts.

    Args:
        hold: as :meth:`GameStore.playing`, called again and again until it is ours.
        what: for the error.
        patience: for how long somebody else is waited for; seconds.

    Raises:
        RunBusyError: somebody else holds it.
    """
    deadline = time.monotonic() + patience
    while True:
        with hold() as holder:
            if holder is None:
                yield
                return
        if time.monotonic() >= deadline:
            raise RunBusyError(f"{what} is being played by {holder}; wait for it, or stop it first")
        time.sleep(LOOK_SECONDS)


def check_not_orphaned(games: GameStore, run_id: str) -> None:
    """Nothing to see where a run that has no document has nothing else either.

    Raises:
        RunChangedError: it has a plan, games, or what a test keeps; of which spec, nobody can say.
    """
    if games.has_plan(run_id) or games.has_games(run_id) or games.has_test(run_id):
        raise RunChangedError(
            f"run {run_id} has lost its run.json, but its plan, games or verdict are still in {games.uri}: "
            "restore run.json from a copy, or give this one another --run-id"
        )


def check_unchanged(
    document: Mapping[str, Any], spec: Spec, identities: Mapping[str, Identity], ledger: Ledger
) -> None:
    """Nothing to see where the run may be resumed.

    Raises:
        RunChangedError: the spec differs in more than its limits, or an agent with counting games is not the same;
            the message says what changed.
    """
    run_id = document["run_id"]
    if document["fingerprint"] != spec_fingerprint(spec):
        changed = ", ".join(_differences(document["spec"], spec.model_dump(mode="json")))
        cure = "restore the spec"
        if changed == "tournament.rules":
            cure = f"go on with --rules {document['spec']['tournament']['rules']}"
        raise RunChangedError(
            f"run {run_id} was planned from another spec: {changed or 'its opening book or suite'} changed; "
            f"give this one another --run-id, or {cure}"
        )
    before = {agent["name"]: agent for agent in document["spec"]["agents"]}
    edited = {
        agent.name: _differences(before.get(agent.name, {}), agent.model_dump(mode="json"), f"{agent.name}.")
        for agent in spec.agents
    }
    check_agents_unchanged(run_id, identities, ledger, edited=edited)


def check_same_test(document: Mapping[str, Any], test: SequentialTest | None) -> None:
    """Nothing to see where a run is gone on with as what it was begun as.

    Args:
        document: of the run.
        test: as which it is to be gone on with; None for a tournament.

    Raises:
        RunChangedError: it is a tournament and no test, a test and no tournament, or another test.
    """
    run_id, begun = document["run_id"], recorded_test(document)
    if begun == test:
        return
    if begun is None:
        raise RunChangedError(
            f"run {run_id} is a tournament, not a sequential test; give the test another --run-id, or go on with "
            f"`banzuke run`"
        )
    if test is None:
        raise RunChangedError(
            f"run {run_id} is a sequential test ({begun}); go on with `banzuke sprt`, or give this one another --run-id"
        )
    raise RunChangedError(
        f"run {run_id} was begun as another test: {begun}; leave its hypotheses as they are, or give this one another "
        "--run-id"
    )


def check_agents_unchanged(
    run_id: str,
    identities: Mapping[str, Identity],
    ledger: Ledger,
    *,
    edited: Mapping[str, Sequence[str]] | None = None,
) -> None:
    """Nothing to see where every agent with counting games is what it was when it played them.

    Args:
        run_id: which run.
        identities: of its agents now.
        ledger: of the run.
        edited: keys of the spec that differ from when the run was planned, by agent.

    Raises:
        RunChangedError: one is not; its further games would be those of another agent under one name.
    """
    for name, seen in sorted(ledger.counting_agent_ids().items()):
        now = identities[name].agent_id
        if now and seen != {now}:
            keys = (edited or {}).get(name)
            raise RunChangedError(
                f"run {run_id}: agent {name!r} has changed and has counting games "
                f"({', '.join(sorted(seen))} then, {now} now); "
                f"restore {'the spec: ' + ', '.join(keys) + ' changed' if keys else 'its files'}, "
                "or begin a run with another --run-id"
            )


def _differences(before: Mapping[str, Any], after: Mapping[str, Any], where: str = "") -> list[str]:
    names: list[str] = []
    for key in sorted(before.keys() | after.keys()):
        one, other = before.get(key), after.get(key)
        if (where == "" and key == "limits") or one == other:
            continue
        if where == "" and key == "agents" and one and other:
            if {agent["name"] for agent in one} != {agent["name"] for agent in other}:
                names.append("the list of agents")
        elif isinstance(one, dict) and isinstance(other, dict):
            names.extend(_differences(one, other, f"{where}{key}."))
        else:
            names.append(f"{where}{key}")
    return names
