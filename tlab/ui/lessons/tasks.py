"""What a lesson can ask for: each kind of task says whether the real state of the lab shows it to be done.

A task that is done leaves a few words in the browser (`Evidence`), from which its facts are computed again each time:
nothing of a lesson is kept on the server. Whatever a browser sends is looked up among what its own session has.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

from tlab.false_winners.mistakes import CONTESTANTS, CONTESTS, MISTAKES, NEITHER
from tlab.inside import PROBES
from tlab.text import DEFAULT_CORPUS, TOKENIZERS
from tlab.ui.demo.shipped_run import SHIPPED_IDS, shipped_id
from tlab.ui.inspection.selection import MAX_NUMBER, SelectedModel, clamp_int, find_model
from tlab.ui.lessons.facts import EffectFacts, GameFacts, Guess, HeadFacts, ProbeFacts, RunFacts, SeedsFacts
from tlab.ui.lessons.learner import Evidence, Learner
from tlab.ui.runs.messages import Job
from tlab.ui.runs.run import DIVERGED, DONE, Run
from tlab.ui.settings.plans import make_plans
from tlab.ui.settings.presets import TRAINED
from tlab.ui.studies.study import SEEDS, Study, experiment_of
from tlab.wording import several

MAX_TEXT = 2000  # characters that a browser may keep of a text
MAX_ROUNDS = 20  # of a game


class LessonTask(ABC):
    """One thing to do on another tab."""

    tab: ClassVar[str]  # its key
    button: ClassVar[str]  # what leads there
    place: ClassVar[str] = ""  # on the tab, as a selector, where that is not at its top

    @abstractmethod
    def done(self, learner: Learner, before: Mapping[str, Evidence]) -> Evidence | None:
        """What to keep of it, if it is done; `before` is what was kept of the lesson's earlier tasks, by name."""

    @abstractmethod
    def facts(self, learner: Learner, kept: Evidence) -> Any:
        """What came of it; None where that is not there any more."""

    def progress(self, learner: Learner) -> str:
        """Where it stands, in a sentence; nothing before it has begun."""
        return ""


@dataclass(frozen=True)
class TrainTask(LessonTask):
    """Train with these settings, to the end."""

    tab: ClassVar = "train"
    button: ClassVar = "Set this up on the Train tab"

    settings: dict[str, Any] = field(default_factory=dict)
    b: dict[str, Any] = field(default_factory=dict)  # the one field that B changes, and its value there
    corpus: str = DEFAULT_CORPUS

    @property
    def switch(self) -> tuple[str, Any] | None:
        return next(iter(self.b.items()), None)

    @cached_property
    def job(self) -> Job:
        """The run that it asks for."""
        return Job(self.corpus, None, next(iter(TOKENIZERS)), make_plans(self.settings, self.switch))

    def runs_of(self, learner: Learner) -> list[Run]:
        """Of the session, the newest first."""
        return [run for run in learner.runs.history(learner.session) if experiment_of(run.job) == self.job]

    def done(self, learner: Learner, before: Mapping[str, Evidence]) -> Evidence | None:
        ended = [run for run in self.runs_of(learner) if run.state in (DONE, DIVERGED)]
        return {"run": ended[0].id} if ended else None

    def run(self, learner: Learner, kept: Evidence) -> Run | None:
        """The one that was kept, if it is this session's and of these settings."""
        run = learner.runs.get_owned(learner.session, kept_text(kept, "run"))
        is_asked = run is not None and run.state in (DONE, DIVERGED) and experiment_of(run.job) == self.job
        return run if is_asked else None

    def facts(self, learner: Learner, kept: Evidence) -> Any:
        run = self.run(learner, kept)
        return None if run is None else RunFacts(run)

    def progress(self, learner: Learner) -> str:
        active = [run for run in self.runs_of(learner) if run.active]
        if active:
            return f"It trains: {several(active[0].step, 'step')} of {active[0].steps:,}."
        other = next((run for run in learner.runs.history(learner.session) if run.active), None)
        return "What trains now has other settings than the lesson's." if other else ""


