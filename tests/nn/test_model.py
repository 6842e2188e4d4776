"""The transformer as its users see it."""

import functools
import platform
import sys

import numpy as np
import pytest

from support import all_combinations, tiny
from tlab import ModelConfig, Transformer
from tlab.checks import random_model
from tlab.machine import keep_freed_memory
from tlab.nn import activations, attention, linear, mlp, norms, positions, residuals
from tlab.nn.loss import CrossEntropy
from tlab.nn.model import walk

# --- the public contract of names and shapes ---

V, C, F, L = 11, 12, 30, 2
BLOCK = {
    "norm1.scale": (C,),
    "norm1.shift": (C,),
    "attention.qkv.weight": (C, 3 * C),
    "attention.qkv.bias": (3 * C,),
    "attention.out.weight": (C, C),
    "attention.out.bias": (C,),
    "norm2.scale": (C,),
    "norm2.shift": (C,),
    "mlp.up.weight": (C, F),
    "mlp.up.bias": (F,),
    "mlp.down.weight": (F, C),
    "mlp.down.bias": (C,),
}


def contract(block=BLOCK, **others):
    blocks = {f"blocks.{i}.{name}": shape for i in range(L) for name, shape in block.items()}
    return {"embedding.weight": (V, C), **blocks, **{k.replace("__", "."): v for k, v in others.items()}}


FINAL = {"final_norm__scale": (C,), "final_norm__shift": (C,)}
RMS_BLOCK = {name: shape for name, shape in BLOCK.items() if not name.endswith("shift")}
OUT_NORMS = {f"norm{i}_out.{part}": (C,) for i in (1, 2) for part in ("scale", "shift")}
GATED = {name: (tuple(20 if n == F else n for n in shape)) for name, shape in BLOCK.items()}
CONTRACTS = {
    "default": ({}, contract(**FINAL)),
    "post": ({"residual": "post"}, contract()),
    "sandwich": ({"residual": "sandwich"}, contract(BLOCK | OUT_NORMS, **FINAL)),
    "rmsnorm": ({"norm": "rmsnorm"}, contract(RMS_BLOCK, final_norm__scale=(C,))),
    "no norm": ({"norm": "none"}, contract({k: v for k, v in BLOCK.items() if "norm" not in k})),
    "gated": (
        {"activation": "swiglu"},
        contract(GATED | {"mlp.gate.weight": (C, 20), "mlp.gate.bias": (20,)}, **FINAL),
    ),
    "no bias": ({"bias": False}, contract({k: v for k, v in BLOCK.items() if "bias" not in k}, **FINAL)),
    "learned": ({"position": "learned"}, contract(position__weight=(8, C), **FINAL)),
    "untied": ({"tied": False}, contract(head__weight=(C, V), **FINAL)),
}


@pytest.mark.parametrize(("changes", "expected"), CONTRACTS.values(), ids=CONTRACTS.keys())
def test_parameters_have_their_public_names_and_shapes(changes, expected):
    model = Transformer(tiny(**changes))
    assert {name: param.shape for name, param in model.parameters.items()} == expected
    assert model.num_parameters == sum(np.prod(shape) for shape in expected.values())


def test_the_default_model_has_at_most_100_000_parameters():
    assert Transformer(ModelConfig(65)).num_parameters == 96_000
    assert Transformer(ModelConfig(104)).num_parameters <= 100_000


def test_nothing_is_hard_wired_to_a_size(rng):
    for changes in ({"num_layers": 13}, {"hidden_dim": 520, "num_heads": 13}, {"context_length": 1}, {"num_layers": 1}):
        config = tiny(**changes)
        ids = rng.integers(0, 11, (1, min(3, config.context_length)))
        assert Transformer(config).loss_and_gradients(ids, ids)[0] > 0


# --- forward and backward ---


def test_the_trace_holds_the_attention_weights_of_every_block(ids):
    logits, trace = Transformer(tiny()).forward(ids)
    assert logits.shape == (2, 6, 11)
    assert trace.blocks[1].attention.weights.shape == (2, 3, 6, 6)
    assert len(trace.blocks) == 2


def test_an_edit_decides_what_each_branch_adds_and_is_asked_once_for_each(ids):
    model, asked = Transformer(tiny()), []
    logits, trace = model.forward(ids)

    def double(layer, kind, branch):
        asked.append((layer, kind))
        return 2 * branch.added if (layer, kind) == (1, "attention") else branch.added

    _, edited = model.forward(ids, edit=double)
    assert asked == [(0, "attention"), (0, "mlp"), (1, "attention"), (1, "mlp")]
    np.testing.assert_array_equal(edited.blocks[0].y, trace.blocks[0].y)
    np.testing.assert_array_equal(
        edited.blocks[1].attention_residual.added, 2 * trace.blocks[1].attention_residual.added
    )
    np.testing.assert_array_equal(model.forward(ids, edit=lambda layer, kind, branch: branch.added)[0], logits)


