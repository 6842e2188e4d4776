"""Llama and what followed it: RMSNorm, a gated MLP, RoPE, and keys and values that heads share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from tlab.nn.config import ModelConfig
from tlab.pretrained.families.gpt2 import ACTIVATION_NAMES, COMMON_SIZES, PLAIN_ATTENTION
from tlab.pretrained.family import FAMILIES, Family
from tlab.pretrained.fields import (
    Always,
    Biases,
    Cap,
    Field,
    KvHeads,
    MlpWidth,
    Only,
    Renamed,
    RootOfWidth,
    RopeParameters,
    Same,
    SlidingWindow,
    Width,
)
from tlab.pretrained.tensors import Form, QueriesKeysValues, Shifted, Tensor, head, linear, no_bias, rms_norm

GATED_NAMES = {"silu": "swiglu", "swish": "swiglu", "gelu_pytorch_tanh": "geglu", "gelu_new": "geglu", "relu": "reglu"}
"""What Transformers calls the activations of a gate."""
QUERY_KEY_NORMS = {"self_attn.q_norm": "attention.q_norm", "self_attn.k_norm": "attention.k_norm"}
"""Norms of a layer's queries and keys -> those of a block."""


def fields_of_llama(
    *more: Field, tied: bool = False, kv_heads: int | None = None, head_dim: int | None = None, epsilon: float = 1e-6
) -> tuple[Field, ...]:
    """What all of these have, around what one of them has for itself; the defaults are those of its class."""
    return (
        *COMMON_SIZES,
        KvHeads(kv_heads),
        Width("head_dim", "head_dim", "heads of another width than hidden_size / num_attention_heads", head_dim),
        Same("rms_norm_eps", "norm_epsilon", epsilon),
        Same("tie_word_embeddings", "tied", tied),
        Always("norm", "rmsnorm"),
        RopeParameters(),
        *more,
        MlpWidth("intermediate_size"),
    )


@FAMILIES.add("llama", label="Llama, SmolLM2", source="Touvron et al. 2023; Ben Allal et al. 2025 (SmolLM2)")
class Llama(Family):
    """Pre-LN with RMSNorm, SwiGLU and RoPE, most often without any bias."""

    fields = fields_of_llama(
        Renamed("hidden_act", "activation", GATED_NAMES, "silu"),
        Biases("attention_bias", "mlp_bias"),
        Always("residual", "pre"),
        Always("embedding_scale", 1.0),
        *PLAIN_ATTENTION,
    )
    stock_class = "LlamaForCausalLM"
    trunk = "model."
    norms: ClassVar[dict[str, str]] = {"input_layernorm": "norm1", "post_attention_layernorm": "norm2"}
    """Norms of a layer -> those of a block."""
    norm_form: ClassVar[Form] = Form()
    mlp: ClassVar[dict[str, str]] = {"up_proj": "up", "gate_proj": "gate", "down_proj": "down"}
    """Linear layers of its MLP -> those of the lab's."""
    biases_elsewhere: ClassVar[bool] = True
    """Whether a model with biases has them in all linear layers, or for queries, keys and values alone."""

    @classmethod
    def tensors(cls, config: ModelConfig) -> Iterator[Tensor]:
        yield Tensor(("model.embed_tokens.weight",), "embedding.weight")
        for i in range(config.num_layers):
            theirs, ours = f"model.layers.{i}", f"blocks.{i}"
            parts = [f"{theirs}.self_attn.{part}_proj" for part in "qkv"]
            yield from linear(parts, f"{ours}.attention.qkv", config.bias, QueriesKeysValues())
            others = {f"{theirs}.self_attn.o_proj": f"{ours}.attention.out"}
            others |= {f"{theirs}.mlp.{name}": f"{ours}.mlp.{own}" for name, own in cls.mlp.items()}
            for name, own in others.items():
                yield from linear(name, own, config.bias and cls.biases_elsewhere)
                if config.bias and not cls.biases_elsewhere:
                    yield from no_bias(own, config.hidden_dim if own.endswith(("out", "down")) else config.mlp_dim)
            for name, own in cls.norms.items():
                yield from cls.norm(f"{theirs}.{name}", f"{ours}.{own}")
        yield from cls.norm("model.norm", "final_norm")
        yield from head("lm_head.weight", config)

    @classmethod
    def norm(cls, theirs: str, ours: str) -> Iterator[Tensor]:
        """The tensors of one norm."""
        return rms_norm(theirs, ours, cls.norm_form)


@FAMILIES.add("arcee", label="Arcee", source="Arcee AI 2025")
class Arcee(Llama):
    """Llama without a gate in the MLP, and with ReLU squared."""

    fields = fields_of_llama(
        Renamed("hidden_act", "activation", ACTIVATION_NAMES, "relu2"),
        Biases("attention_bias", "mlp_bias"),
        Always("residual", "pre"),
        Always("embedding_scale", 1.0),
        *PLAIN_ATTENTION,
        epsilon=1e-5,
    )
    stock_class = "ArceeForCausalLM"
    mlp: ClassVar[dict[str, str]] = {"up_proj": "up", "down_proj": "down"}


