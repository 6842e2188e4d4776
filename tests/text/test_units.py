"""Bits per byte: the same measure for models of every tokenizer, counted exactly."""

import math
import random

import numpy as np
import pytest

from support import tiny
from tlab.nn.model import Transformer
from tlab.text import TOKENIZERS, corpus_from_text
from tlab.text.units import bits_per_byte, bits_per_nat
from tlab.training.trainer import evaluate

BEYOND_ASCII = "éß日本語🙂👩‍👩‍👧\u0301\ufffd\U0010ffff"


def random_text(seed, length=400):
    """Letters, and characters of one to four bytes from all over Unicode."""
    random_number = random.Random(seed)
    ranges = ((0x20, 0x7F), (0xA0, 0x800), (0x800, 0xD800), (0xE000, 0x10000), (0x10000, 0x110000))
    return "".join(
        random_number.choice(BEYOND_ASCII + "the cat") if random_number.random() < 0.5
        else chr(random_number.randrange(*random_number.choice(ranges)))
        for _ in range(length)
    )  # fmt: skip


@pytest.fixture(params=list(TOKENIZERS))
def key(request):
    """The key of each registered tokenizer."""
    return request.param


@pytest.mark.parametrize("seed", range(20))
def test_the_bytes_of_any_text_are_counted_exactly(key, seed):
    text = random_text(seed)
    tokenizer = TOKENIZERS[key].from_text(text)
    ids = tokenizer.encode(text)
    assert tokenizer.num_bytes(ids) == len(text.encode())
    cuts = sorted(random.Random(seed).sample(range(len(ids)), 3))  # also within a character
    parts = [ids[a:b] for a, b in zip([0, *cuts], [*cuts, len(ids)], strict=True)]
    assert sum(tokenizer.num_bytes(part) for part in parts) == len(text.encode())


def test_each_part_of_a_corpus_has_its_own_bytes_per_predicted_token(key):
    text = "the cat " * 50 + "日本語" * 10 + "é🙂" * 10
    corpus = corpus_from_text(text, tokenizer=key)
    border = len(text) - len(text) // 10
    for ids, part, ratio in zip(
        (corpus.train, corpus.validation), (text[:border], text[border:]), corpus.bytes_per_token, strict=True
    ):
        first = corpus.tokenizer.num_bytes(ids[:1])  # which nobody predicts
        assert ratio * (len(ids) - 1) == pytest.approx(len(part.encode()) - first, rel=1e-15)


def predicted_one_by_one(model, tokens, context_length):
    """Total nats of every token but the first, from the tokens before it in its window, each by a pass of its own."""
    total = 0.0
    for place in range(1, len(tokens)):
        start = (place - 1) // context_length * context_length
        logits = model.forward(tokens[None, start:place])[0][0, -1].astype(np.float64)
        total += np.log(np.exp(logits - logits.max()).sum()) + logits.max() - logits[tokens[place]]
    return total


@pytest.mark.parametrize("context_length", [4, 16])
def test_the_whole_validation_text_in_bits_per_byte_is_what_a_count_by_hand_gives(key, context_length):
    text = random_text(3, 600) + "the cat sat " * 20
    corpus = corpus_from_text(text, tokenizer=key)
    config = tiny(vocab_size=corpus.tokenizer.vocab_size, context_length=16)
    model = Transformer(config, 0, np.float64)
    loss = evaluate(model, corpus.validation, context_length)
    encoded = text[len(text) - len(text) // 10 :].encode()
    left = len(encoded) - corpus.tokenizer.num_bytes(corpus.validation[:1])
    by_hand = predicted_one_by_one(model, corpus.validation, context_length) / math.log(2) / left
    assert bits_per_byte(loss, corpus.bytes_per_token.validation) == pytest.approx(by_hand, rel=1e-12)


def test_windows_that_slide_have_the_bytes_of_what_each_adds(key):
    text = random_text(4, 800)
    corpus = corpus_from_text(text, tokenizer=key)
    tokens, read, added = corpus.validation, 8, 3
    counts = [
        corpus.tokenizer.num_bytes(tokens[start + read : start + read + added])
        for start in range(0, len(tokens) - read, added)
    ]
    before = corpus.tokenizer.num_bytes(tokens[:read])
    assert before + sum(counts) == len(text[len(text) - len(text) // 10 :].encode())


def test_a_blind_guess_over_bytes_is_eight_bits_per_byte():
    assert bits_per_byte(math.log(256), 1.0) == pytest.approx(8.0)


def test_rows_of_early_versions_are_known_by_the_byte_tokenizer_of_the_same_text():
    rows = [
        {"tokenizer": "byte", "corpus": "x", "tokens_per_character": 2.0},
        {"tokenizer": "char", "corpus": "x"},
        {"tokenizer": "bpe", "corpus": "x", "tokens_per_character": 0.5},
        {"tokenizer": "char", "corpus": "y"},
        {"tokenizer": "bpe", "corpus": "x"},
    ]
    by_hand = [1 / math.log(2), 1 / (2 * math.log(2)), 1 / (4 * math.log(2)), None, None]
    assert bits_per_nat(rows, "val") == [known if known is None else pytest.approx(known) for known in by_hand]
