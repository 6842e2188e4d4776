"""A run that begins with the weights of another: what can be chosen, what is refused, and what is told of it later."""

import dataclasses
import subprocess
import sys
import threading
import zipfile

import gradio as gr
import pytest

from pages import built
from support import GRADIO, SECONDS, SMALL, VERSE, wait_for
from tlab.training.checkpoint import FILE_NAME
from tlab.ui.demo.shipped_run import demo_checkpoint, shipped_id
from tlab.ui.diagram.view import difference_sentence
from tlab.ui.runs.limits import LOCAL
from tlab.ui.runs.manager import Runs
from tlab.ui.runs.run import DONE, FAILED, PAUSED
from tlab.ui.settings.controls import model_fields
from tlab.ui.settings.fields import RANDOM, START_FROM
from tlab.ui.settings.links import WEIGHTS_NOT_SENT, defaults, read_query
from tlab.ui.settings.own_text import OWN_TEXT
from tlab.ui.settings.presets import TRAINED
from tlab.ui.settings.run_settings import differing_words, other_settings_words, settings_of, switch_of
from tlab.ui.settings.side_b import NOTHING
from tlab.ui.settings.starts import GONE
from tlab.ui.sharing.convert import kept_run
from tlab.ui.sharing.run_archive import RunArchive
from tlab.ui.sharing.study_file import job_as_json, job_from_json
from tlab.ui.sharing.write_zip import write_export
from tlab.ui.studies.five_seeds import seeds_study, why_not
from tlab.ui.studies.studies import Studies
from tlab.ui.studies.tuning import why_not_tuned
from tlab.ui.tabs.compare.view import have_several_tokenizers
from tlab.ui.tabs.model_choice import ModelChoice
from tlab.ui.tabs.train.tab import TrainTab
from tlab.ui.tabs.train.view import numbers_html, run_words
from tlab.ui.visit import COOKIE

pytestmark = GRADIO

ME, OTHER = "m" * 43, "o" * 43  # numbers of browsers
TEXT = VERSE * 40
CHANGES = {**SMALL, "corpus": OWN_TEXT, "text": TEXT, "steps": 40, "learning_rate": 0.01, "switch": NOTHING}


def asked_by(session: str = ME) -> gr.Request:
    return gr.Request(session_hash="page", headers={"cookie": f"{COOKIE}={session}"}, query_params={})


class Lab:
    """A server with a Train tab, on which runs are started as by hand."""

    def __init__(self, folder):
        self.runs = Runs(LOCAL, slots=1)
        self.runs.archive = RunArchive(self.runs, folder)
        self.tab = built(TrainTab, self.runs)

    def values(self, **changes):
        controls = self.tab.controls.components
        return [{**CHANGES, **changes}.get(name, control.value) for name, control in controls.items()]

    def job(self, **changes):
        return self.tab.controls.job(self.values(**changes))

    def trained(self, **changes):
        run = self.runs.start(ME, self.job(**changes))
        wait_for(lambda: not run.active and self.runs.free_slots == 1)
        return run

    def weights(self, run, side=0):
        return self.runs.store.get((run.id, side))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def lab(folder):
    lab = Lab(folder)
    yield lab
    for thread in threading.enumerate():  # the last of a run prepares a worker for the next
        if thread.name.startswith("tlab-run"):
            thread.join(SECONDS)
    lab.runs.close()


@pytest.fixture(scope="module")
def first(lab):
    """A run with random weights, of which the others begin."""
    run = lab.trained()
    run.rename("The first")
    assert run.state == DONE
    return run


@pytest.fixture(scope="module")
def key(first):
    return f"{first.id}/A"


@pytest.fixture(scope="module")
def pair(lab, key):
    """A and B from the weights of the first, at two learning rates."""
    run = lab.trained(start_from=key, switch="learning_rate", switch_number="0.001", seed=3)
    assert run.state == DONE
    return run


def first_losses(run):
    return [side.curve.bins[0][0] for side in run.sides]


# ------------------------------------------------------------------------------------------------ what it begins with


