"""What the Train tab shows of a run: values for its two drawings, and small texts."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from tlab.cost import step_flops
from tlab.judging.one_run import KNOWN_RULE
from tlab.nn.norms import NORMS
from tlab.source import notice
from tlab.training.optimizers import OPTIMIZERS
from tlab.training.records import Divergence
from tlab.training.shared_start import Start, shared_start
from tlab.ui.demo.shipped_run import is_shipped
from tlab.ui.runs.comparison import easier_part, first_parting, parting_words, verdict
from tlab.ui.runs.manager import Place
from tlab.ui.runs.messages import Insight, Job
from tlab.ui.runs.run import DIVERGED, FAILED, PAUSED, RUNNING, STARTING, STOPPED, WAITING, Run, Side
from tlab.ui.settings.fields import field_names, registry_for, values_of
from tlab.ui.settings.run_settings import other_settings_words
from tlab.ui.widgets.markup import macros
from tlab.wording import duration, listed, part_name, written

markup = macros("tabs/train/view.html")
state_html, samples_html, notice_html = markup.state, markup.samples, markup.notice

# ------------------------------------------------------------------------------------------------ loss chart


def chart_value(run: Run, bands: Sequence[dict[str, Any]] = ()) -> dict[str, Any]:
    """What the chart draws of a run, and as `bands` of others that differ in their seed.

    It grows at its end only, so that Gradio sends what is new and no more.
    """
    steps = run.steps
    if all(side.divergence for side in run.sides):
        # Of a run that diverged early, the whole axis would show nothing but a stroke.
        steps = max(10, min(steps, round(1.2 * run.step)))
    return {
        "steps": steps,
        "baselines": [[name, round(loss, 4)] for name, loss in run.baselines.items()],
        "bytes_per_token": list(run.bytes_per_token) if run.bytes_per_token else None,
        "alternative": chart_words(run),
        "provisional": provisional_words(run),
        "parted_at": first.step if (first := first_parting(run)) else None,
        "bands": list(bands),
        "runs": [
            {**identity(side), "marker": marker(side), "per_step": per_step(side, run), **side.curve.to_json()}
            for side in run.sides
        ],
    }


def provisional_words(run: Run) -> str:
    """Which curves are not to be judged yet, since losses fall and change places while the learning rate decays."""
    early = [s for s in run.sides if s.step and s.divergence is None and s.training.decays_after(s.step)]
    if not early:
        return ""
    who = f"{early[0].letter} is provisional" if len(early) < len(run.sides) else "Provisional"
    if run.active or run.state == PAUSED:
        return f"{who} until the learning rate has decayed"
    return f"{who}: the run ended before the learning rate had decayed"


def identity(side: Side) -> dict[str, str]:
    return {"letter": side.letter, "label": side.label}


def per_step(side: Side, run: Run) -> dict[str, float]:
    """What a step of this side costs, in each unit of the chart's horizontal axis: in seconds its mean so far."""
    training = side.training
    config = side.model.with_vocab(run.vocab_size or 2)  # known before the first step
    return {
        "steps": 1,
        "tokens": training.batch_size * config.context_length,
        "seconds": round(side.seconds / side.step, 6) if side.step else 0,
        "FLOPs": step_flops(config, training.batch_size),
    }


def marker(side: Side) -> dict[str, Any] | None:
    if side.divergence is None:
        return None
    step = side.divergence.step
    return {"step": step, "text": f"{side.letter} diverged at step {step:,}"}


def chart_words(run: Run) -> str:
    """The chart for those who cannot see it."""
    losses = [side_words(side, run) for side in run.sides if side.curve.bins]
    words = f"Loss chart over {run.step} of {run.steps} steps." if losses else "Loss chart, still empty."
    provisional = provisional_words(run)
    return " ".join([words, *losses, *([f"{provisional}."] if provisional else [])])


