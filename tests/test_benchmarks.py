"""The benchmarks compare what they say they compare, and report what they measured."""

import importlib
import json
import math

import numpy as np
import pytest

from benchmarks.cases import CASES, SIZES, Case, Side
from benchmarks.jobs import cached_generation, random_corpus, uncached_generation
from benchmarks.nanogpt import NANOGPT, Outcome, judge
from benchmarks.turns import Result, measure, missing_modules
from benchmarks.worker import Worker
from tlab.config import ModelConfig
from tlab.nn.model import Transformer

QUICK = Side("ours", "benchmarks.jobs:generation", ("default", "cached", "1", "1"))


@pytest.mark.parametrize("size", ["nano", "default"])
def test_the_pytorch_peer_is_the_same_model(size):
    pytest.importorskip("torch", reason="the peer needs PyTorch: pip install '.[parity]'")
    import torch

    from benchmarks.torch_peer import TorchTransformer

    config = SIZES[size].config
    ours, theirs = Transformer(config, seed=1), TorchTransformer(config)
    assert ours.num_parameters == sum(p.numel() for p in theirs.parameters())
    with torch.no_grad():
        for name, tensor in theirs.named_parameters():
            module, _, leaf = name.rpartition(".")
            is_norm = "norm" in module
            module = module.replace(".up", ".mlp.up").replace(".down", ".mlp.down")
            leaf = {"weight": "scale", "bias": "shift"}[leaf] if is_norm else leaf
            array = ours.parameters["position.weight" if name == "position" else f"{module}.{leaf}"].data
            is_linear = not is_norm and tensor.ndim == 2 and name not in ("position", "embedding.weight")
            tensor.copy_(torch.tensor(array.T if is_linear else array))
    ids, targets = np.random.default_rng(0).integers(0, config.vocab_size, (2, 3, config.context_length))
    loss, _ = ours.loss_and_gradients(ids, targets)
    assert theirs(torch.tensor(ids), torch.tensor(targets)).item() == pytest.approx(loss, rel=1e-5)


def test_the_nano_size_is_nanogpts():
    # 65 x 128 and 64 x 128 embeddings, 4 blocks of 12 x 128 x 128 weights and two norms, and the final norm.
    assert Transformer(SIZES["nano"].config).num_parameters == 129 * 128 + 4 * (12 * 128**2 + 4 * 128) + 2 * 128


def test_cached_and_uncached_generation_write_the_same_text(monkeypatch):
    config = ModelConfig(vocab_size=65, context_length=12, hidden_dim=8, num_layers=1, num_heads=2)
    tokenizer = random_corpus(config.vocab_size).tokenizer
    written = {}

    def best(probabilities, rng):
        written[kind].append(int(probabilities.argmax()))
        return written[kind][-1]

    # Not by name: `tlab.generate` is the function of the module `tlab.generate`.
    for module in ("benchmarks.jobs", "tlab.generate"):
        monkeypatch.setattr(importlib.import_module(module), "draw", best)
    for kind in (cached_generation, uncached_generation):
        written[kind] = []
        kind(Transformer(config), tokenizer, tokenizer.decode([3, 1, 4]))(9)
    assert written[cached_generation] == written[uncached_generation]
    assert len(written[cached_generation]) == 9


def test_every_job_of_the_table_exists():
    for case in CASES:
        for side in case.sides:
            module, function = side.job.split(":")
            if not missing_modules(side):
                assert callable(getattr(importlib.import_module(module), function))


def test_a_side_that_is_not_installed_is_left_out():
    missing = Side("nobody has it", "benchmarks.jobs:training", target=1.0, modules=("surely_not_installed",))
    assert missing_modules(missing) == ["surely_not_installed"]
    results = list(measure(Case("x", "x", "token", 2, (QUICK, missing)), turns=2))
    assert [result.side for result in results] == [QUICK]
    assert len(results[0].seconds) == 2 and min(results[0].seconds) > 0


def test_a_worker_that_fails_is_an_error_with_its_name():
    with pytest.raises(RuntimeError, match=r"'broken' ended with code 1"):
        Worker(Side("broken", "benchmarks.jobs:no_such_job"))


def test_a_result_compares_medians_and_keeps_the_spread_of_the_turns():
    ours, theirs = Side("a", "m:f"), Side("b", "m:f", target=0.5)
    case = Case("c", "t", "step", 1, (ours, theirs))
    result = Result(case, theirs, [2.0, 4.0, 8.0], [1.0, 2.2, 2.0])
    assert result.ratio == 2.0 / 4.0
    assert result.turn_ratios == [0.25, 0.5, 0.55]
    assert result.met is True
    assert json.loads(json.dumps(result.to_json()))["turn_ratios"] == [0.25, 0.5, 0.55]
    assert Result(case, ours, [1.0], [1.0]).met is None
    assert Result(case._replace(most_seconds=0.5), ours, [1.0], [1.0]).met is False


def test_a_recipe_is_judged_by_the_mean_or_by_the_time_of_every_seed():
    low, high = (Outcome(0, 4.2, loss, 10, 50.0, 100.0) for loss in (1.9, 1.95))
    assert judge(NANOGPT, [low, high]) is True
    assert judge(NANOGPT, [high, high]) is False
    timed = NANOGPT._replace(seconds=60.0)
    assert judge(timed, [low, high]) is True
    assert judge(timed, [low, high._replace(target_seconds=math.inf)]) is False
    assert judge(timed, [low, high._replace(target_seconds=None)]) is False
