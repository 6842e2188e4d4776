"""Finished seeds and rates: on the disk beside the runs, in the zip of a run, and back."""

import json
import math
import zipfile

import pytest

from support import GRADIO, SMALL, VERSE
from tlab.text import corpus_from_text
from tlab.training.trainer import Trainer
from tlab.ui.runs.limits import LOCAL
from tlab.ui.runs.loss_curve import Curve
from tlab.ui.runs.manager import Runs
from tlab.ui.runs.messages import Job
from tlab.ui.runs.run import DONE, STOPPED, Run
from tlab.ui.settings.plans import make_plans
from tlab.ui.sharing.convert import opened_run
from tlab.ui.sharing.read_zip import ReopenError, read_export
from tlab.ui.sharing.run_archive import RunArchive
from tlab.ui.sharing.study_file import job_as_json, job_from_json, study_as_json, study_from_json
from tlab.ui.sharing.write_zip import STUDIES, KeptRun, KeptSide, readme, write_export, zipped
from tlab.ui.studies.csv_link import csv_of
from tlab.ui.studies.five_seeds import seeds_study
from tlab.ui.studies.studies import Studies
from tlab.ui.studies.study import Ended
from tlab.ui.studies.tuning import tuning_study, widen
from tlab.ui.studies.view import bands_value

pytestmark = GRADIO

ME = "m" * 43  # the number of a browser
TEXT = VERSE * 40


def job_on(text: str | None = TEXT) -> Job:
    corpus = "verse" if text is None else "your own text"
    return Job(corpus, text, "char", make_plans({**SMALL, "steps": 30, "warmup_steps": 5}, ("norm", "none")))


def outcome(number: int) -> Ended:
    """With a curve, or of a run that diverged."""
    curve = Curve()
    curve.bins, curve.width, curve.filled = [[3.1, 3.0, 3.2, 3.1 + number]] * 2, 2, 1
    curve.add_validation(3, 2.0 + 0.1 * number)
    return Ended(None, 3, curve) if number % 7 == 6 else Ended(2.0 + 0.01 * number, None, curve, 1.5)


def with_outcomes(study, count: int | None = None):
    study.outcomes = {trial: outcome(number) for number, trial in enumerate(study.trials[:count])}
    study.end = DONE if count is None else STOPPED
    return study


def widened():
    study = tuning_study(ME, job_on())
    for trial in study.trials:  # ever better towards higher rates
        study.outcomes[trial] = Ended(3 - math.log(trial.learning_rate) + 0.01 * trial.seed, None, Curve())
    widen(study)
    return study


MADE = {
    "seeds": lambda: with_outcomes(seeds_study(ME, job_on(), {})),
    "some seeds": lambda: with_outcomes(seeds_study(ME, job_on(), {}), 3),
    "rates": lambda: with_outcomes(tuning_study(ME, job_on())),
    "more rates": lambda: with_outcomes(widened()),
}


def same(one, other) -> bool:
    names = ("session", "kind", "job", "trials", "state")
    return csv_of(one) == csv_of(other) and all(getattr(one, name) == getattr(other, name) for name in names)


@pytest.mark.parametrize("make", MADE.values(), ids=MADE)
def test_a_study_comes_back_as_it_was_from_json(make):
    study = make()
    job = job_from_json(json.loads(json.dumps(job_as_json(study.job))))
    again = study_from_json(ME, job, json.loads(json.dumps(study_as_json(study))))
    assert same(again, study)
    assert bands_value(again) == bands_value(study)


# ------------------------------------------------------------------------------------------------ on the disk


@pytest.fixture
def server(tmp_path):
    made = []

    def start() -> Runs:
        runs = Runs(LOCAL, slots=1)
        runs.archive = RunArchive(runs, tmp_path)
        made.append(runs)
        return runs

    yield start
    for runs in made:
        runs.close()


def with_run(runs: Runs) -> Run:
    """A run in the history, on the text of the studies."""
    run = Run(ME, job_on(), LOCAL)
    run.state = DONE
    runs.add(run)
    return run


@pytest.mark.parametrize("make", MADE.values(), ids=MADE)
def test_the_next_server_finds_a_study_as_far_as_it_went(server, make):
    runs, study = server(), make()
    run = with_run(runs)
    runs.archive.keep_study(study)
    again = server()
    studies = Studies(again)
    studies.add(again.archive.recall_studies(ME))
    (found,) = studies.of_job(ME, run.job)
    assert same(found, study)
    assert again.archive.recall_studies("o" * 43) == []


