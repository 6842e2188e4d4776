"""The page of a registered class: its name, its formula, and its code as it is in the file."""

from __future__ import annotations

import inspect
import sys
import textwrap
from pathlib import Path
from typing import Any, NamedTuple

import tlab.inside  # with tlab.text, so that every registry is filled
import tlab.text  # noqa: F401
from tlab.config import options
from tlab.nn.config import ModelConfig
from tlab.registry import REGISTRIES, Entry, UnknownKeyError
from tlab.text.config import TextConfig
from tlab.training.config import TrainConfig

ROOT = Path(__file__).resolve().parents[1]
FIRST_PARTS = ("reference", "forward", "backward")  # the order in which a component is best read
PAGE = ROOT / "docs" / "switches.md"
BEGIN, END = "<!-- switches -->", "<!-- /switches -->"


class SourcePage(NamedTuple):
    """Everything a viewer shows of one registered class."""

    title: str
    slot: str
    key: str
    formula: str  # LaTeX, without dollars
    summary: str  # one plain sentence
    notice: str  # what to look out for; "" where the class says nothing
    source: str  # the paper
    file: str  # from the repository's root, with forward slashes; "" for a class that was typed in somewhere
    line: int  # where the class begins, its decorator included; 0 for such a class
    code: str  # the whole class
    parts: dict[str, str]  # method -> its code: reference, forward, backward, then whatever else the class defines


def page(slot: str, key: str) -> SourcePage:
    """The page of the class that is registered under `key` in the registry of `slot`.

    Raises:
        UnknownKeyError: there is no such slot, or no such key in it.
    """
    if slot not in REGISTRIES:
        raise UnknownKeyError(f"unknown slot {slot!r}; allowed: {', '.join(REGISTRIES)}")
    component = REGISTRIES[slot][key]
    entry = REGISTRIES[slot].entries[key]
    file, line = place(component)
    return SourcePage(
        title=entry.label,
        slot=slot,
        key=key,
        formula=entry.formula,
        summary=entry.summary,
        notice=notice(component),
        source=entry.source,
        file=file,
        line=line,
        code=code(component),
        parts=parts(component),
    )


def notice(component: type) -> str:
    """The docstring's text after "Notice:", as one paragraph."""
    _, _, found = (inspect.getdoc(component) or "").partition("Notice:")
    return " ".join(found.partition("\n\n")[0].split())


def place(component: type) -> tuple[str, int]:
    """File and line of a class. Of a file outside the repository only the name: its path may hold a user's."""
    try:
        path = Path(inspect.getsourcefile(component) or "").resolve()
        line = inspect.getsourcelines(component)[1]
    except (OSError, TypeError):
        return "", 0
    return (path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else path.name), line


def code(thing: Any) -> str:
    """The source of a class or function, moved to the left margin; for one without a file, a line that says so."""
    try:
        return textwrap.dedent(inspect.getsource(thing)).rstrip() + "\n"
    except (OSError, TypeError):
        return f"# {thing.__qualname__} was defined where no file holds its source\n"


def parts(component: type) -> dict[str, str]:
    """Method -> its code: the public ones of the class itself, and the three of `FIRST_PARTS` wherever they come from.

    The contract (the base class of the slot) does not count: its methods only say that there must be some.
    """
    contract = component.__mro__[-2] if len(component.__mro__) > 2 else None
    own = [name for name in vars(component) if not name.startswith("_")]
    found = {}
    for name in dict.fromkeys([*FIRST_PARTS, *own]):
        owner = next((parent for parent in component.__mro__ if name in vars(parent)), None)
        if owner is None or owner is contract:
            continue
        function = vars(owner)[name]
        function = getattr(function, "__func__", function)  # inside a staticmethod or classmethod
        if inspect.isfunction(function):
            found[name] = code(function)
    return found


def slots() -> list[str]:
    """Every slot by name: first those that a config chooses from, in the order of its fields, then all others."""
    chosen = [
        option.registry.slot
        for config in (TextConfig, ModelConfig, TrainConfig)
        for option in options(config).values()
        if option.registry is not None
    ]
    return list(dict.fromkeys([*chosen, *sorted(REGISTRIES)]))


def switches_table() -> str:
    """Every alternative of every registry as a Markdown table, slot by slot, each in its order of registration."""
    lines = ["| switch | key | name | formula | what it does | source |", "| --- | --- | --- | --- | --- | --- |"]
    for slot in slots():
        lines += [table_row(slot, entry) for entry in REGISTRIES[slot].entries.values()]
    return "\n".join(lines)


def table_row(slot: str, entry: Entry) -> str:
    """One line of the table."""
    # Dollar and backtick: inside them GitHub leaves backslashes and underscores alone.
    formula = f"$`{entry.formula}`$" if entry.formula else ""
    cells = [slot, f"`{entry.key}`", entry.label, formula, entry.summary, entry.source]
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def update_page(path: str | Path) -> bool:
    """Put the table between the file's two markers; -> whether that changed the file.

    Raises:
        ValueError: the file has not both markers, each once and in order.
    """
    path = Path(path)
    text = path.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end) or BEGIN in rest or END in before or END in after:
        raise ValueError(f"{path} needs the lines {BEGIN} and {END}, once each and in this order")
    updated = f"{before}{BEGIN}\n{switches_table()}\n{END}{after}"
    if updated == text:
        return False
    path.write_text(updated, encoding="utf-8")
    return True


if __name__ == "__main__":
    if len(sys.argv) > 2:
        sys.exit(f"usage: python -m tlab.source [FILE]; without a file, {PAGE.relative_to(ROOT)}")
    target = Path(sys.argv[1]) if len(sys.argv) == 2 else PAGE
    try:
        changed = update_page(target)
    except (OSError, ValueError) as error:
        sys.exit(str(error))
    print(f"{target}: the table of switches {'has been updated' if changed else 'is up to date'}")
