"""What is measured: one table of cases, each with its sides, and the targets that the figures are held against.

To add a peer, write a job (see `benchmarks.worker`) and name it as one more `Side` of a case.
"""

from __future__ import annotations

import dataclasses
import math
from typing import NamedTuple

from benchmarks.machine import PerKind
from tlab.cost import step_flops
from tlab.nn.config import ModelConfig

NANO = ModelConfig(
    vocab_size=65, context_length=64, hidden_dim=128, num_layers=4, num_heads=4,
    mlp_ratio=4, position="learned", bias=False, embedding_scale=1,
)  # fmt: skip
DEFAULT = ModelConfig(vocab_size=65)
LONG = dataclasses.replace(DEFAULT, context_length=256)
SMALL = dataclasses.replace(NANO, context_length=128, hidden_dim=384, num_layers=6, num_heads=6)


class Size(NamedTuple):
    """A model and how many sequences it reads at once."""

    config: ModelConfig
    batch_size: int

    @property
    def words(self) -> str:
        """As a title says it."""
        c = self.config
        return f"{c.num_layers} layers, {c.hidden_dim} wide, batch {self.batch_size} x {c.context_length}"


BPE_SIZE = "default, vocabulary 1,024"
LARGE_SIZE = "large"
LARGE = dataclasses.replace(
    NANO, vocab_size=8192, context_length=256, hidden_dim=512, num_layers=12, num_heads=8
)  # as deep as GPT-2, two thirds as wide
LONG_SIZES = {f"nano, context {T:,}": Size(dataclasses.replace(NANO, context_length=T), 2) for T in (512, 1024)}
SIZES = {
    "default": Size(DEFAULT, 16), "nano": Size(NANO, 12), "small": Size(SMALL, 16), "long": Size(LONG, 1),
    BPE_SIZE: Size(dataclasses.replace(DEFAULT, vocab_size=1024), 16), LARGE_SIZE: Size(LARGE, 4), **LONG_SIZES,
}  # fmt: skip
TRAINED = ("default", "nano", "small")
MEASURED_MEMORY = (*TRAINED, LARGE_SIZE, *LONG_SIZES)

# Of the rate of large products: more is within reach where these are slow.
SHARE_TARGETS = {"default": PerKind(0.58, 0.45), "nano": PerKind(0.76, 0.62), "small": PerKind(0.90, 0.75)}

# What people mean by "a transformer". Each replaces the switches of a size; "own" leaves the size as it is.
FAMILIES: dict[str, dict[str, object]] = {
    "own": {},
    "gpt2": {
        "norm": "layernorm", "activation": "gelu", "residual": "pre", "position": "learned", "bias": True,
        "embedding_scale": 1.0,
    },
    "llama": {
        "norm": "rmsnorm", "activation": "swiglu", "residual": "pre", "position": "rope", "bias": False,
        "embedding_scale": 1.0,
    },
    "original": {
        "norm": "layernorm", "activation": "relu", "residual": "post", "position": "sinusoidal", "bias": True,
    },
    "sandwich": {
        "norm": "layernorm", "activation": "gelu", "residual": "sandwich", "position": "learned", "bias": True,
        "embedding_scale": 1.0,
    },
}  # fmt: skip
FAMILY_WORDS = {
    "gpt2": "GPT-2: Pre-LN, LayerNorm, GELU, learned positions",
    "llama": "Llama: Pre-LN, RMSNorm, SwiGLU, RoPE",
    "original": "the paper of 2017: Post-LN, LayerNorm, ReLU, sinusoids",
    "sandwich": "Sandwich-LN, LayerNorm, GELU, learned positions",
}


def size_of(size: str, family: str = "own") -> Size:
    """A size with a family's switches.

    Llama's MLP has int(8 C / 3) hidden units, the width that glassllm has fixed; the 2017 paper scales embeddings by
    sqrt(C).
    """
    config, batch_size = SIZES[size]
    switches = dict(FAMILIES[family])
    if family == "llama":
        switches["mlp_ratio"] = int(8 * config.hidden_dim / 3) * 1.5 / config.hidden_dim
    if family == "original":
        switches["embedding_scale"] = math.sqrt(config.hidden_dim)
    return Size(dataclasses.replace(config, **switches), batch_size)


