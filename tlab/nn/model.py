"""The transformer: embedding, blocks, head. Read `forward` downwards and `backward` upwards: they mirror each other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tlab.machine import keep_freed_memory, touch_product_memory
from tlab.nn.activations import ACTIVATIONS
from tlab.nn.attention import Attention, AttentionTrace, FirstValuesGradient, KVCache, LayerCache
from tlab.nn.config import ModelConfig
from tlab.nn.inits import INITS, Init
from tlab.nn.linear import Embedding, Linear
from tlab.nn.loss import CrossEntropy
from tlab.nn.mlp import Mlp, MlpTrace
from tlab.nn.norms import NORMS, Norm
from tlab.nn.params import NO_RECORD, GradientRecord, ParamSpace, all_finite, check_shapes
from tlab.nn.positions import POSITIONS, Position
from tlab.nn.residuals import RESIDUALS, Branch, BranchTrace, ResidualTrace, RunForward, declare_norms
from tlab.nn.scores.caps import soft_cap
from tlab.types import Array, Ids, Shape


class BlockTrace(NamedTuple):
    """What went on in one block: attention was added to the stream, then the MLP."""

    attention_residual: ResidualTrace
    mlp_residual: ResidualTrace

    @property
    def attention(self) -> AttentionTrace:
        """Queries, keys, values, and `weights` (B, H, T, S), which of a long text are made for this look at them."""
        return self.attention_residual.branch.sublayer.whole

    @property
    def mlp(self) -> MlpTrace:
        """Inputs and outputs of the activation."""
        return self.mlp_residual.branch.sublayer

    @property
    def first_values(self) -> Array | None:
        """The first block's values (B, Hk, T, D), where later blocks mix them in."""
        return self.attention_residual.branch.sublayer.first_values

    @property
    def y(self) -> Array:
        """The stream after the block, (B, T, C)."""
        return self.mlp_residual.y


class Trace(NamedTuple):
    """Every array of a forward pass that backward, a probe or a picture may want."""

    ids: Ids  # (B, T)
    start: int  # position of the first of the T tokens
    embedded: Array  # (B, T, C), tokens and positions: what enters the first block
    blocks: tuple[BlockTrace, ...]
    final_norm_cache: Any  # None where the layout has no final norm
    output: Array  # (B, T, C), what the head reads
    logits: Array  # (B, T, V), after the cap, where there is one
    logit_cap_cache: Any  # None where there is no cap


def named_arrays(trace: Trace) -> Iterator[tuple[str, Array]]:
    """Every array of a trace with its name, in the order of computation: ("blocks.0.attention.weights", ...)."""
    yield "embedded", trace.embedded
    for i, block in enumerate(trace.blocks):
        for part, residual, sublayer in (
            ("attention", block.attention_residual, block.attention),
            ("mlp", block.mlp_residual, block.mlp),
        ):
            yield from walk(sublayer, f"blocks.{i}.{part}")
            yield f"blocks.{i}.{part}.added", residual.branch.added
            yield f"blocks.{i}.{part}.stream", residual.y
    yield "output", trace.output
    yield "logits", trace.logits


def walk(node: Any, name: str) -> Iterator[tuple[str, Array]]:
    """The arrays inside nested tuples; fields of a NamedTuple go by name, others by number."""
    if isinstance(node, np.ndarray):
        yield name, node
    elif isinstance(node, tuple):
        fields = getattr(node, "_fields", range(len(node)))
        for field, value in zip(fields, node, strict=True):
            yield from walk(value, f"{name}.{field}")


def first_nonfinite(trace: Trace) -> str | None:
    """Name of the first array of a forward pass that holds NaN or infinity, or None."""
    return next((name for name, array in named_arrays(trace) if not np.isfinite(array).all()), None)


BlockEdit = Callable[[str, BranchTrace], Array]
"""("attention" or "mlp", what this branch did) -> what is added to the stream instead, (B, T, C)."""
Edit = Callable[[int, str, BranchTrace], Array]
"""The same with the layer before it, from 0."""


