"""Sixteen visitors train at once on one server: does it stay awake, fair and small?

    python -m benchmarks.load [--sessions 16] [--seconds 60]

Each visitor trains one run after the other, all with different numbers of steps. The figures are of the public limits,
on the machine that runs this; others at work on it only make them worse, so the load average is printed with them.
"""

from __future__ import annotations

import argparse
import sys
import threading
import time

from benchmarks.visitors import Refused, Row, Server, Visitor, Watch, finish, percentile, table
from tlab.ui.presence import SECONDS_TO_FORGET

STEPS = 60  # of the first visitor's runs; each other's are one more
LAYERS = 2  # so that everybody's turn comes more than once in a minute
SETTLE = 6.0  # seconds for what is freed to be given back, once those who have left are forgotten
MEGABYTE = 2**20


class Trainee:
    """A visitor who trains until the time is over, and what became of their runs."""

    def __init__(self, url: str, number: int) -> None:
        self.visitor, self.steps = Visitor(url), STEPS + number
        self.finished = self.told_place = self.refused = 0
        self.strange: list[str] = []

    def train(self, until: float) -> None:
        """One run after another."""
        while time.monotonic() < until:
            try:
                self.train_once()
            except Refused as error:
                self.refused += 1
                if "waiting already" not in str(error):
                    self.strange.append(str(error))
                time.sleep(1)

    def train_once(self) -> None:
        """Start, and read every frame: each must be of a run of as many steps as were asked for."""
        event = self.visitor.call("start", "click", field__num_layers=LAYERS, field__steps=self.steps)
        state, waited = "", False
        for frame in self.visitor.listen(event):
            state = str(self.visitor.output_of(frame, "start", "click", "run-state"))
            chart = self.visitor.output_of(frame, "start", "click", "loss-chart")
            waited = waited or "in the queue" in state or "waiting" in state
            if chart.get("steps", self.steps) != self.steps:  # it has no steps in a frame that leaves it as it is
                self.strange.append(f"{chart['steps']} steps instead of {self.steps}")
        self.told_place += waited
        self.finished += "done" in state
        if "done" not in state:
            self.strange.append(state)


def measure(server: Server, sessions: int, seconds: float) -> list[Row]:
    """The whole load, and what came of it."""
    Visitor(server.url).leave()  # the first page ever costs what is made once
    time.sleep(SETTLE)
    before = server.memory()
    trainees = [Trainee(server.url, number) for number in range(sessions)]
    with Watch(server.url) as idle:
        time.sleep(2)
    until = time.monotonic() + seconds
    threads = [threading.Thread(target=trainee.train, args=(until,)) for trainee in trainees]
    look = Visitor(server.url)
    looks: list[float] = []
    with Watch(server.url) as watch:
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            began = time.perf_counter()
            look.ask("prompt", "change", prompt=f"def f{len(looks)}(")
            looks.append(time.perf_counter() - began)
            time.sleep(0.3)
    peak = server.memory()
    for trainee in trainees:
        trainee.visitor.leave()
    look.leave()
    print(f"  waiting {SECONDS_TO_FORGET:.0f} s, until those who have left are forgotten", flush=True)
    time.sleep(SECONDS_TO_FORGET + SETTLE)
    grown = (server.memory() - before) / MEGABYTE
    strange = [words for trainee in trainees for words in trainee.strange]
    finished = [trainee.finished for trainee in trainees]
    waited = sum(trainee.told_place for trainee in trainees)
    look_p95 = percentile(looks, 0.95)
    for words in strange[:5]:
        print("  strange:", words[:200])
    left = server.workers()
    return [
        Row("another's page, p95", "< 100 ms", f"{watch.percentile(0.95) * 1e3:.0f} ms of {len(watch.seconds)} "
            f"(median {watch.percentile(0.5) * 1e3:.0f}, idle p95 {idle.percentile(0.95) * 1e3:.0f})",
            watch.percentile(0.95) < 0.1),
        Row("another's chain of the next token, p95", "< 100 ms", f"{look_p95 * 1e3:.0f} ms of {len(looks)}",
            look_p95 < 0.1),
        Row("runs", "each finishes or is told its place", f"{sum(finished)} finished, {min(finished)} to "
            f"{max(finished)} a visitor; {waited} were told a place, {sum(t.refused for t in trainees)} refused",
            not strange and min(finished) > 0),
        Row("frames of somebody else's run", "none", f"{sum('instead of' in words for words in strange)}",
            not any("instead of" in words for words in strange)),
        Row("memory after all have left", "within 50 MB of the start", f"{grown:+.0f} MB of {before / MEGABYTE:.0f} "
            f"(at the end of the load {(peak - before) / MEGABYTE:+.0f})", grown < 50),
        Row("worker processes after all have left", "the one at hand", str(len(left)), len(left) <= 1),
        Row("tracebacks in the log", "0", str(server.output().count("Traceback")),
            "Traceback" not in server.output()),
    ]  # fmt: skip


def main() -> int:
    """Print the table; the exit code is 0 where every target is met."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sessions", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=60)
    given = parser.parse_args()
    with Server() as server:
        rows = measure(server, given.sessions, given.seconds)
    print(table(f"{given.sessions} sessions that train for {given.seconds:.0f} s", rows))
    return finish(rows)


if __name__ == "__main__":
    sys.exit(main())