class Side(NamedTuple):
    """One program of a comparison, in a process of its own."""

    label: str
    job: str  # "module:function", which makes a callable that does n units of work
    arguments: tuple[str, ...] = ()
    target: float | PerKind | None = None  # our time over this side's time must not be more
    modules: tuple[str, ...] = ()  # what must be installed
    threads: int = 1  # processors that the process may run on
    blas_threads: int | None = None  # of NumPy's BLAS, where it is not as many as `threads`


class Case(NamedTuple):
    """Sides that do the same work; the first one is ours, and every other one is compared with it."""

    name: str  # what it is selected by
    title: str
    unit: str  # of the work
    units: int  # of work in one turn: enough for a turn of about half a second
    sides: tuple[Side, ...]
    most_seconds: float | None = None  # a unit of our work must not take longer
    size: str = ""  # a key of SIZES, where the case has one
    threads: int = 1
    operations: float | None = None  # floating-point ones in the matrix products of a unit of our work


OURS = "benchmarks.jobs:training"
TORCH, JAX, TEXTBOOK, GLASSLLM, NANOGPT_TORCH = (
    f"benchmarks.peers.{module}:training" for module in ("pytorch", "jax_peer", "textbook", "glassllm_peer", "nanogpt")
)
UNITS = {"default": 40, "nano": 12, "small": 1, LARGE_SIZE: 1, "nano, context 512": 4, "nano, context 1,024": 2}
# Ours over theirs, one thread.
STEP_TARGETS: dict[str, dict[str, float | PerKind]] = {
    "default": {"eager": PerKind(0.75, 0.50), "compile": 0.80, "jax": 0.70, "textbook": 0.45, "glassllm": 0.35},
    "nano": {"eager": PerKind(0.80, 0.50), "compile": 0.80, "jax": 0.70, "textbook": 0.45, "glassllm": 0.35},
    "small": {"eager": PerKind(0.85, 0.50)},
}
LONG_TARGET = 0.9  # of the time that PyTorch takes with its fused attention
TWO_THREADS_TARGET = PerKind(0.80, 0.55)  # nano, against the best peer with two threads


def step_case(size: str) -> Case:
    """A training step, one thread: batch, forward, backward, clipping, AdamW."""
    target = STEP_TARGETS[size].get
    own = (size, "own", "1")
    sides = [
        Side("tlab", OURS, own),
        Side("PyTorch eager", TORCH, (*own, "eager"), target("eager"), ("torch",)),
        # Ours keeps freed memory (tlab.machine), so PyTorch may as well.
        Side("PyTorch eager, keeping freed memory", TORCH, (*own, "keep"), target("eager"), ("torch",)),
        Side("torch.compile", TORCH, (*own, "compile"), target("compile"), ("torch",)),
        Side("JAX jit", JAX, own, target("jax"), ("jax",)),
        Side("textbook NumPy", TEXTBOOK, own, target("textbook")),
    ]
    if size == "nano":
        sides.insert(4, Side("nanoGPT's recipe, anew", NANOGPT_TORCH, ("1",), None, ("torch",)))
    return Case(
        "step",
        f"{size}: {size_of(size).words}",
        "training step",
        UNITS[size],
        tuple(sides),
        size=size,
        operations=step_flops(*size_of(size)),
    )


def long_case(size: str) -> Case:
    """A training step on long texts, one thread: PyTorch's fused attention keeps no weights."""
    own = (size, "own", "1")
    sides = (
        Side("tlab", OURS, own),
        Side("PyTorch eager", TORCH, (*own, "eager"), LONG_TARGET, ("torch",)),
        Side("torch.compile", TORCH, (*own, "compile"), None, ("torch",)),
    )
    return Case("long", f"{size}: {size_of(size).words}", "training step", UNITS[size], sides, size=size)


def large_case() -> Case:
    """A training step of a deep model with many tokens, one thread."""
    own = (LARGE_SIZE, "own", "1")
    size = size_of(LARGE_SIZE)
    sides = (Side("tlab", OURS, own), Side("PyTorch eager", TORCH, (*own, "eager"), None, ("torch",)))
    title = f"{LARGE_SIZE}: {size.words}, vocabulary {size.config.vocab_size:,}"
    return Case(
        "large", title, "training step", UNITS[LARGE_SIZE], sides, size=LARGE_SIZE, operations=step_flops(*size)
    )


