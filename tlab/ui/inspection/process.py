"""The process that looks into models for the Inside tab: one for all visitors, and never for long.

A probe is a few passes through a model, mostly a few hundredths of a second; but a visitor chooses its options. So it
is bounded by the clock and by memory, and not by guesses: what takes longer is ended with its process, and the next
question gets a new one. The server's own threads only wait.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import ParamSpec, TypeVar

from tlab.ui.runs.child_process import ChildProcess
from tlab.ui.runs.limits import GB, Limits

P = ParamSpec("P")
Answer = TypeVar("Answer")

PUBLIC_SECONDS, LOCAL_SECONDS = 10.0, 60.0  # of one question; a core of its own needs one or two at the limits
SECONDS_TO_WAIT = 20.0  # for one's turn
SECONDS_TO_START = 60.0  # of the process: imports, on a busy machine
BASE_MEMORY = GB // 2  # bytes of interpreter, NumPy and texts


class InspectionError(ValueError):
    """A question that got no answer; the message says why, in words for the visitor."""


class Inspector:
    """Asks one process at a time. Safe to use from many threads.

    Args:
        limits: how much memory a look may take, and whether others wait.
    """

    def __init__(self, limits: Limits) -> None:
        self.memory = limits.memory + BASE_MEMORY
        self.seconds = PUBLIC_SECONDS if limits.public else LOCAL_SECONDS
        self.lock = threading.Lock()
        self.child: ChildProcess | None = None

    def call(self, task: Callable[P, Answer], *args: P.args, **kwargs: P.kwargs) -> Answer:
        """What `task` returns, done in the other process. It has to be a function of a module.

        Raises:
            InspectionError: it took too long, too much memory, or too many are waiting; or `task` raised a ValueError,
                with its words.
        """
        if not self.lock.acquire(timeout=SECONDS_TO_WAIT):
            raise InspectionError("Others are looking into their models. Try again in a moment.")
        try:
            connection = self.ready()
            connection.send((task, args, kwargs))
            if not connection.poll(self.seconds):
                self.end()
                raise InspectionError(
                    f"This would take more than {self.seconds:.0f} seconds, the most that a look may take here. Choose "
                    "less to look at: fewer windows, one part, a shorter text."
                )
            fine, answer = connection.recv()
        except (EOFError, OSError):
            self.end()
            raise InspectionError("The process that looked into the model ended unexpectedly. Try again.") from None
        finally:
            self.lock.release()
        if not fine:
            raise InspectionError(answer)
        return answer

    def ready(self) -> Connection:
        """The connection to a process that waits for a question."""
        if self.child is None or not self.child.alive:
            self.end()
            self.child = ChildProcess("tlab-inspector", serve_inspections, self.memory)
            if not self.child.connection.poll(SECONDS_TO_START):
                raise EOFError
            self.child.connection.recv()
        return self.child.connection

    def end(self) -> None:
        """Make sure that the process is gone. Calling it again does no harm."""
        if self.child is not None:
            self.child.end()


def serve_inspections(connection: Connection, memory: int) -> None:
    """The life of the process: answer one question after another.

    Args:
        connection: for (function, args, kwargs), answered by (True, result) or (False, words).
        memory: bytes that it may have.
    """
    from threadpoolctl import threadpool_limits

    import tlab.ui.inspection.tasks  # noqa: F401, so that the first question has not to wait for it

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the server ends it
    threadpool_limits(limits=1)
    limit_memory(memory)
    connection.send(None)
    with contextlib.suppress(EOFError, OSError):  # the server is gone
        while True:
            task, args, kwargs = connection.recv()
            try:
                answer = True, task(*args, **kwargs)
            except MemoryError:
                answer = False, "This needs more memory than a look may have here. Choose less to look at."
            except (ValueError, ArithmeticError) as error:
                answer = False, str(error)
            connection.send(answer)


def limit_memory(size: int) -> None:
    """Let an allocation beyond `size` bytes fail, where the system can: on Linux and macOS."""
    try:
        import resource
    except ImportError:  # Windows
        return
    with contextlib.suppress(ValueError, OSError):  # a lower limit is set already
        resource.setrlimit(resource.RLIMIT_DATA, (size, resource.getrlimit(resource.RLIMIT_DATA)[1]))
