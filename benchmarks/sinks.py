"""The sinks worth knowing: two ways to write one thing in NumPy, the fast one first, each measured by itself.

Shapes are those of the nano size: 768 tokens, 128 channels, an MLP of 512, 65 characters.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from benchmarks.jobs import Job
from tlab.machine import keep_freed_memory

TOKENS, WIDTH, HIDDEN, VOCABULARY, HEADS = 768, 128, 512, 65, 4
LENGTH = 64  # of a text; TOKENS / LENGTH texts

Sink = Callable[[], object]
SINKS: dict[str, Callable[[], Sink]] = {}


def add(words: str) -> Callable[[Callable[[], Sink]], Callable[[], Sink]]:
    """Register a function that makes its arrays and returns what is to be timed."""

    def register(make: Callable[[], Sink]) -> Callable[[], Sink]:
        SINKS[words] = make
        return make

    return register


def numbers(*shape: int) -> np.ndarray:
    """Standard normal, float32."""
    return np.random.default_rng(0).standard_normal(shape, dtype=np.float32)


@add("x * x * x")
def _products() -> Sink:
    x = numbers(TOKENS, HIDDEN)
    return lambda: x * x * x


@add("x**3")
def _power() -> Sink:
    x = numbers(TOKENS, HIDDEN)
    return lambda: x**3


def ids_and_gradient() -> tuple[np.ndarray, np.ndarray]:
    """Token ids (N,) and the gradient of their embeddings (N, C)."""
    return np.random.default_rng(0).integers(0, VOCABULARY, TOKENS), numbers(TOKENS, WIDTH)


@add("embedding gradient as a one-hot product")
def _one_hot() -> Sink:
    ids, dx = ids_and_gradient()

    def gradient() -> np.ndarray:
        one_hot = np.zeros((TOKENS, VOCABULARY), np.float32)
        one_hot[np.arange(TOKENS), ids] = 1
        return one_hot.T @ dx

    return gradient


@add("embedding gradient by np.add.at")
def _add_at() -> Sink:
    ids, dx = ids_and_gradient()

    def gradient() -> np.ndarray:
        table = np.zeros((VOCABULARY, WIDTH), np.float32)
        np.add.at(table, ids, dx)
        return table

    return gradient


@add("embedding gradient by sorting, np.add.reduceat")
def _sorted() -> Sink:
    ids, dx = ids_and_gradient()

    def gradient() -> np.ndarray:
        table = np.zeros((VOCABULARY, WIDTH), np.float32)
        order = np.argsort(ids, kind="stable")
        ordered = ids[order]
        starts = np.flatnonzero(np.diff(ordered, prepend=-1))
        table[ordered[starts]] = np.add.reduceat(dx[order], starts)
        return table

    return gradient


@add("a Python float as constant: float32 stays")
def _python_float() -> Sink:
    x, constant = numbers(TOKENS, HIDDEN), float(np.sqrt(2 / np.pi))
    return lambda: np.tanh(constant * x)


@add("np.sqrt(2 / np.pi) as constant: all becomes float64")
def _numpy_scalar() -> Sink:
    x, constant = numbers(TOKENS, HIDDEN), np.sqrt(2 / np.pi)
    return lambda: np.tanh(constant * x)


@add("row means as a product with a vector")
def _mean_product() -> Sink:
    x, average = numbers(TOKENS, WIDTH), np.full((WIDTH, 1), 1.0 / WIDTH, np.float32)
    return lambda: x @ average


@add("row means by x.mean(-1)")
def _mean() -> Sink:
    x = numbers(TOKENS, WIDTH)
    return lambda: x.mean(-1, keepdims=True)


@add("column sums as a product with ones")
def _sum_product() -> Sink:
    x, ones = numbers(TOKENS, HIDDEN), np.ones(TOKENS, np.float32)
    return lambda: ones @ x


@add("column sums by x.sum(0)")
def _sum() -> Sink:
    x = numbers(TOKENS, HIDDEN)
    return lambda: x.sum(0)


def split_heads() -> np.ndarray:
    """(3, B, H, T, D), a view of a fused product's rows."""
    B, D = TOKENS // LENGTH, WIDTH // HEADS
    return numbers(TOKENS, 3 * WIDTH).reshape(B, LENGTH, 3, HEADS, D).transpose(2, 0, 3, 1, 4)


@add("heads as views, straight into the product")
def _views() -> Sink:
    queries, keys, _ = split_heads()
    return lambda: queries @ keys.swapaxes(-1, -2)


@add("heads copied first, each contiguous")
def _copies() -> Sink:
    queries, keys, _ = split_heads()
    return lambda: np.ascontiguousarray(queries) @ np.ascontiguousarray(keys).swapaxes(-1, -2)


SHAPES = 4 * [
    (WIDTH, 3 * WIDTH),
    (WIDTH, WIDTH),
    (WIDTH, HIDDEN),
    (HIDDEN, WIDTH),
    (WIDTH,),
    (WIDTH,),
    (WIDTH,),
    (WIDTH,),
]


def adam(weights: np.ndarray, gradient: np.ndarray, first: np.ndarray, second: np.ndarray) -> None:
    """Adam in place, without its corrections."""
    change = gradient * 0.1
    first *= 0.9
    first += change
    np.multiply(gradient, gradient, out=change)
    change *= 0.01
    second *= 0.99
    second += change
    np.sqrt(second, out=change)
    change += 1e-8
    np.divide(first, change, out=change)
    change *= 1e-3
    weights -= change


@add("Adam on one flat vector")
def _flat() -> Sink:
    vectors = [np.ones(sum(int(np.prod(shape)) for shape in SHAPES), np.float32) for _ in range(4)]
    return lambda: adam(*vectors)


@add("Adam tensor by tensor")
def _per_tensor() -> Sink:
    tensors = [[np.ones(shape, np.float32) for _ in range(4)] for shape in SHAPES]

    def update() -> None:
        for tensor in tensors:
            adam(*tensor)

    return update


def activations() -> Sink:
    """As much memory made and dropped as a block's forward pass does."""
    x = numbers(TOKENS, HIDDEN)

    def work() -> None:
        held = [x + 1.0 for _ in range(12)]
        del held

    return work


@add("allocator told to keep freed memory")
def _kept() -> Sink:
    keep_freed_memory()
    return activations()


@add("allocator as glibc has it")
def _given_back() -> Sink:
    return activations()


def sink(words: str) -> Job:
    """A unit is one call."""
    call = SINKS[words]()

    def work(calls: int) -> None:
        for _ in range(calls):
            call()

    return work
