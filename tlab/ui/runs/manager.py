"""All training runs: which one trains, which ones wait, and what each visitor has trained so far.

What a run is, for all tabs:

- A `Run` (run.py) is one experiment with one or two `run.sides`, A and B. A `Side` has a label, configs, a curve, the
  last record, validation loss, divergence, number of parameters, a sample, seconds, and `insights` for the charts by
  layer. One worker process trains both sides in turns (worker.py).
- `Runs.store` (checkpoint_store.py) keeps checkpoints by (run id, side) and step: the latest of each side, and about a
  dozen at log-spaced steps from 0. Which of them a tab looks at is decided in tlab/ui/inspection/selection.py.
- A session (visit.py) has a history, newest first: `history`, `get_owned`, `adopt`, `run.rename`, `run.pinned`,
  `forget`. It may have several pages open. Of what a page has started, at most one run is active. `shown(page)` is the
  run on its Train tab, or None for the shipped one.
- A page's `gr.State` holds only the id of a run. A handler asks `runs.get(run_id)`; one that changes or deletes a run
  asks `runs.get_owned(session, run_id)`, so that no one can reach another visitor's run.

Handlers of the page never train. They read a `Run`, which a thread of its own updates from the messages of a worker
process; so a visitor who leaves, or whose browser stops listening, delays no one.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import heapq
import itertools
import math
import multiprocessing
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from tlab.inside.bugs import planted
from tlab.text import TOKENIZERS, BpeTokenizer, Corpus, Tokenizer, corpus_from_text, corpus_names, load_corpus
from tlab.text.corpora import MINIMUM_CHARACTERS, needs_download, validation_start
from tlab.training.checkpoint import Checkpoint
from tlab.ui.opened_models import OpenedModels
from tlab.ui.runs.byte_budget_cache import ByteBudgetCache
from tlab.ui.runs.checkpoint_store import CheckpointStore
from tlab.ui.runs.child_process import ChildProcess
from tlab.ui.runs.limits import Limits, TooLargeError, check_limits
from tlab.ui.runs.messages import (
    ANY_VOCABULARY,
    PAUSE,
    STOP,
    Job,
    Kept,
    RunEnded,
    RunFailed,
    StartFrom,
    naming_tokenizer,
)
from tlab.ui.runs.run import DONE, FAILED, PAUSED, RUNNING, STARTING, STOPPED, WAITING, Run
from tlab.ui.runs.spare_worker import SpareWorker
from tlab.ui.runs.time_estimate import Pace, estimated_seconds, update_pace
from tlab.wording import several

GUESSED_VOCABULARY = 256  # for a corpus that only the worker reads; it checks again with the real size
MAX_RUNS = 500  # in all sessions; each has two curves of 300 points and two times 100 insights
MAX_HISTORY = 12  # runs of one session
MAX_GONE = 1000  # sessions of which it is known that they have left
STEPS_TO_LEARN_FROM = 20  # fewer say little about the speed of the machine
SECONDS_OF_TURN = 60.0  # that a run trains on while others wait; then it pauses by itself, and waits as they do
SECONDS_TO_CLOSE = 20.0  # that what trains may take to pause and be written when the server ends; usually one
BYTES_PER_PARAMETER = 12  # of a paused run: the weight, and two moments
KEPT_OF_OLDER = 0.85  # of what is known of earlier runs, when another ends
SECONDS_TO_BEGIN = 0.7  # from a free worker to the first step: the text is read, and the model made
VALIDATION_SHARE = 0.1  # of a text
MAX_KNOWN_SIZES = 1000  # texts of visitors whose vocabulary is known
SESSION_SHARE = 8  # one session may use an eighth of the store


class BusyError(RuntimeError):
    """No run can start now; the message says why."""


class Archive:
    """Where runs outlive the memory of this server. This one keeps none; for what keeps them see run_archive.py."""

    lasts = False  # whether it keeps anything
    seconds_between_kept = math.inf  # of training, the most that is lost when a server is killed
    own_text_words = "Your text is kept in memory alone, and is gone ten minutes after you close the page."

    @property
    def kept_in(self) -> Path | None:
        """The folder in which it does."""
        return None

    def keep(self, run: Run) -> None:
        """A run has ended, or pauses, or has trained for another while."""

    def note(self, run: Run) -> None:
        """What a visitor may change of a run has changed: its name, and whether it is pinned, shared or deleted."""

    def remove(self, run: Run) -> None:
        """A run was deleted, or has made room for others in the history."""

    def recall(self, session: str) -> list[str]:
        """Bring back what is not in memory; -> names of runs that are damaged."""
        return []

    def keep_study(self, study: Any) -> None:
        """A run of a study (`tlab.ui.studies.study.Study`) has ended."""

    def recall_studies(self, session: str) -> list[Any]:
        """The studies of a browser, the oldest first."""
        return []

    def recall_linked(self, run_id: str) -> None:
        """Bring back a run of any browser, if there is a link to it and it is not in memory."""


class Place(NamedTuple):
    """Of a run that waits."""

    number: int  # 1 for the first
    seconds: float | None  # until it begins, as far as that can be known now


class Runs:
    """All runs of all sessions, and the slots in which they train: worker processes, by default as many as cores."""

    def __init__(self, limits: Limits, slots: int | None = None) -> None:
        self.limits = limits
        self.store = CheckpointStore(limits.store, limits.store // SESSION_SHARE)
        self.slots = slots or multiprocessing.cpu_count()
        self.free_slots = self.slots
        self.condition = threading.Condition()
        self.waiting: deque[Run] = deque()
        self.runs: OrderedDict[str, Run] = OrderedDict()  # oldest first
        self.shown_runs: dict[str, Run] = {}  # page -> the run on its Train tab
        self.linked: dict[str, str] = {}  # page -> the id of another visitor's run that a link opened on it last
        self.gone: OrderedDict[str, None] = OrderedDict()  # sessions that have left lately, in this order
        self.opened = OpenedModels(limits.public)  # what can be looked into beside runs
        self.archive = Archive()
        self.expect: Callable[[str, str], None] = lambda session, page: None  # told of each new run; see presence.py
        # Where the weights are that runs of a session begin with; see models_at_hand.py.
        self.find_weights: Callable[[str, StartFrom], Checkpoint | None] = lambda session, start: None
        self.ended: Callable[[Run], None] = lambda run: None  # told of each when its worker is free; see classroom
        self.spare = SpareWorker()
        self.pace: Pace | None = None  # of this machine; None until it is measured
        self.pace_is_tried = False  # whether a run has corrected it
        # Of whole runs that ended: what they took and what was expected of them, the older the less.
        self.seconds_taken = self.seconds_foreseen = 0.0

    # -------------------------------------------------------------------------------- a visitor's runs

    def start(self, session: str, job: Job, page: str = "") -> Run:
        """Start a run, or put it into the queue; an active run of the page ends, and stays in the history.

        Without a page the session is one of a single page.

        Raises:
            ValueError: the settings are not allowed, or cost too much (`TooLargeError`).
            BusyError: too many are waiting already.
        """
        self.check(job)
        self.check_queue(page or session)
        self.stop_others(session, page or session)  # last, so that a visitor who is refused keeps the present run
        job = job._replace(limits=self.limits, seconds_between_kept=self.archive.seconds_between_kept)
        run = Run(session, job, self.limits, page)
        run.seconds_expected = self.expected_seconds(job)
        self.add(run)
        self.show(run.page, run)
        self.enqueue(run)
        if session in self.gone:  # the page was closed while its last order waited
            self.end_session(session)
        return run

    def start_unlisted(self, run: Run) -> None:
        """Put a run into the queue that has no place in the history, nor on the Train tab."""
        run.listed, run.seconds_expected = False, self.expected_seconds(run.job)
        self.runs[run.id] = run
        self.expect(run.session, run.page)
        self.enqueue(run)

    def resume(self, run: Run, pause_after: int | None = None) -> None:
        """Resume a paused run, bit for bit as if it had never paused; after `pause_after` steps it pauses again.

        Raises:
            ValueError: its models had to make room for those of other runs.
            BusyError: too many are waiting already.
        """
        if run.state != PAUSED:
            return
        job = self.resumed_job(run)
        self.check_queue(run.page)
        self.stop_others(run.session, run.page)
        run.job = job._replace(pause_after=pause_after, seconds_between_kept=self.archive.seconds_between_kept)
        run.seconds_used, run.awaits_page, run.note = 0.0, False, ""
        self.show(run.page, run)
        self.enqueue(run)

    def resumed_job(self, run: Run) -> Job:
        """The job of a paused run from where it is.

        Raises:
            ValueError: its models had to make room for those of other runs.
        """
        checkpoints = [self.store.get((run.id, side)) for side in range(len(run.sides))]
        ready = [c for c in checkpoints if c and (c.optimizer_state or c.divergence)]
        if len(ready) < len(run.sides):
            raise ValueError(
                "This run was removed to make room for other visitors' runs, so it cannot be resumed. Start it again."
            )
        plans = tuple(plan._replace(checkpoint=c) for plan, c in zip(run.job.plans, ready, strict=True))
        return run.job._replace(plans=plans)

    def adopt(self, run: Run, checkpoints: list[list[Checkpoint]]) -> None:
        """Add a run that was finished elsewhere (`Run.finished`), with some checkpoints of each side, in order."""
        self.add(run)
        for side, of_side in enumerate(checkpoints):
            for checkpoint in of_side:
                self.store.put(run.session, (run.id, side), checkpoint, keep=True)

    def history(self, session: str) -> list[Run]:
        """Every run of a session, newest first, but those that are deleted, and those of a study."""
        return [run for run in self.of_session(session) if run.listed and not run.deleted]

    def of_session(self, session: str) -> list[Run]:
        """Every run of a session that is still known, newest first."""
        return [run for run in reversed(list(self.runs.values())) if run.session == session]

    def get(self, run_id: str | None) -> Run | None:
        return self.runs.get(run_id) if run_id else None

    def get_owned(self, session: str, run_id: str | None) -> Run | None:
        """The run with this id, but only if it belongs to this session, and is not deleted."""
        run = self.get(run_id)
        return run if run is not None and run.session == session and not run.deleted else None

    def get_visible(self, session: str, run_id: str | None) -> Run | None:
        """The run with this id, if it belongs to this session or whoever made it has made a link to it."""
        run = self.get(run_id)
        is_linked = run is not None and run.shared and not run.active and not run.deleted
        return run if is_linked else self.get_owned(session, run_id)

    def brought(self, session: str, page: str) -> Run | None:
        """The run of another visitor that a link opened on this page last, as long as it may be seen."""
        return self.get_visible(session, self.linked.get(page))

    def shown(self, page: str) -> Run | None:
        """The run on the Train tab of a page; None for the shipped one."""
        return self.shown_runs.get(page)

    def show(self, page: str, run: Run | None) -> None:
        if run is None:
            self.shown_runs.pop(page, None)
        else:
            self.shown_runs[page] = run
            run.page = page

    def hide(self, run: Run) -> None:
        """Take a run off the Train tab of every page."""
        for page, shown in list(self.shown_runs.items()):
            if shown is run:
                self.show(page, None)

    def add(self, run: Run) -> None:
        """Add a run to the history; the oldest that is not pinned makes room."""
        others = [other for other in self.of_session(run.session) if other.listed]  # a deleted one may come back
        run.place = next(place for place in itertools.count() if place not in {other.place for other in others})
        self.runs[run.id] = run
        self.expect(run.session, run.page)
        mine = self.history(run.session)
        for old in [r for r in reversed(mine) if not r.pinned and r is not run][: max(0, len(mine) - MAX_HISTORY)]:
            self.drop(old)
        while len(self.runs) > MAX_RUNS:
            self.forget(next(iter(self.runs.values())))

    def drop(self, run: Run) -> None:
        """End a run and remove everything that is kept of it, wherever."""
        run.deleted = True  # for the one who writes it meanwhile; see `keep`
        self.forget(run)
        self.archive.remove(run)

    def forget(self, run: Run) -> None:
        """End a run and remove everything of it from memory."""
        run.gives_way = False
        self.order(run, STOP)
        self.runs.pop(run.id, None)
        self.store.discard(run.id)
        self.hide(run)

    def mark_gone(self, session: str, gone: bool) -> None:
        """Note that a visitor has left, or is here again."""
        self.gone.pop(session, None)
        if gone:
            self.gone[session] = None
        while len(self.gone) > MAX_GONE:
            self.gone.popitem(last=False)

    def end_session(self, session: str) -> None:
        """A visitor has left: end the active run, and drop everything of all; a deletion can no longer be undone."""
        for run in self.of_session(session):
            (self.drop if run.deleted else self.forget)(run)

    def delete(self, run: Run) -> None:
        """End a run and take it out of the history; the last one can be brought back."""
        self.stop(run)
        for other in self.of_session(run.session):
            if other.deleted:
                self.drop(other)
        run.deleted = True
        self.archive.note(run)
        self.hide(run)

    def last_deleted(self, session: str) -> Run | None:
        """What `restore` would bring back."""
        return next((run for run in self.of_session(session) if run.deleted), None)

    def restore(self, run: Run) -> None:
        """Bring a run back that was deleted."""
        run.deleted = False
        if not run.active:  # else it is kept when it ends
            self.archive.keep(run)

    # -------------------------------------------------------------------------------- orders

    def stop_others(self, session: str, page: str) -> None:
        """End what a page has started, which may have one run at a time, and any study. A paused run may stay."""
        for run in self.of_session(session):
            if run.active and (run.page == page or not run.listed):
                self.stop(run)

    def stop(self, run: Run) -> None:
        """End a run; its model is kept. Its worker process is gone within a second."""
        run.gives_way = False
        if run.state == PAUSED:
            run.state = STOPPED
            self.archive.note(run)
        self.order(run, STOP)

    def pause(self, run: Run) -> None:
        """Let a run finish its step and store its models, to be resumed later."""
        run.gives_way = False
        self.order(run, PAUSE)

    def order(self, run: Run, order: str) -> None:
        """Pass an order on. A waiting run has no worker to obey it, so its thread has to be woken."""
        run.give_order(order)
        with self.condition:
            self.condition.notify_all()

    # -------------------------------------------------------------------------------- checks

    def check(self, job: Job) -> None:
        """Refuse what cannot be trained, before a process is occupied with it."""
        if job.text is None and job.corpus not in corpus_names():  # a name, never a path
            raise ValueError(f"There is no text called {job.corpus!r} here. Choose one of the list.")
        if job.text is not None and len(job.text) > self.limits.text:
            raise TooLargeError(
                f"Your text has {len(job.text):,} characters; {self.limits.text:,} are allowed here. Take a part of it."
            )
        configs = [plan.configs(ANY_VOCABULARY) for plan in job.plans]
        check_limits(self.limits, configs)  # before a text is read for a model that is too large with any vocabulary
        vocab_size = GUESSED_VOCABULARY
        with naming_tokenizer(job):
            if job.text is not None:
                longest = max(config.context_length for config, _ in configs)
                vocab_size = own_corpus(job.text, job.reader, longest).tokenizer.vocab_size
            elif job.starts and not needs_download(job.corpus):
                vocab_size, _ = corpus_size(job.corpus, job.reader)
        configs = [plan.configs(vocab_size) for plan in job.plans]
        check_limits(self.limits, configs)
        for plan, (config, _) in zip(job.plans, configs, strict=True):
            if plan.bug:
                planted(plan.bug, config)

    def check_queue(self, page: str) -> None:
        """Refuse a run for which the queue has no room; a waiting run of the same page would leave it."""
        with self.condition:
            others = sum(run.page != page for run in self.waiting)
            if others >= self.limits.waiting:
                waiting = "1 run is" if others == 1 else f"{others} runs are"
                raise BusyError(f"{waiting} waiting already. Try again in a minute.")

    # -------------------------------------------------------------------------------- the queue

    def in_turn(self) -> list[Run]:
        """Those who wait, in the order in which they will begin.

        Short runs come first, so that nobody waits long for a little; and what a run has waited counts for it, so that
        a long one waits for those who came later no longer than it takes itself. A run of a study counts as all that is
        left of the study. Call it with the condition in hand.
        """
        now = time.monotonic()

        def key(run: Run) -> float:
            return run.seconds_to_train + run.seconds_after - (now - run.waiting_since)

        return sorted(self.waiting, key=key)

    def place_in_queue(self, run: Run) -> Place | None:
        """When the turn of a waiting run will come; None if it does not wait."""
        with self.condition:
            if run not in self.waiting:
                return None
            ahead = self.in_turn()
            ahead = ahead[: ahead.index(run)]
            others = [*(each for each in self.runs.values() if each.state in (STARTING, RUNNING)), *ahead]
            if any(each.seconds_expected is None for each in others):
                return Place(len(ahead) + 1, None)
            ratio = self.taken_ratio
            free = [0.0] * self.slots  # seconds until each worker has time for the next run
            for each in others:
                left = each.seconds_left  # by its own pace
                seconds = ratio * (each.seconds_to_train + SECONDS_TO_BEGIN) if left is None else left
                heapq.heappush(free, heapq.heappop(free) + min(seconds, SECONDS_OF_TURN))
            return Place(len(ahead) + 1, free[0])

    @property
    def taken_ratio(self) -> float:
        """Seconds that runs take over those that were expected: those that ended lately, and those that train now.

        The sums and not the last run alone: those who wait wait for several, and where others are at work on the
        machine one run may take three times as long as the next.
        """
        taken, expected = self.seconds_taken, self.seconds_foreseen
        for run in list(self.runs.values()):
            if run.state == RUNNING and run.running_since and run.seconds_expected and not run.steps_before:
                taken += time.monotonic() - run.running_since
                expected += run.seconds_expected * run.step / run.steps
        return taken / expected if taken and expected else 1.0

    def learn_from(self, run: Run, seconds: float) -> None:
        """Correct what others are told by what a run has taken, if it was one from its first step to its last."""
        if run.state == DONE and not run.steps_before and run.seconds_expected is not None:
            self.seconds_taken = KEPT_OF_OLDER * self.seconds_taken + seconds
            self.seconds_foreseen = KEPT_OF_OLDER * self.seconds_foreseen + run.seconds_expected + SECONDS_TO_BEGIN

    def expected_seconds(self, job: Job) -> float | None:
        """How long a run will take from its start, if it has a worker for itself; None before the pace is known."""
        if self.pace is None:
            return None
        vocab_size, validation_tokens = text_size(job)
        return estimated_seconds(self.pace, [plan.configs(vocab_size) for plan in job.plans], validation_tokens)

    def seconds_of_room(self, job: Job, count: int) -> float | None:
        """How long so many runs of these settings take in all slots together; None before the pace is known."""
        seconds = self.expected_seconds(job)
        return None if seconds is None else (seconds + SECONDS_TO_BEGIN) * math.ceil(count / self.slots)

    def prepare(self) -> None:
        """Have a worker process ready, so that the next run starts at once. The first one measures the pace."""
        self.spare.prepare()
        if self.pace is None:
            threading.Thread(target=self.measure, daemon=True, name="tlab-measure").start()

    def measure(self) -> None:
        self.pace = self.spare.measure() or self.pace

    def update_pace(self, run: Run) -> None:
        """Improve the next estimate by what this run took."""
        if self.pace is None or run.vocab_size is None or run.step < STEPS_TO_LEARN_FROM:
            return
        configs = [plan.configs(run.vocab_size) for plan in run.job.plans]
        seen = [
            (config, training.batch_size, side.step, side.seconds)
            for (config, training), side in zip(configs, run.sides, strict=True)
        ]
        self.pace, self.pace_is_tried = update_pace(self.pace, seen), True

    def close(self) -> None:
        """End all that trains; where runs outlive the server it pauses, and the next server can resume it."""
        if self.archive.lasts:
            waited = list(self.waiting)
            for run in list(self.runs.values()):
                if run.active:
                    (self.pause if run.listed and not run.deleted else self.stop)(run)
            with self.condition:
                self.condition.wait_for(lambda: self.free_slots == self.slots, SECONDS_TO_CLOSE)
            for run in waited:  # they had no worker whose end could be waited for
                self.keep(run)
        for run in list(self.runs.values()):
            self.forget(run)
        self.spare.end()

    # -------------------------------------------------------------------------------- threads

    def enqueue(self, run: Run) -> None:
        """Put a run into the queue, with a thread that sees it through."""
        with self.condition:
            run.order, run.terminate_at, run.state = None, float("inf"), WAITING
            run.waiting_since = time.monotonic()
            self.waiting.append(run)
            self.condition.notify_all()
        threading.Thread(target=self.supervise, args=(run,), daemon=True, name=f"tlab-run-{run.id}").start()

    def supervise(self, run: Run) -> None:
        """In a thread of the server: wait for a slot, let a worker process train until the run ends, free the slot."""
        with self.condition:
            self.condition.wait_for(lambda: run.order or (self.free_slots > 0 and self.in_turn()[0] is run))
            self.waiting.remove(run)
            self.condition.notify_all()  # whose turn it is now may have found another one's before
            if run.order:
                run.state = STOPPED if run.order == STOP or run.step == 0 else PAUSED
            else:
                run.state = STARTING
                self.free_slots -= 1
        if not run.active:
            self.keep(run)  # it may have trained before it waited
            return
        began, worker = time.monotonic(), None
        try:
            worker = self.spare.take()
            self.relay_messages(run, worker)
        except Exception:  # whatever it was, the visitor must not wait forever
            run.error = "The server could not run this training. Try again."
            run.state = FAILED
            raise
        finally:
            with run.lock:
                run.worker = None
            if worker is not None:
                worker.end()
            self.learn_from(run, time.monotonic() - began)
            self.keep(run)
            with self.condition:
                self.free_slots += 1
                self.condition.notify_all()
            self.take_up_again(run)
        self.spare.prepare()
        self.ended(run)

    def keep(self, run: Run) -> None:
        """Let a run of the history outlive the server, whether it has ended, waits or trains on."""
        if run in self.history(run.session):
            self.archive.keep(run)
            if run.deleted and run.id not in self.runs:  # since then
                self.archive.remove(run)

    def has_had_turn(self, run: Run, seconds: float) -> bool:
        """Whether a run that has trained for so long has had its turn: others wait, and its models can be kept."""
        numbers = sum(side.num_parameters or 0 for side in run.sides)
        kept = BYTES_PER_PARAMETER * numbers < self.limits.store // SESSION_SHARE
        return bool(self.waiting) and seconds > SECONDS_OF_TURN and run.job.pause_after is None and kept

    def take_up_again(self, run: Run) -> None:
        """Put a run that gave way back into the queue; one that was paused or stopped meanwhile stays where it is."""
        if not run.gives_way:
            return
        try:
            if run.state == PAUSED and run.id in self.runs:
                run.job = self.resumed_job(run)
                self.enqueue(run)
        except ValueError as error:
            run.note = str(error)
        finally:
            run.gives_way = False

    def first_weights(self, run: Run) -> dict[str, Checkpoint]:
        """What a worker has to be sent besides the job, by sha256. They are looked up now, as no run holds them.

        Raises:
            ValueError: they are not here any more.
        """
        found = {}
        for start in run.job.first_weights:
            checkpoint = self.find_weights(run.session, start)
            if checkpoint is None:
                raise ValueError(gone_words(f"of {start}"))
            found[start.sha256] = dataclasses.replace(checkpoint, optimizer_state={}, records=[])
        return found

    def relay_messages(self, run: Run, worker: ChildProcess) -> None:
        """Pass the worker's messages on to the run until it ends in one way or another."""
        try:
            weights = self.first_weights(run)
        except ValueError as error:
            run.error, run.state = str(error), FAILED
            return
        with run.lock:
            run.worker = worker
            worker.connection.send(run.job)
            if weights:
                worker.connection.send(weights)
                weights.clear()
            run.job = run.job.anew()  # the worker has what it goes on from
            if run.order:
                worker.connection.send(run.order)
        began = time.monotonic()
        deadline = began + self.limits.seconds - run.seconds_used
        last_word, state = None, FAILED
        while True:
            now = time.monotonic()
            if now > run.terminate_at:
                state = STOPPED
                break
            if now > deadline and run.order is None:
                run.note = f"Stopped after {self.limits.seconds:.0f} seconds, the most that one run may take here."
                run.give_order(STOP)
            if run.order is None and self.has_had_turn(run, now - began):
                run.gives_way = True
                run.give_order(PAUSE)
            if not worker.connection.poll(0.05):
                continue
            try:
                message = worker.connection.recv()
            except (EOFError, OSError):
                run.error = (
                    "The process that trained this model ended unexpectedly, perhaps because it ran out of memory."
                )
                state = FAILED
                break
            if isinstance(message, (RunEnded, RunFailed)):
                last_word = message
                break
            run.apply_message(message, self.store)
            if isinstance(message, Kept):
                self.keep(run)
        run.seconds_used += time.monotonic() - began
        # First the process, then the state: whoever reads "stopped" may rely on it.
        with run.lock:
            run.worker = None
        worker.end()
        if last_word is None:
            run.state = state
        else:
            run.apply_message(last_word, self.store)
            self.update_pace(run)
        if run.id not in self.runs:  # dropped while it ran
            self.store.discard(run.id)


