"""What a model has to beat: three losses, each against a count by hand."""

import itertools
import math
from dataclasses import replace

import pytest

from tlab.text import corpus_from_text, load_corpus
from tlab.text.baselines import baseline_losses, training_pair_loss
from tlab.ui.demo.shipped_run import demo_checkpoint, demo_run


def by_hand(text: str) -> dict[str, float]:
    """The same from a dictionary of counts."""
    corpus = corpus_from_text(text)
    train, validation, V = corpus.train.tolist(), corpus.validation.tolist(), corpus.tokenizer.vocab_size
    frequency = [(train.count(token) + 1) / (len(train) + V) for token in range(V)]

    def after(a: int, b: int) -> float:
        followers = [y for x, y in itertools.pairwise(train) if x == a]
        weight = max(1, len(set(followers)))
        return (followers.count(b) + weight * frequency[b]) / (len(followers) + weight)

    pairs = list(itertools.pairwise(validation))
    return {
        "uniform guess": math.log(V),
        "token frequencies": -sum(math.log(frequency[token]) for token in validation) / len(validation),
        "token pairs": -sum(math.log(after(a, b)) for a, b in pairs) / len(pairs),
    }


@pytest.mark.parametrize("text", ["abcab" * 40 + "cabbage " * 5, "one two three " * 20 + "xyz" * 9, "ab" * 100])
def test_every_baseline_is_what_counting_by_hand_gives(text):
    assert baseline_losses(corpus_from_text(text)) == pytest.approx(by_hand(text))


def test_chances_of_all_followers_sum_to_one():
    import numpy as np

    from tlab.text.baselines import pair_probability

    train = np.array([0, 1, 0, 2, 0, 1, 3, 3])
    frequency = np.array([0.4, 0.3, 0.2, 0.1])
    for before in range(4):
        chances = pair_probability(train, np.full(4, before), np.arange(4), frequency)
        assert chances.sum() == pytest.approx(1) and (chances > 0).all()


def test_the_shipped_run_has_the_baselines_of_its_text():
    corpus = load_corpus("python-docs")
    if corpus.sha256 != demo_checkpoint().corpus["sha256"]:
        pytest.skip("the shipped run has read the documentation of another Python")
    assert demo_run().baselines == pytest.approx(baseline_losses(corpus), rel=1e-5)


@pytest.mark.parametrize("text", ["abcab" * 40 + "cabbage " * 5, "one two three " * 20 + "xyz" * 9])
def test_pairs_of_the_training_part_are_guessed_from_all_others_of_it(text):
    corpus = corpus_from_text(text)
    train, V = corpus.train.tolist(), corpus.tokenizer.vocab_size
    pairs = list(itertools.pairwise(train))
    losses = []
    for place, (a, b) in enumerate(pairs):
        others = pairs[:place] + pairs[place + 1 :]
        followers = [y for x, y in others if x == a]
        weight = max(1, len(set(followers)))
        frequency = train.count(b) / (len(train) - 1 + V)  # one of them is left out, and one is added
        losses.append(-math.log((followers.count(b) + weight * frequency) / (len(followers) + weight)))
    assert training_pair_loss(corpus) == pytest.approx(sum(losses) / len(losses))


def test_a_token_that_nothing_but_the_pair_itself_follows_is_guessed_by_frequency():
    corpus = corpus_from_text("abababababqcabababab" * 2 + "ab" * 10)
    assert 0 < training_pair_loss(corpus) < math.inf
    once = corpus_from_text("ab" * 30 + "q" + "ab" * 30)
    train = once.train.tolist()
    q = once.tokenizer.encode("q")[0]
    assert train.count(q) == 1 and math.isfinite(training_pair_loss(once))


def test_a_validation_part_of_one_token_has_no_pairs_to_guess():
    corpus = corpus_from_text("abcab" * 20)
    assert baseline_losses(replace(corpus, validation=corpus.validation[:1]))["token pairs"] == 0.0
