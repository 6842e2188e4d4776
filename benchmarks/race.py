"""The race: who comes first to a validation loss of 1.88 on tiny Shakespeare? `python -m benchmarks.race`.

The steps that a run needs are the same on any quiet or busy machine; the time of a step is not. So both are reported:
the seconds of these very runs, and the steps times the time of a step, which `python -m benchmarks step` measures
with both sides in turn.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import tyro

from benchmarks.contestants import CONTESTANTS, TARGET, Look
from benchmarks.machine import as_text, describe
from benchmarks.store import Store
from benchmarks.worker import environment

MOST = 1 / 3  # of their time, mean of the seeds
SEEDS = (3, 4, 5)  # while our switches were searched, 0 to 2 were looked at


class Finish(NamedTuple):
    """How one run ended."""

    contestant: str
    seed: int
    looks: list[Look]

    @property
    def arrival(self) -> Look | None:
        """The first look at which the loss was low enough, or None."""
        return next((look for look in self.looks if look.loss <= TARGET), None)

    @property
    def end(self) -> Look:
        """The arrival; of a run that did not arrive its last look: it would have taken longer still."""
        return self.arrival or self.looks[-1]


def run(contestant: str, seed: int) -> Finish:
    """One run in a process of its own, with a line for each look."""
    command = [sys.executable, "-m", "benchmarks.contestants", contestant, str(seed)]
    looks = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment(1)) as process:
        assert process.stdout is not None
        for line in process.stdout:
            looks.append(Look(*json.loads(line)))
            at = looks[-1]
            print(f"  {contestant}, seed {seed}: step {at.step:4}  {at.loss:.4f}  {at.wall:6.1f} s", flush=True)
    if process.returncode:
        raise SystemExit(f"{contestant}, seed {seed}, ended with code {process.returncode}; its error is above")
    return Finish(contestant, seed, looks)


def finishes(report: dict[str, Any]) -> list[Finish]:
    """The runs that a report holds."""
    return [
        Finish(found["contestant"], found["seed"], [Look(*look) for look in found["looks"]])
        for found in report.get("race", [])
    ]


def mean_end(done: list[Finish], contestant: str, clock: str) -> float:
    """Mean seconds, or with "step" steps, to the arrival."""
    return statistics.fmean(getattr(finish.end, clock) for finish in done if finish.contestant == contestant)


def compete(store: Store, seeds: tuple[int, ...] = SEEDS, contestants: tuple[str, ...] = tuple(CONTESTANTS)) -> None:
    """Make the runs that the report does not hold yet, each kept as soon as it has ended, and say who was how fast."""
    done = {(finish.contestant, finish.seed): finish for finish in finishes(store.report)}
    for seed in seeds:
        for contestant in contestants:
            if (contestant, seed) not in done:
                done[contestant, seed] = run(contestant, seed)
                store.put(describe(), "race", [finish._asdict() for finish in done.values()])
    runs = list(done.values())
    for contestant in contestants:
        own = [finish for finish in runs if finish.contestant == contestant]
        losses = ", ".join(f"{finish.looks[-1].loss:.4f}" for finish in own)
        arrived = sum(finish.arrival is not None for finish in own)
        steps, seconds = mean_end(runs, contestant, "step"), mean_end(runs, contestant, "cpu")
        print(f"{contestant}: {arrived} of {len(own)} at {TARGET}; {steps:.0f} steps, {seconds:.1f} s; ends {losses}")
    if set(contestants) == set(CONTESTANTS):
        ratio = mean_end(runs, "tlab", "cpu") / mean_end(runs, "nanoGPT in PyTorch", "cpu")
        print(f"ratio {ratio:.2f}, at most {MOST:.2f}: {'reached' if ratio <= MOST else 'MISSED'}")


def main(
    seeds: tuple[int, ...] = SEEDS,
    contestants: tuple[str, ...] = tuple(CONTESTANTS),
    json_file: Annotated[Path | None, tyro.conf.arg(name="json")] = None,
) -> None:
    """Run both sides with each seed, one thread each, and compare the times to the target.

    Args:
        seeds: of the weights and the batches.
        contestants: who runs.
        json_file: report to add every run to as soon as it has ended; runs that it holds are not repeated.
    """
    print(as_text(describe()), flush=True)
    compete(Store(json_file), seeds, contestants)


if __name__ == "__main__":
    tyro.cli(main)
