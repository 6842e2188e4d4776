"""Runs on the disk: what has ended is found by the next server, and by nobody but the browser that trained it."""

import dataclasses
import json
import math
import multiprocessing
import os
import time

import numpy as np
import pytest

from support import GRADIO, SMALL, VERSE, wait_for
from tlab.ui.runs import manager
from tlab.ui.runs.limits import LOCAL, PUBLIC
from tlab.ui.runs.manager import Archive, Runs
from tlab.ui.runs.messages import Job, Kept
from tlab.ui.runs.run import ACTIVE, DIVERGED, DONE, PAUSED, RUNNING, STOPPED, WAITING
from tlab.ui.runs.worker import run_job
from tlab.ui.settings.plans import make_plans
from tlab.ui.sharing.run_archive import RUNS_VARIABLE, RunArchive, archive_here
from tlab.ui.tabs.train.view import run_words

pytestmark = GRADIO

ME, OTHER = "m" * 43, "o" * 43  # numbers of browsers
TEXT = VERSE * 40


def small_job(switch=("norm", "none"), **changes) -> Job:
    return Job("your own text", TEXT, "char", make_plans({**SMALL, "steps": 30, **changes}, switch))


def server(folder, **options) -> Runs:
    runs = Runs(LOCAL, slots=1)
    runs.archive = RunArchive(runs, folder, **options)
    return runs


def trained(runs: Runs, job: Job, session: str = ME):
    run = runs.start(session, job)
    wait_for(lambda: not run.active and runs.free_slots == runs.slots)
    return run


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """A folder in which a server has kept a run, and that run."""
    folder = tmp_path_factory.mktemp("runs")
    runs = server(folder)
    run = trained(runs, small_job())
    run.rename("My run")
    run.pinned = True
    runs.archive.note(run)
    yield folder, run
    runs.close()


@pytest.fixture
def kept(first, tmp_path):
    """A copy of that folder, to be changed, with the run."""
    folder, run = first
    for path in folder.rglob("*.*"):
        place = tmp_path / path.relative_to(folder)
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(path.read_bytes())
    return tmp_path, run


def zip_in(folder):
    (path,) = folder.rglob("*.zip")
    return path


def test_the_next_server_finds_a_finished_run_to_the_last_digit(kept):
    folder, run = kept
    runs = server(folder)
    assert runs.archive.recall(ME) == []
    (again,) = runs.history(ME)
    assert (again.id, again.name, again.pinned, again.state) == (run.id, "My run", True, DONE)
    assert (again.excerpt, again.baselines, again.job.text) == (run.excerpt, run.baselines, TEXT)
    for side, before in zip(again.sides, run.sides, strict=True):
        assert (side.last.loss, side.validation_loss) == (before.last.loss, before.validation_loss)
        assert side.curve.to_json() == before.curve.to_json()
        assert (side.insights, side.sample, side.label) == (before.insights, before.sample, before.label)
    assert [step.loss for step in runs.store.get((run.id, 1)).records][-1] == run.sides[1].last.loss


def test_what_is_in_memory_is_not_read_again(kept):
    folder, run = kept
    runs = server(folder)
    runs.archive.recall(ME)
    mine = runs.get(run.id)
    assert runs.archive.recall(ME) == [] and runs.get(run.id) is mine


def test_another_browser_finds_nothing_and_the_disk_names_nobody(kept):
    folder, _ = kept
    runs = server(folder)
    assert runs.archive.recall(OTHER) == [] and runs.history(OTHER) == []
    assert not any(ME in str(path) or ME in path.read_text("latin-1") for path in folder.rglob("*.*"))


def test_a_page_without_a_cookie_leaves_nothing_on_the_disk(tmp_path):
    runs = server(tmp_path)
    trained(runs, small_job(switch=None, steps=3), session="page one")
    assert list(tmp_path.rglob("*")) == []
    runs.close()


def test_a_paused_run_goes_on_after_a_restart_as_if_nothing_had_been(first, tmp_path):
    _, whole = first
    runs = server(tmp_path)
    paused = trained(runs, small_job()._replace(pause_after=7))
    assert paused.state == PAUSED
    after = server(tmp_path)
    after.archive.recall(ME)
    (again,) = after.history(ME)
    assert (again.state, again.step) == (PAUSED, 7)
    after.resume(again)
    wait_for(lambda: again.state == DONE)
    assert [side.last.loss for side in again.sides] == [side.last.loss for side in whole.sides]
    runs.close()
    after.close()


