"""Training: repeatable to the bit, honest about its end, and interruptible."""

import dataclasses
import itertools
import os
import signal
import threading
import time

import numpy as np
import pytest

from support import tiny
from tlab import Checkpoint, CheckpointError, ConfigError, ModelConfig, TrainConfig, Trainer, Transformer
from tlab.nn.loss import CrossEntropy
from tlab.text import CharTokenizer, corpus_from_text
from tlab.training.moving_average import place_of_average
from tlab.training.optimizers import OPTIMIZERS
from tlab.training.trainer import Batch, defer_interrupt, draw_batch, evaluate, evaluation_batches

QUICK = TrainConfig(steps=8, batch_size=3, validation_every=4, warmup_steps=2)


def model_for(corpus, **changes):
    return tiny(vocab_size=corpus.tokenizer.vocab_size, **changes)


def numbers(records):
    """All of the records but the seconds, which no seed decides."""
    return [record._replace(seconds=0.0) for record in records]


def test_iterating_yields_one_record_an_update(verse):
    trainer = Trainer(model_for(verse), QUICK, verse)
    records = list(trainer)
    assert [record.step for record in records] == list(range(1, 9))
    assert [record.step for record in records if record.validation_loss is not None] == [4, 8]
    assert [record.tokens for record in records] == [24 * i for i in range(1, 9)]
    assert all(a.seconds < b.seconds for a, b in itertools.pairwise(records))
    assert all(record.gradient_norm > 0 for record in records)
    assert records[0].learning_rate == pytest.approx(QUICK.learning_rate / 3)
    assert trainer.finished


def test_the_default_run_validates_the_last_step_whatever_the_interval(verse):
    config = dataclasses.replace(QUICK, validation_every=0)
    records = list(Trainer(model_for(verse), config, verse))
    assert [record.step for record in records if record.validation_loss is not None] == [8]


def test_same_seed_same_bits(verse):
    one, other = (Trainer(model_for(verse), QUICK, verse) for _ in range(2))
    assert numbers(one) == numbers(other)
    assert (one.model.parameters.data == other.model.parameters.data).all()


def test_another_seed_gives_other_weights_and_other_batches(verse):
    one = Trainer(model_for(verse), QUICK, verse)
    other = Trainer(model_for(verse), dataclasses.replace(QUICK, seed=1), verse)
    assert (one.model.parameters.data != other.model.parameters.data).any()
    assert (draw_batch(verse.train, 3, 8, 0, 1).ids != draw_batch(verse.train, 3, 8, 1, 1).ids).any()


def test_a_data_seed_of_its_own_keeps_the_batches_while_the_weights_change(verse):
    one = Trainer(model_for(verse), dataclasses.replace(QUICK, seed=1, data_seed=0), verse)
    other = Trainer(model_for(verse), dataclasses.replace(QUICK, seed=2, data_seed=0), verse)
    assert one.train_config.batch_seed == other.train_config.batch_seed == 0
    assert (one.model.parameters.data != other.model.parameters.data).any()


def test_a_batch_holds_sequences_of_the_text_and_what_follows_each_token(verse):
    text = verse.tokenizer.decode(verse.train)
    batch = draw_batch(verse.train, 5, 8, seed=0, step=3)
    assert batch.ids.shape == batch.targets.shape == (5, 8)
    for ids, targets in zip(batch.ids, batch.targets, strict=True):
        assert verse.tokenizer.decode(ids) + verse.tokenizer.decode(targets[-1:]) in text
        assert (ids[1:] == targets[:-1]).all()


def test_a_batch_depends_on_seed_and_step_alone(verse):
    batches = {(seed, step): draw_batch(verse.train, 5, 8, seed, step).ids for seed in (0, 1) for step in (1, 2)}
    assert (draw_batch(verse.train, 5, 8, 0, 1).ids == batches[0, 1]).all()
    assert len({ids.tobytes() for ids in batches.values()}) == 4


