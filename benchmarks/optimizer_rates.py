"""`python -m benchmarks.optimizer_rates`: AdamW and SGD at several learning rates each, as the preset's words tell it.

It trains the model of the preset "AdamW or SGD" at each rate from several seeds, and keeps the last validation losses
in tests/ui/optimizer_rates.json, where the tests find them.
"""

from __future__ import annotations

import json
from pathlib import Path

import tyro
from threadpoolctl import threadpool_limits

from tlab.training.trainer import Trainer
from tlab.ui.runs.messages import job_corpus
from tlab.ui.settings.plans import make_plans
from tlab.ui.settings.presets import PRESETS, preset_job

RATES_FILE = Path(__file__).parents[1] / "tests" / "ui" / "optimizer_rates.json"
RATES = {"adamw": (0.003, 0.01, 0.03), "sgd": (0.003, 0.03, 0.1, 0.3, 1.0)}  # around the best of each


def measure(seeds: int = 3) -> None:
    """Train at every rate from seeds 0, 1, ... and write {optimizer: {rate: losses}}.

    Args:
        seeds: how many at each rate.
    """
    preset = PRESETS["AdamW or SGD"]
    corpus = job_corpus(preset_job(preset))
    found = {}
    for optimizer, rates in RATES.items():
        found[optimizer] = {rate: [0.0] * seeds for rate in rates}
        for rate, losses in found[optimizer].items():
            for seed in range(seeds):
                changed = {"optimizer": optimizer, "learning_rate": rate, "seed": seed, "validation_every": 0}
                (plan,) = make_plans({**preset.settings, **changed})
                trainer = Trainer(*plan.configs(corpus.tokenizer.vocab_size), corpus)
                with threadpool_limits(limits=1):
                    *_, last = trainer
                assert last.validation_loss is not None
                losses[seed] = round(last.validation_loss, 4)
            print(optimizer, rate, losses)
    RATES_FILE.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    tyro.cli(measure)
