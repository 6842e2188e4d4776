"""What all tests share. BLAS gets one thread before NumPy is loaded: small products are faster so, and repeatable."""

import os

for variable in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS"):
    os.environ[variable] = "1"

import gc  # noqa: E402
import platform  # noqa: E402
import random  # noqa: E402
import warnings  # noqa: E402
from collections import defaultdict  # noqa: E402

import numpy as np  # noqa: E402
import pytest  # noqa: E402

from support import TINY_SWEEP, VERSE, sample_of_grid  # noqa: E402
from tlab.text import Corpus, corpus_from_text  # noqa: E402


def pytest_addoption(parser):
    parser.addoption(
        "--sample-of-grids", type=int, metavar="N",
        help="of the combinations of a test run N, drawn anew for each Python, and those it takes to have each value",
    )  # fmt: skip
    parser.addoption("--cases", type=int, metavar="N", help="of the cases of a test run N, drawn anew for each Python")


def pytest_collection_modifyitems(config, items):
    """Thin the tests for another Python: what differs there is the language, and not the arithmetic of each pair."""
    of_grid, of_test = config.getoption("--sample-of-grids"), config.getoption("--cases")
    if of_grid is None and of_test is None:
        return
    cases = defaultdict(dict)
    for item in items:
        function, _, case = item.nodeid.partition("[")
        cases[function][case] = item
    version, kept = platform.python_version_tuple()[:2], set()
    for function, named in cases.items():
        names, seed = [*named], f"{version} {function}"
        if of_grid is not None:
            names = sample_of_grid(names, of_grid, seed)
        if of_test is not None:
            names = random.Random(seed).sample(names, min(of_test, len(names)))
        kept |= {named[name] for name in names}
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    items[:] = [item for item in items if item in kept]


@pytest.fixture(scope="module")
def leftovers_of_gradio():
    """What Gradio leaves open is collected after the module, and not in the middle of another one's test."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.fixture
def rng() -> np.random.Generator:
    """Random numbers, the same in every run."""
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def verse() -> Corpus:
    """A text that a tiny model learns in a moment."""
    return corpus_from_text(VERSE * 40, name="verse")


@pytest.fixture
def ids(rng) -> np.ndarray:
    """(2, 6) token ids for a tiny model."""
    return rng.integers(0, 11, (2, 6))


# ------------------------------------------------------------------------------------------------ sweeps


@pytest.fixture
def text_file(tmp_path):
    """A text that a tiny model reads in no time."""
    path = tmp_path / "verse.txt"
    path.write_text(VERSE * 10, encoding="utf-8")
    return str(path)


@pytest.fixture
def small(text_file):
    """Makes a grid of tiny models on a short text: small(norm=("layernorm", "none"), seeds=(0, 1))."""

    from sweeps.grid.grid import Grid

    def make(seeds=(0,), **values):
        return Grid({**TINY_SWEEP, "corpus": (text_file,), **values}, seeds)

    return make


@pytest.fixture
def words(text_file):
    """The same as words of a command line, but for the axes and the folder."""
    fixed = [word for field, (value,) in TINY_SWEEP.items() for word in ("--set", f"{field}={value}")]
    return [*fixed, "--corpus", text_file, "--jobs", "1"]


@pytest.fixture
def folder(tmp_path):
    """Where a sweep goes; not there yet."""
    return tmp_path / "sweep"


@pytest.fixture
def register():
    """Registers a class for the time of a test."""
    added = []

    def add(registry, key, component):
        registry.add(key, label=f"Test {key}")(component)
        added.append((registry, key))

    yield add
    for registry, key in added:
        registry.remove(key)
