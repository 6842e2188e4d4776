"""The bug lab: every bug is found by the checks that should find it, and nothing else is touched."""

import dataclasses

import numpy as np
import pytest

from support import tiny
from tlab import TrainConfig, Transformer
from tlab.checks import run_checks
from tlab.inside.bugs import BUGS, checks_with, over_tokens, planted
from tlab.nn.attention import LONGEST_WHOLE
from tlab.nn.loss import softmax
from tlab.text import corpus_from_text
from tlab.training.trainer import Trainer

VERSE = "the quick brown fox jumps over the lazy dog while five wizards box; "
VOCABULARY = len(set(VERSE))
FOUND_BY = {
    "no-scale": "attention computes its definition",
    "no-mask": "no token sees a later one",
    "wrong-axis": "attention weights sum to 1",
    "shifted-labels": "training asks what validation asks",
    "batch-norm": "norm computes its definition, token by token",
    "no-residual": "a silent block lets the stream through",
    "normed-shortcut": "a silent block lets the stream through",
    "shifted-plus-one": "attention computes its definition",
    "float64": "float32 stays float32",
    "tied-gradient": "embedding.weight",
}
NEEDS = {"shifted-plus-one": {"attention_softmax": "plus_one"}}
"""What a model has to have besides, for a bug to have a place in it."""


def with_place_for(bug, **fields):
    return tiny(**NEEDS.get(bug, {}), **fields)


@pytest.mark.parametrize("bug", BUGS)
def test_a_bug_is_found_by_the_check_that_is_for_it(bug):
    assert bug in FOUND_BY, f"say in FOUND_BY above by which check of tlab/checks.py {bug!r} is found"
    failed = {check.name for check in checks_with(bug, with_place_for(bug)) if not check.passed}
    assert FOUND_BY[bug] in failed


def test_without_a_bug_every_check_passes():
    assert all(check.passed for check in run_checks(tiny()))


@pytest.mark.parametrize("bug", BUGS)
def test_a_bug_stays_in_the_model_that_it_was_planted_in(bug, ids):
    before = Transformer(tiny()).forward(ids)[0]
    checks_with(bug, with_place_for(bug))
    np.testing.assert_array_equal(Transformer(tiny()).forward(ids)[0], before)


WITH_WRONG_GRADIENTS = ("shifted-labels", "shifted-plus-one", "tied-gradient")
WITHOUT_BIAS_GRADIENTS = ("batch-norm",)  # a bias before it shifts all tokens alike and changes nothing: 0 / 0


@pytest.mark.parametrize("bug", [name for name in BUGS if name not in WITH_WRONG_GRADIENTS + WITHOUT_BIAS_GRADIENTS])
def test_only_a_lost_gradient_is_a_wrong_gradient(bug):
    gradients = [check for check in checks_with(bug, with_place_for(bug, position="none")) if check.group == "gradient"]
    wrong = [check.name for check in gradients if not check.passed]
    assert not wrong, "the mistake is meant to be one of meaning; one of gradients is named in WITH_WRONG_GRADIENTS"


def test_the_norm_over_the_wrong_axis_has_the_right_gradient_where_no_bias_comes_before_it():
    gradients = [check for check in checks_with("batch-norm", tiny(position="none", bias=False))
                 if check.group == "gradient"]  # fmt: skip
    assert gradients and all(check.passed for check in gradients)


def test_the_norm_over_the_wrong_axis_adds_nothing_where_the_norm_has_no_shift(rng):
    model = Transformer(tiny(norm="rmsnorm"))
    over_tokens(model.final_norm)
    y, _ = model.final_norm.forward(rng.standard_normal((2, 9, model.config.hidden_dim)))
    np.testing.assert_allclose(y.mean((0, 1)), 0, atol=1e-6)
    np.testing.assert_allclose((y * y).mean((0, 1)), 1, rtol=1e-3)


def test_without_the_mask_a_head_of_equal_scores_looks_at_all_tokens_alike(ids):
    model = Transformer(tiny(position="none"))
    model.blocks[0].attention.qkv.weight.data[...] = 0
    BUGS["no-mask"]().plant(model)
    weights = model.forward(ids)[1].blocks[0].attention.weights
    np.testing.assert_allclose(weights, np.full(weights.shape, 1 / ids.shape[1]), rtol=1e-6)


def test_without_the_scale_scores_are_plain_products(ids):
    model = Transformer(tiny(position="none"), dtype=np.float64)
    BUGS["no-scale"]().plant(model)
    trace = model.forward(ids)[1].blocks[1].attention
    scores = trace.queries @ trace.keys.swapaxes(-1, -2)
    weights = softmax(np.where(np.tri(ids.shape[1], dtype=bool), scores, -np.inf))
    np.testing.assert_allclose(trace.weights, weights, rtol=1e-9)


