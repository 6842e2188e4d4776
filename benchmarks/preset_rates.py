"""`python -m benchmarks.preset_rates FOLDER [LABEL ...]`: do the presets' learning rates suit their models?

Side A of each preset is trained in all of its steps, as a sweep, at five rates around its own and from several seeds.
The losses go to tests/ui/preset_rates.json, where the tests find them, and the rows of docs/learning-rates.md that they
make are printed. What is in the folder is not trained again.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import tyro

from sweeps.grid.fields import RATE, REPLICATE
from sweeps.grid.grid import Grid
from sweeps.results.summary import MEASURE, has_value
from sweeps.run.driver import Execution, run_sweep
from sweeps.store.folder import Store
from tlab.judging.learning_rates import LossesByRate, fit_valley, rate_words, rates_around
from tlab.ui.settings.fields import values_of
from tlab.ui.settings.presets import PRESETS, Preset, preset_job

RATES_FILE = Path(__file__).parents[1] / "tests" / "ui" / "preset_rates.json"
DEFAULT = Preset("Default settings", "")
MEASURED = {preset.label: preset for preset in (DEFAULT, *PRESETS.values())}
FACTOR = 2.0  # a rate farther than that from the best one does not suit


def own_rate(label: str) -> float:
    """The learning rate of a preset's side A."""
    return preset_job(MEASURED[label]).plans[0].training.learning_rate


def grid_of(label: str, seeds: int) -> Grid:
    """Side A of a preset, at rates around its own."""
    job = preset_job(MEASURED[label])
    plan = job.plans[0]
    own = values_of(plan.model, plan.training) | {"corpus": job.corpus, "validation_every": 0}
    fixed = {field: (value,) for field, value in own.items() if value is not None and field not in (REPLICATE, RATE)}
    return Grid({**fixed, RATE: rates_around(own_rate(label))}, tuple(range(seeds)))


def row(label: str, own: float, losses: LossesByRate) -> str:
    """What was found of a preset, as a row of the table."""
    valley = fit_valley(losses)
    means = dict(zip(valley.rates, valley.means, strict=True))
    low = valley.rate_words(valley.low) if valley.low else "below all"
    high = "beyond all" if valley.may_be_above else valley.rate_words(valley.high)
    if valley.problem:
        judged = "cannot tell"
    elif valley.low > FACTOR * own:
        judged = f"no: a factor {valley.low / own:.1f} too low at least"
    elif valley.high < own / FACTOR:
        judged = f"no: a factor {own / valley.high:.1f} too high at least"
    elif own / FACTOR <= valley.low and valley.high <= FACTOR * own:
        judged = "yes"
    else:
        judged = "cannot tell: the interval reaches farther"
    best = valley.best_tried
    cells = [label, rate_words(own), f"{means[own]:.3f}", rate_words(best), f"{means[best]:.3f}"]
    return f"| {' | '.join([*cells, f'{valley.rate_words(valley.optimum)} ({low} to {high})', judged])} |"


def main(
    folder: Annotated[Path, tyro.conf.Positional],
    labels: Annotated[tuple[str, ...], tyro.conf.Positional] = tuple(MEASURED),
    seeds: int = 3,
    jobs: int = 2,
) -> None:
    """Train what is missing, keep the losses, and print a row for each preset.

    Args:
        folder: of the sweeps, one for each preset.
        labels: the presets; all of them by default.
        seeds: how many at each rate.
        jobs: runs at once.
    """
    kept = json.loads(RATES_FILE.read_text()) if RATES_FILE.exists() else {}
    for label in labels:
        result = run_sweep(grid_of(label, seeds), Store(folder / label), Execution(jobs=jobs))
        if result.missing:
            break
        losses: dict[float, dict[int, float | None]] = {}
        for cell in result.table.rows:
            loss = round(cell[MEASURE], 4) if has_value(cell) else None
            losses.setdefault(cell[RATE], {})[cell[REPLICATE]] = loss
        kept[label] = {f"{rate:g}": list(of_rate.values()) for rate, of_rate in sorted(losses.items())}
        RATES_FILE.write_text(json.dumps(kept, indent=1) + "\n")
        print(row(label, own_rate(label), losses), flush=True)


if __name__ == "__main__":
    tyro.cli(main)
