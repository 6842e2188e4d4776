"""A limit too short for anything ends every cell, and with them the sweep."""

import csv

from workplace import enter_new_folder, run

enter_new_folder()
run("sweeps", "run", "grid.toml", "--jobs", "2", "--timeout", "0.0001", "--out", "swept", seconds=90)
with open("swept/cells.csv", encoding="utf-8", newline="") as cells:
    assert {row["status"] for row in csv.DictReader(cells)} == {"timeout"}
print("ok")
