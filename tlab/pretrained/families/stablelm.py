"""StarCoder 2 and StableLM: Llama's names with LayerNorm, one without a gate and one with it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from tlab.pretrained.families.gpt2 import ACTIVATION_NAMES, COMMON_SIZES, PLAIN_ATTENTION
from tlab.pretrained.families.llama import GATED_NAMES, Llama
from tlab.pretrained.family import FAMILIES
from tlab.pretrained.fields import Always, KvHeads, MlpWidth, Only, Renamed, RopeParameters, Same, SlidingWindow
from tlab.pretrained.tensors import Tensor, layer_norm


class WithLayerNorm(Llama):
    """Llama's tensors, but for the norms' shifts."""

    @classmethod
    def norm(cls, theirs: str, ours: str) -> Iterator[Tensor]:
        return layer_norm(theirs, ours)


@FAMILIES.add("starcoder2", label="StarCoder 2", source="Lozhkov et al. 2024")
class StarCoder2(WithLayerNorm):
    """Pre-LN with LayerNorm, GELU in its tanh form, RoPE, and a bias everywhere.

    Notice: keys and values are shared by heads, and the head is the embedding.
    """

    fields = (
        *COMMON_SIZES,
        KvHeads(2),
        Same("norm_epsilon", "norm_epsilon", 1e-5),
        Same("tie_word_embeddings", "tied", True),
        Renamed("hidden_act", "activation", {"gelu_pytorch_tanh": "gelu", **ACTIVATION_NAMES}, "gelu_pytorch_tanh"),
        Same("use_bias", "bias", True),
        MlpWidth("intermediate_size"),
        Always("norm", "layernorm"),
        Always("residual", "pre"),
        RopeParameters(),
        Always("embedding_scale", 1.0),
        *PLAIN_ATTENTION,
        SlidingWindow(None),
    )
    stock_class = "Starcoder2ForCausalLM"
    mlp: ClassVar[dict[str, str]] = {"c_fc": "up", "c_proj": "down"}


@FAMILIES.add("stablelm", label="StableLM", source="Bellagente et al. 2024")
class StableLm(WithLayerNorm):
    """Pre-LN with LayerNorm, SwiGLU, and RoPE on a share of each head.

    Notice: where queries, keys and values have biases, the other linear layers have biases of 0 in the lab.
    """

    fields = (
        *COMMON_SIZES,
        KvHeads(32),
        Same("layer_norm_eps", "norm_epsilon", 1e-5),
        Same("tie_word_embeddings", "tied", False),
        Renamed("hidden_act", "activation", GATED_NAMES, "silu"),
        Same("use_qkv_bias", "bias", False),
        MlpWidth("intermediate_size"),
        Always("norm", "layernorm"),
        Renamed("use_parallel_residual", "residual", {False: "pre"}, False),
        RopeParameters(default_fraction=0.25),
        Always("embedding_scale", 1.0),
        *PLAIN_ATTENTION,
        Only("qk_layernorm", False, "norm of queries and keys with other weights in each head"),
    )
    stock_class = "StableLmForCausalLM"
    biases_elsewhere = False
