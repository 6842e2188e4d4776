"""Every number of a forward and a backward pass, under one name each, with the line of code that made it.

Forward names are those of `tlab.nn.model.named_arrays`, and the scores, which the core overwrites, besides:
`blocks.1.attention.scores` before the mask, `blocks.1.attention.masked` with what positions and mask add. A gradient
has the name of what it is the gradient of, and `.gradient` after it: of the mean loss, where each token of the text
has to be predicted from those before it.
"""

from __future__ import annotations

import inspect
import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar, NamedTuple

import numpy as np

from tlab.config import option
from tlab.inside.pictures import LayerMap
from tlab.inside.probes.heads import head_scores
from tlab.inside.probing import PROBES, Probe, ProbeError, Subject, log_softmax
from tlab.nn import attention, loss, mlp, model
from tlab.nn.model import Trace, Transformer, named_arrays
from tlab.nn.params import GradientRecord
from tlab.nn.residuals import RESIDUALS
from tlab.nn.scores.softmaxes import masked_softmax
from tlab.types import Array, Ids

GRADIENT = ".gradient"


class Made(NamedTuple):
    """How an array comes about."""

    equation: str  # LaTeX
    maker: Callable[..., Any]  # the function that makes it
    line: str  # how the line begins


MADE = {
    "embedded": Made(r"x_0 = s\,E[\mathrm{id}] + p_t", model.Transformer.embed, "return self.position.embed"),
    "attention.queries": Made(r"Q = h W_Q", attention.Attention.forward, "queries, keys = self.position"),
    "attention.keys": Made(r"K = h W_K", attention.Attention.forward, "queries, keys = self.position"),
    "attention.values": Made(r"V = h W_V", attention.Attention.forward, "queries, keys, values ="),
    "attention.scores": Made(r"S = Q K^\top / \sqrt{D}", attention.Attention.weigh, "scores *= self.scale"),
    "attention.masked": Made(r"S + \text{mask}", masked_softmax, "scores += mask"),
    "attention.weights": Made(r"A = \mathrm{softmax}(S + \text{mask})", attention.Attention.weigh, "weights ="),
    "attention.attended": Made(r"A V", attention.Attention.forward, "np.matmul(weights, values"),
    "attention.gate": Made(r"\sigma(h W_\mathrm{gate})", attention.Attention.forward, "gated, gate ="),
    "mlp.up": Made(r"h W_\mathrm{up}", mlp.Mlp.forward, "inputs ="),
    "mlp.gate": Made(r"h W_\mathrm{gate}", mlp.Mlp.forward, "inputs ="),
    "mlp.hidden": Made(r"\phi(h W_\mathrm{up})", mlp.Mlp.forward, "hidden, activation_cache"),
    "output": Made(r"\mathrm{norm}(x_L)\ \text{or}\ x_L", model.Transformer.read_out, "x, final_norm_cache ="),
    "logits": Made(r"z = x U", model.Transformer.read_out, "logits, _ ="),
    "probabilities": Made(r"p = \mathrm{softmax}(z)", loss.CrossEntropy.forward, "probabilities /="),
}  # fmt: skip


BY_LAYOUT = {"x": "what the sublayer reads", "added": "what it adds to the stream", "stream": "the stream after it"}
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


def full_trace(own_model: Transformer, ids: Ids) -> FullTrace:
    """Trace a text (T,) forward and backward, with its tokens but the first as targets; uses the model's `grad`."""
    read, targets = ids[None, :-1], ids[None, 1:]
    logits, trace = own_model.forward(read)
    value, cache = loss.CrossEntropy.forward(logits, targets)
    arrays = dict(forward_arrays(own_model, trace))
    arrays["probabilities"] = cache.probabilities.reshape(logits.shape)
    dlogits = loss.CrossEntropy.backward(cache, logits.shape)
    own_model.backward(dlogits, trace, KeptGradients(arrays))
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


class KeptGradients(GradientRecord):
    """Keeps a copy of every gradient in `arrays`, under the name of its array with `.gradient` after it."""

    def __init__(self, arrays: dict[str, Array], prefix: str = "") -> None:
        self.arrays, self.prefix = arrays, prefix

    def __call__(self, **gradients: Array) -> None:
        for name, gradient in gradients.items():
            self.arrays[self.prefix + name + GRADIENT] = gradient.copy()

    def within(self, part: str) -> KeptGradients:
        return KeptGradients(self.arrays, f"{self.prefix}{part}.")


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
    label="Full trace",
    formula=r"\text{forward, then } \partial \mathcal{L} / \partial \cdot",
    source="this lab",
)
@dataclass(frozen=True)
class TraceProbe(Probe):
    """Every array of a forward and a backward pass over the text: its shape, its numbers, and the line that made it.

    Mean, standard deviation, smallest and largest of its finite entries, and how many are exactly zero. The loss is
    the mean over the text, each token predicted from those before it. Choose some by the beginning of their names.
    """

    looks_at = ("block", "embedding")
    picture = LayerMap("name", "deviation")
    units: ClassVar[dict[str, str]] = {"zeros": "of 1"}

    name: str = option(
        "", label="Beginning of the name", help="Only names that begin so, such as blocks.1.attention; empty for all."
    )

    def rows(self, subject: Subject) -> list[ArrayRow]:
        arrays = full_trace(subject.checkpoint.model(), subject.ids).arrays
        residual = subject.checkpoint.model_config.residual
        asked = self.name.replace("attention.mixed", "attention.attended")
        if asked != self.name:
            warnings.warn(f"{self.name!r} is called {asked!r} by now", DeprecationWarning, stacklevel=2)
        table = []
        for name, array in arrays.items():
            if name.startswith(asked):
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


@PROBES.add("walk", label="One token's path", formula=r"\text{token} \to p \to \partial \mathcal{L}", source="this lab")
@dataclass(frozen=True)
class WalkProbe(Probe):
    """One token's path through the model, step by step: from the token to the probabilities of the next, and back.

    Each step with its first numbers, their root mean square, and the root mean square of the loss's gradient at the
    same place: read downwards it is the forward pass, the gradient column upwards the backward pass.
    """

    looks_at = ("block", "tokens", "head")
    picture = LayerMap("name", "size")
    steady = False

    place: int = option(0, low=0, help="The place in the text whose token is followed.")

    def rows(self, subject: Subject) -> list[StepRow]:
        place = subject.place(self.place)
        if place == len(subject.ids) - 1:
            raise ProbeError("the last token of the text has none after it to predict; choose an earlier place")
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
