"""The JAX side: the whole training step as one pure function of (weights, moments, batch), compiled by XLA.

Weights are a dictionary under our own names, so nothing needs translating.
"""

# pyright: reportMissingImports=false
# (nobody needs this peer to check the rest)

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from functools import partial
from typing import Any

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import jax.numpy as jnp

from benchmarks.cases import size_of
from benchmarks.jobs import ENDLESS, Job, initial_weights, random_corpus
from tlab.nn.config import ModelConfig
from tlab.training.config import TrainConfig
from tlab.training.trainer import draw_batch
from tlab.types import Array, Ids

Weights = dict[str, jax.Array]


def norm(config: ModelConfig, weights: Weights, name: str, x: jax.Array) -> jax.Array:
    """LayerNorm or RMSNorm, (B, T, C) -> (B, T, C)."""
    if config.norm == "layernorm":
        x = x - x.mean(-1, keepdims=True)
    x = x * jax.lax.rsqrt((x * x).mean(-1, keepdims=True) + config.norm_epsilon) * weights[f"{name}.scale"]
    return x + weights[f"{name}.shift"] if config.norm == "layernorm" else x


def linear(weights: Weights, name: str, x: jax.Array) -> jax.Array:
    """X W, and b where there is one."""
    y = x @ weights[f"{name}.weight"]
    return y + weights[f"{name}.bias"] if f"{name}.bias" in weights else y


def angles(num_positions: int, width: int) -> jax.Array:
    """(num_positions, width / 2): position times 10,000^(-2i / width)."""
    return jnp.arange(num_positions)[:, None] * 10_000 ** (-jnp.arange(0, width, 2) / width)[None, :]


def turn(heads: jax.Array) -> jax.Array:
    """RoPE in the half layout, (B, T, H, D) -> (B, T, H, D)."""
    angle = angles(heads.shape[1], heads.shape[3])[:, None, :]
    cos, sin = jnp.cos(angle).astype(heads.dtype), jnp.sin(angle).astype(heads.dtype)
    first, second = jnp.split(heads, 2, axis=-1)
    return jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)


def attention(config: ModelConfig, weights: Weights, name: str, x: jax.Array) -> jax.Array:
    """Causal attention, written out: (B, T, C) -> (B, T, C)."""
    B, T, C = x.shape
    queries, keys, values = (
        part.reshape(B, T, config.num_heads, config.head_dim)
        for part in jnp.split(linear(weights, f"{name}.qkv", x), 3, axis=-1)
    )
    if config.position == "rope":
        queries, keys = turn(queries), turn(keys)
    scores = jnp.einsum("bthd,bshd->bhts", queries, keys) / math.sqrt(config.head_dim)
    scores = jnp.where(jnp.tril(jnp.ones((T, T), bool)), scores, -jnp.inf)
    mixed = jnp.einsum("bhts,bshd->bthd", jax.nn.softmax(scores), values).reshape(B, T, C)
    return linear(weights, f"{name}.out", mixed)


def mlp(config: ModelConfig, weights: Weights, name: str, x: jax.Array) -> jax.Array:
    """(B, T, C) -> (B, T, C)."""
    hidden = linear(weights, f"{name}.up", x)
    if config.activation == "swiglu":
        hidden = jax.nn.silu(linear(weights, f"{name}.gate", x)) * hidden
    else:
        hidden = {"gelu": jax.nn.gelu, "relu": jax.nn.relu}[config.activation](hidden)
    return linear(weights, f"{name}.down", hidden)


def block(config: ModelConfig, weights: Weights, name: str, x: jax.Array) -> jax.Array:
    """Attention and MLP in the residual layout, (B, T, C) -> (B, T, C)."""
    for number, (part, sublayer) in enumerate([("attention", attention), ("mlp", mlp)], start=1):
        run = partial(sublayer, config, weights, f"{name}.{part}")
        inner = partial(norm, config, weights, f"{name}.norm{number}")
        if config.residual == "post":
            x = inner(x + run(x))
        elif config.residual == "sandwich":
            x = x + norm(config, weights, f"{name}.norm{number}_out", run(inner(x)))
        else:
            x = x + run(inner(x))
    return x


