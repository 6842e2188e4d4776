"""Each small program shows that a fault which others once found is gone, and prints ok. README.md lists them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent
PATH = os.pathsep.join(map(str, (FOLDER.parents[1], FOLDER)))
PROGRAMS = sorted(FOLDER.glob("*/*.py"))


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.relative_to(FOLDER).as_posix())
def test_the_program_prints_ok(program):
    environment = {**os.environ, "PYTHONPATH": PATH}
    done = subprocess.run([sys.executable, program], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, "ok"), done.stderr


def test_the_index_names_every_program():
    index = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert not [program.name for program in PROGRAMS if f"`{program.relative_to(FOLDER).as_posix()}`" not in index]
