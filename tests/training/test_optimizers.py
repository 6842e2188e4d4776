"""Optimizers, clipping and schedules, by hand on a few numbers. PyTorch judges them in test_optimizer_parity.py."""

import math
import tracemalloc

import numpy as np
import pytest

from support import tiny
from tlab import ConfigError, TrainConfig, Trainer
from tlab.nn.params import ParamSpace, ones
from tlab.training import optimizers
from tlab.training.optimizers import OPTIMIZERS, Muon, Optimizer, clip_gradient
from tlab.training.schedules import SCHEDULES
from tlab.training.trainer import make_optimizer


@pytest.fixture
def space():
    space = ParamSpace()
    space.declare("vector", (2,), ones)
    space.declare("matrix", (1, 2), ones)
    space.pack(0, np.dtype(np.float64))
    space.grad[...] = 0.5
    return space


@pytest.fixture
def every_role(rng):
    space = ParamSpace()
    space.declare("table", (5, 2), ones, "embedding")
    space.declare("wide", (2, 3), ones)
    space.declare("vector", (3,), ones)
    space.declare("tall", (4, 2), ones)
    space.pack(0, np.dtype(np.float64))
    space.data[...] = rng.standard_normal(space.data.size)
    return space


def make(key, space, **changes):
    return make_optimizer(TrainConfig(optimizer=key, **{"weight_decay": 0.0, **changes}), space)


def test_sgd_steps_along_the_gradient_and_keeps_its_swing(space):
    sgd = make("sgd", space, momentum=0.9)
    sgd.step(space, 0.1)
    assert space.data == pytest.approx([0.95] * 4)
    sgd.step(space, 0.1)  # velocity 0.9 * 0.5 + 0.5
    assert space.data == pytest.approx([0.95 - 0.095] * 4)


@pytest.mark.parametrize("key", ["adam", "adamw"])
def test_adams_first_step_is_the_learning_rate_whatever_the_gradients_size(key, space):
    space.grad[:2] = 1e-3
    make(key, space).step(space, 0.1)
    assert space.data == pytest.approx([0.9] * 4, abs=1e-5)


@pytest.mark.parametrize("key", OPTIMIZERS)
def test_weight_decay_pulls_matrices_only_and_of_an_optimizer_that_reads_it(key, space):
    space.grad[...] = 0
    make(key, space, weight_decay=0.5).step(space, 0.1)
    assert (space["vector"].data == 1).all()
    if "weight_decay" in OPTIMIZERS[key].options:
        assert (space["matrix"].data < 1).all()
    else:
        assert (space["matrix"].data == 1).all(), "name weight_decay in its options"


def test_adamw_decays_by_the_same_share_whatever_the_gradient(space):
    space.grad[...] = 0
    make("adamw", space, weight_decay=0.5).step(space, 0.1)
    assert space["matrix"].data == pytest.approx(np.full((1, 2), 1 - 0.1 * 0.5))


@pytest.mark.parametrize("key", OPTIMIZERS)
def test_an_optimizer_whose_decay_is_decoupled_says_so_and_no_other(key, space):
    optimizer = make(key, space, weight_decay=0.5)
    optimizer.step(space, 0.1)  # with a gradient, so that there is something to remember
    space.grad[...] = 0
    optimizer.state = {name: np.zeros_like(array) for name, array in optimizer.state.items()}
    shares = []
    for _ in range(2):
        before = space["matrix"].data.copy()
        optimizer.step(space, 0.1)
        shares += list((before - space["matrix"].data).ravel() / before.ravel())
    assert (shares == pytest.approx([0.1 * 0.5] * 4)) == optimizer.decouples_decay


def test_a_class_with_a_step_of_its_own_states_its_decay_itself_and_any_other_has_that_of_its_parent():
    class SameRule(OPTIMIZERS["adamw"]):
        pass

    class OtherRule(OPTIMIZERS["adamw"]):
        def step(self, space, learning_rate):
            pass

    assert (SameRule.decouples_decay, SameRule.without_decay) == (True, "adam")
    assert (OtherRule.decouples_decay, OtherRule.without_decay) == (False, None)