def side_words(side: Side, run: Run) -> str:
    name = f"{side.letter}, {side.label}: training" if len(run.sides) > 1 else "Training"
    words = f"{name} loss began at {side.curve.bins[0][0]:.2f}, "
    words += f"and its moving average is now {side.curve.bins[-1][3]:.2f} nats per token."
    if side.validation_loss is not None:
        bits = run.bits_per_byte(side.validation_loss)
        words += f" Validation loss: {side.validation_loss:.2f}{f', {bits:.2f} bits per byte' if bits else ''}."
    return words


# ------------------------------------------------------------------------------------------------ why panel


class WhyChart(NamedTuple):
    """How one field of `LayerInsight` is drawn over the layers."""

    title: str
    unit: str
    logarithmic: bool
    caption: str
    has_decay: bool = False  # whether what weight decay alone would be is drawn as well


WHY_CHARTS = {
    "gradient_norm": WhyChart(
        "Gradient", "norm", True,
        "Gradient norm by layer: where the line falls to the left, early layers get a smaller one. Adam and its like "
        "divide each weight's step by the gradient's own size: their updates can be of usual size all the same, those "
        "of SGD are as small as the gradient. See Update.",
    ),
    "stream_rms": WhyChart(
        "Residual stream", "root mean square", False,
        "It grows as layers add to it, unless a norm after each sum (Post-LN) resets it.",
    ),
    "update_ratio": WhyChart(
        "Update", "share of the weight", True,
        "Size of this step's update, weight decay included, relative to the matrices; about 0.001 is a common rule of "
        "thumb. Dotted: what weight decay alone moves, where it is decoupled from the gradient, as in AdamW.",
        has_decay=True,
    ),
    "dead_share": WhyChart(
        "Dead units", "share", False, "MLP units with almost no output on any token of the batch."
    ),
    "entropy": WhyChart(
        "Attention entropy", "nats", False, "High: the heads attend almost uniformly. Low: they focus on few tokens."
    ),
}  # fmt: skip


def why_value(run: Run) -> dict[str, Any]:
    """What the panel draws. Each side's rows are one text that only grows; see `Curve.to_json`."""
    first = first_parting(run)
    return {
        "sides": [
            {**identity(side), "rows": insight_text(side.insights), "decay": decay_text(side)} for side in run.sides
        ],
        "charts": [
            {"title": c.title, "unit": c.unit, "logarithmic": c.logarithmic, "has_decay": c.has_decay}
            for c in WHY_CHARTS.values()
        ],
        "words": parting_words(run),
        "parts": differing_parts(run),
        "parting": first
        and {"step": first.step, "layer": first.layer, "chart": list(WHY_CHARTS).index(first.quantity)},
        "over": not run.active,
    }


def differing_parts(run: Run) -> list[dict[str, str]]:
    """What is known of the parts in which A and B differ, whatever this run shows; nothing of plain numbers.

    Nor of a planted bug, which makes a part another than it says, or of a layout that has no norms to place.
    """
    if len(run.sides) < 2 or any(plan.bug for plan in run.job.plans):
        return []
    values = [values_of(side.model, side.training) for side in run.sides]
    is_bare = any(NORMS[own["norm"]].is_identity for own in values)
    found = []
    for name in field_names():
        registry = registry_for(name)
        if registry is None or values[0][name] == values[1][name] or (name == "residual" and is_bare):
            continue
        for side, own in zip(run.sides, values, strict=True):
            entry = registry.entries[own[name]]
            remark = notice(entry.component)
            words = f"{entry.summary} {remark[:1].upper()}{remark[1:]}".strip()
            found.append({"letter": side.letter, "label": entry.label, "words": words, "source": entry.source})
    return found


def insight_text(insights: Sequence[Insight]) -> str:
    """Each insight as "step|gradient norms|stream sizes|...;". Three digits are what a small chart shows."""
    rows = []
    for insight in insights:
        columns = zip(*insight.layers, strict=True)
        rows.append("|".join([str(insight.step), *(",".join(f"{v:.3g}" for v in column) for column in columns)]))
    return "".join(f"{row};" for row in rows)


