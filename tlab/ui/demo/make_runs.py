"""Train the runs that the app ships: `python -m tlab.ui.demo.make_runs [LABEL ...]`.

Each preset is trained as the app trains it: who presses Start on it sees the same again. Sides are trained one after
another, since how a side learns does not depend on the other. With labels only those presets are trained; the others
stay as they are in the zip.
"""

from __future__ import annotations

import json
import multiprocessing
import sys
import zipfile
from typing import Any

import numpy as np
from safetensors.numpy import save
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from tlab.files import write_atomically
from tlab.training.checkpoint import Checkpoint
from tlab.types import Array
from tlab.ui.demo.eight_bits import to_eight_bits
from tlab.ui.demo.shipped_run import CONTENTS, RECORDED, SHIPPED_PRESETS, SHIPPED_RUNS
from tlab.ui.runs.messages import (
    Insight,
    Job,
    NewRecords,
    RunEnded,
    RunStarted,
    Sample,
    SeedStart,
    SidePlan,
    Snapshot,
    job_corpus,
)
from tlab.ui.runs.worker import make_trainers, run_job
from tlab.ui.settings.presets import DEMO_PRESET, PRESETS, preset_job
from tlab.ui.sharing.write_zip import zipped

FOLLOWED = (DEMO_PRESET, PRESETS["Induction heads appear"])  # that are worth a look at each stage of the training
STEPS_BETWEEN = 3  # of which their weights are shipped, besides the first and the last


def main(labels: list[str]) -> None:
    """Train, and write what the page needs of it."""
    entries, contents = {}, {}
    if labels:
        with zipfile.ZipFile(SHIPPED_RUNS) as archive:
            entries = {name: archive.read(name) for name in archive.namelist()}
        contents = json.loads(entries[CONTENTS])
    names: dict[Any, str] = {}  # what a side is made of -> what it is called, by the first preset that has it
    for preset in SHIPPED_PRESETS.values():
        job = preset_job(preset)
        sides = []
        for letter, plan in zip("AB", job.plans, strict=False):
            new = f"{preset.label} {letter}"
            name = names.setdefault((job.corpus, plan.model, plan.training), new)
            sides.append(name)
            if name == new and (not labels or preset.label in labels):
                between = STEPS_BETWEEN if preset in FOLLOWED else 0
                starts = starts_of(job, plan) if len(job.plans) > 1 else []
                entries |= side_entries(name, train_side(job, plan), between, starts)
        contents[preset.label] = sides
    known = {name for sides in contents.values() for name in sides}
    files = {name: data for name, data in entries.items() if name.rpartition(".")[0] in known}
    write_atomically(SHIPPED_RUNS, zipped([(CONTENTS, small_json(contents)), *sorted(files.items())]))
    print(f"{SHIPPED_RUNS}: {SHIPPED_RUNS.stat().st_size:,} bytes")


def train_side(job: Job, plan: SidePlan) -> list[Any]:
    """The messages of a worker that trains this side alone."""
    here, _ = multiprocessing.Pipe()  # nobody gives orders
    messages: list[Any] = []
    with threadpool_limits(limits=1), tqdm(total=plan.training.steps, desc=plan.label) as bar:  # as the app's workers
        for message in run_job(job._replace(plans=(plan,)), here):
            messages.append(message)
            if isinstance(message, NewRecords):
                bar.update(len(message.records))
    return messages


def starts_of(job: Job, plan: SidePlan) -> list[SeedStart]:
    """The first step of this side with other seeds, as a worker sends it where there are two sides."""
    (trainer,) = make_trainers(job._replace(plans=(plan,)), job_corpus(job))
    with threadpool_limits(limits=1):
        return list(trainer.starts_of_other_seeds())


def side_entries(name: str, messages: list[Any], between: int, starts: list[SeedStart]) -> dict[str, bytes]:
    """The two files of a side, as `shipped_run` reads them."""
    started, ended = messages[0], messages[-1]
    assert isinstance(started, RunStarted)
    assert isinstance(ended, RunEnded)
    last = ended.checkpoints[0]
    kept = {m.checkpoint.step: m.checkpoint for m in messages if isinstance(m, Snapshot) and m.keep}
    kept[last.step] = last
    # Denser at the beginning, where more happens.
    wanted = [last.step * share**2 for share in np.linspace(0, 1, between + 2)]
    chosen = sorted({min(kept, key=lambda step: abs(step - at)) for at in wanted})
    samples = [m.text for m in messages if isinstance(m, Sample)]
    about = {
        "corpus": dict(last.corpus),
        "model": last.model_config.to_json(),
        "training": last.train_config.to_json(),
        "excerpt": started.excerpt,
        "baselines": started.baselines,
        "training_pairs": started.training_pairs,
        "steps": chosen,
        "validation": [[r.step, r.validation_loss] for r in last.records if r.validation_loss is not None],
        "divergence": last.divergence,
        "insights": [[m.step, rounded_rows(m)] for m in messages if isinstance(m, Insight)],
        "starts": [[start.seed, rounded_rows(start)] for start in starts],
        "sample": samples[-1] if samples else None,
    }  # fmt: skip
    arrays = {column: np.array([getattr(r, column) for r in last.records], np.float32) for column in RECORDED}
    arrays |= packed_weights([kept[step] for step in chosen if step > 0])
    return {f"{name}.json": small_json(about), f"{name}.safetensors": save(arrays)}


def packed_weights(checkpoints: list[Checkpoint]) -> dict[str, Array]:
    """By "step/name"."""
    return {
        f"{checkpoint.step}/{name}": np.ascontiguousarray(array)
        for checkpoint in checkpoints
        for name, array in to_eight_bits(checkpoint.weights).items()
    }


def rounded_rows(look: Insight | SeedStart) -> list[list[float]]:
    """What was seen in each layer, with six digits: more than a chart shows."""
    return [[float(f"{value:.6g}") for value in layer] for layer in look.layers]


def small_json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


if __name__ == "__main__":
    main(sys.argv[1:])
