"""GGUF files, written here by the package that llama.cpp has for it."""

import json
import os

import numpy as np
import pytest

pytest.importorskip("gguf", reason="GGUF files need the package gguf: pip install '.[gguf]'")

import gguf
from safetensors.numpy import load_file

from pretrained.folders import LLAMA, write_folder
from support import tiny
from tlab import Checkpoint, TrainConfig, generate
from tlab.checks import random_model
from tlab.cli.commands import main
from tlab.pretrained.fields import PretrainedError
from tlab.pretrained.gguf_files import OF_CONFIG, OF_LAYER, OF_MODEL
from tlab.pretrained.reading import read_pretrained
from tlab.text import ByteTokenizer, CharTokenizer, IdsTokenizer
from tlab.text.bpe import Bpe512
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


# ------------------------------------------------------------------------------------------------ writing


def exported(tmp_path, rng, tokenizer=None, **fields):
    """A checkpoint with random weights, and the file that it is exported to."""
    tokenizer = tokenizer or IdsTokenizer(37)
    config = tiny(**{**LLAMA, **fields, "vocab_size": tokenizer.vocab_size})
    weights = {name: param.data.astype(np.float32) for name, param in random_model(config, rng).parameters.items()}
    for name, array in weights.items():  # Qwen 2 has no other biases
        array[...] = 0 if name.endswith((".out.bias", ".up.bias", ".gate.bias", ".down.bias")) else array
    corpus = {"name": "a text", "sha256": "0", "size": 0, "tokenizer": tokenizer.to_json()}
    checkpoint = Checkpoint(config, TrainConfig(), corpus, 0, weights)
    words = " ".join(checkpoint.export(tmp_path / "gguf", "gguf"))
    return checkpoint, tmp_path / "gguf" / "model.gguf", words


WRITTEN = {
    "llama": {},
    "llama, tied, no norm": {"tied": True, "norm": "none", "num_kv_heads": None},
    "llama, scaled embedding": {"embedding_scale": 4.0, "norm_epsilon": 1e-5},
    "qwen2": {"bias": True},
    "qwen3": {"qk_norm": "rmsnorm", "tied": True},
}


@pytest.mark.parametrize("name", WRITTEN)
def test_a_file_that_was_written_is_read_as_the_same_function(name, tmp_path, rng):
    checkpoint, path, words = exported(tmp_path, rng, **WRITTEN[name])
    assert f"of the architecture {name.partition(',')[0]}," in words
    again = Checkpoint.from_pretrained(path)
    ids = rng.integers(0, 37, (2, 80))
    ours = checkpoint.model().forward(ids)[0]
    assert np.abs(again.model().forward(ids)[0] - ours).max() <= 1e-5 * max(1, np.abs(ours).max())


@pytest.mark.parametrize("name", WRITTEN)
def test_transformers_reads_a_file_that_was_written_as_the_same_function(name, tmp_path, rng):
    torch = pytest.importorskip("torch", reason="the independent judge needs PyTorch: pip install '.[parity]'")
    transformers = pytest.importorskip("transformers", minversion="5", reason="the judge needs Transformers 5")
    checkpoint, path, _ = exported(tmp_path, rng, ByteTokenizer(), **WRITTEN[name])
    width = {"head_dim": 6} if name == "qwen3" else {}  # of these it takes 128 whatever the file says
    stock = transformers.AutoModelForCausalLM.from_pretrained(
        path.parent, gguf_file=path.name, dtype=torch.float32, **width
    )
    ids = rng.integers(0, 256, (2, 80))
    ours = checkpoint.model().forward(ids)[0]
    with torch.no_grad():
        theirs = stock.eval()(torch.tensor(ids)).logits.numpy()
    assert np.abs(ours - theirs).max() <= 1e-5 * max(1, np.abs(ours).max())


TEXT = "The cat's 12 hats:\n  tabs\t and spaces, thirty  cats and the hat 2024 "
TOKENIZERS = {
    "characters": CharTokenizer.from_text(TEXT),
    "bytes": ByteTokenizer(),
    "byte pairs": Bpe512.from_text(TEXT * 3),
}


@pytest.mark.parametrize("name", TOKENIZERS)
def test_a_tokenizer_is_in_the_file_and_cuts_texts_as_before(name, tmp_path, rng):
    tokenizer = TOKENIZERS[name]
    _, path, _ = exported(tmp_path, rng, tokenizer)
    again = Checkpoint.from_pretrained(path).tokenizer
    for text in [TEXT, TEXT[::-1], *(() if name == "characters" else ("é, 漢字 and 🙂; \u202e\u0000",))]:
        ids = tokenizer.encode(text)
        assert np.array_equal(again.encode(text), ids) and again.decode(ids) == text
    assert sum(1 for _ in generate(Checkpoint.from_pretrained(path), "The", max_new_tokens=3)) == 3


def test_a_tokenizer_that_came_with_a_file_goes_with_the_next(tmp_path, rng, monkeypatch):
    monkeypatch.setattr("pretrained.folders.MODELS", {"wide": ("llama", {**LLAMA_OF_32, "vocab_size": 261})})
    write_folder(tmp_path / "model", "wide", rng)
    tokens = {"pre": "smollm", "list": [*BYTE_NAMES, "th", "12", "<|end|>", "[PAD259]", "[PAD260]"],
              "kinds": [1] * 258 + [3, 5, 5], "merges": ["t h", "1 2"]}  # fmt: skip
    first = Checkpoint.from_pretrained(write_gguf(tmp_path / "model.gguf", tmp_path / "model", tokens=tokens))
    first.export(tmp_path / "gguf", "gguf")
    again = Checkpoint.from_pretrained(tmp_path / "gguf" / "model.gguf")
    text = "the 12<|end|>é"
    assert np.array_equal(again.tokenizer.encode(text), first.tokenizer.encode(text))
    assert all(np.array_equal(again.weights[name], array) for name, array in first.weights.items())


@pytest.mark.parametrize(
    ("fields", "why"),
    [({"activation": "geglu"}, "LlamaForCausalLM, but a file cannot say hidden_act = 'gelu_pytorch_tanh'"),
     ({"rope_fraction": 2 / 6}, "partial_rotary_factor"),
     ({"norm": "layernorm"}, "LlamaForCausalLM, but norm = 'layernorm' is not 'rmsnorm'"),
     ({"norm": "layernorm", "position": "learned", "activation": "gelu", "num_kv_heads": None},
      "of GGUF the lab writes llama, qwen2, qwen3, and none computes what this model does. The nearest is Llama"),
     ({"position": "alibi"}, "LlamaForCausalLM, but position = 'alibi' is not 'rope'"),
     ({"tokenizer": CharTokenizer.from_text("abcdefé")}, "characters of several bytes, such as 'é'")],
)  # fmt: skip
def test_what_a_file_cannot_hold_is_refused_by_name_and_nothing_is_written(fields, why, tmp_path, rng):
    with pytest.raises(PretrainedError) as error:
        exported(tmp_path, rng, **fields)
    assert why in str(error.value) and not list(tmp_path.iterdir())
