"""Training in a process of its own: it reads one job, sends what happens, and ends.

A process serves one run and no other, so nothing of one visitor can be left for the next, and its memory goes back
whole. It never imports Gradio: it is there in a third of a second.
"""

from __future__ import annotations

import dataclasses
import signal
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

from tlab.checkpoint import Checkpoint
from tlab.config import ModelConfig, TrainConfig
from tlab.generate import generate_tokens
from tlab.records import StepRecord
from tlab.text import Corpus, Tokenizer, corpus_from_text, load_corpus
from tlab.train import Trainer
from tlab.ui.limits import Limits, check_limits

SECONDS_BETWEEN_RECORDS = 0.125  # eight pictures a second are all that anybody sees
SECONDS_BETWEEN_SAMPLES = 1.5  # a text that changes faster cannot be read
SAMPLE_TOKENS = 240
SAMPLE_SHARE = 0.05  # of the time at most goes into samples, however slow the model is
EXCERPT_CHARACTERS = 64
LARGEST_SNAPSHOT = 8 * 2**20  # bytes of weights that are worth sending while the training runs


class Job(NamedTuple):
    """What to train, as plain values: the corpus is read and the configs are checked where the work is done."""

    corpus: str  # a name of `corpus_names()`, or that of the text
    text: str | None  # a text of the visitor's own, instead of a corpus
    tokenizer: str
    model: dict[str, Any]  # the fields of ModelConfig but vocab_size
    training: dict[str, Any]  # the fields of TrainConfig
    checkpoint: Checkpoint | None = None  # go on from here
    limits: Limits | None = None  # what it may cost, once the vocabulary is known


class Started(NamedTuple):
    """The model stands; the first step comes next."""

    num_parameters: int
    vocab_size: int
    excerpt: str  # the beginning of the text that is never trained on


class Progress(NamedTuple):
    """Some more steps."""

    records: list[StepRecord]


class Sample(NamedTuple):
    """A text that the model wrote after `step` updates, and that model, where it is small enough to send."""

    step: int
    text: str
    snapshot: Checkpoint | None


class Ended(NamedTuple):
    """The last message: all of the run, ready to go on from."""

    why: str  # "done", or the order that ended it
    checkpoint: Checkpoint


class Failed(NamedTuple):
    """The last message of a run that could not be, in words for the visitor."""

    message: str


PAUSE, STOP = "pause", "stop"  # the orders that a worker takes while it trains


def serve(connection: Connection) -> None:
    """The life of a worker process."""
    from threadpoolctl import threadpool_limits

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the server ends its workers itself
    threadpool_limits(limits=1)  # as many workers as cores: more threads would only stand in each other's way
    try:
        job = connection.recv()
        try:
            for message in work(job, connection):
                connection.send(message)
        except (ValueError, MemoryError) as error:  # all errors of the core that are the settings' fault
            connection.send(Failed(str(error) or "This model needs more memory than there is; make it smaller."))
    except (EOFError, OSError):  # the server is gone: nobody waits for the rest
        return


def work(job: Job, connection: Connection) -> Iterator[Any]:
    """Train, and yield what there is to tell. An order on the connection ends it after the step."""
    corpus = read_corpus(job)
    trainer = make_trainer(job, corpus)
    tokenizer = corpus.tokenizer
    excerpt = tokenizer.decode(corpus.validation[: EXCERPT_CHARACTERS * 4])[:EXCERPT_CHARACTERS]
    yield Started(trainer.model.num_parameters, tokenizer.vocab_size, excerpt)

    fresh: list[StepRecord] = []
    order = None
    sent_at = time.perf_counter()
    sample_at = sent_at + SECONDS_BETWEEN_SAMPLES / 2
    for record in trainer:
        fresh.append(record)
        now = time.perf_counter()
        if now - sent_at >= SECONDS_BETWEEN_RECORDS:
            yield Progress(fresh)
            fresh, sent_at = [], now
        if now >= sample_at and not trainer.finished:
            yield Sample(trainer.step, write_sample(trainer, corpus), snapshot(trainer))
            spent = time.perf_counter() - now
            sample_at = now + max(SECONDS_BETWEEN_SAMPLES, spent / SAMPLE_SHARE)
        if connection.poll():
            order = connection.recv()
            break
    yield Progress(fresh)
    if trainer.divergence is None and order != STOP:
        yield Sample(trainer.step, write_sample(trainer, corpus), None)
    yield Ended(order or "done", trainer.checkpoint())


def read_corpus(job: Job) -> Corpus:
    """The visitor's own text, or a corpus by its name."""
    if job.text is not None:
        return corpus_from_text(job.text, job.corpus, tokenizer=job.tokenizer)
    return load_corpus(job.corpus, job.tokenizer)


def make_trainer(job: Job, corpus: Corpus) -> Trainer:
    """A new run, or one that goes on."""
    if job.checkpoint is not None:
        return Trainer.resume(job.checkpoint, corpus)
    config = ModelConfig.from_json({**job.model, "vocab_size": corpus.tokenizer.vocab_size})
    training = TrainConfig.from_json(job.training)
    if job.limits is not None:
        check_limits(job.limits, config, training)
    return Trainer(config, training, corpus)


def write_sample(trainer: Trainer, corpus: Corpus) -> str:
    """What the model writes now: always from the same seed, so that a difference is the training's."""
    prompt = first_prompt(corpus.tokenizer, fallback=corpus.tokenizer.decode(corpus.validation[:1]))
    tokens = generate_tokens(trainer.model, corpus.tokenizer, prompt, max_new_tokens=SAMPLE_TOKENS, seed=0)
    return "".join(map(str, tokens))


def first_prompt(tokenizer: Tokenizer, fallback: str) -> str:
    """A line's end, behind which anything may begin; where the vocabulary has none, `fallback`."""
    try:
        tokenizer.encode("\n")
    except ValueError:
        return fallback
    return "\n"


def snapshot(trainer: Trainer) -> Checkpoint | None:
    """The model as it is now, to look into and to write with while the training goes on."""
    if trainer.model.parameters.data.nbytes > LARGEST_SNAPSHOT:
        return None
    return dataclasses.replace(trainer.checkpoint(), optimizer_state={}, records=[])
