"""The app without a browser: its controls, its runs in worker processes, its limits, and what a client may send."""

import asyncio
import base64
import contextlib
import dataclasses
import gc
import itertools
import json
import math
import os
import signal
import subprocess
import sys
import time
import urllib.request
import warnings

import numpy as np
import pytest

with warnings.catch_warnings():
    # While it is imported, Gradio makes event loops that it never closes. Nothing of ours is imported here.
    warnings.simplefilter("ignore", ResourceWarning)
    gr = pytest.importorskip("gradio", reason="gradio is not installed")
    gc.collect()

from conftest import NOISE_OF_GRADIO
from tlab import ModelConfig, TrainConfig
from tlab.config import options
from tlab.nn.activations import ACTIVATIONS, Relu
from tlab.records import StepRecord
from tlab.text import CORPORA, TOKENIZERS
from tlab.ui.app import build, launch_options
from tlab.ui.attention_tab import head_words, readable_text
from tlab.ui.controls import OWN_TEXT, Controls
from tlab.ui.curve import MAX_BINS, Curve
from tlab.ui.demo import demo_checkpoint, demo_run
from tlab.ui.generate_tab import GenerateTab
from tlab.ui.limits import LOCAL, PUBLIC, TooLargeError, check_limits, limits_here
from tlab.ui.parts import chart_value, map_value, run_words, sample_html, state_html
from tlab.ui.runs import DONE, FAILED, PAUSED, RUNNING, STOPPED, WAITING, BusyError, Run, Runs
from tlab.ui.store import Store, size_of
from tlab.ui.train_tab import TrainTab, refusal, shipped_frame
from tlab.ui.worker import Job, Sample, make_trainer, read_corpus

pytestmark = pytest.mark.filterwarnings(*NOISE_OF_GRADIO)

EVIL = '<img src=x onerror="window.hacked=1">'
TEXT = "the quick brown fox jumps over the lazy dog; " * 40
SMALL = {"context_length": 8, "hidden_dim": 8, "num_layers": 1, "num_heads": 2}


def job(steps: int = 40, text: str | None = TEXT, **training) -> Job:
    """A run that takes a moment."""
    return Job("your own text", text, "char", SMALL, TrainConfig(steps=steps, **training).to_json())


