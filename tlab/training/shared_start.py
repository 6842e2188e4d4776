"""What several runs have in common before their first step: which batches, and which of their first weights.

It is worked out for the runs at hand wherever runs are compared: what two models have in the same shape starts from
the same weights only where both draw it by the same rule, and batches are the same only where all that decides them is.
"""

from __future__ import annotations

import functools
import re
import zlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from tlab.nn.config import ModelConfig
from tlab.nn.model import Transformer
from tlab.training.config import TrainConfig
from tlab.types import Shape
from tlab.wording import part_name

MAX_PARTS = 5  # of the parts that differ
BLOCK = re.compile(r"blocks\.\d+")


class Start(NamedTuple):
    """What decides a run's batches and first weights."""

    text: str  # any name that is the same for the same tokens
    model: ModelConfig
    training: TrainConfig
    weights: str = ""  # the sha256 of those that it began with, where they were not drawn at random


class SharedStart(NamedTuple):
    """What is the same in all of several runs."""

    batches: bool
    differing: tuple[str, ...]
    """The embeddings and matrices that are not, such as "mlp.up"; a block that not all have by its own key."""
    some_weights: bool
    """Whether any embedding or matrix is."""

    def sentence(self, who: str) -> str:
        """In words: "A and B read the same batches and start from the same first weights"."""
        batches = "read the same batches" if self.batches else "read different batches"
        if not self.some_weights:
            return f"{who} {batches} and have no first weights in common."
        named = ", ".join(map(part_name, self.differing[:MAX_PARTS]))
        if more := len(self.differing) - MAX_PARTS:
            named += f" and {more} more" if more > 0 else ""
        but = f" but for {named}" if self.differing else ""
        return f"{who} {batches} and start from the same first weights{but}."


class OneNumber(np.random.Generator):
    """Draws one number in place of an array: two tensors of one shape, drawn by one rule, begin with the same one."""

    def normal(self, loc: Any = 0.0, scale: Any = 1.0, size: Any = None) -> Any:
        """As the base class, of `one_of(size)`."""
        return super().normal(loc, scale, one_of(size))

    def uniform(self, low: Any = 0.0, high: Any = 1.0, size: Any = None) -> Any:
        """As the base class, of `one_of(size)`."""
        return super().uniform(low, high, one_of(size))


def one_of(size: Any) -> Any:
    """A shape of as many axes that has one element."""
    return (1,) * len(size) if isinstance(size, tuple) else size


@functools.lru_cache(maxsize=256)
def first_numbers(model: ModelConfig, seed: int) -> dict[str, tuple[Shape, bytes]]:
    """Name of each embedding and matrix -> its shape, and what its first weights begin with."""
    found = {}
    for name, param in Transformer.declared_parameters(model).items():
        if param.is_decayed:
            source = OneNumber(np.random.PCG64([seed, zlib.crc32(name.encode())]))  # as `ParamSpace.pack` draws it
            found[name] = (param.shape, param.init(source, param.shape).tobytes())
    return found


def first_weights(start: Start) -> dict[str, tuple[Shape, bytes]]:
    """Name of each embedding and matrix of a run -> its shape, and what tells its first weights from others."""
    drawn = first_numbers(start.model, start.training.seed)
    if not start.weights:
        return drawn
    return {name: (shape, start.weights.encode()) for name, (shape, _) in drawn.items()}


def shared_start(starts: Sequence[Start]) -> SharedStart:
    """What several runs have in common before their first step."""
    batches = {(one.text, one.training.batch_seed, one.training.batch_size, one.model.context_length) for one in starts}
    drawn = [first_weights(one) for one in starts]
    blocks = [{name for name in map(block_of, of_run) if name} for of_run in drawn]
    differing: dict[str, None] = {}
    names = list(dict.fromkeys(name for of_run in drawn for name in of_run))
    for name in names:
        if len({of_run.get(name) for of_run in drawn}) > 1:
            block = block_of(name)
            everywhere = all(block in of_run for of_run in blocks)
            differing[block if block and not everywhere else short_name(name)] = None
    return SharedStart(len(batches) == 1, tuple(differing), any(len({r.get(n) for r in drawn}) == 1 for n in names))


def block_of(name: str) -> str:
    """Of "blocks.0.mlp.up.weight" the block; empty for what lies in none."""
    found = BLOCK.match(name)
    return found[0] if found else ""


def short_name(name: str) -> str:
    """Of "blocks.0.mlp.up.weight" what it is in every block: "mlp.up"."""
    return BLOCK.sub("", name).removeprefix(".").removesuffix(".weight")
