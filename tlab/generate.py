"""Writing: turn the model's scores into a next token, and again, and again."""

from __future__ import annotations

import math
import numbers
from collections import deque
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from tlab.config import Config, option
from tlab.files import refuse_place
from tlab.nn.decoder import Decoder
from tlab.nn.loss import softmax
from tlab.nn.model import Transformer
from tlab.text import Tokenizer
from tlab.training.checkpoint import Checkpoint
from tlab.types import Array, Ids

NO_TOKENS: Ids = np.zeros(0, np.int64)
MAX_PENALTY = 10.0  # repetition penalty; and its inverse is the strongest invitation
MIN_TEMPERATURE = (
    1e-200  # score differences divided by less may overflow; at this value all tokens but the best have probability 0
)


class SamplingSteps(NamedTuple):
    """From logits to probabilities, each (V,)."""

    logits: Array
    penalized: Array  # the same, but for tokens that the text already has
    scaled: Array  # penalized / temperature
    filtered: Array  # -inf where top-k or top-p took a token out
    probabilities: Array  # softmax of what is left


@dataclass(frozen=True)
class Sampling(Config):
    """How to choose a token."""

    temperature: float = option(1.0, low=0, help="Below 1 favours likely tokens, above 1 evens out, 0 always takes the "
        "most likely token.")  # fmt: skip
    top_k: int | None = option(None, low=1, help="Choose among the k most likely tokens only.")
    top_p: float | None = option(None, low=0, low_is_allowed=False, high=1, help="Choose among the most likely "
        "tokens that together have this probability.")  # fmt: skip
    repetition_penalty: float = option(1.0, low=1 / MAX_PENALTY, high=MAX_PENALTY, help="Above 1, tokens that the "
        "context already has become less likely.")  # fmt: skip


class Token(NamedTuple):
    """One generated token. `str(token)` is its text, so that tokens can simply be printed one after another."""

    id: int
    text: str  # what it adds to the text; "" while a character of several bytes is not complete
    logits: Array  # (V,), the model's scores from which it was chosen
    sampling: Sampling
    seen: Ids  # the tokens that the repetition penalty was for; (0,) where there was none

    @property
    def steps(self) -> SamplingSteps:
        """How it was chosen; worked out when asked, for most tokens are only read."""
        return sampling_steps(self.logits, self.sampling, seen=self.seen)

    @property
    def probability(self) -> float:
        """The probability it had when it was drawn."""
        return float(self.steps.probabilities[self.id])

    def __str__(self) -> str:
        return self.text


def penalize(logits: Array, seen: Ids, penalty: float) -> Array:
    """Logits (V,) with those of `seen` tokens divided by the penalty where they are positive, else multiplied by it.

    Source: Keskar et al. 2019, CTRL, section 4.1, which divides; to multiply where they are negative is the usual
    correction. Above 1 a text avoids what it has already, below 1 it dwells on it.
    Notice: it depends on where the logits' zero lies, which a softmax does not know of. And of single characters a text
    soon has nearly all: the penalty then moves all of them, towards 0 or away from it.
    """
    penalized = logits.copy()
    own = logits[seen]
    penalized[seen] = np.where(own > 0, own / penalty, own * penalty)
    return penalized


def scale(logits: Array, temperature: float) -> Array:
    """Logits (V,) over the temperature: below 1 sharper, above 1 flatter. At 0 only the best is left."""
    if temperature == 0:
        return np.where(np.arange(len(logits)) == logits.argmax(), 0.0, -math.inf)
    # The shift changes no probability. With it, and in float64, the extreme temperatures stay finite.
    scaled = np.subtract(logits, logits[logits.argmax()], dtype=np.float64)  # max() takes three times as long
    scaled /= max(temperature, MIN_TEMPERATURE)
    return scaled


def keep_top_k(logits: Array, top_k: int | None) -> Array:
    """-inf for all but the k largest logits (V,); None keeps all. Equal logits are kept or lost together."""
    if top_k is None or top_k >= len(logits):
        return logits
    threshold = np.partition(logits, -top_k)[-top_k]
    return np.where(logits >= threshold, logits, -math.inf)


