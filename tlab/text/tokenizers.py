"""From text to numbers and back: each tokenizer maps a text to ids below its `vocab_size`.

A model sees ids only, so the same tokenizer has to come with the weights wherever they go: as JSON.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tlab.notebook.html import frame_of, tokens_html
from tlab.registry import Registry
from tlab.text.byte_names import BYTE_NAMES

if TYPE_CHECKING:
    from pandas import DataFrame
    from tokenizers import Tokenizer as Cutter

TOKENIZERS: Registry[type[Tokenizer]] = Registry("tokenizer")
GIVEN_TOKENIZERS: Registry[type[Tokenizer]] = Registry("given_tokenizer")
"""Those that come with a model from elsewhere: no text makes one, so they are not offered for a new model."""

SHOWN_UNKNOWN = 5  # enough to see what kind of text it is
SHOWN_ALPHABET = 120  # all of an English text's alphabet, the beginning of a Chinese one's
DISPLAY = {" ": "␣", "\n": "↵"}  # both are in the fonts that matplotlib ships


def visible_text(text: str) -> str:
    r"""A text for the eyes: what cannot be seen by its code point, such as U+200D.

    >>> visible_text("a b\u200d")
    'a␣bU+200D'
    """
    return "".join(DISPLAY.get(c, c if c.isprintable() else f"U+{ord(c):04X}") for c in text)


class UnknownCharacterError(ValueError):
    """A text holds characters that the tokenizer has no id for; the message names them."""


class TokenizedText(list[str]):
    """A text as its tokens, as people read them; a notebook shows each with a colour behind it.

    Attributes:
        ids: (T,), one per token.
    """

    def __init__(self, tokens: Sequence[str], ids: np.ndarray) -> None:
        super().__init__(tokens)
        self.ids = ids

    def _repr_html_(self) -> str:
        return tokens_html(self, self.ids.tolist())

    def to_pandas(self) -> DataFrame:
        """A row for each token: its place from 0, what is shown for it, and its id."""
        rows = zip(range(len(self)), self, self.ids.tolist(), strict=True)
        return frame_of(rows, ("place", "token", "id"), {})


class TextStream:
    """Turns ids into text one at a time: the pieces and `finish()` add up to `decode` of all the ids."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer

    def __call__(self, token_id: int) -> str:
        """The text that `token_id` completes, "" where it completes none yet."""
        return self.tokenizer.decode([token_id])

    def finish(self) -> str:
        """What is left when no more ids will come."""
        return ""


class CharStream(TextStream):
    """Looks each character up: for one alone in a thirtieth of the time that arrays take."""

    def __init__(self, tokenizer: CharTokenizer) -> None:
        super().__init__(tokenizer)
        self.characters = dict(enumerate(tokenizer.alphabet))

    def __call__(self, token_id: int) -> str:
        character = self.characters.get(token_id)
        return character if character is not None else super().__call__(token_id)  # which says what is wrong with it


class Utf8Stream(TextStream):
    """Holds bytes back until they make a character; bytes that never can become U+FFFD, "�"."""

    def __init__(self, tokenizer: Tokenizer, bytes_of: Callable[[Sequence[int]], bytes]) -> None:
        super().__init__(tokenizer)
        self.bytes_of = bytes_of
        self.decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def __call__(self, token_id: int) -> str:
        return self.decoder.decode(self.bytes_of([token_id]))

    def finish(self) -> str:
        return self.decoder.decode(b"", final=True)


