"""Whatever asks a training to end, it saves first."""

import signal
import subprocess
import sys
from pathlib import Path

from workplace import TINY, enter_new_folder, environment

enter_new_folder()
COMMAND = [sys.executable, "-u", "-m", "tlab", "train", "--corpus", "text.txt", *TINY, "--validation-every", "0"]
STREAMS = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    words = ["--steps", "1000000", "--sample-every", "1", "--out", number.name]
    with subprocess.Popen([*COMMAND, *words], env=environment(), **STREAMS) as run:
        while not run.stdout.readline().startswith(b"    "):  # the first sample: it has made a step
            assert run.poll() is None
        run.send_signal(number)
        run.communicate(timeout=60)
    assert Path(number.name, "checkpoint.safetensors").exists()
print("ok")
