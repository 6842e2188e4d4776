"""What a sweep says while it runs: a line for each accident at once, and how far it is, on a terminal and in a log."""

from __future__ import annotations

import contextlib
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TextIO

from sweeps.store.record import ACCIDENTS, DIVERGED
from tlab.wording import duration

LOG_SECONDS = 10.0  # between two lines of progress where nobody sees them replace each other
BAR = 10  # characters
CLEAR = "\r\x1b[K"  # to the line's begin, and erase it


class Progress:
    """Counts what is done and says so. Time left goes by the work that is left, not by the number of cells.

    Args:
        work: id of each cell to come -> how much work it is, in any unit.
        names: id -> what to call it.
        log: file that every line goes to as well, with the time; None for none.
        stream: where it is shown; standard error if None.
    """

    def __init__(
        self, work: Mapping[str, float], names: Mapping[str, str], log: Path | None = None, stream: TextIO | None = None
    ) -> None:
        self.work, self.names, self.log = work, names, log
        self.stream = sys.stderr if stream is None else stream
        self.on_terminal = self.stream.isatty()
        self.counts: Counter[str] = Counter()
        self.work_done, self.work_total = 0.0, sum(work.values())
        self.began = self.last_shown = time.monotonic()

    def take(self, cell_id: str, status: str, message: str | None) -> None:
        """A cell came to its end; `message` where something is to be said of it."""
        self.counts[status] += 1
        self.work_done += self.work[cell_id]
        if message:
            self.say(f"{self.names[cell_id]}: {message}")
        done = sum(self.counts.values()) == len(self.work)
        if self.on_terminal or done or time.monotonic() - self.last_shown >= LOG_SECONDS:
            self.show()

    def say(self, message: str) -> None:
        """A line that stays."""
        if self.on_terminal:
            self.stream.write(CLEAR)
        self.stream.write(f"{message}\n")
        self.stream.flush()
        self.note(message)

    def show(self) -> None:
        """How far it is."""
        self.last_shown = time.monotonic()
        self.stream.write(f"{CLEAR}{self.line()}" if self.on_terminal else f"{self.line()}\n")
        self.stream.flush()
        if not self.on_terminal:
            self.note(self.line())

    def line(self) -> str:
        """Such as "  33% ###.......  12 of 36 done, 1 failed, 0 diverged, 1 min gone, 2 min left"."""
        done, gone = sum(self.counts.values()), time.monotonic() - self.began
        share = self.work_done / self.work_total if self.work_total else 1.0
        failed = sum(self.counts[status] for status in ACCIDENTS)
        left = f"{duration(gone * (1 - share) / share)} left" if 0 < share < 1 - 1e-9 else ""
        words = [
            f"{done} of {len(self.work)} done",
            f"{failed} failed",
            f"{self.counts[DIVERGED]} diverged",
            f"{duration(gone)} gone",
            left,
        ]
        return f"{share:4.0%} {'#' * int(share * BAR):.<{BAR}} {', '.join(filter(None, words))}"

    def note(self, message: str) -> None:
        """Write it to the log; a log that cannot be written ends no sweep."""
        if self.log is not None:
            with contextlib.suppress(OSError), open(self.log, "a", encoding="utf-8") as file:
                file.write(f"{datetime.now().isoformat(sep=' ', timespec='seconds')}  {message}\n")

    @contextmanager
    def shown(self) -> Iterator[Progress]:
        """Show it from the begin on; at the end leave the last line where it is and begin a new one."""
        if self.work:
            self.show()
        try:
            yield self
        finally:
            if self.work:
                if self.on_terminal:
                    self.show()
                    self.stream.write("\n")
                self.note(self.line())
