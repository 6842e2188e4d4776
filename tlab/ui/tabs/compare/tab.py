"""The Compare tab: every run of the session, side by side; to name, pin, export, open again and delete."""

from __future__ import annotations

import secrets
from collections.abc import Collection
from pathlib import Path

import gradio as gr

from tlab.files import file_name
from tlab.ui.demo.shipped_run import demo_run, is_shipped, shipped_preset
from tlab.ui.listening import EACH, LATEST, QUIET
from tlab.ui.runs.manager import MAX_HISTORY
from tlab.ui.runs.run import PAUSED, Run
from tlab.ui.settings.links import query_of
from tlab.ui.settings.presets import DEMO_PRESET
from tlab.ui.settings.run_settings import settings_of
from tlab.ui.sharing.convert import kept_run, opened_run
from tlab.ui.sharing.read_zip import ReopenError, read_export
from tlab.ui.sharing.write_zip import ExportError, write_export
from tlab.ui.tabs.compare.game import FalseWinnersGame
from tlab.ui.tabs.compare.view import (
    comparable_runs,
    comparison_warning,
    config_table,
    hidden_runs,
    list_value,
    overlay_value,
)
from tlab.ui.tabs.tab import Page, Services, Tab, Updates
from tlab.ui.tabs.train.link_bar import COPY
from tlab.ui.tabs.train.tab import TrainTab
from tlab.ui.upload_folder import remove, upload_folder
from tlab.ui.visit import Visit, visit_of
from tlab.ui.widgets.component import error_toast, js_component, note_html
from tlab.ui.widgets.line_chart import lines_chart

SECONDS_BETWEEN_LOOKS = 2.0  # while a run of the session trains
WHICH_ARE_KEPT = (
    f"The newest {MAX_HISTORY} runs of your browser are kept: another one takes the place of the oldest. Those that "
    "are pinned stay."
)

# The file is made when it is asked for. Every press ends here, and only a new file is fetched.
FETCH = """file => {
  if (!file || !file.url || window.tlabFetched === file.url) return;
  window.tlabFetched = file.url;
  const link = document.createElement("a");
  link.href = file.url;
  link.download = file.orig_name || "tlab-run.zip";
  link.click();
}"""


