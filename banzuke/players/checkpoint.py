"""A PyTorch checkpoint as a player: one look of the network at the position, no search.

Choosing is deterministic: greedy, ties go to the lowest action index; sampled, from the game's own seed.
Forward passes are float32 (no TF32 on a GPU) and of one fixed batch size, because the last bits of a sum
depend on it.

How many threads torch uses is the worker's business, and one is a good choice: on a machine of two cores that had
other work too, a pass over one position took 0.85 ms with one thread and 0.73 ms with two for 3 blocks x 32
channels, 10 ms and 11 ms for 10 x 128, 0.10 s and 0.85 s for 40 x 256 (torch 2.13, float32).
"""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from banzuke.errors import AgentCrashError, AgentStallError, AgentStartError
from banzuke.games.shogi import ShogiBoard
from banzuke.identity import identify
from banzuke.outcome import Side
from banzuke.players.networks.loading import LoadedNetwork, load_network
from banzuke.players.player import RESIGN, Choice

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from banzuke.clock import Clock
    from banzuke.games.rules import Board
    from banzuke.specs import CheckpointAgent

FORWARD_BATCH = 1
"""Positions per forward pass.

Logits of one position in a batch of 1 and in larger ones differ in their last bits; within a batch of 16 they depend
neither on the row nor on the other rows. Filling up to 16 for a single position cost ten times as much.
"""
MAX_EVAL_CP = 32_000
_SIDE_STREAM = {Side.FIRST: 0, Side.SECOND: 1}


class CheckpointPlayer:
    """A network seated in games one after the other."""

    claims_wins = False

    def __init__(self, network: LoadedNetwork, *, device: torch.device, max_plies: int, temperature: float) -> None:
        self.network = network
        # What evaluate writes down of an agent that knows it.
        self.description, self.epoch, self.step = network.description, network.epoch, network.step
        self.device = str(device)
        self._device = device
        self._module = network.module.to(device)
        self._max_plies = max_plies
        self._temperature = temperature
        self._planes = np.zeros((FORWARD_BATCH, network.planes, 9, 9), dtype=np.float32)
        self._random = np.random.default_rng(0)

    @classmethod
    def open(cls, agent: CheckpointAgent, *, deadline: float) -> CheckpointPlayer:
        """Load the agent's checkpoint and let it look at one board.

        Args:
            agent: from a validated spec.
            deadline: on the monotonic clock. Loading cannot be interrupted from inside; it is looked at in
                between.

        Raises:
            AgentStartError: the file is unusable, the device is not there, or it took too long.
        """
        network = network_of(agent)
        name = Path(agent.path).name
        try:
            player = cls(
                network,
                device=device_named(agent.device),
                max_plies=agent.trained_max_plies or network.encoding.default_max_plies,
                temperature=agent.temperature,
            )
            player._evaluate()  # the first pass is slower than the others, and belongs to the start
        except (RuntimeError, AssertionError) as error:
            raise AgentStartError(f"{name}: does not run on {agent.device}: {first_line(error)}") from error
        if time.monotonic() > deadline:
            raise AgentStartError(f"{name}: was not ready in time")
        return player

    def new_game(self, *, side: Side, seed: int, deadline: float) -> None:  # noqa: ARG002 - ready at once
        """Begin the random stream of this game and side; both players are given the same seed."""
        self._random = stream_of(side, seed)

    def choose(
        self,
        board: Board,
        *,
        clock: Clock,  # noqa: ARG002 - one forward pass, however much time there is
        opponent_clock: Clock,  # noqa: ARG002 - likewise
        deadline: float,
    ) -> Choice:
        """The network's move; ``resign`` where there is no move.

        Raises:
            AgentCrashError: it answered NaN or infinity for a legal move, or could not be evaluated.
            AgentStallError: the answer came after the deadline.
            TypeError: the board is not one of shogi.
        """
        if not isinstance(board, ShogiBoard):
            raise TypeError(f"CheckpointPlayer plays shogi only, not on {type(board).__name__}")
        position = board.cshogi
        moves = list(position.legal_moves)
        if not moves:
            return Choice(move=RESIGN)
        self.network.encoding.write_one(
            position, self._planes[0], occurrences=board.hashed_occurrences(), max_plies=self._max_plies
        )
        try:
            logits, win_probability = self._evaluate()
        except RuntimeError as error:
            raise AgentCrashError(f"the network failed: {first_line(error)}") from error
        legal = np.sort(self.network.action_map.indices(moves, mover=position.turn))
        legal_logits = logits[legal]
        if not np.isfinite(legal_logits).all():
            raise AgentCrashError("the network answered NaN or infinity for a legal move")
        if time.monotonic() > deadline:
            raise AgentStallError("the network answered after the deadline")
        if self._temperature > 0:
            chosen = sample(legal_logits, temperature=self._temperature, uniform=self._random.random())
        else:
            chosen = int(legal_logits.argmax())
        move = self.network.action_map.to_usi(int(legal[chosen]), mover=position.turn)
        return Choice(move=move, eval_cp=None if win_probability is None else centipawns(win_probability))

    def game_over(self, winner: Side | None) -> None:
        """Nothing to learn from it."""

    def close(self) -> None:
        """Nothing is held but memory, which goes with the player."""

    def _evaluate(self) -> tuple[NDArray[np.float32], float | None]:
        """Logits ``(actions,)`` and the mover's chance for the first row of the planes."""
        with (
            torch.inference_mode(),
            torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False),
        ):
            answer = self._module.evaluate(torch.from_numpy(self._planes).to(self._device))
            chance = answer.win_probability
            return answer.policy_logits[0].cpu().numpy(), None if chance is None else float(chance[0])


