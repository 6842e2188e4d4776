"""Texts that models have written for visitors, each with the scores of every token, to look at again."""

from __future__ import annotations

import dataclasses
import secrets
import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np

from tlab.generate import Sampling, Token, sampling_steps
from tlab.training.checkpoint import Checkpoint
from tlab.types import Array, Ids
from tlab.ui.inspection.selection import clamp_int
from tlab.ui.runs.byte_budget_cache import ByteBudgetCache

MAX_KEPT_BYTES = 256 * 2**20  # bytes: two thousand texts of 300 tokens over 100 characters, or four over 50,000 tokens
TOKEN_BYTES = 200  # of one written token as Python objects, beside its scores


class GeneratedText:
    """One text as it grows. Attributes are written by one handler and read by others."""

    def __init__(self, checkpoint: Checkpoint, prompt: str, owner: str = "") -> None:
        self.owner = owner
        self.number = secrets.token_urlsafe(9)  # not to be guessed: it opens a visitor's text
        self.model = weakref.ref(checkpoint)  # not the checkpoint itself: it would outlive its place in the store
        self.prompt = prompt
        self.tokens: list[list[Any]] = []  # text and probability of each, as the page shows them
        self.ids: list[int] = []
        self.logits: list[Array] = []  # (V,) for each token, what it was chosen by

    def add(self, token: Token) -> None:
        self.append(token.id, token.text, token.probability, token.steps.logits)

    def append(self, token_id: int, text: str, probability: float, logits: Array) -> None:
        """The same, part by part. The list that readers go by grows last."""
        self.ids.append(token_id)
        self.logits.append(logits)
        self.tokens.append([text, round(probability, 4)])


class GeneratedTexts:
    """The texts of all visitors, within a budget of bytes."""

    def __init__(self, budget: int = MAX_KEPT_BYTES) -> None:
        self.memory: ByteBudgetCache[str, GeneratedText] = ByteBudgetCache(budget)
        self.shipped: dict[str, GeneratedText] = {}  # of shipped models: they never go

    def begin(self, checkpoint: Checkpoint, prompt: str, count: int, owner: str = "") -> GeneratedText:
        """A text that will have `count` tokens, for the page `owner`."""
        writing = GeneratedText(checkpoint, prompt, owner)
        size = count * (checkpoint.model_config.vocab_size * checkpoint.dtype.itemsize + TOKEN_BYTES) + 4 * len(prompt)
        self.memory.put(writing.number, writing, size, owner)
        return writing

    def ship(self, checkpoint: Checkpoint, prompt: str) -> GeneratedText:
        """A text of a shipped model, for all visitors."""
        writing = GeneratedText(checkpoint, prompt)
        self.shipped[writing.number] = writing
        return writing

    def shipped_by(self, checkpoint: Checkpoint) -> GeneratedText | None:
        """The text that a shipped model has written already."""
        return next((writing for writing in self.shipped.values() if writing.model() is checkpoint), None)

    def forget(self, owner: str) -> None:
        self.memory.drop_owner(owner)

    def find(self, number: Any) -> GeneratedText | None:
        if not isinstance(number, str):
            return None
        return self.shipped.get(number) or self.memory.get(number)

    def place(self, at: Any) -> tuple[GeneratedText, int] | None:
        """The text and the token in it that a page asks for as {"number", "place"}; None for nonsense."""
        if not isinstance(at, dict):
            return None
        writing = self.find(at.get("number"))
        place = clamp_int(at.get("place"), -1, 10**6, -1)
        return (writing, place) if writing is not None and 0 <= place < len(writing.tokens) else None

    def branch(self, at: Any, checkpoint: Checkpoint, count: int, sampling: Sampling) -> tuple[GeneratedText, str]:
        """A new text like an old one up to a place, where it has another token; and the prompt to go on from.

        The new token's probability is that of the temperature and penalty of `sampling`. Not of its filter: a token may
        be put there that it would have cut.

        Raises:
            ValueError: the old text is gone, it is another model's, or there is no such token.
        """
        found = self.place(at)
        if found is None:
            raise ValueError("This text is no longer kept here; let the model generate it again.")
        old, place = found
        if old.model() is not checkpoint:
            raise ValueError("This text was written by an earlier model than the present one; generate it again.")
        tokenizer = checkpoint.tokenizer
        token_id = clamp_int(at.get("id"), -1, tokenizer.vocab_size, -1)
        if not 0 <= token_id < tokenizer.vocab_size:
            raise ValueError("There is no such token in this model's vocabulary.")
        new = self.begin(checkpoint, old.prompt, count, old.owner)
        for i in range(place):
            text, probability = old.tokens[i]
            new.append(old.ids[i], text, probability, old.logits[i])
        seen = seen_tokens(checkpoint, old.prompt, old.ids[:place])
        plain = dataclasses.replace(sampling, top_k=None, top_p=None)
        probability = sampling_steps(old.logits[place], plain, seen=seen).probabilities[token_id]
        # What bytes of a broken character are shown as is no text that the model could read again.
        so_far = old.prompt + tokenizer.decode([*old.ids[:place], token_id])
        new.append(token_id, tokenizer.decode([token_id]), float(probability), old.logits[place])
        return new, so_far


def seen_tokens(checkpoint: Checkpoint, prompt: str, written: Sequence[int]) -> Ids:
    """What the repetition penalty is for after a prompt and these ids: each token of the last context, once."""
    ids = np.append(checkpoint.tokenizer.encode(prompt), np.array(written, np.int64))
    return np.unique(ids[-checkpoint.model_config.context_length :])
