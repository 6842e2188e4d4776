"""Attacks, and a class that does everything at once: is each refused or bounded, and do others get their pages?

    python -m benchmarks.hostile [NAME ...]

Each attack goes over the network to a server with the public limits, while another visitor's page is got again and
again; beside what came of the attack stands how long 95 of 100 of these pages took at most. Others at work on this
machine make them longer, so the pages of a server at rest come first, and beside each attack stands what the server
computed itself, and how long it waited for a core that was taken by others.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import os
import re
import socket
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import httpx

from benchmarks.abuse import refusal_of
from benchmarks.visitors import API, Event, Refused, Row, Server, Visitor, Watch, finish, table

HUGE, LARGEST = 9_200_000_000_000_000_000, 1.7976931348623157e308
MOST_SECONDS = 0.1  # that 95 of 100 of another visitor's pages may take
SHORTEST = 2.0  # seconds of an attack, so that enough pages are got meanwhile
PUPILS = 60
LEAST_WAIT = 5.0  # seconds: of less, what is told is a rounding
TEXT = "the quick brown fox jumps over the lazy dog; " * 5555  # 250,000 characters
MEGABYTE = 2**20
MOST_KINDS = 10


class Outcome(NamedTuple):
    """What came of an attack."""

    measured: str
    met: bool


class Attack(NamedTuple):
    """One kind of attack."""

    what: str
    target: str
    play: Callable[[Server], Outcome]


def width_beyond_all(server: Server) -> Outcome:
    """By a link, by the slider, by the value of B, and by a width that no number of heads divides."""
    visitor = Visitor(server.url)
    for name in ("hidden_dim", "b.hidden_dim", "num_heads", "context_length"):
        open_link(server.url, f"{name}={HUGE}")
    ways = [
        {"field__hidden_dim": HUGE},
        {"field__num_layers": HUGE},
        {"field__steps": HUGE},
        wide_b(HUGE),
        wide_b(10**16 + 61),
    ]
    words = [refusal_of(lambda way=way: visitor.ask("start", "click", **way)) for way in ways]
    visitor.leave()
    return Outcome(f"{sum(map(bool, words))} of {len(ways)} refused", all(words))


def wide_b(width: float) -> dict[str, object]:
    """The settings of a comparison with a side of this width."""
    return {"switch": "hidden_dim", "switch__number": width, "field__hidden_dim": 48, "field__num_heads": 3}


def open_link(url: str, query: str) -> bool:
    """Get the page by a link, and what it asks for at once; -> whether it has the settings of the link."""
    with httpx.Client(timeout=120, verify=False) as http:
        http.get(f"{url}?{query}")
        answer = http.post(
            f"{url}/{API}/run/predict?{query}",
            json={"data": [], "fn_index": handler_of(url, "on_load"), "session_hash": os.urandom(6).hex()},
        )
        return answer.status_code == 200 and "These are the settings of the link." in answer.text


@functools.cache
def handler_of(url: str, name: str) -> int:
    """The number by which a page calls a handler."""
    config = httpx.get(f"{url}/config").json()
    return next(handler["id"] for handler in config["dependencies"] if handler["api_name"] == name)


def class_opens_a_link(server: Server) -> Outcome:
    """Sixty pupils within two seconds."""

    def pupil(number: int) -> tuple[bool, float]:
        time.sleep(2 * number / PUPILS)
        began = time.perf_counter()
        return open_link(server.url, "hidden_dim=32&steps=100&norm=rmsnorm"), time.perf_counter() - began

    handler_of(server.url, "on_load")  # as the page says it, which they have
    with ThreadPoolExecutor(PUPILS) as pupils:
        found = list(pupils.map(pupil, range(PUPILS)))
    arrived, seconds = sum(here for here, _ in found), sorted(took for _, took in found)
    return Outcome(f"{arrived} of {PUPILS}; median {seconds[len(seconds) // 2]:.1f} s", arrived == PUPILS)


def one_session_with_many_requests(server: Server) -> Outcome:
    """And another, who wants one thing."""
    greedy, modest = Visitor(server.url), Visitor(server.url)
    let = sum(not refusal_of(lambda: greedy.call("prompt", "change", prompt="def ")) for _ in range(45))
    began = time.perf_counter()
    words = refusal_of(lambda: modest.ask("prompt", "change", prompt="def "))
    seconds = time.perf_counter() - began
    greedy.leave()
    modest.leave()
    return Outcome(f"{let} of 45 let in; the other after {seconds:.1f} s {words}", not words and seconds < 5)


def numbers_that_overflow(server: Server) -> Outcome:
    """The largest float as a ratio of widths."""
    visitor = Visitor(server.url)
    ways = [{"field__mlp_ratio": LARGEST}, {"switch": "mlp_ratio", "switch__number": LARGEST}]
    words = [refusal_of(lambda way=way: visitor.ask("start", "click", **way)) for way in ways]
    visitor.leave()
    return Outcome(f"{sum(map(bool, words))} of {len(words)} refused", all(words))


def broken_addresses(server: Server) -> Outcome:
    """A Host of 60 kB, and some that are none."""
    hosts = [b"a" * 60_000, b"[", b"a b", b"\xff"]
    answers = [first_line(server, b"GET / HTTP/1.1\r\nHost: " + host + b"\r\n\r\n") for host in hosts]
    return Outcome(", ".join(answers), all(answer.startswith("HTTP/1.1 4") for answer in answers))


def first_line(server: Server, request: bytes) -> str:
    """The status line of the answer to raw bytes."""
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(request)
        return connection.recv(1000).split(b"\r\n")[0].decode("latin-1")


def long_texts(server: Server) -> Outcome:
    """Six Starts within a second, each with a text of 250,000 characters."""
    visitors = [Visitor(server.url) for _ in range(6)]

    def start(number: int) -> str:
        time.sleep(number / 6)
        settings = {"field__corpus": ":own", "field__text": TEXT, "field__steps": 50}
        return refusal_of(lambda: visitors[number].call("start", "click", **settings))

    with ThreadPoolExecutor(6) as starts:
        words = list(starts.map(start, range(6)))
    time.sleep(SHORTEST)
    for visitor in visitors:
        visitor.leave()
    return Outcome(f"{words.count('')} of 6 let in", not any(words))


def large_bodies(server: Server) -> Outcome:
    """Three times 120 MB to a route that is none for uploads."""
    before = server.memory()
    body = b'{"data": ["' + b"x" * 120_000_000 + b'"]}'

    def send(path: str) -> int:
        try:
            return httpx.post(f"{server.url}/{API}/{path}", content=body, timeout=120).status_code
        except httpx.HTTPError:
            return 413  # refused while it still sent

    with ThreadPoolExecutor(3) as senders:
        codes = list(senders.map(send, ["run/upload", "call/upload", "queue/join"]))
    grown = (server.memory() - before) / MEGABYTE
    return Outcome(f"{codes}, {grown:+.0f} MB", all(code >= 400 for code in codes) and grown < 50)


def files_left(server: Server) -> Outcome:
    """One broken off, one request of many files, and one that no page asks for."""
    address = server.url.removeprefix("http://").split(":")
    head = b"POST /gradio_api/upload HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\n"
    part = b'--b\r\nContent-Disposition: form-data; name="files"; filename="a.txt"\r\n\r\n'
    with socket.create_connection((address[0], int(address[1]))) as connection:
        connection.sendall(head + b"Content-Length: 5000000\r\n\r\n" + part + b"x" * 900_000)
        time.sleep(0.5)
    many = {f"f{i}": (f"{i}.txt", b"x" * 5_000_000) for i in range(40)}
    with contextlib.suppress(httpx.HTTPError):
        httpx.post(f"{server.url}/{API}/upload", files=many, timeout=60)
    time.sleep(1)
    left = sum(path.stat().st_size for path in Path(server.uploads.name).rglob("*") if path.is_file())
    return Outcome(f"{left / MEGABYTE:.1f} MB left", left < MEGABYTE)


def closing_heartbeats(server: Server) -> Outcome:
    """Four hundred connections of pages that never called anything, opened and closed."""
    visitor = Visitor(server.url, present=False)
    for _ in range(400):
        visitor.session = os.urandom(6).hex()
        visitor.connection().close()
    visitor.leave()
    return Outcome("closed", True)


def broken_connection(server: Server) -> Outcome:
    """A visitor's connection ends for a second, after a run; then the page asks for its run, as a browser's does."""
    visitor = Visitor(server.url)
    frame = visitor.ask("start", "click", field__steps=50, field__num_layers=1)
    state = str(visitor.output_of(frame, "start", "click", "run-state"))
    assert visitor.heart is not None
    visitor.heart.close()
    time.sleep(1)
    visitor.heart = visitor.connection()
    run = re.findall(r'data-run="([^"]+)"', state)[0]
    asked = visitor.join(visitor.handler("reconnect", "click")["id"], [run, "running"])
    after = str(list(visitor.listen(asked))[-1])
    visitor.leave()
    kept = "no longer has this run" not in after and "Trained on" in after
    return Outcome("it is there" if kept else "it is gone", kept)


def nonsense(server: Server) -> Outcome:
    """Requests that no page sends."""
    before = len(server.output())
    bodies = [b"", b"{", b"[]", b"null", b'{"fn_index": 99999, "data": []}', b'{"fn_index": "x", "data": 7}',
              b'{"fn_index": 0, "data": [], "session_hash": 7}', b'{"data": ["\\ud800"], "fn_index": 0}',
              b"[" * 100_000, b'{"fn_index": 0, "data": {}, "event_data": []}']  # fmt: skip
    paths = ["run/predict", "run/nothing", "queue/join", "call/attention", "component_server", "reset", "cancel",
             "upload", "stream/x/y/z", "file=/etc/passwd", "queue/data", "heartbeat/\ud83d", "theme.css"]  # fmt: skip
    headers = [
        {},
        {"Content-Type": "application/json"},
        {"Content-Type": "multipart/form-data"},
        {"Origin": "http://["},
    ]
    with httpx.Client(timeout=5) as http:
        for path in paths:
            for body in bodies:
                for header in headers:
                    with contextlib.suppress(httpx.HTTPError, UnicodeError):
                        http.post(f"{server.url}/{API}/{path}", content=body, headers=header)
            with contextlib.suppress(httpx.HTTPError, UnicodeError), http.stream("GET", f"{server.url}/{API}/{path}"):
                pass
    written = len(server.output()) - before
    return Outcome(
        f"{len(paths) * len(bodies) * len(headers)} requests, {written:,} characters logged", written < 50_000
    )


def thirty_starts(server: Server) -> Outcome:
    """Thirty press Start within five seconds: is what each is told, again and again, what comes true?"""
    visitors = [Visitor(server.url) for _ in range(30)]

    def start(number: int) -> list[float]:
        """Of each time that was told: seconds told over those that it took from then on."""
        time.sleep(5 * number / len(visitors))
        visitor = visitors[number]
        event = visitor.call("start", "click", field__steps=60 + number, field__num_layers=2)
        told: list[tuple[float, float]] = []
        for frame in visitor.listen(event):
            state = str(visitor.output_of(frame, "start", "click", "run-state"))
            if "waiting" not in state:
                break
            if "begins in about" in state:
                told.append((time.monotonic(), seconds_in(state)))
        began = time.monotonic()
        return [seconds / (began - then) for then, seconds in told if began - then > LEAST_WAIT]

    with ThreadPoolExecutor(len(visitors)) as starts:
        ratios = sorted(ratio for told in starts.map(start, range(len(visitors))) for ratio in told)
    for visitor in visitors:
        visitor.leave()
    near = sum(1 / 1.5 <= ratio <= 1.5 for ratio in ratios)
    if not ratios:
        return Outcome("nobody was told a time", False)
    median = ratios[len(ratios) // 2]
    return Outcome(
        f"{len(ratios)} times told, told / true median {median:.2f}, {near} within 1.5", near > 0.8 * len(ratios)
    )


def seconds_in(state: str) -> float:
    """Those of the words that somebody who waits is told."""
    number, unit = re.findall(r"begins in about ([\d.]+) (s|min|h)\b", state)[0]
    return float(number) * {"s": 1, "min": 60, "h": 3600}[unit]


def waiting_visitors(server: Server) -> Outcome:
    """The processor's time that the server takes while 28 wait for two long runs."""
    visitors = [Visitor(server.url) for _ in range(30)]
    events = [v.call("start", "click", field__steps=5000, field__num_layers=2) for v in visitors]
    threads = [threading.Thread(target=listen, args=(v, e), daemon=True) for v, e in zip(visitors, events, strict=True)]
    for thread in threads:
        thread.start()
    time.sleep(3)
    before, began = server.cpu_seconds(), time.monotonic()
    time.sleep(5)
    share = (server.cpu_seconds() - before) / (time.monotonic() - began)
    for visitor in visitors:
        refusal_of(lambda visitor=visitor: visitor.call("stop", "click"))
        visitor.leave()
    return Outcome(f"{share:.0%} of a core", share < 0.3)