Drop = Callable[[str, Array], Array]
"""(place, what enters the stream there) -> what is left of it, as in dropout; both (B, T, C)."""


class Block:
    """Attention and the MLP, put around the residual stream as the chosen layout does."""

    def __init__(
        self, space: ParamSpace, name: str, config: ModelConfig, position: Position, init: Init, is_first: bool
    ) -> None:
        self.name = name
        layout = RESIDUALS[config.residual]
        C, H, F = config.hidden_dim, config.num_heads, config.mlp_dim

        def make_norm(space: ParamSpace, name: str) -> Norm:
            return NORMS[config.norm](space, name, C, config.norm_epsilon)

        def make_head_norm(space: ParamSpace, name: str, width: int) -> Norm:
            return NORMS[config.qk_norm](space, name, width, config.norm_epsilon)

        head_norm = None if NORMS[config.qk_norm].is_identity else make_head_norm
        norms = declare_norms(layout, space, f"{name}.norm1", make_norm)
        self.attention = Attention(
            space,
            f"{name}.attention",
            C,
            H,
            position,
            init,
            config.bias,
            config.score_cap,
            head_norm,
            config.num_kv_heads,
            config.attention_softmax,
            config.attention_gate,
            config.value_residual,
            is_first,
            config.qk_norm_all_heads,
        )
        self.attention_branch = Branch(self.attention, norms)

        norms = declare_norms(layout, space, f"{name}.norm2", make_norm)
        self.mlp = Mlp(space, f"{name}.mlp", C, F, ACTIVATIONS[config.activation](), init, config.bias)
        self.mlp_branch = Branch(self.mlp, norms)

        self.layout = layout(space, f"{name}.layout", (self.attention_branch, self.mlp_branch), make_norm)

    def forward(
        self,
        x: Array,
        past: LayerCache | None = None,
        edit: BlockEdit | None = None,
        drop: Drop | None = None,
        first_values: Array | None = None,
    ) -> tuple[Array, BlockTrace]:
        """x (B, T, C) -> (B, T, C); it takes an edit or a drop, and a later block the first one's values."""

        def attention(x: Array) -> tuple[Array, BranchTrace]:
            return self.attention_branch.forward(x, past, first_values)

        mlp = self.mlp_branch.forward
        edit = partial(drop_added, drop, self.name) if drop is not None else edit
        if edit is None:
            y, residuals = self.layout.forward(x, attention, mlp)
        else:
            y, residuals = self.layout.forward(x, edited(attention, edit, "attention"), edited(mlp, edit, "mlp"))
        return y, BlockTrace(*residuals)

    def backward(
        self,
        dy: Array,
        trace: BlockTrace,
        record: GradientRecord = NO_RECORD,
        drop: Drop | None = None,
        dfirst_values: FirstValuesGradient | None = None,
    ) -> Array:
        """The gradient of the stream after the block -> that of the stream before it; both (B, T, C)."""
        record_attention, record_mlp = record.within("attention"), record.within("mlp")
        record_mlp(stream=dy)

        def attention(dadded: Array, trace: BranchTrace) -> Array:
            dadded = drop(f"{self.name}.attention", dadded) if drop is not None else dadded
            return self.attention_branch.backward(dadded, trace, record_attention, dfirst_values)

        def mlp(dadded: Array, trace: BranchTrace) -> Array:
            dbranch = drop(f"{self.name}.mlp", dadded) if drop is not None else dadded
            dx = self.mlp_branch.backward(dbranch, trace, record_mlp)
            if record is not NO_RECORD and self.layout.mlp_reads_sum is not None:
                record_attention(stream=dadded + dx if self.layout.mlp_reads_sum else dadded)
            return dx

        return self.layout.backward(dy, trace, attention, mlp)

    @property
    def norms(self) -> list[Norm]:
        """Every norm in it: of the branches, and those that a layout has for itself."""
        owners = (self.attention_branch, self.mlp_branch, self.layout)
        return [part for owner in owners for part in vars(owner).values() if isinstance(part, Norm)]


