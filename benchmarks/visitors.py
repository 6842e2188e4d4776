"""Visitors of the app without a browser: a server of its own, and pages that speak Gradio's own HTTP to it."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import httpx
from gradio_client.utils import apply_diff

ROOT = Path(__file__).parents[1]
API = "gradio_api"


class Server:
    """The app as a hosted Space runs it, on a free port of this machine.

    Args:
        root: of the repository whose app it is.
        python: that runs it.
        runs: the folder of what outlives it; on a Space there is none.
    """

    def __init__(self, root: Path = ROOT, python: str = sys.executable, runs: Path | None = None) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self.root, self.python, self.runs = root, python, runs
        self.url = f"http://127.0.0.1:{port}"
        self.log = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115, closed in __exit__
        self.uploads = tempfile.TemporaryDirectory()  # where it keeps files of visitors
        self.environment = {
            **os.environ, "GRADIO_SERVER_PORT": str(port), "SPACE_ID": "bench/mark",
            "GRADIO_TEMP_DIR": self.uploads.name,
        }  # fmt: skip
        if runs is not None:
            self.environment["TLAB_RUNS_DIR"] = str(runs)
        self.start()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        began = time.perf_counter()
        self.process = subprocess.Popen(
            [self.python, "gradio_app.py"], cwd=self.root, stdout=self.log, stderr=subprocess.STDOUT,
            env=self.environment,
        )  # fmt: skip
        while not self.answers():
            if self.process.poll() is not None:
                raise RuntimeError(f"the app ended at once:\n{self.output()}")
            time.sleep(0.02)
        self.seconds_to_start = time.perf_counter() - began

    def kill(self) -> None:
        """End it at once, as a machine does that loses its power; `start` then has the same port and folders."""
        self.process.kill()
        self.process.wait()

    def answers(self) -> bool:
        """Whether the page can be got."""
        with contextlib.suppress(httpx.HTTPError):
            return httpx.get(self.url, timeout=5).status_code == 200
        return False

    def memory(self) -> int:
        """Bytes that the server process holds, without its workers."""
        pages = Path(f"/proc/{self.process.pid}/statm").read_text("ascii").split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    def cpu_seconds(self) -> float:
        """Processor time that the server process has taken, without its workers."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def seconds_of_threads(self) -> dict[str, tuple[float, float]]:
        """What each of its threads has computed, and what it has waited for a core to do so."""
        threads = {}
        for told in Path(f"/proc/{self.process.pid}/task").glob("*/schedstat"):
            with contextlib.suppress(OSError):  # it has just ended
                computed, waited, _ = told.read_text("ascii").split()
                threads[told.parent.name] = int(computed) / 1e9, int(waited) / 1e9
        return threads

    def workers(self) -> set[int]:
        """Numbers of the processes that it has started and not ended."""
        found = set()
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                state, parent = stat.read_text("utf-8", "replace").rpartition(")")[2].split()[:2]
                if int(parent) == self.process.pid and state != "Z" and b"spawn_main" in cmdline(stat.parent):
                    found.add(int(stat.parent.name))
        return found

    def output(self) -> str:
        """What it has written so far."""
        self.log.seek(0)
        return self.log.read()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: Any) -> None:
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()
        self.uploads.cleanup()


def cmdline(process: Path) -> bytes:
    """The words that a process was started with."""
    return (process / "cmdline").read_bytes()


class Refused(RuntimeError):
    """The server said no; the message holds its words."""


class Event(NamedTuple):
    """One call of a handler, which waits or runs."""

    fn: int
    id: str


