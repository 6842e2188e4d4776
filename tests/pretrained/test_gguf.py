"""GGUF files: read as llama.cpp's conversion writes them, and written as its package and Transformers read them."""

import os
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("gguf", reason="GGUF files need the package gguf: pip install '.[gguf]'")

import gguf

from pretrained.folders import LEARNED, LLAMA, MODELS, NEOX, NORMED, write_folder
from pretrained.llama_cpp import convert, convert_folder
from support import tiny
from tlab import Checkpoint, TrainConfig, generate
from tlab.checks import random_model
from tlab.cli.commands import main
from tlab.pretrained.family import FAMILIES, GGUF_FAMILIES
from tlab.pretrained.fields import PretrainedError
from tlab.pretrained.reading import read_pretrained
from tlab.text import ByteTokenizer, CharTokenizer, IdsTokenizer
from tlab.text.bpe import Bpe512
from tlab.text.byte_names import BYTE_NAMES

LLAMA_OF_32 = {
    "vocab_size": 37, "hidden_dim": 32, "num_heads": 4, "context_length": 80, "embedding_scale": 1.0, "num_kv_heads": 2,
    "norm": "rmsnorm", "activation": "swiglu", "position": "rope", "bias": False, "tied": False, "norm_epsilon": 1e-6,
    "mlp_ratio": 3.0,
}  # fmt: skip
READ = [
    "gpt2", "gpt_neox", "llama", "arcee", "mistral", "qwen2", "qwen3", "starcoder2", "stablelm",
    "stablelm, with biases", "olmo2", "gemma2",
]  # fmt: skip
"""Names of `MODELS` whose files are read."""


def test_every_architecture_of_gguf_is_read_from_a_file_of_another_program():
    assert {name.partition(",")[0].replace("_", "") for name in READ} >= {*GGUF_FAMILIES}


@pytest.mark.parametrize("name", READ)
def test_a_file_is_the_same_model_as_the_folder_that_it_was_made_from(name, tmp_path, rng):
    config, weights = write_folder(tmp_path / "model", name, rng)
    model = read_pretrained(convert_folder(tmp_path / "model.gguf", tmp_path / "model"))
    if name == "gpt_neox":  # of its GELU a file does not say which it is
        config = replace(config, activation="gelu")
    assert model.config == config
    tolerance = 1e-6 if name == "gemma2" else 0  # as scales of norms are stored by their distance from 1
    assert max(np.abs(model.weights[n] - weights[n]).max() for n in weights) <= tolerance
    assert isinstance(model.tokenizer, IdsTokenizer) and "F32" in " ".join(model.remarks)
    assert ("tanh form" in " ".join(model.remarks)) == (name == "gpt_neox")
    assert "Not read" not in " ".join(model.remarks)


@pytest.mark.parametrize("name", [*READ, "llama, tied and with biases"])
def test_a_file_of_a_model_of_transformers_gives_its_logits(name, tmp_path, rng):
    torch = pytest.importorskip("torch", reason="the independent judge needs PyTorch: pip install '.[parity]'")
    transformers = pytest.importorskip("transformers", minversion="5", reason="the judge needs Transformers 5")
    from pretrained.test_stock_classes import STOCK

    kind, settings = STOCK[name]
    if name == "gpt_neox":
        settings = {**settings, "hidden_act": "gelu_new"}
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(**settings, attn_implementation="eager")
    stock = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager").float().eval()
    with torch.no_grad():
        for weights in stock.parameters():
            weights += 0.15 * torch.randn(weights.shape)
    state = {n: tensor.numpy() for n, tensor in stock.state_dict().items()}
    if config.tie_word_embeddings:
        state.pop("lm_head.weight")
    path = convert(tmp_path / "model.gguf", config.to_dict(), state)
    ids = rng.integers(0, 37, (2, 90))
    with torch.no_grad():
        theirs = stock(torch.tensor(ids)).logits.numpy()
    assert np.abs(Checkpoint.from_pretrained(path).model().forward(ids)[0] - theirs).max() <= 1e-5


