"""How much a page loads."""

import pytest

from browsing import settle, start
from support import GRADIO
from tlab.ui.widgets.component import script_code
from tlab.ui.widgets.markup import UI

pytestmark = GRADIO

MOST_BYTES = 450_000
MOST_REQUESTS = 60


# A line on which the page comes in pieces: the browser then looks ahead for what it will need.
SLOW_LINE = {"offline": False, "latency": 20, "downloadThroughput": 100_000, "uploadThroughput": 100_000}


@pytest.mark.parametrize("line", [None, SLOW_LINE], ids=["fast", "slow"])
def test_a_page_takes_at_most_450_kilobytes_and_60_requests(visit, url, line):
    page = visit()
    network = page.context.new_cdp_session(page)
    bytes_of, asked = {}, {}
    network.on("Network.requestWillBeSent", lambda event: asked.update({event["requestId"]: event["request"]["url"]}))
    network.on(
        "Network.loadingFinished", lambda event: bytes_of.update({event["requestId"]: event["encodedDataLength"]})
    )
    network.send("Network.enable")
    network.send("Network.setCacheDisabled", {"cacheDisabled": True})
    if line:
        network.send("Network.emulateNetworkConditions", line)
    page.goto(url)
    page.wait_for_selector("#loss-chart canvas")
    settle(page)
    sent = {each: to for each, to in asked.items() if not to.startswith("data:")}  # data: is part of a sheet
    assert len(sent) <= MOST_REQUESTS, f"{len(sent)} requests: {sorted(sent.values())}"
    total = sum(bytes_of.get(each, 0) for each in sent)
    largest = sorted(((bytes_of.get(each, 0), to) for each, to in sent.items()), reverse=True)[:8]
    assert 50_000 < total <= MOST_BYTES, f"{total} bytes, most of them for {largest}"


def test_a_page_that_draws_slower_than_pictures_come_says_so(visit):
    page = visit()
    told = []
    page.expose_function("tellLag", lambda ms: told.append(ms))
    page.evaluate("""() => document.addEventListener("tl-select", ({ detail }) => {
      if (detail.tab === "behind") tellLag(detail.selection.ms);
    })""")
    start(page, 100_000)
    page.evaluate("""() => { // every picture takes as long as three come in
      const slow = () => { for (const end = performance.now() + 400; performance.now() < end; ); };
      const plot = document.querySelector("#loss-chart .tl-plot");
      new MutationObserver(slow).observe(plot, { attributes: true, attributeFilter: ["aria-label"] });
    }""")
    page.wait_for_timeout(6000)
    page.evaluate("document.querySelector('#stop').click()")
    assert told and min(told) >= 400


def test_what_a_script_says_to_its_readers_is_not_sent():
    source = (UI / "tabs/train/loss_chart.js").read_text("utf-8")
    code = script_code(["tabs/train/loss_chart"])
    assert "// nothing has a cost before the first step" in source and "has a cost" not in code
    told = [line.strip() for line in source.splitlines() if not line.strip().startswith("//")]
    assert all(line.partition(" // ")[0] in code for line in told)


def test_a_page_at_rest_draws_no_frames(visit, url):
    page = visit()
    page.add_init_script("""{ // before any script of the page runs
      const frame = requestAnimationFrame.bind(window);
      window.framesAsked = 0;
      window.requestAnimationFrame = (callback) => (window.framesAsked++, frame(callback));
    }""")
    page.goto(url)
    page.wait_for_selector("#loss-chart canvas")
    settle(page)
    frames = []  # in two seconds each
    for _ in range(20):  # the drawing of Gradio's first screen ends some seconds later
        before = page.evaluate("window.framesAsked")
        page.wait_for_timeout(2000)
        frames.append(page.evaluate("window.framesAsked") - before)
        if frames[-1] <= 8:
            break
    assert frames[-1] <= 8, frames
