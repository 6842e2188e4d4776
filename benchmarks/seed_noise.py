"""`python -m benchmarks.seed_noise`: how far two runs of the app part that differ in their seed alone.

It trains each side of the app's presets from several seeds and keeps what the words of the Train tab are made from:
validation losses, and what happened in each layer at each step that was looked at. The tests find these runs in
tests/ui/seed_runs.json.gz, and judge by them how often the app's words would name a difference that is none.

Then it says, of each side, what the runs of the other sides would have led to expect of it: how often two of its seeds
would be told apart by the largest gap of the others. And, of two sides of a preset, how often they are told apart: by
one run of each inside, and by five seeds.
"""

from __future__ import annotations

import gzip
import json
import multiprocessing
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from joblib import Parallel, delayed
from threadpoolctl import threadpool_limits

from tlab.inside.layers import LayerInsight
from tlab.training.records import StepRecord
from tlab.ui.runs.comparison import QUANTITIES, UP_TO, lasting, signed_gap
from tlab.ui.runs.messages import Insight, Job, RunEnded, SidePlan
from tlab.ui.runs.worker import run_job
from tlab.ui.settings.presets import PRESETS as PRESETS_BY_LABEL
from tlab.ui.settings.presets import preset_job
from tlab.ui.studies.five_seeds import NUM_SEEDS, SeedPair, judge

RUNS_FILE = Path(__file__).parents[1] / "tests" / "ui" / "seed_runs.json.gz"
DRAWS = 400
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


# ------------------------------------------------------------------------------------------------ what the runs say

Runs = Mapping[str, Sequence[Any]]  # a side's name -> its runs, as `train` returns them
Gaps = dict[str, list[float]]  # a quantity -> the largest gap of two seeds, for steps up to each of UP_TO


def last_loss(run: Mapping[str, Any]) -> float:
    """On the validation split, in nats per token."""
    return run["validation"][-1][1]


def loss_gap(group: Sequence[Any]) -> float:
    """How far the last validation losses of two of the runs are apart, at most."""
    losses = [last_loss(run) for run in group]
    return max(losses) - min(losses)


def pair_gaps(a: Mapping[str, Any], b: Mapping[str, Any]) -> Gaps:
    """How far two runs of the same layers are apart, lasting; `tlab.ui.runs.comparison` tells what exceeds it."""
    layers_a, layers_b = ([[LayerInsight(*row) for row in rows] for _, rows in run["insights"]] for run in (a, b))
    starts = [next(i for i, limit in enumerate(UP_TO) if step <= limit) for step, _ in a["insights"]]
    found: Gaps = {}
    for quantity in QUANTITIES:
        largest = [0.0] * len(UP_TO)
        for layer in range(len(layers_a[0])):
            looks = zip(layers_a, layers_b, strict=True)
            apart = [signed_gap(quantity, *(getattr(rows[layer], quantity) for rows in look)) for look in looks]
            for place, size in zip(starts, lasting(apart), strict=False):  # the last looks start nothing that lasts
                largest[place] = max(largest[place], size)
        found[quantity] = largest
    return found


def seed_gaps(pairs: Sequence[Gaps]) -> Gaps:
    """The largest of all pairs; a later range is never narrower than an earlier one."""
    return {q: np.maximum.accumulate(np.max([pair[q] for pair in pairs], axis=0)).tolist() for q in QUANTITIES}


def exceeds(pair: Gaps, gaps: Gaps) -> bool:
    """Whether two runs part by more than these gaps, in any quantity."""
    return any(np.any(np.array(pair[quantity]) > gaps[quantity]) for quantity in QUANTITIES)


