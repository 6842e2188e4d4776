"""What tests share that is no fixture: tiny models, a text, and marks."""

import functools
import itertools
import math
import random
import time

import numpy as np
import pytest

from tlab import ModelConfig
from tlab.nn.activations import ACTIVATIONS
from tlab.nn.norms import NORMS
from tlab.nn.positions import POSITIONS
from tlab.nn.residuals import RESIDUALS
from tlab.nn.scores.softmaxes import ATTENTION_SOFTMAXES
from tlab.text import CORPORA
from tlab.text.corpora import Synthetic

EVIL = '<img src=x onerror="window.hacked=1">'  # what a browser would obey if it were not escaped
SMALL = {"context_length": 8, "hidden_dim": 8, "num_layers": 1, "num_heads": 2}  # a model for the app's forms
SECONDS = 240.0  # that anything of the app may take on a busy machine
VERSE = "the quick brown fox jumps over the lazy dog while five wizards box; "
TASKS = [key for key, source in CORPORA.items() if issubclass(source, Synthetic)]  # texts with right answers


NOISE_OF_GRADIO = (
    # Its servers and clients leave these open: only what says so is let pass, in the modules that start it.
    "ignore:unclosed event loop:ResourceWarning",
    "ignore:unclosed <socket.socket:ResourceWarning",
    # Its queue's statistics, under a new pandas; raised there, they would end the queue.
    "ignore:'future.no_silent_downcasting' is deprecated",
    "ignore:The copy keyword is deprecated",
)


# Of a module that starts Gradio: pytestmark = GRADIO
GRADIO = [pytest.mark.filterwarnings(*NOISE_OF_GRADIO), pytest.mark.usefixtures("leftovers_of_gradio")]


TINY_SWEEP = {"context_length": (8,), "hidden_dim": (8,), "num_heads": (2,), "num_layers": (1,), "steps": (5,)}


def wait_for(condition) -> None:
    """Until it holds."""
    until = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.01)


def tiny(**changes) -> ModelConfig:
    """A model of every part, as small as it can be without hiding a mistake: no two of its sizes are equal."""
    return ModelConfig(
        **{
            "vocab_size": 11,
            "context_length": 8,
            "hidden_dim": 12,
            "num_layers": 2,
            "num_heads": 3,
            "mlp_ratio": 2.5,
            **changes,
        }
    )


FIRST_EDITION = {
    "norm": ["layernorm", "rmsnorm", "none"],
    "activation": ["relu", "gelu", "swish", "swiglu"],
    "residual": ["pre", "post", "sandwich"],
    "position": ["sinusoidal", "rope", "alibi", "learned", "none"],
    "init": ["gpt2", "xavier"],
    "optimizer": ["sgd", "adam", "adamw"],
    "schedule": ["constant", "linear", "cosine"],
    "tokenizer": ["char", "byte"],
}
"""The published keys, in their order: later parts stand beside them."""

SWITCHES = ("norm", "activation", "residual", "position")


def all_combinations() -> list:
    """Norm x activation x residual x position, as registered now and as `combinations` chooses."""
    rows = combinations(tuple(NORMS), tuple(ACTIVATIONS), tuple(RESIDUALS), tuple(POSITIONS))
    return [pytest.param(tiny(**dict(zip(SWITCHES, row, strict=True))), id="-".join(row)) for row in rows]


@functools.cache
def combinations(*slots: tuple[str, ...]) -> list[tuple[str, ...]]:
    """Of the keys of `SWITCHES`: all products of the first edition's, and of the others so many that any three meet.

    The full product would grow with the product of all later parts. A fault that needs a fourth part to show is rare
    (Kuhn et al. 2004), and here the slots meet in few places.
    """
    rows = list(itertools.product(*(FIRST_EDITION[slot] for slot in SWITCHES)))
    threes = {row: set(itertools.combinations(enumerate(row), 3)) for row in itertools.product(*slots)}
    missing = set().union(*threes.values()).difference(*(threes[row] for row in rows))
    while missing:
        rows.append(max(threes, key=lambda row: len(threes[row] & missing)))
        missing -= threes[rows[-1]]
    return rows


