"""Tokenizers that come with a model from elsewhere: the same ids and texts as their own library gives."""

import pickle

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from tokenizers.trainers import BpeTrainer

from support import VERSE
from tlab.text import IdsTokenizer, JsonTokenizer, UnknownCharacterError, tokenizer_from_json


@pytest.fixture(scope="module")
def library():
    """Byte pairs with a special token, which cuts what is longer than 5 tokens and fills up what is shorter."""
    cutter = Tokenizer(models.BPE())
    cutter.pre_tokenizer, cutter.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    cutter.train_from_iterator([VERSE * 9], BpeTrainer(vocab_size=300, initial_alphabet=alphabet, show_progress=False))
    cutter.add_special_tokens(["<|end|>"])
    cutter.enable_truncation(5)
    cutter.enable_padding(length=5)
    return cutter


@pytest.fixture(scope="module")
def tokenizer(library):
    return JsonTokenizer(library.to_str(), library.get_vocab_size() + 3)


def random_text(rng):
    points = np.concatenate(
        [rng.integers(32, 127, 8), rng.integers(0x00A0, 0xD800, 4), rng.integers(0x1F300, 0x1F600, 3)]
    )
    return "".join(map(chr, rng.permutation(points)))


def test_what_describes_no_tokenizer_is_refused_with_the_librarys_reason():
    with pytest.raises(ValueError, match="it is no description of a tokenizer: Model missing"):
        JsonTokenizer("{}", 300)


def test_any_text_comes_back_as_it_was(tokenizer, rng):
    for _ in range(50):
        text = random_text(rng)
        assert tokenizer.decode(tokenizer.encode(text)) == text


def test_pieces_of_a_stream_add_up_to_the_text_and_end_at_whole_characters(tokenizer, rng):
    for _ in range(20):
        text = random_text(rng)
        stream = tokenizer.stream()
        pieces = [stream(int(token)) for token in tokenizer.encode(text)]
        assert not any("�" in piece for piece in pieces)
        assert "".join(pieces) + stream.finish() == text
    stream = tokenizer.stream()
    ids = tokenizer.encode("é")[:1]  # half of it
    assert stream(int(ids[0])) + stream.finish() == tokenizer.decode(ids) == "�"


def test_a_special_token_that_a_text_names_is_one_id_and_nothing_is_cut_or_added(tokenizer, library):
    ids = tokenizer.encode("<|end|>the quick brown fox jumps over the lazy dog<|end|>")
    assert list(ids).count(library.token_to_id("<|end|>")) == 2 and len(ids) > 5
    assert len(tokenizer.encode("a")) == 1


def test_every_id_has_something_to_show_and_rows_without_a_token_too(tokenizer):
    assert len(tokenizer.tokens) == tokenizer.vocab_size
    assert tokenizer.tokens[-1] == f"<{tokenizer.vocab_size - 1}>"
    assert "␣the" in tokenizer.tokens and "<|end|>" in tokenizer.tokens and r"\xff" in tokenizer.tokens
    assert tokenizer.decode([tokenizer.vocab_size - 1]) == ""


def test_it_survives_json_and_pickle(tokenizer):
    text = "the quick é"
    for again in (tokenizer_from_json(tokenizer.to_json()), pickle.loads(pickle.dumps(tokenizer))):
        assert again == tokenizer and list(again.encode(text)) == list(tokenizer.encode(text))


def test_a_tokenizer_with_more_tokens_than_the_model_has_rows_is_refused(library):
    with pytest.raises(ValueError, match="it has 301 tokens, and the model 300"):
        JsonTokenizer(library.to_str(), 300)


def test_half_a_surrogate_pair_is_no_text(tokenizer):
    with pytest.raises(UnknownCharacterError, match="surrogate"):
        tokenizer.encode("a\ud800")


def test_a_text_that_the_library_refuses_is_an_unknown_character():
    words = Tokenizer(models.WordLevel({"a": 0}))  # without a token for what is unknown
    with pytest.raises(UnknownCharacterError, match="cannot read this text"):
        JsonTokenizer(words.to_str(), 2).encode("b")


def test_ids_are_their_own_text():
    tokenizer = IdsTokenizer(12)
    assert list(tokenizer.encode("3 11\n0")) == [3, 11, 0] and tokenizer.decode([3, 11, 0]) == " 3 11 0"
    assert tokenizer_from_json(tokenizer.to_json()) == tokenizer
    for text in ("12", "-1", "x", "²"):
        with pytest.raises(UnknownCharacterError, match="is no id"):
            tokenizer.encode(text)