@pytest.mark.parametrize("key", OPTIMIZERS)
def test_optimizers_keep_float32(key):
    space = ParamSpace()
    space.declare("matrix", (2, 2), ones)
    space.pack(0, np.dtype(np.float32))
    optimizer = make(key, space)
    optimizer.step(space, 0.1)
    assert all(array.dtype == np.float32 for array in [space.data, space.grad, *optimizer.state.values()])


@pytest.mark.parametrize("key", OPTIMIZERS)
def test_ten_steps_are_those_of_the_reference(key, every_role, rng):
    space, config = every_role, TrainConfig(optimizer=key, weight_decay=0.1, epsilon=1e-3)
    optimizer = make_optimizer(config, space)
    options = {name: getattr(config, name) for name in optimizer.options}
    # Flat, but for hidden matrices.
    shapes = {name: param.shape if param.role == "matrix" else (param.size,) for name, param in space.items()}

    def now():
        vectors = [space.split(vector) for vector in (space.data, *optimizer.state.values())]
        return {name: [parts[name].reshape(shape).copy() for parts in vectors] for name, shape in shapes.items()}

    expected = now()
    for t in range(1, 11):
        space.grad[...], rate = rng.standard_normal(space.grad.size), 0.1 / t
        for name, (weights, *state) in expected.items():
            its = dict(options)
            if "weight_decay" in its and not space[name].is_decayed:
                its["weight_decay"] = 0.0
            gradient = space[name].grad.reshape(shapes[name]).copy()
            expected[name] = type(optimizer).reference(weights, gradient, *state, t, rate, **its)
        optimizer.step(space, rate)
        for name, arrays in now().items():
            for ours, theirs in zip(arrays, expected[name], strict=True):
                assert ours == pytest.approx(theirs, rel=1e-11, abs=1e-13), name


def test_the_singular_values_of_muons_update_are_near_1_however_large_the_gradients_are(rng):
    space = ParamSpace()
    for name, shape in {"square": (24, 24), "wide": (16, 48), "tall": (48, 16)}.items():
        space.declare(name, shape, ones)
    space.pack(0, np.dtype(np.float64))
    for name, param in space.items():
        left, right = (np.linalg.qr(rng.standard_normal((n, 16)))[0] for n in param.shape)
        param.grad[...] = left @ np.diag(np.geomspace(1, 0.01, 16)) @ right.T * {"wide": 1e4, "tall": 1e-4}.get(name, 1)
    before = space.data.copy()
    make("muon", space).step(space, 0.1)
    for name, update in space.split((before - space.data) / 0.1).items():
        expected = np.sqrt(3) if name == "wide" else 1  # sqrt(out / in), where that is above 1
        sizes = np.linalg.svd(update, compute_uv=False)[:16] / expected
        assert sizes.min() > 0.68 and sizes.max() < 1.14, name


def test_muon_turns_no_direction_of_the_gradient_into_another(rng):
    gradient = rng.standard_normal((6, 4))
    left, _, right = np.linalg.svd(gradient, full_matrices=False)
    sizes = left.T @ Muon.orthogonalize(gradient) @ right.T
    assert sizes == pytest.approx(np.diag(np.diag(sizes)), abs=1e-12)


def test_muon_leaves_a_matrix_without_gradient_where_it_is(every_role):
    before = every_role.data.copy()
    every_role.grad[...] = 0
    make("muon", every_role).step(every_role, 0.1)
    assert (every_role.data == before).all()


def test_all_but_hidden_matrices_follow_adamw_at_a_rate_of_their_own_in_muon(every_role, rng):
    space, gradient = every_role, rng.standard_normal(every_role.data.size)
    start, ends = space.data.copy(), []
    for key, rate in (("muon", 0.1), ("adamw", 0.1 * 0.2)):
        space.data[...], space.grad[...] = start, gradient
        make(key, space, weight_decay=0.5, adam_ratio=0.2).step(space, rate)
        ends.append({name: param.data.copy() for name, param in space.items()})
    same = {name for name in space if np.array_equal(ends[0][name], ends[1][name])}
    assert same == {"table", "vector"}


