"""The picture of a model: boxes, wires and texts with their places, along the stream to the right or upwards.

Places are counted along the stream and across it; `Drawing.point` turns them into those of the picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tlab.ui.diagram.dataflow import (
    ATTENTION,
    EMBEDDING,
    LEARNED,
    NORM,
    POSITION,
    SUBLAYERS,
    TOKEN_IDS,
    UNEMBEDDING,
    Wire,
)
from tlab.ui.diagram.parts import PARTS
from tlab.ui.diagram.placement import Placement, placements
from tlab.ui.diagram.sides import OPERATIONS, DrawnSide
from tlab.ui.diagram.sublayers import SMALL_CHARACTER, PlacedPiece, Room, cells_in, stages_of, whole_length
from tlab.ui.diagram.words import node_words, training_line
from tlab.wording import several

CHARACTER = 6.4  # of a box's text: wide, at most
CORNER = 7.0  # radius of a wire's corner
ARROW = 6.0  # length of its head
DOT = 2.6  # radius, where a wire leaves the stream
MOST_SHEETS = 4  # heads that are drawn one behind the other; the text says how many there are
STREAM_FROM_LEFT = 17.0  # in a picture that is read upwards

Spot = tuple[float, float]
Size = tuple[float, float]


class Measures(NamedTuple):
    """Sizes for one direction of reading."""

    upright: bool
    gap: float  # between columns
    frame_gap: float  # more of it where the block begins and ends
    box: Size  # of a norm or a position
    sublayer: float  # the size across of attention and the MLP
    title: float  # height of the title within them
    pad: float  # within them, around what they hold
    lane: float  # from the stream to the middle of the first lane
    next_lane: float  # from there to the middle of the next one
    edge: float  # of the picture
    finger: float  # least width and height of what can be touched, without what is next to it


RIGHTWARDS = Measures(False, 17, 14, (80, 30), 68, 16, 7, 60, 98, 6, 0)
UPWARDS = Measures(True, 13, 12, (84, 26), 112, 18, 6, 76, 124, 6, 46)  # narrow pages draw it at its size, or nearly

SIZES: dict[str, Size] = {TOKEN_IDS: (70, 34), EMBEDDING: (80, 34), UNEMBEDDING: (88, 34), "add": (22, 22)}
TRAINING_SIZE: Size = (98, 34)
WEIGHT_SIZES: dict[bool, Size] = {True: (72, 22), False: (34, 22)}
"""Of a product: with what is learned, and with a number."""


class Box(NamedTuple):
    """Something that stands in the picture. It is a button if it belongs to a part."""

    part: str
    name: str  # whole, for those who do not see it
    x: float
    y: float
    width: float
    height: float
    lines: tuple[str, ...]
    kind: str
    is_lit: bool = False
    is_ghost: bool = False  # a place where something could be
    cells: Sequence[PlacedPiece] = ()
    wires: Sequence[str] = ()  # paths within
    sheets: int = 0  # more of the same behind it

    @property
    def words(self) -> str:
        """What the part does."""
        return PARTS[self.part].words

    def target(self, finger: float) -> Rectangle:
        """Where a finger of this size hits it: around a box that is smaller, though never beyond the left edge."""
        width, height = max(self.width, finger), max(self.height, finger)
        x, y = self.x - (width - self.width) / 2, self.y - (height - self.height) / 2
        return Rectangle(max(0.0, x), y, width, height)


class Line(NamedTuple):
    """A wire or the head of its arrow, as the path of an SVG."""

    path: str
    kind: str  # "wire", "head", "stream"
    is_lit: bool = False


class Rectangle(NamedTuple):
    """A place in the picture."""

    x: float
    y: float
    width: float
    height: float


class Picture(NamedTuple):
    """One side's drawing."""

    side: DrawnSide
    width: float
    height: float
    upright: bool
    finger: float  # as in Measures
    boxes: list[Box]  # in the order in which they come along the stream
    lines: list[Line]
    frame: Rectangle  # around the block


def draw_sides(sides: Sequence[DrawnSide], measures: Measures) -> list[Picture]:
    """All sides in one direction, on common columns."""
    placed = placements([side.flow for side in sides])
    drawings = [Drawing(side, own, measures) for side, own in zip(sides, placed, strict=True)]
    lengths = [max(drawing.length_of(column) for drawing in drawings) for column in all_columns(drawings)]
    edges = {column for one in placed for column in (one.block[0], one.block[1] + 1)}
    begins, at = [], measures.edge
    for column, length in enumerate(lengths):
        at += measures.frame_gap if column in edges else 0
        begins.append(at)
        at += length + measures.gap if length else 0
    return [drawing.picture(begins, lengths) for drawing in drawings]


