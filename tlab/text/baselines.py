"""What a model has to beat: the losses of three guesses that know no context, or one token of it."""

from __future__ import annotations

import math

import numpy as np

from tlab.text.corpora import Corpus
from tlab.types import Array, Ids


def baseline_losses(corpus: Corpus) -> dict[str, float]:
    """Losses on the validation split, in nats per token, of guesses made from the training split.

    "uniform guess" gives each of the V tokens 1/V. "token frequencies" goes by how often a token occurs, plus one.
    "token pairs" goes by the token before: its followers' counts, and the frequencies with as much weight as it has
    different followers (Witten & Bell 1991). Of a text that was made by rule there is one more, which no model beats
    but by luck: "known rule", what is lost by whoever knows the rule and sees each line whole.
    """
    train, validation = corpus.train, corpus.validation
    V = corpus.tokenizer.vocab_size
    frequency = (np.bincount(train, minlength=V) + 1) / (len(train) + V)  # (V,)
    before, after = validation[:-1], validation[1:]
    known = {} if corpus.known_loss is None else {"known rule": corpus.known_loss}
    return {
        "uniform guess": math.log(V),
        "token frequencies": float(-np.log(frequency[validation]).mean()),
        "token pairs": float(-np.log(pair_probability(train, before, after, frequency)).mean()) if len(after) else 0.0,
        **known,
    }


def training_pair_loss(corpus: Corpus) -> float:
    """The loss of "token pairs" on the training split, in nats per token: how hard that text is, beside the other one.

    Each pair is guessed from all others of the split, since a guess from itself would be no guess.
    """
    train, V = corpus.train, corpus.tokenizer.vocab_size
    pairs, counts = np.unique(train[:-1].astype(np.int64) * V + train[1:], return_counts=True)
    before, after = np.divmod(pairs, V)
    total = np.bincount(before, weights=counts, minlength=V)[before] - 1
    followers = np.bincount(before, minlength=V)[before] - (counts == 1)
    weight = np.maximum(followers, 1)
    frequency = np.bincount(train, minlength=V)[after] / (len(train) - 1 + V)
    probability = (counts - 1 + weight * frequency) / (total + weight)
    return float(-np.average(np.log(probability), weights=counts))


def pair_probability(train: Ids, before: Ids, after: Ids, frequency: Array) -> Array:
    """P(after | before), each (N,), from the pairs in `train`."""
    V = len(frequency)
    pairs, counts = np.unique(train[:-1].astype(np.int64) * V + train[1:], return_counts=True)
    followers = np.bincount(pairs // V, minlength=V)  # different ones of each token
    total = np.bincount(pairs // V, weights=counts, minlength=V)
    asked = before.astype(np.int64) * V + after
    place = np.minimum(np.searchsorted(pairs, asked), len(pairs) - 1)
    count = np.where(pairs[place] == asked, counts[place], 0)
    weight = np.maximum(followers[before], 1)  # of a token that nothing follows in training, all is frequency
    return (count + weight * frequency[after]) / (total[before] + weight)
