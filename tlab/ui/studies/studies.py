"""All studies of all visitors. Their runs train in the queue of all runs, as many at a time as there are workers.

A study asks for its next run when one has ended, and each counts in the queue as all that is left of the study: so who
wants one run gets the next free worker, and a study has all of them where nobody waits.
"""

from __future__ import annotations

import statistics
import threading
from collections import OrderedDict
from collections.abc import Iterable

from tlab.ui.runs.limits import check_study_limits
from tlab.ui.runs.manager import Runs, text_size
from tlab.ui.runs.messages import Job
from tlab.ui.runs.run import DIVERGED, DONE, FAILED, STOPPED, Run
from tlab.ui.studies.study import RATES, SEEDS, Study, experiment_of, outcome_of
from tlab.ui.studies.tuning import short_job

MAX_STUDIES = 24  # of one session; the oldest makes room
LONGEST_WAIT = 0.5  # at most, at the runs of a study
LEFT = "Another run was started."


class Studies:
    """Starts and ends studies, and keeps what has come of them."""

    def __init__(self, runs: Runs) -> None:
        self.runs = runs
        self.lock = threading.Lock()
        self.by_session: dict[str, OrderedDict[tuple[str, Job], Study]] = {}

    # -------------------------------------------------------------------------------- a visitor's studies

    def get(self, session: str, kind: str, job: Job) -> Study | None:
        """The study of this comparison, if there is one."""
        return self.by_session.get(session, {}).get((kind, experiment_of(job)))

    def of_job(self, session: str, job: Job) -> list[Study]:
        """What is known of a comparison: its seeds, and both sides at several rates."""
        asked = [self.get(session, SEEDS, job), self.get(session, RATES, short_job(job))]
        return [study for study in asked if study is not None and study.outcomes]

    def add(self, studies: Iterable[Study]) -> None:
        """Studies that came back, from the disk or with a run; one that is known already stays as it is."""
        with self.lock:
            for study in studies:
                mine = self.by_session.setdefault(study.session, OrderedDict())
                mine.setdefault((study.kind, experiment_of(study.job)), study)
                while len(mine) > MAX_STUDIES:
                    mine.popitem(last=False)

    def active(self, session: str) -> Study | None:
        """The one that trains or waits."""
        return next((study for study in list(self.by_session.get(session, {}).values()) if study.active), None)

    def latest(self, session: str, kind: str) -> Study | None:
        """The one that was started last."""
        known = reversed(list(self.by_session.get(session, {}).values()))
        return next((study for study in known if study.kind == kind), None)

    def put_first(self, study: Study) -> None:
        """Let `latest` find this one."""
        with self.lock:
            self.by_session[study.session].move_to_end((study.kind, experiment_of(study.job)))

    def start(self, study: Study, page: str = "") -> None:
        """Train what the study is missing; an active run of the page and an active study of the session end.

        Without a page the session is one of a single page.

        Raises:
            ValueError: its settings are not allowed, or cost too much (`TooLargeError`).
            BusyError: too many runs are waiting already.
        """
        if study.active and study.thread is not None:  # another page of the browser has started it
            return
        if study.thread is not None:
            study.thread.join()  # it puts away the runs of before the stop
        jobs = [study.job_of(trial) for trial in study.missing]
        for trial in study.one_of_each_side:  # no seed and no rate makes a run larger
            self.runs.check(study.job_of(trial))
        vocab_size, _ = text_size(study.job)
        check_study_limits(self.runs.limits, [job.plans[0].configs(vocab_size) for job in jobs])
        self.runs.check_queue(page or study.session)
        self.runs.stop_others(study.session, page or study.session)
        study.seconds_expected = self.expected_seconds(study)
        study.go_on()
        with self.lock:
            mine = self.by_session.setdefault(study.session, OrderedDict())
            for other in mine.values():
                if other is not study and other.active:
                    other.end, other.words = STOPPED, LEFT
            mine[study.kind, experiment_of(study.job)] = study
            mine.move_to_end((study.kind, experiment_of(study.job)))
            while len(mine) > MAX_STUDIES:
                mine.popitem(last=False)
        study.thread = threading.Thread(target=self.supervise, args=(study,), daemon=True, name="tlab-study")
        study.thread.start()
        if study.session in self.runs.gone:  # the page was closed while its last order waited
            self.forget(study.session)

    def stop(self, study: Study) -> None:
        """End a study; what it knows is kept, and `start` goes on with the rest."""
        if study.active:
            study.end = STOPPED
        for run in list(study.training.values()):
            self.runs.stop(run)

    def forget(self, session: str) -> None:
        """A visitor has left."""
        with self.lock:
            mine = self.by_session.pop(session, {})
        for study in mine.values():
            self.stop(study)

    def expected_seconds(self, study: Study) -> float | None:
        """How long all trials of a study take on all cores, if nobody else is there; None before the pace is known."""
        each = [self.runs.expected_seconds(study.job_of(trial)) for trial in study.one_of_each_side]
        known = [seconds for seconds in each if seconds is not None]
        return statistics.fmean(known) * len(study.trials) / self.runs.slots if known else None

    # -------------------------------------------------------------------------------- threads

    def supervise(self, study: Study) -> None:
        """In a thread of the server: begin one run after the other until all have ended, or an order comes."""
        try:
            while study.active:
                while study.missing and len(study.training) < self.runs.slots:
                    self.begin(study)
                if not study.training:
                    study.end = DONE
                    break
                with self.runs.condition:
                    self.runs.condition.wait_for(
                        lambda: not (study.active and all(run.active for run in study.training.values())),
                        LONGEST_WAIT,
                    )
                self.collect(study)
        except Exception:  # whatever it was, the visitor must not wait forever
            study.end, study.words = FAILED, "The server could not go on with these runs. Try again."
            raise
        finally:
            for trial, run in list(study.training.items()):
                self.runs.forget(run)
                del study.training[trial]

    def begin(self, study: Study) -> None:
        """Put the next run of a study into the queue."""
        trial = study.missing[0]
        run = Run(study.session, study.job_of(trial)._replace(limits=self.runs.limits), self.runs.limits)
        run.seconds_after = (study.seconds_left or 0.0) * self.runs.slots
        study.training[trial] = run
        self.runs.start_unlisted(run)

    def collect(self, study: Study) -> None:
        """Take in what has come of the runs that have ended. One that did not end by itself ends the study."""
        for trial, run in list(study.training.items()):
            if run.active:
                continue
            if run.state in (DONE, DIVERGED):
                study.outcomes[trial] = outcome_of(run, run.sides[0])
                self.runs.archive.keep_study(study)
            elif study.active and run.state == FAILED:
                study.end, study.words = FAILED, run.error
            elif study.active:
                study.end, study.words = STOPPED, run.note or LEFT
            del study.training[trial]
            self.runs.forget(run)
        if study.end == STOPPED and len(study.outcomes) == len(study.trials):
            study.end, study.words = DONE, ""  # the order to stop came too late