def test_a_file_without_a_head_is_tied(tmp_path, rng):
    config, _ = write_folder(tmp_path / "model", "llama", rng)
    path = convert_folder(tmp_path / "model.gguf", tmp_path / "model", leave_out=("output.weight",))
    model = read_pretrained(path)
    assert model.config.tied and not config.tied and "head.weight" not in model.weights


def test_weights_of_few_bits_are_the_numbers_that_they_stand_for(tmp_path, rng, monkeypatch):
    monkeypatch.setattr("pretrained.folders.MODELS", {"wide": ("llama", {**LLAMA_OF_32})})
    _, weights = write_folder(tmp_path / "model", "wide", rng)
    path = convert_folder(tmp_path / "model.gguf", tmp_path / "model", kind=gguf.GGMLQuantizationType.Q8_0)
    model = read_pretrained(path)
    assert "Q8_0" in " ".join(model.remarks)
    for name, array in weights.items():
        step = np.abs(array).max() / 127
        assert np.abs(model.weights[name] - array).max() <= 0.51 * step + 1e-4 * np.abs(array).max()


@pytest.mark.parametrize("rule", ["gpt-2", "smollm", "starcoder"])
def test_a_tokenizer_of_byte_pairs_comes_with_the_file(rule, tmp_path, rng, monkeypatch):
    monkeypatch.setattr("pretrained.folders.MODELS", {"wide": ("llama", {**LLAMA_OF_32, "vocab_size": 259})})
    write_folder(tmp_path / "model", "wide", rng)
    tokens = {
        "pre": rule,
        "list": [*BYTE_NAMES, "th", "12", "<|end|>"],
        "kinds": [1] * 258 + [3],
        "merges": ["t h", "1 2"],
    }
    path = convert_folder(tmp_path / "model.gguf", tmp_path / "model", tokens=tokens)
    tokenizer = read_pretrained(path).tokenizer
    ids = list(tokenizer.encode("the 12<|end|>é"))
    assert tokenizer.decode(ids) == "the 12<|end|>é"
    assert ids[0] == 256 and 258 in ids and (257 in ids) == (rule == "gpt-2")  # digits stand alone in SmolLM
    assert len(list(generate(Checkpoint.from_pretrained(path), "the", max_new_tokens=5))) == 5