@FAMILIES.add("mistral", label="Mistral", source="Jiang et al. 2023")
class Mistral(Llama):
    """Llama with a sliding window of attention, which texts no longer than it do not notice."""

    fields = fields_of_llama(
        Renamed("hidden_act", "activation", GATED_NAMES, "silu"),
        Always("bias", False),
        Always("residual", "pre"),
        Always("embedding_scale", 1.0),
        *PLAIN_ATTENTION,
        SlidingWindow(4096),
        kv_heads=8,
    )
    stock_class = "MistralForCausalLM"


@FAMILIES.add("qwen2", label="Qwen 2", source="Yang et al. 2024")
class Qwen2(Llama):
    """Llama with biases of queries, keys and values.

    Notice: in the lab the other linear layers have biases, too, which are 0.
    """

    fields = fields_of_llama(
        Renamed("hidden_act", "activation", GATED_NAMES, "silu"),
        Always("bias", True),
        Always("residual", "pre"),
        Always("embedding_scale", 1.0),
        *PLAIN_ATTENTION,
        SlidingWindow(4096, used=False),
        kv_heads=32,
    )
    stock_class = "Qwen2ForCausalLM"
    biases_elsewhere = False


@FAMILIES.add("qwen3", label="Qwen 3", source="Yang et al. 2025")
class Qwen3(Llama):
    """Llama with a norm of each head's queries and keys."""

    fields = fields_of_llama(
        Renamed("hidden_act", "activation", GATED_NAMES, "silu"),
        Always("bias", False),
        Only("attention_bias", False, "biases in some linear layers alone"),
        Always("residual", "pre"),
        Always("embedding_scale", 1.0),
        Always("qk_norm", "rmsnorm"),
        *PLAIN_ATTENTION[1:],
        SlidingWindow(4096, used=False),
        kv_heads=32,
        head_dim=128,
    )
    stock_class = "Qwen3ForCausalLM"
    norms: ClassVar[dict[str, str]] = {**Llama.norms, **QUERY_KEY_NORMS}


@FAMILIES.add("olmo2", label="OLMo 2", source="OLMo team 2024")
class Olmo2(Llama):
    """The norm after each sublayer and not before it, and one norm of the queries of all heads, and of their keys."""

    fields = fields_of_llama(
        Renamed("hidden_act", "activation", GATED_NAMES, "silu"),
        Always("bias", False),
        Only("attention_bias", False, "biases in some linear layers alone"),
        Always("residual", "inside"),
        Always("embedding_scale", 1.0),
        Always("qk_norm", "rmsnorm"),
        Always("qk_norm_all_heads", True),
        *PLAIN_ATTENTION[1:],
        epsilon=1e-5,
    )
    stock_class = "Olmo2ForCausalLM"
    norms: ClassVar[dict[str, str]] = {
        **QUERY_KEY_NORMS,
        "post_attention_layernorm": "norm1",
        "post_feedforward_layernorm": "norm2",
    }


@FAMILIES.add("gemma2", label="Gemma 2", source="Gemma team 2024")
class Gemma2(Llama):
    """Norms before and after each sublayer, GEGLU, and soft caps of attention scores and logits.

    Notice: its files keep the scale of a norm as its distance from 1. Attention of every second layer has a sliding
    window.
    """

    fields = fields_of_llama(
        Renamed("hidden_activation", "activation", {"gelu_pytorch_tanh": "geglu", **GATED_NAMES}, "gelu_pytorch_tanh"),
        Always("bias", False),
        Only("attention_bias", False, "biases in some linear layers alone"),
        Always("residual", "sandwich"),
        RootOfWidth("embedding_scale"),
        Always("qk_norm", "none"),
        Always("attention_softmax", "softmax"),
        Cap("attn_logit_softcapping", "score_cap", 50.0),
        Cap("final_logit_softcapping", "logit_cap", 30.0),
        Width("query_pre_attn_scalar", "head_dim", "scores divided by the root of another number than head_dim", 256),
        SlidingWindow(4096, in_some_layers=True),
        Only("use_bidirectional_attention", None, "attention to later tokens"),
        tied=True,
        kv_heads=4,
        head_dim=256,
    )
    stock_class = "Gemma2ForCausalLM"
    norms: ClassVar[dict[str, str]] = {
        "input_layernorm": "norm1",
        "post_attention_layernorm": "norm1_out",
        "pre_feedforward_layernorm": "norm2",
        "post_feedforward_layernorm": "norm2_out",
    }
    norm_form = Shifted()