def loss(config: ModelConfig, weights: Weights, ids: jax.Array, targets: jax.Array) -> jax.Array:
    """Mean cross-entropy of a batch (B, T)."""
    T, C = ids.shape[1], config.hidden_dim
    x = weights["embedding.weight"][ids] * config.embedding_scale
    if config.position == "learned":
        x = x + weights["position.weight"][:T]
    if config.position == "sinusoidal":
        angle = angles(T, C)
        x = x + jnp.stack([jnp.sin(angle), jnp.cos(angle)], axis=2).reshape(T, C).astype(x.dtype)
    for i in range(config.num_layers):
        x = block(config, weights, f"blocks.{i}", x)
    if config.residual != "post":
        x = norm(config, weights, "final_norm", x)
    logits = jax.nn.log_softmax(x @ weights["embedding.weight"].T)
    return -jnp.take_along_axis(logits, targets[..., None], axis=-1).mean()


def adamw(settings: TrainConfig, weights: Weights, gradients: Weights, moments: Any, step: Any, rate: Any) -> Any:
    """Clipping by the global norm, then AdamW; -> new weights and moments."""
    size = jnp.sqrt(sum(jnp.sum(g * g) for g in gradients.values()))
    factor = jnp.minimum(1.0, settings.gradient_clip / size)

    def update(w: jax.Array, g: jax.Array, first: jax.Array, second: jax.Array) -> tuple[jax.Array, ...]:
        g = g * factor
        first = settings.beta1 * first + (1 - settings.beta1) * g
        second = settings.beta2 * second + (1 - settings.beta2) * g * g
        change = first / (1 - settings.beta1**step) / (jnp.sqrt(second / (1 - settings.beta2**step)) + settings.epsilon)
        decay = settings.weight_decay if w.ndim >= 2 else 0.0
        return w - rate * (change + decay * w), first, second

    firsts, seconds = moments
    new = {name: update(w, gradients[name], firsts[name], seconds[name]) for name, w in weights.items()}
    return tuple({name: parts[i] for name, parts in new.items()} for i in range(3))


def loss_and_gradients(
    config: ModelConfig, weights: Mapping[str, Array], ids: Ids, targets: Ids
) -> tuple[float, dict[str, Array]]:
    """This peer's loss and gradients: for the test that it is the same model."""
    value, gradients = jax.value_and_grad(partial(loss, config))(dict(weights), ids, targets)
    return float(value), {name: jax.device_get(gradient) for name, gradient in gradients.items()}


def training(size: str, family: str, threads: str) -> Job:
    """Training steps. XLA takes as many threads as the process has processors (see `worker.stay_on`)."""
    config, batch_size = size_of(size, family)
    settings = TrainConfig(steps=ENDLESS, batch_size=batch_size)
    tokens = random_corpus(config.vocab_size).train

    @partial(jax.jit, donate_argnums=(0, 1))
    def update(weights: Weights, moments: Any, ids: Any, targets: Any, step: Any, rate: Any) -> Any:
        value, gradients = jax.value_and_grad(partial(loss, config))(weights, ids, targets)
        weights, *moments = adamw(settings, weights, gradients, moments, step, rate)
        return weights, tuple(moments), value

    weights = {name: jnp.array(w) for name, w in initial_weights(config).items()}
    moments = tuple({name: jnp.zeros_like(w) for name, w in weights.items()} for _ in range(2))
    done = 0

    def work(steps: int) -> None:
        nonlocal weights, moments, done
        for _ in range(steps):
            done += 1
            ids, targets = draw_batch(tokens, batch_size, config.context_length, settings.batch_seed, done)
            rate = settings.learning_rate_at(done)
            weights, moments, value = update(weights, moments, ids, targets, float(done), rate)
            float(value)

    return work
