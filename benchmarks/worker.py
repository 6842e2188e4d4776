"""One side of a comparison in its own process, so that no side's allocator or threads touch another's.

`Worker` is the parent's end. The child is `python -m benchmarks.worker THREADS JOB ARGUMENTS...`: it makes the job,
then for each line "CLOCK n" it does n units of work and answers with the seconds on that clock.
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
THREAD_VARIABLES = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
READY = "ready"


def environment(threads: int) -> dict[str, str]:
    """For a child that finds this package, keeps its bytecode as Python does, and whose BLAS uses so many threads."""
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    usual = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**usual, **dict.fromkeys(THREAD_VARIABLES, str(threads)), "PYTHONPATH": paths}


class Worker:
    """A long-lived process that works when told to, and otherwise waits on a pipe."""

    def __init__(self, side: Side) -> None:
        self.side = side
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker", str(side.threads), side.job, *side.arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment(side.blas_threads or side.threads),
        )
        try:
            self._answer()
        except RuntimeError:
            self.close()
            raise

    def seconds(self, units: int, clock: str = "wall") -> float:
        """The time that this much work takes now: on the wall, or with "cpu" of all processors that work on it."""
        assert self.process.stdin is not None
        print(clock, units, file=self.process.stdin, flush=True)
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


def stay_on(num_processors: int) -> None:
    """Keep this process, and every thread it will start, to that many processors, where the system can.

    Libraries with thread pools of their own, such as XLA's, have no other switch that all their versions heed. The
    last processors are taken: the first has most of the system's own work.
    """
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-num_processors:])


def main() -> None:
    """The child."""
    threads, job, *arguments = sys.argv[1:]
    stay_on(int(threads))
    module, function = job.split(":")
    work = getattr(importlib.import_module(module), function)(*arguments)
    print(READY, flush=True)
    clocks = {"wall": time.perf_counter, "cpu": time.process_time}
    for line in sys.stdin:
        clock, units = line.split()
        began = clocks[clock]()
        inner = work(int(units))
        outer = clocks[clock]() - began
        print(json.dumps(outer if inner is None else inner), flush=True)


if __name__ == "__main__":
    main()