def keep_top_p(logits: Array, top_p: float | None) -> Array:
    """-inf for all but the smallest set of tokens whose probabilities add up to p (V,); None keeps all.

    Source: Holtzman et al. 2020, nucleus sampling.
    """
    if top_p is None or top_p >= 1:
        return logits
    order = np.argsort(-logits, kind="stable")
    reached = np.cumsum(softmax(logits)[order])
    num_kept = int(np.searchsorted(reached, top_p)) + 1
    kept = np.full(len(logits), -math.inf, logits.dtype)
    kept[order[:num_kept]] = logits[order[:num_kept]]
    return kept


def scale_and_filter(logits: Array, sampling: Sampling) -> tuple[Array, Array]:
    """Logits (V,) -> scaled, and of these what top-k and top-p leave; both (V,), the largest is 0.

    Raises:
        ValueError: the logits are not finite, as those of a model that diverged.
    """
    if not math.isfinite(logits.dot(logits)):  # one call; a sum of squares is finite only if all of them are
        raise ValueError(
            "the model's scores are not finite: its weights are too large to generate with; train it again"
        )
    scaled = scale(logits, sampling.temperature)
    return scaled, keep_top_p(keep_top_k(scaled, sampling.top_k), sampling.top_p)


def sampling_steps(logits: Array, sampling: Sampling, seen: Ids = NO_TOKENS) -> SamplingSteps:
    """The whole chain from logits (V,) to probabilities, for one next token; `seen` are the tokens to be penalized.

    Raises:
        ValueError: the logits are not finite, as those of a model that diverged.
    """
    penalized = penalize(logits, seen, sampling.repetition_penalty)
    scaled, filtered = scale_and_filter(penalized, sampling)
    return SamplingSteps(logits, penalized, scaled, filtered, softmax(filtered))


class Candidate(NamedTuple):
    """One token on its way through the chain of `SamplingSteps`."""

    id: int
    logit: float
    penalized: float  # the logit after the repetition penalty
    scaled: float  # relative to the likeliest token's, which has 0; -inf at temperature 0
    kept: bool  # whether it passed top-k and top-p
    plain: float  # before the filter, softmax(scaled)
    probability: float  # after it


class Chain(NamedTuple):
    """How the next token is chosen: the likeliest candidates, and sums over all tokens."""

    candidates: list[Candidate]  # the likeliest first
    num_kept: int  # of all V tokens
    cut: float  # probability, before the filter, of all tokens that it removes
    entropy: float  # nats, of the final distribution; exp(entropy) is its effective number of choices
    others: float  # probability, after the filter, of all tokens not listed as candidates


def candidates(steps: SamplingSteps, count: int, also: int | None = None) -> Chain:
    """The `count` likeliest tokens with every step of their choice, and what became of the rest.

    A smaller vocabulary is listed whole. `also` is a token that is to be among them, such as the one that was drawn: in
    the place of the last if need be.
    """
    order = np.argsort(-steps.penalized, kind="stable")[:count]
    if also is not None and also not in order:
        order[-1] = also
    plain = softmax(steps.scaled)
    kept = np.isfinite(steps.filtered)
    highest = steps.scaled.max()
    rows = [
        Candidate(
            id=int(i),
            logit=float(steps.logits[i]),
            penalized=float(steps.penalized[i]),
            scaled=float(steps.scaled[i] - highest),
            kept=bool(kept[i]),
            plain=float(plain[i]),
            probability=float(steps.probabilities[i]),
        )
        for i in order
    ]
    probable = steps.probabilities[steps.probabilities > 0].astype(np.float64)
    return Chain(
        candidates=rows,
        num_kept=int(kept.sum()),
        cut=float(plain[~kept].sum()),
        entropy=float(max(0.0, -(probable * np.log(probable)).sum())),
        others=max(0.0, 1.0 - sum(row.probability for row in rows)),
    )


