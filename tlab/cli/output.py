"""Printing ends no work: whatever the letters, the encoding, and whether anybody still reads."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import math
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

READER_LEFT = (None, errno.EPIPE, errno.EIO)  # of a pipe or a terminal; Python's own BrokenPipeError has no number
MIN_COLUMNS = 40  # of help: tyro never ends where no column is left for a word


def prepare_streams() -> None:
    """Let every letter be printed on standard output and error, and both be there.

    Where the encoding has no such letter, its code point is shown. Without a console, or after 2>&-, Python has no
    stream at all.
    """
    if shutil.get_terminal_size().columns < MIN_COLUMNS:
        os.environ["COLUMNS"] = str(MIN_COLUMNS)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115, open as long as the process
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def words_typed() -> list[str]:
    """The command line. Where the locale has no letter for a byte, what was typed is UTF-8 all the same."""
    return [as_utf8(word) if not_decoded(word) else word for word in sys.argv[1:]]


def not_decoded(word: str) -> bool:
    """Whether Python kept bytes of the word as they were, for the locale gives them no letter."""
    return any("\udc80" <= letter <= "\udcff" for letter in word)


def as_utf8(word: str) -> str:
    return os.fsencode(word).decode("utf-8", "surrogateescape")


def to_nowhere(stream: Any) -> None:
    """Point a stream to nowhere, if it is a file. Python's own way: it flushes its streams once more at the end."""
    with contextlib.suppress(OSError, ValueError, AttributeError), open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), stream.fileno())


class CommandResult(NamedTuple):
    """What a command came to."""

    result: Mapping[str, Any]  # what its words say, for a program
    code: int = 0  # of the process


def run_and_print(run: Callable[[], int | CommandResult], as_json: bool) -> int:
    """Do what a command does; -> exit code. As JSON nothing but its result is printed on standard output."""
    if not as_json:
        found = run()
        return found.code if isinstance(found, CommandResult) else found
    with open(os.devnull, "w", encoding="utf-8") as nowhere, contextlib.redirect_stdout(nowhere):
        found = run()
    if not isinstance(found, CommandResult):  # it came to nothing, and has said why
        return found
    print(result_as_json(found.result))
    return found.code


def result_as_json(result: Any) -> str:
    """A result with every digit. A row of named fields is an object, and what is no finite number is null."""
    return json.dumps(json_value(result), indent=1, ensure_ascii=False)


def json_value(value: Any) -> Any:
    """A value in terms that JSON has."""
    if hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, dict):
        return {str(name): json_value(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_value(part) for part in value]
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and not math.isfinite(value) else value


class LostOutputError(OSError):
    """Standard output could not be written though somebody reads, and that was said on standard error."""


class DeliveredStream:
    """A stream that ends the work once it cannot be written.

    Its methods raise BrokenPipeError where the reader is gone, and LostOutputError where somebody reads.
    """

    lost: LostOutputError | None = None  # since it was

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def write(self, text: str) -> int:
        """Write `text`."""
        try:
            self.stream.write(text)
        except OSError as error:
            self.let_go(error)
        return len(text)

    def flush(self) -> None:
        """Send on what was written."""
        try:
            self.stream.flush()
        except OSError as error:
            self.let_go(error)

    def let_go(self, error: OSError) -> None:
        """Write nowhere from now on, and say so once; not that the reader left: whoever sent him off knows that."""
        to_nowhere(self.stream)
        if error.errno in READER_LEFT:
            raise BrokenPipeError from error
        if self.lost is None:
            self.lost = LostOutputError(*error.args)
            if not isinstance(error, LostOutputError) and self is not sys.stderr:  # else it was said, or nobody hears
                print(
                    f"error: standard output cannot be written: {error}. What is printed from here on is lost; files "
                    "are written all the same. Make room, or send the output elsewhere",
                    file=sys.stderr,
                )
        raise self.lost from error


class LastingStream(DeliveredStream):
    """A stream that may be written to for ever: once it cannot be, what is written goes nowhere."""

    def write(self, text: str) -> int:
        """Write `text`, and send it on if it ends a line, so that a reader who left is noticed here."""
        super().write(text)
        if text.endswith("\n"):
            self.flush()
        return len(text)

    def let_go(self, error: OSError) -> None:
        """Write nowhere from now on, say so once, and go on."""
        with contextlib.suppress(BrokenPipeError, LostOutputError):
            super().let_go(error)


@contextlib.contextmanager
def delivered_output() -> Iterator[None]:
    """For a command that does no more than print: end it where that is lost, and send on what it printed at its end.

    Raises:
        BrokenPipeError: the reader is gone, as in `tlab generate | head`.
        LostOutputError: somebody reads, but standard output cannot be written.
    """
    stream = DeliveredStream(sys.stdout)
    with contextlib.redirect_stdout(stream):  # pyright: ignore[reportArgumentType]
        try:
            yield
        finally:  # also of an end by SystemExit: at the end of the process nobody hears of an error
            stream.flush()


@contextlib.contextmanager
def lasting_output() -> Iterator[None]:
    """For a command that makes files: go on where nobody reads, as in `tlab train | head`, or a terminal was closed.

    Raises:
        LostOutputError: somebody reads, but standard output could not be written; the work is done all the same.
    """
    stream = LastingStream(sys.stdout)
    with (
        contextlib.redirect_stdout(stream),  # pyright: ignore[reportArgumentType]
        contextlib.redirect_stderr(LastingStream(sys.stderr)),  # pyright: ignore[reportArgumentType]
    ):
        try:
            yield
        except SystemExit:  # of help
            stream.flush()
            if stream.lost is None:
                raise
    if stream.lost is not None:
        raise stream.lost