def test_a_visitors_own_runs_can_be_chosen_by_this_visitor_alone(lab, first, key):
    assert ("Your run: The first", key) in lab.tab.starts.choices(ME)
    assert key not in [one for _, one in lab.tab.starts.choices(OTHER)]
    assert lab.tab.starts.choices(OTHER)[0] == (RANDOM, RANDOM)
    assert f"{shipped_id(TRAINED)}/A" in [one for _, one in lab.tab.starts.choices(OTHER)]


def test_both_sides_begin_with_the_same_weights_below_the_loss_of_random_ones(lab, first, pair):
    a, b = first_losses(pair)
    assert a == b < first_losses(first)[0] - 0.5
    said = {"name": "The first", "step": 40, "sha256": lab.weights(first).weights_sha256}
    assert [lab.weights(pair, side).started_from for side in (0, 1)] == [said, said]
    assert "start from the same first weights" in numbers_html(pair)


def test_b_can_begin_with_random_weights_against_trained_ones_of_a_and_the_other_way_round(lab, key):
    for a, b in ((key, RANDOM), (RANDOM, key)):
        run = lab.trained(start_from=a, switch=START_FROM, switch_choice=b, steps=2)
        losses = dict(zip((side.label for side in run.sides), first_losses(run), strict=True))
        assert losses["from “The first”"] < losses["from random weights"] - 0.5
        assert "have no first weights in common" in numbers_html(run)


def test_a_run_holds_no_weights_but_of_what_it_goes_on_from(pair):
    assert all(plan.checkpoint is None for plan in pair.job.plans)
    assert not any("weights" in vars(start) for start in pair.job.starts)


def test_a_paused_run_goes_on_as_if_it_had_never_paused(lab, key, pair):
    job = lab.job(start_from=key, switch="learning_rate", switch_number="0.001", seed=3)
    run = lab.runs.start(ME, job._replace(pause_after=5))
    wait_for(lambda: run.state == PAUSED and lab.runs.free_slots == 1)
    lab.runs.resume(run)
    wait_for(lambda: run.state == DONE and lab.runs.free_slots == 1)
    assert [side.last.loss for side in run.sides] == [side.last.loss for side in pair.sides]
    assert lab.weights(run).started_from == lab.weights(pair).started_from


def test_a_model_that_was_opened_can_be_begun_with(lab, first, tmp_path):
    kept = lab.weights(first)
    opened = dataclasses.replace(kept, weights={name: 0.5 * weight for name, weight in kept.weights.items()})
    opened.save(tmp_path / "elsewhere")
    model = lab.runs.opened.open(str(tmp_path / "elsewhere"))
    assert ("Opened: elsewhere", f"{model.id}/A") in lab.tab.starts.choices(ME)
    run = lab.trained(start_from=f"{model.id}/A", steps=2)
    assert run.state == DONE and lab.weights(run).started_from["sha256"] == opened.weights_sha256


def test_runs_of_one_text_with_other_tokens_are_compared_by_their_bytes(lab):
    bpe = {"tokenizer": "bpe-512", "steps": 2}
    long, short = lab.trained(text=f"{'wizards box; ' * 200}{'and the lazy dog; ' * 20}", **bpe), lab.trained(**bpe)
    further = lab.trained(start_from=f"{long.id}/A", **bpe)
    assert further.state == DONE and not have_several_tokenizers([short, short])
    assert have_several_tokenizers([short, further])


# ------------------------------------------------------------------------------------------------ what is refused


def chosen_by(lab, switch=NOTHING, start=RANDOM, b=None, locked=()):
    """What follows when weights were chosen, for A or for B."""
    control = lab.tab.controls.components[START_FROM] if b is None else lab.tab.controls.switch_choice
    return lab.tab.on_start_from(switch, start, b, locked, gr.EventData(control, None))


def test_choosing_weights_sets_the_model_and_the_tokenizer_to_theirs_and_nothing_else(lab):
    updates = chosen_by(lab, start=f"{shipped_id(TRAINED)}/A")
    names = {name: component for name, component in lab.tab.controls.components.items() if component in updates}
    assert set(names) == {*model_fields(), "tokenizer"}
    model = demo_checkpoint(preset=TRAINED).model_config
    for name in model_fields():
        value = updates[names[name]]
        assert (value["value"] if isinstance(value, dict) else value) == getattr(model, name)
    kept = chosen_by(lab, start=f"{shipped_id(TRAINED)}/A", locked=["num_layers"])
    assert names["num_layers"] not in kept and names["norm"] in kept
    assert [*chosen_by(lab, b=f"{shipped_id(TRAINED)}/A", switch=START_FROM)] == [*updates]
    assert chosen_by(lab, b=f"{shipped_id(TRAINED)}/A", switch="norm") == gr.skip()