class Tokenizer:
    """What every tokenizer offers; ids run from 0 to `vocab_size` - 1."""

    vocab_size: int
    tokens: tuple[str, ...]
    """What to show for each id; for eyes only, since a space is shown as "␣" and a line's end as "↵"."""

    @classmethod
    def from_text(cls, text: str) -> Tokenizer:
        """The tokenizer that can encode `text`."""
        raise NotImplementedError

    def encode(self, text: str) -> np.ndarray:
        """The ids of `text`: int32, shape (T,).

        Raises:
            UnknownCharacterError: some characters have no id.
        """
        raise NotImplementedError

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        """The text of `ids`, shape (T,).

        Raises:
            ValueError: `ids` are not whole numbers, not one row, or out of range.
        """
        raise NotImplementedError

    def cut(self, text: str) -> TokenizedText:
        """The tokens of `text`, to look at.

        Raises:
            UnknownCharacterError: some characters have no id.
        """
        ids = self.encode(text)
        return TokenizedText([self.tokens[i] for i in ids], ids)

    def num_bytes(self, ids: np.ndarray) -> int:
        """How many bytes of UTF-8 the text has that `ids` stand for, shape (T,); a part of a character counts, too."""
        return len(utf8(self.decode(ids)))

    def stream(self) -> TextStream:
        """A fresh decoder for ids that come one at a time, as from generation."""
        return TextStream(self)

    def fields(self) -> dict[str, Any]:
        """The arguments that would make this tokenizer again."""
        return {}

    def to_json(self) -> dict[str, Any]:
        """What `tokenizer_from_json` makes an equal tokenizer from."""
        known = [*TOKENIZERS.items(), *GIVEN_TOKENIZERS.items()]
        key = next(key for key, component in known if component is type(self))
        return {"tokenizer": key, **self.fields()}

    def as_library(self) -> Cutter | None:
        """The same tokenizer of the library `tokenizers`, for tokenizer.json; None where it can have none."""
        return None

    def checked(self, ids: Sequence[int] | np.ndarray) -> np.ndarray:
        """`ids` as an array of shape (T,), or the error that says what is wrong with them."""
        array = np.asarray(ids)
        if array.ndim != 1:
            raise ValueError(f"ids have shape {array.shape}; allowed is one row, (T,): decode a batch row by row")
        if array.size == 0:
            return np.zeros(0, dtype=np.int32)
        if array.dtype.kind not in "iu":
            raise ValueError(f"ids are of type {array.dtype}; allowed are integers: pass ids, not logits")
        outside = array[(array < 0) | (array >= self.vocab_size)]
        if outside.size:
            raise ValueError(
                f"id {outside[0]} is out of range; allowed are 0 to {self.vocab_size - 1}: "
                "decode with the tokenizer that the model was trained with"
            )
        return array

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tokenizer) and type(self) is type(other) and self.fields() == other.fields()

    def __hash__(self) -> int:
        return hash((type(self), json.dumps(self.fields(), sort_keys=True)))

    def __repr__(self) -> str:
        return f"<{type(self).__name__}, vocab_size={self.vocab_size}>"


@TOKENIZERS.add("char", label="Characters", source="one id per character of the text")
class CharTokenizer(Tokenizer):
    """Gives every character that occurs in the text its own id, in the order of the code points.

    Notice: a small vocabulary and readable tokens, but a character that the text never showed has no id.
    """

    def __init__(self, alphabet: str) -> None:
        if not isinstance(alphabet, str) or not alphabet:
            raise ValueError(f"alphabet is {alphabet!r}; allowed is a text of one or more characters")
        if alphabet != "".join(sorted(set(alphabet))):
            raise ValueError(
                "the alphabet repeats characters or is out of order; "
                "allowed are distinct characters by code point: use CharTokenizer.from_text(text)"
            )
        utf8(alphabet)  # half a surrogate pair would not survive JSON
        self.alphabet = alphabet
        self.vocab_size = len(alphabet)
        self.tokens = tuple(map(visible_text, alphabet))
        self.code_points = code_points(alphabet)  # (V,)
        # One step more than the last character needs: every code point above it shares that place, unknown.
        self.id_of = np.full(self.code_points[-1] + 2, -1, dtype=np.int32)
        self.id_of[self.code_points] = np.arange(self.vocab_size)

    @classmethod
    def from_text(cls, text: str) -> CharTokenizer:
        """The tokenizer of the characters in `text`; an empty text has none and is a ValueError."""
        return cls("".join(sorted(set(text))))

    def encode(self, text: str) -> np.ndarray:
        """Look each code point up in a table: no loop over characters, so that a million take milliseconds."""
        points = code_points(text)  # (T,)
        ids = self.id_of[np.minimum(points, len(self.id_of) - 1)]
        if ids.size and ids.min() < 0:
            raise UnknownCharacterError(self.explain(set(text) - set(self.alphabet)))
        return ids

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        return self.code_points[self.checked(ids)].tobytes().decode("utf-32-le", "surrogatepass")

    def stream(self) -> TextStream:
        return CharStream(self)

    def fields(self) -> dict[str, Any]:
        return {"alphabet": self.alphabet}

    def as_library(self) -> Cutter:
        from tokenizers import Regex, decoders, models, pre_tokenizers
        from tokenizers import Tokenizer as Cutter

        # The name of an unknown token is none of the vocabulary, so there, too, an unknown character is an error.
        ids = {character: number for number, character in enumerate(self.alphabet)}
        cutter = Cutter(models.WordLevel(ids, unk_token="<unk>"))
        cutter.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
        cutter.decoder = decoders.Fuse()  # without it there would be spaces between characters
        return cutter

    def explain(self, unknown: set[str]) -> str:
        """The error message for a text with `unknown` characters."""
        named = ", ".join(f"{c!r} (U+{ord(c):04X})" for c in sorted(unknown)[:SHOWN_UNKNOWN])
        more = f" and {len(unknown) - SHOWN_UNKNOWN} more" if len(unknown) > SHOWN_UNKNOWN else ""
        etc = " ..." if self.vocab_size > SHOWN_ALPHABET else ""
        return (
            f"the text holds characters that this tokenizer has no id for: {named}{more}; "
            f"allowed are these {self.vocab_size}: {self.alphabet[:SHOWN_ALPHABET]!r}{etc}. "
            "Leave them out, or train with the byte tokenizer, which knows every character"
        )


