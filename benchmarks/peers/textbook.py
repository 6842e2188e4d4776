"""The NumPy transformer of a hundred blog posts: right, easy to follow, and with no thought for speed.

GPT-2's block (Pre-LN, LayerNorm, GELU) with biases where the weights have them. Each line follows its formula:
powers are powers, heads are a loop, the embedding's gradient is `np.add.at`, Adam goes from tensor to tensor.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks.cases import size_of
from benchmarks.jobs import ENDLESS, Job, initial_weights, random_corpus
from tlab.nn.config import ModelConfig
from tlab.training.config import TrainConfig
from tlab.training.trainer import draw_batch
from tlab.types import Array, Ids

Tensors = dict[str, Array]
ROOT = 0.7978845608028654  # sqrt(2 / pi)


def layer_norm(x: Array, scale: Array, shift: Array, epsilon: float) -> tuple[Array, Any]:
    """(B, T, C) -> (B, T, C)."""
    mean = x.mean(axis=-1, keepdims=True)
    std = np.sqrt(x.var(axis=-1, keepdims=True) + epsilon)
    normalized = (x - mean) / std
    return scale * normalized + shift, (normalized, std, scale)


def layer_norm_backward(dy: Array, cache: Any) -> tuple[Array, Array, Array]:
    """-> dx, dscale, dshift."""
    normalized, std, scale = cache
    dscale = (dy * normalized).sum(axis=(0, 1))
    dshift = dy.sum(axis=(0, 1))
    dn = dy * scale
    dx = dn - dn.mean(axis=-1, keepdims=True) - normalized * (dn * normalized).mean(axis=-1, keepdims=True)
    return dx / std, dscale, dshift


def gelu(x: Array) -> Array:
    """Entry by entry."""
    return 0.5 * x * (1 + np.tanh(ROOT * (x + 0.044715 * x**3)))


def gelu_backward(dy: Array, x: Array) -> Array:
    """-> dx."""
    t = np.tanh(ROOT * (x + 0.044715 * x**3))
    return dy * (0.5 * (1 + t) + 0.5 * x * (1 - t**2) * ROOT * (1 + 3 * 0.044715 * x**2))


def softmax(x: Array) -> Array:
    """Over the last axis."""
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def linear(x: Array, weights: Tensors, name: str) -> Array:
    """X W + b."""
    y = x @ weights[f"{name}.weight"]
    return y + weights[f"{name}.bias"] if f"{name}.bias" in weights else y


def linear_backward(dy: Array, x: Array, weights: Tensors, name: str, gradients: Tensors) -> Array:
    """-> dx; the weight's gradient is the sum over the batch of each text's own."""
    gradients[f"{name}.weight"] = (x.transpose(0, 2, 1) @ dy).sum(axis=0)
    if f"{name}.bias" in weights:
        gradients[f"{name}.bias"] = dy.sum(axis=(0, 1))
    return dy @ weights[f"{name}.weight"].T


def attention(x: Array, weights: Tensors, name: str, num_heads: int) -> tuple[Array, Any]:
    """Head after head, (B, T, C) -> (B, T, C)."""
    T, D = x.shape[1], x.shape[2] // num_heads
    queries, keys, values = np.split(linear(x, weights, f"{name}.qkv"), 3, axis=-1)
    mask = np.triu(np.ones((T, T), dtype=bool), k=1)
    mixed, heads = [], []
    for h in range(num_heads):
        part = slice(h * D, (h + 1) * D)
        q, k, v = queries[..., part], keys[..., part], values[..., part]
        scores = q @ k.transpose(0, 2, 1) / D**0.5  # (B, T, T)
        scores = np.where(mask, -np.inf, scores)
        p = softmax(scores)
        mixed.append(p @ v)
        heads.append((q, k, v, p))
    joined = np.concatenate(mixed, axis=-1)
    return linear(joined, weights, f"{name}.out"), (x, joined, heads)


def attention_backward(dy: Array, cache: Any, weights: Tensors, name: str, gradients: Tensors) -> Array:
    """-> dx."""
    x, joined, heads = cache
    D = x.shape[2] // len(heads)
    djoined = linear_backward(dy, joined, weights, f"{name}.out", gradients)
    dqueries, dkeys, dvalues = [], [], []
    for h, (q, k, v, p) in enumerate(heads):
        dmixed = djoined[..., h * D : (h + 1) * D]
        dp = dmixed @ v.transpose(0, 2, 1)
        dscores = p * (dp - (dp * p).sum(axis=-1, keepdims=True)) / D**0.5
        dqueries.append(dscores @ k)
        dkeys.append(dscores.transpose(0, 2, 1) @ q)
        dvalues.append(p.transpose(0, 2, 1) @ dmixed)
    dqkv = np.concatenate(dqueries + dkeys + dvalues, axis=-1)
    return linear_backward(dqkv, x, weights, f"{name}.qkv", gradients)


def forward(config: ModelConfig, weights: Tensors, ids: Ids) -> tuple[Array, Any]:
    """(B, T) -> logits (B, T, V), and what backward needs."""

    def norm(x: Array, name: str) -> tuple[Array, Any]:
        return layer_norm(x, weights[f"{name}.scale"], weights[f"{name}.shift"], config.norm_epsilon)

    x = config.embedding_scale * weights["embedding.weight"][ids] + places(config, weights)[: ids.shape[1]]
    caches = []
    for i in range(config.num_layers):
        block = f"blocks.{i}"
        h, norm1 = norm(x, f"{block}.norm1")
        y, attended = attention(h, weights, f"{block}.attention", config.num_heads)
        x = x + y
        h, norm2 = norm(x, f"{block}.norm2")
        up = linear(h, weights, f"{block}.mlp.up")
        hidden = gelu(up)
        x = x + linear(hidden, weights, f"{block}.mlp.down")
        caches.append((norm1, attended, norm2, h, up, hidden))
    x, final = norm(x, "final_norm")
    return x @ weights["embedding.weight"].T, (caches, final, x)


def places(config: ModelConfig, weights: Tensors) -> Array:
    """(T, C): what is added to the embeddings, learned or sines and cosines."""
    if config.position == "learned":
        return weights["position.weight"]
    T, C = config.context_length, config.hidden_dim
    table = np.zeros((T, C), dtype=weights["embedding.weight"].dtype)
    angle = np.arange(T)[:, None] / 10_000 ** (np.arange(0, C, 2) / C)
    table[:, 0::2], table[:, 1::2] = np.sin(angle), np.cos(angle)
    return table


def loss_and_gradients(
    config: ModelConfig, weights: Mapping[str, Array], ids: Ids, targets: Ids
) -> tuple[float, Tensors]:
    """The mean loss of a batch, and the gradient of every weight."""
    weights = dict(weights)
    gradients: Tensors = {}
    logits, (caches, final, x) = forward(config, weights, ids)
    B, T = ids.shape
    rows, columns = np.arange(B)[:, None], np.arange(T)[None, :]
    p = softmax(logits)
    loss = -np.log(p[rows, columns, targets]).mean()
    dlogits = p.copy()
    dlogits[rows, columns, targets] -= 1
    dlogits = dlogits / (B * T)

    dembedding = (dlogits.transpose(0, 2, 1) @ x).sum(axis=0)
    dx = dlogits @ weights["embedding.weight"]
    dx, gradients["final_norm.scale"], gradients["final_norm.shift"] = layer_norm_backward(dx, final)
    for i in reversed(range(config.num_layers)):
        block = f"blocks.{i}"
        norm1, attended, norm2, h, up, hidden = caches[i]
        dhidden = linear_backward(dx, hidden, weights, f"{block}.mlp.down", gradients)
        dh = linear_backward(gelu_backward(dhidden, up), h, weights, f"{block}.mlp.up", gradients)
        dh, *dnorm = layer_norm_backward(dh, norm2)
        gradients[f"{block}.norm2.scale"], gradients[f"{block}.norm2.shift"] = dnorm
        dx = dx + dh
        dh = attention_backward(dx, attended, weights, f"{block}.attention", gradients)
        dh, *dnorm = layer_norm_backward(dh, norm1)
        gradients[f"{block}.norm1.scale"], gradients[f"{block}.norm1.shift"] = dnorm
        dx = dx + dh
    if config.position == "learned":
        gradients["position.weight"] = np.zeros_like(weights["position.weight"])
        gradients["position.weight"][:T] = dx.sum(axis=0)
    np.add.at(dembedding, ids, config.embedding_scale * dx)
    gradients["embedding.weight"] = dembedding
    return float(loss), gradients


def training(size: str, family: str, threads: str) -> Job:
    """Training steps, with clipping and AdamW tensor by tensor."""
    config, batch_size = size_of(size, family)
    settings = TrainConfig(steps=ENDLESS, batch_size=batch_size)
    tokens = random_corpus(config.vocab_size).train
    weights = initial_weights(config)
    first = {name: np.zeros_like(w) for name, w in weights.items()}
    second = {name: np.zeros_like(w) for name, w in weights.items()}
    done = 0

    def work(steps: int) -> None:
        nonlocal done
        for _ in range(steps):
            done += 1
            ids, targets = draw_batch(tokens, batch_size, config.context_length, settings.batch_seed, done)
            _, gradients = loss_and_gradients(config, weights, ids, targets)
            norm = np.sqrt(sum((g**2).sum() for g in gradients.values()))
            rate = settings.learning_rate_at(done)
            for name, w in weights.items():
                g = gradients[name] * np.float32(min(1.0, settings.gradient_clip / norm))
                first[name] = settings.beta1 * first[name] + (1 - settings.beta1) * g
                second[name] = settings.beta2 * second[name] + (1 - settings.beta2) * g**2
                m = first[name] / (1 - settings.beta1**done)
                v = second[name] / (1 - settings.beta2**done)
                decay = settings.weight_decay if w.ndim >= 2 else 0.0
                weights[name] = w - rate * (m / (np.sqrt(v) + settings.epsilon) + decay * w)

    return work