def decay_text(side: Side) -> str:
    """For each insight what weight decay alone makes of the matrices, as a share of them, as "share;share;...".

    Empty where the optimizer has no decay of its own, apart from the gradient.
    """
    training = side.training
    if not training.weight_decay or not OPTIMIZERS[training.optimizer].decouples_decay:
        return ""
    shares = (training.weight_decay * training.learning_rate_at(insight.step) for insight in side.insights)
    return "".join(f"{share:.3g};" for share in shares)


# ------------------------------------------------------------------------------------------------ numbers


ANSWERS = "Right answers on validation text, %"
SIDE_NUMBERS: list[tuple[str, str, Callable[[Side, Run], float | None]]] = [
    ("Validation loss", ".3f", lambda side, _: side.validation_loss),
    ("Validation loss, bits per byte", ".3f", lambda side, run: run.bits_per_byte(side.validation_loss)),
    (ANSWERS, ".1f", lambda side, _: None if side.accuracy is None else 100 * side.accuracy),
    ("Training loss, averaged", ".3f", lambda side, _: side.curve.bins[-1][3] if side.curve.bins else None),
    ("Parameters", ",", lambda side, _: side.num_parameters),
    ("Seconds of training", ",.1f", lambda side, _: side.seconds or None),
    ("Milliseconds a step", ",.1f", lambda side, _: 1000 * side.seconds / side.step if side.seconds else None),
    ("Tokens a second", ",.0f",
     lambda side, _: side.last.tokens / side.seconds if side.last and side.seconds else None),
]  # fmt: skip
"""Name, format, and how it is found."""
TIMES = ("Seconds of training", "Milliseconds a step", "Tokens a second")
MANY = 1e5  # a loss from here on is read by its power of ten


def numbers_html(run: Run) -> str:
    """Both sides in numbers with their difference, and how far they are.

    Losses after different numbers of steps have none here: the sentence compares them at the last common one.
    """
    lengths = {side.training.steps if side.divergence is None else side.step for side in run.sides}
    rows = []
    # What a shipped run took, it took on another machine.
    left_out = {*(TIMES if is_shipped(run) else ()), *(() if has_answers(run) else (ANSWERS,))}
    measures = [row for row in SIDE_NUMBERS if row[0] not in left_out]
    for name, specification, measure in measures:
        values = [measure(side, run) for side in run.sides]
        cells = ["–" if value is None else measured(value, specification) for value in values]
        if len(run.sides) > 1:
            a, b = values
            if a is None or b is None or ("loss" in name and len(lengths) > 1):
                cells.append("–")
            else:
                cells.append(measured(b - a, f"+{specification}"))
        rows.append((name, cells))
    notes = [shared_words(run), easier_part(run), rule_words(run)]
    return markup.numbers(run, rows, " ".join(filter(None, notes)))


def has_answers(run: Run) -> bool:
    """Whether it is known of a side how many answers of its text it gets right."""
    return any(side.accuracies for side in run.sides)


def rule_words(run: Run) -> str:
    """What a perfect model would score, on a text of which it is known how many answers are right."""
    if not has_answers(run):
        return ""
    known = run.baselines.get(KNOWN_RULE)
    loss = "" if known is None else f", and a validation loss of {known:.3f}"
    return f"A model that knows the rule of the text has 100% of its answers right{loss}."


def verdict_html(run: Run, of_seeds: str = "") -> str:
    """What came of it, its first sentence before all; nothing as long as there is nothing to say.

    Args:
        run: whose comparison it is.
        of_seeds: what five seeds tell of it, which one run of each cannot.
    """
    words = of_seeds or verdict(run)
    first, stop, rest = words.partition(". ")
    return markup.verdict(f"{first}{stop.strip()}", rest) if words else ""


def measured(value: float, specification: str) -> str:
    """A number as its row is written; the loss of a run that exploded with its power of ten."""
    exploded = specification.endswith(".3f") and abs(value) >= MANY
    return written(value, specification.replace(".3f", ".2e") if exploded else specification)


