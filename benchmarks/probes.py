"""`python -m benchmarks.probes`: what each probe of the default model costs, on 256 tokens of text.

The default model reads 64 tokens at once. A probe that looks at one text is asked for four windows, one after another;
one that reads text by itself is asked once, for four windows; all other options are their defaults. Reported is the
median of the processor time of several turns, each with a model and a trace made again, as at a first look; beside it
that of one look with every option at its default, which may read more.
"""

from __future__ import annotations

import dataclasses
import statistics
import time
from typing import NamedTuple

import tyro

from tlab.config import options
from tlab.inside import PROBES, Probe, Subject
from tlab.machine import one_blas_thread
from tlab.nn.config import ModelConfig
from tlab.nn.model import Transformer
from tlab.text import DEFAULT_CORPUS, Corpus, load_corpus
from tlab.training.checkpoint import Checkpoint
from tlab.training.config import TrainConfig

TOKENS = 256
MOST = 50e-3  # seconds


class Cost(NamedTuple):
    """One probe, measured."""

    name: str
    seconds: float  # of processor time, for 256 tokens
    default: float  # likewise, with every option at its default


def default_checkpoint(corpus: Corpus) -> Checkpoint:
    """The default model with its first weights: what they are makes no difference to the time."""
    config = ModelConfig(vocab_size=corpus.tokenizer.vocab_size)
    weights = {name: param.data for name, param in Transformer(config).parameters.items()}
    return Checkpoint(config, TrainConfig(), corpus.describe(), 0, weights)


READS = {
    ("count",): {"count": 4},
    ("tokens",): {"tokens": TOKENS},
    ("batch_size", "batches"): {"batch_size": 1, "batches": 4},
    ("batch_size",): {"batch_size": 4},
}
"""The options by which a probe says how much it reads by itself, and their values for 256 tokens."""


def four_windows(kind: type[Probe]) -> dict[str, int] | None:
    """Those options of a probe, or None where it reads the given text alone."""
    return next((values for names, values in READS.items() if set(names) <= set(options(kind))), None)


def cost(name: str, checkpoint: Checkpoint, corpus: Corpus, turns: int) -> Cost:
    """The medians over turns."""
    context, kind = checkpoint.model_config.context_length, PROBES[name]
    texts = [corpus.tokenizer.decode(corpus.validation[start : start + context]) for start in range(0, TOKENS, context)]
    values = four_windows(kind)
    read = median_seconds(dataclasses.replace(kind(), **(values or {})), checkpoint, corpus,
                          texts[:1] if values else texts, turns)  # fmt: skip
    return Cost(name, read, median_seconds(kind(), checkpoint, corpus, texts[:1], turns))


def median_seconds(probe: Probe, checkpoint: Checkpoint, corpus: Corpus, texts: list[str], turns: int) -> float:
    """Of processor time, for all texts one after another."""
    seconds = []
    for _ in range(turns + 1):
        began = time.process_time()
        for text in texts:
            probe.rows(Subject(checkpoint, text, corpus))
        seconds.append(time.process_time() - began)
    return statistics.median(seconds[1:])  # the first turn loads what is loaded once


def main(turns: int = 9) -> None:
    """Measure every probe and say whether it stays below the target.

    Args:
        turns: the median is over so many.
    """
    corpus = load_corpus(DEFAULT_CORPUS)
    checkpoint = default_checkpoint(corpus)
    print(f"{TOKENS} tokens, processor time, at most {MOST * 1e3:.0f} ms")
    with one_blas_thread():
        for name in PROBES:
            found = cost(name, checkpoint, corpus, turns)
            verdict = "reached" if found.seconds < MOST else "MISSED"
            print(f"  {name:<12}{found.seconds * 1e3:>8.1f} ms   {verdict:<10}"
                  f"{found.default * 1e3:>8.1f} ms by default", flush=True)  # fmt: skip


if __name__ == "__main__":
    tyro.cli(main)
