"""Train the stored runs: `python -m tlab.false_winners.make_runs`, some five minutes of one core.

The model is small enough for hundreds of runs, and so is the text: of a longer one nothing would be learned by heart.
"""

from __future__ import annotations

import dataclasses
import io
import itertools
import json
import math
from collections import Counter
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from tlab.cost import num_parameters
from tlab.false_winners.stored_runs import (
    ABOUT,
    FILE,
    HIGH_RATE,
    LEAKED,
    LONG,
    SEEDS_PER_ORDER,
    SOUND,
    SOUND_RATE,
    TRIED_RATES,
    TWICE_AS_WIDE,
    UNSTABLE,
    group_at,
    packed,
)
from tlab.files import write_atomically
from tlab.nn.config import ModelConfig
from tlab.text import Corpus, corpus_from_text, load_corpus
from tlab.training.config import ComputeConfig, TrainConfig
from tlab.training.trainer import Trainer

SOURCE, CHARACTERS = "python-docs", 8_000  # the beginning of this text
STEPS_PER_RUN, LOOKS = 200, 10  # of a run, and how often its losses are noted
LONG_STEPS = 3 * STEPS_PER_RUN  # of a schedule that is read when a third of it has passed
ORDERS = 15  # of batches, in the sound group
RUNS_PER_GROUP = 30  # in each other group
UNSTABLE_RATE, UNSTABLE_RUNS, UNSTABLE_LOSS = 0.145, 60, 5.0  # without norm or clipping two of three runs diverge
MERGES = 10  # of the commonest pair of characters, which is one token then


class Setting(NamedTuple):
    """What the runs of a group have in common."""

    model: ModelConfig
    training: TrainConfig
    corpus: Corpus
    seeds: tuple[tuple[int, int], ...]  # of the weights and of the batches, for each run


def settings(text: str) -> dict[str, Setting]:
    """Group -> what it is trained with, on this text.

    No two runs have a seed in common, but for the batches of the sound group.
    """
    corpus = corpus_from_text(text, name=SOURCE)
    model = ModelConfig(
        vocab_size=corpus.tokenizer.vocab_size, context_length=16, hidden_dim=16, num_layers=1, num_heads=2,
        position="rope", init="xavier", tied=False, embedding_scale=4.0,
    )  # fmt: skip
    training = TrainConfig(
        steps=STEPS_PER_RUN,
        batch_size=8,
        learning_rate=SOUND_RATE,
        warmup_steps=10,
        validation_every=STEPS_PER_RUN // LOOKS,
    )
    leaked = dataclasses.replace(corpus, train=np.concatenate([corpus.train, corpus.validation]))
    unstable = dataclasses.replace(training, learning_rate=UNSTABLE_RATE, gradient_clip=0.0, max_loss=UNSTABLE_LOSS)
    seeds = itertools.count()

    def own_seeds(runs: int) -> tuple[tuple[int, int], ...]:
        return tuple((seed, seed) for seed in itertools.islice(seeds, runs))

    orders = [order for order in itertools.islice(seeds, ORDERS) for _ in range(SEEDS_PER_ORDER)]
    groups = {SOUND: Setting(model, training, corpus, tuple(zip(seeds, orders, strict=False)))}
    for rate in TRIED_RATES:
        if rate != SOUND_RATE:
            at_rate = dataclasses.replace(training, learning_rate=rate)
            groups[group_at(rate)] = Setting(model, at_rate, corpus, own_seeds(RUNS_PER_GROUP))
    wide = dataclasses.replace(model, hidden_dim=2 * model.hidden_dim)
    long = dataclasses.replace(training, steps=LONG_STEPS, learning_rate=HIGH_RATE)
    groups[TWICE_AS_WIDE] = Setting(wide, training, corpus, own_seeds(RUNS_PER_GROUP))
    groups[LONG] = Setting(model, long, corpus, own_seeds(RUNS_PER_GROUP))
    groups[LEAKED] = Setting(model, training, leaked, own_seeds(RUNS_PER_GROUP))
    groups[UNSTABLE] = Setting(dataclasses.replace(model, norm="none"), unstable, corpus, own_seeds(UNSTABLE_RUNS))
    return groups


def tiny_run(setting: Setting, seeds: tuple[int, int]) -> tuple[list[float | None], list[float]]:
    """The validation and training losses of one run at the looks; nan once it has diverged."""
    weights, batches = seeds
    training = dataclasses.replace(setting.training, seed=weights, data_seed=batches)
    trainer = Trainer(setting.model, training, setting.corpus, compute=ComputeConfig(threads=1))
    records = list(itertools.islice(trainer, STEPS_PER_RUN))
    seen = {record.step: record for record in records if record.validation_loss is not None}
    validation = [seen[step].validation_loss if step in seen else math.nan for step in looks()]
    return validation, [seen[step].loss if step in seen else math.nan for step in looks()]


def looks() -> range:
    """The steps at which losses are noted."""
    return range(STEPS_PER_RUN // LOOKS, STEPS_PER_RUN + 1, STEPS_PER_RUN // LOOKS)


def merged_length(text: str) -> int:
    """How many tokens a text has once its commonest pair was merged into one, `MERGES` times."""
    for number in range(MERGES):
        (pair, _), *_ = Counter(first + second for first, second in itertools.pairwise(text)).most_common(1)
        text = text.replace(pair, chr(0xE000 + number))  # a character for private use
    return len(text)


def beginning_of_source() -> str:
    """The text to train on; Python's documentation is another one in each version of Python."""
    corpus = load_corpus(SOURCE)
    return corpus.tokenizer.decode(corpus.train)[:CHARACTERS]


def write_runs(text: str) -> None:
    """Train all groups on this text, and write the file."""
    groups = settings(text)
    jobs = [(name, seeds) for name, setting in groups.items() for seeds in setting.seeds]
    losses = [tiny_run(groups[name], seeds) for name, seeds in tqdm(jobs)]
    arrays = {}
    for name in groups:
        of_group = np.array([pair for (group, _), pair in zip(jobs, losses, strict=True) if group == name])
        arrays[f"{name}/validation"], arrays[f"{name}/training"] = packed(of_group[:, 0]), packed(of_group[:, 1])
    corpus = groups[SOUND].corpus
    validation = corpus.tokenizer.decode(corpus.validation)
    about = {
        "steps": list(looks()),
        "guess": round(math.log(corpus.tokenizer.vocab_size), 4),
        "characters": len(validation),
        "tokens": merged_length(validation),
        "parameters": {name: num_parameters(groups[name].model) for name in (SOUND, TWICE_AS_WIDE)},
        "text": text,
    }
    arrays[ABOUT] = np.frombuffer(json.dumps(about).encode(), np.uint8)
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    write_atomically(FILE, file.getvalue())
    print(f"{FILE}: {len(jobs)} runs, {FILE.stat().st_size:,} bytes")


if __name__ == "__main__":
    write_runs(beginning_of_source())
