"""The JSON file that everything measured goes to, part by part: a run that is stopped loses one part at most."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


class Store:
    """A report on disk; without a path, none.

    `results` is a list of measured sides. All else (`memory`, `switches`, `alone`, `race`) is a section by name.
    `machines` tells of each case's and section's name where it was measured last.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.report: dict[str, Any] = {"results": [], "machines": {}}
        self.read()

    def read(self) -> None:
        """Take what is on disk: another run may have added to it meanwhile."""
        if self.path is not None and self.path.exists():
            self.report = json.loads(self.path.read_text())

    def add(self, machine: dict[str, Any], results: list[dict[str, Any]]) -> None:
        """Take the measured sides of one case, in place of what an earlier run measured of the same sides."""
        self.read()
        new = {(result["case"], result["title"], result["side"]) for result in results}
        kept = [old for old in self.report["results"] if (old["case"], old["title"], old["side"]) not in new]
        self.report["results"] = kept + results
        self.report["machines"] |= {result["case"]: machine for result in results}
        self.write()

    def put(self, machine: dict[str, Any], section: str, content: Any) -> None:
        """Take a whole section."""
        self.read()
        self.report[section] = content
        self.report["machines"][section] = machine
        self.write()

    def put_sizes(self, machine: dict[str, Any], section: str, rows: list[dict[str, Any]]) -> None:
        """Take the rows of some sizes, in place of what an earlier run measured of the same sizes."""
        self.read()
        new = {row["size"] for row in rows}
        kept = [row for row in self.report.get(section, ()) if row["size"] not in new]
        if rows:
            self.put(machine, section, kept + rows)

    def write(self) -> None:
        """Replace the file."""
        if self.path is None:
            return
        unfinished = self.path.with_suffix(".part")  # a file is never half written: it is replaced at once
        unfinished.write_text(json.dumps(self.report, indent=1) + "\n")
        os.replace(unfinished, self.path)
