"""The physical limit: how fast this machine multiplies matrices, and what share of that a training step reaches.

The rate is the best of large float32 products in the same BLAS, on one thread, in the same run. A step's operations
are those of its products (`tlab.cost`); nothing else in it counts as work, though it takes time: that is the loss.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.cases import size_of
from benchmarks.jobs import Job, random_corpus
from tlab.config import ModelConfig, TrainConfig
from tlab.cost import flops_by_part
from tlab.nn.model import Transformer
from tlab.train import Trainer

LARGE = 1536  # a product of this order, 7 GFLOP, is far beyond the caches and takes a fraction of a second
SHARE_TARGETS = {"default": 0.40, "nano": 0.50}


def peak(threads: str = "1") -> Job:
    """Large products; a unit is one of them."""
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal((LARGE, LARGE), dtype=np.float32) for _ in range(2))
    out = np.empty_like(a)

    def work(products: int) -> None:
        for _ in range(products):
            np.matmul(a, b, out=out)

    return work


PEAK_FLOPS = 2 * LARGE**3


def step_flops(config: ModelConfig, batch_size: int) -> int:
    """Operations of all products of a training step."""
    return sum(row.training for row in flops_by_part(config, batch_size))


def products(size: str, family: str) -> Job:
    """A step's matrix products and nothing else: of the same shapes and layouts, in the same order, on made-up numbers.

    What it takes is the part of a step's time that belongs to BLAS. The rest of the step is everything else.
    """
    config, batch_size = size_of(size, family)
    calls = list(product_calls(config, batch_size))

    def work(steps: int) -> None:
        for _ in range(steps):
            for a, b in calls:
                a @ b

    return work


def product_calls(config: ModelConfig, B: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Both factors of every product of a training step, in its order; layers share them, as caches are smaller."""
    rng = np.random.default_rng(0)
    T, C, H, D, F, V = (
        config.context_length, config.hidden_dim, config.num_heads, config.head_dim, config.mlp_dim, config.vocab_size,
    )  # fmt: skip
    N = B * T

    def array(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape, dtype=np.float32)

    def linear(x: np.ndarray, w: np.ndarray, dy: np.ndarray) -> tuple[list, list]:
        return [(x, w)], [(x.T, dy), (dy, w.T)]

    forward, backward = [], []

    def add(pair: tuple[list, list]) -> None:
        forward.extend(pair[0])
        backward[:0] = pair[1]

    gated = 2 if config.activation == "swiglu" else 1
    for _ in range(config.num_layers):
        add(linear(array(N, C), array(C, 3 * C), array(N, 3 * C)))
        heads = array(B, T, 3, H, D).transpose(2, 0, 3, 1, 4)  # (3, B, H, T, D), as attention has them
        q, k, v = heads
        scores, dmixed = array(B, H, T, T), array(B, T, H, D).transpose(0, 2, 1, 3)
        add(([(q, k.swapaxes(-1, -2))], [(scores, k), (scores.swapaxes(-1, -2), q)]))
        add(([(scores, v)], [(scores.swapaxes(-1, -2), dmixed), (dmixed, v.swapaxes(-1, -2))]))
        add(linear(array(N, C), array(C, C), array(N, C)))
        for _ in range(gated):
            add(linear(array(N, C), array(C, F), array(N, F)))
        add(linear(array(N, F), array(F, C), array(N, C)))
    table, x, dlogits = array(V, C), array(N, C), array(N, V)
    add(([(x, table.T)], [(dlogits.T, x), (dlogits, table)]))
    backward.append((dlogits.T, x))  # the embedding's gradient, as a product with one-hot vectors
    return forward + backward
