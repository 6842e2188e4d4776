"""Byte pair encoding: what it learns, keeps, and gives back."""

import json
import pickle
import random
import subprocess
import sys
import time

import numpy as np
import pytest

from support import tiny
from tlab.nn.model import Transformer
from tlab.text import TOKENIZERS, CorpusError, corpus_from_text, tokenizer_from_json
from tlab.text.bpe import LONGEST_WORD, MAX_TOKEN_BYTES, Bpe512, count_merges, joined_bytes, learned_merges, pieces_of
from tlab.training.checkpoint import Checkpoint
from tlab.training.config import TrainConfig

TEXT = "the cat sat on the mat, the cat naïve 日本語 🙂\n" * 40
GIVEN = Bpe512([[ord("t"), ord("h")], [256, ord("e")], [ord(" "), 257]])


def test_the_most_frequent_pair_is_joined_first():
    assert Bpe512.from_text("ababab abab ab").token_bytes[256] == b"ab"


def test_the_merges_of_a_text_are_the_same_on_every_machine():
    # By hand: "ug" five times, "hug" three times, " hug" twice; all others once, of which letters go before spaces.
    u, g, h, b, p, space = b"ughbp "
    assert learned_merges("hug pug hug bug hug", 512) == (
        (u, g), (h, 256), (space, 257), (b, 256), (p, 256), (space, 259), (space, 260),
    )  # fmt: skip


def test_a_text_is_cut_by_the_merges_alone():
    assert GIVEN.encode("the the").tolist() == [257, 258]
    assert [GIVEN.tokens[i] for i in GIVEN.encode("th\n the")] == ["th", "↵", "␣the"]


@pytest.mark.parametrize("seed", range(20))
def test_any_text_comes_back_whatever_was_learned(seed):
    numbers = random.Random(seed)
    text = "".join(chr(numbers.choice([*range(128), *range(0xA0, 0xD800, 97), *range(0xE000, 0x110000, 4099)]))
                   for _ in range(300))  # fmt: skip
    for tokenizer in (GIVEN, Bpe512.from_text(TEXT), Bpe512.from_text(text)):
        assert tokenizer.decode(tokenizer.encode(text)) == text


def test_a_part_of_a_character_is_shown_by_its_bytes_and_written_when_it_is_whole():
    ids = GIVEN.encode("é")
    assert [GIVEN.tokens[i] for i in ids] == [r"\xc3", r"\xa9"]
    stream = GIVEN.stream()
    assert [stream(i) for i in ids] == ["", "é"]


def test_a_small_vocabulary_is_the_beginning_of_a_large_one():
    small, large = (TOKENIZERS[key].from_text(TEXT).fields()["merges"] for key in ("bpe-512", "bpe-1024"))
    assert large[: len(small)] == small


def test_a_text_whose_last_tenth_is_one_token_has_nothing_to_predict():
    with pytest.raises(CorpusError, match="a single token"):
        corpus_from_text("ab" * 10, tokenizer="bpe-512")


def test_no_token_is_longer_than_allowed():
    assert max(map(len, Bpe512.from_text("=" * 5000 + "\n" + "ab" * 3000).token_bytes)) <= MAX_TOKEN_BYTES


def test_a_model_and_its_tokenizer_come_back_without_the_text(tmp_path):
    corpus = corpus_from_text(TEXT, tokenizer="bpe-512")
    model = Transformer(tiny(vocab_size=corpus.tokenizer.vocab_size), 0)
    weights = {name: param.data for name, param in model.parameters.items()}
    Checkpoint(model.config, TrainConfig(), corpus.describe(), 0, weights).save(tmp_path)
    back = Checkpoint.load(tmp_path).tokenizer
    assert back == corpus.tokenizer
    assert back.encode(TEXT).tolist() == corpus.tokenizer.encode(TEXT).tolist()


def test_a_tokenizer_that_has_cut_a_text_can_be_sent_to_another_process():
    GIVEN.encode("the")
    assert np.array_equal(pickle.loads(pickle.dumps(GIVEN)).encode("the"), GIVEN.encode("the"))


@pytest.mark.parametrize(
    ("merges", "what"),
    [([[300, 1]], "before their tokens"), ([[-1, 1]], "before their tokens"),
     ([[97, 97], *([256 + i, 256 + i] for i in range(40))], "bytes; allowed are at most"),
     ([[0, 1]] * 9000, "allowed are at most"), ([["a", 1]], "damaged"), (5, "damaged")],
)  # fmt: skip
def test_merges_that_nobody_learned_are_refused_at_once(merges, what):
    with pytest.raises(ValueError, match=what):
        tokenizer_from_json(json.loads(json.dumps({"tokenizer": "bpe-512", "merges": merges})))


def test_two_merges_of_the_same_bytes_are_one_token():
    a, b, c = b"abc"
    assert joined_bytes(((a, b), (b, c), (256, c), (a, 257)))[256:] == (b"ab", b"bc", b"abc")


def test_the_library_is_loaded_by_those_who_cut_texts_alone():
    code = "import sys, tlab; assert 'tokenizers' not in sys.modules"
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


# --- words without an end ---

CHINESE = "".join(chr(0x4E00 + i % 20_000) for i in range(250_000))


def test_a_text_without_any_space_is_learned_from_in_seconds():
    began = time.process_time()
    assert count_merges(CHINESE, 512)
    assert time.process_time() - began < 10, "and not in minutes, which is the square of the longest word"


@pytest.mark.parametrize("endless", ["ACGT", "12", "1²", "_-", "\n", " ", "\u0301", "ä1", "👨‍👩"])
def test_a_text_is_counted_in_pieces_only_where_a_word_is_endless(endless):
    long = endless * (3 * LONGEST_WORD // len(endless))
    text = f"It begins with words. {long} And it ends so."
    pieces = pieces_of(text)
    assert "".join(pieces) == text
    assert max(map(len, pieces)) <= LONGEST_WORD + len("It begins with words. ") < len(long)
    ordinary = "Two words, 12 numbers:\n\n" * 1_000
    assert pieces_of(ordinary) == [ordinary]


def test_the_library_cuts_a_text_and_puts_it_together_as_the_lab_does():
    library = GIVEN.as_library()
    ids = library.encode(TEXT).ids
    assert ids == GIVEN.encode(TEXT).tolist() and library.decode(ids) == TEXT