def test_a_server_that_ends_keeps_what_trains_as_paused(tmp_path):
    runs = server(tmp_path)
    run = runs.start(ME, small_job(steps=100_000))
    wait_for(lambda: run.state == RUNNING and run.step > 3)
    runs.close()
    after = server(tmp_path)
    after.archive.recall(ME)
    (again,) = after.history(ME)
    assert again.state == PAUSED and again.step > 3


def test_a_server_that_is_killed_loses_no_more_than_what_came_after_a_run_was_kept(tmp_path):
    runs = server(tmp_path)
    runs.archive.seconds_between_kept = 0.1
    run = runs.start(ME, small_job(steps=100_000))
    wait_for(lambda: list(tmp_path.rglob("*.json")))
    runs.archive = Archive()  # as if it were killed now
    runs.close()
    after = server(tmp_path)
    after.archive.recall(ME)
    (again,) = after.history(ME)
    step = again.step
    assert (again.id, again.state) == (run.id, PAUSED) and step > 0
    assert f"The server ended before this run did. Resume goes on from step {step:,}" in run_words(again, None)
    assert all(insight.step <= step for side in again.sides for insight in side.insights)
    after.resume(again, pause_after=3)
    wait_for(lambda: not again.active)
    assert (again.state, again.step, again.note) == (PAUSED, step + 3, "")
    after.close()


def test_what_is_kept_meanwhile_changes_nothing_of_a_training():
    here, _nobody = multiprocessing.Pipe()
    plain, kept = (
        list(run_job(small_job()._replace(seconds_between_kept=seconds), here)) for seconds in (math.inf, 0.0)
    )
    ends = [run[-1].checkpoints for run in (plain, kept)]
    assert sum(isinstance(message, Kept) for message in plain) == 0
    assert sum(isinstance(message, Kept) for message in kept) >= 30
    for a, b in zip(*ends, strict=True):
        assert all(np.array_equal(weight, b.weights[name]) for name, weight in a.weights.items())
        assert [(r.loss, r.validation_loss) for r in a.records] == [(r.loss, r.validation_loss) for r in b.records]


@pytest.mark.parametrize("state", ACTIVE)
def test_whatever_a_run_was_about_to_do_when_the_server_was_killed_it_can_go_on(state, tmp_path):
    runs = server(tmp_path)
    paused = trained(runs, small_job()._replace(pause_after=3))
    paused.state = state
    runs.archive.note(paused)  # as a rename does
    after = server(tmp_path)
    after.archive.recall(ME)
    (again,) = after.history(ME)
    assert (again.state, again.step) == (PAUSED, 3)
    assert "The server ended before this run did. Resume goes on from step 3" in run_words(again, None)
    runs.close()


def test_runs_that_take_turns_are_kept_at_the_end_of_each(tmp_path, monkeypatch):
    monkeypatch.setattr(manager, "SECONDS_OF_TURN", 0.0)
    runs = server(tmp_path)
    runs.archive.seconds_between_kept = math.inf
    ids = {runs.start(session, small_job(steps=100_000)).id for session in (ME, OTHER)}
    wait_for(lambda: {path.stem for path in tmp_path.rglob("*.zip")} == ids)
    runs.archive = Archive()  # as if it were killed now
    runs.close()
    after = server(tmp_path)
    for session in (ME, OTHER):
        after.archive.recall(session)
        assert [(run.state, run.step > 0) for run in after.history(session)] == [(PAUSED, True)]


def keep_and(runs: Runs, then) -> None:
    """Have something happen while a run is being written."""
    keep = runs.archive.keep

    def keep_then(run):
        keep(run)
        then(run)

    runs.archive.keep = keep_then


def test_a_run_that_is_deleted_while_it_is_kept_leaves_nothing(tmp_path):
    runs = server(tmp_path)
    run = trained(runs, small_job()._replace(pause_after=3))
    keep_and(runs, runs.drop)
    runs.keep(run)
    assert list(tmp_path.rglob("*.zip")) == []
    runs.close()