def test_muon_says_what_to_do_where_there_is_no_hidden_matrix():
    space = ParamSpace()
    space.declare("table", (3, 2), ones, "embedding")
    space.pack(0, np.dtype(np.float64))
    with pytest.raises(ConfigError, match=r"no hidden matrix.*take 'adamw'"):
        make("muon", space)


@pytest.mark.parametrize("key", OPTIMIZERS)
def test_an_optimizer_counts_its_updates(key, space):
    optimizer = make(key, space)
    counted = [optimizer.num_updates]
    for _ in range(3):
        optimizer.step(space, 0.1)
        counted.append(optimizer.num_updates)
    assert counted == [0, 1, 2, 3]


@pytest.mark.parametrize("key", OPTIMIZERS)
def test_an_update_in_pieces_is_to_the_last_bit_that_of_all_weights_at_once(key, every_role, rng, monkeypatch):
    gradient, first, ends = rng.standard_normal(every_role.data.size), every_role.data.copy(), []
    for piece in (7, every_role.data.size):
        monkeypatch.setattr(optimizers, "PIECE", piece)
        every_role.data[...] = first
        optimizer = make(key, every_role, weight_decay=0.5)
        for _ in range(2):
            every_role.grad[...] = gradient
            optimizer.step(every_role, 0.1)
        ends.append([every_role.data.copy(), *optimizer.state.values()])
    for in_pieces, at_once in zip(*ends, strict=True):
        np.testing.assert_array_equal(in_pieces, at_once)


@pytest.mark.parametrize("key", ["sgd", "adam", "adamw"])
def test_an_update_takes_no_memory_that_grows_with_the_model(key):
    space = ParamSpace()
    space.declare("table", (3_000, 1_000), ones, "embedding")
    space.pack(0, np.dtype(np.float32))  # 12 MB
    optimizer = make(key, space, weight_decay=0.5)
    tracemalloc.start()
    try:
        optimizer.step(space, 0.1)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2_000_000


@pytest.mark.parametrize("key", OPTIMIZERS)
def test_an_optimizer_refuses_options_that_it_does_not_state(key, space):
    options = dict.fromkeys(OPTIMIZERS[key].options, 0.5)
    with pytest.raises(TypeError, match="nesterov"):
        OPTIMIZERS[key](space, **options, nesterov=1.0)


@pytest.mark.parametrize("schedule", [key for key, kind in SCHEDULES.items() if "factor" in vars(kind)])
def test_the_rates_are_those_of_the_reference(schedule):
    expected = SCHEDULES[schedule].reference(np.linspace(0, 1, 11), 1.0, 0.1)
    assert rates(schedule, low=0.1) == pytest.approx(expected)


@pytest.mark.parametrize("schedule", [key for key, kind in SCHEDULES.items() if "rate" in vars(kind)])
def test_the_rates_of_a_curve_that_counts_steps_are_those_of_its_reference(schedule):
    expected = SCHEDULES[schedule].reference(np.arange(3, 41), 3, 40, 1.0, 0.1)
    assert rates(schedule, steps=40, warmup=2)[2:] == pytest.approx(expected)


def test_a_long_gradient_is_shortened_to_the_limit_and_its_length_told():
    gradient = np.array([3.0, 4.0])
    assert clip_gradient(gradient, 1.0) == pytest.approx(5.0)
    assert gradient == pytest.approx([0.6, 0.8])


@pytest.mark.parametrize("limit", [0.0, 5.1])
def test_a_short_gradient_or_no_limit_leaves_it_as_it_is(limit):
    gradient = np.array([3.0, 4.0])
    assert clip_gradient(gradient, limit) == pytest.approx(5.0)
    assert (gradient == [3, 4]).all()


def rates(schedule, steps=11, warmup=0, low=0.1):
    config = TrainConfig(schedule=schedule, steps=steps, warmup_steps=warmup, learning_rate=1.0, min_learning_rate=low)
    return [config.learning_rate_at(step) for step in range(1, steps + 1)]


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_first_rate_without_warmup_is_the_peak(schedule):
    assert rates(schedule)[0] == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("schedule", "middle", "last"),
    [("constant", 1, 1), ("linear", 0.55, 0.1), ("cosine", 0.55, 0.1), ("wsd", 1, 0.1), ("wsd_sqrt", 1, 0.1)],
)
def test_schedules_have_their_middle_and_their_end(schedule, middle, last):
    assert rates(schedule)[5] == pytest.approx(middle)
    assert rates(schedule)[-1] == pytest.approx(last)


