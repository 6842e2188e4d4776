"""The runs of a session as data: what the Compare tab lists, draws and tabulates of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from tlab.text.units import BITS_PER_BYTE, NATS_PER_TOKEN, bits_per_byte
from tlab.ui.demo.shipped_run import demo_run, is_shipped
from tlab.ui.runs.manager import Runs
from tlab.ui.runs.messages import Job
from tlab.ui.runs.run import Run, Side
from tlab.ui.settings.fields import field_label, format_value
from tlab.ui.settings.presets import DEMO_PRESET, Preset
from tlab.ui.settings.run_settings import settings_of
from tlab.ui.sharing.convert import SHIPPED, run_name
from tlab.ui.widgets.component import note_html
from tlab.ui.widgets.line_chart import COLOURS, DASHES, line, lines_value
from tlab.ui.widgets.markup import macros
from tlab.wording import duration, listed

markup = macros("tabs/compare/view.html")
SHA256_SHOWN = 12  # digits, as the commands show them
ROOM_ABOVE_START = 1.5  # times the largest first loss: higher, a run has exploded, and would press the others flat


def comparable_runs(
    runs: Runs, session: str, linked: str | None = None, preset: Preset = DEMO_PRESET
) -> dict[str, Run]:
    """What a session may look at, by id: its pinned runs, its other runs, each newest first, and what it came with.

    That is the run with the id `linked`, where a link has brought one, and the shipped run of the page's `preset`.
    """
    own = sorted(runs.history(session), key=lambda run: not run.pinned)
    brought = runs.get_visible(session, linked)
    listed_runs = own if brought is None or brought in own else [*own, brought]
    return {**{run.id: run for run in listed_runs}, SHIPPED: demo_run(preset)}


def side_name(run_id: str, run: Run, side: Side) -> str:
    name = run_name(run_id, run)
    return f"{name} · {side.letter} {side.label}" if len(run.sides) > 1 else name


class PlacedCurve(NamedTuple):
    """A curve that is drawn."""

    run_id: str
    run: Run
    side: Side
    place: int  # that of its colour and dash


def drawn_sides(found: dict[str, Run], hidden: Sequence[str]) -> list[PlacedCurve]:
    """The curves that are drawn. Each keeps its place, whatever else is pinned, hidden or deleted."""
    shipped = len(demo_run().sides)
    return [
        PlacedCurve(run_id, run, side, i if run_id == SHIPPED else shipped + run.place + i)
        for run_id, run in found.items()
        if run_id not in hidden
        for i, side in enumerate(run.sides)
    ]


def list_value(
    found: dict[str, Run], hidden: Sequence[str], session: str = "", deleted: Run | None = None
) -> dict[str, Any]:
    """What the list shows a session, and the name of the run that can be brought back."""
    places = {drawn.side: drawn.place for drawn in drawn_sides(found, hidden)}
    runs = [run_value(run_id, run, session, run_id not in hidden, places) for run_id, run in found.items()]
    return {"runs": runs, "deleted": deleted.name if deleted else None}


def run_value(run_id: str, run: Run, session: str, chosen: bool, places: dict[Side, int]) -> dict[str, Any]:
    sides = []
    for side in run.sides:
        place = places.get(side)
        loss = "–" if side.validation_loss is None else f"{side.validation_loss:.3f}"
        bits = run.bits_per_byte(side.validation_loss)
        loss += "" if bits is None else f" ({bits:.3f} bits per byte)"
        sides.append({
            "name": f"{side.letter} {side.label}" if len(run.sides) > 1 else f"on “{run.job.corpus}”",
            "colour": None if place is None else place % COLOURS,
            "dash": 0 if place is None else place % DASHES,
            "validation": "diverged" if side.divergence else loss,
            "parameters": f"{side.num_parameters:,}" if side.num_parameters else "–",
            "seconds": "" if is_shipped(run) else duration(side.seconds),  # what it took, it took on another machine
        })  # fmt: skip
    is_own = run_id != SHIPPED and run.session == session
    from_link = "" if is_own or run_id == SHIPPED else ", opened by a link"
    return {
        "id": run_id, "name": run_name(run_id, run), "own": is_own, "pinned": is_own and run.pinned, "chosen": chosen,
        "state": SHIPPED if run_id == SHIPPED else run.state,
        "words": f"{run.step:,} of {run.steps:,} steps{from_link}", "sides": sides,
    }  # fmt: skip


# ------------------------------------------------------------------------------------------------ overlay and table


def comparison_warning(found: dict[str, Run], hidden: Sequence[str]) -> str:
    """HTML of why the losses of the chosen runs, or some of them, cannot be compared; nothing where all can."""
    begun = [run for run_id, run in found.items() if run_id not in hidden and run.text_sha256 is not None]
    names = {run.text_sha256: run.job.corpus for run in begun}
    if len(names) > 1:
        different = [f"“{name}”" for name in dict.fromkeys(names.values())]
        which = f"different texts ({listed(different)})" if different[1:] else f"different texts, each {different[0]}"
        words = f"These runs read {which}, so their losses cannot be compared: one text is easier than another."
    elif len({run.job.tokenizer for run in begun}) > 1:
        words = (
            "These runs have different tokenizers, so their losses per token cannot be compared. The chart has bits "
            "per byte, which can."
        )
    else:
        return ""
    return note_html(words, "tl-notice")


def overlay_value(found: dict[str, Run], hidden: Sequence[str]) -> dict[str, Any]:
    """The chosen runs' curves: moving average of the training loss as a line, validation as dots.

    Runs of several tokenizers are drawn in bits per byte: their losses per token cannot be compared.
    """
    lines, starts, left_out = [], [], []
    drawn = drawn_sides(found, hidden)
    in_bytes = len({one.run.job.tokenizer for one in drawn}) > 1
    for run_id, run, side, place in drawn:
        name = side_name(run_id, run, side)
        if in_bytes and run.bytes_per_token is None:
            left_out.append(name)
            continue
        training, validation = map(per_nat, run.bytes_per_token) if in_bytes and run.bytes_per_token else (1.0, 1.0)
        bins = side.curve.placed_bins()
        points = [[at, round(bin[3] * training, 4)] for at, bin in bins]
        starts += [bin[0] * training for _, bin in bins[:1]]
        dots = [[step, round(loss * validation, 4)] for step, loss in side.curve.validation]
        lines.append(line(name, place, points, dots=dots))
    unit = f"{BITS_PER_BYTE if in_bytes else NATS_PER_TOKEN}; line: training, moving average; dots: validation"
    if in_bytes:
        unit += "; losses per token of several tokenizers cannot be compared"
    if left_out:
        unit += f"; not drawn, since their bytes are not known: {listed(left_out)}"
    return lines_value(
        "Loss of the chosen runs", unit, lines, "Choose runs by their boxes.",
        highest=ROOM_ABOVE_START * max(starts, default=1.0),
    )  # fmt: skip


def per_nat(bytes_per_token: float) -> float:
    """What a nat per token is in bits per byte."""
    return bits_per_byte(1.0, bytes_per_token)


def text_name(job: Job) -> str:
    """The text of a run; one of a visitor's own with its length."""
    return job.corpus if job.text is None else f"{job.corpus}, {len(job.text):,} characters"