def listen(visitor: Visitor, event: Event) -> None:
    """Read what comes, as a page does."""
    with contextlib.suppress(Refused, httpx.HTTPError):
        for _ in visitor.listen(event):
            pass


ATTACKS = {
    "rest": Attack("nothing at all", "-", lambda server: Outcome("", True)),
    "width": Attack("sizes beyond all bounds", "refused", width_beyond_all),
    "class": Attack(f"{PUPILS} open a link within 2 s", "all have its settings", class_opens_a_link),
    "greedy": Attack("45 requests of one session", "others are answered", one_session_with_many_requests),
    "overflow": Attack("the largest float", "refused in words", numbers_that_overflow),
    "addresses": Attack("Hosts of 60 kB, and broken", "refused", broken_addresses),
    "texts": Attack("6 Starts with 250,000 characters in 1 s", "let in", long_texts),
    "bodies": Attack("3 x 120 MB to other routes", "refused, < 50 MB more", large_bodies),
    "files": Attack("uploads broken off, and 40 x 5 MB", "nothing left", files_left),
    "hearts": Attack("400 pages that close at once", "-", closing_heartbeats),
    "nonsense": Attack("requests that no page sends", "< 50,000 characters logged", nonsense),
    "break": Attack("a connection that breaks for 1 s", "the run is there", broken_connection),
    "thirty": Attack("30 Starts within 5 s", "80 % of times within 1.5", thirty_starts),
    "waiting": Attack("28 who wait", "< 30 % of a core, with two who train", waiting_visitors),
}


