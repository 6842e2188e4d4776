"""The PyTorch side: the same transformer as people write it who want it fast, with nothing of ours in its step.

Fused attention, `nn.Linear`, `nn.LayerNorm`, fused AdamW; all of it in eager mode.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.cases import SIZES
from benchmarks.jobs import ENDLESS, Job, random_corpus
from tlab.config import ModelConfig, TrainConfig
from tlab.memory import keep_freed_memory
from tlab.train import draw_batch


class CausalAttention(nn.Module):
    """Attention in PyTorch's own fused kernel."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.num_heads = config.num_heads
        self.qkv = nn.Linear(config.hidden_dim, 3 * config.hidden_dim, bias=config.bias)
        self.out = nn.Linear(config.hidden_dim, config.hidden_dim, bias=config.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, C)."""
        B, T, C = x.shape
        heads = (part.view(B, T, self.num_heads, -1).transpose(1, 2) for part in self.qkv(x).split(C, dim=2))
        mixed = F.scaled_dot_product_attention(*heads, is_causal=True)
        return self.out(mixed.transpose(1, 2).reshape(B, T, C))


class Block(nn.Module):
    """A Pre-LN block."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(config.hidden_dim, eps=config.norm_epsilon)
        self.attention = CausalAttention(config)
        self.norm2 = nn.LayerNorm(config.hidden_dim, eps=config.norm_epsilon)
        self.up = nn.Linear(config.hidden_dim, config.mlp_dim, bias=config.bias)
        self.down = nn.Linear(config.mlp_dim, config.hidden_dim, bias=config.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, C)."""
        x = x + self.attention(self.norm1(x))
        return x + self.down(F.gelu(self.up(self.norm2(x)), approximate="tanh"))


class TorchTransformer(nn.Module):
    """The transformer of a `ModelConfig` with LayerNorm, GELU, Pre-LN and a tied head."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        built = {"norm": "layernorm", "activation": "gelu", "residual": "pre", "tied": True}
        for name, value in built.items():
            if getattr(config, name) != value:
                raise ValueError(f"{name} = {getattr(config, name)!r}: the PyTorch peer has only {value!r}")
        T, C = config.context_length, config.hidden_dim
        self.embedding_scale = config.embedding_scale
        self.embedding = nn.Embedding(config.vocab_size, C)
        if config.position == "learned":
            self.position = nn.Parameter(torch.zeros(T, C))
        elif config.position == "sinusoidal":
            self.register_buffer("position", sinusoids(T, C))
        else:
            raise ValueError(f"position = {config.position!r}: the PyTorch peer has only 'learned' and 'sinusoidal'")
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.num_layers))
        self.final_norm = nn.LayerNorm(C, eps=config.norm_epsilon)
        for parameter in self.parameters():
            if parameter.ndim >= 2:
                nn.init.normal_(parameter, std=0.02)

    def forward(self, ids: Tensor, targets: Tensor) -> Tensor:
        """The mean loss, for ids and targets (B, T)."""
        x = self.embedding(ids) * self.embedding_scale + self.position[: ids.shape[1]]
        for block in self.blocks:
            x = block(x)
        logits = F.linear(self.final_norm(x), self.embedding.weight)
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


def sinusoids(num_positions: int, hidden_dim: int) -> Tensor:
    """(num_positions, C)."""
    frequency = torch.exp(torch.arange(0, hidden_dim, 2) * (-math.log(10_000) / hidden_dim))
    angle = torch.arange(num_positions)[:, None] * frequency[None, :]
    return torch.stack([angle.sin(), angle.cos()], dim=2).flatten(1)


def training(size: str, memory: str) -> Job:
    """Training steps; `memory` is "usual", or "keep" for the allocator setting that tlab makes."""
    if memory == "keep":
        keep_freed_memory()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    config, batch_size = SIZES[size]
    settings = TrainConfig(steps=ENDLESS, batch_size=batch_size)
    tokens = random_corpus(config.vocab_size).train
    model = TorchTransformer(config)
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for p in model.parameters() if p.ndim >= 2], "weight_decay": settings.weight_decay},
            {"params": [p for p in model.parameters() if p.ndim < 2], "weight_decay": 0.0},
        ],
        lr=settings.learning_rate,
        betas=(settings.beta1, settings.beta2),
        eps=settings.epsilon,
        fused=True,  # measured: a third of the time of PyTorch's other two ways, nano size
    )
    done = 0

    def work(steps: int) -> None:
        nonlocal done
        for _ in range(steps):
            done += 1
            batch = draw_batch(tokens, batch_size, config.context_length, settings.batch_seed, done)
            ids, targets = (torch.from_numpy(array).long() for array in batch)
            loss = model(ids, targets)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), settings.gradient_clip, foreach=True)
            for group in optimizer.param_groups:
                group["lr"] = settings.learning_rate_at(done)
            optimizer.step()
            loss.item()

    return work
