"""Thirty browsers of a class on one server: does everybody finish, and does the teacher see each result at once?

    python -m benchmarks.classroom [--students 29] [--steps 40]

Two students and the teacher have pages in Chromium, all other students speak HTTP. All press Start within five seconds.
Then the same again with a server that is killed in the middle. Others at work on the machine only make the figures
worse, so the load average is printed with them.
"""

from __future__ import annotations

import argparse
import copy
import os
import shutil
import sqlite3
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

from benchmarks.hostile import busiest_thread
from benchmarks.visitors import Row, Server, Visitor, Watch, finish, percentile, table
from tlab.ui.classroom.classroom import CLASSES_FILE
from tlab.ui.tabs.learn.class_panel import SECONDS_OF_STUDENT

IN_BROWSER = 2  # students
SECONDS_TO_START = 5.0  # between the first who presses Start and the last
SECONDS_TO_FINISH = 600.0
SECONDS_BETWEEN_LOOKS = 0.02  # at what the server has taken
# When the teacher's page shows one more result, by the clock of its machine, which is this one.
WATCH_COUNT = """() => {
  window.shownAt = [];
  const look = () => {
    const count = Number([...document.querySelectorAll(".tl-class-counts dd")].at(-1)?.textContent ?? 0);
    while (window.shownAt.length < count) window.shownAt.push(Date.now() / 1000);
  };
  new MutationObserver(look).observe(document.getElementById("class-panel"), { childList: true, subtree: true });
}"""


class Student:
    """One who joins, predicts, and trains by HTTP."""

    def __init__(self, url: str, code: str, number: int) -> None:
        self.url, self.code, self.number = url, code, number
        self.visitor = Visitor(url)
        self.cookie = self.visitor.http.get(url).headers["set-cookie"].partition(";")[0]
        self.visitor.http.headers["cookie"] = self.cookie  # by hand, since that of a Space is for HTTPS alone
        self.is_done, self.told_place, self.words = False, False, ""

    @property
    def has_result(self) -> bool:
        """Whether their page of the class shows one."""
        return 'data-class-state="done"' in str(self.ask("class"))

    def again(self) -> Student:
        """The same browser, whose page is loaded again: of that a server that was started again knows nothing."""
        other = copy.copy(self)
        other.visitor = Visitor(self.url)
        other.visitor.http.headers["cookie"] = self.cookie
        self.visitor.leave()
        other.ask("class-go")
        return other

    def ask(self, name: str, **selection: Any) -> list[Any]:
        """What the server answers to a page of the class."""
        handler = self.visitor.handler(f"{name}-selection", "input")
        sent = {"role": "student", "code": self.code, "act": "", "where": "", **selection}
        values = {**self.visitor.values, self.visitor.named[f"{name}-selection"]: sent}
        answer = self.visitor.http.post(
            f"{self.visitor.url}/run/predict",
            json={
                "fn_index": handler["id"],
                "data": [values.get(i) for i in handler["inputs"]],
                "session_hash": self.visitor.session,
            },
        )
        data = answer.raise_for_status().json()["data"]
        for component, value in zip(handler["outputs"], data, strict=True):
            if isinstance(value, dict) and value.get("__type__") == "update":
                if "value" in value:
                    self.visitor.values[component] = value["value"]
            else:
                self.visitor.values[component] = value
        return data

    def predict(self) -> None:
        """Join, predict, and take over the settings and the seed that come back."""
        self.ask("class")
        self.ask("class-go", act="predict", winner="AB"[self.number % 2], by=0.1)

    def train(self, wait: float) -> None:
        """Press Start after so many seconds, and stay until the run has ended."""
        time.sleep(wait)
        try:
            event = self.visitor.call("start", "click")
            for frame in self.visitor.listen(event):
                self.words = str(self.visitor.output_of(frame, "start", "click", "run-state"))
                self.told_place = self.told_place or "in the queue" in self.words
                self.is_done = self.is_done or "tl-badge done" in self.words
        except Exception as error:  # counted as one who did not finish
            self.words = repr(error)


