"""The notebooks of examples/ run from a fresh kernel to the end, and are stored without what came of it."""

import json
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
BOOKS = sorted(EXAMPLES.glob("*.ipynb"))
MAX_SECONDS = 60  # of a cell, on a machine that does other things as well
READABLE = ("image/png", "text/html", "text/plain")


def test_there_are_five():
    assert [path.name[0] for path in BOOKS] == [*"12345"]


@pytest.mark.parametrize("path", BOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_stored_without_outputs(path):
    """So that a change is read as what was changed; Jupyter: Edit, Clear Outputs of All Cells."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert cells[0]["cell_type"] == "markdown" and len(code) >= 4
    assert not [cell["id"] for cell in code if cell["outputs"] or cell["execution_count"]]


@pytest.mark.parametrize("path", BOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_shows_pictures_and_tables(path, tmp_path, monkeypatch):
    nbclient = pytest.importorskip("nbclient", reason="notebooks need nbclient and ipykernel: pip install '.[docs]'")
    pytest.importorskip("ipykernel", reason="notebooks need nbclient and ipykernel: pip install '.[docs]'")
    import nbformat

    monkeypatch.setenv("PYTHONPATH", str(EXAMPLES.parent))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    book = nbformat.read(path, as_version=4)
    about = {"metadata": {"path": str(tmp_path)}}  # what it writes is gone with the test
    nbclient.NotebookClient(book, timeout=MAX_SECONDS, kernel_name="python3", resources=about).execute()
    outputs = [output for cell in book.cells for output in cell.get("outputs", [])]
    assert not [output for output in outputs if output.output_type == "stream" and "Warning" in output.text]
    values = [output.data for output in outputs if output.output_type in ("execute_result", "display_data")]
    assert len(values) >= 2 and any("image/png" in data or "<img" in data.get("text/html", "") for data in values)
    shown = [data.get("text/html") or data.get("text/plain", "") for data in values if "image/png" not in data]
    assert not [text for text in shown if " object at 0x" in text or "<script" in text]