def shared_words(run: Run) -> str:
    """What the two sides have in common before their first step; known once the text is read."""
    if len(run.sides) < 2 or run.vocab_size is None:
        return ""
    starts = [
        Start(
            run.job.corpus,
            side.model.with_vocab(run.vocab_size),
            side.training,
            side.start_from.sha256 if side.start_from else "",
        )
        for side in run.sides
    ]
    read = [start.training.batch_size * start.model.context_length for start in starts]
    tokens = f" A reads {read[0]:,} tokens a step, and B {read[1]:,}." if read[0] != read[1] else ""
    return shared_start(starts).sentence("A and B") + tokens


# ------------------------------------------------------------------------------------------------ state


def run_words(run: Run, place: Place | None, kept: bool = True) -> str:
    """What goes on with a run, for people; `kept` says whether its models are still there to be looked into."""
    start = f", from {run.job.shared_start}" if run.job.shared_start else ""  # where sides differ, their labels say it
    text = f"“{run.job.corpus}”{start}"
    if run.state == WAITING and place:  # without one, its turn has come since the state was read
        when = "as soon as a worker is free" if place.seconds is None else f"in about {rough_duration(place.seconds)}"
        return f"Place {place.number} in the queue: the run begins {when}."
    if run.state in (WAITING, STARTING):
        return f"Reading {text} and making the model …"
    if run.state == FAILED:
        return run.error
    parts = [divergence_words(side, run) for side in run.sides if side.divergence]
    if run.state == RUNNING:
        seconds = run.seconds_left
        left = f", {duration(math.ceil(seconds))} left" if seconds else ""
        parts.append(f"Step {run.step:,} of {run.steps:,} on {text}{left}.")
    elif run.state == PAUSED:
        going_on = "Resume and One step go on with the settings of this run, exactly as if it had never paused"
        paused = f"Paused at step {run.step:,}. {going_on}."
        parts.append(run.note or paused)
    elif run.state == DIVERGED:
        parts.append("Try a lower learning rate, a longer warm-up, or another norm.")
    elif run.state == STOPPED:
        end = "The model it had is kept for the other tabs." if kept else "It had no model to keep yet."
        parts.append(run.note or f"Stopped at step {run.step:,}. {end}")
    else:
        parts.append(f"Trained on {text}. Look inside it under Attention, let it write under Generate.")
    return " ".join(parts)


def rough_duration(seconds: float) -> str:
    """For what changes while it is read: in steps of five seconds, then of half minutes."""
    step = 5 if seconds < 60 else 30
    return duration(step * max(1, round(seconds / step)))


def other_html(run: Run, chosen: Job) -> str:
    """What stands over the pictures of a run while the controls, and the drawing of the model, hold other settings."""
    text = "" if run.job.text is not None else f", on “{run.job.corpus}”"
    found = other_settings_words(run.job, chosen)
    its = f" Its settings are others than those chosen now: {listed(found)}." if found else ""
    return markup.other_settings(f"These pictures are of another run: {run.name}{text}.{its}")


def divergence_words(side: Side, run: Run) -> str:
    """What happened, where and when, and what becomes of the other side."""
    if side.divergence is None:
        return ""
    who = f"{side.letter} ({side.label})" if len(run.sides) > 1 else "The run"
    what = side.divergence.what.replace("above max_loss =", "above the limit of")
    words = f"{who} diverged at step {side.divergence.step:,}: {what}{place_words(side.divergence)}."
    if len(run.sides) == 1 or run.state == DIVERGED:
        return words
    return words + (" The other one goes on." if run.active else " The other one went on.")


def place_words(divergence: Divergence) -> str:
    """`blocks.3.mlp.up` -> ", first seen in MLP up of layer 4"; the loss itself is no place."""
    if divergence.where == "loss":
        return ""
    gradient = "the gradient of the " if divergence.where.startswith("gradient of ") else ""
    name = part_name(divergence.where.removeprefix("gradient of ")).replace(".", " ")
    return f", first seen in {gradient}{name}"
