"""A reader who leaves ends no training, and a plan that is cut off says nothing of it."""

import shlex
import subprocess
import sys
from pathlib import Path

from workplace import TINY, enter_new_folder, environment


def cut_off(*words: str) -> tuple[int, str]:
    """Exit code and complaints of a command of whose output three lines are read."""
    command = f"{shlex.join([sys.executable, '-m', *words])} | head -n 3 > /dev/null; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], env=environment(), stderr=subprocess.PIPE, text=True, timeout=60)
    return done.returncode, done.stderr


enter_new_folder()
training = ("--steps", "300", "--sample-every", "50", "--validation-every", "0", "--out", "run")
assert cut_off("tlab", "train", "--corpus", "text.txt", *TINY, *training)[0] == 0
assert Path("run/checkpoint.safetensors").exists()
code, complaints = cut_off("sweeps", "plan", "grid.toml")
assert code == 0 and not complaints, complaints
print("ok")
