"""How the learning rate falls once the warm-up is over: pure functions of the step."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np

from tlab.registry import Registry

SCHEDULES: Registry[type[Schedule]] = Registry("schedule")


class Schedule:
    """The contract: `factor(progress)`, 1 where the warm-up ends (progress 0) and at best 0 at the end (progress 1).

    `reference` is the learning rate itself after the warm-up, for an array of progress. A curve that does not stretch
    with the run after its warm-up has `rate` instead, and its `reference` takes what that takes, for an array of steps.
    """

    options: ClassVar[tuple[str, ...]] = ("warmup_steps", "min_learning_rate")
    """The fields of the training config that its curve goes by."""

    def __init_subclass__(cls) -> None:
        # Of another curve what the class that it inherits from states is not true.
        if not vars(cls).keys().isdisjoint({"factor", "rate"}):
            cls.options = vars(cls).get("options", Schedule.options)

    @staticmethod
    def factor(progress: float) -> float:
        raise NotImplementedError

    @classmethod
    def rate(cls, step: int, first: int, last: int, peak: float, lowest: float) -> float:
        """The learning rate of a step, of which `first` has the peak and `last` is the end of the run."""
        progress = (step - first) / max(1, last - first)
        return lowest + (peak - lowest) * cls.factor(progress)


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
    formula=r"\eta_{\min} + (\eta - \eta_{\min})\,\min\left(1,\ \tfrac{S - s}{0.2\,S}\right)",
    source="Hu et al. 2024 (MiniCPM); Haegele et al. 2024",
)
class WarmupStableDecay(Schedule):
    """Keeps the learning rate as it is, and lowers it in a line over the last fifth of all S steps of the run.

    Notice: until the fall begins nothing depends on how long the run will be, so a run can be made longer from there.
    """

    DECAY_SHARE: ClassVar[float] = 0.2

    @staticmethod
    def height(left: float) -> float:
        """What is left of the learning rate where this share of the fall is still to come: 1 to 0 for 1 to 0."""
        return left

    @staticmethod
    def reference(step, first, last, peak, lowest):
        return lowest + (peak - lowest) * np.minimum(1, (last - step) / (0.2 * last))

    @classmethod
    def rate(cls, step: int, first: int, last: int, peak: float, lowest: float) -> float:
        fall = min(cls.DECAY_SHARE * last, last - first)  # in steps; after a long warm-up it begins at once
        return lowest + (peak - lowest) * cls.height(min(1.0, (last - step) / fall) if fall else 1.0)


@SCHEDULES.add(
    "wsd_sqrt",
    label="warm-up, stable, decay by 1 - sqrt",
    formula=r"\eta_{\min} + (\eta - \eta_{\min})\left(1 - \sqrt{\max\left(0,\ 1 - \tfrac{S - s}{0.2\,S}\right)}\right)",
    source="Haegele et al. 2024",
)
class WarmupStableSqrtDecay(WarmupStableDecay):
    """Keeps the learning rate as it is, and lowers it over the last fifth of all S steps by one minus a root.

    Notice: it falls fast at first and slower and slower: after a quarter of the fall it is halfway down, where the line
    still has three quarters.
    """

    @staticmethod
    def reference(step, first, last, peak, lowest):
        return lowest + (peak - lowest) * (1 - np.sqrt(np.maximum(0, (step - 0.8 * last) / (0.2 * last))))

    @staticmethod
    def height(left: float) -> float:
        return 1.0 - math.sqrt(1.0 - left)


@SCHEDULES.add(
    "inverse_sqrt",
    label="inverse square root",
    formula=r"\eta\,\sqrt{s_1 / s}",
    source="Vaswani et al. 2017",
)
class InverseSquareRoot(Schedule):
    """Lowers the learning rate as one over the root of the step s, from the first one at the peak, s1, on.

    Notice: it never ends. Nothing depends on how long the run will be, and after four times the steps of the warm-up
    the rate is still half of its peak. So a longer warm-up also makes all that follows higher, and no warm-up at all
    leaves a tenth of the peak after a hundred steps.
    """

    options = ("warmup_steps",)

    @staticmethod
    def reference(step, first, last, peak, lowest):
        return peak / np.sqrt(step / first)

    @classmethod
    def rate(cls, step: int, first: int, last: int, peak: float, lowest: float) -> float:
        return peak * math.sqrt(first / step)
