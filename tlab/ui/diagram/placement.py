"""Where the parts of one or two dataflows stand: in which column along the stream, and in which lane beside it.

The columns of two models are common to both, so that what they share stands at the same place and only what differs
moves. The stream is lane 0; what branches off it goes into the next lane that is free there: 1, -1, 2 ...
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

from tlab.ui.diagram.dataflow import ATTENTION, MLP, UNEMBEDDING, Dataflow

ALIGNED = (ATTENTION, MLP, UNEMBEDDING)
LANES = (1, -1, 2, -2, 3, -3)
MANY_ROUNDS = 60  # two models that do things in opposite orders would push each other on for ever


class Placement(NamedTuple):
    """Column and lane of each node, and the lane of each wire that passes over other nodes."""

    columns: tuple[int, ...]
    lanes: tuple[int, ...]
    block: tuple[int, int]  # the first and the last column of the block, in all models that are aligned
    detours: dict[tuple[int, int], int]  # of (node, reader), where both stand on the stream with others between them


def placements(flows: Sequence[Dataflow]) -> list[Placement]:
    """Of all models together."""
    columns = aligned_columns(flows)
    if columns is None:
        return [one for flow in flows for one in placements([flow])]
    within = block_columns(flows, columns)
    return [place_lanes(flow, own, (min(within), max(within))) for flow, own in zip(flows, columns, strict=True)]


def aligned_columns(flows: Sequence[Dataflow]) -> list[list[int]] | None:
    """Columns in which every node comes after what it reads, and sublayers and heads of all models stand together.

    None where there are no such columns: the models do the same things in another order.
    """
    columns = [[0] * len(flow.nodes) for flow in flows]
    for _ in range(MANY_ROUNDS):
        before = [list(own) for own in columns]
        begin = 1 + max(own[flow.enters] for flow, own in zip(flows, columns, strict=True))
        together = {kind: columns_of(kind, flows, columns) for kind in ALIGNED}
        for flow, own in zip(flows, columns, strict=True):
            end = 1 + max(block_columns(flows, columns))
            for place, node in enumerate(flow.nodes):
                earliest = [1 + own[source] for source in node.inputs]
                if node.in_block:
                    earliest.append(begin)
                elif place > flow.leaves:
                    earliest.append(end)
                own[place] = max([own[place], *earliest, *together.get(node.kind, ())])
        if columns == before:
            return columns
    return None


def columns_of(kind: str, flows: Sequence[Dataflow], columns: Sequence[Sequence[int]]) -> list[int]:
    return [
        own[place]
        for flow, own in zip(flows, columns, strict=True)
        for place, node in enumerate(flow.nodes)
        if node.kind == kind
    ]


def block_columns(flows: Sequence[Dataflow], columns: Sequence[Sequence[int]]) -> list[int]:
    return [
        column
        for flow, own in zip(flows, columns, strict=True)
        for node, column in zip(flow.nodes, own, strict=True)
        if node.in_block
    ]


def place_lanes(flow: Dataflow, columns: Sequence[int], block: tuple[int, int]) -> Placement:
    """A lane for each branch, from the node it reads to the one that reads it."""
    stream = flow.stream()
    lanes = dict.fromkeys(stream, 0)
    taken: list[tuple[int, int, int]] = []  # lane, first and last column

    def free_lane(first: int, last: int) -> int:
        busy = {lane for lane, begin, end in taken if begin < last and first < end}
        lane = next((lane for lane in LANES if lane not in busy), LANES[-1])
        taken.append((lane, first, last))
        return lane

    for place, node in enumerate(flow.nodes):
        if place not in lanes:
            branch = branch_from(flow, place, lanes)
            first = min((columns[source] for source in node.inputs), default=columns[place])
            last = max([columns[reader] for reader in flow.readers(branch[-1])], default=columns[branch[-1]])
            lanes |= dict.fromkeys(branch, free_lane(first, last))
    neighbours = set(itertools.pairwise(stream))
    detours = {
        (source, place): free_lane(columns[source], columns[place])
        for place in stream
        for source in flow.nodes[place].inputs
        if source in stream and (source, place) not in neighbours
    }
    return Placement(tuple(columns), tuple(lanes[place] for place in range(len(flow.nodes))), block, detours)


def branch_from(flow: Dataflow, place: int, lanes: dict[int, int]) -> list[int]:
    """A node off the stream and what reads it there, one after another."""
    branch = [place]
    while further := [reader for reader in flow.readers(branch[-1]) if reader not in lanes and reader not in branch]:
        branch.append(further[0])
    return branch
