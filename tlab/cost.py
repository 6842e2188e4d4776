"""What a model costs, part by part: parameters, operations, memory. Nothing is trained for it.

Shapes come from a declared model, which has no arrays, so they are exact for any component and cost nothing however
large the model. What a step keeps is measured on the arrays of a real forward pass; `kept_numbers` is the closed form
to use where that would be too large to make. All blocks are equal, but for the first where later ones mix in its
values: one of each kind is counted and multiplied.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import re
from typing import Any, NamedTuple

import numpy as np

from tlab.config import ConfigError
from tlab.machine import peak_memory_mib, total_memory
from tlab.nn.attention import LONGEST_KEPT, query_blocks
from tlab.nn.config import ModelConfig
from tlab.nn.linear import LARGE_VOCABULARY
from tlab.nn.loss import CrossEntropy
from tlab.nn.model import Transformer, walk
from tlab.training.config import ComputeConfig, TrainConfig
from tlab.training.optimizers import OPTIMIZERS
from tlab.types import Array

BYTES = 4  # of a float32
BLOCK_PREFIX = r"^blocks\.\d+\."  # how the names of what is in a block begin
BACKWARD_RATIO = 2  # a product's gradient is two products of its size: one for each factor
MAX_MEASURED = 2**26  # numbers of a model that is made to be measured: 256 MiB, a second
FORWARD_SHARE = 1 / (1 + BACKWARD_RATIO)  # of a training step


class PartParameters(NamedTuple):
    """Number of weights of one part, in all blocks together."""

    part: str
    parameters: int


class PartFlops(NamedTuple):
    """Floating-point operations of one part's matrix products, in all blocks; a multiply and an add are two."""

    part: str
    forward: int
    training: int  # forward and backward


class PartBytes(NamedTuple):
    """Memory of one part, in all blocks."""

    part: str
    bytes: int


def each_kind(config: ModelConfig) -> ModelConfig:
    """The model with one block of each kind: every other one is the last of these again."""
    return dataclasses.replace(config, num_layers=min(config.num_layers, 2 if config.value_residual else 1))


def copies(name: str, config: ModelConfig) -> int:
    """How often something in the model of `each_kind` is in the whole: what lies in its last block once a layer."""
    last = each_kind(config).num_layers - 1
    return config.num_layers - last if name.startswith(f"blocks.{last}.") else 1


def part_of(name: str) -> str:
    """The part that a weight belongs to: `blocks.0.attention.qkv.bias` to `attention.qkv`; all norms are one part."""
    owner = re.sub(BLOCK_PREFIX, "", name).rpartition(".")[0]
    return "norms" if "norm" in owner else owner


def parameters_by_part(config: ModelConfig) -> list[PartParameters]:
    """Weights of every part, in reading order; a tied head has none of its own."""
    counts: dict[str, int] = {}
    for name, shape in Transformer.parameter_shapes(each_kind(config)).items():
        part = part_of(name)
        counts[part] = counts.get(part, 0) + math.prod(shape) * copies(name, config)
    return [PartParameters(*item) for item in counts.items()]


def num_parameters(config: ModelConfig) -> int:
    """Number of weights of such a model, without making one."""
    return sum(row.parameters for row in parameters_by_part(config))


def flops_by_part(config: ModelConfig, batch_size: int, context_length: int | None = None) -> list[PartFlops]:
    """Operations of the matrix products that one step makes on `batch_size` texts of `context_length` tokens.

    Each weight of a product meets each token once: 2 operations forward, 4 more backward. Attention's two products,
    scores and mixing, have no weights; they are made for the whole (T, T) square, the masked half included, or of a
    long text for what its blocks of queries see, and of a very long one the scores once more in backward. The
    embedding is looked up for free; its gradient is a product with one-hot vectors, but of a large vocabulary it is
    sorted. Norms, activations, softmax and the optimizer are left out: few operations, though not always little time.
    """
    T = context_length or config.context_length
    N, C, V, L = batch_size * T, config.hidden_dim, config.vocab_size, config.num_layers
    rows = [PartFlops("embedding", 0, 2 * N * V * C if V <= LARGE_VOCABULARY else 0)]
    blocks = query_blocks(T)
    seen = sum((block.stop - block.start) * block.stop for block in blocks)  # pairs of a query and a key
    pairs = 2 * batch_size * seen * C * L  # over all heads, for D adds up to C
    again = pairs if T > LONGEST_KEPT else 0
    for name, shape in Transformer.parameter_shapes(each_kind(config)).items():
        if name.startswith("blocks.0.") and len(shape) == 2:  # every block has the same products
            rows.append(product(part_of(name), 2 * N * math.prod(shape) * L))
            if part_of(name) == "attention.qkv":
                rows += [product("attention.scores", pairs, again), product("attention.mixing", pairs)]
    return [*rows, product("head", 2 * N * C * V)]


