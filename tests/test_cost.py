"""What a model costs: the tables have to agree with the model that they are about."""

import dataclasses
import tracemalloc

import numpy as np
import pytest

from support import all_combinations, tiny
from tlab import ComputeConfig, ModelConfig, TrainConfig, Transformer, cost
from tlab.config import ConfigError
from tlab.cost import (
    activation_bytes_by_part,
    flops_by_part,
    kept_numbers,
    num_parameters,
    parameters_by_part,
    refuse_beyond_memory,
    rough_forward_flops,
    step_flops,
    training_bytes,
    weight_bytes_by_part,
)
from tlab.nn.activations import ACTIVATIONS
from tlab.nn.loss import CrossEntropy
from tlab.nn.norms import NORMS
from tlab.nn.residuals import RESIDUALS
from tlab.registry import UnknownKeyError
from tlab.training.parallel import BatchThreads

CONFIGS = [
    tiny(),
    tiny(num_layers=3, tied=False, bias=False),
    tiny(norm="rmsnorm", activation="swiglu", position="rope"),
    tiny(norm="none", activation="relu", residual="post", position="alibi"),
    tiny(norm="none", residual="sandwich", position="none"),
    tiny(residual="sandwich", activation="swish", position="learned", num_layers=4),
]


def total(rows, field):
    return sum(getattr(row, field) for row in rows)


def held_by_a_forward_pass(config, batch_size, T):
    """Bytes of NumPy arrays that are still there after a forward pass and the loss, as the allocator counts them."""
    model = Transformer(config)
    ids = np.zeros((batch_size, T), np.int64)
    model.forward(ids)  # so that masks and tables are there already
    tracemalloc.start()
    try:
        trace_ids = ids.copy()
        logits, trace = model.forward(trace_ids)
        loss = CrossEntropy.forward(logits, trace_ids)
        domain = tracemalloc.DomainFilter(inclusive=True, domain=np.lib.tracemalloc_domain)
        snapshot = tracemalloc.take_snapshot().filter_traces([domain])
        del trace, loss  # not before here
        return sum(statistic.size for statistic in snapshot.statistics("filename"))
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("config", CONFIGS)
def test_parameters_add_up_to_those_of_the_model(config):
    assert total(parameters_by_part(config), "parameters") == Transformer(config).num_parameters


@pytest.mark.parametrize("config", [case.values[0] for case in all_combinations()])
def test_weights_are_counted_without_making_any(config):
    assert num_parameters(config) == Transformer(config).num_parameters


def test_a_model_that_no_machine_could_hold_is_counted_all_the_same():
    gpt3 = ModelConfig(50257, context_length=2048, hidden_dim=12288, num_layers=96, num_heads=96, position="learned",
                       mlp_ratio=4.0)  # fmt: skip
    assert num_parameters(gpt3) == pytest.approx(175e9, rel=0.01)  # Brown et al. 2020, table 2.1
    assert step_flops(gpt3, 1) > 6 * 2048 * 173e9


@pytest.mark.parametrize("sizes", [{}, {"context_length": 128, "hidden_dim": 32, "num_heads": 8}, {"hidden_dim": 256}])
@pytest.mark.parametrize(
    "switches", [{"norm": n, "activation": a, "residual": r} for n in NORMS for a in ACTIVATIONS for r in RESIDUALS]
)
def test_the_closed_form_of_what_a_step_keeps_is_on_the_safe_side(sizes, switches):
    config = ModelConfig(65, **sizes, **switches)
    measured = total(activation_bytes_by_part(config, 4), "bytes") / 4
    assert 0.85 < kept_numbers(config, 4) / measured < 2.7


@pytest.mark.parametrize("config", CONFIGS)
def test_the_rough_count_of_a_forward_pass_is_near_the_exact_one(config):
    config = dataclasses.replace(config, hidden_dim=48, context_length=32)
    assert rough_forward_flops(config, 2) == pytest.approx(total(flops_by_part(config, 2), "forward"), rel=0.1)


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("size", ["hidden_dim", "context_length"])
def test_what_is_made_to_be_measured_stays_near_its_limit_however_large_the_model(config, size, monkeypatch):
    monkeypatch.setattr(cost, "MAX_MEASURED", 2**17)
    sizes = [24 * 2**k for k in range(12)]
    for value in sizes:
        config = dataclasses.replace(config, **{size: value})
        tracemalloc.start()
        try:
            rows = activation_bytes_by_part(config, 4)
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        # Weights are drawn in float64, and a pass holds more for a moment than it leaves.
        assert most < 4 * cost.BYTES * 2**17
    assert [row.part for row in rows] == ["activations, estimated"]


def test_parts_without_parameters_are_not_listed():
    assert "head" not in {row.part for row in parameters_by_part(tiny(tied=True))}


@pytest.mark.parametrize("config", CONFIGS)
def test_activation_bytes_are_what_a_forward_pass_holds(config):
    held = held_by_a_forward_pass(config, 16, 8)
    # The model also returns a few arrays of some bytes each, such as 0-dimensional ones: hence not exactly.
    assert total(activation_bytes_by_part(config, 16), "bytes") == pytest.approx(held, rel=0.01)


