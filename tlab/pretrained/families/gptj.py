"""GPT-J: attention and MLP in parallel after one norm, and RoPE that turns neighbouring channels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tlab.nn.config import ModelConfig
from tlab.pretrained.families.gpt2 import GPT2_FIELDS
from tlab.pretrained.family import FAMILIES, Family
from tlab.pretrained.fields import Always, RotaryDim, Same
from tlab.pretrained.tensors import NeighboursToTurn, Tensor, head, layer_norm, linear, no_bias
from tlab.types import Shape


@FAMILIES.add("gptj", label="GPT-J", source="Wang & Komatsuzaki 2021")
class GptJ(Family):
    """LayerNorm, parallel, GELU in its tanh form, and RoPE on a share of each head.

    Notice: one norm serves attention and MLP, in the lab two that are the same; attention has no biases, in the lab
    biases of 0. Its head has a bias, which the lab has not: a model where that is not 0 is refused.
    """

    fields = (
        *GPT2_FIELDS,
        Same("tie_word_embeddings", "tied", False),
        Always("residual", "parallel"),
        RotaryDim("rotary_dim"),
    )
    stock_class = "GPTJForCausalLM"
    trunk = "transformer."

    @classmethod
    def tensors(cls, config: ModelConfig) -> Iterator[Tensor]:
        yield Tensor(("transformer.wte.weight",), "embedding.weight")
        for i in range(config.num_layers):
            theirs, ours = f"transformer.h.{i}", f"blocks.{i}"
            yield from layer_norm(f"{theirs}.ln_1", f"{ours}.norm1")
            yield from layer_norm(f"{theirs}.ln_1", f"{ours}.norm2")
            parts = [f"{theirs}.attn.{part}_proj" for part in "qkv"]
            yield from linear(parts, f"{ours}.attention.qkv", False, NeighboursToTurn())
            yield from no_bias(f"{ours}.attention.qkv", 3 * config.hidden_dim)
            yield from linear(f"{theirs}.attn.out_proj", f"{ours}.attention.out", False)
            yield from no_bias(f"{ours}.attention.out", config.hidden_dim)
            yield from linear(f"{theirs}.mlp.fc_in", f"{ours}.mlp.up", True)
            yield from linear(f"{theirs}.mlp.fc_out", f"{ours}.mlp.down", True)
        yield from layer_norm("transformer.ln_f", "final_norm")
        yield from head("lm_head.weight", config)

    @classmethod
    def zeros(cls, config: ModelConfig) -> Mapping[str, tuple[Shape, str]]:
        return {"lm_head.bias": ((config.vocab_size,), "bias of the head")}
