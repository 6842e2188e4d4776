"""Folders of Hugging Face become models of the lab: exactly, or with an error that says why not."""

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from tokenizers.trainers import BpeTrainer

from pretrained.folders import MODELS, write_folder, write_tensors
from support import VERSE, tiny
from tlab import Checkpoint, Transformer, generate
from tlab.cli.commands import main
from tlab.pretrained import reading
from tlab.pretrained.family import FAMILIES
from tlab.pretrained.fields import PretrainedError
from tlab.pretrained.reading import read_pretrained
from tlab.text import CharTokenizer, IdsTokenizer

REFUSED = [  # model, changed entries of its config, what the error names
    ("gpt2", {"activation_function": "gelu_fast"}, "activation_function = 'gelu_fast'"),
    ("gpt2", {"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx = True"),
    ("gpt2", {"add_cross_attention": True}, "attention to a second text"),
    ("opt", {"word_embed_proj_dim": 12}, "word_embed_proj_dim = 12"),
    ("opt", {"layer_norm_elementwise_affine": False}, "LayerNorm without scale"),
    ("gpt_neox", {"attention_bias": False}, "biases in some linear layers alone"),
    ("llama", {"rope_parameters": {"rope_type": "llama3", "rope_theta": 500.0}}, "scaled RoPE"),
    ("llama", {"rope_parameters": None, "rope_scaling": {"type": "linear", "factor": 2.0}}, "rope_type = 'linear'"),
    ("llama", {"attention_bias": True}, "biases in some linear layers alone"),
    ("llama", {"head_dim": 8}, "heads of another width"),
    ("llama", {"hidden_act": "mish"}, "hidden_act = 'mish'"),
    ("llama", {"quantization_config": {"bits": 4}}, "quantized"),
    ("llama", {"auto_map": {"AutoModelForCausalLM": "own.Own"}}, "code of its own"),
    ("gpt2", {"n_head": 5}, "num_heads = 5: must divide"),
    ("llama", {"hidden_size": "wide"}, "config.json"),
    ("llama", {"intermediate_size": None}, "intermediate_size = None"),
    ("mistral", {"sliding_window": 79}, "--context-length 79"),
    ("qwen3", {"use_sliding_window": True, "sliding_window": 10}, "sliding_window = 10"),
    ("qwen3", {"attention_bias": True}, "biases in some linear layers alone"),
    ("qwen3", {"layer_types": ["linear_attention", "full_attention"]}, "no linear_attention"),
    ("gptj", {"rotary_dim": None}, "rotary_dim = None"),
    ("gptj", {"rotary_dim": 7}, "rotary_dim = 7"),
    ("gptj", {"rotary_dim": 3}, "rotates 3 channels"),
    ("stablelm", {"qk_layernorm": True}, "norm of queries and keys with other weights in each head"),
    ("stablelm", {"use_parallel_residual": True}, "use_parallel_residual = True"),
    ("starcoder2", {"sliding_window": 79}, "--context-length 79"),
    ("qwen2", {"use_sliding_window": True, "sliding_window": 10}, "sliding_window = 10"),
    ("gemma2", {"query_pre_attn_scalar": 7}, "query_pre_attn_scalar = 7"),
    ("gemma2", {"use_bidirectional_attention": True}, "attention to later tokens"),
]  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "model"


def refusal(folder, **options):
    with pytest.raises(PretrainedError) as caught:
        read_pretrained(folder, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def change_config(folder, **entries):
    path = folder / "config.json"
    about = {**json.loads(path.read_text("utf-8")), **entries}
    path.write_text(json.dumps({name: value for name, value in about.items() if value != "left out"}), "utf-8")


@pytest.mark.parametrize("name", MODELS)
def test_what_one_reading_of_a_declaration_writes_the_other_reads_to_the_bit(name, folder, rng):
    config, weights = write_folder(folder, name, rng)
    model = read_pretrained(folder)
    assert model.config == config and model.architecture == MODELS[name][0]
    assert model.weights.keys() == weights.keys()
    # The scale of Gemma's norms is stored as its distance from 1, which rounds.
    limit = 1e-7 if name == "gemma2" else 0
    assert max(np.abs(model.weights[n] - weights[n]).max() for n in weights) <= limit
    assert all(array.dtype == np.float32 for array in model.weights.values())


@pytest.mark.parametrize("name", MODELS)
def test_a_declaration_names_each_parameter_once_and_no_other(name, rng):
    key, fields = MODELS[name]
    config = tiny(**fields)
    tensors = list(FAMILIES[key].tensors(config))
    assert sorted(tensor.ours for tensor in tensors) == sorted(Transformer.parameter_shapes(config))
    theirs = [n for parts in {tensor.theirs for tensor in tensors} for n in parts]
    assert len(theirs) == len(set(theirs))


@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("kind", [np.float32, np.float16])
def test_numbers_of_each_type_are_read_from_one_file_or_several(kind, shards, folder, rng):
    _, weights = write_folder(folder, "llama", rng, kind=kind, shards=shards)
    model = read_pretrained(folder)
    assert all(np.array_equal(model.weights[n], weights[n].astype(kind)) for n in weights)
    assert all(array.dtype == np.float32 for array in model.weights.values())


def test_bfloat16_is_the_upper_half_of_a_float32(folder, rng):
    _, weights = write_folder(folder, "llama", rng)
    theirs = load_file(folder / "model.safetensors")
    halves = {n: (array.view(np.uint32) >> 16).astype(np.uint16) for n, array in theirs.items()}
    write_tensors(folder, halves)
    path = folder / "model.safetensors"
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = content[8 : 8 + length].replace(b'"U16"', b'"BF16"').rstrip()
    path.write_bytes(len(header).to_bytes(8, "little") + header + content[8 + length :])
    model = read_pretrained(folder)
    cut = {n: (array.view(np.uint32) & 0xFFFF0000).view(np.float32) for n, array in weights.items()}
    assert all(np.array_equal(model.weights[n], cut[n]) for n in weights)


def test_a_file_of_the_trunk_alone_with_masks_in_it_is_the_same_model(folder, rng):
    """As the first file of GPT-2 is."""
    _, weights = write_folder(folder, "gpt2", rng)
    theirs = load_file(folder / "model.safetensors")
    named = {name.removeprefix("transformer."): array for name, array in theirs.items()}
    write_tensors(folder, {**named, "h.0.attn.bias": np.ones((1, 1, 80, 80), np.float32)})
    model = read_pretrained(folder)
    assert all(np.array_equal(model.weights[n], weights[n]) for n in weights)


def test_other_names_of_a_head_and_of_ropes_settings_are_known(folder, rng):
    """As the files of Pythia have them, and newer ones."""
    config, weights = write_folder(
        folder, "gpt_neox", rng, rope_parameters="left out", rotary_pct=2 / 6, rotary_emb_base=10000
    )
    change_config(folder)
    theirs = load_file(folder / "model.safetensors")
    write_tensors(folder, {name.replace("embed_out", "lm_head"): array for name, array in theirs.items()})
    model = read_pretrained(folder)
    assert model.config == config and np.array_equal(model.weights["head.weight"], weights["head.weight"])


def test_a_tied_head_may_lie_beside_its_embedding_but_not_be_another_one(folder, rng):
    write_folder(folder, "gpt2", rng)
    theirs = load_file(folder / "model.safetensors")
    write_tensors(folder, {**theirs, "lm_head.weight": theirs["transformer.wte.weight"]})
    assert "head.weight" not in read_pretrained(folder).weights
    write_tensors(folder, {**theirs, "lm_head.weight": theirs["transformer.wte.weight"] + 1})
    assert "lm_head.weight" in refusal(folder)


def test_a_head_with_a_bias_is_refused_and_one_with_a_bias_of_0_is_read(folder, rng):
    """As GPT-J has one."""
    write_folder(folder, "gptj", rng)
    theirs = load_file(folder / "model.safetensors")
    theirs["lm_head.bias"][5] = 0.5
    write_tensors(folder, theirs)
    assert "lm_head.bias is not 0: the lab has no bias of the head" in refusal(folder)


def test_a_shorter_context_reads_the_same_and_says_so(folder, rng):
    _, weights = write_folder(folder, "opt", rng)
    model = read_pretrained(folder, context_length=30)
    assert model.config.context_length == 30
    assert np.array_equal(model.weights["position.weight"], weights["position.weight"][:30])
    assert "30 tokens at once; its own limit is 80" in " ".join(model.remarks)
    assert "80 tokens at most" in refusal(folder, context_length=81)


def test_a_window_that_is_no_shorter_than_the_context_has_no_effect(folder, rng):
    write_folder(folder, "mistral", rng, sliding_window=40)
    assert "--context-length 40" in refusal(folder)
    assert read_pretrained(folder, context_length=40).config.context_length == 40


@pytest.mark.parametrize(("name", "entries", "named"), REFUSED)
def test_what_cannot_be_represented_is_refused_by_name(name, entries, named, folder, rng):
    write_folder(folder, name, rng, **entries)
    assert named in refusal(folder)


def test_an_unknown_architecture_is_refused_with_the_nearest_named(folder, rng):
    write_folder(folder, "qwen3", rng, model_type="qwen4")
    assert "unknown architecture 'qwen4'" in refusal(folder) and "Did you mean 'qwen3'?" in refusal(folder)


def test_what_a_config_says_that_is_not_known_here_is_named(folder, rng):
    write_folder(folder, "llama", rng, is_llama_config=True, rope_interleaved=False, bos_token_id=7, shift=0)
    remarks = " ".join(read_pretrained(folder).remarks)
    assert (
        "is_llama_config = True" in remarks
        and "shift = 0" in remarks
        and "rope_interleaved" not in remarks
        and "bos_token_id" not in remarks
    )


# --- damage ---


def test_missing_shards_are_named(folder, rng):
    write_folder(folder, "llama", rng, shards=3)
    (folder / "model-00002-of-00003.safetensors").unlink()
    assert "2 of the 3 files" in refusal(folder) and "model-00002-of-00003.safetensors" in refusal(folder)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999])