def text_names(runs: Sequence[Run]) -> list[str]:
    """The text of each run: of one text one name, the first that it has; and with its sha256 where another has it, too.

    What has not been read yet is known by its name alone.
    """
    keys = [run.text_sha256 or run.job[:2] for run in runs]
    names = {key: text_name(run.job) for key, run in reversed(list(zip(keys, runs, strict=True)))}
    read = Counter(name for key, name in names.items() if isinstance(key, str))
    return [
        f"{names[key]}, sha256 {key[:SHA256_SHOWN]}" if isinstance(key, str) and read[names[key]] > 1 else names[key]
        for key in keys
    ]


def config_table(found: dict[str, Run], hidden: Sequence[str], differences_only: bool) -> str:
    """Every setting of the chosen runs, a column for each curve."""
    drawn = drawn_sides(found, hidden)
    if not drawn:
        return note_html("No run is chosen.")
    texts = text_names([one.run for one in drawn])
    columns = [
        {**settings_of(one.run.job, one.run.sides.index(one.side)), "corpus": text}
        for one, text in zip(drawn, texts, strict=True)
    ]
    rows = []
    for name in columns[0]:
        differs = len({str(settings[name]) for settings in columns}) > 1
        if differs or not differences_only:
            values = [format_value(name, settings[name]) for settings in columns]
            rows.append((field_label(name), values, differs and not differences_only))
    if not rows:
        return note_html("These runs have the same settings." if len(drawn) > 1 else "Choose a second run to compare.")
    heads = [(side_name(one.run_id, one.run, one.side), one.place % COLOURS) for one in drawn]
    return markup.settings(heads, rows)
