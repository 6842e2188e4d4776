"""The benchmarks compare what they say they compare, and report what they measured."""

import dataclasses
import importlib
import importlib.util
import json
import math
import random
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import benchmarks.jobs
from benchmarks import growth, memory_use, real_model, scaling, search, switches
from benchmarks.__main__ import measure_sections, selected
from benchmarks.cases import (
    BPE_CASES,
    CASES,
    FAMILY_WORDS,
    LARGE_SIZE,
    SINK_CASES,
    SIZES,
    Case,
    Side,
    Size,
    size_of,
)
from benchmarks.contestants import CONTESTANTS, RECIPE, SWITCHES, TARGET, Look
from benchmarks.growth import USUAL, VALUES, Growth, exponent
from benchmarks.jobs import (
    cached_generation,
    initial_weights,
    learning_bpe,
    make_trainer,
    random_corpus,
    uncached_generation,
)
from benchmarks.limit import large_products, product_calls
from benchmarks.machine import PerKind, as_text, describe, kind, large_product_rate
from benchmarks.memory_use import measured
from benchmarks.nanogpt import NANOGPT, Outcome, judge
from benchmarks.race import Finish, mean_end
from benchmarks.report import main as render_files
from benchmarks.report import render
from benchmarks.scaling import OneAfterAnother, Scaling
from benchmarks.search import FIRST, configs, neighbour
from benchmarks.sinks import SINKS, adam
from benchmarks.store import Store
from benchmarks.switches import measure_alone, switches_alone
from benchmarks.turns import Result, measure, missing_modules
from benchmarks.worker import Worker
from support import tiny
from tlab import Checkpoint
from tlab.checks import random_model
from tlab.config import options
from tlab.cost import step_flops
from tlab.nn.config import ModelConfig
from tlab.nn.linear import LARGE_VOCABULARY
from tlab.nn.model import Transformer
from tlab.text import IdsTokenizer
from tlab.training.config import TrainConfig

QUICK = Side("ours", "benchmarks.jobs:generation", ("default", "own", "cached", "1", "1"))


# Peer -> what it needs, and which families it can be.
PEERS = {
    "pytorch": ("torch", [*FAMILY_WORDS, "own"]),
    "jax_peer": ("jax", [*FAMILY_WORDS, "own"]),
    "textbook": ("numpy", ["gpt2", "own"]),
    "glassllm_peer": ("glassllm", ["llama"]),
    "huggingface": ("transformers", ["gpt2"]),
}


@pytest.fixture
def float64_in_jax():
    """JAX computes in float32 unless told otherwise, for the whole process."""
    if importlib.util.find_spec("jax") is None:
        yield
        return
    import jax

    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", before)


@pytest.mark.filterwarnings("ignore")  # other people's imports
@pytest.mark.parametrize(
    ("peer", "family"), [(peer, family) for peer, (_, families) in PEERS.items() for family in families]
)
def test_a_peer_has_the_same_loss_and_gradients(peer, family, float64_in_jax):
    pytest.importorskip(PEERS[peer][0], reason=f"the peer needs {PEERS[peer][0]}: pip install '.[benchmark]'")
    module = importlib.import_module(f"benchmarks.peers.{peer}")
    config = size_of("default", family).config
    model = Transformer(config, seed=1, dtype=np.float64)
    rng = np.random.default_rng(0)
    for param in model.parameters.values():  # biases and shifts off zero, so that one mixed up is seen
        param.data += 0.1 * rng.normal(size=param.shape)
    ids, targets = rng.integers(0, config.vocab_size, (2, 3, 20))
    loss, gradients = model.loss_and_gradients(ids, targets)
    weights = {name: param.data.copy() for name, param in model.parameters.items()}
    their_loss, theirs = module.loss_and_gradients(config, weights, ids, targets)
    assert their_loss == pytest.approx(loss, rel=1e-7)  # PyTorch's tables of positions are float32
    assert theirs.keys() == gradients.keys()
    for name, gradient in gradients.items():
        np.testing.assert_allclose(theirs[name], gradient, atol=1e-7, err_msg=name)


