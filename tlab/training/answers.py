"""How many of a text's answers a model gets right, where the text says what its answers are."""

from __future__ import annotations

import numpy as np

from tlab.nn.model import Transformer
from tlab.text import Corpus

MAX_LINES = 500  # read at most: then a share is known to about two hundredths


def answer_accuracy(model: Transformer, corpus: Corpus) -> float | None:
    """Share of the answers' tokens in the validation part whose likeliest prediction is right, each given those before.

    Every line is read on its own, from the end of the line before it. None where the text has no answers, where a token
    is more than one character, or where no line fits into the model's context.
    """
    mark = corpus.answers_after
    if mark is None or corpus.tokens_per_character != 1:
        return None
    lines = corpus.tokenizer.decode(corpus.validation).split("\n")[1:-1]  # whole ones
    longest = model.config.context_length
    kept = [line for line in lines if mark in line and len(line) <= longest][:MAX_LINES]
    right = num_tokens = 0
    for length in sorted({len(line) for line in kept}):
        same = [line for line in kept if len(line) == length]
        ids = np.array([corpus.tokenizer.encode(f"\n{line}") for line in same])  # (lines, 1 + length)
        begins = np.array([line.index(mark) + len(mark) for line in same])
        is_answer = np.arange(length) >= begins[:, None]  # (lines, length)
        logits = model.score(ids[:, :-1])
        right += int(((logits.argmax(-1) == ids[:, 1:]) & is_answer).sum())
        num_tokens += int(is_answer.sum())
    return right / num_tokens if num_tokens else None
