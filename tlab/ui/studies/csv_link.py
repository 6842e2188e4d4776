"""The runs of a study as a CSV file inside of a link: nothing of it is kept on the server."""

from __future__ import annotations

import base64
import csv
import io

from tlab.text.units import bits_per_byte
from tlab.ui.runs.run import SIDE_LETTERS
from tlab.ui.studies.study import Study

TRIAL_COLUMNS = (
    *("side", "label", "seed", "learning_rate", "steps", "validation_loss", "diverged_at"),
    "validation_bits_per_byte",
)


def csv_of(study: Study) -> str:
    """One row for each trial that has ended; losses in the fewest digits that give the same float again."""
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(TRIAL_COLUMNS)
    for trial in study.trials:
        outcome = study.outcomes.get(trial)
        if outcome is not None:
            plan = study.job.plans[trial.side]
            steps = plan.training.steps
            ran = (SIDE_LETTERS[trial.side], plan.label, trial.seed, trial.learning_rate, steps)
            bits = None
            if outcome.loss is not None and outcome.bytes_per_token is not None:
                bits = bits_per_byte(outcome.loss, outcome.bytes_per_token)
            writer.writerow([*ran, outcome.loss, outcome.diverged_at, bits])
    return table.getvalue()


def csv_link(study: Study) -> str:
    """The address of the file."""
    return "data:text/csv;base64," + base64.b64encode(csv_of(study).encode()).decode()
