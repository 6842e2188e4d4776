"""The MLP of a block: what attention brought together is worked on here, token by token."""

from __future__ import annotations

from typing import Any, NamedTuple

from tlab.nn.activations import Activation
from tlab.nn.inits import Init
from tlab.nn.linear import Linear
from tlab.nn.params import NO_RECORD, GradientRecord, ParamSpace
from tlab.types import Array


class MlpTrace(NamedTuple):
    """Everything one MLP made of its input."""

    x: Array  # (B, T, C)
    up: Array  # (B, T, F), the activation's input
    gate: Array | None  # (B, T, F), its second input where it has one
    activation: Any  # the activation's own cache
    hidden: Array  # (B, T, F), after the activation


class Mlp:
    """y = activation(x W_up) W_down, or with a gate activation(x W_up, x W_gate) W_down.

    Notice: with the papers' ratio of 4 two thirds of a block's weights are here, and no token sees another.
    """

    def __init__(
        self,
        space: ParamSpace,
        name: str,
        hidden_dim: int,
        mlp_dim: int,
        activation: Activation,
        init: Init,
        bias: bool,
    ) -> None:
        self.activation = activation
        into = ["up", "gate"] if activation.gated else ["up"]
        self.inputs = [Linear(space, f"{name}.{part}", (hidden_dim, mlp_dim), init.matrix, bias) for part in into]
        self.down = Linear(space, f"{name}.down", (mlp_dim, hidden_dim), init.residual, bias)

    def forward(self, x: Array) -> tuple[Array, MlpTrace]:
        """x (B, T, C) -> (B, T, C)."""
        inputs = [linear.forward(x)[0] for linear in self.inputs]  # (B, T, F) each
        hidden, activation_cache = self.activation.forward(*inputs)  # (B, T, F)
        y, _ = self.down.forward(hidden)  # (B, T, C)
        gate = inputs[1] if self.activation.gated else None
        return y, MlpTrace(x, inputs[0], gate, activation_cache, hidden)

    def backward(self, dy: Array, trace: MlpTrace, record: GradientRecord = NO_RECORD) -> Array:
        """Dy (B, T, C) -> dx (B, T, C)."""
        dhidden = self.down.backward(dy, trace.hidden)  # (B, T, F)
        dinputs = self.activation.backward(dhidden, trace.activation)  # (B, T, F), two of them where it is gated
        dinputs = dinputs if self.activation.gated else (dinputs,)
        parts = [linear.backward(dinput, trace.x) for linear, dinput in zip(self.inputs, dinputs, strict=True)]
        dx = parts[0] + parts[1] if self.activation.gated else parts[0]
        record(hidden=dhidden, **dict(zip(("up", "gate"), dinputs, strict=False)), x=dx)
        return dx
