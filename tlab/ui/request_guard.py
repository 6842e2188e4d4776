"""What stands before the handlers: requests that are too large, and values that no control of the page can send.

Gradio checks a control's bounds and refuses what lies outside, but writes a traceback for each into the log, so that
one visitor could fill a disk. And it reads a request of any size into memory, and parses it, before it looks at it.
"""

from __future__ import annotations

from typing import Any

import gradio as gr
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tlab.ui.runs.limits import Limits
from tlab.ui.widgets.component import error_toast

BYTES_PER_CHARACTER = 4  # at most, in UTF-8
MAX_SETTINGS_BYTES = 2**20  # what all other settings of a request may take together
UPLOADS = "/upload"  # of which Gradio itself counts the bytes, by `max_file_size`


def largest_body(limits: Limits) -> int:
    """Bytes of a request with the longest text that is allowed."""
    return BYTES_PER_CHARACTER * limits.text + MAX_SETTINGS_BYTES


class TooMuchError(Exception):
    """A request has sent more than it may."""


class BodyLimit:
    """Refuses a request of more than `most` bytes, which is no upload, before it is parsed."""

    def __init__(self, app: ASGIApp, most: int) -> None:
        self.app, self.most = app, most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Count the bytes: those that the request says it has, and those that really come."""
        if scope["type"] != "http" or scope["path"].endswith(UPLOADS):
            await self.app(scope, receive, send)
            return
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > self.most:
            await self.refuse(scope, receive, send)
            return
        came = 0
        answered = False

        async def counted() -> Message:
            nonlocal came
            message = await receive()
            came += len(message.get("body", b""))
            if came > self.most:
                raise TooMuchError
            return message

        async def watched(message: Message) -> None:
            nonlocal answered
            answered = True
            await send(message)

        try:
            await self.app(scope, counted, watched)
        except TooMuchError:
            if not answered:
                await self.refuse(scope, receive, send)

    async def refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        """In words, which the page shows."""
        words = (
            f"This is more than {self.most / 1e6:.0f} MB, the most that can be sent here at once. Take a part of it."
        )
        await JSONResponse({"detail": words, "error": words}, 413)(scope, receive, send)


def refuse_quietly(demo: gr.Blocks) -> None:
    """Answer values that no control of the page takes in words, and leave the log to what is wrong with the lab."""
    preprocess = demo.preprocess_data

    async def checked(*args: Any, **options: Any) -> Any:
        try:
            return await preprocess(*args, **options)
        except gr.Error as error:  # out of bounds, not among the choices
            raise error_toast(ValueError(error.message)) from None
        except Exception:  # whatever Gradio makes of nonsense, and of paths that are not the visitor's
            raise error_toast(ValueError("A control was sent something that it does not take.")) from None

    demo.preprocess_data = checked
