"""What the residual stream is made of: one addend for the token, one for its position, and for every head and MLP.

In Pre-LN the stream is a plain sum. In Post-LN every norm on the way rescales what is there; in Sandwich a norm
stands between a sublayer and the stream. With the size that each norm measured held fast, both are linear too, and
each addend can be followed to the end. That the addends add up to the stream is tested for every combination.

Source: Elhage et al. 2021, "A Mathematical Framework for Transformer Circuits"; for norms held fast, TransformerLens.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tlab.nn.model import Block, BlockTrace, Trace, Transformer
from tlab.nn.residuals import Residual, ResidualTrace
from tlab.types import Array


class Contribution(NamedTuple):
    """One addend of the stream."""

    name: str  # "token", "position", "attention.1.head.2", "mlp.0" ...; "offset" is what biases and shifts add
    value: Array  # (B, T, C)


def head_outputs(block: Block, trace: BlockTrace) -> Array:
    """What each head puts out, (H, B, T, C): its mixed values through its own rows of the output matrix."""
    mixed, H = trace.attention.mixed, block.attention.num_heads
    B, T, C = mixed.shape
    by_head = mixed.reshape(B, T, H, C // H).transpose(2, 0, 1, 3)  # (H, B, T, D)
    rows = block.attention.out.weight.data.reshape(H, 1, C // H, C)
    return by_head @ rows


def neuron_outputs(block: Block, trace: BlockTrace, neurons: list[int]) -> Array:
    """What each of these hidden units puts out, (N, B, T, C): its value times its row of the output matrix."""
    hidden = trace.mlp.hidden[..., neurons]  # (B, T, N)
    return np.moveaxis(hidden, -1, 0)[..., None] * block.mlp.down.weight.data[neurons][:, None, None, :]


def sublayer_contributions(
    layout: Residual, trace: ResidualTrace, outputs: dict[str, Array], bias: Array | float
) -> list[Contribution]:
    """The addends of `trace.added`: one for each of `outputs` (name -> part of f), and "offset" for the bias of f."""
    shares = [Contribution(name, layout.share_of_added(part, trace)) for name, part in outputs.items()]
    constant = layout.share_of_added(np.zeros_like(trace.added) + bias, trace) + layout.offset_of_added
    return [*shares, Contribution("offset", constant)]


def block_contributions(block: Block, trace: BlockTrace, layer: int) -> tuple[list[Contribution], list[Contribution]]:
    """What attention adds, by head, and what the MLP adds; in the stream's coordinates where each is added."""
    heads = head_outputs(block, trace)
    by_head = {f"attention.{layer}.head.{h}": part for h, part in enumerate(heads)}
    out, down = block.attention.out, block.mlp.down
    mlp_bias = down.bias.data if down.bias is not None else 0.0
    attention = sublayer_contributions(
        block.first, trace.first, by_head, out.bias.data if out.bias is not None else 0.0
    )
    f = trace.mlp.hidden @ down.weight.data
    return attention, sublayer_contributions(block.second, trace.second, {f"mlp.{layer}": f}, mlp_bias)


def stream_contributions(model: Transformer, trace: Trace, depth: int | None = None) -> list[Contribution]:
    """The addends of the stream behind `depth` blocks; by default of what the head reads, behind the final norm.

    Args:
        model: its weights.
        trace: of a forward pass without a cache.
        depth: 0 for what enters the first block, L for what leaves the last, before any final norm.

    Returns:
        addends (B, T, C) whose sum is the stream: the token's own, its position's, every head's, every MLP's, and
        "offset", all that biases and the norms' shifts have added.
    """
    token = model.embedding.forward(trace.ids)[0] * model.config.embedding_scale
    parts = {"token": token, "position": trace.embedded - token}
    offset = np.zeros_like(token)
    last = len(model.blocks) if depth is None else depth
    blocks = zip(model.blocks[:last], trace.blocks[:last], strict=True)
    for layer, (block, block_trace) in enumerate(blocks):
        added_by = block_contributions(block, block_trace, layer)
        for layout, layout_trace, added in zip(
            (block.first, block.second), (block_trace.first, block_trace.second), added_by, strict=True
        ):
            *named, constant = added
            parts.update({contribution.name: contribution.value for contribution in named})
            parts = {name: layout.share_of_stream(part, layout_trace) for name, part in parts.items()}
            offset = layout.share_of_stream(offset + constant.value, layout_trace) + layout.offset_of_stream
    if depth is None and model.final_norm is not None:
        norm, cache = model.final_norm, trace.final_norm
        parts = {name: norm.share(part, cache) for name, part in parts.items()}
        offset = norm.share(offset, cache) + norm.offset
    return [*(Contribution(name, part) for name, part in parts.items()), Contribution("offset", offset)]


def unembedding(model: Transformer) -> Array:
    """The matrix (C, V) that turns what the head reads into logits."""
    return model.head.weight.data if model.head else model.embedding.weight.data.T
