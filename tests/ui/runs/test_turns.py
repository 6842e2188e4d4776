"""Who trains next: short runs first, long ones in turns, and what those who wait are told."""

import time
from types import SimpleNamespace

import pytest

from support import wait_for
from tlab.ui.runs import manager
from tlab.ui.runs.limits import LOCAL
from tlab.ui.runs.manager import Runs
from tlab.ui.runs.messages import Job
from tlab.ui.runs.run import DONE, PAUSED, RUNNING, Run
from tlab.ui.settings.plans import make_plans
from tlab.ui.settings.presets import DEMO_PRESET, preset_job, preset_settings


def waiting_run(runs: Runs, session: str, seconds: float | None, waited: float = 0.0) -> Run:
    """A run in the queue, which nothing will take out of it."""
    run = Run(session, preset_job(DEMO_PRESET), LOCAL)
    run.seconds_expected, run.waiting_since = seconds, time.monotonic() - waited
    runs.runs[run.id] = run
    runs.waiting.append(run)
    return run


@pytest.fixture
def queue():
    """Runs of which none begins: there is no worker."""
    runs = Runs(LOCAL, slots=1)
    runs.free_slots = 0
    return runs


def test_a_short_run_begins_before_a_long_one_that_came_first(queue):
    long, short = waiting_run(queue, "a", 100), waiting_run(queue, "b", 10)
    assert queue.in_turn() == [short, long]


def test_a_run_waits_for_later_ones_no_longer_than_it_takes_itself(queue):
    long, short = waiting_run(queue, "a", 100, waited=95), waiting_run(queue, "b", 10)
    assert queue.in_turn() == [long, short]


def test_without_estimates_who_came_first_begins_first(queue):
    first, second = waiting_run(queue, "a", None, waited=2), waiting_run(queue, "b", None, waited=1)
    assert queue.in_turn() == [first, second]
    assert queue.place_in_queue(second) == (2, None)


@pytest.mark.parametrize(("slots", "seconds"), [(1, 10 + 20), (2, 10)])
def test_who_waits_is_told_when_those_before_are_through(queue, monkeypatch, slots, seconds):
    monkeypatch.setattr(manager, "SECONDS_TO_BEGIN", 0.0)
    queue.slots = slots
    for session, left in zip("xy"[:slots], (10, 40), strict=False):
        training = Run(session, preset_job(DEMO_PRESET), LOCAL)
        training.state, training.seconds_expected = RUNNING, left
        queue.runs[training.id] = training
    if slots == 1:
        waiting_run(queue, "b", 20)
    place = queue.place_in_queue(waiting_run(queue, "c", 30))
    assert place.seconds == pytest.approx(seconds)


def test_what_is_told_follows_what_runs_before_have_taken(queue, monkeypatch):
    monkeypatch.setattr(manager, "SECONDS_TO_BEGIN", 0.0)
    ended = Run("a", preset_job(DEMO_PRESET), LOCAL)
    ended.state, ended.seconds_expected = DONE, 10.0
    for _ in range(50):
        queue.learn_from(ended, 20.0)
    waiting_run(queue, "b", 15)
    assert queue.place_in_queue(waiting_run(queue, "c", 30)).seconds == pytest.approx(30)


def test_one_slow_run_among_ten_does_not_double_what_is_told(queue):
    for seconds in (10.0,) * 9 + (40.0,):
        ended = Run("a", preset_job(DEMO_PRESET), LOCAL)
        ended.state, ended.seconds_expected = DONE, 10.0 - manager.SECONDS_TO_BEGIN
        queue.learn_from(ended, seconds)
    assert 1.0 < queue.taken_ratio < 2.0


def test_what_is_told_follows_runs_that_still_train(queue, monkeypatch):
    monkeypatch.setattr(manager, "time", SimpleNamespace(monotonic=lambda: 100.0))
    training = Run("a", preset_job(DEMO_PRESET), LOCAL)
    training.state, training.seconds_expected, training.running_since = RUNNING, 10.0, 70.0
    training.sides[0].last = SimpleNamespace(step=training.steps // 2)
    queue.runs[training.id] = training
    assert queue.taken_ratio == pytest.approx(6.0)  # 30 seconds instead of 5


def test_a_run_that_was_stopped_teaches_nothing(queue):
    ended = Run("a", preset_job(DEMO_PRESET), LOCAL)
    ended.state, ended.seconds_expected = PAUSED, 10.0
    queue.learn_from(ended, 1.0)
    assert queue.taken_ratio == 1.0


def test_a_run_that_does_not_wait_has_no_place(queue):
    assert queue.place_in_queue(Run("a", preset_job(DEMO_PRESET), LOCAL)) is None


def small_job(steps: int) -> Job:
    sizes = {"hidden_dim": 8, "num_layers": 1, "num_heads": 1, "steps": steps}
    return preset_job(DEMO_PRESET)._replace(plans=make_plans({**preset_settings(DEMO_PRESET), **sizes}))


@pytest.fixture
def runs():
    runs = Runs(LOCAL, slots=1)
    yield runs
    runs.close()


def losses(run: Run) -> list[tuple]:
    return [(side.step, side.last.loss, side.validation_loss) for side in run.sides]


def test_a_long_run_gives_way_to_one_that_waits_and_ends_as_if_it_never_had(runs, monkeypatch):
    alone = runs.start("a", small_job(3000))
    wait_for(lambda: not alone.active)
    monkeypatch.setattr(manager, "SECONDS_OF_TURN", 0.0)
    long = runs.start("b", small_job(3000))
    wait_for(lambda: long.state == RUNNING)
    short = runs.start("c", small_job(20))
    wait_for(lambda: not short.active)
    assert (short.state, long.active) == (DONE, True)
    wait_for(lambda: not long.active)
    assert (long.state, losses(long)) == (DONE, losses(alone))


def test_a_pause_while_a_run_gives_way_stays_a_pause(runs):
    run = Run("a", small_job(5), LOCAL)
    runs.add(run)
    run.state, run.gives_way = PAUSED, True
    runs.pause(run)
    runs.take_up_again(run)
    assert (run.state, run.active) == (PAUSED, False)
