"""A run as the server knows it: one experiment of one or two sides."""

from __future__ import annotations

import contextlib
import math
import secrets
import threading
import time
from typing import Any

from tlab.text.units import BytesPerToken, bits_per_byte
from tlab.training.checkpoint import Checkpoint
from tlab.training.records import Divergence, StepRecord
from tlab.ui.runs.checkpoint_store import CheckpointStore
from tlab.ui.runs.child_process import ChildProcess
from tlab.ui.runs.limits import Limits
from tlab.ui.runs.loss_curve import Curve
from tlab.ui.runs.messages import (
    PAUSE,
    STOP,
    Insight,
    Job,
    Kept,
    NewRecords,
    RunEnded,
    RunFailed,
    RunStarted,
    Sample,
    SeedStart,
    SidePlan,
    Snapshot,
    Validated,
)

SECONDS_TO_OBEY = 0.4  # for a stopped worker to finish its step and hand over its model before it is terminated
SECONDS_TO_PAUSE = 30.0  # longer, because a pause that loses the model is a stop
SIDE_LETTERS = "AB"
MAX_NAME_LENGTH = 60  # characters of a visitor's name for a run

WAITING, STARTING, RUNNING = "waiting", "starting", "running"
PAUSED, DONE, STOPPED, DIVERGED, FAILED = "paused", "done", "stopped", "diverged", "failed"
ACTIVE = (WAITING, STARTING, RUNNING)


class Side:
    """One of the models that a run trains, and everything that is known about its training."""

    def __init__(self, letter: str, plan: SidePlan) -> None:
        self.letter = letter  # "A" or "B"
        self.label = plan.label  # what distinguishes it: "Post-LN", "Learning rate 0.01"; "this run" if it is alone
        self.model, self.training = plan.model, plan.training  # configs, the model's of ANY_VOCABULARY
        self.start_from = plan.start_from  # whose weights it begins with; None for random ones
        self.curve = Curve()
        self.last: StepRecord | None = None
        self.validation_loss: float | None = None  # the latest, in nats per token
        self.accuracies: list[tuple[int, float]] = []  # step, share of right answers; of a text that has some
        self.divergence: Divergence | None = None  # how it ended early
        self.num_parameters: int | None = None  # of the model, once it is made
        self.sample: Sample | None = None  # the latest
        self.insights: list[Insight] = []  # oldest first
        self.starts: list[SeedStart] = []  # of other seeds, where there are two sides to compare

    @property
    def steps(self) -> int:
        """Updates to make in all."""
        return self.training.steps

    @property
    def step(self) -> int:
        """Updates made or, at a divergence, attempted."""
        return self.last.step if self.last else 0

    @property
    def seconds(self) -> float:
        """Seconds spent on its updates so far, without validation and samples."""
        return self.last.seconds if self.last else 0.0

    @property
    def finished(self) -> bool:
        """Whether it has nothing left to do."""
        return self.divergence is not None or self.step >= self.steps

    @property
    def accuracy(self) -> float | None:
        """The latest share of right answers, as of the latest validation; None where the text has no answers."""
        return self.accuracies[-1][1] if self.accuracies else None

    def add(self, record: StepRecord) -> None:
        self.curve.add(record)
        self.last = record
        self.divergence = record.divergence
        if record.validation_loss is not None:
            self.validation_loss = record.validation_loss

    def complete(self, validated: Validated) -> None:
        """Take in the validation loss of a step that was added without it."""
        self.divergence = validated.divergence or self.divergence
        if validated.divergence is None:
            self.curve.add_validation(validated.step, validated.loss)
            self.validation_loss = validated.loss
            if validated.accuracy is not None:
                self.accuracies.append((validated.step, validated.accuracy))