def gone_words(which: str) -> str:
    """That a run cannot begin with weights, of which `which` says which they are."""
    return (
        f"The weights {which} are not here any more, so no run can begin with them. Choose others to start from, or "
        "random weights."
    )


def tokenizer_of(text: str, reader: str | Tokenizer) -> Tokenizer:
    """A tokenizer for a visitor's text, which is refused if it has one character only."""
    if isinstance(reader, Tokenizer):
        return reader
    tokenizer = TOKENIZERS[reader].from_text(text)
    if tokenizer.vocab_size < 2:
        raise ValueError("Your text repeats a single character; give one with at least two different ones.")
    return tokenizer


def own_corpus(text: str, reader: str | Tokenizer, context_length: int) -> Corpus:
    """A visitor's text, refused if there is nothing in it to learn, or less than one sequence to train on."""
    if len(text) < MINIMUM_CHARACTERS:
        given = f"has only {several(len(text), 'character')}" if text else "is empty"
        needed = max(MINIMUM_CHARACTERS, characters_to_train_on(context_length + 1))
        raise ValueError(f"Your text {given}; give {needed:,} characters or more.")
    corpus = corpus_from_text(text, tokenizer=tokenizer_of(text, reader))
    tokens = len(corpus.train)
    if tokens <= context_length:
        needed = characters_to_train_on(math.ceil((context_length + 1) * validation_start(text) / tokens))
        about = "about " if isinstance(corpus.tokenizer, BpeTokenizer) else ""  # its tokens depend on the text
        raise ValueError(
            f"Your text has {len(text):,} characters, too few for a context length of {context_length:,}: "
            f"give {about}{needed:,} or more, or take a context length of at most {tokens - 1:,}."
        )
    return corpus


