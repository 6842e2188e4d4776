"""Byte pair encoding: tokens of several bytes, for what occurs often in the text at hand.

The library `tokenizers` counts and cuts; ids, bytes and what is kept are this module's, so that a model's tokenizer
needs neither the text that it was learned from nor one version of the library.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from tlab.text.byte_names import NUM_BYTES, library_name
from tlab.text.tokenizers import TOKENIZERS, Tokenizer, Utf8Stream, utf8, visible_text

if TYPE_CHECKING:
    from tokenizers import Tokenizer as Cutter

MAX_MERGES = 8192
MAX_TOKEN_BYTES = 32  # in a text of rules and tables, tokens would else become whole lines
MAX_TEXTS = 16  # texts whose merges are kept
LONGEST_WORD = 1000  # characters, in which pairs are counted; a longer one is counted in pieces
ENDLESS = re.compile(rf"[^\W_]{{{LONGEST_WORD}}}|(?:[^\w\s]|_){{{LONGEST_WORD}}}|\s{{{LONGEST_WORD}}}")
"""So much of a word or number, of signs or of spaces: what is cut apart elsewhere, as GPT-2 does, is never longer."""

Merges = tuple[tuple[int, int], ...]
MERGES_OF_TEXTS: dict[tuple[str, int], Merges] = {}
"""(sha256 of a text, size of the vocabulary) -> its merges."""


class BpeTokenizer(Tokenizer):
    """Byte pair encoding, learned from the text at hand."""

    target_size: int  # of the vocabulary; a short text has fewer pairs

    def __init__(self, merges: Sequence[Sequence[int]]) -> None:
        self.merges: Merges = tuple((int(first), int(second)) for first, second in merges)
        if len(self.merges) > MAX_MERGES:
            raise ValueError(f"{len(self.merges)} merges; allowed are at most {MAX_MERGES}")
        self.token_bytes = joined_bytes(self.merges)
        self.vocab_size = len(self.token_bytes)
        self.lengths = np.array([len(token) for token in self.token_bytes])  # (V,)
        self.tokens = tuple(map(displayed, self.token_bytes))

    @classmethod
    def from_text(cls, text: str) -> BpeTokenizer:
        """The tokenizer of the pairs that are most frequent in `text`."""
        return cls(learned_merges(text, cls.target_size))

    @cached_property
    def cutter(self) -> Cutter:
        """What cuts a text into these tokens."""
        from tokenizers.models import BPE

        names = [library_name(token) for token in self.token_bytes]
        vocabulary = {name: number for number, name in enumerate(names)}
        return new_cutter(BPE(vocabulary, [(names[first], names[second]) for first, second in self.merges]))

    def encode(self, text: str) -> np.ndarray:
        utf8(text)  # half a surrogate pair has no bytes
        # A batch of one, since texts of a batch are cut without noting where, in a tenth of the memory.
        return np.array(self.cutter.encode_batch_fast([text])[0].ids, dtype=np.int32)

    def bytes_of(self, ids: Sequence[int] | np.ndarray) -> bytes:
        return b"".join(self.token_bytes[i] for i in self.checked(ids))

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        return self.bytes_of(ids).decode("utf-8", "replace")

    def num_bytes(self, ids: np.ndarray) -> int:
        return int(self.lengths[ids].sum())

    def stream(self) -> Utf8Stream:
        return Utf8Stream(self, self.bytes_of)

    def as_library(self) -> Cutter:
        from tokenizers.decoders import ByteLevel

        copy = type(self.cutter).from_str(self.cutter.to_str())
        copy.decoder = ByteLevel()
        return copy

    def fields(self) -> dict[str, Any]:
        return {"merges": [list(pair) for pair in self.merges]}

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "cutter"}


BPE_SOURCE = "Sennrich et al. 2016; on bytes: Radford et al. 2019 (GPT-2)"


@TOKENIZERS.add("bpe-512", label="BPE, vocabulary 512", source=BPE_SOURCE)
class Bpe512(BpeTokenizer):
    """Joins the pair of tokens that is most frequent in the text, again and again, until there are 512 tokens.

    Notice: Python's documentation has one for every 2.1 characters.
    Losses per token grow with it; compare bits per byte.
    """

    target_size = 512


@TOKENIZERS.add("bpe-1024", label="BPE, vocabulary 1,024", source=BPE_SOURCE)
class Bpe1024(BpeTokenizer):
    """Joins the pair of tokens that is most frequent in the text, again and again, until there are 1,024 tokens.

    Notice: Python's documentation has one for every 2.9 characters.
    Losses per token grow with it; compare bits per byte.
    """

    target_size = 1024


@TOKENIZERS.add("bpe-2048", label="BPE, vocabulary 2,048", source=BPE_SOURCE)
class Bpe2048(BpeTokenizer):
    """Joins the pair of tokens that is most frequent in the text, again and again, until there are 2,048 tokens.

    Notice: nearly half of them occur fewer than 20 times in Python's documentation.
    Losses per token grow with it; compare bits per byte.
    """

    target_size = 2048


@TOKENIZERS.add("bpe-8192", label="BPE, vocabulary 8,192", source=BPE_SOURCE)
class Bpe8192(BpeTokenizer):
    """Joins the pair of tokens that is most frequent in the text, again and again, until there are 8,192 tokens.

    Notice: nine in ten of them occur fewer than 20 times in Python's documentation.
    Losses per token grow with it; compare bits per byte.
    """

    target_size = 8192


def joined_bytes(merges: Merges) -> tuple[bytes, ...]:
    """The bytes of every token: single ones, then what each merge joins, unless another merge has joined the same."""
    tokens = dict.fromkeys(bytes([b]) for b in range(NUM_BYTES))
    known = list(tokens)
    for first, second in merges:
        if not 0 <= min(first, second) <= max(first, second) < len(known):
            raise ValueError(f"a merge of {first} and {second} comes before their tokens, 0 to {len(known) - 1}")
        token = known[first] + known[second]
        if len(token) > MAX_TOKEN_BYTES:
            raise ValueError(f"a token of {len(token)} bytes; allowed are at most {MAX_TOKEN_BYTES}")
        if token not in tokens:
            tokens[token] = None
            known.append(token)
    return tuple(known)


def learned_merges(text: str, vocabulary: int) -> Merges:
    """The merges that fill a vocabulary of this size, or all that the text has; counted once for each text."""
    import hashlib

    key = hashlib.sha256(utf8(text)).hexdigest(), vocabulary
    if key not in MERGES_OF_TEXTS:
        merges = count_merges(text, vocabulary)
        while len(MERGES_OF_TEXTS) >= MAX_TEXTS:
            MERGES_OF_TEXTS.pop(next(iter(MERGES_OF_TEXTS)), None)
        MERGES_OF_TEXTS[key] = merges
    return MERGES_OF_TEXTS[key]


def count_merges(text: str, vocabulary: int) -> Merges:
    """The same, counted now."""
    import json

    from tokenizers.models import BPE
    from tokenizers.trainers import BpeTrainer

    cutter = new_cutter(BPE())
    alphabet = [library_name(bytes([b])) for b in range(NUM_BYTES)]
    cutter.train_from_iterator(pieces_of(text), BpeTrainer(
        vocab_size=vocabulary, initial_alphabet=alphabet, max_token_length=MAX_TOKEN_BYTES, show_progress=False,
    ))  # fmt: skip
    ids = {name: number for number, name in enumerate(alphabet)}
    merges = []
    for first, second in json.loads(cutter.to_str())["model"]["merges"]:
        merges.append((ids[first], ids[second]))
        ids.setdefault(first + second, len(ids))
    return tuple(merges)


def pieces_of(text: str) -> list[str]:
    """A text in pieces that have no word longer than `LONGEST_WORD`: the whole text, of most.

    The library takes the square of a word's length to count it: minutes for a genome, or for an essay without spaces.
    """
    ends = [match.end() for match in ENDLESS.finditer(text)]
    return [text[start:end] for start, end in itertools.pairwise([0, *ends, len(text)])]


def new_cutter(model: Any) -> Cutter:
    """What cuts a text into words, with the space before each, and numbers, as GPT-2 does; then these by `model`."""
    # Its threads would be forked with the process, about which it warns.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    from tokenizers import Tokenizer as Cutter
    from tokenizers.pre_tokenizers import ByteLevel

    cutter = Cutter(model)
    cutter.pre_tokenizer = ByteLevel(add_prefix_space=False)
    return cutter


def displayed(token: bytes) -> str:
    """A token for the eyes; bytes that are no whole character by their numbers."""
    try:
        return visible_text(token.decode("utf-8"))
    except UnicodeDecodeError:
        return repr(token)[2:-1]
