"""A model in one GGUF file, as llama.cpp has it: read as the folder of Hugging Face that it was made from, and written.

A file is read by the package gguf. Weights that are stored in fewer bits come as the float32 numbers that these stand
for; what is written is in float32. Source: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tlab.pretrained.fields import PretrainedError
from tlab.pretrained.tensors import halves_of_neighbours
from tlab.text.byte_names import BYTE_NAMES
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


NORMAL, CONTROL, GIVEN_BY_USER, UNUSED = 1, 3, 4, 5
"""Kinds of tokens in GGUF."""


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
    config = config_in_file(entries, "output.weight" not in stored)
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


def config_in_file(entries: Mapping[str, Any], tied: bool) -> dict[str, Any]:
    """What config.json says of the model whose entries a file has, but for the size of its vocabulary."""
    name = entries["general.architecture"]
    named = {theirs: f"{name}.{own}" for own, theirs in OF_CONFIG.items()}
    found = {theirs: shortest(entries[own]) for theirs, own in named.items() if own in entries}
    return {**found, "model_type": ARCHITECTURES[name], "tie_word_embeddings": tied}


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


def rules_of_words() -> dict[str, Any]:
    """How texts are cut into words before byte pairs are joined: what GGUF calls it -> what the library does."""
    from tokenizers import pre_tokenizers

    by_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return {
        "gpt-2": by_bytes,
        "smollm": pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), by_bytes]),
    }


def tokenizer_json(entries: Mapping[str, Any]) -> str:
    """The tokenizer of a file as a tokenizer.json.

    Raises:
        ValueError: it is of a kind whose rules the file does not hold and the lab does not know.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models

    kind, rule, rules = entries.get("model"), entries.get("pre", "default"), rules_of_words()
    if kind != "gpt2" or rule not in rules:
        raise ValueError(f"its tokenizer is {kind!r} with the rule {rule!r}; known are gpt2 with {', '.join(rules)}")
    vocabulary = {token: number for number, token in enumerate(entries["tokens"])}
    merges = [tuple(merge.split(" ", 1)) for merge in entries["merges"]]
    cutter = Tokenizer(models.BPE(vocabulary, merges))
    cutter.pre_tokenizer, cutter.decoder = rules[rule], decoders.ByteLevel()
    for token, its_kind in zip(entries["tokens"], entries.get("token_type", ()), strict=False):
        if its_kind in (CONTROL, GIVEN_BY_USER):
            cutter.add_tokens([AddedToken(token, special=its_kind == CONTROL, normalized=False)])
    return cutter.to_str()


# --- writing ---


def entries_for(about: Mapping[str, Any]) -> dict[str, Any]:
    """What a file says of the model that config.json is about, with the name of its architecture."""
    name = next(own for own, theirs in ARCHITECTURES.items() if theirs == about["model_type"])
    flat = {**about, **about["rope_parameters"], "rope.dimension_count": about["head_dim"]}
    named = {**OF_CONFIG, "rope.dimension_count": "rope.dimension_count", "vocab_size": "vocab_size"}
    return {"general.architecture": name, **{f"{name}.{own}": flat[theirs] for own, theirs in named.items()}}


def name_in_file(name: str) -> str:
    """What a file calls a tensor of a folder."""
    whole, _, kind = name.rpartition(".")
    if whole.startswith("model.layers."):
        _, _, layer, part = whole.split(".", 3)
        return f"blk.{layer}.{next(own for own, theirs in OF_LAYER.items() if theirs == part)}.{kind}"
    return f"{next(own for own, theirs in OF_MODEL.items() if theirs == whole)}.{kind}"


def tensors_in_file(tensors: Mapping[str, Array], about: Mapping[str, Any]) -> Iterator[tuple[str, Array]]:
    """The tensors of a folder under their names in a file, in float32 and in its order of rows."""
    turned = about["model_type"] in {ARCHITECTURES[name] for name in NEIGHBOURS}
    for name, array in tensors.items():
        if turned and name.endswith((".q_proj.weight", ".k_proj.weight")):
            array = halves_of_neighbours(array, about["head_dim"], about["head_dim"], back=True)
        yield name_in_file(name), np.ascontiguousarray(array, np.float32)


