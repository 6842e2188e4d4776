"""The architectures of llama.cpp, as its GGUF files hold them.

A file says sizes and little more; what else such a model is, llama.cpp has in its code, and so it is said here. Which
biases there are, and whether the head has weights of its own, is to be seen by the tensors. These are the lab's own,
each matrix transposed. Entries are named here without the architecture that their names begin with in a file.
Source: https://github.com/ggml-org/llama.cpp, src/models for what is computed, conversion for the files.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from tlab.nn.activations import ACTIVATIONS
from tlab.nn.config import ModelConfig
from tlab.nn.positions import rotated_width
from tlab.pretrained.family import GGUF_FAMILIES, Family
from tlab.pretrained.fields import (
    Always,
    Cap,
    ContextLength,
    Entries,
    Field,
    KvHeads,
    MlpWidth,
    Only,
    PretrainedError,
    Renamed,
    RootOfWidth,
    Same,
    SlidingWindow,
    Width,
)
from tlab.pretrained.tensors import (
    Form,
    NeighboursToTurn,
    Places,
    QueriesKeysValues,
    Tensor,
    Transposed,
    head,
    layer_norm,
    linear,
    no_bias,
    rms_norm,
)

HEADS_OF_THE_WIDTH = "heads of another width than embedding_length / attention.head_count"
GGUF_SIZES = (
    Same("vocab_size", "vocab_size"),
    ContextLength("context_length"),
    Same("embedding_length", "hidden_dim"),
    Same("block_count", "num_layers"),
    Same("attention.head_count", "num_heads"),
    KvHeads(theirs="attention.head_count_kv"),
    Width("attention.key_length", "head_dim", HEADS_OF_THE_WIDTH),
    Width("attention.value_length", "head_dim", HEADS_OF_THE_WIDTH),
    Only("attention.causal", True, "attention to later tokens"),
)
EPSILONS = {"layernorm": "attention.layer_norm_epsilon", "rmsnorm": "attention.layer_norm_rms_epsilon"}
UNLESS_SAID = {
    "residual": "pre",
    "embedding_scale": 1.0,
    "qk_norm": "none",
    "attention_softmax": "softmax",
    "score_cap": 0.0,
    "logit_cap": 0.0,
}
"""What an architecture has that does not say otherwise."""
NORMS_OF_QUERIES_AND_KEYS = {"attn_q_norm": "attention.q_norm", "attn_k_norm": "attention.k_norm"}
"""Norms of a layer's queries and keys -> those of a block."""
LINEAR = {"attn_output": "attention.out", "ffn_up": "mlp.up", "ffn_gate": "mlp.gate", "ffn_down": "mlp.down"}
"""Linear layers -> those of a block, without that of queries, keys and values."""


@dataclass(frozen=True)
class WhereTensor(Field):
    """A switch of ours that no entry says, but whether a file has a certain tensor."""

    tensor: str
    ours: str
    there: bool = True  # what the switch is where the file has it

    def read(self, theirs: Entries, ours: Entries) -> dict[str, Any]:
        return {self.ours: (self.tensor in theirs["tensors"]) == self.there}

    def write(self, ours: ModelConfig) -> dict[str, Any]:
        return {}


OWN_HEAD = WhereTensor("output.weight", "tied", there=False)
BIASES = WhereTensor("blk.0.attn_q.bias", "bias")


@dataclass(frozen=True)
class RopeEntries(Field):
    """Base and width of RoPE, which is that of a head, or in some architectures less."""

    of_a_share: bool = False
    our_names = ("position", "rope_base", "rope_fraction")
    names = (
        "rope.freq_base", "rope.freq_base_swa", "rope.dimension_count", "rope.scaling.type", "rope.scaling.factor",
        "rope.scale_linear",
    )  # fmt: skip

    def read(self, theirs: Entries, ours: Entries) -> dict[str, Any]:
        factors = {theirs.get("rope.scaling.factor", 1), theirs.get("rope.scale_linear", 1)}  # 0 is none, too
        kind = theirs.get("rope.scaling.type", "none")
        if kind != "none" or factors - {0, 1} or "rope_freqs.weight" in theirs["tensors"]:
            raise PretrainedError("it has scaled RoPE, and the lab has none")
        D = ours["hidden_dim"] // ours["num_heads"]
        width = theirs.get("rope.dimension_count", D)
        if width != D and not self.of_a_share:
            raise PretrainedError(
                f"rope.dimension_count = {width} is not the width of a head, {D}, as llama.cpp needs it"
            )
        base = theirs.get("rope.freq_base", 10_000.0)
        if (other := theirs.get("rope.freq_base_swa", base)) != base:
            raise PretrainedError(f"rope.freq_base_swa = {other:g}: the lab has no layers with RoPE of another base")
        return {"position": "rope", "rope_base": float(base), "rope_fraction": width / D}

    def write(self, ours: ModelConfig) -> dict[str, Any]:
        if ours.position != "rope":
            raise PretrainedError(f"position = {ours.position!r} is not 'rope'")
        D, width = ours.head_dim, rotated_width(ours.head_dim, ours.rope_fraction)
        if width != D and not self.of_a_share:
            raise PretrainedError(f"rope_fraction = {ours.rope_fraction:g} is not 1")
        return {"rope.freq_base": ours.rope_base, "rope.dimension_count": width}


