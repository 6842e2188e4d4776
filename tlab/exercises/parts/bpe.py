"""Exercises about tokenizers."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np

from tlab.exercises.exercise import EXERCISES, Attempt, Exercise, Problem, as_array, mistake, require
from tlab.text import BpeTokenizer, Corpus, corpus_from_text, load_corpus
from tlab.text.bpe import BPE_SOURCE, Merges, new_cutter
from tlab.text.byte_names import NUM_BYTES

WORDS = {
    b" low": 5, b" lower": 2, b" newest": 6, b" widest": 3, b" show": 4, b" slow": 3, b" west": 2, b" new": 1
}  # fmt: skip
TIED = {b"ba": 3, b"dc": 3, b"ab": 1, b"fe": 1, b"bac": 2}
MERGES_IN_TRAINING = 64


def merged(word: tuple[int, ...], pair: tuple[int, int], token: int) -> tuple[int, ...]:
    """The word with each occurrence of the pair, from the left, made one token."""
    new: list[int] = []
    i = 0
    while i < len(word):
        if word[i : i + 2] == pair:
            new.append(token)
            i += 2
        else:
            new.append(word[i])
            i += 1
    return tuple(new)


def learn(words: dict[bytes, int], num_merges: int, key: Callable[[Any], Any], first: int = NUM_BYTES) -> Merges:
    """Byte pair encoding by hand; `key` of (pair, count) says which pair is joined: the one where it is smallest."""
    texts = {tuple(word): count for word, count in words.items()}
    merges = []
    for token in range(first, first + num_merges):
        counts: Counter[tuple[int, int]] = Counter()
        for word, count in texts.items():
            for pair in pairwise(word):
                counts[pair] += count
        if not counts:
            break
        pair = min(counts.items(), key=key)[0]
        merges.append(pair)
        texts = {merged(word, pair, token): count for word, count in texts.items()}
    return tuple(merges)


@EXERCISES.add(
    "bpe_merges",
    label="BPE merges",
    formula=r"(a, b) = \arg\max_{(a, b)} \#(ab)",
    source=BPE_SOURCE,
)
class WriteBpeMerges(Exercise):
    """Learn which pairs of tokens to join, one after another: always the one that is most frequent now.

    Tokens are numbers. 0 to 255 are the bytes themselves; the first merge makes token 256, the second 257, and so on. A
    pair counts as often as its word does, and none reaches from one word into the next. Of equally frequent pairs the
    smaller one is joined, as tuples compare: (97, 98) before (97, 99) before (98, 97).
    """

    part = BpeTokenizer
    takes = {"words": "a dict: word as bytes -> how often it occurs", "num_merges": "how many pairs to join"}
    gives = {"merges": "a list of num_merges pairs of token numbers, in the order in which they are joined"}

    @staticmethod
    def solution(words, num_merges):
        # Not of the lab's own tokenizer: the library behind it orders equally frequent pairs by the names that GPT-2
        # gave the bytes, in which a space comes after all letters.
        return list(learn(words, num_merges, lambda item: (-item[1], item[0])))

    def outputs(self, answer, case):
        returned = answer(dict(case[0]), case[1])
        if not isinstance(returned, list | tuple):
            raise Problem(f"it returned {'None' if returned is None else type(returned).__name__}; asked is a list")
        if not all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in returned):
            raise Problem("merges has entries that are no pairs")
        return {"merges": as_array("merges", [list(pair) for pair in returned])}

    def cases(self, rng):
        return [(WORDS, 12), (spaced(TIED), 4)]

    def promises(self):
        return {
            "a merge joins tokens that are known by then": self.know_tokens,
            "the first merge is the most frequent pair of bytes": self.begin_with_the_most_frequent,
        }

    def know_tokens(self, answer: Attempt) -> None:
        for number, pair in enumerate(answer(dict(WORDS), 10)):
            require(max(pair) < NUM_BYTES + number, f"merge {number} joins {tuple(pair)}, which are not all known yet")

    def begin_with_the_most_frequent(self, answer: Attempt) -> None:
        first = tuple(next(iter(answer({b"xab": 4, b"yab": 4, b"xq": 5}, 1))))
        require(first == (97, 98), f"it is {first}; of xab, yab, four times each, and xq, five times, ab is right")

    def corpus(self, name: str, answer: Attempt) -> Corpus:
        plain = load_corpus(name)
        text = plain.tokenizer.decode(np.concatenate([plain.train, plain.validation]))
        tokenizer = BpeTokenizer(answer(dict(counted_words(text)), MERGES_IN_TRAINING))
        return corpus_from_text(text, name, plain.licence, tokenizer, plain.origin)

    @mistake("counts of the words ignored", "A pair in a word that occurs six times counts six.")
    @staticmethod
    def words_once(words, num_merges):
        return learn(dict.fromkeys(words, 1), num_merges, lambda item: (-item[1], item[0]))

    @mistake("pairs across words", "The end of a word and the beginning of the next make no pair: count word by word.")
    @staticmethod
    def across_words(words, num_merges):
        whole = b"".join(word * count for word, count in words.items())
        return learn({whole: 1}, num_merges, lambda item: (-item[1], item[0]))

    @mistake(
        "merges are not carried out",
        "These are the most frequent pairs of bytes. After each merge the pair becomes a new token in every word, and "
        "pairs are counted again.",
    )
    @staticmethod
    def counted_once(words, num_merges):
        counts: Counter[tuple[int, int]] = Counter()
        for word, count in words.items():
            for pair in pairwise(word):
                counts[pair] += count
        return [pair for pair, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:num_merges]]

    @mistake("the larger pair of equals", "Of equally frequent pairs the smaller one is joined.")
    @staticmethod
    def largest(words, num_merges):
        return learn(words, num_merges, lambda item: (-item[1], (-item[0][0], -item[0][1])))

    @mistake(
        "the pair that was met first",
        "Of equally frequent pairs the smaller one is joined; max and Counter.most_common take the one met first.",
    )
    @staticmethod
    def first_met(words, num_merges):
        return learn(words, num_merges, lambda item: -item[1])

    @mistake("the rarest pair", "Join the most frequent pair.")
    @staticmethod
    def rarest(words, num_merges):
        return learn(words, num_merges, lambda item: (item[1], item[0]))

    @mistake("new tokens counted from 257", "The bytes are 0 to 255, so the first new token is 256.")
    @staticmethod
    def from_257(words, num_merges):
        return learn(words, num_merges, lambda item: (-item[1], item[0]), NUM_BYTES + 1)


def spaced(words: dict[bytes, int]) -> dict[bytes, int]:
    """The words with the space before each, as they come out of a text."""
    return {b" " + word: count for word, count in words.items()}


@functools.lru_cache(maxsize=1)
def counted_words(text: str) -> dict[bytes, int]:
    """How often each word of a text occurs, with the space before it: cut as the lab's tokenizer cuts."""
    from tokenizers.models import BPE

    places = new_cutter(BPE()).pre_tokenizer.pre_tokenize_str(text)
    return dict(Counter(text[start:end].encode() for _, (start, end) in places))