def wait_for(condition, seconds: float = 20):
    """Until it holds."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.005)


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.fixture(scope="module", autouse=True)
def leftovers_of_gradio():
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.fixture
def runs():
    runs = Runs(LOCAL, places=1)
    yield runs
    runs.close()
    wait_for(lambda: runs.free == 1)
    runs.close()  # the last relay may have prepared a worker meanwhile


@pytest.fixture(scope="module")
def controls() -> Controls:
    with gr.Blocks(analytics_enabled=False):
        made = Controls()
        made.build()
    return made


def component(controls: Controls, name: str):
    return controls.components[controls.names.index(name)]


# ------------------------------------------------------------------------------------------------ controls

SWITCHES = {
    **{name: option.registry for c in (ModelConfig, TrainConfig) for name, option in options(c).items()},
    "corpus": CORPORA,
    "tokenizer": TOKENIZERS,
}


@pytest.mark.parametrize(
    ("name", "key"), [(name, key) for name, registry in SWITCHES.items() for key in registry or ()]
)
def test_every_registered_key_is_a_choice_under_its_label(controls, name, key):
    assert (SWITCHES[name].entries[key].label, key) in component(controls, name).choices


@pytest.fixture
def mish():
    @ACTIVATIONS.add("mish", label="Mish of this test", formula=r"x \tanh(\ln(1 + e^x))")
    class Mish(Relu):
        """Bends twice."""

    yield Mish
    ACTIVATIONS.remove("mish")


def test_an_activation_that_is_registered_at_run_time_is_a_choice_of_the_next_page(mish):
    page = build(Runs(LOCAL, places=1))
    assert any(
        ("Mish of this test", "mish") in getattr(block, "choices", ())
        for block in page.blocks.values()
        if getattr(block, "elem_id", None) == "field-activation"
    )


def test_every_field_of_the_configs_has_a_control_but_the_vocabulary(controls):
    fields = [*options(ModelConfig), *options(TrainConfig)]
    assert set(controls.names) == {*fields, "corpus", "text", "tokenizer"} - {"vocab_size"}


def test_untouched_controls_ask_for_the_default_run(controls):
    asked = controls.job([c.value for c in controls.components])
    assert ModelConfig(vocab_size=9, **asked.model) == ModelConfig(vocab_size=9)
    assert TrainConfig(**asked.training) == TrainConfig()
    assert asked.text is None


def test_the_page_opens_on_the_run_that_start_would_repeat():
    shipped = demo_checkpoint()
    assert shipped.train_config == TrainConfig()
    assert shipped.model_config == ModelConfig(vocab_size=shipped.model_config.vocab_size)


def test_the_shipped_run_is_shown_whole():
    run = demo_run()
    assert (run.state, run.step) == (DONE, run.steps)
    assert run.validation_loss < 2.0
    assert len(run.sample.text) > 100


# ------------------------------------------------------------------------------------------------ pictures


def record(step: int, loss: float, validation_loss: float | None = None) -> StepRecord:
    return StepRecord(step, loss, validation_loss, 1e-3, 1.0, step * 10, step * 0.01)


@pytest.mark.parametrize("steps", [1, MAX_BINS, MAX_BINS + 1, 10_000])
def test_a_curve_of_any_length_fits_and_loses_no_peak(steps):
    losses = np.random.default_rng(0).normal(3, 1, steps)
    curve = Curve()
    for i, loss in enumerate(losses.tolist()):
        curve.add(record(i + 1, loss))
    assert len(curve.bins) <= MAX_BINS
    assert (min(b[1] for b in curve.bins), max(b[2] for b in curve.bins)) == (losses.min(), losses.max())


def test_a_curve_keeps_every_validation_point_at_its_step():
    curve = Curve()
    for step in range(1, 2001):
        curve.add(record(step, 2.0, 1.5 if step % 500 == 0 else None))
    assert curve.validation == [[500, 1.5], [1000, 1.5], [1500, 1.5], [2000, 1.5]]


def frames_of_the_shipped_run() -> list[dict]:
    curve = Curve()
    frames = []
    for item in demo_checkpoint().records:
        curve.add(item)
        frames.append(curve.to_json())
    return frames


def test_while_bins_are_as_wide_a_frame_only_adds_to_the_one_before():
    frames = frames_of_the_shipped_run()
    pairs = [(a, b) for a, b in itertools.pairwise(frames) if a["width"] == b["width"]]
    assert all(after["bins"].startswith(before["bins"]) for before, after in pairs)


def test_no_frame_asks_gradio_to_remove_anything():
    # In lists inside lists it removes the wrong members; see Curve.to_json.
    frames = [[{"runs": [frame]}] for frame in frames_of_the_shipped_run()]
    edits = [edit[0] for before, after in itertools.pairwise(frames) for edit in gr.utils.diff(before, after)]
    assert "delete" not in edits


def test_a_frame_says_how_full_its_last_bin_is():
    curve = Curve()
    for step in range(1, 2 * MAX_BINS + 2):  # halved twice: one step over 150 bins of four
        curve.add(record(step, 2.0))
    frame = curve.to_json()
    assert (frame["bins"].count(";"), frame["width"], frame["filled"]) == (150, 4, 1)


def test_what_is_not_finite_never_reaches_the_chart():
    run = Run("s", job(), LOCAL)
    for step, loss in enumerate([3.0, math.inf, math.nan], 1):
        run.curve.add(record(step, loss))
    assert json.loads(json.dumps(chart_value(run), allow_nan=False))["runs"][0]["last"] == "3.0,3.0,3.0,3.0"


def test_the_chart_has_words_for_those_who_cannot_see_it():
    assert "1.76 nats" not in chart_value(demo_run())["alternative"]
    assert "Validation loss: 1.76" in chart_value(demo_run())["alternative"]


def test_a_map_carries_its_weights_to_four_digits():
    weights = np.random.default_rng(0).dirichlet(np.ones(5), size=5)
    sent = base64.b64decode(map_value("abcde", weights, "")["weights"])
    np.testing.assert_allclose(np.frombuffer(sent, "<u2").reshape(5, 5) / 65535, weights, atol=1e-5)


def test_a_head_that_looks_at_the_token_before_is_said_to():
    weights = np.eye(12, k=-1)
    weights[0, 0] = 1
    assert "layer 1 looks at the token before: 100%" in head_words(weights, np.arange(12), 0, 3)


def test_a_head_that_looks_at_all_alike_is_said_to():
    weights = np.tril(np.ones((64, 64))) / np.arange(1, 65)[:, None]
    assert "no single favourite" in head_words(weights, np.arange(64), 0, 0)


def test_a_text_that_a_model_cannot_read_gives_way_to_one_that_it_can():
    assert readable_text(demo_checkpoint(), "日本語", "import this") == "import this"


@pytest.mark.parametrize(
    "made",
    [
        lambda run: sample_html(run),
        lambda run: state_html(run, run.state, run_words(run, 0)),
        lambda run: refusal(ValueError(EVIL)).message,
    ],
    ids=["sample", "state", "toast"],
)
def test_markup_from_a_visitor_is_shown_and_not_obeyed(made):
    run = Run("s", job()._replace(corpus=EVIL), LOCAL)
    run.sample = Sample(1, EVIL, None)
    run.state = RUNNING
    assert "<img" not in made(run)
    assert "&lt;img src=x" in made(run)


# ------------------------------------------------------------------------------------------------ store and limits


def test_the_store_lets_the_least_recently_used_go_when_bytes_run_out():
    one = demo_checkpoint()
    store = Store(budget=2 * size_of(one) + 1)
    store.put("a", one)
    store.put("b", one)
    store.get("a")
    store.put("c", one)
    assert [store.get(name) is not None for name in "abc"] == [True, False, True]


def test_the_store_never_holds_more_than_its_budget():
    store = Store(budget=10)
    store.put("a", demo_checkpoint())
    assert (store.used, store.get("a")) == (0, None)


def test_a_space_has_the_public_limits(monkeypatch):
    monkeypatch.setenv("SPACE_ID", "somebody/lab")
    assert limits_here() is PUBLIC


def test_the_public_page_allows_the_default_run():
    check_limits(PUBLIC, ModelConfig(vocab_size=256), TrainConfig())


@pytest.mark.parametrize(
    ("model", "training", "words"),
    [
        ({}, {"steps": 6000}, "5,000 in one run"),
        ({"hidden_dim": 256, "num_layers": 4}, {}, "times the arithmetic"),
        ({"hidden_dim": 10**9, "num_heads": 1}, {"steps": 1}, "GB of memory"),
        ({"context_length": 10**7}, {"steps": 1}, "GB of memory"),
    ],
)
def test_the_public_page_refuses_by_the_whole_cost_before_anything_is_made(model, training, words):
    with pytest.raises(TooLargeError, match=words):
        check_limits(PUBLIC, ModelConfig(vocab_size=256, **model), TrainConfig(**training))


def test_a_path_is_no_corpus(runs):
    with pytest.raises(ValueError, match="no text called '/etc/passwd'"):
        runs.start("s", job()._replace(corpus="/etc/passwd", text=None))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty; give 20 characters"),
        ("abc", "only 3 characters"),
        ("a" * 100, "only one character"),
        ("".join(map(chr, range(0x4E00, 0x9E00))) * 4, "GB of memory"),
        ("ab" * 20, "take a longer text"),
    ],
    ids=["empty", "short", "one", "alphabet", "context"],
)
def test_a_text_that_is_refused_leaves_the_earlier_run_alone(text, words):
    runs = Runs(PUBLIC, places=1)
    first = runs.start("s", job(steps=5000))
    with pytest.raises(ValueError, match=words):
        runs.start("s", Job("your own text", text, "char", {}, TrainConfig(batch_size=64).to_json()))
    assert first.active
    assert runs.get(first.id) is first
    runs.close()
    wait_for(lambda: runs.free == 1)
    runs.close()


def test_a_full_queue_leaves_the_earlier_run_alone():
    runs = Runs(dataclasses.replace(LOCAL, waiting=0), places=1)
    mine = runs.of_session["s"] = Run("s", job(), LOCAL)
    with pytest.raises(BusyError):
        runs.start("s", job())
    assert runs.of_session["s"] is mine


def test_the_worker_checks_the_limits_with_the_vocabulary_that_it_finds():
    text = "".join(map(chr, range(0x4E00, 0x9E00))) * 4
    asked = Job("large alphabet", text, "char", {}, TrainConfig(batch_size=64).to_json())
    corpus = read_corpus(asked)
    with pytest.raises(TooLargeError, match="GB of memory"):
        make_trainer(asked._replace(limits=PUBLIC), corpus)


def test_an_emptied_field_is_named(controls):
    given = [None if c.elem_id == "field-learning_rate" else c.value for c in controls.components]
    with pytest.raises(ValueError, match="“Learning rate” is empty"):
        controls.job(given)


def test_a_text_beyond_the_limit_is_refused():
    with pytest.raises(TooLargeError, match="300,000 are allowed"):
        Runs(PUBLIC, places=1).start("s", job(text="x" * 300_001))


# ------------------------------------------------------------------------------------------------ runs


def test_a_worker_never_imports_gradio():
    code = "import sys, tlab.ui.worker; print('gradio' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"


def test_a_run_streams_and_finishes_with_its_model(runs):
    run = runs.start("s", job(steps=400))
    seen = set()
    wait_for(lambda: seen.add(run.step) or not run.active)
    assert (run.state, run.step) == (DONE, 400)
    assert len(seen) >= 2
    assert runs.store.get(run.id).step == 400


def test_the_worker_of_a_finished_run_is_gone(runs):
    run = runs.start("s", job())
    wait_for(lambda: run.worker is not None)
    pid = run.worker.process.pid
    wait_for(lambda: not run.active)
    assert gone(pid)


@pytest.mark.parametrize("size", [SMALL, {"hidden_dim": 512, "num_layers": 12, "context_length": 256}], ids=str)
def test_stop_ends_the_worker_process_within_a_second(runs, size):
    run = runs.start("s", job(steps=100_000)._replace(model=size))
    wait_for(lambda: run.state == RUNNING)
    pid = run.worker.process.pid
    began = time.monotonic()
    runs.stop(run)
    wait_for(lambda: gone(pid))
    assert time.monotonic() - began < 1
    wait_for(lambda: run.state == STOPPED)


def test_a_paused_run_goes_on_as_if_it_had_never_paused(runs):
    whole = runs.start("a", job(steps=600))
    wait_for(lambda: not whole.active)
    run = runs.start("b", job(steps=600))
    wait_for(lambda: run.step > 0)
    runs.pause(run)
    wait_for(lambda: not run.active)
    assert run.state == PAUSED
    runs.resume(run)
    wait_for(lambda: not run.active)
    assert (run.state, run.last.loss, run.validation_loss) == (DONE, whole.last.loss, whole.validation_loss)


def test_who_finds_all_workers_busy_is_told_the_place_in_the_queue_and_then_served(runs):
    first = runs.start("a", job(steps=100_000))
    wait_for(lambda: first.state == RUNNING)
    second = runs.start("b", job())
    assert (second.state, runs.place(second)) == (WAITING, 1)
    runs.stop(first)
    wait_for(lambda: second.state == DONE)


def test_no_run_is_ever_at_place_zero_of_the_queue(runs):
    run = Run("s", job(), LOCAL)
    assert "queue" not in run_words(run, 0)
    assert "Place 1 in the queue" in run_words(run, 1)


@pytest.mark.parametrize(("kept", "words"), [(True, "is kept for the other tabs"), (False, "no model to keep")])
def test_a_stopped_run_says_whether_its_model_is_kept(kept, words):
    run = Run("s", job(), LOCAL)
    run.state = STOPPED
    assert words in run_words(run, 0, kept)


def test_who_follows_a_forgotten_run_last_sees_the_shipped_one(runs):
    tab = TrainTab(runs, None)

    async def last_frame() -> list:
        frames = []
        run = runs.start("s", job(steps=100_000))
        async for frame in tab.follow(run):
            frames.append(frame)
            if run.step:
                tab.on_reset(run.id)
        return frames[-1]

    assert asyncio.run(last_frame()) == shipped_frame()


def test_a_full_queue_says_so():
    full = Runs(dataclasses.replace(LOCAL, waiting=0), places=1)
    with pytest.raises(BusyError, match="waiting already"):
        full.start("s", job())


def test_stop_in_the_queue_needs_no_worker(runs):
    first = runs.start("a", job(steps=100_000))
    wait_for(lambda: first.state == RUNNING)
    second = runs.start("b", job())
    runs.stop(second)
    wait_for(lambda: second.state == STOPPED)
    assert first.active


def test_a_killed_worker_fails_its_run_in_words_and_no_other(runs):
    run = runs.start("s", job(steps=100_000))
    wait_for(lambda: run.state == RUNNING)
    os.kill(run.worker.process.pid, signal.SIGKILL)
    wait_for(lambda: run.state == FAILED)
    assert "ended unexpectedly" in run.error
    after = runs.start("t", job())
    wait_for(lambda: after.state == DONE)


def test_settings_that_only_the_corpus_shows_to_be_wrong_fail_in_words(runs, tmp_path, monkeypatch):
    (tmp_path / "short.txt").write_text("too short for this context")
    monkeypatch.setenv("TLAB_DATA_DIR", str(tmp_path))
    run = runs.start("s", job(text=None)._replace(corpus="short", model={"context_length": 64}))
    wait_for(lambda: not run.active)
    assert run.state == FAILED
    assert "take a longer text" in run.error


def test_a_run_that_diverges_says_where_and_when(runs):
    run = runs.start("s", job(optimizer="sgd", learning_rate=1e4, gradient_clip=0.0, warmup_steps=0))
    wait_for(lambda: not run.active)
    assert f"diverged at step {run.divergence.step}" in run_words(run, 0)


def test_a_run_past_its_deadline_is_stopped_and_told_why():
    runs = Runs(dataclasses.replace(LOCAL, seconds=0.2), places=1)
    run = runs.start("s", job(steps=100_000))
    wait_for(lambda: not run.active)
    runs.close()
    assert "Stopped after" in run_words(run, 0)


def test_a_second_start_of_a_session_ends_its_first_run(runs):
    first = runs.start("s", job(steps=100_000))
    wait_for(lambda: first.state == RUNNING)
    pid = first.worker.process.pid
    second = runs.start("s", job())
    wait_for(lambda: not second.active)
    assert gone(pid)
    assert runs.get(first.id) is None


def test_a_visitor_who_leaves_takes_their_run_along_and_nobody_elses(runs):
    mine, theirs = runs.start("me", job()), runs.start("them", job())
    wait_for(lambda: not (mine.active or theirs.active))
    runs.end_session("me")
    assert [runs.get(run.id) is not None for run in (mine, theirs)] == [False, True]
    assert [runs.store.get(run.id) is not None for run in (mine, theirs)] == [False, True]


# ------------------------------------------------------------------------------------------------ writing


def test_the_same_seed_writes_the_same_text_in_growing_frames(runs):
    tab = GenerateTab(runs, None)
    frames = [frame["tokens"] for frame, *_ in tab.on_write(None, "The ", 0.8, 0, 1, 30, 7)]
    again = [frame["tokens"] for frame, *_ in tab.on_write(None, "The ", 0.8, 0, 1, 30, 7)]
    assert frames == again
    assert all(after[: len(before)] == before for before, after in itertools.pairwise(frames))
    assert len(frames[-1]) == 30


def test_each_write_has_a_number_of_its_own(runs):
    tab = GenerateTab(runs, None)
    numbers = [{frame["number"] for frame, *_ in tab.on_write(None, "The ", 0.8, 0, 1, 20, 7)} for _ in range(2)]
    assert [len(of_one) for of_one in numbers] == [1, 1]
    assert numbers[0] != numbers[1]


def test_a_text_never_stands_above_the_note_of_another_model(runs):
    tab = GenerateTab(runs, None)
    *_, [_, note, writer] = tab.on_write(None, "The ", 0.8, 0, 1, 20, 7)
    assert tab.on_open(None, "The ", writer)[1] == gr.skip()
    run = runs.start("s", job())
    wait_for(lambda: not run.active)
    _, text, new_note, new_writer = tab.on_open(run.id, "The ", writer)
    assert text["tokens"] == []
    assert note not in (new_note, new_writer)


@pytest.mark.parametrize("prompt", ["", "日本語"])
def test_a_prompt_that_cannot_be_read_is_refused_in_words(runs, prompt):
    with pytest.raises(gr.Error, match=r"prompt is empty|no id for"):
        list(GenerateTab(runs, None).on_write(None, prompt, 0.8, 0, 1, 30, 7))


# ------------------------------------------------------------------------------------------------ over HTTP


class Client:
    """A client that knows Gradio's wire format and keeps to no rule of the page."""

    def __init__(self, page, url: str, session: str) -> None:
        self.page, self.url, self.session = page, url.rstrip("/") + "/gradio_api", session

    def call(self, name: str, data: list) -> list[dict]:
        """All messages that a handler answers with."""
        index = next(i for i, fn in self.page.fns.items() if getattr(fn.fn, "__name__", "") == name)
        body = json.dumps({"data": data, "fn_index": index, "session_hash": self.session}).encode()
        request = urllib.request.Request(f"{self.url}/queue/join", body, {"Content-Type": "application/json"})
        with contextlib.closing(urllib.request.urlopen(request, timeout=10)):
            pass
        messages = []
        stream = f"{self.url}/queue/data?session_hash={self.session}"
        with contextlib.closing(urllib.request.urlopen(stream, timeout=20)) as lines:
            for line in lines:
                if line.startswith(b"data:"):
                    messages.append(json.loads(line[5:]))
                    if messages[-1]["msg"] == "process_completed":
                        break
        return messages


