"""How the learning rate falls once the warm-up is over: pure functions of the progress."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np

from tlab.registry import Registry

SCHEDULES: Registry[type[Schedule]] = Registry("schedule")


class Schedule:
    """The contract: `factor(progress)`, 1 where the warm-up ends (progress 0) and at best 0 at the end (progress 1).

    `reference` is the learning rate itself after the warm-up, for an array of progress.
    """

    options: ClassVar[tuple[str, ...]] = ("warmup_steps", "min_learning_rate")
    """The fields of the training config that its curve goes by."""

    def __init_subclass__(cls) -> None:
        if "factor" in vars(cls):  # another curve: what the class that it inherits from states is not about it
            cls.options = vars(cls).get("options", Schedule.options)

    @staticmethod
    def factor(progress: float) -> float:
        raise NotImplementedError


@SCHEDULES.add("constant", label="constant", formula=r"\eta", source="")
class Constant(Schedule):
    """Keeps the learning rate as it is."""

    options = ("warmup_steps",)

    @staticmethod
    def reference(progress, peak, lowest):
        return np.full_like(progress, peak)

    @staticmethod
    def factor(progress: float) -> float:
        return 1.0


@SCHEDULES.add(
    "linear", label="linear", formula=r"\eta_{\min} + (\eta - \eta_{\min})(1 - p)", source="Devlin et al. 2019"
)
class LinearDecay(Schedule):
    """Lowers the learning rate by the same amount at every step."""

    @staticmethod
    def reference(progress, peak, lowest):
        return lowest + (peak - lowest) * (1 - progress)

    @staticmethod
    def factor(progress: float) -> float:
        return 1.0 - progress


@SCHEDULES.add(
    "cosine",
    label="cosine",
    formula=r"\eta_{\min} + (\eta - \eta_{\min})\,\tfrac{1 + \cos(\pi p)}{2}",
    source="Loshchilov & Hutter 2017",
)
class CosineDecay(Schedule):
    """Stays high at first, falls fastest in the middle, and levels off at the end."""

    @staticmethod
    def reference(progress, peak, lowest):
        return lowest + (peak - lowest) * (1 + np.cos(np.pi * progress)) / 2

    @staticmethod
    def factor(progress: float) -> float:
        return 0.5 * (1.0 + math.cos(math.pi * progress))


@SCHEDULES.add(
    "wsd",
    label="warm-up, stable, decay",
    formula=r"\eta_{\min} + (\eta - \eta_{\min})\,\min\left(1,\ \tfrac{1 - p}{0.2}\right)",
    source="Hu et al. 2024 (MiniCPM); Haegele et al. 2024",
)
class WarmupStableDecay(Schedule):
    """Keeps the learning rate as it is, and lowers it in a line over the last fifth of the steps after the warm-up.

    Notice: until the fall begins nothing depends on how long the run will be, so a run can be made longer from there.
    """

    DECAY_SHARE: ClassVar[float] = 0.2

    @staticmethod
    def reference(progress, peak, lowest):
        return lowest + (peak - lowest) * np.minimum(1, (1 - progress) / 0.2)

    @staticmethod
    def factor(progress: float) -> float:
        return min(1.0, (1.0 - progress) / WarmupStableDecay.DECAY_SHARE)
