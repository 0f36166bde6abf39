"""Makes the checkpoints in ``examples/checkpoints``: small, real networks in Keisei's two file formats.

An engine with a small node limit plays games in which either side errs at random, and names its move in every
position. A network of three blocks and 32 channels learns to name the same move; it is saved at four points
of its training, as Keisei's present trainer would (``epoch_00000.pt`` ...). A tiny tower in Keisei's former
format (``checkpoint_ts300.pth``) learns from the same positions.

Three things keep the files small, and all load in the usual way: weights are stored in half precision, the
optimizer's state is left empty (Adam's would triple the file), and the former tower's policy matrix is a view
of one vector, ``weight[i, j] = vector[i + j]``, so that the file holds 13,688 numbers for it instead of
2,191,374. It was trained in that form.

How strong they are, in games from eight random moves with sides swapped (won, drawn, lost; greedy, csa rules, 320
plies)::

    epoch_00015 - random         40  0  0      epoch_00002 - random              17  3  0
    epoch_00015 - material 1     26  0 14      epoch_00000 - random               0 16  4
    epoch_00015 - material 2      0  0 20      checkpoint_ts300 - random          0 17  3
    epoch_00015 - epoch_00006    35  0  5      epoch_00006 - epoch_00002         30 10  0
    epoch_00015 - epoch_00000    20  0  0      epoch_00002 - epoch_00000          8 12  0
    epoch_00006 - material 1      9  3 28      epoch_00002 - checkpoint_ts300    15  5  0

Takes about a quarter of an hour on one core; seeds are fixed, so one machine makes the same files again::

    python examples/train_checkpoints.py --out examples/checkpoints
"""

from __future__ import annotations

import argparse
import math
import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cshogi
import numpy as np
import torch
from torch import nn
from torch.nn import functional

from banzuke.players.networks.actions import ActionMap, flat_13527, spatial_11259
from banzuke.players.networks.encoding import KEISEI_NEW_50
from banzuke.players.networks.old_tower import OldTower, OldTowerSizes
from banzuke.players.networks.se_resnet import SEResNet, SEResNetSizes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

SEED = 20_260_401
TEACHER_NODES = 400
LONGEST_GAME = 200
ERROR_RATES = (0.0, 0.05, 0.1, 0.2, 0.3, 0.6, 1.0)
"""How often a side plays a random move; drawn anew for either side of every game."""
CENTIPAWN_SCALE = 600.0
"""Teacher's centipawns at which the odds of winning are e : 1."""
BATCH = 256
PEAK_RATE = 4e-3
SAVED_AFTER = {0: 30, 2: 200, 6: 800, 15: 3200}
"""Optimizer steps after which an epoch's file is written."""
OLD_STEPS = 300
SIZES = SEResNetSizes(
    planes=50,
    blocks=3,
    channels=32,
    squeeze=8,
    pool=16,
    policy_channels=16,
    value_width=32,
    score_width=16,
)
OLD_SIZES = OldTowerSizes(planes=46, actions=13_527, depth=1, width=16, squeeze=None)
MATERIAL = {
    cshogi.PAWN: 1,
    cshogi.LANCE: 3,
    cshogi.KNIGHT: 4,
    cshogi.SILVER: 5,
    cshogi.GOLD: 6,
    cshogi.BISHOP: 8,
    cshogi.ROOK: 10,
    cshogi.PROM_PAWN: 7,
    cshogi.PROM_LANCE: 6,
    cshogi.PROM_KNIGHT: 6,
    cshogi.PROM_SILVER: 6,
    cshogi.PROM_BISHOP: 10,
    cshogi.PROM_ROOK: 12,
    cshogi.KING: 0,
}
HAND_MATERIAL = np.array([1, 3, 4, 5, 6, 8, 10])


@dataclass(frozen=True, slots=True, kw_only=True)
class Lessons:
    """N positions with the teacher's opinion of them."""

    planes: NDArray[np.float16]
    """``(N, 50, 9, 9)``"""
    legal: NDArray[np.int32]
    """cshogi's 15-bit legal moves of all positions, one after the other."""
    starts: NDArray[np.int64]
    """``(N + 1,)``: where each position's legal moves begin in ``legal``."""
    best: NDArray[np.int64]
    """``(N,)``: which of its legal moves the teacher plays."""
    mover: NDArray[np.int64]
    """``(N,)``: cshogi's colour of the side to move."""
    chances: NDArray[np.float32]
    """``(N, 3)``: win, draw, loss for the mover."""
    material: NDArray[np.float32]
    """``(N,)``: the mover's material balance / 76."""


