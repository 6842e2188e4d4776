"""Runs on the disk, where a server that is started again finds them: each is an export, as Compare opens it.

<folder>/<browser>/<run>.zip    the run as `write_export` makes it, and what a paused one goes on from
<folder>/<browser>/<run>.json   what a visitor may change of it, and what an export does not say
<folder>/<browser>/<study>.study    runs of several seeds or rates of a comparison, as far as they went

A browser's folder is called by a digest of its number, so that reading the disk opens nobody's session. Files are
written whole or not at all, and read with the checks of an upload. What is damaged is renamed and left out. When there
is no room, the oldest go first.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import itertools
import json
import logging
import os
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import platformdirs

from tlab.files import write_atomically
from tlab.inside.bugs import BUGS
from tlab.ui.runs.limits import GB, Limits
from tlab.ui.runs.manager import MAX_HISTORY, SESSION_SHARE, Archive, Runs
from tlab.ui.runs.run import ACTIVE, PAUSED, STOPPED, Run
from tlab.ui.sharing.convert import opened_run, stored_run
from tlab.ui.sharing.read_zip import DAMAGE, MAX_PACKED, ReopenError, checked_json, read_export
from tlab.ui.sharing.study_file import job_as_json, job_from_json, study_as_json, study_from_json, study_name
from tlab.ui.sharing.write_zip import ExportError, write_export
from tlab.ui.studies.study import Study, experiment_of
from tlab.ui.studies.tuning import short_job
from tlab.ui.visit import SECONDS_KNOWN, lasts

RUNS_VARIABLE, OFF = "TLAB_RUNS_DIR", "off"  # a folder, or this word for none
STUDY = ".study"
MAX_STUDY = 2**25  # bytes, unpacked: a text of the visitor's own, and some fifty curves
MAX_NOTE = 10_000  # bytes
RUN_ID = re.compile(r"[\w-]{16}", re.ASCII)
NOBODY = "nobody "  # before the id of a run: no session that a request can have

archive_log = logging.getLogger("tlab.ui")


class RunArchive(Archive):
    """The runs of all browsers below one folder, within a budget of bytes, for as long as a browser is known.

    Args:
        runs: in which they are brought back.
        folder: made when the first run is kept.
        budget: bytes of all files; of one browser's, an eighth.
    """

    lasts = True
    seconds_between_kept = 60.0

    def __init__(self, runs: Runs, folder: Path, budget: int = 2 * GB) -> None:
        self.runs, self.folder, self.budget = runs, folder, budget
        self.lock = threading.Lock()
        where = "server" if runs.limits.public else f"computer, in {folder}"
        self.own_text_words = (
            f"Runs on your text are kept with it on the disk of this {where}, for "
            f"{SECONDS_KNOWN // 86400} days, or until you delete them under Compare or {MAX_HISTORY} later runs take "
            f"their place. {RUNS_VARIABLE}={OFF} keeps none."
        )

    @property
    def kept_in(self) -> Path:
        return self.folder

    def place_of(self, session: str) -> Path:
        return self.folder / hashlib.sha256(session.encode()).hexdigest()[:32]

    def path_of(self, run: Run) -> Path:
        return self.place_of(run.session) / f"{run.id}.zip"

    # -------------------------------------------------------------------------------- out

    def keep(self, run: Run) -> None:
        """Write a run as it was stored last, unless its browser will not be known again."""
        if not lasts(run.session):
            return
        try:
            content = write_export(stored_run(self.runs, run), resumable=True)
        except ExportError:  # it has no model, or not one record
            return
        if len(content) > min(MAX_PACKED, self.budget // SESSION_SHARE):
            return
        path = self.path_of(run)
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.make_room(path.parent, len(content))
            write_atomically(path, content)
            self.note(run)
        except OSError as error:
            archive_log.warning("a run cannot be kept in %s: %s", self.folder, error.strerror)

    def note(self, run: Run) -> None:
        path = self.path_of(run)
        if not path.exists():
            return
        about = {
            "name": run.name, "pinned": run.pinned, "deleted": run.deleted, "shared": run.shared, "state": run.state,
            "begun_at": run.begun_at, "note": run.note, "bugs": [plan.bug for plan in run.job.plans],
        }  # fmt: skip
        with contextlib.suppress(OSError):
            write_atomically(path.with_suffix(".json"), json.dumps(about).encode())

    def remove(self, run: Run) -> None:
        """With the studies of its comparison, and all of a text of the visitor's own that no other run has."""
        others = [other.job for other in self.runs.history(run.session) if other is not run]
        for path, study in self.studies_of(run.session):
            of_text = run.job.text is not None and study.job.text == run.job.text
            its_jobs = {experiment_of(run.job), experiment_of(short_job(run.job))}
            if study.job in its_jobs or (of_text and all(job.text != run.job.text for job in others)):
                path.unlink(missing_ok=True)
        remove_run(self.path_of(run))

    def keep_study(self, study: Study) -> None:
        """Write a study; one of a visitor's own text only beside a run on it, with which it can be deleted."""
        texts = {run.job.text for run in self.runs.history(study.session)}
        if not lasts(study.session) or study.job.text not in {None, *texts}:
            return
        values = {"job": job_as_json(study.job), **study_as_json(study)}
        content = gzip.compress(json.dumps(values).encode(), mtime=0)
        path = self.place_of(study.session) / f"{study_name(study)}{STUDY}"
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.make_room(path.parent, len(content))
            write_atomically(path, content)
        except OSError as error:
            archive_log.warning("a study cannot be kept in %s: %s", self.folder, error.strerror)

    def recall_studies(self, session: str) -> list[Study]:
        """The studies of a browser, the oldest first; what is damaged is left out."""
        return [study for _, study in self.studies_of(session)] if lasts(session) else []

    def studies_of(self, session: str) -> Iterator[tuple[Path, Study]]:
        """Each file with what is in it, the oldest first."""
        for path in sorted(self.place_of(session).glob(f"*{STUDY}"), key=lambda path: path.stat().st_mtime):
            try:
                with gzip.open(path) as file:
                    values = checked_json(file.read(MAX_STUDY))
                yield path, study_from_json(session, job_from_json(values["job"]), values)
            except DAMAGE as error:
                archive_log.warning("%s is damaged and left out: %s", path, error)

    def make_room(self, place: Path, size: int) -> None:
        """Remove what is old, then the oldest: of this browser, and of all."""
        own, left = self.budget // SESSION_SHARE - size, self.budget - size
        oldest = time.time() - SECONDS_KNOWN
        for changed, path, bytes_of in sorted(self.files(), reverse=True):
            left -= bytes_of
            own -= bytes_of if path.parent == place else 0
            if changed < oldest or left < 0 or (own < 0 and path.parent == place):
                remove_run(path)

    def files(self) -> Iterator[tuple[float, Path, int]]:
        """When each run was written, where, and its bytes."""
        for path in itertools.chain(self.folder.glob("*/*.zip*"), self.folder.glob(f"*/*{STUDY}")):
            with contextlib.suppress(OSError):  # it has just gone
                about = path.stat()
                yield about.st_mtime, path, about.st_size

    # -------------------------------------------------------------------------------- back

    def recall(self, session: str) -> list[str]:
        """Bring a browser's runs back that are not in memory, the oldest first; -> names of those that are damaged."""
        if not lasts(session):
            return []
        with self.lock:  # two pages of a browser may come at the same time
            return self.bring_back_all(session)

    def bring_back_all(self, session: str) -> list[str]:
        damaged = []
        files = self.place_of(session).glob("*.zip")
        found = [(path, read_note(path)) for path in files if RUN_ID.fullmatch(path.stem)]
        for path, about in sorted(found, key=lambda one: one[1].get("begun_at", 0.0)):
            known = self.runs.get(path.stem)
            if known is not None:
                known.session = session
            elif about.get("deleted"):
                remove_run(path)
            else:
                try:
                    self.bring_back(session, path, about)
                except ReopenError as error:
                    archive_log.warning("%s is damaged and left out: %s", path, error)
                    damaged.append(str(about.get("name") or path.stem))
                    with contextlib.suppress(OSError):
                        path.rename(path.with_suffix(".zip.damaged"))
        return damaged

    def bring_back(self, session: str, path: Path, about: dict[str, Any]) -> None:
        """Add the run of a file to those in memory.

        Raises:
            ReopenError: it is damaged, or more than this server allows.
        """
        kept = read_export(path, self.runs.limits, resumable=True)
        run, checkpoints = opened_run(session, kept, self.runs)
        run.id, run.pinned, run.shared = path.stem, about.get("pinned") is True, about.get("shared") is True
        run.rename(str(about.get("name", "")))
        run.note, run.begun_at = str(about.get("note", "")), about.get("begun_at", run.begun_at)
        bugs = about.get("bugs")
        if isinstance(bugs, list) and len(bugs) == len(run.job.plans):
            known = [bug if isinstance(bug, str) and bug in BUGS else None for bug in bugs]
            plans = (plan._replace(bug=bug) for plan, bug in zip(run.job.plans, known, strict=True))
            run.job = run.job._replace(plans=tuple(plans))
        can_go_on = all(c.optimizer_state or c.divergence for side in checkpoints for c in side)
        if run.state == STOPPED and about.get("state") in (PAUSED, *ACTIVE) and can_go_on:
            run.state = PAUSED
            if about["state"] in ACTIVE:
                run.note = f"The server ended before this run did. Resume goes on from step {run.step:,}, kept last."
        self.runs.adopt(run, checkpoints)

    def recall_linked(self, run_id: str) -> None:
        """Bring back a run of any browser, if there is a link to it and it is not in memory.

        Until that browser comes and takes it over, it belongs to nobody.
        """
        if not RUN_ID.fullmatch(run_id):  # a name, never a path
            return
        with self.lock:
            for path in self.folder.glob(f"*/{run_id}.zip"):
                about = read_note(path)
                if run_id not in self.runs.runs and about.get("shared") is True and not about.get("deleted"):
                    with contextlib.suppress(ReopenError):
                        self.bring_back(NOBODY + run_id, path, about)


def read_note(path: Path) -> dict[str, Any]:
    """What stands beside a run; nothing where that is damaged."""
    with contextlib.suppress(OSError, ValueError, RecursionError):
        with path.with_suffix(".json").open("rb") as file:
            about = json.loads(file.read(MAX_NOTE))
        if isinstance(about, dict) and isinstance(about.get("begun_at", 0.0), float):
            return about
    return {}


def remove_run(path: Path) -> None:
    """A run with what stands beside it, and the folder of its browser if nothing else is in it."""
    with contextlib.suppress(OSError):
        path.with_suffix(".json").unlink(missing_ok=True)
        path.unlink(missing_ok=True)
        path.parent.rmdir()


def archive_here(runs: Runs, limits: Limits) -> Archive:
    """Below the cache of this user or where the variable says; on a public page none, unless it names a folder."""
    given = os.environ.get(RUNS_VARIABLE) or (OFF if limits.public else "")
    if given == OFF:
        return Archive()
    return RunArchive(runs, Path(given or Path(platformdirs.user_cache_dir("tlab")) / "runs").expanduser().absolute())