class Run:
    """One experiment. Its attributes are written by the thread that relays its messages, and read by all others."""

    def __init__(self, session: str, job: Job, limits: Limits, page: str = "") -> None:
        # All that a page keeps of it.
        self.id = secrets.token_urlsafe(12)
        self.session = session  # that owns it
        self.page = page or session  # of the session, on which it was shown last; of one page, one run is active
        # In the history; a visitor may change it.
        name = " or ".join(plan.label for plan in job.plans) if len(job.plans) > 1 else job.name or job.corpus
        self.name = f"{name}, from “{job.shared_start.name}”" if job.shared_start else name
        self.pinned = False  # whether it stays when the history is full
        self.listed = True  # whether it is in the history: a run of a study is not
        self.deleted = False  # out of the history, from where it may be brought back
        self.shared = False  # whether a link opens it for others
        self.begun_at = time.time()
        self.job = job
        self.limits = limits
        self.state = WAITING  # DIVERGED only when no side finished
        self.sides = [Side(letter, plan) for letter, plan in zip(SIDE_LETTERS, job.plans, strict=False)]
        self.place = 0  # among the runs of the session, which decides its colour; see Runs.add
        self.vocab_size: int | None = None  # of the text, once it has been read
        self.excerpt = ""  # the beginning of the text that is never trained on
        self.baselines: dict[str, float] = {}  # losses that it has to beat, by name
        self.training_pairs: float | None = None  # the loss of the last of them on what it trains on
        self.bytes_per_token: BytesPerToken | None = None  # by which its losses become bits per byte
        self.text_sha256: str | None = None  # what it reads, once that has been read: texts of one name differ
        self.error = ""  # why it FAILED, for the visitor
        self.note = ""  # one more sentence on how it ended
        self.worker: ChildProcess | None = None
        self.order: str | None = None
        self.terminate_at = float("inf")
        self.steps_before = 0  # of earlier stretches, before a pause
        self.running_since: float | None = None
        self.waiting_since = time.monotonic()
        self.seconds_expected: float | None = None  # of the whole run, from before its start; None where unknown
        self.seconds_after = 0.0  # that the study which it is part of takes without it
        self.seconds_used = 0.0  # in earlier stretches since the start or the last pause
        self.gives_way = False  # whether it pauses only so that others have a turn
        self.followers: set[str] = set()  # pages that show it as it trains
        self.awaits_page = False  # whether it pauses only because no page shows it
        self.lock = threading.Lock()  # for orders to the worker

    @classmethod
    def finished(cls, session: str, job: Job, checkpoints: list[Checkpoint], limits: Limits) -> Run:
        """A run that was trained elsewhere or earlier, from one checkpoint with its records for each side."""
        run = cls(session, job, limits)
        for side, checkpoint in zip(run.sides, checkpoints, strict=True):
            for record in checkpoint.records:
                side.add(record)
            side.num_parameters = sum(array.size for array in checkpoint.weights.values())
            run.vocab_size = checkpoint.model_config.vocab_size
            run.bytes_per_token = checkpoint.bytes_per_token
            run.text_sha256 = checkpoint.corpus["sha256"]
            run.baselines = {"uniform guess": math.log(run.vocab_size)}
        run.state = run.state_at_end()
        return run

    def bits_per_byte(self, nats: float | None) -> float | None:
        """A validation loss, or a difference of two, in the unit that all tokenizers share.

        None where it, or the bytes of the text, are not known.
        """
        if nats is None or self.bytes_per_token is None:
            return None
        return bits_per_byte(nats, self.bytes_per_token.validation)

    @property
    def active(self) -> bool:
        """Whether it is waiting or training."""
        return self.state in ACTIVE or self.gives_way

    @property
    def steps(self) -> int:
        """Updates of the longer side in all."""
        return max(side.steps for side in self.sides)

    @property
    def step(self) -> int:
        """Updates so far of the side that is ahead."""
        return max(side.step for side in self.sides)

    @property
    def seconds_left(self) -> float | None:
        """An estimate, by the pace since the start or the last pause; None while nothing is known."""
        made = self.step - self.steps_before
        if self.state != RUNNING or self.running_since is None or made < 1:
            return None
        going = [side.steps for side in self.sides if not side.finished]
        return (time.monotonic() - self.running_since) / made * max(0, max(going, default=0) - self.step)

    @property
    def seconds_to_train(self) -> float:
        """What is left of it, as long as it has a worker for itself; 0 where nothing is known."""
        left = self.seconds_left
        return (self.seconds_expected or 0.0) * (1 - self.step / self.steps) if left is None else left

    def state_at_end(self, order: str | None = None) -> str:
        """Its state when its worker has ended, by itself or by an order."""
        if all(side.finished for side in self.sides):
            return DIVERGED if all(side.divergence for side in self.sides) else DONE
        return PAUSED if order == PAUSE else STOPPED

    def rename(self, name: str) -> None:
        """Change its name in the history; an empty name changes nothing."""
        self.name = " ".join(name.split())[:MAX_NAME_LENGTH] or self.name

    def give_order(self, order: str) -> None:
        """Tell the worker to pause or to stop after its step. If it does not obey in time, it is terminated."""
        with self.lock:
            if not self.active:
                return
            if self.order != STOP:
                self.order = order
            self.terminate_at = time.monotonic() + (SECONDS_TO_OBEY if order == STOP else SECONDS_TO_PAUSE)
            if self.worker is not None:
                with contextlib.suppress(OSError):  # it has just ended by itself
                    self.worker.connection.send(order)

    def apply_message(self, message: Any, store: CheckpointStore) -> None:
        if isinstance(message, RunStarted):
            self.vocab_size, self.excerpt = message.vocab_size, message.excerpt
            self.baselines, self.training_pairs = message.baselines, message.training_pairs
            self.bytes_per_token, self.text_sha256 = message.bytes_per_token, message.text_sha256
            for side, count in zip(self.sides, message.num_parameters, strict=True):
                side.num_parameters = count
            self.running_since = time.monotonic()
            self.steps_before = self.step
            self.state = RUNNING
        elif isinstance(message, NewRecords):
            for record in message.records:
                self.sides[message.side].add(record)
        elif isinstance(message, Validated):
            self.sides[message.side].complete(message)
        elif isinstance(message, Insight):
            self.sides[message.side].insights.append(message)
        elif isinstance(message, SeedStart):
            starts = self.sides[message.side].starts
            if all(start.seed != message.seed for start in starts):  # it may go on from before one that it has
                starts.append(message)
        elif isinstance(message, Sample):
            self.sides[message.side].sample = message
        elif isinstance(message, Snapshot):
            store.put(self.session, (self.id, message.side), message.checkpoint, keep=message.keep)
        elif isinstance(message, (Kept, RunEnded)):
            for number, checkpoint in enumerate(message.checkpoints):
                store.put(self.session, (self.id, number), checkpoint)
                self.sides[number].divergence = checkpoint.divergence
            if isinstance(message, RunEnded):
                self.state = self.state_at_end(message.order)
        elif isinstance(message, RunFailed):
            self.error = message.message
            self.state = FAILED
