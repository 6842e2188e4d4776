"""The whole page, and the server behind it."""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib.util
import os
import sys
from collections.abc import Sequence
from typing import Any

# Before Gradio is imported: no look-ups of any kind, also for the one who only wants to see it run offline.
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("GRADIO_ANALYTICS_MAX_EVENTS", "100")  # statistics that no one reads, made anew at each failure

import gradio as gr
import gradio.utils
from starlette.middleware import Middleware

from tlab.cli.terminal import catch_end_signals
from tlab.machine import give_back_memory, share_heaps
from tlab.ui import api
from tlab.ui.failure_log import answer_failures, log_each_kind_once
from tlab.ui.glossary.terms import all_terms
from tlab.ui.http_guard import HttpGuard, names_here
from tlab.ui.inspection.cache import InspectionCache
from tlab.ui.inspection.process import Inspector
from tlab.ui.opened_models import OpenedModels, listed_here
from tlab.ui.page import scripts
from tlab.ui.page.cache import PageCache
from tlab.ui.page.styles import styles_of
from tlab.ui.presence import SECONDS_TO_FORGET, Presence
from tlab.ui.request_guard import BodyLimit, largest_body, refuse_quietly
from tlab.ui.runs.limits import limits_here
from tlab.ui.runs.manager import Runs
from tlab.ui.session_state import LightBlocks, keep_light_states
from tlab.ui.sharing.run_archive import archive_here
from tlab.ui.tabs.attention.tab import AttentionTab
from tlab.ui.tabs.code.tab import CodeTab
from tlab.ui.tabs.compare.tab import CompareTab
from tlab.ui.tabs.generate.tab import GenerateTab
from tlab.ui.tabs.head_links import HeadLinks
from tlab.ui.tabs.inside.tab import InsideTab
from tlab.ui.tabs.learn.class_panel import ClassPanel
from tlab.ui.tabs.learn.tab import LearnTab, lessons_words
from tlab.ui.tabs.sweeps.tab import SweepsTab
from tlab.ui.tabs.tab import Page, Services, Tab
from tlab.ui.tabs.train.link_bar import LinkBar
from tlab.ui.tabs.train.reconnect import Reconnect
from tlab.ui.tabs.train.tab import TrainTab
from tlab.ui.theme import lab_theme
from tlab.ui.upload_folder import upload_folder
from tlab.ui.visitor_share import ConnectionLimit, share_queue
from tlab.ui.widgets.component import js_component, scripted_html
from tlab.ui.widgets.markup import UI, macros

# From left to right. A tab can bring something onto one further left: Compare, Sweeps and Inside onto Train, Learn onto
# any of them.
TABS: list[type[Tab]] = [TrainTab, AttentionTab, InsideTab, GenerateTab, CompareTab, SweepsTab, CodeTab, LearnTab]
TITLE = "Transformer Intuition Lab"
HEAD = f"""<div class="tl-head">{scripts.SKIP}<h1>{TITLE}</h1>{scripts.LOOK}
<p>A small transformer in plain NumPy, every part of it a switch. Change one, train it, and look inside.
{scripts.SHORTCUT} <button type="button" class="tl-offer" data-lesson-show>New here? {lessons_words()} lessons of ten
minutes.</button></p></div>"""
MAX_SESSIONS = 200  # pages that are open at the same time; who was away longest is forgotten first
SECONDS_TO_END = 10.0  # after a signal, for what trains to pause and to be written; only a later one interrupts that
GARBAGE = (20_000, 20, 100)  # new objects before a young round, young rounds before a middle one, middle before a full


class LabPage(LightBlocks):
    """The page as Gradio knows it, and who has it open."""

    presence: Presence