@pytest.mark.parametrize(
    "changes", [*({"optimizer": key} for key in OPTIMIZERS), {"dropout": 0.3}, {"ema_decay": 0.9}], ids=str
)
@pytest.mark.parametrize("stop_after", [1, 5])
def test_resume_continues_bit_by_bit(changes, stop_after, verse, tmp_path):
    config = dataclasses.replace(QUICK, **changes)
    whole = Trainer(model_for(verse), config, verse)
    list(whole)

    part = Trainer(model_for(verse), config, verse)
    for record in part:
        if record.step == stop_after:
            break
    part.checkpoint().save(tmp_path)
    resumed = Trainer.resume(Checkpoint.load(tmp_path), verse)
    assert resumed.step == stop_after
    list(resumed)
    assert numbers(resumed.records) == numbers(whole.records)
    assert (resumed.model.parameters.data == whole.model.parameters.data).all()
    assert (resumed.result.parameters.data == whole.result.parameters.data).all()


@pytest.mark.parametrize("changes", [{}, {"ema_decay": 0.9}], ids=str)
def test_a_run_begins_with_a_checkpoints_weights_and_says_so_and_is_resumed_like_any(changes, verse, tmp_path):
    first = Trainer(model_for(verse), QUICK, verse)
    list(first)
    config, start = dataclasses.replace(QUICK, **changes), first.checkpoint()
    whole = Trainer.start_from(start, config, verse, name="first")
    assert whole.step == 0 and not whole.records
    for model in (whole.model, whole.result):
        assert all((model.parameters[name].data == start.weights[name]).all() for name in start.weights)
    said = {"name": "first", "step": first.step, "sha256": start.weights_sha256}
    assert whole.started_from == said
    list(whole)
    assert (whole.model.parameters.data != first.model.parameters.data).any()

    part = Trainer.start_from(start, config, verse, name="first")
    for record in part:
        if record.step == 2:
            break
    part.checkpoint().save(tmp_path)
    resumed = Trainer.resume(Checkpoint.load(tmp_path), verse)
    list(resumed)
    assert numbers(resumed.records) == numbers(whole.records)
    assert (resumed.result.parameters.data == whole.result.parameters.data).all()
    assert resumed.checkpoint().started_from == said


def test_a_run_that_starts_from_a_checkpoint_keeps_its_tokenizer(verse):
    start = Trainer(model_for(verse), QUICK, verse).checkpoint()
    other = corpus_from_text("another text altogether " * 30)
    with pytest.raises(CheckpointError, match="another tokenizer"):
        Trainer.start_from(start, QUICK, other)
    Trainer.start_from(start, QUICK, corpus_from_text("the lazy dog " * 30, tokenizer=verse.tokenizer))


def test_the_result_is_the_average_of_the_weights_after_each_step_and_they_are_what_they_are_without_it(verse):
    averaged = Trainer(model_for(verse), dataclasses.replace(QUICK, ema_decay=0.8), verse)
    plain = Trainer(model_for(verse), QUICK, verse)
    weights = []
    for _ in zip(averaged, plain, strict=True):
        weights.append(plain.model.parameters.data.copy())
        assert (averaged.model.parameters.data == weights[-1]).all()
        expected = weights[0]
        for later in weights[1:]:
            expected = 0.8 * expected + 0.2 * later
        assert averaged.result.parameters.data == pytest.approx(expected, rel=1e-5, abs=1e-7)
        assert averaged.result.parameters.data.dtype == np.float32


def test_the_average_is_what_is_validated_kept_and_generated_from(verse, tmp_path):
    averaged = Trainer(model_for(verse), dataclasses.replace(QUICK, ema_decay=0.8, learning_rate=0.03), verse)
    last = list(averaged)[-1]
    assert (
        last.validation_loss
        == evaluate(averaged.result, verse.validation)
        != evaluate(averaged.model, verse.validation)
    )
    averaged.checkpoint().save(tmp_path)
    kept = Checkpoint.load(tmp_path)
    assert (kept.model().parameters.data == averaged.result.parameters.data).all()
    assert (kept.optimizer_state["live_weights"] == averaged.model.parameters.data).all()


def test_without_an_average_the_result_is_the_live_model(verse):
    trainer = Trainer(model_for(verse), QUICK, verse)
    assert trainer.result is trainer.model and "live_weights" not in trainer.checkpoint().optimizer_state