def test_each_run_of_a_study_is_kept_when_it_has_ended(server):
    runs = server()
    with_run(runs)
    study = seeds_study(ME, job_on(), {})
    part = Run(ME, study.job_of(study.trials[0]), LOCAL)
    part.state, part.sides[0].validation_loss = DONE, 2.5
    study.training[study.trials[0]] = part
    Studies(runs).collect(study)
    (kept,) = runs.archive.recall_studies(ME)
    assert [ended.loss for ended in kept.outcomes.values()] == [2.5]


def test_a_study_goes_with_the_last_run_of_its_text(server, tmp_path):
    runs, study = server(), MADE["seeds"]()
    run = with_run(runs)
    runs.archive.keep_study(study)
    assert len(list(tmp_path.rglob("*.study"))) == 1
    runs.drop(run)
    assert not list(tmp_path.rglob("*.study"))
    runs.archive.keep_study(study)  # of a text that no run has any more, with which it could be deleted
    assert not list(tmp_path.rglob("*.study"))


def test_a_damaged_study_is_left_out(server, tmp_path):
    runs = server()
    with_run(runs)
    runs.archive.keep_study(MADE["seeds"]())
    (path,) = tmp_path.rglob("*.study")
    path.write_bytes(path.read_bytes()[:-20])
    assert runs.archive.recall_studies(ME) == []


def test_studies_count_within_the_budget_of_the_runs(server, tmp_path):
    runs = server()
    with_run(runs)
    runs.archive.keep_study(MADE["seeds"]())
    (path,) = tmp_path.rglob("*.study")
    assert [found for _, found, _ in runs.archive.files()] == [path]
    runs.archive.budget = 10
    runs.archive.make_room(path.parent, 5)
    assert not path.exists()


# ------------------------------------------------------------------------------------------------ in the zip


@pytest.fixture(scope="module")
def run() -> KeptRun:
    corpus = corpus_from_text(TEXT, "your own text", tokenizer="char")
    sides = []
    for plan in job_on().plans:
        trainer = Trainer(*plan.configs(corpus.tokenizer.vocab_size), corpus)
        list(trainer)
        sides.append(KeptSide(plan.label, trainer.checkpoint()))
    return KeptRun("LayerNorm or none", tuple(sides), TEXT)


def opened(content: bytes, folder) -> KeptRun:
    path = folder / "upload.zip"
    path.write_bytes(content)
    return read_export(path, LOCAL)


def test_the_zip_of_a_run_has_its_studies_as_tables_and_they_come_back(run, tmp_path):
    kept = run._replace(studies=[MADE["seeds"](), MADE["more rates"]()])
    content = write_export(kept)
    again = opened(content, tmp_path)
    with zipfile.ZipFile(tmp_path / "upload.zip") as archive:
        tables = [archive.read(name).decode() for name in ("five-seeds.csv", "learning-rates.csv")]
    assert tables == [csv_of(study) for study in kept.studies]
    for study in again.studies:
        study.session = ME
    assert all(same(one, other) for one, other in zip(again.studies, kept.studies, strict=True))
    studies = Studies(Runs(LOCAL, slots=1))
    studies.add(again.studies)
    job = opened_run(ME, again, studies.runs)[0].job
    assert len(studies.of_job(ME, job)) == 2


def test_the_words_of_the_zip_say_how_many_seeds_there_are(run):
    assert "One seed each, which names no winner." in readme(run)
    told = readme(run._replace(studies=[MADE["seeds"]()]))
    assert "five-seeds.csv: Diverged, which counts as higher" in told and "One seed each" not in told
    assert "five-seeds.csv: 3 of 10 runs have ended, which name no winner." in readme(
        run._replace(studies=[MADE["some seeds"]()])
    )


@pytest.mark.parametrize(
    "change",
    [
        lambda study: study.update(kind="weights"),
        lambda study: study["ended"][0].update(seed=99),
        lambda study: study["ended"][0].update(loss="2.0"),
        lambda study: study["ended"][0].update(diverged_at=3),
        lambda study: study["ended"][0].update(bytes_per_token=-1.0),
        lambda study: study["ended"][0]["curve"].update(width=0),
        lambda study: study["ended"][0]["curve"]["bins"].extend([[1.0] * 4] * 400),
        lambda study: study["ended"][0]["curve"]["validation"].append([1, None]),
    ],
)
def test_a_zip_whose_studies_are_none_is_refused_in_words(run, tmp_path, change):
    content = write_export(run._replace(studies=[MADE["seeds"]()]))
    opened(content, tmp_path)
    with zipfile.ZipFile(tmp_path / "upload.zip") as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    values = json.loads(files[STUDIES])
    change(values[0])
    files[STUDIES] = json.dumps(values).encode()
    with pytest.raises(ReopenError):
        opened(zipped(files.items()), tmp_path)
