"""What happens without it: run a model with a part switched off, scaled, replaced by its mean or by another text's.

An intervention acts on what a part *adds to the stream*, in every layout: in Sandwich after the second norm, in
Post-LN before the norm of the sum. So the other parts of the same sublayer keep their size, and the effect is the
part's own. Everything after it is computed again.

Source: ablation and activation patching as in Wang et al. 2022 (IOI) and Meng et al. 2022 (causal tracing).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np

from tlab.inside.contributions import head_outputs, linearized, neuron_outputs
from tlab.nn.model import Block, Trace, Transformer
from tlab.nn.norms import NORMS, Norm
from tlab.nn.params import ParamSpace
from tlab.nn.positions import POSITIONS
from tlab.nn.residuals import Branch, BranchTrace
from tlab.registry import Registry
from tlab.types import Array, Ids

INTERVENTIONS: Registry[type[Intervention]] = Registry("change")


class Part(NamedTuple):
    """A part of a model that adds something to the stream."""

    layer: int  # from 0
    kind: str  # "attention" or "mlp"
    unit: int | None = None  # a head, or a hidden unit of the MLP; None for the whole sublayer

    def __str__(self) -> str:
        units = {"attention": "head", "mlp": "neuron"}
        return f"{self.kind}.{self.layer}" + ("" if self.unit is None else f".{units[self.kind]}.{self.unit}")


def find_part(model: Transformer, name: str) -> Part:
    """The part of this name: "attention.1", "attention.1.head.0", "mlp.0", "mlp.0.neuron.17".

    Raises:
        ValueError: there is none; the message says what there is.
    """
    c = model.config
    neurons = (Part(layer, "mlp", unit) for layer in range(c.num_layers) for unit in range(c.mlp_dim))
    for part in (*parts_of(model), *neurons):
        if str(part) == name:
            return part
    raise ValueError(
        f"no part {name!r} here; this model has attention.N and mlp.N for N = 0 to {c.num_layers - 1}, "
        f"attention.N.head.M for M = 0 to {c.num_heads - 1}, and mlp.N.neuron.M for M = 0 to {c.mlp_dim - 1}"
    )


def parts_of(model: Transformer) -> list[Part]:
    """Every head, and every sublayer as a whole, from the first block to the last."""
    heads = range(model.config.num_heads)
    return [
        Part(layer, kind, unit)
        for layer in range(model.config.num_layers)
        for kind, units in (("attention", (None, *heads)), ("mlp", (None,)))
        for unit in units
    ]


# --- interventions ---


class Context(NamedTuple):
    """What an intervention may look at: the part's output in this pass, and where it came from."""

    output: Array  # (B, T, C), the part's share of the sublayer's output f, without the bias
    part: Part
    block: Block
    trace: Any  # of the sublayer, AttentionTrace or MlpTrace
    reference: Trace | None  # of another pass, for interventions that take something from there

    def reference_output(self) -> Array:
        """What the part put out in the other pass, (B, T, C)."""
        assert self.reference is not None
        there = self.reference.blocks[self.part.layer]
        return part_output(self.block, there.attention if self.part.kind == "attention" else there.mlp, self.part)


class Intervention:
    """The contract: what the part puts out instead, (B, T, C)."""

    needs_reference: ClassVar[bool] = False
    keeps_norm: ClassVar[bool] = True  # whether the norm of what was added is held as it is here
    kinds: ClassVar[tuple[str, ...]] = ("attention", "mlp")  # the kinds of part that it applies to

    takes_factor: ClassVar[bool] = False  # whether `made` reads its argument

    @classmethod
    def made(cls, factor: float) -> Intervention:
        """One of these; `factor` is of those that multiply."""
        return cls()

    def apply(self, context: Context) -> Array:
        raise NotImplementedError


@INTERVENTIONS.add("zero", label="switch off (zero ablation)", formula="0")
class Zero(Intervention):
    """Adds nothing at all.

    Notice: zero may be far from anything the later blocks were trained with, so it can cost more than the part gave.
    """

    def apply(self, context: Context) -> Array:
        return np.zeros_like(context.output)


@INTERVENTIONS.add("mean", label="replace by its mean (mean ablation)", formula=r"\overline{c}")
class Mean(Intervention):
    """Adds the mean over all texts and places of the reference, or of this batch where none is given.

    Notice: only what the part adds at *this* place in particular is lost; what it adds everywhere is kept.
    """

    def apply(self, context: Context) -> Array:
        output = context.output
        if context.reference is not None:
            output = context.reference_output()
        return np.broadcast_to(output.mean((0, 1)), context.output.shape)


@INTERVENTIONS.add("scale", label="multiply", formula=r"k\,c")
@dataclass(frozen=True)
class Scale(Intervention):
    """Adds a multiple of what it would have added, twice as much by default."""

    takes_factor = True
    factor: float = 2.0

    @classmethod
    def made(cls, factor: float) -> Scale:
        return cls(factor)

    def apply(self, context: Context) -> Array:
        return context.output * self.factor


