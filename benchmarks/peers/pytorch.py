"""The PyTorch side: the same transformer as people write it who want it fast, with nothing of ours in its step.

Fused attention, `nn.Linear`, `nn.LayerNorm`, fused AdamW; in eager mode, or handed to torch.compile.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.cases import size_of
from benchmarks.jobs import ENDLESS, Job, random_corpus
from tlab.machine import keep_freed_memory
from tlab.nn.config import ModelConfig
from tlab.training.config import TrainConfig
from tlab.training.trainer import draw_batch
from tlab.types import Array, Ids

NORMS = {"layernorm": nn.LayerNorm, "rmsnorm": nn.RMSNorm}
ACTIVATIONS: dict[str, Callable[..., Tensor]] = {
    "gelu": lambda up: F.gelu(up, approximate="tanh"),
    "relu": F.relu,
    "swiglu": lambda up, gate: F.silu(gate) * up,
}
RESIDUALS: dict[str, Callable[..., Tensor]] = {
    "pre": lambda x, f, norm, norm_out: x + f(norm(x)),
    "post": lambda x, f, norm, norm_out: norm(x + f(x)),
    "sandwich": lambda x, f, norm, norm_out: x + norm_out(f(norm(x))),
}
POSITIONS = ("learned", "sinusoidal", "rope")


class CausalAttention(nn.Module):
    """Attention in PyTorch's own fused kernel."""

    cos: Tensor
    sin: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.num_heads = config.num_heads
        self.turns = config.position == "rope"
        if self.turns:
            cos, sin = rotations(config.context_length, config.head_dim)
            self.register_buffer("cos", cos)
            self.register_buffer("sin", sin)
        self.qkv = nn.Linear(config.hidden_dim, 3 * config.hidden_dim, bias=config.bias)
        self.out = nn.Linear(config.hidden_dim, config.hidden_dim, bias=config.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, C)."""
        B, T, C = x.shape
        queries, keys, values = (
            part.view(B, T, self.num_heads, -1).transpose(1, 2) for part in self.qkv(x).split(C, dim=2)
        )
        if self.turns:
            queries, keys = self.turn(queries), self.turn(keys)
        mixed = F.scaled_dot_product_attention(queries, keys, values, is_causal=True)
        return self.out(mixed.transpose(1, 2).reshape(B, T, C))

    def turn(self, heads: Tensor) -> Tensor:
        """RoPE in the half layout, as Llama's code has it: (B, H, T, D) -> (B, H, T, D)."""
        T = heads.shape[2]
        first, second = heads.chunk(2, dim=-1)
        return heads * self.cos[:T] + torch.cat([-second, first], dim=-1) * self.sin[:T]


class Mlp(nn.Module):
    """Up, perhaps a gate, and down."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.activation = ACTIVATIONS[config.activation]
        self.up = nn.Linear(config.hidden_dim, config.mlp_dim, bias=config.bias)
        gated = config.activation == "swiglu"
        self.gate = nn.Linear(config.hidden_dim, config.mlp_dim, bias=config.bias) if gated else None
        self.down = nn.Linear(config.mlp_dim, config.hidden_dim, bias=config.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, C)."""
        inputs = (self.up(x),) if self.gate is None else (self.up(x), self.gate(x))
        return self.down(self.activation(*inputs))


class Block(nn.Module):
    """Attention and MLP in a residual layout."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.layout = RESIDUALS[config.residual]
        self.attention, self.mlp = CausalAttention(config), Mlp(config)
        outer = config.residual == "sandwich"
        self.norm1, self.norm2 = make_norm(config), make_norm(config)
        self.norm1_out, self.norm2_out = (make_norm(config), make_norm(config)) if outer else (None, None)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, C)."""
        x = self.layout(x, self.attention, self.norm1, self.norm1_out)
        return self.layout(x, self.mlp, self.norm2, self.norm2_out)


def make_norm(config: ModelConfig) -> nn.Module:
    """The configured norm, PyTorch's own."""
    return NORMS[config.norm](config.hidden_dim, eps=config.norm_epsilon)


