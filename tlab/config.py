"""What a run is: two frozen dataclasses. The command line, the app and the sweeps are all made from their fields."""

from __future__ import annotations

import dataclasses
import functools
import math
import numbers
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from tlab.nn.activations import ACTIVATIONS
from tlab.nn.inits import INITS
from tlab.nn.norms import NORMS
from tlab.nn.positions import POSITIONS
from tlab.nn.residuals import RESIDUALS
from tlab.registry import Registry
from tlab.text import DEFAULT_CORPUS, TOKENIZERS
from tlab.training.optimizers import OPTIMIZERS
from tlab.training.schedules import SCHEDULES, learning_rate_at
from tlab.wording import did_you_mean


class ConfigError(ValueError):
    """A configuration that cannot be; the message names every field that is wrong, what is allowed, and why."""


@dataclass(frozen=True)
class Option:
    """What is known of a config field besides its name, type and default."""

    help: str
    low: float = -math.inf
    high: float = math.inf
    low_is_allowed: bool = True
    typical: tuple[float, float] | None = None
    """The range worth trying, for a slider."""
    default_words: str = ""
    """What None stands for, where it is the default."""
    registry: Registry | None = None

    def complaint(self, value: Any) -> str | None:
        """Why `value` is not allowed, or None."""
        if self.registry is not None:
            return None if value in self.registry else self.registry.explain(value)
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            return None
        too_low = value < self.low or (value == self.low and not self.low_is_allowed)
        too_large = value > self.high or (isinstance(value, int) and value >= 2**63)  # what no array can count
        if too_low or too_large or (isinstance(value, float) and not math.isfinite(value)):
            lower = f"{'at least' if self.low_is_allowed else 'more than'} {self.low:g}"
            upper = f" and at most {self.high:g}" if self.high < math.inf else ""
            return f"must be {lower}{upper}"
        return None


def option(default: Any = dataclasses.MISSING, **details: Any) -> Any:
    """A dataclass field that carries an `Option`."""
    return field(default=default, metadata={"option": Option(**details)})


def chosen_from(registry: Registry, default: str, help: str) -> Any:
    """A dataclass field whose value is a key of `registry`."""
    return option(default, help=help, registry=registry)


@functools.cache
def options(config_class: type) -> Mapping[str, Option]:
    """Field name -> `Option`, in order."""
    return {f.name: f.metadata["option"] for f in dataclasses.fields(config_class)}


SelfConfig = TypeVar("SelfConfig", bound="Config")