def test_a_run_whose_visitor_leaves_while_it_is_kept_is_there_when_he_returns(tmp_path):
    runs = server(tmp_path)
    run = trained(runs, small_job()._replace(pause_after=3))
    keep_and(runs, lambda run: runs.end_session(run.session))
    runs.keep(run)
    assert runs.archive.recall(ME) == [] and [again.id for again in runs.history(ME)] == [run.id]
    runs.close()


def test_a_run_that_paused_while_it_waited_to_go_on_is_kept_as_it_is(tmp_path):
    runs = server(tmp_path)
    paused = trained(runs, small_job()._replace(pause_after=7))
    first_in_turn = runs.start(OTHER, small_job(steps=100_000))
    wait_for(lambda: first_in_turn.state == RUNNING)
    runs.resume(paused)
    assert paused.state == WAITING
    runs.close()
    after = server(tmp_path)
    after.archive.recall(ME)
    assert [(run.state, run.step) for run in after.history(ME)] == [(PAUSED, 7)]


def test_a_run_that_was_deleted_while_it_trained_and_brought_back_is_kept(tmp_path):
    runs = server(tmp_path)
    run = runs.start(ME, small_job(steps=100_000))
    wait_for(lambda: run.state == RUNNING and run.step > 3)
    runs.delete(run)
    wait_for(lambda: not run.active and runs.free_slots == runs.slots)
    runs.restore(run)
    assert [path.stem for path in tmp_path.rglob("*.zip")] == [run.id]
    runs.close()


def test_a_paused_run_that_was_stopped_comes_back_as_stopped(tmp_path):
    runs = server(tmp_path)
    runs.stop(trained(runs, small_job()._replace(pause_after=3)))
    after = server(tmp_path)
    after.archive.recall(ME)
    assert [run.state for run in after.history(ME)] == [STOPPED]
    runs.close()


def test_a_run_that_diverged_is_kept(tmp_path):
    runs = server(tmp_path)
    run = trained(runs, small_job(("learning_rate", 1e9), norm="none", gradient_clip=0.0, learning_rate=1e8, steps=60))
    assert run.state == DIVERGED
    after = server(tmp_path)
    after.archive.recall(ME)
    (again,) = after.history(ME)
    assert [side.divergence for side in again.sides] == [side.divergence for side in run.sides]
    runs.close()


@pytest.mark.parametrize("damage", [lambda b: b[:-200], lambda b: b"", lambda b: b[:3000] + b"x" * 50 + b[3050:]])
def test_a_damaged_file_is_told_and_left_out(kept, damage):
    folder, _ = kept
    path = zip_in(folder)
    path.write_bytes(damage(path.read_bytes()))
    runs = server(folder)
    assert runs.archive.recall(ME) == ["My run"] and runs.history(ME) == []
    assert runs.archive.recall(ME) == []


@pytest.mark.parametrize("note", [b"", b"{", b"[]", b"[" * 9000, b'{"begun_at": "x", "deleted": 1}', b'{"bugs": 7}'])
def test_without_what_stands_beside_it_a_run_is_found_by_its_own_name(kept, note):
    folder, _ = kept
    zip_in(folder).with_suffix(".json").write_bytes(note)
    runs = server(folder)
    assert runs.archive.recall(ME) == []
    assert [run.name for run in runs.history(ME)] == ["LayerNorm or no norm"]


def test_a_deleted_run_can_be_brought_back_until_the_server_or_the_next_one_forgets_it(kept):
    folder, run = kept
    runs = server(folder)
    runs.archive.recall(ME)
    mine = runs.get(run.id)
    runs.delete(mine)
    assert runs.history(ME) == [] and runs.last_deleted(ME) is mine and runs.get_owned(ME, run.id) is None
    runs.restore(mine)
    assert (
        runs.history(ME) == [mine] and json.loads(zip_in(folder).with_suffix(".json").read_text())["deleted"] is False
    )
    runs.delete(mine)
    assert server(folder).archive.recall(ME) == [] and list(folder.rglob("*.*")) == []