@pytest.mark.parametrize("peer", ["pytorch", "jax_peer", "textbook", "glassllm_peer", "huggingface"])
@pytest.mark.filterwarnings("ignore")
def test_the_job_of_a_peer_trains_or_writes(peer):
    pytest.importorskip(PEERS[peer][0], reason=f"the peer needs {PEERS[peer][0]}: pip install '.[benchmark]'")
    module = importlib.import_module(f"benchmarks.peers.{peer}")
    family = PEERS[peer][1][0]
    if peer == "huggingface":
        module.generation("default", "5")(5)
        return
    module.training("default", family, "1", *(["eager"] if peer == "pytorch" else []))(1)


def test_the_textbook_version_learns_like_ours():
    from benchmarks.peers import textbook

    config = size_of("default", "gpt2").config
    weights = initial_weights(config)
    model = Transformer(config)
    model.load(weights)
    ids, targets = np.random.default_rng(0).integers(0, config.vocab_size, (2, 4, config.context_length))
    loss, gradients = textbook.loss_and_gradients(config, weights, ids, targets)
    assert loss == pytest.approx(math.log(config.vocab_size), rel=0.05)
    assert loss == pytest.approx(model.loss_and_gradients(ids, targets)[0], rel=1e-5)
    stepped = {name: w - 0.1 * gradients[name] for name, w in weights.items()}
    assert textbook.loss_and_gradients(config, stepped, ids, targets)[0] < loss


def test_nanogpts_recipe_follows_its_schedule_and_learns():
    pytest.importorskip("torch", reason="the peer needs PyTorch: pip install '.[benchmark]'")
    from benchmarks.peers import nanogpt

    assert nanogpt.learning_rate(nanogpt.WARMUP) == nanogpt.HIGHEST
    assert nanogpt.learning_rate(nanogpt.STEPS) == pytest.approx(nanogpt.LOWEST)
    assert 0 < nanogpt.learning_rate(0) < nanogpt.learning_rate(1) < nanogpt.HIGHEST
    run = nanogpt.Run(np.tile(np.arange(65), 40), seed=0)
    first = run.evaluate(np.arange(65))
    assert first == pytest.approx(math.log(65), rel=0.05)
    for _ in range(12):
        run.advance()
    assert run.evaluate(np.arange(65)) < first - 0.1
    assert len(list(run.model.parameters())) == 2 + 4 * 6 + 1


def test_the_tight_pytorch_loop_decodes_what_the_model_says():
    pytest.importorskip("torch", reason="the peer needs PyTorch: pip install '.[benchmark]'")
    import torch

    from benchmarks.peers.pytorch import Decoder, TorchTransformer, load

    config = size_of("default", "gpt2").config
    model = Transformer(config, seed=1)
    theirs = TorchTransformer(config)
    load(theirs, {name: param.data for name, param in model.parameters.items()})
    decoder = Decoder(theirs, config)
    ids = np.random.default_rng(0).integers(0, config.vocab_size, 12)
    with torch.inference_mode():
        scores = np.concatenate([decoder.logits(int(token), t).numpy() for t, token in enumerate(ids)])
    np.testing.assert_allclose(scores, model.forward(ids[None])[0][0], atol=1e-5)


@pytest.mark.parametrize("family", ["own", "llama"])
def test_the_products_of_a_step_are_all_its_operations(family):
    config, batch_size = size_of("default", family)
    operations = sum(2 * a.size * b.shape[-1] for a, b in product_calls(config, batch_size))
    assert operations == step_flops(config, batch_size)


