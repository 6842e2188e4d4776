"""The runs of a session as data: what the Compare tab lists, draws and tabulates of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from tlab.text.units import BITS_PER_BYTE, NATS_PER_TOKEN, bits_per_byte
from tlab.ui.demo.shipped_run import SHIPPED_PRESETS, demo_run, is_shipped, shipped_preset
from tlab.ui.runs.manager import Runs
from tlab.ui.runs.run import SIDE_LETTERS, Run, Side
from tlab.ui.settings.fields import field_label, format_value
from tlab.ui.settings.presets import DEMO_PRESET, Preset
from tlab.ui.settings.run_settings import distinguishing_words, settings_of, text_names
from tlab.ui.sharing.convert import run_name
from tlab.ui.widgets.component import note_html
from tlab.ui.widgets.line_chart import line, lines_value
from tlab.ui.widgets.markup import macros
from tlab.wording import duration, listed, percent

markup = macros("tabs/compare/view.html")
SHIPPED = "shipped"  # the state of a run that comes with the lab
DASH_NAMES = ("solid", "dashed", "dotted", "double")  # as `lineMark` in common.js has them
OWN_COLOURS = (0, 2, 3, 4, 5, 1, 7)  # of the first runs of a session
SHIPPED_COLOURS = (6, *reversed(OWN_COLOURS))
ROOM_ABOVE_START = 1.5  # times the largest first loss: higher, a run has exploded, and would press the others flat


def comparable_runs(
    runs: Runs, session: str, linked: str | None = None, presets: Sequence[Preset] = (DEMO_PRESET,)
) -> dict[str, Run]:
    """What a session may look at, by id: its pinned runs, its other runs, each newest first, and what it came with.

    That is the run with the id `linked`, where a link has brought one, and the shipped runs of `presets`, the ones that
    the page has looked at, the latest first.
    """
    own = sorted(runs.history(session), key=lambda run: not run.pinned)
    brought = runs.get_visible(session, linked)
    listed_runs = own if brought is None or brought in own else [*own, brought]
    return {run.id: run for run in (*listed_runs, *(demo_run(preset) for preset in reversed(presets)))}


def hidden_runs(found: dict[str, Run], shown: Run, choices: dict[str, bool]) -> list[str]:
    """The ids of the runs whose curves are not drawn: what was chosen by hand, else what cannot be compared.

    That is a run on another text than the one that is `shown` on the Train tab, and the shipped runs of presets that
    were looked at before.
    """
    usual = {
        run_id: run is shown or (same_text(run, shown) and not (is_shipped(run) and is_shipped(shown)))
        for run_id, run in found.items()
    }
    return [run_id for run_id in found if not choices.get(run_id, usual[run_id])]


def same_text(one: Run, other: Run) -> bool:
    """Whether two runs read the same text, as far as it is known."""
    if one.text_sha256 is None or other.text_sha256 is None:
        return one.job[:2] == other.job[:2]
    return one.text_sha256 == other.text_sha256


def apart_of(found: dict[str, Run]) -> list[str]:
    """For each run what sets it apart from those of the same name."""
    return distinguishing_words(list(found.values()), [run_name(run) for run in found.values()])


def full_name(run: Run, apart: str) -> str:
    """Its name, and what sets it apart from those of the same name."""
    return f"{run_name(run)} ({apart})" if apart else run_name(run)


class PlacedCurve(NamedTuple):
    """A curve that is drawn."""

    run_id: str
    run: Run
    side: Side
    colour: int
    dash: int


def side_names(found: dict[str, Run], drawn: Sequence[PlacedCurve]) -> list[str]:
    """What each curve is called; no two have one name."""
    apart = dict(zip(found, apart_of(found), strict=True))
    return [
        f"{full_name(one.run, apart[one.run_id])} · {one.side.letter} {one.side.label}"
        if len(one.run.sides) > 1
        else full_name(one.run, apart[one.run_id])
        for one in drawn
    ]


def drawn_sides(found: dict[str, Run], hidden: Sequence[str]) -> list[PlacedCurve]:
    """The curves that are drawn. A run has one colour for both sides, B is dashed, whatever else comes and goes."""
    return [
        PlacedCurve(run_id, run, side, *look_of(run, side))
        for run_id, run in found.items()
        if run_id not in hidden
        for side in run.sides
    ]


def look_of(run: Run, side: Side) -> tuple[int, int]:
    """The colour of a run and the dashes of its side, which are others for the next run of the same colour."""
    if is_shipped(run):
        place, colours = [*SHIPPED_PRESETS].index(shipped_preset(run.id).label), SHIPPED_COLOURS
    else:
        place, colours = run.place, OWN_COLOURS
    again, place = divmod(place, len(colours))
    return colours[place], len(SIDE_LETTERS) * (again % 2) + SIDE_LETTERS.index(side.letter)


def list_value(
    found: dict[str, Run], hidden: Sequence[str], session: str = "", deleted: Run | None = None
) -> dict[str, Any]:
    """What the list shows a session, and the name of the run that can be brought back."""
    looks = {drawn.side: (drawn.colour, drawn.dash) for drawn in drawn_sides(found, hidden)}
    runs = [
        run_value(run, words, session, run.id not in hidden, looks)
        for run, words in zip(found.values(), apart_of(found), strict=True)
    ]
    return {"runs": runs, "deleted": deleted.name if deleted else None}


def run_value(run: Run, apart: str, session: str, chosen: bool, looks: dict[Side, tuple[int, int]]) -> dict[str, Any]:
    sides = []
    for side in run.sides:
        colour, dash = looks.get(side, (None, 0))
        loss = "–" if side.validation_loss is None else f"{side.validation_loss:.3f}"
        bits = run.bits_per_byte(side.validation_loss)
        loss += "" if bits is None else f" ({bits:.3f} bits per byte)"
        sides.append({
            "name": f"{side.letter} {side.label}" if len(run.sides) > 1 else f"on “{run.job.corpus}”",
            "colour": colour,
            "dash": dash,
            "validation": "diverged" if side.divergence else loss,
            "answers": "" if side.accuracy is None or side.divergence else f"{percent(side.accuracy)} of answers right",
            "parameters": f"{side.num_parameters:,}" if side.num_parameters else "–",
            "seconds": "" if is_shipped(run) else duration(side.seconds),  # what it took, it took on another machine
        })  # fmt: skip
    is_own = not is_shipped(run) and run.session == session
    from_link = "" if is_own or is_shipped(run) else ", opened by a link"
    return {
        "id": run.id, "name": run_name(run), "apart": apart, "own": is_own, "pinned": is_own and run.pinned,
        "chosen": chosen, "state": SHIPPED if is_shipped(run) else run.state,
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
    elif have_several_tokenizers(begun):
        words = (
            "These runs have different tokenizers, so their losses per token cannot be compared. The chart has bits "
            "per byte, which can."
        )
    else:
        return ""
    return note_html(words, "tl-notice")


def have_several_tokenizers(runs: Sequence[Run]) -> bool:
    """Whether their tokens are not the same: by kind, or since one has those of the weights that it began with."""
    cuts = {(run.text_sha256, run.bytes_per_token) for run in runs if run.bytes_per_token is not None}
    return len({run.job.tokenizer for run in runs}) > 1 or len(cuts) > len({text for text, _ in cuts})


def overlay_value(found: dict[str, Run], hidden: Sequence[str]) -> dict[str, Any]:
    """The chosen runs' curves: moving average of the training loss as a line, validation as dots.

    Runs of several tokenizers are drawn in bits per byte: their losses per token cannot be compared.
    """
    lines, starts, left_out = [], [], []
    drawn = drawn_sides(found, hidden)
    in_bytes = have_several_tokenizers([one.run for one in drawn])
    for (_, run, side, colour, dash), name in zip(drawn, side_names(found, drawn), strict=True):
        if in_bytes and run.bytes_per_token is None:
            left_out.append(name)
            continue
        training, validation = map(per_nat, run.bytes_per_token) if in_bytes and run.bytes_per_token else (1.0, 1.0)
        bins = side.curve.placed_bins()
        points = [[at, round(bin[3] * training, 4)] for at, bin in bins]
        starts += [bin[0] * training for _, bin in bins[:1]]
        dots = [[step, round(loss * validation, 4)] for step, loss in side.curve.validation]
        lines.append(line(name, colour, points, dots=dots, dash=dash))
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
    heads = [
        (name, one.colour, DASH_NAMES[one.dash]) for name, one in zip(side_names(found, drawn), drawn, strict=True)
    ]
    return markup.settings(heads, rows)
