"""What two configs say of one thing: Hugging Face's config.json on one side, the lab's `ModelConfig` on the other.

Each class states one such thing, and is read in both directions: `read` says what their config means here, `write` what
ours is called there. What cannot be said on the other side is refused by name.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from tlab.config import options
from tlab.nn.activations import ACTIVATIONS
from tlab.nn.config import ModelConfig
from tlab.nn.norms import NORMS
from tlab.nn.positions import POSITIONS, rotated_width

Entries = Mapping[Any, Any]

REQUIRED = object()


class PretrainedError(ValueError):
    """A model that is not in the files at hand, or that the other side cannot represent; the message says why."""


class MissingEntryError(LookupError):
    """Their config says nothing under this name, and has to."""


def stated(theirs: Entries, name: str, default: Any = REQUIRED) -> Any:
    """What their config says under a name, or the default of their class where it says nothing.

    Raises:
        MissingEntryError: it says nothing, and has to.
    """
    value = theirs.get(name, default)
    if value is REQUIRED:
        raise MissingEntryError(name)
    return value


class Field:
    """The contract."""

    names: ClassVar[tuple[str, ...]] = ()
    """Names of their config that it reads, besides `theirs`."""
    our_names: ClassVar[tuple[str, ...]] = ()
    """Fields of ours that it is about, besides `ours`."""

    def read(self, theirs: Entries, ours: Entries) -> dict[str, Any]:
        """Fields of a `ModelConfig`, from their config and from what the fields before this one have given.

        Raises:
            PretrainedError: the lab cannot represent it.
        """
        raise NotImplementedError

    def write(self, ours: ModelConfig) -> dict[str, Any]:
        """Entries of their config.

        Raises:
            PretrainedError: they cannot represent it.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class Same(Field):
    """One value under two names."""

    theirs: str
    ours: str
    default: Any = REQUIRED

    def read(self, theirs: Entries, ours: Entries) -> dict[str, Any]:
        return {self.ours: stated(theirs, self.theirs, self.default)}

    def write(self, ours: ModelConfig) -> dict[str, Any]:
        return {self.theirs: getattr(ours, self.ours)}


@dataclass(frozen=True)
class Renamed(Field):
    """A choice whose values have two names; of several for one of ours the first is written."""

    theirs: str
    ours: str
    values: Entries
    default: Any = REQUIRED

    def read(self, theirs: Entries, ours: Entries) -> dict[str, Any]:
        value = stated(theirs, self.theirs, self.default)
        if value not in self.values:
            allowed = ", ".join(map(str, self.values))
            raise PretrainedError(
                f"{self.theirs} = {value!r} is none that the lab has for this architecture: {allowed}"
            )
        return {self.ours: self.values[value]}

    def write(self, ours: ModelConfig) -> dict[str, Any]:
        chosen = getattr(ours, self.ours)
        for theirs, value in self.values.items():
            if value == chosen:
                return {self.theirs: theirs}
        raise PretrainedError(f"{self.ours} = {chosen!r} is none of {listed_values(self.values)}")


def parts_beyond(config: ModelConfig, known: Collection[str]) -> list[str]:
    """Parts that a config has switched on by fields which are not among the known ones."""
    defaults = {field.name: field.default for field in dataclasses.fields(config)}
    of_positions = {name for position in POSITIONS.values() for name in position.options}
    without_effect = of_positions - set(POSITIONS[config.position].options)
    if NORMS[config.qk_norm].is_identity:
        without_effect.add("qk_norm_all_heads")
    return [
        f"{name} = {getattr(config, name)!r} is a part that it does not have"
        for name, about in options(ModelConfig).items()
        if about.is_extra and name not in known and name not in without_effect
        if getattr(config, name) != defaults[name]
    ]


def listed_values(values: Entries) -> str:
    """The lab's names of a choice, each once."""
    return ", ".join(dict.fromkeys(map(str, values.values())))


@dataclass(frozen=True)
class Always(Field):
    """What their class has no choice of: the lab's name and the one value."""

    ours: str
    value: Any

    def read(self, theirs: Entries, ours: Entries) -> dict[str, Any]:
        return {self.ours: self.value}

    def write(self, ours: ModelConfig) -> dict[str, Any]:
        if getattr(ours, self.ours) != self.value:
            raise PretrainedError(f"{self.ours} = {getattr(ours, self.ours)!r} is not {self.value!r}")
        return {}


@dataclass(frozen=True)
class Only(Field):
    """What the lab has no choice of: their name, the one value, and the part that any other would need."""

    theirs: str
    value: Any
    part: str

    def read(self, theirs: Entries, ours: Entries) -> dict[str, Any]:
        given = theirs.get(self.theirs, self.value)
        if given != self.value and (given or self.value):
            raise PretrainedError(f"{self.theirs} = {given!r}: the lab has no {self.part}")
        return {}

    def write(self, ours: ModelConfig) -> dict[str, Any]:
        return {self.theirs: self.value}


