"""What trains and what looks into models starts in a third of a second, because none of it imports Gradio."""

import subprocess
import sys
from pathlib import Path

import pytest

import tlab.ui

UI = Path(tlab.ui.__file__).parent
ROOM = sorted(f"tlab.ui.runs.{path.stem}" for path in (UI / "runs").glob("*.py") if path.stem != "__init__")


@pytest.mark.parametrize(
    "modules",
    [ROOM, ["tlab.ui.runs.worker"], ["tlab.ui.inspection.process", "tlab.ui.inspection.tasks"]],
    ids=["the room of runs", "a worker process", "the inspector's process"],
)
def test_what_a_child_process_imports_is_free_of_gradio(modules):
    code = f"import sys, {', '.join(modules)}; print('gradio' in sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "False"
