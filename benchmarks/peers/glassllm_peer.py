"""glassllm (PyPI), an educational transformer on a NumPy autograd of its own: the Llama family and nothing else.

The same model: RMSNorm, SwiGLU with int(8 C / 3) hidden units, RoPE, no biases, tied head. What differs: it turns
neighbouring channels where we turn halves, which is the same up to an order of channels within each head; it has one
matrix each for queries, keys and values; its optimizer is its own AdamW with the settings given here.
"""

# pyright: reportMissingImports=false
# (nobody needs this peer to check the rest)

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from glassllm.config import Config
from glassllm.model import GlassLM
from glassllm.optim import AdamW, clip_grad_norm

from benchmarks.cases import size_of
from benchmarks.jobs import ENDLESS, Job, random_corpus
from tlab.nn.config import ModelConfig
from tlab.training.config import TrainConfig
from tlab.training.trainer import draw_batch
from tlab.types import Array, Ids

# Their name -> ours, and the third of our fused matrix where it is one.
NAMES: dict[str, tuple[str, int | None]] = {
    "norm1.gamma": ("norm1.scale", None),
    "attn.W_Q": ("attention.qkv.weight", 0),
    "attn.W_K": ("attention.qkv.weight", 1),
    "attn.W_V": ("attention.qkv.weight", 2),
    "attn.W_O": ("attention.out.weight", None),
    "norm2.gamma": ("norm2.scale", None),
    "ffn.W1": ("mlp.gate.weight", None),
    "ffn.W3": ("mlp.up.weight", None),
    "ffn.W2": ("mlp.down.weight", None),
}


def make(config: ModelConfig, dtype: Any = np.float32) -> GlassLM:
    """Their model of our config."""
    wanted = {
        "norm": "rmsnorm", "activation": "swiglu", "residual": "pre", "position": "rope", "bias": False, "tied": True,
        "embedding_scale": 1, "mlp_dim": int(8 * config.hidden_dim / 3),
    }  # fmt: skip
    for name, value in wanted.items():
        if getattr(config, name) != value:
            raise ValueError(f"{name} = {getattr(config, name)!r}: glassllm has only {value!r}")
    shape = Config(
        vocab_size=config.vocab_size,
        d_model=config.hidden_dim,
        n_layers=config.num_layers,
        n_heads=config.num_heads,
        n_kv_heads=config.num_heads,
        max_len=config.context_length,
        eps=config.norm_epsilon,
    )
    return GlassLM(shape, dtype=dtype)


def their_order(config: ModelConfig) -> Array:
    """(C,): the places of our channels of queries or keys in their order, halves side by side to pairs."""
    pairs = np.arange(config.head_dim).reshape(2, -1).T.ravel()  # 0, D/2, 1, D/2 + 1, ...
    return (np.arange(config.num_heads)[:, None] * config.head_dim + pairs).ravel()


def place(config: ModelConfig, name: str) -> tuple[str, Any]:
    """A parameter of theirs -> the name of ours, and the index of its columns there."""
    everything = slice(None)
    if not name.startswith("blocks."):
        return {"E": ("embedding.weight", ...), "norm_f.gamma": ("final_norm.scale", ...)}[name]
    _, number, rest = name.split(".", 2)
    ours, third = NAMES[rest]
    if third is None:
        return f"blocks.{number}.{ours}", ...
    order = their_order(config) if third < 2 else np.arange(config.hidden_dim)
    return f"blocks.{number}.{ours}", (everything, third * config.hidden_dim + order)


def loss_and_gradients(
    config: ModelConfig, weights: Mapping[str, Array], ids: Ids, targets: Ids
) -> tuple[float, dict[str, Array]]:
    """This peer's loss and gradients, under our names: for the test that it is the same model."""
    model = make(config, weights["embedding.weight"].dtype)
    theirs = model.named_parameters()
    for name, parameter in theirs.items():
        ours, index = place(config, name)
        parameter.data = weights[ours][index].copy()
    loss = model.loss(ids, targets)
    loss.backward()
    gradients = {name: np.zeros_like(w) for name, w in weights.items()}
    for name, parameter in theirs.items():
        ours, index = place(config, name)
        gradients[ours][index] = parameter.grad
    return float(loss.data), gradients


def training(size: str, family: str, threads: str) -> Job:
    """Training steps as its own `train` makes them, with our batches and settings."""
    config, batch_size = size_of(size, family)
    settings = TrainConfig(steps=ENDLESS, batch_size=batch_size)
    tokens = random_corpus(config.vocab_size).train
    model = make(config)
    parameters = model.parameters()
    betas = (settings.beta1, settings.beta2)
    optimizer = AdamW(parameters, settings.learning_rate, betas, settings.epsilon, settings.weight_decay)
    done = 0

    def work(steps: int) -> None:
        nonlocal done
        for _ in range(steps):
            done += 1
            batch = draw_batch(tokens, batch_size, config.context_length, settings.batch_seed, done)
            loss = model.loss(*batch)
            optimizer.zero_grad()
            loss.backward()
            clip_grad_norm(parameters, settings.gradient_clip)
            optimizer.step(settings.learning_rate_at(done))

    return work
