"""What the residual stream is made of: one addend for the token, one for its position, and for every head and MLP.

In Pre-LN the stream is a plain sum. In Post-LN every norm on the way rescales what is there; in Sandwich a norm is
between a sublayer and the stream. With the mean and the size that each norm measured held fixed, both are linear too,
and each addend can be followed to the end. That the addends add up to the stream is tested for every combination.

Source: Elhage et al. 2021, "A Mathematical Framework for Transformer Circuits"; for norms held fixed, TransformerLens.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from tlab.inside.probing import ProbeError
from tlab.nn.attention import Attention, AttentionTrace, split_heads
from tlab.nn.linear import Linear, as_rows
from tlab.nn.mlp import Mlp, MlpTrace
from tlab.nn.model import Block, BlockTrace, Trace, Transformer
from tlab.nn.norms import Norm, mean_over_channels
from tlab.nn.residuals import Branch, BranchTrace, Residual, ResidualTrace
from tlab.types import Array


class Contribution(NamedTuple):
    """One addend of the stream."""

    name: str  # "token", "position", "attention.1.head.2", "mlp.0" ...; "offset" is what biases and shifts add
    value: Array  # (B, T, C)


def head_outputs(attention: Attention, trace: AttentionTrace) -> Array:
    """What each head puts out, (H, B, T, C): what it attended to, gated, through its own rows of the output matrix."""
    by_head = split_heads(trace.gated, attention.head_dim).swapaxes(0, 1)  # (H, B, T, D)
    rows = attention.out.weight.data.reshape(attention.num_heads, 1, attention.head_dim, -1)  # (H, 1, D, C)
    return by_head @ rows


def neuron_outputs(mlp: Mlp, trace: MlpTrace, neurons: list[int]) -> Array:
    """What each of these hidden units puts out, (N, B, T, C): its value times its row of the output matrix."""
    hidden = trace.hidden[..., neurons]  # (B, T, N)
    return np.moveaxis(hidden, -1, 0)[..., None] * mlp.down.weight.data[neurons][:, None, None, :]


# With the mean and the size that it measured held fixed, a norm is linear but for its shift: norm(x) = A x + shift. So
# is one that squashes each number, with the factor by which it did so.


def linearized(norm: Norm, part: Array, cache: Any) -> Array:
    """A part: what becomes of `part` (..., C), one of the addends of the x whose `cache` is given.

    Raises:
        ProbeError: the norm does not state its form.
    """
    if norm.is_identity:
        return part
    factor = norm.factor(cache)
    if factor is None:
        raise ProbeError(
            f"{type(norm).__name__} does not state its form, so its effect on one addend of the stream is unknown; "
            "where it has the usual one, let its class say so: `centered`, or `factor`, see tlab.nn.norms.Norm"
        )
    rows = as_rows(part)  # (N, C)
    if norm.centered:
        rows = rows - mean_over_channels(rows)
    return (rows * factor * norm.scale.data).reshape(part.shape)


def shift_of(norm: Norm) -> Array | float:
    """What a norm adds whatever x is, (C,)."""
    return 0.0 if norm.shift is None else norm.shift.data


def branch_contributions(
    branch: Branch, trace: BranchTrace, outputs: Mapping[str, Array], bias: Array | float
) -> list[Contribution]:
    """The addends of `trace.added`: one for each of `outputs` (name -> part of f), and "offset" for the bias of f."""
    constant = np.zeros_like(trace.added) + bias
    norm, cache = branch.norm_out, trace.norm_out
    if norm is not None:
        outputs = {name: linearized(norm, part, cache) for name, part in outputs.items()}
        constant = linearized(norm, constant, cache) + shift_of(norm)
    return [*(Contribution(*item) for item in outputs.items()), Contribution("offset", constant)]


def block_contributions(block: Block, trace: BlockTrace, layer: int) -> tuple[list[Contribution], list[Contribution]]:
    """What attention adds, by head, and what the MLP adds; in the stream's coordinates where each is added."""
    heads = {
        f"attention.{layer}.head.{h}": part for h, part in enumerate(head_outputs(block.attention, trace.attention))
    }
    mlp = {f"mlp.{layer}": trace.mlp.hidden @ block.mlp.down.weight.data}
    return (
        branch_contributions(
            block.attention_branch, trace.attention_residual.branch, heads, bias_of(block.attention.out)
        ),
        branch_contributions(block.mlp_branch, trace.mlp_residual.branch, mlp, bias_of(block.mlp.down)),
    )


