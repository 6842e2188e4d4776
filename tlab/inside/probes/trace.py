"""Every number of a forward and a backward pass, under one name each, with the line of code that made it.

Forward names are those of `tlab.inside.layers.named_arrays`, and the scores, which the core overwrites, besides:
`blocks.1.attention.scores` before the mask, `blocks.1.attention.masked` with what positions and mask add. A gradient
has the name of what it is the gradient of, and `.gradient` behind it: of the mean loss, where each token of the text
has to be foretold from those before it.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar, NamedTuple

import numpy as np

from tlab.config import option
from tlab.inside.probes.heads import head_scores
from tlab.inside.probing import PROBES, Probe, ProbeError, Subject, log_softmax
from tlab.nn import attention, loss, mlp, model
from tlab.nn.model import Block, BlockTrace, Trace, Transformer
from tlab.nn.residuals import RESIDUALS, BranchTrace
from tlab.nn.trace import named_arrays
from tlab.types import Array, Ids

GRADIENT = ".gradient"


class Made(NamedTuple):
    """How an array comes about."""

    equation: str  # LaTeX
    maker: Callable[..., Any]  # the function that makes it
    line: str  # how the line begins


MADE = {
    "embedded": Made(r"x_0 = s\,E[\mathrm{id}] + p_t", model.Transformer.forward, "x = self.position.embed"),
    "attention.queries": Made(r"Q = h W_Q", attention.Attention.forward, "queries, keys ="),
    "attention.keys": Made(r"K = h W_K", attention.Attention.forward, "queries, keys ="),
    "attention.values": Made(r"V = h W_V", attention.Attention.forward, "values = heads"),
    "attention.scores": Made(r"S = Q K^\top / \sqrt{D}", attention.Attention.weigh, "scores *= self.scale"),
    "attention.masked": Made(r"S + \text{bias}", attention.Attention.weigh, "scores += self.position"),
    "attention.weights": Made(r"A = \mathrm{softmax}(S + \text{bias})", attention.Attention.weigh, "weights /="),
    "attention.mixed": Made(r"A V", attention.Attention.forward, "np.matmul(weights, values"),
    "mlp.up": Made(r"h W_\mathrm{up}", mlp.Mlp.forward, "inputs ="),
    "mlp.gate": Made(r"h W_\mathrm{gate}", mlp.Mlp.forward, "inputs ="),
    "mlp.hidden": Made(r"\phi(h W_\mathrm{up})", mlp.Mlp.forward, "hidden, activation_cache"),
    "output": Made(r"\mathrm{norm}(x_L)\ \text{or}\ x_L", model.Transformer.forward_embedded, "x, final_norm ="),
    "logits": Made(r"z = x U", model.Transformer.forward_embedded, "logits, _ ="),
    "probabilities": Made(r"p = \mathrm{softmax}(z)", loss.CrossEntropy.forward, "probabilities /="),
}  # fmt: skip


BY_LAYOUT = {"x": "what the sublayer reads", "added": "what it adds to the stream", "stream": "the stream behind it"}
"""What the residual layout makes of a sublayer's input and output."""


def kind_of(name: str) -> str:
    """What an array of this name is: "attention.scores" for "blocks.1.attention.scores.gradient"."""
    pieces = name.removesuffix(GRADIENT).split(".")
    return ".".join(pieces[2:4] if pieces[0] == "blocks" else pieces[:1])


def is_told(kind: str) -> bool:
    """Whether arrays of this kind belong into the trace, and not to the inside of a component."""
    return kind in MADE or kind.rpartition(".")[2] in BY_LAYOUT


@cache
def origin(kind: str, residual: str) -> tuple[str, str]:
    """Equation of an array of this kind, and file and line, from the repository's root, of the code that makes it."""
    if kind in MADE:
        equation, maker, beginning = MADE[kind]
    else:
        what, entry = BY_LAYOUT[kind.rpartition(".")[2]], RESIDUALS.entries[residual]
        equation, maker, beginning = rf"{entry.formula}:\ \text{{{what}}}", entry.component.forward, "def forward"
    try:
        lines, first = inspect.getsourcelines(maker)
    except OSError:  # a layout that was typed in somewhere
        return equation, ""
    number = next(n for n, line in enumerate(lines) if line.strip().startswith(beginning))
    return equation, f"{maker.__module__.replace('.', '/')}.py:{first + number}"


class FullTrace(NamedTuple):
    """Name -> array, forward in the order of computation, then the gradients in theirs."""

    arrays: dict[str, Array]
    loss: float