def characters_to_train_on(count: int) -> int:
    """Length of the shortest text with so many characters before its last tenth."""
    return count + (count - 1) // 9


@functools.lru_cache(maxsize=64)
def corpus_size(name: str, reader: str | Tokenizer) -> tuple[int, int]:
    corpus = load_corpus(name, reader)
    return corpus.tokenizer.vocab_size, len(corpus.validation)


KNOWN_SIZES: ByteBudgetCache[tuple[str, str], int] = ByteBudgetCache(MAX_KNOWN_SIZES)


def own_vocab_size(text: str, tokenizer: str) -> int:
    """That of a visitor's text, which is read once, however often it is asked for; of it only a digest is kept."""
    key = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest(), tokenizer
    size = KNOWN_SIZES.get(key)
    if size is None:
        size = tokenizer_of(text, tokenizer).vocab_size
        KNOWN_SIZES.put(key, size, 1)
    return size


def text_size(job: Job) -> tuple[int, int]:
    """Vocabulary and validation tokens of what a run reads; a guess while they are not known.

    Raises:
        ValueError: nothing can be learned from a visitor's text.
    """
    if job.text is not None:
        known = job.reader.vocab_size if isinstance(job.reader, Tokenizer) else own_vocab_size(job.text, job.reader)
        return known, round(VALIDATION_SHARE * len(job.text))
    return (GUESSED_VOCABULARY, 0) if needs_download(job.corpus) else corpus_size(job.corpus, job.reader)
