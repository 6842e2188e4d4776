"""How the handlers of the page are asked, and what becomes of answers that come late."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import gradio as gr

from tlab.ui.visit import visit_of

# For handlers of the page alone: no spinner over their outputs, and no entry among the public functions. Gradio's page
# tells the state of each call to the components in `show_progress_on` of all calls so far, by default their outputs;
# nobody sees it, and it took two fifths of what the page does for a preset.
QUIET: dict[str, Any] = {"show_progress": "hidden", "show_progress_on": [], "api_visibility": "private"}
EACH: dict[str, Any] = {"trigger_mode": "multiple", **QUIET}  # each question counts: each changes something
# What is asked beside another listener of the same event, which alone waits for its turn ("always_last"): of two that
# wait, each would make Gradio 6.31 ask the other again once it is done, without end. With `only_latest`, as nothing
# else keeps the order of the answers.
BESIDE: dict[str, Any] = {"queue": False, **EACH}
# What may be asked again before it is answered: the last question is the one that counts. By itself Gradio drops what
# comes meanwhile ("once"), which is right for buttons only. Listeners with one `concurrency_id` are answered in order,
# so that no late answer covers a later one's.
LATEST: dict[str, Any] = {"trigger_mode": "always_last", **QUIET}


def changes(components: Sequence[gr.Component]) -> list[Any]:
    """The listeners for any change of these; a component has them at run time only."""
    return [getattr(component, "change") for component in components]  # noqa: B009


def once_at_rest(components: Sequence[gr.Component], button: gr.Button) -> None:
    """Press a hidden button when some of these have changed, once for all that change within a moment.

    A preset changes forty controls, and Gradio's page tells each listener of each of them: one that asked the server
    asked it ten times, with all settings in each question. What listens here is the browser alone.
    """
    press = f"""() => {{
      const button = document.getElementById("{button.elem_id}");
      clearTimeout(button.tlWaits);
      button.tlWaits = setTimeout(() => button.click(), 50);
    }}"""
    for changed in changes(components):  # one by one: of a listener to many Gradio looks at all of them each time
        changed(None, js=press, **QUIET)


def only_latest(answer: Callable[..., Any]) -> Callable[..., Awaitable[Any]]:
    """A handler that answers as `answer` does, but a page only what it has asked last.

    An answer that comes after that to a newer question would cover it, and stay. And for a preset Gradio asks once for
    each control that is set, all at once, some in the middle of it: of equal questions one answer will do.

    Args:
        answer: takes the values of the listener's inputs; by name also `request` and `event`, if it has these.
            It runs in a thread of its own.

    Returns:
        What several listeners may share; it answers `gr.skip()` to what was asked before a newer question.
    """
    names = [name for name in ("request", "event") if name in inspect.signature(answer).parameters]
    asked: dict[str, tuple[Any, ...]] = {}  # page -> what is being answered

    async def answer_latest(request: gr.Request, event: gr.EventData, *question: Any) -> Any:
        page, about = visit_of(request).page, {"request": request, "event": event}
        if asked.get(page) == question:
            return gr.skip()
        asked[page] = question
        try:
            found = await asyncio.to_thread(answer, *question, **{name: about[name] for name in names})
        finally:
            is_latest = asked.get(page) is question
            if is_latest:
                del asked[page]
        return found if is_latest else gr.skip()

    return answer_latest