def test_a_larger_vocabulary_may_take_its_operations_longer_and_three_tenths_of_a_step():
    (large, batch_size), (small, same) = (size_of(side.arguments[0]) for side in BPE_CASES[0].sides)
    assert batch_size == same and small == dataclasses.replace(large, vocab_size=65)
    operations = step_flops(large, batch_size) / step_flops(small, batch_size)
    assert BPE_CASES[0].sides[1].target == pytest.approx(operations + 0.3)


def test_byte_pairs_are_counted_anew_each_time(monkeypatch):
    counted = []
    monkeypatch.setattr(
        benchmarks.jobs, "CORPORA", {"shakespeare": lambda: SimpleNamespace(text=lambda: "ab" * 600_000)}
    )
    monkeypatch.setattr(benchmarks.jobs, "count_merges", lambda text, size: counted.append((len(text), size)))
    learning_bpe("1024")(3)
    assert counted == [(1_000_000, 1024)] * 3


def test_large_products_make_as_many_operations_as_a_step(monkeypatch):
    done = []
    work = large_products("default", "own")
    monkeypatch.setattr(np, "matmul", lambda a, b, out: done.append(2 * a.size * b.shape[1]))
    work(7)
    assert sum(done) == pytest.approx(7 * step_flops(*size_of("default")), rel=1e-3)


@pytest.mark.parametrize("case", SINK_CASES, ids=lambda case: case.title)
def test_the_ways_of_a_sink_give_the_same(case):
    results = [SINKS[side.label]()() for side in case.sides]
    for other in results[1:]:
        if results[0] is not None:
            np.testing.assert_allclose(other, results[0], rtol=1e-5, atol=1e-4)


def test_adam_on_one_vector_is_adam_tensor_by_tensor():
    rng = np.random.default_rng(0)
    whole = [rng.random(12, np.float32) for _ in range(4)]
    parts = [[vector[:5].copy() for vector in whole], [vector[5:].copy() for vector in whole]]
    for vectors in (whole, *parts):
        adam(*vectors)
    np.testing.assert_array_equal(whole[0], np.concatenate([part[0] for part in parts]))


def test_the_memory_of_a_real_model_is_that_of_fresh_processes_in_turn(monkeypatch):
    sides = [Side(name, f"m:{name}") for name in ("ours", "theirs")]
    peaks = {"ours": iter([120, 100, 110]), "theirs": iter([150, 150, 180])}
    asked = []

    def peak(side, units):
        asked.append((side.label, units))
        return next(peaks[side.label])

    monkeypatch.setattr(real_model, "memory_in_use", peak)
    ours, theirs = real_model.peaks_in_turn(Case("real", "reads", "text", 7, tuple(sides)), needed=100)
    assert asked == [("ours", 7), ("theirs", 7)] * 3
    assert (ours["peaks"], ours["ratio"], ours["met"]) == ([100, 110, 120], 1.1, True)
    assert real_model.memory_line(ours).endswith("ratio 1.10  (1.00 to 1.20)   at most 1.15: reached")
    assert theirs["met"] is None and real_model.memory_line(theirs).endswith("ratio 1.50  (1.50 to 1.80)")


def test_a_report_keeps_other_cases_and_replaces_its_own(tmp_path):
    path = tmp_path / "report.json"
    row = {"case": "step", "title": "nano", "side": "tlab", "median_seconds": 1.0}
    Store(path).add({"cores": 2}, [row, {**row, "side": "JAX jit"}])
    Store(path).add({"cores": 4}, [{**row, "median_seconds": 2.0}])
    Store(path).put({"cores": 2}, "memory", [])
    report = json.loads(path.read_text())
    assert {(found["side"], found["median_seconds"]) for found in report["results"]} == {
        ("tlab", 2.0),
        ("JAX jit", 1.0),
    }
    assert report["machines"] == {"step": {"cores": 4}, "memory": {"cores": 2}} and report["memory"] == []


