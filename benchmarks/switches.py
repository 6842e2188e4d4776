"""Whether any switch is a slow one: every combination against the default one, in turn, in one process."""

from __future__ import annotations

import dataclasses
import itertools
import os
import statistics
import time
from typing import Any, NamedTuple

from benchmarks.cases import size_of
from benchmarks.jobs import ENDLESS, random_corpus
from tlab.cost import step_flops
from tlab.nn.activations import ACTIVATIONS
from tlab.nn.config import ModelConfig
from tlab.nn.norms import NORMS
from tlab.nn.positions import POSITIONS
from tlab.nn.residuals import RESIDUALS
from tlab.text import Corpus
from tlab.training.config import ComputeConfig, TrainConfig
from tlab.training.trainer import Trainer

SLOTS = {"norm": NORMS, "activation": ACTIVATIONS, "residual": RESIDUALS, "position": POSITIONS}
MOST = 1.35  # a combination's time over the default's, over the ratio of their operations
STEPS = 8  # in a turn


class Combination(NamedTuple):
    """One combination, measured."""

    switches: dict[str, str]
    ratio: float  # time of its step over that of the default combination, median of the turns
    flops_ratio: float

    @property
    def excess(self) -> float:
        """What its operations do not explain."""
        return self.ratio / max(1.0, self.flops_ratio)


def seconds(trainer: Trainer) -> float:
    """Of one turn, by the processor's clock, which leaves out what other programs do meanwhile."""
    began = time.process_time()
    for _ in range(STEPS):
        trainer.train_step()
    return time.process_time() - began


def section(size: str, turns: int) -> list[dict[str, Any]]:
    """Every combination of the four slots, in a size."""
    config, batch_size = size_of(size)
    corpus = random_corpus(config.vocab_size)
    usual = make_trainer(config, batch_size, corpus)
    seconds(usual)
    found = []
    names = [list(registry) for registry in SLOTS.values()]
    total = len(list(itertools.product(*names)))
    for number, values in enumerate(itertools.product(*names), start=1):
        switches = dict(zip(SLOTS, values, strict=True))
        other_config = dataclasses.replace(config, **switches)
        other = make_trainer(other_config, batch_size, corpus)
        seconds(other)
        ratios = [seconds(other) / seconds(usual) for _ in range(turns)]
        flops_ratio = step_flops(other_config, batch_size) / step_flops(config, batch_size)
        found.append(Combination(switches, statistics.median(ratios), flops_ratio))
        if os.isatty(1) or number % 30 == 0:
            print(f"  {number} of {total}, slowest {max(row.excess for row in found):.2f}", flush=True)
    slowest = max(found, key=lambda row: row.excess)
    verdict = "reached" if slowest.excess <= MOST else "MISSED"
    print(f"  slowest: {', '.join(slowest.switches.values())}: {slowest.excess:.2f}, at most {MOST}: {verdict}")
    return [{"size": size, **row._asdict(), "excess": row.excess} for row in found]


def make_trainer(config: ModelConfig, batch_size: int, corpus: Corpus) -> Trainer:
    """One thread, no validation."""
    settings = TrainConfig(steps=ENDLESS, batch_size=batch_size, validation_every=0)
    return Trainer(config, settings, corpus, compute=ComputeConfig(threads=1))
