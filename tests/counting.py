"""An array that counts what NumPy is asked to do with it: the work of a step is tested without a clock."""

from collections import Counter
from contextlib import contextmanager

import numpy as np


class Work:
    """What was counted so far: calls by name, bytes read and written, and operations of matrix products."""

    def __init__(self):
        self.calls = Counter()
        self.bytes = self.product_operations = 0

    def add(self, name, given, made):
        self.calls[name] += 1
        self.bytes += made.nbytes + sum(array.nbytes for array in given)
        if name == "matmul":
            self.product_operations += 2 * made.size * given[0].shape[-1]


class CountingArray(np.ndarray):
    """What is computed from one is one too; `work` receives all of it."""

    work = Work()

    def __array_ufunc__(self, ufunc, method, *inputs, out=(), **options):
        plain = [as_plain(array) for array in inputs]
        into = {"out": tuple(map(as_plain, out))} if out else {}
        made = getattr(ufunc, method)(*plain, **into, **options)
        name = ufunc.__name__ if method == "__call__" else f"{ufunc.__name__}.{method}"
        self.work.add(name, [array for array in plain if isinstance(array, np.ndarray)], np.asarray(made))
        if out:
            return out[0]
        return made.view(CountingArray) if isinstance(made, np.ndarray) else made

    def dot(self, other):
        return np.matmul(self, other)


def as_plain(array):
    return array.view(np.ndarray) if isinstance(array, CountingArray) else array


@contextmanager
def arrays_that_count(monkeypatch):
    """Inside, all that NumPy makes anew counts; -> a function that forgets what was counted, for a new count."""
    with monkeypatch.context() as patch:
        for name in ("empty", "zeros", "ones", "empty_like", "zeros_like"):
            make = getattr(np, name)
            patch.setattr(np, name, lambda *given, make=make, **options: make(*given, **options).view(CountingArray))

        def count_anew():
            patch.setattr(CountingArray, "work", Work())
            return CountingArray.work

        yield count_anew