def sample(logits: NDArray[np.float32], *, temperature: float, uniform: float) -> int:
    """Draw from the softmax of ``logits / temperature`` by inverting its distribution function, in float64.

    Args:
        logits: ``(moves,)``, finite, at least one.
        temperature: above 0.
        uniform: in [0, 1).
    """
    with np.errstate(over="ignore"):  # a tiny temperature sends the others to minus infinity, which is meant
        weights = np.exp((logits.astype(np.float64) - float(logits.max())) / temperature)
    cumulative = weights.cumsum()
    return int(np.searchsorted(cumulative, uniform * cumulative[-1], side="right"))


def centipawns(win_probability: float) -> int | None:
    """A chance of winning on Elo's scale, ``400 log10(p / (1 - p))``, within +-32,000; None for NaN.

    Shogi engines' centipawns differ by program; 100 here is a chance of 64 %.
    """
    if math.isnan(win_probability):
        return None
    if win_probability <= 0 or win_probability >= 1:
        return MAX_EVAL_CP if win_probability >= 1 else -MAX_EVAL_CP
    scaled = 400 * math.log10(win_probability / (1 - win_probability))
    return round(min(max(scaled, -MAX_EVAL_CP), MAX_EVAL_CP))


def network_of(agent: CheckpointAgent) -> LoadedNetwork:
    """Read the agent's checkpoint.

    Raises:
        AgentStartError: the file is unusable.
    """
    return load_network(Path(agent.path), format=agent.format, encoding=agent.encoding, moves=agent.moves)


def check_identity(agent: CheckpointAgent, agent_id: str) -> None:
    """Nothing to see where the agent's file is the one that was evaluated.

    A trainer may replace it while a run goes on, and what it plays then would count for the old one.

    Raises:
        AgentStartError: it is another one, or gone.
    """
    now = identify(agent)
    if now.agent_id != agent_id:
        what = now.fault or f"is not the file that was evaluated ({agent_id} then, {now.agent_id} now)"
        raise AgentStartError(f"{Path(agent.path).name}: {what}; restore it, or begin a run with another --run-id")


def stream_of(side: Side, seed: int) -> np.random.Generator:
    """The random stream of one side in a game; both players are given the same seed."""
    return np.random.default_rng([seed % 2**64, _SIDE_STREAM[side]])


def device_named(name: str) -> torch.device:
    """``auto`` is the first GPU where there is one.

    Raises:
        RuntimeError: the GPU asked for is not there.
    """
    if name == "auto":
        return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise RuntimeError("no GPU that torch can use")
    return torch.device(name)


def first_line(error: BaseException) -> str:
    """What an error says, in one line of at most 200 characters."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:200]
