"""How a model is trained, and how the arithmetic of that is carried out."""

from __future__ import annotations

from dataclasses import dataclass

from tlab.config import Config, chosen_from, option
from tlab.training.optimizers import OPTIMIZERS
from tlab.training.schedules import SCHEDULES

MAX_STEPS = 1_000_000_000  # at a thousand a second, eleven days
MAX_BATCH = 1_000_000


@dataclass(frozen=True)
class TrainConfig(Config):
    """How a model is trained: how long, on how much at once, and by which rule."""

    steps: int = option(1000, low=1, high=MAX_STEPS, typical=(50, 5000), help="Number of updates.")
    batch_size: int = option(
        16, low=1, high=MAX_BATCH, typical=(1, 64), help="Sequences of a full context in each update."
    )
    learning_rate: float = option(
        3e-3, low=0, low_is_allowed=False, typical=(1e-5, 1e-1), help="Peak learning rate of the schedule."
    )
    schedule: str = chosen_from(SCHEDULES, "cosine", "How the learning rate falls after the warm-up.")
    warmup_steps: int = option(
        50,
        low=0,
        high=MAX_STEPS,
        typical=(0, 500),
        help="Steps of linear warm-up to the peak learning rate, which a shorter run never reaches; 0 for none.",
    )
    min_learning_rate: float | None = option(
        None,
        low=0,
        default_words="a tenth of the learning rate",
        help="Learning rate at the last step, where the schedule falls; by default a tenth of the learning rate.",
    )
    optimizer: str = chosen_from(OPTIMIZERS, "adamw", "How a gradient becomes an update of the weights.")
    beta1: float = option(
        0.9, low=0, high=0.9999, typical=(0, 0.99), help="Adam's decay rate of the averaged gradient."
    )
    beta2: float = option(
        0.99, low=0, high=0.99999, typical=(0.9, 0.9999), help="Adam's decay rate of the averaged squared gradient."
    )
    epsilon: float = option(
        1e-8, low=0, low_is_allowed=False, typical=(1e-10, 1e-4), help="Added to Adam's denominator."
    )
    adam_ratio: float = option(
        0.3,
        low=0,
        low_is_allowed=False,
        typical=(0.01, 10),
        label="AdamW's rate beside Muon's",
        help="With Muon: the learning rate of AdamW, which embeddings, the head and vectors follow, over that of the "
        "hidden matrices.",
        is_extra=True,
    )
    momentum: float = option(
        0.9, low=0, high=0.9999, typical=(0, 0.99), help="Momentum of SGD: the share of the last update that is kept."
    )
    weight_decay: float = option(
        0.1,
        low=0,
        typical=(0, 1),
        help="Pull towards zero of the matrices and of the tables of tokens and positions; biases, scales and shifts "
        "are not decayed.",
    )
    gradient_clip: float = option(
        1.0,
        low=0,
        typical=(0, 10),
        help="Largest global gradient norm; longer gradients are scaled down to it. 0 for no clipping.",
    )
    ema_decay: float = option(
        0.0,
        low=0,
        high=0.99999,
        typical=(0, 0.995),
        label="Average of the weights",
        help="Decay rate of an average of the weights over the steps, which is validated and generates in their place: "
        "0.99 is of about the last 100 steps. 0 for none. What is trained stays the same.",
        formula=r"\bar w \leftarrow \beta \bar w + (1 - \beta)\,w",
        source="Polyak & Juditsky 1992; Morales-Brotons et al. 2024",
        is_extra=True,
    )
    dropout: float = option(
        0.0,
        low=0,
        high=0.99,
        typical=(0, 0.5),
        label="Dropout",
        help="Probability with which each number that enters the residual stream, from the embedding or a branch, is "
        "left out of a training step; attention weights stay whole. 0 for none. Validation and generation are without "
        "it.",
        formula=r"x \to \tfrac{x \odot m}{1 - p},\quad m \sim \mathrm{Bernoulli}(1 - p)",
        source="Srivastava et al. 2014; Vaswani et al. 2017",
        is_extra=True,
    )
    label_smoothing: float = option(
        0.0,
        low=0,
        high=0.99,
        typical=(0, 0.5),
        label="Label smoothing",
        help="Share of each target that is spread over all tokens of the vocabulary alike: Vaswani et al. have 0.1. "
        "0 for none. The loss that is reported is without it.",
        formula=r"y \to (1 - \alpha)\,y + \alpha / V",
        source="Szegedy et al. 2016",
        is_extra=True,
    )
    z_loss: float = option(
        0.0,
        low=0,
        typical=(0, 0.01),
        label="z-loss",
        help="Weight of a pull of log Z, of the softmax over the vocabulary, towards 0: PaLM has 0.0001. 0 for none. "
        "The loss that is reported is without it.",
        formula=r"+\,c\,\overline{(\log Z)^2}",
        source="Chowdhery et al. 2022 (PaLM)",
        is_extra=True,
    )
    validation_every: int = option(
        250,
        low=0,
        high=MAX_STEPS,
        typical=(0, 1000),
        help="Steps between evaluations on the whole validation split; the last step always has one. 0 for the last "
        "step only.",
    )
    max_loss: float = option(
        1000.0, low=0, low_is_allowed=False, typical=(10, 1000),
        help="Training loss, in nats per token, at which a run counts as diverged and ends.",
    )  # fmt: skip
    seed: int = option(0, low=0, high=2**32 - 1, typical=(0, 100), help="Seed of the weights, and of the batches.")
    data_seed: int | None = option(
        None,
        low=0,
        high=2**32 - 1,
        default_words="as the seed",
        help="Seed of the batches' order; by default the same as seed.",
    )

    def cross_check(self) -> list[str]:
        """A schedule falls, it does not rise."""
        if self.final_learning_rate > self.learning_rate:
            return [
                f"min_learning_rate = {self.final_learning_rate:g}: "
                f"must be at most learning_rate = {self.learning_rate:g}"
            ]
        return []

    @property
    def final_learning_rate(self) -> float:
        """The learning rate that the schedule falls to."""
        return self.learning_rate / 10 if self.min_learning_rate is None else self.min_learning_rate

    def learning_rate_at(self, step: int) -> float:
        """The learning rate of update number `step`, counted from 1 to `steps`.

        It rises in a line over the first `warmup_steps` updates, then follows the schedule: for most down to the final
        one at the last update.
        """
        first = self.warmup_steps + 1
        if step < first:
            return self.learning_rate * step / first
        schedule = SCHEDULES[self.schedule]
        return schedule.rate(step, first, self.steps, self.learning_rate, self.final_learning_rate)

    @property
    def ends_in_warmup(self) -> bool:
        """Whether the run is over before it has reached its learning rate."""
        return self.warmup_steps >= self.steps

    def decays_after(self, step: int) -> bool:
        """Whether the learning rate is still to fall, after so many updates, below its highest."""
        highest = self.learning_rate_at(min(self.warmup_steps + 1, self.steps))
        return step < self.steps and self.learning_rate_at(self.steps) < highest

    @property
    def batch_seed(self) -> int:
        """The seed that the batches are drawn with."""
        return self.seed if self.data_seed is None else self.data_seed


@dataclass(frozen=True)
class ComputeConfig(Config):
    """How a run's arithmetic is carried out: it decides about time, memory and last bits, not about what is learned.

    So it is no part of what a run is: no sweep has an axis for it, and no visitor of the app a control. But sums in
    another order have other last bits, so a checkpoint records it, and a resumed run keeps it.
    """

    threads: int | None = option(
        None,
        low=1,
        high=256,
        default_words="as many as pay",
        help="Parts of a batch that are worked on at the same time, each by a thread; by default as many as pay, and "
        "no more than NumPy's own linear algebra may use.",
    )
    micro_batches: int = option(
        1,
        low=1,
        high=MAX_BATCH,
        help="Gradient accumulation: pieces that each batch is split into, one after another, to save memory.",
    )
    recompute: bool = option(
        False,
        help="Whether a block's activations are computed a second time in backward instead of kept: a third more "
        "time, for the memory of one block instead of all.",
    )
