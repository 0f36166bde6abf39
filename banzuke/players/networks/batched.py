"""A network asked about many positions at a time, with the same answer for each as in any other company.

How the sums within a layer are rounded may depend on how many positions are computed at once, and a last bit can decide
between two moves. So passes are padded to a few shapes, and only to shapes for which this device was seen to give
bit-equal logits for the same positions wherever they stand and whatever stands beside them. That is tried out with the
first network of an architecture in a process. Shapes of 1 and 2 differ on the CPUs seen so far, 4 to 256 do not.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from banzuke.errors import AgentCrashError
from banzuke.games.shogi import START_POSITION, ShogiBoard, ShogiRules
from banzuke.players.checkpoint import first_line
from banzuke.players.networks.choosing import centipawns, greedy, legal_actions, sampled
from banzuke.players.networks.old_tower import OldTower
from banzuke.players.networks.optimised import optimised
from banzuke.players.networks.se_resnet import SEResNet

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from banzuke.players.networks.choosing import LegalActions
    from banzuke.players.networks.encoding import Encoding, Planes
    from banzuke.players.networks.evaluation import Evaluation, PolicyNetwork
    from banzuke.players.networks.loading import LoadedNetwork

CPU_SHAPES = (4, 8, 16, 32, 64)
"""A CPU is as fast as it gets from 32 or 64 on; the small ones are for a run's last games."""
GPU_SHAPES = (16, 64, 128, 256)
CHECKED_POSITIONS = 16
MOST_PARAMETERS_IN_LARGE_SHAPES = 8_000_000
"""20 blocks of 128 channels have as many, and need 10 ms a position on one core."""
_FAULT = "the network answered NaN or infinity for a legal move"
_NO_MEMORY = ("out of memory", "allocate memory", "not enough memory")


@dataclass(slots=True)
class Query:
    """A position somebody is to move in."""

    board: ShogiBoard
    moves: list[int]
    """Every legal move, as cshogi gives them; at least one."""
    max_plies: int
    """What the move counter is divided by."""
    temperature: float
    """0: greedy."""
    uniform: float
    """In [0, 1), of the game's own stream; for a temperature above 0."""


class Answers(NamedTuple):
    """What was chosen, in the order of the queries."""

    moves: list[int]
    """As cshogi's integers; 0 where there is a fault."""
    evals: list[int | None]
    """In centipawns for the mover; None where the network has none."""
    faults: dict[int, str]
    """Why there is no move, by place."""


