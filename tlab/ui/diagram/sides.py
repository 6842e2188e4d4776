"""The two sides of a comparison as dataflows, what each part is called, and where the one difference shows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from tlab.nn.activations import ACTIVATIONS
from tlab.nn.config import ModelConfig
from tlab.nn.norms import NORMS
from tlab.nn.positions import POSITIONS
from tlab.training.optimizers import OPTIMIZERS
from tlab.ui.diagram.dataflow import (
    ATTENTION,
    EMBEDDING,
    MLP,
    NORM,
    POSITION,
    SUBLAYERS,
    TOKEN_IDS,
    UNEMBEDDING,
    Dataflow,
    Wire,
    dataflow,
)
from tlab.ui.diagram.parts import parts_set_by
from tlab.ui.runs.messages import SidePlan
from tlab.ui.settings.fields import START_FROM
from tlab.ui.settings.plans import difference_of

OWN_PARTS = (TOKEN_IDS, EMBEDDING, NORM, ATTENTION, MLP, UNEMBEDDING)  # kinds of nodes that are parts by that name
OPERATIONS = {"add": "+", "multiply": "×", "subtract": "−", "divide": "÷"}


class Lit(NamedTuple):
    """What the difference touches in one side's drawing."""

    parts: frozenset[str] = frozenset()
    nodes: frozenset[int] = frozenset()
    wires: frozenset[Wire] = frozenset()


class DrawnSide(NamedTuple):
    """One model to be drawn."""

    letter: str
    plan: SidePlan
    flow: Dataflow
    field: str | None  # what B changes
    lit: Lit

    @property
    def config(self) -> ModelConfig:
        return self.plan.model

    @property
    def position_label(self) -> str:
        return POSITIONS.entries[self.config.position].label

    @property
    def acts_on(self) -> frozenset[str]:
        """The places where the positions act; "embedding" as the forward pass has it."""
        stated = POSITIONS[self.config.position].acts_on - {"embedding"}
        added = any(node.constant == POSITION for node in self.flow.nodes)
        return stated | {"embedding"} if added else stated

    @property
    def norm_label(self) -> str:
        return NORMS.entries[self.config.norm].label

    @property
    def has_norm(self) -> bool:
        return not NORMS[self.config.norm].is_identity

    @property
    def activation_label(self) -> str:
        return ACTIVATIONS.entries[self.config.activation].label

    @property
    def is_gated(self) -> bool:
        return ACTIVATIONS[self.config.activation].gated

    @property
    def optimizer_label(self) -> str:
        return OPTIMIZERS.entries[self.plan.training.optimizer].label

    def part(self, place: int) -> str:
        """The part that a node belongs to; "" for the sum of tokens and positions, whose part is drawn beside it."""
        node = self.flow.nodes[place]
        if node.kind in OWN_PARTS:
            return node.kind
        if node.constant == POSITION:
            return ""
        return "stream" if node.in_block else "embedding"


def sides_to_draw(plans: Sequence[SidePlan]) -> list[DrawnSide]:
    """Every side with what distinguishes it from the other."""
    flows = [dataflow(plan.model) for plan in plans]
    field = differing_field(plans)
    sides = []
    for i, (plan, flow) in enumerate(zip(plans, flows, strict=True)):
        lit = lit_by(flow, flows[1 - i], field) if field else Lit()
        sides.append(DrawnSide("AB"[i], plan, flow, field, lit))
    return sides


def lit_parts(plans: Sequence[SidePlan]) -> set[str]:
    """The parts that the difference lights in either drawing, be it for what they are or for where they stand."""
    sides = sides_to_draw(plans)
    return {part for side in sides for part in (*side.lit.parts, *map(side.part, side.lit.nodes))}


def differing_field(plans: Sequence[SidePlan]) -> str | None:
    """The field of a config that B changes; None for a run of one side, or of two that begin with other weights."""
    difference = difference_of(plans)
    return None if difference is None or difference.name == START_FROM else difference.name


def lit_by(own: Dataflow, other: Dataflow, field: str) -> Lit:
    """The nodes and wires of one side alone, from the block on; where there are none, the parts that the field sets."""
    wires = frozenset(only_in(own, other))
    # Norms that stand elsewhere say it best; then what a branch is multiplied with, then what a sublayer reads.
    for kinds in ({NORM}, {*OPERATIONS} - {"add"}, {*SUBLAYERS}, {"add"}):
        nodes = new_roles(own, other, kinds)
        if nodes or new_roles(other, own, kinds):
            return Lit(nodes=frozenset(nodes), wires=wires)
    if wires or only_in(other, own):
        return Lit(wires=wires)
    return Lit(frozenset(parts_set_by(field)[:1]))


def new_roles(own: Dataflow, other: Dataflow, kinds: set[str]) -> list[int]:
    """The nodes of these kinds, from the block on, whose role no node of the other dataflow has."""
    known = {role(place, other) for place in after_entrance(other, kinds)}
    return [place for place in after_entrance(own, kinds) if role(place, own) not in known]


def after_entrance(flow: Dataflow, kinds: set[str]) -> list[int]:
    return [place for place, node in enumerate(flow.nodes) if node.kind in kinds and place > flow.enters]


def role(place: int, flow: Dataflow) -> tuple[object, ...]:
    """What a node does: which sublayers it works for, and how far the stream had come where it reads it."""
    node = flow.nodes[place]
    sources = [flow.nodes[source].kind for source in node.inputs]
    readers = sorted(flow.nodes[reader].kind for reader in flow.readers(place))
    if node.kind == NORM:
        after = [kind for kind in sources if kind in SUBLAYERS]
        before = [kind for kind in readers if kind in (*SUBLAYERS, UNEMBEDDING)]
        return (node.kind, node.in_block, place in flow.stream(), *after, "to", *before)
    if node.kind in SUBLAYERS:
        stream = [at for at in flow.stream() if flow.nodes[at].kind == "add" and flow.nodes[at].in_block]
        begin = source_on_stream(place, flow)
        return (node.kind, sum(at <= begin for at in stream))
    return (node.kind, node.constant, *sorted(name_in(source, flow) for source in node.inputs))


def source_on_stream(place: int, flow: Dataflow) -> int:
    """The node on the stream from which a branch comes."""
    stream = flow.stream()
    while place not in stream or flow.nodes[place].kind in SUBLAYERS:
        if not flow.nodes[place].inputs:
            break
        place = flow.nodes[place].inputs[0]
    return place


def only_in(own: Dataflow, other: Dataflow) -> set[Wire]:
    """The wires of a dataflow, from the block on, that the other has not, by what they connect."""
    left = Counter(described(wire, other) for wire in other.wires())
    found = set()
    for wire in [wire for wire in own.wires() if wire[1] > own.enters]:
        description = described(wire, own)
        if left[description]:
            left[description] -= 1
        else:
            found.add(wire)
    return found


def described(wire: Wire, flow: Dataflow) -> tuple[str, str]:
    return name_in(wire[0], flow), name_in(wire[1], flow)


def name_in(place: int, flow: Dataflow) -> str:
    """A node as the end of a wire: whatever enters the block is the same."""
    node = flow.nodes[place]
    return "stream" if place == flow.enters else f"{node.kind} in the block" if node.in_block else node.kind