def edited(run: RunForward, edit: BlockEdit, kind: str) -> RunForward:
    """A branch that adds what `edit` says."""

    def run_edited(x: Array) -> tuple[Array, BranchTrace]:
        _, trace = run(x)
        added = edit(kind, trace)
        return added, trace._replace(added=added)

    return run_edited


def drop_added(drop: Drop, block: str, kind: str, trace: BranchTrace) -> Array:
    """What a branch adds, as the edit that dropout is."""
    return drop(f"{block}.{kind}", trace.added)


class RecomputedTrace(NamedTuple):
    """What a recomputed block keeps: what it read."""

    x: Array  # (B, T, C)
    given_values: Array | None  # (B, Hk, T, D), those of the first block, where it is a later one that mixes them in
    first_values: Array | None  # likewise, or its own where it is the first


class RecomputedBlock:
    """A block that keeps its input alone, and computes the rest once more when backward asks for it.

    Notice: a step takes about a third longer, one forward pass more, and holds one block's activations at a time
    instead of all blocks'. The gradients are the same to the bit, as the same products are computed twice. What it
    leaves in a `Trace` is its input: pictures and probes want a model without it.
    Source: Chen et al. 2016, with a checkpoint at every block.
    """

    def __init__(self, block: Block) -> None:
        self.block = block

    def forward(
        self,
        x: Array,
        past: LayerCache | None = None,
        edit: BlockEdit | None = None,
        drop: Drop | None = None,
        first_values: Array | None = None,
    ) -> tuple[Array, RecomputedTrace]:
        y, trace = self.block.forward(x, past, edit, drop, first_values)
        return y, RecomputedTrace(x, first_values, trace.first_values)

    def backward(
        self,
        dx: Array,
        trace: RecomputedTrace,
        record: GradientRecord = NO_RECORD,
        drop: Drop | None = None,
        dfirst_values: FirstValuesGradient | None = None,
    ) -> Array:
        _, again = self.block.forward(trace.x, None, None, drop, trace.given_values)
        return self.block.backward(dx, again, record, drop, dfirst_values)


def make_position(kind: str, config: ModelConfig, space: ParamSpace, init: Init) -> Position:
    """A position of this kind for a model of this config, which may have another."""
    cls = POSITIONS[kind]
    options = {name: getattr(config, name) for name in cls.options}
    return cls(space, "position", config.context_length, config.hidden_dim, config.num_heads, init, **options)