def tokenizer_entries(json_text: str, vocab_size: int) -> dict[str, Any]:
    """A tokenizer.json as entries of a file.

    Raises:
        PretrainedError: GGUF has no such tokenizer.
    """
    about = json.loads(json_text)
    model, vocabulary = about["model"], about["model"]["vocab"]
    if model["type"] == "WordLevel":  # of characters: bytes that are never joined, where each is one byte
        if beyond := [token for token in vocabulary if not (len(token) == 1 and token.isascii())]:
            raise PretrainedError(
                f"its tokenizer has characters of several bytes, such as {beyond[0]!r}, and GGUF's byte pairs have no "
                "token for one without tokens for its parts; train with the byte tokenizer or with byte pairs"
            )
        vocabulary, merges, rule = {BYTE_NAMES[ord(token)]: i for token, i in vocabulary.items()}, [], "gpt-2"
    else:
        merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in model.get("merges", ())]
        rule = rule_of(about, merges)
    names, kinds = [f"[PAD{i}]" for i in range(vocab_size)], [UNUSED] * vocab_size
    for token, i in vocabulary.items():
        names[i], kinds[i] = token, NORMAL
    for token in about["added_tokens"]:
        names[token["id"]], kinds[token["id"]] = token["content"], CONTROL if token["special"] else GIVEN_BY_USER
    found = {"model": "gpt2", "pre": rule, "tokens": names, "token_type": kinds, "merges": merges}
    return {f"tokenizer.ggml.{name}": value for name, value in {**found, "add_bos_token": False}.items()}


def rule_of(about: Mapping[str, Any], merges: list[str]) -> str:
    """What GGUF calls the way in which a tokenizer.json cuts texts into words.

    Raises:
        PretrainedError: it has no name for it.
    """
    known, cut = rules_of_words(), about["pre_tokenizer"] or {}
    of_bytes = cut.get("type") == "ByteLevel" and not cut["add_prefix_space"]
    if about["model"]["type"] == "BPE" and about["normalizer"] is None and not about["model"].get("ignore_merges"):
        if of_bytes and not merges:
            return "gpt-2"  # where nothing is joined, words make no difference
        for rule, pre_tokenizer in known.items():
            if json.loads(pre_tokenizer.__getstate__()) == cut:
                return rule
    raise PretrainedError(
        f"its tokenizer is none that the lab can write as GGUF: byte pairs in words of {' or '.join(known)}, bytes, or "
        "characters of ASCII"
    )


ALIGNMENT = 32  # bytes, of each tensor in a file
UINT32, FLOAT32, BOOL, STRING, ARRAY = 4, 6, 7, 8, 9  # kinds of entries


def packed_entry(value: Any) -> tuple[int, bytes]:
    """An entry's kind and bytes. The package gguf writes no empty list, and bytes that are never joined have one."""
    if isinstance(value, bool):
        return BOOL, struct.pack("<?", value)
    if isinstance(value, int):
        return UINT32, struct.pack("<I", value)
    if isinstance(value, float):
        return FLOAT32, struct.pack("<f", value)
    if isinstance(value, str):
        return STRING, string(value)
    each = [packed_entry(one) for one in value]
    kind = each[0][0] if each else STRING
    return ARRAY, struct.pack("<IQ", kind, len(each)) + b"".join(part for _, part in each)


def string(text: str) -> bytes:
    """Its length in bytes, and its bytes."""
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def file_parts(entries: Mapping[str, Any], tensors: Mapping[str, Array]) -> Iterator[bytes]:
    """A file piece by piece: its head, then each tensor, in float32."""
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(entries))
    for name, value in entries.items():
        kind, data = packed_entry(value)
        head += string(name) + struct.pack("<I", kind) + data
    begin = 0
    for name, array in tensors.items():
        shape = array.shape[::-1]  # from the innermost
        head += string(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, 0, begin)
        begin += array.nbytes + -array.nbytes % ALIGNMENT
    yield head + bytes(-len(head) % ALIGNMENT)
    for array in tensors.values():
        yield array.tobytes() + bytes(-array.nbytes % ALIGNMENT)