class Clock:
    """Lets the page of each student ask for what is new, as pages in a browser do by themselves."""

    def __init__(self, students: Sequence[Student]) -> None:
        self.students, self.seconds, self.is_over = students, list[float](), threading.Event()
        self.thread = threading.Thread(target=self.tick, daemon=True)

    def tick(self) -> None:
        """In a thread: one after the other, each as often as a page does."""
        while True:
            for student in self.students:
                if self.is_over.wait(SECONDS_OF_STUDENT / len(self.students)):
                    return
                began = time.perf_counter()
                student.ask("class")
                self.seconds.append(time.perf_counter() - began)

    def __enter__(self) -> Clock:
        self.thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self.is_over.set()
        self.thread.join()


class TakenResults:
    """When the server took each result of its one class, as the file of classes says.

    Attributes:
        at: seconds by the clock of this machine, a result after the other.
    """

    def __init__(self, server: Server) -> None:
        assert server.runs is not None
        self.file, self.at, self.is_over = server.runs / CLASSES_FILE, list[float](), threading.Event()
        self.thread = threading.Thread(target=self.look, daemon=True)

    def look(self) -> None:
        """In a thread: again and again."""
        with closing(sqlite3.connect(f"file:{self.file}?mode=ro", uri=True)) as classes:
            while not self.is_over.wait(SECONDS_BETWEEN_LOOKS):
                (count,) = classes.execute("SELECT count(result) FROM answers").fetchone()
                self.at += [time.time()] * (count - len(self.at))

    def __enter__(self) -> TakenResults:
        self.thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self.is_over.set()
        self.thread.join()


def open_class(teacher: Page, url: str, steps: int) -> str:
    """-> the code."""
    teacher.goto(f"{url}/?teach")
    teacher.fill("[name=class-link]", f"?steps={steps}&num_layers=2&hidden_dim=32&b.norm=none")
    teacher.click("[data-class-submit=open] button")
    teacher.wait_for_selector("[data-class-code]")
    teacher.evaluate(WATCH_COUNT)
    return str(teacher.get_attribute("[data-class-code]", "data-class-code"))


def predict_in_browser(page: Page, url: str, code: str) -> None:
    """The same on a page in Chromium."""
    page.goto(f"{url}/?class={code}")
    page.check("[name=class-winner][value=A]")
    page.fill("[name=class-by]", "0.2")
    page.click(".tl-class-predict .tl-go")
    page.wait_for_selector("[data-class-state=train]")


def shown_counts(teacher: Page) -> list[int]:
    """How many are in, have predicted, and have trained, as the teacher's page says."""
    teacher.wait_for_selector(".tl-class-counts")  # the page is loaded again where a server was started again
    return [int(count) for count in teacher.locator(".tl-class-counts dd").all_inner_texts()]


def start_all(students: Sequence[Student], pages: Sequence[Page], seconds: float) -> None:
    """Let everybody press Start within so many seconds."""
    for number, student in enumerate(students):
        threading.Thread(target=student.train, args=(seconds * number / len(students),), daemon=True).start()
    for page in pages:
        page.click("#start")


def wait_for_results(teacher: Page, count: int) -> None:
    """Until the teacher's page has shown so many, or it takes too long."""
    until = time.monotonic() + SECONDS_TO_FINISH
    while time.monotonic() < until and shown_counts(teacher)[-1] < count:
        teacher.wait_for_timeout(500)


