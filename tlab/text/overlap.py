"""How much of a text's validation part was already in its training part, word for word.

What a model has read it may know by heart. So a validation loss says how well a model does on unseen text only as far
as that text was unseen.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tlab.text.corpora import Corpus

PASSAGE = 64  # tokens, a power of two: long enough not to come twice by chance
SHORTEST_COPY = 12  # characters: fewer may well come twice by chance
BASE = 0x9E3779B97F4A7C15  # of the hash; odd, with its bits well spread


class Overlap(NamedTuple):
    """Of a validation part; shares are from 0 to 1."""

    in_passages: float  # tokens that lie in a passage of 64 which is in the training part, too
    is_copied: bool  # whether the whole of a validation part that is shorter than a passage is in the training part
    in_lines: float  # lines, but for empty ones, that are lines of the training part, too


def overlap(corpus: Corpus) -> Overlap:
    """What of the validation part of a corpus is in its training part."""
    validation, train = corpus.validation, corpus.train
    is_known = np.zeros(len(validation), bool)
    if min(len(validation), len(train)) >= PASSAGE:
        starts = np.isin(passage_hashes(validation), passage_hashes(train))
        # A token is known if a known passage begins at it or less than 64 before it.
        begun = np.concatenate([[0], np.cumsum(starts), np.full(PASSAGE - 1, starts.sum())])
        first = np.maximum(np.arange(len(validation)) - PASSAGE + 1, 0)
        is_known = begun[1:] > begun[first]
    text, known_text = (corpus.tokenizer.decode(ids) for ids in (validation, train))
    is_copied = len(text) >= SHORTEST_COPY and len(validation) < PASSAGE and text in known_text
    lines, known = [line for line in text.splitlines() if line.strip()], set(known_text.splitlines())
    in_lines = sum(line in known for line in lines) / len(lines) if lines else 0.0
    return Overlap(float(is_known.mean()), is_copied, in_lines)


def passage_hashes(ids: np.ndarray) -> np.ndarray:
    """A hash of the 64 tokens that begin at each place, (T - 63,): one of twice the length is made of two."""
    hashes, length = ids.astype(np.uint64) + np.uint64(1), 1
    while length < PASSAGE:
        hashes = hashes[:-length] * np.uint64(pow(BASE, length, 1 << 64)) + hashes[length:]  # modulo 2**64
        length *= 2
    return hashes


def overlap_sentence(corpus: Corpus) -> str:
    """What a reader of a validation loss has to know about its text."""
    share = overlap(corpus)
    if share.is_copied:
        return "the whole validation text stands in the training text, word for word"
    return (
        f"{share.in_passages:.1%} of the validation text lies in passages of {PASSAGE} tokens that are in the training "
        f"text, too; {share.in_lines:.1%} of its lines are training lines"
    )
