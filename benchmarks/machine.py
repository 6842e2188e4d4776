"""What the figures were measured on."""

from __future__ import annotations

import bisect
import importlib.metadata
import os
import platform
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import threadpoolctl

OPENBLAS_SETTINGS = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
PACKAGES = ("numpy", "torch", "jax", "transformers", "glassllm")

# Processors of one name differ: some multiply large float32 matrices at about 40 GFLOP/s a core, others at about 95 or
# at about 200.
HALF, NARROW, WIDE = "half", "narrow", "wide"
BORDERS = 60.0, 150.0  # GFLOP/s between two kinds
ORDER = 1024  # of large matrices: far from what a core's own caches hold, and a rate that larger ones do not beat


class PerKind(NamedTuple):
    """A target that depends on the kind of processor; for the half kind there is none."""

    narrow: float
    wide: float


def kind(rate: float) -> str:
    """Which kind a processor is that multiplies large matrices at so many GFLOP/s a core."""
    return (HALF, NARROW, WIDE)[bisect.bisect_left(BORDERS, rate)]


def large_product_rate() -> float:
    """GFLOP/s of large float32 products on one thread: the best of ten."""
    a, b = np.random.default_rng(0).standard_normal((2, ORDER, ORDER), dtype=np.float32)
    out = np.empty_like(a)
    seconds = []
    with threadpoolctl.threadpool_limits(1, "blas"):
        for _ in range(10):
            start = time.perf_counter()
            np.matmul(a, b, out=out)
            seconds.append(time.perf_counter() - start)
    return 2e-9 * ORDER**3 / min(seconds)


def processor() -> str:
    """The processor's name, as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def version(package: str) -> str | None:
    """Its installed version, or None."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def describe() -> dict[str, Any]:
    """Machine, BLAS and versions; the load, as other programs' work is in the figures too."""
    blas = [
        {key: info.get(key) for key in ("internal_api", "version", "architecture")}
        for info in threadpoolctl.threadpool_info()
        if info["user_api"] == "blas"
    ]
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "load": list(os.getloadavg()) if hasattr(os, "getloadavg") else None,
        "large_products": round(large_product_rate(), 1),
        "python": platform.python_version(),
        **{package: version(package) for package in PACKAGES},
        "blas": blas,
        "openblas_settings": {name: os.environ[name] for name in OPENBLAS_SETTINGS if name in os.environ},
    }


def as_text(machine: dict[str, Any]) -> str:
    """`describe()` in a few lines, with a warning where NumPy is held back."""
    blas = ", ".join(" ".join(str(value) for value in library.values() if value) for library in machine["blas"])
    load = f", load {machine['load'][0]:.1f}" if machine["load"] else ""
    lines = [
        f"{machine['processor']}, {machine['cores']} cores{load}, large products at {machine['large_products']:.0f} "
        f"GFLOP/s a core; {machine['system']}",
        f"Python {machine['python']}, "
        + ", ".join(f"{package} {machine[package] or 'not installed'}" for package in PACKAGES)
        + f"; BLAS: {blas or 'unknown'}",
    ]
    for name, value in machine["openblas_settings"].items():
        lines.append(f"WARNING: {name}={value} is set: NumPy may not use this machine's own kernels. Unset it.")
    return "\n".join(lines)