def full_trace(checkpoint_model: Transformer, ids: Ids) -> FullTrace:
    """Trace a text (T,) forward and backward; its tokens but the first are the targets.

    Args:
        checkpoint_model: a model of one's own: its `grad` is used.
        ids: at least two.
    """
    read, targets = ids[None, :-1], ids[None, 1:]
    logits, trace = checkpoint_model.forward(read)
    value, cache = loss.CrossEntropy.forward(logits, targets)
    arrays = dict(forward_arrays(checkpoint_model, trace))
    arrays["probabilities"] = cache.probabilities.reshape(logits.shape)
    dlogits = loss.CrossEntropy.backward(cache, logits.shape)
    arrays.update((name + GRADIENT, array) for name, array in backward_arrays(checkpoint_model, trace, dlogits))
    return FullTrace(arrays, value)


def forward_arrays(model: Transformer, trace: Trace) -> Iterator[tuple[str, Array]]:
    """What `named_arrays` tells, but caches of activations, and with the scores of each attention."""
    for name, array in named_arrays(trace):
        if not is_told(kind_of(name)):
            continue
        if name.endswith(".weights"):
            prefix, layer = name.removesuffix(".weights"), int(name.split(".")[1])
            block, seen = model.blocks[layer], trace.blocks[layer].attention
            yield f"{prefix}.scores", seen.queries @ seen.keys.swapaxes(-1, -2) * block.attention.scale
            T = seen.queries.shape[2]
            masked = head_scores(block, seen)[None]
            yield f"{prefix}.masked", np.where(np.tri(T, dtype=bool), masked, masked.dtype.type(-math.inf))
        yield name, array


def backward_arrays(model: Transformer, trace: Trace, dlogits: Array) -> Iterator[tuple[str, Array]]:
    """Gradients by the name of what they belong to, from the logits down; they also add up in the model's `grad`."""
    yield "logits", dlogits
    if model.head:
        dx = model.head.backward(dlogits, trace.output)
    else:
        dx = model.embedding.unembed_backward(dlogits, trace.output)
    yield "output", dx
    if model.final_norm:
        dx = model.final_norm.backward(dx, trace.final_norm)
    for layer in reversed(range(len(model.blocks))):
        block, seen = model.blocks[layer], trace.blocks[layer]
        gradients: dict[str, Array] = {"mlp.stream": dx}
        attention = keep_gradients(gradients, "attention", block, seen, attention_gradients)
        mlp = keep_gradients(gradients, "mlp", block, seen, mlp_gradients)
        dx = block.layout.backward(dx, seen, attention, mlp)
        yield from ((f"blocks.{layer}.{name}", array) for name, array in gradients.items())
    model.position.embed_backward(dx, trace.start)
    model.embedding.backward(dx * model.config.embedding_scale, trace.ids)
    yield "embedded", dx


Inner = Callable[[Block, BlockTrace, Array], dict[str, Array]]


def keep_gradients(
    gradients: dict[str, Array], part: str, block: Block, seen: BlockTrace, inner: Inner
) -> Callable[[Array, BranchTrace], Array]:
    """`Branch.backward`, which keeps the gradients that it comes by under the names of their arrays."""
    branch = block.attention_branch if part == "attention" else block.mlp_branch

    def backward(dadded: Array, trace: BranchTrace) -> Array:
        df = branch.norm_out.backward(dadded, trace.norm_out) if branch.norm_out else dadded
        gradients[f"{part}.added"] = dadded
        gradients.update({f"{part}.{name}": array for name, array in inner(block, seen, df).items()})
        gradients[f"{part}.x"] = dh = branch.sublayer.backward(df, trace.sublayer)
        dx = branch.norm_in.backward(dh, trace.norm_in) if branch.norm_in else dh
        if part == "mlp" and block.layout.only_norms_differ:  # then the MLP reads what attention was added to
            gradients["attention.stream"] = dadded + dx
        return dx

    return backward


