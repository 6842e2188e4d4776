"""An exported zip that comes back: everything in it is somebody's claim until it is checked.

In order, each before anything that the next needs memory for: the file's size, the list of its entries (names from a
fixed list, declared sizes, how far they unpack), the JSON, the size of the model that the configs ask for, and only
then the weights, by `Checkpoint.load`: kinds, shapes, finite numbers, and a checksum of it all. Nothing is unpickled,
and no name out of the zip is ever a path.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tlab.cost import num_parameters
from tlab.files import PICTURE_KINDS
from tlab.inside.layers import LayerInsight, are_finite
from tlab.nn.config import ModelConfig
from tlab.training.checkpoint import FILE_NAME, Checkpoint
from tlab.training.config import TrainConfig
from tlab.ui.runs.limits import LOCAL, Limits, estimated_memory
from tlab.ui.runs.messages import ANY_VOCABULARY, Insight, Job, Sample, SeedStart, SidePlan, StartFrom
from tlab.ui.sharing import write_zip
from tlab.ui.sharing.study_file import study_from_json
from tlab.ui.sharing.write_zip import KeptRun, KeptSide
from tlab.ui.studies.study import RATES, Study
from tlab.ui.studies.tuning import short_job

MAX_PACKED = 20 * 2**20  # bytes; what the server takes as an upload
MAX_UNPACKED = 128 * 2**20
MAX_RATIO = 100  # weights do not pack at all, metrics to a third; a text of one word over and over may reach this
FREE_BYTES = 2**20  # of these nobody asks how well they packed
MAX_JSON = 2**22  # a vocabulary of the whole of Unicode has less
MAX_NAME_LENGTH = 60
# Of repeat.py as this and every earlier version of the lab wrote it: README.txt tells the reader to run it.
REPEAT_SHA256 = {
    "893d8f7ac51f30242880e653d23710cd199f1f67cf1785385b41c9403124311b",
    "8c1646ac21d9563f6b8519e9c961b0b9ba45889fa760d807bf8d8b6af192de24",
    "1a1a5864ee1783b6e9f2cc342810d80ae1952d25d3cf86be5d8ad4447fac30bd",
}
MAX_EXCERPT, MAX_BASELINES = 1_000, 10
MAX_SAMPLE = 10_000  # characters; a sample has a few hundred
SIDE_FILES = (
    write_zip.CONFIG, write_zip.METRICS, write_zip.INSIDE, FILE_NAME,
    *(f"loss.{kind}" for kind in PICTURE_KINDS),
)  # fmt: skip
KNOWN = {
    write_zip.README, write_zip.RUN, write_zip.REPEAT, write_zip.TEXT, write_zip.STUDIES,
    *write_zip.STUDY_FILES.values(),
    *(f"comparison.{kind}" for kind in PICTURE_KINDS),
    *(f"{folder}/{name}" for folder in write_zip.FOLDERS for name in ("", *SIDE_FILES)),
}  # fmt: skip
DAMAGE = (
    OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError, EOFError, struct.error,
    NotImplementedError, RuntimeError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip
"""What reading a damaged or hostile file can raise."""


class ReopenError(ValueError):
    """An upload that is not opened; the message says why, in words for the visitor."""


def read_export(path: Path, limits: Limits, *, resumable: bool = False) -> KeptRun:
    """The run in an exported zip; with what a training goes on from, if it is to be `resumable`.

    Raises:
        ReopenError: it is no export, it is damaged, or it is more than `limits` allow.
    """
    try:
        if path.stat().st_size > MAX_PACKED:
            raise ReopenError(f"The file has more than {MAX_PACKED // 2**20} MB, the most that can be opened here.")
        with zipfile.ZipFile(path) as archive:
            check_entries(archive)
            check_script(archive)
            run = read_run(archive, limits)
            return run if resumable else without_optimizers(run)
    except ReopenError:
        raise
    except MemoryError:
        raise ReopenError("The run needs more memory than there is here.") from None
    except DAMAGE as error:
        what = " ".join(str(error).split())[:300]
        raise ReopenError(
            f"This is not an export of the lab, or it is damaged: {what or type(error).__name__}"
        ) from error


def check_entries(archive: zipfile.ZipFile) -> None:
    """Refuse what no export has, by the zip's own list: nothing is unpacked yet."""
    infos = archive.infolist()
    names = [info.filename for info in infos]
    strange = [name for name in names if name not in KNOWN]
    if strange:
        raise ReopenError(f"The zip holds {strange[0][:MAX_NAME_LENGTH]!r}, which no export of the lab has.")
    if len(set(names)) < len(names):
        raise ReopenError("The zip holds two files of the same name.")
    if any(info.flag_bits & 1 for info in infos):
        raise ReopenError("The zip is encrypted.")
    if any(info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for info in infos):
        raise ReopenError("The zip is packed in a way that no export is.")
    if sum(info.file_size for info in infos) > MAX_UNPACKED:
        raise ReopenError(f"Unpacked it would have more than {MAX_UNPACKED // 2**20} MB, the most that is allowed.")
    for info in infos:
        if info.file_size > FREE_BYTES + MAX_RATIO * info.compress_size:
            raise ReopenError(
                f"{info.filename!r} would unpack to {info.file_size:,} bytes from {info.compress_size:,}."
            )


