"""`docs/performance.md` and its figures, from docs/performance: `python -m benchmarks.report`."""

from __future__ import annotations

import itertools
import json
import statistics
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import tyro

from benchmarks import race
from benchmarks.cases import size_of
from benchmarks.contestants import RECIPE, SWITCHES, TARGET
from benchmarks.figures import growth_figure, limit_figure, race_figure, step_figure
from benchmarks.growth import NAMES, Growth
from benchmarks.growth import USUAL as GROWN
from benchmarks.machine import as_text, kind
from benchmarks.memory_use import STEPS, STEPS_OF_LARGE
from benchmarks.scaling import Scaling
from benchmarks.switches import MOST as SLOWEST_SWITCH
from benchmarks.units import duration
from benchmarks.units import ratio as as_ratio
from tlab.cost import step_flops
from tlab.nn.attention import LONGEST_KEPT, LONGEST_WHOLE

Report = dict[str, Any]
Reports = dict[str, Report]  # kind of processor -> what was measured on one
Row = dict[str, Any]
FOLDER = Path(__file__).parents[1] / "docs" / "performance"  # of one JSON file for each kind of processor
VERDICTS = {True: "reached", False: "**missed**", None: ""}

INTRODUCTION = """# How fast is it?

Made by `python -m benchmarks.report` from what `python -m benchmarks` measured; no figure here is typed by hand. Every
side does the same work (same model, data, batch and optimizer; a test compares losses and gradients), in a process of
its own, in turn: A B C A B C. **ratio** is our median time over theirs, so below 1 we are faster; in brackets the least
and the largest ratio of any one turn. **floor** is what the ratio would be if all our operations ran as fast as large
products of matrices do on that machine. "Processor time" leaves out what a process had to wait for others on a busy
machine. What is "at most" allowed is what the lab sets itself.

Processors of the same name differ: on the wide kind large products of matrices run at about 200 GFLOP/s a core, on the
narrow kind at about 95, and on the half kind at about 40. `python -m benchmarks limit` tells which kind a machine is.
The half kind has no targets of its own, and not all was measured on it. What was is newer than all of the other two
kinds: a model has the BLAS touch its own memory first, which makes small products quicker there; whether it does
anything for the other kinds, which have AVX-512, was not measured. Of the wide kind the switches, alone and combined,
the race and the memory are older than three more changes: no maximum of each row in the softmax, weights of long texts
that are kept up to 1,024 tokens, and the first token of a text read like the later ones.
"""


def kind_of(report: Report) -> str:
    """The kind of processor, by the first sitting: in a later one the machine may have been busy."""
    return kind(next(iter(report["machines"].values()))["large_products"])


