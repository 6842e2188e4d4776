"""Kill the driver of a sweep, or one of its workers, at random moments; the tables must be those of a quiet run.

    python tests/kill_sweeps.py 10        # so many moments for each of the two, at each of which it was at work

Linux alone: processes are found by a mark in their environment. The suite does this once for each.
"""

from __future__ import annotations

import csv
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
MARK = "TLAB_KILLED_SWEEP"
GRID = [
    "--axes", "norm", "--seeds", "3", "--steps", "300", "--corpus", "brackets", "--jobs", "2", "--attempts", "9",
    "--set", "hidden_dim=16", "--set", "num_layers=1", "--set", "context_length=16", "--set", "batch_size=4",
]  # fmt: skip
ORPHANS_END = 30.0  # seconds after which workers have noticed that their driver is gone, also on a busy machine
MAX_SECONDS = 120.0


class Sweep:
    """`python -m sweeps run` in a process of its own, its output in the folder's neighbour."""

    def __init__(self, folder: Path, grid: Sequence[str] = GRID) -> None:
        self.mark = uuid.uuid4().hex
        self.output = open(folder.with_suffix(".txt"), "ab")  # noqa: SIM115, closed in `wait`
        environment = {**os.environ, MARK: self.mark, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", "sweeps", "run", *grid, "--out", str(folder)]
        self.process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=self.output, stderr=self.output)

    def workers(self) -> list[int]:
        """Pids of its living worker processes, and of whatever else it started."""
        wanted = f"{MARK}={self.mark}".encode()
        found = []
        for place in Path("/proc").glob("[0-9]*"):
            try:
                if wanted in (place / "environ").read_bytes().split(b"\0") and int(place.name) != self.process.pid:
                    found.append(int(place.name))
            except OSError:  # it is gone, or another user's
                continue
        return found

    def training(self) -> list[int]:
        """Those of them that train cells: joblib's other helper only tidies up."""
        found = []
        for pid in self.workers():
            try:
                if b"popen_loky" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    found.append(pid)
            except OSError:
                continue
        return found

    def wait(self) -> int:
        """Its exit code."""
        try:
            return self.process.wait(MAX_SECONDS)
        finally:
            self.process.kill()
            self.output.close()


def numbers(folder: Path) -> tuple[list[dict[str, str]], list[str]]:
    """Everything in the tables in which two runs have to agree; curves sorted, as a cell's place says nothing."""
    sys.path.insert(0, str(ROOT))
    from sweeps.results.table import CIRCUMSTANCES

    with open(folder / "cells.csv", newline="", encoding="utf-8") as file:
        rows = [{k: v for k, v in row.items() if k not in CIRCUMSTANCES} for row in csv.DictReader(file)]
    return rows, (folder / "curves.csv").read_text(encoding="utf-8").splitlines()


def quiet_run(folder: Path) -> tuple[object, float]:
    """A run that nobody disturbs: its numbers, and the seconds it took."""
    began = time.monotonic()
    code = Sweep(folder).wait()
    assert code == 0, folder.with_suffix(".txt").read_text()
    return numbers(folder), time.monotonic() - began


def kill_driver(folder: Path, after: float, cells: int = 0, grid: Sequence[str] = GRID) -> bool:
    """SIGKILL to the driver so many seconds after so many cells are done; -> whether it was still at work.

    Raises:
        AssertionError: orphans compute on.
    """
    sweep = Sweep(folder, grid)
    while len(list(folder.glob("cells/*.json"))) < cells:
        assert sweep.process.poll() is None, folder.with_suffix(".txt").read_text()
        time.sleep(0.02)
    time.sleep(after)
    hit = sweep.process.poll() is None
    sweep.process.kill()
    sweep.wait()
    end = time.monotonic() + ORPHANS_END
    while (orphans := sweep.training()) and time.monotonic() < end:
        time.sleep(0.05)
    assert not orphans, f"orphans compute on: {orphans}"
    return hit


def kill_worker(folder: Path, after: float, rng: random.Random) -> bool:
    """SIGKILL to one of the workers so many seconds after there are any; -> whether there was one to kill.

    Raises:
        AssertionError: the sweep does not get over it by itself.
    """
    sweep = Sweep(folder)
    while not any(folder.glob("started/*")) or not sweep.training():
        assert sweep.process.poll() is None, folder.with_suffix(".txt").read_text()
        time.sleep(0.02)
    time.sleep(after)
    workers = sweep.training()
    if workers:
        os.kill(rng.choice(workers), signal.SIGKILL)
    code = sweep.wait()
    assert code == 0, folder.with_suffix(".txt").read_text()
    return bool(workers)


def main() -> None:
    """Both, at as many random moments as were asked for; one at which there was nobody to kill any more is none."""
    moments = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    rng = random.Random(0)
    with tempfile.TemporaryDirectory() as place:
        quiet, seconds = quiet_run(Path(place) / "quiet")
        print(f"undisturbed: {seconds:.1f} s", flush=True)
        for who in ("driver", "worker"):
            hits = tries = 0
            while hits < moments:
                tries += 1
                assert tries <= 10 * moments, f"only {hits} of {tries} moments found the {who} at work"
                folder = Path(place) / f"{who}{tries}"
                after = rng.uniform(0.0, seconds)
                if who == "driver":
                    hit = kill_driver(folder, after)
                    assert Sweep(folder).wait() == 0, folder.with_suffix(".txt").read_text()
                else:
                    hit = kill_worker(folder, after, rng)
                assert numbers(folder) == quiet, f"{who} killed after {after:.2f} s: the tables differ"
                hits += hit
                print(f"{who} {'killed' if hit else 'gone'} after {after:5.2f} s: same tables", flush=True)
            print(f"{who}: killed at work at {hits} moments of {tries}; all tables as undisturbed", flush=True)


if __name__ == "__main__":
    main()