def check_script(archive: zipfile.ZipFile) -> None:
    """Refuse a program that the lab did not write: the zip says that it is the lab's."""
    name = write_zip.REPEAT
    if name not in archive.namelist():
        return
    if hashlib.sha256(read_bytes(archive, name, FREE_BYTES)).hexdigest() not in REPEAT_SHA256:
        raise ReopenError(f"The {name} in it is none of the lab's: do not run it. Without it, the zip can be opened.")


def read_run(archive: zipfile.ZipFile, limits: Limits) -> KeptRun:
    """The run, once the entries are known to be harmless in name and size."""
    about = read_json(archive, write_zip.RUN)
    if about["format"] != write_zip.FORMAT:
        raise ReopenError(f"Its format is {about['format']!r}; this version of the lab reads {write_zip.FORMAT!r}.")
    folders = [side["folder"] for side in about["sides"]]
    if folders not in ([*write_zip.FOLDERS[:1]], [*write_zip.FOLDERS]):
        raise ReopenError("It says that it has other sides than A, or A and B.")
    sides = tuple(
        read_side(archive, number, side["folder"], plain_name(side["label"]), limits)
        for number, side in enumerate(about["sides"])
    )
    first, last = sides[0].checkpoint.corpus, sides[-1].checkpoint.corpus
    if (first["sha256"], first["tokenizer"]) != (last["sha256"], last["tokenizer"]):
        raise ReopenError("Its two sides were trained on different texts.")
    excerpt, baselines = read_excerpt(about), read_baselines(about)
    text = read_training_text(archive, first, limits)
    name = plain_name(about["name"])
    return KeptRun(name, sides, text, excerpt, baselines, read_studies(archive, sides, text))


def without_optimizers(run: KeptRun) -> KeptRun:
    """The run with checkpoints that are for use and not for resuming."""
    light = [dataclasses.replace(side.checkpoint, optimizer_state={}) for side in run.sides]
    sides = [side._replace(checkpoint=checkpoint) for side, checkpoint in zip(run.sides, light, strict=True)]
    return run._replace(sides=tuple(sides))


def read_excerpt(about: dict[str, Any]) -> str:
    """The beginning of what was never trained on; exports of earlier versions have none."""
    excerpt = about.get("excerpt", "")
    if not isinstance(excerpt, str) or len(excerpt) > MAX_EXCERPT:
        raise ReopenError("Its excerpt is no short text.")
    return excerpt


def read_baselines(about: dict[str, Any]) -> dict[str, float]:
    """The losses that the run has to beat, by name; exports of earlier versions have none."""
    baselines = {plain_name(name): float(loss) for name, loss in about.get("baselines", {}).items()}
    if len(baselines) > MAX_BASELINES or not all(map(math.isfinite, baselines.values())):
        raise ReopenError("The losses that it has to beat are no few numbers.")
    return baselines


