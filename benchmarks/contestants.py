"""The two sides of the race to a loss of 1.88 on tiny Shakespeare; each run is a process of its own.

`python -m benchmarks.contestants NAME SEED` trains and prints a JSON line for each look at the validation split:
the step, the loss over the whole split, and the seconds of training so far, on the wall and of the processor. The
looks themselves are not in the seconds. Every look of either side is over windows of 64 characters.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from collections.abc import Iterator
from typing import NamedTuple, Protocol

from benchmarks.jobs import Job
from tlab import ModelConfig, TrainConfig, Trainer, load_corpus
from tlab.training.trainer import evaluate
from tlab.types import Ids

CORPUS = "shakespeare"
TARGET = 1.88

# The size of nanoGPT's configuration (4 layers, 4 heads, 128 wide, context 64, batch 12), with the best switches of a
# search: `benchmarks.search`.
SWITCHES = ModelConfig(
    vocab_size=65, context_length=64, hidden_dim=128, num_layers=4, num_heads=4, mlp_ratio=4, bias=False,
    norm="layernorm", activation="swiglu", residual="pre", position="rope", init="xavier", scale_residual=True,
    embedding_scale=1.0,
)  # fmt: skip
RECIPE = TrainConfig(
    steps=440, batch_size=12, learning_rate=2e-3, min_learning_rate=1e-4, schedule="linear", warmup_steps=26,
    beta1=0.85, beta2=0.98, weight_decay=0.3, gradient_clip=2.0, validation_every=0,
)  # fmt: skip


class Look(NamedTuple):
    """One look at the validation split."""

    step: int
    loss: float
    wall: float  # seconds of training so far
    cpu: float


class Contestant(Protocol):
    """A training run."""

    steps: int
    looks_every: int

    def advance(self) -> object:
        """Make one update."""

    def evaluate(self, tokens: Ids) -> float:
        """The loss over a whole text."""
        ...


class Ours:
    """The lab's run."""

    steps, looks_every = RECIPE.steps, 20

    def __init__(self, seed: int) -> None:
        self.trainer = Trainer(SWITCHES, dataclasses.replace(RECIPE, seed=seed), load_corpus(CORPUS))

    def advance(self) -> object:
        """Make one update."""
        return self.trainer.train_step()

    def evaluate(self, tokens: Ids) -> float:
        """The loss over a whole text."""
        return evaluate(self.trainer.model, tokens)


def theirs(seed: int) -> Contestant:
    """nanoGPT's recipe in PyTorch."""
    import torch

    from benchmarks.peers.nanogpt import Run

    torch.set_num_threads(1)
    return Run(load_corpus(CORPUS).train, seed)


CONTESTANTS = {"tlab": Ours, "nanoGPT in PyTorch": theirs}


def stepping(name: str) -> Job:
    """A contestant's training steps and nothing else; a run that comes to its end begins again."""
    contestant, done = CONTESTANTS[name](0), 0

    def work(steps: int) -> None:
        nonlocal contestant, done
        for _ in range(steps):
            if done == contestant.steps:
                contestant, done = CONTESTANTS[name](0), 0
            contestant.advance()
            done += 1

    return work


def looks(contestant: Contestant) -> Iterator[Look]:
    """Train to the end of the schedule."""
    validation = load_corpus(CORPUS).validation
    wall = cpu = 0.0
    for step in range(1, contestant.steps + 1):
        began = time.perf_counter(), time.process_time()
        contestant.advance()
        wall, cpu = wall + time.perf_counter() - began[0], cpu + time.process_time() - began[1]
        if step % contestant.looks_every == 0 or step == contestant.steps:
            yield Look(step, contestant.evaluate(validation), wall, cpu)


def main() -> None:
    """One run."""
    name, seed = sys.argv[1:]
    for look in looks(CONTESTANTS[name](int(seed))):
        print(json.dumps(look), flush=True)


if __name__ == "__main__":
    main()
