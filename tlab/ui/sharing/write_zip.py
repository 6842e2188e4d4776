"""A run as one zip: to keep, to send on, to open again, and to repeat to the last digit.

README.txt          what this is, in words
run.json            name, sides, text, and with which versions it was made
repeat.py           trains it again and compares every loss
text.txt            only of a text that the visitor brought along: it is in nobody else's export
A/config.json       the configs, seeds included
A/metrics.csv       a row a step
A/inside.json       what happened in each layer at the steps that were looked at, the last sample, right answers
A/checkpoint.safetensors, A/loss.png, A/loss.svg
B/...               the other side, where there is one
comparison.png, .svg    both validation losses
five-seeds.csv, learning-rates.csv, studies.json    the same comparison from five seeds, and at several learning rates
"""

from __future__ import annotations

import dataclasses
import io
import json
import math
import platform
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from tlab.inside.layers import are_finite
from tlab.machine import VERSION
from tlab.nn.params import all_finite
from tlab.text.tokenizers import utf8
from tlab.text.units import bits_per_byte
from tlab.training.checkpoint import FILE_NAME, Checkpoint, records_as_csv
from tlab.training.shared_start import Start, shared_start
from tlab.ui.runs.messages import Insight, Sample, SeedStart, StartFrom
from tlab.ui.settings.fields import RANDOM, START_FROM
from tlab.ui.settings.run_settings import SHA256_SHOWN
from tlab.ui.sharing.study_file import study_as_json
from tlab.ui.studies.csv_link import csv_of
from tlab.ui.studies.study import RATES, SEEDS, Study
from tlab.ui.studies.tuning import verdict_words
from tlab.ui.studies.view import seeds_words

FORMAT = "tlab run 1"
RUN, README, REPEAT, TEXT, CONFIG, METRICS, INSIDE = (
    "run.json", "README.txt", "repeat.py", "text.txt", "config.json", "metrics.csv", "inside.json"
)  # fmt: skip
STUDIES, STUDY_FILES = "studies.json", {SEEDS: "five-seeds.csv", RATES: "learning-rates.csv"}
FOLDERS = "AB"
DAY_ZERO = (1980, 1, 1, 0, 0, 0)  # a run's files do not change with the hour of their export


class KeptSide(NamedTuple):
    """One model of a run, with all of its records."""

    label: str  # what distinguishes it: "Post-LN"
    checkpoint: Checkpoint
    insights: Sequence[Insight] = ()  # oldest first
    sample: Sample | None = None  # the last one
    accuracies: Sequence[tuple[int, float]] = ()  # step, share of right answers
    starts: Sequence[SeedStart] = ()  # of other seeds


class KeptRun(NamedTuple):
    """What an export holds."""

    name: str
    sides: tuple[KeptSide, ...]  # one or two
    text: str | None  # what the visitor brought along, where the run read that
    excerpt: str = ""  # the beginning of the text that is never trained on
    baselines: Mapping[str, float] = MappingProxyType({})  # losses that it has to beat, by name
    studies: Sequence[Study] = ()  # of its comparison


class ExportError(ValueError):
    """A run that cannot be exported; the message says why."""


def write_export(run: KeptRun, *, resumable: bool = False) -> bytes:
    """The zip; one that is to be resumed has what that needs besides, and no pictures.

    Raises:
        ExportError: a side has not all of its records, since its worker was ended in the middle of a step.
    """
    return zipped(entries(run, resumable))