def main() -> None:
    """Generate the lessons, or read them, then train and save both networks."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "checkpoints")
    parser.add_argument("--positions", type=int, default=120_000)
    parser.add_argument("--lessons", type=Path, help="an .npz file: read if it exists, else written")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.lessons is not None and options.lessons.exists():
        with np.load(options.lessons) as stored:
            lessons = Lessons(**{name: stored[name] for name in stored.files})
    else:
        lessons = generate_lessons(options.positions)
        if options.lessons is not None:
            np.savez(options.lessons, **{name: getattr(lessons, name) for name in Lessons.__slots__})
    options.out.mkdir(parents=True, exist_ok=True)
    train_se_resnet(lessons, options.out)
    train_old_tower(lessons, options.out)


def generate_lessons(count: int) -> Lessons:
    """Have the teacher look at ``count`` positions of games full of errors."""
    rng = random.Random(SEED)  # noqa: S311 - training, not cryptography
    started = time.monotonic()
    notes: list[Note] = []
    chances: list[tuple[float, float, float]] = []
    teacher = Teacher()
    while len(notes) < count:
        game, winner = play_game(teacher, rng)
        notes += game
        chances += [blend(note.centipawns, None if winner is None else winner == note.mover) for note in game]
        if len(notes) // 10_000 > (len(notes) - len(game)) // 10_000:
            print(f"{len(notes)} positions, {time.monotonic() - started:.0f} s", file=sys.stderr)
    teacher.close()
    return Lessons(
        planes=np.stack([note.planes for note in notes]),
        legal=np.concatenate([note.legal for note in notes]),
        starts=np.concatenate([[0], np.cumsum([len(note.legal) for note in notes])]).astype(np.int64),
        best=np.array([note.best for note in notes]),
        mover=np.array([note.mover for note in notes]),
        chances=np.array(chances, dtype=np.float32),
        material=np.array([note.material for note in notes], dtype=np.float32),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """One position and what the teacher says about it."""

    planes: NDArray[np.float16]
    legal: NDArray[np.int32]
    best: int
    mover: int
    material: float
    centipawns: int


def play_game(teacher: Teacher, rng: random.Random) -> tuple[list[Note], int | None]:
    """One game from the usual start: its positions, and the winner's colour if it was won."""
    teacher.new_game()
    board = cshogi.Board()
    rates = (rng.choice(ERROR_RATES), rng.choice(ERROR_RATES))
    random_plies = rng.randrange(0, 10)
    notes: list[Note] = []
    seen: Counter[str] = Counter()
    while board.move_number <= LONGEST_GAME:
        legal = list(board.legal_moves)
        if not legal:
            return notes, cshogi.opponent(board.turn)
        key = board.sfen().rpartition(" ")[0]
        seen[key] += 1
        if seen[key] == 4:
            break
        move = rng.choice(legal)
        if board.move_number > random_plies:
            answer = teacher.ask(board.sfen())
            best = board.move_from_usi(answer.move)
            notes.append(take_note(board, seen[key], legal, best, answer.centipawns))
            if rng.random() >= rates[board.turn]:
                move = best
        board.push(move)
    return notes, None


