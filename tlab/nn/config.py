"""The shape of a transformer, and the choice for each of its switches."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

from tlab.config import Config, chosen_from, option
from tlab.nn.activations import ACTIVATIONS
from tlab.nn.inits import INITS
from tlab.nn.norms import NORMS
from tlab.nn.positions import POSITIONS, rotated_width
from tlab.nn.residuals import RESIDUALS
from tlab.nn.scores.softmaxes import ATTENTION_SOFTMAXES
from tlab.wording import several

# Far beyond any model that was ever trained. With them whatever is computed from a config alone, its checks and costs,
# takes moments for any config that there can be.
MAX_WIDTH = 1_000_000
MAX_LAYERS = 10_000
MAX_MLP_RATIO = 1_000
MAX_VOCABULARY = 100_000_000


@dataclass(frozen=True)
class ModelConfig(Config):
    """The shape of a transformer and the choice for each of its switches."""

    vocab_size: int = option(help="Number of different tokens; given by the corpus.", low=2, high=MAX_VOCABULARY)
    context_length: int = option(
        64, low=1, high=MAX_WIDTH, typical=(16, 256), help="Tokens that the model reads at once: how far it can look "
        "back."
    )  # fmt: skip
    hidden_dim: int = option(64, low=1, high=MAX_WIDTH, typical=(16, 512), help="Width of the residual stream.")
    num_layers: int = option(
        2, low=1, high=MAX_LAYERS, typical=(1, 12), help="Number of blocks, each attention and MLP."
    )
    num_heads: int = option(
        4, low=1, high=MAX_WIDTH, typical=(1, 16), help="Attention heads in a block; divides the hidden dim."
    )
    norm: str = chosen_from(NORMS, "layernorm", "How each token's vector is normalized.")
    activation: str = chosen_from(ACTIVATIONS, "gelu", "The nonlinearity of the MLP.")
    residual: str = chosen_from(RESIDUALS, "pre", "How sublayers and norms are placed around the residual stream.")
    position: str = chosen_from(POSITIONS, "sinusoidal", "How the model knows the order of the tokens.")
    init: str = chosen_from(INITS, "gpt2", "How the initial weights are drawn.")
    mlp_ratio: float = option(
        # The papers have 4. With 3.5 the default model on a text of 65 characters has 96,000 parameters, under 100,000.
        3.5,
        low=0,
        high=MAX_MLP_RATIO,
        low_is_allowed=False,
        typical=(1, 8),
        help="Width of the MLP over the hidden dim; a gated MLP is made narrower, so that it has as many parameters.",
    )
    bias: bool = option(True, help="Whether linear layers add a bias.")
    tied: bool = option(True, help="Whether the head shares the embedding's weights (transposed), or has its own.")
    embedding_scale: float = option(
        # sqrt of the default width. With 1, sinusoidal positions drown the small initial embeddings: the default run
        # then ends at 2.52 instead of 2.16 nats on tiny Shakespeare.
        8.0,
        low=0,
        low_is_allowed=False,
        typical=(0.1, 32),
        help="Token embeddings are multiplied by this before positions are added. Vaswani et al.: the root of the "
        "hidden dim, GPT-2 and Llama: 1.",
    )
    norm_epsilon: float = option(
        1e-5,
        low=0,
        low_is_allowed=False,
        typical=(1e-8, 1e-2),
        help="Added to the variance or mean square under a norm's square root.",
    )
    scale_residual: bool = option(
        False,
        help="With Xavier: divide the output matrices of attention and MLP by the root of twice the number of layers, "
        "as GPT-2 always does.",
    )

    num_kv_heads: int | None = option(
        None,
        low=1,
        high=MAX_WIDTH,
        default_words="as many as heads",
        label="Key and value heads",
        help="Heads of keys and values, each read by as many query heads; divides the number of heads. Fewer make the "
        "cache of generation smaller; 1 is multi-query attention.",
        formula=r"q_h \cdot k_{\lfloor h H_k / H \rfloor}",
        source="Ainslie et al. 2023 (GQA); Shazeer 2019 (MQA)",
        is_extra=True,
    )
    rope_base: float = option(
        10_000.0,
        low=1,
        low_is_allowed=False,
        typical=(100, 1_000_000),
        label="Base of RoPE",
        help="Base of RoPE's angles: the larger, the slower the slowest of them turns. Llama 3 has 500,000.",
        formula=r"\theta_i = b^{-2i/D}",
        source="Su et al. 2021",
        is_extra=True,
    )
    rope_fraction: float = option(
        1.0,
        low=0,
        high=1,
        low_is_allowed=False,
        typical=(0.25, 1),
        label="Share that RoPE rotates",
        help="Share of each head's width that RoPE rotates, its first channels. GPT-NeoX has 0.25.",
        formula=r"D \to \rho D",
        source="Black et al. 2022 (GPT-NeoX)",
        is_extra=True,
    )
    qk_norm: str = chosen_from(
        NORMS,
        "none",
        "How each head's query and key are normalized, over the head's width and before any rotation.",
        "Norm of queries and keys",
        is_extra=True,
    )
    qk_norm_all_heads: bool = option(
        False,
        label="Norm over all heads",
        help="Whether the norm of queries and keys takes all heads of a token as one vector, as in OLMo 2, or each "
        "head by itself.",
        formula=r"\mathrm{norm}([q_1; \dots; q_H])",
        source="OLMo 2 2024",
        is_extra=True,
    )
    attention_softmax: str = chosen_from(
        ATTENTION_SOFTMAXES,
        "softmax",
        "How attention scores become weights; with a rest, a token can attend to nothing.",
        "Softmax of attention",
        is_extra=True,
    )
    attention_gate: bool = option(
        False,
        label="Gate of attention",
        help="Whether what the heads have collected passes a gate that the reading token sets, channel by channel.",
        formula=r"(a \odot \sigma(h W_\mathrm{gate}))\,W_\mathrm{out}",
        source="Qiu et al. 2025",
        is_extra=True,
    )
    value_residual: bool = option(
        False,
        label="Value residual",
        help="Whether each block after the first mixes the first block's values into its own, by a learned share.",
        formula=r"v = (1 - \lambda)\,v + \lambda\,v_1",
        source="Zhou et al. 2024",
        is_extra=True,
    )
    score_cap: float = option(
        0.0,
        low=0,
        typical=(0, 100),
        label="Soft cap of the scores",
        help="Soft limit of the attention scores, before the mask: Gemma 2 has 50. 0 for none.",
        formula=r"c \tanh(s / c)",
        source="Gemma 2, 2024",
        is_extra=True,
    )
    logit_cap: float = option(
        0.0,
        low=0,
        typical=(0, 100),
        label="Soft cap of the logits",
        help="Soft limit of the logits: Gemma 2 has 30. 0 for none.",
        formula=r"c \tanh(z / c)",
        source="Gemma 2, 2024",
        is_extra=True,
    )

    def cross_check(self) -> list[str]:
        """Heads have to divide the width, and some positions want an even width per head."""
        if self.hidden_dim % self.num_heads:
            return [f"num_heads = {self.num_heads}: must divide hidden_dim = {divisors_said(self.hidden_dim)}"]
        if self.num_heads % self.kv_heads:
            return [f"num_kv_heads = {self.num_kv_heads}: must divide num_heads = {divisors_said(self.num_heads)}"]
        position = POSITIONS[self.position]
        width = rotated_width(self.head_dim, self.rope_fraction)
        if "rope_fraction" in position.options and self.rope_fraction < 1 and (width % 2 or not width):
            even = [f"{n / self.head_dim:g}" for n in range(2, self.head_dim + 1, 2)]
            allowed = f"allowed: {', '.join(even)}" if even else "make the heads wider"
            return [
                f"rope_fraction = {self.rope_fraction:g} of heads of width {self.head_dim} rotates "
                f"{several(width, 'channel')}, and has to rotate pairs; {allowed}"
            ]
        if position.even_head_dim and self.head_dim % 2 and self.rope_fraction == 1:
            return [
                f"position = {self.position!r} turns pairs of channels and needs an even width per head, "
                f"but hidden_dim / num_heads = {self.hidden_dim} / {self.num_heads} = {self.head_dim}; change one"
            ]
        return []

    def with_vocab(self, vocab_size: int) -> ModelConfig:
        """The same model for a text of another vocabulary."""
        return dataclasses.replace(self, vocab_size=vocab_size)

    @property
    def head_dim(self) -> int:
        """Width of one attention head, D."""
        return self.hidden_dim // self.num_heads

    @property
    def kv_heads(self) -> int:
        """Heads of keys and values, Hk."""
        return self.num_kv_heads or self.num_heads

    @property
    def mlp_dim(self) -> int:
        """Width of the MLP, F: for a gated one the width with which it has as many parameters as one without gate."""
        plain = max(1, round(self.mlp_ratio * self.hidden_dim))
        if not ACTIVATIONS[self.activation].gated:
            return plain
        # Weights a hidden unit has: C in and C out and a bias, or with a gate C in twice, C out and two biases.
        C, bias = self.hidden_dim, int(self.bias)
        return max(1, round(plain * (2 * C + bias) / (3 * C + 2 * bias)))


def divisors_said(number: int) -> str:
    """A number with what divides it, to end an error."""
    small = [n for n in range(1, math.isqrt(number) + 1) if number % n == 0]
    return f"{number}; allowed: {', '.join(map(str, sorted({*small, *(number // n for n in small)})))}"
