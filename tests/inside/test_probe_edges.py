"""Every probe works at the edges of what a model can be, or says in words why it has no meaning there."""

import numpy as np
import pytest

from tlab import Checkpoint, TrainConfig
from tlab.checks import random_model
from tlab.inside import PROBES, ProbeError, Subject
from tlab.nn.config import ModelConfig
from tlab.text import corpus_from_text

PANGRAM = "the quick brown fox jumps over the lazy dog; " * 40
EDGES = {
    "one layer": {"num_layers": 1},
    "one head": {"num_heads": 1},
    "one layer, one head, no norm": {"num_layers": 1, "num_heads": 1, "norm": "none"},
    "heads one channel wide": {"num_heads": 12},
    "one channel": {"hidden_dim": 1, "num_heads": 1, "norm": "rmsnorm"},
    "one hidden unit": {"mlp_ratio": 0.01},
    "untied": {"tied": False},
    "no bias": {"bias": False},
    "untied, no bias, gated": {"tied": False, "bias": False, "activation": "swiglu"},
    "post, one layer, one head": {"residual": "post", "num_layers": 1, "num_heads": 1},
    "sandwich, no bias": {"residual": "sandwich", "bias": False},
    "context of 2": {"context_length": 2},
    "context of 2, learned": {"context_length": 2, "position": "learned"},
    "context of 3, alibi": {"context_length": 3, "position": "alibi"},
}
NEEDS_MORE = {"induction"}  # two copies of four letters do not fit into a context of 2 or 3


def answers(config, corpus, text, rng, dtype=np.float64):
    """Name -> rows or what the probe says instead; fails where a number is none."""
    model = random_model(config, rng)
    weights = {name: param.data.astype(dtype) for name, param in model.parameters.items()}
    subject = Subject(Checkpoint(config, TrainConfig(), corpus.describe(), 0, weights), text, corpus)
    given = {}
    for name, kind in PROBES.items():
        try:
            rows = given[name] = kind().rows(subject)
        except ProbeError as error:
            given[name] = error
            continue
        assert rows, name
        for row in rows:
            numbers = [value for value in row if isinstance(value, float)]
            assert not np.isnan(numbers).any(), (name, row)
            assert not any(isinstance(value, (np.generic, np.ndarray)) for value in row), (name, row)
    return given


def silent(given):
    return {name for name, rows in given.items() if isinstance(rows, ProbeError)}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("edge", EDGES)
def test_every_probe_answers_at_the_edges_of_a_models_shape(edge, dtype, rng):
    corpus = corpus_from_text(PANGRAM, "pangram")
    sizes = {"context_length": 16, "hidden_dim": 12, "num_layers": 2, "num_heads": 3, "mlp_ratio": 2.5, **EDGES[edge]}
    config = ModelConfig(vocab_size=corpus.tokenizer.vocab_size, **sizes)
    given = answers(config, corpus, "the quick brown", rng, dtype)
    assert silent(given) <= (NEEDS_MORE if config.context_length < 9 else set()), given


def test_every_probe_answers_for_a_vocabulary_of_two(rng):
    corpus = corpus_from_text("aab" * 300, "two letters")
    config = ModelConfig(vocab_size=2, context_length=16, hidden_dim=12, num_heads=3)
    given = answers(config, corpus, "aabaabaab", rng)
    assert silent(given) == {"induction"} and "has 2" in str(given["induction"])


def test_every_probe_answers_for_bytes_also_in_the_middle_of_a_character(rng):
    corpus = corpus_from_text("Grüße über Öl, naïve façade; " * 60, "bytes", tokenizer="byte")
    config = ModelConfig(vocab_size=corpus.tokenizer.vocab_size, context_length=16, hidden_dim=12, num_heads=3)
    assert not silent(answers(config, corpus, "Grüße über Öl, naïve", rng))


def test_a_text_of_one_letter_over_and_over_has_answers_too(rng):
    corpus = corpus_from_text(PANGRAM, "pangram")
    config = ModelConfig(vocab_size=corpus.tokenizer.vocab_size, context_length=16, hidden_dim=12, num_heads=3)
    assert silent(answers(config, corpus, "eeeeeeee", rng)) == {"induction"}
