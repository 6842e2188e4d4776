"""The whole page, and the server behind it."""

from __future__ import annotations

import atexit
import gc
import importlib.util
import os
from typing import Any

# Before Gradio is imported: no look-ups of any kind, also for the one who only wants to see it run offline.
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

import gradio as gr
from starlette.middleware import Middleware

from tlab.machine import give_back_memory, share_heaps
from tlab.ui import api
from tlab.ui.inspection.cache import InspectionCache
from tlab.ui.inspection.process import Inspector
from tlab.ui.request_guard import BodyLimit, largest_body, refuse_quietly
from tlab.ui.runs.limits import limits_here
from tlab.ui.runs.manager import Runs
from tlab.ui.tabs.attention.tab import AttentionTab
from tlab.ui.tabs.code.tab import CodeTab
from tlab.ui.tabs.compare.tab import CompareTab
from tlab.ui.tabs.generate.tab import GenerateTab
from tlab.ui.tabs.inside.tab import InsideTab
from tlab.ui.tabs.sweeps.tab import SweepsTab
from tlab.ui.tabs.tab import Page, Services, Tab
from tlab.ui.tabs.train.link_bar import LinkBar
from tlab.ui.tabs.train.tab import TrainTab
from tlab.ui.theme import lab_theme
from tlab.ui.widgets.markup import UI

# From left to right. A tab can bring something onto one further left: Compare, Sweeps and Inside onto Train.
TABS: list[type[Tab]] = [TrainTab, AttentionTab, InsideTab, GenerateTab, CompareTab, SweepsTab, CodeTab]
TITLE = "Transformer Intuition Lab"
HEAD = f"""<div class="tl-head"><h1>{TITLE}</h1>
<p>A small transformer in plain NumPy, every part of it a switch. Change one, train it, and look inside.</p></div>"""
MAX_SESSIONS = 200  # pages that are open at the same time; who was away longest is forgotten first
GARBAGE = (20_000, 20, 100)  # new objects before a young round, young rounds before a middle one, middle before a full
QUEUE = 30  # events that may wait; who comes later is told so


def build(runs: Runs | None = None, inspector: Inspector | None = None) -> gr.Blocks:
    """The page, with every part that is registered now, and with the limits of this machine if they are not given."""
    runs = runs or Runs(limits_here())
    inspector = inspector or Inspector(runs.limits)
    with gr.Blocks(title=TITLE, analytics_enabled=False, fill_width=True, delete_cache=(3600, 3600)) as demo:
        services = Services(runs, inspector, InspectionCache(), gr.State(None))
        tabs = [kind(services) for kind in TABS]
        link = LinkBar(next(tab for tab in tabs if isinstance(tab, TrainTab)))
        with gr.Row(elem_classes="tl-top"):
            gr.HTML(HEAD, apply_default_css=False)
            link.build_button()
        link.build_panel()
        with gr.Tabs() as bar:
            for tab in tabs:
                with gr.Tab(tab.title, id=tab.key) as handle:
                    tab.build(Page(demo, bar, handle, tabs))
        link.connect(demo)
        api.build()

        def leave(request: gr.Request) -> None:
            session = request.session_hash or ""
            runs.end_session(session)
            for tab in tabs:
                tab.leave(session)
            # Gradio would keep what it knows of the page, a megabyte or more, until MAX_SESSIONS others have come.
            demo.state_holder.session_data.pop(session, None)
            demo.state_holder.time_last_used.pop(session, None)
            give_back_memory()

        demo.unload(leave)
    refuse_quietly(demo)
    demo.queue(max_size=QUEUE, api_open=False)
    return demo


def launch(**options: Any) -> Any:
    """Serve the page with options of `gr.Blocks.launch`; open it in the browser unless this is a hosted Space."""
    share_heaps()
    runs = Runs(limits_here())
    inspector = Inspector(runs.limits)
    atexit.register(runs.close)
    atexit.register(inspector.end)
    runs.prepare()
    demo = build(runs, inspector)
    collect_garbage_seldom()
    return demo.launch(**{**launch_options(), "inbrowser": not os.environ.get("SPACE_ID"), **options})


def collect_garbage_seldom() -> None:
    """Spare visitors the pauses of Python's collector, each a quarter of a second in which no page comes.

    A full round looks at every object, a quarter of a million as Gradio has it. What stands now stays as long as the
    server, so the rounds leave it out; and of what comes, more is let come before a round.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GARBAGE)


def launch_options() -> dict[str, Any]:
    """How the page is served: as small and as closed as Gradio can be, the same locally and on a Space."""
    return {
        "theme": lab_theme(),
        "css_paths": [UI / "widgets/style.css", *sorted(UI.glob("tabs/*/style.css"))],
        "share": False,
        "show_error": False,
        "footer_links": [],
        "run_history": False,
        "ssr_mode": False,
        "pwa": False,
        "mcp_server": importlib.util.find_spec("mcp") is not None,  # where `gradio[mcp]` is installed
        "enable_monitoring": False,
        "max_file_size": "20mb",
        "app_kwargs": {"middleware": [Middleware(BodyLimit, most=largest_body(limits_here()))]},
        "state_session_capacity": MAX_SESSIONS,
    }
