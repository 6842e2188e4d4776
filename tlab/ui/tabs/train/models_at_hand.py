"""The models with whose weights a visitor's run can begin: of own runs, opened ones, and those that come with the lab.

A run says by name, step and sha256 with which weights it begins (`StartFrom`), and holds none of them: they are looked
up when its worker is ready. So what was deleted since, or had to make room, is found to be gone.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

from tlab.nn.config import ModelConfig
from tlab.training.checkpoint import Checkpoint
from tlab.ui.demo.shipped_run import (
    SHIPPED_IDS,
    SHIPPED_PRESETS,
    about_side,
    demo_checkpoint,
    shipped_id,
    shipped_preset,
    sides_of_runs,
)
from tlab.ui.runs.manager import Runs
from tlab.ui.runs.messages import ANY_VOCABULARY, StartFrom
from tlab.ui.runs.run import SIDE_LETTERS
from tlab.ui.settings.fields import RANDOM
from tlab.ui.settings.presets import TRAINED, preset_job
from tlab.ui.settings.run_settings import distinguishing_words
from tlab.ui.settings.starts import GONE, Starts
from tlab.ui.tabs.model_choice import trained_words

OF_SIDE = "/"  # between the id of a run and the letter of its side


class ModelAtHand(NamedTuple):
    """One that can be chosen."""

    key: str
    words: str  # in the list
    name: str  # in a sentence
    model: ModelConfig  # of ANY_VOCABULARY


class ModelsAtHand(Starts):
    """All of them, by visitor."""

    def __init__(self, runs: Runs) -> None:
        self.runs = runs

    def choices(self, session: str, also: Any = RANDOM) -> list[tuple[str, str]]:
        """(words, key) of all that a visitor can choose; and `also` what is chosen, if that has gone."""
        found = [*super().choices(session), *((one.words, one.key) for one in self.of(session))]
        if isinstance(also, str) and also not in [key for _, key in found]:
            found.insert(1, (f"{also.removeprefix(GONE) if also.startswith(GONE) else 'What was chosen'}: gone", also))
        return found

    def of(self, session: str) -> list[ModelAtHand]:
        """A visitor's own, newest first; then what was opened, and what comes with the lab."""
        return [*self.own(session), *self.opened(), *shipped()]

    def own(self, session: str) -> list[ModelAtHand]:
        runs = [run for run in self.runs.history(session) if not run.active]
        found = []
        for run, apart in zip(runs, distinguishing_words(runs, [run.name for run in runs]), strict=True):
            name = f"{run.name} ({apart})" if apart else run.name
            labels = [side.label for side in run.sides]
            for number, (side, plan) in enumerate(zip(run.sides, run.job.plans, strict=True)):
                if (run.id, number) in self.runs.store and side.divergence is None:
                    words = f"Your run: {name}{of_side(labels, number)}"
                    its_name = side_name(name, labels, number)
                    found.append(ModelAtHand(key_of(run.id, number), words, its_name, plan.model))
        return found

    def opened(self) -> list[ModelAtHand]:
        return [
            ModelAtHand(
                key_of(one.id, 0), f"Opened: {one.name}", one.name,
                one.checkpoint.model_config.with_vocab(ANY_VOCABULARY),
            )
            for one in list(self.runs.opened.models.values())
        ]  # fmt: skip

    # -------------------------------------------------------------------------------- weights

    def get(self, key: Any) -> StartFrom | str:
        checkpoint = self.checkpoint(key) if isinstance(key, str) else None
        if checkpoint is None:
            return super().get(key)
        run_id, _, letter = key.rpartition(OF_SIDE)
        run, opened = self.runs.get(run_id), self.runs.opened.models.get(run_id)
        if run is not None:
            name = side_name(run.name, [side.label for side in run.sides], SIDE_LETTERS.index(letter))
        else:
            name = opened.name if opened else next(one.name for one in shipped() if one.key == key)
        return StartFrom.of(name, checkpoint)

    def checkpoint(self, key: str, step: int | None = None) -> Checkpoint | None:
        """The weights of a key, by default the latest; None where it has none, or not any more."""
        run_id, _, letter = key.rpartition(OF_SIDE)
        side = SIDE_LETTERS.find(letter)
        if not letter or side < 0:
            return None
        run = self.runs.get(run_id)
        if run is not None:
            return None if run.active or run.deleted else self.runs.store.get((run.id, side), step)
        if run_id in SHIPPED_IDS:
            return demo_checkpoint(side, step, shipped_preset(run_id)) if key in {o.key for o in shipped()} else None
        opened = self.runs.opened.get(run_id)
        return opened.checkpoint if opened else None

    def find(self, session: str, start: StartFrom) -> tuple[str, Checkpoint] | None:
        """A key and the weights that a run says to begin with, if they are among a visitor's."""
        for one in self.of(session):
            if one.model == start.model.with_vocab(ANY_VOCABULARY):
                weights = self.checkpoint(one.key, start.step)
                if weights is not None and (weights.step, weights.weights_sha256) == (start.step, start.sha256):
                    return one.key, weights
        return None

    def find_weights(self, session: str, start: StartFrom) -> Checkpoint | None:
        """As `Runs` asks for them."""
        found = self.find(session, start)
        return found and found[1]

    def key_of(self, session: str, start: StartFrom | None) -> str:
        """What the control has to hold for a run that began so."""
        if start is None:
            return RANDOM
        found = self.find(session, start)
        return found[0] if found else f"{GONE}{start}"


def key_of(run_id: str, side: int) -> str:
    return f"{run_id}{OF_SIDE}{SIDE_LETTERS[side]}"


def of_side(labels: list[str], side: int) -> str:
    """The side, in the list; nothing of a run that has one."""
    return f" · {SIDE_LETTERS[side]} {labels[side]}" if len(labels) > 1 else ""


def side_name(name: str, labels: list[str], side: int) -> str:
    """A run and its side, in a sentence."""
    return f"{name}, {SIDE_LETTERS[side]}" if len(labels) > 1 else name


@functools.cache
def shipped() -> tuple[ModelAtHand, ...]:
    """Every side of the shipped runs that did not diverge; the model that was trained longest first."""
    found = []
    for preset in [TRAINED, *(preset for preset in SHIPPED_PRESETS.values() if preset is not TRAINED)]:
        plans = preset_job(preset).plans
        labels = [plan.label for plan in plans]
        for side, (plan, name) in enumerate(zip(plans, sides_of_runs()[preset.label], strict=True)):
            if not about_side(name)["divergence"]:
                words = trained_words() if preset is TRAINED else f"{preset.label}{of_side(labels, side)}"
                key = key_of(shipped_id(preset), side)
                found.append(ModelAtHand(key, words, side_name(preset.label, labels, side), plan.model))
    return tuple(found)
