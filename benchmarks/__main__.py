"""`python -m benchmarks`: measure, print, and say whether each target was reached."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import tyro

from benchmarks.cases import CASES
from benchmarks.machine import as_text, describe
from benchmarks.turns import Result, measure, missing_modules
from benchmarks.worker import THREADS


def duration(seconds: float) -> str:
    """With a unit that keeps it between 1 and 1000."""
    for unit, factor in (("s", 1.0), ("ms", 1e3)):
        if seconds * factor >= 1:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds * 1e6:.3g} us"


def line(result: Result) -> str:
    """One side: its time, and how ours compares."""
    verdict = {True: "reached", False: "MISSED", None: ""}[result.met]
    words = f"  {result.side.label:<36}{duration(result.median):>9}"
    if result.is_ours:
        limit = result.case.most_seconds
        words += f"   ({duration(min(result.seconds))} to {duration(max(result.seconds))})"
        return (words + (f"   at most {duration(limit)}: {verdict}" if limit else "")).rstrip()
    ratios = result.turn_ratios
    words += f"   ratio {result.ratio:.2f}  ({ratios[0]:.2f} to {ratios[-1]:.2f})"
    return words + (f"   at most {result.side.target:g}: {verdict}" if result.side.target else "")


def main(
    cases: tyro.conf.Positional[tuple[Literal["step", "decode", "import"], ...]] = (),
    turns: int = 9,
    json_file: Annotated[Path | None, tyro.conf.arg(name="json")] = None,
) -> None:
    """Measure the lab against its peers, one thread each, side by side in turn.

    Printed are medians, with our fastest and slowest turn; the ratio of our median to theirs; and the least and the
    largest ratio of any one turn. The ratios stand a busy machine, as it slows all sides; the times do not.

    Args:
        cases: which to run; all where none is named.
        turns: how often each side has its turn. At least 7 for figures to be quoted.
        json_file: file to write everything measured to.
    """
    machine = describe()
    print(f"{as_text(machine)}\n{THREADS} thread each, {turns} turns\n", flush=True)
    results: list[Result] = []
    for case in CASES:
        if cases and case.name not in cases:
            continue
        print(f"{case.name}: {case.title}. Time of one {case.unit}:", flush=True)
        for result in measure(case, turns):
            results.append(result)
            print(line(result), flush=True)
        for side in case.sides:
            if missing := missing_modules(side):
                print(f"  {side.label:<36} skipped: needs {', '.join(missing)}")
        print()
    if json_file:
        report = {"machine": machine, "threads": THREADS, "results": [result.to_json() for result in results]}
        json_file.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    tyro.cli(main)
