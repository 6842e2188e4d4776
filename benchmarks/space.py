"""Run the app as a hosted Space does: requirements.txt alone, a copy of the repository that is not installed.

    python -m benchmarks.space

Makes a virtual environment in a temporary folder, which takes some minutes and a package index.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.visitors import ROOT, Refused, Row, Server, Visitor, finish, table


def build(place: Path) -> tuple[Path, str]:
    """-> the copy of what is committed, and its Python."""
    copy, venv = place / "app", place / "venv"
    copy.mkdir()
    archive = subprocess.run(["git", "archive", "HEAD"], cwd=ROOT, check=True, capture_output=True).stdout
    subprocess.run(["tar", "-x", "-C", copy], input=archive, check=True)
    subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    python = str(venv / "bin" / "python")
    subprocess.run([python, "-m", "pip", "install", "-q", "-r", copy / "requirements.txt"], check=True)
    return copy, python


def look(server: Server) -> list[Row]:
    """What a visitor of the Space meets."""
    visitor = Visitor(server.url)
    frame = visitor.ask("start", "click", field__steps=60, field__num_layers=2)
    state = str(visitor.output_of(frame, "start", "click", "run-state"))
    try:
        visitor.ask("start", "click", field__steps=5000, field__hidden_dim=512, field__batch_size=64)
        words = ""
    except Refused as refused:
        words = str(refused)
    output = server.output()
    return [
        Row("server up", "it is", f"{server.seconds_to_start:.1f} s", True),
        Row("a run of 60 steps", "done", "done" if "done" in state else state[:60], "done" in state),
        Row("a run beyond the public limits", "refused in words", words[:90], "this public page allows" in words),
        Row("tracebacks in the log", "0", str(output.count("Traceback")), "Traceback" not in output),
    ]


def main() -> int:
    """Print the table; the exit code is 0 where all is as it should be."""
    os.environ.pop("PYTHONPATH", None)  # the copy finds itself
    with tempfile.TemporaryDirectory() as place:
        copy, python = build(Path(place))
        with Server(copy, python) as server:
            rows = look(server)
    print(table("as a Space: requirements.txt alone, not installed", rows))
    return finish(rows)


if __name__ == "__main__":
    sys.exit(main())
