"""A watched trainer: validation and samples in pieces between the steps, with the numbers of any other trainer."""

import math
import multiprocessing
from dataclasses import replace

import pytest

from support import SMALL
from tlab import ModelConfig, TrainConfig
from tlab.inside.bugs import planted
from tlab.text import corpus_from_text
from tlab.text.corpora import sha256_of
from tlab.training.answers import answer_accuracy
from tlab.training.trainer import Trainer, evaluate
from tlab.ui.runs import live_trainer
from tlab.ui.runs.checkpoint_store import CheckpointStore
from tlab.ui.runs.limits import LOCAL
from tlab.ui.runs.live_trainer import LiveTrainer, generate_sample
from tlab.ui.runs.messages import Job, NewRecords, Sample, Validated
from tlab.ui.runs.run import Run
from tlab.ui.runs.worker import run_job
from tlab.ui.settings.plans import make_plans
from tlab.ui.tabs.train.view import run_words


@pytest.fixture(autouse=True)
def many_pieces(monkeypatch):
    """A short text is read in as many pieces as a long one."""
    monkeypatch.setattr("tlab.training.trainer.VALIDATION_TOKENS", 16)


def trainers(verse, **training):
    config = ModelConfig(vocab_size=verse.tokenizer.vocab_size, **SMALL)
    return [kind(config, TrainConfig(**training), verse) for kind in (Trainer, LiveTrainer)]


def watch(trainer: LiveTrainer) -> list:
    """Train it as the worker does; its validations, each with the step at which it was known."""
    found = []
    while trainer.unfinished:
        found += [(trainer.step, message) for message in trainer.tick() if isinstance(message, Validated)]
    return found


@pytest.mark.parametrize("ema_decay", [0.0, 0.9])
@pytest.mark.parametrize("every", [1, 4, 7, 100])
def test_the_validation_losses_are_those_of_any_other_trainer_to_the_last_digit(verse, every, ema_decay):
    plain, watched_one = trainers(verse, steps=25, validation_every=every, batch_size=2, ema_decay=ema_decay)
    for _ in plain:
        pass
    found = watch(watched_one)
    assert [(r.step, r.loss, r.validation_loss) for r in watched_one.records] == [
        (r.step, r.loss, r.validation_loss) for r in plain.records
    ]
    assert [thing.step for _, thing in found] == [r.step for r in plain.records if r.validation_loss is not None]


def test_steps_go_on_while_the_validation_text_is_read_and_it_is_through_before_the_next_is_due(verse):
    _, trainer = trainers(verse, steps=30, validation_every=10, batch_size=2)
    waits = [known - thing.step for known, thing in watch(trainer)]
    assert all(0 < wait < 10 for wait in waits[:-1])
    assert waits[-1] == 0  # after the last step there is none to go on with


@pytest.mark.parametrize("ema_decay", [0.0, 0.9])
def test_a_sample_is_that_of_the_step_at_which_it_was_begun(verse, ema_decay):
    _, trainer = trainers(verse, steps=100, validation_every=0, batch_size=2, ema_decay=ema_decay)
    for _ in range(3):
        trainer.train_step()
    expected = generate_sample(trainer.result, verse)
    trainer.begin_sample()
    found = []
    while not found:
        trainer.train_step()
        found = list(trainer.run_background())
    assert found == [Sample(0, 3, expected)]
    assert trainer.step > 10
    assert trainer.sample_seconds > 0


def test_what_is_left_can_be_finished_at_once(verse):
    _, trainer = trainers(verse, steps=100, validation_every=5, batch_size=2)
    for _ in range(5):
        trainer.train_step()
    loss = evaluate(trainer.model, verse.validation)
    trainer.begin_sample()
    assert list(trainer.finish_background()) == [Validated(0, 5, loss)]
    assert not trainer.evaluations and trainer.sample is None
    assert trainer.records[4].validation_loss == loss


def asked(**training):
    """A watched trainer on lines to learn by heart; `many_pieces` makes its validation text many of them."""
    text = corpus_from_text("ab=ba\ncd=dc\n" * 40)
    corpus = replace(text, answers_after="=")
    config = ModelConfig(vocab_size=corpus.tokenizer.vocab_size, **SMALL)
    return LiveTrainer(config, TrainConfig(batch_size=8, learning_rate=0.01, warmup_steps=5, **training), corpus)


def test_on_a_text_with_answers_each_validation_says_how_many_are_right_then():
    trainer = asked(steps=200, validation_every=100)
    found = watch(trainer)
    assert [message.step for _, message in found] == [100, 200]
    assert found[-1][1].accuracy == answer_accuracy(trainer.result, trainer.corpus) > 0.8
    assert all(0 <= message.accuracy <= 1 for _, message in found)
    side = Run("s", Job("text", "text", "char", make_plans(SMALL)), LOCAL).sides[0]
    for _, message in found:
        side.complete(message)
    assert side.accuracy == found[-1][1].accuracy and [step for step, _ in side.accuracies] == [100, 200]