def test_a_checkpoint_is_not_changed_by_later_steps(verse):
    trainer = Trainer(model_for(verse), QUICK, verse)
    trainer.train_step()
    checkpoint = trainer.checkpoint()
    before = {name: array.copy() for name, array in {**checkpoint.weights, **checkpoint.optimizer_state}.items()}
    list(trainer)
    assert len(checkpoint.records) == 1
    for name, array in {**checkpoint.weights, **checkpoint.optimizer_state}.items():
        assert (array == before[name]).all()


def test_resuming_on_another_text_is_refused(verse):
    checkpoint = Trainer(model_for(verse), QUICK, verse).checkpoint()
    with pytest.raises(CheckpointError, match="was trained on corpus 'verse'"):
        Trainer.resume(checkpoint, corpus_from_text("another text altogether " * 30))


def test_resuming_on_another_text_of_the_same_characters_is_refused(verse):
    checkpoint = Trainer(model_for(verse), QUICK, verse).checkpoint()
    text = verse.tokenizer.alphabet * 30
    with pytest.raises(CheckpointError, match="was trained on corpus 'verse'"):
        Trainer.resume(checkpoint, corpus_from_text(text, tokenizer=verse.tokenizer))


def test_resuming_on_the_same_text_with_another_tokenizer_is_refused(verse):
    checkpoint = Trainer(model_for(verse), QUICK, verse).checkpoint()
    other = dataclasses.replace(verse, tokenizer=CharTokenizer(verse.tokenizer.alphabet + "\U0001f642"))
    with pytest.raises(CheckpointError, match="with its tokenizer"):
        Trainer.resume(checkpoint, other)


@pytest.mark.parametrize(("every", "steps"), [(1, [1, 2, 3, 4, 5]), (2, [2, 4, 5]), (5, [5]), (9, [5])])
def test_a_validation_comes_every_so_many_steps_and_at_the_end(every, steps, verse):
    records = Trainer(model_for(verse), TrainConfig(steps=5, batch_size=1, validation_every=every), verse)
    assert [record.step for record in records if record.validation_loss is not None] == steps


def test_a_gradient_that_is_not_finite_is_seen_first_in_the_last_parameter_of_the_reading_order(verse):
    trainer = Trainer(model_for(verse), QUICK, verse)
    batch, parameters = Batch(np.zeros((1, 8)), np.zeros((1, 8))), trainer.model.parameters
    assert trainer.find_divergence(3, 1.0, np.inf, batch).where == "gradient norm"  # each is finite, all together not
    for name in ("blocks.0.mlp.up.weight", "blocks.1.mlp.up.weight", "blocks.1.attention.out.weight"):
        parameters[name].grad[0] = np.nan
    found = trainer.find_divergence(3, 1.0, np.nan, batch)
    assert found == (3, "gradient of blocks.1.mlp.up.weight", "the gradient norm is nan")


def test_the_whole_validation_split_is_evaluated_each_token_once(verse):
    """Against one window after the other, by hand; the last one is shorter."""
    model = Transformer(model_for(verse), dtype=np.float64)
    tokens = verse.validation[:30]
    total = 0.0
    for start in range(0, 29, 8):
        window = tokens[start : start + 9]
        total += CrossEntropy.forward(model.forward(window[None, :-1])[0], window[None, 1:])[0] * (len(window) - 1)
    assert evaluate(model, tokens) == pytest.approx(total / 29)


@pytest.mark.parametrize("length", [2, 8, 9, 10, 17])
def test_texts_of_every_length_can_be_evaluated(length, verse):
    assert np.isfinite(evaluate(Transformer(model_for(verse)), verse.validation[:length]))


def test_about_four_thousand_tokens_are_read_at_once_and_the_rest_by_itself():
    batches = evaluation_batches(np.arange(10_000), 64)
    assert [batch.ids.shape for batch in batches] == [(64, 64), (64, 64), (28, 64), (1, 15)]
    assert np.concatenate([batch.targets.ravel() for batch in batches]).tolist() == list(range(1, 10_000))


def test_every_token_but_the_first_is_predicted_once_whatever_the_length():
    for length in range(2, 20):
        targets = [batch.targets.ravel() for batch in evaluation_batches(np.arange(length), 8)]
        assert np.concatenate(targets).tolist() == list(range(1, length))


