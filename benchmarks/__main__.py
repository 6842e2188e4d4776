"""`python -m benchmarks`: measure, print, and say whether each target was reached."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from benchmarks import growth, memory_use, race, real_model, scaling, switches
from benchmarks.cases import CASES, LARGE_SIZE, MEASURED_MEMORY, TRAINED, Case
from benchmarks.machine import as_text, describe
from benchmarks.store import Store
from benchmarks.turns import Result, measure, missing_modules
from benchmarks.units import duration, ratio

Name = Literal[
    "step",
    "families",
    "threads",
    "scaling",
    "long",
    "large",
    "growth",
    "decode",
    "bpe",
    "import",
    "limit",
    "sinks",
    "memory",
    "switches",
    "alone",
    "race",
    "real",
]


def line(result: Result) -> str:
    """One side: its time, and how ours compares."""
    verdict = {True: "reached", False: "MISSED", None: ""}[result.met]
    words = f"  {result.side.label:<36}{duration(result.median):>9}"
    if result.is_ours:
        limit = result.case.most_seconds
        words += f"   ({duration(min(result.seconds))} to {duration(max(result.seconds))})"
        return (words + (f"   at most {duration(limit)}: {verdict}" if limit else "")).rstrip()
    ratios = result.turn_ratios
    words += f"   ratio {ratio(result.ratio)}  ({ratio(ratios[0])} to {ratio(ratios[-1])})"
    words += f"   floor {ratio(result.floor)}" if result.floor else ""
    return words + (f"   at most {result.target:.2g}: {verdict}" if result.target else "")


def selected(case: Case, sizes: tuple[str, ...], peers: tuple[str, ...], threads: tuple[int, ...]) -> Case | None:
    """The case with our side and the peers asked for, or None where it is not asked for at all."""
    if (sizes and case.size not in sizes) or (threads and case.threads not in threads):
        return None
    wanted = [side for side in case.sides[1:] if any(name.lower() in side.label.lower() for name in peers)]
    if peers:
        return case._replace(sides=(case.sides[0], *wanted)) if wanted else None
    return case


def main(
    what: tyro.conf.Positional[tuple[Name, ...]] = (),
    sizes: tuple[Literal["default", "nano", "small", "large"], ...] = (),
    peers: tuple[str, ...] = (),
    threads: tuple[Literal[1, 2], ...] = (),
    turns: int = 9,
    clock: Literal["wall", "cpu"] = "wall",
    json_file: Annotated[Path | None, tyro.conf.arg(name="json")] = None,
) -> None:
    """Measure the lab against its peers, side by side in turn.

    Printed are medians, with our fastest and slowest turn; the ratio of our median to theirs; and the least and the
    largest ratio of any one turn. The ratios stand a busy machine, as it slows all sides; the times do not. Ctrl-C
    ends it; the cases that are complete are in the JSON file by then.

    Args:
        what: which cases to run; all where none is named.
        sizes: only the cases of these sizes.
        peers: only the peers with one of these words in their name, such as "jax".
        threads: only the cases with this many threads.
        turns: how often each side has its turn. At least 7 for figures to be quoted.
        clock: time on the wall; or, where other programs keep the machine busy, of the processor that a side has,
            which leaves out the time that it had to wait for one.
        json_file: file to write everything measured to; what an earlier run wrote there of other cases is kept.
    """
    began = time.perf_counter()
    machine = describe()
    print(f"{as_text(machine)}\n{turns} turns, {clock} clock\n", flush=True)
    store = Store(json_file)
    cases = [selected(case, sizes, peers, threads) for case in CASES if not what or case.name in what]
    chosen = [case for case in cases if case is not None]
    for number, case in enumerate(chosen, start=1):
        print(f"[{number}/{len(chosen)}] {case.name}: {case.title}. Time of one {case.unit}:", flush=True)
        missing = {side.label: names for side in case.sides if (names := missing_modules(side))}
        results = list(measure(case, turns, clock, machine["large_products"]))
        for result in results:
            print(line(result), flush=True)
        for label, names in missing.items():
            print(f"  {label:<36} skipped: needs {', '.join(names)}")
        store.add(machine, [result.to_json() for result in results])
        print()
    measure_sections(store, machine, tuple(what), sizes or MEASURED_MEMORY, turns, clock)
    print(f"measured in {(time.perf_counter() - began) / 60:.1f} minutes")


def measure_sections(
    store: Store, machine: dict[str, Any], what: tuple[str, ...], sizes: tuple[str, ...], turns: int, clock: str
) -> None:
    """What is not a comparison of times in turn, each with a way of its own."""

    def keep(section: str, tested: tuple[str, ...], measured: Callable[[str], list[dict[str, Any]]]) -> None:
        """Measure these sizes, and write each as soon as it is complete."""
        for size in tested:
            if size in sizes:
                store.put_sizes(machine, section, measured(size))

    if not what or "memory" in what or "large" in what:
        tested = sizes if not what or "memory" in what else (LARGE_SIZE,)
        keep("memory", tested, lambda size: memory_use.section((size,), processes=3))
    if not what or "growth" in what:
        print("growth: one training step of ours, one thread, by each quantity:", flush=True)
        store.put(machine, "growth", growth.section(turns))
    if not what or "scaling" in what:
        print("scaling: one training step of ours, by the number of threads:", flush=True)
        keep("scaling", TRAINED, lambda size: scaling.section((size,), turns))
    if not what or "switches" in what:
        keep("switches", ("default", "nano"), lambda size: switches.section(size, max(3, turns // 3)))
    if not what or "alone" in what:
        keep("alone", ("default", "nano"), lambda size: switches.alone(size, max(5, turns // 2)))
    if not what or "race" in what:
        race.compete(store)
    if not what or "real" in what:
        real_model.compare(store, machine, turns, clock)


if __name__ == "__main__":
    try:
        tyro.cli(main)
    except KeyboardInterrupt:
        raise SystemExit("\nstopped; the cases that were complete are kept") from None