def test_where_only_the_losses_are_asked_for_or_the_text_has_no_answers_none_are_counted(verse):
    trainer = asked(steps=5, validation_every=5)
    trainer.losses_only = True
    _, other = trainers(verse, steps=5, validation_every=5, batch_size=2)
    assert [message.accuracy for one in (trainer, other) for _, message in watch(one)] == [None, None]


def broken_evaluation(monkeypatch):
    """The second text that is read has a loss that is no number."""
    real, seen = live_trainer.total_loss, []

    def total_loss(model, batch):
        if not any(model is one for one in seen):
            seen.append(model)  # kept, so that no other takes its place in memory
        return math.nan if len(seen) == 2 else real(model, batch)

    monkeypatch.setattr(live_trainer, "total_loss", total_loss)


def test_a_validation_that_is_not_finite_ends_the_run_when_it_is_known(verse, monkeypatch):
    _, trainer = trainers(verse, steps=30, validation_every=10, batch_size=2)
    broken_evaluation(monkeypatch)
    (_, first), (known, second) = watch(trainer)
    assert (first.step, first.divergence) == (10, None)
    assert second.step == 20 < known == trainer.step < 30
    assert second.divergence == trainer.divergence == trainer.records[-1].divergence
    assert (trainer.divergence.step, trainer.divergence.what) == (20, "the validation loss is nan")
    assert trainer.finished and not trainer.unfinished
    assert trainer.checkpoint().divergence == trainer.divergence


def test_a_page_says_at_which_step_a_validation_failed(verse, text_file, monkeypatch):
    broken_evaluation(monkeypatch)
    plans = make_plans({**SMALL, "steps": 30, "validation_every": 10, "batch_size": 2})
    job = Job(text_file, None, "char", plans)
    run, store = Run("s", job, LOCAL), CheckpointStore(LOCAL.store)
    here, there = multiprocessing.Pipe()
    with here, there:
        for message in run_job(job, here):
            run.apply_message(message, store)
    side = run.sides[0]
    assert (run.state, side.divergence.step) == ("diverged", 20)
    assert "diverged at step 20: the validation loss is nan" in run_words(run, None)
    assert [step for step, _ in side.curve.validation] == [10]
    assert math.isfinite(side.validation_loss)
    assert max(store.steps((run.id, 0))) == side.step < 30
    assert store.get((run.id, 0)).divergence == side.divergence


def test_a_record_is_told_before_the_loss_that_completes_it(text_file):
    plans = make_plans({**SMALL, "steps": 40, "validation_every": 5, "batch_size": 2})
    here, there = multiprocessing.Pipe()
    told, validated = 0, 0
    with here, there:
        for message in run_job(Job(text_file, None, "char", plans), here):
            if isinstance(message, NewRecords):
                told = message.records[-1].step
            elif isinstance(message, Validated):
                validated += 1
                assert message.step <= told
    assert validated == 8


def test_a_planted_mistake_is_in_what_is_validated_too(verse):
    config = ModelConfig(vocab_size=verse.tokenizer.vocab_size, **SMALL)
    training = TrainConfig(steps=3, batch_size=4)
    expected = Trainer(config, training, verse)
    planted("no-mask", config)(expected.model)
    list(expected)
    trainer = LiveTrainer(config, training, verse)
    trainer.apply_bug = planted("no-mask", config)
    trainer.apply_bug(trainer.model)
    for _ in trainer:
        pass
    while trainer.unfinished:
        list(trainer.run_background())
    assert trainer.records[-1].validation_loss == expected.records[-1].validation_loss


def test_a_run_of_which_only_the_losses_are_asked_for_sends_nothing_else():
    plans = make_plans({"hidden_dim": 8, "num_layers": 1, "num_heads": 1, "steps": 20, "validation_every": 10})
    here, _ = multiprocessing.Pipe()
    messages = list(run_job(Job("python-docs", None, "char", plans, losses_only=True), here))
    assert {type(message).__name__ for message in messages} == {
        "RunStarted", "NewRecords", "Validated", "RunEnded",
    }  # fmt: skip


def test_a_run_that_begins_says_what_it_has_read():
    plans = make_plans({"hidden_dim": 8, "num_layers": 1, "num_heads": 1, "steps": 1})
    here, _ = multiprocessing.Pipe()
    text = "to be or not to be, " * 60
    job = Job("hamlet", text, "char", plans, losses_only=True)
    run = Run("s", job, LOCAL)
    run.apply_message(next(iter(run_job(job, here))), CheckpointStore(1, 1))
    assert run.text_sha256 == sha256_of(text.encode())
