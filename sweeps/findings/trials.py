"""Trials: a measure of one configuration and seed. Each is a cell of the sweeps, with the measure in its id.

The cells are shared by all claims: the same measure of the same run is one record, whoever asked for it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sweeps.findings.measures import MEASURES
from sweeps.grid.begin import BeginConfig, known_text
from sweeps.grid.cell_id import Cell, HashedConfig, identify
from sweeps.run.driver import Execution, RunEnd, run_measures
from sweeps.store.folder import Store
from sweeps.store.record import FAILURES, Record
from tlab.config import options
from tlab.cost import step_flops
from tlab.nn.config import ModelConfig
from tlab.text.corpora import Corpus
from tlab.training.config import TrainConfig

RUNS = "runs"  # the folder of the records, beside the page


def text_of(settings: Mapping[str, Any]) -> BeginConfig:
    """What these settings read, by characters unless they say otherwise."""
    return BeginConfig(**{field: settings[field] for field in options(BeginConfig) if field in settings})


def trials_of(
    measure: str, settings: Mapping[str, Any], num_seeds: int, corpora: Mapping[BeginConfig, Corpus]
) -> list[Cell]:
    """A measure of a configuration with the seeds 0 to `num_seeds` - 1.

    `settings` are any fields of `BeginConfig`, `ModelConfig` and `TrainConfig` that are not at their defaults.

    Raises:
        ConfigError: there is no such field or value.
    """
    text = text_of(settings)
    corpus = corpora[text]
    of_training = {field: value for field, value in settings.items() if field in options(TrainConfig)}
    of_model = {field: value for field, value in settings.items() if field not in {*options(BeginConfig), *of_training}}
    model = ModelConfig.from_json({"vocab_size": corpus.tokenizer.vocab_size, **of_model})
    train = TrainConfig.from_json(of_training)
    hashed, cells = HashedConfig(model), []
    for seed in range(num_seeds):
        seeded = dataclasses.replace(train, seed=seed)
        cell_id = identify(text, hashed, HashedConfig(seeded), known_text(corpus), measure)
        cells.append(Cell(cell_id, text, model, seeded, corpus.sha256, measure=measure))
    return cells


def name_of(trial: Cell) -> str:
    """What to call it if it fails: the measure, and all settings that are not at their defaults."""
    defaults = {**vars(ModelConfig(trial.model.vocab_size)), **vars(TrainConfig())}
    settings = {**vars(trial.model), **vars(trial.train)}
    named = [f"{field}={value}" for field, value in settings.items() if value != defaults[field] or field == "seed"]
    return f"{trial.measure} {' '.join(named)}"


def trial_flops(trial: Cell) -> float:
    steps = MEASURES[trial.measure].steps or trial.train.steps
    return steps * step_flops(trial.model, trial.train.batch_size)


def run_trials(trials: Sequence[Cell], folder: Path, corpora: dict[BeginConfig, Corpus], *, jobs: int = 1) -> RunEnd:
    """Make every trial that has no outcome yet, each once, the costliest first. The same call again continues.

    `jobs` are made at once, each in a process with one BLAS thread; 1 works in this process.
    """
    return run_measures(
        trials,
        corpora,
        {key: measure.run for key, measure in MEASURES.items()},
        Store(folder / RUNS),
        Execution(jobs=jobs),
        names={trial.cell_id: name_of(trial) for trial in trials},
        work={trial.cell_id: trial_flops(trial) for trial in trials},
    )


def read_trials(trials: Iterable[Cell], folder: Path) -> dict[str, Record]:
    records = Store(folder / RUNS).records(trial.cell_id for trial in trials)
    return {cell_id: record for cell_id, record in records.items() if record.status not in FAILURES}
