"""A model in one GGUF file, as llama.cpp has it: read as the folder of Hugging Face that it was made from.

The file is opened by the package gguf. Weights that are stored in fewer bits come as the float32 numbers that these
stand for. Source: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tlab.pretrained.fields import PretrainedError
from tlab.pretrained.tensors import halves_of_neighbours
from tlab.types import Array, Shape

SUFFIX = ".gguf"
ARCHITECTURES = {"llama": "llama", "qwen2": "qwen2", "qwen3": "qwen3"}
"""What GGUF calls an architecture -> what Transformers calls it."""
NEIGHBOURS = frozenset({"llama"})
"""Those whose queries and keys are stored for a RoPE that turns neighbouring channels."""
OF_CONFIG = {
    "context_length": "max_position_embeddings",
    "embedding_length": "hidden_size",
    "block_count": "num_hidden_layers",
    "feed_forward_length": "intermediate_size",
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
    "attention.layer_norm_rms_epsilon": "rms_norm_eps",
    "attention.key_length": "head_dim",
    "rope.freq_base": "rope_theta",
}
"""Entries of a GGUF file, after its architecture -> entries of config.json."""
OF_MODEL = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
}
OF_LAYER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
"""Names of tensors, in GGUF and in a folder."""


class QuantizedTensor(NamedTuple):
    """A tensor of the file, which is made numbers when it is asked for."""

    file: Path
    stored: Any  # a ReaderTensor
    head_dim: int | None  # where its rows are to be put from neighbours to halves

    @property
    def shape(self) -> Shape:
        """GGUF counts from the innermost."""
        return tuple(map(int, reversed(self.stored.shape)))

    def numbers(self) -> Array:
        """In float32."""
        from gguf.quants import dequantize

        try:
            array = dequantize(self.stored.data, self.stored.tensor_type).reshape(self.shape)
        except (NotImplementedError, ValueError) as error:
            raise PretrainedError(
                f"{self.stored.name} in {self.file} is stored as {self.stored.tensor_type.name}, which the package "
                f"gguf cannot read ({error})"
            ) from error
        array = np.asarray(array, np.float32)
        return array if self.head_dim is None else halves_of_neighbours(array, self.head_dim, self.head_dim)


class GgufFile(NamedTuple):
    """A file, in the terms of a folder."""

    config: dict[str, Any]  # as config.json has it
    tensors: dict[str, QuantizedTensor]
    tokenizer: Mapping[str, Any]  # its entries about tokens
    kinds: tuple[str, ...]  # of numbers in it


def read_gguf(path: Path) -> GgufFile:
    """What is in a GGUF file; its numbers are not read yet.

    Raises:
        PretrainedError: the package is missing, the file is damaged or none, or its architecture is not known.
    """
    try:
        from gguf import GGUFReader
    except ImportError as error:
        raise PretrainedError(f"{path} needs the package gguf ({error}): pip install gguf") from error
    try:
        reader = GGUFReader(path)
        entries = {name: entry.contents() for name, entry in reader.fields.items()}
        stored = {tensor.name: tensor for tensor in reader.tensors}
    except Exception as error:  # whatever the bytes of a damaged file lead the package to
        raise PretrainedError(f"{path} is truncated, damaged or no GGUF file ({type(error).__name__})") from error
    name = entries.get("general.architecture")
    if name not in ARCHITECTURES:
        raise PretrainedError(
            f"{path} is of the architecture {name!r}; of GGUF the lab reads {', '.join(ARCHITECTURES)}"
        )
    if entries.get(f"{name}.rope.scaling.type", "none") != "none" or "rope_freqs.weight" in stored:
        raise PretrainedError(f"{path} has scaled RoPE, and the lab has none")
    config = {
        theirs: shortest(entries[f"{name}.{own}"]) for own, theirs in OF_CONFIG.items() if f"{name}.{own}" in entries
    }
    config |= {"model_type": ARCHITECTURES[name], "tie_word_embeddings": "output.weight" not in stored}
    if "token_embd.weight" in stored:
        config["vocab_size"] = int(stored["token_embd.weight"].shape[-1])
    try:
        head_dim = config["hidden_size"] // config["num_attention_heads"]
    except (KeyError, TypeError, ZeroDivisionError) as error:
        raise PretrainedError(f"{path} does not say how wide it is, or how many heads it has") from error
    if entries.get(f"{name}.rope.dimension_count", head_dim) != head_dim:
        raise PretrainedError(f"{path} has RoPE on a share of each head, which {name} has not in the lab")
    tensors = {}
    for own, tensor in stored.items():
        turned = name in NEIGHBOURS and (".attn_q." in own or ".attn_k." in own)
        tensors[name_in_folder(own)] = QuantizedTensor(path, tensor, head_dim if turned else None)
    tokenizer = {key.removeprefix("tokenizer.ggml."): value for key, value in entries.items() if "tokenizer." in key}
    kinds = sorted({tensor.tensor_type.name for tensor in stored.values()})
    return GgufFile(config, tensors, tokenizer, tuple(kinds))


def shortest(value: Any) -> Any:
    """A number of the file; of one in float32 the shortest that it stands for, 1e-05 and not 9.99999974e-06."""
    return float(str(np.float32(value))) if isinstance(value, float) else value


def name_in_folder(name: str) -> str:
    """What a folder calls a tensor; one that is not known keeps its name, and is refused by it."""
    own, _, kind = name.rpartition(".")
    if own.startswith("blk."):
        _, layer, part = own.split(".", 2)
        return f"model.layers.{layer}.{OF_LAYER[part]}.{kind}" if part in OF_LAYER else name
    return f"{OF_MODEL[own]}.{kind}" if own in OF_MODEL else name


def tokenizer_json(entries: Mapping[str, Any]) -> str:
    """The tokenizer of a file as a tokenizer.json.

    Raises:
        ValueError: it is of a kind whose rules the file does not hold and the lab does not know.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    kind, rule = entries.get("model"), entries.get("pre", "default")
    by_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False)
    rules = {
        "gpt-2": by_bytes,
        "smollm": pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), by_bytes]),
    }
    if kind != "gpt2" or rule not in rules:
        raise ValueError(f"its tokenizer is {kind!r} with the rule {rule!r}; known are gpt2 with {', '.join(rules)}")
    vocabulary = {token: number for number, token in enumerate(entries["tokens"])}
    merges = [tuple(merge.split(" ", 1)) for merge in entries["merges"]]
    cutter = Tokenizer(models.BPE(vocabulary, merges))
    cutter.pre_tokenizer, cutter.decoder = rules[rule], decoders.ByteLevel()
    CONTROL, GIVEN_BY_USER = 3, 4
    for token, its_kind in zip(entries["tokens"], entries.get("token_type", ()), strict=False):
        if its_kind in (CONTROL, GIVEN_BY_USER):
            cutter.add_tokens([AddedToken(token, special=its_kind == CONTROL, normalized=False)])
    return cutter.to_str()
