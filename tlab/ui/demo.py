"""The run that the page opens with: trained by `python -m tlab.ui.make_demo`, and shipped beside this file."""

from __future__ import annotations

import functools
from pathlib import Path

from tlab.checkpoint import Checkpoint
from tlab.generate import generate
from tlab.ui.runs import DONE, Run
from tlab.ui.worker import SAMPLE_TOKENS, Job, Sample

STATIC = Path(__file__).parent / "static"
DEMO_FILE = STATIC / "demo.safetensors"
EXCERPT = "the name is bound to the object in the current local namespace."
PROMPT = "The import statement"


@functools.cache
def demo_checkpoint() -> Checkpoint:
    """The shipped run. It has no optimizer state, which would make the file three times as large."""
    return Checkpoint.load(DEMO_FILE)


@functools.cache
def demo_run() -> Run:
    """The shipped run as the Train tab shows runs."""
    from tlab.ui.limits import LOCAL

    checkpoint = demo_checkpoint()
    job = Job(checkpoint.corpus["name"], None, "char", {}, checkpoint.train_config.to_json())
    run = Run("", job, LOCAL)
    for record in checkpoint.records:
        run.curve.add(record)
        run.last = record
        run.validation_loss = record.validation_loss or run.validation_loss
    text = "".join(map(str, generate(checkpoint, "\n", max_new_tokens=SAMPLE_TOKENS, seed=0)))
    run.sample = Sample(checkpoint.step, text, None)
    run.num_parameters = checkpoint.model().num_parameters
    run.vocab_size = checkpoint.model_config.vocab_size
    run.excerpt = EXCERPT
    run.state = DONE
    return run
