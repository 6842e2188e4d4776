"""The numbers of a run, step by step, for programs that draw them. Each is a package that is installed for it alone."""

# pyright: reportMissingImports=false
# (nobody needs all of them)

from __future__ import annotations

import importlib.util
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

from tlab.registry import Registry
from tlab.training.records import StepRecord

TRACKERS: Registry[type[Tracker]] = Registry("tracker")
PROJECT = "tlab"  # under which they file its runs


class TrackerError(ValueError):
    """A tracker whose package is not here, or that does not begin."""


class Tracker:
    """The contract. Nothing is sent over a network unless the program's own settings say so."""

    package: ClassVar[str]
    """What has to be installed."""
    module: ClassVar[str]
    """What is imported of it."""

    def __init__(self, folder: Path, name: str, settings: Mapping[str, Any]) -> None:
        """A new run of this name. What is written into a folder goes into this one, where the program can be told."""
        raise NotImplementedError

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """The numbers of one step by name."""
        raise NotImplementedError

    def close(self) -> None:
        """There are no more."""
        raise NotImplementedError


@TRACKERS.add("tensorboard", label="TensorBoard", source="https://www.tensorflow.org/tensorboard")
class TensorBoard(Tracker):
    """A file of events in the folder: tensorboard --logdir FOLDER."""

    package, module = "tensorboard", "tensorboard"

    def __init__(self, folder: Path, name: str, settings: Mapping[str, Any]) -> None:
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self.writer = EventFileWriter(os.fspath(folder))

    def log(self, step: int, values: Mapping[str, float]) -> None:
        from tensorboard.compat.proto.event_pb2 import Event  # pyright: ignore  # made at build time, without types
        from tensorboard.compat.proto.summary_pb2 import Summary  # pyright: ignore

        named = [Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        self.writer.add_event(Event(step=step, wall_time=time.time(), summary=Summary(value=named)))

    def close(self) -> None:
        self.writer.close()


@TRACKERS.add("trackio", label="Trackio", source="https://github.com/gradio-app/trackio")
class Trackio(Tracker):
    """A database of Trackio's own, on this machine: trackio show."""

    package, module = "trackio", "trackio"

    def __init__(self, folder: Path, name: str, settings: Mapping[str, Any]) -> None:
        import trackio

        trackio.init(project=PROJECT, name=name, config=dict(settings), embed=False)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        import trackio

        trackio.log(dict(values), step=step)

    def close(self) -> None:
        import trackio

        trackio.finish()


@TRACKERS.add("wandb", label="Weights & Biases", source="https://docs.wandb.ai")
class WeightsAndBiases(Tracker):
    """A folder wandb/ beside the results, which wandb sync sends; with WANDB_MODE=online it is sent at once."""

    package, module = "wandb", "wandb"

    def __init__(self, folder: Path, name: str, settings: Mapping[str, Any]) -> None:
        import wandb

        mode: Any = os.environ.get("WANDB_MODE", "offline")
        self.run = wandb.init(project=PROJECT, name=name, config=dict(settings), dir=os.fspath(folder), mode=mode)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self.run.log(dict(values), step=step)

    def close(self) -> None:
        self.run.finish()


@TRACKERS.add("mlflow", label="MLflow", source="https://mlflow.org")
class MlFlow(Tracker):
    """A database in the folder, for mlflow ui --backend-store-uri; or the server that MLFLOW_TRACKING_URI names."""

    package, module = "mlflow", "mlflow"

    def __init__(self, folder: Path, name: str, settings: Mapping[str, Any]) -> None:
        import mlflow

        if "MLFLOW_TRACKING_URI" not in os.environ:
            mlflow.set_tracking_uri(f"sqlite:///{(folder / 'mlflow.db').resolve()}")
        mlflow.set_experiment(PROJECT)
        mlflow.start_run(run_name=name)
        mlflow.log_params(dict(settings))

    def log(self, step: int, values: Mapping[str, float]) -> None:
        import mlflow

        mlflow.log_metrics(dict(values), step=step)

    def close(self) -> None:
        import mlflow

        mlflow.end_run()


def check_tracker(key: str) -> None:
    """Refuse a tracker that cannot be, before anything is done.

    Raises:
        TrackerError: its package is not here.
    """
    tracker = TRACKERS[key]
    if importlib.util.find_spec(tracker.module) is None:
        raise TrackerError(f"{key} needs a package that is not here: pip install {tracker.package}")


@contextmanager
def opened_tracker(key: str, folder: Path, name: str, settings: Mapping[str, Any]) -> Iterator[Tracker]:
    """A tracker that is closed at the end, whatever comes between.

    Raises:
        TrackerError: its package is not here, or it does not begin.
    """
    check_tracker(key)
    try:
        tracker = TRACKERS[key](folder, name, settings)
    except Exception as error:  # of whatever kind that program has
        raise TrackerError(f"{key} does not begin: {error}") from error
    try:
        yield tracker
    finally:
        tracker.close()


def numbers_of(record: StepRecord) -> dict[str, float]:
    """What there is to draw of one step, by name."""
    found = record._asdict()
    return {name: value for name, value in found.items() if name != "step" and isinstance(value, (int, float))}