class CompareTab(Tab):
    """Builds the tab and holds its handlers. A session's state is which runs it has ticked or not, by id."""

    title, key = "Compare", "compare"

    def __init__(self, services: Services) -> None:
        super().__init__(services)
        self.exports: dict[str, list[Path]] = {}  # page -> the files that were made for it

    def leave(self, page: str) -> None:
        """Exports go with the page that asked for them."""
        for path in self.exports.pop(page, []):
            remove(path)

    def build(self, page: Page) -> None:
        """Lay it out with the shipped run alone, and connect it."""
        self.bar, self.train = page.bar, page.find(TrainTab)
        found = {demo_run().id: demo_run()}
        self.choices = gr.State({})
        self.clock = gr.Timer(SECONDS_BETWEEN_LOOKS, active=False)
        with gr.Row(equal_height=False):
            with gr.Column(scale=5, min_width=320):
                with gr.Row(elem_classes="tl-buttons"):
                    self.upload = gr.UploadButton(
                        "Open an exported zip", file_types=[".zip"], file_count="single", elem_id="open-export"
                    )
                    self.file = gr.DownloadButton("Export", visible="hidden", elem_id="export-file")
                self.link = gr.Textbox(
                    label="Link to the result", visible=False, buttons=["copy"], interactive=False, max_lines=1,
                    elem_id="result-link",
                    info="It is in the clipboard. Whoever opens it sees the run, and your own text if it read one, "
                    "until you delete the run or the server forgets it; then it has the settings alone.",
                )  # fmt: skip
                gr.HTML(note_html(WHICH_ARE_KEPT), apply_default_css=False)
                self.list = js_component("tabs/compare/runs_table", list_value(found, []), "history")
            with gr.Column(scale=7, min_width=320, elem_classes="tl-keep-side"):
                self.warning = gr.HTML(comparison_warning(found, []), elem_id="not-comparable", apply_default_css=False)
                self.chart = lines_chart(overlay_value(found, []), "history-chart")
                self.differences = gr.Checkbox(True, label="Differences only", elem_id="differences-only")
                self.table = gr.HTML(config_table(found, [], True), elem_id="config-table", apply_default_css=False)
        self.game = FalseWinnersGame()
        self.game.build()
        pictures = [self.list, self.warning, self.chart, self.table, self.clock]
        seen = [self.choices, self.differences]
        looking = [page.handle.select, self.clock.tick, self.differences.input]
        gr.on(looking, self.on_open, seen, pictures, concurrency_id=self.key, **LATEST)
        changed = [self.choices, self.file, self.link, self.bar, *pictures, *self.train.outputs, *self.train.settings]
        acted = self.list.select(self.on_act, [*seen, self.train.locked], changed, concurrency_id=self.key, **EACH)
        acted.then(None, self.file, None, js=FETCH, **QUIET).then(None, self.link, self.link, js=COPY, **QUIET)
        self.upload.upload(self.on_upload, [self.upload, *seen], pictures + self.train.outputs, **EACH)

    def comparable(self, visit: Visit) -> dict[str, Run]:
        """The runs that a page may look at."""
        presets = self.train.looked_at.get(visit.page, [DEMO_PRESET])
        return comparable_runs(self.runs, visit.session, self.runs.linked.get(visit.page), presets)

    def hidden(self, visit: Visit, choices: dict[str, bool]) -> list[str]:
        """The ids of the runs whose curves are not drawn."""
        shown = self.runs.shown(visit.page) or demo_run(self.train.shipped_on(visit.page))
        return hidden_runs(self.comparable(visit), shown, choices)

    def pictures(self, visit: Visit, choices: dict[str, bool], differences_only: bool | None) -> Updates:
        """List, chart with what it cannot say, table, and whether to look again soon."""
        found, hidden = self.comparable(visit), self.hidden(visit, choices)
        active = any(run.active for run in self.runs.history(visit.session))
        return {
            self.list: list_value(found, hidden, visit.session, self.runs.last_deleted(visit.session)),
            self.warning: comparison_warning(found, hidden),
            self.chart: overlay_value(found, hidden),
            self.table: config_table(found, hidden, differences_only is not False),
            self.clock: gr.Timer(active=active),
        }

    def on_open(self, choices: dict[str, bool], differences_only: bool | None, request: gr.Request) -> Updates:
        """The tab comes into view, or time has gone by."""
        return self.pictures(visit_of(request), choices, differences_only)

    def on_act(
        self,
        choices: dict[str, bool],
        differences_only: bool | None,
        request: gr.Request,
        event: gr.EventData,
        locked: Collection[str] = (),
    ) -> Updates:
        """Something was pressed in the list. Of an id that is not this session's nothing is known here."""
        session, page = visit = visit_of(request)
        data = event._data if isinstance(event._data, dict) else {}
        action, asked, name = (str(data.get(key) or "") for key in ("action", "id", "name"))
        if action == "undo":
            deleted = self.runs.last_deleted(session)
            if deleted is not None:
                self.runs.restore(deleted)
            return self.pictures(visit, choices, differences_only)
        run = self.comparable(visit).get(asked)
        if run is None:
            raise error_toast(ValueError("This run is not there any more."))
        updates: Updates = {}
        if action == "choose":
            choices = {**choices, asked: asked in self.hidden(visit, choices)}
        elif action == "open":
            preset = shipped_preset(asked) if is_shipped(run) else self.train.shipped_on(page)
            updates = {**self.opened, **self.train.show(visit, None if is_shipped(run) else run, preset)}
        elif action == "settings":
            words = "These are the settings of a run of your history."
            updates = {**self.opened, **self.train.run_settings_updates(run, words, locked, session)}
        elif action == "export":
            updates = {self.file: self.export(run, visit)}
        elif action == "link":
            updates = {self.link: gr.update(value=self.result_query(asked, session), visible=True)}
        elif not is_shipped(run):
            self.change(action, asked, name, session)
            if action == "delete" and self.runs.shown(page) is None:
                updates = self.train.show(visit, None, self.train.shipped_on(page))
        # What is gone was not chosen either: the choices never grow beyond the history.
        known = self.comparable(visit)
        choices = {other: chosen for other, chosen in choices.items() if other in known}
        return {**updates, self.choices: choices, **self.pictures(visit, choices, differences_only)}

    @property
    def opened(self) -> Updates:
        return {self.bar: gr.update(selected=self.train.key)}

    def change(self, action: str, asked: str, name: str, session: str) -> None:
        run = self.runs.get_owned(session, asked)
        if run is None:
            return
        if action == "delete":
            self.runs.delete(run)
            return
        if action == "rename":
            run.rename(name)
        elif action == "pin":
            run.pinned = not run.pinned
        self.runs.archive.note(run)

    def result_query(self, asked: str, session: str) -> str:
        """The query of a link that opens with this run, from now on for whoever has it."""
        run = self.runs.get_owned(session, asked)
        if run is None or run.active or run.state == PAUSED:
            raise error_toast(ValueError("A link opens what has ended. Stop this run, or let it train to its end."))
        try:
            kept_run(self.runs, run)
        except ExportError as error:
            raise error_toast(error) from None
        run.shared = True
        self.runs.archive.note(run)
        settings, switch = self.train.with_keys(settings_of(run.job), run, session)
        if run.job.text is not None:
            del settings["corpus"]
        return query_of(settings, dict(filter(None, [switch])), result=run.id)

    def export(self, run: Run, visit: Visit) -> str:
        """Make the zip in the folder that Gradio serves and empties, under a name that nobody can guess."""
        try:
            kept = kept_run(self.runs, run)
            content = write_export(kept._replace(studies=self.train.studies.of_job(visit.session, run.job)))
        except ExportError as error:
            raise error_toast(error) from None
        uploads = upload_folder()
        uploads.tidy(len(content))
        path = uploads.folder / secrets.token_hex(16) / f"{file_name(kept.name)}.zip"
        self.exports.setdefault(visit.page, []).append(path)
        try:
            path.parent.mkdir(parents=True)
            path.write_bytes(content)
        except OSError as error:
            remove(path)
            raise error_toast(RuntimeError(f"The zip cannot be written here: {error.strerror}.")) from None
        return str(path)

    def on_upload(
        self, path: str | None, choices: dict[str, bool], differences_only: bool | None, request: gr.Request
    ) -> Updates:
        """Open an export, and put it on top of the history."""
        visit = visit_of(request)
        if not path:
            return gr.skip()
        try:
            kept = read_export(Path(path), self.runs.limits)
        except ReopenError as error:
            raise error_toast(error) from None
        finally:
            remove(Path(path))
        run, checkpoints = opened_run(visit.session, kept, self.runs)
        self.runs.adopt(run, checkpoints)
        self.runs.archive.keep(run)
        for study in kept.studies:
            study.session = visit.session
            self.runs.archive.keep_study(study)
        self.train.studies.add(kept.studies)
        shown = self.train.show(visit, run)
        return {**self.pictures(visit, choices, differences_only), **shown}
