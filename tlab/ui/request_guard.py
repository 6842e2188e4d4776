"""What stands before the handlers: requests that are too large, and values that no control of the page can send.

Gradio checks a control's bounds and refuses what lies outside, but writes a traceback for each into the log, so that
one visitor could fill a disk. And it reads a request of any size into memory, and parses it, before it looks at it.
"""

from __future__ import annotations

import asyncio
import copy
import time
from collections.abc import Sequence
from typing import Any

import gradio as gr
from gradio.components import FormComponent
from gradio.state_holder import SessionState
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tlab.ui.runs.limits import Limits
from tlab.ui.upload_folder import upload_folder
from tlab.ui.widgets.component import error_toast
from tlab.wording import listed

BYTES_PER_CHARACTER = 4  # at most, in UTF-8
MAX_SETTINGS_BYTES = 2**20  # what all other settings of a request may take together
UPLOAD = "/gradio_api/upload"
MAX_UPLOAD_BYTES = 21 * 2**20  # the largest file, and what is written around it
MAX_UPLOADS = 8  # at the same time
UNKNOWN_CHOICE = "What was chosen is not in the list any more. Choose again, or load the page anew."
MAX_SECONDS_TO_ARRIVE = 120.0  # of a whole request; a body that never ends would be kept for ever


def largest_body(limits: Limits) -> int:
    """Bytes of a request with the longest text that is allowed."""
    return BYTES_PER_CHARACTER * limits.text + MAX_SETTINGS_BYTES


class RefusedError(Exception):
    """A request that is not answered any further; the message says why."""


class BodyLimit:
    """Refuses a request of more than `most` bytes, which is no upload, before it is parsed."""

    def __init__(self, app: ASGIApp, most: int) -> None:
        self.app, self.most = app, most
        self.uploads = 0  # that are on their way

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Count the bytes: those that the request says it has, and those that really come."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
        elif scope["path"] != UPLOAD:
            await self.limited(scope, receive, send, self.most)
        elif self.uploads >= MAX_UPLOADS:
            await refuse(scope, receive, send, 503, "Too many files are being sent. Try again in a moment.")
        else:
            self.uploads += 1
            try:
                await asyncio.to_thread(upload_folder().tidy, self.uploads * MAX_UPLOAD_BYTES)
                await self.limited(scope, receive, send, MAX_UPLOAD_BYTES)
            finally:
                self.uploads -= 1
                if not self.uploads:
                    upload_folder().remove_unfinished()

    async def limited(self, scope: Scope, receive: Receive, send: Send, most: int) -> None:
        """Answer a request of at most so many bytes, which come within `MAX_SECONDS_TO_ARRIVE`."""
        words = f"This is more than {most / 1e6:.0f} MB, the most that can be sent here at once. Take a part of it."
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > most:
            await refuse(scope, receive, send, 413, words)
            return
        came = 0
        arrived = answered = False
        until = time.monotonic() + MAX_SECONDS_TO_ARRIVE

        async def counted() -> Message:
            nonlocal came, arrived
            # What is awaited after the whole body is that the visitor leaves, which may take hours.
            left = None if arrived or answered else max(0.0, until - time.monotonic())
            try:
                message = await asyncio.wait_for(receive(), left)
            except asyncio.TimeoutError:
                if not answered:
                    raise
                message = await receive()  # the answer began meanwhile
            came += len(message.get("body", b""))
            arrived = not message.get("more_body", False)
            if came > most:
                raise RefusedError(words)
            return message

        async def watched(message: Message) -> None:
            nonlocal answered
            answered = True
            await send(message)

        try:
            await self.app(scope, counted, watched)
        except (RefusedError, asyncio.TimeoutError) as error:
            if not answered:
                await refuse(scope, receive, send, 413, str(error) or "This takes too long to arrive. Try again.")
        except OSError as error:
            if answered:
                raise
            words = f"The server cannot keep this file: {error.strerror}. Try again later."
            await refuse(scope, receive, send, 507, words)