def test_the_race_is_over_at_the_first_look_that_is_low_enough():
    looks = [Look(20, 2.0, 1.0, 0.9), Look(40, TARGET, 2.0, 1.8), Look(60, 1.7, 3.0, 2.7)]
    assert Finish("tlab", 0, looks).arrival == looks[1]
    late = Finish("other", 0, looks[:1])
    assert late.arrival is None and late.end == looks[0]
    assert mean_end([Finish("tlab", 0, looks), Finish("tlab", 1, looks[1:]), late], "tlab", "step") == 40


def test_peers_and_sizes_are_chosen_by_name():
    case = next(case for case in CASES if case.name == "step" and case.size == "nano")
    assert selected(case, (), (), ()) == case
    assert selected(case, ("small",), (), ()) is None
    assert selected(case, (), (), (2,)) is None
    chosen = selected(case, ("nano",), ("jax",), (1,))
    assert chosen is not None and [side.label for side in chosen.sides] == ["tlab", "JAX jit"]
    assert selected(case, (), ("nobody",), ()) is None


def measured_report(rate):
    """As `python -m benchmarks` writes it on a processor of this rate, with made-up times."""
    rows = []
    for case in CASES:
        ours = [1.0, 2.0, 3.0]
        for i, side in enumerate(case.sides):
            rows.append(Result(case, side, [seconds * (i + 1) for seconds in ours], ours, rate=rate).to_json())
    switches = {"norm": "layernorm", "activation": "gelu", "residual": "pre", "position": "rope"}
    race = [Finish(name, 0, [Look(20, 2.0, 9.0, 9.0), Look(40, 1.8, 18.0, 18.0)]) for name in CONTESTANTS]
    of_real = real_model.cases(Path("run"), Path("hf"))
    rows += [Result(case, side, [2.0], [1.0]).to_json() for case in of_real for side in case.sides]
    memory = {"title": "reads", "side": "tlab", "peaks": [100 << 20, 110 << 20, 120 << 20], "ratio": 1.1}
    of_width = Growth("hidden_dim", 128, [64, 128, 256], [1, 4, 16], [[1.0, 2.0, 3.0], [8.0] * 3, [4.0, 64.0, 64.0]])
    of_threads = [Scaling("nano", k, [1.0] * 3, [8.0 / k] * 3, [10.0 / k] * 3 if k < 4 else []) for k in (1, 2, 4)]
    sections = ("memory", "switches", "alone", "race", "real", "growth", "scaling")
    names = [*dict.fromkeys(case.name for case in CASES), *sections]
    machine = describe()
    return {
        "machines": {name: machine | {"large_products": rate} for name in names},
        "results": rows,
        "memory": [{"size": "nano", "side": "tlab", "interpreter": 1 << 20, "imported": 2 << 20, "peak": 7 << 20}],
        "switches": [{"size": "nano", "switches": switches, "ratio": 1.6, "flops_ratio": 1.0, "excess": 1.6}],
        "alone": [{"size": "nano", "switch": "norm dyt", "ratio": 1.2, "flops_ratio": 1.0, "excess": 1.2}],
        "race": [finish._asdict() for finish in race],
        "growth": [of_width._asdict()],
        "scaling": [row._asdict() for row in of_threads],
        "real": [{**memory, "weights_and_cache": 100 << 20, "target": 1.15, "met": True}],
    }


