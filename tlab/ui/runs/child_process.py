"""A process that serves this one over a connection, and how it is ended."""

from __future__ import annotations

import contextlib
import multiprocessing
import threading
from collections.abc import Callable
from typing import Any


class ChildProcess:
    """A process that runs `target(connection, *args)`, started at once."""

    def __init__(self, name: str, target: Callable[..., None], *args: Any) -> None:
        # Spawned and not forked: a fork of a server with threads may inherit a lock that is never released.
        context = multiprocessing.get_context("spawn")
        self.lock = threading.Lock()
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=target, args=(theirs, *args), daemon=True, name=name)
        self.process.start()
        theirs.close()

    @property
    def alive(self) -> bool:
        return not self.connection.closed and self.process.is_alive()

    def end(self) -> None:
        """Make sure that the process is gone. Calling it again does no harm, in whichever thread."""
        with self.lock:
            if self.connection.closed:
                return
            self.connection.close()
            self.process.terminate()
            self.process.join(0.5)
            if self.process.is_alive():
                self.process.kill()
                self.process.join()
            # Whoever starts a process asks for the end of all others, and may have been told of this one just now.
            with contextlib.suppress(ValueError):
                self.process.close()