@dataclass(frozen=True)
class Window(SlidingWindow):
    """A sliding window in some layers, which a file may name; an architecture with a default always has one."""

    theirs: str = "attention.sliding_window"
    names = ("attention.sliding_window_pattern",)

    def write(self, ours: ModelConfig) -> dict[str, Any]:
        return {} if self.default is None else {self.theirs: ours.context_length}


def fields_of_file(*more: Field, norm: str, **always: Any) -> tuple[Field, ...]:
    """Those of an architecture: what its files say, with `more` for itself, and what it always has of our fields."""
    said = {name for field in more for name in (*field.our_names, getattr(field, "ours", ""))}
    constant = {**UNLESS_SAID, "norm": norm, **always}
    return (
        *GGUF_SIZES,
        Same(EPSILONS[norm], "norm_epsilon"),
        *more,
        *(Always(name, value) for name, value in constant.items() if name not in said),
        MlpWidth("feed_forward_length"),
    )


class GgufFamily(Family):
    """The contract of an architecture of GGUF: what of it differs from Llama's names."""

    trunk = ""
    described_in = "the file"
    without_effect = frozenset({
        "tensors", "pooling_type", "tensor_data_layout", "use_parallel_residual",
        "rope.scaling.original_context_length", "rope.scaling.finetuned",
    })  # fmt: skip
    norms: ClassVar[dict[str, str]] = {"attn_norm": "norm1", "ffn_norm": "norm2"}
    """Norms of a layer -> those of a block."""
    qkv: ClassVar[tuple[str, ...]] = ("attn_q", "attn_k", "attn_v")
    qkv_form: ClassVar[Form] = QueriesKeysValues()
    """The linear layers of queries, keys and values, and how they are laid out in the lab's one."""
    biases_elsewhere: ClassVar[bool] = True
    """Whether a model with biases has them in all linear layers, or for queries, keys and values alone."""

    @classmethod
    def tensors(cls, config: ModelConfig) -> Iterator[Tensor]:
        norm = layer_norm if config.norm == "layernorm" else rms_norm
        gated = ACTIVATIONS[config.activation].gated
        yield Tensor(("token_embd.weight",), "embedding.weight")
        if config.position == "learned":
            yield Tensor(("position_embd.weight",), "position.weight", Places())
        for i in range(config.num_layers):
            theirs, ours = f"blk.{i}", f"blocks.{i}"
            for name, own in cls.norms.items():
                yield from norm(f"{theirs}.{name}", f"{ours}.{own}")
            parts = [f"{theirs}.{part}" for part in cls.qkv]
            yield from linear(parts, f"{ours}.attention.qkv", config.bias, cls.qkv_form)
            for name, own in LINEAR.items():
                if name == "ffn_gate" and not gated:
                    continue
                yield from linear(f"{theirs}.{name}", f"{ours}.{own}", config.bias and cls.biases_elsewhere)
                if config.bias and not cls.biases_elsewhere:
                    width = config.hidden_dim if name in ("attn_output", "ffn_down") else config.mlp_dim
                    yield from no_bias(f"{ours}.{own}", width)
        yield from norm("output_norm", "final_norm")
        yield from head("output.weight", config)


@GGUF_FAMILIES.add("gpt2", label="GPT-2")
class GgufGpt2(GgufFamily):
    """LayerNorm, learned positions, and GELU in its tanh form."""

    fields = fields_of_file(
        OWN_HEAD, norm="layernorm", activation="gelu", position="learned", bias=True, num_kv_heads=None
    )
    qkv = ("attn_qkv",)
    qkv_form = Transposed()


@GGUF_FAMILIES.add("starcoder2", label="StarCoder 2")
class GgufStarCoder2(GgufFamily):
    """LayerNorm, RoPE, GELU in its tanh form, and a bias everywhere."""

    fields = fields_of_file(OWN_HEAD, RopeEntries(), norm="layernorm", activation="gelu", bias=True)


