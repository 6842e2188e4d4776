"""Real training, from the first step to the last: `python -m benchmarks.nanogpt`.

nanoGPT's configuration for a CPU on tiny Shakespeare, whose README promises a validation loss of 1.88 estimated on
a few batches; here the loss is over the whole validation split. And, with `--default`, the default model and run.
"""

from __future__ import annotations

import dataclasses
import json
import statistics
import time
from pathlib import Path
from typing import Annotated, NamedTuple

import tyro

from benchmarks.cases import NANO
from benchmarks.machine import as_text, describe
from tlab import ModelConfig, TrainConfig, Trainer, load_corpus
from tlab.training.trainer import evaluate

CORPUS = "shakespeare"


class Recipe(NamedTuple):
    """A run, the loss to get below, and, where it counts, within how many seconds."""

    title: str
    model: ModelConfig
    training: TrainConfig
    target: float
    seconds: float | None


NANOGPT = Recipe(
    "nanoGPT's CPU configuration: mean of the last validation losses at most 1.93",
    NANO,
    TrainConfig(
        steps=2000, batch_size=12, learning_rate=1e-3, min_learning_rate=1e-4, schedule="cosine", warmup_steps=100,
        optimizer="adamw", beta1=0.9, beta2=0.99, weight_decay=0.1, gradient_clip=1.0, validation_every=250,
    ),
    target=1.93,
    seconds=None,
)  # fmt: skip

DEFAULT = Recipe(
    "the default model and run: below 2.4 nats within 60 seconds",
    ModelConfig(vocab_size=65),
    # The default run looks at the validation split less often; the time of every look counts.
    TrainConfig(validation_every=50),
    target=2.4,
    seconds=60,
)


class Outcome(NamedTuple):
    """What one seed led to; times are by the clock on the wall, validation included."""

    seed: int
    first_loss: float  # validation, before any update
    final_loss: float  # validation, after the last
    target_step: int | None  # the first look at the validation split that was at or below the target
    target_seconds: float | None
    seconds: float


def run(recipe: Recipe, seed: int) -> Outcome:
    """Train once, printing every look at the validation split."""
    corpus = load_corpus(CORPUS)
    trainer = Trainer(recipe.model, dataclasses.replace(recipe.training, seed=seed), corpus)
    first_loss = final_loss = evaluate(trainer.model, corpus.validation)
    reached: tuple[int, float] | None = None
    print(f"  seed {seed}  step    0  validation {first_loss:.4f}", flush=True)
    began = time.perf_counter()
    for record in trainer:
        if record.validation_loss is None:
            continue
        final_loss = record.validation_loss
        seconds = time.perf_counter() - began
        print(f"  seed {seed}  step {record.step:4}  validation {final_loss:.4f}  {seconds:6.1f} s", flush=True)
        if reached is None and final_loss <= recipe.target:
            reached = record.step, seconds
    return Outcome(seed, first_loss, final_loss, *(reached or (None, None)), time.perf_counter() - began)


def judge(recipe: Recipe, outcomes: list[Outcome]) -> bool:
    """Whether the recipe's target was reached, by all seeds where time counts and else by their mean."""
    if recipe.seconds is None:
        return statistics.fmean(outcome.final_loss for outcome in outcomes) <= recipe.target
    times = [outcome.target_seconds for outcome in outcomes]
    return all(seconds is not None and seconds <= recipe.seconds for seconds in times)


def main(
    seeds: tuple[int, ...] = (0, 1, 2),
    default: bool = False,
    json_file: Annotated[Path | None, tyro.conf.arg(name="json")] = None,
) -> None:
    """Train on tiny Shakespeare, once for each seed, and say whether the target was reached.

    Args:
        seeds: of the weights and the batches.
        default: the default model and run instead of nanoGPT's.
        json_file: file to write the outcomes to.
    """
    recipe = DEFAULT if default else NANOGPT
    machine = describe()
    print(f"{as_text(machine)}\n{recipe.title}", flush=True)
    outcomes = [run(recipe, seed) for seed in seeds]
    for outcome in outcomes:
        words = f"seed {outcome.seed}: {outcome.first_loss:.3f} to {outcome.final_loss:.4f} in {outcome.seconds:.1f} s"
        if outcome.target_seconds is not None:
            words += f"; at most {recipe.target} after {outcome.target_step} steps, {outcome.target_seconds:.1f} s"
        print(words)
    losses = [outcome.final_loss for outcome in outcomes]
    spread = f"{min(losses):.4f} to {max(losses):.4f}"
    print(f"mean {statistics.fmean(losses):.4f} ({spread}): {'reached' if judge(recipe, outcomes) else 'MISSED'}")
    if json_file:
        report = {
            "machine": machine,
            "recipe": recipe.title,
            "model": recipe.model.to_json(),
            "training": recipe.training.to_json(),
            "outcomes": [outcome._asdict() for outcome in outcomes],
        }
        json_file.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    tyro.cli(main)