@dataclass(frozen=True)
class ContextLength(Field):
    """How many tokens are read at once. Fewer than theirs may be asked for: what a shorter text needs is the same."""

    theirs: str
    LONGEST: ClassVar[int] = 2048  # that is taken unasked: tables and masks grow with its square

    def read(self, theirs: Entries, ours: Entries) -> dict[str, Any]:
        longest = stated(theirs, self.theirs)
        if not isinstance(longest, int) or longest < 1:
            raise PretrainedError(f"{self.theirs} = {longest!r} is no number of tokens")
        asked = ours.get("context_length")
        if asked is not None and asked > longest:
            raise PretrainedError(f"context_length = {asked}: this model reads {longest:,} tokens at most")
        return {"context_length": asked or min(longest, self.LONGEST)}

    def write(self, ours: ModelConfig) -> dict[str, Any]:
        return {self.theirs: ours.context_length}


@dataclass(frozen=True)
class KvHeads(Field):
    """Heads of keys and values: in both configs nothing where there are as many as heads."""

    default: int | None = None
    theirs: str = "num_key_value_heads"
    our_names = ("num_kv_heads",)

    def read(self, theirs: Entries, ours: Entries) -> dict[str, Any]:
        given = theirs.get(self.theirs, self.default)
        return {"num_kv_heads": None if given == ours["num_heads"] else given}

    def write(self, ours: ModelConfig) -> dict[str, Any]:
        return {self.theirs: ours.kv_heads}


@dataclass(frozen=True)
class Width(Field):
    """What in the lab is always the width of the stream, or of a head; and the part that any other would need."""

    theirs: str
    of: str  # "hidden_dim" or "head_dim"
    part: str
    default: int | None = None

    def read(self, theirs: Entries, ours: Entries) -> dict[str, Any]:
        width = ours["hidden_dim"] / (ours["num_heads"] if self.of == "head_dim" else 1)
        given = theirs.get(self.theirs, self.default)
        if given not in (None, width):
            raise PretrainedError(f"{self.theirs} = {given}: the lab has no {self.part} = {width:g}")
        return {}

    def write(self, ours: ModelConfig) -> dict[str, Any]:
        return {self.theirs: getattr(ours, self.of)}


@dataclass(frozen=True)
class MlpWidth(Field):
    """The width of the MLP: a number of channels in theirs, in ours a ratio that a gate and biases change."""

    theirs: str
    default_ratio: int | None = None  # of the width of the stream, where theirs is null or missing

    def read(self, theirs: Entries, ours: Entries) -> dict[str, Any]:
        C, bias = ours["hidden_dim"], int(ours["bias"])
        width = theirs.get(self.theirs)
        if width is None and self.default_ratio is not None:
            width = self.default_ratio * C
        if not isinstance(width, int) or width < 1:
            raise PretrainedError(f"{self.theirs} = {width!r} is no width of an MLP")
        share = (3 * C + 2 * bias) / (2 * C + bias) if ACTIVATIONS[ours["activation"]].gated else 1
        return {"mlp_ratio": round(width * share) / C}

    def write(self, ours: ModelConfig) -> dict[str, Any]:
        return {self.theirs: ours.mlp_dim}


@dataclass(frozen=True)
class RopeParameters(Field):
    """Base and share of RoPE, under all the names that they have had."""

    default_base: float = 10_000.0
    default_fraction: float = 1.0
    theirs: str = "rope_parameters"
    our_names = ("position", "rope_base", "rope_fraction")
    names = ("rope_scaling", "rope_theta", "rotary_emb_base", "partial_rotary_factor", "rotary_pct")

    def read(self, theirs: Entries, ours: Entries) -> dict[str, Any]:
        given = {**(theirs.get("rope_scaling") or {}), **(theirs.get(self.theirs) or {})}
        kind = given.get("rope_type", given.get("type", "default"))
        if kind != "default":
            raise PretrainedError(f"rope_type = {kind!r}: the lab has no scaled RoPE")
        early = {"rope_theta": "rotary_emb_base", "partial_rotary_factor": "rotary_pct"}
        base, fraction = (
            given.get(name, theirs.get(name, theirs.get(early[name], default)))
            for name, default in zip(early, (self.default_base, self.default_fraction), strict=True)
        )
        D = ours["hidden_dim"] // ours["num_heads"]
        return {"position": "rope", "rope_base": float(base), "rope_fraction": int(D * fraction) / D}

    def write(self, ours: ModelConfig) -> dict[str, Any]:
        if ours.position != "rope":
            raise PretrainedError(f"position = {ours.position!r} is not 'rope'")
        D, width = ours.head_dim, rotated_width(ours.head_dim, ours.rope_fraction)
        fraction = width / D
        while int(D * fraction) < width:  # they round down, and 100 * 0.29 is below 29
            fraction = math.nextafter(fraction, 2)
        about = {"rope_type": "default", "rope_theta": ours.rope_base}
        is_said = fraction != self.default_fraction
        return {self.theirs: {**about, "partial_rotary_factor": fraction} if is_said else about}