@dataclass(frozen=True)
class Config:
    """Validation and JSON, for both configs."""

    def __post_init__(self) -> None:
        problems, known = [], options(type(self))
        for name, expected in field_types(type(self)).items():
            given = getattr(self, name)
            try:
                value = as_plain(given, type_alternatives(expected))
                complaint = known[name].complaint(value)
                object.__setattr__(self, name, value)
            except (TypeError, OverflowError) as error:
                complaint = str(error)
            if complaint:
                problems.append(f"{name} = {given!r}: {complaint}")
        if not problems:
            problems = self.cross_check()
        if problems:
            raise ConfigError("; ".join(problems))

    def cross_check(self) -> list[str]:
        """Complaints about fields that do not fit each other."""
        return []

    def to_json(self) -> dict[str, Any]:
        """A plain dictionary that `from_json` turns back into an equal config."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls: type[SelfConfig], values: Mapping[str, Any]) -> SelfConfig:
        """The config with these values; fields that are missing have their defaults.

        Raises:
            ConfigError: an unknown field, a missing one that has no default, or a value out of range.
        """
        known = options(cls)
        for name in values:
            if name not in known:
                hint = did_you_mean(name, known)
                raise ConfigError(f"{cls.__name__} has no field {name!r}; it has {', '.join(known)}.{hint}")
        for f in dataclasses.fields(cls):
            if f.default is dataclasses.MISSING and f.name not in values:
                raise ConfigError(f"{cls.__name__} needs {f.name}: {known[f.name].help}")
        return cls(**values)


@functools.cache
def field_types(config_class: type) -> dict[str, Any]:
    """Field name -> its type, in order."""
    hints = typing.get_type_hints(config_class)
    return {f.name: hints[f.name] for f in dataclasses.fields(config_class)}


def type_alternatives(expected: Any) -> tuple[type, ...]:
    """`int | None` -> (int, NoneType), `int` -> (int,)."""
    return typing.get_args(expected) if isinstance(expected, types.UnionType) else (expected,)


def as_plain(value: Any, kinds: tuple[type, ...]) -> Any:
    """`value` as a plain Python object of one of these types, so that it survives JSON: 3 for numpy.int64(3).

    Raises:
        TypeError: it is none of them. A bool is no number here, and a float no int.
    """
    if type(value) in kinds:  # exactly: numpy.float64 is a float too, and would turn float32 arrays into float64
        return value
    if int in kinds and isinstance(value, numbers.Integral) and not isinstance(value, bool):
        return int(value)
    if float in kinds and isinstance(value, numbers.Real) and not isinstance(value, bool):
        return float(value)
    raise TypeError(f"must be of type {' or '.join(kind.__name__ for kind in kinds)}")


@dataclass(frozen=True)
class TextConfig(Config):
    """What is read."""

    # No registry in its option: paths of files are allowed as well, and loading says what is not.
    corpus: str = option(DEFAULT_CORPUS, help="Text to learn from.")
    tokenizer: str = chosen_from(TOKENIZERS, "char", "What a token is.")


@dataclass(frozen=True)
class ModelConfig(Config):
    """The shape of a transformer and the choice for each of its switches."""

    vocab_size: int = option(help="Number of different tokens; given by the corpus.", low=2)
    context_length: int = option(
        64, low=1, typical=(16, 256), help="Tokens that the model reads at once, and the furthest it looks back."
    )
    hidden_dim: int = option(64, low=1, typical=(16, 512), help="Width of the residual stream.")
    num_layers: int = option(2, low=1, typical=(1, 12), help="Number of blocks, each attention and MLP.")
    num_heads: int = option(4, low=1, typical=(1, 16), help="Attention heads in a block; divides hidden_dim.")
    norm: str = chosen_from(NORMS, "layernorm", "How each token's vector is normalized.")
    activation: str = chosen_from(ACTIVATIONS, "gelu", "The nonlinearity of the MLP.")
    residual: str = chosen_from(RESIDUALS, "pre", "Where the norms stand around the residual stream.")
    position: str = chosen_from(POSITIONS, "sinusoidal", "How the model knows the order of the tokens.")
    init: str = chosen_from(INITS, "gpt2", "How the first weights are drawn.")
    mlp_ratio: float = option(
        # The papers have 4. With 3.5 the default model on a text of 65 characters has 96,000 parameters, under 100,000.
        3.5,
        low=0,
        low_is_allowed=False,
        typical=(1, 8),
        help="Width of the MLP over hidden_dim; a gated MLP is made narrower, so that it has as many parameters.",
    )
    bias: bool = option(True, help="Whether linear layers add a bias.")
    tied: bool = option(True, help="Whether the head is the embedding turned round, or has weights of its own.")
    embedding_scale: float = option(
        # sqrt of the default width. With 1, sinusoidal positions drown the small initial embeddings: the default run
        # then ends at 2.52 instead of 2.16 nats on tiny Shakespeare.
        8.0,
        low=0,
        low_is_allowed=False,
        typical=(0.1, 32),
        help="Token embeddings are multiplied by this before positions are added. Vaswani et al.: sqrt(hidden_dim), "
        "GPT-2 and Llama: 1.",
    )
    norm_epsilon: float = option(
        1e-5,
        low=0,
        low_is_allowed=False,
        typical=(1e-8, 1e-2),
        help="Added to the mean square inside a norm's root.",
    )
    scale_residual: bool = option(
        False, help="With xavier: scale attention.out and mlp.down by 1/sqrt(2 num_layers), as gpt2 always does."
    )

    def cross_check(self) -> list[str]:
        """Heads have to divide the width, and some positions want an even width per head."""
        if self.hidden_dim % self.num_heads:
            small = [n for n in range(1, math.isqrt(self.hidden_dim) + 1) if self.hidden_dim % n == 0]
            allowed = sorted({*small, *(self.hidden_dim // n for n in small)})
            return [
                f"num_heads = {self.num_heads}: must divide hidden_dim = {self.hidden_dim}; "
                f"allowed: {', '.join(map(str, allowed))}"
            ]
        if POSITIONS[self.position].even_head_dim and self.head_dim % 2:
            return [
                f"position = {self.position!r} turns pairs of channels and needs an even width per head, "
                f"but hidden_dim / num_heads = {self.hidden_dim} / {self.num_heads} = {self.head_dim}; change one"
            ]
        return []

    @property
    def head_dim(self) -> int:
        """Width of one attention head, D."""
        return self.hidden_dim // self.num_heads

    @property
    def mlp_dim(self) -> int:
        """Width of the MLP, F: for a gated one the width with which it has as many parameters as one without gate."""
        plain = max(1, round(self.mlp_ratio * self.hidden_dim))
        if not ACTIVATIONS[self.activation].gated:
            return plain
        # Weights a hidden unit has: C in and C out and a bias, or with a gate C in twice, C out and two biases.
        C, bias = self.hidden_dim, int(self.bias)
        return max(1, round(plain * (2 * C + bias) / (3 * C + 2 * bias)))


@dataclass(frozen=True)
class TrainConfig(Config):
    """How a model is trained: how long, on how much at once, and by which rule."""

    steps: int = option(1000, low=1, typical=(50, 5000), help="Number of updates.")
    batch_size: int = option(16, low=1, typical=(1, 64), help="Sequences of context_length tokens in each update.")
    learning_rate: float = option(
        3e-3, low=0, low_is_allowed=False, typical=(1e-5, 1e-1), help="Size of an update at the schedule's peak."
    )
    schedule: str = chosen_from(SCHEDULES, "cosine", "How the learning rate falls after the warm-up.")
    warmup_steps: int = option(
        50,
        low=0,
        typical=(0, 500),
        help="Steps in which the learning rate rises in a line to its peak, which a shorter run never reaches; "
        "0 for none.",
    )
    min_learning_rate: float | None = option(
        None,
        low=0,
        default_words="a tenth of the learning rate",
        help="Learning rate at the last step, where the schedule falls; by default a tenth of learning_rate.",
    )
    optimizer: str = chosen_from(OPTIMIZERS, "adamw", "The rule that makes an update of a gradient.")
    beta1: float = option(0.9, low=0, high=0.9999, typical=(0, 0.99), help="Adam's memory of the gradient.")
    beta2: float = option(0.99, low=0, high=0.99999, typical=(0.9, 0.9999), help="Adam's memory of its square.")
    epsilon: float = option(
        1e-8, low=0, low_is_allowed=False, typical=(1e-10, 1e-4), help="Added to Adam's denominator."
    )
    momentum: float = option(0.9, low=0, high=0.9999, typical=(0, 0.99), help="SGD's memory of its last updates.")
    weight_decay: float = option(
        0.1, low=0, typical=(0, 1), help="Pull of the matrices towards zero; biases, scales and shifts have none."
    )
    gradient_clip: float = option(
        1.0,
        low=0,
        typical=(0, 10),
        help="Longest gradient (global norm) that is not shortened; 0 for no clipping.",
    )
    validation_every: int = option(
        250, low=0, typical=(0, 1000), help="Steps from one look at the whole validation split to the next; the last "
        "step always has one. 0 for the last step only.",
    )  # fmt: skip
    max_loss: float = option(
        1000.0, low=0, low_is_allowed=False, typical=(10, 1000),
        help="Training loss, in nats a token, at which a run counts as run away and ends.",
    )  # fmt: skip
    seed: int = option(0, low=0, high=2**32 - 1, typical=(0, 100), help="Seed of the initial weights.")
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
        """The learning rate of update number `step`, counted from 1."""
        return learning_rate_at(
            step,
            schedule=self.schedule,
            steps=self.steps,
            warmup_steps=self.warmup_steps,
            learning_rate=self.learning_rate,
            min_learning_rate=self.final_learning_rate,
        )

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
        1, low=1, help="Pieces that a batch is read in, one after another, so that memory for one of them will do."
    )
    recompute: bool = option(
        False,
        help="Whether a block's activations are computed a second time in backward instead of kept: a third more "
        "time, for the memory of one block instead of all.",
    )
