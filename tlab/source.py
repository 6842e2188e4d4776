"""The page of a registered class or a part of the core: its name, its formula, and its code as it is in the file."""

from __future__ import annotations

import argparse
import ast
import difflib
import inspect
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

import tlab.false_winners.mistakes
import tlab.inside  # with those beside it, so that every registry is filled
import tlab.pretrained.writing
import tlab.text  # noqa: F401
from tlab.cli.output import LostOutputError, delivered_output, prepare_streams
from tlab.config import options
from tlab.generate import Writer, choose, draw, keep_top_k, keep_top_p, sampling_steps
from tlab.nn.attention import Attention, AttentionGate, ValueMix, causal_mask, split_heads
from tlab.nn.config import ModelConfig
from tlab.nn.linear import Embedding, Linear
from tlab.nn.loss import CrossEntropy, LabelSmoothing, ZLoss
from tlab.nn.mlp import Mlp
from tlab.nn.model import Block, Transformer
from tlab.nn.residuals import Branch, Sequential
from tlab.nn.scores.caps import SoftCap
from tlab.nn.scores.softmaxes import masked_softmax, softmax_backward
from tlab.registry import REGISTRIES, Entry, UnknownKeyError
from tlab.text.config import TextConfig
from tlab.training.config import TrainConfig
from tlab.training.dropout import Dropout
from tlab.training.optimizers import clip_gradient
from tlab.training.trainer import Trainer, draw_batch, evaluate

ROOT = Path(__file__).resolve().parents[1]
FIRST_PARTS = ("reference", "forward", "backward")  # the order in which a component is best read
PAGE = ROOT / "docs" / "switches.md"
BEGIN, END = "<!-- table -->", "<!-- /table -->"


CORE_SLOT = "core"  # the slot of what is no switch


class CorePart(NamedTuple):
    """A part that is the same whatever is chosen."""

    label: str
    component: type  # what the page is about
    functions: tuple[Callable[..., Any], ...]  # what it shows, in the order in which it is best read
    formula: str = ""
    source: str = ""


CORE_PARTS = {
    "model": CorePart(
        "Model", Transformer,
        (
            Transformer.forward, Transformer.embed, Transformer.forward_embedded, Transformer.run_blocks,
            Transformer.read_out, Transformer.backward,
        ),
        r"\mathrm{logits} = \mathrm{head}(\mathrm{block}_L(\dots \mathrm{block}_1(\mathrm{embed}(\mathrm{tokens}))))",
        "Vaswani et al. 2017; Radford et al. 2019 (GPT-2)",
    ),
    "block": CorePart(
        "Block", Block,
        (Block.forward, Block.backward, Sequential.forward, Sequential.backward, Branch.forward, Branch.backward),
        r"x \leftarrow x + f_\mathrm{attention}(x), \quad x \leftarrow x + f_\mathrm{MLP}(x)",
    ),
    "attention": CorePart(
        "Attention", Attention,
        (
            Attention.forward, Attention.weigh, Attention.backward, causal_mask, masked_softmax, softmax_backward,
            split_heads,
        ),
        r"\mathrm{softmax}\!\left(\frac{Q K^\top}{\sqrt{D}} + \mathrm{mask}\right) V\,W_\mathrm{out}",
        "Vaswani et al. 2017",
    ),
    "attention_gate": CorePart(
        "Gate of attention", AttentionGate,
        (AttentionGate.reference, AttentionGate.forward, AttentionGate.backward),
        r"(a \odot \sigma(h W_\mathrm{gate}))\,W_\mathrm{out}", "Qiu et al. 2025",
    ),
    "value_residual": CorePart(
        "Value residual", ValueMix, (ValueMix.reference, ValueMix.forward, ValueMix.backward),
        r"v = (1 - \lambda)\,v + \lambda\,v_1", "Zhou et al. 2024",
    ),
    "soft_cap": CorePart(
        "Soft cap", SoftCap, (SoftCap.reference, SoftCap.forward, SoftCap.backward), r"c \tanh(s / c)", "Gemma 2, 2024"
    ),
    "mlp": CorePart(
        "MLP", Mlp, (Mlp.forward, Mlp.backward), r"\mathrm{activation}(x\,W_\mathrm{up})\,W_\mathrm{down}"
    ),
    "linear": CorePart("Linear layer", Linear, (Linear.forward, Linear.backward), r"x\,W + b"),
    "embedding": CorePart(
        "Embedding", Embedding,
        (Embedding.forward, Embedding.backward, Embedding.unembed, Embedding.unembed_backward), r"x_t = E[t]",
    ),
    "loss": CorePart(
        "Loss", CrossEntropy, (CrossEntropy.reference, CrossEntropy.forward, CrossEntropy.backward),
        r"-\frac{1}{N} \sum_t \log p(\mathrm{target}_t)",
    ),
    "average": CorePart(
        "Average of the weights", Trainer, (Trainer.update_average,),
        r"\bar w \leftarrow \beta \bar w + (1 - \beta)\,w", "Polyak & Juditsky 1992; Morales-Brotons et al. 2024",
    ),
    "dropout": CorePart(
        "Dropout", Dropout, (Dropout.__call__, Dropout.from_row),
        r"x \to \tfrac{x \odot m}{1 - p},\quad m \sim \mathrm{Bernoulli}(1 - p)",
        "Srivastava et al. 2014; Vaswani et al. 2017",
    ),
    "label_smoothing": CorePart(
        "Label smoothing", LabelSmoothing, (LabelSmoothing.reference, LabelSmoothing.backward),
        r"y \to (1 - \alpha)\,y + \alpha / V", "Szegedy et al. 2016",
    ),
    "z_loss": CorePart(
        "z-loss", ZLoss, (ZLoss.reference, ZLoss.forward, ZLoss.backward), r"+\,c\,\overline{(\log Z)^2}",
        "Chowdhery et al. 2022 (PaLM)",
    ),
    "step": CorePart(
        "Training step", Trainer,
        (
            Trainer.train_step, Trainer.compute_gradients, draw_batch, Transformer.accumulate_gradients, clip_gradient,
            evaluate,
        ),
        r"\theta \leftarrow \theta - \mathrm{optimizer}(\nabla_\theta\,\mathrm{loss})",
    ),
    "sampling": CorePart(
        "Choice of a token", Writer, (Writer.__call__, choose, sampling_steps, keep_top_k, keep_top_p, draw),
        r"t \sim \mathrm{softmax}(\mathrm{logits} / \mathrm{temperature})",
    ),
}  # fmt: skip


