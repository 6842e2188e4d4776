"""A run of the app as what an export holds, and back."""

from __future__ import annotations

from tlab.training.checkpoint import Checkpoint
from tlab.ui.demo.shipped_run import demo_checkpoint, is_shipped, shipped_preset
from tlab.ui.runs.manager import Runs
from tlab.ui.runs.run import Run
from tlab.ui.sharing.read_zip import job_of
from tlab.ui.sharing.write_zip import ExportError, KeptRun, KeptSide


def run_name(run: Run) -> str:
    return f"Shipped: {run.name}" if is_shipped(run) else run.name


def kept_run(runs: Runs, run: Run) -> KeptRun:
    """What an export of this run holds.

    Raises:
        ExportError: it still trains, it has a bug, or its models had to make room for others'.
    """
    if any(plan.bug for plan in run.job.plans):
        raise ExportError("A run with a planted bug cannot be exported: what is exported can be repeated as it was.")
    return ended_run(runs, run)


def ended_run(runs: Runs, run: Run) -> KeptRun:
    """All that is known of a run, also of one with a bug.

    Raises:
        ExportError: it still trains, or its models had to make room for others'.
    """
    if run.active:
        raise ExportError("This run still trains. Pause or stop it, and then export it.")
    return stored_run(runs, run)


def stored_run(runs: Runs, run: Run) -> KeptRun:
    """What is known of a run up to the latest models that are stored of it.

    Raises:
        ExportError: its models had to make room for others'.
    """
    sides = []
    for number, side in enumerate(run.sides):
        checkpoint = (
            demo_checkpoint(number, preset=shipped_preset(run.id))
            if is_shipped(run)
            else runs.store.get((run.id, number))
        )
        if checkpoint is None:
            raise ExportError("The models of this run were put away to make room for others'. Train it again.")
        label = side.label if len(run.sides) > 1 else run.name
        insights = [insight for insight in side.insights if insight.step <= checkpoint.step]
        accuracies = [(step, share) for step, share in side.accuracies if step <= checkpoint.step]
        sides.append(KeptSide(label, checkpoint, insights, side.sample, accuracies, side.starts))
    return KeptRun(run_name(run), tuple(sides), run.job.text, run.excerpt, run.baselines)


def opened_run(session: str, kept: KeptRun, runs: Runs) -> tuple[Run, list[list[Checkpoint]]]:
    """A run that came back from an export, and its models, as `Runs.adopt` takes them."""
    job = job_of(kept.sides, kept.text)
    checkpoints = [side.checkpoint for side in kept.sides]
    run = Run.finished(session, job, checkpoints, runs.limits)
    run.rename(kept.name)
    for side, of in zip(run.sides, kept.sides, strict=True):
        side.insights, side.sample, side.accuracies = list(of.insights), of.sample, list(of.accuracies)
        side.starts = list(of.starts)
    run.excerpt = kept.excerpt or (kept.text[-200:][:64] if kept.text else "")
    run.baselines = {**run.baselines, **kept.baselines}
    return run, [[checkpoint] for checkpoint in checkpoints]