def test_a_side_b_with_another_model_is_left_out_when_weights_are_chosen_and_any_other_stays(lab):
    switch = lab.tab.controls.components["switch"]
    start = f"{shipped_id(TRAINED)}/A"
    updates = chosen_by(lab, start=start, switch="residual")
    assert updates[switch] == NOTHING and lab.tab.controls.switch_choice in updates
    assert switch not in chosen_by(lab, start=start, switch="optimizer"), "which fits any model"
    assert switch not in chosen_by(lab, start=start, switch="residual", locked=["residual"]), "the link hides it"
    assert chosen_by(lab, start=RANDOM, switch="residual") == gr.skip()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"num_layers": 2}, "The weights of “The first” after 40 steps fit .* alone, .* Layers 2 instead of 1"),
        ({"switch": "norm", "switch_choice": "none"}, "B cannot have another model than A"),
        ({"switch": START_FROM, "switch_choice": "PLACE"}, "B is the same as A"),
        ({"tokenizer": "byte"}, "need their own tokenizer, .*, and the setting is"),
        ({"start_from": "no-such-run/A"}, "The weights that were chosen are not here any more"),
        ({"start_from": ["x"]}, "The weights that were chosen are not here any more"),
        ({"start_from": f"{GONE}“X” after 3 steps"}, "The weights of “X” after 3 steps are not here any more"),
    ],
)
def test_what_does_not_fit_is_refused_in_words_and_never_begun_with_random_weights(lab, key, changes, words):
    place = {name: key if value == "PLACE" else value for name, value in changes.items()}
    with pytest.raises(ValueError, match=words):
        lab.job(**{"start_from": key, **place})


def test_a_text_that_its_tokenizer_does_not_know_is_refused_in_words_before_the_start_and_on_its_card(lab, key):
    job = lab.job(start_from=key, text="§ and so on, " * 100)
    with pytest.raises(
        ValueError, match=r"^The text .*§.* The tokenizer is that of “The first” after 40 steps: choose another"
    ):
        lab.runs.check(job)
    card = lab.tab.controls.text_card(OWN_TEXT, "char", key, 8, "§ and so on, " * 100, None)
    assert "§" in card


def test_weights_that_have_gone_since_the_start_fail_the_run_in_words(lab, key, monkeypatch):
    monkeypatch.setattr(lab.runs, "find_weights", lambda session, start: None)
    run = lab.trained(start_from=key)
    assert run.state == FAILED
    assert run.error.startswith("The weights of “The first” after 40 steps are not here any more")


# ------------------------------------------------------------------------------------------------ what is told


def test_a_run_says_with_what_it_began(lab, first, pair):
    assert pair.name.endswith(", from “The first”")
    assert "“your own text”, from “The first” after 40 steps" in run_words(pair, None)
    assert settings_of(pair.job)[START_FROM] == pair.job.shared_start
    assert "Start from “The first” after 40 steps instead of random weights" in differing_words(
        settings_of(pair.job), settings_of(first.job)
    )
    assert switch_of(pair.job) == ("learning_rate", 0.001)


def test_other_first_weights_are_told_above_the_drawing_though_no_part_shows_them(lab, key):
    job = lab.job(start_from=key, switch=START_FROM, switch_choice=RANDOM)
    words = "One difference: start from, “The first” after 40 steps in A and random weights in B."
    assert difference_sentence(job.plans) == words


def test_the_same_settings_with_other_weights_are_another_run(lab, first, key):
    chosen = lab.job(start_from=key)
    assert other_settings_words(first.job, chosen) == [
        "Start from random weights instead of “The first” after 40 steps"
    ]
    assert why_not(first.job._replace(plans=(*first.job.plans, *chosen.plans))) == ""
    assert why_not_tuned(first.job._replace(plans=(*first.job.plans, *chosen.plans))) == ""