def test_the_id_of_a_run_opens_it_for_others_only_once_there_is_a_link_to_it(kept):
    folder, run = kept
    runs = server(folder)
    runs.archive.recall_linked(run.id)
    assert runs.get_visible(OTHER, run.id) is None
    runs.archive.recall(ME)
    mine = runs.get(run.id)
    assert runs.get_visible(OTHER, run.id) is None and runs.get_visible(ME, run.id) is mine
    mine.shared = True
    runs.archive.note(mine)
    assert runs.get_visible(OTHER, run.id) is mine and runs.get_owned(OTHER, run.id) is None


def test_a_linked_run_is_found_after_a_restart_and_stays_whose_it_is(kept):
    folder, run = kept
    before = server(folder)
    before.archive.recall(ME)
    before.get(run.id).shared = True
    before.archive.note(before.get(run.id))
    runs = server(folder)
    runs.archive.recall_linked(run.id)
    linked = runs.get_visible(OTHER, run.id)
    assert linked.id == run.id and runs.history(OTHER) == [] and runs.history(ME) == []
    runs.archive.recall(ME)
    assert runs.history(ME) == [linked]
    runs.delete(linked)
    assert runs.get_visible(OTHER, run.id) is None
    assert server(folder).get_visible(OTHER, run.id) is None


@pytest.mark.parametrize("name", ["", "*", "../../" + "x" * 10, "x" * 16, "[a-z]" * 3 + "x", "\0" * 16, "x" * 100_000])
def test_what_is_no_id_of_a_linked_run_opens_nothing(kept, name):
    runs = server(kept[0])
    runs.archive.recall_linked(name)
    assert not runs.runs


def test_one_deleted_run_is_kept_for_the_one_who_regrets(kept):
    folder, run = kept
    runs = server(folder)
    runs.archive.recall(ME)
    runs.delete(runs.get(run.id))
    other = trained(runs, small_job(switch=None, steps=3))
    runs.delete(other)
    assert runs.get(run.id) is None and runs.last_deleted(ME) is other
    assert [path.stem for path in folder.rglob("*.zip")] == [other.id]
    runs.close()


def test_the_oldest_runs_make_room_within_the_budget(tmp_path):
    runs = server(tmp_path)
    run = trained(runs, small_job(switch=None, steps=3))
    size = zip_in(tmp_path).stat().st_size
    runs.archive = RunArchive(runs, tmp_path, budget=8 * int(2.5 * size))
    ids = [run.id]
    for number in range(3):
        os.utime(runs.archive.path_of(run), (time.time() - 1000 + number,) * 2)
        run = trained(runs, small_job(switch=None, steps=3, seed=number + 1))
        ids.append(run.id)
    assert {path.stem for path in tmp_path.rglob("*.zip")} == set(ids[-2:])
    runs.close()


def test_what_is_older_than_a_browser_is_known_goes(kept):
    folder, _ = kept
    os.utime(zip_in(folder), (time.time() - 31 * 86400,) * 2)
    runs = server(folder)
    runs.archive.make_room(folder, 0)
    assert list(folder.rglob("*.*")) == []


def test_a_disk_that_takes_nothing_fails_no_run(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    runs = server(tmp_path / "file")
    assert trained(runs, small_job(switch=None, steps=3)).state == DONE
    runs.close()


def test_a_public_page_keeps_nothing_unless_it_is_told_where(monkeypatch, tmp_path):
    runs = Runs(dataclasses.replace(PUBLIC), slots=1)
    monkeypatch.delenv(RUNS_VARIABLE, raising=False)
    assert type(archive_here(runs, PUBLIC)) is Archive
    assert "in memory alone" in archive_here(runs, PUBLIC).own_text_words
    monkeypatch.setenv(RUNS_VARIABLE, str(tmp_path))
    assert archive_here(runs, PUBLIC).folder == tmp_path
    words = archive_here(runs, PUBLIC).own_text_words
    assert "on the disk of this server" in words and str(tmp_path) not in words


def test_on_ones_own_machine_runs_are_kept_until_that_is_turned_off(monkeypatch):
    runs = Runs(LOCAL, slots=1)
    monkeypatch.delenv(RUNS_VARIABLE, raising=False)
    words = archive_here(runs, LOCAL).own_text_words
    assert str(archive_here(runs, LOCAL).folder) in words and RUNS_VARIABLE in words
    monkeypatch.setenv(RUNS_VARIABLE, "off")
    assert type(archive_here(runs, LOCAL)) is Archive
