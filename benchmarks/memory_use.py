"""Peak memory of training, each side in a fresh process: `python -m benchmarks.memory_use STEPS JOB ARGUMENTS...`.

A process reports three figures in bytes: the bare interpreter, after its imports, and the peak of some training steps.
"""

from __future__ import annotations

import importlib
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.cases import CASES, LARGE_SIZE, Side
from benchmarks.turns import missing_modules
from benchmarks.worker import environment

STEPS = 20
STEPS_OF_LARGE = 4  # each takes seconds, and from the second step on nothing new is kept


class Memory(NamedTuple):
    """One process, in bytes."""

    interpreter: int
    imported: int
    peak: int


def resident(field: str) -> int:
    """`VmRSS`, memory in use now, or `VmHWM`, its peak so far, in bytes. Linux tells it.

    Not `ru_maxrss`: a new process inherits that of the one that started it.
    """
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status has no {field}")


def main() -> None:
    """The child."""
    steps, job, *arguments = sys.argv[1:]
    interpreter = resident("VmRSS")
    module, function = job.split(":")
    make = getattr(importlib.import_module(module), function)
    imported = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak of the imports is not that of the training
    work = make(*arguments)
    work(int(steps))
    print(json.dumps(Memory(interpreter, imported, resident("VmHWM"))))


def measured(side: Side, steps: int = STEPS) -> Memory:
    """One process of one side."""
    command = [sys.executable, "-m", "benchmarks.memory_use", str(steps), side.job, *side.arguments]
    done = subprocess.run(command, env=environment(1), check=True, stdout=subprocess.PIPE, text=True)
    return Memory(*json.loads(done.stdout.splitlines()[-1]))


def section(sizes: tuple[str, ...], processes: int) -> list[dict[str, Any]]:
    """Every side of the training steps of these sizes: the median of some processes."""
    found = []
    for case in CASES:
        if case.name not in ("step", "long", "large") or case.size not in sizes:
            continue
        print(f"memory: {case.title}. Peak above the imports, and of the whole process:", flush=True)
        for side in case.sides:
            if missing_modules(side):
                continue
            steps = STEPS_OF_LARGE if case.size == LARGE_SIZE else STEPS
            runs = [measured(side, steps) for _ in range(processes)]
            median = Memory(*(int(statistics.median(figures)) for figures in zip(*runs, strict=True)))
            above, whole = (median.peak - median.imported) / 2**20, median.peak / 2**20
            print(f"  {side.label:<36}{above:7.0f} MiB {whole:7.0f} MiB", flush=True)
            found.append({"size": case.size, "side": side.label, **median._asdict()})
    return found


if __name__ == "__main__":
    main()
