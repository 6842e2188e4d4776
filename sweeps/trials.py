"""Trials: a measure of one configuration and seed, its outcome in a file, so that nothing is measured twice.

    <folder>/<measure>-<hash>.json     what the measure gave, the settings, the seconds it took

The files are shared by all claims: the same measure of the same run is one file, whoever asked for it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import sys
import time
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from joblib import Parallel, delayed, parallel_config
from tqdm import tqdm

from sweeps.cell import fingerprint
from sweeps.measures import MEASURES, Outcome
from sweeps.run import LOG_SECONDS, leave_interrupts_to_driver
from tlab.checkpoint import write_atomically
from tlab.config import ModelConfig, TrainConfig, options
from tlab.cost import flops_by_part
from tlab.run_folder import blas_threads
from tlab.text.corpora import Corpus

SCHEMA = 1  # to be raised when a measure comes to mean other numbers
TRACEBACK_LINES = 12  # the end of it, where the cause is


@dataclass(frozen=True)
class Trial:
    """One measurement: everything that decides its numbers."""

    measure: str
    corpus: str
    corpus_sha256: str
    model: ModelConfig
    train: TrainConfig

    @functools.cached_property
    def name(self) -> str:
        """What its file is called: the measure, and a hash of all that decides its numbers."""
        deciding = {
            "schema": SCHEMA,
            "corpus_sha256": self.corpus_sha256,
            "model": vars(self.model),
            "train": {**vars(self.train), "data_seed": self.train.batch_seed},
        }
        return f"{self.measure}-{fingerprint(deciding)[:16]}"

    @property
    def cost(self) -> float:
        """Floating-point operations, for the order of work and the time left."""
        steps = MEASURES[self.measure].steps or self.train.steps
        return steps * step_flops(self.model, self.train.batch_size)


@functools.cache
def step_flops(model: ModelConfig, batch_size: int) -> int:
    """Operations of one training step."""
    return sum(part.training for part in flops_by_part(model, batch_size))


def trials_of(measure: str, settings: Mapping[str, Any], num_seeds: int, corpora: Mapping[str, Corpus]) -> list[Trial]:
    """A configuration with the seeds 0 to `num_seeds` - 1.

    Args:
        measure: a key of `MEASURES`.
        settings: "corpus", and any fields of `ModelConfig` and `TrainConfig` that are not at their defaults.
        num_seeds: how many.
        corpora: the texts by their names.

    Raises:
        ConfigError: there is no such field or value.
    """
    corpus = corpora[settings["corpus"]]
    fields = {field: value for field, value in settings.items() if field != "corpus"}
    model = ModelConfig.from_json(
        {
            "vocab_size": corpus.tokenizer.vocab_size,
            **{f: v for f, v in fields.items() if f not in options(TrainConfig)},
        }
    )
    train = TrainConfig.from_json({f: v for f, v in fields.items() if f in options(TrainConfig)})
    return [
        Trial(measure, settings["corpus"], corpus.sha256, model, dataclasses.replace(train, seed=seed))
        for seed in range(num_seeds)
    ]


class Measured(NamedTuple):
    """A trial that was done."""

    outcome: Outcome
    seconds: float


class Failure(NamedTuple):
    """A trial that could not be done."""

    trial: Trial
    message: str
    traceback_tail: str


def read_outcome(folder: Path, trial: Trial) -> Measured | None:
    """What is on the disk; None where there is nothing, or it is damaged: then the trial is made again."""
    try:
        content = json.loads((folder / f"{trial.name}.json").read_bytes())
        written = content.pop("sha256")
        if written != fingerprint(content) or content["schema"] != SCHEMA:
            return None
        return Measured(content["outcome"], content["seconds"])
    except (FileNotFoundError, ValueError, KeyError, AttributeError, TypeError):
        return None


def run_trial(trial: Trial, corpus: Corpus, folder: Path) -> Failure | Trial:
    """What a worker does: measure with one BLAS thread, and write the outcome whole or not at all. It never raises."""
    began = time.perf_counter()
    try:
        with blas_threads(1):
            outcome = MEASURES[trial.measure].run(trial.model, trial.train, corpus)
        content = {
            "measure": trial.measure,
            "settings": {"corpus": trial.corpus, **trial.model.to_json(), **trial.train.to_json()},
            "corpus_sha256": trial.corpus_sha256,
            "outcome": outcome,
            "seconds": time.perf_counter() - began,
            "schema": SCHEMA,
        }
        file = json.dumps({**content, "sha256": fingerprint(content)}, allow_nan=False).encode()
        write_atomically(folder / f"{trial.name}.json", file)
    except Exception as error:
        tail = "\n".join(traceback.format_exc().splitlines()[-TRACEBACK_LINES:])
        return Failure(trial, f"{type(error).__name__}: {error}", tail)
    return trial


def run_trials(trials: Iterable[Trial], folder: Path, corpora: Mapping[str, Corpus], *, jobs: int = 1) -> list[Failure]:
    """Make every trial that has no outcome yet, the costliest first; -> those that failed.

    Ctrl-C loses the trials in flight and nothing else: the same call goes on.

    Args:
        trials: what to measure; of equal ones only one is made.
        folder: where outcomes are, and go.
        corpora: the texts of all trials.
        jobs: how many at once, each in a process with one BLAS thread; 1 works in this process.
    """
    folder.mkdir(parents=True, exist_ok=True)
    missing = [t for t in {t.name: t for t in trials}.values() if read_outcome(folder, t) is None]
    missing.sort(key=lambda trial: -trial.cost)
    with contextlib.closing(in_parallel(missing, folder, corpora, jobs)) as running:
        return follow(running, missing)


def in_parallel(
    trials: Sequence[Trial], folder: Path, corpora: Mapping[str, Corpus], jobs: int
) -> Iterator[Failure | Trial]:
    """The trials as they end, in no particular order."""
    tasks = (delayed(run_trial)(trial, corpora[trial.corpus], folder) for trial in trials)
    with parallel_config(backend="loky", n_jobs=jobs, inner_max_num_threads=1, initializer=leave_interrupts_to_driver):
        options: dict[str, Any] = {"batch_size": 1, "pre_dispatch": "n_jobs"}  # no queue that outlives the driver
        parallel = Parallel(return_as="generator_unordered", **options)
        yield from parallel(tasks)  # pyright: ignore[reportReturnType]


def follow(running: Iterable[Failure | Trial], trials: Sequence[Trial]) -> list[Failure]:
    """Show progress, by operations rather than trials since these differ a hundredfold; -> those that failed."""
    failures: list[Failure] = []
    done = 0
    with tqdm(
        total=sum(trial.cost for trial in trials),
        disable=not trials,
        mininterval=0.2 if sys.stderr.isatty() else LOG_SECONDS,
        bar_format="{percentage:3.0f}% |{bar:10}| {elapsed}, {remaining} left{postfix}",
    ) as bar:
        for result in running:
            done += 1
            if isinstance(result, Failure):
                failures.append(result)
                bar.write(f"{result.trial.name} failed: {result.message}\n{result.traceback_tail}", file=sys.stderr)
            trial = result.trial if isinstance(result, Failure) else result
            bar.set_postfix_str(f"{done} of {len(trials)} trials, {len(failures)} failed", refresh=False)
            bar.update(trial.cost)
    return failures