def table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """Markdown; the first column is text and the others are figures."""
    lines = [header, ("---", *("---:" for _ in header[1:])), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def cases(report: Report, name: str) -> dict[str, list[Row]]:
    """Title -> the measured sides of the cases of one name, ours first."""
    found: dict[str, list[Row]] = {}
    for row in report["results"]:
        if row["case"] == name:
            found.setdefault(row["title"], []).append(row)
    return found


def side_cells(row: Row | None) -> tuple[str, ...]:
    """Time, ratio, its floor, target, verdict."""
    if row is None:
        return "not measured", "", "", "", ""
    target = row.get("target") or row.get("most_seconds")
    words = "" if not target else duration(target) if row["ours"] else f"{target:.2g}"
    ratio = ""
    if not row["ours"]:
        turns = row["turn_ratios"]
        ratio = f"**{as_ratio(row['ratio'])}** ({as_ratio(turns[0])} to {as_ratio(turns[-1])})"
    floor = as_ratio(row["floor"]) if row.get("floor") else ""
    return duration(row["median_seconds"]), ratio, floor, words, VERDICTS[row["met"]]


def comparisons(reports: Reports, name: str) -> str:
    """A table for each case of this name, the kinds of processor side by side."""
    found = {of_kind: cases(report, name) for of_kind, report in reports.items()}
    parts = []
    for title in dict.fromkeys(title for of_title in found.values() for title in of_title):
        kinds = {of_kind: of_title[title] for of_kind, of_title in found.items() if title in of_title}
        header = ["side"]
        for of_kind in kinds:
            header += [f"{of_kind} kind: time", "ratio", "floor", "at most", ""]
        lines = []
        for side in dict.fromkeys(row["side"] for rows in kinds.values() for row in rows):
            cells = [side_cells(next((row for row in rows if row["side"] == side), None)) for rows in kinds.values()]
            lines.append((side, *itertools.chain(*cells)))
        first = [rows[0] for rows in kinds.values()]
        clocks = listed({"processor time" if row["clock"] == "cpu" else "time on the wall" for row in first})
        turns = listed({str(len(row["seconds"])) for row in first})
        caption = f"**{title}**, one {first[0]['unit']}, {clocks}, medians of {turns} turns:"
        parts.append(f"{caption}\n\n{table(tuple(header), lines)}")
    return "\n".join(parts)


def listed(words: set[str]) -> str:
    """All of them, in one order."""
    return " or ".join(sorted(words))


def limit_words(report: Report) -> str:
    """Where a step's time goes, as shares of the sgemm rate."""
    lines = []
    for title, (step, products, large) in complete_limits(report).items():
        flops = step_flops(*size_of(step["size"]))
        rate = flops / large["median_seconds"] / 1e9
        lines.append(
            (
                title,
                f"{flops / 1e9:.2f} GFLOP",
                f"{rate:.0f} GFLOP/s",
                f"**{large['median_seconds'] / step['median_seconds']:.0%}**",
                "" if large["target"] is None else f"{1 / large['target']:.0%} {VERDICTS[large['met']]}",
                f"{(products['median_seconds'] - large['median_seconds']) / step['median_seconds']:.0%}",
                f"{1 - products['median_seconds'] / step['median_seconds']:.0%}",
            )
        )
    header = ("step", "products", "sgemm rate", "share reached", "at least", "lost in small products", "all else")
    return table(header, lines)


def complete_limits(report: Report) -> dict[str, list[Row]]:
    """Title -> the step, its products alone, and as many operations in large ones."""
    return {title: rows for title, rows in cases(report, "limit").items() if len(rows) == 3}


def memory_words(report: Report) -> str:
    """Peak memory by size and side."""
    mib = 2**20
    rows = [
        (row["size"], row["side"], f"{(row['peak'] - row['imported']) / mib:.0f}", f"{row['peak'] / mib:.0f}")
        for row in report["memory"]
    ]
    return table(("size", "side", "MiB above the imports", "MiB of the whole process"), rows)


def real_words(report: Report) -> str:
    """Times of a real model, and the memory that it takes."""
    rows = []
    for row in report["real"]:
        least, *_, most = (as_ratio(peak / row["weights_and_cache"]) for peak in row["peaks"])
        rows.append(
            (
                f"{row['title']}: {row['side']}",
                f"{statistics.median(row['peaks']) / 2**20:.0f}",
                f"**{as_ratio(row['ratio'])}** ({least} to {most})",
                "" if row["target"] is None else f"{row['target']}",
                VERDICTS[row["met"]],
            )
        )
    header = ("peak above the imports", "MiB", "of weights and cache", "at most", "")
    return f"{comparisons({kind_of(report): report}, 'real')}\n{table(header, rows)}"


def growth_words(report: Report) -> str:
    """Of each quantity the exponents, and how far measured times lie from the line of theory."""
    rows = []
    for growth in growths(report):
        least, most = growth.spread
        off = [seconds / line for seconds, line in zip(growth.medians, growth.line, strict=True)]
        rows.append(
            (
                f"{NAMES[growth.quantity]}, {growth.values[0]:,} to {growth.values[-1]:,}",
                f"{duration(growth.medians[0])} to {duration(growth.medians[-1])}",
                f"{growth.theory:.2f}",
                f"**{growth.measured:.2f}** ({least:.2f} to {most:.2f})",
                f"{as_ratio(min(off))} to {as_ratio(max(off))}",
            )
        )
    return table(("quantity", "time", "exponent of the operations", "of the time", "time over the line"), rows)


def growths(report: Report) -> list[Growth]:
    """What was measured of each quantity."""
    return [Growth(**row) for row in report["growth"]]


def scaling_words(report: Report) -> str:
    """What each number of threads would make of a step, and how far off that is where it was measured too."""
    sizes: dict[str, list[Scaling]] = {}
    for row in report["scaling"]:
        sizes.setdefault(row["size"], []).append(Scaling(**row))
    rows, checks, misses = [], [], []
    for size, scalings in sizes.items():
        for scaling in scalings:
            simulated = duration(scaling.simulated)
            measured = duration(statistics.median(scaling.measured)) if scaling.measured else ""
            miss = "" if scaling.miss is None else f"**{as_ratio(scaling.miss)}**"
            gain, serial = f"{scalings[0].simulated / scaling.simulated:.2f}", f"{scaling.serial_share:.0%}"
            rows.append((size, f"{scaling.threads}", simulated, gain, serial, measured, miss))
            if scaling.miss is not None and scaling.threads > 1:
                misses.append(scaling.miss)
                checks.append(f"{size}, {scaling.threads} threads, simulated {simulated} and measured {measured}")
    header = ("size", "threads", "simulated", "times as fast", "serial", "measured", "measured over simulated")
    if not checks:
        return f"{table(header, rows)}\nThere were no processors to hold the rule against real threads.\n"
    words = f"The rule against real threads: {'; '.join(checks)}. "
    words += f"Real steps take {as_ratio(min(misses))} to {as_ratio(max(misses))} times as long as simulated ones. "
    if min(misses) > 1:
        words += "Those of more threads leave the same out: expect them to be too short as well."
    return f"{table(header, rows)}\n{words.rstrip()}\n"


def switches_words(report: Report) -> str:
    """The slowest combinations, and how all of them lie."""
    parts = []
    for size in dict.fromkeys(row["size"] for row in report["switches"]):
        rows = sorted((row for row in report["switches"] if row["size"] == size), key=lambda row: -row["excess"])
        slow = sum(row["excess"] > SLOWEST_SWITCH for row in rows)
        median = statistics.median(row["excess"] for row in rows)
        verdict = VERDICTS[slow == 0]
        parts.append(
            f"**{size}**: {len(rows)} combinations, median {median:.2f}, slowest {rows[0]['excess']:.2f}, above "
            f"{SLOWEST_SWITCH}: {slow}, {verdict}. The five slowest:\n\n"
            + table(
                ("norm, activation, residual, position", "time", "operations", "excess"),
                [
                    (
                        ", ".join(row["switches"].values()),
                        f"{row['ratio']:.2f}",
                        f"{row['flops_ratio']:.2f}",
                        f"**{row['excess']:.2f}**",
                    )
                    for row in rows[:5]
                ],
            )
        )
    return "\n".join(parts)


def alone_words(report: Report) -> str:
    """Each switch by itself, the slowest first."""
    rows = sorted(report["alone"], key=lambda row: (row["size"], -row["excess"]))
    return table(
        ("size", "switch", "time", "operations", "excess"),
        [
            (row["size"], row["switch"], f"{row['ratio']:.2f}", f"{row['flops_ratio']:.2f}", f"**{row['excess']:.2f}**")
            for row in rows
        ],
    )


def race_words(report: Report) -> str:
    """Each run, and the means."""
    done = race.finishes(report)
    header = ("side", "seed", "steps", "loss there", "seconds, processor", "seconds, wall", "last loss")
    rows = []
    for finish in sorted(done, key=lambda finish: (finish.contestant != "tlab", finish.seed)):
        end = finish.end
        steps = f"{end.step}" if finish.arrival else f"more than {end.step}"
        last = f"{finish.looks[-1].loss:.4f}"
        rows.append(
            (finish.contestant, str(finish.seed), steps, f"{end.loss:.4f}", f"{end.cpu:.1f}", f"{end.wall:.1f}", last)
        )
    names = list(dict.fromkeys(finish.contestant for finish in done))
    words = ""
    for step in (row for rows in cases(report, "race").values() for row in rows if row["side"] in names):
        needed = race.mean_end(done, step["side"], "step")
        seconds = needed * step["median_seconds"]
        words += f"\n{step['side']}: {needed:.0f} steps of {duration(step['median_seconds'])}, measured in turn: "
        words += f"**{seconds:.1f} s**.\n"
    if len(names) == 2:
        theirs = next(name for name in names if name != "tlab")
        ratio = race.mean_end(done, "tlab", "cpu") / race.mean_end(done, theirs, "cpu")
        verdict = VERDICTS[ratio <= race.MOST]
        words += f"\nMean of the seeds: **{ratio:.2f}** of their processor time (at most {race.MOST:.2f}: {verdict})."
        if any(finish.arrival is None for finish in done):
            words += f" A run that never saw {TARGET} counts with its whole length: it would take longer still."
        words += "\n"
    switches = ", ".join(f"{name} {getattr(SWITCHES, name)}" for name in ("norm", "activation", "residual", "position"))
    recipe = (
        f"\nOurs: the same depth, width, heads, context and batch with {switches}, init {SWITCHES.init} with scaled "
        f"residual matrices, learning rate {RECIPE.learning_rate:g} after {RECIPE.warmup_steps} steps of warm-up, "
        f"falling along a line to {RECIPE.min_learning_rate:g} at step {RECIPE.steps}, betas {RECIPE.beta1:g} and "
        f"{RECIPE.beta2:g}, decay {RECIPE.weight_decay:g}. They were found by "
        "`python -m benchmarks.search`, on seed 0 and this validation split; `benchmarks/search.jsonl` has them all.\n"
    )
    return table(header, rows) + words + recipe


SECTIONS = (
    ("Training steps, one thread", "step", None, "steps"),
    ("The families that people use", "families", None, None),
    ("Training steps, two threads", "threads", None, None),
    ("More threads, simulated", "scaling", scaling_words, None),
    ("Long contexts", "long", None, None),
    ("A large model", "large", None, None),
    ("How the cost grows", "growth", growth_words, "growth"),
    ("Writing, token by token", "decode", None, None),
    ("A real model", "real", real_words, None),
    ("Byte pairs", "bpe", None, None),
    ("Import and start", "import", None, None),
    ("The physical limit", "limit", limit_words, "limit"),
    ("Peak memory", "memory", memory_words, None),
    ("Every switch", "switches", switches_words, None),
    ("Each switch alone", "alone", alone_words, None),
    (f"The race to {TARGET} on tiny Shakespeare", "race", race_words, "race"),
    ("Sinks worth knowing", "sinks", None, None),
)
NOTES = {
    "step": 'Peers and ours share batches and settings; PyTorch has fused attention and fused AdamW. "Textbook" is '
    "`benchmarks/peers/textbook.py`.",
    "families": "glassllm is a NumPy library for learners, with an autograd of its own. Its weights are "
    "float32, but on NumPy 2 its constants, arrays without axes, turn all activations to float64.",
    "long": f"Of a text of more than {LONGEST_WHOLE} tokens the lab computes attention for one block of queries after "
    f"another. Up to {LONGEST_KEPT:,} tokens it keeps each block's weights, half of the square; of a longer text none, "
    "as PyTorch's fused attention at any length. The table of peak memory says what that takes.",
    "scaling": "Simulated, not measured: a step of k threads is run with its k parts one after another on one thread, "
    "each of them timed. The simulated step takes what is outside of the parts (batch, sum of the gradients, clipping, "
    "update) and the longest part (Amdahl's law). Left out: that threads share a memory, and have to be woken. "
    "A part is of whole sequences: of the 12 of nano, eight threads read one or two.",
    "large": "A table of 8,192 tokens and twelve layers. The table of peak memory says what it takes.",
    "growth": "One training step of ours, one thread; each quantity is varied while the others are those of "
    f"{GROWN.words}, vocabulary {GROWN.config.vocab_size:,}. The line is the time of that model, times the ratio of "
    "the operations in products (`tlab info`; of contexts above 256 attention leaves out about half of the square). An "
    "exponent is the slope of the best straight line on log axes; in brackets the least and the largest of any one "
    "turn.",
    "real": "SmolLM2-135M-Instruct in float32, two threads each, beside Transformers with the same weights. The peak "
    "is that of reading or generating once the model is loaded, in 3 fresh processes of each side; the cache is that "
    "of 256 tokens.",
    "bpe": "A step with more tokens has a larger head: it may take 1.3 times as long as one with 65 characters, and "
    "what its further operations take at the same rate.",
    "limit": "The rate is that of large products on one thread in the same turns; operations are those of the step's "
    'products (`tlab info`). "Lost in small products": the products alone, in their real shapes, against the full '
    'rate. "All else": everything in a step that is no product. Both in shares of the step.',
    "memory": f"Medians of 3 fresh processes of {STEPS} steps each, of the large model {STEPS_OF_LARGE}.",
    "switches": "Time of a step over that of the size's own combination, in turn, divided by the ratio of their "
    "operations where that is above 1.",
    "alone": f"As above, for one switch at a time; at most {SLOWEST_SWITCH}. What Muon costs depends on the width.",
    "race": "The loss is over the whole validation split, in windows of 64. Times are those of training alone.",
    "sinks": "The first way is the lab's; the ratio is its time over the other's.",
}


def machine_words(reports: Reports) -> str:
    """Every machine and sitting, with what was measured there."""
    lines = []
    for of_kind, report in reports.items():
        sittings: dict[str, list[str]] = {}
        for name, machine in report["machines"].items():
            sittings.setdefault(as_text(machine), []).append(name)
        for text, names in sittings.items():
            lines.append(f"{of_kind} kind: {', '.join(names)}\n{text}\n")
    return "\n".join(["```text", "\n".join(lines).rstrip(), "```", ""])


def render(reports: Reports, images: str) -> str:
    """The whole page; sections that were not measured say so."""
    parts = [INTRODUCTION, machine_words(reports)]
    for heading, name, words, figure in SECTIONS:
        parts.append(f"## {heading}\n")
        measured = {of_kind: report for of_kind, report in reports.items() if name in report["machines"]}
        if not measured:
            parts.append(f"Not measured yet: `python -m benchmarks {name}`.\n")
            continue
        if name in NOTES:
            parts.append(NOTES[name] + "\n")
        for of_kind in measured if figure else ():
            parts.append(f"![{heading}, {of_kind} kind]({images}/performance-{of_kind}-{figure}.png)\n")
        if words is None:
            parts.append(comparisons(measured, name))
            continue
        for of_kind, report in measured.items():
            parts.append(f"On the {of_kind} kind:\n\n{words(report)}")
    return "\n".join(parts).rstrip() + "\n"


def write_figures(report: Report, start: str) -> None:
    """The figures of one kind, into files whose names start with this."""
    steps = {title: rows for title, rows in cases(report, "step").items() if len(rows) > 1}
    if steps:
        step_figure(steps).savefig(f"{start}-steps.png", dpi=130)
    if limits := complete_limits(report):
        limit_figure(limits).savefig(f"{start}-limit.png", dpi=130)
    if report.get("growth"):
        growth_figure(growths(report)).savefig(f"{start}-growth.png", dpi=130)
    if report.get("race"):
        race_figure(race.finishes(report), TARGET).savefig(f"{start}-race.png", dpi=130)


def main(folder: tyro.conf.Positional[Path] = FOLDER, page: Path = Path("docs/performance.md")) -> None:
    """Render the page and its figures.

    Args:
        folder: with what `python -m benchmarks --json` wrote, a file for each kind of processor.
        page: file to write; figures go to `images` beside it.
    """
    found = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"), reverse=True)]
    reports = {kind_of(report): report for report in found}
    images = page.parent / "images"
    images.mkdir(parents=True, exist_ok=True)
    for of_kind, report in reports.items():
        write_figures(report, str(images / f"performance-{of_kind}"))
    page.write_text(render(reports, "images"))
    print(f"wrote {page}")


if __name__ == "__main__":
    tyro.cli(main)
