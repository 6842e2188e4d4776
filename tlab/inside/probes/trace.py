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
from tlab.nn.activations import ACTIVATIONS
from tlab.nn.config import ModelConfig
from tlab.nn.model import Trace, Transformer, named_arrays
from tlab.nn.params import GradientRecord
from tlab.nn.positions import POSITIONS
from tlab.nn.residuals import RESIDUALS
from tlab.nn.scores.softmaxes import masked_softmax
from tlab.types import Array, Ids

GRADIENT = ".gradient"


class Made(NamedTuple):
    """Where an array comes about."""

    maker: Callable[..., Any]  # the function that makes it
    line: str  # how the line begins


MADE = {
    "embedded": Made(model.Transformer.embed, "return self.position.embed"),
    "attention.queries": Made(attention.Attention.forward, "queries, keys = self.position"),
    "attention.keys": Made(attention.Attention.forward, "queries, keys = self.position"),
    "attention.values": Made(attention.Attention.forward, "queries, keys, values ="),
    "attention.scores": Made(attention.Attention.weigh, "scores *= self.scale"),
    "attention.masked": Made(masked_softmax, "scores += mask"),
    "attention.weights": Made(attention.Attention.weigh, "weights ="),
    "attention.attended": Made(attention.Attention.forward, "np.matmul(weights, values"),
    "attention.gate": Made(attention.Attention.forward, "gated, gate ="),
    "mlp.up": Made(mlp.Mlp.forward, "inputs ="),
    "mlp.gate": Made(mlp.Mlp.forward, "inputs ="),
    "mlp.hidden": Made(mlp.Mlp.forward, "hidden, activation_cache"),
    "output": Made(model.Transformer.read_out, "x, final_norm_cache ="),
    "logits": Made(model.Transformer.read_out, "logits, _ ="),
    "probabilities": Made(loss.CrossEntropy.forward, "probabilities /="),
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
    """Equation of an array that the residual layout makes, and file and line of its code, see `line_of_code`."""
    what, entry = BY_LAYOUT[kind.rpartition(".")[2]], RESIDUALS.entries[residual]
    return rf"{entry.formula}:\ \text{{{what}}}", line_of_code(entry.component.forward, "def forward")


@cache
def line_of_code(maker: Callable[..., Any], beginning: str) -> str:
    """File and line, from the repository's root, of the line of a function that begins so."""
    try:
        lines, first = inspect.getsourcelines(maker)
    except OSError:  # a layout that was typed in somewhere
        return ""
    number = next(n for n, line in enumerate(lines) if line.strip().startswith(beginning))
    return f"{maker.__module__.replace('.', '/')}.py:{first + number}"


@cache
def equations(config: ModelConfig, layer: int) -> dict[str, str]:
    """How this model makes each array of `MADE`, in LaTeX, by kind."""
    position = POSITIONS[config.position].acts_on

    def linear(name: str) -> str:
        return rf"h W_{name} + b_{name}" if config.bias else rf"h W_{name}"

    def compared(name: str) -> str:
        heads = linear(name) if config.qk_norm == "none" else rf"\mathrm{{norm}}({linear(name)})"
        return rf"\mathrm{{rotated}}({heads})" if "heads" in position else heads

    def capped(what: str, cap: float) -> str:
        return rf"{cap:g}\,\mathrm{{tanh}}({what} / {cap:g})" if cap else what

    up, gate = linear(r"\mathrm{up}"), linear(r"\mathrm{gate}")
    is_gated, scale = ACTIVATIONS[config.activation].gated, config.embedding_scale
    place = " + p_t" if "embedding" in position else ""
    masked = rf"{capped('S', config.score_cap)} + \text{{mask}}"
    softmax = r"\mathrm{softmax}" + ("" if config.attention_softmax == "softmax" else r"_\mathrm{rest}")
    values, head = linear("V"), r"x E^\top" if config.tied else "x U"
    if config.value_residual and layer:
        values = rf"(1 - \lambda)({values}) + \lambda V_\mathrm{{first}}"
    return {
        "embedded": "x_0 = " + (rf"{scale:g}\," if scale != 1 else "") + r"E[\mathrm{id}]" + place,
        "attention.queries": f"Q = {compared('Q')}",
        "attention.keys": f"K = {compared('K')}",
        "attention.values": f"V = {values}",
        "attention.scores": r"S = Q K^\top / \sqrt{D}",
        "attention.masked": masked,
        "attention.weights": rf"A = {softmax}({masked})",
        "attention.attended": "A V",
        "attention.gate": r"\sigma(h W_\mathrm{gate})",
        "mlp.up": up,
        "mlp.gate": gate,
        "mlp.hidden": rf"\phi({gate}) \odot ({up})" if is_gated else rf"\phi({up})",
        "output": r"\mathrm{norm}(x_L)" if RESIDUALS[config.residual].final_norm else "x_L",
        "logits": f"z = {capped(head, config.logit_cap)}",
        "probabilities": r"p = \mathrm{softmax}(z)",
    }


def told(name: str, config: ModelConfig) -> tuple[str, str]:
    """Equation of an array of a model, and file and line of the code that makes it."""
    kind, pieces = kind_of(name), name.split(".")
    if kind not in MADE:
        return origin(kind, config.residual)
    layer = int(pieces[1]) if pieces[0] == "blocks" else 0
    return equations(config, layer)[kind], line_of_code(*MADE[kind])


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
        config = subject.checkpoint.model_config
        asked = self.name.replace("attention.mixed", "attention.attended")
        if asked != self.name:
            warnings.warn(f"{self.name!r} is called {asked!r} by now", DeprecationWarning, stacklevel=2)
        table = []
        for name, array in arrays.items():
            if name.startswith(asked):
                finite = array[np.isfinite(array)].astype(np.float64)
                equation, line = told(name, config)
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

    Each step with its first numbers, their root mean square, and the root mean square at the same place of the gradient
    of the mean loss over the text: read downwards it is the forward pass, the gradient column upwards the backward
    pass. It begins at the logits: 0 stands where none is computed, at the token and at the probabilities, and the last
    row is the token's own loss, of which the mean is made.
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
                        told(name, subject.checkpoint.model_config)[0],
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
