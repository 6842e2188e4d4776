"""The configs: what they accept, what they say to the rest, and that they survive JSON."""

import dataclasses
import json
import math
import re

import numpy as np
import pytest

from tlab import ConfigError, ModelConfig, TrainConfig
from tlab.config import options
from tlab.cost import num_parameters, step_flops

CLASSES = {"ModelConfig": lambda **values: ModelConfig(**{"vocab_size": 65, **values}), "TrainConfig": TrainConfig}


def bad_values():
    """For every field of both configs: wrong types, and values just outside its range."""
    for class_name, config_class in (("ModelConfig", ModelConfig), ("TrainConfig", TrainConfig)):
        for name, option in options(config_class).items():
            default = getattr(CLASSES[class_name](), name)
            yield class_name, name, [1]
            if option.registry is not None:
                yield from ((class_name, name, value) for value in ("nonsense", 3, None))
            elif isinstance(default, bool):
                yield from ((class_name, name, value) for value in ("yes", 1, None))
            else:
                yield from ((class_name, name, value) for value in ("1", True, math.nan, math.inf, option.low - 1))
                if not option.low_is_allowed:
                    yield class_name, name, option.low
                if option.high < math.inf:
                    yield class_name, name, option.high + 1
                if isinstance(default, int):
                    yield class_name, name, 1.5


@pytest.mark.parametrize(("class_name", "name", "value"), list(bad_values()))
def test_a_value_out_of_range_is_an_error_that_names_field_and_value(class_name, name, value):
    with pytest.raises(ConfigError) as caught:
        CLASSES[class_name](**{name: value})
    assert f"{name} = {value!r}: " in str(caught.value)


@pytest.mark.parametrize("make", CLASSES.values(), ids=CLASSES.keys())
def test_every_field_tells_what_it_is(make):
    for name, option in options(type(make())).items():
        assert option.help.endswith("."), name
        assert option.registry or option.typical or option.default_words or name in FREE, name


FREE = {"vocab_size", "bias", "tied", "scale_residual", "attention_gate", "value_residual", "qk_norm_all_heads"}


@pytest.mark.parametrize("config_class", [ModelConfig, TrainConfig])
def test_what_a_field_is_is_said_in_words_and_not_by_names_of_fields(config_class):
    for name, option in options(config_class).items():
        assert not re.search(r"[a-z]_[a-z]", f"{option.help} {option.default_words} {option.label}"), name


def test_the_published_constants_are_the_defaults():
    config = ModelConfig(65)
    assert (config.norm_epsilon, config.context_length, config.hidden_dim) == (1e-5, 64, 64)
    assert (config.num_layers, config.num_heads, config.bias, config.tied) == (2, 4, True, True)
    assert [config.norm, config.activation, config.residual, config.position, config.init] == [
        "layernorm",
        "gelu",
        "pre",
        "sinusoidal",
        "gpt2",
    ]


@pytest.mark.parametrize("name", ["num_layers", "embedding_scale"])
def test_a_number_beyond_all_counting_is_refused(name):
    with pytest.raises(ConfigError, match=name):
        ModelConfig(65, **{name: 10**400})


def test_every_problem_is_told_at_once():
    with pytest.raises(ConfigError) as caught:
        ModelConfig(65, num_layers=0, norm="batchnorm", bias="no")
    for part in ("num_layers = 0: must be at least 1", "unknown norm 'batchnorm'; allowed: layernorm", "bias = 'no'"):
        assert part in str(caught.value)


def test_heads_that_do_not_divide_the_width_are_told_with_those_that_do():
    with pytest.raises(ConfigError, match=r"num_heads = 5: must divide hidden_dim = 12; allowed: 1, 2, 3, 4, 6, 12"):
        ModelConfig(65, hidden_dim=12, num_heads=5)


def test_rope_refuses_an_odd_head_width():
    with pytest.raises(ConfigError, match="even width per head, but hidden_dim / num_heads = 12 / 4 = 3"):
        ModelConfig(65, hidden_dim=12, num_heads=4, position="rope")
    assert ModelConfig(65, hidden_dim=12, num_heads=4, position="alibi").head_dim == 3


