"""Failures in the log: of each kind once, in full, so that no stranger's requests can fill a disk with tracebacks."""

from __future__ import annotations

import logging
import traceback
from typing import Any

import gradio as gr
from starlette.requests import ClientDisconnect

from tlab.ui.widgets.component import error_toast

MAX_KINDS = 100  # a server with more has told enough
LOGGERS = ("uvicorn.error", "asyncio", "tlab.ui")
SORRY = "Something went wrong on the server. What you have trained is still there; try it again, or reload the page."

logger = logging.getLogger("tlab.ui")


class OncePerKind(logging.Filter):
    """Lets a record with an exception through if none of its type came from the same line before."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[tuple[type, str, int]] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if error is None:
            return True
        if isinstance(error, ClientDisconnect):  # whoever closes a page in the middle of a request is no failure
            return False
        frame = (traceback.extract_tb(error.__traceback__) or [traceback.FrameSummary("", 0, "")])[-1]
        kind = (type(error), frame.filename, frame.lineno or 0)
        if kind in self.seen or len(self.seen) >= MAX_KINDS:
            return False
        self.seen.add(kind)
        return True


def log_each_kind_once() -> None:
    """For all that a request can reach; Gradio's own server included."""
    once = OncePerKind()
    for name in LOGGERS:
        logging.getLogger(name).addFilter(once)


def answer_failures(demo: gr.Blocks) -> None:
    """Answer a handler's failure in words, and log it; Gradio would answer nothing and print every traceback."""
    process = demo.process_api

    async def answered(*args: Any, **options: Any) -> Any:
        try:
            return await process(*args, **options)
        except gr.Error:
            raise
        except StopAsyncIteration:  # how Gradio ends a handler that yields
            raise
        except Exception as error:
            logger.error("a handler failed", exc_info=error)
            raise error_toast(RuntimeError(SORRY)) from None

    demo.process_api = answered