def test_gradients_belong_to_the_caller(ids):
    model = Transformer(tiny())
    loss, gradients = model.loss_and_gradients(ids, ids)
    before = {name: gradient.copy() for name, gradient in gradients.items()}
    model.loss_and_gradients(ids[::-1], ids)
    assert loss > 0
    for name, gradient in gradients.items():
        assert gradient.shape == model.parameters[name].shape
        assert (gradient == before[name]).all()


def test_a_second_call_starts_from_zero_gradients(ids):
    model = Transformer(tiny())
    first = model.loss_and_gradients(ids, ids)[1]
    second = model.loss_and_gradients(ids, ids)[1]
    assert all((first[name] == second[name]).all() for name in first)


def test_accumulated_gradients_of_two_batches_add_up(ids):
    model = Transformer(tiny(), dtype=np.float64)
    one = model.loss_and_gradients(ids[:1], ids[:1])[1]
    other = model.loss_and_gradients(ids[1:], ids[1:])[1]
    model.parameters.grad[...] = 0
    model.accumulate_gradients(ids[:1], ids[:1])
    model.accumulate_gradients(ids[1:], ids[1:])
    for name, param in model.parameters.items():
        assert param.grad == pytest.approx(one[name] + other[name], abs=1e-14)


def test_the_tied_embedding_gets_the_gradients_of_both_its_uses(rng, ids):
    """Untied, with the head the embedding turned round, the two gradients come apart."""
    tied = random_model(tiny(), rng)
    untied = Transformer(tiny(tied=False), dtype=np.float64)
    weights = {name: param.data for name, param in tied.parameters.items()}
    untied.load({**weights, "head.weight": weights["embedding.weight"].T})
    together = tied.loss_and_gradients(ids, ids)[1]["embedding.weight"]
    apart = untied.loss_and_gradients(ids, ids)[1]
    assert together == pytest.approx(apart["embedding.weight"] + apart["head.weight"].T)


def test_validation_between_forward_and_backward_changes_nothing(ids):
    model = Transformer(tiny())
    expected = model.loss_and_gradients(ids, ids)[1]
    model.parameters.grad[...] = 0
    logits, trace = model.forward(ids)
    model.forward(ids[:, ::-1])  # somebody looks at something else meanwhile
    _, cache = CrossEntropy.forward(logits, ids)
    model.backward(CrossEntropy.backward(cache, logits.shape), trace)
    assert all((model.parameters[name].grad == gradient).all() for name, gradient in expected.items())


def freeze(value):
    """Make every array inside read-only, with whatever memory it is a view of."""
    for _, array in walk(value if isinstance(value, tuple) else (value,), ""):
        while isinstance(array, np.ndarray):
            array.setflags(write=False)
            array = array.base


@pytest.mark.parametrize("config", all_combinations())
def test_no_function_overwrites_what_it_was_given_or_has_given_away(config, ids, monkeypatch):
    """Every array that crosses a border is frozen on its way in and out; weights and gradients are not."""

    def frozen_borders(method):
        @functools.wraps(method)
        def call(self, *args):
            freeze(tuple(arg for arg in args if isinstance(arg, (np.ndarray, tuple))))
            result = method(self, *args)
            freeze(result)
            return result

        return call

    components = [linear.Linear, linear.Embedding, attention.Attention, mlp.Mlp]
    for registry in (activations.ACTIVATIONS, norms.NORMS, residuals.RESIDUALS, positions.POSITIONS):
        components += registry.values()
    for component in components:
        for name in ("forward", "backward", "unembed", "unembed_backward", "embed", "embed_backward"):
            if name in vars(component):
                monkeypatch.setattr(component, name, frozen_borders(vars(component)[name]))
    model = Transformer(config)
    loss, gradients = model.loss_and_gradients(ids, ids)
    assert loss > 0
    assert any(gradient.any() for gradient in gradients.values())


def test_a_large_vocabulary_gets_the_same_gradient_without_a_row_for_each_token(monkeypatch):
    ids = np.random.default_rng(0).integers(0, 7, (2, 9))  # of 11 tokens, some often and some never
    model = Transformer(tiny(tied=True), dtype=np.float64)  # so that the head's gradient is in the table already
    expected = model.loss_and_gradients(ids, ids)[1]
    monkeypatch.setattr(linear, "LARGE_VOCABULARY", 0)
    monkeypatch.setattr(np, "zeros", None)  # no one-hot matrix
    found = model.loss_and_gradients(ids, ids)[1]
    for name, gradient in expected.items():
        np.testing.assert_allclose(found[name], gradient, atol=1e-14, err_msg=name)


