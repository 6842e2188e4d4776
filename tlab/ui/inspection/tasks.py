"""The inspector's tasks for the Inside tab: probes, interventions, checks and profiles.

Arguments and results are plain data, because they are sent to another process and back. Nothing here imports Gradio.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from tlab.checks import CheckResult, run_checks
from tlab.cost import num_parameters, step_flops
from tlab.inside import PROBES, ProbeError, Subject
from tlab.inside.bugs import checks_with
from tlab.inside.held_out import windows
from tlab.inside.interventions import INTERVENTIONS, Part, find_part, run_changed
from tlab.inside.over_time import Curves, curves, with_steps
from tlab.inside.probes.ablation import ALL, MECHANISMS, TOO_LITTLE, EffectProbe, NextRow, PatchProbe
from tlab.inside.probing import Rows, log_softmax
from tlab.nn.config import ModelConfig
from tlab.profile import Profile, gemm_rate, profile_of, seconds_of_step, warm_trainer
from tlab.text import TOKENIZERS, Corpus, Tokenizer, corpus_from_text, corpus_names
from tlab.training.checkpoint import Checkpoint
from tlab.training.config import TrainConfig
from tlab.types import Array
from tlab.ui.opened_models import OpenedFrom
from tlab.ui.runs.messages import Job, job_corpus
from tlab.wording import duration

MAX_WEIGHTS_CHECKED = 1_000_000  # there are about a hundred checks, each of at least two passes through the model
SECONDS_TO_PROFILE = 3.0
MAX_PROFILED_STEPS, MIN_PROFILED_STEPS = 10, 3  # steps; fewer than three have no median
MAX_CANDIDATES = 10  # of the next token


class InspectionRequest(NamedTuple):
    """A model, a text, and where to find what the model was trained on."""

    model: Checkpoint | OpenedFrom
    text: str
    corpus: str  # its name
    own_text: str | None  # a visitor's, in place of a corpus
    tokenizer: str

    @property
    def checkpoint(self) -> Checkpoint:
        """The model; an opened one has to be put in its place before, by the process that looks into it."""
        assert isinstance(self.model, Checkpoint)
        return self.model


@functools.lru_cache(maxsize=4)
def corpus_of(name: str, own_text: str | None, tokenizer: str) -> Corpus:
    """A corpus, read once.

    Raises:
        ProbeError: it is not here. A name may come from an export that was opened, so it is never taken as a path.
    """
    if own_text is None and name not in corpus_names():
        raise ProbeError(f"this probe searches the text that the model was trained on, and there is no {name!r} here")
    return job_corpus(Job(name, own_text, tokenizer, ()))


@dataclasses.dataclass(frozen=True, kw_only=True)
class RequestSubject(Subject):
    """A subject whose corpus is a visitor's own text, or one that this process has read already."""

    request: InspectionRequest

    @cached_property
    def corpus(self) -> Corpus:
        """What the model was trained on; if this machine has another edition of it, what the model can read of that.

        The prose of Python's documentation differs between versions of Python, and the shipped run has read one.

        Raises:
            ProbeError: it is not available here.
        """
        if self.checkpoint.is_imported:
            raise ProbeError(
                "this looks into the text that the model was trained on, and the opened model came without it: choose "
                "a probe of the text above"
            )
        name, own_text, key = self.request[2:]
        corpus = corpus_of(name, own_text, key if key in TOKENIZERS else next(iter(TOKENIZERS)))
        is_same = corpus.sha256 == self.checkpoint.corpus["sha256"]
        if is_same and corpus.tokenizer == self.checkpoint.tokenizer:  # not of a run that began with other weights
            return corpus
        return another_edition(corpus, self.checkpoint.tokenizer)


def another_edition(corpus: Corpus, tokenizer: Tokenizer) -> Corpus:
    """The corpus in the token ids of another tokenizer, without the characters that it does not know."""
    text = corpus.tokenizer.decode(np.concatenate([corpus.train, corpus.validation]))
    unknown = {character for character in set(text) if not is_known(tokenizer, character)}
    text = "".join(character for character in text if character not in unknown)
    return corpus_from_text(text, corpus.name, corpus.licence, tokenizer, corpus.origin)


def is_known(tokenizer: Tokenizer, character: str) -> bool:
    try:
        tokenizer.encode(character)
    except ValueError:
        return False
    return True


def subject_of(request: InspectionRequest) -> RequestSubject:
    return RequestSubject(request.checkpoint, request.text, request=request)


class ProbeResult(NamedTuple):
    """The table of a probe, and what has to be known before it is read."""

    rows: Rows
    remark: str


def probe_result(request: InspectionRequest, name: str, options: dict[str, Any]) -> ProbeResult:
    """The table of a probe.

    Raises:
        ValueError: an option is not allowed, or the probe does not apply here (`ProbeError`); the message says why.
    """
    subject, asked = subject_of(request), PROBES[name].from_json(options)
    return ProbeResult(asked.rows(subject), asked.remark(subject))


def probe_over_time(requests: list[InspectionRequest], name: str, options: dict[str, Any]) -> Curves:
    """One probe at every checkpoint of a run: the first of its numbers that changes, row by row.

    Raises:
        ValueError: as for `probe_result`; or the rows are others at each step.
    """
    steps = [request.checkpoint.step for request in requests]
    kind = PROBES[name]
    tables = [kind.from_json(options).rows(subject_of(request)) for request in requests]
    rows = with_steps([(step, row) for step, rows in zip(steps, tables, strict=True) for row in rows])
    return curves(rows, kind.picture and kind.picture.followed)


