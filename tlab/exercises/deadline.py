"""An end for code that runs for ever, in the thread that runs it: a loop of the learner's is no reason to wait."""

from __future__ import annotations

import dis
import functools
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import CodeType, FrameType
from typing import Any


class DeadlineError(BaseException):
    """The time is up; not an Exception, so that an `except Exception` in a loop does not swallow it."""


@functools.lru_cache(maxsize=256)
def has_empty_loop(code: CodeType) -> bool:
    """Whether an instruction jumps to itself, or back over nothing but its like, as that of `while True: pass` does."""
    instructions = list(dis.get_instructions(code))

    def is_empty(jump: dis.Instruction) -> bool:
        passed = {one.opname for one in instructions if jump.argval <= one.offset < jump.offset}
        return jump.argval <= jump.offset and passed <= {"NOP", "EXTENDED_ARG"}

    return any(is_empty(one) for one in instructions if one.opcode in (*dis.hasjrel, *dis.hasjabs))


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Raise a DeadlineError in whatever line of Python runs when the time is up.

    It is looked for at every line, as a debugger does, so a single call into compiled code is never interrupted; and in
    functions with a loop of nothing, in which no line ever begins, at every instruction. Where
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
        if event == "call" and has_empty_loop(frame.f_code):
            frame.f_trace_opcodes = True
        return watch

    sys.settrace(watch)
    try:
        yield
    finally:
        sys.settrace(None)