def test_a_truncated_file_is_told(share, folder, rng):
    write_folder(folder, "llama", rng)
    path = folder / "model.safetensors"
    os.truncate(path, int(path.stat().st_size * share))
    assert "truncated" in refusal(folder)


@pytest.mark.parametrize("content", [b"", b"\x00" * 100, b"<html>not found</html>", b"\x02" + b"\0" * 7 + b"[]"])
def test_a_file_that_is_no_safetensors_file_is_told(content, folder, rng):
    write_folder(folder, "llama", rng)
    (folder / "model.safetensors").write_bytes(content)
    assert "no safetensors file" in refusal(folder)


def test_a_header_that_says_other_sizes_than_there_are_is_told(folder, rng):
    write_folder(folder, "llama", rng)
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes().replace(b'"shape":[37,24]', b'"shape":[37,23]'))
    assert "fills another number of bytes" in refusal(folder)


def test_wrong_shapes_and_names_are_told(folder, rng):
    write_folder(folder, "llama", rng)
    theirs = load_file(folder / "model.safetensors")
    write_tensors(folder, {**theirs, "model.norm.weight": np.ones(23, np.float32)})
    assert "model.norm.weight has (23,), needs (24,)" in refusal(folder)
    write_tensors(folder, {**theirs, "model.layers.0.self_attn.q_norm.weight": np.ones(6, np.float32)})
    assert "also has 1 tensor" in refusal(folder) and "q_norm" in refusal(folder)
    write_tensors(folder, {name: array for name, array in theirs.items() if "layers.1" not in name})
    assert "lacks 9 tensors" in refusal(folder)