def covering(fields: dict[str, list], strength: int = 2) -> list[dict]:
    """Settings of these fields, so many that any two of their values meet, or any three; the same at every call."""
    rng, values = np.random.default_rng(0), list(fields.values())
    sizes = np.array([len(choices) for choices in values])
    slots = np.array(list(itertools.combinations(range(len(values)), strength)))  # (M, strength)
    # The meetings of all values of some slots have numbers that follow each other, as those of a product do.
    strides = np.cumprod(np.pad(sizes[slots][:, :0:-1], ((0, 0), (1, 0)), constant_values=1), axis=1)[:, ::-1]
    ends = np.cumsum(sizes[slots].prod(1))
    starts = ends - sizes[slots].prod(1)
    missing = np.ones(ends[-1], bool)
    rows = []
    while missing.any():
        drawn = rng.integers(sizes, size=(50, len(values)))
        number = rng.choice(np.flatnonzero(missing), len(drawn))  # each brings values together that have not met yet
        place = np.searchsorted(ends, number, "right")
        np.put_along_axis(
            drawn, slots[place], (number - starts[place])[:, None] // strides[place] % sizes[slots[place]], 1
        )
        meetings = starts + (drawn[:, slots] * strides).sum(-1)  # (50, M)
        best = missing[meetings].sum(1).argmax()
        missing[meetings[best]] = False
        rows.append(drawn[best])
    return [{name: choices[i] for (name, choices), i in zip(fields.items(), row, strict=True)} for row in rows]


FURTHER = {
    "score_cap": [0.0, 0.7],
    "logit_cap": [0.0, 1.5],
    "qk_norm": ["none", *(key for key in NORMS if key != "none")],
    "qk_norm_all_heads": [False, True],
    "rope_base": [10_000.0, 50.0],
    "rope_fraction": [1.0, 0.5],
    "num_kv_heads": [None, 1],
    "attention_softmax": list(ATTENTION_SOFTMAXES),
    "attention_gate": [False, True],
    "value_residual": [False, True],
}
"""Fields that switch a part on, with their values for tests, the default first."""


def every_field() -> dict[str, list]:
    """The fields of the model that change what it computes, each with its values for tests."""
    slots = {"norm": NORMS, "activation": ACTIVATIONS, "residual": RESIDUALS, "position": POSITIONS}
    return {
        **FURTHER,
        **{slot: list(known) for slot, known in slots.items()},
        "bias": [True, False],
        "tied": [True, False],
    }


def further_combinations() -> list:
    """Configs in which any two values of `FURTHER` and of the classic switches meet."""
    grouped = {"num_heads": 6, "norm": "rmsnorm"}  # heads share keys and values, but not all of them the same
    rows = [
        *covering(every_field()),
        {**grouped, "num_kv_heads": 2, "position": "alibi"},
        {**grouped, "num_kv_heads": 3, "position": "rope", "qk_norm": "rmsnorm"},
        {**grouped, "num_kv_heads": 3, "position": "rope", "qk_norm": "layernorm", "qk_norm_all_heads": True},
    ]
    return [pytest.param(tiny(**row), id="-".join(map(str, row.values()))) for row in rows]


def sample_of_grid(names: list[str], count: int, seed: str) -> list[str]:
    """So many of the names of a test's combinations, as layernorm-relu-pre, drawn by a seed, in their order.

    They are more where that many do not have each word of the names at each of its places. Names are a grid if there
    are three times as many of them as of such words; others are no combinations of a few values, and all stay.
    """
    words = {name: set(enumerate(name.split("-"))) for name in names}
    if len(names) < 3 * len(set().union(*words.values())):
        return names
    known, sample = set(), set()
    for name in random.Random(seed).sample(names, len(names)):
        if len(sample) < count or not words[name] <= known:
            known |= words[name]
            sample.add(name)
    return [name for name in names if name in sample]


# ------------------------------------------------------------------------------------------ losses over learning rates

RATES = (1e-3, 2e-3, 4e-3, 8e-3, 16e-3)


def parabola(optimum, curvature=0.1, seeds=3, rates=RATES, noise=0.0, lowest=2.0):
    """Losses on a parabola over log rate; a seed moves them all by a tenth of its number, and some noise each."""
    rng = np.random.default_rng(0)
    return {
        rate: {
            seed: lowest + seed / 10 + curvature * math.log(rate / optimum) ** 2 + noise * rng.standard_normal()
            for seed in range(seeds)
        }
        for rate in rates
    }
