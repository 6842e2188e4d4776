"""An export to PyTorch is one folder that computes what the lab computes, for every combination, without the lab."""

import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("torch", reason="the export needs PyTorch: pip install torch")

import torch

from pretrained.test_export import checkpoint_of
from support import all_combinations, further_combinations, tiny
from tlab import Checkpoint, ModelConfig, TrainConfig
from tlab.config import options
from tlab.nn.activations import ACTIVATIONS, Relu
from tlab.nn.norms import NORMS
from tlab.nn.positions import POSITIONS
from tlab.nn.residuals import RESIDUALS
from tlab.nn.scores.softmaxes import ATTENTION_SOFTMAXES
from tlab.pretrained import torch_model
from tlab.pretrained.families.gpt2 import Gpt2
from tlab.pretrained.fields import PretrainedError
from tlab.text import ByteTokenizer


@pytest.mark.parametrize("config", [*all_combinations(), *further_combinations()])
def test_the_module_computes_the_same_logits(config, tmp_path, rng):
    single = checkpoint_of(config, rng)
    weights = {name: array.astype(np.float64) for name, array in single.weights.items()}
    checkpoint = Checkpoint(config, TrainConfig(), single.corpus, 0, weights)
    checkpoint.export(tmp_path / "torch", to="torch")
    ids = rng.integers(0, config.vocab_size, (2, config.context_length))
    with torch.no_grad():
        theirs = torch_model.load(tmp_path / "torch")(torch.tensor(ids)).numpy()
    ours = checkpoint.model().forward(ids)[0]
    assert theirs.dtype == np.float64
    assert np.abs(ours - theirs).max() <= 1e-9 * max(1, np.abs(ours).max())


def test_the_module_has_every_part_that_the_lab_has_and_no_other():
    assert {*torch_model.NORM_CLASSES} == {*NORMS} and {*torch_model.NONLINEARITIES} == {*ACTIVATIONS}
    assert {*torch_model.ADDITIONS} == {*RESIDUALS} and {*torch_model.PLACES_OF_ORDER} == {*POSITIONS}
    assert {*torch_model.WEIGHTINGS} == {*ATTENTION_SOFTMAXES}
    assert {*torch_model.FIELDS} == {name for name, about in options(ModelConfig).items() if about.is_extra}


@pytest.mark.parametrize("to", ["hf", "torch"])
def test_a_part_that_a_format_knows_nothing_of_is_refused_and_not_left_out(to, tmp_path, rng, monkeypatch):
    monkeypatch.setattr(torch_model, "FIELDS", [name for name in torch_model.FIELDS if name != "score_cap"])
    of_caps = [field for field in Gpt2.fields if getattr(field, "ours", "") != "score_cap"]
    monkeypatch.setattr(Gpt2, "fields", of_caps)
    config = tiny(position="learned", score_cap=2.0, num_kv_heads=None)
    with pytest.raises(PretrainedError, match="score_cap = 2"):
        checkpoint_of(config, rng).export(tmp_path / "out", to=to)
    checkpoint_of(tiny(position="learned", rope_base=500.0), rng).export(tmp_path / "out", to=to)  # of no effect


def test_the_folder_runs_alone_and_goes_on_with_the_same_text(tmp_path, rng):
    config = tiny(vocab_size=256, position="alibi", num_kv_heads=1)
    checkpoint = checkpoint_of(config, rng, ByteTokenizer())
    checkpoint.export(tmp_path / "torch", to="torch")
    program = (
        "import sys, torch; sys.path.insert(0, '.'); from model import load\n"
        "print(load().write(torch.tensor([[72, 105]]), 12)[0].tolist()); print('tlab' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", program], cwd=tmp_path / "torch", capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stderr
    ids, model = [72, 105], checkpoint.model()
    for _ in range(12):
        ids.append(int(model.forward(np.array([ids[-config.context_length :]]))[0][0, -1].argmax()))
    assert done.stdout.split("\n")[:2] == [str(ids), "False"]
    assert (tmp_path / "torch" / "tokenizer.json").is_file()


def test_a_part_that_the_module_does_not_have_is_refused_and_nothing_is_written(tmp_path, rng, register):
    register(ACTIVATIONS, "newcomer", Relu)
    with pytest.raises(PretrainedError, match="activation = 'newcomer'"):
        checkpoint_of(tiny(activation="newcomer"), rng).export(tmp_path / "torch", to="torch")
    assert not list(tmp_path.iterdir())


def test_without_pytorch_the_error_says_what_to_install(tmp_path, rng, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(PretrainedError, match="pip install torch"):
        checkpoint_of(tiny(), rng).export(tmp_path / "torch", to="torch")
    assert not list(tmp_path.iterdir())