class TorchTransformer(nn.Module):
    """The transformer of a `ModelConfig`, of any family that the benchmarks know; its modules have our names."""

    waves: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        known = {"norm": NORMS, "activation": ACTIVATIONS, "residual": RESIDUALS, "position": POSITIONS, "tied": [True]}
        for name, values in known.items():
            if getattr(config, name) not in values:
                allowed = ", ".join(map(repr, values))
                raise ValueError(f"{name} = {getattr(config, name)!r}: the PyTorch peer has only {allowed}")
        T, C = config.context_length, config.hidden_dim
        self.embedding_scale = config.embedding_scale
        self.embedding = nn.Embedding(config.vocab_size, C)
        self.position = nn.Embedding(T, C) if config.position == "learned" else None
        if config.position == "sinusoidal":
            self.register_buffer("waves", sinusoids(T, C))
        self.adds_waves = config.position == "sinusoidal"
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.num_layers))
        self.final_norm = nn.Identity() if config.residual == "post" else make_norm(config)
        for parameter in self.parameters():
            if parameter.ndim >= 2:
                nn.init.normal_(parameter, std=0.02)

    def forward(self, ids: Tensor, targets: Tensor) -> Tensor:
        """The mean loss, for ids and targets (B, T)."""
        T = ids.shape[1]
        x = self.embedding(ids)
        if self.embedding_scale != 1:
            x = x * self.embedding_scale
        if self.position is not None:
            x = x + self.position.weight[:T]
        if self.adds_waves:
            x = x + self.waves[:T]
        for block in self.blocks:
            x = block(x)
        logits = F.linear(self.final_norm(x), self.embedding.weight)
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


def sinusoids(num_positions: int, hidden_dim: int) -> Tensor:
    """(num_positions, C)."""
    frequency = torch.exp(torch.arange(0, hidden_dim, 2) * (-math.log(10_000) / hidden_dim))
    angle = torch.arange(num_positions)[:, None] * frequency[None, :]
    return torch.stack([angle.sin(), angle.cos()], dim=2).flatten(1)


def rotations(num_positions: int, head_dim: int) -> tuple[Tensor, Tensor]:
    """cos and sin for RoPE, (num_positions, D) each, both halves alike."""
    frequency = 10_000 ** (-torch.arange(0, head_dim, 2) / head_dim)
    angle = torch.arange(num_positions)[:, None] * torch.cat([frequency, frequency])[None, :]
    return angle.cos(), angle.sin()


def our_name(module: nn.Module, name: str) -> tuple[str, bool]:
    """A PyTorch parameter's name -> its name with us, and whether it lies transposed there."""
    owner, _, leaf = name.rpartition(".")
    kind = module.get_submodule(owner)
    if isinstance(kind, (nn.LayerNorm, nn.RMSNorm)):
        leaf = {"weight": "scale", "bias": "shift"}[leaf]
    return f"{owner}.{leaf}", isinstance(kind, nn.Linear) and leaf == "weight"


def load(model: nn.Module, weights: Mapping[str, Array]) -> None:
    """Take over every weight of a `Transformer`."""
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            ours, transposed = our_name(model, name)
            tensor.copy_(torch.tensor(weights[ours].T if transposed else weights[ours]))


def loss_and_gradients(
    config: ModelConfig, weights: Mapping[str, Array], ids: Ids, targets: Ids
) -> tuple[float, dict[str, Array]]:
    """This peer's loss and gradients, under our names: for the test that it is the same model."""
    model = TorchTransformer(config).to(torch.from_numpy(weights["embedding.weight"]).dtype)
    load(model, weights)
    loss = model(torch.from_numpy(ids), torch.from_numpy(targets))
    loss.backward()
    gradients = {}
    for name, tensor in model.named_parameters():
        ours, transposed = our_name(model, name)
        assert tensor.grad is not None
        gradients[ours] = tensor.grad.numpy().T if transposed else tensor.grad.numpy()
    return loss.item(), gradients