def draw(probabilities: Array, rng: np.random.Generator) -> int:
    """A token id, drawn in proportion to its probability; (V,) -> int."""
    reached = np.add.accumulate(probabilities, dtype=np.float64)  # as np.cumsum, in two thirds of the time
    # The sum need not be 1; a token of probability 0 is never drawn.
    return int(reached.searchsorted(rng.random() * reached[-1], side="right"))


def choose(logits: Array, sampling: Sampling, seen: Ids, rng: np.random.Generator) -> int:
    """The next token's id: logits (V,) -> int. As `sampling_steps` and `draw`, but nothing is normalized."""
    if len(seen):
        logits = penalize(logits, seen, sampling.repetition_penalty)
    _, filtered = scale_and_filter(logits, sampling)
    return draw(np.exp(filtered), rng)


class Writer:
    """What one text has to itself: its random numbers, and the bytes of a character that is not complete.

    The text begins with prompt_ids (T,). The repetition penalty is for the last `window` tokens: those that the model
    may see.
    """

    def __init__(self, tokenizer: Tokenizer, sampling: Sampling, seed: int, prompt_ids: Ids, window: int) -> None:
        self.sampling = sampling
        self.rng = np.random.default_rng(seed)
        self.stream = tokenizer.stream()
        self.recent = None if sampling.repetition_penalty == 1 else deque(prompt_ids.tolist(), window)

    def __call__(self, logits: Array, is_last: bool) -> Token:
        """Scores (V,) -> the next token."""
        seen = NO_TOKENS if self.recent is None else np.unique(self.recent)
        token_id = choose(logits, self.sampling, seen, self.rng)
        if self.recent is not None:
            self.recent.append(token_id)
        text = self.stream(token_id)
        if is_last:
            text += self.stream.finish()
        return Token(token_id, text, logits, self.sampling, seen)


def next_token_logits(model: Transformer, prompt_ids: Ids, samples: int = 1) -> Generator[Array, list[int], None]:
    """A generator of logits (samples, V) for the next token of each of several texts with one beginning.

    Send it the tokens that were chosen, one a text, and it yields the next logits. The window holds the last
    `context_length` tokens. When it is full, kinds of position that know distances only slide on over the cached keys.
    The others count from the window's first token, so the newer half of the window is read again from position 0, once
    every half window. Neither is the same as reading the whole window again for each token, which takes as many times
    longer as the window has tokens: a cached key was made when older tokens were still in view, and a half window has
    less context than a whole one.
    """
    window = model.config.context_length
    kept = window // 2 + 1  # read again, with the newest one
    prompt = np.asarray(prompt_ids)[None, -window:]
    # The texts so far, as far as they may be read again, in twice the space so that they seldom have to be moved.
    texts = np.empty((samples, 2 * kept), np.int64)
    end = min(kept, prompt.shape[1])
    texts[:, :end] = prompt[:, prompt.shape[1] - end :]
    # One text is written by a decoder. Several share each call into NumPy, so the model reads a token of all at once.
    cache = model.new_cache()
    decoder = Decoder(model, cache) if samples == 1 else None
    if decoder:
        logits = decoder.read(prompt[0])[None]
    else:
        logits = model.score(prompt, cache)[:, -1].repeat(samples, axis=0)  # their beginning once for all
        cache = cache.expand(samples)
    while True:
        chosen = yield logits
        if end == texts.shape[1]:
            texts[:, :kept] = texts[:, -kept:]
            end = kept
        texts[:, end] = chosen
        end += 1
        if len(cache) == window and not model.position.relative:
            cache.clear()
            logits = model.score(texts[:, end - kept : end], cache)[:, -1]
        elif decoder:
            logits = decoder.logits(chosen[0])[None]
        else:
            logits = model.score(texts[:, end - 1 : end], cache)[:, -1]


def generate_tokens(
    model: Transformer, tokenizer: Tokenizer, prompt: str, **settings: int | float | None
) -> Iterator[Token]:
    """`generate`, with the same settings, for a live model, such as one in the middle of its training."""
    return (row[0] for row in generate_samples(model, tokenizer, prompt, samples=1, **settings))  # pyright: ignore