@functools.lru_cache(maxsize=1 << 16)
def step_flops(config: ModelConfig, batch_size: int) -> int:
    """Operations of one training step's matrix products, as `flops_by_part` counts them."""
    return sum(row.training for row in flops_by_part(config, batch_size))


def rough_forward_flops(config: ModelConfig, batch_size: int) -> float:
    """Of one forward pass: two for each weight and token, vectors too, and those of attention.

    The default number of threads is chosen by it, and with the threads the last bits of every run. So it stays as it
    is, although `flops_by_part` is exact; they differ by a few percent.
    """
    T, C, L = config.context_length, config.hidden_dim, config.num_layers
    return 2.0 * batch_size * T * (num_parameters(config) + 2 * L * T * C)


def product(part: str, forward: int, again: int = 0) -> PartFlops:
    """A matrix product whose both factors want a gradient; `again` is what of it is made once more in backward."""
    return PartFlops(part, forward, (1 + BACKWARD_RATIO) * forward + again)


def activation_bytes_by_part(
    config: ModelConfig,
    batch_size: int,
    context_length: int | None = None,
    compute: ComputeConfig = ComputeConfig(),  # noqa: B008, frozen
) -> list[PartBytes]:
    """Memory that a training step holds between forward and backward, as float32.

    These are the trace and the loss's probabilities; what backward makes and drops on its way is not in it. They are
    measured: one text through one block, each array counted once however many names it has. Of a batch in
    micro-batches one is held at a time, the largest. Recomputed blocks keep their inputs, and one of them all the rest,
    while it is worked on. A model that is too large to be made for that is estimated, as one part.
    """
    held = -(-batch_size // compute.micro_batches)  # sequences, of all threads together
    text = dataclasses.replace(config, context_length=context_length or config.context_length)
    if num_parameters(each_kind(text)) + kept_numbers(each_kind(text), 1) > MAX_MEASURED:
        kept = kept_numbers(each_kind(text) if compute.recompute else text, held)
        return [PartBytes("activations, estimated", BYTES * kept)]
    rows = kept_by_part(config, context_length)
    if compute.recompute:
        T = context_length or config.context_length
        whole = {row.part: row.bytes // config.num_layers for row in rows if row.part in IN_BLOCKS}
        rows = [PartBytes(row.part, whole.get(row.part, row.bytes)) for row in rows]
        # The first block's input is counted as the embedding.
        inputs = BYTES * T * config.hidden_dim * (config.num_layers - 1)
        rows.insert(1, PartBytes("blocks' inputs", inputs))
    return [PartBytes(row.part, row.bytes * held) for row in rows if row.bytes]


IN_BLOCKS = ("norms", "attention weights", "attention", "mlp", "residual stream")


def kept_by_part(config: ModelConfig, context_length: int | None = None) -> list[PartBytes]:
    """What the forward pass over one text leaves, by part, in all blocks."""
    ids = np.zeros((1, context_length or config.context_length), np.int64)
    logits, trace = Transformer(each_kind(config)).forward(ids)
    _, loss_cache = CrossEntropy.forward(logits, ids)
    named: list[tuple[str, Any]] = [("embedding", (trace.ids, trace.embedded))]
    for i, block in enumerate(trace.blocks):
        attention = block.attention_residual.branch.sublayer  # as it is kept, of a very long text without weights
        named += [
            (f"blocks.{i}.norms", tuple((r.branch.norm_in, r.branch.norm_out, r.norm) for r in block)),
            (f"blocks.{i}.attention weights", (attention.weights, *attention.kept)),
            (f"blocks.{i}.attention", attention),
            (f"blocks.{i}.mlp", block.mlp),
            (f"blocks.{i}.residual stream", block),
        ]
    named += [
        ("final norm", (trace.final_norm_cache, trace.output)),
        ("head and loss", (logits, trace.logit_cap_cache, loss_cache)),
    ]
    counted: set[int] = set()
    sizes: dict[str, int] = {}
    for name, node in named:
        held = {id(memory): memory.nbytes for memory in (owner(array) for _, array in walk(node, name))}
        size = sum(held[address] for address in held.keys() - counted)
        counted |= held.keys()
        part = re.sub(BLOCK_PREFIX, "", name)
        sizes[part] = sizes.get(part, 0) + size * copies(name, config)
    return [PartBytes(*item) for item in sizes.items()]


def kept_numbers(config: ModelConfig, batch_size: int) -> int:
    """An estimate of the numbers that a step holds for its backward pass, for models too large to measure.

    It is on the safe side: over all switches 0.9 to 2.6 times the sum of `activation_bytes_by_part`, since it counts
    attention scores three times, as backward holds them for a moment. Those of a long text, of which half or nothing
    is kept, are counted as well: who looks inside while it trains has all of them made.
    """
    B, T, C, H = batch_size, config.context_length, config.hidden_dim, config.num_heads
    return config.num_layers * B * T * (12 * C + 4 * config.mlp_dim + 3 * H * T) + 4 * B * T * config.vocab_size


def owner(array: Array) -> Array:
    """The array that holds a view's memory, which the view keeps alive as a whole."""
    return owner(array.base) if isinstance(array.base, np.ndarray) else array


def weight_bytes_by_part(
    config: ModelConfig, optimizer: str, threads: int = 1, *, averaged: bool = False
) -> list[PartBytes]:
    """Memory of everything that has a number for each weight: weights, gradients, the optimizer's own vectors.

    Each thread has gradients of its own. An average of the weights is one more vector.

    Raises:
        UnknownKeyError: there is no such optimizer.
    """
    vector = BYTES * num_parameters(config)
    state = [PartBytes(f"{optimizer}: {name.replace('_', ' ')}", vector) for name in OPTIMIZERS[optimizer].state_names]
    average = [PartBytes("average of the weights", vector)] * averaged
    return [PartBytes("weights", vector), PartBytes("gradients", vector * threads), *state, *average]


def training_bytes(config: ModelConfig, training: TrainConfig, compute: ComputeConfig = ComputeConfig()) -> int:  # noqa: B008, frozen
    """Memory of the arrays of a training: what has a number for each weight, and what a step keeps for backward."""
    weights = weight_bytes_by_part(config, training.optimizer, compute.threads or 1, averaged=training.ema_decay > 0)
    return sum(row.bytes for row in [*weights, *activation_bytes_by_part(config, training.batch_size, compute=compute)])


def process_bytes(config: ModelConfig, training: TrainConfig, compute: ComputeConfig = ComputeConfig()) -> int:  # noqa: B008, frozen
    """Memory of a process that trains it: Python with the lab as it is here, and the arrays."""
    return int((peak_memory_mib() or 0.0) * 2**20) + training_bytes(config, training, compute)


def refuse_beyond_memory(config: ModelConfig, training: TrainConfig, compute: ComputeConfig = ComputeConfig()) -> None:  # noqa: B008, frozen
    """Refuse a training that this machine cannot hold, before anything of it is made: the system would end it later.

    Raises:
        ConfigError: it needs more memory than there is.
    """
    needed, there = process_bytes(config, training, compute), total_memory() or math.inf
    if needed > there:
        raise ConfigError(
            "training this takes more memory than there is; make it smaller: it needs about "
            f"{needed / 2**30:,.1f} GiB of memory, and this machine has {there / 2**30:,.1f} GiB; take a smaller "
            "batch, a shorter context, or fewer and narrower layers"
        )
