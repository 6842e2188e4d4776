"""The nonlinearity of the MLP: without one, two linear layers would be a single linear layer.

A gated activation has two inputs, `x` and `gate`; everything else about it is the same.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar, NamedTuple

import numpy as np

from tlab.registry import Registry
from tlab.types import Array

ACTIVATIONS: Registry[type[Activation]] = Registry("activation")


class Activation:
    """The contract. Arrays of any one shape in, the same shape out, entry by entry.

    Not gated: reference(x) -> y, forward(x) -> (y, cache), backward(dy, cache) -> dx.
    Gated: reference(x, gate) -> y, forward(x, gate) -> (y, cache), backward(dy, cache) -> (dx, dgate).
    """

    gated: ClassVar[bool] = False

    # What a subclass must define. The signatures depend on `gated`, hence Any.
    reference: Any
    forward: Any
    backward: Any


@ACTIVATIONS.add("relu", label="ReLU", formula=r"\max(0,\ x)", source="Nair & Hinton 2010")
class Relu(Activation):
    """Passes what is positive, silences the rest.

    Notice: left of zero the slope is exactly 0. A unit that is negative for every token gets no gradient at all, and
    stays dead unless what it reads changes.
    """

    @staticmethod
    def reference(x: Array) -> Array:
        return np.where(x > 0, x, 0)

    def forward(self, x: Array) -> tuple[Array, Array]:
        return np.maximum(x, 0), x

    def backward(self, dy: Array, x: Array) -> Array:
        return dy * (x > 0)


class GeluCache(NamedTuple):
    """What GELU keeps of a forward pass, all of x's shape."""

    x: Array
    cdf: Array  # what x was multiplied with, between 0 and 1
    y: Array


@ACTIVATIONS.add(
    "gelu",
    label="GELU",
    formula=r"\tfrac{x}{2}\left(1 + \tanh\left(\sqrt{2/\pi}\,(x + 0.044715\,x^3)\right)\right)",
    source="Hendrycks & Gimpel 2016, tanh form",
)
class Gelu(Activation):
    """Weights each input by the probability that a standard normal falls below it, here approximated by a tanh.

    Notice: left of zero it dips to -0.17 before it flattens out, so a unit that ReLU would silence still gets some
    gradient.
    """

    SLOPE: ClassVar[float] = math.sqrt(2.0 / math.pi)
    CUBIC: ClassVar[float] = math.sqrt(2.0 / math.pi) * 0.044715

    @staticmethod
    def reference(x: Array) -> Array:
        # x * x * x and not x**3: NumPy's power of float32 takes several hundred times as long.
        return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)))

    def forward(self, x: Array) -> tuple[Array, GeluCache]:
        u = x * x  # u = SLOPE x + CUBIC x^3
        u *= self.CUBIC
        u += self.SLOPE
        u *= x
        cdf = np.tanh(u, out=u)  # cdf = (1 + tanh(u)) / 2
        cdf += 1
        cdf *= 0.5
        y = x * cdf
        return y, GeluCache(x, cdf, y)

    def backward(self, dy: Array, cache: GeluCache) -> Array:
        x, cdf, y = cache
        slope = x * x  # 2u' = 2 SLOPE + 6 CUBIC x^2
        slope *= 6 * self.CUBIC
        slope += 2 * self.SLOPE
        # (1 + tanh(u)) / 2 = sigmoid(2u), so cdf' = cdf (1 - cdf) 2u', and y = x cdf has the derivative
        # cdf + x cdf' = cdf (1 + (x - x cdf) 2u') = cdf (1 + (x - y) 2u').
        dx = np.multiply(x - y, slope, out=slope)  # in the same memory
        dx += 1
        dx *= cdf
        dx *= dy
        return dx


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)), by way of tanh: it never overflows, and NumPy's tanh is twice as fast as its exp."""
    y = x * 0.5
    np.tanh(y, out=y)
    y += 1
    y *= 0.5
    return y


def swish_slope(x: Array, sigma: Array) -> Array:
    """d(x sigmoid(x))/dx = sigma (1 + x (1 - sigma)), given sigma = sigmoid(x)."""
    slope = 1 - sigma
    slope *= x
    slope += 1
    slope *= sigma
    return slope


