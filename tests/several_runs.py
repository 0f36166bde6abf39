"""Stores of several runs, made without playing."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from test_store_schemas import agent_row, game_record

from banzuke.outcome import Side, Termination
from banzuke.record import GameRecord, PlannedGame
from banzuke.specs import SPEC
from storage.game_store import GameStore
from storage.schemas import to_rows, to_table

BEGUN = datetime.now(UTC) - timedelta(hours=12)
WORDS = ("7g7f", "3c3d", "2g2f", "8c8d", "6g6f", "4c4d")


def play(
    store: GameStore,
    run_id: str,
    agents: Mapping[str, str],
    *,
    day: int = 0,
    seed: int = 0,
    openings: Sequence[int] = tuple(range(6)),
    epochs: Mapping[str, int] | None = None,
    anchor: str | None = None,
    anchor_elo: float = 0.0,
    **tournament: Any,
) -> None:
    """A round-robin of agents, each a name and a content; a game follows from both contents, sides, opening and seed.

    Args:
        store: where to.
        run_id: its name.
        agents: content by name.
        day: how many days before the others it was begun, if negative.
        seed: of the results.
        openings: every pair's, the same for each encounter.
        epochs: of those that are checkpoints, by name.
        anchor: of the run.
        anchor_elo: of the run.
        tournament: further keys of that section.
    """
    spec = {
        "name": "x",
        "game": "shogi",
        "agents": [{"name": name, "kind": "random"} for name in agents],
        "tournament": {"games_per_encounter": 2 * len(openings), **tournament},
        "ratings": {"anchor": anchor, "anchor_elo": anchor_elo},
    }
    created_at = (BEGUN + timedelta(days=day)).isoformat()
    document = {"run_id": run_id, "created_at": created_at, "fingerprint": "f", "host": "kyoto"}
    effective = json.loads(SPEC.dump_json(SPEC.validate_python(spec)))
    store.create_run(run_id, {**document, "spec": effective, "versions": {"banzuke": "0"}})
    rows = [
        agent_row(run_id, agent=name, agent_id=content, epoch=(epochs or {}).get(name), step=None, fit=True)
        for name, content in agents.items()
    ]
    store.write_agents(run_id, rows)
    records = list(_games(run_id, agents, openings, seed))
    planned = [
        to_rows(to_table([record], GameRecord).append_column("opening_moves", [[[]]]), PlannedGame)[0]
        for record in records
    ]
    store.write_plan(run_id, planned)
    store.record(run_id, records)


def _games(run_id: str, agents: Mapping[str, str], openings: Sequence[int], seed: int) -> Iterator[GameRecord]:
    number = 0
    for opening in openings:
        for low, high in itertools.combinations(sorted(agents), 2):
            for first, second in ((low, high), (high, low)):
                text = f"{agents[first]}|{agents[second]}|{opening}|{seed}"
                chance = np.random.default_rng(list(text.encode()))
                moves = tuple(chance.choice(WORDS, size=20).tolist())
                # The later in the alphabet its content, the stronger an agent.
                points = chance.random() + 0.3 * np.sign((agents[first] > agents[second]) - 0.5)
                winner = None if 0.45 < points < 0.55 else Side.FIRST if points > 0.5 else Side.SECOND
                yield game_record(
                    run_id,
                    number,
                    encounter=f"{low}--{high}",
                    first_agent=first,
                    second_agent=second,
                    first_agent_id=agents[first],
                    second_agent_id=agents[second],
                    opening_id=f"o-{opening}",
                    moves=moves,
                    plies=len(moves),
                    winner=winner,
                    termination=Termination.MAX_PLIES if winner is None else Termination.RESIGNATION,
                )
                number += 1