def two_thread_case(size: str) -> Case:
    """The same with two processors for each side."""
    own = (size, "own", "2")
    target = TWO_THREADS_TARGET if size == "nano" else None
    sides = (
        Side("tlab", OURS, own, threads=2, blas_threads=1),
        Side("tlab, two threads in the BLAS instead", OURS, (size, "own", "1"), threads=2),
        Side("tlab, one thread", OURS, (size, "own", "1"), threads=1),
        Side("PyTorch eager", TORCH, (*own, "eager"), target, ("torch",), threads=2),
        Side("torch.compile", TORCH, (*own, "compile"), target, ("torch",), threads=2),
        Side("JAX jit", JAX, own, target, ("jax",), threads=2),
    )
    words = f"{size}, two threads: {size_of(size).words}"
    operations = step_flops(*size_of(size))
    return Case("threads", words, "training step", UNITS[size], sides, size=size, threads=2, operations=operations)


def family_case(size: str, family: str) -> Case:
    """A training step of one of the families, one thread."""
    arguments = (size, family, "1")
    targets = STEP_TARGETS[size]
    sides = [
        Side("tlab", OURS, arguments),
        Side("PyTorch eager", TORCH, (*arguments, "eager"), targets["eager"], ("torch",)),
        Side("torch.compile", TORCH, (*arguments, "compile"), targets["compile"], ("torch",)),
        Side("JAX jit", JAX, arguments, targets["jax"], ("jax",)),
    ]
    if family == "llama":
        sides.append(Side("glassllm", GLASSLLM, arguments, targets["glassllm"], ("glassllm",)))
    title = f"{size}, {FAMILY_WORDS[family]}"
    operations = step_flops(*size_of(size, family))
    return Case("families", title, "training step", UNITS[size], tuple(sides), size=size, operations=operations)


DECODE = "benchmarks.jobs:generation"
DECODE_CASES = (
    Case(
        "decode",
        "default width and depth as GPT-2, all of a context of 64, one text at a time",
        "token",
        8 * 63,
        (
            Side("tlab", DECODE, ("default", "gpt2", "cached", "1", "63")),
            Side("PyTorch, tight loop", "benchmarks.peers.pytorch:generation", ("default", "63"), 0.60, ("torch",)),
            Side(
                "Hugging Face generate", "benchmarks.peers.huggingface:generation", ("default", "63"), 1 / 20,
                ("torch", "transformers"),
            ),
        ),
        size="default",
    ),
    Case(
        "decode",
        "the last 64 tokens of a context of 256, default width and depth, a prompt of 192 read first",
        "token",
        8 * 64,  # eight texts a turn: a turn of milliseconds would measure how a core wakes up
        (
            Side("cached", DECODE, ("long", "own", "cached", "192", "64")),
            Side("uncached", DECODE, ("long", "own", "uncached", "192", "64"), target=0.2),
        ),
        size="default",
    ),
    Case(
        "decode",
        "all of a context of 256 from its first token on: the gain grows with the length, this is its mean",
        "token",
        4 * 255,
        (
            Side("cached", DECODE, ("long", "own", "cached", "1", "255")),
            Side("uncached", DECODE, ("long", "own", "uncached", "1", "255")),
        ),
        size="default",
    ),
    Case(
        "decode",
        "the default model, the window sliding on",
        "token",
        2000,
        (Side("cached", DECODE, ("default", "own", "cached", "1", "2000")),),
        most_seconds=0.2e-3,
        size="default",
    ),
)  # fmt: skip


BPE_OPERATIONS = step_flops(*SIZES[BPE_SIZE]) / step_flops(*SIZES["default"])

BPE_CASES = (
    Case(
        "bpe",
        f"the default size with 1,024 tokens, {BPE_OPERATIONS:.2f} times the operations",
        "training step",
        UNITS["default"],
        (
            Side("1,024 tokens", OURS, (BPE_SIZE, "own", "1")),
            Side("65 characters", OURS, ("default", "own", "1"), target=BPE_OPERATIONS + 0.3),
        ),
        size="default",
    ),
    *(
        Case(
            "bpe",
            f"byte pairs of 1 MB of text, {size:,} tokens",
            "text",
            1,
            (Side("learned", "benchmarks.jobs:learning_bpe", (str(size),)),),
            most_seconds=2.0,
        )
        for size in (1024, 8192)
    ),
)