class Transformer:
    """A decoder-only transformer language model.

    Args:
        config: its shape and switches.
        seed: of the initial weights. Each tensor's values depend on (seed, its name) alone.
        dtype: float32 in use; float64 where gradients are compared with finite differences.

    Attributes:
        parameters: name -> `Param`, with `.data` and `.grad`, views of the flat vectors `parameters.data` and
            `parameters.grad`.
    """

    def __init__(self, config: ModelConfig, seed: int = 0, dtype: npt.DTypeLike = np.float32) -> None:
        keep_freed_memory()
        touch_product_memory()
        self.dtype = np.dtype(dtype)
        if self.dtype not in (np.float32, np.float64):
            raise ValueError(f"dtype = {self.dtype}: must be float32, or float64 for comparisons")
        self._declare(config, ParamSpace())
        self.parameters.pack(seed, self.dtype)

    @classmethod
    def of_weights(cls, config: ModelConfig, weights: Mapping[str, Array], dtype: npt.DTypeLike) -> Transformer:
        """A model with a copy of these weights, so that none are drawn; errors as of `load`."""
        keep_freed_memory()
        touch_product_memory()
        model = cls.__new__(cls)
        model.dtype = np.dtype(dtype)
        model._declare(config, ParamSpace())
        data: Array = np.empty(sum(param.size for param in model.parameters.values()), model.dtype)  # pyright: ignore
        model.parameters.lay_out(data, np.zeros(data.shape, data.dtype))  # zeros_like would touch all of it
        model.load(weights)
        return model

    def _declare(self, config: ModelConfig, space: ParamSpace) -> None:
        self.config, self.parameters = config, space
        init = INITS[config.init](config.num_layers, config.scale_residual)
        C, V = config.hidden_dim, config.vocab_size

        self.embedding = Embedding(space, "embedding", (V, C), init.embedding)
        self.position = make_position(config.position, config, space, init)
        self.blocks: list[Any] = [  # of Block, or in a replica RecomputedBlock
            Block(space, f"blocks.{i}", config, self.position, init, i == 0) for i in range(config.num_layers)
        ]
        self.final_norm = (
            NORMS[config.norm](space, "final_norm", C, config.norm_epsilon)
            if RESIDUALS[config.residual].final_norm
            else None
        )
        self.logit_cap = soft_cap(config.logit_cap)
        self.loss: CrossEntropy = CrossEntropy()
        self.head = None if config.tied else Linear(space, "head", (C, V), init.matrix, False, "embedding")

    def replica(self, grad: Array, *, recompute: bool = False) -> Transformer:
        """A model on the very same weights that adds its gradients to `grad` instead: for a thread of its own.

        Args:
            grad: (num_parameters,), of the weights' type.
            recompute: keep the blocks' inputs alone between forward and backward, see `RecomputedBlock`.
        """
        other = type(self).__new__(type(self))
        other.dtype = self.dtype
        other._declare(self.config, ParamSpace())
        other.parameters.lay_out(self.parameters.data, grad)
        other.loss = self.loss
        if recompute:
            other.blocks = [RecomputedBlock(block) for block in other.blocks]
        return other

    def frozen_copy(self) -> Transformer:
        """A model with a copy of the weights as they are now: to look at while this one is trained on.

        Its `parameters.data` may be overwritten; its gradient is this model's, so it is not for training.
        """
        other = self.replica(self.parameters.grad)
        other.parameters.lay_out(self.parameters.data.copy(), self.parameters.grad)
        return other

    @classmethod
    def declared_parameters(cls, config: ModelConfig) -> ParamSpace:
        """Every parameter that such a model has, with its shape and initializer, without values."""
        space = ParamSpace()
        cls.__new__(cls)._declare(config, space)
        return space

    @classmethod
    def parameter_shapes(cls, config: ModelConfig) -> dict[str, Shape]:
        """Name -> shape of every parameter that such a model has, without making one."""
        return {name: param.shape for name, param in cls.declared_parameters(config).items()}

    @property
    def num_parameters(self) -> int:
        """Number of weights, each counted once."""
        return self.parameters.data.size

    def forward(
        self, ids: Ids, past: KVCache | None = None, edit: Edit | None = None, drop: Drop | None = None
    ) -> tuple[Array, Trace]:
        """Score every next token.

        Args:
            ids: (B, T) token ids. T may exceed the context length where the positions allow it.
            past: keys and values of the tokens before these; they are added to it.
            edit: decides what each branch adds to the stream, see `Edit`; for interventions.
            drop: leaves something of what enters the stream out, see `Drop`; for training, and instead of an edit.

        Returns:
            logits (B, T, V), unnormalized, in nats; and the trace of everything on the way.

        Raises:
            ValueError: ids of the wrong shape or outside the vocabulary, or positions that do not exist.
        """
        ids = np.asarray(ids)
        return self.forward_embedded(self.embed(ids, past), ids, past, edit, drop)

    def forward_embedded(
        self, x: Array, ids: Ids, past: KVCache | None = None, edit: Edit | None = None, drop: Drop | None = None
    ) -> tuple[Array, Trace]:
        """The same from the first block on: for probes that change what enters it, x (B, T, C)."""
        start = past.position if past is not None else 0
        x = drop("embedded", x) if drop is not None else x
        embedded, traces = x, []
        x = self.run_blocks(x, past, edit, drop, traces)
        x, logits, final_norm_cache, logit_cap_cache = self.read_out(x)
        return logits, Trace(ids, start, embedded, tuple(traces), final_norm_cache, x, logits, logit_cap_cache)

    def score(self, ids: Ids, past: KVCache | None = None) -> Array:
        """The logits of `forward`, to the bit, for who wants nothing else: no trace is kept.

        Notice: a pass that is to be followed backwards needs all that it computed. One that only reads is done with a
        block when the next one begins, so its memory does not grow with the depth. Arguments and errors are those of
        `forward`.
        """
        _, logits, *_ = self.read_out(self.run_blocks(self.embed(np.asarray(ids), past), past))
        return logits

    def embed(self, ids: Ids, past: KVCache | None = None) -> Array:
        """Token ids (B, T) -> what enters the first block, (B, T, C): the tokens' vectors, and what positions add."""
        start = past.position if past is not None else 0
        self.check_ids(ids, start)
        tokens, _ = self.embedding.forward(ids)  # (B, T, C)
        return self.position.embed(tokens * self.config.embedding_scale, start)

    def run_blocks(
        self,
        x: Array,
        past: KVCache | None = None,
        edit: Edit | None = None,
        drop: Drop | None = None,
        traces: list[Any] | None = None,
    ) -> Array:
        """What enters the first block -> what leaves the last one, (B, T, C). A list of traces is given one of each."""
        if past is not None:
            self._check_cache(past, len(x))
            past.make_room(x.shape[1])
        first_values = None
        for i, block in enumerate(self.blocks):
            layer_past = LayerCache(past, i) if past is not None else None
            layer_edit = partial(edit, i) if edit is not None else None
            x, trace = block.forward(x, layer_past, layer_edit, drop, first_values)  # (B, T, C)
            first_values = trace.first_values
            if traces is not None:
                traces.append(trace)
            del trace  # or it would live on beside that of the next block
        if past is not None:
            past.advance(x.shape[1])
        return x

    def read_out(self, x: Array) -> tuple[Array, Array, Any, Any]:
        """What leaves the last block, (B, T, C) -> what the head reads, the logits (B, T, V), and two caches."""
        x, final_norm_cache = self.final_norm.forward(x) if self.final_norm else (x, None)
        logits, _ = self.head.forward(x) if self.head else self.embedding.unembed(x)  # (B, T, V)
        logits, logit_cap_cache = self.logit_cap.forward(logits) if self.logit_cap else (logits, None)
        return x, logits, final_norm_cache, logit_cap_cache

    def backward(
        self, dlogits: Array, trace: Trace, record: GradientRecord = NO_RECORD, drop: Drop | None = None
    ) -> Array:
        """Add the gradients of all parameters to their `grad`; -> gradient of `trace.embedded`, (B, T, C).

        `record` receives the gradients of the trace's arrays on the way, and copies those that it keeps. `drop` is
        what forward was given.
        """
        record(logits=dlogits)
        if self.logit_cap:
            dlogits = self.logit_cap.backward(dlogits, trace.logit_cap_cache)
        if self.head:
            dx = self.head.backward(dlogits, trace.output)  # (B, T, C), and so it stays
        else:
            dx = self.embedding.unembed_backward(dlogits, trace.output)
        record(output=dx)
        if self.final_norm:
            dx = self.final_norm.backward(dx, trace.final_norm_cache)
        dfirst_values = FirstValuesGradient() if self.config.value_residual else None
        for i in reversed(range(len(self.blocks))):
            dx = self.blocks[i].backward(dx, trace.blocks[i], record.within(f"blocks.{i}"), drop, dfirst_values)
        dembedded = dx
        record(embedded=dembedded)
        dx = drop("embedded", dx) if drop is not None else dx
        self.position.embed_backward(dx, trace.start)
        self.embedding.backward(dx * self.config.embedding_scale, trace.ids)
        return dembedded

    def accumulate_gradients(
        self, ids: Ids, targets: Ids, share: float = 1.0, drop: Drop | None = None
    ) -> tuple[float, Trace]:
        """Add one batch's gradients to `parameters.grad`; -> mean loss in nats per token, and the trace.

        Where the batch is a part of a larger one, `share` is its share of the tokens: then the gradients of all
        parts add up to those of the whole. The loss is the part's own. With `drop` something of what enters the stream
        is left out.
        """
        ids, targets = np.asarray(ids), np.asarray(targets)
        self.check_ids(targets, 0)
        if targets.shape != ids.shape:
            raise ValueError(f"targets of shape {targets.shape} for ids of shape {ids.shape}; each token needs one")
        logits, trace = self.forward(ids, None, None, drop)
        loss, cache = self.loss.forward(logits, targets)
        self.backward(self.loss.backward(cache, logits.shape, share), trace, NO_RECORD, drop)
        return loss, trace

    def loss_and_gradients(self, ids: Ids, targets: Ids) -> tuple[float, dict[str, Array]]:
        """The loss on one batch and its gradient.

        Args:
            ids: (B, T) token ids.
            targets: (B, T), the token that follows each of them.

        Returns:
            the mean loss in nats per token; and parameter name -> gradient, of the parameter's shape. The arrays
            are the caller's own: the next call does not touch them.
        """
        space = self.parameters
        space.grad[...] = 0
        loss, _ = self.accumulate_gradients(ids, targets)
        return loss, {name: param.grad.copy() for name, param in space.items()}

    def new_cache(self, batch_size: int = 1) -> KVCache:
        """An empty cache for decoding `batch_size` texts at once."""
        c = self.config
        return KVCache(c.num_layers, batch_size, c.kv_heads, c.head_dim, c.context_length, self.dtype)

    def load(self, weights: Mapping[str, Array]) -> None:
        """Take over every weight by name.

        Raises:
            ValueError: names or shapes differ from this model's, or a value is not finite; nothing was changed.
        """
        check_shapes(weights, {name: param.shape for name, param in self.parameters.items()})
        for name, array in weights.items():
            if not all_finite(np.asarray(array)):
                raise ValueError(f"weights of {name} hold NaN or infinity")
        for name, array in weights.items():
            self.parameters[name].data[...] = array

    def _check_cache(self, past: KVCache, B: int) -> None:
        c = self.config
        L, cached_B, H, _, D = past.keys.shape
        if (L, cached_B, H, D) != (c.num_layers, B, c.kv_heads, c.head_dim):
            raise ValueError(
                f"this cache is for {L} layers, a batch of {cached_B}, {H} heads of width {D}; needed are "
                f"{c.num_layers}, {B}, {c.kv_heads} and {c.head_dim}: make one with new_cache(batch_size={B})"
            )

    def check_ids(self, ids: Ids, start: int) -> None:
        """Refuse ids (B, T) that it cannot read from this position on, with a `ValueError`."""
        c = self.config
        if ids.ndim != 2 or ids.dtype.kind not in "iu":
            raise ValueError(f"token ids must be integers of shape (B, T), not {ids.dtype} of shape {ids.shape}")
        if ids.size == 0:
            raise ValueError(f"token ids of shape {ids.shape} hold no token; give at least one")
        if ids.min() < 0 or ids.max() >= c.vocab_size:
            raise ValueError(f"token ids run from {ids.min()} to {ids.max()}; allowed: 0 to {c.vocab_size - 1}")
        end = start + ids.shape[1]
        if end > c.context_length and not self.position.unbounded:
            raise ValueError(
                f"{end} tokens do not fit into a context of {c.context_length}: position {c.position!r} has no vector "
                "for the rest; shorten the text, or train with another position kind or a longer context"
            )