class SwishCache(NamedTuple):
    """What Swish keeps of a forward pass, both of x's shape."""

    x: Array
    sigma: Array  # sigmoid(x), what x was multiplied with


@ACTIVATIONS.add("swish", label="Swish (SiLU)", formula=r"x\,\sigma(x)", source="Ramachandran et al. 2017")
class Swish(Activation):
    """Lets each input decide, through a sigmoid, how much of itself passes.

    Notice: it looks like GELU with a wider bend, and dips lower: to -0.28 at x = -1.28.
    """

    @staticmethod
    def reference(x: Array) -> Array:
        return x / (1 + np.exp(-x))

    def forward(self, x: Array) -> tuple[Array, SwishCache]:
        sigma = sigmoid(x)
        return x * sigma, SwishCache(x, sigma)

    def backward(self, dy: Array, cache: SwishCache) -> Array:
        dx = swish_slope(*cache)
        dx *= dy
        return dx


class SwiGluCache(NamedTuple):
    """What SwiGLU keeps of a forward pass, all of x's shape."""

    x: Array
    gate: Array
    sigma: Array  # sigmoid(gate)
    activated_gate: Array  # swish(gate), what x was multiplied with


@ACTIVATIONS.add(
    "swiglu",
    label="SwiGLU",
    formula=r"\mathrm{swish}(x W_\mathrm{gate}) \odot (x W_\mathrm{up})",
    source="Shazeer 2020",
)
class SwiGlu(Activation):
    """Multiplies one projection of the token by the swish of another, which acts as a gate.

    Notice: three matrices instead of two, so the hidden width shrinks to two thirds to keep the parameters equal.
    """

    gated = True

    @staticmethod
    def reference(x: Array, gate: Array) -> Array:
        return x * gate / (1 + np.exp(-gate))

    def forward(self, x: Array, gate: Array) -> tuple[Array, SwiGluCache]:
        sigma = sigmoid(gate)
        activated_gate = gate * sigma
        return x * activated_gate, SwiGluCache(x, gate, sigma, activated_gate)

    def backward(self, dy: Array, cache: SwiGluCache) -> tuple[Array, Array]:
        x, gate, sigma, activated_gate = cache
        dx = dy * activated_gate
        dgate = swish_slope(gate, sigma)
        dgate *= x
        dgate *= dy
        return dx, dgate


@ACTIVATIONS.add("relu2", label="ReLU squared", formula=r"\max(0,\ x)^2", source="So et al. 2021 (Primer)")
class ReluSquared(Activation):
    """Passes what is positive, squared, and silences the rest.

    Notice: its slope is not 1 but grows with the input, and starts from 0: there is no kink. So a unit that is large
    for a token also learns most from it, and one that is just above zero next to nothing.
    """

    @staticmethod
    def reference(x: Array) -> Array:
        return np.where(x > 0, x * x, 0)

    def forward(self, x: Array) -> tuple[Array, Array]:
        positive = np.maximum(x, 0)
        return positive * positive, positive

    def backward(self, dy: Array, positive: Array) -> Array:
        dx = dy * positive
        dx *= 2
        return dx


class GatedCache(NamedTuple):
    """What an activation of the gate keeps of a forward pass."""

    x: Array
    activated_gate: Array  # what x was multiplied with, of its shape
    gate: Any  # the cache of the gate's own activation


class GatedLinearUnit(Activation):
    """The product of one projection and an activation of another; which one is all that a subclass says."""

    gated = True

    gate_activation: ClassVar[Activation]

    def forward(self, x: Array, gate: Array) -> tuple[Array, GatedCache]:
        activated_gate, gate_cache = self.gate_activation.forward(gate)
        return x * activated_gate, GatedCache(x, activated_gate, gate_cache)

    def backward(self, dy: Array, cache: GatedCache) -> tuple[Array, Array]:
        dactivated_gate = dy * cache.x
        return dy * cache.activated_gate, self.gate_activation.backward(dactivated_gate, cache.gate)


