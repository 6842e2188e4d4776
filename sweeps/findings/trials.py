"""Trials: a measure of one configuration and seed, its outcome in a file, so that nothing is measured twice.

    <folder>/<measure>-<hash>.json     what the measure gave, the settings, the seconds it took

The files are shared by all claims: the same measure of the same run is one file, whoever asked for it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import os
import time
import traceback
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from joblib import Parallel, delayed, parallel_config
from joblib.externals.loky import reusable_executor
from joblib.externals.loky.process_executor import BrokenProcessPool

from sweeps.findings.measures import MEASURES
from sweeps.findings.verdicts import Outcome
from sweeps.run.progress import Progress
from sweeps.run.worker import start_worker
from sweeps.store.record import DIVERGED, FAILED, OK, content_sha256
from tlab.config import options
from tlab.cost import step_flops
from tlab.files import write_atomically
from tlab.machine import one_blas_thread
from tlab.nn.config import ModelConfig
from tlab.text.corpora import Corpus
from tlab.training.config import TrainConfig

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
        return f"{self.measure}-{content_sha256(deciding)[:16]}"

    @property
    def words(self) -> str:
        """What to call it when it goes wrong: the measure, and all settings that are not at their defaults."""
        settings = {**self.model.to_json(), **self.train.to_json()}
        usual = {**ModelConfig(self.model.vocab_size).to_json(), **TrainConfig().to_json()}
        named = [f"{field}={value}" for field, value in settings.items() if value != usual[field] or field == "seed"]
        return f"{self.measure} {' '.join(named)}"

    @property
    def cost(self) -> float:
        """Floating-point operations, for the order of work and the time left."""
        steps = MEASURES[self.measure].steps or self.train.steps
        return steps * step_flops(self.model, self.train.batch_size)


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


class Ended(NamedTuple):
    """What travels back from a worker; the outcome is on the disk already."""

    name: str
    status: str
    message: str | None = None


def read_outcome(folder: Path, trial: Trial) -> Measured | None:
    """What is on the disk; None where there is nothing, or it is damaged: then the trial is made again."""
    try:
        content = json.loads((folder / f"{trial.name}.json").read_bytes())
        written = content.pop("sha256")
        if written != content_sha256(content) or content["schema"] != SCHEMA:
            return None
        return Measured(content["outcome"], content["seconds"])
    except (FileNotFoundError, ValueError, KeyError, AttributeError, TypeError):
        return None


def run_trial(trial: Trial, corpus: Corpus, folder: Path) -> Ended:
    """What a worker does: measure with one BLAS thread, and write the outcome whole or not at all. It never raises."""
    began = time.perf_counter()
    try:
        with one_blas_thread():
            outcome = MEASURES[trial.measure].run(trial.model, trial.train, corpus)
        content = {
            "measure": trial.measure,
            "settings": {"corpus": trial.corpus, **trial.model.to_json(), **trial.train.to_json()},
            "corpus_sha256": trial.corpus_sha256,
            "outcome": outcome,
            "seconds": time.perf_counter() - began,
            "schema": SCHEMA,
        }
        file = json.dumps({**content, "sha256": content_sha256(content)}, allow_nan=False).encode()
        write_atomically(folder / f"{trial.name}.json", file)
    except Exception as error:
        tail = "\n".join(traceback.format_exc().splitlines()[-TRACEBACK_LINES:])
        return Ended(trial.name, FAILED, f"failed with {type(error).__name__}: {error}\n{tail}")
    why = outcome.get("diverged")
    return Ended(trial.name, DIVERGED if why else OK, why)


def run_trials(trials: Iterable[Trial], folder: Path, corpora: Mapping[str, Corpus], *, jobs: int = 1) -> str | None:
    """Make every trial that has no outcome yet, the costliest first; -> what ended it early, or None.

    Ctrl-C and a killed worker lose the trials in flight and nothing else: the same call goes on. Two processes at work
    in one folder make some trials twice, to the same numbers.

    Args:
        trials: what to measure; of equal ones only one is made.
        folder: where outcomes are, and go.
        corpora: the texts of all trials.
        jobs: how many at once, each in a process with one BLAS thread; 1 works in this process.
    """
    folder.mkdir(parents=True, exist_ok=True)
    missing = {trial.name: trial for trial in trials if read_outcome(folder, trial) is None}
    first = sorted(missing.values(), key=lambda trial: -trial.cost)
    progress = Progress({trial.name: trial.cost for trial in first}, {trial.name: trial.words for trial in first})
    try:
        with progress, contextlib.closing(in_parallel(first, folder, corpora, jobs)) as running:
            for ended in running:
                progress.take(*ended)
    except BrokenProcessPool as error:
        return f"a worker process was ended from outside, perhaps for want of memory ({type(error).__name__})"
    finally:
        end_workers()
    return None


def in_parallel(
    trials: Sequence[Trial], folder: Path, corpora: Mapping[str, Corpus], jobs: int
) -> Generator[Ended, None, None]:
    """The trials as they end, in no particular order."""
    tasks = (delayed(run_trial)(trial, corpora[trial.corpus], folder) for trial in trials)
    with parallel_config(
        backend="loky", n_jobs=jobs, inner_max_num_threads=1, initializer=start_worker, initargs=(os.getpid(),)
    ):
        # A batch would be lost as a whole with its worker, and a queue would outlive a driver that is killed.
        options: dict[str, Any] = {"batch_size": 1, "pre_dispatch": "n_jobs", "return_as": "generator_unordered"}
        yield from Parallel(**options)(tasks)  # pyright: ignore[reportReturnType]


def end_workers() -> None:
    """joblib keeps its processes for the next call; here there is none, and what they are at nobody waits for."""
    if reusable_executor._executor is not None:
        reusable_executor._executor.shutdown(wait=True, kill_workers=True)
