"""Dropout: its mask, its gradient, and where it is on and off."""

import dataclasses

import numpy as np
import pytest

from support import tiny
from tlab import ConfigError, TrainConfig, Trainer
from tlab.checks import GRADIENT_LIMIT, directional_error, random_model
from tlab.generate import generate_tokens
from tlab.nn.residuals import RESIDUALS
from tlab.training.config import ComputeConfig
from tlab.training.dropout import Dropout
from tlab.training.parallel import BatchThreads
from tlab.training.trainer import evaluate

DROPOUT = Dropout(0.4, seed=3, step=5)
TRAINING = TrainConfig(steps=4, batch_size=6, warmup_steps=0, validation_every=2, dropout=0.4)


@pytest.fixture
def batch(rng):
    return rng.integers(0, 11, (2, 5, 8))


def trainer_on(corpus, training=TRAINING, **options):
    return Trainer(tiny(vocab_size=corpus.tokenizer.vocab_size), training, corpus, **options)


# ------------------------------------------------------------------------------------------------ the mask


def test_each_number_is_dropped_or_made_larger_and_the_share_is_the_rate():
    left = DROPOUT("embedded", np.ones((20, 50, 50)))
    assert set(left.ravel()) == {0.0, 1 / 0.6}
    assert (left == 0).mean() == pytest.approx(0.4, abs=0.01)  # 4.5 standard errors


def test_over_many_steps_the_mean_is_what_there_is_without(rng):
    x = rng.normal(1, 1, (2, 3, 4))
    mean = np.mean([Dropout(0.4, 0, step)("embedded", x) for step in range(4000)], axis=0)
    assert mean == pytest.approx(x, abs=0.07 * np.abs(x).max())  # 5.4 standard errors


def test_it_is_drawn_by_seed_step_and_place_alone():
    x = np.ones((2, 4, 6))
    assert (DROPOUT("embedded", x) == DROPOUT("embedded", 2 * x) / 2).all()
    others = [
        dataclasses.replace(DROPOUT, seed=4)("embedded", x),
        dataclasses.replace(DROPOUT, step=6)("embedded", x),
        DROPOUT("blocks.0.mlp", x),
    ]
    assert not any((DROPOUT("embedded", x) == other).all() for other in others)


def test_a_sequence_is_dropped_alike_in_a_whole_batch_and_in_a_piece():
    x = np.ones((5, 3, 7))
    assert (DROPOUT("embedded", x)[2:4] == DROPOUT.from_row(2)("embedded", x[2:4])).all()


def test_it_keeps_float32_and_what_it_was_given():
    x = np.ones((2, 3, 4), np.float32)
    x.setflags(write=False)
    assert DROPOUT("embedded", x).dtype == np.float32


# ------------------------------------------------------------------------------------------------ the gradient


@pytest.mark.parametrize("position", ["learned", "rope"])
@pytest.mark.parametrize("residual", RESIDUALS)
def test_the_gradient_is_the_slope_of_the_loss_with_the_same_mask(residual, position, batch, rng):
    model = random_model(tiny(residual=residual, position=position), rng)
    space, (ids, targets) = model.parameters, batch

    def loss(weights):
        space.data[...] = weights
        return model.loss.forward(model.forward(ids, drop=DROPOUT)[0], targets)[0]

    space.grad[...] = 0
    model.accumulate_gradients(ids, targets, drop=DROPOUT)
    weights, gradient = space.data.copy(), space.grad.copy()
    assert directional_error(loss, weights, gradient, rng) < GRADIENT_LIMIT
    for name, part in space.split(gradient).items():
        alone = np.zeros_like(gradient)
        space.split(alone)[name][...] = part
        here = space.split(weights)[name].copy()

        def loss_of(values, name=name):
            changed = weights.copy()
            space.split(changed)[name][...] = values
            return loss(changed)

        assert directional_error(loss_of, here, part, rng) < GRADIENT_LIMIT, name


@pytest.mark.parametrize(
    "compute",
    [ComputeConfig(threads=2), ComputeConfig(threads=1, micro_batches=5), ComputeConfig(threads=1, recompute=True)],
    ids=str,
)
def test_threads_pieces_and_recomputed_blocks_drop_what_the_whole_batch_does(compute, batch, rng):
    model = random_model(tiny(), rng)
    found = []
    for how in (ComputeConfig(threads=1), compute):
        model.parameters.grad[...] = 0
        loss = BatchThreads(model, how).accumulate_gradients(*batch, DROPOUT)
        found.append((loss, model.parameters.grad.copy()))
    (whole, gradient), (parts, others) = found
    assert parts == pytest.approx(whole)
    assert others == pytest.approx(gradient, rel=1e-9, abs=1e-12)


# ------------------------------------------------------------------------------------------------ on and off


def test_a_step_trains_with_it(verse):
    plain, dropped = (
        trainer_on(verse, dataclasses.replace(TRAINING, dropout=rate)).train_step() for rate in (0.0, 0.4)
    )
    assert plain.loss != dropped.loss


def test_validation_and_generation_are_those_of_the_same_weights_without_it(verse):
    trainer = trainer_on(verse)
    last = list(trainer)[-1]
    model = trainer.checkpoint().model()  # which knows nothing of it
    assert last.validation_loss == evaluate(model, verse.validation)
    texts = [[*map(str, generate_tokens(one, verse.tokenizer, "a", seed=1))] for one in (trainer.model, model)]
    assert texts[0] == texts[1]


@pytest.mark.parametrize("rate", [1.0, 2.0, -0.1])
def test_what_would_leave_nothing_is_refused_in_words(rate):
    with pytest.raises(ConfigError, match=f"dropout = {rate}: must be at least 0 and at most 0.99"):
        TrainConfig(dropout=rate)
