"""Settings with names that people know, and comparisons worth a minute."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tlab.text import DEFAULT_CORPUS, TOKENIZERS
from tlab.ui.plans import make_plans
from tlab.ui.worker import Job


@dataclass(frozen=True)
class Preset:
    """Settings over the defaults, and what B changes of them.

    Attributes:
        label: on the button.
        words: what to look for, in a sentence or two.
        settings: fields of both configs that differ from the defaults.
        switch: the one field that B changes, and its value; None for a run of one side.
    """

    label: str
    words: str
    settings: dict[str, Any] = field(default_factory=dict)
    switch: tuple[str, Any] | None = None


DEEP = {"num_layers": 8, "hidden_dim": 32, "num_heads": 4, "context_length": 32, "init": "xavier", "warmup_steps": 0,
        "steps": 300, "validation_every": 50}  # fmt: skip

DEMO_PRESET = Preset(
    "Pre-LN against Post-LN",
    "x",
    DEEP,
    ("residual", "post"),
)


def preset_job(preset: Preset) -> Job:
    """The run of a preset on the default text."""
    return Job(DEFAULT_CORPUS, None, next(iter(TOKENIZERS)), make_plans(preset.settings, preset.switch))