def test_a_window_longer_than_that_is_read_alone():
    assert [batch.ids.shape for batch in evaluation_batches(np.arange(10_001), 5000)] == [(1, 5000), (1, 5000)]


def test_a_text_with_nothing_to_predict_cannot_be_evaluated(verse):
    with pytest.raises(ValueError, match="give at least 2"):
        evaluate(Transformer(model_for(verse)), verse.validation[:1])


# --- divergence ---


def test_nan_ends_the_run_with_its_step_and_the_layer_where_it_appeared(verse):
    trainer = Trainer(model_for(verse), QUICK, verse)
    trainer.train_step()
    trainer.model.parameters["blocks.1.mlp.up.weight"].data[0, 0] = np.nan
    (last,) = list(trainer)
    assert last.divergence is not None
    assert (last.step, last.divergence.step, last.divergence.where) == (2, 2, "blocks.1.mlp.up")
    assert str(last.divergence) == "diverged at step 2: the loss is nan; first seen in blocks.1.mlp.up"
    assert trainer.finished
    assert trainer.step == 1  # the second update was not made


@pytest.mark.filterwarnings("error")
def test_a_real_run_away_is_told_and_not_warned_about(verse):
    config = dataclasses.replace(QUICK, optimizer="sgd", learning_rate=1e4, gradient_clip=0, steps=50, warmup_steps=0)
    trainer = Trainer(model_for(verse, norm="none", activation="relu"), config, verse)
    records = list(trainer)
    assert len(records) < 50
    assert records[-1].divergence is not None
    assert records[-1].validation_loss is None
    assert np.isfinite(trainer.model.parameters.data).all()


def test_an_infinite_gradient_ends_the_run_before_it_reaches_the_weights(verse, monkeypatch):
    trainer = Trainer(model_for(verse), QUICK, verse)
    usual = trainer.model.accumulate_gradients

    def overflowing(*batch):
        result = usual(*batch)
        trainer.model.parameters["blocks.0.mlp.up.weight"].grad[0, 0] = np.inf
        return result

    monkeypatch.setattr(trainer.model, "accumulate_gradients", overflowing)
    (record,) = list(trainer)
    assert record.divergence.where == "gradient of blocks.0.mlp.up.weight"
    assert np.isfinite(trainer.model.parameters.data).all()


def test_weights_that_the_very_last_update_makes_infinite_are_a_divergence_too(verse, monkeypatch):
    trainer = Trainer(model_for(verse), dataclasses.replace(QUICK, steps=2, validation_every=0), verse)
    scale = trainer.model.parameters["blocks.0.norm2.scale"].data
    steps = iter([trainer.optimizer.step, lambda space, rate: scale.fill(np.inf)])
    monkeypatch.setattr(trainer.optimizer, "step", lambda space, rate: next(steps)(space, rate))
    first, last = list(trainer)
    assert last.validation_loss is None and last.divergence.where == "blocks.0.norm2.scale"
    assert trainer.records == [first, last] and first.divergence is None and last.step == 2


def test_a_loss_above_the_limit_ends_the_run(verse):
    (record,) = list(Trainer(model_for(verse), dataclasses.replace(QUICK, max_loss=0.5), verse))
    assert "above max_loss = 0.5" in str(record.divergence)


def test_a_diverged_run_stays_ended_after_a_resume(verse, tmp_path):
    trainer = Trainer(model_for(verse), dataclasses.replace(QUICK, max_loss=0.5), verse)
    list(trainer)
    trainer.checkpoint().save(tmp_path)
    resumed = Trainer.resume(Checkpoint.load(tmp_path), verse)
    assert resumed.divergence == trainer.divergence
    assert list(resumed) == []


# --- Ctrl-C ---