def test_numbers_of_other_types_and_none_at_all_are_told(folder, rng):
    write_folder(folder, "llama", rng, kind=np.float64)
    assert "stored as F64" in refusal(folder)
    write_folder(folder, "llama", rng)
    theirs = load_file(folder / "model.safetensors")
    theirs["model.norm.weight"][3] = np.nan
    write_tensors(folder, theirs)
    assert "model.norm.weight" in refusal(folder) and "NaN" in refusal(folder)


def test_a_pickle_is_refused_and_not_opened(folder, rng, monkeypatch):
    write_folder(folder, "llama", rng)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    opened = []
    monkeypatch.setattr("builtins.open", lambda path, *args, **kwargs: opened.append(str(path)) or os.fdopen(3))
    monkeypatch.setattr(Path, "read_bytes", lambda path: opened.append(str(path)))
    for place in (folder, folder / "pytorch_model.bin"):
        assert "a pickle" in refusal(place) and "was not opened" in refusal(place)
    assert not [path for path in opened if "pytorch_model" in path]


@pytest.mark.parametrize(
    ("content", "told"),
    [("{", "not JSON"), ("[1]", "no names"), ("{}", "no model_type"), ('{"model_type": "gpt2"}', "does not say"),
     ('{"model_type": ["gpt2"]}', "unknown architecture"), ("[" * 100_000, "not JSON")],
)  # fmt: skip
def test_a_config_that_is_none_is_told(content, told, folder, rng):
    write_folder(folder, "gpt2", rng)
    (folder / "config.json").write_text(content, encoding="utf-8")
    assert told in refusal(folder)


