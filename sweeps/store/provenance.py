"""What made the numbers: versions, machine, commit, and the code itself as one hash."""

from __future__ import annotations

import ast
import functools
import hashlib
import os
import platform
import re
import subprocess
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from sweeps.grid.begin import BeginConfig, KnownModel, KnownText, known_text
from sweeps.grid.cell_id import DTYPE
from tlab.machine import environment
from tlab.text.corpora import Corpus

ROOT = Path(__file__).resolve().parents[2]
TRAINING = ("config", "optimizers", "records", "schedules", "trainer")
CORE = ("nn", "text", "config", "registry", *(f"training/{module}" for module in TRAINING))
"""The parts of `tlab` that decide the numbers of a cell: modules, or whole packages."""

PACKAGES = ("joblib", "distributed", "ray", "pandas")
COMPARED = ("tlab", "python", "numpy", "blas", "processor", "dtype", "source")
"""The entries of a run's provenance that may change the last bits of a result."""


def provenance() -> dict[str, Any]:
    return {
        **environment(threads=1),
        **{package: found for package in PACKAGES if (found := installed(package))},
        "dtype": DTYPE,
        "host": platform.node(),
        "processor": processor(),
        "cpu_count": os.cpu_count(),
        "source": source_hash(),
        "git": git_state(),
    }


def changed_since(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What differs from an earlier run, in words; without the source, which is more than a warning."""

    def comparable(about: Mapping[str, Any], name: str) -> Any:
        if name != "blas":
            return about.get(name)
        # The driver's own number of threads says nothing about its cells, which have one each; and libraries are listed
        # in the order in which they happened to be loaded.
        libraries = [{k: v for k, v in library.items() if k != "num_threads"} for library in about.get("blas") or []]
        return sorted(libraries, key=str)

    return [
        f"{name} was {comparable(before, name)}, now {comparable(now, name)}"
        for name in COMPARED
        if name != "source" and comparable(before, name) != comparable(now, name)
    ]


@functools.cache
def source_hash() -> str:
    """The hash of the core's code, without comments and docstrings, which decide no number: 12 hex digits.

    It is taken of the syntax tree, so a new layout of the same code is the same code.
    """
    digest = hashlib.sha256()
    for name in CORE:
        place = ROOT / "tlab" / name
        for path in sorted(place.rglob("*.py")) if place.is_dir() else [place.with_suffix(".py")]:
            tree = WithoutDocstrings().visit(ast.parse(path.read_text(encoding="utf-8")))
            digest.update(f"{path.relative_to(ROOT).as_posix()}\n{ast.dump(tree)}\n".encode())
    return digest.hexdigest()[:12]


class WithoutDocstrings(ast.NodeTransformer):
    """Removes every string that is a statement by itself."""

    def visit_Expr(self, node: ast.Expr) -> ast.Expr | None:
        return None if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str) else node


def installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor()


def git_state() -> dict[str, Any] | None:
    """The commit of the lab's source and whether files differ from it; None outside a repository."""

    def ask(*words: str) -> str:
        asked = subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True, timeout=10, check=True)
        return asked.stdout.strip()

    try:
        if Path(ask("rev-parse", "--show-toplevel")).resolve() != ROOT:
            return None  # the lab is installed inside another project's repository
        return {"sha": ask("rev-parse", "HEAD"), "dirty": bool(ask("status", "--porcelain"))}
    except (OSError, subprocess.SubprocessError):
        return None


PATH_IN_WORD = re.compile(r"(^|[=,])(?:~|\.\.)?/(?:[^=,]*/)?([^/=,]+)/*(?=$|[=,])")
"""A path that is a word by itself, or that follows an equals sign or a comma; its last part is the second group."""


def without_folders(value: Any) -> Any:
    """The value with every path in it cut down to its file name, so that what is shared reveals no folders."""
    if isinstance(value, Mapping):
        return {key: without_folders(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_folders(one) for one in value]
    return PATH_IN_WORD.sub(r"\1\2", value) if isinstance(value, str) else value


def about_text(text: BeginConfig, corpus: Corpus) -> dict[str, Any]:
    """The corpus's own record, with the grid's name for it, and the vocabulary's size in place of the vocabulary.

    Where a run is begun with, what of that decides the numbers is beside it.
    """
    known, described = known_text(corpus), corpus.describe()
    about = {**described, "corpus": text.corpus, "tokenizer": text.tokenizer, "vocab_size": known.vocab_size}
    if known.model is None:
        return about
    begun = {"start_from": text.start_from, "random_weights": text.random_weights, **known.model._asdict()}
    return {**about, "begun_with": {**begun, "tokenizer": described["tokenizer"]["tokenizer"]}}


def text_in(about: Mapping[str, Any]) -> BeginConfig:
    """What `about_text` told of, by the grid's names."""
    begun = about.get("begun_with", {})
    return BeginConfig(
        about["corpus"], about["tokenizer"], begun.get("start_from", ""), begun.get("random_weights", False)
    )


def known_in(about: Mapping[str, Any]) -> KnownText:
    """What of it decides the numbers of cells."""
    begun = about.get("begun_with")
    model = begun and KnownModel(*(begun[name] for name in KnownModel._fields))
    return KnownText(about["sha256"], about["vocab_size"], model)
