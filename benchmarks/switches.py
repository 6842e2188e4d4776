"""Whether any switch is a slow one: combinations, and each switch alone, against a size's own, in one process."""

from __future__ import annotations

import dataclasses
import itertools
import os
import statistics
import time
from typing import Any, NamedTuple

from benchmarks.cases import size_of
from benchmarks.jobs import make_trainer, random_corpus
from tlab.config import options
from tlab.cost import step_flops
from tlab.nn.activations import ACTIVATIONS
from tlab.nn.config import ModelConfig
from tlab.nn.norms import NORMS
from tlab.nn.positions import POSITIONS
from tlab.nn.residuals import RESIDUALS
from tlab.training.config import TrainConfig
from tlab.training.trainer import Trainer

SLOTS = {"norm": NORMS, "activation": ACTIVATIONS, "residual": RESIDUALS, "position": POSITIONS}
MOST = 1.35  # a combination's time over the default's, over the ratio of their operations
STEPS = 8  # in a turn

# Of fields with numbers or two answers, the value with which a switch is on.
ON: dict[str, dict[str, Any]] = {
    "num_kv_heads 1": {"num_kv_heads": 1}, "rope_fraction 0.5": {"position": "rope", "rope_fraction": 0.5},
    "qk_norm_all_heads": {"qk_norm": "rmsnorm", "qk_norm_all_heads": True},
    "attention_gate": {"attention_gate": True}, "value_residual": {"value_residual": True},
    "score_cap 50": {"score_cap": 50.0}, "logit_cap 30": {"logit_cap": 30.0}, "dropout 0.1": {"dropout": 0.1},
    "label_smoothing 0.1": {"label_smoothing": 0.1}, "z_loss 0.0001": {"z_loss": 1e-4},
    "ema_decay 0.99": {"ema_decay": 0.99},
}  # fmt: skip
MUON_WIDTHS = (64, 128, 256)


class Combination(NamedTuple):
    """One combination, measured."""

    switches: dict[str, str]
    ratio: float  # time of its step over that of the default combination, median of the turns
    flops_ratio: float

    @property
    def excess(self) -> float:
        """What its operations do not explain."""
        return self.ratio / max(1.0, self.flops_ratio)


class Switch(NamedTuple):
    """One switch that is on while all others are as a size has them, measured."""

    size: str
    switch: str
    ratio: float  # as a combination's
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


def switches_alone(config: ModelConfig) -> dict[str, dict[str, Any]]:
    """What to call each switch -> the fields of both configs that turn it on."""
    training = TrainConfig()
    chosen = {
        f"{field} {key}": {field: key}
        for fields, own in ((options(ModelConfig), config), (options(TrainConfig), training))
        for field, option in fields.items()
        if option.registry is not None and field != "init"
        for key in option.registry
        if key not in (getattr(own, field), "muon")  # of which what it costs depends on the width
    }
    return {**chosen, **ON}


def measure_alone(name: str, size: str, changes: dict[str, Any], turns: int, width: int | None = None) -> Switch:
    """One switch against the model without it."""
    config, batch_size = size_of(size)
    config = dataclasses.replace(config, hidden_dim=width or config.hidden_dim)
    corpus, of_model = random_corpus(config.vocab_size), options(ModelConfig)
    other_config = dataclasses.replace(config, **{name: v for name, v in changes.items() if name in of_model})
    of_training = {name: value for name, value in changes.items() if name not in of_model}
    usual = make_trainer(config, batch_size, corpus)
    other = make_trainer(other_config, batch_size, corpus, **of_training)
    seconds(usual)
    seconds(other)
    ratios = [seconds(other) / seconds(usual) for _ in range(turns)]
    flops_ratio = step_flops(other_config, batch_size) / step_flops(config, batch_size)
    return Switch(size, name, statistics.median(ratios), flops_ratio)


def alone(size: str, turns: int) -> list[dict[str, Any]]:
    """Each switch by itself, and Muon at three widths."""
    found = []
    for name, changes in switches_alone(size_of(size).config).items():
        found.append(measure_alone(name, size, changes, turns))
        print(f"  {name}: {found[-1].ratio:.2f}, of its operations {found[-1].flops_ratio:.2f}", flush=True)
    slowest = max(found, key=lambda row: row.excess)
    verdict = "reached" if slowest.excess <= MOST else "MISSED"
    print(f"  slowest of {len(found)}: {slowest.switch}: {slowest.excess:.2f}, at most {MOST}: {verdict}", flush=True)
    for width in MUON_WIDTHS:
        row = measure_alone(f"optimizer muon, width {width}", size, {"optimizer": "muon"}, turns, width)
        print(f"  {row.switch}: {row.ratio:.2f} times a step with AdamW", flush=True)
        found.append(row)
    return [{**row._asdict(), "excess": row.excess} for row in found]