def told_by_five(a: Sequence[Any], b: Sequence[Any], rng: np.random.Generator) -> float:
    """How often five seeds name a winner: drawn of two sides paired by seed, or of one side against itself."""
    named, drawn = 0, 0
    while drawn < DRAWS:
        of_a = of_b = rng.permutation(len(a))[:NUM_SEEDS]
        if a is b:
            of_b = rng.permutation(len(b))[:NUM_SEEDS]
            if np.any(of_a == of_b):
                continue
        losses = [(last_loss(a[i]), last_loss(b[j])) for i, j in zip(of_a, of_b, strict=True)]
        named += bool(judge([SeedPair(seed, *pair) for seed, pair in enumerate(losses)]).winner)
        drawn += 1
    return named / DRAWS


def report(runs: Runs) -> None:
    """What the runs say of the words of the Train tab; see the top of the file."""
    rng = np.random.default_rng(0)
    pairs = {name: [pair_gaps(a, b) for a, b in combinations(group, 2)] for name, group in runs.items()}
    print("two seeds: largest gap of losses; farther apart than any pair of the other sides, in %: losses, inside")
    print("five seeds of a side against five of the same side: a winner is named, in %")
    for name, group in runs.items():
        others = [other for other in runs if other != name]
        most = max(loss_gap(runs[other]) for other in others)
        losses = np.mean([abs(last_loss(a) - last_loss(b)) > most for a, b in combinations(group, 2)])
        gaps = seed_gaps([pair for other in others for pair in pairs[other]])
        inside = np.mean([exceeds(pair, gaps) for pair in pairs[name]])
        five = told_by_five(group, group, rng)
        print(
            f"  {name:40} {loss_gap(group):.3f} {100 * losses:5.1f} {100 * inside:5.1f} {100 * five:5.1f}", flush=True
        )
    every = [pair for of_side in pairs.values() for pair in of_side]
    largest = seed_gaps(every)
    print(f"largest of all {len(every)} pairs, for steps up to {UP_TO}:")
    for quantity, sizes in largest.items():
        print(f"  {quantity:14} {' '.join(f'{size:.3f}' for size in sizes)}")
    print("two sides of a preset, in %: they part inside, by one run of each; five seeds of each name a winner")
    for a, b in combinations(runs, 2):
        if a.split(":")[0] == b.split(":")[0]:
            of_seeds = [pair_gaps(*both) for both in zip(runs[a], runs[b], strict=True)]
            inside = np.mean([exceeds(pair, largest) for pair in of_seeds])
            print(f"  {a}, {b.split(': ')[1]}: {100 * inside:.0f}, {100 * told_by_five(runs[a], runs[b], rng):.0f}")


# ------------------------------------------------------------------------------------------------ the command


def stored_runs() -> Runs:
    """The runs that were written last."""
    return json.loads(gzip.decompress(RUNS_FILE.read_bytes()))


def main(labels: tuple[str, ...] = PRESETS, seeds: int = 8, jobs: int = 1, stored: bool = False) -> None:
    """Train all sides from seeds 0, 1, ..., write the runs, and say what they tell.

    Args:
        labels: the presets whose sides to train; those of the others stay as they were written before.
        seeds: how many of each side.
        jobs: how many to train at a time.
        stored: train nothing, and read the runs that were written before.
    """
    if not stored:
        sides = sides_of_presets()
        work = [(name, seed) for name in sides if name.partition(": ")[0] in labels for seed in range(seeds)]
        trained = Parallel(n_jobs=jobs, verbose=5)(delayed(train)(*sides[name], seed) for name, seed in work)
        new = {name for name, _ in work}
        kept = {} if new == set(sides) else stored_runs()
        runs: dict[str, list[Any]] = {name: [] if name in new else list(kept[name]) for name in sides}
        for (name, _), run in zip(work, trained, strict=True):
            runs[name].append(run)
        RUNS_FILE.parent.mkdir(parents=True, exist_ok=True)
        RUNS_FILE.write_bytes(gzip.compress(json.dumps(runs, separators=(",", ":")).encode(), mtime=0))
    report(stored_runs())


if __name__ == "__main__":
    tyro.cli(main)