def measure(server: Server, browser: Browser, num_students: int, steps: int) -> list[Row]:
    """The whole lesson, and what came of it."""
    pages = [browser.new_context(viewport={"width": 1440, "height": 900}).new_page() for _ in range(1 + IN_BROWSER)]
    for page in pages:
        page.set_default_timeout(120_000)
    teacher, *others = pages
    code = open_class(teacher, server.url, steps)
    students = [Student(server.url, code, number) for number in range(num_students - IN_BROWSER)]
    for student in students:
        student.predict()
    for page in others:
        predict_in_browser(page, server.url, code)
        page.wait_for_timeout(2000)  # until the settings are in place
    before, began = server.seconds_of_threads(), time.monotonic()
    with Watch(server.url, 0.2) as watch, Clock(students) as clock, TakenResults(server) as taken:
        start_all(students, others, SECONDS_TO_START)
        teacher.bring_to_front()  # a browser gives the pages behind it less of the processor
        wait_for_results(teacher, num_students)
    computed, waited = busiest_thread(before, server.seconds_of_threads())
    seconds = time.monotonic() - began
    shown_at = teacher.evaluate("window.shownAt")
    behind = [seen - came for came, seen in zip(taken.at, shown_at, strict=False)]
    last, median = (percentile(behind, share) if behind else float("nan") for share in (0.95, 0.5))
    for student in students:
        if not student.is_done:
            print("  not finished:", student.words[:200])
        student.visitor.leave()
    told = sum(student.told_place for student in students)
    asked = percentile(clock.seconds, 0.95)
    return [
        Row("runs of the class that finished", "all", f"{len(shown_at)} of {num_students}; {told} of {len(students)} "
            "were told a place", len(shown_at) == num_students),
        Row("another's page, p95", "< 100 ms", f"{1e3 * watch.percentile(0.95):.0f} ms of {len(watch.seconds)} "
            f"(median {1e3 * watch.percentile(0.5):.0f}); in {seconds:.0f} s the thread that answers computed for "
            f"{computed:.1f} s and waited {waited:.1f} s for a core", watch.percentile(0.95) < 0.1),
        Row(f"what a student's page asks every {SECONDS_OF_STUDENT:.0f} s, p95", "< 100 ms",
            f"{1e3 * asked:.0f} ms of {len(clock.seconds)}", asked < 0.1),
        Row("until the teacher's page is new after a result, p95", "< 2 s", f"{last:.1f} s (median {median:.1f})",
            last < 2),
        Row("tracebacks in the log", "0", str(server.output().count("Traceback")),
            "Traceback" not in server.output()),
    ]  # fmt: skip


def measure_end(server: Server, browser: Browser, num_students: int, steps: int) -> list[Row]:
    """A lesson in the middle of which the server is killed: all that the class had is there, and everybody finishes."""
    teacher, student_page = (browser.new_context().new_page() for _ in range(2))
    for page in (teacher, student_page):
        page.set_default_timeout(120_000)
    code = open_class(teacher, server.url, steps)
    students = [Student(server.url, code, number) for number in range(num_students - 1)]
    for student in students:
        student.predict()
    predict_in_browser(student_page, server.url, code)
    student_page.wait_for_timeout(2000)
    start_all(students, [student_page], 1.0)
    wait_for_results(teacher, num_students // 3)
    results, before = [student.has_result for student in students], shown_counts(teacher)
    server.kill()
    server.start()
    teacher.wait_for_timeout(5000)  # its page asks again by itself
    after = shown_counts(teacher)
    again = [student.again() for student in students]
    kept = sum(known and not student.has_result for known, student in zip(results, again, strict=True))
    start_all([student for student in again if not student.has_result], [], 1.0)
    if not student_page.locator("[data-class-state=done]").count():
        student_page.wait_for_selector("[data-class-state=train]")
        student_page.locator("#start:enabled, #resume:enabled").first.click()
    wait_for_results(teacher, num_students)
    finished = shown_counts(teacher)
    lost = kept + sum(max(0, was - now) for was, now in zip(before, after, strict=True))
    return [
        Row("the server is killed: in, predicted, trained", "none less", f"{before} before, {after} after", not lost),
        Row("and all finish in the end", "all", f"{finished[-1]} of {num_students}", finished[-1] == num_students),
    ]


def main() -> int:
    """Print the tables; the exit code is 0 where every target is met."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--students", type=int, default=29)
    parser.add_argument("--steps", type=int, default=40)
    given = parser.parse_args()
    rows: list[Row] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for lesson in (measure, measure_end):
            with tempfile.TemporaryDirectory() as folder, Server(runs=Path(folder)) as server:
                before = os.getloadavg()[0]
                found = lesson(server, browser, given.students, given.steps)
                print(table(f"a class of {given.students} and its teacher, load average {before:.1f} before", found))
                rows += found
        browser.close()
    return finish(rows)


if __name__ == "__main__":
    sys.exit(main())
