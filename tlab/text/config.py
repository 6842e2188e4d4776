"""Which text is read, and what a token of it is."""

from __future__ import annotations

from dataclasses import dataclass

from tlab.config import Config, chosen_from, option
from tlab.text import DEFAULT_CORPUS, TOKENIZERS


@dataclass(frozen=True)
class TextConfig(Config):
    """What is read."""

    # No registry in its option: paths of files are allowed as well, and loading says what is not.
    corpus: str = option(DEFAULT_CORPUS, help="Text to learn from.")
    tokenizer: str = chosen_from(TOKENIZERS, "char", "What a token is.")
