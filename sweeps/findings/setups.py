"""The configurations that findings are measured on, shared between claims where possible: each run is made once."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

Settings = Mapping[str, Any]  # the corpus, and every config field that is not at its default


class Measurement(NamedTuple):
    """A measure of one configuration."""

    measure: str  # A key of `sweeps.findings.measures.MEASURES`
    settings: Settings


def measurements(measure: str, settings: Mapping[str, Settings]) -> dict[str, Measurement]:
    return {label: Measurement(measure, fields) for label, fields in settings.items()}


SHAKESPEARE: Settings = {"corpus": "shakespeare", "validation_every": 0}
DEPTHS = (2, 4, 8, 16)

AT_START: Settings = {**SHAKESPEARE, "activation": "relu", "mlp_ratio": 4.0, "init": "xavier"}
"""As in Xiong et al.: ReLU, Glorot's init, and embeddings of variance one (scale 8 at width 64)."""

AS_IN_LEMMA: Settings = {**AT_START, "mlp_ratio": 1.0, "position": "none"}
"""With what Lemma 2 of Xiong et al. supposes: an MLP as wide as the stream, and nothing added to the embeddings."""

SMALL: Settings = {**SHAKESPEARE, "hidden_dim": 48, "mlp_ratio": 4.0, "tied": False}
"""62,880 weights, Pre-LN, LayerNorm, GELU, sinusoidal positions; 1,000 steps with AdamW and a cosine."""

MODIFICATIONS: Mapping[str, Settings] = {
    "RMSNorm": {"norm": "rmsnorm"},
    "ReLU": {"activation": "relu"},
    "Swish": {"activation": "swish"},
    "SwiGLU": {"activation": "swiglu"},
    "Post-LN": {"residual": "post"},
    "Sandwich-LN": {"residual": "sandwich"},
    "RoPE": {"position": "rope"},
    "ALiBi": {"position": "alibi"},
    "learned positions": {"position": "learned"},
    "no biases": {"bias": False},
}
"""One change each to `SMALL`."""

BASELINE = "baseline"

BRIEF: Settings = {**SMALL, "steps": 250}
"""A quarter of the small model's training: short enough for several learning rates."""

BY_TOKENIZER: Mapping[str, Settings] = {
    label: {**SMALL, "tokenizer": tokenizer, "steps": steps, "warmup_steps": steps // 8}
    for label, tokenizer, steps in (("characters", "char", 300), ("bytes", "byte", 256), ("BPE", "bpe-1024", 162))
}
"""The small model by three tokenizers, all for the same number of operations: a larger vocabulary has a larger head."""

TUNED_BY_TOKENIZER: Mapping[str, Settings] = {
    label: {**settings, "learning_rate": 0.0075} for label, settings in BY_TOKENIZER.items()
}
"""The best of five rates for characters and for byte pairs, with three seeds; not tuned for bytes."""


def deep(residual: str, warmup_steps: int) -> Settings:
    """Eight layers with a learning rate that Post-LN tolerates only if it is raised slowly."""
    return {
        **SHAKESPEARE, "num_layers": 8, "hidden_dim": 32, "mlp_ratio": 4.0, "residual": residual, "init": "xavier",
        "embedding_scale": math.sqrt(32), "learning_rate": 1e-2, "warmup_steps": warmup_steps, "gradient_clip": 0.0,
        "steps": 300,
    }  # fmt: skip


def short_context(position: str) -> Settings:
    """A context of 32, so that texts eight times as long are quickly evaluated."""
    return {**SHAKESPEARE, "hidden_dim": 48, "mlp_ratio": 4.0, "context_length": 32, "position": position}


def copier(num_layers: int) -> Settings:
    return {
        "corpus": "repeat", "validation_every": 0, "num_layers": num_layers, "hidden_dim": 32, "num_heads": 2,
        "position": "rope", "init": "xavier", "embedding_scale": math.sqrt(32), "learning_rate": 1e-2, "steps": 3000,
    }  # fmt: skip


NANOGPT: Settings = {
    **SHAKESPEARE, "num_layers": 4, "num_heads": 4, "hidden_dim": 128, "mlp_ratio": 4.0, "position": "learned",
    "bias": False, "embedding_scale": 1.0, "batch_size": 12, "steps": 2000, "learning_rate": 1e-3,
    "min_learning_rate": 1e-4, "warmup_steps": 100,
}  # fmt: skip
"""The CPU command in nanoGPT's README: no dropout, AdamW with beta2 0.99, weight decay 0.1, a cosine schedule."""
