"""The bug lab: one classic mistake at a time, what the loss makes of it, and which check finds it.

Most of these train. That is why they live for months in real code: the curve goes down, only not as far. Each bug is
planted into one live model and touches no other.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from tlab.checks import CheckResult, run_checks
from tlab.nn.attention import LayerCache
from tlab.nn.config import ModelConfig
from tlab.nn.loss import softmax
from tlab.nn.model import Block, BlockTrace, Drop, Transformer
from tlab.nn.norms import NORMS
from tlab.nn.params import NO_RECORD, GradientRecord
from tlab.nn.residuals import RESIDUALS, Branch, ResidualTrace
from tlab.nn.scores.softmaxes import ATTENTION_SOFTMAXES, SoftmaxPlusOne
from tlab.registry import Registry
from tlab.types import Array, Ids

BUGS: Registry[type[Bug]] = Registry("bug")


class Bug:
    """The contract: `plant` makes the mistake in a model that nobody else uses."""

    sees_ahead = False  # whether what the model says of a token depends on tokens after it: its loss means nothing

    def why_not(self, config: ModelConfig) -> str | None:
        """Why this mistake cannot be made in such a model, or None."""
        return None

    def plant(self, model: Transformer) -> None:
        raise NotImplementedError


@BUGS.add(
    "no-scale",
    label="scores not divided by √D",
    formula=r"\mathrm{softmax}(Q K^\top)",
    source="Vaswani et al. 2017, section 3.2.1",
)
class NoScale(Bug):
    """Leaves out the division by the root of the head's width.

    Notice: scores start √D times as large. With wide heads and large first weights the softmax is then a hard choice,
    and its gradient small; with narrow heads, or GPT-2's small first weights, training hardly minds at first.
    """

    def plant(self, model: Transformer) -> None:
        for block in model.blocks:
            block.attention.scale = 1.0


@BUGS.add("no-mask", label="no causal mask", formula=r"A_{ts} > 0 \text{ for } s > t", source="a common mistake")
class NoMask(Bug):
    """Lets every token see those that come after it.

    Notice: the loss falls far below what is possible, as the answer is in view; the model has learned to look it up,
    and writes nonsense as soon as nothing comes after. A loss too good to be true is the sign.
    """

    sees_ahead = True

    def plant(self, model: Transformer) -> None:
        usual = model.blocks[0].attention.mask

        def mask(num_queries: int, num_keys: int, dtype: np.dtype) -> Array:
            mask = usual(num_queries, num_keys, dtype)
            return np.where(np.isneginf(mask), dtype.type(0), mask)

        for block in model.blocks:
            block.attention.mask = mask


@BUGS.add("wrong-axis", label="softmax over the queries", formula=r"\sum_t A_{ts} = 1", source="axis=-2 for axis=-1")
class WrongAxis(Bug):
    """Normalizes the attention weights over the wrong axis: the columns sum to 1, not the rows.

    Notice: every shape fits. A key's weight now depends on who else looks at it, later tokens included: so it leaks
    from the future as well, and a token alone, in generation, gets weight 1 from everything.
    """

    sees_ahead = True

    def plant(self, model: Transformer) -> None:
        for block in model.blocks:
            block.attention.softmax, block.attention.softmax_backward = softmax_over_queries, backward_over_queries


def softmax_over_queries(scores: Array, mask: Array) -> Array:
    """Softmax of scores (B, H, T, S) over the wrong axis."""
    return np.ascontiguousarray(softmax((scores + mask).swapaxes(-1, -2)).swapaxes(-1, -2))


def backward_over_queries(dweights: Array, weights: Array) -> Array:
    """Its gradient: a column's mean is taken out of each column, where a row's should be out of each row."""
    return weights * (dweights - (dweights * weights).sum(-2, keepdims=True))


@BUGS.add(
    "shifted-labels", label="labels not shifted", formula=r"\text{target}_t = \mathrm{id}_t", source="targets = ids"
)
class ShiftedLabels(Bug):
    """Asks each token for itself instead of the next one.

    Notice: the training loss falls to nothing within a hundred steps, as copying is easy. Only validation, which
    asks for the next token, shows that nothing was learned.
    """

    def plant(self, model: Transformer) -> None:
        usual = model.accumulate_gradients

        def accumulate_gradients(ids: Ids, targets: Ids, *others: Any) -> Any:
            return usual(ids, ids, *others)

        model.accumulate_gradients = accumulate_gradients  # pyright: ignore[reportAttributeAccessIssue]


@BUGS.add(
    "batch-norm",
    label="norm over the wrong axis",
    formula=r"\mu, \sigma \text{ over tokens}",
    source="axis=(0, 1) for axis=-1",
)
class BatchNorm(Bug):
    """Takes the norm's mean and size over all tokens of the batch instead of over one token's channels.

    Notice: it trains, and well. But each token now depends on the whole batch, the future included, and one token at
    a time is not what was trained.
    """

    sees_ahead = True

    def why_not(self, config: ModelConfig) -> str | None:
        return None if NORMS[config.norm].measures_vector else "there is no norm in it that takes a mean or a size"

    def plant(self, model: Transformer) -> None:
        for norm in [*(norm for block in model.blocks for norm in block.norms), model.final_norm]:
            if norm is not None:
                over_tokens(norm)


def over_tokens(norm: Any) -> None:
    """Make a norm take mean and size over the tokens; scale and shift stay with the channels."""

    def turned(x: Array) -> tuple[Array, Any]:
        rows = x.reshape(-1, x.shape[-1])
        mean, size = rows.mean(0), np.sqrt(rows.var(0) + norm.epsilon)
        normalized = (rows - mean) / size
        y = normalized * norm.scale.data + (0 if norm.shift is None else norm.shift.data)
        return y.reshape(x.shape), (normalized, size)

    def turned_back(dy: Array, cache: Any) -> Array:
        normalized, size = cache
        rows = dy.reshape(-1, dy.shape[-1])
        norm.scale.grad += (rows * normalized).sum(0)
        if norm.shift is not None:
            norm.shift.grad += rows.sum(0)
        dx = rows * norm.scale.data
        dx = (dx - dx.mean(0) - normalized * (dx * normalized).mean(0)) / size
        return dx.reshape(dy.shape)

    norm.forward, norm.backward = turned, turned_back


@BUGS.add("no-residual", label="residual forgotten", formula=r"x \to f(x)", source="He et al. 2015 tell what it is for")
class NoResidual(Bug):
    """Leaves out the shortcut around each sublayer.

    Notice: two layers still learn something. Each further one makes it worse, for everything a token knows has to be
    carried through every attention and every MLP.
    """

    def plant(self, model: Transformer) -> None:
        for block in model.blocks:
            without_shortcuts(block)


def without_shortcuts(block: Block) -> None:
    """Cut both shortcuts of a block: the stream after a sublayer is what the sublayer makes of it, normed before."""
    attention, mlp = (
        Branch(branch.sublayer, {"in": branch.norm_in or branch.norm_sum})
        for branch in (block.attention_branch, block.mlp_branch)
    )

    def left(part: str, x: Array, drop: Drop | None) -> Array:
        return drop(f"{block.name}.{part}", x) if drop is not None else x

    def forward(
        x: Array,
        past: LayerCache | None = None,
        _edit: None = None,
        drop: Drop | None = None,
        first_values: Array | None = None,
    ) -> tuple[Array, BlockTrace]:
        between, attention_trace = attention.forward(x, past, first_values)
        between = left("attention", between, drop)
        y, mlp_trace = mlp.forward(between)
        y = left("mlp", y, drop)
        return y, BlockTrace(ResidualTrace(x, attention_trace, between), ResidualTrace(between, mlp_trace, y))

    def backward(
        dy: Array, trace: BlockTrace, record: GradientRecord = NO_RECORD, drop: Drop | None = None, *dfirst_values: Any
    ) -> Array:
        dbetween = mlp.backward(left("mlp", dy, drop), trace.mlp_residual.branch, record.within("mlp"))
        dbetween = left("attention", dbetween, drop)
        return attention.backward(dbetween, trace.attention_residual.branch, record.within("attention"), *dfirst_values)

    block.forward, block.backward = forward, backward  # pyright: ignore[reportAttributeAccessIssue]


@BUGS.add(
    "normed-shortcut",
    label="shortcut from the normed stream",
    formula=r"h + f(h),\quad h = \mathrm{norm}(x)",
    source="github.com/NVIDIA/ngpt, issue 1",
)
class NormedShortcut(Bug):
    """Adds what a sublayer makes to what it has read, the normed stream, in place of the stream itself.

    Notice: one name for two things, `h = norm(h)`, and the shortcut is gone: what earlier blocks have added is brought
    down to the size of a norm again and again. It trains, a little worse. It stood in the baseline of code that was
    published for a comparison, though by its author not in the code of the paper: what is compared with such a baseline
    looks better than it is.
    """

    def why_not(self, config: ModelConfig) -> str | None:
        layout = RESIDUALS[config.residual]
        if not (layout.only_norms_differ and "in" in layout.norm_places) or NORMS[config.norm].is_identity:
            return "no sublayer that comes after another reads a normed stream in it"
        return None

    def plant(self, model: Transformer) -> None:
        for block in model.blocks:
            with_normed_shortcuts(block)


def with_normed_shortcuts(block: Block) -> None:
    """Let each shortcut of a block begin after the norm before its sublayer."""
    branches: Any = (block.attention_branch, block.mlp_branch)
    bare = [Branch(branch.sublayer, {"out": branch.norm_out}) for branch in branches]

    def forward(x: Array, attention: Any, mlp: Any) -> Any:
        residuals = []
        for run, branch in zip((attention, mlp), branches, strict=True):
            h, cache = branch.norm_in.forward(x)
            added, trace = run(h)
            residuals.append(ResidualTrace(x, trace, h + added, cache))
            x = residuals[-1].y
        return x, tuple(residuals)

    def backward(dy: Array, trace: Any, attention: Any, mlp: Any) -> Array:
        for run, branch, residual in zip((mlp, attention), branches[::-1], trace[::-1], strict=True):
            dy = branch.norm_in.backward(dy + run(dy, residual.branch), residual.norm)
        return dy

    block.attention_branch, block.mlp_branch = bare
    layout: Any = block.layout
    layout.forward, layout.backward = forward, backward
    layout.only_norms_differ = False  # so that the decoder, too, uses the block as it is


@BUGS.add(
    "shifted-plus-one",
    label="softmax plus one, shifted without the one",
    formula=r"\frac{e^{s - \max s}}{1 + \sum e^{s - \max s}}",
    source="a common mistake; Miller 2023 has no shift",
)
class ShiftedPlusOne(Bug):
    """Takes off each row's largest score against overflow, but leaves the 1 in the denominator as it is.

    Notice: a softmax does not see such a shift, the softmax plus one does. Now the 1 counts as much as the row's
    largest score, whatever that is: the weights sum to one half or more, and no token can attend to nothing, which is
    what the 1 is there for.
    """

    def why_not(self, config: ModelConfig) -> str | None:
        is_plus_one = ATTENTION_SOFTMAXES[config.attention_softmax] is SoftmaxPlusOne
        return None if is_plus_one else "its attention has no softmax plus one"

    def plant(self, model: Transformer) -> None:
        for block in model.blocks:
            block.attention.softmax = shifted_plus_one


def shifted_plus_one(scores: Array, mask: Array) -> Array:
    """Weights (B, H, T, S) of scores of that shape, with a 1 in the denominator that is not shifted with them."""
    scores = scores + mask
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return weights / (1 + weights.sum(-1, keepdims=True))


@BUGS.add("float64", label="float64 slips in", formula=r"\mathtt{float32} \cdot \mathtt{np.float64}", source="NEP 50")
class Float64Leak(Bug):
    """Multiplies the embeddings by a NumPy scalar where a Python float was meant: all that follows is float64.

    Notice: the curve is the same, to the eye. Every product takes twice the time and twice the memory.
    """

    def plant(self, model: Transformer) -> None:
        config = dataclasses.replace(model.config)
        object.__setattr__(config, "embedding_scale", np.float64(config.embedding_scale))
        model.config = config


@BUGS.add(
    "tied-gradient",
    label="half of the tied gradient lost",
    formula=r"\partial E \mathrel{=} \text{ for } \mathrel{+}=",
    source="Press & Wolf 2017",
)
class TiedGradient(Bug):
    """Loses the head's part of the gradient of the table that embedding and head share.

    Notice: it learns from the words that it reads but not from those that it should have said. Training goes on,
    slowly, and no shape or type complains.
    """

    def why_not(self, config: ModelConfig) -> str | None:
        return None if config.tied else "its embedding and head are not tied"

    def plant(self, model: Transformer) -> None:
        table = model.embedding.weight.data

        def unembed_backward(dlogits: Array, x: Array) -> Array:
            return dlogits @ table

        model.embedding.unembed_backward = unembed_backward  # pyright: ignore[reportAttributeAccessIssue]


# --- what comes of it ---


def planted(bug: str, config: ModelConfig) -> Callable[[Transformer], None]:
    """What plants `bug`; a ValueError where it cannot be."""
    kind = BUGS[bug]()
    reason = kind.why_not(config)
    if reason is not None:
        raise ValueError(f"the bug {bug!r} cannot be planted: {reason}; choose another, or change the model")
    return kind.plant


def checks_with(bug: str, config: ModelConfig, seed: int = 0) -> list[CheckResult]:
    """All checks of a model with this bug; those that did not pass have found it."""
    plant = planted(bug, config)

    def build(*args: Any, **options: Any) -> Transformer:
        model = Transformer(*args, **options)
        plant(model)
        return model

    with np.errstate(all="ignore"):
        return list(run_checks(config, seed, build))