@GGUF_FAMILIES.add("gptneox", label="GPT-NeoX, Pythia")
class GgufGptNeoX(GgufFamily):
    """Attention and MLP in parallel or one after the other, LayerNorm, and RoPE on a share of each head.

    Notice: llama.cpp computes GELU in its tanh form, whatever the model was trained with.
    """

    fields = fields_of_file(
        Renamed("use_parallel_residual", "residual", {True: "parallel", False: "pre"}),
        RopeEntries(of_a_share=True),
        norm="layernorm",
        activation="gelu",
        bias=True,
        tied=False,
        num_kv_heads=None,
    )
    qkv = ("attn_qkv",)
    qkv_form = Transposed()
    remark = "Its GELU is the tanh form, as in llama.cpp; Pythia was trained with the exact one, which no file can say."


@GGUF_FAMILIES.add("stablelm", label="StableLM")
class GgufStableLm(GgufFamily):
    """LayerNorm, SwiGLU, and RoPE on a share of each head; biases of queries, keys and values, or none."""

    fields = fields_of_file(BIASES, RopeEntries(of_a_share=True), norm="layernorm", activation="swiglu", tied=False)
    biases_elsewhere = False


@GGUF_FAMILIES.add("qwen2", label="Qwen 2")
class GgufQwen2(GgufFamily):
    """Llama with biases of queries, keys and values alone, and RoPE that turns the halves of a head."""

    fields = fields_of_file(OWN_HEAD, RopeEntries(), norm="rmsnorm", activation="swiglu", bias=True)
    biases_elsewhere = False


@GGUF_FAMILIES.add("qwen3", label="Qwen 3")
class GgufQwen3(GgufFamily):
    """Llama with a norm of each head's queries and keys, and RoPE that turns the halves of a head."""

    fields = fields_of_file(OWN_HEAD, RopeEntries(), norm="rmsnorm", activation="swiglu", bias=False, qk_norm="rmsnorm")
    norms: ClassVar[dict[str, str]] = {**GgufFamily.norms, **NORMS_OF_QUERIES_AND_KEYS}


@GGUF_FAMILIES.add("llama", label="Llama, Mistral, SmolLM2")
class GgufLlama(GgufFamily):
    """RMSNorm, SwiGLU and RoPE, which turns neighbouring channels of a head; biases everywhere, or none."""

    fields = fields_of_file(OWN_HEAD, BIASES, RopeEntries(), norm="rmsnorm", activation="swiglu")
    qkv_form = NeighboursToTurn()


@GGUF_FAMILIES.add("arcee", label="Arcee")
class GgufArcee(GgufFamily):
    """Llama without biases and without a gate in the MLP, and with ReLU squared."""

    fields = fields_of_file(OWN_HEAD, RopeEntries(), norm="rmsnorm", activation="relu2", bias=False)
    qkv_form = NeighboursToTurn()


@GGUF_FAMILIES.add("olmo2", label="OLMo 2")
class GgufOlmo2(GgufFamily):
    """The norm after each sublayer and not before it, and one norm of the queries of all heads, and of their keys."""

    fields = fields_of_file(
        RopeEntries(),
        Window(),
        norm="rmsnorm",
        residual="inside",
        activation="swiglu",
        bias=False,
        tied=False,
        qk_norm="rmsnorm",
        qk_norm_all_heads=True,
    )
    norms: ClassVar[dict[str, str]] = {
        **NORMS_OF_QUERIES_AND_KEYS,
        "post_attention_norm": "norm1",
        "post_ffw_norm": "norm2",
    }


@GGUF_FAMILIES.add("gemma2", label="Gemma 2")
class GgufGemma2(GgufFamily):
    """Norms before and after each sublayer, GEGLU, and soft caps of attention scores and logits.

    Notice: a scale of a norm is kept as it is, and not as its distance from 1, as in a folder of Hugging Face.
    """

    fields = fields_of_file(
        RootOfWidth("embedding_scale"),
        RopeEntries(),
        Window(4096),
        Cap("attn_logit_softcapping", "score_cap", 50.0, is_optional=False),
        Cap("final_logit_softcapping", "logit_cap", 30.0, is_optional=False),
        norm="rmsnorm",
        residual="sandwich",
        activation="geglu",
        bias=False,
        tied=True,
    )
    norms: ClassVar[dict[str, str]] = {
        "attn_norm": "norm1",
        "post_attention_norm": "norm1_out",
        "ffn_norm": "norm2",
        "post_ffw_norm": "norm2_out",
    }
