"""Printing ends no work: whatever the letters, the encoding, and whether anybody still reads."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import shutil
import sys
from collections.abc import Iterator
from typing import Any

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


@contextlib.contextmanager
def delivered_output() -> Iterator[None]:
    """Send on what was printed, also before an end by SystemExit: at the end of the process nobody hears of an error.

    Raises:
        OSError: it cannot be written, though somebody reads; it is given up.
    """
    try:
        yield
    finally:
        try:
            sys.stdout.flush()
        except OSError as error:
            to_nowhere(sys.stdout)
            if error.errno not in READER_LEFT:
                raise


class LastingStream:
    """A stream that may be written to for ever: once its reader is gone, what is written goes nowhere."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def write(self, text: str) -> int:
        """Write `text`, and send it on if it ends a line, so that a reader who left is noticed here."""
        try:
            self.stream.write(text)
            if text.endswith("\n"):
                self.stream.flush()
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
        """Write nowhere from now on.

        That a reader left is no news to whoever sent him off; anything else is, such as a full disk.
        """
        to_nowhere(self.stream)
        if error.errno not in READER_LEFT and self is not sys.stderr:
            print(f"warning: what is printed from here on is lost: {error}", file=sys.stderr)


@contextlib.contextmanager
def lasting_output() -> Iterator[None]:
    """Go on without a reader where one leaves, as in `tlab train | head`, or when the terminal is closed."""
    with (
        contextlib.redirect_stdout(LastingStream(sys.stdout)),  # pyright: ignore[reportArgumentType]
        contextlib.redirect_stderr(LastingStream(sys.stderr)),  # pyright: ignore[reportArgumentType]
    ):
        yield