@ACTIVATIONS.add(
    "geglu",
    label="GEGLU",
    formula=r"\mathrm{gelu}(x W_\mathrm{gate}) \odot (x W_\mathrm{up})",
    source="Shazeer 2020",
)
class GeGlu(GatedLinearUnit):
    """Multiplies one projection of the token by the GELU of another, which acts as a gate.

    Notice: SwiGLU with a sharper bend: a negative gate turns the sign of what it lets pass, of 0.17 of it at most,
    where SwiGLU's lets 0.28 pass.
    """

    gate_activation = Gelu()

    @staticmethod
    def reference(x: Array, gate: Array) -> Array:
        return x * Gelu.reference(gate)


@ACTIVATIONS.add(
    "reglu",
    label="ReGLU",
    formula=r"\max(0,\ x W_\mathrm{gate}) \odot (x W_\mathrm{up})",
    source="Shazeer 2020",
)
class ReGlu(GatedLinearUnit):
    """Multiplies one projection of the token by the positive part of another, which acts as a gate.

    Notice: no curve but the gate's kink. While the gate is negative the unit is silent, and neither of its two
    projections gets any gradient from that token.
    """

    gate_activation = Relu()

    @staticmethod
    def reference(x: Array, gate: Array) -> Array:
        return x * Relu.reference(gate)


class NormalCache(NamedTuple):
    """What the exact GELU keeps of a forward pass, all of x's shape."""

    x: Array
    cdf: Array  # the probability that a standard normal falls below x
    bell: Array  # exp(-x^2 / 2)


@ACTIVATIONS.add(
    "gelu_exact",
    label="GELU, exact",
    formula=r"x\,\Phi(x) = \tfrac{x}{2}\left(1 + \mathrm{erf}(x / \sqrt{2})\right)",
    source="Hendrycks & Gimpel 2016",
)
class ExactGelu(Activation):
    """Weights each input by the probability that a standard normal falls below it, with no approximation.

    Notice: GELU's tanh is never off by more than 0.0005, so nothing that a model learns should hang on the choice. The
    probability is exp(-x^2 / 2) times a fraction of two polynomials, as NumPy has no erf: in float64 right to 1e-15.
    """

    # Of P(standard normal < -x) = exp(-x^2 / 2) NUMERATOR(x) / DENOMINATOR(x) for x > 0, highest power first: Hart et
    # al. 1968, Computer Approximations, number 5666, as printed by West 2005, Better Approximations to Cumulative
    # Normal Functions. The first two have the ratio 1 / sqrt(2 pi), so far out the fraction is right, too.
    NUMERATOR: ClassVar[tuple[float, ...]] = (
        3.52624965998911e-02, 0.700383064443688, 6.37396220353165, 33.912866078383, 112.079291497871, 221.213596169931,
        220.206867912376,
    )  # fmt: skip
    DENOMINATOR: ClassVar[tuple[float, ...]] = (
        8.83883476483184e-02, 1.75566716318264, 16.064177579207, 86.7807322029461, 296.564248779674, 637.333633378831,
        793.826512519948, 440.413735824752,
    )  # fmt: skip
    FARTHEST: ClassVar[float] = 40.0  # from there on exp(-x^2 / 2) is 0, and x^7 is still a number in float32
    PEAK: ClassVar[float] = 1.0 / math.sqrt(2.0 * math.pi)  # of the normal density

    @staticmethod
    def reference(x: Array) -> Array:
        return 0.5 * x * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))

    def forward(self, x: Array) -> tuple[Array, NormalCache]:
        size = np.minimum(np.abs(x), self.FARTHEST)
        bell = size * size
        bell *= -0.5
        np.exp(bell, out=bell)
        tail = polynomial(self.NUMERATOR, size)  # the probability of falling below -|x|
        tail /= polynomial(self.DENOMINATOR, size)
        tail *= bell
        cdf = np.where(x > 0, 1 - tail, tail)
        return x * cdf, NormalCache(x, cdf, bell)

    def backward(self, dy: Array, cache: NormalCache) -> Array:
        x, cdf, bell = cache
        dx = x * bell  # cdf' is the density, PEAK bell
        dx *= self.PEAK
        dx += cdf
        dx *= dy
        return dx


def polynomial(coefficients: tuple[float, ...], x: Array) -> Array:
    """The value at each x, by Horner's rule; the coefficient of the highest power comes first."""
    highest, *others, constant = coefficients
    y = x * highest
    for coefficient in others:
        y += coefficient
        y *= x
    y += constant
    return y