def take_note(board: Any, occurrences: int, legal: list[int], best: int, centipawns: int) -> Note:  # noqa: ANN401
    """The position as the network will see it."""
    planes = np.zeros((KEISEI_NEW_50.planes, 9, 9), dtype=np.float32)
    KEISEI_NEW_50.write(board, planes, occurrences=occurrences, ply=board.move_number - 1, max_plies=512)
    return Note(
        planes=planes.astype(np.float16),
        legal=(np.array(legal, dtype=np.int64) & 0x7FFF).astype(np.int32),
        best=legal.index(best),
        mover=board.turn,
        material=balance(board) / 76,
        centipawns=centipawns,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the teacher says about a position."""

    move: str
    centipawns: int
    """For the side to move; a mate is worth 10,000."""


class Teacher:
    """Fairy-Stockfish under USI, one position at a time."""

    def __init__(self) -> None:
        program = shutil.which("fairy-stockfish", path="/usr/games:/usr/local/bin:/usr/bin")
        if program is None:
            raise SystemExit("fairy-stockfish is not installed")
        self.process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
        self.say("usi", "setoption name Threads value 1", "setoption name Hash value 16", "isready")
        self.read_until("readyok")

    def say(self, *lines: str) -> None:
        """Send commands."""
        if self.process.stdin is None:
            raise SystemExit("the teacher takes no commands")
        self.process.stdin.write("".join(line + "\n" for line in lines))

    def read_until(self, word: str) -> list[str]:
        """The teacher's lines up to the one that begins with ``word``."""
        lines: list[str] = []
        while not lines or not lines[-1].startswith(word):
            line = self.process.stdout.readline() if self.process.stdout else ""
            if not line:
                raise SystemExit("the teacher has died")
            lines.append(line.strip())
        return lines

    def new_game(self) -> None:
        """Forget the last game, so that a game depends on its own moves only."""
        self.say("usinewgame", "isready")
        self.read_until("readyok")

    def ask(self, sfen: str) -> Answer:
        """The best move it finds."""
        self.say(f"position sfen {sfen}", f"go nodes {TEACHER_NODES}")
        lines = self.read_until("bestmove")
        centipawns = 0
        for line in lines:
            words = line.split()
            if "score" in words:
                kind, value = words[words.index("score") + 1 :][:2]
                centipawns = int(value) if kind == "cp" else -10_000 if value.startswith("-") else 10_000
        return Answer(move=lines[-1].split()[1], centipawns=centipawns)

    def close(self) -> None:
        """End the program."""
        self.say("quit")
        self.process.wait(timeout=10)


def blend(centipawns: int, won: bool | None) -> tuple[float, float, float]:
    """Half what the teacher thinks, half how the game ended (None: not decided)."""
    expected = 1 / (1 + math.exp(-centipawns / CENTIPAWN_SCALE))
    result = (0.0, 1.0, 0.0) if won is None else (float(won), 0.0, float(not won))
    return (expected + result[0]) / 2, result[1] / 2, (1 - expected + result[2]) / 2


def balance(board: Any) -> float:  # noqa: ANN401 - a cshogi.Board; cshogi ships no types
    """The mover's material less the opponent's, hands included, on Keisei's scale."""
    black = sum(MATERIAL[piece & 15] * (1 if piece < cshogi.NOTUSE else -1) for piece in board.pieces if piece)
    hands = np.array(board.pieces_in_hand) @ HAND_MATERIAL
    total = black + int(hands[0] - hands[1])
    return float(total if board.turn == cshogi.BLACK else -total)


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """B lessons, ready to be learnt."""

    planes: torch.Tensor
    """``(B, 50, 9, 9)``"""
    legal: torch.Tensor
    """``(B, most)``: actions of the legal moves, filled up with 0."""
    is_legal: torch.Tensor
    """``(B, most)``: False where filled up."""
    best: torch.Tensor
    """``(B,)``: column of the teacher's move."""
    chances: torch.Tensor
    material: torch.Tensor


def draw_batches(lessons: Lessons, actions: ActionMap, steps: int) -> Iterator[Batch]:
    """Shuffled passes over the lessons; half of each batch is mirrored left to right, which shogi allows."""
    rng = np.random.default_rng(SEED)
    order = np.empty(0, dtype=np.int64)
    for _ in range(steps):
        if len(order) < BATCH:
            order = rng.permutation(len(lessons.best))
        chosen, order = order[:BATCH], order[BATCH:]
        mirrored = rng.random(BATCH) < 0.5
        planes = lessons.planes[chosen].astype(np.float32)
        planes[mirrored] = planes[mirrored][..., ::-1]
        lengths = lessons.starts[chosen + 1] - lessons.starts[chosen]
        legal = np.zeros((BATCH, lengths.max()), dtype=np.int64)
        for i, position in enumerate(chosen):
            moves = lessons.legal[lessons.starts[position] : lessons.starts[position + 1]]
            moves = mirror(moves) if mirrored[i] else moves
            legal[i, : len(moves)] = actions.indices(moves, mover=lessons.mover[position])
        yield Batch(
            planes=torch.from_numpy(planes),
            legal=torch.from_numpy(legal),
            is_legal=torch.from_numpy(np.arange(legal.shape[1]) < lengths[:, None]),
            best=torch.from_numpy(lessons.best[chosen]),
            chances=torch.from_numpy(lessons.chances[chosen]),
            material=torch.from_numpy(lessons.material[chosen]),
        )


def mirror(moves: NDArray[np.int32]) -> NDArray[np.int32]:
    """Moves in cshogi's 15 bits on the board seen in a mirror: file f becomes file 10 - f."""
    to, source, promotes = moves & 127, (moves >> 7) & 127, moves & (1 << 14)
    seen_source = np.where(source < 81, mirror_square(source), source)
    return mirror_square(to) + (seen_source << 7) + promotes


def mirror_square(square: NDArray[np.int32]) -> NDArray[np.int32]:
    """A square of cshogi's in a mirror."""
    return 9 * (8 - square // 9) + square % 9


def policy_loss(logits: torch.Tensor, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """Cross-entropy of ``(B, actions)`` logits among legal moves, and how often the best move comes first."""
    among_legal = logits.gather(1, batch.legal).masked_fill(~batch.is_legal, -torch.inf)
    return functional.cross_entropy(among_legal, batch.best), (among_legal.argmax(1) == batch.best).float().mean()


def learning_rate(step: int, steps: int) -> float:
    """A short warm-up, then down along a cosine."""
    return PEAK_RATE * min(1.0, (step + 1) / 100) * (0.51 + 0.49 * math.cos(math.pi * step / steps))


def train_se_resnet(lessons: Lessons, out: Path) -> None:
    """Train Keisei's present network and save it at four points."""
    torch.manual_seed(SEED)
    network = SEResNet(SIZES).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=1e-3)
    steps = max(SAVED_AFTER.values())
    epochs = {step: epoch for epoch, step in SAVED_AFTER.items()}
    started = time.monotonic()
    correct = 0.0
    for step, batch in enumerate(draw_batches(lessons, spatial_11259(), steps)):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, steps)
        heads = network(batch.planes.to(memory_format=torch.channels_last))
        policy, first = policy_loss(heads.policy_logits.flatten(1), batch)
        value = functional.cross_entropy(heads.value_logits, batch.chances)
        score = functional.mse_loss(heads.score_lead[:, 0], batch.material)
        optimizer.zero_grad()
        (policy + 0.5 * value + score).backward()
        optimizer.step()
        correct += 0.02 * (float(first) - correct)
        if step % 100 == 99:
            took = time.monotonic() - started
            print(f"{step + 1} steps, {took:.0f} s, policy {policy:.3f}, value {value:.3f}, first {correct:.3f}")
        if step + 1 in epochs:
            epoch = epochs[step + 1]
            save_training_file(network, out / f"epoch_{epoch:05d}.pt", epoch=epoch + 1, step=step + 1)


def save_training_file(network: nn.Module, path: Path, *, epoch: int, step: int) -> None:
    """Write Keisei's present training file; see the top of this script for what is left out."""
    weights = {name: in_half_precision(weight).contiguous() for name, weight in network.state_dict().items()}
    version, numbers, gauss = random.Random(SEED).getstate()  # noqa: S311 - training, not cryptography
    numpy_state: Any = np.random.RandomState(SEED).get_state(legacy=False)
    torch.save(
        {
            "model_state_dict": weights,
            "optimizer_state_dict": {"state": {}, "param_groups": []},
            "epoch": epoch,
            "step": step,
            "world_size": 1,
            "rng_states": {
                "python": (version, numbers, gauss),
                "numpy": {
                    "name": numpy_state["bit_generator"],
                    "keys": torch.from_numpy(numpy_state["state"]["key"].astype(np.int32)),
                    "pos": numpy_state["state"]["pos"],
                    "has_gauss": numpy_state["has_gauss"],
                    "cached_gaussian": numpy_state["gauss"],
                },
                "torch_cpu": torch.get_rng_state(),
            },
            "architecture": "se_resnet",
        },
        path,
    )


def in_half_precision(weight: torch.Tensor) -> torch.Tensor:
    """Weights in 16 bits; counters stay as they are."""
    return weight.half() if weight.is_floating_point() else weight


def train_old_tower(lessons: Lessons, out: Path) -> None:
    """Train the policy of Keisei's former network and save it."""
    torch.manual_seed(SEED)
    network = OldTower(OLD_SIZES)
    last = network.policy_head[-1]
    rows, columns = last.weight.shape
    vector = nn.Parameter(0.05 * torch.randn(rows + columns - 1))
    trained = [p for p in network.parameters() if p is not last.weight]
    optimizer = torch.optim.AdamW([*trained, vector], weight_decay=1e-3)
    for step, batch in enumerate(draw_batches(lessons, flat_13527(), OLD_STEPS)):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, OLD_STEPS)
        planes = batch.planes[:, : OLD_SIZES.planes].clone()
        planes[:, 44:] = 0.0
        trunk = functional.relu(network.bn_stem(network.stem(planes)))
        for block in network.res_blocks:
            trunk = block(trunk)
        features = network.policy_head[:-1](trunk)
        logits = functional.linear(features, vector.as_strided((rows, columns), (1, 1)), last.bias)
        policy, first = policy_loss(logits, batch)
        optimizer.zero_grad()
        policy.backward()
        optimizer.step()
        if step % 100 == 99:
            print(f"former tower: {step + 1} steps, policy {policy:.3f}, first {first:.3f}")
    weights = {name: in_half_precision(weight) for name, weight in network.state_dict().items()}
    weights["policy_head.4.weight"] = vector.detach().half().as_strided((rows, columns), (1, 1))
    torch.save(
        {
            "model_state_dict": weights,
            "optimizer_state_dict": {"state": {}, "param_groups": []},
            "global_timestep": OLD_STEPS,
            "total_episodes_completed": 0,
            "black_wins": 0,
            "white_wins": 0,
            "draws": 0,
        },
        out / f"checkpoint_ts{OLD_STEPS}.pth",
    )


if __name__ == "__main__":
    main()