def test_a_place_without_a_model_is_told(tmp_path):
    assert "openai-community/gpt2" in refusal(tmp_path / "openai-community" / "gpt3")
    assert "no config.json" in refusal(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    assert "n_positions" in refusal(tmp_path) or "vocab_size" in refusal(tmp_path)


def test_an_index_that_names_files_elsewhere_is_refused(folder, rng):
    write_folder(folder, "llama", rng, shards=2)
    index = folder / "model.safetensors.index.json"
    index.write_text(re.sub(r"model-0", "../model-0", index.read_text("utf-8")), "utf-8")
    assert "no files of its own folder" in refusal(folder)


def test_a_model_too_large_for_the_machine_is_refused_before_it_is_read(folder, rng, monkeypatch):
    write_folder(folder, "llama", rng)
    monkeypatch.setattr(reading, "total_memory", lambda: 1000)
    monkeypatch.setattr(reading.StoredTensor, "numbers", lambda tensor: pytest.fail("it was read"))
    assert "GiB of memory" in refusal(folder)


# --- the command, and what comes of it ---


def test_the_command_writes_a_run_that_generates_and_can_be_looked_into(folder, tmp_path, rng, capsys):
    _, weights = write_folder(folder, "llama", rng)
    run = tmp_path / "run"
    assert main(["import", str(folder), "--out", str(run)]) == 0
    assert "texts are ids" in capsys.readouterr().out
    checkpoint = Checkpoint.load(run)
    assert all(np.array_equal(checkpoint.weights[n], weights[n]) for n in weights)
    assert main(["generate", str(run), "--prompt", "3 5", "--max-new-tokens", "4"]) == 0
    assert re.fullmatch(r"3 5( \d+){4}\n", capsys.readouterr().out)
    assert main(["probe", "lens", str(run), "--text", "3 5 6"]) == 0


def test_an_import_that_fails_writes_nothing(folder, tmp_path, rng, capsys):
    write_folder(folder, "llama", rng, hidden_act="mish")
    assert main(["import", str(folder), "--out", str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model"]


def test_an_import_without_room_leaves_no_folder(folder, tmp_path, rng, capsys, monkeypatch):
    write_folder(folder, "llama", rng)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tlab.training.checkpoint.replaced", full)
    assert main(["import", str(folder), "--out", str(tmp_path / "run")]) == 2
    assert "No space left" in capsys.readouterr().err and not (tmp_path / "run").exists()


def test_an_imported_model_has_no_training_to_resume_and_no_text_of_its_own(folder, tmp_path, rng, capsys):
    write_folder(folder, "llama", rng)
    assert main(["import", str(folder), "--out", str(tmp_path / "run")]) == 0
    for arguments, told in (
        (["train", "--resume", str(tmp_path / "run")], "was imported"),
        (["probe", "lens", str(tmp_path / "run")], "with --text"),
    ):
        capsys.readouterr()
        assert main(arguments) == 2
        assert told in capsys.readouterr().err


def test_an_imported_model_is_trained_further(folder, tmp_path, rng):
    config, weights = write_folder(folder, "qwen2", rng)
    CharTokenizer.from_text(VERSE).as_library().save(str(folder / "tokenizer.json"))
    (tmp_path / "text.txt").write_text(VERSE * 30, encoding="utf-8")
    training = ["--corpus", str(tmp_path / "text.txt"), "--batch-size", "2", "--warmup-steps", "0"]
    run = str(tmp_path / "run")
    assert main(["import", str(folder), "--out", run]) == 0
    assert main(["train", "--from", run, *training, "--steps", "3", "--out", str(tmp_path / "more")]) == 0
    trained = Checkpoint.load(tmp_path / "more")
    assert trained.model_config == config and trained.tokenizer == Checkpoint.load(run).tokenizer
    assert trained.started_from == {"name": "run", "step": 0, "sha256": Checkpoint.load(run).weights_sha256}
    assert any(np.any(trained.weights[name] != weights[name]) for name in weights)
    assert main(["train", "--resume", str(tmp_path / "more"), *training[:2]]) == 2  # nothing is left to do


def test_a_tokenizer_comes_with_its_model(folder, tmp_path, rng):
    config, _ = write_folder(folder, "llama", rng)
    write_tokenizer(folder / "tokenizer.json", size=30)
    checkpoint = Checkpoint.from_pretrained(folder)
    assert checkpoint.tokenizer.vocab_size == config.vocab_size  # the model's, which has rows for more
    assert len(list(generate(checkpoint, "<|end|>", max_new_tokens=20))) == 20
    checkpoint.save(tmp_path / "run")
    assert Checkpoint.load(tmp_path / "run").tokenizer == checkpoint.tokenizer


@pytest.mark.parametrize(("content", "told"), [("{}", "no description of a tokenizer"), (None, "it has 300 tokens")])
def test_a_tokenizer_that_cannot_be_used_is_told_and_texts_are_ids(content, told, folder, rng):
    write_folder(folder, "llama", rng)
    if content is None:
        write_tokenizer(folder / "tokenizer.json", size=299)
    else:
        (folder / "tokenizer.json").write_text(content)
    model = read_pretrained(folder)
    assert isinstance(model.tokenizer, IdsTokenizer) and told in " ".join(model.remarks)


def write_tokenizer(path, size):
    """Tokens of single bytes and joined ones, as many as `size`, and one that stands for the end of a text."""
    cutter = Tokenizer(models.BPE())
    cutter.pre_tokenizer, cutter.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())[: min(size, 256)]
    trainer = BpeTrainer(vocab_size=size, initial_alphabet=alphabet, limit_alphabet=len(alphabet), show_progress=False)
    cutter.train_from_iterator([VERSE * 9], trainer)
    cutter.add_special_tokens(["<|end|>"])
    cutter.save(str(path))
