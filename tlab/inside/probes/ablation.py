"""Ablation and patching: what the model loses without a part, and what a part carries from one text to another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np

from tlab.config import chosen_from, option
from tlab.inside.held_out import SLICES, interval, token_losses, window_losses, windows
from tlab.inside.interventions import (
    INTERVENTIONS,
    Intervention,
    Part,
    find_part,
    parts_of,
    run_changed,
    without_norms,
    without_positions,
)
from tlab.inside.pictures import Estimates
from tlab.inside.probing import PROBES, Probe, ProbeError, Subject, log_softmax
from tlab.nn.model import Trace, Transformer
from tlab.types import Array, Ids
from tlab.wording import several, written

ALL = "all"  # every head, every sublayer, and the mechanisms that go through the whole model
MECHANISMS: dict[str, Callable[[Transformer], None]] = {"positions": without_positions, "norms": without_norms}
MAX_WINDOWS = 512


def make_change(name: str, factor: float) -> Intervention:
    """A change by its key, where it needs no other text; `factor` is that of a scaled part.

    Raises:
        ProbeError: it does.
    """
    change = INTERVENTIONS[name].made(factor)
    if change.needs_reference:
        raise ProbeError(f"{name!r} takes what a part adds from another text; that is what the probe 'patch' is for")
    return change


CHANGE = "change in nats per token"


class EffectRow(NamedTuple):
    """What the model loses with one part changed."""

    part: str
    loss: float  # the change of the mean loss; positive where the part helped
    low: float
    high: float


@PROBES.add(
    "effect",
    label="Ablation effect",
    formula=r"\mathcal{L}_{\text{changed}} - \mathcal{L}",
    source="Michel et al. 2019; Wang et al. 2022",
)
@dataclass(frozen=True)
class EffectProbe(Probe):
    """How much worse the model predicts held-out text when a head, an MLP, the positions or the norms are taken away.

    The change in mean loss over windows of the validation split, with two standard errors over the windows to
    either side. What the part adds to the stream is replaced, and everything after it is computed again; for
    positions and norms the mechanism itself is removed.
    Notice: the effects of single parts do not add up. Two heads may do the same, and then removing either costs
    nothing. On repeated tokens alone, removing an induction head costs much, and so does removing the previous-token
    head it depends on; the probe `induction` finds both.
    Unlike the papers: the bias of attention's output is no head's, and stays when a whole layer is zeroed, which takes
    it too in TransformerLens; the mean is over the windows that are evaluated and all their places, where Wang et al.
    take another data set, place by place; in Sandwich-LN the norm after the part is held at its size, where Michel et
    al. and Wang et al. let it act.
    """

    looks_at = ("attention", "mlp", "norm")
    picture = Estimates("part", "loss", "low", "high")
    units: ClassVar[dict[str, str]] = dict.fromkeys(("loss", "low", "high"), CHANGE)

    part: str = option(ALL, help="One part, such as attention.0.head.1, mlp.1, positions or norms; or all.")
    change: str = chosen_from(INTERVENTIONS, "mean", "What the part does instead.", "What it does instead")
    factor: float = option(2.0, label="Times", help="What its output is multiplied with, where it is scaled.")
    on: str = chosen_from(SLICES, "all", "Which tokens' loss counts.", "Tokens that count")
    count: int = option(
        16, low=2, high=MAX_WINDOWS, label="Windows to read", help="How many windows of held-out text are read."
    )

    def rows(self, subject: Subject) -> list[EffectRow]:
        model, change = subject.model, make_change(self.change, self.factor)
        ids, targets = windows(subject, self.count)
        looked_at = SLICES[self.on]().chosen(ids, targets)

        def losses(logits: Array) -> Array:
            return window_losses(token_losses(logits, targets), looked_at)  # (N,)

        before = losses(model.forward(ids)[0])
        table = []
        for part in self.chosen(model, change):
            logits, _ = run_changed(model, ids, {part: change})
            table.append(EffectRow(str(part), *interval(losses(logits) - before)))
        for name, take_out in MECHANISMS.items():
            if self.part in (ALL, name):
                bare = subject.checkpoint.model()
                take_out(bare)
                table.append(EffectRow(name, *interval(losses(bare.forward(ids)[0]) - before)))
        return table

    def chosen(self, model: Transformer, change: Intervention) -> list[Part]:
        """The parts that were asked for and that this change can be made to."""
        if self.part in MECHANISMS:
            return []
        if self.part != ALL:
            return [find_part(model, self.part)]
        return [part for part in parts_of(model) if part.kind in change.kinds]


class NextRow(NamedTuple):
    """One candidate for the next token, before and after."""

    token: str
    before: float
    after: float


@PROBES.add(
    "next",
    label="Next token under ablation",
    formula=r"p(\cdot),\ p_{\text{changed}}(\cdot)",
    source="Meng et al. 2022",
)
@dataclass(frozen=True)
class NextProbe(Probe):
    """How the probabilities of the next token change when one part of the model is switched off or replaced.

    The ten likeliest tokens of either pass, by their larger probability. The text is read twice, once with what the
    part adds to the stream replaced at every position.
    """

    looks_at = ("attention", "mlp", "norm")
    picture = Estimates("token", "after", beside="before")
    steady = False
    units: ClassVar[dict[str, str]] = {"before": "of 1", "after": "of 1"}

    part: str = option("attention.0.head.0", help="The part, such as attention.0.head.1 or mlp.1.")
    change: str = chosen_from(INTERVENTIONS, "zero", "What the part does instead.", "What it does instead")
    factor: float = option(2.0, label="Times", help="What its output is multiplied with, where it is scaled.")
    place: int = option(-1, help="The position in the text whose next token is predicted; -1 is the last.")

    def rows(self, subject: Subject) -> list[NextRow]:
        model, place = subject.model, subject.place(self.place)
        changed, _ = run_changed(
            model, subject.ids[None], {find_part(model, self.part): make_change(self.change, self.factor)}
        )
        before, after = (np.exp(log_softmax(logits[0, place])) for logits in (subject.trace.logits, changed))
        order = np.argsort(-np.maximum(before, after), kind="stable")[:10]
        tokens = subject.checkpoint.tokenizer.tokens
        return [NextRow(tokens[i], float(before[i]), float(after[i])) for i in order]


TOO_LITTLE = 0.1  # nats: a tenth of the probability; each part's share of less is a quotient of two small numbers
NO_SHARES = "shares of it say nothing."


class TwoTexts(NamedTuple):
    """Two texts at the place whose next token is asked for."""

    reference: Trace  # of the other text
    a: int  # the token A
    b: int
    here: float  # logit of A less that of B
    whole: float  # how much that differs in the other text


def ids_of_other_text(subject: Subject, other: str) -> Ids:
    """The ids (T,) of a text to take something from, cut to the context as the subject's own is.

    Raises:
        ProbeError: it has not as many tokens.
    """
    ids = subject.checkpoint.last_ids(other)
    if len(ids) != len(subject.ids):
        raise ProbeError(
            f"as the model reads them, the other text has {len(ids)} tokens, this one {len(subject.ids)}; patching "
            "goes place by place, so give two texts with the same number of tokens"
        )
    return ids


class PatchRow(NamedTuple):
    """What one part carries over from another text."""

    part: str
    logit: float  # change of logit A - logit B
    share: float  # of the whole difference between the two texts


@PROBES.add(
    "patch", label="Activation patching", formula=r"\Delta(z_A - z_B)", source="Meng et al. 2022; Wang et al. 2022"
)
@dataclass(frozen=True)
class PatchProbe(Probe):
    """Which part carries the difference between two texts to the next token: activation patching.

    Each part in turn adds what it added in the other text, position by position. Reported is the change of the logit
    of A minus that of B, also as a share of the difference between the two texts: 1 for a part that alone makes the
    model predict what it predicts for the other text. By default A is the first choice for this text, B for the other,
    and the other text is this one with the token at that place changed.
    """

    looks_at = ("attention", "mlp", "stream")
    picture = Estimates("part", "logit")
    units: ClassVar[dict[str, str]] = {"logit": "nats", "share": "of 1"}

    other: str | None = option(None, label="The other text", help="With as many tokens; best differing in one.",
                               default_words="this text with the token at the place changed")  # fmt: skip
    token: str | None = option(None, label="Token", help="The token A.", default_words="the first choice here")
    versus: str | None = option(
        None, label="Compared with token", help="The token B.", default_words="the first choice there"
    )
    place: int = option(-1, help="The position in the text whose next token is predicted; -1 is the last.")

    def rows(self, subject: Subject) -> list[PatchRow]:
        model, place, compared = subject.model, subject.place(self.place), self.compare(subject)
        table = []
        for part in parts_of(model):
            logits, _ = run_changed(model, subject.ids[None], {part: INTERVENTIONS["patch"]()}, compared.reference)
            moved = float(logits[0, place, compared.a] - logits[0, place, compared.b]) - compared.here
            share = moved / compared.whole if abs(compared.whole) > 1e-12 else 0.0
            table.append(PatchRow(str(part), moved, share))
        return table

    def compare(self, subject: Subject) -> TwoTexts:
        """The two texts, and what is asked of them."""
        place = subject.place(self.place)
        logits, reference = subject.model.forward(self.other_ids(subject)[None])
        here, there = subject.trace.logits[0, place], logits[0, place]
        a = subject.token_id(self.token) if self.token else int(here.argmax())
        b = subject.token_id(self.versus) if self.versus else int(there.argmax())
        if a == b:  # both texts have the same first choice: then against the second one
            b = int(np.argsort(-there)[1])
        difference = float(here[a] - here[b])
        return TwoTexts(reference, a, b, difference, float(there[a] - there[b]) - difference)

    def other_ids(self, subject: Subject) -> Ids:
        """The other text (T,): the one that is given, or this one with the token at the place changed.

        A change further back may hardly reach the prediction, and then there is no difference to share out.
        """
        if self.other is not None:
            return ids_of_other_text(subject, self.other)
        ids, changed = subject.ids.copy(), subject.place(self.place)
        ids[changed] = (ids[changed] + 1) % subject.checkpoint.model_config.vocab_size
        return ids

    def remark(self, subject: Subject) -> str:
        whole, ids = self.compare(subject).whole, self.other_ids(subject)
        tokens = subject.checkpoint.tokenizer.tokens
        changed = np.flatnonzero(ids != subject.ids)
        words = f"The two texts differ in {several(len(changed), 'token')}"
        if len(changed) == 1:
            words += f": {tokens[ids[changed[0]]]} in place of {subject.tokens[changed[0]]} at place {changed[0]}"
        words += f". The difference that parts can carry is {written(whole, '+.3f')} nats."
        return words if abs(whole) >= TOO_LITTLE else f"{words} That is too little to share out: {NO_SHARES}"
