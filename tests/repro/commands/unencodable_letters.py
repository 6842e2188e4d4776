"""A sample with letters that the terminal cannot show neither ends nor loses the training."""

from pathlib import Path

from workplace import enter_new_folder, run, succeeded, train

enter_new_folder()
Path("text.txt").write_text("Où est la clé\u00a0? Là\u202f!\n" * 90, encoding="utf-8")
assert succeeded(train("--sample-every", "2", "--validation-every", "0", PYTHONIOENCODING="cp1252"))
assert Path("run/checkpoint.safetensors").exists()
assert succeeded(run("tlab", "probe", "--help", PYTHONIOENCODING="ascii"))
print("ok")
