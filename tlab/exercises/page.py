"""`python -m tlab.exercises.page`: bring the table of docs/exercises.md up to date."""

from __future__ import annotations

from tlab.exercises import EXERCISES
from tlab.source import ROOT, update_page

PAGE = ROOT / "docs" / "exercises.md"


def exercises_table() -> str:
    """Every exercise as a Markdown table, with the mistakes that are known by name."""
    lines = ["| exercise | what to write | mistakes that are named |", "| --- | --- | --- |"]
    for key, entry in EXERCISES.entries.items():
        names = dict.fromkeys(mistake.name for mistake in entry.component().mistakes)
        lines.append(f"| `{key}` | {entry.summary} | {'; '.join(names)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(f"{PAGE}: {'updated' if update_page(PAGE, exercises_table()) else 'up to date'}")