def largest_held_by_a_step(config, compute, batch_size=16, T=64):
    """Most bytes of NumPy arrays that there are at any time in a step, above those before it."""
    model = Transformer(config)
    threads = BatchThreads(model, compute)
    ids = np.zeros((batch_size, T), np.int64)
    threads.accumulate_gradients(ids, ids)
    tracemalloc.start()
    try:
        threads.accumulate_gradients(ids, ids)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "compute",
    [
        ComputeConfig(threads=1),
        ComputeConfig(threads=1, micro_batches=4),
        ComputeConfig(threads=1, recompute=True),
        ComputeConfig(threads=1, micro_batches=5, recompute=True),
    ],
    ids=lambda compute: f"{compute.micro_batches} pieces, recompute {compute.recompute}",
)
def test_the_memory_told_is_the_most_that_a_step_holds_but_for_what_backward_drops_on_its_way(compute):
    config = tiny(num_layers=8, hidden_dim=48, context_length=64)
    told = total(activation_bytes_by_part(config, 16, compute=compute), "bytes")
    one_block = total(activation_bytes_by_part(dataclasses.replace(config, num_layers=1), 16, compute=compute), "bytes")
    largest = largest_held_by_a_step(config, compute)
    assert 0.97 * told < largest < told + one_block


def test_pieces_and_recomputed_blocks_save_what_they_should():
    config = tiny(num_layers=8, hidden_dim=48, context_length=64)

    def told(**changes):
        return total(activation_bytes_by_part(config, 16, compute=ComputeConfig(**changes)), "bytes")

    assert told(micro_batches=4) == told() / 4
    assert told(micro_batches=5) == told() / 4  # pieces of 4, 3, 3, 3 and 3
    assert told(recompute=True) < told() / 4
    for compute in (ComputeConfig(threads=1, micro_batches=4), ComputeConfig(threads=1, recompute=True)):
        saved = largest_held_by_a_step(config, ComputeConfig(threads=1)) / largest_held_by_a_step(config, compute)
        assert saved > 2.5


def test_every_thread_has_gradients_of_its_own():
    one, three = ({r.part: r.bytes for r in weight_bytes_by_part(tiny(), "adamw", threads)} for threads in (1, 3))
    assert three == {**one, "gradients": 3 * one["gradients"]}


def test_attention_weights_take_four_times_the_memory_at_twice_the_length():
    def weights(T):
        return next(r.bytes for r in activation_bytes_by_part(tiny(), 1, T) if r.part == "attention weights")

    assert weights(16) == 4 * weights(8)


def test_operations_are_those_of_a_model_counted_by_hand():
    config = tiny(vocab_size=5, hidden_dim=4, num_heads=2, num_layers=1, mlp_ratio=2, activation="relu")
    forward = {row.part: row.forward for row in flops_by_part(config, 1, 3)}
    assert forward == {
        "embedding": 0,
        "attention.qkv": 2 * 3 * 4 * 12,
        "attention.scores": 2 * 2 * 3 * 3 * 2,  # two heads, 3 x 3 pairs, 2 channels each
        "attention.mixing": 2 * 2 * 3 * 3 * 2,
        "attention.out": 2 * 3 * 4 * 4,
        "mlp.up": 2 * 3 * 4 * 8,
        "mlp.down": 2 * 3 * 8 * 4,
        "head": 2 * 3 * 4 * 5,
    }


def test_training_takes_three_times_the_operations_of_forward():
    rows = flops_by_part(tiny(), 2)
    assert all(row.training == 3 * row.forward for row in rows if row.part != "embedding")


def test_operations_grow_with_batch_and_depth():
    block = [row.forward for row in flops_by_part(tiny(), 1) if row.part.startswith(("attention", "mlp"))]
    twice = [row.forward for row in flops_by_part(tiny(num_layers=4), 3) if row.part.startswith(("attention", "mlp"))]
    assert twice == [6 * flops for flops in block]


@pytest.mark.parametrize(("optimizer", "vectors"), [("sgd", 3), ("adam", 4), ("adamw", 4), ("muon", 4)])
def test_every_vector_of_the_optimizer_is_as_large_as_the_weights(optimizer, vectors):
    size = Transformer(tiny()).parameters.data.nbytes
    assert [row.bytes for row in weight_bytes_by_part(tiny(), optimizer)] == [size] * vectors


def test_an_average_of_the_weights_takes_as_much_memory_as_they_do():
    rows = weight_bytes_by_part(tiny(), "sgd", averaged=True)
    assert rows[-1] == ("average of the weights", rows[0].bytes)


def test_an_unknown_optimizer_is_an_error_that_names_the_known_ones():
    with pytest.raises(UnknownKeyError, match="adamw"):
        weight_bytes_by_part(tiny(), "adamx")


def test_a_training_holds_its_vectors_and_what_a_step_keeps():
    training = TrainConfig(batch_size=3, optimizer="sgd", ema_decay=0.9)
    rows = [*weight_bytes_by_part(tiny(), "sgd", averaged=True), *activation_bytes_by_part(tiny(), 3)]
    assert training_bytes(tiny(), training) == sum(row.bytes for row in rows)
    in_pieces = training_bytes(tiny(), training, ComputeConfig(micro_batches=3))
    assert in_pieces == training_bytes(tiny(), dataclasses.replace(training, batch_size=1))


def test_a_training_is_refused_where_it_needs_more_than_there_is(monkeypatch):
    training = TrainConfig(batch_size=3)
    monkeypatch.setattr("tlab.cost.peak_memory_mib", lambda: 5.0)
    needed = training_bytes(tiny(), training) + 5 * 2**20  # what the process holds already counts
    monkeypatch.setattr("tlab.cost.total_memory", lambda: needed)
    refuse_beyond_memory(tiny(), training)
    monkeypatch.setattr("tlab.cost.total_memory", lambda: needed - 1)
    with pytest.raises(ConfigError, match="GiB of memory, and this machine has"):
        refuse_beyond_memory(tiny(), training)
    monkeypatch.setattr("tlab.cost.total_memory", lambda: None)  # a system that does not say
    refuse_beyond_memory(tiny(), training)
