"""What the small programs share: a folder of their own to work in, and the commands as a shell would start them."""

import atexit
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
TINY = (
    *("--hidden-dim", "8", "--num-heads", "2", "--num-layers", "1"),
    *("--context-length", "8", "--batch-size", "2", "--warmup-steps", "2"),
)
GRID = """axes = ["norm"]
seeds = 1
[set]
corpus = "text.txt"
steps = 4
hidden_dim = 8
num_heads = 2
num_layers = 1
context_length = 8
batch_size = 2
warmup_steps = 2
"""


def enter_new_folder() -> Path:
    """A folder with a text and a grid for a sweep over the norm; the current folder from now on."""
    folder = Path(tempfile.mkdtemp(prefix="tlab-repro-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.chdir(folder)
    Path("text.txt").write_text("Pack my box with five dozen liquor jugs.\n" * 90, encoding="utf-8")
    Path("grid.toml").write_text(GRID, encoding="utf-8")
    return folder


def environment(**changes: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), **changes}


def run(module: str, *words: str, seconds: float = 60, **changes: str) -> subprocess.CompletedProcess[str]:
    """The command when it has ended; a `subprocess.TimeoutExpired` where it has not after so many seconds."""
    return subprocess.run(
        [sys.executable, "-m", module, *words],
        env=environment(**changes),
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        timeout=seconds,
    )


def train(*words: str, **changes: str) -> subprocess.CompletedProcess[str]:
    return run("tlab", "train", "--corpus", "text.txt", *TINY, "--steps", "5", "--out", "run", *words, **changes)


def succeeded(done: subprocess.CompletedProcess[str]) -> bool:
    """Whether a command ended well; where not, what it said goes to stderr."""
    if done.returncode:
        print(*done.args[1:], "->", done.returncode, done.stderr, file=sys.stderr)
    return done.returncode == 0


def refused(done: subprocess.CompletedProcess[str], word: str) -> bool:
    """Whether a command refused in plain words, this one among them."""
    plain = done.returncode == 2 and word in done.stderr and "Traceback" not in done.stderr
    if not plain:
        print(*done.args[1:], "->", done.returncode, done.stdout, done.stderr, file=sys.stderr)
    return plain