def build(
    runs: Runs | None = None, inspector: Inspector | None = None, seconds_to_forget: float = SECONDS_TO_FORGET
) -> LabPage:
    """The page, with every part that is registered now, and with the limits of this machine if they are not given.

    A visitor with runs is forgotten so many seconds after the page has gone.
    """
    upload_folder()  # before Gradio asks for the place of its files
    keep_light_states()
    leave_matplotlib_alone()
    runs = runs or Runs(limits_here())
    inspector = inspector or Inspector(runs.limits)
    with LabPage(title=TITLE, analytics_enabled=False, fill_width=True, delete_cache=(3600, 3600)) as demo:
        services = Services(runs, inspector, InspectionCache(), gr.State(None))
        tabs = [kind(services) for kind in TABS]
        train = next(tab for tab in tabs if isinstance(tab, TrainTab))
        link, reconnect = LinkBar(train), Reconnect(train)
        classes = ClassPanel(train, link)
        attention = next(tab for tab in tabs if isinstance(tab, AttentionTab))
        inside = next(tab for tab in tabs if isinstance(tab, InsideTab))
        heads = HeadLinks(attention, inside, next(tab for tab in tabs if isinstance(tab, GenerateTab)))
        with gr.Row(elem_classes="tl-top"):
            gr.HTML(HEAD, apply_default_css=False)
            scripted_html("glossary/glossary", macros("glossary/view.html").glossary(all_terms()), "glossary")
            link.build_button()
        gr.HTML(scripts.AWAY, apply_default_css=False)
        link.build_panel()
        heads.build()
        reconnect.build()
        classes.build()
        next(tab for tab in tabs if isinstance(tab, LearnTab)).build_strip()
        with gr.Tabs() as bar:
            for tab in tabs:
                with gr.Tab(tab.title, id=tab.key) as handle:
                    tab.build(Page(demo, bar, handle, tabs))
        link.connect(demo)
        heads.connect(demo)
        reconnect.connect(demo)
        classes.connect(bar)
        js_component("widgets/pictures/files", None, "files", elem_classes="tl-selection")
        scripts.connect(demo)
        api.build()

    def forget(page: str) -> None:
        for tab in tabs:
            tab.leave(page)
        # Gradio would keep what it knows of the page, a megabyte or more, until MAX_SESSIONS others have come.
        known = demo.state_holder.session_data.pop(page, None)
        demo.state_holder.time_last_used.pop(page, None)
        if known is not None:
            give_back_memory()

    def end_session(session: str) -> None:
        with contextlib.ExitStack() as all_of_it:  # a tab that fails keeps no run alive
            all_of_it.callback(runs.end_session, session)
            for tab in tabs:
                all_of_it.callback(tab.end, session)

    def has_trained(session: str) -> bool:
        return bool(runs.of_session(session)) or any(tab.keeps(session) for tab in tabs)

    demo.presence = Presence(runs, forget, seconds_to_forget, end_session, has_trained)
    demo.presence.forget_late_orders(demo)
    answer_failures(demo)
    refuse_quietly(demo)
    share_queue(demo)
    return demo


def launch(models: Sequence[str] = (), **options: Any) -> Any:
    """Serve the page with options of `gr.Blocks.launch`; open it in the browser unless this is a hosted Space.

    Visitors can look into `models`, places of models from elsewhere, and into those that TLAB_MODELS lists.
    """
    share_heaps()
    runs = Runs(limits_here())
    runs.opened = OpenedModels(runs.limits.public, [*models, *listed_here()])
    runs.archive = archive_here(runs, runs.limits)
    inspector = Inspector(runs.limits)
    catch_end_signals(sys.exit, SECONDS_TO_END)  # whoever asks and however often: what trains is kept
    atexit.register(runs.close)
    atexit.register(inspector.end)
    runs.prepare()
    demo = build(runs, inspector)
    collect_garbage_seldom()
    log_each_kind_once()
    options = {**launch_options(demo), "inbrowser": not os.environ.get("SPACE_ID"), **options}
    try:
        return demo.launch(**options)
    except SystemExit:  # a signal: pages are answered while what trains pauses, and after that Python runs no handler
        runs.close()
        raise


def collect_garbage_seldom() -> None:
    """Spare visitors the pauses of Python's collector, each a quarter of a second in which no page comes.

    A full round looks at every object, a quarter of a million as Gradio has it. What stands now stays as long as the
    server, so the rounds leave it out; and of what comes, more is let come before a round.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GARBAGE)


def leave_matplotlib_alone() -> None:
    """Spare the first visitors Gradio's import of matplotlib, half a second and more in which no page comes.

    Gradio chooses a backend around every handler, for those that draw with pyplot. None does here.
    """
    gradio.utils.__dict__["MatplotlibBackendMananger"] = contextlib.nullcontext


def launch_options(demo: LabPage) -> dict[str, Any]:
    """How the page is served: as small and as closed as Gradio can be, the same locally and on a Space."""
    guards = [
        Middleware(HttpGuard, names=names_here(), presence=demo.presence),
        Middleware(ConnectionLimit),
        Middleware(BodyLimit, most=largest_body(limits_here())),
        Middleware(
            PageCache,
            head=scripts.IN_HEAD + styles_of({block.get_block_name() for block in demo.blocks.values()}),
        ),
    ]
    return {
        "theme": lab_theme(),
        "css_paths": [
            *(UI / part / "style.css" for part in ("widgets", "diagram", "glossary", "studies", "classroom")),
            *sorted(UI.glob("tabs/*/style.css")),
        ],
        "share": False,
        "show_error": False,
        "footer_links": [],
        "run_history": False,
        "ssr_mode": False,
        "pwa": False,
        "mcp_server": importlib.util.find_spec("mcp") is not None,  # where `gradio[mcp]` is installed
        "enable_monitoring": False,
        "max_file_size": "20mb",
        "app_kwargs": {"middleware": guards},
        "state_session_capacity": MAX_SESSIONS,
    }
