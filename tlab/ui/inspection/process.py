"""The process that looks into models for the Inside tab: one for all visitors, with limits on time and memory.

A probe is a few passes through a model and mostly takes some hundredths of a second, but a visitor chooses its options.
So it is limited by the clock and by memory, not by estimates: a task that takes longer is ended with its process, and
the next one gets a new process. The server's own threads only wait. A model that was opened from elsewhere is read by
the process itself, when it is first asked about: its limits of time and of memory are then higher by what that takes,
and it says how far it is.
"""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, NamedTuple, ParamSpec, TypeVar

from tlab.training.checkpoint import Checkpoint
from tlab.ui.inspection.tasks import InspectionRequest
from tlab.ui.opened_models import MAX_OPENED, OpenedFrom, OpenedModels
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


class ReadSoFar(NamedTuple):
    """What the process sends while it reads a model."""

    share: float  # of the model, from 0 to 1


class Inspector:
    """Runs tasks in one other process, one at a time. Safe to use from many threads.

    Attributes:
        read_so_far: how much of an opened model the process has read, from 0 to 1; None while it reads none.
    """

    def __init__(self, limits: Limits) -> None:
        self.memory = limits.memory + BASE_MEMORY
        self.seconds = PUBLIC_SECONDS if limits.public else LOCAL_SECONDS
        self.lock = threading.Lock()
        self.child: ChildProcess | None = None
        self.known: set[OpenedFrom] = set()  # models that this child has been asked about
        self.read_so_far: float | None = None

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
            answer = self.answer(connection, self.seconds + SECONDS_TO_READ * len(new))
        except (EOFError, OSError):
            self.end()
            raise InspectionError("The process that looked into the model ended unexpectedly. Try again.") from None
        finally:
            self.read_so_far = None
            self.lock.release()
        fine, value = answer
        if not fine:
            raise InspectionError(value)
        return value

    def answer(self, connection: Connection, seconds: float) -> tuple[bool, Any]:
        """What the process comes to; meanwhile what it says of its reading is noted."""
        until = time.monotonic() + seconds
        while connection.poll(max(0.0, until - time.monotonic())):
            message = connection.recv()
            if not isinstance(message, ReadSoFar):
                return message
            self.read_so_far = message.share if message.share < 1 else None
        self.end()
        raise InspectionError(
            f"This would take more than {self.seconds:.0f} seconds, the most that is allowed here. Choose "
            "less to look at: fewer windows, one part, a shorter text."
        )

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


def with_models(value: Any, read: Callable[[OpenedFrom], Checkpoint]) -> Any:
    """An argument of a task with the checkpoints of opened models in it."""
    if isinstance(value, list):
        return [with_models(item, read) for item in value]
    if isinstance(value, InspectionRequest) and isinstance(value.model, OpenedFrom):
        return value._replace(model=read(value.model))
    return value


def serve_inspections(connection: Connection, memory: int) -> None:
    """The life of the process: answer (function, args, kwargs) by (True, result) or (False, message), one at a time."""
    from threadpoolctl import threadpool_limits

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the server ends it
    threadpool_limits(limits=1)
    limit_memory(memory)
    opened = OpenedModels(public=False)

    def read(model: OpenedFrom) -> Checkpoint:
        limit_memory(memory + MAX_OPENED * model.needed)
        return opened.open(model.place, progress=lambda share: connection.send(ReadSoFar(share))).checkpoint

    connection.send(None)
    with contextlib.suppress(EOFError, OSError):  # the server is gone
        while True:
            task, args, kwargs = connection.recv()
            try:
                answer = True, task(*(with_models(arg, read) for arg in args), **kwargs)
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
