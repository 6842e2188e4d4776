"""Train the sweep that the Sweeps tab opens with: `python -m tlab.ui.demo.make_sweep [FOLDER]`.

It runs the two commands below. The first goes on where it was ended.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tlab.ui.demo.shipped_run import DEMO_SWEEP

RUN_ARGUMENTS = (
    "run", "--axes", "norm,activation,residual", "--seeds", "3", "--steps", "300", "--set", "warmup_steps=30",
    "--set", "validation_every=50",
)  # fmt: skip


def main(folder: Path) -> None:
    """Run the sweep into `folder`, and pack it."""
    sweeps = [sys.executable, "-m", "sweeps"]
    subprocess.run([*sweeps, *RUN_ARGUMENTS, "--out", str(folder)], check=True)
    DEMO_SWEEP.unlink(missing_ok=True)
    subprocess.run([*sweeps, "export", str(folder), "--small", "--to", str(DEMO_SWEEP)], check=True)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "results/app-demo"))
