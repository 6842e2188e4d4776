"""A training that is watched: the same records, and in a notebook a bar that moves and a figure at the end."""

import sys
from types import SimpleNamespace

import pytest

from support import EVIL, tiny
from tlab import TrainConfig, Trainer, watch
from tlab.text import ByteTokenizer, corpus_from_text

STEPS = 4


@pytest.fixture
def trainer(verse):
    config = tiny(vocab_size=verse.tokenizer.vocab_size)
    return Trainer(config, TrainConfig(steps=STEPS, validation_every=2, batch_size=2), verse)


@pytest.fixture
def notebook(monkeypatch):
    """What a kernel of a notebook would have shown, one after the other, in one place."""
    shown = []
    handle = SimpleNamespace(update=lambda what: shown.append(what._repr_html_()))
    display = SimpleNamespace(display=lambda *_, **__: handle)
    shell = SimpleNamespace(kernel=object())
    ipython = SimpleNamespace(get_ipython=lambda: shell, display=display, version_info=(9, 0))  # matplotlib looks, too
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setattr(sys.modules["tlab.notebook.watch"], "SECONDS_BETWEEN", 0.0)
    return SimpleNamespace(shown=shown, shell=shell)


def test_watching_changes_nothing_of_the_training(trainer, notebook, verse):
    alone = Trainer(trainer.config, trainer.train_config, verse)
    assert [r.loss for r in watch(trainer)] == [r.loss for r in alone]


def test_a_notebook_sees_every_step_and_at_the_end_the_figure(trainer, notebook):
    for _ in watch(trainer):
        pass
    assert [made[made.index("step") :].split(";")[0] for made in notebook.shown] == [
        *(f"step {step} of {STEPS}" for step in range(1, STEPS + 1)), f"step {STEPS} of {STEPS}",
    ]  # fmt: skip
    assert ["<img" in made for made in notebook.shown] == [False] * STEPS + [True]


@pytest.mark.parametrize("shell", [None, SimpleNamespace()])
def test_a_terminal_is_left_in_peace(trainer, notebook, shell, monkeypatch):
    monkeypatch.setattr(sys.modules["IPython"], "get_ipython", lambda: shell)
    assert len(list(watch(trainer))) == STEPS
    assert not notebook.shown


def test_a_trainer_says_how_far_it_is_and_what_it_lost(trainer):
    assert "width:0.0%" in trainer._repr_html_() and "<img" not in trainer._repr_html_()
    trainer.train_step()
    assert "width:25.0%" in trainer._repr_html_() and "validation" not in trainer.progress_html()
    list(trainer)
    words = trainer.progress_html()
    assert f"training loss {trainer.records[-1].loss:.3f}" in words
    assert f"validation loss {trainer.records[-1].validation_loss:.3f}" in words
    assert "<script" not in trainer._repr_html_() and "<img" in trainer._repr_html_()


def test_a_training_that_diverged_says_so(verse):
    config = TrainConfig(steps=STEPS, max_loss=0.5, batch_size=2)
    trainer = Trainer(tiny(vocab_size=verse.tokenizer.vocab_size), config, verse)
    assert len(list(trainer)) == 1
    assert "diverged at step 1" in trainer._repr_html_()
    assert trainer.to_pandas()["divergence"].tolist() == [str(trainer.divergence)]


def test_a_training_is_a_frame_of_its_steps_and_a_figure(trainer):
    list(trainer)
    frame = trainer.to_pandas()
    assert frame["loss"].tolist() == [record.loss for record in trainer.records]
    assert frame["validation_loss"].isna().tolist() == [True, False, True, False]
    assert trainer.figure().png()[1:4] == b"PNG"
    assert trainer.figure()._repr_png_()[1] == {"width": trainer.figure().width}


def test_a_text_shows_its_tokens_and_obeys_none():
    cut = ByteTokenizer().cut(f"a\n{EVIL}é")
    assert cut[:3] == ["a", "↵", "<"] and cut.ids[:3].tolist() == [97, 10, 60]
    assert "<img" not in cut._repr_html_() and "&lt;" in cut._repr_html_()
    frame = cut.to_pandas()
    assert frame["id"].tolist() == cut.ids.tolist() and frame["place"].tolist() == list(range(len(cut)))
    assert corpus_from_text("ab" * 30, "ab").tokenizer.cut("") == []
