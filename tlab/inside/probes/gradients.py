"""Probes of the gradient: where it is large, how much of it is noise, and which tokens it points at."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np

from tlab.config import option
from tlab.inside.pictures import Estimates, Lines
from tlab.inside.probing import PROBES, Probe, Subject, log_softmax
from tlab.nn.model import Transformer
from tlab.training.trainer import draw_batch
from tlab.types import Array, Ids


def parameter_part(parameter: str) -> str:
    """The part that a parameter belongs to: "blocks.1.mlp" for "blocks.1.mlp.up.weight"."""
    pieces = parameter.split(".")
    return ".".join(pieces[:3] if pieces[0] == "blocks" else pieces[:1])


def norms_by_part(model: Transformer, field: str) -> dict[str, float]:
    """Part -> Euclidean norm of all of its weights ("data") or of their gradients ("grad")."""
    squares: dict[str, float] = {}
    for name, param in model.parameters.items():
        values = getattr(param, field).ravel()
        squares[parameter_part(name)] = squares.get(parameter_part(name), 0.0) + float(values @ values)
    return {part: math.sqrt(square) for part, square in squares.items()}


class GradientRow(NamedTuple):
    """The gradient of one part of the model."""

    part: str
    at_start: float
    now: float
    weights: float
    now_share: float  # gradient norm over weight norm, now


@PROBES.add(
    "gradients",
    label="Gradient norm by depth",
    formula=r"\lVert \partial \mathcal{L} / \partial W \rVert",
    source="Xiong et al. 2020, Fig. 3",
)
@dataclass(frozen=True)
class GradientsProbe(Probe):
    """The size of the gradient by layer and part, before the first update and now, on the same batch.

    Euclidean norms over all weights of a part, of the mean loss in nats per token. The model before the first update
    is rebuilt from the run's seed.
    Notice: at the start, with Xavier's first weights as in the paper, the deeper a Pre-LN model, the smaller the
    gradients of its last layers; in Post-LN they do not shrink with depth. GPT-2's first weights, smaller the deeper
    the model, hold them level in both. Small first gradients are not what holds Post-LN back: see what the first
    updates make of them. Over time, look for a peak in attention where a mechanism forms.
    """

    looks_at = ("block", "stream", "training")
    picture = Estimates("part", "now", beside="at_start")
    units: ClassVar[dict[str, str]] = dict.fromkeys(("at_start", "now", "weights"), "Euclidean norm")

    batch_size: int = option(16, low=1, high=1024, help="Sequences in the batch, drawn from the training split.")
    seed: int = option(0, low=0, help="Of the draw of the batch: another one draws other sequences.")

    def rows(self, subject: Subject) -> list[GradientRow]:
        config, training = subject.checkpoint.model_config, subject.checkpoint.train_config
        batch = draw_batch(subject.corpus.train, self.batch_size, config.context_length, self.seed, 0)
        first, now = Transformer(config, training.seed, subject.checkpoint.dtype), subject.checkpoint.model()
        for model in (first, now):
            model.accumulate_gradients(*batch)
        at_start = norms_by_part(first, "grad")
        gradients, weights = norms_by_part(now, "grad"), norms_by_part(now, "data")
        return [
            GradientRow(part, at_start[part], norm, weights[part], norm / max(weights[part], 1e-30))
            for part, norm in gradients.items()
        ]


class NoiseRow(NamedTuple):
    """How noisy the gradient is."""

    signal: float  # squared norm of the true gradient, estimated
    noise: float  # trace of the covariance of one sequence's gradient, estimated
    noise_scale: float  # noise / signal
    batch_size: int  # of the run
    noise_in_batch: float  # share of a batch's squared gradient that is noise


@PROBES.add(
    "noise",
    label="Gradient noise scale",
    formula=r"B_\mathrm{simple} = \mathrm{tr}(\Sigma) / |G|^2",
    source="McCandlish et al. 2018, appendix A.1",
)
@dataclass(frozen=True)
class NoiseProbe(Probe):
    """How many sequences a batch needs until its gradient is more signal than noise: the simple noise scale.

    From gradients of small batches and of all of them together: their squared norms are the true one's plus noise
    over the batch size, which gives two equations for the two unknowns. Both estimates are unbiased, so late in
    training, where noise is nearly all, the signal may come out below zero; then the scale is reported as infinite.
    """

    looks_at = ("training",)
    units: ClassVar[dict[str, str]] = {"noise_scale": "sequences", "batch_size": "sequences", "noise_in_batch": "of 1"}

    batches: int = option(16, low=2, high=256, help="How many small batches are compared with all of them together.")
    batch_size: int = option(4, low=1, high=256, help="Sequences in each small batch.")
    seed: int = option(0, low=0, help="Of the draw of the batches: another one draws other sequences.")

    def rows(self, subject: Subject) -> list[NoiseRow]:
        model = subject.checkpoint.model()
        space, T = model.parameters, subject.checkpoint.model_config.context_length
        total, small = np.zeros_like(space.grad), 0.0
        for step in range(self.batches):
            space.grad[...] = 0
            model.accumulate_gradients(*draw_batch(subject.corpus.train, self.batch_size, T, self.seed, step))
            small += float(space.grad @ space.grad) / self.batches
            total += space.grad
        total /= self.batches
        b, B = self.batch_size, self.batch_size * self.batches
        signal, noise = signal_and_noise(small, float(total @ total), b, B)
        used = subject.checkpoint.train_config.batch_size
        scale = noise / signal if signal > 0 else math.inf
        return [NoiseRow(signal, noise, scale, used, 1.0 if scale == math.inf else scale / (scale + used))]


def signal_and_noise(small_square: float, big_square: float, small: int, big: int) -> tuple[float, float]:
    """|G|^2 and tr(Sigma), from E|G_B|^2 = |G|^2 + tr(Sigma) / B at two batch sizes."""
    signal = (big * big_square - small * small_square) / (big - small)
    noise = (small_square - big_square) / (1 / small - 1 / big)
    return signal, max(noise, 0.0)


class SaliencyRow(NamedTuple):
    """How much the prediction depends on one token of the text."""

    place: int
    token: str
    product: float  # gradient times input
    gradient: float  # norm of the gradient


@PROBES.add(
    "saliency",
    label="Input saliency (gradient x input)",
    formula=r"x_t \cdot \partial \log p / \partial x_t",
    source="Simonyan et al. 2014; Shrikumar et al. 2017",
)
@dataclass(frozen=True)
class SaliencyProbe(Probe):
    """Which tokens of the text the probability of the next one depends on, to first order.

    The gradient of the token's log probability with respect to what enters the first block, at each place: its norm and
    its product with the input itself. By default the token is the model's first choice.
    Notice: a gradient tells what an infinitesimal change would do, not what taking the token away would. Where the
    model is saturated it is near zero at what matters most; compare with the probe `patch` before believing it.
    Unlike Simonyan et al., who take the class score, the logit: a log probability also falls where another token gains.
    """

    looks_at = ("tokens", "embedding")
    picture = Lines("place", ("product",), x_name="token")
    units: ClassVar[dict[str, str]] = {"product": "nats"}

    token: str | None = option(
        None, help="The token whose probability is explained.", default_words="the model's first choice"
    )
    place: int = option(-1, help="The position in the text whose next token is predicted; -1 is the last.")

    def rows(self, subject: Subject) -> list[SaliencyRow]:
        place, logits = subject.place(self.place), subject.trace.logits
        chosen = subject.token_id(self.token) if self.token else int(logits[0, place].argmax())
        dembedded = logprob_gradient(subject.checkpoint.model(), subject.ids[None], place, chosen)[0]  # (T, C)
        products = (dembedded * subject.trace.embedded[0]).sum(-1)
        norms = np.linalg.norm(dembedded, axis=-1)
        return [SaliencyRow(t, subject.tokens[t], float(products[t]), float(norms[t])) for t in range(place + 1)]


def logprob_gradient(model: Transformer, ids: Ids, place: int, token: int) -> Array:
    """Gradient (B, T, C) of log p(token) at `place` with respect to what enters the first block."""
    logits, trace = model.forward(ids)
    dlogits = np.zeros_like(logits)
    dlogits[:, place] = -np.exp(log_softmax(logits[:, place]))
    dlogits[:, place, token] += 1
    return model.backward(dlogits, trace)
