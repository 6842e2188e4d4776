"""Probes of the MLP's hidden units: what sets one off, what it says, and how many have nothing to say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np

from tlab.config import option
from tlab.inside.contributions import unembedding
from tlab.inside.held_out import windows
from tlab.inside.pictures import Estimates, Histogram, Lines
from tlab.inside.probes.heads import norms_of_stream, passed
from tlab.inside.probing import PROBES, Probe, ProbeError, Subject
from tlab.nn.activations import ACTIVATIONS
from tlab.nn.mlp import MlpTrace
from tlab.types import Array

MOST_WINDOWS = 512
BEFORE, AFTER = 24, 6  # tokens of context shown around the one that set a unit off
DEAD = 0.01  # of the layer's RMS: a unit that never gets this far does nothing
UNBENT = 3.0  # from here on ReLU, GELU and Swish pass what comes in within 5 %


def bend(trace: MlpTrace) -> Array:
    """What the activation bends (B, T, F): the gate where there is one, else the only input."""
    return trace.up if trace.gate is None else trace.gate


def check_neuron(subject: Subject, layer: int, neuron: int) -> None:
    """Refuse a unit that the model has not."""
    c = subject.checkpoint.model_config
    if not (layer < c.num_layers and neuron < c.mlp_dim):
        raise ProbeError(
            f"no neuron {neuron} in layer {layer}; layers go from 0 to {c.num_layers - 1}, "
            f"neurons from 0 to {c.mlp_dim - 1}"
        )


class ContextRow(NamedTuple):
    """A place in the corpus that sets a unit off."""

    activation: float
    context: str  # the token itself in brackets
    then: str  # the token that follows it


@PROBES.add(
    "neuron",
    label="Top activating examples",
    formula=r"\max_t h_{t,n}",
    source="Karpathy et al. 2015; Geva et al. 2021",
)
@dataclass(frozen=True)
class NeuronProbe(Probe):
    """The positions in held-out text at which one hidden unit of an MLP is most active.

    The activation is the unit's value after the activation function, as the output matrix reads it. The token at
    which it is read stands in ⟦brackets⟧, with what came before and after it; each window gives one place at most.
    """

    looks_at = ("mlp",)
    steady = False

    layer: int = option(0, low=0, help="Layer of the unit, counted from 0 as in its key, mlp.0.neuron.0.")
    neuron: int = option(0, low=0, help="Number of the unit in its layer, counted from 0.")
    top: int = option(10, low=1, high=100, label="Places to show", help="How many, the strongest first.")
    count: int = option(
        64, low=1, high=MOST_WINDOWS, label="Windows to search", help="How many windows of held-out text."
    )

    def rows(self, subject: Subject) -> list[ContextRow]:
        check_neuron(subject, self.layer, self.neuron)
        ids, targets = windows(subject, self.count)
        _, trace = subject.model.forward(ids)
        values = trace.blocks[self.layer].mlp.hidden[..., self.neuron]  # (N, T)
        where = values.argmax(1)
        best = values[np.arange(len(values)), where]
        tokens = subject.checkpoint.tokenizer.tokens
        table = []
        for n in np.argsort(-best, kind="stable")[: self.top]:
            t = int(where[n])
            before = "".join(tokens[i] for i in ids[n, max(0, t - BEFORE) : t])
            after = "".join(tokens[i] for i in ids[n, t + 1 : t + 1 + AFTER])
            table.append(ContextRow(float(best[n]), f"{before}⟦{tokens[ids[n, t]]}⟧{after}", tokens[targets[n, t]]))
        return table


class SaysRow(NamedTuple):
    """What a unit says for one token."""

    token: str
    logit: float


@PROBES.add("says", label="Neuron output logits", formula=r"W_\mathrm{down}[n]\,U", source="Geva et al. 2022")
@dataclass(frozen=True)
class SaysProbe(Probe):
    """The tokens whose logits one hidden unit raises most, and those it lowers most, directly through the unembedding.

    For a unit at activation 1, less the mean over all tokens; the scales of the norms on the way count, their sizes,
    which depend on the text, do not. The largest and the smallest are shown.
    Notice: what later blocks make of it is left out, and it matters more the earlier the unit's layer.
    """

    looks_at = ("mlp", "head")
    picture = Estimates("token", "logit")
    steady = False
    units: ClassVar[dict[str, str]] = {"logit": "nats"}

    layer: int = option(0, low=0, help="Layer of the unit, counted from 0 as in its key, mlp.0.neuron.0.")
    neuron: int = option(0, low=0, help="Number of the unit in its layer, counted from 0.")
    top: int = option(5, low=1, high=50, label="Tokens to show", help="How many at either end.")

    def rows(self, subject: Subject) -> list[SaysRow]:
        check_neuron(subject, self.layer, self.neuron)
        model = subject.model
        block = model.blocks[self.layer]
        row = block.mlp.down.weight.data[self.neuron][None]  # (1, C)
        row = passed((block.mlp_branch.norm_out, *norms_of_stream(model)[2 * self.layer + 1 :], model.final_norm), row)
        logits = (row @ unembedding(model))[0]
        logits = logits - logits.mean()
        order = np.argsort(-logits, kind="stable")
        shown = dict.fromkeys([*order[: self.top].tolist(), *order[-self.top :].tolist()])
        tokens = subject.checkpoint.tokenizer.tokens
        return [SaysRow(tokens[i], float(logits[i])) for i in shown]


class UnitsRow(NamedTuple):
    """The hidden units of one MLP."""

    layer: int
    units: int
    dead: float
    unbent: float
    active: float
    rms: float


@PROBES.add(
    "units", label="Dead and saturated units", formula=r"\max_t |h_{t,n}|", source="Glorot et al. 2011; Lu et al. 2019"
)
@dataclass(frozen=True)
class UnitsProbe(Probe):
    """How many hidden units of each MLP are dead, and how many stay on one side of their activation's bend.

    Over windows of held-out text. Dead: the unit's value never reaches 1 % of the layer's RMS. Unbent: what goes into
    its activation (of a gated one, the gate) never falls below 3. There ReLU is a straight line, and GELU and Swish are
    within 5 % of one, so that such a unit is as good as linear; ReLU squared is a parabola, a unit with a gate still a
    product. Active: the share of all values where the activation's input is above 0.
    Unlike Lu et al., for whom a dead unit is exactly 0 on all data: GELU and Swish hardly ever are, and the windows are
    a sample, so a rare unit counts as dead.
    """

    looks_at = ("mlp",)
    picture = Lines("layer", ("dead", "unbent", "active"))
    units: ClassVar[dict[str, str]] = {"dead": "of 1", "unbent": "of 1", "active": "of 1"}

    count: int = option(
        16, low=1, high=MOST_WINDOWS, label="Windows to read", help="How many windows of held-out text are read."
    )

    def rows(self, subject: Subject) -> list[UnitsRow]:
        _, trace = subject.model.forward(windows(subject, self.count)[0])
        table = []
        for layer, block in enumerate(trace.blocks):
            hidden, bent = block.mlp.hidden, bend(block.mlp)
            rms = float(np.sqrt(np.mean(hidden * hidden)))
            largest, lowest = np.abs(hidden).max((0, 1)), bent.min((0, 1))  # (F,)
            # Not less than: in a layer that is silent both sides are 0.
            dead, unbent = float((largest <= DEAD * rms).mean()), float((lowest > UNBENT).mean())
            table.append(UnitsRow(layer, hidden.shape[-1], dead, unbent, float((bent > 0).mean()), rms))
        return table


class HistogramRow(NamedTuple):
    """One bin of what comes into an activation."""

    layer: int
    low: float
    high: float
    share: float
    curve: float  # the activation at the middle of the bin


@PROBES.add("activations", label="Activation input histogram", formula=r"h = \phi(x)", source="Hendrycks & Gimpel 2016")
@dataclass(frozen=True)
class ActivationsProbe(Probe):
    """Which part of its curve an activation uses: a histogram of its inputs, layer by layer, beside the curve.

    Shares of all inputs over windows of held-out text; the outermost bins hold what lies beyond them. Of a gated
    activation, the gate's inputs, and the curve that the other input is multiplied with.
    """

    looks_at = ("mlp",)
    picture = Histogram("low", "high", "share", "curve", panel="layer")
    steady = False
    units: ClassVar[dict[str, str]] = {"share": "of 1"}

    reach: float = option(
        4.0, low=0, low_is_allowed=False, high=1000, label="Largest input shown",
        help="The histogram goes from minus to plus this.",
    )  # fmt: skip
    bins: int = option(16, low=2, high=200, label="Number of bars", help="Into so many the inputs are sorted.")
    count: int = option(
        16, low=1, high=MOST_WINDOWS, label="Windows to read", help="How many windows of held-out text are read."
    )

    def rows(self, subject: Subject) -> list[HistogramRow]:
        _, trace = subject.model.forward(windows(subject, self.count)[0])
        edges = np.linspace(-self.reach, self.reach, self.bins + 1)
        middles = (edges[1:] + edges[:-1]) / 2
        activation = ACTIVATIONS[subject.checkpoint.model_config.activation]
        curve = (
            activation.reference(np.ones_like(middles), middles) if activation.gated else activation.reference(middles)
        )
        table = []
        for layer, block in enumerate(trace.blocks):
            inside = np.clip(bend(block.mlp), -self.reach, self.reach)
            shares = np.histogram(inside, edges)[0] / inside.size
            table += [
                HistogramRow(layer, float(edges[i]), float(edges[i + 1]), float(shares[i]), float(curve[i]))
                for i in range(self.bins)
            ]
        return table
