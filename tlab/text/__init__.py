"""Text in, numbers out: the corpora to learn from and the tokenizers that turn them into ids."""

import tlab.text.tasks  # noqa: F401, so that the registry is filled
from tlab.text.bpe import BpeTokenizer
from tlab.text.corpora import CORPORA, DEFAULT_CORPUS, Corpus, CorpusError, corpus_from_text, corpus_names, load_corpus
from tlab.text.given import IdsTokenizer, JsonTokenizer
from tlab.text.tokenizers import (
    GIVEN_TOKENIZERS,
    TOKENIZERS,
    ByteTokenizer,
    CharTokenizer,
    TextStream,
    Tokenizer,
    UnknownCharacterError,
    default_prompt,
    tokenizer_from_json,
)

__all__ = [
    "CORPORA",
    "DEFAULT_CORPUS",
    "GIVEN_TOKENIZERS",
    "TOKENIZERS",
    "BpeTokenizer",
    "ByteTokenizer",
    "CharTokenizer",
    "Corpus",
    "CorpusError",
    "IdsTokenizer",
    "JsonTokenizer",
    "TextStream",
    "Tokenizer",
    "UnknownCharacterError",
    "corpus_from_text",
    "corpus_names",
    "default_prompt",
    "load_corpus",
    "tokenizer_from_json",
]
