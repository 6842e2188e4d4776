"""Sweeps: which cells a grid has, how it is described, and which of its cells are one."""

import dataclasses
import json

import pytest

from support import FIRST_EDITION
from sweeps.grid.begin import BeginConfig, KnownText
from sweeps.grid.cell_id import HashedConfig, identify
from sweeps.grid.fields import GridError
from sweeps.grid.grid import Grid, cells_of, load_corpora
from sweeps.grid.parse import GRID_PRESETS, parse_grid
from sweeps.run.driver import run_sweep
from sweeps.run.train_cell import train_cell
from sweeps.store.folder import CELLS, Store
from tlab.config import options
from tlab.nn.activations import ACTIVATIONS, Gelu
from tlab.nn.config import ModelConfig
from tlab.nn.inits import INITS
from tlab.nn.norms import NORMS
from tlab.nn.params import ones
from tlab.nn.residuals import RESIDUALS, PreNorm
from tlab.training.config import TrainConfig
from tlab.training.optimizers import OPTIMIZERS
from tlab.training.schedules import SCHEDULES

# ------------------------------------------------------------------------------------------------ the grid


def test_axes_take_every_key_of_their_registry():
    grid = parse_grid(axes="norm,activation")
    assert grid.values == {"norm": tuple(NORMS), "activation": tuple(ACTIVATIONS)}


def test_an_activation_registered_at_run_time_is_in_the_grid(register):
    register(ACTIVATIONS, "identity", Gelu)
    assert "identity" in parse_grid(axes="activation").values["activation"]


def test_two_values_make_an_axis_and_one_fixes_the_field():
    grid = parse_grid(sets=["position=rope,alibi", "num_layers=3"])
    assert grid.axes == ("position",) and grid.values["num_layers"] == (3,)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("learning_rate=1,3e-2", (1.0, 0.03)),
        ("bias=true,no", (True, False)),
        ("norm=none", ("none",)),
        ("data_seed=none,4", (None, 4)),
    ],
)
def test_values_have_the_type_of_their_field(text, values):
    (found,) = parse_grid(sets=[text]).values.values()
    assert found == values and [type(v) for v in found] == [type(v) for v in values]


def test_every_config_field_can_be_set():
    for config in (ModelConfig, TrainConfig):
        for field in options(config):
            if field not in ("vocab_size", "seed"):
                default = config.__dataclass_fields__[field].default
                assert parse_grid(sets=[f"{field}={default}"]).values[field] == (default,)


def test_a_grid_comes_back_from_json_the_same():
    grid = parse_grid("norm", ["learning_rate=1e-3,1e-2", "data_seed=none,1"], seeds=2)
    assert Grid.from_json(json.loads(json.dumps(grid.to_json()))) == grid


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"axes": "nrom"}, "Did you mean 'norm'"),
        ({"axes": "learning_rate"}, "Allowed for --axes: "),
        ({"sets": ["postion=rope"]}, "Did you mean 'position'"),
        ({"sets": ["norm"]}, "--set norm=first,second"),
        ({"sets": ["norm="]}, "--set norm=first,second"),
        ({"sets": ["vocab_size=9"]}, "given by the corpus"),
        ({"sets": ["num_layers=2,2"]}, "2 twice"),
        ({"sets": ["learning_rate=1,1.0"]}, "1.0 twice"),
        ({"sets": ["norm=none"], "axes": "norm"}, "norm is given twice"),
        ({"sets": ["steps=3"], "steps": 4}, "steps is given twice"),
        ({"sets": ["seed=3,4"], "seeds": 2}, "both choose the seeds"),
        ({"seeds": 0}, "at least 1"),
        ({}, "or a preset: "),
    ],
)
def test_a_wrong_word_is_told_with_what_is_allowed(given, told):
    with pytest.raises(GridError) as error:
        parse_grid(**given)
    assert told in str(error.value)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"position": ("rop",)}, "Did you mean 'rope'"),
        ({"num_heads": (2, 3)}, "num_heads = 3: must divide"),
        ({"bias": ("maybe",)}, "bias = 'maybe': must be of type bool"),
        ({"learning_rate": (-1.0,)}, "must be more than 0"),
        ({"context_length": (10_000,)}, "take a longer text"),
        ({"corpus": ("nowhere",)}, "unknown corpus 'nowhere'"),
        ({"tokenizer": ("chars",)}, "Did you mean 'char'"),
        ({"seeds": (-1,)}, "seed = -1: must be at least 0"),
    ],
)
def test_a_value_that_cannot_be_is_told_before_anything_runs(small, values, told):
    with pytest.raises(GridError) as error:
        cells_of([small(**values)])
    assert told in str(error.value)


