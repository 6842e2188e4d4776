"""Two tokenizers are compared in bits per byte, in which no token is easier for being short."""

import csv
from pathlib import Path

from workplace import GRID, enter_new_folder, run, succeeded

from sweeps.report.analysis import Analysis
from sweeps.report.sentences import headline
from sweeps.results.read import read_table

enter_new_folder()
Path("text.txt").write_text("山高月小水落石出天長地久\n春花秋月何時了\n往事知多少\n" * 60, encoding="utf-8")
Path("grid.toml").write_text(GRID.replace('["norm"]', '["tokenizer"]').replace("seeds = 1", "seeds = 3"))
assert succeeded(run("sweeps", "run", "grid.toml", "--jobs", "1", "--out", "swept"))
with open("swept/cells.csv", encoding="utf-8", newline="") as cells:
    assert all(float(row["val_bits_per_byte"]) > 0 for row in csv.DictReader(cells))
sentences = " ".join(headline(Analysis(read_table("swept"))))
assert "bits per byte" in sentences and "nats per token" not in sentences, sentences
print("ok")
