"""What a page does by itself in the browser, in whatever tab its visitor is."""

from __future__ import annotations

from pathlib import Path

import gradio as gr

from tlab.ui.listening import QUIET
from tlab.ui.widgets.component import script_code

SCRIPTS = Path(__file__).parent
SKIP = '<button type="button" class="tl-skip">Skip to Start</button>'
LOOK = '<button type="button" class="tl-look" aria-label="Change between light and dark">◐</button>'
SHORTCUT = (
    '<span class="tl-shortcut"><kbd>Ctrl</kbd> <kbd>Enter</kbd> starts a run or a text, from wherever you type.</span>'
)
AWAY = """<p id="server-away" class="tl-card tl-notice" role="alert" hidden>
The server does not answer. What you see is the last that came of it. The page looks for the server every two seconds,
and goes on by itself: there is no need to reload it.</p>"""

IN_HEAD = f"<script>{script_code(['page/seconds'])}</script>"  # before any script of Gradio's runs


def connect(demo: gr.Blocks) -> None:
    """Let the scripts run when the page is there."""
    for name in ("keyboard", "light_dark", "server_away", "tab_in_address"):
        demo.load(None, js=(SCRIPTS / f"{name}.js").read_text("utf-8"), **QUIET)
