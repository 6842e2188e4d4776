"""How much a page loads."""

from browsing import settle
from support import GRADIO

pytestmark = GRADIO

MOST_BYTES = 450_000
MOST_REQUESTS = 60


def test_a_page_takes_at_most_450_kilobytes_and_60_requests(visit, url):
    page = visit()
    network = page.context.new_cdp_session(page)
    bytes_of, asked = {}, {}
    network.on("Network.requestWillBeSent", lambda event: asked.update({event["requestId"]: event["request"]["url"]}))
    network.on(
        "Network.loadingFinished", lambda event: bytes_of.update({event["requestId"]: event["encodedDataLength"]})
    )
    network.send("Network.enable")
    network.send("Network.setCacheDisabled", {"cacheDisabled": True})
    page.goto(url)
    page.wait_for_selector("#loss-chart canvas")
    settle(page)
    sent = {each: to for each, to in asked.items() if not to.startswith("data:")}  # data: is part of a sheet
    assert len(sent) <= MOST_REQUESTS, f"{len(sent)} requests: {sorted(sent.values())}"
    total = sum(bytes_of.get(each, 0) for each in sent)
    largest = sorted(((bytes_of.get(each, 0), to) for each, to in sent.items()), reverse=True)[:8]
    assert 50_000 < total <= MOST_BYTES, f"{total} bytes, most of them for {largest}"
