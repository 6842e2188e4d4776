"""Train the run that the page opens with: `python -m tlab.ui.demo.make_run`.

It is a preset of the app, trained as the app trains: who presses Start on it sees the same again.
"""

from __future__ import annotations

import json
import multiprocessing
from typing import Any

import numpy as np
from safetensors.numpy import save
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from tlab.files import write_atomically
from tlab.text.baselines import baseline_losses
from tlab.training.checkpoint import Checkpoint
from tlab.training.records import StepRecord
from tlab.ui.demo.shipped_run import DEMO_RECORDS, DEMO_WEIGHTS
from tlab.ui.runs.messages import Insight, Job, NewRecords, RunEnded, Sample, Snapshot, job_corpus
from tlab.ui.runs.worker import run_job
from tlab.ui.settings.fields import FROM_CORPUS
from tlab.ui.settings.presets import DEMO_PRESET, preset_job

SHIPPED_STEPS = 4  # of which weights are shipped, besides the first; more would make the package larger than its code


def main() -> None:
    """Train, and write what the page needs of it."""
    job = preset_job(DEMO_PRESET)
    here, _ = multiprocessing.Pipe()  # nobody gives orders
    steps = sum(plan.training.steps for plan in job.plans)
    messages: list[Any] = []
    with threadpool_limits(limits=1), tqdm(total=steps) as bar:  # as the workers of the app have it
        for message in run_job(job, here):
            messages.append(message)
            if isinstance(message, NewRecords):
                bar.update(len(message.records))
    *_, ended = messages
    assert isinstance(ended, RunEnded)
    sides = [describe(job, side, messages, last) for side, last in enumerate(ended.checkpoints)]
    first = ended.checkpoints[0]
    about = {
        "corpus": dict(first.corpus),
        "tokenizer": job.tokenizer,
        "vocab_size": first.model_config.vocab_size,
        "baselines": {name: six_digits(loss) for name, loss in baseline_losses(job_corpus(job)).items()},
        "sides": sides,
    }
    write_atomically(DEMO_RECORDS, json.dumps(about, separators=(",", ":")).encode())
    write_atomically(DEMO_WEIGHTS, save(halved_weights(messages, [side["steps"] for side in sides])))
    size = DEMO_RECORDS.stat().st_size + DEMO_WEIGHTS.stat().st_size
    losses = [last.records[-1].validation_loss for last in ended.checkpoints]
    print(f"{size:,} bytes, validation losses {losses}")


def describe(job: Job, side: int, messages: list[Any], last: Checkpoint) -> dict[str, Any]:
    """One side as `demo.demo_about` reads it."""
    kept = sorted(m.checkpoint.step for m in messages if isinstance(m, Snapshot) and m.keep and m.side == side)
    some = np.linspace(1, len(kept) - 1, SHIPPED_STEPS).round().astype(int)
    samples = [m.text for m in messages if isinstance(m, Sample) and m.side == side]
    plan = job.plans[side]
    return {
        "label": plan.label,
        "model": {name: value for name, value in plan.model.to_json().items() if name != FROM_CORPUS},
        "training": plan.training.to_json(),
        "steps": [0, *(kept[i] for i in some)],
        "records": [shipped(record) for record in last.records],
        "insights": [
            [m.step, [[six_digits(value) for value in layer] for layer in m.layers]]
            for m in messages
            if isinstance(m, Insight) and m.side == side
        ],
        "sample": samples[-1],
    }


def shipped(record: StepRecord) -> list[Any]:
    """A record with the losses to the last digit, as an export of the run compares them, and the rest rounded."""
    exact = ("loss", "validation_loss")
    return [value if name in exact else six_digits(value) for name, value in zip(record._fields, record, strict=True)]


def six_digits(value: Any) -> Any:
    """Six digits are more than a chart shows; the numbers of a divergence, of which there is none here, stay."""
    return float(f"{value:.6g}") if isinstance(value, float) else value


def halved_weights(messages: list[Any], steps: list[list[int]]) -> dict[str, Any]:
    """Arrays in float16 by "side/step/name", of the steps that are shipped."""
    return {
        f"{m.side}/{m.checkpoint.step}/{name}": np.ascontiguousarray(array.astype(np.float16))
        for m in messages
        if isinstance(m, Snapshot) and m.keep and m.checkpoint.step and m.checkpoint.step in steps[m.side]
        for name, array in m.checkpoint.weights.items()
    }


if __name__ == "__main__":
    main()
