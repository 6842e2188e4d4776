"""`python -m benchmarks.chaos`: damage runs and sweeps at random; is each damage reported, or without effect?

A run, a sweep and their exports are made once, undisturbed. Then, 200 times, something happens to a copy: bytes of any
file change, a command is killed at a random moment, the disk is full, two commands work in one folder at once. After
that the commands and the app read the copy, and the command that made it goes on. Whatever they print has to be what
they print undisturbed, or they have to say in words what is wrong. Every trial has a seed of its own: `--only 17`
repeats the seventeenth.

Linux alone: the disk is full by a limit on the size of files.
"""

from __future__ import annotations

import contextlib
import csv
import io
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import tyro

from sweeps.__main__ import main as sweeps_command
from sweeps.results.table import CIRCUMSTANCES
from tlab import Checkpoint, Trainer, load_corpus
from tlab.cli.commands import main as tlab_command
from tlab.cli.run_folder import save_config, save_state
from tlab.machine import one_blas_thread
from tlab.training.checkpoint import FILE_NAME, CheckpointError
from tlab.ui.runs.limits import LOCAL
from tlab.ui.sharing.read_zip import ReopenError, read_export
from tlab.ui.sharing.write_zip import KeptRun, KeptSide, write_export
from tlab.ui.tabs.sweeps.results import ResultsError, own_results

ROOT = Path(__file__).parents[1]
TEXT = "the quick brown fox jumps over the lazy dog; pack my box with five dozen liquor jugs.\n" * 40
SIZES = {"hidden_dim": 16, "num_heads": 2, "num_layers": 1, "context_length": 16, "batch_size": 4}
STEPS, QUICK_STEPS = 400, 20
VALIDATIONS = 10
CELL_STEPS = 20
MAX_SECONDS = 120.0
MAX_BYTES_FLIPPED = 4
END_SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGHUP)
FULL_DISKS = (1, 400_000)  # bytes that a file may have; the largest one of a run has some 200,000

SAME, REPORTED, WRONG = "same numbers", "reported", "WRONG"


class Answer(NamedTuple):
    """What a command or the app says of a folder."""

    numbers: Any
    words: str = ""
    failed: bool = False


class Outcome(NamedTuple):
    """What came of a trial."""

    verdict: str
    what: str
    """What was done, and, where it is wrong, who said what."""