async def refuse(scope: Scope, receive: Receive, send: Send, status: int, words: str) -> None:
    """In words, which the page shows."""
    await JSONResponse({"detail": words, "error": words}, status)(scope, receive, send)


def refuse_quietly(demo: gr.Blocks) -> None:
    """Answer values that no control of the page takes in words, and leave the log to what is wrong with the lab.

    A page sends such values too: a number while it is typed, and half of a preset, of which each control tells by
    itself. Events outside of the queue only say what would come of the settings. Their handlers find words for any
    settings, so they are given these; Gradio would answer with status 500, and what is said would stay the old.
    """
    preprocess = demo.preprocess_data

    async def checked(block_fn: Any, inputs: Any, state: SessionState | None, *args: Any, **options: Any) -> Any:
        try:
            values = whole_characters(inputs)
            if not all(map(is_report, block_fn.inputs, values)):
                raise ValueError("a script reports a JSON object")
            if block_fn.queue and state is not None:
                values = present_choices(block_fn.inputs, values, state)
            try:
                return await preprocess(block_fn, values, state, *args, **options)
            except Exception:  # out of bounds, not among the choices, nothing where a slider has a number
                if block_fn.queue or not all(map(is_plain, block_fn.inputs, values)):
                    raise
                unchecked = copy.copy(block_fn)
                unchecked.preprocess = False
                return await preprocess(unchecked, values, state, *args, **options)
        except gr.Error as error:
            words = UNKNOWN_CHOICE if "not in the list of choices" in error.message else error.message
            words = beyond_words(block_fn.inputs, inputs, state) or words
            raise error_toast(ValueError(words)) from None
        except Exception:  # whatever Gradio makes of nonsense, and of paths that are not the visitor's
            raise error_toast(ValueError("A control was sent something that it does not take.")) from None

    demo.preprocess_data = checked


def present_choices(components: Sequence[Any], values: list[Any], state: SessionState) -> list[Any]:
    """The values, with what a control shows by now in place of a choice that has just gone from its list.

    An event that a visitor causes while the answer with the new list is on its way still carries the old choice.
    """
    present = list(values)
    for i, (component, value) in enumerate(zip(components, values, strict=False)):
        if not isinstance(component, (gr.Dropdown, gr.Radio)):
            continue
        control = state[component._id]  # the page's own, once its list has been replaced
        allowed = value is None or getattr(control, "allow_custom_value", False) or not isinstance(value, str)
        if control is not component and not allowed and value not in [key for _, key in control.choices]:
            present[i] = control.value  # see `LightState`
    return present


def beyond_words(components: Sequence[Any], values: Sequence[Any], state: SessionState | None) -> str:
    """Which number lies outside of its bounds, and what these are; Gradio says no name. Nothing where none does."""
    for component, value in zip(components, values, strict=False):
        if not isinstance(component, (gr.Number, gr.Slider)) or not isinstance(value, (int, float)):
            continue
        control = component if state is None else state[component._id]
        ends = {"at least": control.minimum, "at most": control.maximum}
        low, high = (value if end is None else end for end in ends.values())
        if not low <= value <= high:
            allowed = listed([f"{which} {end:,.12g}" for which, end in ends.items() if end is not None])
            return f"“{control.label}” is {value:g}: it has to be {allowed}."
    return ""


def is_report(component: Any, value: Any) -> bool:
    """Whether a script could send this, where the component is one of ours that is drawn by a script."""
    return not isinstance(component, gr.HTML) or value is None or isinstance(value, dict)


def is_plain(component: Any, value: Any) -> bool:
    """Whether a control of the settings could send this, as far as its kind goes."""
    if isinstance(component, (gr.Textbox, gr.Dropdown, gr.Radio)):
        return isinstance(value, (str, type(component.value)))  # nothing where the page shows nothing at first
    return not isinstance(component, FormComponent) or not isinstance(value, (list, dict))


def whole_characters(value: Any) -> Any:
    """What a request holds, with U+FFFD for half characters, which JSON can write and nothing else can."""
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [whole_characters(each) for each in value]
    if isinstance(value, dict):
        return {whole_characters(key): whole_characters(each) for key, each in value.items()}
    return value
