"""The run that the page opens with: trained by `python -m tlab.ui.demo.make_run`, and shipped beside this file.

Shipped are the records and insights as JSON, and the weights of some steps with half the digits (float16), which is
half the bytes and moves the loss by less than 0.001 nats. Those of step 0 follow from the seed.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import numpy as np

from tlab.inside.layers import LayerInsight
from tlab.nn.config import ModelConfig
from tlab.nn.model import Transformer
from tlab.training.checkpoint import Checkpoint
from tlab.training.config import TrainConfig
from tlab.training.records import StepRecord
from tlab.types import Array
from tlab.ui.runs.limits import LOCAL
from tlab.ui.runs.messages import ANY_VOCABULARY, Insight, Job, Sample, SidePlan
from tlab.ui.runs.run import Run

FOLDER = Path(__file__).parent
DEMO_RECORDS = FOLDER / "demo.json"
DEMO_WEIGHTS = FOLDER / "demo.safetensors"
DEMO_SWEEP = FOLDER / "sweep.zip"  # what the Sweeps tab opens with, made by `python -m tlab.ui.demo.make_sweep`
EXCERPT = "the name is bound to the object in the current local namespace."
PROMPT = "The import statement"


@functools.cache
def demo_about() -> dict[str, Any]:
    """What is shipped beside the weights: corpus, and of each side settings, steps, records, insights and sample."""
    return json.loads(DEMO_RECORDS.read_text("utf-8"))


@functools.cache
def demo_weights() -> dict[str, Array]:
    """Arrays in float16 by "side/step/name"."""
    from safetensors.numpy import load

    return load(DEMO_WEIGHTS.read_bytes())


def demo_plan(side: int) -> SidePlan:
    """What a side of the shipped run is made of, and how it was trained."""
    of = demo_about()["sides"][side]
    model = ModelConfig.from_json({**of["model"], "vocab_size": ANY_VOCABULARY})
    return SidePlan(of["label"], model, TrainConfig.from_json(of["training"]))


def demo_steps(side: int = 0) -> list[int]:
    """The steps of a side's shipped checkpoints, in order."""
    return demo_about()["sides"][side]["steps"]


def demo_checkpoint(side: int = 0, step: int | None = None) -> Checkpoint:
    """A model of the shipped run, that of the nearest step; by default the last one. It has no optimizer state."""
    steps = demo_steps(side)
    return make_checkpoint(side, steps[-1] if step is None else min(steps, key=lambda have: abs(have - step)))


@functools.cache
def make_checkpoint(side: int, step: int) -> Checkpoint:
    """The checkpoint of a shipped step, once."""
    about = demo_about()
    of = about["sides"][side]
    config, training = demo_plan(side).configs(about["vocab_size"])
    if step == 0:
        weights = {name: param.data for name, param in Transformer(config, training.seed).parameters.items()}
    else:
        prefix = f"{side}/{step}/"
        weights = {
            name.removeprefix(prefix): array.astype(np.float32)
            for name, array in demo_weights().items()
            if name.startswith(prefix)
        }
    records = [StepRecord(*row) for row in of["records"][:step]]
    return Checkpoint(config, training, about["corpus"], step, weights, records=records)


@functools.cache
def demo_run() -> Run:
    """The shipped run as the Train tab shows runs."""
    about = demo_about()
    plans = tuple(demo_plan(side) for side in range(len(about["sides"])))
    corpus = about["corpus"]
    job = Job(corpus["name"], None, about["tokenizer"], plans)
    run = Run.finished("", job, [demo_checkpoint(side) for side in range(len(plans))], LOCAL)
    run.excerpt, run.baselines = EXCERPT, about["baselines"]
    for number, (side, of) in enumerate(zip(run.sides, about["sides"], strict=True)):
        side.sample = Sample(number, side.step, of["sample"])
        side.insights = [Insight(number, step, [LayerInsight(*row) for row in rows]) for step, rows in of["insights"]]
    return run