def all_columns(drawings: Sequence[Drawing]) -> range:
    return range(1 + max(drawing.last_column for drawing in drawings))


def cut(text: str, width: float, character: float = CHARACTER) -> str:
    """As much of a text as fits."""
    most = int(width / character)
    return text if len(text) <= most else text[: max(1, most - 1)] + "…"


class Drawing:
    """One side on its way to a picture."""

    def __init__(self, side: DrawnSide, placement: Placement, measures: Measures) -> None:
        self.side, self.flow, self.placement, self.measures = side, side.flow, placement, measures
        self.last_column = max(placement.columns) + 1  # that of the loss and the optimizer
        self.lanes = sorted({*placement.lanes, *placement.detours.values()} - {0}, key=lambda lane: (abs(lane), -lane))

    def picture(self, begins: Sequence[float], lengths: Sequence[float]) -> Picture:
        """With the places where the columns begin, and their lengths."""
        self.begins, self.lengths = begins, lengths
        measures, half = self.measures, self.measures.sublayer / 2
        end = begins[self.last_column] + lengths[self.last_column] + measures.edge
        middles = [measures.lane, *map(self.lane_middle, self.lanes)]
        if measures.upright:
            self.width, self.height = STREAM_FROM_LEFT + max(middles) + half + 12, end + 4
        else:
            self.above = max(middles) + half + 24
            below = 30 if min(middles) > 0 else 30 - min(middles) + half
            self.width, self.height = end, self.above + below
        nodes = [self.node_box(place) for place in range(len(self.flow.nodes))]
        frame, training = self.frame(), self.training_box()
        boxes = [*nodes, training, self.block_box(frame), *inner_positions(nodes, self.side)]
        lines = [self.stream_line(), *(line for wire in self.flow.wires() for line in self.wire_lines(wire))]
        near = self.middle_of(self.last_column) - self.along(TRAINING_SIZE) / 2
        lines += self.arrow(self.edge_of(len(self.flow.nodes) - 1), (near, 0))
        if "embedding" in self.side.acts_on or not self.side.acts_on:
            box, wire = self.position_box()
            boxes.append(box)
            lines += wire
        boxes.sort(key=lambda box: -box.y - box.height if measures.upright else box.x)
        return Picture(self.side, self.width, self.height, measures.upright, measures.finger, boxes, lines, frame)

    # ---------------------------------------------------------------------------------------- places

    def size(self, place: int) -> Size:
        """Width and height of a node's box."""
        node, measures = self.flow.nodes[place], self.measures
        if node.kind in SUBLAYERS:
            length = whole_length(stages_of(node.kind, self.side, measures.upright)) + 2 * measures.pad
            return (measures.sublayer, length + measures.title) if measures.upright else (length, measures.sublayer)
        if node.kind in OPERATIONS and node.kind != "add":
            return WEIGHT_SIZES[node.constant == LEARNED]
        return SIZES.get(node.kind, measures.box)

    def along(self, size: Size) -> float:
        return size[1] if self.measures.upright else size[0]

    def across(self, size: Size) -> float:
        return size[0] if self.measures.upright else size[1]

    def length_of(self, column: int) -> float:
        """That of the longest box in a column, or what a finger needs between two gaps; 0 where it is empty."""
        places = [place for place, own in enumerate(self.placement.columns) if own == column]
        lengths = [self.along(self.size(place)) for place in places]
        if column == self.last_column:
            lengths = [self.along(TRAINING_SIZE)]
        return max(*lengths, self.measures.finger - self.measures.gap) if lengths else 0.0

    def middle_of(self, column: int) -> float:
        return self.begins[column] + self.lengths[column] / 2

    def lane_middle(self, lane: int) -> float:
        """Across. Read upwards, every lane is to the right of the stream, and the stream near the left edge."""
        if not lane:
            return 0.0
        number = self.lanes.index(lane) if self.measures.upright else abs(lane) - 1
        away = self.measures.lane + self.measures.next_lane * number
        return away if lane > 0 or self.measures.upright else -away

    def middle(self, place: int) -> Spot:
        return self.middle_of(self.placement.columns[place]), self.lane_middle(self.placement.lanes[place])

    def edge_of(self, place: int, side: int = 1) -> Spot:
        """The middle of a node's edge: the far one, or with -1 the near one."""
        along, across = self.middle(place)
        return along + side * self.along(self.size(place)) / 2, across

    def point(self, place: Spot) -> Spot:
        """x and y in the picture."""
        along, across = place
        if self.measures.upright:
            return STREAM_FROM_LEFT + across, self.height - along
        return along, self.above - across

    def around(self, place: Spot, size: Size) -> Rectangle:
        """Where a box stands. Read upwards, one on the stream begins a little to the left of it."""
        (x, y), (width, height) = self.point(place), size
        if self.measures.upright and place[1] == 0:
            return Rectangle(max(6.0, x - width / 2), y - height / 2, width, height)
        return Rectangle(x - width / 2, y - height / 2, width, height)

    # ---------------------------------------------------------------------------------------- boxes

    def node_box(self, place: int) -> Box:
        node, side, size = self.flow.nodes[place], self.side, self.size(place)
        area = self.around(self.middle(place), size)
        lines, name = node_words(place, side)
        is_lit = place in side.lit.nodes or side.part(place) in side.lit.parts
        if node.kind in SUBLAYERS:
            cells, wires = cells_in(self.room(area), stages_of(node.kind, side, self.measures.upright))
            sheets = min(side.config.num_heads, MOST_SHEETS) - 1 if node.kind == ATTENTION else 0
            title = cut(lines[0], area.width, SMALL_CHARACTER)
            return Box(node.kind, name, *area, (title,), node.kind, is_lit, False, cells, wires, sheets)
        kind = node.kind if node.kind in (NORM, *SIZES) and node.kind != "add" else "sum"
        is_ghost = node.kind == NORM and not side.has_norm
        return Box(side.part(place), name, *area, fitting(lines, area.width), kind, is_lit, is_ghost)

    def room(self, area: Rectangle) -> Room:
        """What a sublayer's box has left for its steps."""
        pad, title = self.measures.pad, self.measures.title
        if self.measures.upright:
            return Room(area.x + pad, area.y + title, area.width - 2 * pad, area.height - title - pad, True)
        return Room(area.x + pad, area.y + title + 1, area.width - 2 * pad, area.height - title - 6, False)

    def training_box(self) -> Box:
        training, label = self.side.plan.training, self.side.optimizer_label
        area = self.around((self.middle_of(self.last_column), 0), TRAINING_SIZE)
        lines = fitting(("Loss", training_line(self.side)), area.width)
        name = f"Loss and optimizer: {label}, learning rate {training.learning_rate:g}"
        return Box("training", name, *area, lines, "training", "training" in self.side.lit.parts)

    def position_box(self) -> tuple[Box, list[Line]]:
        """What is added to the embeddings, and its wire; where no positions act at all, a place for them."""
        side, measures = self.side, self.measures
        added = [place for place, node in enumerate(self.flow.nodes) if node.constant == POSITION]
        along, _ = self.middle(added[0] if added else self.flow.enters)
        across = measures.lane if measures.upright else measures.lane - 14
        area = self.around((along, across), measures.box)
        if not measures.upright:  # clear of what stands in the first lane of the block
            area = area._replace(x=along + 12 - area.width)
        name = f"Positions: {side.position_label}" + (", added to the embeddings" if added else "")
        is_lit = "position" in side.lit.parts
        lines = fitting((side.position_label,), area.width)
        box = Box("position", name, *area, lines, "position", is_lit, not added)
        begin, end = across - self.across(measures.box) / 2, self.across(SIZES["add"]) / 2
        return box, self.arrow((along, begin), (along, end), is_lit=is_lit) if added else []

    def frame(self) -> Rectangle:
        """Around the columns of the block."""
        (first, last), measures = self.placement.block, self.measures
        room = measures.gap / 2 + measures.frame_gap - 4
        begin, end = self.begins[first] - room, self.begins[last] + self.lengths[last] + room
        if measures.upright:
            return Rectangle(2, self.height - end, self.width - 4, end - begin)
        middles = [measures.lane, *map(self.lane_middle, self.lanes)]
        half = measures.sublayer / 2 + 9
        top, bottom = max(middles) + half, min(middles) - half if min(middles) < 0 else -20
        return Rectangle(begin, self.above - top, end - begin, top - bottom)

    def block_box(self, frame: Rectangle) -> Box:
        """How often the block is there, on the frame's edge."""
        layers = self.side.config.num_layers
        text = f"{layers} ×" if self.measures.upright and layers > 1 else several(layers, "block")
        width = 14 + CHARACTER * len(text)
        x = frame.x + frame.width - width - 10
        name = several(layers, "block") + (", one after another" if layers > 1 else "")
        return Box("block", name, x, frame.y - 13, width, 20, (text,), "block", "block" in self.side.lit.parts)

    # ---------------------------------------------------------------------------------------- wires

    def stream_line(self) -> Line:
        """The residual stream as one line, under everything that stands on it."""
        stream = self.flow.stream()
        return Line(self.path([self.middle(stream[1]), self.middle(stream[-1])]), "stream")

    def wire_lines(self, wire: Wire) -> list[Line]:
        """A wire with its arrow; of one along the stream, which is drawn already, only the arrow."""
        source, place = wire
        own, other = self.placement.lanes[source], self.placement.lanes[place]
        begin, end = self.edge_of(source), self.edge_of(place, -1)
        is_lit = wire in self.side.lit.wires
        if wire in self.placement.detours:
            return self.branch(wire, [self.placement.detours[wire]], is_lit)
        if own == other == 0 and source > 0:
            return [Line(self.arrow_head(begin, end), "stream-head")]
        if own == other:
            return self.arrow(begin, end, is_lit=is_lit)
        if other == 0 and self.flow.nodes[place].kind in OPERATIONS:
            return self.arrow(begin, (self.middle(place)[0], begin[1]), self.rim(place, own), is_lit=is_lit)
        return self.branch(wire, [], is_lit)

    def branch(self, wire: Wire, by_way_of: Sequence[int], is_lit: bool) -> list[Line]:
        """A wire that leaves the stream or another lane, with a dot where it does."""
        source, place = wire
        tap = self.tap(wire), self.middle(source)[1]
        if by_way_of:
            across = self.lane_middle(by_way_of[0])
            corners = [(tap[0], across), (self.middle(place)[0], across), self.rim(place, by_way_of[0])]
        else:
            end = self.edge_of(place, -1)
            corners = [(tap[0], end[1]), end]
        x, y = self.point(tap)
        dot = f"M{x - DOT:.1f} {y:.1f}a{DOT} {DOT} 0 1 0 {2 * DOT} 0a{DOT} {DOT} 0 1 0 {-2 * DOT} 0"
        return [*self.arrow(tap, *corners, is_lit=is_lit), Line(dot, "head", is_lit)]

    def tap(self, wire: Wire) -> float:
        """Where a wire leaves, along: soon after what it reads, and within the block if its reader is."""
        source, place = wire
        if self.flow.nodes[place].in_block and not self.flow.nodes[source].in_block:
            return self.begins[self.placement.block[0]] - self.measures.frame_gap + 4
        return self.edge_of(source)[0] + self.measures.gap / 2

    def rim(self, place: int, lane: int) -> Spot:
        """Where a wire from this lane meets a sum on the stream."""
        along, across = self.middle(place)
        half = self.across(self.size(place)) / 2
        return along, across + half if self.lane_middle(lane) > across else across - half

    def arrow(self, *places: Spot, is_lit: bool = False) -> list[Line]:
        return [Line(self.path(places), "wire", is_lit), Line(self.arrow_head(*places[-2:]), "head", is_lit)]

    def path(self, places: Sequence[Spot]) -> str:
        """A line through places, with round corners."""
        points = [self.point(place) for place in places]
        words = [f"M{points[0][0]:.1f} {points[0][1]:.1f}"]
        for before, corner, after in zip(points, points[1:], points[2:], strict=False):
            a, b = towards(corner, before, CORNER), towards(corner, after, CORNER)
            words.append(f"L{a[0]:.1f} {a[1]:.1f}Q{corner[0]:.1f} {corner[1]:.1f} {b[0]:.1f} {b[1]:.1f}")
        return "".join([*words, f"L{points[-1][0]:.1f} {points[-1][1]:.1f}"])

    def arrow_head(self, before: Spot, end: Spot) -> str:
        """Of a wire that comes from `before` and arrives at `end`."""
        (x, y), start = self.point(end), self.point(before)
        back = towards((x, y), start, ARROW)
        dx, dy = 0.55 * (back[1] - y), 0.55 * (x - back[0])
        return f"M{x:.1f} {y:.1f}L{back[0] + dx:.1f} {back[1] + dy:.1f}L{back[0] - dx:.1f} {back[1] - dy:.1f}Z"


def fitting(lines: Sequence[str], width: float) -> tuple[str, ...]:
    """A title and a smaller line below it, as much of each as fits."""
    return tuple(cut(line, width - 2, SMALL_CHARACTER if i else CHARACTER) for i, line in enumerate(lines))


def inner_positions(boxes: Sequence[Box], side: DrawnSide) -> list[Box]:
    """The cells within attention where positions act: buttons of their own."""
    acts = {"rotation": "rotates queries and keys", "bias": "is added to the scores"}
    return [
        Box(
            "position", f"Positions: {side.position_label} {acts[cell.piece.shape]}", *cell[:4],
            (cut(cell.piece.text, cell.width, SMALL_CHARACTER),), "position", "position" in side.lit.parts,
        )
        for box in boxes
        for cell in box.cells
        if cell.piece.shape in acts
    ]  # fmt: skip


def towards(start: Spot, end: Spot, length: float) -> Spot:
    """The point at this distance on the way, or half the way where that is nearer."""
    dx, dy = end[0] - start[0], end[1] - start[1]
    whole = (dx * dx + dy * dy) ** 0.5 or 1.0
    share = min(length, whole / 2) / whole
    return start[0] + dx * share, start[1] + dy * share