@INTERVENTIONS.add("patch", label="patch from another text", formula=r"c_\mathrm{other}")
class Patch(Intervention):
    """Adds what the part added in another text, place by place; the two texts need the same number of tokens.

    Where a norm follows, as in Sandwich-LN, it is what that norm made of it there.
    """

    needs_reference = True
    keeps_norm = False

    def apply(self, context: Context) -> Array:
        output = context.reference_output()
        if output.shape[1] != context.output.shape[1]:
            raise ValueError(
                f"as the model reads them, the other text has {output.shape[1]} tokens, this one "
                f"{context.output.shape[1]}; patching goes place by place, so give two texts with the same number of "
                "tokens"
            )
        return np.broadcast_to(output, context.output.shape)


@INTERVENTIONS.add("uniform", label="uniform attention", formula=r"\tfrac{1}{t}\sum_{s \le t} v_s")
class Uniform(Intervention):
    """Makes a head, or all heads of a layer, attend to every visible token with equal weight; a gate stays as it is."""

    kinds = ("attention",)

    def apply(self, context: Context) -> Array:
        values = context.trace.values  # (B, H, T, D)
        _, H, T, D = values.shape
        weights = np.tri(T, dtype=values.dtype) / np.arange(1, T + 1, dtype=values.dtype)[:, None]
        attended = (weights @ values).transpose(0, 2, 1, 3)  # (B, T, H, D)
        gate = context.trace.gate
        mixed = attended if gate is None else attended * gate.reshape(attended.shape)
        rows = context.block.attention.out.weight.data.reshape(H, D, -1)
        heads = range(H) if context.part.unit is None else [context.part.unit]
        return np.sum([mixed[:, :, h] @ rows[h] for h in heads], axis=0)


def part_output(block: Block, trace: Any, part: Part) -> Array:
    """What a part puts out, (B, T, C): its share of the sublayer's output f, without the bias.

    `trace` is the sublayer's, AttentionTrace or MlpTrace.
    """
    if part.kind == "attention":
        heads = head_outputs(block.attention, trace)
        return heads.sum(0) if part.unit is None else heads[part.unit]
    if part.unit is None:
        return trace.hidden @ block.mlp.down.weight.data
    return neuron_outputs(block.mlp, trace, [part.unit])[0]


# --- running ---


def branch_trace(trace: Trace, layer: int, kind: str) -> BranchTrace:
    """What attention or the MLP of a layer left in a pass."""
    block = trace.blocks[layer]
    return (block.attention_residual if kind == "attention" else block.mlp_residual).branch


def run_changed(
    model: Transformer, ids: Ids, changes: Mapping[Part, Intervention], reference: Trace | None = None
) -> tuple[Array, Trace]:
    """A forward pass in which these parts add something else.

    Args:
        model: left as it is.
        ids: (B, T).
        changes: part -> what it does instead. Several may be in one sublayer.
        reference: the trace of another pass, for `Mean` and `Patch`.

    Returns:
        logits (B, T, V), and the trace: what was added, and the stream, are those after the change.

    Raises:
        ValueError: a change needs a reference, or does not go with its part.
    """
    for part, change in changes.items():
        if change.needs_reference and reference is None:
            raise ValueError(f"{type(change).__name__.lower()} of {part} needs another text to take it from")
        if part.kind not in change.kinds:
            raise ValueError(f"{part} has no attention weights; choose attention.N or attention.N.head.M")

    def edit(layer: int, kind: str, trace: BranchTrace) -> Array:
        block, added = model.blocks[layer], trace.added
        branch: Branch = block.attention_branch if kind == "attention" else block.mlp_branch
        for part, change in changes.items():
            if (part.layer, part.kind) == (layer, kind):
                output = part_output(block, trace.sublayer, part)
                changed = change.apply(Context(output, part, block, trace.sublayer, reference))
                if branch.norm_out is None:
                    difference = changed - output
                elif change.keeps_norm or reference is None:
                    difference = linearized(branch.norm_out, changed - output, trace.norm_out)
                else:
                    there = branch_trace(reference, layer, kind)
                    difference = (
                        there.added - trace.added  # with what the norm makes of the bias, which is no head's
                        if part.unit is None
                        else linearized(branch.norm_out, changed, there.norm_out)
                        - linearized(branch.norm_out, output, trace.norm_out)
                    )
                added = added + difference
        return added

    return model.forward(ids, edit=edit)


# --- whole mechanisms ---


def without_positions(model: Transformer) -> None:
    """Take the position encoding out of this model for good: none is added, rotated or subtracted."""
    c = model.config
    none = POSITIONS["none"](ParamSpace(), "none", c.context_length, c.hidden_dim, c.num_heads, None)  # pyright: ignore
    model.position = none
    for block in model.blocks:
        block.attention.position = none


def without_norms(model: Transformer) -> None:
    """Take every norm out of this model for good: each vector passes as it is."""
    none = NORMS["none"](ParamSpace(), "none", model.config.hidden_dim, 0.0)
    holders = [
        holder
        for block in model.blocks
        for holder in (block.attention_branch, block.mlp_branch, block.layout, block.attention)
    ]
    for holder in [*holders, model]:
        for name, part in list(vars(holder).items()):
            if isinstance(part, Norm):
                setattr(holder, name, none)