class BatchedNetwork:
    """One network on one device.

    Args:
        network: as loaded; its module is left as it was.
        device: where to compute.

    Attributes:
        device: in words, ``cpu`` or ``cuda:0``.
        shapes: the batch sizes that passes are padded to, rising.
        passes: how many may be begun before the first is finished.
        remarks: what cannot be promised here, a line each.

    Raises:
        RuntimeError: the network cannot be computed on the device.
    """

    def __init__(self, network: LoadedNetwork, *, device: torch.device) -> None:
        self.network = network
        self.device = str(device)
        self.passes = 1 if device.type == "cpu" else 2
        self.remarks: list[str] = []
        self._device = device
        self._module = optimised(network.module, device=device)
        self._is_ours = isinstance(network.module, SEResNet | OldTower)
        shapes: tuple[int, ...] = CPU_SHAPES if device.type == "cpu" else GPU_SHAPES
        self.shapes: tuple[int, ...] = shapes if network.fixed_batch is None else (network.fixed_batch,)
        self._batches = [self._new_batch() for _ in range(self.passes)]
        self._turn = 0
        self._check()

    @property
    def memory_bytes(self) -> int:
        """What is held: weights and buffers."""
        tensors = itertools.chain(_parameters(self._module), getattr(self._module, "buffers", tuple)())
        held: int = sum(tensor.nbytes for tensor in tensors)
        return held + sum(batch.planes.nbytes for batch in self._batches)

    def begin(self, queries: Sequence[Query]) -> Pending:
        """Ask about positions, at most as many as the largest shape holds.

        Raises:
            AgentCrashError: the pass failed.
        """
        try:
            return self._begin(queries)
        except (RuntimeError, MemoryError) as error:
            if not _is_out_of_memory(error):
                raise AgentCrashError(f"the network failed: {first_line(error)}") from error
            reason = first_line(error)
        return self._halved(queries, reason)

    def run_bare(self, shape: int) -> None:
        """One pass over whatever is in the buffer, and nothing around it: what the speed of playing is measured by."""
        self._evaluate(self._on_device(self._batches[0], shape))
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)

    def _begin(self, queries: Sequence[Query]) -> Pending:
        batch = self._batches[self._turn]
        self._turn = (self._turn + 1) % self.passes
        shape = next((shape for shape in self.shapes if shape >= len(queries)), self.shapes[-1])
        boards = [query.board for query in queries]
        batch.write(boards, [query.max_plies for query in queries])
        movers = np.array([board.cshogi.turn for board in boards], dtype=np.intp)
        is_sampled = any(query.temperature > 0 for query in queries)
        legal = legal_actions([query.moves for query in queries], movers, self.network.action_map, in_order=is_sampled)
        evaluation = self._evaluate(self._on_device(batch, shape))
        rows = len(queries)
        if self._device.type == "cpu":
            places = legal.actions + np.arange(rows)[:, None] * self.network.action_map.size
            logits = evaluation.policy_logits.numpy().reshape(-1).take(places)
            chances = evaluation.win_probability
            return Pending(queries, legal, logits, None if chances is None else chances[:rows].numpy(), None)
        return self._gather(queries, legal, evaluation)

    def _gather(self, queries: Sequence[Query], legal: LegalActions, evaluation: Evaluation) -> Pending:
        """On a GPU: only the logits of legal moves come back, when the device is done. Not run on one so far."""
        actions = torch.from_numpy(legal.actions).pin_memory().to(self._device, non_blocking=True)
        picked = evaluation.policy_logits[: len(queries)].float().gather(1, actions)
        logits = picked.to("cpu", non_blocking=True)
        chances = evaluation.win_probability
        if chances is not None:
            chances = chances[: len(queries)].float().to("cpu", non_blocking=True)
        done = torch.Event(self._device.type)
        done.record()
        return Pending(queries, legal, logits.numpy(), None if chances is None else chances.numpy(), done)

    def _halved(self, queries: Sequence[Query], reason: str) -> Pending:
        """The same in two parts, and never so many at once again."""
        size = len(queries)
        if size == 1 and self.shapes[0] == 1:
            raise AgentCrashError(f"the network failed: {reason}")
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        shape = next((shape for shape in self.shapes if shape >= size), self.shapes[-1])
        smaller = tuple(known for known in self.shapes if known < shape)
        if smaller:
            self._remark(f"too little memory for {shape} positions at once; at most {smaller[-1]} from now on")
        else:
            smaller = (max(1, shape // 2),)
            self._remark(
                f"too little memory for {shape} positions at once; {smaller[0]} from now on, "
                "for which moves may differ from those of other runs"
            )
        self.shapes = smaller
        parts: list[Answers] = []
        start = 0
        while start < size:
            most = self.shapes[-1]  # the part before may have found that there is memory for fewer still
            parts.append(self.begin(queries[start : start + most]).finish())
            start += most
        return Pending.joined(queries, parts)

    def _remark(self, remark: str) -> None:
        if remark not in self.remarks:
            self.remarks.append(remark)

    def _new_batch(self) -> _Batch:
        pinned = self._device.type == "cuda"
        return _Batch(self.network.encoding, self.shapes[-1], pinned=pinned)

    def _on_device(self, batch: _Batch, shape: int) -> torch.Tensor:
        planes = batch.tensor[:shape]
        if not self._is_ours:
            # Somebody else's network may look at it as one block of memory.
            planes = planes.contiguous()
        return planes if self._device.type == "cpu" else planes.to(self._device, non_blocking=True)

    def _evaluate(self, planes: torch.Tensor) -> Evaluation:
        with torch.inference_mode():
            if self._device.type == "cpu":
                return self._module.evaluate(planes)
            with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
                return self._module.evaluate(planes)

    def _check(self) -> None:
        """Keep the shapes that agree with the largest; say so where even that one disagrees with itself."""
        key = self._architecture()
        found = (_checked.get(key) if self._is_ours else None) or self._agreeing_shapes()
        if self._is_ours:  # of any other network, the sizes of its weights do not tell how it computes
            _checked[key] = found
        self.shapes, is_steady = found
        if not is_steady:
            self._remark("on this device its answers depend on the other positions of a batch, and so may its moves")

    def _architecture(self) -> Hashable:
        shapes = tuple(tuple(weight.shape) for weight in _parameters(self._module))
        return (type(self.network.module), self.device, self.shapes, shapes)

    def _agreeing_shapes(self) -> tuple[tuple[int, ...], bool]:
        batch = self._batches[0]
        shapes = self._affordable_shapes()
        largest = shapes[-1]
        boards = random_positions(largest + CHECKED_POSITIONS)
        batch.write(boards[CHECKED_POSITIONS:], [512] * largest)
        others = batch.planes.copy()
        count = min(CHECKED_POSITIONS, largest)
        batch.write(boards[:count], [512] * count)
        checked = batch.planes[:count].copy()
        expected = self._logits_among(checked, others, largest, seed=1)

        def agrees(shape: int, seed: int) -> bool:
            found = self._logits_among(checked, others, shape, seed=seed)
            return bool(np.array_equal(expected, found, equal_nan=True))

        agreeing = tuple(shape for shape in shapes if shape == largest or agrees(shape, seed=shape))
        return agreeing, agrees(largest, seed=2)

    def _affordable_shapes(self) -> tuple[int, ...]:
        """Those that are checked within a few seconds: a large network gains nothing from the larger ones on a CPU."""
        if self._device.type != "cpu" or self.network.parameters <= MOST_PARAMETERS_IN_LARGE_SHAPES:
            return self.shapes
        return tuple(shape for shape in self.shapes if shape <= CHECKED_POSITIONS) or self.shapes[:1]

    def _logits_among(
        self, checked: NDArray[np.float32], others: NDArray[np.float32], shape: int, *, seed: int
    ) -> NDArray[np.float32]:
        """Logits of the checked positions, put at random places among others, in passes of one shape."""
        batch = self._batches[0]
        draw = np.random.default_rng(seed)
        found = []
        for start in range(0, len(checked), shape):
            part = checked[start : start + shape]
            places = draw.permutation(shape)[: len(part)]
            batch.planes[:shape] = others[draw.permutation(len(others))[:shape]]
            batch.planes[places] = part
            logits = self._evaluate(self._on_device(batch, shape)).policy_logits
            found.append(logits[torch.from_numpy(places).to(logits.device)].float().cpu().numpy())
        return np.concatenate(found)


_checked: dict[Hashable, tuple[tuple[int, ...], bool]] = {}
"""What was found out in this process, by architecture and device: weights change no rounding."""


class _Batch:
    """The planes of a batch, in memory that is used again and again."""

    def __init__(self, encoding: Encoding, size: int, *, pinned: bool) -> None:
        self.encoding = encoding
        whole = torch.zeros((size, 9, 9, encoding.planes), pin_memory=pinned)
        self.tensor = whole.permute(0, 3, 1, 2)
        """``(size, planes, 9, 9)``, channels last."""
        self.planes: Planes = whole.numpy()
        """The same memory, ``(size, 9, 9, planes)``."""

    def write(self, boards: Sequence[ShogiBoard], max_plies: Sequence[int]) -> None:
        """Write positions into the first rows."""
        self.encoding.write_batch(
            [board.cshogi for board in boards],
            self.planes,
            occurrences=[board.hashed_occurrences() for board in boards],
            max_plies=max_plies,
        )


class Pending:
    """A pass that was begun.

    Args:
        queries: what was asked.
        legal: the legal moves of each.
        logits: ``(B, M)``, in the columns of ``legal``; on a GPU not there before ``done``.
        chances: ``(B,)``, the mover's, likewise; None for a network that has none.
        done: on a GPU, when it is.
    """

    def __init__(
        self,
        queries: Sequence[Query],
        legal: LegalActions | None,
        logits: NDArray[np.float32] | None,
        chances: NDArray[np.float32] | None,
        done: torch.Event | None,
        *,
        answers: Answers | None = None,
    ) -> None:
        self._queries = queries
        self._legal = legal
        self._logits = logits
        self._chances = chances
        self._done = done
        self._answers = answers

    @classmethod
    def joined(cls, queries: Sequence[Query], parts: Sequence[Answers]) -> Pending:
        """One that is done already, in parts."""
        moves: list[int] = []
        evals: list[int | None] = []
        faults: dict[int, str] = {}
        for part in parts:
            faults |= {len(moves) + place: fault for place, fault in part.faults.items()}
            moves += part.moves
            evals += part.evals
        return cls(queries, None, None, None, None, answers=Answers(moves, evals, faults))

    def finish(self) -> Answers:
        """Wait for the answers.

        Raises:
            AgentCrashError: the pass failed.
        """
        if self._answers is None:
            try:
                if self._done is not None:
                    self._done.synchronize()
            except RuntimeError as error:
                raise AgentCrashError(f"the network failed: {first_line(error)}") from error
            self._answers = self._choose()
        return self._answers

    def _choose(self) -> Answers:
        legal, logits = self._legal, self._logits
        if legal is None or logits is None:
            raise RuntimeError("a pass without an answer")
        rows = len(self._queries)
        is_faulty = (~np.isfinite(logits) & legal.is_move).any(axis=1)
        faults = dict.fromkeys(np.flatnonzero(is_faulty).tolist(), _FAULT)
        with np.errstate(invalid="ignore"):
            columns = greedy(logits, legal)
            warm = [place for place, query in enumerate(self._queries) if query.temperature > 0 and place not in faults]
            if warm:
                part = type(legal)(actions=legal.actions[warm], is_move=legal.is_move[warm], moves=legal.moves[warm])
                columns[warm] = sampled(
                    logits[warm],
                    part,
                    temperatures=np.array([self._queries[place].temperature for place in warm]),
                    uniforms=np.array([self._queries[place].uniform for place in warm]),
                )
        moves = np.where(is_faulty, 0, legal.moves[np.arange(rows), columns]).tolist()
        evals: list[int | None] = [None] * rows if self._chances is None else centipawns(self._chances)
        return Answers(moves, evals, faults)


def random_positions(count: int) -> list[ShogiBoard]:
    """Different positions of random games."""
    draw = random.Random(1)  # noqa: S311 - positions, not secrets
    boards: list[ShogiBoard] = []
    while len(boards) < count:
        board = ShogiRules().start(START_POSITION, max_plies=512)
        for _ in range(1 + len(boards) % 60):
            moves = list(board.cshogi.legal_moves)
            if not moves:
                break
            board.advance(draw.choice(moves))
        boards.append(board)
    return boards


def _parameters(module: PolicyNetwork) -> list[torch.Tensor]:
    return list(getattr(module, "parameters", tuple)())


def _is_out_of_memory(error: BaseException) -> bool:
    text = str(error).lower()
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(words in text for words in _NO_MEMORY)