def training(size: str, family: str, threads: str, mode: str) -> Job:
    """Training steps; `mode` is "eager", "compile", or "keep": eager with the allocator setting that tlab makes."""
    if mode == "keep":
        keep_freed_memory()
    torch.set_num_threads(int(threads))
    torch.manual_seed(0)
    config, batch_size = size_of(size, family)
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
    loss_of: Any = torch.compile(model) if mode == "compile" else model
    done = 0

    def work(steps: int) -> None:
        nonlocal done
        for _ in range(steps):
            done += 1
            batch = draw_batch(tokens, batch_size, config.context_length, settings.batch_seed, done)
            ids, targets = (torch.from_numpy(array).long() for array in batch)
            loss = loss_of(ids, targets)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), settings.gradient_clip, foreach=True)
            for group in optimizer.param_groups:
                group["lr"] = settings.learning_rate_at(done)
            optimizer.step()
            loss.item()

    return work


class Decoder:
    """One token at a time, as tight as PyTorch gets in Python: bare weights, no modules, a cache made once."""

    def __init__(self, model: TorchTransformer, config: ModelConfig) -> None:
        assert model.position is not None
        self.head_dim = config.head_dim
        self.epsilon = config.norm_epsilon
        self.embedding, self.position = model.embedding.weight, model.position.weight
        blocks: Any = model.blocks
        final: Any = model.final_norm
        self.final: tuple[Tensor, Tensor] = (final.weight, final.bias)
        cache = (config.num_layers, 2, 1, config.num_heads, config.context_length, config.head_dim)
        self.cache = torch.zeros(cache)  # (L, 2, 1, H, S, D)
        self.layers: list[Any] = [
            (
                (b.norm1.weight, b.norm1.bias, b.attention.qkv.weight, b.attention.qkv.bias),
                (b.attention.out.weight, b.attention.out.bias),
                (b.norm2.weight, b.norm2.bias, b.mlp.up.weight, b.mlp.up.bias),
                (b.mlp.down.weight, b.mlp.down.bias),
            )
            for b in blocks
        ]

    def logits(self, token: int, t: int) -> Tensor:
        """Scores (1, V) of what follows `token` at place `t`; the places before it are in the cache."""
        C = (self.embedding.shape[1],)
        x = (self.embedding[token] + self.position[t]).view(1, -1)
        for cache, (before1, out, before2, down) in zip(self.cache, self.layers, strict=True):
            scale, shift, weight, bias = before1
            h = F.linear(F.layer_norm(x, C, scale, shift, self.epsilon), weight, bias)
            queries, keys, values = h.view(3, 1, -1, 1, self.head_dim)  # (1, H, 1, D) each
            cache[0, :, :, t : t + 1] = keys
            cache[1, :, :, t : t + 1] = values
            mixed = F.scaled_dot_product_attention(queries, cache[0, :, :, : t + 1], cache[1, :, :, : t + 1])
            x = x + F.linear(mixed.view(1, -1), *out)
            scale, shift, weight, bias = before2
            h = F.linear(F.layer_norm(x, C, scale, shift, self.epsilon), weight, bias)
            x = x + F.linear(F.gelu(h, approximate="tanh"), *down)
        return F.linear(F.layer_norm(x, C, *self.final, self.epsilon), self.embedding)


def generation(size: str, text_length: str) -> Job:
    """Sampled tokens in texts of `text_length`, each from a prompt of one token."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    config = size_of(size, "gpt2").config
    decoder = Decoder(TorchTransformer(config), config)
    length = int(text_length)

    @torch.inference_mode()
    def work(tokens: int) -> None:
        for _ in range(tokens // length):
            token = 0
            for t in range(length):
                scores = decoder.logits(token, t)[0]
                # One draw by a race of exponentials: half the time of torch.multinomial.
                probabilities = torch.softmax(scores / 0.8, dim=0)
                token = int((probabilities / torch.empty_like(probabilities).exponential_()).argmax())

    return work