def generate_samples(
    model: Transformer,
    tokenizer: Tokenizer,
    prompt: str,
    *,
    samples: int,
    max_new_tokens: int = 200,
    temperature: float = 0.8,
    top_k: int | None = None,
    top_p: float | None = None,
    repetition_penalty: float = 1.0,
    seed: int = 0,
) -> Iterator[list[Token]]:
    """Several texts with one beginning at once, for a live model: at each turn the next token of each.

    The model reads all of them in one pass, which takes much less time than one after the other. Text number i has a
    generator of its own, with seed + i: so it is the text that `generate` writes with that seed, however many are
    written beside it. (But for rounding: products of several rows may add up in another order than those of one. That
    moves a draw from one token to its neighbour about once in a million tokens.)

    Args:
        model: `checkpoint.model()` of a trained model, or one that is being trained.
        tokenizer: its own.
        prompt: at least one character; each text begins with it.
        samples: how many texts.
        max_new_tokens: of each text; this and the others are those of `generate`.
        temperature: see `generate`.
        top_k: see `generate`.
        top_p: see `generate`.
        repetition_penalty: see `generate`.
        seed: of the first text; each later one has the next.

    Raises:
        TypeError: a folder where a model is wanted.
        UnknownCharacterError: the prompt has characters that the model's vocabulary has not.
        ValueError: an empty prompt or a setting out of range. Raised at once, not at the first token.
    """
    refuse_place("model", model, "Checkpoint.load")
    sampling = Sampling(temperature, top_k, top_p, repetition_penalty)
    for name, value, least in (("max_new_tokens", max_new_tokens, 0), ("samples", samples, 1), ("seed", seed, 0)):
        if not (isinstance(value, numbers.Integral) and value >= least):
            raise ValueError(f"{name} = {value!r}: must be a whole number, {least} or more")
    prompt_ids = tokenizer.encode(prompt)
    if not len(prompt_ids):
        raise ValueError("the prompt is empty; give at least one character for the model to go on from")

    def tokens() -> Iterator[list[Token]]:
        window = model.config.context_length
        writers = [Writer(tokenizer, sampling, seed + i, prompt_ids, window) for i in range(samples)]
        source = next_token_logits(model, prompt_ids, samples)
        row: list[Token] = []
        for remaining in reversed(range(max_new_tokens)):
            logits = source.send([token.id for token in row]) if row else next(source)
            row = [writer(scores, not remaining) for writer, scores in zip(writers, logits, strict=True)]
            yield row

    return tokens()


def generate(
    checkpoint: Checkpoint,
    prompt: str,
    *,
    max_new_tokens: int = 200,
    temperature: float = 0.8,
    top_k: int | None = None,
    top_p: float | None = None,
    repetition_penalty: float = 1.0,
    seed: int = 0,
) -> Iterator[Token]:
    """Continue `prompt`, one token at a time.

    Args:
        checkpoint: a trained model.
        prompt: at least one character. Of a prompt longer than the context the last part is read.
        max_new_tokens: how many tokens to write; the window slides on when the context is full.
        temperature: below 1 bolder on what is likely, above 1 more even, 0 always the most likely token.
        top_k: choose among the k most likely tokens only; None for all.
        top_p: choose among the most likely tokens that together have this probability; None for all.
        repetition_penalty: above 1, tokens that the context already has become less likely; see `penalize`.
        seed: same seed, same text.

    Returns:
        an iterator of `Token`: its id, its text, and how it was chosen.

    Raises:
        TypeError: a folder where a checkpoint is wanted.
        UnknownCharacterError: the prompt has characters that the model's vocabulary has not.
        ValueError: an empty prompt or a setting out of range. Raised at once, not at the first token.
    """
    refuse_place("checkpoint", checkpoint, "Checkpoint.load")
    return generate_tokens(
        checkpoint.model(),
        checkpoint.tokenizer,
        prompt,
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        repetition_penalty=repetition_penalty,
        seed=seed,
    )
