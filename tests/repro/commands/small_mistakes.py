"""What is typed or given wrongly is told in plain words, and nothing is written where nobody asked for it."""

from pathlib import Path

from workplace import GRID, enter_new_folder, refused, run, succeeded, train

enter_new_folder()
Path("one.txt").write_text("a" * 3000)
assert refused(train("--corpus", "one.txt"), "only one character")
Path("folder.txt").mkdir()
assert refused(run("tlab", "info", "--corpus", "folder.txt"), "is a folder")
Path("marked.toml").write_bytes(b"\xef\xbb\xbf" + GRID.encode())
assert succeeded(run("sweeps", "plan", "marked.toml"))
assert refused(train("--out", ""), "out is empty") and not Path("config.json").exists()
assert succeeded(run("tlab", "--version"))
assert refused(run("tlab", "generate", ".", "--seed", "9" * 20), "at most")
Path("data").mkdir()
Path("data/names.txt").write_text("my own\n" * 100)
assert "remove the file" not in run("tlab", "info", "--corpus", "names", TLAB_DATA_DIR="").stderr
Path("wide.txt").write_bytes(("five dozen liquor jugs\n" * 100).encode("utf-16-le"))
assert refused(train("--corpus", "wide.txt"), "null bytes")
assert succeeded(run("tlab", "--help", COLUMNS="5"))
assert "EffectProbe(" not in run("tlab", "probe", "--help", PYTHONOPTIMIZE="2").stdout
print("ok")
