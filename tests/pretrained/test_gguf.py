"""GGUF files, written here by the package that llama.cpp has for it."""

import json
import os

import numpy as np
import pytest

pytest.importorskip("gguf", reason="GGUF files need the package gguf: pip install '.[gguf]'")

import gguf
from safetensors.numpy import load_file

from pretrained.folders import write_folder
from tlab import Checkpoint, generate
from tlab.cli.commands import main
from tlab.pretrained.gguf_files import OF_CONFIG, OF_LAYER, OF_MODEL
from tlab.pretrained.reading import read_pretrained
from tlab.text import IdsTokenizer
from tlab.text.byte_names import BYTE_NAMES

LLAMA_OF_32 = {
    "vocab_size": 37, "hidden_dim": 32, "num_heads": 4, "context_length": 80, "embedding_scale": 1.0, "num_kv_heads": 2,
    "norm": "rmsnorm", "activation": "swiglu", "position": "rope", "bias": False, "tied": False, "norm_epsilon": 1e-6,
    "mlp_ratio": 3.0,
}  # fmt: skip


def write_gguf(path, folder, *, kind=None, tokens=None, scaled=False, leave_out=()):
    """The model of a folder as a file, the rows of Llama's queries and keys in their order for neighbours."""
    about = json.loads((folder / "config.json").read_text("utf-8"))
    writer = gguf.GGUFWriter(path, about["model_type"])
    for own, theirs in OF_CONFIG.items():
        value = about.get(theirs, (about.get("rope_parameters") or {}).get(theirs))
        add = writer.add_float32 if isinstance(value, float) else writer.add_uint32
        add(f"{about['model_type']}.{own}", value)
    if scaled:
        writer.add_string(f"{about['model_type']}.rope.scaling.type", "yarn")
    if tokens:
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre(tokens["pre"])
        writer.add_token_list(tokens["list"])
        writer.add_token_types(tokens["kinds"])
        writer.add_token_merges(tokens["merges"])
    layer = {theirs: own for own, theirs in OF_LAYER.items()}
    whole = {theirs: own for own, theirs in OF_MODEL.items()}
    D = about["hidden_size"] // about["num_attention_heads"]
    for name, array in load_file(folder / "model.safetensors").items():
        own, _, of = name.rpartition(".")
        if own.startswith("model.layers."):
            number, part = own.removeprefix("model.layers.").split(".", 1)
            named = f"blk.{number}.{layer[part]}.{of}"
            if about["model_type"] == "llama" and part in ("self_attn.q_proj", "self_attn.k_proj"):
                array = array.reshape(-1, 2, D // 2, array.shape[1]).swapaxes(1, 2).reshape(array.shape)
        else:
            named = f"{whole[own]}.{of}"
        if named in leave_out:
            continue
        if kind and array.ndim == 2 and array.shape[1] % 32 == 0:
            writer.add_tensor(named, gguf.quants.quantize(array, kind), raw_dtype=kind)
        else:
            writer.add_tensor(named, np.ascontiguousarray(array))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.parametrize("name", ["llama", "qwen2", "qwen3"])
def test_a_file_is_the_same_model_as_the_folder_that_it_was_made_from(name, tmp_path, rng):
    config, weights = write_folder(tmp_path / "model", name, rng)
    model = read_pretrained(write_gguf(tmp_path / "model.gguf", tmp_path / "model"))
    assert model.config == config
    assert all(np.array_equal(model.weights[n], weights[n]) for n in weights)
    assert isinstance(model.tokenizer, IdsTokenizer) and "F32" in " ".join(model.remarks)


def test_a_file_without_a_head_is_tied(tmp_path, rng):
    config, _ = write_folder(tmp_path / "model", "llama", rng)
    path = write_gguf(tmp_path / "model.gguf", tmp_path / "model", leave_out=("output.weight",))
    model = read_pretrained(path)
    assert model.config.tied and not config.tied and "head.weight" not in model.weights


def test_weights_of_few_bits_are_the_numbers_that_they_stand_for(tmp_path, rng, monkeypatch):
    monkeypatch.setattr("pretrained.folders.MODELS", {"wide": ("llama", {**LLAMA_OF_32})})
    _, weights = write_folder(tmp_path / "model", "wide", rng)
    path = write_gguf(tmp_path / "model.gguf", tmp_path / "model", kind=gguf.GGMLQuantizationType.Q8_0)
    model = read_pretrained(path)
    assert "Q8_0" in " ".join(model.remarks)
    for name, array in weights.items():
        step = np.abs(array).max() / 127
        assert np.abs(model.weights[name] - array).max() <= 0.51 * step + 1e-4 * np.abs(array).max()


@pytest.mark.parametrize("rule", ["gpt-2", "smollm"])
def test_a_tokenizer_of_byte_pairs_comes_with_the_file(rule, tmp_path, rng, monkeypatch):
    monkeypatch.setattr("pretrained.folders.MODELS", {"wide": ("llama", {**LLAMA_OF_32, "vocab_size": 259})})
    write_folder(tmp_path / "model", "wide", rng)
    tokens = {
        "pre": rule,
        "list": [*BYTE_NAMES, "th", "12", "<|end|>"],
        "kinds": [1] * 258 + [3],
        "merges": ["t h", "1 2"],
    }
    path = write_gguf(tmp_path / "model.gguf", tmp_path / "model", tokens=tokens)
    tokenizer = read_pretrained(path).tokenizer
    ids = list(tokenizer.encode("the 12<|end|>é"))
    assert tokenizer.decode(ids) == "the 12<|end|>é"
    assert ids[0] == 256 and 258 in ids and (257 in ids) == (rule == "gpt-2")  # digits stand alone in SmolLM
    assert len(list(generate(Checkpoint.from_pretrained(path), "the", max_new_tokens=5))) == 5


def test_what_cannot_be_read_is_refused_in_words(tmp_path, rng, capsys):
    write_folder(tmp_path / "model", "llama", rng)
    good = write_gguf(tmp_path / "good.gguf", tmp_path / "model")

    def refusal(path):
        assert main(["import", str(path), "--out", str(tmp_path / "run")]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and not (tmp_path / "run").exists()
        return error

    assert "scaled RoPE" in refusal(write_gguf(tmp_path / "scaled.gguf", tmp_path / "model", scaled=True))
    lacking = write_gguf(tmp_path / "lacking.gguf", tmp_path / "model", leave_out=("blk.1.ffn_up.weight",))
    assert "lacks 1 tensor by what its config says: model.layers.1.mlp.up_proj.weight" in refusal(lacking)
    other = gguf.GGUFWriter(tmp_path / "other.gguf", "mamba")
    other.write_header_to_file()
    other.write_kv_data_to_file()
    other.write_tensors_to_file()
    other.close()
    assert "architecture 'mamba'; of GGUF the lab reads llama" in refusal(tmp_path / "other.gguf")
    (tmp_path / "none.gguf").write_bytes(b"<html>not found</html>")
    assert "no GGUF file" in refusal(tmp_path / "none.gguf")
    os.truncate(good, os.path.getsize(good) // 2)
    assert "truncated" in refusal(good)
