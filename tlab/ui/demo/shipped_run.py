"""The finished runs that the app ships, one for each preset, and a model that was trained for longer.

`python -m tlab.ui.demo.make_runs` trains them and packs them into runs.zip beside this file; a side that is in several
runs is there once. Losses have all their digits. The weights of some steps have eight bits each, which moves the loss
by less than 0.002 nats; those of step 0 follow from the seed. Everything is read when it is first asked for.
"""

from __future__ import annotations

import functools
import json
import zipfile
from pathlib import Path
from typing import Any

from tlab.inside.layers import LayerInsight
from tlab.nn.config import ModelConfig
from tlab.nn.model import Transformer
from tlab.text import DEFAULT_CORPUS
from tlab.training.checkpoint import Checkpoint
from tlab.training.config import TrainConfig
from tlab.training.records import Divergence, StepRecord
from tlab.types import Array
from tlab.ui.demo.eight_bits import from_eight_bits
from tlab.ui.runs.limits import LOCAL
from tlab.ui.runs.messages import Insight, Sample, SeedStart
from tlab.ui.runs.run import Run
from tlab.ui.settings.presets import DEMO_PRESET, PRESETS, TRAINED, Preset, preset_job

FOLDER = Path(__file__).parent
SHIPPED_RUNS = FOLDER / "runs.zip"
DEMO_SWEEP = FOLDER / "sweep.zip"  # what the Sweeps tab opens with, made by `python -m tlab.ui.demo.make_sweep`
CONTENTS = "contents.json"  # in SHIPPED_RUNS: what else is there
RECORDED = ("loss", "gradient_norm", "seconds")  # of a StepRecord; the others follow from the configs
EXCERPT = "the name is bound to the object in the current local namespace."
PROMPT = "A function is"

SHIPPED_PREFIX = "shipped: "  # of ids; that of a visitor's run has neither a colon nor a space
SHIPPED_PRESETS = {**PRESETS, TRAINED.label: TRAINED}


def shipped_id(preset: Preset) -> str:
    """What its run has for an id."""
    return SHIPPED_PREFIX + preset.label


def shipped_preset(run_id: str | None) -> Preset:
    """The preset whose shipped run has this id; that of the page's opening where none has."""
    return SHIPPED_PRESETS.get((run_id or "").removeprefix(SHIPPED_PREFIX), DEMO_PRESET)


SHIPPED_IDS = frozenset(map(shipped_id, SHIPPED_PRESETS.values()))


def is_shipped(run: Run) -> bool:
    """Whether a run is one of these, and no visitor's."""
    return run.id.startswith(SHIPPED_PREFIX)


# ------------------------------------------------------------------------------------------------ what is in the zip


def read_entry(name: str) -> bytes:
    """The content of one file in the zip."""
    with zipfile.ZipFile(SHIPPED_RUNS) as archive:
        return archive.read(name)


@functools.cache
def sides_of_runs() -> dict[str, list[str]]:
    """By a preset's label, the names of its sides."""
    return json.loads(read_entry(CONTENTS))


@functools.cache
def about_side(name: str) -> dict[str, Any]:
    """What there is of a side beside its arrays: its text and configs, its steps, looks inside and sample."""
    return json.loads(read_entry(f"{name}.json"))


@functools.cache
def side_arrays(name: str) -> dict[str, Array]:
    """The numbers of its steps by what they are, and packed weights by "step/name"."""
    from safetensors.numpy import load

    return load(read_entry(f"{name}.safetensors"))


@functools.cache
def side_records(name: str) -> list[StepRecord]:
    """Every step that a side made."""
    about, arrays = about_side(name), side_arrays(name)
    training = TrainConfig.from_json(about["training"])
    tokens = training.batch_size * ModelConfig.from_json(about["model"]).context_length
    validation = dict(about["validation"])
    numbers = zip(*(arrays[column].tolist() for column in RECORDED), strict=True)
    records = [
        StepRecord(step, loss, validation.get(step), training.learning_rate_at(step), norm, step * tokens, seconds)
        for step, (loss, norm, seconds) in enumerate(numbers, 1)
    ]
    if about["divergence"]:
        records[-1] = records[-1]._replace(divergence=Divergence(*about["divergence"]))
    return records


@functools.cache
def side_checkpoint(name: str, step: int) -> Checkpoint:
    """The model of a side after one of its shipped steps."""
    about = about_side(name)
    model, training = ModelConfig.from_json(about["model"]), TrainConfig.from_json(about["training"])
    if step == 0:
        weights = {name: param.data for name, param in Transformer(model, training.seed).parameters.items()}
    else:
        prefix = f"{step}/"
        packed = {key.removeprefix(prefix): a for key, a in side_arrays(name).items() if key.startswith(prefix)}
        weights = from_eight_bits(packed)
    records = side_records(name)[: None if step == about["steps"][-1] else step]
    return Checkpoint(model, training, about["corpus"], step, weights, records=records)


# ------------------------------------------------------------------------------------------------ runs


def demo_steps(side: int = 0, preset: Preset = DEMO_PRESET) -> list[int]:
    """The steps of a side's shipped checkpoints, in order."""
    return about_side(sides_of_runs()[preset.label][side])["steps"]


def demo_checkpoint(side: int = 0, step: int | None = None, preset: Preset = DEMO_PRESET) -> Checkpoint:
    """A model of a shipped run, that of the nearest step; by default the last one. It has no optimizer state."""
    steps = demo_steps(side, preset)
    nearest = steps[-1] if step is None else min(steps, key=lambda have: abs(have - step))
    return side_checkpoint(sides_of_runs()[preset.label][side], nearest)


def demo_run(preset: Preset = DEMO_PRESET) -> Run:
    """A shipped run as the Train tab shows runs."""
    return load_run(preset)


@functools.cache
def load_run(preset: Preset) -> Run:
    """The same, made once."""
    job = preset_job(preset)
    run = Run.finished("", job, [demo_checkpoint(side, preset=preset) for side in range(len(job.plans))], LOCAL)
    run.id, run.name = shipped_id(preset), preset.label
    for number, (side, name) in enumerate(zip(run.sides, sides_of_runs()[preset.label], strict=True)):
        of = about_side(name)
        run.excerpt = EXCERPT if job.corpus == DEFAULT_CORPUS else of["excerpt"]
        run.baselines, run.training_pairs = of["baselines"], of["training_pairs"]
        side.sample = Sample(number, side.step, of["sample"]) if of["sample"] is not None else None
        side.insights = [Insight(number, step, layers_of(rows)) for step, rows in of["insights"]]
        side.starts = [SeedStart(number, seed, layers_of(rows)) for seed, rows in of.get("starts", ())]
    return run


def layers_of(rows: list[list[float]]) -> list[LayerInsight]:
    """What was seen in each layer."""
    return [LayerInsight(*row) for row in rows]