def read_studies(archive: zipfile.ZipFile, sides: Sequence[KeptSide], text: str | None) -> list[Study]:
    """What is known of the same comparison at other seeds and rates; of nobody yet."""
    if write_zip.STUDIES not in archive.namelist():
        return []
    job, found = job_of(sides, text), []
    for values in checked_json(read_bytes(archive, write_zip.STUDIES, MAX_JSON)):
        found.append(study_from_json("", short_job(job) if values["kind"] == RATES else job, values))
    if len({study.kind for study in found}) < len(found):
        raise ReopenError("It holds two studies of one kind.")
    return found


def job_of(sides: Sequence[KeptSide], text: str | None) -> Job:
    """What the run that is kept was to train."""
    plans = tuple(
        SidePlan(
            side.label,
            side.checkpoint.model_config.with_vocab(ANY_VOCABULARY),
            side.checkpoint.train_config,
            start_from=StartFrom.recorded_in(side.checkpoint),
        )
        for side in sides
    )
    corpus = sides[0].checkpoint.corpus
    return Job(corpus["name"], text, corpus["tokenizer"]["tokenizer"], plans)


def read_json(archive: zipfile.ZipFile, name: str) -> dict[str, Any]:
    content = checked_json(read_bytes(archive, name, MAX_JSON))
    if not isinstance(content, dict):
        raise ReopenError(f"{name} holds no settings.")
    return content