def test_every_different_complaint_is_told_once(small):
    with pytest.raises(GridError) as error:
        cells_of([small(num_heads=(2, 3, 5), norm=("layernorm", "rmsnorm"), seeds=(0, 1))])
    assert str(error.value).count("must divide") == 2


# ------------------------------------------------------------------------------------------------ ids and aliases

MODEL = ModelConfig(vocab_size=30)


def id_of(text=BeginConfig(), model=MODEL, train=TrainConfig(), sha256="0" * 64, begun=None):  # noqa: B008, all are frozen
    return identify(text, HashedConfig(model), HashedConfig(train), KnownText(sha256, 30, begun))


@pytest.mark.parametrize(
    "change",
    [
        {"model": dataclasses.replace(MODEL, norm="rmsnorm")},
        {"model": dataclasses.replace(MODEL, mlp_ratio=4.0)},
        {"train": TrainConfig(seed=1)},
        {"train": TrainConfig(data_seed=1)},
        {"train": TrainConfig(steps=999)},
        {"text": BeginConfig(tokenizer="byte")},
        {"sha256": "1" * 64},
    ],
)
def test_what_decides_the_numbers_decides_the_id(change):
    assert id_of(**change) != id_of()


@pytest.mark.parametrize(
    "change", [{"text": BeginConfig(corpus="elsewhere/verse.txt")}, {"train": TrainConfig(data_seed=0)}]
)
def test_what_does_not_decide_the_numbers_does_not_change_the_id(change):
    assert id_of(**change) == id_of()


class Mine(Gelu):
    """A class that is not the lab's."""


def test_the_id_of_a_foreign_part_changes_with_its_source(register):
    config = dataclasses.replace
    register(ACTIVATIONS, "mine", Mine)
    first = id_of(model=config(MODEL, activation="mine"))
    ACTIVATIONS.remove("mine")

    class Other(Gelu):
        """Another class by the same key."""

    ACTIVATIONS.add("mine", label="Mine")(Other)
    assert id_of(model=config(MODEL, activation="mine")) != first


ONE_AFTER_THE_OTHER = ("pre", "post", "sandwich", "inside")


def test_without_a_norm_all_layouts_of_sublayers_in_sequence_are_one_cell(small):
    cells = cells_of([small(norm=("none",), residual=ONE_AFTER_THE_OTHER)])
    assert [cell.alias_of for cell in cells] == [None] + [cells[0].cell_id] * (len(ONE_AFTER_THE_OTHER) - 1)


def test_with_a_norm_every_layout_is_its_own(small):
    norms = tuple(key for key, norm in NORMS.items() if norm.has_parameters)
    assert not any(cell.alias_of for cell in cells_of([small(norm=norms, residual=tuple(RESIDUALS))]))


def test_a_layout_that_is_another_function_without_a_norm_is_no_alias(small, register):
    class Half(PreNorm):
        """Keeps half of the stream."""

        def forward(self, x, attention, mlp):
            y, trace = super().forward(x, attention, mlp)
            return y - 0.5 * x, trace

    register(RESIDUALS, "half", Half)
    cells = cells_of([small(norm=("none",), residual=("pre", "half"))])
    assert [cell.alias_of for cell in cells] == [None, None]


