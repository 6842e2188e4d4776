"""Probes that show why a switch does what it does: Muon's updates, DyT, sinks, log Z, and what shortcuts carry."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np

from tlab.config import option
from tlab.inside.attention import attention_targets, settled_from
from tlab.inside.pictures import Estimates, LayerMap, Matrix
from tlab.inside.probes.residual import overall_rms
from tlab.inside.probing import PROBES, Probe, Subject, log_softmax
from tlab.nn.attention import Attention, AttentionTrace, ValueMix
from tlab.nn.model import Transformer
from tlab.nn.norms import Norm
from tlab.training.optimizers import clip_gradient
from tlab.training.trainer import draw_batch, make_loss, make_optimizer
from tlab.types import Array


class UpdateRow(NamedTuple):
    """The update of one hidden matrix, at a learning rate of 1."""

    part: str  # "blocks.0.attention.qkv"
    largest: float  # singular value
    median: float
    smallest: float
    evenness: float  # mean square of the singular values over that of the largest


@PROBES.add(
    "update",
    label="Singular values of the update",
    formula=r"\tfrac{1}{n} \sum_i \sigma_i^2 / \sigma_1^2",
    source="Jordan et al. 2024 (Muon); stable rank: Rudelson & Vershynin 2007",
)
@dataclass(frozen=True)
class UpdateProbe(Probe):
    """In how many directions the next update would move each hidden matrix.

    The optimizer of the run sees the gradients of some batches, one after the other, at the weights as they are now, so
    that its averages are of these; then its update at a learning rate of 1 is taken apart into singular values, without
    weight decay. Evenness is 1 where all are equal, and 1 over their number where there is one direction alone.
    Notice: under SGD and Adam a few directions have nearly all of it. Under Muon the singular values are alike, 0.68 to
    1.21 times the root of out / in, where a matrix has more numbers out than in: directions that hardly show in the
    gradient are learned as fast as those that dominate it. Only what is below about a thousandth of the gradient's norm
    stays smaller, and what has no gradient at all at 0.
    """

    looks_at = ("training",)
    picture = LayerMap("part", "evenness")
    units: ClassVar[dict[str, str]] = {"evenness": "of 1"}

    batches: int = option(8, low=1, high=256, help="How many gradients the optimizer averages, where it does.")
    batch_size: int = option(16, low=1, high=256, help="Sequences in each batch, drawn from the training split.")
    seed: int = option(0, low=0, help="Of the draw of the batches: another one draws other sequences.")

    def rows(self, subject: Subject) -> list[UpdateRow]:
        checkpoint = subject.checkpoint
        corpus, training = subject.corpus, checkpoint.train_config
        # Of its own: live models of an opened checkpoint share their weights, and these are changed.
        model = Transformer.of_weights(checkpoint.model_config, checkpoint.weights, checkpoint.dtype)
        model.loss = make_loss(training)
        space, T = model.parameters, model.config.context_length
        optimizer = make_optimizer(dataclasses.replace(training, weight_decay=0.0), space)
        weights = space.data.copy()
        for step in range(self.batches):
            space.data[...], space.grad[...] = weights, 0
            model.accumulate_gradients(*draw_batch(corpus.train, self.batch_size, T, self.seed, step))
            clip_gradient(space.grad, training.gradient_clip)
            optimizer.step(space, 1.0)
        table = []
        for name, update in space.split(weights - space.data).items():
            if space[name].role == "matrix":
                values = np.linalg.svd(update, compute_uv=False)  # largest first
                largest, middle, smallest = (float(values[i]) for i in (0, len(values) // 2, -1))
                mean_square = float(np.mean(values * values))
                evenness = mean_square / max(largest * largest, 1e-30)
                table.append(UpdateRow(name.removesuffix(".weight"), largest, middle, smallest, evenness))
        return table


class NormRow(NamedTuple):
    """One norm, as this text finds it."""

    part: str  # "blocks.0.attention.norm_in"
    steepness: float  # what small numbers are multiplied with, before the norm's scale
    reads: float  # RMS of what it reads
    gives: float  # RMS of what it gives


@PROBES.add(
    "norms",
    label="What norms multiply by",
    formula=r"\alpha,\ \text{or}\ \overline{1 / \sqrt{\sigma^2 + \epsilon}}",
    source="Zhu et al. 2025, figure 8",
)
@dataclass(frozen=True)
class NormsProbe(Probe):
    """How steep each norm is, and how large what it reads and what it gives.

    The steepness is what it multiplies small numbers with, before its learned scale: alpha of DyT, which is learned; of
    LayerNorm and RMSNorm what they measure, one over the size of each token's vector, on average over the text; 1 of
    no norm. Sizes are root mean squares over places and channels.
    Notice: followed over the training, alpha of DyT moves to where a norm of what it reads would be: a stream that
    grows makes it fall. So it does slowly what a norm does at once.
    """

    looks_at = ("norm",)
    picture = Estimates("part", "steepness")

    def rows(self, subject: Subject) -> list[NormRow]:
        model, table = subject.checkpoint.model(), []
        for name, norm in named_norms(model):
            norm.forward = self.listening(name, norm, table)
        model.forward(subject.ids[None])
        return table

    def listening(self, name: str, norm: Norm, table: list[NormRow]) -> Any:
        """Its forward pass, which writes down a row."""
        forward = norm.forward

        def heard(x: Array) -> tuple[Array, Any]:
            y, cache = forward(x)
            reads, gives = overall_rms(x), overall_rms(y)
            factor = norm.factor(cache) if norm.alpha is None else norm.alpha.data
            steepness = gives / max(reads, 1e-30) if factor is None else float(np.mean(factor))
            table.append(NormRow(name, steepness, reads, gives))
            return y, cache

        return heard


def named_norms(model: Transformer) -> Iterator[tuple[str, Norm]]:
    """Every norm of a model by its place: "blocks.0.attention.norm_in", "blocks.0.mlp.norm_out", "final_norm"."""
    for layer, block in enumerate(model.blocks):
        owners = {"attention": [block.attention_branch, block.attention], "mlp": [block.mlp_branch]}
        for kind, parts in {**owners, "layout": [block.layout]}.items():
            for part in parts:
                norms = {name: norm for name, norm in vars(part).items() if isinstance(norm, Norm)}
                yield from ((f"blocks.{layer}.{kind}.{name}", norm) for name, norm in norms.items())
    if model.final_norm:
        yield "final_norm", model.final_norm


class SinkRow(NamedTuple):
    """Where one head puts the attention that it does not need."""

    head: str  # layer.head, from 0
    first: float
    nowhere: float
    value: float  # length of the first token's value over that of the others, on average


@PROBES.add(
    "sinks",
    label="Attention sinks",
    formula=r"\overline{w_{t,0}},\quad 1 - \overline{\textstyle\sum_s w_{ts}}",
    source="Xiao et al. 2024; Gu et al. 2025",
)
@dataclass(frozen=True)
class SinksProbe(Probe):
    """How much of each head's weight lies on the first token, and how much nowhere, in a sink of its own.

    Averaged over the places of the text but the first four. Nowhere is what a softmax with a rest leaves out; the usual
    softmax has to put all of its weight on tokens. The value of the first token is compared by its length.
    Notice: a head that has nothing to say wants a place where weight does no harm. That is often the first token, with
    a short value, so that little comes from there. Given a sink, a head may put the weight there instead; with a gate
    it may need no place at all. Follow it over the training, and in models of other layouts.
    """

    looks_at = ("attention",)
    picture = Matrix("head", ("first", "nowhere"))
    units: ClassVar[dict[str, str]] = {"first": "of 1", "nowhere": "of 1"}

    def rows(self, subject: Subject) -> list[SinkRow]:
        table, settled = [], settled_from(len(subject.ids))
        for layer, block in enumerate(subject.trace.blocks):
            attention = block.attention
            lengths = np.linalg.norm(attention.values[0], axis=-1)  # (H, T)
            for head, weights in enumerate(attention.weights[0]):  # (T, T)
                first = attention_targets(weights, subject.ids)["first"]
                nowhere = float(1 - weights[settled:].sum(-1).mean())
                others = max(float(lengths[head, 1:].mean()), 1e-30)
                table.append(SinkRow(f"{layer}.{head}", first, nowhere, float(lengths[head, 0]) / others))
        return table


class LogZRow(NamedTuple):
    """How large the logits are as a whole, over the places of the text."""

    log_z: float  # mean
    low: float  # the smallest
    high: float  # the largest
    mean_logit: float  # over places and tokens
    penalty: float  # mean of (log Z)^2, which z_loss weighs


@PROBES.add(
    "log_z",
    label="log Z of the predictions",
    formula=r"\log Z_t = \log \textstyle\sum_v e^{z_{tv}}",
    source="Chowdhery et al. 2022 (PaLM), section 5",
)
@dataclass(frozen=True)
class LogZProbe(Probe):
    """How large all logits are together: log Z, what is subtracted from a logit to make it a log probability.

    Mean, smallest and largest over the places of the text, after the cap, where there is one. The penalty is what
    z-loss multiplies by its weight.
    Notice: the cross-entropy does not see log Z, as a number that is added to all logits changes no probability. So it
    starts at about log V and may drift; z-loss pulls it towards 0, with a small weight slowly. Follow it over the
    training.
    """

    looks_at = ("head",)
    units: ClassVar[dict[str, str]] = dict.fromkeys(("log_z", "low", "high", "mean_logit"), "nats")

    def rows(self, subject: Subject) -> list[LogZRow]:
        logits = subject.trace.logits[0].astype(np.float64)  # (T, V)
        log_z = (logits - log_softmax(logits))[:, 0]  # (T,)
        numbers = log_z.mean(), log_z.min(), log_z.max(), logits.mean(), (log_z * log_z).mean()
        return [LogZRow(*map(float, numbers))]


class ShortcutRow(NamedTuple):
    """One way past a part of the model."""

    part: str  # what it leads past, "blocks.0.attention"; "blocks.1.values" are those of the first block
    weight: float  # what is multiplied on it: 1, or the learned share of a value residual
    carried: float  # share of the sum


@PROBES.add(
    "shortcuts",
    label="What each shortcut carries",
    formula=r"\overline{c \cdot y / y \cdot y}",
    source="Veit et al. 2016; Zhou et al. 2024 (value residual)",
)
@dataclass(frozen=True)
class ShortcutsProbe(Probe):
    """How much of each sum comes past a part, and not through it: past attention and the MLP, and in the values.

    y is a sum and c what the shortcut brings to it; the share is c's part along y, as a fraction of y, averaged over
    the places of the text. Of the stream y is what follows the part, before any norm of the sum; of a value residual y
    is what a block's heads have collected, and c that of it which they collected from the first block's values.
    Notice: above 1 the part takes away from the stream. A learned weight can be large where little is carried: the
    first block's values may be small, or cancel. Without a value residual there are only the ways along the stream.
    """

    looks_at = ("stream", "attention")
    picture = LayerMap("part", "carried")
    units: ClassVar[dict[str, str]] = {"weight": "of 1", "carried": "of 1"}

    def rows(self, subject: Subject) -> list[ShortcutRow]:
        table = []
        for layer, (block, trace) in enumerate(zip(subject.model.blocks, subject.trace.blocks, strict=True)):
            for kind, residual in (("attention", trace.attention_residual), ("mlp", trace.mlp_residual)):
                carried = share_along(residual.x, residual.x + residual.added)
                table.append(ShortcutRow(f"blocks.{layer}.{kind}", 1.0, carried))
            if block.attention.value_mix:
                mix = block.attention.value_mix
                weight, collected = from_first_values(mix, block.attention, trace.attention)
                carried = share_along(collected, trace.attention.attended)
                table.append(ShortcutRow(f"blocks.{layer}.values", weight, carried))
        return table


def share_along(c: Array, y: Array) -> float:
    """The part of c along y, as a fraction of y, on average over places: both (B, T, C)."""
    return float(((c * y).sum(-1) / np.maximum((y * y).sum(-1), 1e-30)).mean())


def from_first_values(mix: ValueMix, attention: Attention, trace: AttentionTrace) -> tuple[float, Array]:
    """The weight of the first block's values in a later block, and what its heads collect from them, (B, T, C)."""
    weight = float(mix.share.data[0])
    collected = trace.weights @ (weight * attention.per_query_head(trace.first_values))  # (B, H, T, D)
    return weight, collected.swapaxes(1, 2).reshape(trace.attended.shape)
