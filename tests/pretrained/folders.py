"""Folders as Hugging Face's `save_pretrained` writes them, of tiny models with random weights, made without PyTorch."""

import json

import numpy as np
from safetensors.numpy import save_file

from support import tiny
from tlab.checks import random_model
from tlab.pretrained.family import FAMILIES

WIDE = {"vocab_size": 37, "hidden_dim": 24, "num_heads": 4, "context_length": 80, "embedding_scale": 1.0}
LEARNED = {**WIDE, "position": "learned"}
LLAMA = {
    **WIDE, "num_kv_heads": 2, "norm": "rmsnorm", "activation": "swiglu", "position": "rope", "rope_base": 500.0,
    "bias": False, "tied": False, "norm_epsilon": 1e-6,
}  # fmt: skip
NORMED = {**LLAMA, "norm": "layernorm", "norm_epsilon": 1e-5}
NEOX = {**WIDE, "residual": "parallel", "activation": "gelu_exact", "position": "rope", "rope_fraction": 2 / 6}
MODELS = {
    "gpt2": ("gpt2", LEARNED),
    "gpt2, another activation and head": ("gpt2", {**LEARNED, "activation": "swish", "tied": False}),
    "opt": ("opt", {**LEARNED, "activation": "relu"}),
    "opt, Post-LN": ("opt", {**LEARNED, "activation": "relu", "residual": "post", "bias": False}),
    "gpt_neox": ("gpt_neox", {**NEOX, "tied": False}),
    "gpt_neox, one after the other": ("gpt_neox", {**NEOX, "residual": "pre", "rope_fraction": 1.0}),
    "llama": ("llama", LLAMA),
    "llama, tied and with biases": ("llama", {**LLAMA, "tied": True, "bias": True, "activation": "reglu"}),
    "arcee": ("arcee", {**LLAMA, "activation": "relu2"}),
    "mistral": ("mistral", LLAMA),
    "qwen2": ("qwen2", {**LLAMA, "bias": True}),
    "gptj": ("gptj", {**NEOX, "activation": "gelu", "rope_fraction": 4 / 6, "tied": False}),
    "starcoder2": ("starcoder2", {**NORMED, "activation": "gelu", "bias": True, "tied": True}),
    "stablelm": ("stablelm", {**NORMED, "rope_fraction": 2 / 6}),
    "stablelm, with biases": ("stablelm", {**NORMED, "bias": True}),
    "qwen3": ("qwen3", {**LLAMA, "qk_norm": "rmsnorm"}),
    "olmo2": ("olmo2", {**LLAMA, "residual": "inside", "qk_norm": "rmsnorm", "qk_norm_all_heads": True}),
    "gemma2": ("gemma2", {**LLAMA, "residual": "sandwich", "activation": "geglu", "score_cap": 2.0, "logit_cap": 3.0,
                          "embedding_scale": np.sqrt(24), "tied": True}),
}  # fmt: skip
"""Name -> architecture, fields of the model's config."""


def model_of(name, rng):
    """Architecture, config and weights in float32, of a model that the architecture has a place for."""
    family, fields = MODELS[name]
    config = tiny(**fields)
    model = random_model(config, rng)
    weights = {name: param.data.astype(np.float32) for name, param in model.parameters.items()}
    first = {}
    for tensor in FAMILIES[family].tensors(config):
        if not tensor.theirs:
            weights[tensor.ours][...] = 0
        weights[tensor.ours] = weights[first.setdefault(tensor.theirs or tensor.ours, tensor.ours)]
    return family, config, weights


def write_folder(folder, name, rng, *, kind=np.float32, shards=1, **entries):
    """-> config and weights of the lab, of which the folder holds the model; `entries` change their config."""
    key, config, weights = model_of(name, rng)
    family = FAMILIES[key]
    folder.mkdir(exist_ok=True)
    about = {"model_type": key, "architectures": [family.stock_class], **family.their_config(config), **entries}
    (folder / "config.json").write_text(json.dumps(about), encoding="utf-8")
    theirs = family.their_weights(weights, config)
    tensors = {n: np.ascontiguousarray(array).astype(kind) for n, array in theirs.items()}
    write_tensors(folder, tensors, shards)
    return config, weights


def write_tensors(folder, tensors, shards=1):
    """As one file, or as several with their index."""
    if shards == 1:
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        return
    names, index = sorted(tensors), {}
    for number in range(shards):
        file = f"model-{number + 1:05}-of-{shards:05}.safetensors"
        part = {name: tensors[name] for name in names[number::shards]}
        save_file(part, folder / file, metadata={"format": "pt"})
        index |= dict.fromkeys(part, file)
    about = {"metadata": {"total_size": sum(t.nbytes for t in tensors.values())}, "weight_map": index}
    (folder / "model.safetensors.index.json").write_text(json.dumps(about), encoding="utf-8")
