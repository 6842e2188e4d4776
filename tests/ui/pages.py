"""One tab of the page, built without the others; import it after Gradio."""

from contextlib import contextmanager

import gradio as gr

from tlab.ui.inspection.cache import InspectionCache
from tlab.ui.inspection.process import Inspector
from tlab.ui.tabs.tab import Page, Services


def built(kind, runs, inspector=None, after=()):
    """A tab of this class, with handlers that can be called, and of these others further left."""
    return built_tabs([*after, kind], runs, inspector)[-1]


def built_tabs(kinds, runs, inspector=None):
    """Tabs of these classes, from left to right."""
    with gr.Blocks(analytics_enabled=False) as blocks:
        services = Services(runs, inspector, InspectionCache(), gr.State(None))
        tabs = [each(services) for each in kinds]
        with gr.Tabs() as bar:
            for tab in tabs:
                with gr.Tab(tab.title, id=tab.key) as handle:
                    tab.build(Page(blocks, bar, handle, tabs))
    return tabs


@contextmanager
def patient_inspector(limits):
    """What looks into models, with more time than a visitor waits: other tests may keep both cores busy."""
    inspector = Inspector(limits)
    inspector.seconds = 120.0
    try:
        yield inspector
    finally:
        inspector.end()
