"""Train the sweep that the Sweeps tab opens with: `python -m tlab.ui.make_sweep_demo [FOLDER]`.

It runs the command below, which goes on where it was ended, and packs what the tab needs into one zip. The curves are
thinned: the training loss becomes its mean over each ten steps.
"""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pandas as pd

from tlab.ui.sweep_results import DEMO_SWEEP, read_results

COMMAND = (
    "run", "--axes", "norm,activation,residual", "--seeds", "3", "--steps", "300", "--set", "warmup_steps=30",
    "--set", "validation_every=50",
)  # fmt: skip
STEPS_TOGETHER = 10
WHOLE = ("cells.csv", "summary.csv", "effects.csv")  # files that go in as they are, where the sweep wrote them
README = """The sweep that the lab ships: {cells} cells, made by

    python -m sweeps {command}

cells.csv has a row a cell. In curves.csv the training loss is its mean over each {together} steps, at the last of them.
"""


def main(folder: Path) -> None:
    """Run the sweep into `folder`, and pack it."""
    subprocess.run([sys.executable, "-m", "sweeps", *COMMAND, "--out", str(folder)], check=True)
    pack(folder, DEMO_SWEEP)
    print(f"{DEMO_SWEEP.name}: {DEMO_SWEEP.stat().st_size:,} bytes")


def pack(folder: Path, to: Path) -> None:
    """Write the zip of a sweep's folder."""
    results = read_results(folder, folder.name)
    thinned = thin(results.curves)
    with zipfile.ZipFile(to, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:

        def add(name: str, content: bytes | str) -> None:
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED, 9)

        command = " ".join(COMMAND)
        add("README.txt", README.format(cells=len(results.cells), command=command, together=STEPS_TOGETHER))
        for name in WHOLE:
            if (folder / name).is_file():
                add(name, (folder / name).read_bytes())
        add("curves.csv", thinned.to_csv(index=False, lineterminator="\n"))
        add("manifest.json", manifest(folder))


def manifest(folder: Path) -> str:
    """The grids alone: on whose machine it ran is nobody's business."""
    import json

    content = json.loads((folder / "manifest.json").read_text("utf-8"))
    return json.dumps({"grids": content["grids"]}, indent=1)


def thin(curves: pd.DataFrame) -> pd.DataFrame:
    """Fewer rows: validation as it is, training as means. Four digits are more than a chart shows."""
    training = curves[curves.split == "train"].copy()
    training["step"] = -(-training.step // STEPS_TOGETHER) * STEPS_TOGETHER
    keys = ["cell_id", "step", "split", "metric"]
    means = training.groupby(keys, sort=False, as_index=False).value.mean()
    thinned = pd.DataFrame(pd.concat([curves[curves.split != "train"], means]), columns=[*keys, "value"])
    return thinned.assign(value=thinned.value.round(4))


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "results/app-demo"))
