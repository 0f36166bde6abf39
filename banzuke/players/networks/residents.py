"""The networks that are loaded in this process: each once, shared by all its games and by all agents that play it.

When they no longer fit, the one that was seated longest ago and that no game in play needs makes room.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from banzuke.errors import AgentStartError
from banzuke.players.checkpoint import check_identity, device_named, first_line, network_of, stream_of
from banzuke.players.networks.batched import BatchedNetwork, Query

if TYPE_CHECKING:
    from banzuke.games.shogi import ShogiBoard
    from banzuke.outcome import Side
    from banzuke.specs import CheckpointAgent


class NetworkSeat:
    """A checkpoint in one game."""

    is_instant = False

    def __init__(
        self,
        agent: CheckpointAgent,
        network: BatchedNetwork,
        *,
        max_plies: int,
        stream: np.random.Generator | None,
    ) -> None:
        self.agent = agent.name
        self.device = network.device
        self.network = network
        self._max_plies = max_plies
        self._temperature = agent.temperature
        self._stream = stream

    def query(self, board: ShogiBoard, moves: list[int]) -> Query:
        """The position, how the choice is made, and the lot that is drawn for it."""
        uniform = 0.0 if self._stream is None else self._stream.random()
        return Query(board, moves, self._max_plies, self._temperature, uniform)

    def choose_native(self, board: ShogiBoard, moves: list[int], *, deadline: float) -> tuple[int, int | None]:
        """It answers through its network only."""
        raise NotImplementedError


class Residents:
    """Loaded networks, at most so many bytes of them where the games in play allow that.

    Args:
        budget_bytes: for weights and buffers.
        is_seated: whether a game in play needs a network.
    """

    def __init__(self, budget_bytes: int, is_seated: Callable[[BatchedNetwork], bool]) -> None:
        self.budget_bytes = budget_bytes
        self.is_seated = is_seated
        self.loads = 0
        """How many files were read so far."""
        self._identified: set[tuple[Hashable, str]] = set()
        self._networks: dict[Hashable, tuple[BatchedNetwork, int]] = {}

    def seat(self, agent: CheckpointAgent, agent_id: str, *, side: Side, seed: int) -> NetworkSeat:
        """Seat an agent in a game, its network loaded if it was not.

        Args:
            agent: from a validated spec.
            agent_id: what it must be.
            side: the side it plays.
            seed: the game's.

        Raises:
            AgentStartError: the file is unusable, or no longer the one that was evaluated, or the device is not there.
        """
        network, default_max_plies = self._resident(agent, agent_id)
        return NetworkSeat(
            agent,
            network,
            max_plies=agent.trained_max_plies or default_max_plies,
            stream=stream_of(side, seed) if agent.temperature > 0 else None,
        )

    def _resident(self, agent: CheckpointAgent, agent_id: str) -> tuple[BatchedNetwork, int]:
        key = _key(agent)
        if (key, agent_id) not in self._identified:
            check_identity(agent, agent_id)
            self._identified.add((key, agent_id))
        found = self._networks.pop(key, None)
        if found is None:
            self._make_room(0)
            found = self._load(agent)
            self._make_room(found[0].memory_bytes)
        self._networks[key] = found
        return found

    def _load(self, agent: CheckpointAgent) -> tuple[BatchedNetwork, int]:
        network = network_of(agent)
        self.loads += 1
        try:
            batched = BatchedNetwork(network, device=device_named(agent.device))
        except (RuntimeError, AssertionError) as error:
            raise AgentStartError(
                f"{Path(agent.path).name}: does not run on {agent.device}: {first_line(error)}"
            ) from error
        return batched, network.encoding.default_max_plies

    def _make_room(self, wanted: int) -> None:
        held = wanted + sum(network.memory_bytes for network, _ in self._networks.values())
        # Insertion order is the order of use: what is seated is taken out and put in again.
        for key, (network, _) in list(self._networks.items()):
            if held <= self.budget_bytes:
                break
            if not self.is_seated(network):
                del self._networks[key]
                held -= network.memory_bytes
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _key(agent: CheckpointAgent) -> Hashable:
    """What decides how a network is loaded. A file that was replaced meanwhile is another one."""
    try:
        status = Path(agent.path).stat()
    except OSError as error:
        raise AgentStartError(f"{Path(agent.path).name}: cannot be read: {error.strerror or error}") from error
    how = (agent.path, agent.format, agent.encoding, agent.moves, agent.device)
    return (how, status.st_ino, status.st_size, status.st_mtime_ns)