def test_a_learning_rate_that_would_rise_is_refused():
    with pytest.raises(ConfigError, match=r"min_learning_rate = 0\.01: must be at most learning_rate = 0\.001"):
        TrainConfig(learning_rate=1e-3, min_learning_rate=1e-2)


def test_the_learning_rate_falls_to_a_tenth_unless_told_otherwise():
    assert TrainConfig(learning_rate=1e-4).final_learning_rate == pytest.approx(1e-5)
    assert TrainConfig(min_learning_rate=0).final_learning_rate == 0


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_numpy_numbers_become_plain_ones(kind):
    config = ModelConfig(np.int64(65), num_layers=np.int32(3), embedding_scale=kind(2))
    assert type(config.num_layers) is int
    assert type(config.embedding_scale) is float
    assert ModelConfig(65, embedding_scale=2).embedding_scale == 2.0


@pytest.mark.parametrize("make", CLASSES.values(), ids=CLASSES.keys())
def test_json_and_back_gives_an_equal_config(make):
    config = make()
    assert type(config).from_json(json.loads(json.dumps(config.to_json()))) == config


def test_an_unknown_field_is_told_with_the_known_ones_and_the_nearest():
    with pytest.raises(ConfigError, match=r"no field 'num_layer'; it has vocab_size, .* Did you mean 'num_layers'\?"):
        ModelConfig.from_json({"vocab_size": 65, "num_layer": 2})


def test_a_missing_field_without_default_is_told():
    with pytest.raises(ConfigError, match="needs vocab_size: Number of different tokens"):
        ModelConfig.from_json({"num_layers": 2})


def test_configs_cannot_be_changed_after_they_were_checked():
    with pytest.raises(dataclasses.FrozenInstanceError):
        ModelConfig(65).num_heads = 5


def test_the_batches_have_the_runs_seed_unless_told_otherwise():
    assert TrainConfig(seed=3).batch_seed == 3
    assert TrainConfig(seed=3, data_seed=4).batch_seed == 4


@pytest.mark.parametrize(
    ("config", "name", "text", "value"),
    [
        (TrainConfig, "learning_rate", " 3e-3 ", 0.003),
        (TrainConfig, "steps", "12", 12),
        (TrainConfig, "steps", "1.5", "1.5"),
        (TrainConfig, "data_seed", "None", None),
        (ModelConfig, "norm", "none", "none"),
        (ModelConfig, "bias", "False", False),
        (ModelConfig, "bias", "2", "2"),
    ],
)
def test_a_text_is_read_as_a_value_of_the_fields_type(config, name, text, value):
    parsed = config.parse(name, text)
    assert (parsed, type(parsed)) == (value, type(value))


def test_json_may_write_an_integer_as_a_float_but_python_may_not():
    config = TrainConfig.from_json({"steps": 3.0, "learning_rate": 1})
    assert (config.steps, type(config.steps), type(config.learning_rate)) == (3, int, float)
    with pytest.raises(ConfigError, match="steps"):
        TrainConfig.from_json({"steps": 3.5})
    with pytest.raises(ConfigError, match="steps"):
        TrainConfig(steps=3.0)


SIZES = ["vocab_size", "context_length", "hidden_dim", "num_layers", "num_heads", "mlp_ratio"]


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("value", [9_200_000_000_000_000_000, 10**16 + 61, 1.7976931348623157e308])
def test_every_size_has_a_bound_that_is_checked_first(name, value):
    with pytest.raises(ConfigError, match="and at most"):
        ModelConfig.from_json({"vocab_size": 9, "num_heads": 3, "hidden_dim": 48, name: value})


def test_the_largest_model_that_a_config_allows_has_a_cost():
    sizes = {name: option.high for name, option in options(ModelConfig).items() if option.high < math.inf}
    config = ModelConfig.from_json(sizes)
    assert num_parameters(config) > 0 and step_flops(config, 1_000_000) > 0 and config.mlp_dim > 0


@pytest.mark.parametrize("name", ["steps", "warmup_steps", "batch_size", "validation_every"])
def test_what_is_counted_in_a_training_has_a_bound(name):
    with pytest.raises(ConfigError, match="at most"):
        TrainConfig.from_json({name: 9_200_000_000_000_000_000})
