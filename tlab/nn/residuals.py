"""The residual layout: how attention and the MLP are put around the residual stream, and where the norms stand.

A block has two branches, attention and the MLP. A `Branch` is a sublayer f with the norms before and after it; a layout
sees both branches and says what each of them reads and how the stream goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple

from tlab.nn.norms import Norm
from tlab.nn.params import NO_RECORD, GradientRecord, ParamSpace
from tlab.registry import Registry
from tlab.types import Array

RESIDUALS: Registry[type[Residual]] = Registry("residual")

MakeNorm = Callable[[ParamSpace, str], Norm]
PLACES = ("in", "out", "sum")
"""Where a norm may stand: norm_sum(x + norm_out(f(norm_in(x))))."""


class BranchTrace(NamedTuple):
    """What one branch made of the stream."""

    sublayer: Any  # AttentionTrace or MlpTrace
    added: Array  # (B, T, C), what it adds to the stream
    norm_in: Any  # caches of its norms, None where there is none
    norm_out: Any


class ResidualTrace(NamedTuple):
    """One addition to the stream: y = x + added, normed where the layout has a norm there."""

    x: Array  # (B, T, C), the stream before
    branch: BranchTrace
    y: Array  # (B, T, C), the stream after
    norm: Any = None  # cache of the norm that the layout runs itself: that of the sum, or one of its own

    @property
    def sublayer(self) -> Any:
        """AttentionTrace or MlpTrace."""
        return self.branch.sublayer

    @property
    def added(self) -> Array:
        """What was added to the stream, (B, T, C)."""
        return self.branch.added


TwoResiduals = tuple[ResidualTrace, ResidualTrace]
"""What went on in one block: the addition of attention, then that of the MLP."""


class Branch:
    """norm_out(f(norm_in(x))): a sublayer f with the norms around it, each where the layout has one.

    `norm_sum` is run by the layout: it norms the stream after the branch was added.
    """

    def __init__(self, sublayer: Any, norms: Mapping[str, Norm | None]) -> None:
        self.sublayer = sublayer
        self.norm_in, self.norm_out, self.norm_sum = (norms.get(place) for place in PLACES)

    def forward(self, x: Array, *shared: Any) -> tuple[Array, BranchTrace]:
        """x (B, T, C) -> what is added to the stream, (B, T, C).

        Attention may be given what it shares: the past of a text, and the first block's values.
        """
        h, norm_in = self.norm_in.forward(x) if self.norm_in else (x, None)
        f, sublayer = self.sublayer.forward(h, *shared)
        added, norm_out = self.norm_out.forward(f) if self.norm_out else (f, None)
        return added, BranchTrace(sublayer, added, norm_in, norm_out)

    def backward(self, dadded: Array, trace: BranchTrace, record: GradientRecord = NO_RECORD, *shared: Any) -> Array:
        """The gradient of what was added -> that of what the branch read; both (B, T, C)."""
        record(added=dadded)
        df = self.norm_out.backward(dadded, trace.norm_out) if self.norm_out else dadded
        dh = self.sublayer.backward(df, trace.sublayer, record, *shared)
        return self.norm_in.backward(dh, trace.norm_in) if self.norm_in else dh


def declare_norms(layout: type[Residual], space: ParamSpace, name: str, make_norm: MakeNorm) -> dict[str, Norm]:
    """The norms of one branch by their place: the first is called `name`, others `name_out` or `name_sum`."""
    first, *_ = layout.norm_places or ("",)
    return {place: make_norm(space, name if place == first else f"{name}_{place}") for place in layout.norm_places}


RunForward = Callable[[Array], tuple[Array, BranchTrace]]
RunBackward = Callable[[Array, BranchTrace], Array]
Apply = Callable[[Array], Array]


class Residual:
    """The contract.

    `forward(x, attention, mlp) -> (y, trace)`: given are the forward passes of the two branches, x -> (added, trace).
    `backward(dy, trace, attention, mlp) -> dx`: likewise their backward passes, (dadded, trace) -> dx.
    Whatever the branches read, the stream is a sum: first attention is added to it, then the MLP, and the trace holds
    these two steps. A norm stated in `norm_places` is run by the branch it belongs to; that of the sum by the layout.
    """

    norm_places: ClassVar[tuple[str, ...]] = ()
    """Which of `PLACES` has a norm, for each branch."""
    final_norm: ClassVar[bool]
    """Whether the stream needs one more norm before the head."""
    only_norms_differ: ClassVar[bool] = False
    """Whether this is `Sequential` in all but `norm_places`: without norms, all such layouts are one function."""
    mlp_reads_sum: ClassVar[bool | None] = None
    """Whether the MLP reads the stream that attention was added to (True) or what attention read (False), and both are
    added as they are; None for any other form."""

    def __init__(self, space: ParamSpace, name: str, branches: tuple[Branch, Branch], make_norm: MakeNorm) -> None:
        self.branches = branches

    def __init_subclass__(cls) -> None:
        if not set(cls.norm_places) <= set(PLACES):
            raise ValueError(f"{cls.__name__}.norm_places = {cls.norm_places}: allowed are {', '.join(PLACES)}")
        if not vars(cls).keys().isdisjoint({"__init__", "forward", "backward"}):  # it differs in more
            cls.only_norms_differ = vars(cls).get("only_norms_differ", False)
            cls.mlp_reads_sum = vars(cls).get("mlp_reads_sum")

    def forward(self, x: Array, attention: RunForward, mlp: RunForward) -> tuple[Array, TwoResiduals]:
        raise NotImplementedError

    def backward(self, dy: Array, trace: TwoResiduals, attention: RunBackward, mlp: RunBackward) -> Array:
        raise NotImplementedError


class Sequential(Residual):
    """x = norm_sum(x + branch(x)), for attention and then for the MLP, which works on what has come of it."""

    only_norms_differ = True
    mlp_reads_sum = True

    def forward(self, x: Array, attention: RunForward, mlp: RunForward) -> tuple[Array, TwoResiduals]:
        residuals = []
        for run, branch in zip((attention, mlp), self.branches, strict=True):
            added, branch_trace = run(x)
            total = x + added  # (B, T, C)
            y, norm_cache = branch.norm_sum.forward(total) if branch.norm_sum else (total, None)
            residuals.append(ResidualTrace(x, branch_trace, y, norm_cache))
            x = y
        return x, (residuals[0], residuals[1])

    def backward(self, dy: Array, trace: TwoResiduals, attention: RunBackward, mlp: RunBackward) -> Array:
        for run, branch, residual in zip((mlp, attention), self.branches[::-1], trace[::-1], strict=True):
            dtotal = branch.norm_sum.backward(dy, residual.norm) if branch.norm_sum else dy  # (B, T, C)
            dy = dtotal + run(dtotal, residual.branch)  # along the shortcut, and through the branch
        return dy


@RESIDUALS.add("pre", label="Pre-LN", formula="x + f(\\mathrm{norm}(x))", source="GPT-2; Xiong et al. 2020")
class PreNorm(Sequential):
    """Normalizes what attention and the MLP read; the residual stream itself passes unchanged.

    Notice: the gradient reaches every block along the bare sum. So it learns without warm-up as well, though it may end
    a little lower with one. The stream grows with depth, and later blocks weigh less and less in it.
    """

    norm_places = ("in",)
    final_norm = True

    @staticmethod
    def reference(x: Array, f: Apply, norm: Apply) -> Array:
        return x + f(norm(x))


@RESIDUALS.add("post", label="Post-LN", formula="\\mathrm{norm}(x + f(x))", source="Vaswani et al. 2017")
class PostNorm(Sequential):
    """Normalizes the residual stream itself after each addition, as in the original transformer. No final norm follows.

    Notice: every gradient passes through every norm on its way down. At the start the last blocks get large
    gradients whatever the depth, and without warm-up a deep model may never recover from its first steps.
    """

    norm_places = ("sum",)
    final_norm = False

    @staticmethod
    def reference(x: Array, f: Apply, norm: Apply) -> Array:
        return norm(x + f(x))


@RESIDUALS.add(
    "sandwich",
    label="Sandwich-LN",
    formula="x + \\mathrm{norm}_\\mathrm{out}(f(\\mathrm{norm}(x)))",
    source="Ding et al. 2021 (CogView)",
)
class SandwichNorm(Sequential):
    """Normalizes both what the sublayer reads and what it adds, so that each addition has a learned size.

    Notice: the stream is as free as in Pre-LN, but no single block can flood it. With GPT-2's small initial
    weights it also means that each block adds at full size from the first step.
    """

    norm_places = ("in", "out")
    final_norm = True

    @staticmethod
    def reference(x: Array, f: Apply, norm: Apply, norm_out: Apply) -> Array:
        return x + norm_out(f(norm(x)))


@RESIDUALS.add(
    "inside",
    label="Norm inside",
    formula="x + \\mathrm{norm}(f(x))",
    source="Liu et al. 2021 (Swin Transformer V2); OLMo 2 2024",
)
class InsideNorm(Sequential):
    """Normalizes only what the sublayer adds; the sublayer itself reads the stream as it is.

    Notice: as in Pre-LN the stream passes unchanged, and as in Sandwich-LN each block adds at a learned size. But a
    stream that has grown reaches attention and the MLP at its full size.
    """

    norm_places = ("out",)
    final_norm = True

    @staticmethod
    def reference(x: Array, f: Apply, norm: Apply) -> Array:
        return x + norm(f(x))


@RESIDUALS.add(
    "parallel",
    label="Parallel",
    formula="x + \\mathrm{attention}(\\mathrm{norm}_1(x)) + \\mathrm{mlp}(\\mathrm{norm}_2(x))",
    source="Wang & Komatsuzaki 2021 (GPT-J); Black et al. 2022 (GPT-NeoX)",
)
class Parallel(Residual):
    """Lets attention and the MLP read the same stream, each through its norm, and adds both to it.

    Notice: the MLP works on what earlier blocks have brought together, and not on what attention brings in its own
    block: along the depth there are half as many steps. Both could be computed at the same time.
    """

    norm_places = ("in",)
    final_norm = True
    mlp_reads_sum = False

    @staticmethod
    def reference(x: Array, attention: Apply, norm1: Apply, mlp: Apply, norm2: Apply) -> Array:
        return x + attention(norm1(x)) + mlp(norm2(x))

    def forward(self, x: Array, attention: RunForward, mlp: RunForward) -> tuple[Array, TwoResiduals]:
        added, attention_trace = attention(x)
        between = x + added  # (B, T, C)
        added, mlp_trace = mlp(x)
        y = between + added  # (B, T, C)
        return y, (ResidualTrace(x, attention_trace, between), ResidualTrace(between, mlp_trace, y))

    def backward(self, dy: Array, trace: TwoResiduals, attention: RunBackward, mlp: RunBackward) -> Array:
        dx = dy + mlp(dy, trace[1].branch)  # along the shortcut, and through the branches
        return dx + attention(dy, trace[0].branch)
