"""What the figures were measured on."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from pathlib import Path
from typing import Any

import numpy  # noqa: F401, loads the BLAS that threadpoolctl looks for
import threadpoolctl

OPENBLAS_SETTINGS = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
PACKAGES = ("numpy", "torch", "jax", "transformers", "glassllm")


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
        f"{machine['processor']}, {machine['cores']} cores{load}; {machine['system']}",
        f"Python {machine['python']}, "
        + ", ".join(f"{package} {machine[package] or 'not installed'}" for package in PACKAGES)
        + f"; BLAS: {blas or 'unknown'}",
    ]
    for name, value in machine["openblas_settings"].items():
        lines.append(f"WARNING: {name}={value} is set: NumPy may not use this machine's own kernels. Unset it.")
    return "\n".join(lines)
