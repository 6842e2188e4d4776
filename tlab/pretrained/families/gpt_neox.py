"""GPT-NeoX, whose layout Pythia has: attention and MLP in parallel, and RoPE on a share of each head."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar

from tlab.nn.config import ModelConfig
from tlab.pretrained.families.gpt2 import ACTIVATION_NAMES, COMMON_SIZES, PLAIN_ATTENTION
from tlab.pretrained.family import FAMILIES, Family
from tlab.pretrained.fields import Always, MlpWidth, Only, Renamed, RopeParameters, Same
from tlab.pretrained.tensors import HeadByHead, Tensor, head, layer_norm, linear


@FAMILIES.add("gpt_neox", label="GPT-NeoX, Pythia", source="Black et al. 2022; Biderman et al. 2023 (Pythia)")
class GptNeoX(Family):
    """LayerNorm, parallel or Pre-LN, exact GELU and RoPE.

    Notice: its files keep query, key and value of each head together.
    """

    fields = (
        *COMMON_SIZES,
        Same("layer_norm_eps", "norm_epsilon", 1e-5),
        Renamed("hidden_act", "activation", {"gelu": "gelu_exact", **ACTIVATION_NAMES}, "gelu"),
        Same("tie_word_embeddings", "tied", False),
        Always("bias", True),
        MlpWidth("intermediate_size"),
        Always("norm", "layernorm"),
        Renamed("use_parallel_residual", "residual", {True: "parallel", False: "pre"}, True),
        RopeParameters(default_fraction=0.25),
        Always("embedding_scale", 1.0),
        Always("num_kv_heads", None),
        *PLAIN_ATTENTION,
        Only("attention_bias", True, "biases in some linear layers alone"),
    )
    stock_class = "GPTNeoXForCausalLM"
    trunk = "gpt_neox."
    early_names: ClassVar[Mapping[str, str]] = {"lm_head.": "embed_out."}

    @classmethod
    def tensors(cls, config: ModelConfig) -> Iterator[Tensor]:
        yield Tensor(("gpt_neox.embed_in.weight",), "embedding.weight")
        for i in range(config.num_layers):
            theirs, ours = f"gpt_neox.layers.{i}", f"blocks.{i}"
            yield from layer_norm(f"{theirs}.input_layernorm", f"{ours}.norm1")
            yield from linear(f"{theirs}.attention.query_key_value", f"{ours}.attention.qkv", True, HeadByHead())
            yield from linear(f"{theirs}.attention.dense", f"{ours}.attention.out", True)
            yield from layer_norm(f"{theirs}.post_attention_layernorm", f"{ours}.norm2")
            yield from linear(f"{theirs}.mlp.dense_h_to_4h", f"{ours}.mlp.up", True)
            yield from linear(f"{theirs}.mlp.dense_4h_to_h", f"{ours}.mlp.down", True)
        yield from layer_norm("gpt_neox.final_layer_norm", "final_norm")
        yield from head("embed_out.weight", config)
