"""The runs of a study: the same as single ones, in the queue of all, and nothing of them is left behind."""

import pytest

from support import wait_for
from tlab.training.trainer import Trainer
from tlab.ui.runs.limits import LOCAL, PUBLIC, TooLargeError
from tlab.ui.runs.manager import Runs
from tlab.ui.runs.messages import Job, job_corpus
from tlab.ui.runs.run import DONE, RUNNING, STOPPED, Run
from tlab.ui.settings.plans import make_plans
from tlab.ui.settings.presets import DEMO_PRESET, preset_job, preset_settings
from tlab.ui.studies.five_seeds import seeds_study
from tlab.ui.studies.studies import LEFT, Studies
from tlab.ui.studies.study import SEEDS, known_trials
from tlab.ui.studies.tuning import tuning_study


def small_job(steps: int = 6, **settings) -> Job:
    sizes = {"hidden_dim": 8, "num_layers": 1, "num_heads": 1, "steps": steps, **settings}
    plans = make_plans({**preset_settings(DEMO_PRESET), **sizes}, DEMO_PRESET.switch)
    return preset_job(DEMO_PRESET)._replace(plans=plans)


@pytest.fixture
def runs():
    runs = Runs(LOCAL, slots=2)
    yield runs
    runs.close()


@pytest.fixture
def studies(runs):
    return Studies(runs)


def test_five_seeds_are_the_runs_that_one_would_make_by_hand(runs, studies):
    own = runs.start("s", small_job())
    wait_for(lambda: not own.active)
    study = seeds_study("s", own.job, known_trials(own))
    studies.start(study)
    wait_for(lambda: not study.active)
    assert (study.end, len(study.outcomes), runs.history("s")) == (DONE, 10, [own])
    assert [study.outcomes[trial].curve for trial in study.trials[:2]] == [side.curve for side in own.sides]
    corpus = job_corpus(own.job)
    for trial in study.trials[:4]:
        (plan,) = study.job_of(trial).plans
        losses = [record.validation_loss for record in Trainer(*plan.configs(corpus.tokenizer.vocab_size), corpus)]
        assert study.outcomes[trial].loss == losses[-1]
    assert list(runs.runs.values()) == [own]
    assert {side for side, _ in runs.store.cache.entries} == {(own.id, 0), (own.id, 1)}


@pytest.mark.parametrize("make", [seeds_study, lambda session, job, _: tuning_study(session, job)])
def test_a_study_of_a_run_that_was_paused_trains_every_seed_from_its_first_step(runs, make):
    own = runs.start("s", small_job()._replace(pause_after=1))
    wait_for(lambda: not own.active)
    resumed = runs.resumed_job(own)._replace(pause_after=1)
    assert all(plan.checkpoint for plan in resumed.plans)
    study = make("s", resumed, {})
    jobs = [study.job_of(trial) for trial in study.trials]
    assert [(job.pause_after, job.plans[0].checkpoint) for job in jobs] == [(None, None)] * len(jobs)
    assert all(job.plans[0].training.seed == trial.seed for job, trial in zip(jobs, study.trials, strict=True))


def test_five_seeds_of_a_run_that_was_paused_are_those_of_one_that_was_not(runs, studies):
    own = runs.start("s", small_job()._replace(pause_after=1))
    wait_for(lambda: not own.active)
    runs.resume(own)
    wait_for(lambda: not own.active)
    study = seeds_study("s", own.job, known_trials(own))
    studies.start(study)
    wait_for(lambda: not study.active)
    losses = [study.outcomes[trial].loss for trial in study.trials]
    assert len(set(losses)) == len(losses)


def test_a_run_that_was_resumed_holds_no_state_beside_the_store(runs):
    own = runs.start("s", small_job()._replace(pause_after=1))
    wait_for(lambda: not own.active)
    runs.resume(own)
    wait_for(lambda: not own.active)
    assert own.state == DONE and all(plan.checkpoint is None for plan in own.job.plans)


def test_what_a_stopped_study_knows_is_kept_and_the_rest_is_trained_later(studies):
    study = seeds_study("s", small_job(), {})
    studies.start(study)
    wait_for(lambda: study.outcomes)
    studies.stop(study)
    wait_for(lambda: not study.training)
    kept = dict(study.outcomes)
    assert study.end == STOPPED
    assert len(kept) < 10
    studies.start(study)
    wait_for(lambda: not study.active)
    assert len(study.outcomes) == 10
    assert all(study.outcomes[trial] is outcome for trial, outcome in kept.items())


def test_a_stop_that_comes_when_all_runs_have_ended_leaves_nothing_to_go_on_with(studies):
    study = seeds_study("s", small_job(), {})
    study.outcomes = {trial: object() for trial in study.trials[1:]}
    run = Run("s", study.job_of(study.trials[0]), LOCAL)
    run.state = DONE
    study.training[study.trials[0]] = run
    studies.stop(study)
    assert study.end == STOPPED
    studies.collect(study)
    assert (study.end, study.missing) == (DONE, [])


def test_a_study_that_two_pages_start_is_trained_once(studies):
    study = seeds_study("s", small_job(steps=100_000), {})
    studies.start(study, "page one")
    thread = study.thread
    studies.start(study, "page two")
    assert study.thread is thread
    studies.stop(study)


def test_a_study_that_goes_on_at_once_after_its_stop_has_one_supervisor(studies):
    study = seeds_study("s", small_job(), {})
    studies.start(study)
    before = study.thread
    studies.stop(study)
    studies.start(study)
    assert not before.is_alive()
    wait_for(lambda: not study.active)
    assert len(study.outcomes) == 10


def test_a_run_that_is_started_ends_the_study_of_its_visitor(runs, studies):
    study = seeds_study("s", small_job(steps=100_000), {})
    studies.start(study)
    wait_for(lambda: study.state == RUNNING)
    own = runs.start("s", small_job())
    wait_for(lambda: not study.active and not own.active)
    assert (study.end, study.words, own.state) == (STOPPED, LEFT, DONE)
    assert studies.get("s", SEEDS, study.job) is study


def test_a_visitor_who_has_left_leaves_nothing(runs, studies):
    study = seeds_study("s", small_job(steps=100_000), {})
    studies.start(study)
    wait_for(lambda: study.state == RUNNING)
    studies.forget("s")
    wait_for(lambda: not runs.runs)
    assert studies.get("s", SEEDS, study.job) is None


def test_the_next_run_of_a_study_waits_for_a_single_run_that_came_later():
    queue = Runs(LOCAL, slots=1)
    part, single = (Run(session, small_job(), LOCAL) for session in "ab")
    part.seconds_expected, part.seconds_after, single.seconds_expected = 5.0, 50.0, 20.0
    queue.waiting.extend([part, single])
    assert queue.in_turn() == [single, part]


def test_a_study_that_a_public_page_cannot_afford_is_refused_in_words():
    studies = Studies(Runs(PUBLIC, slots=2))
    study = seeds_study("s", small_job(steps=5_000, hidden_dim=64, num_layers=4), {})
    with pytest.raises(TooLargeError, match=r"These 10 runs would take .* times the arithmetic that this public page"):
        studies.start(study)
    assert study.training == {}
