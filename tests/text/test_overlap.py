"""What of a validation part was in training: known answers."""

import pytest

from tlab.text import CORPORA, corpus_from_text, load_corpus
from tlab.text.overlap import PASSAGE, overlap, overlap_sentence


def letters(rng, count):
    """No passage of them comes twice."""
    return "".join(chr(97 + i) for i in rng.integers(0, 26, count))


@pytest.mark.parametrize("tokenizer", ["char", "byte"])  # of which a token is a letter here
@pytest.mark.parametrize("copied", [0, PASSAGE - 1, PASSAGE, 100])
def test_a_passage_that_was_copied_is_counted_and_a_shorter_one_is_not(rng, copied, tokenizer):
    text = letters(rng, 2000)
    middle = 1800 + 50
    text = text[:middle] + "!" + text[300 : 300 + copied] + "!" + text[middle + copied + 2 :]
    share = overlap(corpus_from_text(text, tokenizer=tokenizer)).in_passages
    assert share == (copied / 200 if copied >= PASSAGE else 0)


def test_overlapping_passages_are_counted_once(rng):
    text = letters(rng, 1800)
    assert overlap(corpus_from_text(text + text[:200])).in_passages == 1


def test_the_share_of_lines_by_hand():
    text = "ab\ncd\nef\n" * 30 + "\nab\n\nzz\nyy\nxx\nab\nuu\nvv\nww\n"
    corpus = corpus_from_text(text)
    validation = [line for line in corpus.tokenizer.decode(corpus.validation).splitlines() if line]
    assert overlap(corpus).in_lines == sum(line in ("ab", "cd", "ef") for line in validation) / len(validation)


def test_a_text_shorter_than_a_passage_has_none():
    assert overlap(corpus_from_text("abc" * 7)).in_passages == 0


def test_a_validation_part_shorter_than_a_passage_may_be_copied_whole():
    line = "of five lines that are alike the last one says nothing new\n"
    assert overlap(corpus_from_text(line * 5)).is_copied
    assert overlap_sentence(corpus_from_text(line * 5)).startswith("the whole validation text stands in the training")
    assert not overlap(corpus_from_text(line * 5 + "?")).is_copied
    assert not overlap(corpus_from_text(line * 50)).is_copied  # a longer one is judged by its passages
    assert not overlap(corpus_from_text("abc" * 7)).is_copied  # what is so short may come twice by chance


def test_a_validation_part_of_empty_lines_has_no_known_ones():
    assert overlap(corpus_from_text("x" * 90 + "\n" * 10)).in_lines == 0


def test_the_default_corpus_is_one_eighth_known_and_its_card_says_so():
    share = overlap(load_corpus("python-docs"))
    assert share.in_passages == pytest.approx(0.13, abs=0.02)  # each Python has a documentation of its own
    assert "13 %" in (CORPORA["python-docs"].__doc__ or "")


def test_the_sentence_says_both_in_percent():
    corpus = corpus_from_text("same line\n" * 90)
    assert overlap_sentence(corpus).startswith("100.0% of the validation text lies in passages of 64 tokens")
    assert overlap_sentence(corpus).endswith("100.0% of its lines are training lines")
