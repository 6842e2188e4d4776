"""The folder of a run: what is written into it, and when.

checkpoint.safetensors   weights, optimizer, records: what `Checkpoint.load` and `--resume` read
config.json              configs, corpus, and on which machine and libraries each session ran
metrics.csv              one row per step
loss.png, loss.svg       the picture of metrics.csv
snapshots/0000100/...    the weights at step 100, where snapshots were asked for
lock                     held by the process that trains here
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from tlab.config import ConfigError
from tlab.files import remove_half_written, write_atomically
from tlab.machine import environment
from tlab.nn.params import all_finite
from tlab.training.checkpoint import FILE_NAME, records_as_csv
from tlab.training.snapshots import SNAPSHOTS_NAME
from tlab.training.trainer import Trainer

CONFIG_NAME, METRICS_NAME, PLOT_NAME, LOCK_NAME = "config.json", "metrics.csv", "loss", "lock"
PARENT = Path("runs")


def new_folder(out: str | None, corpus_name: str) -> Path:
    """Make the folder of a new run: `out`, or by default the next free number in `runs/`.

    Raises:
        ConfigError: `out` holds a run already, or is a file.
    """
    if out is None:
        stem = re.sub(r"[^\w.-]+", "-", corpus_name)
        for number in range(1, 10_000):
            folder = PARENT / f"{stem}-{number:03}"
            try:
                folder.mkdir(parents=True)  # fails where it is there already, so two runs cannot share one
                return folder
            except FileExistsError:
                continue
            except OSError as error:
                raise ConfigError(f"{folder} cannot be made: {error.strerror}; name a folder with --out") from error
        raise ConfigError(f"{PARENT} is full of runs on {corpus_name!r}; name a folder with --out")
    folder = Path(out)
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder} is a file; name a folder with --out")
    refuse_used(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{folder} cannot be made: {error.strerror}; name another with --out") from error
    return folder


def refuse_used(folder: Path) -> None:
    """Refuse a folder with a run in it; config.json alone tells of no result.

    Raises:
        ConfigError: there is one.
    """
    if (folder / FILE_NAME).exists():
        raise ConfigError(
            f"{folder} holds a run already, and runs are not overwritten; choose another --out, or continue with "
            f"--resume {shlex.quote(str(folder))}"
        )
    if (folder / METRICS_NAME).exists() or any(folder.glob(f"{SNAPSHOTS_NAME}/*/{FILE_NAME}")):
        raise ConfigError(
            f"{folder} holds a run already, which ended without a checkpoint to resume; choose another --out, or "
            "remove the folder"
        )


@contextmanager
def sole_trainer(folder: Path) -> Iterator[None]:
    """Hold the folder's lock: two runs in one folder would overwrite each other's checkpoints.

    The lock is the operating system's, so it ends with its process, even with one that was killed. What such a one left
    half-written is removed.

    Raises:
        ConfigError: another process has it, or the folder cannot be written.
    """
    if not folder.is_dir():  # nobody trains there; what is to be resumed there says more
        yield
        return
    try:
        lock = FileLock(folder / LOCK_NAME).acquire(timeout=0)
    except Timeout:
        raise ConfigError(
            f"another process trains in {folder}; wait for it or end it, or choose another --out"
        ) from None
    except OSError as error:
        raise ConfigError(
            f"{folder} cannot be written: {error.strerror}; train in another one, or resume a copy of it"
        ) from error
    with lock:
        for place in (folder, *folder.glob(f"{SNAPSHOTS_NAME}/*")):
            remove_half_written(place, CONFIG_NAME, METRICS_NAME, FILE_NAME, f"{PLOT_NAME}.*")
        yield


def read_sessions(folder: Path) -> list[dict[str, Any]]:
    try:
        sessions = json.loads((folder / CONFIG_NAME).read_text(encoding="utf-8"))["sessions"]
        return [dict(session) for session in sessions]
    except (OSError, ValueError, TypeError, KeyError):
        return []


def has_damaged_config(folder: Path) -> bool:
    """Whether config.json is there and names no session; none was ever written so."""
    return (folder / CONFIG_NAME).exists() and not read_sessions(folder)


def last_threads(folder: Path) -> int | None:
    threads = (read_sessions(folder) or [{}])[-1].get("threads")
    return threads if isinstance(threads, int) and threads > 0 else None


def save_config(folder: Path, trainer: Trainer) -> None:
    """Write config.json, with a new session that begins at the next step. Call it inside `one_blas_thread`."""
    compute = trainer.compute
    session = {"first_step": trainer.step + 1, **environment(compute.threads or 1), **compute.to_json()}
    content = {
        "model": trainer.config.to_json(),
        "training": trainer.train_config.to_json(),
        "num_parameters": trainer.model.num_parameters,
        "corpus": trainer.corpus.describe(),
        "started_from": trainer.started_from,
        "sessions": [*read_sessions(folder), session],
    }
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    write_atomically(folder / CONFIG_NAME, text.encode("utf-8", "backslashreplace"))


def save_state(folder: Path, trainer: Trainer) -> bool:
    """Write the checkpoint and metrics.csv; -> whether the checkpoint was written.

    Weights that are not finite are not: the checkpoint before them is worth more. It goes first: where there is no room
    for it, no metrics.csv makes the folder look like one with results.
    """
    usable = all_finite(trainer.model.parameters.data)
    if usable:
        trainer.checkpoint(copy=False).save(folder)
    table = records_as_csv(trainer.records, trainer.corpus.bytes_per_token)
    write_atomically(folder / METRICS_NAME, table.encode())
    return usable


def has_plot(folder: Path) -> bool:
    return (folder / f"{PLOT_NAME}.png").exists()


def save_plot(folder: Path, trainer: Trainer) -> None:
    from tlab.figures import save_figure

    title = f"{trainer.corpus.name}, {trainer.model.num_parameters:,} parameters"
    save_figure(trainer.figure(title), folder / PLOT_NAME)