@dataclass(frozen=True)
class SeedsTask(TrainTask):
    """Train with these settings, and then with four seeds more."""

    def study(self, learner: Learner) -> Study | None:
        return learner.studies.get(learner.session, SEEDS, self.job)

    def done(self, learner: Learner, before: Mapping[str, Evidence]) -> Evidence | None:
        study = self.study(learner)
        return {} if study is not None and study.state == DONE else None

    def facts(self, learner: Learner, kept: Evidence) -> Any:
        study = self.study(learner)
        return SeedsFacts(study) if study is not None and study.state == DONE else None

    def progress(self, learner: Learner) -> str:
        study = self.study(learner)
        if study is not None and study.active:
            return f"{several(len(study.outcomes), 'run')} of {len(study.trials)} have ended."
        if TrainTask.done(self, learner, {}) is not None:
            return "The first pair is there. Now press “Repeat with 5 seeds”, below the loss chart."
        return super().progress(learner)


@dataclass(frozen=True)
class HeadTask(LessonTask):
    """Click a head that looks mostly at one kind of place, or any other than the one that is shown first."""

    tab: ClassVar = "attention"
    button: ClassVar = "Open the Attention tab"

    role: str = ""  # a kind of place of `tlab.inside.attention.target_masks`
    least: float = 0.3  # of the head's weight that goes there

    @property
    def model_id(self) -> str:
        """Of the run that is opened there."""
        return shipped_id(TRAINED)

    def fits(self, facts: HeadFacts) -> bool:
        return facts.of.role == self.role and facts.share >= self.least

    def opening(self, learner: Learner) -> tuple[int, int]:
        """Layer and head to begin with: the first one that is not what is looked for."""
        model = find_model(learner.runs, self.model_id)
        heads, tokens = learner.heads(model, model.excerpt)
        found = next((one for one in heads if not self.fits(HeadFacts(heads, one.layer, one.head, tokens))), heads[0])
        return found.layer, found.head

    def done(self, learner: Learner, before: Mapping[str, Evidence]) -> Evidence | None:
        shown = learner.head
        if shown is None:
            return None
        side, step, *_ = shown.model
        kept = {
            "run": shown.run, "side": side, "step": step, "layer": shown.head[0], "head": shown.head[1],
            "text": shown.text[:MAX_TEXT],
        }  # fmt: skip
        facts = self.facts(learner, kept)
        return kept if facts is not None and self.fits(facts) else None

    def facts(self, learner: Learner, kept: Evidence) -> HeadFacts | None:
        model = model_of(learner, kept)
        if model is None:
            return None
        try:
            heads, tokens = learner.heads(model, kept_text(kept, "text"))
        except ValueError:  # a text that this model cannot read
            return None
        config = model.checkpoint.model_config
        layer = clamp_int(kept.get("layer"), 0, config.num_layers - 1, 0)
        return HeadFacts(heads, layer, clamp_int(kept.get("head"), 0, config.num_heads - 1, 0), tokens)


@dataclass(frozen=True)
class WithoutTask(LessonTask):
    """Ask what is lost without the head that was clicked in an earlier step."""

    tab: ClassVar = "attention"
    button: ClassVar = "Back to the Attention tab"

    of: str = "head"  # the name of that step

    def done(self, learner: Learner, before: Mapping[str, Evidence]) -> Evidence | None:
        head = before.get(self.of)
        part = None if head is None else f"attention.{head.get('layer')}.head.{head.get('head')}"
        return {**head, "part": part} if head is not None and part == learner.part else None

    def facts(self, learner: Learner, kept: Evidence) -> EffectFacts | None:
        model = model_of(learner, kept)
        if model is None:
            return None
        try:
            effect = learner.effect(model, kept_text(kept, "text"), kept_text(kept, "part"))
        except ValueError:  # no part of this model
            return None
        return EffectFacts(effect)


