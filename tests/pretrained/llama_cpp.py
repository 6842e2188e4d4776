"""GGUF files as the conversion of llama.cpp writes them from a model of Hugging Face, here by its package gguf.

The names of tensors are those of the package; which of them are turned or moved is said in `turned`, and is known from
`conversion/` in https://github.com/ggml-org/llama.cpp.
"""

import json

import gguf
import numpy as np
from safetensors.numpy import load_file

NAMES = {"gpt_neox": "gptneox", "mistral": "llama"}
"""What llama.cpp calls an architecture of Transformers, where that is something else."""


def convert_folder(path, folder, **options):
    """The model of a folder as a file."""
    about = json.loads((folder / "config.json").read_text("utf-8"))
    return convert(path, about, load_file(folder / "model.safetensors"), **options)


def convert(path, about, tensors, *, kind=None, tokens=None, entries=(), leave_out=(), more=()):
    """A model by its config and its tensors as a file.

    `kind` is of the numbers of matrices, `entries` are some beside its own, and so are the tensors in `more`.
    """
    name = NAMES.get(about["model_type"], about["model_type"])
    names = {own: arch for arch, own in gguf.MODEL_ARCH_NAMES.items()}
    writer = gguf.GGUFWriter(path, name)
    write_entries(writer, about)
    for key, value in dict(entries).items():
        add = {str: writer.add_string, int: writer.add_uint32, float: writer.add_float32, bool: writer.add_bool}
        add[type(value)](f"{name}.{key}", value)
    if tokens:
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre(tokens["pre"])
        writer.add_token_list(tokens["list"])
        writer.add_token_types(tokens["kinds"])
        writer.add_token_merges(tokens["merges"])
    map_of_names = gguf.get_tensor_name_map(names[name], 2)
    for theirs, array in tensors.items():
        own = map_of_names.get_name(theirs, try_suffixes=(".weight", ".bias"))
        if own in leave_out:
            continue
        array = np.ascontiguousarray(turned(about, theirs, array))
        if kind and array.ndim == 2 and array.shape[1] % 32 == 0:
            writer.add_tensor(own, gguf.quants.quantize(array, kind), raw_dtype=kind)
        else:
            writer.add_tensor(own, array)
    for own in more:
        writer.add_tensor(own, np.ones(24, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def write_entries(writer, about):
    """What a file says of a model."""
    kind = about["model_type"]

    def said(*names):
        return next((about[name] for name in names if about.get(name) is not None), None)

    C, H = said("hidden_size", "n_embd"), said("num_attention_heads", "n_head")
    rope = about.get("rope_parameters") or {}
    found = {
        writer.add_context_length: said("max_position_embeddings", "n_positions"),
        writer.add_embedding_length: C,
        writer.add_block_count: said("num_hidden_layers", "n_layer"),
        writer.add_feed_forward_length: said("intermediate_size", "n_inner"),
        writer.add_head_count: H,
        writer.add_head_count_kv: said("num_key_value_heads"),
        writer.add_layer_norm_rms_eps: said("rms_norm_eps"),
        writer.add_layer_norm_eps: said("layer_norm_eps", "layer_norm_epsilon", "norm_epsilon"),
        writer.add_rope_freq_base: rope.get("rope_theta"),
        writer.add_key_length: said("head_dim"),
        writer.add_value_length: said("head_dim"),
    }
    if kind in ("llama", "mistral", "arcee", "gpt_neox", "stablelm"):
        found[writer.add_rope_dimension_count] = int(C // H * rope.get("partial_rotary_factor", 1))
    if kind in ("gpt_neox", "stablelm"):
        found[writer.add_parallel_residual] = about.get("use_parallel_residual", True)
    if kind == "gemma2":
        found[writer.add_attn_logit_softcapping] = about["attn_logit_softcapping"]
        found[writer.add_final_logit_softcapping] = about["final_logit_softcapping"]
        found[writer.add_sliding_window] = about["sliding_window"]
    for add, value in found.items():
        if value is not None:
            add(value)


def turned(about, name, array):
    """A tensor as the file has it."""
    kind, part = about["model_type"], name.rpartition(".")[0].rpartition(".")[2]
    if kind in ("llama", "mistral", "arcee") and part in ("q_proj", "k_proj"):  # RoPE turns neighbouring channels
        D = about["hidden_size"] // about["num_attention_heads"]
        return array.reshape(-1, 2, D // 2, *array.shape[1:]).swapaxes(1, 2).reshape(array.shape)
    if kind == "gpt_neox" and part == "query_key_value":  # of each head together
        heads = array.reshape(about["num_attention_heads"], 3, -1, *array.shape[1:])
        return heads.swapaxes(0, 1).reshape(array.shape)
    if kind == "gpt2" and part in ("c_attn", "c_proj", "c_fc"):  # (in, out)
        return array.T
    if kind == "gemma2" and part.endswith("norm"):  # as its distance from 1
        return array + 1
    return array