def import_case(what: str, title: str) -> Case:
    """Imports in fresh processes, against NumPy's own and against PyTorch's."""
    job = "benchmarks.jobs:importing"
    sides = (
        Side("import tlab", job, ("tlab", what)),
        Side("import numpy", job, ("numpy", what), 1.5),
        Side("import torch", job, ("torch", what), None, ("torch",)),
        Side("import jax", job, ("jax", what), None, ("jax",)),
    )
    return Case("import", title, "import" if what == "statement" else "process", 1, sides)


START_CASE = Case(
    "import",
    "from nothing to the first training step done, nano size: process, import, model, step",
    "process",
    1,
    (
        Side("tlab", "benchmarks.jobs:starting", (OURS, "nano", "own", "1")),
        Side("PyTorch eager", "benchmarks.jobs:starting", (TORCH, "nano", "own", "1", "eager"), None, ("torch",)),
        Side("JAX jit", "benchmarks.jobs:starting", (JAX, "nano", "own", "1"), None, ("jax",)),
    ),
)


def limit_case(size: str) -> Case:
    """A step beside its products alone, and beside as many operations at the full rate."""
    share = SHARE_TARGETS[size]
    sides = (
        Side("tlab", OURS, (size, "own", "1")),
        Side("its matrix products alone", "benchmarks.limit:products", (size, "own")),
        Side(
            "as many operations in large products", "benchmarks.limit:large_products", (size, "own"),
            PerKind(*(1 / most for most in share)),
        ),
    )  # fmt: skip
    return Case("limit", f"{size}: {size_of(size).words}", "training step", UNITS[size], sides, size=size)


RACE_CASE = Case(
    "race",
    "a step of each side of the race to 1.88, 4 layers, 128 wide, batch 12 x 64",
    "training step",
    UNITS["nano"],
    (
        Side("tlab", "benchmarks.contestants:stepping", ("tlab",)),
        Side("nanoGPT in PyTorch", "benchmarks.contestants:stepping", ("nanoGPT in PyTorch",), None, ("torch",)),
    ),
    size="nano",
)


def sink_case(title: str, calls: int, *words: str) -> Case:
    """Ways to write one thing, the one that the lab uses first: names in `benchmarks.sinks.SINKS`."""
    return Case("sinks", title, "call", calls, tuple(Side(word, "benchmarks.sinks:sink", (word,)) for word in words))


SINK_CASES = (
    sink_case("a third power, 768 x 512", 20, "x * x * x", "x**3"),
    sink_case(
        "the gradient of an embedding, 768 tokens, 65 rows of 128", 200,
        "embedding gradient as a one-hot product", "embedding gradient by np.add.at",
        "embedding gradient by sorting, np.add.reduceat",
    ),
    sink_case(
        "a constant of NumPy's own type, 768 x 512", 200,
        "a Python float as constant: float32 stays", "np.sqrt(2 / np.pi) as constant: all becomes float64",
    ),
    sink_case("a mean of each row, 768 x 128", 2000, "row means as a product with a vector", "row means by x.mean(-1)"),
    sink_case("a sum of each column, 768 x 512", 2000, "column sums as a product with ones", "column sums by x.sum(0)"),
    sink_case(
        "attention scores of 12 x 4 heads, 64 x 32", 200,
        "heads as views, straight into the product", "heads copied first, each contiguous",
    ),
    sink_case("an Adam update of 790 thousand weights", 50, "Adam on one flat vector", "Adam tensor by tensor"),
    sink_case(
        "twelve arrays of 1.5 MB made and dropped", 50,
        "allocator told to keep freed memory", "allocator as glibc has it",
    ),
)  # fmt: skip


CASES: tuple[Case, ...] = (
    *(step_case(size) for size in TRAINED),
    *(family_case(size, family) for size in ("nano", "default") for family in FAMILY_WORDS),
    *(two_thread_case(size) for size in TRAINED),
    *(long_case(size) for size in LONG_SIZES),
    large_case(),
    *DECODE_CASES,
    *BPE_CASES,
    import_case("statement", "the import statement alone, each in a fresh process"),
    import_case("process", "the whole process, from its start to its end"),
    START_CASE,
    *(limit_case(size) for size in TRAINED),
    *SINK_CASES,
    RACE_CASE,
)