class SourcePage(NamedTuple):
    """Everything a viewer shows of one registered class, or of one part of the core."""

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
    """The page of the class that is registered under `key` in the registry of `slot`, or of a part of `CORE_SLOT`.

    Raises:
        UnknownKeyError: there is no such slot, or no such key in it.
    """
    if slot == CORE_SLOT and key in CORE_PARTS:
        part = CORE_PARTS[key]
        entry = Entry(key, part.component, part.label, part.formula, part.source)
        shown = {name_within(part.component, function): code(function) for function in part.functions}
    elif slot in REGISTRIES:
        REGISTRIES[slot][key]  # the helpful error, where there is none
        entry = REGISTRIES[slot].entries[key]
        shown = parts(entry.component)
    else:
        known = CORE_PARTS if slot == CORE_SLOT else [CORE_SLOT, *REGISTRIES]
        raise UnknownKeyError(f"unknown page {slot!r}, {key!r}; allowed: {', '.join(known)}")
    component = entry.component
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
        parts=shown,
    )


def name_within(component: type, function: Callable[..., Any]) -> str:
    """A method of the component by its name alone; of another class, with that."""
    return function.__qualname__.removeprefix(f"{component.__qualname__}.")


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


class DiffLine(NamedTuple):
    """One line of a comparison of two classes."""

    sign: Literal[" ", "-", "+"]  # in both, in the first alone, in the second alone
    number: int  # counted from 0, in the code that it is taken from: the first, where both have it


def compare_code(first: str, second: str) -> list[DiffLine]:
    """What has to be changed in the one code to make it the other, with the lines that stay."""
    old, new = first.splitlines(), second.splitlines()
    lines: list[DiffLine] = []
    for kind, begin, end, new_begin, new_end in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if kind == "equal":
            lines += [DiffLine(" ", i) for i in range(begin, end)]
        else:
            lines += [DiffLine("-", i) for i in range(begin, end)]
            lines += [DiffLine("+", i) for i in range(new_begin, new_end)]
    return lines


def bare_code(component: type) -> str:
    """The class without its decorator and docstrings: what it does, and not what is said of it."""
    text = code(component)
    lines = text.splitlines()
    left_out: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ClassDef):
            left_out.update(range(min((mark.lineno for mark in node.decorator_list), default=node.lineno), node.lineno))
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node) is not None:
            end = node.body[0].end_lineno or 0
            left_out.update(range(node.body[0].lineno, end + (end < len(lines) and not lines[end].strip()) + 1))
    return "".join(f"{line}\n" for number, line in enumerate(lines, 1) if number not in left_out)


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
    """Every alternative of every registry as a Markdown table, slot by slot, each in its order of registration.

    Then the fields that switch something on by their value alone.
    """
    lines = ["| switch | key | name | formula | what it does | source |", "| --- | --- | --- | --- | --- | --- |"]
    for slot in slots():
        lines += [table_row(slot, entry) for entry in REGISTRIES[slot].entries.values()]
    for config in (ModelConfig, TrainConfig):  # what a value alone switches on
        for name, known in options(config).items():
            if known.formula:
                lines.append(markdown_row(name, "", known.label, known.formula, known.help, known.source))
    return "\n".join(lines)


def table_row(slot: str, entry: Entry) -> str:
    """One line of the table, for a class."""
    return markdown_row(slot, f"`{entry.key}`", entry.label, entry.formula, entry.summary, entry.source)


def markdown_row(switch: str, key: str, label: str, formula: str, summary: str, source: str) -> str:
    """A line of a table in Markdown."""
    # Dollar and backtick: inside them GitHub leaves backslashes and underscores alone.
    cells = [switch, key, label, f"$`{formula}`$" if formula else "", summary, source]
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def update_page(path: str | Path, table: str | None = None) -> bool:
    """Put a table, by default that of the switches, between the file's two markers; -> whether that changed the file.

    Raises:
        ValueError: the file has not both markers, each once and in order.
    """
    path = Path(path)
    text = path.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end) or BEGIN in rest or END in before or END in after:
        raise ValueError(f"{path} needs the lines {BEGIN} and {END}, once each and in this order")
    updated = f"{before}{BEGIN}\n{switches_table() if table is None else table}\n{END}{after}"
    if updated == text:
        return False
    path.write_text(updated, encoding="utf-8")
    return True


def main() -> None:
    """Bring the table of switches of a page up to date."""
    prepare_streams()
    parser = argparse.ArgumentParser(prog="python -m tlab.source", description=main.__doc__)
    parser.add_argument("page", nargs="?", type=Path, default=PAGE, help=f"by default {PAGE.relative_to(ROOT)}")
    page = parser.parse_args().page
    try:
        with delivered_output():
            changed = update_page(page)
            print(f"{page}: the table of switches {'has been updated' if changed else 'is up to date'}")
    except LostOutputError:
        sys.exit(1)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