@pytest.fixture(autouse=True)
def usual_handling_of_ctrl_c():
    """A shell that starts a process in the background has it ignore Ctrl-C; here it counts."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_in_an_update_waits_until_it_is_whole():
    done = []

    def update():
        with defer_interrupt():
            os.kill(os.getpid(), signal.SIGINT)
            done.append("update")

    with pytest.raises(KeyboardInterrupt):
        update()
    assert done == ["update"]


def test_ctrl_c_during_training_leaves_a_checkpoint_that_goes_on_as_if_nothing_had_been(verse):
    whole = Trainer(model_for(verse), QUICK, verse)
    list(whole)
    trainer = Trainer(model_for(verse), QUICK, verse)
    update = trainer.optimizer.step

    def interrupted_update(space, learning_rate):
        if trainer.step == 3:
            os.kill(os.getpid(), signal.SIGINT)
        update(space, learning_rate)

    trainer.optimizer.step = interrupted_update
    with pytest.raises(KeyboardInterrupt):
        list(trainer)
    resumed = Trainer.resume(trainer.checkpoint(), verse)
    list(resumed)
    assert (resumed.model.parameters.data == whole.model.parameters.data).all()
    assert len(resumed.records) == len(whole.records)


def test_ctrl_c_during_a_validation_is_heard_at_once_and_the_validation_made_up_for(verse, monkeypatch):
    whole = Trainer(model_for(verse), QUICK, verse)
    list(whole)
    trainer = Trainer(model_for(verse), QUICK, verse)

    def interrupted_evaluation(model, tokens, **options):
        os.kill(os.getpid(), signal.SIGINT)
        raise AssertionError("the evaluation went on")

    with monkeypatch.context() as patch:
        patch.setattr("tlab.training.trainer.evaluate", interrupted_evaluation)
        with pytest.raises(KeyboardInterrupt):
            list(trainer)
    assert trainer.step == 4
    resumed = Trainer.resume(trainer.checkpoint(), verse)
    list(resumed)
    assert numbers(resumed.records) == numbers(whole.records)


def test_training_works_outside_the_main_thread(verse):
    trainer = Trainer(model_for(verse), QUICK, verse)
    thread = threading.Thread(target=lambda: list(trainer))
    thread.start()
    thread.join()
    assert trainer.finished


# --- what cannot be trained ---


def test_a_vocabulary_that_is_not_the_corpuss_is_refused(verse):
    with pytest.raises(ConfigError, match=r"vocab_size = 65: corpus 'verse' has a vocabulary of \d+"):
        Trainer(ModelConfig(65), QUICK, verse)


def test_a_text_shorter_than_one_sequence_is_refused_with_the_longest_context_it_allows():
    corpus = corpus_from_text("abcdefghijklmnopqrstuvwxyz", name="alphabet")
    with pytest.raises(ConfigError, match=r"24 tokens to train on, .* or a context of at most 23"):
        Trainer(ModelConfig(26, context_length=24), QUICK, corpus)
    list(Trainer(ModelConfig(26, context_length=23), QUICK, corpus))


def test_a_subclass_sees_the_clipped_gradient_and_the_weights_before_the_update(verse):
    seen = []

    class Watching(Trainer):
        def observe(self, step, gradient_norm, batch):
            space = self.model.parameters
            seen.append((step, gradient_norm, float(np.linalg.norm(space.grad)), space.data.copy(), batch))

    config = TrainConfig(steps=2, optimizer="sgd", weight_decay=0.5, gradient_clip=0.01)
    trainer = Watching(tiny(vocab_size=verse.tokenizer.vocab_size), config, verse)
    start = trainer.model.parameters.data.copy()
    record = trainer.train_step()
    ((step, norm, clipped, before, batch),) = seen
    assert (step, norm) == (1, record.gradient_norm)
    assert clipped == pytest.approx(0.01, rel=1e-4)  # without the decay, which the optimizer adds
    np.testing.assert_array_equal(before, start)
    assert batch.ids.shape == batch.targets.shape == (config.batch_size, 8)


def test_seconds_are_those_of_the_updates_so_far(verse):
    began = time.perf_counter()
    records = list(Trainer(model_for(verse), QUICK, verse))
    assert 0 < records[0].seconds < records[-1].seconds < time.perf_counter() - began


@pytest.mark.parametrize(("step", "place"), [(1, 1.0), (5, 5.0), (50, 41.0), (100, 81.0), (1000, 981.0)])
def test_an_average_stands_where_the_steps_are_that_it_is_of(step, place):
    assert place_of_average(step) == pytest.approx(place)
