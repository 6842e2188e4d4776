"""The process that looks into models for the Inside tab: one for all visitors, with limits on time and memory.

A probe is a few passes through a model and mostly takes some hundredths of a second, but a visitor chooses its options.
So it is limited by the clock and by memory, not by estimates: a task that takes longer is ended with its process, and
the next one gets a new process. The server's own threads only wait. A model that was opened from elsewhere is read by
the process itself, when it is first asked about: its limits of time and of memory are then higher by what that takes.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, ParamSpec, TypeVar

from tlab.ui.inspection.tasks import InspectionRequest
from tlab.ui.opened_models import MAX_OPENED, OpenedFrom
from tlab.ui.runs.child_process import ChildProcess
from tlab.ui.runs.limits import GB, Limits

P = ParamSpec("P")
Answer = TypeVar("Answer")

PUBLIC_SECONDS, LOCAL_SECONDS = 10.0, 60.0  # for one task; on a free core it takes one or two at the limits
SECONDS_TO_WAIT = 20.0  # for the tasks of others
SECONDS_TO_START = 60.0  # the process: imports, on a busy machine
SECONDS_TO_READ = 300.0  # an opened model: a gigabyte from a slow disk, on a busy machine
BASE_MEMORY = GB // 2  # bytes for the interpreter, NumPy and texts


class InspectionError(ValueError):
    """A task without a result; the message says why, in words for the visitor."""


class Inspector:
    """Runs tasks in one other process, one at a time. Safe to use from many threads."""

    def __init__(self, limits: Limits) -> None:
        self.memory = limits.memory + BASE_MEMORY
        self.seconds = PUBLIC_SECONDS if limits.public else LOCAL_SECONDS
        self.lock = threading.Lock()
        self.child: ChildProcess | None = None
        self.known: set[OpenedFrom] = set()  # models that this child has been asked about

    def call(self, task: Callable[P, Answer], *args: P.args, **kwargs: P.kwargs) -> Answer:
        """What `task` returns when the other process runs it. It has to be a function of a module.

        Raises:
            InspectionError: it takes too long, needs too much memory, or too many are waiting; or `task` raised a
                ValueError, with its message.
        """
        if not self.lock.acquire(timeout=SECONDS_TO_WAIT):
            raise InspectionError("Others are looking into their models. Try again in a moment.")
        try:
            connection = self.ready()
            connection.send((task, args, kwargs))
            new = {request.model for request in requests_in(args) if isinstance(request.model, OpenedFrom)} - self.known
            self.known |= new
            if not connection.poll(self.seconds + SECONDS_TO_READ * len(new)):
                self.end()
                raise InspectionError(
                    f"This would take more than {self.seconds:.0f} seconds, the most that is allowed here. Choose "
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
        """The connection to a process that waits for a task."""
        if self.child is None or not self.child.alive:
            self.end()
            self.child = ChildProcess("tlab-inspector", serve_inspections, self.memory)
            if not self.child.connection.poll(SECONDS_TO_START):
                raise EOFError
            self.child.connection.recv()
        return self.child.connection

    def end(self) -> None:
        if self.child is not None:
            self.child.end()
        self.known.clear()


def requests_in(args: tuple[Any, ...]) -> list[InspectionRequest]:
    """The requests among the arguments of a task, by themselves or in lists."""
    flat = [item for arg in args for item in (arg if isinstance(arg, list) else [arg])]
    return [item for item in flat if isinstance(item, InspectionRequest)]


def with_models(value: Any, memory: int) -> Any:
    """An argument of a task with the checkpoints of opened models in it, for which the limit of memory is raised."""
    if isinstance(value, list):
        return [with_models(item, memory) for item in value]
    if not isinstance(value, InspectionRequest):
        return value
    if isinstance(value.model, OpenedFrom):
        limit_memory(memory + MAX_OPENED * value.model.needed)
    return value.with_its_model


def serve_inspections(connection: Connection, memory: int) -> None:
    """The life of the process: answer (function, args, kwargs) by (True, result) or (False, message), one at a time."""
    from threadpoolctl import threadpool_limits

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the server ends it
    threadpool_limits(limits=1)
    limit_memory(memory)
    connection.send(None)
    with contextlib.suppress(EOFError, OSError):  # the server is gone
        while True:
            task, args, kwargs = connection.recv()
            try:
                answer = True, task(*(with_models(arg, memory) for arg in args), **kwargs)
            except MemoryError:
                answer = False, "This needs more memory than is allowed here. Choose less to look at."
            except (ValueError, ArithmeticError) as error:
                answer = False, str(error)
            connection.send(answer)


def limit_memory(size: int) -> None:
    """Make an allocation beyond `size` bytes fail, where the system supports it: on Linux and macOS."""
    try:
        import resource
    except ImportError:  # Windows
        return
    with contextlib.suppress(ValueError, OSError):  # a lower limit is set already
        resource.setrlimit(resource.RLIMIT_DATA, (size, resource.getrlimit(resource.RLIMIT_DATA)[1]))