@pytest.mark.parametrize("residual", ["pre", "sandwich"])
def test_with_the_shortcut_from_the_normed_stream_a_silent_block_puts_out_a_norm(residual, ids):
    model = Transformer(tiny(residual=residual, num_layers=1, norm_epsilon=1e-12), dtype=np.float64)
    for name, param in model.parameters.items():
        param.data[...] = 0 if ".out." in name or ".down." in name else param.data
    BUGS["normed-shortcut"]().plant(model)
    x, y = model.forward(ids)[1].blocks[0].attention_residual.x, model.forward(ids)[1].blocks[0].y
    np.testing.assert_allclose(y.std(-1), 1, rtol=1e-6)
    assert abs(x.std(-1) - 1).max() > 0.1


def test_the_one_that_is_not_shifted_counts_as_much_as_the_largest_score():
    model = Transformer(with_place_for("shifted-plus-one"))
    BUGS["shifted-plus-one"]().plant(model)
    for size in (-500.0, 0.0, 500.0):
        weights = model.blocks[0].attention.softmax(np.full((1, 3, 1, 1), size), np.zeros((1, 1)))
        np.testing.assert_allclose(weights, 0.5)


def test_labels_that_are_not_shifted_ask_each_token_for_itself(ids):
    sound, broken = Transformer(tiny()), Transformer(tiny())
    BUGS["shifted-labels"]().plant(broken)
    assert broken.accumulate_gradients(ids, 10 - ids)[0] == sound.accumulate_gradients(ids, ids)[0]
    np.testing.assert_array_equal(broken.parameters.grad, sound.parameters.grad)


def test_the_checks_of_a_bug_are_those_of_the_first_seed_unless_another_is_given():
    errors = [[check.error for check in checks_with("no-scale", tiny(), *seed)] for seed in ((), (0,), (1,))]
    assert errors[0] == errors[1] != errors[2]


def losses(trainer):
    return [record.loss for record in trainer], trainer.records[-1].validation_loss


@pytest.fixture(scope="module")
def corpus():
    return corpus_from_text(VERSE * 40, name="verse")


@pytest.fixture(scope="module")
def curves(corpus):
    config = tiny(vocab_size=corpus.tokenizer.vocab_size, hidden_dim=24, num_heads=3, context_length=16)
    training = TrainConfig(steps=60, batch_size=8, validation_every=0)

    def losses_with(bug):
        needed = dataclasses.replace(config, **NEEDS.get(bug, {}))
        trainer = Trainer(needed, training, corpus)
        planted(bug, needed)(trainer.model)
        return losses(trainer)

    return losses(Trainer(config, training, corpus)), {bug: losses_with(bug) for bug in BUGS}


def test_every_bug_trains_on_without_a_word(curves):
    for bug, (loss, _) in curves[1].items():
        assert len(loss) == 60 and loss[-1] < loss[0], bug


def test_labels_that_are_not_shifted_train_to_nothing_and_validate_worse_than_they_began(curves):
    (_, healthy), (loss, validation) = curves[0], curves[1]["shifted-labels"]
    assert loss[-1] < healthy < np.log(VOCABULARY) < validation  # worse than a uniform guess


def test_a_type_that_leaks_shows_nowhere_in_the_curve(curves):
    np.testing.assert_allclose(curves[1]["float64"][0], curves[0][0], rtol=1e-3)


@pytest.mark.parametrize("length", [20, LONGEST_WHOLE + 20])
@pytest.mark.parametrize("bug", BUGS)
def test_a_bug_also_reads_a_long_text_and_several_tokens_after_others(bug, length, rng):
    config = with_place_for(bug, context_length=length)
    model = Transformer(config)
    planted(bug, config)(model)
    ids = rng.integers(0, config.vocab_size, (2, length))
    _, gradients = model.loss_and_gradients(ids, ids)
    assert all(np.isfinite(gradient).all() for gradient in gradients.values())
    cache = model.new_cache(2)
    model.score(ids[:, :-5], cache)
    assert np.isfinite(model.score(ids[:, -5:], cache)).all()


def test_a_bug_that_has_no_place_in_a_model_is_told():
    for norm in ("none", "dyt"):
        with pytest.raises(ValueError, match="there is no norm in it that takes a mean or a size"):
            checks_with("batch-norm", tiny(norm=norm))
    with pytest.raises(ValueError, match="not tied"):
        checks_with("tied-gradient", tiny(tied=False))
    for fields in ({"residual": "post"}, {"residual": "parallel"}, {"norm": "none"}):
        with pytest.raises(ValueError, match="reads a normed stream in it"):
            checks_with("normed-shortcut", tiny(**fields))
    for key in ("softmax", "sink"):
        with pytest.raises(ValueError, match="no softmax plus one"):
            checks_with("shifted-plus-one", tiny(attention_softmax=key))


@pytest.mark.parametrize("bug", BUGS)
def test_a_bug_says_whether_a_token_sees_those_after_it(bug, ids):
    model = Transformer(with_place_for(bug))
    planted(bug, model.config)(model)
    changed = ids.copy()
    changed[:, -1] = (changed[:, -1] + 1) % model.config.vocab_size
    before, after = (model.forward(each)[0][:, :-1] for each in (ids, changed))
    assert np.allclose(before, after, atol=1e-9) != BUGS[bug].sees_ahead
