"""`python -m benchmarks.seed_noise`: how far two runs of the app part that differ in their seed alone.

It trains each side of the app's presets from several seeds and keeps what the words of the Train tab are made from:
validation losses, and what happened in each layer at each step that was looked at. The tests find these runs in
tests/ui/seed_runs.json.gz, and judge by them how often the app's words would name a difference that is none.
"""

from __future__ import annotations

import gzip
import json
import multiprocessing
from itertools import combinations
from pathlib import Path
from typing import Any

import tyro
from joblib import Parallel, delayed
from threadpoolctl import threadpool_limits

from tlab.training.records import StepRecord
from tlab.ui.runs.messages import Insight, Job, RunEnded, SidePlan
from tlab.ui.runs.worker import run_job
from tlab.ui.settings.presets import PRESETS as PRESETS_BY_LABEL
from tlab.ui.settings.presets import preset_job

RUNS_FILE = Path(__file__).parents[1] / "tests" / "ui" / "seed_runs.json.gz"
PRESETS = (
    "Pre-LN or Post-LN",
    "Norm or none",
    "Does it need positions?",
    "AdamW or SGD",
    "Llama style",
    "Tiny and instant",
)


def sides_of_presets() -> dict[str, tuple[Job, SidePlan]]:
    """Both sides of the presets that are quick to train, once each, by a name."""
    sides: dict[str, tuple[Job, SidePlan]] = {}
    for label in PRESETS:
        job = preset_job(PRESETS_BY_LABEL[label])
        for plan in job.plans:
            if not any(plan[1:] == other[1:] and job.corpus == j.corpus for j, other in sides.values()):
                sides[f"{label}: {plan.label}"] = job, plan
    return sides


def train(job: Job, plan: SidePlan, seed: int) -> dict[str, Any]:
    """What the app would know of this side, trained from this seed."""
    here, _ = multiprocessing.Pipe()  # nobody gives orders
    seeded = plan._replace(training=plan.training.from_json({**plan.training.to_json(), "seed": seed}))
    insights: list[Any] = []
    records: list[StepRecord] = []
    with threadpool_limits(limits=1):
        for message in run_job(job._replace(plans=(seeded,)), here):
            if isinstance(message, Insight):
                rows = [[float(f"{value:.3g}") for value in layer] for layer in message.layers]
                insights.append([message.step, rows])
            elif isinstance(message, RunEnded):
                records = list(message.checkpoints[0].records)
    losses = [[r.step, round(r.validation_loss, 4)] for r in records if r.validation_loss is not None]
    return {"seed": seed, "validation": losses, "insights": insights}


def measure(seeds: int = 8, jobs: int = 1) -> None:
    """Train all sides from seeds 0, 1, ... and write the runs.

    Args:
        seeds: how many of each side.
        jobs: how many to train at a time.
    """
    sides = sides_of_presets()
    work = [(name, seed) for name in sides for seed in range(seeds)]
    trained = Parallel(n_jobs=jobs, verbose=5)(delayed(train)(*sides[name], seed) for name, seed in work)
    runs: dict[str, list[Any]] = {name: [] for name in sides}
    for (name, _), run in zip(work, trained, strict=True):
        runs[name].append(run)
    RUNS_FILE.parent.mkdir(parents=True, exist_ok=True)
    RUNS_FILE.write_bytes(gzip.compress(json.dumps(runs, separators=(",", ":")).encode(), mtime=0))
    for name, group in runs.items():
        last = [run["validation"][-1][1] for run in group]
        gaps = [abs(a - b) for a, b in combinations(last, 2)]
        print(f"{name:40} {min(last):.3f} to {max(last):.3f}, largest gap {max(gaps):.3f}")


if __name__ == "__main__":
    tyro.cli(measure)
