"""One side of a comparison in its own process, so that no side's allocator or threads touch another's.

`Worker` is the parent's end. The child is `python -m benchmarks.worker JOB ARGUMENTS...`: it makes the job, then for
each line with a number n it does n units of work and answers with the seconds.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.cases import Side

ROOT = Path(__file__).parents[1]
THREADS = 1
THREAD_VARIABLES = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
READY = "ready"


class Worker:
    """A long-lived process that works when told to, and otherwise waits on a pipe."""

    def __init__(self, side: Side) -> None:
        self.side = side
        environment = {**os.environ, **dict.fromkeys(THREAD_VARIABLES, str(THREADS))}
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker", side.job, *side.arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        try:
            self._answer()
        except RuntimeError:
            self.close()
            raise

    def seconds(self, units: int) -> float:
        """The time that this much work takes, now."""
        assert self.process.stdin is not None
        print(units, file=self.process.stdin, flush=True)
        return json.loads(self._answer())

    def _answer(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.side.label!r} ended with code {self.process.wait()}; its error is above")
        return line

    def close(self) -> None:
        """End the process, which the end of its input does."""
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()
        self.process.wait()


def main() -> None:
    """The child."""
    job, *arguments = sys.argv[1:]
    module, function = job.split(":")
    work = getattr(importlib.import_module(module), function)(*arguments)
    print(READY, flush=True)
    for line in sys.stdin:
        began = time.perf_counter()
        inner = work(int(line))
        outer = time.perf_counter() - began
        print(json.dumps(outer if inner is None else inner), flush=True)


if __name__ == "__main__":
    main()