def test_cosine_follows_the_cosine():
    assert rates("cosine", low=0.0)[2] == pytest.approx(0.5 * (1 + math.cos(math.pi * 0.2)))


def test_wsd_is_flat_and_then_falls_in_a_line_over_the_last_fifth_of_all_steps_with_or_without_a_warmup():
    assert rates("wsd", steps=20, low=0.0)[14:] == pytest.approx([1.0, 1.0, 0.75, 0.5, 0.25, 0.0])
    assert rates("wsd", steps=20, warmup=10, low=0.0)[10:] == rates("wsd", steps=20, low=0.0)[10:]


def test_by_one_minus_a_root_wsd_is_halfway_down_after_a_quarter_of_its_fall():
    line, root = (rates(schedule, steps=20, low=0.0) for schedule in ("wsd", "wsd_sqrt"))
    assert root[:16] == line[:16] == pytest.approx([1.0] * 16)
    assert root[16:] == pytest.approx([0.5, 1 - math.sqrt(1 / 2), 1 - math.sqrt(3 / 4), 0.0])


def test_wsd_falls_from_the_end_of_a_warmup_that_is_longer_than_the_rest():
    assert rates("wsd", steps=20, warmup=17, low=0.0)[17:] == pytest.approx([1.0, 0.5, 0.0])


def test_before_its_fall_wsd_knows_nothing_of_the_length_of_the_run():
    assert rates("wsd", steps=1001, warmup=4)[:800] == rates("wsd", steps=2001, warmup=4)[:800]


def test_the_inverse_square_root_falls_to_half_in_four_times_the_steps_and_knows_no_end():
    short, long = (rates("inverse_sqrt", steps=steps, warmup=24) for steps in (100, 1000))
    assert short == long[:100]
    assert (long[24], long[99], long[399]) == pytest.approx((1, 1 / 2, 1 / 4))


def test_a_schedule_with_a_curve_of_its_own_states_its_options_itself_and_any_other_has_those_of_its_parent():
    class SameCurve(SCHEDULES["constant"]):
        pass

    class OtherCurve(SCHEDULES["constant"]):
        @staticmethod
        def factor(progress):
            return progress

    assert SameCurve.options == ("warmup_steps",)
    assert OtherCurve.options == ("warmup_steps", "min_learning_rate")


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_warmup_rises_in_a_line_to_the_peak(schedule):
    assert rates(schedule, warmup=4)[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_run_of_one_step_has_a_rate(schedule):
    assert rates(schedule, steps=1) == pytest.approx([1.0])


def test_an_optimizer_can_treat_matrices_by_their_role(verse):
    @OPTIMIZERS.add("orthogonal", label="of this test")
    class Orthogonal(Optimizer):
        """Makes each matrix's step orthogonal, as Muon does, and lets everything else follow its gradient."""

        options = ("momentum",)
        state_names = ("velocity",)

        def step(self, space, learning_rate):
            velocity = self.state["velocity"]
            velocity *= self.momentum
            velocity += space.grad
            for name, change in space.split(velocity).items():
                if space[name].role == "matrix":
                    left, _, right = np.linalg.svd(change, full_matrices=False)
                    change = left @ right
                space[name].data[...] -= learning_rate * change

    try:
        config = tiny(vocab_size=verse.tokenizer.vocab_size)
        training = TrainConfig(optimizer="orthogonal", steps=20, warmup_steps=0, learning_rate=0.01, momentum=0.5)
        trainer = Trainer(config, training, verse)
        weight = trainer.model.parameters["blocks.0.mlp.up.weight"].data
        before = weight.copy()
        first = trainer.train_step()
        step = (before - weight) / first.learning_rate
        assert np.linalg.svd(step, compute_uv=False) == pytest.approx(np.ones(min(step.shape)), rel=1e-3)
        assert [record.loss for record in trainer][-1] < first.loss
    finally:
        OPTIMIZERS.remove("orthogonal")