@pytest.fixture(scope="module")
def served():
    runs = Runs(LOCAL, places=1)
    page = build(runs)
    with warnings.catch_warnings():
        # Uvicorn's websockets module is deprecated by its own library; Gradio loads it and never uses it.
        warnings.simplefilter("ignore", DeprecationWarning)
        _, url, _ = page.launch(**launch_options(), prevent_thread_lock=True, quiet=True)
    yield page, url, runs
    page.close(verbose=False)
    runs.close()


def values(page, **changes) -> list:
    """What the page would send on Start."""
    start = next(fn for fn in page.fns.values() if getattr(fn.fn, "__name__", "") == "on_start")
    made = {c.elem_id.removeprefix("field-"): c.value for c in start.inputs}
    return list({**made, **changes}.values())


def test_a_run_over_http_streams_what_is_new_and_finishes(served):
    page, url, _ = served
    changes = {"corpus": OWN_TEXT, "text": TEXT, "steps": 300, "hidden_dim": 16, "context_length": 16}
    messages = Client(page, url, "one").call("on_start", values(page, **changes))
    frames = [m for m in messages if m["msg"] == "process_generating"]
    assert messages[-1]["success"]
    assert len(frames) >= 2


def test_a_path_instead_of_a_corpus_is_refused_over_http(served):
    page, url, runs = served
    messages = Client(page, url, "two").call("on_start", values(page, corpus="/etc/passwd"))
    assert not messages[-1]["success"]
    assert "two" not in runs.of_session


def test_the_queue_and_the_api_are_closed_to_what_the_page_does_not_call(served):
    _, url, _ = served
    with contextlib.closing(urllib.request.urlopen(f"{url.rstrip('/')}/gradio_api/info", timeout=10)) as answer:
        assert json.load(answer)["named_endpoints"] == {}
