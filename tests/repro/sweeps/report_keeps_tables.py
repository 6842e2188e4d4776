"""A report of a sweep whose text was edited since keeps every row of its tables."""

import contextlib
import io
from pathlib import Path

from workplace import enter_new_folder

from sweeps.__main__ import main

enter_new_folder()
with contextlib.redirect_stdout(io.StringIO()):
    assert main(["run", "grid.toml", "--jobs", "1", "--out", "swept"]) == 0
    before = Path("swept/cells.csv").read_text(encoding="utf-8")
    with open("text.txt", "a", encoding="utf-8") as text:
        text.write("One line more.\n")
    main(["report", "swept"])
assert Path("swept/cells.csv").read_text(encoding="utf-8") == before and before.count("\n") > 2
print("ok")
