"""Probes of what a switch does, on models whose answer follows from theory."""

import dataclasses
import math

import numpy as np
import pytest

from support import tiny
from tlab import Checkpoint, TrainConfig, Trainer
from tlab.checks import random_model, silenced
from tlab.inside import PROBES, Subject
from tlab.inside.over_time import curves, over_time
from tlab.training.trainer import draw_batch

TEXT = "the quick b"


@pytest.fixture
def make(verse, rng):
    """A subject whose model has random weights, or those that `change` makes of them."""

    def subject(change=None, training=None, **fields):
        model = random_model(tiny(vocab_size=verse.tokenizer.vocab_size, context_length=12, **fields), rng)
        if change:
            change(model)
        weights = {name: param.data for name, param in model.parameters.items()}
        return Subject(Checkpoint(model.config, training or TrainConfig(), verse.describe(), 0, weights), TEXT, verse)

    return subject


def rows_of(name, subject, **options):
    return PROBES[name].from_json(options).rows(subject)


# ------------------------------------------------------------------------------------------------ the update


def test_the_update_of_one_gradient_under_sgd_has_the_singular_values_of_the_gradient(make, verse):
    subject = make(training=TrainConfig(optimizer="sgd", gradient_clip=0.0))
    batch = draw_batch(verse.train, 3, 12, 5, 0)
    _, gradients = subject.checkpoint.model().loss_and_gradients(*batch)
    for row in rows_of("update", subject, batches=1, batch_size=3, seed=5):
        values = np.linalg.svd(gradients[f"{row.part}.weight"], compute_uv=False)
        assert (row.largest, row.median, row.smallest) == pytest.approx(
            (values[0], values[len(values) // 2], values[-1]), rel=1e-6
        )
        assert row.evenness == pytest.approx((values**2).mean() / values[0] ** 2, rel=1e-6)


def test_under_muon_all_singular_values_are_near_one_times_the_factor_of_the_shape(make):
    for optimizer, is_even in (("muon", True), ("adamw", False), ("sgd", False)):
        rows = rows_of("update", make(training=TrainConfig(optimizer=optimizer)))
        assert {row.part[9:] for row in rows} == {"attention.qkv", "attention.out", "mlp.up", "mlp.down"}
        assert all((row.evenness > 0.5) == is_even for row in rows), optimizer
        if is_even:
            factors = {"attention.qkv": math.sqrt(3), "mlp.up": math.sqrt(30 / 12)}
            for row in rows:
                # But for attention.out: a norm takes one of its directions out again, which so has no gradient.
                factor = factors.get(row.part[9:], 1)
                assert 0.65 < row.median / factor <= row.largest / factor < 1.25


def test_the_update_is_without_weight_decay(make):
    subject = make(training=TrainConfig(weight_decay=10.0))
    checkpoint = dataclasses.replace(subject.checkpoint, train_config=TrainConfig(weight_decay=0.0))
    plain = Subject(checkpoint, TEXT, subject.given_corpus)
    assert rows_of("update", subject, batches=2) == rows_of("update", plain, batches=2)


# ------------------------------------------------------------------------------------------------ norms


def test_the_steepness_of_dyt_is_its_alpha(make):
    def set_alphas(model):
        for number, (name, param) in enumerate(model.parameters.items()):
            param.data[...] = number if name.endswith("alpha") else param.data

    subject = make(set_alphas, norm="dyt")
    alphas = [param.data[0] for name, param in subject.model.parameters.items() if name.endswith("alpha")]
    assert [row.steepness for row in rows_of("norms", subject)] == pytest.approx(alphas)


@pytest.mark.parametrize(("norm", "qk_norm"), [("rmsnorm", "rmsnorm"), ("rmsnorm", "none")])
def test_the_steepness_of_rmsnorm_is_one_over_the_size_of_what_it_reads(norm, qk_norm, make):
    def even(model):  # all tokens alike, so that the mean over them is the size of each
        model.parameters["embedding.weight"].data[...] = model.parameters["embedding.weight"].data[0]

    fields = {"norm": norm, "qk_norm": qk_norm, "num_heads": 1, "position": "none", "norm_epsilon": 1e-12}
    rows = rows_of("norms", make(even, **fields))
    assert [row.steepness * row.reads for row in rows] == pytest.approx([1.0] * len(rows))
    queries = [row.part for row in rows if row.part.endswith(("q_norm", "k_norm"))]
    assert len(queries) == (4 if qk_norm != "none" else 0)


def test_no_norm_multiplies_by_one_and_each_place_of_a_layout_has_a_row(make):
    rows = rows_of("norms", make(norm="none", residual="sandwich"))
    assert {row.steepness for row in rows} == {1.0}
    assert [row.part for row in rows][:4] == [
        "blocks.0.attention.norm_in",
        "blocks.0.attention.norm_out",
        "blocks.0.mlp.norm_in",
        "blocks.0.mlp.norm_out",
    ]
    assert rows[-1].part == "final_norm"


def test_listening_to_norms_leaves_the_model_as_it_is(make):
    subject = make()
    rows_of("norms", subject)
    assert len(rows_of("norms", subject)) == 5
    assert not any("forward" in vars(norm) for block in subject.model.blocks for norm in block.norms)


# ------------------------------------------------------------------------------------------------ sinks


def silence_queries(model):
    for name, param in model.parameters.items():
        if ".qkv." in name:
            param.data[..., : 2 * model.config.hidden_dim] = 0


def test_a_head_that_compares_nothing_leaves_one_part_of_its_weight_to_the_sink_and_one_to_each_token(make):
    subject = make(silence_queries, attention_softmax="plus_one", position="none")
    expected = np.mean([1 / (t + 2) for t in range(4, len(TEXT))])
    for row in rows_of("sinks", subject):
        assert (row.first, row.nowhere) == pytest.approx((expected, expected), rel=1e-6)


def test_the_usual_softmax_has_no_sink_and_a_large_logit_takes_all(make):
    assert [row.nowhere for row in rows_of("sinks", make())] == pytest.approx([0.0] * 6, abs=1e-6)

    def open_sinks(model):
        for name, param in model.parameters.items():
            param.data[...] = 50 if name.endswith(".sink") else param.data

    rows = rows_of("sinks", make(open_sinks, attention_softmax="sink"))
    assert [row.nowhere for row in rows] == pytest.approx([1.0] * 6) and max(row.first for row in rows) < 1e-9


def test_values_that_are_all_alike_have_the_length_of_the_first(make):
    def even(model):
        model.parameters["embedding.weight"].data[...] = model.parameters["embedding.weight"].data[0]

    assert [row.value for row in rows_of("sinks", make(even, position="none"))] == pytest.approx([1.0] * 6, rel=1e-5)


# ------------------------------------------------------------------------------------------------ log Z


def test_a_model_that_says_nothing_has_the_logarithm_of_the_vocabulary_as_log_z(make, verse):
    def close_head(model):
        model.parameters["head.weight"].data[...] = 0

    (row,) = rows_of("log_z", make(close_head, tied=False))
    expected = math.log(verse.tokenizer.vocab_size)
    assert row == pytest.approx((expected, expected, expected, 0.0, expected**2))


def test_log_z_makes_probabilities_of_logits(make):
    subject = make()
    (row,) = rows_of("log_z", subject)
    log_z = np.log(np.exp(subject.trace.logits[0].astype(float)).sum(-1))
    assert row == pytest.approx(
        (log_z.mean(), log_z.min(), log_z.max(), subject.trace.logits.mean(), (log_z**2).mean()), rel=1e-6
    )


# ------------------------------------------------------------------------------------------------ shortcuts


def test_where_sublayers_say_nothing_the_shortcut_carries_all(make):
    rows = rows_of("shortcuts", make(silenced, norm="none"))
    assert [row.carried for row in rows] == pytest.approx([1.0] * 4)


@pytest.mark.parametrize(("share", "carried"), [(1.0, 1.0), (0.0, 0.0)])
def test_a_value_residual_that_takes_all_or_nothing_carries_all_or_nothing(share, carried, make):
    def set_share(model):
        model.parameters["blocks.1.attention.value_mix"].data[...] = share

    rows = rows_of("shortcuts", make(set_share, value_residual=True, num_kv_heads=1))
    (row,) = [row for row in rows if row.part == "blocks.1.values"]
    assert row.weight == share
    assert row.carried == pytest.approx(carried, abs=1e-6)


def test_both_ways_add_up_to_the_sum(make):
    subject = make(residual="parallel")
    for row, block in zip(rows_of("shortcuts", subject)[:2], [subject.trace.blocks[0]] * 2, strict=True):
        residual = block.attention_residual if "attention" in row.part else block.mlp_residual
        y = residual.x + residual.added
        rest = ((residual.added * y).sum(-1) / (y * y).sum(-1)).mean()
        assert row.carried + rest == pytest.approx(1.0, rel=1e-5)


# ------------------------------------------------------------------------------------------------ over the training


@pytest.mark.parametrize(
    ("name", "column", "fields", "training"),
    [
        ("norms", "steepness", {"norm": "dyt"}, {}),
        ("sinks", "nowhere", {"attention_softmax": "sink"}, {}),
        ("log_z", "log_z", {}, {"z_loss": 0.1}),
        ("shortcuts", "carried", {"value_residual": True}, {}),
        ("update", "evenness", {}, {"optimizer": "muon"}),
    ],
)
def test_it_can_be_followed_as_lines_over_the_training(name, column, fields, training, verse):
    config = tiny(vocab_size=verse.tokenizer.vocab_size, **fields)
    trainer = Trainer(config, TrainConfig(steps=4, batch_size=4, validation_every=0, **training), verse)
    kept = [trainer.checkpoint()]
    for _ in trainer:
        kept.append(trainer.checkpoint())
    drawn = curves(over_time(kept, PROBES[name](), "the quick", verse), column)
    assert drawn.steps == [0, 1, 2, 3, 4]
    assert any(len(set(values)) > 1 for values in drawn.values.values())