@dataclass(frozen=True)
class ProbeTask(LessonTask):
    """Read a probe of both sides of a run that was trained in an earlier step."""

    tab: ClassVar = "inside"
    button: ClassVar = "Open it on the Inside tab"

    probe: str
    of: str  # the name of that step

    def __post_init__(self) -> None:
        assert self.probe in PROBES, self.probe

    def sides(self, learner: Learner, kept: Evidence) -> list[SelectedModel] | None:
        run = learner.runs.get_owned(learner.session, kept_text(kept, "run"))
        if run is None or (run.id, 0) not in learner.runs.store:
            return None
        return [find_model(learner.runs, run.id, side) for side in range(len(run.sides))]

    def done(self, learner: Learner, before: Mapping[str, Evidence]) -> Evidence | None:
        if learner.probe != self.probe or not isinstance(learner.text, str):
            return None
        kept = {"run": kept_text(before.get(self.of, {}), "run"), "text": learner.text[:MAX_TEXT]}
        sides = self.sides(learner, kept)
        read = sides and all(learner.known_table(side, kept["text"], self.probe) for side in sides)
        return kept if read else None

    def facts(self, learner: Learner, kept: Evidence) -> ProbeFacts | None:
        sides = self.sides(learner, kept)
        try:
            tables = [learner.table(side, kept_text(kept, "text"), self.probe) for side in sides or []]
        except ValueError:
            return None
        return ProbeFacts(tables) if tables else None


@dataclass(frozen=True)
class GameTask(LessonTask):
    """Play some rounds of the game of false winners."""

    tab: ClassVar = "compare"
    button: ClassVar = "Open the game on the Compare tab"
    place: ClassVar = "#false-winners"

    rounds: int = 3

    def done(self, learner: Learner, before: Mapping[str, Evidence]) -> Evidence | None:
        enough = len(learner.rounds) >= self.rounds
        return {"rounds": [list(one) for one in learner.rounds[:MAX_ROUNDS]]} if enough else None

    def facts(self, learner: Learner, kept: Evidence) -> GameFacts | None:
        given = kept.get("rounds")
        rounds = [guess_of(one) for one in given[:MAX_ROUNDS]] if isinstance(given, list) else []
        rounds = [one for one in rounds if one is not None]
        return GameFacts(rounds) if len(rounds) >= self.rounds else None

    def progress(self, learner: Learner) -> str:
        played = len(learner.rounds)
        return f"{several(played, 'round')} of {self.rounds} played." if played else ""


TASKS: dict[str, type[LessonTask]] = {
    "train": TrainTask, "seeds": SeedsTask, "head": HeadTask, "without": WithoutTask, "probe": ProbeTask,
    "game": GameTask,
}  # fmt: skip
"""By what they are called in a lesson."""


def kept_text(kept: Evidence, name: str) -> str:
    """A text that a browser has kept; empty where it has sent something else."""
    value = kept.get(name)
    return value[:MAX_TEXT] if isinstance(value, str) else ""


def model_of(learner: Learner, kept: Evidence) -> SelectedModel | None:
    """The model of a head that was kept, of the learner's own run or of a shipped one; None where it is not there."""
    asked = kept_text(kept, "run")
    is_known = asked in SHIPPED_IDS or (
        learner.runs.get_owned(learner.session, asked) is not None and (asked, 0) in learner.runs.store
    )
    step, side = clamp_int(kept.get("step"), 0, MAX_NUMBER, MAX_NUMBER), clamp_int(kept.get("side"), 0, 1, 0)
    return find_model(learner.runs, asked, side, step) if is_known else None


def guess_of(given: Sequence[Any]) -> Guess | None:
    """A round as a browser has kept it; None where it is none."""
    if not isinstance(given, (list, tuple)) or len(given) != 3:
        return None
    mistake, seed, guess = given
    is_one = isinstance(mistake, str) and mistake in MISTAKES and guess in (*CONTESTANTS, NEITHER)
    return Guess(mistake, clamp_int(seed, 0, CONTESTS - 1, 0), guess) if is_one else None