def test_a_layout_with_weights_of_its_own_is_no_alias(small, register):
    class Gated(PreNorm):
        """Has a weight."""

        def __init__(self, space, name, branches, make_norm):
            super().__init__(space, name, branches, make_norm)
            self.gate = space.declare(f"{name}.gate", (1,), ones)

    register(RESIDUALS, "gated", Gated)
    cells = cells_of([small(norm=("none",), residual=("pre", "gated"))])
    assert [cell.alias_of for cell in cells] == [None, None]


ALIASES = [
    ({"norm": ("none",), "residual": ONE_AFTER_THE_OTHER}, len(ONE_AFTER_THE_OTHER) - 1),
    ({"norm": ("none",), "residual": ("pre", "parallel")}, 0),
    ({"norm": ("none", "layernorm"), "norm_epsilon": (1e-5, 1e-3)}, 1),
    ({"init": ("gpt2", "xavier"), "scale_residual": (True, False)}, 1),
    ({"mlp_ratio": (2.0, 2.01)}, 1),  # one width
    ({"optimizer": ("sgd", "adam"), "momentum": (0.5, 0.9)}, 1),
    ({"optimizer": ("sgd", "adam"), "beta1": (0.5, 0.9)}, 1),
    ({"optimizer": ("sgd", "adamw"), "beta2": (0.9, 0.99)}, 1),
    ({"optimizer": ("sgd", "adamw"), "epsilon": (1e-8, 1e-6)}, 1),
    ({"optimizer": ("adam", "adamw"), "weight_decay": (0.0, 0.1)}, 1),
    ({"schedule": ("constant", "cosine"), "min_learning_rate": (1e-4, 1e-3)}, 1),
    ({"min_learning_rate": (None, 1e-4), "learning_rate": (1e-3,)}, 1),
]


@pytest.mark.parametrize(("values", "number"), ALIASES, ids=["-".join(values) for values, _ in ALIASES])
def test_an_option_that_has_no_effect_makes_aliases_that_are_the_same_run_to_the_last_bit(small, values, number):
    grid = small(**{"num_layers": (2,), **values})
    cells, corpora = cells_of([grid]), load_corpora([grid])
    by_id = {cell.cell_id: cell for cell in cells}
    aliases = [cell for cell in cells if cell.alias_of]
    assert len(aliases) == number

    def curve(cell):
        return [point[1:] for point in train_cell(cell, corpora[cell.text]).curve]  # without its id

    for cell in aliases:
        assert curve(cell) == curve(by_id[cell.alias_of])


@pytest.mark.parametrize(
    "values",
    [
        {"norm": ("layernorm",), "norm_epsilon": (1e-5, 1e-3)},
        {"init": ("xavier",), "scale_residual": (True, False)},
        {"mlp_ratio": (2.0, 3.0)},
        {"optimizer": ("sgd",), "momentum": (0.5, 0.9)},
        {"optimizer": ("adam", "adamw"), "weight_decay": (0.1,)},
        {"optimizer": ("sgd", "adam"), "weight_decay": (0.0,)},
        {"schedule": ("linear", "cosine")},
        {"schedule": ("cosine",), "min_learning_rate": (1e-4, 1e-3)},
        {"warmup_steps": (0, 1)},
        {"data_seed": (1, 2)},
    ],
    ids=lambda values: "-".join(values),
)
def test_an_option_that_has_an_effect_makes_no_alias(small, values):
    assert not any(cell.alias_of for cell in cells_of([small(**values)]))