def test_the_page_tells_what_was_measured_and_what_was_not(tmp_path):
    (tmp_path / "measured").mkdir()
    for name, rate in {"a": 96.0, "b": 205.0}.items():
        report = measured_report(rate)
        report["machines"]["real"]["large_products"] = 151.0  # another kind, if it were not for the first sitting
        (tmp_path / "measured" / f"{name}.json").write_text(json.dumps(report))
    render_files(tmp_path / "measured", tmp_path / "performance.md")
    page = (tmp_path / "performance.md").read_text()
    wide, narrow = (f"{step_flops(*size_of('default')) / rate / 1e9 / 4:.2g}" for rate in (205, 96))
    both = [line for line in page.splitlines() if line.startswith("| PyTorch eager |")]
    assert both[0] == (
        f"| PyTorch eager | 4 s | **0.50** (0.50 to 0.50) | {wide} | 0.5 | reached "
        f"| 4 s | **0.50** (0.50 to 0.50) | {narrow} | 0.75 | reached |"
    )
    assert "| side | wide kind: time | ratio | floor | at most |  | narrow kind: time |" in page
    assert "large products at 96 GFLOP/s a core" in page and "large products at 205 GFLOP/s a core" in page
    assert "| nano | tlab | 5 | 7 |" in page
    assert "| nano | norm dyt | 1.20 | 1.00 | **1.20** |" in page
    assert "| reads: tlab | 110 | **1.10** (1.00 to 1.20) | 1.15 | reached |" in page
    assert "| Transformers | 2 s | **0.50** (0.50 to 0.50) |  | 0.8 | reached |" in page
    assert page.count("| side | narrow kind: time | ratio") == 2, "the tables of the real model, of each kind"
    assert "**missed**" in page and "Not measured" not in page
    assert "| width C, 64 to 256 | 2 s to 64 s | 2.00 | **2.50** (1.00 to 2.50) | 1.00 to 2.00 |" in page
    assert "| nano | 2 | 5 s | 1.80 | 20% | 5 s | **1.00** |" in page
    assert "| nano | 4 | 3 s | 3.00 | 33% |  |  |" in page
    assert "nano, 2 threads, simulated 5 s and measured 5 s. Real steps take 1.00 to 1.00 times as long" in page
    for name in ("wide-steps", "narrow-limit", "wide-race", "narrow-growth"):
        assert (tmp_path / "images" / f"performance-{name}.png").stat().st_size > 5000
        assert f"performance-{name}.png" in page
    assert page.count("Not measured yet") == 0
    empty = render({"wide": {"machines": {}, "results": []}}, "images")
    assert empty.count("Not measured yet") == 17 and "png" not in empty


def test_each_switch_has_a_turn_alone():
    alone = switches_alone(size_of("default").config)
    for config in (ModelConfig, TrainConfig):
        for name, option in options(config).items():
            if option.is_extra and name not in ("rope_base", "adam_ratio"):  # numbers that change no work
                assert any(name in changes for changes in alone.values()), name
    on = [{**changes} for changes in alone.values()]
    assert {"norm": "dyt"} in on and {"activation": "relu2"} in on and {"schedule": "wsd"} in on
    assert not any(changes.get("norm") == "layernorm" for changes in on)


@pytest.mark.filterwarnings("ignore")  # other people's imports
def test_both_sides_of_the_real_model_read_and_write_the_same_one(tmp_path, monkeypatch, rng):
    pytest.importorskip("torch", reason="the peer needs PyTorch: pip install '.[benchmark]'")
    pytest.importorskip("transformers", reason="the peer needs Transformers: pip install '.[benchmark]'")
    monkeypatch.setattr(real_model, "TOKENS", 8)
    monkeypatch.setattr(real_model, "GENERATED", 4)
    monkeypatch.setattr(real_model, "PROMPT", 2)
    config = tiny(norm="rmsnorm", position="rope", activation="swiglu", embedding_scale=1.0, bias=False)
    model = random_model(config, rng)
    weights = {name: param.data.astype(np.float32) for name, param in model.parameters.items()}
    corpus = {"name": "a text", "sha256": "0", "size": 0, "tokenizer": IdsTokenizer(11).to_json()}
    checkpoint = Checkpoint(config, TrainConfig(), corpus, 0, weights)
    checkpoint.save(tmp_path / "run")
    checkpoint.export(tmp_path / "hf")
    ids = real_model.some_ids(11, 8)
    import torch

    theirs = real_model.their_model(str(tmp_path / "hf"))(torch.from_numpy(ids)).logits.detach().numpy()
    assert np.abs(checkpoint.model().forward(ids)[0] - theirs).max() <= 1e-5
    for case in real_model.cases(tmp_path / "run", tmp_path / "hf"):
        for side in case.sides:
            _, job = side.job.split(":")
            getattr(real_model, job)(*side.arguments)(case.units)


