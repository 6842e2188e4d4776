"""Try breaks of the code in copies of the repository, each with the tests that may see it."""

import contextlib
import io
import os
import resource
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
MAX_BYTES = 16 << 30  # of addresses: a break may ask for any number of them, and gets an error


class Break(NamedTuple):
    """`source` is the whole file with the break in it, and `words` say what it is.

    Pytest runs each of `runs`, tests or files of them, up to the first that fails. One that takes longer than
    `patience`, in seconds, counts as failed: it hangs.
    """

    file: str
    source: str
    runs: list[list[str]]
    patience: float
    words: str


def prepare() -> None:
    """Import what is heavy, once for all children that are forked; products of matrices get one thread."""
    for variable in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS"):
        os.environ[variable] = "1"
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False  # in the copies: to compile the tests for each break takes longer than to run them
    for heavy in ("numpy", "pandas", "scipy.stats", "matplotlib.figure", "pyarrow.parquet", "pytest", "torch"):
        try:
            __import__(heavy)
        except ImportError:
            print(f"{heavy} isn't here; its tests are skipped")


def fork(function):
    """Run a function in a child that has all the heavy imports already; -> its pid. Its result is the exit code."""
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return pid
    os.setpgid(0, 0)
    resource.setrlimit(resource.RLIMIT_AS, (MAX_BYTES, MAX_BYTES))
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    code = 99
    try:
        code = function()
    finally:
        os._exit(code)


def end_group(pid):
    """End a child and all that it started."""
    with contextlib.suppress(ProcessLookupError):  # all of it has ended, or it is not a group of its own yet
        os.killpg(pid, signal.SIGKILL)


def pytest_in(folder, arguments, plugins=()):
    """Run pytest on a copy of the repository, in this process."""
    import pytest

    os.chdir(folder)
    sys.path.insert(0, str(folder))
    os.environ["PYTHONPATH"] = str(folder)
    sys.stdout = sys.stderr = io.StringIO()
    options = ["-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-o", "addopts=--import-mode=importlib"]
    return int(pytest.main([*options, *arguments], plugins=list(plugins)))


def copied(folder):
    """A copy of what the tests need, compiled; a file that changes is compiled again, whatever its date."""
    for part in ("tlab", "sweeps", "benchmarks", "tests", "data", "docs", "pyproject.toml", "README.md"):
        if (ROOT / part).exists():
            copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
            copy(ROOT / part, folder / part)
    import compileall
    import py_compile

    for part in ("tlab", "sweeps"):
        compileall.compile_dir(
            folder / part, quiet=2, force=True, invalidation_mode=py_compile.PycInvalidationMode.CHECKED_HASH
        )
    return folder


def tried(breaks: list[Break], folders: list[Path]) -> Iterator[tuple[Break, bool]]:
    """Each break, and whether a test failed with it; as many at once as there are copies in `folders`."""
    waiting, free, running = list(breaks), list(folders), {}

    def begin(one: Break, folder: Path, runs: list[list[str]]) -> None:
        pid = fork(lambda: pytest_in(folder, ["-x", *runs[0]]) if runs else 0)
        running[pid] = one, folder, runs[1:], time.monotonic() + one.patience

    while waiting or running:
        while waiting and free:
            one, folder = waiting.pop(0), free.pop()
            (folder / one.file).write_text(one.source, encoding="utf-8")
            begin(one, folder, one.runs)
        pid, status = os.waitpid(-1, os.WNOHANG)
        for late in [each for each, (*_, until) in running.items() if each != pid and time.monotonic() > until]:
            end_group(late)
        if pid not in running:
            time.sleep(0.02)
            continue
        end_group(pid)  # what it started may be waiting for it
        one, folder, runs, _ = running.pop(pid)
        failed = os.waitstatus_to_exitcode(status) not in (0, 5)  # 5: there was no test
        if runs and not failed:
            begin(one, folder, runs)
            continue
        shutil.copy(ROOT / one.file, folder / one.file)
        free.append(folder)
        yield one, failed