def play(server: Server, attack: Attack) -> Row:
    """One attack, with another visitor at the door meanwhile."""
    before = server.seconds_of_threads()
    with Watch(server.url, 0.03) as watch:
        began = time.monotonic()
        outcome = attack.play(server)
        time.sleep(max(0.0, SHORTEST - (time.monotonic() - began)))
    p95 = watch.percentile(0.95)
    computed, waited = busiest_thread(before, server.seconds_of_threads())
    pages = (
        f"pages p95 {p95 * 1e3:.0f} ms, longest {max(watch.seconds) * 1e3:.0f}; the server computed "
        f"{computed:.1f} s and waited {waited:.1f} s for a core"
    )
    return Row(
        attack.what,
        f"{attack.target}; p95 < 100 ms",
        f"{outcome.measured}; {pages}",
        outcome.met and p95 < MOST_SECONDS,
    )


def busiest_thread(
    before: dict[str, tuple[float, float]], after: dict[str, tuple[float, float]]
) -> tuple[float, float]:
    """What the thread that computed most since then has computed, and waited: the one that answers requests."""
    since = [
        (computed - before.get(thread, (0.0, 0.0))[0], waited - before.get(thread, (0.0, 0.0))[1])
        for thread, (computed, waited) in after.items()
    ]
    return max(since)


def main() -> int:
    """Print the table; the exit code is 0 where every target is met."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", choices=[*ATTACKS, []], help="which attacks; all where none is named")
    names = parser.parse_args().names or list(ATTACKS)
    with Server() as server:
        Visitor(server.url).leave()
        time.sleep(3)
        rows = []
        for name in names:
            rows.append(play(server, ATTACKS[name]))
            print(f"  {name}: {rows[-1].measured}", flush=True)
        count = server.output().count("Traceback")
        rows.append(
            Row("kinds of failures in the log", f"each once, at most {MOST_KINDS}", str(count), count <= MOST_KINDS)
        )
        log = server.output()
    print(table("hostile", rows))
    if count > MOST_KINDS:
        print(log[-4000:])
    return finish(rows)


if __name__ == "__main__":
    sys.exit(main())
