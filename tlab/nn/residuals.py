"""The residual layout: where the norm stands around a sublayer f (attention or the MLP) and its shortcut.

Every layout has the same contract. `run(h) -> (f(h), trace)` and `run_backward(dy, trace) -> dh` are the sublayer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

from tlab.nn.norms import Norm
from tlab.nn.params import ParamSpace
from tlab.registry import Registry
from tlab.types import Array

RESIDUALS: Registry[type[Residual]] = Registry("residual")

Run = Callable[[Array], "tuple[Array, Any]"]
RunBackward = Callable[[Array, Any], Array]
RunStep = Callable[[Array], Array]
MakeNorm = Callable[[ParamSpace, str], Norm]


class ResidualTrace(NamedTuple):
    """What a layout saw: the stream before and behind, and the caches of what stood between."""

    x: Array  # (B, T, C), the stream before
    sublayer: Any  # AttentionTrace or MlpTrace
    added: Array  # (B, T, C), what was added to the stream
    y: Array  # (B, T, C), the stream behind
    norm: Any  # cache of the norm (Post-LN: of the norm behind the sum)
    norm_out: Any = None  # cache of Sandwich's second norm


class Residual:
    """The contract, and the norm that every layout has."""

    final_norm: ClassVar[bool]
    """Whether the stream needs one more norm before the head."""
    norms_input: ClassVar[bool] = True
    """Whether the sublayer reads norm(x), and not the stream itself."""

    def __init__(self, space: ParamSpace, name: str, make_norm: MakeNorm) -> None:
        self.norm = make_norm(space, name)

    # For one new token at a time, without a trace. Where nothing but the sublayer reads a norm, the norm's scale and
    # shift are folded into the sublayer's matrices, see `Norm.fold`: then `step` has to standardize only.

    @property
    def folded_norm(self) -> Norm | None:
        """The norm that is folded into the sublayer; none as long as a layout does not say so."""
        return None

    def step(self, x: Array, run: RunStep) -> Array:
        """`forward` for one row x (C,) -> (C,)."""
        return self.forward(x, lambda h: (run(h), None))[0]

    def forward(self, x: Array, run: Run) -> tuple[Array, ResidualTrace]:
        raise NotImplementedError

    def backward(self, dy: Array, trace: ResidualTrace, run_backward: RunBackward) -> Array:
        raise NotImplementedError

    # What probes and interventions ask: here, so that a new layout answers for itself.

    def join(self, x: Array, added: Array) -> Array:
        """The stream behind, from the stream before and what is added to it; all (B, T, C)."""
        return x + added

    def share_of_added(self, part: Array, trace: ResidualTrace) -> Array:
        """What a part of the sublayer's output f becomes in `added`; the parts' shares and its offset add up to it."""
        return part

    def share_of_stream(self, part: Array, trace: ResidualTrace) -> Array:
        """What a part of x + added becomes in the stream behind; likewise."""
        return part

    @property
    def outer_norm(self) -> Norm | None:
        """The norm between the sublayer and the stream, where there is one."""
        return None

    @property
    def offset_of_added(self) -> Array | float:
        """What `added` holds whatever f is, (C,)."""
        return 0.0

    @property
    def offset_of_stream(self) -> Array | float:
        """What the stream behind holds whatever was added, (C,)."""
        return 0.0


@RESIDUALS.add("pre", label="Pre-LN", formula="x + f(\\mathrm{norm}(x))", source="GPT-2; Xiong et al. 2020")
class PreNorm(Residual):
    """Norms what the sublayer reads; the stream itself runs through untouched.

    Notice: the gradient reaches every block along the bare sum, so it trains without warm-up. The stream grows
    with depth, and later blocks weigh less and less in it.
    """

    final_norm = True

    def forward(self, x: Array, run: Run) -> tuple[Array, ResidualTrace]:
        h, norm_cache = self.norm.forward(x)
        f, sublayer_trace = run(h)
        y = x + f
        return y, ResidualTrace(x, sublayer_trace, f, y, norm_cache)

    def backward(self, dy: Array, trace: ResidualTrace, run_backward: RunBackward) -> Array:
        dh = run_backward(dy, trace.sublayer)
        dx = self.norm.backward(dh, trace.norm)
        return dy + dx

    @property
    def folded_norm(self) -> Norm:
        return self.norm

    def step(self, x: Array, run: RunStep) -> Array:
        return x + run(self.norm.standardize(x))


@RESIDUALS.add("post", label="Post-LN", formula="\\mathrm{norm}(x + f(x))", source="Vaswani et al. 2017")
class PostNorm(Residual):
    """Norms the sum: the layout of the original transformer.

    Notice: every gradient passes through every norm on its way down. At the start the last blocks get large
    gradients whatever the depth, and without warm-up a deep model may never recover from its first steps.
    """

    final_norm = False
    norms_input = False

    def forward(self, x: Array, run: Run) -> tuple[Array, ResidualTrace]:
        f, sublayer_trace = run(x)
        y, norm_cache = self.norm.forward(x + f)
        return y, ResidualTrace(x, sublayer_trace, f, y, norm_cache)

    def backward(self, dy: Array, trace: ResidualTrace, run_backward: RunBackward) -> Array:
        dsum = self.norm.backward(dy, trace.norm)
        dx = run_backward(dsum, trace.sublayer)
        return dsum + dx

    def step(self, x: Array, run: RunStep) -> Array:
        return self.norm.stretch(self.norm.standardize(x + run(x)))

    def join(self, x: Array, added: Array) -> Array:
        return self.norm.forward(x + added)[0]

    def share_of_stream(self, part: Array, trace: ResidualTrace) -> Array:
        return self.norm.share(part, trace.norm)

    @property
    def offset_of_stream(self) -> Array | float:
        return self.norm.offset


@RESIDUALS.add(
    "sandwich",
    label="Sandwich-LN",
    formula="x + \\mathrm{norm}_\\mathrm{out}(f(\\mathrm{norm}(x)))",
    source="Ding et al. 2021 (CogView)",
)
class SandwichNorm(Residual):
    """Norms what the sublayer reads and also what it adds, so that each addition has a learned size.

    Notice: the stream is as free as in Pre-LN, but no single block can flood it. With GPT-2's small initial
    weights it also means that each block speaks at full volume from the first step.
    """

    final_norm = True

    def __init__(self, space: ParamSpace, name: str, make_norm: MakeNorm) -> None:
        super().__init__(space, name, make_norm)
        self.norm_out = make_norm(space, f"{name}_out")

    def forward(self, x: Array, run: Run) -> tuple[Array, ResidualTrace]:
        h, norm_cache = self.norm.forward(x)
        f, sublayer_trace = run(h)
        added, norm_out_cache = self.norm_out.forward(f)
        y = x + added
        return y, ResidualTrace(x, sublayer_trace, added, y, norm_cache, norm_out_cache)

    def backward(self, dy: Array, trace: ResidualTrace, run_backward: RunBackward) -> Array:
        df = self.norm_out.backward(dy, trace.norm_out)
        dh = run_backward(df, trace.sublayer)
        dx = self.norm.backward(dh, trace.norm)
        return dy + dx

    @property
    def folded_norm(self) -> Norm:
        return self.norm

    def step(self, x: Array, run: RunStep) -> Array:
        f = run(self.norm.standardize(x))
        return x + self.norm_out.stretch(self.norm_out.standardize(f))

    def share_of_added(self, part: Array, trace: ResidualTrace) -> Array:
        return self.norm_out.share(part, trace.norm_out)

    @property
    def offset_of_added(self) -> Array | float:
        return self.norm_out.offset

    @property
    def outer_norm(self) -> Norm:
        return self.norm_out
