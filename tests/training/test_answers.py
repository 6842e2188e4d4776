"""How many of a text's answers a model gets right, of models that know all, half or none of them."""

import numpy as np
import pytest

from support import TASKS
from tlab import ModelConfig, Transformer
from tlab.text import corpus_from_text, load_corpus
from tlab.training.answers import MAX_LINES, answer_accuracy


class Knowing:
    """Stands for a model that predicts what `answer` says of each line, and spaces elsewhere."""

    def __init__(self, corpus, answer, context_length=64):
        self.corpus, self.answer = corpus, answer
        self.config = ModelConfig(vocab_size=corpus.tokenizer.vocab_size, context_length=context_length)

    def score(self, ids):
        logits = np.zeros((*ids.shape, self.config.vocab_size))
        for row, line in enumerate(ids):
            question = self.corpus.tokenizer.decode(line[1:]).split("=")[0]
            for place, token in enumerate(self.corpus.tokenizer.encode(self.answer(question)), len(question) + 1):
                logits[row, place, token] = 1
        return logits


def test_who_knows_all_answers_is_right_every_time_and_who_knows_half_half_the_time():
    corpus = load_corpus("reverse")
    assert answer_accuracy(Knowing(corpus, lambda question: question[::-1]), corpus) == 1.0
    half = answer_accuracy(Knowing(corpus, lambda question: question[:3:-1] + "\n\n\n\n"), corpus)
    assert half == pytest.approx(3 / 7)


@pytest.mark.parametrize("key", TASKS)
def test_a_model_that_knows_nothing_is_hardly_ever_right(key):
    corpus = load_corpus(key)
    model = Transformer(ModelConfig(vocab_size=corpus.tokenizer.vocab_size, hidden_dim=8, num_heads=1, num_layers=1))
    accuracy = answer_accuracy(model, corpus)
    assert (accuracy is None) == (corpus.answers_after is None)
    assert accuracy is None or accuracy < 0.7


def test_where_no_answer_can_be_read_there_is_no_accuracy():
    corpus = load_corpus("copy")
    assert answer_accuracy(Knowing(corpus, lambda question: question, context_length=8), corpus) is None
    joined = load_corpus("copy", "bpe-512")
    assert answer_accuracy(Knowing(joined, lambda question: question), joined) is None
    assert answer_accuracy(Knowing(corpus_from_text("a=b\n" * 20), str), corpus_from_text("a=b\n" * 20)) is None


def test_no_more_lines_are_read_than_needed():
    corpus, read = load_corpus("sort"), []
    knowing = Knowing(corpus, lambda question: read.append(question) or "".join(sorted(question)))
    assert answer_accuracy(knowing, corpus) == 1.0 and len(read) == MAX_LINES
