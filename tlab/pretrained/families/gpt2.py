"""GPT-2 and OPT: norms before each sublayer, learned positions, a bias everywhere."""

from __future__ import annotations

from collections.abc import Iterator

from tlab.nn.config import ModelConfig
from tlab.nn.residuals import RESIDUALS
from tlab.pretrained.family import FAMILIES, Family
from tlab.pretrained.fields import Always, ContextLength, MlpWidth, Only, Renamed, Same, Width
from tlab.pretrained.tensors import Form, Places, QueriesKeysValues, Tensor, head, layer_norm, linear

ACTIVATION_NAMES = {
    "gelu_new": "gelu",
    "gelu_pytorch_tanh": "gelu",
    "gelu": "gelu_exact",
    "relu": "relu",
    "silu": "swish",
    "swish": "swish",
    "relu2": "relu2",
}
"""What Transformers calls the activations of an MLP without gate."""
COMMON_SIZES = (
    Same("vocab_size", "vocab_size"),
    ContextLength("max_position_embeddings"),
    Same("hidden_size", "hidden_dim"),
    Same("num_hidden_layers", "num_layers"),
    Same("num_attention_heads", "num_heads"),
)
"""As all but GPT-2 and GPT-J call them."""
PLAIN_ATTENTION = (
    Always("qk_norm", "none"),
    Always("attention_softmax", "softmax"),
    Always("score_cap", 0.0),
    Always("logit_cap", 0.0),
)
GPT2_FIELDS = (
    Same("vocab_size", "vocab_size"),
    ContextLength("n_positions"),
    Same("n_embd", "hidden_dim"),
    Same("n_layer", "num_layers"),
    Same("n_head", "num_heads"),
    Same("layer_norm_epsilon", "norm_epsilon", 1e-5),
    Renamed("activation_function", "activation", ACTIVATION_NAMES, "gelu_new"),
    Always("bias", True),
    MlpWidth("n_inner", default_ratio=4),
    Always("norm", "layernorm"),
    Always("embedding_scale", 1.0),
    Always("num_kv_heads", None),
    *PLAIN_ATTENTION,
)
"""What GPT-2 and GPT-J have alike."""


@FAMILIES.add("gpt2", label="GPT-2", source="Radford et al. 2019")
class Gpt2(Family):
    """Pre-LN with LayerNorm, learned positions and GELU in its tanh form.

    Notice: its files keep each matrix as (in, out), as the lab does, where all later ones have (out, in).
    """

    fields = (
        *GPT2_FIELDS,
        Same("tie_word_embeddings", "tied", True),
        Always("residual", "pre"),
        Always("position", "learned"),
        Only("scale_attn_weights", True, "attention scores that are not divided by sqrt(head_dim)"),
        Only("scale_attn_by_inverse_layer_idx", False, "attention scores that are divided by the number of the layer"),
        Only("reorder_and_upcast_attn", False, "attention in another precision than the rest"),
        Only("add_cross_attention", False, "attention to a second text"),
    )
    stock_class = "GPT2LMHeadModel"
    dropouts = ("attn_pdrop", "embd_pdrop", "resid_pdrop")
    trunk = "transformer."

    @classmethod
    def tensors(cls, config: ModelConfig) -> Iterator[Tensor]:
        yield Tensor(("transformer.wte.weight",), "embedding.weight")
        yield Tensor(("transformer.wpe.weight",), "position.weight", Places())
        for i in range(config.num_layers):
            theirs, ours = f"transformer.h.{i}", f"blocks.{i}"
            yield from layer_norm(f"{theirs}.ln_1", f"{ours}.norm1")
            yield from linear(f"{theirs}.attn.c_attn", f"{ours}.attention.qkv", True, Form())
            yield from linear(f"{theirs}.attn.c_proj", f"{ours}.attention.out", True, Form())
            yield from layer_norm(f"{theirs}.ln_2", f"{ours}.norm2")
            yield from linear(f"{theirs}.mlp.c_fc", f"{ours}.mlp.up", True, Form())
            yield from linear(f"{theirs}.mlp.c_proj", f"{ours}.mlp.down", True, Form())
        yield from layer_norm("transformer.ln_f", "final_norm")
        yield from head("lm_head.weight", config)


@FAMILIES.add("opt", label="OPT", source="Zhang et al. 2022")
class Opt(Family):
    """Pre-LN or Post-LN with LayerNorm, learned positions and ReLU.

    Notice: its table of positions begins with two rows that no token reads.
    """

    fields = (
        *COMMON_SIZES,
        Always("norm_epsilon", 1e-5),
        Renamed("activation_function", "activation", ACTIVATION_NAMES, "relu"),
        Same("tie_word_embeddings", "tied", True),
        Same("enable_bias", "bias", True),
        MlpWidth("ffn_dim"),
        Always("norm", "layernorm"),
        Renamed("do_layer_norm_before", "residual", {True: "pre", False: "post"}, True),
        Always("position", "learned"),
        Always("embedding_scale", 1.0),
        Always("num_kv_heads", None),
        *PLAIN_ATTENTION,
        Only("layer_norm_elementwise_affine", True, "LayerNorm without scale and shift"),
        Only("_remove_final_layer_norm", False, "Pre-LN without a final norm"),
        Width("word_embed_proj_dim", "hidden_dim", "embeddings of another width than hidden_size"),
    )
    stock_class = "OPTForCausalLM"
    dropouts = ("dropout",)
    trunk = "model."

    @classmethod
    def tensors(cls, config: ModelConfig) -> Iterator[Tensor]:
        yield Tensor(("model.decoder.embed_tokens.weight",), "embedding.weight")
        yield Tensor(("model.decoder.embed_positions.weight",), "position.weight", Places(unused=2))
        for i in range(config.num_layers):
            theirs, ours = f"model.decoder.layers.{i}", f"blocks.{i}"
            yield from layer_norm(f"{theirs}.self_attn_layer_norm", f"{ours}.norm1")
            parts = [f"{theirs}.self_attn.{part}_proj" for part in "qkv"]
            yield from linear(parts, f"{ours}.attention.qkv", config.bias, QueriesKeysValues())
            yield from linear(f"{theirs}.self_attn.out_proj", f"{ours}.attention.out", config.bias)
            yield from layer_norm(f"{theirs}.final_layer_norm", f"{ours}.norm2")
            yield from linear(f"{theirs}.fc1", f"{ours}.mlp.up", config.bias)
            yield from linear(f"{theirs}.fc2", f"{ours}.mlp.down", config.bias)
        if RESIDUALS[config.residual].final_norm:
            yield from layer_norm("model.decoder.final_layer_norm", "final_norm")
        yield from head("lm_head.weight", config)