def test_a_switch_is_measured_against_the_model_without_it():
    row = measure_alone("softmax", "default", {"attention_softmax": "plus_one", "dropout": 0.1}, 1, width=8)
    assert row.flops_ratio == 1.0 and row.excess == row.ratio > 0


def test_an_exponent_is_that_of_a_power_law():
    values = [2, 8, 32]
    assert exponent(values, [5 * value**1.7 for value in values]) == pytest.approx(1.7)
    turns = [[1.0, 1.0, 9.0], [4.0, 16.0, 16.0]]
    growth = Growth("hidden_dim", 8, [2, 8], [3, 6], turns)
    assert growth.medians == [1.0, 16.0] and growth.line == [8.0, 16.0]
    assert growth.theory == pytest.approx(0.5) and growth.measured == pytest.approx(2.0)
    assert growth.spread == pytest.approx((math.log(16 / 9, 4), 2.0))


def test_growth_is_measured_around_one_model_and_over_vocabularies_of_one_kind():
    for quantity, values in VALUES.items():
        assert getattr(USUAL.config, quantity) in values and list(values) == sorted(values)
    assert min(VALUES["vocab_size"]) > LARGE_VOCABULARY, "so that the embedding's gradient is sorted in all of them"


def test_every_quantity_has_its_values_in_each_turn(monkeypatch, capsys):
    monkeypatch.setattr(growth, "OPERATIONS", 1)
    usual = Size(tiny(vocab_size=20), 2)
    rows = growth.section(2, usual, {"num_layers": (1, 2), "vocab_size": (20, 30, 300)})
    layers, tokens = (Growth(**row) for row in json.loads(json.dumps(rows)))
    assert (layers.values, layers.usual) == ([1, 2], 2) and tokens.values == [20, 30, 300]
    assert layers.operations == [step_flops(tiny(vocab_size=20, num_layers=L), 2) for L in (1, 2)]
    assert layers.seconds[1] == tokens.seconds[0], "the usual model is measured once"
    assert [len(turns) for turns in tokens.seconds] == [2, 2, 2] and min(tokens.medians) > 0
    assert "exponent" in capsys.readouterr().out


def test_parts_one_after_another_make_the_steps_of_real_threads():
    config = tiny()
    corpus = random_corpus(config.vocab_size)
    real, split = (make_trainer(config, 5, corpus, 3) for _ in range(2))
    split.batch_threads = OneAfterAnother(split.model, split.compute)
    for _ in range(3):
        real.train_step()
        split.train_step()
    np.testing.assert_array_equal(split.model.parameters.data, real.model.parameters.data)
    assert len(split.batch_threads.seconds) == 3 and min(split.batch_threads.seconds) > 0


def test_a_simulated_step_takes_what_is_outside_of_its_parts_and_the_longest_of_them(monkeypatch):
    trainer = make_trainer(tiny(), 4, random_corpus(11), 2)
    trainer.batch_threads = OneAfterAnother(trainer.model, trainer.compute)
    steps = iter([(10.0, [3.0, 4.0]), (12.0, [5.0, 4.0]), (20.0, [4.0, 9.0])])

    def step_seconds(trainer):
        whole, trainer.batch_threads.seconds = next(steps)
        return whole

    monkeypatch.setattr(scaling, "step_seconds", step_seconds)
    assert scaling.simulate(trainer, 3) == (3.0, 4.0)  # medians of 3, 3, 7; of 3, 5, 4 and of 4, 4, 9


