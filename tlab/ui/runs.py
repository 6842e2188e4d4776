"""The server's side of training: who runs, who waits, and what is known of each run.

A handler of the page never trains. It reads a `Run`, which a thread of its own keeps up to date from the messages of
a worker process: so a visitor who leaves, or who never listens, holds up nobody.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import secrets
import threading
import time
from collections import OrderedDict, deque
from typing import Any

from tlab.checkpoint import Checkpoint
from tlab.config import ModelConfig, TrainConfig
from tlab.records import Divergence, StepRecord
from tlab.text import TOKENIZERS, Tokenizer, corpus_from_text, corpus_names
from tlab.text.corpora import MINIMUM_CHARACTERS
from tlab.train import check_fit
from tlab.ui.curve import Curve
from tlab.ui.limits import Limits, TooLargeError, check_limits
from tlab.ui.store import Store
from tlab.ui.worker import PAUSE, STOP, Ended, Failed, Job, Progress, Sample, Started, serve

SECONDS_TO_OBEY = 0.4  # what a stopped worker has to finish its step and hand over its model before it is terminated
SECONDS_TO_PAUSE = 30.0  # a pause without the model would be a stop, so it may take long
GUESSED_VOCABULARY = 256  # of a corpus that only the worker reads; it checks again, with the real one
MAX_RUNS = 500  # of all sessions; each is a curve of 300 points

WAITING, STARTING, RUNNING = "waiting", "starting", "running"
PAUSED, DONE, STOPPED, DIVERGED, FAILED = "paused", "done", "stopped", "diverged", "failed"
ACTIVE = (WAITING, STARTING, RUNNING)


class BusyError(RuntimeError):
    """No run can be started now; the message says why."""


class Worker:
    """A process that waits for its one job."""

    def __init__(self) -> None:
        # Spawned and not forked: a fork of a server with threads may inherit a lock that nobody will ever release.
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs,), daemon=True, name="tlab-worker")
        self.process.start()
        theirs.close()

    def end(self) -> None:
        """Make sure that the process is gone. Once is enough, more does no harm."""
        if self.connection.closed:
            return
        self.connection.close()
        self.process.terminate()
        self.process.join(0.5)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.process.close()


class Run:
    """One training as the server knows it. Attributes are written by its relay thread and read by everybody."""

    def __init__(self, session: str, job: Job, limits: Limits) -> None:
        self.id = secrets.token_urlsafe(12)
        self.session = session
        self.job = job
        self.limits = limits
        self.state = WAITING
        self.steps = int(job.training["steps"])
        self.curve = Curve()
        self.last: StepRecord | None = None
        self.num_parameters: int | None = None
        self.vocab_size: int | None = None
        self.excerpt = ""
        self.sample: Sample | None = None
        self.error = ""
        self.note = ""  # one more sentence on how it ended
        self.divergence: Divergence | None = None
        self.validation_loss: float | None = None
        self.worker: Worker | None = None
        self.order: str | None = None
        self.terminate_at = float("inf")
        self.steps_before = 0  # of earlier stretches, before a pause
        self.running_since: float | None = None
        self.lock = threading.Lock()  # of orders to the worker

    @property
    def active(self) -> bool:
        """Whether more is to come."""
        return self.state in ACTIVE

    @property
    def step(self) -> int:
        """Updates made or, at a divergence, tried."""
        return self.last.step if self.last else 0

    @property
    def seconds_left(self) -> float | None:
        """By the clock, at the pace of this stretch; None while nothing is known."""
        made = self.step - self.steps_before
        if self.state != RUNNING or self.running_since is None or made < 1:
            return None
        return (time.monotonic() - self.running_since) / made * (self.steps - self.step)

    def give_order(self, order: str) -> None:
        """Tell the worker to pause or to stop. It does so after its step; a stop is enforced if it does not."""
        with self.lock:
            if not self.active:
                return
            if self.order != STOP:
                self.order = order
            self.terminate_at = time.monotonic() + (SECONDS_TO_OBEY if order == STOP else SECONDS_TO_PAUSE)
            if self.worker is not None:
                with contextlib.suppress(OSError):  # it has just ended by itself
                    self.worker.connection.send(order)

    def take(self, message: Any, store: Store) -> None:
        """What a message of the worker says goes into the attributes."""
        if isinstance(message, Started):
            self.num_parameters, self.vocab_size, self.excerpt = message
            self.running_since = time.monotonic()
            self.steps_before = self.step
            self.state = RUNNING
        elif isinstance(message, Progress):
            for record in message.records:
                self.curve.add(record)
                self.last = record
                if record.validation_loss is not None:
                    self.validation_loss = record.validation_loss
        elif isinstance(message, Sample):
            self.sample = message
            if message.snapshot is not None:
                store.put(self.id, message.snapshot)
        elif isinstance(message, Ended):
            store.put(self.id, message.checkpoint)
            self.divergence = message.checkpoint.divergence
            ends = {PAUSE: PAUSED, STOP: STOPPED}
            finished = message.checkpoint.step >= self.steps
            self.state = DIVERGED if self.divergence else DONE if finished else ends.get(message.why, DONE)
        elif isinstance(message, Failed):
            self.error = message.message
            self.state = FAILED


class Runs:
    """All runs of all sessions, and the places in which they are worked on.

    Args:
        limits: what one run may cost.
        places: worker processes at once; by default as many as cores.
    """

    def __init__(self, limits: Limits, places: int | None = None) -> None:
        self.limits = limits
        self.store = Store(limits.store)
        self.free = places or multiprocessing.cpu_count()
        self.turn = threading.Condition()
        self.waiting: deque[Run] = deque()
        self.runs: OrderedDict[str, Run] = OrderedDict()
        self.of_session: dict[str, Run] = {}
        self.spare: Worker | None = None

    # -------------------------------------------------------------------------------- what handlers call

    def start(self, session: str, job: Job) -> Run:
        """Begin a run, or put it into the queue; an earlier run of the session ends.

        Raises:
            ValueError: the settings are wrong, or too much (`TooLargeError`).
            BusyError: too many are waiting already.
        """
        self.check(job)
        self.check_queue(session)
        self.end_session(session)  # last, so that who is refused keeps the run they have
        run = Run(session, job._replace(limits=self.limits), self.limits)
        self.runs[run.id] = self.of_session[session] = run
        while len(self.runs) > MAX_RUNS:
            self.forget(next(iter(self.runs.values())))
        self.enqueue(run)
        return run

    def resume(self, run: Run) -> None:
        """Go on with a paused run, bit for bit as if it had never paused.

        Raises:
            ValueError: its model had to make room for others'.
            BusyError: too many are waiting already.
        """
        checkpoint = self.store.get(run.id)
        if run.state != PAUSED:
            return
        if checkpoint is None:
            raise ValueError("This run was put away to make room for others' runs, so it cannot go on. Start it anew.")
        run.job = run.job._replace(checkpoint=checkpoint)
        run.order, run.terminate_at = None, float("inf")
        self.enqueue(run)

    def get(self, run_id: str | None) -> Run | None:
        """The run of this id, if it is still known."""
        return self.runs.get(run_id) if run_id else None

    def place(self, run: Run) -> int:
        """How many are before this run in the queue, itself included; 0 when it is not waiting."""
        with self.turn:
            return self.waiting.index(run) + 1 if run in self.waiting else 0

    def end_session(self, session: str) -> None:
        """A visitor has left, or begins anew: their run ends, and what was kept of it goes."""
        run = self.of_session.pop(session, None)
        if run is not None:
            self.forget(run)

    def forget(self, run: Run) -> None:
        """End a run and drop everything of it."""
        self.stop(run)
        self.runs.pop(run.id, None)
        self.store.discard(run.id)
        if self.of_session.get(run.session) is run:
            del self.of_session[run.session]

    def stop(self, run: Run) -> None:
        """End a run; what it has learned is kept. Its worker process is gone within a second."""
        run.give_order(STOP)
        with self.turn:  # one that waits has no worker to wait for
            self.turn.notify_all()

    def pause(self, run: Run) -> None:
        """Let a run finish its step and put its model away, to go on later."""
        run.give_order(PAUSE)
        with self.turn:
            self.turn.notify_all()

    def check(self, job: Job) -> None:
        """Refuse what cannot be trained, before a process is busy with it."""
        if job.text is None and job.corpus not in corpus_names():  # a name, never a path
            raise ValueError(f"There is no text called {job.corpus!r} here. Choose one of the list.")
        if job.text is not None and len(job.text) > self.limits.text:
            raise TooLargeError(
                f"Your text has {len(job.text):,} characters; {self.limits.text:,} are allowed here. Take a part of it."
            )
        tokenizer = None if job.text is None else tokenizer_of(job.text, job.tokenizer)
        vocab_size = tokenizer.vocab_size if tokenizer else GUESSED_VOCABULARY
        config = ModelConfig.from_json({**job.model, "vocab_size": vocab_size})
        check_limits(self.limits, config, TrainConfig.from_json(job.training))
        if job.text is not None and tokenizer is not None:
            check_fit(config, corpus_from_text(job.text, job.corpus, tokenizer=tokenizer))

    def check_queue(self, session: str) -> None:
        """Refuse a run for which the queue has no room; one of the session that waits would leave it."""
        with self.turn:
            others = sum(run.session != session for run in self.waiting)
            if others >= self.limits.waiting:
                raise BusyError(f"{others} runs are waiting already. Try again in a minute.")

    def prepare(self) -> None:
        """Have a worker process at hand, so that the next run begins at once."""
        with self.turn:
            if self.spare is None:
                self.spare = Worker()

    def close(self) -> None:
        """End everything: the server goes down."""
        for run in list(self.runs.values()):
            self.forget(run)
        with self.turn:
            spare, self.spare = self.spare, None
        if spare is not None:
            spare.end()

    # -------------------------------------------------------------------------------- threads

    def enqueue(self, run: Run) -> None:
        """Let a thread see the run through."""
        with self.turn:
            if len(self.waiting) >= self.limits.waiting:
                raise BusyError(f"{len(self.waiting)} runs are waiting already. Try again in a minute.")
            run.state = WAITING
            self.waiting.append(run)
        threading.Thread(target=self.relay, args=(run,), daemon=True, name=f"tlab-run-{run.id}").start()

    def relay(self, run: Run) -> None:
        """The life of one stretch of a run: wait for a place, train, give the place back."""
        with self.turn:
            self.turn.wait_for(lambda: run.order or (self.free > 0 and self.waiting[0] is run))
            self.waiting.remove(run)
            if run.order:
                run.state = STOPPED if run.order == STOP or run.job.checkpoint is None else PAUSED
                self.turn.notify_all()
                return
            run.state = STARTING
            self.free -= 1
            worker, self.spare = self.spare, None
        try:
            # A spare that died of old age is no use.
            if worker is None or not worker.process.is_alive():
                worker = Worker()
            self.follow(run, worker)
        except Exception:  # whatever it was, the visitor must not wait for ever
            run.error = "The server could not run this training. Try again."
            run.state = FAILED
            raise
        finally:
            with run.lock:
                run.worker = None
            if worker is not None:
                worker.end()
            with self.turn:
                self.free += 1
                self.turn.notify_all()
        self.prepare()

    def follow(self, run: Run, worker: Worker) -> None:
        """Pass the worker's messages on to the run until it ends, one way or another."""
        with run.lock:
            run.worker = worker
            worker.connection.send(run.job)
            if run.order:
                worker.connection.send(run.order)
        deadline = time.monotonic() + self.limits.seconds
        last_word, state = None, FAILED
        while True:
            now = time.monotonic()
            if now > run.terminate_at:
                state = STOPPED
                break
            if now > deadline and run.order is None:
                run.note = f"Stopped after {self.limits.seconds:.0f} seconds, the most that one run may take here."
                run.give_order(STOP)
            if not worker.connection.poll(0.05):
                continue
            try:
                message = worker.connection.recv()
            except (EOFError, OSError):
                run.error = "The process that trained this model ended unexpectedly, perhaps for want of memory."
                state = FAILED
                break
            if isinstance(message, (Ended, Failed)):
                last_word = message
                break
            run.take(message, self.store)
        # First the process, then the words: who reads "stopped" may rely on it.
        with run.lock:
            run.worker = None
        worker.end()
        if last_word is None:
            run.state = state
        else:
            run.take(last_word, self.store)
        if run.id not in self.runs:  # forgotten while it ran
            self.store.discard(run.id)


def tokenizer_of(text: str, name: str) -> Tokenizer:
    """A tokenizer for a visitor's text; a text that has nothing to learn is refused in a visitor's words."""
    if len(text) < MINIMUM_CHARACTERS:
        given = f"has only {len(text)} characters" if text else "is empty"
        raise ValueError(f"Your text {given}; give {MINIMUM_CHARACTERS} characters or more.")
    tokenizer = TOKENIZERS[name].from_text(text)
    if tokenizer.vocab_size < 2:
        raise ValueError("The text has only one character, over and over: give one with two or more to tell apart.")
    return tokenizer


def latest_checkpoint(runs: Runs, run_id: str | None, otherwise: Checkpoint) -> tuple[Checkpoint, Run | None]:
    """The model to look into: that of the session's run, or the shipped one while there is none."""
    checkpoint = runs.store.get(run_id)
    return (otherwise, None) if checkpoint is None else (checkpoint, runs.get(run_id))
