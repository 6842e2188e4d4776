"""Well-known models as settings, and comparisons worth a minute."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tlab.text import DEFAULT_CORPUS, TOKENIZERS
from tlab.ui.runs.messages import Job
from tlab.ui.settings.fields import RANDOM, START_FROM, field_label, format_value, values_of
from tlab.ui.settings.plans import make_plans, side_label
from tlab.wording import listed


@dataclass(frozen=True, eq=False)  # there is one of each, so that what is made of it can be kept by it
class Preset:
    """Settings with a name, and what B changes."""

    label: str  # on the button
    words: str  # what it is, or what to look for, in a sentence or two
    settings: dict[str, Any] = field(default_factory=dict)  # fields of both configs that differ from the defaults
    switch: tuple[str, Any] | None = None  # the one field that B changes, and its value there; None for one side
    corpus: str | None = None  # the one that it needs; None if any will do


# Deep and narrow, with the initialization of the first papers: here the layouts differ most, in half a minute.
DEEP: dict[str, Any] = {
    "num_layers": 8, "hidden_dim": 32, "num_heads": 4, "context_length": 32, "init": "xavier", "warmup_steps": 0,
    "learning_rate": 6e-3, "steps": 400, "validation_every": 100,
}  # fmt: skip
SHORT: dict[str, Any] = {"hidden_dim": 32, "context_length": 32, "steps": 400, "validation_every": 100}

COMPARISONS = (
    Preset(
        "Pre-LN or Post-LN",
        "The same eight layers; only the place of the norm differs. At the first step the gradient is as even over the "
        "layers in both. Then, without warm-up, large updates break Post-LN: in the shipped run its first layer gets "
        "less than a thousandth of the last layer's gradient from step 10 on, in each of eight seeds on Python's "
        "documentation by step 100, and the loss stalls. The third comparison shows what a warm-up does.",
        DEEP,
        ("residual", "post"),
    ),
    Preset(
        "Norm or none",
        "Eight layers with and without LayerNorm. Without it, the residual stream grows over the layers to at least "
        "six times the size at the first step, and how far the model gets depends on the seed: in eight of them on "
        "Python's documentation it ended between 1.97 and 2.87, and with LayerNorm between 2.01 and 2.08.",
        DEEP,
        ("norm", "none"),
    ),
    Preset(
        "Post-LN and its warm-up",
        "The original layout needs a gentle start: B has 100 steps of linear warm-up, A has none.",
        {**DEEP, "residual": "post"},
        ("warmup_steps", 100),
    ),
    Preset(
        "Does it need positions?",
        "RoPE against no positions at all. A causal model can still infer a little from how much it can see; in each "
        "of eight seeds on Python's documentation it ended 0.2 to 0.3 nats per token higher. The rate of 0.02 is the "
        "best of five that were tried for RoPE; without positions, none was tried.",
        {**SHORT, "position": "rope", "learning_rate": 0.02},
        ("position", "none"),
    ),
    Preset(
        "AdamW or SGD",
        "A step size for each weight, or one for all, both at a rate of 0.01: the best that was tried for AdamW, and a "
        "tenth of the best for SGD. So only part of this gap is the optimizer's. At the best of the rates tried, with "
        "three seeds each on Python's documentation, AdamW ended at 2.23 on average (rate 0.01) and SGD at 2.75 "
        "(rate 0.1); SGD at 0.01 ended at 2.93, on average of eight seeds.",
        {**SHORT, "learning_rate": 0.01},
        ("optimizer", "sgd"),
    ),
    Preset(
        "Too fast",
        "Three hundred times the learning rate, without norm or clipping: how a run diverges, and where it shows "
        "first.",
        {**SHORT, "gradient_clip": 0.0, "norm": "none"},
        ("learning_rate", 1.0),
    ),
    Preset(
        "Induction heads appear",
        "Random sequences that are repeated once, for two layers and for one. With this seed, after about 800 steps a "
        "head in the second layer finds what followed the first copy, and the loss falls; the one layer does not do "
        "it. Watch it in the Inside tab: Heads, Induction heads, followed over the training (Olsson et al. 2022).",
        # As of benchmarks/induction.py, but half as long: with this seed one head does it all.
        {
            "position": "rope", "init": "xavier", "learning_rate": 5e-3, "steps": 1500, "seed": 5,
            "validation_every": 500,
        },
        ("num_layers", 1),
        corpus="repeat",
    ),
)  # fmt: skip

LLAMA: dict[str, Any] = {
    "norm": "rmsnorm", "activation": "swiglu", "position": "rope", "bias": False, "tied": False,
    "embedding_scale": 1.0, "mlp_ratio": 4.0,
}  # fmt: skip

MODELS = (
    Preset(
        "GPT-2 style",
        "Radford et al. 2019: Pre-LN, GELU, learned positions, small initial weights, a tied head. Not its: dropout.",
        {
            "residual": "pre", "activation": "gelu", "position": "learned", "init": "gpt2", "embedding_scale": 1.0,
            "mlp_ratio": 4.0, "learning_rate": 6e-3,
        },
    ),
    Preset(
        "Llama style",
        "Touvron et al. 2023: RMSNorm, SwiGLU, RoPE, no biases, untied head. Not its: beta2, 0.95 there and 0.99 "
        "here. Later Llamas also share keys and values among heads.",
        LLAMA,
    ),
    Preset(
        "No norm at all",
        "Four layers without any norm. It can be trained, at a rate that suits it: three seeds ended between 1.47 and "
        "1.49, at two and a half times that rate between 1.85 and 2.16, and at six times all three diverged.",
        {"norm": "none", "num_layers": 4, "learning_rate": 6e-3},
    ),
    Preset(
        "Tiny and instant",
        "One layer of width 16, trained in a few seconds. Eight seeds on Python's documentation, on two kinds of "
        "processor, ended between 2.44 and 2.70: far below what is had from how often each character occurs (3.24), "
        "and not yet at what guessing from the character before gives (2.32).",
        {
            "num_layers": 1, "hidden_dim": 16, "num_heads": 2, "context_length": 32, "steps": 300,
            "validation_every": 100, "embedding_scale": 4.0, "learning_rate": 0.02,
        },
    ),
)  # fmt: skip

# For those of one small size, which are trained in seconds.
SMALL_LLAMA: dict[str, Any] = {**SHORT, **LLAMA, "learning_rate": 0.01}

MORE_MODELS = (
    Preset(
        "Original 2017",
        "Vaswani et al.: Post-LN, ReLU, sinusoidal positions, Xavier initialization, Adam with warm-up. Not its: the "
        "encoder, dropout, label smoothing, and a rate that falls as one over the root of the step.",
        {
            "residual": "post", "activation": "relu", "position": "sinusoidal", "init": "xavier", "optimizer": "adam",
            "beta2": 0.98, "weight_decay": 0.0, "embedding_scale": 8.0, "mlp_ratio": 4.0, "warmup_steps": 200,
            "learning_rate": 6e-3,
        },
    ),
    Preset(
        "GPT-J style",
        "Wang & Komatsuzaki 2021: attention and the MLP side by side, a quarter of each head rotated, GELU, untied "
        "head. Not its: GPT-J has one LayerNorm for both branches, which here are two that only start alike; its "
        "attention has no biases, and its head has one.",
        {
            **SHORT, "residual": "parallel", "position": "rope", "rope_fraction": 0.25, "activation": "gelu",
            "tied": False, "embedding_scale": 1.0, "mlp_ratio": 4.0, "learning_rate": 0.01,
        },
    ),
    Preset(
        "Qwen 3 style",
        "Qwen team 2025, the small dense models: Llama's parts, RMSNorm on queries and keys, keys and values that two "
        "heads share, RoPE of base 1,000,000, a tied head. Not its: heads that together are wider than the stream.",
        {
            **SMALL_LLAMA, "qk_norm": "rmsnorm", "num_kv_heads": 2, "rope_base": 1e6, "tied": True, "mlp_ratio": 4.5,
            "norm_epsilon": 1e-6,
        },
    ),
    Preset(
        "OLMo 2 style",
        "OLMo team 2024: the norm stands inside, after each sublayer and not before it; RMSNorm on queries and keys, "
        "all heads as one vector, RoPE of base 500,000, z-loss, SwiGLU, untied head. Not its: OLMo 2 has no weight "
        "decay on the embedding.",
        {
            **SMALL_LLAMA, "residual": "inside", "qk_norm": "rmsnorm", "qk_norm_all_heads": True, "rope_base": 5e5,
            "z_loss": 1e-5, "norm_epsilon": 1e-6, "learning_rate": 0.04,
        },
    ),
    Preset(
        "Gemma 2 style",
        "Gemma team 2024: norms before and after each sublayer, GEGLU, soft caps of 50 on scores and 30 on logits, "
        "keys and values that two heads share, embeddings times the root of the width, a tied head. Not its: every "
        "other layer of Gemma 2 looks back 4,096 tokens at most, and the smaller ones learned from a larger model.",
        {
            **SMALL_LLAMA, "residual": "sandwich", "activation": "geglu", "score_cap": 50.0, "logit_cap": 30.0,
            "num_kv_heads": 2, "tied": True, "embedding_scale": 5.66, "mlp_ratio": 6.0, "norm_epsilon": 1e-6,
        },
    ),
    Preset(
        "gpt-oss style",
        "OpenAI 2025: a learned sink in the softmax of each head, shared keys and values, RoPE of base 150,000, "
        "biases, RMSNorm, untied head. Not its: the mixture of experts, in whose place one plain SwiGLU stands, "
        "windows of 128 tokens in every other layer, and the stretched RoPE of its long texts.",
        {**SMALL_LLAMA, "attention_softmax": "sink", "num_kv_heads": 1, "rope_base": 150_000.0, "bias": True},
    ),
    Preset(
        "Modded nanoGPT style",
        "Jordan et al. 2024, the speed runs: squared ReLU, RMSNorm on queries and keys, value residual, a soft cap of "
        "30 on logits, RoPE, Muon, and a rate that is flat and then falls to 0. Not its: norms without a scale, a "
        "norm of the embedding, shortcuts between far layers, and output matrices that start at 0.",
        {
            **SMALL_LLAMA, "activation": "relu2", "qk_norm": "rmsnorm", "value_residual": True, "logit_cap": 30.0,
            "embedding_scale": 8.0, "optimizer": "muon", "schedule": "wsd", "warmup_steps": 0,
            "min_learning_rate": 0.0, "weight_decay": 0.0, "learning_rate": 0.03,
        },
    ),
)  # fmt: skip

# Seven times the weights of the other models and twice their context: too long to wait for, so it comes with the lab.
TRAINED = Preset(
    "Trained longer",
    "Llama style, four layers of width 128.",
    {
        **LLAMA, "num_layers": 4, "hidden_dim": 128, "context_length": 128, "steps": 1500, "learning_rate": 3e-3,
        "warmup_steps": 100,
    },
)  # fmt: skip

MAX_DIFFERENCES = 4  # from a preset, for settings that are still near it
PRESETS = {preset.label: preset for preset in (*COMPARISONS, *MODELS, *MORE_MODELS)}
PRESET_TEXTS = {preset.corpus for preset in PRESETS.values() if preset.corpus}
DEMO_PRESET = COMPARISONS[0]


def preset_with(settings: Mapping[str, Any], switch: tuple[str, Any] | None) -> Preset | None:
    """The preset that has these settings and this difference of B; None if there is none."""
    return next((preset for preset in PRESETS.values() if not differences(preset, settings, switch)), None)


def own_settings_words(settings: Mapping[str, Any], switch: tuple[str, Any] | None) -> str:
    """What there is to say of settings that are no preset's: which one is near, and what differs from it.

    What is said of that one stays, so that the settings below do not move under the hand that changes them.
    """
    near = min(PRESETS.values(), key=lambda preset: len(differences(preset, settings, switch)))
    changed = differences(near, settings, switch)
    if near.corpus is None and settings.get("corpus", DEFAULT_CORPUS) != DEFAULT_CORPUS:
        changed.append("the text")  # any will do for the preset, but what is said of it may not be true of this one
    if len(changed) > MAX_DIFFERENCES:
        return "These settings are those of no preset."
    return f"Not quite a preset: “{near.label}” but for {listed(changed)}. Of the preset itself:\n\n{near.words}"


def differences(preset: Preset, settings: Mapping[str, Any], switch: tuple[str, Any] | None) -> list[str]:
    """What differs from a preset, in words. Any text will do, where the preset does not need its own."""
    found = [f"{field_label(name)} {format_value(name, settings[name])}" for name in changed_fields(preset, settings)]
    if preset.corpus and settings.get("corpus", preset.corpus) != preset.corpus:
        found.append("the text")
    if settings.get(START_FROM, RANDOM) != RANDOM:
        found.append("the weights that it starts from")
    return found if switch == preset.switch else [*found, "what B changes"]


def changed_fields(preset: Preset, settings: Mapping[str, Any]) -> list[str]:
    """The fields of which a preset has another value."""
    own = preset_settings(preset)
    return [name for name, value in settings.items() if name in own and value != own[name]]


def unset_words(preset: Preset, hidden: Mapping[str, Any]) -> str:
    """What a preset does not set, since a link hides it; nothing where all is as the preset has it.

    Args:
        preset: what was chosen.
        hidden: the settings that the link hides, with the values that they keep.
    """
    own = preset_settings(preset)
    kept = [
        f"{field_label(name)} stays {format_value(name, hidden[name])} instead of {format_value(name, own[name])}"
        for name in changed_fields(preset, hidden)
    ]
    if preset.corpus and hidden.get("corpus", preset.corpus) != preset.corpus:
        kept.append(f"the text stays “{hidden['corpus']}” instead of “{preset.corpus}”")
    if preset.switch and preset.switch[0] in hidden:
        kept.append(f"B, which would change {field_label(preset.switch[0])}, changes nothing")
    return f"This link hides settings, which the preset does not set: {'; '.join(kept)}." if kept else ""


def preset_settings(preset: Preset) -> dict[str, Any]:
    """Every field of both configs but the vocabulary, as the preset has it."""
    plan = make_plans(preset.settings)[0]
    return values_of(plan.model, plan.training)


def settings_name(settings: dict[str, Any]) -> str:
    """What a run of these settings is called: by the preset that is nearest, and what differs from it."""
    names: list[list[str]] = []
    for preset in (Preset("", ""), *MODELS, *MORE_MODELS):
        changed = [side_label(name, settings[name]) for name in changed_fields(preset, settings)]
        names.append([*filter(None, [preset.label]), *changed])
    return ", ".join(min(names, key=len)) or "Default settings"


def preset_job(preset: Preset) -> Job:
    return Job(
        preset.corpus or DEFAULT_CORPUS, None, next(iter(TOKENIZERS)), make_plans(preset.settings, preset.switch)
    )
