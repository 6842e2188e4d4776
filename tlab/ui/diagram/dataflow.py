"""The dataflow of a model, found by running its own forward pass on arrays that remember what made them.

Nothing here knows a layout, a norm or a position by its name: a layout that was registered a moment ago is run like any
other, and whatever it adds, multiplies or norms is seen.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from tlab.nn.config import ModelConfig
from tlab.nn.model import Transformer
from tlab.types import Array

TOKEN_IDS, EMBEDDING, NORM, ATTENTION, MLP, UNEMBEDDING = "tokens", "embedding", "norm", "attention", "mlp", "head"
SUBLAYERS = (ATTENTION, MLP)
POSITION, LEARNED = "position", "learned"
"""Where an array comes from that goes into a sum or a product and that the forward pass did not make."""


Wire = tuple[int, int]
"""From a node to one that reads its result, by their places in the dataflow."""


class Node(NamedTuple):
    """One thing that the forward pass did."""

    kind: str  # a part of the model, or the name of what NumPy computed: "add", "multiply"
    inputs: tuple[int, ...]  # the nodes whose results it read, by their place in the dataflow
    constant: str  # what else went in: a number as text, `POSITION`, `LEARNED`; "" for nothing
    in_block: bool


class Dataflow(NamedTuple):
    """Everything from the tokens to the logits, with one block for all of them, which are alike."""

    nodes: tuple[Node, ...]  # in the order in which they were done; the last one makes the logits
    enters: int  # the node whose result enters the block
    leaves: int  # and the one whose result leaves it

    def readers(self, place: int) -> list[int]:
        """The nodes that read the result of the one at this place."""
        return [reader for reader, node in enumerate(self.nodes) if place in node.inputs]

    def wires(self) -> list[Wire]:
        """Everything that is read."""
        return [(source, place) for place, node in enumerate(self.nodes) for source in node.inputs]

    def stream(self) -> list[int]:
        """The residual stream: the way through everything that passes the fewest parts."""
        ways: dict[int, list[int]] = {}
        for place, node in enumerate(self.nodes):
            before = [ways[source] for source in node.inputs]
            ways[place] = [*min(before, key=self.toll, default=[]), place]
        return ways[len(self.nodes) - 1]

    def toll(self, way: Sequence[int]) -> int:
        """Parts on a way, of which a sublayer weighs more than any number of norms; sums are free."""
        kinds = [self.nodes[place].kind for place in way]
        return sum(100 if kind in SUBLAYERS else kind != "add" for kind in kinds)


def dataflow(config: ModelConfig) -> Dataflow:
    """What a model of this config does, however small it is: sizes change nothing about it.

    A cap of the logits counts as a part of the unembedding.
    """
    small = dataclasses.replace(
        config, vocab_size=2, context_length=4, hidden_dim=16, num_heads=2, num_layers=1, mlp_ratio=1.0,
        num_kv_heads=None, rope_fraction=1.0, logit_cap=0.0,
    )  # fmt: skip
    model = Transformer(small)
    recorder = Recorder()
    recorder.watch(model.embedding, "forward", EMBEDDING)
    recorder.watch_position(model.position)
    (block,) = model.blocks
    for norm in [*block.norms, *([model.final_norm] if model.final_norm else [])]:
        recorder.watch(norm, "forward", NORM)
    recorder.watch(block.attention, "forward", ATTENTION)
    recorder.watch(block.mlp, "forward", MLP)
    recorder.watch_block(block)
    recorder.watch(model.head or model.embedding, "forward" if model.head else "unembed", UNEMBEDDING)
    with np.errstate(all="ignore"):
        model.forward(np.zeros((1, 4), int))
    return recorder.dataflow()


class Remembering(np.ndarray):
    """An array that remembers the node that made it; what is computed from it remembers in turn."""

    recorder: Recorder
    node: int

    def __array_finalize__(self, source: Any) -> None:
        if isinstance(source, Remembering):  # a view, a slice or a copy is still the same result
            self.recorder, self.node = source.recorder, source.node

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, out: Any = None, **options: Any) -> Any:
        if out is not None:
            options["out"] = tuple(map(forget, out))
        result = getattr(ufunc, method)(*map(forget, inputs), **options)
        name = ufunc.__name__ if method == "__call__" else f"{ufunc.__name__} {method}"
        computed = self.recorder.computed(name, inputs, result)
        for target in out or ():
            if isinstance(target, Remembering):  # worked in place: what was there is gone
                target.node = computed.node
        return computed

    def __array_function__(self, function: Callable[..., Any], types: Any, inputs: Any, options: Any) -> Any:
        result = function(*map(forget, inputs), **{name: forget(value) for name, value in options.items()})
        return self.recorder.computed(function.__name__, [*leaves(inputs), *leaves(tuple(options.values()))], result)


def forget(value: Any) -> Any:
    """The same as plain arrays, also within lists."""
    if isinstance(value, list | tuple):
        return type(value)(map(forget, value))
    return value.view(np.ndarray) if isinstance(value, Remembering) else value


def leaves(value: Any) -> Iterator[Any]:
    """What is in lists and tuples."""
    if isinstance(value, list | tuple):
        for each in value:
            yield from leaves(each)
    else:
        yield value


class Recorder:
    """Collects the nodes of one forward pass."""

    def __init__(self) -> None:
        self.nodes = [Node(TOKEN_IDS, (), "", False)]
        self.enters = self.leaves = 0
        self.in_block = False
        self.constants = LEARNED  # where unknown arrays come from at the moment

    def dataflow(self) -> Dataflow:
        """What the last node needs; the rest, such as a statistic for the trace, changes nothing."""
        needed = {len(self.nodes) - 1, self.enters, self.leaves}
        for place in reversed(range(len(self.nodes))):
            if place in needed:
                needed |= set(self.nodes[place].inputs)
        places = {place: i for i, place in enumerate(sorted(needed))}
        nodes = [
            node._replace(inputs=tuple(places[source] for source in node.inputs))
            for place, node in enumerate(self.nodes)
            if place in needed
        ]
        return Dataflow(tuple(nodes), places[self.enters], places[self.leaves])

    def note(self, kind: str, inputs: Sequence[Any], result: Array, constant: str = "") -> Remembering:
        """A new node, and its result as an array that remembers it. One of unknown origin stands for the stream."""
        sources = dict.fromkeys(value.node for value in inputs if isinstance(value, Remembering))
        stream = self.enters if self.in_block else len(self.nodes) - 1
        self.nodes.append(Node(kind, tuple(sources) or (stream,), constant, self.in_block))
        remembering = forget(result).view(Remembering)
        remembering.recorder, remembering.node = self, len(self.nodes) - 1
        return remembering

    def computed(self, name: str, inputs: Sequence[Any], result: Any) -> Any:
        """What NumPy has computed; a product with one is the same as before."""
        if not isinstance(result, np.ndarray):
            return result
        others = [value for value in inputs if not isinstance(value, Remembering)]
        if name == "multiply" and others and isinstance(others[0], int | float) and others[0] == 1:
            return next(value for value in inputs if isinstance(value, Remembering))
        constant = next((self.constant_words(value) for value in others if not isinstance(value, str)), "")
        return self.note(name, inputs, result, constant)

    def constant_words(self, value: Any) -> str:
        return f"{value:g}" if isinstance(value, int | float) else self.constants

    def watch(self, part: Any, method: str, kind: str) -> None:
        """Let this method of a part, which returns its result first, be one node."""
        run = getattr(part, method)

        def noted(x: Array, *rest: Any) -> tuple[Any, ...]:
            result, *others = run(forget(x), *rest)
            return self.note(kind, [x], result), *others

        setattr(part, method, noted)

    def watch_position(self, position: Any) -> None:
        """What a position adds to the embeddings comes from it."""
        run = position.embed

        def noted(x: Array, start: int) -> Array:
            self.constants = POSITION
            result = run(x, start)
            self.constants = LEARNED
            return result

        position.embed = noted

    def watch_block(self, block: Any) -> None:
        run = block.forward

        def noted(x: Any, *rest: Any) -> tuple[Any, Any]:
            self.enters, self.in_block = x.node, True
            y, trace = run(x, *rest)
            if not isinstance(y, Remembering):  # the layout worked on a plain copy: then it is one box
                sources = [place for place, node in enumerate(self.nodes) if node.kind in SUBLAYERS]
                y = self.note("layout", (), np.asarray(y))
                self.nodes[-1] = self.nodes[-1]._replace(inputs=(x.node, *sources))
            self.leaves, self.in_block = y.node, False
            return y, trace

        block.forward = noted