def test_threads_are_simulated_for_any_machine_and_measured_where_it_has_the_processors(monkeypatch):
    monkeypatch.setattr(scaling.os, "cpu_count", lambda: 2)
    single, two, four = scaling.measure("tiny", Size(tiny(), 4), turns=2, steps=1, threads=(1, 2, 4))
    assert [len(row.serial) for row in (single, two, four)] == [len(row.part) for row in (single, two, four)] == [2] * 3
    assert len(two.measured) == 2 and four.measured == [] and four.miss is None
    row = Scaling("tiny", 2, [1.0, 3.0, 2.0], [4.0, 6.0, 8.0], [10.0, 8.0, 12.0])
    assert (row.simulated, row.serial_share, row.miss) == (8.0, 0.25, 1.25)
    assert "measured 10 s, 1.25 of that" in scaling.line(row, row)


def test_a_section_keeps_the_sizes_that_were_not_measured_again(tmp_path):
    report = Store(tmp_path / "report.json")
    report.put_sizes({"cores": 2}, "switches", [{"size": "nano", "ratio": 1}, {"size": "default", "ratio": 2}])
    report.put_sizes({"cores": 4}, "switches", [{"size": "default", "ratio": 3}])
    report.put_sizes({"cores": 8}, "switches", [])  # no size of it was asked for
    assert report.report["switches"] == [{"size": "nano", "ratio": 1}, {"size": "default", "ratio": 3}]
    assert report.report["machines"] == {"switches": {"cores": 4}}


@pytest.mark.parametrize(
    ("section", "module", "name"),
    [
        ("switches", switches, "section"),
        ("alone", switches, "alone"),
        ("scaling", scaling, "section"),
        ("memory", memory_use, "section"),
    ],
)
def test_a_size_that_is_complete_is_kept_when_the_next_one_is_stopped(section, module, name, tmp_path, monkeypatch):
    def measured(size, *turns, **processes):
        if "nano" in size:
            raise KeyboardInterrupt
        return [{"size": "default", "ratio": 1}]

    monkeypatch.setattr(module, name, measured)
    with pytest.raises(KeyboardInterrupt):
        measure_sections(Store(tmp_path / "a.json"), {}, (section,), ("default", "nano"), turns=1, clock="wall")
    assert json.loads((tmp_path / "a.json").read_text())[section] == [{"size": "default", "ratio": 1}]


def test_the_memory_of_the_large_model_is_kept_beside_that_of_the_others(tmp_path, monkeypatch):
    report = Store(tmp_path / "report.json")
    report.put({}, "memory", [{"size": "nano", "peak": 1}, {"size": LARGE_SIZE, "peak": 2}])
    monkeypatch.setattr(memory_use, "section", lambda sizes, processes: [{"size": size, "peak": 3} for size in sizes])
    measure_sections(report, {}, ("large",), ("default", LARGE_SIZE), turns=1, clock="wall")
    assert report.report["memory"] == [{"size": "nano", "peak": 1}, {"size": LARGE_SIZE, "peak": 3}]


def test_memory_is_counted_in_a_fresh_process():
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("only Linux tells a process's peak memory this way")
    found = measured(QUICK)
    assert 1 << 20 < found.interpreter < found.imported <= found.peak


def test_the_nano_size_is_nanogpts():
    # 65 x 128 and 64 x 128 embeddings, 4 blocks of 12 x 128 x 128 weights and two norms, and the final norm.
    assert Transformer(SIZES["nano"].config).num_parameters == 129 * 128 + 4 * (12 * 128**2 + 4 * 128) + 2 * 128


