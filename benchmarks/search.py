"""Good switches for the race, by trial: `python -m benchmarks.search`.

A climb from a first guess: each trial changes one or two settings of the best one so far, trains on the same number of
texts with seed 0, and becomes the best if its loss on the validation split is lower. Every trial is a line of JSON.
The split that it looks at is that of the race: the gain is that of a recipe tuned to this text, as nanoGPT's is.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import tyro

from benchmarks.contestants import CORPUS, SWITCHES
from tlab import ModelConfig, TrainConfig, Trainer, load_corpus
from tlab.text import Corpus

Settings = dict[str, Any]

CHOICES: dict[str, list[Any]] = {
    "lr": [2e-3, 3e-3, 4.5e-3, 6.5e-3, 9e-3], "position": ["rope", "alibi"], "activation": ["swiglu", "gelu", "swish"],
    "norm": ["rmsnorm", "layernorm"], "residual": ["pre", "sandwich"], "init": ["gpt2", "xavier", "xavier-scaled"],
    "scale": [1.0, 4.0, 11.3], "beta1": [0.9, 0.85, 0.8], "beta2": [0.95, 0.98, 0.99], "wd": [0.01, 0.1, 0.3],
    "batch": [6, 8, 12, 16, 24], "heads": [2, 4, 8], "warm": [0.02, 0.06, 0.12], "schedule": ["cosine", "linear"],
    "tied": [True, False], "final": [0.0, 0.05], "clip": [1.0, 0.5, 2.0],
}  # fmt: skip
FIRST: Settings = {
    "lr": 4.5e-3, "position": "rope", "activation": "swiglu", "norm": "rmsnorm", "residual": "pre",
    "init": "xavier-scaled", "scale": 1.0, "beta1": 0.9, "beta2": 0.98, "wd": 0.1, "batch": 12, "heads": 4,
    "warm": 0.06, "schedule": "linear", "tied": True, "final": 0.05, "clip": 1.0,
}  # fmt: skip


def configs(s: Settings, texts: int) -> tuple[ModelConfig, TrainConfig]:
    """The run that these settings stand for; `warm` is a share of the steps, `final` of the learning rate."""
    steps = round(texts / s["batch"])
    init, _, scaled = s["init"].partition("-")
    model = ModelConfig(
        vocab_size=SWITCHES.vocab_size, context_length=64, hidden_dim=128, num_layers=4, num_heads=s["heads"],
        mlp_ratio=4, bias=False, norm=s["norm"], activation=s["activation"], residual=s["residual"],
        position=s["position"], init=init, scale_residual=bool(scaled), embedding_scale=s["scale"], tied=s["tied"],
    )  # fmt: skip
    training = TrainConfig(
        steps=steps, batch_size=s["batch"], learning_rate=s["lr"], min_learning_rate=s["lr"] * s["final"],
        schedule=s["schedule"], warmup_steps=max(1, round(s["warm"] * steps)), beta1=s["beta1"], beta2=s["beta2"],
        weight_decay=s["wd"], gradient_clip=s["clip"], validation_every=0,
    )  # fmt: skip
    return model, training


def trial(s: Settings, texts: int, corpus: Corpus) -> float:
    """The validation loss at the end; a run that diverges counts as infinity."""
    trainer = Trainer(*configs(s, texts), corpus)
    for record in trainer:
        if record.validation_loss is not None:
            return record.validation_loss
    return float("inf")


def neighbour(best: Settings, rng: random.Random) -> Settings:
    """The best so far with one or two settings changed."""
    changed = rng.sample(list(CHOICES), rng.choice([1, 1, 2]))
    return best | {name: rng.choice([v for v in CHOICES[name] if v != best[name]]) for name in changed}


def main(trials: int = 30, texts: int = 6000, seed: int = 1, log: Path = Path("search.jsonl")) -> None:
    """Climb.

    Args:
        trials: how many runs.
        texts: that each run trains on.
        seed: of the choice of changes.
        log: file to add each trial to.
    """
    rng, corpus = random.Random(seed), load_corpus(CORPUS)
    best, lowest = FIRST, float("inf")
    for number in range(trials):
        settings = neighbour(best, rng) if number else FIRST
        loss = trial(settings, texts, corpus)
        with log.open("a") as file:
            file.write(json.dumps({"loss": loss, "texts": texts, **settings}) + "\n")
        if loss < lowest:
            best, lowest = settings, loss
        print(f"{number + 1} of {trials}: {loss:.4f}, lowest {lowest:.4f}", flush=True)
    print(best)


if __name__ == "__main__":
    tyro.cli(main)