@TOKENIZERS.add("byte", label="Bytes", source="UTF-8; Xue et al. 2022 (ByT5)")
class ByteTokenizer(Tokenizer):
    """Takes the UTF-8 bytes of the text as ids, so that no character is ever unknown.

    Notice: "é" takes two steps and "🙂" four. A model may generate bytes that are no text: they decode to "�".
    """

    vocab_size = 256
    tokens = tuple(
        DISPLAY.get(chr(b), chr(b) if chr(b).isprintable() and b < 128 else repr(bytes([b]))[2:-1]) for b in range(256)
    )

    @classmethod
    def from_text(cls, text: str) -> ByteTokenizer:
        return cls()

    def encode(self, text: str) -> np.ndarray:
        return np.frombuffer(utf8(text), dtype=np.uint8).astype(np.int32)

    def bytes_of(self, ids: Sequence[int] | np.ndarray) -> bytes:
        return self.checked(ids).astype(np.uint8).tobytes()

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        return self.bytes_of(ids).decode("utf-8", "replace")

    def num_bytes(self, ids: np.ndarray) -> int:
        return len(ids)

    def stream(self) -> TextStream:
        return Utf8Stream(self, self.bytes_of)

    def as_library(self) -> Cutter:
        from tokenizers import Tokenizer as Cutter
        from tokenizers import decoders, models, pre_tokenizers

        cutter = Cutter(models.BPE({name: byte for byte, name in enumerate(BYTE_NAMES)}, []))  # which joins none
        cutter.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        cutter.decoder = decoders.ByteLevel()
        return cutter


def tokenizer_from_json(data: Mapping[str, Any]) -> Tokenizer:
    """The tokenizer that `to_json` described.

    Raises:
        ValueError: `data` is damaged, or its tokenizer is not registered (UnknownKeyError).
    """
    if not isinstance(data, Mapping) or "tokenizer" not in data:
        raise ValueError(
            f"{str(data)[:60]!r} describes no tokenizer; allowed is an object with the key 'tokenizer', "
            "as to_json() makes it"
        )
    component = (GIVEN_TOKENIZERS if data["tokenizer"] in GIVEN_TOKENIZERS else TOKENIZERS)[data["tokenizer"]]
    try:
        return component(**{name: value for name, value in data.items() if name != "tokenizer"})
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"the description of a {data['tokenizer']!r} tokenizer is damaged: {error}. Take it from an intact copy"
        ) from error


def default_prompt(tokenizer: Tokenizer) -> str:
    """The end of a line, for something new to begin; in a text without lines its first character by code point."""
    try:
        tokenizer.encode("\n")
    except ValueError:
        return tokenizer.decode([0])
    return "\n"


def code_points(text: str) -> np.ndarray:
    """The Unicode code point of each character: shape (T,)."""
    # Four bytes per character. Half a surrogate pair passes, to be named by the code that refuses it.
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")


def utf8(text: str) -> bytes:
    """`text` in UTF-8.

    Raises:
        UnknownCharacterError: the text holds half a surrogate pair, which is no character.
    """
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise UnknownCharacterError(
            f"character {error.start} of the text is {text[error.start]!r}, half a surrogate pair, which has "
            "no UTF-8 bytes; allowed is every whole character: leave it out"
        ) from None