def attention_gradients(block: Block, seen: BlockTrace, dy: Array) -> dict[str, Array]:
    """From the gradient of attention's output: of everything between it and its input, step by step."""
    part, trace = block.attention, seen.attention
    B, T, C = dy.shape
    H = part.num_heads
    dmixed = dy @ part.out.weight.data.T
    by_head = dmixed.reshape(B, T, H, C // H).transpose(0, 2, 1, 3)  # (B, H, T, D)
    dvalues = trace.weights.swapaxes(-1, -2) @ by_head
    dweights = by_head @ trace.values.swapaxes(-1, -2)
    # Raising one score lowers the others' weights: the row's mean gradient, by weight, is taken out.
    dscores = trace.weights * (dweights - (dweights * trace.weights).sum(-1, keepdims=True))
    dqueries = dscores @ trace.keys * part.scale
    dkeys = dscores.swapaxes(-1, -2) @ trace.queries * part.scale
    return {"mixed": dmixed, "weights": dweights, "masked": dscores, "scores": dscores, "values": dvalues,
            "keys": dkeys, "queries": dqueries}  # fmt: skip


def mlp_gradients(block: Block, seen: BlockTrace, dy: Array) -> dict[str, Array]:
    """From the gradient of the MLP's output: of everything between it and its input."""
    dhidden = dy @ block.mlp.down.weight.data.T
    dinputs = block.mlp.activation.backward(dhidden, seen.mlp.activation)
    dinputs = dinputs if block.mlp.activation.gated else (dinputs,)
    return {"hidden": dhidden, **dict(zip(("up", "gate"), dinputs, strict=False))}


# --- probes ---


class ArrayRow(NamedTuple):
    """One array of the two passes."""

    name: str
    shape: str
    mean: float
    deviation: float
    low: float
    high: float
    zeros: float
    equation: str
    line: str


@PROBES.add(
    "trace",
    label="Every array",
    formula=r"\text{forward, then } \partial \mathcal{L} / \partial \cdot",
    source="this lab",
)
@dataclass(frozen=True)
class TraceProbe(Probe):
    """Every array of a forward and a backward pass over the text: its shape, its numbers, and the line that made it.

    Mean, standard deviation, smallest and largest of its finite entries, and how many are exactly zero. The loss is
    the mean over the text, each token foretold from those before it. Choose some by the beginning of their names.
    """

    units: ClassVar[dict[str, str]] = {"zeros": "of 1"}

    name: str = option("", help="Only names that begin so, such as blocks.1.attention; empty for all.")

    def rows(self, subject: Subject) -> list[ArrayRow]:
        arrays = full_trace(subject.checkpoint.model(), subject.ids).arrays
        residual = subject.checkpoint.model_config.residual
        table = []
        for name, array in arrays.items():
            if name.startswith(self.name):
                finite = array[np.isfinite(array)].astype(np.float64)
                equation, line = origin(kind_of(name), residual)
                table.append(
                    ArrayRow(
                        name,
                        " x ".join(map(str, array.shape)),
                        float(finite.mean()),
                        float(finite.std()),
                        float(finite.min()),
                        float(finite.max()),
                        float((finite == 0).mean()),
                        rf"\partial \mathcal{{L}} / \partial({equation})" if name.endswith(GRADIENT) else equation,
                        line,
                    )
                )
        if not table:
            raise ProbeError(f"no array's name begins with {self.name!r}; they are {', '.join(arrays)}")
        return table


class StepRow(NamedTuple):
    """One step of a token's way."""

    step: int
    name: str
    what: str
    numbers: str  # the first of them
    size: float  # RMS
    gradient: float  # RMS of the loss's gradient here


SHOWN_NUMBERS = 4


@PROBES.add(
    "walk", label="One token's way", formula=r"\text{character} \to p \to \partial \mathcal{L}", source="this lab"
)
@dataclass(frozen=True)
class WalkProbe(Probe):
    """One token's way through the model, step by step: from a character to the chances of the next, and back.

    Each step with its first numbers, their root mean square, and the root mean square of the loss's gradient at the
    same place: read downwards it is the forward pass, the gradient column upwards the backward pass.
    """

    place: int = option(0, low=0, help="The place in the text whose token is followed.")

    def rows(self, subject: Subject) -> list[StepRow]:
        place = subject.place(self.place)
        if place == len(subject.ids) - 1:
            raise ProbeError("the last token of the text has none behind it to foretell; choose an earlier place")
        arrays = full_trace(subject.checkpoint.model(), subject.ids).arrays
        residual = subject.checkpoint.model_config.residual
        token, identity = subject.tokens[place], int(subject.ids[place])
        table = [StepRow(0, "token", f"the token {token} has the id {identity}", str(identity), 0.0, 0.0)]
        for name, array in arrays.items():
            if not name.endswith(GRADIENT):
                numbers = at_place(array, place)
                gradient = arrays.get(name + GRADIENT)
                table.append(
                    StepRow(
                        len(table),
                        name,
                        origin(kind_of(name), residual)[0],
                        " ".join(f"{value:.3f}" for value in numbers[:SHOWN_NUMBERS]) + " ...",
                        rms(numbers[np.isfinite(numbers)]),
                        0.0 if gradient is None else rms(at_place(gradient, place)),
                    )
                )
        goal = int(subject.ids[place + 1])
        logprob = float(log_softmax(arrays["logits"][0, place])[goal])
        what = f"-log p of {subject.tokens[place + 1]}, which follows"
        return [*table, StepRow(len(table), "loss", what, f"{-logprob:.3f}", -logprob, 1.0)]


def at_place(array: Array, place: int) -> Array:
    """The numbers of one token, flat: rows of (B, T, ...) or of (B, H, T, ...)."""
    return (array[0, :, place] if array.ndim == 4 else array[0, place]).ravel()


def rms(values: Array) -> float:
    """Root mean square; 0 of nothing."""
    return float(np.sqrt(np.mean(np.square(values, dtype=np.float64)))) if values.size else 0.0