class Visitor:
    """One open page: it says that it is there, presses buttons, and reads what comes back.

    Args:
        url: of the server.
        present: whether it keeps the connection open by which the server knows that somebody is there.
    """

    def __init__(self, url: str, *, present: bool = True) -> None:
        self.url = f"{url}/{API}"
        self.session = secrets.token_hex(6)
        self.http = httpx.Client(timeout=120, verify=False)  # no certificates, which take longer to read than a page
        self.config = self.http.get(f"{url}/config").json()
        self.named = {c["props"].get("elem_id"): c["id"] for c in self.config["components"]}
        self.values = {c["id"]: c["props"].get("value") for c in self.config["components"]}
        self.heart = self.connection() if present else None

    def connection(self) -> socket.socket:
        """Open, and not read: closing it at once is all that it is for."""
        host, port = self.url.split("/")[2].split(":")
        heart = socket.create_connection((host, int(port)))
        path = f"/{API}/heartbeat/{self.session}"
        heart.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nAccept: text/event-stream\r\n\r\n".encode())
        return heart

    def leave(self) -> None:
        """Close the page."""
        if self.heart is not None:
            self.heart.close()
        self.http.close()

    def handler(self, name: str, event: str) -> dict[str, Any]:
        """The one that a component's event calls; if there are several, the one with the most outputs."""
        target = [self.named[name], event]
        found = [d for d in self.config["dependencies"] if target in d["targets"] and d["backend_fn"]]
        return max(found, key=lambda d: len(d["outputs"]))

    def call(self, name: str, event: str, **changes: Any) -> Event:
        """Let a component's event happen with the page's values but for these, by name; -> what to listen to."""
        handler = self.handler(name, event)
        values = {**self.values, **{self.named[key.replace("__", "-")]: value for key, value in changes.items()}}
        return self.join(handler["id"], [values.get(i) for i in handler["inputs"]])

    def join(self, fn: int, data: Sequence[Any]) -> Event:
        """The same with a handler's number and any values.

        Raises:
            Refused: the server does not even begin.
        """
        body = {"fn_index": fn, "data": list(data), "session_hash": self.session, "trigger_id": None}
        answer = self.http.post(f"{self.url}/queue/join", json=body)
        if answer.status_code != 200:
            raise Refused(words_of(answer))
        return Event(fn, answer.json()["event_id"])

    def listen(self, event: Event) -> Iterator[list[Any]]:
        """The outputs of a call, whole, frame by frame.

        Raises:
            Refused: it ended with an error.
        """
        whole: list[Any] = []
        stream = self.http.stream("GET", f"{self.url}/queue/data", params={"session_hash": self.session})
        with stream as answer:
            for line in answer.iter_lines():
                if not line.startswith("data:"):
                    continue
                message = json.loads(line[5:])
                if message.get("event_id") not in (event.id, None):
                    continue
                kind, output = message["msg"], message.get("output") or {}
                if kind == "process_generating":
                    fresh = output.get("data", [])
                    whole = [apply_diff(a, d) for a, d in zip(whole, fresh, strict=True)] if whole else fresh
                    yield whole
                elif kind == "process_completed":
                    if not message.get("success", True):
                        raise Refused(str(output.get("error")))
                    if not whole:
                        yield output.get("data", [])
                    return
                elif kind == "close_stream":
                    return

    def ask(self, name: str, event: str, **changes: Any) -> list[Any]:
        """Call, and wait for the last frame."""
        last: list[Any] = []
        for frame in self.listen(self.call(name, event, **changes)):
            last = frame
        return last

    def output_of(self, frame: list[Any], name: str, event: str, output: str) -> Any:
        """What a frame has for a component."""
        return frame[self.handler(name, event)["outputs"].index(self.named[output])]

    def upload(self, name: str, content: bytes) -> dict[str, Any]:
        """A file for an upload button, as the server knows it from then on."""
        answer = self.http.post(f"{self.url}/upload", files={"files": (name, content)})
        if answer.status_code != 200:
            raise Refused(words_of(answer))
        return {"path": answer.json()[0], "orig_name": name, "meta": {"_type": "gradio.FileData"}}


def words_of(answer: httpx.Response) -> str:
    """The words of a refusal."""
    try:
        content = answer.json()
    except ValueError:
        return f"{answer.status_code}: {answer.text[:200]}"
    return f"{answer.status_code}: {content.get('detail') or content.get('error')}"


def watch_page(url: str, seconds_between: float, connection: Connection) -> None:
    """Get a page until somebody says that it is over, and send the seconds that each time took."""
    seconds: list[float] = []
    with httpx.Client(timeout=30, verify=False) as http:
        http.get(url)
        connection.send("ready")
        while not (seconds and connection.poll()):
            began = time.perf_counter()
            with contextlib.suppress(httpx.HTTPError):
                http.get(url)
            seconds.append(time.perf_counter() - began)
            time.sleep(seconds_between)
    connection.send(seconds)


class Watch:
    """Somebody else's page, got again and again by a process of its own, that waits for nobody here."""

    def __init__(self, url: str, seconds_between: float = 0.1) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=watch_page, args=(url, seconds_between, theirs), daemon=True)
        self.seconds: list[float] = []

    def __enter__(self) -> Watch:
        self.process.start()
        self.connection.recv()
        return self

    def __exit__(self, *_: Any) -> None:
        self.connection.send("over")
        self.seconds = self.connection.recv()
        self.process.join()

    def percentile(self, share: float) -> float:
        """Seconds that so large a share of the pages took at most."""
        return percentile(self.seconds, share)


def percentile(seconds: Sequence[float], share: float) -> float:
    """What so large a share of these is at most."""
    return sorted(seconds)[min(len(seconds) - 1, int(share * len(seconds)))]


class Row(NamedTuple):
    """A line of a table: what was asked for beside what came of it."""

    what: str
    target: str
    measured: str
    met: bool


def table(title: str, rows: Sequence[Row]) -> str:
    """Rows for a terminal, below the machine's load at this time."""
    widths = [max(map(len, column)) for column in zip(*((r.what, r.target, r.measured) for r in rows), strict=True)]
    lines = [f"{title} (load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores)"]
    for row in rows:
        cells = "  ".join(
            cell.ljust(width) for cell, width in zip((row.what, row.target, row.measured), widths, strict=True)
        )
        lines.append(f"  {'ok  ' if row.met else 'MISS'} {cells}")
    return "\n".join(lines)


def finish(rows: Sequence[Row]) -> int:
    """The exit code: 0 where all is met."""
    return 0 if all(row.met for row in rows) else 1
