"""Tokenizers that come with a model from elsewhere, and are never made from a text."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from tlab.text.bpe import displayed
from tlab.text.byte_names import BYTE_NAMES
from tlab.text.tokenizers import GIVEN_TOKENIZERS, TextStream, Tokenizer, UnknownCharacterError, utf8

if TYPE_CHECKING:
    from tokenizers import Tokenizer as Cutter

EXAMPLE_IDS = "1 0 1"
BYTE_OF_NAME = {name: b for b, name in enumerate(BYTE_NAMES)}
HALF_A_CHARACTER = "\N{REPLACEMENT CHARACTER}"  # which the library writes for bytes that are none yet


class JsonStream(TextStream):
    """Holds ids back until they make whole characters."""

    def __init__(self, tokenizer: JsonTokenizer) -> None:
        super().__init__(tokenizer)
        self.ids: list[int] = []
        self.told = 0  # characters so far

    def __call__(self, token_id: int) -> str:
        self.ids.append(token_id)
        text = self.tokenizer.decode(self.ids)
        if text.endswith(HALF_A_CHARACTER):
            return ""
        return self.rest(text)

    def finish(self) -> str:
        return self.rest(self.tokenizer.decode(self.ids))

    def rest(self, text: str) -> str:
        """What of the text was not told yet."""
        piece, self.told = text[self.told :], len(text)
        return piece


@GIVEN_TOKENIZERS.add("json", label="tokenizer.json", source="the library tokenizers, Hugging Face")
class JsonTokenizer(Tokenizer):
    """Cuts texts as a model's own tokenizer.json says, special tokens included where the text names them.

    Notice: nothing is put before or after a text. A model that wants a token at the beginning gets it by its name.
    """

    def __init__(self, json: str, vocab_size: int) -> None:
        self.json = json
        self.vocab_size = vocab_size  # the model's: some have rows for more tokens than there are
        known = self.cutter.get_vocab_size(with_added_tokens=True)
        if known > vocab_size:
            raise ValueError(f"it has {known} tokens, and the model {vocab_size}")

    @cached_property
    def cutter(self) -> Cutter:
        """What cuts a text into its tokens."""
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # its threads would be forked with the process
        from tokenizers import Tokenizer as Cutter

        try:
            cutter = Cutter.from_str(self.json)
        except Exception as error:  # the library raises nothing more special
            raise ValueError(f"it is no description of a tokenizer: {error}") from error
        cutter.no_truncation()
        cutter.no_padding()
        return cutter

    @cached_property
    def tokens(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """What to show for each id."""
        return tuple(map(self.shown, range(self.vocab_size)))

    def shown(self, token_id: int) -> str:
        """One token for the eyes: its text, or its bytes where it is a part of a character."""
        name = self.cutter.id_to_token(token_id)
        if name is None:
            return f"<{token_id}>"
        text = self.cutter.decode([token_id], skip_special_tokens=False)
        if HALF_A_CHARACTER in text and all(letter in BYTE_OF_NAME for letter in name):
            return displayed(bytes(BYTE_OF_NAME[letter] for letter in name))
        return displayed((name.replace("▁", " ") if "▁" in name else text).encode("utf-8", "replace"))

    def encode(self, text: str) -> np.ndarray:
        utf8(text)  # half a surrogate pair has no bytes
        try:
            ids = self.cutter.encode_batch_fast([text], add_special_tokens=False)[0].ids
        except Exception as error:  # likewise
            raise UnknownCharacterError(f"the model's tokenizer cannot read this text: {error}") from error
        return np.array(ids, dtype=np.int32)

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        return self.cutter.decode(self.checked(ids).tolist(), skip_special_tokens=False)

    def stream(self) -> TextStream:
        return JsonStream(self)

    def as_library(self) -> Cutter:
        return self.cutter

    def fields(self) -> dict[str, Any]:
        return {"json": self.json, "vocab_size": self.vocab_size}

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "cutter"}


@GIVEN_TOKENIZERS.add("ids", label="Ids")
class IdsTokenizer(Tokenizer):
    """Takes ids for text, written as numbers with spaces between them, where a model's tokenizer is not at hand."""

    def __init__(self, vocab_size: int) -> None:
        self.vocab_size = vocab_size

    @cached_property
    def tokens(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """What to show for each id."""
        return tuple(map(str, range(self.vocab_size)))

    def encode(self, text: str) -> np.ndarray:
        words = text.split()
        unknown = [word for word in words if not (word.isascii() and word.isdigit() and int(word) < self.vocab_size)]
        if unknown:
            raise UnknownCharacterError(
                f"{unknown[0]!r} is no id: this model came without its tokenizer, so texts are ids from 0 to "
                f"{self.vocab_size - 1}, such as {EXAMPLE_IDS!r}"
            )
        return np.array([int(word) for word in words], dtype=np.int32)

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        return "".join(f" {token_id}" for token_id in self.checked(ids))

    def fields(self) -> dict[str, Any]:
        return {"vocab_size": self.vocab_size}
