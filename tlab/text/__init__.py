"""Text in, numbers out: the corpora to learn from and the tokenizers that turn them into ids."""

from tlab.text.bpe import BpeTokenizer
from tlab.text.corpora import CORPORA, DEFAULT_CORPUS, Corpus, CorpusError, corpus_from_text, corpus_names, load_corpus
from tlab.text.tokenizers import (
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
    "TOKENIZERS",
    "BpeTokenizer",
    "ByteTokenizer",
    "CharTokenizer",
    "Corpus",
    "CorpusError",
    "TextStream",
    "Tokenizer",
    "UnknownCharacterError",
    "corpus_from_text",
    "corpus_names",
    "default_prompt",
    "load_corpus",
    "tokenizer_from_json",
]
