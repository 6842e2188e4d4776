"""The physical limit: how fast this machine multiplies matrices, and what share of that a training step reaches.

The rate is that of large float32 products in the same BLAS, on one thread, in the same turns. A step's operations are
those of its products (`tlab.cost`); nothing else in it counts as work, though it takes time.
"""

from __future__ import annotations

import numpy as np

from benchmarks.cases import size_of
from benchmarks.jobs import Job
from benchmarks.machine import ORDER
from tlab.cost import step_flops
from tlab.machine import touch_product_memory
from tlab.nn.config import ModelConfig
from tlab.types import Array

ROWS = 2048  # of the other factor, at most

Product = tuple[Array, Array]


def large_products(size: str, family: str) -> Job:
    """A unit is as many operations as a training step has, all in large products."""
    flops = step_flops(*size_of(size, family))
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal((rows, ORDER), dtype=np.float32) for rows in (ROWS, ORDER))
    out = np.empty((ROWS, ORDER), np.float32)

    def work(steps: int) -> None:
        rows = round(steps * flops / (2 * ORDER * ORDER))
        for start in range(0, rows, ROWS):
            some = min(ROWS, rows - start)
            np.matmul(a[:some], b, out=out[:some])

    return work


def products(size: str, family: str) -> Job:
    """A unit is a step's matrix products and nothing else: the same shapes and layouts, in order, on random numbers.

    What it takes is the part of a step's time that is BLAS's. The rest of the step is everything else.
    """
    config, batch_size = size_of(size, family)
    touch_product_memory()  # as a model does
    calls = product_calls(config, batch_size)

    def work(steps: int) -> None:
        for _ in range(steps):
            for a, b in calls:
                np.matmul(a, b)

    return work


def product_calls(config: ModelConfig, B: int) -> list[Product]:
    """Both factors of every product of a training step, in its order, forward and then backward."""
    T, C, H, D = config.context_length, config.hidden_dim, config.num_heads, config.head_dim
    N, F, V = B * T, config.mlp_dim, config.vocab_size
    rng = np.random.default_rng(0)
    forward: list[Product] = []
    backward: list[Product] = []

    def array(*shape: int) -> Array:
        return rng.standard_normal(shape, dtype=np.float32)

    def linear(C_in: int, C_out: int) -> None:
        x, weight, dy = array(N, C_in), array(C_in, C_out), array(N, C_out)
        forward.append((x, weight))
        backward[:0] = [(x.T, dy), (dy, weight.T)]

    def attention() -> None:
        queries, keys, values = array(B, T, 3, H, D).transpose(2, 0, 3, 1, 4)  # (B, H, T, D) each
        weights, dmixed = array(B, H, T, T), array(B, T, H, D).transpose(0, 2, 1, 3)
        forward.extend([(queries, keys.swapaxes(-1, -2)), (weights, values)])
        backward[:0] = [
            (weights.swapaxes(-1, -2), dmixed),
            (dmixed, values.swapaxes(-1, -2)),
            (weights, keys),
            (weights.swapaxes(-1, -2), queries),
        ]

    for _ in range(config.num_layers):
        linear(C, 3 * C)
        attention()
        linear(C, C)
        for _ in range(2 if config.activation == "swiglu" else 1):
            linear(C, F)
        linear(F, C)
    x, table, dlogits = array(N, C), array(V, C), array(N, V)
    forward.append((x, table.T))
    backward[:0] = [(dlogits.T, x), (dlogits, table)]
    backward.append((dlogits.T, x))  # the embedding's gradient, a product with one-hot vectors
    return forward + backward
