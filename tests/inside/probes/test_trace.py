"""The two passes as tables: which numbers of an array are told, and one token's way through all of them."""

import numpy as np
import pytest

from support import tiny
from tlab import Checkpoint, TrainConfig
from tlab.checks import random_model
from tlab.inside import Subject, probe
from tlab.inside.probes.trace import at_place, full_trace, kind_of, origin, rms
from tlab.nn.residuals import RESIDUALS

TEXT = "the quick"


@pytest.fixture
def make(verse, rng):
    def make(**changes):
        model = random_model(tiny(vocab_size=verse.tokenizer.vocab_size, context_length=16, **changes), rng)
        weights = {name: param.data for name, param in model.parameters.items()}
        return Checkpoint(model.config, TrainConfig(), verse.describe(), 0, weights)

    return make


@pytest.fixture
def subject(make, verse):
    return Subject(make(), TEXT, verse)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("blocks.1.attention.scores.gradient", "attention.scores"),
        ("blocks.0.mlp.up", "mlp.up"),
        ("embedded", "embedded"),
        ("logits.gradient", "logits"),
    ],
)
def test_arrays_of_one_kind_have_one_name_without_layer_and_pass(name, kind):
    assert kind_of(name) == kind


def test_the_numbers_of_an_array_are_those_of_its_finite_entries(subject):
    arrays = full_trace(subject.checkpoint.model(), subject.ids).arrays
    rows = {row.name: row for row in probe("trace", subject.checkpoint, TEXT)}
    assert list(rows) == list(arrays)
    for name in ("embedded", "blocks.1.attention.masked", "blocks.0.attention.weights", "logits.gradient"):
        finite = arrays[name][np.isfinite(arrays[name])]
        row = rows[name]
        assert (row.mean, row.deviation) == pytest.approx((finite.mean(), finite.std()))
        assert (row.low, row.high, row.zeros) == (finite.min(), finite.max(), np.mean(finite == 0))
    assert rows["blocks.0.attention.weights"].shape == "1 x 3 x 8 x 8"
    assert rows["blocks.0.attention.weights"].zeros == pytest.approx(28 / 64)  # above the diagonal


def test_a_gradient_is_told_as_one(subject):
    forward, backward = probe("trace", subject.checkpoint, TEXT, name="blocks.0.mlp.hidden")
    assert backward.equation == rf"\partial \mathcal{{L}} / \partial({forward.equation})"
    assert backward.line == forward.line


def test_the_numbers_of_one_token_are_those_of_all_heads_or_channels():
    by_head, by_channel = np.arange(24).reshape(1, 2, 4, 3), np.arange(12).reshape(1, 4, 3)
    assert at_place(by_head, 1).tolist() == [3, 4, 5, 15, 16, 17]
    assert at_place(by_channel, 2).tolist() == [6, 7, 8]


def test_the_root_mean_square_of_nothing_is_nothing():
    assert rms(np.array([])) == 0.0
    assert rms(np.array([3.0, 4.0], np.float32)) == pytest.approx(np.sqrt(12.5))


def test_a_walk_shows_the_first_four_numbers_their_size_and_that_of_the_gradient(subject):
    arrays = full_trace(subject.checkpoint.model(), subject.ids).arrays
    rows = probe("walk", subject.checkpoint, TEXT, place=2)
    first, second, last = rows[0], rows[1], rows[-1]
    assert (first.numbers, first.size, first.gradient) == (str(subject.ids[2]), 0.0, 0.0)
    assert first.what == f"the token e has the id {subject.ids[2]}"
    there = arrays["embedded"][0, 2]
    assert second.numbers == " ".join(f"{value:.3f}" for value in there[:4]) + " ..."
    assert second.size == pytest.approx(np.sqrt(np.mean(there**2)))
    assert second.gradient == pytest.approx(np.sqrt(np.mean(arrays["embedded.gradient"][0, 2] ** 2)))
    assert (last.name, last.what, last.gradient) == ("loss", "-log p of ␣, which follows", 1.0)
    assert last.numbers == f"{last.size:.3f}"
    assert {row.name: row.gradient for row in rows}["probabilities"] == 0.0  # the one array without a gradient
    masked = {row.name: row for row in rows}["blocks.0.attention.masked"]
    assert "-inf" in masked.numbers and np.isfinite(masked.size)


def test_a_token_can_be_followed_up_to_the_last_but_one(subject):
    rows = probe("walk", subject.checkpoint, TEXT, place=len(TEXT) - 2)
    assert rows[-1].what == "-log p of k, which follows"


def test_a_layout_without_source_has_an_equation_and_no_line(register):
    namespace = {"Layout": RESIDUALS["pre"]}
    exec(
        "class Typed(Layout):\n    'A layout that was typed in.'\n    def forward(self, x, *parts): return x", namespace
    )
    register(RESIDUALS, "typed", namespace["Typed"])
    equation, line = origin("mlp.added", "typed")
    assert "what it adds to the stream" in equation and line == ""


def equations(checkpoint):
    return {row.name: row.equation for row in probe("trace", checkpoint, TEXT)}


def test_the_equations_are_those_of_the_models_own_parts(make):
    plain = equations(make(position="sinusoidal", activation="gelu"))
    assert plain["blocks.0.attention.queries"] == "Q = h W_Q + b_Q" and plain["embedded"].endswith(" + p_t")
    assert plain["blocks.0.mlp.hidden"] == r"\phi(h W_\mathrm{up} + b_\mathrm{up})"
    other = equations(make(position="rope", activation="swiglu", bias=False, tied=False))
    assert other["blocks.0.attention.queries"] == r"Q = \mathrm{rotated}(h W_Q)" and "p_t" not in other["embedded"]
    assert other["blocks.0.mlp.hidden"] == r"\phi(h W_\mathrm{gate}) \odot (h W_\mathrm{up})"
    assert other["logits"] == "z = x U" and plain["logits"] == r"z = x E^\top"
    mixed = equations(make(value_residual=True))
    assert mixed["blocks.0.attention.values"] == "V = h W_V + b_V" and "V_" in mixed["blocks.1.attention.values"]


def test_a_gated_units_value_is_what_its_equation_says(make):
    checkpoint = make(activation="swiglu")
    arrays = full_trace(checkpoint.model(), checkpoint.tokenizer.encode(TEXT)).arrays
    up, gate = arrays["blocks.0.mlp.up"], arrays["blocks.0.mlp.gate"]
    np.testing.assert_allclose(arrays["blocks.0.mlp.hidden"], gate / (1 + np.exp(-gate)) * up, rtol=1e-4, atol=1e-6)


def test_a_terminal_has_equations_as_people_type_them(make):
    assert "\\" not in repr(probe("walk", make(activation="swiglu"), TEXT))
