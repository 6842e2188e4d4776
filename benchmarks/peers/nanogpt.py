"""nanoGPT's recipe (Karpathy 2022) for a CPU on tiny Shakespeare, written again in PyTorch.

Its configuration: 4 layers, 4 heads, 128 wide, context 64, batch 12, 2,000 updates, no dropout, no biases, not
compiled. AdamW (0.9, 0.99) with decay 0.1 for matrices, clipping at 1, a learning rate of 1e-3 after 100 steps of
warm-up, falling along a cosine to 1e-4. The GELU is the exact one.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.cases import NANO
from benchmarks.jobs import Job, random_corpus
from tlab.types import Ids

VOCABULARY, CONTEXT, WIDTH, LAYERS, HEADS = (
    NANO.vocab_size, NANO.context_length, NANO.hidden_dim, NANO.num_layers, NANO.num_heads,
)  # fmt: skip
BATCH, STEPS, WARMUP = 12, 2000, 100
HIGHEST, LOWEST = 1e-3, 1e-4  # learning rate


class Block(nn.Module):
    """A Pre-LN block without a single bias."""

    def __init__(self) -> None:
        super().__init__()
        self.before_attention = nn.LayerNorm(WIDTH, bias=False)
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH, bias=False)
        self.out = nn.Linear(WIDTH, WIDTH, bias=False)
        self.before_mlp = nn.LayerNorm(WIDTH, bias=False)
        self.up = nn.Linear(WIDTH, 4 * WIDTH, bias=False)
        self.down = nn.Linear(4 * WIDTH, WIDTH, bias=False)
        for linear in (self.qkv, self.up):
            nn.init.normal_(linear.weight, std=0.02)
        for linear in (self.out, self.down):  # what writes into the residual stream: smaller, the deeper the model
            nn.init.normal_(linear.weight, std=0.02 / math.sqrt(2 * LAYERS))

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, C)."""
        B, T, C = x.shape
        qkv = self.qkv(self.before_attention(x)).view(B, T, 3, HEADS, C // HEADS).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(*qkv, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).reshape(B, T, C))
        return x + self.down(F.gelu(self.up(self.before_mlp(x))))


class NanoGpt(nn.Module):
    """The model; one table for reading tokens and for scoring them."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.places = nn.Embedding(VOCABULARY, WIDTH), nn.Embedding(CONTEXT, WIDTH)
        self.blocks = nn.Sequential(*(Block() for _ in range(LAYERS)))
        self.last_norm = nn.LayerNorm(WIDTH, bias=False)
        for embedding in (self.tokens, self.places):
            nn.init.normal_(embedding.weight, std=0.02)

    def forward(self, ids: Tensor, targets: Tensor) -> Tensor:
        """The mean loss, for ids and targets (B, T)."""
        x = self.tokens(ids) + self.places.weight[: ids.shape[1]]
        logits = F.linear(self.last_norm(self.blocks(x)), self.tokens.weight)
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


def learning_rate(step: int) -> float:
    """Of update number `step`, counted from 0."""
    if step < WARMUP:
        return HIGHEST * (step + 1) / (WARMUP + 1)
    done = min(1.0, (step - WARMUP) / (STEPS - WARMUP))
    return LOWEST + (HIGHEST - LOWEST) * 0.5 * (1 + math.cos(math.pi * done))


class Run:
    """A training run that is advanced step by step."""

    steps, looks_every = STEPS, 100

    def __init__(self, tokens: Ids, seed: int) -> None:
        torch.manual_seed(seed)
        self.tokens = torch.tensor(tokens, dtype=torch.long)
        self.model = NanoGpt()
        parameters = list(self.model.parameters())
        decayed = [p for p in parameters if p.ndim >= 2]
        others = [p for p in parameters if p.ndim < 2]
        groups = [{"params": decayed, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=HIGHEST, betas=(0.9, 0.99), fused=True)
        self.step = 0

    def advance(self) -> float:
        """One update; -> the batch's loss."""
        starts = torch.randint(len(self.tokens) - CONTEXT, (BATCH,)).tolist()
        ids = torch.stack([self.tokens[i : i + CONTEXT] for i in starts])
        targets = torch.stack([self.tokens[i + 1 : i + 1 + CONTEXT] for i in starts])
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.step)
        loss = self.model(ids, targets)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        return loss.item()

    @torch.inference_mode()
    def evaluate(self, tokens: Ids) -> float:
        """Mean loss over a whole text cut into windows, as `tlab.training.trainer.evaluate` has it."""
        text = torch.tensor(tokens, dtype=torch.long)
        whole = (len(text) - 1) // CONTEXT * CONTEXT
        ids, targets = text[:whole].view(-1, CONTEXT), text[1 : whole + 1].view(-1, CONTEXT)
        total = sum(self.model(a, b).item() * a.numel() for a, b in zip(ids.split(64), targets.split(64), strict=True))
        if whole < len(text) - 1:
            rest = text[whole:]
            total += self.model(rest[None, :-1], rest[None, 1:]).item() * (len(rest) - 1)
        return total / (len(text) - 1)


def training(threads: str) -> Job:
    """Training steps, drawing batches as the recipe does."""
    torch.set_num_threads(int(threads))
    run = Run(random_corpus(VOCABULARY).train, seed=0)

    def work(steps: int) -> None:
        for _ in range(steps):
            run.advance()

    return work