def test_cached_and_uncached_generation_write_the_same_text(monkeypatch):
    config = ModelConfig(vocab_size=65, context_length=12, hidden_dim=8, num_layers=1, num_heads=2)
    tokenizer = random_corpus(config.vocab_size).tokenizer
    written = {}

    def best(probabilities, rng):
        written[way].append(int(probabilities.argmax()))
        return written[way][-1]

    # Not by name: `tlab.generate` is the function of the module `tlab.generate`.
    for module in ("benchmarks.jobs", "tlab.generate"):
        monkeypatch.setattr(importlib.import_module(module), "draw", best)
    for way in (cached_generation, uncached_generation):
        written[way] = []
        way(Transformer(config), tokenizer, tokenizer.decode([3, 1, 4]))(9)
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


def test_a_target_may_depend_on_the_kind_of_processor():
    ours, theirs = Side("a", "m:f"), Side("b", "m:f", target=PerKind(narrow=0.75, wide=0.5))
    case = Case("c", "t", "step", 1, (ours, theirs))
    narrow, wide = (Result(case, theirs, [1.0], [0.6], rate=rate) for rate in (95, 200))
    assert (narrow.target, narrow.met) == (0.75, True) and (wide.target, wide.met) == (0.5, False)
    assert (kind(95), kind(200)) == ("narrow", "wide")
    assert Result(case, theirs, [1.0], [0.6]).target is None


def test_an_older_processor_is_of_the_half_kind_which_has_no_targets_of_its_own():
    assert [kind(rate) for rate in (36, 45, 60, 61, 150, 151)] == ["half"] * 3 + ["narrow"] * 2 + ["wide"]
    case = Case("step", "x", "training step", 1, (Side("a", "m:f"), Side("b", "m:f", target=PerKind(0.75, 0.5))))
    found = Result(case, case.sides[1], [1.0], [0.9], rate=40)
    assert found.target is None and found.met is None


def test_the_floor_of_a_ratio_is_the_time_of_large_products_over_the_peers():
    ours, theirs = Side("a", "m:f"), Side("b", "m:f")
    case = Case("c", "t", "step", 1, (ours, theirs), threads=2, operations=3e9)
    assert Result(case, theirs, [0.5], [0.4], rate=100.0).floor == pytest.approx(3 / 200 / 0.5)
    assert Result(case, theirs, [0.5], [0.4]).floor is None
    assert Result(case._replace(operations=None), theirs, [0.5], [0.4], rate=100.0).floor is None


def test_a_machine_tells_how_fast_its_large_products_are():
    assert describe()["large_products"] > 0.1 and large_product_rate() > 0.1
    assert "large products at 96 GFLOP/s a core" in as_text(describe() | {"large_products": 96.2})


def test_a_recipe_is_judged_by_the_mean_or_by_the_time_of_every_seed():
    low, high = (Outcome(0, 4.2, loss, 10, 50.0, 100.0) for loss in (1.9, 1.95))
    assert judge(NANOGPT, [low, high]) is True
    assert judge(NANOGPT, [high, high]) is False
    timed = NANOGPT._replace(seconds=60.0)
    assert judge(timed, [low, high]) is True
    assert judge(timed, [low, high._replace(target_seconds=math.inf)]) is False
    assert judge(timed, [low, high._replace(target_seconds=None)]) is False


def test_a_search_changes_one_or_two_settings_and_every_choice_is_a_run():
    rng = random.Random(0)
    for _ in range(60):
        settings = neighbour(FIRST, rng)
        assert 1 <= sum(settings[name] != FIRST[name] for name in FIRST) <= 2
        model, training = configs(settings, texts=600)
        assert training.steps == round(600 / settings["batch"]) and model.vocab_size == 65


def test_the_recipe_of_the_race_is_the_best_trial_of_the_search_on_fewer_steps():
    trials = [json.loads(line) for line in (Path(search.__file__).parent / "search.jsonl").read_text().splitlines()]
    best = min(trials, key=lambda found: found["loss"])
    model, training = configs(best, best["texts"])
    assert model == SWITCHES
    steps, warmup = RECIPE.steps, round(best["warm"] * RECIPE.steps)
    assert dataclasses.replace(training, steps=steps, warmup_steps=warmup) == RECIPE