def refusal(path, out, capsys):
    """What `tlab import` says of a file that it does not read."""
    assert main(["import", str(path), "--out", str(out)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and not out.exists()
    return error


@pytest.mark.parametrize(
    ("name", "options", "why"),
    [("llama", {"entries": {"rope.scaling.type": "yarn"}}, "scaled RoPE"),
     ("llama", {"entries": {"rope.scaling.factor": 4.0}}, "scaled RoPE"),
     ("gpt_neox", {"entries": {"rope.scale_linear": 4.0}}, "scaled RoPE"),
     ("llama", {"more": ["rope_freqs.weight"]}, "scaled RoPE"),
     ("gemma2", {"entries": {"rope.freq_base_swa": 9.0}}, "rope.freq_base_swa = 9: the lab has no layers with RoPE of"),
     ("qwen2", {"entries": {"rope.dimension_count": 4}}, "rope.dimension_count = 4 is not the width of a head, 6"),
     ("qwen2", {"entries": {"attention.key_length": 8}}, "attention.key_length = 8: the lab has no heads of another"),
     ("olmo2", {"entries": {"attention.sliding_window": 40}}, "attention.sliding_window = 40: the lab has no window"),
     ("starcoder2", {"entries": {"attention.causal": False}}, "attention to later tokens"),
     ("arcee", {"more": ["blk.1.attn_q.bias"]}, "also has 1 tensor by what its config says: blk.1.attn_q.bias"),
     ("llama", {"more": ["blk.0.attn_q.bias"]}, "lacks 13 tensors by what its config says: blk.0.attn_k.bias"),
     ("stablelm", {"leave_out": ["output.weight"]}, "lacks 1 tensor by what its config says: output.weight"),
     ("stablelm", {"leave_out": ["blk.1.ffn_norm.weight"]}, "lacks 1 tensor"),
     ("gpt2", {"leave_out": ["position_embd.weight"]}, "lacks 1 tensor by what its config says: position_embd.weight")],
)  # fmt: skip
def test_what_of_a_file_the_lab_has_not_is_refused_by_name(name, options, why, tmp_path, rng, capsys):
    write_folder(tmp_path / "model", name, rng)
    path = convert_folder(tmp_path / "model.gguf", tmp_path / "model", **options)
    assert why in refusal(path, tmp_path / "run", capsys)


def test_a_window_that_is_shorter_than_the_context_is_refused(tmp_path, rng, capsys):
    write_folder(tmp_path / "model", "gemma2", rng, sliding_window=40)
    path = convert_folder(tmp_path / "model.gguf", tmp_path / "model")
    assert "attention.sliding_window = 40" in refusal(path, tmp_path / "run", capsys)
    assert read_pretrained(path, context_length=40).config.context_length == 40


@pytest.mark.parametrize("name", ["mamba", "gptj"])
def test_another_architecture_is_refused_with_the_names_of_those_that_are_read(name, tmp_path, capsys):
    other = gguf.GGUFWriter(tmp_path / "other.gguf", name)
    other.write_header_to_file()
    other.write_kv_data_to_file()
    other.write_tensors_to_file()
    other.close()
    said = refusal(tmp_path / "other.gguf", tmp_path / "run", capsys)
    assert f"architecture {name!r}; of GGUF the lab reads {', '.join(GGUF_FAMILIES)}" in said


def test_a_file_that_is_none_or_damaged_is_refused(tmp_path, rng, capsys):
    (tmp_path / "none.gguf").write_bytes(b"<html>not found</html>")
    assert "no GGUF file" in refusal(tmp_path / "none.gguf", tmp_path / "run", capsys)
    write_folder(tmp_path / "model", "llama", rng)
    good = convert_folder(tmp_path / "good.gguf", tmp_path / "model")
    os.truncate(good, os.path.getsize(good) // 2)
    assert "truncated" in refusal(good, tmp_path / "run", capsys)
    bare = gguf.GGUFWriter(tmp_path / "bare.gguf", "llama")
    bare.write_header_to_file()
    bare.write_kv_data_to_file()
    bare.write_tensors_to_file()
    bare.close()
    assert "the file does not say vocab_size" in refusal(tmp_path / "bare.gguf", tmp_path / "run", capsys)


# ------------------------------------------------------------------------------------------------ writing


def exported(tmp_path, rng, tokenizer=None, **fields):
    """A checkpoint with random weights, and the file that it is exported to."""
    tokenizer = tokenizer or IdsTokenizer(37)
    zeros = fields.pop("zeros", ())
    config = tiny(**{**LLAMA, **fields, "vocab_size": tokenizer.vocab_size})
    weights = {name: param.data.astype(np.float32) for name, param in random_model(config, rng).parameters.items()}
    for name, array in weights.items():
        array[...] = 0 if name.endswith(zeros or "no") else array
    corpus = {"name": "a text", "sha256": "0", "size": 0, "tokenizer": tokenizer.to_json()}
    checkpoint = Checkpoint(config, TrainConfig(), corpus, 0, weights)
    words = " ".join(checkpoint.export(tmp_path / "gguf", "gguf"))
    return checkpoint, tmp_path / "gguf" / "model.gguf", words


ALONE = {"bias": True, "zeros": (".out.bias", ".up.bias", ".gate.bias", ".down.bias")}
"""Biases of queries, keys and values, and no others."""
GPT2 = {**LEARNED, "norm": "layernorm", "activation": "gelu", "bias": True, "num_kv_heads": None, "norm_epsilon": 1e-5}
PARALLEL = {**GPT2, **NEOX, "activation": "gelu", "tied": False}
ROPE = {"rope_type": "default", "rope_theta": 500.0}
WRITTEN = {
    "llama": ({}, {}),
    "llama, tied, no norm": ({"tied": True, "norm": "none", "num_kv_heads": None}, {}),
    "llama, scaled embedding": ({"embedding_scale": 4.0, "norm_epsilon": 1e-5}, {}),
    "llama, with biases": ({"bias": True}, {"attention_bias": True, "mlp_bias": True}),
    "qwen2": (ALONE, {}),
    "qwen3": ({"qk_norm": "rmsnorm", "tied": True}, {"head_dim": 6}),
    "gpt2": ({**GPT2, "tied": True}, {"n_positions": 80, "n_inner": 60}),
    "gpt2, sinusoidal, without biases": ({**GPT2, "position": "sinusoidal", "bias": False},
                                         {"n_positions": 80, "n_inner": 60}),
    "starcoder2": ({**NORMED, "activation": "gelu", "bias": True, "tied": True}, {"rope_parameters": ROPE}),
    "stablelm": ({**NORMED, "rope_fraction": 2 / 6},
                 {"rope_parameters": {**ROPE, "partial_rotary_factor": 1 / 3}}),
    "stablelm, tied and with biases": ({**NORMED, **ALONE, "tied": True},
                                       {"rope_parameters": {**ROPE, "partial_rotary_factor": 1.0}}),
    "gemma2": (MODELS["gemma2"][1], {"query_pre_attn_scalar": 6, "attn_logit_softcapping": 2.0,
                                     "final_logit_softcapping": 3.0}),
    "gptneox": (PARALLEL, None),
    "gptneox, one after the other, tied": ({**PARALLEL, "residual": "pre", "tied": True}, None),
    "arcee": ({"activation": "relu2"}, None),
    "olmo2": (MODELS["olmo2"][1], None),
}  # fmt: skip
"""Architecture of a file -> fields of the model, and what has to be said to Transformers beside the file, which does
not read it there; None where it does not know the architecture."""


def test_every_architecture_of_gguf_is_written():
    assert {name.partition(",")[0] for name in WRITTEN} == {*GGUF_FAMILIES}


@pytest.mark.parametrize("name", WRITTEN)
def test_a_file_that_was_written_is_read_as_the_same_function(name, tmp_path, rng):
    checkpoint, path, words = exported(tmp_path, rng, **WRITTEN[name][0])
    assert f"of the architecture {name.partition(',')[0]}," in words
    again = Checkpoint.from_pretrained(path)
    ids = rng.integers(0, 37, (2, 80))
    ours = checkpoint.model().forward(ids)[0]
    assert np.abs(again.model().forward(ids)[0] - ours).max() <= 1e-5 * max(1, np.abs(ours).max())


@pytest.mark.parametrize("name", WRITTEN)
def test_a_file_that_was_written_holds_what_the_conversion_of_a_folder_does(name, tmp_path, rng):
    _, path, _ = exported(tmp_path, rng, **WRITTEN[name][0])
    again = read_pretrained(path)
    kind = {"gptneox": "gpt_neox"}.get(again.architecture, again.architecture)
    about = {"model_type": kind, **FAMILIES[kind].their_config(again.config)}
    other = convert(tmp_path / "other.gguf", about, FAMILIES[kind].their_weights(again.weights, again.config))
    ours, theirs = gguf.GGUFReader(path), gguf.GGUFReader(other)
    ours_by_name = {tensor.name: tensor.data for tensor in ours.tensors}
    theirs_by_name = {tensor.name: tensor.data for tensor in theirs.tensors}
    assert ours_by_name.keys() == theirs_by_name.keys()
    for tensor, array in theirs_by_name.items():
        assert ours_by_name[tensor].shape == array.shape
        assert np.abs(ours_by_name[tensor] - array).max() <= (1e-6 if kind == "gemma2" else 0)
    for entry, field in theirs.fields.items():
        if not entry.startswith("GGUF."):
            own = ours.fields.get(entry)
            if own is None:
                assert entry.endswith(("use_parallel_residual", "attention.key_length", "attention.value_length"))
            else:
                assert own.types == field.types and own.contents() == field.contents(), entry


@pytest.mark.parametrize("name", WRITTEN)
def test_all_entries_of_a_file_that_was_written_are_of_the_format(name, tmp_path, rng):
    _, path, _ = exported(tmp_path, rng, ByteTokenizer(), **WRITTEN[name][0])
    known = {
        value.format(arch=name.partition(",")[0])
        for part in (gguf.Keys.General, gguf.Keys.LLM, gguf.Keys.Attention, gguf.Keys.Rope, gguf.Keys.Tokenizer)
        for value in vars(part).values()
        if isinstance(value, str) and "{" not in value.replace("{arch}", "")
    }
    assert {entry for entry in gguf.GGUFReader(path).fields if not entry.startswith("GGUF.")} <= known


@pytest.mark.parametrize("name", [name for name, (_, beside) in WRITTEN.items() if beside is not None])
def test_transformers_reads_a_file_that_was_written_as_the_same_function(name, tmp_path, rng):
    torch = pytest.importorskip("torch", reason="the independent judge needs PyTorch: pip install '.[parity]'")
    transformers = pytest.importorskip("transformers", minversion="5", reason="the judge needs Transformers 5")
    fields, beside = WRITTEN[name]
    checkpoint, path, _ = exported(tmp_path, rng, ByteTokenizer(), **fields)
    stock = transformers.AutoModelForCausalLM.from_pretrained(
        path.parent, gguf_file=path.name, dtype=torch.float32, attn_implementation="eager", **beside
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
    first = Checkpoint.from_pretrained(convert_folder(tmp_path / "model.gguf", tmp_path / "model", tokens=tokens))
    first.export(tmp_path / "gguf", "gguf")
    again = Checkpoint.from_pretrained(tmp_path / "gguf" / "model.gguf")
    text = "the 12<|end|>é"
    assert np.array_equal(again.tokenizer.encode(text), first.tokenizer.encode(text))
    assert all(np.array_equal(again.weights[name], array) for name, array in first.weights.items())


@pytest.mark.parametrize(
    ("fields", "why"),
    [({"activation": "geglu"}, "The nearest is llama, but activation = 'geglu' is not 'swiglu'"),
     ({"rope_fraction": 2 / 6}, "stablelm, but norm = 'rmsnorm' is not 'layernorm'"),
     ({"qk_norm": "rmsnorm", "rope_fraction": 2 / 6}, "qwen3, but rope_fraction = 0.333333 is not 1"),
     ({"norm": "layernorm", "position": "learned", "activation": "relu", "num_kv_heads": None},
      f"of GGUF the lab writes {', '.join(GGUF_FAMILIES)}, and none computes what this model does. "
      "The nearest is gpt2, but activation = 'relu' is not 'gelu'"),
     ({"position": "alibi"}, "llama, but position = 'alibi' is not 'rope'"),
     ({"activation": "relu2", "bias": True}, "activation = 'relu2' is not 'swiglu'"),
     ({**MODELS["gemma2"][1], "logit_cap": 0.0}, "gemma2, but logit_cap = 0, and it always has a cap"),
     ({**NORMED, "bias": True},
      "stablelm, but it has no blocks.0.attention.out.bias and 7 more, which would have to be 0"),
     ({**PARALLEL, "activation": "gelu_exact"}, "gptneox, but activation = 'gelu_exact' is not 'gelu'"),
     ({"tokenizer": CharTokenizer.from_text("abcdefé")}, "characters of several bytes, such as 'é'")],
)  # fmt: skip
def test_what_a_file_cannot_hold_is_refused_by_name_and_nothing_is_written(fields, why, tmp_path, rng):
    with pytest.raises(PretrainedError) as error:
        exported(tmp_path, rng, **fields)
    assert why in str(error.value) and not list(tmp_path.iterdir())
