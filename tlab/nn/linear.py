"""Linear layers and the embedding: where nearly all weights are and nearly all time goes."""

from __future__ import annotations

import numpy as np

from tlab.nn.params import Initializer, Param, ParamSpace, zeros
from tlab.types import Array, Ids


def as_rows(x: Array) -> Array:
    """(..., C) -> (N, C): one product of two large matrices is faster than a stack of small ones."""
    return x.reshape(-1, x.shape[-1])


def sum_rows(x: Array) -> Array:
    """(..., C) -> (C,), the sum over everything but the last axis, as a product with a vector of ones."""
    rows = as_rows(x)
    return np.ones(len(rows), rows.dtype) @ rows


class Linear:
    """y = x W + b, for x (..., C_in), W (C_in, C_out) and b (C_out,).

    Notice: each weight's gradient adds up over all tokens, as it touched them all: dW = x^T dy.
    """

    weight: Param
    bias: Param | None

    def __init__(
        self,
        space: ParamSpace,
        name: str,
        shape: tuple[int, int],
        init: Initializer,
        bias: bool,
        role: str = "matrix",
    ) -> None:
        self.weight = space.declare(f"{name}.weight", shape, init, role)
        self.bias = space.declare(f"{name}.bias", shape[1:], zeros) if bias else None

    def forward(self, x: Array) -> tuple[Array, Array]:
        y = as_rows(x).dot(self.weight.data)  # (N, C_out); for one row in half the time of @, for many in the same
        if self.bias is not None:
            y += self.bias.data
        return y.reshape(*x.shape[:-1], -1), x  # (..., C_out)

    def backward(self, dy: Array, x: Array) -> Array:
        dy_rows = as_rows(dy)  # (N, C_out)
        if self.bias is not None:
            self.bias.grad += sum_rows(dy_rows)  # (C_out,)
        self.weight.grad += as_rows(x).T @ dy_rows  # (C_in, C_out)
        return (dy_rows @ self.weight.data.T).reshape(x.shape)  # (..., C_in)


LARGE_VOCABULARY = 256  # tokens: with more, it is quicker to sort a batch by token than to multiply it with 0 and 1


class Embedding:
    """One row of a (V, C) table for each token, and, tied, the same table turned round to score every token.

    Notice: a token's row gets gradient from both ends, where it was read and where it was predicted (Press & Wolf
    2017). Both add up in the one `weight.grad`.
    """

    def __init__(self, space: ParamSpace, name: str, shape: tuple[int, int], init: Initializer) -> None:
        self.weight = space.declare(f"{name}.weight", shape, init, "embedding")

    def forward(self, ids: Ids) -> tuple[Array, Ids]:
        """(B, T) -> (B, T, C)."""
        return self.weight.data.take(ids, axis=0), ids

    def backward(self, dx: Array, ids: Ids) -> None:
        if len(self.weight.data) > LARGE_VOCABULARY:
            self.add_by_token(as_rows(dx), ids.ravel())
            return
        # A product with the one-hot matrix: np.add.at takes ten times as long.
        one_hot = np.zeros((ids.size, len(self.weight.data)), dx.dtype)  # (N, V)
        one_hot[np.arange(ids.size), ids.ravel()] = 1
        self.weight.grad += one_hot.T @ as_rows(dx)  # (V, C)

    def add_by_token(self, dx: Array, ids: Ids) -> None:
        """Add each token's gradient (N, C) to its row, by bringing those of one row together."""
        order = np.argsort(ids, kind="stable")  # (N,)
        tokens, starts = np.unique(ids[order], return_index=True)  # the rows that occur, and where each begins
        self.weight.grad[tokens] += np.add.reduceat(dx[order], starts)

    def unembed(self, x: Array) -> tuple[Array, Array]:
        """(B, T, C) -> logits (B, T, V), the tied head."""
        logits = as_rows(x).dot(self.weight.data.T)  # (N, V)
        return logits.reshape(*x.shape[:-1], -1), x

    def unembed_backward(self, dlogits: Array, x: Array) -> Array:
        """Dlogits (B, T, V) -> dx (B, T, C)."""
        dlogits_rows = as_rows(dlogits)  # (N, V)
        self.weight.grad += dlogits_rows.T @ as_rows(x)  # (V, C)
        return (dlogits_rows @ self.weight.data).reshape(x.shape)