@dataclass
class Place:
    """The undisturbed run, sweep and exports, and what is said of them."""

    folder: Path
    quick: bool = False  # whether the run is short, and what takes seconds is left out
    undisturbed: dict[str, dict[str, Answer]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    """What each kind of work takes: a moment to disturb it is one of these."""

    @property
    def steps(self) -> int:
        """Of the run."""
        return QUICK_STEPS if self.quick else STEPS

    @property
    def train(self) -> list[str]:
        """The words after `tlab` that make the run."""
        flags = [word for name, value in SIZES.items() for word in (f"--{name.replace('_', '-')}", str(value))]
        lengths = ["--steps", str(self.steps), "--validation-every", str(self.steps // VALIDATIONS), "--snapshots", "4"]
        text = ["--corpus", str(self.folder / "text.txt"), "--threads", "1", "--sample-every", "0"]
        return ["train", *text, *flags, *lengths]

    @property
    def sweep(self) -> list[str]:
        """The words after `sweeps` that make the sweep."""
        sizes = [word for name, value in SIZES.items() for word in ("--set", f"{name}={value}")]
        grid = ["--axes", "norm", "--seeds", "2", "--steps", str(CELL_STEPS)]
        return ["run", *grid, *sizes, "--corpus", str(self.folder / "text.txt")]

    def make(self) -> None:
        """Make everything, and ask everybody about it once."""
        (self.folder / "text.txt").write_text(TEXT, encoding="utf-8")
        if self.quick:
            silently(tlab_command, [*self.train, "--out", str(self.folder / "run")])
            silently(sweeps_command, [*self.sweep, "--jobs", "1", "--out", str(self.folder / "sweep")])
        else:
            for work in (TRAINING, SWEEP):
                self.seconds[work.label] = ended(*work.start(self, self.folder / work.undisturbed)).seconds
            silently(sweeps_command, ["report", str(self.folder / "sweep")])
            silently(sweeps_command, ["export", str(self.folder / "sweep"), "--to", str(self.folder / "export")])
        self.make_half()
        finished = Checkpoint.load(self.folder / "run")
        run = KeptRun("run", (KeptSide("A", finished), KeptSide("B", Checkpoint.load(self.folder / "half"))), TEXT)
        (self.folder / "zip").mkdir()
        (self.folder / "zip" / "run.zip").write_bytes(write_export(run))
        for name in READERS:
            if (self.folder / name).exists():
                with self.copy(name) as copy:
                    self.undisturbed[name] = {label: read(self, copy) for label, read in self.readers(name)}

    def make_half(self) -> None:
        """A run that was stopped, with everything that is needed to resume it."""
        whole = Checkpoint.load(self.folder / "run")
        with one_blas_thread():
            corpus = load_corpus(self.folder / "text.txt")
            trainer = Trainer(whole.model_config, whole.train_config, corpus, compute=whole.compute)
            (self.folder / "half").mkdir()
            save_config(self.folder / "half", trainer)
            while trainer.step < self.steps // 2:
                trainer.train_step()
        save_state(self.folder / "half", trainer)

    @contextlib.contextmanager
    def copy(self, name: str) -> Iterator[Path]:
        """A copy to disturb, in a folder of its own."""
        with tempfile.TemporaryDirectory() as place:
            yield Path(shutil.copytree(self.folder / name, Path(place) / name))

    def readers(self, name: str) -> Iterator[tuple[str, Callable[[Place, Path], Answer]]]:
        """Who reads a folder, and in which order: those who write come last."""
        for label, read in READERS[name].items():
            if not (self.quick and label in SLOW):
                yield label, read

    def compared(self, name: str, folder: Path, what: str, only: tuple[str, ...] = ()) -> Outcome:
        """Ask everybody, or only some, about a disturbed folder."""
        said = False
        for label, read in self.readers(name):
            if only and label not in only:
                continue
            answer, before = read(self, folder), self.undisturbed[name][label]
            if (answer.failed and not answer.words) or "Traceback" in answer.words:
                return Outcome(WRONG, f"{what}: {label} fails with: {answer.words[-2000:] or 'no word'}")
            told = answer.failed or answer.words != before.words
            if answer.numbers != before.numbers:
                if not told:
                    return Outcome(WRONG, f"{what}: {label} says {str(answer.numbers)[:300]!r}")
                what += f"; {label}: {answer.words[-300:].strip()}"
            said |= told
        return Outcome(REPORTED if said else SAME, what)


# --- who reads ---


def silently(command: Callable[[list[str]], Any], words: list[str]) -> tuple[int, str, str]:
    """Run a command in this process; -> its exit code and what it printed."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = command(words) or 0
        except SystemExit as end:
            code = int(end.code or 0)
        except Exception:  # what a user would see as a traceback
            code = -1
            err.write(traceback.format_exc())
    return code, out.getvalue(), err.getvalue()


def answer_of(command: Callable[[list[str]], Any], words: list[str], folder: Path) -> Answer:
    """What a command prints, without the name of the folder."""
    code, out, err = silently(command, words)
    return Answer(out.replace(str(folder.parent), ""), err.replace(str(folder.parent), ""), code != 0)


def generated(place: Place, folder: Path) -> Answer:
    """A text of the model."""
    return answer_of(tlab_command, ["generate", str(folder), "--max-new-tokens", "20"], folder)


def probed(place: Place, folder: Path) -> Answer:
    """What the model would predict after each block."""
    corpus = ["--corpus", str(place.folder / "text.txt")]
    return answer_of(tlab_command, ["probe", "lens", str(folder), *corpus], folder)


def over_time(place: Place, folder: Path) -> Answer:
    """A probe of each snapshot."""
    corpus = ["--corpus", str(place.folder / "text.txt")]
    return answer_of(tlab_command, ["probe", "stream", str(folder), "--over-time", *corpus], folder)


def resumed(place: Place, folder: Path) -> Answer:
    """The run once it was gone on with: its weights and losses, which are those of the run that nobody stopped."""
    words = ["train", "--resume", str(folder), "--corpus", str(place.folder / "text.txt"), "--sample-every", "0"]
    code, _, err = silently(tlab_command, words)
    return Answer(run_numbers(folder), err.replace(str(folder.parent), ""), code != 0)


def run_numbers(folder: Path) -> Any:
    """Weights and losses of a run's checkpoint, and of its table where that goes as far."""
    try:
        checkpoint = Checkpoint.load(folder)
    except CheckpointError:
        return None
    losses = [(record.step, record.loss, record.validation_loss) for record in checkpoint.records]
    return losses, {name: array.tobytes() for name, array in checkpoint.weights.items()}


def opened_zip(place: Place, folder: Path) -> Answer:
    """What the app takes out of an exported run."""
    try:
        run = read_export(folder / "run.zip", LOCAL)
    except ReopenError as error:
        return Answer(None, str(error), failed=True)
    except Exception:
        return Answer(None, traceback.format_exc(), failed=True)
    sides = [(side.label, side.checkpoint.records, side.insights, side.sample) for side in run.sides]
    weights = [{name: array.tobytes() for name, array in side.checkpoint.weights.items()} for side in run.sides]
    configs = [(side.checkpoint.model_config, side.checkpoint.train_config) for side in run.sides]
    return Answer((run.name, sides, weights, configs, run.text))


def opened_sweep(place: Place, folder: Path) -> Answer:
    """What the app's Sweeps tab shows of a folder."""
    try:
        results = own_results(str(folder))
    except ResultsError as error:
        return Answer(None, str(error), failed=True)
    except Exception:
        return Answer(None, traceback.format_exc(), failed=True)
    shown = []
    for one in results.configurations:
        curves = [results.curve(one, split).to_csv() for split in ("train", "validation")]
        shown.append((one.label, one.losses.to_dict(), one.accidents, curves))
    effects = None if results.effects is None else results.effects.to_csv()
    return Answer((results.axes, results.fixed, shown, effects))


def status(place: Place, folder: Path) -> Answer:
    """What is said of a sweep. A line that was not there before is a word, whatever the numbers are."""
    code, out, err = silently(sweeps_command, ["status", str(folder)])
    return Answer(None, (out + err).replace(str(folder.parent), ""), code not in (0, 1))


def reported(place: Place, folder: Path) -> Answer:
    """The page of a sweep, and the tables that are made with it."""
    answer = answer_of(sweeps_command, ["report", str(folder)], folder)
    page = (folder / "report.html").read_text(encoding="utf-8", errors="replace") if not answer.failed else ""
    return answer._replace(numbers=(page, tables(folder)))


def continued(place: Place, folder: Path) -> Answer:
    """The tables after the command that made the sweep went on with it. What it says of itself is no damage."""
    code, _, err = silently(sweeps_command, [*place.sweep, "--jobs", "1", "--out", str(folder)])
    return Answer(tables(folder), err.replace(str(folder.parent), "") if code else "", code != 0)


def tables(folder: Path) -> Any:
    """Everything in the tables in which two runs of a sweep have to agree."""
    try:
        with open(folder / "cells.csv", newline="", encoding="utf-8") as file:
            rows = [{k: v for k, v in row.items() if k not in CIRCUMSTANCES} for row in csv.DictReader(file)]
        return rows, *((folder / f"{name}.csv").read_bytes() for name in ("summary", "effects", "curves"))
    except (OSError, ValueError):
        return None


READERS: dict[str, dict[str, Callable[[Place, Path], Answer]]] = {
    "run": {"generate": generated, "probe": probed, "probe --over-time": over_time},
    "half": {"generate": generated, "train --resume": resumed},
    "zip": {"the app": opened_zip},
    "sweep": {"the app": opened_sweep, "status": status, "report": reported, "run": continued},
    "export": {"the app": opened_sweep, "report": reported},
}
SLOW = ("report",)


# --- what happens ---


def flip_bytes(name: str) -> Callable[[Place, random.Random], Outcome]:
    """Change up to four bytes of any file of a folder."""

    def play(place: Place, rng: random.Random) -> Outcome:
        with place.copy(name) as folder:
            files = sorted(path for path in folder.rglob("*") if path.is_file() and path.stat().st_size)
            path = rng.choice(files)
            content = bytearray(path.read_bytes())
            places = [rng.randrange(len(content)) for _ in range(rng.randint(1, MAX_BYTES_FLIPPED))]
            for position in places:
                content[position] ^= rng.randrange(1, 256)
            path.write_bytes(content)
            where = ", ".join(map(str, sorted(places)))
            return place.compared(name, folder, f"{path.relative_to(folder.parent)}, bytes {where} changed")

    return play


def start(module: str, words: list[str], limit: int | None = None) -> subprocess.Popen[bytes]:
    """A command in a process of its own; `limit`: bytes that a file may have."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", module, *words]
    pipe, nothing = subprocess.PIPE, subprocess.DEVNULL
    process = subprocess.Popen(command, env=environment, stdout=nothing, stderr=pipe)
    if limit is not None:  # long before it writes its first file
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (limit, limit))
    return process


class Ended(NamedTuple):
    """How a process ended."""

    code: int
    words: str
    seconds: float


def ended(process: subprocess.Popen[bytes], began: float) -> Ended:
    """Wait for the end."""
    try:
        _, err = process.communicate(timeout=MAX_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return Ended(process.returncode, f"did not end within {MAX_SECONDS:g} s", MAX_SECONDS)
    return Ended(process.returncode, err.decode(errors="replace"), time.monotonic() - began)


@dataclass(frozen=True)
class Work:
    """A command that makes a folder, and what has to become of that."""

    module: str
    label: str
    words: Callable[[Place], list[str]]
    numbers: Callable[[Path], Any]
    undisturbed: str  # the folder that it made when nobody disturbed it

    def start(self, place: Place, folder: Path, limit: int | None = None) -> tuple[subprocess.Popen[bytes], float]:
        """Begin; -> the process, and when it was started."""
        return start(self.module, [*self.words(place), "--out", str(folder)], limit), time.monotonic()

    def go_on(self, place: Place, folder: Path) -> Ended:
        """What a user does next: resume a run that has a checkpoint, or else the same command again."""
        if self.module == "tlab" and (folder / FILE_NAME).exists():
            words = ["train", "--resume", str(folder), "--corpus", str(place.folder / "text.txt")]
            return ended(start(self.module, words), time.monotonic())
        return ended(*self.start(place, folder))

    def outcome(self, place: Place, folder: Path, what: str, told: bool = False) -> Outcome:
        """Whether the folder is now as it would be undisturbed; what is not finished, or left over, is gone on with."""
        expected = self.numbers(place.folder / self.undisturbed)
        if self.numbers(folder) != expected or any(folder.rglob(".*")):
            last = self.go_on(place, folder)
            if last.code and last.words.startswith("error: "):
                return Outcome(REPORTED, f"{what}; to go on: {last.words[-300:]}")
            if "Traceback" in last.words or self.numbers(folder) != expected:
                return Outcome(WRONG, f"{what}; to go on ended with {last.code}: {last.words[-2000:]}")
        hidden = [path.name for path in folder.rglob(".*")]
        if hidden:
            return Outcome(WRONG, f"{what}; left over: {', '.join(hidden)}")
        return Outcome(REPORTED if told else SAME, what)


TRAINING = Work("tlab", "tlab train", lambda place: place.train, run_numbers, "run")
SWEEP = Work("sweeps", "sweeps run", lambda place: [*place.sweep, "--jobs", "2"], tables, "sweep")


def kill(work: Work) -> Callable[[Place, random.Random], Outcome]:
    """End a command by a signal at a random moment at which it is at work."""

    def play(place: Place, rng: random.Random) -> Outcome:
        after, number = rng.uniform(0.0, place.seconds[work.label]), rng.choice(END_SIGNALS)
        with tempfile.TemporaryDirectory() as made:
            folder = Path(made) / "folder"
            process, began = work.start(place, folder)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(after)
                place.seconds[work.label] = ended(process, began).seconds  # it was quicker this time: again
                return play(place, rng)
            process.send_signal(number)
            end = ended(process, began)
            what = f"{work.label}: {number.name} after {after:.2f} s"
            if "Traceback" in end.words and "KeyboardInterrupt" not in end.words:
                return Outcome(WRONG, f"{what}: {end.words[-2000:]}")
            return work.outcome(place, folder, what)

    return play


def fill_disk(work: Work) -> Callable[[Place, random.Random], Outcome]:
    """Let no file be longer than a random number of bytes."""

    def play(place: Place, rng: random.Random) -> Outcome:
        limit = round(FULL_DISKS[0] * (FULL_DISKS[1] / FULL_DISKS[0]) ** rng.random())
        with tempfile.TemporaryDirectory() as made:
            folder = Path(made) / "folder"
            end = ended(*work.start(place, folder, limit))
            what = f"{work.label}: no file above {limit:,} bytes"
            if "Traceback" in end.words or (end.code and not end.words):
                return Outcome(WRONG, f"{what}: ended with {end.code}: {end.words[-2000:]}")
            return work.outcome(place, folder, what, told=bool(end.code))

    return play


def work_twice(work: Work) -> Callable[[Place, random.Random], Outcome]:
    """Start a command, and at a random moment at which it is at work the same one in the same folder."""

    def play(place: Place, rng: random.Random) -> Outcome:
        after = rng.uniform(0.0, place.seconds[work.label])
        with tempfile.TemporaryDirectory() as made:
            folder = Path(made) / "folder"
            first = work.start(place, folder)
            with contextlib.suppress(subprocess.TimeoutExpired):
                first[0].wait(after)
                place.seconds[work.label] = ended(*first).seconds  # it was quicker this time: again
                return play(place, rng)
            second = work.start(place, folder)
            ends = [ended(*first), ended(*second)]
            what = f"{work.label}: twice, the second after {after:.2f} s"
            for end in ends:
                if "Traceback" in end.words or (end.code and not end.words):
                    return Outcome(WRONG, f"{what}: ended with {end.code}: {end.words[-2000:]}")
            return work.outcome(place, folder, what, told=any(end.code for end in ends))

    return play


class Kind(NamedTuple):
    """A kind of damage, and how many of 200 are of it."""

    label: str
    share: int
    play: Callable[[Place, random.Random], Outcome]


KINDS = (
    Kind("bytes of a sweep's files", 50, flip_bytes("sweep")),
    Kind("bytes of an exported sweep's files", 14, flip_bytes("export")),
    Kind("bytes of a finished run's files", 26, flip_bytes("run")),
    Kind("bytes of a stopped run's files", 14, flip_bytes("half")),
    Kind("bytes of an exported zip", 30, flip_bytes("zip")),
    Kind("`tlab train` killed", 18, kill(TRAINING)),
    Kind("`sweeps run` killed", 14, kill(SWEEP)),
    Kind("`tlab train` on a full disk", 10, fill_disk(TRAINING)),
    Kind("`sweeps run` on a full disk", 8, fill_disk(SWEEP)),
    Kind("`tlab train` twice in a folder", 8, work_twice(TRAINING)),
    Kind("`sweeps run` twice in a folder", 8, work_twice(SWEEP)),
)


def drawn(trials: int, seed: int) -> list[Kind]:
    """The kind of each trial, in random order."""
    total = sum(kind.share for kind in KINDS)
    kinds = [kind for kind in KINDS for _ in range(kind.share)]
    random.Random(seed).shuffle(kinds)
    return [kinds[number % total] for number in range(trials)]


def main(trials: int = 200, seed: int = 0, only: tuple[int, ...] = ()) -> int:
    """Disturb, and print a table of what came of it, with every failure and its number; exit code 1 if there is one.

    Args:
        trials: how many times.
        seed: of all of them.
        only: the numbers of those to play.
    """
    counts: dict[str, Counter[str]] = {kind.label: Counter() for kind in KINDS}
    failures = []
    with tempfile.TemporaryDirectory() as folder:
        place = Place(Path(folder))
        place.make()
        for number, kind in enumerate(drawn(trials, seed)):
            if only and number not in only:
                continue
            outcome = kind.play(place, random.Random(f"{seed} {number}"))
            counts[kind.label][outcome.verdict] += 1
            print(f"{number:>4}  {outcome.verdict:<12}  {outcome.what}", flush=True)
            if outcome.verdict == WRONG:
                failures.append(number)
    print(f"\n| what happened | times | {SAME} | {REPORTED} | wrong |\n| --- | --- | --- | --- | --- |")
    for label, count in counts.items():
        print(f"| {label} | {sum(count.values())} | {count[SAME]} | {count[REPORTED]} | {count[WRONG]} |")
    total = sum(counts.values(), Counter())
    print(f"| all | {sum(total.values())} | {total[SAME]} | {total[REPORTED]} | {total[WRONG]} |")
    if failures:
        print(f"repeat with --seed {seed} --only {' '.join(map(str, failures))}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(tyro.cli(main))