# --- interventions ---


class InterventionEffect(NamedTuple):
    """What changing one part does."""

    loss: tuple[float, float, float] | None
    """Change of the mean loss, with its interval; None for a patch, and where there is no held-out text."""
    windows: int  # on which the loss was measured
    candidates: list[NextRow]
    share: float | None  # of the difference between the two texts that a patch restores
    difference: float | None  # between the two texts, nats of a patch's two logits
    tokens: tuple[str, str] = ("", "")  # of these logits: the one, and that which is subtracted


def intervene(
    request: InspectionRequest, part: str, change: str, other: str, count: int, factor: float = 2.0
) -> InterventionEffect:
    """Change one part: what it costs on `count` windows of held-out text, and what it does to the next token.

    `part` may also be "positions" or "norms"; `other` is the text that a patch takes its values from, by default the
    text with another last token; `factor` is what a scaled part is multiplied with.

    Raises:
        ValueError: there is no such part, or the change does not apply to it.
    """
    subject = subject_of(request)
    if part == ALL:
        raise ProbeError("choose one part; all of them side by side are in the probe above")
    before = subject.trace.logits[0, -1]
    if part in MECHANISMS:
        bare = request.checkpoint.model()
        MECHANISMS[part](bare)
        after = bare.forward(subject.ids[None])[0][0, -1]
    else:
        what, patch = INTERVENTIONS[change].made(factor), PatchProbe(other=other or None)
        compared = patch.compare(subject) if what.needs_reference else None
        reference = compared.reference if compared else None
        after = run_changed(subject.model, subject.ids[None], {find_part(subject.model, part): what}, reference)[0][
            0, -1
        ]
        if compared is not None:
            moved = float(after[compared.a] - after[compared.b]) - compared.here
            share = moved / compared.whole if abs(compared.whole) >= TOO_LITTLE else None
            names = subject.checkpoint.tokenizer.tokens
            two = names[compared.a], names[compared.b]
            return InterventionEffect(None, 0, next_rows(subject, before, after), share, compared.whole, two)
    chosen = {"part": part, "count": count, **({} if part in MECHANISMS else {"change": change, "factor": factor})}
    if request.checkpoint.is_imported:
        return InterventionEffect(None, 0, next_rows(subject, before, after), None, None)
    asked = EffectProbe.from_json(chosen)
    row = asked.rows(subject)[0]
    read = len(windows(subject, count)[0])  # fewer where the text has no more that do not overlap
    return InterventionEffect((row.loss, row.low, row.high), read, next_rows(subject, before, after), None, None)


def next_rows(subject: Subject, before: Array, after: Array) -> list[NextRow]:
    """The likeliest next tokens before or after, by the larger probability; from logits (V,)."""
    probabilities = [np.exp(log_softmax(logits)) for logits in (before, after)]
    order = np.argsort(-np.maximum(*probabilities), kind="stable")[:MAX_CANDIDATES]
    tokens = subject.checkpoint.tokenizer.tokens
    return [NextRow(tokens[i], float(probabilities[0][i]), float(probabilities[1][i])) for i in order]


def part_names(config: ModelConfig) -> list[str]:
    """Every part that can be changed, by blocks; without single neurons, which are too many to list."""
    names = []
    for layer in range(config.num_layers):
        heads = [str(Part(layer, "attention", head)) for head in range(config.num_heads)]
        names += [str(Part(layer, "attention")), *heads, str(Part(layer, "mlp"))]
    return [*names, *MECHANISMS]


# --- checks and profiles ---


def check_rows(config: ModelConfig, bug: str | None) -> list[CheckResult]:
    """Every check of a configuration, with or without a planted bug.

    Raises:
        ValueError: the model is too large for it, or the bug cannot be planted in it.
    """
    weights = num_parameters(config)
    if weights > MAX_WEIGHTS_CHECKED:
        raise ValueError(
            f"This model has {weights:,} weights. Checks take some hundred passes in float64, so here it is done "
            f"up to {MAX_WEIGHTS_CHECKED:,}. Take fewer or narrower layers: a mistake does not depend on the size."
        )
    return checks_with(bug, config) if bug else list(run_checks(config))


def profile_step(request: InspectionRequest, training: TrainConfig) -> Profile:
    """Where the time of one training step of this run goes.

    Raises:
        ValueError: a step takes too long to be profiled here.
    """
    config = request.checkpoint.model_config
    steps_to_profile(step_flops(config, training.batch_size) / gemm_rate(), "at least")  # no step is faster than that
    trainer = warm_trainer(config, training, subject_of(request).corpus)
    return profile_of(trainer, steps_to_profile(seconds_of_step(trainer), "about"))


def steps_to_profile(seconds: float, told: str) -> int:
    """How many steps of so many seconds there is time for; each is made twice.

    Raises:
        ValueError: too few.
    """
    steps = min(MAX_PROFILED_STEPS, math.floor(SECONDS_TO_PROFILE / (2 * seconds)))
    if steps < MIN_PROFILED_STEPS:
        raise ValueError(
            f"One step of this run takes {told} {duration(seconds)} here now, too long to profile on this page. Take a "
            "smaller model or batch, or run tlab profile in a terminal."
        )
    return steps
