"""Our side of every comparison. A job makes whatever it needs, and returns a callable that does n units of work."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.cases import size_of
from tlab.generate import Sampling, draw, generate_tokens, sampling_steps
from tlab.nn.config import ModelConfig
from tlab.nn.model import Transformer
from tlab.text import Corpus, Tokenizer, corpus_from_text
from tlab.text.bpe import count_merges
from tlab.text.corpora import CORPORA
from tlab.training.config import ComputeConfig, TrainConfig
from tlab.training.trainer import Trainer
from tlab.types import Array

Job = Callable[[int], "float | None"]
"""Does n units of work; returns the seconds itself where the caller's clock would see more than the work."""

MEGABYTE = 1_000_000
ENDLESS = 1_000_000  # steps: a trainer that never comes to its end


def random_corpus(vocab_size: int) -> Corpus:
    """Random characters: the time of a step depends on the shapes and not on the text."""
    rng = np.random.default_rng(0)
    characters = [chr(0x100 + i) for i in range(vocab_size)]
    ids = np.concatenate([np.arange(vocab_size), rng.integers(0, vocab_size, 100_000)])
    return corpus_from_text("".join(characters[i] for i in ids))


def initial_weights(config: ModelConfig) -> dict[str, Array]:
    """Weights for the peers: normal with a deviation of 0.02; scales 1, biases and shifts 0.

    Not those of a `Transformer`: to make one sets the allocator of its process (`tlab.machine`).
    """
    rng = np.random.default_rng(0)
    weights = {}
    for name, shape in Transformer.parameter_shapes(config).items():
        values = rng.normal(0, 0.02, shape) if len(shape) >= 2 else np.full(shape, float(name.endswith("scale")))
        weights[name] = values.astype(np.float32)
    return weights


def training(size: str, family: str, threads: str) -> Job:
    """Training steps, everything that `Trainer` does in one included."""
    config, batch_size = size_of(size, family)
    trainer = make_trainer(config, batch_size, random_corpus(config.vocab_size), int(threads))

    def work(steps: int) -> None:
        for _ in range(steps):
            trainer.train_step()

    return work


def make_trainer(config: ModelConfig, batch_size: int, corpus: Corpus, threads: int = 1, **training: Any) -> Trainer:
    """A trainer for steps without end; it validates at the last one only, which never comes."""
    settings = TrainConfig(steps=ENDLESS, batch_size=batch_size, validation_every=0, **training)
    return Trainer(config, settings, corpus, compute=ComputeConfig(threads=threads))


def generation(size: str, family: str, kind: str, prompt_length: str, text_length: str) -> Job:
    """Sampled tokens, in texts of `text_length` after a random prompt, which is read again for each of them."""
    model = Transformer(size_of(size, family).config)
    corpus = random_corpus(model.config.vocab_size)
    prompt = corpus.tokenizer.decode(corpus.train[-int(prompt_length) :])
    write = {"cached": cached_generation, "uncached": uncached_generation}[kind](model, corpus.tokenizer, prompt)

    def work(tokens: int) -> None:
        for _ in range(tokens // int(text_length)):
            write(int(text_length))

    return work


def cached_generation(model: Transformer, tokenizer: Tokenizer, prompt: str) -> Job:
    """By the function that users call."""

    def work(tokens: int) -> None:
        for _ in generate_tokens(model, tokenizer, prompt, max_new_tokens=tokens):
            pass

    return work


def uncached_generation(model: Transformer, tokenizer: Tokenizer, prompt: str) -> Job:
    """By reading the whole text again for each new token."""

    def work(tokens: int) -> None:
        rng = np.random.default_rng(0)
        ids = tokenizer.encode(prompt).tolist()
        for _ in range(tokens):
            logits, _ = model.forward(np.array([ids[-model.config.context_length :]]))
            ids.append(draw(sampling_steps(logits[0, -1], Sampling(0.8)).probabilities, rng))

    return work


def learning_bpe(vocab_size: str) -> Job:
    """Byte pairs of a megabyte of text, counted anew; the lab keeps them for a text that it has seen."""
    text = CORPORA["shakespeare"]().text()[:MEGABYTE]

    def work(texts: int) -> None:
        for _ in range(texts):
            count_merges(text, int(vocab_size))

    return work


def importing(module: str, what: str) -> Job:
    """Imports of a module in fresh processes; `what` is "statement" or "process"."""
    program = f"import time; began = time.perf_counter(); import {module}; print(time.perf_counter() - began)"
    # As on any machine where Python keeps what it compiled: the first import, which is not counted, fills the folder.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    compiled = tempfile.TemporaryDirectory(prefix="tlab-benchmark-")
    environment["PYTHONPYCACHEPREFIX"] = compiled.name

    def work(imports: int) -> float:
        assert compiled  # keeps the folder for as long as the job lives
        seconds = 0.0
        for _ in range(imports):
            began = time.perf_counter()
            done = subprocess.run(
                [sys.executable, "-c", program], env=environment, check=True, stdout=subprocess.PIPE, text=True
            )
            seconds += float(done.stdout) if what == "statement" else time.perf_counter() - began
        return seconds

    return work


def starting(job: str, *arguments: str) -> Job:
    """Fresh processes that make a job and do one unit of its work, from start to end."""
    words = ", ".join(repr(argument) for argument in arguments)
    module, function = job.split(":")
    program = f"from {module} import {function}; {function}({words})(1)"

    def work(processes: int) -> None:
        for _ in range(processes):
            subprocess.run([sys.executable, "-c", program], check=True)

    return work
