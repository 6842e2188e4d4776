"""The panel of the part that was clicked: its switch and values, its formula, and its code."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from tlab.inside import PROBES
from tlab.ui.diagram.parts import PARTS, code_of, formula_of, parts_set_by, settable
from tlab.ui.diagram.sides import differing_field, lit_parts
from tlab.ui.runs.messages import SidePlan
from tlab.ui.settings.fields import field_label, format_value, registry_choices, registry_for, values_of
from tlab.ui.widgets.component import formula_markdown
from tlab.ui.widgets.markup import highlight, macros

markup = macros("diagram/view.html")
IN_BLOCK = ("stream", "norm", "attention", "mlp", "block")
MOST_FIELDS = 6  # of the optimizer there are twenty; the rest are beside those that are shown


class FieldRow(NamedTuple):
    """One setting of a part."""

    field: str
    label: str
    value: Any
    words: str
    choices: list[tuple[str, str]]  # label and key, of what is chosen from a list
    other: str  # the value of B, where it is another


def panel_html(key: str, plans: Sequence[SidePlan]) -> str:
    part = PARTS[key]
    rows = [field_row(name, plans) for name in offered_fields(key, plans)]
    probes = [(entry.label, name) for name, entry in PROBES.entries.items() if key in entry.component.looks_at]
    return markup.head(part, rows, key in IN_BLOCK, probes)


def offered_fields(key: str, plans: Sequence[SidePlan]) -> list[str]:
    """Of a part that is lit, the field that lights it comes first: of a norm it may be the layout that places it."""
    names, field = shown_fields(settable(PARTS[key]), plans), differing_field(plans)
    if field is None or key not in lit_parts(plans):
        return names
    return [field, *(name for name in names if name != field)]


def shown_fields(names: Sequence[str], plans: Sequence[SidePlan]) -> list[str]:
    """The first ones, and the one that B changes."""
    values = [values_of(plan.model, plan.training) for plan in plans]
    return [
        name for i, name in enumerate(names) if i < MOST_FIELDS or any(own[name] != values[0][name] for own in values)
    ]


def field_row(name: str, plans: Sequence[SidePlan]) -> FieldRow:
    values = [values_of(plan.model, plan.training)[name] for plan in plans]
    registry = registry_for(name)
    other = format_value(name, values[-1]) if values[-1] != values[0] else ""
    choices = registry_choices(registry) if registry is not None else []
    return FieldRow(name, field_label(name), values[0], format_value(name, values[0]), choices, other)


def panel_formula(key: str, plans: Sequence[SidePlan]) -> str:
    """Markdown: the part's formula, after that of what lights it where this is another part: a layout places norms."""
    field = differing_field(plans)
    lit_by = parts_set_by(field)[:1] if field and key in lit_parts(plans) and field not in PARTS[key].fields else []
    return "\n\n".join(formula_of_sides(one, plans) for one in [*lit_by, key])


def formula_of_sides(key: str, plans: Sequence[SidePlan]) -> str:
    """Markdown: the formula of a part, or those of A and B."""
    formulas = [formula_of(PARTS[key], values_of(plan.model, plan.training)) for plan in plans]
    if len(set(formulas)) < 2:
        return formula_markdown(formulas[0])
    return "\n\n".join(
        f"{letter}: {formula_markdown(formula)}" for letter, formula in zip("AB", formulas, strict=False) if formula
    )


def panel_code(key: str, plans: Sequence[SidePlan]) -> str:
    """The code of A and B side by side where it differs, and once where it is the same."""
    sides = [code_of(PARTS[key], values_of(plan.model, plan.training)) for plan in plans]
    rows = []
    for i in range(max(map(len, sides))):
        names: dict[str, list[str]] = {}  # of each piece of code, those under which it is run
        for name, text in dict.fromkeys(own[i] for own in sides if i < len(own)):
            names.setdefault(text, []).append(name)
        rows.append([(" and ".join(found), highlight(text)) for text, found in names.items()])
    return markup.code(rows)