def test_its_settings_set_the_controls_to_the_same_run(lab, pair, key):
    updates = lab.tab.on_take(pair.id, [], asked_by())
    start, switch = (updates[lab.tab.controls.components[name]] for name in (START_FROM, "switch"))
    assert start["value"] == key and key in [one for _, one in start["choices"]]
    assert switch == "learning_rate"
    other = lab.tab.run_settings_updates(pair, "", [], OTHER)[lab.tab.controls.components[START_FROM]]
    assert other["value"].startswith(GONE) and other["value"] in [one for _, one in other["choices"]]


def test_a_link_names_weights_that_come_with_the_lab_and_no_others(lab, key):
    own = lab.tab.controls.query(lab.values(start_from=key))
    assert WEIGHTS_NOT_SENT in own and key.partition("/")[0] not in own
    (problem,) = read_query({START_FROM: WEIGHTS_NOT_SENT}).problems
    assert "the weights to start from are not in it" in problem
    shipped = f"{shipped_id(TRAINED)}/A"
    assert read_query({START_FROM: shipped, f"b.{START_FROM}": RANDOM}).settings == {START_FROM: shipped}
    assert read_query({START_FROM: key}).problems and defaults()[START_FROM] == RANDOM


# ------------------------------------------------------------------------------------------------ what comes back


def test_the_next_server_knows_with_what_a_run_began_and_finds_it(lab, folder, pair, key):
    later = Lab(folder)
    assert later.runs.archive.recall(ME) == []
    again = later.runs.get(pair.id)
    assert again.job.plans == pair.job.plans and again.job.shared_start.name == "The first"
    assert later.tab.starts.key_of(ME, again.job.shared_start) == key
    later.runs.delete(later.runs.get(key.partition("/")[0]))
    assert later.tab.starts.key_of(ME, again.job.shared_start) == f"{GONE}“The first” after 40 steps"
    later.runs.restore(later.runs.last_deleted(ME))
    later.runs.close()


def test_an_exported_run_repeats_to_the_last_digit_where_the_weights_are_given(lab, tmp_path, first, pair):
    for name, run in (("first", first), ("pair", pair)):
        (tmp_path / f"{name}.zip").write_bytes(write_export(kept_run(lab.runs, run)))
        with zipfile.ZipFile(tmp_path / f"{name}.zip") as archive:
            archive.extractall(tmp_path / name)
    said = (tmp_path / "pair" / "README.txt").read_text(encoding="utf-8")
    assert "from “The first” after 40 steps (sha256 " in said and "are not in here" in said
    repeat = [sys.executable, str(tmp_path / "pair" / "repeat.py")]
    alone = subprocess.run(repeat, capture_output=True, text=True, check=False)
    assert alone.returncode == 1 and "began with the weights of 'The first' after 40 steps" in alone.stdout
    done = subprocess.run([*repeat, str(tmp_path / "first" / "A" / FILE_NAME)], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.count("40 of 40 losses are equal") == 2, done.stdout + done.stderr


def test_more_seeds_of_the_comparison_begin_with_the_same_weights(lab, first, pair):
    study = seeds_study(ME, pair.job, {})
    study.trials = study.trials[2:4]  # of another seed
    studies = Studies(lab.runs)
    studies.start(study)
    wait_for(lambda: not study.active and lab.runs.free_slots == 1)
    begun = {outcome.curve.bins[0][0] for outcome in study.outcomes.values()}
    assert len(study.outcomes) == 2 and max(begun) < first_losses(first)[0] - 0.5
    assert study.job == job_from_json(job_as_json(study.job))
    assert study.job.starts[0].tokenizer == job_from_json(job_as_json(study.job)).starts[0].tokenizer


def test_a_run_that_was_opened_by_a_link_is_in_the_list_of_models_of_whoever_opened_it(lab, first, monkeypatch):
    choice = ModelChoice(lab.tab.runs, gr.State(None))
    monkeypatch.setattr(first, "shared", True)
    monkeypatch.setitem(lab.tab.runs.linked, "their page", first.id)
    assert first.id not in [one for _, one in choice.choices(OTHER)]
    assert choice.choices(OTHER, "their page")[0] == (f"The run of the link: {first.name}", first.id)
    assert [one for _, one in choice.choices(ME, "my page")].count(first.id) == 1
    monkeypatch.setattr(first, "shared", False)
    assert first.id not in [one for _, one in choice.choices(OTHER, "their page")], "as everywhere else"
