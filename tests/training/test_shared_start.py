"""What several runs have in common before their first step is what their weights and batches say."""

import itertools

import numpy as np
import pytest

from tlab.nn.config import ModelConfig
from tlab.nn.model import Transformer
from tlab.training.config import TrainConfig
from tlab.training.shared_start import OneNumber, Start, shared_start, short_name
from tlab.training.trainer import draw_batch

CHANGES = [
    {}, {"norm": "rmsnorm"}, {"residual": "post"}, {"activation": "swiglu"}, {"activation": "relu"}, {"num_layers": 3},
    {"hidden_dim": 16}, {"context_length": 16}, {"position": "learned"}, {"position": "sinusoidal"},
    {"init": "xavier"}, {"init": "xavier", "num_layers": 3},
    {"init": "xavier", "scale_residual": True}, {"tied": False}, {"mlp_ratio": 2.0}, {"num_heads": 4}, {"bias": False},
    {"seed": 1}, {"data_seed": 1}, {"seed": 1, "data_seed": 0}, {"batch_size": 4}, {"learning_rate": 0.1}, {"steps": 9},
]  # fmt: skip
TOKENS = np.arange(1000) % 11


def start(text="a text", **changes):
    model = {"vocab_size": 11, "num_layers": 2, "num_heads": 2, "hidden_dim": 8, "context_length": 8}
    training = {"batch_size": 2}
    for name, value in changes.items():
        (model if name in ModelConfig.__dataclass_fields__ else training)[name] = value
    return Start(text, ModelConfig(**model), TrainConfig(**training))


@pytest.mark.parametrize(("one", "other"), list(itertools.combinations(range(len(CHANGES)), 2)))
def test_what_is_said_to_be_shared_is_what_is_drawn(one, other):
    starts = [start(**CHANGES[one]), start(**CHANGES[other])]
    said = shared_start(starts)
    first, second = (
        {
            name: param.data
            for name, param in Transformer(s.model, s.training.seed).parameters.items()
            if param.is_decayed
        }
        for s in starts
    )
    same = {name for name in first.keys() & second.keys() if np.array_equal(first[name], second[name])}
    differing = {short_name(name) for name in (first.keys() | second.keys()) - same}
    assert {name for name in said.differing if not name.startswith("blocks.")} <= differing
    assert said.some_weights == bool(same)
    assert (said.differing == ()) == (differing == set())
    assert {short_name(name) for name in same}.isdisjoint(said.differing)
    batches = [
        draw_batch(TOKENS, s.training.batch_size, s.model.context_length, s.training.batch_seed, 1).ids for s in starts
    ]
    assert said.batches == np.array_equal(*batches)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ([{}, {"residual": "post"}], "read the same batches and start from the same first weights."),
        ([{}, {"activation": "swiglu"}],
         "read the same batches and start from the same first weights but for mlp.up, mlp.down, mlp.gate."),
        ([{}, {"num_layers": 3}],
         "read the same batches and start from the same first weights but for attention.out, mlp.down, layer 3."),
        ([{"position": "learned"}, {}, {"position": "alibi"}],
         "read the same batches and start from the same first weights but for position."),
        ([{}, {"seed": 1}], "read different batches and have no first weights in common."),
        ([{}, {"hidden_dim": 16}], "read the same batches and have no first weights in common."),
        ([{}, {"data_seed": 1}], "read different batches and start from the same first weights."),
        ([{}, {"batch_size": 4}], "read different batches and start from the same first weights."),
        ([{}, {"text": "another"}], "read different batches and start from the same first weights."),
        ([{}, {"seed": 1, "data_seed": 0}], "read the same batches and have no first weights in common."),
    ],
)  # fmt: skip
def test_it_is_said_in_words(changes, words):
    assert shared_start([start(**one) for one in changes]).sentence("They") == f"They {words}"


def test_the_one_number_of_a_rule_is_the_first_that_it_would_draw():
    for rule in ("normal", "uniform"):
        one, all_of_them = (getattr(kind(np.random.PCG64(3)), rule) for kind in (OneNumber, np.random.Generator))
        assert one(size=(4, 5)) == all_of_them(size=(4, 5))[0, 0]


def test_more_parts_than_can_be_named_are_counted():
    several = shared_start([start(tied=False, position="learned"), start(tied=False, position="learned", mlp_ratio=2.0,
                                                                         context_length=16, num_layers=9)])  # fmt: skip
    assert several.sentence("They").endswith("layer 3 and 6 more.")


def test_a_large_model_is_not_drawn_for_it():
    huge = {"num_layers": 2, "hidden_dim": 100_000, "num_heads": 1}
    assert shared_start([start(**huge), start(**huge, residual="post")]).differing == ()
