"""A run on one's own file is probed with the file, wherever that lies now."""

import contextlib
import io
from pathlib import Path

from workplace import enter_new_folder, succeeded, train

from tlab.cli.commands import main

enter_new_folder()
assert succeeded(train())
with contextlib.redirect_stdout(io.StringIO()):
    for probe in ("lens", "effect", "places", "neuron"):
        assert main(["probe", probe, "run"]) == 0
    Path("text.txt").rename("elsewhere.txt")
    assert main(["probe", "lens", "run", "--corpus", "elsewhere.txt"]) == 0
print("ok")