@pytest.mark.parametrize(
    ("registry", "parent", "method", "field", "values"),
    [
        (NORMS, NORMS["none"], "forward", "norm", {"norm_epsilon": (1e-5, 1e-3)}),
        (INITS, INITS["gpt2"], "residual", "init", {"scale_residual": (True, False)}),
        (SCHEDULES, SCHEDULES["constant"], "factor", "schedule", {"min_learning_rate": (1e-4, 1e-3)}),
        (OPTIMIZERS, OPTIMIZERS["adamw"], "step", "optimizer", {}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_a_class_states_is_not_about_a_child_that_computes_something_else(
    small, register, registry, parent, method, field, values
):
    register(registry, "mine", type("Child", (parent,), {method: vars(parent).get(method)}))
    keys = ("adam", "mine") if field == "optimizer" else ("mine",)
    cells = cells_of([small(**{field: keys, "weight_decay": (0.0,), **values})])
    assert [cell.alias_of for cell in cells] == [None, None]


def test_an_alias_is_not_trained_but_has_its_row_and_the_numbers(small, folder):
    result = run_sweep(small(norm=("none",), residual=("pre", "post")), Store(folder))
    first, alias = result.table.rows
    assert len(list((folder / CELLS).iterdir())) == 1
    assert alias["alias_of"] == first["cell_id"] and alias["val_loss"] == first["val_loss"]


# ------------------------------------------------------------------------------------------------ files


@pytest.fixture
def toml(tmp_path):
    """Writes a sweep file and gives its path."""

    def write(text):
        path = tmp_path / "mine.toml"
        path.write_text(text, encoding="utf-8")
        return str(path)

    return write


def test_a_file_says_the_same_as_words(toml):
    path = toml('axes = ["norm"]\nseeds = 2\n[set]\nposition = ["rope", "alibi"]\nlearning_rate = 1\n')
    assert parse_grid(base=path) == parse_grid("norm", ["position=rope,alibi", "learning_rate=1"], seeds=2)


def test_words_take_the_place_of_what_a_file_says(toml):
    path = toml('axes = ["norm"]\nseeds = 2\n[set]\nsteps = 7\n')
    grid = parse_grid(sets=["norm=none"], seeds=3, steps=9, base=path)
    assert grid == Grid({"norm": ("none",), "steps": (9,)}, (0, 1, 2))


def test_quick_and_default_are_the_first_editions_full_grid_and_no_part_makes_them_longer():
    for name in ("quick", "default"):
        grid = parse_grid(base=name)
        chosen = [grid.values[field] for field in ("norm", "activation", "residual")]
        assert chosen == [tuple(FIRST_EDITION[slot]) for slot in ("norm", "activation", "residual")]
    assert len(parse_grid(base="default").seeds) == 3


@pytest.mark.parametrize("name", GRID_PRESETS)
def test_every_preset_can_be_trained(name):
    assert cells_of([parse_grid(base=name)])


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("axis = ['norm']", "Did you mean 'axes'"),
        ("[set]\nnrom = 'none'", "Did you mean 'norm'"),
        ("axes = ['norm']\n[set]\nnorm = 'none'", "norm is given twice"),
        ("seeds = 2\n[set]\nseed = 3", "seed is given twice"),
        ("seeds = 0", "at least 1"),
        ("axes = 'norm'", "axes must be a list"),
        ("axes = ['learning_rate']", "not in a registry"),
        ("[set]\nnorm = []", "no value"),
        ("axes = [", "cannot be read as TOML"),
    ],
)
def test_a_wrong_file_is_told_with_what_is_allowed(toml, text, told):
    with pytest.raises(GridError) as error:
        parse_grid(base=toml(text))
    assert told in str(error.value)


def test_a_preset_that_is_none_is_told_with_the_nearest():
    with pytest.raises(GridError, match="Did you mean 'quick'"):
        parse_grid(base="quik")


def test_a_grid_of_millions_is_refused_at_once():
    many = tuple(range(1, 2001))
    with pytest.raises(GridError, match="2000 steps x 2000 warmup_steps x 1 seeds are 4,000,000 cells"):
        Grid({"steps": many, "warmup_steps": many})
