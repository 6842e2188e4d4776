"""A finished sweep is looked at from any folder, and goes on with its text in another place."""

import contextlib
import io
import os
from pathlib import Path

from workplace import enter_new_folder

from sweeps.__main__ import main

folder = enter_new_folder()
swept = str(folder / "swept")
with contextlib.redirect_stdout(io.StringIO()):
    assert main(["run", "grid.toml", "--jobs", "1", "--out", swept]) == 0
    Path("moved").mkdir()
    Path("text.txt").rename("moved/another_name.txt")
    os.chdir("/")
    for command in ("status", "export"):
        assert main([command, swept]) == 0
    os.chdir(folder)
    assert main(["run", "grid.toml", "--corpus", "moved/another_name.txt", "--jobs", "1", "--out", swept]) == 0
print("ok")