def checked_json(content: bytes | str) -> Any:
    """What JSON holds, of whole characters: half of one, which JSON can write, no page can be sent."""
    found = json.loads(content)
    try:
        json.dumps(found, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise ReopenError("A text in it holds half of a character.") from None
    return found


def read_bytes(archive: zipfile.ZipFile, name: str, most: int) -> bytes:
    """A file of the zip, of at most so many bytes."""
    if name not in archive.namelist():
        raise ReopenError(f"The zip has no {name}, which every export has.")
    with archive.open(name) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise ReopenError(f"{name} has more than {most:,} bytes.")
    return content


def plain_name(name: Any) -> str:
    """A name as the history takes it: one short line."""
    if not isinstance(name, str):
        raise ReopenError(f"A name in it is {type(name).__name__} and no text.")
    return " ".join(name.split())[:MAX_NAME_LENGTH] or "opened run"


def read_side(archive: zipfile.ZipFile, number: int, folder: str, label: str, limits: Limits) -> KeptSide:
    """One side: its checkpoint and, where the export has it, what was seen inside and its last sample."""
    checkpoint = read_checkpoint(archive, folder, limits)
    if f"{folder}/{write_zip.INSIDE}" not in archive.namelist():  # exports of earlier versions have none
        return KeptSide(label, checkpoint)
    about = read_json(archive, f"{folder}/{write_zip.INSIDE}")
    insights = [read_insight(number, checkpoint, step, rows) for step, rows in about["insights"]]
    steps = [insight.step for insight in insights]
    if steps != sorted(set(steps)):
        raise ReopenError(f"Side {folder} was looked into at steps that are not in order.")
    sample = about["sample"]
    if sample is not None:
        text = sample["text"]
        if not isinstance(text, str) or len(text) > MAX_SAMPLE or not 0 <= sample["step"] <= checkpoint.step:
            raise ReopenError(f"The sample of side {folder} is none of its training.")
        sample = Sample(number, int(sample["step"]), text)
    accuracies = [(int(at), float(share)) for at, share in about.get("answers", ())]  # few texts have any
    steps = [at for at, _ in accuracies]
    if steps != sorted({*steps}) or not all(1 <= at <= checkpoint.step for at in steps):
        raise ReopenError(
            f"Side {folder} was asked at steps that are not in order, or that its training does not have."
        )
    if not all(0 <= share <= 1 for _, share in accuracies):
        raise ReopenError(f"A share of right answers of side {folder} is not between 0 and 1.")
    starts = [
        SeedStart(number, int(seed), read_layers(checkpoint, rows, f"seed {seed!r}"))
        for seed, rows in about.get("starts", ())  # runs of one side have none
    ]
    if len({start.seed for start in starts} | {checkpoint.train_config.seed}) != len(starts) + 1:
        raise ReopenError(f"Side {folder} was looked into at the first step of a seed twice.")
    return KeptSide(label, checkpoint, insights, sample, accuracies, starts)


def read_insight(number: int, checkpoint: Checkpoint, step: Any, rows: Any) -> Insight:
    """What was seen in each layer at one step."""
    if not 1 <= step <= checkpoint.step:
        raise ReopenError(f"It was looked into at step {step!r}, or at layers, that its training does not have.")
    return Insight(number, int(step), read_layers(checkpoint, rows, f"step {step!r}"))


def read_layers(checkpoint: Checkpoint, rows: Any, where: str) -> list[LayerInsight]:
    """What was seen in each layer; `where` says it in a message."""
    layers = [LayerInsight(*map(float, row)) for row in rows]
    if len(layers) != checkpoint.model_config.num_layers:
        raise ReopenError(f"It was looked into at {where}, or at layers, that its training does not have.")
    if not are_finite(layers):
        raise ReopenError(f"What it says of {where} holds a value that is no finite number.")
    return layers


def read_checkpoint(archive: zipfile.ZipFile, folder: str, limits: Limits) -> Checkpoint:
    """The checkpoint of one side, with all of its records."""
    name = f"{folder}/{FILE_NAME}"
    if name not in archive.namelist():
        raise ReopenError(
            f"Side {folder} has no weights, as a run that diverged to no numbers has none. Its script repeats it."
        )
    content = read_bytes(archive, name, MAX_UNPACKED)
    check_model_size(content, limits)
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / FILE_NAME
        path.write_bytes(content)
        try:
            checkpoint = Checkpoint.load(path)
        except ValueError as error:
            raise ReopenError(f"Side {folder} cannot be used. {str(error).replace(str(path), 'Its file')}") from error
    if [record.step for record in checkpoint.records] != list(range(1, len(checkpoint.records) + 1)):
        raise ReopenError(f"Side {folder} has not one record for each of its steps.")
    return checkpoint


def check_model_size(content: bytes, limits: Limits) -> None:
    """Refuse configs that ask for a larger model than the file can hold, or than may be run here.

    Read from the file's header alone: eight bytes for its length, then JSON.
    """
    (length,) = struct.unpack("<Q", content[:8])
    if length > min(MAX_JSON, len(content) - 8):
        raise ReopenError("Its weights are in no safetensors file.")
    about = checked_json(json.loads(content[8 : 8 + length])["__metadata__"]["tlab"])
    config = ModelConfig.from_json(about["model_config"])
    training = TrainConfig.from_json(about["train_config"])
    if 4 * num_parameters(config) > len(content):
        raise ReopenError("Its settings ask for more weights than the file holds.")
    if training.steps > LOCAL.steps:
        raise ReopenError(f"It says that it is one of {training.steps:,} steps, more steps than any run may have.")
    # Nobody trains it here: one text at a time is read, and one token after another written.
    if estimated_memory(config, dataclasses.replace(training, batch_size=1)) > limits.memory:
        raise ReopenError("Its settings ask for more memory than a run may have here.")


def read_training_text(archive: zipfile.ZipFile, corpus: Any, limits: Limits) -> str | None:
    """The text that came along, if there is one, once it is found to be that of the weights."""
    if write_zip.TEXT not in archive.namelist():
        return None
    content = read_bytes(archive, write_zip.TEXT, min(4 * limits.text, MAX_UNPACKED))
    if hashlib.sha256(content).hexdigest() != corpus["sha256"]:
        raise ReopenError("The text in it is not the one that its model was trained on.")
    text = content.decode("utf-8")
    if len(text) > limits.text:
        raise ReopenError(f"Its text has {len(text):,} characters; {limits.text:,} are allowed here.")
    return text