def zipped(files: Iterable[tuple[str, bytes]]) -> bytes:
    """A zip of (name, content); the same files give the same bytes."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files:
            archive.writestr(zipfile.ZipInfo(name, DAY_ZERO), data, zipfile.ZIP_DEFLATED)
    return content.getvalue()


def entries(run: KeptRun, resumable: bool = False) -> Iterator[tuple[str, bytes]]:
    """(name, content) of every file of the zip."""
    for side in run.sides:
        records = side.checkpoint.records
        if not records or len(records) < side.checkpoint.step:
            raise ExportError(
                f"“{side.label}” was stopped in the middle of a step and has no complete record. Train it again to "
                "export it."
            )
    yield README, readme(run).encode()
    yield RUN, as_json(about(run))
    if run.studies:
        yield STUDIES, as_json([study_as_json(study) for study in run.studies])
    for study in run.studies:
        yield STUDY_FILES[study.kind], csv_of(study).encode()
    yield REPEAT, (Path(__file__).parent / REPEAT).read_bytes()
    if run.text is not None:
        yield TEXT, utf8(run.text)
    with tempfile.TemporaryDirectory() as folder:
        for letter, side in zip(FOLDERS, run.sides, strict=False):
            for path in side_files(Path(folder) / letter, side, resumable):
                yield f"{letter}/{path.name}", path.read_bytes()
        if len(run.sides) > 1 and not resumable:
            for path in save_comparison(run, Path(folder)):
                yield path.name, path.read_bytes()


def about(run: KeptRun) -> dict[str, Any]:
    """run.json."""
    corpus = run.sides[0].checkpoint.corpus
    return {
        "format": FORMAT,
        "name": run.name,
        "sides": [{"folder": letter, "label": side.label} for letter, side in zip(FOLDERS, run.sides, strict=False)],
        "excerpt": run.excerpt,
        "baselines": dict(run.baselines),
        "corpus": {**{key: corpus[key] for key in ("name", "sha256")}, "tokenizer": corpus["tokenizer"]["tokenizer"]},
        "made_with": {
            "tlab": VERSION, "python": platform.python_version(), "numpy": np.__version__,
            "machine": platform.machine(),
        },
    }  # fmt: skip


def side_files(folder: Path, side: KeptSide, resumable: bool) -> list[Path]:
    """Write the files of one side into `folder`; -> their paths."""
    folder.mkdir()
    checkpoint = side.checkpoint
    configs = {"model": checkpoint.model_config.to_json(), "training": checkpoint.train_config.to_json()}
    if checkpoint.started_from is not None:
        configs["started_from"] = dict(checkpoint.started_from)
    (folder / CONFIG).write_bytes(as_json(configs))
    (folder / METRICS).write_bytes(records_as_csv(checkpoint.records, checkpoint.bytes_per_token).encode())
    if side.insights or side.sample or side.accuracies:
        (folder / INSIDE).write_bytes(as_json(inside(side)))
    # The optimizer's vectors are twice the weights, and only a training that goes on needs them.
    if is_finite(checkpoint):
        (checkpoint if resumable else dataclasses.replace(checkpoint, optimizer_state={})).save(folder)
    if not resumable:
        save_losses(side, folder)
    return sorted(folder.iterdir())


def save_losses(side: KeptSide, folder: Path) -> None:
    """The curves of one side as pictures."""
    from tlab.figures import loss_figure, save_figure

    checkpoint = side.checkpoint
    figure = loss_figure(
        checkpoint.records,
        uniform_loss=math.log(checkpoint.model_config.vocab_size),
        bytes_per_token=checkpoint.bytes_per_token.validation if checkpoint.bytes_per_token else None,
        title=side.label,
    )
    save_figure(figure, folder / "loss")


def save_comparison(run: KeptRun, folder: Path) -> Sequence[Path]:
    """Both validation losses over steps as pictures; -> their paths."""
    from tlab.figures import comparison_figure, save_figure

    rows = [
        (side.label, 0, record.step, record.validation_loss)
        for side in run.sides
        for record in side.checkpoint.records
        if record.validation_loss is not None
    ]
    return save_figure(comparison_figure(rows, title=run.name), folder / "comparison")


def inside(side: KeptSide) -> dict[str, Any]:
    """inside.json: what is seen inside and written by the model.

    [step, rows of `LayerInsight`] of each look inside, the sample, [step, share of right answers], and [seed, rows] of
    the first step with other seeds.
    """
    seen = {
        "insights": [[insight.step, rows_seen(insight)] for insight in side.insights if are_finite(insight.layers)],
        "sample": side.sample and {"step": side.sample.step, "text": side.sample.text},
    }
    if side.accuracies:
        seen["answers"] = [list(one) for one in side.accuracies]
    if side.starts:
        seen["starts"] = [[start.seed, rows_seen(start)] for start in side.starts if are_finite(start.layers)]
    return seen


def rows_seen(look: Insight | SeedStart) -> list[list[float]]:
    return [list(layer) for layer in look.layers]


def as_json(values: Any) -> bytes:
    return (json.dumps(values, indent=2, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace")


def is_finite(checkpoint: Checkpoint) -> bool:
    """Whether the weights are numbers: those of a run that diverged may not be, and are of no use."""
    return all(map(all_finite, checkpoint.weights.values()))


# ------------------------------------------------------------------------------------------------ words


def readme(run: KeptRun) -> str:
    corpus = run.sides[0].checkpoint.corpus
    own = "It is in text.txt, since you brought it along." if run.text is not None else "It comes with the lab."
    lines = [
        run.name,
        "=" * len(run.name),
        "",
        "A run of the Transformer Intuition Lab: a small transformer, trained in plain NumPy.",
        "",
        f"Text: “{corpus['name']}”, {corpus['size']:,} characters. {own}",
        *(readme_line(letter, side) for letter, side in zip(FOLDERS, run.sides, strict=False)),
        *difference_words(run),
        *study_words(run),
        "",
        "To look at it again: open the lab, choose the tab Compare, and open this zip as it is.",
        "To repeat it:        unzip it, and run  python repeat.py  where the lab is installed. It trains the run again",
        "                     from its seeds and says whether every loss is the same to the last digit.",
        *repeat_words(run),
        f"To let it write:     tlab generate A/{FILE_NAME}",
        "",
        "In each folder: config.json has every setting, metrics.csv a row for each step (loss in nats per token, on",
        f"the step's batch before its update), {FILE_NAME} the weights, loss.png and loss.svg the curve.",
    ]
    return "\n".join(lines) + "\n"


def repeat_words(run: KeptRun) -> list[str]:
    """What repeating it needs besides, where a side began with the weights of another run."""
    if not any(side.checkpoint.started_from for side in run.sides):
        return []
    return [
        "                     The weights that it began with are not in here: name the files that have them, as in",
        f"                     python repeat.py OTHER_RUN/A/{FILE_NAME}",
        "To train such a run: tlab train --from OTHER_RUN/A, with the settings of config.json.",
    ]


def readme_line(letter: str, side: KeptSide) -> str:
    checkpoint = side.checkpoint
    last = next((r.validation_loss for r in reversed(checkpoint.records) if r.validation_loss is not None), None)
    end = f"validation loss {last:.4f} nats per token" if last is not None else "no validation yet"
    if last is not None and checkpoint.bytes_per_token is not None:
        end += f", {bits_per_byte(last, checkpoint.bytes_per_token.validation):.4f} bits per byte"
    if checkpoint.divergence is not None:
        end = str(checkpoint.divergence)
    if not is_finite(checkpoint):
        end += " (its weights are no numbers any more and are left out)"
    begun = f", from {started_words(checkpoint)}" if checkpoint.started_from else ""
    return f"{letter}: {side.label}{begun}, {checkpoint.step:,} of {checkpoint.train_config.steps:,} steps, {end}."


def started_words(checkpoint: Checkpoint) -> str:
    """Which weights a side began with."""
    start = StartFrom.recorded_in(checkpoint)
    return RANDOM if start is None else f"{start} (sha256 {start.sha256[:SHA256_SHOWN]}…)"


def study_words(run: KeptRun) -> list[str]:
    """What five seeds and several learning rates tell of two sides, or that each has one seed."""
    if len(run.sides) < 2:
        return []
    lines = [] if any(study.kind == SEEDS for study in run.studies) else ["One seed each, which names no winner."]
    for study in run.studies:
        ended = f"{len(study.outcomes)} of {len(study.trials)} runs have ended, which name no winner."
        words = " ".join(verdict_words(study)) if study.kind == RATES else seeds_words(study) or ended
        lines.append(f"{STUDY_FILES[study.kind]}: {words}")
    return lines


def difference_words(run: KeptRun) -> list[str]:
    if len(run.sides) < 2:
        return []
    kept = [side.checkpoint for side in run.sides]
    first, second = (
        {START_FROM: started_words(one), **vars(one.model_config), **vars(one.train_config)} for one in kept
    )
    differing = [f"{name} ({first[name]} and {second[name]})" for name in first if first[name] != second[name]]
    starts = [  # both sides read the same
        Start("its text", one.model_config, one.train_config, one.started_from["sha256"] if one.started_from else "")
        for one in kept
    ]
    return [f"The two differ in {', '.join(differing) or 'nothing'}.", shared_start(starts).sentence("They")]
