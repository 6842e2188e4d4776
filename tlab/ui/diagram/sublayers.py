"""What is drawn within attention and the MLP: their steps one after another, and the positions where they act."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tlab.nn.norms import NORMS
from tlab.nn.scores.softmaxes import ATTENTION_SOFTMAXES
from tlab.ui.diagram.dataflow import MLP
from tlab.ui.diagram.sides import DrawnSide

THIRD = 1 / 3  # of the room across: queries, keys and values are side by side
BOTH = (0, 2 * THIRD)  # queries and keys
SLANT = 0.2  # of a matrix's longer side: what is missing on either side at its narrow end
GAP = 6.0  # between two steps
SMALL_CHARACTER = 5.6  # of a step's label: wide, at most
INSET = 1.5  # of a cell from its neighbours across
UPRIGHT_LENGTH = 17.0  # of a step that is read upwards, where the text does not need its length


class Piece(NamedTuple):
    """A cell of a step: from where to where it is, as shares of the room across."""

    low: float
    high: float
    text: str
    shape: str = "cell"  # "widens" and "narrows" for matrices; "rotation" and "bias" for positions
    part: str = ""
    leaves: tuple[float, ...] = ()  # where wires leave it, if not from its middle


class Stage(NamedTuple):
    """Cells side by side, and their common length along the way."""

    length: float
    pieces: tuple[Piece, ...]


class PlacedPiece(NamedTuple):
    """A piece with its place in the picture."""

    x: float
    y: float
    width: float
    height: float
    piece: Piece
    outline: str  # path of what is no rectangle


class Room(NamedTuple):
    """The space within a box, read to the right or upwards. Places along the way count from where it begins."""

    x: float
    y: float
    width: float
    height: float
    upright: bool

    def rectangle(self, along: float, length: float, low: float, high: float) -> tuple[float, float, float, float]:
        """x, y, width and height of a piece."""
        if self.upright:
            size = (high - low) * self.width - 2 * INSET
            return self.x + low * self.width + INSET, self.y + self.height - along - length, size, length
        size = (high - low) * self.height - 2 * INSET
        return self.x + along, self.y + low * self.height + INSET, length, size

    def wire(self, across: float, begin: float, end: float) -> str:
        """The path of a wire along the way."""
        if self.upright:
            bottom = self.y + self.height
            return f"M{self.x + across * self.width:.1f} {bottom - begin:.1f}V{bottom - end:.1f}"
        return f"M{self.x + begin:.1f} {self.y + across * self.height:.1f}H{self.x + end:.1f}"

    def outline(self, shape: str, x: float, y: float, width: float, height: float) -> str:
        """Of a matrix, which is as wide at either end as what it reads and what it makes; "" for other shapes."""
        if shape not in ("widens", "narrows"):
            return ""
        right, bottom = x + width, y + height
        missing = SLANT * (width if self.upright else height)
        first, last = (missing, 0.0) if shape == "widens" else (0.0, missing)
        if self.upright:
            corners = [(x + last, y), (right - last, y), (right - first, bottom), (x + first, bottom)]
        else:
            corners = [(x, y + first), (right, y + last), (right, bottom - last), (x, bottom - first)]
        return f"M{'L'.join(f'{corner[0]:.1f} {corner[1]:.1f}' for corner in corners)}Z"


def stages_of(kind: str, side: DrawnSide, upright: bool) -> list[Stage]:
    """The steps of attention or the MLP."""
    stages = mlp_stages(side) if kind == MLP else attention_stages(side)
    return [stage._replace(length=UPRIGHT_LENGTH) for stage in stages] if upright else stages


def attention_stages(side: DrawnSide) -> list[Stage]:
    """Queries, keys and values; then scores, weights, and the values' weighted sum."""
    label = side.position_label
    value = "V, V₁" if side.config.value_residual else "V"  # from the second block on
    first = 18 + SMALL_CHARACTER * (len(value) - 1)
    stages = [Stage(first, tuple(Piece(i * THIRD, (i + 1) * THIRD, name) for i, name in enumerate(("Q", "K", value))))]
    if not NORMS[side.config.qk_norm].is_identity:
        stages.append(Stage(34, (Piece(*BOTH, "norm", leaves=(THIRD / 2, 3 * THIRD / 2)),)))
    if "heads" in side.acts_on:
        turn = f"↻ {label}"
        piece = Piece(*BOTH, turn, "rotation", "position", (THIRD / 2, 3 * THIRD / 2))
        stages.append(Stage(max(52, length_for(turn)), (piece,)))
    stages.append(Stage(34, (Piece(*BOTH, "QKᵀ"),)))
    if side.config.score_cap:
        stages.append(Stage(34, (Piece(*BOTH, "cap"),)))
    if "scores" in side.acts_on:
        bias = f"+ {label}"
        stages.append(Stage(max(52, length_for(bias)), (Piece(*BOTH, bias, "bias", "position"),)))
    softmax = ATTENTION_SOFTMAXES.entries[side.config.attention_softmax].label
    stages += [Stage(max(54, length_for(softmax)), (Piece(*BOTH, softmax),)), Stage(22, (Piece(0, 1, "· V"),))]
    if side.config.attention_gate:
        stages.append(Stage(length_for("× gate"), (Piece(0, 1, "× gate"),)))
    return stages


def length_for(label: str) -> float:
    """Of a step, so that its label stands within it."""
    return SMALL_CHARACTER * len(label) + 2 * GAP


def mlp_stages(side: DrawnSide) -> list[Stage]:
    """Up, the activation, down; a gate is a second matrix up."""
    up = Piece(0, 1, "up", "widens")
    gated = (Piece(0, 0.5, "up", "widens"), Piece(0.5, 1, "gate", "widens"))
    return [
        Stage(36, gated if side.is_gated else (up,)),
        Stage(max(58, length_for(side.activation_label)), (Piece(0, 1, side.activation_label, part="mlp"),)),
        Stage(36, (Piece(0, 1, "down", "narrows"),)),
    ]


def whole_length(stages: Sequence[Stage]) -> float:
    return sum(stage.length for stage in stages) + GAP * (len(stages) - 1)


def cells_in(room: Room, stages: Sequence[Stage]) -> tuple[list[PlacedPiece], list[str]]:
    """Every cell, and the paths of the wires between them."""
    cells, wires = [], []
    loose: dict[float, float] = {}  # wires that have left a cell and not arrived: where across -> since where along
    along = 0.0
    for stage in stages:
        for piece in stage.pieces:
            place = room.rectangle(along, stage.length, piece.low, piece.high)
            cells.append(PlacedPiece(*place, piece, room.outline(piece.shape, *place)))
            arriving = [across for across in loose if piece.low < across < piece.high]
            wires += [room.wire(across, loose.pop(across), along) for across in arriving]
        for piece in stage.pieces:
            middle = (piece.low + piece.high) / 2
            loose |= dict.fromkeys(piece.leaves or (middle,), along + stage.length)
        along += stage.length + GAP
    return cells, wires
