"""What a sweep says while it runs: a line for each failure at once, and a bar; both on the terminal and in a log."""

from __future__ import annotations

import contextlib
import io
import logging
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

from tqdm import tqdm

from sweeps.store.record import DIVERGED, FAILURES

LOG_SECONDS = 10.0  # between two lines of progress where no bar can be redrawn in place
BAR = "{percentage:3.0f}% {bar:10} {desc}, {elapsed} gone, {remaining} left"
LOG_LINE = logging.Formatter("%(asctime)s  %(message)s", "%Y-%m-%d %H:%M:%S")


class Progress:
    """Counts what is done and reports it. Time left goes by the work that is left, not by the number of cells.

    Used as a context: from its beginning to its end the bar is shown.

    Args:
        work: id of each cell to come -> how much work it is, in any unit.
        names: id -> what to call it.
        log: file that every line goes to as well, with the time; None for none.
        stream: where it is shown; standard error if None.
    """

    def __init__(
        self, work: Mapping[str, float], names: Mapping[str, str], log: Path | None = None, stream: TextIO | None = None
    ) -> None:
        self.work, self.names = work, names
        self.stream = sys.stderr if stream is None else stream
        self.on_terminal = self.stream.isatty()
        self.counts: Counter[str] = Counter()
        self.logger = logging.Logger("sweep")  # of its own: nothing that anyone sets up for logging changes it
        if log is not None:
            handler = LogFile(log, delay=True, encoding="utf-8")
            handler.setFormatter(LOG_LINE)
            self.logger.addHandler(handler)
        if not self.on_terminal:
            self.logger.addHandler(logging.StreamHandler(self.stream))

    def __enter__(self) -> Progress:
        options: dict[str, Any] = {
            "total": sum(self.work.values()), "desc": self.summary(), "bar_format": BAR, "ascii": ".#",
            "smoothing": 0, "miniters": 0, "disable": not self.work,
        }  # fmt: skip
        if self.on_terminal:
            self.bar = tqdm(file=self.stream, mininterval=0, dynamic_ncols=True, **options)
        else:
            self.bar = BarInLines(self.logger.info, mininterval=LOG_SECONDS, **options)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.bar.close()
        if self.on_terminal and self.work:
            self.logger.info(self.bar)
        for handler in self.logger.handlers:
            handler.close()

    def take(self, cell_id: str, status: str, message: str | None) -> None:
        self.counts[status] += 1
        if message:
            self.say(f"{self.names[cell_id]}: {message}")
        self.bar.set_description_str(self.summary(), refresh=False)
        self.bar.update(self.work[cell_id])

    def say(self, message: str) -> None:
        if self.on_terminal:
            tqdm.write(message, file=self.stream)
        self.logger.info(message)

    def summary(self) -> str:
        """Such as "12 of 36 done, 1 failed, 0 diverged"."""
        failed = sum(self.counts[status] for status in FAILURES)
        done = sum(self.counts.values())
        return f"{done} of {len(self.work)} done, {failed} failed, {self.counts[DIVERGED]} diverged"


class BarInLines(tqdm):
    """A bar for a file or a pipe: each state is a line of its own."""

    def __init__(self, write: Callable[[object], None], **options: Any) -> None:
        self.write_line = write
        super().__init__(file=io.StringIO(), **options)  # what tqdm itself writes is for redrawing a line

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        self.write_line(self)


class LogFile(logging.FileHandler):
    """The log of a sweep. A disk that is full, or a folder that is gone, does not end the sweep."""

    def emit(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(OSError):
            super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:
        """Say nothing."""
