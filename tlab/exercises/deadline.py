"""An end for code that runs for ever, in the thread that runs it: a loop of the learner's is no reason to wait."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


class DeadlineError(BaseException):
    """The time is up; not an Exception, so that an `except Exception` in a loop does not swallow it."""


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Raise a DeadlineError in whatever line of Python runs when the time is up.

    It is looked for at every line, as a debugger does, so a single call into compiled code is never interrupted. Where
    a debugger or a measurement of coverage is at work already, there is no deadline: somebody may be reading.
    """
    if sys.gettrace() is not None:
        yield
        return
    end = time.monotonic() + seconds

    def watch(frame: FrameType, event: str, argument: Any) -> Any:
        if time.monotonic() > end:
            sys.settrace(None)
            raise DeadlineError
        return watch

    sys.settrace(watch)
    try:
        yield
    finally:
        sys.settrace(None)