def test_two_models_that_differ_in_one_switch_share_every_tensor_they_have_in_common():
    one, other = (
        Transformer(tiny(), seed=3).parameters,
        Transformer(tiny(norm="rmsnorm", tied=False), seed=3).parameters,
    )
    shared = set(one) & set(other)
    assert {"embedding.weight", "blocks.1.mlp.up.weight"} <= shared
    assert all((one[name].data == other[name].data).all() for name in shared)


# --- loading and bad input ---


def test_weights_can_be_loaded_by_name(ids):
    one, other = Transformer(tiny(), seed=0), Transformer(tiny(), seed=1)
    other.load({name: param.data for name, param in one.parameters.items()})
    assert (other.forward(ids)[0] == one.forward(ids)[0]).all()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda w: w.pop("embedding.weight"), r"embedding\.weight given not, needs \(11, 12\)"),
        (lambda w: w.update(extra=np.zeros(2)), r"extra given \(2,\), needs none"),
        (lambda w: w.update({"final_norm.scale": np.zeros(3)}), r"final_norm\.scale given \(3,\), needs \(12,\)"),
        (lambda w: w["final_norm.scale"].__setitem__(0, np.nan), "final_norm.scale hold NaN or infinity"),
    ],
)
def test_weights_of_another_model_are_refused_and_nothing_is_changed(damage, message):
    model = Transformer(tiny())
    weights = {name: param.data + 1 for name, param in model.parameters.items()}
    damage(weights)
    before = model.parameters.data.copy()
    with pytest.raises(ValueError, match=message):
        model.load(weights)
    assert (model.parameters.data == before).all()


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (np.array([1, 2]), r"shape \(B, T\), not int64 of shape \(2,\)"),
        (np.array([[1.0]]), "not float64"),
        (np.zeros((1, 0), int), "hold no token"),
        (np.array([[11]]), "run from 11 to 11; allowed: 0 to 10"),
        (np.array([[-1]]), "allowed: 0 to 10"),
    ],
)
def test_ids_that_cannot_be_are_refused(ids, message):
    with pytest.raises(ValueError, match=message):
        Transformer(tiny()).forward(ids)


def test_targets_outside_the_vocabulary_are_refused(ids):
    with pytest.raises(ValueError, match="allowed: 0 to 10"):
        Transformer(tiny()).loss_and_gradients(ids, ids + 11)


def test_targets_of_another_shape_are_refused(ids):
    with pytest.raises(ValueError, match=r"targets of shape \(2, 5\) for ids of shape \(2, 6\)"):
        Transformer(tiny()).loss_and_gradients(ids, ids[:, 1:])


@pytest.mark.parametrize("dtype", [np.float16, np.int32])
def test_number_types_that_cannot_train_are_refused(dtype):
    with pytest.raises(ValueError, match="must be float32, or float64"):
        Transformer(tiny(), dtype=dtype)


def test_ids_may_be_a_plain_list():
    assert Transformer(tiny()).forward([[1, 2]])[0].shape == (1, 2, 11)


def test_a_cache_of_another_batch_size_or_model_is_refused():
    model = Transformer(tiny())
    for cache in (model.new_cache(batch_size=2), Transformer(tiny(num_layers=1)).new_cache()):
        with pytest.raises(ValueError, match=r"needed are 2, 1, 3 and 4: make one with new_cache\(batch_size=1\)"):
            model.forward(np.array([[1]]), cache)


def test_shapes_are_told_without_making_a_model():
    config = tiny(activation="swiglu", tied=False)
    assert Transformer.parameter_shapes(config) == {n: p.shape for n, p in Transformer(config).parameters.items()}


def test_a_model_has_the_allocator_keep_what_is_freed():
    Transformer(tiny())
    assert keep_freed_memory.cache_info().currsize == 1
    if sys.platform.startswith("linux") and platform.libc_ver()[0] == "glibc":
        assert keep_freed_memory()


def test_a_model_has_the_memory_of_products_touched_however_it_is_made(monkeypatch):
    touched = []
    monkeypatch.setattr("tlab.nn.model.touch_product_memory", lambda: touched.append("once"))
    model = Transformer(tiny())
    assert touched == ["once"]
    Transformer.of_weights(model.config, {name: p.data for name, p in model.parameters.items()}, model.dtype)
    assert touched == ["once", "once"]


def test_learned_positions_refuse_a_text_longer_than_the_context():
    model = Transformer(tiny(position="learned"))
    with pytest.raises(ValueError, match="9 tokens do not fit into a context of 8: position 'learned'"):
        model.forward(np.zeros((1, 9), int))
