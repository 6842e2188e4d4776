"""Probes of the residual stream: what is in it, who put it there, and what the unembedding would make of it so far."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np

from tlab.config import option
from tlab.inside.contributions import stream_contributions, unembedding
from tlab.inside.pictures import Estimates, Lines, Map
from tlab.inside.probing import PROBES, Probe, Subject, log_softmax
from tlab.nn.model import Trace, Transformer
from tlab.types import Array


def streams(trace: Trace) -> list[Array]:
    """The stream (B, T, C) at every depth: what enters the first block, and what leaves each."""
    return [trace.embedded, *(block.y for block in trace.blocks)]


def overall_rms(x: Array) -> float:
    """Over all entries."""
    return float(np.sqrt(np.mean(x * x)))


class StreamRow(NamedTuple):
    """One addend of the stream."""

    part: str
    rms: float  # of the addend, over places and channels
    share: float  # of the stream, 1 in all


@PROBES.add("stream", label="Residual stream decomposition", formula=r"\overline{c \cdot x / x \cdot x}",
            source="Elhage et al. 2021")  # fmt: skip
@dataclass(frozen=True)
class StreamProbe(Probe):
    """How much of what the unembedding reads comes from each part of the model.

    x is the stream and c one of its addends, with the sizes that the norms measured held fast. The share is the
    addend's part along x, as a fraction of x, averaged over the places of the text: so the shares add up to 1.
    Notice: a share can be negative. Such a part takes away what others have written.
    """

    looks_at = ("stream", "embedding")
    picture = Estimates("part", "share")
    units: ClassVar[dict[str, str]] = {"share": "of 1"}

    depth: int | None = option(None, low=0, label="After how many blocks", help="Where the stream is looked at.",
                               default_words="what the unembedding reads")  # fmt: skip

    def rows(self, subject: Subject) -> list[StreamRow]:
        depth = None if self.depth is None else min(self.depth, len(subject.model.blocks))
        contributions = stream_contributions(subject.model, subject.trace, depth)
        x = np.sum([c.value for c in contributions], axis=0)
        size = (x * x).sum(-1)
        return [
            StreamRow(c.name, overall_rms(c.value), float(((c.value * x).sum(-1) / size).mean())) for c in contributions
        ]


class GrowthRow(NamedTuple):
    """What one sublayer does to the stream."""

    part: str
    before: float  # RMS of the stream that comes in
    added: float  # RMS of what is added
    behind: float  # RMS of the stream that goes out
    turn: float  # cosine between the stream before and what is added, averaged over places


@PROBES.add(
    "growth", label="Residual stream growth", formula=r"\mathrm{rms}(x_\ell)", source="Xiong et al. 2020, Lemma 2"
)
@dataclass(frozen=True)
class GrowthProbe(Probe):
    """The size of the residual stream by depth, and how much each sublayer adds to it.

    Sizes are root mean squares over places and channels. The turn is the cosine between the stream and what is
    added: 0 for something new, 1 for more of the same, negative for taking away.
    Notice: in Pre-LN the stream grows, so that a late layer changes little of its direction. In Post-LN every norm
    brings it back to one size.
    """

    looks_at = ("stream", "norm")
    picture = Lines("part", ("behind", "added"))

    def rows(self, subject: Subject) -> list[GrowthRow]:
        table = []
        for layer, block in enumerate(subject.trace.blocks):
            for kind, residual in (("attention", block.attention_residual), ("mlp", block.mlp_residual)):
                x, added = residual.x, residual.branch.added
                lengths = np.linalg.norm(x, axis=-1) * np.linalg.norm(added, axis=-1)
                turn = (x * added).sum(-1) / np.maximum(lengths, 1e-30)
                before, size, behind = (overall_rms(array) for array in (x, added, residual.y))
                table.append(GrowthRow(f"{kind}.{layer}", before, size, behind, float(turn.mean())))
        return table


class AttributionRow(NamedTuple):
    """What one addend of the stream says for a token."""

    part: str
    logit: float


@PROBES.add(
    "attribution",
    label="Direct logit attribution",
    formula=r"c \cdot (u_A - u_B)",
    source="Elhage et al. 2021; Wang et al. 2022",
)
@dataclass(frozen=True)
class AttributionProbe(Probe):
    """Who speaks for a token: what each part adds directly to its logit, and what it subtracts.

    u is a token's column of the unembedding, c an addend of what the unembedding reads. With two tokens the rows answer
    why A rather than B, and add up to the difference of their logits; with one, they add up to its logit less the
    mean of all. Direct means: by what a part writes itself, not by what later parts make of it. Where logits are capped
    these are the logits before the cap, which alone is no sum.
    """

    looks_at = ("head", "attention", "mlp")
    picture = Estimates("part", "logit")
    units: ClassVar[dict[str, str]] = {"logit": "nats"}

    token: str | None = option(None, help="The token A.", default_words="the model's first choice")
    versus: str | None = option(
        None, label="Compared with token", help="The token B.", default_words="the mean of all tokens"
    )
    place: int = option(-1, help="The place in the text whose next token is asked for; -1 is the last.")

    def rows(self, subject: Subject) -> list[AttributionRow]:
        place = subject.place(self.place)
        chosen = subject.token_id(self.token) if self.token else int(subject.trace.logits[0, place].argmax())
        columns = unembedding(subject.model)  # (C, V)
        other = columns[:, subject.token_id(self.versus)] if self.versus else columns.mean(1)
        direction = columns[:, chosen] - other
        contributions = stream_contributions(subject.model, subject.trace)
        return [AttributionRow(c.name, float(c.value[0, place] @ direction)) for c in contributions]


class LensRow(NamedTuple):
    """What the head would say at one depth."""

    depth: int  # blocks passed
    first: str  # the likeliest token
    probability: float  # of it
    token: str  # the token that is followed
    rank: int  # of it: 1 for the likeliest
    logprob: float  # of it, nats
    entropy: float  # of the whole guess, nats


def lens_logits(model: Transformer, stream: Array) -> Array:
    """What the head makes of a stream (..., C) from any depth: final norm, where there is one, unembedding and cap."""
    x = model.final_norm.forward(stream)[0] if model.final_norm else stream
    logits = x @ unembedding(model)
    return model.logit_cap.forward(logits)[0] if model.logit_cap else logits


@PROBES.add(
    "lens", label="Logit lens", formula=r"\mathrm{softmax}(\mathrm{norm}(x_\ell)\,U)", source="nostalgebraist 2020"
)
@dataclass(frozen=True)
class LensProbe(Probe):
    """What the model would predict if it stopped after each block, and where a token becomes the first choice.

    The stream at every depth goes through the final norm, if there is one, and the unembedding, as if it were the last.
    By default the token that is followed is the one that the model says in the end.
    Notice: with tied embeddings the first rows often say the token just read: the embedding is its own unembedding.
    """

    looks_at = ("stream", "head")
    picture = Lines("depth", ("logprob",))
    units: ClassVar[dict[str, str]] = {"probability": "of 1", "logprob": "nats", "entropy": "nats"}

    token: str | None = option(None, help="The token to follow.", default_words="the model's first choice")
    place: int = option(-1, help="The place in the text whose next token is asked for; -1 is the last.")

    def rows(self, subject: Subject) -> list[LensRow]:
        place, tokens = subject.place(self.place), subject.checkpoint.tokenizer.tokens
        followed = subject.token_id(self.token) if self.token else int(subject.trace.logits[0, place].argmax())
        table = []
        for depth, stream in enumerate(streams(subject.trace)):
            logprobs = log_softmax(lens_logits(subject.model, stream[0, place]))
            best, probabilities = int(logprobs.argmax()), np.exp(logprobs)
            rank = 1 + int((logprobs > logprobs[followed]).sum())
            entropy = float(-(probabilities * logprobs).sum())
            table.append(LensRow(depth, tokens[best], float(probabilities[best]), tokens[followed], rank,
                                 float(logprobs[followed]), entropy))  # fmt: skip
        return table


class PlaceLensRow(NamedTuple):
    """What the head would say at one place and one depth."""

    place: int
    read: str  # the token there
    depth: int  # blocks passed
    first: str  # the likeliest next token
    probability: float  # of it
    entropy: float  # of the whole guess, nats


@PROBES.add(
    "lens_map",
    label="Logit lens at every place",
    formula=r"\mathrm{softmax}(\mathrm{norm}(x_{\ell,t})\,U)",
    source="nostalgebraist 2020",
)
@dataclass(frozen=True)
class PlaceLensProbe(Probe):
    """What the model would predict after each block at each place of the text, if it stopped there.

    The stream at every place and depth goes through the final norm, if there is one, and the unembedding, as if it were
    the last: shown is the likeliest next token with its probability. Depth 0 is what enters the first block.
    Notice: read a column upwards to see a guess form. With tied embeddings the first rows often say the token just
    read: the embedding is its own unembedding.
    """

    looks_at = ("stream", "head")
    picture = Map("place", "depth", "probability", text="first", x_name="read")
    steady = False
    units: ClassVar[dict[str, str]] = {"probability": "of 1", "entropy": "nats"}

    places: int = option(32, low=1, high=512, help="How many places at most, the last ones of the text.")

    def rows(self, subject: Subject) -> list[PlaceLensRow]:
        tokens, T = subject.checkpoint.tokenizer.tokens, len(subject.ids)
        first_place = max(0, T - self.places)
        guesses = []
        for stream in streams(subject.trace):  # of one depth at a time: all of them take gigabytes in a large model
            logprobs = log_softmax(lens_logits(subject.model, stream[0, first_place:]))  # (places, V)
            probabilities = np.exp(logprobs)
            guesses.append((logprobs.argmax(-1), probabilities.max(-1), -(probabilities * logprobs).sum(-1)))
        table = []
        for i, place in enumerate(range(first_place, T)):
            for depth, (best, highest, entropies) in enumerate(guesses):
                first, probability, entropy = tokens[best[i]], float(highest[i]), float(entropies[i])
                table.append(PlaceLensRow(place, subject.tokens[place], depth, first, probability, entropy))
        return table
