"""What models make of texts: attention, next tokens, pictures of positions, computed here, in the server's process.

A slider that moves asks for the same text again and again, so results are kept for the next time by model and text,
within a budget of bytes for all visitors; the least recently used goes first.
"""

from __future__ import annotations

import weakref
from typing import Any, NamedTuple

from tlab.generate import generate_tokens, next_token_logits
from tlab.inside.attention import AttentionData, read
from tlab.inside.positions import Portrait, portrait
from tlab.machine import one_blas_thread
from tlab.training.checkpoint import Checkpoint
from tlab.types import Array
from tlab.ui.runs.byte_budget_cache import ByteBudgetCache

MAX_CACHED_BYTES = 128 * 2**20  # bytes: some 250 texts with the default model, or three with 30 layers of 9 heads
MAX_TOKENS = 128  # a larger map could not be read
SAMPLE_TOKENS = 72  # a line or two
FEW_SAMPLE_TOKENS = 12  # of a model with more weights than
MANY_WEIGHTS = 10_000_000  # which takes a tenth of a second for each
MAX_PROMPT = 20_000  # characters; the model reads only the last ones


class ForwardResult(NamedTuple):
    """The result of a forward pass over a text."""

    tokens: list[str]  # as shown
    reading: AttentionData
    sample: str  # how the model continues


class InspectionCache:
    """Results by model and text, each computed once while the model lives and bytes last."""

    def __init__(self, budget: int = MAX_CACHED_BYTES) -> None:
        self.memory = ByteBudgetCache(budget)

    def look(self, checkpoint: Checkpoint, text: str) -> ForwardResult:
        """What the model attends to in the last context of a text, and how it continues.

        Raises:
            ValueError: fewer than two tokens, characters without an id, or a model that is not finite.
        """
        kept = self.recall(checkpoint, "look", text)
        if kept is not None:
            return kept
        tokenizer = checkpoint.tokenizer
        seen = checkpoint.last_ids(text)[-MAX_TOKENS:]
        if len(seen) < 2:
            raise ValueError("Give at least two characters to look at.")
        model = checkpoint.model()
        reading = read(model, seen)
        # Of the logits, a row for each token over a vocabulary, the last is looked at.
        reading = reading._replace(logits=reading.logits[-1:].copy())
        count = SAMPLE_TOKENS if model.num_parameters <= MANY_WEIGHTS else FEW_SAMPLE_TOKENS
        written = generate_tokens(model, tokenizer, tokenizer.decode(seen), max_new_tokens=count, seed=0)
        tokens = [tokenizer.tokens[i] for i in seen]
        with one_blas_thread():  # one token at a time has no work for two
            look = ForwardResult(tokens, reading, "".join(map(str, written)))
        return self.remember(checkpoint, "look", text, look, reading.nbytes)

    def next_logits(self, checkpoint: Checkpoint, prompt: str) -> Array:
        """Logits (V,) of the token after a prompt, exactly as `generate` begins.

        Raises:
            ValueError: an empty prompt, or characters without an id.
        """
        kept = self.recall(checkpoint, "next", prompt)
        if kept is not None:
            return kept
        ids = checkpoint.tokenizer.encode(prompt)
        if not len(ids):
            raise ValueError("The prompt is empty; give at least one character for the model to continue.")
        logits = next(next_token_logits(checkpoint.model(), ids))[0]
        return self.remember(checkpoint, "next", prompt, logits, logits.nbytes)

    def position(self, checkpoint: Checkpoint, kind: str) -> Portrait:
        """What a position encoding does at the sizes of this model; with its weights, if it is the model's own."""
        kept = self.recall(checkpoint, "position", kind)
        if kept is not None:
            return kept
        made = portrait(checkpoint.model(), kind)
        return self.remember(checkpoint, "position", kind, made, made.nbytes)

    def recall(self, checkpoint: Checkpoint, what: str, about: str) -> Any:
        """What is kept for this model and text, or None."""
        owner, value = self.memory.get((id(checkpoint), what, about)) or (None, None)
        return value if owner is not None and owner() is checkpoint else None

    def remember(self, checkpoint: Checkpoint, what: str, about: str, value: Any, size: int) -> Any:
        """Keep a value as long as its model lives and the budget allows; -> the value."""
        key = (id(checkpoint), what, about)
        # A weak reference: the checkpoint must not outlive its entry in the store of runs.
        owner = weakref.ref(checkpoint, lambda _: self.memory.drop(key))
        self.memory.put(key, (owner, value), size + 4 * len(about) + 1000)
        return value