@dataclass(frozen=True)
class RotaryDim(Field):
    """The width of a head that RoPE turns, as a number of channels, with a base that is always the same."""

    theirs: str
    BASE: ClassVar[float] = 10_000.0
    our_names = ("position", "rope_base", "rope_fraction")

    def read(self, theirs: Entries, ours: Entries) -> dict[str, Any]:
        width, D = stated(theirs, self.theirs), ours["hidden_dim"] // ours["num_heads"]
        if not isinstance(width, int) or not 0 < width <= D:
            raise PretrainedError(f"{self.theirs} = {width!r} is no share of a head, whose width is {D}")
        return {"position": "rope", "rope_base": self.BASE, "rope_fraction": width / D}

    def write(self, ours: ModelConfig) -> dict[str, Any]:
        if ours.position != "rope":
            raise PretrainedError(f"position = {ours.position!r} is not 'rope'")
        if ours.rope_base != self.BASE:
            raise PretrainedError(f"rope_base = {ours.rope_base:g} is not {self.BASE:g}")
        return {self.theirs: rotated_width(ours.head_dim, ours.rope_fraction)}


@dataclass(frozen=True)
class SlidingWindow(Field):
    """A window of attention: the lab has none, and needs none for texts that are no longer than it."""

    default: int | None = None
    used: bool = True  # where their config does not say it
    in_some_layers: bool = False  # where their config does not list them
    theirs: str = "sliding_window"
    names = ("use_sliding_window", "layer_types", "max_window_layers")

    def read(self, theirs: Entries, ours: Entries) -> dict[str, Any]:
        kinds = theirs.get("layer_types") or ["sliding_attention"]
        if unknown := sorted(set(kinds) - {"sliding_attention", "full_attention"}):
            raise PretrainedError(f"layer_types: the lab has no {' and no '.join(unknown)}")
        window = theirs.get(self.theirs, self.default)
        used = theirs.get("use_sliding_window", self.used) and "sliding_attention" in kinds
        if used and window is not None and window < ours["context_length"]:
            raise PretrainedError(
                f"{self.theirs} = {window}: the lab has no window of attention that is shorter than the text. With a "
                f"context of {window} tokens at most it has no effect: --context-length {window}"
            )
        return {}

    def write(self, ours: ModelConfig) -> dict[str, Any]:
        if not self.in_some_layers:
            return {self.theirs: None}
        return {self.theirs: ours.context_length, "layer_types": ["full_attention"] * ours.num_layers}


@dataclass(frozen=True)
class Biases(Field):
    """Biases of attention and of the MLP: two switches in theirs, one in ours."""

    theirs: str
    of_mlp: str

    @property
    def names(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """That of the MLP."""
        return (self.of_mlp,)

    def read(self, theirs: Entries, ours: Entries) -> dict[str, Any]:
        attention, mlp = theirs.get(self.theirs, False), theirs.get(self.of_mlp, False)
        if attention != mlp:
            raise PretrainedError(
                f"{self.theirs} = {attention}, {self.of_mlp} = {mlp}: the lab has no biases in some linear layers alone"
            )
        return {"bias": attention}

    def write(self, ours: ModelConfig) -> dict[str, Any]:
        return {self.theirs: ours.bias, self.of_mlp: ours.bias}


@dataclass(frozen=True)
class Cap(Field):
    """A soft cap: null in theirs, 0 in ours where there is none."""

    theirs: str
    ours: str
    default: float | None = None
    is_optional: bool = True

    def read(self, theirs: Entries, ours: Entries) -> dict[str, Any]:
        return {self.ours: theirs.get(self.theirs, self.default) or 0.0}

    def write(self, ours: ModelConfig) -> dict[str, Any]:
        cap = getattr(ours, self.ours)
        if not (cap or self.is_optional):
            raise PretrainedError(f"{self.ours} = {cap:g}, and it always has a cap")
        return {self.theirs: cap or None}


@dataclass(frozen=True)
class RootOfWidth(Field):
    """A field of ours that in theirs is always the square root of the width of the stream."""

    ours: str

    def read(self, theirs: Entries, ours: Entries) -> dict[str, Any]:
        return {self.ours: math.sqrt(ours["hidden_dim"])}

    def write(self, ours: ModelConfig) -> dict[str, Any]:
        if (given := getattr(ours, self.ours)) != (needed := math.sqrt(ours.hidden_dim)):
            raise PretrainedError(f"{self.ours} = {given:g} is not sqrt(hidden_dim) = {needed:g}")
        return {}