def bias_of(linear: Linear) -> Array | float:
    """Its bias, (C,)."""
    return 0.0 if linear.bias is None else linear.bias.data


def stream_contributions(model: Transformer, trace: Trace, depth: int | None = None) -> list[Contribution]:
    """The addends of the stream after `depth` blocks; by default of what the head reads, after the final norm.

    Args:
        model: its weights.
        trace: of a forward pass without a cache.
        depth: 0 for what enters the first block, L for what leaves the last, before any final norm.

    Returns:
        addends (B, T, C) whose sum is the stream: the token's own, its position's, every head's, every MLP's, and
        "offset", all that biases and the norms' shifts have added.

    Raises:
        ProbeError: a norm on the way does not state its form, or the layout does more than to add and to norm.
    """
    token = model.embedding.forward(trace.ids)[0] * model.config.embedding_scale
    parts = {"token": token, "position": trace.embedded - token}
    offset = np.zeros_like(token)
    stream = trace.embedded
    last = len(model.blocks) if depth is None else depth

    def through(norm: Norm, cache: Any) -> None:
        nonlocal parts, offset
        parts = {name: linearized(norm, part, cache) for name, part in parts.items()}
        offset = linearized(norm, offset, cache) + shift_of(norm)

    for layer, (block, block_trace) in enumerate(zip(model.blocks[:last], trace.blocks[:last], strict=True)):
        added_by = block_contributions(block, block_trace, layer)
        for branch, residual, added in zip(block.layout.branches, block_trace, added_by, strict=True):
            check_addition(block.layout, branch, residual, stream)
            stream = residual.y
            parts.update({name: value for name, value in added if name != "offset"})
            offset = offset + added[-1].value
            if branch.norm_sum is not None:
                through(branch.norm_sum, residual.norm)
    if depth is None and model.final_norm is not None:
        through(model.final_norm, trace.final_norm_cache)
    return [*(Contribution(name, part) for name, part in parts.items()), Contribution("offset", offset)]


ROUNDING = 1e-3  # of the largest entry: far above what float32 loses in one addition, far below a scale forgotten


def check_addition(layout: Residual, branch: Branch, residual: ResidualTrace, stream: Array) -> None:
    """Refuse a layout that does something else to the stream (B, T, C) than to add what the branch adds, and to norm.

    Raises:
        ProbeError: it does.
    """
    total = stream + residual.branch.added
    norm = branch.norm_sum
    y = total if norm is None else linearized(norm, total, residual.norm) + shift_of(norm)
    if np.abs(residual.y - y).max() > ROUNDING * max(np.abs(stream).max(), np.abs(y).max()):
        raise ProbeError(
            f"the residual layout {type(layout).__name__} does more to the stream than to add to it and to norm it, so "
            "it cannot be taken apart into what each part has added"
        )


def check_reading(layout: Residual, branch: Branch, residual: ResidualTrace) -> None:
    """Refuse a layout of which a sublayer reads something else than the stream through the norm that is stated.

    Raises:
        ProbeError: it does.
    """
    x, norm = residual.x, branch.norm_in
    stated, read = x if norm is None else norm.forward(x)[0], residual.branch.sublayer.x
    if np.abs(read - stated).max() > ROUNDING * np.abs(stated).max():
        raise ProbeError(
            f"the residual layout {type(layout).__name__} does more to what attention reads than to norm it where it "
            "states that it does, so its matrices alone do not say what a head does with a token"
        )


def unembedding(model: Transformer) -> Array:
    """The matrix (C, V) that turns what the head reads into logits."""
    return model.head.weight.data if model.head else model.embedding.weight.data.T
